//! Encrypted sessions: in user space, and with the kernel's `ppp_mppe` at one end or both.

use crypto::mppe::{Decryptor, Encryptor, KeyLength, Lost, Mode, Sealed, StartKeys};
use datapath::{Device, Encryption, Event, Handle, NetworkSpec, Request};

use crate::bed::{Bed, End, Wire, dual_stack, ipv4_udp, network, session};
use crate::{LAC, LNS, one_session, packet_to_lns, to_lns};

/// A Reset-Ack of CCP.
const RESET_ACK: &[u8] = &[0xff, 3, 0x80, 0xfd, 15, 1, 0, 4];

/// The keys of the LNS.
fn keys() -> StartKeys {
    StartKeys {
        send: [1; 16].into(),
        receive: [2; 16].into(),
    }
}

pub(crate) fn encryption(lns: bool, mode: Option<Mode>) -> Option<Encryption> {
    let keys = if lns { keys() } else { keys().reversed() };
    let mru = 1500;
    Some(Encryption { keys, mode, mru })
}

pub(crate) fn encrypted(mut network: NetworkSpec, lns: bool, mode: Mode) -> NetworkSpec {
    network.encryption = encryption(lns, Some(mode));
    network
}

fn every_mode() -> impl Iterator<Item = Mode> {
    let mode = |length| [false, true].map(|stateful| Mode { length, stateful });
    KeyLength::ALL.into_iter().flat_map(mode)
}

/// The PPP frame of the next data message that is seen on the wire.
fn frame_on(wire: &Wire) -> Vec<u8> {
    wire.find(|packet| {
        let l2tp = packet.get(28..).filter(|_| packet[9] == 17)?;
        l2tp.strip_prefix(&[0, 2]).map(|rest| rest[4..].to_vec())
    })
}

/// A data message for session 101 of the LNS, with a packet that this end encrypts.
fn sealed(by: &mut Encryptor, packet: &[u8]) -> Vec<u8> {
    let mut octets = [&[0, 0x21], packet].concat();
    let Sealed { flushed, count } = by.seal(&mut octets);
    let bits = if flushed { 0x9000 } else { 0x1000 };
    let header = (bits | count).to_be_bytes();
    to_lns(1, &[&[0xff, 3, 0, 0xfd], &header[..], &octets].concat())
}

/// The IPv4 packet in the frame of a data message of the LNS's, decrypted.
fn opened(by: &mut Decryptor, frame: &[u8]) -> Result<Vec<u8>, Lost> {
    let frame = frame.strip_prefix(&[0xff, 3]).unwrap_or(frame);
    let octets = frame.strip_prefix(&[0, 0xfd]).unwrap();
    let bits = u16::from_be_bytes([octets[0], octets[1]]);
    let sealed = Sealed {
        flushed: bits & 0x8000 != 0,
        count: bits & 0xfff,
    };
    let mut out = Vec::new();
    let known = |octets: &[u8]| octets.starts_with(&[0, 0x21, 0x45]);
    by.open(sealed, &octets[2..], &mut out, known)?;
    Ok(out)
}

#[test]
fn packets_are_encrypted_in_every_mode() {
    let Some(bed) = Bed::new() else { return };
    for mode in every_mode() {
        let (mut lns, mut lac) = one_session(&bed);
        let [lns_side, lac_side] = dual_stack();
        lns.configure(1, encrypted(lns_side.clone(), true, mode))
            .unwrap();
        lac.configure(1, encrypted(lac_side, false, mode)).unwrap();
        let wire = bed.lns.wire();
        bed.lac.ping("10.0.0.1");
        for _ in 0..10 {
            let frame = frame_on(&wire);
            assert_eq!(frame[..4], [0xff, 3, 0, 0xfd], "{mode}");
        }
        bed.lns.ping("10.0.0.2");
        bed.lac.ping("fe80::1%ppp0");
        // What is said once more changes nothing of where the two ends are.
        lns.configure(1, encrypted(lns_side, true, mode)).unwrap();
        Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 4 << 20);
        Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 1 << 20);
        let stats = lns.remove(1).unwrap();
        assert!(stats.rx_bytes > 4 << 20, "{stats:?}");
        assert_eq!((stats.rx_errors, stats.tx_errors), (0, 0), "{mode}");
    }
}

