//! The layer in every client that is made here: a time limit for each request, and errors without credentials.
//!
//! In: requests of whoever holds the provider. Out: the node's answer as it came, an error response included, or a
//! transport error that names the node by scheme, host and port. A node that takes a request and never answers is as
//! common as one that is down, and without a limit whoever waits for it waits for ever. It must never let a request go
//! on without end, nor pass on a transport's own error, because transports print whole urls.

use super::redact::Redactor;
use alloy_json_rpc::{Id, RequestPacket, ResponsePacket};
use alloy_transport::{HttpError, RpcError, TransportError, TransportErrorKind, TransportFut};
use serde::de::Error as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{Layer, Service};

/// What a transport's error becomes.
#[derive(Debug, thiserror::Error)]
#[error("node {node}: {cause}")]
pub(crate) struct Failed {
    /// Scheme, host and port.
    pub(crate) node: String,
    /// Innermost cause, redacted.
    pub(crate) cause: String,
}

/// The text of a time limit that passed.
pub(crate) fn no_answer(limit: Duration) -> String {
    format!("no answer within {} ms", limit.as_millis())
}

/// Puts the guard around a transport.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    redactor: Arc<Redactor>,
    limit: Duration,
}

impl Guard {
    pub(crate) fn new(redactor: Arc<Redactor>, limit: Duration) -> Self {
        Self { redactor, limit }
    }

    fn failed(&self, cause: String) -> Failed {
        Failed { node: self.redactor.node().to_owned(), cause }
    }

    /// The same error of the same kind, so that retries still decide by it, without credentials.
    fn clean(&self, error: TransportError) -> TransportError {
        match error {
            RpcError::Transport(kind) => RpcError::Transport(self.clean_kind(kind)),
            RpcError::DeserError { err, text } => RpcError::DeserError {
                err: serde_json::Error::custom(self.redactor.text(&err.to_string())),
                text: self.redactor.text(&text),
            },
            RpcError::LocalUsageError(error) => {
                RpcError::LocalUsageError(Box::new(self.failed(self.redactor.cause(error.as_ref()))))
            }
            // These hold the node's words or our own, and nothing of the way to it.
            RpcError::ErrorResp(_)
            | RpcError::NullResp
            | RpcError::UnsupportedFeature(_)
            | RpcError::SerError(_) => error,
        }
    }

    fn clean_kind(&self, kind: TransportErrorKind) -> TransportErrorKind {
        match kind {
            TransportErrorKind::HttpError(error) => TransportErrorKind::HttpError(self.clean_http(&error)),
            TransportErrorKind::HttpErrorWithRetryAfter { error, retry_after } => {
                TransportErrorKind::HttpErrorWithRetryAfter { error: self.clean_http(&error), retry_after }
            }
            TransportErrorKind::NonRetryable(error) => {
                TransportErrorKind::NonRetryable(Box::new(self.failed(self.redactor.cause(error.as_ref()))))
            }
            TransportErrorKind::Custom(error) => {
                TransportErrorKind::Custom(Box::new(self.failed(self.redactor.cause(error.as_ref()))))
            }
            TransportErrorKind::MissingBatchResponse(_)
            | TransportErrorKind::BackendGone
            | TransportErrorKind::PubsubUnavailable => kind,
            // Kinds that do not exist yet may print anything.
            other => TransportErrorKind::Custom(Box::new(self.failed(self.redactor.cause(&other)))),
        }
    }

    fn clean_http(&self, error: &HttpError) -> HttpError {
        HttpError { status: error.status, body: self.redactor.text(&error.body) }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { inner, guard: self.clone() }
    }
}

/// A transport with the guard around it.
#[derive(Debug, Clone)]
pub(crate) struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S> Service<RequestPacket> for Guarded<S>
where
    S: Service<RequestPacket, Response = ResponsePacket, Error = TransportError>,
    S::Future: Send + 'static,
{
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(|error| self.guard.clean(error))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let wanted = packet.as_single().map(|request| request.id().clone());
        let (answer, guard) = (self.inner.call(packet), self.guard.clone());
        Box::pin(async move {
            match tokio::time::timeout(guard.limit, answer).await {
                Ok(Ok(answer)) if is_foreign(wanted.as_ref(), &answer) => {
                    let cause = "the answer carries the id of another request".to_owned();
                    Err(TransportErrorKind::custom(guard.failed(cause)))
                }
                Ok(outcome) => outcome.map_err(|error| guard.clean(error)),
                Err(_) => Err(TransportErrorKind::custom(guard.failed(no_answer(guard.limit)))),
            }
        })
    }
}

/// Whether an answer belongs to another request. Balancers that mix up their connections answer so, and over http the
/// client below does not compare ids. An error may come without an id, where the server could not read it.
fn is_foreign(wanted: Option<&Id>, answer: &ResponsePacket) -> bool {
    let (Some(wanted), ResponsePacket::Single(answer)) = (wanted, answer) else { return false };
    answer.id != *wanted && !(answer.id.is_none() && answer.payload.is_error())
}

#[cfg(test)]
mod tests;
