//! Replay on the state of a live node, which is the in-process range behind its JSON-RPC transport.

use crate::contracts::*;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, Bytes, U256};
use alloy_provider::{DynProvider, Provider as _};
use cordon_model::block::{Block, Outcome, Transaction};
use cordon_model::execution::ViewCall;
use cordon_model::units::ChainId;
use cordon_range::{Call, Chain};
use cordon_replay::{Fork, ReplayError, Replayer, Rules, StateError, Watch, ask, no_views};
use std::sync::Arc;

pub(crate) const VAULT: Address = Address::repeat_byte(0x11);
pub(crate) const THIEF: Address = Address::repeat_byte(0x22);
pub(crate) const COUNTER_AT: Address = Address::repeat_byte(0x33);

pub(crate) fn chain() -> Chain {
    let chain = Chain::default();
    chain.fund(ALICE, U256::from(10).pow(U256::from(20)));
    chain.set_code(VAULT, CARELESS_VAULT.to_vec());
    chain.set_storage(VAULT, U256::ZERO, wei(10));
    chain.fund(VAULT, wei(20));
    chain.set_code(THIEF, reentrant_thief(VAULT));
    chain.set_code(COUNTER_AT, COUNTER.to_vec());
    chain
}

pub(crate) fn rules(chain: &Chain) -> Rules {
    Rules::new(ChainId(chain.config().chain_id), Some("osaka")).unwrap()
}

pub(crate) fn count() -> ViewCall {
    ViewCall { target: COUNTER_AT, input: Bytes::from_static(&[1]) }
}

/// The newest block of the range.
pub(crate) async fn newest(chain: &Chain) -> Arc<Block> {
    block_of(&chain.provider(), ChainId(chain.config().chain_id), chain.head().number).await
}

/// A block as a node reports it, whose transactions are all of type 2.
pub(crate) async fn block_of(provider: &DynProvider, chain_id: ChainId, number: u64) -> Arc<Block> {
    let block = provider.get_block_by_number(number.into()).full().await.unwrap().unwrap();
    let header = &block.header;
    let receipts = provider.get_block_receipts(header.hash.into()).await.unwrap().unwrap();
    Arc::new(Block {
        chain_id,
        number: header.number,
        hash: header.hash,
        parent_hash: header.parent_hash,
        timestamp_s: header.timestamp,
        beneficiary: header.beneficiary,
        gas_limit: header.gas_limit,
        gas_used: header.gas_used,
        base_fee_wei: header.base_fee_per_gas,
        difficulty: header.difficulty,
        mix_hash: header.mix_hash,
        excess_blob_gas: header.excess_blob_gas,
        parent_beacon_block_root: header.parent_beacon_block_root,
        receipts_root: header.receipts_root,
        logs_bloom: header.logs_bloom,
        withdrawals: Vec::new(),
        transactions: block
            .transactions
            .txns()
            .map(|tx| Transaction {
                hash: *tx.inner.tx_hash(),
                nonce: tx.nonce(),
                value_wei: tx.value(),
                input: tx.input().clone(),
                gas_limit: tx.gas_limit(),
                max_fee_per_gas_wei: Some(tx.max_fee_per_gas()),
                max_priority_fee_per_gas_wei: tx.max_priority_fee_per_gas(),
                chain_id: tx.chain_id(),
                ..Transaction::bare(tx.inner.signer(), tx.to())
            })
            .collect(),
        outcomes: receipts
            .iter()
            .map(|receipt| Outcome {
                logs: Some(receipt.logs().iter().map(|log| log.inner.clone()).collect()),
                ..Outcome::new(Some(receipt.status()), receipt.gas_used)
            })
            .collect(),
        witness: None,
    })
}

