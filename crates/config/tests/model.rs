//! The declared parameters, how objects inherit, and the forms that a model takes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use config::{
    AddressRange, Kind, MASK, Model, Netmask, Object, Parameter, Parameters, PppProfile, Role,
    Session, System, TraceFlags, Tunnel, Value, parse_command, statements,
};
use proptest::option;
use proptest::prelude::*;
use serde_json::json;

fn load(text: &str) -> Model {
    Model::load("test.conf", text).map_or_else(|errors| panic!("{errors:?}"), |loaded| loaded.model)
}

fn all() -> impl Iterator<Item = (Object, &'static Parameter)> {
    Object::ALL.iter().flat_map(|&object| {
        object
            .parameters()
            .iter()
            .map(move |parameter| (object, parameter))
    })
}

#[test]
fn every_declaration_is_whole() {
    for &object in Object::ALL {
        let names = object
            .parameters()
            .iter()
            .flat_map(|p| std::iter::once(&p.name).chain(p.aliases));
        let mut seen = BTreeSet::new();
        for name in names {
            assert!(seen.insert(name), "{object} {name} is declared twice");
            assert_eq!(
                object.parameter(name).unwrap().name == *name,
                object.parameters().iter().any(|p| p.name == *name)
            );
        }
    }
    for (object, parameter) in all() {
        let Parameter { name, help, .. } = parameter;
        assert!(
            help.ends_with('.') && !help.contains("  "),
            "{object} {name}: {help}"
        );
        if let Some(default) = &parameter.default {
            object.check(name, default).unwrap();
        }
    }
}

#[test]
fn every_range_holds_at_both_ends() {
    for (object, parameter) in all() {
        let name = parameter.name;
        let accepts = |text: &str| object.check(name, text).is_ok();
        match (parameter.kind, parameter.range) {
            (Kind::Number, Some((least, most))) => {
                assert!(
                    accepts(&least.to_string()) && accepts(&most.to_string()),
                    "{object} {name}"
                );
                assert!(!accepts(&(most + 1).to_string()), "{object} {name}");
                assert!(
                    least == 0 || !accepts(&(least - 1).to_string()),
                    "{object} {name}"
                );
                assert!(
                    !accepts("-1")
                        && !accepts("+1")
                        && !accepts("1x")
                        && !accepts("")
                        && !accepts("0x")
                );
            }
            (Kind::Text | Kind::Secret | Kind::Device | Kind::Host, Some((_, most))) => {
                assert!(accepts(&"x".repeat(most as usize)), "{object} {name}");
                assert!(!accepts(&"x".repeat(most as usize + 1)), "{object} {name}");
                assert!(!accepts("two\nlines"), "{object} {name}");
            }
            (Kind::Number | Kind::Text | Kind::Secret | Kind::Device | Kind::Host, None) => {
                panic!("{object} {name} has no range")
            }
            (Kind::Octets | Kind::SecretOctets, _) => {
                assert!(accepts("00ffA5") && !accepts("0") && !accepts("0x") && !accepts(""));
                assert!(!accepts(&"00".repeat(256)), "{object} {name}");
            }
            (Kind::Program, range) => {
                let (_, most) = range.unwrap();
                let with = |octets: u64| "/".repeat(octets as usize);
                assert!(
                    accepts(&with(most)) && !accepts(&with(most + 1)),
                    "{object} {name}"
                );
                assert!(accepts("/a b") && !accepts("/a\nb"), "{object} {name}");
                for relative in ["", "a", "./a", "../a", "~/a"] {
                    assert!(!accepts(relative), "{object} {name} {relative}");
                }
            }
            (Kind::Boolean, _) => {
                assert!(
                    [
                        "yes", "NO", "on", "off", "true", "false", "enable", "disable", "1", "0"
                    ]
                    .iter()
                    .all(|t| accepts(t))
                );
                assert!(!accepts("y") && !accepts("2"));
            }
            (Kind::Choice(words), _) => {
                assert!(words.iter().all(|word| accepts(word)) && !accepts("x") && !accepts(""))
            }
            (Kind::Name(_), _) => assert!(accepts("any") && !accepts("two\nlines")),
            _ => assert!(!accepts("%") && !accepts(""), "{object} {name}"),
        }
    }
}

