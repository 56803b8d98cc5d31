use std::fmt;

use wire::DecodeError;
use wire::l2tp::{
    AccessLine, Attribute, AttributeType, Avp, Avps, BearerTypes, CallErrors, DisconnectCause,
    ErrorCode, Extension, FramingTypes, MessageType, Q931Cause, ResultCode, SpeedUpdate,
    TransmissionMaps,
};

use crate::Counters;

/// What is wrong with a message: it ends its session or its tunnel (RFC 2661 sections 4.1 and 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// An AVP that we do not know says that we must.
    UnknownMandatory { vendor_id: u16, attribute: u16 },
    /// A mandatory AVP is hidden and does not open.
    Hidden(&'static str),
    /// A mandatory AVP does not have the format of its type, or an AVP can't be told from what follows it.
    Malformed(DecodeError),
    /// An AVP that the message needs is not there.
    Missing(AttributeType),
    /// A value that its AVP must not have.
    BadValue(AttributeType),
    /// The message's type is not known and mandatory.
    UnknownMessage(MessageType),
}

impl Fault {
    pub(crate) const fn error_code(&self) -> ErrorCode {
        match self {
            Self::UnknownMandatory { .. } | Self::UnknownMessage(_) => {
                ErrorCode::UNKNOWN_MANDATORY_AVP
            }
            Self::Malformed(DecodeError::Truncated { .. } | DecodeError::BadLength { .. }) => {
                ErrorCode::BAD_LENGTH
            }
            Self::Hidden(_) | Self::Malformed(_) | Self::Missing(_) | Self::BadValue(_) => {
                ErrorCode::BAD_VALUE
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownMandatory {
                vendor_id: 0,
                attribute,
            } => write!(f, "attribute {attribute}"),
            Self::UnknownMandatory {
                vendor_id,
                attribute,
            } => write!(f, "attribute {attribute} of vendor {vendor_id}"),
            Self::Hidden(attribute) => write!(f, "the hidden {attribute} does not open"),
            Self::Malformed(error) => write!(f, "{error}"),
            Self::Missing(attribute) => write!(f, "{attribute} is missing"),
            Self::BadValue(attribute) => write!(f, "{attribute} has a value that it must not have"),
            Self::UnknownMessage(message_type) => write!(f, "message type {}", message_type.0),
        }
    }
}

/// The AVPs of a message that we make use of. Of those that are there twice, the last.
#[derive(Default, Debug)]
pub(crate) struct Body<'a> {
    pub(crate) result_code: Option<ResultCode<'a>>,
    pub(crate) protocol_version: Option<(u8, u8)>,
    pub(crate) framing_capabilities: Option<FramingTypes>,
    pub(crate) bearer_capabilities: Option<BearerTypes>,
    pub(crate) tie_breaker: Option<u64>,
    pub(crate) firmware_revision: Option<u16>,
    pub(crate) host_name: Option<&'a [u8]>,
    pub(crate) vendor_name: Option<&'a [u8]>,
    pub(crate) assigned_tunnel_id: Option<u16>,
    pub(crate) receive_window_size: Option<u16>,
    pub(crate) challenge: Option<&'a [u8]>,
    pub(crate) challenge_response: Option<[u8; 16]>,
    pub(crate) assigned_session_id: Option<u16>,
    pub(crate) call_serial_number: Option<u32>,
    pub(crate) minimum_bps: Option<u32>,
    pub(crate) maximum_bps: Option<u32>,
    pub(crate) bearer_type: Option<BearerTypes>,
    pub(crate) framing_type: Option<FramingTypes>,
    pub(crate) called_number: Option<&'a [u8]>,
    pub(crate) calling_number: Option<&'a [u8]>,
    pub(crate) sub_address: Option<&'a [u8]>,
    pub(crate) tx_connect_speed: Option<u32>,
    pub(crate) rx_connect_speed: Option<u32>,
    pub(crate) physical_channel_id: Option<u32>,
    pub(crate) private_group_id: Option<&'a [u8]>,
    pub(crate) sequencing_required: bool,
    pub(crate) q931_cause: Option<Q931Cause<'a>>,
    pub(crate) call_errors: Option<CallErrors>,
    pub(crate) accm: Option<TransmissionMaps>,
    pub(crate) disconnect_cause: Option<DisconnectCause<'a>>,
    pub(crate) control_connection_ds: Option<u16>,
    pub(crate) session_ds: Option<u16>,
    pub(crate) lcp_want_options: Option<&'a [u8]>,
    pub(crate) lcp_allow_options: Option<&'a [u8]>,
    pub(crate) lns_last_sent_lcp_confreq: Option<&'a [u8]>,
    pub(crate) lns_last_received_lcp_confreq: Option<&'a [u8]>,
    /// One for each session that a CSUN or CSURQ is about.
    pub(crate) speed_updates: Vec<SpeedUpdate>,
    pub(crate) speed_update_enable: bool,
    pub(crate) ecn_capability: bool,
    /// Each of another type, as a rule.
    pub(crate) access_line: Vec<AccessLine<'a>>,
}

