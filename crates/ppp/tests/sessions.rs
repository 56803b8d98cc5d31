//! Two links back to back: what sessions go through from their beginning to their end.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::time::Duration;

use common::*;
use ppp::{AuthProtocol, Cause, End, Event, LinkConfig, NetworkCause, NetworkConfig, Phase};
use wire::ppp::Protocol;

const SECOND: Duration = Duration::from_secs(1);

/// Whatever challenges.
const CHAP: [AuthProtocol; 3] = [
    AuthProtocol::ChapMd5,
    AuthProtocol::MsChapV1,
    AuthProtocol::MsChapV2,
];

fn opened(server: Host, client: Host) -> Pair {
    let mut pair = Pair::new(server, client);
    pair.open(SECOND);
    pair
}

#[test]
fn a_session_comes_up_with_each_authentication_protocol() {
    for auth in AuthProtocol::ALL {
        let pair = opened(Host::server(&[auth]), Host::client());
        assert!(pair.is_up(), "{auth}: {:?}", pair.client().link.status());
        let server = pair.server().link.status();
        assert_eq!(server.peer_auth, Some(auth));
        assert_eq!(pair.client().link.status().own_auth, Some(auth));
        assert_eq!(server.user.as_deref(), Some(USER));
        let user = Some(USER.to_owned());
        assert!(
            pair.server()
                .has(|e| *e == Event::NetworkWanted { user: user.clone() })
        );
        assert!(
            pair.client()
                .has(|e| *e == Event::NetworkWanted { user: None })
        );
    }
}

#[test]
fn both_ends_agree_on_addresses_identifiers_and_magic_numbers() {
    let pair = opened(Host::server(&[AuthProtocol::ChapMd5]), Host::client());
    let (server, client) = (pair.server().link.status(), pair.client().link.status());
    assert_eq!(server.ipv4, Some((SERVER_IP, CLIENT_IP)));
    assert_eq!(client.ipv4, Some((CLIENT_IP, SERVER_IP)));
    let up = Event::Ipv4Up {
        local: CLIENT_IP,
        peer: SERVER_IP,
        dns: [Some(DNS), None],
    };
    assert!(pair.client().has(|e| *e == up));
    let (ours, theirs) = server.ipv6.unwrap();
    assert_eq!(client.ipv6, Some((theirs, ours)));
    assert_ne!(ours, theirs);
    assert_eq!(server.peer_magic, client.magic);
    assert_ne!(server.magic, client.magic);
    assert_ne!(client.magic, 0);
}

#[test]
fn a_session_needs_no_authentication() {
    let pair = opened(Host::server(&[]), Host::client());
    assert!(pair.is_up());
    assert_eq!(pair.server().link.status().peer_auth, None);
}

#[test]
fn both_ends_may_have_to_prove_themselves() {
    for (one, other) in [
        (AuthProtocol::Pap, AuthProtocol::Pap),
        (AuthProtocol::ChapMd5, AuthProtocol::ChapMd5),
        (AuthProtocol::MsChapV2, AuthProtocol::Pap),
    ] {
        let server = LinkConfig {
            require_auth: vec![one],
            ..LinkConfig::default()
        };
        let client = LinkConfig {
            require_auth: vec![other],
            ..LinkConfig::default()
        };
        let pair = opened(
            Host::new(server, Some((USER, PASSWORD)), server_network()),
            Host::new(client, Some((USER, PASSWORD)), client_network()),
        );
        assert!(pair.is_up(), "{one} {other}");
    }
}

#[test]
fn a_wrong_password_ends_the_link_and_both_ends_know_why() {
    for auth in AuthProtocol::ALL {
        let pair = opened(Host::server(&[auth]), Host::client_that_says("wrong"));
        let words = "no such user or password".to_owned();
        let (server, client) = (pair.server().closed(), pair.client().closed());
        assert_eq!(
            server,
            Some(&Cause::PeerNotAuthenticated(words.clone())),
            "{auth}"
        );
        assert_eq!(client, Some(&Cause::NotAuthenticated(words)), "{auth}");
        assert!(
            !pair
                .server()
                .has(|e| matches!(e, Event::NetworkWanted { .. }))
        );
        assert_eq!(pair.server().link.phase(), Phase::Dead);
    }
}

