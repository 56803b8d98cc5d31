//! Number registries of L2TP: RFC 2661's, and what its extensions added to them. A number that nobody assigned keeps its value.

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

        impl From<u16> for $name {
            fn from(number: u16) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u16 {
            fn from(number: $name) -> Self {
                number.0
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
        /// RFC 3573.
        MDMST = 17 "MDMST",
        /// RFC 3817.
        SRRQ = 18 "SRRQ",
        /// RFC 3817.
        SRRP = 19 "SRRP",
        /// RFC 3931.
        ACK = 20 "ACK",
        /// RFC 4951.
        FSQ = 21 "FSQ",
        /// RFC 4951.
        FSR = 22 "FSR",
        /// RFC 4045.
        MSRQ = 23 "MSRQ",
        /// RFC 4045.
        MSRP = 24 "MSRP",
        /// RFC 4045.
        MSE = 25 "MSE",
        /// RFC 4045.
        MSI = 26 "MSI",
        /// RFC 4045.
        MSEN = 27 "MSEN",
        /// RFC 5515.
        CSUN = 28 "CSUN",
        /// RFC 5515.
        CSURQ = 29 "CSURQ",
    }
}

impl MessageType {
    /// Whether the message is about sessions rather than the whole tunnel: what an unknown mandatory AVP in it ends.
    pub const fn is_about_session(self) -> bool {
        matches!(self.0, 7..=12 | 14..=17 | 28 | 29)
    }

    /// Whether we know what the message is for; others have but a name.
    pub const fn is_supported(self) -> bool {
        matches!(self.0, 1..=4 | 6..=12 | 14..=17 | 28 | 29)
    }

    /// Whether a receiver that does not know the message has to end the tunnel: not with those that came after RFC 2661.
    pub const fn is_mandatory(self) -> bool {
        self.0 < Self::MDMST.0
    }
}

registry! {
    /// Attribute Type of an AVP whose Vendor ID is 0 (RFC 2661 section 4.4, and RFCs 3145, 3301, 3308, 3437, 3573, 3817, 3931, 4045,
    /// 4951, 5515, 9601).
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
        RX_MINIMUM_BPS = 40 "Rx Minimum BPS",
        RX_MAXIMUM_BPS = 41 "Rx Maximum BPS",
        SERVICE_CATEGORY = 42 "Service Category",
        SERVICE_NAME = 43 "Service Name",
        CALLING_SUB_ADDRESS = 44 "Calling Sub-Address",
        VPI_VCI_IDENTIFIER = 45 "VPI/VCI Identifier",
        PPP_DISCONNECT_CAUSE_CODE = 46 "PPP Disconnect Cause Code",
        CONTROL_CONNECTION_DS = 47 "Control Connection DS",
        SESSION_DS = 48 "Session DS",
        LCP_WANT_OPTIONS = 49 "LCP Want Options",
        LCP_ALLOW_OPTIONS = 50 "LCP Allow Options",
        LNS_LAST_SENT_LCP_CONFREQ = 51 "LNS Last Sent LCP Confreq",
        LNS_LAST_RECEIVED_LCP_CONFREQ = 52 "LNS Last Received LCP Confreq",
        MODEM_ON_HOLD_CAPABLE = 53 "Modem On-Hold Capable",
        MODEM_ON_HOLD_STATUS = 54 "Modem On-Hold Status",
        PPPOE_RELAY = 55 "PPPoE Relay",
        PPPOE_RELAY_RESPONSE_CAPABILITY = 56 "PPPoE Relay Response Capability",
        PPPOE_RELAY_FORWARD_CAPABILITY = 57 "PPPoE Relay Forward Capability",
        EXTENDED_VENDOR_ID = 58 "Extended Vendor ID",
        MESSAGE_DIGEST = 59 "Message Digest",
        ROUTER_ID = 60 "Router ID",
        ASSIGNED_CONTROL_CONNECTION_ID = 61 "Assigned Control Connection ID",
        PSEUDOWIRE_CAPABILITIES_LIST = 62 "Pseudowire Capabilities List",
        FAILOVER_CAPABILITY = 76 "Failover Capability",
        TUNNEL_RECOVERY = 77 "Tunnel Recovery",
        SUGGESTED_CONTROL_SEQUENCE = 78 "Suggested Control Sequence",
        FAILOVER_SESSION_STATE = 79 "Failover Session State",
        MULTICAST_CAPABILITY = 80 "Multicast Capability",
        NEW_OUTGOING_SESSIONS = 81 "New Outgoing Sessions",
        NEW_OUTGOING_SESSIONS_ACKNOWLEDGEMENT = 82 "New Outgoing Sessions Acknowledgement",
        WITHDRAW_OUTGOING_SESSIONS = 83 "Withdraw Outgoing Sessions",
        MULTICAST_PACKETS_PRIORITY = 84 "Multicast Packets Priority",
        CONNECT_SPEED_UPDATE = 97 "Connect Speed Update",
        CONNECT_SPEED_UPDATE_ENABLE = 98 "Connect Speed Update Enable",
        ECN_CAPABILITY = 103 "ECN Capability",
    }
}

