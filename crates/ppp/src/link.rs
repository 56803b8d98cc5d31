//! The link: its phases, and what passes between LCP, authentication and the network control protocols (RFC 1661
//! section 3).

mod encryption;
mod network;
mod status;

use std::sync::Arc;

use crypto::mppe::StartKeys;
use sansio::{Deadline, Rng, Time};
use serde::{Deserialize, Serialize};
use wire::ppp::iana::code;
use wire::ppp::{Echo, Frame, Packet, Protocol, ProtocolReject};

use crate::auth::{Authenticator, Outcome, Supplicant, text};
use crate::automaton::{Event as Happening, State};
use crate::echo::Keepalive;
use crate::io::{Context, Io, Timer};
use crate::ipcp::Ipcp;
use crate::ipv6cp::Ipv6cp;
use crate::layer::{Layer, Signal};
use crate::lcp::Lcp;
use crate::{Cause, Credentials, DEFAULT_MRU, End, Event, LinkConfig, Verdict};

use encryption::Encryption;
use network::Network;

pub use status::Status;

/// A phase of the link (RFC 1661 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Not opened yet, or over.
    Dead,
    /// LCP is being negotiated.
    Establish,
    /// One end or both prove who they are.
    Authenticate,
    /// Network control protocols and network-layer packets.
    Network,
    /// LCP is being terminated.
    Terminate,
}

/// One PPP link, from LCP to the network layers, at one end.
///
/// Give it every frame of its session that is not an open network layer's packet, then empty [`Link::poll_transmit`] and
/// [`Link::poll_event`], and wake it at [`Link::next_timeout`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Link {
    config: Arc<LinkConfig>,
    credentials: Option<Arc<Credentials>>,
    phase: Phase,
    lcp: Layer<Lcp>,
    authenticator: Option<Authenticator>,
    supplicant: Option<Supplicant>,
    /// The peer need not, or did, prove itself.
    peer_proven: bool,
    /// We need not, or did, prove ourselves.
    self_proven: bool,
    /// The name that the peer gave to prove itself.
    user: Option<Box<str>>,
    /// The network layers are configured; before, the engine is thinking about it.
    configured: bool,
    ipv4: Network<Ipcp>,
    ipv6: Network<Ipv6cp>,
    /// Absent where it is not wanted.
    encryption: Option<Box<Encryption>>,
    keepalive: Keepalive,
    /// Why the link ends, once it does.
    cause: Option<Cause>,
    io: Io,
}

/// The parts of a link that its layers work with, while one of them is borrowed.
macro_rules! context {
    ($link:ident, $now:expr, $rng:expr) => {
        &mut Context {
            now: $now,
            rng: $rng,
            config: &$link.config,
            io: &mut $link.io,
            farewell: $link.cause.as_ref().map_or("", Cause::told),
        }
    };
}
use context;

impl Link {
    /// A link that does nothing until [`Link::open`]. `credentials` are what it proves itself with; without, it refuses to.
    pub fn new(
        config: Arc<LinkConfig>,
        credentials: Option<Arc<Credentials>>,
        rng: &mut dyn Rng,
    ) -> Self {
        let encryption = config.mppe.is_some();
        Self {
            phase: Phase::Dead,
            lcp: Layer::new(Lcp::new(credentials.is_some()), rng),
            config,
            credentials,
            authenticator: None,
            supplicant: None,
            peer_proven: false,
            self_proven: false,
            user: None,
            configured: false,
            ipv4: Network::new(Layer::new(Ipcp::default(), rng)),
            ipv6: Network::new(Layer::new(Ipv6cp::default(), rng)),
            encryption: encryption.then(|| Box::new(Encryption::new(rng))),
            keepalive: Keepalive::default(),
            cause: None,
            io: Io::new(),
        }
    }

    /// Takes `config` in place of a copy of it, such as a link has that was restored.
    pub fn share_config(&mut self, config: &Arc<LinkConfig>) {
        if self.config == *config {
            self.config = Arc::clone(config);
        }
    }

    /// The call is there: LCP begins. To be called once.
    pub fn open(&mut self, now: Time, rng: &mut dyn Rng) {
        if self.phase != Phase::Dead || self.cause.is_some() {
            return;
        }
        self.phase = Phase::Establish;
        self.lcp_event(Happening::Open, now, rng);
        self.lcp_event(Happening::Up, now, rng);
    }

