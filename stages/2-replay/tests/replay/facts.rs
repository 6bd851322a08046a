//! What the record says about hand-made transactions.

use crate::contracts::*;
use alloy_primitives::{Address, B256, Bytes, I256};
use cordon_model::block::{Block, Outcome};
use cordon_model::execution::{AccessKind, Execution, FrameKind, Status, ViewCall};
use cordon_model::units::Asset;
use cordon_replay::{
    MAX_DATA_BYTES, ReplayError, RulesError, StateError, Watch, ask, no_views, replay_witness,
};
use std::sync::Arc;

const VAULT: Address = Address::repeat_byte(0x11);
const THIEF: Address = Address::repeat_byte(0x22);
const OTHER: Address = Address::repeat_byte(0x33);

fn all() -> Watch {
    Watch::everything(no_views())
}

fn first(block: &Block) -> Execution {
    replay_witness(block, &all()).unwrap().executions.remove(0)
}

#[test]
fn a_reentrancy_is_recorded_frame_by_frame() {
    let state = State::new().contract(VAULT, CARELESS_VAULT, &[(0, 10)]).balance(VAULT, 20).contract(
        THIEF,
        &reentrant_thief(VAULT),
        &[(0, 0)],
    );
    let execution = first(&state.block(vec![transaction(THIEF, 0, 0)]));

    assert!(execution.status.is_success() && !execution.truncated);
    assert_eq!(execution.called_code, reentrant_thief(VAULT));
    let calls: Vec<_> = execution.frames.iter().map(|f| (f.parent, f.depth, f.caller, f.address)).collect();
    assert_eq!(
        calls,
        [
            (None, 0, ALICE, THIEF),
            (Some(0), 1, THIEF, VAULT),
            (Some(1), 2, VAULT, THIEF),
            (Some(2), 3, THIEF, VAULT),
            (Some(3), 4, VAULT, THIEF),
        ]
    );
    // Frames nest: each ends before the one that made it.
    for frame in &execution.frames {
        if let Some(parent) = frame.parent.and_then(|parent| execution.frame(parent)) {
            assert!(parent.enter_seq < frame.enter_seq && frame.exit_seq < parent.exit_seq);
        }
    }
    let paid: Vec<_> =
        execution.transfers.iter().map(|t| (t.frame, t.asset, t.from, t.to, t.amount_raw)).collect();
    assert_eq!(paid, [(2, Asset::Native, VAULT, THIEF, wei(10)), (4, Asset::Native, VAULT, THIEF, wei(10))]);
    // The vault reads the same amount twice before it writes zero twice, the inner frame first.
    let vault: Vec<_> = execution
        .accesses
        .iter()
        .filter(|access| access.address == VAULT)
        .map(|access| (access.frame, access.kind, access.value))
        .collect();
    assert_eq!(
        vault,
        [
            (1, AccessKind::Read, wei(10)),
            (3, AccessKind::Read, wei(10)),
            (3, AccessKind::Write, wei(0)),
            (1, AccessKind::Write, wei(0)),
        ]
    );
    let changed: Vec<_> = execution.storage_changes.iter().map(|c| (c.address, c.before, c.after)).collect();
    assert_eq!(changed, [(VAULT, wei(10), wei(0)), (THIEF, wei(0), wei(2))]);
    assert_eq!(execution.balance_changes_wei[&THIEF], I256::try_from(20).unwrap());
    assert_eq!(execution.balance_changes_wei[&VAULT], I256::try_from(-20).unwrap());
}

#[test]
fn what_a_reverted_frame_did_is_marked_and_its_logs_and_transfers_are_gone() {
    let state = State::new()
        .contract(VAULT, &undone(OTHER), &[(1, 3)])
        .balance(VAULT, 5)
        .contract(THIEF, &caller_of(VAULT), &[])
        .balance(OTHER, 1);
    let execution = first(&state.block(vec![transaction(THIEF, 0, 0)]));

    assert!(execution.status.is_success());
    let reverted: Vec<_> = execution.frames.iter().map(|f| (f.status.clone(), f.reverted)).collect();
    let output = Bytes::from(vec![0u8; 32]);
    assert_eq!(
        reverted,
        [(Status::Success, false), (Status::Revert { output }, true), (Status::Success, true)]
    );
    assert_eq!(execution.logs.iter().map(|log| (log.frame, log.address)).collect::<Vec<_>>(), [(0, THIEF)]);
    assert!(execution.transfers.is_empty() && execution.storage_changes.is_empty());
    // The write stays on record, in a frame that is known to be undone.
    assert_eq!(execution.accesses.len(), 1);
    assert_eq!((execution.accesses[0].frame, execution.accesses[0].value), (1, wei(7)));
    assert!(!execution.balance_changes_wei.contains_key(&OTHER));
}

