//! The event log in SQLite: what Cordon knows survives whatever happens to its process.
//!
//! In: batches of records. Out: records in order, and [`SqliteLog`] as the one implementation of
//! [`cordon_model::log::EventLog`] that needs no other service. [`conformance`] is the suite that every implementation
//! must pass. This is the only crate that speaks SQL. It must never change or drop a stored record, and never
//! acknowledge a batch that a crash could take back.

pub mod conformance;
mod error;
mod schema;
mod sqlite;

pub use error::StoreError;
pub use sqlite::SqliteLog;
