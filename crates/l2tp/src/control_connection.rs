//! The control connection's state machine (RFC 2661 section 7.2), its authentication (section 5.1.1), its HELLOs and its end.

use std::sync::Arc;
use std::time::Duration;

use crypto::chap;
use sansio::{Rng, Time};
use wire::l2tp::{Attribute, AttributeType, Extension, MessageType};

use crate::diffserv::{NotGranted, agreed, per_hop_behavior};
use crate::messages::{Body, Builder, PeerInfo, Sccrq, required_id, stop_ccn};
use crate::reason::cut;
use crate::unproven::Unproven;
use crate::{
    CallEnd, ConnectionTimer, Disconnect, EndedBy, Event, StopReason, Tunnel, TunnelConfig,
    TunnelEnd, TunnelId, TunnelState,
};

impl Tunnel {
    /// Begins a tunnel as its originator: queues SCCRQ. `local_id` must not be 0, nor another tunnel's.
    pub fn originate(
        config: Arc<TunnelConfig>,
        local_id: TunnelId,
        now: Time,
        rng: &mut dyn Rng,
    ) -> Self {
        let mut tunnel = Self::new(config, local_id, TunnelState::WaitCtlReply, 0);
        tunnel.await_establishment(now);
        tunnel.make_challenge(rng);
        tunnel.tie_breaker = tunnel.config.tie_breaker.then(|| rng.next_u64());
        let avps = tunnel.introduction(MessageType::SCCRQ, None, rng);
        tunnel.send(0, avps);
        tunnel
    }

    /// Answers an SCCRQ: queues SCCRP. `local_id` must not be 0, nor another tunnel's.
    ///
    /// # Errors
    ///
    /// Why the SCCRQ can't be accepted: [`Sccrq::refuse`] says it.
    pub fn accept(
        config: Arc<TunnelConfig>,
        local_id: TunnelId,
        sccrq: &Sccrq,
        now: Time,
        rng: &mut dyn Rng,
    ) -> Result<Self, StopReason> {
        let peer = sccrq.peer.clone()?;
        let expected = sccrq.ns.wrapping_add(1);
        let mut tunnel = Self::new(config, local_id, TunnelState::WaitCtlConn, expected);
        let response = tunnel.respond(MessageType::SCCRP, sccrq.challenge.as_deref())?;
        tunnel.peer_id = sccrq.assigned_tunnel_id;
        tunnel.unproven = Some(Unproven::new(sccrq.octets, sccrq.fingerprint));
        tunnel.counters = sccrq.counters.clone();
        tunnel.take_peer(peer);
        tunnel.await_establishment(now);
        tunnel.make_challenge(rng);
        let avps = tunnel.introduction(MessageType::SCCRP, response, rng);
        tunnel.send(0, avps);
        Ok(tunnel)
    }

    /// Ends the tunnel and its calls: queues StopCCN, and lives on until that has arrived. Nothing happens if it is ending already.
    pub fn close(&mut self, reason: StopReason) {
        self.stop(EndedBy::Local, reason);
    }

    /// Ends the tunnel and its calls without a word, at once: the peer has forgotten it, or never knew of it.
    pub fn abandon(&mut self, reason: StopReason) {
        self.give_up(EndedBy::Local, reason);
    }

    /// Drops a tunnel without a word to the peer: the one that it opens at the same time has won (section 4.4.3), or neither has. Nothing
    /// happens unless our SCCRQ is unanswered.
    pub fn give_way(&mut self, message: &str) {
        if self.state == TunnelState::WaitCtlReply {
            self.give_up(EndedBy::Local, StopReason::unsaid(message));
        }
    }

    pub(crate) fn give_up(&mut self, by: EndedBy, reason: StopReason) {
        self.end(TunnelEnd { by, reason });
        self.release();
    }

    /// SCCRP: the peer answers our SCCRQ.
    pub(crate) fn receive_sccrp(&mut self, body: &Body<'_>, now: Time, rng: &mut dyn Rng) {
        if self.state != TunnelState::WaitCtlReply {
            return self.unexpected(MessageType::SCCRP);
        }
        match self.take_sccrp(body) {
            Ok(response) => {
                let hiding = self.hiding(rng);
                let response = response.map(Attribute::ChallengeResponse);
                let avps = Builder::new(MessageType::SCCCN, hiding)
                    .put_some(response)
                    .finish();
                self.send(0, avps);
                self.established(now, rng);
            }
            Err(reason) => self.stop(EndedBy::PeerFault, reason),
        }
    }

