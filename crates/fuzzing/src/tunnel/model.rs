//! What a tunnel may do: a reference of its transport and of its calls, which every step is compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use l2tp::{
    Bearer, CallKind, CallParams, CallState, Event, SessionId, StopReason, Tunnel, TunnelState,
};
use sansio::{Rng, Time};
use wire::l2tp::{
    Attribute, AttributeType, Avps, ControlHeader, FramingTypes, Header, MessageType,
};

use super::message::value_of;
use super::{TUNNEL, is_over};
use crate::choices::rng;
use crate::snapshot;

/// From here on, a distance between sequence numbers is one back.
const HALF: u16 = 0x8000;
/// The longest that anything may take to end by itself: far more than any timeout here.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Messages that may wait, as the tunnel documents: far more than a run's octets can ask for.
const MOST_QUEUED: usize = 2 * (u16::MAX as usize);

/// How far a call is, as far as its owner was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Placed,
    Requested,
    Accepted,
    /// Of an outgoing call: its bearer is up.
    Connected,
    Established,
}

/// A tunnel and what is known of it.
pub(super) struct Model {
    pub(super) tunnel: Tunnel,
    pub(super) now: Time,
    rng: Box<dyn Rng>,
    /// The Ns of the peer's that the tunnel must expect next.
    pub(super) expected: u16,
    /// Numbers of messages that came before their predecessors.
    held: BTreeSet<u16>,
    /// The session and the AVPs of every message that the tunnel sent, in the order of their numbers.
    messages: Vec<(SessionId, Vec<u8>)>,
    acknowledged: usize,
    /// What was delivered, to be delivered again.
    delivered: Vec<Vec<u8>>,
    /// Messages about sessions that were delivered.
    told: BTreeSet<(MessageType, SessionId)>,
    /// The challenge that the tunnel made.
    challenge: Option<Vec<u8>>,
    calls: BTreeMap<SessionId, Known>,
    /// The calls that ever were, the youngest last.
    ages: Vec<SessionId>,
    closed: bool,
    released: bool,
}

impl Model {
    /// A tunnel that has just begun, and whose peer sends `expected` as its next Ns.
    pub(super) fn new(tunnel: Tunnel, now: Time, expected: u16) -> Self {
        let mut model = Self {
            tunnel,
            now,
            rng: Box::new(rng()),
            expected,
            held: BTreeSet::new(),
            messages: Vec::new(),
            acknowledged: 0,
            delivered: Vec::new(),
            told: BTreeSet::new(),
            challenge: None,
            calls: BTreeMap::new(),
            ages: Vec::new(),
            closed: false,
            released: false,
        };
        model.check();
        model
    }

    /// The Nr that acknowledges all that the tunnel sent.
    pub(super) fn sent(&self) -> u16 {
        self.messages.len() as u16
    }

    /// The Nr that acknowledges nothing new.
    pub(super) fn acknowledged(&self) -> u16 {
        self.acknowledged as u16
    }

    /// The challenge that is to be answered.
    pub(super) fn challenge(&self) -> Option<&[u8]> {
        self.challenge.as_deref()
    }

    /// One of `calls` by its age, the youngest first.
    pub(super) fn by_age(&self, place: usize, calls: &[SessionId]) -> Option<SessionId> {
        let alive = self.ages.iter().rev().filter(|id| calls.contains(id));
        alive.cycle().nth(place % calls.len().max(1)).copied()
    }

    /// A datagram comes.
    pub(super) fn deliver(&mut self, datagram: &[u8]) {
        let was_over = is_over(&self.tunnel);
        self.foresee(datagram);
        self.tunnel
            .handle_message(datagram, self.now, &mut self.rng);
        if !was_over && is_over(&self.tunnel) && self.tunnel.is_quiet() {
            // The peer's StopCCN: it wants to hear nothing more.
            self.acknowledged = self.messages.len();
        }
        self.delivered.push(datagram.to_vec());
    }

    /// One of the datagrams that came comes again.
    pub(super) fn deliver_again(&mut self, place: usize) {
        if !self.delivered.is_empty() {
            let datagram = self.delivered[place % self.delivered.len()].clone();
            self.deliver(&datagram);
        }
    }

