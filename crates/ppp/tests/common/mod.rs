//! Two links, a wire between them and virtual time; or one link and a peer that a test plays frame by frame.
#![allow(clippy::unwrap_used, reason = "tests only")]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crypto::mppe::KeyLength;
use ppp::{
    AuthAttempt, AuthProtocol, Cause, Credentials, Event, Ipv4Config, Ipv6Config, Link, LinkConfig,
    NetworkConfig, Phase, Verdict,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sansio::Time;
use wire::ppp::{Frame, Packet, Protocol};

pub const SERVER_IP: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 0, 1);
pub const CLIENT_IP: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 0, 99);
pub const DNS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 0, 53);
pub const USER: &str = "u0";
pub const PASSWORD: &str = "pw";

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A link and the program that owns it.
pub struct Host {
    pub link: Link,
    pub events: Vec<Event>,
    /// What the peer's password is, if any user is known.
    pub password: Option<&'static str>,
    pub network: NetworkConfig,
    /// Key lengths that its datapath has.
    pub lengths: Vec<KeyLength>,
    /// Its datapath goes on encrypting when a Configure-Request passes.
    pub outlives_requests: bool,
    /// The password is that of any user.
    pub any_user: bool,
    /// How long the verdict and the addresses take.
    pub thinking: Duration,
    verdicts: Vec<(Time, AuthAttempt)>,
    network_at: Option<Time>,
    encryption_at: Option<Time>,
    /// Every frame that it sent.
    pub sent: Vec<Vec<u8>>,
}

impl Host {
    pub fn new(
        config: LinkConfig,
        credentials: Option<(&str, &str)>,
        network: NetworkConfig,
    ) -> Self {
        let credentials = credentials.map(|(name, password)| {
            Arc::new(Credentials {
                user_name: name.to_owned(),
                password: password.into(),
            })
        });
        Self {
            link: Link::new(Arc::new(config), credentials, &mut rng(0)),
            events: Vec::new(),
            password: Some(PASSWORD),
            network,
            lengths: KeyLength::ALL.to_vec(),
            outlives_requests: true,
            any_user: false,
            thinking: Duration::ZERO,
            verdicts: Vec::new(),
            network_at: None,
            encryption_at: None,
            sent: Vec::new(),
        }
    }

    /// An LNS that demands `auth` and gives addresses.
    pub fn server(auth: &[AuthProtocol]) -> Self {
        let config = LinkConfig {
            require_auth: auth.to_vec(),
            local_name: "lns".to_owned(),
            ..LinkConfig::default()
        };
        Self::new(config, None, server_network())
    }

    /// A client that knows user and password and takes what it is told.
    pub fn client() -> Self {
        Self::client_that_says(PASSWORD)
    }

    /// A client that was not told which protocols to prove itself by.
    pub fn usual_client() -> Self {
        let (config, credentials) = (LinkConfig::default(), Some((USER, PASSWORD)));
        Self::new(config, credentials, client_network())
    }

    /// A client with such a password, by whatever protocol.
    pub fn client_that_says(password: &str) -> Self {
        let config = LinkConfig {
            accept_auth: AuthProtocol::ALL.to_vec(),
            ..LinkConfig::default()
        };
        Self::new(config, Some((USER, password)), client_network())
    }

    pub fn closed(&self) -> Option<&Cause> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(cause) => Some(cause),
            _ => None,
        })
    }

    pub fn has(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }

    pub fn ipv4_is_up(&self) -> bool {
        self.link.status().ipv4.is_some()
    }

    pub fn ipv6_is_up(&self) -> bool {
        self.link.status().ipv6.is_some()
    }

    /// Takes events, answers those that want an answer, and says what to transmit.
    fn settle(&mut self, now: Time, rng: &mut dyn Rng) -> Vec<Vec<u8>> {
        loop {
            while let Some(event) = self.link.poll_event() {
                match &event {
                    Event::Authenticate(attempt) => {
                        self.verdicts.push((now + self.thinking, attempt.clone()));
                    }
                    Event::NetworkWanted { .. } => self.network_at = Some(now + self.thinking),
                    Event::EncryptionWanted { .. } => {
                        self.encryption_at = Some(now + self.thinking);
                    }
                    _ => {}
                }
                self.events.push(event);
            }
            if let Some(due) = self.verdicts.iter().position(|(at, _)| *at <= now) {
                let (_, attempt) = self.verdicts.remove(due);
                let verdict = self.verdict(&attempt);
                self.link.authenticated(attempt.number, verdict, now, rng);
            } else if self.network_at.is_some_and(|at| at <= now) {
                self.network_at = None;
                self.link.configure_network(self.network, now, rng);
            } else if self.encryption_at.is_some_and(|at| at <= now) {
                self.encryption_at = None;
                self.link
                    .encrypt(&self.lengths, self.outlives_requests, now, rng);
            } else {
                break;
            }
        }
        let mut frames = Vec::new();
        let mut frame = Vec::new();
        while self.link.poll_transmit(&mut frame) {
            frames.push(frame.clone());
        }
        self.sent.extend_from_slice(&frames);
        frames
    }

    fn verdict(&self, attempt: &AuthAttempt) -> Verdict {
        self.password
            .filter(|_| self.any_user || attempt.user() == USER.as_bytes())
            .and_then(|password| attempt.check(&password.into()))
            .unwrap_or_else(|| Verdict::Reject {
                message: "no such user or password".to_owned(),
            })
    }

    fn next(&self) -> Option<Time> {
        let link = self.link.next_timeout().map(|d| d.at);
        let own = [link, self.network_at, self.encryption_at];
        own.into_iter()
            .flatten()
            .chain(self.verdicts.iter().map(|(at, _)| *at))
            .min()
    }
}