#[test]
fn a_server_without_the_password_is_found_out_by_ms_chap_v2() {
    // It lets anyone in, but can't prove anything to them.
    let mut pair = Pair::new(Host::server(&[AuthProtocol::MsChapV2]), Host::client());
    pair.hosts[SERVER].password = None;
    pair.hosts[SERVER].thinking = Duration::from_secs(3600);
    pair.open(SECOND);
    let number = pair.server().events.iter().find_map(|event| match event {
        Event::Authenticate(attempt) => Some(attempt.number),
        _ => None,
    });
    let verdict = ppp::Verdict::Accept {
        message: "hi".to_owned(),
        authenticator_response: Some([7; 20]),
        mppe_keys: None,
    };
    let now = pair.now;
    pair.hosts[SERVER]
        .link
        .authenticated(number.unwrap(), verdict, now, &mut rng(3));
    pair.inject(SERVER, &[]);
    pair.run(SECOND);
    assert_eq!(pair.client().closed(), Some(&Cause::PeerNotGenuine));
}

#[test]
fn ends_with_different_preferences_meet_at_what_both_speak() {
    let accept = |auth: &[AuthProtocol]| LinkConfig {
        accept_auth: auth.to_vec(),
        ..LinkConfig::default()
    };
    let preferred = AuthProtocol::ALL;
    for only in AuthProtocol::ALL {
        let client = Host::new(accept(&[only]), Some((USER, PASSWORD)), client_network());
        let pair = opened(Host::server(&preferred), client);
        assert!(pair.is_up(), "{only}");
        assert_eq!(pair.server().link.status().peer_auth, Some(only));
    }
}

#[test]
fn ends_that_share_no_authentication_protocol_part_with_a_clear_cause() {
    let config = LinkConfig {
        accept_auth: vec![AuthProtocol::Pap],
        ..LinkConfig::default()
    };
    let client = Host::new(config, Some((USER, PASSWORD)), client_network());
    let pair = opened(Host::server(&[AuthProtocol::ChapMd5]), client);
    let refused = Cause::AuthRefused(AuthProtocol::ChapMd5);
    assert_eq!(pair.server().closed(), Some(&refused));
    assert_eq!(
        refused.to_string(),
        "the peer refuses to authenticate itself by CHAP"
    );
    let told = Cause::PeerTerminated("Authentication required".to_owned());
    assert_eq!(pair.client().closed(), Some(&told));
}

#[test]
fn ms_chap_v1_is_spoken_by_nobody_who_was_not_told_to() {
    let v1 = AuthProtocol::MsChapV1;
    let pair = opened(Host::server(&[v1]), Host::usual_client());
    assert_eq!(pair.server().closed(), Some(&Cause::AuthRefused(v1)));
    // A server that asks for it first and knows better finds that out.
    let server = Host::server(&[v1, AuthProtocol::ChapMd5]);
    let pair = opened(server, Host::usual_client());
    let agreed = pair.server().link.status().peer_auth;
    assert!(pair.is_up());
    assert_eq!(agreed, Some(AuthProtocol::ChapMd5));
}

#[test]
fn a_client_without_credentials_is_turned_away() {
    let client = Host::new(LinkConfig::default(), None, client_network());
    let pair = opened(
        Host::server(&[AuthProtocol::Pap, AuthProtocol::ChapMd5]),
        client,
    );
    assert_eq!(
        pair.server().closed(),
        Some(&Cause::AuthRefused(AuthProtocol::Pap))
    );
}

