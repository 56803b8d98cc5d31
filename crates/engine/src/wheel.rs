//! The shard's one timer wheel: an entry for each tunnel and session, whatever the number of its timers.
//!
//! Hierarchical: six levels of 64 slots, a tick of one millisecond, so that the farthest level reaches two years. Entries are nodes of intrusive
//! lists in one vector: setting an entry anew, which nearly every packet does, moves two links and allocates nothing.

use sansio::Time;
use serde::{Deserialize, Serialize};

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 6;
const NIL: u32 = u32::MAX;

/// Names an entry of a wheel; valid until it is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Entry(u32);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Node<K> {
    key: Option<K>,
    /// Ticks; `u64::MAX` when unset.
    at: u64,
    /// The list that holds the node: `level * SLOTS + slot`, or NIL.
    list: u32,
    next: u32,
    prev: u32,
}

/// Deadlines of many objects, earliest out first to the millisecond; never early.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wheel<K> {
    nodes: Vec<Node<K>>,
    free: u32,
    heads: Box<[u32]>,
    /// A bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    /// Every entry before this tick was given out.
    now: u64,
}

/// The tick at which a deadline is surely past.
const fn tick_after(at: Time) -> u64 {
    at.as_micros().div_ceil(1_000)
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel.
    pub(crate) fn new(now: Time) -> Self {
        Self {
            nodes: Vec::new(),
            free: NIL,
            heads: Box::new([NIL; SLOTS * LEVELS]),
            occupied: [0; LEVELS],
            now: now.as_millis(),
        }
    }

    /// An entry for `key`, unset.
    pub(crate) fn insert(&mut self, key: K) -> Entry {
        let node = Node {
            key: Some(key),
            at: u64::MAX,
            list: NIL,
            next: NIL,
            prev: NIL,
        };
        if self.free == NIL {
            self.nodes.push(node);
            return Entry((self.nodes.len() - 1) as u32);
        }
        let index = self.free;
        self.free = self.nodes[index as usize].next;
        self.nodes[index as usize] = node;
        Entry(index)
    }

    /// Removes an entry.
    pub(crate) fn remove(&mut self, entry: Entry) {
        self.unlink(entry.0);
        let node = &mut self.nodes[entry.0 as usize];
        node.key = None;
        node.next = self.free;
        self.free = entry.0;
    }

    /// Sets or unsets an entry's deadline.
    pub(crate) fn set(&mut self, entry: Entry, at: Option<Time>) {
        let at = at.map_or(u64::MAX, tick_after);
        if self.nodes[entry.0 as usize].at == at {
            return;
        }
        self.unlink(entry.0);
        self.nodes[entry.0 as usize].at = at;
        if at != u64::MAX {
            self.link(entry.0);
        }
    }

    /// The next time at which [`Wheel::pop`] may have something; it may have nothing yet when the deadline is far off.
    pub(crate) fn next(&self) -> Option<Time> {
        (0..LEVELS)
            .filter_map(|level| self.next_in(level))
            .map(|(tick, _)| Time::from_millis(tick))
            .min()
    }

    /// Takes out the key of one entry that is due; the entry stays, unset.
    pub(crate) fn pop(&mut self, now: Time) -> Option<K> {
        let now = now.as_millis();
        loop {
            let (tick, list) = (0..LEVELS).filter_map(|level| self.next_in(level)).min()?;
            if tick > now {
                self.now = self.now.max(now);
                return None;
            }
            self.now = self.now.max(tick);
            let index = self.heads[list as usize];
            self.unlink(index);
            if self.nodes[index as usize].at <= self.now {
                self.nodes[index as usize].at = u64::MAX;
                return self.nodes[index as usize].key;
            }
            self.link(index);
        }
    }

    /// The earliest occupied slot of a level: the tick at which it comes up, and its list.
    fn next_in(&self, level: usize) -> Option<(u64, u32)> {
        if self.occupied[level] == 0 {
            return None;
        }
        let shift = BITS * level as u32;
        let position = self.now >> shift;
        let turned = self.occupied[level].rotate_right(position as u32 % SLOTS as u32);
        let ahead = u64::from(turned.trailing_zeros());
        let slot = (position + ahead) as usize % SLOTS;
        Some(((position + ahead) << shift, (level * SLOTS + slot) as u32))
    }

    /// Puts a node into the finest level whose turn reaches its deadline.
    fn link(&mut self, index: u32) {
        let at = self.nodes[index as usize].at.max(self.now);
        let reach = |level: usize| {
            (at >> (BITS * level as u32)) - (self.now >> (BITS * level as u32)) < SLOTS as u64
        };
        let level = (0..LEVELS)
            .find(|&level| reach(level))
            .unwrap_or(LEVELS - 1);
        let shift = BITS * level as u32;
        let farthest = (self.now >> shift) + SLOTS as u64 - 1;
        let slot = (at >> shift).min(farthest) as usize % SLOTS;
        let list = level * SLOTS + slot;
        let head = self.heads[list];
        let node = &mut self.nodes[index as usize];
        (node.list, node.prev, node.next) = (list as u32, NIL, head);
        if head != NIL {
            self.nodes[head as usize].prev = index;
        }
        self.heads[list] = index;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let Node {
            list, next, prev, ..
        } = self.nodes[index as usize];
        if list == NIL {
            return;
        }
        if next != NIL {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NIL {
            self.nodes[prev as usize].next = next;
        } else {
            self.heads[list as usize] = next;
            if next == NIL {
                self.occupied[list as usize / SLOTS] &= !(1 << (list as usize % SLOTS));
            }
        }
        self.nodes[index as usize].list = NIL;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_fires_early_and_everything_fires_by_the_next_millisecond() {
        let mut wheel = Wheel::new(Time::from_millis(12_345));
        let e = wheel.insert('a');
        wheel.set(e, Some(Time::from_micros(20_000_001)));
        assert_eq!(wheel.pop(Time::from_millis(20_000)), None);
        assert_eq!(wheel.pop(Time::from_millis(20_001)), Some('a'));
        assert_eq!(wheel.pop(Time::MAX), None);
    }

    #[test]
    fn a_removed_entry_is_silent_and_its_place_is_used_again() {
        let mut wheel = Wheel::new(Time::ZERO);
        let a = wheel.insert('a');
        wheel.set(a, Some(Time::from_secs(1)));
        wheel.remove(a);
        let b = wheel.insert('b');
        assert_eq!(wheel.next(), None);
        assert_eq!(a, b);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let mut wheel = Wheel::new(Time::from_secs(100));
        let a = wheel.insert('a');
        wheel.set(a, Some(Time::from_secs(1)));
        assert_eq!(wheel.pop(Time::from_secs(100)), Some('a'));
    }

    proptest! {
        /// Against a sorted list: the same keys are due at the same steps, and `next` never lies later than the truth.
        #[test]
        fn it_agrees_with_a_sorted_list(
            ops in prop::collection::vec((0usize..8, prop::option::of(0u64..1 << 40), 0u64..1 << 22), 1..200),
        ) {
            let mut now = Time::from_millis(77);
            let mut wheel = Wheel::new(now);
            let entries: Vec<_> = (0..8).map(|k| wheel.insert(k)).collect();
            let mut truth: [Option<Time>; 8] = [None; 8];
            for (k, at, step) in ops {
                let at = at.map(Time::from_micros);
                wheel.set(entries[k], at);
                truth[k] = at.map(|t| Time::from_millis(tick_after(t)));
                let earliest = truth.iter().flatten().min().copied();
                prop_assert!(wheel.next() <= earliest.map(|t| t.max(now)) || earliest.is_none());
                prop_assert_eq!(wheel.next().is_none(), earliest.is_none());
                now = Time::from_millis(now.as_millis() + step);
                let mut due: Vec<usize> = std::iter::from_fn(|| wheel.pop(now)).collect();
                due.sort_unstable();
                let expected: Vec<usize> = (0..8).filter(|&k| truth[k].is_some_and(|t| t <= now)).collect();
                for &k in &expected {
                    truth[k] = None;
                }
                prop_assert_eq!(due, expected);
            }
        }
    }
}
