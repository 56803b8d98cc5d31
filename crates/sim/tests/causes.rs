//! Why PPP ended, as the LAC shows it (RFC 3145): each common end brought about, and its code as it came over the link.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use std::time::Duration;

use api::{PppDisconnect, Selector, SessionState};
use common::{LAC, LNS, Pair, ask, sessions};
use engine::Command;

const MILLISECOND: Duration = Duration::from_millis(1);

const LCP: u16 = 0xc021;
const CHAP: u16 = 0xc223;
const IPCP: u16 = 0x8021;

/// An LNS that gives up soon, and lets its link end so.
const HASTY: &str = "
    ppp profile modify profile_name=default lcp_max_config_requests=2 lcp_echo_interval=5 lcp_echo_failure_count=2 \\
        chap_max_challenge=2 chap_restart=1
";

/// A LAC and an LNS with such lines in their PPP profiles.
fn pair(lac: &str, lns: &str) -> Pair {
    let profile = |more: &str| match more {
        "" => String::new(),
        more => format!("ppp profile modify profile_name=default {more}\n"),
    };
    Pair::new(
        &format!("{}{LAC}", profile(lac)),
        &format!("{LNS}{HASTY}{}", profile(lns)),
    )
}

/// Runs until the LNS's session is in a state.
fn until(pair: &mut Pair, state: SessionState) {
    let lns = pair.lns;
    let there = pair
        .world
        .run_until(MILLISECOND * 2_000, MILLISECOND, |world| {
            sessions(world, lns)
                .first()
                .is_some_and(|s| s.state == state)
        });
    assert!(there, "{state:?}");
}

/// What the LAC shows as the reason of its session's end, once that has come to it.
fn shown(pair: &mut Pair) -> PppDisconnect {
    let lac = pair.lac;
    let known = |world: &mut sim::World| sessions(world, lac)[0].last_end.is_some();
    let second = MILLISECOND * 1_000;
    assert!(pair.world.run_until(second * 120, second, known));
    let end = sessions(&mut pair.world, lac).remove(0).last_end.unwrap();
    let cause = end.ppp_cause.clone();
    cause.unwrap_or_else(|| panic!("{end:?}"))
}

/// As the LNS said it: code, protocol, direction.
fn said(pair: &mut Pair) -> (u16, u16, u8) {
    let cause = shown(pair);
    assert!(cause.text.is_some() && cause.message.is_some(), "{cause:?}");
    let lac = pair.lac;
    let end = sessions(&mut pair.world, lac).remove(0).last_end.unwrap();
    assert!(end.by.contains("peer"), "{end:?}");
    (cause.code, cause.protocol, cause.direction)
}

/// Lets the LAC's line be dead until the LNS gives up its link, which takes less than 25 seconds.
fn dead_line(pair: &mut Pair, seconds: u64) {
    pair.world.cut_off(pair.lac, true);
    pair.run(seconds);
    pair.world.cut_off(pair.lac, false);
}

#[test]
fn an_administrator_ended_it() {
    let mut pair = pair("", "");
    let (_, s) = pair.up();
    let which = [s.tunnel_id, s.session_id].map(|id| Selector::Id(id.unwrap()));
    let [tunnel, session] = which;
    ask(
        &mut pair.world,
        pair.lns,
        Command::SessionDelete(tunnel, session),
    )
    .unwrap();
    assert_eq!(said(&mut pair), (1, 0, 0));
}

#[test]
fn the_client_terminated_it() {
    let mut pair = pair("", "");
    pair.up();
    pair.client_says(&[0xff, 0x03, 0xc0, 0x21, 5, 99, 0, 4]);
    assert_eq!(said(&mut pair), (3, 0, 1));
}

#[test]
fn lcp_timed_out() {
    let mut pair = pair("", "");
    until(&mut pair, SessionState::Link);
    // Something was heard, which may have been no request.
    pair.client_says(&[0xff, 0x03, 0xc0, 0x21, 12, 1, 0, 8, 1, 2, 3, 4]);
    dead_line(&mut pair, 10);
    assert_eq!(said(&mut pair), (5, LCP, 0));
}

#[test]
fn nothing_of_lcp_was_heard() {
    let mut pair = pair("lcp_retransmit_interval=60", "");
    // The client's first request gets lost with all that it says later.
    let lac = pair.lac;
    let placed = |world: &mut sim::World| {
        let all = sessions(world, lac);
        all.first()
            .is_some_and(|s| s.state == SessionState::WaitConnect || s.state == SessionState::Link)
    };
    assert!(
        pair.world
            .run_until(MILLISECOND * 2_000, MILLISECOND, placed)
    );
    dead_line(&mut pair, 10);
    assert_eq!(said(&mut pair), (6, LCP, 0));
}

#[test]
fn echo_requests_had_no_answer() {
    let mut pair = pair("", "");
    pair.up();
    dead_line(&mut pair, 18);
    assert_eq!(said(&mut pair), (8, LCP, 0));
}

#[test]
fn authentication_timed_out() {
    let mut pair = pair("", "");
    until(&mut pair, SessionState::Authenticating);
    dead_line(&mut pair, 4);
    assert_eq!(said(&mut pair), (13, CHAP, 0));
}

#[test]
fn no_authentication_protocol_is_common() {
    let mut pair = pair("auth_chap=no auth_mschapv2=no", "auth_pap=no");
    assert_eq!(said(&mut pair), (15, CHAP, 1));
}

#[test]
fn the_password_was_wrong() {
    let wrong = LAC.replace("wonderland", "guess");
    let mut pair = Pair::new(&wrong, &format!("{LNS}{HASTY}"));
    let cause = shown(&mut pair);
    assert_eq!((cause.code, cause.protocol), (16, CHAP));
}

#[test]
fn the_network_layer_timed_out() {
    let mut pair = pair("", "ipcp_max_config_requests=2 use_ipv6=no");
    until(&mut pair, SessionState::Network);
    dead_line(&mut pair, 8);
    assert_eq!(said(&mut pair), (17, IPCP, 0));
}

#[test]
fn no_network_layer_is_common() {
    let mut pair = pair("use_ipv6=no", "use_ipv4=no");
    assert_eq!(shown(&mut pair).code, 18);
}

#[test]
fn no_address_was_agreed_on() {
    let mut pair = pair("local_ipaddr=172.16.0.1 use_ipv6=no", "use_ipv6=no");
    let cause = shown(&mut pair);
    assert_eq!((cause.code, cause.protocol), (19, IPCP));
}
