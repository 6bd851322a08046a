//! What a back-test found, in numbers and in grounds.
//!
//! In: verdicts in order. Out: [`BacktestReport`], as JSON, as lines, and as pages of Markdown and HTML with the same content.
//! Must never: leave out of the report what it leaves out of the count.

mod curve;
mod document;
mod histories;
mod html;
mod lines;
mod markdown;
mod plots;
mod sum;

pub use curve::{CurvePoint, StrengthRow};
pub use histories::{HistoryRow, OverTimeRow, Slice};
pub(super) use sum::summarise;

use super::judge::RecordKind;
use super::rules::RuleRow;
use super::tally::Share;
use crate::bench::Decimal;
use crate::error::EngineError;
use alloy_primitives::B256;
use cordon_model::finding::{AttackClass, Score};
use serde::Serialize;
use std::path::PathBuf;

/// The files of a report: the same content for programs, for a terminal or a review, and for a browser.
pub const REPORT_FILES: [&str; 3] = ["report.json", "report.md", "report.html"];

/// The outcome of a back-test.
#[derive(Debug, Clone, Serialize)]
pub struct BacktestReport {
    /// Attacks that were judged.
    pub attacks: u64,
    /// Those that raised an alarm.
    pub detected: u64,
    /// Their share.
    pub recall: Decimal,
    /// The share with its interval.
    pub recall_interval: Share,
    /// Ordinary transactions that were judged.
    pub benign_transactions: u64,
    /// Those among them that call a contract; the others cannot raise an alarm.
    pub benign_calls: u64,
    /// Ordinary transactions that raised an alarm.
    pub false_alarms: u64,
    /// The same per 100,000 transactions.
    pub false_alarms_per_100k: Decimal,
    /// The rate with its interval.
    pub false_alarm_interval: Share,
    /// The same per 100,000 that call a contract.
    pub false_alarms_per_100k_calls: Share,
    /// By what others call the attack, where labels were given.
    pub labels: Vec<LabelRow>,
    /// By kind of attack that was seen.
    pub classes: Vec<ClassRow>,
    /// By detector.
    pub detectors: Vec<DetectorRow>,
    /// By rule, where rule files were named; those that held most often in ordinary use first.
    pub rules: Vec<RuleRow>,
    /// By path as it was named, and by kind of recording.
    pub sources: Vec<SourceRow>,
    /// Attacks that raised no alarm.
    pub misses: Vec<Miss>,
    /// Ordinary transactions that raised one.
    pub alarms: Vec<Alarm>,
    /// Transactions whose record was cut.
    pub truncated: u64,
    /// Files that could not be judged, with the reason; those with the same reason are counted.
    pub unjudged: Vec<String>,
    /// For every strength that occurs, and for the one from which it is an alarm: what would be detected and what would alarm if
    /// alarms began there. Both the ROC and the precision-recall curve.
    pub curve: Vec<CurvePoint>,
    /// How many attacks and ordinary transactions are how strong.
    pub strengths: Vec<StrengthRow>,
    /// One row for each history of a protocol, and for the blocks of a node.
    pub histories: Vec<HistoryRow>,
    /// Alarms on ordinary transactions, where the recordings have an order, from the first tenth to the last.
    pub over_time: Vec<OverTimeRow>,
}

/// Attacks that others say are of one class.
#[derive(Debug, Clone, Serialize)]
pub struct LabelRow {
    /// The class in their words; `None` for attacks without a label.
    pub label: Option<String>,
    /// Detected ones, of all of them.
    pub detected: Share,
}

/// What one kind of finding contributed.
#[derive(Debug, Clone, Serialize)]
pub struct ClassRow {
    /// Kind of attack, as the findings name it.
    pub class: AttackClass,
    /// Detected attacks with such a finding, of all attacks.
    pub detected: Share,
    /// Ordinary transactions with such a finding, whether or not they raised an alarm.
    pub seen_in_benign: u64,
    /// Of those, alarms.
    pub false_alarms: u64,
}

/// What one detector said.
#[derive(Debug, Clone, Serialize)]
pub struct DetectorRow {
    /// Detector.
    pub detector: String,
    /// Attacks of which it said something, whether or not they raised an alarm.
    pub seen_in_attacks: u64,
    /// Attacks that would have raised no alarm without it.
    pub decisive: u64,
    /// Ordinary transactions of which it said something.
    pub seen_in_benign: u64,
    /// Of those, alarms.
    pub false_alarms: u64,
}

/// What recordings of one kind below one of the named paths came to.
#[derive(Debug, Clone, Serialize)]
pub struct SourceRow {
    /// The path.
    pub path: PathBuf,
    /// True for attacks, false for ordinary use. A history holds both.
    pub is_attack: bool,
    /// What the recordings are. Reproductions are no transactions, so their share should be read by itself.
    pub kind: RecordKind,
    /// Files judged.
    pub files: u64,
    /// Transactions judged.
    pub transactions: u64,
    /// Alarms.
    pub alarms: u64,
}

/// An attack that raised no alarm.
#[derive(Debug, Clone, Serialize)]
pub struct Miss {
    /// Transaction; of a reproduction, which is none, a hash of its record.
    pub tx: B256,
    /// File that it was read from.
    pub file: PathBuf,
    /// How strong the findings are together.
    pub strength: Score,
    /// What was seen all the same, too little to alarm; empty where nothing was.
    pub seen: Vec<String>,
    /// What keeps it from being judged at all, where something does.
    pub note: Option<&'static str>,
}

/// An ordinary transaction that raised an alarm.
#[derive(Debug, Clone, Serialize)]
pub struct Alarm {
    /// Transaction.
    pub tx: B256,
    /// Strongest score.
    pub score: Score,
    /// How strong the findings are together.
    pub strength: Score,
    /// Grounds, one line for each finding.
    pub grounds: Vec<String>,
}

impl BacktestReport {
    /// The texts of [`REPORT_FILES`], in their order.
    ///
    /// # Errors
    /// A part that cannot be drawn or written out, which would be a defect of ours.
    pub fn files(&self) -> Result<[String; 3], EngineError> {
        let failed = |why: serde_json::Error| EngineError::Page { page: "report.json", why: why.to_string() };
        let mut json = serde_json::to_string_pretty(self).map_err(failed)?;
        json.push('\n');
        let sections = document::sections(self)?;
        Ok([json, markdown::page(&sections), html::page(&sections)?])
    }
}
