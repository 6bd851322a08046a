//! Executions from reproductions of attacks: what a test did on a fork of the real state, as its runner recorded it.
//!
//! In: JSON with the calls, logs and storage accesses of each test. Out: one [`Execution`] per test at
//! [`Detail::Traced`]. The test's own contract is called by the sender and stands for the attacker's contract. Must
//! never: be taken for a transaction. Whoever wrote the test chose the amounts, and may have set balances by cheat codes.
//!
//! The record says in which order a call made its accesses, and in which order its logs, but not where between the calls
//! that it made. Accesses are therefore not listed; which slots differ in the end follows without their order. Logs stand
//! where most contracts write them: after the calls of the frame that emitted them.

use super::archived::{creations, transaction};
use super::calls::{CallTree, TracedCall, TracedKind, TracedLog};
use super::error::TraceError;
use super::facts::Facts;
use super::json;
use crate::recorder::bounds::{MAX_DATA_BYTES, MAX_FRAMES, MAX_LOGS};
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use cordon_model::execution::{Creation, Detail, Execution, Frame, FrameKind, StorageChange};
use cordon_model::units::{BlockRef, ChainId, TxRef};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Name of the source, in errors.
const REPRODUCTION: &str = "reproduction";

/// Phase of a test that is the attack; what comes before it is preparation ("Setup").
const ATTACK_PHASE: &str = "Execution";

/// Accounts that exist in test runners alone: Foundry's cheat codes, at `address(uint160(uint256(keccak256("hevm cheat
/// code"))))`, and Hardhat's console, at the bytes of "console.log".
const RUNNER: [Address; 2] = [
    address!("7109709ecfa91a80626ff3989d68f67f5b1dd12d"),
    address!("000000000000000000636f6e736f6c652e6c6f67"),
];

#[derive(Deserialize)]
struct RawFile {
    /// Chain id, in decimal digits.
    chain: String,
    fork_block: u64,
    tests: BTreeMap<String, RawTest>,
}

#[derive(Deserialize)]
struct RawTest {
    phases: Vec<RawPhase>,
}

#[derive(Deserialize)]
struct RawPhase {
    phase: String,
    nodes: Vec<RawNode>,
}

