//! Wireshark as a second opinion: every kind of message that we make is dissected by `tshark`, which must find nothing wrong with it, and
//! see what we meant.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use interop::meant::{self, Fields};
use interop::report::Report;
use interop::talk::{Sent, Talk};
use interop::tshark::{Dissected, ShownAvp, dissect};
use l2tp::{
    AccessLine, CallParams, Disconnect, LinkInfo, PppCause, SessionId, StopReason, TunnelConfig,
};
use wire::Writer;
use wire::l2tp::{
    AccessLine as LineAttribute, AccessLineType, Attribute, AttributeType, Avp, Avps, BearerTypes,
    CallErrors, ControlHeader, DataHeader, DisconnectCause, DisconnectCode, ErrorCode, Extension,
    FramingTypes, Header, LoopEncapsulation, MessageType, ModemStatus, ProxyAuthenType, Q931Cause,
    Q931CauseCode, ResultCode, Sequence, SpeedUpdate, TransmissionMaps, VpiVci,
};

/// Our messages, dissected by others.
#[derive(Debug, Parser)]
struct Options {
    /// Run only the cases whose names contain this.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<ExitCode> {
    let mut report = Report::new(Options::parse().only);
    report.case("every AVP that we can write", every_avp);
    report.case(
        "data messages with every combination of bits",
        data_messages,
    );
    for (name, config) in configurations() {
        report.case(&format!("a conversation {name}"), || conversation(config));
    }
    report.case("what goes wrong is said well", refusals);
    Ok(report.conclude())
}

