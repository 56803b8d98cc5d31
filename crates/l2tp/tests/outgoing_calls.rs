//! Outgoing calls, both halves (RFC 2661 section 7.5), on tunnels opened from either end.

#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::time::Duration;

use common::{Message, Network, Pair, Puppet, cdn, icrq, introduction, just, sccrq};
use l2tp::{
    Bearer, CallEnd, CallKind, CallParams, CallState, Disconnect, EndedBy, Event, Refused,
    StopReason, TunnelConfig, TunnelState,
};
use wire::l2tp::{Attribute, BearerTypes, FramingTypes, MessageType};

const SECOND: Duration = Duration::from_secs(1);

/// Makes a tunnel of ours with a call in some state.
type State = fn() -> (Puppet, u16);

/// Calls have to be established before the first HELLO.
fn config() -> TunnelConfig {
    TunnelConfig {
        call_establish_timeout: Some(20 * SECOND),
        bearer_capabilities: BearerTypes::all(),
        ..common::config()
    }
}

fn wanted() -> CallParams {
    CallParams {
        serial_number: 7,
        minimum_bps: Some(9_600),
        maximum_bps: Some(64_000),
        bearer_type: Some(BearerTypes::DIGITAL),
        framing_type: FramingTypes::SYNC,
        called_number: Some("5551234".into()),
        sub_address: Some("sub".into()),
        ..CallParams::default()
    }
}

fn bearer() -> Bearer {
    Bearer {
        framing_type: FramingTypes::all(),
        tx_connect_speed: 64_000,
        rx_connect_speed: Some(32_000),
        sequencing_required: false,
    }
}

fn ocrq(assigned: u16) -> Vec<Attribute<'static>> {
    vec![
        Attribute::MessageType(MessageType::OCRQ),
        Attribute::AssignedSessionId(assigned),
        Attribute::CallSerialNumber(1),
        Attribute::MinimumBps(0),
        Attribute::MaximumBps(1_000_000),
        Attribute::BearerType(BearerTypes::ANALOG),
        Attribute::FramingType(FramingTypes::SYNC),
        Attribute::CalledNumber(b"5551234"),
    ]
}

fn ocrp(assigned: u16) -> Vec<Attribute<'static>> {
    vec![
        Attribute::MessageType(MessageType::OCRP),
        Attribute::AssignedSessionId(assigned),
    ]
}

fn occn() -> Vec<Attribute<'static>> {
    vec![
        Attribute::MessageType(MessageType::OCCN),
        Attribute::TxConnectSpeed(64_000),
        Attribute::FramingType(FramingTypes::SYNC),
    ]
}

/// A tunnel of ours that a LAC which has these bearers opened.
fn served_lac(bearers: Option<BearerTypes>) -> Puppet {
    let mut sccrq = sccrq(77);
    sccrq.extend(bearers.map(Attribute::BearerCapabilities));
    let (mut puppet, _) = Puppet::receiver(config(), &sccrq);
    puppet.send(0, &just(MessageType::SCCCN));
    assert_eq!(puppet.events(), [Event::Established]);
    puppet
}

fn place(puppet: &mut Puppet, params: CallParams) -> Result<u16, Refused> {
    puppet
        .tunnel
        .place_outgoing_call(params, puppet.now, &mut puppet.rng)
}

/// An LNS of ours that has sent OCRQ, and its call.
fn wait_reply() -> (Puppet, u16) {
    let mut puppet = served_lac(Some(BearerTypes::all()));
    let id = place(&mut puppet, wanted()).unwrap();
    assert_eq!(puppet.take_one().message_type, Some(MessageType::OCRQ));
    (puppet, id)
}

/// An LNS of ours that got the OCRP; the puppet's id is 5.
fn wait_connect() -> (Puppet, u16) {
    let (mut puppet, id) = wait_reply();
    puppet.send(id, &ocrp(5));
    assert_eq!(puppet.events(), [Event::CallAnswered { session: id }]);
    assert_eq!(
        puppet.tunnel.call(id).unwrap().state,
        CallState::WaitConnect
    );
    (puppet, id)
}

