//! The grammar of the file and of the command line, through what they make.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use config::{
    AuthMode, ConnectSpeed, Model, Object, Parameters, Tunnel, Verb, command_line, parse_command,
};

fn load(text: &str) -> Model {
    Model::load("test.conf", text).map_or_else(|errors| panic!("{errors:?}"), |loaded| loaded.model)
}

/// `LINE:COLUMN: MESSAGE` of each error.
fn errors(text: &str) -> Vec<String> {
    let errors = Model::load("test.conf", text).unwrap_err();
    errors
        .iter()
        .map(|e| format!("{}:{}: {}", e.line, e.column, e.message))
        .collect()
}

#[test]
fn a_file_as_openl2tp_has_it() {
    let model = load(
        "# a client\n\
         system modify max_tunnels=10 ; system modify deny_remote_tunnel_creates = yes\n\
         \n\
         peer profile modify profile_name=default tunnel_profile_name=isp\n\
         tunnel profile create profile_name=isp\n\
         tunnel profile modify profile_name=isp \\\n\
         \thost_name=\"me.example.org\" \\  \n\
         \tsecret=\"#1; \\\"quoted\\\" \\\\ and\\back\" framing_cap=sync bearer_caps=none \\\n\
         \thello_timeout=0x10 # not part of it\n\
         tunnel create tunnel_name=one dest_ipaddr=lns.example.org profile_name=isp auth_mode=challenge persist=on \\\n\
         \n\
         session create tunnel_name=one session_name=s connect_speed=64000:128000 user_name=u0 user_password=\"p w\"\n\
         ip_pool create pool_name=p range=10.0.0.1-10.0.0.9\n\
         user create user_name=\"a b\" password=x ip_address=10.1.1.1",
    );
    assert_eq!(model.system.max_tunnels(), 10);
    assert!(model.system.deny_remote_tunnel_creates());
    let tunnel = &model.tunnels[0];
    let params = model.tunnel_params(tunnel);
    assert!(tunnel.persist());
    assert_eq!(params.host_name(), Some("me.example.org"));
    assert_eq!(
        params.secret().unwrap().as_bytes(),
        b"#1; \"quoted\" \\ and\\back"
    );
    assert_eq!(params.hello_timeout(), 16);
    assert_eq!(params.auth_mode(), AuthMode::Challenge);
    assert!(params.framing_caps().is_sync() && !params.framing_caps().is_async());
    assert!(!params.bearer_caps().is_digital());
    let session = &model.sessions[0];
    assert_eq!(
        model.session_params(session, &params).connect_speed(),
        ConnectSpeed {
            rx: 64_000,
            tx: 128_000
        }
    );
    assert_eq!(session.params.user_password().unwrap().as_bytes(), b"p w");
    assert_eq!(model.ip_pools["p"].range().unwrap().len(), 9);
    assert_eq!(model.users["a b"].ip_address(), Some([10, 1, 1, 1].into()));
}

#[test]
fn blanks_comments_and_ends() {
    for text in [
        "",
        "\n",
        "# only",
        "\u{feff}# bom\r\n;;\n;",
        "\\\n\\\n",
        "   \\",
    ] {
        assert_eq!(load(text), Model::default(), "{text:?}");
    }
    for text in [
        "system modify max_tunnels=3",
        "system modify max_tunnels =3\r\n",
        "system modify max_tunnels= 3;",
        "system modify max_tunnels\\\n=\\\n3#",
        "SYSTEM Modify MAX_TUNNELS=\"3\"",
        "sy mo max_t=3",
    ] {
        assert_eq!(load(text).system.max_tunnels(), 3, "{text:?}");
    }
}

#[test]
fn statements_that_are_none() {
    assert_eq!(
        errors("sytem modify\n"),
        [
            "1:1: expected one of system, peer, tunnel, session, ppp, user, ip_pool, listener, not `sytem`; did you mean `system`?"
        ]
    );
    assert_eq!(errors("s modify"), ["1:1: `s` can be system or session"]);
    assert_eq!(
        errors("\n  peer create"),
        ["2:8: expected `profile`, not `create`"]
    );
    assert_eq!(
        errors("tunnel"),
        ["1:7: expected one of create, modify, delete, show, list, not the end"]
    );
    assert_eq!(
        errors("tunnel = x"),
        ["1:8: expected one of create, modify, delete, show, list, not `=`"]
    );
    assert_eq!(
        errors("tunnel profile crate profile_name=x"),
        [
            "1:16: expected one of create, modify, delete, show, list, unset, not `crate`; did you mean `create`?"
        ]
    );
    assert_eq!(
        errors("\"tunnel\" create")[0].split(" not ").last(),
        Some("a string")
    );
    assert_eq!(
        errors("system show"),
        ["1:1: system show is no change of the configuration"]
    );
    assert_eq!(
        errors("tunnel profile create"),
        ["1:1: tunnel profile create needs profile_name"]
    );
    assert_eq!(
        errors("ip_pool create pool_name=p"),
        ["1:1: ip_pool create needs range"]
    );
    assert_eq!(
        errors("user create user_name=\"\" password=x"),
        ["1:1: user create needs user_name"]
    );
}

