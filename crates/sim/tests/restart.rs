//! A program that ends and starts again where its snapshot was taken: neither its peers nor its users notice.
//!
//! A run is a function of its seed, and a restart sends nothing: so a run with restarts must be the run without them, octet for octet, over a
//! good network and over a bad one.

mod common;

use std::ops::Range;
use std::time::Duration;

use api::{Response, Selector, SessionState, SessionStatus, Statistics, TunnelState, TunnelStatus};
use common::{
    LAC, LNS, Pair, address, ask, counter, established, model, sessions, start, tunnel, tunnels,
};
use datapath::{Device, Request};
use engine::{Command, Engine, EngineConfig, Event, Input, Output, RestoreError, Snapshot, Token};
use sansio::Time;
use sim::{NodeId, Quality, Sent, World};

/// Secrets, challenges and hidden AVPs, keepalives, and a window of one message.
const BOTH_ENDS: &str = "
    tunnel profile modify profile_name=default secret=s3cret auth_mode=challenge hide_avps=yes
    tunnel profile modify profile_name=default hello_timeout=2 tx_window_size=1
    ppp profile modify profile_name=default lcp_echo_interval=5 chap_interval=7
";
/// What the LAC is told to make later.
const MORE_SESSIONS: &str = "
    session create tunnel_name=t session_name=s2 user_name=bob user_password=builder
    session create tunnel_name=t session_name=s3 user_name=alice user_password=wonderland
    session create tunnel_name=t session_name=s4 user_name=alice user_password=wonderland
";

/// A session that fails.
const BAD_SESSION: &str =
    "session create tunnel_name=t session_name=bad user_name=bob user_password=wrong";
/// A tunnel that fails, of a third node's.
const STRANGER: &str = "
    tunnel profile modify profile_name=default secret=wrong
    tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes
";
const STRANGER_NODE: NodeId = 2;

/// The LAC, the LNS, both.
const WHO: [Range<NodeId>; 3] = [0..1, 1..2, 0..2];

/// A LAC and an LNS that set up, keep alive, add, end, lose and make anew, so that everything that a snapshot could lose is in it.
struct Conversation {
    pair: Pair,
    settings: String,
    millis: u64,
}

type Step = fn(&mut Conversation);

/// All that a conversation shows to peers, users and operators.
#[derive(PartialEq, Debug)]
struct Story {
    datagrams: Vec<Sent>,
    events: [Vec<Event>; 2],
    tunnels: [Vec<TunnelStatus>; 2],
    sessions: [Vec<SessionStatus>; 2],
    statistics: [Statistics; 2],
}

impl Conversation {
    /// What happens, after how many milliseconds.
    const STEPS: [(u64, Step); 4] = [
        (2_000, Self::place_more),
        (12_000, Self::hang_up),
        (20_000, Self::close),
        (24_000, Self::fail),
    ];
    const END: u64 = 40_000;

    fn new(quality: Quality, settings: &str) -> Self {
        let settings = format!("{BOTH_ENDS}{settings}");
        let mut pair = Pair::over(
            quality,
            &format!("{settings}{LAC}"),
            &format!("{LNS}{settings}"),
        );
        pair.world.add(address(3), model(STRANGER));
        pair.world.record();
        Self {
            pair,
            settings,
            millis: 0,
        }
    }

    fn run_to(&mut self, millis: u64) {
        for (at, step) in Self::STEPS {
            if self.millis < at && at <= millis {
                self.pass(at);
                step(self);
            }
        }
        self.pass(millis);
    }

    fn pass(&mut self, millis: u64) {
        let wait = Duration::from_millis(millis - self.millis);
        self.pair.world.run_for(wait);
        self.millis = millis;
    }

    /// The LAC's user makes more sessions.
    fn place_more(&mut self) {
        for session in model(&format!("{LAC}{MORE_SESSIONS}")).sessions[1..].iter() {
            self.order(0, Command::SessionCreate(Box::new(session.clone())));
        }
    }

    /// The LAC's user ends the first one.
    fn hang_up(&mut self) {
        let session = Selector::Name("s".to_owned());
        self.order(0, Command::SessionDelete(tunnel("t"), session));
    }

