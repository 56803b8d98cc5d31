//! Which tunnels peers may open, and what those cost us that never come to anything.

use datapath::Transport;
use l2tp::{Sccrq, StopReason, TunnelState};
use sansio::Time;

use crate::buckets::Allowance;
use crate::policy::TunnelSetup;
use crate::source::Source;
use crate::tunnels::Origin;
use crate::{Engine, Event, Output, Shutdown};

impl Engine {
    /// A control message to tunnel 0: an SCCRQ, new or repeated, or the StopCCN of a peer that never learned our Tunnel ID.
    /// The tunnel that took it, if one did.
    pub(crate) fn connection_request(
        &mut self,
        path: Transport,
        datagram: &[u8],
        now: Time,
    ) -> Option<u16> {
        let (policy, from) = (&mut self.policy, path.remote);
        let secret_of = |name: &str| policy.for_peer(name, from).tunnel.secret.clone();
        let sccrq = match l2tp::open_sccrq(datagram, secret_of) {
            Ok(sccrq) => sccrq,
            Err(error) => {
                let named = l2tp::assigned_tunnel_id(datagram);
                let unproven = self.unproven_of_peer(&path, named.unwrap_or_default());
                if unproven.is_empty() {
                    self.counters.bad_connection_request(&error);
                }
                for &id in &unproven {
                    self.deliver(id, datagram, now);
                }
                return unproven.first().copied();
            }
        };
        let unproven = self.unproven_of_peer(&path, sccrq.assigned_tunnel_id);
        let repeated = unproven.iter().find(|id| {
            let tunnel = self.tunnels.get(id).map(|tunnel| &tunnel.control);
            tunnel.is_some_and(|control| {
                control.state() == TunnelState::WaitCtlConn && control.is_repeated_by(&sccrq)
            })
        });
        if let Some(&id) = repeated {
            self.deliver(id, datagram, now);
            return Some(id);
        }
        if unproven.len() >= UNPROVEN_OF_ONE_NAME {
            let age = |id: &&u16| self.tunnels.get(id).map(|tunnel| tunnel.half_open);
            if let Some(&oldest) = unproven.iter().min_by_key(age) {
                self.abandon(oldest, StopReason::clear(BEGAN_ANEW), now);
            }
        }
        self.open_for_peer(path, &sccrq, now)
    }

