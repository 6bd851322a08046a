//! The rules of the OP stack: fees to the wei on real consecutive blocks, deposits, and precompiled contracts by
//! hardfork.

use crate::contracts::{ALICE, BENEFICIARY, State, transaction, wei};
use crate::fixtures;
use alloy_primitives::{Address, B256, Bytes, I256, U256, address, hex, keccak256};
use cordon_model::block::{
    Block, ChainProfile, Outcome, PostedSize, RollupPart, Transaction, Witness, WitnessAccount,
};
use cordon_model::execution::{Execution, Status};
use cordon_model::plan::Call;
use cordon_model::units::ChainId;
use cordon_replay::{BlockReplay, Fork, Watch, no_views, replay_witness};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const L1_BLOCK: Address = address!("0x4200000000000000000000000000000000000015");
const BASE_FEE_VAULT: Address = address!("0x4200000000000000000000000000000000000019");
const DATA_FEE_VAULT: Address = address!("0x420000000000000000000000000000000000001a");
const OPERATOR_FEE_VAULT: Address = address!("0x420000000000000000000000000000000000001b");
const P256_VERIFY: Address = address!("0x0000000000000000000000000000000000000100");
const CALLER: Address = Address::repeat_byte(0xca);
const REVERTING: Address = Address::repeat_byte(0xcb);
const NO_FEES: [i64; 4] = [0; 4];
const FIRST: u64 = 109_279_675;
const LAST: u64 = 109_279_684;

fn replay(block: &Block) -> BlockReplay {
    replay_witness(block, &Watch::everything(no_views())).unwrap()
}

/// Balances that a block's witness states and that an earlier block left: how many are equal, and those that are not.
fn compare_balances(blocks: &[Block]) -> (usize, BTreeSet<Address>) {
    let (mut left, mut equal, mut wrong) = (BTreeMap::<Address, U256>::new(), 0, BTreeSet::new());
    for block in blocks {
        let before = &block.witness.as_ref().unwrap().accounts;
        for (address, account) in before {
            match left.get(address) {
                Some(balance_wei) if *balance_wei == account.balance_wei => equal += 1,
                Some(_) => drop(wrong.insert(*address)),
                None => {}
            }
            left.insert(*address, account.balance_wei);
        }
        for execution in replay(block).executions {
            for (address, change_wei) in execution.balance_changes_wei {
                if let Some(balance_wei) = left.get_mut(&address) {
                    *balance_wei = balance_wei.wrapping_add(change_wei.into_raw());
                }
            }
        }
    }
    (equal, wrong)
}

/// Each block's witness states the balances that the chain really had, so what a block leaves behind can be compared
/// with what a later one found.
#[test]
fn balances_on_real_consecutive_blocks_are_those_of_the_chain() {
    let Some(archive) = fixtures::archive() else { return };
    let load = |number| fixtures::load(&archive.join(format!("optimism/{number}.json.zst")));
    let mut blocks: Vec<Block> = (FIRST..=LAST).map(load).collect();
    let senders = |block: &Block| block.transactions.iter().map(|tx| tx.from).collect::<BTreeSet<_>>();
    let (equal, wrong) = compare_balances(&blocks);
    assert!(wrong.is_empty(), "{wrong:?}");
    let again: usize = blocks
        .iter()
        .enumerate()
        .map(|(index, block)| {
            let earlier: BTreeSet<Address> = blocks[..index].iter().flat_map(senders).collect();
            let known = &block.witness.as_ref().unwrap().accounts;
            earlier.iter().filter(|sender| known.contains_key(*sender)).count()
        })
        .sum();
    println!("{equal} balances equal, {again} of them of accounts that had paid fees before");
    assert!(equal > again && again >= 10, "{equal} {again}");

    // Near miss: the same blocks without the fee for layer 1.
    for block in &mut blocks {
        for transaction in &mut block.transactions {
            if matches!(transaction.rollup, RollupPart::Posted(_)) {
                transaction.rollup = RollupPart::None;
            }
        }
    }
    let (_, wrong) = compare_balances(&blocks);
    assert!(wrong.len() >= 5, "{wrong:?}");
}

/// A block of OP Mainnet at a time of Ethereum's hardfork of that name.
fn op_block(state: Witness, hardfork_time_s: u64, hardfork: &str, transactions: Vec<Transaction>) -> Block {
    let mut state = state;
    state.profile = ChainProfile::Optimism;
    state.hardfork = hardfork.to_owned();
    let block = State::new().block(transactions);
    Block {
        chain_id: ChainId(10),
        number: 120_000_000,
        timestamp_s: hardfork_time_s,
        witness: Some(Arc::new(state)),
        ..block
    }
}

