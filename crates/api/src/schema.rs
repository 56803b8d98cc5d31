//! Schemas of what has none of its own.

use config::{Kind, Value};
use schemars::{Schema, SchemaGenerator, json_schema};

/// One of the words of a choice.
pub(crate) fn word<T: Value>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": words::<T>() })
}

/// One of them, or none.
pub(crate) fn word_or_null<T: Value>(_: &mut SchemaGenerator) -> Schema {
    let words = words::<T>().iter().copied().map(Some);
    let words: Vec<_> = words.chain([None]).collect();
    json_schema!({ "type": ["string", "null"], "enum": words })
}

fn words<T: Value>() -> &'static [&'static str] {
    match T::KIND {
        Kind::Choice(words) => words,
        _ => &[],
    }
}

/// What a tunnel is made of, which the configuration declares.
pub(crate) fn tunnel(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "$ref": "#/components/schemas/tunnel" })
}

/// The same of a session.
pub(crate) fn session(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "$ref": "#/components/schemas/session" })
}
