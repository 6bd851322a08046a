//! The whole history of one protocol up to its exploit, as the artifact of CrossGuard (ICSE 2026) keeps it.
//!
//! In: a zip archive of one JSON file per block, named by the block's number, and beside it an `index.json` that names the
//! exploits of several protocols. Out: the texts in the order of the chain, and which transactions are exploits. Must never:
//! guess a label, or unpack without a bound.

use crate::error::SourceError;
use alloy_primitives::B256;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use zip::ZipArchive;

/// How such files are named.
pub(super) const FILE_SUFFIX: &str = ".zip";

/// Name of the list of exploits, in the same folder.
pub const INDEX: &str = "index.json";

/// Blocks that are read of one archive. The longest known history has 2,355.
const BLOCKS_MAX: usize = 1 << 17;

/// Bytes that all blocks together may unpack to. The largest known history has 38 MB; a crafted one fills memory up to here.
const UNPACKED_BYTES_MAX: u64 = 1 << 30;

/// Bytes of the list of exploits that are read; a hundred times the known one.
const INDEX_BYTES_MAX: u64 = 1 << 20;

/// A protocol's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// What touched the protocol in each block, as text, in the order of block numbers.
    pub blocks: Vec<(u64, String)>,
    /// Exploits that the index beside the archive names, of this protocol and of others; `None` where there is no index.
    pub exploits: Option<BTreeSet<B256>>,
}

/// One line of the index; it has more that is not needed here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Labelled {
    exploit_tx: B256,
}

/// Reads a history with its labels.
pub(super) fn read(path: &Path) -> Result<History, SourceError> {
    let failed = |source| SourceError::Io { path: path.to_owned(), expected: "a zip archive", source };
    let file = File::open(path).map_err(failed)?;
    let mut archive = ZipArchive::new(file).map_err(|error| failed(error.into()))?;
    if archive.len() > BLOCKS_MAX {
        let limit = BLOCKS_MAX.try_into().unwrap_or(u64::MAX);
        return Err(SourceError::TooLarge { path: path.to_owned(), limit, unit: "blocks" });
    }
    let (mut blocks, mut left) = (Vec::with_capacity(archive.len()), UNPACKED_BYTES_MAX);
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| failed(error.into()))?;
        let name = entry.name().map_err(|error| failed(error.into()))?;
        let Some(number) = block_number(&name) else { continue };
        let text = text(entry, left).map_err(failed)?;
        left = left.saturating_sub(text.len().try_into().unwrap_or(u64::MAX));
        if left == 0 {
            let (limit, unit) = (UNPACKED_BYTES_MAX, "unpacked bytes");
            return Err(SourceError::TooLarge { path: path.to_owned(), limit, unit });
        }
        blocks.push((number, text));
    }
    blocks.sort();
    Ok(History { blocks, exploits: exploits(path)? })
}

/// The number that a block's file is named by; `None` for folders and whatever else is there.
fn block_number(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()
}

fn text(source: impl Read, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    source.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

fn exploits(path: &Path) -> Result<Option<BTreeSet<B256>>, SourceError> {
    let index = path.with_file_name(INDEX);
    let failed = |source| SourceError::Io { path: index.clone(), expected: "a list of exploits", source };
    let file = match File::open(&index) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let list = text(file, INDEX_BYTES_MAX).map_err(failed)?;
    let list: Vec<Labelled> = serde_json::from_str(&list).map_err(|error| failed(error.into()))?;
    Ok(Some(list.into_iter().map(|labelled| labelled.exploit_tx).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn archive(folder: &Path, name: &str, entries: &[(&str, &str)]) -> std::path::PathBuf {
        let path = folder.join(name);
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for (name, text) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    #[test]
    fn blocks_come_in_the_order_of_the_chain_with_the_labels_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let entries = [("P/10.json", "ten"), ("P/9.json", "nine"), ("P/notes.txt", "no block")];
        let path = archive(folder.path(), "P.zip", &entries);
        let blocks = vec![(9, "nine".to_owned()), (10, "ten".to_owned())];
        let unlabelled = History { blocks: blocks.clone(), exploits: None };
        assert_eq!(read(&path).unwrap(), unlabelled);
        let (one, other) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let line = |tx| format!(r#"{{"benchmarkName":"P","exploitTx":"{tx}"}}"#);
        let lines = [line(one), line(one), line(other)].join(",");
        fs::write(folder.path().join(INDEX), format!("[{lines}]")).unwrap();
        assert_eq!(read(&path).unwrap(), History { blocks, exploits: Some(BTreeSet::from([one, other])) });
    }

    #[test]
    fn what_is_no_archive_or_no_index_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("broken.zip");
        fs::write(&broken, "PK no archive").unwrap();
        let error = read(&broken).unwrap_err().to_string();
        assert!(error.contains("broken.zip") && error.contains("a zip archive"), "{error}");
        let path = archive(folder.path(), "P.zip", &[("1.json", "{}")]);
        fs::write(folder.path().join(INDEX), r#"[{"exploitTx":7}]"#).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("index.json") && error.contains("a list of exploits"), "{error}");
    }
}
