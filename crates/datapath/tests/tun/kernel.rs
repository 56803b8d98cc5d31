//! The kernel's engine: a machine with `l2tp_ppp` runs these tests (`cargo xtask test --only kernel`, in User-Mode Linux).

use std::io::Error;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use datapath::{
    Choice, Completion, DatapathError, Device, Encapsulation, Engine, Event, Handle, Ids, Outer,
    Request, Sequencing, SessionSpec, Token,
};

use super::{LAC, LCP, LNS, to_lns};
use crate::bed::{Bed, End, Namespace, Udp, Wire, dual_stack, ipv4_udp, network, own, session};
use crate::proxy::{answered, proxies};

/// A session that nothing but the kernel may carry.
pub(crate) fn in_kernel(mut spec: SessionSpec) -> SessionSpec {
    spec.choice = Choice::Kernel;
    spec
}

/// What there is in a namespace of interfaces, addresses, routes, and of the kernel's tunnels and sessions.
pub(crate) fn everything(place: &Namespace) -> String {
    place.configuration() + &sessions(place)
}

/// How many descriptors we have: every socket of ours, and every channel and unit of PPP, is one.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The kernel's own table of its tunnels and sessions.
fn sessions(place: &Namespace) -> String {
    place.enter(|| std::fs::read_to_string("/proc/thread-self/net/pppol2tp").unwrap())
}

/// Packets sent and received by the first session there, as the kernel counts them.
fn counted(place: &Namespace) -> (u64, u64) {
    let table = sessions(place);
    let mut lines = table.lines();
    // A tunnel has a session 0 that is only its own.
    let is_session = |line: &str| line.contains("SESSION '") && !line.contains("/0' ");
    lines
        .position(is_session)
        .unwrap_or_else(|| panic!("{table}"));
    let counts = lines.nth(1).unwrap();
    let field = |at: usize| {
        let field = counts.split_whitespace().nth(at).unwrap();
        field.split('/').next().unwrap().parse().unwrap()
    };
    (field(1), field(2))
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn the_kernel_and_tun_carry_each_others_sessions() {
    let Some(bed) = Bed::new() else { return };
    let before = [&bed.lns, &bed.lac].map(everything);
    for (lns_in_kernel, lac_in_kernel) in [(true, false), (false, true), (true, true)] {
        let start = |place: &Namespace, address: &str, kernel: bool| match kernel {
            true => End::start_with_kernel(place, address),
            false => End::start(place, address),
        };
        let mut lns = start(&bed.lns, LNS, lns_in_kernel);
        let mut lac = start(&bed.lac, LAC, lac_in_kernel);
        let spec = |spec, kernel| if kernel { in_kernel(spec) } else { spec };
        lns.create(1, spec(session(1, true, LNS, LAC, own()), lns_in_kernel))
            .unwrap();
        lac.create(1, spec(session(1, false, LAC, LNS, own()), lac_in_kernel))
            .unwrap();
        for (end, kernel) in [(&lns, lns_in_kernel), (&lac, lac_in_kernel)] {
            let expected = if kernel { Engine::Kernel } else { Engine::Tun };
            assert_eq!(end.carrier(1), expected);
        }
        let [lns_side, lac_side] = dual_stack();
        assert_eq!(lns.configure(1, lns_side).unwrap(), "ppp0");
        assert_eq!(lac.configure(1, lac_side).unwrap(), "ppp0");
        bed.lac.ping("10.0.0.1");
        bed.lns.ping("10.0.0.2");
        bed.lac.ping("fe80::1%ppp0");
        bed.lns.ping("fe80::2%ppp0");
        Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 20);
        Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 1 << 20);
        let stats = lns.remove(1).unwrap();
        assert!(
            stats.rx_bytes > 1 << 20 && stats.tx_bytes > 1 << 20,
            "{stats:?}"
        );
        assert_eq!(stats.rx_errors, 0);
        lac.remove(1).unwrap();
        assert!(!bed.lac.configuration().contains("ppp0"));
        drop((lns, lac));
        assert_eq!([&bed.lns, &bed.lac].map(everything), before);
    }
}

pub(crate) fn at_lns(number: u16) -> Ids {
    Ids {
        tunnel: 100,
        session: 100 + number,
    }
}

