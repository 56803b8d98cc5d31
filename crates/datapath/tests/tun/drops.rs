//! Each reason for which a packet goes no further has its own count.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crypto::mppe::{KeyLength, Mode};
use datapath::{Device, DropReason, Handle, Request, Route, Sequencing};
use ipnet::IpNet;

use crate::bed::{Bed, End, Udp, ipv4_udp, network, own, sequenced, session};
use crate::mppe::{encrypted, encryption};
use crate::{LAC, LNS, packet_to_lns, to_lns};

/// An LNS whose drops are looked at, and its peer.
struct Watched {
    bed: Bed,
    lns: End,
    lac: Udp,
    seen: BTreeMap<&'static str, u64>,
}

impl Watched {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        // The kernel says things of its own accord over IPv6.
        bed.lns.sysctl(&[
            "ipv6/conf/all/disable_ipv6=1",
            "ipv6/conf/default/disable_ipv6=1",
        ]);
        let lns = End::start(&bed.lns, LNS);
        let lac = bed.lac.udp(LAC);
        Some(Self {
            bed,
            lns,
            lac,
            seen: BTreeMap::new(),
        })
    }

    /// One packet more went no further for this reason, and none for any other.
    fn expect(&mut self, reason: DropReason) {
        *self.seen.entry(reason.name()).or_default() += 1;
        let drops = self.lns.engines().drops();
        let counted = || {
            let all = drops.all().filter(|(_, count)| *count > 0);
            let all = all.map(|(reason, count)| (reason.name(), count));
            all.collect::<BTreeMap<_, _>>()
        };
        // Each question is a turn of the engine's.
        for _ in 0..10_000 {
            if counted() == self.seen {
                break;
            }
            let _ = self.lns.stats(1);
        }
        assert_eq!(counted(), self.seen);
    }

    /// The peer sends this.
    fn receives(&mut self, datagram: &[u8], reason: DropReason) {
        self.lac.send_to(datagram, LNS).unwrap();
        self.expect(reason);
    }

    /// The host sends this many octets to an address.
    fn host_sends(&mut self, to: &str, octets: usize, reason: DropReason) {
        let host = self.bed.lns.udp("0.0.0.0:0");
        host.send_to(&vec![0; octets], (to, 9)).unwrap();
        self.expect(reason);
    }
}

fn packet(from: &str) -> Vec<u8> {
    ipv4_udp(from, "10.0.0.1:9".parse().unwrap(), b"text")
}

#[test]
fn what_the_host_sends_and_goes_no_further_is_counted_by_reason() {
    let Some(mut end) = Watched::new() else {
        return;
    };
    let spec = session(1, true, LNS, LAC, Device::Shared);
    end.lns.create(1, spec).unwrap();
    let mut wanted = network("10.0.0.1", "10.0.0.2");
    wanted.routes = vec![Route {
        to: "10.5.0.0/16".parse().unwrap(),
        metric: None,
    }];
    end.lns.configure(1, wanted.clone()).unwrap();

    end.bed.lns.run("ip route add 10.77.0.0/16 dev l2tp0");
    end.host_sends("10.77.0.1", 10, DropReason::NoSession);
    end.bed.lns.run("ip route add 10.5.1.0/24 dev l2tp0");
    end.host_sends("10.5.1.1", 1450, DropReason::TooLarge);

    end.bed.lns.run("ip route add prohibit 10.9.0.2/32");
    end.host_sends("10.0.0.2", 10, DropReason::SendRefused);
    end.bed.lns.run("ip route del prohibit 10.9.0.2/32");
    let spec = session(2, true, LNS, LAC, own());
    end.lns.create(2, spec).unwrap();
    let device = end.lns.configure(2, network("10.0.0.1", "10.0.0.4"));
    let route = format!("10.9.0.2/32 dev {}", device.unwrap());
    end.bed.lns.run(&format!("ip route add {route}"));
    end.host_sends("10.9.0.2", 10, DropReason::Loop);
    end.bed.lns.run(&format!("ip route del {route}"));

    // While encryption is negotiated there are no packets.
    wanted.encryption = encryption(true, None);
    end.lns.configure(1, wanted).unwrap();
    end.host_sends("10.0.0.2", 10, DropReason::LayerClosed);
}

