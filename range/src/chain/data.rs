//! The data of one chain behind its lock: blocks, indices, pool. Pure bookkeeping; it never waits and never does I/O.

use std::collections::BTreeMap;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::transaction::SignerRecoverable as _;
use alloy_consensus::{Transaction as _, TxEnvelope, Typed2718 as _};
use alloy_eips::{BlockId, BlockNumberOrTag, Decodable2718 as _};
use alloy_primitives::{Address, B256};

use super::config::ChainConfig;
use super::error::{ChainError, TxRejection};
use super::execute::{self, Rules};
use super::mempool::Mempool;
use super::seal::{self, SealedBlock};
use super::world::World;

/// EIP-2718 type of blob transactions.
const BLOB_TX_TYPE: u8 = 3;
/// How far back the `BLOCKHASH` instruction sees.
const BLOCKHASH_DEPTH: u64 = 256;

/// Everything a chain consists of. Blocks stand at the index of their number.
#[derive(Debug)]
pub(crate) struct ChainData {
    pub(crate) config: ChainConfig,
    blocks: Vec<SealedBlock>,
    number_by_hash: BTreeMap<B256, u64>,
    tx_places: BTreeMap<B256, (u64, usize)>,
    pub(crate) pool: Mempool,
    /// How many reorganisations there were; salts the headers that follow.
    pub(crate) reorgs: u64,
    /// Seconds by which later blocks stand after the regular pace.
    pub(crate) skipped_s: u64,
}

impl ChainData {
    pub(crate) fn new(config: ChainConfig) -> Self {
        let genesis = SealedBlock::genesis(&config, World::default());
        Self {
            number_by_hash: BTreeMap::from([(genesis.hash(), 0)]),
            blocks: vec![genesis],
            config,
            tx_places: BTreeMap::new(),
            pool: Mempool::default(),
            reorgs: 0,
            skipped_s: 0,
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules { chain_id: self.config.chain_id, fork: self.config.fork }
    }

    pub(crate) fn head(&self) -> &SealedBlock {
        self.blocks.last().expect("the genesis block is never dropped")
    }

    pub(crate) fn head_world(&self) -> &World {
        self.head().world.as_ref().expect("the state of the head block is always retained")
    }

    pub(crate) fn block(&self, number: u64) -> Option<&SealedBlock> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn block_by_hash(&self, hash: B256) -> Option<&SealedBlock> {
        self.block(*self.number_by_hash.get(&hash)?)
    }

    /// The number a tag stands for. `pending` is read as `latest`.
    pub(crate) fn resolve(&self, tag: BlockNumberOrTag) -> u64 {
        let head = self.head().number();
        match tag {
            BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => head,
            BlockNumberOrTag::Safe => head.saturating_sub(self.config.safe_lag_blocks),
            BlockNumberOrTag::Finalized => head.saturating_sub(self.config.finalized_lag_blocks),
            BlockNumberOrTag::Earliest => 0,
            BlockNumberOrTag::Number(number) => number,
        }
    }

    pub(crate) fn block_at(&self, id: BlockId) -> Option<&SealedBlock> {
        match id {
            BlockId::Hash(hash) => self.block_by_hash(hash.block_hash),
            BlockId::Number(tag) => self.block(self.resolve(tag)),
        }
    }

    /// Block and index of a mined transaction.
    pub(crate) fn tx_place(&self, hash: B256) -> Option<(&SealedBlock, usize)> {
        let (number, index) = self.tx_places.get(&hash)?;
        Some((self.block(*number)?, *index))
    }

    /// The newest blocks, at most `count`, newest first.
    pub(crate) fn newest(&self, count: usize) -> impl Iterator<Item = &SealedBlock> {
        self.blocks.iter().rev().take(count)
    }

    /// Hashes of the blocks that the instruction `BLOCKHASH` sees from block `number`.
    pub(crate) fn recent_hashes(&self, number: u64) -> BTreeMap<u64, B256> {
        let first = number.saturating_sub(BLOCKHASH_DEPTH);
        (first..number).filter_map(|at| self.block(at).map(|block| (at, block.hash()))).collect()
    }

    /// The nonce a new transaction of `sender` gets.
    pub(crate) fn pending_nonce(&self, sender: Address) -> u64 {
        self.pool.next_free_nonce(sender, self.head_world().nonce(sender))
    }

    /// Changes the head's state from outside. While the chain has only its genesis block the change becomes part of
    /// that block; later it is an edit that the next block's state root covers.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut World)) {
        let mut world = self.head_world().clone();
        change(&mut world);
        let is_genesis = self.blocks.len() == 1;
        let head = self.blocks.last_mut().expect("the genesis block is never dropped");
        if is_genesis {
            self.number_by_hash.remove(&head.hash());
            *head = SealedBlock::genesis(&self.config, world);
            self.number_by_hash.insert(head.hash(), 0);
        } else {
            head.world = Some(world);
        }
    }

