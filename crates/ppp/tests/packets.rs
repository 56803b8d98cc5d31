//! Rules of single packets: identifiers, magic numbers, lengths, repetitions, and when silence is the answer.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::time::Duration;

use common::*;
use ppp::{AuthProtocol, Cause, LinkConfig, NetworkConfig, Phase};
use wire::ppp::Protocol;
use wire::ppp::iana::code::{
    CODE_REJECT, CONFIGURE_ACK, CONFIGURE_NAK, CONFIGURE_REJECT, CONFIGURE_REQUEST,
    DISCARD_REQUEST, ECHO_REPLY, ECHO_REQUEST, PROTOCOL_REJECT, TERMINATE_ACK, TERMINATE_REQUEST,
};

const LCP: Protocol = Protocol::LCP;
const IPCP: Protocol = Protocol::IPCP;
const IPV6CP: Protocol = Protocol::IPV6CP;

/// What no phase before the network phase, and none after it, has a use for.
fn other_layers() -> [(Protocol, Vec<u8>); 5] {
    let pap = [&[2], USER.as_bytes(), &[2], PASSWORD.as_bytes()].concat();
    [
        (Protocol::PAP, pap),
        (Protocol::CHAP, vec![1, 7, b'x']),
        (IPCP, address(3, CLIENT_IP)),
        (Protocol::CCP, vec![]),
        (Protocol::EAP, vec![]),
    ]
}

#[test]
fn only_lcp_is_heard_while_the_link_comes_up_and_goes_down() {
    let coming_up = Solo::new(Host::server(&[AuthProtocol::Pap]));
    let (mut going_down, _) = in_network(server_network());
    let (now, link) = (going_down.now, &mut going_down.host.link);
    link.close(Cause::Administrative, now, &mut rng(1));
    for (mut solo, phase) in [
        (coming_up, Phase::Establish),
        (going_down, Phase::Terminate),
    ] {
        solo.take();
        for (protocol, data) in other_layers() {
            assert_eq!(solo.say(protocol, 1, 1, &data), [], "{protocol}");
        }
        // Nor do LCP's own packets for the open link mean anything yet, or any more.
        assert_eq!(solo.say(LCP, ECHO_REQUEST, 1, &[0; 4]), []);
        assert_eq!(solo.say(LCP, PROTOCOL_REJECT, 1, &[0xc0, 0x21]), []);
        assert_eq!(solo.phase(), phase);
        assert_eq!(solo.host.link.counters().discarded, 7);
    }
}

#[test]
fn a_repeated_request_of_ours_keeps_its_identifier_and_its_options() {
    let mut solo = Solo::new(Host::server(&[AuthProtocol::Pap]));
    let first = only(&solo.take(), LCP, CONFIGURE_REQUEST);
    let again = solo.wait(Duration::from_secs(9));
    assert_eq!(again, [first.clone(), first.clone(), first.clone()]);
    // A Nak changes the options, and so the identifier.
    let other = option(5, &[9; 4]);
    let sent = solo.say(LCP, CONFIGURE_NAK, first.identifier, &other);
    let changed = only(&sent, LCP, CONFIGURE_REQUEST);
    assert_ne!(changed.identifier, first.identifier);
    assert_ne!(changed.data, first.data);
}

#[test]
fn rejects_of_ours_have_an_identifier_each() {
    let (mut solo, _) = in_network(server_network());
    let mut last = None;
    for _ in 0..3 {
        let code = only(&solo.say(LCP, 99, 1, &[]), LCP, CODE_REJECT);
        let sent = solo.say(Protocol::CCP, 1, 1, &[]);
        let protocol = only(&sent, LCP, PROTOCOL_REJECT);
        assert_ne!(Some(code.identifier), last);
        assert_ne!(code.identifier, protocol.identifier);
        last = Some(protocol.identifier);
    }
}

#[test]
fn echoes_say_0_where_no_magic_number_was_agreed_on() {
    let config = LinkConfig {
        echo_interval: Some(Duration::from_secs(10)),
        ..LinkConfig::default()
    };
    let mut solo = Solo::new(Host::new(config, None, server_network()));
    let first = only(&solo.take(), LCP, CONFIGURE_REQUEST);
    let sent = solo.say(LCP, CONFIGURE_REJECT, first.identifier, &first.data);
    let second = only(&sent, LCP, CONFIGURE_REQUEST);
    solo.say(LCP, CONFIGURE_ACK, second.identifier, &second.data);
    solo.say(LCP, CONFIGURE_REQUEST, 1, &[]);
    let reply = solo.say(LCP, ECHO_REQUEST, 1, &[0, 0, 0, 0, 7]);
    assert_eq!(only(&reply, LCP, ECHO_REPLY).data, [0, 0, 0, 0, 7]);
    let sent = solo.wait(Duration::from_secs(10));
    assert_eq!(only(&sent, LCP, ECHO_REQUEST).data, [0; 4]);
}

