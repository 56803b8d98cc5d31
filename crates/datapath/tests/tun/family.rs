//! The kernel's engine where the `l2tp` netlink family is too: Debian's kernel runs these tests (`cargo xtask test --only qemu`).

use datapath::kernel::Means;
use datapath::{Engine, Event, Handle};

use super::{LAC, LCP, LNS, to_lns};
use crate::bed::{Bed, End, dual_stack, network, own, session};
use crate::kernel::{at_lns, everything, in_kernel};

/// The next event is that this session is lost, for a reason with these words.
fn is_lost(end: &mut End, lost: u64, words: &str) {
    match end.any_event() {
        Event::Failed { handle, error } => {
            assert_eq!(handle, Handle(lost));
            assert!(error.to_string().contains(words), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// Frames that come for a session get to its channel.
fn takes_frames(bed: &Bed, lns: &mut End, number: u8) {
    let peer = bed.lac.udp(LAC);
    peer.send_to(&to_lns(number, LCP), LNS).unwrap();
    match lns.any_event() {
        Event::Frame { ids, .. } => assert_eq!(ids, at_lns(number.into())),
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs the kernel's l2tp_netlink"]
fn a_session_that_somebody_deletes_is_lost_and_can_be_made_again() {
    let Some(bed) = Bed::new() else { return };
    let before = everything(&bed.lns);
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    assert_eq!(lns.engines().without_notices(), None);
    let spec = |number| in_kernel(session(number, true, LNS, LAC, own()));
    for number in [1, 2] {
        lns.create(number.into(), spec(number)).unwrap();
        let peer = format!("10.0.0.{}", 10 + number);
        lns.configure(number.into(), network("10.0.0.1", &peer))
            .unwrap();
    }
    bed.lns
        .run("ip l2tp del session tunnel_id 100 session_id 101");
    is_lost(&mut lns, 1, "somebody deleted it");
    lns.remove(1).unwrap();
    takes_frames(&bed, &mut lns, 2);
    lns.create(3, spec(1)).unwrap();
    takes_frames(&bed, &mut lns, 1);
    for handle in [2, 3] {
        lns.remove(handle).unwrap();
    }
    drop(lns);
    assert_eq!(everything(&bed.lns), before);
}

#[test]
#[ignore = "needs the kernel's l2tp_netlink"]
fn a_tunnel_that_somebody_deletes_takes_its_sessions_with_it_and_is_made_again() {
    let Some(bed) = Bed::new() else { return };
    let before = everything(&bed.lns);
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let spec = |number| in_kernel(session(number, true, LNS, LAC, own()));
    for number in [1, 2] {
        lns.create(number.into(), spec(number)).unwrap();
    }
    bed.lns.run("ip l2tp del tunnel tunnel_id 100");
    for lost in [1, 2] {
        is_lost(&mut lns, lost, "somebody deleted its tunnel");
    }
    // The other was not removed yet.
    lns.remove(1).unwrap();
    lns.create(3, spec(3)).unwrap();
    takes_frames(&bed, &mut lns, 3);
    for handle in [2, 3] {
        lns.remove(handle).unwrap();
    }
    drop(lns);
    assert_eq!(everything(&bed.lns), before);
}

#[test]
#[ignore = "needs the kernel's l2tp_netlink"]
fn what_is_deleted_in_another_network_namespace_is_no_loss_here() {
    let Some(bed) = Bed::new() else { return };
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let mut lac = End::start_with_kernel(&bed.lac, LAC);
    lns.create(1, in_kernel(session(1, true, LNS, LAC, own())))
        .unwrap();
    // Another tunnel than theirs, but for its ids.
    let peer = "10.9.0.1:1702";
    lac.create(1, in_kernel(session(1, true, LAC, peer, own())))
        .unwrap();
    bed.lac.run("ip l2tp del tunnel tunnel_id 100");
    is_lost(&mut lac, 1, "somebody deleted its tunnel");
    lac.remove(1).unwrap();
    drop(lac);
    takes_frames(&bed, &mut lns, 1);
}

#[test]
#[ignore = "needs the kernel's l2tp_netlink"]
fn a_tunnel_id_that_somebody_has_in_the_kernel_is_refused_with_that_reason() {
    let Some(bed) = Bed::new() else { return };
    bed.lns.run("ip l2tp add tunnel tunnel_id 100 peer_tunnel_id 6 encap udp local 127.0.0.1 remote 127.0.0.2 udp_sport 9 udp_dport 9");
    let before = everything(&bed.lns);
    let mut lns = End::start_with_kernel(&bed.lns, LNS);
    let spec = session(1, true, LNS, LAC, own());
    let refused = lns.create(1, in_kernel(spec.clone())).unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.contains("tunnel 100") && refused.contains("not ours"),
        "{refused}"
    );
    lns.create(1, spec).unwrap();
    assert_eq!(lns.carrier(1), Engine::Tun);
    lns.remove(1).unwrap();
    drop(lns);
    assert_eq!(everything(&bed.lns), before);
}

#[test]
#[ignore = "needs the kernel's l2tp_netlink"]
fn a_tunnel_is_the_family_s_where_that_is_there_and_else_a_socket_s() {
    let Some(bed) = Bed::new() else { return };
    let before = [&bed.lns, &bed.lac].map(everything);
    for means in [Means::All, Means::Sockets] {
        let mut lns = End::start_by(means, &bed.lns, LNS);
        let mut lac = End::start_by(Means::All, &bed.lac, LAC);
        assert_eq!(
            lns.engines().without_notices().is_none(),
            means == Means::All
        );
        lns.create(1, in_kernel(session(1, true, LNS, LAC, own())))
            .unwrap();
        lac.create(1, in_kernel(session(1, false, LAC, LNS, own())))
            .unwrap();
        // A socket that manages a tunnel has a session of its own for it.
        let managed = bed.lns.run("ip l2tp show session tunnel_id 100");
        assert_eq!(managed.contains("Session 0 "), means == Means::Sockets);
        let [lns_side, lac_side] = dual_stack();
        lns.configure(1, lns_side).unwrap();
        lac.configure(1, lac_side).unwrap();
        bed.lac.ping("10.0.0.1");
        Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 16);
        assert_eq!(lns.remove(1).unwrap().rx_errors, 0);
        lac.remove(1).unwrap();
        drop((lns, lac));
        assert_eq!([&bed.lns, &bed.lac].map(everything), before);
    }
}
