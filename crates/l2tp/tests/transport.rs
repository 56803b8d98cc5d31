//! The reliable transport (RFC 2661 section 5.8 and appendix A), seen from outside.

mod common;

use std::time::Duration;

use common::{Network, Pair, Puppet, config, encode, icrq, introduction, just, sccrq, stop_ccn};
use l2tp::{Disconnect, EndedBy, Event, StopReason, TunnelConfig, TunnelState};
use wire::l2tp::{Attribute, ControlHeader, MessageType};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_message_is_repeated_after_1_2_4_8_8_seconds_and_given_up_after_31() {
    let (mut puppet, first) = Puppet::originator(config());
    let start = puppet.now;
    let mut times = Vec::new();
    while let Some(due) = puppet.tunnel.next_timeout() {
        puppet.now = due.at;
        puppet.tunnel.handle_timeout(puppet.now);
        for message in puppet.take() {
            assert_eq!(message, first);
            times.push((puppet.now - start).as_secs());
        }
    }
    assert_eq!(times, [1, 3, 7, 15, 23]);
    assert_eq!(puppet.now - start, 31 * SECOND);
    assert_eq!(puppet.tunnel.state(), TunnelState::Released);
    let events = puppet.events();
    assert!(
        matches!(&events[..], [Event::Closed { reason }, Event::Released] if reason.by == EndedBy::Timeout)
    );
    assert_eq!(puppet.tunnel.counters().troubles.retransmissions, 5);
}

#[test]
fn a_peer_that_went_silent_takes_its_calls_with_it() {
    let mut pair = Pair::established(config(), config(), 1);
    for _ in 0..3 {
        pair.place_call();
    }
    pair.run(SECOND);
    assert_eq!(pair.established_calls(0), 3);
    pair.events = [Vec::new(), Vec::new()];
    pair.network.loss = 100;
    // The HELLO after a minute, and its repetitions.
    pair.run(60 * SECOND + 31 * SECOND);
    for end in [0, 1] {
        let [calls @ .., Event::Closed { .. }, Event::Released] = &pair.events[end][..] else {
            panic!("{:?}", pair.events[end])
        };
        assert_eq!(calls.len(), 3);
        assert!(calls.iter().all(
            |c| matches!(c, Event::CallClosed { reason, .. } if reason.by == EndedBy::Timeout)
        ));
    }
}

#[test]
fn a_repeated_message_carries_the_current_nr() {
    let mut puppet = Puppet::established_originator(config());
    let id = puppet.place_call();
    let first = puppet.take_one();
    assert_eq!((first.header.ns, first.header.nr), (2, 1));
    // A HELLO that does not acknowledge the ICRQ.
    let header = ControlHeader {
        tunnel_id: puppet.tunnel.id(),
        session_id: 0,
        ns: puppet.ns,
        nr: 2,
    };
    puppet.deliver(&encode(&header, &just(MessageType::HELLO)));
    let again = puppet
        .wait(SECOND)
        .into_iter()
        .find(|m| m.message_type.is_some())
        .unwrap();
    assert_eq!((again.header.ns, again.header.nr), (2, 2));
    assert_eq!(again.assigned_session_id(), id);
}

#[test]
fn an_acknowledgement_travels_with_a_message_if_there_is_one_soon() {
    let mut puppet = Puppet::established_receiver(config());
    assert_eq!(puppet.take_types(), []);
    puppet.send(0, &icrq(5));
    assert_eq!(puppet.take_types(), []);
    let Some(Event::CallRequested { session }) = puppet.tunnel.poll_event() else {
        panic!()
    };
    puppet.tunnel.accept_call(session, &mut puppet.rng);
    let icrp = puppet.take_one();
    assert_eq!(icrp.header.nr, puppet.ns);
    assert_eq!(puppet.wait(Duration::from_millis(500)), []);
}

#[test]
fn an_acknowledgement_goes_alone_after_a_short_while() {
    let mut puppet = Puppet::established_receiver(config());
    let messages = puppet.wait(Duration::from_millis(100));
    assert_eq!(messages.len(), 1);
    let zlb = messages[0].header;
    assert_eq!(messages[0].message_type, None);
    assert_eq!(
        (zlb.tunnel_id, zlb.session_id, zlb.ns, zlb.nr),
        (77, 0, 1, 2)
    );
    assert_eq!(puppet.wait(Duration::from_millis(500)), []);
}

