//! MPPE: who gets keys, what CCP agrees on, and what becomes of links whose packets can't be encrypted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use crypto::mppe::{KeyLength, Mode, StartKeys};
use ppp::{
    AuthProtocol, Cause, EncryptionCause, Event, LinkConfig, MppeConfig, NetworkConfig, Phase,
};
use proptest::collection::vec;
use proptest::{prop_assert, proptest};
use wire::ppp::Protocol;
use wire::ppp::iana::code;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const ACK: u8 = code::CONFIGURE_ACK;
const NAK: u8 = code::CONFIGURE_NAK;
const REQUEST: u8 = code::CONFIGURE_REQUEST;
const REJECT: u8 = code::CONFIGURE_REJECT;

fn mppe(required: bool, lengths: &[KeyLength], stateful: bool) -> MppeConfig {
    MppeConfig {
        required,
        lengths: lengths.to_vec(),
        stateful,
    }
}

fn any(required: bool) -> Option<MppeConfig> {
    Some(mppe(required, &KeyLength::ALL, false))
}

fn server(auth: AuthProtocol, mppe: Option<MppeConfig>) -> Host {
    let config = LinkConfig {
        require_auth: vec![auth],
        local_name: "lns".to_owned(),
        mppe,
        ..LinkConfig::default()
    };
    Host::new(config, None, server_network())
}

fn client(mppe: Option<MppeConfig>) -> Host {
    let config = LinkConfig {
        accept_auth: AuthProtocol::ALL.to_vec(),
        mppe,
        ..LinkConfig::default()
    };
    Host::new(config, Some((USER, PASSWORD)), client_network())
}

/// Both ends, a second after they were opened.
fn opened(server_s: Option<MppeConfig>, client_s: Option<MppeConfig>) -> Pair {
    let mut pair = Pair::new(server(AuthProtocol::MsChapV2, server_s), client(client_s));
    pair.open(SECOND);
    pair
}

fn keys(host: &Host) -> Option<StartKeys> {
    host.events.iter().find_map(|event| match event {
        Event::EncryptionWanted { keys } => Some(keys.clone()),
        _ => None,
    })
}

fn agreed(pair: &Pair) -> Option<Mode> {
    let modes = pair.hosts.each_ref().map(|host| host.link.status().mppe);
    assert_eq!(modes[0], modes[1]);
    modes[0]
}

fn not_encrypted(cause: EncryptionCause) -> Option<Cause> {
    Some(Cause::NotEncrypted(cause))
}

#[test]
fn the_ends_have_each_other_s_keys_and_no_network_before_encryption() {
    let pair = opened(any(true), any(true));
    assert!(pair.is_up());
    let strongest = Mode {
        length: KeyLength::Bits128,
        stateful: false,
    };
    assert_eq!(agreed(&pair), Some(strongest));
    assert_eq!(strongest.to_string(), "128 stateless");
    let [ours, theirs] = pair.hosts.each_ref().map(|host| keys(host).unwrap());
    assert_eq!(ours, theirs.clone().reversed());
    assert_ne!(ours, theirs);
    for host in &pair.hosts {
        let place = |wanted: fn(&Event) -> bool| host.events.iter().position(wanted).unwrap();
        let encrypted = place(|event| matches!(event, Event::EncryptionUp(_)));
        assert!(encrypted < place(|event| matches!(event, Event::Ipv4Up { .. })));
        assert!(encrypted < place(|event| matches!(event, Event::Ipv6Up { .. })));
        let ipcp = |frame: &Vec<u8>| sent(frame).protocol == Protocol::IPCP;
        let first = host.sent.iter().position(ipcp).unwrap();
        let ccp = |frame: &Vec<u8>| sent(frame).protocol == Protocol::CCP;
        assert!(host.sent[..first].iter().any(ccp) && !host.sent[first..].iter().any(ccp));
        assert!(!format!("{:?}", host.events).contains("StartKey(["));
    }
}

