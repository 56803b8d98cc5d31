//! How datagrams leave. The TOS octet is a matter of one packet; DF and the checksum are properties of a socket, so there is one for each
//! combination, bound to the same address and port.

use std::array;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use super::{Place, options, send_many, unbound};

/// What the headers around a datagram are like.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Headers {
    /// The TOS octet or traffic class: DSCP and ECN.
    pub tos: u8,
    /// No fragments: what the kernel knows to be too large is refused with `EMSGSIZE`.
    pub dont_fragment: bool,
    /// No UDP checksum.
    pub no_checksum: bool,
}

/// The sockets beside the receiving one. They join its group and get nothing of what comes: a program of the group hands all to its first.
#[derive(Debug)]
pub(super) struct Senders {
    dont_fragment: UdpSocket,
    no_checksum: UdpSocket,
    both: UdpSocket,
}

impl Senders {
    /// Opens them beside `receiver`, which was bound alone: another program that wants the port is told that it is in use.
    pub(super) fn open(receiver: &UdpSocket, place: &Place) -> io::Result<Self> {
        rustix::net::sockopt::set_socket_reuseport(receiver, true)?;
        let dont_fragment = beside(receiver, place)?;
        options::receive_with_the_first(receiver)?;
        let (no_checksum, both) = (beside(receiver, place)?, beside(receiver, place)?);
        for socket in [&dont_fragment, &both] {
            options::forbid_fragments(socket)?;
        }
        for socket in [&no_checksum, &both] {
            options::leave_out_checksums(socket, true)?;
        }
        Ok(Self {
            dont_fragment,
            no_checksum,
            both,
        })
    }

    pub(super) fn all(&self) -> [&UdpSocket; 3] {
        [&self.dont_fragment, &self.no_checksum, &self.both]
    }

    /// The socket that sends with these headers; `plain` is the receiving one.
    pub(super) fn with<'a>(&'a self, headers: Headers, plain: &'a UdpSocket) -> &'a UdpSocket {
        match (headers.dont_fragment, headers.no_checksum) {
            (false, false) => plain,
            (true, false) => &self.dont_fragment,
            (false, true) => &self.no_checksum,
            (true, true) => &self.both,
        }
    }
}

fn beside(receiver: &UdpSocket, place: &Place) -> io::Result<UdpSocket> {
    let socket = unbound(place)?;
    socket.set_reuse_port(true)?;
    socket.bind(&receiver.local_addr()?.into())?;
    send_many(&socket)?;
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    options::queue_errors(&socket)?;
    // Whoever of the group the kernel finds first for what comes says whether it is merged.
    options::merge(&socket, true)?;
    Ok(socket)
}

/// Where datagrams go, and what the headers are like that the kernel puts around them.
#[derive(Clone, Copy)]
pub(super) struct Outward {
    /// The address that they come from; that which the route takes when absent.
    pub(super) source: Option<IpAddr>,
    pub(super) remote: SocketAddr,
    pub(super) tos: u8,
}

impl Outward {
    /// Sends one datagram.
    pub(super) fn send(self, socket: &UdpSocket, payload: &[u8]) -> io::Result<()> {
        self.send_merged(socket, payload, 0)
    }

    /// Sends what the kernel cuts into datagrams of `segment` octets and a last one of what is left; of 0, one datagram.
    pub(super) fn send_merged(
        self,
        socket: &UdpSocket,
        payload: &[u8],
        segment: u16,
    ) -> io::Result<()> {
        let to = SockaddrStorage::from(self.remote);
        let contents = [[IoSlice::new(payload)]];
        self.send_all(socket, &contents, &[Some(to)], segment)
            .map(drop)
    }

    /// Sends datagrams, 64 at most, up to the first that can't be; says how many went. An error is the first's.
    pub(super) fn send_each(self, socket: &UdpSocket, datagrams: &[&[u8]]) -> io::Result<usize> {
        let to = SockaddrStorage::from(self.remote);
        let datagram = |at: usize| datagrams.get(at).copied().unwrap_or_default();
        let contents: [_; DATAGRAMS_MAX] = array::from_fn(|at| [IoSlice::new(datagram(at))]);
        let count = datagrams.len().min(DATAGRAMS_MAX);
        self.send_all(socket, &contents[..count], &[Some(to); DATAGRAMS_MAX], 0)
    }