#[test]
fn kinds_of_text() {
    let mask = |text| Netmask::parse(text).map(Netmask::bits);
    assert_eq!(
        [
            mask("255.255.255.0"),
            mask("24"),
            mask("/0"),
            mask("0.0.0.0")
        ],
        [Some(24), Some(24), Some(0), Some(0)]
    );
    assert_eq!([mask("255.0.255.0"), mask("129"), mask("")], [None; 3]);
    let range = AddressRange::parse("0.0.0.0-255.255.255.255").unwrap();
    assert_eq!(range.len(), 1 << 32);
    assert!(AddressRange::parse("10.0.0.2-10.0.0.1").is_none());
    let flags = |text| TraceFlags::parse(text).map(TraceFlags::bits);
    assert_eq!(
        [
            flags("all"),
            flags("0x7ff"),
            flags("avp_h,prot"),
            flags("0")
        ],
        [Some(2047), Some(2047), Some(17), Some(0)]
    );
    assert_eq!(
        [flags("avp"), flags("fsm,"), flags("2048"), flags("-1")],
        [None; 4]
    );
    assert!(TraceFlags::parse("fsm,api").unwrap().has("api") && !TraceFlags::ALL.has("apis"));
    let host = |text: &str| Object::Tunnel.check("dest_ipaddr", text).is_ok();
    assert!(
        host("lns.example.org")
            && host("fe80::1")
            && host("10.0.0.1")
            && !host("a b")
            && !host("a:b")
    );
    let device = |text: &str| Object::Session.check("interface_name", text).is_ok();
    assert!(device("ppp0") && !device("a/b") && !device("..") && !device("sixteen-letters-"));
}

#[test]
fn what_is_not_set_has_its_default() {
    let system = System::default();
    assert_eq!(
        (system.max_tunnels(), system.tunnel_establish_timeout()),
        (0, 120)
    );
    let params = Model::default().tunnel_params(&Tunnel::default());
    assert_eq!(
        (
            params.peer_udp_port(),
            params.rx_window_size(),
            params.mtu(),
            params.hello_timeout()
        ),
        (1701, 10, 1460, 60)
    );
    assert!(params.secret().is_none());
    let mut ppp = PppProfile::default();
    assert_eq!((ppp.auth_peer(), ppp.lcp_echo_interval()), (None, 30));
    ppp.set("lcp_echo_i", "0").unwrap();
    ppp.set("local_name", "x").unwrap();
    assert_eq!((ppp.lcp_echo_interval(), ppp.local_name()), (0, Some("x")));
    ppp.set("local_name", "").unwrap();
    ppp.unset("lcp_echo_interval").unwrap();
    assert_eq!(ppp, PppProfile::default());
}

#[test]
fn a_tunnel_has_its_own_then_its_profile_s_then_the_default_profile_s() {
    let model = load(
        "tunnel profile modify profile_name=default mtu=1000 max_retries=1 hello_timeout=1 dest_ipaddr=d\n\
         tunnel profile create profile_name=p max_retries=2 hello_timeout=2\n\
         tunnel create profile_name=p hello_timeout=3",
    );
    let params = model.tunnel_params(&model.tunnels[0]);
    assert_eq!(
        (params.mtu(), params.max_retries(), params.hello_timeout()),
        (1000, 2, 3)
    );
    assert_eq!(params.dest_ipaddr(), Some("d"));
    assert_eq!(params.ppp_profile_name(), Some("default"));
}

/// Reference: explicit parameter, session profile, tunnel, peer profile, "default".
#[test]
fn the_ppp_profile_of_a_session() {
    let statements = [
        "peer profile modify profile_name=default ppp_profile_name=peer session_profile_name=s",
        "tunnel profile create profile_name=t ppp_profile_name=tunnel",
        "session profile create profile_name=s ppp_profile_name=session",
    ];
    let profiles = ["peer", "tunnel", "session", "own"]
        .map(|name| format!("ppp profile create profile_name={name}\n"))
        .concat();
    let base = format!(
        "{profiles}tunnel profile create profile_name=t\nsession profile create profile_name=s\n\
         tunnel create tunnel_name=t dest_ipaddr=h profile_name=t\nsession create tunnel_name=t "
    );
    let chosen = |statements: &[&str], own: &str| {
        let model = load(&format!("{base}{own}\n{}", statements.join("\n")));
        let session =
            model.session_params(&model.sessions[0], &model.tunnel_params(&model.tunnels[0]));
        model
            .ppp_params(&session)
            .profile_name()
            .unwrap()
            .to_owned()
    };
    assert_eq!(chosen(&[], ""), "default");
    assert_eq!(chosen(&statements[..1], ""), "peer");
    assert_eq!(chosen(&statements[..2], ""), "tunnel");
    assert_eq!(chosen(&statements, ""), "session");
    assert_eq!(chosen(&statements, "ppp_profile_name=own"), "own");
    assert_eq!(chosen(&statements, "profile_name=default"), "tunnel");
}

