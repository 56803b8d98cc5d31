//! What Wireshark must show of an AVP that we wrote: its name, and the fields that it knows of it with their values.

use wire::l2tp::{
    AccessLine, AccessLineType, Attribute, AttributeType, BearerTypes, Extension, FramingTypes,
};

/// Fields by their names, and their values.
pub type Fields = Vec<(&'static str, String)>;

/// The dissector's name of an attribute. It is the RFC's, but for these.
pub fn name(attribute: AttributeType) -> String {
    use AttributeType as T;
    match attribute {
        T::MESSAGE_TYPE => "Control Message".to_owned(),
        T::RESULT_CODE => "Result-Error Code".to_owned(),
        T::ASSIGNED_SESSION_ID => "Assigned Session".to_owned(),
        T::Q931_CAUSE_CODE => "Cause Code".to_owned(),
        T::CALL_ERRORS => "Call status AVPs".to_owned(),
        T::TX_CONNECT_SPEED => "Connect Speed".to_owned(),
        T::PHYSICAL_CHANNEL_ID => "Physical Channel".to_owned(),
        T(40..=45 | 47..=57 | 103) => format!("Unknown ({})", attribute.0),
        _ => attribute.to_string(),
    }
}

fn one(field: &'static str, value: impl ToString) -> Fields {
    vec![(field, value.to_string())]
}

fn text(field: &'static str, value: &[u8]) -> Fields {
    one(field, String::from_utf8_lossy(value))
}

fn hex(field: &'static str, value: &[u8]) -> Fields {
    let pairs: Vec<_> = value.iter().map(|octet| format!("{octet:02x}")).collect();
    one(field, pairs.join(":"))
}

fn framing(prefix: [&'static str; 2], types: FramingTypes) -> Fields {
    let bit = |bit| u8::from(types.contains(bit)).to_string();
    vec![
        (prefix[0], bit(FramingTypes::ASYNC)),
        (prefix[1], bit(FramingTypes::SYNC)),
    ]
}

fn bearer(prefix: [&'static str; 2], types: BearerTypes) -> Fields {
    let bit = |bit| u8::from(types.contains(bit)).to_string();
    vec![
        (prefix[0], bit(BearerTypes::ANALOG)),
        (prefix[1], bit(BearerTypes::DIGITAL)),
    ]
}

/// The fields of an AVP of the IETF's.
pub fn of(attribute: &Attribute<'_>) -> Fields {
    use Attribute as A;
    match *attribute {
        A::MessageType(v) => one("l2tp.avp.message_type", v.0),
        A::ResultCode(v) => {
            let mut fields = one("l2tp.result_code", v.result);
            fields.extend(
                v.error
                    .map(|error| ("l2tp.avp.error_code", error.0.to_string())),
            );
            if !v.message.is_empty() {
                fields.extend(text("l2tp.avp.error_message", v.message));
            }
            fields
        }
        A::ProtocolVersion(version, revision) => vec![
            ("l2tp.avp.protocol_version", version.to_string()),
            ("l2tp.avp.protocol_revision", revision.to_string()),
        ],
        A::FramingCapabilities(v) => framing(
            [
                "l2tp.avp.async_framing_supported",
                "l2tp.avp.sync_framing_supported",
            ],
            v,
        ),
        A::BearerCapabilities(v) => bearer(
            [
                "l2tp.avp.analog_access_supported",
                "l2tp.avp.digital_access_supported",
            ],
            v,
        ),
        A::TieBreaker(v) => one("l2tp.tie_breaker", format!("0x{v:016x}")),
        A::FirmwareRevision(v) => one("l2tp.avp.firmware_revision", v),
        A::HostName(v) => text("l2tp.avp.host_name", v),
        A::VendorName(v) => text("l2tp.avp.vendor_name", v),
        A::AssignedTunnelId(v) => one("l2tp.avp.assigned_tunnel_id", v),
        A::ReceiveWindowSize(v) => one("l2tp.avp.receive_window_size", v),
        A::Challenge(v) => hex("l2tp.avp.chap_challenge", v),
        A::Q931CauseCode(v) => {
            let mut fields = one("l2tp.avp.cause_code", v.code.0);
            fields.extend(one("l2tp.avp.cause_msg", v.message));
            fields.extend(text("l2tp.avp.advisory_msg", v.advisory));
            fields
        }
        A::ChallengeResponse(v) => hex("l2tp.avp.chap_challenge_response", &v),
        A::AssignedSessionId(v) => one("l2tp.avp.assigned_session_id", v),
        A::CallSerialNumber(v) => one("l2tp.avp.call_serial_number", v),
        A::MinimumBps(v) => one("l2tp.avp.minimum_bps", v),
        A::MaximumBps(v) => one("l2tp.avp.maximum_bps", v),
        A::BearerType(v) => bearer(
            [
                "l2tp.avp.analog_bearer_type",
                "l2tp.avp.digital_bearer_type",
            ],
            v,
        ),
        A::FramingType(v) => framing(
            ["l2tp.avp.async_framing_type", "l2tp.avp.sync_framing_type"],
            v,
        ),
        A::CalledNumber(v) => text("l2tp.avp.called_number", v),
        A::CallingNumber(v) => text("l2tp.avp.calling_number", v),
        A::SubAddress(v) => text("l2tp.avp.sub_address", v),
        A::TxConnectSpeed(v) => one("l2tp.avp.connect_speed", v),
        A::PhysicalChannelId(v) => one("l2tp.avp.physical_channel", v),
        A::InitialReceivedLcpConfReq(v) => hex("l2tp.avp.initial_received_lcp_confreq", v),
        A::LastSentLcpConfReq(v) => hex("l2tp.avp.last_sent_lcp_confreq", v),
        A::LastReceivedLcpConfReq(v) => hex("l2tp.avp.last_received_lcp_confreq", v),
        A::ProxyAuthenType(v) => one("l2tp.avp.proxy_authen_type", v.0),
        A::ProxyAuthenName(v) => text("l2tp.avp.proxy_authen_name", v),
        A::ProxyAuthenChallenge(v) => hex("l2tp.avp.proxy_authen_challenge", v),
        A::ProxyAuthenId(v) => one("l2tp.avp.proxy_authen_id", v),
        A::ProxyAuthenResponse(v) => hex("l2tp.avp.proxy_authen_response", v),
        A::CallErrors(v) => vec![
            ("l2tp.avp.crc_errors", v.crc.to_string()),
            ("l2tp.avp.framing_errors", v.framing.to_string()),
            (
                "l2tp.avp.hardware_overruns",
                v.hardware_overruns.to_string(),
            ),
            ("l2tp.avp.buffer_overruns", v.buffer_overruns.to_string()),
            ("l2tp.avp.time_out_errors", v.timeouts.to_string()),
            ("l2tp.avp.alignment_errors", v.alignment.to_string()),
        ],
        A::Accm(v) => vec![
            ("l2tp.avp.send_accm", v.send.to_string()),
            ("l2tp.avp.receive_accm", v.receive.to_string()),
        ],
        A::RandomVector(v) => hex("l2tp.avp.random_vector", v),
        A::PrivateGroupId(v) => hex("l2tp.avp.private_group_id", v),
        A::RxConnectSpeed(v) => one("l2tp.avp.rx_connect_speed", v),
        A::SequencingRequired => Vec::new(),
        A::Extension(extension) => extended(&extension),
    }
}

/// Those of the AVPs of later RFCs, of which the dissector knows few.
fn extended(extension: &Extension<'_>) -> Fields {
    match *extension {
        Extension::DisconnectCause(v) => vec![
            ("l2tp.avp.disconnect_code", v.code.0.to_string()),
            ("l2tp.avp.control_protocol_number", v.protocol.to_string()),
            ("l2tp.avp.cause_code_direction", v.direction.to_string()),
            (
                "l2tp.avp.cause_code_message",
                String::from_utf8_lossy(v.message).into_owned(),
            ),
        ],
        Extension::ConnectSpeedUpdate(v) => vec![
            ("l2tp.avp.csu.remote_session_id", v.session_id.to_string()),
            ("l2tp.avp.csu.current_tx_speed", v.tx.to_string()),
            ("l2tp.avp.csu.current_rx_speed", v.rx.to_string()),
        ],
        _ => Vec::new(),
    }
}

/// The fields of an AVP about a subscriber's access line.
pub fn of_line(attribute: &AccessLine<'_>) -> Fields {
    use AccessLineType as T;
    let field = match attribute.attribute_type() {
        T::ACTUAL_RATE_UPSTREAM => "l2tp.broadband.actual_dr_up",
        T::ACTUAL_RATE_DOWNSTREAM => "l2tp.broadband.actual_dr_down",
        T::MAXIMUM_DELAY_UPSTREAM => "l2tp.broadband.maximum_interleaving_delay_up",
        _ => "",
    };
    match *attribute {
        AccessLine::AgentCircuitId(v) => text("l2tp.broadband.agent_circuit_id", v),
        AccessLine::AgentRemoteId(v) => text("l2tp.broadband.agent_remote_id", v),
        AccessLine::Rate(_, v) => one(field, v),
        AccessLine::Delay(_, v) => one(field, v),
        AccessLine::LoopEncapsulation(v) => vec![
            (
                "l2tp.broadband.access_loop_encapsulation.data_link",
                format!("0x{:02x}", v.data_link),
            ),
            (
                "l2tp.broadband.access_loop_encapsulation.enc1",
                format!("0x{:02x}", v.encapsulation_1),
            ),
            (
                "l2tp.broadband.access_loop_encapsulation.enc2",
                format!("0x{:02x}", v.encapsulation_2),
            ),
        ],
        AccessLine::LineType(v) => one(
            "l2tp.broadband.ancp_access_line_type",
            format!("0x{v:02x}000000"),
        ),
        AccessLine::IwfSession(v) => one(
            "l2tp.broadband.iwf_session",
            format!("0x{:08x}", u8::from(v)),
        ),
    }
}
