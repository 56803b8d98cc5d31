//! What people read of messages and frames: everything that matters, and no secret.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

use proptest::prelude::*;
use wire::l2tp::{
    AccessLine, AccessLineType, Attribute, Avp, ErrorCode, FramingTypes, MessageType,
    ProxyAuthenType, ResultCode,
};
use wire::ppp::iana::code;
use wire::ppp::{
    CcpOption, ChapPacket, ChapValue, Compression, Frame, MppeBits, Packet, PapPacket, Protocol,
    RawOption,
};
use wire::{Writer, readable};

/// A message's AVPs, `name: value` each.
fn shown(message: MessageType, attributes: &[Attribute<'_>]) -> Vec<String> {
    let mut buf = [0; 4096];
    let mut w = Writer::new(&mut buf);
    Attribute::MessageType(message).encode(&mut w).unwrap();
    for attribute in attributes {
        attribute.encode(&mut w).unwrap();
    }
    listed(w.written())
}

fn listed(avps: &[u8]) -> Vec<String> {
    let texts = readable::avps(avps).map(|avp| match avp {
        Ok(avp) => format!("{}: {}", avp.name, avp.value),
        Err(error) => error.to_string(),
    });
    texts.skip(1).collect()
}

/// A frame of a control protocol whose packet `encode` writes.
fn frame(
    protocol: Protocol,
    encode: impl FnOnce(&mut Writer<'_>) -> Result<(), wire::BufferFull>,
) -> readable::ReadableFrame {
    let mut packet = [0; 512];
    let mut w = Writer::new(&mut packet);
    encode(&mut w).unwrap();
    let payload = w.written();
    let mut buf = [0; 600];
    let mut w = Writer::new(&mut buf);
    let frame = Frame { protocol, payload };
    frame.encode(Compression::default(), &mut w).unwrap();
    readable::frame(w.written())
}

#[test]
fn values_are_said_in_words() {
    use Attribute as A;
    let result = |result, error, message| {
        A::ResultCode(ResultCode {
            result,
            error,
            message,
        })
    };
    let none = None;
    let full = Some(ErrorCode::NO_RESOURCES);
    for (message, attribute, said) in [
        (
            MessageType::SCCRQ,
            A::ProtocolVersion(1, 0),
            "Protocol Version: 1.0",
        ),
        (
            MessageType::SCCRQ,
            A::HostName(b"l\nac"),
            "Host Name: l\\nac",
        ),
        (
            MessageType::SCCRQ,
            A::FramingCapabilities(FramingTypes::from(7)),
            "Framing Capabilities: sync, async, 0x4",
        ),
        (
            MessageType::CDN,
            result(3, none, b""),
            "Result Code: 3 (disconnected by the administration)",
        ),
        (
            MessageType::STOP_CCN,
            result(3, none, b""),
            "Result Code: 3 (a control connection exists already)",
        ),
        (
            MessageType::CDN,
            result(2, full, b"no modem"),
            "Result Code: 2 (general error), error 4 (not enough resources now): no modem",
        ),
        (
            MessageType::ICCN,
            A::LastSentLcpConfReq(&[1, 4, 5, 0xdc, 3, 4, 0xc0, 0x23, 7, 2, 99, 3, 1]),
            "Last Sent LCP CONFREQ: MRU 1500, authentication PAP, PFC, option 99 (1 octets)",
        ),
        (
            MessageType::ICCN,
            A::SequencingRequired,
            "Sequencing Required: ",
        ),
    ] {
        assert_eq!(shown(message, &[attribute]), [said]);
    }
}

#[test]
fn what_is_secret_is_only_as_long_as_it_is() {
    let chap = [
        Attribute::ProxyAuthenType(ProxyAuthenType::PAP),
        Attribute::ProxyAuthenName(b"alice"),
        Attribute::ProxyAuthenResponse(b"wonderland"),
    ];
    assert_eq!(
        shown(MessageType::ICCN, &chap),
        [
            "Proxy Authen Type: PAP",
            "Proxy Authen Name: alice",
            "Proxy Authen Response: not shown (10 octets)"
        ]
    );
    let hidden = |vendor_id, attribute| {
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        Attribute::MessageType(MessageType::SCCRQ)
            .encode(&mut w)
            .unwrap();
        let avp = Avp {
            mandatory: true,
            hidden: vendor_id == 0,
            reserved: 0,
            vendor_id,
            attribute,
            value: b"wonderland",
        };
        avp.encode(&mut w).unwrap();
        listed(w.written())
    };
    assert_eq!(hidden(0, 21), ["Called Number: hidden (10 octets)"]);
    assert_eq!(
        hidden(9, 21),
        ["vendor 9 attribute 21: not understood (10 octets)"]
    );
    let pap = PapPacket::Request {
        peer_id: b"alice",
        password: b"wonderland",
    };
    let pap = frame(Protocol::PAP, |w| pap.encode(7, w));
    assert_eq!(pap.name, "PAP Authenticate-Request");
    assert_eq!(pap.text, "user alice, password not shown (10 octets)");
    assert_eq!(pap.identifier, Some(7));
}

#[test]
fn challenges_and_responses_are_shown() {
    let value = ChapValue {
        value: &[0xab; 16],
        name: b"alice",
    };
    let chap = frame(Protocol::CHAP, |w| ChapPacket::Response(value).encode(1, w));
    assert_eq!(chap.name, "CHAP Response");
    assert_eq!(chap.text, format!("name alice, value {}", "ab".repeat(16)));
    let response = Attribute::ChallengeResponse([0xcd; 16]);
    let said = shown(MessageType::SCCRP, &[response]);
    assert_eq!(said, [format!("Challenge Response: {}", "cd".repeat(16))]);
}

#[test]
fn what_ccp_asks_for_is_said_in_words() {
    let asked = |bits: u32| {
        frame(Protocol::CCP, |w| {
            Packet::encode_with(code::CONFIGURE_REQUEST, 1, w, |w| {
                CcpOption::Mppe(MppeBits::from_bits_retain(bits)).encode(w)?;
                let (kind, data) = (26, &[0x78, 0][..]);
                CcpOption::Other(RawOption { kind, data }).encode(w)
            })
        })
    };
    let request = asked(0x0100_00e0);
    assert_eq!(request.name, "CCP Configure-Request");
    assert_eq!(
        request.text,
        "MPPE 128 56 40 stateless, option 26 (2 octets)"
    );
    assert_eq!(
        asked(0x51).text,
        "MPPE 128 MPPC and 00000010, option 26 (2 octets)"
    );
    let named = |protocol, code| {
        let data = |_: &mut Writer<'_>| Ok(());
        frame(protocol, |w| Packet::encode_with(code, 1, w, data)).name
    };
    assert_eq!(
        named(Protocol::CCP, code::RESET_REQUEST),
        "CCP Reset-Request"
    );
    assert_eq!(named(Protocol::CCP, code::RESET_ACK), "CCP Reset-Ack");
    assert_eq!(named(Protocol::IPCP, code::RESET_ACK), "IPCP code 15");
}

#[test]
fn traffic_is_not_looked_into() {
    let packet = readable::frame(b"\xff\x03\x00\x21wonderland");
    assert!(!packet.control);
    assert_eq!(
        (packet.name.as_str(), packet.text.as_str()),
        ("IPv4", "10 octets")
    );
}

#[test]
fn the_access_line_has_names_too() {
    let mut buf = [0; 64];
    let mut w = Writer::new(&mut buf);
    Attribute::MessageType(MessageType::ICRQ)
        .encode(&mut w)
        .unwrap();
    let rate = AccessLine::Rate(AccessLineType::ACTUAL_RATE_UPSTREAM, 1_000);
    rate.encode(&mut w).unwrap();
    assert_eq!(
        listed(w.written()),
        ["Actual-Data-Rate-Upstream: 1000 bits/s"]
    );
}

proptest! {
    #[test]
    fn whatever_comes_is_said_on_one_line(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let frame = readable::frame(&octets);
        let texts = readable::avps(&octets).flatten().map(|avp| avp.name + &avp.value);
        for text in texts.chain([frame.name, frame.text, readable::message_name(&octets)]) {
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}