#[tokio::test]
async fn blocks_of_a_node_are_reproduced_on_a_runtime_with_one_thread() {
    let chain = chain();
    let mut replayer = Replayer::for_node(chain.provider(), rules(&chain));
    for expected in 0..3u64 {
        chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
        chain.submit_as(ALICE, Call::new(THIEF, Bytes::new())).unwrap();
        chain.mine();
        let replay =
            replayer.replay(newest(&chain).await, Watch::everything(ask(vec![count()]))).await.unwrap();
        assert_eq!(replay.mismatches, []);
        assert_eq!(replay.executions.len(), 2);
        let read = replay.executions[0].view(&count()).unwrap().words();
        assert_eq!(read, Some((wei(expected), wei(expected + 1))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verified_post_state_is_carried_so_that_the_node_is_not_asked_again() {
    let chain = chain();
    let mut replayer = Replayer::for_node(chain.provider(), rules(&chain));
    assert!(replayer.fork_head().is_none());
    chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
    chain.mine();
    // The view makes its caller, the zero address, part of what is known.
    replayer.replay(newest(&chain).await, Watch::everything(ask(vec![count()]))).await.unwrap();

    chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
    chain.mine();
    let block = newest(&chain).await;
    chain.set_offline(true);
    let replay = replayer.replay(block, Watch::everything(no_views())).await.unwrap();
    assert_eq!(replay.mismatches, []);
    let head = replayer.fork_head().unwrap();
    assert_eq!(U256::from_be_slice(&head.view(&count()).await.unwrap().unwrap()), wei(2));
}

#[tokio::test]
async fn a_node_out_of_reach_is_a_typed_error() {
    let chain = chain();
    chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
    chain.mine();
    let block = newest(&chain).await;
    chain.set_offline(true);
    let mut replayer = Replayer::for_node(chain.provider(), rules(&chain));
    let error = replayer.replay(block.clone(), Watch::everything(no_views())).await.unwrap_err();
    assert!(matches!(&error, ReplayError::State { source: StateError::Node(_), .. }), "{error:?}");
    chain.set_offline(false);
    assert_eq!(replayer.replay(block, Watch::everything(no_views())).await.unwrap().mismatches, []);
}

#[tokio::test]
async fn after_a_reorganisation_the_carried_state_is_not_used() {
    let chain = chain();
    let mut replayer = Replayer::for_node(chain.provider(), rules(&chain));
    for _ in 0..2 {
        chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
        chain.mine();
        replayer.replay(newest(&chain).await, Watch::everything(no_views())).await.unwrap();
    }
    chain.reorg(1).unwrap();
    chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
    chain.mine();
    let replay = replayer.replay(newest(&chain).await, Watch::everything(ask(vec![count()]))).await.unwrap();
    assert_eq!(replay.mismatches, []);
    assert_eq!(replay.executions[0].views[0].words(), Some((wei(1), wei(2))));
}

#[tokio::test]
async fn a_header_that_disagrees_is_reported_and_its_state_is_not_carried() {
    let chain = chain();
    let mut replayer = Replayer::for_node(chain.provider(), rules(&chain));
    chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
    chain.mine();
    let mut block = Block::clone(&*newest(&chain).await);
    block.gas_used += 1;
    let replay = replayer.replay(Arc::new(block), Watch::everything(no_views())).await.unwrap();
    assert_eq!(replay.mismatches.len(), 1);
    assert!(replayer.fork_head().is_none());
}

#[tokio::test]
async fn an_attack_is_tried_again_before_and_after_a_change() {
    let chain = chain();
    chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
    chain.submit_as(ALICE, Call::new(THIEF, Bytes::new())).unwrap();
    chain.mine();
    let block = newest(&chain).await;
    let rules = rules(&chain);
    let attack = block.transactions[1].clone();

    let mut before = Fork::before(Some(chain.provider()), &rules, block.clone(), 1).await.unwrap();
    let mut fixed = before.branch();
    fixed.set_storage(VAULT, U256::ZERO, U256::ZERO).await.unwrap();
    assert_eq!(before.transaction(&attack, no_views()).await.unwrap().transfers.len(), 2);
    assert_eq!(fixed.transaction(&attack, no_views()).await.unwrap().transfers.len(), 0);
    assert_eq!(before.base().hash, block.parent_hash);

    let head = Fork::at_node(chain.provider(), &rules, &block).unwrap();
    assert_eq!(U256::from_be_slice(&head.view(&count()).await.unwrap().unwrap()), wei(1));
}

#[tokio::test]
async fn a_block_of_another_chain_is_refused() {
    let chain = chain();
    chain.mine();
    let other = Rules::new(ChainId(1), None).unwrap();
    let mut replayer = Replayer::for_node(chain.provider(), other);
    let error = replayer.replay(newest(&chain).await, Watch::everything(no_views())).await.unwrap_err();
    assert!(matches!(error, ReplayError::WrongChain { .. }), "{error:?}");
}
