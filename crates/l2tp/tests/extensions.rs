//! What RFC 2661's extensions add: differentiated services, ECN, access lines and their speeds, causes, LCP options.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::time::Duration;

use common::{Pair, Puppet, call_params, config, introduction, just, rng, secret_config};
use l2tp::{
    AccessLine, CallDetails, CallEnd, CallInfo, CallParams, Disconnect, Event, LinkInfo, PppCause,
    Q931, SessionId, TunnelConfig, TunnelState, dscp, per_hop_behavior,
};
use wire::l2tp::{
    Attribute, CallErrors, CallResult, DisconnectCode, ErrorCode, Extension, LoopEncapsulation,
    MessageType, Q931CauseCode, SpeedUpdate, StopResult, TransmissionMaps,
};

const SECOND: Duration = Duration::from_secs(1);

fn wants(control: Option<u8>, required: bool) -> TunnelConfig {
    TunnelConfig {
        control_dscp: control,
        require_dscp: required,
        ..config()
    }
}

/// A pair whose LAC has placed a call.
fn with_call(lac: TunnelConfig, lns: TunnelConfig, params: CallParams) -> (Pair, SessionId) {
    let mut pair = Pair::established(lac, lns, 1);
    let now = pair.now;
    let id = pair
        .lac()
        .place_incoming_call(params, now, &mut rng(9))
        .unwrap();
    pair.settle();
    pair.run(SECOND);
    (pair, id)
}

/// What one end says of its only call.
fn call(pair: &Pair, end: usize) -> CallInfo {
    let mut calls = pair.events[end].iter().filter_map(|event| match event {
        Event::CallEstablished { call, .. } => Some(call.as_ref().clone()),
        _ => None,
    });
    calls.next().unwrap()
}

#[test]
fn a_dscp_and_its_per_hop_behavior_are_the_same_thing() {
    for value in 0..64 {
        assert_eq!(dscp(per_hop_behavior(value)), Some(value));
        // A set of behaviors, such as AF1x, goes by its lowest.
        assert_eq!(dscp(per_hop_behavior(value) | 2), Some(value));
    }
    // EF as RFC 3140 has it; a behavior with a number of its own.
    assert_eq!(per_hop_behavior(46), 0xb800);
    assert_eq!(dscp(0x0011), None);
}

#[test]
fn the_end_that_answers_grants_the_control_connections_dscp_or_offers_its_own() {
    // (asked, granted here, (the originator's, the receiver's))
    for (asked, here, used) in [
        (Some(46), Some(46), (Some(46), Some(46))),
        (Some(46), Some(10), (Some(10), Some(10))),
        (Some(46), None, (Some(46), None)),
        (None, Some(10), (None, Some(10))),
        (None, None, (None, None)),
    ] {
        let mut pair = Pair::established(wants(asked, false), wants(here, false), 1);
        let dscps = (pair.lac().control_dscp(), pair.lns().control_dscp());
        assert_eq!(dscps, used, "{asked:?} {here:?}");
        let says = |message: &common::Message| {
            message
                .attributes()
                .any(|a| matches!(a, Attribute::Extension(Extension::ControlConnectionDs(_))))
        };
        assert!(!pair.sent.iter().any(|(_, _, message)| says(message)));
    }
}

#[test]
fn a_control_connection_dscp_that_is_required_and_not_granted_ends_the_tunnel_with_result_8() {
    for answer in [None, Some(per_hop_behavior(10)), Some(0x0011)] {
        let (mut puppet, sccrq) = Puppet::originator(wants(Some(46), true));
        let asked = Attribute::Extension(Extension::ControlConnectionDs(0xb800));
        assert!(sccrq.attributes().any(|attribute| attribute == asked));
        let mut sccrp = introduction(MessageType::SCCRP, 77);
        sccrp.extend(answer.map(|ds| Attribute::Extension(Extension::ControlConnectionDs(ds))));
        puppet.send(0, &sccrp);
        assert_eq!(puppet.stopped().0, 8, "{answer:?}");
    }
    let mut sccrp = introduction(MessageType::SCCRP, 77);
    sccrp.push(Attribute::Extension(Extension::ControlConnectionDs(0xb800)));
    let (mut puppet, _) = Puppet::originator(wants(Some(46), true));
    puppet.send(0, &sccrp);
    assert_eq!(puppet.tunnel.state(), TunnelState::Established);
    assert_eq!(puppet.tunnel.control_dscp(), Some(46));
}

