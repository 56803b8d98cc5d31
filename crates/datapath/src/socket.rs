//! The UDP socket that L2TP runs on, shared by the control plane and an engine.
//!
//! The engine receives everything and sends data messages; the control plane sends control messages through the same socket, so that
//! both leave from the same port.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Type};

/// Octets asked for the kernel's receive queue, so that a burst of data does not push out control messages; the kernel may give less.
const RECEIVE_QUEUE: usize = 1 << 20;

/// Octets of one receive buffer: what the kernel merges at most into one read (UDP GRO).
const MERGED_MAX: usize = 1 << 16;

/// A bound, non-blocking UDP socket that knows the local address of each datagram.
#[derive(Debug)]
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    dropped: AtomicU64,
}

impl Socket {
    /// Binds to `address`: one address or the wildcard, of either family (an IPv6 wildcard leaves IPv4 alone); port 0 lets the kernel choose.
    ///
    /// Errors keep the kernel's [`io::ErrorKind`] (`AddrInUse`, `AddrNotAvailable`, `PermissionDenied`) and name the address.
    pub fn bind(address: SocketAddr) -> io::Result<Arc<Self>> {
        Self::open(address)
            .map(Arc::new)
            .map_err(|e| io::Error::new(e.kind(), format!("bind UDP {address}: {e}")))
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_recv_buffer_size(RECEIVE_QUEUE)?;
        socket.bind(&address.into())?;
        let io = UdpSocket::from(socket);
        let state = with_system_fragmentation(&io, || UdpSocketState::new(UdpSockRef::from(&io)))?;
        Ok(Self {
            local: io.local_addr()?,
            io,
            state,
            dropped: AtomicU64::new(0),
        })
    }

    /// The address and port that it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether datagrams from `local` leave through this socket.
    pub fn serves(&self, local: SocketAddr) -> bool {
        self.local == local
            || (self.local.ip().is_unspecified()
                && self.local.is_ipv4() == local.is_ipv4()
                && self.local.port() == local.port())
    }

    /// Sends one datagram from the address of `local` (the port is the socket's) to `remote`.
    ///
    /// A full send queue drops the datagram, which is counted and no error; any other error is the kernel's, for this datagram alone.
    pub fn send(&self, local: SocketAddr, remote: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let transmit = Transmit {
            destination: remote,
            ecn: None,
            contents: payload,
            segment_size: None,
            src_ip: Some(local.ip()).filter(|ip| !ip.is_unspecified()),
        };
        match self.state.try_send(UdpSockRef::from(&self.io), &transmit) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            result => result,
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

/// A received datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    /// The address and port that it was sent to.
    pub(crate) local: SocketAddr,
    /// The address and port that it came from.
    pub(crate) remote: SocketAddr,
    /// The UDP payload.
    pub(crate) payload: &'a [u8],
}

/// Memory for one batch of datagrams, used again for the next.
pub(crate) struct ReceiveBuffers {
    octets: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
}

impl ReceiveBuffers {
    pub(crate) fn new() -> Self {
        Self {
            octets: vec![0; MERGED_MAX * BATCH_SIZE],
            meta: [RecvMeta::default(); BATCH_SIZE],
        }
    }

    /// Takes what waits at `socket`, one batch at most. What the kernel merged comes apart here: each segment is a datagram of its own.
    pub(crate) fn receive(
        &mut self,
        socket: &Socket,
    ) -> io::Result<impl Iterator<Item = Datagram<'_>>> {
        let mut buffers = self.octets.chunks_exact_mut(MERGED_MAX);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        let received =
            socket
                .state
                .recv(UdpSockRef::from(&socket.io), &mut slices, &mut self.meta)?;
        let merged = self.octets.chunks_exact(MERGED_MAX).zip(&self.meta);
        Ok(merged.take(received).flat_map(|(octets, meta)| {
            let local = local_address(socket.local, meta);
            segments(&octets[..meta.len], meta.stride).map(move |payload| Datagram {
                local,
                remote: meta.addr,
                payload,
            })
        }))
    }
}

/// Cuts `octets` every `stride`; an empty datagram is a datagram too.
fn segments(octets: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = octets.is_empty().then_some(octets);
    empty.into_iter().chain(octets.chunks(stride.max(1)))
}

fn local_address(bound: SocketAddr, meta: &RecvMeta) -> SocketAddr {
    match meta.dst_ip {
        // Answers from a link-local address need the link that it is on.
        Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() => {
            let scope = meta.interface_index.unwrap_or_default();
            SocketAddrV6::new(ip, bound.port(), 0, scope).into()
        }
        Some(ip) => SocketAddr::new(ip, bound.port()),
        None => bound,
    }
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
        allow_ipv6_fragments(socket)?;
        Ok(done)
    }
}

fn allow_ipv6_fragments(socket: &UdpSocket) -> io::Result<()> {
    let off: libc::c_int = 0;
    // SAFETY: the descriptor is open for the call, and the option's value is a live `c_int` whose size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_DONTFRAG,
            (&raw const off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localhost(port: u16) -> SocketAddr {
        SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), port)
    }

    #[test]
    fn merged_datagrams_come_apart() {
        let cut = |octets, stride| segments(octets, stride).collect::<Vec<_>>();
        assert_eq!(cut(b"aabbc", 2), [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(cut(b"aa", 2), [b"aa"]);
        assert_eq!(cut(b"", 0), [b""]);
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