#[test]
fn a_verdict_may_take_long() {
    for auth in AuthProtocol::ALL {
        let mut pair = Pair::new(Host::server(&[auth]), Host::client());
        pair.hosts[SERVER].thinking = Duration::from_secs(20);
        pair.open(Duration::from_secs(120));
        assert!(pair.is_up(), "{auth}");
    }
}

#[test]
fn a_verdict_that_never_comes_ends_the_link() {
    let mut pair = Pair::new(Host::server(&[AuthProtocol::ChapMd5]), Host::client());
    pair.hosts[SERVER].thinking = Duration::from_secs(3600);
    pair.open(Duration::from_secs(100));
    assert!(matches!(
        pair.server().closed(),
        Some(Cause::AuthTimeout(End::Peer) | Cause::PeerTerminated(_))
    ));
    assert!(pair.client().closed().is_some());
    // And when it comes after all, nothing happens.
    pair.run(Duration::from_secs(4000));
    assert_eq!(pair.server().link.phase(), Phase::Dead);
}

#[test]
fn one_network_layer_is_enough() {
    let v4 = |network: NetworkConfig| NetworkConfig {
        ipv6: None,
        ..network
    };
    let v6 = |network: NetworkConfig| NetworkConfig {
        ipv4: None,
        ..network
    };
    let cases: [(NetworkConfig, NetworkConfig, bool); 4] = [
        (v4(server_network()), client_network(), true),
        (server_network(), v4(client_network()), true),
        (v6(server_network()), client_network(), false),
        (server_network(), v6(client_network()), false),
    ];
    for (server, client, is_v4) in cases {
        let mut pair = Pair::new(Host::server(&[AuthProtocol::Pap]), Host::client());
        (pair.hosts[SERVER].network, pair.hosts[CLIENT].network) = (server, client);
        pair.open(Duration::from_secs(60));
        for host in &pair.hosts {
            assert_eq!((host.ipv4_is_up(), host.ipv6_is_up()), (is_v4, !is_v4));
            assert_eq!(host.closed(), None);
        }
    }
}

#[test]
fn without_a_common_network_layer_the_link_ends() {
    let mut pair = Pair::new(Host::server(&[]), Host::client());
    pair.hosts[SERVER].network.ipv6 = None;
    pair.hosts[CLIENT].network.ipv4 = None;
    pair.open(Duration::from_secs(5));
    let causes = [pair.server().closed(), pair.client().closed()];
    let rejected = Cause::NoNetwork(NetworkCause::Rejected);
    assert!(causes.contains(&Some(&rejected)), "{causes:?}");
    assert!(causes.iter().all(Option::is_some), "{causes:?}");
}

#[test]
fn a_link_that_is_given_no_network_ends() {
    let mut pair = Pair::new(Host::server(&[]), Host::client());
    pair.hosts[SERVER].network = NetworkConfig::default();
    pair.open(Duration::from_secs(5));
    let cause = Cause::NoNetwork(NetworkCause::NotConfigured);
    assert_eq!(pair.server().closed(), Some(&cause));
    let told = Cause::PeerTerminated("No network protocols running".to_owned());
    assert_eq!(pair.client().closed(), Some(&told));
}

#[test]
fn either_end_may_close() {
    for which in [SERVER, CLIENT] {
        let mut pair = opened(Host::server(&[AuthProtocol::ChapMd5]), Host::client());
        pair.close(which, Duration::from_secs(5));
        assert_eq!(pair.hosts[which].closed(), Some(&Cause::Administrative));
        let told = Cause::PeerTerminated("Administrative".to_owned());
        assert_eq!(pair.hosts[1 - which].closed(), Some(&told));
        for host in &pair.hosts {
            assert!(host.has(|e| *e == Event::Ipv4Down) && host.has(|e| *e == Event::Ipv6Down));
            assert!(
                matches!(host.events.last(), Some(Event::Closed(_))),
                "{:?}",
                host.events
            );
            assert_eq!(host.link.next_timeout(), None);
        }
    }
}

