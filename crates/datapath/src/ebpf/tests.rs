//! The programs on single packets: what they make of what is common, and that they leave the rest as it is.
#![allow(clippy::unwrap_used, reason = "tests only")]

use std::fs;
use std::path::Path;
use std::process::Command;

use aya::EbpfLoader;
use aya::programs::SchedClassifier;
use ipnet::IpNet;
use wire::l2tp::Header;
use wire::ppp::{Frame, Protocol};

use super::check::{ETHERNET, PASS, REDIRECT, Sample, checksum, run};
use super::programs::{DECAP, ENCAP, Maps, Programs, Uncarried, load};
use crate::{Choice, Encapsulation, Framing, NetworkSpec, Route, Stats, UNCARRIED};

/// The programs with one session.
struct Bench {
    programs: Programs,
    maps: Maps,
    uncarried: Uncarried,
    sample: Sample,
}

impl Bench {
    /// None without the privilege, which is said aloud, and no excuse in continuous integration.
    fn new(change: impl FnOnce(&mut Sample)) -> Option<Self> {
        let (mut programs, mut maps, uncarried) = match load(None) {
            Ok(loaded) => loaded,
            Err(why) if std::env::var_os("CI").is_some() => panic!("{why}"),
            Err(why) => {
                eprintln!("SKIPPED: this test needs a kernel that takes programs: {why}");
                return None;
            }
        };
        let mut sample = Sample::new();
        change(&mut sample);
        sample.open(&mut programs, &mut maps).unwrap();
        Some(Self {
            programs,
            maps,
            uncarried,
            sample,
        })
    }

    fn encap(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let framed = self.sample.framed(packet);
        self.outcome(ENCAP, &framed)
    }

    fn decap(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let framed = self.sample.framed(packet);
        self.outcome(DECAP, &framed)
    }

    /// What becomes of a packet that is carried; one that is not has to be as it was.
    fn outcome(&mut self, program: &str, framed: &[u8]) -> Option<Vec<u8>> {
        let (answer, out) = run(&mut self.programs, program, framed).unwrap();
        match answer {
            REDIRECT => Some(out[ETHERNET..].to_vec()),
            PASS => {
                assert_eq!(out, framed, "left, and yet touched");
                None
            }
            other => panic!("{program} answers {other} to {framed:02x?}"),
        }
    }

    fn stats(&self) -> Stats {
        self.maps.stats(super::local_ids(&self.sample.spec))
    }

    /// A packet of which this was made is left for this reason, and counted for it alone, or carried.
    fn is_counted(&mut self, reason: Option<&str>, made: Option<Vec<u8>>) {
        assert_eq!(made.is_some(), reason.is_none(), "{reason:?}");
        let expected = UNCARRIED.map(|name| u64::from(reason == Some(name)));
        assert_eq!(self.uncarried.counts(), expected, "{reason:?}");
        self.uncarried.reset().unwrap();
    }

    /// A message of the peer's with a packet in this framing.
    fn message(&self, header: &[u8], framing: &[u8], packet: &[u8]) -> Vec<u8> {
        self.sample.of_peer(&[header, framing, packet].concat())
    }
}

const HEADER: &[u8] = &[0, 2, 1, 2, 3, 4];

#[test]
fn this_kernel_passes_the_self_test() {
    let Some(Bench {
        mut programs,
        mut maps,
        ..
    }) = Bench::new(|_| {})
    else {
        return;
    };
    assert_eq!(super::check::self_test(&mut programs, &mut maps), Ok(()));
}

#[test]
fn a_self_test_that_fails_says_what_came_out_of_which() {
    for sample in [Sample::new, Sample::over_ipv6] {
        let Some(Bench {
            mut programs,
            mut maps,
            sample: opened,
            ..
        }) = Bench::new(|it| *it = sample())
        else {
            return;
        };
        opened.close(&mut maps);
        // What is expected has the whole header always, and these ids.
        let (mut to_peer, mut from_peer) = (sample(), sample());
        to_peer.network.framing.address_control_compression = true;
        let Encapsulation::V2 { local, .. } = &mut from_peer.spec.encapsulation;
        local.session ^= 1;
        // One protocol in the other is left by kernels that are good enough.
        let ipv6 = from_peer.spec.transport.remote.is_ipv6();
        let (sent, inside) = (to_peer.sent(false), from_peer.packet(ipv6, false));
        for (wrong, direction, octets) in [
            (to_peer, " of a packet, not ", sent),
            (from_peer, " of a message, not ", inside),
        ] {
            let why = super::check::test(&wrong, &mut programs, &mut maps).unwrap_err();
            let octets = format!("{octets:02x?}").replace(['[', ']'], "");
            assert!(why.contains(direction) && why.contains(&octets), "{why}");
            assert!(!why.contains('\n'), "{why}");
            // Nothing of it stays.
            assert_eq!(super::check::self_test(&mut programs, &mut maps), Ok(()));
        }
    }
}

