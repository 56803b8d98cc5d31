//! Messages of several kinds that the kernel hands over in one piece, as they came in one burst from one address.

use std::collections::BTreeSet;

use datapath::{Choice, Device, Engine, Event, Handle, Ids};
use nix::sys::socket::{setsockopt, sockopt};

use super::bed::{Bed, End, ipv4_udp, network, session, sum};
use super::conformance::ENGINES;
use super::{LAC, LNS, packet_to_lns};

/// The peer's address in a session.
fn peer(number: u8) -> String {
    format!("10.0.0.{}", 10 + number)
}

/// An LNS on an engine, with sessions 1 and 2.
fn with_two_sessions(bed: &Bed, engine: Choice) -> End {
    let mut lns = match engine {
        #[cfg(feature = "ebpf")]
        Choice::Ebpf => End::start_with_ebpf(&bed.lns, LNS),
        _ => End::start(&bed.lns, LNS),
    };
    for number in [1, 2] {
        let mut spec = session(number.into(), true, LNS, LAC, Device::Shared);
        spec.choice = engine;
        lns.create(number.into(), spec).unwrap();
        let inside = network("10.0.0.1", &peer(number));
        lns.configure(number.into(), inside).unwrap();
        let moved = Event::Moved {
            handle: Handle(number.into()),
            engine: Engine::Ebpf,
        };
        while engine == Choice::Ebpf && lns.any_event() != moved {}
    }
    lns
}

/// A data message of a session with a packet that says which message of the train it is.
fn data(number: u8, text: &[u8; 8]) -> Vec<u8> {
    let to = "10.0.0.1:5000".parse().unwrap();
    packet_to_lns(number, &ipv4_udp(&peer(number), to, text))
}

/// A control message that is as long as those.
fn control() -> Vec<u8> {
    let len = data(1, b"any text").len();
    let head = [0xc8, 2, 0, len as u8, 0, 100, 0, 0, 0, 1, 0, 1];
    let mut message = head.to_vec();
    message.resize(len, 0xee);
    message
}

/// What goes up of a train: its control message, and the frame of a message that is no session's.
fn events(unknown: &[u8]) -> [Event; 2] {
    let (local, remote) = (LNS.parse().unwrap(), LAC.parse().unwrap());
    let of_tunnel = Event::Control {
        listener: None,
        local,
        remote,
        payload: control(),
    };
    let of_nobody = Event::Frame {
        listener: None,
        local,
        remote,
        ids: Ids {
            tunnel: 100,
            session: 109,
        },
        ns: None,
        frame: unknown[6..].to_vec(),
    };
    [of_tunnel, of_nobody]
}

/// Sends a train of five and sees that each of them goes where it belongs. `programs`: of which sessions they carry how many.
fn each_goes_its_way(bed: &Bed, lns: &mut End, programs: [u64; 2]) {
    let host = bed.lns.udp("10.0.0.1:5000");
    let lac = bed.lac.udp(LAC);
    let unknown = data(9, b"of none ");
    let train = [
        data(1, b"first   "),
        data(2, b"second  "),
        control(),
        unknown.clone(),
        data(1, b"last    "),
    ];
    let size = train[0].len() as u16;
    assert!(
        train
            .iter()
            .all(|message| message.len() == usize::from(size))
    );
    let before = [1, 2].map(|number| lns.stats(number));
    setsockopt(&*lac, sockopt::UdpGsoSegment, &size.into()).unwrap();
    lac.send_to(&train.concat(), LNS).unwrap();

    let mut octets = [0; 100];
    let mut came = BTreeSet::new();
    for _ in 0..3 {
        let (len, from) = host.recv_from(&mut octets).unwrap();
        came.insert((from.ip().to_string(), octets[..len].to_vec()));
    }
    let expected = [(1, b"first   "), (2, b"second  "), (1, b"last    ")];
    let expected = expected.map(|(number, text)| (peer(number), text.to_vec()));
    assert_eq!(came, BTreeSet::from(expected));

    assert_eq!([lns.any_event(), lns.any_event()], events(&unknown));
    let after = [1, 2].map(|number| lns.stats(number));
    let new = [0, 1].map(|at| after[at].rx_packets - before[at].rx_packets);
    assert_eq!(new, [2, 1]);
    assert_eq!(after.map(|stats| stats.rx_errors), [0, 0]);
    let carried = [0, 1].map(|at| {
        let [after, before] = [&after, &before].map(|stats| stats[at].by_programs);
        after.rx_packets - before.rx_packets
    });
    assert_eq!(carried, programs);
}

#[test]
fn messages_that_come_in_one_train_are_each_of_their_own_kind() {
    for &engine in ENGINES {
        let Some(bed) = Bed::new() else { return };
        let mut lns = with_two_sessions(&bed, engine);
        // First a burst of datagrams.
        bed.lac.run("ethtool -K wire tx-udp-segmentation off");
        let singly = match engine {
            Choice::Ebpf => [2, 1],
            _ => [0, 0],
        };
        each_goes_its_way(&bed, &mut lns, singly);
        // In one piece up to the socket there is nothing in it that is for programs as a whole.
        bed.lac.run("ethtool -K wire tx-udp-segmentation on");
        each_goes_its_way(&bed, &mut lns, [0, 0]);
    }
}

/// A packet that says it is longer than its message, by just what comes behind it: what that has is another session's, and stays it.
#[test]
fn a_packet_that_says_it_is_the_whole_train_gets_nothing_of_what_is_behind_it() {
    for &engine in ENGINES {
        let Some(bed) = Bed::new() else { return };
        let mut lns = with_two_sessions(&bed, engine);
        let host = bed.lns.udp("10.0.0.1:5000");
        // Such a socket takes segments in one piece, as a router does.
        setsockopt(&*host, sockopt::UdpGroSegment, &true).unwrap();
        let lac = bed.lac.udp(LAC);
        let (mut lying, other) = (data(1, b"first   "), data(2, b"second  "));
        let size = other.len() as u16;
        // All of IPv4, all of UDP.
        for (at, before) in [(2, 10), (24, 30)] {
            let whole = (2 * size - before).to_be_bytes();
            lying[10 + at..12 + at].copy_from_slice(&whole);
        }
        // The checksum of IPv4 right again.
        lying[20..22].fill(0);
        let checksum = !sum(&lying[10..30]);
        lying[20..22].copy_from_slice(&checksum.to_be_bytes());
        setsockopt(&*lac, sockopt::UdpGsoSegment, &size.into()).unwrap();
        lac.send_to(&[lying, other].concat(), LNS).unwrap();
        let mut octets = [0; 100];
        let (len, from) = host.recv_from(&mut octets).unwrap();
        let came = (from.ip().to_string(), &octets[..len]);
        assert_eq!(came, (peer(2), &b"second  "[..]), "{engine:?}");
        let stats = [1, 2].map(|number| lns.stats(number));
        assert_eq!(stats.map(|of| of.rx_packets), [0, 1], "{engine:?}");
        assert_eq!(stats.map(|of| of.rx_errors), [1, 0], "{engine:?}");
    }
}
