//! Schemas of the objects of the configuration, from their declaration.

use config::{Kind, Object, Parameter, Role};
use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

/// Where an object as it is shown is described.
pub(super) fn shown_ref(object: Object) -> Schema {
    json_schema!({ "$ref": format!("#/components/schemas/{}", shown_name(object)) })
}

/// Where the parameters of a request are described that changes an object.
pub(super) fn taken_ref(object: Object) -> Schema {
    json_schema!({ "$ref": format!("#/components/schemas/{}", taken_name(object)) })
}

/// The parameters of a request that makes an object.
pub(super) fn created(object: Object) -> Schema {
    let parameters = object.parameters().iter();
    let needed = parameters.filter(|one| matches!(one.role, Role::Key | Role::Required));
    let needed: Vec<_> = needed.map(|one| one.name).collect();
    json_schema!({ "allOf": [taken_ref(object)], "required": needed })
}

/// Every object's schemas, by their names.
pub(super) fn schemas() -> impl Iterator<Item = (String, Value)> {
    Object::ALL.iter().flat_map(|&object| {
        [
            (taken_name(object), taken(object)),
            (shown_name(object), shown(object)),
        ]
    })
}

fn shown_name(object: Object) -> String {
    object.words().replace(' ', "_")
}

fn taken_name(object: Object) -> String {
    format!("{}_parameters", shown_name(object))
}

/// An object with every parameter; secrets are masked.
fn shown(object: Object) -> Value {
    let parameters = object.parameters().iter();
    let shown = parameters.filter(|one| one.role != Role::Action);
    let properties: Map<_, _> = shown
        .map(|one| {
            let mut property = property(one);
            property.insert("type".to_owned(), shown_type(one.kind));
            (one.name.to_owned(), Value::Object(property))
        })
        .collect();
    let names: Vec<_> = properties.keys().cloned().collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": false,
    })
}

/// Parameters that a request may have. Which it needs depends on its method.
fn taken(object: Object) -> Value {
    let parameters = object.parameters().iter();
    let taken = parameters.filter(|one| !matches!(one.role, Role::Id | Role::ReadOnly));
    let properties: Map<_, _> = taken
        .map(|one| {
            let mut property = property(one);
            property.insert("type".to_owned(), taken_type(one.kind));
            bound(&mut property, one);
            (one.name.to_owned(), Value::Object(property))
        })
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// What is the same of a parameter, shown or taken.
fn property(parameter: &Parameter) -> Map<String, Value> {
    let mut property = Map::new();
    let mut set = |name: &str, value: Value| property.insert(name.to_owned(), value);
    let text = format!("{} Takes {}.", parameter.help, parameter.expects());
    set("description", json!(text));
    if let Kind::Choice(words) = parameter.kind {
        let words = words.iter().map(|word| json!(word));
        set("enum", words.chain([Value::Null]).collect());
    }
    if let Some(default) = &parameter.default {
        let value = match parameter.kind {
            Kind::Number => default.parse::<u64>().map_or(json!(default), Value::from),
            Kind::Boolean => json!(default == "yes"),
            _ => json!(default),
        };
        set("default", value);
    }
    property
}

fn shown_type(kind: Kind) -> Value {
    match kind {
        Kind::Number => json!(["integer", "null"]),
        Kind::Boolean => json!(["boolean", "null"]),
        _ => json!(["string", "null"]),
    }
}

/// A string may stand for any scalar, and null unsets.
fn taken_type(kind: Kind) -> Value {
    match kind {
        kind if kind.takes_numbers() => json!(["integer", "string", "null"]),
        Kind::Boolean => json!(["boolean", "string", "null"]),
        _ => json!(["string", "null"]),
    }
}

/// The range of a number, or of the length of a text.
fn bound(property: &mut Map<String, Value>, parameter: &Parameter) {
    let Some((least, most)) = parameter.range else {
        return;
    };
    let (least, most) = match parameter.kind {
        Kind::Number => (("minimum", least), ("maximum", most)),
        // So many octets are as many characters at most, and one at least; no text is taken for none.
        Kind::Text | Kind::Secret | Kind::Name(_) => (("minLength", 0), ("maxLength", most)),
        Kind::Host | Kind::Device | Kind::Program => {
            (("minLength", least.min(1)), ("maxLength", most))
        }
        _ => return,
    };
    for (name, value) in [least, most] {
        property.insert(name.to_owned(), json!(value));
    }
}