#[test]
fn a_refusal_is_the_verifiers_reason_in_one_line() {
    #[derive(Debug)]
    struct Refused(std::io::Error);
    impl std::fmt::Display for Refused {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(
                "the load failed. Verifier output: 0: R1=ctx() R10=fp0\n\
                 1: (61) r3 = *(u32 *)(r6 +12)\n\
                 misaligned packet access off (0x2; 0x0)+0+12 size 4\n\
                 processed 67 insns (limit 1000000) max_states_per_insn 0\n\n",
            )
        }
    }
    impl std::error::Error for Refused {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let error = Refused(std::io::Error::other("Permission denied"));
    assert_eq!(
        super::programs::refusal(&error),
        "the load failed. misaligned packet access off (0x2; 0x0)+0+12 size 4: Permission denied"
    );
}

/// Why the kernel, or what reads objects, refuses this one.
fn refused(object: &[u8]) -> String {
    let mut loader = EbpfLoader::new();
    let mut ebpf = match loader.btf(None).load(object) {
        Ok(ebpf) => ebpf,
        Err(error) => return super::programs::refusal(&error),
    };
    let program: &mut SchedClassifier = ebpf.program_mut(ENCAP).unwrap().try_into().unwrap();
    super::programs::refusal(&program.load().unwrap_err())
}

#[test]
fn an_object_that_is_broken_is_refused_in_one_line() {
    if Bench::new(|_| {}).is_none() {
        return;
    }
    let good = aya::include_bytes_aligned!("l2tp.bpf.o");
    let mut spoilt = good.to_vec();
    // Where they look into a map, programs call a function that no kernel has.
    for instruction in spoilt.chunks_exact_mut(8) {
        if instruction == [0x85, 0, 0, 0, 1, 0, 0, 0] {
            instruction[4..].copy_from_slice(&[255, 255, 255, 127]);
        }
    }
    for (object, reason) in [
        (&good[..good.len() / 2], "object"),
        (&[], "object"),
        (&spoilt, "invalid func"),
    ] {
        let why = refused(object);
        assert!(why.contains(reason) && !why.contains('\n'), "{why}");
        assert!(why.len() < 200, "{why}");
    }
}

#[test]
fn messages_are_taken_with_and_without_length_and_in_every_framing() {
    for sample in [Sample::new(), Sample::over_ipv6()] {
        if let Some(bench) = Bench::new(|it| *it = sample) {
            takes_every_framing(bench);
        }
    }
}

fn takes_every_framing(mut bench: Bench) {
    for ipv6 in [false, true] {
        let packet = bench.sample.packet(ipv6, false);
        let long = if ipv6 { 0x57 } else { 0x21 };
        for framing in [
            &[0xff, 3, 0, long][..],
            &[0xff, 3, long],
            &[0, long],
            &[long],
        ] {
            for flags in [0x0002_u16, 0x0102, 0x4002, 0x4102] {
                let mut header = flags.to_be_bytes().to_vec();
                if flags & 0x4000 != 0 {
                    let len = 8 + framing.len() + packet.len();
                    header.extend((len as u16).to_be_bytes());
                }
                header.extend([1, 2, 3, 4]);
                let message = bench.message(&header, framing, &packet);
                let made = bench.decap(&message);
                assert_eq!(made.as_ref(), Some(&packet), "{flags:04x} {framing:02x?}");
            }
        }
    }
    let stats = bench.stats();
    assert_eq!((stats.rx_packets, stats.rx_bytes), (32, 16 * 28 + 16 * 48));
}

