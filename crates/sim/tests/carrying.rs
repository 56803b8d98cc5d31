//! When the datapath is told of sessions: before the peer can know of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use std::net::SocketAddr;

use common::messages::read;
use common::{LAC, LNS, model};
use datapath::{Completion, DatapathError, Engine as Carrier, Event, Handle, Request, Sequencing};
use engine::{Command, Engine, EngineConfig, Input, Output, Token};
use sansio::Time;
use wire::l2tp::MessageType;

/// What one of the two did.
#[derive(Clone, PartialEq, Debug)]
enum Did {
    Say(MessageType),
    Create(Handle, Sequencing),
    SetSequencing(Handle, Sequencing),
    SetChecksums { handle: Handle, none: bool },
    Remove(Handle),
}

/// A LAC and an LNS without a network between them, and what they did, in order.
struct Two {
    engines: [Engine; 2],
    did: [Vec<Did>; 2],
    /// What one of them says that does not arrive.
    lost: Option<(usize, MessageType)>,
    /// The LNS's datapath takes no session.
    full: bool,
    now: Time,
}

const NOW: Time = Time::from_secs(1);
const LAC_NODE: usize = 0;
const LNS_NODE: usize = 1;

fn port(node: usize) -> SocketAddr {
    SocketAddr::new(common::address(node as u8 + 1), 1701)
}

impl Two {
    fn new(lac: &str, lns: &str) -> Self {
        let engine = |text: &str, seed| {
            let config = EngineConfig {
                model: model(text),
                udp_port: 1701,
                host_name: "here".to_owned(),
                seed: [seed; 32],
                version: "0.0".to_owned(),
                datapath: "null".to_owned(),
            };
            Engine::new(config, NOW)
        };
        Self {
            engines: [engine(lac, 1), engine(lns, 2)],
            did: Default::default(),
            lost: None,
            full: false,
            now: NOW,
        }
    }

    fn start(&mut self, node: usize, text: &str) {
        let model = model(text);
        let tunnels = model.tunnels.iter();
        let tunnels = tunnels.map(|tunnel| Command::TunnelCreate(Box::new(tunnel.clone())));
        let sessions = model.sessions.iter();
        let sessions = sessions.map(|session| Command::SessionCreate(Box::new(session.clone())));
        for (token, command) in tunnels.chain(sessions).enumerate() {
            let token = Token(token as u64);
            self.engines[node].handle(Input::Command { token, command }, self.now);
            self.settle();
        }
    }

    /// Until neither has anything more to do.
    fn settle(&mut self) {
        loop {
            let outputs = [0, 1].map(|node| self.engines[node].poll_output());
            if outputs.iter().all(Option::is_none) {
                return;
            }
            for (node, output) in outputs.into_iter().enumerate() {
                self.take(node, output);
            }
        }
    }

    fn take(&mut self, node: usize, output: Option<Output>) {
        match output {
            Some(Output::Transmit { payload, .. }) => {
                let said = read(&payload).message_type;
                self.did[node].extend(said.map(Did::Say));
                if self.lost.is_some() && self.lost == said.map(|said| (node, said)) {
                    return;
                }
                let event = Event::Control {
                    listener: None,
                    local: port(1 - node),
                    remote: port(node),
                    payload,
                };
                self.engines[1 - node].handle(Input::Datapath(event), self.now);
            }
            Some(Output::Datapath(request)) => self.carry_out(node, request),
            _ => {}
        }
    }

    fn carry_out(&mut self, node: usize, request: Request) {
        let completed = match request {
            Request::Create {
                token,
                handle,
                spec,
            } => {
                let datapath::Encapsulation::V2 { sequencing, .. } = spec.encapsulation else {
                    panic!("{spec:?}")
                };
                self.did[node].push(Did::Create(handle, sequencing));
                let result = match self.full && node == LNS_NODE {
                    true => Err(DatapathError::Unsupported("it is full".to_owned())),
                    false => Ok(Completion::Created(Carrier::Null)),
                };
                Some((token, result))
            }
            Request::SetSequencing { handle, sequencing } => {
                self.did[node].push(Did::SetSequencing(handle, sequencing));
                None
            }
            Request::SetChecksums {
                handle,
                no_checksum: none,
            } => {
                self.did[node].push(Did::SetChecksums { handle, none });
                None
            }
            Request::Remove { token, handle } => {
                self.did[node].push(Did::Remove(handle));
                Some((token, Ok(Completion::Stats(Default::default()))))
            }
            _ => None,
        };
        if let Some((token, result)) = completed {
            let event = Event::Completed { token, result };
            self.engines[node].handle(Input::Datapath(event), self.now);
        }
    }

    /// The next timer of either, and what follows from it.
    fn timeout(&mut self) {
        let timers = [0, 1].map(|node| self.engines[node].next_timeout());
        self.now = timers.into_iter().flatten().min().expect("a timer");
        for engine in &mut self.engines {
            engine.handle(Input::Timeout, self.now);
        }
        self.settle();
    }