impl AttributeType {
    /// Whether [`Attribute`](super::Attribute) has the AVP; others have but a name.
    pub const fn is_supported(self) -> bool {
        matches!(self.0, 0..=19 | 21..=54 | 97 | 98 | 103)
    }

    /// Whether the AVP may be hidden (the H bit of its definition). False for what is not supported.
    pub const fn may_be_hidden(self) -> bool {
        matches!(self.0, 3 | 4 | 6 | 8 | 9 | 11 | 13..=19 | 21..=35 | 37 | 38 | 40..=54 | 97 | 98 | 103)
    }

    /// Whether the M bit must be set when the AVP is sent (its definition in RFC 2661 section 4.4); extensions leave it clear, so that
    /// peers without them ignore it.
    pub const fn is_mandatory(self) -> bool {
        matches!(self.0, 0..=4 | 7 | 9..=19 | 21..=24 | 34..=36 | 39)
    }
}

registry! {
    /// Attribute Type of an AVP whose Vendor ID is [`VENDOR_ID`](Self::VENDOR_ID): the access line's (RFC 5515 section 5).
    AccessLineType {
        AGENT_CIRCUIT_ID = 1 "Agent-Circuit-Id",
        AGENT_REMOTE_ID = 2 "Agent-Remote-Id",
        ACTUAL_RATE_UPSTREAM = 129 "Actual-Data-Rate-Upstream",
        ACTUAL_RATE_DOWNSTREAM = 130 "Actual-Data-Rate-Downstream",
        MINIMUM_RATE_UPSTREAM = 131 "Minimum-Data-Rate-Upstream",
        MINIMUM_RATE_DOWNSTREAM = 132 "Minimum-Data-Rate-Downstream",
        ATTAINABLE_RATE_UPSTREAM = 133 "Attainable-Data-Rate-Upstream",
        ATTAINABLE_RATE_DOWNSTREAM = 134 "Attainable-Data-Rate-Downstream",
        MAXIMUM_RATE_UPSTREAM = 135 "Maximum-Data-Rate-Upstream",
        MAXIMUM_RATE_DOWNSTREAM = 136 "Maximum-Data-Rate-Downstream",
        MINIMUM_RATE_UPSTREAM_LOW_POWER = 137 "Minimum-Data-Rate-Upstream-Low-Power",
        MINIMUM_RATE_DOWNSTREAM_LOW_POWER = 138 "Minimum-Data-Rate-Downstream-Low-Power",
        MAXIMUM_DELAY_UPSTREAM = 139 "Maximum-Interleaving-Delay-Upstream",
        ACTUAL_DELAY_UPSTREAM = 140 "Actual-Interleaving-Delay-Upstream",
        MAXIMUM_DELAY_DOWNSTREAM = 141 "Maximum-Interleaving-Delay-Downstream",
        ACTUAL_DELAY_DOWNSTREAM = 142 "Actual-Interleaving-Delay-Downstream",
        ACCESS_LOOP_ENCAPSULATION = 144 "Access-Loop-Encapsulation",
        ACCESS_LINE_TYPE = 145 "ANCP Access Line Type",
        IWF_SESSION = 254 "IWF-Session",
    }
}

impl AccessLineType {
    /// The Broadband Forum's SMI enterprise number.
    pub const VENDOR_ID: u16 = 3561;
}

