//! A link whose peer is at the other end of a LAC's line, and the LAC said what that line wants and allows (RFC 3437).
#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use common::*;
use ppp::LinkConfig;
use wire::ppp::Protocol;
use wire::ppp::iana::code::{CONFIGURE_ACK, CONFIGURE_NAK, CONFIGURE_REJECT, CONFIGURE_REQUEST};

const LCP: Protocol = Protocol::LCP;

fn mru(octets: u16) -> Vec<u8> {
    option(1, &octets.to_be_bytes())
}

fn accm(map: u32) -> Vec<u8> {
    option(2, &map.to_be_bytes())
}

const PFC: [u8; 2] = [7, 2];
const ACFC: [u8; 2] = [8, 2];

/// A server without authentication whose LAC said so, and its first Configure-Request.
fn guided(wanted: Option<&[u8]>, allowed: Option<&[u8]>) -> (Solo, Sent) {
    let config = LinkConfig {
        mru: 1400,
        ..LinkConfig::default()
    };
    let config = config.guided(wanted, allowed);
    let mut solo = Solo::new(Host::new(config, None, server_network()));
    let request = only(&solo.take(), LCP, CONFIGURE_REQUEST);
    (solo, request)
}

/// The options of a request but its magic number.
fn options(request: &Sent) -> Vec<u8> {
    let all = request.packet().options().map(Result::unwrap);
    all.filter(|o| o.kind != 5)
        .flat_map(|o| option(o.kind, o.data))
        .collect()
}

#[test]
fn what_the_lac_wants_is_asked_for_as_far_as_we_can() {
    let wanted = [&mru(1300)[..], &accm(0xa0000), &PFC, &ACFC].concat();
    assert_eq!(options(&guided(Some(&wanted), None).1), wanted);
    // No more than we receive; what is none of the line's business, is unknown or can't be read is left alone.
    let other = [&mru(1500)[..], &option(5, &[1, 2, 3, 4]), &option(9, &[2])].concat();
    assert_eq!(options(&guided(Some(&other), None).1), mru(1400));
    assert_eq!(
        options(&guided(Some(&[7, 2, 8, 9]), None).1),
        [&mru(1400)[..], &PFC].concat()
    );
    assert_eq!(options(&guided(None, None).1), mru(1400));
}

#[test]
fn a_peer_that_will_not_have_what_the_lac_wants_is_not_pressed() {
    let wanted = [&accm(0xa0000)[..], &PFC, &ACFC].concat();
    let (mut solo, request) = guided(Some(&wanted), None);
    // It escapes more than it is asked to, which is its right.
    let sent = solo.say(LCP, CONFIGURE_NAK, request.identifier, &accm(0x1));
    let request = only(&sent, LCP, CONFIGURE_REQUEST);
    assert_eq!(
        options(&request),
        [&mru(1400)[..], &accm(0xa0001), &PFC, &ACFC].concat()
    );
    let refused = [&accm(0xa0001)[..], &PFC, &ACFC].concat();
    let sent = solo.say(LCP, CONFIGURE_REJECT, request.identifier, &refused);
    let request = only(&sent, LCP, CONFIGURE_REQUEST);
    assert_eq!(options(&request), mru(1400));
    assert_eq!(solo.host.link.own_accm(), u32::MAX);
}

#[test]
fn nothing_is_agreed_to_that_the_lac_does_not_allow() {
    let allowed = [&mru(1400)[..], &accm(0xa0000), &PFC].concat();
    let (mut solo, _) = guided(None, Some(&allowed));
    // What is not allowed at all is rejected; what is allowed otherwise is Naked with that.
    let asked = [&mru(1492)[..], &accm(0xa0003), &PFC, &ACFC].concat();
    let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &asked);
    assert_eq!(only(&sent, LCP, CONFIGURE_REJECT).data, ACFC);
    let asked = [&mru(1492)[..], &accm(0xa0003), &PFC].concat();
    let sent = solo.say(LCP, CONFIGURE_REQUEST, 2, &asked);
    let better = [&mru(1400)[..], &accm(0xa0000)].concat();
    assert_eq!(only(&sent, LCP, CONFIGURE_NAK).data, better);
    // Authentication and magic numbers are no business of the line's.
    let asked = [&better[..], &PFC, &option(5, &[1, 2, 3, 4])].concat();
    let sent = solo.say(LCP, CONFIGURE_REQUEST, 3, &asked);
    only(&sent, LCP, CONFIGURE_ACK);
    // A list that is there and empty allows none of them.
    let (mut solo, _) = guided(None, Some(&[]));
    let asked = [&mru(1400)[..], &accm(0), &PFC, &ACFC].concat();
    let sent = solo.say(LCP, CONFIGURE_REQUEST, 1, &asked);
    assert_eq!(only(&sent, LCP, CONFIGURE_REJECT).data, asked);
}

#[test]
fn the_requests_that_led_to_an_open_link_are_known() {
    let (mut solo, request) = guided(Some(&accm(0)), None);
    assert_eq!(solo.host.link.lcp_requests(), None);
    let peers = [&accm(0xff)[..], &PFC, &option(5, &[1, 2, 3, 4])].concat();
    solo.say(LCP, CONFIGURE_REQUEST, 1, &peers);
    solo.say(LCP, CONFIGURE_ACK, request.identifier, &request.data);
    let link = &solo.host.link;
    assert_eq!(link.lcp_requests(), Some((request.data, peers)));
    assert_eq!((link.peer_accm(), link.own_accm()), (0xff, 0));
}