#[test]
fn what_is_not_common_is_left_as_it_is() {
    let Some(mut bench) = Bench::new(|_| {}) else {
        return;
    };
    let packet = bench.sample.packet(false, false);
    let framing = [0xff, 3, 0, 0x21];
    for (what, header) in [
        ("control", &[0xc8, 2, 0, 12, 1, 2, 0, 0, 0, 0, 0, 0][..]),
        ("numbered", &[0x08, 2, 1, 2, 3, 4, 0, 0, 0, 0]),
        ("with an offset", &[0x02, 2, 1, 2, 3, 4, 0, 0]),
        ("L2TPv3", &[0, 3, 1, 2, 3, 4]),
        ("another tunnel", &[0, 2, 1, 3, 3, 4]),
        ("another session", &[0, 2, 1, 2, 3, 5]),
        (
            "a length that is too large",
            &[0x40, 2, 0xff, 0xff, 1, 2, 3, 4],
        ),
        ("a length that is too small", &[0x40, 2, 0, 9, 1, 2, 3, 4]),
    ] {
        let message = bench.message(header, &framing, &packet);
        assert_eq!(bench.decap(&message), None, "{what}");
    }
    for (what, framing) in [
        ("LCP", &[0xff, 3, 0xc0, 0x21][..]),
        ("IPCP", &[0xff, 3, 0x80, 0x21]),
        ("encrypted", &[0xff, 3, 0, 0xfd]),
        ("IPv6 that is IPv4", &[0xff, 3, 0, 0x57]),
        ("nothing", &[]),
    ] {
        let message = bench.message(HEADER, framing, &packet);
        assert_eq!(bench.decap(&message), None, "{what}");
    }
    let change = |at: usize, octets: &[u8]| {
        let mut packet = packet.clone();
        packet[at..at + octets.len()].copy_from_slice(octets);
        packet
    };
    for (what, packet) in [
        ("spoofed", change(12, &[10, 0, 0, 1])),
        ("longer than it is", change(2, &[0, 29])),
        ("of no version", change(0, &[0x55])),
        ("with half a header", change(0, &[0x44])),
        ("shorter than its header", change(2, &[0, 19])),
        ("cut", packet[..27].to_vec()),
        ("empty", Vec::new()),
    ] {
        let message = bench.message(HEADER, &framing, &packet);
        assert_eq!(bench.decap(&message), None, "{what}");
    }
    assert_eq!(bench.stats(), Stats::default());
}

#[test]
fn what_is_around_a_message_has_to_be_its_sessions() {
    let Some(mut bench) = Bench::new(|_| {}) else {
        return;
    };
    let good = bench.sample.received(false);
    assert!(bench.decap(&good).is_some());
    let fixed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum);
        packet
    };
    for (what, at, octets) in [
        ("another destination", 19, &[9][..]),
        ("a spoofed source", 15, &[9]),
        ("another port of ours", 22, &[0, 1]),
        ("another port of theirs", 20, &[0, 1]),
        ("a first fragment", 6, &[0x20, 0]),
        ("a later fragment", 6, &[0, 1]),
        ("TCP", 9, &[6]),
        ("a UDP length that lies", 24, &[0, 60]),
        ("a UDP length of nothing", 24, &[0, 0]),
        ("an IP length that lies", 2, &[0xff, 0xff]),
    ] {
        let packet = fixed(&|packet| packet[at..at + octets.len()].copy_from_slice(octets));
        assert_eq!(bench.decap(&packet), None, "{what}");
    }
    let options = fixed(&|packet| {
        packet[0] = 0x46;
        packet[3] += 4;
        packet.splice(20..20, [1, 1, 1, 1]);
    });
    assert_eq!(bench.decap(&options), None, "IP options");
    let mut bad = good.clone();
    bad[10] ^= 1;
    assert_eq!(bench.decap(&bad), None, "a bad header checksum");
    // The kernel runs no program on less than a header of IP.
    for len in 20..good.len() {
        assert_eq!(bench.decap(&good[..len]), None, "cut at {len}");
    }
    // Ethernet fills up what is short.
    let padded = [&good[..], &[0; 10]].concat();
    let made = bench.decap(&padded).unwrap();
    assert_eq!(made[..28], bench.sample.packet(false, false));
}