registry! {
    /// Result Code of a StopCCN (RFC 2661 section 4.4.2; 8: RFC 3308).
    StopResult {
        CLEAR = 1 "the control connection was cleared on request",
        GENERAL_ERROR = 2 "general error",
        ALREADY_EXISTS = 3 "a control connection exists already",
        NOT_AUTHORIZED = 4 "not authorized to establish a control connection",
        BAD_VERSION = 5 "protocol version not supported",
        SHUTTING_DOWN = 6 "shutting down",
        FSM_ERROR = 7 "a message that the state machine does not allow",
        DS_REFUSED = 8 "the differentiated service of the control connection was refused",
    }
}

registry! {
    /// Result Code of a CDN (RFC 2661 section 4.4.2; 12: RFC 3308).
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
        DS_REFUSED = 12 "the differentiated service of the session was refused",
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

registry! {
    /// Disconnect Code of the PPP Disconnect Cause Code AVP (RFC 3145 section 3).
    DisconnectCode {
        NO_INFORMATION = 0 "no information",
        ADMINISTRATIVE = 1 "disconnected by the administration",
        RENEGOTIATION_DISABLED = 2 "proxy LCP is needed and was not sent",
        NORMAL = 3 "LCP Terminate-Request",
        ENCRYPTION_REFUSED = 4 "encryption was demanded and refused",
        LCP_TIMEOUT = 5 "LCP timed out",
        NO_LCP = 6 "nothing that is LCP was received",
        LOOPED_BACK = 7 "the magic numbers say that the link is looped back",
        ECHO_TIMEOUT = 8 "LCP echo requests had no answer",
        ENDPOINT_DISCRIMINATOR = 9 "another endpoint discriminator than the bundle's",
        MRRU = 10 "another MRRU than the bundle's",
        SHORT_SEQUENCE_NUMBERS = 11 "other sequence numbers than the bundle's",
        CALLBACK_REFUSED = 12 "call-back was demanded and refused",
        AUTH_TIMEOUT = 13 "authentication timed out",
        AUTH_NAME = 14 "another name than the bundle's",
        AUTH_PROTOCOL = 15 "no authentication protocol is acceptable",
        AUTH_FAILED = 16 "authentication failed",
        NCP_TIMEOUT = 17 "the network layer timed out",
        NO_NCP = 18 "no network layer is available",
        NO_ADDRESS_AGREED = 19 "no address could be agreed on",
        NO_ADDRESS_ALLOWED = 20 "no address is permitted",
    }
}

registry! {
    /// Cause value of Q.931 (its section 4.5), as the Q.931 Cause Code AVP has it.
    Q931CauseCode {
        UNALLOCATED_NUMBER = 1 "unallocated number",
        NO_ROUTE_TO_NETWORK = 2 "no route to the transit network",
        NO_ROUTE = 3 "no route to the destination",
        CHANNEL_UNACCEPTABLE = 6 "channel unacceptable",
        NORMAL_CLEARING = 16 "normal call clearing",
        USER_BUSY = 17 "user busy",
        NO_USER_RESPONDING = 18 "no user responding",
        NO_ANSWER = 19 "no answer from the user",
        CALL_REJECTED = 21 "call rejected",
        NUMBER_CHANGED = 22 "number changed",
        OUT_OF_ORDER = 27 "destination out of order",
        INVALID_NUMBER_FORMAT = 28 "invalid number format",
        FACILITY_REJECTED = 29 "facility rejected",
        NORMAL_UNSPECIFIED = 31 "normal, unspecified",
        NO_CHANNEL = 34 "no channel available",
        NETWORK_OUT_OF_ORDER = 38 "network out of order",
        TEMPORARY_FAILURE = 41 "temporary failure",
        CONGESTION = 42 "switching equipment congestion",
        CHANNEL_UNAVAILABLE = 44 "requested channel not available",
        RESOURCES_UNAVAILABLE = 47 "resources unavailable",
        BEARER_NOT_AUTHORIZED = 57 "bearer capability not authorized",
        BEARER_UNAVAILABLE = 58 "bearer capability not available now",
        BEARER_NOT_IMPLEMENTED = 65 "bearer capability not implemented",
        INVALID_CALL_REFERENCE = 81 "invalid call reference",
        INCOMPATIBLE_DESTINATION = 88 "incompatible destination",
        MANDATORY_ELEMENT_MISSING = 96 "mandatory information element missing",
        TIMER_EXPIRED = 102 "recovery on timer expiry",
        PROTOCOL_ERROR = 111 "protocol error",
        INTERWORKING = 127 "interworking, unspecified",
    }
}
