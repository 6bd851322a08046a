//! The direct API of the range: what actors do, what blocks contain, and that the same calls give the same chain.

use crate::bytecode::{ALICE, BOB, ETHER, WORD_BOX, chain, chain_with_box, word};
use alloy_consensus::{BlockHeader as _, TxReceipt as _};
use alloy_primitives::{Address, B256, Bloom, U256};
use cordon_range::{Call, Chain, ChainConfig, ChainError, Fork, TxRejection};
use serde_json::json;

const GWEI: u128 = 1_000_000_000;

fn rejection(result: Result<B256, ChainError>) -> TxRejection {
    match result.expect_err("the pool should have refused") {
        ChainError::Rejected { source, .. } => *source,
        other => unreachable!("expected a rejection, got {other}"),
    }
}

#[test]
fn a_deployed_contract_answers_stores_and_logs() {
    let (chain, word_box) = chain_with_box();
    assert_eq!(chain.call(word_box, []).unwrap(), word(0));
    let hash = chain.submit_as(BOB, Call::new(word_box, word(7))).unwrap();
    assert_eq!(chain.receipt(hash), None, "it waits for a block");
    let block = chain.mine();
    assert_eq!(chain.call(word_box, []).unwrap(), word(7));
    let receipt = chain.receipt(hash).unwrap();
    assert!(receipt.status());
    assert_eq!((receipt.block_hash, receipt.block_number), (Some(block.hash), Some(block.number)));
    assert_eq!((receipt.from, receipt.to), (BOB, Some(word_box)));
    let log = &receipt.logs()[0];
    assert_eq!(
        (log.address(), log.topics(), &log.data().data),
        (word_box, &[B256::with_last_byte(0x2a)][..], &word(7))
    );
    assert_eq!(receipt.inner.bloom(), [log.inner.clone()].iter().collect::<Bloom>());
}

#[test]
fn a_transfer_moves_value_pays_fees_and_burns_the_base_fee() {
    let chain = chain();
    let hash = chain.submit_as(ALICE, Call::transfer(BOB, ETHER).with_fees(20 * GWEI, 2 * GWEI)).unwrap();
    chain.mine();
    let receipt = chain.receipt(hash).unwrap();
    assert_eq!(receipt.gas_used, 21_000);
    assert_eq!(chain.balance(BOB), ETHER * U256::from(101));
    let fee_wei = U256::from(receipt.effective_gas_price) * U256::from(21_000);
    assert_eq!(chain.balance(ALICE), ETHER * U256::from(99) - fee_wei);
    assert_eq!(chain.balance(chain.config().beneficiary), U256::from(21_000 * 2 * GWEI));
}

#[test]
fn a_revert_is_mined_with_status_zero_and_changes_nothing() {
    let (chain, word_box) = chain_with_box();
    let hash = chain.submit_as(BOB, Call::new(word_box, word(0xdead))).unwrap();
    chain.mine();
    let receipt = chain.receipt(hash).unwrap();
    assert!(!receipt.status());
    assert!(receipt.logs().is_empty());
    assert_eq!(chain.call(word_box, []).unwrap(), word(0));
    assert_eq!(chain.call(word_box, word(0xdead)), Err(ChainError::Reverted { data: word(0xdead) }));
}

#[test]
fn a_creation_that_halts_has_status_zero_and_leaves_no_code() {
    let chain = chain();
    let hash = chain.submit_as(ALICE, Call::create([0xfe])).unwrap();
    chain.mine();
    let receipt = chain.receipt(hash).unwrap();
    assert!(!receipt.status());
    assert_eq!(receipt.gas_used, Call::CREATE_GAS_LIMIT, "an exceptional halt takes all gas");
    assert_eq!(chain.rpc("eth_getCode", json!([receipt.contract_address, "latest"])).unwrap(), json!("0x"));
}

