//! A thousand tunnels and twenty thousand sessions that all come in the same instant, on the shipped defaults.

mod common;

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use common::{LNS, address, counter, established, model, start, tunnels_in};
use sim::{Quality, World};

const TUNNELS: usize = 1_000;
const SESSIONS: usize = 20;

/// A LAC's file.
fn lac(tunnels: usize, sessions: usize) -> String {
    let mut text = String::new();
    for t in 0..tunnels {
        let _ = writeln!(
            text,
            "tunnel create tunnel_name=t{t} dest_ipaddr=192.0.2.2 persist=yes"
        );
        for _ in 0..sessions {
            let _ = writeln!(
                text,
                "session create tunnel_name=t{t} user_name=alice user_password=wonderland"
            );
        }
    }
    text
}

/// Lets `lacs` LACs with `tunnels` each call at once; all their sessions are up within `seconds`, and nobody was refused, evicted or throttled.
fn all_come_up(lacs: usize, tunnels: usize, sessions: usize, seconds: u64) {
    let mut world = World::new(11, Quality::PERFECT);
    let lns = world.add(address(2), model(LNS));
    let client = model(&lac(tunnels, sessions));
    let nodes: Vec<_> = (0..lacs)
        .map(|n| {
            let address = IpAddr::from([198, 51, (n / 200) as u8, (n % 200 + 1) as u8]);
            world.add(address, client.clone())
        })
        .collect();
    for &node in &nodes {
        start(&mut world, node, &client);
    }
    let all = lacs * tunnels * sessions;
    let up = world.run_until(
        Duration::from_secs(seconds),
        Duration::from_millis(500),
        |world| established(world, lns) == all,
    );
    assert!(up, "{} of {all}", established(&mut world, lns));
    let at_lacs: usize = nodes
        .iter()
        .map(|&node| established(&mut world, node))
        .sum();
    assert_eq!(at_lacs, all);
    let established = tunnels_in(&mut world, lns, api::TunnelState::Established);
    assert_eq!(established, lacs * tunnels);
    for name in [
        "limits.half_open",
        "limits.half_open_of_source",
        "limits.throttled_tunnels",
        "limits.throttled_calls",
        "limits.silent_refusals",
        "refused.no_address",
        "ppp.auth_failures",
    ] {
        assert_eq!(counter(&mut world, lns, name), 0, "{name}");
    }
}

#[test]
fn a_thousand_tunnels_of_one_address_and_port_come_up_with_their_sessions() {
    all_come_up(1, TUNNELS, SESSIONS, 30);
}

#[test]
fn a_thousand_tunnels_of_a_hundred_lacs_come_up_with_their_sessions() {
    all_come_up(100, TUNNELS / 100, SESSIONS, 30);
}

/// Its window is what takes the time: ten messages each 20 ms.
#[test]
fn one_tunnel_comes_up_with_twenty_thousand_sessions() {
    all_come_up(1, 1, TUNNELS * SESSIONS, 180);
}
