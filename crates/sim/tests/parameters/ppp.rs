use std::net::{IpAddr, Ipv4Addr};

use sim::NodeId;
use wire::ppp::Protocol;
use wire::ppp::iana::{chap_code, code, ipcp_option, lcp_option, pap_code};

use crate::common::{LNS, Pair, established, sessions};
use crate::frames::{Said, mrus};
use crate::{lac, with_ppp};

#[test]
fn idle_timeout_ends_a_session_without_traffic_and_says_why() {
    let mut pair = Pair::new(&lac(""), &with_ppp(LNS, "idle_timeout=80"));
    pair.up();
    for _ in 0..4 {
        pair.run(60);
        pair.world.count_packets(pair.lns, 1);
    }
    pair.run(75);
    assert_eq!(established(&mut pair.world, pair.lns), 1);
    pair.run(20);
    assert_eq!(established(&mut pair.world, pair.lns), 0);
    let ends = pair.ends(pair.lac);
    assert!(ends.iter().any(|end| end.contains("idle")), "{ends:?}");
}

#[test]
fn max_connect_time_ends_a_session_with_traffic_too() {
    let mut pair = Pair::new(&lac(""), &with_ppp(LNS, "max_connect_time=100"));
    pair.up();
    for _ in 0..9 {
        pair.run(11);
        pair.world.count_packets(pair.lns, 1);
    }
    assert_eq!(established(&mut pair.world, pair.lns), 1);
    pair.run(5);
    assert_eq!(established(&mut pair.world, pair.lns), 0);
}

#[test]
fn max_failure_count_gives_a_session_up_that_fails_as_often() {
    let wrong = "tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes
         session create tunnel_name=t session_name=s user_name=alice user_password=wrong\n";
    let attempts = |most: u32| {
        let lac = with_ppp(wrong, &format!("max_failure_count={most}"));
        let mut pair = Pair::new(&lac, LNS);
        pair.run(300);
        let waits = !sessions(&mut pair.world, 0).is_empty();
        (pair.ends(0).len(), waits)
    };
    assert_eq!(attempts(3), (3, false));
    let (many, waits) = attempts(0);
    assert!(many > 5 && waits);
}

#[test]
fn sync_mode_asks_a_synchronous_line_for_no_map_of_characters() {
    for (mode, map) in [
        ("sync", None),
        ("async", Some(0xa0000)),
        ("any", Some(0xa0000)),
    ] {
        let asked = format!("asyncmap=0xa0000 sync_mode={mode}");
        let async_line = lac("") + "session profile modify profile_name=default framing_type=async";
        let mut pair = Pair::new(&with_ppp(&async_line, &asked), LNS);
        pair.up();
        pair.run(1);
        let line = sessions(&mut pair.world, pair.lac).remove(0).line.unwrap();
        assert_eq!(line.accm.map(|maps| maps.0), map, "{mode}");
    }
}

/// A LAC without a name and a password to give.
const NOBODY: &str = "
    tunnel create tunnel_name=t dest_ipaddr=192.0.2.2 persist=yes
    session create tunnel_name=t session_name=s
";

/// Whether a node asks the other, in LCP, to authenticate itself.
fn demands(pair: &mut Pair, node: NodeId) -> bool {
    let requests = pair.listen((node, Protocol::LCP, code::CONFIGURE_REQUEST), 3);
    assert!(!requests.is_empty());
    requests
        .iter()
        .any(|request| request.option(lcp_option::AUTHENTICATION).is_some())
}

#[test]
fn auth_none_lets_a_peer_do_without_authentication() {
    for (auth_none, comes_up) in [("no", false), ("yes", true)] {
        let lns = with_ppp(LNS, &format!("auth_none={auth_none}"));
        let mut pair = Pair::new(NOBODY, &lns);
        assert_eq!(demands(&mut pair, 1), !comes_up);
        assert_eq!(established(&mut pair.world, 1) == 1, comes_up);
    }
}

