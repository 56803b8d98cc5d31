//! What an operator sees of tunnels and sessions between a LAC and an LNS of ours.

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use api::{ErrorKind, Range, Response, Role, Selector, SessionState, TunnelFilter, TunnelState};
use common::{
    LAC, LNS, Pair, address, ask, counter, established, is_up, model, sessions, start, tunnel,
    tunnels, users,
};
use config::Model;
use engine::{Command, Event};
use sim::{Quality, World};

#[test]
fn a_session_comes_up_with_what_the_profile_gives() {
    let mut pair = Pair::new(LAC, LNS);
    let (lac, lns) = pair.up();
    assert_eq!((lac.role, lns.role), (Role::Lac, Role::Lns));
    assert_eq!(lac.remote_ipaddr, Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(lac.local_ipaddr, Some(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!(
        (lns.local_ipaddr, lns.remote_ipaddr),
        (lac.remote_ipaddr, lac.local_ipaddr)
    );
    assert_eq!(lac.dns, [std::net::IpAddr::from([10, 0, 0, 53])]);
    assert_eq!(
        (lac.local_ipv6, lac.remote_ipv6),
        (lns.remote_ipv6, lns.local_ipv6)
    );
    assert!(
        lac.local_ipv6
            .is_some_and(|a| a.to_string().starts_with("fe80::"))
    );
    assert_eq!(lns.user_name.as_deref(), Some("alice"));
    assert_eq!(lns.mtu, Some(1460));
    assert_eq!(
        (lac.peer_session_id, lns.peer_session_id),
        (lns.session_id, lac.session_id)
    );
    assert_eq!(lac.session_name.as_deref(), Some("s"));
}

#[test]
fn every_authentication_protocol_works_with_and_without_a_tunnel_secret() {
    let all = ["pap", "chap", "mschapv1", "mschapv2"];
    let shown = ["PAP", "CHAP", "MS-CHAPv1", "MS-CHAPv2"];
    for (protocol, shown) in all.into_iter().zip(shown) {
        for secret in [
            "",
            "secret=s3cret auth_mode=challenge",
            "secret=s3cret auth_mode=challenge hide_avps=yes",
        ] {
            let only: String = all
                .iter()
                .map(|p| format!(" auth_{p}={}", *p == protocol))
                .collect();
            let server = format!(
                "{LNS}\nppp profile modify profile_name=default {only}\ntunnel profile modify profile_name=default {secret}"
            );
            let client = format!(
                "ppp profile modify profile_name=default auth_mschapv1=yes\ntunnel profile modify profile_name=default {secret}\n{LAC}"
            );
            let (lac, lns) = Pair::new(&client, &server).up();
            assert_eq!(
                lns.auth_protocol.as_deref(),
                Some(shown),
                "{protocol} {secret}"
            );
            assert_eq!(
                lac.auth_protocol.as_deref(),
                Some(shown),
                "{protocol} {secret}"
            );
        }
    }
}

#[test]
fn a_wrong_password_is_told_to_both_sides_and_the_others_live() {
    let client = format!(
        "{LAC}\nsession create tunnel_name=t session_name=bad user_name=bob user_password=wrong"
    );
    let mut pair = Pair::new(&client, LNS);
    pair.up();
    let (at_lac, at_lns) = (pair.ends(0).join("; "), pair.ends(1).join("; "));
    assert!(
        at_lac.contains("authentic") || at_lac.contains("rejected our name or password"),
        "{at_lac}"
    );
    assert!(at_lns.contains("authentic"), "{at_lns}");
    assert!(counter(&mut pair.world, 1, "ppp.auth_failures") >= 1);
    let all = sessions(&mut pair.world, 0);
    let bad = all
        .iter()
        .find(|s| s.session_name.as_deref() == Some("bad"))
        .unwrap();
    assert!(
        bad.last_error
            .as_deref()
            .is_some_and(|e| e.contains("password")),
        "{bad:?}"
    );
    assert!(
        all.iter()
            .any(|s| s.session_name.as_deref() == Some("s") && is_up(s))
    );
}

#[test]
fn an_unknown_user_fails_like_a_wrong_password() {
    let mut pair = Pair::new(&LAC.replace("alice", "mallory"), LNS);
    pair.run(30);
    assert_eq!(established(&mut pair.world, 1), 0);
    let refused = pair.world.take_events(1).into_iter().any(
        |e| matches!(e, Event::Authentication { ref user, failure: Some("there is no such user"), .. } if user == "mallory"),
    );
    assert!(refused);
}

#[test]
fn an_empty_password_lets_nobody_in() {
    let server = format!("{LNS}\nuser create user_name=eve password=x");
    let client = LAC.replace("alice", "eve").replace("wonderland", "\"\"");
    for other in ["", "auth_mschapv2=no", "auth_mschapv2=no auth_chap=no"] {
        let other = format!("\nppp profile modify profile_name=default {other}");
        let server = server.clone() + &other;
        let mut pair = Pair::new(&client, &server);
        // No file and no command can say so.
        let mut without = Model::clone(&model(&server));
        without.users.get_mut("eve").unwrap().password = None;
        let without = Command::SetModel(Arc::new(without));
        ask(&mut pair.world, pair.lns, without).unwrap();
        pair.run(5);
        assert_eq!(established(&mut pair.world, 1), 0);
        let events = pair.world.take_events(1);
        let failures = events.iter().filter_map(|event| match event {
            Event::Authentication { failure, .. } => Some(*failure),
            _ => None,
        });
        let failures: Vec<_> = failures.collect();
        assert!(!failures.is_empty());
        let reason = Some("the user has no password");
        assert!(failures.iter().all(|failure| *failure == reason));
    }
}

#[test]
fn a_user_with_an_address_of_its_own_gets_it_and_only_once() {
    let bob = LAC.replace("alice", "bob").replace("wonderland", "builder");
    let mut pair = Pair::new(&bob, LNS);
    let (lac, _) = pair.up();
    assert_eq!(lac.local_ipaddr, Some(Ipv4Addr::new(10, 9, 9, 9)));
    let again =
        "session create tunnel_name=t session_name=again user_name=bob user_password=builder";
    let second = model(&format!("{bob}\n{again}")).sessions[1].clone();
    ask(&mut pair.world, 0, Command::SessionCreate(Box::new(second))).unwrap();
    pair.run(10);
    assert_eq!(established(&mut pair.world, 1), 1);
    assert!(pair.ends(1).join(";").contains("10.9.9.9 is in use"));
}

#[test]
fn an_empty_pool_refuses_the_session_with_a_reason_and_lets_the_others_live() {
    let server = LNS.replace("10.0.255.254", "10.0.0.3");
    let mut client = LAC.to_owned();
    for i in 0..4 {
        client += &format!(
            "session create tunnel_name=t session_name=s{i} user_name=alice user_password=wonderland\n"
        );
    }
    let mut pair = Pair::new(&client, &server);
    pair.run(60);
    assert_eq!(established(&mut pair.world, 1), 2);
    assert!(
        pair.ends(1)
            .join(";")
            .contains("no address is left in the pool pool")
    );
    let told = pair.ends(0).join(";");
    assert!(
        told.contains("no address is left") || told.contains("No resources"),
        "{told}"
    );
    assert!(counter(&mut pair.world, 1, "refused.no_address") >= 3);

    // An address that is given back is lent again.
    let up = sessions(&mut pair.world, 1)
        .into_iter()
        .find(is_up)
        .unwrap();
    let (t, s) = (up.tunnel_id.unwrap(), up.session_id.unwrap());
    let delete = Command::SessionDelete(Selector::Id(t), Selector::Id(s));
    ask(&mut pair.world, 1, delete).unwrap();
    pair.run(90);
    assert_eq!(established(&mut pair.world, 1), 2);
}

#[test]
fn a_wrong_tunnel_secret_refuses_the_tunnel() {
    let server = format!(
        "{LNS}\ntunnel profile modify profile_name=default secret=right auth_mode=challenge"
    );
    let client = format!(
        "tunnel profile modify profile_name=default secret=wrong auth_mode=challenge\n{LAC}"
    );
    let mut pair = Pair::new(&client, &server);
    pair.run(30);
    assert_eq!(established(&mut pair.world, 1), 0);
    let failed = pair
        .world
        .take_events(0)
        .into_iter()
        .find_map(|event| match event {
            Event::TunnelFailed {
                reason,
                retry_seconds,
                ..
            } => Some((reason, retry_seconds)),
            _ => None,
        });
    let (reason, retry) = failed.unwrap();
    assert!(
        reason.to_lowercase().contains("author") || reason.contains("authentic"),
        "{reason}"
    );
    assert!(retry.is_some());
}

#[test]
fn an_unknown_peer_is_refused_when_only_known_ones_may_call() {
    let server = format!("{LNS}\ntunnel profile modify profile_name=default auth_mode=simple");
    let mut pair = Pair::new(LAC, &server);
    pair.run(10);
    assert_eq!(established(&mut pair.world, 1), 0);
    assert!(counter(&mut pair.world, 1, "refused.unknown_peer") >= 1);
    assert_eq!(
        counter(&mut pair.world, 1, "control.retransmissions"),
        0,
        "each refusal was acknowledged"
    );

    let known = format!("{server}\npeer profile create profile_name=node0");
    Pair::new(LAC, &known).up();
    let known = format!(
        "{server}\npeer profile create profile_name=net peer_ipaddr=192.0.2.0 netmask=255.255.255.0"
    );
    Pair::new(LAC, &known).up();
}

#[test]
fn a_system_that_takes_no_tunnels_says_so_and_not_that_it_shuts_down() {
    let server = format!("{LNS}\nsystem modify deny_remote_tunnel_creates=yes");
    let mut pair = Pair::new(LAC, &server);
    pair.run(1);
    let error = tunnels(&mut pair.world, 0).remove(0).last_error.unwrap();
    assert!(error.contains("not authorized"), "{error}");
}

#[test]
fn a_persistent_tunnel_comes_back_when_its_peer_does() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    pair.world.cut_off(1, true);
    pair.run(600);
    assert_eq!(established(&mut pair.world, 0), 0);
    assert_eq!(established(&mut pair.world, 1), 0, "the LNS noticed too");
    assert_eq!(pair.world.datapath_sessions(0), 0);
    let waiting = tunnels(&mut pair.world, 0).remove(0);
    assert!(
        waiting.last_error.is_some() && waiting.persist,
        "{waiting:?}"
    );
    pair.world.cut_off(1, false);
    let both = |world: &mut World| established(world, 0) == 1 && established(world, 1) == 1;
    assert!(
        pair.world
            .run_until(Duration::from_secs(400), Duration::from_secs(1), both)
    );
}

#[test]
fn a_peer_that_restarted_is_served_again() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    pair.world.remove(1);
    let again = pair.world.add(address(2), model(LNS));
    let back = |world: &mut World| established(world, 0) == 1 && established(world, again) == 1;
    assert!(
        pair.world
            .run_until(Duration::from_secs(600), Duration::from_secs(1), back)
    );
}

#[test]
fn attempts_back_off_and_do_not_exceed_the_limit() {
    let client = format!("system modify tunnel_persist_pend_timeout=20\n{LAC}");
    let mut pair = Pair::new(&client, LNS);
    pair.world.cut_off(1, true);
    pair.run(1800);
    let waits: Vec<u64> = pair
        .world
        .take_events(0)
        .into_iter()
        .filter_map(|event| match event {
            Event::TunnelFailed { retry_seconds, .. } => retry_seconds,
            _ => None,
        })
        .collect();
    assert!(waits.len() > 10, "{waits:?}");
    assert!(
        waits[0] <= 2 && waits.iter().all(|w| *w <= 25) && waits.iter().any(|w| *w >= 20),
        "{waits:?}"
    );
}

#[test]
fn a_tunnel_that_does_not_persist_is_forgotten_with_its_sessions() {
    let mut pair = Pair::new(&LAC.replace("persist=yes", ""), LNS);
    pair.up();
    let only = tunnels(&mut pair.world, 1).remove(0);
    ask(
        &mut pair.world,
        1,
        Command::TunnelDelete(Selector::Id(only.tunnel_id.unwrap())),
    )
    .unwrap();
    pair.run(60);
    assert_eq!(tunnels(&mut pair.world, 0), []);
    assert_eq!(sessions(&mut pair.world, 0), []);
    assert_eq!(tunnels(&mut pair.world, 1), []);
}

#[test]
fn the_answer_may_come_from_another_port_and_is_followed() {
    let mut pair = Pair::new(LAC, LNS);
    pair.world.answer_from(1, 40_000);
    pair.up();
    assert_eq!(
        tunnels(&mut pair.world, 0)[0].remote.unwrap().port(),
        40_000
    );
}

#[test]
fn an_established_tunnel_hears_no_other_port() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    pair.world.answer_from(1, 40_000);
    pair.run(100);
    assert!(counter(&mut pair.world, 0, "datagrams.wrong_address") > 0);
}

