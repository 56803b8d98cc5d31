//! The interface of those who may look and not touch.

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response as HttpResponse;

use super::refused;
use crate::{CommandError, ErrorKind};

/// What marks a request that came over the read-only interface.
#[derive(Clone, Copy)]
pub(super) struct ReadOnly;

/// Lets requests that change nothing through, marked.
pub(super) async fn only_reads(mut request: Request, next: Next) -> HttpResponse {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return forbidden("this socket is read-only: it takes GET and HEAD alone");
    }
    request.extensions_mut().insert(ReadOnly);
    next.run(request).await
}

/// The answer to what is not for those who only look.
pub(super) fn forbidden(why: &str) -> HttpResponse {
    refused(&CommandError::new(ErrorKind::Forbidden, why))
}
