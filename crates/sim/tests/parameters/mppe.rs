use api::SessionStatus;
use wire::ppp::Protocol;
use wire::ppp::iana::{ccp_option, chap_algorithm, code, lcp_option};

use crate::common::{LNS, Pair, established};
use crate::{lac, with_ppp};

/// The session at the LAC and at the LNS, whose default PPP profiles have these parameters.
fn up(at_lac: &str, at_lns: &str) -> [SessionStatus; 2] {
    let mut pair = Pair::new(&with_ppp(&lac(""), at_lac), &with_ppp(LNS, at_lns));
    pair.up().into()
}

/// What both ends say of the encryption between them.
fn agreed(at_lac: &str, at_lns: &str) -> Option<String> {
    let [ours, theirs] = up(at_lac, at_lns).map(|session| session.mppe);
    assert_eq!(ours, theirs, "{at_lac} -> {at_lns}");
    ours
}

#[test]
fn mppe_encrypts_where_both_ends_may_and_ends_the_session_where_one_must_and_the_other_does_not() {
    let best = Some("128 stateless".to_owned());
    for (at_lac, at_lns, said) in [
        ("mppe=required", "mppe=required", &best),
        ("mppe=optional", "mppe=required", &best),
        ("mppe=optional", "mppe=optional", &best),
        ("mppe=optional", "", &None),
        ("", "mppe=optional", &None),
        ("", "", &None),
    ] {
        assert_eq!(agreed(at_lac, at_lns), *said, "{at_lac} -> {at_lns}");
    }
    for (at_lac, at_lns, who) in [("", "mppe=required", 1), ("mppe=required", "", 0)] {
        let mut pair = Pair::new(&with_ppp(&lac(""), at_lac), &with_ppp(LNS, at_lns));
        pair.run(20);
        assert_eq!(established(&mut pair.world, 1), 0);
        let ends = pair.ends(who);
        assert!(ends[0].contains("packets are not encrypted"), "{ends:?}");
        let ends = pair.ends(1 - who);
        assert!(ends[0].contains("packets are not encrypted"), "{ends:?}");
    }
}

#[test]
fn mppe_when_required_lets_nothing_but_ms_chap_authenticate() {
    let lns = with_ppp(LNS, "mppe=required");
    let mut pair = Pair::new(&with_ppp(&lac(""), "auth_mschapv2=no"), &lns);
    let requests = pair.listen((1, Protocol::LCP, code::CONFIGURE_REQUEST), 10);
    assert!(!requests.is_empty());
    let ms_chap = [0xc2, 0x23, chap_algorithm::MS_CHAP_V2];
    for request in requests {
        let asked = request.option(lcp_option::AUTHENTICATION);
        assert_eq!(asked, Some(&ms_chap[..]));
    }
    assert_eq!(established(&mut pair.world, 1), 0);
    // Where it is optional, a peer that can't is none the worse.
    let lac = with_ppp(&lac(""), "auth_mschapv2=no mppe=optional");
    let mut pair = Pair::new(&lac, &with_ppp(LNS, "mppe=optional"));
    let (session, _) = pair.up();
    assert_eq!(session.mppe, None);
}

#[test]
fn mppe_takes_four_octets_of_each_packet() {
    let mtu = |parameters: &str| up(parameters, parameters).map(|session| session.mtu.unwrap());
    let plain = mtu("");
    assert_eq!(mtu("mppe=required"), plain.map(|mtu| mtu - 4));
    assert_eq!(mtu("mppe=required mtu=600"), [596; 2]);
}

#[test]
fn mppe_bits_is_how_long_the_keys_are() {
    for bits in ["40", "56", "128"] {
        let only = format!("mppe=required mppe_bits={bits}");
        let said = Some(format!("{bits} stateless"));
        assert_eq!(agreed("mppe=required", &only), said);
        assert_eq!(agreed(&only, "mppe=optional mppe_bits=any"), said);
        assert_eq!(agreed(&only, &only), said);
    }
    let (short, long) = ("mppe=optional mppe_bits=40", "mppe=optional mppe_bits=128");
    assert_eq!(agreed(short, long), None);
    let mut pair = Pair::new(
        &with_ppp(&lac(""), short),
        &with_ppp(LNS, "mppe=required mppe_bits=128"),
    );
    pair.run(60);
    assert_eq!(established(&mut pair.world, 1), 0);
}

#[test]
fn mppe_stateful_asks_for_stateful_mode_and_takes_the_other() {
    let stateful = "mppe=required mppe_stateful=yes";
    for (at_lac, at_lns, said) in [
        (stateful, stateful, "128 stateful"),
        (stateful, "mppe=required", "128 stateless"),
        ("mppe=required", stateful, "128 stateless"),
    ] {
        assert_eq!(agreed(at_lac, at_lns).as_deref(), Some(said));
    }
    let lac = with_ppp(&lac(""), stateful);
    let mut pair = Pair::new(&lac, &with_ppp(LNS, "mppe=required"));
    let requests = pair.listen((0, Protocol::CCP, code::CONFIGURE_REQUEST), 10);
    assert_eq!(
        requests[0].option(ccp_option::MPPE),
        Some(&[0, 0, 0, 0xe0][..])
    );
}
