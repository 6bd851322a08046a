//! Transactions that wait for a block. In goes a transaction with its sender and the account's standing, out come an
//! admission or a refusal, and later the order in which a block builder takes them.
//!
//! A waiting transaction is never lost without a reason on record.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_primitives::{Address, B256, U256};

use super::error::TxRejection;

/// Most transactions that wait at once: geth's default of 5,120 pending plus 1,024 queued, rounded down.
const MAX_POOL_TXS: usize = 6_000;
/// How many reasons of dropped transactions are remembered, oldest forgotten first.
const MAX_DROP_REASONS: usize = 1_024;
/// How much higher both fees of a replacement must be, in percent: geth's `txpool.pricebump` default.
const PRICE_BUMP_PERCENT: u128 = 10;

/// One waiting transaction.
#[derive(Debug, Clone)]
pub(crate) struct PoolTx {
    pub(crate) tx: Recovered<TxEnvelope>,
    /// Order of arrival; breaks ties between equal tips.
    arrival: u64,
}

impl PoolTx {
    pub(crate) fn hash(&self) -> B256 {
        *self.tx.inner().tx_hash()
    }

    /// The most this transaction can take from the sender's balance, wei.
    fn worst_cost_wei(&self) -> U256 {
        worst_cost_wei(self.tx.inner())
    }
}

/// Gas limit times fee cap, plus value, wei. Saturates, as nobody owns that much.
pub(crate) fn worst_cost_wei(tx: &TxEnvelope) -> U256 {
    U256::from(tx.gas_limit()).saturating_mul(U256::from(tx.max_fee_per_gas())).saturating_add(tx.value())
}

/// All waiting transactions, by sender and nonce.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mempool {
    by_sender: BTreeMap<Address, BTreeMap<u64, PoolTx>>,
    by_hash: BTreeMap<B256, (Address, u64)>,
    arrivals: u64,
    dropped: VecDeque<(B256, TxRejection)>,
}

impl Mempool {
    pub(crate) fn get(&self, hash: B256) -> Option<&PoolTx> {
        let (sender, nonce) = self.by_hash.get(&hash)?;
        self.by_sender.get(sender)?.get(nonce)
    }

    /// Why a transaction left the pool without being mined, as long as that is remembered.
    pub(crate) fn drop_reason(&self, hash: B256) -> Option<&TxRejection> {
        self.dropped.iter().rev().find(|(dropped, _)| *dropped == hash).map(|(_, reason)| reason)
    }

    /// First nonce from `next` on that no waiting transaction of `sender` uses.
    pub(crate) fn next_free_nonce(&self, sender: Address, next: u64) -> u64 {
        let mut free = next;
        if let Some(waiting) = self.by_sender.get(&sender) {
            while waiting.contains_key(&free) {
                free += 1;
            }
        }
        free
    }

