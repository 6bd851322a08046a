//! How good the training is, for people and as JSON.
//!
//! In: what was read and how it was judged. Out: [`TrainReport`]. Must never: give a share without its count and interval, or leave
//! out that the ratio of attackers here is none that a chain has.

use super::corpus::{Corpus, Origin};
use super::evaluate::{Judged, Point, Split, counts, len};
use crate::backtest::Share;
use cordon_detect::bytecode::Bounds;
use cordon_model::units::Milli;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Figures at which the report has a row, in thousandths of log-odds.
const ROWS: [i64; 8] = [-1_000, 0, 500, 1_000, 1_500, 2_000, 2_500, 3_000];

/// Recalls at which others published their precision: Forta's Early Attack Detector, set to be precise and set to find much.
const FORTA_RECALLS_PERMILLE: [u64; 2] = [310, 920];

/// Share of ordinary contracts at which LookAhead published its F1, per million.
const LOOKAHEAD_FALSE_PER_MILLION: u64 = 1_600;

/// The outcome of a training; see the module.
#[derive(Debug, Clone, Serialize)]
pub struct TrainReport {
    /// Different codes of attackers.
    pub attackers: u64,
    /// By where they were found, copies left out.
    pub origins: BTreeMap<Origin, u64>,
    /// Different codes of ordinary contracts.
    pub benign: u64,
    /// Families among all codes.
    pub families: u64,
    /// Families with a code of an attacker.
    pub attacker_families: u64,
    /// Codes of the largest family.
    pub largest_family: u64,
    /// Codes that are copies of others by the classes of their instructions, or too short.
    pub left_out: u64,
    /// Attackers' codes that ordinary blocks run as well.
    pub in_both: u64,
    /// Points of the cross-validated curve at fixed figures.
    pub points: Vec<Point>,
    /// The point at the model's lower bound.
    pub at_likely: Point,
    /// The point at its upper bound.
    pub at_sure: Point,
    /// The first points that reach the recalls of [`FORTA_RECALLS_PERMILLE`].
    pub at_recalls: Vec<Point>,
    /// The last point with no more false alarms than [`LOOKAHEAD_FALSE_PER_MILLION`].
    pub at_lookahead: Option<Point>,
    /// The point with the best F1.
    pub best_f1: Option<Point>,
    /// Later attacks judged by what was known before.
    pub split: Option<Split>,
    /// Files that could not be used.
    pub unused: Vec<String>,
}

impl TrainReport {
    pub(super) fn new(
        corpus: &Corpus,
        families: &[usize],
        judged: &[Judged],
        (bounds, split): (Bounds, Option<Split>),
    ) -> Self {
        let curve = Point::curve(judged);
        let mut origins = BTreeMap::new();
        let (mut sizes, mut attacking) = (BTreeMap::<usize, u64>::new(), BTreeSet::new());
        for (code, family) in corpus.codes.iter().zip(families) {
            let size = sizes.entry(*family).or_default();
            *size = size.saturating_add(1);
            if code.is_attacker {
                attacking.insert(*family);
                let count: &mut u64 = origins.entry(code.origin).or_default();
                *count = count.saturating_add(1);
            }
        }
        let attackers = len(corpus.codes.iter().filter(|code| code.is_attacker).count());
        let first_with = |permille: u64| {
            let reaches = |point: &&Point| {
                point.recall.count.saturating_mul(1_000) >= permille.saturating_mul(attackers)
            };
            curve.iter().find(reaches).copied()
        };
        let is_quiet = |point: &&Point| {
            let alarms = point.false_alarms_per_100k;
            alarms.count.saturating_mul(1_000_000) <= LOOKAHEAD_FALSE_PER_MILLION.saturating_mul(alarms.of)
        };
        Self {
            attackers,
            origins,
            benign: len(corpus.codes.len()).saturating_sub(attackers),
            families: len(sizes.len()),
            attacker_families: len(attacking.len()),
            largest_family: sizes.values().copied().max().unwrap_or(0),
            left_out: corpus.left_out,
            in_both: corpus.in_both,
            points: ROWS.iter().map(|row| Point::at(judged, Milli(*row))).collect(),
            at_likely: Point::at(judged, bounds.likely),
            at_sure: Point::at(judged, bounds.sure),
            at_recalls: FORTA_RECALLS_PERMILLE.iter().filter_map(|permille| first_with(*permille)).collect(),
            at_lookahead: curve.iter().rfind(is_quiet).copied(),
            best_f1: curve.iter().max_by_key(|point| point.f1).copied(),
            split,
            unused: corpus.unused.clone(),
        }
    }

