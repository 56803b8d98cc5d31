//! The client: one request, one connection, one answer.

use std::fmt::Write;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::{
    CapturedPacket, CommandError, EventFilter, EventRecord, Page, Parameters, Range, Request,
    Selector, TraceEvent, TraceRequest,
};

/// How long the daemon may take to answer. Nothing that it is asked waits for a peer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a request got no answer, or a refusal for one.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("no daemon at {}: {source}", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// The daemon went away before its answer was whole.
    #[error("the daemon went away: {0}")]
    Gone(String),
    /// The daemon did not answer in time.
    #[error("the daemon did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The daemon answered with a refusal.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// What listens there does not answer as the daemon does.
    #[error("the daemon's answer is not understood: {0}")]
    Protocol(String),
}

/// A blocking client of the daemon that serves a Unix socket.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    runtime: Runtime,
    patience: Duration,
}

/// What comes of following something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Followed<T> {
    /// The daemon has taken the request; what it will say is still to come. Once, and first.
    Begun,
    /// One of what is followed.
    Item(T),
}

impl Client {
    /// A client of the daemon that listens at `path`. Connects with each request, not now.
    ///
    /// # Errors
    ///
    /// The operating system has no more descriptors to give.
    pub fn new(path: &Path) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            path: path.to_owned(),
            runtime,
            patience: PATIENCE,
        })
    }

    /// The same, which waits no longer than `patience` for an answer.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks for a resource by its path, and returns what the answer says, of whatever form.
    ///
    /// # Errors
    ///
    /// As [`ClientError`] has them, and what is no text is [`ClientError::Protocol`].
    pub fn ask(
        &self,
        method: Method,
        path: &str,
        parameters: Option<&Parameters>,
    ) -> Result<String, ClientError> {
        let exchange = self.exchange(method, path, parameters);
        let (status, body) = self
            .runtime
            .block_on(async { timeout(self.patience, exchange).await })
            .map_err(|_| ClientError::Late(self.patience))??;
        if status.is_success() {
            String::from_utf8(body.into()).map_err(protocol)
        } else {
            Err(refusal(status, &body))
        }
    }

    /// Waits; false when a signal cut it short.
    ///
    /// # Errors
    ///
    /// Signals cannot be waited for.
    pub fn pause(&self, time: Duration) -> Result<bool, ClientError> {
        self.runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).map_err(protocol)?;
            tokio::select! {
                () = tokio::time::sleep(time) => Ok(true),
                _ = tokio::signal::ctrl_c() => Ok(false),
                _ = terminate.recv() => Ok(false),
            }
        })
    }

    /// Where a tunnel is.
    pub fn tunnel_path(tunnel: &Selector) -> String {
        format!("/v1/tunnels/{}", segment(&tunnel.to_string()))
    }

    /// Asks `request` and waits for its answer; `T` is what [`Request`] says that it is answered with, `()` for nothing.
    ///
    /// # Errors
    ///
    /// As [`ClientError`] has them.
    pub fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ClientError> {
        let (method, path, parameters) = http_form(request);
        let exchange = self.exchange(method, &path, parameters);
        let (status, body) = self
            .runtime
            .block_on(async { timeout(self.patience, exchange).await })
            .map_err(|_| ClientError::Late(self.patience))??;
        let content: &[u8] = if body.is_empty() { b"null" } else { &body };
        if status.is_success() {
            return serde_json::from_slice(content)
                .map_err(|e| ClientError::Protocol(e.to_string()));
        }
        Err(refusal(status, content))
    }

    /// Follows events, from now on or from the one with the id `after`, and hands each to `each`, until that breaks, the daemon ends, or
    /// SIGINT or SIGTERM comes: then the program goes on, and the answer is false.
    ///
    /// # Errors
    ///
    /// As [`ClientError`] has them.
    pub fn events(
        &self,
        filter: &EventFilter,
        after: Option<&str>,
        mut each: impl FnMut(EventRecord) -> ControlFlow<()>,
    ) -> Result<bool, ClientError> {
        let types = (!filter.types.is_empty()).then(|| filter.types.join(","));
        let tunnel = filter.tunnel.map(|tunnel| tunnel.to_string());
        let query = [
            ("type", types),
            ("tunnel", tunnel),
            ("after", after.map(str::to_owned)),
        ];
        let query = query
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", segment(&value?))));
        let path = format!("/v1/events?{}", query.collect::<Vec<_>>().join("&"));
        self.follow_until_signalled(&path, |followed| match followed {
            Followed::Begun => ControlFlow::Continue(()),
            Followed::Item(event) => each(event),
        })
    }

    /// Follows messages, and hands each to `each`, until that breaks, the daemon ends, or SIGINT or SIGTERM comes: then the program goes on.
    /// That the daemon has taken the request comes first.
    ///
    /// # Errors
    ///
    /// As [`ClientError`] has them.
    pub fn trace(
        &self,
        request: &TraceRequest,
        each: impl FnMut(Followed<TraceEvent>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        self.follow_until_signalled(&request.path(segment), each)
            .map(drop)
    }

    /// Follows the packets of a session, as [`trace`](Self::trace) does messages.
    ///
    /// # Errors
    ///
    /// As [`ClientError`] has them.
    pub fn capture(
        &self,
        (tunnel, session): (&Selector, &Selector),
        each: impl FnMut(Followed<CapturedPacket>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let [tunnel, session] = [tunnel, session].map(|which| segment(&which.to_string()));
        let path = format!("/v1/tunnels/{tunnel}/sessions/{session}/capture");
        self.follow_until_signalled(&path, each).map(drop)
    }

    fn follow_until_signalled<T: DeserializeOwned>(
        &self,
        path: &str,
        each: impl FnMut(Followed<T>) -> ControlFlow<()>,
    ) -> Result<bool, ClientError> {
        self.runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).map_err(protocol)?;
            tokio::select! {
                ended = self.follow(path, each) => ended.map(|()| true),
                _ = tokio::signal::ctrl_c() => Ok(false),
                _ = terminate.recv() => Ok(false),
            }
        })
    }

    /// Reads server-sent events until `each` breaks or the daemon ends them.
    async fn follow<T: DeserializeOwned>(
        &self,
        path: &str,
        mut each: impl FnMut(Followed<T>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let request = self.send(Method::GET, path, None);
        let mut response = timeout(self.patience, request)
            .await
            .map_err(|_| ClientError::Late(self.patience))??;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await.map_err(cut_short)?;
            return Err(refusal(status, &body.to_bytes()));
        }
        if each(Followed::Begun).is_break() {
            return Ok(());
        }
        let mut text = Vec::new();
        while let Some(frame) = response.frame().await {
            let frame = frame.map_err(cut_short)?;
            text.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
            while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = text.drain(..end + 2).collect();
                let lines = event.split(|&octet| octet == b'\n');
                for json in lines.filter_map(|line| line.strip_prefix(b"data: ")) {
                    let event = serde_json::from_slice(json).map_err(protocol)?;
                    if each(Followed::Item(event)).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks for a list, page by page as it is read; `T` is what the list is of. What is no list is one page without items.
    /// After an error there is nothing more.
    pub fn list<T: DeserializeOwned>(
        &self,
        request: Request,
    ) -> impl Iterator<Item = Result<T, ClientError>> + use<'_, T> {
        let mut request = Some(request);
        let page = move || {
            let mut asked = request.take()?;
            match self.call::<Page<T>>(&asked) {
                Ok(Page { items, next }) => {
                    if let (Some(range), Some(next)) = (asked.range_mut(), next) {
                        range.after = Some(next);
                        request = Some(asked);
                    }
                    Some(items.into_iter().map(Ok).collect())
                }
                Err(error) => Some(vec![Err(error)]),
            }
        };
        std::iter::from_fn(page).flatten()
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        parameters: Option<&Parameters>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let response = self.send(method, path, parameters).await?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(cut_short)?
            .to_bytes();
        Ok((status, body))
    }

    /// Sends a request, and returns when its answer begins.
    async fn send(
        &self,
        method: Method,
        path: &str,
        parameters: Option<&Parameters>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.path)
                .await
                .map_err(|source| ClientError::NoDaemon {
                    path: self.path.clone(),
                    source,
                })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(protocol)?;
        tokio::spawn(connection);
        let body = match parameters {
            Some(parameters) => serde_json::to_vec(parameters).map_err(protocol)?,
            None => Vec::new(),
        };
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(protocol)?;
        sender.send_request(request).await.map_err(cut_short)
    }
}

