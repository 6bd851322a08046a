//! Values that the tests of this crate begin from.

use alloy_primitives::{Address, B256, Bytes, U256};
use cordon_model::block::{RollupPart, Transaction};

/// A transaction that says nothing and pays nothing: a test states what it is about.
pub(crate) fn nothing() -> Transaction {
    Transaction {
        hash: B256::ZERO,
        tx_type: 2,
        from: Address::ZERO,
        to: None,
        nonce: 0,
        value_wei: U256::ZERO,
        input: Bytes::new(),
        gas_limit: 0,
        gas_price_wei: None,
        max_fee_per_gas_wei: None,
        max_priority_fee_per_gas_wei: None,
        max_fee_per_blob_gas_wei: None,
        chain_id: None,
        access_list: Vec::new(),
        blob_hashes: Vec::new(),
        authorizations: Vec::new(),
        rollup: RollupPart::None,
    }
}
