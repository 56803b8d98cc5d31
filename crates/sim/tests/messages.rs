//! What messages say beyond bringing calls up and down, at both ends of a network: causes, tie breakers, link information.

mod common;

use std::sync::Arc;
use std::time::Duration;

use api::{SessionState, TunnelState, TunnelStatus};
use common::{
    LAC, LNS, Pair, address, ask, counter, established, model, sessions, start, tunnels, tunnels_in,
};
use config::Model;
use engine::Command;
use sim::{Quality, Sent, World};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_client_is_told_and_shows_why_ppp_ended() {
    let wrong = LAC.replace("wonderland", "guess");
    let mut pair = Pair::new(&wrong, LNS);
    pair.run(20);
    let session = sessions(&mut pair.world, pair.lac).remove(0);
    let end = session.last_end.unwrap();
    let cause = end.ppp_cause.unwrap();
    // Whoever noticed first says it: 16, authentication failed, of CHAP, at the other end or at its own.
    assert_eq!((cause.code, cause.protocol), (16, 0xc223));
    assert_eq!(cause.text.as_deref(), Some("authentication failed"));
    assert!(cause.direction == 1 || cause.direction == 2);
    assert_eq!(end.result, 3);
    let words = session.last_error.unwrap();
    assert!(words.contains("PPP: authentication failed"), "{words}");
    // At the LNS it is in the log.
    let ends = pair.ends(pair.lns);
    assert!(ends[0].contains("PPP: authentication failed"), "{ends:?}");
}

#[test]
fn a_tunnel_that_was_refused_shows_the_result_in_numbers_and_words() {
    let lns = format!("system modify deny_remote_tunnel_creates=yes\n{LNS}");
    let mut pair = Pair::new(LAC, &lns);
    pair.run(1);
    let end = tunnels(&mut pair.world, pair.lac)
        .remove(0)
        .last_end
        .unwrap();
    assert_eq!((end.result, end.error), (4, Some(0)));
    assert_eq!(
        end.result_text.as_deref(),
        Some("not authorized to establish a control connection")
    );
    assert_eq!(
        end.message.as_deref(),
        Some("tunnels are not accepted here")
    );
}

#[test]
fn dscps_and_ecn_are_agreed_on_as_configured() {
    let lac = "
        tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes control_dscp=46 use_ecn=yes
        session create tunnel_name=t user_name=alice user_password=wonderland session_dscp=34
    ";
    let lns = format!(
        "{LNS}\ntunnel profile modify profile_name=default control_dscp=46
        session profile modify profile_name=default session_dscp=10\n"
    );
    let mut pair = Pair::new(lac, &lns);
    let (lac, lns) = pair.up();
    // The LNS offered its own instead, and the LAC did not insist.
    assert_eq!(lac.line.unwrap().dscp, Some(10));
    assert_eq!(lns.line.unwrap().dscp, Some(10));
}

#[test]
fn a_dscp_that_is_insisted_on_and_not_granted_brings_no_session() {
    let lac = "
        tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes require_dscp=yes
        session create tunnel_name=t user_name=alice user_password=wonderland session_dscp=34
    ";
    let mut pair = Pair::new(lac, LNS);
    pair.run(3);
    let session = sessions(&mut pair.world, pair.lac).remove(0);
    assert_eq!(session.state, SessionState::Retry);
    let end = session.last_end.unwrap();
    assert_eq!(end.result, 12);
}

#[test]
fn nothing_is_told_of_characters_that_are_all_escaped_anyway() {
    let mut pair = Pair::new(LAC, LNS);
    let (_, lns) = pair.up();
    assert_eq!(lns.line.unwrap().accm, None);
    assert_eq!(counter(&mut pair.world, pair.lns, "control.sent.sli"), 0);
}

/// The LAC of a line, which is asynchronous.
const ASYNC: &str = "
    tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes
    session create tunnel_name=t session_name=s user_name=alice user_password=wonderland framing_type=async
";

#[test]
fn the_lac_hears_which_characters_lcp_agreed_to_escape() {
    let lac = format!("ppp profile modify profile_name=default asyncmap=0xa0000\n{ASYNC}");
    let mut pair = Pair::new(&lac, LNS);
    pair.up();
    pair.run(1);
    let maps = Some((0xa0000, u32::MAX));
    for node in [pair.lac, pair.lns] {
        let line = sessions(&mut pair.world, node).remove(0).line.unwrap();
        assert_eq!(line.accm, maps);
        assert_eq!(line.lns_last_sent, None);
    }
    pair.run(300);
    assert_eq!(counter(&mut pair.world, pair.lns, "control.sent.sli"), 1);
    assert_eq!(
        counter(&mut pair.world, pair.lac, "control.received.sli"),
        1
    );
}

