//! Which transactions are delivered, and that those that are not still change the state.

use crate::contracts::*;
use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, Bytes, hex, keccak256};
use cordon_model::block::{AccessListEntry, Block, Transaction};
use cordon_replay::{Watch, no_views, replay_witness};

const WATCHED: Address = Address::repeat_byte(0x77);
const TOKEN: Address = Address::repeat_byte(0x11);
const OUTER: Address = Address::repeat_byte(0x22);
const OTHER: Address = Address::repeat_byte(0x33);

/// Positions of the transactions that are delivered, and how many are not.
fn delivered(block: &Block, watched: Address) -> (Vec<u32>, u64) {
    let watch = Watch::touching(AddressSet::from_iter([watched]), no_views());
    let replay = replay_witness(block, &watch).unwrap();
    (replay.executions.iter().map(|execution| execution.tx.index).collect(), replay.skipped)
}

#[test]
fn a_foreign_transaction_is_executed_and_not_delivered() {
    let state = State::new().contract(TOKEN, COUNTER, &[(0, 0)]).contract(OTHER, COUNTER, &[(0, 5)]);
    let block =
        state.block(vec![transaction(TOKEN, 0, 0), transaction(OTHER, 0, 1), transaction(TOKEN, 0, 2)]);
    assert_eq!(delivered(&block, WATCHED), (vec![], 3));
    assert_eq!(delivered(&block, OTHER), (vec![1], 2));
    assert_eq!(delivered(&block, ALICE), (vec![0, 1, 2], 0));
    // The second count starts where the first, which nobody looked at, has left it.
    let watch = Watch::touching(AddressSet::from_iter([WATCHED]), no_views());
    let skipped = replay_witness(&block, &watch).unwrap();
    let everything = replay_witness(&block, &Watch::everything(no_views())).unwrap();
    assert_eq!(skipped.gas_used, everything.gas_used);
    assert_eq!(everything.executions[2].storage_changes[0].after, wei(2));
    assert_eq!(everything.skipped, 0);
}

#[test]
fn a_token_moved_from_or_to_a_watched_account_inside_a_foreign_contract_is_delivered() {
    for (from, to) in [(WATCHED, OTHER), (OTHER, WATCHED)] {
        let state = State::new().contract(TOKEN, &token_transfer(from, to), &[]);
        let block = state.block(vec![transaction(TOKEN, 0, 0)]);
        assert_eq!(delivered(&block, WATCHED), (vec![0], 0));
    }
    let state = State::new().contract(TOKEN, &token_transfer(OTHER, OUTER), &[]);
    assert_eq!(delivered(&state.block(vec![transaction(TOKEN, 0, 0)]), WATCHED), (vec![], 1));
}

#[test]
fn whatever_the_evm_looked_at_is_touched_also_where_it_was_undone() {
    // balance(watched); stop
    let looks = [&alloy_primitives::hex!("73")[..], WATCHED.as_slice(), &[0x31, 0x50, 0x00]].concat();
    let state = State::new().contract(TOKEN, &looks, &[]);
    assert_eq!(delivered(&state.block(vec![transaction(TOKEN, 0, 0)]), WATCHED), (vec![0], 0));
    // A payment inside a frame that reverts.
    let state = State::new().contract(TOKEN, &undone(WATCHED), &[(1, 0)]).balance(TOKEN, 5).contract(
        OUTER,
        &caller_of(TOKEN),
        &[],
    );
    assert_eq!(delivered(&state.block(vec![transaction(OUTER, 0, 0)]), WATCHED), (vec![0], 0));
}

#[test]
fn a_failed_transaction_that_touches_is_delivered() {
    let state = State::new().contract(WATCHED, &alloy_primitives::hex!("6000 6000 fd"), &[]);
    let block = state.block(vec![transaction(WATCHED, 0, 0)]);
    let watch = Watch::touching(AddressSet::from_iter([WATCHED]), no_views());
    let replay = replay_witness(&block, &watch).unwrap();
    assert!(!replay.executions[0].status.is_success());
}

