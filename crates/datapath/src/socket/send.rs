//! How datagrams leave. The TOS octet is a matter of one packet; DF and the checksum are properties of a socket, so there is one for each
//! combination, bound to the same address and port.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, sendmsg};

use super::{Place, options, unbound};

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
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    options::queue_errors(&socket)?;
    Ok(socket)
}

/// Sends one datagram from `source`, or from the address that the route takes.
pub(super) fn send(
    socket: &UdpSocket,
    source: Option<IpAddr>,
    remote: SocketAddr,
    tos: u8,
    payload: &[u8],
) -> io::Result<()> {
    let attempt = || match remote {
        SocketAddr::V4(remote) => {
            let mut info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: 0 },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            if let Some(IpAddr::V4(source)) = source {
                info.ipi_spec_dst.s_addr = u32::from_ne_bytes(source.octets());
            }
            let messages = [
                ControlMessage::Ipv4Tos(&tos),
                ControlMessage::Ipv4PacketInfo(&info),
            ];
            let messages = &messages[..if source.is_some() { 2 } else { 1 }];
            let to = SockaddrIn::from(remote);
            let contents = [IoSlice::new(payload)];
            let flags = MsgFlags::empty();
            sendmsg(socket.as_raw_fd(), &contents, messages, flags, Some(&to))
        }
        SocketAddr::V6(remote) => {
            let mut info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: [0; 16] },
                ipi6_ifindex: 0,
            };
            if let Some(IpAddr::V6(source)) = source {
                info.ipi6_addr.s6_addr = source.octets();
            }
            let class = tos.into();
            let messages = [
                ControlMessage::Ipv6TClass(&class),
                ControlMessage::Ipv6PacketInfo(&info),
            ];
            let messages = &messages[..if source.is_some() { 2 } else { 1 }];
            let to = SockaddrIn6::from(remote);
            let contents = [IoSlice::new(payload)];
            let flags = MsgFlags::empty();
            sendmsg(socket.as_raw_fd(), &contents, messages, flags, Some(&to))
        }
    };
    // An ICMP error about an earlier datagram, to whomever, fails one call: this datagram has still to be sent.
    let sent = attempt().or_else(|error| match error {
        nix::Error::EAGAIN => Err(error),
        _ => attempt(),
    });
    sent.map(drop).map_err(io::Error::from)
}
