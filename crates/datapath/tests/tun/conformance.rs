//! What every engine makes of what comes and goes: tables of datagrams and packets, and the same random traffic through two of them.

use std::cell::RefCell;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use datapath::capture::{self, Way};
use datapath::{Choice, Device, Framing};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::bed::{Bed, End, ipv4_udp, network, session};
use super::capture::Viewer;
use super::{LAC, LNS};

/// The engines that can be tried here.
pub(crate) const ENGINES: &[Choice] = match cfg!(feature = "ebpf") {
    true => &[Choice::Tun, Choice::Ebpf],
    false => &[Choice::Tun],
};

/// An LNS with session 1 on an engine, its peer, and what goes through its device.
pub(crate) struct Place {
    pub(crate) bed: Bed,
    lns: End,
    pub(crate) lac: UdpSocket,
    stranger: UdpSocket,
    host: UdpSocket,
    seen: Receiver<(Way, Vec<u8>)>,
    markers: u32,
}

impl Place {
    pub(crate) fn new(choice: Choice, framing: Framing) -> Option<Self> {
        let bed = Bed::new()?;
        // As on a wire, where a socket of this machine at a veth's other end would get checksums that nobody has made yet.
        bed.lns.run("ethtool -K wire tx off");
        // The kernel says things of its own accord over IPv6.
        bed.lns.sysctl(&["ipv6/conf/default/disable_ipv6=1"]);
        #[cfg(feature = "ebpf")]
        let mut lns = End::start_with_ebpf(&bed.lns, LNS);
        #[cfg(not(feature = "ebpf"))]
        let mut lns = End::start(&bed.lns, LNS);
        let (lac, stranger) = (bed.lac.udp(LAC), bed.lac.udp("10.9.0.2:4000"));
        let mut spec = session(1, true, LNS, LAC, Device::Shared);
        spec.choice = choice;
        lns.create(1, spec).unwrap();
        let mut network = network("10.0.0.1", "10.0.0.2");
        network.framing = framing;
        lns.configure(1, network).unwrap();
        if choice == Choice::Ebpf {
            assert!(format!("{:?}", lns.any_event()).contains("Ebpf"));
        }
        let (viewer, seen) = Viewer::new();
        bed.lns
            .enter(|| capture::device("l2tp0", Arc::clone(&viewer) as _))
            .unwrap();
        let host = bed.lns.udp("10.0.0.1:5000");
        Some(Self {
            bed,
            lns,
            lac,
            stranger,
            host,
            seen,
            markers: 0,
        })
    }

    /// What the host gets of a datagram, from the peer or from somebody else.
    pub(crate) fn gets(&mut self, datagram: &[u8], stranger: bool) -> Vec<Vec<u8>> {
        let from = if stranger { &self.stranger } else { &self.lac };
        from.send_to(datagram, LNS).unwrap();
        // The engine has taken it by the second answer.
        self.lns.stats(1);
        self.lns.stats(1);
        self.markers += 1;
        let marker = inner(&[b"marker", &self.markers.to_be_bytes()[..]].concat());
        let plain = [&[0, 2, 0, 100, 0, 101, 0xff, 3, 0, 0x21], &marker[..]].concat();
        self.lac.send_to(&plain, LNS).unwrap();
        let mut got = Vec::new();
        loop {
            let (way, packet) = self.seen.recv_timeout(Duration::from_secs(5)).unwrap();
            match way {
                Way::Received if packet == marker => return got,
                Way::Received => got.push(packet),
                Way::Sent => {}
            }
        }
    }

    /// The datagrams that the peer gets when the host sends so many octets to it, in segments of so many.
    fn sends(&self, octets: usize, segment: u16) -> Vec<Vec<u8>> {
        let segment = libc::c_int::from(segment);
        let len = size_of::<libc::c_int>() as libc::socklen_t;
        let (name, value) = (libc::UDP_SEGMENT, (&raw const segment).cast());
        // SAFETY: the option's value is an integer that lives until the call is over, and its size is given.
        let set =
            unsafe { libc::setsockopt(self.host.as_raw_fd(), libc::SOL_UDP, name, value, len) };
        assert_eq!(set, 0);
        let payload: Vec<u8> = (0..octets).map(|i| (i % 251) as u8).collect();
        self.host.send_to(&payload, "10.0.0.2:9").unwrap();
        let mut got = Vec::new();
        let mut left = payload.len().max(1);
        while left > 0 {
            let mut datagram = vec![0; 2048];
            let len = self.lac.recv(&mut datagram).unwrap();
            datagram.truncate(len);
            let packet = packet_in(&datagram);
            // What the host says of what came before.
            if packet[9] != 17 {
                continue;
            }
            let later = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0;
            left = left.saturating_sub((packet.len() - if later { 20 } else { 28 }).max(1));
            got.push(datagram);
        }
        got
    }
}

