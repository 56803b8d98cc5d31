//! Two ends that open a tunnel to each other at the same time (RFC 2661 sections 4.4.3 and 7.2.1).
//!
//! Of our unanswered requests to the peer, the one with the best chance meets its request: so as many tunnels come up as the end that wants
//! more of them wants. A client that gave way waits for the peer's tunnel and takes it as its own.

use std::time::Duration;

use datapath::Transport;
use l2tp::TunnelState;
use sansio::Time;

use crate::Engine;
use crate::clients::ClientId;
use crate::tunnels::Origin;

/// How long a client waits for the tunnel that it gave way to before it tries again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Engine {
    /// Whether an SCCRQ that came by `path` is to be answered. If not, the peer drops its tunnel as we drop its request.
    pub(crate) fn settle_tie(&mut self, path: &Transport, theirs: Option<u64>, now: Time) -> bool {
        let (remote, listener) = (path.remote, &path.listener);
        let of_peer = (remote.ip(), 0)..=(remote.ip(), u16::MAX);
        let unanswered = self.dialing.range(of_peer).filter_map(|&(_, id)| {
            let tunnel = self
                .tunnels
                .get(&id)
                .filter(|t| t.remote == remote && t.listener == *listener)?;
            let waits = tunnel.control.state() == TunnelState::WaitCtlReply;
            waits.then(|| (id, tunnel.control.tie_breaker()))
        });
        let best = unanswered.min_by_key(|&(_, ours)| (ours.is_none(), ours));
        match best.map(|(id, ours)| (id, ours, theirs)) {
            None | Some((_, None, None)) => true,
            Some((id, Some(ours), Some(theirs))) if ours == theirs => {
                self.give_way(id, None, now);
                false
            }
            Some((_, Some(ours), theirs)) if theirs.is_none_or(|theirs| ours < theirs) => {
                self.counters.refused.tie_lost += 1;
                false
            }
            Some((id, ..)) => {
                self.give_way(id, Some(path.clone()), now);
                true
            }
        }
    }

    /// Drops an unanswered request of ours in silence, for the peer's tunnel if one is to come.
    fn give_way(&mut self, id: u16, to: Option<Transport>, now: Time) {
        let message = match &to {
            Some(_) => "the tunnel that the peer opens at the same time takes its place",
            None => "the peer opens a tunnel at the same time, with the same tie breaker",
        };
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.control.give_way(message);
        if let Origin::Client(client) = tunnel.origin {
            self.client_gives_way(client, to, message, now);
        }
        self.settle(id, now);
    }

    /// A tunnel that a peer opened is up: the client that gave way to it, if there is one, has it from now on.
    pub(crate) fn client_to_adopt(&mut self, id: u16, path: &Transport) -> Option<ClientId> {
        let mut waiting = self.clients.iter();
        let (&client, _) = waiting.find(|(_, client)| client.waits_for(path))?;
        self.tunnels.get_mut(&id)?.adopted_by = Some(client);
        Some(client)
    }
}
