//! Governance: votes that nobody means to keep decide, or a proposal runs code that nobody can have voted on.
//!
//! In: logs, calls and transfers. Out: one finding for each protected governor. Must never: object to a vote, to a proposal
//! or to its execution as such, nor to a loan beside a vote that had no weight.
//!
//! A vote counts as borrowed where, beside one and the same account, the sender's side stood otherwise at the vote than
//! before and after it: what it had received by then went back (a loan, or votes that were bought and sold), or what it had
//! given by then came back (a stake that was locked for the vote alone). The same holds of votes that a delegate gained
//! before the vote and lost after it. What went back may be split over any number of payments; it is the sum that counts.
//!
//! | what | score | why |
//! |---|---|---|
//! | borrowed votes, and an execution in the same transaction | 900 | whoever has no stake left decided, and nobody could answer |
//! | borrowed votes | 700 | the same, with time to answer |
//! | executed code that the same transaction had put there | 700 | nobody can have read what he voted for |
//! | made or voted on, and executed | 300 | Aragon carries a proposal out with the vote that decides it |
//!
//! Where logs are known, events tell the steps of a proposal, since a governor does not lie about its own; MakerDAO's chief
//! logs selectors. Where they are not, the functions called do.
//!
//! Source: Beanstalk (April 2022: stake from a flash loan, `vote` and `emergencyCommit`), MakerDAO (October 2020: borrowed
//! MKR locked, voted with and freed), Tornado Cash (May 2023: a proposal's contract replaced after it was read).
//! Limits: whoever claims from a contract, votes, and then stakes as much with the same contract again looks like a borrower;
//! coins that go back to another account than they came from, and not by a token that tells delegations; votes that
//! are kept for a block; a proposal's code that was replaced in an earlier transaction; governors with other names for
//! what they do. Build Finance (February 2022) was taken over with votes that were bought and kept, in many transactions:
//! no single one of them is wrong.
//!
//! Measured (`cordon backtest`): one of 117 attacks and none of 27,028 ordinary transactions. The one is a test that does in
//! one call what Tornado Cash suffered in several transactions, so that it says little; others find it as well.

mod words;

use crate::detector::{Detector, Statement};
use crate::detectors::ConfigError;
use crate::parties::{SendersSide, is_creation};
use crate::valuation::difference;
use alloy_primitives::{Address, I256, U256};
use cordon_model::execution::{Execution, FrameKind, Log};
use cordon_model::finding::sign::{ReturnedVotes, Sign, VoteStep, Votes};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, Bps};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use words::WORDS;

/// See the table in the module.
const SCORE_RETURNED_EXECUTED: Score = Score(900);
const SCORE_RETURNED: Score = Score(700);
const SCORE_FRESH_CODE: Score = Score(700);
const SCORE_AT_ONCE: Score = Score(300);

/// Configuration of [`Governance`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GovernanceConfig {
    /// Most that may be kept of what stood behind a vote, as a share of it, for the rest to count as given back. Default 200
    /// (2 %): what lenders and pools of the field take, as in `flash-loan`, is not the voter's to keep.
    pub kept_max_bps: Bps,
}

impl Default for GovernanceConfig {
    fn default() -> Self {
        Self { kept_max_bps: Bps(200) }
    }
}

