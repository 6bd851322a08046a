//! What an entry will do, and how bad that is.
//!
//! In: an entry, and what came of its calls when they were tried. Out: [`Prospect`] and its score. Must never: count what an
//! entry does whose last call fails, since then nothing of it happens.

use super::entries::{Action, Entry};
use crate::members::{IMPLEMENTATION_SLOT, as_address};
use crate::parties::Crossing;
use crate::rehearsal::Rehearsed;
use crate::valuation::holding;
use alloy_primitives::{Address, U256};
use alloy_sol_types::decode_revert_reason;
use cordon_model::execution::{Execution, Status, Transfer, ViewCall, word};
use cordon_model::finding::sign::{Leaving, Prospect, Said};
use cordon_model::finding::{AttackClass, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, Bps};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Below what counts together with another detector: to queue something is ordinary.
const SCORE: Score = Score(200);

/// Counts together with another detector: rights change, or assets leave, as they do in ordinary administration.
const WEAK: Score = Score(300);

/// Opens an incident alone: code that nobody had time to look at before it was proposed.
const NEWBORN: Score = Score(600);

/// Opens an incident alone: nobody can say what the entry does.
const TOO_LONG: Score = Score(600);

/// Opens an incident alone, as where a change of rights takes assets in one transaction.
const TAKEN: Score = Score(700);

/// Share of what is held beyond which an outflow is a drain. A team pays salaries, grants and purchases out of what it keeps; who
/// needs days to take something takes nearly all of it.
const SHARE_MAX: Bps = Bps(5_000);

/// Most characters of a reason that are kept: a contract may give as many as gas pays for, and a sentence is shorter.
const REASON_CHARS_MAX: usize = 160;

/// Most things that detectors say which are kept of one entry; people read the first few.
const SAID_MAX: usize = 8;

/// Most assets that leave which are kept of one entry, the largest share first.
const LEAVING_MAX: usize = 16;

/// Most holdings asked for in one execution. A call of a treasury moves a handful of assets.
const HOLDINGS_MAX: usize = 64;

/// What protected contracts hold of what they pay.
pub(super) fn views(protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
    let payers = payers(protocol, execution).into_iter().take(HOLDINGS_MAX);
    payers.map(|(asset, payer)| holding(asset, payer)).collect()
}

pub(super) fn of(protocol: &Protocol, execution: &Execution, entry: &Entry, held: &Rehearsed) -> Prospect {
    // Calls that do more than a record holds may hide what they take behind it.
    if entry.is_cut || held.executions.iter().any(|tried| tried.truncated) {
        return Prospect::TooLong;
    }
    let failed = entry.calls.iter().enumerate().find_map(|(call, action)| {
        let reason = failure(entry, action, held.executions.get(call))?;
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        Some(Prospect::Fails { call, reason })
    });
    failed.unwrap_or_else(|| Prospect::Works {
        leaving: leaving(protocol, &held.executions),
        newborn: newborn(protocol, execution, &held.executions),
        said: said(held),
    })
}

pub(super) fn score(prospect: &Prospect) -> Score {
    match prospect {
        Prospect::TooLong => TOO_LONG,
        Prospect::Fails { .. } => SCORE,
        Prospect::Works { leaving, newborn, said } => {
            let left = leaving.iter().map(|leaving| match leaving.share_bps {
                Some(share) if share > SHARE_MAX => TAKEN,
                _ => WEAK,
            });
            let newborn = newborn.map(|_| NEWBORN);
            let said = said.iter().map(|said| match said.class {
                AttackClass::Privilege => said.score.max(WEAK),
                _ => said.score,
            });
            left.chain(newborn).chain(said).max().unwrap_or(SCORE).max(SCORE)
        }
    }
}

/// Why a call fails; `None` where it does not.
fn failure(entry: &Entry, action: &Action, tried: Option<&Execution>) -> Option<String> {
    let Some(tried) = tried else { return Some("it was not tried".to_owned()) };
    match &tried.status {
        Status::Halt { reason } => Some(reason.clone()),
        Status::Revert { output } => {
            Some(decode_revert_reason(output).unwrap_or_else(|| format!("reverted with {output}")))
        }
        // A Safe answers its modules whether the call succeeded, and goes on.
        Status::Success if entry.module.is_some() => {
            let answer = tried.frames.first().and_then(|frame| word(&frame.output));
            let is_done = answer.is_some_and(|word| !word.is_zero());
            (!is_done).then(|| format!("the call of {} reverted", action.to))
        }
        Status::Success => None,
    }
}

