//! Sequence numbers of data messages between two engines (RFC 2661 section 5.4).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use api::{CommandError, Response, Selector, SessionTraffic};
use common::{LAC, LNS, Pair, ask, counter, model, tunnel};
use config::TraceFlags;
use engine::Command;
use sim::{NodeId, Quality, World};

/// Adds parameters to the default session profile.
fn with(base: &str, parameters: &str) -> String {
    format!(
        "{base}\nsession profile modify profile_name=default {parameters}
         ppp profile modify profile_name=default lcp_echo_interval=1 lcp_echo_failure_count=60\n"
    )
}

/// The only session of a node, by its ids.
fn session(world: &mut World, node: NodeId) -> [Selector; 2] {
    let status = common::sessions(world, node).remove(0);
    [status.tunnel_id, status.session_id].map(|id| Selector::Id(id.unwrap()))
}

fn traffic(world: &mut World, node: NodeId) -> SessionTraffic {
    let [tunnel, session] = session(world, node);
    match ask(world, node, Command::SessionShow(tunnel, session)) {
        Ok(Response::Session(status)) => status.traffic.expect("it is in the datapath"),
        other => panic!("{other:?}"),
    }
}

fn numbers(world: &mut World, node: NodeId, use_them: bool) -> Result<Response, CommandError> {
    let [tunnel, session] = session(world, node);
    let change = Box::new(numbered(use_them));
    ask(world, node, Command::SessionModify(tunnel, session, change))
}

/// A change to numbered data messages, or back.
fn numbered(use_them: bool) -> config::Session {
    let mut change = config::Session::default();
    change.params.use_sequence_numbers = Some(use_them);
    change
}

fn sent_and_received(world: &mut World, node: NodeId) -> (bool, bool) {
    let traffic = traffic(world, node);
    (traffic.tx_sequenced, traffic.rx_sequenced)
}

#[test]
fn a_lac_sends_numbers_while_the_lns_does_whenever_it_turns_them_on_or_off() {
    let mut pair = Pair::new(&with(LAC, ""), &with(LNS, ""));
    pair.up();
    for on in [false, true, false, true] {
        numbers(&mut pair.world, pair.lns, on).unwrap();
        pair.run(5);
        for node in [pair.lac, pair.lns] {
            let both = sent_and_received(&mut pair.world, node);
            assert_eq!(both, (on, on), "node {node}");
        }
    }
    for node in [pair.lac, pair.lns] {
        let traffic = traffic(&mut pair.world, node);
        let troubles = [traffic.rx_lost, traffic.rx_discarded, traffic.rx_unnumbered];
        assert_eq!(troubles, [0; 3], "the count went on where it stopped");
    }
}

#[test]
fn an_lns_that_is_told_to_sends_numbers_from_the_start() {
    let mut pair = Pair::new(&with(LAC, ""), &with(LNS, "use_sequence_numbers=yes"));
    pair.up();
    for node in [pair.lac, pair.lns] {
        assert_eq!(sent_and_received(&mut pair.world, node), (true, true));
    }
}

#[test]
fn what_a_lac_requires_is_sent_both_ways_and_cannot_be_turned_off() {
    let mut pair = Pair::new(&with(LAC, "sequencing_required=yes"), &with(LNS, ""));
    pair.up();
    pair.run(5);
    for node in [pair.lac, pair.lns] {
        assert_eq!(sent_and_received(&mut pair.world, node), (true, true));
        assert_eq!(traffic(&mut pair.world, node).rx_unnumbered, 0);
        let refused = numbers(&mut pair.world, node, false).unwrap_err();
        assert!(refused.message.contains("required"), "{refused}");
    }
}

