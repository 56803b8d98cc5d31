//! What the manual's table says that a change of the configuration touches is what it touches. Of each parameter whose word is `next`: what lives
//! goes on octet for octet as if nothing had changed, and what is made afterwards is as if nothing had been there before the change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use std::fmt::Write;
use std::sync::Arc;

use common::{Pair, address, ask, established, model, sessions, tunnel, tunnels};
use config::{Kind, Model, Object, Parameter, Role, Touches};
use engine::{Command, Event};
use sim::{Quality, World};

/// What both nodes have: whatever can be in use is, and of each class there is another.
const BOTH: &str = "
    peer profile create profile_name=our_peer peer_ipaddr=192.0.2.0 netmask=24 tunnel_profile_name=our_tunnel \\
        session_profile_name=our_session ppp_profile_name=our_ppp
    tunnel profile create profile_name=our_tunnel secret=known
    session profile create profile_name=our_session user_name=our_user user_password=wonderland
    ppp profile create profile_name=our_ppp
    user create user_name=our_user password=wonderland
    ip_pool create pool_name=our_pool range=10.0.0.2-10.0.255.254
    peer profile create profile_name=other
    tunnel profile create profile_name=other secret=known
    session profile create profile_name=other user_name=our_user user_password=wonderland
    ppp profile create profile_name=other
    ip_pool create pool_name=other range=10.8.0.2-10.8.255.254
    listener create listener_name=other udp_port=1702
";
const LAC: &str = "
    tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 profile_name=our_tunnel peer_profile_name=our_peer persist=yes
    session create tunnel_name=t session_name=s
";
const LNS: &str =
    "ppp profile modify profile_name=our_ppp local_ipaddr=10.0.0.1 ip_pool_name=our_pool\n";

/// The name that an object of this class has which is in use.
fn in_use(object: Object) -> &'static str {
    match object {
        Object::PeerProfile => "our_peer",
        Object::TunnelProfile => "our_tunnel",
        Object::SessionProfile => "our_session",
        Object::PppProfile => "our_ppp",
        Object::User => "our_user",
        Object::IpPool => "our_pool",
        _ => "",
    }
}

/// Values that a parameter does not have by default.
fn values(parameter: &Parameter) -> Vec<String> {
    let some = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut values = match parameter.kind {
        Kind::Number => {
            let (least, most) = parameter.range.unwrap_or((0, 65_535));
            vec![least.to_string(), most.to_string()]
        }
        Kind::Boolean => some(&["yes", "no"]),
        Kind::Choice(words) => some(words),
        Kind::Flags(_) => some(&["all"]),
        Kind::Text | Kind::Secret | Kind::Name(_) => some(&["other"]),
        Kind::Address | Kind::Host => some(&["192.0.2.77"]),
        Kind::Ipv4Address => some(&["10.7.7.7"]),
        Kind::Netmask => some(&["255.255.0.0"]),
        Kind::AddressRange => some(&["10.7.0.2-10.7.0.9"]),
        Kind::Speed => some(&["5000:6000"]),
        Kind::Octets | Kind::SecretOctets => some(&["0206000a0000"]),
        Kind::Device => some(&["wan"]),
        Kind::Program => some(&["/bin/false"]),
    };
    values.retain(|value| parameter.default.as_ref() != Some(value));
    values
}

/// The models of both nodes before a parameter is changed, or after it.
fn models(change: &dyn Fn(String) -> String) -> [Arc<Model>; 2] {
    [LAC, LNS].map(|own| model(&change(format!("{BOTH}{own}"))))
}

#[derive(Clone, Copy, PartialEq)]
enum Changed {
    Never,
    WhileAllLives,
    WhenItIsGone,
}

/// All that can be seen of both nodes, since this was called last.
fn seen(pair: &mut Pair) -> String {
    let mut seen = String::new();
    for sent in pair.world.record() {
        writeln!(seen, "{sent:?}").unwrap();
    }
    for node in [0, 1] {
        for event in pair.world.take_events(node) {
            writeln!(seen, "{event:?}").unwrap();
        }
        for status in tunnels(&mut pair.world, node) {
            let id = status.tunnel_id.map(api::Selector::Id);
            let show = Command::TunnelShow(id.unwrap_or(tunnel("t")));
            writeln!(seen, "{:?}", ask(&mut pair.world, node, show)).unwrap();
        }
        for status in sessions(&mut pair.world, node) {
            writeln!(seen, "{status:?}").unwrap();
        }
    }
    seen
}

/// What is seen of a tunnel and its session from the change to their end, and of those that are made after it.
fn two_lives(
    before: &[Arc<Model>; 2],
    after: &[Arc<Model>; 2],
    changed: Changed,
) -> (String, String) {
    let mut world = World::new(3, Quality::PERFECT);
    let [lac, lns] = [0, 1].map(|node| world.add(address(node as u8 + 1), before[node].clone()));
    let mut pair = Pair { world, lac, lns };
    let start = |pair: &mut Pair, model: &Model| {
        let tunnels = model.tunnels.iter().cloned().map(Box::new);
        let sessions = model.sessions.iter().cloned().map(Box::new);
        let commands = tunnels.map(Command::TunnelCreate);
        let commands: Vec<_> = commands
            .chain(sessions.map(Command::SessionCreate))
            .collect();
        commands
            .into_iter()
            .map(|command| format!("{:?}\n", ask(&mut pair.world, lac, command)))
            .collect::<String>()
    };
    let change = |pair: &mut Pair, at: Changed| {
        for node in [lac, lns] {
            if changed == at {
                let command = Command::SetModel(after[node].clone());
                ask(&mut pair.world, node, command).unwrap();
            }
        }
    };
    start(&mut pair, &before[lac]);
    pair.up();
    pair.world.record();
    change(&mut pair, Changed::WhileAllLives);
    for _ in 0..5 {
        pair.run(60);
        pair.world.count_packets(lac, 1);
        pair.world.count_packets(lns, 1);
    }
    assert_eq!(established(&mut pair.world, lns), 1);
    let mut first = seen(&mut pair);
    ask(&mut pair.world, lac, Command::TunnelDelete(tunnel("t"))).unwrap();
    pair.run(60);
    first += &seen(&mut pair);
    change(&mut pair, Changed::WhenItIsGone);
    let mut second = start(&mut pair, &after[lac]);
    pair.run(200);
    second += &seen(&mut pair);
    (first, second)
}

