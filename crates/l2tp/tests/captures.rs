//! Recorded LNSs and LACs are played against a live tunnel, and every recorded control message is mutilated before one.
//!
//! What is played is not changed at all. Ids and challenges fit because our tunnel's Tunnel ID is the recorded one, and its randomness is a
//! script that yields the recorded challenge and Session IDs. Time stands still meanwhile: our tunnel repeats nothing, but hears all that
//! the recorded peer repeated.

mod common;
#[path = "../../../tests/captures/frames.rs"]
mod frames;

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use common::{Puppet, call_params, encode_raw, icrq, sccrq, secret_config};
use crypto::hiding;
use frames::Frame;
use l2tp::{EndedBy, Event, Tunnel, TunnelConfig, TunnelState, assigned_tunnel_id, decode_sccrq};
use rand_core::TryRng;
use sansio::Time;
use wire::l2tp::{AttributeType, Avps, ControlHeader, Header, MessageType};

/// Randomness that was recorded.
#[derive(Default)]
struct Script {
    challenge: Vec<u8>,
    session_ids: VecDeque<u16>,
}

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.session_ids.pop_front().unwrap_or(1).into())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.try_next_u32().map(u64::from)
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        octets.copy_from_slice(&self.challenge);
        Ok(())
    }
}

/// One tunnel of a capture: each end's Tunnel ID, and its control messages in order.
struct Recording {
    name: String,
    lac_id: u16,
    lns_id: u16,
    frames: Vec<Frame>,
}

/// Every tunnel of every capture.
fn recordings() -> Vec<Recording> {
    let mut recordings = Vec::new();
    for name in frames::names() {
        for sccrp in
            frames::control(&name).filter(|frame| message_type(frame) == Some(MessageType::SCCRP))
        {
            let lac_id = header(&sccrp).tunnel_id;
            let known = recordings
                .iter()
                .any(|r: &Recording| r.name == name && r.lac_id == lac_id);
            let lns_id = number(&sccrp, AttributeType::ASSIGNED_TUNNEL_ID);
            if let Some(lns_id) = lns_id.filter(|_| !known) {
                let frames = frames::control(&name)
                    .filter(|frame| belongs(frame, lac_id, lns_id))
                    .collect();
                recordings.push(Recording {
                    name: name.clone(),
                    lac_id,
                    lns_id,
                    frames,
                });
            }
        }
    }
    recordings
}

fn belongs(frame: &Frame, lac_id: u16, lns_id: u16) -> bool {
    match header(frame).tunnel_id {
        0 => assigned_tunnel_id(&frame.payload) == Some(lac_id),
        id => id == if frame.from_lac { lns_id } else { lac_id },
    }
}

fn header(frame: &Frame) -> ControlHeader {
    let Ok((Header::Control(header), _)) = Header::decode(&frame.payload) else {
        panic!("frame {} is no control message", frame.number)
    };
    header
}

/// The frame's message; nothing for a ZLB.
fn message_type(frame: &Frame) -> Option<MessageType> {
    number(frame, AttributeType::MESSAGE_TYPE).map(MessageType)
}

/// The value of an attribute of 16 bits.
fn number(frame: &Frame, attribute: AttributeType) -> Option<u16> {
    value(frame, attribute).map(|value| u16::from_be_bytes([value[0], value[1]]))
}

/// The value of an attribute, opened if it is hidden.
fn value(frame: &Frame, attribute: AttributeType) -> Option<Vec<u8>> {
    let mut random_vector = &[][..];
    for avp in Avps::new(&frame.payload[ControlHeader::LEN..]).flatten() {
        if avp.attribute_type() == Some(AttributeType::RANDOM_VECTOR) {
            random_vector = avp.value;
        }
        if avp.attribute_type() == Some(attribute) && avp.hidden {
            let (secret, mut scratch) = (frames::SECRET.as_bytes(), Vec::new());
            let opened =
                hiding::unhide(attribute.0, secret, random_vector, avp.value, &mut scratch);
            return opened.ok().map(<[u8]>::to_vec);
        }
        if avp.attribute_type() == Some(attribute) {
            return Some(avp.value.to_vec());
        }
    }
    None
}

impl Recording {
    /// The messages of one type that one end sent, each once.
    fn sent(&self, from_lac: bool, of_type: MessageType) -> Vec<&Frame> {
        let mut numbers = BTreeSet::new();
        let sent = self
            .frames
            .iter()
            .filter(|frame| frame.from_lac == from_lac && message_type(frame) == Some(of_type));
        sent.filter(|frame| numbers.insert(header(frame).ns))
            .collect()
    }

