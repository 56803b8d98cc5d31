//! What the engine asks of the heap while packets go through it.

use datapath::Choice;
use dhat::{HeapStats, Profiler};
use nix::sys::socket::{setsockopt, sockopt};

use super::bed::{Bed, Udp, both_ends, dual_stack};

/// Packets from the one end to the other, and back.
const PACKETS: usize = 1000;
/// The octets of each.
const OCTETS: usize = 1000;

/// Sends packets in trains, each of which is there before the next one leaves.
fn exchange(ends: [&Udp; 2], train: usize) {
    let sent = vec![7; OCTETS * train];
    let mut received = [0; OCTETS + 1];
    for [from, to] in [ends, [ends[1], ends[0]]] {
        for _ in 0..PACKETS / train {
            from.send(&sent).unwrap();
            for _ in 0..train {
                assert_eq!(to.recv(&mut received).unwrap(), OCTETS);
            }
        }
    }
}

#[test]
fn packets_take_nothing_from_the_heap() {
    for (no_checksum, train) in [(false, 1), (true, 1), (false, 20), (true, 20)] {
        let Some(bed) = Bed::new() else { return };
        let change = |spec: &mut datapath::SessionSpec| spec.outer.no_checksum = no_checksum;
        let ends = both_ends(&bed, Choice::Tun, dual_stack(), change);
        let hosts = [(&bed.lns, "10.0.0.1:5000"), (&bed.lac, "10.0.0.2:5000")];
        let [lns, lac] = hosts.map(|(place, address)| place.udp(address));
        lns.connect("10.0.0.2:5000").unwrap();
        lac.connect("10.0.0.1:5000").unwrap();
        for host in [&lns, &lac] {
            setsockopt(&**host, sockopt::UdpGsoSegment, &(OCTETS as i32)).unwrap();
        }
        // What is kept for later is asked for once.
        exchange([&lns, &lac], train);
        let profiler = Profiler::builder().testing().build();
        exchange([&lns, &lac], train);
        let blocks = HeapStats::get().total_blocks;
        drop((profiler, ends));
        assert!(
            blocks < 10,
            "{blocks} blocks, {no_checksum}, trains of {train}"
        );
    }
}
