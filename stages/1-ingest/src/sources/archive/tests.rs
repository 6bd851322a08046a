//! Small files of our own, damaged ones, and the whole shared archive where it is present.

use super::*;
use crate::conformance::{CHAIN, Followed, TestChain, empty_cursor, follow};
use alloy_primitives::{Address, B256, U256, keccak256};
use cordon_model::block::{ChainProfile, Outcome, RollupPart};
use cordon_model::units::BlockRef;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tempfile::TempDir;

fn file_json(chain: &TestChain, number: usize) -> Value {
    json!({
        "format": "cordon-block/1", "chain": "ethereum", "chainId": CHAIN.0, "number": number, "spec": "Prague",
        "blobBaseFeeUpdateFraction": 5_007_716, "header": chain.header_json(number), "transactions": [],
        "withdrawals": null, "blockHashes": {"7": B256::repeat_byte(7)},
        "prestate": {
            "0x00000000000000000000000000000000000000aa": {
                "balance": "0x10", "nonce": 3, "codeHash": keccak256([0x60]), "storage": {"0x1": "0x2"}
            }
        },
        "codes": {keccak256([0x60]).to_string(): "0x60"}, "receipts": [],
    })
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
}

fn archive_of(chain: &TestChain, numbers: &[usize]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for number in numbers {
        let path = directory.path().join(format!("test/{number}.json.zst"));
        write(&path, &file_json(chain, *number).to_string());
    }
    directory
}

/// The one error that a changed file gives.
fn error_of(change: impl Fn(&mut Value)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("1.json.zst");
    let mut value = file_json(&TestChain::with_blocks(2), 1);
    change(&mut value);
    write(&path, &value.to_string());
    let error = Archive::open(&path).unwrap().blocks().next().unwrap().unwrap_err();
    let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
    assert!(error.to_string().contains("1.json.zst"), "the file is named: {error}");
    format!("{error}: {cause}")
}

#[test]
fn a_block_comes_with_its_witness() {
    let chain = TestChain::with_blocks(3);
    let directory = archive_of(&chain, &[2]);
    let archive = Archive::open(directory.path().join("test/2.json.zst")).unwrap();
    let block = archive.blocks().next().unwrap().unwrap();
    assert_eq!(block.block_ref(), chain.block_ref(2));
    assert_eq!(block.chain_id, CHAIN);
    let witness = block.witness.unwrap();
    assert_eq!((witness.profile, witness.hardfork.as_str()), (ChainProfile::Ethereum, "Prague"));
    assert_eq!(witness.blob_base_fee_update_fraction, Some(5_007_716));
    assert_eq!(witness.block_hashes, BTreeMap::from([(7, B256::repeat_byte(7))]));
    let account = &witness.accounts[&Address::with_last_byte(0xaa)];
    assert_eq!((account.balance_wei, account.nonce), (U256::from(16), 3));
    assert_eq!(account.storage, BTreeMap::from([(U256::from(1), U256::from(2))]));
    assert_eq!(witness.codes[&account.code_hash.unwrap()].as_ref(), [0x60]);
}

#[test]
fn a_directory_is_sorted_and_other_files_are_counted() {
    let chain = TestChain::with_blocks(12);
    let directory = archive_of(&chain, &[10, 9, 2]);
    let root = directory.path();
    write(&root.join("bodies/3.json.zst"), r#"{"format":"cordon-body/1","chainId":1,"number":3}"#);
    write(&root.join("bodies/4.json.zst"), "[1, 2]");
    fs::write(root.join("README.md"), "text").unwrap();
    let archive = Archive::open(root).unwrap();
    assert_eq!((archive.len(), archive.skipped(), archive.is_empty()), (3, 3, false));
    assert_eq!(archive.chains(), [CHAIN]);
    let numbers: Vec<u64> = archive.blocks().map(|block| block.unwrap().number).collect();
    assert_eq!(numbers, [2, 9, 10]);
    assert_eq!(archive.blocks_of(ChainId(1)).count(), 0);
}

#[test]
fn a_single_file_of_another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("3.json.zst");
    write(&path, r#"{"format":"cordon-body/1","chainId":1,"number":3}"#);
    let error = Archive::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("has the format 'cordon-body/1', expected 'cordon-block/1'"), "{error}");
    let missing = Archive::open(directory.path().join("absent")).unwrap_err().to_string();
    assert!(missing.contains("absent' cannot be read: expected an archive file or directory"), "{missing}");
}

#[test]
fn a_file_that_is_cut_is_an_error_at_every_length() {
    let chain = TestChain::with_blocks(2);
    let directory = archive_of(&chain, &[1]);
    let path = directory.path().join("test/1.json.zst");
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = match Archive::open(directory.path()) {
            Ok(archive) => archive.blocks().next().unwrap().unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains("1.json.zst' cannot be read: expected"), "{length}: {error}");
        assert!(!error.is_transient());
    }
}

#[test]
fn a_damaged_byte_is_never_believed() {
    let chain = TestChain::with_blocks(2);
    let directory = archive_of(&chain, &[1]);
    let path = directory.path().join("test/1.json.zst");
    let whole = fs::read(&path).unwrap();
    for place in (0..whole.len()).step_by(11) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x41;
        fs::write(&path, &bytes).unwrap();
        // The frame has no checksum, so damage in a field that nothing commits to can pass; the header can not.
        if let Ok(archive) = Archive::open(&path)
            && let Ok(block) = archive.blocks().next().unwrap()
        {
            assert_eq!(block.block_ref(), chain.block_ref(1), "byte {place}");
        }
    }
}