#[test]
fn the_higher_tip_goes_first_and_a_sender_keeps_its_nonce_order() {
    let chain = chain();
    let carol = Address::repeat_byte(0xca);
    chain.fund(carol, ETHER);
    let transfer = |tip_wei| Call::transfer(BOB, U256::from(1)).with_fees(30 * GWEI, tip_wei);
    let first = chain.submit_as(ALICE, transfer(GWEI)).unwrap();
    let second = chain.submit_as(ALICE, transfer(9 * GWEI)).unwrap();
    let between = chain.submit_as(carol, transfer(5 * GWEI)).unwrap();
    let same_tip = chain.submit_as(BOB, transfer(GWEI)).unwrap();
    let block = chain.mine();
    let mined = chain.rpc("eth_getBlockByHash", json!([block.hash, false])).unwrap();
    assert_eq!(mined["transactions"], json!([between, first, second, same_tip]));
}

#[test]
fn a_replacement_needs_ten_percent_more_on_both_fees() {
    let chain = chain();
    let with_fees = |cap_wei, tip_wei| Call::transfer(BOB, ETHER).with_fees(cap_wei, tip_wei);
    let old = chain.submit_as(ALICE, with_fees(20 * GWEI, 10 * GWEI)).unwrap();
    for (cap_wei, tip_wei) in [(22 * GWEI - 1, 11 * GWEI), (22 * GWEI, 11 * GWEI - 1), (40 * GWEI, 10 * GWEI)]
    {
        let refused = rejection(chain.submit_as_with_nonce(ALICE, 0, with_fees(cap_wei, tip_wei)));
        assert!(refused.to_string().starts_with("replacement transaction underpriced"), "{refused}");
    }
    let new = chain.submit_as_with_nonce(ALICE, 0, with_fees(22 * GWEI, 11 * GWEI)).unwrap();
    assert_eq!(chain.drop_reason(old), Some(TxRejection::Replaced { by: new }));
    chain.mine();
    assert!(chain.receipt(new).is_some() && chain.receipt(old).is_none());
}

#[test]
fn refusals_read_like_those_of_a_node() {
    let (chain, word_box) = chain_with_box();
    let poor = Address::repeat_byte(0x99);
    let low = rejection(chain.submit_as_with_nonce(ALICE, 0, Call::transfer(BOB, ETHER)));
    assert_eq!(low.to_string(), "nonce too low: next nonce 1, tx nonce 0");
    let cases = [
        (
            rejection(chain.submit_as(poor, Call::transfer(BOB, ETHER))),
            "insufficient funds for gas * price + value",
        ),
        (rejection(chain.submit_as(word_box, Call::transfer(BOB, U256::ZERO))), "sender not an eoa"),
        (
            rejection(chain.submit_as(BOB, Call::new(word_box, []).with_gas_limit(20_999))),
            "intrinsic gas too low",
        ),
        (
            rejection(chain.submit_as(BOB, Call::new(word_box, []).with_gas_limit(16_777_217))),
            "transaction gas limit too high",
        ),
        (
            rejection(chain.submit_as(BOB, Call::new(word_box, []).with_gas_limit(60_000_001))),
            "exceeds block gas limit",
        ),
        (
            rejection(chain.submit_as(BOB, Call::new(word_box, []).with_fees(1, 2))),
            "max priority fee per gas higher",
        ),
    ];
    for (refused, start) in cases {
        assert!(refused.to_string().starts_with(start), "{refused}");
    }
    let prague = Chain::new(ChainConfig { fork: Fork::Prague, ..ChainConfig::default() });
    prague.fund(BOB, ETHER * U256::from(10));
    prague.submit_as(BOB, Call::new(word_box, []).with_gas_limit(16_777_217)).unwrap();
}

#[test]
fn what_waits_counts_against_the_balance() {
    let chain = chain();
    chain.submit_as(ALICE, Call::transfer(BOB, ETHER * U256::from(60))).unwrap();
    let refused = rejection(chain.submit_as(ALICE, Call::transfer(BOB, ETHER * U256::from(60))));
    assert!(matches!(refused, TxRejection::InsufficientFunds { queued_wei, .. } if queued_wei > ETHER));
}