#[test]
fn each_side_can_end_a_session_and_the_other_learns_why() {
    for side in [0, 1] {
        let mut pair = Pair::new(&LAC.replace("persist=yes", ""), LNS);
        pair.up();
        let s = sessions(&mut pair.world, side).remove(0);
        let (t, s) = (
            Selector::Id(s.tunnel_id.unwrap()),
            Selector::Id(s.session_id.unwrap()),
        );
        ask(&mut pair.world, side, Command::SessionDelete(t, s)).unwrap();
        let closing = sessions(&mut pair.world, side).remove(0);
        assert_eq!(closing.state, SessionState::Closing);
        assert_eq!(closing.role, [Role::Lac, Role::Lns][side]);
        pair.run(5);
        for node in [0, 1] {
            assert_eq!(
                sessions(&mut pair.world, node),
                [],
                "side {side}, node {node}"
            );
            assert_eq!(pair.world.datapath_sessions(node), 0);
            assert_eq!(pair.ends(node).len(), 1);
            assert_eq!(
                tunnels(&mut pair.world, node)[0].state,
                TunnelState::Established
            );
        }
    }
}

#[test]
fn shutting_down_says_so_to_every_peer() {
    for side in [0, 1] {
        let mut pair = Pair::new(&LAC.replace("persist=yes", ""), LNS);
        pair.up();
        let token = pair.world.shut_down(side);
        assert_eq!(
            pair.world.take_reply(side, token),
            None,
            "not before the acknowledgement"
        );
        pair.run(1);
        assert_eq!(pair.world.take_reply(side, token), Some(Ok(Response::Done)));
        assert_eq!(pair.world.datapath_sessions(side), 0);
        pair.run(60);
        assert_eq!(tunnels(&mut pair.world, 1 - side), []);
        let refused = pair
            .world
            .command(
                side,
                Command::TunnelList(TunnelFilter::default(), Range::default()),
            )
            .unwrap()
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Shutdown);
    }
}

