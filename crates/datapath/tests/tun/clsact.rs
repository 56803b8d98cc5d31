//! The programs of the engine `ebpf` on a kernel whose devices take them with a queueing discipline only: before Linux 6.6.

use std::io::Write;
use std::path::Path;

use datapath::Engine;
use datapath::survey::Surveyor;

use super::bed::{Bed, Namespace};
use super::ebpf::{both_ends, leave_pair, second_end, through_tun, uncarried};

fn disciplines(place: &Namespace) -> String {
    place.run("tc qdisc show dev wire")
}

#[test]
#[ignore = "needs a kernel without TCX"]
fn programs_are_taken_and_tried_and_attached() {
    let Some(bed) = Bed::new() else { return };
    let before = bed.lns.run("ip link show");
    let findings = bed.lns.enter(|| Surveyor::new().survey());
    let needed = findings.into_iter().filter(|finding| finding.needed);
    let ebpf = needed.filter(|finding| finding.engine == Engine::Ebpf);
    let results: Vec<_> = ebpf.map(|f| f.result).collect();
    let compiled = Path::new("/proc/sys/net/core/bpf_jit_enable").exists();
    let taken = match compiled {
        true => "taken by the kernel",
        false => "taken by the kernel, which interprets them: `auto` does without",
    };
    let expected = [taken, "passed", "by clsact", "a pair was made"];
    assert_eq!(results, expected.map(|what| Ok(what.to_owned())));
    assert_eq!(bed.lns.run("ip link show"), before);
}

#[test]
#[ignore = "needs a kernel without TCX"]
fn a_device_gets_its_queueing_discipline_and_loses_it_with_the_last_program() {
    let Some(bed) = Bed::new() else { return };
    let before = [&bed.lns, &bed.lac].map(disciplines);
    let ends = both_ends(&bed);
    for end in [&bed.lns, &bed.lac] {
        assert!(disciplines(end).contains("clsact"));
    }
    bed.lac.ping("10.0.0.1");
    Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 20);
    Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 1 << 20);
    let left = through_tun(&bed.lns) + through_tun(&bed.lac);
    // Before Linux 6.3 what IPv6 says of its own accord comes in through `tun`.
    assert!(left < 40, "{left} packets were left to tun");
    if bed.lac.run("uname -r").starts_with("6.1.") {
        bed.lac.ping("fe80::1%l2tp0");
        assert!(uncarried(&ends[0], "left.no_room") >= 5);
    }
    drop(ends);
    assert_eq!([&bed.lns, &bed.lac].map(disciplines), before);
}

#[test]
#[ignore = "needs a kernel without TCX"]
fn a_queueing_discipline_that_somebody_needs_stays() {
    let Some(bed) = Bed::new() else { return };
    // Theirs, and ours that they use by then.
    bed.lns.run("tc qdisc add dev wire clsact");
    let ends = both_ends(&bed);
    let filter = "tc filter add dev wire egress protocol ip u32 match u32 0 0";
    bed.lac.run(filter);
    bed.lac.ping("10.0.0.1");
    drop(ends);
    for end in [&bed.lns, &bed.lac] {
        assert!(disciplines(end).contains("clsact"));
        assert_eq!(end.run("tc filter show dev wire ingress"), "");
    }
    assert!(
        bed.lac
            .run("tc filter show dev wire egress")
            .contains("u32")
    );
}

/// Three of them have more programs than User-Mode Linux has memory for.
mod several_daemons {
    use super::*;

    #[test]
    #[ignore = "needs a kernel without TCX"]
    fn what_a_killed_process_left_is_removed_and_nothing_of_another_daemon() {
        let Some(bed) = Bed::new() else { return };
        let before = disciplines(&bed.lns);
        let ends = both_ends(&bed);
        // A process had this pair, and a program with the pair's number on the wire; here one that takes nothing.
        let near = leave_pair(&bed.lns, 7);
        let pair = bed.lns.run(&format!("ip -o link show {near}"));
        let mut program = tempfile::NamedTempFile::new().unwrap();
        writeln!(program, "1,6 0 0 0,").unwrap();
        bed.lns.run(&format!(
            "tc filter add dev wire ingress prio 65535 handle {} bpf bytecode-file {}",
            pair.split(':').next().unwrap(),
            program.path().display()
        ));
        let attached = || bed.lns.run("tc filter show dev wire ingress");
        assert!(attached().contains("bytecode"), "{}", attached());

        let second = second_end(&bed);
        assert!(!attached().contains("bytecode"), "{}", attached());
        programs_carry_a_ping(&bed);
        drop(second);
        programs_carry_a_ping(&bed);
        drop(ends);
        assert_eq!(disciplines(&bed.lns), before);
    }

    #[test]
    #[ignore = "needs a kernel without TCX"]
    fn a_queueing_discipline_goes_with_the_last_daemon() {
        let Some(bed) = Bed::new() else { return };
        let before = disciplines(&bed.lns);
        let [first, lac] = both_ends(&bed);
        let second = second_end(&bed);
        drop(first);
        let ours = bed.lns.run("tc filter show dev wire ingress");
        assert!(ours.contains("l2tp_decap"), "{ours}");
        drop(second);
        assert_eq!(disciplines(&bed.lns), before);
        drop(lac);
    }
}

/// Five packets each way are more than what IPv6 says of its own accord.
fn programs_carry_a_ping(bed: &Bed) {
    let before = through_tun(&bed.lns);
    bed.lac.ping("10.0.0.1");
    let left = through_tun(&bed.lns) - before;
    assert!(left < 10, "{left} packets were left to tun");
}
