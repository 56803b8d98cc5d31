//! The interface as an OpenAPI 3.1 document, from the declarations of the configuration and a table of the resources.

use config::{Kind, Object, Parameter, Role};
use serde_json::{Map, Value, json};

use crate::{Collection, ErrorKind, LARGEST_PAGE};

/// What a resource answers when it is read.
#[derive(Clone, Copy)]
enum Reads {
    /// Nothing: it is there to be posted to.
    Nothing,
    /// One object.
    One,
    /// A page of a list, with these filters.
    Page(&'static [&'static str]),
    /// Server-sent events, with these query parameters.
    Stream(&'static [&'static str]),
    /// Plain text.
    Text,
}

/// A path: what reading it gives, what else can be done with it, and whose parameters that takes.
type Resource = (&'static str, Reads, &'static [&'static str], Option<Object>);

const TUNNEL_FILTERS: &[&str] = &["peer", "state", "name", "created_by"];
const FILTERS_ON_TUNNEL: &[&str] = &["user", "state", "interface", "created_by"];
const SESSION_FILTERS: &[&str] = &["tunnel", "user", "state", "interface", "created_by"];
const SESSION: &str = "/v1/tunnels/{tunnel}/sessions/{session}";

/// Everything but the collections.
#[rustfmt::skip]
const RESOURCES: [Resource; 19] = [
    ("/v1/tunnels", Reads::Page(TUNNEL_FILTERS), &["post"], Some(Object::Tunnel)),
    ("/v1/tunnels/{tunnel}", Reads::One, &["patch", "delete"], Some(Object::Tunnel)),
    ("/v1/tunnels/{tunnel}/sessions", Reads::Page(FILTERS_ON_TUNNEL), &["post"], Some(Object::Session)),
    (SESSION, Reads::One, &["patch", "delete"], Some(Object::Session)),
    ("/v1/sessions", Reads::Page(SESSION_FILTERS), &[], None),
    ("/v1/users", Reads::Page(&["name"]), &[], None),
    ("/v1/peers", Reads::Page(&[]), &[], None),
    ("/v1/peers/{local}/{remote}", Reads::One, &[], None),
    ("/v1/system", Reads::One, &[], None),
    ("/v1/system/statistics", Reads::One, &[], None),
    ("/v1/system/statistics/reset", Reads::Nothing, &["post"], None),
    ("/v1/config/system", Reads::One, &["patch"], Some(Object::System)),
    ("/v1/config/reload", Reads::Nothing, &["post"], None),
    ("/v1/config/file", Reads::Text, &[], None),
    ("/v1/openapi.json", Reads::One, &[], None),
    ("/v1/events", Reads::Stream(&["type", "tunnel"]), &[], None),
    ("/v1/trace", Reads::Stream(&["peer", "ppp"]), &[], None),
    ("/v1/tunnels/{tunnel}/trace", Reads::Stream(&["ppp"]), &[], None),
    ("/v1/tunnels/{tunnel}/sessions/{session}/trace", Reads::Stream(&["ppp"]), &[], None),
];

/// The document. What status objects have in them it does not say: that is in `docs/api.md`.
pub fn document() -> Value {
    let mut paths = Map::new();
    for (path, reads, writes, object) in RESOURCES {
        paths.insert(path.to_owned(), item(path, reads, writes, object));
    }
    for collection in Collection::ALL {
        let (path, object) = (collection.path(), Some(collection.object()));
        let one = format!("{path}/{{name}}");
        paths.insert(
            one.clone(),
            item(&one, Reads::One, &["patch", "delete"], object),
        );
        paths.insert(
            path.to_owned(),
            item(path, Reads::Page(&[]), &["post"], object),
        );
    }
    let mut schemas = Map::new();
    for &object in Object::ALL {
        schemas.insert(schema_name(object), schema(object));
    }
    schemas.insert("error".to_owned(), error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "openl2tpd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The management interface of the L2TP daemon, over a Unix socket.",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn schema_name(object: Object) -> String {
    object.words().replace(' ', "_")
}

fn item(path: &str, reads: Reads, writes: &[&str], object: Option<Object>) -> Value {
    let segments = path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some(
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        )
    });
    let mut item = Map::new();
    item.insert("parameters".to_owned(), segments.collect());
    if !matches!(reads, Reads::Nothing) {
        item.insert("get".to_owned(), get(reads));
    }
    for method in writes {
        item.insert((*method).to_owned(), write(method, object));
    }
    Value::Object(item)
}

fn get(reads: Reads) -> Value {
    let object = json!({ "type": "object" });
    let text = json!({ "type": "string" });
    let (media, schema, queries) = match reads {
        Reads::Page(filters) => {
            let next = json!({ "type": ["string", "null"], "description": "The `after` of the next page; null: the list ends." });
            let items = json!({ "type": "array", "items": object, "maxItems": LARGEST_PAGE });
            let page = json!({ "type": "object", "required": ["items", "next"], "properties": { "items": items, "next": next } });
            ("application/json", page, filters)
        }
        Reads::Stream(queries) => ("text/event-stream", text, queries),
        Reads::Text => ("text/plain", text, [].as_slice()),
        Reads::One | Reads::Nothing => ("application/json", object, [].as_slice()),
    };
    let query =
        |name: &str, schema: Value| json!({ "name": name, "in": "query", "schema": schema });
    let mut parameters: Vec<_> = queries
        .iter()
        .map(|name| query(name, json!({ "type": "string" })))
        .collect();
    if matches!(reads, Reads::Page(_)) {
        let limit = json!({ "type": "integer", "minimum": 1, "maximum": LARGEST_PAGE });
        parameters.push(query("limit", limit));
        parameters.push(query("after", json!({ "type": "string" })));
    }
    json!({ "parameters": parameters, "responses": responses("200", &media_type(media, &schema)) })
}

fn write(method: &str, object: Option<Object>) -> Value {
    let status = match (method, object) {
        ("post", Some(_)) => "201",
        _ => "200",
    };
    let content = media_type("application/json", &json!({}));
    let mut operation = json!({ "responses": responses(status, &content) });
    if method != "delete" {
        let schema = match object {
            Some(object) => {
                json!({ "$ref": format!("#/components/schemas/{}", schema_name(object)) })
            }
            None => json!({ "type": "object" }),
        };
        operation["requestBody"] = json!({ "content": media_type("application/json", &schema) });
    }
    operation
}

fn media_type(media: &str, schema: &Value) -> Value {
    json!({ media: { "schema": schema } })
}

fn responses(status: &str, content: &Value) -> Value {
    let error = json!({ "$ref": "#/components/schemas/error" });
    json!({
        status: { "description": "Done.", "content": content },
        "default": { "description": "Refused.", "content": media_type("application/json", &error) },
    })
}

fn error() -> Value {
    let kinds = [
        ErrorKind::Invalid,
        ErrorKind::NotFound,
        ErrorKind::NoResource,
        ErrorKind::Forbidden,
        ErrorKind::Exists,
        ErrorKind::Resources,
        ErrorKind::Shutdown,
    ];
    json!({
        "type": "object",
        "required": ["kind", "message"],
        "properties": {
            "kind": { "type": "string", "enum": kinds },
            "message": { "type": "string" },
        },
    })
}

/// An object's parameters. None is required: what a request needs depends on its method.
fn schema(object: Object) -> Value {
    let properties = object.parameters().iter();
    let properties = properties.map(|one| (one.name.to_owned(), property(one)));
    json!({
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
    })
}

fn property(parameter: &Parameter) -> Value {
    let mut property = Map::new();
    let mut set = |name: &str, value: Value| property.insert(name.to_owned(), value);
    // A string may stand for any scalar, and null unsets.
    let kind = match parameter.kind {
        Kind::Number => json!(["integer", "string", "null"]),
        Kind::Boolean => json!(["boolean", "string", "null"]),
        _ => json!(["string", "null"]),
    };
    set("type", kind);
    set(
        "description",
        json!(format!("{} Takes {}.", parameter.help, parameter.expects())),
    );
    if let (Kind::Number, Some((least, most))) = (parameter.kind, parameter.range) {
        set("minimum", json!(least));
        set("maximum", json!(most));
    }
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
    if parameter.is_secret() {
        set("writeOnly", json!(true));
    }
    if matches!(parameter.role, Role::Id | Role::ReadOnly) {
        set("readOnly", json!(true));
    }
    Value::Object(property)
}
