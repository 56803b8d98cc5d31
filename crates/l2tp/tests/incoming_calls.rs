//! Incoming calls, both halves (RFC 2661 section 7.4).

mod common;

use std::time::Duration;

use common::{Message, Pair, Puppet, call_params, cdn, iccn, icrq, just};
use l2tp::{
    CallEnd, CallKind, CallParams, CallState, Disconnect, EndedBy, Event, Refused, StopReason,
    TunnelConfig,
};
use wire::l2tp::{Attribute, FramingTypes, MessageType};

const SECOND: Duration = Duration::from_secs(1);

/// Calls have to be established before the first HELLO.
fn config() -> TunnelConfig {
    TunnelConfig {
        call_establish_timeout: Some(20 * SECOND),
        ..common::config()
    }
}

fn icrp(assigned: u16) -> Vec<Attribute<'static>> {
    vec![
        Attribute::MessageType(MessageType::ICRP),
        Attribute::AssignedSessionId(assigned),
    ]
}

/// A LAC of ours that has sent ICRQ, and its call.
fn wait_reply() -> (Puppet, u16) {
    let mut puppet = Puppet::established_originator(config());
    let id = puppet.place_call();
    assert_eq!(puppet.take_one().message_type, Some(MessageType::ICRQ));
    (puppet, id)
}

/// A LAC of ours whose call is established; the puppet's id is 5.
fn lac_established() -> (Puppet, u16) {
    let (mut puppet, id) = wait_reply();
    puppet.send(id, &icrp(5));
    assert_eq!(puppet.take_one().message_type, Some(MessageType::ICCN));
    puppet.acknowledge();
    assert!(matches!(
        puppet.events()[..],
        [Event::CallAnswered { .. }, Event::CallEstablished { .. }]
    ));
    (puppet, id)
}

/// An LNS of ours that was sent an ICRQ, and its call; the puppet's id is 5.
fn requested() -> (Puppet, u16) {
    let mut puppet = Puppet::established_receiver(config());
    puppet.send(0, &icrq(5));
    let Some(Event::CallRequested { session }) = puppet.tunnel.poll_event() else {
        panic!()
    };
    puppet.acknowledge();
    (puppet, session)
}

fn wait_connect() -> (Puppet, u16) {
    let (mut puppet, id) = requested();
    puppet.tunnel.accept_call(id, &mut puppet.rng);
    assert_eq!(puppet.take_one().message_type, Some(MessageType::ICRP));
    (puppet, id)
}

