//! Fees that real transactions paid, and the numbers of the specification's own implementations.

use super::*;
use crate::state::{Db, Source, WitnessState};
use cordon_model::block::{Witness, WitnessAccount};
use revm::database::CacheDB;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The `L1Block` contract with these slots; every other slot that a hardfork reads is zero.
fn prices(fork: OpFork, slots: &[(u64, U256)]) -> L1Prices {
    let mut storage: BTreeMap<U256, U256> = (0..9).map(|slot| (U256::from(slot), U256::ZERO)).collect();
    storage.extend(slots.iter().map(|(slot, value)| (U256::from(*slot), *value)));
    let account = WitnessAccount { storage, ..WitnessAccount::default() };
    let witness = Witness { accounts: [(L1_BLOCK, account)].into(), ..Witness::default() };
    let mut db: Db = CacheDB::new(Source::Witness(WitnessState::new(Arc::new(witness))));
    L1Prices::read(&mut db, fork).unwrap()
}

fn word(value: u64) -> U256 {
    U256::from(value)
}

/// Base fee scalar and blob base fee scalar as the contract packs them, between values that belong to others.
fn scalars(base_fee: u32, blob: u32) -> U256 {
    (U256::MAX << 128) | (word(base_fee.into()) << 96) | (word(blob.into()) << 64) | word(u64::MAX)
}

/// Operator scalar and constant as the contract packs them, behind a value of Jovian's.
fn operator(scalar: u32, constant: u64) -> U256 {
    (word(400) << 96) | (word(scalar.into()) << 64) | word(constant)
}

fn size(zero_bytes: u64, nonzero_bytes: u64, fastlz_bytes: u64) -> PostedSize {
    PostedSize { zero_bytes, nonzero_bytes, fastlz_bytes }
}

/// Second transaction of block 118024092 of OP Mainnet, 0xa75ef696bf67439b4d5b61da85de9f3ceaa2e145abe982212101b244b63749c2:
/// prices and fee as op-revm 20.0.0 tests them (`l1block.rs`), from the explorer.
#[test]
fn a_transaction_of_ecotone_pays_what_the_chain_charged() {
    let slots = [(1, word(47_036_678_951)), (3, scalars(1_368, 810_949)), (7, word(57_422_457_042))];
    let fee = prices(OpFork::Ecotone, &slots).data_fee_wei(&size(38, 144, 0));
    assert_eq!(fee, word(7_306_020_222_001));
}

/// Second transaction of block 124665056 of OP Mainnet, 0x1059e8004daff32caa1f1b1ef97fe3a07a8cf40508f5b835b66d9420d87c4a4a;
/// the same source.
#[test]
fn a_transaction_of_fjord_pays_what_the_chain_charged() {
    let slots = [(1, word(1_055_991_687)), (3, scalars(5_227, 1_014_213)), (7, word(1))];
    for fork in [OpFork::Fjord, OpFork::Granite, OpFork::Isthmus, OpFork::Jovian, OpFork::Karst] {
        let fee = prices(fork, &slots).data_fee_wei(&size(875, 301, 385));
        assert_eq!(fee, word(0x5_bf1a_b43d), "{fork:?}");
    }
}

/// Three bytes that are not zero at round prices, from op-revm's own tests.
#[test]
fn formulas_give_the_numbers_of_op_revm() {
    let slots =
        [(1, word(1_000)), (3, scalars(1_000, 1_000)), (5, word(1_000)), (6, word(1_000)), (7, word(1_000))];
    let facade = size(0, 3, 4);
    let cases = [
        (OpFork::Regolith, facade, 1_048),
        (OpFork::Canyon, facade, 1_048),
        (OpFork::Ecotone, facade, 51),
        (OpFork::Fjord, facade, 1_700),
        (OpFork::Fjord, size(0, 345, 202), 2_148),
    ];
    for (fork, size, fee) in cases {
        assert_eq!(prices(fork, &slots).data_fee_wei(&size), word(fee), "{fork:?}");
    }
}

#[test]
fn the_first_block_of_ecotone_still_pays_by_bedrock() {
    let unset = [(1, word(1_000)), (5, word(1_000)), (6, word(1_000))];
    for fork in [OpFork::Ecotone, OpFork::Fjord] {
        assert_eq!(prices(fork, &unset).data_fee_wei(&size(0, 3, 4)), word(1_048), "{fork:?}");
    }
    // Scalars of zero alone are a price: none.
    let free = [unset.as_slice(), &[(7, word(1))]].concat();
    assert_eq!(prices(OpFork::Ecotone, &free).data_fee_wei(&size(0, 3, 4)), U256::ZERO);
}

#[test]
fn the_operator_is_paid_from_isthmus_on_and_more_from_jovian_on() {
    let cases = [
        (OpFork::Holocene, operator(1_000, 10), 1_000, 0),
        (OpFork::Isthmus, operator(1_000, 10), 1_000, 11),
        (OpFork::Jovian, operator(1_000, 10), 1_000, 100_000_010),
        (OpFork::Isthmus, operator(10_000_000, 50), 10, 150),
        (OpFork::Jovian, operator(2, 50), 10, 2_050),
    ];
    for (fork, packed, gas, fee) in cases {
        let operator = prices(fork, &[(8, packed)]).operator();
        assert_eq!(operator.fee_wei(gas), word(fee), "{fork:?}");
    }
}

#[test]
fn absurd_prices_do_not_overflow() {
    let slots =
        [(1, U256::MAX), (3, U256::MAX), (5, U256::MAX), (6, U256::MAX), (7, U256::MAX), (8, U256::MAX)];
    for fork in OpFork::ALL {
        let prices = prices(fork, &slots);
        assert!(prices.data_fee_wei(&size(u64::MAX, u64::MAX, u64::MAX)) > U256::ZERO);
        prices.operator().fee_wei(u64::MAX);
    }
}

#[test]
fn prices_that_a_witness_leaves_out_are_an_error() {
    let account = WitnessAccount::default();
    let witness = Witness { accounts: [(L1_BLOCK, account)].into(), ..Witness::default() };
    let mut db: Db = CacheDB::new(Source::Witness(WitnessState::new(Arc::new(witness))));
    assert!(L1Prices::read(&mut db, OpFork::Regolith).is_err());
}
