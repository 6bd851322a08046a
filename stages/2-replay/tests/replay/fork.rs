//! Forks: calls of any authority, replayed transactions, views, and branches that do not disturb each other.

use crate::contracts::*;
use alloy_primitives::{Address, Bytes, U256};
use cordon_model::execution::{Status, ViewCall};
use cordon_model::plan::Call;
use cordon_replay::{Fork, ReplayError, Rules, ask};
use std::sync::Arc;

const COUNTER_AT: Address = Address::repeat_byte(0x11);
const POOR: Address = Address::repeat_byte(0x44);
const PAYEE: Address = Address::repeat_byte(0x55);

fn count() -> ViewCall {
    ViewCall { target: COUNTER_AT, input: Bytes::from_static(&[1]) }
}

fn call(to: Address, value_wei: u64) -> Call {
    Call { to: Some(to), value_wei: wei(value_wei), data: Bytes::new() }
}

fn fork() -> Fork {
    let state = State::new().contract(COUNTER_AT, COUNTER, &[(0, 5)]).balance(POOR, 3).balance(PAYEE, 1);
    Fork::on_witness(&state.block(vec![])).unwrap()
}

async fn counted(fork: &Fork) -> U256 {
    U256::from_be_slice(&fork.view(&count()).await.unwrap().unwrap())
}

#[tokio::test]
async fn calls_keep_their_effects_and_branches_are_independent() {
    let mut fork = fork();
    let done = fork.call(POOR, &call(COUNTER_AT, 0)).await.unwrap();
    assert!(done.status.is_success() && done.frames.len() == 1);
    assert_eq!(done.storage_changes[0].after, wei(6));

    let mut branch = fork.branch();
    branch.call(POOR, &call(COUNTER_AT, 0)).await.unwrap();
    branch.call(POOR, &call(COUNTER_AT, 0)).await.unwrap();
    fork.set_storage(COUNTER_AT, U256::ZERO, wei(100)).await.unwrap();
    assert_eq!((counted(&fork).await, counted(&branch).await), (wei(100), wei(8)));
}

#[tokio::test]
async fn no_fee_is_taken_but_value_must_be_there() {
    let mut fork = fork();
    let paid = fork.call(POOR, &call(PAYEE, 3)).await.unwrap();
    assert!(paid.status.is_success());
    assert_eq!(fork.balance_wei(POOR).await.unwrap(), wei(0));
    assert_eq!(fork.balance_wei(PAYEE).await.unwrap(), wei(4));

    let refused = fork.call(POOR, &call(PAYEE, 1)).await.unwrap();
    assert!(
        matches!(&refused.status, Status::Halt { reason } if reason.contains("Funds")),
        "{:?}",
        refused.status
    );
    assert_eq!(fork.balance_wei(PAYEE).await.unwrap(), wei(4));
}

#[tokio::test]
async fn a_contract_can_be_simulated_as_the_authority() {
    let mut fork = fork();
    let done = fork.call(COUNTER_AT, &call(COUNTER_AT, 0)).await.unwrap();
    assert!(done.status.is_success(), "EIP-3607 is for mined transactions: {:?}", done.status);
}

#[tokio::test]
async fn a_creation_yields_a_contract_that_answers() {
    let mut fork = fork();
    let mut data = alloy_primitives::hex!("601a 80 6009 5f 39 5f f3").to_vec();
    data.extend_from_slice(COUNTER);
    let create = Call { to: None, value_wei: U256::ZERO, data: data.into() };
    let done = fork.call(POOR, &create).await.unwrap();
    let created = done.creations[0].address;
    assert_eq!(created, POOR.create(0));
    fork.call(POOR, &call(created, 0)).await.unwrap();
    let view = ViewCall { target: created, input: Bytes::from_static(&[1]) };
    let answer = fork.view(&view).await.unwrap().unwrap();
    assert_eq!(U256::from_be_slice(&answer), wei(1));
}

#[tokio::test]
async fn a_mined_transaction_runs_again_with_views_whatever_its_nonce() {
    let mut fork = fork();
    for expected in [5, 6] {
        let done = fork.transaction(&transaction(COUNTER_AT, 0, 77), ask(vec![count()])).await.unwrap();
        assert_eq!(done.view(&count()).unwrap().words(), Some((wei(expected), wei(expected + 1))));
    }
}

#[tokio::test]
async fn code_can_be_replaced_and_time_moved() {
    let mut fork = fork();
    // return(timestamp)
    let clock = alloy_primitives::hex!("42 5f 52 6020 5f f3");
    fork.set_code(COUNTER_AT, Bytes::copy_from_slice(&clock)).await.unwrap();
    let before = counted(&fork).await;
    fork.advance(1, 3_600);
    assert_eq!(counted(&fork).await, before + wei(3_600));
}

#[tokio::test]
async fn a_fork_stands_just_before_any_transaction_of_a_block() {
    let state = State::new().contract(COUNTER_AT, COUNTER, &[(0, 5)]);
    let txs = (0..3).map(|nonce| transaction(COUNTER_AT, 0, nonce)).collect();
    let block = Arc::new(state.block(txs));
    let rules = Rules::new(block.chain_id, None).unwrap();
    for (index, expected) in [(0, 5), (2, 7), (3, 8)] {
        let fork = Fork::before(None, &rules, block.clone(), index).await.unwrap();
        assert_eq!(counted(&fork).await, wei(expected));
    }
    let error = Fork::before(None, &rules, block, 4).await.unwrap_err();
    assert!(matches!(error, ReplayError::NoSuchTransaction { len: 3, index: 4, .. }));
}