    /// What our tunnel draws in place of one end.
    fn script(&self, as_lac: bool) -> Script {
        let (introduces, assigns) = if as_lac {
            (MessageType::SCCRQ, MessageType::ICRQ)
        } else {
            (MessageType::SCCRP, MessageType::ICRP)
        };
        let challenge = value(self.sent(as_lac, introduces)[0], AttributeType::CHALLENGE);
        let ids = self.sent(as_lac, assigns).into_iter();
        let session_ids = ids
            .filter_map(|frame| number(frame, AttributeType::ASSIGNED_SESSION_ID))
            .collect();
        Script {
            challenge: challenge.unwrap_or_default(),
            session_ids,
        }
    }

    /// Plays what the other end sent, up to the message that connects the last call.
    fn play(&self, as_lac: bool) -> Outcome {
        self.play_with(as_lac, self.script(as_lac))
    }

    fn play_with(&self, as_lac: bool, mut script: Script) -> Outcome {
        let has_secret = self.name.ends_with("-secret") || self.name.ends_with("-hidden");
        let config = Arc::new(TunnelConfig {
            secret: has_secret.then(|| frames::SECRET.into()),
            challenge: !script.challenge.is_empty(),
            ..common::config()
        });
        let connects = if as_lac {
            MessageType::ICRP
        } else {
            MessageType::ICCN
        };
        let last = self
            .frames
            .iter()
            .rposition(|frame| message_type(frame) == Some(connects));
        let frames = &self.frames[..last.map_or(self.frames.len(), |last| last + 1)];
        let mut played = frames.iter().filter(|frame| frame.from_lac != as_lac);
        let mut stage = if as_lac {
            Stage::new(
                Tunnel::originate(config, self.lac_id, NOW, &mut script),
                script,
            )
        } else {
            let sccrq = played.next().map(|frame| decode_sccrq(&frame.payload));
            let Some(Ok(sccrq)) = sccrq else {
                panic!("{} does not begin with an SCCRQ", self.name)
            };
            let accepted = Tunnel::accept(config, self.lns_id, &sccrq, NOW, &mut script);
            let Ok(tunnel) = accepted else {
                panic!("{}: {accepted:?}", self.name)
            };
            Stage::new(tunnel, script)
        };
        if as_lac {
            stage.place_calls();
        }
        for frame in played {
            stage
                .tunnel
                .handle_message(&frame.payload, NOW, &mut stage.script);
            stage.settle();
        }
        let mut outcome = stage.outcome;
        outcome.state = Some(stage.tunnel.state());
        if as_lac {
            // The recorded LNS acknowledges them after the last frame that is played.
            outcome.calls = stage.tunnel.counters().sent.iccn as usize;
        }
        outcome
    }
}

const NOW: Time = Time::from_secs(1000);

/// What became of a tunnel that a recording was played to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Outcome {
    state: Option<TunnelState>,
    /// Calls that were established.
    calls: usize,
    /// Calls that ended because of what the recorded peer said.
    faulty_calls: usize,
}

struct Stage {
    tunnel: Tunnel,
    script: Script,
    outcome: Outcome,
}

impl Stage {
    fn new(tunnel: Tunnel, script: Script) -> Self {
        let mut stage = Self {
            tunnel,
            script,
            outcome: Outcome::default(),
        };
        stage.settle();
        stage
    }

    fn place_calls(&mut self) {
        for _ in 0..self.script.session_ids.len() {
            let placed = self
                .tunnel
                .place_incoming_call(call_params(), NOW, &mut self.script);
            assert!(placed.is_ok(), "{placed:?}");
        }
    }

    fn settle(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                Event::CallRequested { session } => {
                    self.tunnel.accept_call(session, &mut self.script)
                }
                Event::CallEstablished { .. } => self.outcome.calls += 1,
                Event::CallClosed { reason, .. } if reason.by == EndedBy::PeerFault => {
                    self.outcome.faulty_calls += 1
                }
                _ => {}
            }
        }
        let mut out = Vec::new();
        while self.tunnel.poll_transmit(NOW, &mut out) {}
    }
}

/// Tunnels that the two recorded daemons could not bring up: the LAC closed them when it had seen the SCCRP.
const NOT_ESTABLISHED: [&str; 2] = [
    "openl2tp-openl2tp-chap-hidden",
    "xl2tpd-openl2tp-chap-hidden",
];

#[test]
fn recorded_lacs_bring_up_their_calls_at_our_lns() {
    let mut calls = 0;
    for recording in recordings() {
        let closes = NOT_ESTABLISHED.contains(&recording.name.as_str());
        let expected = Outcome {
            state: Some(if closes {
                TunnelState::Closing
            } else {
                TunnelState::Established
            }),
            calls: recording.sent(true, MessageType::ICCN).len(),
            faulty_calls: 0,
        };
        assert_eq!(
            recording.play(false),
            expected,
            "{} {}",
            recording.name,
            recording.lac_id
        );
        calls += expected.calls;
    }
    assert_eq!(calls, 53);
}

