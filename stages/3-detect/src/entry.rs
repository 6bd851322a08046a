//! How a transaction enters the contracts of a protocol from outside.
//!
//! In: a protocol and an execution. Out: the calls from outside that may change something, each with what moved while it ran. Must
//! never: count what was undone, or what is only read.

use crate::detector::enters_from_outside;
use alloy_primitives::{Address, B256, Selector, keccak256};
use cordon_model::execution::{Execution, Frame, FrameKind, Transfer};
use cordon_model::protocol::Protocol;

/// Most entries of one transaction that are looked at. Ordinary transactions have a handful; each is compared with all movements
/// of value, so that a hostile one could ask for a square of its size.
const ENTRIES_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    pub(crate) protocol: &'a Protocol,
    pub(crate) execution: &'a Execution,
    pub(crate) calls: Vec<Entry<'a>>,
}

/// One call from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) frame: &'a Frame,
    /// True where an earlier entry into the same contract was not over.
    pub(crate) is_nested: bool,
}

impl<'a> Entries<'a> {
    pub(crate) fn of(protocol: &'a Protocol, execution: &'a Execution) -> Self {
        let mut calls: Vec<Entry<'a>> = Vec::new();
        // Until where a `STATICCALL` that was met reaches.
        let mut static_until = 0u32;
        for frame in &execution.frames {
            if frame.kind == FrameKind::StaticCall {
                static_until = static_until.max(frame.exit_seq);
            }
            let is_static = frame.enter_seq < static_until;
            if is_static || frame.kind != FrameKind::Call || !enters_from_outside(protocol, frame) {
                continue;
            }
            let is_open = |entry: &Entry<'_>| {
                entry.frame.address == frame.address && frame.enter_seq < entry.frame.exit_seq
            };
            let is_nested = calls.iter().any(is_open);
            calls.push(Entry { frame, is_nested });
            if calls.len() == ENTRIES_MAX {
                break;
            }
        }
        Self { protocol, execution, calls }
    }

    /// What moved while a call ran.
    pub(crate) fn moved_in(&self, entry: &Entry<'a>) -> impl Iterator<Item = &'a Transfer> + use<'a> {
        let (from, to) = (entry.frame.enter_seq, entry.frame.exit_seq);
        self.execution.transfers.iter().filter(move |moved| (from..to).contains(&moved.seq))
    }
}

impl Entry<'_> {
    pub(crate) fn contract(&self) -> Address {
        self.frame.address
    }

    pub(crate) fn function(&self) -> Option<Selector> {
        self.frame.selector()
    }

    /// One key for contract and function.
    pub(crate) fn key(&self) -> B256 {
        self.key_with(&[])
    }

    /// One key for contract, function, and something of it.
    pub(crate) fn key_with(&self, part: &[u8]) -> B256 {
        let function = self.function().unwrap_or_default();
        keccak256([self.contract().as_slice(), function.as_slice(), part].concat())
    }
}
