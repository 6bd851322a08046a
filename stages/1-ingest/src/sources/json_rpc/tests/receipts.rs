//! Receipts by each method that nodes have, and without any.

use super::config;
use crate::conformance::{TestChain, empty_cursor, follow, reorg};
use crate::fixture::{Fault, FaultyNode};
use crate::source::{Advance, ChainSource as _};
use crate::{Integrity, JsonRpc, SourceError, StartAt};
use cordon_model::block::{Block, ChainUpdate, Outcome};
use serde_json::{Value, json};

async fn first_block(node: &FaultyNode, integrity: Integrity) -> Result<Block, SourceError> {
    let config = crate::sources::json_rpc::Config { integrity, ..config(StartAt::Block(3)) };
    let (mut source, _) = JsonRpc::connect(&node.url(), config).await.unwrap();
    match source.advance(&empty_cursor()).await? {
        Advance::Update(ChainUpdate::Applied(block)) => Ok(*block),
        other => panic!("{other:?}"),
    }
}

/// A node whose answers are changed on the way.
async fn changed(
    chain: &TestChain,
    change: impl Fn(&Value, Value) -> Value + Send + Sync + 'static,
) -> FaultyNode {
    let chain = chain.clone();
    FaultyNode::serve_with(Fault::None, move |request| {
        let answer = chain.answer(request);
        change(request, answer)
    })
    .await
}

fn without(methods: &'static [&'static str]) -> impl Fn(&Value, Value) -> Value {
    move |request, answer| {
        if methods.iter().any(|method| request["method"] == json!(method)) {
            return json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no"}});
        }
        answer
    }
}

/// Block 3 fails, as every odd one.
fn is_expected(outcomes: &[Outcome]) -> bool {
    matches!(outcomes, [Outcome { success: Some(false), gas_used: 21_003, data_fee_wei: None, .. }])
}

#[tokio::test]
async fn outcomes_are_read_and_a_filled_chain_is_followed() {
    let chain = TestChain::filled(10);
    let node = FaultyNode::serve(&chain, Fault::None).await;
    assert!(is_expected(&first_block(&node, Integrity::Full).await.unwrap().outcomes));
    let (mut source, _) = JsonRpc::connect(&node.url(), config(StartAt::Block(0))).await.unwrap();
    reorg(&mut source, &chain).await;
    assert_eq!(node.asked("eth_getTransactionReceipt"), 0);
}

#[tokio::test]
async fn a_node_without_the_method_is_asked_one_by_one_and_that_is_remembered() {
    let chain = TestChain::filled(10);
    let node = changed(&chain, without(&["eth_getBlockReceipts"])).await;
    assert!(is_expected(&first_block(&node, Integrity::Full).await.unwrap().outcomes));
    let (mut source, _) = JsonRpc::connect(&node.url(), config(StartAt::Block(0))).await.unwrap();
    let before = node.asked("eth_getBlockReceipts");
    follow(&mut source, &mut empty_cursor()).await.unwrap();
    assert_eq!(node.asked("eth_getBlockReceipts") - before, 1);
}

#[tokio::test]
async fn a_node_that_takes_no_hash_is_asked_one_by_one() {
    let chain = TestChain::filled(5);
    let node = changed(&chain, |request, answer| {
        if request["method"] == json!("eth_getBlockReceipts") {
            return json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": "number?"}});
        }
        answer
    })
    .await;
    assert!(is_expected(&first_block(&node, Integrity::Full).await.unwrap().outcomes));
}

#[tokio::test]
async fn a_node_without_receipts_is_followed_without_outcomes() {
    let chain = TestChain::filled(5);
    let node = changed(&chain, without(&["eth_getBlockReceipts", "eth_getTransactionReceipt"])).await;
    let (mut source, _) = JsonRpc::connect(&node.url(), config(StartAt::Block(0))).await.unwrap();
    assert_eq!(follow(&mut source, &mut empty_cursor()).await.unwrap().applied.len(), 5);
    assert_eq!(node.asked("eth_getTransactionReceipt"), 1, "asked once");
    assert!(first_block(&node, Integrity::Full).await.unwrap().outcomes.is_empty());
}

#[tokio::test]
async fn receipts_that_are_not_wanted_are_not_asked_for() {
    let node = FaultyNode::serve(&TestChain::filled(3), Fault::None).await;
    let config = crate::sources::json_rpc::Config { receipts: false, ..config(StartAt::Block(0)) };
    let (mut source, _) = JsonRpc::connect(&node.url(), config).await.unwrap();
    follow(&mut source, &mut empty_cursor()).await.unwrap();
    assert_eq!(node.asked("eth_getBlockReceipts"), 0);
}

#[tokio::test]
async fn a_forged_receipt_stops_the_source_where_everything_is_checked() {
    let chain = TestChain::filled(5);
    let forge = |request: &Value, mut answer: Value| {
        if request["method"] == json!("eth_getBlockReceipts") {
            answer["result"][0]["status"] = json!("0x1");
        }
        answer
    };
    let node = changed(&chain, forge).await;
    let error = first_block(&node, Integrity::Full).await.unwrap_err();
    assert!(matches!(error, SourceError::ReceiptsMismatch { number: 3, .. }), "{error}");
    assert!(error.is_transient());
    let taken = first_block(&node, Integrity::Header).await.unwrap().outcomes;
    assert_eq!(taken, [Outcome::new(Some(true), 21_003)]);
}

#[tokio::test]
async fn a_block_without_receipts_yet_is_waited_for() {
    let chain = TestChain::filled(5);
    let node = changed(&chain, |request, mut answer| {
        if request["method"].as_str().unwrap().ends_with("Receipts") {
            answer["result"] = Value::Null;
        }
        answer
    })
    .await;
    let block = first_block(&node, Integrity::Full).await.unwrap();
    assert!(is_expected(&block.outcomes), "the other method has them: {:?}", block.outcomes);
}
