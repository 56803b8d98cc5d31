//! The `tun` engine against the kernel, in network namespaces of the test's own. These tests need root.
#![allow(clippy::unwrap_used, reason = "tests only")]

#[cfg(test)]
mod allocations;
#[cfg(test)]
mod bed;
#[cfg(test)]
mod capture;
#[cfg(all(test, feature = "ebpf"))]
mod clsact;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod drops;
#[cfg(all(test, feature = "ebpf"))]
mod ebpf;
#[cfg(test)]
mod family;
#[cfg(test)]
mod forwarding;
#[cfg(test)]
mod inner;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod mppe;
#[cfg(test)]
mod mss;
#[cfg(test)]
mod outer;
#[cfg(test)]
mod pools;
mod proxy;
#[cfg(test)]
mod rough;
#[cfg(test)]
mod sequencing;
mod survey;
#[cfg(test)]
mod train;
#[cfg(test)]
mod underlay;
#[cfg(all(test, feature = "ebpf"))]
mod vlan;

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use bed::{Bed, End, dual_stack, ipv4_udp, ipv6, ipv6_udp, network, own, session};
use datapath::device::{Interface, TunDevice};
use datapath::netlink::{Address, Netlink};
use datapath::socket::{Headers, Socket};
use datapath::{DatapathError, Device, Event, Framing, Handle, Ids, NetworkSpec, Request, Route};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const LNS: &str = "10.9.0.1:1701";
const LAC: &str = "10.9.0.2:1701";
/// An LNS that is not on the LAC's own network.
const FAR_LNS: &str = "192.0.2.1:1701";

/// An LCP Echo-Request.
const LCP: &[u8] = &[0xff, 0x03, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0];

/// A data message for session 100 + `number` of the LNS.
fn to_lns(number: u8, frame: &[u8]) -> Vec<u8> {
    [&[0, 2, 0, 100, 0, 100 + number], frame].concat()
}

/// The same with an IP packet.
fn packet_to_lns(number: u8, packet: &[u8]) -> Vec<u8> {
    to_lns(number, &[&[0xff, 3, 0, 0x21], packet].concat())
}

/// An LNS and a LAC with session 1 between them: on the shared device, and on one of its own.
fn one_session(bed: &Bed) -> (End, End) {
    let mut lns = End::start(&bed.lns, LNS);
    let mut lac = End::start(&bed.lac, LAC);
    lns.create(1, session(1, true, LNS, LAC, Device::Shared))
        .unwrap();
    lac.create(1, session(1, false, LAC, LNS, own())).unwrap();
    (lns, lac)
}

#[test]
fn a_session_carries_pings_and_tcp_between_a_shared_device_and_one_of_its_own() {
    let Some(bed) = Bed::new() else { return };
    let before = [&bed.lns, &bed.lac].map(|end| end.configuration());
    let (mut lns, mut lac) = one_session(&bed);
    let [lns_side, lac_side] = dual_stack();
    assert_eq!(lns.configure(1, lns_side).unwrap(), "l2tp0");
    assert_eq!(lac.configure(1, lac_side).unwrap(), "ppp0");

    bed.lac.ping("10.0.0.1");
    bed.lns.ping("10.0.0.2");
    bed.lac.ping("fe80::1%ppp0");
    bed.lns.ping("fe80::2%l2tp0");
    Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 4 << 20);
    Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 4 << 20);

    let stats = lns.remove(1).unwrap();
    assert!(
        stats.rx_bytes > 4 << 20 && stats.tx_bytes > 4 << 20,
        "{stats:?}"
    );
    assert_eq!(stats.rx_errors, 0);
    let left = bed.lns.configuration();
    assert!(
        !left.contains("10.0.0.") && !left.contains("fe80::1/"),
        "{left}"
    );
    lac.remove(1).unwrap();
    assert!(!bed.lac.configuration().contains("ppp0"));
    drop((lns, lac));
    assert_eq!([&bed.lns, &bed.lac].map(|end| end.configuration()), before);
}

