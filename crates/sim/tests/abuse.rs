//! Peers that ask for what they can't prove to be entitled to, that fail and fail again, or that break the rules of the transport: each gets the right
//! answer or none, it is counted, and everybody else is served.

#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use api::TunnelState;
use common::messages::{Sent, header, icrq, introduction, just, message, read, sccrq};
use common::{LAC, LNS, Pair, address, counter, established, model, tunnels, tunnels_in};
use engine::Event;
use sim::{NodeId, Quality, World};
use wire::l2tp::{Attribute, MessageType, ResultCode};

/// The peer that the test plays, message by message.
const STRANGER: u8 = 66;

/// An LNS, and a LAC that wants a session of it.
struct Stage {
    world: World,
    lns: NodeId,
}

fn stranger(port: u16) -> SocketAddr {
    SocketAddr::new(address(STRANGER), port)
}

impl Stage {
    fn new(lns: &str) -> Self {
        let mut world = World::new(5, Quality::PERFECT);
        let lns = world.add(address(2), model(lns));
        world.listen(address(STRANGER));
        Self { world, lns }
    }

    /// Says this as the stranger, from port 1701; what our node sends within a tenth of a second.
    fn say(&mut self, datagram: &[u8]) -> Vec<Sent> {
        self.say_from(1701, datagram)
    }

    fn say_from(&mut self, port: u16, datagram: &[u8]) -> Vec<Sent> {
        self.world.datagram(self.lns, stranger(port), datagram);
        self.hear(Duration::from_millis(100))
    }

    fn hear(&mut self, duration: std::time::Duration) -> Vec<Sent> {
        self.world.run_for(duration);
        let heard = self.world.take_heard();
        heard.iter().map(|(_, payload)| read(payload)).collect()
    }

    /// A tunnel of the stranger's, up, whose next Ns is 2; our Tunnel ID.
    fn tunnel(&mut self, peer_id: u16) -> u16 {
        let id = self.say(&sccrq(peer_id))[0].tunnel_id();
        self.say(&just(MessageType::SCCCN, header(id, 1, 1)));
        id
    }

    fn count(&mut self, name: &str) -> u64 {
        counter(&mut self.world, self.lns, name)
    }

    fn states(&mut self) -> Vec<TunnelState> {
        let all = tunnels(&mut self.world, self.lns);
        all.iter().map(|t| t.state).collect()
    }

    /// A LAC that has done nothing wrong gets its session.
    fn serves_others(&mut self) {
        let client = model(LAC);
        let lac = self.world.add(address(1), client.clone());
        common::start(&mut self.world, lac, &client);
        let up = self.world.run_until(
            Duration::from_secs(10),
            Duration::from_millis(100),
            |world| established(world, lac) == 1,
        );
        assert!(up, "{:?}", self.world.take_events(lac));
    }
}

#[test]
fn a_repeated_sccrq_is_one_from_the_same_address_port_and_tunnel_id() {
    let mut stage = Stage::new(LNS);
    let first = stage.say(&sccrq(7));
    assert_eq!(first[0].message_type, Some(MessageType::SCCRP));
    let again = stage.say(&sccrq(7));
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(
        (again[0].message_type, again[0].tunnel_id()),
        (Some(MessageType::SCCRP), first[0].tunnel_id())
    );
    for (port, id) in [(1702, 7), (1701, 8)] {
        let other = stage.say_from(port, &sccrq(id));
        assert_ne!(other[0].tunnel_id(), first[0].tunnel_id());
    }
    assert_eq!(stage.states().len(), 3);
}

#[test]
fn a_peer_that_restarted_gets_a_new_tunnel_and_the_old_one_ends_in_silence_once_that_is_up() {
    let mut stage = Stage::new(LNS);
    let old = stage.tunnel(7);
    stage.world.take_events(stage.lns);

    // The very same SCCRQ: only a restarted peer says it after its SCCCN, or somebody who forges it.
    let answer = stage.say(&sccrq(7));
    assert_eq!(answer[0].message_type, Some(MessageType::SCCRP));
    let new = answer[0].tunnel_id();
    assert_ne!(new, old);
    let alive = stage.say(&just(MessageType::HELLO, header(old, 2, 1)));
    assert_eq!(alive.len(), 1, "the old one lives: {alive:?}");

    let said = stage.say(&just(MessageType::SCCCN, header(new, 1, 1)));
    assert!(said.iter().all(|m| m.message_type.is_none()), "{said:?}");
    assert_eq!(stage.states(), [TunnelState::Established]);
    assert_eq!(stage.count("limits.replaced_tunnels"), 1);
    let down = |e: &Event| matches!(e, Event::TunnelDown { tunnel, reason, .. } if *tunnel == old && reason.contains("anew"));
    assert!(stage.world.take_events(stage.lns).iter().any(down));
}

