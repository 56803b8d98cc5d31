//! The routes. They know HTTP and JSON; what a request means is the backend's.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::{get, patch};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{
    Collection, CommandError, ErrorKind, Parameters, Request, Response, Selector, TraceEvent,
    TraceOf, TraceRequest,
};

/// Whatever answers requests: the daemon, or a test.
pub trait Backend: Send + Sync + 'static {
    /// Answers `request`. Dropped unfinished when the client goes away.
    fn call(&self, request: Request)
    -> impl Future<Output = Result<Response, CommandError>> + Send;

    /// Follows messages: from now on until the receiver is dropped they come out of it.
    ///
    /// # Errors
    ///
    /// Too many follow already.
    fn trace(&self, request: TraceRequest) -> Result<mpsc::Receiver<TraceEvent>, CommandError>;
}

/// Serves every connection that `listener` accepts, until the future is dropped.
///
/// # Errors
///
/// The listener broke; that a client did is not an error.
pub async fn serve<B: Backend>(listener: UnixListener, backend: Arc<B>) -> io::Result<()> {
    axum::serve(listener, router(backend)).await
}

/// The routes over `backend`.
pub fn router<B: Backend>(backend: Arc<B>) -> Router {
    let fixed = Router::new()
        .route(
            "/v1/tunnels",
            get(list_tunnels::<B>).post(create_tunnel::<B>),
        )
        .route(
            "/v1/tunnels/{tunnel}",
            get(show_tunnel::<B>).delete(delete_tunnel::<B>),
        )
        .route(
            "/v1/tunnels/{tunnel}/sessions",
            get(list_sessions_of::<B>).post(create_session::<B>),
        )
        .route(
            "/v1/tunnels/{tunnel}/sessions/{session}",
            get(show_session::<B>)
                .patch(modify_session::<B>)
                .delete(delete_session::<B>),
        )
        .route("/v1/tunnels/{tunnel}/trace", get(trace_tunnel::<B>))
        .route(
            "/v1/tunnels/{tunnel}/sessions/{session}/trace",
            get(trace_session::<B>),
        )
        .route("/v1/trace", get(trace_peer::<B>))
        .route(
            "/v1/sessions",
            get(|State(b): Backed<B>| answer(b, Request::SessionList(None))),
        )
        .route(
            "/v1/users",
            get(|State(b): Backed<B>| answer(b, Request::UserList)),
        )
        .route(
            "/v1/system",
            get(|State(b): Backed<B>| answer(b, Request::SystemShow)),
        )
        .route(
            "/v1/system/statistics",
            get(|State(b): Backed<B>| answer(b, Request::SystemStatistics)),
        )
        .route(
            "/v1/config/system",
            get(|State(b): Backed<B>| answer(b, Request::SystemParameters))
                .patch(modify_system::<B>),
        );
    Collection::ALL
        .into_iter()
        .fold(fixed, add_collection::<B>)
        .fallback(|| async {
            refusal(
                StatusCode::NOT_FOUND,
                &CommandError::new(ErrorKind::NotFound, "no such resource"),
            )
        })
        .method_not_allowed_fallback(|| async {
            let error =
                CommandError::new(ErrorKind::Invalid, "the resource does not take this method");
            refusal(StatusCode::METHOD_NOT_ALLOWED, &error)
        })
        .with_state(backend)
}

type Backed<B> = State<Arc<B>>;

fn add_collection<B: Backend>(router: Router<Arc<B>>, collection: Collection) -> Router<Arc<B>> {
    let list = move |State(b): Backed<B>| answer(b, Request::ObjectList(collection));
    let create = move |State(b): Backed<B>, body: Bytes| {
        create(b, body, move |p| Request::ObjectCreate(collection, p))
    };
    let show = move |State(b): Backed<B>, Path(name): Path<String>| {
        answer(b, Request::ObjectShow(collection, name))
    };
    let delete = move |State(b): Backed<B>, Path(name): Path<String>| {
        answer(b, Request::ObjectDelete(collection, name))
    };
    let modify = move |State(b): Backed<B>, Path(name): Path<String>, body: Bytes| {
        with_body(b, body, move |p| Request::ObjectModify(collection, name, p))
    };
    router
        .route(collection.path(), get(list).post(create))
        .route(
            &format!("{}/{{name}}", collection.path()),
            patch(modify).get(show).delete(delete),
        )
}

async fn list_tunnels<B: Backend>(State(b): Backed<B>) -> HttpResponse {
    answer(b, Request::TunnelList).await
}

async fn create_tunnel<B: Backend>(State(b): Backed<B>, body: Bytes) -> HttpResponse {
    create(b, body, Request::TunnelCreate).await
}

async fn show_tunnel<B: Backend>(State(b): Backed<B>, Path(tunnel): Path<String>) -> HttpResponse {
    answer(b, Request::TunnelShow(selector(&tunnel))).await
}

async fn delete_tunnel<B: Backend>(
    State(b): Backed<B>,
    Path(tunnel): Path<String>,
) -> HttpResponse {
    answer(b, Request::TunnelDelete(selector(&tunnel))).await
}

async fn list_sessions_of<B: Backend>(
    State(b): Backed<B>,
    Path(tunnel): Path<String>,
) -> HttpResponse {
    answer(b, Request::SessionList(Some(selector(&tunnel)))).await
}