#[test]
fn a_dropped_engine_leaves_nothing_behind() {
    let Some(bed) = Bed::new() else { return };
    let before = bed.lac.configuration();
    let mut lac = End::start(&bed.lac, LAC);
    for (number, device) in [(1, Device::Shared), (2, own()), (3, own())] {
        lac.create(number.into(), session(number, false, LAC, LNS, device))
            .unwrap();
        let mut spec = network("10.0.0.2", &format!("10.0.0.{}", 10 + number));
        spec.routes = vec![Route {
            to: "10.9.0.0/16".parse().unwrap(),
            metric: Some(number.into()),
        }];
        lac.configure(number.into(), spec).unwrap();
    }
    assert_ne!(bed.lac.configuration(), before);
    drop(lac);
    assert_eq!(bed.lac.configuration(), before);
}

#[test]
fn sessions_run_over_ipv6() {
    let Some(bed) = Bed::new() else { return };
    let (lns_address, lac_address) = ("[fd09::1]:1701", "[fd09::2]:1701");
    let mut lns = End::start(&bed.lns, "[::]:1701");
    let mut lac = End::start(&bed.lac, lac_address);
    lns.create(1, session(1, true, lns_address, lac_address, own()))
        .unwrap();
    lac.create(1, session(1, false, lac_address, lns_address, own()))
        .unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    lac.configure(1, network("10.0.0.2", "10.0.0.1")).unwrap();
    bed.lac.ping("10.0.0.1");
    Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 20);
}

#[test]
fn what_is_larger_than_the_path_goes_in_fragments() {
    let Some(bed) = Bed::new() else { return };
    for (lns_address, lac_address) in [(LNS, LAC), ("[fd09::1]:1701", "[fd09::2]:1701")] {
        let mut lns = End::start(&bed.lns, lns_address);
        let mut lac = End::start(&bed.lac, lac_address);
        lns.create(1, session(1, true, lns_address, lac_address, own()))
            .unwrap();
        lac.create(1, session(1, false, lac_address, lns_address, own()))
            .unwrap();
        let mut lns_side = network("10.0.0.1", "10.0.0.2");
        let mut lac_side = network("10.0.0.2", "10.0.0.1");
        (lns_side.mtu, lac_side.mtu) = (1500, 1500);
        lns.configure(1, lns_side).unwrap();
        lac.configure(1, lac_side).unwrap();
        bed.lac.ping("-s 1472 -M do 10.0.0.1");
    }
}

#[test]
fn what_is_not_an_open_sessions_packet_goes_up() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start(&bed.lns, "0.0.0.0:1701");
    bed.lns.run("ip addr add 10.9.0.77/24 dev wire");
    let lac = bed.lac.udp(LAC);
    let remote: SocketAddr = LAC.parse().unwrap();
    let local: SocketAddr = "10.9.0.77:1701".parse().unwrap();

    let control = b"\xc8\x02\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    for payload in [control, b"no L2TP".to_vec(), Vec::new()] {
        lac.send_to(&payload, local).unwrap();
        assert_eq!(
            lns.event(),
            Event::Control {
                listener: None,
                local,
                remote,
                payload
            }
        );
    }

    let ids = Ids {
        tunnel: 100,
        session: 101,
    };
    let up = |frame: &[u8]| Event::Frame {
        listener: None,
        local,
        remote,
        ids,
        ns: None,
        frame: frame.to_vec(),
    };
    lac.send_to(&to_lns(1, LCP), local).unwrap();
    assert_eq!(lns.event(), up(LCP), "of a session that is not known");

    lns.create(1, session(1, true, "10.9.0.77:1701", LAC, Device::Shared))
        .unwrap();
    let ip = [0, 0x21, 0x45, 0];
    for frame in [LCP, &ip, &[]] {
        lac.send_to(&to_lns(1, frame), local).unwrap();
        assert_eq!(lns.event(), up(frame), "before the network is open");
    }

    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    for frame in [LCP, &[0, 0x57, 0x60], &[0x80]] {
        lac.send_to(&to_lns(1, frame), local).unwrap();
        assert_eq!(lns.event(), up(frame), "of another protocol");
    }
    assert_eq!(lns.stats(1).rx_errors, 0);
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start(&bed.lns, "0.0.0.0:1701");
    bed.lns.run("ip addr add 10.9.0.77/24 dev wire");
    let lac = bed.lac.udp(LAC);
    let (local, remote) = ("10.9.0.77:1701".parse().unwrap(), LAC.parse().unwrap());
    let mut octets = [0; 100];

    let plain = Headers::default();
    lns.socket.send(local, remote, plain, b"control").unwrap();
    let (len, from) = lac.recv_from(&mut octets).unwrap();
    assert_eq!((&octets[..len], from), (&b"control"[..], local));

    lns.create(1, session(1, true, "10.9.0.77:1701", LAC, Device::Shared))
        .unwrap();
    lns.submit(Request::Send {
        handle: Handle(1),
        frame: LCP.to_vec(),
    });
    let (len, from) = lac.recv_from(&mut octets).unwrap();
    assert_eq!(
        (&octets[..len], from),
        (&[&[1, 2, 0, 200, 0, 201], LCP].concat()[..], local),
        "an echo goes first: P is set"
    );
}