#[test]
fn closing_works_in_every_phase() {
    // Before it is opened, while it is being established, and after it is over.
    let mut pair = Pair::new(Host::server(&[]), Host::client());
    pair.close(SERVER, SECOND);
    assert_eq!(pair.server().closed(), Some(&Cause::Administrative));
    let mut pair = Pair::new(Host::server(&[]), Host::client());
    pair.open(Duration::ZERO);
    pair.close(SERVER, Duration::from_secs(30));
    assert_eq!(pair.server().closed(), Some(&Cause::Administrative));
    assert!(pair.client().closed().is_some());
    pair.close(SERVER, SECOND);
    let closed = pair
        .server()
        .events
        .iter()
        .filter(|e| matches!(e, Event::Closed(_)));
    assert_eq!(closed.count(), 1);
}

#[test]
fn a_peer_that_never_answers_is_given_up() {
    let mut pair = Pair::new(Host::server(&[AuthProtocol::Pap]), Host::client());
    pair.mute[CLIENT] = true;
    pair.open(Duration::from_secs(29));
    assert_eq!(pair.server().closed(), None);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.server().closed(), Some(&Cause::LcpTimeout));
    let requests = pair
        .server()
        .sent
        .iter()
        .filter(|f| sent(f).protocol == Protocol::LCP);
    assert_eq!(requests.count(), 10);
}

#[test]
fn a_peer_that_answers_late_still_comes_up() {
    let mut pair = Pair::new(Host::server(&[AuthProtocol::ChapMd5]), Host::client());
    pair.mute[CLIENT] = true;
    pair.open(Duration::from_secs(10));
    pair.mute[CLIENT] = false;
    pair.run(Duration::from_secs(15));
    assert!(pair.is_up());
}

#[test]
fn echoes_measure_the_line_and_notice_its_death() {
    let config = LinkConfig {
        echo_interval: Some(Duration::from_secs(10)),
        echo_failures: 3,
        ..LinkConfig::default()
    };
    let mut pair = opened(Host::new(config, None, server_network()), Host::client());
    pair.run(Duration::from_secs(3600));
    let status = pair.server().link.status();
    assert_eq!(status.round_trip, Some(2 * Weather::FINE.delay));
    assert_eq!(status.echo_failures, 0);
    pair.mute[CLIENT] = true;
    pair.run(Duration::from_secs(100));
    assert_eq!(pair.server().closed(), Some(&Cause::EchoTimeout(3)));
}

#[test]
fn a_looped_line_is_noticed() {
    let mut pair = Pair::new(Host::server(&[]), Host::client());
    pair.looped = true;
    pair.open(Duration::from_secs(60));
    for host in &pair.hosts {
        assert_eq!(host.closed(), Some(&Cause::Loopback));
    }
}

#[test]
fn a_line_that_becomes_looped_is_noticed() {
    let config = LinkConfig {
        echo_interval: Some(Duration::from_secs(10)),
        ..LinkConfig::default()
    };
    let mut pair = opened(Host::new(config, None, server_network()), Host::client());
    pair.looped = true;
    pair.run(Duration::from_secs(30));
    assert_eq!(pair.server().closed(), Some(&Cause::Loopback));
}

#[test]
fn the_peer_is_challenged_again_and_again() {
    for auth in CHAP {
        let config = LinkConfig {
            require_auth: vec![auth],
            chap_interval: Some(Duration::from_secs(60)),
            ..LinkConfig::default()
        };
        let mut pair = opened(Host::new(config, None, server_network()), Host::client());
        pair.run(Duration::from_secs(600));
        assert!(pair.is_up());
        let attempts = |host: &Host| {
            host.events
                .iter()
                .filter(|e| matches!(e, Event::Authenticate(_)))
                .count()
        };
        assert_eq!(attempts(pair.server()), 11);
        // The user is gone from the books in the meantime.
        pair.hosts[SERVER].password = None;
        pair.run(Duration::from_secs(61));
        assert!(
            matches!(pair.server().closed(), Some(Cause::PeerNotAuthenticated(_))),
            "{auth}"
        );
        assert!(
            matches!(pair.client().closed(), Some(Cause::NotAuthenticated(_))),
            "{auth}"
        );
    }
}

