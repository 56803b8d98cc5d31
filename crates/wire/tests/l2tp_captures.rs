//! What other daemons really send: it all decodes, and encodes to the same octets again.

#[path = "../../../tests/captures/frames.rs"]
mod frames;

use wire::Writer;
use wire::l2tp::{Attribute, Avps, Header, MessageType};

/// Frames whose encoding differs from ours, each with the reason: there are none. What is hidden stays as it is here; opening it is
/// cryptography's business.
const NOT_CANONICAL: [(&str, usize); 0] = [];

#[test]
fn every_control_message_encodes_to_the_same_octets_again() {
    let mut different = Vec::new();
    let mut messages = 0;
    for name in frames::names() {
        for frame in frames::control(&name) {
            let (Header::Control(header), payload) = Header::decode(&frame.payload).unwrap() else {
                panic!("{name} {} is no control message", frame.number)
            };
            let mut buf = [0; 2048];
            let mut w = Writer::new(&mut buf);
            header.encode(payload.len(), &mut w).unwrap();
            for avp in Avps::new(payload) {
                let avp = avp.unwrap_or_else(|e| panic!("{name} {}: {e}", frame.number));
                let known = avp.attribute_type().filter(|_| !avp.hidden);
                match known.and_then(|attribute| Attribute::decode(attribute, avp.value).unwrap()) {
                    Some(attribute) => attribute.encode(&mut w).unwrap(),
                    None => avp.encode(&mut w).unwrap(),
                }
            }
            messages += 1;
            if w.written() != frame.payload {
                different.push((name.clone(), frame.number));
            }
        }
    }
    let not_canonical = NOT_CANONICAL.map(|(name, number)| (name.to_owned(), number));
    assert_eq!(different, not_canonical);
    assert!(
        messages > 300,
        "only {messages} control messages were found"
    );
}

#[test]
fn every_message_begins_with_its_type() {
    for name in frames::names() {
        for frame in frames::control(&name) {
            let (_, payload) = Header::decode(&frame.payload).unwrap();
            // A ZLB has no AVPs.
            let Some(first) = Avps::new(payload).next() else {
                continue;
            };
            let first = first.unwrap();
            let attribute = Attribute::decode(first.attribute_type().unwrap(), first.value);
            let Ok(Some(Attribute::MessageType(message_type))) = attribute else {
                panic!("{name} {} begins with {first:?}", frame.number)
            };
            assert_ne!(
                message_type.text(),
                None,
                "{name} {}: {message_type:?}",
                frame.number
            );
            assert_ne!(
                message_type,
                MessageType::HELLO,
                "the captures' README is wrong"
            );
        }
    }
}

#[test]
fn every_data_message_encodes_to_the_same_octets_again() {
    let mut messages = 0;
    for name in frames::names() {
        for frame in frames::read(&name) {
            let Ok((Header::Data(header), payload)) = Header::decode(&frame.payload) else {
                continue;
            };
            let mut buf = [0; 2048];
            let mut w = Writer::new(&mut buf);
            header.encode(payload.len(), &mut w).unwrap();
            w.bytes(payload).unwrap();
            assert_eq!(w.written(), frame.payload, "{name} {}", frame.number);
            messages += 1;
        }
    }
    assert!(messages > 300, "only {messages} data messages were found");
}

#[test]
fn no_truncation_and_no_changed_octet_panics() {
    for name in frames::names() {
        for frame in frames::read(&name) {
            for len in 0..frame.payload.len() {
                decode_all(&frame.payload[..len]);
            }
            let mut changed = frame.payload;
            for at in 0..changed.len() {
                for mask in [0x01, 0x80, 0xff] {
                    changed[at] ^= mask;
                    decode_all(&changed);
                    changed[at] ^= mask;
                }
            }
        }
    }
}

fn decode_all(datagram: &[u8]) {
    let Ok((Header::Control(_), payload)) = Header::decode(datagram) else {
        return;
    };
    for avp in Avps::new(payload).flatten() {
        if let Some(attribute) = avp.attribute_type() {
            let _ = Attribute::decode(attribute, avp.value);
        }
    }
}
