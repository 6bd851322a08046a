//! Executions from trees of calls that somebody kept, without the node that traced them.
//!
//! In: JSON of `callTracer` for one transaction. Out: an [`Execution`] at [`Detail::Calls`], or at [`Detail::Traced`] as
//! far as the tree holds logs. Must never: be taken for a replay. What the tree does not tell (storage, balances, fees,
//! logs in most archives) is missing, and the detail says so.

use super::calls::CallTree;
use super::error::TraceError;
use super::facts::{Facts, kept_creations};
use super::json;
use crate::transfers::ordered_move;
use alloy_primitives::{Address, Bytes};
use cordon_model::block::Transaction;
use cordon_model::execution::{Creation, Detail, Execution, Frame, FrameKind, Transfer};
use cordon_model::units::{Asset, TxRef};

/// Name of the source, in errors.
const ARCHIVE: &str = "archived call tree";

/// Reads the calls of one transaction. `tx` is where it was mined, as far as that is known.
///
/// # Errors
/// [`TraceError::Malformed`] and [`TraceError::TooLarge`] where it is no tree of calls.
pub fn read_call_tree(text: &str, tx: TxRef) -> Result<Execution, TraceError> {
    let mut tree: CallTree = json::read_one(ARCHIVE, text)?;
    let facts = Facts::of(&mut tree);
    let root = facts.frames.first().ok_or_else(|| TraceError::Malformed {
        method: ARCHIVE,
        place: ".".to_owned(),
        reason: "found no call, expected that of the transaction".to_owned(),
    })?;
    let detail = if facts.logs.is_empty() { Detail::Calls } else { Detail::Traced };
    let mut transfers = facts.transfers;
    if !detail.knows_logs() {
        transfers.extend(ordered(&facts.frames));
        transfers.sort_by_key(|transfer| transfer.seq);
    }
    let bare = Execution::bare(tx, 0, transaction(root, &tx));
    Ok(Execution {
        status: root.status.clone(),
        gas_used: root.gas_used,
        creations: creations(&facts.frames),
        transfers,
        destructions: facts.destructions,
        truncated: facts.truncated,
        detail,
        frames: facts.frames,
        logs: facts.logs,
        ..bare
    })
}

/// The movements of tokens that calls order, where no logs tell of them.
fn ordered(frames: &[Frame]) -> impl Iterator<Item = Transfer> {
    frames.iter().filter(|frame| !frame.reverted).filter_map(|frame| {
        let moved = ordered_move(frame)?;
        let (asset, seq) = (Asset::Token(frame.address), frame.enter_seq);
        let (from, to, amount_raw) = (moved.from, moved.to, moved.amount_raw);
        Some(Transfer { seq, frame: frame.index, asset, from, to, amount_raw })
    })
}

/// Contracts whose creation was kept. Whether one destroyed itself later is not asked: for what it did it was there.
pub(super) fn creations(frames: &[Frame]) -> Vec<Creation> {
    let creation = |frame: &Frame| Creation {
        frame: frame.index,
        creator: frame.caller,
        address: frame.address,
        init_code_hash: alloy_primitives::keccak256(&frame.input),
        code_hash: alloy_primitives::keccak256(&frame.output),
    };
    kept_creations(frames).map(creation).collect()
}

/// The transaction as far as its own call shows it.
pub(super) fn transaction(root: &Frame, tx: &TxRef) -> Transaction {
    let creates = matches!(root.kind, FrameKind::Create | FrameKind::Create2);
    let to: Option<Address> = (!creates).then_some(root.code_address);
    Transaction {
        hash: tx.hash,
        tx_type: 0,
        value_wei: root.value_wei,
        input: Bytes::clone(&root.input),
        gas_limit: root.gas_used,
        chain_id: Some(tx.chain_id.0),
        ..Transaction::bare(root.caller, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{B256, U256, address};
    use cordon_model::units::{BlockRef, ChainId};

    fn tx() -> TxRef {
        let block = BlockRef { number: 0, hash: B256::ZERO };
        TxRef { chain_id: ChainId(1), block, index: 0, hash: B256::repeat_byte(7) }
    }

    const ALICE: Address = address!("00000000000000000000000000000000000a11ce");
    const POOL: Address = address!("0000000000000000000000000000000000009001");
    const TOKEN: Address = address!("0000000000000000000000000000000000007073");

    fn word(address: Address) -> String {
        format!("{:0>64}", alloy_primitives::hex::encode(address))
    }

    fn call(from: Address, to: Address, input: &str, output: &str, calls: &str) -> String {
        format!(
            r#"{{"type":"CALL","from":"{from}","to":"{to}","value":"0x0","input":"{input}","output":{output},"calls":[{calls}]}}"#
        )
    }

    #[test]
    fn token_movements_are_read_off_the_calls_that_order_them() {
        let pays = format!("0xa9059cbb{}{:064x}", word(ALICE), 500);
        let takes = format!("0x23b872dd{}{}{:064x}", word(ALICE), word(POOL), 70);
        let yes = format!("\"0x{:064x}\"", 1);
        let no = format!("\"0x{:064x}\"", 0);
        let calls = [
            call(POOL, TOKEN, &pays, &yes, ""),
            call(POOL, TOKEN, &takes, "null", ""),
            call(POOL, TOKEN, &takes, &no, ""),
        ];
        let execution = read_call_tree(&call(ALICE, POOL, "0x", "null", &calls.join(",")), tx()).unwrap();
        assert_eq!(execution.detail, Detail::Calls);
        assert_eq!(execution.transaction.to, Some(POOL));
        let moved: Vec<_> =
            execution.transfers.iter().map(|t| (t.asset, t.from, t.to, t.amount_raw)).collect();
        let token = Asset::Token(TOKEN);
        assert_eq!(moved, [(token, POOL, ALICE, U256::from(500)), (token, ALICE, POOL, U256::from(70))]);
    }

    #[test]
    fn what_is_no_tree_of_calls_is_refused_with_its_place() {
        for text in ["", "[]", "{}", "{\"type\":\"CALL\"}", "{\"type\":\"JUMP\",\"from\":\"0x00\"}", "7"] {
            let error = read_call_tree(text, tx()).unwrap_err();
            assert!(matches!(error, TraceError::Malformed { method: ARCHIVE, .. }), "{text}: {error}");
        }
        let reverted =
            call(ALICE, POOL, "0x", "null", "").replace("\"calls\"", "\"error\":\"revert\",\"calls\"");
        let execution = read_call_tree(&reverted, tx()).unwrap();
        assert!(!execution.status.is_success());
    }
}