#[test]
fn each_reason_for_which_a_packet_is_left_has_its_own_count() {
    let Some(mut bench) = Bench::new(|sample| {
        let to = IpNet::from(sample.spec.transport.remote.ip());
        sample.network.routes = vec![Route { to, metric: None }];
        sample.network.ipv6 = None;
        sample.spec.outer.no_checksum = false;
        sample.spec.outer.ecn = true;
    }) else {
        return;
    };
    let [theirs, ours] = [false, true].map(|ours| bench.sample.packet(false, ours));
    for (reason, message) in from_peer(&bench, &theirs) {
        let made = bench.decap(&message);
        bench.is_counted(reason, made);
    }
    for (reason, packet) in from_here(&ours) {
        let made = bench.encap(&packet);
        bench.is_counted(reason, made);
    }
}

/// Messages of the peer, and the reason for which each is left, if it is.
fn from_peer(bench: &Bench, packet: &[u8]) -> Vec<(Option<&'static str>, Vec<u8>)> {
    let good = bench.sample.received(false);
    let (mut stranger, mut spoofed, mut congested) = (good.clone(), packet.to_vec(), good.clone());
    stranger[21] ^= 1;
    spoofed[15] ^= 64;
    congested[1] = 3;
    congested[10..12].fill(0);
    let sum = checksum(&congested[..20]);
    congested[10..12].copy_from_slice(&sum);
    // Long enough for a packet: nothing shorter is looked at.
    let lcp = bench.message(HEADER, &[0xff, 3, 0xc0, 0x21], &[9; 20]);
    vec![
        (None, good),
        (Some("left.wrong_peer"), stranger),
        (Some("left.congestion"), congested),
        (Some("left.no_packet"), lcp),
        (
            Some("left.no_packet"),
            bench.message(HEADER, &[0x21], &packet[..27]),
        ),
        (
            Some("left.spoofed_source"),
            bench.message(HEADER, &[0x21], &spoofed),
        ),
        (Some("left.layer_closed"), bench.sample.received(true)),
    ]
}

/// Packets of ours, and the reason for which each is left, if it is.
fn from_here(packet: &[u8]) -> Vec<(Option<&'static str>, Vec<u8>)> {
    let changed = |len: u16, octets: &[(usize, &[u8])]| {
        let mut packet = packet.to_vec();
        packet.resize(len.into(), 0);
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        for (at, octets) in octets {
            packet[*at..at + octets.len()].copy_from_slice(octets);
        }
        packet
    };
    vec![
        (None, packet.to_vec()),
        (Some("left.no_packet"), changed(29, &[(2, &[0, 28])])),
        (Some("left.too_large"), changed(1500, &[])),
        (Some("left.loop"), changed(28, &[(16, &[192, 0, 2, 2])])),
        (Some("left.checksum"), changed(28, &[(9, &[47])])),
        // A SYN that announces segments of 1460 octets.
        (
            Some("left.large_mss"),
            changed(44, &[(9, &[6]), (32, &[0x60, 2]), (40, &[2, 4, 5, 0xb4])]),
        ),
    ]
}

#[test]
fn what_is_around_a_message_over_ipv6_has_to_be_its_sessions() {
    for checksums in [true, false] {
        let Some(mut bench) = Bench::new(|sample| {
            *sample = Sample::over_ipv6();
            sample.spec.outer.no_checksum = !checksums;
        }) else {
            return;
        };
        let good = bench.sample.received(false);
        assert!(bench.decap(&good).is_some());
        for (what, at, octets) in [
            ("another destination", 39, &[9][..]),
            ("a spoofed source", 8, &[9]),
            ("another port of ours", 42, &[0, 1]),
            ("another port of theirs", 40, &[0, 1]),
            ("a fragment", 6, &[44]),
            ("IPv4", 0, &[0x45]),
            ("a UDP length that lies", 44, &[0, 60]),
            ("an IP length that lies", 4, &[0xff, 0xff]),
        ] {
            let mut packet = good.clone();
            packet[at..at + octets.len()].copy_from_slice(octets);
            assert_eq!(bench.decap(&packet), None, "{what}");
        }
        let mut without = good.clone();
        without[46..48].fill(0);
        assert_eq!(bench.decap(&without).is_some(), !checksums);
        for len in 40..good.len() {
            assert_eq!(bench.decap(&good[..len]), None, "cut at {len}");
        }
    }
}

