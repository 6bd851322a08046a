//! How often a node is waited for when a transaction is tried that is not mined yet.

use crate::contracts::*;
use crate::node::{COUNTER_AT, chain, newest, rules};
use crate::supply::Line;
use alloy_primitives::{Address, Bytes, U256, hex};
use cordon_model::block::{AccessListEntry, Transaction};
use cordon_model::execution::ViewCall;
use cordon_range::{Call, Chain};
use cordon_replay::{
    Case, Fork, ReadAhead, ReplayError, Replayer, StateError, Watch, ask, no_views, what_if,
};

const LEDGER_AT: Address = Address::repeat_byte(0x44);
const WALK_AT: Address = Address::repeat_byte(0x55);
const ASKED_AT: Address = Address::repeat_byte(0x66);

/// Adds one to the slot whose number is the caller's address.
const LEDGER: &[u8] = &hex!("33 54 6001 01 33 55 00");
/// Reads the slot that the slot names that slot 0 names.
const WALK: &[u8] = &hex!("6000 54 54 54 50 00");

fn world() -> Chain {
    let chain = chain();
    chain.set_code(LEDGER_AT, LEDGER.to_vec());
    chain.set_code(WALK_AT, WALK.to_vec());
    for (slot, value) in [(0, 70), (70, 80), (80, 90)] {
        chain.set_storage(WALK_AT, wei(slot), wei(value));
    }
    chain.set_code(ASKED_AT, COUNTER.to_vec());
    chain
}

/// The state after a new block with one call of this contract, as far as a replayer has it.
async fn head(chain: &Chain, replayer: &mut Replayer, called: Address) -> Fork {
    chain.submit_as(ALICE, Call::new(called, Bytes::new())).unwrap();
    chain.mine();
    let block = newest(chain).await;
    let replay = replayer.replay(block, Watch::everything(no_views())).await.unwrap();
    assert_eq!(replay.mismatches, []);
    replayer.fork_head().unwrap()
}

fn sender(n: u8) -> Address {
    Address::with_last_byte(200 + n)
}

fn pending(chain: &Chain, from: Address, to: Address) -> Transaction {
    Transaction { from, chain_id: Some(chain.config().chain_id), ..transaction(to, 0, 0) }
}

#[tokio::test]
async fn a_known_contract_called_by_a_new_sender_costs_one_round_trip() {
    let mut told = Vec::new();
    for (depth, expected) in [(ReadAhead::Off, 2), (ReadAhead::Named, 2), (ReadAhead::Guessed, 1)] {
        let chain = world();
        let line = Line::to(&chain);
        let mut replayer = Replayer::for_node(line.provider(), rules(&chain)).reading_ahead(depth);
        let head = head(&chain, &mut replayer, LEDGER_AT).await;
        let call = pending(&chain, sender(0), LEDGER_AT);
        let before = line.seen();
        let execution = head.branch().transaction(&call, no_views()).await.unwrap();
        let after = line.seen();
        assert_eq!(after.1 - before.1, expected, "{depth:?}: messages");
        assert_eq!(after.0 - before.0, 4, "{depth:?}: balance, nonce and code of the sender, and one slot");
        assert_eq!(execution.storage_changes.len(), 1);
        assert_eq!(
            (execution.storage_changes[0].before, execution.storage_changes[0].after),
            (wei(0), wei(1))
        );

        // Another look at the same asks for nothing.
        head.branch().transaction(&call, no_views()).await.unwrap();
        assert_eq!(line.seen(), after, "{depth:?}");
        told.push(format!("{execution:?}"));
    }
    assert!(told.windows(2).all(|two| two[0] == two[1]), "how it was read does not show");
}

#[tokio::test]
async fn a_sender_that_a_block_showed_costs_no_round_trip() {
    let chain = world();
    let line = Line::to(&chain);
    let mut replayer = Replayer::for_node(line.provider(), rules(&chain));
    let head = head(&chain, &mut replayer, LEDGER_AT).await;
    let before = line.seen();
    head.branch().transaction(&pending(&chain, ALICE, LEDGER_AT), no_views()).await.unwrap();
    assert_eq!(line.seen(), before);
}