#[test]
fn what_the_lac_of_an_outgoing_call_requires_its_lns_is_told() {
    let lns = "tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes
        session create tunnel_name=t session_name=s session_type=lnoc called_number=5
        ppp profile modify profile_name=default local_ipaddr=10.0.0.1 ip_pool_name=pool
        ip_pool create pool_name=pool range=10.0.0.2-10.0.0.9
        user create user_name=alice password=wonderland";
    let lac = "peer profile modify profile_name=default lac_lns=laclns
        session profile modify profile_name=default user_name=alice user_password=wonderland";
    for required in ["yes", "no"] {
        let requires = format!("sequencing_required={required}");
        let mut pair = Pair::new(&with(lns, ""), &with(lac, &requires));
        pair.run(10);
        for node in [0, 1] {
            let numbered = required == "yes";
            assert_eq!(
                sent_and_received(&mut pair.world, node),
                (numbered, numbered)
            );
        }
        let off = numbers(&mut pair.world, 0, false);
        assert_eq!(off.is_err(), required == "yes", "{off:?}");
    }
}

#[test]
fn what_an_lns_was_told_holds_for_the_sessions_next_call_too() {
    let lns = "tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes
        session create tunnel_name=t session_name=s session_type=lnoc
        ppp profile modify profile_name=default local_ipaddr=10.0.0.1 ip_pool_name=pool
        ip_pool create pool_name=pool range=10.0.0.2-10.0.0.9
        user create user_name=alice password=wonderland";
    let lac = "peer profile modify profile_name=default lac_lns=laclns
        session profile modify profile_name=default user_name=alice user_password=wonderland";
    for before_it_is_up in [true, false] {
        let mut pair = Pair::new(&with(lns, ""), &with(lac, ""));
        let change = Box::new(numbered(true));
        if !before_it_is_up {
            pair.run(10);
        }
        let modify = Command::SessionModify(tunnel("t"), Selector::Name("s".into()), change);
        ask(&mut pair.world, 0, modify).unwrap();
        pair.run(10);
        assert_eq!(sent_and_received(&mut pair.world, 0), (true, true));
        let [at_lac, _] = session(&mut pair.world, 1);
        ask(&mut pair.world, 1, Command::TunnelDelete(at_lac)).unwrap();
        pair.run(30);
        assert_eq!(sent_and_received(&mut pair.world, 0), (true, true));
    }
}

#[test]
fn a_lac_is_told_that_the_lns_decides() {
    let mut pair = Pair::new(&with(LAC, ""), &with(LNS, ""));
    let early = Command::SessionModify(
        tunnel("t"),
        Selector::Name("s".into()),
        Box::new(numbered(true)),
    );
    let refused = ask(&mut pair.world, pair.lac, early).unwrap_err();
    assert!(refused.message.contains("decides"), "{refused}");
    pair.up();
    let refused = numbers(&mut pair.world, pair.lac, true).unwrap_err();
    assert!(refused.message.contains("decides"), "{refused}");
}

#[test]
fn a_change_of_which_a_part_is_refused_changes_nothing() {
    let lac = with(LAC, "") + "\nsession create tunnel_name=t session_name=other";
    let mut pair = Pair::new(&lac, &with(LNS, ""));
    pair.up();
    let show = |world: &mut World, node, of: [Selector; 2]| {
        let [tunnel, session] = of;
        match ask(world, node, Command::SessionShow(tunnel, session)) {
            Ok(Response::Session(status)) => {
                let numbered = status.traffic.as_ref().map(|traffic| traffic.tx_sequenced);
                (status.session_name, status.trace_flags, numbered)
            }
            other => panic!("{other:?}"),
        }
    };
    let at_lns = session(&mut pair.world, pair.lns);
    let ours = [tunnel("t"), Selector::Name("s".into())];
    let flags = Some(TraceFlags::ALL);
    let mut of_peer = numbered(true);
    of_peer.params.trace_flags = flags;
    of_peer.params.reorder_timeout = Some(250);
    let mut not_ours = numbered(true);
    not_ours.params.trace_flags = flags;
    not_ours.session_name = Some("mine".to_owned());
    let mut taken = config::Session::default();
    taken.params.trace_flags = flags;
    taken.session_name = Some("other".to_owned());
    for (node, of, change, why) in [
        (pair.lns, at_lns, of_peer, "peer placed"),
        (pair.lac, ours.clone(), not_ours, "decides"),
        (pair.lac, ours, taken, "exists"),
    ] {
        let before = show(&mut pair.world, node, of.clone());
        let [tunnel, session] = of.clone();
        let modify = Command::SessionModify(tunnel, session, Box::new(change));
        let refused = ask(&mut pair.world, node, modify).unwrap_err();
        assert!(refused.message.contains(why), "{refused}");
        assert_eq!(show(&mut pair.world, node, of), before);
    }
}

