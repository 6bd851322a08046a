//! The report as lines for a terminal.
//!
//! In: a [`BacktestReport`]. Out: lines. Must never: say what the report does not hold.

use super::{BacktestReport, HistoryRow};
use crate::backtest::rules::RuleRow;
use crate::backtest::tally::Share;

impl BacktestReport {
    /// The report for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let (recall, rate) = (&self.recall_interval, &self.false_alarm_interval);
        let mut lines = vec![
            format!(
                "{} of {} attacks detected: recall {} (95 % interval {} to {})",
                self.detected, self.attacks, recall.share, recall.low, recall.high
            ),
            format!(
                "{} alarms in {} ordinary transactions ({} of them calls): {} per 100,000 (95 % interval {} to {})",
                self.false_alarms,
                self.benign_transactions,
                self.benign_calls,
                rate.share,
                rate.low,
                rate.high
            ),
        ];
        lines.extend(self.sources.iter().map(|row| {
            let use_of = if row.is_attack { "attacks" } else { "ordinary" };
            format!(
                "  {} ({use_of}, {}): {} alarms in {} transactions of {} files",
                row.path.display(),
                row.kind,
                row.alarms,
                row.transactions,
                row.files
            )
        }));
        lines.extend(self.labels.iter().map(|row| {
            let Share { count, of, share, low, high } = row.detected;
            let label = row.label.as_deref().unwrap_or("attacks without a label");
            format!("  {label}: {count} of {of} detected, {share} ({low} to {high})")
        }));
        lines.extend(self.classes.iter().map(|row| {
            format!(
                "  {}: in {} detected attacks, in {} ordinary transactions ({} alarms)",
                row.class, row.detected.count, row.seen_in_benign, row.false_alarms
            )
        }));
        lines.extend(self.detectors.iter().map(|row| {
            format!(
                "  {}: in {} attacks ({} missed without it), in {} ordinary transactions ({} alarms)",
                row.detector, row.seen_in_attacks, row.decisive, row.seen_in_benign, row.false_alarms
            )
        }));
        lines.extend(self.rules.iter().map(RuleRow::line));
        lines.extend(self.histories.iter().map(HistoryRow::line));
        lines.extend(self.alarms.iter().flat_map(|alarm| {
            let grounds = alarm.grounds.iter().map(|ground| format!("    {ground}"));
            std::iter::once(format!("alarm on ordinary {}", alarm.tx)).chain(grounds)
        }));
        lines.extend(self.misses.iter().flat_map(|miss| {
            let note = miss.note.map(|note| format!("    {note}"));
            let seen = miss.seen.iter().map(|seen| format!("    {seen}"));
            std::iter::once(format!("missed {} in {}", miss.tx, miss.file.display())).chain(seen).chain(note)
        }));
        lines.extend(self.unjudged.iter().map(|reason| format!("not judged: {reason}")));
        lines
    }
}