impl GovernanceConfig {
    /// The detector.
    ///
    /// # Errors
    /// A share that is the whole or more.
    pub fn build(&self) -> Result<Governance, ConfigError> {
        let kept_max_bps = self.kept_max_bps;
        if kept_max_bps.0 >= 10_000 {
            let (key, value) = ("governance.kept_max_bps", kept_max_bps.0.to_string());
            return Err(ConfigError { key, value, expected: "0 to 9999" });
        }
        Ok(Governance { kept_max_bps })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Governance {
    kept_max_bps: Bps,
}

/// One step of a proposal.
#[derive(Debug, Clone, Copy)]
struct Step {
    seq: u32,
    /// Frame in which it was taken.
    frame: u32,
    what: VoteStep,
}

impl Detector for Governance {
    fn name(&self) -> &'static str {
        "governance"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let governors = steps(protocol, execution);
        if !governors.values().flatten().any(decides) {
            return Vec::new();
        }
        let standings = standings(&SendersSide::of(protocol, execution), execution);
        let state = |(governor, steps): (&Address, &Vec<Step>)| {
            let returned = self.returned(&standings, steps);
            let fresh_code = fresh_code(execution, steps);
            let taken: BTreeSet<VoteStep> = steps.iter().map(|step| step.what).collect();
            let score = score(&taken, returned.is_some(), fresh_code.is_some())?;
            let steps = taken.into_iter().collect();
            let evidence =
                Evidence::Sign(Sign::Votes(Votes { governor: *governor, steps, returned, fresh_code }));
            let statement =
                Statement { class: AttackClass::Governance, contract: *governor, score, evidence };
            Some(statement.by(self.name(), protocol, execution))
        };
        governors.iter().filter_map(state).collect()
    }
}

/// True for a step that changes what happens.
fn decides(step: &Step) -> bool {
    matches!(step.what, VoteStep::Voted | VoteStep::Executed)
}

fn score(taken: &BTreeSet<VoteStep>, returned: bool, fresh_code: bool) -> Option<Score> {
    let executed = taken.contains(&VoteStep::Executed);
    match (returned, executed) {
        (true, true) => Some(SCORE_RETURNED_EXECUTED),
        (true, false) => Some(SCORE_RETURNED),
        (false, _) if fresh_code => Some(SCORE_FRESH_CODE),
        (false, true) => {
            let begun = [VoteStep::Proposed, VoteStep::Voted].iter().any(|step| taken.contains(step));
            begun.then_some(SCORE_AT_ONCE)
        }
        (false, false) => None,
    }
}

/// What was done at each protected governor.
fn steps(protocol: &Protocol, execution: &Execution) -> BTreeMap<Address, Vec<Step>> {
    let mut governors: BTreeMap<Address, Vec<Step>> = BTreeMap::new();
    if execution.detail.knows_logs() {
        for log in &execution.logs {
            if let Some(what) = step_of(log).filter(|_| protocol.protects(log.address)) {
                let step = Step { seq: log.seq, frame: log.frame, what };
                governors.entry(log.address).or_default().push(step);
            }
        }
        return governors;
    }
    let calls = execution.frames.iter().filter(|frame| frame.kind == FrameKind::Call && !frame.reverted);
    for frame in calls {
        let what = frame.selector().and_then(|selector| WORDS.functions.get(&selector));
        if let Some(what) = what.filter(|_| protocol.protects(frame.address)) {
            let step = Step { seq: frame.enter_seq, frame: frame.index, what: *what };
            governors.entry(frame.address).or_default().push(step);
        }
    }
    governors
}

/// The step that a log tells of. A vote without weight decides nothing; one whose weight cannot be read counts.
fn step_of(log: &Log) -> Option<VoteStep> {
    let event = WORDS.events.get(log.topics.first()?)?;
    let weight = event.weight_word.and_then(|word| data_word(log, word));
    (weight != Some(U256::ZERO)).then_some(event.what)
}

fn data_word(log: &Log, word: usize) -> Option<U256> {
    let from = word.checked_mul(32)?;
    log.data.get(from..from.checked_add(32)?).map(U256::from_be_slice)
}

/// With whom something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    /// Between the sender's side and this account.
    Account(Address),
    /// Between this delegate and those who delegate to him. Only votes that he gains are borrowed.
    Delegate(Address),
}

/// Changes in order, of each asset with each party.
type Standings = BTreeMap<(Party, Asset), Vec<(u32, I256)>>;

