//! One shard of the daemon without I/O: tunnels and sessions composed with PPP, users, pools and one timer wheel.
//!
//! ```text
//!                 datagrams, frames, completions          management
//!                              |                              |
//!                        Input::Datapath                Input::Command
//!                              v                              v
//!   +-------------------------------- Engine ---------------------------------+
//!   | tunnels: l2tp::Tunnel  --call up/down-->  sessions: ppp::Link            |
//!   |    ^ originate                                | users, address pools    |
//!   | clients (tunnels that we made, reconnecting)  v                         |
//!   +---------------------------------------------------------------------------+
//!            Output::Transmit    Output::Datapath    Output::Reply, Event
//! ```
//!
//! Feed it with [`Engine::handle`], then empty [`Engine::poll_output`], and wake it at [`Engine::next_timeout`]. The same inputs at the
//! same times with the same seed give the same outputs.
//!
//! [`Engine::snapshot`] and [`Engine::restore`] carry its state into another process.

mod addresses;
mod admission;
mod buckets;
mod carrying;
mod clients;
mod commands;
mod counters;
mod created;
mod encryption;
mod endings;
mod half_open;
mod hooks;
mod idleness;
mod io;
mod limits;
mod line;
mod lists;
mod modify;
mod network;
mod networks;
mod paths;
mod peers;
mod policy;
mod pool;
mod pppd;
mod reasons;
mod sessions;
mod snapshot;
mod source;
mod status;
mod tally;
mod tie_breaker;
mod trace;
mod traffic;
mod tunnels;
mod wheel;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use datapath::{Listener, Transport};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use sansio::Time;
use serde::{Deserialize, Serialize};

use addresses::Addresses;
use clients::{Client, ClientId};
use counters::Counters;
use half_open::HalfOpen;
use hooks::HeldHooks;
use limits::Limits;
use peers::Peers;
use policy::Policy;
use sessions::Pending;
use tally::States;
use trace::Tracing;
use traffic::Reading;
use tunnels::Tunnel;
use wheel::Wheel;

pub use commands::CapturePoint;
pub use hooks::{Hook, HookEnd, HookEvent, HookSession, HookTunnel};
pub use io::{Command, Event, Input, Output, Token};
pub use pppd::{PppdEnd, PppdEvent, PppdNetwork, PppdRequest, PppdSetup};
pub use snapshot::{RestoreError, Snapshot};
pub use source::Source;
pub use trace::{Trace, Traced};

/// At most this many timers fire in one call of [`Engine::handle`]; the rest fire in the next, which is due at once.
const TIMERS_A_WAKE_UP: usize = 256;

/// What a shard is made of.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Profiles, users, pools, limits.
    pub model: Arc<config::Model>,
    /// The UDP port that tunnels of ours start from, unless they name one.
    pub udp_port: u16,
    /// The machine's host name: the Host Name AVP of profiles that name none.
    pub host_name: String,
    /// From the system's randomness; in tests whatever the test is made with.
    pub seed: [u8; 32],
    /// The program's version, for `show`.
    pub version: String,
    /// The datapath engine's name, for `show`.
    pub datapath: String,
}

/// One shard.
///
/// Its state is plain data, which a [`Snapshot`] carries into another process. What is skipped is that process's own.
#[derive(Clone, Serialize, Deserialize)]
pub struct Engine {
    #[serde(skip)]
    policy: Policy,
    #[serde(skip)]
    udp_port: u16,
    #[serde(skip)]
    version: String,
    #[serde(skip)]
    datapath: String,
    started: Time,
    rng: ChaCha12Rng,
    wheel: Wheel<Key>,
    /// By our Tunnel ID.
    tunnels: BTreeMap<u16, Box<Tunnel>>,
    /// Tunnels that peers opened, by the peer's address on a listener and its Tunnel ID, then ours: where a repeated SCCRQ belongs, and
    /// whose end it is when a peer that restarted has a new one.
    by_peer: BTreeSet<(Listener, SocketAddr, u16, u16)>,
    /// Whom they lead to; a snapshot goes without.
    #[serde(skip)]
    peers: Peers,
    /// Those of them that were never established.
    half_open: HalfOpen,
    /// Tunnels of ours that were never up, by the peer's address: an SCCRQ from there may cross ours.
    dialing: BTreeSet<(IpAddr, u16)>,
    limits: Limits,
    /// Calls of all tunnels, in whatever state.
    calls: usize,
    /// Tunnels that we were told to make.
    clients: BTreeMap<ClientId, Client>,
    /// Those of them that have names.
    client_names: BTreeMap<String, ClientId>,
    /// The numbers (`config_id`) of the tunnels that we open, by the host that is their peer.
    config_ids: BTreeMap<String, BTreeSet<u16>>,
    addresses: Addresses,
    /// Requests to the datapath that are not completed.
    #[serde(skip)]
    pending: BTreeMap<datapath::Token, Pending>,
    /// The commands that wait for counters of sessions.
    #[serde(skip)]
    readings: BTreeMap<Token, Reading>,
    /// The last number given to a client, a session or a token: none is used twice.
    last_number: u64,
    #[serde(skip)]
    outputs: VecDeque<Output>,
    counters: Counters,
    /// Tunnels and sessions by their states.
    states: States,
    shutdown: Shutdown,
    #[serde(skip)]
    tracing: Tracing,
    #[serde(skip)]
    held_hooks: HeldHooks,
}

