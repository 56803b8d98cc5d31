//! Why tunnels and sessions ended, as PPP says it to L2TP (RFC 3145) and as we show it.

use api::{EndReason, PppDisconnect, Q931Disconnect};
use l2tp::{CallDetails, CallEnd, Disconnect, EndedBy, PppCause, Reason, Results, TunnelEnd};
use ppp::{AuthProtocol, Cause, End, NetworkCause};
use serde::{Deserialize, Serialize};
use wire::l2tp::{CallResult, DisconnectCode, ErrorCode, StopResult};

const LCP: u16 = 0xc021;
const PAP: u16 = 0xc023;
const CHAP: u16 = 0xc223;
const IPCP: u16 = 0x8021;
const IPV6CP: u16 = 0x8057;
const CCP: u16 = 0x80fd;

/// Directions of a disconnect cause.
const GLOBAL: u8 = 0;
const AT_PEER: u8 = 1;
const AT_LOCAL: u8 = 2;

/// Why an attempt or a connection is over: a sentence, and what the message said that ended it, if one did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Why {
    pub(crate) text: String,
    pub(crate) end: Option<Box<EndReason>>,
}

impl Why {
    /// The same, with what was lacking here in place of what the peer was told of that.
    pub(crate) fn with_fault(&self, lacking: Option<&str>) -> Self {
        Self {
            text: lacking.map_or_else(
                || self.text.clone(),
                |lacking| format!("{}: {lacking}", EndedBy::Local),
            ),
            end: self.end.clone(),
        }
    }
}

impl From<&str> for Why {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            end: None,
        }
    }
}

impl From<&TunnelEnd> for Why {
    fn from(end: &TunnelEnd) -> Self {
        let mut shown = end_reason(end.by, &end.reason);
        if end.reason.result == StopResult::BAD_VERSION {
            // It is the highest version that the sender supports.
            shown.error_text = None;
        }
        Self {
            text: end.to_string(),
            end: Some(Box::new(shown)),
        }
    }
}

impl From<&CallEnd> for Why {
    fn from(end: &CallEnd) -> Self {
        let CallDetails { ppp, q931 } = &end.reason.details;
        let shown = EndReason {
            ppp_cause: ppp.as_ref().map(|cause| PppDisconnect {
                code: cause.code.0,
                text: cause.code.text().map(str::to_owned),
                protocol: cause.protocol,
                direction: cause.direction,
                message: said(&cause.message),
            }),
            q931_cause: q931.as_ref().map(|cause| Q931Disconnect {
                code: cause.code.0,
                text: cause.code.text().map(str::to_owned),
                message: cause.message,
                advisory: said(&cause.advisory),
            }),
            ..end_reason(end.by, &end.reason)
        };
        Self {
            text: end.to_string(),
            end: Some(Box::new(shown)),
        }
    }
}

fn end_reason<R: Results, D>(by: EndedBy, reason: &Reason<R, D>) -> EndReason {
    let number: u16 = reason.result.into();
    EndReason {
        by: by.to_string(),
        result: number,
        result_text: reason.result.text().map(str::to_owned),
        error: reason.error.map(|error| error.0),
        error_text: reason.error.and_then(ErrorCode::text).map(str::to_owned),
        message: said(&reason.message),
        ..EndReason::default()
    }
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// What a CDN says of the end of a session's PPP.
pub(crate) fn disconnect(cause: &Cause, link: &ppp::Link, has_ipv4: bool) -> Disconnect {
    let ppp = ppp_cause(cause, link, has_ipv4);
    match cause {
        Cause::NoResources(_) => Disconnect {
            result: CallResult::NO_FACILITIES_TEMPORARY,
            ..Disconnect::ppp(ppp)
        },
        _ => Disconnect::ppp(ppp),
    }
}

fn ppp_cause(cause: &Cause, link: &ppp::Link, has_ipv4: bool) -> PppCause {
    use DisconnectCode as C;
    let status = link.status();
    let network = if has_ipv4 { IPCP } else { IPV6CP };
    let of = |protocol: Option<AuthProtocol>| match protocol {
        Some(AuthProtocol::Pap) => PAP,
        _ => CHAP,
    };
    let (code, protocol, direction) = match cause {
        Cause::PeerTerminated(_) => (C::NORMAL, 0, AT_PEER),
        Cause::LcpTimeout if status.counters.received == 0 => (C::NO_LCP, LCP, GLOBAL),
        Cause::LcpTimeout | Cause::LcpNotConverged => (C::LCP_TIMEOUT, LCP, GLOBAL),
        Cause::LcpRejected => (C::NO_LCP, LCP, GLOBAL),
        Cause::Loopback => (C::LOOPED_BACK, LCP, GLOBAL),
        Cause::EchoTimeout(_) => (C::ECHO_TIMEOUT, LCP, GLOBAL),
        Cause::AuthRefused(protocol) => (C::AUTH_PROTOCOL, of(Some(*protocol)), AT_PEER),
        Cause::AuthTimeout(End::Peer) => (C::AUTH_TIMEOUT, of(status.peer_auth), GLOBAL),
        Cause::AuthTimeout(End::Local) => (C::AUTH_TIMEOUT, of(status.own_auth), GLOBAL),
        Cause::PeerNotAuthenticated(_) => (C::AUTH_FAILED, of(status.peer_auth), AT_PEER),
        Cause::PeerNotGenuine => (C::AUTH_FAILED, of(status.own_auth), AT_PEER),
        Cause::NotAuthenticated(_) => (C::AUTH_FAILED, of(status.own_auth), AT_LOCAL),
        // The direction is that of who demands it.
        Cause::NotEncrypted(_) => (C::ENCRYPTION_REFUSED, CCP, AT_PEER),
        Cause::NoNetwork(NetworkCause::NotConfigured) => (C::NO_NCP, 0, GLOBAL),
        Cause::NoNetwork(NetworkCause::Timeout) => (C::NCP_TIMEOUT, network, GLOBAL),
        Cause::NoNetwork(NetworkCause::NotConverged) => (C::NO_ADDRESS_AGREED, network, AT_PEER),
        Cause::NoNetwork(NetworkCause::Rejected | NetworkCause::Terminated) => {
            (C::NO_NCP, network, GLOBAL)
        }
        // An operator's wish, a limit, a lack of resources.
        _ => (C::ADMINISTRATIVE, 0, GLOBAL),
    };
    let message = match cause {
        // Names of pools, paths and programs are nobody else's business.
        Cause::NoResources(_) => "No resources for this session".to_owned(),
        _ => cause.to_string(),
    };
    PppCause {
        code,
        protocol,
        direction,
        message,
    }
}