#[test]
fn what_comes_in_clear_or_under_another_key_is_dropped_and_counted() {
    let Some(bed) = Bed::new() else { return };
    let mode = Mode {
        length: KeyLength::Bits128,
        stateful: false,
    };
    let mut lns = End::start(&bed.lns, LNS);
    let lac = bed.lac.udp(LAC);
    lns.create(1, session(1, true, LNS, LAC, Device::Shared))
        .unwrap();
    lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
    let inner = bed.lns.udp("10.0.0.1:5000");
    let packet = |text: &[u8]| ipv4_udp("10.0.0.2", "10.0.0.1:5000".parse().unwrap(), text);
    let mut buf = [0; 100];
    lac.send_to(&packet_to_lns(1, &packet(b"in clear")), LNS)
        .unwrap();
    let len = inner.recv(&mut buf).unwrap();
    assert_eq!(&buf[..len], b"in clear");

    lns.configure(1, encrypted(network("10.0.0.1", "10.0.0.2"), true, mode))
        .unwrap();
    let mut stranger = Encryptor::new([7; 16].into(), mode);
    let mut peer = Encryptor::new(keys().receive, mode);
    for datagram in [
        packet_to_lns(1, &packet(b"in clear")),
        sealed(&mut stranger, &packet(b"of another")),
        to_lns(1, &[0, 0xfd, 0x90]),
        // Not encrypted, as its header says.
        to_lns(
            1,
            &[&[0, 0xfd, 0x80, 0, 0, 0x21], &packet(b"x")[..]].concat(),
        ),
        sealed(&mut peer, &packet(b"of the peer")),
    ] {
        lac.send_to(&datagram, LNS).unwrap();
    }
    let len = inner.recv(&mut buf).unwrap();
    assert_eq!(&buf[..len], b"of the peer");
    let stats = lns.stats(1);
    assert_eq!((stats.rx_packets, stats.rx_errors), (2, 4));
}

#[test]
fn a_gap_in_stateful_mode_goes_up_and_a_reset_ack_begins_anew() {
    let Some(bed) = Bed::new() else { return };
    let mode = Mode {
        length: KeyLength::Bits40,
        stateful: true,
    };
    let mut lns = End::start(&bed.lns, LNS);
    let lac = bed.lac.udp(LAC);
    lns.create(1, session(1, true, LNS, LAC, Device::Shared))
        .unwrap();
    lns.configure(1, encrypted(network("10.0.0.1", "10.0.0.2"), true, mode))
        .unwrap();
    let unreadable = [0xff, 3, 0, 0xfd, 0x10, 9, 1, 2, 3];
    lac.send_to(&to_lns(1, &unreadable), LNS).unwrap();
    let Event::Frame { frame, .. } = lns.event() else {
        panic!("no frame")
    };
    assert_eq!(frame, unreadable);
    assert_eq!(lns.stats(1).rx_errors, 1);

    let inner = bed.lns.udp("10.0.0.1:0");
    let mut theirs = Decryptor::new(keys().send, mode);
    let mut receive = |text: &[u8]| {
        let mut buf = [0; 200];
        let len = lac.recv(&mut buf).unwrap();
        let payload = buf[..len].strip_prefix(&[0, 2, 0, 200, 0, 201]).unwrap();
        if payload.starts_with(RESET_ACK) {
            return None;
        }
        let flushed = payload[4] & 0x80 != 0;
        assert!(opened(&mut theirs, payload).unwrap().ends_with(text));
        Some(flushed)
    };
    inner.send_to(b"first", "10.0.0.2:9").unwrap();
    assert_eq!(receive(b"first"), Some(false));
    lns.submit(Request::Send {
        handle: Handle(1),
        frame: RESET_ACK.to_vec(),
    });
    assert_eq!(receive(b""), None);
    inner.send_to(b"second", "10.0.0.2:9").unwrap();
    assert_eq!(receive(b"second"), Some(true));
}

