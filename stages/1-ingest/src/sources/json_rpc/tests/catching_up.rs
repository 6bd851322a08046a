//! Backlogs: fetched ahead, in order, through reorganisations, up to an end; and what is final.

use super::config;
use crate::conformance::{CHAIN, TestChain, empty_cursor, follow};
use crate::fixture::{Fault, FaultyNode};
use crate::source::{Advance, ChainSource as _};
use crate::sources::json_rpc::Config;
use crate::{Finality, JsonRpc, StartAt};
use cordon_model::block::ChainUpdate;
use cordon_model::log::Cursor;
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

async fn source(node: &FaultyNode, config: Config) -> JsonRpc {
    JsonRpc::connect(&node.url(), config).await.unwrap().0
}

/// Applies this many updates.
async fn step(source: &mut JsonRpc, cursor: &mut Cursor, updates: usize) {
    for _ in 0..updates {
        match source.advance(cursor).await.unwrap() {
            Advance::Update(ChainUpdate::Applied(block)) => cursor.push(block.block_ref()),
            Advance::Update(ChainUpdate::Reverted(block)) => assert!(cursor.pop(block)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_backlog_is_fetched_ahead_within_its_bound() {
    let chain = TestChain::filled(40);
    let node = FaultyNode::serve(&chain, Fault::None).await;
    let (mut source, mut cursor) = (source(&node, config(StartAt::Block(0))).await, empty_cursor());
    step(&mut source, &mut cursor, 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(node.asked("eth_getBlockByNumber"), 1, "one block may be all there is");
    step(&mut source, &mut cursor, 1).await;
    let waited = async {
        while node.asked("eth_getBlockByNumber") < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(node.asked("eth_getBlockByNumber"), 2 + 8);
    let followed = follow(&mut source, &mut cursor).await.unwrap();
    assert_eq!(followed.applied, (2..40).collect::<Vec<_>>());
    assert_eq!(cursor.recent, chain.refs());
    let blocks = node.asked("eth_getBlockByNumber");
    assert!(blocks <= 40 + 2, "each block once, and the look at the head: {blocks}");
}

#[tokio::test]
async fn a_chain_that_grows_block_by_block_is_not_fetched_ahead() {
    let chain = TestChain::filled(1);
    let node = FaultyNode::serve(&chain, Fault::None).await;
    let (mut source, mut cursor) = (source(&node, config(StartAt::Block(0))).await, empty_cursor());
    for _ in 0..5 {
        follow(&mut source, &mut cursor).await.unwrap();
        chain.grow(1);
    }
    assert_eq!(node.asked("eth_blockNumber"), 0, "steady following costs nothing more");
}

#[tokio::test]
async fn a_caller_that_goes_elsewhere_gets_the_block_it_asks_for() {
    let chain = TestChain::filled(30);
    let node = FaultyNode::serve(&chain, Fault::None).await;
    let (mut source, mut cursor) = (source(&node, config(StartAt::Block(0))).await, empty_cursor());
    step(&mut source, &mut cursor, 6).await;
    cursor.recent.truncate(2);
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, (2..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_range_ends() {
    let chain = TestChain::filled(30);
    let node = FaultyNode::serve(&chain, Fault::None).await;
    let range = Config { end: Some(20), ..config(StartAt::Block(5)) };
    let (mut source, mut cursor) = (source(&node, range.clone()).await, empty_cursor());
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, (5..=20).collect::<Vec<_>>());
    assert!(matches!(source.advance(&cursor).await.unwrap(), Advance::End));
    let empty = Config { end: Some(4), ..range.clone() };
    let mut source = self::source(&node, empty).await;
    assert!(matches!(source.advance(&empty_cursor()).await.unwrap(), Advance::End));
    let beyond = Config { end: Some(7), start: StartAt::Head, ..range };
    let mut source = self::source(&node, beyond).await;
    assert!(matches!(source.advance(&empty_cursor()).await.unwrap(), Advance::End));
}

#[tokio::test]
async fn head_and_finality_are_told() {
    let chain = TestChain::with_blocks(30);
    let answering = chain.clone();
    let node = FaultyNode::serve_with(Fault::None, move |request| {
        let mut request = request.clone();
        match request["params"][0].as_str() {
            Some("safe") => request["params"][0] = json!("0x14"),
            Some("finalized") => {
                let error = json!({"code": -32_602, "message": "invalid tag"});
                return json!({"jsonrpc": "2.0", "id": request["id"], "error": error});
            }
            _ => {}
        }
        answering.answer(&request)
    })
    .await;
    let source = source(&node, Config::new(CHAIN)).await;
    assert_eq!(source.head().await.unwrap(), Some(chain.block_ref(29)));
    let expected = Finality { safe: Some(chain.block_ref(20)), finalized: None };
    assert_eq!(source.finality().await.unwrap(), expected);
    node.set(Fault::Status(401, None));
    assert_eq!(source.finality().await.unwrap(), Finality::default(), "a refusal is no word on finality");
}

#[derive(Debug, Clone)]
enum Change {
    Grow(usize),
    Reorganise(usize, usize),
    Step(usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (1usize..25).prop_map(Change::Grow),
        (1usize..8, 0usize..12).prop_map(|(depth, regrow)| Change::Reorganise(depth, regrow)),
        (1usize..12).prop_map(Change::Step),
    ];
    prop::collection::vec(change, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Blocks that were fetched ahead are those of a branch that may have gone; the cursor ends at the canonical one.
    #[test]
    fn whatever_happens_while_a_backlog_is_worked_off_the_canonical_chain_is_judged(changes in changes()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let chain = TestChain::filled(12);
            let node = FaultyNode::serve(&chain, Fault::None).await;
            let (mut source, mut cursor) = (source(&node, config(StartAt::Block(0))).await, empty_cursor());
            for change in changes {
                match change {
                    Change::Grow(count) => chain.grow(count),
                    Change::Reorganise(depth, regrow) => chain.reorganise(depth.min(chain.refs().len() - 1), regrow),
                    Change::Step(count) => {
                        for _ in 0..count {
                            match source.advance(&cursor).await.unwrap() {
                                Advance::Update(ChainUpdate::Applied(block)) => {
                                    let head = cursor.head().map(|head| head.hash);
                                    assert!(head.is_none_or(|head| head == block.parent_hash));
                                    cursor.push(block.block_ref());
                                }
                                Advance::Update(ChainUpdate::Reverted(block)) => assert!(cursor.pop(block)),
                                _ => break,
                            }
                        }
                    }
                }
            }
            chain.grow(40);
            follow(&mut source, &mut cursor).await.unwrap();
            assert!(chain.refs().ends_with(&cursor.recent));
            assert_eq!(cursor.head(), chain.refs().last().copied());
        });
    }
}
