//! Why control connections and calls end: what StopCCN and CDN say (RFC 2661 section 4.4.2).

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::l2tp::{
    Attribute, CallResult, DisconnectCause, DisconnectCode, ErrorCode, Extension, MessageType,
    Q931Cause, Q931CauseCode, ResultCode, StopResult,
};

use crate::messages::{Body, Fault, text};

/// Why something ends: `R` is the registry of its results, `D` what else may be said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason<R, D = ()> {
    /// Result Code; 0 if none was said or could be read.
    pub result: R,
    /// General Error Code.
    pub error: Option<ErrorCode>,
    /// Text for people; may be empty.
    pub message: String,
    /// What else was said.
    pub details: D,
}

/// Why a control connection ends: what a StopCCN says.
pub type StopReason = Reason<StopResult>;

/// Why a call ends: what a CDN says.
pub type Disconnect = Reason<CallResult, CallDetails>;

/// What a CDN may say beside its Result Code.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct CallDetails {
    /// PPP Disconnect Cause Code.
    pub ppp: Option<PppCause>,
    /// Q.931 Cause Code.
    pub q931: Option<Q931>,
}

/// Why the PPP link of a call ended (RFC 3145).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PppCause {
    /// Why.
    pub code: DisconnectCode,
    /// PPP protocol number of the control protocol that it is about; 0 if of none.
    pub protocol: u16,
    /// 0: of no end; 1: the peer of who sends this; 2: who sends this.
    pub direction: u8,
    /// Text for people; may be empty.
    pub message: String,
}

/// Why an ISDN call ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Q931 {
    /// Cause value.
    pub code: Q931CauseCode,
    /// Number of the Q.931 message that had it.
    pub message: u8,
    /// Advisory text; may be empty.
    pub advisory: String,
}

impl<R: Results, D: Default> Reason<R, D> {
    /// A result and its text for people.
    pub fn new(result: R, message: impl Into<String>) -> Self {
        Self {
            result,
            error: None,
            message: message.into(),
            details: D::default(),
        }
    }

    pub(crate) fn general(error: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error: Some(error),
            ..Self::new(R::GENERAL_ERROR, message)
        }
    }

    /// The peer does not grant the DSCP that is required (RFC 3308).
    pub(crate) fn ds_refused() -> Self {
        Self::new(R::DS_REFUSED, "")
    }

    /// What no message said.
    pub(crate) fn unsaid(message: impl Into<String>) -> Self {
        Self::new(R::from(0), message)
    }

    fn from_code(code: Option<ResultCode<'_>>) -> Self {
        code.map_or_else(
            || Self::unsaid(""),
            |code| Self {
                error: code.error,
                ..Self::new(R::from(code.result), text(code.message))
            },
        )
    }

    pub(crate) fn code(&self) -> ResultCode<'_> {
        ResultCode {
            result: self.result.into(),
            error: self.error,
            message: cut(&self.message).as_bytes(),
        }
    }
}

impl<R: Results, D: Default> From<&Fault> for Reason<R, D> {
    fn from(fault: &Fault) -> Self {
        Self::general(fault.error_code(), fault.to_string())
    }
}

impl StopReason {
    /// The tunnel is no longer wanted.
    pub fn clear(message: impl Into<String>) -> Self {
        Self::new(StopResult::CLEAR, message)
    }

    /// The whole system goes down.
    pub fn shutting_down(message: impl Into<String>) -> Self {
        Self::new(StopResult::SHUTTING_DOWN, message)
    }

    /// The peer may not have a tunnel, or did not prove who it is.
    pub fn not_authorized(message: impl Into<String>) -> Self {
        Self::new(StopResult::NOT_AUTHORIZED, message)
    }

    /// A limit is reached.
    pub fn no_resources(message: impl Into<String>) -> Self {
        Self::general(ErrorCode::NO_RESOURCES, message)
    }

