//! The four kinds of call, on tunnels opened from either end.

#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use api::{ErrorKind, Response, Role, Selector, SessionState, SessionStatus};
use common::{Pair, ask, established, is_up, model, sessions, start, tunnels};
use config::{Bearer, Framing, SessionType};
use engine::{Command, Event};
use sim::{Quality, World};

/// A tunnel from the first node to the second, without sessions.
const OPENER: &str = "
    tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes
";

/// What a node needs that serves sessions.
const SERVES: &str = "
    ppp profile modify profile_name=default local_ipaddr=10.0.0.1 ip_pool_name=pool dns_ipaddr_pri=10.0.0.53
    ip_pool create pool_name=pool range=10.0.0.2-10.0.255.254
    user create user_name=alice password=wonderland
";

/// What a node needs at which peers may place outgoing calls.
const DIALS: &str = "
    peer profile modify profile_name=default lac_lns=laclns
    session profile modify profile_name=default user_name=alice user_password=wonderland \\
        connect_speed=128000:256000 physical_channel_id=9
";

/// The id of a node's only tunnel.
fn tunnel_id(world: &mut World, node: usize) -> u16 {
    tunnels(world, node).remove(0).tunnel_id.unwrap()
}

/// Creates a session on the only tunnel of a node.
fn create(world: &mut World, node: usize, parameters: &str) -> Result<Response, api::CommandError> {
    let id = tunnel_id(world, node);
    create_on(world, node, Some(id), parameters)
}

fn create_on(
    world: &mut World,
    node: usize,
    tunnel: Option<u16>,
    parameters: &str,
) -> Result<Response, api::CommandError> {
    let text = format!(
        "tunnel create tunnel_name=t dest_ipaddr=192.0.2.9\nsession create tunnel_name=t {parameters}"
    );
    let mut session = model(&text).sessions[0].clone();
    if tunnel.is_some() {
        (session.tunnel_id, session.tunnel_name) = (tunnel, None);
    }
    ask(world, node, Command::SessionCreate(Box::new(session)))
}

/// Runs until `count` sessions carry traffic at both ends.
fn up(pair: &mut Pair, count: usize) {
    let both = |w: &mut World| established(w, 0) == count && established(w, 1) == count;
    let up = pair
        .world
        .run_until(Duration::from_secs(60), Duration::from_millis(100), both);
    let (a, b) = (pair.world.take_events(0), pair.world.take_events(1));
    assert!(up, "{a:?}\n{b:?}");
}

