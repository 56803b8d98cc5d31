//! Two ways to exercise a tunnel: against another one over a simulated network, and against a puppet that says what a test wants.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "no test uses all of it, and a test exports nothing"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use l2tp::{
    CallParams, Disconnect, Event, SessionId, Tunnel, TunnelConfig, TunnelEnd, TunnelState,
    decode_sccrq,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sansio::Time;
use wire::Writer;
use wire::l2tp::{
    Attribute, Avp, Avps, ControlHeader, ErrorCode, FramingTypes, Header, MessageType, ResultCode,
};

pub const LAC_ID: u16 = 100;
pub const LNS_ID: u16 = 200;

pub fn config() -> TunnelConfig {
    TunnelConfig {
        host_name: "lac.example".into(),
        ..TunnelConfig::default()
    }
}

/// A configuration with a secret that both ends check.
pub fn secret_config(secret: &str) -> TunnelConfig {
    TunnelConfig {
        secret: Some(secret.into()),
        challenge: true,
        ..config()
    }
}

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub fn call_params() -> CallParams {
    CallParams {
        serial_number: 7,
        framing_type: FramingTypes::SYNC,
        tx_connect_speed: 1_000_000,
        calling_number: Some("0123".into()),
        called_number: Some("4567".into()),
        ..CallParams::default()
    }
}

/// A control message as a test looks at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub header: ControlHeader,
    /// Nothing in a ZLB.
    pub message_type: Option<MessageType>,
    pub octets: Vec<u8>,
}

impl Message {
    pub fn new(octets: &[u8]) -> Self {
        let Ok((Header::Control(header), payload)) = Header::decode(octets) else {
            panic!("{octets:02x?}")
        };
        let first = Avps::new(payload).next().map(|avp| decode(&avp.unwrap()));
        let message_type = first.map(|attribute| match attribute {
            Attribute::MessageType(message_type) => message_type,
            other => panic!("a message begins with {other:?}"),
        });
        Self {
            header,
            message_type,
            octets: octets.to_vec(),
        }
    }

    pub fn avps(&self) -> impl Iterator<Item = Avp<'_>> {
        Avps::new(&self.octets[ControlHeader::LEN..]).map(Result::unwrap)
    }

    /// The IETF's attributes that are not hidden.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        self.avps()
            .filter(|avp| !avp.hidden && avp.vendor_id == 0)
            .map(|avp| decode(&avp))
    }

    /// Result, error and message of its Result Code.
    pub fn result(&self) -> (u16, Option<u16>, String) {
        let codes = self.attributes().filter_map(|attribute| match attribute {
            Attribute::ResultCode(code) => Some(code),
            _ => None,
        });
        let code = codes.last().expect("a Result Code");
        (
            code.result,
            code.error.map(|e| e.0),
            String::from_utf8(code.message.to_vec()).unwrap(),
        )
    }

    pub fn assigned_session_id(&self) -> SessionId {
        let ids = self.attributes().filter_map(|attribute| match attribute {
            Attribute::AssignedSessionId(id) => Some(id),
            _ => None,
        });
        ids.last().expect("an Assigned Session ID")
    }
}

fn decode<'a>(avp: &Avp<'a>) -> Attribute<'a> {
    Attribute::decode(avp.attribute_type().unwrap(), avp.value)
        .unwrap()
        .unwrap()
}

