//! How datagrams leave. The TOS octet is a matter of one packet; DF and the checksum are properties of a socket, so there is one for each
//! combination, bound to the same address and port.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, sendmsg,
};

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
        let contents = [IoSlice::new(payload)];
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        again_after_a_complaint(|| {
            self.with_control(segment, |control, to| {
                sendmsg(fd, &contents, control, flags, Some(&to)).map(drop)
            })
        })
    }

    /// Sends datagrams up to the first that can't be; says how many went. An error is the first's.
    pub(super) fn send_each(self, socket: &UdpSocket, datagrams: &[&[u8]]) -> io::Result<usize> {
        let contents: Vec<_> = datagrams.iter().map(|d| [IoSlice::new(d)]).collect();
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        again_after_a_complaint(|| {
            self.with_control(0, |control, to| {
                let space = Some(nix::cmsg_space!([libc::in6_pktinfo; 3]));
                let mut headers = MultiHeaders::preallocate(contents.len(), space);
                let to = vec![Some(to); contents.len()];
                let sent = sendmmsg(fd, &mut headers, &contents, to, control, flags)?;
                Ok(sent.count())
            })
        })
    }

    fn with_control<T>(
        self,
        segment: u16,
        send: impl FnOnce(&[ControlMessage<'_>], SockaddrStorage) -> T,
    ) -> T {
        let to = SockaddrStorage::from(self.remote);
        let segments = ControlMessage::UdpGsoSegments(&segment);
        let count = if self.source.is_some() { 3 } else { 2 };
        match self.remote {
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
                send(&[segments, tos, info][..count], to)
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
                send(&[segments, class, info][..count], to)
            }
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
