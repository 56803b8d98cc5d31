//! The control connection's state machine (RFC 2661 section 7.2), tunnel authentication and HELLO.

mod common;

use std::time::Duration;

use common::{
    Message, Pair, Puppet, config, encode, encode_raw, icrq, introduction, just, sccrq,
    secret_config, stop_ccn, with_avp,
};
use l2tp::{
    EndedBy, Event, SccrqError, StopReason, TunnelConfig, TunnelState, assigned_tunnel_id,
    decode_sccrq,
};
use wire::DecodeError;
use wire::l2tp::{Attribute, AttributeType, Avp, ControlHeader, MessageType};

const SECOND: Duration = Duration::from_secs(1);

const NO_HEADER: ControlHeader = ControlHeader {
    tunnel_id: 0,
    session_id: 0,
    ns: 0,
    nr: 0,
};

fn avp(mandatory: bool, vendor_id: u16, attribute: u16, value: &[u8]) -> Avp<'_> {
    Avp {
        mandatory,
        hidden: false,
        reserved: 0,
        vendor_id,
        attribute,
        value,
    }
}

#[test]
fn two_tunnels_introduce_themselves() {
    let lns = TunnelConfig {
        host_name: "lns.example".into(),
        vendor_name: "us".into(),
        rx_window: 5,
        ..config()
    };
    let mut pair = Pair::new(config(), lns, 1);
    pair.run(SECOND);
    assert_eq!(pair.states(), [TunnelState::Established; 2]);
    assert_eq!(
        pair.events,
        [vec![Event::Established], vec![Event::Established]]
    );
    assert_eq!(
        (pair.lac().peer_id(), pair.lns().peer_id()),
        (common::LNS_ID, common::LAC_ID)
    );
    let peer = pair.lac().peer().unwrap();
    assert_eq!(
        (
            peer.host_name.as_str(),
            peer.vendor_name.as_str(),
            peer.rx_window
        ),
        ("lns.example", "us", 5)
    );
    assert_eq!(pair.lns().peer().unwrap().host_name, "lac.example");
    assert_eq!(pair.lac().transport_stats().window, 5);
    let types: Vec<_> = pair
        .sent
        .iter()
        .map(|(_, from, m)| (*from, m.message_type))
        .collect();
    let expected = [
        (0, Some(MessageType::SCCRQ)),
        (1, Some(MessageType::SCCRP)),
        (0, Some(MessageType::SCCCN)),
        (1, None),
    ];
    assert_eq!(types, expected);
}

#[test]
fn a_peers_tunnel_id_is_in_every_header_as_soon_as_it_is_known() {
    let mut pair = Pair::new(config(), config(), 1);
    pair.run(SECOND);
    let ids: Vec<_> = pair
        .sent
        .iter()
        .map(|(_, _, m)| m.header.tunnel_id)
        .collect();
    assert_eq!(ids, [0, common::LAC_ID, common::LNS_ID, common::LAC_ID]);
}

#[test]
fn both_ends_prove_that_they_know_the_secret() {
    for (lac_challenges, lns_challenges) in [(true, true), (true, false), (false, true)] {
        let with = |challenge| TunnelConfig {
            challenge,
            ..secret_config("s3cret")
        };
        let mut pair = Pair::new(with(lac_challenges), with(lns_challenges), 1);
        pair.run(SECOND);
        assert_eq!(pair.states(), [TunnelState::Established; 2]);
    }
}

