//! What a back-test found, in numbers and in grounds.
//!
//! In: verdicts in order. Out: [`BacktestReport`], for JSON and for people. Must never: count a transaction twice, or leave
//! out of the report what it leaves out of the count.

use super::Task;
use super::judge::{Judged, RecordKind, Unjudged, Verdict};
use super::labels::Labels;
use super::rules::{RuleRow, Rules};
use super::tally::Share;
use crate::bench::Decimal;
use alloy_primitives::B256;
use cordon_model::finding::{AttackClass, Score};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

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
    /// Grounds, one line for each finding.
    pub grounds: Vec<String>,
}

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
}

/// The report of all verdicts, in order, and of what was passed over.
pub(super) fn summarise(
    judged: Vec<(&Task, Verdict)>,
    passed_over: Vec<String>,
    (rules, labels): (Rules, &Labels),
) -> BacktestReport {
    let executed = judged.iter().filter(|(_, verdict)| verdict.kind == Some(RecordKind::ExecutedState));
    let executed = executed.flat_map(|(_, verdict)| verdict.transactions.iter().map(|one| one.tx)).collect();
    let mut summary = Summary { executed, rules, ..Summary::default() };
    for (task, verdict) in judged {
        summary.add(task, verdict, labels);
    }
    summary.unjudged.extend(passed_over);
    summary.finish()
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
            if judged.is_attack { self.attack(task, &judged) } else { self.ordinary(&judged) }
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
        self.misses.push(Miss { tx, file, seen: grounds(judged), note });
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
            self.alarms.push(Alarm { tx: judged.tx, score, grounds: grounds(judged) });
        }
    }

    fn finish(mut self) -> BacktestReport {
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
    let ground = |finding: &cordon_model::finding::Finding| {
        format!("{} ({}): {}", finding.detector, finding.score, finding.evidence)
    };
    judged.findings.iter().map(ground).collect()
}

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