#[test]
fn a_lacs_ppp_follows_the_maps_that_it_is_told() {
    let lac = format!("ppp profile modify profile_name=default asyncmap=0xa0000\n{ASYNC}");
    let mut pair = Pair::new(&lac, LNS);
    pair.world.record();
    pair.up();
    pair.run(1);
    let from_lns = |sent: &Sent| sent.to.ip() == address(1) && sent.payload[0] & 0x80 != 0;
    let sent: Vec<Sent> = pair.world.record().into_iter().filter(from_lns).collect();
    let ns = |sent: &Sent| u16::from_be_bytes([sent.payload[8], sent.payload[9]]);
    let next = sent
        .iter()
        .filter(|sent| sent.payload.len() > 12)
        .map(ns)
        .max()
        .unwrap()
        + 1;
    let is_sli = |sent: &&Sent| sent.payload[12..].starts_with(&[0x80, 8, 0, 0, 0, 0, 0, 16]);
    let mut sli = sent
        .iter()
        .filter(|sent| sent.payload.len() > 12)
        .find(is_sli)
        .unwrap()
        .payload
        .clone();
    sli[8..10].copy_from_slice(&next.to_be_bytes());
    let maps = sli.len() - 8;
    sli[maps..].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2]);
    pair.world.datagram(pair.lac, sent[0].from, &sli);
    let line = sessions(&mut pair.world, pair.lac).remove(0).line.unwrap();
    assert_eq!(line.accm, Some((1, 2)));
}

#[test]
fn an_lns_negotiates_as_the_lacs_line_wants_and_allows_and_reports_what_came_of_it() {
    // Wanted: a map, and compressed protocol fields. Allowed: an MRU of at most 1000 octets, and no map.
    let lac = format!(
        "ppp profile modify profile_name=default asyncmap=0xa0000 mru=1200
        session profile modify profile_name=default lcp_want_options=0206000000030702 lcp_allow_options=010403e8\n{LAC}"
    );
    let mut pair = Pair::new(&lac, LNS);
    let (_, lns) = pair.up();
    pair.run(1);
    assert_eq!(lns.mtu, Some(1000));
    let line = sessions(&mut pair.world, pair.lac).remove(0).line.unwrap();
    assert_eq!(line.accm, Some((u32::MAX, 3)));
    let (sent, received) = (line.lns_last_sent.unwrap(), line.lns_last_received.unwrap());
    assert!(
        sent.contains("020600000003") && sent.ends_with("0702"),
        "{sent}"
    );
    assert!(
        received.starts_with("010403e8") && !received.contains("000a0000"),
        "{received}"
    );
    assert_eq!(counter(&mut pair.world, pair.lns, "control.sent.sli"), 1);
}

#[test]
fn errors_of_a_lacs_line_are_shown_at_both_ends_and_reported_once_a_minute() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    pair.run(300);
    assert_eq!(counter(&mut pair.world, pair.lac, "control.sent.wen"), 0);
    for _ in 0..60 {
        pair.world.count_errors(pair.lac, 2);
        pair.run(5);
    }
    let sent = counter(&mut pair.world, pair.lac, "control.sent.wen");
    assert!((4..=5).contains(&sent), "{sent}");
    pair.run(120);
    for node in [pair.lac, pair.lns] {
        let line = sessions(&mut pair.world, node).remove(0).line.unwrap();
        assert_eq!(line.errors.unwrap().framing, 120);
    }
    // Nothing new, nothing said; an LNS has no line.
    let sent = counter(&mut pair.world, pair.lac, "control.sent.wen");
    pair.world.count_errors(pair.lns, 7);
    pair.run(600);
    assert_eq!(counter(&mut pair.world, pair.lac, "control.sent.wen"), sent);
    assert_eq!(counter(&mut pair.world, pair.lns, "control.sent.wen"), 0);
}

/// A node that wants so many tunnels to the other one, each with a session, and serves the other one's.
fn both(peer: u8, tunnels: usize, tie: bool) -> Arc<Model> {
    let tie = if tie { "yes" } else { "no" };
    // A client that insisted on the server's own address would get none.
    let mut text = LNS.replace("local_ipaddr=10.0.0.1", "");
    for number in 0..tunnels {
        text += &format!(
            "tunnel create tunnel_name=t{number} dest_ipaddr=192.0.2.{peer} persist=yes use_tiebreaker={tie}
            session create tunnel_name=t{number} session_name=s user_name=alice user_password=wonderland\n"
        );
    }
    model(&text)
}

