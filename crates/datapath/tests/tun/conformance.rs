//! What every engine makes of what comes and goes: tables of datagrams and packets, and the same random traffic through two of them.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use datapath::capture::{self, Way};
use datapath::{Choice, Device, Framing, Share};
use nix::sys::socket::{setsockopt, sockopt};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::bed::{Bed, End, Udp, dual_stack, ipv4_udp, ipv6_udp, own, session, sum};
use super::capture::Viewer;
use super::{LAC, LNS};

/// The engines that can be tried anywhere.
pub(crate) const ENGINES: &[Choice] = match cfg!(feature = "ebpf") {
    true => &[Choice::Tun, Choice::Ebpf],
    false => &[Choice::Tun],
};

/// Each of these engines with UDP checksums on both ways, and with none on either.
fn with_and_without_checksums(engines: &[Choice]) -> impl Iterator<Item = (Choice, bool)> {
    let both = |&engine| [(engine, false), (engine, true)];
    engines.iter().flat_map(both)
}

/// Has a socket of IPv4 send with UDP checksums or without, for which `nix` has no name.
fn leave_out_checksums(socket: &Udp, leave_out: bool) {
    let leave_out = libc::c_int::from(leave_out);
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_NO_CHECK);
    let value = (&raw const leave_out).cast();
    // SAFETY: the option's value is an integer that lives until the call is over, and its size is given.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, len) };
    assert_eq!(set, 0);
}

/// The largest payload of a datagram of UDP over IPv4, octets.
const DATAGRAM_MAX: usize = 65_507;

/// The protocol of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ip {
    V4,
    V6,
}

use Ip::{V4, V6};

impl Ip {
    const BOTH: [Self; 2] = [V4, V6];

    /// A packet of the peer's.
    fn inner(self, payload: &[u8]) -> Vec<u8> {
        match self {
            V4 => ipv4_udp("10.0.0.2", "10.0.0.1:9".parse().unwrap(), payload),
            V6 => ipv6_udp("fe80::2", "fe80::1", 9, payload),
        }
    }

    /// The octets before the payload of UDP.
    fn head_len(self) -> usize {
        match self {
            V4 => 28,
            V6 => 48,
        }
    }

    /// What PPP has before a packet: with nothing compressed, the protocol, address and control, both.
    pub(crate) fn ppp(self) -> [&'static [u8]; 4] {
        match self {
            V4 => [&[0xff, 3, 0, 0x21], &[0xff, 3, 0x21], &[0, 0x21], &[0x21]],
            V6 => [&[0xff, 3, 0, 0x57], &[0xff, 3, 0x57], &[0, 0x57], &[0x57]],
        }
    }
}

/// An LNS with session 1 on an engine, its peer, and what goes through its device.
pub(crate) struct Place {
    pub(crate) bed: Bed,
    lns: End,
    pub(crate) lac: Udp,
    stranger: Udp,
    /// Of IPv4 and of IPv6: a socket, and the peer's address.
    hosts: [(Udp, String); 2],
    seen: Receiver<(Way, Vec<u8>)>,
    markers: u32,
    /// Takes what the peer sends to port 9, which is answered with errors otherwise.
    _sink: Udp,
    /// How many packets came, and went, that are for programs to carry where there are any.
    common: [u64; 2],
    /// The largest datagram's payload that programs send.
    whole: usize,
    no_checksum: bool,
}

impl Place {
    pub(crate) fn new(choice: Choice, framing: Framing) -> Option<Self> {
        Self::start(choice, framing, 1400, false)
    }

