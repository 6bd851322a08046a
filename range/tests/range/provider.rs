//! The range as production code sees it: through an alloy provider over the in-process transport.

use crate::bytecode::{ALICE, BOB, ETHER, WORD_BOX, chain, chain_with_box, keyless_transfer, word};
use alloy_consensus::BlockHeader as _;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_network::TransactionResponse as _;
use alloy_primitives::{Address, B256, U256};
use alloy_provider::Provider as _;
use alloy_rpc_client::BatchRequest;
use alloy_rpc_types_eth::{Filter, TransactionInput, TransactionRequest};
use cordon_range::{Call, Chain, ChainConfig};
use serde_json::json;

fn read(to: Address, input: impl Into<alloy_primitives::Bytes>) -> TransactionRequest {
    TransactionRequest::default().to(to).input(TransactionInput::new(input.into()))
}

#[tokio::test]
async fn blocks_transactions_and_receipts_come_back_whole() {
    let (chain, word_box) = chain_with_box();
    let provider = chain.provider();
    let hash = chain.submit_as(BOB, Call::new(word_box, word(7)).with_value(U256::ZERO)).unwrap();
    let waiting = provider.get_transaction_by_hash(hash).await.unwrap().unwrap();
    assert_eq!((waiting.block_hash, waiting.from()), (None, BOB));
    assert!(provider.get_transaction_receipt(hash).await.unwrap().is_none());
    let mined = chain.mine();

    let block = provider.get_block(BlockId::latest()).full().await.unwrap().unwrap();
    assert_eq!((block.header.hash, block.header.number()), (mined.hash, mined.number));
    assert_eq!(block.header.hash, block.header.inner.hash_slow());
    let tx = block.transactions.as_transactions().unwrap()[0].clone();
    assert_eq!((tx.tx_hash(), tx.from(), tx.block_number), (hash, BOB, Some(mined.number)));
    assert_eq!(provider.get_transaction_by_hash(hash).await.unwrap().unwrap(), tx);
    let receipts = provider.get_block_receipts(BlockId::hash(mined.hash)).await.unwrap().unwrap();
    assert_eq!(receipts, [provider.get_transaction_receipt(hash).await.unwrap().unwrap()]);
    assert_eq!(receipts, [chain.receipt(hash).unwrap()]);

    assert_eq!(provider.get_chain_id().await.unwrap(), 31_337);
    assert_eq!(provider.get_net_version().await.unwrap(), 31_337);
    assert_eq!(provider.get_block_number().await.unwrap(), mined.number);
    assert!(provider.get_client_version().await.unwrap().starts_with("cordon-range/"));
    assert!(provider.get_block_by_number(BlockNumberOrTag::Number(99)).await.unwrap().is_none());
    assert!(provider.get_block_by_hash(B256::ZERO).await.unwrap().is_none());
}

#[tokio::test]
async fn every_retained_state_can_be_read() {
    let (chain, word_box) = chain_with_box();
    let provider = chain.provider();
    let first = chain.head();
    chain.submit_as(BOB, Call::new(word_box, word(7))).unwrap();
    let second = chain.mine();
    for (id, value) in [
        (BlockId::number(first.number), 0),
        (BlockId::hash(first.hash), 0),
        (BlockId::latest(), 7),
        (BlockId::pending(), 7),
        (BlockId::hash(second.hash), 7),
    ] {
        assert_eq!(provider.call(read(word_box, [])).block(id).await.unwrap(), word(value), "{id}");
        let stored = provider.get_storage_at(word_box, U256::ZERO).block_id(id).await.unwrap();
        assert_eq!(stored, U256::from(value), "{id}");
    }
    assert_eq!(provider.get_code_at(word_box).await.unwrap(), WORD_BOX[9..]);
    assert!(provider.get_code_at(word_box).block_id(BlockId::earliest()).await.unwrap().is_empty());
    assert_eq!(
        provider.get_balance(ALICE).block_id(BlockId::earliest()).await.unwrap(),
        ETHER * U256::from(100)
    );
    assert!(provider.get_balance(ALICE).await.unwrap() < ETHER * U256::from(100));
    assert_eq!(provider.get_transaction_count(BOB).block_id(BlockId::number(first.number)).await.unwrap(), 0);
    chain.submit_as(BOB, Call::transfer(ALICE, ETHER)).unwrap();
    assert_eq!(provider.get_transaction_count(BOB).await.unwrap(), 1);
    assert_eq!(provider.get_transaction_count(BOB).pending().await.unwrap(), 2);
    let unknown = provider.get_balance(ALICE).block_id(BlockId::number(99)).await.unwrap_err();
    assert!(unknown.to_string().contains("header not found"), "{unknown}");
}

