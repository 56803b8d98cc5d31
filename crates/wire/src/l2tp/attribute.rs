use bitflags::bitflags;
use serde::{Deserialize, Serialize};

use crate::{BufferFull, DecodeError, Reader, Writer};

use super::{
    AttributeType, Avp, ErrorCode, Extension, MessageType, ProxyAuthenType, Q931CauseCode,
};

bitflags! {
    /// Kinds of PPP framing: Framing Capabilities and Framing Type (RFC 2661 sections 4.4.3 and 4.4.4). Reserved bits are kept.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
    #[serde(from = "u32", into = "u32")]
    pub struct FramingTypes: u32 {
        /// S: synchronous.
        const SYNC = 1;
        /// A: asynchronous.
        const ASYNC = 2;
        const _ = !0;
    }
}

bitflags! {
    /// Kinds of bearer: Bearer Capabilities and Bearer Type (RFC 2661 sections 4.4.3 and 4.4.4). Reserved bits are kept.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
    #[serde(from = "u32", into = "u32")]
    pub struct BearerTypes: u32 {
        /// D: digital.
        const DIGITAL = 1;
        /// A: analog.
        const ANALOG = 2;
        /// B: broadband, that is, ATM (RFC 3301 section 5.3).
        const BROADBAND = 4;
        const _ = !0;
    }
}

/// Bits to and from their number: the form in which they are serialized.
macro_rules! bits_as_number {
    ($($name:ident)+) => {$(
        impl From<u32> for $name {
            fn from(bits: u32) -> Self {
                Self::from_bits_retain(bits)
            }
        }

        impl From<$name> for u32 {
            fn from(flags: $name) -> Self {
                flags.bits()
            }
        }
    )+};
}

bits_as_number!(FramingTypes BearerTypes);

/// Value of the Result Code AVP (RFC 2661 section 4.4.2): 16 bits of result, optionally 16 of error, then optionally text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResultCode<'a> {
    /// A [`StopResult`](super::StopResult) or a [`CallResult`](super::CallResult), as the message is a StopCCN or a CDN.
    pub result: u16,
    /// General Error Code; with the StopCCN result "bad version", the highest version that is supported.
    pub error: Option<ErrorCode>,
    /// Text for people, without the zeros that some senders end it with. Never sent without an error code.
    pub message: &'a [u8],
}

/// Value of the Q.931 Cause Code AVP (RFC 2661 section 4.4.4): 16 bits, 8 bits, text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Q931Cause<'a> {
    /// Cause value.
    pub code: Q931CauseCode,
    /// Q.931 message code.
    pub message: u8,
    /// Advisory text.
    pub advisory: &'a [u8],
}

/// Value of the Call Errors AVP (RFC 2661 section 4.4.6): 16 reserved bits, then six 32-bit counters since the call was established.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct CallErrors {
    /// Frames with a wrong CRC.
    pub crc: u32,
    /// Improperly framed packets.
    pub framing: u32,
    /// Receive buffer overruns in the hardware.
    pub hardware_overruns: u32,
    /// Buffer overruns.
    pub buffer_overruns: u32,
    /// Time-outs.
    pub timeouts: u32,
    /// Alignment errors.
    pub alignment: u32,
}

/// Value of the ACCM AVP (RFC 2661 section 4.4.6): 16 reserved bits, then two 32-bit asynchronous control character maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransmissionMaps {
    /// For what the LAC sends.
    pub send: u32,
    /// For what the LAC receives.
    pub receive: u32,
}