    fn start(choice: Choice, framing: Framing, mtu: u16, no_checksum: bool) -> Option<Self> {
        let bed = Bed::new()?;
        // As on a wire, where a socket of this machine at a veth's other end would get checksums that nobody has made yet.
        bed.lns.run("ethtool -K wire tx off");
        let mut lns = match choice {
            Choice::Kernel => End::start_with_kernel(&bed.lns, LNS),
            #[cfg(feature = "ebpf")]
            Choice::Ebpf => End::start_with_ebpf(&bed.lns, LNS),
            _ => End::start(&bed.lns, LNS),
        };
        let (lac, stranger) = (bed.lac.udp(LAC), bed.lac.udp("10.9.0.2:4000"));
        for socket in [&lac, &stranger] {
            leave_out_checksums(socket, no_checksum);
        }
        // The shared device has a smaller MTU than that of the largest sessions.
        let device = match choice {
            Choice::Tun | Choice::Ebpf if mtu <= 1500 => Device::Shared,
            _ => own(),
        };
        let mut spec = session(1, true, LNS, LAC, device);
        spec.choice = choice;
        spec.outer.no_checksum = no_checksum;
        lns.create(1, spec).unwrap();
        let [mut network, _] = dual_stack();
        (network.framing, network.mtu) = (framing, mtu);
        let device = lns.configure(1, network).unwrap();
        if choice == Choice::Ebpf {
            while !format!("{:?}", lns.any_event()).contains("Ebpf") {}
        }
        let (viewer, seen) = Viewer::new();
        bed.lns
            .enter(|| capture::device(&device, Arc::clone(&viewer) as _))
            .unwrap();
        let link = bed.lns.run(&format!("ip -o link show {device}"));
        let scope = link.split(':').next().unwrap();
        let hosts = [
            (bed.lns.udp("10.0.0.1:5000"), "10.0.0.2:9".to_owned()),
            (
                bed.lns.udp(&format!("[fe80::1%{scope}]:5000")),
                format!("[fe80::2%{scope}]:9"),
            ),
        ];
        let sink = bed.lns.udp("[::]:9");
        Some(Self {
            bed,
            lns,
            lac,
            stranger,
            hosts,
            seen,
            markers: 0,
            _sink: sink,
            common: [0; 2],
            whole: 1472,
            no_checksum,
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
        let marker = V4.inner(&[b"marker", &self.markers.to_be_bytes()[..]].concat());
        let plain = message(false, None, false, V4.ppp()[0], &marker);
        self.lac.send_to(&plain, LNS).unwrap();
        let mut got = Vec::new();
        loop {
            let (way, packet) = self.seen.recv_timeout(Duration::from_secs(5)).unwrap();
            match way {
                Way::Received if packet == marker => break,
                Way::Received => got.push(finished(packet)),
                Way::Sent => {}
            }
        }
        self.common[0] += 1;
        // No offset and no fragments.
        let is_common =
            matches!(datagram, [0 | 1 | 0x40 | 0x41, 2, ..]) && datagram.len() <= self.whole;
        if is_common {
            self.common[0] += got.len() as u64;
        }
        got
    }

    /// Programs carried what is common, and nothing else came by them; without programs there is nothing that they carried.
    pub(crate) fn is_carried_by(&mut self, engine: Choice) {
        let programs = self.lns.stats(1).by_programs;
        let [came, went] = self.common;
        if engine != Choice::Ebpf {
            assert_eq!(programs, Share::default(), "{engine:?}");
            return;
        }
        assert_eq!(programs.rx_packets, came, "{programs:?}");
        assert!(programs.tx_packets >= went, "{programs:?}, not {went}");
    }

    /// The host's socket.
    pub(crate) fn host(&self, ip: Ip) -> &Udp {
        &self.hosts[ip as usize].0
    }

    /// The peer's address inside.
    pub(crate) fn peer(&self, ip: Ip) -> SocketAddr {
        self.hosts[ip as usize].1.parse().unwrap()
    }

    /// The datagrams that the peer gets when the host sends so many octets to it, in segments of so many.
    fn sends(&mut self, ip: Ip, octets: usize, segment: u16) -> Vec<Vec<u8>> {
        // Of segments that differ there is no checksum that programs know.
        let is_even = self.no_checksum || segment == 0 || octets.is_multiple_of(segment.into());
        let (host, to) = &self.hosts[ip as usize];
        setsockopt(&**host, sockopt::UdpGsoSegment, &segment.into()).unwrap();
        let payload: Vec<u8> = (0..octets).map(|i| (i % 251) as u8).collect();
        host.send_to(&payload, to).unwrap();
        let mut got = Vec::new();
        let mut left = payload.len().max(1);
        while left > 0 {
            let mut datagram = vec![0; 1 << 16];
            let len = self.lac.recv(&mut datagram).unwrap();
            datagram.truncate(len);
            // The host says things of its own accord, and of what came before.
            if let Some(len) = payload_len(packet_in(&datagram)) {
                left = left.saturating_sub(len.max(1));
                let is_common = is_even && !is_fragment(packet_in(&datagram));
                self.common[1] += u64::from(is_common && datagram.len() <= self.whole);
                got.push(datagram);
            }
        }
        got
    }
}

/// A packet whose UDP checksum is right: one that an engine has verified may be handed to the host with no more than the sum of what is not in the packet.
fn finished(mut packet: Vec<u8>) -> Vec<u8> {
    if packet.len() >= 48 && packet[0] >> 4 == 6 && packet[6] == 17 {
        let len = packet[4..6].to_vec();
        let pseudo = sum(&[&packet[8..40], &[0, 17], &len].concat());
        if packet[46..48] == pseudo.to_be_bytes() {
            let whole = !sum(&packet[40..]);
            packet[46..48].copy_from_slice(&whole.to_be_bytes());
        }
    }
    packet
}

/// How much of the payload of UDP a packet, or fragment of one, has; none where it is something else.
fn payload_len(packet: &[u8]) -> Option<usize> {
    let field = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (protocol, head, later) = match (packet[0] >> 4, packet[6]) {
        (4, _) => (packet[9], 20, field(6) & 0x1fff != 0),
        (_, 44) => (packet[40], 48, field(42) & 0xfff8 != 0),
        (_, protocol) => (protocol, 40, false),
    };
    (protocol == 17).then(|| packet.len() - if later { head } else { head + 8 })
}

fn is_fragment(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        4 => packet[6] & 0x3f != 0 || packet[7] != 0,
        _ => packet[6] == 44,
    }
}

/// The IP packet in a datagram of ours.
pub(crate) fn packet_in(datagram: &[u8]) -> &[u8] {
    let frame = &datagram[6..];
    let frame = frame.strip_prefix(&[0xff, 3]).unwrap_or(frame);
    let frame = frame.strip_prefix(&[0]).unwrap_or(frame);
    &frame[1..]
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

/// The checksums of a UDP packet are right, and it is as long as it says.
fn check(packet: &[u8], what: &str) {
    let field = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    // Of a packet in fragments the sum of UDP is of the whole.
    let (addresses, payload, in_fragments) = if packet[0] >> 4 == 4 {
        assert_eq!(sum(&packet[..20]), 0xffff, "IPv4 header: {what}");
        assert_eq!(field(2), packet.len(), "{what}");
        (&packet[12..20], &packet[20..], field(6) & 0x3fff != 0)
    } else {
        assert_eq!(40 + field(4), packet.len(), "{what}");
        (&packet[8..40], &packet[40..], packet[6] == 44)
    };
    if !in_fragments {
        let len = (payload.len() as u16).to_be_bytes();
        let pseudo = [addresses, &[0, 17], &len, payload].concat();
        assert_eq!(sum(&pseudo), 0xffff, "UDP: {what}");
    }
}

fn every_header_is_taken_off(engines: &[Choice]) {
    for (engine, no_checksum) in with_and_without_checksums(engines) {
        let place = Place::start(engine, Framing::default(), 1400, no_checksum);
        let Some(mut place) = place else { return };
        for (ip, ppp) in Ip::BOTH.map(|ip| ip.ppp().map(|ppp| (ip, ppp))).concat() {
            for (length, offset, priority) in [
                (false, None, false),
                (true, None, false),
                (false, Some(0), false),
                (true, Some(1), false),
                (true, Some(16), true),
                (false, None, true),
            ] {
                let packet = ip.inner(b"every header");
                let message = message(length, offset, priority, ppp, &packet);
                let got = place.gets(&message, false);
                assert_eq!(got, [packet], "{engine:?} {message:02x?}");
            }
        }
        for ip in Ip::BOTH {
            let largest = DATAGRAM_MAX - 12 - ip.head_len();
            for size in [
                0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1351, 1352, 1353, 1371, 1372, 1373, 4000, 9000,
                32_768, largest,
            ] {
                let packet = ip.inner(&vec![7; size]);
                let message = message(true, None, false, ip.ppp()[0], &packet);
                let got = place.gets(&message, false);
                assert!(got == [packet], "{engine:?} {ip:?} {size}: {got:02x?}");
            }
        }
        place.is_carried_by(engine);
    }
}

#[test]
fn every_header_of_a_peer_s_is_taken_off_and_the_packet_is_whole() {
    every_header_is_taken_off(ENGINES);
}

/// A datagram that is wrong.
struct Wrong {
    what: &'static str,
    octets: Vec<u8>,
    /// What the kernel's driver gives to the device of it all the same: it does not look at packets, nor at the length of a message. The host does.
    in_kernel: Option<Vec<u8>>,
}

/// What is wrong with the headers of L2TP, about a packet that is right.
fn wrong_messages(packet: &[u8]) -> Vec<Wrong> {
    let with = |length, offset, at: usize, octets: [u8; 2]| {
        let mut message = message(length, offset, false, V4.ppp()[0], packet);
        message[at..at + 2].copy_from_slice(&octets);
        message
    };
    let whole = (12 + packet.len()) as u16;
    let lies = [
        ("a length of 65535", 0xffff),
        ("a length of an octet more than came", whole + 1),
        ("a length of an octet less than the packet", whole - 1),
        ("a length that ends in the frame's header", 10),
        ("a length that ends in the message's header", 7),
        ("a length of nothing", 0),
    ];
    let lies = lies.map(|(what, length)| Wrong {
        what,
        octets: with(true, None, 2, length.to_be_bytes()),
        in_kernel: Some(packet.to_vec()),
    });
    let others = [
        ("nothing", Vec::new(), None),
        (
            "an offset beyond its end",
            with(false, Some(0), 6, [0xff; 2]),
            None,
        ),
        // A socket of the kernel's is one tunnel's, whatever the message says.
        (
            "another tunnel's id",
            with(false, None, 2, [0, 101]),
            Some(packet.to_vec()),
        ),
        ("another session's id", with(false, None, 4, [0, 102]), None),
    ];
    let others = others.map(|(what, octets, in_kernel)| Wrong {
        what,
        octets,
        in_kernel,
    });
    lies.into_iter().chain(others).collect()
}

/// What is wrong with packets.
fn wrong_packets(ip: Ip) -> Vec<Wrong> {
    let packet = ip.inner(b"right");
    let changed: &[(&str, usize, u8)] = match ip {
        V4 => &[
            ("an octet more than came", 3, 34),
            ("65 KiB more than came", 2, 0xff),
            ("a length of less than its header", 3, 19),
            ("a header of less than it takes", 0, 0x44),
            ("a header beyond its end", 0, 0x4f),
            ("version 5", 0, 0x55),
            ("version 6 in a frame of IPv4", 0, 0x65),
            ("somebody else's source", 15, 3),
        ],
        V6 => &[
            ("an octet more than came", 5, 14),
            ("65 KiB more than came", 4, 0xff),
            ("version 5", 0, 0x50),
            ("version 4 in a frame of IPv6", 0, 0x40),
            ("somebody else's source", 23, 3),
        ],
    };
    let mut wrong: Vec<(&str, Vec<u8>, Vec<u8>)> = Vec::new();
    for &(what, at, octet) in changed {
        let mut packet = packet.clone();
        packet[at] = octet;
        let octets = message(false, None, false, ip.ppp()[0], &packet);
        wrong.push((what, octets, packet));
    }
    let other = if ip == V4 { V6 } else { V4 };
    let octets = message(false, None, false, other.ppp()[0], &packet);
    wrong.push(("a packet of the other protocol", octets, packet.clone()));
    let whole = message(false, None, false, ip.ppp()[0], &packet);
    let cut = (10..packet.len() + 10).map(|len| {
        let (message, packet) = (&whole[..len], &whole[10..len]);
        ("a cut packet", message.to_vec(), packet.to_vec())
    });
    wrong.extend(cut);
    let wrong = wrong.into_iter().map(|(what, octets, packet)| Wrong {
        what,
        // The driver takes nothing that is shorter than the longest header of L2TP.
        in_kernel: (octets.len() >= 14).then_some(packet),
        octets,
    });
    let cut = (1..10).map(|len| Wrong {
        what: "a cut header",
        octets: whole[..len].to_vec(),
        in_kernel: None,
    });
    wrong.chain(cut).collect()
}

fn what_is_wrong(engines: &[Choice]) {
    let packet = V4.inner(b"right");
    let mut wrong = wrong_messages(&packet);
    wrong.extend(Ip::BOTH.into_iter().flat_map(wrong_packets));
    for &engine in engines {
        let Some(mut place) = Place::new(engine, Framing::default()) else {
            return;
        };
        for Wrong {
            what,
            octets,
            in_kernel,
        } in &wrong
        {
            let expected = match engine {
                Choice::Kernel => in_kernel.iter().cloned().collect(),
                _ => Vec::new(),
            };
            let got = place.gets(octets, false);
            assert_eq!(got, expected, "{engine:?}: {what}: {octets:02x?}");
        }
        let whole = message(false, None, false, V4.ppp()[0], &packet);
        let got = place.gets(&whole, true);
        assert!(
            got.is_empty(),
            "{engine:?}: from somebody else's port: {got:02x?}"
        );
        assert_eq!(place.gets(&whole, false), std::slice::from_ref(&packet));
        place.is_carried_by(engine);
    }
}

#[test]
fn nothing_that_is_wrong_reaches_the_host() {
    what_is_wrong(ENGINES);
}

fn what_the_host_sends(engines: &[Choice]) {
    let all = with_and_without_checksums(engines);
    for (at, (engine, no_checksum)) in all.flat_map(|one| [0, 1, 2, 3].map(|at| (at, one))) {
        let framing = Framing {
            protocol_compression: at % 2 == 1,
            address_control_compression: at >= 2,
        };
        let Some(mut place) = Place::start(engine, framing, 1400, no_checksum) else {
            return;
        };
        for ip in Ip::BOTH {
            // The kernel's driver compresses nothing, whatever was agreed.
            let head = ip.ppp()[if engine == Choice::Kernel { 0 } else { at }];
            let header = [&[0, 2, 0, 200, 0, 201], head].concat();
            let sizes = [
                0,
                1,
                2,
                3,
                8,
                63,
                64,
                1351,
                1352,
                1353,
                1371,
                1372,
                1373,
                4000,
                32_768,
                DATAGRAM_MAX,
            ];
            let whole = sizes.map(|size| (size, 0));
            let full = 1400 - ip.head_len() as u16;
            let in_segments = [
                (10_500, 1000),
                (10_000, 1000),
                (2800, full),
                (2 * usize::from(full), full),
                (4489, 658),
                (4489, 659),
            ];
            // A device that makes no checksums, as PPP's, is no way for segments before Linux 6.11: the host gets EIO.
            let refused = engine == Choice::Kernel;
            let in_segments = in_segments.into_iter().filter(|_| !refused);
            for (size, segment) in whole.into_iter().chain(in_segments) {
                let what =
                    format!("{engine:?} {no_checksum} {head:02x?} {size} octets by {segment}");
                for datagram in place.sends(ip, size, segment) {
                    assert_eq!(datagram[..header.len()], header, "{what}");
                    let packet = &datagram[header.len()..];
                    assert!(packet.len() <= 1400, "{what}");
                    check(packet, &what);
                }
            }
        }
        place.is_carried_by(engine);
    }
}

#[test]
fn what_the_host_sends_has_the_agreed_header_and_right_checksums() {
    what_the_host_sends(ENGINES);
}

fn what_fills_a_datagram(engines: &[Choice]) {
    const HEADER: usize = 10;
    let mtu = (DATAGRAM_MAX - HEADER) as u16;
    // Over a wire that takes no more than usual, too, where all but the smallest go in fragments of the outside.
    let all = with_and_without_checksums(engines);
    for ((engine, no_checksum), is_wide) in all.flat_map(|one| [(one, false), (one, true)]) {
        let place = Place::start(engine, Framing::default(), mtu, no_checksum);
        let Some(mut place) = place else { return };
        if is_wide {
            for end in [&place.bed.lns, &place.bed.lac] {
                end.run("ip link set wire mtu 65535");
            }
            // Of a packet that is larger than 16 KiB, and no super-packet, the kernel makes no room for headers.
            place.whole = 16_000;
        }
        for ip in Ip::BOTH {
            let full = usize::from(mtu) - ip.head_len();
            for size in [1372, 1373, 9000, 15_900, full - 1, full] {
                let datagrams = place.sends(ip, size, 0);
                let what = format!("{engine:?} {ip:?} {size}");
                let [datagram] = datagrams.as_slice() else {
                    panic!("{what}: {} datagrams", datagrams.len())
                };
                let packet = &datagram[HEADER..];
                assert_eq!(packet.len(), size + ip.head_len(), "{what}");
                check(packet, &what);
            }
        }
        place.is_carried_by(engine);
    }
}

#[test]
fn a_packet_that_fills_a_datagram_goes_in_one_piece() {
    what_fills_a_datagram(ENGINES);
}

/// What one step of random traffic is.
#[derive(Clone, Debug)]
enum Step {
    /// The peer, or somebody else, sends this.
    Gets(Vec<u8>, bool),
    /// The host sends so many octets in segments of so many.
    Sends(Ip, usize, u16),
}

fn ips() -> impl Strategy<Value = Ip> + Clone {
    prop_oneof![Just(V4), Just(V6)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offset = proptest::option::of(0..20_u8);
    let fields = (
        any::<bool>(),
        offset,
        any::<bool>(),
        (ips(), 0..4_usize),
        0..1500_usize,
    );
    let octets = fields.prop_map(|(length, offset, priority, (ip, ppp), size)| {
        let packet = ip.inner(&vec![size as u8; size]);
        message(length, offset, priority, ip.ppp()[ppp], &packet)
    });
    // Most of them right, some with an octet of the headers changed or their end cut off. A sequence number would have its say in what comes after.
    let changed = (
        octets,
        proptest::option::of((0..70_usize, any::<u8>())),
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
    let segment = prop_oneof![Just(0_u16), 100..1352_u16];
    let sent = prop_oneof![
        (0..6000_usize, segment),
        // For programs: in one piece, or in segments that are all of one size.
        (0..1353_usize, Just(0)),
        (1..6_usize, 100..1352_u16).prop_map(|(count, size)| (count * usize::from(size), size)),
    ];
    let step = prop_oneof![
        3 => (gets, prop::bool::weighted(0.05)).prop_map(|(o, s)| Step::Gets(o, s)),
        2 => (ips(), sent).prop_map(|(ip, (size, segment))| Step::Sends(ip, size, segment)),
    ];
    proptest::collection::vec(step, 1..8)
}

/// A datagram of ours without what the host chose: the IP identification and what depends on it, the flow label.
fn without_identification(mut datagram: Vec<u8>) -> Vec<u8> {
    let at = datagram.len() - packet_in(&datagram).len();
    let packet = &mut datagram[at..];
    check(packet, "random traffic");
    let chosen: &[usize] = match (packet[0] >> 4, packet[6]) {
        (4, _) => &[4, 5, 10, 11],
        (_, 44) => &[1, 2, 3, 44, 45, 46, 47],
        _ => &[1, 2, 3],
    };
    chosen.iter().for_each(|&octet| packet[octet] = 0);
    datagram
}

#[test]
fn the_same_random_traffic_comes_out_the_same_of_every_engine() {
    let places = with_and_without_checksums(ENGINES)
        .map(|(engine, no_checksum)| Place::start(engine, Framing::default(), 1400, no_checksum));
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
                Step::Sends(ip, size, segment) => {
                    let sent = place.sends(*ip, *size, *segment);
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
    let engines = with_and_without_checksums(ENGINES);
    for (place, (engine, _)) in places.into_inner().iter_mut().zip(engines) {
        place.is_carried_by(engine);
        let common = place.common;
        assert!(common.iter().all(|&number| number > 50), "{common:?}");
    }
}

/// The same tables over the kernel's driver.
mod kernel {
    use super::*;

    const ENGINES: &[Choice] = &[Choice::Kernel];

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn every_header_of_a_peer_s_is_taken_off_and_the_packet_is_whole() {
        every_header_is_taken_off(ENGINES);
    }

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn what_is_wrong_is_dropped_or_is_the_host_s_to_drop() {
        what_is_wrong(ENGINES);
    }

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn what_the_host_sends_has_a_whole_header_and_right_checksums() {
        what_the_host_sends(ENGINES);
    }

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn a_packet_that_fills_a_datagram_goes_in_one_piece() {
        what_fills_a_datagram(ENGINES);
    }
}
