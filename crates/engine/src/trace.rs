//! What is traced: which categories are on for whom, and what there is to see. Nothing is written down here unless somebody wants to see it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use api::{Direction, SessionState, TraceEvent, TunnelState};
use config::TraceFlags;
use datapath::{Handle, Token, Transport};
use serde::Serialize;
use wire::l2tp::{Header, MessageType};
use wire::ppp::Frame;
use wire::readable::message_type;

use crate::sessions::{Pending, place_of};
use crate::status::{call_state, session_state, tunnel_state};
use crate::tunnels::Tunnel;
use crate::{Engine, Output};

/// Something to be seen, and of whom it is.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// Our Tunnel ID; 0 for what is of no tunnel.
    pub tunnel: u16,
    /// Our Session ID; 0 for what is of no session.
    pub session: u16,
    /// The tunnel's name, where somebody follows.
    pub tunnel_name: Option<String>,
    /// The session's name, where somebody follows.
    pub session_name: Option<String>,
    /// The categories that are on for it.
    pub flags: TraceFlags,
    /// What it is.
    pub what: Traced,
}

/// What can be seen of tunnels and sessions.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum Traced {
    /// A control message.
    Message {
        /// Whether it came or goes.
        direction: Direction,
        /// Our address and port.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
        /// Whether it was there before.
        again: bool,
        /// The UDP payload.
        payload: Vec<u8>,
    },
    /// A PPP frame of a control protocol.
    Frame {
        /// Whether it came or goes.
        direction: Direction,
        /// Our address and port.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
        /// The frame.
        frame: Vec<u8>,
    },
    /// A tunnel or a session has got to another state: none before it begins and once it is forgotten.
    State {
        /// The last.
        from: Option<String>,
        /// The present.
        to: Option<String>,
    },
    /// What was chosen, and why.
    Decision(String),
}

impl Trace {
    /// It as management shows it, at `time` microseconds since 1970 began; nothing if it is neither message nor frame.
    pub fn event(&self, time: u64) -> Option<TraceEvent> {
        let mut event = match &self.what {
            Traced::Message {
                direction,
                local,
                remote,
                payload,
                ..
            } => TraceEvent::message(time, *direction, (*local, *remote), payload),
            Traced::Frame {
                direction,
                local,
                remote,
                frame,
            } => TraceEvent::frame(time, *direction, (*local, *remote), frame),
            Traced::State { .. } | Traced::Decision(_) => return None,
        };
        let unless_zero = |id: u16| Some(id).filter(|&id| id != 0);
        event.repeated = matches!(self.what, Traced::Message { again: true, .. });
        event.tunnel_id = unless_zero(self.tunnel);
        event.session_id = unless_zero(self.session);
        event.tunnel_name.clone_from(&self.tunnel_name);
        event.session_name.clone_from(&self.session_name);
        Some(event)
    }
}

/// Who wants to see what.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tracing {
    /// Of everybody.
    everywhere: TraceFlags,
    /// Somebody follows messages and frames, whatever the flags.
    followed: bool,
}

/// The states that were seen last.
#[derive(Clone, Default)]
pub(crate) struct Known {
    tunnel: Option<TunnelState>,
    sessions: BTreeMap<u16, SessionState>,
}

/// The categories that show messages.
const OF_MESSAGES: TraceFlags = TraceFlags::PROTOCOL
    .or(TraceFlags::TRANSPORT)
    .or(TraceFlags::AVP_INFO)
    .or(TraceFlags::AVP_HIDE)
    .or(TraceFlags::AVP_DATA);

impl Engine {
    /// Turns categories on for everything, beside those that tunnels and sessions have of their own; `followed`: all messages and frames are shown
    /// as [`Output::Trace`], whatever is on.
    pub fn set_tracing(&mut self, everywhere: TraceFlags, followed: bool) {
        self.tracing = Tracing {
            everywhere,
            followed,
        };
    }

    /// The categories that are on for a session, or for a tunnel if `session` is 0, or for what is of no tunnel if both are.
    pub fn trace_flags(&self, tunnel: u16, session: u16) -> TraceFlags {
        self.tracing
            .everywhere
            .or(self.own_trace_flags(tunnel, session))
    }

    /// Those of them that are not on for everything. A session has those that are on for its tunnel, too; one that says nothing has all of them.
    pub(crate) fn own_trace_flags(&self, tunnel: u16, session: u16) -> TraceFlags {
        let Some(holder) = self.tunnels.get(&tunnel) else {
            return TraceFlags::NONE;
        };
        let of_tunnel = holder.setup.params.trace_flags();
        if session == 0 {
            return of_tunnel;
        }
        let live = holder.sessions.get(&session);
        let of_ppp = live.map_or(TraceFlags::NONE, |s| s.setup.profile.trace_flags());
        let of_session = if of_tunnel.is_none() {
            TraceFlags::NONE
        } else {
            let own = live.map(|session| session.trace_flags);
            let own = own.unwrap_or_else(|| self.planned_trace_flags(tunnel, session));
            of_tunnel.and(own.unwrap_or(TraceFlags::ALL))
        };
        of_session.or(of_ppp.and(TraceFlags::PPP_CONTROL))
    }

