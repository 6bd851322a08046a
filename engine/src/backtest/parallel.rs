//! Work over many recordings, on as many threads as there are.
//!
//! In: recordings, and what is to be done with each. Out: what came of it, in the order of names whatever the threads. Must never:
//! go on after a failure that concerns them all.

use super::judge;
use super::states::Trees;
use super::{Corpus, Progress, Tell, tasks};
use crate::error::EngineError;
use cordon_model::execution::Execution;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// As many as the machine has.
pub(super) fn threads_of_machine() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What `read` makes of the transactions of every recording below these paths, in the order of names, and why some could not be
/// read. Histories of protocols are among those, since they do not tell who called.
///
/// # Errors
/// A path that cannot be read.
pub(crate) fn over_recordings<T: Send>(
    (sources, is_attack): (&[PathBuf], bool),
    tell: Tell<'_>,
    read: &(dyn Fn(&Path, &[Execution]) -> T + Sync),
) -> Result<(Vec<T>, Vec<String>), EngineError> {
    let (attacks, benign) = if is_attack { (sources.to_vec(), vec![]) } else { (vec![], sources.to_vec()) };
    let tasks = tasks(&Corpus { attacks, benign, ..Corpus::default() })?;
    let trees = Trees::among(&tasks);
    let done = on_threads(threads_of_machine(), &tasks, tell, &|task| {
        let executions = judge::executions(&task.path, is_attack, &trees);
        Ok(executions.map(|executions| read(&task.path, &executions)))
    })?;
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for (task, done) in tasks.iter().zip(done) {
        match done {
            Ok(one) => found.push(one),
            Err(why) => unread.push(format!("{}: {why}", task.path.display())),
        }
    }
    Ok((found, unread))
}

/// Does the work for each item; what came of it is in the order of the items. After a failure nothing more is begun.
pub(super) fn on_threads<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    tell: Tell<'_>,
    work: &(dyn Fn(&I) -> Result<T, EngineError> + Sync),
) -> Result<Vec<T>, EngineError> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let found: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(items.len()));
    let failed: Mutex<Option<EngineError>> = Mutex::new(None);
    let run = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            match work(item) {
                Ok(one) => found.lock().unwrap_or_else(PoisonError::into_inner).push((at, one)),
                Err(error) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    next.store(items.len(), Ordering::Relaxed);
                }
            }
            tell(Progress::Judged {
                done: done.fetch_add(1, Ordering::Relaxed).saturating_add(1),
                all: items.len(),
            });
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().map(|(_, one)| one).collect())
}
