//! Wrong values for every parameter that is declared, in a command and in a file.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use config::{Kind, Model, Object, Parameter, Role, Verb, parse_command, quoted};

/// A command that sets `parameter` to `value`, written as it stands, with all else that the command needs; none where no command sets it.
fn command(object: Object, parameter: &Parameter, value: &str) -> Option<String> {
    if matches!(parameter.role, Role::Id | Role::ReadOnly) {
        return None;
    }
    let verb = if object == Object::System {
        Verb::Modify
    } else {
        Verb::Create
    };
    let needed: &[&str] = match object {
        Object::Tunnel => &["dest_ipaddr=h"],
        Object::Session => &["tunnel_name=t"],
        Object::User => &["user_name=n", "password=p"],
        Object::IpPool => &["pool_name=n", "range=10.0.0.1-10.0.0.2"],
        Object::Listener => &["listener_name=n"],
        Object::System => &[],
        _ => &["profile_name=n"],
    };
    let name = parameter.name;
    let others = needed
        .iter()
        .filter(|other| !other.starts_with(&format!("{name}=")));
    let others: Vec<_> = others.copied().collect();
    Some(format!(
        "{object} {verb} {} {name}={value}",
        others.join(" ")
    ))
}

/// What a file of the command alone says: errors other than of values are of what the command would need besides.
fn file_takes(text: &str, name: &str) -> bool {
    let refused = |errors: Vec<config::Diagnostic>| {
        errors
            .iter()
            .any(|e| e.message.starts_with(&format!("{name} takes ")))
    };
    !Model::load("f", text).is_err_and(refused)
}

fn all() -> impl Iterator<Item = (Object, &'static Parameter)> {
    let of = |&object: &Object| {
        object
            .parameters()
            .iter()
            .map(move |parameter| (object, parameter))
    };
    Object::ALL.iter().flat_map(of)
}

#[test]
fn every_number_past_its_range_is_refused_a_command_and_put_right_in_a_file() {
    let mut past = 0;
    for (object, parameter) in all() {
        let (Kind::Number, Some((least, most))) = (parameter.kind, parameter.range) else {
            continue;
        };
        let with = |value: i128| command(object, parameter, &value.to_string());
        let (Some(lowest), Some(highest)) = (with(least.into()), with(most.into())) else {
            continue;
        };
        assert!(
            parse_command(&lowest).is_ok() && parse_command(&highest).is_ok(),
            "{lowest}"
        );
        for (value, nearest) in [(i128::from(least) - 1, least), (i128::from(most) + 1, most)] {
            past += 1;
            let text = with(value).unwrap();
            let refusal = parse_command(&text).unwrap_err();
            assert!(
                refusal
                    .message
                    .starts_with(&format!("{} takes a number from", parameter.name)),
                "{text}"
            );
            // A number that tells objects apart is not guessed at.
            assert_eq!(
                file_takes(&text, parameter.name),
                parameter.role != Role::Label,
                "{text}"
            );
            if let Ok(loaded) = Model::load("f", &text) {
                let messages: Vec<_> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
                let name = parameter.name;
                let taken =
                    format!("{name} takes {least} to {most}: {nearest} is taken for {value}");
                let pending = parameter.warning(&nearest.to_string());
                let expected: Vec<_> = std::iter::once(taken).chain(pending).collect();
                assert_eq!(messages, expected);
            }
        }
    }
    assert!(past > 100, "{past}");
}

#[test]
fn text_of_another_kind_is_refused_everywhere() {
    for (object, parameter) in all() {
        let wrong = match parameter.kind {
            Kind::Text | Kind::Secret | Kind::Name(_) => "\"two\tcolumns\"",
            Kind::Device => "a/b",
            Kind::Host => "\"a b\"",
            _ => "no-such-value",
        };
        if let Some(text) = command(object, parameter, wrong) {
            assert!(parse_command(&text).is_err(), "{text}");
            assert!(!file_takes(&text, parameter.name), "{text}");
        }
    }
}

#[test]
fn empty_text_is_none_for_text_and_refused_for_all_else_and_for_what_is_needed() {
    for (object, parameter) in all() {
        if let Some(text) = command(object, parameter, "\"\"") {
            let is_text = matches!(parameter.kind, Kind::Text | Kind::Secret | Kind::Name(_))
                && parameter.role != Role::Required;
            assert_eq!(parse_command(&text).is_ok(), is_text, "{text}");
            assert_eq!(file_takes(&text, parameter.name), is_text, "{text}");
        }
    }
}

#[test]
fn of_a_parameter_given_twice_the_last_holds() {
    for (object, parameter) in all() {
        let (Kind::Number, Some((least, most))) = (parameter.kind, parameter.range) else {
            continue;
        };
        if let Some(text) = command(object, parameter, &least.to_string()) {
            let name = parameter.name;
            let twice = parse_command(&format!("{text} {name}={most}")).unwrap();
            assert_eq!(twice.value(name), Some(&*most.to_string()), "{text}");
        }
    }
}

#[test]
fn names_of_objects_may_have_quotes_blanks_and_any_letters() {
    for name in [
        "a \"quoted\" one",
        "back\\slash",
        "Zürich 東京",
        " ",
        "#;=",
        "42",
        "mtu",
    ] {
        let quoted = quoted(name);
        let text = format!(
            "peer profile create profile_name={quoted}\nip_pool create pool_name={quoted} range=10.0.0.1-10.0.0.2\n\
             user create user_name={quoted} password=p\nlistener create listener_name={quoted}\n\
             tunnel create tunnel_name={quoted} dest_ipaddr=h peer_profile_name={quoted}\n\
             session create tunnel_name={quoted} session_name={quoted}\n"
        );
        let model = Model::load("f", &text).unwrap().model;
        assert_eq!(model.sessions[0].session_name(), Some(name));
        assert!(model.users.contains_key(name) && model.listeners.contains_key(name));
        assert_eq!(Model::load("f", &model.to_commands()).unwrap().model, model);
    }
}
