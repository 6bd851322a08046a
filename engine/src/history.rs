//! The recent past that simulations need: blocks as they were mined, and what their transactions did.
//!
//! In: every judged block. Out: honest transactions to replay, and the surroundings of an attack transaction. It is a
//! cache: losing it makes a simulation smaller, never wrong, and the simulation says how much it replayed.

use cordon_model::block::Block;
use cordon_model::execution::Execution;
use cordon_model::units::{BlockRef, TxRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most blocks kept. Half an hour of Ethereum: long enough to hold the beginning of an attack that is contained in
/// time, short enough to stay small.
pub const HISTORY_BLOCKS_MAX: usize = 150;

/// A judged block and what its relevant transactions did.
#[derive(Debug, Clone)]
pub struct Past {
    /// The block.
    pub block: Arc<Block>,
    /// Executions of those of its transactions that touched a protected contract.
    pub executions: Vec<Execution>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    blocks: BTreeMap<u64, Past>,
}

impl History {
    /// Takes a judged block, dropping the oldest beyond the bound.
    pub fn push(&mut self, past: Past) {
        self.blocks.insert(past.block.number, past);
        while self.blocks.len() > HISTORY_BLOCKS_MAX {
            self.blocks.pop_first();
        }
    }

    /// Takes back a block that left the chain.
    pub fn revert(&mut self, block: BlockRef) {
        if self.blocks.get(&block.number).is_some_and(|past| past.block.hash == block.hash) {
            self.blocks.remove(&block.number);
        }
    }

    /// A block by its reference, if it is still held.
    #[must_use]
    pub fn block(&self, block: BlockRef) -> Option<&Arc<Block>> {
        self.blocks.get(&block.number).map(|past| &past.block).filter(|held| held.hash == block.hash)
    }

    /// A block by number, if it is still held.
    #[must_use]
    pub fn at(&self, number: u64) -> Option<&Arc<Block>> {
        self.blocks.get(&number).map(|past| &past.block)
    }

    /// The newest block.
    #[must_use]
    pub fn head(&self) -> Option<&Arc<Block>> {
        self.blocks.last_key_value().map(|(_, past)| &past.block)
    }

    /// The execution of a transaction, if it is still held.
    #[must_use]
    pub fn execution(&self, tx: &TxRef) -> Option<&Execution> {
        let past = self.blocks.get(&tx.block.number)?;
        past.executions.iter().find(|execution| execution.tx == *tx)
    }

    /// The newest successful executions that touched a protected contract and are not among `suspects`, newest first,
    /// at most `limit`, and only those of blocks before `before`.
    #[must_use]
    pub fn honest(&self, suspects: &BTreeSet<TxRef>, before: u64, limit: usize) -> Vec<&Execution> {
        let older = self.blocks.range(..before).rev();
        let executions = older.flat_map(|(_, past)| past.executions.iter().rev());
        executions.filter(|e| e.status.is_success() && !suspects.contains(&e.tx)).take(limit).collect()
    }
}