/// The kernel's engine: `cargo xtask test --only kernel` runs these.
mod kernel {
    use crypto::mppe::{Decryptor, Encryptor, KeyLength, Lost, Mode};
    use datapath::{Engine, Event, Handle, NetworkSpec, Request};

    use super::{RESET_ACK, encrypted, encryption, every_mode, frame_on, keys, opened, sealed};
    use crate::bed::{Bed, End, Udp, dual_stack, ipv4_udp, network, own, session};
    use crate::kernel::in_kernel;
    use crate::{LAC, LNS, packet_to_lns, to_lns};

    /// Both ends of a session that the kernel carries at the LNS, the LAC or both, once CCP is through.
    fn negotiated(bed: &Bed, in_kernel_at: [bool; 2], mode: Mode) -> [End; 2] {
        let places = [(&bed.lns, LNS, LAC), (&bed.lac, LAC, LNS)];
        let mut ends = [0, 1].map(|which| {
            let (place, local, remote) = places[which];
            let lns = which == 0;
            let mut spec = session(1, lns, local, remote, own());
            let mut end = match in_kernel_at[which] {
                true => End::start_with_kernel(place, local),
                false => End::start(place, local),
            };
            spec.mppe = vec![mode.length];
            if in_kernel_at[which] {
                spec = in_kernel(spec);
            }
            end.create(1, spec).unwrap();
            let mut nothing = network("10.0.0.1", "10.0.0.2");
            (nothing.ipv4, nothing.encryption) = (None, encryption(lns, None));
            end.configure(1, nothing).unwrap();
            end
        });
        let bits = match (mode.length, mode.stateful) {
            (KeyLength::Bits128, false) => [1, 0, 0, 0x40],
            (KeyLength::Bits128, true) => [0, 0, 0, 0x40],
            (_, false) => [1, 0, 0, 0x20],
            (_, true) => [0, 0, 0, 0x20],
        };
        let ack = [&[0xff, 3, 0x80, 0xfd, 2, 1, 0, 10, 18, 6][..], &bits].concat();
        for from in [0, 1] {
            let handle = Handle(1);
            let frame = ack.clone();
            ends[from].submit(Request::Send { handle, frame });
            let Event::Frame { frame, .. } = ends[1 - from].any_event() else {
                panic!("no frame")
            };
            assert!(frame.ends_with(&ack[2..]));
        }
        for (end, lns) in ends.iter_mut().zip([true, false]) {
            let mut nothing = network("10.0.0.1", "10.0.0.2");
            nothing.ipv4 = None;
            end.configure(1, encrypted(nothing, lns, mode)).unwrap();
        }
        for (end, (network, lns)) in ends
            .iter_mut()
            .zip(dual_stack().into_iter().zip([true, false]))
        {
            end.configure(1, encrypted(network, lns, mode)).unwrap();
        }
        ends
    }

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn the_kernel_and_tun_encrypt_for_each_other() {
        let Some(bed) = Bed::new() else { return };
        let modes = every_mode().filter(|mode| mode.length != KeyLength::Bits56);
        for mode in modes {
            for which in [[true, false], [false, true], [true, true]] {
                let [mut lns, lac] = negotiated(&bed, which, mode);
                let expected = [Engine::Tun, Engine::Kernel][usize::from(which[0])];
                assert_eq!(lns.carrier(1), expected);
                let wire = bed.lns.wire();
                bed.lac.ping("10.0.0.1");
                for _ in 0..10 {
                    let frame = frame_on(&wire);
                    let frame = frame.strip_prefix(&[0xff, 3]).unwrap_or(&frame);
                    assert!(matches!(frame, [0, 0xfd, ..] | [0xfd, ..]), "{mode}");
                }
                bed.lns.ping("10.0.0.2");
                bed.lac.ping("fe80::1%ppp0");
                // Nobody here asks for a flush, so that in stateful mode no packet may be lost: not more than sockets have room for.
                let octets = if mode.stateful { 1 << 16 } else { 1 << 20 };
                Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", octets);
                Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", octets);
                let stats = lns.remove(1).unwrap();
                assert!(
                    stats.rx_bytes > octets as u64,
                    "{mode} {which:?}: {stats:?}"
                );
                assert_eq!(stats.rx_errors, 0, "{mode} {which:?}");
                drop((lns, lac));
            }
        }
    }