#[test]
fn the_longest_keys_that_both_ends_have_are_taken() {
    use KeyLength::{Bits40, Bits56, Bits128};
    let subsets: [&[KeyLength]; 7] = [
        &[Bits40],
        &[Bits56],
        &[Bits128],
        &[Bits40, Bits56],
        &[Bits56, Bits128],
        &[Bits128, Bits40],
        &KeyLength::ALL,
    ];
    for ours in subsets {
        for theirs in subsets {
            let common = KeyLength::ALL.into_iter();
            let best = common
                .filter(|length| ours.contains(length) && theirs.contains(length))
                .max();
            let mut pair = opened(
                Some(mppe(true, ours, false)),
                Some(mppe(true, theirs, false)),
            );
            match best {
                Some(length) => {
                    assert_eq!(agreed(&pair).map(|mode| mode.length), Some(length));
                    assert!(pair.is_up(), "{ours:?} and {theirs:?}");
                }
                None => {
                    pair.run(MINUTE);
                    assert!(pair.hosts.iter().all(|host| host.closed().is_some()));
                    let causes = pair.hosts.each_ref().map(|host| host.closed().cloned());
                    let said = not_encrypted(EncryptionCause::NotConverged);
                    assert!(causes.contains(&said), "{causes:?}");
                }
            }
        }
    }
}

#[test]
fn stateful_mode_takes_two() {
    for (ours, theirs) in [(false, false), (false, true), (true, false), (true, true)] {
        let pair = opened(
            Some(mppe(true, &[KeyLength::Bits128], ours)),
            Some(mppe(true, &[KeyLength::Bits128], theirs)),
        );
        assert!(pair.is_up());
        let stateful = agreed(&pair).map(|mode| mode.stateful);
        assert_eq!(stateful, Some(ours && theirs), "{ours} and {theirs}");
    }
}

#[test]
fn a_peer_without_encryption_gets_no_session_where_it_is_required() {
    for required_by in [SERVER, CLIENT] {
        let which = |end: usize| any(true).filter(|_| end == required_by);
        let mut pair = opened(which(SERVER), which(CLIENT));
        pair.run(MINUTE);
        let host = &pair.hosts[required_by];
        assert_eq!(
            host.closed().cloned(),
            not_encrypted(EncryptionCause::Rejected)
        );
        let other = pair.hosts[1 - required_by].closed();
        let told = Cause::PeerTerminated("Encryption required".to_owned());
        assert_eq!(other, Some(&told));
        assert!(!host.has(|event| matches!(event, Event::Ipv4Up { .. })));
    }
}

#[test]
fn optional_encryption_is_there_if_the_peer_has_it_and_else_is_not() {
    for (ours, theirs, encrypted) in [
        (any(false), any(true), true),
        (any(true), any(false), true),
        (any(false), any(false), true),
        (any(false), None, false),
        (None, any(false), false),
        (
            Some(mppe(false, &[KeyLength::Bits40], false)),
            Some(mppe(false, &[KeyLength::Bits56], false)),
            false,
        ),
    ] {
        let mut pair = opened(ours, theirs);
        pair.run(MINUTE);
        assert!(pair.is_up());
        assert_eq!(agreed(&pair).is_some(), encrypted);
    }
}

#[test]
fn without_ms_chap_there_are_no_keys() {
    for auth in [AuthProtocol::Pap, AuthProtocol::ChapMd5] {
        let mut pair = Pair::new(server(auth, any(true)), client(any(true)));
        pair.open(SECOND);
        for host in &pair.hosts {
            assert_eq!(keys(host), None);
        }
        let cause = pair.server().closed().or(pair.client().closed()).cloned();
        assert_eq!(cause, not_encrypted(EncryptionCause::NoKeys));

        let mut pair = Pair::new(server(auth, any(false)), client(any(false)));
        pair.open(MINUTE);
        assert!(pair.is_up());
        assert_eq!(agreed(&pair), None);
    }
}

