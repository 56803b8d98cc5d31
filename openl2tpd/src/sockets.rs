//! The UDP sockets: one of each address family, or of an address, for every listener and port that we serve or start tunnels from.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use config::Model;
use datapath::Transport;
use datapath::null::Outlet;
use datapath::socket::{Headers, Place, Socket};
use tracing::{debug, warn};

/// How many listeners are named where they are told of.
const MOST_NAMED: usize = 10;

/// What a daemon with this configuration serves: its listeners by name, or its own port where there are none.
pub(crate) fn served(model: &Model) -> BTreeMap<Option<String>, Option<&config::Listener>> {
    if model.listeners.is_empty() {
        return BTreeMap::from([(None, None)]);
    }
    let listeners = model.listeners.iter();
    listeners
        .map(|(name, listener)| (Some(name.clone()), Some(listener)))
        .collect()
}

/// The sockets there are, shared between management, which adds some, and the shard, which sends through them.
#[derive(Clone)]
pub(crate) struct Sockets {
    /// The port of those who name none.
    port: u16,
    open: Arc<RwLock<Vec<Arc<Socket>>>>,
    counts: Arc<Counts>,
}

/// What the sockets could not send, those that are closed included.
#[derive(Default)]
struct Counts {
    dropped_of_closed: AtomicU64,
    failed: AtomicU64,
}

/// Datagrams that were not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unsent {
    /// Full send queues dropped them.
    pub(crate) dropped: u64,
    /// The kernel refused them, or there was no socket for them.
    pub(crate) failed: u64,
}

impl Sockets {
    /// None yet; `port` is the daemon's own.
    pub(crate) fn new(port: u16) -> Self {
        Self {
            port,
            open: Arc::default(),
            counts: Arc::default(),
        }
    }

    /// Opens what a daemon with this configuration starts with.
    pub(crate) fn serve(&self, model: &Model) -> io::Result<Vec<Arc<Socket>>> {
        let opened = served(model)
            .into_values()
            .map(|listener| self.bind(listener, 0));
        let opened: io::Result<Vec<_>> = opened.collect();
        Ok(opened?.concat())
    }

    /// The ports that a daemon with this configuration serves, for people.
    pub(crate) fn described(&self, model: &Model) -> String {
        if model.listeners.is_empty() {
            return format!("UDP port {}", self.port);
        }
        let listeners = model.listeners.iter().take(MOST_NAMED);
        let named = listeners.map(|(name, listener)| {
            let port = self.port_of(Some(listener), 0);
            format!("{port} (listener {name})")
        });
        let named: Vec<_> = named.collect();
        let more = model.listeners.len() - named.len();
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("UDP port {}{more}", named.join(", "))
    }

    /// The daemon's own port.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Makes `port` a listener's, or the daemon's own where there is none, and returns the sockets that are new; 0 is the port of the listener or
    /// the daemon.
    pub(crate) fn bind(
        &self,
        listener: Option<&config::Listener>,
        port: u16,
    ) -> io::Result<Vec<Arc<Socket>>> {
        let name = listener.and_then(config::Listener::listener_name);
        if self.have(name, self.port_of(listener, port)) {
            return Ok(Vec::new());
        }
        let new = self.open(listener, port)?;
        self.add(&new);
        Ok(new)
    }

    /// The port of a listener, or the daemon's own, unless another is given.
    fn port_of(&self, listener: Option<&config::Listener>, port: u16) -> u16 {
        let ports = [port, listener.map_or(0, config::Listener::udp_port)];
        let given = ports.into_iter().find(|&port| port != 0);
        given.unwrap_or(self.port)
    }

    fn have(&self, listener: Option<&str>, port: u16) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let mut its = open
            .iter()
            .filter(|socket| socket.listener().as_deref() == listener);
        its.any(|socket| socket.local_addr().port() == port)
    }

    /// Whether the daemon's own port is served.
    pub(crate) fn have_own(&self) -> bool {
        self.have(None, self.port)
    }

    /// Whether one of these, `None` being the daemon itself, has the port that a listener, or the daemon, is to have.
    pub(crate) fn are_in_the_way(
        &self,
        these: &[Option<String>],
        listener: Option<&config::Listener>,
    ) -> bool {
        let port = self.port_of(listener, 0);
        these.iter().any(|name| self.have(name.as_deref(), port))
    }

    /// New sockets of a listener, or of the daemon itself, which are none of ours before [`Sockets::add`]. A machine without IPv6 has only IPv4.
    pub(crate) fn open(
        &self,
        listener: Option<&config::Listener>,
        port: u16,
    ) -> io::Result<Vec<Arc<Socket>>> {
        let port = self.port_of(listener, port);
        let name = listener.and_then(config::Listener::listener_name);
        let place = |ip: IpAddr| Place {
            listener: name.map(Arc::from),
            address: SocketAddr::new(ip, port),
            interface: listener.and_then(|l| Some(l.interface_name()?.to_owned())),
            namespace: listener.and_then(|l| Some(l.netns()?.to_owned())),
        };
        if let Some(ip) = listener.and_then(|l| l.ipaddr) {
            return Ok(vec![Socket::open(&place(ip))?]);
        }
        let mut new = vec![Socket::open(&place(Ipv4Addr::UNSPECIFIED.into()))?];
        match Socket::open(&place(Ipv6Addr::UNSPECIFIED.into())) {
            Ok(socket) => new.push(socket),
            Err(error) if is_ours_to_solve(&error) => return Err(error),
            Err(error) => warn!("IPv4 only on port {port}: {error}"),
        }
        Ok(new)
    }

    /// Takes sockets in, to be sent through.
    pub(crate) fn add(&self, new: &[Arc<Socket>]) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.extend_from_slice(new);
    }

    /// Takes away the sockets of a listener, or those of the daemon's own port. They are closed with the last session that sends through them.
    pub(crate) fn close(&self, listener: Option<&str>) -> Vec<Arc<Socket>> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let its = |socket: &mut Arc<Socket>| {
            socket.listener().as_deref() == listener
                && (listener.is_some() || socket.local_addr().port() == self.port)
        };
        let closed: Vec<_> = open.extract_if(.., its).collect();
        let dropped = closed.iter().map(|socket| socket.dropped()).sum();
        let of_closed = &self.counts.dropped_of_closed;
        of_closed.fetch_add(dropped, Ordering::Relaxed);
        closed
    }

    /// Sends one datagram; a failure is the network's and the peer's timers deal with it.
    pub(crate) fn transmit(&self, path: &Transport, dscp: u8, payload: &[u8]) {
        let (local, remote) = (path.local, path.remote);
        let sockets = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let serves =
            |socket: &&Arc<Socket>| *socket.listener() == path.listener && socket.serves(local);
        let Some(socket) = sockets.iter().find(serves) else {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            debug!("no socket to send from {local} to {remote}");
            return;
        };
        let headers = Headers {
            tos: dscp << 2,
            ..Headers::default()
        };
        if let Err(error) = socket.send(local, remote, headers, payload) {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            debug!("cannot send from {local} to {remote}: {error}");
        }
    }

    /// What could not be sent so far.
    pub(crate) fn counts(&self) -> Unsent {
        let sockets = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let of_open: u64 = sockets.iter().map(|socket| socket.dropped()).sum();
        Unsent {
            dropped: of_open + self.counts.dropped_of_closed.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
        }
    }
}

impl Outlet for Sockets {
    fn send(&mut self, transport: &Transport, datagram: &[u8]) {
        self.transmit(transport, 0, datagram);
    }
}

/// Whether an error is about this socket, and not about a machine without IPv6.
fn is_ours_to_solve(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    )
}
