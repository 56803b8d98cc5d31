//! Tunnels of the kernel: each a connected UDP socket that its L2TP has taken over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Receiver;
use super::genl::{Context, Family};
use super::pppox::PppoxSocket;
use crate::socket::{Headers, Socket};
use crate::{DatapathError, Encapsulation, Handle, Ids, Outer, SessionSpec, Transport};

/// How long a tunnel without sessions stays: the kernel takes its time to forget one, and has none of the same id until it has.
const LINGER: Duration = Duration::from_secs(30);

/// How long a look for tunnels without sessions suffices.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The tunnels there are. The kernel looks sessions up in the tunnel of the socket that a datagram comes to, without reading its tunnel id, and
/// the socket is chosen by addresses and ports: so there is one tunnel for each of their pairs, and others between the same are another engine's.
#[derive(Default)]
pub(super) struct Tunnels {
    known: BTreeMap<Transport, Tunnel>,
    /// When to look for those that have been without sessions for long enough, if any have none.
    next_sweep: Option<Instant>,
}

struct Tunnel {
    local: u16,
    peer: u16,
    outer: Outer,
    // Where the family did not make it. Closed before the UDP socket, whose end is the tunnel's.
    _management: Option<PppoxSocket>,
    socket: Arc<Socket>,
    /// By our session id.
    sessions: BTreeMap<u16, Handle>,
    /// Since when it has had no session.
    idle: Option<Instant>,
}

impl Tunnels {
    /// The tunnel of one session more, made if it is the first, or if the kernel has it no more; its UDP socket. With the `family`,
    /// the kernel can be asked.
    pub(super) fn join(
        &mut self,
        handle: Handle,
        spec: &SessionSpec,
        listeners: &[Arc<Socket>],
        receiver: &dyn Receiver,
        mut family: Option<&mut Family>,
    ) -> Result<Arc<Socket>, DatapathError> {
        let Encapsulation::V2 { local, peer, .. } = spec.encapsulation;
        let path = &spec.transport;
        if let Some(other) = self.known.get(path)
            && (other.local, other.peer) != (local.tunnel, peer.tunnel)
        {
            if !other.sessions.is_empty() {
                return Err(unsupported(
                    "a second tunnel between the same addresses and ports",
                ));
            }
            if let Some(tunnel) = self.known.remove(path) {
                receiver.remove_socket(tunnel.socket);
            }
        }
        if self.known.contains_key(path) {
            let id = Context::Tunnel(local.tunnel.into());
            if family.as_mut().and_then(|family| family.has(id)) == Some(false) {
                self.renew(spec, listeners, receiver, family)?;
            }
        } else {
            let tunnel = Tunnel::open(spec, listeners, family)?;
            receiver.add_socket(Arc::clone(&tunnel.socket));
            self.known.insert(path.clone(), tunnel);
        }
        let tunnel = self.known.get_mut(path).ok_or(DatapathError::InUse)?;
        if tunnel.outer != spec.outer {
            if !tunnel.sessions.is_empty() {
                return Err(unsupported(
                    "another DSCP, DF or UDP checksum than the tunnel's",
                ));
            }
            // It waits for its next session.
            tunnel.change(spec.outer)?;
        }
        if tunnel.sessions.contains_key(&local.session) {
            return Err(DatapathError::InUse);
        }
        tunnel.sessions.insert(local.session, handle);
        tunnel.idle = None;
        Ok(Arc::clone(&tunnel.socket))
    }

    /// Makes a tunnel again that somebody deleted. The sessions that it had are removed by those who have them.
    fn renew(
        &mut self,
        spec: &SessionSpec,
        listeners: &[Arc<Socket>],
        receiver: &dyn Receiver,
        family: Option<&mut Family>,
    ) -> Result<(), DatapathError> {
        let Some(old) = self.known.remove(&spec.transport) else {
            return Ok(());
        };
        receiver.remove_socket(old.socket);
        let mut tunnel = Tunnel::open(spec, listeners, family)?;
        tunnel.sessions = old.sessions;
        receiver.add_socket(Arc::clone(&tunnel.socket));
        self.known.insert(spec.transport.clone(), tunnel);
        Ok(())
    }

    /// One session less.
    pub(super) fn leave(&mut self, spec: &SessionSpec) {
        let Encapsulation::V2 { local, .. } = spec.encapsulation;
        if let Some(tunnel) = self.known.get_mut(&spec.transport) {
            tunnel.sessions.remove(&local.session);
            if tunnel.sessions.is_empty() {
                let now = now();
                tunnel.idle = Some(now);
                self.next_sweep.get_or_insert(now + LINGER);
            }
        }
    }

    /// Who gets what comes for a session of another tunnel between the same addresses and ports.
    pub(super) fn in_the_way_of(&self, spec: &SessionSpec) -> Option<Handle> {
        let Encapsulation::V2 { local, .. } = spec.encapsulation;
        let tunnel = self.known.get(&spec.transport)?;
        let other = tunnel.local != local.tunnel;
        tunnel
            .sessions
            .get(&local.session)
            .copied()
            .filter(|_| other)
    }

