//! Engines over a simulated network in virtual time.
//!
//! A [`World`] holds nodes, each an [`Engine`] with a [`Null`] datapath and an address, and the datagrams between them. Nothing waits: time jumps to the
//! next datagram or timer. From one seed and the same calls the same run follows, octet for octet.

mod network;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use api::{CommandError, Response};
use config::TraceFlags;
use datapath::null::{Null, Outlet};
use datapath::{Datapath, EventSink, Handle, Transport, message};
use engine::{
    Command, Engine, EngineConfig, Event, Hook, Input, Output, PppdRequest, Snapshot, Token, Trace,
};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use sansio::Time;

pub use network::{Network, Quality, Sent};

/// Names a node of a [`World`].
pub type NodeId = usize;

/// Nodes and the network between them.
pub struct World {
    now: Time,
    nodes: Vec<Node>,
    network: Network,
    names: BTreeMap<String, Vec<IpAddr>>,
    rng: ChaCha12Rng,
    tokens: u64,
    /// An address of no node, and what was sent there.
    listener: Option<IpAddr>,
    heard: Vec<(SocketAddr, Vec<u8>)>,
}

struct Node {
    engine: Engine,
    carrier: Carrier,
    address: IpAddr,
    requests: Vec<datapath::Request>,
    events: Vec<Event>,
    hooks: Vec<Hook>,
    pppd: VecDeque<(Handle, PppdRequest)>,
    traces: Vec<(Time, Trace)>,
    replies: VecDeque<(Token, Result<Response, CommandError>)>,
    /// It neither hears nor says anything.
    cut_off: bool,
    /// What it says comes from this port, whatever it means to.
    source_port: Option<u16>,
}

/// A datapath and what comes out of it.
struct Carrier {
    datapath: Null<Wire>,
    /// What it sent.
    sent: mpsc::Receiver<(Transport, Vec<u8>)>,
    /// What it reports.
    reports: mpsc::Receiver<datapath::Event>,
}

impl Carrier {
    fn new() -> Self {
        let (wire, sent) = mpsc::channel();
        let (reporter, reports) = mpsc::channel();
        Self {
            datapath: Null::new(Wire(wire), Arc::new(Reports(reporter))),
            sent,
            reports,
        }
    }
}

struct Wire(mpsc::Sender<(Transport, Vec<u8>)>);

impl Outlet for Wire {
    fn send(&mut self, transport: &Transport, datagram: &[u8]) {
        // The receiver lives as long as the node.
        let _ = self.0.send((transport.clone(), datagram.to_vec()));
    }
}

struct Reports(mpsc::Sender<datapath::Event>);

impl EventSink for Reports {
    fn deliver(&self, events: &mut Vec<datapath::Event>) {
        for event in events.drain(..) {
            let _ = self.0.send(event);
        }
    }
}

