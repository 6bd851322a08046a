//! Recorded blocks with the state they need: files of the format `cordon-block/1`, Zstandard-packed JSON.
//!
//! In: a file or a directory. Out: blocks with witness and outcomes, sorted by chain and number; as a [`ChainSource`]
//! one chain of them. Must never panic on a damaged file nor unpack without a bound. An archive is a selection: numbers
//! that it does not hold are skipped, and only neighbours are checked to be linked.

mod format;
mod history;
mod recorded;

pub use history::{History, INDEX as HISTORY_INDEX};
pub use recorded::{Recorded, read_recording, recordings, unknown_files};

use crate::error::SourceError;
use crate::follow::{Sight, Step, View, next_step};
use crate::source::{Advance, ChainSource};
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::log::Cursor;
use cordon_model::units::ChainId;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// How a block file's name ends.
const FILE_SUFFIX: &str = ".json.zst";

/// Most files that one archive may hold. At 50 KiB each a million is 50 GiB; more is a mistaken path.
const FILES_MAX: usize = 1_000_000;

/// How deep directories may nest. Archives use `<chain>/<number>`; eight is room for dates and groups, and ends walks
/// into a mistaken path.
const DEPTH_MAX: u32 = 8;

/// Configuration of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A block file, or a directory of them.
    pub path: PathBuf,
}

/// Recorded blocks, known by chain and number; each is read when it is asked for.
#[derive(Debug, Clone)]
pub struct Archive {
    entries: Vec<Entry>,
    skipped: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    chain_id: ChainId,
    number: u64,
    path: PathBuf,
}

impl Archive {
    /// Opens a file or, with all below it, a directory. Files of other formats in a directory are counted, not read.
    ///
    /// # Errors
    /// The path cannot be read, a single file is of another format, or two files hold the same block.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        let path = path.as_ref();
        let expected = "an archive file or directory";
        let metadata = fs::metadata(path).map_err(|source| SourceError::Io {
            path: path.to_owned(),
            expected,
            source,
        })?;
        if !metadata.is_dir() {
            let entry = entry(path)?.map_err(|found| SourceError::Format {
                path: path.to_owned(),
                found,
                expected: format::FORMAT,
            })?;
            return Ok(Self { entries: vec![entry], skipped: 0 });
        }
        let mut archive = Self { entries: Vec::new(), skipped: 0 };
        archive.scan(path)?;
        archive.entries.sort();
        archive.refuse_duplicates()?;
        tracing::info!(path = %path.display(), blocks = archive.len(), skipped = archive.skipped, "archive opened");
        Ok(archive)
    }

    /// Opens what the configuration names.
    ///
    /// # Errors
    /// See [`Archive::open`].
    pub fn from_config(config: &Config) -> Result<Self, SourceError> {
        Self::open(&config.path)
    }

    /// All blocks, by chain and number. Each is read when the iterator reaches it.
    pub fn blocks(&self) -> impl Iterator<Item = Result<Block, SourceError>> + '_ {
        self.entries.iter().map(Entry::read)
    }

    /// The blocks of one chain, by number.
    pub fn blocks_of(&self, chain_id: ChainId) -> impl Iterator<Item = Result<Block, SourceError>> + '_ {
        self.entries.iter().filter(move |entry| entry.chain_id == chain_id).map(Entry::read)
    }

    /// Chains of which there are blocks, in ascending order.
    #[must_use]
    pub fn chains(&self) -> Vec<ChainId> {
        let mut chains: Vec<ChainId> = self.entries.iter().map(|entry| entry.chain_id).collect();
        chains.dedup();
        chains
    }

    /// How many blocks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many files of the directory are of another format.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    fn scan(&mut self, root: &Path) -> Result<(), SourceError> {
        let mut pending = vec![(root.to_owned(), 0)];
        while let Some((directory, depth)) = pending.pop() {
            let io = |source| SourceError::Io {
                path: directory.clone(),
                expected: "a readable directory",
                source,
            };
            for item in fs::read_dir(&directory).map_err(io)? {
                let item = item.map_err(io)?;
                // The type of the item itself: links are not followed, so a walk cannot go in circles.
                let kind = item.file_type().map_err(io)?;
                if kind.is_dir() && depth < DEPTH_MAX {
                    pending.push((item.path(), depth + 1));
                } else if kind.is_dir() {
                    let (limit, unit) = (u64::from(DEPTH_MAX), "nested directories");
                    return Err(SourceError::TooLarge { path: item.path(), limit, unit });
                } else {
                    self.take(&item.path())?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, path: &Path) -> Result<(), SourceError> {
        if self.entries.len() >= FILES_MAX {
            let limit = FILES_MAX.try_into().unwrap_or(u64::MAX);
            return Err(SourceError::TooLarge { path: path.to_owned(), limit, unit: "block files" });
        }
        let is_candidate = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(FILE_SUFFIX));
        match if is_candidate { entry(path)? } else { Err(None) } {
            Ok(entry) => self.entries.push(entry),
            Err(_) => self.skipped += 1,
        }
        Ok(())
    }

    fn refuse_duplicates(&self) -> Result<(), SourceError> {
        for (first, second) in self.entries.iter().zip(self.entries.iter().skip(1)) {
            if (first.chain_id, first.number) == (second.chain_id, second.number) {
                return Err(SourceError::Duplicate {
                    chain_id: first.chain_id,
                    number: first.number,
                    first: first.path.clone(),
                    second: second.path.clone(),
                });
            }
        }
        Ok(())
    }

    /// First block of a chain, or the first one after a number.
    fn first_after(&self, chain_id: ChainId, number: Option<u64>) -> Option<&Entry> {
        let is_passed = |entry: &Entry| {
            entry.chain_id < chain_id
                || (entry.chain_id == chain_id && number.is_some_and(|number| entry.number <= number))
        };
        self.entries.get(self.entries.partition_point(is_passed)).filter(|entry| entry.chain_id == chain_id)
    }

    fn last_of(&self, chain_id: ChainId) -> Option<&Entry> {
        let end = self.entries.partition_point(|entry| entry.chain_id <= chain_id);
        self.entries.get(end.checked_sub(1)?).filter(|entry| entry.chain_id == chain_id)
    }

    async fn next_update(&self, cursor: &Cursor) -> Result<Advance, SourceError> {
        let chain_id = cursor.chain_id;
        let Some(first) = self.first_after(chain_id, None) else { return Ok(Advance::End) };
        let Some(head) = cursor.head() else { return Ok(applied(first.read_off_thread().await?)) };
        let (sight, block) = match self.first_after(chain_id, Some(head.number)) {
            Some(next) => {
                let block = next.read_off_thread().await?;
                if block.number > head.number.saturating_add(1) {
                    let (after, number) = (head.number, block.number);
                    tracing::info!(%chain_id, after, number, "the archive has a gap");
                    return Ok(applied(block));
                }
                (Sight::Next { parent_hash: block.parent_hash }, Some(block))
            }
            None => match self.last_of(chain_id) {
                Some(last) => (Sight::Newest(last.read_off_thread().await?.block_ref()), None),
                None => return Ok(Advance::End),
            },
        };
        let begun_at = Some(first.number);
        match (next_step(cursor, &View { begun_at, sight }), block) {
            (Step::Apply, Some(block)) => Ok(applied(block)),
            (Step::Revert(block), _) => Ok(Advance::Update(ChainUpdate::Reverted(block))),
            (Step::TooDeep { oldest }, _) => Err(SourceError::ReorgTooDeep { chain_id, oldest }),
            (Step::Apply, None) | (Step::AtHead | Step::LookAgain { .. } | Step::Behind { .. }, _) => {
                Ok(Advance::End)
            }
        }
    }
}