#[test]
fn limits_are_kept_and_told() {
    let many = format!(
        "{LAC}\nsession create tunnel_name=t session_name=two user_name=alice user_password=wonderland"
    );
    let mut pair = Pair::new(&many, &format!("{LNS}\nsystem modify max_sessions=1"));
    pair.run(30);
    assert_eq!(established(&mut pair.world, 1), 1);
    assert!(counter(&mut pair.world, 1, "refused.call_limit") >= 1);

    let mut pair = Pair::new(
        &many,
        &format!("{LNS}\ntunnel profile modify profile_name=default max_sessions=1"),
    );
    pair.run(30);
    assert_eq!(established(&mut pair.world, 1), 1);

    let two = format!("{LAC}\ntunnel create tunnel_name=u dest_ipaddr=192.0.2.2 persist=yes");
    let mut pair = Pair::new(&two, &format!("{LNS}\nsystem modify max_tunnels=1"));
    pair.run(30);
    let up = tunnels(&mut pair.world, 0)
        .iter()
        .filter(|t| t.state == TunnelState::Established)
        .count();
    assert_eq!(up, 1);
    assert!(counter(&mut pair.world, 1, "refused.tunnel_limit") >= 1);

    for parameter in ["drain_tunnels=yes", "deny_remote_tunnel_creates=yes"] {
        let mut pair = Pair::new(LAC, &format!("{LNS}\nsystem modify {parameter}"));
        pair.run(30);
        assert!(
            counter(&mut pair.world, 1, "refused.tunnel_policy") >= 1,
            "{parameter}"
        );
        assert_eq!(established(&mut pair.world, 1), 0, "{parameter}");
    }
}

