//! Messages of a tunnel, a session or a peer, as they happen.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::access::{Looks, place};
use super::input::{Session, Tunnel};
use super::query::{Asked, asked};
use super::{Backed, Backend, refused};
use crate::{TraceEvent, TraceOf, TraceRequest};

/// What the query of a request to follow messages may have.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceQuery {
    /// PPP's control frames, too.
    #[serde(default)]
    ppp: Choice,
}

/// The same where the path does not say whose.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerQuery {
    /// The peer's address.
    peer: IpAddr,
    /// PPP's control frames, too.
    #[serde(default)]
    ppp: Choice,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Yes,
    #[default]
    No,
}

pub(super) async fn of_tunnel<B: Backend>(
    State(b): Backed<B>,
    Tunnel(tunnel): Tunnel,
    looks: Looks,
    query: Asked<TraceQuery>,
) -> HttpResponse {
    trace(b, looks, query, |query| {
        (TraceOf::Tunnel(tunnel), query.ppp)
    })
}

pub(super) async fn of_session<B: Backend>(
    State(b): Backed<B>,
    Session(tunnel, session): Session,
    looks: Looks,
    query: Asked<TraceQuery>,
) -> HttpResponse {
    trace(b, looks, query, |query| {
        (TraceOf::Session(tunnel, session), query.ppp)
    })
}

pub(super) async fn of_peer<B: Backend>(
    State(b): Backed<B>,
    looks: Looks,
    query: Asked<PeerQuery>,
) -> HttpResponse {
    trace(b, looks, query, |query| {
        (TraceOf::Peer(query.peer), query.ppp)
    })
}

/// Messages as server-sent events, for as long as the client reads.
fn trace<B: Backend, Q>(
    backend: Arc<B>,
    looks: Looks,
    query: Asked<Q>,
    of: impl FnOnce(Q) -> (TraceOf, Choice),
) -> HttpResponse {
    let octets = looks.is_none();
    let events = asked(query).and_then(|query| {
        let (of, ppp) = of(query);
        let ppp = ppp == Choice::Yes;
        let place = place(looks)?;
        Ok((backend.trace(TraceRequest { of, ppp })?, place))
    });
    match events {
        Ok((events, place)) => {
            let body = Body::from_stream(stream::unfold(events, move |events| {
                // It is held for as long as the stream is.
                let _ = &place;
                next_event(events, octets)
            }));
            ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
        Err(error) => refused(&error),
    }
}

/// How long nothing may be said on a stream: a client that is gone is found out by then.
pub(super) const SILENCE: Duration = Duration::from_secs(15);

/// The next event as the stream has it, with its octets or without; a comment where there was none for long.
async fn next_event(
    mut events: mpsc::Receiver<TraceEvent>,
    octets: bool,
) -> Option<(Result<Bytes, serde_json::Error>, mpsc::Receiver<TraceEvent>)> {
    let text = match timeout(SILENCE, events.recv()).await {
        Ok(Some(mut event)) => {
            event.octets = event.octets.filter(|_| octets);
            serde_json::to_string(&event).map(|json| format!("data: {json}\n\n"))
        }
        Ok(None) => return None,
        Err(_) => Ok(":\n\n".to_owned()),
    };
    Some((text.map(Bytes::from), events))
}