#[test]
fn recorded_lnss_take_the_calls_of_our_lac() {
    let mut total = Outcome::default();
    for recording in recordings() {
        let ids = recording.sent(false, MessageType::ICRP).into_iter();
        let ids = ids.map(|icrp| number(icrp, AttributeType::ASSIGNED_SESSION_ID));
        let (faulty, sound): (Vec<_>, Vec<_>) = ids.partition(|&id| id == Some(0));
        let expected = Outcome {
            state: Some(TunnelState::Established),
            calls: sound.len(),
            faulty_calls: faulty.len(),
        };
        assert_eq!(
            recording.play(true),
            expected,
            "{} {}",
            recording.name,
            recording.lac_id
        );
        total.calls += expected.calls;
        total.faulty_calls += expected.faulty_calls;
    }
    // Three ICRPs of `l2tpload-openl2tp-chap-hidden` assign session id 0.
    assert_eq!((total.calls, total.faulty_calls), (53, 3));
}

#[test]
fn wrong_secrets_do_not_open_recorded_tunnels() {
    let recordings = recordings();
    let secret = recordings.iter().filter(|r| r.name.ends_with("-secret"));
    let mut tried = 0;
    for recording in secret {
        for as_lac in [true, false] {
            let mut script = recording.script(as_lac);
            if script.challenge.is_empty() {
                continue;
            }
            script.challenge[0] ^= 1;
            assert_eq!(
                recording.play_with(as_lac, script).calls,
                0,
                "{}",
                recording.name
            );
            tried += 1;
        }
    }
    assert!(tried >= 3, "{tried}");
}

/// A tunnel in each state in which control messages arrive: the first two before they are established, the others with a call.
fn puppets() -> [Puppet; 4] {
    let config = || TunnelConfig {
        challenge: false,
        ..secret_config(frames::SECRET)
    };
    let (mut lac, mut lns) = (
        Puppet::established_originator(config()),
        Puppet::established_receiver(config()),
    );
    lac.place_call();
    lns.send(0, &icrq(5));
    [
        Puppet::originator(config()).0,
        Puppet::receiver(config(), &sccrq(77)).0,
        lac,
        lns,
    ]
}

/// `octets` with one changed, in all ways that `masks` change one.
fn changes(
    octets: &[u8],
    masks: impl Iterator<Item = u8> + Clone,
) -> impl Iterator<Item = Vec<u8>> {
    (0..octets.len()).flat_map(move |at| {
        masks.clone().map(move |mask| {
            let mut changed = octets.to_vec();
            changed[at] ^= mask;
            changed
        })
    })
}

#[test]
fn no_truncation_and_no_changed_octet_of_a_recorded_message_panics() {
    let puppets = puppets();
    let mut seen = BTreeSet::new();
    for frame in frames::names()
        .iter()
        .flat_map(|name| frames::control(name))
    {
        let (header, avps) = (header(&frame), &frame.payload[ControlHeader::LEN..]);
        if !seen.insert(avps.to_vec()) {
            continue;
        }
        // The tunnel that the message was meant for.
        let meant = match message_type(&frame) {
            Some(MessageType::SCCRP) => &puppets[0],
            Some(MessageType::SCCCN) => &puppets[1],
            _ if frame.from_lac => &puppets[3],
            _ => &puppets[2],
        };
        for mutilated in (0..avps.len())
            .map(|len| avps[..len].to_vec())
            .chain(changes(avps, 1..=255))
        {
            survives(meant, header.session_id, &mutilated);
            let _ = decode_sccrq(&encode_raw(&header, &mutilated));
        }
        for mutilated in changes(avps, (0..8).map(|bit| 1 << bit)) {
            puppets
                .iter()
                .for_each(|puppet| survives(puppet, header.session_id, &mutilated));
        }
        for mutilated in changes(&frame.payload[..ControlHeader::LEN], 1..=255) {
            meant.clone().deliver(&mutilated);
            meant.clone().deliver(&[&mutilated, avps].concat());
        }
    }
    assert!(
        seen.len() > 200,
        "only {} different messages were found",
        seen.len()
    );
}

/// Says `avps` to a copy of the puppet's tunnel, in a header that makes it listen, and lets it do what follows.
fn survives(puppet: &Puppet, session_id: u16, avps: &[u8]) {
    let mut puppet = puppet.clone();
    let call = puppet.tunnel.calls().next().map(|call| call.session_id);
    // The recorded id is nobody's here; every other message is for our call.
    let session_id = call.filter(|_| session_id != 0).unwrap_or(0);
    puppet.send_raw(session_id, avps);
    for event in puppet.events() {
        if let Event::CallRequested { session } = event {
            puppet.tunnel.accept_call(session, &mut puppet.rng);
        }
    }
    puppet.take();
    assert!(puppet.tunnel.next_timeout().is_some() || puppet.tunnel.is_quiet());
}