    /// The LNS's operator ends the tunnel, which the LAC makes anew.
    fn close(&mut self) {
        let all = tunnels(&mut self.pair.world, 1);
        for id in all.iter().filter_map(|t| t.tunnel_id) {
            self.order(1, Command::TunnelDelete(Selector::Id(id)));
        }
    }

    /// The LAC's user mistypes its password, and a stranger does not know the secret; both try again and again.
    fn fail(&mut self) {
        for session in &model(&format!("{LAC}{BAD_SESSION}")).sessions[1..] {
            self.order(0, Command::SessionCreate(Box::new(session.clone())));
        }
        start(&mut self.pair.world, STRANGER_NODE, &model(STRANGER));
    }

    fn order(&mut self, node: NodeId, command: Command) {
        let answer = ask(&mut self.pair.world, node, command);
        assert!(answer.is_ok(), "{answer:?}");
    }

    fn restart(&mut self, nodes: Range<NodeId>) {
        for node in nodes {
            let own = [LAC, LNS][node];
            let settings = &self.settings;
            let carried = self.pair.world.datapath_sessions(node);
            let snapshot = self.pair.world.snapshot(node);
            let model = model(&format!("{own}{settings}"));
            self.pair.world.restore(node, &snapshot, model);
            assert_eq!(self.pair.world.datapath_sessions(node), carried);
        }
    }

    fn story(mut self) -> Story {
        self.run_to(Self::END);
        let world = &mut self.pair.world;
        Story {
            datagrams: world.record(),
            events: [0, 1].map(|node| world.take_events(node)),
            tunnels: [0, 1].map(|node| tunnels(world, node)),
            sessions: [0, 1].map(|node| sessions(world, node)),
            statistics: [0, 1].map(|node| match ask(world, node, Command::Statistics) {
                Ok(Response::Statistics(all)) => all,
                other => panic!("{other:?}"),
            }),
        }
    }
}

impl Story {
    fn told(quality: Quality, settings: &str) -> Self {
        Conversation::new(quality, settings).story()
    }

    /// The story of a run that restarts nodes at certain moments.
    fn with_restarts(
        quality: Quality,
        settings: &str,
        nodes: Range<NodeId>,
        at: impl IntoIterator<Item = u64>,
    ) -> Self {
        let mut conversation = Conversation::new(quality, settings);
        for millis in at {
            conversation.run_to(millis);
            conversation.restart(nodes.clone());
        }
        conversation.story()
    }

    /// Where two stories part; nothing when they are one.
    fn difference(&self, other: &Self) -> Option<String> {
        let mut datagrams = self.datagrams.iter().zip(&other.datagrams);
        if let Some(pair) = datagrams.find(|(a, b)| a != b) {
            return Some(format!("{pair:?}"));
        }
        (self != other).then(|| format!("{self:?}\n{other:?}"))
    }
}

#[test]
fn the_story_has_everything_in_it() {
    let story = Story::told(Quality::PERFECT, "");
    let failed = |name: &str| story.statistics[1].0[name] > 1;
    assert!(failed("ppp.auth_failures") && failed("control.received.stop_ccn"));
    let up = |s: &&SessionStatus| s.state == SessionState::Established;
    for node in [0, 1] {
        let count = |name: &str| story.statistics[node].0[name];
        assert_eq!(story.sessions[node].iter().filter(up).count(), 3);
        assert!(count("control.sent.hello") + count("control.received.hello") > 5);
        assert!(count("control.sent.cdn") + count("control.received.cdn") > 0);
        assert!(count("ppp.sent") > 100);
        let ends = |e: &&Event| matches!(e, Event::TunnelDown { .. } | Event::SessionDown { .. });
        assert!(story.events[node].iter().filter(ends).count() > 5);
    }
}