/// Why an exchange was cut short: what does not speak HTTP is no daemon, any other end is the daemon's.
fn cut_short(error: hyper::Error) -> ClientError {
    if error.is_parse() {
        protocol(error)
    } else {
        ClientError::Gone(error.to_string())
    }
}

/// What an answer means that is no success.
fn refusal(status: StatusCode, content: &[u8]) -> ClientError {
    match serde_json::from_slice::<CommandError>(content) {
        Ok(error) => ClientError::Refused(error),
        Err(_) => ClientError::Protocol(format!("HTTP status {status}")),
    }
}

fn protocol(error: impl std::fmt::Display) -> ClientError {
    ClientError::Protocol(error.to_string())
}

/// The method, path and body of a request: what the server's routes read.
fn http_form(request: &Request) -> (Method, String, Option<&Parameters>) {
    let tunnel = |t: &dyn ToString| format!("/v1/tunnels/{}", segment(&t.to_string()));
    let fixed = str::to_owned;
    match request {
        Request::TunnelList(filter, range) => listed("/v1/tunnels", filter, range),
        Request::TunnelCreate(p) => (Method::POST, fixed("/v1/tunnels"), Some(p)),
        Request::TunnelShow(t) => (Method::GET, tunnel(t), None),
        Request::TunnelModify(t, p) => (Method::PATCH, tunnel(t), Some(p)),
        Request::TunnelDelete(t) => (Method::DELETE, tunnel(t), None),
        Request::SessionList(filter, range) => listed("/v1/sessions", filter, range),
        Request::SessionCreate(t, p) => (Method::POST, tunnel(t) + "/sessions", Some(p)),
        Request::SessionShow(t, s) => (
            Method::GET,
            tunnel(t) + "/sessions/" + &segment(&s.to_string()),
            None,
        ),
        Request::SessionModify(t, s, p) => (
            Method::PATCH,
            tunnel(t) + "/sessions/" + &segment(&s.to_string()),
            Some(p),
        ),
        Request::SessionDelete(t, s) => (
            Method::DELETE,
            tunnel(t) + "/sessions/" + &segment(&s.to_string()),
            None,
        ),
        Request::UserList(filter, range) => listed("/v1/users", filter, range),
        Request::PeerList(range) => listed("/v1/peers", &(), range),
        Request::PeerShow(local, remote) => {
            let path = format!("/v1/peers/{local}/{remote}");
            (Method::GET, path, None)
        }
        Request::SystemShow => (Method::GET, fixed("/v1/system"), None),
        Request::SystemStatistics => (Method::GET, fixed("/v1/system/statistics"), None),
        Request::SystemDatapath => (Method::GET, fixed("/v1/system/datapath"), None),
        Request::Metrics(_) => (Method::GET, fixed("/metrics"), None),
        Request::StatisticsReset => (Method::POST, fixed("/v1/system/statistics/reset"), None),
        Request::SystemParameters => (Method::GET, fixed("/v1/config/system"), None),
        Request::SystemModify(p) => (Method::PATCH, fixed("/v1/config/system"), Some(p)),
        Request::ConfigReload(p) => (Method::POST, fixed("/v1/config/reload"), Some(p)),
        Request::ConfigFile => (Method::GET, fixed("/v1/config/file"), None),
        Request::ObjectList(c, range) => listed(c.path(), &(), range),
        Request::ObjectCreate(c, p) => (Method::POST, fixed(c.path()), Some(p)),
        Request::ObjectShow(c, name) => {
            (Method::GET, format!("{}/{}", c.path(), segment(name)), None)
        }
        Request::ObjectModify(c, name, p) => (
            Method::PATCH,
            format!("{}/{}", c.path(), segment(name)),
            Some(p),
        ),
        Request::ObjectDelete(c, name) => (
            Method::DELETE,
            format!("{}/{}", c.path(), segment(name)),
            None,
        ),
    }
}

/// The path of a list with the query that selects a part of it.
fn listed(
    path: &str,
    filter: &impl Serialize,
    range: &Range,
) -> (Method, String, Option<&'static Parameters>) {
    // Plain structs of scalars do not fail.
    let fields = [serde_json::to_value(filter), serde_json::to_value(range)];
    let fields = fields
        .into_iter()
        .filter_map(|fields| fields.ok()?.as_object().cloned());
    let mut path = path.to_owned();
    let mut mark = '?';
    for (name, value) in fields.flatten().filter(|(_, value)| !value.is_null()) {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let _ = write!(path, "{mark}{name}={}", segment(&text));
        mark = '&';
    }
    (Method::GET, path, None)
}

/// `text` as one segment of a path, or one value of a query: everything but RFC 3986's unreserved characters and `=` is percent-encoded.
fn segment(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~=".contains(&byte) {
                out.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
            out
        })
}
