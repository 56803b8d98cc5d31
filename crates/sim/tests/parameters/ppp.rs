use crate::common::{LNS, Pair, established, sessions};
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
