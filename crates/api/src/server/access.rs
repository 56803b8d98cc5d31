//! The interface of those who may look and not touch.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response as HttpResponse;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{READERS, refused};
use crate::{CommandError, ErrorKind};

/// The streams that those who only look may have open at a time, so that there are places left for who runs the daemon.
const LOOKERS: usize = READERS / 4 * 3;

/// What marks a request that came over the read-only interface: it counts who has a stream open.
#[derive(Clone)]
pub(super) struct ReadOnly(Arc<Semaphore>);

/// Whether the client may only look.
pub(super) type Looks = Option<Extension<ReadOnly>>;

impl ReadOnly {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(LOOKERS)))
    }
}

/// A place for a stream among those of clients that may only look, if this is one.
pub(super) fn place(looks: Looks) -> Result<Option<OwnedSemaphorePermit>, CommandError> {
    let place = looks.map(|Extension(ReadOnly(places))| places.try_acquire_owned());
    place.transpose().map_err(|_| {
        let message = format!("{LOOKERS} follow on this socket already");
        CommandError::new(ErrorKind::Resources, message)
    })
}

/// Lets requests that change nothing through, marked.
pub(super) async fn only_reads(
    State(mark): State<ReadOnly>,
    mut request: Request,
    next: Next,
) -> HttpResponse {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return forbidden("this socket is read-only: it takes GET and HEAD alone");
    }
    request.extensions_mut().insert(mark);
    next.run(request).await
}

/// The answer to what is not for those who only look.
pub(super) fn forbidden(why: &str) -> HttpResponse {
    refused(&CommandError::new(ErrorKind::Forbidden, why))
}