#[test]
fn what_comes_while_its_layer_is_being_opened_is_not_lost() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start(&bed.lns, LNS);
    let lac = bed.lac.udp(LAC);
    lns.create(1, session(1, true, LNS, LAC, Device::Shared))
        .unwrap();
    let mut both = network("10.0.0.1", "10.0.0.2");
    both.ipv6 = ipv6("fe80::1", "fe80::2");
    let mut one = both.clone();
    one.ipv4 = None;
    // They take the host a while.
    both.routes = (0..=255_u8)
        .map(|third| Route {
            to: format!("10.77.{third}.0/24").parse().unwrap(),
            metric: None,
        })
        .collect();
    let configure = |network| {
        move |token| Request::Configure {
            token,
            handle: Handle(1),
            network,
        }
    };
    let first = lns.begin(configure(one));
    let second = lns.begin(configure(both));
    let host = bed.lns.udp("0.0.0.0:0");
    let to = SocketAddr::new(
        "10.0.0.1".parse().unwrap(),
        host.local_addr().unwrap().port(),
    );
    lns.completed(first).unwrap();
    for number in 0..9 {
        let packet = ipv4_udp("10.0.0.2", to, &[number]);
        lac.send_to(&packet_to_lns(1, &packet), LNS).unwrap();
    }
    lns.completed(second).unwrap();
    for number in 0..9 {
        let mut octets = [0; 100];
        let (len, _) = host.recv_from(&mut octets).unwrap();
        assert_eq!(octets[..len], [number]);
    }
}

#[test]
fn spoofed_packets_are_counted_and_dropped() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start(&bed.lns, LNS);
    let lac = bed.lac.udp(LAC);
    let stranger = bed.lac.udp("10.9.0.2:1702");
    lns.create(1, session(1, true, LNS, LAC, Device::Shared))
        .unwrap();
    let mut spec = network("10.0.0.1", "10.0.0.2");
    spec.routes = vec![Route {
        to: "10.5.0.0/16".parse().unwrap(),
        metric: None,
    }];
    lns.configure(1, spec).unwrap();
    let host = bed.lns.udp("10.0.0.1:0");
    let to = host.local_addr().unwrap();

    stranger
        .send_to(
            &packet_to_lns(1, &ipv4_udp("10.0.0.2", to, b"stranger")),
            LNS,
        )
        .unwrap();
    stranger.send_to(b"marker", LNS).unwrap();
    assert!(matches!(lns.event(), Event::Control { .. }));
    assert_eq!(lns.stats(1).rx_errors, 1, "from another outer port");

    for source in ["10.0.0.3", "10.6.0.1", "10.0.0.1"] {
        lac.send_to(&packet_to_lns(1, &ipv4_udp(source, to, b"spoofed")), LNS)
            .unwrap();
    }
    let mut cut = ipv4_udp("10.0.0.2", to, b"cut");
    cut.pop();
    lac.send_to(&packet_to_lns(1, &cut), LNS).unwrap();
    for source in ["10.0.0.2", "10.5.0.9"] {
        let packet = ipv4_udp(source, to, source.as_bytes());
        lac.send_to(&packet_to_lns(1, &packet), LNS).unwrap();
        let mut octets = [0; 100];
        let (len, from) = host.recv_from(&mut octets).unwrap();
        assert_eq!(&octets[..len], source.as_bytes());
        assert_eq!(from.ip().to_string(), source);
    }
    let stats = lns.stats(1);
    assert_eq!((stats.rx_errors, stats.rx_packets), (5, 2));
}