    /// Ends the link in good order: the peer is told, and [`Event::Closed`] follows with the cause that came first.
    pub fn close(&mut self, cause: Cause, now: Time, rng: &mut dyn Rng) {
        if self.cause.is_some() {
            return;
        }
        self.cause = Some(cause);
        self.phase = Phase::Terminate;
        self.lcp_event(Happening::Close, now, rng);
        // Where nothing was ever sent there is nobody to tell.
        if matches!(self.lcp.state(), State::Initial | State::Closed) {
            self.finish();
        }
    }

    /// One PPP frame from the peer, from `FF 03` or the protocol field on. Any octets will do: bad ones are counted.
    pub fn handle_frame(&mut self, frame: &[u8], now: Time, rng: &mut dyn Rng) {
        self.io.counters.received += 1;
        let Ok(Frame { protocol, payload }) = Frame::decode(frame) else {
            self.io.counters.malformed += 1;
            return;
        };
        self.handle_payload(protocol, payload, now, rng);
    }

    fn handle_payload(&mut self, protocol: Protocol, payload: &[u8], now: Time, rng: &mut dyn Rng) {
        if !self.wants(protocol) {
            return self.refuse(protocol, payload, now);
        }
        let Ok(packet) = Packet::decode(payload) else {
            self.io.counters.malformed += 1;
            return;
        };
        match protocol {
            Protocol::LCP if self.phase == Phase::Dead => self.late_packet(&packet, now, rng),
            Protocol::LCP => self.lcp_packet(&packet, now, rng),
            Protocol::IPCP => self.ipcp_packet(&packet, now, rng),
            Protocol::IPV6CP => self.ipv6cp_packet(&packet, now, rng),
            Protocol::CCP => self.ccp_packet(&packet, now, rng),
            _ => self.auth_packet(protocol, &packet, now, rng),
        }
    }

