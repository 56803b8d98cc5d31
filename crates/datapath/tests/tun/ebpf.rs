//! The engine `ebpf`: what its programs carry, and what they leave to `tun`.

use std::fs;
use std::process::Command;

use datapath::{
    Choice, Device, Encapsulation, Engine, Event, Handle, Request, Sequencing, SessionSpec, Share,
    UNCARRIED,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::bed::{Bed, End, Namespace, dual_stack, ipv4_udp, network, own, session};
use super::{LAC, LCP, LNS, packet_to_lns, to_lns};

/// A session on shared devices that programs are to carry, from one end.
pub(crate) fn carried(number: u16, lns: bool) -> SessionSpec {
    let (local, remote) = if lns { (LNS, LAC) } else { (LAC, LNS) };
    let mut spec = session(number, lns, local, remote, Device::Shared);
    spec.choice = Choice::Ebpf;
    spec.outer.no_checksum = true;
    spec
}

/// Session 1 between two ends, carried by programs at both.
pub(crate) fn both_ends(bed: &Bed) -> [End; 2] {
    both_ends_with(bed, |_| {})
}

/// The same of sessions that are changed.
fn both_ends_with(bed: &Bed, change: impl Fn(&mut SessionSpec)) -> [End; 2] {
    let mut ends = [(&bed.lns, LNS), (&bed.lac, LAC)]
        .map(|(place, address)| End::start_with_ebpf(place, address));
    let sides = dual_stack();
    for ((end, lns), side) in ends.iter_mut().zip([true, false]).zip(sides) {
        let mut spec = carried(1, lns);
        change(&mut spec);
        end.create(1, spec).unwrap();
        assert_eq!(end.configure(1, side).unwrap(), "l2tp0");
        assert_eq!(end.any_event(), carried_by(Engine::Ebpf));
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
    // The kernel looks for routers and listeners on its own.
    let left = through_tun(&bed.lns) + through_tun(&bed.lac);
    assert!(left < 10, "{left} packets were left to tun");
    lns.remove(1).unwrap();
    lac.remove(1).unwrap();
    drop((lns, lac));
    assert_eq!([&bed.lns, &bed.lac].map(|end| end.configuration()), before);
}

#[test]
fn sessions_with_devices_of_their_own_are_carried_too_whatever_they_have_inside() {
    let Some(bed) = Bed::new() else { return };
    for end in [&bed.lns, &bed.lac] {
        end.run("ethtool -K wire tso off tx-udp_tnl-segmentation off gso on gro on");
    }
    let before = [&bed.lns, &bed.lac].map(|end| end.configuration());
    let mut lns = End::start_with_ebpf(&bed.lns, LNS);
    let mut lac = End::start_with_ebpf(&bed.lac, LAC);
    for number in [1, 2] {
        let [mut ours, mut theirs] = [true, false].map(|is_lns| carried(number, is_lns));
        theirs.device = own();
        if number == 2 {
            ours.device = own();
        }
        let [ours_inside, theirs_inside] = dual_stack();
        for (end, spec, inside) in [
            (&mut lns, ours, ours_inside),
            (&mut lac, theirs, theirs_inside),
        ] {
            end.create(number.into(), spec).unwrap();
            end.configure(number.into(), inside).unwrap();
            let handle = Handle(number.into());
            let engine = Engine::Ebpf;
            // Where only one end is ready, its kernel's first packets are frames to the other.
            while end.any_event() != (Event::Moved { handle, engine }) {}
        }
        // Both sessions have the same addresses inside: the second takes the place of the first for the host.
        let device = if number == 1 { "l2tp0" } else { "ppp0" };
        bed.lns.run(&format!(
            "ip route replace 10.0.0.2 dev {device} src 10.0.0.1"
        ));
        bed.lac.run(&format!(
            "ip route replace 10.0.0.1 dev ppp{} src 10.0.0.2",
            number - 1
        ));
        let before = [&mut lns, &mut lac].map(|end| end.stats(number.into()).rx_packets);
        bed.lac.ping("10.0.0.1");
        Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 20);
        Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 1 << 20);
        let after = [&mut lns, &mut lac].map(|end| end.stats(number.into()).rx_packets);
        assert!(
            before[0] + 500 < after[0] && before[1] + 500 < after[1],
            "{before:?} {after:?}"
        );
        let left = through(&bed.lns, device) + through(&bed.lac, &format!("ppp{}", number - 1));
        assert!(left < 10, "{left} packets were left to tun");
    }
    lac.remove(1).unwrap();
    bed.lac.ping("10.0.0.1");
    lac.remove(2).unwrap();
    drop((lns, lac));
    assert_eq!([&bed.lns, &bed.lac].map(|end| end.configuration()), before);
}

