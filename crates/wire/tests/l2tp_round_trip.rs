//! What we encode decodes to the same thing, whatever it is; and nothing that comes in makes a decoder panic.

use proptest::prelude::*;
use wire::Writer;
use wire::l2tp::{
    Attribute, AttributeType, Avp, Avps, CallErrors, ControlHeader, DataHeader, ErrorCode, Header,
    MessageType, ProxyAuthenType, Q931Cause, ResultCode, Sequence, TransmissionMaps,
};

/// Octets that the generated attributes borrow: text without zeros at its end.
const OCTETS: &[u8] = b"an octet string with a \0 inside";

fn attribute() -> impl Strategy<Value = Attribute<'static>> {
    use Attribute as A;
    (
        0..40_u16,
        any::<u16>(),
        any::<u32>(),
        any::<[u8; 16]>(),
        1..OCTETS.len(),
    )
        .prop_map(|(which, short, long, array, len)| {
            let octets = &OCTETS[..len];
            match which {
                0 => A::MessageType(MessageType(short)),
                1 => A::ResultCode(ResultCode {
                    result: short,
                    error: None,
                    message: &[],
                }),
                2 => A::ProtocolVersion(array[0], array[1]),
                3 => A::FramingCapabilities(long.into()),
                4 => A::BearerCapabilities(long.into()),
                5 => A::TieBreaker(u64::from(long) << 16),
                6 => A::FirmwareRevision(short),
                7 => A::HostName(octets),
                8 => A::VendorName(octets),
                9 => A::AssignedTunnelId(short),
                10 => A::ReceiveWindowSize(short),
                11 => A::Challenge(octets),
                12 => A::Q931CauseCode(Q931Cause {
                    code: short,
                    message: array[0],
                    advisory: octets,
                }),
                13 => A::ChallengeResponse(array),
                14 => A::AssignedSessionId(short),
                15 => A::CallSerialNumber(long),
                16 => A::MinimumBps(long),
                17 => A::MaximumBps(long),
                18 => A::BearerType(long.into()),
                19 => A::FramingType(long.into()),
                20 => A::ResultCode(ResultCode {
                    result: short,
                    error: Some(ErrorCode(8)),
                    message: b"why",
                }),
                21 => A::CalledNumber(octets),
                22 => A::CallingNumber(octets),
                23 => A::SubAddress(octets),
                24 => A::TxConnectSpeed(long),
                25 => A::PhysicalChannelId(long),
                26 => A::InitialReceivedLcpConfReq(octets),
                27 => A::LastSentLcpConfReq(octets),
                28 => A::LastReceivedLcpConfReq(octets),
                29 => A::ProxyAuthenType(ProxyAuthenType(short)),
                30 => A::ProxyAuthenName(octets),
                31 => A::ProxyAuthenChallenge(octets),
                32 => A::ProxyAuthenId(array[0]),
                33 => A::ProxyAuthenResponse(octets),
                34 => A::CallErrors(CallErrors {
                    crc: long,
                    alignment: !long,
                    ..CallErrors::default()
                }),
                35 => A::Accm(TransmissionMaps {
                    send: long,
                    receive: !long,
                }),
                36 => A::RandomVector(octets),
                37 => A::PrivateGroupId(octets),
                38 => A::RxConnectSpeed(long),
                _ => A::SequencingRequired,
            }
        })
}

prop_compose! {
    fn avp()(
        mandatory: bool,
        hidden: bool,
        reserved in 0..16_u8,
        vendor_id: u16,
        attribute: u16,
        len in 0..OCTETS.len(),
    ) -> Avp<'static> {
        Avp { mandatory, hidden, reserved, vendor_id, attribute, value: &OCTETS[..len] }
    }
}

prop_compose! {
    fn data_header()(
        tunnel_id: u16,
        session_id: u16,
        sequence in proptest::option::of((any::<u16>(), any::<u16>())),
        offset in proptest::option::of(0..100_u16),
        has_length: bool,
        priority: bool,
    ) -> DataHeader {
        let sequence = sequence.map(|(ns, nr)| Sequence { ns, nr });
        DataHeader { tunnel_id, session_id, sequence, offset, has_length, priority }
    }
}