    /// Checks an SCCRP, and gives our response to its challenge.
    fn take_sccrp(&mut self, body: &Body<'_>) -> Result<Option<[u8; 16]>, StopReason> {
        self.peer_id = required_id(body.assigned_tunnel_id, AttributeType::ASSIGNED_TUNNEL_ID)
            .map_err(|fault| StopReason::from(&fault))?;
        let peer = PeerInfo::from_body(body)?;
        self.check_response(MessageType::SCCRP, body.challenge_response)?;
        let response = self.respond(MessageType::SCCCN, body.challenge)?;
        let (asked, required) = (self.control_ds(), self.config.require_dscp);
        self.control_dscp = agreed(asked, peer.control_ds, required)
            .map_err(|NotGranted| StopReason::ds_refused())?;
        self.take_peer(peer);
        Ok(response)
    }

    /// SCCCN: the peer has what it needs.
    pub(crate) fn receive_scccn(&mut self, body: &Body<'_>, now: Time, rng: &mut dyn Rng) {
        if self.state != TunnelState::WaitCtlConn {
            return self.unexpected(MessageType::SCCCN);
        }
        match self.check_response(MessageType::SCCCN, body.challenge_response) {
            Ok(()) => self.established(now, rng),
            Err(reason) => self.stop(EndedBy::PeerFault, reason),
        }
    }

    /// StopCCN: the peer ends the tunnel, and with it everything that it was still to hear from us.
    pub(crate) fn receive_stop_ccn(&mut self, body: &Body<'_>, now: Time) {
        if self.peer_id == 0 {
            // A refusal: its sender looks for our acknowledgement where this says.
            self.peer_id = body.assigned_tunnel_id.unwrap_or_default();
        }
        self.transport.drop_all();
        self.transport.acknowledge_now();
        self.end(TunnelEnd {
            by: EndedBy::Peer,
            reason: StopReason::received(body),
        });
        self.linger(now);
    }

    /// A message that the tunnel's state does not allow.
    pub(crate) fn unexpected(&mut self, message_type: MessageType) {
        self.counters.unexpected(message_type);
        self.stop(EndedBy::PeerFault, StopReason::unexpected(message_type));
    }

    /// Sends HELLO if the peer was silent for long, and nothing is under way that would find out whether it is still there.
    pub(crate) fn keep_alive(&mut self, now: Time) {
        let Some(interval) = self.hello_interval() else {
            return;
        };
        let silent_until = self.heard_at + interval;
        if silent_until > now {
            return self.deadlines.set(ConnectionTimer::Hello, silent_until);
        }
        if self.transport.queued() == 0 {
            self.send(0, Builder::new(MessageType::HELLO, None).finish());
        }
        self.deadlines.set(ConnectionTimer::Hello, now + interval);
    }

    /// The peer counts as heard now.
    pub(crate) fn begin_keep_alive(&mut self, now: Time) {
        if let Some(interval) = self.hello_interval() {
            self.deadlines.set(ConnectionTimer::Hello, now + interval);
        }
    }

    /// An interval of nothing is no interval: its timer would fire for ever.
    fn hello_interval(&self) -> Option<Duration> {
        self.config.hello_interval.filter(|i| !i.is_zero())
    }

    /// Ends the tunnel and tells the peer why. One who may never have heard of it is told only in answer to something.
    pub(crate) fn stop(&mut self, by: EndedBy, reason: StopReason) {
        if matches!(self.state, TunnelState::Closing | TunnelState::Released) {
            return;
        }
        if self.unproven.is_some() && by != EndedBy::PeerFault {
            return self.give_up(by, reason);
        }
        self.transport.drop_waiting();
        self.send_stop_ccn(&reason);
        self.end(TunnelEnd { by, reason });
    }

    /// Ends the calls and the tunnel, as far as its owner is concerned.
    pub(crate) fn end(&mut self, end: TunnelEnd) {
        if matches!(self.state, TunnelState::Closing | TunnelState::Released) {
            return;
        }
        self.state = TunnelState::Closing;
        self.deadlines.clear_all();
        for session in self.calls.take_all() {
            let reason = Disconnect::unsaid(format!("the tunnel ended: {}", end.reason));
            self.event(Event::CallClosed {
                session,
                reason: CallEnd { by: end.by, reason },
            });
        }
        self.event(Event::Closed { reason: end });
    }

    /// Keeps the transport running for a full retransmission cycle more: the peer may not have got our last acknowledgement (section 5.7).
    pub(crate) fn linger(&mut self, now: Time) {
        let cycle = self.config.retry_cycle();
        self.deadlines.set(ConnectionTimer::Linger, now + cycle);
    }

    fn established(&mut self, now: Time, rng: &mut dyn Rng) {
        self.state = TunnelState::Established;
        self.deadlines.clear(ConnectionTimer::Establish);
        self.begin_keep_alive(now);
        self.event(Event::Established);
        self.request_waiting_calls(rng);
    }

