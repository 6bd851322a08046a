//! Recorded files of every kind that is known, told apart by what they say of themselves.
//!
//! In: paths. Out: the files below them, sorted, and what each holds. Must never: guess. A file that says nothing known is
//! named with what it says instead.

use super::{DEPTH_MAX, FILE_SUFFIX, FILES_MAX, format, history};
use crate::error::SourceError;
use cordon_model::block::Block;
use std::fs;
use std::path::{Path, PathBuf};

/// What a file holds.
#[derive(Debug, Clone)]
pub enum Recorded {
    /// A block with the state it ran on.
    Block(Box<Block>),
    /// What a block's transactions did, without code and state: JSON of the format `cordon-facts/1`.
    Facts(String),
    /// Accounts just before an attack: JSON that names no format and holds "addresses".
    State(String),
    /// An attack carried out again on a fork by a test: JSON that names no format and holds "tests".
    Reproduction(String),
    /// Everything that touched a protocol, up to its exploit: a zip archive.
    History(history::History),
    /// Any other JSON that names no format, unpacked: a tree of calls has none.
    Unlabelled(String),
    /// A format that is not read here.
    Other {
        /// Its name.
        format: String,
    },
}

/// Format of what a block's transactions did, without code and state.
const FACTS_FORMAT: &str = "cordon-facts/1";

/// How the names of files end that stand beside recordings and are none: lists of what a folder holds, its description
/// and licence, and the states after attacks, which say nothing that the states before and the transaction do not.
const COMPANION_ENDINGS: [&str; 5] = [".after.json.zst", ".json", ".md", ".txt", "LICENSE"];

/// All files of recordings at or below a path, in the order of their names. Companions are left out; a file that is named
/// itself is not.
///
/// # Errors
/// The path cannot be read, or there is too much below it.
pub fn recordings(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = files_below(path)?;
    files.retain(|file| is_recording(file) || file == path);
    Ok(files)
}

/// Files at or below a path that are neither recordings nor known companions of some, in the order of their names.
///
/// # Errors
/// As [`recordings`].
pub fn unknown_files(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = files_below(path)?;
    files.retain(|file| !is_recording(file) && file != path && !ends_with_any(file, &COMPANION_ENDINGS));
    Ok(files)
}

fn is_recording(file: &Path) -> bool {
    ends_with_any(file, &[FILE_SUFFIX, history::FILE_SUFFIX]) && !ends_with_any(file, &COMPANION_ENDINGS)
}

fn ends_with_any(file: &Path, endings: &[&str]) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    endings.iter().any(|ending| name.ends_with(ending))
}

fn files_below(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = Vec::new();
    let mut pending = vec![(path.to_owned(), 0u32)];
    while let Some((path, depth)) = pending.pop() {
        let io =
            |source| SourceError::Io { path: path.clone(), expected: "a readable file or directory", source };
        // The type of the item itself below the first: links are not followed, so a walk cannot go in circles.
        let kind = if depth == 0 { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let kind = kind.map_err(io)?;
        if kind.is_file() {
            files.push(path.clone());
        }
        if files.len() > FILES_MAX {
            let limit = FILES_MAX.try_into().unwrap_or(u64::MAX);
            return Err(SourceError::TooLarge { path, limit, unit: "files" });
        }
        if !kind.is_dir() {
            continue;
        }
        if depth > DEPTH_MAX {
            let (limit, unit) = (u64::from(DEPTH_MAX), "nested directories");
            return Err(SourceError::TooLarge { path, limit, unit });
        }
        for item in fs::read_dir(&path).map_err(io)? {
            pending.push((item.map_err(io)?.path(), depth.saturating_add(1)));
        }
    }
    files.sort();
    Ok(files)
}

/// Reads one file.
///
/// # Errors
/// The file cannot be read or unpacked, or is damaged.
pub fn read_recording(path: &Path) -> Result<Recorded, SourceError> {
    if ends_with_any(path, &[history::FILE_SUFFIX]) {
        return history::read(path).map(Recorded::History);
    }
    let label = format::label(path)?;
    match label.format {
        Some(name) if name == format::FORMAT => {
            format::read(path).map(|block| Recorded::Block(Box::new(block)))
        }
        Some(name) if name == FACTS_FORMAT => text(path).map(Recorded::Facts),
        Some(format) => Ok(Recorded::Other { format }),
        None if label.has_addresses => text(path).map(Recorded::State),
        None if label.has_tests => text(path).map(Recorded::Reproduction),
        None => text(path).map(Recorded::Unlabelled),
    }
}

fn text(path: &Path) -> Result<String, SourceError> {
    String::from_utf8(format::unpacked(path)?).map_err(|error| SourceError::Io {
        path: path.to_owned(),
        expected: "JSON in UTF-8",
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
        path
    }

    #[test]
    fn files_are_found_at_any_depth_in_order_and_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let tree = packed(folder.path(), "b/tree.json.zst", r#"{"type":"CALL"}"#);
        let facts = packed(folder.path(), "a/facts.json.zst", r#"{"format":"cordon-facts/1"}"#);
        let body = packed(folder.path(), "c/body.json.zst", r#"{"format":"cordon-body/1"}"#);
        let state = packed(folder.path(), "d/x.before.json.zst", r#"{"metadata":{},"addresses":{}}"#);
        let test = packed(folder.path(), "d/y.json.zst", r#"{"name":"y","tests":{}}"#);
        packed(folder.path(), "a/readme.txt", "no recording");
        let all = [&facts, &tree, &body, &state, &test].map(Clone::clone);
        assert_eq!(recordings(folder.path()).unwrap(), all);
        assert_eq!(recordings(&tree).unwrap(), std::slice::from_ref(&tree));
        let read = read_recording(&tree).unwrap();
        assert!(matches!(&read, Recorded::Unlabelled(text) if text.contains("CALL")), "{read:?}");
        let read = read_recording(&facts).unwrap();
        assert!(matches!(&read, Recorded::Facts(text) if text.contains("cordon-facts/1")), "{read:?}");
        let read = read_recording(&body).unwrap();
        assert!(matches!(&read, Recorded::Other { format } if format == "cordon-body/1"), "{read:?}");
        assert!(matches!(read_recording(&state).unwrap(), Recorded::State(_)));
        assert!(matches!(read_recording(&test).unwrap(), Recorded::Reproduction(_)));
    }

    #[test]
    fn companions_are_told_from_files_that_nobody_knows() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for name in ["index.json", "README.md", "notes.txt", "LICENSE", "x.after.json.zst", "b/manifest.json"]
        {
            packed(at, name, "{}");
        }
        let before = packed(at, "x.before.json.zst", "{}");
        let packs = [packed(at, "b/cache.tar.xz", ""), packed(at, "cache.7z", "")];
        assert_eq!(recordings(at).unwrap(), std::slice::from_ref(&before));
        assert_eq!(unknown_files(at).unwrap(), packs);
        // What is named itself is meant.
        let after = at.join("x.after.json.zst");
        assert_eq!(recordings(&after).unwrap(), std::slice::from_ref(&after));
        assert_eq!(unknown_files(&packs[0]).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_is_missing_or_damaged_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(recordings(&missing).unwrap_err().to_string().contains("missing"));
        let plain = folder.path().join("plain.json.zst");
        fs::write(&plain, "{}").unwrap();
        assert!(read_recording(&plain).unwrap_err().to_string().contains("plain.json.zst"));
    }
}
