//! The UDP socket that L2TP runs on, shared by the control plane and an engine.
//!
//! The engine receives everything and sends data messages; the control plane sends control messages through the same socket, so that
//! both leave from the same port.

mod errors;
mod options;
mod receive;
mod send;

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use quinn_udp::{UdpSockRef, UdpSocketState};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Type};

use crate::Listener;
pub(crate) use errors::Complaint;
pub(crate) use options::{can_merge, can_segment, hear_no_icmp};
pub(crate) use receive::{Datagram, ReceiveBuffers};
pub(crate) use send::DATAGRAMS_MAX;
pub use send::Headers;
use send::{Outward, Senders};

/// Where `ip netns` keeps the network namespaces that have names.
const NAMED_NAMESPACES: &str = "/run/netns";

/// Octets asked for the kernel's receive queue, so that a burst of data or of strangers does not push out control messages.
const RECEIVE_QUEUE: usize = 1 << 22;
/// The same for the send queue: what leaves together counts as one, and a queue that has no room for it loses it all.
const SEND_QUEUE: usize = 1 << 22;

/// Where a socket is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Whose it is.
    pub listener: Listener,
    /// One address or the wildcard, of either family (an IPv6 wildcard leaves IPv4 alone); port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// The only device that it sends and receives through (`SO_BINDTODEVICE`).
    pub interface: Option<String>,
    /// The network namespace that it is in: a name of `ip netns`, or a path; that of the calling thread when absent.
    pub namespace: Option<String>,
}

impl From<SocketAddr> for Place {
    /// One of the daemon's own.
    fn from(address: SocketAddr) -> Self {
        Self {
            listener: None,
            address,
            interface: None,
            namespace: None,
        }
    }
}

/// Where datagrams come from and go, and what they look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) headers: Headers,
}

/// A bound, non-blocking UDP socket that knows the local address of each datagram, and those beside it that send what it can't.
#[derive(Debug)]
pub struct Socket {
    // Dropped before the one that receives: the group's first has to be that for as long as there is a group. A connected one has none.
    senders: Option<Senders>,
    io: UdpSocket,
    state: UdpSocketState,
    /// Connected to one peer after another, to ask for the MTU of the path.
    probe: UdpSocket,
    local: SocketAddr,
    /// Who it is connected to: it gets all that comes from there, and nothing else.
    peer: Option<SocketAddr>,
    place: Place,
    dropped: AtomicU64,
    /// Sessions whose messages are best left as they come.
    unmerged: AtomicUsize,
    // Dropped last: a weak one that is dead says that all of the above is closed. A weak one of the whole would be dead before.
    open: Arc<()>,
}

impl Socket {
    /// What dies when the socket is closed and its port is free.
    pub fn watch(&self) -> Weak<()> {
        Arc::downgrade(&self.open)
    }

    /// Binds one of the daemon's own sockets, as [`Socket::open`] does.
    pub fn bind(address: SocketAddr) -> io::Result<Arc<Self>> {
        Self::open(&address.into())
    }

    /// Opens a socket.
    ///
    /// Errors keep the kernel's [`io::ErrorKind`] (`AddrInUse`, `AddrNotAvailable`, `PermissionDenied`; `NotFound` for a device) and name the place.
    pub fn open(place: &Place) -> io::Result<Arc<Self>> {
        let open_here = || {
            Self::open_here(place).map_err(|e| {
                let through = place.interface.as_ref();
                let through = through.map_or_else(String::new, |name| format!(" on {name}"));
                named(format!("bind UDP {}{through}", place.address), &e)
            })
        };
        let opened = match &place.namespace {
            None => open_here(),
            Some(namespace) => in_namespace(namespace, open_here),
        };
        opened.map(Arc::new)
    }

    fn open_here(place: &Place) -> io::Result<Self> {
        let socket = unbound(place)?;
        socket.bind(&place.address.into())?;
        let mut socket = Self::around(socket, place)?;
        socket.senders = Some(Senders::open(&socket.io, place)?);
        Ok(socket)
    }

    /// A socket of the same port that is connected to one peer, for an engine of the kernel: it takes every datagram of that peer from this one.
    ///
    /// What others sent while it was bound and not yet connected comes to it, too. The kernel merges nothing there (UDP GRO), as its L2TP
    /// takes a datagram for one message.
    pub(crate) fn connected(&self, local: IpAddr, remote: SocketAddr) -> io::Result<Arc<Self>> {
        let address = SocketAddr::new(local, self.local.port());
        let place = Place {
            address,
            ..self.place.clone()
        };
        let open = || {
            let socket = unbound(&place)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            let mut socket = Self::around(socket, &place)?;
            options::merge(&socket.io, false)?;
            socket.io.connect(remote)?;
            socket.peer = Some(remote);
            Ok(Arc::new(socket))
        };
        open().map_err(|e| named(format!("connect UDP {address} to {remote}"), &e))
    }