#[test]
fn a_peer_that_ignores_a_later_challenge_is_thrown_out() {
    let config = LinkConfig {
        require_auth: vec![AuthProtocol::ChapMd5],
        chap_interval: Some(Duration::from_secs(60)),
        ..LinkConfig::default()
    };
    let mut pair = opened(Host::new(config, None, server_network()), Host::client());
    pair.mute[CLIENT] = true;
    pair.run(Duration::from_secs(120));
    assert_eq!(pair.server().closed(), Some(&Cause::AuthTimeout(End::Peer)));
}

/// RFC 1994 section 4.1: with no deadline of anybody else's.
#[test]
fn a_peer_that_never_answers_a_challenge_is_thrown_out_after_the_last_one() {
    for auth in CHAP {
        let config = LinkConfig {
            require_auth: vec![auth],
            chap_restart: 5 * SECOND,
            chap_max_challenge: 4,
            ..LinkConfig::default()
        };
        let mut pair = Pair::new(Host::new(config, None, server_network()), Host::client());
        pair.open(Duration::ZERO);
        while pair.server().link.status().phase != Phase::Authenticate {
            pair.run(Duration::from_millis(1));
        }
        pair.mute[CLIENT] = true;
        pair.run(19 * SECOND);
        let phase = |pair: &Pair| pair.server().link.status().phase;
        assert_eq!(phase(&pair), Phase::Authenticate, "{auth}");
        pair.run(2 * SECOND);
        assert_eq!(phase(&pair), Phase::Terminate, "{auth}");
        // It does not answer that we go either.
        pair.run(10 * SECOND);
        let why = pair.server().closed();
        assert_eq!(why, Some(&Cause::AuthTimeout(End::Peer)), "{auth}");
    }
}

#[test]
fn mru_and_compression_of_the_peer_are_known() {
    let config = LinkConfig {
        mru: 1410,
        ..LinkConfig::default()
    };
    let client = Host::new(config, Some((USER, PASSWORD)), client_network());
    let pair = opened(Host::server(&[AuthProtocol::Pap]), client);
    assert_eq!(pair.server().link.peer_mru(), 1410);
    assert_eq!(pair.client().link.peer_mru(), 1500);
    assert!(!pair.server().link.peer_accepts_pfc());
}

#[test]
fn a_peer_that_begins_anew_gets_a_new_session_on_the_same_link() {
    for auth in AuthProtocol::ALL {
        let mut pair = opened(Host::server(&[auth]), Host::client());
        pair.hosts[CLIENT] = Host::client();
        pair.open(Duration::from_secs(10));
        assert!(pair.is_up(), "{auth}: {:?}", pair.server().link.status());
        assert_eq!(pair.server().link.counters().renegotiations, 1);
        let count =
            |wanted: fn(&Event) -> bool| pair.server().events.iter().filter(|e| wanted(e)).count();
        assert_eq!(count(|e| matches!(e, Event::Authenticate(_))), 2);
        assert_eq!(count(|e| matches!(e, Event::NetworkWanted { .. })), 2);
        assert_eq!(count(|e| matches!(e, Event::Ipv4Up { .. })), 2);
        assert_eq!(count(|e| matches!(e, Event::Ipv4Down)), 1);
    }
}

