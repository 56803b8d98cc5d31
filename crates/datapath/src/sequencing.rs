//! Sequence numbers of data messages (RFC 2661 section 5.4): which of ours have one, and what the peer's tell.
//!
//! A [`Sequencer`] is the state of one session, the same for every engine. What the peer sends is asked about by its number
//! ([`Sequencer::receive`]); what came too early is kept ([`Sequencer::hold`]) until what is missing has come or its time is over
//! ([`Sequencer::pop`], [`Sequencer::pop_overdue`]). Nothing that comes in order is copied, and time is only asked of what is held.

use std::collections::VecDeque;
use std::time::Duration;

use sansio::Time;
use serde::{Deserialize, Serialize};

/// Half of the numbers: from here on, a distance is one back and not ahead.
const HALF: u16 = 0x8000;
/// A session holds no more packets than this, nor more than [`HELD_OCTETS`]: beyond, what is missing is given up.
const HELD_PACKETS: usize = 256;
/// Octets of 256 packets as large as Ethernet has them.
const HELD_OCTETS: usize = HELD_PACKETS * 1500;
/// So many messages that all come too late, each numbered one after the other: not a late burst, but a peer that counts anew.
const COUNTS_ANEW: u16 = 8;

/// Whether a session's data messages have sequence numbers, and who says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Sequencing {
    /// All of them, both ways (Sequencing Required): what comes without is dropped.
    Required,
    /// Ours do while the peer's do: a LAC.
    AsPeer,
    /// Ours do as we like: an LNS.
    Own(bool),
}

/// What became of the numbers of a session. All but the flags count since its creation.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct SequencingStats {
    /// What we send has numbers now.
    pub tx_sequenced: bool,
    /// The peer's last message had one.
    pub rx_sequenced: bool,
    /// Messages that came after a later one and were put in their place.
    pub rx_out_of_order: u64,
    /// Numbers that were skipped: not there in time, if at all.
    pub rx_lost: u64,
    /// Messages dropped because they came too late, or twice.
    pub rx_discarded: u64,
    /// Messages dropped because they had no number where one is required.
    pub rx_unnumbered: u64,
}

impl SequencingStats {
    /// What was counted after `before`; whether numbers are in use is as it is now.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            rx_out_of_order: self.rx_out_of_order.saturating_sub(before.rx_out_of_order),
            rx_lost: self.rx_lost.saturating_sub(before.rx_lost),
            rx_discarded: self.rx_discarded.saturating_sub(before.rx_discarded),
            rx_unnumbered: self.rx_unnumbered.saturating_sub(before.rx_unnumbered),
            ..*self
        }
    }
}

/// What to do with a message that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is its turn.
    Deliver,
    /// Earlier ones are missing: [`Sequencer::hold`] it under this number.
    Hold(u16),
    /// It is counted, and of no use.
    Drop,
}

/// One session's sequence numbers, both ways. `T` is what is held of a message.
#[derive(Debug)]
pub struct Sequencer<T> {
    sequencing: Sequencing,
    /// How long a message waits for those before it; zero: not at all.
    reorder_timeout: Duration,
    /// Ns of our next message that has one. It goes on from there whenever numbers were off meanwhile.
    next_ns: u16,
    /// Ns after the last message delivered; none before the first, which may be any.
    expected: Option<u16>,
    /// The last messages came too late, and would be this many of a sequence that goes on with this number.
    anew: (u16, u16),
    /// What came too early, in order.
    held: VecDeque<Held<T>>,
    octets: usize,
    stats: SequencingStats,
}

#[derive(Debug)]
struct Held<T> {
    ns: u16,
    until: Time,
    octets: usize,
    item: T,
}

impl<T> Sequencer<T> {
    /// A session's state at its beginning. With a `reorder_timeout` of zero nothing is held: what is ahead of a gap is delivered at once
    /// and what comes for the gap later is dropped.
    pub fn new(sequencing: Sequencing, reorder_timeout: Duration) -> Self {
        Self {
            sequencing,
            reorder_timeout,
            next_ns: 0,
            expected: None,
            anew: (0, 0),
            held: VecDeque::new(),
            octets: 0,
            stats: SequencingStats {
                tx_sequenced: matches!(sequencing, Sequencing::Required | Sequencing::Own(true)),
                ..SequencingStats::default()
            },
        }
    }

    /// Says anew which messages have numbers. As a peer does, ours do as they did until one of its comes.
    pub fn set(&mut self, sequencing: Sequencing) {
        self.sequencing = sequencing;
        self.stats.tx_sequenced = match sequencing {
            Sequencing::Required => true,
            Sequencing::Own(own) => own,
            Sequencing::AsPeer => self.stats.tx_sequenced,
        };
    }

