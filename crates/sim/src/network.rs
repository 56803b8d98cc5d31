use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use sansio::Time;

/// How good the network is. Probabilities are in parts of a thousand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quality {
    /// The least time a datagram takes.
    pub delay: Duration,
    /// Up to this much more, evenly spread: no datagram overtakes another by it.
    pub jitter: Duration,
    /// Datagrams that are lost.
    pub loss: u32,
    /// Datagrams that come twice.
    pub duplication: u32,
    /// Datagrams that come late enough for others to overtake them.
    pub reordering: u32,
}

impl Quality {
    /// Ten milliseconds and nothing lost.
    pub const PERFECT: Self = Self {
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0,
        duplication: 0,
        reordering: 0,
    };

    /// Loses 10 %, duplicates 5 %, reorders 10 %, and takes 10 to 30 ms for it.
    pub const BAD: Self = Self {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(20),
        loss: 100,
        duplication: 50,
        reordering: 100,
    };
}

/// A datagram under way. Ordered by its time of arrival, then by its number.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Packet {
    at: Time,
    number: u64,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

/// A datagram as its sender gave it to the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// When.
    pub at: Time,
    /// The sender.
    pub from: SocketAddr,
    /// The receiver, should it arrive.
    pub to: SocketAddr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// Datagrams under way.
pub struct Network {
    quality: Quality,
    rng: ChaCha12Rng,
    queue: BinaryHeap<Reverse<Packet>>,
    /// The last arrival that was not reordered: jitter alone overtakes nothing.
    last: Time,
    copies: u64,
    sent: u64,
    record: Option<Vec<Sent>>,
}

impl Network {
    pub(crate) fn new(quality: Quality, seed: u64) -> Self {
        let rng = ChaCha12Rng::seed_from_u64(seed);
        Self {
            quality,
            rng,
            queue: BinaryHeap::new(),
            last: Time::ZERO,
            copies: 0,
            sent: 0,
            record: None,
        }
    }

    pub(crate) fn set_quality(&mut self, quality: Quality) {
        self.quality = quality;
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Takes out what was recorded, and records on.
    pub(crate) fn record(&mut self) -> Vec<Sent> {
        self.record.replace(Vec::new()).unwrap_or_default()
    }

    pub(crate) fn send(&mut self, now: Time, from: SocketAddr, to: SocketAddr, payload: Vec<u8>) {
        self.sent += 1;
        if let Some(record) = &mut self.record {
            record.push(Sent {
                at: now,
                from,
                to,
                payload: payload.clone(),
            });
        }
        if self.chance(self.quality.loss) {
            return;
        }
        if self.chance(self.quality.duplication) {
            self.queue_copy(now, from, to, payload.clone());
        }
        self.queue_copy(now, from, to, payload);
    }

    fn queue_copy(&mut self, now: Time, from: SocketAddr, to: SocketAddr, payload: Vec<u8>) {
        let mut at = now + self.quality.delay + self.part_of(self.quality.jitter);
        if self.chance(self.quality.reordering) {
            at += self.quality.delay + self.part_of(self.quality.delay * 5);
        } else {
            at = at.max(self.last);
            self.last = at;
        }
        self.copies += 1;
        self.queue.push(Reverse(Packet {
            at,
            number: self.copies,
            from,
            to,
            payload,
        }));
    }

    pub(crate) fn next_delivery(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse(packet)| packet.at)
    }

    pub(crate) fn take(&mut self) -> Option<Packet> {
        self.queue.pop().map(|Reverse(packet)| packet)
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille != 0 && self.rng.next_u32() % 1000 < per_mille
    }

    fn part_of(&mut self, whole: Duration) -> Duration {
        let micros = whole.as_micros() as u64;
        if micros == 0 {
            Duration::ZERO
        } else {
            Duration::from_micros(self.rng.next_u64() % micros)
        }
    }
}
