use serde::{Deserialize, Serialize};

use crate::{BufferFull, DecodeError, Reader, Writer};

use super::attribute::not_empty;
use super::{AttributeType, DisconnectCode};

/// An AVP of an extension of RFC 2661, with a value of its type. All are optional: their M bit is clear, and peers may not know them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extension<'a> {
    /// Rx Minimum BPS (RFC 3301): 32 bits, bits a second, from the remote system to the LAC.
    RxMinimumBps(u32),
    /// Rx Maximum BPS (RFC 3301): 32 bits, bits a second.
    RxMaximumBps(u32),
    /// Service Category (RFC 3301): 15 reserved bits and S, which asks for real time.
    ServiceCategory {
        /// S.
        real_time: bool,
    },
    /// Service Name (RFC 3301): the name of an ATM connection, at least one octet.
    ServiceName(&'a [u8]),
    /// Calling Sub-Address (RFC 3301): a binary NSAP address, 20 octets.
    CallingSubAddress([u8; 20]),
    /// VPI/VCI Identifier (RFC 3301).
    VpiVci(VpiVci),
    /// PPP Disconnect Cause Code (RFC 3145).
    DisconnectCause(DisconnectCause<'a>),
    /// Control Connection DS (RFC 3308): 16 bits, the code of a per-hop behavior (RFC 3140).
    ControlConnectionDs(u16),
    /// Session DS (RFC 3308): 16 bits, the code of a per-hop behavior (RFC 3140).
    SessionDs(u16),
    /// LCP Want Options (RFC 3437): LCP options as a Configure-Request has them.
    LcpWantOptions(&'a [u8]),
    /// LCP Allow Options (RFC 3437): LCP options.
    LcpAllowOptions(&'a [u8]),
    /// LNS Last Sent LCP Confreq (RFC 3437): LCP options.
    LnsLastSentLcpConfReq(&'a [u8]),
    /// LNS Last Received LCP Confreq (RFC 3437): LCP options.
    LnsLastReceivedLcpConfReq(&'a [u8]),
    /// Modem On-Hold Capable (RFC 3573): no value.
    ModemOnHoldCapable,
    /// Modem On-Hold Status (RFC 3573).
    ModemOnHoldStatus(ModemStatus),
    /// Connect Speed Update (RFC 5515 section 6.1).
    ConnectSpeedUpdate(SpeedUpdate),
    /// Connect Speed Update Enable (RFC 5515 section 6.2): no value.
    ConnectSpeedUpdateEnable,
    /// ECN Capability (RFC 9601): no value.
    EcnCapability,
}

/// Value of the VPI/VCI Identifier AVP (RFC 3301 section 5.2): 4 reserved bits, 12 of VPI, 16 of VCI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VpiVci {
    /// Virtual path, 0 to 4095.
    pub vpi: u16,
    /// Virtual channel.
    pub vci: u16,
}

/// Value of the PPP Disconnect Cause Code AVP (RFC 3145 section 2): 16 bits, 16 bits, 8 bits, text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DisconnectCause<'a> {
    /// Why.
    pub code: DisconnectCode,
    /// PPP protocol number of the control protocol that it is about; 0 if of none.
    pub protocol: u16,
    /// 0: of no end; 1: the sender's peer; 2: the sender. What is meant depends on the code.
    pub direction: u8,
    /// Text for people, in UTF-8.
    pub message: &'a [u8],
}

/// Value of the Modem On-Hold Status AVP (RFC 3573 section 4.2): H, 11 reserved bits, 4 bits of timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModemStatus {
    /// H: the modem is on hold.
    pub on_hold: bool,
    /// How long it may be, as V.92 encodes it, 0 to 15; of no meaning if it is not on hold.
    pub timeout: u8,
}

/// Value of the Connect Speed Update AVP (RFC 5515 section 6.1): 16 reserved bits, 16 of Session ID, then two 32-bit speeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpeedUpdate {
    /// The receiver's Session ID.
    pub session_id: u16,
    /// Bits a second from the LAC to the remote system; 0 in a CSURQ.
    pub tx: u32,
    /// Bits a second from the remote system to the LAC; 0 in a CSURQ.
    pub rx: u32,
}

impl<'a> Extension<'a> {
    /// Gives a type to a value; `None`: no extension that we support has the attribute. What it leaves unread makes the value too long.
    pub(super) fn decode(
        attribute: AttributeType,
        r: &mut Reader<'a>,
    ) -> Result<Option<Self>, DecodeError> {
        use AttributeType as T;
        let what = attribute.text().unwrap_or("an AVP");
        let decoded = match attribute {
            T::RX_MINIMUM_BPS => Self::RxMinimumBps(r.u32(what)?),
            T::RX_MAXIMUM_BPS => Self::RxMaximumBps(r.u32(what)?),
            T::SERVICE_CATEGORY => Self::ServiceCategory {
                real_time: r.u16(what)? & 1 != 0,
            },
            T::SERVICE_NAME => Self::ServiceName(not_empty(r, what)?),
            T::CALLING_SUB_ADDRESS => Self::CallingSubAddress(r.array(what)?),
            T::VPI_VCI_IDENTIFIER => Self::VpiVci(VpiVci {
                vpi: r.u16(what)? & 0x0fff,
                vci: r.u16(what)?,
            }),
            T::PPP_DISCONNECT_CAUSE_CODE => Self::DisconnectCause(DisconnectCause {
                code: DisconnectCode(r.u16(what)?),
                protocol: r.u16(what)?,
                direction: r.u8(what)?,
                message: r.rest(),
            }),
            T::CONTROL_CONNECTION_DS => Self::ControlConnectionDs(r.u16(what)?),
            T::SESSION_DS => Self::SessionDs(r.u16(what)?),
            T::LCP_WANT_OPTIONS => Self::LcpWantOptions(r.rest()),
            T::LCP_ALLOW_OPTIONS => Self::LcpAllowOptions(r.rest()),
            T::LNS_LAST_SENT_LCP_CONFREQ => Self::LnsLastSentLcpConfReq(r.rest()),
            T::LNS_LAST_RECEIVED_LCP_CONFREQ => Self::LnsLastReceivedLcpConfReq(r.rest()),
            T::MODEM_ON_HOLD_CAPABLE => Self::ModemOnHoldCapable,
            T::MODEM_ON_HOLD_STATUS => {
                let [high, low] = r.array(what)?;
                Self::ModemOnHoldStatus(ModemStatus {
                    on_hold: high & 0x80 != 0,
                    timeout: low & 0x0f,
                })
            }
            T::CONNECT_SPEED_UPDATE => {
                r.u16(what)?;
                Self::ConnectSpeedUpdate(SpeedUpdate {
                    session_id: r.u16(what)?,
                    tx: r.u32(what)?,
                    rx: r.u32(what)?,
                })
            }
            T::CONNECT_SPEED_UPDATE_ENABLE => Self::ConnectSpeedUpdateEnable,
            T::ECN_CAPABILITY => Self::EcnCapability,
            _ => return Ok(None),
        };
        Ok(Some(decoded))
    }

    pub(super) const fn attribute_type(&self) -> AttributeType {
        use AttributeType as T;
        match self {
            Self::RxMinimumBps(_) => T::RX_MINIMUM_BPS,
            Self::RxMaximumBps(_) => T::RX_MAXIMUM_BPS,
            Self::ServiceCategory { .. } => T::SERVICE_CATEGORY,
            Self::ServiceName(_) => T::SERVICE_NAME,
            Self::CallingSubAddress(_) => T::CALLING_SUB_ADDRESS,
            Self::VpiVci(_) => T::VPI_VCI_IDENTIFIER,
            Self::DisconnectCause(_) => T::PPP_DISCONNECT_CAUSE_CODE,
            Self::ControlConnectionDs(_) => T::CONTROL_CONNECTION_DS,
            Self::SessionDs(_) => T::SESSION_DS,
            Self::LcpWantOptions(_) => T::LCP_WANT_OPTIONS,
            Self::LcpAllowOptions(_) => T::LCP_ALLOW_OPTIONS,
            Self::LnsLastSentLcpConfReq(_) => T::LNS_LAST_SENT_LCP_CONFREQ,
            Self::LnsLastReceivedLcpConfReq(_) => T::LNS_LAST_RECEIVED_LCP_CONFREQ,
            Self::ModemOnHoldCapable => T::MODEM_ON_HOLD_CAPABLE,
            Self::ModemOnHoldStatus(_) => T::MODEM_ON_HOLD_STATUS,
            Self::ConnectSpeedUpdate(_) => T::CONNECT_SPEED_UPDATE,
            Self::ConnectSpeedUpdateEnable => T::CONNECT_SPEED_UPDATE_ENABLE,
            Self::EcnCapability => T::ECN_CAPABILITY,
        }
    }

    pub(super) fn encode_value(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        match *self {
            Self::RxMinimumBps(v) | Self::RxMaximumBps(v) => w.u32(v),
            Self::ServiceCategory { real_time } => w.u16(real_time.into()),
            Self::CallingSubAddress(v) => w.bytes(&v),
            Self::VpiVci(v) => {
                w.u16(v.vpi & 0x0fff)?;
                w.u16(v.vci)
            }
            Self::DisconnectCause(v) => {
                w.u16(v.code.0)?;
                w.u16(v.protocol)?;
                w.u8(v.direction)?;
                w.bytes(v.message)
            }
            Self::ControlConnectionDs(v) | Self::SessionDs(v) => w.u16(v),
            Self::ServiceName(v)
            | Self::LcpWantOptions(v)
            | Self::LcpAllowOptions(v)
            | Self::LnsLastSentLcpConfReq(v)
            | Self::LnsLastReceivedLcpConfReq(v) => w.bytes(v),
            Self::ModemOnHoldStatus(v) => w.bytes(&[u8::from(v.on_hold) << 7, v.timeout & 0x0f]),
            Self::ConnectSpeedUpdate(v) => {
                w.u16(0)?;
                w.u16(v.session_id)?;
                w.u32(v.tx)?;
                w.u32(v.rx)
            }
            Self::ModemOnHoldCapable | Self::ConnectSpeedUpdateEnable | Self::EcnCapability => {
                Ok(())
            }
        }
    }
}
