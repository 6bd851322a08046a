//! What a chain source hands over: blocks as plain values, and the changes of the canonical chain.
//!
//! In: fields as nodes and archives report them. Out: [`ChainUpdate`]. A reorganisation is data (a `Reverted`
//! for every block that left, newest first, then the `Applied` of those that came), never an error.

use crate::units::{BlockRef, ChainId};
use alloy_primitives::{Address, B256, Bloom, Bytes, U256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One change of what is known of a chain.
#[derive(Debug, Clone)]
pub enum ChainUpdate {
    /// The block now extends the canonical chain.
    Applied(Box<Block>),
    /// The block is no longer part of the canonical chain.
    Reverted(BlockRef),
    /// A transaction was seen in the mempool.
    Pending(Box<Transaction>),
}

/// A block with everything its execution needs except state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Block {
    /// Chain the block belongs to.
    pub chain_id: ChainId,
    /// Height.
    pub number: u64,
    /// Hash of the header.
    pub hash: B256,
    /// Hash of the parent's header.
    pub parent_hash: B256,
    /// Unix time in seconds.
    pub timestamp_s: u64,
    /// Fee recipient.
    pub beneficiary: Address,
    /// Gas limit of the block.
    pub gas_limit: u64,
    /// Gas used as the header states it; replay is checked against it.
    pub gas_used: u64,
    /// EIP-1559 base fee; `None` before London.
    pub base_fee_wei: Option<u64>,
    /// Proof-of-work difficulty; zero after the merge.
    pub difficulty: U256,
    /// `mixHash`; `prevRandao` after the merge (EIP-4399).
    pub mix_hash: B256,
    /// Excess blob gas (EIP-4844).
    pub excess_blob_gas: Option<u64>,
    /// Parent beacon block root (EIP-4788).
    pub parent_beacon_block_root: Option<B256>,
    /// Root of the receipts' trie as the header states it.
    pub receipts_root: B256,
    /// Bloom over all logs; replay is checked against it.
    pub logs_bloom: Bloom,
    /// Validator withdrawals (EIP-4895).
    pub withdrawals: Vec<Withdrawal>,
    /// Transactions in order.
    pub transactions: Vec<Transaction>,
    /// Outcomes as the source knows them, one per transaction, or empty.
    pub outcomes: Vec<Outcome>,
    /// State that the source delivers with the block (archives do, nodes do not).
    #[serde(skip)]
    pub witness: Option<Arc<Witness>>,
}

impl Block {
    /// Number and hash.
    #[must_use]
    pub fn block_ref(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash }
    }
}

/// One validator withdrawal.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Withdrawal {
    /// Receiver.
    pub address: Address,
    /// Amount in gwei.
    pub amount_gwei: u64,
}

/// Status, gas and logs of a mined transaction, as its receipt states them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Success flag; `None` before Byzantium, whose receipts carry a state root instead.
    pub success: Option<bool>,
    /// Gas used by this transaction.
    pub gas_used: u64,
    /// Fee for posting the transaction to layer 1 (`l1Fee`), in wei; `None` where the chain has none or the source
    /// does not state it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_fee_wei: Option<U256>,
    /// What the receipt lists as logs, where the receipts were found to hash to the header's root, so that this is the
    /// chain's word; `None` elsewhere. It does not travel with a stored block.
    #[serde(skip)]
    pub logs: Option<Vec<alloy_primitives::Log>>,
}

impl Outcome {
    /// What a receipt without logs that can be relied upon states.
    #[must_use]
    pub fn new(success: Option<bool>, gas_used: u64) -> Self {
        Self { success, gas_used, data_fee_wei: None, logs: None }
    }
}