#[test]
fn token_transfers_are_read_from_logs() {
    let state = State::new().contract(VAULT, &token_transfer(THIEF, OTHER), &[]);
    let execution = first(&state.block(vec![transaction(VAULT, 0, 0)]));
    let transfer = &execution.transfers[0];
    assert_eq!(transfer.asset, Asset::Token(VAULT));
    assert_eq!((transfer.from, transfer.to, transfer.amount_raw), (THIEF, OTHER, wei(42)));
    assert_eq!(transfer.seq, execution.logs[0].seq);
}

#[test]
fn amsterdams_log_of_a_plain_payment_is_not_a_second_transfer() {
    let block = State::new().hardfork("Amsterdam").balance(OTHER, 1).block(vec![transaction(OTHER, 9, 0)]);
    let execution = first(&block);
    assert_eq!(execution.logs.len(), 1, "EIP-7708");
    let moved: Vec<_> = execution.transfers.iter().map(|t| (t.asset, t.to, t.amount_raw)).collect();
    assert_eq!(moved, [(Asset::Native, OTHER, wei(9))]);
}

#[test]
fn a_creation_is_recorded_with_its_code_and_value() {
    // codecopy(0, 9, 26); return(0, 26) in front of the counter's code.
    let mut init_code = alloy_primitives::hex!("601a 80 6009 5f 39 5f f3").to_vec();
    init_code.extend_from_slice(COUNTER);
    let mut creation = transaction(OTHER, 4, 0);
    creation.to = None;
    creation.input = init_code.into();
    let execution = first(&State::new().block(vec![creation]));

    assert!(execution.status.is_success(), "{:?}", execution.status);
    let address = ALICE.create(0);
    assert_eq!((execution.frames[0].kind, execution.frames[0].address), (FrameKind::Create, address));
    assert_eq!(execution.creations.len(), 1);
    assert_eq!((execution.creations[0].creator, execution.creations[0].address), (ALICE, address));
    assert_eq!(execution.creations[0].code_hash, alloy_primitives::keccak256(COUNTER));
    let created = execution.frames.iter().find(|frame| frame.address == address).unwrap();
    assert_eq!((&created.output[..], execution.called_code.len()), (COUNTER, 0));
    let transfer = &execution.transfers[0];
    assert_eq!((transfer.from, transfer.to, transfer.amount_raw), (ALICE, address, wei(4)));
    assert_eq!(transfer.seq, execution.frames[0].enter_seq + 1);
}

#[test]
fn views_are_answered_before_and_after_each_transaction() {
    let view = ViewCall { target: VAULT, input: Bytes::from_static(&[1]) };
    let state = State::new().contract(VAULT, COUNTER, &[(0, 5)]);
    let block = state.block(vec![transaction(VAULT, 0, 0), transaction(VAULT, 0, 1)]);
    let replay = replay_witness(&block, &Watch::everything(ask(vec![view.clone()]))).unwrap();
    let read: Vec<_> = replay.executions.iter().map(|e| e.view(&view).unwrap().words().unwrap()).collect();
    assert_eq!(read, [(wei(5), wei(6)), (wei(6), wei(7))]);
}

#[test]
fn views_can_depend_on_the_execution_and_may_fail() {
    let state = State::new().contract(VAULT, COUNTER, &[(0, 5)]).contract(OTHER, &[0xfe], &[]);
    let block = state.block(vec![transaction(VAULT, 0, 0), transaction(OTHER, 0, 1)]);
    let views: cordon_replay::Views = Arc::new(|execution| {
        let touched = execution.frames[0].address;
        vec![ViewCall { target: touched, input: Bytes::from_static(&[1]) }]
    });
    let replay = replay_witness(&block, &Watch::everything(views)).unwrap();
    assert_eq!(replay.executions[0].views[0].words(), Some((wei(5), wei(6))));
    assert_eq!((&replay.executions[1].views[0].before, &replay.executions[1].views[0].after), (&None, &None));
}

#[test]
fn differences_from_the_receipts_and_the_header_are_reported() {
    let mut block = State::new().balance(OTHER, 1).block(vec![transaction(OTHER, 1, 0)]);
    block.gas_used = 21_000;
    block.outcomes = vec![Outcome::new(Some(true), 21_000)];
    assert_eq!(replay_witness(&block, &all()).unwrap().mismatches, []);

    block.gas_used = 21_001;
    block.outcomes = vec![Outcome::new(Some(false), 20_999)];
    let wrong = replay_witness(&block, &all()).unwrap().mismatches;
    let indices: Vec<_> = wrong.iter().map(|mismatch| mismatch.index).collect();
    assert_eq!(indices, [Some(0), Some(0), None]);
    assert!(wrong[0].what.contains("21000") && wrong[0].what.contains("20999"), "{}", wrong[0].what);
}