    /// What happens to a session of the kernel's between its keys and its network.
    enum Step {
        /// The LNS says this in CCP.
        Says(u8, u8),
        /// Its peer does.
        Hears(u8, u8),
    }

    /// A packet of CCP, from its protocol field on.
    fn ccp(code: u8, identifier: u8) -> Vec<u8> {
        let head = [0x80, 0xfd, code, identifier, 0, 10];
        [&head[..], &[18, 6, 1, 0, 0, 0x40]].concat()
    }

    /// An LNS whose session is in the kernel and negotiates encryption, a socket that is its peer, and the network that it has meanwhile.
    fn negotiating(bed: &Bed, mode: Mode) -> (End, Udp, NetworkSpec) {
        let mut lns = End::start_with_kernel(&bed.lns, LNS);
        let lac = bed.lac.udp(LAC);
        let mut spec = in_kernel(session(1, true, LNS, LAC, own()));
        spec.mppe = vec![mode.length];
        lns.create(1, spec).unwrap();
        let mut nothing = network("10.0.0.1", "10.0.0.2");
        (nothing.ipv4, nothing.encryption) = (None, encryption(true, None));
        lns.configure(1, nothing.clone()).unwrap();
        (lns, lac, nothing)
    }

    /// The LNS, whose session is in the kernel and carries packets after these steps; and a socket that is its peer.
    fn after(bed: &Bed, steps: &[Step]) -> (End, Udp) {
        let (mut lns, lac, nothing) = negotiating(bed, STATELESS);
        for step in steps {
            match *step {
                Step::Says(code, identifier) => {
                    let (handle, frame) = (Handle(1), ccp(code, identifier));
                    lns.submit(Request::Send { handle, frame });
                    let mut buf = [0; 100];
                    let len = lac.recv(&mut buf).unwrap();
                    assert!(buf[..len].ends_with(&ccp(code, identifier)));
                }
                Step::Hears(code, identifier) => {
                    let frame = ccp(code, identifier);
                    lac.send_to(&to_lns(1, &frame), LNS).unwrap();
                    assert!(matches!(lns.any_event(), Event::Frame { .. }));
                }
            }
        }
        lns.configure(1, encrypted(nothing, true, STATELESS))
            .unwrap();
        (lns, lac)
    }