pub fn server_network() -> NetworkConfig {
    NetworkConfig {
        ipv4: Some(Ipv4Config {
            local: Some(SERVER_IP),
            peer: Some(CLIENT_IP),
            dns: [Some(DNS), None],
            ..Ipv4Config::default()
        }),
        ipv6: Some(Ipv6Config::default()),
    }
}

pub fn client_network() -> NetworkConfig {
    NetworkConfig {
        ipv4: Some(Ipv4Config {
            ask_dns: true,
            ..Ipv4Config::default()
        }),
        ipv6: Some(Ipv6Config::default()),
    }
}

/// What the wire does to frames.
#[derive(Clone, Copy)]
pub struct Weather {
    pub loss: f64,
    pub duplication: f64,
    /// Frames that take up to ten times as long as the others, and so come after later ones.
    pub reordering: f64,
    pub delay: Duration,
}

impl Weather {
    pub const FINE: Self = Self {
        loss: 0.0,
        duplication: 0.0,
        reordering: 0.0,
        delay: Duration::from_millis(10),
    };
    pub const FOUL: Self = Self {
        loss: 0.10,
        duplication: 0.05,
        reordering: 0.10,
        delay: Duration::from_millis(30),
    };
}

/// Two hosts and the wire between them.
pub struct Pair {
    pub hosts: [Host; 2],
    pub now: Time,
    pub weather: Weather,
    /// Frames from this host vanish.
    pub mute: [bool; 2],
    /// Every frame comes back to its sender.
    pub looped: bool,
    wire: BTreeMap<(Time, u64), (usize, Vec<u8>)>,
    sequence: u64,
    rng: ChaCha8Rng,
}

pub const SERVER: usize = 0;
pub const CLIENT: usize = 1;

impl Pair {
    pub fn new(server: Host, client: Host) -> Self {
        Self::with_weather(server, client, Weather::FINE, 1)
    }

    pub fn with_weather(server: Host, client: Host, weather: Weather, seed: u64) -> Self {
        Self {
            hosts: [server, client],
            now: Time::from_secs(1),
            weather,
            mute: [false; 2],
            looped: false,
            wire: BTreeMap::new(),
            sequence: 0,
            rng: rng(seed),
        }
    }

    pub fn server(&self) -> &Host {
        &self.hosts[SERVER]
    }

    pub fn client(&self) -> &Host {
        &self.hosts[CLIENT]
    }

    /// Opens both ends and runs for `time`.
    pub fn open(&mut self, time: Duration) {
        for which in [SERVER, CLIENT] {
            self.hosts[which].link.open(self.now, &mut self.rng);
            self.settle(which);
        }
        self.run(time);
    }

    pub fn close(&mut self, which: usize, time: Duration) {
        self.hosts[which]
            .link
            .close(Cause::Administrative, self.now, &mut self.rng);
        self.settle(which);
        self.run(time);
    }

    /// Puts a frame on the wire that nobody sent.
    pub fn inject(&mut self, to: usize, frame: &[u8]) {
        self.hosts[to]
            .link
            .handle_frame(frame, self.now, &mut self.rng);
        self.settle(to);
    }

