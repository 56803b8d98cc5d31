//! The Password Authentication Protocol (RFC 1334 section 2).

use serde::{Deserialize, Serialize};
use wire::ppp::{Packet, PapPacket, Protocol};

use super::{Outcome, clip, text};
use crate::io::{Context, Timer};
use crate::{AuthAttempt, Cause, Credentials, End, Proof, Verdict};

/// The end that is given the password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Authenticator {
    /// Nothing came yet.
    Waiting,
    /// A request awaits its verdict.
    Asked {
        attempt: u32,
        /// Of the latest copy of the request.
        identifier: u8,
    },
    /// Any further request gets the same answer: the first one may be lost.
    Decided { accepted: bool, message: Box<[u8]> },
}

impl Authenticator {
    pub(super) fn start(cx: &mut Context<'_>) -> Self {
        if let Some(limit) = cx.config.pap_timeout {
            cx.io.deadlines.set(Timer::Challenge, cx.now + limit);
        }
        Self::Waiting
    }

    pub(super) fn handle(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Outcome {
        let (user_name, password) = match PapPacket::decode(packet) {
            Ok(PapPacket::Request { peer_id, password }) => (peer_id, password),
            Ok(PapPacket::Ack(_) | PapPacket::Nak(_)) => return Outcome::None,
            Err(_) => {
                cx.io.counters.malformed += 1;
                return Outcome::None;
            }
        };
        match self {
            Self::Waiting => {
                cx.io.deadlines.clear(Timer::Challenge);
                cx.io.attempts = cx.io.attempts.wrapping_add(1);
                let number = cx.io.attempts;
                *self = Self::Asked {
                    attempt: number,
                    identifier: packet.identifier,
                };
                let proof = Proof::Pap {
                    password: password.into(),
                };
                Outcome::Attempt(AuthAttempt {
                    number,
                    user_name: user_name.into(),
                    proof,
                })
            }
            Self::Asked { identifier, .. } => {
                *identifier = packet.identifier;
                Outcome::None
            }
            Self::Decided { accepted, message } => {
                answer(*accepted, message, packet.identifier, cx);
                Outcome::None
            }
        }
    }

    pub(super) const fn timeout(&self) -> Outcome {
        match self {
            Self::Waiting => Outcome::Failed(Cause::AuthTimeout(End::Peer)),
            Self::Asked { .. } | Self::Decided { .. } => Outcome::None,
        }
    }

    pub(super) fn decide(
        &mut self,
        number: u32,
        verdict: Verdict,
        cx: &mut Context<'_>,
    ) -> Outcome {
        let identifier = match *self {
            Self::Asked {
                attempt,
                identifier,
            } if attempt == number => identifier,
            _ => return Outcome::None,
        };
        let (accepted, message, outcome) = match verdict {
            Verdict::Accept { message, .. } => (true, message, Outcome::Proven(None)),
            Verdict::Reject { message } => {
                let cause = Cause::PeerNotAuthenticated(message.clone());
                (false, message, Outcome::Failed(cause))
            }
        };
        let message: Box<[u8]> = clip(&message).into();
        answer(accepted, &message, identifier, cx);
        *self = Self::Decided { accepted, message };
        outcome
    }
}

fn answer(accepted: bool, message: &[u8], identifier: u8, cx: &mut Context<'_>) {
    let form = if accepted {
        PapPacket::Ack
    } else {
        PapPacket::Nak
    };
    cx.io
        .send(Protocol::PAP, |w| form(message).encode(identifier, w));
}

/// The end that gives the password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Supplicant {
    identifier: u8,
    /// Requests sent.
    tries: u8,
    answered: bool,
}

impl Supplicant {
    pub(super) fn start(credentials: &Credentials, cx: &mut Context<'_>) -> Self {
        let mut supplicant = Self {
            identifier: 0,
            tries: 0,
            answered: false,
        };
        supplicant.request(credentials, cx);
        supplicant
    }

    fn request(&mut self, credentials: &Credentials, cx: &mut Context<'_>) {
        self.identifier = self.identifier.wrapping_add(1);
        self.tries = self.tries.saturating_add(1);
        let (peer_id, password) = (
            credentials.user_name.as_bytes(),
            credentials.password.as_bytes(),
        );
        let request = PapPacket::Request { peer_id, password };
        cx.io
            .send(Protocol::PAP, |w| request.encode(self.identifier, w));
        cx.io
            .deadlines
            .set(Timer::Proof, cx.now + cx.config.pap_restart);
    }

    /// An answer's identifier may be that of any copy of the request.
    pub(super) fn handle(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Outcome {
        let outcome = match PapPacket::decode(packet) {
            Ok(PapPacket::Request { .. }) => return Outcome::None,
            Ok(_) if self.answered => return Outcome::None,
            Ok(PapPacket::Ack(_)) => Outcome::Proven(None),
            Ok(PapPacket::Nak(message)) => Outcome::Failed(Cause::NotAuthenticated(text(message))),
            Err(_) => {
                cx.io.counters.malformed += 1;
                return Outcome::None;
            }
        };
        self.answered = true;
        cx.io.deadlines.clear(Timer::Proof);
        outcome
    }

    pub(super) fn timeout(&mut self, credentials: &Credentials, cx: &mut Context<'_>) -> Outcome {
        if self.answered {
            return Outcome::None;
        }
        if self.tries >= cx.config.pap_max_requests {
            return Outcome::Failed(Cause::AuthTimeout(End::Local));
        }
        self.request(credentials, cx);
        Outcome::None
    }
}