#[test]
fn ms_chap_v1_has_the_same_key_both_ways_and_only_the_long_one() {
    let auth = AuthProtocol::MsChapV1;
    let mut pair = Pair::new(server(auth, any(true)), client(any(true)));
    pair.open(SECOND);
    assert!(pair.is_up());
    assert_eq!(agreed(&pair).unwrap().length, KeyLength::Bits128);
    let [ours, theirs] = pair.hosts.each_ref().map(|host| keys(host).unwrap());
    assert_eq!((&ours.send, &ours), (&ours.receive, &theirs));

    let short = Some(mppe(true, &[KeyLength::Bits40, KeyLength::Bits56], false));
    let mut pair = Pair::new(server(auth, short), client(any(true)));
    pair.open(SECOND);
    let cause = pair.server().closed().cloned();
    assert_eq!(cause, not_encrypted(EncryptionCause::Unsupported));
}

#[test]
fn keys_of_both_ends_are_keys_of_nobody() {
    let both = |mppe| LinkConfig {
        require_auth: vec![AuthProtocol::MsChapV2],
        mppe,
        ..LinkConfig::default()
    };
    let credentials = Some((USER, PASSWORD));
    let mut pair = Pair::new(
        Host::new(both(any(true)), credentials, server_network()),
        Host::new(both(any(true)), credentials, client_network()),
    );
    pair.open(SECOND);
    let cause = pair.server().closed().or(pair.client().closed()).cloned();
    assert_eq!(cause, not_encrypted(EncryptionCause::TwoKeys));
}

#[test]
fn what_the_datapath_does_not_have_is_not_offered() {
    let mut pair = Pair::new(server(AuthProtocol::MsChapV2, any(true)), client(any(true)));
    pair.hosts[SERVER].lengths = vec![KeyLength::Bits40];
    pair.open(SECOND);
    assert_eq!(agreed(&pair).unwrap().length, KeyLength::Bits40);

    for required in [false, true] {
        let mut pair = Pair::new(
            server(AuthProtocol::MsChapV2, any(required)),
            client(any(false)),
        );
        pair.hosts[SERVER].lengths = Vec::new();
        pair.open(MINUTE);
        assert_eq!(pair.is_up(), !required);
        let cause = pair.server().closed().cloned();
        let said = not_encrypted(EncryptionCause::Unsupported);
        assert_eq!(cause, said.filter(|_| required));
    }
}

#[test]
fn an_owner_that_takes_its_time_costs_no_more_than_that() {
    let mut pair = Pair::new(server(AuthProtocol::MsChapV2, any(true)), client(any(true)));
    pair.hosts[SERVER].thinking = Duration::from_millis(300);
    pair.open(Duration::from_millis(1_200));
    assert!(pair.is_up(), "what came early was not forgotten");
}

#[test]
fn foul_weather_keeps_nobody_from_encryption() {
    for outlive_requests in [true, false] {
        let mut encrypted = 0;
        for seed in 0..200 {
            let (ours, theirs) = (server(AuthProtocol::MsChapV2, any(true)), client(any(true)));
            let mut pair = Pair::with_weather(ours, theirs, Weather::FOUL, seed);
            for host in &mut pair.hosts {
                host.outlives_requests = outlive_requests;
            }
            pair.open(MINUTE);
            // None is ever in clear.
            for host in &pair.hosts {
                assert!(host.link.status().mppe.is_some() || host.link.phase() == Phase::Dead);
                let place = |wanted: fn(&Event) -> bool| host.events.iter().position(wanted);
                let up =
                    place(|event| matches!(event, Event::Ipv4Up { .. } | Event::Ipv6Up { .. }));
                let safe = place(|event| matches!(event, Event::EncryptionUp(_)));
                assert!(up.is_none() || safe.is_some_and(|safe| Some(safe) < up));
            }
            encrypted += u32::from(pair.is_up());
        }
        // A second copy of a request that comes when packets flow ends the link of a datapath that stops at it.
        let least = if outlive_requests { 200 } else { 190 };
        assert!(encrypted >= least, "{encrypted} of 200 links are up");
    }
}