#[test]
fn the_end_that_takes_a_call_grants_its_dscp_or_offers_its_own() {
    for (asked, here, used) in [
        (Some(46), Some(46), (Some(46), Some(46))),
        (Some(46), Some(10), (Some(10), Some(10))),
        (Some(46), None, (Some(46), None)),
        (None, Some(10), (None, Some(10))),
    ] {
        let lns = TunnelConfig {
            session_dscp: here,
            ..config()
        };
        let params = CallParams {
            session_ds: asked.map(per_hop_behavior),
            ..call_params()
        };
        let (pair, _) = with_call(config(), lns, params);
        let dscps = (call(&pair, 0).dscp, call(&pair, 1).dscp);
        assert_eq!(dscps, used, "{asked:?} {here:?}");
    }
}

#[test]
fn a_session_dscp_that_is_required_and_not_granted_ends_the_call_with_result_12() {
    for here in [None, Some(10)] {
        let lns = TunnelConfig {
            session_dscp: here,
            ..config()
        };
        let params = CallParams {
            session_ds: Some(per_hop_behavior(46)),
            ..call_params()
        };
        let (mut pair, _) = with_call(wants(None, true), lns, params);
        let cdn = pair
            .sent
            .iter()
            .find(|(_, end, message)| *end == 0 && message.message_type == Some(MessageType::CDN));
        assert_eq!(cdn.unwrap().2.result().0, 12, "{here:?}");
        assert_eq!(pair.lns().calls().count(), 0);
        assert_eq!(pair.states(), [TunnelState::Established; 2]);
    }
}

#[test]
fn ecn_is_carried_where_both_ends_say_that_they_do() {
    for ends in [[true, true], [true, false], [false, true], [false, false]] {
        let [lac, lns] = ends.map(|ecn| TunnelConfig { ecn, ..config() });
        let mut pair = Pair::established(lac, lns, 1);
        let both = ends == [true, true];
        assert_eq!([pair.lac().ecn(), pair.lns().ecn()], [both; 2], "{ends:?}");
    }
}

#[test]
fn an_access_line_arrives_as_it_was_described_hidden_or_not() {
    let line = AccessLine {
        agent_circuit_id: Some("node1 eth 3/0:100".into()),
        agent_remote_id: Some("subscriber 5".into()),
        actual_rate_upstream: Some(40_000_000),
        actual_rate_downstream: Some(5_000_000_000),
        minimum_rate_upstream_low_power: Some(1),
        actual_delay_downstream: Some(8),
        loop_encapsulation: Some(LoopEncapsulation {
            data_link: 1,
            encapsulation_1: 2,
            encapsulation_2: 0,
        }),
        line_type: Some(5),
        iwf_session: Some(false),
        ..AccessLine::default()
    };
    let named: Vec<_> = line.named().collect();
    assert!(named.contains(&("actual_rate_downstream", "5000000000".into())));
    assert!(named.contains(&("line_type", "VDSL2".into())));
    let wrapped = (
        "loop_encapsulation",
        "Ethernet, single-tagged Ethernet, -".into(),
    );
    assert!(named.contains(&wrapped));
    assert_eq!(named.len(), 9);

    let hiding = TunnelConfig {
        hide_avps: true,
        ..secret_config("s3cret")
    };
    for config in [config(), hiding] {
        let hides = config.hide_avps;
        let params = CallParams {
            access_line: Some(Box::new(line.clone())),
            speed_updates: true,
            ..call_params()
        };
        let (pair, _) = with_call(config.clone(), config, params);
        let icrq = pair.sent.iter().map(|(_, _, message)| message);
        let mut icrq = icrq.filter(|m| m.message_type == Some(MessageType::ICRQ));
        let of_vendor = |avp: &wire::l2tp::Avp<'_>| avp.vendor_id == 3561;
        let avps: Vec<_> = icrq.next().unwrap().avps().filter(of_vendor).collect();
        assert_eq!(avps.len(), 9);
        assert!(avps.iter().all(|avp| avp.hidden == hides && !avp.mandatory));
        let received = call(&pair, 1).params;
        assert_eq!(received.access_line.as_deref(), Some(&line));
        assert!(received.speed_updates);
    }
}

#[test]
fn a_line_that_nothing_is_known_of_is_not_described() {
    let (pair, _) = with_call(config(), config(), call_params());
    let received = call(&pair, 1).params;
    assert_eq!(
        (received.access_line, received.speed_updates),
        (None, false)
    );
}