#[test]
fn what_the_transaction_names_is_touched() {
    let state = State::new().contract(TOKEN, COUNTER, &[(0, 0)]);
    let mut named = transaction(TOKEN, 0, 0);
    named.tx_type = 1;
    named.access_list = vec![AccessListEntry { address: WATCHED, storage_keys: vec![] }];
    let mut mentioned = transaction(TOKEN, 0, 1);
    mentioned.input = Bytes::copy_from_slice(WATCHED.as_slice());
    // A mention in calldata is none: nothing was read or changed.
    assert_eq!(delivered(&state.block(vec![named, mentioned]), WATCHED), (vec![0], 1));
}

/// A creation of this code.
fn creation(code: &[u8], nonce: u64) -> Transaction {
    // codecopy(0, 10, len); return(0, len)
    let [high, low] = u16::try_from(code.len()).unwrap().to_be_bytes();
    let init_code = [&[0x61, high, low, 0x80, 0x60, 10, 0x5f, 0x39, 0x5f, 0xf3], code].concat();
    Transaction { to: None, input: init_code.into(), ..transaction(OTHER, 0, nonce) }
}

/// `balance(address); stop`: whoever deploys it has touched nobody yet.
fn looking_at(address: Address) -> Vec<u8> {
    [&hex!("73")[..], address.as_slice(), &hex!("31 50 00")].concat()
}

#[test]
fn a_creation_is_delivered_where_its_code_names_a_watched_account() {
    let block = State::new().block(vec![creation(&looking_at(OTHER), 0), creation(&looking_at(WATCHED), 1)]);
    assert_eq!(delivered(&block, WATCHED), (vec![1], 1));
    assert_eq!(delivered(&block, OTHER), (vec![0], 1));
    let watch = Watch::touching(AddressSet::from_iter([WATCHED]), no_views());
    let [execution] = &replay_witness(&block, &watch).unwrap().executions[..] else { panic!("one") };
    let [created] = execution.creations[..] else { panic!("one contract") };
    assert_eq!(execution.frames[0].output, looking_at(WATCHED), "where its code is read from");
    assert_eq!(created.code_hash, keccak256(looking_at(WATCHED)));
    // An immutable stands in a whole word.
    let immutable = [&hex!("7f 000000000000000000000000")[..], WATCHED.as_slice()].concat();
    assert_eq!(delivered(&State::new().block(vec![creation(&immutable, 0)]), WATCHED), (vec![0], 0));
}

#[test]
fn a_creation_is_delivered_where_its_constructor_keeps_a_watched_account() {
    // sstore(0, watched); return(0, 1)
    let keeps = [&hex!("73")[..], WATCHED.as_slice(), &hex!("5f 55 6001 5f f3")].concat();
    let made =
        |init_code: Vec<u8>| Transaction { to: None, input: init_code.into(), ..transaction(OTHER, 0, 0) };
    assert_eq!(delivered(&State::new().block(vec![made(keeps)]), WATCHED), (vec![0], 0));
    // Named in the constructor and kept nowhere: nothing can come of it.
    let forgets = [&hex!("73")[..], WATCHED.as_slice(), &hex!("50 6001 5f f3")].concat();
    assert_eq!(delivered(&State::new().block(vec![made(forgets)]), WATCHED), (vec![], 1));
}

#[test]
fn an_old_contract_that_names_a_watched_account_is_of_no_interest() {
    let state = State::new().contract(TOKEN, &[COUNTER, &looking_at(WATCHED)[..]].concat(), &[(0, 0)]);
    assert_eq!(delivered(&state.block(vec![transaction(TOKEN, 0, 0)]), WATCHED), (vec![], 1));
}

#[test]
fn a_record_that_was_cut_is_delivered_whoever_is_watched() {
    let state = State::new().contract(TOKEN, &flood(CALL_NOBODY), &[]);
    let watch = Watch::touching(AddressSet::from_iter([WATCHED]), no_views());
    let replay = replay_witness(&state.block(vec![transaction(TOKEN, 0, 0)]), &watch).unwrap();
    assert!(replay.executions[0].truncated);
    // A flood of logs is only cut when its record is built, which nobody had asked for: none of its kept topics is
    // watched, and those beyond the bound were looked through as well.
    let state = State::new().contract(TOKEN, &flood(EMIT), &[]);
    assert_eq!(delivered(&state.block(vec![transaction(TOKEN, 0, 0)]), WATCHED), (vec![], 1));
}