#[test]
fn every_framing_is_received_and_the_agreed_one_is_sent() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start(&bed.lns, LNS);
    let lac = bed.lac.udp(LAC);
    lns.create(1, session(1, true, LNS, LAC, own())).unwrap();
    let framings = [
        (false, false, &[0xff, 3, 0, 0x21][..]),
        (true, false, &[0xff, 3, 0x21]),
        (false, true, &[0, 0x21]),
        (true, true, &[0x21]),
    ];
    for (protocol_compression, address_control_compression, before) in framings {
        let mut spec = network("10.0.0.1", "10.0.0.2");
        spec.framing = Framing {
            protocol_compression,
            address_control_compression,
        };
        lns.configure(1, spec).unwrap();
        let host = bed.lns.udp("10.0.0.1:5000");
        host.send_to(b"out", "10.0.0.2:4000").unwrap();
        let mut octets = [0; 100];
        let (len, _) = lac.recv_from(&mut octets).unwrap();
        let expected = [&[0, 2, 0, 200, 0, 201], before, &[0x45]].concat();
        assert_eq!(&octets[..expected.len()], expected);
        assert_eq!(&octets[len - 3..len], b"out");

        for (_, _, before) in framings {
            let to = host.local_addr().unwrap();
            let frame = [before, &ipv4_udp("10.0.0.2", to, b"in")].concat();
            lac.send_to(&to_lns(1, &frame), LNS).unwrap();
            let (len, _) = host.recv_from(&mut octets).unwrap();
            assert_eq!(&octets[..len], b"in");
        }
    }
    // With a Length field, sequence numbers, an offset and octets past the length.
    let host = bed.lns.udp("10.0.0.1:5000");
    let packet = ipv4_udp("10.0.0.2", host.local_addr().unwrap(), b"in");
    let mut datagram = vec![
        0x4a, 2, 0, 0, 0, 100, 0, 101, 0, 7, 0, 0, 0, 2, 0xee, 0xee, 0x21,
    ];
    datagram.extend(packet);
    let length = datagram.len() as u16;
    datagram[2..4].copy_from_slice(&length.to_be_bytes());
    datagram.push(0xee);
    lac.send_to(&datagram, LNS).unwrap();
    let mut octets = [0; 100];
    assert_eq!(host.recv_from(&mut octets).unwrap().0, 2);
    assert_eq!(lns.stats(1).rx_errors, 0);
}

#[test]
fn twenty_sessions_share_a_device() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start(&bed.lns, LNS);
    let lac = bed.lac.udp(LAC);
    for number in 1..=20 {
        lns.create(
            number.into(),
            session(number, true, LNS, LAC, Device::Shared),
        )
        .unwrap();
        let mut spec = network("10.0.0.1", &format!("10.0.1.{number}"));
        spec.ipv6 = ipv6("fe80::1", &format!("fe80::1:{number}"));
        assert_eq!(lns.configure(number.into(), spec).unwrap(), "l2tp0");
    }
    lns.create(21, session(21, true, LNS, LAC, Device::Shared))
        .unwrap();
    let taken = lns.configure(21, network("10.0.0.1", "10.0.1.7"));
    assert_eq!(
        taken,
        Err(DatapathError::AddressInUse("10.0.1.7".parse().unwrap()))
    );
    assert!(bed.lns.run("ip route get 10.0.1.20").contains("l2tp0"));
    assert!(bed.lns.run("ip route show 10.0.1.20").contains("mtu 1400"));

    let host = bed.lns.udp("10.0.0.1:0");
    let mut octets = [0; 100];
    for number in 1..=20 {
        host.send_to(b"out", format!("10.0.1.{number}:9")).unwrap();
        let len = lac.recv(&mut octets).unwrap();
        assert_eq!(octets[..6], [0, 2, 0, 200, 0, 200 + number]);
        assert_eq!(&octets[len - 3..len], b"out");
        let packet = ipv4_udp(
            &format!("10.0.1.{number}"),
            host.local_addr().unwrap(),
            &[number],
        );
        lac.send_to(&packet_to_lns(number, &packet), LNS).unwrap();
        assert_eq!(host.recv(&mut octets).unwrap(), 1);
        assert_eq!(octets[0], number);
    }
    for number in 1..20 {
        lns.remove(number).unwrap();
    }
    assert!(
        bed.lns.run("ip addr show l2tp0").contains("10.0.0.1/32"),
        "the last one uses it"
    );
    assert!(
        lns.configure(21, network("10.0.0.1", "10.0.1.7")).is_ok(),
        "free again"
    );
    for number in 20..=21 {
        lns.remove(number).unwrap();
    }
    assert!(!bed.lns.configuration().contains("10.0."));
}

