//! The codecs: what decodes is written and read back as the same.

use std::fmt::Debug;

use wire::l2tp::{
    AccessLine, AccessLineType, Attribute, AttributeType, Avps, DataHeader, Header, Version,
};
use wire::ppp::{
    CcpOption, ChapPacket, Compression, Echo, Frame, IpcpOption, Ipv6cpOption, LcpOption,
    MsChapV1Failure, MsChapV1Response, MsChapV2Failure, MsChapV2Response, MsChapV2Success, Packet,
    PapPacket, ProtocolReject, RawOption,
};
use wire::{BufferFull, DecodeError, Writer, readable};

/// What `write` writes. There is room for anything that was decoded.
fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>) -> Vec<u8> {
    let mut buf = vec![0; 0x2_0000];
    let mut w = Writer::new(&mut buf);
    write(&mut w).expect("what was decoded can be encoded");
    w.written().to_vec()
}

/// Every datagram's header.
pub(crate) fn l2tp_header(octets: &[u8]) {
    let _ = Version::of(octets);
    let decoded = Header::decode(octets);
    let data = DataHeader::decode(octets);
    match decoded {
        Ok((Header::Data(header), payload)) => {
            let (same, place) = data.expect("both decoders take a data message");
            assert_eq!((same, &octets[place]), (header, payload));
            let again = written(|w| {
                header.encode(payload.len(), w)?;
                w.bytes(payload)
            });
            assert_eq!(Header::decode(&again), decoded);
        }
        Ok((Header::Control(header), payload)) => {
            assert!(data.is_err(), "a control message is no data message");
            let again = written(|w| {
                header.encode(payload.len(), w)?;
                w.bytes(payload)
            });
            assert_eq!(Header::decode(&again), decoded);
        }
        Err(_) => assert!(data.is_err(), "neither decoder takes it"),
    }
}

/// What people read stays on its line and is not endless, whatever a peer says.
fn one_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.len() < 0x1_0000, "{} octets", text.len());
}

/// A control message's AVPs, each as it is and as what it means.
pub(crate) fn l2tp_avps(octets: &[u8]) {
    one_line(&readable::message_name(octets));
    for avp in readable::avps(octets).flatten() {
        one_line(&avp.name);
        one_line(&avp.value);
    }
    for avp in Avps::new(octets) {
        let Ok(avp) = avp else { break };
        let again = written(|w| avp.encode(w));
        assert_eq!(Avps::new(&again).next(), Some(Ok(avp)));
        let attribute = AttributeType(avp.attribute);
        if let Ok(Some(decoded)) = Attribute::decode(attribute, avp.value) {
            assert_eq!(decoded.attribute_type(), attribute);
            let value = written(|w| decoded.encode_value(w));
            assert_eq!(Attribute::decode(attribute, &value), Ok(Some(decoded)));
        }
        let attribute = AccessLineType(avp.attribute);
        if let Ok(Some(decoded)) = AccessLine::decode(attribute, avp.value) {
            assert_eq!(decoded.attribute_type(), attribute);
            let value = written(|w| decoded.encode_value(w));
            assert_eq!(AccessLine::decode(attribute, &value), Ok(Some(decoded)));
        }
    }
}

/// A frame, and all ways to compress its header.
pub(crate) fn ppp_frame(octets: &[u8]) {
    let shown = readable::frame(octets);
    one_line(&shown.name);
    one_line(&shown.text);
    let Ok(frame) = Frame::decode(octets) else {
        return;
    };
    for bits in 0..4 {
        let compression = Compression {
            address_control: bits & 1 != 0,
            protocol: bits & 2 != 0,
        };
        // A protocol that the rules forbid has no form that could be told from others.
        if frame.protocol.0 & 0x101 == 1 {
            let again = written(|w| frame.encode(compression, w));
            assert_eq!(Frame::decode(&again), Ok(frame));
        }
    }
}

