//! The engine `ebpf`: what its programs carry, and what they leave to `tun`.

use datapath::{Choice, Device, Engine, Event, Handle, SessionSpec};

use super::bed::{Bed, End, dual_stack, session};
use super::{LAC, LNS};

/// A session on shared devices that programs are to carry, from one end.
fn carried(number: u16, lns: bool) -> SessionSpec {
    let (local, remote) = if lns { (LNS, LAC) } else { (LAC, LNS) };
    let mut spec = session(number, lns, local, remote, Device::Shared);
    spec.choice = Choice::Ebpf;
    spec.outer.no_checksum = true;
    spec
}

/// Session 1 between two ends, carried by programs at both.
fn both_ends(bed: &Bed) -> [End; 2] {
    let mut ends = [(&bed.lns, LNS), (&bed.lac, LAC)]
        .map(|(place, address)| End::start_with_ebpf(place, address));
    let sides = dual_stack();
    for ((end, lns), side) in ends.iter_mut().zip([true, false]).zip(sides) {
        end.create(1, carried(1, lns)).unwrap();
        assert_eq!(end.configure(1, side).unwrap(), "l2tp0");
        let handle = Handle(1);
        let engine = Engine::Ebpf;
        assert_eq!(end.any_event(), Event::Moved { handle, engine });
    }
    ends
}

#[test]
fn programs_carry_a_session_both_ways() {
    let Some(bed) = Bed::new() else { return };
    let before = [&bed.lns, &bed.lac].map(|end| end.configuration());
    let [mut lns, mut lac] = both_ends(&bed);
    bed.lac.ping("10.0.0.1");
    bed.lns.ping("10.0.0.2");
    bed.lac.ping("fe80::1%l2tp0");
    Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 4 << 20);
    Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 4 << 20);
    for stats in [lns.stats(1), lac.stats(1)] {
        assert!(
            stats.rx_bytes > 4 << 20 && stats.tx_bytes > 4 << 20,
            "{stats:?}"
        );
    }
    lns.remove(1).unwrap();
    lac.remove(1).unwrap();
    drop((lns, lac));
    assert_eq!([&bed.lns, &bed.lac].map(|end| end.configuration()), before);
}
