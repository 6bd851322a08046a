//! Execution -> Finding: what a transaction did to a protected protocol, judged.
//!
//! In: [`Execution`]s as plain values, the protocols that are protected, and the operator's detector configuration.
//! Out: [`Finding`]s with their grounds, and [`Gap`]s where something could not be judged. A detector that needs a
//! chain reading names it as a view call; whoever replays transactions answers it before and after. Must never: read
//! a clock, draw a random number, or touch the network or a file; the same execution gives the same findings for ever.
//!
//! [`Execution`]: cordon_model::execution::Execution
//! [`Finding`]: cordon_model::finding::Finding

mod anyone;
pub mod baseline;
pub mod bytecode;
pub mod calibrate;
mod detector;
pub mod detectors;
mod entry;
pub mod invariants;
pub mod members;
pub mod messages;
pub mod network;
mod ordinary;
mod parties;
mod rehearsal;
pub mod rules;
mod set;
pub mod signatures;
mod valuation;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod testing;

pub use anyone::{anyone, public_contracts};
pub use baseline::{BaselineConfig, BaselineDetector};
pub use detector::{Comparison, Detector, Gap, Opinion};
pub use detectors::value_loss::loss_wad;
pub use detectors::{ConfigError, DetectorConfig};
pub use ordinary::sandwich::{Sandwich, sandwiches};
pub use parties::senders_creations;
pub use rehearsal::{CallFrom, Planned, Rehearsal, Rehearsed};
pub use set::{DetectorSet, Judgement, VIEWS_MAX};
