//! Number registries of L2TP, as RFC 2661 fills them. A number that it does not assign keeps its value.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares a registry of 16-bit numbers: a newtype, a constant for each assigned number, and the text that people read.
macro_rules! registry {
    ($(#[$doc:meta])* $name:ident { $($(#[$extra:meta])* $konst:ident = $value:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u16);

        impl $name {
            $(
                #[doc = concat!($text, ".")]
                $(#[$extra])*
                pub const $konst: Self = Self($value);
            )+

            /// What the number means; nothing if it is not assigned.
            pub const fn text(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            /// The text, or the bare number.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.text() {
                    Some(text) => f.write_str(text),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} {})"), self.0, self.text().unwrap_or("?"))
            }
        }
    };
}

registry! {
    /// Value of the Message Type AVP (RFC 2661 section 3.2).
    MessageType {
        SCCRQ = 1 "SCCRQ",
        SCCRP = 2 "SCCRP",
        SCCCN = 3 "SCCCN",
        STOP_CCN = 4 "StopCCN",
        HELLO = 6 "HELLO",
        OCRQ = 7 "OCRQ",
        OCRP = 8 "OCRP",
        OCCN = 9 "OCCN",
        ICRQ = 10 "ICRQ",
        ICRP = 11 "ICRP",
        ICCN = 12 "ICCN",
        CDN = 14 "CDN",
        WEN = 15 "WEN",
        SLI = 16 "SLI",
    }
}

impl MessageType {
    /// Whether the message is about one session rather than the whole tunnel: what an unknown mandatory AVP in it ends.
    pub const fn is_about_session(self) -> bool {
        matches!(self.0, 7..=12 | 14..=16)
    }
}

registry! {
    /// Attribute Type of an AVP whose Vendor ID is 0 (RFC 2661 section 4.4).
    AttributeType {
        MESSAGE_TYPE = 0 "Message Type",
        RESULT_CODE = 1 "Result Code",
        PROTOCOL_VERSION = 2 "Protocol Version",
        FRAMING_CAPABILITIES = 3 "Framing Capabilities",
        BEARER_CAPABILITIES = 4 "Bearer Capabilities",
        TIE_BREAKER = 5 "Tie Breaker",
        FIRMWARE_REVISION = 6 "Firmware Revision",
        HOST_NAME = 7 "Host Name",
        VENDOR_NAME = 8 "Vendor Name",
        ASSIGNED_TUNNEL_ID = 9 "Assigned Tunnel ID",
        RECEIVE_WINDOW_SIZE = 10 "Receive Window Size",
        CHALLENGE = 11 "Challenge",
        Q931_CAUSE_CODE = 12 "Q.931 Cause Code",
        CHALLENGE_RESPONSE = 13 "Challenge Response",
        ASSIGNED_SESSION_ID = 14 "Assigned Session ID",
        CALL_SERIAL_NUMBER = 15 "Call Serial Number",
        MINIMUM_BPS = 16 "Minimum BPS",
        MAXIMUM_BPS = 17 "Maximum BPS",
        BEARER_TYPE = 18 "Bearer Type",
        FRAMING_TYPE = 19 "Framing Type",
        CALLED_NUMBER = 21 "Called Number",
        CALLING_NUMBER = 22 "Calling Number",
        SUB_ADDRESS = 23 "Sub-Address",
        TX_CONNECT_SPEED = 24 "(Tx) Connect Speed",
        PHYSICAL_CHANNEL_ID = 25 "Physical Channel ID",
        INITIAL_RECEIVED_LCP_CONFREQ = 26 "Initial Received LCP CONFREQ",
        LAST_SENT_LCP_CONFREQ = 27 "Last Sent LCP CONFREQ",
        LAST_RECEIVED_LCP_CONFREQ = 28 "Last Received LCP CONFREQ",
        PROXY_AUTHEN_TYPE = 29 "Proxy Authen Type",
        PROXY_AUTHEN_NAME = 30 "Proxy Authen Name",
        PROXY_AUTHEN_CHALLENGE = 31 "Proxy Authen Challenge",
        PROXY_AUTHEN_ID = 32 "Proxy Authen ID",
        PROXY_AUTHEN_RESPONSE = 33 "Proxy Authen Response",
        CALL_ERRORS = 34 "Call Errors",
        ACCM = 35 "ACCM",
        RANDOM_VECTOR = 36 "Random Vector",
        PRIVATE_GROUP_ID = 37 "Private Group ID",
        RX_CONNECT_SPEED = 38 "Rx Connect Speed",
        SEQUENCING_REQUIRED = 39 "Sequencing Required",
    }
}

impl AttributeType {
    /// Whether the AVP may be hidden (the H bit of its definition in RFC 2661 section 4.4). False for what that does not define.
    pub const fn may_be_hidden(self) -> bool {
        matches!(self.0, 3 | 4 | 6 | 8 | 9 | 11 | 13..=19 | 21..=35 | 37 | 38)
    }

    /// Whether the M bit must be set when the AVP is sent (its definition in RFC 2661 section 4.4). False for what that does not define.
    pub const fn is_mandatory(self) -> bool {
        matches!(self.0, 0..=4 | 7 | 9..=19 | 21..=24 | 34..=36 | 39)
    }
}

registry! {
    /// Result Code of a StopCCN (RFC 2661 section 4.4.2).
    StopResult {
        CLEAR = 1 "the control connection was cleared on request",
        GENERAL_ERROR = 2 "general error",
        ALREADY_EXISTS = 3 "a control connection exists already",
        NOT_AUTHORIZED = 4 "not authorized to establish a control connection",
        BAD_VERSION = 5 "protocol version not supported",
        SHUTTING_DOWN = 6 "shutting down",
        FSM_ERROR = 7 "a message that the state machine does not allow",
    }
}

registry! {
    /// Result Code of a CDN (RFC 2661 section 4.4.2).
    CallResult {
        LOST_CARRIER = 1 "the carrier was lost",
        GENERAL_ERROR = 2 "general error",
        ADMINISTRATIVE = 3 "disconnected by the administration",
        NO_FACILITIES_TEMPORARY = 4 "no facilities for now",
        NO_FACILITIES_PERMANENT = 5 "no facilities",
        INVALID_DESTINATION = 6 "invalid destination",
        NO_CARRIER = 7 "no carrier",
        BUSY = 8 "busy",
        NO_DIAL_TONE = 9 "no dial tone",
        TIMED_OUT = 10 "the call was not established in time",
        NO_FRAMING = 11 "no framing that is known was detected",
    }
}

registry! {
    /// General Error Code of a StopCCN or CDN (RFC 2661 section 4.4.2).
    ErrorCode {
        NONE = 0 "no general error",
        NO_CONTROL_CONNECTION = 1 "no control connection exists yet",
        BAD_LENGTH = 2 "a length is wrong",
        BAD_VALUE = 3 "a field is out of range or a reserved one is set",
        NO_RESOURCES = 4 "not enough resources now",
        BAD_SESSION_ID = 5 "the session id is not valid here",
        VENDOR_SPECIFIC = 6 "vendor specific error",
        TRY_ANOTHER = 7 "try another destination",
        UNKNOWN_MANDATORY_AVP = 8 "an unknown AVP is marked mandatory",
    }
}

registry! {
    /// Value of the Proxy Authen Type AVP (RFC 2661 section 4.4.5).
    ProxyAuthenType {
        TEXT = 1 "name and password as text",
        CHAP = 2 "CHAP",
        PAP = 3 "PAP",
        NONE = 4 "none",
        MS_CHAP_V1 = 5 "MS-CHAPv1",
    }
}