/// Two nodes that want tunnels to each other, at the same moment.
fn crossing(seed: u64, quality: Quality, wanted: [(usize, bool); 2]) -> World {
    let mut world = World::new(seed, quality);
    let models = [(2, wanted[0]), (1, wanted[1])].map(|(peer, (n, tie))| both(peer, n, tie));
    for (node, model) in models.iter().enumerate() {
        world.add(address(1 + node as u8), model.clone());
    }
    for (node, model) in models.iter().enumerate() {
        start(&mut world, node, model);
    }
    world
}

/// Every session that a node wants is up at both ends.
fn all_up(world: &mut World, sessions: usize) -> bool {
    (0..2).all(|node| established(world, node) == sessions)
}

#[test]
fn of_two_requests_that_cross_one_tunnel_comes_and_carries_both_ends_sessions() {
    for seed in 0..20 {
        for ties in [[true, true], [true, false], [false, true]] {
            let wanted = ties.map(|tie| (1, tie));
            let mut world = crossing(seed, Quality::PERFECT, wanted);
            let up = |world: &mut World| all_up(world, 2);
            assert!(
                world.run_until(SECOND * 5, SECOND / 10, up),
                "{seed} {ties:?}"
            );
            for node in [0, 1] {
                let all = tunnels(&mut world, node);
                assert_eq!(all.len(), 1, "{seed} {ties:?} {all:?}");
                assert_eq!(all[0].tunnel_name.as_deref(), Some("t0"));
            }
            // And it stays so.
            let before = world.datagrams();
            world.run_for(SECOND * 300);
            assert!(all_up(&mut world, 2));
            assert!(world.datagrams() - before < 200, "{seed} {ties:?}");
        }
    }
}

/// The octets of an SCCRQ's tie breaker.
fn tie(sccrq: &mut [u8]) -> &mut [u8] {
    let avp = [0, 14, 0, 0, 0, 5];
    let length = avp.len();
    let found = sccrq.windows(length).position(|octets| octets == avp);
    let at = found.unwrap_or_else(|| panic!("no tie breaker")) + length;
    &mut sccrq[at..at + 8]
}

#[test]
fn of_equal_tie_breakers_both_drop_their_tunnels_and_later_one_comes() {
    for seed in 0..10 {
        let nothing = Quality {
            loss: 100,
            ..Quality::PERFECT
        };
        let mut world = World::new(seed, nothing);
        let models = [both(2, 1, true), both(1, 1, true)];
        for (node, model) in models.iter().enumerate() {
            world.add(address(1 + node as u8), model.clone());
        }
        world.record();
        for (node, model) in models.iter().enumerate() {
            start(&mut world, node, model);
        }
        // Each hears the other's request, with the tie breaker that it drew itself.
        let mut requests = world.record();
        assert_eq!(requests.len(), 2);
        let (first, second) = requests.split_at_mut(1);
        tie(&mut first[0].payload).swap_with_slice(tie(&mut second[0].payload));
        for sent in requests {
            let node = usize::from(sent.to.ip() == address(2));
            world.datagram(node, sent.from, &sent.payload);
        }
        world.set_quality(Quality::PERFECT);
        assert_eq!(world.record().len(), 0, "{seed}: dropped in silence");
        for node in [0, 1] {
            assert_eq!(
                tunnels_in(&mut world, node, TunnelState::Retry),
                1,
                "{seed}"
            );
            let words = tunnels(&mut world, node).remove(0).last_error.unwrap();
            assert!(words.contains("the same tie breaker"), "{words}");
        }
        // The next attempts draw others.
        let up = |world: &mut World| all_up(world, 2);
        assert!(world.run_until(SECOND * 120, SECOND, up), "{seed}");
    }
}

#[test]
fn without_a_tie_breaker_both_tunnels_come() {
    let mut world = crossing(1, Quality::PERFECT, [(1, false), (1, false)]);
    world.run_for(SECOND * 5);
    for node in [0, 1] {
        assert_eq!(tunnels_in(&mut world, node, TunnelState::Established), 2);
    }
    assert!(all_up(&mut world, 2));
}

#[test]
fn requests_that_cross_under_loss_and_delay_end_in_tunnels_that_stay() {
    for seed in 0..20 {
        let quality = Quality {
            loss: 20,
            ..Quality::PERFECT
        };
        let mut world = crossing(seed, quality, [(1, true), (1, true)]);
        let up = |world: &mut World| all_up(world, 2);
        assert!(world.run_until(SECOND * 300, SECOND, up), "{seed}");
        world.set_quality(Quality::PERFECT);
        world.run_for(SECOND * 120);
        assert!(all_up(&mut world, 2), "{seed}");
        let named = |world: &mut World, node| {
            let all = tunnels(world, node);
            all.iter().filter(|t| t.tunnel_name.is_some()).count()
        };
        assert_eq!([named(&mut world, 0), named(&mut world, 1)], [1, 1]);
    }
}