async fn create_session<B: Backend>(
    State(b): Backed<B>,
    Path(tunnel): Path<String>,
    body: Bytes,
) -> HttpResponse {
    create(b, body, |p| Request::SessionCreate(selector(&tunnel), p)).await
}

async fn show_session<B: Backend>(
    State(b): Backed<B>,
    Path((tunnel, session)): Path<(String, String)>,
) -> HttpResponse {
    answer(
        b,
        Request::SessionShow(selector(&tunnel), selector(&session)),
    )
    .await
}

async fn modify_session<B: Backend>(
    State(b): Backed<B>,
    Path((tunnel, session)): Path<(String, String)>,
    body: Bytes,
) -> HttpResponse {
    let (tunnel, session) = (selector(&tunnel), selector(&session));
    with_body(b, body, |p| Request::SessionModify(tunnel, session, p)).await
}

async fn delete_session<B: Backend>(
    State(b): Backed<B>,
    Path((tunnel, session)): Path<(String, String)>,
) -> HttpResponse {
    answer(
        b,
        Request::SessionDelete(selector(&tunnel), selector(&session)),
    )
    .await
}

async fn modify_system<B: Backend>(State(b): Backed<B>, body: Bytes) -> HttpResponse {
    with_body(b, body, Request::SystemModify).await
}

/// What the query of a request to follow messages may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceQuery {
    peer: Option<IpAddr>,
    #[serde(default)]
    ppp: Choice,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Yes,
    #[default]
    No,
}

type Asked = Result<Query<TraceQuery>, QueryRejection>;

async fn trace_tunnel<B: Backend>(
    State(b): Backed<B>,
    Path(tunnel): Path<String>,
    query: Asked,
) -> HttpResponse {
    trace(b, query, |peer| match peer {
        None => Ok(TraceOf::Tunnel(selector(&tunnel))),
        Some(_) => Err("the tunnel is enough"),
    })
}

async fn trace_session<B: Backend>(
    State(b): Backed<B>,
    Path((tunnel, session)): Path<(String, String)>,
    query: Asked,
) -> HttpResponse {
    trace(b, query, |peer| match peer {
        None => Ok(TraceOf::Session(selector(&tunnel), selector(&session))),
        Some(_) => Err("tunnel and session are enough"),
    })
}

async fn trace_peer<B: Backend>(State(b): Backed<B>, query: Asked) -> HttpResponse {
    trace(b, query, |peer| {
        peer.map(TraceOf::Peer).ok_or("peer=ADDRESS is needed")
    })
}

/// Messages as server-sent events, for as long as the client reads.
fn trace<B: Backend>(
    backend: Arc<B>,
    query: Asked,
    of: impl FnOnce(Option<IpAddr>) -> Result<TraceOf, &'static str>,
) -> HttpResponse {
    let invalid = |message: String| {
        let error = CommandError::new(ErrorKind::Invalid, message);
        refusal(StatusCode::BAD_REQUEST, &error)
    };
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return invalid(error.body_text()),
    };
    let of = match of(query.peer) {
        Ok(of) => of,
        Err(message) => return invalid(message.to_owned()),
    };
    let ppp = query.ppp == Choice::Yes;
    let events = match backend.trace(TraceRequest { of, ppp }) {
        Ok(events) => events,
        Err(error) => return refusal(status_of(error.kind), &error),
    };
    let body = Body::from_stream(stream::unfold(events, next_event));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// How long nothing may be said on a stream: a client that is gone is found out by then.
const SILENCE: Duration = Duration::from_secs(15);

/// The next event as the stream has it; a comment where there was none for long.
async fn next_event(
    mut events: mpsc::Receiver<TraceEvent>,
) -> Option<(Result<Bytes, serde_json::Error>, mpsc::Receiver<TraceEvent>)> {
    let text = match timeout(SILENCE, events.recv()).await {
        Ok(Some(event)) => serde_json::to_string(&event).map(|json| format!("data: {json}\n\n")),
        Ok(None) => return None,
        Err(_) => Ok(":\n\n".to_owned()),
    };
    Some((text.map(Bytes::from), events))
}

fn selector(segment: &str) -> Selector {
    let Ok(selector) = segment.parse();
    selector
}

/// Answers a request that makes something: 201 on success.
async fn create<B: Backend>(
    backend: Arc<B>,
    body: Bytes,
    request: impl FnOnce(Parameters) -> Request,
) -> HttpResponse {
    let mut response = with_body(backend, body, request).await;
    if response.status().is_success() {
        *response.status_mut() = StatusCode::CREATED;
    }
    response
}

/// Answers a request that carries parameters.
async fn with_body<B: Backend>(
    backend: Arc<B>,
    body: Bytes,
    request: impl FnOnce(Parameters) -> Request,
) -> HttpResponse {
    match serde_json::from_slice(&body) {
        Ok(parameters) => answer(backend, request(parameters)).await,
        Err(error) => {
            let message = format!("the body is not an object of parameters: {error}");
            refusal(
                StatusCode::BAD_REQUEST,
                &CommandError::new(ErrorKind::Invalid, message),
            )
        }
    }
}

async fn answer<B: Backend>(backend: Arc<B>, request: Request) -> HttpResponse {
    match backend.call(request).await {
        Ok(response) => json(StatusCode::OK, &response),
        Err(error) => refusal(status_of(error.kind), &error),
    }
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
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
