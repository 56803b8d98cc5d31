//! What a shard says of all its tunnels and sessions is kept as they change. Here it is compared with what a walk of the lists finds, while
//! tunnels and sessions come, fail and go, counters are reset and the program is started anew.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use std::collections::BTreeMap;

use api::{Response, Selector, SessionState, Statistics, SystemStatus, TunnelState};
use common::{LNS, Pair, ask, counter, model, sessions, start, tunnel, tunnels};
use engine::Command;
use sim::{NodeId, World};

const NODES: [NodeId; 2] = [0, 1];

/// A LAC with tunnels that come up, that nobody answers and whose name nobody knows, and sessions that succeed, that are refused and that wait.
const BUSY_LAC: &str = "
    system modify tunnel_persist_pend_timeout=20 session_persist_pend_timeout=10
    tunnel create tunnel_name=a dest_ipaddr=192.0.2.2 persist=yes
    session create tunnel_name=a session_name=a1 user_name=alice user_password=wonderland
    session create tunnel_name=a session_name=a2 user_name=alice user_password=wonderland
    session create tunnel_name=a session_name=bad user_name=bob user_password=wrong
    tunnel create tunnel_name=b dest_ipaddr=192.0.2.2
    session create tunnel_name=b session_name=b1 user_name=alice user_password=wonderland
    session create tunnel_name=b session_name=bad user_name=bob user_password=wrong
    tunnel create tunnel_name=nobody dest_ipaddr=192.0.2.99 persist=yes
    session create tunnel_name=nobody session_name=waits user_name=eve
    tunnel create tunnel_name=nameless dest_ipaddr=no.such.host persist=yes
";

/// What comes later.
const MORE: &str = "
    tunnel create tunnel_name=c dest_ipaddr=192.0.2.2 persist=yes
    session create tunnel_name=c session_name=c1 user_name=alice user_password=wonderland
    session create tunnel_name=c session_name=c2 user_name=alice user_password=wonderland
";

/// What is known of a run from its lists alone.
struct Observed {
    pair: Pair,
    /// By node and tunnel, what its control connection counted since the last reset; what is gone keeps its last reading.
    repeated: BTreeMap<(NodeId, u16), (u64, u64)>,
    /// Packets that went through all sessions of a node since the last reset.
    packets: [u64; 2],
}

impl Observed {
    fn new() -> Self {
        let mut busy = Self {
            pair: Pair::new(BUSY_LAC, LNS),
            repeated: BTreeMap::new(),
            packets: [0; 2],
        };
        busy.compare();
        busy
    }

    fn order(&mut self, command: Command) {
        ask(&mut self.pair.world, 0, command).unwrap();
        self.compare();
    }

    /// Lets time pass, with traffic, and compares every half second.
    fn run(&mut self, seconds: u64) {
        for half in 0..seconds * 2 {
            self.pair
                .world
                .run_for(std::time::Duration::from_millis(500));
            for node in NODES {
                let more = half % 3;
                self.pair.world.count_packets(node, more);
                self.packets[node] += more * self.pair.world.datapath_sessions(node) as u64;
            }
            self.compare();
        }
    }

    fn compare(&mut self) {
        for node in NODES {
            let world = &mut self.pair.world;
            let system = system(world, node);
            let (all_tunnels, all_sessions) = (tunnels(world, node), sessions(world, node));
            for state in TunnelState::ALL {
                let walked = all_tunnels.iter().filter(|t| t.state == state).count();
                assert_eq!(system.tunnels_by_state[&state] as usize, walked, "{state}");
            }
            for state in SessionState::ALL {
                let walked = all_sessions.iter().filter(|s| s.state == state).count();
                assert_eq!(system.sessions_by_state[&state] as usize, walked, "{state}");
            }
            let with_id = all_tunnels.iter().filter(|t| t.tunnel_id.is_some()).count();
            assert_eq!(system.tunnels as usize, with_id);
            let calls = all_sessions.iter().filter(|s| s.session_id.is_some());
            assert_eq!(system.sessions as usize, calls.count());

            for t in &all_tunnels {
                if let (Some(id), Some(transport)) = (t.tunnel_id, &t.transport) {
                    let counted = (transport.retransmits, transport.duplicates);
                    self.repeated.insert((node, id), counted);
                }
            }
            let of_node = self.repeated.range((node, 0)..=(node, u16::MAX));
            let (again, twice) = of_node.fold((0, 0), |sum, (_, counted)| {
                (sum.0 + counted.0, sum.1 + counted.1)
            });
            assert_eq!(counter(world, node, "control.retransmissions"), again);
            assert_eq!(counter(world, node, "control.duplicates"), twice);
            let read = counter(world, node, "data.tx_packets");
            assert!(read <= self.packets[node], "{read} {:?}", self.packets);
        }
    }

