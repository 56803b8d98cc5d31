//! The Challenge Handshake Authentication Protocol (RFC 1994), with MD5 or as MS-CHAP.

use serde::{Deserialize, Serialize};
use wire::ppp::{
    ChapPacket, ChapValue, MsChapV1Failure, MsChapV1Response, MsChapV2Failure, MsChapV2Response,
    Packet, Protocol,
};

use super::{Outcome, clip, mschap, text};
use crate::io::{Context, Timer};
use crate::{AuthAttempt, AuthProtocol, Cause, Credentials, End, Proof, Verdict};

/// The end that challenges.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Authenticator {
    /// Any but `Pap`.
    protocol: AuthProtocol,
    /// Of the present challenge.
    identifier: u8,
    state: State,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum State {
    /// A challenge was sent; MS-CHAPv1 has the first half of it alone.
    Challenged {
        challenge: [u8; 16],
        /// How often.
        tries: u8,
    },
    /// The response awaits its verdict; the challenge stays for a Failure.
    Asked { challenge: [u8; 16], attempt: u32 },
    /// Any further response to the challenge gets the same answer: the first one may be lost (RFC 1994 section 4.2).
    Decided { accepted: bool, message: Box<[u8]> },
}

impl Authenticator {
    pub(super) fn start(protocol: AuthProtocol, cx: &mut Context<'_>) -> Self {
        let [identifier, ..] = cx.rng.next_u32().to_be_bytes();
        let state = State::Decided {
            accepted: false,
            message: Box::default(),
        };
        let mut this = Self {
            protocol,
            identifier,
            state,
        };
        this.challenge_anew(cx);
        this
    }

    fn challenge_anew(&mut self, cx: &mut Context<'_>) {
        let mut challenge = [0; 16];
        cx.rng.fill_bytes(&mut challenge);
        self.identifier = self.identifier.wrapping_add(1);
        self.state = State::Challenged {
            challenge,
            tries: 1,
        };
        self.send_challenge(&challenge, cx);
    }

    fn send_challenge(&self, challenge: &[u8; 16], cx: &mut Context<'_>) {
        let value = ChapValue {
            value: match self.protocol {
                AuthProtocol::MsChapV1 => &challenge[..8],
                _ => challenge,
            },
            name: cx.config.local_name.as_bytes(),
        };
        cx.io.send(Protocol::CHAP, |w| {
            ChapPacket::Challenge(value).encode(self.identifier, w)
        });
        cx.io
            .deadlines
            .set(Timer::Challenge, cx.now + cx.config.chap_restart);
    }

    pub(super) fn handle(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Outcome {
        let response = match ChapPacket::decode(packet) {
            Ok(ChapPacket::Response(response)) => response,
            Ok(_) => return Outcome::None,
            Err(_) => {
                cx.io.counters.malformed += 1;
                return Outcome::None;
            }
        };
        if packet.identifier != self.identifier {
            cx.io.counters.discarded += 1;
            return Outcome::None;
        }
        match &self.state {
            State::Challenged { challenge, .. } => self.judge(*challenge, &response, cx),
            State::Asked { .. } => Outcome::None,
            State::Decided { accepted, message } => {
                self.answer(*accepted, message, cx);
                Outcome::None
            }
        }
    }

    fn judge(
        &mut self,
        challenge: [u8; 16],
        response: &ChapValue<'_>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        cx.io.deadlines.clear(Timer::Challenge);
        cx.io.attempts = cx.io.attempts.wrapping_add(1);
        let number = cx.io.attempts;
        self.state = State::Asked {
            challenge,
            attempt: number,
        };
        match self.proof(challenge, response.value) {
            Ok(proof) => {
                let user_name = response.name.into();
                Outcome::Attempt(AuthAttempt {
                    number,
                    user_name,
                    proof,
                })
            }
            // A value that no password makes.
            Err(reason) => self.decide(
                number,
                Verdict::Reject {
                    message: reason.to_owned(),
                },
                cx,
            ),
        }
    }

    /// What the response proves, or why it can't prove anything.
    fn proof(&self, challenge: [u8; 16], value: &[u8]) -> Result<Proof, &'static str> {
        const LENGTH: &str = "the response has the wrong length";
        let identifier = self.identifier;
        match self.protocol {
            AuthProtocol::MsChapV1 => {
                let response = MsChapV1Response::decode(value).map_err(|_| LENGTH)?;
                if !response.use_nt {
                    return Err("the response is none but the LAN Manager's");
                }
                Ok(Proof::MsChapV1 {
                    identifier,
                    challenge: half(challenge),
                    nt_response: response.nt_response,
                })
            }
            AuthProtocol::MsChapV2 => {
                let response = MsChapV2Response::decode(value).map_err(|_| LENGTH)?;
                Ok(Proof::MsChapV2 {
                    identifier,
                    authenticator_challenge: challenge,
                    peer_challenge: response.peer_challenge,
                    nt_response: response.nt_response,
                })
            }
            AuthProtocol::ChapMd5 | AuthProtocol::Pap => Ok(Proof::ChapMd5 {
                identifier,
                challenge: challenge.to_vec(),
                response: value.try_into().map_err(|_| LENGTH)?,
            }),
        }
    }