fn standings(side: &SendersSide, execution: &Execution) -> Standings {
    let mut standings = Standings::new();
    for moved in &execution.transfers {
        let amount = I256::try_from(moved.amount_raw).unwrap_or(I256::MAX);
        let (other, change) = match (side.has(moved.from), side.has(moved.to)) {
            (false, true) => (moved.from, amount),
            (true, false) => (moved.to, amount.saturating_neg()),
            (true, true) | (false, false) => continue,
        };
        // What is issued for a stake and destroyed again is between the sender's side and the token.
        let other = match moved.asset {
            Asset::Token(token) if other.is_zero() => token,
            Asset::Token(_) | Asset::Native => other,
        };
        standings.entry((Party::Account(other), moved.asset)).or_default().push((moved.seq, change));
    }
    for log in &execution.logs {
        let [topic, delegate] = log.topics.as_slice() else { continue };
        let (true, Some(before), Some(after)) =
            (*topic == WORDS.delegated, data_word(log, 0), data_word(log, 1))
        else {
            continue;
        };
        let key = (Party::Delegate(Address::from_word(*delegate)), Asset::Token(log.address));
        standings.entry(key).or_default().push((log.seq, difference(before, after)));
    }
    standings.values_mut().for_each(|changes| changes.sort_unstable_by_key(|(seq, _)| *seq));
    standings
}

impl Governance {
    /// The first standing that was otherwise at a vote than before and after it.
    fn returned(&self, standings: &Standings, steps: &[Step]) -> Option<ReturnedVotes> {
        let mut votes: Vec<u32> =
            steps.iter().filter(|step| step.what == VoteStep::Voted).map(|step| step.seq).collect();
        votes.sort_unstable();
        standings.iter().find_map(|((party, asset), changes)| {
            let at_vote = self.at_a_vote_only(changes, &votes)?;
            let with = match party {
                Party::Delegate(_) if at_vote.is_negative() => return None,
                Party::Account(with) | Party::Delegate(with) => *with,
            };
            Some(ReturnedVotes { with, asset: *asset, amount_raw: at_vote.unsigned_abs() })
        })
    }

    /// The sum of the changes before a vote, where nearly nothing of it is left in the end.
    fn at_a_vote_only(&self, changes: &[(u32, I256)], votes: &[u32]) -> Option<I256> {
        let end = changes.iter().fold(I256::ZERO, |sum, (_, change)| sum.saturating_add(*change));
        let mut sum = I256::ZERO;
        changes.windows(2).find_map(|pair| {
            let [(from, change), (until, _)] = pair else { return None };
            sum = sum.saturating_add(*change);
            let voted = votes.get(votes.partition_point(|vote| vote < from)).is_some_and(|vote| vote < until);
            (voted && self.is_given_back(sum, end)).then_some(sum)
        })
    }

    fn is_given_back(&self, at_vote: I256, end: I256) -> bool {
        let same_side = at_vote.is_negative() == end.is_negative();
        let kept = if same_side { end.unsigned_abs() } else { U256::ZERO };
        !at_vote.is_zero() && kept <= self.kept_max_bps.of(at_vote.unsigned_abs())
    }
}

/// Code that a proposal's execution ran, and that the same transaction had put there before. What the execution itself
/// creates is what was voted for.
fn fresh_code(execution: &Execution, steps: &[Step]) -> Option<Address> {
    let executed = steps.iter().filter(|step| step.what == VoteStep::Executed);
    let mut spans: Vec<(u32, u32)> = executed
        .filter_map(|step| execution.frame(step.frame))
        .map(|frame| (frame.enter_seq, frame.exit_seq))
        .collect();
    spans.sort_unstable();
    let made = execution.frames.iter().filter(|frame| is_creation(frame) && !frame.reverted);
    let made: BTreeMap<Address, u32> = made.map(|frame| (frame.address, frame.enter_seq)).collect();
    if spans.is_empty() || made.is_empty() {
        return None;
    }
    let runs = execution
        .frames
        .iter()
        .filter(|frame| matches!(frame.kind, FrameKind::Call | FrameKind::DelegateCall) && !frame.reverted);
    runs.into_iter().find_map(|frame| {
        let (start, end) =
            *spans.get(spans.partition_point(|span| span.0 <= frame.enter_seq).checked_sub(1)?)?;
        let was_put_there = made.get(&frame.code_address).is_some_and(|at| *at < start);
        (was_put_there && frame.enter_seq <= end).then_some(frame.code_address)
    })
}

#[cfg(test)]
mod tests;
