//! What the simulations share: models from text, and questions to nodes.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

pub(crate) mod messages;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::{
    CommandError, Page, Range, Response, Selector, SessionFilter, SessionState, SessionStatus,
    TunnelFilter, TunnelState, TunnelStatus, UserFilter, UserStatus,
};
use config::Model;
use engine::{Command, Event};
use sim::{NodeId, Quality, World};

pub(crate) fn model(text: &str) -> Arc<Model> {
    match Model::load("test", text) {
        Ok(loaded) => Arc::new(loaded.model),
        Err(diagnostics) => panic!(
            "{}",
            diagnostics
                .iter()
                .map(ToString::to_string)
                .collect::<String>()
        ),
    }
}

pub(crate) fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

/// The LNS of most tests.
pub(crate) const LNS: &str = "
    ppp profile modify profile_name=default local_ipaddr=10.0.0.1 ip_pool_name=pool dns_ipaddr_pri=10.0.0.53
    ip_pool create pool_name=pool range=10.0.0.2-10.0.255.254
    user create user_name=alice password=wonderland
    user create user_name=bob password=builder ip_address=10.9.9.9
";

/// The LAC of most tests: the second node's client.
pub(crate) const LAC: &str = "
    tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes
    session create tunnel_name=t session_name=s user_name=alice user_password=wonderland
";

/// A LAC and an LNS. The file's tunnels and sessions are created, as the daemon does it at its start.
pub(crate) struct Pair {
    pub world: World,
    pub lac: NodeId,
    pub lns: NodeId,
}

impl Pair {
    pub(crate) fn new(lac: &str, lns: &str) -> Self {
        Self::over(Quality::PERFECT, lac, lns)
    }

    pub(crate) fn over(quality: Quality, lac: &str, lns: &str) -> Self {
        let (mut pair, lac) = Self::idle(quality, lac, lns);
        start(&mut pair.world, pair.lac, &lac);
        pair
    }

    /// The two, and what the LAC is to create.
    pub(crate) fn idle(quality: Quality, lac: &str, lns: &str) -> (Self, Arc<Model>) {
        let mut world = World::new(7, quality);
        let (lac, lns) = (model(lac), model(lns));
        let pair = Self {
            lac: world.add(address(1), lac.clone()),
            lns: world.add(address(2), lns),
            world,
        };
        (pair, lac)
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        self.world.run_for(Duration::from_secs(seconds));
    }

    /// Runs until the LAC's only session carries traffic at both ends.
    pub(crate) fn up(&mut self) -> (SessionStatus, SessionStatus) {
        let both = |world: &mut World| established(world, 0) == 1 && established(world, 1) == 1;
        let up = self
            .world
            .run_until(Duration::from_secs(120), Duration::from_millis(100), both);
        assert!(
            up,
            "{:?}\n{:?}",
            self.world.take_events(0),
            self.world.take_events(1)
        );
        (
            sessions(&mut self.world, 0).remove(0),
            sessions(&mut self.world, 1).remove(0),
        )
    }

    /// Says a PPP frame to the LNS as the LAC's client.
    pub(crate) fn client_says(&mut self, frame: &[u8]) {
        let session = sessions(&mut self.world, self.lns).remove(0);
        let ids = [session.tunnel_id.unwrap(), session.session_id.unwrap()];
        let mut datagram = vec![0, 2];
        datagram.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
        datagram.extend(frame);
        let lac = SocketAddr::new(address(1), 1701);
        self.world.datagram(self.lns, lac, &datagram);
    }

    /// The reasons that a node gave for the ends of its sessions.
    pub(crate) fn ends(&mut self, node: NodeId) -> Vec<String> {
        let events = self.world.take_events(node).into_iter();
        let reasons = events.filter_map(|event| match event {
            Event::SessionDown { reason, .. } => Some(reason),
            _ => None,
        });
        reasons.collect()
    }
}

/// Creates the tunnels and sessions of a model.
pub(crate) fn start(world: &mut World, node: NodeId, model: &Model) {
    for tunnel in &model.tunnels {
        ask(world, node, Command::TunnelCreate(Box::new(tunnel.clone()))).unwrap();
    }
    for session in &model.sessions {
        ask(
            world,
            node,
            Command::SessionCreate(Box::new(session.clone())),
        )
        .unwrap();
    }
}

pub(crate) fn ask(
    world: &mut World,
    node: NodeId,
    command: Command,
) -> Result<Response, CommandError> {
    world.command(node, command).expect("answered at once")
}

/// A list, page by page.
fn pages<T>(mut page: impl FnMut(Range) -> Page<T>) -> Vec<T> {
    let mut all = Vec::new();
    let mut range = Range::default();
    loop {
        let Page { items, next } = page(range);
        all.extend(items);
        if next.is_none() {
            return all;
        }
        range = Range {
            after: next,
            limit: None,
        };
    }
}

pub(crate) fn tunnels(world: &mut World, node: NodeId) -> Vec<TunnelStatus> {
    let page = |range| match ask(
        world,
        node,
        Command::TunnelList(TunnelFilter::default(), range),
    ) {
        Ok(Response::Tunnels(page)) => page,
        other => panic!("{other:?}"),
    };
    pages(page)
}

pub(crate) fn sessions(world: &mut World, node: NodeId) -> Vec<SessionStatus> {
    let page = |range| match ask(
        world,
        node,
        Command::SessionList(SessionFilter::default(), range),
    ) {
        Ok(Response::Sessions(page)) => page,
        other => panic!("{other:?}"),
    };
    pages(page)
}

pub(crate) fn users(world: &mut World, node: NodeId) -> Vec<UserStatus> {
    let page = |range| match ask(world, node, Command::UserList(UserFilter::default(), range)) {
        Ok(Response::Users(page)) => page,
        other => panic!("{other:?}"),
    };
    pages(page)
}

pub(crate) fn established(world: &mut World, node: NodeId) -> usize {
    match ask(world, node, Command::SystemShow) {
        Ok(Response::System(status)) => status.sessions_established as usize,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn tunnels_in(world: &mut World, node: NodeId, state: TunnelState) -> usize {
    tunnels(world, node)
        .iter()
        .filter(|t| t.state == state)
        .count()
}

pub(crate) fn is_up(session: &SessionStatus) -> bool {
    session.state == SessionState::Established
}

pub(crate) fn counter(world: &mut World, node: NodeId, name: &str) -> u64 {
    match ask(world, node, Command::Statistics) {
        Ok(Response::Statistics(all)) => *all
            .0
            .get(name)
            .unwrap_or_else(|| panic!("no counter {name}: {all:?}")),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn tunnel(name: &str) -> Selector {
    Selector::Name(name.to_owned())
}