/// The line where two differ.
fn difference(one: &str, other: &str) -> Option<String> {
    let mut lines = one.lines().zip(other.lines());
    let differ = lines.find(|(one, other)| one != other);
    differ
        .map(|(one, other)| format!("\n{one}\n{other}"))
        .or_else(|| (one.len() != other.len()).then(|| "one is longer".to_owned()))
}

#[test]
fn what_the_next_ones_take_leaves_those_that_live_exactly_as_they_are() {
    let unchanged = models(&|text| text);
    let reference = two_lives(&unchanged, &unchanged, Changed::Never);
    let (mut all, mut visible) = (0, 0);
    for &object in Object::ALL {
        // Tunnels and sessions of ours are changed by commands of their own.
        if matches!(object, Object::Tunnel | Object::Session | Object::Listener) {
            continue;
        }
        let name = in_use(object);
        for parameter in object.parameters() {
            if parameter.touches(object) != Touches::Next || parameter.role == Role::ReadOnly {
                continue;
            }
            for value in values(parameter) {
                let key = object
                    .key()
                    .map_or(String::new(), |key| format!("{}={name}", key.name));
                let after = models(&|text| match parameter.role {
                    Role::Key => text.replace(name, &format!("{name}_renamed")),
                    _ => format!("{text}{object} modify {key} {}={value}\n", parameter.name),
                });
                let what = format!("{object} {}={value}", parameter.name);
                let (first, second) = two_lives(&unchanged, &after, Changed::WhileAllLives);
                assert_eq!(difference(&reference.0, &first), None, "{what}");
                let (_, anew) = two_lives(&unchanged, &after, Changed::WhenItIsGone);
                assert_eq!(difference(&anew, &second), None, "{what}");
                all += 1;
                visible += usize::from(second != reference.1);
            }
        }
    }
    // Of the others the scene is not one in which they matter, or they have no effect yet.
    assert!(visible > all / 2, "{visible} of {all}");
}

#[test]
fn what_is_felt_at_once_of_the_system_is_what_has_a_test_of_that() {
    let live = Object::System.parameters().iter();
    let live =
        live.filter(|p| p.touches(Object::System) == Touches::Live && p.role != Role::ReadOnly);
    let names: Vec<_> = live.map(|parameter| parameter.name).collect();
    // The first two below; of the others the parameter coverage names the test.
    assert_eq!(
        names,
        [
            "tunnel_persist_pend_timeout",
            "session_persist_pend_timeout",
            "trace_flags",
            "event_script",
            "event_script_timeout",
            "reset_statistics",
        ]
    );
}

/// How often something of ours failed in 300 seconds, before the configuration of the LAC has this too and 400 seconds after.
fn failures(lac: &str, more: &str, is_failure: fn(&Event) -> bool) -> [usize; 2] {
    let mut pair = Pair::new(lac, common::LNS);
    pair.run(1_000);
    let count = |pair: &mut Pair| {
        pair.world.take_events(0);
        pair.run(300);
        let events = pair.world.take_events(0);
        events.iter().filter(|event| is_failure(event)).count()
    };
    let before = count(&mut pair);
    let changed = model(&format!("{lac}\nsystem modify {more}"));
    ask(&mut pair.world, 0, Command::SetModel(changed)).unwrap();
    pair.run(400);
    [before, count(&mut pair)]
}

#[test]
fn the_longest_wait_for_a_tunnel_or_a_session_changes_for_those_that_are_tried_again_and_again() {
    let tunnel = "tunnel create tunnel_name=t dest_ipaddr=nowhere.example persist=yes";
    let [before, after] = failures(tunnel, "tunnel_persist_pend_timeout=10", |event| {
        matches!(event, Event::TunnelFailed { .. })
    });
    assert!(
        before <= 1 && (24..=30).contains(&after),
        "{before} {after}"
    );

    let session = common::LAC.replace("wonderland", "wrong");
    let [before, after] = failures(&session, "session_persist_pend_timeout=5", |event| {
        matches!(event, Event::SessionDown { .. })
    });
    assert!((3..=5).contains(&before) && after >= 40, "{before} {after}");
}

#[test]
fn a_user_that_is_challenged_again_proves_the_password_of_today() {
    let lns = format!(
        "{}\nppp profile modify profile_name=default chap_interval=60",
        common::LNS
    );
    for (today, is_wrong) in [("wonderland", false), ("other", true)] {
        let mut pair = Pair::new(common::LAC, &lns);
        pair.up();
        let changed = model(&lns.replace("wonderland", today));
        ask(&mut pair.world, 1, Command::SetModel(changed)).unwrap();
        pair.world.take_events(1);
        pair.run(50);
        assert_eq!(pair.ends(1), Vec::<String>::new());
        pair.run(20);
        assert_eq!(pair.ends(1).is_empty(), !is_wrong);
    }
}
