//! What we encode decodes to the same thing, whatever it is; and nothing that comes in makes a decoder panic.

use proptest::prelude::*;
use wire::Writer;
use wire::l2tp::{
    AccessLine, AccessLineType, Attribute, AttributeType, Avp, Avps, CallErrors, ControlHeader,
    DataHeader, DisconnectCause, DisconnectCode, ErrorCode, Extension, Header, LoopEncapsulation,
    MessageType, ModemStatus, ProxyAuthenType, Q931Cause, Q931CauseCode, ResultCode, Sequence,
    SpeedUpdate, TransmissionMaps, VpiVci,
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
                    code: Q931CauseCode(short),
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

fn extension() -> impl Strategy<Value = Attribute<'static>> {
    use Extension as E;
    let numbers = (any::<u16>(), any::<u32>(), any::<u32>(), any::<bool>());
    (0..18_u16, numbers, any::<[u8; 20]>(), 1..OCTETS.len()).prop_map(
        |(which, (short, long, other, set), array, len)| {
            let octets = &OCTETS[..len];
            let extension = match which {
                0 => E::RxMinimumBps(long),
                1 => E::RxMaximumBps(long),
                2 => E::ServiceCategory { real_time: set },
                3 => E::ServiceName(octets),
                4 => E::CallingSubAddress(array),
                5 => E::VpiVci(VpiVci {
                    vpi: short & 0x0fff,
                    vci: long as u16,
                }),
                6 => E::DisconnectCause(DisconnectCause {
                    code: DisconnectCode(short),
                    protocol: long as u16,
                    direction: array[0],
                    message: octets,
                }),
                7 => E::ControlConnectionDs(short),
                8 => E::SessionDs(short),
                9 => E::LcpWantOptions(octets),
                10 => E::LcpAllowOptions(octets),
                11 => E::LnsLastSentLcpConfReq(octets),
                12 => E::LnsLastReceivedLcpConfReq(octets),
                13 => E::ModemOnHoldCapable,
                14 => E::ModemOnHoldStatus(ModemStatus {
                    on_hold: set,
                    timeout: array[0] & 0x0f,
                }),
                15 => E::ConnectSpeedUpdate(SpeedUpdate {
                    session_id: short,
                    tx: long,
                    rx: other,
                }),
                16 => E::ConnectSpeedUpdateEnable,
                _ => E::EcnCapability,
            };
            Attribute::Extension(extension)
        },
    )
}