fn lns_established() -> (Puppet, u16) {
    let (mut puppet, id) = wait_connect();
    puppet.send(id, &iccn());
    assert!(matches!(
        puppet.events()[..],
        [Event::CallEstablished { .. }]
    ));
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

#[test]
fn a_call_comes_up_with_all_that_was_said_about_it() {
    let mut pair = Pair::established(config(), config(), 1);
    let params = CallParams {
        bearer_type: Some(wire::l2tp::BearerTypes::DIGITAL),
        physical_channel_id: Some(3),
        sub_address: Some("sub".into()),
        rx_connect_speed: Some(2_000_000),
        private_group_id: Some(b"group".to_vec()),
        sequencing_required: true,
        ..call_params()
    };
    let (now, mut rng) = (pair.now, common::rng(9));
    let lac_id = pair
        .lac()
        .place_incoming_call(params.clone(), now, &mut rng)
        .unwrap();
    pair.settle();
    assert_eq!(pair.lac().call(lac_id).unwrap().state, CallState::WaitReply);
    pair.run(SECOND);
    let lns_id = pair.lns().calls().next().unwrap().session_id;
    let expected = [(0, lac_id, lns_id), (1, lns_id, lac_id)];
    for (end, id, peer_id) in expected {
        let Some(Event::CallEstablished { session, call }) = pair.events[end].last() else {
            panic!()
        };
        assert_eq!((*session, call.peer_session_id), (id, peer_id));
        assert_eq!(call.params, params);
        let call = pair.tunnels[end].as_ref().unwrap().call(id).unwrap();
        assert_eq!(
            (call.state, call.peer_session_id, call.serial_number),
            (CallState::Established, peer_id, 7)
        );
        assert_eq!(call.info, None);
    }
    assert_eq!(pair.lac().call(lac_id).unwrap().kind, CallKind::LacIncoming);
    assert_eq!(pair.lns().call(lns_id).unwrap().kind, CallKind::LnsIncoming);
}

#[test]
fn a_call_waits_for_its_tunnel() {
    let mut pair = Pair::new(config(), config(), 1);
    let id = pair.place_call();
    assert_eq!(pair.lac().call(id).unwrap().state, CallState::WaitTunnel);
    pair.run(SECOND);
    assert_eq!(pair.established_calls(0), 1);
    assert_eq!(pair.established_calls(1), 1);
}

#[test]
fn a_call_that_waits_for_its_tunnel_is_closed_without_a_cdn() {
    let (mut puppet, _) = Puppet::originator(config());
    let id = puppet.place_call();
    puppet.tunnel.close_call(id, Disconnect::administrative(""));
    assert_eq!(call_end(&mut puppet).by, EndedBy::Local);
    puppet.send(0, &common::introduction(MessageType::SCCRP, 77));
    assert_eq!(puppet.take_types(), [Some(MessageType::SCCCN)]);
}

#[test]
fn either_end_closes_a_call() {
    for closer in [0, 1] {
        let mut pair = Pair::established(config(), config(), 1);
        pair.place_call();
        pair.run(SECOND);
        let id = pair.tunnels[closer]
            .as_ref()
            .unwrap()
            .calls()
            .next()
            .unwrap()
            .session_id;
        pair.tunnels[closer]
            .as_mut()
            .unwrap()
            .close_call(id, Disconnect::lost_carrier("hung up"));
        pair.settle();
        pair.run(SECOND);
        for (end, by) in [(closer, EndedBy::Local), (1 - closer, EndedBy::Peer)] {
            let Some(Event::CallClosed { reason, .. }) = pair.events[end].last() else {
                panic!()
            };
            assert_eq!(reason.by, by);
            assert_eq!(
                (reason.reason.result.0, reason.reason.message.as_str()),
                (1, "hung up")
            );
            assert_eq!(pair.tunnels[end].as_ref().unwrap().calls().count(), 0);
        }
        assert!(pair.lac().is_quiet() && pair.lns().is_quiet());
    }
}

#[test]
fn a_refused_call_tells_the_lac_why() {
    let mut pair = Pair::established(config(), config(), 1);
    pair.accepts = false;
    pair.place_call();
    pair.run(SECOND);
    let Some(&Event::CallRequested { session }) = pair.events[1].last() else {
        panic!()
    };
    pair.lns()
        .refuse_call(session, Disconnect::no_facilities("full"));
    pair.settle();
    pair.run(SECOND);
    let Some(Event::CallClosed { reason, .. }) = pair.events[0].last() else {
        panic!()
    };
    assert_eq!(
        reason.to_string(),
        "closed by the peer: no facilities for now (full)"
    );
    assert!(
        matches!(&pair.events[1].last(), Some(Event::CallClosed { reason, .. }) if reason.by == EndedBy::Local)
    );
}

#[test]
fn the_lac_hangs_up_before_the_lns_answered() {
    // The LNS knows the call by the LAC's id alone.
    let (mut puppet, id) = requested();
    puppet.send(0, &cdn(5));
    let end = call_end(&mut puppet);
    assert_eq!(
        (end.by, end.reason.message.as_str()),
        (EndedBy::Peer, "out of modems")
    );
    puppet.tunnel.accept_call(id, &mut puppet.rng);
    puppet
        .tunnel
        .refuse_call(id, Disconnect::administrative(""));
    assert!(puppet.take_types().iter().all(Option::is_none));

    let mut pair = Pair::established(config(), config(), 1);
    let id = pair.place_call();
    pair.close_call(0, id);
    pair.run(SECOND);
    assert_eq!(pair.lns().calls().count(), 0);
    let cdn = pair
        .sent
        .iter()
        .map(|(_, _, m)| m)
        .find(|m| m.message_type == Some(MessageType::CDN))
        .unwrap();
    assert_eq!((cdn.header.session_id, cdn.assigned_session_id()), (0, id));
    // The ICRP that crossed the CDN is for nobody.
    assert_eq!(pair.lac().counters().troubles.unknown_sessions, 1);
    assert_eq!(pair.states(), [l2tp::TunnelState::Established; 2]);
}

#[test]
fn a_call_that_is_not_established_in_time_ends_with_result_10() {
    let (mut puppet, id) = wait_reply();
    puppet.acknowledge();
    let cdn = puppet
        .wait(20 * SECOND)
        .into_iter()
        .find(|m| m.message_type == Some(MessageType::CDN))
        .unwrap();
    assert_eq!(
        (
            cdn.result().0,
            cdn.assigned_session_id(),
            cdn.header.session_id
        ),
        (10, id, 0)
    );
    assert_eq!(call_end(&mut puppet).by, EndedBy::Timeout);

    for (mut puppet, _) in [requested(), wait_connect()] {
        puppet.acknowledge();
        let cdn = puppet
            .wait(20 * SECOND)
            .into_iter()
            .find(|m| m.message_type == Some(MessageType::CDN))
            .unwrap();
        assert_eq!((cdn.result().0, cdn.header.session_id), (10, 5));
        assert_eq!(call_end(&mut puppet).by, EndedBy::Timeout);
    }
}

#[test]
fn established_calls_have_no_deadline() {
    for (mut puppet, id) in [lac_established(), lns_established()] {
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
fn messages_that_a_calls_state_does_not_allow_end_the_call_and_not_the_tunnel() {
    use MessageType as M;
    let fails = |(mut puppet, id): (Puppet, u16), message: &[Attribute<'_>]| {
        puppet.send(id, message);
        let Attribute::MessageType(message_type) = message[0] else {
            panic!()
        };
        if puppet.tunnel.call(id).is_some() {
            panic!("{message_type} did not end the call");
        }
        assert_eq!(
            call_end(&mut puppet).by,
            EndedBy::PeerFault,
            "{message_type}"
        );
        assert_eq!(puppet.tunnel.counters().troubles.unexpected_messages, 1);
        assert_eq!(puppet.tunnel.state(), l2tp::TunnelState::Established);
        puppet
    };
    let outgoing = [just(M::OCRQ), just(M::OCRP), just(M::OCCN)];
    let but = |message_type: M| {
        let all = [icrq(5), icrp(5), iccn()]
            .into_iter()
            .chain(outgoing.clone());
        all.filter(move |message| message[0] != Attribute::MessageType(message_type))
    };
    for message in but(M::ICRP) {
        let mut puppet = fails(wait_reply(), &message);
        let types = puppet.take_types();
        let table_says_cdn = message[0] != Attribute::MessageType(M::ICCN);
        assert_eq!(types.contains(&Some(M::CDN)), table_says_cdn, "{message:?}");
    }
    for message in but(M(0)) {
        sent_cdn(&mut fails(lac_established(), &message));
        sent_cdn(&mut fails(requested(), &message));
        sent_cdn(&mut fails(lns_established(), &message));
    }
    for message in but(M::ICCN) {
        sent_cdn(&mut fails(wait_connect(), &message));
    }
}

#[test]
fn a_second_icrq_with_the_id_of_a_live_call_ends_that_call() {
    let (mut puppet, id) = wait_connect();
    puppet.send(0, &icrq(5));
    assert_eq!(sent_cdn(&mut puppet).assigned_session_id(), id);
    assert_eq!(puppet.tunnel.calls().count(), 0);
}

#[test]
fn an_icrp_without_a_usable_session_id_ends_the_call_at_once() {
    for message in [icrp(0), just(MessageType::ICRP)] {
        let (mut puppet, id) = wait_reply();
        puppet.send(id, &message);
        let cdn = sent_cdn(&mut puppet);
        assert_eq!((cdn.header.session_id, cdn.assigned_session_id()), (0, id));
        assert_eq!((cdn.result().0, cdn.result().1), (2, Some(3)));
        assert_eq!(call_end(&mut puppet).by, EndedBy::PeerFault);
    }
    // Nor may it be one that another call has.
    let (mut puppet, _) = lac_established();
    let second = puppet.place_call();
    puppet.take();
    puppet.send(second, &icrp(5));
    assert_eq!(sent_cdn(&mut puppet).result().1, Some(5));
    assert_eq!(puppet.tunnel.calls().count(), 1);
}

#[test]
fn an_icrq_that_lacks_something_is_answered_with_a_cdn() {
    let mut puppet = Puppet::established_receiver(config());
    puppet.send(0, &icrq(5)[..2]);
    let cdn = sent_cdn(&mut puppet);
    assert_eq!(
        (cdn.header.session_id, cdn.result().0, cdn.result().1),
        (5, 2, Some(3))
    );
    assert_ne!(cdn.assigned_session_id(), 0);
    puppet.acknowledge();
    puppet.send(0, &icrq(0));
    assert_eq!(sent_cdn(&mut puppet).header.session_id, 0);
    assert_eq!(puppet.events(), [Event::BadRequest, Event::BadRequest]);
    assert_eq!(puppet.tunnel.counters().troubles.malformed_messages, 2);
}

#[test]
fn an_iccn_that_lacks_something_ends_the_call() {
    for missing in 1..3 {
        let (mut puppet, id) = wait_connect();
        let mut message = iccn();
        message.remove(missing);
        puppet.send(id, &message);
        let cdn = sent_cdn(&mut puppet);
        assert_eq!(
            (cdn.header.session_id, cdn.result().0, cdn.result().1),
            (5, 2, Some(3))
        );
    }
}

#[test]
fn an_unknown_mandatory_avp_in_a_sessions_message_ends_the_session_alone() {
    let unknown = [0x80, 7, 0x0d, 0xe9, 0, 3, b'x'];
    let message = |attributes: &[Attribute<'_>]| {
        let header = wire::l2tp::ControlHeader {
            tunnel_id: 0,
            session_id: 0,
            ns: 0,
            nr: 0,
        };
        let mut avps = common::encode(&header, attributes)[12..].to_vec();
        avps.extend(unknown);
        avps
    };
    let (mut puppet, id) = lns_established();
    puppet.send(0, &icrq(6));
    puppet.events();
    puppet.send_raw(id, &message(&just(MessageType::WEN)));
    let cdn = sent_cdn(&mut puppet);
    assert_eq!(
        cdn.result(),
        (2, Some(8), "attribute 3 of vendor 3561".into())
    );
    assert_eq!((cdn.header.session_id, cdn.assigned_session_id()), (5, id));
    assert_eq!(puppet.tunnel.calls().count(), 1);
    puppet.acknowledge();
    // In an ICRQ, before there is a session.
    puppet.send_raw(0, &message(&icrq(7)));
    let cdn = sent_cdn(&mut puppet);
    assert_eq!((cdn.header.session_id, cdn.result().1), (7, Some(8)));
    assert_eq!(puppet.tunnel.calls().count(), 1);
    // In a CDN it does not matter any more.
    puppet.send_raw(0, &message(&common::cdn(6)));
    assert_eq!(puppet.tunnel.calls().count(), 0);
    assert_eq!(puppet.tunnel.state(), l2tp::TunnelState::Established);
}

#[test]
fn a_cdn_without_error_code_or_without_any_result_is_understood() {
    let results = [
        vec![Attribute::ResultCode(wire::l2tp::ResultCode {
            result: 3,
            error: None,
            message: b"",
        })],
        vec![],
    ];
    for (result, expected) in results.into_iter().zip([3, 0]) {
        let (mut puppet, id) = lac_established();
        let mut message = just(MessageType::CDN);
        message.extend(result);
        puppet.send(id, &message);
        let end = call_end(&mut puppet);
        assert_eq!((end.by, end.reason.result.0), (EndedBy::Peer, expected));
        assert!(
            puppet.take_types().iter().all(Option::is_none),
            "a CDN is not answered"
        );
    }
}

#[test]
fn wen_and_sli_are_taken_and_counted() {
    let (mut puppet, id) = lns_established();
    puppet.send(id, &just(MessageType::WEN));
    puppet.send(id, &just(MessageType::SLI));
    let received = &puppet.tunnel.counters().received;
    assert_eq!((received.wen, received.sli), (1, 1));
    assert_eq!(
        puppet.tunnel.call(id).unwrap().state,
        CallState::Established
    );
}

#[test]
fn an_outgoing_call_is_refused_as_not_supported() {
    let mut puppet = Puppet::established_receiver(config());
    let mut ocrq = just(MessageType::OCRQ);
    ocrq.push(Attribute::AssignedSessionId(9));
    puppet.send(0, &ocrq);
    let cdn = sent_cdn(&mut puppet);
    assert_eq!((cdn.header.session_id, cdn.result().0), (9, 5));
    assert_eq!(puppet.events(), []);
}

#[test]
fn messages_for_sessions_that_are_not_are_ignored_and_counted() {
    let mut puppet = Puppet::established_receiver(config());
    for message in [
        icrp(5),
        iccn(),
        cdn(5),
        just(MessageType::OCRP),
        just(MessageType::SLI),
    ] {
        puppet.send(4321, &message);
    }
    assert_eq!(puppet.tunnel.counters().troubles.unknown_sessions, 5);
    assert!(puppet.take_types().iter().all(Option::is_none));
}

#[test]
fn the_limit_of_calls_holds_at_both_ends() {
    let few = TunnelConfig {
        max_calls: 2,
        ..config()
    };
    let mut puppet = Puppet::established_receiver(few.clone());
    for id in 1..=3 {
        puppet.send(0, &icrq(id));
    }
    let cdn = sent_cdn(&mut puppet);
    assert_eq!((cdn.header.session_id, cdn.result().0), (3, 4));
    assert_eq!(puppet.events().len(), 2);

    let mut puppet = Puppet::established_originator(few);
    let mut place = || {
        puppet
            .tunnel
            .place_incoming_call(call_params(), puppet.now, &mut puppet.rng)
    };
    assert!(place().is_ok() && place().is_ok());
    assert_eq!(place(), Err(Refused::TooManyCalls));
    puppet.tunnel.close(StopReason::clear(""));
    assert_eq!(
        puppet
            .tunnel
            .place_incoming_call(call_params(), puppet.now, &mut puppet.rng),
        Err(Refused::Closing)
    );
}

#[test]
fn session_ids_are_never_0_and_never_the_same() {
    let mut puppet = Puppet::established_originator(config());
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..65535 {
        let id = puppet.place_call();
        assert!(id != 0 && ids.insert(id));
    }
    let one_more = puppet
        .tunnel
        .place_incoming_call(call_params(), puppet.now, &mut puppet.rng);
    assert_eq!(one_more, Err(Refused::TooManyCalls));
}

#[test]
fn framing_that_the_other_end_does_not_do_is_not_used() {
    let sync = TunnelConfig {
        framing_capabilities: FramingTypes::SYNC,
        ..config()
    };
    let mut pair = Pair::established(config(), sync.clone(), 1);
    let (now, mut rng) = (pair.now, common::rng(9));
    let params = CallParams {
        framing_type: FramingTypes::ASYNC,
        ..call_params()
    };
    pair.lac()
        .place_incoming_call(params, now, &mut rng)
        .unwrap();
    pair.settle();
    assert!(
        matches!(&pair.events[0][..], [Event::CallClosed { reason, .. }] if reason.by == EndedBy::Local)
    );
    assert!(
        pair.sent
            .iter()
            .all(|(_, _, m)| m.message_type != Some(MessageType::ICRQ))
    );

    let mut puppet = Puppet::established_receiver(sync);
    puppet.send(0, &icrq(5));
    let Some(Event::CallRequested { session }) = puppet.tunnel.poll_event() else {
        panic!()
    };
    puppet.tunnel.accept_call(session, &mut puppet.rng);
    puppet.take();
    let mut message = iccn();
    message[2] = Attribute::FramingType(FramingTypes::ASYNC);
    puppet.send(session, &message);
    assert_eq!(sent_cdn(&mut puppet).result().0, 5);
}

#[test]
fn the_end_of_the_tunnel_ends_its_calls_first() {
    let mut pair = Pair::established(config(), config(), 1);
    for _ in 0..3 {
        pair.place_call();
    }
    pair.run(SECOND);
    pair.events = [Vec::new(), Vec::new()];
    pair.sent.clear();
    pair.lns().close(StopReason::shutting_down("maintenance"));
    pair.settle();
    pair.run(SECOND);
    for (end, by) in [(0, EndedBy::Peer), (1, EndedBy::Local)] {
        let [calls @ .., Event::Closed { reason }] = &pair.events[end][..] else {
            panic!("{:?}", pair.events[end])
        };
        assert_eq!(
            (reason.by, reason.reason.message.as_str()),
            (by, "maintenance")
        );
        assert_eq!(calls.len(), 3);
        assert!(
            calls
                .iter()
                .all(|c| matches!(c, Event::CallClosed { reason, .. } if reason.by == by))
        );
    }
    // No CDNs: the StopCCN says it all.
    let types: Vec<_> = pair
        .sent
        .iter()
        .filter_map(|(_, _, m)| m.message_type)
        .collect();
    assert_eq!(types, [MessageType::STOP_CCN]);
}

#[test]
fn a_call_of_ours_is_announced_when_the_peer_acknowledges_the_iccn() {
    let (mut puppet, id) = wait_reply();
    puppet.send(id, &icrp(5));
    let answered = Event::CallAnswered { session: id };
    assert_eq!(puppet.events(), [answered], "before the ICCN goes out");
    assert_eq!(puppet.take_one().message_type, Some(MessageType::ICCN));
    assert_eq!(puppet.events(), []);
    puppet.acknowledge();
    let events = puppet.events();
    assert!(matches!(
        events[..],
        [Event::CallEstablished { session, .. }] if session == id
    ));
    puppet.acknowledge();
    puppet.tunnel.data_received(id, puppet.now);
    assert_eq!(puppet.events(), [], "once");
}

#[test]
fn data_confirms_a_call_before_the_acknowledgement_of_its_iccn() {
    let (mut puppet, id) = wait_reply();
    puppet.tunnel.data_received(id, puppet.now);
    assert_eq!(puppet.events(), [], "not before the ICCN");
    puppet.send(id, &icrp(5));
    puppet.tunnel.data_received(id, puppet.now);
    let events = puppet.events();
    assert!(matches!(
        events[..],
        [Event::CallAnswered { .. }, Event::CallEstablished { session, .. }] if session == id
    ));
    assert_eq!(puppet.take_one().message_type, Some(MessageType::ICCN));
    puppet.acknowledge();
    assert_eq!(puppet.events(), [], "once");
}

#[test]
fn a_second_icrp_before_the_iccn_is_acknowledged_ends_the_call() {
    let (mut puppet, id) = wait_reply();
    puppet.send(id, &icrp(5));
    puppet.send(id, &icrp(6));
    assert_eq!(sent_cdn(&mut puppet).message_type, Some(MessageType::CDN));
    assert_eq!(call_end(&mut puppet).by, EndedBy::PeerFault);
}
