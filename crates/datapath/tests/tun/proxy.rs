//! Proxy ARP: hosts of a network reach a peer that has an address of it.

use datapath::{Device, NetworkSpec};

use crate::bed::{Bed, End, network, session};
use crate::{LAC, LNS};

/// An LNS in a router, with one session.
fn router(bed: &Bed) -> End {
    bed.lns.sysctl(&["ipv4/ip_forward=1"]);
    let mut lns = End::start(&bed.lns, LNS);
    lns.create(1, session(1, true, LNS, LAC, Device::Shared))
        .unwrap();
    lns
}

pub(crate) fn answered(peer: &str) -> NetworkSpec {
    NetworkSpec {
        proxy_arp: true,
        ..network("10.0.0.1", peer)
    }
}

/// The addresses for which the router answers, and where.
pub(crate) fn proxies(bed: &Bed) -> String {
    let shown = bed.lns.run("ip neigh show proxy");
    let words: Vec<_> = shown.split_whitespace().collect();
    words.join(" ")
}

#[test]
fn a_host_of_the_network_hears_where_the_peer_is_for_as_long_as_there_is_one() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = router(&bed);
    lns.configure(1, network("10.0.0.1", "10.9.0.77")).unwrap();
    assert_eq!(proxies(&bed), "");

    lns.configure(1, answered("10.9.0.77")).unwrap();
    let host = bed.lac.udp("0.0.0.0:0");
    host.send_to(b"to the peer", "10.9.0.77:9").unwrap();
    let link = bed.lns.run("ip -brief link show wire");
    let hardware = link.split_whitespace().nth(2).unwrap();
    let heard = || bed.lac.run("ip neigh show 10.9.0.77");
    let mut answers = (0..10_000).map(|_| heard());
    assert!(answers.any(|answer| answer.contains(hardware)));
    let mut stats = (0..10_000).map(|_| lns.stats(1));
    assert!(stats.any(|stats| stats.tx_packets > 0), "it goes on to it");

    lns.configure(1, answered("10.9.0.78")).unwrap();
    assert!(proxies(&bed).starts_with("10.9.0.78 dev wire"));
    lns.remove(1).unwrap();
    assert_eq!(proxies(&bed), "");
}

#[test]
fn of_two_networks_the_narrower_is_the_peers_and_of_none_there_is_nobody_to_answer() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = router(&bed);
    bed.lns.run("ip link add narrow type veth peer name far");
    bed.lns.run("ip addr add 10.9.0.65/26 dev narrow");
    lns.configure(1, answered("10.9.0.77")).unwrap();
    assert!(proxies(&bed).contains("dev wire"), "the other one is down");
    bed.lns.run("ip link set narrow up");
    lns.configure(1, answered("10.9.0.78")).unwrap();
    assert!(proxies(&bed).contains("10.9.0.78 dev narrow"));
    lns.configure(1, answered("172.16.5.5")).unwrap();
    assert_eq!(proxies(&bed), "");
    // Our own address is no peer's.
    lns.configure(1, answered("10.9.0.65")).unwrap();
    assert!(!proxies(&bed).contains("narrow"), "{}", proxies(&bed));
}

#[test]
fn what_a_killed_process_left_is_taken_over_and_an_administrators_is_not() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = router(&bed);
    for (owner, stays) in [("171", false), ("static", true)] {
        bed.lns.run(&format!(
            "ip neigh add proxy 10.9.0.77 dev wire protocol {owner}"
        ));
        lns.configure(1, answered("10.9.0.77")).unwrap();
        lns.configure(1, network("10.0.0.1", "10.9.0.77")).unwrap();
        assert_eq!(!proxies(&bed).is_empty(), stays, "{owner}");
    }
}