    /// Has all counters of sessions read; all that went through them is in the sums then.
    fn compare_traffic(&mut self) {
        for node in NODES {
            read_traffic(&mut self.pair.world, node);
            let counted = counter(&mut self.pair.world, node, "data.tx_packets");
            assert_eq!(counted, self.packets[node]);
        }
    }

    fn reset(&mut self) {
        for node in NODES {
            ask(&mut self.pair.world, node, Command::StatisticsReset).unwrap();
            read_traffic(&mut self.pair.world, node);
            let left = statistics(&mut self.pair.world, node);
            // Reading is what these count.
            let left: Vec<_> = left.into_iter().filter(|(_, value)| *value != 0).collect();
            assert!(
                left.iter().all(|(name, _)| name == "lists.examined"),
                "{left:?}"
            );
        }
        (self.repeated, self.packets) = (BTreeMap::new(), [0; 2]);
        self.compare();
    }

    /// Both programs are started anew where their snapshots were taken.
    fn restart(&mut self) {
        for (node, text) in [(0, BUSY_LAC), (1, LNS)] {
            read_traffic(&mut self.pair.world, node);
            let world = &mut self.pair.world;
            let before = (statistics(world, node), totals(world, node));
            let shown = system(world, node);
            let snapshot = world.snapshot(node);
            world.restore(node, &snapshot, model(text));
            assert_eq!((statistics(world, node), totals(world, node)), before);
            assert_eq!(system(world, node), shown);
        }
        self.compare();
    }
}

fn system(world: &mut World, node: NodeId) -> SystemStatus {
    match ask(world, node, Command::SystemShow) {
        Ok(Response::System(status)) => status,
        other => panic!("{other:?}"),
    }
}

fn numbers(answer: Response) -> BTreeMap<String, u64> {
    match answer {
        Response::Statistics(Statistics(all)) => all,
        other => panic!("{other:?}"),
    }
}

fn statistics(world: &mut World, node: NodeId) -> BTreeMap<String, u64> {
    numbers(ask(world, node, Command::Statistics).unwrap())
}

fn totals(world: &mut World, node: NodeId) -> BTreeMap<String, u64> {
    numbers(ask(world, node, Command::Totals).unwrap())
}

fn read_traffic(world: &mut World, node: NodeId) {
    let mut after = None;
    loop {
        match ask(world, node, Command::TrafficRead(None, after)) {
            Ok(Response::TrafficRead(None)) => return,
            Ok(Response::TrafficRead(next)) => after = next,
            other => panic!("{other:?}"),
        }
    }
}

fn session(name: &str) -> Selector {
    Selector::Name(name.to_owned())
}

