//! Verdicts on disk, so that a run that was cut off goes on where it stopped.
//!
//! In: a folder, and a fingerprint of everything that verdicts depend on beside the recordings. Out: a file of lines, one for
//! each recording that is done, and what such a file held already. Must never: take a verdict of another program, of other
//! settings or of another recording for one of this run, or a half-written line for a whole one.

use super::judge::{Judge, Verdict};
use super::{Progress, Tell};
use crate::error::EngineError;
use alloy_primitives::{B256, Keccak256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Name of the file.
pub const VERDICTS_FILE: &str = "verdicts.jsonl";

/// Format of the file. Another layout of its lines is another number.
const FORMAT: &str = "cordon-verdicts/1";

/// Bytes that are hashed at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The first line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    fingerprint: B256,
}

/// Which recording a verdict is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    /// The path as it was named. Errors name it, and what stands beside the file belongs to it.
    pub(super) path: String,
    pub(super) is_attack: bool,
    /// Hash of the file, and of what is read with it.
    pub(super) content: B256,
}

/// Every other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: Key,
    verdict: Verdict,
}

/// Verdicts of earlier runs, and the file to which those of this one are added. Without a folder nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    known: Mutex<BTreeMap<Key, Verdict>>,
    file: Option<(PathBuf, Mutex<File>)>,
}

impl Kept {
    /// Opens the file of a folder, or begins it. What it holds of another fingerprint is dropped, and so is what follows the
    /// last whole line.
    ///
    /// # Errors
    /// The file cannot be used, belongs to a run that goes on, or is no file of verdicts.
    pub(super) fn open(folder: &Path, fingerprint: B256, tell: Tell<'_>) -> Result<Self, EngineError> {
        let path = folder.join(VERDICTS_FILE);
        let failed = |doing| {
            let path = path.clone();
            move |source| EngineError::File { doing, path, source }
        };
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(failed("open"))?;
        file.try_lock().map_err(|error| failed("lock")(error.into()))?;
        let header = Header { format: FORMAT.to_owned(), fingerprint };
        let held = Held::read(&mut file, &header).map_err(failed("read verdicts from"))?;
        let (known, length) = match held {
            Held::Verdicts { known, length } => {
                if !known.is_empty() {
                    tell(Progress::Note(format!(
                        "{} verdicts are taken from '{}'",
                        known.len(),
                        path.display()
                    )));
                }
                (known, length)
            }
            Held::Other { fingerprint } => {
                let note = format!(
                    "'{}' was written by another program or with other settings (fingerprint {fingerprint}, now {}): \
                     everything is judged anew",
                    path.display(),
                    header.fingerprint
                );
                tell(Progress::Note(note));
                (BTreeMap::new(), 0)
            }
        };
        file.set_len(length).map_err(failed("cut"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("write"))?;
        if length == 0 {
            append(&mut file, &header).map_err(failed("write"))?;
        }
        Ok(Self { known: Mutex::new(known), file: Some((path, Mutex::new(file))) })
    }

    /// Whether anything is kept at all.
    pub(super) fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// The verdict of an earlier run on this recording.
    pub(super) fn take(&self, key: &Key) -> Option<Verdict> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    /// Adds a verdict.
    pub(super) fn keep(&self, key: Key, verdict: &Verdict) -> Result<(), EngineError> {
        let Some((path, file)) = &self.file else { return Ok(()) };
        let line = Line { key, verdict: verdict.clone() };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        append(&mut file, &line).map_err(|source| EngineError::File {
            doing: "write",
            path: path.clone(),
            source,
        })
    }
}

/// What a file of verdicts held.
enum Held {
    Verdicts {
        known: BTreeMap<Key, Verdict>,
        /// Bytes up to the end of the last whole line.
        length: u64,
    },
    /// Verdicts of another fingerprint.
    Other { fingerprint: B256 },
}

impl Held {
    fn read(file: &mut File, expected: &Header) -> io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        let begun = serde_json::to_vec(expected)?;
        if !line.ends_with(b"\n") && begun.starts_with(&line) {
            // Empty, or cut off within its first line.
            return Ok(Self::Verdicts { known: BTreeMap::new(), length: 0 });
        }
        let header: Header = serde_json::from_slice(&line).map_err(|_| no_verdicts(&line))?;
        if header.format != FORMAT {
            return Err(no_verdicts(&line));
        }
        if header != *expected {
            return Ok(Self::Other { fingerprint: header.fingerprint });
        }
        let (mut known, mut length) = (BTreeMap::new(), size(&line));
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            let whole = line.strip_suffix(b"\n").and_then(|text| serde_json::from_slice::<Line>(text).ok());
            let Some(Line { key, verdict }) = whole else { break };
            known.insert(key, verdict);
            length = length.saturating_add(size(&line));
        }
        Ok(Self::Verdicts { known, length })
    }
}

/// The file is somebody else's: it is not touched.
fn no_verdicts(line: &[u8]) -> io::Error {
    let begins: String = String::from_utf8_lossy(line).chars().take(80).collect();
    let begins = crate::render::plain(&begins);
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it begins with '{begins}', expected a first line of format {FORMAT}"),
    )
}

fn size(line: &[u8]) -> u64 {
    u64::try_from(line.len()).unwrap_or(u64::MAX)
}