    /// What a datagram's numbers must do (RFC 2661 section 5.8).
    fn foresee(&mut self, datagram: &[u8]) {
        let Ok((Header::Control(header), avps)) = Header::decode(datagram) else {
            return;
        };
        if self.released || ![0, TUNNEL].contains(&header.tunnel_id) {
            return;
        }
        let outstanding = self.messages.len() - self.acknowledged;
        let acknowledges = header.nr.wrapping_sub(self.acknowledged());
        if usize::from(acknowledges) <= outstanding {
            self.acknowledged += usize::from(acknowledges);
        } else if acknowledges < HALF {
            return;
        }
        if avps.is_empty() {
            return;
        }
        if let Some(Ok(avp)) = Avps::new(avps).next()
            && let Ok(Some(Attribute::MessageType(message_type))) =
                Attribute::decode(AttributeType::MESSAGE_TYPE, avp.value)
        {
            self.told.insert((message_type, header.session_id));
        }
        let ahead = header.ns.wrapping_sub(self.expected);
        if ahead == 0 {
            self.expected = self.expected.wrapping_add(1);
            while self.held.remove(&self.expected) {
                self.expected = self.expected.wrapping_add(1);
            }
        } else if ahead < self.tunnel.config().rx_window {
            self.held.insert(header.ns);
        }
    }

    /// The owner places a call.
    pub(super) fn place_call(&mut self, bits: u8) {
        let on = |bit: u8| bits & bit != 0;
        let params = CallParams {
            framing_type: FramingTypes::from_bits_retain(u32::from(bits & 3)),
            called_number: on(4).then(|| "0123".into()),
            sub_address: on(8).then(|| "4".into()),
            private_group_id: on(16).then(|| b"group".to_vec()),
            sequencing_required: on(32),
            rx_connect_speed: on(64).then_some(64_000),
            speed_updates: on(64),
            ..CallParams::default()
        };
        let (now, rng) = (self.now, &mut self.rng);
        let placed = if on(128) {
            self.tunnel.place_outgoing_call(params, now, rng)
        } else {
            self.tunnel.place_incoming_call(params, now, rng)
        };
        match placed {
            Ok(id) => self.begins(id, Known::Placed),
            Err(_) => {
                let full = self.calls.len() >= self.tunnel.config().max_calls;
                assert!(is_over(&self.tunnel) || full, "there was room for a call");
            }
        }
    }

    /// The owner takes a call, of whatever kind it is; it may have ended meanwhile.
    pub(super) fn accept_call(&mut self, id: SessionId) {
        self.tunnel.accept_call(id, &mut self.rng);
        self.tunnel.accept_outgoing_call(id, None, &mut self.rng);
        if let Some(known @ Known::Requested) = self.calls.get_mut(&id) {
            *known = Known::Accepted;
        }
    }

    /// The owner has the bearer of an outgoing call; it may be none, or not have been asked for.
    pub(super) fn bearer_up(&mut self, id: SessionId, bits: u8) {
        let bearer = Bearer {
            framing_type: FramingTypes::from_bits_retain(u32::from(bits & 3)),
            tx_connect_speed: 64_000,
            ..Bearer::default()
        };
        self.tunnel.bearer_up(id, &bearer, &mut self.rng);
        if let Some(known @ Known::Accepted) = self.calls.get_mut(&id) {
            let kind = self.tunnel.call(id).map(|call| call.kind);
            if kind == Some(CallKind::LacOutgoing) {
                *known = Known::Connected;
            }
        }
    }

    /// The tunnel is stored, and restored as it was.
    pub(super) fn restore(&mut self) {
        self.tunnel = snapshot::restored(&self.tunnel);
    }