pub(crate) fn through_tun(place: &Namespace) -> u64 {
    through(place, "l2tp0")
}

/// How many packets `tun` gave and took on a device: what programs carry is not counted there.
fn through(place: &Namespace, device: &str) -> u64 {
    let said = place.run(&format!("ip -s -j link show {device}"));
    let counts = said.split("\"packets\":").skip(1);
    let number = |text: &str| {
        let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()
    };
    counts.filter_map(number).sum::<u64>()
}

#[test]
fn what_programs_do_not_know_goes_on_to_tun() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_ebpf(&bed.lns, LNS);
    let mut spec = carried(1, true);
    spec.outer.no_checksum = false;
    lns.create(1, spec).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    assert_eq!(lns.any_event(), carried_by(Engine::Ebpf));
    let lac = bed.lac.udp(LAC);
    lac.send_to(&to_lns(1, LCP), LNS).unwrap();
    assert!(matches!(lns.any_event(), Event::Frame { frame, .. } if frame == LCP));

    let inner = bed.lns.udp("10.0.0.1:5000");
    let packet = ipv4_udp("10.0.0.2", "10.0.0.1:5000".parse().unwrap(), b"packet");
    let spoofed = ipv4_udp("10.0.0.9", "10.0.0.1:5000".parse().unwrap(), b"spoofed");
    lac.send_to(&packet_to_lns(1, &spoofed), LNS).unwrap();
    let plain = packet_to_lns(1, &packet);
    let numbered = [
        &[8, 2, 0, 100, 0, 101, 0, 0, 0, 0, 0xff, 3, 0, 0x21],
        &packet[..],
    ]
    .concat();
    let mut octets = [0; 100];
    for message in [&plain, &numbered, &plain] {
        lac.send_to(message, LNS).unwrap();
        assert_eq!(inner.recv(&mut octets).unwrap(), 6);
        // What has a number is answered with numbers, which `tun` alone makes.
        if *message == numbered {
            while lns.any_event() != carried_by(Engine::Tun) {}
        }
    }
    lac.send_to(&to_lns(1, LCP), LNS).unwrap();
    while !matches!(lns.any_event(), Event::Frame { .. }) {}
    let stats = lns.stats(1);
    assert_eq!((stats.rx_packets, stats.rx_errors), (3, 1));
    // Who carried them, wherever the session is.
    let (programs, rest) = (stats.by_programs, stats.by_user_space());
    assert_eq!((programs.rx_packets, rest.rx_packets), (1, 2), "{stats:?}");
    assert_eq!((programs.rx_errors, rest.rx_errors), (0, 1));
    assert_eq!(uncarried(&lns, "left.spoofed_source"), 1);
}

/// How many packets programs did not carry for this reason.
pub(crate) fn uncarried(end: &End, reason: &str) -> u64 {
    let counts = end.engines().uncarried().unwrap().counts();
    let mut counts = UNCARRIED.into_iter().zip(counts);
    counts.find(|(name, _)| *name == reason).unwrap().1
}