#[test]
fn vendors_packets_and_options_are_rejected() {
    let mut solo = Solo::new(Host::server(&[]));
    solo.take();
    // RFC 2153: code 0 and option 0, each with an OUI.
    let oui = option(0, &[0, 0, 0x0c, 1, 2]);
    let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &oui);
    assert_eq!(only(&sent, LCP, CONFIGURE_REJECT).data, oui);
    let sent = solo.say(LCP, 0, 9, &[0, 0, 0, 0, 0, 0, 0x0c, 1]);
    assert_eq!(only(&sent, LCP, CODE_REJECT).data[..4], [0, 9, 0, 12]);
}

#[test]
fn each_authenticate_request_has_an_identifier_of_its_own() {
    let mut solo = Solo::new(Host::client());
    let ours = only(&solo.take(), LCP, CONFIGURE_REQUEST);
    solo.say(LCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    let demand = option(3, &[0xc0, 0x23]);
    let mut sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &demand);
    sent.extend(solo.wait(Duration::from_secs(7)));
    let mut identifiers: Vec<_> = sent
        .iter()
        .filter(|p| p.protocol == Protocol::PAP)
        .map(|p| p.identifier)
        .collect();
    assert_eq!(identifiers.len(), 3);
    identifiers.dedup();
    assert_eq!(identifiers.len(), 3);
}

#[test]
fn a_terminate_request_is_repeated_and_then_the_link_is_over() {
    let (mut solo, _) = in_network(server_network());
    let (now, link) = (solo.now, &mut solo.host.link);
    link.close(Cause::Administrative, now, &mut rng(1));
    let sent = solo.wait(Duration::from_millis(8900));
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|p| p.code == TERMINATE_REQUEST));
    assert_eq!(solo.host.closed(), None);
    assert_eq!(solo.wait(Duration::from_millis(100)), []);
    assert_eq!(solo.host.closed(), Some(&Cause::Administrative));
}

#[test]
fn a_whole_frame_is_received_however_small_an_mru_we_ask_for() {
    let config = LinkConfig {
        mru: 600,
        ..LinkConfig::default()
    };
    let mut solo = Solo::new(Host::new(config, None, server_network()));
    solo.establish();
    let sent = solo.say(LCP, ECHO_REQUEST, 1, &[0; 1496]);
    assert_eq!(only(&sent, LCP, ECHO_REPLY).data.len(), 1496);
}

#[test]
fn a_discard_request_is_discarded() {
    let (mut solo, _) = in_network(server_network());
    assert_eq!(solo.say(LCP, DISCARD_REQUEST, 1, &[1, 2, 3, 4, 5]), []);
}

#[test]
fn a_protocol_number_against_the_rules_is_an_unknown_protocol() {
    let (mut solo, _) = in_network(server_network());
    // Even, and with an odd first octet (which alone would be a compressed field).
    for (frame, number) in [
        (&[0xff, 3, 0x80, 0x20, 9][..], [0x80, 0x20]),
        (&[0xff, 3, 0xc1, 0x21, 9], [0x00, 0xc1]),
    ] {
        let reject = only(&solo.say_frame(frame), LCP, PROTOCOL_REJECT);
        assert_eq!(reject.data[..2], number);
    }
}

#[test]
fn an_interface_identifier_is_local_and_not_asked_for_again_once_rejected() {
    let (mut solo, sent) = in_network(NetworkConfig {
        ipv4: None,
        ..server_network()
    });
    let ours = only(&sent, IPV6CP, CONFIGURE_REQUEST);
    assert_eq!(ours.data[..2], [1, 10]);
    assert_ne!(ours.data[2..], [0; 8]);
    assert_eq!(ours.data[2] & 2, 0, "not globally unique");
    let sent = solo.say(IPV6CP, CONFIGURE_REJECT, ours.identifier, &ours.data);
    assert_eq!(only(&sent, IPV6CP, CONFIGURE_REQUEST).data, [0; 0]);
}

