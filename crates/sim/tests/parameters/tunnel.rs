use api::{Response, Selector, TunnelState};
use engine::Command;
use sim::{Quality, World};
use wire::l2tp::{Attribute, Avp, Avps, MessageType};

use crate::common::messages::Sent;
use crate::common::{
    LNS, Pair, address, ask, counter, model, sessions, tunnel, tunnels, tunnels_in,
};
use crate::{lac, lacs, modify, with_ppp};

/// Without LCP echoes, which are data messages: only HELLOs keep a tunnel alive.
fn quiet(base: &str) -> String {
    with_ppp(base, "lcp_echo_interval=0")
}

fn quiet_pair(tunnel: &str) -> Pair {
    let mut pair = Pair::new(&quiet(&lac(tunnel)), &quiet(LNS));
    pair.up();
    pair
}

fn close_session(pair: &mut Pair) {
    let session = Selector::Name("s".to_owned());
    ask(
        &mut pair.world,
        pair.lac,
        Command::SessionDelete(tunnel("t"), session),
    )
    .unwrap();
}

#[test]
fn hello_timeout_says_when_a_silent_peer_is_asked_and_can_be_changed_live() {
    let lns = format!("{LNS}\ntunnel profile modify profile_name=default hello_timeout=0");
    let mut pair = Pair::new(&quiet(&lac("hello_timeout=100")), &quiet(&lns));
    pair.up();
    let hellos = |pair: &mut Pair| counter(&mut pair.world, pair.lac, "control.sent.hello");
    pair.run(99);
    assert_eq!(hellos(&mut pair), 0);
    pair.run(10);
    assert_eq!(hellos(&mut pair), 1);
    modify(&mut pair, 0, "hello_timeout=10").unwrap();
    pair.run(100);
    let many = hellos(&mut pair);
    assert!((9..=11).contains(&many), "{many}");
    modify(&mut pair, 0, "hello_timeout=0").unwrap();
    pair.run(1_000);
    assert_eq!(hellos(&mut pair), many);
}

#[test]
fn idle_timeout_closes_a_tunnel_without_sessions_and_can_be_changed_live() {
    let mut pair = quiet_pair("");
    close_session(&mut pair);
    pair.run(600);
    assert_eq!(
        tunnels_in(&mut pair.world, pair.lac, TunnelState::Established),
        1
    );
    modify(&mut pair, 0, "idle_timeout=30").unwrap();
    pair.run(29);
    assert_eq!(
        tunnels_in(&mut pair.world, pair.lac, TunnelState::Established),
        1
    );
    pair.run(2);
    assert_eq!(
        tunnels_in(&mut pair.world, pair.lac, TunnelState::Established),
        0
    );
}

#[test]
fn retry_timeout_and_max_retries_say_when_a_peer_is_given_up_and_can_be_changed_live() {
    let mut pair = quiet_pair("hello_timeout=10");
    modify(&mut pair, 0, "retry_timeout=2 max_retries=1").unwrap();
    pair.world.cut_off(1, true);
    // The HELLO is due within 10 seconds, is sent once more 2 seconds after and given up 4 seconds later.
    pair.run(17);
    assert_eq!(tunnels_in(&mut pair.world, 0, TunnelState::Established), 0);
}

#[test]
fn max_sessions_of_a_tunnel_bounds_its_calls_and_can_be_changed_live() {
    let mut pair = quiet_pair("max_sessions=1");
    let more = |pair: &mut Pair, name: &str| {
        let session = config::Session {
            tunnel_name: Some("t".to_owned()),
            session_name: Some(name.to_owned()),
            ..config::Session::default()
        };
        ask(
            &mut pair.world,
            0,
            Command::SessionCreate(Box::new(session)),
        )
    };
    more(&mut pair, "second").unwrap_err();
    modify(&mut pair, 0, "max_sessions=2").unwrap();
    more(&mut pair, "second").unwrap();
    more(&mut pair, "third").unwrap_err();
}

#[test]
fn mtu_of_a_tunnel_bounds_its_sessions_and_can_be_changed_live() {
    let mut pair = quiet_pair("mtu=1400");
    assert_eq!(sessions(&mut pair.world, 0)[0].mtu, Some(1400));
    modify(&mut pair, 0, "mtu=1300").unwrap();
    pair.run(1);
    assert_eq!(sessions(&mut pair.world, 0)[0].mtu, Some(1300));
}