#[test]
fn a_profile_with_a_peer_port_matches_by_address_only_what_comes_from_that_port() {
    let model = load(
        "peer profile create profile_name=cpe peer_ipaddr=10.1.2.3 peer_port=5000\n\
         peer profile create profile_name=net peer_ipaddr=10.1.2.0 netmask=24\n\
         peer profile create profile_name=port peer_ipaddr=10.1.2.0 netmask=24 peer_port=6000",
    );
    let matched = |name, from: &str| {
        let profile = model.match_peer(name, from.parse().unwrap());
        profile.map(|profile| profile.profile_name().unwrap())
    };
    assert_eq!(matched("x", "10.1.2.3:5000"), Some("cpe"));
    assert_eq!(matched("x", "10.1.2.3:5001"), Some("net"));
    assert_eq!(matched("x", "10.1.2.3:6000"), Some("port"));
    assert_eq!(matched("cpe", "10.9.9.9:5001"), Some("cpe"));
}

#[test]
fn a_peer_is_known_by_name_then_by_the_longest_netmask() {
    let model = load(
        "peer profile create profile_name=cpe peer_ipaddr=192.0.2.1\n\
         peer profile create profile_name=any peer_ipaddr=0.0.0.0 netmask=0.0.0.0 tunnel_profile_name=t\n\
         peer profile create profile_name=net peer_ipaddr=10.1.0.0 netmask=255.255.0.0\n\
         peer profile create profile_name=host peer_ipaddr=10.1.2.3\n\
         peer profile create profile_name=six peer_ipaddr=2001:db8:: netmask=32\n\
         tunnel profile create profile_name=t mtu=1400 ppp_profile_name=p\n\
         ppp profile create profile_name=p",
    );
    let matched = |name, address: &str| {
        model
            .match_peer(
                name,
                (address.parse::<std::net::IpAddr>().unwrap(), 1701).into(),
            )
            .map(|profile| profile.profile_name().unwrap())
    };
    assert_eq!(matched("cpe", "10.1.2.3"), Some("cpe"));
    assert_eq!(matched("x", "10.1.2.3"), Some("host"));
    assert_eq!(matched("x", "10.1.2.4"), Some("net"));
    assert_eq!(matched("default", "10.2.2.4"), Some("any"));
    assert_eq!(matched("x", "2001:db8::1"), Some("six"));
    assert_eq!(matched("x", "2001:db9::1"), None);
    let any = model.match_peer("x", "9.9.9.9:1701".parse().unwrap());
    let params = model.served_tunnel_params(any);
    assert_eq!(
        (
            params.mtu(),
            params.ppp_profile_name(),
            params.peer_profile_name()
        ),
        (1400, Some("p"), Some("any"))
    );
    assert_eq!(
        Model::default().match_peer("default", "10.0.0.1:1701".parse().unwrap()),
        None
    );
    assert_eq!(model.served_tunnel_params(None).mtu(), 1460);
}