#[test]
fn a_gap_and_a_fee_below_the_base_fee_wait_instead_of_vanishing() {
    let chain = chain();
    let early = chain.submit_as_with_nonce(ALICE, 1, Call::transfer(BOB, ETHER)).unwrap();
    let cheap = chain.submit_as(BOB, Call::transfer(ALICE, ETHER).with_fees(1, 1)).unwrap();
    chain.mine();
    assert_eq!(chain.pending().iter().map(|tx| *tx.inner.tx_hash()).collect::<Vec<_>>(), [early, cheap]);
    chain.submit_as(ALICE, Call::transfer(BOB, ETHER)).unwrap();
    assert_eq!(chain.next_nonce(ALICE), 2, "the gap is closed");
    chain.mine();
    assert!(chain.receipt(early).is_some() && chain.receipt(cheap).is_none());
}

#[test]
fn a_full_block_leaves_the_rest_for_the_next() {
    let chain = Chain::new(ChainConfig { gas_limit: 50_000, ..ChainConfig::default() });
    chain.fund(ALICE, ETHER);
    let hashes: Vec<B256> = (0..3)
        .map(|_| chain.submit_as(ALICE, Call::transfer(BOB, U256::from(1)).with_gas_limit(21_000)).unwrap())
        .collect();
    assert_eq!(chain.mine().number, 1);
    assert_eq!(chain.mine().number, 2);
    let numbers: Vec<Option<u64>> =
        hashes.iter().map(|hash| chain.receipt(*hash).unwrap().block_number).collect();
    assert_eq!(numbers, [Some(1), Some(1), Some(2)]);
}

#[test]
fn a_transaction_that_became_unpayable_is_dropped_with_its_reason() {
    let (chain, _) = chain_with_box();
    // Two blocks are taken back: the account that was funded by a transaction of the first one is poor again.
    let carol = Address::repeat_byte(0xca);
    chain.submit_as(ALICE, Call::transfer(carol, ETHER)).unwrap();
    chain.mine();
    let hash = chain.submit_as(carol, Call::transfer(BOB, ETHER / U256::from(2))).unwrap();
    chain.reorg(1).unwrap();
    chain.mine();
    assert!(matches!(chain.drop_reason(hash), Some(TxRejection::InvalidAtInclusion { .. })));
    assert!(chain.pending().is_empty());
}

#[test]
fn a_reorganisation_takes_back_state_and_gives_other_hashes() {
    let (chain, word_box) = chain_with_box();
    let fork_point = chain.head();
    let call = Call::new(word_box, word(5));
    let before = chain.submit_as(BOB, call.clone()).unwrap();
    let (dropped, _) = (chain.mine(), chain.mine());
    assert_eq!(chain.reorg(2), Ok(fork_point));
    assert_eq!((chain.call(word_box, []).unwrap(), chain.receipt(before)), (word(0), None));
    assert!(chain.pending().is_empty(), "dropped transactions do not come back by themselves");
    assert_eq!(chain.submit_as(BOB, call).unwrap(), before, "the same transaction may be mined again");
    let again = chain.mine();
    assert_eq!(again.number, dropped.number);
    assert_ne!(again.hash, dropped.hash);
    assert_eq!(chain.rpc("eth_getBlockByHash", json!([dropped.hash, false])).unwrap(), json!(null));
    assert_eq!(chain.reorg(0), Err(ChainError::ReorgDepth { depth: 0, head: 2 }));
    assert_eq!(chain.reorg(3), Err(ChainError::ReorgDepth { depth: 3, head: 2 }));
}

