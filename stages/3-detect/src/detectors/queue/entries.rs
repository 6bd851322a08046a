//! What protected contracts queued in a transaction, whatever format they tell it in.
//!
//! In: logs of protected contracts, and readings of theirs. Out: entries in the order in which they were queued, each with its
//! calls, and what could not be read. Must never: believe a contract that is not protected, or keep more than its bounds without
//! saying so.

use super::{compound, delay, governor, timelock};
use crate::rehearsal::{CallFrom, Rehearsal};
use alloy_primitives::{Address, B256, Bytes, Selector, U256};
use alloy_sol_types::SolEvent;
use alloy_sol_types::abi::AbiDecoderConfig;
use cordon_model::execution::{Execution, Log, ViewCall};
use cordon_model::finding::sign::{Prospect, Queued, QueuedCall};
use cordon_model::plan::Call;
use cordon_model::protocol::Protocol;
use cordon_model::units::Due;

/// Most calls of one transaction's entries that are kept. Compound allows 10 in a proposal, and each costs an execution while a
/// block waits to be judged; an entry with more than this is a finding by itself.
const CALLS_MAX: usize = 256;

/// Most entries of one transaction that are kept; one that queues more is taken for one that is too long.
const ENTRIES_MAX: usize = 64;

/// Most memory that the data of a log may take when it is read: some times what a transaction of 128 KiB, the largest that nodes
/// pass on, can write into a log. Hostile offsets would otherwise make far more of it.
const DECODED_BYTES_MAX: usize = 1 << 20;

/// One of a queue's entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Protected contract that holds it.
    pub(super) queue: Address,
    /// Account from which its calls will be made.
    pub(super) executor: Address,
    /// Its name for people.
    pub(super) id: B256,
    /// What calls have in common that are executed together.
    pub(super) batch: B256,
    pub(super) due: Due,
    pub(super) calls: Vec<Action>,
    /// Module through which the executor is made to call; `None` where it calls by itself.
    pub(super) module: Option<Address>,
    /// True where not all calls were kept.
    pub(super) is_cut: bool,
}

/// One call of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) to: Address,
    pub(super) value_wei: U256,
    pub(super) input: Bytes,
    pub(super) delegate: bool,
}

impl Entry {
    /// An entry of one call that is made by the queue itself.
    pub(super) fn of_one(log: &Log, id: B256, due: Due, action: Action) -> Self {
        let (queue, calls) = (log.address, vec![action]);
        Self { queue, executor: queue, id, batch: id, due, calls, module: None, is_cut: false }
    }

    /// The calls as they will be made; none of those of an entry that is too long, since a part of it proves nothing.
    pub(super) fn rehearsal(&self) -> Rehearsal {
        let call = |action: &Action| match self.module {
            Some(module) => CallFrom { from: module, call: delay::call(self.executor, action) },
            None => {
                let (to, value_wei, data) = (Some(action.to), action.value_wei, action.input.clone());
                CallFrom { from: self.executor, call: Call { to, value_wei, data } }
            }
        };
        let calls = if self.is_cut { Vec::new() } else { self.calls.iter().map(call).collect() };
        Rehearsal { id: self.id, due: self.due, calls }
    }

    /// For the record.
    pub(super) fn with(self, prospect: Prospect) -> Queued {
        let call = |action: Action| QueuedCall {
            to: action.to,
            function: action.input.get(..4).and_then(|bytes| Selector::try_from(bytes).ok()),
            value_wei: action.value_wei,
            delegate: action.delegate,
        };
        let Self { queue, executor, id, due, calls, .. } = self;
        Queued { queue, executor, id, due, calls: calls.into_iter().map(call).collect(), prospect }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) list: Vec<Entry>,
    pub(super) gaps: Vec<String>,
    calls: usize,
}