/// An LNS that is reached by the default route, and a LAC whose session becomes it.
fn by_default_route(bed: &Bed) -> (End, End) {
    bed.lns.run("ip addr add 192.0.2.1/32 dev lo");
    bed.lns.run("ip addr add 198.51.100.1/32 dev lo");
    bed.lac.run("ip route add default via 10.9.0.1");
    let mut lns = End::start(&bed.lns, FAR_LNS);
    let mut lac = End::start(&bed.lac, "0.0.0.0:1701");
    lns.create(1, session(1, true, FAR_LNS, LAC, Device::Shared))
        .unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    lac.create(1, session(1, false, LAC, FAR_LNS, own()))
        .unwrap();
    (lns, lac)
}

fn everything() -> NetworkSpec {
    let mut spec = network("10.0.0.2", "10.0.0.1");
    spec.routes = vec![Route {
        to: "0.0.0.0/0".parse().unwrap(),
        metric: None,
    }];
    spec
}

#[test]
fn a_default_route_leaves_the_tunnels_own_path_alone() {
    let Some(bed) = Bed::new() else { return };
    let (_lns, mut lac) = by_default_route(&bed);
    let before = bed.lac.configuration();
    lac.configure(1, everything()).unwrap();

    assert!(
        bed.lac
            .run("ip route get 198.51.100.1")
            .contains("dev ppp0")
    );
    assert!(
        bed.lac
            .run("ip route get 192.0.2.1")
            .contains("via 10.9.0.1 dev wire")
    );
    bed.lac.ping("198.51.100.1");
    let stats = lac.remove(1).unwrap();
    assert!(stats.tx_packets >= 5 && stats.rx_packets >= 5, "{stats:?}");
    assert_eq!(bed.lac.configuration(), before);
}

#[test]
fn the_path_that_a_killed_process_left_is_taken_over_and_an_administrators_is_not() {
    let Some(bed) = Bed::new() else { return };
    let (_lns, mut lac) = by_default_route(&bed);
    let path = "192.0.2.1 via 10.9.0.1 dev wire proto";
    for (owner, stays) in [("171", false), ("static", true)] {
        bed.lac.run(&format!("ip route add {path} {owner}"));
        lac.configure(1, everything()).unwrap();
        lac.configure(1, network("10.0.0.2", "10.0.0.1")).unwrap();
        let routes = bed.lac.run("ip route show");
        assert_eq!(routes.contains("192.0.2.1"), stays, "{owner}: {routes}");
    }
}

#[test]
fn the_path_comes_back_with_its_link() {
    let Some(bed) = Bed::new() else { return };
    let (_lns, mut lac) = by_default_route(&bed);
    lac.configure(1, everything()).unwrap();
    bed.lac.run("ip link set wire down");
    let path = || bed.lac.run("ip route get 192.0.2.1");
    assert!(path().contains("dev ppp0"));
    bed.lac.run("ip link set wire up");
    let is_back = |_| path().contains("via 10.9.0.1 dev wire");
    assert!((0..10_000).any(is_back), "{}", path());
    bed.lac.ping("198.51.100.1");
}