#[test]
fn a_packet_from_behind_the_peer_is_taken_and_one_to_there_sent() {
    let to: IpNet = "203.0.113.0/24".parse().unwrap();
    let Some(mut bench) = Bench::new(|sample| {
        sample.network.routes = vec![Route { to, metric: None }];
    }) else {
        return;
    };
    let mut packet = bench.sample.packet(false, false);
    packet[12..16].copy_from_slice(&[203, 0, 113, 7]);
    let message = bench.message(HEADER, &[0x21], &packet);
    assert_eq!(bench.decap(&message), Some(packet));
    let mut packet = bench.sample.packet(false, true);
    packet[16..20].copy_from_slice(&[203, 0, 113, 7]);
    assert!(bench.encap(&packet).is_some());
    packet[18] = 114;
    assert_eq!(bench.encap(&packet), None, "to nobody");
}

#[test]
fn of_a_session_that_does_not_ask_for_them_what_comes_with_a_checksum_is_left() {
    for sample in [Sample::new, Sample::over_ipv6] {
        for choice in [Choice::Ebpf, Choice::Auto] {
            let Some(mut bench) = Bench::new(|it| {
                *it = sample();
                (it.spec.choice, it.spec.outer.no_checksum) = (choice, true);
            }) else {
                return;
            };
            let without = bench.sample.received(false);
            assert!(bench.decap(&without).is_some(), "{choice:?}");
            bench.sample.spec.outer.no_checksum = false;
            let with = bench.sample.received(false);
            let reason = (choice == Choice::Auto).then_some("left.checksum");
            let made = bench.decap(&with);
            bench.is_counted(reason, made);
        }
    }
}

#[test]
fn headers_are_as_short_as_the_peer_wants_and_checksums_right() {
    for sample in [Sample::new, Sample::over_ipv6] {
        headers_and_checksums(sample);
    }
}

fn headers_and_checksums(sample: fn() -> Sample) {
    for (protocol, address_control) in [(false, false), (true, false), (false, true), (true, true)]
    {
        let framing = Framing {
            protocol_compression: protocol,
            address_control_compression: address_control,
        };
        let Some(mut bench) = Bench::new(|it| {
            *it = sample();
            it.network.framing = framing;
            it.spec.outer.no_checksum = false;
            it.spec.outer.dscp = 46;
        }) else {
            return;
        };
        for (kind, packet) in transports(&bench.sample) {
            let Some(made) = bench.encap(&packet) else {
                panic!("{kind} is left");
            };
            let head = 10 - 2 * usize::from(address_control) - usize::from(protocol);
            let (ip, addresses) = match bench.sample.spec.transport.remote.is_ipv6() {
                true => (40, &made[8..40]),
                false => (20, &made[12..20]),
            };
            assert_eq!(made[ip + 8 + head..], packet, "{kind}");
            if ip == 20 {
                assert_eq!(made[1], 46 << 2);
                assert_eq!(checksum(&made[..20]), [0, 0]);
            } else {
                assert_eq!(made[..4], [0x6b, 0x80, 0, 0]);
            }
            let udp = &made[ip..];
            let len = (udp.len() as u16).to_be_bytes();
            let pseudo = [addresses, &[0, 17], &len, udp].concat();
            assert_eq!(checksum(&pseudo), [0, 0], "{kind} {framing:?}");
            assert_ne!(udp[6..8], [0, 0], "{kind}");
        }
    }
}