#[test]
fn over_a_bad_network_late_messages_are_put_in_order_and_lost_ones_counted() {
    let reordering = "use_sequence_numbers=yes reorder_timeout=1000";
    let mut pair = Pair::new(&with(LAC, reordering), &with(LNS, reordering));
    pair.up();
    pair.world.set_quality(Quality::BAD);
    pair.run(20 * 60);
    for node in [pair.lac, pair.lns] {
        let traffic = traffic(&mut pair.world, node);
        assert!(traffic.tx_sequenced && traffic.rx_sequenced);
        // Of some 2,400 messages 10 % are lost and 5 % doubled.
        let bounds = [(traffic.rx_lost, 150..350), (traffic.rx_discarded, 60..180)];
        for (count, bounds) in bounds {
            assert!(bounds.contains(&count), "{traffic:?}");
        }
        assert!(traffic.rx_out_of_order > 0, "{traffic:?}");
    }
    let before = traffic(&mut pair.world, pair.lns).rx_lost;
    pair.world.set_quality(Quality::PERFECT);
    let [tunnel, session] = session(&mut pair.world, pair.lns);
    ask(
        &mut pair.world,
        pair.lns,
        Command::SessionDelete(tunnel, session),
    )
    .unwrap();
    pair.run(5);
    assert!(counter(&mut pair.world, pair.lns, "data.rx_lost") >= before);
}

#[test]
fn a_restored_shard_counts_from_0_and_is_heard_again() {
    let mut pair = Pair::new(&with(LAC, "sequencing_required=yes"), &with(LNS, ""));
    pair.up();
    pair.run(60);
    let sequencing_before = traffic(&mut pair.world, pair.lac);
    assert_eq!(sequencing_before.rx_discarded, 0);
    let snapshot = pair.world.snapshot(pair.lns);
    pair.world
        .restore(pair.lns, &snapshot, model(&with(LNS, "")));
    pair.run(60);
    let after = traffic(&mut pair.world, pair.lac);
    assert_eq!((after.rx_discarded, after.rx_lost), (7, 0), "{after:?}");
    assert!(traffic(&mut pair.world, pair.lns).tx_sequenced);
}

#[test]
fn what_is_required_of_a_live_session_is_asked_for_with_its_next_call() {
    let lac = format!("system modify session_persist_pend_timeout=1\n{LAC}");
    let mut pair = Pair::new(&with(&lac, ""), &with(LNS, ""));
    pair.up();
    let mut change = config::Session::default();
    change.params.sequencing_required = Some(true);
    change.params.reorder_timeout = Some(250);
    let modify = Command::SessionModify(tunnel("t"), Selector::Name("s".into()), Box::new(change));
    ask(&mut pair.world, pair.lac, modify).unwrap();
    pair.run(5);
    assert_eq!(sent_and_received(&mut pair.world, pair.lns), (false, false));
    let [of_tunnel, of_session] = session(&mut pair.world, pair.lns);
    let close = Command::SessionDelete(of_tunnel, of_session);
    ask(&mut pair.world, pair.lns, close).unwrap();
    pair.run(60);
    assert_eq!(sent_and_received(&mut pair.world, pair.lns), (true, true));
    let [of_tunnel, of_session] = session(&mut pair.world, pair.lac);
    match ask(
        &mut pair.world,
        pair.lac,
        Command::SessionShow(of_tunnel, of_session),
    ) {
        Ok(Response::Session(status)) => assert_eq!(status.parameters["reorder_timeout"], 250),
        other => panic!("{other:?}"),
    }
}