    /// Time passes, and what is due on the way is done.
    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.tunnel.next_timeout().filter(|due| due.at <= end) {
            self.now = self.now.max(due.at);
            self.fire();
        }
        self.now = end;
    }

    /// What is due is done: it is not due any more.
    fn fire(&mut self) {
        self.tunnel.handle_timeout(self.now);
        let next = self.tunnel.next_timeout();
        assert!(
            next.is_none_or(|next| next.at > self.now),
            "{next:?} fires for ever"
        );
        self.check();
    }

    /// Everything that must hold after each step.
    pub(super) fn check(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            self.event(&event);
        }
        let mut out = Vec::new();
        for sent in 0.. {
            if !self.tunnel.poll_transmit(self.now, &mut out) {
                break;
            }
            assert!(sent <= MOST_QUEUED, "there is no end to what it sends");
            self.transmitted(&out);
        }
        self.check_transport();
        self.check_calls();
    }

    fn check_transport(&self) {
        let stats = self.tunnel.transport_stats();
        if self.released {
            assert_eq!(self.tunnel.next_timeout(), None, "nothing is left to do");
            return;
        }
        assert_eq!(stats.nr, self.expected, "Nr is the next Ns in order");
        assert_eq!(stats.ns, self.sent(), "Ns counts the messages");
        assert_eq!(
            stats.unacknowledged,
            self.messages.len() - self.acknowledged
        );
        assert!(stats.unacknowledged <= stats.window.into(), "{stats:?}");
        assert!(stats.waiting <= MOST_QUEUED, "{stats:?}");
    }

    fn check_calls(&self) {
        let ids: Vec<_> = self.tunnel.calls().map(|call| call.session_id).collect();
        let known: Vec<_> = self.calls.keys().copied().collect();
        assert_eq!(ids, known, "its owner knows of every call, and of no other");
        let mut peers: Vec<_> = self
            .tunnel
            .calls()
            .map(|call| call.peer_session_id)
            .collect();
        peers.retain(|id| *id != 0);
        peers.sort_unstable();
        assert!(
            peers.is_sorted_by(|a, b| a < b),
            "two calls with one id of the peer's"
        );
        assert!(ids.len() <= self.tunnel.config().max_calls);
        for call in self.tunnel.calls() {
            let known = self.calls[&call.session_id];
            let up = call.state == CallState::Established;
            assert!(up || known != Known::Established, "{call:?}");
            assert!(
                call.kind.is_lac() || up == (known == Known::Established),
                "{call:?}"
            );
            assert!(!up || call.peer_session_id != 0, "{call:?}");
        }
    }

    fn begins(&mut self, id: SessionId, known: Known) {
        assert_ne!(id, 0, "0 is no call's id");
        assert_eq!(self.calls.insert(id, known), None, "two calls with one id");
        self.ages.push(id);
    }

    fn event(&mut self, event: &Event) {
        assert!(!self.released, "{event:?} after all was over");
        assert!(
            !self.closed || *event == Event::Released,
            "{event:?} after the end"
        );
        match event {
            Event::Established | Event::BadRequest => {}
            Event::CallRequested { session } => self.begins(*session, Known::Requested),
            Event::CallAnswered { session } => {
                assert_eq!(self.calls.get(session), Some(&Known::Placed));
                let told = |answer| self.told.contains(&(answer, *session));
                assert!(told(MessageType::ICRP) || told(MessageType::OCRP));
            }
            Event::CallEstablished { session, call } => {
                let known = self.calls.get_mut(session).expect("a call that is");
                let told = |needed| self.told.contains(&(needed, *session));
                let connected = match known {
                    Known::Placed => told(MessageType::ICRP) || told(MessageType::OCCN),
                    Known::Accepted => told(MessageType::ICCN),
                    // By its owner.
                    Known::Connected => true,
                    Known::Requested | Known::Established => false,
                };
                assert!(connected, "nobody connected a call that is {known:?}");
                *known = Known::Established;
                assert_ne!(call.peer_session_id, 0);
            }
            Event::CallErrors { session, .. }
            | Event::LinkInfo { session, .. }
            | Event::SpeedChanged { session, .. } => {
                assert_eq!(self.calls.get(session), Some(&Known::Established));
            }
            Event::CallClosed { session, .. } => {
                assert!(
                    self.calls.remove(session).is_some(),
                    "a call that was not ended"
                );
            }
            Event::Closed { .. } => {
                assert!(self.calls.is_empty(), "every call ends before its tunnel");
                self.closed = true;
            }
            Event::Released => self.released = true,
        }
    }

    /// A datagram goes out.
    fn transmitted(&mut self, datagram: &[u8]) {
        assert!(!self.released, "it speaks after all was over");
        let Ok((Header::Control(header), avps)) = Header::decode(datagram) else {
            panic!("no control message: {datagram:02x?}")
        };
        assert_eq!(header.tunnel_id, self.tunnel.peer_id());
        assert_eq!(header.nr, self.expected, "it acknowledges what it has");
        if avps.is_empty() {
            assert_eq!((header.ns, header.session_id), (self.sent(), 0), "a ZLB");
            return;
        }
        let place = self.acknowledged + usize::from(header.ns.wrapping_sub(self.acknowledged()));
        if let Some((session_id, sent)) = self.messages.get(place) {
            assert_eq!(
                (*session_id, &sent[..]),
                (header.session_id, avps),
                "not the same again"
            );
            return;
        }
        assert_eq!(place, self.messages.len(), "Ns skips a number");
        self.first_time(&header, avps);
    }

    /// A message that was not sent before.
    fn first_time(&mut self, header: &ControlHeader, avps: &[u8]) {
        use MessageType as M;
        for avp in Avps::new(avps) {
            let avp = avp.expect("our AVPs are well formed");
            let attribute = avp.attribute_type().expect("an AVP of the IETF's");
            assert!(!avp.hidden || attribute.may_be_hidden());
            if !avp.hidden {
                let decoded = Attribute::decode(attribute, avp.value);
                assert!(matches!(decoded, Ok(Some(_))), "{avp:?}");
            }
        }
        let value = value_of(avps, AttributeType::MESSAGE_TYPE).expect("a Message Type");
        let message_type = MessageType(u16::from_be_bytes([value[0], value[1]]));
        assert!(message_type.text().is_some(), "{message_type:?}");
        if !message_type.is_about_session() {
            assert_eq!(header.session_id, 0, "{message_type:?}");
        }
        if [M::ICRP, M::ICCN, M::OCRP, M::OCCN].contains(&message_type) {
            assert_ne!(header.session_id, 0, "{message_type:?}");
        }
        if let Some(challenge) = value_of(avps, AttributeType::CHALLENGE) {
            self.challenge = Some(challenge);
        }
        self.messages.push((header.session_id, avps.to_vec()));
    }

    /// The peer falls silent: whatever state was reached is left, and nothing remains.
    pub(super) fn end(mut self) {
        let snapshot = snapshot::store(&self.tunnel);
        let held = snapshot
            .pointer("/transport/held")
            .and_then(|held| held.as_object());
        let held = held.expect("messages that wait for others").len();
        assert!(
            held < self.tunnel.config().rx_window.into(),
            "{held} messages are held"
        );
        for wants_it in [false, true] {
            if wants_it {
                self.tunnel.close(StopReason::clear("the test is over"));
                self.check();
            }
            let end = self.now + PATIENCE;
            while let Some(due) = self.tunnel.next_timeout() {
                assert!(
                    due.at <= end || !self.is_busy(),
                    "{due:?} is too late to end it"
                );
                if due.at > end {
                    break;
                }
                self.now = self.now.max(due.at);
                self.fire();
            }
            assert!(!self.is_busy(), "{:?} is never left", self.tunnel.state());
        }
        assert_eq!(self.tunnel.state(), TunnelState::Released);
        assert!(self.released && self.calls.is_empty());
        assert!(self.closed || self.tunnel.peer().is_none());
    }

    /// Whether something is under way that must end by itself: all but an established tunnel with established calls.
    fn is_busy(&self) -> bool {
        let connecting = |known: &Known| *known != Known::Established;
        match self.tunnel.state() {
            TunnelState::Released => false,
            TunnelState::Established => {
                self.tunnel.config().hello_interval.is_some()
                    || !self.tunnel.is_quiet()
                    || self.calls.values().any(connecting)
            }
            _ => true,
        }
    }
}