#[test]
fn json_goes_by_name_and_masks_secrets() {
    let mut session = Session::default();
    let json =
        json!({ "tunnel_name": "t", "user_password": "hush", "connect_speed": 5, "tunnel_id": 7 });
    session.set_json(json.as_object().unwrap()).unwrap();
    assert_eq!(session.params.user_password().unwrap().as_bytes(), b"hush");
    let shown = serde_json::Value::from(session.to_json());
    assert_eq!(
        shown,
        json!({ "tunnel_name": "t", "user_password": MASK, "connect_speed": "5", "tunnel_id": 7 })
    );
    session
        .set_json(json!({ "tunnel_id": null }).as_object().unwrap())
        .unwrap();
    assert_eq!(session.tunnel_id(), None);
    for bad in [
        json!({ "tunnel_id": 70000 }),
        json!({ "tunnel_id": [1] }),
        json!({ "colour": 1 }),
    ] {
        assert!(session.set_json(bad.as_object().unwrap()).is_err(), "{bad}");
    }
    let shown: BTreeMap<_, _> = session
        .shown()
        .map(|(parameter, text)| (parameter.name, text))
        .collect();
    assert_eq!(shown["user_password"].as_deref(), Some(MASK));
    assert_eq!(shown["framing_type"].as_deref(), Some("any"));
    assert!(!format!("{session:?}").contains("hush"));
}

/// Texts of the parameter's kind.
fn text_of(parameter: &'static Parameter) -> BoxedStrategy<String> {
    let (least, most) = parameter.range.unwrap_or((0, 255));
    let octets = any::<[u8; 4]>().prop_map(std::net::Ipv4Addr::from);
    match parameter.kind {
        Kind::Number => (least..=most).prop_map(|number| number.to_string()).boxed(),
        Kind::Boolean => any::<bool>().prop_map(bool::print).boxed(),
        Kind::Text | Kind::Secret => "[^\\p{C}]{1,20}|[a-z\"\\\\;#= ]{1,20}".boxed(),
        Kind::Choice(words) => proptest::sample::select(words)
            .prop_map(str::to_owned)
            .boxed(),
        Kind::Flags(_) => (0..2048u32).prop_map(|bits| bits.to_string()).boxed(),
        Kind::Address => (octets, any::<u128>(), any::<bool>())
            .prop_map(|(v4, v6, is_v4)| {
                if is_v4 {
                    v4.to_string()
                } else {
                    std::net::Ipv6Addr::from(v6).to_string()
                }
            })
            .boxed(),
        Kind::Ipv4Address => octets.prop_map(|address| address.to_string()).boxed(),
        // What ends in a number is none, hexadecimal ones too.
        Kind::Host => "[a-z0-9._-]{0,19}[g-z]|[0-9a-f]{1,4}::[0-9a-f]{1,4}".boxed(),
        Kind::Netmask => (0..=128u8).prop_map(|bits| bits.to_string()).boxed(),
        Kind::AddressRange => (octets.clone(), octets)
            .prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)))
            .boxed(),
        Kind::Speed => (1..u32::MAX, any::<u32>())
            .prop_map(|(rx, tx)| format!("{rx}:{tx}"))
            .boxed(),
        Kind::Octets | Kind::SecretOctets => "([0-9a-f]{2}){1,9}".boxed(),
        Kind::Device => {
            let names = format!("[a-z0-9.\"\\\\#=;]{{3,{most}}}");
            proptest::string::string_regex(&names).unwrap().boxed()
        }
        Kind::Program => "/[^\\p{C}]{1,20}".boxed(),
        Kind::Name(_) => proptest::sample::select(vec!["default", "other \"\\"])
            .prop_map(str::to_owned)
            .boxed(),
    }
}

/// An object of the class with some parameters set.
fn object<T: Parameters + std::fmt::Debug>(class: Object) -> impl Strategy<Value = T> {
    let texts: Vec<_> = class
        .parameters()
        .iter()
        .map(|parameter| option::of(text_of(parameter)))
        .collect();
    texts.prop_map(move |texts| {
        let mut object = T::default();
        for (parameter, text) in class.parameters().iter().zip(texts) {
            if let Some(text) = text {
                object
                    .set(parameter.name, &text)
                    .unwrap_or_else(|error| panic!("{error}"));
                if parameter.role == Role::ReadOnly {
                    object.unset(parameter.name).unwrap();
                }
            }
        }
        object
    })
}

/// Puts two objects into a map, under the names that references have.
macro_rules! named {
    ($class:ident, $key:ident) => {
        (
            object::<config::$class>(Object::$class),
            object::<config::$class>(Object::$class),
        )
            .prop_map(|(a, b)| {
                let with_name = |object: config::$class, name: &str| {
                    (
                        name.to_owned(),
                        config::$class {
                            $key: Some(name.to_owned()),
                            ..object
                        },
                    )
                };
                BTreeMap::from([with_name(a, "default"), with_name(b, "other \"\\")])
            })
    };
}