    fn around(socket: socket2::Socket, place: &Place) -> io::Result<Self> {
        // Without the privilege the kernel gives what its administrator allows.
        sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_QUEUE)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_QUEUE))?;
        send_many(&socket)?;
        let io = UdpSocket::from(socket);
        let state = with_system_fragmentation(&io, || UdpSocketState::new(UdpSockRef::from(&io)))?;
        options::queue_errors(&io)?;
        Ok(Self {
            senders: None,
            probe: UdpSocket::from(unbound(place)?),
            local: io.local_addr()?,
            io,
            state,
            peer: None,
            place: place.clone(),
            dropped: AtomicU64::new(0),
            unmerged: AtomicUsize::new(0),
            open: Arc::default(),
        })
    }

    /// The address and port that it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whose it is.
    pub fn listener(&self) -> &Listener {
        &self.place.listener
    }

    /// The network namespace that it is in, if not that of the thread that opened it.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.place.namespace.as_deref()
    }

    /// Whether it is bound to a device, or in another network namespace than the thread that opened it.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.place.namespace.is_some() || self.place.interface.is_some()
    }

    /// Whether datagrams from `local` leave through this socket, if they leave through this listener's.
    pub fn serves(&self, local: SocketAddr) -> bool {
        let any = self.local.ip().is_unspecified() && self.local.is_ipv4() == local.is_ipv4();
        self.peer.is_none() && (self.local == local || (any && self.local.port() == local.port()))
    }

    /// Sends one datagram from the address of `local` (the port is the socket's) to `remote`.
    ///
    /// A full send queue drops the datagram, which is counted and no error; any other error is the kernel's, for this datagram alone.
    pub fn send(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        headers: Headers,
        payload: &[u8],
    ) -> io::Result<()> {
        let (socket, outward) = self.outward(Path {
            local,
            remote,
            headers,
        });
        self.unless_full(1, outward.send(socket, payload))
    }

    /// Sends datagrams of `segment` octets, the last of which may be shorter, that stand one behind the other in `octets`: all, or an error.
    ///
    /// The kernel takes up to 64 and 65,507 octets; none without a checksum, with IPsec, or larger than the path.
    pub(crate) fn send_merged(&self, path: Path, octets: &[u8], segment: u16) -> io::Result<()> {
        let (socket, outward) = self.outward(path);
        let count = octets.len().div_ceil(segment.max(1).into());
        self.unless_full(count, outward.send_merged(socket, octets, segment))
    }

    /// Sends datagrams up to the first that can't be; says how many went. An error is the first's.
    pub(crate) fn send_each(&self, path: Path, datagrams: &[&[u8]]) -> io::Result<usize> {
        let (socket, outward) = self.outward(path);
        outward.send_each(socket, datagrams)
    }

    fn outward(&self, path: Path) -> (&UdpSocket, Outward) {
        let Path {
            local,
            remote,
            headers,
        } = path;
        let socket = match &self.senders {
            Some(senders) => senders.with(headers, &self.io),
            None => &self.io,
        };
        let outward = Outward {
            source: Some(local.ip()).filter(|ip| !ip.is_unspecified()),
            remote,
            tos: headers.tos,
        };
        (socket, outward)
    }

    fn unless_full(&self, count: usize, sent: io::Result<()>) -> io::Result<()> {
        match sent {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.dropped.fetch_add(count as u64, Ordering::Relaxed);
                Ok(())
            }
            result => result,
        }
    }

    /// Makes what the kernel itself sends through a connected socket look like this, but for DF, which it never sets.
    pub(crate) fn set_headers(&self, headers: Headers) -> io::Result<()> {
        options::set_tos(&self.io, headers.tos)?;
        options::leave_out_checksums(&self.io, headers.no_checksum)?;
        Ok(())
    }

    /// Takes datagrams without a UDP checksum over IPv6 too from now on (RFC 6936), as it always does over IPv4.
    pub fn take_without_checksum(&self) -> io::Result<()> {
        options::take_without_checksum(&self.io)
    }

    /// The largest IP packet that reaches `remote` as far as the kernel knows now: what ICMP told it, for ten minutes, and the device's MTU.
    pub fn path_mtu(&self, remote: SocketAddr) -> io::Result<u16> {
        // Without that the address of the last connection stays, which another path may not have.
        rustix::net::connect_unspec(&self.probe)?;
        self.probe.connect(remote)?;
        let mtu = if remote.is_ipv4() {
            sockopt::ip_mtu(&self.probe)?
        } else {
            sockopt::ipv6_mtu(&self.probe)?
        };
        Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
    }

    /// The descriptors that errors are reported on beside its own.
    pub(crate) fn senders(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.its_senders().map(UdpSocket::as_fd)
    }

    fn its_senders(&self) -> impl Iterator<Item = &UdpSocket> {
        self.senders.iter().flat_map(Senders::all)
    }

    /// Takes what the network said of datagrams that did not arrive.
    pub(crate) fn take_complaints(&self) -> impl Iterator<Item = Complaint> {
        self.its_senders().chain([&self.io]).flat_map(errors::take)
    }

    /// One session more, or less, whose messages programs take before they come here: none are merged for us meanwhile (UDP GRO), as that is done
    /// before those see them.
    pub(crate) fn leave_unmerged(&self, more: bool) {
        let change = if more {
            self.unmerged.fetch_add(1, Ordering::Relaxed) == 0
        } else {
            self.unmerged.fetch_sub(1, Ordering::Relaxed) == 1
        };
        if change && let Err(error) = options::merge(&self.io, !more) {
            tracing::debug!("UDP GRO of {}: {error}", self.local);
        }
    }

    /// Datagrams that a full send queue dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// A socket for this place that is not bound yet.