fn configurations() -> [(&'static str, TunnelConfig); 3] {
    let config = TunnelConfig {
        host_name: "ours.example".into(),
        vendor_name: "OpenL2TP".into(),
        bearer_capabilities: BearerTypes::ANALOG | BearerTypes::DIGITAL,
        control_dscp: Some(46),
        session_dscp: Some(10),
        ecn: true,
        ..TunnelConfig::default()
    };
    let secret = TunnelConfig {
        secret: Some("s3cret".into()),
        challenge: true,
        ..config.clone()
    };
    let hidden = TunnelConfig {
        hide_avps: true,
        ..secret.clone()
    };
    [
        ("without a secret", config),
        ("with a secret", secret),
        ("with hidden AVPs", hidden),
    ]
}

/// What is written into one message of a type, of its own AVPs and for once of others'.
fn every_avp() -> Result<String> {
    use Attribute as A;
    let lcp: &[u8] = &[1, 4, 5, 0xd4];
    let messages: [(MessageType, Vec<Attribute<'_>>); 4] = [
        (
            MessageType::SCCRQ,
            vec![
                A::ProtocolVersion(1, 0),
                A::FramingCapabilities(FramingTypes::SYNC),
                A::BearerCapabilities(BearerTypes::ANALOG),
                A::TieBreaker(0x0123_4567_89ab_cdef),
                A::FirmwareRevision(0x0201),
                A::HostName(b"ours.example"),
                A::VendorName(b"OpenL2TP"),
                A::AssignedTunnelId(7),
                A::ReceiveWindowSize(8),
                A::Challenge(&[1; 16]),
                A::ChallengeResponse([2; 16]),
                A::RandomVector(&[3; 16]),
            ],
        ),
        (
            MessageType::OCRQ,
            vec![
                A::AssignedSessionId(9),
                A::CallSerialNumber(10),
                A::MinimumBps(11),
                A::MaximumBps(64_000),
                A::BearerType(BearerTypes::DIGITAL),
                A::FramingType(FramingTypes::ASYNC),
                A::CalledNumber(b"0123"),
                A::CallingNumber(b"4567"),
                A::SubAddress(b"sub"),
                A::PhysicalChannelId(12),
            ],
        ),
        (
            MessageType::ICCN,
            vec![
                A::TxConnectSpeed(64_000),
                A::RxConnectSpeed(32_000),
                A::InitialReceivedLcpConfReq(lcp),
                A::LastSentLcpConfReq(lcp),
                A::LastReceivedLcpConfReq(lcp),
                A::ProxyAuthenType(ProxyAuthenType::CHAP),
                A::ProxyAuthenName(b"u0"),
                A::ProxyAuthenChallenge(&[4; 16]),
                A::ProxyAuthenId(5),
                A::ProxyAuthenResponse(&[6; 16]),
                A::PrivateGroupId(b"group"),
                A::SequencingRequired,
            ],
        ),
        (
            MessageType::CDN,
            vec![
                A::ResultCode(ResultCode {
                    result: 2,
                    error: Some(ErrorCode::NO_RESOURCES),
                    message: b"no modem",
                }),
                A::AssignedSessionId(9),
                A::Q931CauseCode(Q931Cause {
                    code: Q931CauseCode(16),
                    message: 69,
                    advisory: b"bye",
                }),
            ],
        ),
    ];
    let mut sent: Vec<Sent> = Vec::new();
    for (message_type, attributes) in messages.iter().chain(&later_messages()) {
        let mut buf = vec![0; 4096];
        let mut w = Writer::new(&mut buf);
        Attribute::MessageType(*message_type).encode(&mut w)?;
        for attribute in attributes {
            attribute.encode(&mut w)?;
        }
        if *message_type == MessageType::ICCN {
            for attribute in line() {
                attribute.encode(&mut w)?;
            }
        }
        sent.push((0, control(w.written())?));
    }
    compare(&sent)
}

/// The messages of later RFCs, and those about a line that is up.
fn later_messages() -> Vec<(MessageType, Vec<Attribute<'static>>)> {
    use Attribute::Extension as E;
    let update = E(Extension::ConnectSpeedUpdate(SpeedUpdate {
        session_id: 9,
        tx: 2_000_000,
        rx: 1_000_000,
    }));
    let errors = CallErrors {
        crc: 1,
        framing: 2,
        hardware_overruns: 3,
        buffer_overruns: 4,
        timeouts: 5,
        alignment: 6,
    };
    let extensions = vec![
        E(Extension::RxMinimumBps(1)),
        E(Extension::RxMaximumBps(2)),
        E(Extension::ServiceCategory { real_time: true }),
        E(Extension::ServiceName(b"service")),
        E(Extension::CallingSubAddress([1; 20])),
        E(Extension::VpiVci(VpiVci { vpi: 8, vci: 35 })),
        E(Extension::DisconnectCause(DisconnectCause {
            code: DisconnectCode(3),
            protocol: 0xc021,
            direction: 1,
            message: b"why",
        })),
        E(Extension::ControlConnectionDs(46)),
        E(Extension::SessionDs(10)),
        E(Extension::LcpWantOptions(&[1, 4, 5, 0xd4])),
        E(Extension::LcpAllowOptions(&[1, 4, 5, 0xd4])),
        E(Extension::LnsLastSentLcpConfReq(&[1, 4, 5, 0xd4])),
        E(Extension::LnsLastReceivedLcpConfReq(&[1, 4, 5, 0xd4])),
        E(Extension::ModemOnHoldCapable),
        E(Extension::ModemOnHoldStatus(ModemStatus {
            on_hold: true,
            timeout: 3,
        })),
        E(Extension::ConnectSpeedUpdateEnable),
        E(Extension::EcnCapability),
    ];
    vec![
        (MessageType::WEN, vec![Attribute::CallErrors(errors)]),
        (
            MessageType::SLI,
            vec![Attribute::Accm(TransmissionMaps {
                send: 0x000a_0000,
                receive: 1,
            })],
        ),
        (MessageType::CSUN, vec![update]),
        (MessageType::CSURQ, vec![update]),
        (MessageType::ICRQ, extensions),
    ]
}

/// What is said of a line.
fn line() -> Vec<LineAttribute<'static>> {
    vec![
        LineAttribute::AgentCircuitId(b"node 1 port 2"),
        LineAttribute::AgentRemoteId(b"subscriber 3"),
        LineAttribute::Rate(AccessLineType::ACTUAL_RATE_UPSTREAM, 1_000_000),
        LineAttribute::Rate(AccessLineType::ACTUAL_RATE_DOWNSTREAM, 8_000_000),
        LineAttribute::Delay(AccessLineType::MAXIMUM_DELAY_UPSTREAM, 20),
        LineAttribute::LoopEncapsulation(LoopEncapsulation {
            data_link: 1,
            encapsulation_1: 1,
            encapsulation_2: 0,
        }),
        LineAttribute::LineType(5),
        LineAttribute::IwfSession(true),
    ]
}

fn control(avps: &[u8]) -> Result<Vec<u8>> {
    let header = ControlHeader {
        tunnel_id: 3,
        session_id: 4,
        ns: 5,
        nr: 6,
    };
    let mut datagram = vec![0; ControlHeader::LEN];
    header.encode(avps.len(), &mut Writer::new(&mut datagram))?;
    datagram.extend(avps);
    Ok(datagram)
}

fn data_messages() -> Result<String> {
    // An LCP Echo-Request.
    const FRAME: &[u8] = &[0xff, 3, 0xc0, 0x21, 9, 7, 0, 8, 1, 2, 3, 4];
    let mut sent = Vec::new();
    for bits in 0..16 {
        let header = DataHeader {
            tunnel_id: 3,
            session_id: 4,
            sequence: (bits & 1 != 0).then_some(Sequence { ns: 5, nr: 0 }),
            offset: (bits & 2 != 0).then_some(4),
            has_length: bits & 4 != 0,
            priority: bits & 8 != 0,
        };
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        header.encode(FRAME.len(), &mut w)?;
        w.bytes(FRAME)?;
        sent.push((0, w.written().to_vec()));
    }
    for (bits, seen) in seen(&sent)?.iter().enumerate() {
        let bit = |mask: usize| {
            if bits & mask != 0 {
                Some("1")
            } else {
                Some("0")
            }
        };
        for (name, mask) in [("seq", 1), ("offset", 2), ("length", 4)] {
            let field = format!("l2tp.{name}_bit");
            ensure!(
                seen.header(&field) == bit(mask),
                "{field} of {bits:04b}: {seen:?}"
            );
        }
        ensure!(
            seen.header("l2tp.priority") == bit(8),
            "priority of {bits:04b}"
        );
        ensure!(
            seen.header("l2tp.Ns") == (bits & 1 != 0).then_some("5"),
            "Ns of {bits:04b}"
        );
        ensure!(
            seen.protocols().contains(&"lcp"),
            "no LCP in {bits:04b}: {seen:?}"
        );
    }
    Ok(String::new())
}

/// What tshark makes of what was sent; none of it is an objection.
fn seen(sent: &[Sent]) -> Result<Vec<Dissected>> {
    let folder = tempfile::tempdir()?;
    let dissected = dissect(&folder.path().join("ours.pcap"), sent)?;
    for (number, seen) in dissected.iter().enumerate() {
        let objections = seen.objections();
        ensure!(
            objections.is_empty(),
            "datagram {number}, {:02x?}: {objections:?}",
            sent[number].1
        );
    }
    Ok(dissected)
}

/// Every AVP has the name and the values that we meant. Returns what was compared, and what the dissector does not know.
fn compare(sent: &[Sent]) -> Result<String> {
    let (mut compared, mut unknown) = (0, BTreeSet::new());
    for (dissected, (_, datagram)) in seen(sent)?.iter().zip(sent) {
        let (Header::Control(header), avps) = Header::decode(datagram)? else {
            bail!("no control message");
        };
        for (field, number) in [
            ("l2tp.tunnel", header.tunnel_id),
            ("l2tp.session", header.session_id),
            ("l2tp.Ns", header.ns),
            ("l2tp.Nr", header.nr),
        ] {
            ensure!(
                dissected.header(field) == Some(&number.to_string()),
                "{field}: {dissected:?}"
            );
        }
        let mut shown = dissected.avps();
        for avp in Avps::new(avps) {
            let avp = avp?;
            let meaning = Meaning::of(&avp)?;
            let place = shown
                .iter()
                .position(|shown| alike(&shown.name, &meaning.name));
            let place = place.with_context(|| format!("no {} in {shown:?}", meaning.name))?;
            compared += 1;
            if !meaning.matches(&shown.remove(place))? {
                unknown.insert(avp.attribute);
            }
        }
        ensure!(shown.is_empty(), "more than was sent: {shown:?}");
    }
    let mut remark = format!("{compared} AVPs");
    if !unknown.is_empty() {
        remark += &format!(", of which the dissector does not know {unknown:?}");
    }
    Ok(remark)
}

/// What an AVP is to be shown as.
struct Meaning {
    name: String,
    mandatory: bool,
    hidden: bool,
    fields: Fields,
}

impl Meaning {
    fn of(avp: &Avp<'_>) -> Result<Self> {
        let is_line = avp.vendor_id == AccessLineType::VENDOR_ID;
        let (line, attribute) = (AccessLineType(avp.attribute), AttributeType(avp.attribute));
        let name = if is_line {
            line.to_string()
        } else {
            meant::name(attribute)
        };
        let fields = if avp.hidden {
            // Its value is nobody's to see.
            Some(Vec::new())
        } else if is_line {
            LineAttribute::decode(line, avp.value)?.map(|line| meant::of_line(&line))
        } else {
            Attribute::decode(attribute, avp.value)?.map(|attribute| meant::of(&attribute))
        };
        Ok(Self {
            fields: fields.with_context(|| format!("{name} is unknown to ourselves"))?,
            name,
            mandatory: avp.mandatory,
            hidden: avp.hidden,
        })
    }

    /// Whether the dissector shows the value too, which is then the right one.
    fn matches(&self, shown: &ShownAvp) -> Result<bool> {
        for (field, set) in [("hidden", self.hidden), ("mandatory", self.mandatory)] {
            let bit = if set { "1" } else { "0" };
            let field = format!("l2tp.avp.{field}");
            ensure!(
                shown.field(&field) == Some(bit),
                "{field}: not {bit} in {shown:?}"
            );
        }
        if shown.is_undecoded() {
            let unknown = self.name.starts_with("Unknown");
            ensure!(unknown, "not understood: {shown:?}");
            return Ok(false);
        }
        for (field, value) in &self.fields {
            let right = shown.field(field) == Some(value);
            ensure!(right, "{}, {field}: not {value} in {shown:?}", self.name);
        }
        Ok(true)
    }
}

/// Two spellings of one name.
fn alike(a: &str, b: &str) -> bool {
    let plain = |name: &str| {
        name.to_lowercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "")
    };
    plain(a) == plain(b)
}

