use std::net::Ipv6Addr;

use super::{Hex, Plain, masked};
use crate::ppp::iana::{chap_algorithm, code, lcp_option};
use crate::ppp::{
    CcpOption, ChapPacket, Echo, Frame, IpcpOption, Ipv6cpOption, LcpOption, MppeBits, Options,
    Packet, PapPacket, Protocol, ProtocolReject, RawOption,
};

/// A PPP frame: what it is called and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadableFrame {
    /// Protocol and kind: `LCP Configure-Request`.
    pub name: String,
    /// What is in it, on one line; empty where there is nothing to say.
    pub text: String,
    /// Matches replies to requests, in protocols that have it.
    pub identifier: Option<u8>,
    /// Whether it is of a control protocol, and not the traffic itself.
    pub control: bool,
}

/// A PPP frame. Neither passwords are in it, nor what is not of a control protocol.
pub fn frame(octets: &[u8]) -> ReadableFrame {
    let none = |name: String, control, text: String| ReadableFrame {
        name,
        text,
        identifier: None,
        control,
    };
    let Ok(frame) = Frame::decode(octets) else {
        return none("no PPP frame".to_owned(), true, String::new());
    };
    let protocol = frame.protocol;
    let length = format!("{} octets", frame.payload.len());
    if protocol.is_network_layer() {
        return none(protocol.to_string(), false, length);
    }
    let Ok(packet) = Packet::decode(frame.payload) else {
        return none(protocol.to_string(), true, format!("no packet, {length}"));
    };
    ReadableFrame {
        name: match kind(protocol, packet.code) {
            Some(kind) => format!("{protocol} {kind}"),
            None => format!("{protocol} code {}", packet.code),
        },
        text: text(protocol, &packet),
        identifier: Some(packet.identifier),
        control: true,
    }
}

/// What a packet of this code is called.
fn kind(protocol: Protocol, number: u8) -> Option<&'static str> {
    const CONTROL: [&str; 16] = [
        "Vendor-Specific",
        "Configure-Request",
        "Configure-Ack",
        "Configure-Nak",
        "Configure-Reject",
        "Terminate-Request",
        "Terminate-Ack",
        "Code-Reject",
        "Protocol-Reject",
        "Echo-Request",
        "Echo-Reply",
        "Discard-Request",
        "Identification",
        "Time-Remaining",
        "Reset-Request",
        "Reset-Ack",
    ];
    let names: &[&str] = match protocol {
        Protocol::PAP => &[
            "",
            "Authenticate-Request",
            "Authenticate-Ack",
            "Authenticate-Nak",
        ],
        Protocol::CHAP => &["", "Challenge", "Response", "Success", "Failure"],
        Protocol::EAP => &["", "Request", "Response", "Success", "Failure"],
        Protocol::CCP | Protocol::ECP => &CONTROL,
        _ if protocol == Protocol::LCP || protocol.is_network_control() => &CONTROL[..14],
        _ => &[],
    };
    names
        .get(usize::from(number))
        .copied()
        .filter(|name| !name.is_empty())
}

fn text(protocol: Protocol, packet: &Packet<'_>) -> String {
    let length = || format!("{} octets", packet.data.len());
    match protocol {
        Protocol::PAP => pap(packet).unwrap_or_else(length),
        Protocol::CHAP => chap(packet).unwrap_or_else(length),
        _ if protocol != Protocol::LCP && !protocol.is_network_control() => length(),
        _ => match packet.code {
            code::CONFIGURE_REQUEST..=code::CONFIGURE_REJECT => match protocol {
                Protocol::LCP => lcp_options(packet.options()),
                Protocol::IPCP => listed(packet.options(), ipcp_option),
                Protocol::IPV6CP => listed(packet.options(), ipv6cp_option),
                Protocol::CCP => listed(packet.options(), ccp_option),
                _ => listed(packet.options(), |raw| Some(other(&raw))),
            },
            code::TERMINATE_REQUEST | code::TERMINATE_ACK => Plain(packet.data).to_string(),
            code::PROTOCOL_REJECT => ProtocolReject::decode(packet.data)
                .map_or_else(|_| length(), |reject| reject.protocol.to_string()),
            code::ECHO_REQUEST | code::ECHO_REPLY | code::DISCARD_REQUEST => {
                Echo::decode(packet.data).map_or_else(
                    |_| length(),
                    |echo| format!("magic {:08x}", echo.magic_number),
                )
            }
            _ => length(),
        },
    }
}

fn pap(packet: &Packet<'_>) -> Option<String> {
    Some(match PapPacket::decode(packet).ok()? {
        PapPacket::Request { peer_id, password } => {
            format!("user {}, password {}", Plain(peer_id), masked(password))
        }
        PapPacket::Ack(message) | PapPacket::Nak(message) => Plain(message).to_string(),
    })
}