    /// The peer speaks another version of the protocol; we speak version 1, revision 0.
    pub(crate) fn bad_version() -> Self {
        Self {
            error: Some(ErrorCode(0x0100)),
            ..Self::new(StopResult::BAD_VERSION, "")
        }
    }

    /// A message that the state machine does not allow.
    pub(crate) fn unexpected(message_type: MessageType) -> Self {
        Self::new(StopResult::FSM_ERROR, format!("unexpected {message_type}"))
    }

    pub(crate) fn received(body: &Body<'_>) -> Self {
        Self::from_code(body.result_code)
    }
}

impl Disconnect {
    /// Somebody decided that the call ends.
    pub fn administrative(message: impl Into<String>) -> Self {
        Self::new(CallResult::ADMINISTRATIVE, message)
    }

    /// The PPP link inside the call ended or never came up.
    pub fn ppp(cause: PppCause) -> Self {
        let details = CallDetails {
            ppp: Some(cause.clone()),
            q931: None,
        };
        Self {
            details,
            ..Self::administrative(cause.message)
        }
    }

    /// The line to the remote system is gone, or the tunnel to the peer.
    pub fn lost_carrier(message: impl Into<String>) -> Self {
        Self::new(CallResult::LOST_CARRIER, message)
    }

    /// A limit is reached for now.
    pub fn no_facilities(message: impl Into<String>) -> Self {
        Self::new(CallResult::NO_FACILITIES_TEMPORARY, message)
    }

    /// The kind of call is not supported.
    pub fn not_supported(message: impl Into<String>) -> Self {
        Self::new(CallResult::NO_FACILITIES_PERMANENT, message)
    }

    /// A message that the call's state does not allow.
    pub(crate) fn unexpected(message_type: MessageType) -> Self {
        Self::general(
            ErrorCode::BAD_SESSION_ID,
            format!("unexpected {message_type}"),
        )
    }

    /// The peer gives the session an id that another one of its sessions has.
    pub(crate) fn session_id_in_use() -> Self {
        Self::general(
            ErrorCode::BAD_SESSION_ID,
            "the session id is in use already",
        )
    }

    pub(crate) fn timed_out() -> Self {
        Self::new(CallResult::TIMED_OUT, "")
    }

    pub(crate) fn received(body: &Body<'_>) -> Self {
        let ppp = body.disconnect_cause.map(|cause| PppCause {
            code: cause.code,
            protocol: cause.protocol,
            direction: cause.direction,
            message: text(cause.message),
        });
        let q931 = body.q931_cause.map(|cause| Q931 {
            code: cause.code,
            message: cause.message,
            advisory: text(cause.advisory),
        });
        Self {
            details: CallDetails { ppp, q931 },
            ..Self::from_code(body.result_code)
        }
    }
}

impl CallDetails {
    /// The AVPs that say it.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        let q931 = self.q931.as_ref().map(|cause| {
            Attribute::Q931CauseCode(Q931Cause {
                code: cause.code,
                message: cause.message,
                advisory: cut(&cause.advisory).as_bytes(),
            })
        });
        let ppp = self.ppp.as_ref().map(|cause| {
            Attribute::Extension(Extension::DisconnectCause(DisconnectCause {
                code: cause.code,
                protocol: cause.protocol,
                direction: cause.direction,
                message: cut(&cause.message).as_bytes(),
            }))
        });
        q931.into_iter().chain(ppp)
    }
}

/// A registry of results.
pub trait Results: Copy + fmt::Display + From<u16> + Into<u16> {
    /// The one that the General Error Code explains.
    const GENERAL_ERROR: Self;
    /// The one for a differentiated service that is not granted.
    const DS_REFUSED: Self;
    /// The one whose error is no General Error Code.
    const BAD_VERSION: Option<u16>;

    /// What it means, if that is known.
    fn text(self) -> Option<&'static str>;
}

impl Results for StopResult {
    const GENERAL_ERROR: Self = Self::GENERAL_ERROR;
    const DS_REFUSED: Self = Self::DS_REFUSED;
    const BAD_VERSION: Option<u16> = Some(Self::BAD_VERSION.0);