fn unbound(place: &Place) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(place.address);
    let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if place.address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(interface) = &place.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    Ok(socket)
}

/// Gives a socket room for what leaves together.
fn send_many(socket: &socket2::Socket) -> io::Result<()> {
    sockopt::set_socket_send_buffer_size_force(socket, SEND_QUEUE)
        .or_else(|_| sockopt::set_socket_send_buffer_size(socket, SEND_QUEUE))?;
    Ok(())
}

/// Runs `open` in a network namespace: on a thread of its own, as a thread is in one namespace.
fn in_namespace<T: Send>(
    namespace: &str,
    open: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    // A name becomes a path in the folder of names; a path stays what it is.
    let path = match namespace.contains('/') {
        true => path::Path::new(namespace).to_owned(),
        false => path::Path::new(NAMED_NAMESPACES).join(namespace),
    };
    let inside = || {
        let enter = || {
            let file = File::open(&path)?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(())
        };
        enter().map_err(|e: io::Error| {
            named(format!("enter network namespace {}", path.display()), &e)
        })?;
        open()
    };
    let opened = thread::scope(|scope| scope.spawn(inside).join());
    opened.unwrap_or_else(|_| Err(io::Error::other("the thread that opens a socket panicked")))
}

fn named(what: String, error: &io::Error) -> io::Error {
    let kind = match Errno::from_io_error(error) {
        // Of a device that is not there, which the standard library has no word for.
        Some(Errno::NODEV) => io::ErrorKind::NotFound,
        _ => error.kind(),
    };
    io::Error::new(kind, format!("{what}: {error}"))
}

/// Runs `set_up`, which forbids fragmentation as QUIC wants it, then puts the system's own policy back: what is
/// inside an L2TP datagram may not fit the path, and fragments are better than silence.
fn with_system_fragmentation<T>(
    socket: &UdpSocket,
    set_up: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if socket.local_addr()?.is_ipv4() {
        let policy = sockopt::ip_mtu_discover(socket)?;
        let done = set_up()?;
        sockopt::set_ip_mtu_discover(socket, policy)?;
        Ok(done)
    } else {
        let policy = sockopt::ipv6_mtu_discover(socket)?;
        let done = set_up()?;
        sockopt::set_ipv6_mtu_discover(socket, policy)?;
        options::allow_ipv6_fragments(socket)?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localhost(port: u16) -> SocketAddr {
        SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), port)
    }

    #[test]
    fn an_address_in_use_is_said_to_be() {
        let first = Socket::bind(localhost(0)).unwrap();
        let error = Socket::bind(first.local_addr()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().contains(&first.local_addr().to_string()),
            "{error}"
        );
    }

    #[test]
    fn the_port_is_free_as_soon_as_a_socket_is_seen_to_be_closed() {
        // Nobody else gets a port of this address when it asks for any.
        let address = "127.17.1.1:0".parse().unwrap();
        let _alone = crate::thread::CHILDREN.lock().unwrap();
        for _ in 0..2_000 {
            let socket = Socket::bind(address).unwrap();
            let (address, open) = (socket.local_addr(), socket.watch());
            let closing = thread::spawn(move || drop(socket));
            while open.strong_count() > 0 {
                std::hint::spin_loop();
            }
            UdpSocket::bind(address).unwrap();
            closing.join().unwrap();
        }
    }

    #[test]
    fn a_wildcard_socket_serves_each_address_of_its_family_and_port() {
        let socket = Socket::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().port();
        assert!(socket.serves(localhost(port)));
        assert!(!socket.serves(localhost(port ^ 1)));
        assert!(!socket.serves(SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), port)));
    }

    #[test]
    fn datagrams_may_be_fragmented_as_the_system_has_it() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let plain = UdpSocket::bind(address).unwrap();
            let ours = Socket::bind(address.parse().unwrap()).unwrap();
            if plain.local_addr().unwrap().is_ipv4() {
                let policy = |socket: BorrowedFd<'_>| sockopt::ip_mtu_discover(socket).unwrap();
                assert_eq!(policy(ours.as_fd()), policy(plain.as_fd()));
            } else {
                let policy = |socket: BorrowedFd<'_>| sockopt::ipv6_mtu_discover(socket).unwrap();
                assert_eq!(policy(ours.as_fd()), policy(plain.as_fd()));
            }
        }
    }
}