#[test]
fn what_is_not_carried_for_where_it_goes_or_how_it_comes_is_counted() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_ebpf(&bed.lns, LNS);
    lns.create(1, carried(1, true)).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    assert_eq!(lns.any_event(), carried_by(Engine::Ebpf));
    let host = bed.lns.udp("10.0.0.1:5000");
    bed.lns.run("ip route add prohibit 10.9.0.2/32");
    host.send_to(b"packet", "10.0.0.2:5000").unwrap();
    assert_eq!(uncarried(&lns, "left.no_path"), 1);

    // Two messages of which the kernel hears that they are segments of one.
    let messages = ["longer", "short"].map(|payload| {
        let to = "10.0.0.1:5000".parse().unwrap();
        packet_to_lns(1, &ipv4_udp("10.0.0.2", to, payload.as_bytes()))
    });
    let lac = bed.lac.udp(LAC);
    let size = messages[0].len().try_into().unwrap();
    setsockopt(&*lac, sockopt::UdpGsoSegment, &size).unwrap();
    lac.send_to(&messages.concat(), LNS).unwrap();
    let mut octets = [0; 8];
    for len in [6, 5] {
        assert_eq!(host.recv(&mut octets).unwrap(), len);
    }
    assert_eq!(uncarried(&lns, "left.merged"), 1);

    // The helper is nobody's way to anywhere.
    let near = &pairs(&bed.lns)[0];
    bed.lns.run(&format!("ip addr add 10.66.0.1/24 dev {near}"));
    bed.lns.run_in_vain("ping -c 1 -W 0.01 10.66.0.2");
    assert!(uncarried(&lns, "dropped.stranger") > 0);
}

/// The event of session 1.
fn carried_by(engine: Engine) -> Event {
    let handle = Handle(1);
    Event::Moved { handle, engine }
}

#[test]
fn checksums_are_right_and_streams_are_whole() {
    let Some(bed) = Bed::new() else { return };
    let mut ends = both_ends_with(&bed, |spec| spec.outer.no_checksum = false);
    both_ways_of_large_packets(&bed);
    most_is_carried(&bed, &mut ends);
}

/// Ends of a session with UDP checksums, whose uplinks take super-packets, and then cut them.
fn both_ways_of_large_packets(bed: &Bed) {
    let places = [&bed.lns, &bed.lac];
    let wrong = places.map(Namespace::wrong_sums);
    for features in [
        "tso on gro off",
        "tso off tx-udp_tnl-segmentation off gso on gro on",
    ] {
        for end in places {
            end.run(&format!("ethtool -K wire {features}"));
        }
        bed.lac.ping("10.0.0.1");
        Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 4 << 20);
        Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 4 << 20);
    }
    assert_eq!(places.map(Namespace::wrong_sums), wrong);
}

/// All but the last segments of what is not a whole number of them.
fn most_is_carried(bed: &Bed, ends: &mut [End; 2]) {
    let packets: u64 = ends.iter_mut().map(|end| end.stats(1).tx_packets).sum();
    let left = through_tun(&bed.lns) + through_tun(&bed.lac);
    assert!(left < packets / 10, "{left} of {packets} were left to tun");
}

#[test]
fn a_session_over_ipv6_is_carried_with_right_checksums() {
    let Some(bed) = Bed::new() else { return };
    let (lns_address, lac_address) = ("[fd09::1]:1701", "[fd09::2]:1701");
    let places = [(&bed.lns, lns_address), (&bed.lac, lac_address)];
    let mut ends = places.map(|(place, address)| End::start_with_ebpf(place, address));
    for ((end, lns), side) in ends.iter_mut().zip([true, false]).zip(dual_stack()) {
        let mut spec = carried(1, lns);
        let (local, remote) = match lns {
            true => (lns_address, lac_address),
            false => (lac_address, lns_address),
        };
        spec.transport.local = local.parse().unwrap();
        spec.transport.remote = remote.parse().unwrap();
        spec.outer.no_checksum = false;
        end.create(1, spec).unwrap();
        end.configure(1, side).unwrap();
        assert_eq!(end.any_event(), carried_by(Engine::Ebpf));
    }
    bed.lac.ping("fe80::1%l2tp0");
    both_ways_of_large_packets(&bed);
    most_is_carried(&bed, &mut ends);
}