#[tokio::test]
async fn safe_and_finalized_lag_behind() {
    let chain =
        Chain::new(ChainConfig { safe_lag_blocks: 1, finalized_lag_blocks: 3, ..ChainConfig::default() });
    chain.mine_many(2);
    let provider = chain.provider();
    let number = async |tag| provider.get_block_by_number(tag).await.unwrap().unwrap().header.number();
    assert_eq!((number(BlockNumberOrTag::Safe).await, number(BlockNumberOrTag::Finalized).await), (1, 0));
    chain.mine_many(2);
    assert_eq!((number(BlockNumberOrTag::Safe).await, number(BlockNumberOrTag::Finalized).await), (3, 1));
}

#[tokio::test]
async fn a_revert_is_error_three_with_its_data() {
    let (chain, word_box) = chain_with_box();
    let provider = chain.provider();
    let on_call = provider.call(read(word_box, word(0xdead))).await.unwrap_err();
    let on_estimate = provider.estimate_gas(read(word_box, word(0xdead))).await.unwrap_err();
    for error in [on_call, on_estimate] {
        let payload = error.as_error_resp().unwrap();
        assert_eq!((payload.code, payload.message.as_ref()), (3, "execution reverted"));
        assert_eq!(payload.as_revert_data().unwrap(), word(0xdead));
    }
}

#[tokio::test]
async fn an_estimate_is_the_least_gas_that_suffices() {
    let (chain, word_box) = chain_with_box();
    let provider = chain.provider();
    let transfer = TransactionRequest::default().from(ALICE).to(Address::repeat_byte(3)).value(ETHER);
    assert_eq!(provider.estimate_gas(transfer.clone()).await.unwrap(), 21_000);
    let enough = provider.estimate_gas(read(word_box, word(7)).from(BOB)).await.unwrap();
    let call = Call::new(word_box, word(7));
    let tight = chain.submit_as(BOB, call.clone().with_gas_limit(enough - 1)).unwrap();
    chain.mine();
    assert!(!chain.receipt(tight).unwrap().status(), "one gas less is too little");
    let exact = chain.submit_as(BOB, call.with_gas_limit(enough)).unwrap();
    chain.mine();
    assert!(chain.receipt(exact).unwrap().status());
    let unpayable = provider.estimate_gas(transfer.value(ETHER * U256::from(1_000))).await.unwrap_err();
    assert!(unpayable.to_string().contains("lack of funds"), "{unpayable}");
}

#[tokio::test]
async fn logs_are_found_by_address_topic_range_and_hash() {
    let (chain, word_box) = chain_with_box();
    let provider = chain.provider();
    for value in [1, 2] {
        chain.submit_as(BOB, Call::new(word_box, word(value))).unwrap();
        chain.mine();
    }
    let words = async |filter: Filter| -> Vec<alloy_primitives::Bytes> {
        provider.get_logs(&filter).await.unwrap().into_iter().map(|log| log.inner.data.data).collect()
    };
    let topic = B256::with_last_byte(0x2a);
    let all = Filter::new().from_block(0).to_block(1_000);
    assert_eq!(words(all.clone().address(word_box).event_signature(topic)).await, [word(1), word(2)]);
    assert!(words(all.clone().event_signature(B256::with_last_byte(0x2b))).await.is_empty());
    assert!(words(all.address(ALICE)).await.is_empty());
    assert_eq!(words(Filter::new().select(2)).await, [word(1)]);
    assert_eq!(words(Filter::new().at_block_hash(chain.head().hash)).await, [word(2)]);
    let backwards = provider.get_logs(&Filter::new().from_block(3).to_block(2)).await.unwrap_err();
    assert_eq!(backwards.as_error_resp().unwrap().code, -32_602);
}

#[tokio::test]
async fn a_signed_transaction_is_taken_once_and_checked() {
    let chain = chain();
    let provider = chain.provider();
    let (raw, sender) = keyless_transfer(31_337, 0, 5);
    let refused = async |raw: &[u8]| {
        provider.send_raw_transaction(raw).await.unwrap_err().as_error_resp().unwrap().message.to_string()
    };
    assert!(refused(&raw).await.starts_with("insufficient funds for gas * price + value"));
    chain.fund(sender, ETHER);
    let hash = *provider.send_raw_transaction(&raw).await.unwrap().tx_hash();
    assert!(refused(&raw).await.starts_with("already known"));
    chain.mine();
    let receipt = provider.get_transaction_receipt(hash).await.unwrap().unwrap();
    assert_eq!((receipt.from, receipt.status()), (sender, true));
    assert!(refused(&raw).await.starts_with("already known"));
    assert!(refused(&keyless_transfer(1, 0, 5).0).await.starts_with("invalid chain id"));
    assert!(refused(&raw[..20]).await.starts_with("rlp:"));
    assert!(refused(&[raw.as_ref(), &[0]].concat()).await.starts_with("rlp:"));
    assert!(refused(&[]).await.starts_with("rlp:"));
}

