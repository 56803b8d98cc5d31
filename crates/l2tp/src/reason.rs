use std::fmt;

use serde::{Deserialize, Serialize};
use wire::l2tp::{CallResult, ErrorCode, MessageType, ResultCode, StopResult};

use crate::messages::{Fault, text};

/// Why a control connection ends: what a StopCCN says (RFC 2661 section 4.4.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StopReason {
    /// Result Code; 0 if the peer sent none that could be read.
    pub result: StopResult,
    /// General Error Code.
    pub error: Option<ErrorCode>,
    /// Text for people; may be empty.
    pub message: String,
}

impl StopReason {
    /// The tunnel is no longer wanted.
    pub fn clear(message: impl Into<String>) -> Self {
        Self {
            result: StopResult::CLEAR,
            error: None,
            message: message.into(),
        }
    }

    /// The whole system goes down.
    pub fn shutting_down(message: impl Into<String>) -> Self {
        Self {
            result: StopResult::SHUTTING_DOWN,
            error: None,
            message: message.into(),
        }
    }

    /// The peer may not have a tunnel, or did not prove who it is.
    pub fn not_authorized(message: impl Into<String>) -> Self {
        Self {
            result: StopResult::NOT_AUTHORIZED,
            error: None,
            message: message.into(),
        }
    }

    /// A limit is reached.
    pub fn no_resources(message: impl Into<String>) -> Self {
        Self::general(ErrorCode::NO_RESOURCES, message)
    }

    pub(crate) fn general(error: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            result: StopResult::GENERAL_ERROR,
            error: Some(error),
            message: message.into(),
        }
    }

    /// The peer speaks another version of the protocol; we speak version 1, revision 0.
    pub(crate) fn bad_version() -> Self {
        Self {
            result: StopResult::BAD_VERSION,
            error: Some(ErrorCode(0x0100)),
            message: String::new(),
        }
    }

    /// A message that the state machine does not allow.
    pub(crate) fn unexpected(message_type: MessageType) -> Self {
        Self {
            result: StopResult::FSM_ERROR,
            error: None,
            message: format!("unexpected {message_type}"),
        }
    }

    /// The peer does not grant the DSCP that is required (RFC 3308 section 3).
    pub(crate) fn ds_refused() -> Self {
        Self {
            result: StopResult::DS_REFUSED,
            error: None,
            message: String::new(),
        }
    }

    /// What no StopCCN said.
    pub(crate) fn unsaid(message: impl Into<String>) -> Self {
        Self {
            result: StopResult(0),
            error: None,
            message: message.into(),
        }
    }

    pub(crate) fn received(code: Option<ResultCode<'_>>) -> Self {
        let (result, error, message) = fields(code);
        Self {
            result: StopResult(result),
            error,
            message,
        }
    }

    pub(crate) fn code(&self) -> ResultCode<'_> {
        ResultCode {
            result: self.result.0,
            error: self.error,
            message: cut(&self.message).as_bytes(),
        }
    }
}

impl From<&Fault> for StopReason {
    fn from(fault: &Fault) -> Self {
        Self::general(fault.error_code(), fault.to_string())
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self
            .error
            .filter(|_| self.result != StopResult::BAD_VERSION);
        let result = Some(&self.result as _).filter(|_| self.result.0 != 0);
        sentence(f, result, error, &self.message)
    }
}

/// Why a call ends: what a CDN says (RFC 2661 section 4.4.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disconnect {
    /// Result Code; 0 if the peer sent none that could be read.
    pub result: CallResult,
    /// General Error Code.
    pub error: Option<ErrorCode>,
    /// Text for people; may be empty.
    pub message: String,
}

impl Disconnect {
    /// Somebody decided that the call ends.
    pub fn administrative(message: impl Into<String>) -> Self {
        Self {
            result: CallResult::ADMINISTRATIVE,
            error: None,
            message: message.into(),
        }
    }

    /// The PPP link inside the call ended or never came up.
    pub fn ppp(message: impl Into<String>) -> Self {
        Self::administrative(message)
    }

    /// The line to the remote system is gone, or the tunnel to the peer.
    pub fn lost_carrier(message: impl Into<String>) -> Self {
        Self {
            result: CallResult::LOST_CARRIER,
            error: None,
            message: message.into(),
        }
    }

    /// A limit is reached for now.
    pub fn no_facilities(message: impl Into<String>) -> Self {
        Self {
            result: CallResult::NO_FACILITIES_TEMPORARY,
            error: None,
            message: message.into(),
        }
    }

    /// The kind of call is not supported.
    pub fn not_supported(message: impl Into<String>) -> Self {
        Self {
            result: CallResult::NO_FACILITIES_PERMANENT,
            error: None,
            message: message.into(),
        }
    }

    pub(crate) fn general(error: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            result: CallResult::GENERAL_ERROR,
            error: Some(error),
            message: message.into(),
        }
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
        Self {
            result: CallResult::TIMED_OUT,
            error: None,
            message: String::new(),
        }
    }

    /// The peer does not grant the DSCP that is required (RFC 3308 section 4).
    pub(crate) fn ds_refused() -> Self {
        Self {
            result: CallResult::DS_REFUSED,
            error: None,
            message: String::new(),
        }
    }

    /// What no CDN said.
    pub(crate) fn unsaid(message: impl Into<String>) -> Self {
        Self {
            result: CallResult(0),
            error: None,
            message: message.into(),
        }
    }

    pub(crate) fn received(code: Option<ResultCode<'_>>) -> Self {
        let (result, error, message) = fields(code);
        Self {
            result: CallResult(result),
            error,
            message,
        }
    }

    pub(crate) fn code(&self) -> ResultCode<'_> {
        ResultCode {
            result: self.result.0,
            error: self.error,
            message: cut(&self.message).as_bytes(),
        }
    }
}

impl From<&Fault> for Disconnect {
    fn from(fault: &Fault) -> Self {
        Self::general(fault.error_code(), fault.to_string())
    }
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = Some(&self.result as _).filter(|_| self.result.0 != 0);
        sentence(f, result, self.error, &self.message)
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

/// How a tunnel ended. Its `Display` is a sentence for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TunnelEnd {
    /// Who ended it.
    pub by: EndedBy,
    /// What the StopCCN says that was sent or received; without a result (0) where none was.
    pub reason: StopReason,
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.by, self.reason)
    }
}

/// How a call ended. Its `Display` is a sentence for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallEnd {
    /// Who ended it.
    pub by: EndedBy,
    /// What the CDN says that was sent or received; without a result (0) where none was (the tunnel ended, say).
    pub reason: Disconnect,
}

impl fmt::Display for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.by, self.reason)
    }
}

/// Result, error and message of a Result Code AVP that may be missing.
fn fields(code: Option<ResultCode<'_>>) -> (u16, Option<ErrorCode>, String) {
    code.map_or((0, None, String::new()), |code| {
        (code.result, code.error, text(code.message))
    })
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

/// "Result, error (message)", each if there is one.
fn sentence(
    f: &mut fmt::Formatter<'_>,
    result: Option<&dyn fmt::Display>,
    error: Option<ErrorCode>,
    message: &str,
) -> fmt::Result {
    let error = error.filter(|&error| error != ErrorCode::NONE);
    match (result, error) {
        (Some(result), Some(error)) => write!(f, "{result}, {error}")?,
        (Some(result), None) => write!(f, "{result}")?,
        (None, _) if message.is_empty() => return f.write_str("no reason given"),
        (None, _) => return f.write_str(message),
    }
    if !message.is_empty() {
        write!(f, " ({message})")?;
    }
    Ok(())
}