proptest! {
    #[test]
    fn attributes(attributes in proptest::collection::vec(attribute(), 0..20)) {
        let mut buf = [0; 4096];
        let mut w = Writer::new(&mut buf);
        for attribute in &attributes {
            attribute.encode(&mut w).unwrap();
        }
        let decoded: Vec<_> = Avps::new(w.written())
            .map(|avp| {
                let avp = avp.unwrap();
                let attribute = avp.attribute_type().unwrap();
                assert_eq!(avp.mandatory, attribute.is_mandatory());
                Attribute::decode(attribute, avp.value).unwrap().unwrap()
            })
            .collect();
        prop_assert_eq!(decoded, attributes);
    }

    #[test]
    fn raw_avps(avps in proptest::collection::vec(avp(), 0..20)) {
        let mut buf = [0; 4096];
        let mut w = Writer::new(&mut buf);
        for avp in &avps {
            avp.encode(&mut w).unwrap();
        }
        prop_assert_eq!(Avps::new(w.written()).collect::<Result<Vec<_>, _>>(), Ok(avps));
    }

    #[test]
    fn data_headers(header in data_header(), payload: Vec<u8>) {
        let mut buf = vec![0; 256 + payload.len()];
        let mut w = Writer::new(&mut buf);
        header.encode(payload.len(), &mut w).unwrap();
        w.bytes(&payload).unwrap();
        prop_assert_eq!(Header::decode(w.written()), Ok((Header::Data(header), &payload[..])));
    }

    #[test]
    fn control_headers(ids: [u16; 4], payload: Vec<u8>) {
        let [tunnel_id, session_id, ns, nr] = ids;
        let header = ControlHeader { tunnel_id, session_id, ns, nr };
        let mut buf = vec![0; 12 + payload.len()];
        let mut w = Writer::new(&mut buf);
        header.encode(payload.len(), &mut w).unwrap();
        w.bytes(&payload).unwrap();
        prop_assert_eq!(Header::decode(w.written()), Ok((Header::Control(header), &payload[..])));
    }

    #[test]
    fn anything_decodes_or_is_refused(octets: Vec<u8>, attribute in 0..50_u16) {
        let _ = Header::decode(&octets);
        let _ = Attribute::decode(AttributeType(attribute), &octets);
        prop_assert!(Avps::new(&octets).count() <= octets.len());
    }
}

#[test]
fn a_value_of_another_length_is_refused_where_the_length_is_fixed() {
    for attribute in [
        0, 2, 3, 4, 5, 6, 9, 10, 13, 14, 15, 16, 17, 18, 19, 24, 25, 29, 32, 34, 35, 38, 39,
    ] {
        let fits = (0..=40)
            .filter(|&len| Attribute::decode(AttributeType(attribute), &[0; 40][..len]).is_ok());
        assert_eq!(fits.count(), 1, "{attribute}");
    }
    for attribute in [7, 11] {
        assert!(
            Attribute::decode(AttributeType(attribute), &[]).is_err(),
            "{attribute}"
        );
    }
}

#[test]
fn a_result_code_comes_in_three_lengths() {
    let decode = |value| match Attribute::decode(AttributeType::RESULT_CODE, value) {
        Ok(Some(Attribute::ResultCode(code))) => {
            Some((code.result, code.error.map(|e| e.0), code.message))
        }
        _ => None,
    };
    assert_eq!(decode(&[0, 1]), Some((1, None, &b""[..])));
    assert_eq!(decode(&[0, 2, 0, 6]), Some((2, Some(6), &b""[..])));
    assert_eq!(
        decode(b"\0\x02\0\x06text\0"),
        Some((2, Some(6), &b"text"[..]))
    );
    assert_eq!(decode(&[0]), None);
    assert_eq!(decode(&[0, 1, 0]), None);
}

#[test]
fn an_attribute_that_rfc_2661_does_not_define_stays_an_avp() {
    for attribute in [20, 40, 46, 103, 0xffff] {
        assert_eq!(Attribute::decode(AttributeType(attribute), b"x"), Ok(None));
        assert!(!AttributeType(attribute).may_be_hidden());
    }
}