#[test]
fn a_verdict_for_an_earlier_attempt_has_no_effect() {
    let mut pair = Pair::new(Host::server(&[AuthProtocol::Pap]), Host::client());
    pair.hosts[SERVER].thinking = Duration::from_secs(3600);
    pair.open(SECOND);
    pair.hosts[CLIENT] = Host::client();
    pair.open(SECOND);
    let attempts: Vec<u32> = pair
        .server()
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Authenticate(attempt) => Some(attempt.number),
            _ => None,
        })
        .collect();
    assert_eq!(attempts.len(), 2);
    let accept = ppp::Verdict::Accept {
        message: String::new(),
        authenticator_response: None,
        mppe_keys: None,
    };
    let now = pair.now;
    pair.hosts[SERVER]
        .link
        .authenticated(attempts[0], accept.clone(), now, &mut rng(1));
    assert_eq!(pair.server().link.phase(), Phase::Authenticate);
    pair.hosts[SERVER]
        .link
        .authenticated(attempts[1], accept, now, &mut rng(1));
    assert_eq!(pair.server().link.phase(), Phase::Network);
}

#[test]
fn a_link_survives_being_stored() {
    let mut pair = opened(Host::server(&[AuthProtocol::MsChapV2]), Host::client());
    for which in [SERVER, CLIENT] {
        let json = serde_json::to_string(&pair.hosts[which].link).unwrap();
        pair.hosts[which].link = serde_json::from_str(&json).unwrap();
    }
    assert!(pair.is_up());
    pair.close(CLIENT, SECOND * 5);
    assert!(pair.server().closed().is_some() && pair.client().closed().is_some());
}

#[test]
fn a_request_that_came_before_the_peer_listened_is_sent_again_when_it_speaks() {
    let start = sansio::Time::from_secs(1);
    let mut early = Host::client().link;
    early.open(start, &mut common::rng(1));
    let unheard = frames(&mut early);
    let awake = start + Duration::from_millis(500);
    let mut late = Host::server(&[AuthProtocol::ChapMd5]).link;
    late.open(awake, &mut common::rng(2));
    let request = frames(&mut late).remove(0);

    early.handle_frame(&request, awake, &mut common::rng(3));
    let said = frames(&mut early);
    assert_eq!(said.len(), 2);
    assert_eq!(said[0], unheard[0]);
    for frame in &said {
        late.handle_frame(frame, awake, &mut common::rng(4));
    }
    for frame in frames(&mut late) {
        early.handle_frame(&frame, awake, &mut common::rng(5));
    }
    assert_eq!(early.status().lcp, ppp::automaton::State::Opened);
    assert_eq!(late.status().lcp, ppp::automaton::State::Opened);
}

/// Everything that a link has to send now.
fn frames(link: &mut ppp::Link) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut frame = Vec::new();
    while link.poll_transmit(&mut frame) {
        all.push(std::mem::take(&mut frame));
    }
    all
}

#[test]
fn a_challenge_that_comes_late_does_not_hide_the_success_of_the_newer_one() {
    for auth in CHAP {
        let (now, rng) = (sansio::Time::from_secs(1), &mut common::rng(1));
        let (mut server, mut client) = (Host::server(&[auth]).link, Host::client().link);
        server.open(now, rng);
        client.open(now, rng);
        let attempt = loop {
            if let Some(Event::Authenticate(attempt)) = server.poll_event() {
                break attempt;
            }
            let (ours, theirs) = (frames(&mut server), frames(&mut client));
            assert!(!ours.is_empty() || !theirs.is_empty(), "{auth}");
            ours.iter().for_each(|f| client.handle_frame(f, now, rng));
            theirs.iter().for_each(|f| server.handle_frame(f, now, rng));
        };
        let mut late = vec![0xff, 0x03, 0xc2, 0x23, 1, 200, 0, 24, 16];
        late.extend([7; 16]);
        late.extend(b"lns");
        client.handle_frame(&late, now, rng);
        frames(&mut client);

        let verdict = attempt.check(&PASSWORD.into()).unwrap();
        server.authenticated(attempt.number, verdict, now, rng);
        let said = frames(&mut server);
        said.iter().for_each(|f| client.handle_frame(f, now, rng));
        let proven = std::iter::from_fn(|| client.poll_event())
            .any(|e| e == Event::NetworkWanted { user: None });
        assert!(proven, "{auth}: {:?}", client.status());
    }
}
