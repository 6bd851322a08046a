//! The file that holds calibrated thresholds, each with what it rests on.
//!
//! In: TOML that `cordon calibrate` wrote and a person may have read. Out: [`Thresholds`] for the protocols of a chain. Must
//! never: give a threshold that was found for other detectors.

use super::report::CalibrationReport;
use alloy_primitives::B256;
use cordon_model::calibration::Thresholds;
use cordon_model::finding::Score;
use cordon_model::units::{ChainId, ProtocolId};
use serde::{Deserialize, Serialize};

/// Version of the file's shape.
pub const FORMAT: u32 = 1;

/// Above every file with a thousand protocols.
pub(crate) const BYTES_MAX: u64 = 4 * 1024 * 1024;

const HEADER: &str = "# Written by `cordon calibrate` from the protocols' own histories. Scores are in per mille; times are Unix seconds.\n\n";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationFile {
    /// [`FORMAT`].
    pub format: u32,
    /// Protocols.
    #[serde(default)]
    pub protocol: Vec<ThresholdEntry>,
}

/// The thresholds of one protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdEntry {
    /// Chain.
    pub chain: u64,
    /// Protocol.
    pub id: String,
    /// Strength from which on people are told.
    pub page_score: u16,
    /// Strength from which on a granted lever may act by itself.
    pub act_score: u16,
    /// What they rest on.
    pub provenance: Provenance,
}

/// What thresholds rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of the program that found them.
    pub program: String,
    /// What the detectors were, see `fingerprint`.
    pub detectors: B256,
    /// When the history begins.
    pub from_s: u64,
    /// When it ends.
    pub to_s: u64,
    /// Transactions of the protocol in it.
    pub transactions: u64,
    /// Those of which a detector had something to say.
    pub with_findings: u64,
    /// Those that were attacks, and count for nothing.
    pub attacks_left_out: u64,
    /// Those of which nobody said what they were, and count as false alarms.
    pub undecided_counted: u64,
    /// How the budget for waking people is kept.
    pub page: Held,
    /// How the budget for acting by itself is kept.
    pub act: Held,
}

/// How a budget is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The budget.
    pub budget: String,
    /// True where the history shows with 95 % confidence that it is.
    pub is_shown: bool,
    /// True where no threshold keeps it.
    pub is_exceeded: bool,
    /// False alarms of the history at the threshold, in episodes.
    pub episodes: u64,
    /// Most that are to be expected per period, with 95 % confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_max: Option<String>,
    /// How many days without a false alarm would show that it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_days: Option<u64>,
}

impl CalibrationReport {
    /// The text of the file.
    ///
    /// # Errors
    /// Why it cannot be written as TOML.
    pub fn file(&self) -> Result<String, String> {
        let protocol = self.protocols.iter().map(|row| row.entry.clone()).collect();
        let text = toml::to_string(&CalibrationFile { format: FORMAT, protocol });
        text.map(|text| format!("{HEADER}{text}")).map_err(|error| error.to_string())
    }
}

impl CalibrationFile {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong, by key, value and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document = toml::Deserializer::parse(text).map_err(|error| error.to_string())?;
        let file: Self = serde_path_to_error::deserialize(document)
            .map_err(|error| format!("key '{}': {}", error.path(), error.inner()))?;
        if file.format != FORMAT {
            return Err(format!("key 'format': found '{}', expected {FORMAT}", file.format));
        }
        let entries = file.protocol.iter().enumerate();
        match entries.map(|(index, entry)| wrong(entry, index, &file.protocol)).find_map(|wrong| wrong) {
            Some(why) => Err(why),
            None => Ok(file),
        }
    }

    /// The thresholds that were found for a chain's protocols under these detectors, and the protocols of which others were
    /// found.
    #[must_use]
    pub fn thresholds(&self, chain_id: ChainId, detectors: B256) -> (Vec<Thresholds>, Vec<ProtocolId>) {
        let of_chain = self.protocol.iter().filter(|entry| entry.chain == chain_id.0);
        let (fit, unfit): (Vec<_>, Vec<_>) =
            of_chain.partition(|entry| entry.provenance.detectors == detectors);
        let protocol = |entry: &ThresholdEntry| ProtocolId(entry.id.clone());
        let thresholds = |entry: &ThresholdEntry| Thresholds {
            protocol: protocol(entry),
            page: Score(entry.page_score),
            act: Score(entry.act_score),
        };
        (fit.into_iter().map(thresholds).collect(), unfit.into_iter().map(protocol).collect())
    }
}

/// What is wrong with the entry of this index, if anything is.
fn wrong(entry: &ThresholdEntry, index: usize, all: &[ThresholdEntry]) -> Option<String> {
    let ThresholdEntry { chain, id, page_score, act_score, .. } = entry;
    let is_score = |score: &u16| (1..=Score::MAX.0).contains(score);
    let wrong = |key: &str, found: &dyn std::fmt::Display, expected: String| {
        Some(format!("key 'protocol[{index}].{key}': found '{found}', expected {expected}"))
    };
    let score = || format!("a number from 1 to {}", Score::MAX.0);
    let is_twice = all.iter().take(index).any(|other| (&other.chain, &other.id) == (chain, id));
    match () {
        () if !is_score(page_score) => wrong("page_score", page_score, score()),
        () if !is_score(act_score) => wrong("act_score", act_score, score()),
        () if act_score < page_score => {
            wrong("act_score", act_score, format!("page_score ({page_score}) or more"))
        }
        () if is_twice => wrong("id", id, format!("each protocol of chain {chain} once")),
        () => None,
    }
}