#[test]
fn persist_brings_a_tunnel_back_and_can_be_changed_live() {
    let mut pair = quiet_pair("");
    modify(&mut pair, 0, "persist=yes").unwrap();
    let id = tunnels(&mut pair.world, 1)[0].tunnel_id.unwrap();
    let close = |pair: &mut Pair, id| {
        ask(&mut pair.world, 1, Command::TunnelDelete(Selector::Id(id))).unwrap()
    };
    close(&mut pair, id);
    pair.run(5);
    pair.up();
    modify(&mut pair, 0, "persist=no").unwrap();
    let up = |t: &api::TunnelStatus| t.state == TunnelState::Established;
    let all = tunnels(&mut pair.world, 1);
    let id = all.into_iter().find(up).unwrap().tunnel_id.unwrap();
    close(&mut pair, id);
    pair.run(600);
    assert_eq!(tunnels(&mut pair.world, 0), []);
}

#[test]
fn tunnel_name_can_be_changed_live_and_no_two_tunnels_have_one() {
    let lac = quiet(&lac("")) + "tunnel create tunnel_name=u dest_ipaddr=192.0.2.3";
    let mut pair = Pair::new(&lac, &quiet(LNS));
    pair.up();
    let rename = |pair: &mut Pair, from: &str, to: &str| {
        let change = config::Tunnel {
            tunnel_name: Some(to.to_owned()),
            ..config::Tunnel::default()
        };
        let command = Command::TunnelModify(tunnel(from), Box::new(change));
        ask(&mut pair.world, 0, command)
    };
    rename(&mut pair, "t", "u").unwrap_err();
    rename(&mut pair, "t", "v").unwrap();
    ask(&mut pair.world, 0, Command::TunnelShow(tunnel("t"))).unwrap_err();
    ask(&mut pair.world, 0, Command::TunnelShow(tunnel("v"))).unwrap();
    let id = tunnels(&mut pair.world, 1)[0].tunnel_id.unwrap();
    let change = config::Tunnel {
        tunnel_name: Some("w".to_owned()),
        ..config::Tunnel::default()
    };
    let of_peer = Command::TunnelModify(Selector::Id(id), Box::new(change));
    let refused = ask(&mut pair.world, 1, of_peer).unwrap_err();
    assert!(refused.message.contains("peer opened"), "{refused}");
}

#[test]
fn profile_names_of_a_tunnel_can_be_changed_live_for_its_next_sessions() {
    let lac = quiet(&lac(""))
        + "session profile create profile_name=other
           ppp profile create profile_name=small
           ppp profile modify profile_name=small mtu=1000
           peer profile create profile_name=p";
    let mut pair = Pair::new(&lac, &quiet(LNS));
    pair.up();
    modify(&mut pair, 0, "ppp_profile_name=nowhere").unwrap_err();
    let names = "session_profile_name=other ppp_profile_name=small peer_profile_name=p";
    modify(&mut pair, 0, names).unwrap();
    assert_ne!(sessions(&mut pair.world, 0)[0].mtu, Some(1000));
    close_session(&mut pair);
    let session = config::Session {
        tunnel_name: Some("t".to_owned()),
        params: config::SessionParams {
            user_name: Some("alice".to_owned()),
            user_password: Some("wonderland".into()),
            ..config::SessionParams::default()
        },
        ..config::Session::default()
    };
    ask(
        &mut pair.world,
        0,
        Command::SessionCreate(Box::new(session)),
    )
    .unwrap();
    pair.run(5);
    let status = sessions(&mut pair.world, 0).remove(0);
    let names = (&*status.profile_name, &*status.ppp_profile_name);
    assert_eq!((names, status.mtu), (("other", "small"), Some(1000)));
}

#[test]
fn what_a_tunnel_tells_its_peer_at_the_start_is_given_at_creation_only() {
    for parameter in [
        "secret=x",
        "hide_avps=yes",
        "host_name=x",
        "rx_window_size=9",
    ] {
        let text = format!("tunnel modify tunnel_name=t {parameter}");
        let refused = config::parse_command(&text).unwrap_err();
        assert!(refused.message.contains("at creation"), "{refused}");
    }
}

#[test]
fn the_peers_address_and_port_may_be_those_of_the_profile() {
    let lac = "
        tunnel profile create profile_name=p
        tunnel profile modify profile_name=p dest_ipaddr=192.0.2.9 peer_udp_port=1777
        tunnel create tunnel_name=t profile_name=p";
    let mut pair = Pair::new(lac, LNS);
    pair.world.listen(crate::common::address(9));
    pair.run(3);
    let heard = pair.world.take_heard();
    assert!(heard.iter().all(|(to, _)| to.port() == 1777) && !heard.is_empty());
}