/// Writes a line at once, so that a run that is cut off leaves at most one half-written line, the last.
fn append(file: &mut File, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)
}

/// Of everything that verdicts depend on beside the recordings: this program, detectors, rules and policy.
pub(super) fn fingerprint(judge: &Judge) -> Result<B256, EngineError> {
    let mut hash = Keccak256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(program_hash()?);
    hash.update(judge.settings_hash());
    Ok(hash.finalize())
}

/// Hash of the program that runs: a changed detector has the same version as long as it is not released.
fn program_hash() -> Result<B256, EngineError> {
    /// It is some hundred megabytes without optimisation, and does not change while it runs.
    static KNOWN: OnceLock<B256> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let failed =
        |path: PathBuf| move |source| EngineError::File { doing: "read the program from", path, source };
    let program = std::env::current_exe().map_err(failed(PathBuf::from("the running program")))?;
    let hash = file_hash(&program).map_err(failed(program.clone()))?;
    Ok(*KNOWN.get_or_init(|| hash))
}

/// Hash of a file.
pub(super) fn file_hash(path: &Path) -> io::Result<B256> {
    let (mut file, mut hash) = (File::open(path)?, Keccak256::new());
    let mut chunk = vec![0u8; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finalize()),
            read => hash.update(chunk.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::judge::{RecordKind, Unjudged};
    use std::fs;

    fn key(path: &str) -> Key {
        Key { path: path.to_owned(), is_attack: false, content: B256::repeat_byte(7) }
    }

    fn verdict() -> Verdict {
        let unjudged = Some(Unjudged::Kind { reason: "for want of all".to_owned(), detail: None });
        Verdict {
            kind: Some(RecordKind::Facts),
            stream: Some("chain 1".to_owned()),
            unjudged,
            ..Verdict::default()
        }
    }

    fn open(folder: &Path, fingerprint: u8) -> (Result<Kept, EngineError>, Vec<String>) {
        let notes = Mutex::new(Vec::new());
        let tell = |progress: Progress| match progress {
            Progress::Note(note) => notes.lock().unwrap().push(note),
            Progress::Judged { .. } => {}
        };
        let kept = Kept::open(folder, B256::repeat_byte(fingerprint), &tell);
        (kept, notes.into_inner().unwrap())
    }

    /// A folder with two verdicts.
    fn filled() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let kept = open(folder.path(), 1).0.unwrap();
        kept.keep(key("a"), &verdict()).unwrap();
        kept.keep(key("b"), &Verdict::default()).unwrap();
        folder
    }

    #[test]
    fn what_was_kept_is_found_under_its_own_key_only() {
        let folder = filled();
        let (kept, notes) = open(folder.path(), 1);
        let kept = kept.unwrap();
        assert!(notes[0].starts_with("2 verdicts are taken from"), "{notes:?}");
        let others = [
            Key { is_attack: true, ..key("a") },
            Key { content: B256::repeat_byte(8), ..key("a") },
            key("c"),
        ];
        assert!(others.iter().all(|other| kept.take(other).is_none()));
        assert_eq!(kept.take(&key("a")), Some(verdict()));
        assert_eq!(kept.take(&key("b")), Some(Verdict::default()));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_keeps_its_whole_lines() {
        let folder = filled();
        let path = folder.path().join(VERDICTS_FILE);
        let text = fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'\n').collect();
        for cut in 0..=text.len() {
            fs::write(&path, &text[..cut]).unwrap();
            let kept = open(folder.path(), 1).0.unwrap();
            let whole = ends.iter().filter(|end| **end < cut).count();
            assert_eq!(kept.known.lock().unwrap().len(), whole.saturating_sub(1), "cut after {cut} bytes");
            kept.keep(key("c"), &verdict()).unwrap();
            drop(kept);
            let again = open(folder.path(), 1).0.unwrap();
            assert_eq!(again.take(&key("c")), Some(verdict()), "cut after {cut} bytes");
        }
    }

    #[test]
    fn another_fingerprint_begins_anew_and_says_so() {
        let folder = filled();
        let (kept, notes) = open(folder.path(), 2);
        assert_eq!(kept.unwrap().take(&key("a")), None);
        assert!(notes[0].contains("with other settings") && notes[0].contains("judged anew"), "{notes:?}");
        let (kept, notes) = open(folder.path(), 1);
        assert_eq!((kept.unwrap().take(&key("a")), notes.len()), (None, 1), "it was dropped for good");
    }

    #[test]
    fn a_file_of_others_and_one_in_use_are_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(VERDICTS_FILE);
        for other in
            ["my verdicts\n", "my verdicts", "{\"format\":\"cordon-verdicts/0\",\"fingerprint\":\"0x\"}\n"]
        {
            fs::write(&path, other).unwrap();
            let error = crate::error::chain(&open(folder.path(), 1).0.unwrap_err());
            assert!(
                error.contains(VERDICTS_FILE) && error.contains("expected a first line of format"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
        let folder = filled();
        let _first = open(folder.path(), 1).0.unwrap();
        let error = open(folder.path(), 1).0.unwrap_err().to_string();
        assert!(error.starts_with("cannot lock") && error.contains(VERDICTS_FILE), "{error}");
    }
}