fn lns_established() -> (Puppet, u16) {
    let (mut puppet, id) = wait_connect();
    puppet.send(id, &occn());
    let events = puppet.events();
    assert!(matches!(events[..], [Event::CallEstablished { .. }]));
    (puppet, id)
}

/// A LAC of ours that was sent an OCRQ, and its call; the puppet's id is 5.
fn requested() -> (Puppet, u16) {
    let mut puppet = Puppet::established_originator(config());
    puppet.send(0, &ocrq(5));
    let Some(Event::CallRequested { session }) = puppet.tunnel.poll_event() else {
        panic!()
    };
    puppet.acknowledge();
    (puppet, session)
}

fn wait_cs_answer() -> (Puppet, u16) {
    let (mut puppet, id) = requested();
    puppet
        .tunnel
        .accept_outgoing_call(id, Some(3), &mut puppet.rng);
    assert_eq!(puppet.take_one().message_type, Some(MessageType::OCRP));
    puppet.acknowledge();
    (puppet, id)
}

fn lac_established() -> (Puppet, u16) {
    let (mut puppet, id) = wait_cs_answer();
    puppet.tunnel.bearer_up(id, &bearer(), &mut puppet.rng);
    assert_eq!(puppet.take_one().message_type, Some(MessageType::OCCN));
    puppet.acknowledge();
    let events = puppet.events();
    assert!(matches!(events[..], [Event::CallEstablished { .. }]));
    (puppet, id)
}

/// The CDN that our tunnel sends now.
fn sent_cdn(puppet: &mut Puppet) -> Message {
    let messages = puppet.take();
    let cdn = messages
        .iter()
        .find(|m| m.message_type == Some(MessageType::CDN));
    cdn.unwrap_or_else(|| panic!("no CDN in {messages:?}"))
        .clone()
}

