//! Sizes of real transactions, and what is done with those that do not fit.

use super::*;
use crate::convert::{self, Integrity, RawBody, RawHeader};
use crate::error::SourceError;
use alloy_consensus::{Header, SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Signature, hex};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Transaction 0xa75ef696bf67439b4d5b61da85de9f3ceaa2e145abe982212101b244b63749c2 of OP Mainnet (Ecotone).
const OF_ECOTONE: &[u8] = &hex!(
    "02f8b30a832253fc8402d11f39842c8a46398301388094dc6ff44d5d932cbd77b52e5612ba0529dc6226f180b844a9059cbb0000"
    "00000000000000000000d43e02db81f4d46cdf8521f623d21ea0ec7562a500000000000000000000000000000000000000000000"
    "00008ac7230489e80000c001a02947e24750723b48f886931562c55d9e07f856d8e06468e719755e18bbc3a570a0784da9ce59fd"
    "7754ea5be6e17a86b348e441348cd48ace59d174772465eadbd1"
);
/// Transaction 0x1059e8004daff32caa1f1b1ef97fe3a07a8cf40508f5b835b66d9420d87c4a4a of OP Mainnet (Fjord).
const OF_FJORD: &[u8] = &hex!(
    "02f904940a8303fba78401d6d2798401db2b6d830493e0943e6f4f7866654c18f536170780344aa8772950b680b904246a761202"
    "000000000000000000000000087000a300de7200382b55d40045000000e5d60e0000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000001400000000000000000"
    "00000000000000000000000000000000000000000000000100000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000003a0000000000000000000000000000000000000000000000000000000000000022482ad56cb0000000000000000"
    "00000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000"
    "00000002000000000000000000000000000000000000000000000000000000000000004000000000000000000000000000000000"
    "00000000000000000000000000000120000000000000000000000000dc6ff44d5d932cbd77b52e5612ba0529dc6226f100000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000600000000000000000000000000000000000000000000000000000000000000044095ea7b30000000000000000"
    "0000000021c4928109acb0659a88ae5329b5374a3024694c0000000000000000000000000000000000000000000000049b9ca9a6"
    "943400000000000000000000000000000000000000000000000000000000000000000000000000000000000021c4928109acb065"
    "9a88ae5329b5374a3024694c00000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000006000000000000000000000000000000000000000000000000000000000"
    "00000024b6b55f250000000000000000000000000000000000000000000000049b9ca9a694340000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000415ec214a3950bea839a7e6fbb0ba1540ac2076acd50820e2d5ef83d09"
    "02cdffb24a47aff7de5190290769c4f0a9c6fabf63012986a0d590b1b571547a8c7050ea1b000000000000000000000000000000"
    "00000000000000000000000000000000c080a06db770e6e25a617fe9652f0958bd9bd6e49281a53036906386ed39ec48eadf63a0"
    "7f47cf51a4a40b4494cf26efc686709a9b03939e20ee27e59682f5faa536667e"
);

/// The chain charged the first one for 2,456 gas of data and the second for 4,471, as its explorer says; the fees from
/// these sizes are tested where they are computed (`cordon-replay`, `op_stack/fees`).
#[test]
fn sizes_of_real_transactions_are_those_that_the_chain_charged_for() {
    let size = posted_size(OF_ECOTONE);
    assert_eq!((size.zero_bytes, size.nonzero_bytes), (38, 144));
    assert_eq!(4 * size.zero_bytes + 16 * size.nonzero_bytes, 2_456);
    let size = posted_size(OF_FJORD);
    assert_eq!((size.zero_bytes, size.nonzero_bytes, size.fastlz_bytes), (875, 301, 385));
    assert_eq!((836_500 * size.fastlz_bytes - 42_585_600) * 16 / 1_000_000, 4_471);
}

