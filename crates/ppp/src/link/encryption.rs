//! Whether packets are encrypted, which is known before there are any: keys of authentication, and CCP (RFC 1962, RFC 3078).

use std::time::Duration;

use crypto::mppe::{KeyLength, Mode, StartKeys};
use sansio::{Rng, Time};
use serde::{Deserialize, Serialize};
use wire::ppp::iana::code;
use wire::ppp::{Packet, Protocol};

use super::{Link, Phase, context};
use crate::automaton::{Event as Happening, State as Automaton};
use crate::ccp::Ccp;
use crate::io::Context;
use crate::layer::{Layer, Signal};
use crate::{AuthProtocol, Cause, EncryptionCause, Event, NetworkConfig};

/// How long the answer to a Reset-Request is waited for until another may go out.
const RESET_INTERVAL: Duration = Duration::from_secs(1);

/// A link's encryption, where it is wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Encryption {
    pub(super) layer: Layer<Ccp>,
    state: State,
    keys: Keys,
    /// The datapath's encryption goes on when a Configure-Request passes.
    outlives_requests: bool,
    /// What is opened once it is known whether packets are encrypted.
    network: Option<NetworkConfig>,
    /// The last Configure-Request of each control protocol that came before its time.
    early: Vec<(Protocol, Box<[u8]>)>,
    /// When the peer was asked to begin anew, while it has not answered.
    reset_asked: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum State {
    /// It is not time yet.
    Off,
    /// The owner was asked.
    Asked,
    /// CCP is being negotiated.
    Opening,
    /// Packets are encrypted.
    Up(Mode),
    /// They are not.
    Failed,
}

/// What authentication gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Keys {
    None,
    One(StartKeys),
    /// Both ends proved themselves. The keys are of who placed the call (RFC 3079 section 3), and nothing in PPP says who that is.
    Two,
}

impl Encryption {
    pub(super) fn new(rng: &mut dyn Rng) -> Self {
        Self {
            layer: Layer::new(Ccp::default(), rng),
            state: State::Off,
            keys: Keys::None,
            outlives_requests: false,
            network: None,
            early: Vec::new(),
            reset_asked: None,
        }
    }

    /// Whether CCP's packets have a meaning.
    pub(super) fn speaks(&self) -> bool {
        match self.state {
            State::Off | State::Asked => false,
            State::Opening | State::Up(_) => true,
            // The peer is told that it is over.
            State::Failed => self.layer.state() == Automaton::Closing,
        }
    }

    /// Whether there is none, though it was tried.
    pub(super) fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// Whether it is not known yet if packets are encrypted.
    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.state, State::Asked | State::Opening)
    }

    /// What was agreed on, while packets are encrypted.
    pub(super) const fn mode(&self) -> Option<Mode> {
        match self.state {
            State::Up(mode) => Some(mode),
            _ => None,
        }
    }

    /// What authentication gave one of the ends, the first time.
    pub(super) fn add_keys(&mut self, keys: StartKeys) {
        self.keys = match self.keys {
            Keys::None => Keys::One(keys),
            Keys::One(_) | Keys::Two => Keys::Two,
        };
    }

    /// Keeps a packet that came before its time, for an answer that does not wait for the peer's restart timer; says whether it does.
    pub(super) fn hold(&mut self, protocol: Protocol, payload: &[u8]) -> bool {
        let begins = payload.first() == Some(&code::CONFIGURE_REQUEST);
        let holds = match protocol {
            Protocol::CCP => matches!(self.state, State::Off | State::Asked),
            Protocol::IPCP | Protocol::IPV6CP => self.state == State::Off || self.is_pending(),
            _ => false,
        };
        if holds && begins {
            self.early.retain(|(known, _)| *known != protocol);
            self.early.push((protocol, payload.into()));
        }
        holds
    }
}