    const STATELESS: Mode = Mode {
        length: KeyLength::Bits128,
        stateful: false,
    };

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn nothing_of_ccp_that_comes_late_or_twice_spoils_a_key_of_the_kernel_s() {
        use Step::{Hears, Says};
        const REQUEST: u8 = 1;
        const ACK: u8 = 2;
        let Some(bed) = Bed::new() else { return };
        let cases: [&[Step]; 5] = [
            &[
                Says(REQUEST, 1),
                Hears(ACK, 1),
                Hears(REQUEST, 1),
                Says(ACK, 1),
            ],
            // Our restart timer fired before the peer's request came.
            &[
                Says(REQUEST, 1),
                Hears(ACK, 1),
                Says(REQUEST, 2),
                Hears(ACK, 2),
                Says(ACK, 1),
            ],
            // The network made two of it.
            &[
                Says(REQUEST, 1),
                Hears(ACK, 1),
                Hears(ACK, 1),
                Says(ACK, 1),
                Hears(ACK, 1),
            ],
            // The peer missed our answer.
            &[
                Says(REQUEST, 1),
                Hears(ACK, 1),
                Says(ACK, 1),
                Hears(REQUEST, 1),
                Says(ACK, 1),
            ],
            // A request that was refused comes late, at which the kernel stops.
            &[
                Says(REQUEST, 1),
                Hears(ACK, 1),
                Says(ACK, 2),
                Hears(REQUEST, 1),
            ],
        ];
        for (number, steps) in cases.iter().enumerate() {
            let (mut lns, lac) = after(&bed, steps);
            lns.configure(
                1,
                encrypted(network("10.0.0.1", "10.0.0.2"), true, STATELESS),
            )
            .unwrap();
            let mut buf = [0; 200];
            if number == 4 {
                // It goes on with the acknowledgement that it gave.
                let len = lac.recv(&mut buf).unwrap();
                assert!(buf[..len].ends_with(&ccp(ACK, 2)));
            }
            let inner = bed.lns.udp("10.0.0.1:5000");
            let mut ours = Encryptor::new(keys().receive, STATELESS);
            let mut theirs = Decryptor::new(keys().send, STATELESS);
            for text in [b"one", b"two"] {
                let packet = ipv4_udp("10.0.0.2", "10.0.0.1:5000".parse().unwrap(), text);
                lac.send_to(&sealed(&mut ours, &packet), LNS).unwrap();
                let len = inner
                    .recv(&mut buf)
                    .expect("a packet that the kernel decrypts");
                assert_eq!(&buf[..len], text, "case {number}");
                inner.send_to(text, "10.0.0.2:9").unwrap();
                let len = lac.recv(&mut buf).unwrap();
                let packet = opened(&mut theirs, &buf[6..len]).unwrap();
                assert!(packet.ends_with(text), "case {number}");
            }
        }
    }

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn without_an_acknowledgement_of_ours_the_kernel_carries_nothing() {
        let Some(bed) = Bed::new() else { return };
        let (mut lns, _) = after(&bed, &[Step::Says(1, 1), Step::Hears(2, 1)]);
        let carrying = encrypted(network("10.0.0.1", "10.0.0.2"), true, STATELESS);
        let refused = lns.configure(1, carrying).unwrap_err().to_string();
        assert!(refused.contains("ppp_mppe"), "{refused}");
    }

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn what_comes_in_clear_is_not_taken_by_the_kernel_either() {
        use Step::{Hears, Says};
        let Some(bed) = Bed::new() else { return };
        let steps = [Says(1, 1), Hears(2, 1), Hears(1, 1), Says(2, 1)];
        let (mut lns, lac) = after(&bed, &steps);
        let carrying = encrypted(network("10.0.0.1", "10.0.0.2"), true, STATELESS);
        lns.configure(1, carrying).unwrap();
        let inner = bed.lns.udp("10.0.0.1:5000");
        let packet = |text: &[u8]| ipv4_udp("10.0.0.2", "10.0.0.1:5000".parse().unwrap(), text);
        let mut peer = Encryptor::new(keys().receive, STATELESS);
        let clear = packet_to_lns(1, &packet(b"in clear"));
        for datagram in [clear, sealed(&mut peer, &packet(b"of the peer"))] {
            lac.send_to(&datagram, LNS).unwrap();
        }
        let mut buf = [0; 100];
        let len = inner.recv(&mut buf).unwrap();
        assert_eq!(&buf[..len], b"of the peer");
        // Where it is agreed that there is no encryption it is taken.
        lns.configure(1, network("10.0.0.1", "10.0.0.2")).unwrap();
        let clear = packet_to_lns(1, &packet(b"in clear"));
        lac.send_to(&clear, LNS).unwrap();
        let len = inner.recv(&mut buf).unwrap();
        assert_eq!(&buf[..len], b"in clear");
    }