/// The lengths are those that op-revm 20.0.0 tests for (`fast_lz.rs`), some of them against the Solidity original.
#[test]
fn compressed_lengths_are_those_of_other_implementations() {
    let cases: [(&[u8], u64); 7] = [
        (&[], 0),
        (&[0; 1_000], 21),
        (&[42; 1_000], 21),
        (&hex!("facade"), 4),
        // Base, 0xfaada76a2dac09fc17f5a28d066aaabefc6d82ef6589b211ed8c9f766b070721.
        (
            &hex!(
                "b87602f873822105528304320f8409cfe5c98252089480c67432656d59144ceff962e8faf8926599bcf888011d"
                "fe52d06b633f80c001a08632f069f837aea7a28bab0affee14dda116956bd5a850a355c045d25afedd17a0084b"
                "8f273efffe17ece527116053e5781a4915ff89ab9c379f1e62c25b697687"
            ),
            124,
        ),
        // Base, 0x112864e9b971af6a1dac840018833c5a5a659acc187cfdaba919ad1da013678d.
        (
            &hex!(
                "b8b302f8b0822105308304320f8409cfe5c9827496944ed4e862860bed51a9570b96d89af5e1b0efefed80b844"
                "095ea7b3000000000000000000000000000000000022d473030f116ddee9f6b43ac78ba3000000000000000000"
                "00000000000000000000000000015e10fb0973595fffffc001a02020e39f07917c1a852feb131c857e12478c7e"
                "88a20772b91a8bf5cee38c5aeea06055981727f9aaa3471c1af800555b35a77916c154be3f9d02ad1a63029455"
                "ab"
            ),
            157,
        ),
        // Base, 0x6905051352691641888d0c427fb137c5b95afb5870d5169ff014eff1d0952195.
        (
            &hex!(
                "b87202f86f8221058303dc6c8310db1f84068fa8d7838954409436af2ff952a7355c8045fcd5e88bc9f6c8257f"
                "7b8080c001a0b89e7ff3d7694109e73e7f4244e032581670313c36e48e485c9c94b853bd81d2a038ffaf8f1085"
                "9ce21d1f7f7046c3d08027fb8aa15b69038f6102be97aaa1179a"
            ),
            120,
        ),
    ];
    for (data, len) in cases {
        assert_eq!(fastlz::compressed_len(data), len, "{}", hex::encode(data));
    }
    let ascending: Vec<u8> = (0..=255).collect();
    let lens: Vec<u64> = (0..=256).map(|len| fastlz::compressed_len(&ascending[..len])).collect();
    assert!(lens.windows(2).all(|pair| pair[0] < pair[1]), "nothing repeats: {lens:?}");
}

/// The algorithm as op-geth writes it down, index by index, for comparison.
fn reference_len(data: &[u8]) -> u64 {
    let literals =
        |count: usize| 33 * (count / 32) + if count.is_multiple_of(32) { 0 } else { count % 32 + 1 };
    let sequence = |at: usize| u32::from_le_bytes([data[at], data[at + 1], data[at + 2], 0]);
    let hash = |sequence: u32| ((u64::from(sequence) * 2_654_435_769) >> 19) as usize & 0x1fff;
    let limit = data.len().saturating_sub(13);
    let (mut at, mut anchor, mut len, mut table) = (2, 0, 0, vec![0; 8_192]);
    'data: while at < limit {
        let (start, earlier) = loop {
            let earlier = std::mem::replace(&mut table[hash(sequence(at))], at);
            if at + 1 >= limit {
                break 'data;
            }
            if at - earlier < 8_192 && sequence(at) == sequence(earlier) {
                break (at, earlier);
            }
            at += 1;
        };
        len += literals(start - anchor);
        let mut run = 0;
        while start + 3 + run < limit + 9 {
            run += 1;
            if data[earlier + 2 + run] != data[start + 2 + run] {
                break;
            }
        }
        len += 3 * ((run - 1) / 262) + if (run - 1) % 262 >= 6 { 3 } else { 2 };
        at = start + run;
        for _ in 0..2 {
            table[hash(sequence(at))] = at;
            at += 1;
        }
        anchor = at;
    }
    (len + literals(data.len() - anchor)) as u64
}

proptest! {
    #[test]
    fn any_data_has_the_length_of_the_reference(
        data in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..4, any::<u8>()], 0..2_000),
        repeated in 0usize..3,
    ) {
        let data = data.repeat(repeated + 1);
        prop_assert_eq!(fastlz::compressed_len(&data), reference_len(&data));
    }
}