#[test]
fn a_session_moves_to_tun_and_back_and_loses_nothing() {
    let Some(bed) = Bed::new() else { return };
    for end in [&bed.lns, &bed.lac] {
        // Or checksums inside stay unfinished on the way from programs to a socket, as nothing but this pair is between.
        end.run("ethtool -K wire tx off");
    }
    let [mut lns, lac] = both_ends_with(&bed, |spec| {
        if let Encapsulation::V2 { sequencing, .. } = &mut spec.encapsulation
            && spec.transport.local == LNS.parse().unwrap()
        {
            *sequencing = Sequencing::Own(false);
        }
    });
    let [here, there] = [(&bed.lac, "10.0.0.2:5000"), (&bed.lns, "10.0.0.1:5000")]
        .map(|(place, address)| place.udp(address));
    there.connect("10.0.0.2:5000").unwrap();
    here.connect("10.0.0.1:5000").unwrap();
    let mut octets = [0; 8];
    for round in 0..400_u64 {
        let handle = Handle(1);
        if round % 20 == 0 {
            let no_checksum = round % 40 == 0;
            lns.submit(Request::SetChecksums {
                handle,
                no_checksum,
            });
        }
        if round % 20 == 10 {
            let sequencing = Sequencing::Own(round % 40 == 10);
            lns.submit(Request::SetSequencing { handle, sequencing });
        }
        here.send(&round.to_be_bytes()).unwrap();
        there.recv(&mut octets).unwrap();
        there.send(&octets).unwrap();
        here.recv(&mut octets).unwrap();
        assert_eq!(octets, round.to_be_bytes());
    }
    let stats = lns.stats(1);
    assert_eq!(
        (stats.rx_packets, stats.tx_packets),
        (400, 400),
        "{stats:?}"
    );
    let mut moves = 0;
    while moves < 20 {
        moves += u32::from(matches!(lns.any_event(), Event::Moved { .. }));
    }
    drop(lac);
}

#[test]
fn an_uplink_that_comes_back_is_followed() {
    let Some(bed) = Bed::new() else { return };
    let ends = both_ends(&bed);
    bed.lac.ping("10.0.0.1");
    bed.lns.run("ip link del wire");
    bed.wire();
    assert!(are_carried(&bed), "what returned is not followed");
    drop(ends);
}

/// Whether programs carry a ping from the LAC, after some that `tun` carries.
fn are_carried(bed: &Bed) -> bool {
    let carried = |_| {
        let before = through_tun(&bed.lns) + through_tun(&bed.lac);
        bed.lac.ping("10.0.0.1");
        through_tun(&bed.lns) + through_tun(&bed.lac) == before
    };
    (0..100).any(carried)
}

#[test]
fn packets_come_and_go_on_whatever_uplink_their_route_has() {
    let Some(bed) = Bed::new() else { return };
    let ends = both_ends(&bed);
    assert!(are_carried(&bed));
    bed.lns.run("ip link add second type veth peer name other");
    bed.lns
        .run(&format!("ip link set other netns {}", bed.lac.path()));
    bed.lac.run("ip link set other name second");
    for (end, number) in [(&bed.lns, 1), (&bed.lac, 2)] {
        end.sysctl(&["ipv4/conf/all/rp_filter=0", "ipv4/conf/second/rp_filter=0"]);
        end.run("ip link set second up");
        end.run(&format!("ip addr add 10.10.0.{number}/24 dev second"));
        end.run(&format!("ip addr add fe80::{number}/64 dev second nodad"));
    }
    let counted = || bed.lns.run("ip -s link show second");
    // One way first, then both, then to a next hop with an address of IPv6.
    for (end, to, hop) in [
        (&bed.lac, "10.9.0.1", "10.10.0.1"),
        (&bed.lns, "10.9.0.2", "10.10.0.2"),
        (&bed.lns, "10.9.0.2", "inet6 fe80::2 dev second"),
    ] {
        let before = counted();
        end.run(&format!("ip route replace {to}/32 via {hop}"));
        assert!(are_carried(&bed), "what goes by {hop}");
        assert_ne!(counted(), before, "nothing went there");
    }
    drop(ends);
}

