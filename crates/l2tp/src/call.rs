use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use sansio::{Rng, Time};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wire::l2tp::{
    Attribute, BearerTypes, CallResult, ControlHeader, Extension, FramingTypes, Header, MessageType,
};
use zeroize::Zeroizing;

use crate::messages::{Body, Builder, open_hidden, parse};
use crate::{AccessLine, CallEnd, Counters, Disconnect, EndedBy, Event, SessionId, Tunnel};

/// What is said about a call in its request, its reply, and when it is connected (RFC 2661 sections 6.6 to 6.11). Strings are cut at
/// 255 octets when sent.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct CallParams {
    /// Call Serial Number: a number to find the call by in both ends' logs.
    pub serial_number: u32,
    /// Minimum BPS: the lowest speed of an outgoing call that its LNS accepts; any if `None`.
    pub minimum_bps: Option<u32>,
    /// Maximum BPS: the highest speed of an outgoing call that its LNS accepts; any if `None`.
    pub maximum_bps: Option<u32>,
    /// Bearer Type.
    pub bearer_type: Option<BearerTypes>,
    /// Physical Channel ID, for logs.
    pub physical_channel_id: Option<u32>,
    /// Called Number.
    pub called_number: Option<String>,
    /// Calling Number.
    pub calling_number: Option<String>,
    /// Sub-Address.
    pub sub_address: Option<String>,
    /// Framing Type.
    pub framing_type: FramingTypes,
    /// (Tx) Connect Speed: bits a second to the remote system.
    pub tx_connect_speed: u32,
    /// Rx Connect Speed: bits a second from the remote system; the same as to it if `None`.
    pub rx_connect_speed: Option<u32>,
    /// Private Group ID.
    pub private_group_id: Option<Vec<u8>>,
    /// Sequencing Required: data messages must always have sequence numbers.
    pub sequencing_required: bool,
    /// LCP Want Options: what the LAC wants the LNS's LCP to ask the remote system for, as a Configure-Request has it (RFC 3437).
    pub lcp_want_options: Option<Vec<u8>>,
    /// LCP Allow Options: all that the LNS's LCP may agree to when the remote system asks for it, in the same form (RFC 3437).
    pub lcp_allow_options: Option<Vec<u8>>,
    /// Session DS: the code of the per-hop behavior that is asked for (RFC 3308; see [`per_hop_behavior`](crate::per_hop_behavior)).
    pub session_ds: Option<u16>,
    /// What is known of the subscriber's access line (RFC 5515).
    pub access_line: Option<Box<AccessLine>>,
    /// Connect Speed Update Enable: the LAC will tell when the speeds change (RFC 5515).
    pub speed_updates: bool,
}

/// All that is known about a call that is being established, or just was.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct CallInfo {
    /// The peer's Session ID; 0 while it is not known.
    pub peer_session_id: SessionId,
    /// What both ends said.
    pub params: CallParams,
    /// The DSCP, 0 to 63, that data messages are to have, as agreed.
    pub dscp: Option<u8>,
}

/// The four kinds of call: which end of it we are, and which way it goes (RFC 2661 sections 7.4 and 7.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CallKind {
    /// We are the LAC of an incoming call, and placed it.
    LacIncoming,
    /// We are the LNS of an incoming call: the peer placed it.
    LnsIncoming,
    /// We are the LAC of an outgoing call: the peer placed it.
    LacOutgoing,
    /// We are the LNS of an outgoing call, and placed it.
    LnsOutgoing,
}

impl CallKind {
    /// Whether we are the LAC.
    pub const fn is_lac(self) -> bool {
        matches!(self, Self::LacIncoming | Self::LacOutgoing)
    }

    /// Whether it is an incoming call: one that the LAC places.
    pub const fn is_incoming(self) -> bool {
        matches!(self, Self::LacIncoming | Self::LnsIncoming)
    }

    /// Whether we placed it.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::LacIncoming | Self::LnsOutgoing)
    }
}