#[test]
fn a_restart_at_any_moment_of_the_set_up_changes_nothing() {
    let all = ["pap", "chap", "mschapv1", "mschapv2"];
    for protocol in all {
        let only: String = all
            .iter()
            .map(|p| {
                let on = *p == protocol;
                format!("ppp profile modify profile_name=default auth_{p}={on}\n")
            })
            .collect();
        let expected = Story::told(Quality::PERFECT, &only);
        for (n, millis) in (0..300).step_by(5).enumerate() {
            let nodes = WHO[n % WHO.len()].clone();
            let story = Story::with_restarts(Quality::PERFECT, &only, nodes.clone(), [millis]);
            let difference = story.difference(&expected);
            assert_eq!(difference, None, "{protocol}, {nodes:?} at {millis} ms");
        }
    }
}

#[test]
fn restarting_over_and_over_changes_nothing() {
    for quality in [Quality::PERFECT, Quality::BAD] {
        let expected = Story::told(quality, "");
        for step in [77, 1_009] {
            let often = (0..Conversation::END).step_by(step);
            let story = Story::with_restarts(quality, "", 0..2, often);
            assert_eq!(story.difference(&expected), None, "every {step} ms");
        }
    }
}

/// What a snapshot may be taken in the middle of.
#[derive(Clone, Copy, Debug)]
enum Middle {
    Tunnel(TunnelState),
    Session(SessionState),
    /// A message was sent again, and still has no answer.
    Retransmitting,
    /// A message waits for the window.
    Queued,
    /// A message came before its predecessor, which is still missing.
    Held,
}

impl Middle {
    const ALL: [Self; 16] = [
        Self::Tunnel(TunnelState::WaitCtlReply),
        Self::Tunnel(TunnelState::WaitCtlConn),
        Self::Tunnel(TunnelState::Established),
        Self::Tunnel(TunnelState::Closing),
        Self::Tunnel(TunnelState::Retry),
        Self::Session(SessionState::WaitTunnel),
        Self::Session(SessionState::WaitReply),
        Self::Session(SessionState::WaitConnect),
        Self::Session(SessionState::Link),
        Self::Session(SessionState::Authenticating),
        Self::Session(SessionState::Network),
        Self::Session(SessionState::Established),
        Self::Session(SessionState::Closing),
        Self::Retransmitting,
        Self::Queued,
        Self::Held,
    ];

    /// Whether a node is in the middle of it. `before` is what it counted and expected next a moment ago.
    fn is_now(self, world: &mut World, node: NodeId, before: &Glance) -> bool {
        let now = Glance::at(world, node);
        let tunnels = tunnels(world, node);
        let mut transports = tunnels.iter().filter_map(|t| t.transport.as_ref());
        match self {
            Self::Tunnel(state) => tunnels.iter().any(|t| t.state == state),
            Self::Session(state) => sessions(world, node).iter().any(|s| s.state == state),
            Self::Retransmitting => {
                now.retransmissions > before.retransmissions
                    && transports.any(|t| t.unacknowledged > 0)
            }
            Self::Queued => transports.any(|t| t.queued > 0),
            Self::Held => now.out_of_order > before.out_of_order && now.nr == before.nr,
        }
    }
}

/// What tells that something has just happened to a node.
#[derive(Default)]
struct Glance {
    retransmissions: u64,
    out_of_order: u64,
    /// The next messages that its tunnels expect.
    nr: Vec<u16>,
}

impl Glance {
    fn at(world: &mut World, node: NodeId) -> Self {
        let tunnels = tunnels(world, node);
        let transports = tunnels.iter().filter_map(|t| t.transport.as_ref());
        Self {
            retransmissions: counter(world, node, "control.retransmissions"),
            out_of_order: counter(world, node, "control.out_of_order"),
            nr: transports.map(|t| t.nr).collect(),
        }
    }
}

/// With a window of one, nothing overtakes anything.
const MIDDLES: &str = "tunnel profile modify profile_name=default tx_window_size=4";