    fn await_establishment(&mut self, now: Time) {
        if let Some(timeout) = self.config.establish_timeout {
            self.deadlines
                .set(ConnectionTimer::Establish, now + timeout);
        }
    }

    fn take_peer(&mut self, peer: PeerInfo) {
        self.transport
            .set_window(peer.rx_window.min(self.config.tx_window));
        self.peer = Some(Box::new(peer));
    }

    /// The per-hop behavior that we want for control messages.
    fn control_ds(&self) -> Option<u16> {
        self.config.control_dscp.map(per_hop_behavior)
    }

    fn make_challenge(&mut self, rng: &mut dyn Rng) {
        if self.config.challenge {
            let mut challenge = [0; 16];
            rng.fill_bytes(&mut challenge);
            self.challenge = Some(challenge);
        }
    }

    /// Our response in a message of `message_type` to the challenge that the peer may have made.
    fn respond(
        &self,
        message_type: MessageType,
        challenge: Option<&[u8]>,
    ) -> Result<Option<[u8; 16]>, StopReason> {
        match (challenge, &self.config.secret) {
            (None, _) => Ok(None),
            (Some(challenge), Some(secret)) => Ok(Some(chap::response(
                message_type.0 as u8,
                secret.as_bytes(),
                challenge,
            ))),
            (Some(_), None) => Err(StopReason::not_authorized(
                "we have no secret to answer the challenge with",
            )),
        }
    }

    /// Whether the peer's response, in a message of `message_type`, is the right one to the challenge that we may have made.
    fn check_response(
        &mut self,
        message_type: MessageType,
        response: Option<[u8; 16]>,
    ) -> Result<(), StopReason> {
        let Some(challenge) = self.challenge else {
            return Ok(());
        };
        let expected = self
            .config
            .secret
            .as_ref()
            .map(|secret| chap::response(message_type.0 as u8, secret.as_bytes(), &challenge));
        let reason = match (response, expected) {
            (Some(response), Some(expected)) if crypto::eq(&response, &expected) => {
                self.challenge = None;
                return Ok(());
            }
            (Some(_), Some(_)) => "the response to our challenge is wrong",
            (None, Some(_)) => "our challenge was not answered",
            (_, None) => "we have no secret to check the response with",
        };
        self.counters.troubles.authentication_failures += 1;
        Err(StopReason::not_authorized(reason))
    }

    /// An SCCRQ or SCCRP: who we are, what we can do, our challenge, and our response to the peer's.
    fn introduction(
        &self,
        message_type: MessageType,
        response: Option<[u8; 16]>,
        rng: &mut dyn Rng,
    ) -> Vec<u8> {
        let config = &self.config;
        let hiding = if message_type == MessageType::SCCRP {
            self.hiding(rng)
        } else {
            None
        };
        // What an SCCRP says of these, it says in answer.
        let asked = |what: fn(&PeerInfo) -> bool| {
            message_type == MessageType::SCCRQ || self.peer().is_some_and(what)
        };
        let ds = self
            .control_ds()
            .filter(|_| asked(|peer| peer.control_ds.is_some()));
        let ecn = config.ecn && asked(|peer| peer.ecn);
        let bearers = Some(config.bearer_capabilities).filter(|bearers| !bearers.is_empty());
        let vendor_name = Some(cut(&config.vendor_name)).filter(|name| !name.is_empty());
        Builder::new(message_type, hiding)
            .put(Attribute::ProtocolVersion(1, 0))
            .put(Attribute::FramingCapabilities(config.framing_capabilities))
            .put_some(bearers.map(Attribute::BearerCapabilities))
            .put(Attribute::FirmwareRevision(config.firmware_revision))
            .put(Attribute::HostName(cut(&config.host_name).as_bytes()))
            .put_some(vendor_name.map(|name| Attribute::VendorName(name.as_bytes())))
            .put(Attribute::AssignedTunnelId(self.id))
            .put(Attribute::ReceiveWindowSize(config.rx_window))
            .put_some(response.map(Attribute::ChallengeResponse))
            .put_some(self.tie_breaker.map(Attribute::TieBreaker))
            .put_some(
                self.challenge
                    .as_ref()
                    .map(|challenge| Attribute::Challenge(challenge)),
            )
            .put_some(ds.map(|ds| Attribute::Extension(Extension::ControlConnectionDs(ds))))
            .put_some(ecn.then_some(Attribute::Extension(Extension::EcnCapability)))
            .finish()
    }

    fn send_stop_ccn(&mut self, reason: &StopReason) {
        self.send(0, stop_ccn(self.id, reason));
    }
}
