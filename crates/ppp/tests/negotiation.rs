//! One link and a peer played by hand: what it answers, packet by packet.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::*;
use ppp::{
    AuthProtocol, Cause, Event, Ipv4Config, Ipv6Config, LinkConfig, NetworkCause, NetworkConfig,
    Phase,
};
use wire::ppp::Protocol;
use wire::ppp::iana::code::{
    CODE_REJECT, CONFIGURE_ACK, CONFIGURE_NAK, CONFIGURE_REJECT, CONFIGURE_REQUEST, ECHO_REPLY,
    ECHO_REQUEST, IDENTIFICATION, PROTOCOL_REJECT, TERMINATE_ACK, TERMINATE_REQUEST,
};

const LCP: Protocol = Protocol::LCP;
const IPCP: Protocol = Protocol::IPCP;
const IPV6CP: Protocol = Protocol::IPV6CP;

fn ipv4(config: Ipv4Config) -> NetworkConfig {
    NetworkConfig {
        ipv4: Some(config),
        ipv6: None,
    }
}

#[test]
fn what_windows_offers_beyond_ppp_is_rejected_and_the_rest_agreed_on() {
    let mut solo = Solo::new(Host::server(&[AuthProtocol::MsChapV2]));
    let ours = only(&solo.take(), LCP, CONFIGURE_REQUEST);
    assert_eq!(&ours.data[..5], &[3, 5, 0xc2, 0x23, 0x81]);
    let (mru, magic) = (option(1, &[0x05, 0x78]), option(5, &[1, 2, 3, 4]));
    let (callback, mrru) = (option(13, &[6]), option(17, &[0x06, 0x4e]));
    let discriminator = option(19, &[1; 21]);
    let wanted = [&mru[..], &magic, &[7, 2, 8, 2]].concat();
    let request = [&wanted[..], &callback, &mrru, &discriminator].concat();
    let rejected = only(
        &solo.say(LCP, CONFIGURE_REQUEST, 0, &request),
        LCP,
        CONFIGURE_REJECT,
    );
    assert_eq!(rejected.data, [callback, mrru, discriminator].concat());
    let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &wanted);
    assert_eq!(only(&sent, LCP, CONFIGURE_ACK).data, wanted);
    solo.say(LCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    assert_eq!(solo.phase(), Phase::Authenticate);
    assert_eq!(solo.host.link.peer_mru(), 1400);
    assert!(solo.host.link.peer_accepts_pfc() && solo.host.link.peer_accepts_acfc());
    // Identification is a code of RFC 1570.
    let said = [&[1, 2, 3, 4], &b"MSRASV5.20"[..]].concat();
    let reject = only(&solo.say(LCP, IDENTIFICATION, 2, &said), LCP, CODE_REJECT);
    assert_eq!(reject.data[..4], [IDENTIFICATION, 2, 0, 18]);
    assert_eq!(reject.data[4..], said);
}

#[test]
fn protocols_that_nobody_speaks_are_rejected_in_the_network_phase() {
    let (mut solo, _) = in_network(server_network());
    for protocol in [
        Protocol::CCP,
        Protocol::EAP,
        Protocol::CBCP,
        Protocol::MPLSCP,
    ] {
        let sent = solo.say(protocol, 1, 9, &[18, 6, 1, 0, 0, 0x40]);
        let reject = only(&sent, LCP, PROTOCOL_REJECT);
        assert_eq!(reject.data[..2], protocol.0.to_be_bytes());
        assert_eq!(reject.data[2..], [1, 9, 0, 10, 18, 6, 1, 0, 0, 0x40]);
    }
    let sent = solo.say_frame(&[0xfd, 0x90, 0x01, 0x55]);
    assert_eq!(
        only(&sent, LCP, PROTOCOL_REJECT).data,
        [0, 0xfd, 0x90, 0x01, 0x55]
    );
    // Packets are the datapath's business.
    assert_eq!(solo.say_frame(&[0x21, 0x45, 0, 0, 20]), []);
    assert_eq!(solo.say_frame(&[0xff, 0x03, 0x00, 0x57, 0x60]), []);
}