/// The states of a call (RFC 2661 sections 7.4 and 7.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CallState {
    /// We place it, and the tunnel is not up yet.
    WaitTunnel,
    /// We placed it: the ICRQ or OCRQ is sent.
    WaitReply,
    /// The ICRQ or OCRQ came, and our owner has not decided.
    Requested,
    /// At the LNS: the ICRP is sent, or the OCRP came.
    WaitConnect,
    /// At the LAC of an outgoing call: the OCRP is sent, and the bearer is being opened.
    WaitCsAnswer,
    /// The ICCN or OCCN is sent or came.
    Established,
}

impl CallState {
    /// Every state, in the order of the declaration.
    pub const ALL: [Self; 6] = [
        Self::WaitTunnel,
        Self::WaitReply,
        Self::Requested,
        Self::WaitConnect,
        Self::WaitCsAnswer,
        Self::Established,
    ];
}

impl fmt::Display for CallState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WaitTunnel => "wait-tunnel",
            Self::WaitReply => "wait-reply",
            Self::Requested => "requested",
            Self::WaitConnect => "wait-connect",
            Self::WaitCsAnswer => "wait-cs-answer",
            Self::Established => "established",
        })
    }
}

/// A call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Our Session ID.
    pub session_id: SessionId,
    /// The peer's; 0 while it is not known.
    pub peer_session_id: SessionId,
    /// Which end of it we are, and which way it goes.
    pub kind: CallKind,
    /// How far it is.
    pub state: CallState,
    /// Call Serial Number.
    pub serial_number: u32,
    /// What was said about it so far; nothing once it is established (see [`Event::CallEstablished`]).
    pub info: Option<Box<CallInfo>>,
    /// When it must be established; never, if it is or needs not.
    pub(crate) deadline: Time,
    /// To and from the remote system, where the LAC tells when they change.
    pub(crate) speeds: Option<(u32, u32)>,
    /// When our last WEN went out.
    pub(crate) wen_at: Option<Time>,
}

impl Call {
    pub(crate) fn params(&self) -> Option<&CallParams> {
        self.info.as_ref().map(|info| &info.params)
    }

    pub(crate) fn params_mut(&mut self) -> Option<&mut CallParams> {
        self.info.as_mut().map(|info| &mut info.params)
    }
}

/// Why a call can't be placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// The tunnel is going down.
    #[error("the tunnel is closing")]
    Closing,
    /// The tunnel has as many calls as its configuration allows.
    #[error("the tunnel has as many calls as it may")]
    TooManyCalls,
    /// Every Session ID is in use.
    #[error("no session id is free")]
    NoSessionId,
}

/// The calls of a tunnel, found by either end's Session ID, and by when they have to be established.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Calls {
    by_id: BTreeMap<SessionId, Call>,
    by_peer_id: BTreeMap<SessionId, SessionId>,
    deadlines: BTreeSet<(Time, SessionId)>,
    /// How many are in each state.
    in_state: [u32; CallState::ALL.len()],
}

impl Calls {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.by_id.values()
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Call> {
        self.by_id.get(&id)
    }

