//! Builds blocks: takes transactions from the pool, runs them, and seals header, transactions and receipts.
//!
//! In goes the chain's data, out comes one more [`SealedBlock`]. The contracts of EIP-4788, EIP-2935, EIP-7002 and
//! EIP-7251 are not deployed on a range chain, so the system calls of these EIPs meet empty accounts and change
//! nothing; a replayer that makes them gets the same state. Headers carry the fields of Prague all the same.

use std::collections::BTreeMap;

use alloy_consensus::constants::EMPTY_WITHDRAWALS;
use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::transaction::{Recovered, TransactionInfo};
use alloy_consensus::{
    Block, BlockBody, Header, Receipt, ReceiptEnvelope, Sealed, Transaction as _, TxEnvelope, TxReceipt as _,
};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_eips::eip4895::Withdrawals;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, Bloom, U256, keccak256};
use alloy_rlp::Encodable as _;
use alloy_rpc_types_eth::{
    Header as RpcHeader, Log as RpcLog, Transaction as RpcTransaction, TransactionReceipt,
};

use super::config::ChainConfig;
use super::data::ChainData;
use super::error::TxRejection;
use super::execute::{self, End, Mode, Outcome, Rules};
use super::mempool::PoolTx;
use super::world::{View, World};

/// One finished block with everything that is asked about it.
#[derive(Debug, Clone)]
pub(crate) struct SealedBlock {
    pub(crate) header: RpcHeader,
    pub(crate) txs: Vec<Recovered<TxEnvelope>>,
    pub(crate) receipts: Vec<TransactionReceipt>,
    /// State after the block; `None` once it is older than the configured retention.
    pub(crate) world: Option<World>,
}

impl SealedBlock {
    pub(crate) fn number(&self) -> u64 {
        self.header.inner.number
    }

    pub(crate) fn hash(&self) -> B256 {
        self.header.hash
    }

    pub(crate) fn base_fee_wei(&self) -> u64 {
        self.header.inner.base_fee_per_gas.unwrap_or_default()
    }

    /// The transaction at `index` as JSON-RPC reports it, with the true sender.
    pub(crate) fn rpc_tx(&self, index: usize) -> Option<RpcTransaction> {
        let tx = self.txs.get(index)?.clone();
        let info = TransactionInfo {
            hash: Some(*tx.inner().tx_hash()),
            index: u64::try_from(index).ok(),
            block_hash: Some(self.hash()),
            block_number: Some(self.number()),
            base_fee: self.header.inner.base_fee_per_gas,
            block_timestamp: Some(self.header.inner.timestamp),
        };
        Some(RpcTransaction::from_transaction(tx, info))
    }

    /// Block 0 over `world`.
    pub(crate) fn genesis(config: &ChainConfig, mut world: World) -> Self {
        let header = Header {
            state_root: world.state_root(),
            gas_limit: config.gas_limit,
            timestamp: config.genesis_timestamp_s,
            beneficiary: config.beneficiary,
            base_fee_per_gas: Some(config.base_fee_wei),
            ..post_merge_header()
        };
        seal(header, Vec::new(), Vec::new(), world)
    }
}