#[test]
fn a_tunnel_shows_all_that_it_is_run_by_and_no_secret() {
    let profile = |base: &str| {
        format!("{base}\ntunnel profile modify profile_name=default secret=s3cret retry_timeout=3")
    };
    let mut pair = Pair::new(&profile(&lac("hello_timeout=33")), &profile(LNS));
    pair.up();
    modify(&mut pair, 0, "mtu=1300").unwrap();
    let shown = ask(&mut pair.world, pair.lac, Command::TunnelShow(tunnel("t")));
    let Ok(api::Response::Tunnel(status)) = shown else {
        panic!("{shown:?}");
    };
    // Its own, its profile's, a default, what was changed.
    for (name, value) in [
        ("hello_timeout", 33),
        ("retry_timeout", 3),
        ("max_retries", 5),
        ("mtu", 1300),
    ] {
        assert_eq!(status.parameters[name], value, "{name}");
    }
    assert_eq!(status.parameters["secret"], config::MASK);
    assert!(tunnels(&mut pair.world, pair.lac)[0].parameters.is_empty());
}

#[test]
fn interface_name_of_a_tunnel_begins_the_names_of_devices_of_sessions_that_have_none() {
    for (session, device) in [("", "wan0"), ("interface_name=uplink", "uplink")] {
        let text = format!("{} {session}", lac("interface_name=wan").trim_end());
        let mut pair = Pair::new(&text, LNS);
        let (lac, _) = pair.up();
        assert_eq!(lac.interface_name.as_deref(), Some(device));
    }
}

#[test]
fn peer_port_of_a_profile_is_that_of_the_requests_that_its_address_selects() {
    let lns = LNS.to_owned()
        + "tunnel profile create profile_name=p
           peer profile create profile_name=cpe peer_ipaddr=192.0.2.1 peer_port=5000 tunnel_profile_name=p";
    for (port, profile) in [(5000, "p"), (5001, "default")] {
        let mut pair = Pair::new("", &lns);
        pair.world.answer_from(0, port);
        crate::common::start(&mut pair.world, 0, &crate::common::model(&lac("")));
        pair.up();
        assert_eq!(tunnels(&mut pair.world, 1)[0].profile_name, profile);
    }
}