const OP_MAINNET: ChainId = ChainId(10);

fn transfer() -> Value {
    let transfer =
        TxLegacy { chain_id: Some(10), nonce: 1, gas_price: 7, gas_limit: 21_000, ..TxLegacy::default() };
    let envelope: TxEnvelope = transfer.into_signed(Signature::test_signature()).into();
    let mut value = serde_json::to_value(envelope).unwrap();
    value["from"] = json!(Address::repeat_byte(0xaa));
    value
}

fn deposit(mint: Value) -> Value {
    json!({
        "type": "0x7e", "hash": B256::repeat_byte(1), "from": Address::repeat_byte(0xaa), "nonce": "0x0",
        "to": Address::repeat_byte(0xbb), "value": "0x0", "gas": "0x5208", "input": "0x", "mint": mint,
        "sourceHash": B256::ZERO, "gasPrice": "0x0",
    })
}

fn parts(chain_id: ChainId, transactions: &[Value]) -> Result<Vec<RollupPart>, SourceError> {
    parts_at(chain_id, transactions, Integrity::Full)
}

fn parts_at(
    chain_id: ChainId,
    transactions: &[Value],
    integrity: Integrity,
) -> Result<Vec<RollupPart>, SourceError> {
    let header =
        Header { transactions_root: B256::repeat_byte(7), base_fee_per_gas: Some(7), ..Header::default() };
    let mut value = serde_json::to_value(&header).unwrap();
    value["hash"] = json!(header.hash_slow());
    value["transactions"] = json!(transactions);
    let text = value.to_string();
    let header: RawHeader = convert::read_json(text.as_bytes(), "test")?;
    let body: RawBody = convert::read_json(text.as_bytes(), "test")?;
    let block = convert::block(&header, &body, chain_id, "test", integrity)?;
    Ok(block.transactions.iter().map(|transaction| transaction.rollup).collect())
}

#[test]
fn deposits_bring_their_mint_and_others_their_size() {
    let parts = parts(OP_MAINNET, &[deposit(json!("0x5")), deposit(Value::Null), transfer()]).unwrap();
    let deposit = |mint: u64| RollupPart::Deposit { mint_wei: U256::from(mint) };
    let [first, second, RollupPart::Posted(size)] = parts.as_slice() else { panic!("{parts:?}") };
    assert_eq!((*first, *second), (deposit(5), deposit(0)));
    let envelope: TxEnvelope = serde_json::from_value(transfer()).unwrap();
    assert_eq!(size.zero_bytes + size.nonzero_bytes, envelope.encoded_2718().len() as u64);
}

#[test]
fn a_size_is_not_taken_from_an_encoding_that_is_not_the_transactions() {
    let mut other = transfer();
    other["value"] = json!("0x1");
    let error = parts(OP_MAINNET, &[deposit(Value::Null), other.clone()]).unwrap_err();
    assert!(error.to_string().contains("transaction 1 states hash"), "{error}");
    // Where nobody asked for the check, the others keep theirs.
    let unchecked = parts_at(OP_MAINNET, &[other.clone(), transfer()], Integrity::Header).unwrap();
    assert!(matches!(unchecked[..], [RollupPart::None, RollupPart::Posted(_)]), "{unchecked:?}");
    // Of an encoding that nobody here knows there is no size.
    other["type"] = json!("0x7d");
    assert_eq!(parts(OP_MAINNET, &[other]).unwrap(), [RollupPart::None]);
}

#[test]
fn a_mint_that_is_no_number_is_refused() {
    let error = parts(OP_MAINNET, &[deposit(json!("five"))]).unwrap_err();
    assert!(error.to_string().contains("transaction 0 is a deposit"), "{error}");
}

#[test]
fn other_chains_are_left_alone() {
    // Scroll's layer-1 messages have the same type.
    for chain_id in [ChainId(1), ChainId(534_352)] {
        let parts = parts(chain_id, &[deposit(json!("0x5")), transfer()]).unwrap();
        assert_eq!(parts, [RollupPart::None, RollupPart::None]);
    }
}