    fn send_all(
        self,
        socket: &UdpSocket,
        contents: &[[IoSlice<'_>; 1]],
        to: &[Option<SockaddrStorage>],
        segment: u16,
    ) -> io::Result<usize> {
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        again_after_a_complaint(|| {
            self.with_control(segment, |control, headers| {
                Ok(sendmmsg(fd, headers, contents, to, control, flags)?.count())
            })
        })
    }

    fn with_control<T>(
        self,
        segment: u16,
        send: impl FnOnce(&[ControlMessage<'_>], &mut Messages) -> T,
    ) -> T {
        let segments = ControlMessage::UdpGsoSegments(&segment);
        let with_source = usize::from(self.source.is_some());
        let count = 2 + with_source;
        KEPT.with_borrow_mut(|kept| match self.remote {
            SocketAddr::V4(_) => {
                let mut info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: 0 },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                if let Some(IpAddr::V4(source)) = self.source {
                    info.ipi_spec_dst.s_addr = u32::from_ne_bytes(source.octets());
                }
                let tos = ControlMessage::Ipv4Tos(&self.tos);
                let info = ControlMessage::Ipv4PacketInfo(&info);
                send(&[segments, tos, info][..count], &mut kept.ipv4[with_source])
            }
            SocketAddr::V6(_) => {
                let mut info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: [0; 16] },
                    ipi6_ifindex: 0,
                };
                if let Some(IpAddr::V6(source)) = self.source {
                    info.ipi6_addr.s6_addr = source.octets();
                }
                let class = self.tos.into();
                let class = ControlMessage::Ipv6TClass(&class);
                let info = ControlMessage::Ipv6PacketInfo(&info);
                send(
                    &[segments, class, info][..count],
                    &mut kept.ipv6[with_source],
                )
            }
        })
    }
}

/// The most datagrams in a call, merged (`UDP_MAX_SEGMENTS`) or not.
pub(crate) const DATAGRAMS_MAX: usize = 64;

type Messages = MultiHeaders<SockaddrStorage>;

thread_local! {
    /// Asked of the heap once, and not for each datagram.
    static KEPT: RefCell<Kept> = RefCell::new(Kept::new());
}

/// Headers of messages with room for their control messages, and no more: the kernel refuses what follows those. With a source the last is one.
struct Kept {
    ipv4: [Messages; 2],
    ipv6: [Messages; 2],
}

impl Kept {
    fn new() -> Self {
        let with_room = |octets| Messages::preallocate(DATAGRAMS_MAX, Some(octets));
        Self {
            ipv4: [
                nix::cmsg_space!(u16, u8),
                nix::cmsg_space!(u16, u8, libc::in_pktinfo),
            ]
            .map(with_room),
            ipv6: [
                nix::cmsg_space!(u16, libc::c_int),
                nix::cmsg_space!(u16, libc::c_int, libc::in6_pktinfo),
            ]
            .map(with_room),
        }
    }
}

/// An ICMP error about an earlier datagram, to whomever, fails one call: what it was to send has still to be sent.
fn again_after_a_complaint<T>(attempt: impl Fn() -> nix::Result<T>) -> io::Result<T> {
    let sent = attempt().or_else(|error| match error {
        nix::Error::EAGAIN => Err(error),
        _ => attempt(),
    });
    sent.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_datagrams_leave_in_one_call_from_wherever_they_are_to_come() {
        let datagrams: [&[u8]; 3] = [b"one", b"", b"three"];
        for host in ["127.0.0.1", "::1"].map(|host| host.parse::<IpAddr>().unwrap()) {
            let [from, to] = [(); 2].map(|()| UdpSocket::bind((host, 0)).unwrap());
            for source in [None, Some(host)] {
                let remote = to.local_addr().unwrap();
                let outward = Outward {
                    source,
                    remote,
                    tos: 0,
                };
                assert_eq!(outward.send_each(&from, &datagrams).unwrap(), 3);
                outward.send(&from, b"alone").unwrap();
                let mut octets = [0; 10];
                for datagram in [&datagrams[..], &[b"alone"]].concat() {
                    let len = to.recv(&mut octets).unwrap();
                    assert_eq!(&octets[..len], datagram);
                }
            }
        }
    }
}
