//! The kernel's PPPoL2TP sockets (`linux/if_pppox.h`, `linux/if_pppol2tp.h`, `linux/ppp-ioctl.h`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::c_int;
use rustix::ioctl::{Getter, Updater, ioctl, opcode};

use crate::Ids;

/// `PX_PROTO_OL2TP`.
const PX_PROTO_OL2TP: c_int = 1;
/// `SOL_PPPOL2TP`, and its options.
const SOL_PPPOL2TP: c_int = 273;
const SO_RECVSEQ: c_int = 2;
const SO_SENDSEQ: c_int = 3;
const SO_LNSMODE: c_int = 4;
const SO_REORDERTO: c_int = 5;

const PPPIOCGCHAN: rustix::ioctl::Opcode = opcode::read::<c_int>(b't', 55);
const PPPIOCGL2TPSTATS: rustix::ioctl::Opcode = opcode::read::<L2tpStats>(b't', 54);

/// `struct pppol2tp_ioc_stats`: counters of data messages.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct L2tpStats {
    pub(super) tunnel_id: u16,
    pub(super) session_id: u16,
    /// Its lowest bit: the tunnel's UDP socket has IPsec policies.
    pub(super) using_ipsec: u32,
    pub(super) tx_packets: u64,
    pub(super) tx_bytes: u64,
    pub(super) tx_errors: u64,
    pub(super) rx_packets: u64,
    pub(super) rx_bytes: u64,
    /// Discarded for their sequence number.
    pub(super) rx_seq_discards: u64,
    /// Out of order.
    pub(super) rx_oos_packets: u64,
    pub(super) rx_errors: u64,
}

/// A tunnel's or a session's socket.
#[derive(Debug)]
pub(super) struct PppoxSocket(OwnedFd);

impl PppoxSocket {
    /// Whether the kernel has this socket family, or a module that is loaded when asked for; the kernel's refusal otherwise.
    pub(super) fn probe() -> io::Result<()> {
        Self::open().map(drop)
    }

    fn open() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_PPPOX, kind, PX_PROTO_OL2TP) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes the tunnel (ids with session 0) or the session of these ids over a connected UDP socket.
    pub(super) fn connect(
        udp: BorrowedFd<'_>,
        remote: SocketAddr,
        local: Ids,
        peer: Ids,
    ) -> io::Result<Self> {
        let socket = Self::open()?;
        let address = address(udp.as_raw_fd(), remote, local, peer);
        // SAFETY: the address is alive for the call, and its size is given.
        let result = unsafe {
            libc::connect(
                socket.0.as_raw_fd(),
                address.as_ptr().cast(),
                address.len() as libc::socklen_t,
            )
        };
        if result == 0 {
            Ok(socket)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Sends sequence numbers from now on, or none.
    pub(super) fn set_sending_sequence(&self, on: bool) -> io::Result<()> {
        self.set(SO_SENDSEQ, c_int::from(on))
    }

    /// Drops what comes without a sequence number.
    pub(super) fn require_sequence(&self) -> io::Result<()> {
        self.set(SO_RECVSEQ, 1)
    }

    /// Whether our side says if there are sequence numbers (RFC 2661 section 5.4): otherwise it follows the peer.
    pub(super) fn set_lns_mode(&self, on: bool) -> io::Result<()> {
        self.set(SO_LNSMODE, c_int::from(on))
    }

    /// How long what is ahead waits for what is missing; the kernel counts in milliseconds.
    pub(super) fn set_reorder_timeout(&self, timeout: Duration) -> io::Result<()> {
        let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        self.set(SO_REORDERTO, milliseconds)
    }

    /// Whether it sends sequence numbers now.
    pub(super) fn sends_sequence(&self) -> io::Result<bool> {
        let mut value: c_int = 0;
        let mut size = size_of::<c_int>() as libc::socklen_t;
        // SAFETY: the value and its size are alive for the call.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                SOL_PPPOL2TP,
                SO_SENDSEQ,
                (&raw mut value).cast(),
                &raw mut size,
            )
        };
        if result == 0 {
            Ok(value != 0)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn set(&self, option: c_int, value: c_int) -> io::Result<()> {
        // SAFETY: the value is alive for the call, and its size is given.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                SOL_PPPOL2TP,
                option,
                (&raw const value).cast(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The number of the session's PPP channel. From then on frames go there; before, they wait in the socket.
    pub(super) fn channel(&self) -> io::Result<c_int> {
        // SAFETY: the number's argument is a pointer to one `int`.
        Ok(unsafe { ioctl(&self.0, Getter::<PPPIOCGCHAN, c_int>::new()) }?)
    }

    /// Takes one frame that came before [`Self::channel`] was called; `WouldBlock` when there is none.
    pub(super) fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let (len, _) = rustix::net::recv(&self.0, frame, flags)?;
        Ok(len)
    }

    /// The session's counters.
    pub(super) fn stats(&self) -> io::Result<L2tpStats> {
        let mut stats = L2tpStats::default();
        // SAFETY: the number's argument is a pointer to one `pppol2tp_ioc_stats`, which `L2tpStats` is in size and layout.
        unsafe { ioctl(&self.0, Updater::<PPPIOCGL2TPSTATS, _>::new(&mut stats)) }?;
        Ok(stats)
    }
}

impl AsFd for PppoxSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `struct sockaddr_pppol2tp` (38 octets) or `struct sockaddr_pppol2tpin6` (50 octets), both packed: the kernel tells them apart by their size.
///
/// ```text
/// IPv4: family 2 | protocol 4 | pid 4 (0: ours) | fd 4 | sockaddr_in 16 | s_tunnel, s_session, d_tunnel, d_session 2 each
/// IPv6: family 2 | protocol 4 | pid 4 | fd 4 | s_tunnel, s_session, d_tunnel, d_session 2 each | sockaddr_in6 28
/// ```
fn address(udp: c_int, remote: SocketAddr, local: Ids, peer: Ids) -> Vec<u8> {
    let mut octets = Vec::with_capacity(50);
    octets.extend((libc::AF_PPPOX as libc::sa_family_t).to_ne_bytes());
    octets.extend(PX_PROTO_OL2TP.to_ne_bytes());
    octets.extend(0_i32.to_ne_bytes());
    octets.extend(udp.to_ne_bytes());
    let ids = [local.tunnel, local.session, peer.tunnel, peer.session];
    let ids = ids.into_iter().flat_map(u16::to_ne_bytes);
    match remote {
        SocketAddr::V4(remote) => {
            octets.extend((libc::AF_INET as libc::sa_family_t).to_ne_bytes());
            octets.extend(remote.port().to_be_bytes());
            octets.extend(remote.ip().octets());
            octets.extend([0; 8]);
            octets.extend(ids);
        }
        SocketAddr::V6(remote) => {
            octets.extend(ids);
            octets.extend((libc::AF_INET6 as libc::sa_family_t).to_ne_bytes());
            octets.extend(remote.port().to_be_bytes());
            octets.extend(remote.flowinfo().to_be_bytes());
            octets.extend(remote.ip().octets());
            octets.extend(remote.scope_id().to_ne_bytes());
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_kernels_sizes() {
        let ids = Ids {
            tunnel: 1,
            session: 2,
        };
        assert_eq!(
            address(3, "192.0.2.1:1701".parse().unwrap(), ids, ids).len(),
            38
        );
        assert_eq!(
            address(3, "[2001:db8::1]:1701".parse().unwrap(), ids, ids).len(),
            50
        );
        assert_eq!(size_of::<L2tpStats>(), 72);
    }
}