impl World {
    /// An empty world. Everything random in it comes from `seed`.
    pub fn new(seed: u64, quality: Quality) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let network = Network::new(quality, rng.next_u64());
        Self {
            now: Time::from_secs(1_000),
            nodes: Vec::new(),
            network,
            names: BTreeMap::new(),
            rng,
            tokens: 0,
            listener: None,
            heard: Vec::new(),
        }
    }

    /// Adds a node that runs `model`.
    pub fn add(&mut self, address: IpAddr, model: Arc<config::Model>) -> NodeId {
        let config = self.config(self.nodes.len(), model);
        self.nodes.push(Node {
            engine: Engine::new(config, self.now),
            carrier: Carrier::new(),
            address,
            requests: Vec::new(),
            events: Vec::new(),
            hooks: Vec::new(),
            pppd: VecDeque::new(),
            traces: Vec::new(),
            replies: VecDeque::new(),
            cut_off: false,
            source_port: None,
        });
        self.nodes.len() - 1
    }

    fn config(&mut self, node: NodeId, model: Arc<config::Model>) -> EngineConfig {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        EngineConfig {
            model,
            udp_port: 1701,
            host_name: format!("node{node}"),
            seed,
            version: "0.0".to_owned(),
            datapath: "null".to_owned(),
        }
    }

    /// A snapshot of a node's engine.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn snapshot(&self, node: NodeId) -> Vec<u8> {
        let snapshot = self.nodes[node].engine.snapshot(self.now);
        serde_json::to_vec(&snapshot).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Replaces a node's engine by one that a snapshot restores, and its datapath by an empty one, as when the program is
    /// started anew with `model`.
    ///
    /// # Panics
    /// When the snapshot can't be read or restored.
    pub fn restore(&mut self, node: NodeId, snapshot: &[u8], model: Arc<config::Model>) {
        let config = self.config(node, model);
        let snapshot: Snapshot<'_> =
            serde_json::from_slice(snapshot).unwrap_or_else(|error| panic!("{error}"));
        let engine =
            Engine::restore(config, snapshot, self.now).unwrap_or_else(|error| panic!("{error}"));
        let place = &mut self.nodes[node];
        (place.engine, place.carrier) = (engine, Carrier::new());
        self.carry_out(node);
    }

    /// The present.
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many datagrams were handed to the network so far.
    pub fn datagrams(&self) -> u64 {
        self.network.sent()
    }

    /// Every datagram that was handed to the network since this was called last; from the first call on they are recorded.
    pub fn record(&mut self) -> Vec<Sent> {
        self.network.record()
    }

    /// Lets a name stand for these addresses from now on; for none, and it is not known.
    pub fn set_name(&mut self, host: &str, addresses: &[IpAddr]) {
        self.names.insert(host.to_owned(), addresses.to_vec());
    }

    /// Changes how good the network is from now on.
    pub fn set_quality(&mut self, quality: Quality) {
        self.network.set_quality(quality);
    }

    /// Cuts a node off, or connects it again: what it says and what it is told is lost meanwhile.
    pub fn cut_off(&mut self, node: NodeId, cut_off: bool) {
        self.nodes[node].cut_off = cut_off;
    }

    /// Lets all that a node says come from another port, as a peer does that answers from a port of its own choice; what is sent
    /// there reaches it.
    pub fn answer_from(&mut self, node: NodeId, port: u16) {
        self.nodes[node].source_port = Some(port);
    }

    /// Takes the last node away, with all it holds.
    ///
    /// # Panics
    /// When it is not the last one: the names of the others would change.
    pub fn remove(&mut self, node: NodeId) {
        assert_eq!(
            node + 1,
            self.nodes.len(),
            "only the last node can be removed"
        );
        self.nodes.pop();
    }

    /// The engine of a node.
    pub fn engine(&self, node: NodeId) -> &Engine {
        &self.nodes[node].engine
    }

    /// How many sessions a node's datapath has.
    pub fn datapath_sessions(&self, node: NodeId) -> usize {
        self.nodes[node].carrier.datapath.sessions()
    }

    /// Has a node's datapath count so many more receive errors in each of its sessions.
    pub fn count_errors(&mut self, node: NodeId, more: u64) {
        self.nodes[node].carrier.datapath.count_errors(more);
    }

    /// Has a node's datapath count so many more packets sent in each of its sessions.
    pub fn count_packets(&mut self, node: NodeId, more: u64) {
        self.nodes[node].carrier.datapath.count_packets(more);
    }

    /// Takes out what a node asked of the pppd of its sessions, oldest first.
    pub fn take_pppd(&mut self, node: NodeId) -> Vec<(Handle, PppdRequest)> {
        self.nodes[node].pppd.drain(..).collect()
    }

    /// Hands an input to a node now, and carries out what follows at once.
    pub fn input(&mut self, node: NodeId, input: Input) {
        self.nodes[node].engine.handle(input, self.now);
        self.carry_out(node);
    }

    /// Hands a datagram to a node now, as if `remote` had sent it.
    pub fn datagram(&mut self, node: NodeId, remote: SocketAddr, datagram: &[u8]) {
        let local = SocketAddr::new(self.nodes[node].address, 1701);
        let path = Transport {
            listener: None,
            local,
            remote,
        };
        self.receive(node, message::classify(path, datagram));
    }

    /// Hands what came from the network to a node's datapath, and on to its engine what gets there.
    fn receive(&mut self, id: NodeId, event: datapath::Event) {
        let node = &mut self.nodes[id];
        let mut onward = Vec::new();
        node.carrier.datapath.receive(event, self.now, &mut onward);
        for event in onward {
            self.input(id, Input::Datapath(event));
        }
    }

    /// Fires the timers of a node that are due.
    fn wake(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        let mut onward = Vec::new();
        node.carrier.datapath.handle_timeout(self.now, &mut onward);
        for event in onward {
            self.input(id, Input::Datapath(event));
        }
        self.input(id, Input::Timeout);
    }

    /// Keeps what is sent to an address that no node has: a test speaks from there with [`World::datagram`].
    pub fn listen(&mut self, address: IpAddr) {
        self.listener = Some(address);
    }

    /// Takes out what was sent to that address, each datagram with the port it was for.
    pub fn take_heard(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.heard)
    }

    /// Gives a node a command; the answer, unless it comes later ([`World::take_reply`]).
    pub fn command(
        &mut self,
        node: NodeId,
        command: Command,
    ) -> Option<Result<Response, CommandError>> {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.input(node, Input::Command { token, command });
        self.take_reply(node, token)
    }

    /// Asks a node to close everything; [`World::take_reply`] tells when it has.
    pub fn shut_down(&mut self, node: NodeId) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.input(
            node,
            Input::Command {
                token,
                command: Command::Shutdown,
            },
        );
        token
    }

    /// Takes out the answer to a command, if it has come.
    pub fn take_reply(
        &mut self,
        node: NodeId,
        token: Token,
    ) -> Option<Result<Response, CommandError>> {
        let replies = &mut self.nodes[node].replies;
        let position = replies.iter().position(|(t, _)| *t == token)?;
        replies.remove(position).map(|(_, result)| result)
    }

    /// Takes out the events of a node since the last call.
    pub fn take_events(&mut self, node: NodeId) -> Vec<Event> {
        std::mem::take(&mut self.nodes[node].events)
    }

    /// Takes out what a program was to be run for at a node since the last call.
    pub fn take_hooks(&mut self, node: NodeId) -> Vec<Hook> {
        std::mem::take(&mut self.nodes[node].hooks)
    }

    /// Lets a node show these categories of everything, and all messages and frames if it is `followed`.
    pub fn set_tracing(&mut self, node: NodeId, everywhere: TraceFlags, followed: bool) {
        self.nodes[node].engine.set_tracing(everywhere, followed);
    }

    /// Takes out what a node showed since the last call, and when.
    pub fn take_traces(&mut self, node: NodeId) -> Vec<(Time, Trace)> {
        std::mem::take(&mut self.nodes[node].traces)
    }

    /// Lets `duration` pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until `done`, at most `limit`; false when it did not come to that. `done` is asked every `every`.
    pub fn run_until(
        &mut self,
        limit: Duration,
        every: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let end = self.now + limit;
        while self.now < end {
            if done(self) {
                return true;
            }
            self.run_for(every);
        }
        done(self)
    }

    /// Goes to the next thing that happens before `end`; false when there is none.
    fn step(&mut self, end: Time) -> bool {
        let timers = self.nodes.iter().enumerate();
        let timer = timers
            .filter_map(|(id, node)| Some((node.next_timeout()?, id)))
            .min();
        let delivery = self.network.next_delivery();
        match (delivery, timer) {
            (Some(at), timer) if at <= end && timer.is_none_or(|(t, _)| at <= t) => {
                self.now = self.now.max(at);
                self.deliver();
                true
            }
            (_, Some((at, node))) if at <= end => {
                self.now = self.now.max(at);
                self.wake(node);
                true
            }
            _ => false,
        }
    }

    fn deliver(&mut self) {
        let Some(packet) = self.network.take() else {
            return;
        };
        if self.listener == Some(packet.to.ip()) {
            return self.heard.push((packet.to, packet.payload));
        }
        let to = self
            .nodes
            .iter()
            .position(|node| node.address == packet.to.ip() && !node.cut_off);
        if let Some(node) = to {
            let path = Transport {
                listener: None,
                local: packet.to,
                remote: packet.from,
            };
            let event = message::classify(path, &packet.payload);
            self.receive(node, event);
        }
    }

    /// Does what a node wants done, and what follows from that, until it wants nothing.
    fn carry_out(&mut self, id: NodeId) {
        loop {
            let node = &mut self.nodes[id];
            while let Some(output) = node.engine.poll_output() {
                match output {
                    Output::Transmit {
                        local,
                        remote,
                        payload,
                        ..
                    } => {
                        let from = node.source(local.port());
                        send(
                            &mut self.network,
                            node.cut_off,
                            self.now,
                            (from, remote),
                            payload,
                        );
                    }
                    Output::Datapath(request) => node.requests.push(request),
                    Output::Resolve { token, host } => {
                        let known = self.names.get(&host).filter(|known| !known.is_empty());
                        let result = known.cloned().ok_or(format!("{host} is not known"));
                        node.engine
                            .handle(Input::Resolved { token, result }, self.now);
                    }
                    Output::Reply { token, result } => node.replies.push_back((token, result)),
                    Output::Event(event) => node.events.push(event),
                    Output::Pppd { handle, request } => node.pppd.push_back((handle, request)),
                    Output::Hook(hook) => node.hooks.push(*hook),
                    Output::Trace(trace) => node.traces.push((self.now, *trace)),
                }
            }
            if node.requests.is_empty() {
                return;
            }
            node.carrier.datapath.submit(&mut node.requests);
            for (transport, datagram) in node.carrier.sent.try_iter() {
                let from = node.source(transport.local.port());
                send(
                    &mut self.network,
                    node.cut_off,
                    self.now,
                    (from, transport.remote),
                    datagram,
                );
            }
            let mut reported = false;
            for report in node.carrier.reports.try_iter() {
                reported = true;
                node.engine.handle(Input::Datapath(report), self.now);
            }
            if !reported {
                return;
            }
        }
    }
}

impl Node {
    fn next_timeout(&self) -> Option<Time> {
        let timers = [
            self.engine.next_timeout(),
            self.carrier.datapath.next_timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    fn source(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, self.source_port.unwrap_or(port))
    }
}

fn send(
    network: &mut Network,
    cut_off: bool,
    now: Time,
    (from, to): (SocketAddr, SocketAddr),
    payload: Vec<u8>,
) {
    if !cut_off {
        network.send(now, from, to, payload);
    }
}
