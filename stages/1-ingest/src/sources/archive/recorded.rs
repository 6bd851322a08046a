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
    /// Everything that touched a protocol, up to its exploit.
    History(history::History),
    /// JSON that names no format, unpacked: a tree of calls has none.
    Unlabelled(String),
    /// A format that is not read here.
    Other {
        /// Its name.
        format: String,
    },
}

/// All files of recordings at or below a path, in the order of their names.
///
/// # Errors
/// The path cannot be read, or there is too much below it.
pub fn recordings(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = Vec::new();
    let mut pending = vec![(path.to_owned(), 0u32)];
    while let Some((path, depth)) = pending.pop() {
        let io =
            |source| SourceError::Io { path: path.clone(), expected: "a readable file or directory", source };
        // The type of the item itself below the first: links are not followed, so a walk cannot go in circles.
        let kind = if depth == 0 { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let kind = kind.map_err(io)?;
        let is_recording = has_suffix(&path, FILE_SUFFIX) || has_suffix(&path, history::FILE_SUFFIX);
        if kind.is_file() && (is_recording || depth == 0) {
            files.push(path.clone());
        }
        if files.len() > FILES_MAX {
            let limit = FILES_MAX.try_into().unwrap_or(u64::MAX);
            return Err(SourceError::TooLarge { path, limit, unit: "recordings" });
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
    if has_suffix(path, history::FILE_SUFFIX) {
        return history::read(path).map(Recorded::History);
    }
    match format::label(path)?.format {
        Some(name) if name == format::FORMAT => {
            format::read(path).map(|block| Recorded::Block(Box::new(block)))
        }
        Some(format) => Ok(Recorded::Other { format }),
        None => {
            let text = String::from_utf8(format::unpacked(path)?).map_err(|error| SourceError::Io {
                path: path.to_owned(),
                expected: "JSON in UTF-8",
                source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
            })?;
            Ok(Recorded::Unlabelled(text))
        }
    }
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix))
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
        packed(folder.path(), "a/readme.txt", "no recording");
        assert_eq!(recordings(folder.path()).unwrap(), [facts.clone(), tree.clone()]);
        assert_eq!(recordings(&tree).unwrap(), std::slice::from_ref(&tree));
        let read = read_recording(&tree).unwrap();
        assert!(matches!(&read, Recorded::Unlabelled(text) if text.contains("CALL")), "{read:?}");
        let read = read_recording(&facts).unwrap();
        assert!(matches!(&read, Recorded::Other { format } if format == "cordon-facts/1"), "{read:?}");
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
