//! Two ends that open a tunnel to each other at the same time (RFC 2661 sections 4.4.3 and 7.2.1).
//!
//! Of our unanswered requests to the peer, the one with the best chance meets its request: so as many tunnels come up as the end that wants
//! more of them wants. A client that gave way waits for the peer's tunnel and takes it as its own.
//!
//! Anybody can forge an SCCRQ with a tie breaker that wins. So the request that lost is not forgotten before the peer's tunnel is established;
//! it only falls silent, which looks the same to a peer that did win. One that answers our request did not send the other.

use std::time::Duration;

use datapath::Transport;
use l2tp::TunnelState;
use sansio::Time;

use crate::Engine;
use crate::clients::{Client, ClientId, State};
use crate::tunnels::{Origin, Tunnel};

/// How long a request that lost is silent.
const PATIENCE: Duration = Duration::from_secs(20);

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
            (waits && !tunnel.is_silent(now)).then(|| (id, tunnel.control.tie_breaker()))
        });
        let best = unanswered.min_by_key(|&(_, ours)| (ours.is_none(), ours));
        match best.map(|(id, ours)| (id, ours, theirs)) {
            None | Some((_, None, None)) => true,
            Some((id, Some(ours), Some(theirs))) if ours == theirs => {
                self.drop_request(id, now);
                false
            }
            Some((_, Some(ours), theirs)) if theirs.is_none_or(|theirs| ours < theirs) => {
                self.counters.refused.tie_lost += 1;
                false
            }
            Some((id, ..)) => {
                self.give_way(id, path, now);
                true
            }
        }
    }

    /// Lets an unanswered request of ours fall silent for the peer's tunnel.
    fn give_way(&mut self, id: u16, to: &Transport, now: Time) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.silent_until = Some(now + PATIENCE);
        if let Origin::Client(client) = tunnel.origin
            && let Some(client) = self.clients.get_mut(&client)
        {
            client.gave_way_to = Some(to.clone());
        }
    }

    /// Drops an unanswered request of ours without a word, as the peer drops the one that met it; its client tries again.
    fn drop_request(&mut self, id: u16, now: Time) {
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            let message = "the peer opens a tunnel at the same time, with the same tie breaker";
            tunnel.control.give_way(message);
            self.settle(id, now);
        }
    }

    /// A tunnel that a peer opened is up: the client that gave way to it, if there is one, has it from now on. The peer must have proven as
    /// much about itself as the client demands.
    pub(crate) fn client_to_adopt(&mut self, id: u16, path: &Transport) -> Option<ClientId> {
        let proven = &self.tunnels.get(&id)?.setup.tunnel;
        let waits = |client: &Client| {
            let demanded = &client.setup.tunnel;
            let enough =
                !demanded.challenge || (proven.challenge && proven.secret == demanded.secret);
            enough && client.waits_for(path)
        };
        let (&client, _) = self.clients.iter().find(|(_, client)| waits(client))?;
        self.tunnels.get_mut(&id)?.adopted_by = Some(client);
        Some(client)
    }

    /// The client has `id` in place of the request of its own that gave way to it, and the sessions that were to be on `id`.
    pub(crate) fn adopt(&mut self, client: ClientId, id: u16, now: Time) {
        let gave_way = self.clients.get(&client).map(|client| client.state);
        let created = self.tunnels.get_mut(&id).and_then(|t| t.created.take());
        if let (Some(client), Some(created)) = (self.clients.get_mut(&client), created) {
            client.sessions.take_over(*created);
        }
        self.client_tunnel_up(client, id, now);
        if let Some(State::Tunnel(request)) = gave_way
            && let Some(tunnel) = self.tunnels.get_mut(&request)
        {
            let message = "the tunnel that the peer opened at the same time takes its place";
            tunnel.control.give_way(message);
            self.settle(request, now);
        }
    }
}

impl Tunnel {
    /// Whether nothing may be sent: our request gave way to one of the peer's.
    pub(crate) fn is_silent(&self, now: Time) -> bool {
        self.control.state() == TunnelState::WaitCtlReply
            && self.silent_until.is_some_and(|until| now < until)
    }
}