#[test]
fn what_a_peer_sends_and_goes_no_further_is_counted_by_reason() {
    let Some(mut end) = Watched::new() else {
        return;
    };
    let mut spec = session(1, true, LNS, LAC, Device::Shared);
    spec.outer.ecn = true;
    end.lns.create(1, spec).unwrap();
    end.lns
        .configure(1, network("10.0.0.1", "10.0.0.2"))
        .unwrap();

    end.receives(
        &packet_to_lns(1, &packet("10.0.0.3")),
        DropReason::SpoofedSource,
    );
    let mut cut = packet("10.0.0.2");
    cut.pop();
    end.receives(&packet_to_lns(1, &cut), DropReason::Malformed);
    let stranger = end.bed.lac.udp("10.9.0.2:1702");
    let datagram = packet_to_lns(1, &packet("10.0.0.2"));
    stranger.send_to(&datagram, LNS).unwrap();
    end.expect(DropReason::WrongPeer);
    socket2::SockRef::from(&*end.lac).set_tos_v4(3).unwrap();
    end.receives(&datagram, DropReason::Congestion);

    socket2::SockRef::from(&*end.lac).set_tos_v4(0).unwrap();
    end.bed.lns.run("ip link set l2tp0 down");
    end.receives(&datagram, DropReason::DeviceRefused);
}

#[test]
fn what_waits_for_a_device_in_too_long_a_line_is_counted() {
    let Some(mut end) = Watched::new() else {
        return;
    };
    let spec = session(1, true, LNS, LAC, Device::Shared);
    end.lns.create(1, spec).unwrap();
    // What the host is busy with for longer than it takes to send the packets.
    let nets = (0..20_000).map(|i| Ipv4Addr::from(0x0a40_0000 + i));
    let nets = nets
        .map(|address| IpNet::from(IpAddr::from(address)))
        .collect();
    end.lns.submit(Request::Reserve { nets });
    let (handle, network) = (Handle(1), network("10.0.0.1", "10.0.0.2"));
    let wanted = network.clone();
    end.lns.begin(|token| Request::Configure {
        token,
        handle,
        network,
    });
    let datagram = packet_to_lns(1, &packet("10.0.0.2"));
    for _ in 0..32 {
        end.lac.send_to(&datagram, LNS).unwrap();
    }
    end.receives(&datagram, DropReason::NoDevice);
    end.lns.configure(1, wanted).unwrap();
    let stats = end.lns.stats(1);
    assert_eq!((stats.rx_packets, stats.rx_errors), (32, 1));
}

#[test]
fn what_is_not_in_its_turn_or_not_encrypted_is_counted_by_reason() {
    let Some(mut end) = Watched::new() else {
        return;
    };
    let spec = session(1, true, LNS, LAC, Device::Shared);
    let spec = sequenced(spec, Sequencing::Required, Duration::ZERO);
    end.lns.create(1, spec).unwrap();
    end.lns
        .configure(1, network("10.0.0.1", "10.0.0.2"))
        .unwrap();
    let in_clear = packet_to_lns(1, &packet("10.0.0.2"));
    end.receives(&in_clear, DropReason::Unnumbered);
    let numbered = |ns: u8| {
        let header = [0x08, 2, 0, 100, 0, 101, 0, ns, 0, 0, 0xff, 3, 0, 0x21];
        [&header[..], &packet("10.0.0.2")].concat()
    };
    end.lac.send_to(&numbered(0), LNS).unwrap();
    end.receives(&numbered(0), DropReason::Late);

    let spec = session(2, true, LNS, LAC, Device::Shared);
    end.lns.create(2, spec).unwrap();
    let mode = Mode {
        length: KeyLength::Bits128,
        stateful: false,
    };
    let wanted = encrypted(network("10.0.0.1", "10.0.0.4"), true, mode);
    end.lns.configure(2, wanted).unwrap();
    end.receives(
        &packet_to_lns(2, &packet("10.0.0.4")),
        DropReason::Unencrypted,
    );
    end.receives(&to_lns(2, &[0, 0xfd, 0x90]), DropReason::Undecryptable);
}
