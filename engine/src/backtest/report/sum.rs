//! The sums of a report, while the verdicts come in.
//!
//! In: verdicts in order. Out: [`BacktestReport`]. Must never: count a transaction twice.

use super::curve::{self, Strengths};
use super::histories::{self, Mark, Streams};
use super::{Alarm, BacktestReport, ClassRow, DetectorRow, LabelRow, Miss, SourceRow};
use crate::backtest::Task;
use crate::backtest::judge::{Judged, RecordKind, Unjudged, Verdict};
use crate::backtest::labels::Labels;
use crate::backtest::rules::Rules;
use crate::backtest::tally::Share;
use alloy_primitives::B256;
use cordon_model::finding::{AttackClass, Finding, Score};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

#[derive(Debug, Default)]
struct Class {
    detected: u64,
    seen_in_benign: u64,
    false_alarms: u64,
}

#[derive(Debug, Default)]
struct Voice {
    seen_in_attacks: u64,
    decisive: u64,
    seen_in_benign: u64,
    false_alarms: u64,
}

/// Sums up while the verdicts come in.
#[derive(Debug, Default)]
struct Summary {
    attacks: u64,
    detected: u64,
    benign: u64,
    benign_calls: u64,
    false_alarms: u64,
    truncated: u64,
    /// Attacks and detected ones, by label.
    labels: BTreeMap<Option<String>, (u64, u64)>,
    classes: BTreeMap<AttackClass, Class>,
    voices: BTreeMap<String, Voice>,
    rules: Rules,
    sources: Vec<SourceRow>,
    misses: Vec<Miss>,
    alarms: Vec<Alarm>,
    unjudged: Vec<String>,
    /// Reasons that many files share, by source: how many, and what is particular to them.
    unjudged_kinds: BTreeMap<(PathBuf, String), (u64, Vec<String>)>,
    /// Attacks that were executed again, so that their calls alone count no more.
    executed: BTreeSet<B256>,
    seen: BTreeSet<(bool, B256)>,
    strengths: Strengths,
    streams: Streams,
}

/// The report of all verdicts, in order, and of what was passed over.
pub(in crate::backtest) fn summarise(
    judged: Vec<(Task, Verdict)>,
    passed_over: Vec<String>,
    (rules, labels, alarm_score): (Rules, &Labels, Score),
) -> BacktestReport {
    let executed = judged.iter().filter(|(_, verdict)| verdict.kind == Some(RecordKind::ExecutedState));
    let executed = executed.flat_map(|(_, verdict)| verdict.transactions.iter().map(|one| one.tx)).collect();
    let mut summary = Summary { executed, rules, ..Summary::default() };
    for (task, verdict) in judged {
        summary.add(&task, verdict, labels);
    }
    summary.unjudged.extend(passed_over);
    summary.finish(alarm_score)
}

impl Summary {
    fn add(&mut self, task: &Task, verdict: Verdict, labels: &Labels) {
        match verdict.unjudged {
            Some(Unjudged::File(reason)) => {
                self.unjudged.push(format!("{}: {reason}", task.path.display()));
            }
            Some(Unjudged::Kind { reason, detail }) => {
                let (count, details) = self.unjudged_kinds.entry((task.source.clone(), reason)).or_default();
                *count += 1;
                details.extend(detail);
            }
            None => {}
        }
        let Some(kind) = verdict.kind else { return };
        let mut marks = Vec::new();
        // A history holds an attack and ordinary use.
        let mut counted = BTreeMap::from([(task.is_attack, (0u64, 0u64))]);
        for judged in verdict.transactions {
            let is_known_better =
                judged.is_attack && kind == RecordKind::CallTree && self.executed.contains(&judged.tx);
            // A transaction that is recorded twice is one case.
            if is_known_better || !self.seen.insert((judged.is_attack, judged.tx)) {
                continue;
            }
            let (transactions, alarms) = counted.entry(judged.is_attack).or_default();
            *transactions += 1;
            *alarms += u64::from(judged.is_alarm);
            self.truncated += u64::from(judged.truncated);
            self.voices(&judged);
            if judged.is_attack && !labels.is_empty() {
                self.label(&judged, labels);
            }
            self.rules.add(&judged);
            self.strengths.add(judged.is_attack, judged.strength);
            marks.extend(Mark::of(&judged));
            if judged.is_attack { self.attack(task, &judged) } else { self.ordinary(&judged) }
        }
        if let Some(stream) = verdict.stream {
            self.streams.add(kind, stream, marks);
        }
        for (is_attack, (transactions, alarms)) in counted {
            let path = task.source.clone();
            self.source(SourceRow { path, is_attack, kind, files: 1, transactions, alarms });
        }
    }

    fn source(&mut self, new: SourceRow) {
        let is_same = |row: &&mut SourceRow| {
            row.path == new.path && row.is_attack == new.is_attack && row.kind == new.kind
        };
        match self.sources.iter_mut().find(is_same) {
            Some(row) => {
                row.files += new.files;
                row.transactions += new.transactions;
                row.alarms += new.alarms;
            }
            None => self.sources.push(new),
        }
    }