#[test]
fn a_wrong_secret_at_either_end_is_found_by_whoever_challenges() {
    let quiet = |secret: &str| TunnelConfig {
        challenge: false,
        ..secret_config(secret)
    };
    for (lac, lns, judge) in [
        (secret_config("one"), secret_config("other"), 0),
        (secret_config("one"), quiet("other"), 0),
        (quiet("one"), secret_config("other"), 1),
        (
            TunnelConfig {
                challenge: true,
                ..config()
            },
            secret_config("other"),
            0,
        ),
    ] {
        let mut pair = Pair::new(lac, lns, 1);
        pair.run(SECOND);
        assert_eq!(pair.states(), [TunnelState::Closing; 2]);
        let (_, from, stop) = pair
            .sent
            .iter()
            .find(|(_, _, m)| m.message_type == Some(MessageType::STOP_CCN))
            .unwrap();
        assert_eq!((*from, stop.result().0), (judge, 4));
        let troubles = &pair.tunnels[judge].as_ref().unwrap().counters().troubles;
        assert_eq!(troubles.authentication_failures, 1);
        let Some(Event::Closed { reason }) = pair.events[1 - judge].last() else {
            panic!("{:?}", pair.events)
        };
        assert_eq!(reason.by, EndedBy::Peer);
        assert!(reason.to_string().contains("not authorized"), "{reason}");
    }
}

#[test]
fn a_challenge_that_nobody_answers_fails() {
    let (mut puppet, sent) = Puppet::originator(secret_config("s3cret"));
    assert!(
        sent.attributes()
            .any(|attribute| matches!(attribute, Attribute::Challenge(c) if c.len() == 16))
    );
    puppet.send(0, &introduction(MessageType::SCCRP, 77));
    assert_eq!(puppet.stopped().0, 4);

    let (mut puppet, _) = Puppet::receiver(secret_config("s3cret"), &sccrq(77));
    puppet.send(0, &just(MessageType::SCCCN));
    assert_eq!(puppet.stopped().0, 4);
}

#[test]
fn a_challenge_is_answered_even_where_we_make_none() {
    let mut with_challenge = sccrq(77);
    with_challenge.push(Attribute::Challenge(b"prove it"));
    let (_, sccrp) = Puppet::receiver(
        TunnelConfig {
            challenge: false,
            ..secret_config("s3cret")
        },
        &with_challenge,
    );
    let expected = crypto::chap::response(2, b"s3cret", b"prove it");
    assert!(
        sccrp
            .attributes()
            .any(|attribute| attribute == Attribute::ChallengeResponse(expected))
    );
    assert!(
        !sccrp
            .attributes()
            .any(|attribute| matches!(attribute, Attribute::Challenge(_)))
    );
}

#[test]
fn a_challenge_that_we_have_no_secret_for_ends_the_tunnel() {
    let mut with_challenge = sccrq(77);
    with_challenge.push(Attribute::Challenge(b"prove it"));
    let stop = Puppet::refused(config(), &with_challenge);
    assert_eq!(stop.message_type, Some(MessageType::STOP_CCN));
    assert_eq!((stop.result().0, stop.header.tunnel_id), (4, 77));
}

#[test]
fn messages_that_a_state_does_not_allow_end_the_tunnel() {
    use MessageType as M;
    let fails = |mut puppet: Puppet, message: &[Attribute<'_>]| {
        puppet.send(0, message);
        assert_eq!(puppet.stopped().0, 7, "{message:?}");
        assert_eq!(puppet.end().by, EndedBy::PeerFault);
        assert_eq!(puppet.tunnel.counters().troubles.unexpected_messages, 1);
    };
    let sessions = [
        icrq(5),
        just(M::ICRP),
        just(M::ICCN),
        just(M::OCRQ),
        just(M::CDN),
        just(M::WEN),
        just(M::SLI),
    ];
    for message in [just(M::SCCCN), sccrq(77)]
        .into_iter()
        .chain(sessions.clone())
    {
        fails(Puppet::originator(config()).0, &message);
    }
    for message in [introduction(M::SCCRP, 77), sccrq(77)]
        .into_iter()
        .chain(sessions)
    {
        fails(Puppet::receiver(config(), &sccrq(77)).0, &message);
    }
    for message in [just(M::SCCCN), introduction(M::SCCRP, 77), sccrq(77)] {
        fails(Puppet::established_originator(config()), &message);
        fails(Puppet::established_receiver(config()), &message);
    }
}