    fn text(self) -> Option<&'static str> {
        self.text()
    }
}

impl Results for CallResult {
    const GENERAL_ERROR: Self = Self::GENERAL_ERROR;
    const DS_REFUSED: Self = Self::DS_REFUSED;
    const BAD_VERSION: Option<u16> = None;

    fn text(self) -> Option<&'static str> {
        self.text()
    }
}

impl<R: Results, D> Reason<R, D> {
    /// "Result, error (message)", each if there is one.
    fn sentence(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number: u16 = self.result.into();
        let is_error =
            |&error: &ErrorCode| error != ErrorCode::NONE && R::BAD_VERSION != Some(number);
        match self.error.filter(is_error) {
            _ if number == 0 && self.message.is_empty() => return f.write_str("no reason given"),
            _ if number == 0 => return f.write_str(&self.message),
            Some(error) => write!(f, "{}, {error}", self.result)?,
            None => write!(f, "{}", self.result)?,
        }
        if !self.message.is_empty() {
            write!(f, " ({})", self.message)?;
        }
        Ok(())
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sentence(f)
    }
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sentence(f)?;
        if let Some(cause) = &self.details.q931 {
            write!(f, "; {cause}")?;
        }
        match &self.details.ppp {
            Some(cause) if cause.message == self.message => {
                f.write_str("; PPP: ")?;
                cause.code_and_place(f)
            }
            Some(cause) => write!(f, "; PPP: {cause}"),
            None => Ok(()),
        }
    }
}

impl PppCause {
    /// The code's text, then where and in what it happened.
    fn code_and_place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        match self.direction {
            0 => {}
            1 => f.write_str(" at the sender's peer")?,
            2 => f.write_str(" at the sender")?,
            other => write!(f, " in direction {other}")?,
        }
        match self.protocol {
            0 => Ok(()),
            protocol => write!(f, ", protocol {protocol:04x}"),
        }
    }
}

impl fmt::Display for PppCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code_and_place(f)?;
        match self.message.as_str() {
            "" => Ok(()),
            message => write!(f, " ({message})"),
        }
    }
}

impl fmt::Display for Q931 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Q.931 cause {}", self.code.0)?;
        if let Some(text) = self.code.text() {
            write!(f, ", {text}")?;
        }
        match self.advisory.as_str() {
            "" => Ok(()),
            advisory => write!(f, " ({advisory})"),
        }
    }
}

/// Who ended a tunnel or a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EndedBy {
    /// Its owner here.
    Local,
    /// The peer said so.
    Peer,
    /// The peer said something that it must not say.
    PeerFault,
    /// The peer did not answer in time.
    Timeout,
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "closed here",
            Self::Peer => "closed by the peer",
            Self::PeerFault => "closed because of the peer's fault",
            Self::Timeout => "the peer did not answer in time",
        })
    }
}

/// How something ended. Its `Display` is a sentence for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ending<R> {
    /// Who ended it.
    pub by: EndedBy,
    /// What the message says that was sent or received; without a result (0) where none was (a call whose tunnel ended, say).
    pub reason: R,
}

/// How a tunnel ended.
pub type TunnelEnd = Ending<StopReason>;

/// How a call ended.
pub type CallEnd = Ending<Disconnect>;

impl<R: fmt::Display> fmt::Display for Ending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.by, self.reason)
    }
}

/// How many octets a string that we send has at most: hidden and padded, it still fits into an AVP.
pub(crate) const MAX_STRING_LEN: usize = 255;

/// As much of `text` as we send, in whole characters.
pub(crate) fn cut(text: &str) -> &str {
    cut_at(text, MAX_STRING_LEN)
}

/// As many whole characters of `text` as `len` octets hold.
pub(crate) fn cut_at(text: &str, len: usize) -> &str {
    &text[..text.floor_char_boundary(len)]
}
