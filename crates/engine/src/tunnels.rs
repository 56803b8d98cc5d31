//! Control connections: where a message belongs, which tunnels are accepted, what follows from a tunnel's events.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use datapath::{Listener, Transport};
use l2tp::{Disconnect, EndedBy, StopReason, TunnelEnd};
use rand_core::Rng;
use sansio::Time;
use serde::{Deserialize, Serialize};
use wire::l2tp::Header;

use crate::carrying::Prepared;
use crate::clients::ClientId;
use crate::commands::Which;
use crate::created::CreatedSessions;
use crate::half_open::Place;
use crate::hooks::{HookEnd, HookEvent};
use crate::peers::Ends;
use crate::policy::TunnelSetup;
use crate::reasons::Why;
use crate::sessions::Session;
use crate::source::Source;
use crate::tally::TunnelTally;
use crate::trace::Known;
use crate::wheel::Entry;
use crate::{Engine, Event, Key, Output, Shutdown};

/// One tunnel: a control connection, its address, and the sessions whose calls are established.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Tunnel {
    pub(crate) control: l2tp::Tunnel,
    pub(crate) setup: Arc<TunnelSetup>,
    /// Whose socket it runs on: what comes to another is not of this tunnel.
    pub(crate) listener: Listener,
    /// Our address, as the peer last reached it; unspecified until it has.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) origin: Origin,
    /// The largest IP packet that the path to the peer takes, where the tunnel heeds that and it is known.
    pub(crate) path_mtu: Option<u16>,
    /// What the network said last of datagrams that did not arrive.
    pub(crate) unreachable: Option<String>,
    /// By our Session ID.
    pub(crate) sessions: BTreeMap<u16, Box<Session>>,
    /// What the datapath has for calls that are not established.
    pub(crate) prepared: BTreeMap<u16, Prepared>,
    /// What we were told to make on a tunnel that the peer opened, if anything; on one of ours, its client has it.
    pub(crate) created: Option<Box<CreatedSessions>>,
    pub(crate) entry: Entry,
    /// When it was made.
    pub(crate) made: Time,
    /// When it got to its present state.
    pub(crate) since: Time,
    /// When it is closed for having no session.
    pub(crate) idle_at: Option<Time>,
    /// It was Established once.
    pub(crate) was_up: bool,
    /// The name that it had when it was deleted, for hooks that come after.
    #[serde(skip)]
    pub(crate) last_name: Option<String>,
    /// Its place among those that peers opened and that are not established, until it is.
    pub(crate) half_open: Option<Place>,
    /// The client that gave way to it, if the peer opened it.
    pub(crate) adopted_by: Option<ClientId>,
    /// Our request gave way to one of the peer's, and is not repeated until then.
    pub(crate) silent_until: Option<Time>,
    /// What of it is in the sums.
    pub(crate) tally: TunnelTally,
    /// Why it is over, once it is.
    pub(crate) ended: Option<Why>,
    /// The states that it and its calls had when that was traced last.
    #[serde(skip)]
    pub(crate) known_states: Option<Box<Known>>,
}

/// Who opened a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// We did: this is an attempt of that client.
    Client(ClientId),
    /// The peer did, under this address and Tunnel ID of its own.
    Peer(SocketAddr, u16),
}

impl Engine {
    /// A datagram that is no data message; the tunnel that took it, if one did.
    pub(crate) fn take_message(
        &mut self,
        path: Transport,
        datagram: &[u8],
        now: Time,
    ) -> Option<u16> {
        let header = match Header::decode(datagram) {
            Ok((Header::Control(header), _)) => header,
            Ok((Header::Data(_), _)) => {
                self.counters.datagrams.unexpected_data += 1;
                return None;
            }
            Err(error) => {
                self.counters.malformed_header(datagram, error);
                return None;
            }
        };
        if header.tunnel_id == 0 {
            return self.connection_request(path, datagram, now);
        }
        let Some(tunnel) = self.tunnels.get_mut(&header.tunnel_id) else {
            self.counters.datagrams.unknown_tunnel += 1;
            return None;
        };
        if !tunnel.accepts_from(&path) {
            self.counters.datagrams.wrong_address += 1;
            return None;
        }
        let before = tunnel.peer();
        (tunnel.local, tunnel.remote) = (path.local, path.remote);
        if tunnel.peer() != before {
            self.peers.remove(before);
            self.peers.insert(tunnel.peer());
        }
        tunnel.unreachable = None;
        tunnel.control.handle_message(datagram, now, &mut self.rng);
        self.settle(header.tunnel_id, now);
        Some(header.tunnel_id)
    }

