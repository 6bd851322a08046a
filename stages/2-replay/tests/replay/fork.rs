//! Forks: calls of any authority, replayed transactions, views, and branches that do not disturb each other.

use crate::contracts::*;
use alloy_primitives::{Address, B256, Bytes, U256};
use cordon_model::execution::{Status, ViewCall};
use cordon_model::plan::Call;
use cordon_model::units::Due;
use cordon_replay::{Case, Fork, ReplayError, Rules, ask, measure, what_if, what_if_on};
use std::num::NonZeroUsize;
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
async fn a_fork_waits_until_something_is_due_and_never_goes_back() {
    let mut fork = fork();
    // return(word) of the timestamp, or of the height where calldata is given
    let clock = alloy_primitives::hex!("36 6008 57 42 600a 56 5b 43 5b 5f 52 6020 5f f3");
    fork.set_code(COUNTER_AT, Bytes::copy_from_slice(&clock)).await.unwrap();
    async fn word(fork: &Fork, input: &'static [u8]) -> u64 {
        let view = ViewCall { target: COUNTER_AT, input: Bytes::from_static(input) };
        U256::from_be_slice(&fork.view(&view).await.unwrap().unwrap()).to()
    }
    let (time_s, height) = (word(&fork, &[]).await, word(&fork, &[1]).await);
    fork.wait_until(Due::AtS(time_s + 3_600));
    assert_eq!((word(&fork, &[]).await, word(&fork, &[1]).await), (time_s + 3_600, height + 300));
    fork.wait_until(Due::AtBlock(height + 400));
    assert_eq!((word(&fork, &[]).await, word(&fork, &[1]).await), (time_s + 4_800, height + 400));
    for past in [Due::AtS(0), Due::AtBlock(1), Due::AtS(time_s)] {
        fork.wait_until(past);
        assert_eq!((word(&fork, &[]).await, word(&fork, &[1]).await), (time_s + 4_800, height + 400));
    }
    fork.wait_until(Due::AtS(u64::MAX));
    assert_eq!(word(&fork, &[]).await, u64::MAX);
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

/// Destroys itself in favour of its caller without calldata; with calldata returns slot 0.
const MORTAL: &[u8] = &alloy_primitives::hex!("36 6006 57 33 ff 5b 6000 54 6000 52 6020 6000 f3");
/// Creates a contract from its calldata as init code, with salt 0.
const FACTORY: &[u8] = &alloy_primitives::hex!("36 5f 5f 37 5f 36 5f 5f f5 00");

async fn slot_0(fork: &Fork, target: Address) -> Option<U256> {
    let view = ViewCall { target, input: Bytes::from_static(&[1]) };
    let answer = fork.view(&view).await.unwrap().unwrap();
    (!answer.is_empty()).then(|| U256::from_be_slice(&answer))
}

#[tokio::test]
async fn what_one_layer_destroys_and_the_next_creates_again_has_none_of_its_former_storage() {
    let init = [alloy_primitives::hex!("6012 80 6009 5f 39 5f f3").as_slice(), MORTAL].concat();
    let factory = Address::repeat_byte(0x66);
    let mortal = factory.create2_from_code(B256::ZERO, &init);
    let state = State::new()
        .hardfork("Shanghai")
        .contract(factory, FACTORY, &[])
        .contract(mortal, MORTAL, &[(0, 5)])
        .balance(POOR, 3);
    let mut alive = Fork::on_witness(&state.block(vec![])).unwrap();
    assert_eq!(slot_0(&alive, mortal).await, Some(wei(5)));

    let mut destroyed = alive.branch();
    destroyed.call(POOR, &call(mortal, 0)).await.unwrap();
    let mut again = destroyed.branch();
    assert_eq!(slot_0(&again, mortal).await, None, "a contract that is gone answers nothing");
    let create = Call { to: Some(factory), value_wei: U256::ZERO, data: init.into() };
    let done = again.call(POOR, &create).await.unwrap();
    assert!(done.status.is_success() && done.creations.len() == 1, "{done:?}");
    let after = again.branch();
    assert_eq!(slot_0(&after, mortal).await, Some(wei(0)), "storage starts empty");
    assert_eq!(slot_0(&destroyed, mortal).await, None);
    assert_eq!(slot_0(&alive, mortal).await, Some(wei(5)));

    // Code put at the address by hand does not bring the old storage back either.
    destroyed.set_code(mortal, Bytes::from_static(MORTAL)).await.unwrap();
    assert_eq!(slot_0(&destroyed, mortal).await, Some(wei(0)));
    alive.call(POOR, &call(mortal, 0)).await.unwrap();
    alive.set_code(mortal, Bytes::from_static(MORTAL)).await.unwrap();
    assert_eq!(slot_0(&alive, mortal).await, Some(wei(0)), "the same without a branch in between");
}

#[tokio::test]
async fn a_long_line_of_branches_keeps_every_step() {
    let mut line = vec![fork()];
    for n in 1..=200u64 {
        let mut next = line.last().unwrap().branch();
        next.call(POOR, &call(COUNTER_AT, 0)).await.unwrap();
        assert_eq!(counted(&next).await, wei(5 + n));
        line.push(next);
    }
    for (n, fork) in (0u64..).zip(&line) {
        assert_eq!(counted(fork).await, wei(5 + n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_what_ifs_run_at_once_and_keep_their_order() {
    let base = fork();
    let bump = || (POOR, call(COUNTER_AT, 0));
    let cases = |len: u64| -> Vec<Case> {
        let case = |n| Case {
            plan: (0..n).map(|_| bump()).collect(),
            transactions: vec![transaction(COUNTER_AT, 0, n)],
            views: ask(vec![count()]),
        };
        (0..len).map(case).collect()
    };
    for threads in [1, 3, 1_000] {
        let outcomes = what_if_on(&base, cases(40), NonZeroUsize::new(threads).unwrap()).await;
        assert_eq!(outcomes.len(), 40);
        for (n, outcome) in (0u64..).zip(outcomes) {
            let outcome = outcome.unwrap();
            assert_eq!(outcome.plan.len() as u64, n);
            let read = outcome.transactions[0].view(&count()).unwrap().words();
            assert_eq!(read, Some((wei(5 + n), wei(6 + n))));
            assert_eq!(counted(&outcome.after).await, wei(6 + n));
        }
    }
    assert_eq!(counted(&base).await, wei(5), "the base stays as it is");
    assert!(what_if(&base, Vec::new()).await.is_empty());
}

#[tokio::test]
async fn a_what_if_that_leads_outside_the_witness_fails_alone() {
    let outside = Address::repeat_byte(0x88);
    let base = Fork::on_witness(
        &State::new().contract(COUNTER_AT, COUNTER, &[(0, 5)]).contract(outside, COUNTER, &[]).block(vec![]),
    )
    .unwrap();
    let case = |to| Case::new(vec![(ALICE, call(to, 0))], Vec::new());
    let outcomes = what_if(&base, vec![case(COUNTER_AT), case(outside), case(COUNTER_AT)]).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert!(matches!(outcomes[1], Err(ReplayError::State { .. })), "a gap is never zero");
}

#[tokio::test]
async fn forks_and_what_ifs_are_measured() {
    let cost = measure::what_if::fork_cost(10_000, 100_000, 3).await.unwrap();
    println!("{cost:?}");
    assert_eq!((cost.accounts, cost.slots), (10_000, 100_000));
    assert!(cost.copy_ns > 0 && cost.branch_ns > 0);

    let state = State::new().contract(COUNTER_AT, COUNTER, &[(0, 5)]);
    let block = state.block((0..10).map(|nonce| transaction(COUNTER_AT, 0, nonce)).collect());
    for threads in [1, 2] {
        let speed =
            measure::what_if::throughput(&block, 20, NonZeroUsize::new(threads).unwrap()).await.unwrap();
        println!("{speed:?}: {} transactions per second", speed.transactions_per_s());
        assert_eq!((speed.plans, speed.transactions), (20, 10));
        assert!(speed.gas_used > 0 && speed.transactions_per_s() > 0);
    }
}
