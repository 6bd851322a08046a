//! Transactions written to make a recorder suffer, and what they make of ours.
//!
//! In: one instruction pattern each, repeated until a full transaction's gas is nearly gone. Out: the ratio to bare revm
//! on the same block, the size of the facts, and whether they were cut.

use super::Watched;
use super::laps::{self, Measured};
use super::report::PatternReport;
use crate::error::EngineError;
use alloy_primitives::{Address, B256, Bloom, Bytes, U256, hex, keccak256};
use cordon_model::block::{Block, ChainProfile, Transaction, Witness, WitnessAccount};
use cordon_model::execution::{
    Creation, Destruction, Execution, Frame, Log, StorageAccess, StorageChange, Transfer,
};
use cordon_model::units::ChainId;
use cordon_replay::{Prepared, replay_witness};
use std::sync::Arc;

/// The loop, and the account that calls it.
const LOOP: Address = Address::repeat_byte(0x11);
const CALLER: Address = Address::repeat_byte(0xa1);
const BENEFICIARY: Address = Address::repeat_byte(0xc0);
/// Largest gas limit of a transaction since Osaka (EIP-7825).
const TX_GAS: u64 = 1 << 24;
/// Transactions per block, as in the measurement that the goals come from.
const TRANSACTIONS: u64 = 3;
/// How often a pattern stands in the loop's body, so that the loop itself hardly counts.
const REPEATED: usize = 32;
/// Slots that the cold pattern can reach with the gas of a transaction (2,100 each, EIP-2929).
const COLD_SLOTS: u64 = 8_192;
/// Rounds on one pattern. They take as long as all blocks of the archive, and a loop's ratio hardly moves.
const ROUNDS_MAX: u32 = 5;
/// Gas that makes more than a million frames; only before Osaka may one transaction have it.
const BOMB_GAS: u64 = 150_000_000;

/// Name, and instructions that leave the stack as they found it: one counter.
const PATTERNS: [(&str, &[u8]); 6] = [
    ("arithmetic", &hex!("80 6003 02 6007 01 50")),
    ("warm SLOAD", &hex!("6000 54 50")),
    ("cold SLOAD", &hex!("80 54 50 6001 01")),
    ("SSTORE same slot", &hex!("6001 6000 55")),
    ("STATICCALL to an account without code", &hex!("6000 6000 6000 6000 61dead 5a fa 50")),
    ("LOG0", &hex!("6000 6000 a0")),
];

/// Every pattern.
pub(super) fn all(rounds: u32, watched: &Watched) -> Result<Vec<PatternReport>, EngineError> {
    PATTERNS
        .iter()
        .map(|(name, instructions)| {
            one(name, block(instructions, TRANSACTIONS, TX_GAS, "Osaka"), rounds, watched)
        })
        .collect()
}

/// One transaction with more than a million frames.
pub(super) fn trace_bomb(rounds: u32, watched: &Watched) -> Result<PatternReport, EngineError> {
    let call: &[u8] = &hex!("6000 6000 6000 6000 61dead 5a fa 50");
    one("trace bomb", block(call, 1, BOMB_GAS, "Cancun"), rounds, watched)
}

fn one(name: &str, mut block: Block, rounds: u32, watched: &Watched) -> Result<PatternReport, EngineError> {
    let replayed = replay_witness(&block, &watched.everything)?;
    // The header of a block that no chain has seen is what its first execution says.
    block.gas_used = replayed.gas_used;
    let (gas_used, rounds) = (replayed.gas_used, rounds.min(ROUNDS_MAX));
    let executions = &replayed.executions;
    let measured: Vec<Measured> = laps::measure(&[Prepared::new(Arc::new(block))?], rounds, watched)?;
    Ok(PatternReport {
        name: name.to_owned(),
        watch_ratio: laps::ratio(&measured, |round| round.watch_ns),
        full_ratio: laps::ratio(&measured, |round| round.full_ns),
        gas_used,
        frames_kept: executions.iter().map(|execution| super::figures::count(execution.frames.len())).sum(),
        facts_bytes_per_tx: executions.iter().map(facts_bytes).max().unwrap_or(0),
        is_truncated: executions.iter().any(|execution| execution.truncated),
        is_success: executions.iter().all(|execution| execution.status.is_success()),
    })
}

