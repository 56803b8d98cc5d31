//! What the configured program is told of tunnels, sessions and their PPP, and in which order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use std::time::Duration;

use api::{Role, Selector};
use common::{LAC, LNS, Pair, ask, model, tunnel};
use engine::{Command, Hook, HookEnd, HookEvent};
use sim::NodeId;

const SCRIPT: &str = "\nsystem modify event_script=/bin/true\n";

fn pair() -> Pair {
    let mut pair = Pair::new(&format!("{LAC}{SCRIPT}"), &format!("{LNS}{SCRIPT}"));
    pair.up();
    pair
}

fn close(pair: &mut Pair) {
    ask(&mut pair.world, 0, Command::TunnelDelete(tunnel("t"))).unwrap();
    pair.run(5);
}

/// What happened, in short.
fn names(hooks: &[Hook]) -> Vec<&'static str> {
    let name = |hook: &Hook| match &hook.event {
        HookEvent::TunnelUp => "tunnel-up",
        HookEvent::TunnelDown(_) => "tunnel-down",
        HookEvent::SessionUp => "session-up",
        HookEvent::SessionDown(_) => "session-down",
        HookEvent::PppUp(local, _) if local.is_ipv4() => "ipv4-up",
        HookEvent::PppUp(..) => "ipv6-up",
        HookEvent::PppDown(local, ..) if local.is_ipv4() => "ipv4-down",
        HookEvent::PppDown(..) => "ipv6-down",
    };
    hooks.iter().map(name).collect()
}

fn end(hook: &Hook) -> &HookEnd {
    match &hook.event {
        HookEvent::TunnelDown(end)
        | HookEvent::SessionDown(end)
        | HookEvent::PppDown(_, _, end) => end,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_comes_up_is_told_from_the_tunnel_inwards_and_what_goes_down_the_other_way() {
    let mut pair = pair();
    for node in [pair.lac, pair.lns] {
        let up = pair.world.take_hooks(node);
        let expected = ["tunnel-up", "session-up", "ipv4-up", "ipv6-up"];
        assert_eq!(names(&up), expected);
        let session = up[3].session.as_ref().unwrap();
        assert_eq!(session.user.as_deref(), Some("alice"));
        assert_eq!(session.device, "null");
        assert_eq!(session.speed, 1_000_000);
        assert!(session.networks.iter().all(Option::is_some));
        let (tunnel, dns) = (&up[3].tunnel, session.dns[0]);
        assert_eq!(tunnel.peer_profile, "default");
        if node == pair.lac {
            assert_eq!(tunnel.name.as_deref(), Some("t"));
            assert_eq!(session.name.as_deref(), Some("s"));
            assert_eq!(
                (session.role, tunnel.host_name.as_str()),
                (Role::Lac, "node1")
            );
            assert_eq!(dns, Some([10, 0, 0, 53].into()));
        } else {
            assert_eq!((&tunnel.name, &session.name), (&None, &None));
            assert_eq!(
                (session.role, tunnel.host_name.as_str()),
                (Role::Lns, "node0")
            );
            assert_eq!(dns, None, "nobody told us");
        }
    }
    pair.run(100);
    pair.world.count_packets(pair.lns, 7);
    close(&mut pair);
    for node in [pair.lac, pair.lns] {
        let down = pair.world.take_hooks(node);
        let expected = ["ipv4-down", "ipv6-down", "session-down", "tunnel-down"];
        assert_eq!(names(&down), expected);
        for hook in &down {
            let lasted = end(hook).lasted.as_secs();
            assert!((99..=103).contains(&lasted), "{lasted}");
            assert_eq!(hook.session.is_none(), end(hook).carried.is_none());
        }
        assert!(end(&down[2]).reason.is_some());
        let of_ppp = down[0].session.as_ref().unwrap();
        assert!(of_ppp.networks[0].is_some());
        if node == pair.lns {
            let carried =
                [0, 1, 2].map(|place: usize| end(&down[place]).carried.unwrap().tx_packets);
            assert_eq!(carried, [7; 3]);
        }
    }
}

#[test]
fn what_is_deleted_is_told_of_by_its_names_and_with_the_reason() {
    for whole_tunnel in [true, false] {
        let mut pair = pair();
        pair.world.take_hooks(pair.lac);
        let tunnel = || Selector::Name("t".to_owned());
        let command = match whole_tunnel {
            true => Command::TunnelDelete(tunnel()),
            false => Command::SessionDelete(tunnel(), Selector::Name("s".to_owned())),
        };
        ask(&mut pair.world, pair.lac, command).unwrap();
        pair.run(5);
        let down = pair.world.take_hooks(pair.lac);
        assert_eq!(
            names(&down)[..3],
            ["ipv4-down", "ipv6-down", "session-down"]
        );
        assert_eq!(down.len(), if whole_tunnel { 4 } else { 3 });
        for hook in &down {
            assert_eq!(hook.tunnel.name.as_deref(), Some("t"));
            assert!(
                hook.session
                    .as_ref()
                    .is_none_or(|s| s.name.as_deref() == Some("s"))
            );
            assert!(end(hook).reason.is_some(), "{hook:?}");
        }
    }
}

#[test]
fn ppp_that_comes_up_again_is_told_and_the_session_is_the_same() {
    let mut pair = pair();
    pair.world.take_hooks(pair.lns);
    pair.world.count_packets(pair.lns, 3);
    // The client begins LCP anew.
    pair.client_says(&[0xff, 0x03, 0xc0, 0x21, 1, 77, 0, 10, 5, 6, 1, 2, 3, 4]);
    pair.world.run_for(Duration::from_secs(5));
    let hooks = pair.world.take_hooks(pair.lns);
    let seen = names(&hooks);
    assert_eq!(seen[..2], ["ipv4-down", "ipv6-down"]);
    assert_eq!(end(&hooks[0]).carried.unwrap().tx_packets, 3);
    assert_eq!(end(&hooks[0]).reason, None);
    assert!(seen.contains(&"ipv4-up"), "{seen:?}");
    assert!(
        !seen.contains(&"session-up") && !seen.contains(&"session-down"),
        "{seen:?}"
    );
}

#[test]
fn nobody_is_told_where_there_is_no_program_and_one_that_comes_late_is_told_all() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    let at = |pair: &mut Pair, node: NodeId| pair.world.take_hooks(node);
    assert!(at(&mut pair, 0).is_empty() && at(&mut pair, 1).is_empty());
    let late = model(&format!("{LNS}{SCRIPT}"));
    ask(&mut pair.world, 1, Command::SetModel(late)).unwrap();
    close(&mut pair);
    assert!(at(&mut pair, 0).is_empty());
    let hooks = at(&mut pair, 1);
    assert_eq!(
        names(&hooks),
        ["ipv4-down", "ipv6-down", "session-down", "tunnel-down"]
    );
    assert_eq!(
        hooks[0].session.as_ref().unwrap().user.as_deref(),
        Some("alice")
    );
}
