//! What a TCP announces as its largest segment (MSS) is lowered to what a session carries, by every engine and both ways.

use std::ops::Range;

use datapath::Framing;
use socket2::{Domain, Protocol, Socket, Type};

use super::bed::sum;
use super::conformance::{ENGINES, Ip, Place, message, packet_in};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Sessions of the conformance bed have an MTU of 1400: less 40 octets of IPv4 and TCP, or 60 of IPv6.
fn most(ip: Ip) -> u16 {
    match ip {
        Ip::V4 => 1360,
        Ip::V6 => 1340,
    }
}

/// Octets before TCP, and those of them that are addresses.
fn places(ip: Ip) -> (usize, Range<usize>) {
    match ip {
        Ip::V4 => (20, 12..20),
        Ip::V6 => (40, 8..40),
    }
}

/// A segment without payload between the session's ends, from ours or the peer's: flags, options.
fn segment(ip: Ip, ours: bool, flags: u8, options: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let len = 20 + options.len() as u8;
    let [from, to] = if ours { [1, 2] } else { [2, 1] };
    let (mut packet, network): (_, &[u8]) = match ip {
        Ip::V4 => (
            vec![0x45, 0, 0, 20 + len, 0, 1, 0x40, 0, 64, 6, 0, 0],
            &[10, 0, 0],
        ),
        Ip::V6 => (
            vec![0x60, 0, 0, 0, 0, len, 6, 64],
            &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
    };
    packet.extend([network, &[from], network, &[to]].concat());
    if ip == Ip::V4 {
        let header = !sum(&packet);
        packet[10..12].copy_from_slice(&header.to_be_bytes());
    }
    packet.extend([0x10, 0, 0x13, 0x88, 0, 0, 0, 1, 0, 0, 0, 0]);
    packet.extend([len << 2, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(options);
    let checksum = !with_pseudo_header(ip, &packet);
    let (tcp, _) = places(ip);
    packet[tcp + 16..tcp + 18].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The sum of a segment, 0xffff if its checksum is right.
fn with_pseudo_header(ip: Ip, packet: &[u8]) -> u16 {
    let (tcp, addresses) = places(ip);
    let len = ((packet.len() - tcp) as u16).to_be_bytes();
    sum(&[&packet[addresses], &[0, 6], &len, &packet[tcp..]].concat())
}

/// Flags and options, and the options that come out.
fn table(ip: Ip) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let most = most(ip);
    let [above, large, most, small] = [most + 1, 1460, most, 536].map(u16::to_be_bytes);
    let first = |mss: [u8; 2]| [&[2, 4], &mss[..], &[4, 2, 1, 1]].concat();
    let odd = |mss: [u8; 2]| [&[1, 2, 4], &mss[..], &[3, 3, 7]].concat();
    let mut rows = Vec::new();
    for flags in [SYN, SYN | ACK] {
        for options in [first, odd] {
            rows.push((flags, options(large), options(most)));
            rows.push((flags, options(above), options(most)));
            rows.push((flags, options(most), options(most)));
            rows.push((flags, options(small), options(small)));
        }
        rows.push((flags, vec![4, 2, 1, 1], vec![4, 2, 1, 1]));
        rows.push((flags, Vec::new(), Vec::new()));
    }
    rows.push((ACK, first(large), first(large)));
    rows
}

#[test]
fn an_mss_from_the_peer_is_no_larger_than_fits() {
    for &engine in ENGINES {
        let Some(mut place) = Place::new(engine, Framing::default()) else {
            return;
        };
        for ip in [Ip::V4, Ip::V6] {
            for (flags, options, expected) in table(ip) {
                let sent = segment(ip, false, flags, &options);
                let got = place.gets(&message(false, None, false, ip.ppp()[0], &sent), false);
                let expected = segment(ip, false, flags, &expected);
                assert_eq!(got, [expected], "{engine:?} {ip:?} {flags:02x} {options:?}");
            }
        }
    }
}

#[test]
fn an_mss_to_the_peer_is_no_larger_than_fits() {
    for &engine in ENGINES {
        let Some(place) = Place::new(engine, Framing::default()) else {
            return;
        };
        for (ip, domain) in [(Ip::V4, Domain::IPV4), (Ip::V6, Domain::IPV6)] {
            let raw = || Socket::new(domain, Type::RAW, Some(Protocol::from(255)));
            let raw = place.bed.lns.enter(raw).unwrap();
            let mut to = place.peer(ip);
            // Of such a socket it is the protocol.
            to.set_port(0);
            for (flags, options, expected) in table(ip) {
                raw.send_to(&segment(ip, true, flags, &options), &to.into())
                    .unwrap();
                let got = next_segment(&place, ip);
                let expected = segment(ip, true, flags, &expected);
                assert_eq!(got, expected, "{engine:?} {ip:?} {flags:02x} {options:?}");
                assert_eq!(with_pseudo_header(ip, &got), 0xffff);
            }
        }
    }
}

/// The next segment that the peer gets: the kernel says other things of its own accord.
fn next_segment(place: &Place, ip: Ip) -> Vec<u8> {
    loop {
        let mut datagram = vec![0; 2048];
        let len = place.lac.recv(&mut datagram).unwrap();
        let packet = packet_in(&datagram[..len]);
        let (version, protocol) = match ip {
            Ip::V4 => (4, 9),
            Ip::V6 => (6, 6),
        };
        if packet[0] >> 4 == version && packet[protocol] == 6 {
            return packet.to_vec();
        }
    }
}
