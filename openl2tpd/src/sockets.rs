//! The UDP sockets: one of each address family for every port that we serve or start tunnels from.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

use datapath::Transport;
use datapath::null::Outlet;
use datapath::socket::{Headers, Socket};
use tracing::{debug, warn};

/// The sockets there are, shared between management, which adds some, and the shard, which sends through them.
#[derive(Clone, Default)]
pub(crate) struct Sockets(Arc<RwLock<Vec<Arc<Socket>>>>);

impl Sockets {
    /// Makes `port` ours, and returns the sockets that are new: none when it is ours already. A machine without IPv6 has only IPv4.
    pub(crate) fn bind(&self, port: u16) -> io::Result<Vec<Arc<Socket>>> {
        let mut sockets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if sockets
            .iter()
            .any(|socket| socket.local_addr().port() == port)
        {
            return Ok(Vec::new());
        }
        let mut new = vec![Socket::bind((Ipv4Addr::UNSPECIFIED, port).into())?];
        match Socket::bind((Ipv6Addr::UNSPECIFIED, port).into()) {
            Ok(socket) => new.push(socket),
            Err(error) if is_ours_to_solve(&error) => return Err(error),
            Err(error) => warn!("IPv4 only on port {port}: {error}"),
        }
        sockets.extend_from_slice(&new);
        Ok(new)
    }

    /// Sends one datagram; a failure is the network's and the peer's timers deal with it.
    pub(crate) fn transmit(&self, path: &Transport, dscp: u8, payload: &[u8]) {
        let (local, remote) = (path.local, path.remote);
        let sockets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let serves =
            |socket: &&Arc<Socket>| *socket.listener() == path.listener && socket.serves(local);
        let Some(socket) = sockets.iter().find(serves) else {
            debug!("no socket to send from {local} to {remote}");
            return;
        };
        let headers = Headers {
            tos: dscp << 2,
            ..Headers::default()
        };
        if let Err(error) = socket.send(local, remote, headers, payload) {
            debug!("cannot send from {local} to {remote}: {error}");
        }
    }

    /// Datagrams that full send queues dropped.
    pub(crate) fn dropped(&self) -> u64 {
        let sockets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().map(|socket| socket.dropped()).sum()
    }
}

impl Outlet for Sockets {
    fn send(&mut self, transport: &Transport, datagram: &[u8]) {
        self.transmit(transport, 0, datagram);
    }
}

/// Whether an error is about this socket, and not about a machine without IPv6.
fn is_ours_to_solve(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    )
}