    /// An id that no tunnel has: random, so that ids of an earlier life are not met again soon.
    pub(crate) fn free_tunnel_id(&mut self) -> Option<u16> {
        // Known at once, without a search that whoever took them all could have us repeat.
        if self.tunnels.len() >= usize::from(u16::MAX) {
            return None;
        }
        let start = self.rng.next_u32() as u16;
        (0..=u16::MAX)
            .map(|i| start.wrapping_add(i))
            .find(|id| *id != 0 && !self.tunnels.contains_key(id))
    }

    pub(crate) fn add_tunnel(
        &mut self,
        id: u16,
        control: l2tp::Tunnel,
        setup: Arc<TunnelSetup>,
        path: Transport,
        origin: Origin,
        now: Time,
    ) {
        let entry = self.wheel.insert(Key::Tunnel(id));
        let tunnel = Tunnel {
            control,
            setup,
            listener: path.listener,
            local: path.local,
            remote: path.remote,
            origin,
            path_mtu: None,
            unreachable: None,
            sessions: BTreeMap::new(),
            prepared: BTreeMap::new(),
            created: None,
            entry,
            made: now,
            since: now,
            idle_at: None,
            was_up: false,
            last_name: None,
            half_open: None,
            adopted_by: None,
            silent_until: None,
            tally: TunnelTally::new(self.counters.resets),
            ended: None,
            known_states: None,
        };
        self.peers.insert(tunnel.peer());
        self.tunnels.insert(id, Box::new(tunnel));
        self.watch_states(id);
        self.trace_decision(id, 0, |engine| engine.tunnel_choice(id));
    }

