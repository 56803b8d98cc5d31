//! Sequence numbers on the wire, with the test as the network between two engines: it holds all datagrams in its hand.

use std::net::SocketAddr;
use std::time::Duration;

use datapath::{Device, Event, Handle, Request, Sequencing};

use super::{LAC, LCP, LNS};
use crate::bed::{Bed, End, Udp, network, own, sequenced, session};

/// Where both engines take their peer to be.
const MIDDLE: &str = "10.9.0.2:1700";
/// Sequence numbers are there, version 2.
const NUMBERED: [u8; 2] = [0x08, 2];

fn receive(socket: &Udp) -> Vec<u8> {
    let mut octets = [0; 200];
    let len = socket.recv(&mut octets).unwrap();
    octets[..len].to_vec()
}

/// Two engines and what is between them.
struct Path {
    lns: End,
    lac: End,
    middle: Udp,
    lns_host: Udp,
    lac_host: Udp,
}

impl Path {
    /// The LNS sends numbers, and both wait `reorder` for what is missing.
    fn new(bed: &Bed, reorder: Duration) -> Self {
        let (mut lns, mut lac) = (End::start(&bed.lns, LNS), End::start(&bed.lac, LAC));
        let middle = bed.lac.udp(MIDDLE);
        let own_numbers = Sequencing::Own(true);
        let at_lns = session(1, true, LNS, MIDDLE, Device::Shared);
        let at_lac = session(1, false, LAC, MIDDLE, own());
        lns.create(1, sequenced(at_lns, own_numbers, reorder))
            .unwrap();
        lac.create(1, sequenced(at_lac, Sequencing::AsPeer, reorder))
            .unwrap();
        lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
        lac.configure(1, network("10.0.0.2", "10.0.0.1")).unwrap();
        Self {
            lns,
            lac,
            middle,
            lns_host: bed.lns.udp("10.0.0.1:5000"),
            lac_host: bed.lac.udp("10.0.0.2:5000"),
        }
    }

    /// One packet each way, that of the LNS first: its number makes the LAC send numbers.
    fn enable(&self) {
        self.lac_host.send_to(b"x", "10.0.0.1:5000").unwrap();
        let before = receive(&self.middle);
        assert_eq!(before[..2], [0, 2], "no number before the LNS's");
        self.lns_host.send_to(b"x", "10.0.0.2:5000").unwrap();
        let datagram = receive(&self.middle);
        assert_eq!((&datagram[..2], number(&datagram)), (&NUMBERED[..], 0));
        self.forward(&datagram, LAC);
        assert_eq!(receive(&self.lac_host), b"x");
    }

    /// A packet of the LAC's host as the LAC sends it.
    fn sent_by_lac(&self, content: u8) -> Vec<u8> {
        self.lac_host.send_to(&[content], "10.0.0.1:5000").unwrap();
        let datagram = receive(&self.middle);
        assert_eq!(datagram[..2], NUMBERED);
        datagram
    }

    fn forward(&self, datagram: &[u8], to: &str) {
        let to: SocketAddr = to.parse().unwrap();
        self.middle.send_to(datagram, to).unwrap();
    }
}

fn number(datagram: &[u8]) -> u16 {
    u16::from_be_bytes([datagram[6], datagram[7]])
}

#[test]
fn reordered_lost_and_doubled_datagrams_come_out_in_order_once() {
    let Some(bed) = Bed::new() else { return };
    let mut path = Path::new(&bed, Duration::from_millis(50));
    path.enable();
    let mut datagrams: Vec<_> = (0..5).map(|content| path.sent_by_lac(content)).collect();
    path.lac.submit(Request::Send {
        handle: Handle(1),
        frame: LCP.to_vec(),
    });
    let echo = receive(&path.middle);
    assert_eq!(echo[..2], [0x09, 2], "control frames are numbered too");
    datagrams.push(echo);
    datagrams.extend((6..10).map(|content| path.sent_by_lac(content)));
    let numbers: Vec<u16> = datagrams.iter().map(|datagram| number(datagram)).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());

    // 8 is lost.
    for at in [0, 2, 1, 4, 4, 6, 3, 5, 1, 9, 7] {
        path.forward(&datagrams[at], LNS);
    }
    for content in [0, 1, 2, 3, 4, 6, 7, 9] {
        assert_eq!(receive(&path.lns_host), [content]);
    }
    match path.lns.event() {
        Event::Frame { ns, frame, .. } => assert_eq!((ns, &frame[..]), (Some(5), LCP)),
        other => panic!("{other:?}"),
    }
    let stats = path.lns.stats(1);
    assert_eq!((stats.rx_packets, stats.rx_errors), (8, 0));
    let stats = stats.sequencing;
    assert!(stats.tx_sequenced && stats.rx_sequenced);
    // 1, 3 and 7 came after later ones, and 5 while 6 waited.
    assert_eq!(stats.rx_out_of_order, 4);
    assert_eq!((stats.rx_lost, stats.rx_discarded), (1, 2));
}

#[test]
fn without_reordering_nothing_waits_and_what_is_late_is_dropped() {
    let Some(bed) = Bed::new() else { return };
    let mut path = Path::new(&bed, Duration::ZERO);
    path.enable();
    let datagrams: Vec<_> = (0..4).map(|content| path.sent_by_lac(content)).collect();
    for at in [0, 2, 1, 3] {
        path.forward(&datagrams[at], LNS);
    }
    for content in [0, 2, 3] {
        assert_eq!(receive(&path.lns_host), [content]);
    }
    let stats = path.lns.stats(1).sequencing;
    assert_eq!((stats.rx_lost, stats.rx_discarded), (1, 1));
}

#[test]
fn an_lns_stops_numbering_when_told_and_the_lac_with_it() {
    let Some(bed) = Bed::new() else { return };
    let mut path = Path::new(&bed, Duration::ZERO);
    path.enable();
    path.sent_by_lac(0);
    path.lns.submit(Request::SetSequencing {
        handle: Handle(1),
        sequencing: Sequencing::Own(false),
    });
    // An answered request is after that one.
    assert!(!path.lns.stats(1).sequencing.tx_sequenced);
    path.lns_host.send_to(b"y", "10.0.0.2:5000").unwrap();
    let datagram = receive(&path.middle);
    assert_eq!(datagram[..2], [0, 2]);
    path.forward(&datagram, LAC);
    assert_eq!(receive(&path.lac_host), b"y");
    path.lac_host.send_to(b"z", "10.0.0.1:5000").unwrap();
    assert_eq!(receive(&path.middle)[..2], [0, 2]);
}

#[test]
fn what_has_no_number_is_dropped_where_one_is_required() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start(&bed.lns, LNS);
    let lac = bed.lac.udp(LAC);
    let spec = session(1, true, LNS, LAC, Device::Shared);
    lns.create(1, sequenced(spec, Sequencing::Required, Duration::ZERO))
        .unwrap();
    let numbered = [&[8, 2, 0, 100, 0, 101, 0, 0, 0, 0][..], LCP].concat();
    lac.send_to(&super::to_lns(1, LCP), LNS).unwrap();
    lac.send_to(&numbered, LNS).unwrap();
    match lns.event() {
        Event::Frame { ns, .. } => assert_eq!(ns, Some(0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(lns.stats(1).sequencing.rx_unnumbered, 1);
}
