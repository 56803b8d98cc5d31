//! What can be seen of tunnels and sessions: the categories that are on for them, and messages as people read them.

#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::path::Path;
use std::time::Duration;

use api::ladder::{Ladder, Style};
use api::{Direction, Selector, TraceEvent};
use common::{LAC, LNS, Pair, ask, model, sessions};
use config::TraceFlags;
use engine::{Command, Trace, Traced};
use sim::{Quality, World};

/// A node's messages and frames since they were asked for last.
fn events(world: &mut World, node: usize) -> Vec<TraceEvent> {
    let traces = world.take_traces(node).into_iter();
    traces
        .filter_map(|(time, trace)| trace.event(time.as_micros()))
        .collect()
}

/// What is said of a session of the LAC by frames, of its tunnel by messages, and of both by states.
fn count(world: &mut World, node: usize) -> [usize; 3] {
    let traces = world.take_traces(node);
    let of = |wanted: fn(&Trace) -> bool| traces.iter().filter(|(_, t)| wanted(t)).count();
    [
        of(|t| matches!(t.what, Traced::Message { .. })),
        of(|t| matches!(t.what, Traced::Frame { .. })),
        of(|t| matches!(t.what, Traced::State { .. })),
    ]
}

#[test]
fn the_ladder_in_the_documents_is_what_happens() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tracing.md");
    let text = std::fs::read_to_string(&document).unwrap();
    let (before, rest) = text.split_once("```text\n").unwrap();
    let (shown, after) = rest.split_once("```\n").unwrap();

    let ladder = ladder();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{before}```text\n{ladder}```\n{after}");
        std::fs::write(&document, text).unwrap();
    } else {
        assert_eq!(shown, ladder, "UPDATE_DOCS=1 writes it anew");
    }
}

/// A session that comes and goes on a tunnel whose peer is not there at first, seen from its LAC.
fn ladder() -> String {
    let tunnel = "
        tunnel create tunnel_name=office dest_ipaddr=192.0.2.2 src_ipaddr=192.0.2.1 host_name=lac secret=s3cret hide_avps=yes
        session create tunnel_name=office session_name=s user_name=alice user_password=wonderland
    ";
    let lns = format!(
        "{LNS}tunnel profile modify profile_name=default host_name=lns secret=s3cret auth_mode=challenge"
    );
    let mut world = World::new(7, Quality::PERFECT);
    let model_of_lac = model(tunnel);
    let lac = world.add(common::address(1), model_of_lac.clone());
    let lns = world.add(common::address(2), model(&lns));
    world.set_tracing(lac, TraceFlags::NONE, true);
    world.cut_off(lns, true);
    common::start(&mut world, lac, &model_of_lac);
    world.run_for(Duration::from_millis(500));
    world.cut_off(lns, false);
    world.run_for(Duration::from_secs(5));
    let name = |name: &str| Selector::Name(name.to_owned());
    ask(
        &mut world,
        lac,
        Command::SessionDelete(name("office"), name("s")),
    )
    .unwrap();
    world.run_for(Duration::from_secs(1));
    ask(&mut world, lac, Command::TunnelDelete(name("office"))).unwrap();
    world.run_for(Duration::from_secs(1));

    let mut ladder = Ladder::new(Style {
        width: 120,
        colour: false,
    });
    let events = events(&mut world, lac).into_iter();
    let messages = events.filter(|event| event.ppp.is_none());
    messages.map(|event| ladder.add(&event)).collect()
}

#[test]
fn nothing_is_shown_unless_somebody_wants_it() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    assert_eq!(count(&mut pair.world, pair.lac), [0; 3]);
    assert_eq!(count(&mut pair.world, pair.lns), [0; 3]);
}