/// Packets of ours with several transports, of even and odd lengths.
fn transports(sample: &Sample) -> Vec<(String, Vec<u8>)> {
    let mut packets = Vec::new();
    for ipv6 in [false, true] {
        packets.push((format!("echo {ipv6}"), sample.packet(ipv6, true)));
        for (protocol, header) in [(6_u8, 20_usize), (17, 8)] {
            for payload in [0_usize, 1, 9, 64, 1201] {
                let at = if ipv6 { 40 } else { 20 };
                let mut packet = sample.packet(ipv6, true)[..at].to_vec();
                let len = header + payload;
                let octets = (0..len).map(|i| (i * 7 + payload) as u8);
                packet.extend(octets);
                let place = at + if protocol == 6 { 16 } else { 6 };
                if protocol == 6 {
                    packet[at + 12] = 0x50;
                    packet[at + 13] = 0x10;
                } else {
                    packet[at + 4..at + 6].copy_from_slice(&(len as u16).to_be_bytes());
                }
                packet[place..place + 2].fill(0);
                let addresses = if ipv6 {
                    packet[4..6].copy_from_slice(&(len as u16).to_be_bytes());
                    packet[6] = protocol;
                    8..40
                } else {
                    packet[2..4].copy_from_slice(&((20 + len) as u16).to_be_bytes());
                    packet[9] = protocol;
                    packet[10..12].fill(0);
                    let sum = checksum(&packet[..20]);
                    packet[10..12].copy_from_slice(&sum);
                    12..20
                };
                let len = (len as u16).to_be_bytes();
                let pseudo = [&packet[addresses], &[0, protocol], &len, &packet[at..]].concat();
                let sum = checksum(&pseudo);
                packet[place..place + 2].copy_from_slice(&sum);
                packets.push((format!("{protocol} {payload} {ipv6}"), packet));
            }
        }
    }
    packets
}

#[test]
fn what_can_not_be_sent_right_is_left() {
    let Some(mut bench) = Bench::new(|sample| sample.spec.outer.no_checksum = false) else {
        return;
    };
    let good = bench.sample.packet(false, true);
    assert!(bench.encap(&good).is_some());
    let mut large = good.clone();
    large.resize(1401, 0);
    large[2..4].copy_from_slice(&1401_u16.to_be_bytes());
    assert_eq!(bench.encap(&large), None, "larger than the session's MTU");
    let mut padded = good.clone();
    padded.push(0);
    assert_eq!(bench.encap(&padded), None, "longer than it says");
    let mut looped = good.clone();
    looped[16..20].copy_from_slice(&[192, 0, 2, 2]);
    assert_eq!(bench.encap(&looped), None, "the tunnel's own");
    let mut unknown = good.clone();
    unknown[9] = 47;
    assert_eq!(bench.encap(&unknown), None, "no checksum is known of GRE");
    let mut fragment = good.clone();
    fragment[6] = 0x20;
    assert_eq!(bench.encap(&fragment), None, "nor of a fragment");
    // The kernel runs no program on less than a header of IP.
    for len in 20..good.len() {
        assert_eq!(bench.encap(&good[..len]), None, "cut at {len}");
    }
}

#[test]
fn congestion_is_told_inwards_and_outwards() {
    let Some(mut bench) = Bench::new(|sample| sample.spec.outer.ecn = true) else {
        return;
    };
    for ipv6 in [false, true] {
        for inner in 0..4_u8 {
            for outer in 0..4_u8 {
                let mut packet = bench.sample.packet(ipv6, false);
                crate::tun::set_ecn(&mut packet, inner);
                let mut message = bench.message(HEADER, &[if ipv6 { 0x57 } else { 0x21 }], &packet);
                crate::tun::set_ecn(&mut message, outer);
                let of = |bits: u8| crate::Ecn::of(bits);
                let expected = of(inner).merge(of(outer)).map(|merged| {
                    crate::tun::set_ecn(&mut packet, merged as u8);
                    packet
                });
                assert_eq!(bench.decap(&message), expected, "{inner} in {outer}");
            }
            let mut packet = bench.sample.packet(ipv6, true);
            crate::tun::set_ecn(&mut packet, inner);
            assert_eq!(bench.encap(&packet).unwrap()[1], inner);
        }
    }
}

/// What fuzzing has found of L2TP headers, PPP frames and packets.
fn corpus() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut found = Vec::new();
    for target in ["l2tp_header", "ppp_frame", "ppp_packet"] {
        for file in fs::read_dir(corpus.join(target)).unwrap() {
            let mut octets = fs::read(file.unwrap().path()).unwrap();
            octets.truncate(1400);
            found.push(octets);
        }
    }
    assert!(found.len() > 25);
    found
}

