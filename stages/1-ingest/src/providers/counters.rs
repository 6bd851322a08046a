//! What was asked of each node, for people and for the bill.
//!
//! In: one note per request, answer or failure. Out: a copy of all numbers. It must never grow without bound, whatever
//! methods are called, nor name a node by more than scheme, host and port.

use super::member::Member;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Methods that are counted by name; the whole execution API has about seventy. Others count together.
const METHODS_MAX: usize = 96;

/// Name under which the methods beyond the bound are counted.
const OTHER_METHODS: &str = "(other)";

/// Numbers of one method at one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MethodCounts {
    /// Requests that were sent; each request of a batch counts.
    pub requests: u64,
    /// Of them, those that ended without an answer, with a limit, or with one that another node had to be asked about.
    pub errors: u64,
    /// Of the requests, those that were sent because another node failed.
    pub retries: u64,
    /// Of the requests, those that were sent because another node was slow.
    pub hedges: u64,
}

/// Numbers of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Node, without credentials.
    pub node: String,
    /// By method.
    pub methods: BTreeMap<String, MethodCounts>,
    /// Answers that were proved wrong.
    pub wrong_answers: u64,
}

impl NodeCounts {
    /// All methods together.
    #[must_use]
    pub fn total(&self) -> MethodCounts {
        self.methods.values().fold(MethodCounts::default(), |sum, one| MethodCounts {
            requests: sum.requests.saturating_add(one.requests),
            errors: sum.errors.saturating_add(one.errors),
            retries: sum.retries.saturating_add(one.retries),
            hedges: sum.hedges.saturating_add(one.hedges),
        })
    }
}

/// Reads the numbers of all nodes of a pool.
#[derive(Debug, Clone)]
pub struct Counters {
    members: Vec<Arc<Member>>,
}

impl Counters {
    pub(crate) fn new(members: Vec<Arc<Member>>) -> Self {
        Self { members }
    }

    /// The numbers as they stand, in the order in which the nodes were configured.
    #[must_use]
    pub fn snapshot(&self) -> Vec<NodeCounts> {
        self.members.iter().map(|member| member.counts()).collect()
    }
}

/// Why a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is the first.
    First,
    /// Another node failed.
    Retry,
    /// Another node is slow.
    Hedge,
}

/// Numbers of one node while they grow.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    methods: BTreeMap<String, MethodCounts>,
    wrong_answers: u64,
}

impl Tally {
    pub(crate) fn asked<'a>(&mut self, methods: impl Iterator<Item = &'a str>, role: Role) {
        for method in methods {
            let counts = self.of(method);
            counts.requests = counts.requests.saturating_add(1);
            match role {
                Role::First => {}
                Role::Retry => counts.retries = counts.retries.saturating_add(1),
                Role::Hedge => counts.hedges = counts.hedges.saturating_add(1),
            }
        }
    }

    pub(crate) fn failed<'a>(&mut self, methods: impl Iterator<Item = &'a str>) {
        for method in methods {
            let counts = self.of(method);
            counts.errors = counts.errors.saturating_add(1);
        }
    }

    pub(crate) fn was_wrong(&mut self) {
        self.wrong_answers = self.wrong_answers.saturating_add(1);
    }

    pub(crate) fn counts(&self, node: &str) -> NodeCounts {
        let (node, methods) = (node.to_owned(), self.methods.clone());
        NodeCounts { node, methods, wrong_answers: self.wrong_answers }
    }

    fn of(&mut self, method: &str) -> &mut MethodCounts {
        let known = self.methods.contains_key(method) || self.methods.len() < METHODS_MAX;
        self.methods.entry(if known { method } else { OTHER_METHODS }.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_were_sent_for() {
        let mut tally = Tally::default();
        tally.asked(["eth_call", "eth_call"].into_iter(), Role::First);
        tally.asked(["eth_call"].into_iter(), Role::Hedge);
        tally.asked(["eth_chainId"].into_iter(), Role::Retry);
        tally.failed(["eth_call"].into_iter());
        let counts = tally.counts("node");
        assert_eq!(
            counts.methods["eth_call"],
            MethodCounts { requests: 3, errors: 1, retries: 0, hedges: 1 }
        );
        assert_eq!(counts.total(), MethodCounts { requests: 4, errors: 1, retries: 1, hedges: 1 });
    }

    #[test]
    fn methods_without_end_do_not_fill_the_memory() {
        let mut tally = Tally::default();
        for index in 0..10_000 {
            tally.asked([format!("method{index}").as_str()].into_iter(), Role::First);
        }
        let counts = tally.counts("node");
        assert_eq!(counts.methods.len(), METHODS_MAX + 1);
        assert_eq!(counts.total().requests, 10_000);
    }
}