#[test]
fn states_beyond_the_retention_are_refused_and_not_read_as_zero() {
    let chain = Chain::new(ChainConfig { retained_states: 2, ..ChainConfig::default() });
    chain.fund(ALICE, ETHER);
    chain.mine_many(3);
    assert_eq!(chain.rpc("eth_getBalance", json!([ALICE, "0x2"])).unwrap(), json!(ETHER));
    let refused = chain.rpc("eth_getBalance", json!([ALICE, "0x1"])).unwrap_err();
    assert!(refused.message.starts_with("missing trie node"), "{refused}");
    assert_eq!(chain.reorg(2), Err(ChainError::StatePruned { number: 1, retained: 2 }));
}

#[test]
fn headers_chain_keep_the_pace_and_carry_real_roots() {
    let (chain, _) = chain_with_box();
    chain.skip_time(3_600);
    chain.mine();
    let header = |number: u64| -> alloy_rpc_types_eth::Header {
        serde_json::from_value(
            chain.rpc("eth_getBlockByNumber", json!([format!("{number:#x}"), false])).unwrap(),
        )
        .unwrap()
    };
    let (genesis, first, second) = (header(0), header(1), header(2));
    for sealed in [&genesis, &first, &second] {
        assert_eq!(sealed.hash, sealed.inner.hash_slow());
    }
    assert_eq!((first.parent_hash(), second.parent_hash()), (genesis.hash, first.hash));
    assert_eq!(first.timestamp(), genesis.timestamp() + 12);
    assert_eq!(second.timestamp(), genesis.timestamp() + 24 + 3_600);
    assert_ne!(first.state_root(), genesis.state_root());
    assert_eq!(second.state_root(), first.state_root(), "an empty block changes no state");
    assert!(second.base_fee_per_gas() < first.base_fee_per_gas(), "empty blocks lower the base fee");
}

#[test]
fn the_same_calls_make_the_same_chain() {
    let run = || {
        let (chain, word_box) = chain_with_box();
        for value in 1..4 {
            chain.submit_as(BOB, Call::new(word_box, word(value))).unwrap();
            chain.submit_as(ALICE, Call::create(WORD_BOX)).unwrap();
            chain.mine();
        }
        chain.reorg(1).unwrap();
        chain.mine_many(2)
    };
    assert_eq!(run(), run());
}

#[test]
fn equal_calls_of_two_actors_have_different_hashes() {
    let chain = chain();
    let call = Call::transfer(Address::repeat_byte(1), ETHER);
    assert_ne!(chain.submit_as(ALICE, call.clone()).unwrap(), chain.submit_as(BOB, call).unwrap());
}

#[test]
fn code_and_storage_can_be_set_from_outside() {
    let chain = chain();
    let (at, slot) = (Address::repeat_byte(0x55), U256::from(0));
    chain.mine();
    chain.set_code(at, WORD_BOX[9..].to_vec());
    chain.set_storage(at, slot, U256::from(77));
    assert_eq!(chain.call(at, []).unwrap(), word(77));
}

#[test]
fn a_contract_that_destroys_itself_in_its_creation_leaves_nothing() {
    let chain = chain();
    // selfdestruct(caller) as creation code.
    let hash = chain.submit_as(ALICE, Call::create([0x33, 0xff]).with_value(ETHER)).unwrap();
    chain.mine();
    let receipt = chain.receipt(hash).unwrap();
    assert!(receipt.status());
    assert_eq!(chain.balance(receipt.contract_address.unwrap()), U256::ZERO);
    let fee_wei = U256::from(receipt.effective_gas_price) * U256::from(receipt.gas_used);
    assert_eq!(chain.balance(ALICE), ETHER * U256::from(100) - fee_wei, "the value came back");
}

#[test]
fn contracts_see_the_hashes_of_earlier_blocks() {
    let chain = chain();
    let at = Address::repeat_byte(0x55);
    // return blockhash(number - 1)
    chain.set_code(at, alloy_primitives::hex!("6001 43 03 40 5f 52 6020 5f f3"));
    let parent = chain.mine();
    chain.mine();
    assert_eq!(chain.call(at, []).unwrap(), alloy_primitives::Bytes::from(parent.hash.0));
}
