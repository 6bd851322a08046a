//! What a caller wants to know of the transactions that are replayed.
//!
//! In: questions to ask, addresses of interest, a level of detail. Out: the choice which executions are built. Must
//! never: pass over a transaction that had to do with a watched account, or that created code which will.

use crate::named::{names_any, names_any_traced};
use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, B256};
use cordon_model::block::Transaction;
use cordon_model::execution::{Detail, Execution, ViewCall};
use revm::primitives::Log;
use revm::state::EvmState;
use std::fmt;
use std::sync::Arc;

/// The view calls to ask about an execution, before and after it.
pub type Views = Arc<dyn Fn(&Execution) -> Vec<ViewCall> + Send + Sync>;

/// [`Views`] that ask nothing.
#[must_use]
pub fn no_views() -> Views {
    Arc::new(|_| Vec::new())
}

/// [`Views`] that ask the same questions about every execution.
#[must_use]
pub fn ask(calls: Vec<ViewCall>) -> Views {
    Arc::new(move |_| calls.clone())
}

/// What is wanted of a replay.
#[derive(Clone)]
pub struct Watch {
    /// Questions to ask before and after each transaction that is delivered.
    pub views: Views,
    /// Which transactions are delivered.
    pub interest: Interest,
    /// How much of each is recorded.
    pub detail: Detail,
}

impl Watch {
    /// Every transaction, at [`Detail::Watch`].
    #[must_use]
    pub fn everything(views: Views) -> Self {
        Self { views, interest: Interest::All, detail: Detail::Watch }
    }

    /// The transactions that have to do with any of these accounts, at [`Detail::Watch`].
    #[must_use]
    pub fn touching(addresses: AddressSet, views: Views) -> Self {
        Self { views, interest: Interest::Touching(Arc::new(addresses)), detail: Detail::Watch }
    }

    /// The same at another level of detail.
    #[must_use]
    pub fn with_detail(self, detail: Detail) -> Self {
        Self { detail, ..self }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Watch")
            .field("interest", &self.interest)
            .field("detail", &self.detail)
            .finish_non_exhaustive()
    }
}

/// Which transactions of a block are delivered as executions. The others are executed all the same, because the state
/// has to go on, but nothing is built from what they did.
///
/// A transaction touches an account where
/// - the EVM loaded it while running, for any reason at all: its code ran, its storage was read or written, its code or
///   balance was looked at, it paid or was paid, was created or destroyed itself, also inside a frame that was
///   reverted. There is no way for a transaction to learn from an account, or to change it, without loading it, so
///   this alone passes over nothing that concerns the account's own state;
/// - it emitted a log, or is a left-padded address among the topics of one: a token that moved from or to a watched
///   account inside a foreign contract leaves the account itself untouched, and no load betrays it;
/// - the transaction names it as sender, receiver, in its access list, or as the code of an authorization.
///
/// Delivered as well is a transaction that creates a contract which names the account, as a constant of its code or in what its
/// constructor left in storage: nothing was touched yet, but something is meant to be.
///
/// What is left out is a foreign contract that mentions the account only in the data of a log or of a call. A
/// transaction whose record was cut is always delivered: what is missing may be the part that matters. So is one that
/// the rules refuse, and one that failed is delivered like any other.
#[derive(Debug, Clone, Default)]
pub enum Interest {
    /// Every transaction.
    #[default]
    All,
    /// Those that touch one of these accounts or create code that names one, and those whose record was cut.
    Touching(Arc<AddressSet>),
}

impl Interest {
    /// Whether a transaction that ran is delivered.
    pub(crate) fn wants(
        &self,
        transaction: &Transaction,
        state: &EvmState,
        logs: &[Log],
        is_cut: bool,
    ) -> bool {
        let Self::Touching(watched) = self else { return true };
        is_cut
            || is_loaded(watched, state)
            || logs.iter().any(|log| is_in_log(watched, log))
            || is_named(watched, transaction)
            || names_any(watched, state)
    }
}

impl Interest {
    /// Whether a transaction that a node traced is delivered. Traces do not tell accounts that were only looked at
    /// (`BALANCE`, `EXTCODESIZE`), which change nothing and run nothing.
    pub(crate) fn wants_traced(&self, execution: &Execution) -> bool {
        let Self::Touching(watched) = self else { return true };
        let is_topic = |topic: &B256| padded(topic).is_some_and(|address| watched.contains(&address));
        execution.truncated
            || is_named(watched, &execution.transaction)
            || execution.frames.iter().any(|frame| {
                [frame.caller, frame.address, frame.code_address].iter().any(|at| watched.contains(at))
            })
            || execution
                .logs
                .iter()
                .any(|log| watched.contains(&log.address) || log.topics.iter().any(is_topic))
            || execution.storage_changes.iter().any(|change| watched.contains(&change.address))
            || execution.balance_changes_wei.keys().any(|address| watched.contains(address))
            || execution.destructions.iter().any(|gone| watched.contains(&gone.beneficiary))
            || names_any_traced(watched, execution)
    }
}

fn is_loaded(watched: &AddressSet, state: &EvmState) -> bool {
    if watched.len() < state.len() {
        watched.iter().any(|address| state.contains_key(address))
    } else {
        state.keys().any(|address| watched.contains(address))
    }
}

fn is_in_log(watched: &AddressSet, log: &Log) -> bool {
    watched.contains(&log.address)
        || log.topics().iter().any(|topic| padded(topic).is_some_and(|address| watched.contains(&address)))
}

/// The address that a topic holds, if it can be one.
fn padded(topic: &B256) -> Option<Address> {
    topic.starts_with(&[0; 12]).then(|| Address::from_word(*topic))
}

fn is_named(watched: &AddressSet, transaction: &Transaction) -> bool {
    watched.contains(&transaction.from)
        || transaction.to.is_some_and(|to| watched.contains(&to))
        || transaction.access_list.iter().any(|entry| watched.contains(&entry.address))
        || transaction.authorizations.iter().any(|signed| watched.contains(&signed.address))
}