#[test]
fn a_tunnel_that_lost_its_path_does_not_go_round_in_itself() {
    let Some(bed) = Bed::new() else { return };
    let (_lns, mut lac) = by_default_route(&bed);
    lac.configure(1, everything()).unwrap();
    // With it go the tunnel's path and the default route that was before.
    bed.lac.run("ip link set wire down");
    let host = bed.lac.udp("0.0.0.0:0");
    host.send_to(b"to the peer's network", "198.51.100.1:9")
        .unwrap();
    let mut stats = (0..10_000).map(|_| lac.stats(1));
    let stats = stats.find(|stats| stats.tx_errors > 0).unwrap();
    assert_eq!((stats.tx_packets, stats.tx_errors), (1, 1));
}

#[test]
fn a_device_may_have_the_first_free_number_behind_a_name() {
    let Some(bed) = Bed::new() else { return };
    let mut lac = End::start(&bed.lac, LAC);
    for (id, device) in [(1, "wan0"), (2, "wan1")] {
        let named = Device::Own {
            name: Some("wan%d".to_owned()),
        };
        lac.create(id, session(id as u16, false, LAC, LNS, named))
            .unwrap();
        let spec = network(&format!("10.0.{id}.2"), &format!("10.0.{id}.1"));
        assert_eq!(lac.configure(id, spec).unwrap(), device);
    }
}

#[test]
fn an_address_of_ipv6_is_in_use_once_it_is_added() {
    let Some(bed) = Bed::new() else { return };
    bed.lns.enter(|| {
        let netlink = Netlink::open().unwrap();
        let host = UdpSocket::bind("[::]:5000").unwrap();
        let patience = Some(std::time::Duration::from_secs(5));
        host.set_read_timeout(patience).unwrap();
        for number in 1..=50 {
            let device = TunDevice::create(None).unwrap();
            netlink.bring_up(&device, 1400).unwrap();
            let [local, peer] =
                [1, 2].map(|end| Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, number, end]));
            let has_peer = number % 2 == 0;
            let address = Address {
                device: device.index(),
                local: local.into(),
                peer: has_peer.then_some(peer.into()),
            };
            netlink.add_address(&address).unwrap();
            let packet = ipv6_udp(&peer.to_string(), &local.to_string(), 5000, b"packet");
            device
                .write(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &packet)
                .unwrap();
            let came = host.recv(&mut [0; 8]);
            assert_eq!(came.unwrap(), 6, "device {number}");
            if has_peer {
                let sent = host.send_to(b"packet", (peer, 9));
                assert_eq!(sent.unwrap(), 6, "device {number}");
            }
        }
    });
}