#[test]
fn a_tunnels_flags_show_what_is_of_it_and_its_sessions_and_nothing_of_others() {
    let both = "
        tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 trace_flags=protocol,fsm,ppp_control
        tunnel create tunnel_name=silent dest_ipaddr=192.0.2.2 our_udp_port=1702
        session create tunnel_name=t session_name=s user_name=alice user_password=wonderland
        session create tunnel_name=silent user_name=bob user_password=builder
    ";
    let mut pair = Pair::new(both, LNS);
    pair.run(10);
    let shown = sessions(&mut pair.world, pair.lac);
    assert_eq!(shown.len(), 2);
    let loud = shown.iter().find(|s| s.tunnel_name.as_deref() == Some("t"));
    let (tunnel, session) = loud.map(|s| (s.tunnel_id, s.session_id)).unwrap();
    let traces = pair.world.take_traces(pair.lac);
    assert!(traces.iter().all(|(_, trace)| Some(trace.tunnel) == tunnel));
    let states = |of: u16| {
        let states = traces.iter().filter(|(_, trace)| trace.session == of);
        states
            .filter_map(|(_, trace)| match &trace.what {
                Traced::State { to, .. } => to.clone(),
                _ => None,
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(states(0), "wait-ctl-reply established");
    let of_session = states(session.unwrap());
    assert_eq!(
        of_session,
        "wait-reply link authenticating network established"
    );
    assert_eq!(
        count(&mut pair.world, pair.lns),
        [0; 3],
        "the peer's are its own"
    );
}

#[test]
fn a_session_has_what_it_and_its_tunnel_both_have() {
    for (of_tunnel, of_profile, of_session, shown) in [
        ("all", "", "", "all"),
        ("ppp_control", "", "", "ppp_control"),
        ("all", "trace_flags=fsm", "", "fsm"),
        (
            "all",
            "trace_flags=fsm",
            "trace_flags=ppp_control",
            "ppp_control",
        ),
        ("fsm", "trace_flags=ppp_control", "", "0"),
        ("0", "trace_flags=all", "trace_flags=all", "0"),
    ] {
        let lac = format!(
            "session profile modify profile_name=default {of_profile}
            tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 trace_flags={of_tunnel}
            session create tunnel_name=t session_name=s user_name=alice user_password=wonderland {of_session}"
        );
        let mut pair = Pair::new(&lac, LNS);
        let (ours, _) = pair.up();
        let engine = pair.world.engine(pair.lac);
        let flags = engine.trace_flags(ours.tunnel_id.unwrap(), ours.session_id.unwrap());
        assert_eq!(
            flags.to_string(),
            TraceFlags::parse(shown).unwrap().to_string(),
            "{lac}"
        );
        assert_eq!(ours.trace_flags, flags.to_string(), "what is listed");
        let [_, frames, states] = count(&mut pair.world, pair.lac);
        assert_eq!(frames > 0, flags.has("ppp_control"), "{lac}");
        assert_eq!(states > 2, flags.has("fsm"), "{lac}");
    }
}

#[test]
fn the_flags_of_a_ppp_profile_show_the_frames_of_its_sessions() {
    let lns = format!("{LNS}ppp profile modify profile_name=default trace_flags=all");
    let mut pair = Pair::new(LAC, &lns);
    pair.up();
    let [messages, frames, states] = count(&mut pair.world, pair.lns);
    assert!(messages == 0 && frames > 6 && states == 0);
}

#[test]
fn a_live_session_changes_at_once_and_the_next_begins_with_the_profile() {
    let lac = "
        ppp profile modify profile_name=default lcp_echo_interval=1
        tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 trace_flags=ppp_control
        session create tunnel_name=t session_name=s user_name=alice user_password=wonderland
    ";
    let mut pair = Pair::new(lac, LNS);
    pair.up();
    pair.run(5);
    let [_, frames, _] = count(&mut pair.world, pair.lac);
    assert!(frames > 8, "echoes are control frames");
    let name = |name: &str| Selector::Name(name.to_owned());
    for (flags, any) in [(TraceFlags::NONE, false), (TraceFlags::ALL, true)] {
        let mut change = config::Session::default();
        change.params.trace_flags = Some(flags);
        let modify = Command::SessionModify(name("t"), name("s"), Box::new(change));
        ask(&mut pair.world, pair.lac, modify).unwrap();
        pair.run(5);
        let [_, frames, _] = count(&mut pair.world, pair.lac);
        assert_eq!(frames > 0, any);
    }

    let loud = format!("{LNS}tunnel profile modify profile_name=default trace_flags=protocol");
    ask(&mut pair.world, pair.lns, Command::SetModel(model(&loud))).unwrap();
    pair.run(60);
    assert_eq!(
        count(&mut pair.world, pair.lns),
        [0; 3],
        "what is there stays as it is"
    );
    ask(&mut pair.world, pair.lac, Command::TunnelDelete(name("t"))).unwrap();
    pair.run(1);
    let again = model("tunnel create tunnel_name=u dest_ipaddr=192.0.2.2");
    common::start(&mut pair.world, pair.lac, &again);
    pair.run(2);
    let received = events(&mut pair.world, pair.lns);
    assert_eq!(
        (received[0].name.as_str(), received[0].direction),
        ("SCCRQ", Direction::Received),
        "the profile's flags show what makes the tunnel"
    );
    assert!(received[0].tunnel_id.is_some());
}

#[test]
fn a_message_that_comes_again_is_marked_at_both_ends_and_its_session_is_known_though_hidden() {
    let secret = "secret=s3cret hide_avps=yes";
    let lac = format!(
        "tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 {secret}
        session create tunnel_name=t session_name=s user_name=alice user_password=wonderland"
    );
    let lns = format!("{LNS}tunnel profile modify profile_name=default {secret}");
    let mut pair = Pair::over(Quality::BAD, &lac, &lns);
    for node in [pair.lac, pair.lns] {
        pair.world.set_tracing(node, TraceFlags::NONE, true);
    }
    pair.run(60);
    let ours = sessions(&mut pair.world, pair.lac).remove(0);
    let lac = events(&mut pair.world, pair.lac);
    let icrq = lac.iter().find(|event| event.name == "ICRQ").unwrap();
    assert_eq!(icrq.session_id, ours.session_id);
    assert_eq!(icrq.session_name.as_deref(), Some("s"));
    assert!(icrq.avps.iter().any(|avp| avp.hidden));
    let lns = events(&mut pair.world, pair.lns);
    let icrq = lns.iter().find(|event| event.name == "ICRQ").unwrap();
    assert_eq!(icrq.session_id, ours.peer_session_id);
    let again = |events: &[TraceEvent], direction| {
        let one_way = events.iter().filter(|event| event.direction == direction);
        one_way.filter(|event| event.repeated).count()
    };
    assert!(again(&lac, Direction::Sent) > 0 && again(&lns, Direction::Received) > 0);
}

#[test]
fn a_request_that_comes_again_is_marked_though_its_tunnel_is_new() {
    let mut pair = Pair::new("", LNS);
    pair.world.set_tracing(pair.lns, TraceFlags::NONE, true);
    let tunnel = model("tunnel create tunnel_name=t dest_ipaddr=192.0.2.2");
    common::start(&mut pair.world, pair.lac, &tunnel);
    // The answer is lost.
    pair.world.cut_off(pair.lac, true);
    pair.world.run_for(Duration::from_millis(500));
    pair.world.cut_off(pair.lac, false);
    pair.run(5);
    let events = events(&mut pair.world, pair.lns).into_iter();
    let requests = events.filter(|event| event.name == "SCCRQ");
    let seen: Vec<_> = requests
        .map(|event| (event.repeated, event.tunnel_id))
        .collect();
    let tunnel = seen[0].1;
    assert!(tunnel.is_some());
    assert_eq!(seen, [(false, tunnel), (true, tunnel)]);
}
