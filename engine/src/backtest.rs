//! `cordon backtest`: the detectors, at their defaults, over recorded attacks and recorded ordinary use.
//!
//! In: folders of recordings of every kind that [`RecordKind`] lists. Out: how many attacks were detected and how many ordinary
//! transactions raised an alarm, each miss and each false alarm with its grounds; and of every rule, where rule files are
//! named, how often it held. Must never: know a case. What is
//! protected is not configured here: each transaction is judged as if everybody but its sender were protected.
//!
//! An alarm is what would open an incident under the default policy. Every file is judged by itself, on as many threads as the
//! machine has; the answers stand in the order of names, whatever the threads. Where a folder is named, verdicts are kept there
//! as files are done, so that a run that was cut off goes on and ends in the same report.

mod blocks;
mod history;
mod judge;
mod kept;
mod labels;
mod parallel;
mod report;
mod rules;
mod states;
mod tally;

pub use blocks::NodeRange;
pub use judge::RecordKind;
pub(crate) use judge::place;
pub use kept::VERDICTS_FILE;
pub use labels::Labels;
pub(crate) use parallel::over_recordings;
pub use report::{
    Alarm, BacktestReport, ClassRow, CurvePoint, DetectorRow, HistoryRow, LabelRow, Miss, OverTimeRow,
    REPORT_FILES, Slice, SourceRow, StrengthRow,
};
pub use rules::RuleRow;
pub use tally::Share;

use crate::error::EngineError;
use alloy_primitives::{B256, Keccak256};
use cordon_ingest::{HISTORY_INDEX, recordings, unknown_files};
use judge::{Judge, Verdict};
use kept::{Kept, Key, file_hash, fingerprint};
use parallel::on_threads;
use states::Trees;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// What is to be judged.
#[derive(Debug, Clone, Default)]
pub struct Corpus {
    /// Files and folders of which every transaction is an attack.
    pub attacks: Vec<PathBuf>,
    /// Files and folders of ordinary transactions.
    pub benign: Vec<PathBuf>,
    /// What others call the attacks; only the report reads it.
    pub labels: Labels,
    /// Rule files that are judged by as well.
    pub rules: Vec<PathBuf>,
    /// Signature files that are judged by as well.
    pub signatures: Vec<PathBuf>,
}

/// How it is judged. None of it changes the report.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Folder in which verdicts are kept, and looked for.
    pub out: Option<PathBuf>,
    /// Threads; as many as the machine has, where none are named.
    pub threads: Option<NonZeroUsize>,
}

/// What is told on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// So many recordings are done, of so many.
    Judged {
        /// Done.
        done: usize,
        /// Of all.
        all: usize,
    },
    /// Something that people should know.
    Note(String),
}

/// Who is told.
pub type Tell<'a> = &'a (dyn Fn(Progress) + Sync);

/// One file to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    path: PathBuf,
    /// Folder or file that was named, by which results are grouped.
    source: PathBuf,
    is_attack: bool,
}

/// Judges a corpus of files. `tell` is told how many are done.
///
/// # Errors
/// A path that cannot be read. A single file below a folder that cannot be judged is in the report, with its reason.
pub fn backtest(corpus: &Corpus, settings: &Settings, tell: Tell<'_>) -> Result<BacktestReport, EngineError> {
    let mut run = Backtest::open(corpus, settings, tell)?;
    run.files(tell)?;
    Ok(run.report())
}

/// A run of the back-test: files, blocks of a node, or both, then the report.
#[derive(Debug)]
pub struct Backtest {
    tasks: Vec<Task>,
    passed_over: Vec<String>,
    labels: Labels,
    judge: Judge,
    trees: Trees,
    /// Of the trees, where verdicts are kept.
    trees_hash: B256,
    kept: Kept,
    threads: usize,
    judged: Vec<(Task, Verdict)>,
}