#[test]
fn a_session_is_configured_anew_on_the_same_device() {
    let Some(bed) = Bed::new() else { return };
    let mut lac = End::start(&bed.lac, LAC);
    let named = Device::Own {
        name: Some("uplink".to_owned()),
    };
    lac.create(1, session(1, false, LAC, LNS, named)).unwrap();
    let mut spec = network("10.0.0.2", "10.0.0.1");
    assert_eq!(lac.configure(1, spec.clone()).unwrap(), "uplink");
    spec.ipv6 = ipv6("fe80::2", "fe80::1");
    spec.mtu = 1300;
    lac.configure(1, spec.clone()).unwrap();
    let shown = bed.lac.run("ip addr show uplink");
    for part in [
        "mtu 1300",
        "10.0.0.2 peer 10.0.0.1/32",
        "fe80::2 peer fe80::1/128",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    spec.mtu = 1200;
    let error = lac.configure(1, spec.clone()).unwrap_err();
    assert!(error.to_string().contains("1280"), "{error}");
    assert_eq!(
        bed.lac.run("ip addr show uplink"),
        shown,
        "a failure changes nothing"
    );

    spec.ipv6 = None;
    spec.ipv4.as_mut().unwrap().peer = "10.0.0.9".parse().unwrap();
    lac.configure(1, spec).unwrap();
    let shown = bed.lac.run("ip addr show uplink");
    assert!(shown.contains("10.0.0.2 peer 10.0.0.9/32"), "{shown}");
    assert!(
        !shown.contains("10.0.0.1/32") && !shown.contains("fe80::2"),
        "{shown}"
    );
}

#[test]
fn a_device_removed_by_hand_is_reported_and_made_again() {
    let Some(bed) = Bed::new() else { return };
    let mut lac = End::start(&bed.lac, LAC);
    for (handle, device, name) in [(1, Device::Shared, "l2tp0"), (2, own(), "ppp0")] {
        let number = handle as u16;
        lac.create(handle, session(number, false, LAC, LNS, device))
            .unwrap();
        let spec = network("10.0.0.2", &format!("10.0.1.{handle}"));
        assert_eq!(lac.configure(handle, spec.clone()).unwrap(), name);
        bed.lac.run(&format!("ip link del {name}"));
        match lac.event() {
            Event::Failed {
                handle: failed,
                error,
            } => {
                assert_eq!(failed, Handle(handle));
                assert!(error.to_string().contains(name), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(lac.configure(handle, spec).unwrap(), name);
        assert!(bed.lac.run("ip addr show").contains("inet 10.0.0.2"));
        lac.remove(handle).unwrap();
    }
}

#[test]
fn sockets_come_and_go() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start(&bed.lns, LNS);
    let more = bed
        .lns
        .enter(|| Socket::bind("10.9.0.1:0".parse().unwrap()))
        .unwrap();
    let local = more.local_addr();
    let spec = session(1, true, &local.to_string(), LAC, Device::Shared);
    let error = lns.create(1, spec.clone()).unwrap_err();
    assert!(error.to_string().contains(&local.to_string()), "{error}");

    lns.engines().add_socket(more.clone());
    lns.create(1, spec).unwrap();
    let lac = bed.lac.udp(LAC);
    lac.send_to(b"hello", local).unwrap();
    assert!(matches!(lns.event(), Event::Control { local: at, .. } if at == local));
    lns.remove(1).unwrap();
    lns.engines().remove_socket(&more);
    drop(more);
    // A request after the removal: when it is done, so is that.
    assert_eq!(lns.remove(1), Err(DatapathError::NoSuchSession));
    // A program that another test is starting may have a copy of the descriptor for a moment.
    let free = |_| bed.lns.enter(|| UdpSocket::bind(local)).is_ok();
    assert!((0..1000).any(free), "the port is free again");
}

#[test]
fn requests_that_cannot_be_done_say_why() {
    let Some(bed) = Bed::new() else { return };
    let mut lac = End::start(&bed.lac, LAC);
    assert_eq!(
        lac.configure(1, network("10.0.0.1", "10.0.0.2")),
        Err(DatapathError::NoSuchSession)
    );
    assert_eq!(lac.remove(1), Err(DatapathError::NoSuchSession));
    lac.create(
        1,
        session(
            1,
            false,
            LAC,
            LNS,
            Device::Own {
                name: Some("wire".to_owned()),
            },
        ),
    )
    .unwrap();
    assert_eq!(
        lac.create(2, session(1, false, LAC, LNS, own())),
        Err(DatapathError::InUse)
    );
    let error = lac
        .configure(1, network("10.0.0.1", "10.0.0.2"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("create device wire: "), "{error}");
    let peers_own = lac.configure(1, network("10.9.0.1", "10.0.0.2"));
    assert!(
        matches!(peers_own, Err(DatapathError::Unsupported(_))),
        "{peers_own:?}"
    );
}

#[test]
fn without_privilege_only_what_needs_a_device_fails() {
    let Some(bed) = Bed::new() else { return };
    let nobody = rustix::process::Uid::from_raw(65534);
    let mut lac = bed.lac.enter(|| {
        rustix::thread::set_thread_uid(nobody).unwrap();
        End::start_here(LAC)
    });
    lac.create(1, session(1, false, LAC, LNS, own())).unwrap();
    let error = lac
        .configure(1, network("10.0.0.1", "10.0.0.2"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("CAP_NET_ADMIN") && !error.contains('\n'),
        "{error}"
    );
    lac.remove(1).unwrap();
}
