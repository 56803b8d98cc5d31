use super::{Hex, Plain, masked, meaning, message_type};
use crate::DecodeError;
use crate::l2tp::{
    AccessLine, Attribute, Avp, Avps, BearerTypes, CallErrors, CallResult, DisconnectCause,
    Extension, FramingTypes, MessageType, Q931Cause, ResultCode, StopResult,
};
use crate::ppp::Packet;

/// An AVP: what it is called and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadableAvp {
    /// The attribute's name; vendor and number where it has none that we know.
    pub name: String,
    /// Its value; empty where it has none. Of what is hidden or secret it has only the length.
    pub value: String,
    /// The octets of the value as it was sent.
    pub octets: usize,
    /// Whether it is hidden.
    pub hidden: bool,
}

/// The AVPs of a control message in order, the Message Type among them. After one that is cut short there is an error, and no more.
pub fn avps(avps: &[u8]) -> impl Iterator<Item = Result<ReadableAvp, DecodeError>> {
    let message = message_type(avps);
    Avps::new(avps).map(move |avp| avp.map(|avp| readable(message, &avp)))
}

fn readable(message: Option<MessageType>, avp: &Avp<'_>) -> ReadableAvp {
    let named = avp.name().map(str::to_owned);
    let known = || avp.attribute_type().and_then(|t| t.text());
    let name = named
        .or(known().map(str::to_owned))
        .unwrap_or_else(|| match avp.vendor_id {
            0 => format!("attribute {}", avp.attribute),
            vendor => format!("vendor {vendor} attribute {}", avp.attribute),
        });
    ReadableAvp {
        name,
        value: value(message, avp),
        octets: avp.value.len(),
        hidden: avp.hidden,
    }
}

fn value(message: Option<MessageType>, avp: &Avp<'_>) -> String {
    if avp.hidden {
        return format!("hidden ({} octets)", avp.value.len());
    }
    let ietf = avp
        .attribute_type()
        .map(|t| Attribute::decode(t, avp.value).map(|a| a.map(|a| attribute(message, &a))));
    let line = avp
        .access_line_type()
        .map(|t| AccessLine::decode(t, avp.value).map(|a| a.map(|a| access_line(&a))));
    match ietf.or(line) {
        Some(Ok(Some(text))) => text,
        // What we do not understand may be a secret of somebody who does.
        Some(Ok(None)) | None => format!("not understood ({} octets)", avp.value.len()),
        Some(Err(error)) => error.to_string(),
    }
}

fn attribute(message: Option<MessageType>, attribute: &Attribute<'_>) -> String {
    use Attribute as A;
    match *attribute {
        A::MessageType(v) => v.to_string(),
        A::ResultCode(v) => result_code(message, v),
        A::ProtocolVersion(version, revision) => format!("{version}.{revision}"),
        A::FramingCapabilities(v) | A::FramingType(v) => framing(v),
        A::BearerCapabilities(v) | A::BearerType(v) => bearer(v),
        A::TieBreaker(v) => format!("{v:016x}"),
        A::FirmwareRevision(v) => format!("{}.{}", v >> 8, v & 0xff),
        A::AssignedTunnelId(v) | A::AssignedSessionId(v) | A::ReceiveWindowSize(v) => v.to_string(),
        A::HostName(v)
        | A::VendorName(v)
        | A::CalledNumber(v)
        | A::CallingNumber(v)
        | A::SubAddress(v)
        | A::ProxyAuthenName(v)
        | A::PrivateGroupId(v) => Plain(v).to_string(),
        A::Challenge(v) | A::ProxyAuthenChallenge(v) | A::RandomVector(v) => Hex(v).to_string(),
        A::ChallengeResponse(v) => Hex(&v).to_string(),
        A::ProxyAuthenResponse(v) => masked(v),
        A::Q931CauseCode(v) => q931(v),
        A::CallSerialNumber(v) | A::PhysicalChannelId(v) => v.to_string(),
        A::MinimumBps(v) | A::MaximumBps(v) | A::TxConnectSpeed(v) | A::RxConnectSpeed(v) => {
            format!("{v} bits/s")
        }
        A::InitialReceivedLcpConfReq(v)
        | A::LastSentLcpConfReq(v)
        | A::LastReceivedLcpConfReq(v) => lcp_options(v),
        A::ProxyAuthenType(v) => v.to_string(),
        A::ProxyAuthenId(v) => v.to_string(),
        A::CallErrors(v) => call_errors(v),
        A::Accm(v) => format!("send {:08x}, receive {:08x}", v.send, v.receive),
        A::SequencingRequired => String::new(),
        A::Extension(ref v) => extension(v),
    }
}