#[test]
fn a_forged_sccrq_of_an_established_peer_ends_in_silence_and_harms_nothing() {
    let mut stage = Stage::new(LNS);
    let old = stage.tunnel(7);
    stage.say(&sccrq(7));
    let said = stage.hear(Duration::from_secs(50));
    assert!(
        said.iter()
            .all(|m| m.message_type == Some(MessageType::SCCRP)),
        "no StopCCN, which the peer would take for the old one's: {said:?}"
    );
    assert_eq!(stage.states(), [TunnelState::Established]);
    assert_eq!(tunnels(&mut stage.world, stage.lns)[0].tunnel_id, Some(old));
}

#[test]
fn who_does_not_know_our_tunnel_id_can_neither_end_a_tunnel_nor_bring_one_up_in_its_place() {
    let mut stage = Stage::new(LNS);
    let old = stage.tunnel(7);
    let to_tunnel_0 = |message_type, ns| {
        let attributes = [
            Attribute::MessageType(message_type),
            Attribute::AssignedTunnelId(7),
        ];
        message(header(0, ns, 0), &attributes)
    };
    assert_eq!(stage.say(&to_tunnel_0(MessageType::STOP_CCN, 2)).len(), 0);
    assert_eq!(stage.states(), [TunnelState::Established]);

    let new = stage.say(&sccrq(7))[0].tunnel_id();
    for message_type in [MessageType::SCCCN, MessageType::ICRQ, MessageType::HELLO] {
        assert_eq!(stage.say(&to_tunnel_0(message_type, 1)).len(), 0);
    }
    assert_eq!(stage.count("limits.replaced_tunnels"), 0);
    let alive = stage.say(&just(MessageType::HELLO, header(old, 2, 1)));
    assert_eq!(alive.len(), 1, "{alive:?}");

    // The peer that restarted is served all the same.
    stage.say(&just(MessageType::SCCCN, header(new, 1, 1)));
    assert_eq!(tunnels(&mut stage.world, stage.lns)[0].tunnel_id, Some(new));
}

#[test]
fn of_two_sccrqs_under_the_same_tunnel_id_the_one_whose_sender_goes_on_has_the_tunnel() {
    for goes_on in [0, 1] {
        let mut stage = Stage::new(LNS);
        let first = stage.say(&sccrq(7))[0].tunnel_id();
        let mut other = introduction(MessageType::SCCRQ, 7);
        other.push(Attribute::VendorName(b"after the upgrade"));
        let other = message(header(0, 0, 0), &other);
        let second = stage.say(&other)[0].tunnel_id();
        assert_ne!(first, second);
        let chosen = [first, second][goes_on];
        stage.say(&just(MessageType::SCCCN, header(chosen, 1, 1)));
        let ids: Vec<_> = tunnels(&mut stage.world, stage.lns);
        assert_eq!(
            ids.iter()
                .map(|t| (t.tunnel_id, t.state))
                .collect::<Vec<_>>(),
            [(Some(chosen), TunnelState::Established)]
        );
    }
}

#[test]
fn who_spoofs_one_sccrq_has_its_victim_sent_three_times_as_much_at_most() {
    for lns in [
        LNS.to_owned(),
        format!(
            "{LNS}\ntunnel profile modify profile_name=default auth_mode=challenge secret=s3cret"
        ),
        format!("{LNS}\ntunnel profile modify profile_name=default auth_mode=simple"),
        format!("{LNS}\nsystem modify drain_tunnels=yes"),
    ] {
        let mut stage = Stage::new(&lns);
        let request = sccrq(7);
        stage.world.datagram(stage.lns, stranger(1701), &request);
        stage.world.run_for(Duration::from_secs(75));
        let heard = stage.world.take_heard();
        let octets: usize = heard.iter().map(|(_, payload)| payload.len()).sum();
        assert!(octets <= 3 * request.len() && octets > 0, "{octets}");
        assert_eq!(stage.states(), []);
        stage.world.run_for(Duration::from_secs(75));
        assert_eq!(stage.world.take_heard(), []);
    }
}