/// A packet, its options as they are, and the packets of LCP that have none.
pub(crate) fn ppp_packet(octets: &[u8]) {
    let Ok(packet) = Packet::decode(octets) else {
        return;
    };
    let again = written(|w| packet.encode(w));
    assert_eq!(Packet::decode(&again), Ok(packet));
    if let Ok(echo) = Echo::decode(packet.data) {
        assert_eq!(written(|w| echo.encode(w)), packet.data);
    }
    if let Ok(reject) = ProtocolReject::decode(packet.data) {
        assert_eq!(written(|w| reject.encode(w)), packet.data);
    }
    each_option(octets, Ok, RawOption::encode);
}

/// LCP's options.
pub(crate) fn ppp_lcp(octets: &[u8]) {
    each_option(octets, LcpOption::decode, LcpOption::encode);
}

/// IPCP's options.
pub(crate) fn ppp_ipcp(octets: &[u8]) {
    each_option(octets, IpcpOption::decode, IpcpOption::encode);
}

/// IPv6CP's options.
pub(crate) fn ppp_ipv6cp(octets: &[u8]) {
    each_option(octets, Ipv6cpOption::decode, Ipv6cpOption::encode);
}

/// CCP's options.
pub(crate) fn ppp_ccp(octets: &[u8]) {
    each_option(octets, CcpOption::decode, CcpOption::encode);
}

/// An option that is understood is written as the octets that it came as: each has one form.
fn each_option<'a, T: Debug>(
    octets: &'a [u8],
    decode: impl Fn(RawOption<'a>) -> Result<T, DecodeError>,
    encode: impl Fn(&T, &mut Writer<'_>) -> Result<(), BufferFull>,
) {
    let Ok(packet) = Packet::decode(octets) else {
        return;
    };
    let mut length = 0;
    for option in packet.options() {
        let Ok(raw) = option else { return };
        length += raw.data.len() + 2;
        if let Ok(option) = decode(raw) {
            let again = written(|w| encode(&option, w));
            assert_eq!(again, written(|w| raw.encode(w)), "{option:?}");
        }
    }
    assert_eq!(length, packet.data.len(), "the options are all there is");
}

/// PAP's packets.
pub(crate) fn ppp_pap(octets: &[u8]) {
    let Ok(packet) = Packet::decode(octets) else {
        return;
    };
    if let Ok(pap) = PapPacket::decode(&packet) {
        let again = written(|w| pap.encode(packet.identifier, w));
        let again = Packet::decode(&again).expect("a packet");
        assert_eq!(again.identifier, packet.identifier);
        assert_eq!(PapPacket::decode(&again), Ok(pap));
    }
}

/// CHAP's packets, and what MS-CHAPv2 says in them.
pub(crate) fn ppp_chap(octets: &[u8]) {
    let Ok(packet) = Packet::decode(octets) else {
        return;
    };
    let Ok(chap) = ChapPacket::decode(&packet) else {
        return;
    };
    let again = written(|w| chap.encode(packet.identifier, w));
    assert_eq!(
        Packet::decode(&again).map(|p| ChapPacket::decode(&p)),
        Ok(Ok(chap))
    );
    match chap {
        ChapPacket::Challenge(_) => {}
        ChapPacket::Response(response) => {
            if let Ok(response) = MsChapV1Response::decode(response.value) {
                assert_eq!(MsChapV1Response::decode(&response.encode()), Ok(response));
            }
            if let Ok(response) = MsChapV2Response::decode(response.value) {
                assert_eq!(MsChapV2Response::decode(&response.encode()), Ok(response));
            }
        }
        ChapPacket::Success(message) => {
            if let Ok(success) = MsChapV2Success::decode(message) {
                let again = written(|w| success.encode(w));
                assert_eq!(MsChapV2Success::decode(&again), Ok(success));
            }
        }
        ChapPacket::Failure(message) => {
            let failure = MsChapV1Failure::decode(message);
            let again = written(|w| failure.encode(w));
            assert_eq!(MsChapV1Failure::decode(&again), failure);
            let failure = MsChapV2Failure::decode(message);
            let again = written(|w| failure.encode(w));
            assert_eq!(MsChapV2Failure::decode(&again), failure);
        }
    }
}