#[test]
fn logs_are_compared_with_those_of_receipts_that_can_be_relied_upon() {
    // LOG1 of no data with the topic 7.
    let state = State::new().contract(VAULT, &[0x60, 7, 0x5f, 0x5f, 0xa1], &[]);
    let mut block = state.block(vec![transaction(VAULT, 0, 0)]);
    let ran = replay_witness(&block, &all()).unwrap();
    block.gas_used = ran.gas_used;
    let log = |topic| alloy_primitives::Log::new(VAULT, vec![wei(topic).into()], Bytes::new()).unwrap();
    let mut differences = |logs: Option<Vec<alloy_primitives::Log>>| {
        block.outcomes = vec![Outcome { logs, ..Outcome::new(Some(true), ran.gas_used) }];
        let mismatches = replay_witness(&block, &all()).unwrap().mismatches;
        mismatches.into_iter().map(|mismatch| (mismatch.index, mismatch.what)).collect::<Vec<_>>()
    };
    assert_eq!(differences(Some(vec![log(7)])), []);
    let another = differences(Some(vec![log(8)]));
    assert!(
        matches!(another.as_slice(), [(Some(0), what)] if what.starts_with("log 0 differs")),
        "{another:?}"
    );
    let missing = differences(Some(vec![log(7), log(7)]));
    assert!(
        matches!(missing.as_slice(), [(Some(0), what)] if what == "1 logs, receipt states 2"),
        "{missing:?}"
    );
    let bloom = differences(None);
    assert!(matches!(bloom.as_slice(), [(None, what)] if what.starts_with("logs bloom")), "{bloom:?}");
}

#[test]
fn a_transaction_that_the_rules_refuse_is_a_mismatch_and_not_clean() {
    let block =
        State::new().balance(OTHER, 1).block(vec![transaction(OTHER, 1, 7), transaction(OTHER, 1, 0)]);
    let replay = replay_witness(&block, &all()).unwrap();
    assert!(replay.mismatches[0].what.contains("Osaka"), "{:?}", replay.mismatches);
    assert!(replay.executions[0].truncated && !replay.executions[0].status.is_success());
    assert!(replay.executions[1].status.is_success(), "the next transaction is not affected");
}

#[test]
fn a_gap_in_the_witness_is_an_error_and_never_zero() {
    let state = State::new().contract(VAULT, COUNTER, &[]);
    let error = replay_witness(&state.block(vec![transaction(VAULT, 0, 0)]), &all()).unwrap_err();
    assert!(
        matches!(&error, ReplayError::State { address: Some(VAULT), source: StateError::NotInWitness, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("slot 0x0"), "{error}");
}

#[test]
fn a_witness_with_an_unknown_hardfork_is_refused() {
    let block = State::new().hardfork("Fusaka").block(vec![]);
    let error = replay_witness(&block, &all()).unwrap_err();
    assert!(matches!(error, ReplayError::Rules(RulesError::UnknownHardfork { .. })), "{error:?}");
}

#[test]
fn a_block_without_any_state_is_refused() {
    let mut block = State::new().block(vec![]);
    block.witness = None;
    assert!(matches!(replay_witness(&block, &all()), Err(ReplayError::NoState { number: 24_000_000 })));
}

#[test]
fn a_flood_of_calldata_is_cut_and_flagged() {
    let state = State::new().contract(VAULT, DATA_FLOOD, &[]);
    let execution = first(&state.block(vec![transaction(VAULT, 0, 0)]));
    assert!(execution.status.is_success(), "{:?}", execution.status);
    assert_eq!(execution.frames.len(), 17, "the frames themselves are kept");
    assert!(execution.truncated);
    let kept: usize = execution.frames.iter().map(|frame| frame.input.len()).sum();
    assert!(kept > 0 && kept <= MAX_DATA_BYTES);
}

#[test]
fn a_run_below_every_bound_is_not_flagged() {
    let state = State::new().contract(VAULT, COUNTER, &[(0, 0)]);
    let execution = first(&state.block(vec![transaction(VAULT, 0, 0)]));
    assert!(!execution.truncated);
    assert_eq!(execution.tx.hash, transaction(VAULT, 0, 0).hash);
    assert_ne!(execution.tx.block.hash, B256::ZERO);
}

#[test]
fn the_protocol_writes_the_parents_hash_before_the_first_transaction() {
    // EIP-2935's contract, and the slot of block 23,999,999 in its ring of 8,191.
    let history = alloy_primitives::address!("0x0000F90827F1C53a10cb7A02335B175320002935");
    let code = alloy_primitives::hex!(
        "3373fffffffffffffffffffffffffffffffffffffffe14604657602036036042575f35600143038111604257611fff814303"
        "11604257611fff9006545f5260205ff35b5f5ffd5b5f35611fff60014303065500"
    );
    let state = State::new().contract(history, &code, &[(23_999_999 % 8_191, 0)]);
    let mut question = transaction(history, 0, 0);
    question.input = wei(23_999_999).to_be_bytes::<32>().into();
    let block = state.block(vec![question]);
    let execution = first(&block);
    assert_eq!(execution.frames[0].output.as_ref(), block.parent_hash.as_slice());
}