#[test]
fn several_tunnels_wanted_between_two_hosts_all_get_their_sessions() {
    for seed in 0..10 {
        let mut world = crossing(seed, Quality::PERFECT, [(3, true), (2, true)]);
        let up = |world: &mut World| all_up(world, 5);
        assert!(world.run_until(SECOND * 120, SECOND, up), "{seed}");
        world.run_for(SECOND * 120);
        assert!(all_up(&mut world, 5), "{seed}");
        for (node, wanted) in [(0, 3), (1, 2)] {
            let all = tunnels(&mut world, node);
            let named = all.iter().filter(|t| t.tunnel_name.is_some()).count();
            assert_eq!(named, wanted, "{seed}");
        }
    }
}

#[test]
fn sessions_created_on_a_peers_tunnel_before_it_is_up_are_placed_by_the_client_that_takes_it() {
    let mut adopted = 0;
    for seed in 0..8 {
        let mut world = crossing(seed, Quality::PERFECT, [(1, true), (1, true)]);
        for node in [0, 1] {
            let coming = |t: &TunnelStatus| {
                t.created_by == api::Origin::Peer && t.state != TunnelState::Established
            };
            let here = |world: &mut World| tunnels(world, node).iter().any(coming);
            if !world.run_until(SECOND / 100, Duration::from_micros(100), here) {
                continue;
            }
            let tunnel = tunnels(&mut world, node).into_iter().find(coming).unwrap();
            // One of a new name, and one of a name that the client has already.
            for name in ["other", "s"] {
                let mut session = both(9, 1, true).sessions[0].clone();
                (session.tunnel_name, session.tunnel_id) = (None, tunnel.tunnel_id);
                session.session_name = Some(name.to_owned());
                session.session_type = Some(config::SessionType::Laic);
                ask(&mut world, node, Command::SessionCreate(Box::new(session))).unwrap();
            }
            let up = |world: &mut World| all_up(world, 4);
            assert!(world.run_until(SECOND * 5, SECOND / 10, up), "{seed}");
            let all = sessions(&mut world, node);
            let named = |name| {
                all.iter()
                    .filter(|s| s.session_name.as_deref() == name)
                    .count()
            };
            assert_eq!((named(Some("other")), named(Some("s"))), (1, 1));
            adopted += 1;
            break;
        }
    }
    assert_eq!(adopted, 8);
}

#[test]
fn a_client_that_gave_way_comes_back_with_the_tunnel_that_it_has() {
    let mut world = crossing(3, Quality::PERFECT, [(1, true), (1, true)]);
    world.run_for(SECOND * 5);
    assert!(all_up(&mut world, 2));
    // The tunnel dies of silence; both want one again, and have one.
    world.cut_off(1, true);
    world.run_for(SECOND * 200);
    assert_eq!(established(&mut world, 0), 0);
    world.cut_off(1, false);
    let up = |world: &mut World| all_up(world, 2);
    assert!(world.run_until(SECOND * 900, SECOND, up));
}

#[test]
fn a_client_takes_no_tunnel_whose_peer_proved_less_than_it_demands() {
    let mut gave_way = 0;
    for seed in 0..8 {
        let mut world = World::new(seed, Quality::PERFECT);
        let strict = LNS.replace("local_ipaddr=10.0.0.1", "")
            + "tunnel profile create profile_name=strict secret=s3cret auth_mode=challenge use_tiebreaker=yes
               tunnel create tunnel_name=t0 profile_name=strict dest_ipaddr=192.0.2.2 persist=yes";
        let careless = LNS.replace("local_ipaddr=10.0.0.1", "")
            + "tunnel profile modify profile_name=default secret=s3cret use_tiebreaker=yes
               tunnel create tunnel_name=t0 dest_ipaddr=192.0.2.1 persist=yes";
        let models = [model(&strict), model(&careless)];
        for (node, model) in models.iter().enumerate() {
            world.add(address(1 + node as u8), model.clone());
        }
        for (node, model) in models.iter().enumerate() {
            start(&mut world, node, model);
        }
        let ours = |world: &mut World| {
            let mut all = tunnels(world, 0).into_iter();
            all.find(|t| t.tunnel_name.is_some()).unwrap()
        };
        world.run_for(SECOND * 5);
        gave_way += usize::from(ours(&mut world).state != TunnelState::Established);
        world.run_for(SECOND * 60);
        let tunnel = ours(&mut world);
        assert_eq!(tunnel.state, TunnelState::Established, "{seed}");
        assert_eq!(tunnel.created_by, api::Origin::Admin, "{seed}");
    }
    assert!(gave_way > 0);
}
