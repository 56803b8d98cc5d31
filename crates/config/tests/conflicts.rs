//! What is right by itself and wrong beside others, in a file and in a command.
#![allow(clippy::unwrap_used, reason = "tests only")]

use config::{Model, Tunnel, parse_command};

/// What is wrong with a file, `LINE:COLUMN: MESSAGE` each.
fn errors(text: &str) -> Vec<String> {
    let errors = Model::load("f", text).map_or_else(|errors| errors, |_| Vec::new());
    let said = errors
        .iter()
        .map(|e| format!("{}:{}: {}", e.line, e.column, e.message));
    said.collect()
}

#[test]
fn two_tunnels_to_one_peer_have_two_config_ids() {
    let file = |peer| {
        format!(
            "tunnel create dest_ipaddr=192.0.2.1 config_id=7\n\
             tunnel create dest_ipaddr={peer}\n\
             tunnel create dest_ipaddr={peer} config_id=7\n"
        )
    };
    assert_eq!(errors(&file("192.0.2.2")), Vec::<String>::new());
    assert_eq!(
        errors(&file("192.0.2.1")),
        ["3:47: another tunnel to 192.0.2.1 has the config_id 7"]
    );
}

#[test]
fn two_listeners_have_no_address_port_and_device_in_common() {
    let first = "listener create listener_name=a ipaddr=192.0.2.1 udp_port=1702\n";
    let file = |other: &str| format!("{first}listener create listener_name=b {other}\n");
    for apart in [
        "udp_port=1702 ipaddr=192.0.2.2",
        "udp_port=1702 ipaddr=::",
        "udp_port=1702 netns=n",
        "udp_port=1703",
        "",
    ] {
        assert_eq!(errors(&file(apart)), Vec::<String>::new(), "{apart}");
    }
    for same in [
        "udp_port=1702",
        "udp_port=1702 ipaddr=0.0.0.0",
        "udp_port=1702 ipaddr=192.0.2.1 interface_name=eth0",
    ] {
        let told = ["2:1: the listener `a` has this address and port, too"];
        assert_eq!(errors(&file(same)), told, "{same}");
        let mut model = Model::load("f", first).unwrap().model;
        let command = parse_command(&format!("listener create listener_name=b {same}"));
        let refused = model.apply(&command.unwrap()).unwrap_err().to_string();
        assert!(told[0].ends_with(&refused), "{same}: {refused}");
    }
    let devices = "listener create listener_name=a interface_name=eth0\nlistener create listener_name=b interface_name=eth1\n";
    assert_eq!(errors(devices), Vec::<String>::new());
}

#[test]
fn a_tunnel_has_a_peer_that_there_can_be_and_starts_where_there_is_a_way_to_it() {
    let listeners = "listener create listener_name=six ipaddr=2001:db8::1\n";
    let load = |tunnel: &str| Model::load("f", &format!("{listeners}tunnel create {tunnel}\n"));
    for right in [
        "dest_ipaddr=h src_ipaddr=2001:db8::2",
        "dest_ipaddr=127.0.0.1 src_ipaddr=0.0.0.0",
        "dest_ipaddr=2001:db8::3 listener_name=six",
        "dest_ipaddr=192.0.2.1 src_ipaddr=192.0.2.2 listener_name=six",
    ] {
        assert!(load(right).is_ok(), "{right}");
    }
    for (wrong, column, why) in [
        ("dest_ipaddr=0.0.0.0", 27, "no host's address"),
        ("dest_ipaddr=::", 27, "no host's address"),
        ("dest_ipaddr=224.0.0.1", 27, "a multicast address"),
        ("dest_ipaddr=ff02::1", 27, "a multicast address"),
        (
            "dest_ipaddr=::ffff:255.255.255.255",
            27,
            "the broadcast address",
        ),
        (
            "dest_ipaddr=192.0.2.1 src_ipaddr=2001:db8::2",
            48,
            "there is no way",
        ),
        (
            "dest_ipaddr=2001:db8::3 src_ipaddr=0.0.0.0",
            50,
            "there is no way",
        ),
        (
            "dest_ipaddr=192.0.2.1 listener_name=six",
            51,
            "there is no way",
        ),
    ] {
        let errors = load(wrong).unwrap_err();
        assert_eq!(
            (errors.len(), errors[0].line, errors[0].column),
            (1, 2, column),
            "{wrong}"
        );
        assert!(errors[0].message.contains(why), "{}", errors[0]);
        // As one who makes it while the daemon runs is told.
        let model = Model::load("f", listeners).unwrap().model;
        let tunnel: Tunnel = parse_command(&format!("tunnel create {wrong}"))
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(
            model.check_tunnel(&tunnel).unwrap_err().to_string(),
            errors[0].message
        );
    }
    // OpenL2TP 1.8 kept the peer of a profile, and never used it.
    let profile = "tunnel profile create profile_name=p dest_ipaddr=0.0.0.0\ntunnel create profile_name=p dest_ipaddr=h\n";
    assert_eq!(errors(profile), Vec::<String>::new());
}

#[test]
fn what_others_made_of_a_model_is_mended_so_that_it_loads() {
    let text = "tunnel profile create profile_name=p secret=x\n\
         tunnel create tunnel_name=t dest_ipaddr=a profile_name=p\n\
         session profile create profile_name=p\n\
         session create tunnel_name=t session_name=s profile_name=p interface_name=d\n\
         tunnel create tunnel_name=u dest_ipaddr=a config_id=3\n\
         session create tunnel_name=u session_name=s interface_name=e\n";
    let mut model = Model::load("f", text).unwrap().model;
    assert_eq!(model.clone().mended(), model);
    model.tunnel_profiles.remove("p");
    model.session_profiles.remove("p");
    model.tunnels[0].config_id = Some(3);
    model.sessions[1].params.interface_name = model.sessions[0].params.interface_name.clone();
    let mut mended = model.clone().mended();
    assert_eq!(
        Model::load("f", &mended.to_commands()).unwrap().model,
        mended
    );
    assert_eq!(mended.tunnels[0].profile_name(), "default");
    assert_eq!(mended.sessions[0].profile_name(), Some("default"));
    assert_eq!(
        (
            mended.tunnels[1].config_id,
            mended.sessions[1].params.interface_name()
        ),
        (None, None)
    );
    // A tunnel without a peer is none, and its sessions go with it.
    mended.tunnels[0].params.dest_ipaddr = None;
    let mended = mended.mended();
    assert_eq!((mended.tunnels.len(), mended.sessions.len()), (1, 1));
    assert_eq!(mended.sessions[0].tunnel_name(), Some("u"));
}
