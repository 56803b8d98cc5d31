//! What comes after the question mark.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Display;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Request as HttpRequest};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response as HttpResponse;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::input::selector;
use super::refused;
use crate::{CommandError, Cursor, ErrorKind, LARGEST_PAGE, Range, Request};

/// A query with these fields, or why it is none.
pub(super) type Asked<Q> = Result<axum::extract::Query<Q>, QueryRejection>;

/// The fields of a query.
pub(super) fn asked<Q>(query: Asked<Q>) -> Result<Q, CommandError> {
    let fields = query.map(|axum::extract::Query(fields)| fields);
    fields.map_err(|error| {
        // What it says itself is the framework's; which field it is, and what is wrong with it, is below that.
        let why = error.source().map(ToString::to_string);
        wrong(why.unwrap_or_else(|| error.body_text()))
    })
}

fn wrong(why: impl Display) -> CommandError {
    invalid(format!("the query is wrong: {why}"))
}

/// The names and values of a query, in their order.
pub(super) struct Query(Result<Vec<(String, String)>, CommandError>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(asked(axum::extract::Query::try_from_uri(&parts.uri))))
    }
}

impl Query {
    /// The request for a page of a list that the query comes to: which part of it, and which of its items. What is neither is refused.
    pub(super) fn page<F: DeserializeOwned>(
        self,
        request: impl FnOnce(F, Range) -> Result<Request, CommandError>,
    ) -> Result<Request, CommandError> {
        let mut range = Range::default();
        let mut filter = Map::new();
        for (name, value) in self.once()? {
            match name.as_str() {
                "limit" => range.limit = Some(limit(&value)?),
                "after" => range.after = Some(Cursor(value)),
                _ => {
                    if name == "tunnel" {
                        selector(value.clone()).map_err(|why| wrong(format!("`tunnel`: {why}")))?;
                    }
                    filter.insert(name, Value::from(value));
                }
            }
        }
        request(read(filter)?, range)
    }

    /// Every name with its value, if none is there twice.
    fn once(self) -> Result<Vec<(String, String)>, CommandError> {
        let pairs = self.0?;
        for (i, (name, _)) in pairs.iter().enumerate() {
            if pairs[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(invalid(format!("`{name}` is there twice in the query")));
            }
        }
        Ok(pairs)
    }
}

/// A filter, each field of which may be left out.
fn read<F: DeserializeOwned>(fields: Map<String, Value>) -> Result<F, CommandError> {
    let alone = |(name, value): (&String, &Value)| {
        let field = Map::from_iter([(name.clone(), value.clone())]);
        let error = serde_json::from_value::<F>(Value::Object(field)).err()?;
        Some(wrong(format!("`{name}`: {error}")))
    };
    let first = fields.iter().find_map(alone);
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| first.unwrap_or_else(|| wrong(error)))
}

fn limit(text: &str) -> Result<u16, CommandError> {
    let limit = text
        .parse()
        .ok()
        .filter(|limit| (1..=LARGEST_PAGE).contains(limit));
    limit.ok_or_else(|| invalid(format!("`limit` is 1 to {LARGEST_PAGE}")))
}

pub(super) fn invalid(message: impl Into<String>) -> CommandError {
    CommandError::new(ErrorKind::Invalid, message)
}

/// Refuses a query where none means anything.
pub(super) async fn none(request: HttpRequest, next: Next) -> HttpResponse {
    match request.uri().query() {
        Some(query) if !query.is_empty() => {
            refused(&invalid("the resource takes no query parameters"))
        }
        _ => next.run(request).await,
    }
}