#[test]
fn a_request_for_what_stands_is_acknowledged_again_under_whatever_identifier() {
    let best = option(18, &[1, 0, 0, 0x40]);
    let mut solo = encrypted(true);
    // Its sender's restart timer fired between our acknowledgement and our request, again and again.
    for identifier in [1, 1, 2, 1, 1, 3, 3, 3, 3] {
        let sent = solo.say(Protocol::CCP, REQUEST, identifier, &best);
        assert_eq!(only(&sent, Protocol::CCP, ACK).identifier, identifier);
        assert_eq!(sent.len(), 1, "nothing begins anew: {sent:?}");
    }
    assert!(solo.host.link.status().mppe.is_some());
}

#[test]
fn a_request_that_a_better_one_overtook_is_not_answered() {
    let (all, best) = (option(18, &[1, 0, 0, 0xe0]), option(18, &[1, 0, 0, 0x40]));
    let mut solo = asking(true);
    let sent = solo.say(Protocol::CCP, REQUEST, 1, &all);
    only(&sent, Protocol::CCP, NAK);
    let sent = solo.say(Protocol::CCP, REQUEST, 1, &all);
    only(&sent, Protocol::CCP, NAK);
    let sent = solo.say(Protocol::CCP, REQUEST, 2, &best);
    only(&sent, Protocol::CCP, ACK);
    assert!(solo.say(Protocol::CCP, REQUEST, 1, &all).is_empty());
    let asked = last(&solo, Protocol::CCP, REQUEST).unwrap();
    let sent = solo.say(Protocol::CCP, NAK, asked.identifier, &best);
    let again = only(&sent, Protocol::CCP, REQUEST);
    solo.say(Protocol::CCP, ACK, again.identifier, &best);
    assert!(solo.host.link.status().mppe.is_some());
    assert!(solo.say(Protocol::CCP, REQUEST, 1, &all).is_empty());
    assert!(solo.host.link.status().mppe.is_some());
}

#[test]
fn a_late_request_ends_no_link_whose_datapath_outlives_it() {
    let (all, best) = (option(18, &[1, 0, 0, 0xe0]), option(18, &[1, 0, 0, 0x40]));
    for (identifier, options, ends) in [(2, &best, false), (1, &all, false), (3, &best, true)] {
        for outlives_requests in [true, false] {
            let (ours, theirs) = (server(AuthProtocol::MsChapV2, any(true)), client(any(true)));
            let mut pair = Pair::new(ours, theirs);
            pair.hosts[SERVER].outlives_requests = outlives_requests;
            pair.open(SECOND);
            assert!(pair.is_up());
            // What the client sent, with identifiers of its own choice.
            let requests = pair.client().sent.iter().map(|frame| sent(frame));
            let requests = requests.filter(|p| (p.protocol, p.code) == (Protocol::CCP, REQUEST));
            let first = requests.map(|p| p.identifier).next().unwrap();
            let identifier = first.wrapping_add(identifier - 1);
            let frame = [
                &[0xff, 3, 0x80, 0xfd, REQUEST, identifier, 0, 10][..],
                options,
            ];
            pair.inject(SERVER, &frame.concat());
            let status = pair.server().link.status();
            assert_eq!(status.mppe.is_none(), ends || !outlives_requests);
        }
    }
}