#[test]
fn an_uplink_needs_no_address_of_its_own() {
    let Some(bed) = Bed::new() else { return };
    for (end, ours, theirs) in [(&bed.lns, 1, 2), (&bed.lac, 2, 1)] {
        // The address is the machine's, and the next hop's is link-local.
        for change in [
            format!("ip addr del 10.9.0.{ours}/24 dev wire"),
            format!("ip addr add 10.9.0.{ours}/32 dev lo"),
            format!("ip addr add fe80::{ours}/64 dev wire nodad"),
            format!("ip route add 10.9.0.{theirs}/32 via inet6 fe80::{theirs} dev wire"),
            "ethtool -K wire tx off".to_owned(),
        ] {
            end.run(&change);
        }
    }
    let ends = both_ends_with(&bed, |spec| spec.choice = Choice::Auto);
    assert!(are_carried(&bed));
    drop(ends);
}

/// What comes with a checksum is merged before programs see it, unless they ask for it to be left.
#[test]
fn by_itself_a_session_leaves_what_comes_with_a_checksum_merged_and_to_tun() {
    let Some(bed) = Bed::new() else { return };
    for end in [&bed.lns, &bed.lac] {
        end.run("ethtool -K wire tx off gro on");
    }
    let [mut lns, lac] = [(&bed.lns, true), (&bed.lac, false)].map(|(place, is_lns)| {
        let mut end = End::start_with_ebpf(place, if is_lns { LNS } else { LAC });
        let mut spec = carried(1, is_lns);
        spec.choice = if is_lns { Choice::Auto } else { Choice::Tun };
        spec.outer.no_checksum = is_lns;
        end.create(1, spec).unwrap();
        let [ours, theirs] = dual_stack();
        end.configure(1, if is_lns { ours } else { theirs })
            .unwrap();
        if is_lns {
            assert_eq!(end.any_event(), carried_by(Engine::Ebpf));
        }
        end
    });
    let [before] = bed.lns.counts([("Udp:", "InDatagrams")]);
    Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 8 << 20);
    let stats = lns.stats(1);
    let [after] = bed.lns.counts([("Udp:", "InDatagrams")]);
    let datagrams = after - before;
    assert_eq!(stats.by_programs.rx_packets, 0, "{stats:?}");
    assert!(stats.by_programs.tx_packets > 0, "{stats:?}");
    assert!(uncarried(&lns, "left.checksum") > 0);
    assert!(
        stats.rx_packets > 5000 && datagrams < stats.rx_packets / 2,
        "{datagrams} of {stats:?}"
    );
    drop(lac);
}

#[test]
fn what_somebody_removes_carries_again_once_it_is_made_anew() {
    let Some(bed) = Bed::new() else { return };
    let [mut lns, lac] = both_ends(&bed);
    assert!(are_carried(&bed));
    bed.lns.run("ip link del l2tp0");
    while !matches!(lns.any_event(), Event::Failed { .. }) {}
    let [side, _] = dual_stack();
    assert_eq!(lns.configure(1, side).unwrap(), "l2tp0");
    assert!(are_carried(&bed), "the device that was made anew");
    for change in ["del", "down", "address 02:00:00:00:00:77"] {
        let far = pairs(&bed.lns)[0].replace("in", "gro");
        bed.lns.run(&match change {
            "del" => format!("ip link del {far}"),
            _ => format!("ip link set {far} {change}"),
        });
        assert!(are_carried(&bed), "after {change}");
        Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 20);
    }
    drop((lns, lac));
}

