//! What an operator's rules came to over recordings.
//!
//! In: rule files, and per transaction which rules held and which could not be judged. Out: one [`RuleRow`] per rule. Must
//! never: take a rule that could not be judged for one that did not hold.

use super::judge::Judged;
use crate::config::rules;
use crate::error::EngineError;
use cordon_detect::DetectorConfig;
use cordon_detect::rules::{RulesConfig, UserRules};
use cordon_model::finding::{Evidence, Score};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How often one rule held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleRow {
    /// Its id.
    pub rule: String,
    /// Its score.
    pub score: Score,
    /// Attacks in which it held.
    pub held_in_attacks: u64,
    /// Ordinary transactions in which it held.
    pub held_in_benign: u64,
    /// Transactions of either kind for which it could not be judged: the record lacks what it asks for.
    pub unknown: u64,
}

/// The rules of a back-test.
#[derive(Debug, Default)]
pub(super) struct Rules {
    detector: Option<UserRules>,
    rows: BTreeMap<String, RuleRow>,
}

impl Rules {
    /// Reads rule files and adds them to the detectors; none is as well.
    pub(super) fn read(files: &[PathBuf], detectors: &mut Vec<DetectorConfig>) -> Result<Self, EngineError> {
        if files.is_empty() {
            return Ok(Self::default());
        }
        let wrong = |why: Vec<String>| EngineError::Argument {
            what: "rules",
            found: files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
            expected: format!("rule files that hold their own tests\n{}", why.join("\n")),
        };
        let named = DetectorConfig::Rules(RulesConfig { files: files.to_vec(), sets: Vec::new() });
        let read = rules::reread(&[named]).map_err(wrong)?;
        let mut detector = None;
        for config in &read {
            if let DetectorConfig::Rules(config) = config {
                detector = Some(config.build()?);
            }
        }
        detectors.extend(read);
        let row = |(rule, score): (&str, Score)| {
            let row =
                RuleRow { rule: rule.to_owned(), score, held_in_attacks: 0, held_in_benign: 0, unknown: 0 };
            (row.rule.clone(), row)
        };
        let rows = detector.iter().flat_map(UserRules::scores).map(row).collect();
        Ok(Self { detector, rows })
    }

    pub(super) fn detector(&self) -> Option<&UserRules> {
        self.detector.as_ref()
    }

    /// Counts one transaction.
    pub(super) fn add(&mut self, judged: &Judged) {
        for finding in &judged.findings {
            if let Evidence::Rule { rule, .. } = &finding.evidence
                && let Some(row) = self.rows.get_mut(rule)
            {
                let held = if judged.is_attack { &mut row.held_in_attacks } else { &mut row.held_in_benign };
                *held = held.saturating_add(1);
            }
        }
        for rule in &judged.unknown_rules {
            if let Some(row) = self.rows.get_mut(rule) {
                row.unknown = row.unknown.saturating_add(1);
            }
        }
    }

    /// Every rule, those that held most often in ordinary use first.
    pub(super) fn rows(self) -> Vec<RuleRow> {
        let mut rows: Vec<RuleRow> = self.rows.into_values().collect();
        rows.sort_by_key(|row| {
            (std::cmp::Reverse((row.held_in_benign, row.held_in_attacks)), row.rule.clone())
        });
        rows
    }
}

impl RuleRow {
    /// The row for people.
    pub(super) fn line(&self) -> String {
        let Self { rule, score, held_in_attacks, held_in_benign, unknown } = self;
        format!(
            "  rule {rule} ({score}): held in {held_in_attacks} attacks, in {held_in_benign} ordinary transactions; could not be judged for {unknown}"
        )
    }
}