#[test]
fn auth_peer_says_whether_the_other_end_has_to_authenticate_whoever_it_is() {
    let mut pair = Pair::new(NOBODY, &with_ppp(LNS, "auth_peer=no"));
    assert!(!demands(&mut pair, 1));
    assert_eq!(established(&mut pair.world, 1), 1);

    // Our LNS has nothing to prove itself by.
    let mut pair = Pair::new(&with_ppp(&lac(""), "auth_peer=yes"), LNS);
    assert!(demands(&mut pair, 0));
    assert_eq!(established(&mut pair.world, 0), 0);
    let ends = pair.ends(0);
    assert!(ends[0].contains("authenticat"), "{ends:?}");

    let lns = with_ppp(LNS, "auth_none=yes auth_peer=yes");
    let mut pair = Pair::new(NOBODY, &lns);
    assert!(demands(&mut pair, 1));
}

/// The algorithms of CHAP that a node asks the other, in LCP, to authenticate itself by.
fn algorithms(pair: &mut Pair, node: NodeId) -> Vec<u8> {
    let requests = pair.listen((node, Protocol::LCP, code::CONFIGURE_REQUEST), 3);
    let options = requests
        .iter()
        .filter_map(|request| request.option(lcp_option::AUTHENTICATION));
    let of_chap = options.filter_map(|option| option.strip_prefix(&[0xc2, 0x23]));
    of_chap.map(|algorithm| algorithm[0]).collect()
}

#[test]
fn auth_mschapv1_has_to_be_wanted_at_both_ends_and_comes_after_what_is_better() {
    const NOTHING_ELSE: &str = "auth_pap=no auth_chap=no auth_mschapv2=no auth_mschapv1=yes";
    for (at_lac, at_lns, asked, comes_up) in [
        ("auth_mschapv1=yes", NOTHING_ELSE, vec![0x80], true),
        ("", NOTHING_ELSE, vec![0x80], false),
        (NOTHING_ELSE, "", vec![0x81, 0x05], false),
        (NOTHING_ELSE, "auth_mschapv1=yes", vec![0x81, 0x80], true),
        ("auth_mschapv1=yes", "auth_mschapv1=yes", vec![0x81], true),
    ] {
        let mut pair = Pair::new(&with_ppp(&lac(""), at_lac), &with_ppp(LNS, at_lns));
        let mut algorithms = algorithms(&mut pair, 1);
        algorithms.dedup();
        assert_eq!(algorithms, asked, "{at_lac} -> {at_lns}");
        let up = established(&mut pair.world, 1) == 1;
        assert_eq!(up, comes_up, "{at_lac} -> {at_lns}");
    }
    let wrong = lac("").replace("wonderland", "guess");
    let mut pair = Pair::new(
        &with_ppp(&wrong, "auth_mschapv1=yes"),
        &with_ppp(LNS, NOTHING_ELSE),
    );
    let failures = pair.listen((1, Protocol::CHAP, chap_code::FAILURE), 3);
    let told = String::from_utf8(failures[0].data.clone()).unwrap();
    assert!(told.starts_with("E=691 R=0 C="), "{told}");
    assert!(told.contains(" V=2 M="), "{told}");
    assert_eq!(established(&mut pair.world, 1), 0);
    let ends = pair.ends(0);
    assert!(
        ends[0].contains("rejected our name or password"),
        "{ends:?}"
    );
}

#[test]
fn a_peer_that_has_to_authenticate_and_may_by_nothing_is_not_let_in() {
    let lns = with_ppp(LNS, "auth_pap=no auth_chap=no auth_mschapv2=no");
    let mut pair = Pair::new(&lac(""), &lns);
    pair.run(5);
    assert_eq!(established(&mut pair.world, 1), 0);
    let ends = pair.ends(1);
    assert!(
        ends[0].contains("no protocol for it is allowed"),
        "{ends:?}"
    );
}

#[test]
fn chap_restart_says_when_a_challenge_is_sent_again() {
    let lns = with_ppp(LNS, "chap_restart=7 chap_max_challenge=3 pap_timeout=1");
    let mut pair = Pair::new(&lac(""), &lns);
    let challenge = (pair.lns, Protocol::CHAP, chap_code::CHALLENGE);
    assert_eq!(pair.unanswered(challenge, 50), [0, 7, 14]);
}

#[test]
fn pap_max_auth_requests_and_pap_restart_interval_say_how_often_and_when_a_password_is_sent_again()
{
    let lac = with_ppp(
        &lac(""),
        "pap_max_auth_requests=4 pap_restart_interval=5 pap_timeout=1",
    );
    let mut pair = Pair::new(&lac, &with_ppp(LNS, "auth_chap=no auth_mschapv2=no"));
    let request = (pair.lac, Protocol::PAP, pap_code::REQUEST);
    assert_eq!(pair.unanswered(request, 50), [0, 5, 10, 15]);
    let ends = pair.ends(0);
    assert!(ends[0].contains("authenticated in time"), "{ends:?}");
}