/// All that a call may say.
fn call() -> CallParams {
    CallParams {
        serial_number: 7,
        minimum_bps: Some(1),
        maximum_bps: Some(64_000),
        bearer_type: Some(BearerTypes::DIGITAL),
        physical_channel_id: Some(3),
        called_number: Some("0123".into()),
        calling_number: Some("4567".into()),
        sub_address: Some("sub".into()),
        framing_type: FramingTypes::SYNC,
        tx_connect_speed: 64_000,
        rx_connect_speed: Some(32_000),
        private_group_id: Some(b"group".to_vec()),
        sequencing_required: true,
        access_line: Some(Box::new(AccessLine {
            agent_circuit_id: Some("node 1 port 2".into()),
            ..AccessLine::default()
        })),
        speed_updates: true,
        ..CallParams::default()
    }
}

/// What the first end has to say of its calls' lines while they are up, and what the second asks of them.
fn line_news(talk: &mut Talk, incoming: SessionId, outgoing: SessionId) -> Result<()> {
    let (now, mut rng) = (talk.now, talk.rng.clone());
    let errors = CallErrors {
        framing: 7,
        ..CallErrors::default()
    };
    let info = LinkInfo {
        maps: Some(TransmissionMaps {
            send: 1,
            receive: 2,
        }),
        lns_last_sent: Some(vec![1, 4, 5, 220]),
        lns_last_received: Some(vec![7, 2]),
    };
    let first = talk.end(0)?;
    ensure!(
        first.report_errors(incoming, errors, now, &mut rng),
        "no WEN"
    );
    ensure!(first.update_speed(incoming, 2, 1, &mut rng), "no CSUN");
    first.set_link_info(outgoing, &info, &mut rng);
    talk.end(1)?.request_speeds(&mut rng);
    talk.rng = rng;
    talk.settle();
    Ok(())
}