/// Whether the shard is ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Shutdown {
    No,
    /// The command to answer when everything is closed.
    Asked(Token),
    Done,
}

/// What an entry of the wheel wakes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Key {
    Tunnel(u16),
    Session(u16, u16),
    Client(ClientId),
}

impl Engine {
    /// A shard with nothing in it.
    pub fn new(config: EngineConfig, now: Time) -> Self {
        let mut engine = Self {
            addresses: Addresses::new(&config.model),
            policy: Policy::new(config.model, config.host_name, &config.version),
            udp_port: config.udp_port,
            version: config.version,
            datapath: config.datapath,
            started: now,
            rng: ChaCha12Rng::from_seed(config.seed),
            wheel: Wheel::new(now),
            tunnels: BTreeMap::new(),
            by_peer: BTreeSet::new(),
            peers: Peers::default(),
            half_open: HalfOpen::default(),
            dialing: BTreeSet::new(),
            limits: Limits::default(),
            calls: 0,
            clients: BTreeMap::new(),
            client_names: BTreeMap::new(),
            config_ids: BTreeMap::new(),
            pending: BTreeMap::new(),
            last_number: 0,
            outputs: VecDeque::new(),
            readings: BTreeMap::new(),
            counters: Counters::default(),
            states: States::default(),
            shutdown: Shutdown::No,
            tracing: Tracing::default(),
            held_hooks: HeldHooks::new(),
        };
        engine.reserve_pools(&[]);
        engine
    }

    /// Takes one input. Whatever it holds, the shard goes on.
    pub fn handle(&mut self, input: Input, now: Time) {
        match input {
            Input::Datapath(datapath::Event::Control {
                listener,
                local,
                remote,
                payload,
            }) => {
                let path = Transport {
                    listener,
                    local,
                    remote,
                };
                self.control_message(path, &payload, now);
            }
            Input::Datapath(datapath::Event::Frame {
                listener,
                remote,
                ids,
                frame,
                ..
            }) => {
                self.frame(&listener, remote, ids, &frame, now);
            }
            Input::Datapath(datapath::Event::Completed { token, result }) => {
                self.completed(token, result, now)
            }
            Input::Datapath(datapath::Event::Failed { handle, error }) => {
                self.datapath_failed(handle, &error, now)
            }
            Input::Datapath(datapath::Event::Moved { handle, engine }) => {
                self.datapath_moved(handle, engine, now)
            }
            Input::Datapath(datapath::Event::NoFaster { handle, why }) => {
                self.datapath_stays(handle, why)
            }
            Input::Datapath(datapath::Event::PathMtu {
                listener,
                remote,
                mtu,
            }) => self.path_mtu_changed(&listener, remote, mtu),
            Input::Datapath(datapath::Event::Unreachable {
                listener,
                remote,
                reason,
            }) => self.peer_unreachable(&listener, remote, &reason),
            Input::Pppd { handle, event } => self.pppd_event(handle, event, now),
            Input::Command { token, command } => self.command(token, command, now),
            Input::Resolved { token, result } => self.resolved(token, result, now),
            Input::Timeout => self.timeout(now),
        }
        self.finish_shutdown();
    }

    /// Takes out one thing to be done; empty it after each [`Engine::handle`].
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > 1024 {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When to hand in [`Input::Timeout`]; it may find nothing to do.
    pub fn next_timeout(&self) -> Option<Time> {
        self.wheel.next()
    }

    fn timeout(&mut self, now: Time) {
        for _ in 0..TIMERS_A_WAKE_UP {
            let Some(key) = self.wheel.pop(now) else {
                return;
            };
            match key {
                Key::Tunnel(id) => self.tunnel_timeout(id, now),
                Key::Session(tunnel, session) => self.session_timeout(tunnel, session, now),
                Key::Client(id) => self.client_timeout(id, now),
            }
        }
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
