//! The report as sections, which every page is made of.
//!
//! In: a [`BacktestReport`]. Out: titles, notes, tables, plots and cases, all of it plain text. Must never: hold markup. Whoever
//! makes a page of it escapes everything but the plots, which are our own.

use super::histories::WARM_UP_PERCENT;
use super::{Alarm, BacktestReport, Miss, OverTimeRow, plots};
use crate::backtest::tally::Share;
use crate::error::EngineError;
use cordon_detect::calibrate::EPISODE_GAP_BLOCKS;
use serde::Serialize;

/// Misses and false alarms that a page shows, the worst first: more than people read. The JSON holds all of them.
const CASES_MAX: usize = 200;

/// What others published on the same kind of histories. Stated as published: neither was measured here.
const PUBLISHED: [&str; 3] = [
    "Figures on histories of the same kind that this command did not give, on other denominators. Published: CrossGuard (ICSE 2026), a guard on \
     chain over 37 attacked protocols: 35 of 37 incidents, false alarms on 0.26 % of transactions untrained (260 per 100,000), 0.03 to \
     0.06 % with feedback after an hour to three days (30 to 60 per 100,000).",
    "Measured once outside of this program: a vote of four of ten signals (never seen before, or a new record) over twelve of these histories, chosen after a look at them: 12 \
     of 12 incidents and 5 alarms in 5,351 ordinary transactions after a warm-up of 30 %, 93 per 100,000 (30 to 218).",
    "The rows here count every ordinary transaction up to the attack, and people answer each alarm before the next transaction.",
];

/// One part of a page.
#[derive(Debug, Default, Serialize)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) notes: Vec<String>,
    pub(super) plots: Vec<Plot>,
    pub(super) table: Option<Table>,
    pub(super) cases: Vec<Case>,
}

/// A table; every row is as long as its head.
#[derive(Debug, Default, Serialize)]
pub(super) struct Table {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A picture, and what it shows for those who do not see it.
#[derive(Debug, Serialize)]
pub(super) struct Plot {
    pub(super) title: String,
    /// Markup of our own: numbers and fixed words.
    pub(super) svg: String,
}

/// One transaction, and the grounds on which it was or was not an alarm.
#[derive(Debug, Serialize)]
pub(super) struct Case {
    pub(super) title: String,
    pub(super) lines: Vec<String>,
}

/// All sections, in the order of a page.
pub(super) fn sections(report: &BacktestReport) -> Result<Vec<Section>, EngineError> {
    let all = vec![
        summary(report),
        sources(report),
        labels(report),
        classes(report),
        detectors(report),
        rules(report),
        curve(report)?,
        strengths(report)?,
        histories(report),
        over_time(report)?,
        misses(&report.misses),
        alarms(&report.alarms),
        unjudged(report),
    ];
    let is_empty = |section: &Section| {
        section.notes.is_empty()
            && section.cases.is_empty()
            && section.table.as_ref().is_none_or(|table| table.rows.is_empty())
    };
    Ok(all.into_iter().filter(|section| !is_empty(section)).collect())
}

fn section(title: &'static str, head: &[&'static str], rows: Vec<Vec<String>>) -> Section {
    Section { title, table: Some(Table { head: head.to_vec(), rows }), ..Section::default() }
}

/// Count, of how many, value and interval, as four cells.
fn cells(share: &Share) -> [String; 4] {
    let Share { count, of, share, low, high } = share;
    [count.to_string(), of.to_string(), share.to_string(), format!("{low} to {high}")]
}

fn summary(report: &BacktestReport) -> Section {
    let rows = [
        ("attacks detected", report.recall_interval),
        ("alarms per 100,000 ordinary transactions", report.false_alarm_interval),
        ("alarms per 100,000 ordinary transactions that call a contract", report.false_alarms_per_100k_calls),
    ];
    let row = |(what, share): (&str, Share)| {
        let mut row = vec![what.to_owned()];
        row.extend(cells(&share));
        row
    };
    let head = ["measure", "count", "of", "value", "95 % interval (Wilson)"];
    let mut section = section("Summary", &head, rows.into_iter().map(row).collect());
    if report.truncated > 0 {
        section.notes.push(format!("The records of {} transactions were cut.", report.truncated));
    }
    section
}