/// Encodes a control message.
pub fn encode(header: &ControlHeader, attributes: &[Attribute<'_>]) -> Vec<u8> {
    let mut buf = [0; 2048];
    let mut w = Writer::new(&mut buf);
    for attribute in attributes {
        attribute.encode(&mut w).unwrap();
    }
    encode_raw(header, w.written())
}

/// Encodes a control message whose AVPs are octets already.
pub fn encode_raw(header: &ControlHeader, avps: &[u8]) -> Vec<u8> {
    let mut buf = vec![0; ControlHeader::LEN + avps.len()];
    let mut w = Writer::new(&mut buf);
    header.encode(avps.len(), &mut w).unwrap();
    w.bytes(avps).unwrap();
    buf
}

/// The AVPs of a message with one more, encoded.
pub fn with_avp(attributes: &[Attribute<'_>], avp: &Avp<'_>) -> Vec<u8> {
    let mut buf = [0; 1024];
    let mut w = Writer::new(&mut buf);
    attributes
        .iter()
        .for_each(|attribute| attribute.encode(&mut w).unwrap());
    avp.encode(&mut w).unwrap();
    w.written().to_vec()
}

pub fn sccrq(assigned: u16) -> Vec<Attribute<'static>> {
    introduction(MessageType::SCCRQ, assigned)
}

pub fn introduction(message_type: MessageType, assigned: u16) -> Vec<Attribute<'static>> {
    vec![
        Attribute::MessageType(message_type),
        Attribute::ProtocolVersion(1, 0),
        Attribute::FramingCapabilities(FramingTypes::all()),
        Attribute::HostName(b"puppet"),
        Attribute::AssignedTunnelId(assigned),
        Attribute::ReceiveWindowSize(8),
    ]
}

pub fn icrq(assigned: u16) -> Vec<Attribute<'static>> {
    vec![
        Attribute::MessageType(MessageType::ICRQ),
        Attribute::AssignedSessionId(assigned),
        Attribute::CallSerialNumber(1),
    ]
}

pub fn iccn() -> Vec<Attribute<'static>> {
    vec![
        Attribute::MessageType(MessageType::ICCN),
        Attribute::TxConnectSpeed(64_000),
        Attribute::FramingType(FramingTypes::SYNC),
    ]
}

pub fn stop_ccn(assigned: u16) -> Vec<Attribute<'static>> {
    let code = ResultCode {
        result: 6,
        error: None,
        message: b"",
    };
    vec![
        Attribute::MessageType(MessageType::STOP_CCN),
        Attribute::AssignedTunnelId(assigned),
        Attribute::ResultCode(code),
    ]
}

pub fn cdn(assigned: u16) -> Vec<Attribute<'static>> {
    let code = ResultCode {
        result: 2,
        error: Some(ErrorCode::VENDOR_SPECIFIC),
        message: b"out of modems\0",
    };
    vec![
        Attribute::MessageType(MessageType::CDN),
        Attribute::ResultCode(code),
        Attribute::AssignedSessionId(assigned),
    ]
}

pub fn just(message_type: MessageType) -> Vec<Attribute<'static>> {
    vec![Attribute::MessageType(message_type)]
}

/// A peer that does nothing by itself but count, and a tunnel of ours that it talks to.
#[derive(Clone)]
pub struct Puppet {
    pub tunnel: Tunnel,
    pub now: Time,
    pub rng: ChaCha8Rng,
    /// The puppet's Tunnel ID.
    pub id: u16,
    pub ns: u16,
    pub nr: u16,
}

impl Puppet {
    /// Our tunnel is the originator, and its SCCRQ is under way.
    pub fn originator(config: TunnelConfig) -> (Self, Message) {
        let (now, mut rng) = (Time::from_secs(1000), rng(1));
        let tunnel = Tunnel::originate(Arc::new(config), LAC_ID, now, &mut rng);
        let mut puppet = Self {
            tunnel,
            now,
            rng,
            id: 77,
            ns: 0,
            nr: 0,
        };
        let sent = puppet.take_one();
        assert_eq!(sent.message_type, Some(MessageType::SCCRQ));
        (puppet, sent)
    }