/// A tunnel, calls of both kinds from both ends, silence, and the end.
fn conversation(config: TunnelConfig) -> Result<String> {
    use MessageType as M;
    let second = Duration::from_secs(1);
    let mut talk = Talk::new(config.clone(), config);
    for end in [0, 1] {
        let (now, mut rng) = (talk.now, talk.rng.clone());
        let tunnel = talk.end(end)?;
        let incoming = tunnel.place_incoming_call(call(), now, &mut rng)?;
        let outgoing = tunnel.place_outgoing_call(call(), now, &mut rng)?;
        talk.rng = rng;
        talk.settle();
        talk.wait(second);
        ensure!(
            talk.end(end)?.calls().count() == 2 * (end + 1),
            "the calls are not up"
        );
        if end == 0 {
            line_news(&mut talk, incoming, outgoing)?;
        }
        let reasons = [
            Disconnect::lost_carrier(""),
            Disconnect::ppp(PppCause {
                code: DisconnectCode::LCP_TIMEOUT,
                protocol: 0xc021,
                direction: 0,
                message: "the peer does not answer LCP".to_owned(),
            }),
        ];
        if end == 1 {
            for (call, reason) in [incoming, outgoing].into_iter().zip(reasons) {
                talk.end(end)?.close_call(call, reason);
            }
        }
        talk.settle();
        talk.wait(second);
    }
    talk.wait(second * 70);
    talk.end(0)?.close(StopReason::shutting_down("good night"));
    talk.settle();
    talk.wait(second);
    let said = talk.types();
    for needed in [
        M(0),
        M::SCCRQ,
        M::SCCRP,
        M::SCCCN,
        M::STOP_CCN,
        M::HELLO,
        M::ICRQ,
        M::ICRP,
        M::ICCN,
        M::OCRQ,
        M::OCRP,
        M::OCCN,
        M::CDN,
        M::WEN,
        M::SLI,
        M::CSUN,
        M::CSURQ,
    ] {
        ensure!(said.contains(&needed.0), "{needed} was not said");
    }
    Ok(format!(
        "{} messages, {}",
        talk.sent.len(),
        compare(&talk.sent)?
    ))
}