#[test]
fn parameters_that_are_none() {
    assert_eq!(
        errors("system modify max_tunels=1"),
        ["1:15: expected a parameter of system, not `max_tunels`; did you mean `max_tunnels`?"]
    );
    assert_eq!(
        errors("system modify colour=1"),
        ["1:15: expected a parameter of system, not `colour`"]
    );
    assert_eq!(
        errors("system modify max=1"),
        ["1:15: `max` can be max_tunnels or max_sessions"]
    );
    assert_eq!(
        errors("system modify drain"),
        ["1:20: expected `=` and a value after drain_tunnels, not the end"]
    );
    assert_eq!(
        errors("system modify drain=\n"),
        ["1:21: expected a value after drain_tunnels, not the end"]
    );
    assert_eq!(
        errors("system modify =\n")[0],
        "1:15: expected the name of a parameter, not `=`"
    );
    assert_eq!(
        errors("system modify max_tunnels=1 2"),
        ["1:29: expected a parameter of system, not `2`"]
    );
    assert_eq!(
        parse_command("system modify max_tunnels=-5")
            .unwrap_err()
            .message,
        "max_tunnels takes a number from 0 to 4294967295, not `-5`"
    );
    assert_eq!(
        errors("tunnel create dest_ipaddr=h tunnel_id=5"),
        ["1:29: tunnel_id is chosen by the daemon"]
    );
    assert_eq!(
        errors("tunnel create dest_ipaddr=h tunnel_name=t\ntunnel modify tunnel_name=t secret=x"),
        ["2:29: secret can be chosen only at creation"]
    );
    assert_eq!(
        errors("system modify max_tunnels=1 \\ x"),
        ["1:29: expected a word or a string, not `\\\\`"]
    );
}

#[test]
fn all_errors_at_once_each_in_its_place() {
    let found = errors(
        "system modify max_tunnels=x drain_tunnels=maybe max_sessions=1\n\
         bogus\n\
         ppp profile create profile_name=a mtu=5x\n\
         ppp profile create profile_name=\"open\n\
         tunnel create dest_ipaddr=h \\\n   mtu=9999x \\\n   hide=1\n",
    );
    let places: Vec<_> = found
        .iter()
        .map(|error| error.splitn(3, ':').take(2).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(places, ["1:27", "1:43", "2:1", "3:39", "4:33", "6:8"]);
}

#[test]
fn a_diagnostic_shows_the_line_and_marks_the_place() {
    let errors = Model::load(
        "/etc/x.conf",
        "\n\tsystem modify drain_tunnels=perhaps # why\n",
    )
    .unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "/etc/x.conf:2:30: drain_tunnels takes yes or no, not `perhaps`\n    \
         \tsystem modify drain_tunnels=perhaps # why\n    \
         \t                            ^^^^^^^"
    );
}