/// A message taken apart.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    /// Value of the first AVP; 0, which is no message's, if it is no Message Type.
    pub(crate) message_type: MessageType,
    /// M of the Message Type: whether the message may be ignored if its type is not known.
    pub(crate) mandatory: bool,
    pub(crate) body: Body<'a>,
    /// The first thing wrong with it. `body` has what could be read all the same.
    pub(crate) fault: Option<Fault>,
}

/// Takes a message apart whose hidden AVPs were opened.
pub(crate) fn parse<'a>(payload: &'a [u8], counters: &mut Counters) -> Parsed<'a> {
    let mut parsed = Parsed {
        message_type: MessageType(0),
        mandatory: true,
        body: Body::default(),
        fault: None,
    };
    for (place, avp) in Avps::new(payload).enumerate() {
        let taken = match avp {
            Ok(avp) if place == 0 => parsed.take_message_type(&avp),
            Ok(avp) => parsed.body.take(&avp, counters),
            Err(error) => Err(Fault::Malformed(error)),
        };
        if let Err(fault) = taken {
            parsed.fault.get_or_insert(fault);
        }
    }
    parsed
}

impl Parsed<'_> {
    fn take_message_type(&mut self, avp: &Avp<'_>) -> Result<(), Fault> {
        let not_first = Fault::Missing(AttributeType::MESSAGE_TYPE);
        if avp.attribute_type() != Some(AttributeType::MESSAGE_TYPE) || avp.hidden {
            return Err(not_first);
        }
        match Attribute::decode(AttributeType::MESSAGE_TYPE, avp.value) {
            Ok(Some(Attribute::MessageType(message_type))) => {
                (self.message_type, self.mandatory) = (message_type, avp.mandatory);
                Ok(())
            }
            Ok(_) => Err(not_first),
            Err(error) => Err(Fault::Malformed(error)),
        }
    }
}

impl<'a> Body<'a> {
    /// Takes an AVP in. Whether what is wrong with it matters depends on its M bit (RFC 2661 sections 4.1 and 7.1).
    fn take(&mut self, avp: &Avp<'a>, counters: &mut Counters) -> Result<(), Fault> {
        let (vendor_id, attribute) = (avp.vendor_id, avp.attribute);
        counters.troubles.vendor_avps += u64::from(vendor_id != 0);
        let unknown = Fault::UnknownMandatory {
            vendor_id,
            attribute,
        };
        let set = match (avp.attribute_type(), avp.access_line_type(), avp.name()) {
            (_, _, None) => Err(unknown),
            (_, _, Some(name)) if avp.hidden => Err(Fault::Hidden(name)),
            (Some(attribute), ..) => Attribute::decode(attribute, avp.value)
                .map(|decoded| decoded.map(|decoded| self.set(decoded)))
                .map_err(Fault::Malformed),
            (_, Some(attribute), _) => AccessLine::decode(attribute, avp.value)
                .map(|decoded| decoded.map(|decoded| self.access_line.push(decoded)))
                .map_err(Fault::Malformed),
            (None, None, _) => Err(unknown),
        };
        match set {
            Ok(_) => {}
            Err(fault) if avp.mandatory => return Err(fault),
            Err(Fault::UnknownMandatory { .. }) => counters.troubles.ignored_avps += 1,
            Err(_) => counters.troubles.ignored_malformed_avps += 1,
        }
        Ok(())
    }