    fn deliver(&mut self, id: u16, datagram: &[u8], now: Time) {
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.control.handle_message(datagram, now, &mut self.rng);
            self.settle(id, now);
        }
    }

    /// Opens a tunnel that a peer asks for, and says which, or says to the peer why not.
    ///
    /// There may be one of this address, port and peer's Tunnel ID already, of a peer that restarted since. It lives until the new one is
    /// established: an SCCRQ proves nothing.
    fn open_for_peer(&mut self, path: Transport, sccrq: &Sccrq, now: Time) -> Option<u16> {
        let (remote, peer_id) = (path.remote, sccrq.assigned_tunnel_id);
        let source = Source::from(remote.ip());
        if !self
            .limits
            .may_open_tunnel(source, self.allowed_failures(), now)
        {
            self.counters.limits.throttled_tunnels += 1;
            return None;
        }
        let setup = self.policy.for_peer(&sccrq.host_name, remote);
        let replaces = self.opened_by(&path, peer_id).next().is_some();
        if let Some(reason) = self.refusal(&setup, replaces) {
            self.refuse(path, sccrq, &reason, now);
            return None;
        }
        if sccrq.peer.is_ok() && !self.settle_tie(&path, sccrq.tie_breaker, now) {
            return None;
        }
        self.make_room(source, now);
        let Some(id) = self.free_tunnel_id() else {
            self.counters.refused.no_tunnel_id += 1;
            return None;
        };
        match l2tp::Tunnel::accept(setup.tunnel.clone(), id, sccrq, now, &mut self.rng) {
            Ok(control) => {
                let origin = Origin::Peer(remote, peer_id);
                self.by_peer
                    .insert((path.listener.clone(), remote, peer_id, id));
                self.add_tunnel(id, control, setup, path, origin, now);
                if let Some(tunnel) = self.tunnels.get_mut(&id) {
                    tunnel.half_open = Some(self.half_open.insert(source, id));
                }
                self.settle(id, now);
                Some(id)
            }
            Err(reason) => {
                self.refuse(path, sccrq, &reason, now);
                None
            }
        }
    }

    /// Why a peer may not open a tunnel now: one more, or in place of another of its own.
    fn refusal(&mut self, setup: &TunnelSetup, replaces: bool) -> Option<StopReason> {
        let full = !replaces && self.tunnel_room() <= 0;
        let system = &self.policy.model().system;
        let refused = &mut self.counters.refused;
        if self.shutdown != Shutdown::No || system.drain_tunnels() {
            refused.tunnel_policy += 1;
            return Some(StopReason::shutting_down(
                "new tunnels are not accepted now",
            ));
        }
        if system.deny_remote_tunnel_creates() {
            refused.tunnel_policy += 1;
            return Some(StopReason::not_authorized("tunnels are not accepted here"));
        }
        if full {
            refused.tunnel_limit += 1;
            return Some(StopReason::no_resources(LIMIT_REACHED));
        }
        if !setup.peer_is_known {
            refused.unknown_peer += 1;
            return Some(StopReason::not_authorized("no peer profile matches"));
        }
        None
    }

    /// Refuses a tunnel without making one. Who asks too often is not told any more: its source may be somebody else, who never asked.
    fn refuse(&mut self, path: Transport, sccrq: &Sccrq, reason: &StopReason, now: Time) {
        self.event(Event::TunnelRefused {
            remote: path.remote,
            host_name: sccrq.host_name.clone(),
            reason: reason.to_string(),
        });
        if !self.limits.may_be_told(path.remote.ip().into(), now) {
            self.counters.limits.silent_refusals += 1;
            return;
        }
        let id = self.free_tunnel_id().unwrap_or(u16::MAX);
        let (payload, counters) = sccrq.refuse(id, reason);
        self.counters.add_control(&counters);
        if self.shows_messages(0) {
            self.trace_sent(0, (path.local, path.remote), false, &payload);
        }
        self.outputs.push_back(Output::Transmit {
            listener: path.listener,
            local: path.local,
            remote: path.remote,
            dscp: 0,
            payload,
        });
    }

    /// Ends the oldest tunnels that were never established until one more may begin.
    fn make_room(&mut self, source: Source, now: Time) {
        let system = &self.policy.model().system;
        let (most, of_source) = (system.half_open_limit(), system.half_open_source_limit());
        while self.half_open.len_of(source) >= of_source as usize
            && let Some(oldest) = self.half_open.oldest_of(source)
        {
            self.counters.limits.half_open_of_source += 1;
            self.abandon(oldest, StopReason::no_resources(TOO_MANY), now);
        }
        while (self.half_open.len() >= most as usize || self.tunnels.len() >= usize::from(u16::MAX))
            && let Some(oldest) = self.half_open.oldest()
        {
            self.counters.limits.half_open += 1;
            self.abandon(oldest, StopReason::no_resources(TOO_MANY), now);
        }
    }

    /// Ends a tunnel without a word to its peer.
    fn abandon(&mut self, id: u16, reason: StopReason, now: Time) {
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.control.abandon(reason);
            self.settle(id, now);
        }
    }

    /// A tunnel that a peer opened is established: it counts against no limit any more, and what was there before under the same name is over.
    pub(crate) fn peer_tunnel_up(&mut self, id: u16, path: &Transport, peer_id: u16, now: Time) {
        self.no_longer_half_open(id);
        self.limits
            .tunnel_worked(path.remote.ip().into(), self.allowed_failures(), now);
        let others: Vec<u16> = self.opened_by(path, peer_id).filter(|o| *o != id).collect();
        for other in others {
            self.counters.limits.replaced_tunnels += 1;
            self.abandon(other, StopReason::clear(BEGAN_ANEW), now);
        }
        // More may have been under way at once than there is room for.
        if self.tunnel_room() < 0 {
            self.counters.refused.tunnel_limit += 1;
            self.close_tunnel(id, StopReason::no_resources(LIMIT_REACHED), now);
        }
    }

    /// How many tunnels more there may be; those that peers asked for and that are not established have limits of their own.
    pub(crate) fn tunnel_room(&self) -> i64 {
        let count = self.tunnels.len() - self.half_open.len();
        match self.policy.model().system.max_tunnels() {
            0 => i64::MAX,
            limit => i64::from(limit) - count as i64,
        }
    }

    pub(crate) fn no_longer_half_open(&mut self, id: u16) {
        let tunnel = self.tunnels.get_mut(&id);
        if let Some(place) = tunnel.and_then(|tunnel| tunnel.half_open.take()) {
            self.half_open.remove(place);
        }
    }

    /// How often a source may fail.
    pub(crate) fn allowed_failures(&self) -> Allowance {
        let system = &self.policy.model().system;
        Allowance {
            burst: system.failure_burst(),
            per_second: system.failure_rate(),
        }
    }

    /// The tunnels that a peer opened under one Tunnel ID of its own.
    fn opened_by(&self, path: &Transport, peer_id: u16) -> impl Iterator<Item = u16> {
        let key = |id| (path.listener.clone(), path.remote, peer_id, id);
        let ids = key(0)..=key(u16::MAX);
        self.by_peer.range(ids).map(|&(_, _, _, id)| id)
    }

    /// Those of them that their peer has not yet shown to know of: several, if it began anew or somebody pretends so.
    fn unproven_of_peer(&self, path: &Transport, peer_id: u16) -> Vec<u16> {
        let unproven = |id: &u16| {
            let tunnel = self.tunnels.get(id);
            tunnel.is_some_and(|tunnel| !tunnel.control.is_proven())
        };
        self.opened_by(path, peer_id).filter(unproven).collect()
    }
}

/// How many different SCCRQs of one address, port and Assigned Tunnel ID wait for their senders; each new one is compared with all of them.
const UNPROVEN_OF_ONE_NAME: usize = 4;
/// Why a tunnel ends whose peer asked for one anew.
const BEGAN_ANEW: &str = "the peer began anew";
/// Why the oldest tunnel ends that was not established.
const TOO_MANY: &str = "too many tunnels are not established";
/// Why there is no tunnel for a peer that may have one.
const LIMIT_REACHED: &str = "the limit of tunnels is reached";