#[test]
fn an_idle_tunnel_and_an_old_session_are_closed_in_time() {
    let mut pair = Pair::new(&LAC.replace("persist=yes", "idle_timeout=30"), LNS);
    pair.up();
    pair.run(300);
    assert_eq!(
        established(&mut pair.world, 1),
        1,
        "a tunnel with a session is not idle"
    );
    ask(
        &mut pair.world,
        0,
        Command::SessionDelete(tunnel("t"), Selector::Name("s".to_owned())),
    )
    .unwrap();
    pair.run(25);
    assert_eq!(
        tunnels(&mut pair.world, 1)[0].state,
        TunnelState::Established
    );
    pair.run(10);
    assert_ne!(
        tunnels(&mut pair.world, 1)[0].state,
        TunnelState::Established
    );

    let server = format!("{LNS}\nppp profile modify profile_name=default max_connect_time=100");
    let mut pair = Pair::new(&LAC.replace("persist=yes", ""), &server);
    pair.up();
    pair.run(90);
    assert_eq!(established(&mut pair.world, 1), 1);
    pair.run(15);
    assert_eq!(established(&mut pair.world, 1), 0);
    assert!(
        pair.ends(1).join(";").contains("time"),
        "{:?}",
        pair.ends(1)
    );
}

#[test]
fn commands_are_refused_with_reasons() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    let again = model(LAC);
    let world = &mut pair.world;
    let exists = ask(
        world,
        0,
        Command::TunnelCreate(Box::new(again.tunnels[0].clone())),
    )
    .unwrap_err();
    assert_eq!(exists.kind, ErrorKind::Exists);
    let exists = ask(
        world,
        0,
        Command::SessionCreate(Box::new(again.sessions[0].clone())),
    )
    .unwrap_err();
    assert_eq!(exists.kind, ErrorKind::Exists);
    let nowhere = ask(world, 0, Command::TunnelCreate(Box::default())).unwrap_err();
    assert!(nowhere.message.contains("dest_ipaddr"), "{nowhere}");
    let absent = ask(world, 0, Command::TunnelShow(tunnel("nobody"))).unwrap_err();
    assert_eq!(absent.kind, ErrorKind::NotFound);
    let id = tunnels(world, 1)[0].tunnel_id.unwrap();
    let outgoing = config::Session {
        tunnel_id: Some(id),
        ..Default::default()
    };
    let outgoing = ask(world, 1, Command::SessionCreate(Box::new(outgoing))).unwrap_err();
    assert!(outgoing.message.contains("outgoing"), "{outgoing}");
}

