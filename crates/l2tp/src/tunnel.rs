use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use sansio::{Deadline, Deadlines, Rng, Time, Timers};
use serde::{Deserialize, Serialize};
use wire::l2tp::{ControlHeader, Header, MessageType};
use zeroize::Zeroizing;

use crate::call::Calls;
use crate::messages::{Body, Fault, Hiding, Parsed, open_hidden, parse};
use crate::transport::{Receipt, Transport};
use crate::unproven::Unproven;
use crate::{
    Call, CallKind, CallState, Counters, Disconnect, EndedBy, Event, PeerInfo, Sccrq, SessionId,
    StopReason, TransportStats, TransportTimer, TunnelConfig, TunnelId,
};

/// Messages that may wait for a peer which keeps asking and does not acknowledge what it is told: two for each possible session.
const MAX_QUEUED: usize = 2 * (u16::MAX as usize);

/// The states of a control connection (RFC 2661 section 7.2.1), and of what is left of it afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TunnelState {
    /// We sent SCCRQ.
    WaitCtlReply,
    /// We sent SCCRP.
    WaitCtlConn,
    /// Calls are possible.
    Established,
    /// It is over; our StopCCN, or our acknowledgement of the peer's, has yet to arrive.
    Closing,
    /// Nothing is left to do.
    Released,
}

impl fmt::Display for TunnelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WaitCtlReply => "wait-ctl-reply",
            Self::WaitCtlConn => "wait-ctl-conn",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Released => "released",
        })
    }
}

/// The timers of a control connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionTimer {
    /// The peer may have been silent for too long.
    Hello,
    /// The tunnel should be established by now.
    Establish,
    /// The peer has had time enough to miss our last acknowledgement.
    Linger,
}

impl Timers for ConnectionTimer {
    const ALL: &'static [Self] = &[Self::Hello, Self::Establish, Self::Linger];

    fn index(self) -> usize {
        self as usize
    }
}

/// Why a tunnel wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// For its reliable transport.
    Transport(TransportTimer),
    /// For its control connection.
    Connection(ConnectionTimer),
    /// This call should be established by now.
    Call(SessionId),
}

/// One control connection and its calls.
///
/// Plain data: it can be stored and restored at any time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tunnel {
    pub(crate) config: Arc<TunnelConfig>,
    pub(crate) id: TunnelId,
    /// 0 while it is not known.
    pub(crate) peer_id: TunnelId,
    pub(crate) state: TunnelState,
    pub(crate) peer: Option<Box<PeerInfo>>,
    /// The challenge that the peer has not answered yet.
    pub(crate) challenge: Option<[u8; 16]>,
    pub(crate) calls: Calls,
    pub(crate) transport: Transport,
    /// Set until the peer, who opened the tunnel, is known to get what we send.
    pub(crate) unproven: Option<Unproven>,
    pub(crate) deadlines: Deadlines<ConnectionTimer, 3>,
    /// When the peer last sent anything.
    pub(crate) heard_at: Time,
    pub(crate) counters: Counters,
    pub(crate) control_dscp: Option<u8>,
    /// What our SCCRQ said.
    pub(crate) tie_breaker: Option<u64>,
    events: VecDeque<Event>,
}

impl Tunnel {
    pub(crate) fn new(
        config: Arc<TunnelConfig>,
        id: TunnelId,
        state: TunnelState,
        expected: u16,
    ) -> Self {
        Self {
            control_dscp: config.control_dscp,
            tie_breaker: None,
            config,
            id,
            peer_id: 0,
            state,
            peer: None,
            challenge: None,
            calls: Calls::default(),
            transport: Transport::new(expected),
            unproven: None,
            deadlines: Deadlines::new(),
            heard_at: Time::ZERO,
            counters: Counters::default(),
            events: VecDeque::new(),
        }
    }

    /// Our Tunnel ID.
    pub fn id(&self) -> TunnelId {
        self.id
    }

    /// The peer's Tunnel ID; 0 while it is not known.
    pub fn peer_id(&self) -> TunnelId {
        self.peer_id
    }

    /// How far the control connection is.
    pub fn state(&self) -> TunnelState {
        self.state
    }