impl Link {
    /// Opens what `network` holds, once it is known whether packets are encrypted.
    pub(super) fn open_encryption(&mut self, network: NetworkConfig, now: Time, rng: &mut dyn Rng) {
        let Some(encryption) = &mut self.encryption else {
            return self.open_networks(network, now, rng);
        };
        encryption.network = Some(network);
        let cause = match std::mem::replace(&mut encryption.keys, Keys::None) {
            Keys::One(keys) => {
                encryption.state = State::Asked;
                self.io.events.push_back(Event::EncryptionWanted { keys });
                return;
            }
            Keys::None => EncryptionCause::NoKeys,
            Keys::Two => EncryptionCause::TwoKeys,
        };
        self.go_without(cause, now, rng);
    }

    /// The answer to [`Event::EncryptionWanted`]: opens CCP for those of the configured lengths that are among `lengths`, which the datapath has. With
    /// none the link goes on without, if it may. `outlives_requests` says whether the datapath goes on encrypting when a Configure-Request of the peer's
    /// passes, even one that comes late: else the link ends with it, once packets may have been sent.
    pub fn encrypt(
        &mut self,
        lengths: &[KeyLength],
        outlives_requests: bool,
        now: Time,
        rng: &mut dyn Rng,
    ) {
        let (Some(encryption), Some(config)) = (&mut self.encryption, &self.config.mppe) else {
            return;
        };
        if self.phase != Phase::Network || encryption.state != State::Asked {
            return;
        }
        let lcp = &self.lcp.options;
        let by_v1 = [lcp.demand, lcp.peer.auth].contains(&Some(AuthProtocol::MsChapV1));
        let mut usable = config.lengths.clone();
        // MS-CHAPv1 makes no shorter keys without the LAN Manager's hash, which nobody should have.
        usable.retain(|l| lengths.contains(l) && (*l == KeyLength::Bits128 || !by_v1));
        if usable.is_empty() {
            return self.go_without(EncryptionCause::Unsupported, now, rng);
        }
        encryption.state = State::Opening;
        encryption.outlives_requests = outlives_requests;
        encryption.layer.options.lengths = usable;
        let cx = context!(self, now, rng);
        encryption.layer.event(Happening::Open, cx);
        encryption.layer.event(Happening::Up, cx);
        self.take_early(Protocol::CCP, now, rng);
    }

    /// Takes the packet of this protocol that came before its time, if one did.
    pub(super) fn take_early(&mut self, protocol: Protocol, now: Time, rng: &mut dyn Rng) {
        let Some(encryption) = &mut self.encryption else {
            return;
        };
        let known = |(of, _): &(Protocol, Box<[u8]>)| *of == protocol;
        let Some(at) = encryption.early.iter().position(known) else {
            return;
        };
        let (_, payload) = encryption.early.swap_remove(at);
        self.handle_payload(protocol, &payload, now, rng);
    }

    pub(super) fn ccp_packet(&mut self, packet: &Packet<'_>, now: Time, rng: &mut dyn Rng) {
        let Some(encryption) = &mut self.encryption else {
            return;
        };
        let is_up = encryption.mode().is_some();
        match packet.code {
            code::RESET_REQUEST if is_up => {
                // The datapath sees it pass, and begins anew. RFC 3078 section 8.2 does without, and Linux does not.
                let identifier = packet.identifier;
                self.io.send(Protocol::CCP, |w| {
                    Packet::encode_with(code::RESET_ACK, identifier, w, |_| Ok(()))
                });
            }
            code::RESET_ACK if is_up => encryption.reset_asked = None,
            // Even one that was acknowledged before: the kernel stops to encrypt when it sees a request pass.
            code::CONFIGURE_REQUEST
                if (self.ipv4.is_up() || self.ipv6.is_up())
                    && !(encryption.outlives_requests && encryption.layer.is_late(packet)) =>
            {
                let signal = Some(Signal::Down);
                self.ccp_signal(signal, EncryptionCause::Renegotiated, now, rng);
            }
            code::RESET_REQUEST | code::RESET_ACK => self.io.counters.discarded += 1,
            _ => {
                let signal = encryption.layer.packet(packet, context!(self, now, rng));
                let signal = match packet.code {
                    code::TERMINATE_REQUEST => signal.or(Some(Signal::Finished)),
                    _ => signal,
                };
                let cause = match packet.code {
                    code::TERMINATE_REQUEST => EncryptionCause::Terminated,
                    code::CODE_REJECT => EncryptionCause::Rejected,
                    _ => EncryptionCause::Renegotiated,
                };
                self.ccp_signal(signal, cause, now, rng);
            }
        }
    }

