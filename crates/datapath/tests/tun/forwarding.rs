//! What a router does that is an LNS: packets between subscribers' sessions and the networks behind it, on every engine.

use datapath::{Choice, Device, Engine, Event, Handle, NetworkSpec, Request, Route, Share, Stats};

use super::bed::{Bed, End, Namespace, both_ends, dual_stack, own, session};
use super::conformance::ENGINES;
use super::{LAC, LNS};

/// A prefix that the subscriber has behind it.
const DELEGATED: &str = "fd55::/64";

fn route(to: &str) -> Route {
    Route {
        to: to.parse().unwrap(),
        metric: None,
    }
}

/// A session between both, and a host behind the LNS on a link of this MTU, which the LAC reaches through the session.
fn subscriber(bed: &Bed, engine: Choice, mtu: u16) -> (End, End, Namespace) {
    let far = bed.behind_a_router(mtu);
    // As on a wire: what programs send may come to a socket at its other end, without its checksums.
    for end in [&bed.lns, &bed.lac] {
        end.run("ethtool -K wire tx off");
    }
    for family in ["-4 route del 10.8.0.0/24", "-6 route del fd08::/64"] {
        bed.lac.run(&format!("ip {family}"));
    }
    far.run("ip route add 10.0.0.0/24 via 10.8.0.254");
    far.run(&format!("ip route add {DELEGATED} via fd08::254"));
    bed.lac.run("ip addr add fd55::1/128 dev lo");
    let [lns_side, lac_side] = dual_stack();
    let lns_side = NetworkSpec {
        routes: vec![route(DELEGATED)],
        ..lns_side
    };
    let lac_side = NetworkSpec {
        routes: vec![route("10.8.0.0/24"), route("fd08::/64")],
        ..lac_side
    };
    let (lns, lac) = both_ends(bed, engine, [lns_side, lac_side], |spec| {
        if spec.transport.local == LAC.parse().unwrap() {
            spec.device = own();
        }
    });
    (lns, lac, far)
}

/// Programs carried most of what came and of what went at the LNS, where it is for them to carry.
fn is_carried_by(engine: Choice, stats: &Stats) {
    if engine != Choice::Ebpf {
        assert_eq!(stats.by_programs, Share::default());
        return;
    }
    let (programs, rest) = (stats.by_programs, stats.by_user_space());
    assert!(
        programs.rx_packets > rest.rx_packets && programs.tx_packets > rest.tx_packets,
        "{stats:?}"
    );
}

/// What `ping` says, whether it was answered or not.
fn ping(from: &Namespace, arguments: &str) -> String {
    from.run_in_vain(&format!("ping -n -c 2 -i 0.05 -W 2 {arguments}"))
}

#[test]
fn a_subscriber_reaches_what_is_behind_the_lns_and_is_reached_from_there() {
    for &engine in ENGINES {
        let Some(bed) = Bed::new() else { return };
        let (mut lns, _lac, far) = subscriber(&bed, engine, 1500);
        bed.lac.ping("10.8.0.1");
        far.ping("10.0.0.2");
        far.ping("fd55::1");
        Bed::transfer(&bed.lac, &far, "10.8.0.1", 4 << 20);
        Bed::transfer(&far, &bed.lac, "10.0.0.2", 4 << 20);
        let before = lns.stats(1);
        Bed::transfer(&far, &bed.lac, "fd55::1", 1 << 20);
        // The delegated prefix alone, too.
        is_carried_by(engine, &lns.stats(1).since(&before));
        is_carried_by(engine, &lns.stats(1));
    }
}

#[test]
fn each_router_on_the_way_counts_once() {
    for &engine in ENGINES {
        let Some(bed) = Bed::new() else { return };
        let (mut lns, _lac, far) = subscriber(&bed, engine, 1500);
        let said = ping(&bed.lac, "-t 1 10.8.0.1");
        assert!(
            said.contains("From 10.0.0.1 icmp_seq=1 Time to live exceeded"),
            "{said}"
        );
        let said = ping(&far, "-t 1 10.0.0.2");
        assert!(
            said.contains("From 10.8.0.254 icmp_seq=1 Time to live exceeded"),
            "{said}"
        );
        for (from, target) in [
            (&bed.lac, "10.8.0.1"),
            (&far, "10.0.0.2"),
            (&far, "fd55::1"),
        ] {
            let said = ping(from, &format!("-t 2 {target}"));
            assert!(said.contains(" 0% packet loss"), "{said}");
        }
        is_carried_by(engine, &lns.stats(1));
    }
}

