use std::net::SocketAddr;
use std::time::Duration;

use api::{Response, Selector};
use engine::Command;
use sim::{Quality, World};
use wire::l2tp::MessageType;

use crate::common::messages::{header, just, message, read, sccrq};
use crate::common::{LNS, Pair, address, ask, counter, model, sessions, start, tunnels};
use crate::lac;

#[test]
fn reset_statistics_counts_everything_from_zero_again() {
    let mut pair = Pair::new(&lac(""), LNS);
    pair.up();
    pair.world.count_packets(0, 7);
    let packets = |pair: &mut Pair| {
        let status = sessions(&mut pair.world, 0).remove(0);
        let [tunnel, session] =
            [status.tunnel_id, status.session_id].map(|id| Selector::Id(id.unwrap()));
        match ask(&mut pair.world, 0, Command::SessionShow(tunnel, session)) {
            Ok(Response::Session(status)) => status.traffic.unwrap().tx_packets,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(packets(&mut pair), 7);
    assert_eq!(counter(&mut pair.world, 0, "control.sent.sccrq"), 1);
    ask(&mut pair.world, 0, Command::StatisticsReset).unwrap();
    assert_eq!(packets(&mut pair), 0);
    assert_eq!(counter(&mut pair.world, 0, "control.sent.sccrq"), 0);
    pair.world.count_packets(0, 3);
    assert_eq!(packets(&mut pair), 3);
    let delete = Command::TunnelDelete(crate::common::tunnel("t"));
    ask(&mut pair.world, 0, delete).unwrap();
    pair.run(1);
    assert_eq!(counter(&mut pair.world, 0, "control.sent.stop_ccn"), 1);
    assert_eq!(counter(&mut pair.world, 0, "data.tx_packets"), 3);
}

#[test]
fn deny_local_tunnel_creates_lets_no_request_of_ours_go_out_until_it_is_off() {
    let deny = |yes: &str| {
        let text = format!("{}system modify deny_local_tunnel_creates={yes}\n", lac(""));
        model(&text)
    };
    let mut world = World::new(7, Quality::PERFECT);
    world.add(address(1), deny("yes"));
    let mut pair = Pair {
        lns: world.add(address(2), model(LNS)),
        lac: 0,
        world,
    };
    let create = |pair: &mut Pair, name: &str| {
        let mut tunnel = deny("no").tunnels[0].clone();
        tunnel.tunnel_name = Some(name.to_owned());
        ask(&mut pair.world, 0, Command::TunnelCreate(Box::new(tunnel)))
    };
    let refused = create(&mut pair, "t").unwrap_err();
    assert!(refused.message.contains("deny_local_tunnel_creates"));
    pair.run(60);
    assert_eq!(pair.world.datagrams(), 0);

    ask(&mut pair.world, 0, Command::SetModel(deny("no"))).unwrap();
    start(&mut pair.world, 0, &deny("no"));
    pair.up();
    // What is there goes on when it is on again.
    ask(&mut pair.world, 0, Command::SetModel(deny("yes"))).unwrap();
    create(&mut pair, "another").unwrap_err();
    pair.run(60);
    pair.up();
}

/// Which of these ports gets its tunnel, of one stranger each, who ask one after the other and only then go on.
fn served(system: &str, ports: [u16; 3]) -> Vec<u16> {
    let mut world = World::new(5, Quality::PERFECT);
    let lns = world.add(
        address(2),
        model(&format!("{LNS}\nsystem modify {system}\n")),
    );
    world.listen(address(66));
    let stranger = |port: u16| SocketAddr::new(address(66), port);
    let answers = ports.map(|port| {
        world.datagram(lns, stranger(port), &sccrq(7));
        world.run_for(Duration::from_millis(100));
        read(&world.take_heard()[0].1)
    });
    let mut served = Vec::new();
    for (port, answer) in ports.into_iter().zip(answers) {
        assert_eq!(answer.message_type, Some(MessageType::SCCRP));
        let connected = just(MessageType::SCCCN, header(answer.tunnel_id(), 1, 1));
        world.datagram(lns, stranger(port), &connected);
        world.run_for(Duration::from_millis(500));
        let acknowledged = |(to, payload): &(SocketAddr, Vec<u8>)| {
            let sent = read(payload);
            to.port() == port && sent.message_type.is_none() && sent.header.nr == 2
        };
        served.extend(world.take_heard().iter().any(acknowledged).then_some(port));
    }
    served
}

#[test]
fn half_open_limit_is_how_many_may_be_under_way_and_the_oldest_makes_room() {
    let ports = [5001, 5002, 5003];
    assert_eq!(served("half_open_limit=3", ports), ports);
    assert_eq!(served("half_open_limit=2", ports), [5002, 5003]);
    assert_eq!(served("half_open_limit=1", ports), [5003]);
}

#[test]
fn half_open_source_limit_is_how_many_of_one_address_may_be_and_costs_no_other_address_any() {
    let ports = [5001, 5002, 5003];
    assert_eq!(served("half_open_source_limit=3", ports), ports);
    assert_eq!(served("half_open_source_limit=2", ports), [5002, 5003]);

    // Another's, older than all of these, is not touched by them.
    let mut pair = Pair::new(
        &lac(""),
        &format!("{LNS}\nsystem modify half_open_source_limit=1\n"),
    );
    while tunnels(&mut pair.world, pair.lns).is_empty() {
        pair.world.run_for(Duration::from_millis(1));
    }
    for port in ports {
        let stranger = SocketAddr::new(address(66), port);
        pair.world.datagram(pair.lns, stranger, &sccrq(7));
    }
    pair.up();
}

/// How many seconds after its request a node gives up a peer which acknowledges that and never answers, if it does in five minutes.
fn patience(system: &str) -> Option<u64> {
    let lac = format!("system modify {system}\n{}", lac("")).replace("192.0.2.2", "192.0.2.9");
    let mut pair = Pair::recorded(&lac, LNS);
    pair.world.listen(address(9));
    let request = read(&pair.world.record()[0].payload);
    assert_eq!(request.message_type, Some(MessageType::SCCRQ));
    let peer = SocketAddr::new(address(9), 1701);
    let acknowledgement = message(header(request.tunnel_id(), 0, 1), &[]);
    let start = pair.world.now();
    pair.world.datagram(pair.lac, peer, &acknowledgement);
    pair.run(300);
    let told = pair.told();
    let stop = told
        .iter()
        .find(|told| told.message.message_type == Some(MessageType::STOP_CCN));
    assert_eq!(stop.is_some(), tunnels(&mut pair.world, 0).is_empty());
    Some(stop?.at.saturating_since(start).as_secs())
}

#[test]
fn tunnel_establish_timeout_says_when_a_peer_is_given_up_that_never_answers() {
    assert_eq!(patience("tunnel_establish_timeout=20"), Some(20));
    assert_eq!(patience("tunnel_establish_timeout=75"), Some(75));
    assert_eq!(patience("tunnel_establish_timeout=0"), None);
}