/// An AVP of RFC 2661 section 4.4, or of one of its extensions, with a value of its type.
///
/// Numbers are in network order. Names, numbers and addresses are octets as the peer sent them; nothing says that they are text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attribute<'a> {
    /// Message Type: 16 bits. First in every message.
    MessageType(MessageType),
    /// Result Code.
    ResultCode(ResultCode<'a>),
    /// Protocol Version: version and revision, 8 bits each; 1 and 0 for RFC 2661.
    ProtocolVersion(u8, u8),
    /// Framing Capabilities: 32 bits.
    FramingCapabilities(FramingTypes),
    /// Bearer Capabilities: 32 bits.
    BearerCapabilities(BearerTypes),
    /// Tie Breaker: 64 bits; the lower wins.
    TieBreaker(u64),
    /// Firmware Revision: 16 bits.
    FirmwareRevision(u16),
    /// Host Name: at least one octet.
    HostName(&'a [u8]),
    /// Vendor Name.
    VendorName(&'a [u8]),
    /// Assigned Tunnel ID: 16 bits.
    AssignedTunnelId(u16),
    /// Receive Window Size: 16 bits; 0 is not valid.
    ReceiveWindowSize(u16),
    /// Challenge: at least one octet.
    Challenge(&'a [u8]),
    /// Q.931 Cause Code.
    Q931CauseCode(Q931Cause<'a>),
    /// Challenge Response: 16 octets.
    ChallengeResponse([u8; 16]),
    /// Assigned Session ID: 16 bits.
    AssignedSessionId(u16),
    /// Call Serial Number: 32 bits.
    CallSerialNumber(u32),
    /// Minimum BPS: 32 bits, bits a second.
    MinimumBps(u32),
    /// Maximum BPS: 32 bits, bits a second.
    MaximumBps(u32),
    /// Bearer Type: 32 bits.
    BearerType(BearerTypes),
    /// Framing Type: 32 bits.
    FramingType(FramingTypes),
    /// Called Number.
    CalledNumber(&'a [u8]),
    /// Calling Number.
    CallingNumber(&'a [u8]),
    /// Sub-Address.
    SubAddress(&'a [u8]),
    /// (Tx) Connect Speed: 32 bits, bits a second, from the LAC to the remote system.
    TxConnectSpeed(u32),
    /// Physical Channel ID: 32 bits.
    PhysicalChannelId(u32),
    /// Initial Received LCP CONFREQ: the options.
    InitialReceivedLcpConfReq(&'a [u8]),
    /// Last Sent LCP CONFREQ: the options.
    LastSentLcpConfReq(&'a [u8]),
    /// Last Received LCP CONFREQ: the options.
    LastReceivedLcpConfReq(&'a [u8]),
    /// Proxy Authen Type: 16 bits.
    ProxyAuthenType(ProxyAuthenType),
    /// Proxy Authen Name.
    ProxyAuthenName(&'a [u8]),
    /// Proxy Authen Challenge.
    ProxyAuthenChallenge(&'a [u8]),
    /// Proxy Authen ID: 8 reserved bits and 8 of identifier.
    ProxyAuthenId(u8),
    /// Proxy Authen Response.
    ProxyAuthenResponse(&'a [u8]),
    /// Call Errors.
    CallErrors(CallErrors),
    /// ACCM.
    Accm(TransmissionMaps),
    /// Random Vector: what hidden AVPs after it were hidden with.
    RandomVector(&'a [u8]),
    /// Private Group ID.
    PrivateGroupId(&'a [u8]),
    /// Rx Connect Speed: 32 bits, bits a second, from the remote system to the LAC.
    RxConnectSpeed(u32),
    /// Sequencing Required: no value.
    SequencingRequired,
    /// One of an extension's.
    Extension(Extension<'a>),
}

impl<'a> Attribute<'a> {
    /// Gives a type to a value that is not (or no longer) hidden. `None`: the attribute is not supported.
    ///
    /// Errors: a value of another length than the attribute's definition says.
    pub fn decode(attribute: AttributeType, value: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        use AttributeType as T;
        let mut r = Reader::new(value);
        let what = attribute.text().unwrap_or("an AVP");
        let decoded = match attribute {
            T::MESSAGE_TYPE => Self::MessageType(MessageType(r.u16(what)?)),
            T::RESULT_CODE => Self::ResultCode(ResultCode::decode(&mut r)?),
            T::PROTOCOL_VERSION => Self::ProtocolVersion(r.u8(what)?, r.u8(what)?),
            T::FRAMING_CAPABILITIES => Self::FramingCapabilities(r.u32(what)?.into()),
            T::BEARER_CAPABILITIES => Self::BearerCapabilities(r.u32(what)?.into()),
            T::TIE_BREAKER => Self::TieBreaker(r.u64(what)?),
            T::FIRMWARE_REVISION => Self::FirmwareRevision(r.u16(what)?),
            T::HOST_NAME => Self::HostName(not_empty(&mut r, what)?),
            T::VENDOR_NAME => Self::VendorName(r.rest()),
            T::ASSIGNED_TUNNEL_ID => Self::AssignedTunnelId(r.u16(what)?),
            T::RECEIVE_WINDOW_SIZE => Self::ReceiveWindowSize(r.u16(what)?),
            T::CHALLENGE => Self::Challenge(not_empty(&mut r, what)?),
            T::Q931_CAUSE_CODE => Self::Q931CauseCode(Q931Cause {
                code: Q931CauseCode(r.u16(what)?),
                message: r.u8(what)?,
                advisory: r.rest(),
            }),
            T::CHALLENGE_RESPONSE => Self::ChallengeResponse(r.array(what)?),
            T::ASSIGNED_SESSION_ID => Self::AssignedSessionId(r.u16(what)?),
            T::CALL_SERIAL_NUMBER => Self::CallSerialNumber(r.u32(what)?),
            T::MINIMUM_BPS => Self::MinimumBps(r.u32(what)?),
            T::MAXIMUM_BPS => Self::MaximumBps(r.u32(what)?),
            T::BEARER_TYPE => Self::BearerType(r.u32(what)?.into()),
            T::FRAMING_TYPE => Self::FramingType(r.u32(what)?.into()),
            T::CALLED_NUMBER => Self::CalledNumber(r.rest()),
            T::CALLING_NUMBER => Self::CallingNumber(r.rest()),
            T::SUB_ADDRESS => Self::SubAddress(r.rest()),
            T::TX_CONNECT_SPEED => Self::TxConnectSpeed(r.u32(what)?),
            T::PHYSICAL_CHANNEL_ID => Self::PhysicalChannelId(r.u32(what)?),
            T::INITIAL_RECEIVED_LCP_CONFREQ => Self::InitialReceivedLcpConfReq(r.rest()),
            T::LAST_SENT_LCP_CONFREQ => Self::LastSentLcpConfReq(r.rest()),
            T::LAST_RECEIVED_LCP_CONFREQ => Self::LastReceivedLcpConfReq(r.rest()),
            T::PROXY_AUTHEN_TYPE => Self::ProxyAuthenType(ProxyAuthenType(r.u16(what)?)),
            T::PROXY_AUTHEN_NAME => Self::ProxyAuthenName(r.rest()),
            T::PROXY_AUTHEN_CHALLENGE => Self::ProxyAuthenChallenge(r.rest()),
            T::PROXY_AUTHEN_ID => {
                let [_reserved, id] = r.array(what)?;
                Self::ProxyAuthenId(id)
            }
            T::PROXY_AUTHEN_RESPONSE => Self::ProxyAuthenResponse(r.rest()),
            T::CALL_ERRORS => Self::CallErrors(CallErrors::decode(&mut r)?),
            T::ACCM => Self::Accm(TransmissionMaps::decode(&mut r)?),
            T::RANDOM_VECTOR => Self::RandomVector(r.rest()),
            T::PRIVATE_GROUP_ID => Self::PrivateGroupId(r.rest()),
            T::RX_CONNECT_SPEED => Self::RxConnectSpeed(r.u32(what)?),
            T::SEQUENCING_REQUIRED => Self::SequencingRequired,
            _ => match Extension::decode(attribute, &mut r)? {
                Some(extension) => Self::Extension(extension),
                None => return Ok(None),
            },
        };
        if !r.is_empty() {
            return Err(DecodeError::BadLength {
                what,
                length: value.len(),
            });
        }
        Ok(Some(decoded))
    }

    /// The attribute's number.
    pub const fn attribute_type(&self) -> AttributeType {
        use AttributeType as T;
        match self {
            Self::MessageType(_) => T::MESSAGE_TYPE,
            Self::ResultCode(_) => T::RESULT_CODE,
            Self::ProtocolVersion(..) => T::PROTOCOL_VERSION,
            Self::FramingCapabilities(_) => T::FRAMING_CAPABILITIES,
            Self::BearerCapabilities(_) => T::BEARER_CAPABILITIES,
            Self::TieBreaker(_) => T::TIE_BREAKER,
            Self::FirmwareRevision(_) => T::FIRMWARE_REVISION,
            Self::HostName(_) => T::HOST_NAME,
            Self::VendorName(_) => T::VENDOR_NAME,
            Self::AssignedTunnelId(_) => T::ASSIGNED_TUNNEL_ID,
            Self::ReceiveWindowSize(_) => T::RECEIVE_WINDOW_SIZE,
            Self::Challenge(_) => T::CHALLENGE,
            Self::Q931CauseCode(_) => T::Q931_CAUSE_CODE,
            Self::ChallengeResponse(_) => T::CHALLENGE_RESPONSE,
            Self::AssignedSessionId(_) => T::ASSIGNED_SESSION_ID,
            Self::CallSerialNumber(_) => T::CALL_SERIAL_NUMBER,
            Self::MinimumBps(_) => T::MINIMUM_BPS,
            Self::MaximumBps(_) => T::MAXIMUM_BPS,
            Self::BearerType(_) => T::BEARER_TYPE,
            Self::FramingType(_) => T::FRAMING_TYPE,
            Self::CalledNumber(_) => T::CALLED_NUMBER,
            Self::CallingNumber(_) => T::CALLING_NUMBER,
            Self::SubAddress(_) => T::SUB_ADDRESS,
            Self::TxConnectSpeed(_) => T::TX_CONNECT_SPEED,
            Self::PhysicalChannelId(_) => T::PHYSICAL_CHANNEL_ID,
            Self::InitialReceivedLcpConfReq(_) => T::INITIAL_RECEIVED_LCP_CONFREQ,
            Self::LastSentLcpConfReq(_) => T::LAST_SENT_LCP_CONFREQ,
            Self::LastReceivedLcpConfReq(_) => T::LAST_RECEIVED_LCP_CONFREQ,
            Self::ProxyAuthenType(_) => T::PROXY_AUTHEN_TYPE,
            Self::ProxyAuthenName(_) => T::PROXY_AUTHEN_NAME,
            Self::ProxyAuthenChallenge(_) => T::PROXY_AUTHEN_CHALLENGE,
            Self::ProxyAuthenId(_) => T::PROXY_AUTHEN_ID,
            Self::ProxyAuthenResponse(_) => T::PROXY_AUTHEN_RESPONSE,
            Self::CallErrors(_) => T::CALL_ERRORS,
            Self::Accm(_) => T::ACCM,
            Self::RandomVector(_) => T::RANDOM_VECTOR,
            Self::PrivateGroupId(_) => T::PRIVATE_GROUP_ID,
            Self::RxConnectSpeed(_) => T::RX_CONNECT_SPEED,
            Self::SequencingRequired => T::SEQUENCING_REQUIRED,
            Self::Extension(extension) => extension.attribute_type(),
        }
    }

    /// Whether the M bit must be set when the AVP is sent.
    pub const fn is_mandatory(&self) -> bool {
        match self {
            Self::MessageType(message_type) => message_type.is_mandatory(),
            _ => self.attribute_type().is_mandatory(),
        }
    }

    /// Writes the whole AVP, not hidden, its M bit as its definition says. An error too if its value is longer than
    /// [`Avp::MAX_VALUE_LEN`].
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let header = Avp {
            mandatory: self.is_mandatory(),
            hidden: false,
            reserved: 0,
            vendor_id: 0,
            attribute: self.attribute_type().0,
            value: &[],
        };
        header.encode_with(w, |w| self.encode_value(w))
    }

    /// Writes the value alone: what hiding takes.
    pub fn encode_value(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        match *self {
            Self::MessageType(v) => w.u16(v.0),
            Self::ResultCode(v) => v.encode(w),
            Self::ProtocolVersion(version, revision) => w.bytes(&[version, revision]),
            Self::FramingCapabilities(v) | Self::FramingType(v) => w.u32(v.bits()),
            Self::BearerCapabilities(v) | Self::BearerType(v) => w.u32(v.bits()),
            Self::TieBreaker(v) => w.u64(v),
            Self::FirmwareRevision(v)
            | Self::AssignedTunnelId(v)
            | Self::ReceiveWindowSize(v)
            | Self::AssignedSessionId(v) => w.u16(v),
            Self::Q931CauseCode(v) => {
                w.u16(v.code.0)?;
                w.u8(v.message)?;
                w.bytes(v.advisory)
            }
            Self::ChallengeResponse(v) => w.bytes(&v),
            Self::CallSerialNumber(v)
            | Self::MinimumBps(v)
            | Self::MaximumBps(v)
            | Self::TxConnectSpeed(v)
            | Self::RxConnectSpeed(v)
            | Self::PhysicalChannelId(v) => w.u32(v),
            Self::ProxyAuthenType(v) => w.u16(v.0),
            Self::ProxyAuthenId(v) => w.u16(v.into()),
            Self::CallErrors(v) => v.encode(w),
            Self::Accm(v) => v.encode(w),
            Self::SequencingRequired => Ok(()),
            Self::Extension(v) => v.encode_value(w),
            Self::HostName(v)
            | Self::VendorName(v)
            | Self::Challenge(v)
            | Self::CalledNumber(v)
            | Self::CallingNumber(v)
            | Self::SubAddress(v)
            | Self::InitialReceivedLcpConfReq(v)
            | Self::LastSentLcpConfReq(v)
            | Self::LastReceivedLcpConfReq(v)
            | Self::ProxyAuthenName(v)
            | Self::ProxyAuthenChallenge(v)
            | Self::ProxyAuthenResponse(v)
            | Self::RandomVector(v)
            | Self::PrivateGroupId(v) => w.bytes(v),
        }
    }
}

impl<'a> ResultCode<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let result = r.u16("Result Code")?;
        let error = if r.is_empty() {
            None
        } else {
            Some(ErrorCode(r.u16("Error Code")?))
        };
        let message = r.rest();
        let text_len = message
            .iter()
            .rposition(|&octet| octet != 0)
            .map_or(0, |last| last + 1);
        Ok(Self {
            result,
            error,
            message: &message[..text_len],
        })
    }

    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u16(self.result)?;
        match self.error {
            Some(error) => w.u16(error.0)?,
            None if self.message.is_empty() => return Ok(()),
            None => w.u16(ErrorCode::NONE.0)?,
        }
        w.bytes(self.message)
    }
}

impl CallErrors {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let what = "Call Errors";
        r.u16(what)?;
        Ok(Self {
            crc: r.u32(what)?,
            framing: r.u32(what)?,
            hardware_overruns: r.u32(what)?,
            buffer_overruns: r.u32(what)?,
            timeouts: r.u32(what)?,
            alignment: r.u32(what)?,
        })
    }

    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u16(0)?;
        let counters = [
            self.crc,
            self.framing,
            self.hardware_overruns,
            self.buffer_overruns,
            self.timeouts,
            self.alignment,
        ];
        counters.into_iter().try_for_each(|counter| w.u32(counter))
    }
}

impl TransmissionMaps {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let what = "ACCM";
        r.u16(what)?;
        Ok(Self {
            send: r.u32(what)?,
            receive: r.u32(what)?,
        })
    }

    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u16(0)?;
        w.u32(self.send)?;
        w.u32(self.receive)
    }
}

pub(super) fn not_empty<'a>(
    r: &mut Reader<'a>,
    what: &'static str,
) -> Result<&'a [u8], DecodeError> {
    if r.is_empty() {
        return Err(DecodeError::Truncated {
            what,
            needed: 1,
            present: 0,
        });
    }
    Ok(r.rest())
}
