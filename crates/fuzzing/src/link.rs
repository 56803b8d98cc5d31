//! A whole PPP link: octets choose what its peer says, what its owner wants and how time passes.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crypto::Secret;
use crypto::mppe::KeyLength;
use ppp::{
    AuthAttempt, AuthProtocol, Cause, Credentials, Event, Ipv4Config, Ipv6Config, Link, LinkConfig,
    MppeConfig, NetworkConfig, Phase, Verdict,
};
use sansio::{Rng, Time};
use wire::Writer;
use wire::ppp::iana::{chap_code, code, pap_code};
use wire::ppp::{
    ChapPacket, ChapValue, Compression, Frame, MsChapV1Response, MsChapV2Response, Packet,
    PapPacket, Protocol,
};

use crate::choices::{Choices, rng};
use crate::snapshot;

const USER: &[u8] = b"u0";
const PASSWORD: &[u8] = b"pw";
/// Our address and the peer's, where they are given.
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
/// The longest that anything may take to end by itself: far more than any timeout here.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Frames that one step may bring about: the most that a link keeps for a slow line are of five octets.
const MOST_FRAMES: usize = 16 * 1024 / 5;
/// The protocols that have packets.
const PROTOCOLS: [Protocol; 6] = [
    Protocol::LCP,
    Protocol::PAP,
    Protocol::CHAP,
    Protocol::IPCP,
    Protocol::IPV6CP,
    Protocol::CCP,
];

/// A link and what is known of it.
struct Model {
    link: Link,
    config: Arc<LinkConfig>,
    now: Time,
    rng: Box<dyn Rng>,
    /// What the peer has proved that the owner has not judged yet.
    attempts: Vec<AuthAttempt>,
    /// The names that were judged to be right.
    proven: Vec<Vec<u8>>,
    /// The owner was asked for addresses and did not answer.
    network_wanted: bool,
    network: NetworkConfig,
    /// The owner was asked to encrypt and did not answer.
    encryption_wanted: bool,
    encrypted: bool,
    /// The last packet of each protocol that the link sent.
    heard: [Option<(u8, u8, Vec<u8>)>; PROTOCOLS.len()],
    ipv4_up: bool,
    ipv6_up: bool,
    opened: bool,
    closed: bool,
}

/// A session.
pub(crate) fn link(octets: &[u8]) {
    let mut choices = Choices::new(octets);
    if let Some(mut model) = Model::begin(&mut choices) {
        while let Some(()) = model.step(&mut choices) {
            model.check();
        }
        model.end();
    }
}

impl Model {
    fn begin(choices: &mut Choices<'_>) -> Option<Self> {
        let (bits, more) = (choices.octet()?, choices.octet()?);
        let on = |bit: u8| bits & bit != 0;
        let bits_of_protocols = [
            (1, AuthProtocol::MsChapV2),
            (2, AuthProtocol::ChapMd5),
            (4, AuthProtocol::Pap),
            (128, AuthProtocol::MsChapV1),
        ];
        let demanded = bits_of_protocols.into_iter().filter(|(bit, _)| on(*bit));
        let config = Arc::new(LinkConfig {
            mru: if on(8) { 1400 } else { 1500 },
            require_auth: demanded.map(|(_, protocol)| protocol).collect(),
            accept_auth: AuthProtocol::ALL.to_vec(),
            local_name: "lns".to_owned(),
            echo_interval: on(16).then_some(Duration::from_secs(30)),
            chap_interval: on(32).then_some(Duration::from_secs(40)),
            mppe: (on(1) && more & 3 != 0).then(|| MppeConfig {
                required: more & 1 != 0,
                lengths: KeyLength::ALL.to_vec(),
                stateful: more & 4 != 0,
            }),
            ..LinkConfig::default()
        });
        let credentials = on(64).then(|| {
            Arc::new(Credentials {
                user_name: "u0".to_owned(),
                password: PASSWORD.into(),
            })
        });
        let given = |bit: u8, address| (more & bit != 0).then_some(address);
        let ipv4 = Ipv4Config {
            local: given(1, OURS),
            peer: given(2, THEIRS),
            accept_local: more & 4 != 0,
            accept_peer: more & 8 != 0,
            dns: [given(16, OURS), None],
            nbns: [given(16, OURS); 2],
            ask_dns: more & 32 != 0,
        };
        let network = NetworkConfig {
            ipv4: (more & 64 == 0).then_some(ipv4),
            ipv6: (more & 128 == 0).then(Ipv6Config::default),
        };
        let mut rng = Box::new(rng());
        Some(Self {
            link: Link::new(Arc::clone(&config), credentials, &mut rng),
            config,
            now: Time::from_secs(1000),
            rng,
            attempts: Vec::new(),
            proven: Vec::new(),
            network_wanted: false,
            network,
            encryption_wanted: false,
            encrypted: false,
            heard: Default::default(),
            ipv4_up: false,
            ipv6_up: false,
            opened: false,
            closed: false,
        })
    }