    pub(crate) fn tunnel_timeout(&mut self, id: u16, now: Time) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if tunnel.idle_at.is_some_and(|at| at <= now) {
            tunnel.idle_at = None;
            tunnel
                .control
                .close(StopReason::clear("no session for the idle timeout"));
        }
        tunnel.control.handle_timeout(now);
        self.settle(id, now);
    }

    /// Carries out what a control connection has to say, until it has nothing more, and sets its timer.
    pub(crate) fn settle(&mut self, id: u16, now: Time) {
        loop {
            let Some(tunnel) = self.tunnels.get_mut(&id) else {
                return;
            };
            let Some(event) = tunnel.control.poll_event() else {
                break;
            };
            self.tunnel_event(id, event, now);
        }
        self.trace_states(id);
        self.transmit(id, now);
        self.recount_tunnel(id);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let next = tunnel.control.next_timeout().map(|deadline| deadline.at);
        self.wheel.set(
            tunnel.entry,
            [next, tunnel.idle_at].into_iter().flatten().min(),
        );
    }

    /// Sends what a control connection has to send.
    fn transmit(&mut self, id: u16, now: Time) {
        let shown = self.shows_messages(id);
        let mut payload = Vec::new();
        while let Some(tunnel) = self.tunnels.get_mut(&id) {
            let silent = tunnel.is_silent(now);
            let sent_again = |control: &l2tp::Tunnel| control.counters().troubles.retransmissions;
            let before = sent_again(&tunnel.control);
            if !tunnel.control.poll_transmit(now, &mut payload) {
                return;
            }
            let payload = std::mem::take(&mut payload);
            if silent {
                continue;
            }
            let again = sent_again(&tunnel.control) > before;
            let (local, remote) = (tunnel.local, tunnel.remote);
            let (listener, dscp) = (tunnel.listener.clone(), tunnel.control.control_dscp());
            if shown {
                self.trace_sent(id, (local, remote), again, &payload);
            }
            self.outputs.push_back(Output::Transmit {
                listener,
                local,
                remote,
                dscp: dscp.unwrap_or_default(),
                payload,
            });
        }
    }

    /// What a tunnel was made with.
    fn tunnel_choice(&self, id: u16) -> String {
        let Some(tunnel) = self.tunnels.get(&id) else {
            return String::new();
        };
        let setup = &tunnel.setup;
        let auth = match (setup.tunnel.challenge, &setup.tunnel.secret) {
            (true, _) => "the peer is challenged",
            (false, Some(_)) => "a challenge would be answered",
            (false, None) => "no secret",
        };
        format!(
            "tunnel profile {}, host name {}, {auth}",
            setup.profile_name, setup.tunnel.host_name
        )
    }

    fn tunnel_event(&mut self, id: u16, event: l2tp::Event, now: Time) {
        match event {
            l2tp::Event::Established => self.tunnel_up(id, now),
            l2tp::Event::CallRequested { session } => self.call_requested(id, session, now),
            l2tp::Event::CallAnswered { session } => self.prepare(id, session),
            l2tp::Event::BadRequest => self.call_failed(id, now),
            l2tp::Event::CallEstablished { session, call } => {
                self.call_established(id, session, call, now)
            }
            l2tp::Event::CallErrors { session, errors } => {
                if let Some(session) = self.session_mut(id, session) {
                    session.call_errors = Some(errors);
                }
            }
            l2tp::Event::LinkInfo { session, info } => {
                if let Some(session) = self.session_mut(id, session) {
                    session.heard_link_info(info);
                }
            }
            l2tp::Event::SpeedChanged { session, tx, rx } => {
                if let Some(session) = self.session_mut(id, session) {
                    let params = &mut session.call.params;
                    (params.tx_connect_speed, params.rx_connect_speed) = (tx, Some(rx));
                }
            }
            l2tp::Event::CallClosed { session, reason } => {
                self.calls = self.calls.saturating_sub(1);
                self.end_session(id, session, &Why::from(&reason), now);
                self.start_idling(id, now);
            }
            l2tp::Event::Closed { reason } => self.tunnel_closed(id, &reason, now),
            l2tp::Event::Released => self.tunnel_released(id),
        }
    }

    fn tunnel_up(&mut self, id: u16, now: Time) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        (tunnel.since, tunnel.was_up) = (now, true);
        self.counters.setup.tunnels += 1;
        let (remote, origin) = (tunnel.remote, tunnel.origin);
        let path = tunnel.path();
        let host_name = tunnel
            .control
            .peer()
            .map(|peer| peer.host_name.clone())
            .unwrap_or_default();
        self.event(Event::TunnelUp {
            tunnel: id,
            remote,
            host_name,
        });
        self.hook_tunnel(id, HookEvent::TunnelUp);
        self.start_idling(id, now);
        self.dialing.remove(&(remote.ip(), id));
        match origin {
            Origin::Client(client) => self.client_tunnel_up(client, id, now),
            Origin::Peer(_, peer_id) => {
                match self.client_to_adopt(id, &path) {
                    Some(client) => self.adopt(client, id, now),
                    None => self.place_calls(Which::Peer(id), now),
                }
                self.peer_tunnel_up(id, &path, peer_id, now);
            }
        }
    }

    fn tunnel_closed(&mut self, id: u16, reason: &TunnelEnd, now: Time) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let since = std::mem::replace(&mut tunnel.since, now);
        tunnel.idle_at = None;
        tunnel.created = None;
        let (remote, was_up) = (tunnel.remote, tunnel.was_up);
        self.counters.setup.tunnel_failures += u64::from(!was_up);
        let by = reason.by;
        let failed = !was_up && by == EndedBy::PeerFault && tunnel.control.is_proven();
        let mut reason = Why::from(reason);
        if let Some(hint) = tunnel.unreachable.take().filter(|_| by == EndedBy::Timeout) {
            reason.text = format!("{} ({hint})", reason.text);
        }
        tunnel.ended = Some(reason.clone());
        let client = tunnel.client();
        self.dialing.remove(&(remote.ip(), id));
        if was_up {
            let end = HookEnd::new(Some(&reason.text), since, now);
            self.hook_tunnel(id, HookEvent::TunnelDown(end));
        }
        match client {
            Some(client) => self.client_tunnel_down(client, id, &reason, now),
            None if failed => {
                let most = self.allowed_failures();
                self.limits.tunnel_failed(remote.ip().into(), most, now);
            }
            None => {}
        }
        self.event(Event::TunnelDown {
            tunnel: id,
            remote,
            reason: reason.text,
            was_up,
        });
    }

    fn tunnel_released(&mut self, id: u16) {
        self.trace_released(id);
        self.no_longer_half_open(id);
        let Some(mut tunnel) = self.tunnels.remove(&id) else {
            return;
        };
        self.wheel.remove(tunnel.entry);
        self.peers.remove(tunnel.peer());
        self.retire_tunnel(&mut tunnel);
        if let Origin::Peer(address, peer_id) = tunnel.origin {
            self.by_peer
                .remove(&(tunnel.listener, address, peer_id, id));
        }
    }

    /// Starts or stops the idle timer of a tunnel, as it has sessions or not.
    pub(crate) fn start_idling(&mut self, id: u16, now: Time) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let idle_timeout = tunnel.setup.params.idle_timeout();
        let idle = idle_timeout != 0 && tunnel.control.calls().next().is_none();
        tunnel.idle_at = idle.then(|| now + Duration::from_secs(idle_timeout.into()));
    }

    /// A peer wants one more call.
    fn call_requested(&mut self, id: u16, session: u16, now: Time) {
        self.calls += 1;
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.idle_at = None;
        let Some(call) = tunnel.control.call(session) else {
            return;
        };
        let kind = call.kind;
        let refusal = self.call_refusal(id, kind, now);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let info = tunnel.control.call(session).and_then(|c| c.info.as_ref());
        let accepted = refusal.is_none();
        match (refusal, info) {
            (Some(reason), _) => tunnel.control.refuse_call(session, reason),
            (None, Some(info)) if !kind.is_incoming() => {
                let (bearer, channel) = self.policy.bearer(&tunnel.setup, &info.params);
                let (control, rng) = (&mut tunnel.control, &mut self.rng);
                control.accept_outgoing_call(session, channel, rng);
                control.bearer_up(session, &bearer, rng);
            }
            _ => tunnel.control.accept_call(session, &mut self.rng),
        }
        if accepted {
            self.prepare(id, session);
        }
    }

    /// Why a peer may not have one more call, of those that it has counted in.
    fn call_refusal(&mut self, id: u16, kind: l2tp::CallKind, now: Time) -> Option<Disconnect> {
        let most = self.allowed_failures();
        let tunnel = self.tunnels.get(&id)?;
        let system = &self.policy.model().system;
        let limit = system.max_sessions() as usize;
        let refused = &mut self.counters.refused;
        if self.shutdown != Shutdown::No || system.drain_tunnels() {
            refused.call_policy += 1;
            return Some(Disconnect::administrative(
                "new sessions are not accepted now",
            ));
        }
        if limit != 0 && self.calls > limit {
            refused.call_limit += 1;
            return Some(Disconnect::no_facilities(
                "the limit of sessions is reached",
            ));
        }
        // What one is told that is no LNS follows from our Bearer Capabilities.
        if kind.is_incoming() && !tunnel.setup.lac_lns.is_lac() {
            refused.call_policy += 1;
            return Some(Disconnect::not_supported(
                "incoming calls are not accepted from this peer",
            ));
        }
        if !self.limits.may_call(tunnel.source(), most, now) {
            self.counters.limits.throttled_calls += 1;
            return Some(Disconnect::no_facilities(
                "too many calls from there failed",
            ));
        }
        None
    }

    /// A call that a peer wanted failed by the fault of its end.
    pub(crate) fn call_failed(&mut self, id: u16, now: Time) {
        let most = self.allowed_failures();
        if let Some(tunnel) = self.tunnels.get(&id) {
            self.limits.call_failed(tunnel.source(), most, now);
        }
    }
}