    /// Whether a node said a message.
    fn said(&self, node: usize, message: MessageType) -> bool {
        self.did[node].contains(&Did::Say(message))
    }

    /// The only session that a node's datapath was told of, and its place among all that the node did.
    fn created(&self, node: usize) -> (usize, Handle) {
        let created: Vec<_> = self.did[node]
            .iter()
            .enumerate()
            .filter_map(|(place, did)| match did {
                Did::Create(handle, _) => Some((place, *handle)),
                _ => None,
            })
            .collect();
        assert_eq!(created.len(), 1, "{:?}", self.did[node]);
        created[0]
    }

    fn place(&self, node: usize, message: MessageType) -> usize {
        let said = Did::Say(message);
        let place = self.did[node].iter().position(|did| *did == said);
        place.unwrap_or_else(|| panic!("no {message:?} in {:?}", self.did[node]))
    }
}

/// What a LAC needs to place calls, as the LNS of another test does to be asked for them.
const LNS_THAT_CALLS: &str = "tunnel create tunnel_name=t dest_ipaddr=192.0.2.1 persist=yes
    session create tunnel_name=t session_name=s session_type=lnoc called_number=5
    ppp profile modify profile_name=default local_ipaddr=10.0.0.1 ip_pool_name=pool
    ip_pool create pool_name=pool range=10.0.0.2-10.0.0.9
    user create user_name=alice password=wonderland";
const LAC_THAT_IS_CALLED: &str = "peer profile modify profile_name=default lac_lns=laclns
    session profile modify profile_name=default user_name=alice user_password=wonderland";

#[test]
fn the_datapath_has_a_session_before_the_peer_can_send_in_it() {
    let mut two = Two::new(LAC, LNS);
    two.start(LAC_NODE, LAC);
    assert!(two.created(LAC_NODE).0 < two.place(LAC_NODE, MessageType::ICCN));
    assert!(two.created(LNS_NODE).0 < two.place(LNS_NODE, MessageType::ICRP));

    let mut two = Two::new(LAC_THAT_IS_CALLED, LNS_THAT_CALLS);
    two.start(LNS_NODE, LNS_THAT_CALLS);
    assert!(two.created(LAC_NODE).0 < two.place(LAC_NODE, MessageType::OCRP));
    let before = two.created(LNS_NODE).0;
    assert!(before > two.place(LNS_NODE, MessageType::OCRQ));
    assert!(two.said(LAC_NODE, MessageType::OCCN));
}

#[test]
fn the_session_of_a_call_that_fails_leaves_the_datapath() {
    let mut two = Two::new(LAC, LNS);
    two.lost = Some((LNS_NODE, MessageType::ICRP));
    two.start(LAC_NODE, LAC);
    let (_, handle) = two.created(LNS_NODE);
    let removed = Did::Remove(handle);
    assert!(!two.did[LNS_NODE].contains(&removed));
    while !two.did[LNS_NODE].contains(&removed) {
        two.timeout();
    }
}

#[test]
fn a_lac_that_requires_numbers_says_so_after_the_session_was_made() {
    let required =
        format!("{LAC}\nsession profile modify profile_name=default sequencing_required=yes");
    let mut two = Two::new(&required, LNS);
    two.start(LAC_NODE, &required);
    let lac = two.created(LAC_NODE).0;
    assert!(matches!(
        two.did[LAC_NODE][lac],
        Did::Create(_, Sequencing::Required)
    ));
    let (place, handle) = two.created(LNS_NODE);
    assert_eq!(
        two.did[LNS_NODE][place],
        Did::Create(handle, Sequencing::Own(false))
    );
    let required = Did::SetSequencing(handle, Sequencing::Required);
    assert!(two.did[LNS_NODE].contains(&required));
}

#[test]
fn a_call_whose_session_the_datapath_does_not_take_ends_once_it_is_established() {
    let mut two = Two::new(LAC, LNS);
    two.full = true;
    two.start(LAC_NODE, LAC);
    let (_, handle) = two.created(LNS_NODE);
    assert!(two.said(LNS_NODE, MessageType::CDN), "{:?}", two.did);
    assert!(two.did[LNS_NODE].contains(&Did::Remove(handle)));
}

#[test]
fn udp_checksums_of_a_tunnel_change_in_sessions_and_in_those_that_are_being_established() {
    for lost in [None, Some((LAC_NODE, MessageType::OCCN))] {
        let mut two = Two::new(LAC_THAT_IS_CALLED, LNS_THAT_CALLS);
        two.lost = lost;
        two.start(LNS_NODE, LNS_THAT_CALLS);
        let (_, handle) = two.created(LNS_NODE);
        for none in [true, false] {
            let mut change = config::Tunnel::default();
            change.params.use_udp_checksums = Some(!none);
            let command = Command::TunnelModify(common::tunnel("t"), Box::new(change));
            let token = Token(9);
            two.engines[LNS_NODE].handle(Input::Command { token, command }, two.now);
            two.settle();
            let last = two.did[LNS_NODE].last();
            assert_eq!(last, Some(&Did::SetChecksums { handle, none }), "{lost:?}");
        }
    }
}
