//! Queue: a protected timelock, governor or delay module took up what it will do later.
//!
//! In: logs of protected contracts by which they say what they queued, and what came of its calls when they were tried on the
//! state after the block, at the time when they are due. Out: one finding for each entry, at once, with what it will do. Must
//! never: take what was tried for what happened.
//!
//! | the entry | score |
//! |---|---|
//! | moves more than half of what protected contracts hold of an asset to the outside | 700 |
//! | puts code behind a protected contract that the queueing transaction itself created | 600 |
//! | has more calls than can be tried, or does more than can be recorded | 600 |
//! | moves less, or that is not known; changes rights over protected contracts | 300 |
//! | does something that other detectors have a word for | theirs, if more |
//! | does nothing of all that, or fails as things are | 200 |
//!
//! Whoever queues gives the team minutes to days, and can do nothing else than what was queued. So here it is asked what will be
//! done, and not who asked for it.
//!
//! Source: OpenZeppelin's TimelockController and Governor, Compound's Timelock and Governor Bravo, Zodiac's Delay; Beanstalk (April
//! 2022: what the proposal would do stood on the chain for a day). `ProposalQueued` is left out, since it names no calls: either its
//! timelock says what it holds, or `ProposalCreated` did. Limits: a call that goes by its origin, or by what changes until it is
//! due, can show something else in a trial; code that does harm only when it is called later; tokens issued to the outside;
//! entries that wait for another one, or for coins that their executor will bring, fail.

mod compound;
mod delay;
mod entries;
mod governor;
mod prospect;
mod timelock;

#[cfg(test)]
mod tests;

use crate::detector::{Detector, Statement};
use crate::rehearsal::{Rehearsal, Rehearsed};
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::sign::Sign;
use cordon_model::finding::{AttackClass, Evidence, Finding};
use cordon_model::protocol::Protocol;
use entries::{Entries, Entry};
use serde::Deserialize;

/// Configuration of [`Queue`]. There is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {}

impl QueueConfig {
    /// The detector.
    #[must_use]
    pub fn build(&self) -> Queue {
        Queue {}
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Queue {}

impl Detector for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        entries::views(protocol, execution)
    }

    /// Nothing: what an entry does is seen when it is tried.
    fn inspect(&self, _: &Protocol, _: &Execution) -> Vec<Finding> {
        Vec::new()
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        let mut gaps = Entries::of(protocol, execution).gaps;
        if execution.truncated {
            gaps.push("the record of the transaction was cut, so that entries may be missing".to_owned());
        }
        gaps
    }

    fn rehearsals(&self, protocol: &Protocol, execution: &Execution) -> Vec<Rehearsal> {
        Entries::of(protocol, execution).list.iter().map(Entry::rehearsal).collect()
    }

    fn rehearsal_views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        prospect::views(protocol, execution)
    }

    fn rehearsed(&self, protocol: &Protocol, execution: &Execution, rehearsed: &[Rehearsed]) -> Vec<Finding> {
        let state = |entry: Entry| {
            let rehearsal = entry.rehearsal();
            let held = rehearsed.iter().find(|held| held.rehearsal == rehearsal)?;
            let prospect = prospect::of(protocol, execution, &entry, held);
            let (contract, score) = (entry.queue, prospect::score(&prospect));
            // One transaction can queue several entries at one contract.
            let subject = format!("{} {}", self.name(), entry.batch);
            let id = Finding::derive_id(&subject, protocol.chain_id, contract, &execution.tx);
            let evidence = Evidence::Sign(Sign::Queued(entry.with(prospect)));
            let class = AttackClass::Privilege;
            let finding = Statement { class, contract, score, evidence }.by(self.name(), protocol, execution);
            Some(Finding { id, ..finding })
        };
        Entries::of(protocol, execution).list.into_iter().filter_map(state).collect()
    }
}