/// A transaction with its recovered sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// Transaction hash.
    pub hash: B256,
    /// EIP-2718 type; `0x7e` is an OP-stack deposit.
    pub tx_type: u8,
    /// Sender.
    pub from: Address,
    /// Receiver; `None` creates a contract.
    pub to: Option<Address>,
    /// Sender's nonce.
    pub nonce: u64,
    /// Native coin sent along.
    pub value_wei: U256,
    /// Calldata or init code.
    pub input: Bytes,
    /// Gas limit.
    pub gas_limit: u64,
    /// Gas price of legacy and EIP-2930 transactions.
    pub gas_price_wei: Option<u128>,
    /// EIP-1559 fee cap.
    pub max_fee_per_gas_wei: Option<u128>,
    /// EIP-1559 tip cap.
    pub max_priority_fee_per_gas_wei: Option<u128>,
    /// EIP-4844 blob fee cap.
    pub max_fee_per_blob_gas_wei: Option<u128>,
    /// EIP-155 chain id; `None` for early legacy transactions.
    pub chain_id: Option<u64>,
    /// EIP-2930 access list.
    pub access_list: Vec<AccessListEntry>,
    /// EIP-4844 versioned blob hashes.
    pub blob_hashes: Vec<B256>,
    /// EIP-7702 authorisations.
    pub authorizations: Vec<Authorization>,
    /// What the rules of the OP stack ask beyond the fields above.
    #[serde(default, skip_serializing_if = "RollupPart::is_none")]
    pub rollup: RollupPart,
}

impl Transaction {
    /// A transaction of which no more is known than its parties: no fee, no gas, no data, nothing signed.
    #[must_use]
    pub fn bare(from: Address, to: Option<Address>) -> Self {
        Self {
            hash: B256::ZERO,
            tx_type: 2,
            from,
            to,
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
}

/// What the rules of the OP stack ask about a transaction beyond its own fields. Nodes report it for mined transactions;
/// a call that is only tried has none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollupPart {
    /// The chain is not of the OP stack, or the transaction's encoding is not known.
    #[default]
    None,
    /// Posted to layer 1 for a fee that follows from its size.
    Posted(PostedSize),
    /// A deposit, sent and paid on layer 1.
    Deposit {
        /// Coins that the deposit creates for its sender.
        mint_wei: U256,
    },
}

impl RollupPart {
    /// True for [`RollupPart::None`].
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Sizes of a transaction's signed EIP-2718 encoding, from which the fee of layer 1 is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedSize {
    /// Bytes that are zero.
    pub zero_bytes: u64,
    /// Bytes that are not zero.
    pub nonzero_bytes: u64,
    /// Bytes after FastLZ compression, as the OP stack estimates them since Fjord.
    pub fastlz_bytes: u64,
}

/// One entry of an access list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessListEntry {
    /// Account to warm.
    pub address: Address,
    /// Slots to warm.
    pub storage_keys: Vec<B256>,
}

/// A signed EIP-7702 authorisation tuple.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// Chain the authorisation is for; zero means any.
    pub chain_id: U256,
    /// Code to delegate to.
    pub address: Address,
    /// Authority's nonce.
    pub nonce: u64,
    /// Signature parity.
    pub y_parity: u8,
    /// Signature `r`.
    pub r: U256,
    /// Signature `s`.
    pub s: U256,
}

/// State that travels with an archived block: every account and slot its execution touches, as of the end of the
/// parent block.
#[derive(Debug, Clone, Default)]
pub struct Witness {
    /// Rules by which the block was executed.
    pub profile: ChainProfile,
    /// Name of the hardfork, as `revm` spells its `SpecId`.
    pub hardfork: String,
    /// EIP-7892 blob base fee update fraction in force, where the block has blobs.
    pub blob_base_fee_update_fraction: Option<u64>,
    /// Accounts before the block.
    pub accounts: BTreeMap<Address, WitnessAccount>,
    /// Contract code by its hash.
    pub codes: BTreeMap<B256, Bytes>,
    /// Ancestor hashes that the block reads (`BLOCKHASH`).
    pub block_hashes: BTreeMap<u64, B256>,
}

/// One account before the block.
#[derive(Debug, Clone, Default)]
pub struct WitnessAccount {
    /// Balance in wei.
    pub balance_wei: U256,
    /// Nonce.
    pub nonce: u64,
    /// Hash of the code; `None` for an account without code.
    pub code_hash: Option<B256>,
    /// Slots that the block touches.
    pub storage: BTreeMap<U256, U256>,
}

/// How far a chain departs from Ethereum's execution rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainProfile {
    /// Ethereum's own rules, fees included.
    #[default]
    Ethereum,
    /// OP stack: deposits, fees for layer 1 and for the operator, and precompiled contracts of its own.
    Optimism,
    /// Scroll executed as plain EVM: fixed fee recipient, the data fee of L1 is not charged.
    Scroll,
    /// Linea executed as plain EVM, fee checks off.
    Linea,
}
