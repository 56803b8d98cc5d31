//! PPP control packets: what is written reads back, and nothing that is read panics.
#![allow(clippy::unwrap_used, reason = "tests only")]

use proptest::prelude::*;
use wire::ppp::{
    CcpOption, ChapPacket, ChapValue, Echo, IpcpOption, Ipv6cpOption, LcpOption, MppeBits,
    MppeHeader, MsChapV1Failure, MsChapV1Response, MsChapV2Failure, MsChapV2Response,
    MsChapV2Success, Packet, PapPacket, Protocol, ProtocolReject, RawOption,
};
use wire::{BufferFull, DecodeError, Writer};

fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>) -> Vec<u8> {
    let mut buf = [0; 2048];
    let mut w = Writer::new(&mut buf);
    write(&mut w).unwrap();
    w.written().to_vec()
}

/// Every decoder there is.
fn decode_all(octets: &[u8]) {
    let _ = (Echo::decode(octets), ProtocolReject::decode(octets));
    let _ = (
        MsChapV2Success::decode(octets),
        MsChapV2Failure::decode(octets),
        MsChapV1Failure::decode(octets),
    );
    let _ = MsChapV2Response::decode(octets);
    let _ = MsChapV1Response::decode(octets);
    let Ok(packet) = Packet::decode(octets) else {
        return;
    };
    let _ = (PapPacket::decode(&packet), ChapPacket::decode(&packet));
    for option in packet.options().flatten() {
        let _ = (LcpOption::decode(option), IpcpOption::decode(option));
        let _ = Ipv6cpOption::decode(option);
    }
}

#[test]
fn the_length_field_rules_and_what_follows_is_padding() {
    let packet = Packet::decode(&[1, 7, 0, 6, 8, 2, 0xff, 0xff]).unwrap();
    assert_eq!(
        packet,
        Packet {
            code: 1,
            identifier: 7,
            data: &[8, 2]
        }
    );
    assert_eq!(
        Packet::decode(&[1, 7, 0, 3, 0]),
        Err(DecodeError::BadLength {
            what: "PPP packet",
            length: 3
        })
    );
    assert!(Packet::decode(&[1, 7, 0, 9, 8, 2]).is_err());
}

#[test]
fn options_end_at_the_first_wrong_length() {
    let packet = Packet {
        code: 1,
        identifier: 1,
        data: &[7, 2, 8, 1, 8, 2],
    };
    let mut options = packet.options();
    assert_eq!(options.next(), Some(Ok(RawOption { kind: 7, data: &[] })));
    assert_eq!(
        options.next(),
        Some(Err(DecodeError::BadLength {
            what: "PPP option",
            length: 1
        }))
    );
    assert_eq!(options.next(), None);
}

#[test]
fn a_known_option_has_one_length() {
    let wrong = |kind, data| LcpOption::decode(RawOption { kind, data }).is_err();
    assert!(wrong(1, &[5]) && wrong(2, &[0; 3]) && wrong(3, &[0xc2]) && wrong(5, &[0; 5]));
    assert!(wrong(7, &[0]) && wrong(8, &[0]));
    assert!(
        IpcpOption::decode(RawOption {
            kind: 3,
            data: &[10, 0, 0]
        })
        .is_err()
    );
    assert!(
        Ipv6cpOption::decode(RawOption {
            kind: 1,
            data: &[0; 7]
        })
        .is_err()
    );
    assert!(
        CcpOption::decode(RawOption {
            kind: 18,
            data: &[0; 3]
        })
        .is_err()
    );
}

/// RFC 3078 section 2: the bits, most significant octet first.
#[test]
fn mppe_is_asked_for_bit_by_bit() {
    let data = &[1, 0, 0, 0x60];
    let option = CcpOption::decode(RawOption { kind: 18, data });
    let bits = MppeBits::STATELESS | MppeBits::KEYS_128 | MppeBits::KEYS_40;
    assert_eq!(option, Ok(CcpOption::Mppe(bits)));
    // What nobody knows is kept.
    let data = &[0xfe, 1, 2, 0x91];
    let raw = RawOption { kind: 18, data };
    let option = CcpOption::decode(raw).unwrap();
    assert_eq!(written(|w| option.encode(w)), written(|w| raw.encode(w)));
}

/// RFC 3078 section 3.1.
#[test]
fn an_encrypted_packet_says_its_place() {
    let (header, rest) = MppeHeader::decode(&[0x9f, 0xff, 7]).unwrap();
    let said = MppeHeader {
        flushed: true,
        encrypted: true,
        count: 0xfff,
    };
    assert_eq!((header, rest), (said, &[7][..]));
    assert_eq!(written(|w| header.encode(w)), [0x9f, 0xff]);
    let (header, rest) = MppeHeader::decode(&[0x61, 0x23]).unwrap();
    assert!(!header.flushed && !header.encrypted && rest.is_empty());
    assert_eq!(header.count, 0x123);
    assert!(MppeHeader::decode(&[0x90]).is_err());
}

