//! Notices that somebody deletes our tunnels and sessions in the kernel (`ip l2tp del`), which their sockets and channels do not.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_sys::Socket;

use super::genl::{self, Context, Family};

/// How often it is looked whether what is said to be deleted is gone.
const INTERVAL: Duration = Duration::from_millis(50);

/// How many times: by then it is another network namespace's, of the same ids.
const LOOKS: u32 = 20;

/// What is said of tunnels and sessions, of which the kernel's is not the last word: it is said in all network namespaces, and before it is done.
pub(super) struct Watch {
    family: Family,
    socket: Socket,
    suspects: Vec<Suspect>,
}

struct Suspect {
    what: Context,
    looks: u32,
}

impl Watch {
    /// Hears from now on what is done.
    pub(super) fn open() -> io::Result<Self> {
        let family = Family::open()?;
        let socket = family.subscribe()?;
        Ok(Self {
            family,
            socket,
            suspects: Vec::new(),
        })
    }

    /// How long to wait at most until [`Self::look`] is called again.
    pub(super) fn interval(&self) -> Option<Duration> {
        (!self.suspects.is_empty()).then_some(INTERVAL)
    }

    /// What is gone. Where it can't be known what was said, it may be any of `known`.
    pub(super) fn look(&mut self, known: impl Fn() -> Vec<Context>) -> Vec<Context> {
        loop {
            match genl::deleted(&self.socket) {
                Ok(deleted) => self.suspect(deleted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::debug!("the l2tp family's notices: {error}");
                    self.suspect(known());
                    break;
                }
            }
        }
        let family = &mut self.family;
        let mut gone = Vec::new();
        self.suspects.retain_mut(|suspect| {
            if family.has(suspect.what) == Some(false) {
                gone.push(suspect.what);
                return false;
            }
            suspect.looks += 1;
            suspect.looks < LOOKS
        });
        gone
    }

    fn suspect(&mut self, what: Vec<Context>) {
        let suspect = |what| Suspect { what, looks: 0 };
        self.suspects.extend(what.into_iter().map(suspect));
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
