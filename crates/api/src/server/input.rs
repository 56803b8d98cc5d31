//! What a request brings beside its query: segments of its path, and a body of a bounded size in a bounded time.

use std::fmt;

use axum::extract::{FromRequest, FromRequestParts, Path, Request as HttpRequest};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response as HttpResponse};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::timeout;

use super::connections::PATIENCE;
use super::query::invalid;
use super::refusal;
use crate::selector::is_number;
use crate::{CommandError, Parameters, Selector};

/// The longest body of a request, octets.
pub const LARGEST_BODY: usize = 1024 * 1024;

/// Why what a request brings was not taken.
pub(super) struct Refusal(StatusCode, CommandError);

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self(status, invalid(message))
    }

    fn of_path(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> HttpResponse {
        refusal(self.0, &self.1)
    }
}

/// Segments of the path.
pub(super) struct Segments<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, error.body_text())),
        }
    }
}

/// The tunnel that the path names.
pub(super) struct Tunnel(pub(super) Selector);

impl<S: Send + Sync> FromRequestParts<S> for Tunnel {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Segments(tunnel) = Segments::from_request_parts(parts, state).await?;
        Ok(Self(selector(tunnel).map_err(Refusal::of_path)?))
    }
}

/// The tunnel and its session that the path names.
pub(super) struct Session(pub(super) Selector, pub(super) Selector);

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Segments::from_request_parts(parts, state).await?;
        let Segments((tunnel, session)) = path;
        let [tunnel, session] = [selector(tunnel), selector(session)];
        let session = |tunnel| Ok(Self(tunnel, session?));
        tunnel.and_then(session).map_err(Refusal::of_path)
    }
}

/// What a text names, or why it names nothing. Digits are an id: one that there can't be is wrong rather than not there.
pub(super) fn selector(segment: String) -> Result<Selector, String> {
    let is_id = is_number(&segment);
    match segment.into() {
        Selector::Name(text) if is_id => Err(no_id(&text)),
        Selector::Id(0) => Err(no_id("0")),
        selector => Ok(selector),
    }
}

fn no_id(text: &str) -> String {
    format!("{text} is no id: those are 1 to 65535; a name of digits is written ={text}")
}

/// The parameters in the body. No body is none.
pub(super) struct Given(pub(super) Parameters);

impl<S: Sync> FromRequest<S> for Given {
    type Rejection = Refusal;

    async fn from_request(request: HttpRequest, _: &S) -> Result<Self, Refusal> {
        let body = timeout(PATIENCE, read(request.into_body())).await;
        let body = body.map_err(|_| {
            let message = format!("the body did not come within {} s", PATIENCE.as_secs());
            Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
        })??;
        if body.is_empty() {
            return Ok(Self(Parameters::new()));
        }
        serde_json::from_slice(&body).map_err(|error| {
            let message = format!("the body is not an object of parameters: {error}");
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Once)
    }
}

/// Takes parameters of which none is there twice: which of two values is meant nobody can tell.
struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let mut parameters = Parameters::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if parameters.contains_key(&name) {
                return Err(A::Error::custom(format!("`{name}` is there twice")));
            }
            parameters.insert(name, value);
        }
        Ok(Given(parameters))
    }
}

async fn read(body: axum::body::Body) -> Result<Bytes, Refusal> {
    let too_large = || {
        let message = format!("the body is longer than {LARGEST_BODY} octets");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    // Who says how much it is, and waits for our word before it sends it, need not.
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(too_large());
    }
    match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => {
            let message = format!("the body cannot be read: {error}");
            Err(Refusal::new(StatusCode::BAD_REQUEST, message))
        }
    }
}