    /// One thing that happens.
    fn step(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        match choices.below(10)? {
            0 => {
                self.opened = true;
                self.link.open(self.now, &mut self.rng);
            }
            1 | 2 => self.answer(choices)?,
            3 => self.request(choices)?,
            4 => self.prove(choices)?,
            5 => self.judge(choices)?,
            6 => {
                if std::mem::take(&mut self.encryption_wanted) {
                    let lengths = &KeyLength::ALL[self.attempts.len().min(2)..];
                    let outlives_requests = self.attempts.len().is_multiple_of(2);
                    self.link
                        .encrypt(lengths, outlives_requests, self.now, &mut self.rng);
                }
                if self.network_wanted {
                    self.network_wanted = false;
                    self.link
                        .configure_network(self.network, self.now, &mut self.rng);
                }
            }
            7 => {
                let seconds = choices.one_of(&[0, 1, 3, 10, 40, 100])?;
                self.wait(Duration::from_secs(seconds) + Duration::from_millis(20));
            }
            8 => match choices.below(8)? {
                0 => self
                    .link
                    .close(Cause::Administrative, self.now, &mut self.rng),
                _ => self.link = snapshot::restored(&self.link),
            },
            _ => {
                let frame = choices.octets()?;
                self.link.handle_frame(frame, self.now, &mut self.rng);
            }
        }
        Some(())
    }

    /// A packet from the peer.
    fn say(&mut self, protocol: Protocol, code: u8, identifier: u8, data: &[u8]) {
        let packet = Packet {
            code,
            identifier,
            data,
        };
        let mut buf = [0; 2048];
        let mut w = Writer::new(&mut buf);
        Frame::encode_header(protocol, Compression::default(), &mut w).expect("room");
        packet.encode(&mut w).expect("room");
        self.link.handle_frame(w.written(), self.now, &mut self.rng);
    }

    /// The peer answers the last packet of a protocol: agrees, disagrees, rejects, or says something else with its identifier.
    fn answer(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let place = choices.below(PROTOCOLS.len())?;
        let how = choices.below(16)?;
        let Some((_, identifier, mut data)) = self.heard[place].clone() else {
            return Some(());
        };
        match how {
            0..=5 => self.say(PROTOCOLS[place], code::CONFIGURE_ACK, identifier, &data),
            6..=9 => {
                // Another value for one of the options, or all of them.
                let (at, value) = (choices.below(data.len())?, choices.octet()?);
                if let Some(octet) = data.get_mut(at) {
                    *octet = value;
                }
                let code = if how < 8 {
                    code::CONFIGURE_NAK
                } else {
                    code::CONFIGURE_REJECT
                };
                self.say(PROTOCOLS[place], code, identifier, &data);
            }
            10 | 11 => {
                let length = choices.octets()?.len().min(data.len());
                self.say(
                    PROTOCOLS[place],
                    code::CONFIGURE_REJECT,
                    identifier,
                    &data[..length],
                );
            }
            12 => self.say(
                PROTOCOLS[place],
                code::CONFIGURE_NAK,
                identifier,
                choices.octets()?,
            ),
            _ => self.say(
                PROTOCOLS[place],
                choices.below(16)? as u8,
                identifier,
                &data,
            ),
        }
        Some(())
    }