fn applied(block: Block) -> Advance {
    Advance::Update(ChainUpdate::Applied(Box::new(block)))
}

/// What the start of a file tells: its entry, or the other format that it names.
fn entry(path: &Path) -> Result<Result<Entry, Option<String>>, SourceError> {
    let label = format::label(path)?;
    Ok(match (label.format.as_deref(), label.chain_id, label.number) {
        (Some(format::FORMAT), Some(chain_id), Some(number)) => {
            Ok(Entry { chain_id: ChainId(chain_id), number, path: path.to_owned() })
        }
        _ => Err(label.format),
    })
}

impl Entry {
    fn read(&self) -> Result<Block, SourceError> {
        let block = format::read(&self.path)?;
        if (block.chain_id, block.number) != (self.chain_id, self.number) {
            let origin = "file that changed since the archive was opened".to_owned();
            let source = SourceError::WrongBlock { origin, expected: self.number, found: block.number };
            return Err(SourceError::Damaged { path: self.path.clone(), source: Box::new(source) });
        }
        Ok(block)
    }

    /// Unpacking takes long enough to hold up other tasks.
    async fn read_off_thread(&self) -> Result<Block, SourceError> {
        let entry = self.clone();
        tokio::task::spawn_blocking(move || entry.read()).await.unwrap_or_else(|error| {
            let (path, expected) = (self.path.clone(), "to be read to its end");
            Err(SourceError::Io { path, expected, source: std::io::Error::other(error) })
        })
    }
}

/// The cursor's chain is served. After the last block comes [`Advance::End`], also where the cursor is ahead of it.
impl ChainSource for Archive {
    fn advance<'a>(&'a mut self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Advance, SourceError>> {
        Box::pin(self.next_update(cursor))
    }

    /// Returns at once: files do not change.
    fn wait(&mut self) -> BoxFuture<'_, Result<(), SourceError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests;
