//! How a training does on families that it leaves out.
//!
//! In: codes and their families. Out: the figure of each code by a model that did not see its family, and [`Point`]s on the curve of
//! what is found against what is accused wrongly. Must never: choose what is tested by anything that is learned from.

use super::corpus::Code;
use super::logistic::{Sample, fit};
use crate::backtest::Share;
use crate::bench::Decimal;
use alloy_primitives::B256;
use cordon_detect::bytecode::{Bounds, FORMAT, Model, Tested, Trained};
use cordon_model::units::Milli;
use serde::Serialize;
use std::collections::BTreeSet;

/// Parts into which the families are divided; each is left out once.
pub(super) const FOLDS: u32 = 5;

/// A code as judged by a model that did not see its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) is_attacker: bool,
    pub(super) log_odds: Milli,
}

/// What is found and what is accused wrongly from one figure on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Point {
    /// The figure, in thousandths of log-odds.
    pub log_odds: Milli,
    /// Attackers' codes at or above it, of all.
    pub recall: Share,
    /// Attackers' codes among all codes at or above it.
    pub precision: Share,
    /// Ordinary codes at or above it, of 100,000.
    pub false_alarms_per_100k: Share,
    /// Harmonic mean of recall and precision.
    pub f1: Decimal,
}

impl Point {
    pub(super) fn at(judged: &[Judged], log_odds: Milli) -> Self {
        let (found, accused) = counts(judged, log_odds);
        let all = |is_attacker| len(judged.iter().filter(|one| one.is_attacker == is_attacker).count());
        let (attackers, benign) = (all(true), all(false));
        let (above, below) =
            (found.saturating_mul(2), attackers.saturating_add(found).saturating_add(accused));
        Self {
            log_odds,
            recall: Share::new(found, attackers),
            precision: Share::new(found, found.saturating_add(accused)),
            false_alarms_per_100k: Share::per_100k(accused, benign),
            f1: Decimal::thousandths(above.saturating_mul(1_000).checked_div(below).unwrap_or(0)),
        }
    }

    /// A point at every figure that some code has, the highest first.
    pub(super) fn curve(judged: &[Judged]) -> Vec<Self> {
        let figures: BTreeSet<Milli> = judged.iter().map(|one| one.log_odds).collect();
        figures.into_iter().rev().map(|log_odds| Self::at(judged, log_odds)).collect()
    }
}

/// Attackers' and ordinary codes at or above a figure.
pub(super) fn counts(judged: &[Judged], log_odds: Milli) -> (u64, u64) {
    let reached = judged.iter().filter(|one| one.log_odds >= log_odds);
    reached.fold((0, 0), |(attackers, benign): (u64, u64), one| match one.is_attacker {
        true => (attackers.saturating_add(1), benign),
        false => (attackers, benign.saturating_add(1)),
    })
}

/// Codes of later attacks judged by a model of earlier ones.
#[derive(Debug, Clone, Serialize)]
pub struct Split {
    /// Attacks from this time on are tested on, Unix seconds.
    pub from_s: u64,
    /// Attackers' codes that were learned from.
    pub learned_attackers: u64,
    /// Where at most one in 200 of the ordinary codes that were left out is accused.
    pub at_likely: Point,
    /// Where none of them is.
    pub at_none: Point,
}

/// Every code judged by a model of the other folds, in the order of the codes.
pub(super) fn cross_validated(codes: &[Code], families: &[usize], progress: &dyn Fn(&str)) -> Vec<Judged> {
    let folds: Vec<u32> = families.iter().map(|family| fold(codes, *family)).collect();
    let mut judged: Vec<Option<Judged>> = vec![None; codes.len()];
    for left_out in 0..FOLDS {
        let pairs = || codes.iter().zip(&folds);
        let learned: Vec<&Code> =
            pairs().filter(|(_, fold)| **fold != left_out).map(|(code, _)| code).collect();
        let model = trained_on(&learned);
        for ((code, fold), entry) in pairs().zip(&mut judged) {
            if *fold == left_out {
                *entry = Some(judge(&model, code));
            }
        }
        progress(&format!("fold {} of {FOLDS} done", left_out.saturating_add(1)));
    }
    judged.into_iter().flatten().collect()
}

/// The latest third of the attacks of known date, judged by a model of everything that has no member of a tested family, and of
/// ordinary codes with one fold left out. Attacks of unknown date count as earlier, which most are: they come from collections of
/// 2016 to 2022 and from trees of calls.
pub(super) fn later_in_time(codes: &[Code], families: &[usize]) -> Option<Split> {
    let mut dates: Vec<u64> = codes.iter().filter_map(|code| code.attacked_at_s).collect();
    dates.sort_unstable();
    let from_s = *dates.get(dates.len().saturating_mul(2) / 3)?;
    let is_late = |code: &Code| code.is_attacker && code.attacked_at_s.is_some_and(|at_s| at_s >= from_s);
    let is_tested =
        |code: &Code, family: usize| is_late(code) || (!code.is_attacker && fold(codes, family) == 0);
    let pairs = || codes.iter().zip(families);
    let tested: BTreeSet<usize> =
        pairs().filter(|(code, family)| is_tested(code, **family)).map(|(_, family)| *family).collect();
    let learned: Vec<&Code> =
        pairs().filter(|(_, family)| !tested.contains(family)).map(|(code, _)| code).collect();
    let model = trained_on(&learned);
    let judged: Vec<Judged> = pairs()
        .filter(|(code, family)| is_tested(code, **family))
        .map(|(code, _)| judge(&model, code))
        .collect();
    let mut benign: Vec<Milli> =
        judged.iter().filter(|one| !one.is_attacker).map(|one| one.log_odds).collect();
    benign.sort_unstable_by_key(|log_odds| std::cmp::Reverse(*log_odds));
    let (likely, none) = (super::above(&benign, super::LIKELY_ONE_IN), super::above(&benign, usize::MAX));
    let learned_attackers = len(learned.iter().filter(|code| code.is_attacker).count());
    let (at_likely, at_none) = (Point::at(&judged, likely), Point::at(&judged, none));
    Some(Split { from_s, learned_attackers, at_likely, at_none })
}

/// The fold of a family, by the fingerprint of its first member.
fn fold(codes: &[Code], family: usize) -> u32 {
    let first = codes.get(family).map(|code| code.fingerprint).unwrap_or_default();
    first.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes) % FOLDS)
}

fn judge(model: &Model, code: &Code) -> Judged {
    Judged { is_attacker: code.is_attacker, log_odds: model.judge(&code.features).log_odds }
}

/// A model for the time of a test: nothing is known of how it does.
fn trained_on(learned: &[&Code]) -> Model {
    let samples: Vec<Sample> = learned.iter().map(|code| Sample::of(code)).collect();
    let (bias, weights) = fit(&samples);
    let trained =
        Trained { command: String::new(), attackers: 0, benign: 0, families: 0, corpus: B256::ZERO };
    let tested =
        Tested { folds: 0, likely_attackers: 0, likely_benign: 0, sure_attackers: 0, sure_benign: 0 };
    let bounds = Bounds { likely: Milli(i64::MAX), sure: Milli(i64::MAX) };
    Model { format: FORMAT.to_owned(), trained, tested, bounds, bias, weights }
}

pub(super) fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
