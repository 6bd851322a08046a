//! The one loop that joins the rooms, and the commands built on it.
//!
//! In: a configuration, a node or an archive or the practice range. Out: records in the log, transactions through the
//! gate, reports. This is the only crate that names the stages. Must never hold a rule of its own that belongs to one of
//! them: here things are put in order, not judged.

pub mod archive;
pub mod backfill;
pub mod backtest;
pub mod bench;
pub mod calibrate;
mod certainty;
pub mod config;
pub mod drill;
mod engine;
mod error;
mod fix;
mod history;
mod holds;
pub mod incidents;
pub mod inspect;
mod journal;
mod lanes;
mod members;
mod messages;
mod network;
mod node;
mod options;
mod payback;
mod plans;
mod pupil;
mod rehearsal;
pub mod render;
mod report;
mod respond;
pub mod signatures;
pub mod train;
mod trials;
mod verify_command;
pub mod watch;

pub use config::Config;
pub use engine::{Engine, Event};
pub use error::{EngineError, Kind};
pub use fix::Candidate;
pub use history::{HISTORY_BLOCKS_MAX, History, Past};
pub use journal::{Entries, Entry, Journal, JournalError, News, Observer, Stamp};
pub use payback::{PaybackOrder, Settlement};
pub use verify_command::{FixRequest, verify_fix};
