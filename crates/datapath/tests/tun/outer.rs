//! What is around the packets of sessions: headers, paths, sockets in several networks.

use std::net::{SocketAddr, UdpSocket};

use datapath::socket::{Headers, Place, Socket};
use datapath::{Device, Event, Handle, NetworkSpec, Outer, Request};

use super::bed::{Bed, End, Namespace, ipv4_udp, network, own, session};
use super::{LAC, LCP, LNS, packet_to_lns};

/// The addresses of both ends, over both versions of IP.
const ENDS: [(&str, &str); 2] = [(LNS, LAC), ("[fd09::1]:1701", "[fd09::2]:1701")];

/// What the test reads of an IP packet with UDP in it.
#[derive(PartialEq, Eq, Debug)]
struct Udp {
    tos: u8,
    /// DF, or IPv6.
    whole: bool,
    has_checksum: bool,
    to_port: u16,
}

impl Udp {
    fn of(packet: &[u8]) -> Option<Self> {
        let (tos, whole, udp) = match packet.first()? >> 4 {
            4 if packet[9] == 17 => (packet[1], packet[6] & 0x40 != 0, &packet[20..]),
            6 if packet[6] == 17 => (packet[0] << 4 | packet[1] >> 4, true, &packet[40..]),
            _ => return None,
        };
        Some(Self {
            tos,
            whole,
            has_checksum: udp[6..8] != [0, 0],
            to_port: u16::from_be_bytes([udp[2], udp[3]]),
        })
    }
}

#[test]
fn the_headers_around_data_messages_are_as_wanted() {
    let Some(bed) = Bed::new() else { return };
    for (lns_address, lac_address) in ENDS {
        let mut lns = End::start(&bed.lns, lns_address);
        let wire = bed.lac.wire();
        for (number, dscp) in [0, 46, 63, 8].into_iter().enumerate() {
            let outer = Outer {
                dscp,
                ecn: true,
                dont_fragment: number & 1 != 0,
                no_checksum: number & 2 != 0,
            };
            let number = number as u16 + 1;
            let mut spec = session(number, true, lns_address, lac_address, own());
            spec.outer = outer;
            lns.create(number.into(), spec).unwrap();
            lns.submit(Request::Send {
                handle: Handle(number.into()),
                frame: LCP.to_vec(),
            });
            let sent = wire.find(|packet| Udp::of(packet).filter(|udp| udp.to_port == 1701));
            assert_eq!(
                (sent.tos, sent.has_checksum),
                (dscp << 2, !outer.no_checksum)
            );
            assert!(sent.whole || !outer.dont_fragment, "{outer:?}");
        }
    }
}

#[test]
fn a_session_without_checksums_carries_traffic_over_both_versions() {
    let Some(bed) = Bed::new() else { return };
    for (lns_address, lac_address) in ENDS {
        let mut lns = End::start(&bed.lns, lns_address);
        let mut lac = End::start(&bed.lac, lac_address);
        for (end, is_lns) in [(&mut lns, true), (&mut lac, false)] {
            let (local, remote) = if is_lns {
                (lns_address, lac_address)
            } else {
                (lac_address, lns_address)
            };
            let mut spec = session(1, is_lns, local, remote, own());
            spec.outer.no_checksum = true;
            end.create(1, spec).unwrap();
        }
        lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
        lac.configure(1, network("10.0.0.2", "10.0.0.1")).unwrap();
        bed.lac.ping("10.0.0.1");
        Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 20);
    }
}

#[test]
fn checksums_of_a_session_can_be_left_out_and_put_in_again_while_it_lives() {
    let Some(bed) = Bed::new() else { return };
    for (lns_address, lac_address) in ENDS {
        let mut lns = End::start(&bed.lns, lns_address);
        let wire = bed.lac.wire();
        let spec = session(1, true, lns_address, lac_address, own());
        lns.create(1, spec).unwrap();
        for no_checksum in [false, true, false, true, false] {
            let handle = Handle(1);
            lns.submit(Request::SetChecksums {
                handle,
                no_checksum,
            });
            let frame = LCP.to_vec();
            lns.submit(Request::Send { handle, frame });
            let sent = wire.find(|packet| Udp::of(packet).filter(|udp| udp.to_port == 1701));
            assert_eq!(sent.has_checksum, !no_checksum);
        }
        // And what is heard is heard as before.
        lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
        let mut lac = End::start(&bed.lac, lac_address);
        lac.create(1, session(1, false, lac_address, lns_address, own()))
            .unwrap();
        lac.configure(1, network("10.0.0.2", "10.0.0.1")).unwrap();
        bed.lac.ping("10.0.0.1");
    }
}

