//! The document that describes the interface to programs: OpenAPI 3.1.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::interface::About;
use super::objects;
use crate::{CommandError, LARGEST_PAGE};

/// A page of a list of these.
pub(super) fn page(item: &Schema) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": item, "maxItems": LARGEST_PAGE },
            "next": {
                "type": ["string", "null"],
                "description": "The `after` of the next page; null: the list ends.",
            },
        },
    })
}

/// Why an operation may be refused: the status, and what it means.
const REFUSALS: [(u16, &str); 8] = [
    (
        400,
        "The request is wrong: a parameter, an id, a cursor, the query.",
    ),
    (403, "The socket is read-only."),
    (404, "There is no such object."),
    (405, "The resource does not take the method."),
    (408, "The body did not come in time."),
    (409, "There is such an object already."),
    (413, "The body is too long."),
    (503, "A limit is reached, or the daemon is ending."),
];

/// The document while it is made.
pub(super) struct Document {
    paths: Map<String, Value>,
    generator: SchemaGenerator,
    /// Of queries and bodies, of which what has a default may be absent.
    requests: SchemaGenerator,
}

impl Document {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12();
        let answers = settings.clone().for_serialize().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
        });
        let requests = settings.for_deserialize().with(|settings| {
            settings.inline_subschemas = true;
        });
        Self {
            paths: Map::new(),
            generator: answers.into_generator(),
            requests: requests.into_generator(),
        }
    }

    /// Adds an operation on the resource at `path`.
    pub(super) fn add(&mut self, path: &str, about: &About) {
        let operation = self.operation(path, about);
        let item = self.paths.entry(path).or_insert_with(|| {
            let segments = segments(path).map(|name| {
                json!({ "name": name, "in": "path", "required": true, "description": meaning(name), "schema": { "type": "string", "minLength": 1 } })
            });
            json!({ "parameters": segments.collect::<Vec<_>>() })
        });
        item[about.method] = operation;
    }

    fn operation(&mut self, path: &str, about: &About) -> Value {
        let content = (about.answers)(&mut self.generator);
        let success =
            json!({ "description": "Done.", "content": { about.media: { "schema": content } } });
        let mut responses = Map::from_iter([(about.status.to_string(), success)]);
        let takes = about.takes.is_some();
        let named = segments(path).next().is_some();
        for (status, _) in REFUSALS {
            let may_be = match status {
                403 => about.forbidden,
                404 => takes || named || about.looks_up,
                405 => false,
                408 | 409 | 413 => takes,
                _ => true,
            };
            if may_be {
                let refusal = json!({ "$ref": format!("#/components/responses/{status}") });
                responses.insert(status.to_string(), refusal);
            }
        }
        let mut operation = json!({
            "operationId": operation_id(path, about.method),
            "summary": about.summary,
            "parameters": self.parameters(path, about),
            "responses": responses,
        });
        if let Some(takes) = &about.takes {
            let schema = takes(&mut self.requests);
            operation["requestBody"] =
                json!({ "content": { "application/json": { "schema": schema } } });
        }
        operation
    }

    /// The parameters of the query. What the path says is none.
    fn parameters(&mut self, path: &str, about: &About) -> Vec<Value> {
        let mut parameters = Vec::new();
        for query in &about.query {
            let mut schema = query(&mut self.requests);
            let needed = schema.remove("required").unwrap_or_default();
            let needed = |name: &str| {
                needed
                    .as_array()
                    .is_some_and(|all| all.iter().any(|n| n == name))
            };
            let Some(Value::Object(properties)) = schema.remove("properties") else {
                continue;
            };
            for (name, mut schema) in properties {
                if segments(path).any(|segment| segment == name) {
                    continue;
                }
                let description = schema
                    .as_object_mut()
                    .and_then(|schema| schema.remove("description"));
                parameters.push(json!({
                    "name": name,
                    "in": "query",
                    "required": needed(&name),
                    "description": description,
                    "schema": present(schema),
                }));
            }
        }
        parameters
    }

    /// The whole document.
    pub(super) fn to_json(&self) -> Value {
        let mut generator = self.generator.clone();
        let error = generator.subschema_for::<CommandError>();
        let responses = REFUSALS.map(|(status, description)| {
            let response = json!({ "description": description, "content": { "application/json": { "schema": error } } });
            (status.to_string(), response)
        });
        let mut schemas = generator.take_definitions(true);
        schemas.extend(objects::schemas());
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "openl2tpd",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "The management interface of the L2TP daemon, over a Unix socket.",
            },
            "paths": self.paths,
            "components": { "schemas": schemas, "responses": Map::from_iter(responses) },
        })
    }
}

/// The names of the segments of a path that have one.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

/// What is in a segment of a path.
fn meaning(segment: &str) -> &'static str {
    match segment {
        "tunnel" | "session" => "The id, or the name; a name of digits with `=` before it.",
        "local" => "Our address.",
        "remote" => "The peer's address.",
        _ => "The name.",
    }
}

fn operation_id(path: &str, method: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words = words.filter(|word| !word.is_empty() && *word != "v1");
    words.fold(method.to_owned(), |id, word| id + "_" + word)
}

/// The schema of what is there: without null, which is how what is absent is written elsewhere.
fn present(mut schema: Value) -> Value {
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.retain(|one| one["type"] != "null");
        if let [only] = any.as_slice() {
            return only.clone();
        }
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("default");
    }
    schema
}