#[test]
fn other_layers_have_to_wait_for_authentication() {
    let mut solo = Solo::new(Host::server(&[AuthProtocol::Pap]));
    solo.establish();
    assert_eq!(solo.phase(), Phase::Authenticate);
    assert_eq!(solo.say(Protocol::CCP, 1, 1, &[]), []);
    assert_eq!(solo.say(IPCP, 1, 1, &[]), []);
    // But what could never come now or later is told at once.
    only(&solo.say(Protocol::EAP, 1, 1, &[]), LCP, PROTOCOL_REJECT);
}

#[test]
fn a_protocol_reject_is_cut_to_the_peers_mru() {
    let mut solo = Solo::new(Host::server(&[]));
    let ours = only(&solo.take(), LCP, CONFIGURE_REQUEST);
    solo.say(LCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    solo.say(
        LCP,
        CONFIGURE_REQUEST,
        1,
        &option(1, &600_u16.to_be_bytes()),
    );
    let reject = only(
        &solo.say(Protocol::CCP, 1, 1, &[7; 1000]),
        LCP,
        PROTOCOL_REJECT,
    );
    assert_eq!(reject.data.len() + 4, 600);
    let reject = only(&solo.say(LCP, 99, 1, &[7; 1000]), LCP, CODE_REJECT);
    assert_eq!(reject.data.len() + 4, 600);
}

#[test]
fn a_control_protocol_that_the_peer_rejects_goes_down_alone() {
    let (mut solo, sent) = in_network(server_network());
    let request = only(&sent, IPV6CP, CONFIGURE_REQUEST);
    let frame = [
        &[0x80, 0x57, 1, request.identifier, 0, 14],
        &request.data[..],
    ]
    .concat();
    assert_eq!(solo.say(LCP, PROTOCOL_REJECT, 1, &frame), []);
    let later = solo.wait(Duration::from_secs(10));
    assert!(later.iter().all(|p| p.protocol == IPCP), "{later:?}");
    assert_eq!(solo.phase(), Phase::Network);
    solo.say(LCP, PROTOCOL_REJECT, 2, &[0x80, 0x21]);
    let rejected = Cause::NoNetwork(NetworkCause::Rejected);
    solo.say(LCP, TERMINATE_ACK, 0, &[]);
    assert_eq!(solo.host.closed(), Some(&rejected));
}

#[test]
fn an_open_network_layer_goes_down_when_it_is_rejected() {
    let config = Ipv4Config {
        local: Some(SERVER_IP),
        ..Ipv4Config::default()
    };
    let (mut solo, sent) = in_network(NetworkConfig {
        ipv6: Some(Ipv6Config::default()),
        ..ipv4(config)
    });
    let ours = only(&sent, IPCP, CONFIGURE_REQUEST);
    solo.say(IPCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    solo.say(IPCP, CONFIGURE_REQUEST, 1, &address(3, CLIENT_IP));
    assert!(solo.host.ipv4_is_up());
    solo.say(LCP, PROTOCOL_REJECT, 1, &[0x80, 0x21]);
    assert_eq!(solo.host.events.last(), Some(&Event::Ipv4Down));
    assert_eq!(solo.phase(), Phase::Network);
}

#[test]
fn a_peer_that_rejects_lcp_is_left() {
    let (mut solo, _) = in_network(server_network());
    only(
        &solo.say(LCP, CODE_REJECT, 1, &[CONFIGURE_REQUEST, 1, 0, 4]),
        LCP,
        TERMINATE_REQUEST,
    );
    solo.say(LCP, TERMINATE_ACK, 0, &[]);
    assert_eq!(solo.host.closed(), Some(&Cause::LcpRejected));
}

#[test]
fn a_peer_that_rejects_echoes_is_not_asked_again() {
    let config = LinkConfig {
        echo_interval: Some(Duration::from_secs(10)),
        ..LinkConfig::default()
    };
    let mut solo = Solo::new(Host::new(config, None, server_network()));
    solo.establish();
    let sent = solo.wait(Duration::from_secs(10));
    only(&sent, LCP, ECHO_REQUEST);
    solo.say(LCP, CODE_REJECT, 1, &[ECHO_REQUEST, 1, 0, 8, 0, 0, 0, 0]);
    let sent = solo.wait(Duration::from_secs(15));
    assert!(sent.iter().all(|p| p.protocol != LCP), "{sent:?}");
}

#[test]
fn echoes_are_answered_with_our_magic_number() {
    let (mut solo, _) = in_network(server_network());
    let magic = solo.host.link.status().magic.to_be_bytes();
    let reply = only(
        &solo.say(LCP, ECHO_REQUEST, 77, &[1, 2, 3, 4, 5, 6]),
        LCP,
        ECHO_REPLY,
    );
    assert_eq!(
        (reply.identifier, reply.data),
        (77, [&magic[..], &[5, 6]].concat())
    );
}

#[test]
fn a_reply_that_repeats_our_magic_number_is_a_reply() {
    let config = LinkConfig {
        echo_interval: Some(Duration::from_secs(10)),
        echo_failures: 3,
        ..LinkConfig::default()
    };
    let mut solo = Solo::new(Host::new(config, None, server_network()));
    solo.establish();
    let request = only(&solo.wait(Duration::from_secs(10)), LCP, ECHO_REQUEST);
    solo.now += Duration::from_millis(70);
    solo.say(LCP, ECHO_REPLY, request.identifier, &request.data);
    assert_eq!(
        solo.host.link.status().round_trip,
        Some(Duration::from_millis(70))
    );
    // As a request it is our own, come back.
    only(
        &solo.say(LCP, ECHO_REQUEST, request.identifier, &request.data),
        LCP,
        TERMINATE_REQUEST,
    );
    solo.say(LCP, TERMINATE_ACK, 0, &[]);
    assert_eq!(solo.host.closed(), Some(&Cause::Loopback));
}

#[test]
fn intervals_of_nothing_do_not_hang() {
    let none = Some(Duration::ZERO);
    let config = LinkConfig {
        echo_interval: none,
        echo_failures: 0,
        require_auth: vec![AuthProtocol::ChapMd5],
        chap_interval: none,
        ..LinkConfig::default()
    };
    let mut solo = Solo::new(Host::new(config, None, server_network()));
    let challenge = only(&solo.establish(), Protocol::CHAP, 1);
    let response = chap_response(&challenge, USER);
    solo.say(Protocol::CHAP, 2, challenge.identifier, &response);
    let sent = solo.wait(Duration::from_secs(1));
    assert!(
        sent.iter()
            .all(|p| p.code != ECHO_REQUEST && p.protocol != Protocol::CHAP),
        "{sent:?}"
    );
}

#[test]
fn options_of_a_wrong_length_or_size_are_naked_with_a_right_one() {
    let mut solo = Solo::new(Host::server(&[]));
    for (bad, good) in [
        (vec![1, 3, 5], vec![1, 4, 0x05, 0xdc]),
        (vec![1, 4, 0, 100], vec![1, 4, 0x02, 0x40]),
        (vec![2, 2], vec![2, 6, 0, 0, 0, 0]),
        (vec![7, 3, 0], vec![7, 2]),
        (vec![8, 3, 0], vec![8, 2]),
    ] {
        let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &bad);
        assert_eq!(only(&sent, LCP, CONFIGURE_NAK).data, good);
    }
}

#[test]
fn a_request_that_can_t_be_read_is_not_answered() {
    let mut solo = Solo::new(Host::server(&[]));
    solo.take();
    assert_eq!(
        solo.say(LCP, CONFIGURE_REQUEST, 1, &[5, 6, 1, 2, 3, 4, 1, 9, 0]),
        []
    );
    assert_eq!(solo.host.link.counters().malformed, 1);
}

#[test]
fn an_authentication_protocol_that_we_do_not_speak_is_naked_with_one_that_we_do() {
    let mut solo = Solo::new(Host::usual_client());
    // EAP, and then MS-CHAP of the first version.
    for demand in [&[0xc2, 0x27][..], &[0xc2, 0x23, 0x80]] {
        let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &option(3, demand));
        let nak = only(&sent, LCP, CONFIGURE_NAK);
        assert_eq!(nak.data, option(3, &[0xc2, 0x23, 0x81]));
    }
    let mut solo = Solo::new(Host::server(&[]));
    let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &option(3, &[0xc0, 0x23]));
    assert_eq!(
        only(&sent, LCP, CONFIGURE_REJECT).data,
        option(3, &[0xc0, 0x23])
    );
}