    /// Leaves the UDP checksum out of what a tunnel sends, or puts it in.
    pub(super) fn set_checksums(&mut self, transport: &Transport, no_checksum: bool) {
        if let Some(tunnel) = self.known.get_mut(transport) {
            let outer = Outer {
                no_checksum,
                ..tunnel.outer
            };
            // A socket that can't goes on as before.
            if let Err(error) = tunnel.change(outer) {
                tracing::debug!("UDP checksums of tunnel {}: {error}", tunnel.local);
            }
        }
    }

    /// Takes out the tunnels that have had no session for long enough: their sockets.
    pub(super) fn sweep(&mut self) -> Vec<Arc<Socket>> {
        let Some(due) = self.next_sweep else {
            return Vec::new();
        };
        let now = now();
        if now < due {
            return Vec::new();
        }
        let over = |_: &Transport, tunnel: &mut Tunnel| {
            tunnel.idle.is_some_and(|since| now - since >= LINGER)
        };
        let gone = self.known.extract_if(.., over);
        let sockets = gone.map(|(_, tunnel)| tunnel.socket).collect();
        let idle = self.known.values().filter_map(|tunnel| tunnel.idle).min();
        self.next_sweep = idle.map(|since| (since + LINGER).max(now + SWEEP_INTERVAL));
        sockets
    }
}

impl Tunnel {
    /// Makes it: by the family, which refuses it if there is another's of its id, or else by a socket, of which the kernel would take that for this one.
    fn open(
        spec: &SessionSpec,
        listeners: &[Arc<Socket>],
        family: Option<&mut Family>,
    ) -> Result<Self, DatapathError> {
        let Encapsulation::V2 { local, peer, .. } = spec.encapsulation;
        let Transport {
            listener,
            local: from,
            remote,
        } = &spec.transport;
        let its = |socket: &&Arc<Socket>| socket.listener() == listener && socket.serves(*from);
        let socket = listeners.iter().find(its);
        let socket = socket.ok_or_else(|| DatapathError::System {
            what: format!("send from {from}"),
            reason: "no socket is bound to it".to_owned(),
        })?;
        if socket.namespace().is_some() {
            return Err(unsupported("a listener in another network namespace"));
        }
        let socket = socket
            .connected(from.ip(), *remote)
            .map_err(|e| DatapathError::system("open a tunnel's socket", &e))?;
        set_outer(&socket, spec.outer)?;
        let management = made(&socket, *remote, [local, peer], family)?;
        Ok(Self {
            local: local.tunnel,
            peer: peer.tunnel,
            outer: spec.outer,
            _management: management,
            socket,
            sessions: BTreeMap::new(),
            idle: Some(now()),
        })
    }

    /// Has what it sends look otherwise.
    fn change(&mut self, outer: Outer) -> Result<(), DatapathError> {
        set_outer(&self.socket, outer)?;
        self.outer = outer;
        Ok(())
    }
}

/// Makes the kernel's tunnel of these ids, ours and the peer's, over a connected UDP socket: the socket that manages it, where there is one.
fn made(
    udp: &Socket,
    remote: SocketAddr,
    [local, peer]: [Ids; 2],
    family: Option<&mut Family>,
) -> Result<Option<PppoxSocket>, DatapathError> {
    let what = || format!("make tunnel {} of the kernel", local.tunnel);
    if let Some(family) = family {
        match family.create_tunnel(udp.as_fd(), local.tunnel, peer.tunnel) {
            Ok(()) => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                return Err(DatapathError::System {
                    what: what(),
                    reason: "there is one of this id that is not ours".to_owned(),
                });
            }
            Err(error) => tracing::debug!("{} by netlink: {error}", what()),
        }
    }
    let management = |ids: Ids| Ids { session: 0, ..ids };
    PppoxSocket::connect(udp.as_fd(), remote, management(local), management(peer))
        .map(Some)
        .map_err(|e| DatapathError::system(what(), &e))
}

fn set_outer(socket: &Socket, outer: Outer) -> Result<(), DatapathError> {
    if outer.ecn {
        return Err(unsupported("ECN across the tunnel"));
    }
    if outer.dont_fragment {
        return Err(unsupported(
            "DF on what the kernel sends (do_pmtu_discovery)",
        ));
    }
    let taken = match outer.no_checksum {
        true => socket.take_without_checksum(),
        false => Ok(()),
    };
    let set = taken.and_then(|()| {
        socket.set_headers(Headers {
            tos: outer.dscp << 2,
            dont_fragment: false,
            no_checksum: outer.no_checksum,
        })
    });
    set.map_err(|e| DatapathError::system("set up a tunnel's socket", &e))
}

fn unsupported(what: &str) -> DatapathError {
    DatapathError::Unsupported(what.to_owned())
}

#[allow(
    clippy::disallowed_methods,
    reason = "the engine owns its sockets, and how long they stay"
)]
fn now() -> Instant {
    Instant::now()
}
