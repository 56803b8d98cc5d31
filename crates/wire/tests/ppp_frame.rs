//! PPP framing: every legal compression.
#![allow(clippy::unwrap_used, reason = "tests only")]

use proptest::prelude::*;
use wire::Writer;
use wire::ppp::{Compression, Frame, Protocol};

const ALL: [Compression; 4] = [
    Compression {
        address_control: false,
        protocol: false,
    },
    Compression {
        address_control: false,
        protocol: true,
    },
    Compression {
        address_control: true,
        protocol: false,
    },
    Compression {
        address_control: true,
        protocol: true,
    },
];

fn encode(frame: Frame<'_>, compression: Compression) -> Vec<u8> {
    let mut buf = [0; 1600];
    let mut w = Writer::new(&mut buf);
    frame.encode(compression, &mut w).unwrap();
    w.written().to_vec()
}

#[test]
fn an_ip_packet_has_four_forms() {
    let frame = Frame {
        protocol: Protocol::IPV4,
        payload: &[0x45, 0],
    };
    let forms = ALL.map(|compression| encode(frame, compression));
    assert_eq!(forms[0], [0xff, 0x03, 0x00, 0x21, 0x45, 0]);
    assert_eq!(forms[1], [0xff, 0x03, 0x21, 0x45, 0]);
    assert_eq!(forms[2], [0x00, 0x21, 0x45, 0]);
    assert_eq!(forms[3], [0x21, 0x45, 0]);
    for form in forms {
        assert_eq!(Frame::decode(&form), Ok(frame));
    }
}

#[test]
fn lcp_is_never_compressed() {
    let frame = Frame {
        protocol: Protocol::LCP,
        payload: &[9, 1, 0, 4],
    };
    for compression in ALL {
        assert_eq!(
            encode(frame, compression),
            [0xff, 0x03, 0xc0, 0x21, 9, 1, 0, 4]
        );
    }
}

#[test]
fn a_missing_protocol_field_is_an_error() {
    for cut in [&[][..], &[0xff, 0x03], &[0xff, 0x03, 0xc0], &[0x80]] {
        assert!(Frame::decode(cut).is_err(), "{cut:02x?}");
    }
}

proptest! {
    #[test]
    fn every_legal_frame_survives(
        high in any::<u8>(), low in any::<u8>(), payload in prop::collection::vec(any::<u8>(), 0..64), which in 0..4usize,
    ) {
        // RFC 1661 section 2: the first octet even, the second odd.
        let protocol = Protocol(u16::from_be_bytes([high & 0xfe, low | 1]));
        let frame = Frame { protocol, payload: &payload };
        let octets = encode(frame, ALL[which]);
        prop_assert_eq!(Frame::decode(&octets), Ok(frame));
    }

    #[test]
    fn any_octets_decode_or_fail(octets in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(frame) = Frame::decode(&octets) {
            prop_assert!(octets.ends_with(frame.payload));
        }
    }
}

#[test]
fn a_protocol_is_written_as_its_name_or_its_number() {
    let shown = |number| Protocol(number).to_string();
    let names = [
        (0x0021, "IPv4"),
        (0x0057, "IPv6"),
        (0x8021, "IPCP"),
        (0xc021, "LCP"),
        (0xc223, "CHAP"),
        (0x1234, "0x1234"),
    ];
    for (number, name) in names {
        assert_eq!(shown(number), name);
        assert_eq!(format!("{:?}", Protocol(number)), name);
    }
    // Every name is one protocol's.
    let named = (0..=u16::MAX).filter_map(|number| Protocol(number).name());
    let names: Vec<_> = named.collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), distinct.len());
    assert!(names.len() >= 19, "{names:?}");
}