    /// What a session will have that is not established.
    fn planned_trace_flags(&self, tunnel: u16, session: u16) -> Option<TraceFlags> {
        let setup = &self.tunnels.get(&tunnel)?.setup;
        let created = self.created_session(tunnel, session);
        let config = created.map(|created| created.config.clone());
        self.policy
            .session_params(setup, &config.unwrap_or_default())
            .trace_flags
    }

    /// The tunnel and the session of a request to the datapath that is not completed.
    pub fn place_of_request(&self, token: Token) -> Option<(u16, u16)> {
        match *self.pending.get(&token)? {
            Pending::Create(_, tunnel, session)
            | Pending::Configure(_, tunnel, session)
            | Pending::Errors(_, tunnel, session)
            | Pending::Activity(_, tunnel, session) => Some((tunnel, session)),
            Pending::Show(_, handle, _) | Pending::Traffic(_, handle) => Some(place_of(handle)),
            Pending::Remove(..) | Pending::Carried(_) => None,
        }
    }

    /// The tunnel and the session that the datapath knows by `handle`.
    pub fn place_of_handle(handle: Handle) -> (u16, u16) {
        place_of(handle)
    }

    /// Takes in a datagram that is no data message, and shows it.
    pub(crate) fn control_message(&mut self, path: Transport, datagram: &[u8], now: sansio::Time) {
        let (place, local, remote) = (self.outputs.len(), path.local, path.remote);
        let named = tunnel_named(datagram);
        let before = self.shows_messages(named).then(|| {
            (
                self.call_of_received(named, datagram),
                self.duplicates(named),
            )
        });
        let tunnel = self.take_message(path, datagram, now).unwrap_or(0);
        if !self.shows_messages(tunnel) {
            return;
        }
        let (call, duplicates) = before.filter(|_| tunnel == named).unwrap_or_default();
        // Of a request to tunnel 0 only its tunnel knows whether it is repeated; a new one has no duplicates.
        let comparable =
            (tunnel == named && before.is_some()) || (named == 0 && is_request(datagram));
        let call = match call {
            0 => self.call_of_received(tunnel, datagram),
            call => call,
        };
        let message = Traced::Message {
            direction: Direction::Received,
            local,
            remote,
            again: comparable && self.duplicates(tunnel) > duplicates,
            payload: datagram.to_vec(),
        };
        let trace = self.trace(tunnel, call, message);
        // It was there before what it caused.
        self.outputs.insert(place, trace);
    }

    fn call_of_received(&self, tunnel: u16, datagram: &[u8]) -> u16 {
        let tunnel = self.tunnels.get(&tunnel);
        tunnel.map_or(0, |tunnel| tunnel.control.call_of_received(datagram))
    }

    fn duplicates(&self, tunnel: u16) -> u64 {
        let Some(tunnel) = self.tunnels.get(&tunnel) else {
            return 0;
        };
        tunnel.tally.own.duplicates + tunnel.control.counters().troubles.duplicates
    }

    pub(crate) fn shows_messages(&self, tunnel: u16) -> bool {
        self.tracing.followed || self.trace_flags(tunnel, 0).meets(OF_MESSAGES)
    }

    /// Shows a message that a tunnel sends, or nobody if it is 0.
    pub(crate) fn trace_sent(
        &mut self,
        tunnel: u16,
        (local, remote): (SocketAddr, SocketAddr),
        again: bool,
        payload: &[u8],
    ) {
        let holder = self.tunnels.get(&tunnel);
        let call = holder.map_or(0, |tunnel| tunnel.control.call_of_sent(payload));
        let message = Traced::Message {
            direction: Direction::Sent,
            local,
            remote,
            again,
            payload: payload.to_vec(),
        };
        let trace = self.trace(tunnel, call, message);
        self.outputs.push_back(trace);
    }

    /// Shows a PPP frame, unless it is the traffic itself.
    pub(crate) fn trace_frame(
        &mut self,
        direction: Direction,
        tunnel: u16,
        session: u16,
        frame: &[u8],
    ) {
        if !self.tracing.followed
            && !self
                .trace_flags(tunnel, session)
                .meets(TraceFlags::PPP_CONTROL)
        {
            return;
        }
        let traffic = Frame::decode(frame).is_ok_and(|frame| frame.protocol.is_network_layer());
        let Some(holder) = self.tunnels.get(&tunnel).filter(|_| !traffic) else {
            return;
        };
        let what = Traced::Frame {
            direction,
            local: holder.local,
            remote: holder.remote,
            frame: frame.to_vec(),
        };
        let trace = self.trace(tunnel, session, what);
        self.outputs.push_back(trace);
    }