impl Tunnel {
    /// Whom it leads to.
    pub(crate) fn peer(&self) -> Ends {
        (self.local.ip(), self.remote.ip())
    }

    /// Where it is reached.
    fn path(&self) -> Transport {
        Transport {
            listener: self.listener.clone(),
            local: self.local,
            remote: self.remote,
        }
    }

    /// Whose limits it counts against.
    pub(crate) fn source(&self) -> Source {
        self.remote.ip().into()
    }

    /// The client whose tunnel it is.
    pub(crate) fn client(&self) -> Option<ClientId> {
        match self.origin {
            Origin::Client(client) => Some(client),
            Origin::Peer(..) => self.adopted_by,
        }
    }

    /// Whether nothing is left to wait for at the end: the peer has acknowledged our StopCCN, or was never heard.
    pub(crate) fn has_said_goodbye(&self) -> bool {
        self.control.is_quiet() || self.control.peer().is_none()
    }

    /// A peer speaks from where it was spoken to; but an LNS may answer the first message from another port of its address (RFC 2661
    /// section 8.1), and an unconnected tunnel of ours follows it there.
    fn accepts_from(&self, path: &Transport) -> bool {
        let follows = matches!(self.origin, Origin::Client(_)) && !self.was_up;
        let remote = path.remote;
        path.listener == self.listener
            && remote.ip() == self.remote.ip()
            && (follows || remote.port() == self.remote.port())
    }
}