fn sources(report: &BacktestReport) -> Section {
    let row = |row: &super::SourceRow| {
        vec![
            row.path.display().to_string(),
            if row.is_attack { "attacks" } else { "ordinary" }.to_owned(),
            row.kind.to_string(),
            row.files.to_string(),
            row.transactions.to_string(),
            row.alarms.to_string(),
        ]
    };
    let head = ["path", "use", "recordings", "files", "transactions", "alarms"];
    section("Recordings", &head, report.sources.iter().map(row).collect())
}

fn labels(report: &BacktestReport) -> Section {
    let row = |row: &super::LabelRow| {
        let label = row.label.clone().unwrap_or_else(|| "attacks without a label".to_owned());
        std::iter::once(label).chain(cells(&row.detected)).collect()
    };
    let head = ["class, in the words of the labels", "detected", "of", "share", "95 % interval"];
    section("Attacks by label", &head, report.labels.iter().map(row).collect())
}

fn classes(report: &BacktestReport) -> Section {
    let row = |row: &super::ClassRow| {
        let [count, of, share, interval] = cells(&row.detected);
        let (seen, alarms) = (row.seen_in_benign.to_string(), row.false_alarms.to_string());
        vec![row.class.to_string(), count, of, share, interval, seen, alarms]
    };
    let head =
        ["kind of finding", "in detected attacks", "of", "share", "95 % interval", "in ordinary", "alarms"];
    section("By kind of finding", &head, report.classes.iter().map(row).collect())
}

fn detectors(report: &BacktestReport) -> Section {
    let row = |row: &super::DetectorRow| {
        let counts = [row.seen_in_attacks, row.decisive, row.seen_in_benign, row.false_alarms];
        std::iter::once(row.detector.clone()).chain(counts.map(|count| count.to_string())).collect()
    };
    let head = ["detector", "in attacks", "missed without it", "in ordinary", "alarms"];
    section("By detector", &head, report.detectors.iter().map(row).collect())
}

fn rules(report: &BacktestReport) -> Section {
    let row = |row: &crate::backtest::rules::RuleRow| {
        let counts = [row.held_in_attacks, row.held_in_benign, row.unknown];
        let names = [row.rule.clone(), row.score.to_string()];
        names.into_iter().chain(counts.map(|count| count.to_string())).collect()
    };
    let head = ["rule", "score", "in attacks", "in ordinary", "could not be judged"];
    section("By rule", &head, report.rules.iter().map(row).collect())
}

fn curve(report: &BacktestReport) -> Result<Section, EngineError> {
    let row = |point: &super::CurvePoint| {
        let mark = if point.is_alarm_score { " (in force)" } else { "" };
        let [detected, _, recall, recall_interval] = cells(&point.detected);
        let [alarms, _, rate, rate_interval] = cells(&point.false_alarms);
        let [_, _, precision, precision_interval] = cells(&point.precision);
        let threshold = format!("{}{mark}", point.threshold);
        vec![
            threshold,
            detected,
            recall,
            recall_interval,
            alarms,
            rate,
            rate_interval,
            precision,
            precision_interval,
        ]
    };
    let head = [
        "alarm from strength",
        "detected",
        "recall",
        "95 % interval",
        "false alarms",
        "per 100,000",
        "95 % interval",
        "precision",
        "95 % interval",
    ];
    let mut section = section("Every threshold", &head, report.curve.iter().map(row).collect());
    section.notes.push(format!(
        "Of {} attacks and {} ordinary transactions. Precision holds for this ratio alone: on a chain attacks are far rarer.",
        report.attacks, report.benign_transactions
    ));
    section.plots = vec![plots::roc(report)?, plots::precision_recall(report)?];
    Ok(section)
}

fn strengths(report: &BacktestReport) -> Result<Section, EngineError> {
    let row = |row: &super::StrengthRow| {
        vec![format!("{} to {}", row.from, row.to), row.attacks.to_string(), row.ordinary.to_string()]
    };
    let rows = report.strengths.iter().map(row).collect();
    let mut section = section("How strong findings are", &["strength", "attacks", "ordinary"], rows);
    section.plots.push(plots::strengths(report)?);
    Ok(section)
}