impl Entries {
    pub(super) fn of(protocol: &Protocol, execution: &Execution) -> Self {
        let mut entries = Self::default();
        for (log, format) in telling(protocol, execution) {
            match format.read(log, execution) {
                Ok(entry) => entries.add(entry),
                // One is enough to know that something is not known.
                Err(why) if entries.gaps.is_empty() => {
                    entries.gaps.push(format!("an entry that {} queued cannot be read: {why}", log.address));
                }
                Err(_) => {}
            }
        }
        entries
    }

    /// Joins calls that are executed together.
    fn add(&mut self, mut new: Entry) {
        let room = CALLS_MAX.saturating_sub(self.calls);
        if new.calls.len() > room {
            new.calls.truncate(room);
            new.is_cut = true;
        }
        self.calls = self.calls.saturating_add(new.calls.len());
        let is_full = self.list.len() == ENTRIES_MAX;
        let same = |known: &&mut Entry| (known.queue, known.batch) == (new.queue, new.batch);
        match self.list.iter_mut().find(same) {
            Some(known) => {
                known.calls.append(&mut new.calls);
                known.due = known.due.max(new.due);
                known.is_cut |= new.is_cut;
            }
            None if is_full => self.list.iter_mut().skip(ENTRIES_MAX - 1).for_each(|last| last.is_cut = true),
            None => self.list.push(new),
        }
    }
}

/// Readings without which an entry cannot be tried.
pub(super) fn views(protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
    let mut calls: Vec<ViewCall> = Vec::new();
    for (log, format) in telling(protocol, execution) {
        for call in format.views(log.address) {
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
    }
    calls
}

/// A way to tell of an entry.
#[derive(Debug, Clone, Copy)]
enum Format {
    Timelock,
    Compound,
    Governor,
    Delay,
}

impl Format {
    fn of(log: &Log) -> Option<Self> {
        let topic = log.topics.first()?;
        let formats = [
            (timelock::CallScheduled::SIGNATURE_HASH, Self::Timelock),
            (compound::QueueTransaction::SIGNATURE_HASH, Self::Compound),
            (governor::ProposalCreated::SIGNATURE_HASH, Self::Governor),
            (delay::TransactionAdded::SIGNATURE_HASH, Self::Delay),
        ];
        formats.into_iter().find(|(signature, _)| signature == topic).map(|(_, format)| format)
    }

    fn read(self, log: &Log, execution: &Execution) -> Result<Entry, String> {
        match self {
            Self::Timelock => timelock::read(log, execution),
            Self::Compound => compound::read(log),
            Self::Governor => governor::read(log, execution),
            Self::Delay => delay::read(log, execution),
        }
    }

    fn views(self, queue: Address) -> Vec<ViewCall> {
        match self {
            Self::Timelock | Self::Compound => Vec::new(),
            Self::Governor => vec![governor::timelock(queue)],
            Self::Delay => vec![delay::target(queue), delay::cooldown(queue)],
        }
    }
}

/// Logs of protected contracts that tell of an entry.
fn telling<'a>(
    protocol: &'a Protocol,
    execution: &'a Execution,
) -> impl Iterator<Item = (&'a Log, Format)> + use<'a> {
    let told = execution.logs.iter().filter_map(|log| Some((log, Format::of(log)?)));
    told.filter(|(log, _)| protocol.protects(log.address))
}

/// The event that a log holds.
pub(super) fn decoded<E: SolEvent>(log: &Log) -> Result<E, String> {
    let config = AbiDecoderConfig::new().memory_limit(DECODED_BYTES_MAX);
    let topics = log.topics.iter().copied();
    E::decode_raw_log_with_config(topics, &log.data, config).map_err(|error| error.to_string())
}

/// A time that a contract may have written in more bits than time has.
pub(super) fn seconds(word: U256) -> u64 {
    u64::try_from(word).unwrap_or(u64::MAX)
}

/// What a contract says without arguments, after the transaction; `None` where it does not answer.
pub(super) fn answer(execution: &Execution, call: &ViewCall) -> Option<U256> {
    cordon_model::execution::word(execution.view(call)?.after.as_ref()?)
}
