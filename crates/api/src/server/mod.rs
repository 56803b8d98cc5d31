//! The routes. They know HTTP and JSON; what a request means is the backend's.

mod access;
mod connections;
mod events;
mod input;
mod query;
mod traces;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::{get, patch, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::selector::is_number;
use crate::{
    Collection, CommandError, ErrorKind, Parameters, Range, Request, Response, Selector,
    SessionFilter, TraceEvent, TraceRequest, openapi,
};
use access::{ReadOnly, forbidden};
use input::{Given, Segments};
use query::Query;

pub use connections::{BUFFER, CONNECTIONS, PATIENCE, serve, serve_read_only};
pub use events::{EventLog, READERS};
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
}

/// The routes over `backend` without those that change something or show a secret: they are refused with 403, and traces come
/// without the octets of messages.
pub fn read_only<B: Backend>(backend: Arc<B>) -> Router {
    router(backend).layer(from_fn(access::only_reads))
}

/// The routes over `backend`.
pub fn router<B: Backend>(backend: Arc<B>) -> Router {
    let lists = Router::new()
        .route(
            "/v1/tunnels",
            get(|State(b): Backed<B>, query: Query| {
                list(b, query, |f, r| Ok(Request::TunnelList(f, r)))
            })
            .post(create_tunnel::<B>),
        )
        .route(
            "/v1/tunnels/{tunnel}/sessions",
            get(list_sessions_of::<B>).post(create_session::<B>),
        )
        .route(
            "/v1/sessions",
            get(|State(b): Backed<B>, query: Query| {
                list(b, query, |f, r| Ok(Request::SessionList(f, r)))
            }),
        )
        .route(
            "/v1/users",
            get(|State(b): Backed<B>, query: Query| {
                list(b, query, |f, r| Ok(Request::UserList(f, r)))
            }),
        )
        .route(
            "/v1/peers",
            get(|State(b): Backed<B>, query: Query| {
                list(b, query, |Nothing {}, r| Ok(Request::PeerList(r)))
            }),
        );
    let streams = Router::new()
        .route("/v1/tunnels/{tunnel}/trace", get(traces::of_tunnel::<B>))
        .route(
            "/v1/tunnels/{tunnel}/sessions/{session}/trace",
            get(traces::of_session::<B>),
        )
        .route("/v1/events", get(events::follow::<B>))
        .route("/v1/trace", get(traces::of_peer::<B>));
    let objects = Router::new()
        .route(
            "/v1/tunnels/{tunnel}",
            get(show_tunnel::<B>)
                .patch(modify_tunnel::<B>)
                .delete(delete_tunnel::<B>),
        )
        .route(
            "/v1/tunnels/{tunnel}/sessions/{session}",
            get(show_session::<B>)
                .patch(modify_session::<B>)
                .delete(delete_session::<B>),
        )
        .route("/v1/peers/{local}/{remote}", get(show_peer::<B>))
        .route(
            "/v1/system",
            get(|State(b): Backed<B>| answer(b, Request::SystemShow)),
        )
        .route(
            "/v1/system/statistics",
            get(|State(b): Backed<B>| answer(b, Request::SystemStatistics)),
        )
        .route(
            "/v1/system/statistics/reset",
            post(|State(b): Backed<B>| answer(b, Request::StatisticsReset)),
        )
        .route(
            "/v1/config/system",
            get(|State(b): Backed<B>| answer(b, Request::SystemParameters))
                .patch(modify_system::<B>),
        )
        .route("/v1/config/reload", post(reload::<B>))
        .route(
            "/v1/openapi.json",
            get(async || json(StatusCode::OK, &openapi::document())),
        )
        .route("/v1/config/file", get(config_file::<B>));
    let lists = Collection::ALL.into_iter().fold(lists, add_collection::<B>);
    let objects = Collection::ALL.into_iter().fold(objects, add_object::<B>);
    lists
        .merge(streams)
        .route_layer(from_fn(query::of_lists_only))
        .merge(objects.route_layer(from_fn(query::none)))
        .fallback(|| async {
            refusal(
                StatusCode::NOT_FOUND,
                &CommandError::new(ErrorKind::NoResource, "no such resource"),
            )
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

type Backed<B> = State<Arc<B>>;

fn add_collection<B: Backend>(router: Router<Arc<B>>, collection: Collection) -> Router<Arc<B>> {
    let listed = move |State(b): Backed<B>, query: Query| {
        list(b, query, move |Nothing {}, r| {
            Ok(Request::ObjectList(collection, r))
        })
    };
    let create = move |State(b): Backed<B>, body: Given| {
        create(b, body, move |p| Request::ObjectCreate(collection, p))
    };
    router.route(collection.path(), get(listed).post(create))
}

fn add_object<B: Backend>(router: Router<Arc<B>>, collection: Collection) -> Router<Arc<B>> {
    let show = move |State(b): Backed<B>, Segments(name): Segments<String>| {
        answer(b, Request::ObjectShow(collection, name))
    };
    let delete = move |State(b): Backed<B>, Segments(name): Segments<String>| {
        answer(b, Request::ObjectDelete(collection, name))
    };
    let modify = move |State(b): Backed<B>, Segments(name): Segments<String>, body: Given| {
        with_body(b, body, move |p| Request::ObjectModify(collection, name, p))
    };
    router.route(
        &format!("{}/{{name}}", collection.path()),
        patch(modify).get(show).delete(delete),
    )
}

/// Filters of lists that have none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Answers a request for a page of a list.
async fn list<B: Backend, F: DeserializeOwned>(
    backend: Arc<B>,
    query: Query,
    request: impl FnOnce(F, Range) -> Result<Request, CommandError>,
) -> HttpResponse {
    let request = query
        .read()
        .and_then(|(filter, range)| request(filter, range));
    answer_if(backend, request).await
}

async fn show_peer<B: Backend>(
    State(b): Backed<B>,
    Segments((local, remote)): Segments<(String, String)>,
) -> HttpResponse {
    let address = |text: &str| {
        let message = format!("`{text}` is no IP address");
        text.parse()
            .map_err(|_| CommandError::new(ErrorKind::Invalid, message))
    };
    let request = address(&local).and_then(|local| Ok((local, address(&remote)?)));
    answer_if(b, request.map(|(l, r)| Request::PeerShow(l, r))).await
}

async fn create_tunnel<B: Backend>(State(b): Backed<B>, body: Given) -> HttpResponse {
    create(b, body, Request::TunnelCreate).await
}

async fn show_tunnel<B: Backend>(
    State(b): Backed<B>,
    Segments(tunnel): Segments<String>,
) -> HttpResponse {
    answer_if(b, selector(&tunnel).map(Request::TunnelShow)).await
}

async fn modify_tunnel<B: Backend>(
    State(b): Backed<B>,
    Segments(tunnel): Segments<String>,
    body: Given,
) -> HttpResponse {
    match selector(&tunnel) {
        Ok(tunnel) => with_body(b, body, |p| Request::TunnelModify(tunnel, p)).await,
        Err(error) => refused(&error),
    }
}

async fn delete_tunnel<B: Backend>(
    State(b): Backed<B>,
    Segments(tunnel): Segments<String>,
) -> HttpResponse {
    answer_if(b, selector(&tunnel).map(Request::TunnelDelete)).await
}

async fn list_sessions_of<B: Backend>(
    State(b): Backed<B>,
    Segments(tunnel): Segments<String>,
    query: Query,
) -> HttpResponse {
    list(b, query, |filter: SessionFilter, range| {
        if filter.tunnel.is_some() {
            let message = "the path says which tunnel";
            return Err(CommandError::new(ErrorKind::Invalid, message));
        }
        let tunnel = Some(selector(&tunnel)?);
        Ok(Request::SessionList(
            SessionFilter { tunnel, ..filter },
            range,
        ))
    })
    .await
}

async fn create_session<B: Backend>(
    State(b): Backed<B>,
    Segments(tunnel): Segments<String>,
    body: Given,
) -> HttpResponse {
    match selector(&tunnel) {
        Ok(tunnel) => create(b, body, |p| Request::SessionCreate(tunnel, p)).await,
        Err(error) => refused(&error),
    }
}

async fn show_session<B: Backend>(
    State(b): Backed<B>,
    Segments(path): Segments<(String, String)>,
) -> HttpResponse {
    answer_if(b, selectors(&path).map(|(t, s)| Request::SessionShow(t, s))).await
}

async fn modify_session<B: Backend>(
    State(b): Backed<B>,
    Segments(path): Segments<(String, String)>,
    body: Given,
) -> HttpResponse {
    match selectors(&path) {
        Ok((t, s)) => with_body(b, body, |p| Request::SessionModify(t, s, p)).await,
        Err(error) => refused(&error),
    }
}

async fn delete_session<B: Backend>(
    State(b): Backed<B>,
    Segments(path): Segments<(String, String)>,
) -> HttpResponse {
    let request = selectors(&path).map(|(t, s)| Request::SessionDelete(t, s));
    answer_if(b, request).await
}

async fn modify_system<B: Backend>(State(b): Backed<B>, body: Given) -> HttpResponse {
    with_body(b, body, Request::SystemModify).await
}

/// The configuration as a file, secrets and all.
async fn config_file<B: Backend>(
    State(b): Backed<B>,
    read_only: Option<Extension<ReadOnly>>,
) -> HttpResponse {
    match read_only {
        None => answer(b, Request::ConfigFile).await,
        Some(_) => forbidden("the configuration file has secrets, which this socket does not show"),
    }
}

async fn reload<B: Backend>(State(b): Backed<B>, body: Given) -> HttpResponse {
    with_body(b, body, Request::ConfigReload).await
}

/// What a segment of a path names. Digits are an id: one that there can't be is wrong rather than not there.
fn selector(segment: &str) -> Result<Selector, CommandError> {
    let Ok(selector) = segment.parse();
    match selector {
        Selector::Name(name) if is_number(segment) => Err(no_id(&name)),
        Selector::Id(0) => Err(no_id(segment)),
        selector => Ok(selector),
    }
}

fn selectors((tunnel, session): &(String, String)) -> Result<(Selector, Selector), CommandError> {
    Ok((selector(tunnel)?, selector(session)?))
}

fn no_id(text: &str) -> CommandError {
    let message =
        format!("{text} is no id: those are 1 to 65535; a name of digits is written ={text}");
    CommandError::new(ErrorKind::Invalid, message)
}

/// Answers a request that makes something: 201 on success.
async fn create<B: Backend>(
    backend: Arc<B>,
    body: Given,
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
    body: Given,
    request: impl FnOnce(Parameters) -> Request,
) -> HttpResponse {
    answer(backend, request(body.0)).await
}

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