#[test]
fn another_program_on_the_hook_stays() {
    let Some(bed) = Bed::new() else { return };
    bed.lns.run("tc qdisc add dev wire clsact");
    bed.lns
        .run("tc filter add dev wire ingress protocol ip u32 match u32 0 0");
    let before = bed.lns.run("tc filter show dev wire ingress");
    assert!(before.contains("u32"), "{before}");
    let ends = both_ends(&bed);
    bed.lac.ping("10.0.0.1");
    assert!(through_tun(&bed.lns) < 5);
    assert_eq!(bed.lns.run("tc filter show dev wire ingress"), before);
    drop(ends);
    assert_eq!(bed.lns.run("tc filter show dev wire ingress"), before);
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let Some(bed) = Bed::new() else { return };
    for number in [0, 5] {
        leave_pair(&bed.lns, number);
    }
    // Two that only have such names.
    bed.lns
        .run("ip link add l2tp-in2 type veth peer name customer");
    bed.lns.run("ip link add l2tp-in1 type bridge");
    let ends = both_ends(&bed);
    assert!(are_carried(&bed));
    assert_eq!(pairs(&bed.lns).len(), 1);
    let second = second_end(&bed);
    assert_eq!(pairs(&bed.lns).len(), 2);
    drop((second, ends));
    assert_eq!(pairs(&bed.lns), [""; 0]);
    bed.lns.run("ip link show customer");
}

#[test]
fn two_daemons_of_one_host_leave_each_other_alone() {
    let Some(bed) = Bed::new() else { return };
    let before = bed.lns.run("ip link");
    let [lns, lac] = both_ends(&bed);
    let second = second_end(&bed);
    let both = pairs(&bed.lns);
    assert_eq!(both.len(), 2);
    assert!(are_carried(&bed));
    drop(lns);
    assert_eq!(pairs(&bed.lns), both[1..]);
    drop((second, lac));
    assert_eq!(bed.lns.run("ip link"), before);
}

/// The group of the near ends of pairs.
const GROUP: u32 = u32::from_be_bytes(*b"eBPF");

/// The near ends of the pairs on which streams are merged, the oldest first.
fn pairs(place: &Namespace) -> Vec<String> {
    let links = place.run(&format!("ip -o link show group {GROUP}"));
    let names = links
        .lines()
        .filter_map(|line| line.split([' ', '@']).nth(1));
    names.map(str::to_owned).collect()
}

/// Leaves a pair behind, as a killed process does: its near end.
pub(crate) fn leave_pair(place: &Namespace, number: u32) -> String {
    let near = format!("l2tp-in{number}");
    let peer = format!("type veth peer name l2tp-gro{number}");
    place.run(&format!("ip link add {near} group {GROUP} {peer}"));
    near
}

/// Another daemon where the LNS is, with a session that programs carry and a device of its own name.
pub(crate) fn second_end(bed: &Bed) -> End {
    let address = "10.9.0.1:1702";
    let mut second = End::start_one_of_several(&bed.lns, address, "second");
    let mut spec = carried(2, true);
    spec.transport.local = address.parse().unwrap();
    second.create(2, spec).unwrap();
    let inside = network("10.0.1.1", "10.0.1.2");
    assert_eq!(second.configure(2, inside).unwrap(), "second");
    let event = second.any_event();
    let moved = Event::Moved {
        handle: Handle(2),
        engine: Engine::Ebpf,
    };
    assert_eq!(event, moved);
    second
}

#[test]
fn what_an_ipsec_policy_covers_is_not_for_programs() {
    let Some(bed) = Bed::new() else { return };
    let [mut lns, lac] = both_ends(&bed);
    let policy = "src 10.9.0.2/32 dst 10.9.0.1/32 proto udp dir in";
    bed.lns.run(&format!(
        "ip xfrm policy add {policy} tmpl proto esp mode transport level use"
    ));
    assert_eq!(lns.any_event(), carried_by(Engine::Tun));
    let Event::NoFaster { why, .. } = lns.any_event() else {
        panic!("no reason");
    };
    assert!(why.contains("IPsec"), "{why}");
    bed.lns.run(&format!("ip xfrm policy delete {policy}"));
    assert_eq!(lns.any_event(), carried_by(Engine::Ebpf));
    drop(lac);
}

/// Why a session is not carried by programs that leaves it open by what.
fn why_auto_takes_tun(lns: &mut End) -> String {
    let mut spec = carried(1, true);
    spec.choice = Choice::Auto;
    lns.create(1, spec).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    let Event::NoFaster { why, .. } = lns.any_event() else {
        panic!("no reason");
    };
    why
}