/// What is said where something is wrong: results and errors of StopCCN and CDN.
fn refusals() -> Result<String> {
    let second = Duration::from_secs(1);
    let [_, (_, right), _] = configurations();
    let wrong = TunnelConfig {
        secret: Some("another".into()),
        ..right.clone()
    };
    let mut sent = Vec::new();
    // One that knows another secret, and one that knows none.
    for answering in [wrong, TunnelConfig::default()] {
        let mut talk = Talk::new(right.clone(), answering);
        talk.wait(second);
        sent.append(&mut talk.sent);
    }

    let mut talk = Talk::new(right.clone(), right);
    talk.obliging = false;
    let (now, mut rng) = (talk.now, talk.rng.clone());
    talk.end(0)?.place_incoming_call(call(), now, &mut rng)?;
    talk.end(0)?.place_outgoing_call(call(), now, &mut rng)?;
    talk.settle();
    talk.wait(second);
    // An SCCRQ where none belongs.
    let again = talk.sent[0].1.clone();
    let stats = talk.end(1)?.transport_stats();
    let mut unexpected = again.clone();
    unexpected[4..6].copy_from_slice(&200_u16.to_be_bytes());
    unexpected[8..10].copy_from_slice(&stats.nr.to_be_bytes());
    unexpected[10..12].copy_from_slice(&stats.ns.to_be_bytes());
    talk.hear(1, &unexpected);
    talk.settle();
    talk.wait(second);
    sent.append(&mut talk.sent);
    let results = [
        (MessageType::STOP_CCN, 4),
        (MessageType::STOP_CCN, 7),
        (MessageType::CDN, 4),
    ];
    for (message_type, result) in results {
        let said = sent.iter().any(|(_, datagram)| {
            datagram.get(18..20) == Some(&message_type.0.to_be_bytes())
                && results_of(datagram).contains(&result)
        });
        ensure!(said, "{message_type} with result {result} was not said");
    }
    compare(&sent)
}

fn results_of(datagram: &[u8]) -> Vec<u16> {
    let avps = Avps::new(&datagram[ControlHeader::LEN..]).flatten();
    let results =
        avps.filter_map(
            |avp| match Attribute::decode(avp.attribute_type()?, avp.value) {
                Ok(Some(Attribute::ResultCode(code))) => Some(code.result),
                _ => None,
            },
        );
    results.collect()
}
