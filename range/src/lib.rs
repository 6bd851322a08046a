//! The practice range: a small, deterministic EVM chain in memory.
//!
//! In go calls of scenario actors ([`Chain::submit_as`]) and JSON-RPC requests ([`ChainTransport`]); out come real
//! blocks, receipts and logs. The rest of Cordon sees the chain only through the transport, so the production
//! JSON-RPC code is what runs against it. No socket, no clock, no random source: the same calls give the same bytes.
//!
//! It must never be reachable from outside the process, and no type of the EVM implementation is part of its API.

pub mod artifacts;
mod chain;
mod rpc;
pub mod scenarios;
mod transport;
pub mod world;

pub use chain::config::{Call, ChainConfig, Fork};
pub use chain::error::{ChainError, TxRejection};
pub use chain::{BlockRef, Chain};
pub use rpc::RpcError;
pub use scenarios::{Scenario, Setup};
pub use transport::ChainTransport;
pub use world::{Facts, RangeError, Scorecard, StepOutcome, World};