    /// The peer asks for what such peers ask for, or for anything.
    fn request(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let requests: [(Protocol, &[u8]); 10] = [
            (Protocol::LCP, &[5, 6, 1, 2, 3, 4]),
            (
                Protocol::LCP,
                &[1, 4, 5, 0xb4, 3, 5, 0xc2, 0x23, 5, 5, 6, 9, 9, 9, 9],
            ),
            (Protocol::LCP, &[3, 4, 0xc0, 0x23, 7, 2, 8, 2]),
            (Protocol::IPCP, &[3, 6, 10, 0, 0, 99]),
            (
                Protocol::IPCP,
                &[3, 6, 0, 0, 0, 0, 129, 6, 0, 0, 0, 0, 131, 6, 0, 0, 0, 0],
            ),
            (Protocol::IPV6CP, &[1, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
            (Protocol::IPCP, &[2, 6, 0, 45, 15, 0]),
            (Protocol::IPV6CP, &[1, 10, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Protocol::CCP, &[18, 6, 1, 0, 0, 0x40]),
            (Protocol::CCP, &[18, 6, 0, 0, 0, 0xe0]),
        ];
        let (which, identifier) = (choices.octet()?, choices.octet()?);
        if let Some((protocol, options)) = requests.get(usize::from(which)) {
            self.say(*protocol, code::CONFIGURE_REQUEST, identifier, options);
        } else {
            let protocol = PROTOCOLS[usize::from(which) % PROTOCOLS.len()];
            let code = choices.below(16)? as u8;
            self.say(protocol, code, identifier, choices.octets()?);
        }
        Some(())
    }

    /// The peer proves itself, or judges or challenges us.
    fn prove(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let (how, identifier) = (choices.below(9)?, choices.octet()?);
        let password = if choices.octet()? & 1 == 0 {
            PASSWORD
        } else {
            b"wrong"
        };
        let heard = self.heard[2].clone();
        let heard = heard.filter(|(code, ..)| *code == chap_code::CHALLENGE);
        let mut buf = [0; 512];
        let mut w = Writer::new(&mut buf);
        let response;
        let mut protocol = Protocol::CHAP;
        match how {
            0 | 1 => {
                protocol = Protocol::PAP;
                let request = PapPacket::Request {
                    peer_id: USER,
                    password,
                };
                request.encode(identifier, &mut w).ok()?;
            }
            2 | 3 => {
                let Some((_, challenged, data)) = heard else {
                    return Some(());
                };
                let challenge = data.get(1..)?.get(..usize::from(*data.first()?))?;
                let text = std::str::from_utf8(password).ok()?;
                let value: &[u8] = if how == 2 {
                    response = crypto::chap::response(challenged, password, challenge);
                    &response
                } else if let Ok(ours) = challenge.try_into() {
                    &MsChapV1Response {
                        nt_response: crypto::mschapv1::nt_response(ours, text),
                        use_nt: identifier & 1 == 0,
                    }
                    .encode()
                } else {
                    let (ours, theirs) = (challenge.try_into().ok()?, [3; 16]);
                    let nt_response = crypto::mschapv2::nt_response(&ours, &theirs, USER, text);
                    &MsChapV2Response {
                        peer_challenge: theirs,
                        nt_response,
                    }
                    .encode()
                };
                let answer = ChapPacket::Response(ChapValue { value, name: USER });
                answer.encode(challenged, &mut w).ok()?;
            }
            4 => {
                let challenge = ChapValue {
                    value: &[7; 16],
                    name: b"peer",
                };
                ChapPacket::Challenge(challenge)
                    .encode(identifier, &mut w)
                    .ok()?;
            }
            5 | 6 => {
                // A verdict on what we said last.
                let code = [chap_code::SUCCESS, chap_code::FAILURE][how - 5];
                let (_, identifier, _) = self.heard[2].clone()?;
                self.say(Protocol::CHAP, code, identifier, choices.octets()?);
                return Some(());
            }
            _ => {
                let code = [pap_code::ACK, pap_code::NAK][how - 7];
                let (_, identifier, _) = self.heard[1].clone()?;
                self.say(Protocol::PAP, code, identifier, &[0]);
                return Some(());
            }
        }
        let packet = Packet::decode(w.written()).expect("a packet");
        let (code, identifier, data) = (packet.code, packet.identifier, packet.data.to_vec());
        self.say(protocol, code, identifier, &data);
        Some(())
    }

    /// The owner judges what the peer proved.
    fn judge(&mut self, choices: &mut Choices<'_>) -> Option<()> {
        let which = choices.octet()?;
        if self.attempts.is_empty() {
            return Some(());
        }
        let attempt = self
            .attempts
            .remove(usize::from(which) % self.attempts.len());
        let right = attempt
            .check(&Secret::from(PASSWORD))
            .filter(|_| which < 250);
        if right.is_some() {
            assert_eq!(attempt.user_name, USER, "who else knows the password");
            self.proven.push(attempt.user_name.clone());
        }
        let wrong = || Verdict::Reject {
            message: "no".to_owned(),
        };
        let verdict = right.unwrap_or_else(wrong);
        self.link
            .authenticated(attempt.number, verdict, self.now, &mut self.rng);
        Some(())
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.link.next_timeout().filter(|due| due.at <= end) {
            self.now = self.now.max(due.at);
            self.fire();
        }
        self.now = end;
    }

    /// What is due is done: it is not due any more.
    fn fire(&mut self) {
        self.link.handle_timeout(self.now, &mut self.rng);
        let next = self.link.next_timeout();
        assert!(
            next.is_none_or(|next| next.at > self.now),
            "{next:?} fires for ever"
        );
        self.check();
    }

    /// Everything that must hold after each step.
    fn check(&mut self) {
        while let Some(event) = self.link.poll_event() {
            self.event(event);
        }
        let mut frame = Vec::new();
        for sent in 0.. {
            if !self.link.poll_transmit(&mut frame) {
                break;
            }
            assert!(sent < MOST_FRAMES, "there is no end to what it sends");
            self.transmitted(&frame);
        }
        let status = self.link.status();
        assert_eq!(status.ipv4.is_some(), self.ipv4_up);
        assert_eq!(status.ipv6.is_some(), self.ipv6_up);
        assert_eq!(status.mppe.is_some(), self.encrypted);
        let required = self.config.mppe.as_ref().is_some_and(|mppe| mppe.required);
        let carries = self.ipv4_up || self.ipv6_up;
        assert!(self.encrypted || !required || !carries, "in clear");
        let dead = self.link.phase() == Phase::Dead;
        assert_eq!(dead, self.closed || !self.opened, "{status:?}");
        assert!(
            !dead || self.link.next_timeout().is_none(),
            "nothing is left to do"
        );
    }

    fn event(&mut self, event: Event) {
        assert!(!self.closed, "{event:?} after the end");
        match event {
            Event::Authenticate(attempt) => {
                assert!(self.config.require_auth.contains(&attempt.protocol()));
                self.attempts.push(attempt);
            }
            Event::NetworkWanted { user } => {
                assert_eq!(user.is_some(), !self.config.require_auth.is_empty());
                if let Some(user) = user {
                    let proven = self.proven.iter().any(|name| name == user.as_bytes());
                    assert!(proven, "{user} was not judged to be right");
                }
                self.network_wanted = true;
            }
            Event::EncryptionWanted { .. } => {
                assert!(!self.ipv4_up && !self.ipv6_up, "packets flow already");
                self.encryption_wanted = true;
            }
            Event::EncryptionUp(mode) => {
                assert!(!self.encryption_wanted && !self.encrypted);
                let wanted = self.config.mppe.as_ref().expect("it is wanted");
                assert!(wanted.stateful || !mode.stateful);
                self.encrypted = true;
            }
            Event::EncryptionDown => {
                assert!(!self.ipv4_up && !self.ipv6_up, "packets go on in clear");
                (self.encryption_wanted, self.encrypted) = (false, false);
            }
            Event::Ipv4Up { local, peer, .. } => {
                assert!(!self.ipv4_up, "IPv4 comes up twice");
                self.ipv4_up = true;
                let config = self.network.ipv4.expect("IPv4 is wanted");
                let kept = |given: Option<Ipv4Addr>, other| given.is_none_or(|a| a == other);
                assert!(config.accept_local || kept(config.local, local));
                assert!(config.accept_peer || kept(config.peer, peer));
            }
            Event::Ipv6Up { local_id, peer_id } => {
                assert!(!self.ipv6_up, "IPv6 comes up twice");
                self.ipv6_up = true;
                assert!(local_id != peer_id && local_id != [0; 8]);
            }
            Event::Ipv4Down => assert!(std::mem::take(&mut self.ipv4_up), "IPv4 was not up"),
            Event::Ipv6Down => assert!(std::mem::take(&mut self.ipv6_up), "IPv6 was not up"),
            Event::Closed(cause) => {
                assert!(!cause.to_string().is_empty());
                self.closed = true;
            }
        }
    }

    fn transmitted(&mut self, frame: &[u8]) {
        assert!(self.opened, "it speaks before it is opened");
        assert!(frame.len() <= 4 + 1500, "a frame of {} octets", frame.len());
        let Frame { protocol, payload } = Frame::decode(frame).expect("a frame");
        let packet = Packet::decode(payload).expect("a packet");
        assert_eq!(packet.data.len() + Packet::HEADER, payload.len());
        let place = PROTOCOLS.iter().position(|known| *known == protocol);
        let place = place.expect("a protocol that it speaks");
        let negotiates = protocol == Protocol::LCP || protocol.is_network_control();
        if negotiates && packet.code == code::CONFIGURE_REQUEST {
            assert!(packet.options().all(|option| option.is_ok()));
        }
        self.heard[place] = Some((packet.code, packet.identifier, packet.data.to_vec()));
    }

    /// The peer falls silent: whatever phase was reached is left, but for an open network.
    fn end(mut self) {
        for wants_it in [false, true] {
            if wants_it {
                self.link
                    .close(Cause::Administrative, self.now, &mut self.rng);
                self.check();
            }
            let end = self.now + PATIENCE;
            while let Some(due) = self.link.next_timeout().filter(|due| due.at <= end) {
                self.now = self.now.max(due.at);
                self.fire();
            }
            let phase = self.link.phase();
            let may_stay = !wants_it && self.config.echo_interval.is_none();
            let stays = phase == Phase::Network && may_stay || !self.opened && !wants_it;
            assert!(phase == Phase::Dead || stays, "{phase:?} is never left");
        }
        assert!(!self.ipv4_up && !self.ipv6_up);
        assert!(self.closed, "its owner knows that it is over");
    }
}