fn block(instructions: &[u8], transactions: u64, gas_limit: u64, hardfork: &str) -> Block {
    // push 0; loop: ...; if gas > 100,000 goto loop; stop
    let code =
        [&hex!("6000 5b")[..], &instructions.repeat(REPEATED), &hex!("62 0186a0 5a 11 6002 57 00")].concat();
    let code_hash = keccak256(&code);
    let rich =
        |nonce| WitnessAccount { balance_wei: U256::from(u64::MAX), nonce, ..WitnessAccount::default() };
    let contract = WitnessAccount {
        nonce: 1,
        code_hash: Some(code_hash),
        storage: (0..COLD_SLOTS).map(|slot| (U256::from(slot), U256::ZERO)).collect(),
        ..WitnessAccount::default()
    };
    let witness = Witness {
        profile: ChainProfile::Ethereum,
        hardfork: hardfork.to_owned(),
        accounts: [(LOOP, contract), (CALLER, rich(0)), (BENEFICIARY, rich(0))].into(),
        codes: [(code_hash, Bytes::from(code))].into(),
        ..Witness::default()
    };
    Block {
        chain_id: ChainId(1),
        number: 24_000_000,
        hash: B256::repeat_byte(2),
        parent_hash: B256::repeat_byte(1),
        timestamp_s: 1_770_000_000,
        beneficiary: BENEFICIARY,
        gas_limit: gas_limit.saturating_mul(transactions),
        gas_used: 0,
        base_fee_wei: Some(0),
        difficulty: U256::ZERO,
        mix_hash: B256::ZERO,
        excess_blob_gas: Some(0),
        parent_beacon_block_root: None,
        receipts_root: B256::ZERO,
        logs_bloom: Bloom::ZERO,
        withdrawals: Vec::new(),
        transactions: (0..transactions).map(|nonce| transaction(nonce, gas_limit)).collect(),
        outcomes: Vec::new(),
        witness: Some(Arc::new(witness)),
    }
}

fn transaction(nonce: u64, gas_limit: u64) -> Transaction {
    Transaction {
        hash: keccak256(nonce.to_be_bytes()),
        tx_type: 0,
        nonce,
        gas_limit,
        gas_price_wei: Some(1),
        chain_id: Some(1),
        ..Transaction::bare(CALLER, Some(LOOP))
    }
}

/// What an execution occupies in memory, in bytes, the transaction itself left out.
fn facts_bytes(execution: &Execution) -> u64 {
    fn list<T>(items: &[T]) -> usize {
        std::mem::size_of_val(items)
    }
    let frames =
        list::<Frame>(&execution.frames)
            + execution
                .frames
                .iter()
                .map(|frame| {
                    if frame.index == 0 { frame.output.len() } else { frame.input.len() + frame.output.len() }
                })
                .sum::<usize>();
    let logs = list::<Log>(&execution.logs)
        + execution.logs.iter().map(|log| list(&log.topics) + log.data.len()).sum::<usize>();
    let rest = list::<Transfer>(&execution.transfers)
        + list::<StorageAccess>(&execution.accesses)
        + list::<StorageAccess>(&execution.transient)
        + list::<Creation>(&execution.creations)
        + list::<Destruction>(&execution.destructions)
        + list::<StorageChange>(&execution.storage_changes)
        + execution
            .preimages
            .iter()
            .map(|one| std::mem::size_of_val(one) + one.preimage.len())
            .sum::<usize>();
    super::figures::count(std::mem::size_of::<Execution>() + frames + logs + rest)
}