#[test]
fn ipcp_retransmit_interval_says_when_a_request_is_sent_again() {
    let lns = with_ppp(
        LNS,
        "ipcp_retransmit_interval=6 ipcp_max_config_requests=4 use_ipv6=no",
    );
    let mut pair = Pair::new(&lac(""), &lns);
    let request = (pair.lns, Protocol::IPCP, code::CONFIGURE_REQUEST);
    assert_eq!(pair.unanswered(request, 50), [0, 6, 12, 18]);
}

/// A LAC that insists on an address which the LNS does not give it, and does without IPv4 in the end.
const STUBBORN: &str = "local_ipaddr=172.16.0.1";

#[test]
fn ipcp_max_config_naks_says_how_often_an_address_is_offered_before_the_question_is_rejected() {
    let lns = with_ppp(LNS, "ipcp_max_config_naks=4 dns_ipaddr_sec=10.0.0.54");
    let mut pair = Pair::new(&with_ppp(&lac(""), STUBBORN), &lns);
    pair.said();
    pair.run(5);
    let said = pair.said();
    let answers: Vec<_> = said
        .iter()
        .filter(|said| said.kind.0 == 1 && said.kind.1 == Protocol::IPCP)
        .filter(|said| said.option(ipcp_option::IP_ADDRESS) != Some(&[10, 0, 0, 1]))
        .map(|said| said.kind.2)
        .take(6)
        .collect();
    let nak = code::CONFIGURE_NAK;
    let expected = [
        nak,
        nak,
        nak,
        nak,
        code::CONFIGURE_REJECT,
        code::CONFIGURE_ACK,
    ];
    assert_eq!(answers, expected);
}

#[test]
fn ipcp_max_terminate_requests_says_how_often_the_end_of_ipv4_is_told() {
    let mine = format!("{STUBBORN} ipcp_max_terminate_requests=5 ipcp_retransmit_interval=4");
    let mut pair = Pair::new(&with_ppp(&lac(""), &mine), LNS);
    let request = (pair.lac, Protocol::IPCP, code::TERMINATE_REQUEST);
    assert_eq!(pair.unanswered(request, 50), [0, 4, 8, 12, 16]);
}

#[test]
fn remote_ipaddr_is_what_a_subscriber_gets_and_what_a_server_has_to_be() {
    let mut pair = Pair::new(&lac(""), &with_ppp(LNS, "remote_ipaddr=10.77.0.7"));
    let (at_lac, at_lns) = pair.up();
    let given = Some(Ipv4Addr::new(10, 77, 0, 7));
    assert_eq!((at_lac.local_ipaddr, at_lns.remote_ipaddr), (given, given));

    let mut pair = Pair::new(&with_ppp(&lac(""), "remote_ipaddr=10.0.0.9"), LNS);
    let naks = pair.listen((0, Protocol::IPCP, code::CONFIGURE_NAK), 5);
    assert!(!naks.is_empty());
    for nak in naks {
        assert_eq!(
            nak.option(ipcp_option::IP_ADDRESS),
            Some(&[10, 0, 0, 9][..])
        );
    }
}

#[test]
fn a_subscriber_that_asks_is_told_of_each_name_server_that_is_set() {
    let servers = [
        ("dns_ipaddr_pri", ipcp_option::PRIMARY_DNS),
        ("wins_ipaddr_pri", ipcp_option::PRIMARY_NBNS),
        ("dns_ipaddr_sec", ipcp_option::SECONDARY_DNS),
        ("wins_ipaddr_sec", ipcp_option::SECONDARY_NBNS),
    ];
    let base = LNS.replace("dns_ipaddr_pri=10.0.0.53", "");
    for (parameter, of_it) in servers {
        let mut pair = Pair::new(&lac(""), &with_ppp(&base, &format!("{parameter}=10.5.6.7")));
        pair.up();
        pair.world.cut_off(pair.lac, true);
        pair.said();
        let mut question = vec![0xff, 0x03, 0x80, 0x21, 1, 200, 0, 28];
        for (_, option) in servers {
            question.extend([option, 6, 0, 0, 0, 0]);
        }
        pair.client_says(&question);
        pair.client_says(&[0xff, 0x03, 0x80, 0x21, 1, 201, 0, 10, of_it, 6, 0, 0, 0, 0]);
        let said = pair.said();
        let answer = |code: u8| {
            said.iter()
                .find(|said| said.kind == (1, Protocol::IPCP, code))
        };
        let rejected = answer(code::CONFIGURE_REJECT).unwrap();
        for (_, option) in servers {
            assert_eq!(
                rejected.option(option).is_none(),
                option == of_it,
                "{parameter}"
            );
        }
        let told = answer(code::CONFIGURE_NAK).unwrap();
        assert_eq!(told.option(of_it), Some(&[10, 5, 6, 7][..]), "{parameter}");
    }
}

