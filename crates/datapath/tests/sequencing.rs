//! Sequence numbers: who sends them, and what comes out whatever the network does to them.
#![allow(clippy::unwrap_used, reason = "tests only")]

use std::time::Duration;

use datapath::{Sequencer, Sequencing, SequencingStats, Verdict};
use proptest::prelude::*;
use sansio::Time;

const TIMEOUT: Duration = Duration::from_millis(100);
/// The sequencer promises to hold no more packets than this, nor more than that many octets.
const HELD_PACKETS: usize = 256;
const HELD_OCTETS: usize = 384_000;

/// Feeds a sequencer at a time, and keeps what comes out.
struct Receiver {
    sequencer: Sequencer<(u16, Time)>,
    now: Time,
    delivered: Vec<u16>,
    longest: Duration,
}

impl Receiver {
    fn new(sequencing: Sequencing, reorder_timeout: Duration) -> Self {
        Self {
            sequencer: Sequencer::new(sequencing, reorder_timeout),
            now: Time::from_secs(1),
            delivered: Vec::new(),
            longest: Duration::ZERO,
        }
    }

    fn receive(&mut self, ns: u16) {
        self.receive_octets(ns, 100);
    }

    fn receive_octets(&mut self, ns: u16, octets: usize) {
        match self.sequencer.receive(Some(ns)) {
            Verdict::Deliver => self.delivered.push(ns),
            Verdict::Hold(ns) => {
                let item = (ns, self.now);
                self.sequencer.hold(ns, item, octets, self.now);
            }
            Verdict::Drop => {}
        }
        while let Some((ns, since)) = self.sequencer.pop() {
            self.take(ns, since);
        }
    }

    /// Lets time pass, with the timeouts that are due on the way.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.sequencer.next_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            let mut any = false;
            while let Some((ns, since)) = self.sequencer.pop_overdue(self.now) {
                any = true;
                self.take(ns, since);
            }
            assert!(any, "a timeout without effect");
        }
        self.now = end;
    }

    fn take(&mut self, ns: u16, since: Time) {
        self.delivered.push(ns);
        self.longest = self.longest.max(self.now - since);
    }

    fn stats(&self) -> SequencingStats {
        self.sequencer.stats()
    }
}

#[test]
fn our_numbers_begin_at_0_count_by_one_and_go_on_where_they_stopped() {
    let mut lns = Sequencer::<()>::new(Sequencing::Own(false), TIMEOUT);
    assert_eq!(lns.next_ns(), None);
    lns.set(Sequencing::Own(true));
    assert_eq!([lns.next_ns(), lns.next_ns()], [Some(0), Some(1)]);
    lns.set(Sequencing::Own(false));
    assert_eq!([lns.next_ns(), lns.next_ns()], [None, None]);
    lns.set(Sequencing::Own(true));
    assert_eq!(lns.next_ns(), Some(2));
    for ns in 3..=u16::MAX {
        assert_eq!(lns.next_ns(), Some(ns));
    }
    assert_eq!(lns.next_ns(), Some(0), "modulo 65536");
}

#[test]
fn a_lac_does_as_the_lns_does_and_an_lns_as_it_likes() {
    let mut lac = Sequencer::<()>::new(Sequencing::AsPeer, TIMEOUT);
    assert_eq!(lac.next_ns(), None);
    lac.receive(Some(7));
    assert_eq!(lac.next_ns(), Some(0));
    lac.receive(None);
    assert_eq!(lac.next_ns(), None);
    lac.receive(Some(8));
    assert_eq!(lac.next_ns(), Some(1));

    let mut lns = Sequencer::<()>::new(Sequencing::Own(true), TIMEOUT);
    assert_eq!(lns.receive(None), Verdict::Deliver);
    assert_eq!(lns.next_ns(), Some(0));
    lns.set(Sequencing::Own(false));
    lns.receive(Some(0));
    assert_eq!(lns.next_ns(), None);
}

#[test]
fn where_numbers_are_required_we_send_them_always_and_take_nothing_without() {
    let mut required = Sequencer::<()>::new(Sequencing::Own(false), TIMEOUT);
    assert_eq!(required.next_ns(), None);
    required.set(Sequencing::Required);
    assert_eq!(required.next_ns(), Some(0));
    assert_eq!(required.receive(None), Verdict::Drop);
    assert_eq!(required.receive(Some(0)), Verdict::Deliver);
    assert_eq!(required.next_ns(), Some(1));
    let stats = required.stats();
    assert_eq!((stats.rx_unnumbered, stats.rx_discarded), (1, 0));
}

#[test]
fn the_first_number_may_be_any_and_65535_is_followed_by_0() {
    let mut receiver = Receiver::new(Sequencing::AsPeer, TIMEOUT);
    for ns in [65_533, 65_535, 0, 65_534, 1, 3, 2] {
        receiver.receive(ns);
    }
    assert_eq!(receiver.delivered, [65_533, 65_534, 65_535, 0, 1, 2, 3]);
    let stats = receiver.stats();
    assert_eq!((stats.rx_out_of_order, stats.rx_lost), (2, 0));
}

#[test]
fn without_reordering_what_is_late_is_dropped_and_what_is_ahead_is_not() {
    let mut receiver = Receiver::new(Sequencing::AsPeer, Duration::ZERO);
    for ns in [0, 3, 2, 3, 4] {
        receiver.receive(ns);
    }
    assert_eq!(receiver.delivered, [0, 3, 4]);
    let stats = receiver.stats();
    assert_eq!((stats.rx_lost, stats.rx_discarded), (2, 2));
    assert!(!receiver.sequencer.is_holding());
}