#[test]
fn a_call_cannot_slip_in_before_the_challenge_is_answered() {
    let (mut puppet, _) = Puppet::receiver(secret_config("s3cret"), &sccrq(77));
    puppet.send(0, &icrq(5));
    assert_eq!(puppet.take_types(), [Some(MessageType::STOP_CCN)]);
    assert!(
        puppet
            .events()
            .iter()
            .all(|event| matches!(event, Event::Closed { .. }))
    );
}

#[test]
fn hello_is_welcome_in_every_state() {
    let puppets = [
        Puppet::originator(config()).0,
        Puppet::receiver(config(), &sccrq(77)).0,
        Puppet::established_originator(config()),
        Puppet::established_receiver(config()),
    ];
    for mut puppet in puppets {
        let state = puppet.tunnel.state();
        puppet.send(0, &just(MessageType::HELLO));
        assert_eq!(puppet.tunnel.state(), state);
        assert_eq!(puppet.tunnel.counters().received.hello, 1);
    }
}

#[test]
fn tunnel_id_0_ends_the_tunnel_at_once() {
    for sccrp in [
        introduction(MessageType::SCCRP, 0),
        just(MessageType::SCCRP),
    ] {
        let (mut puppet, _) = Puppet::originator(config());
        puppet.send(0, &sccrp);
        let stop = puppet.take_one();
        assert_eq!(stop.message_type, Some(MessageType::STOP_CCN));
        assert_eq!(
            (stop.header.tunnel_id, stop.result().0, stop.result().1),
            (0, 2, Some(3))
        );
        assert!(
            stop.attributes()
                .any(|attribute| attribute == Attribute::AssignedTunnelId(common::LAC_ID))
        );
    }
    let datagram = encode(&NO_HEADER, &sccrq(0));
    assert_eq!(decode_sccrq(&datagram).unwrap_err(), SccrqError::NoTunnelId);
}

