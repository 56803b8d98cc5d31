//! What becomes of what the network says: the MTU of paths, datagrams that did not arrive, and through whose socket datagrams come.

#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::net::{IpAddr, SocketAddr};

use api::{ErrorKind, TunnelState};
use common::{LAC, LNS, Pair, address, ask, counter, is_up, model, sessions, tunnels, tunnels_in};
use datapath::{Event, Listener, Transport, message};
use engine::{Command, Input};
use sim::{Quality, World};

fn lac(parameters: &str) -> String {
    LAC.replace("persist=yes", &format!("persist=yes {parameters}"))
}

fn path_mtu(remote: IpAddr, listener: Listener, mtu: u16) -> Input {
    Input::Datapath(Event::PathMtu {
        listener,
        remote,
        mtu,
    })
}

fn mtu(pair: &mut Pair) -> u16 {
    pair.run(1);
    let session = sessions(&mut pair.world, pair.lac).remove(0);
    assert!(is_up(&session), "{session:?}");
    session.mtu.unwrap()
}

#[test]
fn the_mtu_of_the_path_bounds_that_of_sessions() {
    let mut pair = Pair::new(&lac("do_pmtu_discovery=yes"), LNS);
    pair.up();
    assert_eq!(mtu(&mut pair), 1460);
    // Less 20 octets of IP, 8 of UDP, 10 of L2TP, which may begin to number, and 4 of PPP; with IPv6 inside, never less than 1280.
    for (path, expected) in [
        (1400, 1358),
        (1280, 1280),
        (500, 1280),
        (1496, 1454),
        (9000, 1460),
    ] {
        pair.world.input(pair.lac, path_mtu(address(2), None, path));
        assert_eq!(mtu(&mut pair), expected, "a path of {path}");
        let tunnel = tunnels(&mut pair.world, pair.lac).remove(0);
        assert_eq!(tunnel.path_mtu, Some(path));
    }
    for (remote, listener) in [(address(3), None), (address(2), Some("elsewhere".into()))] {
        pair.world.input(pair.lac, path_mtu(remote, listener, 1300));
        assert_eq!(mtu(&mut pair), 1460, "the path to another");
    }
}

#[test]
fn a_session_without_ipv6_keeps_what_every_host_takes() {
    let no_ipv6 = "ppp profile modify profile_name=default use_ipv6=no";
    let mut pair = Pair::new(&format!("{no_ipv6}\n{}", lac("do_pmtu_discovery=yes")), LNS);
    pair.up();
    for (path, expected) in [(1000, 958), (552, 576)] {
        pair.world.input(pair.lac, path_mtu(address(2), None, path));
        assert_eq!(mtu(&mut pair), expected, "a path of {path}");
    }
}

#[test]
fn a_tunnel_that_does_not_discover_paths_does_not_heed_them() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    pair.world.input(pair.lac, path_mtu(address(2), None, 1300));
    assert_eq!(mtu(&mut pair), 1460);
    assert_eq!(tunnels(&mut pair.world, pair.lac)[0].path_mtu, None);
}

#[test]
fn what_the_network_says_of_a_peer_is_a_hint_and_no_more() {
    let mut pair = Pair::new(LAC, LNS);
    let unreachable = || {
        Input::Datapath(Event::Unreachable {
            listener: None,
            remote: SocketAddr::new(address(2), 1701),
            reason: "Connection refused".to_owned(),
        })
    };
    let last_error = |pair: &mut Pair| tunnels(&mut pair.world, pair.lac).remove(0).last_error;
    pair.up();
    pair.world.input(pair.lac, unreachable());
    assert_eq!(last_error(&mut pair).as_deref(), Some("Connection refused"));
    assert_eq!(
        counter(&mut pair.world, pair.lac, "datagrams.unreachable"),
        1
    );
    pair.run(120);
    assert_eq!(last_error(&mut pair), None, "the peer has been heard since");
    assert!(is_up(&sessions(&mut pair.world, pair.lac)[0]));

    pair.world.cut_off(pair.lns, true);
    for _ in 0..30 {
        pair.run(5);
        pair.world.input(pair.lac, unreachable());
    }
    let ends = pair.world.take_events(pair.lac).into_iter();
    let ends: Vec<_> = ends
        .filter_map(|event| match event {
            engine::Event::TunnelDown { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    let said = |reason: &String| {
        reason.contains("did not answer in time") && reason.contains("(Connection refused)")
    };
    assert!(!ends.is_empty() && ends.iter().all(said), "{ends:?}");
}

#[test]
fn what_comes_to_another_listener_is_of_another_peer() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    let id = tunnels(&mut pair.world, pair.lns)[0].tunnel_id.unwrap();
    let path = Transport {
        listener: Some("elsewhere".into()),
        local: SocketAddr::new(address(2), 1701),
        remote: SocketAddr::new(address(1), 1701),
    };
    let [high, low] = id.to_be_bytes();
    let hello = [
        0xc8, 2, 0, 20, high, low, 0, 0, 0, 0, 0, 0, 0x80, 8, 0, 0, 0, 0, 0, 6,
    ];
    let data = [0, 2, high, low, 0, 1, 0xff, 3, 0xc0, 0x21, 5, 1, 0, 4];
    for datagram in [&hello[..], &data] {
        let event = message::classify(path.clone(), datagram);
        pair.world.input(pair.lns, Input::Datapath(event));
    }
    assert_eq!(
        counter(&mut pair.world, pair.lns, "datagrams.wrong_address"),
        2
    );
    pair.run(5);
    assert!(is_up(&sessions(&mut pair.world, pair.lns)[0]));
}

#[test]
fn a_tunnel_starts_from_the_listener_that_it_names() {
    let text = format!(
        "listener create listener_name=uplink ipaddr=192.0.2.1 udp_port=1702 netns=outside\n{}",
        lac("listener_name=uplink")
    );
    let mut world = World::new(1, Quality::PERFECT);
    let wanted = model(&text);
    let node = world.add(address(1), wanted.clone());
    let peer = world.add(address(2), model(LNS));
    common::start(&mut world, node, &wanted);
    world.run_for(std::time::Duration::from_millis(500));
    let tunnel = tunnels(&mut world, node).remove(0);
    assert_eq!(tunnel.local, Some("192.0.2.1:1702".parse().unwrap()));
    assert_eq!(tunnel.listener_name.as_deref(), Some("uplink"));
    // The world's datagrams come to no listener: to the tunnel they are a stranger's.
    assert_eq!(tunnels_in(&mut world, peer, TunnelState::WaitCtlConn), 1);
    assert_eq!(counter(&mut world, node, "datagrams.wrong_address"), 1);

    let nowhere = model(
        "listener create listener_name=x\ntunnel create dest_ipaddr=192.0.2.2 listener_name=x",
    );
    let refused = ask(
        &mut world,
        node,
        Command::TunnelCreate(Box::new(nowhere.tunnels[0].clone())),
    );
    assert_eq!(refused.unwrap_err().kind, ErrorKind::NotFound);
}