#[test]
fn a_peer_that_fills_half_of_our_window_is_acknowledged_at_once() {
    let mut puppet = Puppet::established_receiver(TunnelConfig {
        rx_window: 4,
        ..config()
    });
    puppet.send(0, &just(MessageType::HELLO));
    assert_eq!(puppet.take_one().header.nr, 3);
    let mut puppet = Puppet::established_receiver(TunnelConfig {
        rx_window: 1,
        ..config()
    });
    assert_eq!(puppet.take_one().header.nr, 2);
}

#[test]
fn a_duplicate_is_acknowledged_again_and_not_processed_again() {
    let mut puppet = Puppet::established_receiver(config());
    let icrq = encode(&puppet.next_header(0), &icrq(5));
    puppet.deliver(&icrq);
    assert_eq!(puppet.events().len(), 1);
    puppet.wait(SECOND);
    puppet.deliver(&icrq);
    assert_eq!(puppet.events(), []);
    let zlb = puppet.take_one();
    assert_eq!((zlb.message_type, zlb.header.nr), (None, puppet.ns));
    assert_eq!(puppet.tunnel.counters().troubles.duplicates, 1);
    assert_eq!(puppet.tunnel.counters().received.icrq, 1);
}

#[test]
fn messages_out_of_order_wait_for_those_before_them() {
    let mut puppet = Puppet::established_receiver(config());
    let datagrams: Vec<_> = (1..=4)
        .map(|id| encode(&puppet.next_header(0), &icrq(id)))
        .collect();
    for index in [3, 1, 1, 2] {
        puppet.deliver(&datagrams[index]);
        assert_eq!(puppet.events(), []);
    }
    puppet.deliver(&datagrams[0]);
    let order: Vec<_> = puppet
        .events()
        .into_iter()
        .map(|event| match event {
            Event::CallRequested { session } => {
                puppet.tunnel.call(session).unwrap().peer_session_id
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [1, 2, 3, 4]);
    assert_eq!(puppet.take_one().header.nr, puppet.ns);
}

#[test]
fn a_message_past_our_window_is_dropped() {
    let mut puppet = Puppet::established_receiver(TunnelConfig {
        rx_window: 4,
        ..config()
    });
    let datagrams: Vec<_> = (1..=5)
        .map(|id| encode(&puppet.next_header(0), &icrq(id)))
        .collect();
    puppet.deliver(&datagrams[4]);
    assert_eq!(puppet.tunnel.counters().troubles.out_of_window, 1);
    puppet.deliver(&datagrams[3]);
    assert_eq!(puppet.tunnel.counters().troubles.out_of_order, 1);
    datagrams[..3]
        .iter()
        .for_each(|datagram| puppet.deliver(datagram));
    assert_eq!(puppet.events().len(), 4);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_discredits_its_message() {
    let mut puppet = Puppet::established_receiver(config());
    for ahead in [1, 100, 0x7fff - 1] {
        let header = ControlHeader {
            tunnel_id: puppet.tunnel.id(),
            session_id: 0,
            ns: puppet.ns,
            nr: puppet.nr + ahead,
        };
        puppet.deliver(&encode(&header, &icrq(5)));
    }
    assert_eq!(puppet.events(), []);
    assert_eq!(puppet.tunnel.counters().troubles.bad_acknowledgements, 3);
    // An old one is no acknowledgement, and no harm.
    let header = ControlHeader {
        tunnel_id: puppet.tunnel.id(),
        session_id: 0,
        ns: puppet.ns,
        nr: puppet.nr - 1,
    };
    puppet.deliver(&encode(&header, &icrq(5)));
    assert_eq!(puppet.events().len(), 1);
}

/// Places `calls` calls at once; the puppet has a window of 8.
fn with_many_calls(tx_window: u16, calls: usize) -> Puppet {
    let mut puppet = Puppet::established_originator(TunnelConfig {
        tx_window,
        ..config()
    });
    for _ in 0..calls {
        puppet.place_call();
    }
    puppet
}

#[test]
fn the_congestion_window_doubles_with_each_round_trip_and_ends_at_the_peers_window() {
    // The SCCRQ's and the SCCCN's acknowledgements have opened it to 3.
    let mut puppet = with_many_calls(100, 60);
    let mut flights = Vec::new();
    for _ in 0..5 {
        let flight = puppet.take();
        flights.push(flight.len());
        // A ZLB for each message.
        for message in flight {
            puppet.nr = message.header.ns.wrapping_add(1);
            puppet.acknowledge();
        }
    }
    assert_eq!(flights, [3, 6, 8, 8, 8]);
    assert_eq!(puppet.tunnel.transport_stats().congestion_window, 8);
}

#[test]
fn our_own_limit_holds_where_it_is_lower() {
    let mut puppet = with_many_calls(2, 10);
    for _ in 0..3 {
        assert_eq!(puppet.take().len(), 2);
        puppet.acknowledge();
    }
}

#[test]
fn a_peer_that_says_no_window_gets_4() {
    let (mut puppet, _) = Puppet::originator(config());
    let mut sccrp = introduction(MessageType::SCCRP, 77);
    sccrp.retain(|attribute| !matches!(attribute, Attribute::ReceiveWindowSize(_)));
    puppet.send(0, &sccrp);
    assert_eq!(puppet.tunnel.transport_stats().window, 4);
}

#[test]
fn a_timeout_halves_the_threshold_and_starts_slowly_again() {
    let mut puppet = with_many_calls(100, 60);
    while puppet.tunnel.transport_stats().congestion_window < 8 {
        puppet.take();
        puppet.acknowledge();
    }
    let lost = puppet.take();
    assert_eq!(lost.len(), 8);
    let again = puppet.wait(SECOND);
    assert_eq!(again.iter().filter(|m| m.message_type.is_some()).count(), 1);
    assert_eq!(again.last().unwrap().header.ns, lost[0].header.ns);
    let stats = puppet.tunnel.transport_stats();
    assert_eq!(
        (stats.congestion_window, stats.slow_start_threshold),
        (1, 4)
    );
    // Acknowledge one message at a time: by one each below the threshold, then by one a window.
    let mut windows = Vec::new();
    let first = lost[0].header.ns;
    for acknowledged in 1..=12 {
        puppet.nr = first.wrapping_add(acknowledged);
        puppet.acknowledge();
        puppet.take();
        windows.push(puppet.tunnel.transport_stats().congestion_window);
    }
    assert_eq!(windows, [2, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6]);
}

#[test]
fn after_a_timeout_what_the_peer_has_is_not_sent_again() {
    let mut puppet = with_many_calls(100, 3);
    let flight = puppet.take();
    assert_eq!(flight.len(), 3);
    let again = puppet.wait(SECOND);
    assert_eq!(again.len(), 1);
    // It had the other two.
    puppet.acknowledge();
    assert_eq!(puppet.take_types(), []);
    assert!(puppet.tunnel.is_quiet());
    assert_eq!(puppet.wait(20 * SECOND), []);
}

#[test]
fn calls_survive_a_network_that_loses_duplicates_and_reorders() {
    for seed in 0..20 {
        let patient = TunnelConfig {
            max_retries: 10,
            call_establish_timeout: None,
            ..config()
        };
        let mut pair = Pair::new(patient.clone(), patient, seed);
        pair.network = Network {
            loss: 20,
            duplication: 10,
            reordering: 20,
        };
        for _ in 0..50 {
            pair.place_call();
        }
        pair.run(900 * SECOND);
        assert_eq!(pair.states(), [TunnelState::Established; 2], "seed {seed}");
        assert_eq!(
            [pair.established_calls(0), pair.established_calls(1)],
            [50; 2],
            "seed {seed}"
        );
        assert_eq!(pair.lns().calls().count(), 50, "seed {seed}");
        pair.lac().close(StopReason::clear("done"));
        pair.settle();
        pair.run(900 * SECOND);
        assert_eq!(pair.states(), [TunnelState::Released; 2], "seed {seed}");
        assert!(
            matches!(pair.events[1].last(), Some(Event::Released)),
            "seed {seed}"
        );
    }
}

#[test]
fn sequence_numbers_wrap_around() {
    let hellos = TunnelConfig {
        hello_interval: None,
        rx_window: 64,
        tx_window: 64,
        ..config()
    };
    let mut pair = Pair::established(hellos.clone(), hellos, 3);
    pair.keeps_sent = false;
    pair.network = Network {
        loss: 0,
        duplication: 1,
        reordering: 1,
    };
    for round in 0..700 {
        let calls: Vec<_> = (0..40).map(|_| pair.place_call()).collect();
        pair.run(3 * SECOND);
        assert_eq!(pair.established_calls(1), 40, "round {round}");
        for id in calls {
            pair.close_call(0, id);
        }
        pair.run(3 * SECOND);
        assert_eq!(pair.lns().calls().count(), 0, "round {round}");
        pair.events = [Vec::new(), Vec::new()];
    }
    // Three messages a call from the LAC: past 65536.
    assert!(pair.lns().counters().received.icrq * 3 > 65536);
    assert_eq!(pair.states(), [TunnelState::Established; 2]);
    assert_eq!(pair.lns().counters().troubles.bad_acknowledgements, 0);
}

#[test]
fn what_the_peers_stop_ccn_repeats_is_acknowledged_for_a_whole_cycle() {
    let mut puppet = Puppet::established_receiver(config());
    let datagram = encode(&puppet.next_header(0), &stop_ccn(77));
    puppet.deliver(&datagram);
    assert_eq!(puppet.take_one().message_type, None);
    assert_eq!(puppet.end().by, EndedBy::Peer);
    for _ in 0..30 {
        puppet.wait(SECOND);
        puppet.deliver(&datagram);
        assert_eq!(puppet.take_one().header.nr, puppet.ns);
    }
    puppet.wait(2 * SECOND);
    assert_eq!(puppet.events(), [Event::Released]);
    puppet.deliver(&datagram);
    assert_eq!(puppet.take_types(), []);
    assert_eq!(puppet.tunnel.next_timeout(), None);
}

#[test]
fn our_stop_ccn_is_repeated_until_it_is_acknowledged_and_then_lingers() {
    let mut puppet = Puppet::established_receiver(config());
    puppet.take();
    puppet.tunnel.close(StopReason::shutting_down("bye"));
    assert_eq!(puppet.stopped(), (6, Some(0), "bye".into()));
    assert!(!puppet.tunnel.is_quiet());
    assert_eq!(
        puppet.wait(SECOND)[0].message_type,
        Some(MessageType::STOP_CCN)
    );
    puppet.acknowledge();
    assert!(puppet.tunnel.is_quiet());
    puppet.wait(30 * SECOND);
    assert_eq!(puppet.tunnel.state(), TunnelState::Closing);
    puppet.wait(SECOND);
    assert_eq!(puppet.tunnel.state(), TunnelState::Released);
}

#[test]
fn closing_drops_what_was_not_sent_yet() {
    let mut puppet = with_many_calls(100, 60);
    let flight = puppet.take().len();
    puppet.tunnel.close(StopReason::clear("enough"));
    assert_eq!(puppet.take_types(), []);
    assert_eq!(puppet.tunnel.transport_stats().waiting, 1);
    assert_eq!(puppet.tunnel.transport_stats().unacknowledged, flight);
    puppet.acknowledge();
    assert_eq!(puppet.take_types(), [Some(MessageType::STOP_CCN)]);
}

/// A thousand calls placed at once, and a window of 4 that is full.
fn with_a_thousand_calls_and_a_full_window() -> Puppet {
    let mut puppet = with_many_calls(4, 1_000);
    while puppet.tunnel.transport_stats().congestion_window < 4 {
        puppet.take();
        puppet.acknowledge();
    }
    assert_eq!(puppet.take().len(), 4);
    assert!(puppet.tunnel.transport_stats().waiting > 900);
    puppet
}

#[test]
fn stop_ccn_goes_before_a_thousand_calls_that_wait() {
    let mut puppet = with_a_thousand_calls_and_a_full_window();
    puppet
        .tunnel
        .close(StopReason::shutting_down("the house burns"));
    assert_eq!(puppet.take_types(), []);
    puppet.acknowledge();
    assert_eq!(puppet.take_types(), [Some(MessageType::STOP_CCN)]);
}

#[test]
fn acknowledgements_go_before_a_thousand_calls_that_wait() {
    let mut puppet = with_a_thousand_calls_and_a_full_window();
    let unacknowledged = puppet.nr - 4;
    let from_peer = |puppet: &mut Puppet| {
        let header = ControlHeader {
            nr: unacknowledged,
            ..puppet.next_header(0)
        };
        encode(&header, &just(MessageType::HELLO))
    };
    let hello = from_peer(&mut puppet);
    puppet.deliver(&hello);
    let zlbs = puppet.wait(Duration::from_millis(50));
    assert_eq!(zlbs.len(), 1, "{zlbs:?}");
    assert_eq!((zlbs[0].message_type, zlbs[0].header.nr), (None, puppet.ns));
    // What is asked again is answered again, at once.
    puppet.deliver(&hello);
    assert_eq!(puppet.take_types(), [None]);
    // With room in the window, it travels with the next call.
    puppet.nr = unacknowledged + 1;
    puppet.send(0, &just(MessageType::HELLO));
    let next = puppet.take_one();
    assert_eq!(
        (next.message_type, next.header.nr),
        (Some(MessageType::ICRQ), puppet.ns)
    );
}

#[test]
fn a_peer_that_vanishes_is_missed_as_soon_with_a_thousand_calls_that_wait() {
    let mut puppet = with_a_thousand_calls_and_a_full_window();
    puppet.wait(31 * SECOND);
    assert_eq!(puppet.tunnel.state(), TunnelState::Released);
    assert_eq!(puppet.end().by, EndedBy::Timeout);
}

#[test]
fn a_peer_that_takes_its_time_is_not_given_up_for_want_of_a_hello() {
    let mut puppet = with_a_thousand_calls_and_a_full_window();
    let first = puppet.nr - 4;
    // One message each 20 seconds is acknowledged: it lives, however long that takes.
    for acknowledged in 1..=12 {
        let sent = puppet.wait(20 * SECOND);
        let hello = Some(MessageType::HELLO);
        assert!(sent.iter().all(|m| m.message_type != hello), "{sent:?}");
        puppet.nr = first + acknowledged;
        puppet.acknowledge();
    }
    assert_eq!(puppet.tunnel.state(), TunnelState::Established);
}

#[test]
fn a_repeated_sccrq_gets_the_same_sccrp_again() {
    let (mut puppet, sccrp) = Puppet::receiver(config(), &sccrq(77));
    let header = ControlHeader {
        tunnel_id: 0,
        session_id: 0,
        ns: 0,
        nr: 0,
    };
    puppet.deliver(&encode(&header, &sccrq(77)));
    let again = puppet.take_one();
    assert_eq!(again.header, sccrp.header);
    assert_eq!(again.message_type, Some(MessageType::SCCRP));
    assert_eq!(puppet.tunnel.state(), TunnelState::WaitCtlConn);
}

#[test]
fn datagrams_for_somebody_else_change_nothing() {
    let mut puppet = Puppet::established_receiver(config());
    puppet.wait(SECOND);
    let header = ControlHeader {
        tunnel_id: 999,
        session_id: 0,
        ns: puppet.ns,
        nr: puppet.nr,
    };
    puppet.deliver(&encode(&header, &icrq(5)));
    puppet.deliver(b"\x00\x02\x00\xc8\x00\x01data");
    puppet.deliver(b"");
    assert_eq!(puppet.events(), []);
    assert_eq!(puppet.take_types(), []);
    assert_eq!(puppet.tunnel.counters().troubles.malformed_headers, 3);
}

#[test]
fn a_tunnel_can_be_stored_and_restored_at_any_time() {
    let mut pair = Pair::established(config(), config(), 5);
    pair.network = Network {
        loss: 10,
        duplication: 0,
        reordering: 10,
    };
    for _ in 0..20 {
        pair.place_call();
        pair.run(Duration::from_millis(35));
        for tunnel in pair.tunnels.iter_mut().flatten() {
            let stored = serde_json::to_string(tunnel).unwrap();
            *tunnel = serde_json::from_str(&stored).unwrap();
        }
    }
    pair.run(120 * SECOND);
    assert_eq!(
        [pair.established_calls(0), pair.established_calls(1)],
        [20; 2]
    );
    let call = pair.lns().calls().next().unwrap().session_id;
    pair.lns().close_call(call, Disconnect::administrative(""));
    pair.settle();
    pair.run(20 * SECOND);
    assert_eq!(pair.lac().calls().count(), 19);
}