#[test]
fn without_the_privilege_tun_carries_all_and_it_is_said_why() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = bed.lns.enter(|| {
        let mut sets = capabilities(None).unwrap();
        let lost = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
        sets.effective -= lost;
        set_capabilities(None, sets).unwrap();
        End::start_with_programs_here(LNS)
    });
    let refused = lns.create(1, carried(1, true)).unwrap_err();
    assert!(refused.to_string().contains("ebpf"), "{refused}");
    let why = why_auto_takes_tun(&mut lns);
    assert!(why.starts_with("ebpf: ") && !why.contains('\n'), "{why}");

    let host = bed.lns.udp("10.0.0.1:5000");
    let lac = bed.lac.udp(LAC);
    let packet = ipv4_udp("10.0.0.2", host.local_addr().unwrap(), b"packet");
    lac.send_to(&packet_to_lns(1, &packet), LNS).unwrap();
    let mut octets = [0; 100];
    let (len, from) = host.recv_from(&mut octets).unwrap();
    host.send_to(&octets[..len], from).unwrap();
    let len = lac.recv(&mut octets).unwrap();
    assert!(octets[..len].ends_with(b"packet"));
    let stats = lns.stats(1);
    assert_eq!((stats.rx_packets, stats.tx_packets), (1, 1));
    assert_eq!(stats.by_programs, Share::default());
}

#[test]
fn what_containers_have_of_the_kernels_settings_is_enough() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = bed.lns.enter(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        for arguments in [
            "--make-rprivate /",
            "--bind /proc/sys /proc/sys",
            "-o remount,bind,ro /proc/sys",
        ] {
            let mut mount = Command::new("mount");
            assert!(mount.args(arguments.split(' ')).status().unwrap().success());
        }
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap_err();
        End::start_with_programs_here(LNS)
    });
    lns.create(1, carried(1, true)).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    assert_eq!(lns.any_event(), carried_by(Engine::Ebpf));
}

#[test]
fn by_itself_nothing_goes_by_programs_where_every_uplink_may_end_on_this_machine() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_ebpf(&bed.lns, LNS);
    let why = why_auto_takes_tun(&mut lns);
    assert!(why.contains("veth"), "{why}");
    // Through another uplink it may: one whose part leaves no checksum to be made.
    for change in [
        "ip link add far type bridge",
        "ip addr add 10.8.0.1/24 dev far",
        "ip link add port type veth peer name plug",
        "ethtool -K port tx off",
        "ip link set port master far",
    ] {
        bed.lns.run(change);
    }
    let Event::Moved { engine, .. } = lns.any_event() else {
        panic!("it stays");
    };
    assert_eq!(engine, Engine::Ebpf);
    // With UDP checksums some packets would overtake others.
    let with_checksums = |with: bool| Request::SetChecksums {
        handle: Handle(1),
        no_checksum: !with,
    };
    lns.submit(with_checksums(true));
    assert_eq!(lns.any_event(), carried_by(Engine::Tun));
    let Event::NoFaster { why, .. } = lns.any_event() else {
        panic!("no reason");
    };
    assert!(why.contains("use_udp_checksums"), "{why}");
    lns.submit(with_checksums(false));
    assert_eq!(lns.any_event(), carried_by(Engine::Ebpf));
    let before = uncarried(&lns, "left.near_end");
    let host = bed.lns.udp("10.0.0.1:5000");
    host.send_to(b"packet", "10.0.0.2:5000").unwrap();
    assert_eq!(uncarried(&lns, "left.near_end"), before + 1);
    // That one has an end on this machine, too, and then none, and then leads nowhere.
    for (change, engine) in [
        ("ethtool -K port tx on", Engine::Tun),
        ("ethtool -K port tx off", Engine::Ebpf),
        ("ip link del port", Engine::Tun),
    ] {
        bed.lns.run(change);
        while lns.any_event() != carried_by(engine) {}
    }
}
