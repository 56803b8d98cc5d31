//! Files as OpenL2TP 1.8 saved them, and as people wrote them for it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use config::{Model, Source};

const SAVED: &str = include_str!("../../../tests/openl2tp-1.8/saved.conf");
const BY_HAND: &str = include_str!("../../../tests/openl2tp-1.8/by-hand.conf");

/// What 1.8's own sources and manual name, less what selects an object by a number and what is only shown.
const NAMES: &str = "trace_flags max_tunnels max_sessions drain_tunnels tunnel_establish_timeout session_establish_timeout \
    tunnel_persist_pend_timeout session_persist_pend_timeout deny_local_tunnel_creates deny_remote_tunnel_creates \
    profile_name peer_ipaddr netmask peer_port lac_lns tunnel_profile_name session_profile_name ppp_profile_name peer_profile_name \
    dest_ipaddr src_ipaddr peer_udp_port our_udp_port config_id tunnel_name use_tiebreaker allow_ppp_proxy framing_cap bearer_cap \
    host_name secret auth_mode hide_avps rx_window_size tx_window_size do_pmtu_discovery use_udp_checksums mtu hello_timeout max_retries \
    retry_timeout idle_timeout persist interface_name session_name session_type priv_group_id user_name user_password framing_type \
    bearer_type minimum_bps maximum_bps connect_speed no_ppp use_ppp_proxy proxy_auth_type proxy_auth_name proxy_auth_challenge \
    proxy_auth_response initial_rcvd_lcp_confreq last_sent_lcp_confreq last_rcvd_lcp_confreq calling_number called_number sub_address \
    sequencing_required use_sequence_numbers reorder_timeout asyncmap mru sync_mode auth_pap auth_chap auth_mschapv1 auth_mschapv2 \
    auth_eap auth_none auth_peer chap_interval chap_max_challenge chap_restart pap_max_auth_requests pap_restart_interval pap_timeout \
    max_connect_time max_failure_count ipcp_max_config_requests ipcp_max_config_naks ipcp_max_terminate_requests \
    ipcp_retransmit_interval lcp_echo_failure_count lcp_echo_interval lcp_max_config_requests lcp_max_config_naks \
    lcp_max_terminate_requests lcp_retransmit_interval local_ipaddr remote_ipaddr ip_pool_name reset_statistics dns_ipaddr_pri dns_ipaddr_sec wins_ipaddr_pri \
    wins_ipaddr_sec use_radius radius_hint default_route multilink proxy_arp local_name remote_name";

#[test]
fn files_of_openl2tp_load_with_a_warning_for_each_oddity() {
    let pending = |name: &str| format!("{name} is kept and shown, but has no effect yet");
    let source = Source {
        name: "by-hand.conf".to_owned(),
        // The pools were another program's.
        text: format!(
            "ip_pool create pool_name=dialin range=10.0.0.8-10.0.0.9\ninclude saved.conf\n{BY_HAND}"
        ),
    };
    let loaded = Model::load_with(source, &mut |name, _| {
        Ok(vec![Source {
            name: name.to_owned(),
            text: SAVED.to_owned(),
        }])
    })
    .unwrap_or_else(|errors| panic!("{}", errors[0]));
    let of = |file: &str| -> Vec<String> {
        let warnings = loaded.warnings.iter().filter(|w| w.file == file);
        warnings.map(|w| w.message.clone()).collect()
    };
    let by_hand = [
        "use_ppp_proxy",
        "proxy_auth_type",
        "proxy_auth_name",
        "proxy_auth_challenge",
        "proxy_auth_response",
        "initial_rcvd_lcp_confreq",
        "last_sent_lcp_confreq",
        "last_rcvd_lcp_confreq",
    ];
    assert_eq!(of("by-hand.conf"), by_hand.map(pending));
    assert_eq!(
        of("saved.conf"),
        [
            pending("allow_ppp_proxy"),
            "max_retries takes 1 to 100: 1 is taken for -5".to_owned(),
            "lcp_retransmit_interval takes 1 to 3600: 1 is taken for 0".to_owned(),
            pending("use_radius"),
            pending("radius_hint"),
        ]
    );
    assert_eq!(loaded.model.tunnels[0].params.max_retries(), 7);
    assert_eq!(loaded.model.sessions.len(), 2);
}

#[test]
fn together_they_name_every_parameter_that_openl2tp_had() {
    let text = format!("{SAVED}\n{BY_HAND}");
    let named: BTreeSet<_> = text
        .split_whitespace()
        .filter(|word| !word.starts_with('#'))
        .filter_map(|word| word.split_once('=').map(|(name, _)| name))
        .filter(|name| !name.is_empty())
        .chain(["tunnel_name"])
        .collect();
    let expected: BTreeSet<_> = NAMES.split_whitespace().collect();
    assert_eq!(named, expected);
}