    /// The report for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let origins: Vec<String> =
            self.origins.iter().map(|(origin, count)| format!("{count} {}", words(*origin))).collect();
        let mut lines = vec![
            format!(
                "attackers' codes: {} in {} families ({})",
                self.attackers,
                self.attacker_families,
                origins.join(", ")
            ),
            format!(
                "ordinary codes: {}; {} families in all, the largest of {}",
                self.benign, self.families, self.largest_family
            ),
            format!(
                "left out: {} copies and codes of less than 32 instructions; {} attackers' codes are run by ordinary blocks as well",
                self.left_out, self.in_both
            ),
            "cross-validated over families (shares with 95 % intervals):".to_owned(),
        ];
        lines.extend(self.points.iter().map(|point| row("from", point)));
        lines.push(row("likely, from", &self.at_likely));
        lines.push(row("sure, from", &self.at_sure));
        let published =
            ["Forta's published precision there: 0.99", "Forta's published precision there: 0.32"];
        lines.extend(
            self.at_recalls
                .iter()
                .zip(published)
                .map(|(point, other)| format!("{} ({other})", row("from", point))),
        );
        lines.extend(
            self.at_lookahead
                .iter()
                .map(|point| format!("{} (LookAhead's published F1 at 0.16 %: 0.897)", row("from", point))),
        );
        lines.extend(self.best_f1.iter().map(|point| format!("{} (the best F1)", row("from", point))));
        if let Some(split) = &self.split {
            lines.push(format!(
                "attacks from {} (Unix seconds) on, judged by {} earlier or undated codes:",
                split.from_s, split.learned_attackers
            ));
            lines.push(row("likely, from", &split.at_likely));
            lines.push(row("no ordinary code, from", &split.at_none));
        }
        let (attackers, benign) = (self.attackers, self.benign);
        lines.push(format!("precision holds for {attackers} attackers' codes among {benign}; among a chain's new contracts they are far rarer, and it is far lower"));
        lines.extend(self.unused.iter().map(|line| format!("not used: {line}")));
        lines
    }
}

/// Attackers' and ordinary codes at or above a bound.
pub(super) fn reached(judged: &[Judged], bound: Milli) -> (u64, u64) {
    counts(judged, bound)
}

fn row(what: &str, point: &Point) -> String {
    let Point { log_odds, recall, precision, false_alarms_per_100k, f1 } = point;
    let share = |share: &Share| {
        format!("{} of {} = {} ({} to {})", share.count, share.of, share.share, share.low, share.high)
    };
    format!(
        "  {what} {log_odds}: recall {}; precision {}; ordinary {} of {} = {} per 100,000 ({} to {}); F1 {f1}",
        share(recall),
        share(precision),
        false_alarms_per_100k.count,
        false_alarms_per_100k.of,
        false_alarms_per_100k.share,
        false_alarms_per_100k.low,
        false_alarms_per_100k.high,
    )
}

fn words(origin: Origin) -> &'static str {
    match origin {
        Origin::File => "from files of code",
        Origin::CreatedInAttack => "created within attacks",
        Origin::NamedInState => "named in states before attacks",
        Origin::Block => "from blocks",
    }
}
