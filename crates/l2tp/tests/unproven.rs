//! What is sent to a peer that asked for a tunnel and has not shown that it is where its SCCRQ says it came from.

mod common;

use std::time::Duration;

use common::{LNS_ID, Message, Puppet, config, encode, just, sccrq, secret_config, stop_ccn};
use l2tp::{EndedBy, Event, StopReason, TunnelConfig, TunnelState, decode_sccrq};
use wire::l2tp::{Attribute, ControlHeader, MessageType};

const SECOND: Duration = Duration::from_secs(1);
const TO_TUNNEL_0: ControlHeader = ControlHeader {
    tunnel_id: 0,
    session_id: 0,
    ns: 0,
    nr: 0,
};

fn octets(messages: &[Message]) -> usize {
    messages
        .iter()
        .map(|m| ControlHeader::LEN + m.octets.len())
        .sum()
}

/// The longest answer that there is: names of 255 octets, a challenge and a response.
fn long_answers() -> TunnelConfig {
    TunnelConfig {
        host_name: "h".repeat(255),
        vendor_name: "v".repeat(255),
        ..secret_config("s3cret")
    }
}

#[test]
fn who_never_answers_is_sent_three_times_what_it_sent_at_most() {
    for config in [config(), secret_config("s3cret"), long_answers()] {
        let request = encode(&TO_TUNNEL_0, &sccrq(77));
        let (mut puppet, first) = Puppet::asking(config, &sccrq(77));
        let mut sent = octets(&first) + octets(&puppet.wait(100 * SECOND));
        assert!(sent <= 3 * request.len(), "{sent} for {}", request.len());
        assert_eq!(puppet.tunnel.state(), TunnelState::Released);
        sent += octets(&puppet.take());
        assert!(sent <= 3 * request.len());
        let events = puppet.events();
        assert!(
            matches!(events.as_slice(), [Event::Closed { reason }, Event::Released] if reason.by == EndedBy::Timeout),
            "{events:?}"
        );
    }
}

#[test]
fn an_answer_that_is_too_long_waits_until_the_peer_has_asked_often_enough() {
    let request = encode(&TO_TUNNEL_0, &sccrq(77));
    let (mut puppet, first) = Puppet::asking(long_answers(), &sccrq(77));
    assert_eq!(first, []);
    let (mut sent, mut requests) = (Vec::new(), 1);
    while sent.is_empty() {
        puppet.wait(SECOND);
        puppet.deliver(&request);
        requests += 1;
        sent = puppet.take();
    }
    assert_eq!(sent[0].message_type, Some(MessageType::SCCRP));
    assert!(octets(&sent) > 3 * (requests - 1) * request.len());
    assert!(octets(&sent) <= 3 * requests * request.len());

    puppet.send(0, &just(MessageType::SCCCN));
    assert!(puppet.tunnel.is_proven());
}

#[test]
fn what_is_to_our_tunnel_id_proves_the_peer_unless_it_acknowledges_what_was_never_sent() {
    let (mut puppet, _) = Puppet::receiver(config(), &sccrq(77));
    for nr in [2, 3, 1000] {
        let header = ControlHeader {
            tunnel_id: LNS_ID,
            ns: 1,
            nr,
            ..TO_TUNNEL_0
        };
        puppet.deliver(&encode(&header, &[]));
        assert!(!puppet.tunnel.is_proven(), "Nr {nr}");
    }
    puppet.acknowledge();
    assert!(puppet.tunnel.is_proven());
    assert!(
        Puppet::originator(config()).0.tunnel.is_proven(),
        "we asked"
    );
}

#[test]
fn only_the_same_sccrq_of_an_unproven_peer_repeats_it() {
    let mut renamed = sccrq(77);
    renamed.retain(|a| !matches!(a, Attribute::HostName(_)));
    renamed.push(Attribute::HostName(b"somebody.else"));
    let request =
        |attributes: &[Attribute<'_>]| decode_sccrq(&encode(&TO_TUNNEL_0, attributes)).unwrap();
    let (mut puppet, _) = Puppet::receiver(config(), &sccrq(77));
    assert!(puppet.tunnel.is_repeated_by(&request(&sccrq(77))));
    assert!(!puppet.tunnel.is_repeated_by(&request(&renamed)));
    puppet.acknowledge();
    assert!(!puppet.tunnel.is_repeated_by(&request(&sccrq(77))));
}

#[test]
fn an_unproven_peer_learns_of_the_end_only_where_it_asks_for_it() {
    let (mut puppet, _) = Puppet::receiver(config(), &sccrq(77));
    puppet.tunnel.close(StopReason::clear("enough"));
    assert_eq!(puppet.take(), []);
    assert_eq!(puppet.tunnel.state(), TunnelState::Released);

    // Its own StopCCN is acknowledged, and a message out of place answered.
    let (mut puppet, _) = Puppet::receiver(config(), &sccrq(77));
    let second = ControlHeader {
        ns: 1,
        ..TO_TUNNEL_0
    };
    puppet.deliver(&encode(&second, &stop_ccn(77)));
    assert_eq!(puppet.take_types(), [None]);
    let (mut puppet, _) = Puppet::receiver(config(), &sccrq(77));
    puppet.deliver(&encode(&second, &sccrq(77)));
    assert_eq!(puppet.tunnel.state(), TunnelState::Closing);
    let sent = puppet.wait(100 * SECOND);
    assert!(octets(&sent) <= 3 * 2 * encode(&TO_TUNNEL_0, &sccrq(77)).len());
    assert_eq!(puppet.tunnel.state(), TunnelState::Released);
}

#[test]
fn a_message_to_tunnel_0_counts_only_while_the_peer_may_not_know_our_id_and_if_it_is_next() {
    let stop = |ns| {
        let header = ControlHeader { ns, ..TO_TUNNEL_0 };
        encode(&header, &stop_ccn(77))
    };
    let (mut puppet, _) = Puppet::receiver(config(), &sccrq(77));
    puppet.deliver(&stop(2));
    puppet.acknowledge();
    puppet.deliver(&stop(1));
    assert_eq!(puppet.tunnel.state(), TunnelState::WaitCtlConn);
    puppet.send(0, &just(MessageType::SCCCN));
    assert_eq!(
        puppet.tunnel.state(),
        TunnelState::Established,
        "nothing was kept"
    );
    puppet.deliver(&stop(2));
    assert_eq!(puppet.tunnel.state(), TunnelState::Established);
}

#[test]
fn a_tunnel_is_abandoned_without_a_word() {
    let mut puppet = Puppet::established_receiver(config());
    puppet
        .tunnel
        .abandon(StopReason::clear("the peer began anew"));
    assert_eq!(puppet.take(), []);
    assert!(matches!(
        puppet.events().as_slice(),
        [Event::Closed { .. }, Event::Released]
    ));
    puppet.tunnel.abandon(StopReason::clear("again"));
    assert_eq!(puppet.events(), []);
}

#[test]
fn a_refusal_is_short_enough_for_the_shortest_request() {
    let minimal = encode(
        &TO_TUNNEL_0,
        &[
            Attribute::MessageType(MessageType::SCCRQ),
            Attribute::AssignedTunnelId(77),
        ],
    );
    let request = decode_sccrq(&minimal).unwrap();
    let reason = StopReason::not_authorized("because ".repeat(20));
    let (datagram, _) = request.refuse(9, &reason);
    assert!(datagram.len() <= 3 * minimal.len());
    assert_eq!(Message::new(&datagram).result(), (4, None, String::new()));
}
