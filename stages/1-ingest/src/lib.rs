//! Ingest: nodes and archives on one side, [`ChainUpdate`](cordon_model::block::ChainUpdate)s on the other.
//!
//! In: what a node or a file says about a chain, which is untrusted input. Out: one update at a time, after a cursor
//! that the caller owns. Must never: keep a position of its own, skip a block, repeat one that the cursor holds, or
//! guess how a reorganisation went that the cursor can no longer tell.

pub mod follow;
pub mod observe;
pub mod providers;
pub mod source;
pub mod sources;

mod convert;
mod error;
mod quantity;
mod receipts;
mod rollup;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod fixture;

pub use convert::Integrity;
pub use error::SourceError;
pub use follow::{Sight, Step, View, next_step};
pub use observe::{BeaconObserver, BeaconUrlError, NodeObserver, NodeObserverConfig};
pub use providers::{Connected, Counters, Endpoint, MethodCounts, NodeCounts, Quorum, Verdict, connect_all};
pub use source::{Advance, ChainSource};
pub use sources::SourceConfig;
pub use sources::archive::{
    Archive, HISTORY_INDEX, History, Recorded, read_recording, recordings, unknown_files,
};
pub use sources::json_rpc::{Finality, JsonRpc, Pending, PendingCounts, PendingFeed, StartAt, connect};
