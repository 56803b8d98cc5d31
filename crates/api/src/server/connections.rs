//! Connections, and what one of them may cost: time, memory, and places for others.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;

use super::query::invalid;
use super::{Backend, read_only, refusal, router};

/// The most connections to a socket at a time; more wait in the kernel until one ends. Each does, but for streams that are read, and of those there
/// are fewer.
pub const CONNECTIONS: usize = 256;

/// The longest head of a request, octets, as it is written without more blanks than it needs; and about what is kept of an answer that is not read.
pub const BUFFER: usize = 64 * 1024;

/// How long the head of a request may take, or its body, or an answer of which the client reads nothing.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long no connection is accepted where the system has nothing left for one.
const LACK: Duration = Duration::from_millis(200);

/// Serves every connection that `listener` accepts, until the future is dropped, and the connections with it.
pub async fn serve<B: Backend>(listener: UnixListener, backend: Arc<B>) {
    accept(listener, router(backend)).await;
}

/// As [`serve`], for those who may look and not touch: see [`read_only`].
pub async fn serve_read_only<B: Backend>(listener: UnixListener, backend: Arc<B>) {
    accept(listener, read_only(backend)).await;
}

async fn accept(listener: UnixListener, router: Router) {
    let router = router.layer(from_fn(bounded));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, router.clone()));
                }
                Err(_) => sleep(LACK).await,
            },
        }
    }
}

/// Refuses a head that is too long: the reader of heads only sees that of one which does not come whole.
async fn bounded(request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query();
    let target = target.map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter();
    let fields: usize = fields
        .map(|(name, value)| name.as_str().len() + ": \r\n".len() + value.len())
        .sum();
    let length = request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + fields;
    if length <= BUFFER {
        return next.run(request).await;
    }
    let error = invalid(format!("the head is longer than {BUFFER} octets"));
    refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &error)
}

/// Serves one connection. How it ends is the client's affair.
async fn converse(stream: UnixStream, router: Router) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(PATIENCE));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(BUFFER)
        .serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(router),
        )
        .await;
}