#[test]
fn naks_end_in_rejects_and_rejects_in_the_end() {
    let mut solo = Solo::new(Host::client());
    solo.take();
    let demand = option(3, &[0xc2, 0x27]);
    let mut codes = Vec::new();
    for id in 0..40 {
        codes.extend(
            solo.say(LCP, CONFIGURE_REQUEST, id, &demand)
                .iter()
                .map(|p| p.code),
        );
    }
    assert_eq!(codes[..10], [CONFIGURE_NAK; 10]);
    assert_eq!(codes[10..26], [CONFIGURE_REJECT; 16]);
    assert_eq!(codes[26..], [TERMINATE_REQUEST]);
    solo.say(LCP, TERMINATE_ACK, 0, &[]);
    assert_eq!(solo.host.closed(), Some(&Cause::LcpNotConverged));
}

#[test]
fn options_of_ours_that_the_peer_rejects_are_left_out() {
    let config = LinkConfig {
        mru: 1400,
        ..LinkConfig::default()
    };
    let mut solo = Solo::new(Host::new(config, None, server_network()));
    let first = only(&solo.take(), LCP, CONFIGURE_REQUEST);
    assert_eq!(first.data[..4], [1, 4, 0x05, 0x78]);
    let sent = solo.say(LCP, CONFIGURE_REJECT, first.identifier, &first.data);
    let second = only(&sent, LCP, CONFIGURE_REQUEST);
    assert_eq!(second.data, []);
    assert_ne!(second.identifier, first.identifier);
    // The same answer once more is a duplicate.
    assert_eq!(
        solo.say(LCP, CONFIGURE_REJECT, first.identifier, &first.data),
        []
    );
    solo.say(LCP, CONFIGURE_ACK, second.identifier, &[]);
    solo.say(LCP, CONFIGURE_REQUEST, 1, &[]);
    assert_eq!(solo.phase(), Phase::Network);
    assert_eq!(solo.host.link.status().magic, 0);
}