#[test]
fn introductions_that_lack_something_or_say_nonsense_are_refused() {
    type Change = fn(&mut Vec<Attribute<'static>>);
    let changes: [(Change, u16, Option<u16>); 6] = [
        (
            |m| m.retain(|a| !matches!(a, Attribute::HostName(_))),
            2,
            Some(3),
        ),
        (
            |m| m.retain(|a| !matches!(a, Attribute::ProtocolVersion(..))),
            2,
            Some(3),
        ),
        (
            |m| m.retain(|a| !matches!(a, Attribute::FramingCapabilities(_))),
            2,
            Some(3),
        ),
        (|m| m.push(Attribute::ReceiveWindowSize(0)), 2, Some(3)),
        (|m| m.push(Attribute::ProtocolVersion(2, 0)), 5, Some(0x100)),
        (|m| m.push(Attribute::ProtocolVersion(0, 9)), 5, Some(0x100)),
    ];
    for (change, result, error) in changes {
        let mut message = sccrq(77);
        change(&mut message);
        let stop = Puppet::refused(config(), &message);
        assert_eq!(
            (stop.result().0, stop.result().1),
            (result, error),
            "{message:?}"
        );

        let mut message = introduction(MessageType::SCCRP, 77);
        change(&mut message);
        let (mut puppet, _) = Puppet::originator(config());
        puppet.send(0, &message);
        let stopped = puppet.stopped();
        assert_eq!((stopped.0, stopped.1), (result, error), "{message:?}");
    }
}

#[test]
fn another_revision_of_the_protocol_is_fine() {
    let mut message = sccrq(77);
    message.push(Attribute::ProtocolVersion(1, 3));
    assert_eq!(
        Puppet::receiver(config(), &message).1.message_type,
        Some(MessageType::SCCRP)
    );
}

#[test]
fn an_unknown_mandatory_avp_ends_the_tunnel_with_error_8_and_its_number() {
    for (vendor_id, attribute, text) in [
        (0, 99, "attribute 99"),
        (0, 76, "attribute 76"),
        (9, 9, "attribute 9 of vendor 9"),
        (3561, 3, "attribute 3 of vendor 3561"),
    ] {
        let mut puppet = Puppet::established_receiver(config());
        let message = with_avp(
            &just(MessageType::HELLO),
            &avp(true, vendor_id, attribute, b"?"),
        );
        puppet.send_raw(0, &message);
        assert_eq!(puppet.stopped(), (2, Some(8), text.into()));

        let message = with_avp(&sccrq(77), &avp(true, vendor_id, attribute, b"?"));
        let datagram = encode_raw(&NO_HEADER, &message);
        let sccrq = decode_sccrq(&datagram).unwrap();
        assert_eq!(sccrq.peer.unwrap_err().error.unwrap().0, 8);
    }
}

#[test]
fn a_reserved_bit_makes_an_avp_an_unknown_one() {
    let known = avp(true, 0, 7, b"host");
    let mut puppet = Puppet::established_receiver(config());
    puppet.send_raw(
        0,
        &with_avp(
            &just(MessageType::HELLO),
            &Avp {
                reserved: 1,
                ..known
            },
        ),
    );
    assert_eq!(puppet.stopped().1, Some(8));
    let mut puppet = Puppet::established_receiver(config());
    puppet.send_raw(
        0,
        &with_avp(
            &just(MessageType::HELLO),
            &Avp {
                reserved: 1,
                mandatory: false,
                ..known
            },
        ),
    );
    assert_eq!(puppet.tunnel.counters().troubles.ignored_avps, 1);
}

#[test]
fn avps_that_are_unknown_or_malformed_and_not_mandatory_are_ignored_and_counted() {
    let mut puppet = Puppet::established_receiver(config());
    // Vendor 9's attribute 9 is no Assigned Tunnel ID.
    puppet.send_raw(
        0,
        &with_avp(&just(MessageType::HELLO), &avp(false, 9, 9, b"toolong")),
    );
    // Rx Connect Speed in two octets: the RFC's own example.
    puppet.send_raw(
        0,
        &with_avp(&just(MessageType::HELLO), &avp(false, 0, 38, &[1, 2])),
    );
    assert_eq!(puppet.tunnel.state(), TunnelState::Established);
    let troubles = &puppet.tunnel.counters().troubles;
    assert_eq!(
        (troubles.ignored_avps, troubles.ignored_malformed_avps),
        (1, 1)
    );
}

#[test]
fn a_malformed_mandatory_avp_ends_the_tunnel() {
    let mut puppet = Puppet::established_receiver(config());
    puppet.send_raw(
        0,
        &with_avp(&just(MessageType::HELLO), &avp(true, 0, 9, &[1])),
    );
    let (result, error, _) = puppet.stopped();
    assert_eq!((result, error), (2, Some(2)));
}

#[test]
fn an_avp_of_length_0_ends_the_tunnel_and_nothing_loops() {
    let mut puppet = Puppet::established_receiver(config());
    puppet.send_raw(
        0,
        &[0x80, 8, 0, 0, 0, 0, 0, 6, 0x80, 0, 0x12, 0x34, 0, 1, 0, 0],
    );
    assert_eq!(puppet.stopped().1, Some(2));
}

#[test]
fn zeros_after_the_last_avp_are_no_fault() {
    let mut puppet = Puppet::established_receiver(config());
    puppet.send_raw(0, &[0x80, 8, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(puppet.tunnel.state(), TunnelState::Established);
    assert_eq!(puppet.tunnel.counters().received.hello, 1);
}

#[test]
fn a_message_whose_first_avp_is_not_its_type_ends_the_tunnel() {
    let mut puppet = Puppet::established_receiver(config());
    puppet.send(
        0,
        &[
            Attribute::HostName(b"first"),
            Attribute::MessageType(MessageType::HELLO),
        ],
    );
    assert_eq!(puppet.stopped().1, Some(3));
}

#[test]
fn an_unknown_message_type_ends_the_tunnel_if_it_is_mandatory() {
    for message_type in [0_u16, 5, 13, 18, 99, 0xffff] {
        let value = message_type.to_be_bytes();
        let mut puppet = Puppet::established_receiver(config());
        puppet.send_raw(0, &with_avp(&[], &avp(false, 0, 0, &value)));
        assert_eq!(puppet.tunnel.state(), TunnelState::Established);
        assert_eq!(puppet.tunnel.counters().received.unknown, 1);
        puppet.send_raw(0, &with_avp(&[], &avp(true, 0, 0, &value)));
        let (result, error, text) = puppet.stopped();
        assert_eq!((result, error), (2, Some(8)));
        assert!(text.contains(&message_type.to_string()), "{text}");
    }
}

#[test]
fn a_stop_ccn_ends_the_tunnel_in_every_state_however_badly_it_is_put() {
    let puppets = || {
        [
            Puppet::originator(config()).0,
            Puppet::receiver(config(), &sccrq(77)).0,
            Puppet::established_originator(config()),
            Puppet::established_receiver(config()),
        ]
    };
    for mut puppet in puppets() {
        puppet.send(0, &stop_ccn(77));
        let end = puppet.end();
        assert_eq!((end.by, end.reason.result.0), (EndedBy::Peer, 6));
        assert_eq!(puppet.take_types(), [None]);
    }
    for mut puppet in puppets() {
        puppet.send_raw(
            0,
            &with_avp(&just(MessageType::STOP_CCN), &avp(true, 77, 77, b"?")),
        );
        assert_eq!(puppet.end().by, EndedBy::Peer);
        assert_eq!(puppet.take_types(), [None]);
    }
}

#[test]
fn a_peer_that_never_learned_our_id_can_still_end_its_tunnel() {
    let (mut puppet, _) = Puppet::receiver(config(), &sccrq(77));
    let header = ControlHeader { ns: 1, ..NO_HEADER };
    let datagram = encode(&header, &stop_ccn(77));
    assert_eq!(assigned_tunnel_id(&datagram), Some(77));
    puppet.deliver(&datagram);
    assert_eq!(puppet.end().by, EndedBy::Peer);
}

#[test]
fn an_sccrq_with_two_tunnel_ids_is_found_again_by_the_one_that_is_answered() {
    // The first can't be read, or is another one: both readers must choose the same.
    let two = avp(true, 0, AttributeType::ASSIGNED_TUNNEL_ID.0, &[0, 0, 0, 8]);
    let one = avp(true, 0, AttributeType::ASSIGNED_TUNNEL_ID.0, &[0, 8]);
    for first in [two, one] {
        let mut avps = with_avp(&just(MessageType::SCCRQ), &first);
        avps.extend(with_avp(&sccrq(77)[1..], &avp(false, 0, 8, b"vendor")));
        let datagram = encode_raw(&NO_HEADER, &avps);
        assert_eq!(decode_sccrq(&datagram).unwrap().assigned_tunnel_id, 77);
        assert_eq!(assigned_tunnel_id(&datagram), Some(77));
    }
}

#[test]
fn the_stop_ccn_that_answers_an_sccrq_is_acknowledged_to_the_tunnel_that_it_names() {
    let (mut puppet, _) = Puppet::originator(config());
    puppet.send(0, &stop_ccn(77));
    assert_eq!(puppet.end().by, EndedBy::Peer);
    assert_eq!(puppet.take_one().header.tunnel_id, 77);
}

#[test]
fn a_refusal_answers_one_sccrq_and_needs_no_tunnel() {
    let datagram = encode(&NO_HEADER, &sccrq(77));
    let sccrq = decode_sccrq(&datagram).unwrap();
    let reason = StopReason::not_authorized("who are you?");
    let (datagram, counters) = sccrq.refuse(9, &reason);
    let stop = Message::new(&datagram);
    assert_eq!(stop.result(), (4, Some(0), "who are you?".into()));
    assert_eq!(
        (stop.header.tunnel_id, stop.header.ns, stop.header.nr),
        (77, 0, 1)
    );
    assert!(
        stop.attributes()
            .any(|attribute| attribute == Attribute::AssignedTunnelId(9))
    );
    assert_eq!((counters.received.sccrq, counters.sent.stop_ccn), (1, 1));
}

#[test]
fn a_tunnel_that_is_not_established_in_time_is_ended() {
    let hurried = TunnelConfig {
        establish_timeout: Some(3 * SECOND),
        ..config()
    };
    let (mut puppet, _) = Puppet::receiver(hurried, &sccrq(77));
    puppet.acknowledge();
    let messages = puppet.wait(3 * SECOND);
    assert_eq!(
        messages.last().unwrap().message_type,
        Some(MessageType::STOP_CCN)
    );
    assert_eq!(puppet.end().by, EndedBy::Timeout);
}

#[test]
fn hello_goes_out_when_the_peer_was_silent_and_only_then() {
    let mut puppet = Puppet::established_receiver(config());
    let quiet: Vec<_> = puppet
        .wait(59 * SECOND)
        .into_iter()
        .filter_map(|m| m.message_type)
        .collect();
    assert_eq!(quiet, []);
    let hello = puppet.wait(SECOND);
    assert_eq!(hello[0].message_type, Some(MessageType::HELLO));
    assert_eq!(hello[0].header.session_id, 0);
    puppet.acknowledge();
    // Control and data messages both count as life.
    for _ in 0..5 {
        puppet.wait(30 * SECOND);
        puppet.tunnel.data_received(1, puppet.now);
    }
    assert_eq!(puppet.tunnel.counters().sent.hello, 1);
    puppet.wait(59 * SECOND);
    assert_eq!(puppet.tunnel.counters().sent.hello, 1);
    puppet.wait(2 * SECOND);
    assert_eq!(puppet.tunnel.counters().sent.hello, 2);
}

#[test]
fn a_peer_that_does_not_acknowledge_a_hello_is_gone() {
    let mut puppet = Puppet::established_receiver(config());
    puppet.wait(60 * SECOND);
    puppet.wait(31 * SECOND);
    assert_eq!(puppet.tunnel.state(), TunnelState::Released);
    assert_eq!(puppet.end().by, EndedBy::Timeout);
    assert_eq!(puppet.tunnel.counters().sent.hello, 1);
}

#[test]
fn no_hello_where_none_is_wanted() {
    for hello_interval in [None, Some(Duration::ZERO)] {
        let mut puppet = Puppet::established_receiver(TunnelConfig {
            hello_interval,
            ..config()
        });
        puppet.wait(SECOND);
        assert_eq!(puppet.tunnel.next_timeout(), None);
    }
}

#[test]
fn what_is_no_sccrq_is_told_from_one() {
    assert_eq!(
        decode_sccrq(&encode(&NO_HEADER, &just(MessageType::SCCCN))).unwrap_err(),
        SccrqError::NotSccrq
    );
    assert_eq!(
        decode_sccrq(&encode(&NO_HEADER, &[])).unwrap_err(),
        SccrqError::NotSccrq
    );
    assert_eq!(
        decode_sccrq(&[0, 2, 0, 1, 0, 1, 0xc0]).unwrap_err(),
        SccrqError::NotSccrq
    );
    let l2tpv3 = [0xc8, 3, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(
        decode_sccrq(&l2tpv3),
        Err(SccrqError::Header(DecodeError::BadValue { .. }))
    ));
}

#[test]
fn closing_twice_says_one_stop_ccn() {
    let mut puppet = Puppet::established_receiver(config());
    puppet.tunnel.close(StopReason::clear(""));
    puppet.tunnel.close(StopReason::clear(""));
    assert_eq!(puppet.take_types(), [Some(MessageType::STOP_CCN)]);
    assert_eq!(puppet.end().by, EndedBy::Local);
}
