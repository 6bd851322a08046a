//! Contracts of a few bytes each, written by hand so that every expected fact can be counted, and blocks that hold
//! them.

use alloy_primitives::{Address, B256, Bloom, Bytes, U256, hex, keccak256};
use cordon_model::block::{Block, ChainProfile, Transaction, Witness, WitnessAccount};
use cordon_model::units::ChainId;
use std::sync::Arc;

pub(crate) const ALICE: Address = Address::repeat_byte(0xa1);
pub(crate) const BENEFICIARY: Address = Address::repeat_byte(0xc0);

/// Pays the caller the amount in slot 0 and clears the slot only afterwards: the classic mistake.
pub(crate) const CARELESS_VAULT: &[u8] = &hex!(
    "600054 80 15 601a57"             // amount = sload(0); if zero goto end
    "6000 6000 6000 6000 84 33 5a f1" // call(gas, caller, amount, 0, 0, 0, 0)
    "50 6000 6000 55"                 // sstore(0, 0)
    "5b 00"
);

/// Counts to two in slot 0 and calls the vault each time before the second.
pub(crate) fn reentrant_thief(vault: Address) -> Vec<u8> {
    [
        hex!(
            "600054 6002 81 10 600b57 00"   // n = sload(0); if n < 2 goto 0x0b else stop
            "5b 6001 01 6000 55"            // sstore(0, n + 1)
            "6000 6000 6000 6000 6000 73"
        )
        .as_slice(),
        vault.as_slice(),
        &hex!("5a f1 50 00"),
    ]
    .concat()
}

/// Writes 7 to slot 1, pays one wei on, logs, and then reverts with one zero word.
pub(crate) fn undone(payee: Address) -> Vec<u8> {
    [
        hex!("6007 6001 55 6000 6000 6000 6000 6001 73").as_slice(),
        payee.as_slice(),
        &hex!("5a f1 50 6000 6000 a0 6020 6000 fd"),
    ]
    .concat()
}

/// Calls another contract, ignores what comes of it, and logs.
pub(crate) fn caller_of(callee: Address) -> Vec<u8> {
    [hex!("6000 6000 6000 6000 6000 73").as_slice(), callee.as_slice(), &hex!("5a f1 50 6000 6000 a0 00")]
        .concat()
}

/// Emits `Transfer(from, to, 42)` as an ERC-20 token does.
pub(crate) fn token_transfer(from: Address, to: Address) -> Vec<u8> {
    [
        hex!("602a 6000 52 73").as_slice(),
        to.as_slice(),
        &hex!("73"),
        from.as_slice(),
        &hex!("7f ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef 6020 6000 a3 00"),
    ]
    .concat()
}

/// Without calldata adds one to slot 0; with calldata returns it.
pub(crate) const COUNTER: &[u8] = &hex!(
    "36 600e 57 6000 54 6001 01 6000 55 00" // if calldatasize goto 0x0e; sstore(0, sload(0) + 1)
    "5b 6000 54 6000 52 6020 6000 f3"       // return sload(0)
);

/// Repeats some instructions, which leave the stack as it was, until little gas is left, and stops.
pub(crate) fn flood(instructions: &[u8]) -> Vec<u8> {
    // 0x00: ...; if gas > 100,000 goto 0x00; stop
    [&hex!("5b")[..], instructions, &hex!("62 0186a0 5a 11 6000 57 00")].concat()
}

/// Emits an empty log.
pub(crate) const EMIT: &[u8] = &hex!("6000 6000 a0");
/// Calls an account without code in a static call, with what gas there is.
pub(crate) const CALL_NOBODY: &[u8] = &hex!("6000 6000 6000 6000 61dead 5a fa 50");
/// Writes one to slot 0.
pub(crate) const WRITE: &[u8] = &hex!("6001 6000 55");
/// Reads slot 0.
pub(crate) const READ: &[u8] = &hex!("6000 54 50");

/// Passes one megabyte of memory on to an account without code, sixteen times, and stops.
pub(crate) const DATA_FLOOD: &[u8] = &hex!(
    "6010"                                      // n = 16
    "5b 6000 6000 62100000 6000 6000 61dead 5a f1 50" // 0x02: call(gas, 0xdead, 0, 0, 1 MiB, 0, 0)
    "6001 90 03 80 6002 57 00"                  // n = n - 1; if n goto 0x02
);

pub(crate) fn wei(amount: u64) -> U256 {
    U256::from(amount)
}

pub(crate) fn transaction(to: Address, value_wei: u64, nonce: u64) -> Transaction {
    Transaction {
        hash: keccak256([to.as_slice(), &nonce.to_be_bytes()].concat()),
        tx_type: 0,
        nonce,
        value_wei: wei(value_wei),
        gas_limit: 15_000_000,
        gas_price_wei: Some(1),
        chain_id: Some(1),
        ..Transaction::bare(ALICE, Some(to))
    }
}

/// The state that a test starts from.
#[derive(Default)]
pub(crate) struct State(Witness);

impl State {
    /// An empty state under Osaka's rules, except for Alice, who is rich, and the beneficiary.
    pub(crate) fn new() -> Self {
        let state = Self(Witness {
            profile: ChainProfile::Ethereum,
            hardfork: "Osaka".to_owned(),
            ..Witness::default()
        });
        state.balance(ALICE, 1_000_000_000_000).balance(BENEFICIARY, 1)
    }

    pub(crate) fn balance(mut self, address: Address, amount: u64) -> Self {
        self.account(address).balance_wei = wei(amount);
        self
    }

    pub(crate) fn contract(mut self, address: Address, code: &[u8], slots: &[(u64, u64)]) -> Self {
        let code_hash = keccak256(code);
        self.0.codes.insert(code_hash, Bytes::copy_from_slice(code));
        let account = self.account(address);
        account.nonce = 1;
        account.code_hash = Some(code_hash);
        account.storage = slots.iter().map(|(slot, value)| (wei(*slot), wei(*value))).collect();
        self
    }

    pub(crate) fn hardfork(mut self, name: &str) -> Self {
        self.0.hardfork = name.to_owned();
        self
    }

    fn account(&mut self, address: Address) -> &mut WitnessAccount {
        self.0.accounts.entry(address).or_default()
    }

    /// A block with these transactions on this state. Its header states nothing about gas and logs.
    pub(crate) fn block(self, transactions: Vec<Transaction>) -> Block {
        Block {
            chain_id: ChainId(1),
            number: 24_000_000,
            hash: B256::repeat_byte(2),
            parent_hash: B256::repeat_byte(1),
            timestamp_s: 1_770_000_000,
            beneficiary: BENEFICIARY,
            gas_limit: 60_000_000,
            gas_used: 0,
            base_fee_wei: Some(0),
            difficulty: U256::ZERO,
            mix_hash: B256::ZERO,
            excess_blob_gas: Some(0),
            parent_beacon_block_root: None,
            receipts_root: B256::ZERO,
            logs_bloom: Bloom::ZERO,
            withdrawals: Vec::new(),
            transactions,
            outcomes: Vec::new(),
            witness: Some(Arc::new(self.0)),
        }
    }
}
