//! A log in memory, so that a run depends on nothing but its seed.
//!
//! In: batches. Out: records. It holds to the same conformance suite as the real one. Must never: write a part of a batch.

use crate::book::Pages;
use crate::weather::Fate;
use cordon_model::log::{
    Batch, Cursor, EventLog, FORMAT_VERSION, FORMAT_VERSION_OLDEST, LogError, LogFuture, Stored, StreamId,
};
use cordon_model::units::{BlockRef, ChainId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Disk {
    records: Vec<Stored>,
    cursors: BTreeMap<u64, Cursor>,
    walk: Vec<Vec<BlockRef>>,
}

/// What outlives a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryLog(Arc<Mutex<Disk>>);

impl MemoryLog {
    pub(crate) fn pages(&self) -> Pages {
        let disk = self.0.lock().unwrap();
        let records = disk.records.iter().map(|stored| (stored.stream.clone(), stored.record.clone()));
        Pages { records: records.collect(), walk: disk.walk.clone() }
    }

    /// Everything that was ever written, byte for byte.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let disk = self.0.lock().unwrap();
        let records: Vec<_> =
            disk.records.iter().map(|s| (s.position, &s.stream, s.version, &s.record)).collect();
        serde_json::to_vec(&(records, &disk.walk)).unwrap()
    }

    fn write(&self, batch: Batch) -> Result<(), LogError> {
        let mut disk = self.0.lock().unwrap();
        let mut new = Vec::new();
        let mut versions: BTreeMap<StreamId, u64> = BTreeMap::new();
        for append in batch.appends {
            let stored = disk.records.iter().filter(|stored| stored.stream == append.stream).count() as u64;
            let found = *versions.get(&append.stream).unwrap_or(&stored);
            if found != append.expected_version {
                let (stream, expected) = (append.stream, append.expected_version);
                return Err(LogError::Conflict { stream, expected, found });
            }
            for (version, record) in (found + 1..).zip(append.records) {
                if !(FORMAT_VERSION_OLDEST..=FORMAT_VERSION).contains(&record.format) {
                    return Err(LogError::Format { position: 0, found: record.format });
                }
                let position = (disk.records.len() + new.len()) as u64 + 1;
                versions.insert(append.stream.clone(), version);
                new.push(Stored { position, stream: append.stream.clone(), version, record });
            }
        }
        disk.records.extend(new);
        if let Some(cursor) = batch.cursor {
            disk.walk.push(cursor.recent.clone());
            disk.cursors.insert(cursor.chain_id.0, cursor);
        }
        Ok(())
    }

    fn select(&self, chosen: impl Fn(&&Stored) -> bool) -> Vec<Stored> {
        self.0.lock().unwrap().records.iter().filter(chosen).cloned().collect()
    }
}

/// The log as one process sees it: it works until the process dies.
#[derive(Debug)]
pub(crate) struct MortalLog {
    pub(crate) disk: MemoryLog,
    pub(crate) fate: Arc<Fate>,
}

impl MortalLog {
    fn alive<T>(&self, value: impl FnOnce() -> T) -> LogFuture<'_, T>
    where
        T: Send + 'static,
    {
        let outcome = if self.fate.is_dead() { Err(dead()) } else { Ok(value()) };
        Box::pin(std::future::ready(outcome))
    }
}

fn dead() -> LogError {
    LogError::Storage { doing: "dying".to_owned(), source: "the process is dead".into() }
}

impl EventLog for MortalLog {
    fn commit(&self, batch: Batch) -> LogFuture<'_, ()> {
        let outcome = self.fate.strike_commit(|| self.disk.write(batch)).unwrap_or_else(|| Err(dead()));
        Box::pin(std::future::ready(outcome))
    }

    fn read(&self, stream: StreamId) -> LogFuture<'_, Vec<Stored>> {
        self.alive(|| self.disk.select(|stored| stored.stream == stream))
    }

    fn streams(&self, prefix: String) -> LogFuture<'_, Vec<StreamId>> {
        self.alive(|| {
            let firsts =
                self.disk.select(|stored| stored.version == 1 && stored.stream.0.starts_with(&prefix));
            let mut streams: Vec<StreamId> = firsts.into_iter().map(|stored| stored.stream).collect();
            streams.sort();
            streams
        })
    }

    fn since(&self, position: u64, limit: u32) -> LogFuture<'_, Vec<Stored>> {
        self.alive(|| {
            let mut later = self.disk.select(|stored| stored.position > position);
            later.truncate(usize::try_from(limit).unwrap());
            later
        })
    }

    fn cursor(&self, chain_id: ChainId) -> LogFuture<'_, Option<Cursor>> {
        self.alive(|| self.disk.0.lock().unwrap().cursors.get(&chain_id.0).cloned())
    }
}

#[tokio::test]
async fn the_log_in_memory_keeps_the_promises_of_every_log() {
    let disk = MemoryLog::default();
    let open = || async {
        let log: Arc<dyn EventLog> = Arc::new(MortalLog { disk: disk.clone(), fate: Fate::immortal() });
        log
    };
    cordon_store::conformance::check(open).await.unwrap();
}
