//! What the tests of the range share: one tiny contract in raw bytecode, a few actors, and keyless transactions.

use alloy_consensus::transaction::SignerRecoverable as _;
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex, uint};
use cordon_range::{Chain, ChainConfig};

/// One ether in wei.
pub(crate) const ETHER: U256 = uint!(1_000_000_000_000_000_000_U256);
/// A funded actor.
pub(crate) const ALICE: Address = Address::repeat_byte(0xa1);
/// Another funded actor.
pub(crate) const BOB: Address = Address::repeat_byte(0xb0);

/// Creation code of a box for one word: nine bytes that return the forty bytes after them.
///
/// Without call data the box returns slot 0. With a word it stores the word and emits a log with topic 0x2a and the
/// word as data, except for the word 0xdead, on which it reverts with that word.
pub(crate) const WORD_BOX: [u8; 49] = hex!(
    "6028 80 6009 5f 39 5f f3" // codecopy(0, 9, 40); return(0, 40)
    "36 600c 57" //               if calldatasize goto 0x0c
    "5f 54 5f 52 6020 5f f3" //   return sload(0)
    "5b 5f 35 80 5f 52" //        0x0c: word = calldataload(0); mstore(0, word)
    "80 61dead 14 6023 57" //     if word == 0xdead goto 0x23
    "5f 55 602a 6020 5f a1 00" // sstore(0, word); log1(0, 32, 0x2a); stop
    "5b 6020 5f fd" //            0x23: revert(0, 32)
);

/// A chain with two funded actors.
pub(crate) fn chain() -> Chain {
    let chain = Chain::new(ChainConfig::default());
    chain.fund(ALICE, ETHER * U256::from(100));
    chain.fund(BOB, ETHER * U256::from(100));
    chain
}

/// A chain with a mined word box.
pub(crate) fn chain_with_box() -> (Chain, Address) {
    let chain = chain();
    let word_box = chain.deploy_as(ALICE, WORD_BOX, &[]).expect("ALICE is funded");
    chain.mine();
    (chain, word_box)
}

/// The word that the box reads as call data.
pub(crate) fn word(value: u64) -> Bytes {
    B256::from(U256::from(value)).0.into()
}

/// A transfer of one wei that is signed without a key: any signature whose `r` lies on the curve belongs to somebody.
/// Returns the bytes and that somebody's address.
pub(crate) fn keyless_transfer(chain_id: u64, nonce: u64, s: u64) -> (Bytes, Address) {
    let tx = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(BOB),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    // The x coordinate of the generator of secp256k1.
    let r = uint!(0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798_U256);
    let tx = TxEnvelope::from(tx.into_signed(Signature::new(r, U256::from(s), false)));
    let sender = tx.recover_signer().expect("the generator lies on the curve");
    (tx.encoded_2718().into(), sender)
}