fn extension(extension: &Extension<'_>) -> String {
    use Extension as E;
    match *extension {
        E::RxMinimumBps(v) | E::RxMaximumBps(v) => format!("{v} bits/s"),
        E::ServiceCategory { real_time } => if real_time {
            "real time"
        } else {
            "no real time"
        }
        .to_owned(),
        E::ServiceName(v) => Plain(v).to_string(),
        E::CallingSubAddress(v) => Hex(&v).to_string(),
        E::VpiVci(v) => format!("{}/{}", v.vpi, v.vci),
        E::DisconnectCause(v) => disconnect_cause(v),
        E::ControlConnectionDs(v) | E::SessionDs(v) => format!("{v:#06x}"),
        E::LcpWantOptions(v)
        | E::LcpAllowOptions(v)
        | E::LnsLastSentLcpConfReq(v)
        | E::LnsLastReceivedLcpConfReq(v) => lcp_options(v),
        E::ModemOnHoldStatus(v) if v.on_hold => format!("on hold, timeout {}", v.timeout),
        E::ModemOnHoldStatus(_) => "not on hold".to_owned(),
        E::ConnectSpeedUpdate(v) => format!(
            "session {}, {} bits/s to the remote system, {} from it",
            v.session_id, v.tx, v.rx
        ),
        E::ModemOnHoldCapable | E::ConnectSpeedUpdateEnable | E::EcnCapability => String::new(),
    }
}

fn access_line(line: &AccessLine<'_>) -> String {
    match *line {
        AccessLine::AgentCircuitId(v) | AccessLine::AgentRemoteId(v) => Plain(v).to_string(),
        AccessLine::Rate(_, v) => format!("{v} bits/s"),
        AccessLine::Delay(_, v) => format!("{v} ms"),
        AccessLine::LoopEncapsulation(v) => v.to_string(),
        AccessLine::LineType(v) => v.to_string(),
        AccessLine::IwfSession(v) => if v { "yes" } else { "no" }.to_owned(),
    }
}

/// Result, error and text of a StopCCN or CDN.
fn result_code(message: Option<MessageType>, code: ResultCode<'_>) -> String {
    let result = match message {
        Some(MessageType::CDN) => CallResult(code.result).text(),
        _ => StopResult(code.result).text(),
    };
    let mut text = meaning(code.result, result);
    match code.error {
        // There it is the version that is supported.
        Some(error) if result == StopResult::BAD_VERSION.text() => {
            text += &format!(", highest version {}", error.0);
        }
        Some(error) if error.0 != 0 => {
            text += &format!(", error {}", meaning(error.0, error.text()))
        }
        _ => {}
    }
    if !code.message.is_empty() {
        text += &format!(": {}", Plain(code.message));
    }
    text
}

fn q931(cause: Q931Cause<'_>) -> String {
    let mut text = meaning(cause.code.0, cause.code.text());
    text += &format!(", message {:#04x}", cause.message);
    if !cause.advisory.is_empty() {
        text += &format!(": {}", Plain(cause.advisory));
    }
    text
}

fn disconnect_cause(cause: DisconnectCause<'_>) -> String {
    let mut text = meaning(cause.code.0, cause.code.text());
    if cause.protocol != 0 {
        text += &format!(", {}", crate::ppp::Protocol(cause.protocol));
    }
    text += match cause.direction {
        1 => ", by the peer of the sender",
        2 => ", by the sender",
        _ => "",
    };
    if !cause.message.is_empty() {
        text += &format!(": {}", Plain(cause.message));
    }
    text
}

fn call_errors(errors: CallErrors) -> String {
    let CallErrors {
        crc,
        framing,
        hardware_overruns,
        buffer_overruns,
        timeouts,
        alignment,
    } = errors;
    format!(
        "CRC {crc}, framing {framing}, hardware overruns {hardware_overruns}, buffer overruns {buffer_overruns}, timeouts {timeouts}, \
         alignment {alignment}"
    )
}

fn lcp_options(options: &[u8]) -> String {
    let packet = Packet {
        code: 0,
        identifier: 0,
        data: options,
    };
    super::ppp::lcp_options(packet.options())
}

fn framing(types: FramingTypes) -> String {
    bits(
        types.bits(),
        &[
            (FramingTypes::SYNC.bits(), "sync"),
            (FramingTypes::ASYNC.bits(), "async"),
        ],
    )
}

fn bearer(types: BearerTypes) -> String {
    bits(
        types.bits(),
        &[
            (BearerTypes::DIGITAL.bits(), "digital"),
            (BearerTypes::ANALOG.bits(), "analog"),
            (BearerTypes::BROADBAND.bits(), "broadband"),
        ],
    )
}

/// The names of the bits that are set; what has no name as a number.
fn bits(bits: u32, names: &[(u32, &str)]) -> String {
    let named = names.iter().fold(0, |named, (bit, _)| named | bit);
    let mut words: Vec<String> = names
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    if bits & !named != 0 {
        words.push(format!("{:#x}", bits & !named));
    }
    if words.is_empty() {
        words.push("none".to_owned());
    }
    words.join(", ")
}
