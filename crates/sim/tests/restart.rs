//! A program that ends and starts again where its snapshot was taken: neither its peers nor its users notice.

mod common;

use std::ops::Range;
use std::time::Duration;

use api::{Response, Selector, SessionStatus, Statistics, TunnelStatus};
use common::{LAC, LNS, Pair, ask, model, sessions, tunnel, tunnels};
use engine::{Command, Event};
use sim::{NodeId, Quality, Sent};

/// Keepalives, and rarely an idle second.
const BUSY: &str = "
    tunnel profile modify profile_name=default hello_timeout=4
    ppp profile modify profile_name=default lcp_echo_interval=3 chap_interval=7
";
const SECOND: &str =
    "session create tunnel_name=t session_name=s2 user_name=bob user_password=builder";

/// A conversation between a LAC and an LNS, step by step: everything that a snapshot could lose is in it.
struct Conversation {
    pair: Pair,
    elapsed: Duration,
}

/// All that a run shows to peers, users and operators.
#[derive(PartialEq, Debug)]
struct Story {
    datagrams: Vec<Sent>,
    events: [Vec<Event>; 2],
    tunnels: [Vec<TunnelStatus>; 2],
    sessions: [Vec<SessionStatus>; 2],
    statistics: [Statistics; 2],
}

impl Conversation {
    /// What happens, in milliseconds.
    const SECOND_SESSION: u64 = 2_000;
    const FIRST_SESSION_ENDS: u64 = 12_000;
    const TUNNEL_ENDS: u64 = 20_000;
    const END: u64 = 40_000;

    fn new(quality: Quality) -> Self {
        let mut pair = Pair::over(quality, &lac(), &lns());
        pair.world.record();
        Self {
            pair,
            elapsed: Duration::ZERO,
        }
    }

    fn run_to(&mut self, millis: u64) {
        for (at, what) in [
            (Self::SECOND_SESSION, Self::place as fn(&mut Self)),
            (Self::FIRST_SESSION_ENDS, Self::hang_up),
            (Self::TUNNEL_ENDS, Self::close),
        ] {
            let at = Duration::from_millis(at);
            if self.elapsed < at && at <= Duration::from_millis(millis) {
                self.pair.world.run_for(at - self.elapsed);
                self.elapsed = at;
                what(self);
            }
        }
        let to = Duration::from_millis(millis);
        self.pair.world.run_for(to - self.elapsed);
        self.elapsed = to;
    }

    /// The LAC's user makes a second session.
    fn place(&mut self) {
        let session = model(&format!("{LAC}{SECOND}")).sessions[1].clone();
        self.order(0, Command::SessionCreate(Box::new(session)));
    }

    /// The LAC's operator ends the first one.
    fn hang_up(&mut self) {
        let session = Selector::Name("s".to_owned());
        self.order(0, Command::SessionDelete(tunnel("t"), session));
    }

    /// The LNS's operator ends the tunnel, which the LAC makes anew.
    fn close(&mut self) {
        for id in tunnels(&mut self.pair.world, 1)
            .iter()
            .filter_map(|t| t.tunnel_id)
        {
            self.order(1, Command::TunnelDelete(Selector::Id(id)));
        }
    }

    fn order(&mut self, node: NodeId, command: Command) {
        let answer = ask(&mut self.pair.world, node, command);
        assert!(answer.is_ok(), "{answer:?}");
    }

    fn restart(&mut self, nodes: Range<NodeId>) {
        for node in nodes {
            let text = if node == 0 { lac() } else { lns() };
            self.pair.world.restart(node, model(&text));
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

fn lac() -> String {
    format!("{BUSY}{LAC}")
}

fn lns() -> String {
    format!("{BUSY}{LNS}")
}

/// The story of a run that restarts nodes at certain moments.
fn restarted(quality: Quality, nodes: Range<NodeId>, at: impl IntoIterator<Item = u64>) -> Story {
    let mut conversation = Conversation::new(quality);
    for millis in at {
        conversation.run_to(millis);
        conversation.restart(nodes.clone());
    }
    conversation.story()
}

const BOTH: Range<NodeId> = 0..2;
/// The LAC, the LNS, both.
const WHO: [Range<NodeId>; 3] = [0..1, 1..2, BOTH];

#[test]
fn a_restart_at_any_moment_of_the_set_up_changes_nothing() {
    let expected = Conversation::new(Quality::PERFECT).story();
    assert_eq!(expected.sessions[1].len(), 1);
    for nodes in WHO {
        for millis in (0..400).step_by(5) {
            let story = restarted(Quality::PERFECT, nodes.clone(), [millis]);
            assert!(
                story == expected,
                "{nodes:?} at {millis} ms: {}",
                difference(&story, &expected)
            );
        }
    }
}

/// Where two runs part.
fn difference(a: &Story, b: &Story) -> String {
    let first = a.datagrams.iter().zip(&b.datagrams).find(|(a, b)| a != b);
    match first {
        Some(pair) => format!("{pair:?}"),
        None => format!(
            "{:?}\n{:?}",
            (&a.events, &a.sessions, &a.tunnels),
            (&b.events, &b.sessions, &b.tunnels)
        ),
    }
}

#[test]
fn restarting_over_and_over_changes_nothing() {
    for quality in [Quality::PERFECT, Quality::BAD] {
        let expected = Conversation::new(quality).story();
        let story = restarted(quality, BOTH, (0..Conversation::END).step_by(77));
        assert!(story == expected, "{}", difference(&story, &expected));
    }
}