#[tokio::test]
async fn what_a_kind_reads_is_one_round_trip_when_two_of_it_were_tried() {
    let chain = world();
    let line = Line::to(&chain);
    let mut replayer = Replayer::for_node(line.provider(), rules(&chain));
    let question = ViewCall { target: ASKED_AT, input: Bytes::from_static(&[1]) };
    let mut messages = Vec::new();
    for n in 0..4 {
        // A new block, so that nothing of what was read for the last one is still at hand.
        let head = head(&chain, &mut replayer, COUNTER_AT).await;
        let before = line.seen().1;
        let call = pending(&chain, sender(n), WALK_AT);
        let execution = head.branch().transaction(&call, ask(vec![question.clone()])).await.unwrap();
        assert!(execution.status.is_success());
        assert_eq!(execution.view(&question).unwrap().words(), Some((wei(0), wei(0))));
        messages.push(line.seen().1 - before);
    }
    // Both accounts at once, three steps of the walk, and of the question who asks, who is asked, and a slot.
    assert_eq!(messages, [7, 7, 1, 1]);
}

#[tokio::test]
async fn what_a_transaction_names_is_asked_for_with_the_rest() {
    let chain = world();
    let line = Line::to(&chain);
    let mut replayer = Replayer::for_node(line.provider(), rules(&chain));
    let head = head(&chain, &mut replayer, COUNTER_AT).await;
    let storage_keys = [0u64, 70, 80].map(|slot| U256::from(slot).into()).to_vec();
    let access_list = vec![AccessListEntry { address: WALK_AT, storage_keys }];
    let call = Transaction { access_list, tx_type: 1, ..pending(&chain, sender(0), WALK_AT) };
    let before = line.seen().1;
    assert!(head.branch().transaction(&call, no_views()).await.unwrap().status.is_success());
    assert_eq!(line.seen().1 - before, 1);
}

#[tokio::test]
async fn what_was_changed_on_a_fork_is_not_asked_for() {
    let chain = world();
    let line = Line::to(&chain);
    let mut replayer = Replayer::for_node(line.provider(), rules(&chain));
    let head = head(&chain, &mut replayer, LEDGER_AT).await;
    let mut fork = head.branch();
    let slot = U256::from_be_slice(sender(0).as_slice());
    fork.set_storage(LEDGER_AT, slot, wei(41)).await.unwrap();
    let call = pending(&chain, sender(0), LEDGER_AT);
    let before = line.seen();
    let cases = vec![Case::new(vec![], vec![call.clone(), call.clone()]); 2];
    for outcome in what_if(&fork, cases).await {
        let after: Vec<U256> =
            outcome.unwrap().transactions.iter().map(|tried| tried.storage_changes[0].after).collect();
        assert_eq!(after, [wei(42), wei(43)]);
    }
    let requests = line.seen().0 - before.0;
    assert!(requests == 3 || requests == 6, "the account alone, once or by both at once: {requests}");
}

#[tokio::test]
async fn a_value_that_the_node_refuses_ends_the_look_and_is_not_remembered() {
    let chain = world();
    for method in ["eth_getStorageAt", "eth_getBalance", "eth_getCode", "eth_getTransactionCount"] {
        let line = Line::to(&chain);
        let mut replayer = Replayer::for_node(line.provider(), rules(&chain));
        let head = head(&chain, &mut replayer, LEDGER_AT).await;
        let call = pending(&chain, sender(0), LEDGER_AT);
        *line.unanswered.lock().unwrap() = Some(method);
        let error = head.branch().transaction(&call, no_views()).await.unwrap_err();
        let is_state = matches!(&error, ReplayError::State { source: StateError::Node(_), .. });
        assert!(is_state, "{method}: {error:?}");
        *line.unanswered.lock().unwrap() = None;
        let execution = head.branch().transaction(&call, no_views()).await.unwrap();
        assert_eq!(execution.storage_changes[0].after, wei(1), "{method}");
    }
}