    fn after(&self, id: SessionId) -> Option<&Call> {
        let later = (Bound::Excluded(id), Bound::Unbounded);
        self.by_id.range(later).next().map(|(_, call)| call)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Call> {
        self.by_id.get_mut(&id)
    }

    /// The call, if it is of this kind and our owner has not decided about it.
    pub(crate) fn requested(&mut self, id: SessionId, kind: CallKind) -> Option<&mut Call> {
        let call = self.by_id.get_mut(&id)?;
        (call.kind == kind && call.state == CallState::Requested).then_some(call)
    }

    /// Our Session ID of the call that has `peer_id` as the peer's.
    pub(crate) fn find_by_peer(&self, peer_id: SessionId) -> Option<SessionId> {
        self.by_peer_id.get(&peer_id).copied()
    }

    /// A Session ID that no call has: random, so that what is still under way for an old call does not meet a new one.
    pub(crate) fn free_id(&self, rng: &mut dyn Rng) -> Option<SessionId> {
        // Known at once, without a search that a peer which took them all could have us repeat.
        if self.by_id.len() >= usize::from(SessionId::MAX) {
            return None;
        }
        let start = rng.next_u32() as u16;
        (0..=u16::MAX)
            .map(|i| start.wrapping_add(i))
            .find(|id| *id != 0 && !self.by_id.contains_key(id))
    }

    pub(crate) fn insert(&mut self, call: Call) {
        if call.deadline != Time::MAX {
            self.deadlines.insert((call.deadline, call.session_id));
        }
        if call.peer_session_id != 0 {
            self.by_peer_id
                .insert(call.peer_session_id, call.session_id);
        }
        self.in_state[call.state as usize] += 1;
        self.by_id.insert(call.session_id, call);
    }

    pub(crate) fn set_state(&mut self, id: SessionId, state: CallState) {
        if let Some(call) = self.by_id.get_mut(&id) {
            self.in_state[call.state as usize] -= 1;
            self.in_state[state as usize] += 1;
            call.state = state;
        }
    }

    pub(crate) fn set_peer_id(&mut self, id: SessionId, peer_id: SessionId) {
        if let Some(call) = self.by_id.get_mut(&id) {
            call.peer_session_id = peer_id;
            self.by_peer_id.insert(peer_id, id);
        }
    }

    /// The call needs no deadline any more, and the tunnel no copy of what was said about it.
    pub(crate) fn established(&mut self, id: SessionId) -> Option<Box<CallInfo>> {
        self.set_state(id, CallState::Established);
        let call = self.by_id.get_mut(&id)?;
        self.deadlines.remove(&(call.deadline, id));
        call.deadline = Time::MAX;
        let mut info = call.info.take()?;
        info.peer_session_id = call.peer_session_id;
        let (tx, rx) = (info.params.tx_connect_speed, info.params.rx_connect_speed);
        let promised = info.params.speed_updates;
        call.speeds = promised.then(|| (tx, rx.unwrap_or(tx)));
        Some(info)
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Call> {
        let call = self.by_id.remove(&id)?;
        self.in_state[call.state as usize] -= 1;
        self.deadlines.remove(&(call.deadline, id));
        if call.peer_session_id != 0 {
            self.by_peer_id.remove(&call.peer_session_id);
        }
        Some(call)
    }

    /// The call that has to be established first, and when.
    pub(crate) fn next_deadline(&self) -> Option<(Time, SessionId)> {
        self.deadlines.first().copied()
    }

    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = SessionId> + use<> {
        std::mem::take(self).by_id.into_keys()
    }
}

impl Tunnel {
    /// The calls, in the order of their Session IDs.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    /// The call after that Session ID.
    pub fn call_after(&self, id: SessionId) -> Option<&Call> {
        self.calls.after(id)
    }

    /// How many calls there are.
    pub fn call_count(&self) -> usize {
        self.calls.len()
    }

    /// How many calls are in each state: in the order of [`CallState::ALL`].
    pub fn calls_in_state(&self) -> &[u32; CallState::ALL.len()] {
        &self.calls.in_state
    }

    /// One call.
    pub fn call(&self, id: SessionId) -> Option<&Call> {
        self.calls.get(id)
    }

    /// Our Session ID of the call that a control message is about which we send; 0 if it is about none. For traces.
    pub fn call_of_sent(&self, datagram: &[u8]) -> SessionId {
        let found = self.assigned_session_id(datagram).or_else(|| {
            let header = control_header(datagram)?;
            self.calls.find_by_peer(header.session_id)
        });
        found.unwrap_or_default()
    }

    /// The same for one that came, as far as the call is there: a request has one only when it is dealt with.
    pub fn call_of_received(&self, datagram: &[u8]) -> SessionId {
        let named = || self.calls.find_by_peer(self.assigned_session_id(datagram)?);
        match control_header(datagram) {
            Some(header) if header.session_id != 0 => header.session_id,
            _ => named().unwrap_or_default(),
        }
    }

    /// What a message's Assigned Session ID AVP says, hidden or not.
    fn assigned_session_id(&self, datagram: &[u8]) -> Option<SessionId> {
        let (_, avps) = Header::decode(datagram).ok()?;
        let mut scratch = Zeroizing::default();
        let opened = open_hidden(avps, self.config.secret.as_ref(), &mut scratch);
        // Nothing new is counted.
        parse(opened, &mut Counters::default())
            .body
            .assigned_session_id
    }

    /// Ends a call, with a CDN if the peer knows of it. Nothing happens if there is no such call.
    pub fn close_call(&mut self, id: SessionId, reason: Disconnect) {
        self.end_call(id, EndedBy::Local, reason);
    }

    pub(crate) fn end_call(&mut self, id: SessionId, by: EndedBy, reason: Disconnect) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        if call.state != CallState::WaitTunnel {
            self.send_cdn(call.peer_session_id, id, &reason);
        }
        self.forget_call(id, by, reason);
    }

    /// Ends a call without a CDN.
    pub(crate) fn forget_call(&mut self, id: SessionId, by: EndedBy, reason: Disconnect) {
        if self.calls.remove(id).is_some() {
            self.event(Event::CallClosed {
                session: id,
                reason: CallEnd { by, reason },
            });
        }
    }

    pub(crate) fn send_cdn(&mut self, peer_id: SessionId, id: SessionId, reason: &Disconnect) {
        let mut message = Builder::new(MessageType::CDN, None);
        message
            .put(Attribute::ResultCode(reason.code()))
            .put(Attribute::AssignedSessionId(id));
        for attribute in reason.details.attributes() {
            message.put(attribute);
        }
        self.send(peer_id, message.finish());
    }

    /// Answers a request for a call that we do not make one of.
    pub(crate) fn refuse_request(
        &mut self,
        peer_id: Option<SessionId>,
        reason: &Disconnect,
        rng: &mut dyn Rng,
    ) {
        let id = self.calls.free_id(rng).unwrap_or_default();
        self.send_cdn(peer_id.unwrap_or_default(), id, reason);
    }

    /// The same for one that may be wrong in itself.
    pub(crate) fn refuse_bad_request(
        &mut self,
        peer_id: Option<SessionId>,
        reason: &Disconnect,
        rng: &mut dyn Rng,
    ) {
        self.refuse_request(peer_id, reason, rng);
        if reason.result == CallResult::GENERAL_ERROR {
            self.event(Event::BadRequest);
        }
    }

    /// CDN: the peer ends a call. One that it placed and does not know our id of, it names by its own.
    pub(crate) fn receive_cdn(&mut self, session_id: SessionId, body: &Body<'_>) {
        let named = || self.calls.find_by_peer(body.assigned_session_id?);
        let id = if session_id == 0 {
            named()
        } else {
            Some(session_id)
        };
        match id.filter(|&id| self.calls.get(id).is_some()) {
            Some(id) => self.forget_call(id, EndedBy::Peer, Disconnect::received(body)),
            None => self.counters.unknown_session(MessageType::CDN),
        }
    }

    pub(crate) fn call_established(&mut self, id: SessionId) {
        if let Some(call) = self.calls.established(id) {
            self.event(Event::CallEstablished { session: id, call });
        }
    }

    /// A message that the call's state does not allow: the call ends (RFC 2661 section 7.4).
    pub(crate) fn unexpected_in_call(&mut self, id: SessionId, message_type: MessageType) {
        self.counters.unexpected(message_type);
        let reason = Disconnect::unexpected(message_type);
        self.end_call(id, EndedBy::PeerFault, reason);
    }
}

fn control_header(datagram: &[u8]) -> Option<ControlHeader> {
    match Header::decode(datagram) {
        Ok((Header::Control(header), _)) => Some(header),
        _ => None,
    }
}

/// The Session DS AVP.
pub(crate) fn session_ds(per_hop_behavior: Option<u16>) -> Option<Attribute<'static>> {
    per_hop_behavior.map(|code| Attribute::Extension(Extension::SessionDs(code)))
}

/// Whether framing `wanted` is among the framing `offered`. Peers that say nothing about it mean that it does not matter.
pub(crate) fn framing_fits(offered: FramingTypes, wanted: FramingTypes) -> bool {
    offered.is_empty() || wanted.is_empty() || offered.intersects(wanted)
}

/// Of the framing that is `allowed` what is `offered`; all that is allowed where they have nothing in common, which says nothing.
pub(crate) fn narrowed(allowed: FramingTypes, offered: FramingTypes) -> FramingTypes {
    match allowed & offered {
        none if none.is_empty() => allowed,
        common => common,
    }
}