    /// Our tunnel answers the puppet's SCCRQ.
    pub fn receiver(config: TunnelConfig, sccrq: &[Attribute<'_>]) -> (Self, Message) {
        let (puppet, mut sent) = Self::asking(config, sccrq);
        assert_eq!(sent.len(), 1, "{sent:?}");
        (puppet, sent.remove(0))
    }

    /// The puppet asks for a tunnel: what it gets at once, if anything.
    pub fn asking(config: TunnelConfig, sccrq: &[Attribute<'_>]) -> (Self, Vec<Message>) {
        let (now, mut rng) = (Time::from_secs(1000), rng(1));
        let datagram = encode(
            &ControlHeader {
                tunnel_id: 0,
                session_id: 0,
                ns: 0,
                nr: 0,
            },
            sccrq,
        );
        let sccrq = decode_sccrq(&datagram).unwrap();
        let id = sccrq.assigned_tunnel_id;
        let tunnel = Tunnel::accept(Arc::new(config), LNS_ID, &sccrq, now, &mut rng).unwrap();
        let mut puppet = Self {
            tunnel,
            now,
            rng,
            id,
            ns: 1,
            nr: 0,
        };
        let sent = puppet.take();
        (puppet, sent)
    }

    /// The StopCCN that refuses the puppet's SCCRQ.
    pub fn refused(config: TunnelConfig, sccrq: &[Attribute<'_>]) -> Message {
        let header = ControlHeader {
            tunnel_id: 0,
            session_id: 0,
            ns: 0,
            nr: 0,
        };
        let sccrq = decode_sccrq(&encode(&header, sccrq)).unwrap();
        let now = Time::from_secs(1000);
        let reason =
            Tunnel::accept(Arc::new(config), LNS_ID, &sccrq, now, &mut rng(1)).unwrap_err();
        Message::new(&sccrq.refuse(LNS_ID, &reason).0)
    }

    /// Our tunnel is established as the originator.
    pub fn established_originator(config: TunnelConfig) -> Self {
        let (mut puppet, _) = Self::originator(config);
        puppet.send(0, &introduction(MessageType::SCCRP, 77));
        assert_eq!(puppet.take_one().message_type, Some(MessageType::SCCCN));
        assert_eq!(puppet.tunnel.poll_event(), Some(Event::Established));
        puppet.acknowledge();
        puppet
    }

    /// Our tunnel is established as the receiver.
    pub fn established_receiver(config: TunnelConfig) -> Self {
        let (mut puppet, sent) = Self::receiver(config, &sccrq(77));
        assert_eq!(sent.message_type, Some(MessageType::SCCRP));
        puppet.send(0, &just(MessageType::SCCCN));
        assert_eq!(puppet.tunnel.poll_event(), Some(Event::Established));
        puppet
    }

    /// Says a message that is the next of the puppet's.
    pub fn send(&mut self, session_id: u16, attributes: &[Attribute<'_>]) {
        let datagram = encode(&self.next_header(session_id), attributes);
        self.deliver(&datagram);
    }

    pub fn send_raw(&mut self, session_id: u16, avps: &[u8]) {
        let datagram = encode_raw(&self.next_header(session_id), avps);
        self.deliver(&datagram);
    }

    pub fn next_header(&mut self, session_id: u16) -> ControlHeader {
        let header = ControlHeader {
            tunnel_id: self.tunnel.id(),
            session_id,
            ns: self.ns,
            nr: self.nr,
        };
        self.ns = self.ns.wrapping_add(1);
        header
    }

    /// Sends a ZLB.
    pub fn acknowledge(&mut self) {
        let header = ControlHeader {
            tunnel_id: self.tunnel.id(),
            session_id: 0,
            ns: self.ns,
            nr: self.nr,
        };
        self.deliver(&encode(&header, &[]));
    }

    pub fn deliver(&mut self, datagram: &[u8]) {
        self.tunnel
            .handle_message(datagram, self.now, &mut self.rng);
    }

    /// Our tunnel, as LAC, places a call.
    pub fn place_call(&mut self) -> SessionId {
        self.tunnel
            .place_incoming_call(call_params(), self.now, &mut self.rng)
            .unwrap()
    }

    /// What our tunnel sends now. The puppet takes note of what is new.
    pub fn take(&mut self) -> Vec<Message> {
        let (mut messages, mut out) = (Vec::new(), Vec::new());
        while self.tunnel.poll_transmit(self.now, &mut out) {
            let message = Message::new(&out);
            if message.message_type.is_some() && message.header.ns == self.nr {
                self.nr = self.nr.wrapping_add(1);
            }
            messages.push(message);
        }
        messages
    }

    pub fn take_one(&mut self) -> Message {
        let messages = self.take();
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.into_iter().next().unwrap()
    }

    /// The types of what our tunnel sends now.
    pub fn take_types(&mut self) -> Vec<Option<MessageType>> {
        self.take()
            .into_iter()
            .map(|message| message.message_type)
            .collect()
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.tunnel.poll_event()).collect()
    }

    /// Lets time pass, firing what becomes due.
    pub fn wait(&mut self, duration: Duration) -> Vec<Message> {
        let end = self.now + duration;
        let mut messages = Vec::new();
        while let Some(due) = self.tunnel.next_timeout().filter(|due| due.at <= end) {
            self.now = self.now.max(due.at);
            self.tunnel.handle_timeout(self.now);
            messages.extend(self.take());
        }
        self.now = end;
        messages
    }

    /// The StopCCN that our tunnel sends now; it must be over.
    pub fn stopped(&mut self) -> (u16, Option<u16>, String) {
        let messages = self.take();
        let stop = messages
            .iter()
            .find(|m| m.message_type == Some(MessageType::STOP_CCN));
        assert_eq!(self.tunnel.state(), TunnelState::Closing);
        stop.unwrap_or_else(|| panic!("no StopCCN in {messages:?}"))
            .result()
    }

    /// How our tunnel ended.
    pub fn end(&mut self) -> TunnelEnd {
        let ends = self.events().into_iter().filter_map(|event| match event {
            Event::Closed { reason } => Some(reason),
            _ => None,
        });
        let ends: Vec<_> = ends.collect();
        assert_eq!(ends.len(), 1, "{ends:?}");
        ends.into_iter().next().unwrap()
    }
}

/// What the simulated network does to datagrams, in per cent, and how long they take.
#[derive(Clone, Copy, Default)]
pub struct Network {
    pub loss: u32,
    pub duplication: u32,
    pub reordering: u32,
}

/// Two tunnels over a simulated network in virtual time. The first is the originator and LAC.
pub struct Pair {
    pub now: Time,
    pub tunnels: [Option<Tunnel>; 2],
    pub events: [Vec<Event>; 2],
    pub network: Network,
    /// Whether the LNS takes calls as they come.
    pub accepts: bool,
    /// Every datagram that was sent: when, by which, what.
    pub sent: Vec<(Time, usize, Message)>,
    pub keeps_sent: bool,
    lns_config: Arc<TunnelConfig>,
    rng: ChaCha8Rng,
    under_way: BTreeMap<(Time, u64), (usize, Vec<u8>)>,
    count: u64,
}

pub const LATENCY: Duration = Duration::from_millis(10);

impl Pair {
    pub fn new(lac: TunnelConfig, lns: TunnelConfig, seed: u64) -> Self {
        let now = Time::from_secs(1000);
        let mut rng = rng(seed);
        let tunnel = Tunnel::originate(Arc::new(lac), LAC_ID, now, &mut rng);
        let mut pair = Self {
            now,
            tunnels: [Some(tunnel), None],
            events: [Vec::new(), Vec::new()],
            network: Network::default(),
            accepts: true,
            sent: Vec::new(),
            keeps_sent: true,
            lns_config: Arc::new(lns),
            rng,
            under_way: BTreeMap::new(),
            count: 0,
        };
        pair.settle();
        pair
    }

    /// Both tunnels are established.
    pub fn established(lac: TunnelConfig, lns: TunnelConfig, seed: u64) -> Self {
        let mut pair = Self::new(lac, lns, seed);
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.states(), [TunnelState::Established; 2]);
        pair.sent.clear();
        pair.events = [Vec::new(), Vec::new()];
        pair
    }

    pub fn lac(&mut self) -> &mut Tunnel {
        self.tunnels[0].as_mut().unwrap()
    }

    pub fn lns(&mut self) -> &mut Tunnel {
        self.tunnels[1].as_mut().unwrap()
    }

    pub fn states(&self) -> [TunnelState; 2] {
        [0, 1].map(|end| self.tunnels[end].as_ref().unwrap().state())
    }

    pub fn place_call(&mut self) -> SessionId {
        let id = self.tunnels[0]
            .as_mut()
            .unwrap()
            .place_incoming_call(call_params(), self.now, &mut self.rng)
            .unwrap();
        self.settle();
        id
    }

    pub fn close_call(&mut self, end: usize, id: SessionId) {
        self.tunnels[end]
            .as_mut()
            .unwrap()
            .close_call(id, Disconnect::administrative("test"));
        self.settle();
    }

    /// Sessions whose call was established, at one end, so far.
    pub fn established_calls(&self, end: usize) -> usize {
        self.events[end]
            .iter()
            .filter(|event| matches!(event, Event::CallEstablished { .. }))
            .count()
    }

    /// Takes what both tunnels want to say and tell. Neither ever has more under way than its window allows.
    pub fn settle(&mut self) {
        for end in 0..2 {
            let Some(mut tunnel) = self.tunnels[end].take() else {
                continue;
            };
            while let Some(event) = tunnel.poll_event() {
                if let (Event::CallRequested { session }, true) = (&event, self.accepts) {
                    tunnel.accept_call(*session, &mut self.rng);
                }
                self.events[end].push(event);
            }
            let mut out = Vec::new();
            while tunnel.poll_transmit(self.now, &mut out) {
                if self.keeps_sent {
                    self.sent.push((self.now, end, Message::new(&out)));
                }
                self.put_under_way(1 - end, &out);
            }
            let stats = tunnel.transport_stats();
            assert!(
                stats.unacknowledged <= usize::from(stats.window),
                "{stats:?}"
            );
            self.tunnels[end] = Some(tunnel);
        }
    }

    fn put_under_way(&mut self, to: usize, datagram: &[u8]) {
        let mut dice = || self.rng.next_u32() % 100;
        let lost = dice() < self.network.loss;
        let copies = if lost {
            0
        } else {
            1 + u32::from(dice() < self.network.duplication)
        };
        for _ in 0..copies {
            let late = if dice() < self.network.reordering {
                LATENCY * 5
            } else {
                Duration::ZERO
            };
            self.count += 1;
            self.under_way.insert(
                (self.now + LATENCY + late, self.count),
                (to, datagram.to_vec()),
            );
        }
    }

    /// Has one end hear a message as the next that the other end says.
    pub fn say(&mut self, to: usize, session_id: u16, attributes: &[Attribute<'_>]) {
        let tunnel = self.tunnels[to].as_ref().unwrap();
        let stats = tunnel.transport_stats();
        let header = ControlHeader {
            tunnel_id: tunnel.id(),
            session_id,
            ns: stats.nr,
            nr: stats.ns,
        };
        self.arrive(to, &encode(&header, attributes));
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeouts = self
                .tunnels
                .iter()
                .flatten()
                .filter_map(Tunnel::next_timeout)
                .map(|due| due.at);
            let arrival = self.under_way.keys().next().map(|&(at, _)| at);
            let Some(next) = timeouts.chain(arrival).min().filter(|&at| at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(first) = self
                .under_way
                .first_entry()
                .filter(|first| first.key().0 <= self.now)
            {
                let (to, datagram) = first.remove();
                self.arrive(to, &datagram);
            }
            for tunnel in self.tunnels.iter_mut().flatten() {
                tunnel.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    fn arrive(&mut self, to: usize, datagram: &[u8]) {
        let (now, rng) = (self.now, &mut self.rng);
        match &mut self.tunnels[to] {
            Some(tunnel) => tunnel.handle_message(datagram, now, rng),
            None => {
                let sccrq = decode_sccrq(datagram).unwrap();
                let config = Arc::clone(&self.lns_config);
                let accepted = Tunnel::accept(config, LNS_ID, &sccrq, now, rng);
                self.tunnels[to] = Some(accepted.unwrap());
            }
        }
        self.settle();
    }
}