    pub(super) fn ccp_timeout(&mut self, now: Time, rng: &mut dyn Rng) {
        let Some(encryption) = &mut self.encryption else {
            return;
        };
        let signal = encryption.layer.timeout(context!(self, now, rng));
        self.ccp_signal(signal, EncryptionCause::Timeout, now, rng);
    }

    pub(super) fn ccp_rejected(&mut self, now: Time, rng: &mut dyn Rng) {
        let speaks = self.encryption.as_ref().is_some_and(|e| e.speaks());
        if speaks {
            self.ccp_signal(Some(Signal::Finished), EncryptionCause::Rejected, now, rng);
        }
    }

    fn ccp_signal(
        &mut self,
        signal: Option<Signal>,
        cause: EncryptionCause,
        now: Time,
        rng: &mut dyn Rng,
    ) {
        let (Some(signal), Some(encryption)) = (signal, &mut self.encryption) else {
            return;
        };
        let mode = encryption.layer.options.mode();
        match (encryption.state, signal, mode) {
            (State::Opening, Signal::Up, Some(mode)) => {
                encryption.state = State::Up(mode);
                self.io.events.push_back(Event::EncryptionUp(mode));
                self.go_on(now, rng);
            }
            (State::Opening, Signal::Up | Signal::Stuck, _) => {
                self.go_without(EncryptionCause::NotConverged, now, rng);
            }
            (State::Opening, Signal::Finished, _) => self.go_without(cause, now, rng),
            // Whoever is on the way could have said so, to hear what follows.
            (State::Up(_), _, _) => self.close(Cause::NotEncrypted(cause), now, rng),
            _ => {}
        }
    }

    /// Packets will not be encrypted: the link ends, or goes on without.
    fn go_without(&mut self, cause: EncryptionCause, now: Time, rng: &mut dyn Rng) {
        self.end_encryption(State::Failed, now, rng);
        if self.config.mppe.as_ref().is_some_and(|mppe| mppe.required) {
            self.close(Cause::NotEncrypted(cause), now, rng);
        } else {
            self.go_on(now, rng);
        }
    }

    fn go_on(&mut self, now: Time, rng: &mut dyn Rng) {
        let network = self.encryption.as_mut().and_then(|e| e.network.take());
        if let Some(network) = network {
            self.open_networks(network, now, rng);
        }
    }

    /// LCP went down, and this with it.
    pub(super) fn encryption_down(&mut self, now: Time, rng: &mut dyn Rng) {
        self.end_encryption(State::Off, now, rng);
        if let Some(encryption) = &mut self.encryption {
            encryption
                .layer
                .event(Happening::Down, context!(self, now, rng));
            encryption
                .layer
                .event(Happening::Close, context!(self, now, rng));
            (encryption.keys, encryption.network) = (Keys::None, None);
            (encryption.early, encryption.reset_asked) = (Vec::new(), None);
        }
    }

    fn end_encryption(&mut self, state: State, now: Time, rng: &mut dyn Rng) {
        let Some(encryption) = &mut self.encryption else {
            return;
        };
        let before = std::mem::replace(&mut encryption.state, state);
        if matches!(before, State::Asked | State::Opening | State::Up(_)) {
            self.io.events.push_back(Event::EncryptionDown);
        }
        if state == State::Failed {
            encryption
                .layer
                .event(Happening::Close, context!(self, now, rng));
        }
    }

    /// The datapath could not decrypt a packet: what is missing before it is asked for anew.
    pub(super) fn unreadable(&mut self, now: Time) {
        self.io.counters.discarded += 1;
        let Some(encryption) = &mut self.encryption else {
            return;
        };
        let asked = encryption.reset_asked;
        if encryption.mode().is_none() || asked.is_some_and(|at| now < at + RESET_INTERVAL) {
            return;
        }
        encryption.reset_asked = Some(now);
        let identifier = encryption.layer.next_identifier();
        self.io.send(Protocol::CCP, |w| {
            Packet::encode_with(code::RESET_REQUEST, identifier, w, |_| Ok(()))
        });
    }
}
