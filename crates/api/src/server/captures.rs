//! Packets of a session, as they pass.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::stream;
use tokio::time::timeout;

use super::access::{Looks, forbidden};
use super::input::Session;
use super::traces::SILENCE;
use super::{Backed, Backend, Captured, refused};

/// Packets as server-sent events, for as long as the client reads and the session lives.
pub(super) async fn of_session<B: Backend>(
    State(b): Backed<B>,
    Session(tunnel, session): Session,
    looks: Looks,
) -> HttpResponse {
    if looks.is_some() {
        return forbidden("packets are not for those who only look");
    }
    match b.capture(tunnel, session).await {
        Ok(captured) => {
            let body = Body::from_stream(stream::unfold(captured, next_packet));
            ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
        Err(error) => refused(&error),
    }
}

/// The next packet as the stream has it; a comment where there was none for long.
async fn next_packet(
    mut captured: Captured,
) -> Option<(Result<Bytes, serde_json::Error>, Captured)> {
    let text = match timeout(SILENCE, captured.packets.recv()).await {
        Ok(Some(packet)) => serde_json::to_string(&packet).map(|json| format!("data: {json}\n\n")),
        Ok(None) => return None,
        Err(_) => Ok(":\n\n".to_owned()),
    };
    Some((text.map(Bytes::from), captured))
}