/// When each middle is reached first, and by whom.
fn moments(quality: Quality) -> Vec<(Middle, NodeId, u64)> {
    let mut conversation = Conversation::new(quality, MIDDLES);
    let mut missing: Vec<_> = Middle::ALL.to_vec();
    let mut found = Vec::new();
    let mut before = [Glance::default(), Glance::default()];
    for millis in (0..Conversation::END).step_by(5) {
        conversation.run_to(millis);
        let world = &mut conversation.pair.world;
        for (node, before) in before.iter_mut().enumerate() {
            missing.retain(|middle| {
                let reached = middle.is_now(world, node, before);
                if reached {
                    found.push((*middle, node, millis));
                }
                !reached
            });
            *before = Glance::at(world, node);
        }
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "never: {missing:?}");
    found
}

#[test]
fn a_restart_in_the_middle_of_anything_changes_nothing() {
    let expected = Story::told(Quality::BAD, MIDDLES);
    for (middle, node, millis) in moments(Quality::BAD) {
        for nodes in [node..node + 1, 0..2] {
            let story = Story::with_restarts(Quality::BAD, MIDDLES, nodes.clone(), [millis]);
            let difference = story.difference(&expected);
            assert_eq!(difference, None, "{middle:?}: {nodes:?} at {millis} ms");
        }
    }
}

#[test]
fn what_lives_keeps_its_settings_and_what_begins_takes_the_new_ones() {
    let mut pair = Pair::new(&format!("{LAC}{MORE_SESSIONS}"), LNS);
    pair.run(5);
    let before = sessions(&mut pair.world, 1);
    let changed = LNS
        .replace("10.0.0.2-10.0.255.254", "10.7.0.1-10.7.0.9")
        .replace("password=wonderland", "password=other");
    let snapshot = pair.world.snapshot(1);
    pair.world.restore(1, &snapshot, model(&changed));
    pair.run(300);
    let after = sessions(&mut pair.world, 1);
    assert_eq!(after.len(), 4);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.state, SessionState::Established);
        assert_eq!(after.remote_ipaddr, before.remote_ipaddr);
        assert_eq!(after.user_name, before.user_name);
    }
    let late = "
        session create tunnel_name=t session_name=old user_name=alice user_password=wonderland
        session create tunnel_name=t session_name=new user_name=alice user_password=other
    ";
    for session in model(&format!("{LAC}{late}")).sessions[1..].iter() {
        let command = Command::SessionCreate(Box::new(session.clone()));
        assert!(ask(&mut pair.world, 0, command).is_ok());
    }
    pair.run(5);
    assert_eq!(established(&mut pair.world, 1), 5);
    let new = sessions(&mut pair.world, 0)
        .into_iter()
        .find(|s| s.session_name.as_deref() == Some("new"));
    assert_eq!(new.and_then(|s| s.local_ipaddr), Some([10, 7, 0, 1].into()));
}

#[test]
fn a_program_that_is_away_for_some_seconds_misses_nothing_for_good() {
    let settings =
        "ppp profile modify profile_name=default lcp_echo_interval=1 lcp_echo_failure_count=30\n";
    let client = format!("{settings}{LAC}{MORE_SESSIONS}");
    let server = format!("{LNS}{settings}");
    for away in [0, 1] {
        let mut pair = Pair::new(&client, &server);
        pair.run(5);
        let before = [0, 1].map(|node| sessions(&mut pair.world, node));
        let snapshot = pair.world.snapshot(away);
        pair.world.cut_off(away, true);
        pair.run(2);
        let gone = Command::SessionDelete(tunnel("t"), Selector::Name("s3".to_owned()));
        if away == 1 {
            assert!(ask(&mut pair.world, 0, gone).is_ok());
        }
        pair.run(10);
        pair.world.cut_off(away, false);
        let text = [&client, &server][away];
        pair.world.restore(away, &snapshot, model(text));
        pair.run(120);
        let left = 4 - away;
        for (node, before) in before.iter().enumerate() {
            let after = sessions(&mut pair.world, node);
            assert_eq!(after.len(), left);
            for session in after {
                assert_eq!(session.state, SessionState::Established);
                let same = |s: &&SessionStatus| s.session_id == session.session_id;
                let old = before.iter().find(same);
                assert_eq!(old.map(|s| s.remote_ipaddr), Some(session.remote_ipaddr));
            }
            assert_eq!(pair.ends(node).len(), away);
        }
    }
}