#[test]
fn pap_answers_may_lack_the_message() {
    let ack = Packet {
        code: 2,
        identifier: 1,
        data: &[],
    };
    assert_eq!(PapPacket::decode(&ack), Ok(PapPacket::Ack(&[])));
    let request = PapPacket::Request {
        peer_id: b"u0",
        password: b"pw",
    };
    assert_eq!(
        written(|w| request.encode(9, w)),
        *b"\x01\x09\x00\x0a\x02u0\x02pw"
    );
    assert_eq!(format!("{request:?}"), "Request(\"u0\", ..)");
}

#[test]
fn a_chap_value_is_never_empty() {
    let empty = Packet {
        code: 1,
        identifier: 1,
        data: b"\x00name",
    };
    assert!(ChapPacket::decode(&empty).is_err());
    let short = Packet {
        code: 2,
        identifier: 1,
        data: b"\x10name",
    };
    assert!(ChapPacket::decode(&short).is_err());
}

#[test]
fn ms_chap_v2_messages_read_back() {
    let success = MsChapV2Success {
        authenticator_response: [0x4a; 20],
        message: b"Welcome E=1",
    };
    let text = written(|w| success.encode(w));
    assert_eq!(
        text,
        format!("S={} M=Welcome E=1", "4A".repeat(20)).as_bytes()
    );
    assert_eq!(MsChapV2Success::decode(&text), Ok(success));
    let failure = MsChapV2Failure {
        error: 691,
        retry: true,
        challenge: Some([0xc0; 16]),
        version: MsChapV2Failure::VERSION,
        message: b"no R=0 such user",
    };
    let text = written(|w| failure.encode(w));
    assert_eq!(
        text,
        format!("E=691 R=1 C={} V=3 M=no R=0 such user", "C0".repeat(16)).as_bytes()
    );
    assert_eq!(MsChapV2Failure::decode(&text), failure);
}

#[test]
fn ms_chap_v1_messages_read_back() {
    let mut failure = MsChapV1Failure {
        error: 691,
        retry: false,
        challenge: Some([0xc0; 8]),
        version: MsChapV1Failure::VERSION,
        message: b"no such user",
    };
    for (challenge, text) in [
        (
            failure.challenge,
            "E=691 R=0 C=C0C0C0C0C0C0C0C0 V=2 M=no such user",
        ),
        (None, "E=691 R=0 V=2 M=no such user"),
    ] {
        failure.challenge = challenge;
        let written = written(|w| failure.encode(w));
        assert_eq!(written, text.as_bytes());
        assert_eq!(MsChapV1Failure::decode(&written), failure);
    }
    // As other people's servers write it.
    let failure = MsChapV1Failure::decode(b"E=0000000646 R=1");
    assert_eq!((failure.error, failure.retry), (646, true));
    assert_eq!((failure.challenge, failure.version), (None, 1));
}

#[test]
fn an_ms_chap_v1_response_says_which_of_its_halves_counts() {
    let nt_response = [0x17; 24];
    let mut value = [0; MsChapV1Response::LENGTH];
    value[24..48].fill(0x17);
    for (flag, use_nt) in [(1, true), (0, false)] {
        value[48] = flag;
        let response = MsChapV1Response {
            nt_response,
            use_nt,
        };
        assert_eq!(MsChapV1Response::decode(&value), Ok(response));
        assert_eq!(response.encode(), value);
    }
    // What the LAN Manager's half says is neither read nor written.
    value[..24].fill(0x99);
    let read = MsChapV1Response::decode(&value).unwrap();
    assert_eq!(read.encode()[..24], [0; 24]);
    for length in (0..MsChapV1Response::LENGTH).chain([50]) {
        assert!(MsChapV1Response::decode(&vec![1; length]).is_err());
    }
}

#[test]
fn ms_chap_v2_messages_of_others_are_read_where_they_can_be() {
    // Without a message, in lower case, with the fields in another order.
    let success = format!("S={}", "4a".repeat(20));
    assert!(MsChapV2Success::decode(success.as_bytes()).is_ok());
    assert!(MsChapV2Success::decode(&success.as_bytes()[..41]).is_err());
    assert!(MsChapV2Success::decode(b"M=S=").is_err());
    let failure = MsChapV2Failure::decode(b"R=0 E=648 V=3");
    assert_eq!(
        (failure.error, failure.retry, failure.challenge),
        (648, false, None)
    );
    assert_eq!(
        MsChapV2Failure::decode(b"E=99999999999999 C=zz").challenge,
        None
    );
    assert_eq!(MsChapV2Failure::decode(b"").error, 0);
}

