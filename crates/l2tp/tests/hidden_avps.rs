//! Hidden AVPs (RFC 2661 section 4.3), sent and received.

mod common;

use std::time::Duration;

use common::{
    Pair, Puppet, call_params, config, encode, encode_raw, introduction, just, secret_config,
    with_avp,
};
use crypto::{Secret, hiding};
use l2tp::{Event, SccrqError, TunnelConfig, TunnelState, open_sccrq};
use wire::l2tp::{Attribute, AttributeType, Avp, ControlHeader, MessageType};

const SECOND: Duration = Duration::from_secs(1);

/// A tunnel of ours that knows the secret and demands nothing.
fn puppet() -> Puppet {
    Puppet::established_receiver(TunnelConfig {
        challenge: false,
        ..secret_config("s3cret")
    })
}

/// The value of a hidden AVP of type `attribute`.
fn hidden(attribute: AttributeType, secret: &str, vector: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    hiding::hide(
        attribute.0,
        secret.as_bytes(),
        vector,
        value,
        b"padding",
        &mut out,
    );
    out
}

fn hidden_avp(mandatory: bool, attribute: AttributeType, value: &[u8]) -> Avp<'_> {
    Avp {
        mandatory,
        hidden: true,
        reserved: 0,
        vendor_id: 0,
        attribute: attribute.0,
        value,
    }
}

#[test]
fn avps_are_hidden_where_that_is_wanted_and_open_at_the_other_end() {
    let hiding = TunnelConfig {
        hide_avps: true,
        vendor_name: "us".into(),
        ..secret_config("s3cret")
    };
    let mut pair = Pair::new(hiding.clone(), hiding, 1);
    pair.run(SECOND);
    let id = pair.place_call();
    pair.run(SECOND);
    let Some(Event::CallEstablished { call, .. }) = pair.events[1].last() else {
        panic!("{:?}", pair.events[1])
    };
    assert_eq!(call.params, call_params());
    assert_eq!(pair.lac().peer().unwrap().vendor_name, "us");
    pair.close_call(0, id);
    for (_, _, message) in &pair.sent {
        for avp in message.avps() {
            let attribute = avp.attribute_type().unwrap();
            let hides = !matches!(
                message.message_type,
                Some(MessageType::SCCRQ | MessageType::CDN)
            );
            assert_eq!(
                avp.hidden,
                hides && attribute.may_be_hidden(),
                "{attribute} of {:?}",
                message.message_type
            );
        }
    }
}

#[test]
fn nothing_is_hidden_without_a_secret() {
    let mut pair = Pair::new(
        config(),
        TunnelConfig {
            hide_avps: true,
            ..config()
        },
        1,
    );
    pair.run(SECOND);
    assert_eq!(pair.states(), [TunnelState::Established; 2]);
    assert!(
        pair.sent
            .iter()
            .all(|(_, _, message)| message.avps().all(|avp| !avp.hidden))
    );
}

#[test]
fn a_secret_that_differs_is_found_by_the_first_hidden_avp() {
    let lac = TunnelConfig {
        challenge: false,
        ..secret_config("one")
    };
    let lns = TunnelConfig {
        challenge: false,
        hide_avps: true,
        ..secret_config("other")
    };
    for lac in [lac, config()] {
        let mut pair = Pair::new(lac, lns.clone(), 1);
        pair.run(SECOND);
        assert_eq!(pair.states(), [TunnelState::Closing; 2]);
        assert_eq!(pair.lac().counters().troubles.malformed_messages, 1);
    }
}

#[test]
fn each_hidden_avp_goes_by_the_random_vector_before_it() {
    let number = hidden(
        AttributeType::CALLING_NUMBER,
        "s3cret",
        b"first vector",
        b"a number that takes two blocks",
    );
    let serial = hidden(
        AttributeType::CALL_SERIAL_NUMBER,
        "s3cret",
        b"2",
        &[0, 0, 0, 9],
    );
    let mut message = with_avp(
        &[
            Attribute::MessageType(MessageType::ICRQ),
            Attribute::AssignedSessionId(5),
            Attribute::RandomVector(b"first vector"),
        ],
        &hidden_avp(true, AttributeType::CALLING_NUMBER, &number),
    );
    message.extend(with_avp(
        &[Attribute::RandomVector(b"2")],
        &hidden_avp(true, AttributeType::CALL_SERIAL_NUMBER, &serial),
    ));
    let mut puppet = puppet();
    puppet.send_raw(0, &message);
    let Some(Event::CallRequested { session }) = puppet.tunnel.poll_event() else {
        panic!()
    };
    let params = &puppet
        .tunnel
        .call(session)
        .unwrap()
        .info
        .as_ref()
        .unwrap()
        .params;
    assert_eq!(params.serial_number, 9);
    assert_eq!(
        params.calling_number.as_deref(),
        Some("a number that takes two blocks")
    );
}