fn model() -> impl Strategy<Value = Model> {
    let profiles = (
        named!(PeerProfile, profile_name),
        named!(TunnelProfile, profile_name),
        named!(SessionProfile, profile_name),
        named!(PppProfile, profile_name),
    );
    let others = (
        object(Object::System),
        proptest::collection::vec(object::<Tunnel>(Object::Tunnel), 2),
        proptest::collection::vec(object::<Session>(Object::Session), 3),
        named!(User, user_name),
        named!(IpPool, pool_name),
        named!(Listener, listener_name),
    );
    (profiles, others).prop_map(
        |((peers, tunnel_profiles, session_profiles, ppp_profiles), others)| {
            let (system, tunnels, sessions, users, ip_pools, listeners) = others;
            let mut model = Model {
                system,
                peer_profiles: peers,
                tunnel_profiles,
                session_profiles,
                ppp_profiles,
                tunnels,
                sessions,
                users,
                ip_pools,
                listeners,
            };
            complete(&mut model);
            model
        },
    )
}

/// Adds what a model needs to be accepted.
fn complete(model: &mut Model) {
    let default = model.tunnel_profiles.get_mut("default").unwrap();
    default.set("dest_ipaddr", "h").unwrap();
    default.set("secret", "s").unwrap();
    model
        .users
        .values_mut()
        .for_each(|user| user.set("password", "pw").unwrap());
    model
        .ip_pools
        .values_mut()
        .for_each(|pool| pool.set("range", "10.0.0.0-10.0.0.9").unwrap());
    for (tunnel, name) in model.tunnels.iter_mut().zip(["default", "other \"\\"]) {
        tunnel.set("tunnel_name", name).unwrap();
        tunnel.tunnel_id = None;
        // One to which there is a way, from wherever.
        tunnel
            .set("dest_ipaddr", name.split(' ').next().unwrap())
            .unwrap();
    }
    for (port, listener) in (1..).zip(model.listeners.values_mut()) {
        listener.udp_port = Some(port);
    }
    for (place, session) in model.sessions.iter_mut().enumerate() {
        session.set("tunnel_name", "default").unwrap();
        session.set("session_name", &format!("s{place}")).unwrap();
        session.session_id = None;
        session.params.interface_name = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_model_printed_as_commands_loads_as_the_same(model in model()) {
        let text = model.to_commands();
        match Model::load("printed", &text) {
            Ok(loaded) => prop_assert_eq!(loaded.model, model),
            Err(errors) => prop_assert!(false, "{}\n{text}", errors[0]),
        }
    }

    #[test]
    fn a_model_survives_serde(model in model()) {
        let json = serde_json::to_string(&model).unwrap();
        prop_assert_eq!(serde_json::from_str::<Model>(&json).unwrap(), model);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,80}|[a-z \"=\\\\#;\n]{0,80}") {
        if let Err(errors) = Model::load("any", &text) {
            prop_assert!(errors.iter().all(|error| error.line >= 1 && !error.to_string().is_empty()));
        }
    }

    #[test]
    fn a_cut_file_makes_no_parser_panic(model in model(), cut: prop::sample::Index) {
        let text = model.to_commands();
        let at = (0..=cut.index(text.len() + 1)).rev().find(|&at| text.is_char_boundary(at)).unwrap();
        let _ = Model::load("cut", &text[..at]);
    }
}

/// Carries commands out one by one, as a daemon does that is asked.
fn one_by_one(model: &mut Model, commands: &[String]) {
    for command in commands {
        let parsed = parse_command(command).unwrap();
        if let Err(error) = model.apply(&parsed) {
            panic!("{error}: {command}");
        }
    }
}

#[test]
fn what_names_what_comes_later_is_carried_out_after_it() {
    let text = "session create tunnel_name=t session_name=s profile_name=s\n\
        tunnel create tunnel_name=t dest_ipaddr=a profile_name=a listener_name=l\n\
        listener create listener_name=l\n\
        peer profile create profile_name=p tunnel_profile_name=a\n\
        tunnel profile create profile_name=a auth_mode=challenge peer_profile_name=p session_profile_name=s\n\
        tunnel profile modify profile_name=default secret=x\n\
        session profile create profile_name=s ppp_profile_name=p\n\
        ppp profile create profile_name=p ip_pool_name=i mtu=1400\n\
        ppp profile modify profile_name=p mtu=1300\n\
        ip_pool create pool_name=i range=10.0.0.1-10.0.0.2\n";
    let all = Model::load("all", text).unwrap().model;
    let commands = Model::default().commands_for("all", text).unwrap();
    let mut model = Model::default();
    one_by_one(&mut model, &commands);
    assert_eq!(model, all);
    let saved = all.to_commands();
    let mut again = Model::default();
    let statements: Vec<_> = statements(&saved)
        .iter()
        .filter(|statement| !statement.pieces.is_empty())
        .map(|statement| saved[statement.span.start..statement.span.end].to_owned())
        .collect();
    one_by_one(&mut again, &statements);
    assert_eq!(again, all);
    // Nothing is left to do where all of it is there.
    let nothing = "ppp profile create profile_name=p mtu=1300\n";
    assert_eq!(
        all.commands_for("f", nothing).unwrap(),
        Vec::<String>::new()
    );
    let unset = all.commands_for("f", "ppp profile unset profile_name=p mtu ip_pool_name\n");
    one_by_one(&mut model, &unset.unwrap());
    assert_eq!(
        (
            model.ppp_profiles["p"].mtu,
            &model.ppp_profiles["p"].ip_pool_name
        ),
        (None, &None)
    );
}

#[test]
fn what_cannot_be_added_to_a_model_is_told_with_its_line() {
    let model = Model::load(
        "first",
        "user create user_name=a password=x\n\
        tunnel create tunnel_name=t dest_ipaddr=a\n",
    )
    .unwrap()
    .model;
    let text = "user create user_name=b password=y\nuser create user_name=a password=y\n";
    let errors = model.commands_for("f", text).unwrap_err();
    assert_eq!((errors.len(), errors[0].line), (1, 2));
    assert!(!errors[0].to_string().contains("=y"), "{}", errors[0]);
    let text = "\ntunnel create tunnel_name=u dest_ipaddr=b profile_name=none\n";
    let errors = model.commands_for("f", text).unwrap_err();
    assert_eq!((errors.len(), errors[0].line), (1, 2));
}

#[test]
fn words_of_openl2tp_s_manual_pages_and_of_its_command_line_are_understood() {
    for (object, old, name) in [
        (
            Object::PppProfile,
            "pap_max_auth_reqs",
            "pap_max_auth_requests",
        ),
        (
            Object::PppProfile,
            "ipcp_max_cfg_reqs",
            "ipcp_max_config_requests",
        ),
        (
            Object::PppProfile,
            "lcp_max_cfg_naks",
            "lcp_max_config_naks",
        ),
        (
            Object::PppProfile,
            "lcp_echo_fail_count",
            "lcp_echo_failure_count",
        ),
        (Object::TunnelProfile, "udp_csum", "use_udp_checksums"),
        (Object::Tunnel, "pmtu_discovery", "do_pmtu_discovery"),
        (Object::Tunnel, "framing_cap", "framing_caps"),
    ] {
        assert_eq!(object.parameter(old).unwrap().name, name);
    }
    let mut session = Session::default();
    for text in ["0x0A0b", "0X0a0B", "0a0b"] {
        session.set("proxy_auth_challenge", text).unwrap();
        assert_eq!(
            session.get("proxy_auth_challenge").unwrap().as_deref(),
            Some("0a0b")
        );
    }
    session.set("proxy_auth_type", "5").unwrap();
    assert_eq!(
        session.get("proxy_auth_type").unwrap().as_deref(),
        Some("mschap")
    );
    session.set("proxy_auth_response", "0x68757368").unwrap();
    assert_eq!(session.to_json()["proxy_auth_response"], MASK);
    assert!(!format!("{session:?}").contains("68757368"));
    let model = load("peer profile create profile_name=p lac_lns=lnslac");
    assert_eq!(
        model.peer_profiles["p"].get("lac_lns").unwrap().as_deref(),
        Some("laclns")
    );
    assert_eq!(load("system modify reset_statistics"), Model::default());
    assert_eq!(load("system modify reset_statistics=yes"), Model::default());
    assert!(Model::load("f", "system modify udp_port=5").is_err());
}
