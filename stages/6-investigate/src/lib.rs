//! What happened: from the incident's log and the executions of its transactions to a report.
//!
//! In: an `Incident`, its `Record`s, `Execution`s, known interfaces, prices and names. Out: a `Report`, and the same as
//! Markdown and JSON. This crate must never read a clock, fetch anything, or pass on text from the chain unescaped:
//! revert reasons, token names and calldata are written by whoever attacked.

mod call_tree;
mod flows;
mod interfaces;
mod labels;
mod markdown;
mod parties;
mod report;
mod root_cause;
#[cfg(test)]
mod testkit;
mod text;
mod timeline;

pub use call_tree::{CALL_LINES_MAX, call_lines};
pub use flows::{Prices, Tally, flows, prices, tally};
pub use interfaces::{ABI_BYTES_MAX, CALLDATA_BYTES_MAX, InterfaceError, Interfaces};
pub use labels::Labels;
pub use markdown::{report_markdown, tx_markdown};
pub use parties::parties;
pub use report::{Investigation, inspect, investigate, report_json};
pub use root_cause::root_cause;
pub use text::{markdown_text, plain, utc};
pub use timeline::timeline;