    /// Mines one block.
    pub(crate) fn mine(&mut self) -> &SealedBlock {
        let block = seal::mine(self);
        self.number_by_hash.insert(block.hash(), block.number());
        for (index, tx) in block.txs.iter().enumerate() {
            self.tx_places.insert(*tx.inner().tx_hash(), (block.number(), index));
        }
        self.blocks.push(block);
        let retained = self.config.retained_states.max(1);
        if let Some(index) = self.blocks.len().checked_sub(retained + 1)
            && let Some(old) = self.blocks.get_mut(index)
        {
            old.world = None;
        }
        self.head()
    }

    /// Drops the newest `depth` blocks with their transactions.
    pub(crate) fn reorg(&mut self, depth: u64) -> Result<(), ChainError> {
        let head = self.head().number();
        if depth == 0 || depth > head {
            return Err(ChainError::ReorgDepth { depth, head });
        }
        let ancestor = head - depth;
        if self.block(ancestor).is_none_or(|block| block.world.is_none()) {
            return Err(ChainError::StatePruned { number: ancestor, retained: self.config.retained_states });
        }
        while self.head().number() > ancestor {
            if let Some(dropped) = self.blocks.pop() {
                self.number_by_hash.remove(&dropped.hash());
                for tx in &dropped.txs {
                    self.tx_places.remove(tx.inner().tx_hash());
                }
            }
        }
        self.reorgs += 1;
        Ok(())
    }

    /// Decodes a signed transaction, recovers its sender and takes it into the pool.
    pub(crate) fn submit_raw(&mut self, mut bytes: &[u8]) -> Result<B256, TxRejection> {
        let tx = TxEnvelope::decode_2718(&mut bytes)
            .map_err(|error| TxRejection::Undecodable { reason: error.to_string() })?;
        if !bytes.is_empty() {
            return Err(TxRejection::Undecodable {
                reason: format!("{} bytes follow the transaction", bytes.len()),
            });
        }
        let sender = tx.recover_signer().map_err(|_| TxRejection::InvalidSignature)?;
        self.submit(Recovered::new_unchecked(tx, sender))
    }

    /// Takes a transaction with a known sender into the pool.
    pub(crate) fn submit(&mut self, tx: Recovered<TxEnvelope>) -> Result<B256, TxRejection> {
        let hash = *tx.inner().tx_hash();
        if self.tx_places.contains_key(&hash) {
            return Err(TxRejection::AlreadyKnown { hash });
        }
        self.check(tx.inner(), tx.signer())?;
        let balance_wei = self.head_world().balance_wei(tx.signer());
        self.pool.insert(tx, balance_wei)
    }

    /// The checks that need no look at what waits already.
    fn check(&self, tx: &TxEnvelope, sender: Address) -> Result<(), TxRejection> {
        if tx.ty() == BLOB_TX_TYPE {
            return Err(TxRejection::UnsupportedType { tx_type: tx.ty() });
        }
        if tx.chain_id() != Some(self.config.chain_id) {
            return Err(TxRejection::WrongChain { have: tx.chain_id(), want: self.config.chain_id });
        }
        let gas_limit = tx.gas_limit();
        if gas_limit > self.config.gas_limit {
            return Err(TxRejection::AboveBlockGasLimit {
                gas_limit,
                block_gas_limit: self.config.gas_limit,
            });
        }
        if let Some(cap) = self.rules().tx_gas_cap().filter(|cap| gas_limit > *cap) {
            return Err(TxRejection::AboveGasCap { cap, gas_limit });
        }
        let (max_fee_wei, priority_fee_wei) =
            (tx.max_fee_per_gas(), tx.max_priority_fee_per_gas().unwrap_or_default());
        if priority_fee_wei > max_fee_wei {
            return Err(TxRejection::TipAboveCap { priority_fee_wei, max_fee_wei });
        }
        let needed = self.rules().min_gas(&execute::tx_env(tx, sender));
        if gas_limit < needed {
            return Err(TxRejection::IntrinsicGas { gas_limit, needed });
        }
        let world = self.head_world();
        if !world.may_send(sender) {
            return Err(TxRejection::SenderHasCode { sender });
        }
        let next = world.nonce(sender);
        match tx.nonce() {
            u64::MAX => Err(TxRejection::NonceMax { tx: u64::MAX }),
            nonce if nonce < next => Err(TxRejection::NonceTooLow { next, tx: nonce }),
            _ => Ok(()),
        }
    }
}
