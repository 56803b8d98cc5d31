//! A session of the kernel that another program speaks PPP in: the program has its socket, and makes channel, unit and device of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::genl::{Family, session_id};
use super::pppox::PppoxSocket;
use super::session::{connect, counts};
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

    /// Lets what is sent have sequence numbers, or none, where that is ours to say: once the peer has negotiated its network layer, as what it sends
    /// before it has seen the first number would be dropped.
    pub(super) fn set_sequencing(&self, send: bool, family: Option<&mut Family>) {
        let Encapsulation::V2 {
            local, sequencing, ..
        } = self.spec.encapsulation;
        if !matches!(sequencing, Sequencing::Own(_)) {
            return;
        }
        let told = family.map(|family| family.number(session_id(local), send));
        if let Some(Ok(())) = told {
            return;
        }
        let set = self.socket.set_lns_mode(true);
        if let Err(error) = set.and_then(|()| self.socket.set_sending_sequence(send)) {
            tracing::warn!("sequence numbers of a session of pppd: {error}");
        }
    }

    /// What the L2TP session counts, PPP's control frames included.
    pub(super) fn stats(&self, family: Option<&mut Family>) -> Stats {
        counts(&self.spec, &self.socket, family)
    }
}