#[test]
fn an_ack_of_something_else_is_discarded() {
    let mut solo = Solo::new(Host::server(&[]));
    let ours = only(&solo.take(), LCP, CONFIGURE_REQUEST);
    solo.say(LCP, CONFIGURE_REQUEST, 1, &[]);
    solo.say(
        LCP,
        CONFIGURE_ACK,
        ours.identifier.wrapping_add(1),
        &ours.data,
    );
    solo.say(LCP, CONFIGURE_ACK, ours.identifier, &ours.data[1..]);
    assert_eq!(solo.phase(), Phase::Establish);
    assert_eq!(solo.host.link.counters().discarded, 2);
    solo.say(LCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    assert_eq!(solo.phase(), Phase::Network);
}

#[test]
fn a_repeated_request_gets_its_ack_again_without_a_new_negotiation() {
    let (mut solo, _) = in_network(server_network());
    let request = [5, 6, 1, 2, 3, 4];
    for _ in 0..2 {
        let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &request);
        assert_eq!(only(&sent, LCP, CONFIGURE_ACK).data, request);
        assert_eq!(solo.phase(), Phase::Network);
    }
    // A peer that goes on like this has forgotten everything.
    let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &request);
    only(&sent, LCP, CONFIGURE_REQUEST);
    only(&sent, LCP, CONFIGURE_ACK);
    assert_eq!(solo.phase(), Phase::Establish);
}

#[test]
fn a_peer_that_terminates_while_negotiating_is_believed() {
    let mut solo = Solo::new(Host::server(&[]));
    solo.take();
    let sent = solo.say(LCP, TERMINATE_REQUEST, 5, b"not today");
    assert_eq!(only(&sent, LCP, TERMINATE_ACK).identifier, 5);
    solo.say(LCP, TERMINATE_ACK, 0, &[]);
    let cause = Cause::PeerTerminated("not today".to_owned());
    assert_eq!(solo.host.closed(), Some(&cause));
    assert_eq!(cause.to_string(), "the peer terminated the link: not today");
}