fn chap(packet: &Packet<'_>) -> Option<String> {
    Some(match ChapPacket::decode(packet).ok()? {
        ChapPacket::Challenge(v) | ChapPacket::Response(v) => {
            format!("name {}, value {}", Plain(v.name), Hex(v.value))
        }
        ChapPacket::Success(message) | ChapPacket::Failure(message) => Plain(message).to_string(),
    })
}

/// Options of LCP, in a row.
pub(super) fn lcp_options(options: Options<'_>) -> String {
    listed(options, |raw| {
        Some(match LcpOption::decode(raw).ok()? {
            LcpOption::Mru(octets) => format!("MRU {octets}"),
            LcpOption::Accm(map) => format!("ACCM {map:08x}"),
            LcpOption::Authentication { protocol, data } => {
                format!("authentication {}", algorithm(protocol, data))
            }
            LcpOption::MagicNumber(number) => format!("magic {number:08x}"),
            LcpOption::ProtocolFieldCompression => "PFC".to_owned(),
            LcpOption::AddressControlFieldCompression => "ACFC".to_owned(),
            LcpOption::Other(raw) => match raw.kind {
                lcp_option::MRRU => "MRRU".to_owned(),
                lcp_option::ENDPOINT_DISCRIMINATOR => "endpoint discriminator".to_owned(),
                lcp_option::CALLBACK => "callback".to_owned(),
                _ => other(&raw),
            },
        })
    })
}

fn algorithm(protocol: Protocol, data: &[u8]) -> String {
    match (protocol, data) {
        (Protocol::CHAP, [chap_algorithm::MD5]) => "CHAP".to_owned(),
        (Protocol::CHAP, [chap_algorithm::MS_CHAP]) => "MS-CHAPv1".to_owned(),
        (Protocol::CHAP, [chap_algorithm::MS_CHAP_V2]) => "MS-CHAPv2".to_owned(),
        (Protocol::CHAP, [number]) => format!("CHAP algorithm {number}"),
        _ => protocol.to_string(),
    }
}

fn ipcp_option(raw: RawOption<'_>) -> Option<String> {
    Some(match IpcpOption::decode(raw).ok()? {
        IpcpOption::Address(address) => format!("address {address}"),
        IpcpOption::PrimaryDns(address) => format!("primary DNS {address}"),
        IpcpOption::SecondaryDns(address) => format!("secondary DNS {address}"),
        IpcpOption::PrimaryNbns(address) => format!("primary NBNS {address}"),
        IpcpOption::SecondaryNbns(address) => format!("secondary NBNS {address}"),
        IpcpOption::Other(raw) => other(&raw),
    })
}

fn ipv6cp_option(raw: RawOption<'_>) -> Option<String> {
    Some(match Ipv6cpOption::decode(raw).ok()? {
        Ipv6cpOption::InterfaceIdentifier(id) => {
            let address = Ipv6Addr::from(u128::from(u64::from_be_bytes(id)));
            format!("interface {address}")
        }
        Ipv6cpOption::Other(raw) => other(&raw),
    })
}

fn ccp_option(raw: RawOption<'_>) -> Option<String> {
    Some(match CcpOption::decode(raw).ok()? {
        CcpOption::Mppe(bits) => mppe(bits),
        CcpOption::Other(raw) => other(&raw),
    })
}

/// `MPPE 128 56 stateless`, and the bits that mean something else.
fn mppe(bits: MppeBits) -> String {
    const NAMES: [(MppeBits, &str); 5] = [
        (MppeBits::KEYS_128, "128"),
        (MppeBits::KEYS_56, "56"),
        (MppeBits::KEYS_40, "40"),
        (MppeBits::STATELESS, "stateless"),
        (MppeBits::COMPRESSION, "MPPC"),
    ];
    let (mut text, mut rest) = ("MPPE".to_owned(), bits);
    for (bit, name) in NAMES.into_iter().filter(|(bit, _)| bits.contains(*bit)) {
        text = format!("{text} {name}");
        rest.remove(bit);
    }
    if rest.is_empty() {
        text
    } else {
        format!("{text} and {:08x}", rest.bits())
    }
}

fn other(raw: &RawOption<'_>) -> String {
    format!("option {} ({} octets)", raw.kind, raw.data.len())
}

/// Options in a row; one that can't be what it says to be by its number.
fn listed(options: Options<'_>, text: impl Fn(RawOption<'_>) -> Option<String>) -> String {
    let one = |option: Result<RawOption<'_>, _>| match option {
        Ok(raw) => text(raw).unwrap_or_else(|| other(&raw)),
        Err(error) => format!("{error}"),
    };
    let texts = options.map(|option: Result<RawOption<'_>, crate::DecodeError>| one(option));
    texts.collect::<Vec<_>>().join(", ")
}