    /// Whether a protocol's packets have a meaning in the present phase.
    fn wants(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::LCP => true,
            Protocol::PAP | Protocol::CHAP => {
                matches!(self.phase, Phase::Authenticate | Phase::Network)
            }
            Protocol::IPCP => self.phase == Phase::Network && self.ipv4.is_configured(),
            Protocol::IPV6CP => self.phase == Phase::Network && self.ipv6.is_configured(),
            Protocol::CCP => {
                let speaks = |e: &Encryption| self.phase == Phase::Network && e.speaks();
                self.encryption.as_deref().is_some_and(speaks)
            }
            _ => false,
        }
    }

    /// A frame that nothing here takes: one of an unknown protocol is rejected (RFC 1661 section 5.7), but before the network
    /// phase only what could not be known then either.
    fn refuse(&mut self, protocol: Protocol, payload: &[u8], now: Time) {
        if let Some(encryption) = &mut self.encryption {
            if self.phase == Phase::Network && encryption.hold(protocol, payload) {
                return;
            }
            if protocol == Protocol::COMPRESSED {
                return self.unreadable(now);
            }
        }
        let known = match protocol {
            Protocol::PAP | Protocol::CHAP => true,
            // Packets of a layer that is just coming up or going down, or that the datapath missed.
            Protocol::IPV4 | Protocol::IPV6 => true,
            Protocol::IPCP | Protocol::IPV6CP => !self.configured,
            Protocol::CCP => self.encryption.as_ref().is_some_and(|e| !e.has_failed()),
            _ => false,
        };
        let rejects = match self.phase {
            Phase::Authenticate => !protocol.is_network_layer() && !protocol.is_network_control(),
            Phase::Network => true,
            Phase::Dead | Phase::Establish | Phase::Terminate => false,
        };
        if known || !rejects {
            self.io.counters.discarded += 1;
            return;
        }
        let identifier = self.lcp.next_identifier();
        let room = self.io.out.mtu().saturating_sub(Packet::HEADER + 2);
        let information = &payload[..payload.len().min(room)];
        let reject = ProtocolReject {
            protocol,
            information,
        };
        self.io.counters.protocol_rejects += 1;
        self.io.send(Protocol::LCP, |w| {
            Packet::encode_with(code::PROTOCOL_REJECT, identifier, w, |w| reject.encode(w))
        });
    }

    /// What is due is done; calls that come too early do nothing.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut dyn Rng) {
        while let Some(timer) = self.io.deadlines.pop(now) {
            match timer {
                Timer::Lcp => {
                    let signal = self.lcp.timeout(context!(self, now, rng));
                    self.lcp_signal(signal, now, rng);
                }
                Timer::Ipcp => self.ipcp_timeout(now, rng),
                Timer::Ipv6cp => self.ipv6cp_timeout(now, rng),
                Timer::Ccp => self.ccp_timeout(now, rng),
                Timer::Challenge => {
                    let Some(authenticator) = &mut self.authenticator else {
                        continue;
                    };
                    let outcome = authenticator.timeout(context!(self, now, rng));
                    self.peer_auth(outcome, now, rng);
                }
                Timer::Proof => {
                    let Some(credentials) = self.credentials.as_deref() else {
                        continue;
                    };
                    let Some(supplicant) = &mut self.supplicant else {
                        continue;
                    };
                    let outcome = supplicant.timeout(credentials, context!(self, now, rng));
                    self.self_auth(outcome, now, rng);
                }
                Timer::Authentication => {
                    let late = if self.peer_proven {
                        End::Local
                    } else {
                        End::Peer
                    };
                    self.close(Cause::AuthTimeout(late), now, rng);
                }
                Timer::Echo => {
                    let magic = self.lcp.options.magic;
                    if let Err(cause) = self.keepalive.timeout(magic, context!(self, now, rng)) {
                        self.close(cause, now, rng);
                    }
                }
            }
        }
    }

    /// Takes the maps of characters that are escaped on the peer's line from who knows better than LCP did (RFC 2661 section 6.14): those in what
    /// we receive, and those in what we send. What LCP agrees on does not change them.
    pub const fn set_accm(&mut self, own: u32, peer: u32) {
        self.lcp.options.told_maps = Some((own, peer));
    }

    /// Puts the next frame to be sent into `out`, in place of what was there; false when there is none.
    ///
    /// Control frames are never compressed: they begin with `FF 03` and two octets of protocol.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        self.io.out.pop(out)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.io.poll_event()
    }

    /// When [`Link::handle_timeout`] is to be called, and why.
    pub fn next_timeout(&self) -> Option<Deadline<Timer>> {
        self.io.deadlines.next()
    }

    /// The verdict on the attempt of this number ([`AuthAttempt::number`](crate::AuthAttempt::number)). One that comes too late, for
    /// an attempt that something else overtook, has no effect.
    pub fn authenticated(&mut self, number: u32, verdict: Verdict, now: Time, rng: &mut dyn Rng) {
        let Some(authenticator) = &mut self.authenticator else {
            return;
        };
        let outcome = authenticator.decide(number, verdict, context!(self, now, rng));
        self.peer_auth(outcome, now, rng);
    }

    fn lcp_event(&mut self, event: Happening, now: Time, rng: &mut dyn Rng) {
        let signal = self.lcp.event(event, context!(self, now, rng));
        self.lcp_signal(signal, now, rng);
    }

    /// After the end a peer that did not hear of it is told once more, and nothing else happens.
    fn late_packet(&mut self, packet: &Packet<'_>, now: Time, rng: &mut dyn Rng) {
        if packet.code == code::TERMINATE_REQUEST {
            self.lcp.packet(packet, context!(self, now, rng));
        } else {
            self.io.counters.discarded += 1;
        }
    }

    fn lcp_packet(&mut self, packet: &Packet<'_>, now: Time, rng: &mut dyn Rng) {
        match packet.code {
            code::PROTOCOL_REJECT => return self.protocol_rejected(packet, now, rng),
            code::ECHO_REQUEST | code::ECHO_REPLY | code::DISCARD_REQUEST => {
                return self.echo(packet, now, rng);
            }
            // What the peer rejects must not be sent again.
            code::CODE_REJECT if packet.data.first() == Some(&code::ECHO_REQUEST) => {
                self.io.deadlines.clear(Timer::Echo);
            }
            _ => {}
        }
        let before = self.lcp.state();
        let terminated = packet.code == code::TERMINATE_REQUEST
            && (before.is_negotiating() || before == State::Opened);
        if terminated && self.cause.is_none() {
            self.cause = Some(Cause::PeerTerminated(text(packet.data)));
        }
        let signal = self.lcp.packet(packet, context!(self, now, rng));
        if packet.code == code::CODE_REJECT
            && matches!(signal, Some(Signal::Finished | Signal::Down))
        {
            self.cause.get_or_insert(Cause::LcpRejected);
        }
        self.lcp_signal(signal, now, rng);
        if terminated && before.is_negotiating() {
            // RFC 1661 would keep trying; a call is not worth it, as its peer is about to clear it.
            self.phase = Phase::Terminate;
            self.lcp_event(Happening::Close, now, rng);
        }
        if self.lcp.options.is_looped_back(&self.config) {
            self.close(Cause::Loopback, now, rng);
        }
    }

    fn lcp_signal(&mut self, signal: Option<Signal>, now: Time, rng: &mut dyn Rng) {
        match signal {
            None => {}
            Some(Signal::Up) => self.established(now, rng),
            Some(Signal::Down) => self.unestablished(now, rng),
            Some(Signal::Finished) => self.finish(),
            Some(Signal::Stuck) => {
                let refused = self.lcp.options.refused.map(Cause::AuthRefused);
                self.close(refused.unwrap_or(Cause::LcpNotConverged), now, rng);
            }
        }
    }

    /// LCP is open: authentication begins, where any is agreed on.
    fn established(&mut self, now: Time, rng: &mut dyn Rng) {
        self.phase = Phase::Authenticate;
        self.io.out.set_mtu(self.lcp.options.peer.mru);
        self.keepalive.start(context!(self, now, rng));
        let (ours, theirs) = (self.lcp.options.demand, self.lcp.options.peer.auth);
        (self.peer_proven, self.self_proven) = (ours.is_none(), theirs.is_none());
        if let Some(limit) = self.config.auth_timeout {
            self.io.deadlines.set(Timer::Authentication, now + limit);
        }
        if let Some(protocol) = ours {
            self.authenticator = Some(Authenticator::start(protocol, context!(self, now, rng)));
        }
        if let (Some(protocol), Some(credentials)) = (theirs, self.credentials.as_deref()) {
            let cx = context!(self, now, rng);
            self.supplicant = Some(Supplicant::start(protocol, credentials, cx));
        }
        self.authenticate();
    }

    /// LCP is not open any more: negotiated anew, or terminated.
    fn unestablished(&mut self, now: Time, rng: &mut dyn Rng) {
        if self.lcp.state().is_negotiating() {
            self.phase = Phase::Establish;
            self.io.counters.renegotiations += 1;
        } else {
            self.phase = Phase::Terminate;
        }
        self.io.out.set_mtu(DEFAULT_MRU);
        (self.authenticator, self.supplicant, self.user) = (None, None, None);
        for timer in [
            Timer::Challenge,
            Timer::Proof,
            Timer::Authentication,
            Timer::Echo,
        ] {
            self.io.deadlines.clear(timer);
        }
        self.network_down(now, rng);
    }

    /// The link is over.
    fn finish(&mut self) {
        if self.phase == Phase::Dead {
            return;
        }
        self.phase = Phase::Dead;
        self.io.deadlines.clear_all();
        let cause = self.cause.get_or_insert(Cause::LcpTimeout).clone();
        self.io.events.push_back(Event::Closed(cause));
    }

    fn echo(&mut self, packet: &Packet<'_>, now: Time, rng: &mut dyn Rng) {
        if !self.lcp.is_open() {
            self.io.counters.discarded += 1;
            return;
        }
        let Ok(echo) = Echo::decode(packet.data) else {
            self.io.counters.malformed += 1;
            return;
        };
        match packet.code {
            // A loop brings our requests back. A reply with our number is from a peer that repeats it instead of giving its own.
            code::ECHO_REPLY => self.keepalive.reply(packet.identifier, now),
            _ if self.lcp.options.is_own_magic(echo.magic_number) => {
                self.close(Cause::Loopback, now, rng);
            }
            code::ECHO_REQUEST => {
                let reply = Echo {
                    magic_number: self.lcp.options.magic,
                    data: echo.data,
                };
                self.io.send(Protocol::LCP, |w| {
                    let identifier = packet.identifier;
                    Packet::encode_with(code::ECHO_REPLY, identifier, w, |w| reply.encode(w))
                });
            }
            // A Discard-Request has served its purpose.
            _ => {}
        }
    }

    fn protocol_rejected(&mut self, packet: &Packet<'_>, now: Time, rng: &mut dyn Rng) {
        let Ok(reject) = ProtocolReject::decode(packet.data) else {
            self.io.counters.malformed += 1;
            return;
        };
        if !self.lcp.is_open() {
            self.io.counters.discarded += 1;
            return;
        }
        let (ours, theirs) = (self.lcp.options.demand, self.lcp.options.peer.auth);
        let is = |auth: &crate::AuthProtocol| auth.option().0 == reject.protocol;
        match reject.protocol {
            Protocol::LCP => {
                self.cause.get_or_insert(Cause::LcpRejected);
                self.lcp_event(Happening::RejectFatal, now, rng);
            }
            Protocol::IPCP => self.ipcp_rejected(now, rng),
            Protocol::IPV6CP => self.ipv6cp_rejected(now, rng),
            Protocol::CCP => self.ccp_rejected(now, rng),
            _ => {
                if let Some(refused) = ours.filter(is) {
                    self.close(Cause::AuthRefused(refused), now, rng);
                } else if let Some(refused) = theirs.filter(is) {
                    let said = format!("it rejects {refused}, which it demanded");
                    self.close(Cause::NotAuthenticated(said), now, rng);
                }
            }
        }
    }

    fn auth_packet(
        &mut self,
        protocol: Protocol,
        packet: &Packet<'_>,
        now: Time,
        rng: &mut dyn Rng,
    ) {
        if let Some(authenticator) = &mut self.authenticator {
            let outcome = authenticator.handle(protocol, packet, context!(self, now, rng));
            self.peer_auth(outcome, now, rng);
        }
        let Some(credentials) = self.credentials.as_deref() else {
            return;
        };
        if let Some(supplicant) = &mut self.supplicant {
            let cx = context!(self, now, rng);
            let outcome = supplicant.handle(protocol, packet, credentials, cx);
            self.self_auth(outcome, now, rng);
        }
    }

    /// What came of the peer's proof.
    fn peer_auth(&mut self, outcome: Outcome, now: Time, rng: &mut dyn Rng) {
        match outcome {
            Outcome::None => {}
            Outcome::Attempt(attempt) => {
                let user = String::from_utf8_lossy(&attempt.user_name);
                if self.phase == Phase::Network && self.user.as_deref() != Some(&*user) {
                    // Addresses, limits and accounting are those of the name that the session began with.
                    let verdict = Verdict::Reject {
                        message: "the name has changed".to_owned(),
                    };
                    return self.authenticated(attempt.number, verdict, now, rng);
                }
                self.user = Some(user.into());
                self.io.events.push_back(Event::Authenticate(attempt));
            }
            Outcome::Proven(keys) => {
                self.take_keys(keys.filter(|_| !self.peer_proven));
                self.peer_proven = true;
                self.authenticate();
            }
            Outcome::Failed(cause) => self.close(cause, now, rng),
        }
    }

    /// What came of ours.
    fn self_auth(&mut self, outcome: Outcome, now: Time, rng: &mut dyn Rng) {
        match outcome {
            Outcome::None | Outcome::Attempt(_) => {}
            Outcome::Proven(keys) => {
                self.take_keys(keys.filter(|_| !self.self_proven));
                self.self_proven = true;
                self.authenticate();
            }
            Outcome::Failed(cause) => self.close(cause, now, rng),
        }
    }

    /// Keys are those of the first authentication.
    fn take_keys(&mut self, keys: Option<StartKeys>) {
        if let (Some(keys), Some(encryption)) = (keys, &mut self.encryption) {
            encryption.add_keys(keys);
        }
    }

    /// Goes on to the network phase when both ends are satisfied.
    fn authenticate(&mut self) {
        if self.phase == Phase::Authenticate && self.peer_proven && self.self_proven {
            self.phase = Phase::Network;
            self.io.deadlines.clear(Timer::Authentication);
            let user = self.user.as_deref().map(str::to_owned);
            self.io.events.push_back(Event::NetworkWanted { user });
        }
    }
}