#[tokio::test]
async fn fees_follow_the_blocks() {
    let chain = chain();
    let provider = chain.provider();
    assert_eq!(provider.get_max_priority_fee_per_gas().await.unwrap(), chain.config().min_priority_fee_wei);
    chain.submit_as(ALICE, Call::transfer(BOB, ETHER).with_fees(30_000_000_000, 3_000_000_000)).unwrap();
    chain.mine();
    chain.mine();
    assert_eq!(provider.get_max_priority_fee_per_gas().await.unwrap(), 3_000_000_000);
    let history = provider.get_fee_history(2, BlockNumberOrTag::Latest, &[50.0]).await.unwrap();
    assert_eq!(
        (history.oldest_block, history.base_fee_per_gas.len(), history.gas_used_ratio.len()),
        (1, 3, 2)
    );
    assert_eq!(history.reward, Some(vec![vec![3_000_000_000], vec![0]]));
    let next_wei = history.next_block_base_fee().unwrap();
    assert_eq!(provider.get_gas_price().await.unwrap(), next_wei + 3_000_000_000);
    let mined = chain.mine();
    let block = provider.get_block(BlockId::hash(mined.hash)).await.unwrap().unwrap();
    assert_eq!(u128::from(block.header.base_fee_per_gas().unwrap()), next_wei);
    let estimate = provider.estimate_eip1559_fees().await.unwrap();
    assert!(estimate.max_fee_per_gas > estimate.max_priority_fee_per_gas);
}

#[tokio::test]
async fn offline_fails_every_request_and_comes_back() {
    let chain = chain();
    let (one, other) = (chain.transport(), chain.transport());
    one.set_offline(true);
    assert!(one.provider().get_block_number().await.unwrap_err().is_transport_error());
    assert_eq!(other.provider().get_block_number().await.unwrap(), 0);
    chain.set_offline(true);
    assert!(other.provider().get_block_number().await.unwrap_err().is_transport_error());
    chain.set_offline(false);
    one.set_offline(false);
    assert_eq!(one.provider().get_block_number().await.unwrap(), 0);
}

#[tokio::test]
async fn a_batch_is_answered_request_by_request() {
    let chain = chain();
    let provider = chain.provider();
    let mut batch = BatchRequest::new(provider.client());
    let number = batch.add_call::<_, String>("eth_blockNumber", &()).unwrap();
    let unknown = batch.add_call::<_, String>("eth_mining", &()).unwrap();
    batch.send().await.unwrap();
    assert_eq!(number.await.unwrap(), "0x0");
    assert_eq!(unknown.await.unwrap_err().as_error_resp().unwrap().code, -32_601);
}

#[test]
fn bad_parameters_are_refused_by_name() {
    let chain = chain();
    for (method, params, names) in [
        ("eth_getBalance", json!([]), "address"),
        ("eth_getBalance", json!(["0x12", "latest"]), "address"),
        ("eth_getBalance", json!([ALICE, "newest"]), "block"),
        ("eth_getStorageAt", json!([ALICE, "slot"]), "slot"),
        ("eth_getBlockByNumber", json!(["0x1", "yes"]), "full transactions"),
        ("eth_getTransactionReceipt", json!(["0xzz"]), "transaction hash"),
        ("eth_call", json!([{ "input": "0x01", "data": "0x02" }]), "input and data differ"),
        ("eth_call", json!([{ "to": ALICE }, "latest", { ALICE.to_string(): {} }]), "too many arguments"),
        ("eth_getLogs", json!([{ "fromBlock": 7.5 }]), "filter"),
        ("eth_feeHistory", json!(["0x1", "latest", [50, 20]]), "reward percentiles"),
        ("eth_sendRawTransaction", json!(["no hex"]), "transaction"),
        ("eth_chainId", json!({ "a": 1 }), "params must be an array"),
        ("eth_chainId", json!([1]), "too many arguments"),
    ] {
        let refused = chain.rpc(method, params.clone()).unwrap_err();
        assert_eq!(refused.code, -32_602, "{method} {params}");
        assert!(refused.message.contains(names), "{method} {params}: {}", refused.message);
    }
    assert_eq!(chain.rpc("evm_mine", json!([])).unwrap_err().code, -32_601);
}