#[test]
fn a_client_shows_both_name_servers_that_it_is_told_of() {
    let mut pair = Pair::new(&lac(""), &with_ppp(LNS, "dns_ipaddr_sec=10.0.0.54"));
    let shown = pair.up().0.dns;
    let told = [53, 54].map(|last| IpAddr::from([10, 0, 0, last]));
    assert_eq!(shown, told);
}

#[test]
fn local_name_is_the_name_in_our_challenges() {
    for (parameter, name) in [("local_name=gateway", "gateway"), ("", "node1")] {
        let mut pair = Pair::new(&lac(""), &with_ppp(LNS, parameter));
        let challenges = pair.listen((1, Protocol::CHAP, chap_code::CHALLENGE), 3);
        let data = &challenges[0].data;
        let after_value = 1 + usize::from(data[0]);
        assert_eq!(&data[after_value..], name.as_bytes());
    }
}

#[test]
fn remote_name_is_the_only_name_that_a_peer_may_prove() {
    for (name, comes_up) in [("alice", true), ("bob", false)] {
        let lns = with_ppp(LNS, &format!("remote_name={name}"));
        let mut pair = Pair::new(&lac(""), &lns);
        pair.run(3);
        assert_eq!(established(&mut pair.world, 1) == 1, comes_up);
    }
}

#[test]
fn profile_name_of_a_ppp_profile_is_the_name_that_sessions_find_it_by() {
    let lac = "
        ppp profile create profile_name=a
        ppp profile modify profile_name=a mru=1300
        ppp profile create profile_name=b
        ppp profile modify profile_name=b mru=1200
        tunnel create tunnel_name=t dest_ipaddr=192.0.2.2
        session create tunnel_name=t user_name=alice user_password=wonderland ppp_profile_name=b
        session create tunnel_name=t user_name=alice user_password=wonderland ppp_profile_name=a\n";
    assert_eq!(mrus(&mut Pair::new(lac, LNS), 0), [1200, 1300]);
}

#[test]
fn mru_is_what_the_peer_is_asked_to_keep_to_and_keeps_to() {
    for (parameters, asked, kept) in [
        ("mru=1400", vec![1400], 1400),
        ("mru=1280", vec![1280], 1280),
        // The tunnel's mtu, which is 1460, bounds it.
        ("mru=1492", vec![1460], 1460),
    ] {
        let mut pair = Pair::new(&with_ppp(&lac(""), parameters), LNS);
        assert_eq!(mrus(&mut pair, 0), asked, "{parameters}");
        assert_eq!(
            sessions(&mut pair.world, 1)[0].mtu,
            Some(kept),
            "{parameters}"
        );
    }
}

#[test]
fn chap_interval_says_how_often_a_peer_is_challenged_again() {
    for (interval, times) in [
        (20, vec![0, 20, 40, 60, 80]),
        (45, vec![0, 45, 90]),
        (0, vec![0]),
    ] {
        let lns = with_ppp(LNS, &format!("chap_interval={interval}"));
        let mut pair = Pair::new(&lac(""), &lns);
        let challenges = pair.listen((1, Protocol::CHAP, chap_code::CHALLENGE), 99);
        let since = |said: &Said| said.at.saturating_since(challenges[0].at).as_secs();
        assert_eq!(challenges.iter().map(since).collect::<Vec<_>>(), times);
        assert_eq!(established(&mut pair.world, 1), 1);
    }
}