/// Of messages with it, what is carried is what our decoders find, and nothing else.
#[test]
fn the_programs_and_the_decoders_agree_on_the_fuzzers_corpus() {
    for sample in [Sample::new, Sample::over_ipv6] {
        let Some(mut bench) = Bench::new(|it| *it = sample()) else {
            return;
        };
        let good = bench.sample.packet(false, false);
        let mut carried = 0;
        for octets in corpus() {
            let octets = &octets[..];
            for message in [
                octets.to_vec(),
                [HEADER, octets].concat(),
                [octets, &[0xff, 3, 0, 0x21], &good].concat(),
                [HEADER, octets, &[0x21], &good].concat(),
            ] {
                let packet = bench.sample.of_peer(&message);
                let Some(made) = bench.decap(&packet) else {
                    continue;
                };
                carried += 1;
                let inner = decoded(&message).expect("carried, and can not be decoded");
                assert_eq!(made, inner, "{message:02x?}");
            }
        }
        assert_ne!(carried, 0);
    }
}

/// Of packets with it at any place, those for the peer are carried and nothing else, and the peer gets them as they are.
#[test]
fn the_fuzzers_corpus_in_packets_of_ours_is_sent_as_it_is_or_left() {
    for sample in [Sample::new, Sample::over_ipv6] {
        let Some(mut bench) = Bench::new(|it| {
            *it = sample();
            it.spec.outer.no_checksum = true;
        }) else {
            return;
        };
        let mut outcomes = [0; 2];
        let corpus = corpus();
        let packets = corpus.iter().map(|octets| spoilt(&bench.sample, octets));
        for packet in packets.collect::<Vec<_>>().concat() {
            let made = bench.encap(&packet);
            let wanted = ours(&packet, &bench.sample.network);
            // Of TCP programs want to be sure of the segments that it announces.
            if made.is_some() || !is_tcp(&packet) {
                assert_eq!(made.is_some(), wanted, "{packet:02x?}");
            }
            outcomes[usize::from(made.is_some())] += 1;
            if let Some(made) = made {
                let expected = bench.sample.around(packet[0] >> 4 == 6, &packet);
                assert_eq!(made, expected, "{packet:02x?}");
            }
        }
        assert!(outcomes.iter().all(|&number| number > 100), "{outcomes:?}");
    }
}

/// Packets of ours with these octets in place of some of theirs, or behind them.
fn spoilt(sample: &Sample, octets: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for ipv6 in [false, true] {
        let good = sample.packet(ipv6, true);
        for at in 0..=good.len() - octets.len() {
            let mut packet = good.clone();
            packet[at..at + octets.len()].copy_from_slice(octets);
            packets.push(packet);
        }
        let mut longer = [&good, octets].concat();
        packets.push(longer.clone());
        longer[if ipv6 { 5 } else { 3 }] += octets.len() as u8;
        packets.push(longer);
    }
    // The kernel runs no program on less than a header of IP.
    packets.retain(|packet| packet[0] >> 4 != 6 || packet.len() >= 40);
    packets
}

/// Whether this is a whole packet to the peer.
fn ours(packet: &[u8], network: &NetworkSpec) -> bool {
    let field = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let len = packet.len();
    match packet[0] >> 4 {
        4 => {
            let head = usize::from(packet[0] & 15) * 4;
            let peer = network.ipv4.unwrap().peer.octets();
            (20..=len).contains(&head) && field(2) == len && packet[16..20] == peer
        }
        6 => 40 + field(4) == len && packet[24..40] == network.ipv6.unwrap().peer.octets(),
        _ => false,
    }
}

fn is_tcp(packet: &[u8]) -> bool {
    packet[if packet[0] >> 4 == 6 { 6 } else { 9 }] == 6
}

/// The IP packet in a message of the session, as `tun` reads it.
fn decoded(message: &[u8]) -> Option<&[u8]> {
    let Ok((Header::Data(header), frame)) = Header::decode(message) else {
        return None;
    };
    if (header.tunnel_id, header.session_id) != (0x0102, 0x0304) || header.sequence.is_some() {
        return None;
    }
    let frame = Frame::decode(frame).ok()?;
    matches!(frame.protocol, Protocol::IPV4 | Protocol::IPV6).then_some(frame.payload)
}

#[test]
fn the_object_belongs_to_its_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ebpf");
    let _alone = crate::thread::CHILDREN.lock().unwrap();
    let compared = Command::new("sha256sum")
        .args(["--check", "--quiet", "l2tp.bpf.sha256"])
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(compared.success(), "cargo xtask bpf compiles it anew");
}