/// An LCP Echo-Request of this number.
fn echo(number: u8) -> Vec<u8> {
    let mut frame = LCP.to_vec();
    frame[5] = number;
    frame
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn without_privilege_the_kernels_engine_says_what_it_takes() {
    let nobody = rustix::process::Uid::from_raw(65534);
    let before = descriptors();
    let refused = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(nobody).unwrap();
        datapath::kernel::probe().unwrap_err().to_string()
    });
    let refused = refused.join().unwrap();
    assert!(
        refused.contains("/dev/ppp") && refused.contains("CAP_NET_ADMIN"),
        "{refused}"
    );
    assert_eq!(descriptors(), before);
}

/// Somebody else's session in a tunnel of the kernel's, for as long as this lives (`struct sockaddr_pppol2tp`).
fn squatter(place: &Namespace, tunnel: u16, session: u16) -> OwnedFd {
    let (family, inet) = (libc::AF_PPPOX as u16, libc::AF_INET as u16);
    let mut address = [family.to_ne_bytes().as_slice(), &1_u32.to_ne_bytes()].concat();
    address.extend([[0; 4], (-1_i32).to_ne_bytes()].concat());
    address.extend(inet.to_ne_bytes());
    address.extend([0; 14]);
    for id in [tunnel, session, 9, 9] {
        address.extend(id.to_ne_bytes());
    }
    place.enter(|| {
        // SAFETY: no memory is passed.
        let socket = unsafe { libc::socket(libc::AF_PPPOX, libc::SOCK_DGRAM, 1) };
        assert!(socket >= 0, "{}", Error::last_os_error());
        // SAFETY: the descriptor is new, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let (octets, len) = (address.as_ptr().cast(), address.len() as libc::socklen_t);
        // SAFETY: the address is alive for the call, and its size is given.
        let connected = unsafe { libc::connect(socket.as_raw_fd(), octets, len) };
        assert_eq!(connected, 0, "{}", Error::last_os_error());
        socket
    })
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn a_session_id_that_somebody_has_in_the_kernel_is_refused_with_that_reason() {
    let Some(bed) = Bed::new() else { return };
    let before = everything(&bed.lns);
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let spec = |number| in_kernel(session(number, true, LNS, LAC, own()));
    lns.create(1, spec(1)).unwrap();
    let theirs = squatter(&bed.lns, 100, 102);
    let held = (sessions(&bed.lns), descriptors());
    let refused = lns.create(2, spec(2)).unwrap_err().to_string();
    assert!(
        refused.contains("session 100/102") && refused.contains("exists"),
        "{refused}"
    );
    assert_eq!((sessions(&bed.lns), descriptors()), held);
    drop(theirs);
    lns.create(2, spec(2)).unwrap();
    for handle in [1, 2] {
        lns.remove(handle).unwrap();
    }
    drop(lns);
    assert_eq!(everything(&bed.lns), before);
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn no_frame_is_lost_from_before_the_session_to_after_its_interface() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let peer = bed.lac.udp(LAC);
    let mut sent = 0..;
    let mut send = |count: usize| {
        for number in sent.by_ref().take(count) {
            peer.send_to(&to_lns(1, &echo(number)), LNS).unwrap();
        }
    };
    // In one go: nobody reads what comes until the end.
    send(10);
    lns.create(1, in_kernel(session(1, true, LNS, LAC, own())))
        .unwrap();
    send(10);
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    send(10);
    let mut come: Vec<u8> = (0..30).map(|_| next_echo(&mut lns)).collect();
    come.sort_unstable();
    assert_eq!(come, (0..30).collect::<Vec<_>>());
}

/// The number of the next echo that comes to session 1 of the LNS.
fn next_echo(lns: &mut End) -> u8 {
    match lns.any_event() {
        Event::Frame { ids, frame, .. } => {
            assert_eq!(ids, at_lns(1));
            frame.strip_prefix(&[0xff, 0x03]).unwrap_or(&frame)[3]
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn sessions_of_the_kernel_run_over_ipv6() {
    let Some(bed) = Bed::new() else { return };
    let (lns_address, lac_address) = ("[fd09::1]:1701", "[fd09::2]:1701");
    let mut lns = End::start_with_kernel(&bed.lns, "[::]:1701");
    let mut lac = End::start_with_kernel(&bed.lac, lac_address);
    let spec = session(1, true, lns_address, lac_address, own());
    lns.create(1, in_kernel(spec)).unwrap();
    let spec = session(1, false, lac_address, lns_address, own());
    lac.create(1, in_kernel(spec)).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    lac.configure(1, network("10.0.0.2", "10.0.0.1")).unwrap();
    bed.lac.ping("10.0.0.1");
    Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 20);
    Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 1 << 20);
    // No packet has more than 1400 octets.
    let least = (1 << 20) / 1400;
    let (sent, received) = counted(&bed.lns);
    assert!(sent > least && received > least, "{sent}, {received}");
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn what_is_no_data_of_a_session_of_the_kernel_comes_out_of_its_tunnel() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    lns.create(1, in_kernel(session(1, true, LNS, LAC, own())))
        .unwrap();
    let peer = bed.lac.udp(LAC);
    let hello = [0xc8, 2, 0, 12, 0, 100, 0, 0, 0, 0, 0, 0];
    peer.send_to(&hello, LNS).unwrap();
    match lns.event() {
        Event::Control {
            local,
            remote,
            payload,
            ..
        } => {
            assert_eq!([local, remote], [LNS, LAC].map(|a| a.parse().unwrap()));
            assert_eq!(payload, hello);
        }
        other => panic!("{other:?}"),
    }
    // Nobody's session yet.
    peer.send_to(&to_lns(2, LCP), LNS).unwrap();
    match lns.event() {
        Event::Frame { ids, frame, .. } => {
            assert_eq!((ids, frame.as_slice()), (at_lns(2), LCP));
        }
        other => panic!("{other:?}"),
    }
    // Others come to the socket of all.
    let stranger = bed.lac.udp("10.9.0.2:1702");
    stranger.send_to(&hello, LNS).unwrap();
    assert!(matches!(lns.event(), Event::Control { remote, .. } if remote.port() == 1702));
}

/// The same session of another tunnel: its ids are 300 + `number` at the LNS and 400 + `number` at the LAC.
fn of_another_tunnel(mut spec: SessionSpec) -> SessionSpec {
    let Encapsulation::V2 { local, peer, .. } = &mut spec.encapsulation else {
        panic!("{spec:?}")
    };
    (local.tunnel, peer.tunnel) = (local.tunnel + 200, peer.tunnel + 200);
    spec
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn a_second_tunnel_between_the_same_ends_with_the_same_session_ids_has_its_own_traffic() {
    let Some(bed) = Bed::new() else { return };
    let before = [&bed.lns, &bed.lac].map(everything);
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let mut lac = End::start_with_kernel(&bed.lac, LAC);
    lns.create(1, session(1, true, LNS, LAC, own())).unwrap();
    lac.create(1, session(1, false, LAC, LNS, own())).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    lac.configure(1, network("10.0.0.2", "10.0.0.1")).unwrap();
    assert_eq!(
        (lns.carrier(1), lac.carrier(1)),
        (Engine::Kernel, Engine::Kernel)
    );
    bed.lac.ping("10.0.0.1");
    Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 18);

    let second = |lns| {
        let (local, remote) = if lns { (LNS, LAC) } else { (LAC, LNS) };
        of_another_tunnel(session(1, lns, local, remote, own()))
    };
    let refused = lns.create(2, in_kernel(second(true))).unwrap_err();
    assert!(refused.to_string().contains("second tunnel"), "{refused}");
    lns.create(2, second(true)).unwrap();
    lac.create(2, second(false)).unwrap();
    // The kernel would take what comes for the one for the other's.
    for end in [&mut lns, &mut lac] {
        let moved = Event::Moved {
            handle: Handle(1),
            engine: Engine::Tun,
        };
        assert_eq!(end.any_event(), moved);
    }
    assert_eq!((lns.carrier(2), lac.carrier(2)), (Engine::Tun, Engine::Tun));
    lns.configure(2, network("10.1.0.1", "10.1.0.2")).unwrap();
    lac.configure(2, network("10.1.0.2", "10.1.0.1")).unwrap();
    for address in ["10.0.0.1", "10.1.0.1"] {
        bed.lac.ping(address);
        Bed::transfer(&bed.lac, &bed.lns, address, 1 << 20);
    }
    let names = bed.lns.configuration();
    assert!(names.contains("ppp0") && names.contains("ppp1"), "{names}");
    // A third that is to be the kernel's, whose messages would be the first's and the second's.
    let third = |lns| in_kernel(of_another_tunnel(second(lns)));
    for (end, is_lns) in [(&mut lns, true), (&mut lac, false)] {
        end.create(3, third(is_lns)).unwrap();
        assert_eq!(end.carrier(3), Engine::Tun);
    }
    lns.configure(3, network("10.2.0.1", "10.2.0.2")).unwrap();
    lac.configure(3, network("10.2.0.2", "10.2.0.1")).unwrap();
    for address in ["10.0.0.1", "10.1.0.1", "10.2.0.1"] {
        bed.lac.ping(address);
    }
    for end in [&mut lns, &mut lac] {
        end.remove(3).unwrap();
    }
    for handle in [1, 2] {
        let stats = lns.remove(handle).unwrap();
        assert!(stats.rx_bytes > 1 << 20, "{stats:?}");
        // What a session counted before it moved is the kernel's still.
        let (kernel, rest) = (stats.by_kernel.rx_bytes, stats.by_user_space().rx_bytes);
        assert_eq!(kernel > 1 << 18, handle == 1, "{stats:?}");
        assert!(rest > 1 << 20, "{stats:?}");
        assert_eq!(kernel + rest, stats.rx_bytes);
        lac.remove(handle).unwrap();
    }
    drop((lns, lac));
    assert_eq!([&bed.lns, &bed.lac].map(everything), before);
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn an_interface_that_somebody_removes_is_the_end_of_its_session() {
    let Some(bed) = Bed::new() else { return };
    let before = everything(&bed.lns);
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    for number in [1, 2] {
        let spec = in_kernel(session(number, true, LNS, LAC, own()));
        lns.create(number.into(), spec).unwrap();
        let peer = format!("10.0.0.{}", 10 + number);
        lns.configure(number.into(), network("10.0.0.1", &peer))
            .unwrap();
    }
    bed.lns.run("ip link del ppp0");
    match lns.event() {
        Event::Failed { handle, error } => {
            assert_eq!(handle, Handle(1));
            assert!(error.to_string().contains("interface"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    lns.remove(1).unwrap();
    // The other goes on.
    let peer = bed.lac.udp(LAC);
    peer.send_to(&to_lns(2, LCP), LNS).unwrap();
    assert!(matches!(lns.event(), Event::Frame { .. }));
    lns.remove(2).unwrap();
    drop(lns);
    assert_eq!(everything(&bed.lns), before);
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn an_interface_has_the_name_that_is_wanted_or_there_is_none() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let named = |name: &str| Device::Own {
        name: Some(name.to_owned()),
    };
    for (number, name) in [(1, "uplink"), (2, "wire"), (3, "isp%d"), (4, "isp%d")] {
        let spec = session(number, true, LNS, LAC, named(name));
        lns.create(number.into(), in_kernel(spec)).unwrap();
    }
    let network = |last: u16| network("10.0.0.1", &format!("10.0.0.{last}"));
    assert_eq!(lns.configure(1, network(11)).unwrap(), "uplink");
    let before = everything(&bed.lns);
    let taken = lns.configure(2, network(12)).unwrap_err();
    assert!(
        matches!(&taken, DatapathError::System { what, reason }
            if what.contains("wire") && reason.contains("exists")),
        "{taken}"
    );
    assert_eq!(everything(&bed.lns), before);
    assert_eq!(lns.configure(3, network(13)).unwrap(), "isp0");
    assert_eq!(lns.configure(4, network(14)).unwrap(), "isp1");
    let changed = lns.configure(4, network(15)).unwrap();
    assert_eq!(changed, "isp1");
    assert!(bed.lns.configuration().contains("peer 10.0.0.15"));
    let spec = in_kernel(session(1, true, LNS, LAC, own()));
    assert_eq!(lns.create(9, spec), Err(DatapathError::InUse));
}

fn set_sequencing(spec: &mut SessionSpec, to: Sequencing) {
    let Encapsulation::V2 { sequencing, .. } = &mut spec.encapsulation else {
        panic!("{spec:?}")
    };
    *sequencing = to;
}

/// The datagram that a packet from a host of the LNS to the peer leaves in.
fn on_the_wire(host: &Udp, wire: &Wire) -> Vec<u8> {
    host.send_to(b"x", "10.0.0.2:5000").unwrap();
    wire.find(|packet| {
        let ours = packet[0] == 0x45 && packet[9] == 17 && packet[22..24] == 1701_u16.to_be_bytes();
        ours.then(|| packet.to_vec())
    })
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn what_the_kernel_sends_looks_as_it_is_told_to() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let mut spec = in_kernel(session(1, true, LNS, LAC, own()));
    spec.outer.dscp = 46;
    spec.outer.no_checksum = true;
    set_sequencing(&mut spec, Sequencing::Required);
    lns.create(1, spec).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    let wire = bed.lns.wire();
    let host: Udp = bed.lns.udp("10.0.0.1:5000");
    let sent = || on_the_wire(&host, &wire);
    let packet = sent();
    assert_eq!(packet[1], 46 << 2, "DSCP");
    assert_eq!(packet[26..28], [0, 0], "no checksum");
    assert_eq!(packet[28..30], [0x08, 2], "numbered");
    lns.submit(Request::SetChecksums {
        handle: Handle(1),
        no_checksum: false,
    });
    assert_ne!(sent()[26..28], [0, 0], "a checksum");
    assert!(lns.stats(1).sequencing.tx_sequenced);

    // The kernel's L2TP has neither of these.
    for change in [
        |outer: &mut Outer| outer.dont_fragment = true,
        |outer: &mut Outer| outer.ecn = true,
    ] {
        let mut spec = session(2, true, LNS, "10.9.0.2:1702", own());
        change(&mut spec.outer);
        let refused = lns.create(2, in_kernel(spec.clone()));
        assert!(
            matches!(refused, Err(DatapathError::Unsupported(_))),
            "{refused:?}"
        );
        lns.create(2, spec).unwrap();
        assert_eq!(lns.carrier(2), Engine::Tun);
        lns.remove(2).unwrap();
    }
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn a_tunnel_that_waits_for_its_next_session_sends_as_that_one_wants() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let wire = bed.lns.wire();
    for (dscp, no_checksum) in [(0, false), (46, true), (0, false)] {
        let mut spec = in_kernel(session(1, true, LNS, LAC, own()));
        (spec.outer.dscp, spec.outer.no_checksum) = (dscp, no_checksum);
        lns.create(1, spec).unwrap();
        lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
        let packet = on_the_wire(&bed.lns.udp("10.0.0.1:5000"), &wire);
        let looks = (packet[1] >> 2, packet[26..28] == [0, 0]);
        assert_eq!(looks, (dscp, no_checksum));
        // Two sessions of a tunnel can't differ.
        let mut other = in_kernel(session(2, true, LNS, LAC, own()));
        (other.outer.dscp, other.outer.no_checksum) = (dscp, !no_checksum);
        let refused = lns.create(2, other).unwrap_err().to_string();
        assert!(refused.contains("UDP checksum"), "{refused}");
        lns.remove(1).unwrap();
    }
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn sequence_numbers_come_and_go_while_a_session_of_the_kernel_is_up() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let mut spec = in_kernel(session(1, true, LNS, LAC, own()));
    set_sequencing(&mut spec, Sequencing::Own(false));
    lns.create(1, spec).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    let wire = bed.lns.wire();
    let host: Udp = bed.lns.udp("10.0.0.1:5000");
    for send in [false, true, false] {
        let (handle, sequencing) = (Handle(1), Sequencing::Own(send));
        lns.submit(Request::SetSequencing { handle, sequencing });
        let stats = lns.stats(1).sequencing;
        assert_eq!(stats.tx_sequenced, send);
        let flags = on_the_wire(&host, &wire)[28];
        assert_eq!(flags & 0x08 != 0, send, "{flags:x}");
    }
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn what_a_session_was_told_in_the_kernel_holds_where_it_moves_to() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let handle = Handle(1);
    let mut spec = session(1, true, LNS, LAC, own());
    set_sequencing(&mut spec, Sequencing::Own(false));
    lns.create(1, spec.clone()).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    assert_eq!(lns.carrier(1), Engine::Kernel);
    lns.submit(Request::SetSequencing {
        handle,
        sequencing: Sequencing::Own(true),
    });
    lns.submit(Request::SetChecksums {
        handle,
        no_checksum: true,
    });
    lns.create(2, of_another_tunnel(spec)).unwrap();
    let engine = Engine::Tun;
    assert_eq!(lns.any_event(), Event::Moved { handle, engine });
    // What was asked for before is done by then.
    lns.configure(2, network("10.1.0.1", "10.1.0.2")).unwrap();
    let wire = bed.lns.wire();
    let packet = on_the_wire(&bed.lns.udp("10.0.0.1:5000"), &wire);
    assert_eq!(packet[26..28], [0, 0], "no checksum");
    assert_eq!(packet[28..30], [0x08, 2], "numbered");
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn hundreds_of_sessions_leave_no_descriptor_behind() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let before = descriptors();
    for round in 0..20 {
        for number in 0..20_u16 {
            let spec = in_kernel(session(number, true, LNS, LAC, own()));
            lns.create((round * 20 + number).into(), spec).unwrap();
        }
        lns.configure((round * 20).into(), network("10.0.0.1", "10.0.0.2"))
            .unwrap();
        for number in 0..20_u16 {
            lns.remove((round * 20 + number).into()).unwrap();
        }
    }
    // The tunnel's own: its UDP socket, the one that asks for the MTU of paths, and the one that manages it.
    let after = descriptors();
    assert!(after <= before + 3, "{before} before, {after} after");
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn joined_sessions_hand_their_frames_to_each_other_until_one_is_removed() {
    let Some(bed) = Bed::new() else { return };
    let before = everything(&bed.lns);
    let mut switch = End::start_with_kernel(&bed.lns, LNS);
    // One session with each of two peers, and one that is not the kernel's.
    let (one, other) = ("10.9.0.2:1702", "10.9.0.2:1703");
    for (number, remote) in [(1, one), (2, other)] {
        let mut spec = in_kernel(session(number, true, LNS, remote, own()));
        let Encapsulation::V2 { local, .. } = &mut spec.encapsulation else {
            panic!("{spec:?}")
        };
        // The kernel's tunnels have ids of their own.
        local.tunnel = 100 + number;
        switch.create(number.into(), spec).unwrap();
    }
    switch
        .create(3, session(3, true, LNS, LAC, Device::Shared))
        .unwrap();
    assert!(matches!(
        switch.join(1, 9),
        Err(DatapathError::Unsupported(_))
    ));
    assert!(matches!(
        switch.join(3, 1),
        Err(DatapathError::Unsupported(_))
    ));
    switch.join(1, 2).unwrap();
    assert_eq!(switch.join(2, 1), Err(DatapathError::InUse));

    let to_switch =
        |number: u8, frame: &[u8]| [&[0, 2, 0, 100 + number, 0, 100 + number], frame].concat();
    let peers = [one, other].map(|address| bed.lac.udp(address));
    let packet = [
        &[0xff, 3, 0, 0x21],
        ipv4_udp("10.0.0.2", "10.0.0.1:7".parse().unwrap(), b"x").as_slice(),
    ]
    .concat();
    for frame in [LCP, &packet] {
        for (from, number) in [(0, 1_u8), (1, 2)] {
            peers[from].send_to(&to_switch(number, frame), LNS).unwrap();
            let mut datagram = [0; 200];
            let (len, sender) = peers[1 - from].recv_from(&mut datagram).unwrap();
            assert_eq!(sender, LNS.parse().unwrap());
            // The ids are those of the other session.
            let header = [0, 2, 0, 200, 0, 200 + 3 - number];
            assert_eq!(datagram[..len], [&header, frame].concat());
        }
    }

    switch.remove(1).unwrap();
    peers[1].send_to(&to_switch(2, LCP), LNS).unwrap();
    assert!(matches!(switch.any_event(), Event::Frame { ids, .. } if ids.session == 102));
    for handle in [2, 3] {
        switch.remove(handle).unwrap();
    }
    drop(switch);
    assert_eq!(everything(&bed.lns), before);
}

/// Sessions of the kernel with interfaces, of these numbers.
fn with_interfaces(lns: &mut End, numbers: std::ops::RangeInclusive<u16>) {
    for number in numbers {
        let spec = in_kernel(session(number, true, LNS, LAC, own()));
        lns.create(number.into(), spec).unwrap();
        let peer = format!("10.0.{}.{}", 1 + number / 200, 1 + number % 200);
        lns.configure(number.into(), network("10.0.0.1", &peer))
            .unwrap();
    }
}

fn removal(number: u16) -> Request {
    Request::Remove {
        token: Token(1000 + u64::from(number)),
        handle: Handle(number.into()),
    }
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn no_session_waits_for_the_interfaces_of_hundreds_of_others_to_go() {
    let Some(bed) = Bed::new() else { return };
    let before = everything(&bed.lns);
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    with_interfaces(&mut lns, 1..=201);
    let stats = |token| Request::Stats {
        token: Token(token),
        handle: Handle(201),
    };
    let mut requests = vec![stats(1)];
    requests.extend((1..=200).map(removal));
    requests.push(Request::Configure {
        token: Token(2),
        handle: Handle(201),
        network: network("10.0.0.1", "10.0.9.9"),
    });
    requests.push(stats(3));
    let done = lns.submit_in_one(203, requests);
    let first: Vec<_> = done[..3].iter().map(|(token, _)| token.0).collect();
    assert_eq!(first, [1, 2, 3], "before any of the removals");
    assert!(bed.lns.configuration().contains("peer 10.0.9.9"));
    // What is said to be removed is.
    let names = bed.lns.run("ip -brief link show");
    assert_eq!(names.matches("ppp").count(), 1, "{names}");
    lns.remove(201).unwrap();
    drop(lns);
    assert_eq!(everything(&bed.lns), before);
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn a_name_whose_interface_is_about_to_go_is_free_for_the_next_session() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let uplink = Device::Own {
        name: Some("uplink".to_owned()),
    };
    for number in [1, 2] {
        let spec = session(number, true, LNS, LAC, uplink.clone());
        lns.create(number.into(), in_kernel(spec)).unwrap();
    }
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    let again = Request::Configure {
        token: Token(2),
        handle: Handle(2),
        network: network("10.0.0.1", "10.0.0.2"),
    };
    let stats = Request::Stats {
        token: Token(1),
        handle: Handle(2),
    };
    let done = lns.submit_in_one(3, vec![stats, removal(1), again]);
    assert_eq!(done[2].1, Completion::Device("uplink".to_owned()));
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn the_network_beside_hears_where_a_session_of_the_kernel_is_for_as_long_as_it_is_up() {
    let Some(bed) = Bed::new() else { return };
    bed.lns.sysctl(&["ipv4/ip_forward=1"]);
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    lns.create(1, in_kernel(session(1, true, LNS, LAC, own())))
        .unwrap();
    assert_eq!(lns.configure(1, answered("10.9.0.77")).unwrap(), "ppp0");
    assert!(proxies(&bed).starts_with("10.9.0.77 dev wire"));
    let host = bed.lac.udp("0.0.0.0:0");
    host.send_to(b"to the peer", "10.9.0.77:9").unwrap();
    let mut stats = (0..1000).map(|_| lns.stats(1));
    assert!(stats.any(|stats| stats.tx_packets > 0), "it goes on to it");
    lns.remove(1).unwrap();
    assert_eq!(proxies(&bed), "");
}

/// Gives each UDP socket of ours that is connected to `remote` a policy of IPsec's, which lets all pass (`struct xfrm_userpolicy_info`).
fn give_policy(remote: SocketAddr) {
    const IP_XFRM_POLICY: libc::c_int = 17;
    let mut policy = [0_u8; 168];
    policy[40..42].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    // No limit of octets or packets; the direction is out.
    policy[56..88].fill(0xff);
    policy[160] = 1;
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let number: i32 = entry
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        // SAFETY: no other test runs, and whether the descriptor is open still is seen from the answer.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let peer = rustix::net::getpeername(fd).ok().flatten();
        if peer.and_then(|peer| SocketAddr::try_from(peer).ok()) != Some(remote) {
            continue;
        }
        let (value, size) = (policy.as_ptr().cast(), policy.len() as libc::socklen_t);
        // SAFETY: the policy is alive for the call, and its size is given.
        let set = unsafe { libc::setsockopt(number, libc::SOL_IP, IP_XFRM_POLICY, value, size) };
        assert_eq!(set, 0, "{}", Error::last_os_error());
    }
}

#[test]
#[ignore = "needs the kernel's l2tp_ppp"]
fn whether_a_tunnels_socket_has_policies_of_ipsec_is_what_the_kernel_says() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    lns.create(1, in_kernel(session(1, true, LNS, LAC, own())))
        .unwrap();
    assert!(!lns.stats(1).using_ipsec);
    give_policy(LAC.parse().unwrap());
    assert!(lns.stats(1).using_ipsec);
    lns.remove(1).unwrap();
}