/// Only the datapath knew where in the stream of keys the two ends were.
#[test]
fn an_encrypted_session_ends_with_the_datapath_that_encrypted_it_and_comes_back() {
    let encrypted = "ppp profile modify profile_name=default mppe=required\n";
    let [lac, lns] = [LAC, LNS].map(|text| format!("{text}\n{encrypted}"));
    let mut pair = Pair::new(&lac, &lns);
    pair.up();
    let snapshot = pair.world.snapshot(pair.lns);
    pair.world.restore(pair.lns, &snapshot, model(&lns));
    pair.run(1);
    let ends = pair.ends(pair.lns);
    let why = "the state of the encryption was lost with the datapath";
    assert!(ends[0].contains(why), "{ends:?}");
    let (session, _) = pair.up();
    assert_eq!(session.mppe.as_deref(), Some("128 stateless"));
}

fn config(text: &str) -> EngineConfig {
    EngineConfig {
        model: model(text),
        udp_port: 1701,
        host_name: "here".to_owned(),
        seed: [1; 32],
        version: "0.0".to_owned(),
        datapath: "null".to_owned(),
    }
}

fn outputs(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| engine.poll_output()).collect()
}

#[test]
fn the_new_datapath_is_told_of_every_session_first_of_all() {
    let mut pair = Pair::new(LAC, LNS);
    let (lac, _) = pair.up();
    let now = pair.world.now();
    let snapshot = pair.world.engine(0).snapshot(now);
    let mut engine = Engine::restore(config(LAC), snapshot, now).expect("the same clock");
    let outputs = outputs(&mut engine);
    let [
        Output::Datapath(Request::Create { spec, handle, .. }),
        Output::Datapath(Request::Configure {
            handle: same,
            network,
            ..
        }),
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(handle, same);
    assert_eq!(
        spec.device,
        Device::Own {
            name: lac.interface_name
        }
    );
    let link = network.ipv4.expect("IPv4 is up");
    assert_eq!(
        (Some(link.local), Some(link.peer)),
        (lac.local_ipaddr, lac.remote_ipaddr)
    );
}

#[test]
fn a_name_that_was_being_looked_for_is_looked_for_again() {
    let text = "tunnel create tunnel_name=t dest_ipaddr=lns.example.net persist=yes";
    let now = Time::from_secs(1);
    let mut engine = Engine::new(config(text), now);
    let create = model(text).tunnels[0].clone();
    let command = Command::TunnelCreate(Box::new(create));
    let token = Token(1);
    engine.handle(Input::Command { token, command }, now);
    outputs(&mut engine);
    let snapshot = engine.snapshot(now);
    let mut engine = Engine::restore(config(text), snapshot, now).expect("the same clock");
    let outputs_now = outputs(&mut engine);
    let [Output::Resolve { token, host }] = outputs_now.as_slice() else {
        panic!("{outputs_now:?}")
    };
    assert_eq!(host, "lns.example.net");
    let result = Ok(vec![[192, 0, 2, 2].into()]);
    let token = *token;
    engine.handle(Input::Resolved { token, result }, now);
    let sccrq = outputs(&mut engine);
    assert!(matches!(sccrq.as_slice(), [Output::Transmit { .. }]));
}

#[test]
fn a_snapshot_of_another_clock_or_of_another_version_is_refused() {
    let now = Time::from_secs(1_000);
    let engine = Engine::new(config(LNS), now);
    let earlier = Time::from_secs(999);
    let refused = Engine::restore(config(LNS), engine.snapshot(now), earlier).err();
    assert_eq!(refused, Some(RestoreError::OtherClock));
    let text = serde_json::to_string(&engine.snapshot(now)).expect("plain data");
    let (first, rest) = text.split_once(',').expect("its version comes first");
    let number: u32 = first.trim_start_matches("{\"version\":").parse().unwrap();
    let newer = format!("{{\"version\":{},\"unknown\":{rest}", number + 1);
    let error = serde_json::from_str::<Snapshot<'_>>(&newer).err();
    let said = error.map(|e| e.to_string()).unwrap_or_default();
    assert!(said.contains(&format!("version {}", number + 1)), "{said}");
}