#[test]
fn the_link_goes_down_with_its_encryption() {
    let lcp_down = |solo: &mut Solo, said: u8, data: &[u8], cause| {
        let sent = solo.say(Protocol::CCP, said, 99, data);
        assert!(
            sent.iter()
                .any(|p| (p.protocol, p.code) == (Protocol::LCP, 5))
        );
        let status = solo.host.link.status();
        assert_eq!(status.mppe, None);
        assert_eq!(status.cause, not_encrypted(cause));
        assert!(solo.host.has(|event| *event == Event::EncryptionDown));
    };
    for required in [false, true] {
        let mut solo = encrypted(required);
        lcp_down(
            &mut solo,
            code::TERMINATE_REQUEST,
            &[],
            EncryptionCause::Terminated,
        );
        let mut solo = encrypted(required);
        let other = option(18, &[1, 0, 0, 0x20]);
        lcp_down(&mut solo, REQUEST, &other, EncryptionCause::Renegotiated);
        let mut solo = encrypted(required);
        let reject = [0x80, 0xfd, 1, 2, 3];
        solo.say(Protocol::LCP, code::PROTOCOL_REJECT, 3, &reject);
        let cause = solo.host.link.status().cause;
        assert_eq!(cause, not_encrypted(EncryptionCause::Rejected));
    }
}

#[test]
fn a_peer_that_says_nothing_of_ccp_is_not_waited_for_for_ever() {
    for required in [false, true] {
        let mut solo = asking(required);
        let sent = solo.wait(31 * SECOND);
        let cause = solo.host.link.status().cause;
        if required {
            assert_eq!(cause, not_encrypted(EncryptionCause::Timeout));
        } else {
            assert_eq!(cause, None);
            assert!(sent.iter().any(|p| p.protocol == Protocol::IPCP));
        }
    }
}

#[test]
fn each_wrong_wish_is_answered_with_a_better_one() {
    let bits = |octets: [u8; 4]| option(18, &octets);
    let best = bits([1, 0, 0, 0x40]);
    for (wish, answer) in [
        (bits([1, 0, 0, 0x40]), (ACK, bits([1, 0, 0, 0x40]))),
        (bits([1, 0, 0, 0x20]), (ACK, bits([1, 0, 0, 0x20]))),
        (bits([1, 0, 0, 0x80]), (ACK, bits([1, 0, 0, 0x80]))),
        (bits([1, 0, 0, 0xe0]), (NAK, best.clone())),
        (bits([1, 0, 0, 0x61]), (NAK, best.clone())),
        (bits([1, 0, 0, 0xa0]), (NAK, bits([1, 0, 0, 0x80]))),
        (bits([0, 0, 0, 0x20]), (NAK, bits([1, 0, 0, 0x20]))),
        (bits([0, 0, 0, 0]), (NAK, best.clone())),
        (bits([1, 0, 0, 1]), (NAK, best.clone())),
        (bits([0xff; 4]), (NAK, best.clone())),
        (option(18, &[1, 0]), (NAK, best.clone())),
        (Vec::new(), (NAK, best.clone())),
        (option(26, &[0x78, 0]), (REJECT, option(26, &[0x78, 0]))),
    ] {
        let mut solo = asking(true);
        let sent = solo.say(Protocol::CCP, REQUEST, 1, &wish);
        let (code, data) = answer;
        assert_eq!(only(&sent, Protocol::CCP, code).data, data, "{wish:x?}");
    }
}

#[test]
fn what_is_not_wanted_is_rejected_as_ever() {
    let (mut solo, _) = in_network(client_network());
    let sent = solo.say(Protocol::CCP, REQUEST, 1, &option(18, &[1, 0, 0, 0x40]));
    let reject = only(&sent, Protocol::LCP, code::PROTOCOL_REJECT);
    assert_eq!(reject.data[..2], [0x80, 0xfd]);
}

