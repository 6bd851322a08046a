//! The nouns that pass between the rooms of Cordon, and nothing else.
//!
//! `ChainUpdate -> Execution -> Finding -> Incident (events) -> Plan -> Receipt -> Report -> Remedy -> Allocation`
//!
//! In: nothing. Out: plain values that serialise the same way for ever (see [`log`]). This crate must never do
//! I/O, read a clock, draw a random number or name an EVM implementation: every stage depends on it, so whatever
//! it could do, every stage could do.

pub mod allocation;
pub mod baseline;
pub mod block;
pub mod calibration;
pub mod chain_state;
pub mod chains;
pub mod execution;
pub mod finding;
pub mod incident;
pub mod lane;
pub mod log;
pub mod message;
pub mod network;
pub mod notice;
pub mod plan;
pub mod protocol;
pub mod remedy;
pub mod report;
pub mod signature;
pub mod simulation;
pub mod tally;
pub mod units;
