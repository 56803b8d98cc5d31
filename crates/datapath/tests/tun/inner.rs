//! What peers' packets have inside that engines are not to look into: fragments, and headers between IPv6 and its transport.

use datapath::Framing;

use super::bed::{ipv4_udp, ipv6_udp, sum};
use super::conformance::{ENGINES, Ip, Place, message};

/// The port of the host's sockets of a [`Place`].
const PORT: u16 = 5000;

fn payload() -> Vec<u8> {
    (0..2000_u16).map(|i| (i % 251) as u8).collect()
}

/// A datagram of IPv4 in three fragments: the first, one with more before and behind it, and the last.
fn ipv4_fragments() -> Vec<Vec<u8>> {
    let whole = ipv4_udp("10.0.0.2", ([10, 0, 0, 1], PORT).into(), &payload());
    let parts: Vec<&[u8]> = whole[20..].chunks(800).collect();
    let fragment = |(number, part): (usize, &&[u8])| {
        let mut header = whole[..20].to_vec();
        let more = u16::from(number + 1 < parts.len()) << 13;
        let fields = [20 + part.len() as u16, 7, more | (number as u16 * 100)];
        header[2..8].copy_from_slice(&fields.map(u16::to_be_bytes).concat());
        header[10..12].fill(0);
        let checksum = !sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        [&header, *part].concat()
    };
    parts.iter().enumerate().map(fragment).collect()
}

/// A packet of IPv6 with this after its header, the first octet of which is to be the next header's number.
fn with_header(packet: &[u8], number: u8, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut fixed = packet[..40].to_vec();
    let len = (header.len() + payload.len()) as u16;
    fixed[4..6].copy_from_slice(&len.to_be_bytes());
    fixed[6] = number;
    [&fixed, &packet[6..7], &header[1..], payload].concat()
}

/// The same of IPv6 (RFC 8200 section 4.5).
fn ipv6_fragments() -> Vec<Vec<u8>> {
    let whole = ipv6_udp("fe80::2", "fe80::1", PORT, &payload());
    let parts: Vec<&[u8]> = whole[40..].chunks(800).collect();
    let fragment = |(number, part): (usize, &&[u8])| {
        let [high, low] = (number as u16 * 800).to_be_bytes();
        let more = u8::from(number + 1 < parts.len());
        with_header(&whole, 44, &[0, 0, high, low | more, 0, 0, 0, 7], part)
    };
    parts.iter().enumerate().map(fragment).collect()
}

/// A datagram of IPv6 after options: for the destination, or for each router, all of them padding.
fn after_options(number: u8) -> Vec<u8> {
    let plain = ipv6_udp("fe80::2", "fe80::1", PORT, &payload()[..900]);
    with_header(&plain, number, &[0, 0, 1, 4, 0, 0, 0, 0], &plain[40..])
}

/// Each packet comes out by itself and unchanged, in every framing; then the host makes a datagram of them.
fn come_through(place: &mut Place, ip: Ip, packets: &[Vec<u8>], payload: &[u8]) {
    for ppp in ip.ppp() {
        for length in [false, true] {
            for packet in packets {
                let got = place.gets(&message(length, None, false, ppp, packet), false);
                assert_eq!(got, std::slice::from_ref(packet), "{length} {ppp:02x?}");
            }
            let mut octets = [0; 4096];
            let len = place.host(ip).recv(&mut octets).unwrap();
            assert!(octets[..len] == *payload, "{len} octets of {ip:?}");
        }
    }
}

#[test]
fn fragments_and_packets_with_other_headers_come_out_whole() {
    let payload = payload();
    for &engine in ENGINES {
        let Some(mut place) = Place::new(engine, Framing::default()) else {
            return;
        };
        come_through(&mut place, Ip::V4, &ipv4_fragments(), &payload);
        come_through(&mut place, Ip::V6, &ipv6_fragments(), &payload);
        // Destination options, and hop-by-hop options.
        for number in [60, 0] {
            come_through(
                &mut place,
                Ip::V6,
                &[after_options(number)],
                &payload[..900],
            );
        }
        place.is_carried_by(engine);
    }
}