    /// Runs until nothing happens before `time` is over.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let due = self.wire.first_key_value().map(|(key, _)| *key);
            if let Some(key) = due.filter(|(at, _)| *at <= self.now) {
                if let Some((to, frame)) = self.wire.remove(&key) {
                    self.hosts[to]
                        .link
                        .handle_frame(&frame, self.now, &mut self.rng);
                    self.settle(to);
                }
            } else {
                for which in [SERVER, CLIENT] {
                    self.hosts[which]
                        .link
                        .handle_timeout(self.now, &mut self.rng);
                    self.settle(which);
                }
            }
            steps += 1;
            assert!(
                steps < 1_000_000,
                "the links keep each other busy for nothing"
            );
        }
        self.now = end;
    }

    fn next(&self) -> Option<Time> {
        let wire = self.wire.first_key_value().map(|((at, _), _)| *at);
        self.hosts.iter().filter_map(Host::next).chain(wire).min()
    }

    fn settle(&mut self, from: usize) {
        for frame in self.hosts[from].settle(self.now, &mut self.rng) {
            let to = if self.looped { from } else { 1 - from };
            if self.mute[from] || self.chance(self.weather.loss) {
                continue;
            }
            let copies = 1 + usize::from(self.chance(self.weather.duplication));
            for _ in 0..copies {
                let times = if self.chance(self.weather.reordering) {
                    10
                } else {
                    1
                };
                let jitter = u64::from(self.rng.next_u32() % 1000);
                let at = self.now + self.weather.delay * times + Duration::from_micros(jitter);
                // Without reordering, frames stay in order whatever the jitter.
                let at = if self.weather.reordering == 0.0 {
                    self.now + self.weather.delay
                } else {
                    at
                };
                self.sequence += 1;
                self.wire.insert((at, self.sequence), (to, frame.clone()));
            }
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        f64::from(self.rng.next_u32()) < probability * f64::from(u32::MAX)
    }

    pub fn is_up(&self) -> bool {
        self.hosts
            .iter()
            .all(|host| host.ipv4_is_up() && host.ipv6_is_up())
    }
}

/// One link, and a test that plays its peer.
pub struct Solo {
    pub host: Host,
    pub now: Time,
    pub rng: ChaCha8Rng,
}

/// A control packet that the link sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    pub protocol: Protocol,
    pub code: u8,
    pub identifier: u8,
    pub data: Vec<u8>,
}

impl Sent {
    pub fn packet(&self) -> Packet<'_> {
        Packet {
            code: self.code,
            identifier: self.identifier,
            data: &self.data,
        }
    }
}

impl Solo {
    /// An opened link; the frames that it sends at once are left to [`Solo::take`].
    pub fn new(host: Host) -> Self {
        let mut solo = Self {
            host,
            now: Time::from_secs(1),
            rng: rng(7),
        };
        solo.host.link.open(solo.now, &mut solo.rng);
        solo
    }

    /// What the link sent since the last call.
    pub fn take(&mut self) -> Vec<Sent> {
        let frames = self.host.settle(self.now, &mut self.rng);
        frames.iter().map(|frame| sent(frame)).collect()
    }

    /// Sends the link a packet, and takes its answers.
    pub fn say(&mut self, protocol: Protocol, code: u8, identifier: u8, data: &[u8]) -> Vec<Sent> {
        let mut frame = vec![0xff, 0x03];
        frame.extend_from_slice(&protocol.0.to_be_bytes());
        frame.extend_from_slice(&[code, identifier]);
        frame.extend_from_slice(&u16::try_from(data.len() + 4).unwrap().to_be_bytes());
        frame.extend_from_slice(data);
        self.say_frame(&frame)
    }

    pub fn say_frame(&mut self, frame: &[u8]) -> Vec<Sent> {
        self.host.link.handle_frame(frame, self.now, &mut self.rng);
        self.take()
    }

    pub fn wait(&mut self, time: Duration) -> Vec<Sent> {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.host.next().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.host.link.handle_timeout(self.now, &mut self.rng);
            all.extend(self.take());
        }
        self.now = end;
        all
    }

    /// Brings LCP up: agrees to whatever the link asks, and asks for nothing but a magic number.
    pub fn establish(&mut self) -> Vec<Sent> {
        for packet in self.take() {
            if packet.protocol == Protocol::LCP && packet.code == 1 {
                self.say(Protocol::LCP, 2, packet.identifier, &packet.data);
            }
        }
        self.say(Protocol::LCP, 1, 1, &[5, 6, 1, 2, 3, 4])
    }

    pub fn phase(&self) -> Phase {
        self.host.link.phase()
    }
}

pub fn sent(frame: &[u8]) -> Sent {
    let frame = Frame::decode(frame).unwrap();
    let packet = Packet::decode(frame.payload).unwrap();
    let Packet {
        code,
        identifier,
        data,
    } = packet;
    Sent {
        protocol: frame.protocol,
        code,
        identifier,
        data: data.to_vec(),
    }
}

/// An option of a Configure-Request.
pub fn option(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, u8::try_from(data.len() + 2).unwrap()], data].concat()
}

/// An option that holds an address.
pub fn address(kind: u8, address: std::net::Ipv4Addr) -> Vec<u8> {
    option(kind, &address.octets())
}

/// The only packet of this protocol and code among `sent`.
pub fn only(sent: &[Sent], protocol: Protocol, code: u8) -> Sent {
    let mut found = sent
        .iter()
        .filter(|p| p.protocol == protocol && p.code == code);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no {protocol} {code} in {sent:?}"))
        .clone();
    assert_eq!(found.next(), None);
    first
}

/// A link in the network phase, and the Configure-Requests of its control protocols.
pub fn in_network(network: NetworkConfig) -> (Solo, Vec<Sent>) {
    let mut solo = Solo::new(Host::new(LinkConfig::default(), None, network));
    let sent = solo.establish();
    assert_eq!(solo.phase(), Phase::Network);
    (solo, sent)
}