/// A packet of the peer's.
fn inner(payload: &[u8]) -> Vec<u8> {
    ipv4_udp("10.0.0.2", "10.0.0.1:9".parse().unwrap(), payload)
}

/// The IP packet in a datagram of ours.
pub(crate) fn packet_in(datagram: &[u8]) -> &[u8] {
    let at = datagram.iter().skip(6).position(|&octet| octet == 0x45);
    &datagram[6 + at.unwrap()..]
}

/// A data message of the peer's with these fields: length, offset, priority, and this before the packet.
pub(crate) fn message(
    length: bool,
    offset: Option<u8>,
    priority: bool,
    ppp: &[u8],
    packet: &[u8],
) -> Vec<u8> {
    let mut message = vec![0, 2];
    if length {
        message[0] |= 0x40;
        message.extend([0, 0]);
    }
    message.extend([0, 100, 0, 101]);
    if let Some(size) = offset {
        message[0] |= 2;
        message.extend([0, size]);
        message.extend(vec![0xee; size.into()]);
    }
    message[0] |= u8::from(priority);
    message.extend(ppp);
    message.extend(packet);
    if length {
        let len = (message.len() as u16).to_be_bytes();
        message[2..4].copy_from_slice(&len);
    }
    message
}

pub(crate) const PPP: [&[u8]; 4] = [&[0xff, 3, 0, 0x21], &[0xff, 3, 0x21], &[0, 0x21], &[0x21]];

/// The Internet checksum of what has a right one in it: 0xffff.
pub(crate) fn sum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let sum: u32 = octets.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

/// Both checksums of a UDP packet are right, and it is as long as it says.
fn check(packet: &[u8], what: &str) {
    assert_eq!(sum(&packet[..20]), 0xffff, "IPv4 header: {what}");
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    assert_eq!(total, packet.len(), "{what}");
    // Of a packet in fragments the sum is of the whole.
    if u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff == 0 {
        let len = (packet.len() as u16 - 20).to_be_bytes();
        let pseudo = [&packet[12..20], &[0, 17], &len, &packet[20..]].concat();
        assert_eq!(sum(&pseudo), 0xffff, "UDP: {what}");
    }
}

#[test]
fn every_header_of_a_peer_s_is_taken_off_and_the_packet_is_whole() {
    for &engine in ENGINES {
        let Some(mut place) = Place::new(engine, Framing::default()) else {
            return;
        };
        for ppp in PPP {
            for (length, offset, priority) in [
                (false, None, false),
                (true, None, false),
                (false, Some(0), false),
                (true, Some(1), false),
                (true, Some(16), true),
                (false, None, true),
            ] {
                let packet = inner(b"every header");
                let message = message(length, offset, priority, ppp, &packet);
                let got = place.gets(&message, false);
                assert_eq!(got, [packet], "{engine:?} {message:02x?}");
            }
        }
        for size in [
            0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1371, 1372, 1373, 4000, 9000, 32_768, 65_400,
        ] {
            let packet = inner(&vec![7; size]);
            let message = message(true, None, false, PPP[0], &packet);
            assert_eq!(place.gets(&message, false), [packet], "{engine:?} {size}");
        }
    }
}

#[test]
fn nothing_that_is_wrong_reaches_the_host() {
    let packet = inner(b"right");
    let with = |at: usize, octet: u8| {
        let mut packet = packet.clone();
        packet[at] = octet;
        packet
    };
    let plain = |packet: &[u8]| message(false, None, false, PPP[0], packet);
    let mut wrong: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("a longer packet than came", plain(&with(3, 34))),
        (
            "a packet of 65535 octets that has fewer",
            plain(&with(2, 0xff)),
        ),
        ("version 5", plain(&with(0, 0x55))),
        ("version 6 in a frame of IPv4", plain(&with(0, 0x65))),
        ("somebody else's source", plain(&with(15, 3))),
        (
            "IPv4 in a frame of IPv6",
            message(false, None, false, &[0xff, 3, 0, 0x57], &packet),
        ),
        ("an offset beyond its end", {
            let mut octets = message(false, Some(0), false, PPP[0], &packet);
            octets[6..8].copy_from_slice(&[0xff, 0xff]);
            octets
        }),
        ("a length beyond its end", {
            let mut octets = message(true, None, false, PPP[0], &packet);
            octets[2..4].copy_from_slice(&[0xff, 0xff]);
            octets
        }),
        ("another tunnel's id", {
            let mut octets = plain(&packet);
            octets[3] = 101;
            octets
        }),
        ("another session's id", {
            let mut octets = plain(&packet);
            octets[5] = 102;
            octets
        }),
    ];
    let whole = plain(&packet);
    wrong.extend((1..whole.len()).map(|len| ("a cut message", whole[..len].to_vec())));
    for &engine in ENGINES {
        let Some(mut place) = Place::new(engine, Framing::default()) else {
            return;
        };
        for (what, octets) in &wrong {
            let got = place.gets(octets, false);
            assert_eq!(got, [[]; 0], "{engine:?}: {what}: {octets:02x?}");
        }
        let got = place.gets(&whole, true);
        assert_eq!(got, [[]; 0], "{engine:?}: from somebody else's port");
        assert_eq!(place.gets(&whole, false), std::slice::from_ref(&packet));
    }
}

