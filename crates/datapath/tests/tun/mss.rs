//! What a TCP announces as its largest segment (MSS) is lowered to what a session carries, by every engine and both ways.

use std::net::SocketAddr;

use datapath::Framing;
use socket2::{Domain, Protocol, Socket, Type};

use super::bed::sum;
use super::conformance::{ENGINES, Ip, Place, message, packet_in};

/// Sessions of the conformance bed have an MTU of 1400: less 40 octets of IPv4 and TCP.
const MOST: u16 = 1360;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A segment without payload: flags, options.
fn segment(from: [u8; 4], to: [u8; 4], flags: u8, options: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let len = 20 + options.len() as u8;
    let mut packet = vec![0x45, 0, 0, 20 + len, 0, 1, 0x40, 0, 64, 6, 0, 0];
    packet.extend([from, to].concat());
    packet.extend([0x10, 0, 0x13, 0x88, 0, 0, 0, 1, 0, 0, 0, 0]);
    packet.extend([len << 2, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(options);
    let header = !sum(&packet[..20]);
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    let checksum = !with_pseudo_header(&packet);
    packet[36..38].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The sum of a segment, 0xffff if its checksum is right.
fn with_pseudo_header(packet: &[u8]) -> u16 {
    let len = (packet.len() as u16 - 20).to_be_bytes();
    sum(&[&packet[12..20], &[0, 6], &len, &packet[20..]].concat())
}

/// Flags and options, and the options that come out.
fn table() -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let [large, most, small] = [1460, MOST, 536].map(u16::to_be_bytes);
    let first = |mss: [u8; 2]| [&[2, 4], &mss[..], &[4, 2, 1, 1]].concat();
    let odd = |mss: [u8; 2]| [&[1, 2, 4], &mss[..], &[3, 3, 7]].concat();
    let mut rows = Vec::new();
    for flags in [SYN, SYN | ACK] {
        for options in [first, odd] {
            rows.push((flags, options(large), options(most)));
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
        for (flags, options, expected) in table() {
            let [theirs, ours] = [[10, 0, 0, 2], [10, 0, 0, 1]];
            let sent = segment(theirs, ours, flags, &options);
            let got = place.gets(&message(false, None, false, Ip::V4.ppp()[0], &sent), false);
            let expected = segment(theirs, ours, flags, &expected);
            assert_eq!(got, [expected], "{engine:?} {flags:02x} {options:?}");
        }
    }
}

#[test]
fn an_mss_to_the_peer_is_no_larger_than_fits() {
    for &engine in ENGINES {
        let Some(place) = Place::new(engine, Framing::default()) else {
            return;
        };
        let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)));
        let raw = place.bed.lns.enter(raw).unwrap();
        let to = SocketAddr::from(([10, 0, 0, 2], 0)).into();
        for (flags, options, expected) in table() {
            let [ours, theirs] = [[10, 0, 0, 1], [10, 0, 0, 2]];
            raw.send_to(&segment(ours, theirs, flags, &options), &to)
                .unwrap();
            // The kernel says things of its own accord over IPv6.
            let got = loop {
                let mut datagram = vec![0; 2048];
                let len = place.lac.recv(&mut datagram).unwrap();
                let packet = packet_in(&datagram[..len]).to_vec();
                if packet[0] >> 4 == 4 {
                    break packet;
                }
            };
            let expected = segment(ours, theirs, flags, &expected);
            assert_eq!(got, expected, "{engine:?} {flags:02x} {options:?}");
            assert_eq!(with_pseudo_header(&got), 0xffff);
        }
    }
}