    /// Takes a transaction in. `balance_wei` is the sender's balance at the head; checks that need nothing from the
    /// pool have been made by the caller.
    pub(crate) fn insert(
        &mut self,
        tx: Recovered<TxEnvelope>,
        balance_wei: U256,
    ) -> Result<B256, TxRejection> {
        let (sender, nonce) = (tx.signer(), tx.inner().nonce());
        let hash = *tx.inner().tx_hash();
        if self.by_hash.contains_key(&hash) {
            return Err(TxRejection::AlreadyKnown { hash });
        }
        let waiting = self.by_sender.get(&sender);
        let queued_wei = waiting.map_or(U256::ZERO, |txs| {
            txs.iter()
                .filter(|(other, _)| **other != nonce)
                .fold(U256::ZERO, |sum, (_, other)| sum.saturating_add(other.worst_cost_wei()))
        });
        let cost_wei = worst_cost_wei(tx.inner());
        if cost_wei.saturating_add(queued_wei) > balance_wei {
            return Err(TxRejection::InsufficientFunds { balance_wei, queued_wei, cost_wei });
        }
        let replaced =
            waiting.and_then(|txs| txs.get(&nonce)).map(|old| check_bump(old, tx.inner())).transpose()?;
        if replaced.is_none() && self.by_hash.len() >= MAX_POOL_TXS {
            return Err(TxRejection::PoolFull { limit: MAX_POOL_TXS });
        }
        if let Some(old) = replaced {
            self.drop_with(old, TxRejection::Replaced { by: hash });
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.by_hash.insert(hash, (sender, nonce));
        self.by_sender.entry(sender).or_default().insert(nonce, PoolTx { tx, arrival });
        Ok(hash)
    }

    /// Removes a transaction that was mined.
    pub(crate) fn remove(&mut self, hash: B256) -> Option<PoolTx> {
        let (sender, nonce) = self.by_hash.remove(&hash)?;
        let waiting = self.by_sender.get_mut(&sender)?;
        let removed = waiting.remove(&nonce);
        if waiting.is_empty() {
            self.by_sender.remove(&sender);
        }
        removed
    }

    /// Removes a transaction that can not be mined and remembers why.
    pub(crate) fn drop_with(&mut self, hash: B256, reason: TxRejection) {
        if self.remove(hash).is_some() {
            if self.dropped.len() >= MAX_DROP_REASONS {
                self.dropped.pop_front();
            }
            self.dropped.push_back((hash, reason));
        }
    }

    /// Transactions whose nonce the head has used up already.
    pub(crate) fn stale(&self, next_nonce: impl Fn(Address) -> u64) -> Vec<(B256, TxRejection)> {
        let mut stale = Vec::new();
        for (sender, waiting) in &self.by_sender {
            let next = next_nonce(*sender);
            for (nonce, tx) in waiting.range(..next) {
                stale.push((tx.hash(), TxRejection::NonceTooLow { next, tx: *nonce }));
            }
        }
        stale
    }

    /// The transaction a block builder takes next: of those whose turn it is in their sender's nonce order and that
    /// pay `base_fee_wei`, the one with the highest tip, the earliest first among equals. `skip` names senders whose
    /// next transaction does not fit into the block.
    pub(crate) fn best(
        &self,
        base_fee_wei: u64,
        next_nonce: impl Fn(Address) -> u64,
        skip: &[Address],
    ) -> Option<&PoolTx> {
        self.by_sender
            .iter()
            .filter(|(sender, _)| !skip.contains(sender))
            .filter_map(|(sender, waiting)| waiting.get(&next_nonce(*sender)))
            .filter_map(|tx| tx.tx.inner().effective_tip_per_gas(base_fee_wei).map(|tip_wei| (tip_wei, tx)))
            .max_by_key(|(tip_wei, tx)| (*tip_wei, Reverse(tx.arrival)))
            .map(|(_, tx)| tx)
    }

    /// All waiting transactions in order of arrival.
    pub(crate) fn by_arrival(&self) -> Vec<&PoolTx> {
        let mut all: Vec<&PoolTx> = self.by_sender.values().flat_map(BTreeMap::values).collect();
        all.sort_by_key(|tx| tx.arrival);
        all
    }
}

/// The hash of the old transaction if `new` pays enough more to take its place.
fn check_bump(old: &PoolTx, new: &TxEnvelope) -> Result<B256, TxRejection> {
    let bumped = |fee_wei: u128| fee_wei.saturating_mul(100 + PRICE_BUMP_PERCENT).div_ceil(100);
    let tip = |tx: &TxEnvelope| tx.max_priority_fee_per_gas().unwrap_or_else(|| tx.max_fee_per_gas());
    let need_max_fee_wei = bumped(old.tx.inner().max_fee_per_gas());
    let need_priority_fee_wei = bumped(tip(old.tx.inner()));
    if new.max_fee_per_gas() < need_max_fee_wei || tip(new) < need_priority_fee_wei {
        return Err(TxRejection::ReplacementUnderpriced { need_max_fee_wei, need_priority_fee_wei });
    }
    Ok(old.hash())
}