impl Backtest {
    /// Finds the recordings, reads the rules, and takes up what an earlier run kept.
    ///
    /// # Errors
    /// A path or a rule file that cannot be read, or verdicts that cannot be kept.
    pub fn open(corpus: &Corpus, settings: &Settings, tell: Tell<'_>) -> Result<Self, EngineError> {
        let (tasks, passed_over) = (tasks(corpus)?, unknown(corpus)?);
        let (judge, trees) = (Judge::new(&corpus.rules, &corpus.signatures)?, Trees::among(&tasks));
        let (mut kept, mut trees_hash) = (Kept::default(), B256::ZERO);
        if let Some(folder) = &settings.out {
            kept = Kept::open(folder, fingerprint(&judge)?, tell)?;
            trees_hash = trees.hash();
        }
        let threads = settings.threads.map_or_else(parallel::threads_of_machine, usize::from);
        let labels = corpus.labels.clone();
        Ok(Self { tasks, passed_over, labels, judge, trees, trees_hash, kept, threads, judged: Vec::new() })
    }

    /// Judges the files.
    ///
    /// # Errors
    /// A verdict that cannot be kept.
    pub fn files(&mut self, tell: Tell<'_>) -> Result<(), EngineError> {
        let tasks = std::mem::take(&mut self.tasks);
        let verdicts = on_threads(self.threads, &tasks, tell, &|task| self.file(task))?;
        self.judged.extend(tasks.into_iter().zip(verdicts));
        Ok(())
    }

    /// The verdict on a file, from an earlier run where there is one.
    fn file(&self, task: &Task) -> Result<Verdict, EngineError> {
        let key = if self.kept.is_on() { self.key(task) } else { None };
        if let Some(known) = key.as_ref().and_then(|key| self.kept.take(key)) {
            return Ok(known);
        }
        let verdict = self.judge.file(&task.path, task.is_attack, &self.trees);
        if let Some(key) = key {
            self.kept.keep(key, &verdict)?;
        }
        Ok(verdict)
    }

    /// What a file's verdict is kept under; `None` for a file that cannot be read, whose verdict says so.
    fn key(&self, task: &Task) -> Option<Key> {
        let mut content = Keccak256::new();
        content.update(file_hash(&task.path).ok()?);
        // A history is judged by the labels beside it, an attack's state with a tree of calls. A file that is not there is zero.
        content.update(file_hash(&task.path.with_file_name(HISTORY_INDEX)).unwrap_or_default());
        if task.is_attack {
            content.update(self.trees_hash);
        }
        let path = task.path.to_string_lossy().into_owned();
        Some(Key { path, is_attack: task.is_attack, content: content.finalize() })
    }

    /// What it came to.
    #[must_use]
    pub fn report(self) -> BacktestReport {
        let alarm_score = self.judge.alarm_score();
        let with = (self.judge.into_rules(), &self.labels, alarm_score);
        report::summarise(self.judged, self.passed_over, with)
    }
}

fn tasks(corpus: &Corpus) -> Result<Vec<Task>, EngineError> {
    let mut tasks: Vec<Task> = Vec::new();
    for (named, is_attack) in [(&corpus.attacks, true), (&corpus.benign, false)] {
        for source in named {
            for path in files(source)? {
                // Folders that overlap do not make a case count twice.
                if !tasks.iter().any(|task| task.path == path && task.is_attack == is_attack) {
                    tasks.push(Task { path, source: source.clone(), is_attack });
                }
            }
        }
    }
    Ok(tasks)
}

fn files(source: &Path) -> Result<Vec<PathBuf>, EngineError> {
    recordings(source).map_err(EngineError::Archive)
}

/// Folders with files that are no recordings, one line each.
fn unknown(corpus: &Corpus) -> Result<Vec<String>, EngineError> {
    let mut folders: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for source in corpus.attacks.iter().chain(&corpus.benign) {
        for file in unknown_files(source).map_err(EngineError::Archive)? {
            let files = folders.entry(file.parent().unwrap_or(source).to_owned()).or_default();
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    let line = |(folder, files): (PathBuf, Vec<PathBuf>)| {
        let name = files.first().and_then(|file| file.file_name()).unwrap_or_default();
        let (folder, name) = (folder.display(), name.display());
        format!("{folder}: {} passed over that are no recordings, such as {name}", files.len())
    };
    Ok(folders.into_iter().map(line).collect())
}

#[cfg(test)]
pub(crate) mod tests;
