//! Notice -> people.
//!
//! In: notices that the engine queued in the log. Out: messages on the operator's channels, each at least once, and
//! a record of every attempt. One file per channel under [`channels`]. It must never decide whom an incident
//! concerns, and never let text from a chain act on the reader's terminal or a secret into a log.

pub mod channel;
pub mod channels;
pub mod outbox;
mod text;

pub use channel::{Channel, DeliveryError, DeliveryFuture};
pub use channels::{ChannelConfig, ChannelConfigError, environment};
pub use outbox::{Drained, Moment, Outbox, Pending, pending, queue_records};