    /// What the peer said about itself, once it did.
    pub fn peer(&self) -> Option<&PeerInfo> {
        self.peer.as_deref()
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &Arc<TunnelConfig> {
        &self.config
    }

    /// The Tie Breaker of our SCCRQ, if it had one.
    pub fn tie_breaker(&self) -> Option<u64> {
        self.tie_breaker
    }

    /// The DSCP, 0 to 63, of control messages: as agreed with the peer, or as configured until it has answered.
    pub fn control_dscp(&self) -> Option<u8> {
        self.control_dscp
    }

    /// Whether both ends carry ECN between inner and outer headers (RFC 9601): then data may be sent with the inner header's ECN.
    pub fn ecn(&self) -> bool {
        self.config.ecn && self.peer().is_some_and(|peer| peer.ecn)
    }

    /// Takes `config` in place of a copy of it, such as a tunnel has that was restored.
    pub fn share_config(&mut self, config: &Arc<TunnelConfig>) {
        if self.config == *config {
            self.config = Arc::clone(config);
        }
    }

    /// Goes by `config` from now on; what it told the peer is said and stays. A HELLO is due after the new interval.
    pub fn set_config(&mut self, config: Arc<TunnelConfig>, now: Time) {
        let before = std::mem::replace(&mut self.config, config);
        if self.state == TunnelState::Established
            && before.hello_interval != self.config.hello_interval
        {
            self.deadlines.clear(ConnectionTimer::Hello);
            self.begin_keep_alive(now);
        }
    }

    /// What it counted since it began, or since [`Tunnel::take_counters`].
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes out what it counted since this was asked last, for who keeps the sums.
    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    /// The state of its reliable transport.
    pub fn transport_stats(&self) -> TransportStats {
        self.transport.stats()
    }

    /// Whether the peer is known to get what we send to its address: it sent a message to our Tunnel ID, or we asked it ourselves.
    ///
    /// Until then it is sent at most three octets for each that it sent (of UDP payload), and what it does not ask for again may never be sent.
    pub fn is_proven(&self) -> bool {
        self.unproven.is_none()
    }

    /// Whether `sccrq` is the one that opened this tunnel, sent again by a peer that may not have had our answer. One that comes later, or
    /// says something else, is from a peer that began anew.
    pub fn is_repeated_by(&self, sccrq: &Sccrq) -> bool {
        self.unproven
            .is_some_and(|unproven| unproven.began_with(sccrq.fingerprint))
    }

    /// Whether the peer has acknowledged everything that it is to hear from us.
    pub fn is_quiet(&self) -> bool {
        self.transport.queued() == 0
    }

    /// Takes in a datagram that is a control message to this tunnel: one with our Tunnel ID, or while the peer is not
    /// [proven](Self::is_proven), one with Tunnel ID 0 whose [`assigned_tunnel_id`](crate::assigned_tunnel_id) is the peer's. Whatever it
    /// is, it never panics.
    pub fn handle_message(&mut self, datagram: &[u8], now: Time, rng: &mut dyn Rng) {
        let (header, avps) = match Header::decode(datagram) {
            Ok((Header::Control(header), avps)) if self.is_addressed(&header) => (header, avps),
            _ => {
                self.counters.troubles.malformed_headers += 1;
                return;
            }
        };
        if self.state == TunnelState::Released {
            return;
        }
        self.heard_at = now;
        self.counters.datagrams.received_datagrams += 1;
        self.counters.datagrams.received_octets += datagram.len() as u64;
        let config = Arc::clone(&self.config);
        let receipt = self
            .transport
            .receive(&header, avps, &config, now, &mut self.counters);
        self.judge(header.tunnel_id, datagram.len(), receipt);
        for call in self.transport.take_confirmed() {
            self.peer_has_it(call);
        }
        if receipt == Receipt::Deliver {
            self.process(header.session_id, avps, now, rng);
            while let Some(held) = self.transport.next_held(&config, now) {
                self.process(held.session_id, &held.avps, now, rng);
            }
        }
        let over = self.state == TunnelState::Closing && self.is_quiet();
        if over && self.deadlines.get(ConnectionTimer::Linger).is_none() {
            self.linger(now);
        }
    }

    /// Whether a control message is to us. Anybody could speak to tunnel 0 in the name of a peer that knows better; and what is not next is not
    /// kept for one who may not be there.
    fn is_addressed(&self, header: &ControlHeader) -> bool {
        let unaware = self.unproven.is_some() && !self.transport.is_ahead(header.ns);
        header.tunnel_id == self.id || (header.tunnel_id == 0 && unaware)
    }

    /// Lets the peer prove that it gets what we send, or else earn what we may send it.
    fn judge(&mut self, tunnel_id: TunnelId, octets: usize, receipt: Receipt) {
        let Some(unproven) = &mut self.unproven else {
            return;
        };
        unproven.earn(octets);
        if tunnel_id == self.id && receipt != Receipt::Discredited {
            self.unproven = None;
        } else if receipt == Receipt::Duplicate {
            self.transport.answer_again();
        }
    }

    /// Does what is due at `now`. Calling it when nothing is does nothing.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.transport.handle_timeout(&self.config, now).is_err() {
            let message = format!(
                "nothing was acknowledged after {} retransmissions",
                self.config.max_retries
            );
            return self.give_up(EndedBy::Timeout, StopReason::unsaid(message));
        }
        while let Some((_, id)) = self.calls.next_deadline().filter(|&(at, _)| at <= now) {
            self.end_call(id, EndedBy::Timeout, Disconnect::timed_out());
        }
        while let Some(timer) = self.deadlines.pop(now) {
            match timer {
                ConnectionTimer::Hello => self.keep_alive(now),
                ConnectionTimer::Establish => {
                    self.stop(
                        EndedBy::Timeout,
                        StopReason::clear("the tunnel was not established in time"),
                    );
                }
                ConnectionTimer::Linger => self.release(),
            }
        }
    }

    /// Puts the next datagram to send to the peer into `out`, in place of what it held; false if there is none.
    ///
    /// Ask again until there is none: after every other call, and before waiting for [`next_timeout`](Self::next_timeout).
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        if self.state == TunnelState::Released {
            return false;
        }
        let most = self.unproven.map_or(usize::MAX, |u| u.credit());
        let (config, counters) = (&self.config, &mut self.counters);
        let sent = self
            .transport
            .poll_transmit(self.peer_id, most, config, now, counters, out);
        if sent {
            self.counters.datagrams.sent_datagrams += 1;
            self.counters.datagrams.sent_octets += out.len() as u64;
            if let Some(unproven) = &mut self.unproven {
                unproven.spend(out.len());
            }
        }
        sent
    }

    /// Takes out the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        Some(event)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, and why.
    pub fn next_timeout(&self) -> Option<Deadline<Timer>> {
        let transport = self.transport.next_timeout().map(|d| Deadline {
            at: d.at,
            timer: Timer::Transport(d.timer),
        });
        let connection = self.deadlines.next().map(|d| Deadline {
            at: d.at,
            timer: Timer::Connection(d.timer),
        });
        let call = self.calls.next_deadline().map(|(at, id)| Deadline {
            at,
            timer: Timer::Call(id),
        });
        [transport, connection, call]
            .into_iter()
            .flatten()
            .min_by_key(|deadline| deadline.at)
    }

    /// A data message of a call came from the peer: it is alive, and needs no HELLO (RFC 2661 section 5.5); and it has our ICCN, be
    /// that acknowledged or not.
    pub fn data_received(&mut self, call: SessionId, now: Time) {
        self.heard_at = now;
        self.peer_has_it(call);
    }

    /// The peer has our ICCN or OCCN of a call; unless the call ended since, and its Session ID is another's.
    fn peer_has_it(&mut self, call: SessionId) {
        let sent = |call: &Call| call.state == CallState::Established;
        if self.call(call).is_some_and(sent) {
            self.call_established(call);
        }
    }

    pub(crate) fn send(&mut self, session_id: SessionId, avps: Vec<u8>) {
        self.transport.send(session_id, avps, 0);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// What hides the AVPs of the next message, if they are to be hidden.
    pub(crate) fn hiding(&self, rng: &mut dyn Rng) -> Option<Hiding> {
        let secret = self
            .config
            .secret
            .as_ref()
            .filter(|_| self.config.hide_avps)?;
        Some(Hiding::new(secret, rng))
    }

    /// When a call that begins now must be established.
    pub(crate) fn call_deadline(&self, now: Time) -> Time {
        self.config
            .call_establish_timeout
            .map_or(Time::MAX, |timeout| now + timeout)
    }

    pub(crate) fn release(&mut self) {
        if self.state == TunnelState::Released {
            return;
        }
        self.state = TunnelState::Released;
        self.deadlines.clear_all();
        self.transport = Transport::new(0);
        self.event(Event::Released);
    }

    /// Processes the next message in order.
    fn process(&mut self, session_id: SessionId, avps: &[u8], now: Time, rng: &mut dyn Rng) {
        let mut scratch = Zeroizing::default();
        let opened = open_hidden(avps, self.config.secret.as_ref(), &mut scratch);
        let parsed = parse(opened, &mut self.counters);
        self.counters.received.count(parsed.message_type);
        if self.state == TunnelState::Closing {
            return;
        }
        self.dispatch(session_id, &parsed, now, rng);
        if self.transport.queued() > MAX_QUEUED {
            self.stop(
                EndedBy::PeerFault,
                StopReason::no_resources("too many messages are not acknowledged"),
            );
        }
    }

    fn dispatch(
        &mut self,
        session_id: SessionId,
        parsed: &Parsed<'_>,
        now: Time,
        rng: &mut dyn Rng,
    ) {
        use MessageType as M;
        let (message_type, body) = (parsed.message_type, &parsed.body);
        let sessions_allowed = self.state == TunnelState::Established;
        match (message_type, &parsed.fault) {
            // What ends something ends it, however badly it is put.
            (M::STOP_CCN, _) => self.receive_stop_ccn(body, now),
            // A message that need not be known need not be understood.
            (_, Some(_)) if !parsed.mandatory && !message_type.is_supported() => {}
            (_, Some(fault)) => self.receive_faulty(session_id, message_type, body, fault, rng),
            (M::SCCRP, None) => self.receive_sccrp(body, now, rng),
            (M::SCCCN, None) => self.receive_scccn(body, now, rng),
            (M::HELLO, None) => {}
            (M::SCCRQ, None) => self.unexpected(message_type),
            (_, None) if !message_type.is_about_session() => {
                self.receive_unknown(message_type, parsed.mandatory)
            }
            (_, None) if !sessions_allowed => self.unexpected(message_type),
            (_, None) => self.receive_for_session(session_id, message_type, body, now, rng),
        }
    }

    fn receive_for_session(
        &mut self,
        session_id: SessionId,
        message_type: MessageType,
        body: &Body<'_>,
        now: Time,
        rng: &mut dyn Rng,
    ) {
        use MessageType as M;
        let call = self
            .calls
            .get(session_id)
            .map(|call| (call.kind, call.state));
        match (message_type, call) {
            (M::CDN, _) => self.receive_cdn(session_id, body),
            (M::WEN | M::SLI | M::MDMST, _) => self.receive_status(session_id, message_type, body),
            (M::CSUN, _) => self.receive_csun(body),
            (M::CSURQ, _) => self.receive_csurq(body, rng),
            (_, Some(call)) => self.receive_for_call(session_id, call, message_type, body, rng),
            (M::ICRQ, None) => self.receive_request(CallKind::LnsIncoming, body, now, rng),
            (M::OCRQ, None) => self.receive_request(CallKind::LacOutgoing, body, now, rng),
            (_, None) => self.counters.unknown_session(message_type),
        }
    }

    /// Ends the session that a faulty message is about, or else the tunnel (RFC 2661 section 4.1).
    fn receive_faulty(
        &mut self,
        session_id: SessionId,
        message_type: MessageType,
        body: &Body<'_>,
        fault: &Fault,
        rng: &mut dyn Rng,
    ) {
        self.counters.malformed(message_type);
        if message_type == MessageType::SCCRP && self.peer_id == 0 {
            // So that the StopCCN finds its tunnel.
            self.peer_id = body.assigned_tunnel_id.unwrap_or_default();
        }
        let about_session =
            message_type.is_about_session() && self.state == TunnelState::Established;
        match message_type {
            _ if !about_session => self.stop(EndedBy::PeerFault, StopReason::from(fault)),
            MessageType::CDN => self.receive_cdn(session_id, body),
            _ if self.calls.get(session_id).is_some() => {
                self.end_call(session_id, EndedBy::PeerFault, Disconnect::from(fault));
            }
            MessageType::ICRQ | MessageType::OCRQ => {
                self.refuse_bad_request(body.assigned_session_id, &Disconnect::from(fault), rng);
            }
            _ => self.counters.troubles.unknown_sessions += 1,
        }
    }

    /// A message of a type that we do not know: the sender says whether that matters (RFC 2661 section 4.4.1).
    fn receive_unknown(&mut self, message_type: MessageType, mandatory: bool) {
        if mandatory {
            self.counters.malformed(message_type);
            self.stop(
                EndedBy::PeerFault,
                StopReason::from(&Fault::UnknownMessage(message_type)),
            );
        }
    }
}
