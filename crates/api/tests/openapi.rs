//! The document that describes the interface.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeSet;

use api::Collection;
use api::server::document;
use config::{Model, Object, Parameters as _, parse_command};
use serde_json::{Map, Value};

/// A schema of the document.
fn schema(name: &str) -> Value {
    document()["components"]["schemas"][name].clone()
}

/// Every value that is called `$ref` somewhere in this.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_something_and_every_schema_is_referred_to() {
    let document = document();
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    for reference in &used {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        let reference = format!("#/components/schemas/{name}");
        assert!(used.contains(&reference), "{name} is for nothing");
    }
}

#[test]
fn every_answer_and_every_body_has_a_schema_that_says_what_is_in_it() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item
            .as_object()
            .unwrap()
            .iter()
            .filter(|(m, _)| *m != "parameters")
        {
            let responses = operation["responses"].as_object().unwrap();
            let success = responses.iter().find(|(status, _)| status.starts_with('2'));
            let content = success.unwrap().1["content"].as_object().unwrap();
            let body = operation
                .get("requestBody")
                .map(|body| &body["content"]["application/json"]);
            for media in content.values().chain(body) {
                let schema = &media["schema"];
                let says = ["$ref", "allOf", "properties", "additionalProperties"];
                let is_text = schema["type"] == "string" || schema["type"] == "null";
                assert!(
                    is_text || says.iter().any(|key| schema.get(*key).is_some()),
                    "{method} {path}: {schema}"
                );
            }
            assert!(
                responses.contains_key("400") && !responses.contains_key("default"),
                "{method} {path}"
            );
        }
    }
}

#[test]
fn an_object_is_shown_with_just_the_properties_that_are_described() {
    let mut model = Model::default();
    for command in [
        "user create user_name=u password=secret",
        "ip_pool create pool_name=p range=10.0.0.1-10.0.0.2",
        "peer profile create profile_name=p",
        "tunnel profile create profile_name=p secret=secret",
        "session profile create profile_name=p",
        "ppp profile create profile_name=p",
        "listener create listener_name=l",
    ] {
        model.apply(&parse_command(command).unwrap()).unwrap();
    }
    let shown: [(Object, Map<String, Value>); 8] = [
        (Object::System, model.system.shown_json()),
        (Object::User, model.users["u"].shown_json()),
        (Object::IpPool, model.ip_pools["p"].shown_json()),
        (Object::PeerProfile, model.peer_profiles["p"].shown_json()),
        (
            Object::TunnelProfile,
            model.tunnel_profiles["p"].shown_json(),
        ),
        (
            Object::SessionProfile,
            model.session_profiles["p"].shown_json(),
        ),
        (Object::PppProfile, model.ppp_profiles["p"].shown_json()),
        (Object::Listener, model.listeners["l"].shown_json()),
    ];
    assert_eq!(shown.len(), Collection::ALL.len() + 1);
    for (object, shown) in shown {
        let schema = schema(&object.words().replace(' ', "_"));
        let described: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(shown.keys().collect::<Vec<_>>(), described, "{object}");
        for (name, value) in shown {
            let types = schema["properties"][&name]["type"].as_array().unwrap();
            let is = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "integer",
                _ => "string",
            };
            assert!(types.iter().any(|one| one == is), "{name} is {value}");
        }
    }
}

#[test]
fn numbers_and_texts_that_are_taken_have_their_ranges() {
    let of = |object: &str, name: &str| schema(object)["properties"][name].clone();
    assert_eq!(of("user_parameters", "password")["maxLength"], 255);
    let mtu = of("ppp_profile_parameters", "mtu");
    assert!(mtu["minimum"].is_u64() && mtu["maximum"].is_u64(), "{mtu}");
    assert!(
        mtu["description"].is_string() && mtu["default"].is_u64(),
        "{mtu}"
    );
    assert!(of("session_parameters", "session_id").is_null());
}