fn histories(report: &BacktestReport) -> Section {
    let row = |row: &super::HistoryRow| {
        let yes_no = |found: bool| if found { "yes" } else { "no" }.to_owned();
        let detected = row.detected.map_or_else(|| "no attack".to_owned(), yes_no);
        let lead = row.lead_blocks.map(|blocks| blocks.to_string()).unwrap_or_default();
        let [alarms, _, rate, interval] = cells(&row.false_alarms);
        let [after, of, _, _] = cells(&row.false_alarms_after_warm_up);
        let (name, kind) = (row.history.clone(), row.kind.to_string());
        let (all, episodes) = (row.transactions.to_string(), row.episodes.to_string());
        vec![name, kind, all, detected, alarms, rate, interval, format!("{after} of {of}"), episodes, lead]
    };
    let head = [
        "history",
        "recording",
        "transactions",
        "attack detected",
        "false alarms",
        "per 100,000",
        "95 % interval",
        "after the warm-up",
        "episodes",
        "lead, blocks",
    ];
    let rows: Vec<_> = report.histories.iter().map(row).collect();
    let mut section = section("Histories", &head, rows);
    if !report.histories.is_empty() {
        section.notes = vec![format!(
            "Each transaction is judged by those before it. The warm-up is the first {WARM_UP_PERCENT} % of the ordinary transactions; an \
             episode takes alarms together that have at most {EPISODE_GAP_BLOCKS} blocks between them; the lead is from the first alarm of \
             an attack of several transactions to its last one."
        )];
        section.notes.extend(PUBLISHED.map(str::to_owned));
    }
    section
}

fn over_time(report: &BacktestReport) -> Result<Section, EngineError> {
    let row = |row: &OverTimeRow| {
        let name = format!("{} ({})", row.stream, row.kind);
        let cell = |tenth: u64| {
            let slice = row.slices.iter().find(|slice| slice.tenth == tenth);
            slice.map(|slice| format!("{} of {}", slice.alarms.count, slice.alarms.of)).unwrap_or_default()
        };
        std::iter::once(name).chain((1..=10).map(cell)).collect()
    };
    let head = ["stream", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    let rows: Vec<_> = report.over_time.iter().map(row).collect();
    let mut section = section("Over time", &head, rows);
    if !report.over_time.is_empty() {
        let note = "Alarms of how many ordinary transactions, by tenths of each stream, oldest first. Recorded blocks of a chain stand in \
                    order and far apart.";
        section.notes.push(note.to_owned());
        section.plots.push(plots::over_time(report)?);
    }
    Ok(section)
}

/// Those of which least was seen first.
fn misses(misses: &[Miss]) -> Section {
    let mut worst: Vec<&Miss> = misses.iter().collect();
    worst.sort_by_key(|miss| miss.strength);
    let case = |miss: &Miss| {
        let mut lines = vec![miss.file.display().to_string()];
        lines.extend(miss.note.map(str::to_owned));
        lines.extend(miss.seen.iter().cloned());
        if miss.seen.is_empty() {
            lines.push("nothing was seen".to_owned());
        }
        Case { title: format!("{}, strength {}", miss.tx, miss.strength), lines }
    };
    cases("Attacks that were missed, the least seen first", worst.into_iter().map(case).collect())
}

/// The strongest first.
fn alarms(alarms: &[Alarm]) -> Section {
    let mut worst: Vec<&Alarm> = alarms.iter().collect();
    worst.sort_by_key(|alarm| std::cmp::Reverse(alarm.strength));
    let case = |alarm: &Alarm| {
        let title = format!("{}, strength {}", alarm.tx, alarm.strength);
        Case { title, lines: alarm.grounds.clone() }
    };
    cases("Alarms on ordinary transactions, the strongest first", worst.into_iter().map(case).collect())
}

fn cases(title: &'static str, mut cases: Vec<Case>) -> Section {
    let more = cases.len().saturating_sub(CASES_MAX);
    cases.truncate(CASES_MAX);
    let note = format!("{more} more are in the JSON of this report.");
    Section { title, notes: (more > 0).then_some(note).into_iter().collect(), cases, ..Section::default() }
}

fn unjudged(report: &BacktestReport) -> Section {
    Section { title: "Not judged", notes: report.unjudged.clone(), ..Section::default() }
}