#[test]
fn nothing_that_comes_is_lost_to_the_sockets_that_only_send() {
    let Some(bed) = Bed::new() else { return };
    for (lns_address, lac_address) in ENDS {
        let lns = End::start(&bed.lns, lns_address);
        let from = SocketAddr::new(lac_address.parse::<SocketAddr>().unwrap().ip(), 0);
        for number in 0..500u32 {
            // Each from a port of its own: the kernel would spread them over a group by that.
            let peer = bed.lac.enter(|| UdpSocket::bind(from)).unwrap();
            peer.send_to(&number.to_be_bytes(), lns_address).unwrap();
            match lns.event() {
                Event::Control { payload, .. } => assert_eq!(payload, number.to_be_bytes()),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn congestion_is_told_across_a_tunnel_whose_ends_know_how() {
    for (lns_address, lac_address) in ENDS {
        // A bed of its own each time: addresses inside are the same.
        let Some(bed) = Bed::new() else { return };
        congestion_is_told(&bed, lns_address, lac_address);
    }
}

fn congestion_is_told(bed: &Bed, lns_address: &str, lac_address: &str) {
    let mut lns = End::start(&bed.lns, lns_address);
    let to_lns: SocketAddr = lns_address.parse().unwrap();
    let lac = bed.lac.enter(|| {
        let domain = socket2::Domain::for_address(to_lns);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None).unwrap();
        let address: SocketAddr = lac_address.parse().unwrap();
        socket.bind(&address.into()).unwrap();
        socket
    });
    for (number, ecn) in [(1, true), (2, false)] {
        let mut spec = session(number, true, lns_address, lac_address, own());
        (spec.outer.ecn, spec.outer.dscp) = (ecn, 10);
        lns.create(number.into(), spec).unwrap();
        lns.configure(number.into(), network("10.0.0.1", "10.0.0.2"))
            .unwrap();
        let host = bed.lns.udp("10.0.0.1:5000");
        let wire = bed.lac.wire();
        for inner in 0..4 {
            socket2::SockRef::from(&*host)
                .set_tos_v4(0xb8 | inner)
                .unwrap();
            host.send_to(b"out", "10.0.0.2:9").unwrap();
            let sent = wire.find(|packet| Udp::of(packet).filter(|udp| udp.to_port == 1701));
            let expected = if ecn { inner as u8 } else { 0 };
            assert_eq!(sent.tos, 10 << 2 | expected);
        }

        let inside = bed.lns.wire();
        let errors = lns.stats(number.into()).rx_errors;
        let to = host.local_addr().unwrap();
        // ECT(0), ECT(1) and Not-ECT that met with congestion on the way, and then one that did not.
        for (inner, outer) in [(2, 3), (1, 3), (0, 3), (2, 0)] {
            let mut packet = ipv4_udp("10.0.0.2", to, b"in");
            // The header's checksum has room for it.
            let checksum = u16::from_be_bytes([packet[10], packet[11]]) - inner;
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            packet[1] = inner as u8;
            match to_lns {
                SocketAddr::V4(_) => lac.set_tos_v4(outer).unwrap(),
                SocketAddr::V6(_) => lac.set_tclass_v6(outer).unwrap(),
            }
            lac.send_to(&packet_to_lns(number as u8, &packet), &to_lns.into())
                .unwrap();
            if ecn && (inner, outer) == (0, 3) {
                continue;
            }
            let came = inside.find(|packet| Udp::of(packet).filter(|udp| udp.to_port == 5000));
            let expected = if ecn {
                inner as u8 | outer as u8
            } else {
                inner as u8
            };
            assert_eq!(came.tos, expected, "{inner} in {outer}");
            // The kernel took it, so its checksum is right.
            assert_eq!(host.recv(&mut [0; 9]).unwrap(), 2);
        }
        let dropped = lns.stats(number.into()).rx_errors - errors;
        assert_eq!(dropped, u64::from(ecn), "only what would not understand");
        drop(host);
        lns.remove(number.into()).unwrap();
    }
}

/// A LAC whose path to an LNS in `far` is narrower than its own link, with a session that forbids fragments; and what it says of the path first.
fn across_a_router(
    bed: &Bed,
    far: &Namespace,
    lns_address: &str,
    lac_address: &str,
    device: Device,
) -> (End, End, u16) {
    let mut lns = End::start(far, lns_address);
    let mut lac = End::start(&bed.lac, lac_address);
    lns.create(1, session(1, true, lns_address, lac_address, own()))
        .unwrap();
    lns.configure(1, wide("10.0.0.1", "10.0.0.2")).unwrap();
    let mut spec = session(1, false, lac_address, lns_address, device);
    spec.outer.dont_fragment = true;
    lac.submit(Request::Create {
        token: datapath::Token(0),
        handle: Handle(1),
        spec,
    });
    let first = path_mtu(&lac);
    lac.configure(1, wide("10.0.0.2", "10.0.0.1")).unwrap();
    (lns, lac, first)
}

fn wide(local: &str, peer: &str) -> NetworkSpec {
    NetworkSpec {
        mtu: 1450,
        ..network(local, peer)
    }
}

fn path_mtu(end: &End) -> u16 {
    match end.event() {
        Event::PathMtu {
            listener: None,
            mtu,
            ..
        } => mtu,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_narrow_path_bounds_a_session_and_large_transfers_go_through() {
    let Some(bed) = Bed::new() else { return };
    let far = bed.behind_a_router(1400);
    for (lns_address, lac_address) in [("10.8.0.1:1701", LAC), ("[fd08::1]:1701", "[fd09::2]:1701")]
    {
        for device in [own(), Device::Shared] {
            bed.lac.run("ip route flush cache");
            bed.lac.run("ip -6 route flush cache");
            let (mut lns, mut lac, first) =
                across_a_router(&bed, &far, lns_address, lac_address, device);
            assert_eq!(first, 1500, "that of the link");

            let host = bed.lac.udp("10.0.0.2:0");
            host.send_to(&[0; 1400], "10.0.0.1:9").unwrap();
            assert_eq!(path_mtu(&lac), 1400, "as the router says");
            // What the control plane makes of it.
            let mut narrow = wide("10.0.0.2", "10.0.0.1");
            narrow.mtu = 1400 - 62;
            lac.configure(1, narrow).unwrap();

            let wire = bed.lac.wire();
            Bed::transfer(&bed.lac, &far, "10.0.0.1", 1 << 20);
            let whole = wire.find(|packet| Udp::of(packet).filter(|udp| udp.to_port == 1701));
            assert!(whole.whole);
            lac.remove(1).unwrap();
            lns.remove(1).unwrap();
        }
    }
}

#[test]
fn what_every_link_carries_goes_in_fragments_where_the_path_is_narrower_still() {
    let Some(bed) = Bed::new() else { return };
    let far = bed.behind_a_router(1290);
    for (lns_address, lac_address) in [("10.8.0.1:1701", LAC), ("[fd08::1]:1701", "[fd09::2]:1701")]
    {
        let (_lns, lac, _) = across_a_router(&bed, &far, lns_address, lac_address, own());
        let host = bed.lac.udp("10.0.0.2:0");
        host.send_to(&[0; 1252], "10.0.0.1:9").unwrap();
        assert_eq!(path_mtu(&lac), 1290);
        bed.lac.ping("-s 1252 10.0.0.1");
    }
}

#[test]
fn a_path_that_has_grown_is_noticed() {
    let Some(bed) = Bed::new() else { return };
    let far = bed.behind_a_router(1400);
    bed.lac
        .sysctl(&["ipv4/route/mtu_expires=1", "ipv6/route/mtu_expires=1"]);
    for (lns_address, lac_address) in [("10.8.0.1:1701", LAC), ("[fd08::1]:1701", "[fd09::2]:1701")]
    {
        let (_lns, lac, _) = across_a_router(&bed, &far, lns_address, lac_address, own());
        let host = bed.lac.udp("10.0.0.2:0");
        host.send_to(&[0; 1400], "10.0.0.1:9").unwrap();
        assert_eq!(path_mtu(&lac), 1400);
        assert_eq!(path_mtu(&lac), 1500, "once the kernel has forgotten");
    }
}

#[test]
fn a_peer_that_is_not_there_is_reported() {
    let Some(bed) = Bed::new() else { return };
    for (lns_address, lac_address) in ENDS {
        let lac = End::start(&bed.lac, lac_address);
        let (local, remote) = (lac_address.parse().unwrap(), lns_address.parse().unwrap());
        let nobody: SocketAddr = lns_address.parse().unwrap();
        lac.socket
            .send(local, remote, Headers::default(), b"hello?")
            .unwrap();
        match lac.event() {
            Event::Unreachable {
                listener: None,
                remote,
                reason,
            } => {
                assert_eq!(remote, nobody);
                assert!(reason.contains("refused"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        // What comes after it is sent all the same.
        let lns = bed.lns.udp(lns_address);
        lac.socket
            .send(local, remote, Headers::default(), b"hello!")
            .unwrap();
        assert_eq!(lns.recv(&mut [0; 9]).unwrap(), 6);
    }
}

#[test]
fn the_same_addresses_in_two_networks_are_two_peers() {
    let Some(bed) = Bed::new() else { return };
    let Some(other) = Bed::new() else { return };
    // The engine is in a network of its own; both of its sockets have the same address.
    let home = Bed::new().unwrap().lns;
    let mut lns = End::start(&home, "127.0.0.1:1701");
    for (name, there) in [("red", &bed), ("blue", &other)] {
        let place = Place {
            listener: Some(name.into()),
            address: LNS.parse().unwrap(),
            interface: Some("wire".to_owned()),
            namespace: Some(there.lns.path()),
        };
        lns.engines().add_socket(Socket::open(&place).unwrap());
    }
    for (number, name) in [(1, "red"), (2, "blue")] {
        let mut spec = session(number, true, LNS, LAC, own());
        spec.transport.listener = Some(name.into());
        lns.create(number.into(), spec).unwrap();
        let spec = network("10.0.0.1", &format!("10.0.0.{}", number + 1));
        lns.configure(number.into(), spec).unwrap();
    }
    let peers = [bed.lac.udp(LAC), other.lac.udp(LAC)];
    let host = home.udp("10.0.0.1:5000");
    let to = host.local_addr().unwrap();
    for (number, peer) in [(1, &peers[0]), (2, &peers[1])] {
        lns.submit(Request::Send {
            handle: Handle(number.into()),
            frame: LCP.to_vec(),
        });
        let mut octets = [0; 100];
        peer.recv(&mut octets).unwrap();
        assert_eq!(octets[5], 200 + number, "each to its own network");

        // Who is in the other network is a stranger.
        let source = format!("10.0.0.{}", number + 1);
        let packet = packet_to_lns(number, &ipv4_udp(&source, to, b"in"));
        peers[usize::from(2 - number)]
            .send_to(&packet, LNS)
            .unwrap();
        peers[usize::from(2 - number)]
            .send_to(b"marker", LNS)
            .unwrap();
        assert!(matches!(
            lns.event(),
            Event::Control {
                listener: Some(_),
                ..
            }
        ));
        assert_eq!(lns.stats(number.into()).rx_errors, 1);
        peer.send_to(&packet, LNS).unwrap();
        assert_eq!(host.recv(&mut octets).unwrap(), 2);
    }
}

#[test]
fn a_place_that_is_not_there_is_named() {
    let nowhere = |interface: Option<&str>, namespace: Option<&str>| {
        let place = Place {
            listener: None,
            address: "127.0.0.1:0".parse().unwrap(),
            interface: interface.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
        };
        Socket::open(&place).unwrap_err().to_string()
    };
    assert!(nowhere(Some("nowhere0"), None).contains("nowhere0"));
    assert!(nowhere(None, Some("no-such-namespace")).contains("/run/netns/no-such-namespace"));
}