    /// Shows what was chosen.
    pub(crate) fn trace_decision(
        &mut self,
        tunnel: u16,
        session: u16,
        text: impl FnOnce(&Self) -> String,
    ) {
        if self.trace_flags(tunnel, session).meets(TraceFlags::FUNC) {
            let what = Traced::Decision(text(self));
            let trace = self.trace(tunnel, session, what);
            self.outputs.push_back(trace);
        }
    }

    /// Whether states of a tunnel are shown.
    fn shows_states(&self, tunnel: u16) -> bool {
        self.trace_flags(tunnel, 0).meets(TraceFlags::FSM)
    }

    /// A tunnel begins: all that it and its calls come to is new.
    pub(crate) fn watch_states(&mut self, id: u16) {
        if self.shows_states(id)
            && let Some(tunnel) = self.tunnels.get_mut(&id)
        {
            tunnel.known_states = Some(Box::default());
        }
    }

    /// Shows what has got to another state since this was asked last. What is there when somebody begins to look is not news.
    pub(crate) fn trace_states(&mut self, id: u16) {
        let shown = self.shows_states(id);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if !shown {
            tunnel.known_states = None;
            return;
        }
        let present = states(tunnel);
        let Some(known) = tunnel.known_states.replace(Box::new(present.clone())) else {
            return;
        };
        if known.tunnel != present.tunnel {
            self.trace_state(id, 0, known.tunnel, present.tunnel);
        }
        let (old, new) = (&known.sessions, &present.sessions);
        for (&session, &state) in old {
            match new.get(&session) {
                Some(&now) if now == state => {}
                now => self.trace_state(id, session, Some(state), now.copied()),
            }
        }
        for (&session, &state) in new.iter().filter(|(id, _)| !old.contains_key(id)) {
            self.trace_state(id, session, None, Some(state));
        }
    }

    /// Shows that a tunnel is forgotten that is about to be.
    pub(crate) fn trace_released(&mut self, id: u16) {
        let tunnel = self.tunnels.get_mut(&id);
        if let Some(known) = tunnel.and_then(|tunnel| tunnel.known_states.take()) {
            self.trace_state(id, 0, known.tunnel, None);
        }
    }

    fn trace_state<S: ToString>(
        &mut self,
        tunnel: u16,
        session: u16,
        from: Option<S>,
        to: Option<S>,
    ) {
        if !self.trace_flags(tunnel, session).meets(TraceFlags::FSM) {
            return;
        }
        let text = |state: Option<S>| state.map(|state| state.to_string());
        let what = Traced::State {
            from: text(from),
            to: text(to),
        };
        let trace = self.trace(tunnel, session, what);
        self.outputs.push_back(trace);
    }

    fn trace(&self, tunnel: u16, session: u16, what: Traced) -> Output {
        let names = self.tracing.followed.then(|| self.names(tunnel, session));
        let (tunnel_name, session_name) = names.unwrap_or_default();
        Output::Trace(Box::new(Trace {
            tunnel,
            session,
            tunnel_name,
            session_name,
            flags: self.trace_flags(tunnel, session),
            what,
        }))
    }

    /// What a tunnel and a session that we were told to make are called.
    fn names(&self, tunnel: u16, session: u16) -> (Option<String>, Option<String>) {
        let holder = self.tunnels.get(&tunnel);
        let client = holder.and_then(|tunnel| self.clients.get(&tunnel.client()?));
        let created = self.created_session(tunnel, session);
        (
            client.and_then(|client| client.config.tunnel_name.clone()),
            created.and_then(|created| created.config.session_name.clone()),
        )
    }
}

/// The tunnel that a control message is to; 0 if it is to none.
fn tunnel_named(datagram: &[u8]) -> u16 {
    match Header::decode(datagram) {
        Ok((Header::Control(header), _)) => header.tunnel_id,
        _ => 0,
    }
}

fn is_request(datagram: &[u8]) -> bool {
    let decoded = Header::decode(datagram);
    decoded.is_ok_and(|(_, avps)| message_type(avps) == Some(MessageType::SCCRQ))
}

fn states(tunnel: &Tunnel) -> Known {
    let of_call = |call: &l2tp::Call| {
        let session = tunnel.sessions.get(&call.session_id);
        let state = session.map_or_else(|| call_state(call.state), |s| session_state(s));
        (call.session_id, state)
    };
    Known {
        tunnel: Some(tunnel_state(tunnel)),
        sessions: tunnel.control.calls().map(of_call).collect(),
    }
}
