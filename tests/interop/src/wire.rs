//! The wire as it is used: who waits for a step of a set-up waits for so many messages.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::netns::Namespace;

/// How often a wait looks at the clock.
const TURN: Duration = Duration::from_millis(100);

/// A socket that sees each datagram of L2TP that crosses a namespace's devices, either way.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    seen: usize,
}

impl Wire {
    /// Sees all from now on.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the socket not be made.
    pub fn open(place: &Namespace) -> Result<Self> {
        let all = SockProtocol::EthAll;
        let (family, kind) = (AddressFamily::Packet, SockType::Datagram);
        let open = || Ok(socket(family, kind, SockFlag::SOCK_CLOEXEC, all)?);
        let socket = place.enter(open).context("a packet socket")?;
        let turn = TimeVal::new(0, TURN.as_micros() as i64);
        setsockopt(&socket, sockopt::ReceiveTimeout, &turn)?;
        Ok(Self { socket, seen: 0 })
    }

    /// Waits until so many have crossed, as long as `may_come` says that more may come and at most for `patience`. Returns how many have.
    ///
    /// # Errors
    /// The socket cannot be read, or `may_come` failed.
    pub fn wait_for(
        &mut self,
        count: usize,
        patience: Duration,
        mut may_come: impl FnMut() -> Result<bool>,
    ) -> Result<usize> {
        let deadline = Instant::now() + patience;
        let mut packet = [0; 64];
        while self.seen < count && Instant::now() < deadline {
            match recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::MSG_TRUNC) {
                Ok(_) if is_l2tp(&packet) => self.seen += 1,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if may_come()? => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(error).context("read the wire"),
            }
        }
        Ok(self.seen)
    }
}

/// UDP of IPv4 from or to port 1701.
fn is_l2tp(packet: &[u8; 64]) -> bool {
    let port = 1701_u16.to_be_bytes();
    packet[0] == 0x45 && packet[9] == 17 && (packet[20..22] == port || packet[22..24] == port)
}