fn call_end(puppet: &mut Puppet) -> CallEnd {
    match puppet.events().pop() {
        Some(Event::CallClosed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// Places an outgoing call at `lns`, one end of a pair, and lets the other end accept it; both ends' ids.
fn call_across(pair: &mut Pair, lns: usize, params: CallParams) -> (u16, u16) {
    let (now, mut rng) = (pair.now, common::rng(9));
    let tunnel = pair.tunnels[lns].as_mut().unwrap();
    let id = tunnel.place_outgoing_call(params, now, &mut rng).unwrap();
    pair.settle();
    let deadline = pair.now + 60 * SECOND;
    let lac = 1 - lns;
    let mut peer_id = None;
    while pair.now < deadline && pair.established_calls(lac) + pair.established_calls(lns) < 2 {
        pair.run(SECOND / 10);
        let tunnel = pair.tunnels[lac].as_mut().unwrap();
        let call = tunnel.calls().next();
        let Some((call, state)) = call.map(|call| (call.session_id, call.state)) else {
            continue;
        };
        peer_id = Some(call);
        match state {
            CallState::Requested => tunnel.accept_outgoing_call(call, Some(3), &mut rng),
            CallState::WaitCsAnswer => tunnel.bearer_up(call, &bearer(), &mut rng),
            _ => {}
        }
        pair.settle();
    }
    (id, peer_id.unwrap())
}

fn established_info(pair: &Pair, end: usize) -> (u16, l2tp::CallInfo) {
    let found = pair.events[end].iter().find_map(|event| match event {
        Event::CallEstablished { session, call } => Some((*session, (**call).clone())),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{:?}", pair.events[end]))
}

#[test]
fn a_call_comes_up_with_all_that_was_said_about_it_on_tunnels_from_either_end() {
    for lns in [0, 1] {
        let mut pair = Pair::established(config(), config(), 1);
        let (lns_id, lac_id) = call_across(&mut pair, lns, wanted());
        let expected = CallParams {
            physical_channel_id: Some(3),
            tx_connect_speed: 64_000,
            rx_connect_speed: Some(32_000),
            ..wanted()
        };
        let ends = [
            (lns, lns_id, lac_id, CallKind::LnsOutgoing),
            (1 - lns, lac_id, lns_id, CallKind::LacOutgoing),
        ];
        for (end, id, peer_id, kind) in ends {
            let (session, info) = established_info(&pair, end);
            assert_eq!((session, info.peer_session_id), (id, peer_id));
            assert_eq!(info.params, expected);
            let call = pair.tunnels[end].as_ref().unwrap().call(id).unwrap();
            assert_eq!(
                (call.kind, call.state, call.peer_session_id),
                (kind, CallState::Established, peer_id)
            );
            assert_eq!((call.serial_number, &call.info), (7, &None));
        }
        let types: Vec<_> = pair
            .sent
            .iter()
            .filter_map(|(_, _, message)| message.message_type)
            .collect();
        use MessageType as M;
        assert_eq!(types, [M::OCRQ, M::OCRP, M::OCCN]);
    }
}

#[test]
fn hidden_avps_of_outgoing_calls_open_at_the_other_end() {
    let hiding = TunnelConfig {
        hide_avps: true,
        secret: Some("s3cret".into()),
        challenge: true,
        ..config()
    };
    let mut pair = Pair::established(hiding.clone(), hiding, 1);
    call_across(&mut pair, 1, wanted());
    let (_, info) = established_info(&pair, 0);
    assert_eq!(info.params.called_number.as_deref(), Some("5551234"));
    assert_eq!(info.params.minimum_bps, Some(9_600));
    let (_, info) = established_info(&pair, 1);
    assert_eq!(info.params.physical_channel_id, Some(3));
    for (_, _, message) in &pair.sent {
        for avp in message.avps() {
            let attribute = avp.attribute_type().unwrap();
            assert_eq!(avp.hidden, attribute.may_be_hidden(), "{attribute}");
        }
    }
}

#[test]
fn outgoing_calls_survive_a_network_that_loses_duplicates_and_reorders() {
    let patient = TunnelConfig {
        call_establish_timeout: None,
        max_retries: 20,
        ..config()
    };
    for seed in 0..20 {
        let mut pair = Pair::established(patient.clone(), patient.clone(), seed);
        pair.network = Network {
            loss: 25,
            duplication: 20,
            reordering: 20,
        };
        call_across(&mut pair, 1, wanted());
        for end in [0, 1] {
            assert_eq!(pair.established_calls(end), 1, "seed {seed}");
        }
    }
}

#[test]
fn an_outgoing_call_waits_for_its_tunnel() {
    let mut pair = Pair::new(config(), config(), 1);
    let (now, mut rng) = (pair.now, common::rng(9));
    let id = pair
        .lac()
        .place_outgoing_call(wanted(), now, &mut rng)
        .unwrap();
    assert_eq!(pair.lac().call(id).unwrap().state, CallState::WaitTunnel);
    pair.run(SECOND);
    assert_eq!(pair.lac().call(id).unwrap().state, CallState::WaitReply);
    assert_eq!(
        pair.lns().calls().next().unwrap().kind,
        CallKind::LacOutgoing
    );
    // One that is closed before is never spoken of.
    let (mut puppet, _) = Puppet::originator(config());
    let id = place(&mut puppet, wanted()).unwrap();
    puppet.tunnel.close_call(id, Disconnect::administrative(""));
    assert_eq!(call_end(&mut puppet).by, EndedBy::Local);
    puppet.send(0, &introduction(MessageType::SCCRP, 77));
    assert_eq!(puppet.take_types(), [Some(MessageType::SCCCN)]);
}

#[test]
fn either_end_closes_an_outgoing_call_by_the_others_session_id() {
    for closer in [0, 1] {
        let mut pair = Pair::established(config(), config(), 1);
        let (lns_id, lac_id) = call_across(&mut pair, 1, wanted());
        let (own, others) = [(lac_id, lns_id), (lns_id, lac_id)][closer];
        pair.close_call(closer, own);
        pair.run(SECOND);
        let cdn = pair.sent.iter().rev().map(|(_, _, m)| m);
        let cdn = cdn
            .clone()
            .find(|m| m.message_type == Some(MessageType::CDN));
        let cdn = cdn.unwrap();
        assert_eq!(
            (cdn.header.session_id, cdn.assigned_session_id()),
            (others, own)
        );
        for (end, by) in [(closer, EndedBy::Local), (1 - closer, EndedBy::Peer)] {
            let last = pair.events[end].last();
            assert!(
                matches!(last, Some(Event::CallClosed { reason, .. }) if reason.by == by),
                "{last:?}"
            );
            assert_eq!(pair.tunnels[end].as_ref().unwrap().call_count(), 0);
        }
    }
}

#[test]
fn the_bearer_fails_before_it_is_up() {
    let (mut puppet, id) = wait_cs_answer();
    puppet
        .tunnel
        .close_call(id, Disconnect::lost_carrier("no answer"));
    let cdn = sent_cdn(&mut puppet);
    assert_eq!(cdn.result(), (1, Some(0), "no answer".into()));
    assert_eq!((cdn.header.session_id, cdn.assigned_session_id()), (5, id));
    // It is too late for the bearer.
    puppet.tunnel.bearer_up(id, &bearer(), &mut puppet.rng);
    assert!(puppet.take_types().iter().all(Option::is_none));
}

#[test]
fn nothing_comes_of_decisions_that_are_not_asked_for() {
    let (mut puppet, id) = requested();
    puppet.tunnel.bearer_up(id, &bearer(), &mut puppet.rng);
    puppet.tunnel.accept_call(id, &mut puppet.rng);
    assert_eq!(puppet.tunnel.call(id).unwrap().state, CallState::Requested);
    let (mut established, id) = lac_established();
    established
        .tunnel
        .accept_outgoing_call(id, None, &mut established.rng);
    established
        .tunnel
        .bearer_up(id, &bearer(), &mut established.rng);
    established
        .tunnel
        .refuse_call(id, Disconnect::administrative(""));
    for puppet in [&mut puppet, &mut established] {
        assert!(puppet.take_types().iter().all(Option::is_none));
        assert_eq!(puppet.tunnel.call_count(), 1);
    }
}

#[test]
fn a_refused_outgoing_call_tells_the_lns_why() {
    let (mut puppet, id) = requested();
    puppet
        .tunnel
        .refuse_call(id, Disconnect::no_facilities("no line is free"));
    let cdn = sent_cdn(&mut puppet);
    assert_eq!(cdn.result(), (4, Some(0), "no line is free".into()));
    assert_eq!((cdn.header.session_id, cdn.assigned_session_id()), (5, id));
    assert_eq!(call_end(&mut puppet).by, EndedBy::Local);
}

#[test]
fn the_lns_hangs_up_while_the_owner_has_not_decided() {
    // It knows no id of ours, and names the call by its own.
    let (mut puppet, id) = requested();
    puppet.send(0, &cdn(5));
    assert_eq!(call_end(&mut puppet).by, EndedBy::Peer);
    puppet
        .tunnel
        .accept_outgoing_call(id, None, &mut puppet.rng);
    assert!(puppet.take_types().iter().all(Option::is_none));
    // So do we, as LNS.
    let (mut puppet, id) = wait_reply();
    puppet.tunnel.close_call(id, Disconnect::administrative(""));
    puppet.acknowledge();
    let cdn = sent_cdn(&mut puppet);
    assert_eq!((cdn.header.session_id, cdn.assigned_session_id()), (0, id));
    // The OCRP that crossed the CDN is for nobody.
    puppet.send(id, &ocrp(5));
    assert_eq!(puppet.tunnel.counters().troubles.unknown_sessions, 1);
    assert_eq!(puppet.tunnel.state(), TunnelState::Established);
}

#[test]
fn a_cdn_ends_an_outgoing_call_in_every_state_and_is_not_answered() {
    let all = [
        wait_reply(),
        wait_connect(),
        lns_established(),
        requested(),
        wait_cs_answer(),
        lac_established(),
    ];
    for (mut puppet, id) in all {
        puppet.send(id, &cdn(5));
        let end = call_end(&mut puppet);
        assert_eq!(
            (end.by, end.reason.message.as_str()),
            (EndedBy::Peer, "out of modems")
        );
        assert!(puppet.take_types().iter().all(Option::is_none));
        assert_eq!(puppet.tunnel.call_count(), 0);
    }
}

#[test]
fn messages_that_a_state_of_an_outgoing_call_does_not_allow_end_the_call_and_not_the_tunnel() {
    use MessageType as M;
    let all = [
        ocrq(5),
        ocrp(5),
        occn(),
        icrq(5),
        just(M::ICRP),
        just(M::ICCN),
    ];
    let states: [(State, M); 6] = [
        (wait_reply, M::OCRP),
        (wait_connect, M::OCCN),
        (lns_established, M(0)),
        (requested, M(0)),
        (wait_cs_answer, M(0)),
        (lac_established, M(0)),
    ];
    for (state, allowed) in states {
        for message in &all {
            if message[0] == Attribute::MessageType(allowed) {
                continue;
            }
            let (mut puppet, id) = state();
            puppet.acknowledge();
            puppet.send(id, message);
            assert_eq!(call_end(&mut puppet).by, EndedBy::PeerFault, "{message:?}");
            let cdn = sent_cdn(&mut puppet);
            assert_eq!(cdn.assigned_session_id(), id);
            assert_eq!((cdn.result().0, cdn.result().1), (2, Some(5)));
            assert_eq!(puppet.tunnel.counters().troubles.unexpected_messages, 1);
            assert_eq!(puppet.tunnel.state(), TunnelState::Established);
        }
    }
}

#[test]
fn a_repeated_ocrq_with_the_id_of_a_live_call_ends_that_call() {
    for (mut puppet, id) in [requested(), wait_cs_answer(), lac_established()] {
        puppet.send(0, &ocrq(5));
        assert_eq!(sent_cdn(&mut puppet).assigned_session_id(), id);
        assert_eq!(puppet.tunnel.call_count(), 0);
    }
}

#[test]
fn messages_for_outgoing_calls_that_are_not_are_ignored_and_counted() {
    let mut puppet = served_lac(Some(BearerTypes::all()));
    for message in [ocrp(5), occn(), cdn(5)] {
        puppet.send(4321, &message);
    }
    assert_eq!(puppet.tunnel.counters().troubles.unknown_sessions, 3);
    assert!(puppet.take_types().iter().all(Option::is_none));
}

#[test]
fn an_ocrq_that_lacks_something_is_answered_with_a_cdn_that_names_it() {
    for missing in 2..ocrq(5).len() {
        let mut puppet = Puppet::established_originator(config());
        let mut message = ocrq(5);
        let Attribute::MessageType(_) = message[0] else {
            panic!()
        };
        let name = message.remove(missing).attribute_type().to_string();
        puppet.send(0, &message);
        let cdn = sent_cdn(&mut puppet);
        assert_eq!(cdn.header.session_id, 5);
        assert_eq!(cdn.result(), (2, Some(3), format!("{name} is missing")));
        assert_eq!(puppet.events(), [Event::BadRequest]);
        assert_eq!(puppet.tunnel.counters().troubles.malformed_messages, 1);
    }
    for message in [ocrq(0), just(MessageType::OCRQ)] {
        let mut puppet = Puppet::established_originator(config());
        puppet.send(0, &message);
        let cdn = sent_cdn(&mut puppet);
        assert_eq!((cdn.header.session_id, cdn.result().1), (0, Some(3)));
        assert_ne!(cdn.assigned_session_id(), 0);
    }
}

#[test]
fn an_ocrp_without_a_usable_session_id_or_an_incomplete_occn_ends_the_call() {
    for message in [ocrp(0), just(MessageType::OCRP)] {
        let (mut puppet, id) = wait_reply();
        puppet.send(id, &message);
        let cdn = sent_cdn(&mut puppet);
        assert_eq!((cdn.header.session_id, cdn.assigned_session_id()), (0, id));
        assert_eq!((cdn.result().0, cdn.result().1), (2, Some(3)));
    }
    // Nor may it be one that another call has.
    let (mut puppet, _) = lns_established();
    let second = place(&mut puppet, wanted()).unwrap();
    puppet.take();
    puppet.send(second, &ocrp(5));
    assert_eq!(sent_cdn(&mut puppet).result().1, Some(5));
    assert_eq!(puppet.tunnel.call_count(), 1);
    for missing in 1..3 {
        let (mut puppet, id) = wait_connect();
        let mut message = occn();
        message.remove(missing);
        puppet.send(id, &message);
        let cdn = sent_cdn(&mut puppet);
        assert_eq!((cdn.header.session_id, cdn.result().1), (5, Some(3)));
    }
}

#[test]
fn an_outgoing_call_that_is_not_established_in_time_ends_with_result_10() {
    for ((mut puppet, id), named) in [
        (wait_reply(), 0),
        (wait_connect(), 5),
        (requested(), 5),
        (wait_cs_answer(), 5),
    ] {
        puppet.acknowledge();
        let sent = puppet.wait(20 * SECOND);
        let cdn = sent
            .iter()
            .find(|m| m.message_type == Some(MessageType::CDN))
            .unwrap();
        assert_eq!((cdn.result().0, cdn.header.session_id), (10, named));
        assert_eq!(cdn.assigned_session_id(), id);
        assert_eq!(call_end(&mut puppet).by, EndedBy::Timeout);
    }
    for (mut puppet, id) in [lns_established(), lac_established()] {
        for _ in 0..20 {
            puppet.wait(20 * SECOND);
            puppet.tunnel.data_received(id, puppet.now);
        }
        assert_eq!(
            puppet.tunnel.call(id).unwrap().state,
            CallState::Established
        );
    }
}

#[test]
fn an_outgoing_call_is_asked_only_of_a_lac_that_advertised_its_bearer() {
    let refused = |bearers, wants: Option<BearerTypes>| {
        let mut puppet = served_lac(bearers);
        let params = CallParams {
            bearer_type: wants,
            ..wanted()
        };
        place(&mut puppet, params).unwrap();
        let end = puppet.events().pop();
        let sent = puppet.take().pop();
        let sent = sent.filter(|m| m.message_type.is_some());
        match (end, sent) {
            (Some(Event::CallClosed { reason, .. }), None) => Err(reason.reason.message),
            (None, Some(ocrq)) => Ok(ocrq
                .attributes()
                .find_map(|attribute| match attribute {
                    Attribute::BearerType(bearer) => Some(bearer),
                    _ => None,
                })
                .unwrap()),
            other => panic!("{other:?}"),
        }
    };
    let (digital, analog) = (BearerTypes::DIGITAL, BearerTypes::ANALOG);
    for none in [None, Some(BearerTypes::empty())] {
        let message = refused(none, Some(digital)).unwrap_err();
        assert_eq!(message, "the peer places no outgoing calls");
    }
    let message = refused(Some(analog), Some(digital)).unwrap_err();
    assert_eq!(
        message,
        "the peer does not have the bearer that the call wants"
    );
    // Never a bit that the LAC did not set.
    assert_eq!(refused(Some(digital), Some(digital | analog)), Ok(digital));
    assert_eq!(refused(Some(analog), None), Ok(analog));
}

#[test]
fn a_lac_refuses_for_good_what_it_said_it_does_not_do() {
    let sent = |config: TunnelConfig| {
        let mut puppet = Puppet::established_originator(config);
        puppet.send(0, &ocrq(5));
        assert_eq!(puppet.events(), []);
        let cdn = sent_cdn(&mut puppet);
        assert_eq!(cdn.header.session_id, 5);
        cdn.result()
    };
    let none = TunnelConfig {
        bearer_capabilities: BearerTypes::empty(),
        ..config()
    };
    let expected = (5, Some(0), "outgoing calls are not supported".into());
    assert_eq!(sent(none), expected);
    let digital = TunnelConfig {
        bearer_capabilities: BearerTypes::DIGITAL,
        ..config()
    };
    assert_eq!(sent(digital).0, 5);
    let asynchronous = TunnelConfig {
        framing_capabilities: FramingTypes::ASYNC,
        ..config()
    };
    assert_eq!(sent(asynchronous).0, 5);
}

#[test]
fn the_limit_of_calls_holds_for_outgoing_ones() {
    let few = TunnelConfig {
        max_calls: 1,
        ..config()
    };
    let mut puppet = Puppet::established_originator(few);
    puppet.send(0, &ocrq(1));
    puppet.send(0, &ocrq(2));
    let cdn = sent_cdn(&mut puppet);
    assert_eq!((cdn.header.session_id, cdn.result().0), (2, 4));
    assert_eq!(place(&mut puppet, wanted()), Err(Refused::TooManyCalls));
    puppet.tunnel.close(StopReason::clear(""));
    assert_eq!(place(&mut puppet, wanted()), Err(Refused::Closing));
}

#[test]
fn an_outgoing_call_is_announced_to_its_lac_when_the_lns_has_the_occn() {
    for by_data in [false, true] {
        let (mut puppet, id) = wait_cs_answer();
        puppet.tunnel.data_received(id, puppet.now);
        puppet.tunnel.bearer_up(id, &bearer(), &mut puppet.rng);
        assert_eq!(puppet.take_one().message_type, Some(MessageType::OCCN));
        assert_eq!(puppet.events(), []);
        if by_data {
            puppet.tunnel.data_received(id, puppet.now);
        } else {
            puppet.acknowledge();
        }
        let events = puppet.events();
        assert!(
            matches!(events[..], [Event::CallEstablished { session, .. }] if session == id),
            "{events:?}"
        );
        puppet.acknowledge();
        puppet.tunnel.data_received(id, puppet.now);
        assert_eq!(puppet.events(), [], "once");
    }
}

#[test]
fn both_kinds_of_call_cross_in_one_tunnel() {
    let mut pair = Pair::established(config(), config(), 3);
    let (now, mut rng) = (pair.now, common::rng(9));
    let incoming = CallParams {
        framing_type: FramingTypes::SYNC,
        tx_connect_speed: 1,
        ..CallParams::default()
    };
    for end in [0, 1] {
        let tunnel = pair.tunnels[end].as_mut().unwrap();
        tunnel.place_outgoing_call(wanted(), now, &mut rng).unwrap();
        tunnel
            .place_incoming_call(incoming.clone(), now, &mut rng)
            .unwrap();
    }
    pair.settle();
    for _ in 0..20 {
        pair.run(SECOND / 10);
        for tunnel in pair.tunnels.iter_mut().flatten() {
            let calls: Vec<_> = tunnel.calls().map(|c| (c.session_id, c.state)).collect();
            for (id, state) in calls {
                match state {
                    CallState::Requested => tunnel.accept_outgoing_call(id, None, &mut rng),
                    CallState::WaitCsAnswer => tunnel.bearer_up(id, &bearer(), &mut rng),
                    _ => {}
                }
            }
        }
        pair.settle();
    }
    for end in [0, 1] {
        assert_eq!(pair.established_calls(end), 4);
        let kinds = pair.tunnels[end].as_ref().unwrap().calls();
        let mut kinds: Vec<_> = kinds.map(|call| format!("{:?}", call.kind)).collect();
        kinds.sort();
        let all = ["LacIncoming", "LacOutgoing", "LnsIncoming", "LnsOutgoing"];
        assert_eq!(kinds, all);
    }
}