#[test]
fn lost_synchronization_is_asked_for_once_a_second_until_it_is_there() {
    let mut solo = encrypted(true);
    let unreadable = [0x00, 0xfd, 0x10, 5, 1, 2, 3];
    let sent = solo.say_frame(&unreadable);
    only(&sent, Protocol::CCP, code::RESET_REQUEST);
    assert!(solo.say_frame(&unreadable).is_empty(), "not again at once");
    solo.wait(SECOND);
    let sent = solo.say_frame(&unreadable);
    let asked = only(&sent, Protocol::CCP, code::RESET_REQUEST);
    solo.say(Protocol::CCP, code::RESET_ACK, asked.identifier, &[]);
    let sent = solo.say_frame(&unreadable);
    only(&sent, Protocol::CCP, code::RESET_REQUEST);

    let sent = solo.say(Protocol::CCP, code::RESET_REQUEST, 77, &[]);
    assert_eq!(only(&sent, Protocol::CCP, code::RESET_ACK).identifier, 77);
    // Before there is encryption there is nothing to begin anew.
    let mut solo = asking(true);
    assert!(
        solo.say(Protocol::CCP, code::RESET_REQUEST, 77, &[])
            .is_empty()
    );
    assert!(solo.say_frame(&unreadable).is_empty());
}

#[test]
fn a_new_lcp_brings_new_keys() {
    let mut pair = opened(any(true), any(true));
    let first = keys(pair.server());
    for host in &mut pair.hosts {
        host.events.clear();
    }
    // The client's LCP begins anew, as after a short end of its line.
    let mut frame = vec![0xff, 0x03, 0xc0, 0x21, 1, 200, 0, 10, 5, 6];
    frame.extend_from_slice(&[9, 9, 9, 9]);
    pair.inject(SERVER, &frame);
    pair.run(MINUTE);
    assert!(pair.is_up());
    assert!(pair.server().has(|event| *event == Event::EncryptionDown));
    let second = keys(pair.server());
    assert!(second.is_some() && second != first);
    assert_eq!(second, keys(pair.client()).map(StartKeys::reversed));
}

#[test]
fn an_encrypted_link_survives_being_stored() {
    let pair = opened(any(true), any(true));
    let text = serde_json::to_string(&pair.server().link).unwrap();
    let link: ppp::Link = serde_json::from_str(&text).unwrap();
    assert_eq!(link.status(), pair.server().link.status());
}

/// A client whose CCP has asked, and whose peer, a test, has not.
fn asking(required: bool) -> Solo {
    let mut solo = Solo::new(client(any(required)));
    for packet in solo.take() {
        if (packet.protocol, packet.code) == (Protocol::LCP, REQUEST) {
            solo.say(Protocol::LCP, ACK, packet.identifier, &packet.data);
        }
    }
    solo.say(Protocol::LCP, REQUEST, 1, &[3, 5, 0xc2, 0x23, 0x81]);
    let challenge = [&[16][..], &[4; 16], b"lns"].concat();
    let sent = solo.say(Protocol::CHAP, 1, 8, &challenge);
    let response = only(&sent, Protocol::CHAP, 2);
    let (theirs, nt): ([u8; 16], [u8; 24]) = (
        response.data[1..17].try_into().unwrap(),
        response.data[25..49].try_into().unwrap(),
    );
    let proof =
        crypto::mschapv2::authenticator_response(PASSWORD, &nt, &theirs, &[4; 16], USER.as_bytes());
    let hex: String = proof.iter().map(|octet| format!("{octet:02X}")).collect();
    let success = format!("S={hex} M=welcome");
    let sent = solo.say(Protocol::CHAP, 3, 8, success.as_bytes());
    assert_eq!(solo.phase(), Phase::Network);
    let asked = only(&sent, Protocol::CCP, REQUEST);
    assert_eq!(asked.data, option(18, &[1, 0, 0, 0xe0]));
    solo
}

/// A client whose CCP is up.
fn encrypted(required: bool) -> Solo {
    let mut solo = asking(required);
    let best = option(18, &[1, 0, 0, 0x40]);
    let asked = solo.host.sent.last().map(|frame| sent(frame)).unwrap();
    let sent = solo.say(Protocol::CCP, NAK, asked.identifier, &best);
    let again = only(&sent, Protocol::CCP, REQUEST);
    assert_eq!(again.data, best);
    solo.say(Protocol::CCP, ACK, again.identifier, &best);
    let sent = solo.say(Protocol::CCP, REQUEST, 1, &best);
    only(&sent, Protocol::CCP, ACK);
    only(&sent, Protocol::IPCP, REQUEST);
    assert!(solo.host.link.status().mppe.is_some());
    solo
}