#[test]
fn no_diagnostic_shows_a_secret() {
    let long = "hush".repeat(100);
    for text in [
        "tunnel create secret=hush mtu=x",
        "tunnel create secret = \"hush\" mtu=x",
        "tunnel create secert=hush",
        "tunnel create sec=hush mtu=x",
        "session create tunnel_name=t PASSWORD=hush",
        "session create user_passwrod=hush",
        "user create password=\"hush",
        "user create user_name=x password=hush=",
        &format!("tunnel create secret={long}"),
        "bogus secret=hush",
        "user create user_name=x password hush",
        "user create user_name=x pasword hush",
        "user create user_name=x password hush ip_address=x",
        "tunnel create dest_ipaddr=h \"secret=hush\"",
    ] {
        for error in Model::load("f", text).unwrap_err() {
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}

#[test]
fn what_follows_the_name_of_a_secret_that_is_unset_is_no_secret() {
    let command = parse_command("tunnel profile unset profile_name=p secret mtu").unwrap();
    let names: Vec<_> = command.arguments.iter().map(|a| a.name).collect();
    assert_eq!(names, ["profile_name", "secret", "mtu"]);
}

/// Every line is shown with the secrets of all masked: the work must not grow with the square of the file.
#[test]
fn many_wrong_lines_with_secrets_are_all_reported() {
    let line = |i| format!("user create user_name=u{i} password=hush bogus=1\n");
    let text: String = (0..5_000).map(line).collect();
    assert_eq!(errors(&text).len(), 5_000);
}

#[test]
fn what_follows_a_secret_may_be_the_rest_of_it_and_is_not_shown() {
    let text = "user create user_name=u password=hush hushhush ip_address=10.0.0.1";
    let shown = Model::load("f", text).unwrap_err()[0].to_string();
    assert!(shown.contains("wants quotes"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

/// Nor with that of the number of errors, nor is what is said of one as long as the word that it is about.
#[test]
fn of_very_many_errors_the_first_are_shown_and_of_very_long_words_a_part() {
    let errors = Model::load("f", &"tunnel crate x=y\n".repeat(100_000)).unwrap_err();
    assert_eq!(errors.len(), 10_001);
    assert_eq!((errors[9_999].line, errors[9_999].column), (10_000, 8));
    assert_eq!(
        errors[10_000].message,
        "90000 more errors from here on are not shown"
    );
    let text = format!(
        "tunnel {} {} x=y",
        " ".repeat(10_000),
        "é".repeat(1_000_000)
    );
    let errors = Model::load("f", &text).unwrap_err();
    assert_eq!((errors.len(), errors[0].column), (1, 10_009));
    let shown = errors[0].to_string();
    assert!(shown.len() < 5_000, "{}", shown.len());
    let [line, mark] = [1, 2].map(|at| shown.lines().nth(at).unwrap());
    let at = mark.find('^').unwrap();
    assert_eq!(line.chars().nth(at), Some('é'), "{shown}");
    assert_eq!(line.chars().nth(at - 1), Some(' '), "{shown}");
}

#[test]
fn a_host_that_is_a_wrong_address_is_none() {
    for host in [
        "192.0.2.256",
        "192.0.2",
        "5",
        "1.2.3.4.",
        "10.0.0x1.0x2",
        "..",
        "-.0",
    ] {
        let found = errors(&format!("tunnel create dest_ipaddr={host}"));
        assert_eq!(found.len(), 1, "{host}: {found:?}");
        assert!(
            found[0].contains("takes a host name or an address"),
            "{host}: {found:?}"
        );
    }
    for host in [
        "192.0.2.1",
        "2001:db8::1",
        "lns1",
        "3com.example",
        "lns.example.",
        "1.2.3.4x",
    ] {
        load(&format!("tunnel create dest_ipaddr={host}"));
    }
}

#[test]
fn what_is_named_and_not_there_is_told_beside_what_is_not_understood_which_may_be_what_is_missed() {
    let found = errors(
        "peer profile create profile_name=p tunnel_profile_name=nowhere\n\
         ppp profile create profile_name=a ip_pool_name=pool\n\
         ip_pol create pool_name=pool range=10.0.0.1-10.0.0.2\n\
         tunnel create tunnel_name=t dest_ipaddr=h profile_name=gone mtu=x\n\
         tunnel create tunnel_name=u dest_ipaddr=\"a b\" hide_avps=yes\n\
         session create tunnel_name=v session_name=s\n\
         tunnel create tunnel_name=v \"open\n",
    );
    let places: Vec<_> = found
        .iter()
        .map(|error| error.splitn(3, ':').take(2).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(
        places,
        ["1:56", "3:1", "4:56", "4:65", "5:41", "7:29"],
        "{found:#?}"
    );
    assert!(
        found[0].ends_with("there is no tunnel profile `nowhere`"),
        "{}",
        found[0]
    );
}

#[test]
fn what_is_named_must_be_there_in_any_order() {
    load(
        "session create tunnel_name=t\n\
         tunnel create tunnel_name=t dest_ipaddr=h ppp_profile_name=p\n\
         ppp profile create profile_name=p ip_pool_name=q\n\
         ip_pool create pool_name=q range=1.1.1.1\n",
    );
    assert_eq!(
        errors(
            "tunnel profile create profile_name=isp\n\
             tunnel create tunnel_name=t dest_ipaddr=h profile_name=ips\n\
             session create tunnel_name=u\n\
             ppp profile modify profile_name=default ip_pool_name=q"
        ),
        [
            "2:56: there is no tunnel profile `ips`; did you mean `isp`?",
            "3:28: there is no tunnel `u`; did you mean `t`?",
            "4:54: there is no ip_pool `q`",
        ]
    );
    // What a statement that is not understood would have made is not missed.
    assert_eq!(
        errors("tunnel crate tunnel_name=t dest_ipaddr=h\nsession create tunnel_name=t").len(),
        1
    );
}

#[test]
fn what_does_not_fit_together() {
    assert_eq!(
        errors("tunnel create tunnel_name=t"),
        ["1:1: tunnel create needs dest_ipaddr"]
    );
    assert_eq!(
        errors("tunnel create dest_ipaddr=h hide_avps=yes"),
        ["1:39: hide_avps=yes needs a secret"]
    );
    assert_eq!(
        errors("tunnel profile modify profile_name=default auth_mode=chal"),
        ["1:54: auth_mode=challenge needs a secret"]
    );
    load(
        "tunnel profile modify profile_name=default dest_ipaddr=h secret=s\ntunnel create hide_avps=yes",
    );
    let twice = "tunnel create tunnel_name=t dest_ipaddr=h\n";
    assert_eq!(
        errors(&twice.repeat(2)),
        ["2:27: the tunnel `t` is there already"]
    );
    assert_eq!(
        errors("user create user_name=u password=p;user create user_name=u password=q"),
        ["1:58: the user `u` is there already"]
    );
    assert_eq!(
        errors(&format!(
            "{twice}session create tunnel_name=t interface_name=d;session create tunnel_name=t interface_name=d"
        )),
        ["2:91: the device `d` is another session's"]
    );
    assert_eq!(
        errors("session create tunnel_id=4"),
        ["1:26: a session of the configuration names its tunnel by tunnel_name"]
    );
    assert_eq!(
        errors("peer profile delete profile_name=default"),
        ["1:1: the peer profile `default` is always there and cannot be deleted"]
    );
    assert_eq!(
        errors("peer profile delete profile_name=x"),
        ["1:34: there is no peer profile `x`"]
    );
}

#[test]
fn commands_of_the_command_line() {
    let command = parse_command("tun cre dest=10.0.0.1 hello=5").unwrap();
    assert_eq!(
        (command.object, command.verb),
        (Object::Tunnel, Verb::Create)
    );
    let tunnel: Tunnel = command.build().unwrap();
    assert_eq!(tunnel.params.dest_ipaddr(), Some("10.0.0.1"));
    assert_eq!(tunnel.params.hello_timeout(), 5);

    let command = parse_command("tunnel delete tunnel_id=7").unwrap();
    assert_eq!(command.build::<Tunnel>().unwrap().tunnel_id(), Some(7));
    let command = parse_command("t p list").unwrap();
    assert_eq!(
        (command.object, command.verb),
        (Object::TunnelProfile, Verb::List)
    );
    assert!(
        parse_command("system show stat")
            .unwrap_err()
            .message
            .contains("status or statistics")
    );
    assert!(
        parse_command("system show stati")
            .unwrap()
            .has_flag("statistics")
    );
    let command = parse_command("ppp profile unset profile_name=x mtu mru").unwrap();
    assert!(
        command.has_flag("mtu") && command.has_flag("mru") && !command.has_flag("profile_name")
    );

    let message = |text| parse_command(text).unwrap_err().message;
    assert_eq!(
        message(""),
        "expected one of system, peer, tunnel, session, ppp, user, ip_pool, listener, not nothing"
    );
    assert_eq!(
        message("user list; user list"),
        "expected one command, not two"
    );
    assert_eq!(
        message("tunnel show"),
        "tunnel show needs tunnel_name or tunnel_id"
    );
    assert_eq!(
        message("session delete tunnel_id=1"),
        "session delete needs session_name or session_id"
    );
    assert_eq!(message("tunnel show mtu=5"), "mtu selects nothing");
    assert_eq!(
        message("ppp profile unset profile_name=x mtu=5"),
        "mtu is named without a value to be unset"
    );
}

#[test]
fn arguments_of_the_shell_are_quoted_again() {
    let joined = command_line([
        "session",
        "create",
        "tunnel_name=t",
        "user_password=a \"b\\",
        "user_name",
        "=",
        "x y",
        "sub=",
    ]);
    assert_eq!(
        joined,
        r#"session create tunnel_name=t user_password="a \"b\\" user_name = "x y" sub="""#
    );
    let command = parse_command(&joined).unwrap();
    assert_eq!(command.value("user_password"), Some("a \"b\\"));
    assert_eq!(command.value("user_name"), Some("x y"));
}

#[test]
fn a_running_model_changes_or_stays_as_it_is() {
    let mut model = load(
        "ppp profile create profile_name=p mtu=1400\npeer profile create profile_name=q ppp_profile_name=p",
    );
    let before = model.clone();
    let mut apply = |text: &str| {
        model
            .apply(&parse_command(text).unwrap())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        apply("ppp profile delete profile_name=p"),
        Err("the ppp profile `p` is in use by the peer profile `q`".to_owned())
    );
    assert_eq!(
        apply("peer profile modify profile_name=q ppp_profile_name=none"),
        Err("there is no ppp profile `none`".to_owned())
    );
    assert!(apply("ppp profile show profile_name=p").is_err());
    apply("ppp profile unset profile_name=p mtu").unwrap();
    apply("system unset max_tunnels").unwrap();
    apply("peer profile delete profile_name=q").unwrap();
    assert_eq!(before.ppp_profiles["p"].mtu(), 1400);
    assert_eq!(model.ppp_profiles["p"].mtu(), 1500);
    assert_eq!(model.peer_profiles.len(), 1);
    assert_eq!(model.ppp_profiles["p"].get("mru"), Ok(None));
}
