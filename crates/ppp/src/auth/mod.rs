//! The authentication phase: the authenticator (who demands a proof) and the supplicant (who gives it), each for
//! each protocol.

pub(crate) mod chap;
pub(crate) mod mschap;
pub(crate) mod pap;

use crypto::mppe::StartKeys;
use serde::{Deserialize, Serialize};
use wire::ppp::{Packet, Protocol};

use crate::io::Context;
use crate::{AuthAttempt, AuthProtocol, Cause, Credentials, Verdict};

/// What a packet or a timeout led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Nothing that concerns the link.
    None,
    /// The peer gave a proof.
    Attempt(AuthAttempt),
    /// The proof holds: the peer's, or ours in the peer's eyes. With our keys for MPPE, if it gives any.
    Proven(Option<StartKeys>),
    /// Authentication failed; the peer was told, where it had to be.
    Failed(Cause),
}

/// Our end where the peer has to authenticate itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Authenticator {
    Pap(pap::Authenticator),
    Chap(chap::Authenticator),
}

impl Authenticator {
    /// Begins.
    pub(crate) fn start(protocol: AuthProtocol, cx: &mut Context<'_>) -> Self {
        match protocol {
            AuthProtocol::Pap => Self::Pap(pap::Authenticator::start(cx)),
            AuthProtocol::ChapMd5 | AuthProtocol::MsChapV1 | AuthProtocol::MsChapV2 => {
                Self::Chap(chap::Authenticator::start(protocol, cx))
            }
        }
    }

    fn wire_protocol(&self) -> Protocol {
        match self {
            Self::Pap(_) => Protocol::PAP,
            Self::Chap(_) => Protocol::CHAP,
        }
    }

    /// A packet of PAP or CHAP, which may be meant for the supplicant.
    pub(crate) fn handle(
        &mut self,
        protocol: Protocol,
        packet: &Packet<'_>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        match self {
            _ if protocol != self.wire_protocol() => Outcome::None,
            Self::Pap(pap) => pap.handle(packet, cx),
            Self::Chap(chap) => chap.handle(packet, cx),
        }
    }

    /// [`Timer::Challenge`](crate::Timer::Challenge) fired.
    pub(crate) fn timeout(&mut self, cx: &mut Context<'_>) -> Outcome {
        match self {
            Self::Pap(pap) => pap.timeout(),
            Self::Chap(chap) => chap.timeout(cx),
        }
    }

    /// The verdict on attempt `number`; on any other but the pending one it has no effect.
    pub(crate) fn decide(
        &mut self,
        number: u32,
        verdict: Verdict,
        cx: &mut Context<'_>,
    ) -> Outcome {
        match self {
            Self::Pap(pap) => pap.decide(number, verdict, cx),
            Self::Chap(chap) => chap.decide(number, verdict, cx),
        }
    }
}

/// Our end where we have to authenticate ourselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Supplicant {
    Pap(pap::Supplicant),
    Chap(chap::Supplicant),
}

impl Supplicant {
    /// Begins.
    pub(crate) fn start(
        protocol: AuthProtocol,
        credentials: &Credentials,
        cx: &mut Context<'_>,
    ) -> Self {
        match protocol {
            AuthProtocol::Pap => Self::Pap(pap::Supplicant::start(credentials, cx)),
            AuthProtocol::ChapMd5 | AuthProtocol::MsChapV1 | AuthProtocol::MsChapV2 => {
                Self::Chap(chap::Supplicant::new(protocol))
            }
        }
    }

    fn wire_protocol(&self) -> Protocol {
        match self {
            Self::Pap(_) => Protocol::PAP,
            Self::Chap(_) => Protocol::CHAP,
        }
    }

    /// A packet of PAP or CHAP, which may be meant for the authenticator.
    pub(crate) fn handle(
        &mut self,
        protocol: Protocol,
        packet: &Packet<'_>,
        credentials: &Credentials,
        cx: &mut Context<'_>,
    ) -> Outcome {
        match self {
            _ if protocol != self.wire_protocol() => Outcome::None,
            Self::Pap(pap) => pap.handle(packet, cx),
            Self::Chap(chap) => chap.handle(packet, credentials, cx),
        }
    }

    /// [`Timer::Proof`](crate::Timer::Proof) fired.
    pub(crate) fn timeout(&mut self, credentials: &Credentials, cx: &mut Context<'_>) -> Outcome {
        match self {
            Self::Pap(pap) => pap.timeout(credentials, cx),
            Self::Chap(chap) => chap.timeout(credentials, cx),
        }
    }
}

/// A message for the peer, cut where it must be: PAP's has one octet of length.
fn clip(message: &str) -> &[u8] {
    &message.as_bytes()[..message.floor_char_boundary(255)]
}

/// A message of the peer's, as text for people.
pub(crate) fn text(message: &[u8]) -> String {
    String::from_utf8_lossy(message)
        .trim_matches(|c: char| c.is_control())
        .to_owned()
}