#[test]
fn what_is_missing_is_given_up_when_the_next_has_waited_long_enough() {
    let mut receiver = Receiver::new(Sequencing::AsPeer, TIMEOUT);
    receiver.receive(0);
    receiver.receive(2);
    receiver.pass(TIMEOUT / 2);
    receiver.receive(4);
    receiver.pass(TIMEOUT / 2);
    assert_eq!(receiver.delivered, [0, 2], "4 has half of its time left");
    receiver.receive(1);
    assert_eq!(receiver.delivered, [0, 2], "too late");
    receiver.pass(TIMEOUT / 2);
    assert_eq!(receiver.delivered, [0, 2, 4]);
    let stats = receiver.stats();
    let counts = (stats.rx_lost, stats.rx_discarded, stats.rx_out_of_order);
    assert_eq!(counts, (2, 1, 0));
}

#[test]
fn no_more_is_held_than_the_bound_in_packets_and_octets() {
    for (octets, bound) in [(1, HELD_PACKETS), (15_000, HELD_OCTETS / 15_000)] {
        let mut receiver = Receiver::new(Sequencing::AsPeer, TIMEOUT);
        receiver.receive(0);
        // Every second one is missing, so that nothing goes on by itself.
        for ns in (2..=2 * bound as u16).step_by(2) {
            receiver.receive_octets(ns, octets);
        }
        assert_eq!(receiver.delivered, [0], "all are held");
        receiver.receive_octets(2 * bound as u16 + 2, octets);
        assert_eq!(receiver.delivered, [0, 2], "the first made room");
    }
}

#[test]
fn a_peer_that_counts_anew_is_heard_again() {
    for timeout in [Duration::ZERO, TIMEOUT] {
        let mut receiver = Receiver::new(Sequencing::AsPeer, timeout);
        for ns in 0..1000 {
            receiver.receive(ns);
        }
        receiver.delivered.clear();
        for ns in 0..20 {
            receiver.receive(ns);
        }
        assert_eq!(receiver.delivered, (7..20).collect::<Vec<_>>());
    }
}

/// What a network makes of messages numbered from `first`: each is lost, comes or comes twice, up to seven places too late. That is less
/// than what looks like a peer that counts anew.
fn arrivals() -> impl Strategy<Value = (u16, Vec<u16>)> {
    let fate = (0..4_u8, 0..8_usize, 0..8_usize);
    (any::<u16>(), proptest::collection::vec(fate, 1..400)).prop_map(|(first, fates)| {
        let mut arrivals = Vec::new();
        for (index, (copies, delay, other)) in fates.into_iter().enumerate() {
            let ns = first.wrapping_add(index as u16);
            // The first always comes first: it says where the count begins.
            let delays: &[usize] = match copies {
                _ if index == 0 => &[0],
                0 => &[],
                3 => &[delay, other],
                _ => &[delay],
            };
            arrivals.extend(delays.iter().map(|delay| (index + delay, ns)));
        }
        arrivals[1..].sort_by_key(|&(at, _)| at);
        (first, arrivals.into_iter().map(|(_, ns)| ns).collect())
    })
}

proptest! {
    #[test]
    fn whatever_the_network_does_what_comes_out_is_in_order_once_and_in_time(
        (first, arrivals) in arrivals(),
        timeout in prop_oneof![Just(0), 1..50_u64],
        every in 0..10_u64,
    ) {
        let timeout = Duration::from_millis(timeout);
        let mut receiver = Receiver::new(Sequencing::AsPeer, timeout);
        for &ns in &arrivals {
            receiver.receive(ns);
            receiver.pass(Duration::from_millis(every));
        }
        receiver.pass(timeout);

        prop_assert!(!receiver.sequencer.is_holding());
        prop_assert!(receiver.longest <= timeout);
        let places: Vec<u16> = receiver.delivered.iter().map(|ns| ns.wrapping_sub(first)).collect();
        prop_assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        let stats = receiver.stats();
        let dropped = arrivals.len() - places.len();
        prop_assert_eq!(stats.rx_discarded, dropped as u64);
        let skipped = usize::from(*places.last().unwrap()) + 1 - places.len();
        prop_assert_eq!(stats.rx_lost, skipped as u64);
    }

    #[test]
    fn with_time_enough_all_that_comes_comes_out((first, arrivals) in arrivals()) {
        let mut receiver = Receiver::new(Sequencing::AsPeer, TIMEOUT);
        for &ns in &arrivals {
            receiver.receive(ns);
        }
        receiver.pass(TIMEOUT);
        let mut all: Vec<u16> = arrivals.iter().map(|ns| ns.wrapping_sub(first)).collect();
        all.sort_unstable();
        all.dedup();
        let places: Vec<u16> = receiver.delivered.iter().map(|ns| ns.wrapping_sub(first)).collect();
        prop_assert_eq!(places, all);
    }

    /// Numbers of no order at all, which include a peer that counts anew: the bounds hold still.
    #[test]
    fn nonsense_is_bounded_too(numbers in proptest::collection::vec(any::<u16>(), 0..2_000), octets in 1..3_000_usize) {
        let mut receiver = Receiver::new(Sequencing::AsPeer, TIMEOUT);
        for (count, ns) in numbers.into_iter().enumerate() {
            receiver.receive_octets(ns, octets);
            let stats = receiver.stats();
            let held = count + 1 - receiver.delivered.len() - stats.rx_discarded as usize;
            prop_assert!(held <= HELD_PACKETS && held * octets <= HELD_OCTETS);
        }
        receiver.pass(TIMEOUT);
        prop_assert!(!receiver.sequencer.is_holding());
    }
}