    /// Whether what we send has numbers now.
    pub fn sends(&self) -> bool {
        self.stats.tx_sequenced
    }

    /// The Ns of the message that we send next, if it has one.
    pub fn next_ns(&mut self) -> Option<u16> {
        self.stats.tx_sequenced.then(|| {
            let ns = self.next_ns;
            self.next_ns = ns.wrapping_add(1);
            ns
        })
    }

    /// Takes note of a message of the peer's with this Ns, or with none, and says what to do with it.
    pub fn receive(&mut self, ns: Option<u16>) -> Verdict {
        self.stats.rx_sequenced = ns.is_some();
        if self.sequencing == Sequencing::AsPeer {
            self.stats.tx_sequenced = ns.is_some();
        }
        let Some(ns) = ns else {
            if self.sequencing == Sequencing::Required {
                self.stats.rx_unnumbered += 1;
                return Verdict::Drop;
            }
            return Verdict::Deliver;
        };
        match self.expected.map(|expected| ns.wrapping_sub(expected)) {
            Some(HALF..) => return self.late(ns),
            None | Some(0) => self.stats.rx_out_of_order += u64::from(!self.held.is_empty()),
            Some(gap) if self.reorder_timeout.is_zero() => self.stats.rx_lost += u64::from(gap),
            Some(_) if self.held.iter().any(|held| held.ns == ns) => return self.discard(),
            Some(_) => return Verdict::Hold(ns),
        }
        self.delivered(ns);
        Verdict::Deliver
    }

    fn late(&mut self, ns: u16) -> Verdict {
        let (next, so_far) = self.anew;
        let so_far = if ns == next { so_far + 1 } else { 1 };
        self.anew = (ns.wrapping_add(1), so_far);
        if so_far < COUNTS_ANEW {
            return self.discard();
        }
        // What is held was of the old count.
        self.stats.rx_discarded += self.held.len() as u64;
        self.held.clear();
        self.octets = 0;
        self.delivered(ns);
        Verdict::Deliver
    }

    fn discard(&mut self) -> Verdict {
        self.stats.rx_discarded += 1;
        Verdict::Drop
    }

    fn delivered(&mut self, ns: u16) {
        self.expected = Some(ns.wrapping_add(1));
        self.anew = (0, 0);
    }

    /// Keeps a message of so many octets that is not to be delivered yet, until the time returned at the latest. Ask [`Sequencer::pop`]
    /// then: too much may be held.
    pub fn hold(&mut self, ns: u16, item: T, octets: usize, now: Time) -> Time {
        let expected = self.expected.unwrap_or_default();
        let distance = |ns: u16| ns.wrapping_sub(expected);
        let place = self
            .held
            .partition_point(|held| distance(held.ns) < distance(ns));
        self.stats.rx_out_of_order += u64::from(place < self.held.len());
        let until = now + self.reorder_timeout;
        let held = Held {
            ns,
            until,
            octets,
            item,
        };
        self.held.insert(place, held);
        self.octets += octets;
        self.anew = (0, 0);
        until
    }

    /// Whether anything is held.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes out what is held and whose turn has come, or whose turn has to come because too much is held. Empty it after each message.
    pub fn pop(&mut self) -> Option<T> {
        let first = self.held.front()?;
        let too_much = self.held.len() > HELD_PACKETS || self.octets > HELD_OCTETS;
        if too_much || Some(first.ns) == self.expected {
            return self.release();
        }
        None
    }

    /// The same for what has been held for `reorder_timeout`, with all that comes before it. Empty it at [`Sequencer::next_timeout`].
    pub fn pop_overdue(&mut self, now: Time) -> Option<T> {
        if self.next_timeout().is_some_and(|at| at <= now) {
            return self.release();
        }
        self.pop()
    }

    /// When something will have been held for long enough.
    pub fn next_timeout(&self) -> Option<Time> {
        self.held.iter().map(|held| held.until).min()
    }

    /// Delivers the first of what is held; what is missing before it is lost.
    fn release(&mut self) -> Option<T> {
        let held = self.held.pop_front()?;
        let gap = held.ns.wrapping_sub(self.expected.unwrap_or(held.ns));
        self.stats.rx_lost += u64::from(gap);
        self.octets -= held.octets;
        self.delivered(held.ns);
        Some(held.item)
    }

    /// What was counted so far.
    pub fn stats(&self) -> SequencingStats {
        self.stats
    }
}
