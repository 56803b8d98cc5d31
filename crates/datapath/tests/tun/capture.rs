//! Packets of a session for those who want to see them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datapath::capture::{self, Tap, Way};
use datapath::{Device, Handle};

use super::bed::{Bed, dual_stack, ipv4_udp, network, session};
use super::{LAC, LNS, one_session, packet_to_lns};

#[derive(Debug)]
pub(crate) struct Viewer {
    seen: Mutex<Sender<(Way, Vec<u8>)>>,
    open: AtomicBool,
}

impl Viewer {
    pub(crate) fn new() -> (Arc<Self>, Receiver<(Way, Vec<u8>)>) {
        let (seen, packets) = channel();
        let viewer = Self {
            seen: Mutex::new(seen),
            open: AtomicBool::new(true),
        };
        (Arc::new(viewer), packets)
    }

    fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
    }
}

impl Tap for Viewer {
    fn see(&self, way: Way, packet: &[u8]) {
        let _ = self.seen.lock().unwrap().send((way, packet.to_vec()));
    }

    fn miss(&self, packets: u64) {
        panic!("{packets} missed");
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

/// The next packet with this at its end.
fn next(packets: &Receiver<(Way, Vec<u8>)>, text: &[u8]) -> (Way, Vec<u8>) {
    loop {
        let (way, packet) = packets
            .recv_timeout(Duration::from_secs(5))
            .expect("a packet");
        if packet.ends_with(text) {
            return (way, packet);
        }
    }
}

/// What the peer sends and what the host sends are seen on the way, and only as long as somebody looks.
#[test]
fn the_packets_of_a_session_are_seen_whole_with_their_direction() {
    let Some(bed) = Bed::new() else { return };
    let (mut lns, _lac) = one_session(&bed);
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    let (viewer, packets) = Viewer::new();
    let tap = Arc::clone(&viewer) as Arc<dyn Tap>;
    lns.engines().capture(Handle(1), Some(tap));

    let host = bed.lns.udp("10.0.0.1:5000");
    host.send_to(b"to the peer", "10.0.0.2:9").unwrap();
    let (way, packet) = next(&packets, b"to the peer");
    assert_eq!((way, packet.len(), packet[0]), (Way::Sent, 28 + 11, 0x45));
    assert_eq!(packet[16..20], [10, 0, 0, 2]);

    viewer.close();
    lns.engines().capture(Handle(1), None);
    lns.stats(1);
    host.send_to(b"unseen", "10.0.0.2:9").unwrap();
    let left: Vec<_> = std::iter::from_fn(|| packets.try_recv().ok()).collect();
    assert!(left.iter().all(|(_, packet)| !packet.ends_with(b"unseen")));
}

#[test]
fn what_the_peer_sends_is_seen_as_the_host_gets_it() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = super::End::start(&bed.lns, LNS);
    let lac = bed.lac.udp(LAC);
    lns.create(1, session(1, true, LNS, LAC, Device::Shared))
        .unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    let (viewer, packets) = Viewer::new();
    lns.engines().capture(Handle(1), Some(viewer));
    lns.stats(1);
    let packet = ipv4_udp("10.0.0.2", "10.0.0.1:9".parse().unwrap(), b"from the peer");
    let spoofed = ipv4_udp("10.0.0.3", "10.0.0.1:9".parse().unwrap(), b"from the peer");
    for packet in [&spoofed, &packet] {
        lac.send_to(&packet_to_lns(1, packet), LNS).unwrap();
    }
    assert_eq!(next(&packets, b"from the peer"), (Way::Received, packet));
    // A session that ends is seen no more.
    lns.remove(1).unwrap();
    assert!(packets.iter().all(|(_, packet)| packet != spoofed));
}

#[test]
fn the_packets_of_a_device_are_seen_until_it_is_gone() {
    let Some(bed) = Bed::new() else { return };
    let (mut lns, mut lac) = one_session(&bed);
    let [lns_side, lac_side] = dual_stack();
    lns.configure(1, lns_side).unwrap();
    let device = lac.configure(1, lac_side).unwrap();
    let (viewer, packets) = Viewer::new();
    let capture = |name: &str| bed.lac.enter(|| capture::device(name, viewer.clone()));
    capture(&device).unwrap();
    let [host, peer] = [bed.lac.udp("10.0.0.2:5000"), bed.lns.udp("10.0.0.1:5000")];
    host.send_to(b"sent", "10.0.0.1:5000").unwrap();
    peer.send_to(b"received", "10.0.0.2:5000").unwrap();
    assert_eq!(next(&packets, b"sent").0, Way::Sent);
    let (way, packet) = next(&packets, b"received");
    assert_eq!((way, packet[0]), (Way::Received, 0x45));

    lac.remove(1).unwrap();
    let error = capture(&device).unwrap_err();
    assert!(error.to_string().contains(&device), "{error}");
    drop(viewer);
    // The thread holds the other end for no longer.
    assert!(packets.iter().all(|(_, packet)| packet != b"more"));
}

#[cfg(feature = "ebpf")]
#[test]
fn a_session_that_programs_carry_is_captured_on_tun_and_goes_back_after_that() {
    use datapath::{Choice, Engine, Event};

    let Some(bed) = Bed::new() else { return };
    let mut lns = super::End::start_with_ebpf(&bed.lns, LNS);
    let mut spec = session(1, true, LNS, LAC, Device::Shared);
    spec.choice = Choice::Ebpf;
    lns.create(1, spec).unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    let moved = |engine| Event::Moved {
        handle: Handle(1),
        engine,
    };
    assert_eq!(lns.any_event(), moved(Engine::Ebpf));

    let (viewer, packets) = Viewer::new();
    let tap = Arc::clone(&viewer) as Arc<dyn Tap>;
    lns.engines().capture(Handle(1), Some(tap));
    assert_eq!(lns.any_event(), moved(Engine::Tun));
    let why = "it is captured".to_owned();
    let handle = Handle(1);
    assert_eq!(lns.any_event(), Event::NoFaster { handle, why });
    let lac = bed.lac.udp(LAC);
    let host = bed.lns.udp("10.0.0.1:5000");
    host.send_to(b"seen", "10.0.0.2:9").unwrap();
    assert_eq!(next(&packets, b"seen").0, Way::Sent);
    assert!(lac.recv(&mut [0; 100]).unwrap() > 0);

    viewer.close();
    lns.engines().capture(Handle(1), None);
    assert_eq!(lns.any_event(), moved(Engine::Ebpf));
    host.send_to(b"carried", "10.0.0.2:9").unwrap();
    assert!(lac.recv(&mut [0; 100]).unwrap() > 0);
    assert!(packets.try_iter().all(|(_, p)| !p.ends_with(b"carried")));
}