/// Alice, rich, and the prices of layer 1: data at 16 wei and scalar one, the operator at scalar and constant.
fn state(operator_scalar: u64, operator_constant: u64) -> Witness {
    let mut witness = Witness::default();
    let rich = WitnessAccount { balance_wei: wei(1_000_000_000_000), ..WitnessAccount::default() };
    witness.accounts.insert(ALICE, rich);
    let mut storage: BTreeMap<U256, U256> = (0..9).map(|slot| (wei(slot), U256::ZERO)).collect();
    storage.insert(wei(1), wei(16));
    storage.insert(wei(3), wei(1_000_000) << 96);
    storage.insert(wei(6), wei(1_000_000));
    storage.insert(wei(8), (wei(operator_scalar) << 64) | wei(operator_constant));
    witness.accounts.insert(L1_BLOCK, WitnessAccount { storage, ..WitnessAccount::default() });
    witness
}

fn posted(transaction: Transaction) -> Transaction {
    let size = PostedSize { zero_bytes: 4, nonzero_bytes: 100, fastlz_bytes: 300 };
    Transaction {
        rollup: RollupPart::Posted(size),
        gas_price_wei: Some(5),
        chain_id: Some(10),
        ..transaction
    }
}

fn changes(execution: &Execution, accounts: &[Address]) -> Vec<i64> {
    let of = |address: &Address| execution.balance_changes_wei.get(address).copied().unwrap_or(I256::ZERO);
    accounts.iter().map(|address| of(address).try_into().unwrap()).collect()
}

const PAID: [Address; 5] = [ALICE, BENEFICIARY, BASE_FEE_VAULT, DATA_FEE_VAULT, OPERATOR_FEE_VAULT];

#[test]
fn every_fee_goes_from_the_sender_to_its_own_vault() {
    // 21,000 gas at a price of 5, of which 2 are the base fee. Bedrock: (4 * 4 + 16 * 100) * 16 wei. Ecotone: the same
    // sum, because scalar and gas of a byte cancel out. Fjord: 16 * 16 wei for (836,500 * 300 - 42,585,600) / 10^6 bytes.
    let cases: [(u64, &str, u64, u64); 6] = [
        (1_700_000_000, "merge", 25_856, 0),
        (1_704_992_403, "shanghai", 25_856, 0),
        (1_710_374_403, "cancun", 25_856, 0),
        (1_720_627_203, "cancun", 53_341, 0),
        (1_746_806_403, "prague", 53_341, 21_000 * 3_000_000 / 1_000_000 + 7),
        (1_764_691_203, "prague", 53_341, 21_000 * 3_000_000 * 100 + 7),
    ];
    for (time_s, hardfork, data, operator) in cases {
        let call = posted(transaction(CALLER, 0, 0));
        let call = Transaction { gas_limit: 100_000, ..call };
        let mut state = state(3_000_000, 7);
        let rich = state.accounts.get_mut(&ALICE).unwrap();
        rich.balance_wei = U256::from(10).pow(U256::from(18));
        let mut block = op_block(state, time_s, hardfork, vec![call]);
        block.base_fee_wei = Some(2);
        block.gas_used = 21_000;
        block.outcomes = vec![Outcome { data_fee_wei: Some(wei(data)), ..Outcome::new(Some(true), 21_000) }];
        let replayed = replay(&block);
        assert_eq!(replayed.mismatches, [], "{time_s}");
        let (data, operator) = (i64::try_from(data).unwrap(), i64::try_from(operator).unwrap());
        let expected = [-(21_000 * 5 + data + operator), 21_000 * 3, 21_000 * 2, data, operator];
        assert_eq!(changes(&replayed.executions[0], &PAID), expected, "{time_s}");

        // A receipt that states another fee is a difference on record.
        block.outcomes[0].data_fee_wei = Some(wei(1));
        let [mismatch] = &replay(&block).mismatches[..] else { panic!("one difference") };
        assert!(mismatch.what.contains("receipt states 1"), "{mismatch:?}");
    }
}

#[test]
fn who_cannot_pay_is_executed_all_the_same() {
    let mut state = state(0, 0);
    state.accounts.get_mut(&ALICE).unwrap().balance_wei = wei(9);
    let call = Transaction { gas_limit: 21_000, ..posted(transaction(CALLER, 9, 0)) };
    let execution = replay(&op_block(state, 1_700_000_000, "merge", vec![call])).executions.remove(0);
    assert_eq!(execution.status, Status::Success);
    assert_eq!(changes(&execution, &[ALICE, CALLER]), [-9, 9]);
}

fn deposit(to: Option<Address>, value: u64, mint: u64) -> Transaction {
    Transaction {
        tx_type: 0x7e,
        to,
        gas_limit: 100_000,
        gas_price_wei: Some(0),
        chain_id: None,
        rollup: RollupPart::Deposit { mint_wei: wei(mint) },
        ..transaction(CALLER, value, 0)
    }
}