fn access_line() -> impl Strategy<Value = AccessLine<'static>> {
    use AccessLine as A;
    let numbers = (any::<u64>(), any::<[u8; 3]>(), any::<bool>());
    (0..19_u16, numbers, 2..OCTETS.len()).prop_map(|(which, (long, array, set), len)| {
        let octets = &OCTETS[..len];
        match which {
            0 => A::AgentCircuitId(octets),
            1 => A::AgentRemoteId(octets),
            2..=11 => A::Rate(AccessLineType(127 + which), long),
            12..=15 => A::Delay(AccessLineType(127 + which), long as u32),
            16 => A::LoopEncapsulation(LoopEncapsulation {
                data_link: array[0],
                encapsulation_1: array[1],
                encapsulation_2: array[2],
            }),
            17 => A::LineType(array[0]),
            _ => A::IwfSession(set),
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
    fn attributes(attributes in proptest::collection::vec(prop_oneof![attribute(), extension()], 0..20)) {
        let mut buf = [0; 4096];
        let mut w = Writer::new(&mut buf);
        for attribute in &attributes {
            attribute.encode(&mut w).unwrap();
        }
        let decoded: Vec<_> = Avps::new(w.written())
            .map(|avp| {
                let avp = avp.unwrap();
                let attribute = avp.attribute_type().unwrap();
                assert_eq!(avp.name(), attribute.text());
                let decoded = Attribute::decode(attribute, avp.value).unwrap().unwrap();
                assert_eq!(avp.mandatory, decoded.is_mandatory());
                decoded
            })
            .collect();
        prop_assert_eq!(decoded, attributes);
    }

    #[test]
    fn access_lines(attributes in proptest::collection::vec(access_line(), 0..20)) {
        let mut buf = [0; 4096];
        let mut w = Writer::new(&mut buf);
        for attribute in &attributes {
            attribute.encode(&mut w).unwrap();
        }
        let decoded: Vec<_> = Avps::new(w.written())
            .map(|avp| {
                let avp = avp.unwrap();
                assert!(!avp.mandatory && avp.may_be_hidden());
                assert_eq!(avp.attribute_type(), None);
                AccessLine::decode(avp.access_line_type().unwrap(), avp.value).unwrap().unwrap()
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
    fn anything_decodes_or_is_refused(octets: Vec<u8>, attribute in 0..256_u16) {
        let _ = Header::decode(&octets);
        let _ = AccessLine::decode(AccessLineType(attribute), &octets);
        let _ = Attribute::decode(AttributeType(attribute), &octets);
        prop_assert!(Avps::new(&octets).count() <= octets.len());
    }
}

#[test]
fn a_value_of_another_length_is_refused_where_the_length_is_fixed() {
    for attribute in [
        0, 2, 3, 4, 5, 6, 9, 10, 13, 14, 15, 16, 17, 18, 19, 24, 25, 29, 32, 34, 35, 38, 39, 40,
        41, 42, 44, 45, 47, 48, 53, 54, 97, 98, 103,
    ] {
        let fits = (0..=40)
            .filter(|&len| Attribute::decode(AttributeType(attribute), &[0; 40][..len]).is_ok());
        assert_eq!(fits.count(), 1, "{attribute}");
    }
    for attribute in [7, 11, 43] {
        assert!(
            Attribute::decode(AttributeType(attribute), &[]).is_err(),
            "{attribute}"
        );
    }
    for attribute in (129..=142).chain([144, 145, 254]) {
        let fits = (0..=40)
            .filter(|&len| AccessLine::decode(AccessLineType(attribute), &[0; 40][..len]).is_ok());
        assert_eq!(fits.count(), 1, "{attribute}");
    }
    for len in [0, 1, 64] {
        assert!(AccessLine::decode(AccessLineType::AGENT_CIRCUIT_ID, &[0; 64][..len]).is_err());
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
fn an_attribute_that_is_not_supported_stays_an_avp() {
    for attribute in [20, 55, 76, 102, 0xffff] {
        assert_eq!(Attribute::decode(AttributeType(attribute), b"x"), Ok(None));
        assert!(!AttributeType(attribute).is_supported());
        assert!(!AttributeType(attribute).may_be_hidden());
    }
    for attribute in [0, 3, 128, 143, 255] {
        assert_eq!(
            AccessLine::decode(AccessLineType(attribute), b"xxxx"),
            Ok(None)
        );
    }
}

#[test]
fn an_attribute_of_a_vendor_is_not_the_ietfs_of_the_same_number() {
    let avp = |vendor_id, attribute| Avp {
        mandatory: true,
        hidden: false,
        reserved: 0,
        vendor_id,
        attribute,
        value: b"xx",
    };
    let kinds = |avp: Avp<'_>| (avp.attribute_type(), avp.access_line_type(), avp.name());
    assert_eq!(
        kinds(avp(0, 1)),
        (Some(AttributeType(1)), None, Some("Result Code"))
    );
    assert_eq!(
        kinds(avp(3561, 1)),
        (None, Some(AccessLineType(1)), Some("Agent-Circuit-Id"))
    );
    assert_eq!(kinds(avp(9, 1)), (None, None, None));
    assert!(!avp(9, 9).may_be_hidden() && !avp(3561, 9).may_be_hidden());
}

#[test]
fn messages_of_later_rfcs_need_not_be_known() {
    for number in 0..40 {
        let message_type = MessageType(number);
        assert_eq!(message_type.is_mandatory(), number <= 16, "{message_type}");
        let known = message_type.is_supported();
        assert!(!known || message_type.text().is_some(), "{message_type}");
        assert!(known || !message_type.is_about_session(), "{message_type}");
    }
}