/// The test's own check that a host without network layers is no special case.
#[test]
fn without_network_layers_the_link_ends_after_its_encryption() {
    let config = Arc::new(NetworkConfig::default());
    let mut pair = Pair::new(server(AuthProtocol::MsChapV2, any(true)), client(any(true)));
    pair.hosts[SERVER].network = *config;
    pair.open(SECOND);
    let cause = pair.server().closed();
    assert!(matches!(cause, Some(Cause::NoNetwork(_))), "{cause:?}");
}

/// The last packet of a protocol and code that the link sent.
fn last(solo: &Solo, protocol: Protocol, code: u8) -> Option<Sent> {
    let sent = solo.host.sent.iter().rev().map(|frame| sent(frame));
    let mut matching = sent.filter(|p| (p.protocol, p.code) == (protocol, code));
    matching.next()
}

/// One thing that a peer says, good or bad, of two numbers.
fn hostile(solo: &mut Solo, what: u8, more: u8) {
    let bits = |more: u8| option(18, &[more & 1, 0, 0, more & 0xf0]);
    let protocol = [Protocol::CCP, Protocol::IPCP, Protocol::IPV6CP][usize::from(more % 3)];
    let address = address(3, CLIENT_IP);
    match what {
        0 | 1 => {
            if let Some(asked) = last(solo, protocol, REQUEST) {
                solo.say(protocol, ACK, asked.identifier, &asked.data);
            }
        }
        2 => {
            if let Some(asked) = last(solo, Protocol::CCP, REQUEST) {
                solo.say(Protocol::CCP, NAK, asked.identifier, &bits(more));
            }
        }
        3 => {
            if let Some(asked) = last(solo, protocol, REQUEST) {
                solo.say(protocol, REJECT, asked.identifier, &asked.data);
            }
        }
        4 => drop(solo.say(Protocol::CCP, REQUEST, more, &bits(0x40 | more & 1))),
        5 => drop(solo.say(Protocol::CCP, REQUEST, more, &bits(more))),
        6 | 7 => drop(solo.say(Protocol::IPCP, REQUEST, more, &address)),
        8 => drop(solo.say(protocol, more % 17, more, &address)),
        9 => {
            let rejected = [&protocol.0.to_be_bytes()[..], &[1, 1, 0, 4]].concat();
            solo.say(Protocol::LCP, code::PROTOCOL_REJECT, more, &rejected);
        }
        10 => drop(solo.say_frame(&[0, 0xfd, more, more, 1, 2])),
        11 => drop(solo.say_frame(&[0x80, 0xfd, more, more])),
        _ => drop(solo.wait(Duration::from_secs(more.into()) / 8)),
    }
}

proptest! {
    #[test]
    fn nothing_that_a_peer_says_brings_up_a_network_in_clear_or_takes_encryption_from_one(
        required: bool,
        is_up: bool,
        said in vec((0_u8..14, proptest::num::u8::ANY), 1..60),
    ) {
        let mut solo = if is_up { encrypted(required) } else { asking(required) };
        let mut was_encrypted = is_up;
        for (what, more) in said {
            hostile(&mut solo, what, more);
            let status = solo.host.link.status();
            let carries = status.ipv4.is_some() || status.ipv6.is_some();
            was_encrypted |= status.mppe.is_some();
            prop_assert!(status.mppe.is_some() || !carries || !(required || was_encrypted));
            let ends = status.cause.is_some();
            prop_assert!(ends || !was_encrypted || status.mppe.is_some(), "{status:?}");
        }
    }
}