#[test]
fn the_sums_are_what_a_walk_of_the_lists_finds() {
    let mut busy = Observed::new();
    busy.run(20);
    busy.compare_traffic();
    let more = model(MORE);
    start(&mut busy.pair.world, 0, &more);
    busy.compare();
    busy.run(5);
    busy.order(Command::SessionDelete(tunnel("a"), session("a1")));
    busy.run(3);
    let before = totals(&mut busy.pair.world, 1);
    busy.reset();
    assert!(
        totals(&mut busy.pair.world, 1) >= before,
        "the totals go on"
    );
    busy.run(5);

    // The LNS hears nothing for a while, and says nothing: everything is sent again, and some of it ends.
    busy.pair.world.cut_off(1, true);
    busy.order(Command::SessionDelete(tunnel("c"), session("c1")));
    busy.run(15);
    busy.pair.world.cut_off(1, false);
    busy.run(40);
    busy.compare_traffic();
    assert!(counter(&mut busy.pair.world, 0, "control.retransmissions") > 0);

    busy.restart();
    busy.run(20);
    busy.compare_traffic();
    busy.reset();

    for name in ["a", "b", "nobody", "nameless", "c"] {
        // The one that does not persist may be gone.
        let _ = ask(&mut busy.pair.world, 0, Command::TunnelDelete(tunnel(name)));
        busy.run(2);
    }
    busy.run(60);
    busy.compare_traffic();
    for node in NODES {
        let system = system(&mut busy.pair.world, node);
        assert!(system.tunnels_by_state.values().all(|count| *count == 0));
        assert!(system.sessions_by_state.values().all(|count| *count == 0));
    }
}