/// Who pays what to the outside.
fn payers(protocol: &Protocol, execution: &Execution) -> BTreeSet<(Asset, Address)> {
    let leaves = |moved: &&Transfer| Crossing::of(protocol, moved) == Some(Crossing::Out);
    execution.transfers.iter().filter(leaves).map(|moved| (moved.asset, moved.from)).collect()
}

/// What leaves, over all calls: what comes in meanwhile of the same asset is taken off. What is burnt or issued is left out.
fn leaving(protocol: &Protocol, executions: &[Execution]) -> Vec<Leaving> {
    #[derive(Default)]
    struct Flow {
        out: U256,
        come_in: U256,
        /// What each contract that paid held before the call in which it paid first.
        held: BTreeMap<Address, Option<U256>>,
        first: Option<Address>,
    }
    let mut flows: BTreeMap<Asset, Flow> = BTreeMap::new();
    for execution in executions {
        for (asset, payer) in payers(protocol, execution) {
            let reading = execution.view(&holding(asset, payer));
            let before = reading.and_then(|reading| word(reading.before.as_ref()?));
            flows.entry(asset).or_default().held.entry(payer).or_insert(before);
        }
        for moved in &execution.transfers {
            let Some(crossing) = Crossing::of(protocol, moved) else { continue };
            let flow = flows.entry(moved.asset).or_default();
            match crossing {
                Crossing::Out => {
                    flow.out = flow.out.saturating_add(moved.amount_raw);
                    flow.first.get_or_insert(moved.from);
                }
                Crossing::In => flow.come_in = flow.come_in.saturating_add(moved.amount_raw),
            }
        }
    }
    let net = |(asset, flow): (Asset, Flow)| {
        let amount_raw = flow.out.saturating_sub(flow.come_in);
        let from = flow.first.filter(|_| !amount_raw.is_zero())?;
        let held: Option<U256> =
            flow.held.into_values().try_fold(U256::ZERO, |sum, held| Some(sum.saturating_add(held?)));
        Some(Leaving { from, asset, amount_raw, share_bps: held.map(|held| Bps::ratio(amount_raw, held)) })
    };
    let mut leaving: Vec<Leaving> = flows.into_iter().filter_map(net).collect();
    leaving.sort_by_key(|leaving| Reverse(leaving.share_bps));
    leaving.truncate(LEAVING_MAX);
    leaving
}

/// Code that will run behind a protected contract and was created by the transaction that queued the entry.
fn newborn(protocol: &Protocol, execution: &Execution, executions: &[Execution]) -> Option<Address> {
    let created: BTreeSet<Address> = execution.creations.iter().map(|creation| creation.address).collect();
    let slot = U256::from_be_bytes(IMPLEMENTATION_SLOT.0);
    let changes = executions.iter().flat_map(|execution| &execution.storage_changes);
    let upgrades = changes.filter(|change| change.slot == slot && protocol.protects(change.address));
    let mut codes = upgrades.filter_map(|change| as_address(change.after));
    codes.find(|code| created.contains(code))
}

/// What the detectors say of its calls, each thing once.
fn said(held: &Rehearsed) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    for finding in &held.findings {
        let new = Said { class: finding.class, score: finding.score, evidence: finding.evidence.clone() };
        if !said.contains(&new) {
            said.push(new);
        }
    }
    said.sort_by_key(|said| (said.class != AttackClass::Privilege, Reverse(said.score)));
    // Many changes of rights must not hide what is worse.
    let strongest = said.iter().max_by_key(|said| said.score).cloned();
    said.truncate(SAID_MAX);
    if let Some(strongest) = strongest.filter(|strongest| !said.contains(strongest)) {
        said.pop();
        said.push(strongest);
    }
    said
}
