//! What pppd and a load client really send: every PPP control frame decodes, and its parts encode to the same octets again.
#![allow(clippy::unwrap_used, reason = "tests only")]

#[path = "../../../tests/captures/frames.rs"]
mod frames;

use std::collections::BTreeMap;

use wire::Writer;
use wire::l2tp::Header;
use wire::ppp::{
    ChapPacket, Compression, Frame, IpcpOption, LcpOption, MsChapV2Response, MsChapV2Success,
    Packet, PapPacket, Protocol,
};

/// Encodes a control packet from its interpreted parts.
fn encode(protocol: Protocol, packet: &Packet<'_>, w: &mut Writer<'_>) {
    let id = packet.identifier;
    match protocol {
        Protocol::PAP => PapPacket::decode(packet).unwrap().encode(id, w).unwrap(),
        Protocol::CHAP => ChapPacket::decode(packet).unwrap().encode(id, w).unwrap(),
        Protocol::LCP | Protocol::IPCP if packet.code <= 4 => {
            Packet::encode_with(packet.code, id, w, |w| {
                packet.options().try_for_each(|option| match protocol {
                    Protocol::LCP => LcpOption::decode(option.unwrap()).unwrap().encode(w),
                    _ => IpcpOption::decode(option.unwrap()).unwrap().encode(w),
                })
            })
            .unwrap();
        }
        _ => packet.encode(w).unwrap(),
    }
}

#[test]
fn every_control_frame_encodes_to_the_same_octets_again() {
    let mut seen: BTreeMap<(Protocol, u8), usize> = BTreeMap::new();
    for name in frames::names() {
        for captured in frames::read(&name) {
            let Ok((Header::Data(_), octets)) = Header::decode(&captured.payload) else {
                continue;
            };
            let frame = Frame::decode(octets).unwrap();
            if frame.protocol.is_network_layer() {
                continue;
            }
            let packet = Packet::decode(frame.payload).unwrap();
            let mut buf = [0; 1600];
            let mut w = Writer::new(&mut buf);
            Frame::encode_header(frame.protocol, Compression::default(), &mut w).unwrap();
            encode(frame.protocol, &packet, &mut w);
            assert_eq!(w.written(), octets, "{name} {}", captured.number);
            *seen.entry((frame.protocol, packet.code)).or_default() += 1;
        }
    }
    let expected = [
        ((Protocol::IPCP, 1), 153),
        ((Protocol::IPCP, 2), 102),
        ((Protocol::IPCP, 3), 51),
        ((Protocol::LCP, 1), 163),
        ((Protocol::LCP, 2), 105),
        ((Protocol::LCP, 5), 134),
        ((Protocol::LCP, 6), 77),
        ((Protocol::PAP, 1), 12),
        ((Protocol::PAP, 2), 12),
        ((Protocol::CHAP, 1), 39),
        ((Protocol::CHAP, 2), 39),
        ((Protocol::CHAP, 3), 39),
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_ms_chap_v2_values_are_read() {
    let mut successes = 0;
    for captured in frames::read("openl2tp-openl2tp-chap-ms-v2") {
        let Ok((Header::Data(_), octets)) = Header::decode(&captured.payload) else {
            continue;
        };
        let Frame {
            protocol: Protocol::CHAP,
            payload,
        } = Frame::decode(octets).unwrap()
        else {
            continue;
        };
        match ChapPacket::decode(&Packet::decode(payload).unwrap()).unwrap() {
            ChapPacket::Challenge(challenge) => assert_eq!(challenge.value.len(), 16),
            ChapPacket::Response(response) => {
                assert_eq!(response.name[0], b'u');
                let value = MsChapV2Response::decode(response.value).unwrap();
                assert_eq!(value.encode(), response.value);
            }
            ChapPacket::Success(message) => {
                assert_eq!(
                    MsChapV2Success::decode(message).unwrap().message,
                    b"Access granted"
                );
                successes += 1;
            }
            ChapPacket::Failure(_) => panic!("frame {}", captured.number),
        }
    }
    assert_eq!(successes, 3);
}
