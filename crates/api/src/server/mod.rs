//! The routes. They know HTTP and JSON; what a request means is the backend's.

mod access;
mod captures;
mod connections;
mod events;
mod input;
mod interface;
mod objects;
mod openapi;
mod query;
mod routes;
mod traces;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response as HttpResponse};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{
    CapturedPacket, CommandError, ErrorKind, Request, Response, Selector, TraceEvent, TraceRequest,
};

pub use connections::{BUFFER, CONNECTIONS, PATIENCE, serve, serve_read_only};
pub use events::{EventCounts, EventLog, READERS};
pub use input::LARGEST_BODY;

/// Whatever answers requests: the daemon, or a test.
pub trait Backend: Send + Sync + 'static {
    /// Answers `request`. Dropped unfinished when the client goes away.
    fn call(&self, request: Request)
    -> impl Future<Output = Result<Response, CommandError>> + Send;
    /// What happened, for those who follow.
    fn events(&self) -> Arc<EventLog>;

    /// Follows messages: from now on until the receiver is dropped they come out of it.
    ///
    /// # Errors
    ///
    /// Too many follow already.
    fn trace(&self, request: TraceRequest) -> Result<mpsc::Receiver<TraceEvent>, CommandError>;

    /// Follows the packets of a session, from now on.
    ///
    /// # Errors
    ///
    /// There is no such session, nothing carries it, or too many follow already. Where nothing has packets, always.
    fn capture(
        &self,
        tunnel: Selector,
        session: Selector,
    ) -> impl Future<Output = Result<Captured, CommandError>> + Send {
        let message = format!("nothing carries session {session} of tunnel {tunnel}");
        std::future::ready(Err(CommandError::new(ErrorKind::NotFound, message)))
    }
}

/// Packets that are captured, until this is dropped or the session ends.
pub struct Captured {
    /// What comes.
    pub packets: mpsc::Receiver<CapturedPacket>,
    /// Dropped with it, which the other end waits for.
    pub held: oneshot::Sender<()>,
}

/// The routes over `backend` without those that change something or show a secret: they are refused with 403, and traces come
/// without the octets of messages.
pub fn read_only<B: Backend>(backend: Arc<B>) -> Router {
    let mark = access::ReadOnly::new();
    router(backend).layer(from_fn_with_state(mark, access::only_reads))
}

/// The routes over `backend`.
pub fn router<B: Backend>(backend: Arc<B>) -> Router {
    routes::interface()
        .into_router()
        .fallback(|| async {
            refused(&CommandError::new(
                ErrorKind::NoResource,
                "no such resource",
            ))
        })
        .method_not_allowed_fallback(async |method: Method| {
            if method == Method::OPTIONS {
                // The router adds what is allowed.
                return StatusCode::NO_CONTENT.into_response();
            }
            let error =
                CommandError::new(ErrorKind::Invalid, "the resource does not take this method");
            refusal(StatusCode::METHOD_NOT_ALLOWED, &error)
        })
        .with_state(backend)
}

/// The interface as an OpenAPI 3.1 document, which `GET /v1/openapi.json` answers.
pub fn document() -> serde_json::Value {
    routes::interface::<Nobody>().into_document()
}

/// Who answers where nobody asks.
enum Nobody {}

impl Backend for Nobody {
    async fn call(&self, _: Request) -> Result<Response, CommandError> {
        match *self {}
    }

    fn events(&self) -> Arc<EventLog> {
        match *self {}
    }

    fn trace(&self, _: TraceRequest) -> Result<mpsc::Receiver<TraceEvent>, CommandError> {
        match *self {}
    }
}

type Backed<B> = State<Arc<B>>;

async fn answer<B: Backend>(backend: Arc<B>, request: Request) -> HttpResponse {
    match backend.call(request).await {
        Ok(Response::Text(text)) => text.into_response(),
        Ok(response) => json(StatusCode::OK, &response),
        Err(error) => refused(&error),
    }
}

/// Answers a request that could be read.
async fn answer_if<B: Backend>(
    backend: Arc<B>,
    request: Result<Request, CommandError>,
) -> HttpResponse {
    match request {
        Ok(request) => answer(backend, request).await,
        Err(error) => refused(&error),
    }
}

fn refused(error: &CommandError) -> HttpResponse {
    refusal(status_of(error.kind), error)
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound | ErrorKind::NoResource => StatusCode::NOT_FOUND,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::Exists => StatusCode::CONFLICT,
        ErrorKind::Resources | ErrorKind::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refusal(status: StatusCode, error: &CommandError) -> HttpResponse {
    json(status, error)
}

fn json(status: StatusCode, content: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(content) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
