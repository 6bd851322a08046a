//! `cordon backtest`: the detectors, at their defaults, over recorded attacks and recorded ordinary use.
//!
//! In: folders of recordings of every kind that [`RecordKind`] lists. Out: how many attacks were detected and how many ordinary
//! transactions raised an alarm, each miss and each false alarm with its grounds; and of every rule, where rule files are
//! named, how often it held. Must never: know a case. What is
//! protected is not configured here: each transaction is judged as if everybody but its sender were protected.
//!
//! An alarm is what would open an incident under the default policy. Every file is judged by itself, in the order of names,
//! on as many threads as the machine has; the order of the answers does not depend on the threads.

mod history;
mod judge;
mod labels;
mod report;
mod rules;
mod states;
mod tally;

pub use judge::RecordKind;
pub use labels::Labels;
pub use report::{Alarm, BacktestReport, ClassRow, DetectorRow, LabelRow, Miss, SourceRow};
pub use rules::RuleRow;
pub use tally::Share;

use crate::error::EngineError;
use cordon_ingest::{recordings, unknown_files};
use judge::{Judge, Verdict};
use states::Trees;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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
}

/// One file to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    path: PathBuf,
    /// Folder or file that was named, by which results are grouped.
    source: PathBuf,
    is_attack: bool,
}

/// Judges a corpus. `progress` is told how many files are done, of how many.
///
/// # Errors
/// A path that cannot be read. A single file below a folder that cannot be judged is in the report, with its reason.
pub fn backtest(
    corpus: &Corpus,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<BacktestReport, EngineError> {
    let tasks = tasks(corpus)?;
    let unknown = unknown(corpus)?;
    let (judge, trees) = (Judge::new(&corpus.rules)?, Trees::among(&tasks));
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let verdicts: Mutex<Vec<(usize, Verdict)>> = Mutex::new(Vec::with_capacity(tasks.len()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(at) else { return };
            let verdict = judge.file(&task.path, task.is_attack, &trees);
            verdicts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, verdict));
            progress(done.fetch_add(1, Ordering::Relaxed).saturating_add(1), tasks.len());
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    verdicts.sort_by_key(|(at, _)| *at);
    let judged = verdicts.into_iter().filter_map(|(at, verdict)| Some((tasks.get(at)?, verdict)));
    let judged: Vec<_> = judged.collect();
    Ok(report::summarise(judged, unknown, (judge.into_rules(), &corpus.labels)))
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
mod tests;