#[test]
fn what_the_host_sends_has_the_agreed_header_and_right_checksums() {
    for &engine in ENGINES {
        for (at, head) in PPP.into_iter().enumerate() {
            let framing = Framing {
                protocol_compression: at % 2 == 1,
                address_control_compression: at >= 2,
            };
            let Some(place) = Place::new(engine, framing) else {
                return;
            };
            let header = [&[0, 2, 0, 200, 0, 201], head].concat();
            let sizes = [0, 1, 2, 3, 8, 63, 64, 1371, 1372, 1373, 4000, 32_768];
            let whole = sizes.map(|size| (size, 0));
            for (size, segment) in whole.into_iter().chain([
                (10_500, 1000),
                (2800, 1400 - 28),
                (4489, 658),
                (4489, 659),
            ]) {
                let what = format!("{engine:?} {head:02x?} {size} octets by {segment}");
                for datagram in place.sends(size, segment) {
                    assert_eq!(datagram[..header.len()], header, "{what}");
                    let packet = &datagram[header.len()..];
                    assert!(packet.len() <= 1400, "{what}");
                    check(packet, &what);
                }
            }
        }
    }
}

/// What one step of random traffic is.
#[derive(Clone, Debug)]
enum Step {
    /// The peer, or somebody else, sends this.
    Gets(Vec<u8>, bool),
    /// The host sends so many octets in segments of so many.
    Sends(usize, u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offset = proptest::option::of(0..20_u8);
    let fields = (
        any::<bool>(),
        offset,
        any::<bool>(),
        0..4_usize,
        0..1500_usize,
    );
    let octets = fields.prop_map(|(length, offset, priority, ppp, size)| {
        let packet = inner(&vec![size as u8; size]);
        message(length, offset, priority, PPP[ppp], &packet)
    });
    // Most of them right, some with an octet of the headers changed or their end cut off. A sequence number would have its say in what comes after.
    let changed = (
        octets,
        proptest::option::of((0..50_usize, any::<u8>())),
        any::<bool>(),
    );
    let gets = changed.prop_map(|(mut octets, change, cut)| {
        if let Some((at, octet)) = change {
            match cut {
                true => octets.truncate(at),
                false => octets[at % 40] = octet,
            }
        }
        if let Some(flags) = octets.first_mut() {
            *flags &= !0x88;
        }
        octets
    });
    let step = prop_oneof![
        3 => (gets, prop::bool::weighted(0.05)).prop_map(|(o, s)| Step::Gets(o, s)),
        1 => (0..6000_usize, prop_oneof![Just(0_u16), 100..1372_u16])
            .prop_map(|(size, segment)| Step::Sends(size, segment)),
    ];
    proptest::collection::vec(step, 1..8)
}

/// A datagram of ours without what the host chose: the IP identification, and what depends on it.
fn without_identification(mut datagram: Vec<u8>) -> Vec<u8> {
    let at = datagram.len() - packet_in(&datagram).len();
    check(&datagram[at..], "random traffic");
    datagram[at + 4..at + 6].fill(0);
    datagram[at + 10..at + 12].fill(0);
    datagram
}

#[test]
fn the_same_random_traffic_comes_out_the_same_of_every_engine() {
    let places = ENGINES
        .iter()
        .map(|&engine| Place::new(engine, Framing::default()));
    let Some(places) = places.collect::<Option<Vec<_>>>() else {
        return;
    };
    let places = RefCell::new(places);
    let config = Config {
        cases: 48,
        // What was sent before is not unsent.
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&steps(), |steps| {
        let mut places = places.borrow_mut();
        for step in steps {
            let outcomes = places.iter_mut().map(|place| match &step {
                Step::Gets(octets, stranger) => place.gets(octets, *stranger),
                Step::Sends(size, segment) => {
                    let sent = place.sends(*size, *segment);
                    sent.into_iter().map(without_identification).collect()
                }
            });
            let outcomes: Vec<_> = outcomes.collect();
            for other in &outcomes[1..] {
                prop_assert_eq!(&outcomes[0], other, "{:?}", step);
            }
        }
        Ok(())
    });
    outcome.unwrap();
}