#[test]
fn what_is_wrong_inside_a_file_is_named() {
    let has = |error: String, part: &str| assert!(error.contains(part), "{error}");
    has(error_of(|file| file["header"]["gasUsed"] = json!("0x1")), "but its header hashes to");
    has(error_of(|file| file["header"]["gasUsed"] = json!("much")), "at 'header.gasUsed'");
    has(error_of(|file| file["codes"][keccak256([0x60]).to_string()] = json!("0x61")), "code filed under");
    has(error_of(|file| file["receipts"] = json!([{"gasUsed": "0x1"}])), "1 receipts for 0 transactions");
    has(error_of(|file| file["chain"] = json!("moon")), "at 'chain': unknown variant `moon`");
    has(error_of(|file| file["blockHashes"] = json!({"x": B256::ZERO})), "'x' in blockHashes");
    has(error_of(|file| file["number"] = json!(5)), "gave block 1, expected block 5");
    has(error_of(|file| drop(file.as_object_mut().unwrap().remove("prestate"))), "missing field `prestate`");
}

#[test]
fn the_same_block_twice_is_refused() {
    let chain = TestChain::with_blocks(2);
    let directory = archive_of(&chain, &[1]);
    write(&directory.path().join("copy.json.zst"), &file_json(&chain, 1).to_string());
    let error = Archive::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("both hold block 1 of chain 31337"), "{error}");
}

#[tokio::test]
async fn a_chain_is_followed_over_gaps_and_resumed() {
    let chain = TestChain::with_blocks(10);
    let directory = archive_of(&chain, &[3, 4, 7, 8]);
    let (mut archive, mut cursor) = (Archive::open(directory.path()).unwrap(), empty_cursor());
    assert_eq!(follow(&mut archive, &mut cursor).await.unwrap().applied, [3, 4, 7, 8]);
    cursor.recent.truncate(2);
    assert_eq!(follow(&mut archive, &mut cursor).await.unwrap().applied, [7, 8]);
    archive.wait().await.unwrap();
    let mut other = Cursor::new(ChainId(1));
    assert_eq!(follow(&mut archive, &mut other).await.unwrap(), Followed::default());
}

#[tokio::test]
async fn blocks_of_another_branch_are_reverted() {
    let chain = TestChain::with_blocks(6);
    let directory = archive_of(&chain, &[1, 2, 3, 4]);
    let mut archive = Archive::open(directory.path()).unwrap();
    let mut cursor = empty_cursor();
    cursor.recent = vec![chain.block_ref(1), chain.block_ref(2), BlockRef { number: 3, hash: B256::ZERO }];
    let followed = follow(&mut archive, &mut cursor).await.unwrap();
    assert_eq!((followed.reverted, followed.applied), (vec![3], vec![3, 4]));
    cursor.recent = vec![BlockRef { number: 4, hash: B256::ZERO }];
    assert!(matches!(follow(&mut archive, &mut cursor).await, Err(SourceError::ReorgTooDeep { .. })));
}

#[test]
fn the_whole_shared_archive_is_read() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("CORDON_SHARED").map_or(default, PathBuf::from);
    let root = shared.join("data/blocks");
    if !root.is_dir() {
        eprintln!("SKIPPED: no recorded blocks at {}", root.display());
        return;
    }
    let archive = Archive::open(&root).unwrap();
    assert_eq!(archive.len(), 202);
    assert_eq!(archive.chains(), [ChainId(1), ChainId(10), ChainId(59_144), ChainId(534_352)]);
    let (mut previous, mut links, mut types): (Option<Block>, _, BTreeMap<u8, usize>) =
        (None, BTreeMap::<u64, usize>::new(), BTreeMap::new());
    for block in archive.blocks() {
        let block = block.unwrap();
        for transaction in &block.transactions {
            *types.entry(transaction.tx_type).or_default() += 1;
            let is_deposit = matches!(transaction.rollup, RollupPart::Deposit { .. });
            let is_posted = matches!(transaction.rollup, RollupPart::Posted(_));
            let is_op = block.chain_id == ChainId(10);
            let expected = (is_op && transaction.tx_type == 0x7e, is_op && transaction.tx_type != 0x7e);
            assert_eq!((is_deposit, is_posted), expected, "{}", transaction.hash);
        }
        let gas: u64 = block.outcomes.iter().map(|outcome: &Outcome| outcome.gas_used).sum();
        assert_eq!(gas, block.gas_used, "block {} of chain {}", block.number, block.chain_id);
        if let Some(parent) = previous
            && (parent.chain_id, parent.number + 1) == (block.chain_id, block.number)
        {
            assert_eq!(block.parent_hash, parent.hash, "block {} of chain {}", block.number, block.chain_id);
            *links.entry(block.chain_id.0).or_default() += 1;
        }
        previous = Some(block);
    }
    // Neighbours prove the hashes that the files of Linea and Scroll do not state.
    assert_eq!(links, BTreeMap::from([(1, 6), (10, 9), (59_144, 88), (534_352, 14)]));
    assert_eq!(types, BTreeMap::from([(0, 9_144), (1, 34), (2, 5_959), (3, 10), (4, 5), (0x7e, 13)]));
}
