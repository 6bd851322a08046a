//! The seam between the outbox and the ways that lead to people.
//!
//! In: a [`Notice`]. Out: that it was accepted, or why not. A channel tries once and tells the truth; when to try
//! again is the outbox's decision. Must never: report a delivery that was not confirmed.

use cordon_model::notice::Notice;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// A delivery under way.
pub type DeliveryFuture<'a> = Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + 'a>>;

/// One way to reach people.
pub trait Channel: Send + Sync + fmt::Debug {
    /// Name that the operator gave it; it names the outbox stream, so a renamed channel starts an empty one.
    fn name(&self) -> &str;

    /// Tries once to deliver. `sent_at_s` is the time of sending, Unix seconds, for receivers that refuse old
    /// messages. The same notice may be delivered again after a crash; its id tells the receiver so.
    ///
    /// # Errors
    /// [`DeliveryError`], which holds neither secrets nor more of an address than its host.
    fn deliver<'a>(&'a self, notice: &'a Notice, sent_at_s: u64) -> DeliveryFuture<'a>;
}

/// Why an attempt failed. The texts go into the log, so they name no secret: a webhook's path may be one.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The receiver answered, but not with success.
    #[error("{host} answered with status {status}, expected 200 to 299")]
    Status {
        /// Host and port of the receiver.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// The receiver did not answer.
    #[error("{host} did not answer: {reason}")]
    Unreachable {
        /// Host and port of the receiver.
        host: String,
        /// What happened, for people.
        reason: String,
    },
    /// The text could not be written.
    #[error("cannot write the notice: {0}")]
    Write(#[source] std::io::Error),
    /// The notice could not be put into the channel's format.
    #[error("cannot render the notice: {0}")]
    Render(#[source] serde_json::Error),
}
