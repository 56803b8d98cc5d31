//! A session of the kernel that another program speaks PPP in: the program has its socket, and makes channel, unit and device of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::genl::Family;
use super::pppox::PppoxSocket;
use super::session::{connect, counts, number};
use crate::socket::Socket;
use crate::{DatapathError, Encapsulation, Sequencing, SessionSpec, Stats};

/// A session that lives as long as this does, or the other program has the socket.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) spec: SessionSpec,
    socket: PppoxSocket,
}

impl Lent {
    pub(super) fn open(spec: SessionSpec, tunnel: &Socket) -> Result<Self, DatapathError> {
        let socket = connect(&spec, tunnel)?;
        Ok(Self { spec, socket })
    }

    /// The socket for the other program, which closes it when it ends.
    pub(super) fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Says anew whether its messages have sequence numbers: that ours do, once the peer has negotiated its network layer, as what it sends before it
    /// has seen the first would be dropped.
    pub(super) fn set_sequencing(&self, sequencing: Sequencing, family: Option<&mut Family>) {
        let Encapsulation::V2 { local, .. } = self.spec.encapsulation;
        number(&self.socket, local, sequencing, family);
    }

    /// What the L2TP session counts, PPP's control frames included.
    pub(super) fn stats(&self, family: Option<&mut Family>) -> Stats {
        counts(&self.spec, &self.socket, family)
    }
}
