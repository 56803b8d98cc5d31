//! What a file is forgiven, and what is said of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use config::{Loaded, Model, Severity, parse_command};

/// The model and `LINE:COLUMN: MESSAGE` of each warning.
fn load(text: &str) -> (Model, Vec<String>) {
    let Loaded { model, warnings } = Model::load("test.conf", text).unwrap();
    assert!(warnings.iter().all(|w| w.severity == Severity::Warning));
    let warnings = warnings
        .iter()
        .map(|w| format!("{}:{}: {}", w.line, w.column, w.message));
    (model, warnings.collect())
}

#[test]
fn the_nearest_number_in_range_is_taken_for_one_of_a_file_that_is_not() {
    let (model, warnings) = load(
        "system modify max_tunnels=-5 \\\n\
         half_open_limit=99999999999999999999\n\
         tunnel profile modify profile_name=default max_retries=-5 rx_window_size=0x1 peer_udp_port=70000\n",
    );
    assert_eq!(model.system.max_tunnels(), 0);
    assert_eq!(model.system.half_open_limit(), 60_000);
    let params = &model.tunnel_profiles["default"].params;
    let taken = (
        params.max_retries(),
        params.rx_window_size(),
        params.peer_udp_port(),
    );
    assert_eq!(taken, (1, 4, 65_535));
    assert_eq!(
        warnings,
        [
            "1:27: max_tunnels takes 0 to 4294967295: 0 is taken for -5",
            "2:17: half_open_limit takes 1 to 60000: 60000 is taken for 99999999999999999999",
            "3:56: max_retries takes 1 to 100: 1 is taken for -5",
            "3:74: rx_window_size takes 4 to 32768: 4 is taken for 0x1",
            "3:92: peer_udp_port takes 1 to 65535: 65535 is taken for 70000",
        ]
    );
    // What was taken is in range: it needs no warning when it is saved and read again.
    assert_eq!(load(&model.to_commands()), (model, vec![]));
}

#[test]
fn encryption_that_nothing_gives_keys_to_is_warned_of() {
    let why = "mppe is required, and no MS-CHAP is on that gives it keys: no session will come up";
    for (text, place) in [
        (
            "ppp profile modify profile_name=default mppe=required auth_mschapv2=no",
            Some("1:46"),
        ),
        (
            "ppp profile modify profile_name=default auth_mschapv2=no\nppp profile create profile_name=p mppe=required",
            Some("2:40"),
        ),
        (
            "ppp profile modify profile_name=default mppe=required mppe_bits=40 auth_mschapv2=no auth_mschapv1=yes",
            Some("1:46"),
        ),
        (
            "ppp profile modify profile_name=default mppe=required auth_mschapv2=no auth_mschapv1=yes",
            None,
        ),
        (
            "ppp profile modify profile_name=default mppe=optional auth_mschapv2=no",
            None,
        ),
        (
            "ppp profile modify profile_name=default mppe=required",
            None,
        ),
    ] {
        let said = place.map(|place| format!("{place}: {why}"));
        assert_eq!(load(text).1, Vec::from_iter(said), "{text}");
    }
}

#[test]
fn what_is_no_number_or_tells_objects_apart_is_not_guessed_at() {
    for text in [
        "system modify max_tunnels=many",
        "system modify max_tunnels=--5",
        "system modify max_tunnels=-",
        "system modify max_tunnels=5s",
        "system modify max_tunnels=\"\"",
        "system modify max_tunnels=0x",
        "tunnel create tunnel_name=t dest_ipaddr=h\nsession create tunnel_name=t tunnel_id=70000",
        "peer profile modify profile_name=default netmask=129",
    ] {
        assert!(Model::load("test.conf", text).is_err(), "{text}");
    }
}

#[test]
fn a_command_is_refused_what_a_file_is_forgiven() {
    for text in [
        "tunnel profile modify profile_name=default max_retries=-5",
        "tunnel profile modify profile_name=default max_retries=101",
        "system modify tunnel_persist_pend_timeout=0",
    ] {
        let refusal = parse_command(text).unwrap_err();
        assert_eq!(refusal.severity, Severity::Error);
        assert!(
            refusal.message.contains(" takes a number from "),
            "{}",
            refusal.message
        );
        assert_eq!(load(text).1.len(), 1, "{text}");
    }
}

/// OpenL2TP 1.8 ignored a tunnel_establish_timeout and a tunnel_persist_pend_timeout below 120 without a word.
#[test]
fn timeouts_that_openl2tp_took_for_too_short_hold() {
    let (model, warnings) = load(
        "system modify tunnel_establish_timeout=30 tunnel_persist_pend_timeout=5 session_establish_timeout=0\n",
    );
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(model.system.tunnel_establish_timeout(), 30);
    assert_eq!(model.system.tunnel_persist_pend_timeout(), 5);
}

#[test]
fn a_parameter_of_what_is_still_to_come_warns_where_it_asks_for_something() {
    let (_, warnings) = load(
        "ppp profile modify profile_name=default multilink=no use_radius=yes radius_hint=\"\" auth_eap=off\n\
         tunnel profile modify profile_name=default allow_ppp_proxy=on\n",
    );
    assert_eq!(
        warnings,
        [
            "1:65: use_radius is kept and shown, but has no effect yet",
            "2:60: allow_ppp_proxy is kept and shown, but has no effect yet",
        ]
    );
}

#[test]
fn a_warning_shows_its_place_and_says_what_it_is_and_secrets_stay_hidden() {
    let text = "tunnel profile modify profile_name=default secret=hush max_retries=0\n";
    let loaded = Model::load("test.conf", text).unwrap();
    assert_eq!(
        loaded.warnings[0].to_string(),
        "test.conf:1:68: warning: max_retries takes 1 to 100: 1 is taken for 0\n    \
         tunnel profile modify profile_name=default secret=**** max_retries=0\n    \
         \x20                                                                  ^"
    );
}

#[test]
fn a_file_with_errors_tells_of_the_errors_alone() {
    let text = "system modify max_tunnels=-5\nsystem modify no_such=1\n";
    let errors = Model::load("test.conf", text).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].severity, errors[0].line), (Severity::Error, 2));
}