fn post_merge_header() -> Header {
    Header {
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// The header of the block after the head, before any transaction ran.
pub(crate) fn next_header(data: &ChainData) -> Header {
    let config = &data.config;
    let parent = &data.head().header;
    let number = parent.inner.number + 1;
    let mut seed = [0_u8; 16];
    let (left, right) = seed.split_at_mut(8);
    left.copy_from_slice(&number.to_be_bytes());
    right.copy_from_slice(&data.reorgs.to_be_bytes());
    let base_fee_wei = BaseFeeParams::ethereum().next_block_base_fee(
        parent.inner.gas_used,
        parent.inner.gas_limit,
        parent.inner.base_fee_per_gas.unwrap_or_default(),
    );
    Header {
        parent_hash: parent.hash,
        number,
        gas_limit: config.gas_limit,
        timestamp: config
            .genesis_timestamp_s
            .saturating_add(number.saturating_mul(config.block_time_s))
            .saturating_add(data.skipped_s),
        beneficiary: config.beneficiary,
        base_fee_per_gas: Some(base_fee_wei),
        mix_hash: keccak256(seed),
        // The count of reorganisations gives a block that takes the place of a dropped one another hash.
        extra_data: format!("range/{}", data.reorgs).into_bytes().into(),
        ..post_merge_header()
    }
}

/// A block under construction.
struct Draft {
    header: Header,
    world: World,
    hashes: BTreeMap<u64, B256>,
    rules: Rules,
    txs: Vec<Recovered<TxEnvelope>>,
    receipts: Vec<ReceiptEnvelope>,
    gas_used: Vec<u64>,
}

impl Draft {
    fn gas_left(&self) -> u64 {
        self.header.gas_limit.saturating_sub(self.header.gas_used)
    }

    fn run(&self, tx: &PoolTx) -> Result<Outcome, execute::Invalid> {
        let env = execute::tx_env(tx.tx.inner(), tx.tx.signer());
        let view = View { world: &self.world, hashes: &self.hashes };
        execute::execute(view, self.rules, execute::block_env(&self.header, self.rules), env, Mode::Consensus)
    }

    fn push(&mut self, tx: Recovered<TxEnvelope>, outcome: Outcome) {
        self.world.commit(outcome.changes);
        self.header.gas_used = self.header.gas_used.saturating_add(outcome.gas_used);
        let receipt = Receipt {
            status: matches!(outcome.end, End::Success { .. }).into(),
            cumulative_gas_used: self.header.gas_used,
            logs: outcome.logs,
        };
        self.receipts.push(ReceiptEnvelope::from_typed(tx.inner().tx_type(), receipt.with_bloom()));
        self.gas_used.push(outcome.gas_used);
        self.txs.push(tx);
    }

    fn seal(mut self) -> SealedBlock {
        self.header.state_root = self.world.state_root();
        let bodies: Vec<TxEnvelope> = self.txs.iter().map(Recovered::clone_inner).collect();
        self.header.transactions_root = calculate_transaction_root(&bodies);
        self.header.receipts_root = calculate_receipt_root(&self.receipts);
        self.header.logs_bloom = self.receipts.iter().fold(Bloom::ZERO, |sum, receipt| sum | receipt.bloom());
        seal(self.header, self.txs, self.receipts.into_iter().zip(self.gas_used).collect(), self.world)
    }
}

fn seal(
    header: Header,
    txs: Vec<Recovered<TxEnvelope>>,
    receipts: Vec<(ReceiptEnvelope, u64)>,
    world: World,
) -> SealedBlock {
    let body = BlockBody {
        transactions: txs.iter().map(Recovered::clone_inner).collect(),
        ommers: Vec::new(),
        withdrawals: Some(Withdrawals::default()),
    };
    let size = U256::from(Block::new(header.clone(), body).length());
    let hash = header.hash_slow();
    let receipts = rpc_receipts(&header, hash, &txs, receipts);
    let header = RpcHeader::from_consensus(Sealed::new_unchecked(header, hash), None, Some(size));
    SealedBlock { header, txs, receipts, world: Some(world) }
}

fn rpc_receipts(
    header: &Header,
    block_hash: B256,
    txs: &[Recovered<TxEnvelope>],
    receipts: Vec<(ReceiptEnvelope, u64)>,
) -> Vec<TransactionReceipt> {
    let mut log_index = 0;
    let mut done = Vec::with_capacity(receipts.len());
    for ((tx, (receipt, gas_used)), index) in txs.iter().zip(receipts).zip(0_u64..) {
        let transaction_hash = *tx.inner().tx_hash();
        let inner = receipt.map_logs(|log| {
            let log = RpcLog {
                inner: log,
                block_hash: Some(block_hash),
                block_number: Some(header.number),
                block_timestamp: Some(header.timestamp),
                transaction_hash: Some(transaction_hash),
                transaction_index: Some(index),
                log_index: Some(log_index),
                removed: false,
            };
            log_index += 1;
            log
        });
        done.push(TransactionReceipt {
            inner,
            transaction_hash,
            transaction_index: Some(index),
            block_hash: Some(block_hash),
            block_number: Some(header.number),
            gas_used,
            effective_gas_price: tx.inner().effective_gas_price(header.base_fee_per_gas),
            blob_gas_used: None,
            blob_gas_price: None,
            from: tx.signer(),
            to: tx.inner().to(),
            contract_address: tx.inner().is_create().then(|| tx.signer().create(tx.inner().nonce())),
        });
    }
    done
}

/// Mines one block from the pool. Transactions that do not fit or do not pay the base fee stay; transactions that the
/// EVM refuses leave the pool with the reason on record.
pub(crate) fn mine(data: &mut ChainData) -> SealedBlock {
    let header = next_header(data);
    let mut draft = Draft {
        hashes: data.recent_hashes(header.number),
        world: data.head_world().clone(),
        rules: data.rules(),
        txs: Vec::new(),
        receipts: Vec::new(),
        gas_used: Vec::new(),
        header,
    };
    let base_fee_wei = draft.header.base_fee_per_gas.unwrap_or_default();
    for (hash, reason) in data.pool.stale(|sender| draft.world.nonce(sender)) {
        data.pool.drop_with(hash, reason);
    }
    let mut full_for: Vec<Address> = Vec::new();
    // Every turn removes a transaction from the pool or adds a sender to `full_for`, so the loop ends.
    while let Some(next) =
        data.pool.best(base_fee_wei, |sender| draft.world.nonce(sender), &full_for).cloned()
    {
        if next.tx.inner().gas_limit() > draft.gas_left() {
            full_for.push(next.tx.signer());
            continue;
        }
        match draft.run(&next) {
            Ok(outcome) => {
                data.pool.remove(next.hash());
                draft.push(next.tx, outcome);
            }
            Err(execute::Invalid(reason)) => {
                data.pool.drop_with(next.hash(), TxRejection::InvalidAtInclusion { reason });
            }
        }
    }
    draft.seal()
}
