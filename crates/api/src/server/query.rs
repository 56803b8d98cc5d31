//! What comes after the question mark.

use std::convert::Infallible;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Request as HttpRequest};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response as HttpResponse;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::refused;
use crate::{CommandError, Cursor, ErrorKind, LARGEST_PAGE, Range, Request};

/// A query with these fields, or why it is none.
pub(super) type Asked<Q> = Result<axum::extract::Query<Q>, QueryRejection>;

/// The names and values of a query, in their order.
pub(super) struct Query(Result<Vec<(String, String)>, CommandError>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let pairs = axum::extract::Query::try_from_uri(&parts.uri);
        let pairs = pairs.map(|axum::extract::Query(pairs)| pairs);
        Ok(Self(pairs.map_err(|error| invalid(error.body_text()))))
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
                    filter.insert(name, Value::from(value));
                }
            }
        }
        let filter = serde_json::from_value(Value::Object(filter));
        let filter = filter.map_err(|error| invalid(format!("the query is wrong: {error}")));
        request(filter?, range)
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
