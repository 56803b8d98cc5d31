//! The Challenge Handshake Authentication Protocol (RFC 1994), with MD5 or as MS-CHAPv2.

use serde::{Deserialize, Serialize};
use wire::ppp::{ChapPacket, ChapValue, MsChapV2Failure, MsChapV2Response, Packet, Protocol};

use super::{Outcome, clip, mschapv2, text};
use crate::io::{Context, Timer};
use crate::{AuthAttempt, AuthProtocol, Cause, Credentials, End, Proof, Verdict};

/// The end that challenges.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Authenticator {
    /// `ChapMd5` or `MsChapV2`.
    protocol: AuthProtocol,
    /// Of the present challenge.
    identifier: u8,
    state: State,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum State {
    /// A challenge was sent.
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
            value: challenge,
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
            Some(proof) => {
                let user_name = response.name.into();
                Outcome::Attempt(AuthAttempt {
                    number,
                    user_name,
                    proof,
                })
            }
            // A value that no password makes.
            None => self.decide(
                number,
                Verdict::Reject {
                    message: "the response has the wrong length".to_owned(),
                },
                cx,
            ),
        }
    }

    fn proof(&self, challenge: [u8; 16], value: &[u8]) -> Option<Proof> {
        let identifier = self.identifier;
        if self.protocol == AuthProtocol::ChapMd5 {
            let response = value.try_into().ok()?;
            return Some(Proof::ChapMd5 {
                identifier,
                challenge,
                response,
            });
        }
        let MsChapV2Response {
            peer_challenge,
            nt_response,
        } = MsChapV2Response::decode(value).ok()?;
        let authenticator_challenge = challenge;
        Some(Proof::MsChapV2 {
            identifier,
            authenticator_challenge,
            peer_challenge,
            nt_response,
        })
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
            } => {
                let message = match authenticator_response {
                    Some(proof) if self.protocol == AuthProtocol::MsChapV2 => {
                        mschapv2::success(proof, &message)
                    }
                    _ => clip(&message).into(),
                };
                (true, message, Outcome::Proven)
            }
            Verdict::Reject { message } => {
                let told = match self.protocol {
                    AuthProtocol::MsChapV2 => mschapv2::failure(challenge, &message),
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

/// The end that responds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Supplicant {
    /// `ChapMd5` or `MsChapV2`.
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
        if self.protocol == AuthProtocol::MsChapV2 && challenge.len() != 16 {
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
        let value: &[u8] = match <&[u8; 16]>::try_from(&**challenge) {
            Ok(challenge) if self.protocol == AuthProtocol::MsChapV2 => {
                ms = mschapv2::response(credentials, challenge, peer_challenge);
                &ms
            }
            _ => {
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
        if self.protocol == AuthProtocol::MsChapV2 {
            let genuine = <&[u8; 16]>::try_from(&*exchange.challenge).is_ok_and(|challenge| {
                mschapv2::is_genuine(message, credentials, challenge, &exchange.peer_challenge)
            });
            if !genuine {
                return Outcome::Failed(Cause::PeerNotGenuine);
            }
        } else {
            // A repeated MD5 challenge is answered without it.
            self.exchange = None;
        }
        self.earlier = None;
        cx.io.deadlines.clear(Timer::Proof);
        self.proven = true;
        Outcome::Proven
    }

    fn failed(&mut self, identifier: u8, message: &[u8], cx: &mut Context<'_>) -> Outcome {
        if self.answered(identifier).is_none() {
            cx.io.counters.discarded += 1;
            return Outcome::None;
        }
        let said = match self.protocol {
            AuthProtocol::MsChapV2 => {
                let failure = MsChapV2Failure::decode(message);
                match text(failure.message) {
                    said if said.is_empty() => format!("error {}", failure.error),
                    said => said,
                }
            }
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
