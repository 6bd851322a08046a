//! Reading the state of a block, or of a transaction that is tried, before it is needed.
//!
//! In: transactions, what is known of the state below them, what others of their kind read. Out: nothing but a fuller memory of
//! the node's state, and the count of what it took. Must never: decide what a block did. Guesses choose which
//! questions to ask; every answer that an execution is made of comes from the node.

mod history;
mod speculate;

pub(crate) use history::Habits;

use crate::op_stack::VAULTS;
use crate::protocol::protocol_contracts;
use crate::rules::BlockRules;
use crate::state::{Db, NodeState, Source, Wanted, freeze};
use alloy_primitives::map::HashSet;
use alloy_primitives::{Address, U256};
use cordon_model::block::{Block, Transaction};
use revm::context::BlockEnv;
use speculate::Speculation;

/// Values that are read ahead for one block; the rest is read when it is needed. A block of 60 million gas can touch
/// 28,571 slots at 2,100 gas each.
const MAX_READ_AHEAD: usize = 32_768;
/// Rounds of guessing per block, each of which runs only what had to guess in the last one. A round is one round trip and
/// learns at least one value, so it is never dearer for the node than the read that it saves. Four mainnet blocks of 2024
/// to 2026 with 701 to 1,591 values took 22 to 50 round trips; a walk along a list of pointers takes one a step, and what is
/// left of it after the last round is read singly.
const MAX_ROUNDS: usize = 64;

/// How much of the state of a block, or of a transaction on a fork, is read before it runs. Results are the same in every case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadAhead {
    /// Nothing: every value is read at the moment at which the EVM asks for it.
    Off,
    /// What the block or the transaction itself names: senders, receivers, access lists, withdrawals.
    Named,
    /// The same, what earlier transactions of the same kind read, and what runs on guesses find missing.
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
    habits: &Habits,
) {
    let Some(mut reader) = Reader::of(source, depth) else { return };
    let mut wanted = named(block, rules);
    if depth == ReadAhead::Guessed {
        let mined = habits.mined();
        block.transactions.iter().for_each(|transaction| mined.recall(transaction, &mut wanted));
    }
    if reader.fetch(wanted).is_none() || depth == ReadAhead::Named {
        return;
    }
    let mut guess = Speculation::of_block(source, block, rules);
    let mut all = true;
    for _ in 0..MAX_ROUNDS {
        reader.node.note_round();
        let missing = guess.round(all);
        let is_complete = missing.len() == 0;
        if is_complete && all {
            break;
        }
        // A node that refuses what is missing, or a bound that is used up, makes further rounds useless.
        if !is_complete && reader.fetch(missing).is_none_or(|learned| learned == 0) {
            break;
        }
        // What a transaction did not have to guess may still change with what another one turned out to do.
        all = is_complete;
    }
    let mut mined = habits.mined();
    for (transaction, touched) in guess.touched() {
        mined.learn(transaction, touched);
    }
}

/// Reads ahead for transactions that are tried on a fork.
#[derive(Debug, Clone, Default)]
pub(crate) struct Foresight {
    pub(crate) depth: ReadAhead,
    pub(crate) habits: Habits,
}

impl Foresight {
    /// Reads ahead what one transaction is going to read that is tried on a state. What it names, what others of its kind
    /// read and what a first run on guesses finds missing are asked for together, so that an ordinary transaction waits for
    /// the node once, and one whose state is known not at all. A failure ends it and nothing else.
    pub(crate) fn read_ahead(
        &self,
        db: &mut Db,
        env: &BlockEnv,
        rules: &BlockRules,
        transaction: &Transaction,
    ) {
        if Reader::of(&db.db, self.depth).is_none() {
            return;
        }
        // What was done on the fork so far is part of what is known.
        let source = freeze(db);
        let Some(mut reader) = Reader::of(&source, self.depth) else { return };
        let mut wanted = Wanted::default();
        name(transaction, &mut wanted);
        if self.depth == ReadAhead::Named {
            reader.fetch(wanted);
            return;
        }
        self.habits.mined().recall(transaction, &mut wanted);
        self.habits.tried().recall(transaction, &mut wanted);
        let mut guess = Speculation::of_transaction(&source, env.clone(), rules, transaction);
        for _ in 0..MAX_ROUNDS {
            reader.node.note_round();
            wanted.add(guess.round(true));
            if reader.fetch(std::mem::take(&mut wanted)).is_none_or(|learned| learned == 0) {
                return;
            }
        }
    }

    /// Notes what a transaction, and the questions asked about it, touched since [`Self::read_ahead`].
    pub(crate) fn learn(&self, db: &Db, transaction: &Transaction) {
        if self.depth != ReadAhead::Guessed || db.db.node().is_none() {
            return;
        }
        let touched = db.cache.accounts.iter().flat_map(|(address, account)| {
            let slots = account.storage.keys().map(|slot| (*address, Some(*slot)));
            std::iter::once((*address, None)).chain(slots)
        });
        self.habits.tried().learn(transaction, touched.collect());
    }
}

/// Asks a node for what is wanted and not known, within a bound.
#[derive(Debug)]
struct Reader<'a> {
    source: &'a Source,
    node: &'a NodeState,
    left: usize,
}

impl<'a> Reader<'a> {
    /// `None` where nothing is to be read.
    fn of(source: &'a Source, depth: ReadAhead) -> Option<Self> {
        let node = source.node().filter(|_| depth != ReadAhead::Off)?;
        Some(Self { source, node, left: MAX_READ_AHEAD })
    }

    /// How many values were learned; `None` where the node does not answer.
    fn fetch(&mut self, wanted: Wanted) -> Option<usize> {
        let wanted = unknown(self.source, wanted, self.left);
        self.left = self.left.saturating_sub(wanted.len());
        if wanted.len() == 0 {
            return Some(0);
        }
        self.node.fetch(&wanted).inspect_err(|error| tracing::debug!(%error, "reading ahead ended")).ok()
    }
}

/// What the block names.
fn named(block: &Block, rules: &BlockRules) -> Wanted {
    let mut wanted = Wanted::default();
    wanted.accounts.insert(block.beneficiary);
    wanted.accounts.extend(block.withdrawals.iter().map(|withdrawal| withdrawal.address));
    wanted.accounts.extend(protocol_contracts(block, rules));
    wanted.accounts.extend(rules.op_fork.into_iter().flat_map(|_| VAULTS));
    block.transactions.iter().for_each(|transaction| name(transaction, &mut wanted));
    wanted
}

/// Adds what a transaction names.
fn name(transaction: &Transaction, wanted: &mut Wanted) {
    wanted.accounts.insert(transaction.from);
    wanted.accounts.insert(transaction.to.unwrap_or_else(|| transaction.from.create(transaction.nonce)));
    wanted.accounts.extend(transaction.authorizations.iter().map(|signed| signed.address));
    for entry in &transaction.access_list {
        wanted.accounts.insert(entry.address);
        let slots = entry.storage_keys.iter().map(|key| (entry.address, U256::from_be_bytes(key.0)));
        wanted.slots.extend(slots);
    }
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