/// A tunnel as it is shown, with what went through it.
fn shown(world: &mut World, node: NodeId, id: u16) -> api::TunnelStatus {
    let one = Selector::Id(id);
    let read = Command::TrafficRead(Some(one.clone()), None);
    assert!(matches!(
        ask(world, node, read),
        Ok(Response::TrafficRead(_))
    ));
    match ask(world, node, Command::TunnelShow(one)) {
        Ok(Response::Tunnel(status)) => *status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tunnel_counts_its_messages_and_what_went_through_its_sessions() {
    let quiet = "
        ppp profile modify profile_name=default lcp_echo_interval=0
        tunnel profile modify profile_name=default hello_timeout=";
    let mut pair = Pair::new(
        &format!("{quiet}10\n{BUSY_LAC}"),
        &format!("{LNS}{quiet}0\n"),
    );
    pair.run(5);
    let ids: BTreeMap<_, _> = tunnels(&mut pair.world, 0)
        .into_iter()
        .filter_map(|t| Some((t.tunnel_name?, (t.tunnel_id?, t.peer?.tunnel_id))))
        .collect();
    let (ours, theirs) = ids["a"];
    pair.world.count_packets(0, 5);
    let lac = shown(&mut pair.world, 0, ours);
    assert_eq!(lac.age, 5);
    assert_eq!(lac.traffic.unwrap().tx_packets, 10, "two sessions of five");
    ask(
        &mut pair.world,
        0,
        Command::SessionDelete(tunnel("a"), session("a1")),
    )
    .unwrap();
    pair.world.count_packets(0, 1);
    pair.run(90);
    let [lac, lns] = [(0, ours), (1, theirs)].map(|(node, id)| shown(&mut pair.world, node, id));
    assert_eq!(
        lac.traffic.unwrap().tx_packets,
        12,
        "the one that is gone, too"
    );
    let (sent, received) = (lac.transport.unwrap(), lns.transport.unwrap());
    assert_eq!(
        (sent.tx_packets, sent.tx_bytes),
        (received.rx_packets, received.rx_bytes)
    );
    assert_eq!(
        (sent.tx_zlbs, sent.tx_hellos),
        (received.rx_zlbs, received.rx_hellos)
    );
    assert_eq!(received.tx_zlbs, sent.rx_zlbs);
    assert!(sent.tx_hellos > 3 && received.tx_zlbs > 3, "{sent:?}");
    assert!(sent.tx_bytes >= 12 * sent.tx_packets);
    assert_eq!(
        (received.peer_ns, sent.peer_nr),
        (sent.ns - 1, sent.ns),
        "HELLO and its ZLB"
    );
    assert_eq!(lns.peer.unwrap().protocol_version, "1.0");

    ask(&mut pair.world, 0, Command::StatisticsReset).unwrap();
    pair.world.count_packets(0, 7);
    let again = shown(&mut pair.world, 0, ours);
    let (transport, traffic) = (again.transport.unwrap(), again.traffic.unwrap());
    assert_eq!((transport.tx_packets, transport.tx_zlbs), (0, 0));
    assert_eq!(
        traffic.tx_packets, 0,
        "what is read for the first time was before the reset"
    );
    pair.world.count_packets(0, 2);
    let traffic = shown(&mut pair.world, 0, ours).traffic.unwrap();
    assert_eq!(traffic.tx_packets, 2);
}

#[test]
fn a_session_shows_all_that_it_is_run_by() {
    let mut pair = Pair::new(common::LAC, LNS);
    pair.up();
    pair.run(3);
    let status = sessions(&mut pair.world, 0).remove(0);
    assert!(status.parameters.is_empty(), "lists are without");
    let name = session("s");
    let show = Command::SessionShow(tunnel("t"), name.clone());
    let shown = |pair: &mut Pair| match ask(&mut pair.world, 0, show.clone()) {
        Ok(Response::Session(status)) => status,
        other => panic!("{other:?}"),
    };
    let status = shown(&mut pair);
    assert!(status.age.unwrap() >= 3);
    assert_eq!(status.parameters["user_name"], "alice");
    assert_eq!(status.parameters["user_password"], "********");
    for name in [
        "sequencing_required",
        "use_sequence_numbers",
        "reorder_timeout",
    ] {
        assert!(!status.parameters[name].is_null(), "{name}");
    }
}

#[test]
fn what_comes_of_tunnels_and_sessions_is_counted() {
    let mut pair = Pair::new(BUSY_LAC, LNS);
    pair.run(5);
    let lac = totals(&mut pair.world, 0);
    let lns = totals(&mut pair.world, 1);
    assert_eq!((lac["setup.tunnels"], lns["setup.tunnels"]), (2, 2));
    assert_eq!((lac["setup.sessions"], lns["setup.sessions"]), (3, 3));
    assert!(lac["setup.tunnel_failures"] > 0, "nobody knows the name");
    assert!(lns["setup.session_failures"] >= 2 && lac["setup.session_failures"] >= 2);
    assert!(lns["ppp.auth_failures"] >= 2);

    let garbage = "192.0.2.77:1701".parse().unwrap();
    pair.world.datagram(1, garbage, &[0xc8, 2, 0]);
    assert_eq!(counter(&mut pair.world, 1, "datagrams.short"), 1);
}

#[test]
fn what_one_end_has_sent_over_a_good_network_the_other_has_received() {
    let mut pair = Pair::new(common::LAC, LNS);
    pair.up();
    pair.run(30);
    let [lac, lns] = NODES.map(|node| totals(&mut pair.world, node));
    for (name, sent) in &lac {
        if let Some(message) = name.strip_prefix("control.sent.") {
            assert_eq!(lns[&format!("control.received.{message}")], *sent, "{name}");
        }
    }
    assert_eq!(lac["ppp.sent"], lns["ppp.received"]);
    assert_eq!(lns["ppp.sent"], lac["ppp.received"]);
    assert!(lac["ppp.sent"] > 0);
}

#[test]
fn a_command_reads_the_counters_of_256_sessions_at_most() {
    let mut lac = "tunnel create tunnel_name=t dest_ipaddr=192.0.2.2\n".to_owned();
    for i in 0..600 {
        lac += &format!(
            "session create tunnel_name=t session_name=s{i} user_name=alice user_password=wonderland\n"
        );
    }
    let mut pair = Pair::new(&lac, LNS);
    pair.run(60);
    let world = &mut pair.world;
    assert_eq!(common::established(world, 1), 600);
    world.count_packets(1, 1);
    let mut after = None;
    let mut read = 0;
    for pages in 1.. {
        let looks = counter(world, 1, "lists.examined");
        let Ok(Response::TrafficRead(next)) = ask(world, 1, Command::TrafficRead(None, after))
        else {
            panic!("not read")
        };
        assert!(counter(world, 1, "lists.examined") - looks <= 256);
        let now = counter(world, 1, "data.tx_packets");
        assert!(now - read <= 256, "{} at once", now - read);
        read = now;
        after = next;
        if after.is_none() {
            assert_eq!((read, pages), (600, 3));
            return;
        }
    }
}