    pub(super) fn decide(
        &mut self,
        number: u32,
        verdict: Verdict,
        cx: &mut Context<'_>,
    ) -> Outcome {
        let challenge = match self.state {
            State::Asked { challenge, attempt } if attempt == number => challenge,
            _ => return Outcome::None,
        };
        let (accepted, message, outcome) = match verdict {
            Verdict::Accept {
                message,
                authenticator_response,
                mppe_keys,
            } => {
                let message = match authenticator_response {
                    Some(proof) if self.protocol == AuthProtocol::MsChapV2 => {
                        mschap::success(proof, &message)
                    }
                    _ => clip(&message).into(),
                };
                let keys = mppe_keys.filter(|_| self.protocol.gives_keys());
                (true, message, Outcome::Proven(keys))
            }
            Verdict::Reject { message } => {
                let told = match self.protocol {
                    AuthProtocol::MsChapV1 => {
                        mschap::failure(MsChapV1Failure::VERSION, half(challenge), &message)
                    }
                    AuthProtocol::MsChapV2 => {
                        mschap::failure(MsChapV2Failure::VERSION, challenge, &message)
                    }
                    _ => clip(&message).into(),
                };
                (
                    false,
                    told,
                    Outcome::Failed(Cause::PeerNotAuthenticated(message)),
                )
            }
        };
        self.answer(accepted, &message, cx);
        self.state = State::Decided { accepted, message };
        // An interval of nothing is no interval.
        let interval = cx.config.chap_interval.filter(|i| !i.is_zero());
        if let (true, Some(interval)) = (accepted, interval) {
            cx.io.deadlines.set(Timer::Challenge, cx.now + interval);
        }
        outcome
    }

    fn answer(&self, accepted: bool, message: &[u8], cx: &mut Context<'_>) {
        let form = if accepted {
            ChapPacket::Success
        } else {
            ChapPacket::Failure
        };
        cx.io
            .send(Protocol::CHAP, |w| form(message).encode(self.identifier, w));
    }

    pub(super) fn timeout(&mut self, cx: &mut Context<'_>) -> Outcome {
        match &mut self.state {
            State::Challenged { tries, .. } if *tries >= cx.config.chap_max_challenge => {
                Outcome::Failed(Cause::AuthTimeout(End::Peer))
            }
            State::Challenged { challenge, tries } => {
                *tries += 1;
                let challenge = *challenge;
                self.send_challenge(&challenge, cx);
                Outcome::None
            }
            State::Asked { .. } => Outcome::None,
            State::Decided { .. } => {
                self.challenge_anew(cx);
                Outcome::None
            }
        }
    }
}

/// What MS-CHAPv1 has of a challenge.
const fn half([half @ .., _, _, _, _, _, _, _, _]: [u8; 16]) -> [u8; 8] {
    half
}

/// The end that responds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Supplicant {
    /// Any but `Pap`.
    protocol: AuthProtocol,
    /// The authenticator was satisfied once: from then on it is the one that repeats itself.
    proven: bool,
    /// Responses sent to the present challenge.
    tries: u8,
    exchange: Option<Box<Exchange>>,
    /// The one before, whose Success may still come: a challenge that was late on its way, or repeated by the network, can be the
    /// last to arrive and yet not the last that was sent.
    earlier: Option<Box<Exchange>>,
}

/// A challenge and what we add to it. A repeated challenge gets the same response, as the Success on its way may be for the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Exchange {
    identifier: u8,
    challenge: Box<[u8]>,
    /// Ours, for MS-CHAPv2.
    peer_challenge: [u8; 16],
}

impl Supplicant {
    pub(super) fn new(protocol: AuthProtocol) -> Self {
        Self {
            protocol,
            proven: false,
            tries: 0,
            exchange: None,
            earlier: None,
        }
    }

    /// The exchange whose response had this identifier.
    fn answered(&self, identifier: u8) -> Option<&Exchange> {
        let exchanges = [&self.exchange, &self.earlier].into_iter().flatten();
        exchanges
            .map(Box::as_ref)
            .find(|exchange| exchange.identifier == identifier)
    }

    pub(super) fn handle(
        &mut self,
        packet: &Packet<'_>,
        credentials: &Credentials,
        cx: &mut Context<'_>,
    ) -> Outcome {
        match ChapPacket::decode(packet) {
            Ok(ChapPacket::Challenge(challenge)) => {
                self.challenged(packet.identifier, challenge.value, credentials, cx)
            }
            Ok(ChapPacket::Response(_)) => Outcome::None,
            Ok(ChapPacket::Success(message)) => {
                self.succeeded(packet.identifier, message, credentials, cx)
            }
            Ok(ChapPacket::Failure(message)) => self.failed(packet.identifier, message, cx),
            Err(_) => {
                cx.io.counters.malformed += 1;
                Outcome::None
            }
        }
    }

