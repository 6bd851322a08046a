//! Re-entrancy: a contract is entered again through a foreign account while an outer call of it waits, and state is used that
//! the outer call has not settled yet. By a call that may write, or by a question: then somebody goes by the answer.
//!
//! In: frames and storage accesses; where a node can be asked, the same questions before and after. Out: at most one finding
//! per contract and transaction, the strongest, with its kind. Must never: judge by the shape of the calls where accesses
//! are known. Callbacks are everyday business; only state that both calls use in conflict is a ground.
//!
//! # What is compared
//!
//! An *activation* is one entry into an account together with everything that runs on the same storage without
//! leaving it: delegate calls (so a proxy and its implementation are one) and calls of itself. For an inner activation
//! and each outer one that waits for it across a foreign account, with effects that lasted:
//!
//! | conflict | score | meaning |
//! |---|---|---|
//! | the inner call used a slot that the outer one changed after the inner returned, and control wrote to the protected system on the way | 800 | acted on unsettled state |
//! | as the first, in a contract that is not protected, whose answer a protected one went by | 600 | a price was read while it was wrong, by all that the calls tell |
//! | the same, and the answer is not what the contract says before or after | 800 | it was wrong |
//! | the inner call wrote a slot that the outer one had read before and did not read again | 500 | the outer call went on with a stale value |
//! | a contract that is not protected went by such an answer of a protected one, and moved value | 600 | others lose by its price |
//! | as the first, but nothing protected was written on the way, or the answer is what the contract says before or after | 300 | read unsettled state only |
//!
//! The last is also what a harmless callback leaves that asks for a total. Seen alone it stays below the policy's incident
//! threshold; together with a loss in the same transaction, which is another detector's to see, it confirms. A slot that
//! ends with the value which the inner call saw is no conflict, nor is a lock that a question sees. A guard that works makes
//! the inner call revert, and what was undone is not looked at.
//!
//! *Kinds*: the same function; another function of the same contract; through another protected contract; read-only. A
//! read-only re-entry into a contract that is not protected is looked for where a protected contract asks, directly or
//! through others, and a foreign account stands between the outer call and whoever asks. What such a contract answers is
//! honest in ordinary use: a pair of Uniswap V2 in its flash swap still says what it said before, the index of a lender
//! grows by a fee. So an answer within 1 % of that before or after is no finding there.
//!
//! # Source and limits
//!
//! Sereum (Rodler et al., NDSS 2019) follows data from re-entered calls into later writes and reports 0.06 % of
//! transactions as false alarms; comparing slots and values is its cheap form. Read-only: the virtual price of Curve's pools
//! while they pay out coins (dForce, February 2023; Conic, July 2023) and the rate of Balancer's (Sturdy, June 2023); EraLend
//! (July 2023) read a pool's reserves in its callback. Foreign is every account that the operator did not name: named tokens
//! and vaults do not hand control to strangers by themselves. Limits: transient storage is not compared; state of a foreign
//! contract that lives in another one (the supply of an old pool's token) is not seen. Executions that come from a node's
//! traces carry no accesses: the shape of the calls is seen, the conflict is not. The shape alone (under the sender's side, into a contract whose own call is still
//! open: a call that may write, or the question of a protected contract that goes on to move value) has a score of 300, and
//! a gap says what is not known: 6 of 93 archived attacks have it, all by calls that may write, and none of the 6,187
//! ordinary transactions at hand whose accesses are not known (`cordon backtest`).

mod calls;
mod uses;