#[derive(Deserialize)]
struct RawNode {
    idx: usize,
    parent: Option<usize>,
    children: Vec<usize>,
    kind: RawKind,
    success: bool,
    status: String,
    caller: Address,
    address: Address,
    value: U256,
    gas_used: u64,
    /// Absent for creations: code is left out of these records.
    input: Option<Bytes>,
    output: Option<Bytes>,
    logs: Vec<RawLog>,
    storage: Vec<RawAccess>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum RawKind {
    Call,
    CallCode,
    DelegateCall,
    StaticCall,
    Create,
    Create2,
}

#[derive(Deserialize)]
struct RawLog {
    topics: Vec<B256>,
    data: Bytes,
}

/// Kind, slot, value, and what a write found. The last is absent for reads, and for writes that changed nothing.
#[derive(Deserialize)]
struct RawAccess(RawAccessKind, U256, U256, Option<U256>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum RawAccessKind {
    SLoad,
    SStore,
}

/// Reads the attacks of one file, in the order of their names.
///
/// # Errors
/// [`TraceError::Malformed`] and [`TraceError::TooLarge`] where it is no record of tests.
pub fn read_reproduction(text: &str) -> Result<Vec<Execution>, TraceError> {
    let file: RawFile = json::read_one(REPRODUCTION, text)?;
    let chain_id = file.chain.parse().map(ChainId).map_err(|_| TraceError::Malformed {
        method: REPRODUCTION,
        place: "chain".to_owned(),
        reason: format!("'{}', expected a chain id in decimal digits", file.chain),
    })?;
    let block = BlockRef { number: file.fork_block, hash: B256::ZERO };
    let mut executions = Vec::with_capacity(file.tests.len());
    for (name, test) in file.tests {
        let malformed = |at: &str, reason: String| TraceError::Malformed {
            method: REPRODUCTION,
            place: format!("tests.{name}.{at}"),
            reason,
        };
        let mut attacks = test.phases.into_iter().filter(|phase| phase.phase == ATTACK_PHASE);
        let (Some(attack), None) = (attacks.next(), attacks.next()) else {
            return Err(malformed("phases", format!("expected exactly one phase \"{ATTACK_PHASE}\"")));
        };
        check_tree(&attack.nodes)
            .map_err(|(node, reason)| malformed(&format!("{ATTACK_PHASE}.nodes[{node}]"), reason))?;
        // Runs of one file differ by their name alone; the text stands for the case, wherever it lies.
        let hash = keccak256([text.as_bytes(), name.as_bytes()].concat());
        executions.extend(execution(attack.nodes, TxRef { chain_id, block, index: 0, hash }));
    }
    Ok(executions)
}

/// Checks that the nodes are one tree, each before those that it called, so that a walk visits each once.
fn check_tree(nodes: &[RawNode]) -> Result<(), (usize, String)> {
    let mut called = 0usize;
    for (at, node) in nodes.iter().enumerate() {
        if node.idx != at {
            return Err((at, format!("has the idx {}, expected {at}", node.idx)));
        }
        if node.parent.is_none() != (at == 0) {
            return Err((
                at,
                format!("has the parent {:?}, expected one for all but the first", node.parent),
            ));
        }
        let mut last = at;
        for child in &node.children {
            let is_own = nodes.get(*child).is_some_and(|child| child.parent == Some(at));
            if *child <= last || !is_own {
                return Err((at, format!("has the child {child}, expected one of its own, in order")));
            }
            last = *child;
        }
        called = called.saturating_add(node.children.len());
    }
    match nodes.len().checked_sub(1) {
        Some(expected) if expected == called => Ok(()),
        _ => {
            Err((0, format!("{called} of {} nodes are called by others, expected all but one", nodes.len())))
        }
    }
}

fn execution(nodes: Vec<RawNode>, tx: TxRef) -> Option<Execution> {
    let storage_changes = storage_changes(&nodes);
    let facts = Facts::of(&mut tree(nodes));
    let root = facts.frames.first()?;
    let bare = Execution::bare(tx, 0, transaction(root, &tx));
    Some(Execution {
        status: root.status.clone(),
        gas_used: root.gas_used,
        creations: creations(&facts.frames).into_iter().map(|one| without_code(one, &facts.frames)).collect(),
        transfers: facts.transfers,
        destructions: facts.destructions,
        storage_changes,
        truncated: facts.truncated,
        detail: Detail::Traced,
        frames: facts.frames,
        logs: facts.logs,
        ..bare
    })
}

/// A creation whose code the record left out has unknown hashes, not those of empty code.
fn without_code(creation: Creation, frames: &[Frame]) -> Creation {
    let frame = usize::try_from(creation.frame).ok().and_then(|index| frames.get(index));
    let known = |code: fn(&Frame) -> &Bytes| frame.is_some_and(|frame| !code(frame).is_empty());
    Creation {
        init_code_hash: if known(|frame| &frame.input) { creation.init_code_hash } else { B256::ZERO },
        code_hash: if known(|frame| &frame.output) { creation.code_hash } else { B256::ZERO },
        ..creation
    }
}

/// The nodes as a tracer's tree, without calls to the test runner. What it calls stands before a call, the first last.
fn tree(nodes: Vec<RawNode>) -> CallTree {
    let count = nodes.len();
    let position = |node: usize| count.saturating_sub(1).saturating_sub(node);
    let is_kept: Vec<bool> =
        nodes.iter().enumerate().map(|(at, node)| at < MAX_FRAMES && !is_runners(node)).collect();
    let mut budget = Budget { logs: MAX_LOGS, data_bytes: MAX_DATA_BYTES, cut: false };
    let mut calls: Vec<TracedCall> = Vec::with_capacity(count);
    for node in nodes {
        let kept = |child: &usize| is_kept.get(*child).copied().unwrap_or(false);
        let children: Vec<usize> = node.children.iter().copied().filter(kept).map(position).collect();
        calls.push(call(node, children, &mut budget));
    }
    calls.reverse();
    let mut tree = CallTree::default();
    tree.truncated = count > MAX_FRAMES || budget.cut;
    tree.calls = calls;
    tree
}

fn call(node: RawNode, children: Vec<usize>, budget: &mut Budget) -> TracedCall {
    let (kind, emitter) = match node.kind {
        RawKind::Call => (FrameKind::Call, node.address),
        RawKind::CallCode => (FrameKind::CallCode, node.caller),
        RawKind::DelegateCall => (FrameKind::DelegateCall, node.caller),
        RawKind::StaticCall => (FrameKind::StaticCall, node.address),
        RawKind::Create => (FrameKind::Create, node.address),
        RawKind::Create2 => (FrameKind::Create2, node.address),
    };
    let error = match (node.success, node.status.as_str()) {
        (true, _) => None,
        (false, "Revert") => Some("execution reverted".to_owned()),
        (false, _) => Some(node.status),
    };
    let position = children.len();
    let mut logs = Vec::with_capacity(node.logs.len());
    for log in node.logs {
        if let Some(data) = budget.log(log.data) {
            logs.push(TracedLog { position, address: emitter, topics: log.topics, data });
        }
    }
    TracedCall {
        kind: TracedKind::Frame(kind),
        from: node.caller,
        to: Some(node.address),
        value_wei: node.value,
        gas_used: Some(node.gas_used),
        input: budget.data(node.input.unwrap_or_default()),
        output: budget.data(node.output.unwrap_or_default()),
        error,
        children,
        logs,
    }
}

fn is_runners(node: &RawNode) -> bool {
    RUNNER.contains(&node.address)
}

/// What may still be taken over before the recorder's bounds are met.
struct Budget {
    logs: usize,
    data_bytes: usize,
    cut: bool,
}

impl Budget {
    fn data(&mut self, data: Bytes) -> Bytes {
        match self.data_bytes.checked_sub(data.len()) {
            Some(left) => {
                self.data_bytes = left;
                data
            }
            None => {
                self.cut = true;
                Bytes::new()
            }
        }
    }

    fn log(&mut self, data: Bytes) -> Option<Bytes> {
        match (self.logs.checked_sub(1), self.data_bytes.checked_sub(data.len())) {
            (Some(logs), Some(data_bytes)) => {
                (self.logs, self.data_bytes) = (logs, data_bytes);
                Some(data)
            }
            _ => {
                self.cut = true;
                None
            }
        }
    }
}

/// Slots that differ in the end. The writes to a slot lead from value to value, in whatever order they are listed: the
/// first value is left once more often than it is come to, the last one is come to once more often than it is left. Where
/// the writes form no such chain, the slot is left out.
fn storage_changes(nodes: &[RawNode]) -> Vec<StorageChange> {
    let mut undone: Vec<bool> = Vec::with_capacity(nodes.len());
    let mut visits: BTreeMap<(Address, U256), BTreeMap<U256, i64>> = BTreeMap::new();
    for node in nodes {
        let above = node.parent.and_then(|parent| undone.get(parent)).copied().unwrap_or(false);
        undone.push(above || !node.success || is_runners(node));
        if above || !node.success {
            continue;
        }
        let owner = match node.kind {
            RawKind::DelegateCall | RawKind::CallCode => node.caller,
            RawKind::Call | RawKind::StaticCall | RawKind::Create | RawKind::Create2 => node.address,
        };
        for RawAccess(kind, slot, value, found) in &node.storage {
            if let (RawAccessKind::SStore, Some(found)) = (kind, found) {
                let visits = visits.entry((owner, *slot)).or_default();
                *visits.entry(*found).or_default() -= 1;
                *visits.entry(*value).or_default() += 1;
            }
        }
    }
    let ends = |((address, slot), visits): ((Address, U256), BTreeMap<U256, i64>)| {
        let mut uneven = visits.into_iter().filter(|(_, balance)| *balance != 0);
        let ends = match (uneven.next(), uneven.next(), uneven.next()) {
            (Some((before, -1)), Some((after, 1)), None) => Some((before, after)),
            (Some((after, 1)), Some((before, -1)), None) => Some((before, after)),
            _ => None,
        };
        ends.map(|(before, after)| StorageChange { address, slot, before, after })
    };
    visits.into_iter().filter_map(ends).collect()
}

#[cfg(test)]
mod tests;