    fn challenged(
        &mut self,
        identifier: u8,
        challenge: &[u8],
        credentials: &Credentials,
        cx: &mut Context<'_>,
    ) -> Outcome {
        let has_wrong_length = match self.protocol {
            AuthProtocol::MsChapV1 => challenge.len() != 8,
            AuthProtocol::MsChapV2 => challenge.len() != 16,
            _ => false,
        };
        if has_wrong_length {
            cx.io.counters.malformed += 1;
            return Outcome::None;
        }
        let known = |e: &Exchange| e.identifier == identifier && *e.challenge == *challenge;
        if self.earlier.as_deref().is_some_and(known) {
            std::mem::swap(&mut self.exchange, &mut self.earlier);
        } else if !self.exchange.as_deref().is_some_and(known) {
            let mut peer_challenge = [0; 16];
            cx.rng.fill_bytes(&mut peer_challenge);
            let challenge = challenge.into();
            self.earlier = self.exchange.replace(Box::new(Exchange {
                identifier,
                challenge,
                peer_challenge,
            }));
        }
        self.tries = 0;
        self.respond(credentials, cx);
        Outcome::None
    }

    fn respond(&mut self, credentials: &Credentials, cx: &mut Context<'_>) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        let Exchange {
            identifier,
            challenge,
            peer_challenge,
        } = &**exchange;
        let (md5, ms);
        let value: &[u8] = match (self.protocol, &**challenge) {
            (AuthProtocol::MsChapV1, challenge) => {
                let Ok(challenge) = challenge.try_into() else {
                    return;
                };
                ms = mschap::v1_response(credentials, challenge);
                &ms
            }
            (AuthProtocol::MsChapV2, challenge) => {
                let Ok(challenge) = challenge.try_into() else {
                    return;
                };
                ms = mschap::v2_response(credentials, challenge, peer_challenge);
                &ms
            }
            (_, challenge) => {
                let secret = credentials.password.as_bytes();
                md5 = crypto::chap::response(*identifier, secret, challenge);
                &md5
            }
        };
        let response = ChapValue {
            value,
            name: credentials.user_name.as_bytes(),
        };
        cx.io.send(Protocol::CHAP, |w| {
            ChapPacket::Response(response).encode(*identifier, w)
        });
        self.tries = self.tries.saturating_add(1);
        if !self.proven {
            // The Success may get lost, and the authenticator goes on without telling again unless it is asked.
            cx.io
                .deadlines
                .set(Timer::Proof, cx.now + cx.config.chap_restart);
        }
    }

    fn succeeded(
        &mut self,
        identifier: u8,
        message: &[u8],
        credentials: &Credentials,
        cx: &mut Context<'_>,
    ) -> Outcome {
        let Some(exchange) = self.answered(identifier) else {
            cx.io.counters.discarded += 1;
            return Outcome::None;
        };
        let mut keys = None;
        if self.protocol == AuthProtocol::MsChapV2 {
            let ours = &exchange.peer_challenge;
            let genuine = <&[u8; 16]>::try_from(&*exchange.challenge)
                .ok()
                .filter(|theirs| mschap::is_genuine(message, credentials, theirs, ours));
            let Some(theirs) = genuine else {
                return Outcome::Failed(Cause::PeerNotGenuine);
            };
            keys = Some(mschap::v2_keys(credentials, theirs, ours));
        } else {
            if self.protocol == AuthProtocol::MsChapV1 {
                let challenge = <&[u8; 8]>::try_from(&*exchange.challenge);
                keys = challenge.ok().map(|c| mschap::v1_keys(credentials, c));
            }
            // Another protocol's repeated challenge is answered without it.
            self.exchange = None;
        }
        self.earlier = None;
        cx.io.deadlines.clear(Timer::Proof);
        self.proven = true;
        Outcome::Proven(keys)
    }

    fn failed(&mut self, identifier: u8, message: &[u8], cx: &mut Context<'_>) -> Outcome {
        if self.answered(identifier).is_none() {
            cx.io.counters.discarded += 1;
            return Outcome::None;
        }
        let said = match self.protocol {
            AuthProtocol::MsChapV1 => mschap::reason::<8>(message),
            AuthProtocol::MsChapV2 => mschap::reason::<16>(message),
            _ => text(message),
        };
        Outcome::Failed(Cause::NotAuthenticated(said))
    }

    pub(super) fn timeout(&mut self, credentials: &Credentials, cx: &mut Context<'_>) -> Outcome {
        if self.proven {
            return Outcome::None;
        }
        if self.tries >= cx.config.chap_max_challenge {
            return Outcome::Failed(Cause::AuthTimeout(End::Local));
        }
        self.respond(credentials, cx);
        Outcome::None
    }
}