#[test]
fn a_hidden_avp_that_does_not_open_matters_if_it_is_mandatory() {
    let name = hidden(AttributeType::HOST_NAME, "s3cret", b"vector", b"host");
    let vendor = hidden(AttributeType::VENDOR_NAME, "s3cret", b"vector", b"vendor");
    let hello = just(MessageType::HELLO);
    let with_vector = [hello[0], Attribute::RandomVector(b"vector")];
    // No Random Vector before it; one that may not be hidden; too short to hold its own length.
    let cases = [
        (&hello[..], AttributeType::VENDOR_NAME, vendor.as_slice()),
        (&with_vector[..], AttributeType::HOST_NAME, name.as_slice()),
        (&with_vector[..], AttributeType::VENDOR_NAME, &b"x"[..]),
    ];
    for (before, attribute, value) in cases {
        let mut mandatory = puppet();
        mandatory.send_raw(0, &with_avp(before, &hidden_avp(true, attribute, value)));
        let (result, error, text) = mandatory.stopped();
        assert_eq!((result, error), (2, Some(3)));
        assert!(text.contains("hidden"), "{text}");

        let mut optional = puppet();
        optional.send_raw(0, &with_avp(before, &hidden_avp(false, attribute, value)));
        assert_eq!(optional.tunnel.state(), TunnelState::Established);
        assert_eq!(
            optional.tunnel.counters().troubles.ignored_malformed_avps,
            1
        );
    }
}

#[test]
fn a_hidden_avp_that_nobody_knows_is_an_unknown_one() {
    let mut puppet = puppet();
    puppet.send_raw(
        0,
        &with_avp(
            &just(MessageType::HELLO),
            &hidden_avp(true, AttributeType(99), b"whatever"),
        ),
    );
    assert_eq!(puppet.stopped(), (2, Some(8), "attribute 99".into()));
}

#[test]
fn an_sccrp_that_does_not_open_is_answered_where_its_sender_looks() {
    let vendor = hidden(AttributeType::VENDOR_NAME, "other", b"vector", b"vendor");
    let mut sccrp = common::introduction(MessageType::SCCRP, 77);
    sccrp.push(Attribute::RandomVector(b"vector"));
    let (mut puppet, _) = Puppet::originator(secret_config("s3cret"));
    let unreadable = hidden_avp(true, AttributeType::VENDOR_NAME, &vendor);
    puppet.send_raw(0, &with_avp(&sccrp, &unreadable));
    assert_eq!(puppet.take_one().header.tunnel_id, 77);
}

/// The header of an SCCRQ.
const FIRST: ControlHeader = ControlHeader {
    tunnel_id: 0,
    session_id: 0,
    ns: 0,
    nr: 0,
};

#[test]
fn hidden_avps_of_an_sccrq_open_with_the_secret_of_its_host_name() {
    let hide = |attribute, value: &[u8]| hidden(attribute, "s3cret", b"vector", value);
    let id = hide(AttributeType::ASSIGNED_TUNNEL_ID, &77_u16.to_be_bytes());
    let vendor = hide(AttributeType::VENDOR_NAME, b"them");
    let mut plain = introduction(MessageType::SCCRQ, 1);
    plain.retain(|avp| avp.attribute_type() != AttributeType::ASSIGNED_TUNNEL_ID);
    plain.push(Attribute::RandomVector(b"vector"));
    let mut avps = with_avp(
        &plain,
        &hidden_avp(true, AttributeType::ASSIGNED_TUNNEL_ID, &id),
    );
    avps.extend(with_avp(
        &[],
        &hidden_avp(true, AttributeType::VENDOR_NAME, &vendor),
    ));
    let datagram = encode_raw(&FIRST, &avps);

    let mut asked = String::new();
    let opened = open_sccrq(&datagram, |name| {
        name.clone_into(&mut asked);
        Some(Secret::from("s3cret"))
    });
    let sccrq = opened.unwrap();
    assert_eq!(sccrq.host_name, asked);
    assert_eq!(sccrq.assigned_tunnel_id, 77);
    assert_eq!(sccrq.peer.unwrap().vendor_name, "them");

    for secret in [None, Some(Secret::from("other"))] {
        let opened = open_sccrq(&datagram, |_| secret);
        assert_eq!(opened.unwrap_err(), SccrqError::NoTunnelId);
    }
}

#[test]
fn nobody_is_asked_for_the_secret_of_an_sccrq_that_hides_nothing() {
    let datagram = encode(&FIRST, &introduction(MessageType::SCCRQ, 77));
    let sccrq = open_sccrq(&datagram, |name| panic!("{name}")).unwrap();
    assert_eq!(sccrq.assigned_tunnel_id, 77);
}

#[test]
fn padding_conceals_how_long_a_hidden_value_is() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let hiding = TunnelConfig {
            hide_avps: true,
            ..secret_config("s3cret")
        };
        let mut pair = Pair::new(hiding.clone(), hiding, seed);
        pair.run(SECOND);
        pair.place_call();
        pair.run(SECOND);
        let avps = pair.sent.iter().flat_map(|(_, _, message)| message.avps());
        let ids = avps.filter(|avp| {
            avp.hidden && avp.attribute_type() == Some(AttributeType::ASSIGNED_SESSION_ID)
        });
        lengths.extend(ids.map(|avp| avp.value.len()));
    }
    // Two octets that say how long, two of the id, and the padding.
    assert!(lengths.len() > 4, "{lengths:?}");
    assert!(
        lengths.iter().all(|length| (4..=19).contains(length)),
        "{lengths:?}"
    );
}