#[test]
fn messages_that_came_after_rfc_2661_are_taken_or_ignored_and_end_nothing() {
    let mut puppet = Puppet::established_receiver(config());
    for message_type in 17..=29 {
        puppet.send(0, &just(MessageType(message_type)));
        puppet.send(999, &just(MessageType(message_type)));
    }
    assert_eq!(puppet.tunnel.state(), TunnelState::Established);
    let received = &puppet.tunnel.counters().received;
    assert_eq!((received.mdmst, received.csun, received.csurq), (2, 2, 2));
    assert_eq!(received.unknown, 20);
}

/// How the other end sees the end of a call that one end gives.
fn told(reason: Disconnect, config: TunnelConfig) -> (CallEnd, common::Message) {
    let (mut pair, id) = with_call(config.clone(), config, call_params());
    pair.sent.clear();
    pair.lac().close_call(id, reason);
    pair.settle();
    pair.run(SECOND);
    let cdn = pair.sent.iter().map(|(_, _, message)| message.clone());
    let mut cdns = cdn.filter(|message| message.message_type == Some(MessageType::CDN));
    match pair.events[1].pop() {
        Some(Event::CallClosed { reason, .. }) => (reason, cdns.next().unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ppp_disconnect_cause_arrives_with_its_call_and_reads_as_a_sentence() {
    for number in 0..=20 {
        let cause = PppCause {
            code: DisconnectCode(number),
            protocol: 0xc021,
            direction: (number % 3) as u8,
            message: "because".into(),
        };
        let (end, cdn) = told(Disconnect::ppp(cause.clone()), config());
        assert_eq!(end.reason.result, CallResult::ADMINISTRATIVE);
        assert_eq!(end.reason.details.ppp, Some(cause));
        let text = DisconnectCode(number).text().unwrap();
        assert!(end.to_string().contains(text), "{end}");
        let avp = cdn.avps().find(|avp| avp.attribute == 46).unwrap();
        assert!(!avp.mandatory && avp.vendor_id == 0);
        assert_eq!(avp.value[..2], number.to_be_bytes());
        assert_eq!(avp.value[2..5], [0xc0, 0x21, (number % 3) as u8]);
        assert_eq!(&avp.value[5..], b"because");
    }
}

#[test]
fn a_q931_cause_arrives_with_its_call_and_reads_as_a_sentence() {
    let cause = Q931 {
        code: Q931CauseCode::USER_BUSY,
        message: 0x45,
        advisory: "engaged".into(),
    };
    let reason = Disconnect {
        details: CallDetails {
            ppp: None,
            q931: Some(cause.clone()),
        },
        ..Disconnect::new(CallResult::BUSY, "")
    };
    let (end, cdn) = told(reason, config());
    assert_eq!(end.reason.details.q931, Some(cause));
    assert_eq!(
        end.to_string(),
        "closed by the peer: busy; Q.931 cause 17, user busy (engaged)"
    );
    let avp = cdn.avps().find(|avp| avp.attribute == 12).unwrap();
    assert!(avp.mandatory);
    assert_eq!(avp.value, b"\0\x11\x45engaged");
}

#[test]
fn every_result_and_error_code_has_a_text() {
    for number in 1..=8 {
        assert!(StopResult(number).text().is_some(), "StopCCN {number}");
    }
    for number in 1..=12 {
        assert!(CallResult(number).text().is_some(), "CDN {number}");
        let (end, _) = told(Disconnect::new(CallResult(number), "words"), config());
        let text = CallResult(number).text().unwrap();
        assert_eq!(
            end.to_string(),
            format!("closed by the peer: {text} (words)")
        );
    }
    for number in 0..=8 {
        assert!(ErrorCode(number).text().is_some(), "error {number}");
    }
    assert_eq!(CallResult(99).to_string(), "99");
}

/// What one end heard, of these kinds.
fn heard(pair: &Pair, end: usize) -> Vec<Event> {
    let status = |event: &&Event| {
        matches!(
            event,
            Event::CallErrors { .. } | Event::LinkInfo { .. } | Event::SpeedChanged { .. }
        )
    };
    pair.events[end].iter().filter(status).cloned().collect()
}

/// The LNS's id of the only call.
fn lns_id(pair: &mut Pair) -> SessionId {
    pair.lns().calls().next().unwrap().session_id
}

#[test]
fn errors_of_a_line_are_reported_at_most_once_a_minute() {
    let (mut pair, id) = with_call(config(), config(), call_params());
    let errors = CallErrors {
        crc: 3,
        timeouts: 1,
        ..CallErrors::default()
    };
    let session = lns_id(&mut pair);
    let mut sent = Vec::new();
    for _ in 0..13 {
        let now = pair.now;
        sent.push(pair.lac().report_errors(id, errors, now, &mut rng(1)));
        pair.settle();
        pair.run(SECOND * 10);
    }
    assert_eq!(sent.iter().filter(|sent| **sent).count(), 3);
    assert_eq!((sent[0], sent[6], sent[12]), (true, true, true));
    let event = Event::CallErrors { session, errors };
    assert_eq!(heard(&pair, 1), vec![event; 3]);
    let now = pair.now;
    assert!(!pair.lns().report_errors(session, errors, now, &mut rng(1)));
}

#[test]
fn the_lac_learns_which_characters_are_escaped() {
    let (mut pair, session) = with_call(config(), config(), call_params());
    let maps = TransmissionMaps {
        send: 0xa0000,
        receive: u32::MAX,
    };
    let info = LinkInfo {
        maps: Some(maps),
        ..LinkInfo::default()
    };
    let id = lns_id(&mut pair);
    pair.lns().set_link_info(id, &info, &mut rng(1));
    pair.lac().set_link_info(session, &info, &mut rng(1));
    pair.settle();
    pair.run(SECOND);
    assert_eq!(heard(&pair, 0), [Event::LinkInfo { session, info }]);
    assert_eq!(heard(&pair, 1), []);
}

#[test]
fn lcp_options_that_the_lac_wants_and_allows_arrive_and_what_came_of_them_comes_back() {
    for hidden in [false, true] {
        let lac = TunnelConfig {
            hide_avps: hidden,
            ..secret_config("s3cret")
        };
        let params = CallParams {
            lcp_want_options: Some(vec![2, 6, 0, 0xa, 0, 0]),
            lcp_allow_options: Some(vec![7, 2, 8, 2]),
            ..call_params()
        };
        let (mut pair, session) = with_call(lac.clone(), lac, params.clone());
        let at_lns = call(&pair, 1).params;
        assert_eq!(at_lns.lcp_want_options, params.lcp_want_options);
        assert_eq!(at_lns.lcp_allow_options, params.lcp_allow_options);
        let info = LinkInfo {
            maps: Some(TransmissionMaps {
                send: 0,
                receive: 0xa0000,
            }),
            lns_last_sent: Some(vec![2, 6, 0, 0xa, 0, 0]),
            lns_last_received: Some(vec![1, 4, 5, 0xd4]),
        };
        let id = lns_id(&mut pair);
        pair.lns().set_link_info(id, &info, &mut rng(1));
        pair.settle();
        pair.run(SECOND);
        assert_eq!(heard(&pair, 0), [Event::LinkInfo { session, info }]);
        // Who does not know the extension may ignore it.
        let kinds = 49..=52;
        let avps = pair.sent.iter().flat_map(|(_, _, message)| message.avps());
        let ours = avps.filter(|avp| avp.vendor_id == 0 && kinds.contains(&avp.attribute));
        let marks: Vec<_> = ours.map(|avp| (avp.mandatory, avp.hidden)).collect();
        assert_eq!(marks, [(false, hidden); 4]);
    }
}

/// A pair whose LAC has placed two calls and promised to tell the first one's speeds.
fn with_speeds(promised: bool) -> (Pair, SessionId) {
    let params = CallParams {
        speed_updates: promised,
        ..call_params()
    };
    with_call(config(), config(), params)
}

#[test]
fn the_lns_learns_other_speeds_of_calls_that_it_was_promised_them_for() {
    let (mut pair, id) = with_speeds(true);
    let session = lns_id(&mut pair);
    assert!(pair.lac().update_speed(id, 5_000, 600, &mut rng(1)));
    pair.settle();
    pair.run(SECOND);
    let (tx, rx) = (5_000, 600);
    assert_eq!(heard(&pair, 1), [Event::SpeedChanged { session, tx, rx }]);
    // Asked, the LAC says what it last had.
    pair.sent.clear();
    pair.lns().request_speeds(&mut rng(1));
    pair.settle();
    pair.run(SECOND);
    assert_eq!(heard(&pair, 1).len(), 2);
    let speeds = pair.sent.iter().filter(|(_, _, message)| {
        let message_type = message.message_type.unwrap_or(MessageType(0));
        message_type.0 >= 28 && message.avps().all(|avp| !avp.mandatory)
    });
    assert_eq!(speeds.count(), 2);

    let (mut pair, id) = with_speeds(false);
    assert!(!pair.lac().update_speed(id, 5_000, 600, &mut rng(1)));
    pair.lns().request_speeds(&mut rng(1));
    pair.settle();
    pair.run(SECOND);
    assert_eq!(heard(&pair, 1), []);
    assert_eq!(pair.lac().counters().received.csurq, 0);
}

#[test]
fn speeds_of_sessions_that_are_not_or_have_none_are_passed_over() {
    let (mut pair, id) = with_speeds(false);
    let session = lns_id(&mut pair);
    let update = |session_id| {
        let update = SpeedUpdate {
            session_id,
            tx: 1,
            rx: 2,
        };
        Attribute::Extension(Extension::ConnectSpeedUpdate(update))
    };
    for (end, known, message_type) in [(0, id, MessageType::CSURQ), (1, session, MessageType::CSUN)]
    {
        let mut message = just(message_type);
        message.extend([update(known), update(known.wrapping_add(1)), update(0)]);
        pair.say(end, 0, &message);
        let tunnel = if end == 0 { pair.lac() } else { pair.lns() };
        assert_eq!(tunnel.counters().troubles.unknown_sessions, 3);
        assert_eq!(tunnel.counters().sent.csun, 0);
    }
    assert_eq!(heard(&pair, 1), []);
    assert_eq!(pair.states(), [TunnelState::Established; 2]);
}

#[test]
fn what_the_wrong_end_says_of_a_call_changes_nothing_and_is_counted() {
    let (mut pair, id) = with_call(config(), config(), call_params());
    let session = lns_id(&mut pair);
    let maps = TransmissionMaps {
        send: 0,
        receive: 0,
    };
    let with = |message_type, attribute| vec![Attribute::MessageType(message_type), attribute];
    let errors = Attribute::CallErrors(CallErrors::default());
    // A WEN to the LAC and an SLI to the LNS; then each without what it is for.
    pair.say(0, id, &with(MessageType::WEN, errors));
    pair.say(1, session, &with(MessageType::SLI, Attribute::Accm(maps)));
    pair.say(0, id, &just(MessageType::SLI));
    pair.say(1, session, &just(MessageType::WEN));
    pair.say(1, session, &just(MessageType::MDMST));
    for end in [0, 1] {
        assert_eq!(heard(&pair, end), []);
        let tunnel = if end == 0 { pair.lac() } else { pair.lns() };
        let troubles = &tunnel.counters().troubles;
        assert_eq!(troubles.unexpected_messages, 1);
        assert_eq!(troubles.malformed_messages, 1);
        assert_eq!(tunnel.calls().count(), 1);
    }
}

#[test]
fn a_tie_breaker_is_said_where_it_is_wanted_and_differs_each_time() {
    let wanting = TunnelConfig {
        tie_breaker: true,
        ..config()
    };
    let said = |message: &common::Message| {
        let all = message
            .attributes()
            .filter_map(|attribute| match attribute {
                Attribute::TieBreaker(value) => Some(value),
                _ => None,
            });
        all.last()
    };
    let (puppet, sccrq) = Puppet::originator(wanting.clone());
    assert_eq!(said(&sccrq), puppet.tunnel.tie_breaker());
    assert!(said(&sccrq).is_some());
    let now = puppet.now;
    let other = l2tp::Tunnel::originate(wanting.into(), 5, now, &mut rng(2));
    assert_ne!(other.tie_breaker(), puppet.tunnel.tie_breaker());
    let (puppet, sccrq) = Puppet::originator(config());
    assert_eq!((said(&sccrq), puppet.tunnel.tie_breaker()), (None, None));
}

#[test]
fn a_tunnel_that_gives_way_says_nothing() {
    let (mut puppet, _) = Puppet::originator(config());
    puppet.tunnel.give_way("the other one");
    let end = puppet.end();
    assert_eq!(end.to_string(), "closed here: the other one");
    assert_eq!(puppet.tunnel.state(), TunnelState::Released);
    let (now, mut out) = (puppet.now, Vec::new());
    assert!(!puppet.tunnel.poll_transmit(now, &mut out));
    // Only while nobody has answered.
    let mut puppet = Puppet::established_originator(config());
    puppet.tunnel.give_way("the other one");
    assert_eq!(puppet.tunnel.state(), TunnelState::Established);
}

#[test]
fn a_text_that_is_too_long_is_cut_between_characters() {
    let (mut pair, id) = with_call(config(), config(), call_params());
    let text = format!("x{}", "é".repeat(200));
    pair.lac()
        .close_call(id, Disconnect::administrative(text.clone()));
    pair.settle();
    pair.run(SECOND);
    let ends = pair.events[1].iter().filter_map(|event| match event {
        Event::CallClosed { reason, .. } => Some(reason.reason.message.clone()),
        _ => None,
    });
    let heard: Vec<_> = ends.collect();
    assert_eq!(heard.len(), 1);
    assert!(
        text.starts_with(&heard[0]) && heard[0].len() > 250,
        "{heard:?}"
    );
}
