//! Sockets of netlink that say no more than that something has changed: what it is, is looked up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr};

/// Hears of changes in the network namespace of the thread that made it. It can be read once it has rung.
pub(crate) struct Doorbell(Socket);

impl Doorbell {
    /// Hears of these groups of a family (`netlink_sys::protocols`).
    pub(crate) fn open(family: isize, groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(family)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        for &group in groups {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Whether it has rung since the last time.
    pub(crate) fn has_rung(&self) -> bool {
        let mut octets = Vec::with_capacity(1 << 15);
        let mut rung = false;
        loop {
            match self.0.recv(&mut octets, 0) {
                Ok(_) => octets.clear(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return rung,
                // More was said than it holds.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => return rung,
            }
            rung = true;
        }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as this is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