#[test]
fn a_refused_sccrq_is_answered_by_one_stop_ccn_and_after_many_by_none() {
    let mut stage = Stage::new(&format!(
        "{LNS}\ntunnel profile modify profile_name=default auth_mode=simple\npeer profile create profile_name=node1"
    ));
    let refused = stage.say(&sccrq(7));
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].result(), refused[0].header.tunnel_id), (4, 7));
    assert_eq!(stage.states(), [], "no tunnel is kept for it");
    let mut told = 0;
    for id in 1..=1_000 {
        stage.world.datagram(stage.lns, stranger(1701), &sccrq(id));
    }
    told += stage.hear(Duration::from_millis(10)).len();
    told += stage.hear(Duration::from_millis(100)).len();
    assert!((90..=110).contains(&told), "{told}");
    assert_eq!(stage.count("limits.silent_refusals") as usize + told, 1_000);
    stage.serves_others();
}

#[test]
fn a_stop_ccn_for_a_tunnel_that_does_not_exist_is_met_with_silence() {
    let mut stage = Stage::new(LNS);
    let stop = |header| {
        message(
            header,
            &[
                Attribute::MessageType(MessageType::STOP_CCN),
                Attribute::AssignedTunnelId(99),
                Attribute::ResultCode(ResultCode {
                    result: 6,
                    error: None,
                    message: b"",
                }),
            ],
        )
    };
    for id in [4242, 0] {
        let heard = stage.say(&stop(header(id, 1, 1)));
        assert!(heard.is_empty(), "{heard:?}");
    }
    assert_eq!(stage.count("datagrams.unknown_tunnel"), 1);
    assert_eq!(stage.count("datagrams.not_sccrq"), 1);
    stage.serves_others();
}

#[test]
fn an_sccrp_from_another_address_than_asked_is_dropped() {
    let mut world = World::new(5, Quality::PERFECT);
    let client = model(&format!(
        "{LAC}\ntunnel create tunnel_name=u dest_ipaddr=192.0.2.{STRANGER}"
    ));
    let lac = world.add(address(1), client.clone());
    world.add(address(2), model(LNS));
    world.listen(address(STRANGER));
    common::start(&mut world, lac, &client);
    world.run_for(Duration::from_millis(100));
    let asked = read(&world.take_heard()[0].1).tunnel_id();
    let answer = message(header(asked, 0, 1), &introduction(MessageType::SCCRP, 77));
    world.datagram(lac, SocketAddr::new(address(67), 1701), &answer);
    assert_eq!(counter(&mut world, lac, "datagrams.wrong_address"), 1);
    assert_eq!(tunnels_in(&mut world, lac, TunnelState::WaitCtlReply), 1);
    world.datagram(lac, stranger(1701), &answer);
    assert_eq!(tunnels_in(&mut world, lac, TunnelState::WaitCtlReply), 0);
    world.run_for(Duration::from_secs(5));
    assert_eq!(
        established(&mut world, lac),
        1,
        "the other tunnel's session"
    );
}

#[test]
fn a_window_of_0_is_refused() {
    let mut stage = Stage::new(LNS);
    let mut request = introduction(MessageType::SCCRQ, 7);
    request.push(Attribute::ReceiveWindowSize(0));
    let heard = stage.say(&message(header(0, 0, 0), &request));
    assert_eq!(heard[0].message_type, Some(MessageType::STOP_CCN));
    assert_eq!(heard[0].result(), 2);
    assert_eq!(stage.count("control.malformed_messages"), 1);
    assert_eq!(stage.states(), []);
    stage.serves_others();
}

#[test]
fn a_peer_that_acknowledges_what_was_not_sent_is_not_heard() {
    let mut stage = Stage::new(LNS);
    let id = stage.tunnel(7);
    // An Nr past what was sent; the farthest that is not one of the past; and in a message that would do something.
    for (count, (ns, nr)) in [(2, 2), (2, 100), (2, 0x7fff)].into_iter().enumerate() {
        let heard = stage.say(&icrq(header(id, ns, nr), 5));
        assert!(heard.is_empty(), "{heard:?}");
        assert_eq!(
            stage.count("control.bad_acknowledgements"),
            count as u64 + 1
        );
    }
    let heard = stage.say(&icrq(header(id, 2, 1), 5));
    assert_eq!(heard[0].message_type, Some(MessageType::ICRP), "{heard:?}");
    stage.serves_others();
}