#[test]
fn config_id_numbers_the_tunnels_to_one_peer() {
    let mut world = World::new(7, Quality::PERFECT);
    let node = world.add(address(1), model(""));
    let ask = |world: &mut World, command| ask(world, node, command);
    let create = |world: &mut World, text: &str| {
        let text = format!("tunnel create persist=yes {text}");
        let tunnel: config::Tunnel = config::parse_command(&text).unwrap().build().unwrap();
        ask(world, Command::TunnelCreate(Box::new(tunnel)))
    };
    for text in [
        "tunnel_name=a dest_ipaddr=192.0.2.2",
        "tunnel_name=b dest_ipaddr=192.0.2.2 config_id=3",
        "tunnel_name=c dest_ipaddr=192.0.2.2",
        "tunnel_name=d dest_ipaddr=192.0.2.3",
    ] {
        create(&mut world, text).unwrap();
    }
    let taken = create(
        &mut world,
        "tunnel_name=e dest_ipaddr=192.0.2.2 config_id=3",
    )
    .unwrap_err();
    assert!(taken.message.contains("config_id 3"), "{taken}");
    ask(&mut world, Command::TunnelDelete(tunnel("a"))).unwrap();
    create(&mut world, "tunnel_name=f dest_ipaddr=192.0.2.2").unwrap();
    let number = |name| match ask(&mut world, Command::TunnelShow(tunnel(name))) {
        Ok(Response::Tunnel(status)) => status.parameters["config_id"].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(["b", "c", "d", "f"].map(number), [3, 2, 1, 1]);
}

fn host_name(message: &Sent) -> String {
    let name = message.find(|a| match a {
        Attribute::HostName(name) => Some(name.to_vec()),
        _ => None,
    });
    String::from_utf8(name).unwrap()
}

#[test]
fn host_name_is_the_name_that_the_peer_hears() {
    let mut sent = lacs("host_name=gateway")
        .map(|lac| (lac, "gateway"))
        .to_vec();
    sent.push((lac(""), "node0"));
    for (lac, name) in sent {
        let request = Pair::recorded(&lac, LNS).message(0, MessageType::SCCRQ);
        assert_eq!(host_name(&request), name);
    }
    for (parameter, name) in [("host_name=concentrator", "concentrator"), ("", "node1")] {
        let lns = format!("{LNS}\ntunnel profile modify profile_name=default {parameter}\n");
        let reply = Pair::recorded(&lac(""), &lns).message(1, MessageType::SCCRP);
        assert_eq!(host_name(&reply), name);
    }
}

#[test]
fn profile_name_of_a_tunnel_profile_is_the_name_that_a_tunnel_finds_it_by() {
    let profiles = "
        tunnel profile create profile_name=a
        tunnel profile modify profile_name=a host_name=first
        tunnel profile create profile_name=b
        tunnel profile modify profile_name=b host_name=second\n";
    for (profile, name) in [("a", "first"), ("b", "second"), ("default", "node0")] {
        let lac = format!("{profiles}{}", lac(&format!("profile_name={profile}")));
        let request = Pair::recorded(&lac, LNS).message(0, MessageType::SCCRQ);
        assert_eq!(host_name(&request), name);
    }
    let text = config::parse_command("tunnel create dest_ipaddr=192.0.2.2 profile_name=c");
    let tunnel: config::Tunnel = text.unwrap().build().unwrap();
    let mut pair = Pair::new(profiles, LNS);
    let created = ask(&mut pair.world, 0, Command::TunnelCreate(Box::new(tunnel)));
    let refused = created.unwrap_err().message;
    assert!(refused.contains("no tunnel profile `c`"), "{refused}");
}

/// Whether each AVP that may be hidden is, in what the LAC tells after its first request; the LNS reads it either way.
fn hidden(lac: &str, lns: &str) -> Vec<bool> {
    let called = lac.trim_end().to_owned() + " called_number=5551234";
    let mut pair = Pair::recorded(&called, lns);
    let (_, at_lns) = pair.up();
    assert_eq!(at_lns.call.called_number.as_deref(), Some("5551234"));
    let told = pair.told();
    let after_request = told.iter().filter(|told| {
        told.from == 0
            && told
                .message
                .message_type
                .is_some_and(|it| it != MessageType::SCCRQ)
    });
    after_request
        .flat_map(|told| Avps::new(&told.message.avps).flatten())
        .filter(Avp::may_be_hidden)
        .map(|avp| avp.hidden)
        .collect()
}

#[test]
fn hide_avps_hides_what_a_node_tells_from_whoever_reads_along() {
    let with_secret = |more: &str| lacs(&format!("secret=s3cret {more}"));
    let lns = format!("{LNS}\ntunnel profile modify profile_name=default secret=s3cret\n");
    for lac in with_secret("hide_avps=yes") {
        let hidden = hidden(&lac, &lns);
        assert!(
            hidden.len() > 5 && hidden.iter().all(|hidden| *hidden),
            "{hidden:?}"
        );
    }
    for lac in with_secret("hide_avps=no") {
        let hidden = hidden(&lac, &lns);
        assert!(hidden.len() > 5 && !hidden.contains(&true), "{hidden:?}");
    }
}

fn window(message: &Sent) -> u16 {
    message.find(|a| match a {
        Attribute::ReceiveWindowSize(window) => Some(window),
        _ => None,
    })
}

/// A LAC that places sixty calls at once.
fn many_calls(lac: &str) -> String {
    let calls =
        (0..60).map(|n| format!("session create tunnel_name=t session_name=s{n} no_ppp=yes\n"));
    let tunnel: Vec<_> = lac
        .lines()
        .filter(|line| !line.contains("session create"))
        .collect();
    tunnel.join("\n") + "\n" + &calls.collect::<String>()
}

/// The most messages of the LAC that were on the wire at a time, or whose acknowledgements were.
fn most_unacknowledged(lac: &str, lns: &str) -> u16 {
    let mut pair = Pair::recorded(&many_calls(lac), lns);
    pair.run(30);
    assert_eq!(sessions(&mut pair.world, 1).len(), 60);
    let told = pair.told();
    let delay = Quality::PERFECT.delay;
    let (from_lac, from_lns): (Vec<_>, Vec<_>) = told.iter().partition(|told| told.from == 0);
    let messages = from_lac
        .iter()
        .filter(|told| told.message.message_type.is_some());
    let unacknowledged = messages.map(|told| {
        let heard = from_lns
            .iter()
            .take_while(|answer| answer.at + delay <= told.at);
        let acknowledged = heard.map(|answer| answer.message.header.nr).max();
        told.message.header.ns + 1 - acknowledged.unwrap_or(0)
    });
    unacknowledged.max().unwrap()
}

#[test]
fn rx_window_size_is_told_to_the_peer_which_sends_no_more_at_a_time() {
    for lac in lacs("rx_window_size=7") {
        let request = Pair::recorded(&lac, LNS).message(0, MessageType::SCCRQ);
        assert_eq!(window(&request), 7);
    }
    for size in [4, 20] {
        let lns =
            format!("{LNS}\ntunnel profile modify profile_name=default rx_window_size={size}\n");
        let reply = Pair::recorded(&lac(""), &lns).message(1, MessageType::SCCRP);
        assert_eq!(window(&reply), size);
        assert_eq!(most_unacknowledged(&lac("tx_window_size=100"), &lns), size);
    }
}

#[test]
fn tx_window_size_is_how_many_messages_may_be_on_the_wire() {
    let lns = format!("{LNS}\ntunnel profile modify profile_name=default rx_window_size=100\n");
    for size in [1, 3, 15] {
        for lac in lacs(&format!("tx_window_size={size}")) {
            assert_eq!(most_unacknowledged(&lac, &lns), size);
        }
    }
}