    /// Lost packets in each direction between the kernel and a peer that is ours: the kernel has its own idea of a new beginning.
    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn a_lost_packet_of_stateful_mode_is_made_good_with_the_kernel() {
        const RESET_REQUEST: &[u8] = &[0xff, 3, 0x80, 0xfd, 14, 7, 0, 4];
        let Some(bed) = Bed::new() else { return };
        let mode = Mode {
            length: KeyLength::Bits128,
            stateful: true,
        };
        let handle = Handle(1);
        let (mut lns, lac, _) = negotiating(&bed, mode);
        let ack = [0xff, 3, 0x80, 0xfd, 2, 1, 0, 10, 18, 6, 0, 0, 0, 0x40];
        let frame = ack.to_vec();
        lns.submit(Request::Send { handle, frame });
        lac.send_to(&to_lns(1, &ack), LNS).unwrap();
        lns.any_event();
        // The acknowledgement was lost, so the peer asks once more.
        let mut request = ack;
        request[4] = 1;
        lac.send_to(&to_lns(1, &request), LNS).unwrap();
        lns.any_event();
        let frame = ack.to_vec();
        lns.submit(Request::Send { handle, frame });
        lns.configure(1, encrypted(network("10.0.0.1", "10.0.0.2"), true, mode))
            .unwrap();

        let inner = bed.lns.udp("10.0.0.1:5000");
        let mut buf = [0; 200];
        let mut receive = || {
            let len = lac.recv(&mut buf).unwrap();
            buf[6..len].to_vec()
        };
        assert!(receive().ends_with(&ack[6..]));
        assert!(receive().ends_with(&ack[6..]));
        let mut theirs = Decryptor::new(keys().send, mode);
        let say = |text: &[u8]| assert!(inner.send_to(text, "10.0.0.2:9").is_ok());
        for round in 0..3 {
            say(b"read");
            assert!(opened(&mut theirs, &receive()).unwrap().ends_with(b"read"));
            for _ in 0..=round {
                say(b"lost");
                receive();
            }
            say(b"unreadable");
            let said = opened(&mut theirs, &receive());
            assert_eq!(said, Err(Lost::Synchronization));
            lac.send_to(&to_lns(1, RESET_REQUEST), LNS).unwrap();
            let Event::Frame { frame, .. } = lns.any_event() else {
                panic!("no frame")
            };
            assert!(RESET_REQUEST.ends_with(&frame));
            let frame = RESET_ACK.to_vec();
            lns.submit(Request::Send { handle, frame });
            assert!(RESET_ACK.ends_with(&receive()[2..]));
            say(b"read again");
            let packet = opened(&mut theirs, &receive()).unwrap();
            assert!(packet.ends_with(b"read again"));
        }

        let mut ours = Encryptor::new(keys().receive, mode);
        let to = "10.0.0.1:5000".parse().unwrap();
        let mut buf = [0; 100];
        for round in 0..3 {
            for lost in 0..=round {
                let _ = sealed(&mut ours, &ipv4_udp("10.0.0.2", to, &[lost]));
            }
            let unreadable = sealed(&mut ours, &ipv4_udp("10.0.0.2", to, b"unreadable"));
            lac.send_to(&unreadable, LNS).unwrap();
            let Event::Frame { frame, .. } = lns.any_event() else {
                panic!("no frame")
            };
            assert!(unreadable.ends_with(&frame), "it goes up as it came");
            ours.flush();
            lac.send_to(&to_lns(1, RESET_ACK), LNS).unwrap();
            lns.any_event();
            for text in [b"first", b"other"] {
                let packet = ipv4_udp("10.0.0.2", to, text);
                lac.send_to(&sealed(&mut ours, &packet), LNS).unwrap();
                let len = inner.recv(&mut buf).unwrap();
                assert_eq!(&buf[..len], text);
            }
        }
    }

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn who_wants_56_bits_stays_in_user_space_unless_told_otherwise() {
        let Some(bed) = Bed::new() else { return };
        let mut lns = End::start_with_kernel(&bed.lns, LNS);
        for (handle, lengths, engine) in [
            (1, vec![KeyLength::Bits56], Engine::Tun),
            (2, vec![KeyLength::Bits128], Engine::Kernel),
            (3, KeyLength::ALL.to_vec(), Engine::Kernel),
            (4, Vec::new(), Engine::Kernel),
        ] {
            let mut spec = session(handle, true, LNS, LAC, own());
            spec.mppe = lengths;
            lns.create(handle.into(), spec).unwrap();
            assert_eq!(lns.carrier(handle.into()), engine);
        }
        let spec = in_kernel(session(5, true, LNS, LAC, own()));
        lns.create(5, spec).unwrap();
        assert_eq!(lns.carrier(5), Engine::Kernel);
    }
}
