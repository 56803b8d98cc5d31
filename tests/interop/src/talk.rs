//! Two tunnels of ours that talk with each other, for others to judge what they say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use l2tp::{Bearer, CallKind, Disconnect, Event, Tunnel, TunnelConfig, decode_sccrq};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use sansio::Time;
use wire::l2tp::FramingTypes;

/// A datagram, and which end sent it.
pub type Sent = (usize, Vec<u8>);

/// Two tunnels of ours that talk with each other over a line that loses nothing; the first opens the conversation.
#[derive(Debug)]
pub struct Talk {
    /// The time.
    pub now: Time,
    /// Randomness that is the same in every run.
    pub rng: ChaCha8Rng,
    ends: [Option<Tunnel>; 2],
    /// The second's configuration; there is no tunnel before it is asked for one.
    answering: Arc<TunnelConfig>,
    /// All that was said.
    pub sent: Vec<Sent>,
    /// Whether calls are taken.
    pub obliging: bool,
}

impl Talk {
    /// The first tunnel, as `asking` has it, opens the conversation.
    pub fn new(asking: TunnelConfig, answering: TunnelConfig) -> Self {
        let (now, mut rng) = (Time::from_secs(1000), ChaCha8Rng::seed_from_u64(1));
        let tunnel = Tunnel::originate(Arc::new(asking), 100, now, &mut rng);
        let mut talk = Self {
            now,
            rng,
            ends: [Some(tunnel), None],
            answering: Arc::new(answering),
            sent: Vec::new(),
            obliging: true,
        };
        talk.settle();
        talk
    }

    /// One of the two.
    ///
    /// # Errors
    /// It was not asked for yet.
    pub fn end(&mut self, end: usize) -> Result<&mut Tunnel> {
        self.ends[end].as_mut().context("there is no tunnel yet")
    }

    /// Both say and hear what there is to say now.
    pub fn settle(&mut self) {
        loop {
            let before = self.sent.len();
            for end in [0, 1] {
                self.take_calls(end);
                let mut datagram = Vec::new();
                while let Some(tunnel) = &mut self.ends[end]
                    && tunnel.poll_transmit(self.now, &mut datagram)
                {
                    self.sent.push((end, datagram.clone()));
                    self.hear(1 - end, &datagram);
                }
            }
            if self.sent.len() == before {
                return;
            }
        }
    }

    /// One of them hears a datagram.
    pub fn hear(&mut self, end: usize, datagram: &[u8]) {
        let (now, rng) = (self.now, &mut self.rng);
        match &mut self.ends[end] {
            Some(tunnel) => tunnel.handle_message(datagram, now, rng),
            None => {
                // The second is asked for, or has refused already.
                let Ok(sccrq) = decode_sccrq(datagram) else {
                    return;
                };
                let config = Arc::clone(&self.answering);
                match Tunnel::accept(config, 200, &sccrq, now, rng) {
                    Ok(tunnel) => self.ends[end] = Some(tunnel),
                    Err(reason) => {
                        let (refusal, _) = sccrq.refuse(200, &reason);
                        self.sent.push((end, refusal.clone()));
                        self.hear(1 - end, &refusal);
                    }
                }
            }
        }
    }

    fn take_calls(&mut self, end: usize) {
        let Some(tunnel) = &mut self.ends[end] else {
            return;
        };
        while let Some(event) = tunnel.poll_event() {
            let Event::CallRequested { session } = event else {
                continue;
            };
            let kind = tunnel.call(session).map(|call| call.kind);
            if !self.obliging {
                tunnel.refuse_call(session, Disconnect::no_facilities("all lines are busy"));
            } else if kind == Some(CallKind::LacOutgoing) {
                let bearer = Bearer {
                    framing_type: FramingTypes::SYNC,
                    tx_connect_speed: 64_000,
                    rx_connect_speed: Some(32_000),
                    ..Bearer::default()
                };
                tunnel.accept_outgoing_call(session, Some(3), &mut self.rng);
                tunnel.bearer_up(session, &bearer, &mut self.rng);
            } else {
                tunnel.accept_call(session, &mut self.rng);
            }
        }
    }

    /// Time passes, and what is due on the way is done.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeouts = self.ends.iter().flatten().filter_map(Tunnel::next_timeout);
            let Some(at) = timeouts.map(|due| due.at).min().filter(|&at| at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            for tunnel in self.ends.iter_mut().flatten() {
                tunnel.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    /// The types of all messages so far; 0 for a ZLB.
    pub fn types(&self) -> BTreeSet<u16> {
        let octets = |(_, datagram): &Sent| match datagram.get(18..20) {
            Some(octets) => u16::from_be_bytes([octets[0], octets[1]]),
            None => 0,
        };
        self.sent.iter().map(octets).collect()
    }
}
