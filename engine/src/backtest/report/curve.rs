//! What would be detected and what would alarm, for every threshold; and how strong transactions are.
//!
//! In: how many attacks and ordinary transactions have which strength. Out: one [`CurvePoint`] for each threshold, and a
//! histogram. Must never: count anything that the report's totals do not count.

use crate::backtest::tally::Share;
use cordon_model::finding::Score;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Width of a bar of the histogram: a tenth of the range, so that the weights in use (200, 300, 600 and so on) each begin one.
const BAR: u16 = 100;

/// What alarms would come to if they began at one strength.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CurvePoint {
    /// Least strength of an alarm.
    pub threshold: Score,
    /// True for the threshold that the rest of the report goes by.
    pub is_alarm_score: bool,
    /// Attacks at least this strong, of all.
    pub detected: Share,
    /// Ordinary transactions at least this strong, per 100,000.
    pub false_alarms: Share,
    /// Attacks among everything at least this strong. It follows the corpus' ratio of attacks to ordinary transactions, which no
    /// chain has.
    pub precision: Share,
}

/// One bar of the histogram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StrengthRow {
    /// Least strength.
    pub from: Score,
    /// Greatest strength.
    pub to: Score,
    /// Attacks.
    pub attacks: u64,
    /// Ordinary transactions.
    pub ordinary: u64,
}

/// Attacks and ordinary transactions by strength.
#[derive(Debug, Default)]
pub(super) struct Strengths(BTreeMap<Score, (u64, u64)>);

impl Strengths {
    pub(super) fn add(&mut self, is_attack: bool, strength: Score) {
        let (attacks, ordinary) = self.0.entry(strength).or_default();
        let count = if is_attack { attacks } else { ordinary };
        *count = count.saturating_add(1);
    }

    fn between(&self, from: Score, to: Score) -> (u64, u64) {
        let counts = self.0.range(from..=to).map(|(_, counts)| *counts);
        counts.fold((0, 0), |(attacks, ordinary), (a, o)| {
            (attacks.saturating_add(a), ordinary.saturating_add(o))
        })
    }
}

/// The curve, lowest threshold first. A strength of zero is no finding and no threshold.
pub(super) fn curve(strengths: &Strengths, alarm_score: Score) -> Vec<CurvePoint> {
    let (attacks, ordinary) = strengths.between(Score(0), Score(u16::MAX));
    let mut thresholds: BTreeSet<Score> = strengths.0.keys().copied().collect();
    thresholds.insert(alarm_score);
    thresholds.remove(&Score(0));
    let point = |threshold: Score| {
        let (detected, alarms) = strengths.between(threshold, Score(u16::MAX));
        CurvePoint {
            threshold,
            is_alarm_score: threshold == alarm_score,
            detected: Share::new(detected, attacks),
            false_alarms: Share::per_100k(alarms, ordinary),
            precision: Share::new(detected, detected.saturating_add(alarms)),
        }
    };
    thresholds.into_iter().map(point).collect()
}

/// The histogram: those without any finding first, then bars of equal width.
pub(super) fn histogram(strengths: &Strengths) -> Vec<StrengthRow> {
    let row = |from: u16, to: u16| {
        let (attacks, ordinary) = strengths.between(Score(from), Score(to));
        StrengthRow { from: Score(from), to: Score(to), attacks, ordinary }
    };
    let mut rows = vec![row(0, 0)];
    let mut from = 1;
    while from <= Score::MAX.0 {
        let next = (from / BAR).saturating_add(1).saturating_mul(BAR);
        rows.push(row(from, next.saturating_sub(1).min(Score::MAX.0)));
        from = next;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strengths() -> Strengths {
        let mut strengths = Strengths::default();
        for (is_attack, strength, times) in
            [(true, 0, 1), (true, 300, 1), (true, 700, 2), (false, 0, 95), (false, 300, 4), (false, 1_000, 1)]
        {
            (0..times).for_each(|_| strengths.add(is_attack, Score(strength)));
        }
        strengths
    }

    #[test]
    fn every_strength_is_a_threshold_and_so_is_the_one_in_force() {
        let curve = curve(&strengths(), Score(600));
        let points: Vec<_> = curve
            .iter()
            .map(|point| (point.threshold.0, point.detected.count, point.false_alarms.count))
            .collect();
        assert_eq!(points, [(300, 3, 5), (600, 2, 1), (700, 2, 1), (1_000, 0, 1)]);
        assert!(curve.iter().all(|point| (point.detected.of, point.false_alarms.of) == (4, 100)));
        let in_force: Vec<_> = curve.iter().filter(|point| point.is_alarm_score).collect();
        let [point] = in_force.as_slice() else { panic!("{curve:?}") };
        assert_eq!((point.precision.count, point.precision.of), (2, 3));
        assert_eq!(point.false_alarms, Share::per_100k(1, 100));
    }

    #[test]
    fn nothing_judged_is_one_point_about_nothing() {
        let curve = curve(&Strengths::default(), Score(600));
        let [point] = curve.as_slice() else { panic!("{curve:?}") };
        assert_eq!((point.detected, point.precision), (Share::new(0, 0), Share::new(0, 0)));
    }

    #[test]
    fn the_bars_hold_everything_once() {
        let rows = histogram(&strengths());
        let ends: Vec<_> = rows.iter().map(|row| (row.from.0, row.to.0)).collect();
        assert_eq!(ends.first(), Some(&(0, 0)));
        assert_eq!((ends[1], ends[2], ends.last()), ((1, 99), (100, 199), Some(&(1_000, 1_000))));
        assert!(ends.windows(2).all(|pair| pair[1].0 == pair[0].1 + 1), "{ends:?}");
        let sums = rows.iter().fold((0, 0), |sums, row| (sums.0 + row.attacks, sums.1 + row.ordinary));
        assert_eq!(sums, (4, 100));
    }
}