#[test]
fn an_nr_of_long_ago_acknowledges_nothing_and_harms_nothing() {
    let mut stage = Stage::new(LNS);
    let id = stage.tunnel(7);
    for nr in [0x8002, 0xffff, 0] {
        let heard = stage.say(&just(MessageType::HELLO, header(id, 3000, nr)));
        assert!(heard.is_empty(), "{heard:?}");
    }
    assert_eq!(stage.count("control.out_of_window"), 3);
    assert_eq!(stage.states(), [TunnelState::Established]);
    stage.serves_others();
}

#[test]
fn a_peer_that_never_acknowledges_is_given_up_with_its_calls() {
    let mut stage = Stage::new(LNS);
    let id = stage.tunnel(7);
    for call in 0..1_000_u16 {
        // It asks for ever more, and takes note of no answer.
        stage.world.datagram(
            stage.lns,
            stranger(1701),
            &icrq(header(id, 2 + call, 1), 1 + call),
        );
    }
    let heard = stage.hear(Duration::from_secs(40));
    let again = heard
        .iter()
        .filter(|m| m.message_type == Some(MessageType::ICRP));
    assert!((1..=20).contains(&again.count()), "its window and no more");
    assert_eq!(stage.states(), []);
    assert!(stage.count("control.retransmissions") >= 5);
    stage.serves_others();
}

#[test]
fn who_guesses_tunnel_secrets_is_not_heard_any_more_and_others_are() {
    let mut stage = Stage::new(&format!(
        "{LNS}\nsystem modify failure_burst=3 failure_rate=1
        tunnel profile create profile_name=closed auth_mode=challenge secret=s3cret
        peer profile create profile_name=stranger tunnel_profile_name=closed"
    ));
    let mut guesses = 0;
    for peer_id in 1..=20 {
        let heard = stage.say(&sccrq(peer_id));
        let sccrp = |m: &&Sent| m.message_type == Some(MessageType::SCCRP);
        let Some(answer) = heard.iter().find(sccrp) else {
            continue;
        };
        guesses += 1;
        let response = Attribute::ChallengeResponse([7; 16]);
        let connected = [Attribute::MessageType(MessageType::SCCCN), response];
        let heard = stage.say(&message(header(answer.tunnel_id(), 1, 1), &connected));
        assert!(
            heard
                .iter()
                .any(|m| m.message_type == Some(MessageType::STOP_CCN))
        );
    }
    assert!((3..=8).contains(&guesses), "{guesses}");
    assert_eq!(stage.count("limits.throttled_tunnels"), 20 - guesses);
    assert_eq!(stage.count("control.authentication_failures"), guesses);
    stage.serves_others();
}

#[test]
fn who_guesses_passwords_gets_no_more_calls_and_others_do() {
    let mut stage = Stage::new(&format!(
        "{LNS}\nsystem modify failure_burst=2 failure_rate=1"
    ));
    let guesser = model(
        "system modify session_persist_pend_timeout=1
        tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes
        session create tunnel_name=t session_name=a user_name=alice user_password=a
        session create tunnel_name=t session_name=b user_name=alice user_password=b
        session create tunnel_name=t session_name=c user_name=alice user_password=c
        session create tunnel_name=t session_name=d user_name=alice user_password=d",
    );
    let node = stage.world.add(address(3), guesser.clone());
    common::start(&mut stage.world, node, &guesser);
    stage.world.run_for(Duration::from_secs(60));
    let failures = stage.count("ppp.auth_failures");
    // One a second, and those that were under way when the second came.
    assert!((50..=130).contains(&failures), "{failures}");
    assert!(stage.count("limits.throttled_calls") > 50);
    stage.serves_others();
}

#[test]
fn a_forged_request_with_a_tie_breaker_that_wins_keeps_no_client_from_its_server() {
    let mut pair = Pair::new(LAC, LNS);
    let server = SocketAddr::new(address(2), 1701);
    let (second, up) = (Duration::from_secs(1), |world: &mut World| {
        established(world, 0) == 1
    });
    // Our own request is on its way, and has no tie breaker: whoever has one wins.
    for id in 1..=20 {
        let mut forged = introduction(MessageType::SCCRQ, id);
        forged.push(Attribute::TieBreaker(0));
        let forged = message(header(0, 0, 0), &forged);
        pair.world.datagram(pair.lac, server, &forged);
    }
    assert!(pair.world.run_until(second * 2, second / 100, up));
}
