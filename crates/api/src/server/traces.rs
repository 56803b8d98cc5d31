//! Messages of a tunnel, a session or a peer, as they happen.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::access::ReadOnly;
use super::input::Segments;
use super::query::invalid;
use super::{Backed, Backend, refused, selector, selectors};
use crate::{CommandError, TraceEvent, TraceOf, TraceRequest};

/// What the query of a request to follow messages may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceQuery {
    peer: Option<IpAddr>,
    #[serde(default)]
    ppp: Choice,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Choice {
    Yes,
    #[default]
    No,
}

pub(super) type Asked = Result<Query<TraceQuery>, QueryRejection>;

/// Whether the client may only look.
type Looks = Option<Extension<ReadOnly>>;

type Of = Result<TraceOf, CommandError>;

pub(super) async fn of_tunnel<B: Backend>(
    State(b): Backed<B>,
    Segments(tunnel): Segments<String>,
    looks: Looks,
    query: Asked,
) -> HttpResponse {
    trace(b, looks, query, |peer| match peer {
        None => selector(&tunnel).map(TraceOf::Tunnel),
        Some(_) => Err(invalid("the tunnel is enough")),
    })
}

pub(super) async fn of_session<B: Backend>(
    State(b): Backed<B>,
    Segments(path): Segments<(String, String)>,
    looks: Looks,
    query: Asked,
) -> HttpResponse {
    trace(b, looks, query, |peer| match peer {
        None => selectors(&path).map(|(t, s)| TraceOf::Session(t, s)),
        Some(_) => Err(invalid("tunnel and session are enough")),
    })
}

pub(super) async fn of_peer<B: Backend>(
    State(b): Backed<B>,
    looks: Looks,
    query: Asked,
) -> HttpResponse {
    trace(b, looks, query, |peer| {
        peer.map(TraceOf::Peer)
            .ok_or_else(|| invalid("peer=ADDRESS is needed"))
    })
}

/// Messages as server-sent events, for as long as the client reads.
fn trace<B: Backend>(
    backend: Arc<B>,
    looks: Looks,
    query: Asked,
    of: impl FnOnce(Option<IpAddr>) -> Of,
) -> HttpResponse {
    let request = query
        .map_err(|error| invalid(error.body_text()))
        .and_then(|Query(query)| {
            let ppp = query.ppp == Choice::Yes;
            Ok(TraceRequest {
                of: of(query.peer)?,
                ppp,
            })
        });
    match request.and_then(|request| backend.trace(request)) {
        Ok(events) => {
            let body = Body::from_stream(stream::unfold(events, move |events| {
                next_event(events, looks.is_none())
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
