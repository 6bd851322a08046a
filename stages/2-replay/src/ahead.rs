//! Reading a block's state before the block needs it.
//!
//! In: a block, what is known of its parent's state, what blocks before it read. Out: nothing but a fuller memory of
//! the node's state, and the count of what it took. Must never: decide what a block did. Guesses choose which
//! questions to ask; every answer that an execution is made of comes from the node.

mod history;
mod speculate;

pub(crate) use history::History;

use crate::op_stack::VAULTS;
use crate::protocol::protocol_contracts;
use crate::rules::BlockRules;
use crate::state::{Source, Wanted};
use alloy_primitives::map::HashSet;
use alloy_primitives::{Address, U256};
use cordon_model::block::Block;
use speculate::Speculation;
use std::sync::{Mutex, PoisonError};

/// Values that are read ahead for one block; the rest is read when it is needed. A block of 60 million gas can touch
/// 28,571 slots at 2,100 gas each.
const MAX_READ_AHEAD: usize = 32_768;
/// Rounds of guessing per block, each of which runs only what had to guess in the last one. A round is one round trip and
/// learns at least one value, so it is never dearer for the node than the read that it saves. Four mainnet blocks of 2024
/// to 2026 with 701 to 1,591 values took 22 to 50 round trips; a walk along a list of pointers takes one a step, and what is
/// left of it after the last round is read singly.
const MAX_ROUNDS: usize = 64;

/// How much of a block's state is read before the block runs. Results are the same in every case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadAhead {
    /// Nothing: every value is read at the moment at which the EVM asks for it.
    Off,
    /// What the block itself names: senders, receivers, access lists, withdrawals.
    Named,
    /// The same, what earlier transactions of the same kind read, and what runs of the block on guesses find missing.
    #[default]
    Guessed,
}

/// Reads ahead what the transactions of a block, and the protocol itself, are going to read from `source`. A failure
/// ends it and nothing else: the read that needs the value reports it.
pub(crate) fn read_ahead(
    source: &Source,
    block: &Block,
    rules: &BlockRules,
    depth: ReadAhead,
    history: &Mutex<History>,
) {
    let Some(node) = source.node() else { return };
    if depth == ReadAhead::Off {
        return;
    }
    let mut left = MAX_READ_AHEAD;
    // How many values were learned; `None` where the node does not answer.
    let mut fetch = |wanted: Wanted| {
        let wanted = unknown(source, wanted, left);
        left = left.saturating_sub(wanted.len());
        if wanted.len() == 0 {
            return Some(0);
        }
        node.fetch(&wanted).inspect_err(|error| tracing::debug!(%error, "reading ahead ended")).ok()
    };
    let mut wanted = named(block, rules);
    if depth == ReadAhead::Guessed {
        let history = history.lock().unwrap_or_else(PoisonError::into_inner);
        block.transactions.iter().for_each(|transaction| history.recall(transaction, &mut wanted));
    }
    if fetch(wanted).is_none() || depth == ReadAhead::Named {
        return;
    }
    let mut guess = Speculation::new(source, block, rules);
    let mut all = true;
    for _ in 0..MAX_ROUNDS {
        node.note_round();
        let missing = guess.round(all);
        let is_complete = missing.len() == 0;
        if is_complete && all {
            break;
        }
        // A node that refuses what is missing, or a bound that is used up, makes further rounds useless.
        if !is_complete && fetch(missing).is_none_or(|learned| learned == 0) {
            break;
        }
        // What a transaction did not have to guess may still change with what another one turned out to do.
        all = is_complete;
    }
    let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
    for (transaction, touched) in guess.touched() {
        history.learn(transaction, touched);
    }
}

/// What the block names.
fn named(block: &Block, rules: &BlockRules) -> Wanted {
    let mut wanted = Wanted::default();
    wanted.accounts.insert(block.beneficiary);
    wanted.accounts.extend(block.withdrawals.iter().map(|withdrawal| withdrawal.address));
    wanted.accounts.extend(protocol_contracts(block, rules));
    wanted.accounts.extend(rules.op_fork.into_iter().flat_map(|_| VAULTS));
    for transaction in &block.transactions {
        wanted.accounts.insert(transaction.from);
        wanted.accounts.insert(transaction.to.unwrap_or_else(|| transaction.from.create(transaction.nonce)));
        wanted.accounts.extend(transaction.authorizations.iter().map(|signed| signed.address));
        for entry in &transaction.access_list {
            wanted.accounts.insert(entry.address);
            let slots = entry.storage_keys.iter().map(|key| (entry.address, U256::from_be_bytes(key.0)));
            wanted.slots.extend(slots);
        }
    }
    wanted
}

/// What of it is not known yet, as far as the bound allows.
fn unknown(source: &Source, wanted: Wanted, limit: usize) -> Wanted {
    let is_new = |address: &Address| source.known_account(*address).is_none();
    let mut accounts = wanted.accounts;
    accounts.retain(is_new);
    let mut slots = wanted.slots;
    slots.retain(|(address, slot)| source.known_slot(*address, *slot).is_none());
    let mut hashes = wanted.hashes;
    hashes.retain(|number| source.known_block_hash(*number).is_none());
    let accounts: HashSet<Address> = accounts.into_iter().take(limit).collect();
    let left = limit.saturating_sub(accounts.len());
    Wanted { accounts, slots: slots.into_iter().take(left).collect(), hashes }
}
