//! The handle of a range chain and the direct API for scenario actors and tests.
//!
//! In go calls of actors, out come hashes, blocks and receipts. Actors need no keys: a transaction of
//! [`Chain::submit_as`] carries a signature that nobody could have made, and JSON-RPC reports the true sender.
//! Handles are cheap to clone and share one chain. The lock is held for one operation at a time and never across an
//! await.

pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod error;
mod execute;
mod mempool;
pub(crate) mod seal;
pub(crate) mod simulate;
pub(crate) mod world;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_consensus::transaction::{Recovered, TransactionInfo};
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy_provider::DynProvider;
use alloy_rpc_types_eth::{
    Transaction as RpcTransaction, TransactionInput, TransactionReceipt, TransactionRequest,
};

use self::config::{Call, ChainConfig};
use self::data::ChainData;
use self::error::{ChainError, TxRejection};
use self::simulate::SimulateError;
use crate::rpc::{self, RpcError};
use crate::transport::ChainTransport;

/// Number and hash of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Block number; the genesis block is 0.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
}

/// A small deterministic EVM chain in memory. Clones are handles of the same chain.
///
/// Blocks are mined only by [`Chain::mine`]. Every state of the newest `retained_states` blocks can be read.
#[derive(Clone)]
pub struct Chain {
    config: Arc<ChainConfig>,
    data: Arc<Mutex<ChainData>>,
    offline: Arc<AtomicBool>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The data stays out: printing must not take the lock.
        f.debug_struct("Chain").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new(ChainConfig::default())
    }
}

impl Chain {
    /// A new chain that consists of an empty genesis block.
    pub fn new(config: ChainConfig) -> Self {
        Self {
            data: Arc::new(Mutex::new(ChainData::new(config.clone()))),
            config: Arc::new(config),
            offline: Arc::default(),
        }
    }

    /// What the chain was made with.
    pub fn config(&self) -> &ChainConfig {
        &self.config
    }