    fn set(&mut self, attribute: Attribute<'a>) {
        use Attribute as A;
        match attribute {
            A::ResultCode(v) => self.result_code = Some(v),
            A::ProtocolVersion(version, revision) => {
                self.protocol_version = Some((version, revision))
            }
            A::FramingCapabilities(v) => self.framing_capabilities = Some(v),
            A::BearerCapabilities(v) => self.bearer_capabilities = Some(v),
            A::TieBreaker(v) => self.tie_breaker = Some(v),
            A::FirmwareRevision(v) => self.firmware_revision = Some(v),
            A::HostName(v) => self.host_name = Some(v),
            A::VendorName(v) => self.vendor_name = Some(v),
            A::AssignedTunnelId(v) => self.assigned_tunnel_id = Some(v),
            A::ReceiveWindowSize(v) => self.receive_window_size = Some(v),
            A::Challenge(v) => self.challenge = Some(v),
            A::ChallengeResponse(v) => self.challenge_response = Some(v),
            A::AssignedSessionId(v) => self.assigned_session_id = Some(v),
            A::CallSerialNumber(v) => self.call_serial_number = Some(v),
            A::MinimumBps(v) => self.minimum_bps = Some(v),
            A::MaximumBps(v) => self.maximum_bps = Some(v),
            A::BearerType(v) => self.bearer_type = Some(v),
            A::FramingType(v) => self.framing_type = Some(v),
            A::CalledNumber(v) => self.called_number = Some(v),
            A::CallingNumber(v) => self.calling_number = Some(v),
            A::SubAddress(v) => self.sub_address = Some(v),
            A::TxConnectSpeed(v) => self.tx_connect_speed = Some(v),
            A::RxConnectSpeed(v) => self.rx_connect_speed = Some(v),
            A::PhysicalChannelId(v) => self.physical_channel_id = Some(v),
            A::PrivateGroupId(v) => self.private_group_id = Some(v),
            A::SequencingRequired => self.sequencing_required = true,
            A::Q931CauseCode(v) => self.q931_cause = Some(v),
            A::CallErrors(v) => self.call_errors = Some(v),
            A::Accm(v) => self.accm = Some(v),
            A::Extension(extension) => self.set_extension(extension),
            // Known, and of no use to us here.
            A::MessageType(_)
            | A::RandomVector(_)
            | A::InitialReceivedLcpConfReq(_)
            | A::LastSentLcpConfReq(_)
            | A::LastReceivedLcpConfReq(_)
            | A::ProxyAuthenType(_)
            | A::ProxyAuthenName(_)
            | A::ProxyAuthenChallenge(_)
            | A::ProxyAuthenId(_)
            | A::ProxyAuthenResponse(_) => {}
        }
    }

    fn set_extension(&mut self, extension: Extension<'a>) {
        use Extension as E;
        match extension {
            E::DisconnectCause(v) => self.disconnect_cause = Some(v),
            E::ControlConnectionDs(v) => self.control_connection_ds = Some(v),
            E::SessionDs(v) => self.session_ds = Some(v),
            E::LcpWantOptions(v) => self.lcp_want_options = Some(v),
            E::LcpAllowOptions(v) => self.lcp_allow_options = Some(v),
            E::LnsLastSentLcpConfReq(v) => self.lns_last_sent_lcp_confreq = Some(v),
            E::LnsLastReceivedLcpConfReq(v) => self.lns_last_received_lcp_confreq = Some(v),
            E::ConnectSpeedUpdate(v) => self.speed_updates.push(v),
            E::ConnectSpeedUpdateEnable => self.speed_update_enable = true,
            E::EcnCapability => self.ecn_capability = true,
            // Known, and of no use to us here.
            E::RxMinimumBps(_)
            | E::RxMaximumBps(_)
            | E::ServiceCategory { .. }
            | E::ServiceName(_)
            | E::CallingSubAddress(_)
            | E::VpiVci(_)
            | E::ModemOnHoldCapable
            | E::ModemOnHoldStatus(_) => {}
        }
    }
}

/// `value`, or the fault that the message lacks it.
pub(crate) fn required<T>(value: Option<T>, attribute: AttributeType) -> Result<T, Fault> {
    value.ok_or(Fault::Missing(attribute))
}

/// `value`, which is a Tunnel or Session ID, or the fault that the message lacks it or that it is 0.
pub(crate) fn required_id(value: Option<u16>, attribute: AttributeType) -> Result<u16, Fault> {
    match required(value, attribute)? {
        0 => Err(Fault::BadValue(attribute)),
        id => Ok(id),
    }
}
