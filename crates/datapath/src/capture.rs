//! Packets of sessions for those who want to see them: IP, in clear, as the session's device gives and takes them.

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, SockaddrLike, bind, recvfrom};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::device::index_of;
use crate::{DatapathError, thread};

/// Octets that may wait to be seen.
const QUEUE: usize = 1 << 22;
/// How often it is looked whether anybody looks still.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
/// Packets taken before it is looked how many were missed.
const PACKETS_PER_TURN: usize = 256;
/// The largest IP packet, octets.
const PACKET_MAX: usize = 1 << 16;

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the peer to the host.
    Received,
    /// From the host to the peer.
    Sent,
}

/// Who sees the packets of a session. Called from an engine's own threads.
pub trait Tap: Debug + Send + Sync {
    /// Takes a packet. Must not block.
    fn see(&self, way: Way, packet: &[u8]);

    /// So many packets passed that the kernel had no room for.
    fn miss(&self, packets: u64);

    /// Whether anybody looks still.
    fn is_open(&self) -> bool;
}

/// Lets all of `taps` see a packet.
pub(crate) fn show(taps: &[Arc<dyn Tap>], way: Way, packet: &[u8]) {
    taps.iter().for_each(|tap| tap.see(way, packet));
}

/// Lets `tap` see what goes through the device of this name, in the calling thread's network namespace, until nobody looks or the device is gone.
///
/// # Errors
///
/// There is no such device, or CAP_NET_RAW is missing.
pub fn device(name: &str, tap: Arc<dyn Tap>) -> Result<(), DatapathError> {
    let what = format!("capture on device {name}");
    let (socket, index) = open(name).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => DatapathError::System {
            what,
            reason: format!("{error}; CAP_NET_RAW is needed"),
        },
        _ => DatapathError::system(what, &error),
    })?;
    let name = name.to_owned();
    thread::spawn("capture", move || {
        if let Err(error) = follow(&socket, &name, index, &*tap) {
            tracing::debug!("capture on device {name} ends: {error}");
        }
    })
    .map(drop)
}

/// A socket that all goes to that goes through a device, and the device's index.
fn open(name: &str) -> io::Result<(OwnedFd, u32)> {
    let index = index_of(name)?;
    // Of no protocol until it is bound, so that nothing of another device comes.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, QUEUE))?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a whole `sockaddr_ll` of that family and size, which is copied.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(len)) };
    let address = address.ok_or(io::ErrorKind::InvalidInput)?;
    bind(socket.as_raw_fd(), &address)?;
    Ok((socket, index))
}

fn follow(socket: &OwnedFd, name: &str, index: u32, tap: &dyn Tap) -> io::Result<()> {
    let mut packet = vec![0; PACKET_MAX];
    while tap.is_open() {
        let mut ready = [PollFd::new(socket, PollFlags::IN)];
        match poll(&mut ready, Some(&PATIENCE)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for _ in 0..PACKETS_PER_TURN {
            match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut packet) {
                Ok((len, from)) => {
                    let sent = from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING);
                    let way = if sent { Way::Sent } else { Way::Received };
                    tap.see(way, &packet[..len]);
                }
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                // It was switched off, or is gone.
                Err(Errno::ENETDOWN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        match missed(socket)? {
            0 => {}
            packets => tap.miss(packets.into()),
        }
        if index_of(name).ok() != Some(index) {
            return Ok(());
        }
    }
    Ok(())
}

/// How many packets the socket had no room for since it was last asked.
fn missed(socket: &OwnedFd) -> io::Result<u32> {
    let mut stats = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` octets to the struct, which is of that size and lives until the call is over.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Ok(stats.tp_drops),
        _ => Err(io::Error::last_os_error()),
    }
}