/// A deposit by Alice, who has 10 wei, in the middle of Isthmus.
fn deposited(deposit: Transaction) -> (Execution, BlockReplay) {
    let mut state = state(3_000_000, 7);
    state.accounts.get_mut(&ALICE).unwrap().balance_wei = wei(10);
    let state = with_code(state, REVERTING, &hex!("6000 6000 fd"));
    // The block goes on behind it.
    let after = Transaction { nonce: 7, hash: B256::repeat_byte(9), ..self::deposit(Some(ALICE), 0, 0) };
    let mut block = op_block(state, 1_746_806_403, "prague", vec![deposit, after]);
    block.base_fee_wei = Some(2);
    let mut replay = replay(&block);
    (replay.executions.remove(0), replay)
}

#[test]
fn a_deposit_brings_its_coins_and_pays_nothing() {
    let (execution, _) = deposited(deposit(Some(CALLER), 25, 20));
    assert_eq!((&execution.status, execution.gas_used), (&Status::Success, 21_000));
    assert_eq!(changes(&execution, &[ALICE, CALLER]), [-5, 25]);
    assert_eq!(changes(&execution, &PAID[1..]), NO_FEES);
}

#[test]
fn a_deposit_that_reverts_keeps_its_coins() {
    let (execution, _) = deposited(deposit(Some(REVERTING), 25, 20));
    assert!(matches!(execution.status, Status::Revert { .. }), "{:?}", execution.status);
    assert_eq!(changes(&execution, &[ALICE, REVERTING]), [20, 0]);
    assert!(execution.gas_used < 22_000);
}

#[test]
fn a_deposit_that_cannot_begin_keeps_its_coins_and_uses_all_gas() {
    let poor = deposit(Some(CALLER), 31, 20);
    let cramped = Transaction { gas_limit: 20_999, ..deposit(Some(CALLER), 0, 20) };
    for (deposit, gas_limit) in [(poor, 100_000), (cramped, 20_999)] {
        let (execution, rest) = deposited(deposit);
        assert!(matches!(execution.status, Status::Halt { .. }), "{:?}", execution.status);
        assert_eq!(execution.gas_used, gas_limit);
        assert_eq!(changes(&execution, &[ALICE, CALLER]), [20, 0]);
        assert!(execution.frames.is_empty() && !execution.truncated);
        assert_eq!(rest.executions[0].status, Status::Success);
    }
}

/// Calls `0x100` with 160 zero bytes.
const P256_CALL: &[u8] = &hex!("6000 6000 60a0 6000 610100 5a fa 00");
/// Runs until its gas is gone.
const LOOP: &[u8] = &hex!("5b 6000 56");

fn with_code(mut state: Witness, address: Address, code: &'static [u8]) -> Witness {
    let code = Bytes::from_static(code);
    let code_hash = Some(keccak256(&code));
    state.codes.insert(keccak256(&code), code);
    state.accounts.insert(address, WitnessAccount { code_hash, nonce: 1, ..WitnessAccount::default() });
    state
}

#[test]
fn a_deposit_may_use_more_gas_than_other_transactions_since_osaka() {
    let deposit = Transaction { gas_limit: 20_000_000, ..deposit(Some(CALLER), 0, 0) };
    let state = with_code(state(0, 0), CALLER, LOOP);
    let execution = replay(&op_block(state, 1_783_526_403, "osaka", vec![deposit])).executions.remove(0);
    assert!(matches!(execution.status, Status::Halt { .. }), "{:?}", execution.status);
    assert_eq!((execution.gas_used, execution.frames.len()), (20_000_000, 1));
}

#[test]
fn the_p256_contract_comes_with_fjord() {
    let cases = [
        ("before Fjord", 1_720_627_199, "cancun", None),
        ("Fjord", 1_720_627_201, "cancun", Some(3_450)),
        ("Jovian", 1_764_691_201, "prague", Some(3_450)),
        ("Karst", 1_783_526_401, "osaka", Some(6_900)),
    ];
    for (name, time_s, hardfork, price) in cases {
        let state = with_code(state(0, 0), CALLER, P256_CALL);
        let block = op_block(state, time_s, hardfork, vec![posted(transaction(CALLER, 0, 0))]);
        let execution = replay(&block).executions.remove(0);
        assert_eq!(execution.status, Status::Success, "{name}");
        let called = execution.frames.iter().find(|frame| frame.address == P256_VERIFY).unwrap();
        let seen = (called.precompile, called.gas_used);
        assert_eq!(seen, (price.is_some(), price.unwrap_or(0)), "{name}");
    }
}

#[tokio::test]
async fn a_simulation_has_the_contracts_and_charges_nothing() {
    let state = with_code(state(3_000_000, 7), CALLER, P256_CALL);
    let block = op_block(state, 1_764_691_203, "prague", Vec::new());
    let mut fork = Fork::on_witness(&block).unwrap();
    let call = Call { to: Some(CALLER), data: Bytes::new(), value_wei: U256::ZERO };
    let execution = fork.call(ALICE, &call).await.unwrap();
    assert_eq!(execution.status, Status::Success);
    assert!(execution.frames[1].precompile, "{:?}", execution.frames[1]);
    assert_eq!(changes(&execution, &PAID), [0; 5]);
}