    /// Runs `operation` under the lock. A lock that a panicking holder left poisoned is taken over: the panic is a
    /// defect that shows by itself, and the other handles need not fail along with it.
    pub(crate) fn with<T>(&self, operation: impl FnOnce(&mut ChainData) -> T) -> T {
        operation(&mut self.data.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds `amount_wei` to the balance of `address` at the head.
    ///
    /// On a chain without further blocks this is an allocation of the genesis block, whose hash changes. Later it is
    /// an edit of the head's state that no transaction explains and that the next block's state root covers; whoever
    /// carries a state of its own forward from block to block does not see it. So fund before the first block.
    pub fn fund(&self, address: Address, amount_wei: U256) {
        self.with(|data| data.edit(|world| world.add_balance(address, amount_wei)));
    }

    /// Places runtime `code` at `address`, with the same rules as [`Chain::fund`].
    pub fn set_code(&self, address: Address, code: impl Into<Bytes>) {
        let code = code.into();
        self.with(|data| data.edit(|world| world.set_code(address, code)));
    }

    /// Sets one storage slot of `address`, with the same rules as [`Chain::fund`]. The account must have code or
    /// balance, else the slot vanishes with the empty account.
    pub fn set_storage(&self, address: Address, slot: U256, value: U256) {
        self.with(|data| data.edit(|world| world.set_slot(address, slot, value)));
    }

    /// Hands in a transaction of `from` with the next free nonce and returns its hash. It waits for [`Chain::mine`].
    pub fn submit_as(&self, from: Address, call: Call) -> Result<B256, ChainError> {
        self.with(|data| {
            let nonce = data.pending_nonce(from);
            submit(data, from, nonce, call)
        })
    }

    /// Hands in a transaction of `from` with `nonce`; a used nonce that still waits is replaced if both fees are at
    /// least 10 % higher.
    pub fn submit_as_with_nonce(&self, from: Address, nonce: u64, call: Call) -> Result<B256, ChainError> {
        self.with(|data| submit(data, from, nonce, call))
    }

    /// Hands in the creation of a contract from `bytecode` and encoded constructor `args`; returns the address it
    /// will have once mined.
    pub fn deploy_as(
        &self,
        from: Address,
        bytecode: impl Into<Bytes>,
        args: &[u8],
    ) -> Result<Address, ChainError> {
        let creation_code = [bytecode.into().as_ref(), args].concat();
        self.with(|data| {
            let nonce = data.pending_nonce(from);
            submit(data, from, nonce, Call::create(creation_code))?;
            Ok(from.create(nonce))
        })
    }

    /// Mines one block from what waits: highest effective tip first, nonce order within a sender, earlier arrival
    /// first among equal tips. Transactions that do not fit or do not pay the base fee keep waiting.
    pub fn mine(&self) -> BlockRef {
        self.with(|data| block_ref(data.mine()))
    }

    /// Mines `count` blocks and returns the last one, or the head if `count` is zero.
    pub fn mine_many(&self, count: u64) -> BlockRef {
        for _ in 0..count {
            self.mine();
        }
        self.head()
    }

    /// Moves the timestamps of all later blocks by `seconds` into the future.
    pub fn skip_time(&self, seconds: u64) {
        self.with(|data| data.skipped_s = data.skipped_s.saturating_add(seconds));
    }

    /// Drops the newest `depth` blocks. Their transactions do not come back into the pool, waiting ones stay, and the
    /// blocks mined next have other hashes than the dropped ones even if they carry the same transactions.
    pub fn reorg(&self, depth: u64) -> Result<BlockRef, ChainError> {
        self.with(|data| {
            data.reorg(depth)?;
            Ok(block_ref(data.head()))
        })
    }

    /// Number and hash of the newest block.
    pub fn head(&self) -> BlockRef {
        self.with(|data| block_ref(data.head()))
    }

    /// Balance at the head, wei.
    pub fn balance(&self, address: Address) -> U256 {
        self.with(|data| data.head_world().balance_wei(address))
    }

    /// The nonce that the next transaction of `address` gets, waiting ones included.
    pub fn next_nonce(&self, address: Address) -> u64 {
        self.with(|data| data.pending_nonce(address))
    }

    /// Runs a read of `to` with `input` at the head, from the zero address, and returns its output.
    pub fn call(&self, to: Address, input: impl Into<Bytes>) -> Result<Bytes, ChainError> {
        let input = TransactionInput::new(input.into());
        let request =
            TransactionRequest { to: Some(TxKind::Call(to)), input, ..TransactionRequest::default() };
        self.with(|data| simulate::call(data, data.head(), &request)).map_err(|error| match error {
            SimulateError::Reverted(data) => ChainError::Reverted { data },
            other => ChainError::CallFailed { reason: other.to_string() },
        })
    }

    /// Receipt of a mined transaction.
    pub fn receipt(&self, hash: B256) -> Option<TransactionReceipt> {
        self.with(|data| {
            let (block, index) = data.tx_place(hash)?;
            block.receipts.get(index).cloned()
        })
    }

    /// Why a transaction left the pool without being mined. Only the newest reasons are remembered.
    pub fn drop_reason(&self, hash: B256) -> Option<TxRejection> {
        self.with(|data| data.pool.drop_reason(hash).cloned())
    }

    /// What waits for a block, in order of arrival.
    pub fn pending(&self) -> Vec<RpcTransaction> {
        self.with(|data| data.pool.by_arrival().into_iter().map(|tx| pending_tx(tx.tx.clone())).collect())
    }

    /// Makes every JSON-RPC request through every transport of this chain fail as if the node were unreachable.
    pub fn set_offline(&self, offline: bool) {
        self.offline.store(offline, Ordering::SeqCst);
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline.load(Ordering::SeqCst)
    }

    /// Answers one JSON-RPC method call as the transport does, without the faults of [`Chain::set_offline`].
    /// `params` is the JSON array of parameters, or null.
    pub fn rpc(&self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, RpcError> {
        self.with(|data| rpc::answer(data, method, params))
    }

    /// A transport of its own for this chain, with its own fault switch.
    pub fn transport(&self) -> ChainTransport {
        ChainTransport::new(self.clone())
    }

    /// A provider over a new transport: the same client code that talks to a node.
    pub fn provider(&self) -> DynProvider {
        self.transport().provider()
    }
}

fn block_ref(block: &seal::SealedBlock) -> BlockRef {
    BlockRef { number: block.number(), hash: block.hash() }
}

/// A waiting transaction as JSON-RPC reports it.
pub(crate) fn pending_tx(tx: Recovered<TxEnvelope>) -> RpcTransaction {
    RpcTransaction::from_transaction(tx, TransactionInfo::default())
}

fn submit(data: &mut ChainData, from: Address, nonce: u64, call: Call) -> Result<B256, ChainError> {
    let tx = TxEip1559 {
        chain_id: data.config.chain_id,
        nonce,
        gas_limit: call.gas_limit,
        max_fee_per_gas: call.max_fee_wei,
        max_priority_fee_per_gas: call.priority_fee_wei,
        to: call.to.map_or(TxKind::Create, TxKind::Call),
        value: call.value_wei,
        access_list: alloy_eips::eip2930::AccessList::default(),
        input: call.input,
    };
    // The sender goes into the signature, so equal calls of two actors have different hashes. The `s` of one makes the
    // signature easy to tell from a real one.
    let signature = Signature::new(U256::from_be_slice(from.as_slice()), U256::from(1), false);
    let tx = Recovered::new_unchecked(TxEnvelope::Eip1559(tx.into_signed(signature)), from);
    data.submit(tx).map_err(|source| ChainError::Rejected { sender: from, source: Box::new(source) })
}