    fn voices(&mut self, judged: &Judged) {
        for detector in detectors(judged) {
            let voice = self.voices.entry(detector.to_owned()).or_default();
            if judged.is_attack {
                voice.seen_in_attacks += 1;
                voice.decisive += u64::from(judged.decisive.contains(detector));
            } else {
                voice.seen_in_benign += 1;
                voice.false_alarms += u64::from(judged.is_alarm);
            }
        }
    }

    fn label(&mut self, judged: &Judged, labels: &Labels) {
        let label = labels.class(&judged.tx).map(str::to_owned);
        let (attacks, detected) = self.labels.entry(label).or_default();
        *attacks += 1;
        *detected += u64::from(judged.is_alarm);
    }

    fn attack(&mut self, task: &Task, judged: &Judged) {
        self.attacks += 1;
        if judged.is_alarm {
            self.detected += 1;
            classes(judged)
                .into_iter()
                .for_each(|class| self.classes.entry(class).or_default().detected += 1);
            return;
        }
        let note = (!judged.succeeded).then_some("the transaction failed, so that it did nothing");
        let (tx, file) = (judged.tx, task.path.clone());
        let (seen, strength) = (grounds(judged), judged.strength);
        self.misses.push(Miss { tx, file, strength, seen, note });
    }

    fn ordinary(&mut self, judged: &Judged) {
        self.benign += 1;
        self.benign_calls += u64::from(judged.is_call);
        for class in classes(judged) {
            let row = self.classes.entry(class).or_default();
            row.seen_in_benign += 1;
            row.false_alarms += u64::from(judged.is_alarm);
        }
        if judged.is_alarm {
            self.false_alarms += 1;
            let score = judged.findings.iter().map(|finding| finding.score).max().unwrap_or(Score(0));
            let (tx, strength, grounds) = (judged.tx, judged.strength, grounds(judged));
            self.alarms.push(Alarm { tx, score, strength, grounds });
        }
    }

    fn finish(mut self, alarm_score: Score) -> BacktestReport {
        self.unjudged.extend(std::mem::take(&mut self.unjudged_kinds).into_iter().map(shared_reason));
        let recall = Share::new(self.detected, self.attacks);
        let rate = Share::per_100k(self.false_alarms, self.benign);
        let row = |(class, sums): (AttackClass, Class)| ClassRow {
            class,
            detected: Share::new(sums.detected, self.attacks),
            seen_in_benign: sums.seen_in_benign,
            false_alarms: sums.false_alarms,
        };
        BacktestReport {
            attacks: self.attacks,
            detected: self.detected,
            recall: recall.share,
            recall_interval: recall,
            benign_transactions: self.benign,
            benign_calls: self.benign_calls,
            false_alarms: self.false_alarms,
            false_alarms_per_100k: rate.share,
            false_alarm_interval: rate,
            false_alarms_per_100k_calls: Share::per_100k(self.false_alarms, self.benign_calls),
            labels: self.labels.into_iter().map(LabelRow::from).collect(),
            classes: self.classes.into_iter().map(row).collect(),
            detectors: self.voices.into_iter().map(DetectorRow::from).collect(),
            rules: self.rules.rows(),
            sources: self.sources,
            misses: self.misses,
            alarms: self.alarms,
            truncated: self.truncated,
            unjudged: self.unjudged,
            curve: curve::curve(&self.strengths, alarm_score),
            strengths: curve::histogram(&self.strengths),
            histories: histories::rows(&self.streams),
            over_time: histories::over_time(&self.streams),
        }
    }
}

/// One line for all files of a source with the same reason.
fn shared_reason(((source, reason), (count, details)): ((PathBuf, String), (u64, Vec<String>))) -> String {
    let mut line = format!("{}: {count} files: {reason}", source.display());
    if !details.is_empty() {
        line.push_str(&format!(" ({})", details.join("; ")));
    }
    line
}

impl From<(Option<String>, (u64, u64))> for LabelRow {
    fn from((label, (attacks, detected)): (Option<String>, (u64, u64))) -> Self {
        Self { label, detected: Share::new(detected, attacks) }
    }
}

impl From<(String, Voice)> for DetectorRow {
    fn from((detector, voice): (String, Voice)) -> Self {
        let Voice { seen_in_attacks, decisive, seen_in_benign, false_alarms } = voice;
        Self { detector, seen_in_attacks, decisive, seen_in_benign, false_alarms }
    }
}

fn detectors(judged: &Judged) -> BTreeSet<&str> {
    judged.findings.iter().map(|finding| finding.detector.as_str()).collect()
}

fn classes(judged: &Judged) -> BTreeSet<AttackClass> {
    judged.findings.iter().map(|finding| finding.class).collect()
}

fn grounds(judged: &Judged) -> Vec<String> {
    let ground =
        |finding: &Finding| format!("{} ({}): {}", finding.detector, finding.score, finding.evidence);
    judged.findings.iter().map(ground).collect()
}