use crate::detector::{Detector, Opinion, Statement};
use crate::parties::SendersSide;
use alloy_primitives::{Address, Bytes, U256};
use calls::{Calls, Pair, Pairs, WALK_STEPS_MAX};
use cordon_model::execution::{Execution, Frame, FrameKind, ViewCall};
use cordon_model::finding::{AttackClass, Evidence, Finding, ReentryKind, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::Bps;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use uses::{Conflict, Uses, moved_after};

/// Score of a conflict of this kind; see the table of the module. The order, not the distance, carries meaning.
const SCORE_ACTED: Score = Score(800);
/// Score of a foreign contract's unsettled state that a protected one went by, where its answers were not compared, and of a
/// protected one's that a stranger went by, where they were.
const SCORE_FOREIGN: Score = Score(600);
/// Score of an outer call that went on with a stale value.
const SCORE_STALE: Score = Score(500);
/// Score of a read without any write; below the default of the policy's `alarm_score`.
const SCORE_READ_ONLY: Score = Score(300);

/// Score of calls of that shape where no accesses are known.
const SCORE_SHAPE: Score = Score(300);

/// Most slots named as evidence; people look at the first few.
const SLOTS_MAX: usize = 16;

/// Most questions that are asked again. An attack goes by the answers of one or two.
const QUESTIONS_MAX: usize = 16;

/// Words of an answer that are compared: pools answer with up to eight reserves.
const WORDS_MAX: usize = 8;

/// How far an honest answer may be from that before or after: fees and interest of one transaction are far below, and an
/// answer that is wrong by less is worth less than most fees.
const HONEST_BPS: Bps = Bps(100);

/// Configuration of [`Reentrancy`]: nothing to set. What is protected and what is foreign follows from the protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReentrancyConfig {}

impl ReentrancyConfig {
    /// The detector.
    #[must_use]
    pub fn build(&self) -> Reentrancy {
        Reentrancy {}
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Reentrancy {}

impl Detector for Reentrancy {
    fn name(&self) -> &'static str {
        "reentrancy"
    }

    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        let scene = Scene::of(protocol, execution);
        let questions: BTreeSet<ViewCall> = scene
            .pairs
            .found
            .iter()
            .filter(|pair| pair.reader.is_some() && scene.verdict(pair).is_some())
            .filter_map(|pair| scene.calls.frame(pair.inner).map(question))
            .collect();
        questions.into_iter().take(QUESTIONS_MAX).collect()
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        self.judge(protocol, execution).findings
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        self.judge(protocol, execution).gaps
    }

    fn judge(&self, protocol: &Protocol, execution: &Execution) -> Opinion {
        let scene = Scene::of(protocol, execution);
        let mut strongest: BTreeMap<Address, Verdict> = BTreeMap::new();
        for verdict in scene.pairs.found.iter().filter_map(|pair| scene.verdict(pair)) {
            match strongest.get_mut(&verdict.concerned) {
                Some(known) => known.merge(verdict),
                None => {
                    strongest.insert(verdict.concerned, verdict);
                }
            }
        }
        let finding = |verdict: Verdict| {
            let Pair { outer, inner, via, .. } = verdict.pair;
            let selector = |index| scene.calls.frame(index).and_then(Frame::selector);
            let evidence = Evidence::Reentry {
                contract: verdict.entered,
                outer: selector(outer),
                inner: selector(inner),
                via,
                slots: verdict.slots.into_iter().take(SLOTS_MAX).collect(),
                kind: Some(verdict.kind),
            };
            let (class, contract, score) = (AttackClass::Reentrancy, verdict.concerned, verdict.score);
            Statement { class, contract, score, evidence }.by(self.name(), protocol, execution)
        };
        let findings = strongest.into_values().map(finding).collect();
        Opinion { findings, gaps: scene.gaps() }
    }
}

/// A pair of calls, judged.
#[derive(Debug)]
struct Verdict {
    /// Protected contract that is concerned.
    concerned: Address,
    /// Contract that was entered twice.
    entered: Address,
    pair: Pair,
    kind: ReentryKind,
    score: Score,
    slots: BTreeSet<U256>,
}

impl Verdict {
    /// Keeps the stronger of two, the earlier of equals, with the slots of both where they are of the same contract.
    fn merge(&mut self, other: Self) {
        if other.score > self.score {
            *self = other;
        } else if other.score == self.score && other.entered == self.entered {
            self.slots.extend(other.slots);
        }
    }
}

/// One transaction, read for one protocol.
struct Scene<'a> {
    execution: &'a Execution,
    calls: Calls<'a>,
    pairs: Pairs,
    uses: Uses,
    /// Where anything was entered again.
    side: Option<SendersSide>,
}

impl<'a> Scene<'a> {
    fn of(protocol: &'a Protocol, execution: &'a Execution) -> Self {
        let calls = Calls::of(protocol, execution);
        let pairs = calls.pairs();
        // Few transactions enter anything again; only theirs are sorted.
        let uses =
            if pairs.found.is_empty() { Uses::default() } else { Uses::of(&calls, &pairs.found, execution) };
        let side = (!pairs.found.is_empty()).then(|| SendersSide::of(protocol, execution));
        Self { execution, calls, pairs, uses, side }
    }

    fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        if self.execution.truncated {
            gaps.push("the record of the transaction was cut; calls and accesses may be missing".to_owned());
        }
        let is_ours = |pair: &Pair| {
            self.calls.frame(pair.inner).is_some_and(|frame| self.calls.protocol.protects(frame.address))
        };
        if !self.execution.detail.knows_accesses() && self.pairs.found.iter().any(is_ours) {
            gaps.push(
                "a protected contract was entered again through a foreign account; the record comes from a node's \
                 traces, which do not tell the storage accesses, so whether the calls conflict is not known"
                    .to_owned(),
            );
        }
        if self.pairs.cut {
            gaps.push(format!(
                "more than {WALK_STEPS_MAX} steps through the call tree; the rest was not judged"
            ));
        }
        gaps
    }

    fn verdict(&self, pair: &Pair) -> Option<Verdict> {
        let (outer, inner) = (self.calls.frame(pair.outer)?, self.calls.frame(pair.inner)?);
        let entered = inner.address;
        let is_ours = self.calls.protocol.protects(entered);
        let reader = pair.reader.and_then(|reader| self.calls.frame(reader)).map(|frame| frame.address);
        let concerned = if is_ours { Some(entered) } else { reader };
        let (score, slots) = if self.execution.detail.knows_accesses() {
            match self.uses.conflict(&self.calls, pair)? {
                Conflict::Unsettled(slots) => (self.unsettled(pair, is_ours, reader)?, slots),
                Conflict::Stale(slots) => (SCORE_STALE, slots),
            }
        } else {
            self.has_shape(pair, outer, inner).then_some((SCORE_SHAPE, BTreeSet::new()))?
        };
        let kind = self.kind(outer, inner, reader);
        Some(Verdict { concerned: concerned?, entered, pair: *pair, kind, score, slots })
    }

    /// True for a call that may write into a contract whose own call waits, or a question to one that a protected contract
    /// asks and goes on to move value.
    fn has_shape(&self, pair: &Pair, outer: &Frame, inner: &Frame) -> bool {
        let may_write = |frame: &Frame| frame.kind == FrameKind::Call && frame.selector().is_some();
        let is_ours = |account| self.calls.protocol.protects(account);
        let reader = pair.reader.and_then(|reader| self.calls.frame(reader)).map(|frame| frame.address);
        let goes_by = reader.is_some_and(|by| {
            is_ours(by) && moved_after(&self.calls, self.execution, by, pair.entry, pair.inner)
        });
        may_write(outer) && ((may_write(inner) && is_ours(inner.address)) || goes_by)
    }

    /// How bad it is that the inner call used what the outer one changed later.
    fn unsettled(&self, pair: &Pair, is_ours: bool, reader: Option<Address>) -> Option<Score> {
        let honest = pair.reader.and(self.is_honest(pair));
        let acted = self.uses.wrote(&self.calls, pair.entry);
        if !is_ours {
            return match (acted, honest) {
                (false, _) | (true, Some(true)) => None,
                (true, Some(false)) => Some(SCORE_ACTED),
                (true, None) => Some(SCORE_FOREIGN),
            };
        }
        if honest == Some(true) {
            return Some(SCORE_READ_ONLY);
        }
        if acted {
            return Some(SCORE_ACTED);
        }
        let is_own = |by: Address| self.side.as_ref().is_some_and(|side| side.has(by));
        // A stranger's price is wrong: not the money of this protocol, but its name.
        let stranger = pair.reader.zip(reader).filter(|(_, by)| honest == Some(false) && !is_own(*by));
        let traded = stranger
            .is_some_and(|(within, by)| moved_after(&self.calls, self.execution, by, within, pair.inner));
        Some(if traded { SCORE_FOREIGN } else { SCORE_READ_ONLY })
    }

    /// Whether a question was answered as it is before or after the transaction; `None` where that was not asked.
    fn is_honest(&self, pair: &Pair) -> Option<bool> {
        let frame = self.calls.frame(pair.inner)?;
        let reading = self.execution.view(&question(frame))?;
        let ends = [reading.before.as_ref(), reading.after.as_ref()];
        let agrees = |end: &Option<&Bytes>| end.is_some_and(|end| agree(&frame.output, end));
        let is_known = frame.output.len() >= 32 && ends.iter().all(Option::is_some);
        is_known.then(|| ends.iter().any(agrees))
    }

    fn kind(&self, outer: &Frame, inner: &Frame, reader: Option<Address>) -> ReentryKind {
        let by = inner.caller;
        match reader {
            Some(reader) => ReentryKind::ReadOnly { reader },
            None if self.calls.protocol.protects(by) && by != inner.address => {
                ReentryKind::CrossContract { by }
            }
            None if outer.selector() == inner.selector() => ReentryKind::SameFunction,
            None => ReentryKind::CrossFunction,
        }
    }
}

/// The question that a frame asks.
fn question(frame: &Frame) -> ViewCall {
    ViewCall { target: frame.address, input: frame.input.clone() }
}

/// True where all words of an answer are about those of another one.
fn agree(said: &Bytes, end: &Bytes) -> bool {
    let words = |data: &Bytes| -> Vec<U256> {
        data.chunks_exact(32).take(WORDS_MAX).map(U256::from_be_slice).collect()
    };
    let (said, end) = (words(said), words(end));
    let is_near = |(said, end): (&U256, &U256)| Bps::ratio(said.abs_diff(*end), *end) <= HONEST_BPS;
    said.len() == end.len() && said.iter().zip(&end).all(is_near)
}

#[cfg(test)]
mod kinds;
#[cfg(test)]
mod tests;