fn only(pair: &mut Pair, node: usize) -> SessionStatus {
    let mut all = sessions(&mut pair.world, node);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// A pair with a tunnel that the first node opened, and which of the two is the LNS.
fn outgoing(lns: usize) -> Pair {
    let (dials, serves) = (DIALS.to_owned(), SERVES.to_owned());
    let mut pair = match lns {
        0 => Pair::new(&format!("{serves}{OPENER}"), &dials),
        _ => Pair::new(&format!("{dials}{OPENER}"), &serves),
    };
    pair.run(1);
    pair
}

const WANTED: &str = "session_type=lnoc session_name=s called_number=5551234 sub_address=7 \\
    minimum_bps=9600 maximum_bps=64000 bearer_type=digital framing_type=sync";

#[test]
fn an_outgoing_call_comes_up_with_ppp_and_addresses_on_tunnels_from_either_end() {
    for lns in [0, 1] {
        let mut pair = outgoing(lns);
        create(&mut pair.world, lns, WANTED).unwrap();
        up(&mut pair, 1);
        let (at_lns, at_lac) = (only(&mut pair, lns), only(&mut pair, 1 - lns));
        assert_eq!((at_lns.role, at_lac.role), (Role::Lns, Role::Lac));
        assert_eq!(at_lns.call.session_type, SessionType::Lnoc);
        assert_eq!(at_lac.call.session_type, SessionType::Laoc);
        assert_eq!(at_lns.created_by, api::Origin::Admin);
        assert_eq!(at_lac.created_by, api::Origin::Peer);
        assert_eq!(at_lns.session_name.as_deref(), Some("s"));
        // The LNS serves: it gives the addresses, and the LAC proves who it is.
        assert_eq!(at_lns.local_ipaddr, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(at_lns.remote_ipaddr, Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(at_lac.local_ipaddr, at_lns.remote_ipaddr);
        assert_eq!(at_lac.dns, [std::net::IpAddr::from([10, 0, 0, 53])]);
        assert_eq!(at_lns.user_name.as_deref(), Some("alice"));
        assert_eq!(
            (at_lns.peer_session_id, at_lac.peer_session_id),
            (at_lac.session_id, at_lns.session_id)
        );
    }
}

#[test]
fn both_ends_show_all_that_was_said_of_an_outgoing_call() {
    let mut pair = outgoing(1);
    create(&mut pair.world, 1, WANTED).unwrap();
    up(&mut pair, 1);
    let (mut at_lns, mut at_lac) = (only(&mut pair, 1).call, only(&mut pair, 0).call);
    assert_eq!(at_lns.bearer_type, Some(Bearer::Digital));
    assert_eq!(at_lns.framing_type, Framing::Sync);
    assert_eq!(at_lns.physical_channel_id, Some(9));
    assert_eq!(
        (at_lns.minimum_bps, at_lns.maximum_bps),
        (Some(9_600), Some(64_000))
    );
    // Faster than the LNS allows is what the profile says.
    assert_eq!(at_lns.tx_connect_speed, Some(64_000));
    assert_eq!(at_lns.rx_connect_speed, Some(64_000));
    assert_eq!(at_lns.called_number.as_deref(), Some("5551234"));
    assert_eq!(at_lns.sub_address.as_deref(), Some("7"));
    assert!(at_lns.call_serial_number.is_some());
    at_lns.session_type = SessionType::Laoc;
    at_lac.session_type = SessionType::Laoc;
    assert_eq!(at_lns, at_lac);
}

#[test]
fn both_ends_show_all_that_was_said_of_an_incoming_call() {
    let server = format!("{SERVES}{DIALS}");
    let mut pair = Pair::new(OPENER, &server);
    pair.run(1);
    let parameters = "user_name=alice user_password=wonderland called_number=1 calling_number=2 sub_address=3 \
        priv_group_id=blue physical_channel_id=4 connect_speed=5000:6000 bearer_type=analog framing_type=async";
    create(&mut pair.world, 0, parameters).unwrap();
    up(&mut pair, 1);
    let (mut lac, lns) = (only(&mut pair, 0).call, only(&mut pair, 1).call);
    assert_eq!(lac.session_type, SessionType::Laic);
    assert_eq!(lns.session_type, SessionType::Lnic);
    assert_eq!(lns.calling_number.as_deref(), Some("2"));
    assert_eq!(lns.priv_group_id.as_deref(), Some("blue"));
    assert_eq!(lns.physical_channel_id, Some(4));
    assert_eq!(
        (lns.rx_connect_speed, lns.tx_connect_speed),
        (Some(5000), Some(6000))
    );
    lac.session_type = SessionType::Lnic;
    assert_eq!(lac, lns);
    // And of its tunnel, what the other end can do.
    let peer = tunnels(&mut pair.world, 0).remove(0).peer.unwrap();
    assert_eq!(peer.bearer_caps, Some(Bearer::Any));
    assert_eq!(peer.framing_caps, Some(Framing::Any));
    let peer = tunnels(&mut pair.world, 1).remove(0).peer.unwrap();
    assert_eq!(
        peer.bearer_caps, None,
        "it lets nobody place outgoing calls"
    );
}

#[test]
fn an_incoming_call_of_ours_comes_up_on_a_tunnel_that_the_peer_opened() {
    let mut pair = Pair::new(&format!("{SERVES}{OPENER}"), "");
    pair.run(1);
    let parameters = "session_type=laic user_name=alice user_password=wonderland";
    create(&mut pair.world, 1, parameters).unwrap();
    up(&mut pair, 1);
    let (lns, lac) = (only(&mut pair, 0), only(&mut pair, 1));
    assert_eq!((lns.role, lac.role), (Role::Lns, Role::Lac));
    assert_eq!(lac.local_ipaddr, Some(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!(lac.created_by, api::Origin::Admin);
}

#[test]
fn both_kinds_of_call_go_both_ways_in_one_tunnel() {
    let node = format!("{SERVES}{DIALS}");
    let other = node
        .replace("10.0.0.1 ", "10.1.0.1 ")
        .replace("10.0.0.2-10.0.255.254", "10.1.0.2-10.1.255.254");
    let mut pair = Pair::new(&format!("{node}{OPENER}"), &other);
    pair.run(1);
    for end in [0, 1] {
        for kind in ["laic", "lnoc"] {
            create(&mut pair.world, end, &format!("session_type={kind}")).unwrap();
        }
    }
    up(&mut pair, 4);
    for end in [0, 1] {
        let mut kinds: Vec<_> = sessions(&mut pair.world, end)
            .iter()
            .map(|s| s.call.session_type.to_string())
            .collect();
        kinds.sort();
        assert_eq!(kinds, ["laic", "laoc", "lnic", "lnoc"]);
    }
    assert_eq!(tunnels(&mut pair.world, 0).len(), 1);
}

#[test]
fn several_tunnels_between_two_hosts_have_sessions_of_their_own() {
    let mut opener = String::new();
    for i in 0..5 {
        opener += &format!("tunnel create tunnel_name=t{i} dest_ipaddr=192.0.2.2\n");
        for s in 0..3 {
            opener += &format!(
                "session create tunnel_name=t{i} session_name=s{s} user_name=alice user_password=wonderland\n"
            );
        }
    }
    let mut pair = Pair::new(&opener, SERVES);
    up(&mut pair, 15);
    assert_eq!(tunnels(&mut pair.world, 1).len(), 5);
    let named = |name: &str| Selector::Name(name.to_owned());
    ask(&mut pair.world, 0, Command::TunnelDelete(named("t2"))).unwrap();
    let delete = Command::SessionDelete(named("t3"), named("s1"));
    ask(&mut pair.world, 0, delete).unwrap();
    pair.run(5);
    assert_eq!(established(&mut pair.world, 1), 11);
    let all = sessions(&mut pair.world, 0);
    let count = |name: &str| {
        all.iter()
            .filter(|s| s.tunnel_name.as_deref() == Some(name))
            .count()
    };
    assert_eq!(["t0", "t1", "t2", "t3", "t4"].map(count), [3, 3, 0, 2, 3]);
}

#[test]
fn sessions_of_both_kinds_wait_for_their_tunnel_at_either_end() {
    let node = format!("{SERVES}{DIALS}");
    let mut pair = Pair::new(&format!("{node}{OPENER}"), &node);
    for kind in ["laic", "lnoc"] {
        create_on(&mut pair.world, 0, None, &format!("session_type={kind}")).unwrap();
    }
    // The SCCRQ has arrived, the SCCCN has not.
    while tunnels(&mut pair.world, 1).is_empty() {
        pair.world.run_for(Duration::from_millis(1));
    }
    let parameters = "session_type=laic session_name=early";
    let created = create(&mut pair.world, 1, parameters).unwrap();
    let Response::Session(created) = created else {
        panic!("{created:?}")
    };
    assert_eq!(created.state, SessionState::WaitTunnel);
    assert_eq!(created.call.session_type, SessionType::Laic);
    up(&mut pair, 3);
}

#[test]
fn either_end_deletes_an_outgoing_call_and_it_is_gone_at_both() {
    for (lns, deleter) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut pair = outgoing(lns);
        create(&mut pair.world, lns, "session_type=lnoc").unwrap();
        up(&mut pair, 1);
        let session = only(&mut pair, deleter);
        let (tunnel, id) = (session.tunnel_id.unwrap(), session.session_id.unwrap());
        let delete = Command::SessionDelete(Selector::Id(tunnel), Selector::Id(id));
        ask(&mut pair.world, deleter, delete).unwrap();
        pair.world.run_for(Duration::from_millis(500));
        assert_eq!(pair.ends(deleter).len(), 1);
        let told = pair.ends(1 - deleter).join(";");
        assert!(told.contains("closed by the peer"), "{told}");
        for node in [0, 1] {
            assert_eq!(pair.world.datapath_sessions(node), 0);
        }
        // What the other end placed on a tunnel that we opened persistently comes back, and nothing else does.
        pair.run(10);
        let comes_back = lns == 0 && deleter == 1;
        assert_eq!(
            established(&mut pair.world, lns),
            usize::from(comes_back),
            "{lns} {deleter}"
        );
    }
}

#[test]
fn an_outgoing_call_comes_back_with_its_persistent_tunnel_and_ends_with_a_peers() {
    for lns in [0, 1] {
        let mut pair = outgoing(lns);
        create(&mut pair.world, lns, "session_type=lnoc session_name=s").unwrap();
        up(&mut pair, 1);
        let id = tunnel_id(&mut pair.world, 1);
        ask(&mut pair.world, 1, Command::TunnelDelete(Selector::Id(id))).unwrap();
        pair.run(60);
        let expected = usize::from(lns == 0);
        assert_eq!(established(&mut pair.world, 0), expected);
        assert_eq!(sessions(&mut pair.world, lns).len(), expected);
    }
}

#[test]
fn a_peer_that_is_no_lns_places_no_outgoing_call_at_us() {
    // Nobody said that the first node's peer is one.
    let mut pair = Pair::new(OPENER, SERVES);
    pair.run(1);
    let error = create(&mut pair.world, 1, "session_type=lnoc").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Resources);
    assert!(error.message.contains("the peer places no outgoing calls"));
    let told = pair.ends(1).join(";");
    assert!(told.contains("the peer places no outgoing calls"), "{told}");
    assert_eq!(sessions(&mut pair.world, 1), []);
    pair.run(1);
    assert_eq!(
        common::counter(&mut pair.world, 0, "control.received.ocrq"),
        0
    );
}

#[test]
fn a_peer_that_is_no_lac_places_no_incoming_call_at_us() {
    let server = format!("{SERVES}peer profile modify profile_name=default lac_lns=lns");
    let mut pair = Pair::new(&OPENER.replace("persist=yes", ""), &server);
    pair.run(1);
    create(
        &mut pair.world,
        0,
        "user_name=alice user_password=wonderland",
    )
    .unwrap();
    pair.run(1);
    let told = pair.ends(0).join(";");
    assert!(
        told.contains("incoming calls are not accepted from this peer"),
        "{told}"
    );
    assert_eq!(sessions(&mut pair.world, 0), []);
}

#[test]
fn the_peer_profile_of_a_tunnel_of_ours_says_what_its_peer_is() {
    let opener = "
        peer profile create profile_name=boss lac_lns=lns
        tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 peer_profile_name=boss
        session profile modify profile_name=default user_name=alice user_password=wonderland
    ";
    let mut pair = Pair::new(opener, SERVES);
    pair.run(1);
    create(&mut pair.world, 1, "").unwrap();
    up(&mut pair, 1);
    let session = only(&mut pair, 1);
    assert_eq!(session.call.session_type, SessionType::Lnoc, "the default");
}

#[test]
fn a_lac_that_proves_nothing_gets_no_outgoing_call() {
    let dials = DIALS.replace("wonderland", "guess");
    let mut pair = Pair::new(&format!("{dials}{OPENER}"), SERVES);
    pair.run(1);
    create(&mut pair.world, 1, "").unwrap();
    pair.run(20);
    assert_eq!(established(&mut pair.world, 1), 0);
    let refused = pair.world.take_events(1).into_iter().any(|event| {
        matches!(event, Event::Authentication { ref user, failure: Some(_), .. } if user == "alice")
    });
    assert!(refused);
}

#[test]
fn what_the_peer_places_cannot_be_created() {
    let mut pair = outgoing(1);
    for node in [0, 1] {
        for kind in ["lnic", "laoc"] {
            let parameters = format!("session_type={kind}");
            let error = create(&mut pair.world, node, &parameters).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains("the peer's to place"), "{error}");
        }
    }
    create(&mut pair.world, 1, "session_name=twice").unwrap();
    let error = create(&mut pair.world, 1, "session_name=twice").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists);
}

#[test]
fn outgoing_calls_come_up_over_a_bad_line() {
    let quality = Quality {
        loss: 10,
        ..Quality::PERFECT
    };
    let mut world = World::new(7, quality);
    let lac = model(&format!("{DIALS}{OPENER}"));
    world.add(common::address(1), lac.clone());
    world.add(common::address(2), model(SERVES));
    start(&mut world, 0, &lac);
    let opened = |w: &mut World| {
        tunnels(w, 1)
            .iter()
            .any(|t| t.state == api::TunnelState::Established)
    };
    assert!(world.run_until(Duration::from_secs(60), Duration::from_millis(100), opened));
    for _ in 0..10 {
        create(&mut world, 1, "session_type=lnoc").unwrap();
    }
    let all = |w: &mut World| sessions(w, 1).iter().filter(|s| is_up(s)).count() == 10;
    let (limit, step) = (Duration::from_secs(120), Duration::from_millis(500));
    assert!(world.run_until(limit, step, all));
}