#[test]
fn users_are_listed_while_they_are_there() {
    let mut pair = Pair::new(LAC, LNS);
    let (_, lns) = pair.up();
    let there = users(&mut pair.world, 1);
    assert_eq!(there.len(), 1);
    assert_eq!(
        (there[0].user_name.as_str(), there[0].ip_address),
        ("alice", lns.remote_ipaddr)
    );
    ask(&mut pair.world, 0, Command::TunnelDelete(tunnel("t"))).unwrap();
    pair.run(5);
    assert_eq!(users(&mut pair.world, 1), []);
}

#[test]
fn a_lac_that_speaks_ipv4_only_or_ipv6_only_is_served() {
    for (off, v4, v6) in [("use_ipv6=no", true, false), ("use_ipv4=no", false, true)] {
        let client = format!("ppp profile modify profile_name=default {off}\n{LAC}");
        let (lac, lns) = Pair::new(&client, LNS).up();
        assert_eq!(
            (lns.remote_ipaddr.is_some(), lns.remote_ipv6.is_some()),
            (v4, v6),
            "{off}"
        );
        assert_eq!(
            (lac.local_ipaddr.is_some(), lac.local_ipv6.is_some()),
            (v4, v6),
            "{off}"
        );
    }
}

#[test]
fn a_hundred_sessions_of_one_tunnel_all_get_addresses_of_their_own() {
    let mut client = "tunnel create tunnel_name=t dest_ipaddr=192.0.2.2\n".to_owned();
    for _ in 0..100 {
        client += "session create tunnel_name=t user_name=alice user_password=wonderland\n";
    }
    let mut pair = Pair::new(&client, LNS);
    pair.run(30);
    let all = sessions(&mut pair.world, 1);
    let addresses: std::collections::BTreeSet<_> =
        all.iter().filter_map(|s| s.remote_ipaddr).collect();
    assert_eq!(
        (all.iter().filter(|s| is_up(s)).count(), addresses.len()),
        (100, 100)
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(seed, Quality::BAD);
        let client = model(LAC);
        let lac = world.add(address(1), client.clone());
        world.add(address(2), model(LNS));
        start(&mut world, lac, &client);
        world.run_for(Duration::from_secs(3600));
        (
            world.datagrams(),
            format!("{:?}{:?}", world.take_events(0), world.take_events(1)),
        )
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_session_waits_for_its_tunnel() {
    let mut pair = Pair::new(LAC, LNS);
    assert_eq!(
        sessions(&mut pair.world, 0)[0].state,
        SessionState::WaitTunnel
    );
    pair.up();
}

#[test]
fn other_versions_of_the_protocol_are_discarded_without_an_answer() {
    let mut pair = Pair::new("", LNS);
    let peer = std::net::SocketAddr::new(address(1), 1701);
    // L2F, L2TPv3, and two that nobody assigned.
    for version in [1, 3, 0, 15] {
        for flags in [0x00, 0xc8] {
            pair.world
                .datagram(1, peer, &[flags, version, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
    assert_eq!(counter(&mut pair.world, 1, "datagrams.wrong_version"), 8);
    pair.run(60);
    assert_eq!(
        (pair.world.datagrams(), tunnels(&mut pair.world, 1)),
        (0, vec![])
    );
}

#[test]
fn requests_that_cross_open_two_tunnels_where_neither_has_a_tie_breaker() {
    let mut world = World::new(7, Quality::PERFECT);
    let toward = |last: u8| {
        model(&format!(
            "{LNS}\ntunnel create tunnel_name=t dest_ipaddr=192.0.2.{last}"
        ))
    };
    let models = [toward(2), toward(1)];
    for (node, model) in models.iter().enumerate() {
        assert_eq!(world.add(address(1 + node as u8), model.clone()), node);
    }
    for (node, model) in models.iter().enumerate() {
        start(&mut world, node, model);
    }
    world.run_for(Duration::from_secs(5));
    for node in [0, 1] {
        assert_eq!(
            common::tunnels_in(&mut world, node, TunnelState::Established),
            2
        );
    }
}

#[test]
fn a_session_whose_ppp_takes_too_long_is_ended() {
    let server = format!("{LNS}\nsystem modify session_establish_timeout=5");
    let mut pair = Pair::new(LAC, &server);
    let in_lcp = |world: &mut World| {
        let all = sessions(world, 1);
        all.iter().any(|s| s.state == SessionState::Link)
    };
    let moment = Duration::from_millis(1);
    assert!(pair.world.run_until(Duration::from_secs(1), moment, in_lcp));
    pair.world.cut_off(0, true);
    pair.run(20);
    assert!(pair.ends(1).join(";").contains("not established in time"));
}

#[test]
fn a_session_is_up_when_both_network_layers_are() {
    let mut pair = Pair::over(Quality::BAD, LAC, LNS);
    for _ in 0..600 {
        pair.world.run_for(Duration::from_millis(100));
        for node in [0, 1] {
            for session in sessions(&mut pair.world, node).iter().filter(|s| is_up(s)) {
                assert!(session.local_ipaddr.is_some() && session.local_ipv6.is_some());
            }
        }
    }
    assert_eq!(established(&mut pair.world, 0), 1);
}

#[test]
fn encryption_costs_no_session_its_set_up_over_a_bad_network() {
    let encrypted = "ppp profile modify profile_name=default mppe=required\n";
    for seed in 0..60 {
        let [lac, lns] = [LAC, LNS].map(|text| model(&format!("{text}{encrypted}")));
        let mut world = World::new(seed, Quality::BAD);
        world.add(address(1), lac.clone());
        world.add(address(2), lns);
        start(&mut world, 0, &lac);
        let both = |world: &mut World| established(world, 0) == 1 && established(world, 1) == 1;
        let (limit, step) = (Duration::from_secs(60), Duration::from_millis(100));
        assert!(world.run_until(limit, step, both), "seed {seed}");
        for node in [0, 1] {
            let session = sessions(&mut world, node).remove(0);
            assert_eq!(session.mppe.as_deref(), Some("128 stateless"));
            let events = world.take_events(node);
            let down = |event: &Event| matches!(event, Event::SessionDown { .. });
            assert!(!events.iter().any(down), "seed {seed}: {events:?}");
        }
    }
}

#[test]
fn the_name_of_a_peer_is_resolved_anew_for_each_attempt() {
    let mut pair = Pair::new(&LAC.replace("192.0.2.2", "lns.example"), LNS);
    pair.run(10);
    let waiting = tunnels(&mut pair.world, 0).remove(0);
    let reason = waiting.last_error.unwrap_or_default();
    assert!(reason.contains("lns.example is not known"), "{reason}");

    pair.world.set_name("lns.example", &[address(2)]);
    pair.up();
    pair.world.remove(1);
    let moved = pair.world.add(address(3), model(LNS));
    pair.world.set_name("lns.example", &[address(3)]);
    let there = |world: &mut World| established(world, moved) == 1;
    let patience = Duration::from_secs(900);
    assert!(
        pair.world
            .run_until(patience, Duration::from_secs(1), there)
    );
}

#[test]
fn the_addresses_of_a_peer_take_turns() {
    let mut pair = Pair::new(&LAC.replace("192.0.2.2", "lns.example"), LNS);
    let dead = address(99);
    pair.world.set_name("lns.example", &[dead, address(2)]);
    pair.up();
    assert_eq!(
        tunnels(&mut pair.world, 0)[0].remote.unwrap().ip(),
        address(2)
    );
}