#[test]
fn chap_max_challenge_says_how_often_a_challenge_is_sent_before_the_peer_has_failed() {
    for (most, times) in [(1, vec![0]), (2, vec![0, 3]), (5, vec![0, 3, 6, 9, 12])] {
        let lns = with_ppp(LNS, &format!("chap_max_challenge={most}"));
        let mut pair = Pair::new(&lac(""), &lns);
        let challenge = (pair.lns, Protocol::CHAP, chap_code::CHALLENGE);
        assert_eq!(pair.unanswered(challenge, 50), times);
        let ends = pair.ends(1);
        assert!(ends[0].contains("authenticate"), "{ends:?}");
    }
}

#[test]
fn lcp_max_config_requests_says_how_often_a_peer_is_asked_that_never_answers() {
    for (most, times) in [
        (1, vec![0]),
        (3, vec![0, 3, 6]),
        (6, vec![0, 3, 6, 9, 12, 15]),
    ] {
        let lns = with_ppp(LNS, &format!("lcp_max_config_requests={most}"));
        let mut pair = Pair::new(&lac(""), &lns);
        let request = (pair.lns, Protocol::LCP, code::CONFIGURE_REQUEST);
        assert_eq!(pair.unanswered(request, 50), times);
    }
}

#[test]
fn lcp_max_config_naks_says_how_often_a_better_mru_is_offered_before_the_option_is_rejected() {
    for naks in [1, 4] {
        // A LAC that insists on less than any host has to take.
        let lac = with_ppp(&lac(""), "mru=500");
        let mut pair = Pair::new(&lac, &with_ppp(LNS, &format!("lcp_max_config_naks={naks}")));
        pair.said();
        pair.run(5);
        let said = pair.said();
        let of_lns = said
            .iter()
            .filter(|said| said.kind.0 == 1 && said.kind.1 == Protocol::LCP);
        let answers = of_lns
            .map(|said| said.kind.2)
            .filter(|it| *it != code::CONFIGURE_REQUEST);
        let mut expected = vec![code::CONFIGURE_NAK; naks];
        expected.extend([code::CONFIGURE_REJECT, code::CONFIGURE_ACK]);
        assert_eq!(answers.take(naks + 2).collect::<Vec<_>>(), expected);
        assert_eq!(established(&mut pair.world, 1), 1);
    }
}

#[test]
fn lcp_max_terminate_requests_says_how_often_the_end_of_a_link_is_told() {
    for (most, times) in [(1, vec![0]), (4, vec![0, 3, 6, 9])] {
        let wrong = lac("").replace("wonderland", "guess");
        let lns = with_ppp(LNS, &format!("lcp_max_terminate_requests={most}"));
        let mut pair = Pair::new(&wrong, &lns);
        let request = (pair.lns, Protocol::LCP, code::TERMINATE_REQUEST);
        assert_eq!(pair.unanswered(request, 50), times);
    }
}

/// How many seconds an LNS that demands PAP waits for a client which never says its name, if it ends in 55.
fn patience(pap_timeout: u32) -> Option<u64> {
    const PAP: &str = "auth_chap=no auth_mschapv2=no lcp_echo_interval=0";
    let lns = with_ppp(LNS, &format!("{PAP} pap_timeout={pap_timeout}"));
    let mut pair = Pair::new(&lac(""), &lns);
    let request = pair
        .cut_off_after((1, Protocol::LCP, code::CONFIGURE_REQUEST))
        .remove(0);
    let mut ack = vec![0xff, 0x03, 0xc0, 0x21];
    ack.extend([code::CONFIGURE_ACK, request.identifier]);
    ack.extend((request.data.len() as u16 + 4).to_be_bytes());
    ack.extend(&request.data);
    pair.client_says(&ack);
    pair.client_says(&[0xff, 0x03, 0xc0, 0x21, code::CONFIGURE_REQUEST, 1, 0, 4]);
    let start = pair.world.now();
    let ends = pair.listen((1, Protocol::LCP, code::TERMINATE_REQUEST), 55);
    Some(ends.first()?.at.saturating_since(start).as_secs())
}

#[test]
fn pap_timeout_says_how_long_a_password_is_waited_for() {
    assert_eq!(patience(7), Some(7));
    assert_eq!(patience(50), Some(50));
    assert_eq!(patience(0), None);
    // Who says it in time has all the time that its own parameters give.
    let mut pair = Pair::new(
        &lac(""),
        &with_ppp(LNS, "auth_chap=no auth_mschapv2=no pap_timeout=1"),
    );
    pair.up();
    pair.run(5);
    assert_eq!(established(&mut pair.world, 1), 1);
}
