//! The socket options that neither `rustix` nor `socket2` sets.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use libc::c_int;

/// `UDP_NO_CHECK6_TX` and `UDP_NO_CHECK6_RX` of `linux/udp.h`.
const UDP_NO_CHECK6_TX: c_int = 101;
const UDP_NO_CHECK6_RX: c_int = 102;
/// `ICMP_FILTER` of `linux/icmp.h`, `ICMPV6_FILTER` of `linux/icmpv6.h`: what is set is not heard.
const ICMP_FILTER: c_int = 1;
const ICMP6_FILTER: c_int = 1;
/// `SOL_UDP`.
const SOL_UDP: c_int = libc::IPPROTO_UDP;

const ON: c_int = 1;
const OFF: c_int = 0;

fn set<T: Copy>(socket: &impl AsRawFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call, and the option's value is a live `T` whose size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn is_ipv4(socket: &UdpSocket) -> io::Result<bool> {
    Ok(socket.local_addr()?.is_ipv4())
}

/// Lets an IPv6 socket fragment what does not fit the path.
pub(super) fn allow_ipv6_fragments(socket: &UdpSocket) -> io::Result<()> {
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &OFF)
}

/// Sets DF, and refuses what the kernel knows to be too large for its path.
pub(super) fn forbid_fragments(socket: &UdpSocket) -> io::Result<()> {
    if is_ipv4(socket)? {
        let always = libc::IP_PMTUDISC_DO;
        set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &always)
    } else {
        let always = libc::IPV6_PMTUDISC_DO;
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &always)?;
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &ON)
    }
}

/// Leaves the UDP checksum out of what is sent, or puts it in.
pub(super) fn leave_out_checksums(socket: &UdpSocket, leave_out: bool) -> io::Result<()> {
    let leave_out = c_int::from(leave_out);
    if is_ipv4(socket)? {
        set(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, &leave_out)
    } else {
        set(socket, SOL_UDP, UDP_NO_CHECK6_TX, &leave_out)
    }
}

/// Takes datagrams without a checksum over IPv6 too, as IPv4 sockets always do.
pub(super) fn take_without_checksum(socket: &UdpSocket) -> io::Result<()> {
    if is_ipv4(socket)? {
        return Ok(());
    }
    set(socket, SOL_UDP, UDP_NO_CHECK6_RX, &ON)
}

/// Lets the kernel merge the datagrams of a stream, or hand up each as it came.
pub(super) fn merge(socket: &UdpSocket, on: bool) -> io::Result<()> {
    set(socket, SOL_UDP, libc::UDP_GRO, &c_int::from(on))
}

/// Has nothing of what comes to a raw socket of ICMP, or ICMPv6, wait in it.
pub(crate) fn hear_no_icmp(socket: &impl AsRawFd, ipv6: bool) -> io::Result<()> {
    match ipv6 {
        true => set(socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &[u32::MAX; 8]),
        false => set(socket, libc::SOL_RAW, ICMP_FILTER, &u32::MAX),
    }
}

/// Whether the kernel merges the datagrams of a stream.
pub(crate) fn can_merge(socket: &UdpSocket) -> io::Result<()> {
    merge(socket, true)
}

/// Whether the kernel cuts what is sent into datagrams.
pub(crate) fn can_segment(socket: &UdpSocket) -> io::Result<()> {
    set(socket, SOL_UDP, libc::UDP_SEGMENT, &OFF)
}

/// The TOS octet, or the traffic class, of what the kernel itself sends through it.
pub(crate) fn set_tos(socket: &UdpSocket, tos: u8) -> io::Result<()> {
    let tos = c_int::from(tos);
    if is_ipv4(socket)? {
        set(socket, libc::IPPROTO_IP, libc::IP_TOS, &tos)
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &tos)
    }
}

/// Keeps the ICMP errors about what was sent, to be read with the datagram's destination.
pub(super) fn queue_errors(socket: &UdpSocket) -> io::Result<()> {
    if is_ipv4(socket)? {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &ON)
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &ON)
    }
}

/// Lets the first socket of a group that shares an address and a port (`SO_REUSEPORT`) have all that comes.
pub(super) fn receive_with_the_first(group: &UdpSocket) -> io::Result<()> {
    let mut the_first = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut the_first,
    };
    let level = libc::SOL_SOCKET;
    // The kernel copies the program, which lives until the call is over.
    set(group, level, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}