#[test]
fn what_is_too_large_for_a_session_is_told_its_sender_with_the_size_that_is_not() {
    for &engine in ENGINES {
        let Some(bed) = Bed::new() else { return };
        // The session's packets have 1400 octets at most, the link's 1300.
        let (mut lns, _lac, far) = subscriber(&bed, engine, 1500);
        let said = ping(&far, "-M do -s 1373 10.0.0.2");
        assert!(
            said.contains("Frag needed and DF set (mtu = 1400)"),
            "{said}"
        );
        let said = ping(&far, "-M do -s 1353 fd55::1");
        assert!(said.contains("Packet too big: mtu=1400"), "{said}");
        bed.lns.run("ip link set narrow mtu 1300");
        let said = ping(&bed.lac, "-M do -s 1300 10.8.0.1");
        assert!(
            said.contains("Frag needed and DF set (mtu = 1300)"),
            "{said}"
        );
        is_carried_by(engine, &lns.stats(1));
    }
}

fn reserve(nets: &[&str]) -> Request {
    Request::Reserve {
        nets: nets.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

#[test]
fn a_reserved_address_that_no_session_has_is_unreachable_and_goes_round_nowhere() {
    for &engine in ENGINES {
        let Some(bed) = Bed::new() else { return };
        what_nobody_has_is_unreachable(&bed, engine);
    }
}

fn what_nobody_has_is_unreachable(bed: &Bed, engine: Choice) {
    let before = bed.lns.configuration();
    // Whatever the LNS has no route for goes to the LAC, and the LAC sends it back.
    bed.lns.run("ip route add default via 10.9.0.2");
    bed.lac.run("ip route add 10.0.0.0/24 via 10.9.0.1");
    for end in [&bed.lns, &bed.lac] {
        end.sysctl(&["ipv4/ip_forward=1"]);
    }
    let mut lns = match engine {
        #[cfg(feature = "ebpf")]
        Choice::Ebpf => End::start_with_ebpf(&bed.lns, LNS),
        _ => End::start(&bed.lns, LNS),
    };
    lns.submit(reserve(&["10.0.0.0/24", "10.1.0.0/24"]));
    let unreachable = || {
        let said = ping(&bed.lac, "10.0.0.77");
        assert!(
            said.contains("From 10.9.0.1 icmp_seq=1 Destination Host Unreachable"),
            "{said}"
        );
    };
    let way = |to: &str| bed.lns.run(&format!("ip route get {to}"));
    // Before the first session, too.
    let mut spec = session(1, true, LNS, LAC, Device::Shared);
    spec.choice = engine;
    lns.create(1, spec).unwrap();
    for _ in 0..1000 {
        if way("10.0.0.77").contains("dev l2tp0") {
            break;
        }
        lns.stats(1);
    }
    unreachable();

    let [lns_side, _] = dual_stack();
    lns.configure(1, lns_side.clone()).unwrap();
    let moved = Event::Moved {
        handle: Handle(1),
        engine: Engine::Ebpf,
    };
    while engine == Choice::Ebpf && lns.any_event() != moved {}
    unreachable();
    assert!(way("10.0.0.2").contains("dev l2tp0"));
    // Who asks is on the LNS itself.
    let said = ping(&bed.lns, "10.0.0.78");
    assert!(said.contains("Destination Host Unreachable"), "{said}");

    lns.submit(reserve(&["10.0.0.0/24"]));
    lns.configure(1, lns_side).unwrap();
    let other = way("10.1.0.77");
    assert!(other.contains("via 10.9.0.2"), "{other}");
    assert_eq!(lns.stats(1).tx_packets, 0, "to the wrong one");
    drop(lns);
    bed.lns.run("ip route del default");
    assert_eq!(bed.lns.configuration(), before);
}

#[test]
fn what_is_sent_to_nobody_behind_a_session_is_told_by_ipv6_too() {
    for &engine in ENGINES {
        let Some(bed) = Bed::new() else { return };
        let (mut lns, _lac, far) = subscriber(&bed, engine, 1500);
        // The longest prefix decides: beside the delegated one there is nobody.
        bed.lns.run("ip route add fd56::/64 dev l2tp0");
        far.run("ip route add fd56::/64 via fd08::254");
        far.ping("fd55::1");
        let said = ping(&far, "fd56::1");
        assert!(
            said.contains("From fd08::254 icmp_seq=1 Destination unreachable: No route"),
            "{said}"
        );
        is_carried_by(engine, &lns.stats(1));
    }
}

#[test]
fn a_subscriber_is_told_that_another_is_not_there() {
    for &engine in ENGINES {
        let Some(bed) = Bed::new() else { return };
        let (mut lns, _lac, _far) = subscriber(&bed, engine, 1500);
        bed.lac.run("ip route add 10.0.0.0/24 dev ppp0");
        lns.submit(reserve(&["10.0.0.0/24"]));
        lns.stats(1);
        for _ in 0..1000 {
            let way = bed.lns.run_in_vain("ip route get 10.0.0.77");
            if way.contains("dev l2tp0") {
                break;
            }
            lns.stats(1);
        }
        let said = ping(&bed.lac, "10.0.0.77");
        assert!(
            said.contains("From 10.0.0.1 icmp_seq=1 Destination Host Unreachable"),
            "{said}"
        );
        is_carried_by(engine, &lns.stats(1));
    }
}