#[test]
fn fields_that_do_not_fit_their_length_are_refused() {
    let long = [0; 256];
    let mut buf = [0; 2048];
    let mut w = Writer::new(&mut buf);
    assert!(PapPacket::Ack(&long).encode(1, &mut w).is_err());
    let value = ChapValue {
        value: &long,
        name: &[],
    };
    assert!(ChapPacket::Challenge(value).encode(1, &mut w).is_err());
    assert!(
        RawOption {
            kind: 1,
            data: &long[..254]
        }
        .encode(&mut w)
        .is_err()
    );
    let auth = LcpOption::Authentication {
        protocol: Protocol::CHAP,
        data: &long[..252],
    };
    assert!(auth.encode(&mut w).is_err());
}

fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=most)
}

proptest! {
    #[test]
    fn packets_read_back(code: u8, identifier: u8, data in octets(300), padding in octets(8)) {
        let packet = Packet { code, identifier, data: &data };
        let mut octets = written(|w| packet.encode(w));
        for cut in 0..octets.len() {
            prop_assert!(Packet::decode(&octets[..cut]).is_err());
        }
        octets.extend_from_slice(&padding);
        prop_assert_eq!(Packet::decode(&octets), Ok(packet));
    }

    #[test]
    fn options_read_back(options in prop::collection::vec((any::<u8>(), octets(40)), 0..20)) {
        let raw: Vec<_> = options.iter().map(|(kind, data)| RawOption { kind: *kind, data }).collect();
        let data = written(|w| raw.iter().try_for_each(|option| option.encode(w)));
        let packet = Packet { code: 1, identifier: 1, data: &data };
        let read: Result<Vec<_>, _> = packet.options().collect();
        prop_assert_eq!(read, Ok(raw.clone()));
        // And interpreted ones keep every octet.
        for option in raw {
            let plain = written(|w| option.encode(w));
            if let Ok(known) = LcpOption::decode(option) {
                prop_assert_eq!(written(|w| known.encode(w)), plain.clone());
            }
            if let Ok(known) = IpcpOption::decode(option) {
                prop_assert_eq!(written(|w| known.encode(w)), plain.clone());
            }
            if let Ok(known) = Ipv6cpOption::decode(option) {
                prop_assert_eq!(written(|w| known.encode(w)), plain.clone());
            }
            if let Ok(known) = CcpOption::decode(option) {
                prop_assert_eq!(written(|w| known.encode(w)), plain);
            }
        }
    }

    #[test]
    fn authentication_packets_read_back(
        id: u8, first in octets(255), second in octets(255), value in prop::collection::vec(any::<u8>(), 1..=255),
    ) {
        let chap = ChapValue { value: &value, name: &second };
        for packet in [ChapPacket::Challenge(chap), ChapPacket::Response(chap), ChapPacket::Success(&second), ChapPacket::Failure(&first)] {
            let octets = written(|w| packet.encode(id, w));
            let header = Packet::decode(&octets).unwrap();
            prop_assert_eq!((header.identifier, ChapPacket::decode(&header)), (id, Ok(packet)));
        }
        for packet in [PapPacket::Request { peer_id: &first, password: &second }, PapPacket::Ack(&first), PapPacket::Nak(&second)] {
            let octets = written(|w| packet.encode(id, w));
            let header = Packet::decode(&octets).unwrap();
            prop_assert_eq!((header.identifier, PapPacket::decode(&header)), (id, Ok(packet)));
        }
    }

    #[test]
    fn ms_chap_v1_values_read_back(
        nt_response: [u8; 24], use_nt: bool, error: u32, retry: bool, challenge: Option<[u8; 8]>, message in octets(60),
    ) {
        let response = MsChapV1Response { nt_response, use_nt };
        prop_assert_eq!(MsChapV1Response::decode(&response.encode()), Ok(response));
        let failure = MsChapV1Failure { error, retry, challenge, version: 2, message: &message };
        let text = written(|w| failure.encode(w));
        prop_assert_eq!(MsChapV1Failure::decode(&text), failure);
    }

    #[test]
    fn ms_chap_v2_values_read_back(
        peer_challenge: [u8; 16], nt_response: [u8; 24], authenticator_response: [u8; 20], message in octets(60),
    ) {
        let response = MsChapV2Response { peer_challenge, nt_response };
        prop_assert_eq!(MsChapV2Response::decode(&response.encode()), Ok(response));
        let success = MsChapV2Success { authenticator_response, message: &message };
        let text = written(|w| success.encode(w));
        prop_assert_eq!(MsChapV2Success::decode(&text), Ok(success));
    }

    #[test]
    fn any_octets_decode_or_fail(octets in octets(120)) {
        decode_all(&octets);
        // With a length that fits, so that the inside is seen too.
        if octets.len() >= 4 {
            let mut fitting = octets;
            let length = u16::try_from(fitting.len()).unwrap().to_be_bytes();
            fitting[2..4].copy_from_slice(&length);
            fitting[0] %= 12;
            decode_all(&fitting);
        }
    }
}