#[test]
fn a_server_gives_what_it_has_and_rejects_what_it_has_not() {
    let (mut solo, sent) = in_network(server_network());
    let ours = only(&sent, IPCP, CONFIGURE_REQUEST);
    assert_eq!(ours.data, address(3, SERVER_IP));
    solo.say(IPCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    let zero = Ipv4Addr::UNSPECIFIED;
    let vj = option(2, &[0, 0x2d, 15, 1]);
    let old = option(1, &[0; 8]);
    let ask = |kinds: &[u8]| {
        kinds
            .iter()
            .flat_map(|k| address(*k, zero))
            .collect::<Vec<_>>()
    };
    let request = [&old[..], &vj, &ask(&[3, 129, 130, 131, 132])].concat();
    let reject = only(
        &solo.say(IPCP, CONFIGURE_REQUEST, 1, &request),
        IPCP,
        CONFIGURE_REJECT,
    );
    assert_eq!(
        reject.data,
        [&old[..], &vj, &ask(&[130, 131, 132])].concat()
    );
    let sent = solo.say(IPCP, CONFIGURE_REQUEST, 2, &ask(&[3, 129]));
    let nak = only(&sent, IPCP, CONFIGURE_NAK);
    assert_eq!(
        nak.data,
        [address(3, CLIENT_IP), address(129, DNS)].concat()
    );
    let sent = solo.say(IPCP, CONFIGURE_REQUEST, 3, &nak.data);
    assert_eq!(only(&sent, IPCP, CONFIGURE_ACK).data, nak.data);
    assert_eq!(solo.host.link.status().ipv4, Some((SERVER_IP, CLIENT_IP)));
}

#[test]
fn a_peer_that_names_no_address_is_told_to() {
    let (mut solo, _) = in_network(server_network());
    let nak = only(
        &solo.say(IPCP, CONFIGURE_REQUEST, 1, &[]),
        IPCP,
        CONFIGURE_NAK,
    );
    assert_eq!(nak.data, address(3, CLIENT_IP));
}

#[test]
fn a_peer_keeps_its_own_address_only_where_it_may() {
    let own = Ipv4Addr::new(192, 0, 2, 7);
    let strict = Ipv4Config {
        local: Some(SERVER_IP),
        peer: Some(CLIENT_IP),
        ..Ipv4Config::default()
    };
    let (mut solo, _) = in_network(ipv4(strict));
    let sent = solo.say(IPCP, CONFIGURE_REQUEST, 1, &address(3, own));
    assert_eq!(only(&sent, IPCP, CONFIGURE_NAK).data, address(3, CLIENT_IP));
    let (mut solo, _) = in_network(ipv4(Ipv4Config {
        accept_peer: true,
        ..strict
    }));
    let sent = solo.say(IPCP, CONFIGURE_REQUEST, 1, &address(3, own));
    assert_eq!(only(&sent, IPCP, CONFIGURE_ACK).data, address(3, own));
    let (mut solo, _) = in_network(ipv4(Ipv4Config {
        peer: None,
        ..strict
    }));
    let sent = solo.say(
        IPCP,
        CONFIGURE_REQUEST,
        1,
        &address(3, Ipv4Addr::UNSPECIFIED),
    );
    only(&sent, IPCP, CONFIGURE_REJECT);
    let sent = solo.say(IPCP, CONFIGURE_REQUEST, 1, &address(3, own));
    only(&sent, IPCP, CONFIGURE_ACK);
}

#[test]
fn an_address_that_no_host_can_have_is_not_agreed_on() {
    for absurd in [
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ] {
        let absurd: Ipv4Addr = absurd.parse().unwrap();
        let (mut solo, sent) = in_network(client_network());
        let theirs = solo.say(IPCP, CONFIGURE_REQUEST, 1, &address(3, absurd));
        only(&theirs, IPCP, CONFIGURE_REJECT);
        let ours = only(&sent, IPCP, CONFIGURE_REQUEST);
        let sent = solo.say(IPCP, CONFIGURE_NAK, ours.identifier, &address(3, absurd));
        let again = only(&sent, IPCP, CONFIGURE_REQUEST);
        assert_eq!(again.data, ours.data, "{absurd}");
    }
}

#[test]
fn an_address_of_ours_that_the_peer_will_not_have_ends_the_link() {
    let strict = Ipv4Config {
        local: Some(SERVER_IP),
        ..Ipv4Config::default()
    };
    let (mut solo, mut sent) = in_network(ipv4(strict));
    for _ in 0..11 {
        let ours = only(&sent, IPCP, CONFIGURE_REQUEST);
        assert_eq!(ours.data, address(3, SERVER_IP));
        sent = solo.say(IPCP, CONFIGURE_NAK, ours.identifier, &address(3, CLIENT_IP));
    }
    only(&sent, LCP, TERMINATE_REQUEST);
    solo.say(LCP, TERMINATE_ACK, 0, &[]);
    let cause = Cause::NoNetwork(NetworkCause::NotConverged);
    assert_eq!(solo.host.closed(), Some(&cause));
}

#[test]
fn a_client_without_an_address_has_no_ipv4() {
    let (mut solo, sent) = in_network(client_network());
    let ours = only(&sent, IPCP, CONFIGURE_REQUEST);
    let zero = Ipv4Addr::UNSPECIFIED;
    assert_eq!(
        ours.data,
        [address(3, zero), address(129, zero), address(131, zero)].concat()
    );
    // The peer says yes to 0.0.0.0.
    solo.say(IPCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    solo.say(IPCP, CONFIGURE_REQUEST, 1, &address(3, SERVER_IP));
    assert!(
        !solo
            .host
            .has(|e| matches!(e, Event::Ipv4Up { .. } | Event::Ipv4Down))
    );
    assert_eq!(solo.phase(), Phase::Network);
}

#[test]
fn a_client_does_without_the_dns_servers_that_are_rejected() {
    let (mut solo, sent) = in_network(client_network());
    let ours = only(&sent, IPCP, CONFIGURE_REQUEST);
    let sent = solo.say(IPCP, CONFIGURE_REJECT, ours.identifier, &ours.data[6..]);
    let ours = only(&sent, IPCP, CONFIGURE_REQUEST);
    assert_eq!(ours.data, address(3, Ipv4Addr::UNSPECIFIED));
    let sent = solo.say(IPCP, CONFIGURE_NAK, ours.identifier, &address(3, CLIENT_IP));
    let ours = only(&sent, IPCP, CONFIGURE_REQUEST);
    solo.say(IPCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    solo.say(IPCP, CONFIGURE_REQUEST, 1, &address(3, SERVER_IP));
    let up = Event::Ipv4Up {
        local: CLIENT_IP,
        peer: SERVER_IP,
        dns: [None, None],
    };
    assert_eq!(solo.host.events.last(), Some(&up));
}

#[test]
fn interface_identifiers_that_are_missing_zero_or_ours_are_naked() {
    let (mut solo, sent) = in_network(NetworkConfig {
        ipv4: None,
        ..server_network()
    });
    let ours = only(&sent, IPV6CP, CONFIGURE_REQUEST);
    for bad in [
        vec![],
        option(1, &[0; 8]),
        option(1, &[1, 2]),
        ours.data.clone(),
    ] {
        let nak = only(
            &solo.say(IPV6CP, CONFIGURE_REQUEST, 1, &bad),
            IPV6CP,
            CONFIGURE_NAK,
        );
        assert_eq!(nak.data[..2], [1, 10]);
        assert_ne!(nak.data, ours.data);
        assert_ne!(nak.data[2..], [0; 8]);
    }
    let fine = option(1, &[0, 0, 0, 0, 0, 0, 0, 1]);
    only(
        &solo.say(IPV6CP, CONFIGURE_REQUEST, 1, &fine),
        IPV6CP,
        CONFIGURE_ACK,
    );
    // Ours collides in the peer's eyes: another one, the one that it suggests.
    let better = option(1, &[2; 8]);
    let sent = solo.say(IPV6CP, CONFIGURE_NAK, ours.identifier, &better);
    let ours = only(&sent, IPV6CP, CONFIGURE_REQUEST);
    assert_eq!(ours.data, better);
    solo.say(IPV6CP, CONFIGURE_ACK, ours.identifier, &ours.data);
    let up = Event::Ipv6Up {
        local_id: [2; 8],
        peer_id: [0, 0, 0, 0, 0, 0, 0, 1],
    };
    assert_eq!(solo.host.events.last(), Some(&up));
}

#[test]
fn the_last_network_layer_takes_the_link_with_it() {
    let (mut solo, sent) = in_network(ipv4(Ipv4Config {
        local: Some(SERVER_IP),
        ..Ipv4Config::default()
    }));
    let ours = only(&sent, IPCP, CONFIGURE_REQUEST);
    solo.say(IPCP, CONFIGURE_ACK, ours.identifier, &ours.data);
    solo.say(IPCP, CONFIGURE_REQUEST, 1, &address(3, CLIENT_IP));
    let sent = solo.say(IPCP, TERMINATE_REQUEST, 2, &[]);
    only(&sent, IPCP, TERMINATE_ACK);
    only(&sent, LCP, TERMINATE_REQUEST);
    solo.say(LCP, TERMINATE_ACK, 0, &[]);
    assert_eq!(
        solo.host.closed(),
        Some(&Cause::NoNetwork(NetworkCause::Terminated))
    );
}

/// A Response to a CHAP-MD5 Challenge, of a peer that knows the password and gives this name.
fn chap_response(challenge: &Sent, name: &str) -> Vec<u8> {
    let proof = crypto::chap::response(
        challenge.identifier,
        PASSWORD.as_bytes(),
        &challenge.data[1..17],
    );
    [&[16], &proof[..], name.as_bytes()].concat()
}

#[test]
fn a_repeated_response_or_request_gets_the_same_verdict() {
    let mut solo = Solo::new(Host::server(&[AuthProtocol::ChapMd5]));
    let challenge = only(&solo.establish(), Protocol::CHAP, 1);
    assert_eq!(challenge.data[0], 16);
    assert_eq!(challenge.data[17..], *b"lns");
    let response = chap_response(&challenge, USER);
    let sent = solo.say(Protocol::CHAP, 2, challenge.identifier, &response);
    let success = only(&sent, Protocol::CHAP, 3);
    for _ in 0..3 {
        let sent = solo.say(Protocol::CHAP, 2, challenge.identifier, &response);
        assert_eq!(sent, std::slice::from_ref(&success));
    }
    assert_eq!(
        solo.say(
            Protocol::CHAP,
            2,
            challenge.identifier.wrapping_add(1),
            &response
        ),
        []
    );

    let mut solo = Solo::new(Host::server(&[AuthProtocol::Pap]));
    solo.establish();
    let request = [&[2], USER.as_bytes(), &[2], PASSWORD.as_bytes()].concat();
    for id in [4, 5, 6] {
        let sent = solo.say(Protocol::PAP, 1, id, &request);
        assert_eq!(only(&sent, Protocol::PAP, 2).identifier, id);
    }
    let attempts = solo
        .host
        .events
        .iter()
        .filter(|e| matches!(e, Event::Authenticate(_)));
    assert_eq!(attempts.count(), 1);
}

#[test]
fn nobody_becomes_another_user_by_a_later_challenge() {
    let config = LinkConfig {
        require_auth: vec![AuthProtocol::ChapMd5],
        chap_interval: Some(Duration::from_secs(10)),
        ..LinkConfig::default()
    };
    let mut host = Host::new(config, None, server_network());
    host.any_user = true;
    let mut solo = Solo::new(host);
    let mut sent = solo.establish();
    for (name, verdict) in [(USER, 3), (USER, 3), ("somebody else", 4)] {
        let challenge = only(&sent, Protocol::CHAP, 1);
        let response = chap_response(&challenge, name);
        let answer = solo.say(Protocol::CHAP, 2, challenge.identifier, &response);
        only(&answer, Protocol::CHAP, verdict);
        sent = solo.wait(Duration::from_secs(10));
    }
    assert!(matches!(
        solo.host.closed(),
        Some(Cause::PeerNotAuthenticated(_))
    ));
}

#[test]
fn a_long_message_is_cut_where_a_character_ends() {
    let verdict = ppp::Verdict::Reject {
        message: "ä".repeat(500),
    };
    for auth in AuthProtocol::ALL {
        let mut host = Host::server(&[auth]);
        host.thinking = Duration::from_secs(3600);
        let mut pair = Pair::new(host, Host::client());
        pair.open(Duration::from_secs(1));
        let now = pair.now;
        pair.hosts[SERVER]
            .link
            .authenticated(1, verdict.clone(), now, &mut rng(0));
        pair.inject(SERVER, &[]);
        pair.run(Duration::from_secs(1));
        let told = Cause::NotAuthenticated("ä".repeat(127));
        assert_eq!(pair.client().closed(), Some(&told), "{auth}");
    }
}

#[test]
fn a_control_protocol_whose_codes_are_rejected_goes_down() {
    let (mut solo, _) = in_network(server_network());
    solo.say(IPV6CP, CODE_REJECT, 1, &[CONFIGURE_REQUEST, 1, 0, 4]);
    assert_eq!(solo.phase(), Phase::Network);
    solo.say(IPCP, CODE_REJECT, 1, &[CONFIGURE_REQUEST, 1, 0, 4]);
    solo.say(LCP, TERMINATE_ACK, 0, &[]);
    assert_eq!(
        solo.host.closed(),
        Some(&Cause::NoNetwork(NetworkCause::Rejected))
    );
}

#[test]
fn an_open_link_is_small() {
    assert!(size_of::<ppp::Link>() <= 600, "{}", size_of::<ppp::Link>());
}