/// A client that has agreed to prove itself by an algorithm of CHAP.
fn to_be_challenged(algorithm: u8) -> Solo {
    let mut solo = Solo::new(Host::client());
    let ours = only(&solo.take(), LCP, CONFIGURE_REQUEST);
    solo.say(LCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    let wanted = option(3, &[0xc2, 0x23, algorithm]);
    solo.say(LCP, CONFIGURE_REQUEST, 1, &wanted);
    assert_eq!(solo.phase(), Phase::Authenticate);
    solo
}

#[test]
fn a_challenge_of_another_length_is_none_of_ms_chap_v1() {
    let mut solo = to_be_challenged(0x80);
    for length in [7_u8, 9, 16] {
        let challenge = [vec![length], vec![7; length.into()]].concat();
        assert_eq!(solo.say(Protocol::CHAP, 1, length, &challenge), []);
    }
    let challenge = [7; 8];
    let sent = solo.say(Protocol::CHAP, 1, 8, &[&[8][..], &challenge].concat());
    let response = only(&sent, Protocol::CHAP, 2);
    assert_eq!((response.identifier, response.data[0]), (8, 49));
    // No LAN Manager response, and the flag that says so.
    assert_eq!(response.data[1..25], [0; 24]);
    let proof = crypto::mschapv1::nt_response(&challenge, PASSWORD);
    assert_eq!(response.data[25..49], proof);
    assert_eq!(response.data[49], 1);
    assert_eq!(&response.data[50..], USER.as_bytes());
}

#[test]
fn the_reason_of_an_ms_chap_v1_failure_is_understood() {
    for (message, understood) in [
        (&b"E=648 R=0 V=2"[..], "error 648"),
        (b"E=691 R=1 C=0102030405060708 V=2 M=go away", "go away"),
    ] {
        let mut solo = to_be_challenged(0x80);
        solo.say(Protocol::CHAP, 1, 8, &[&[8][..], &[7; 8]].concat());
        solo.say(Protocol::CHAP, 4, 8, message);
        solo.say(LCP, TERMINATE_ACK, 0, &[]);
        let cause = Cause::NotAuthenticated(understood.to_owned());
        assert_eq!(solo.host.closed(), Some(&cause));
    }
}

#[test]
fn an_ms_chap_v1_response_of_the_lan_manager_alone_proves_nothing() {
    for (flag, right) in [(1, true), (0, false)] {
        let mut solo = Solo::new(Host::server(&[AuthProtocol::MsChapV1]));
        let ours = only(&solo.take(), LCP, CONFIGURE_REQUEST);
        assert_eq!(&ours.data[..5], &[3, 5, 0xc2, 0x23, 0x80]);
        solo.say(LCP, CONFIGURE_ACK, ours.identifier, &ours.data);
        let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &[]);
        let challenge = only(&sent, Protocol::CHAP, 1);
        assert_eq!(challenge.data[0], 8);
        let value = challenge.data[1..9].try_into().unwrap();
        let proof = crypto::mschapv1::nt_response(&value, PASSWORD);
        let response = [&[49][..], &[0x4c; 24], &proof, &[flag], USER.as_bytes()].concat();
        let sent = solo.say(Protocol::CHAP, 2, challenge.identifier, &response);
        if right {
            only(&sent, Protocol::CHAP, 3);
            continue;
        }
        let failure = only(&sent, Protocol::CHAP, 4);
        let digits: String = value.iter().map(|octet| format!("{octet:02X}")).collect();
        let words = "the response is none but the LAN Manager's";
        let told = format!("E=691 R=0 C={digits} V=2 M={words}");
        assert_eq!(String::from_utf8(failure.data).unwrap(), told);
        solo.say(LCP, TERMINATE_ACK, 0, &[]);
        let cause = Cause::PeerNotAuthenticated(words.to_owned());
        assert_eq!(solo.host.closed(), Some(&cause));
    }
}

#[test]
fn a_challenge_of_another_length_is_none_of_ms_chap_v2() {
    let mut solo = to_be_challenged(0x81);
    for length in [8_u8, 15, 17] {
        let challenge = [vec![length], vec![7; length.into()]].concat();
        assert_eq!(solo.say(Protocol::CHAP, 1, length, &challenge), []);
    }
    let challenge = [&[16][..], &[7; 16]].concat();
    let sent = solo.say(Protocol::CHAP, 1, 16, &challenge);
    let response = only(&sent, Protocol::CHAP, 2);
    assert_eq!((response.identifier, response.data[0]), (16, 49));
    // Between the peer's challenge and the proof, and after it, zeros.
    assert_eq!(response.data[17..25], [0; 8]);
    assert_eq!(response.data[49], 0);
}
