//! What the network says of the paths to peers: their MTU, and that a datagram did not arrive.

use std::net::{IpAddr, SocketAddr};

use datapath::Listener;

use crate::Engine;
use crate::tunnels::Origin;

impl Engine {
    /// The path to a peer takes packets of `mtu` octets from now on: so do the sessions of the tunnels that heed it.
    pub(crate) fn path_mtu_changed(&mut self, listener: &Listener, remote: IpAddr, mtu: u16) {
        let mut changed = Vec::new();
        for (&id, tunnel) in &mut self.tunnels {
            let heeds = tunnel.setup.params.do_pmtu_discovery()
                && (&tunnel.listener, tunnel.remote.ip()) == (listener, remote);
            if !heeds || tunnel.path_mtu == Some(mtu) {
                continue;
            }
            tunnel.path_mtu = Some(mtu);
            for (&session_id, session) in &mut tunnel.sessions {
                let before = session.mtu();
                session.path_mtu = Some(mtu);
                if session.has_network() && session.mtu() != before {
                    changed.push((id, session_id));
                }
            }
        }
        for (tunnel, session) in changed {
            self.configure_in_datapath(tunnel, session);
        }
    }

    /// A datagram of a tunnel did not arrive, or so somebody says. That ends nothing, as anybody can say it; but when a tunnel that we open ends for
    /// its peer's silence, its operator reads it.
    pub(crate) fn peer_unreachable(
        &mut self,
        listener: &Listener,
        remote: SocketAddr,
        reason: &str,
    ) {
        self.counters.datagrams.unreachable += 1;
        let its = self.tunnels.values_mut().filter(|tunnel| {
            (&tunnel.listener, tunnel.remote) == (listener, remote)
                && matches!(tunnel.origin, Origin::Client(_))
        });
        for tunnel in its {
            tunnel.unreachable = Some(reason.to_owned());
        }
    }
}
