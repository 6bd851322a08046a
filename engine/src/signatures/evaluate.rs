//! `cordon signatures evaluate`: how well attacks are recognised by others, and how often ordinary use is taken for one of them.
//!
//! In: recorded attacks, recorded ordinary use, and an incident list. Out: an [`Evaluation`]. Must never: let an attack be recognised
//! by itself: by the same transaction, another one of its incident or against its victim, one that called the same contract
//! first, or, in the figure that counts, one that is not certain to be earlier.
//!
//! Ordinary transactions are told in two halves, by the last bit of their hash, so that a bound that was chosen on one half can be read
//! on the other.

use super::Incidents;
use super::incidents::Entry;
use super::recordings::observed;
use crate::backtest::{Share, Tell, over_recordings};
use crate::error::EngineError;
use alloy_primitives::{Address, B256};
use cordon_detect::detectors::known_attack::KnownAttackConfig;
use cordon_detect::signatures::{Likeness, Limits, Memory, Observed, SeenCode};
use cordon_detect::{anyone, public_contracts};
use cordon_model::execution::Execution;
use cordon_model::finding::AttackClass;
use cordon_model::signature::{Provenance, Signature};
use cordon_model::units::{Bps, ChainId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Numbers of steps for which the report has a row.
const STEPS: [u32; 11] = [2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 64];

/// Numbers of instructions for which the report has a row.
const INSTRUCTIONS: [u32; 8] = [1, 20, 50, 100, 200, 500, 1_000, 2_000];

/// Similarities for which the report has a row, in basis points.
const SIMILARITIES_BPS: [u32; 9] = [2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000, 9_000, 10_000];

/// One transaction, as far as it is compared.
#[derive(Debug, Clone)]
struct Case {
    tx: B256,
    sender: Address,
    first: Option<Address>,
    /// True where it ran any code of others.
    is_call: bool,
    observed: Observed,
}

/// A sender, and a contract of his.
type Parties = (Address, Option<Address>);

/// What a bound comes to.
#[derive(Debug, Clone, Serialize)]
pub struct BoundRow {
    /// The bound: steps, or basis points.
    pub bound: u32,
    /// Attacks that are recognised by one that is certain to be earlier, of those with a date.
    pub by_earlier: Share,
    /// Attacks that are recognised by any other one, of all.
    pub by_any_other: Share,
    /// Ordinary transactions that are taken for an attack, of the first half and of the second.
    pub ordinary: [Share; 2],
}

/// How many ordinary transactions have something in common with another sender's, who called another contract first.
#[derive(Debug, Clone, Serialize)]
pub struct SharedRow {
    /// Fewest steps, or instructions.
    pub length: u32,
    /// Those that have it in common, of all that have it at that length.
    pub shared: Share,
}

/// An attack that was recognised.
#[derive(Debug, Clone, Serialize)]
pub struct Recognised {
    /// Transaction.
    pub tx: B256,
    /// Transaction of the known one.
    pub known: B256,
    /// In which way, for people.
    pub how: String,
    /// True where the known one is certain to be earlier.
    pub is_earlier: bool,
}

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Attacks, each transaction once.
    pub attacks: u64,
    /// Those with a date.
    pub dated: u64,
    /// Those that give a signature at the defaults.
    pub learned: u64,
    /// Most steps of an attack.
    pub steps_most: u64,
    /// Ordinary transactions that succeeded.
    pub ordinary: u64,
    /// Attacks that alarm alone by one that is certain to be earlier, of those with a date.
    pub by_earlier: Share,
    /// Attacks that alarm alone by any other one, of all.
    pub by_any_other: Share,
    /// Attacks that alarm only with another detector, by an earlier one, of those with a date.
    pub jointly_by_earlier: Share,
    /// The same by any other one, of all.
    pub jointly_by_any_other: Share,
    /// Ordinary transactions that the signatures of all attacks take for one alone.
    pub false_alarms: Share,
    /// The same per 100,000.
    pub false_alarms_per_100k: Share,
    /// Ordinary transactions that alarm only with another detector, per 100,000.
    pub joint_ordinary: Share,
    /// By the fewest steps of an exact shape.
    pub steps: Vec<BoundRow>,
    /// By the least similarity.
    pub similarities: Vec<BoundRow>,
    /// Shapes that ordinary transactions share.
    pub shared_shapes: Vec<SharedRow>,
    /// Instructions, without constants, that contracts share which ordinary senders called first.
    pub shared_codes: Vec<SharedRow>,
    /// The same of contracts that their transactions created.
    pub shared_new_codes: Vec<SharedRow>,
    /// The attacks that were recognised at the defaults.
    pub recognised: Vec<Recognised>,
    /// Ordinary transactions that were taken for an attack alone.
    pub alarms: Vec<Recognised>,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// Compares attacks with each other, and ordinary use with all of them. `tell` is told how many files are done, of how many.
///
/// # Errors
/// A path that cannot be read.
pub fn evaluate(
    attacks: &[PathBuf],
    benign: &[PathBuf],
    incidents: &Incidents,
    tell: Tell<'_>,
) -> Result<Evaluation, EngineError> {
    let attack = |_: &Path, executions: &[Execution]| -> Vec<Case> {
        let done = executions.iter().filter(|execution| execution.status.is_success());
        done.map(|execution| Case::of(execution, observed(execution))).collect()
    };
    let ordinary = |_: &Path, executions: &[Execution]| -> Vec<Case> {
        let public = public_contracts(executions);
        let done = executions.iter().filter(|execution| execution.status.is_success());
        done.map(|one| Case::of(one, Observed::of(&anyone(one, &public), one))).collect()
    };
    let (attacks, mut unread) = over_recordings((attacks, true), tell, &attack)?;
    let (benign, more) = over_recordings((benign, false), tell, &ordinary)?;
    unread.extend(more);
    let attacks = distinct(attacks);
    let known: BTreeSet<B256> = attacks.iter().map(|case| case.tx).collect();
    let mut benign = distinct(benign);
    benign.retain(|case| !known.contains(&case.tx));
    Ok(Comparison::new(attacks, benign, incidents).evaluation(unread))
}

impl Case {
    fn of(execution: &Execution, observed: Observed) -> Self {
        let transaction = &execution.transaction;
        let is_call = execution.frames.len() > 1 || !transaction.input.is_empty();
        Self { tx: execution.tx.hash, sender: transaction.from, first: transaction.to, is_call, observed }
    }

    fn parties(&self) -> Parties {
        (self.sender, self.first)
    }

    fn steps(&self) -> u32 {
        let steps = self.observed.shape.as_ref().map_or(0, |shape| shape.steps.len());
        u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

fn distinct(cases: Vec<Vec<Case>>) -> Vec<Case> {
    let mut seen = BTreeSet::new();
    cases.into_iter().flatten().filter(|case| seen.insert(case.tx)).collect()
}

/// Everything that is compared.
struct Comparison<'a> {
    attacks: Vec<Case>,
    benign: Vec<Case>,
    entries: Vec<Option<&'a Entry>>,
    /// A signature of every attack, however little it tells, in the order of the attacks.
    memory: Memory,
    limits: Limits,
}

/// Which known attacks an attack may be recognised by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    Earlier,
    AnyOther,
}

impl<'a> Comparison<'a> {
    fn new(attacks: Vec<Case>, benign: Vec<Case>, incidents: &'a Incidents) -> Self {
        let entries = attacks.iter().map(|case| incidents.of(&case.tx)).collect();
        let signature = |case: &Case| {
            let provenance =
                Provenance { chain_id: ChainId(0), tx: case.tx, incident: None, text: String::new() };
            let codes = case.observed.codes.iter().map(|code| code.mark).collect();
            let (name, class, shape) =
                (case.tx.to_string(), AttackClass::ControlFlow, case.observed.shape.clone());
            Arc::new(Signature { name, class, provenance, codes, shape })
        };
        let memory = Memory::of(attacks.iter().map(signature));
        Self { attacks, benign, entries, memory, limits: KnownAttackConfig::default().limits() }
    }

    /// Whether the attack at `at` may be recognised by the one at `known`.
    fn admits(&self, at: usize, known: usize, among: Among) -> bool {
        let (Some(one), Some(other)) = (self.attacks.get(at), self.attacks.get(known)) else { return false };
        if at == known || (one.first.is_some() && one.first == other.first) {
            return false;
        }
        let entry = |place: usize| self.entries.get(place).copied().flatten();
        match (entry(at), entry(known)) {
            (Some(one), Some(other)) => {
                !one.is_of_one_with(other) && (among == Among::AnyOther || other.is_before(one))
            }
            (None, _) | (_, None) => among == Among::AnyOther,
        }
    }

    /// The attacks that are recognised within the limits.
    fn recognised(&self, limits: &Limits, among: Among) -> Vec<(usize, usize, Likeness)> {
        let nearest = |(at, case): (usize, &Case)| {
            let admits = |known: usize| self.admits(at, known, among);
            let found = self.memory.nearest_of(&case.observed, limits, &admits)?;
            Some((at, found.place, found.likeness))
        };
        self.attacks.iter().enumerate().filter_map(nearest).collect()
    }

    fn of_benign(&self, limits: &Limits) -> Vec<(usize, usize, Likeness)> {
        let nearest = |(at, case): (usize, &Case)| {
            let found = self.memory.nearest(&case.observed, limits)?;
            Some((at, found.place, found.likeness))
        };
        self.benign.iter().enumerate().filter_map(nearest).collect()
    }

    fn dated(&self) -> u64 {
        count(self.entries.iter().flatten().count())
    }

    /// The shares of attacks and ordinary transactions that are recognised within the limits, and in a way that counts.
    fn row(&self, bound: u32, limits: &Limits, counts: impl Fn(&Likeness) -> bool) -> BoundRow {
        let attacks = |among| {
            let found = self.recognised(limits, among);
            count(found.iter().filter(|(.., likeness)| counts(likeness)).count())
        };
        let mut hits = [0u64; 2];
        for (at, ..) in self.of_benign(limits).iter().filter(|(.., likeness)| counts(likeness)) {
            if let Some(hit) = self.benign.get(*at).and_then(|case| hits.get_mut(half(case))) {
                *hit = hit.saturating_add(1);
            }
        }
        let of = |which| count(self.benign.iter().filter(|case| half(case) == which).count());
        let [first, second] = hits;
        BoundRow {
            bound,
            by_earlier: Share::new(attacks(Among::Earlier), self.dated()),
            by_any_other: Share::new(attacks(Among::AnyOther), count(self.attacks.len())),
            ordinary: [Share::per_100k(first, of(0)), Share::per_100k(second, of(1))],
        }
    }

    /// Ordinary transactions whose shape somebody else's has as well.
    fn shared_shapes(&self) -> Vec<SharedRow> {
        let calls = self.benign.iter().filter(|case| case.is_call);
        let shape = |case: &Case| Some((case.observed.shape_hash()?, case.steps(), case.parties()));
        shared(&calls.filter_map(shape).collect::<Vec<_>>(), &STEPS)
    }

    /// Contracts on the senders' sides in ordinary use, new ones or others, that run the instructions of somebody else's.
    fn shared_codes(&self, is_new: bool) -> Vec<SharedRow> {
        let codes = |case: &Case| {
            let codes = case.observed.codes.iter().filter(|code| code.is_new == is_new);
            let code = |code: &SeenCode| {
                (code.mark.opcodes_hash, code.mark.instructions, (case.sender, Some(code.contract)))
            };
            codes.map(code).collect::<Vec<_>>()
        };
        let all: BTreeSet<_> = self.benign.iter().flat_map(codes).collect();
        shared(&all.into_iter().collect::<Vec<_>>(), &INSTRUCTIONS)
    }

    fn named(&self, cases: &[Case], found: &[(usize, usize, Likeness)]) -> Vec<Recognised> {
        let one = |(at, known, likeness): &(usize, usize, Likeness)| {
            Some(Recognised {
                tx: cases.get(*at)?.tx,
                known: self.attacks.get(*known)?.tx,
                how: words(likeness),
                is_earlier: self.admits(*at, *known, Among::Earlier),
            })
        };
        found.iter().filter_map(one).collect()
    }

    fn evaluation(&self, unread: Vec<String>) -> Evaluation {
        let limits = self.limits;
        let (all, dated, ordinary) = (count(self.attacks.len()), self.dated(), count(self.benign.len()));
        let (earlier, other) =
            (self.recognised(&limits, Among::Earlier), self.recognised(&limits, Among::AnyOther));
        let benign = self.of_benign(&limits);
        let alone = |found: &[(usize, usize, Likeness)]| {
            count(found.iter().filter(|one| one.2.alarms_alone(&limits)).count())
        };
        let similar = |found: &[(usize, usize, Likeness)]| count(found.len()).saturating_sub(alone(found));
        let steps_row = |steps| {
            self.row(steps, &Limits { steps_min: steps, ..limits }, |likeness| {
                matches!(likeness, Likeness::SameShape { .. })
            })
        };
        let similarity_row = |bps| {
            // Without exact shapes and codes, so that the row is of similarity alone.
            let (steps_min, instructions_min, similarity_min_bps) = (u32::MAX, u32::MAX, Bps(bps));
            self.row(bps, &Limits { steps_min, instructions_min, similarity_min_bps, ..limits }, |_| true)
        };
        let alarms: Vec<_> =
            benign.iter().copied().filter(|(.., likeness)| likeness.alarms_alone(&limits)).collect();
        let learns = |case: &&Case| {
            let long = |code: &SeenCode| code.mark.instructions >= limits.instructions_min;
            let codes = case.observed.codes.iter().any(long);
            codes || case.observed.shape.as_ref().is_some_and(|shape| limits.tells(shape))
        };
        Evaluation {
            attacks: all,
            dated,
            learned: count(self.attacks.iter().filter(learns).count()),
            steps_most: self.attacks.iter().map(|case| u64::from(case.steps())).max().unwrap_or(0),
            ordinary,
            by_earlier: Share::new(alone(&earlier), dated),
            by_any_other: Share::new(alone(&other), all),
            jointly_by_earlier: Share::new(similar(&earlier), dated),
            jointly_by_any_other: Share::new(similar(&other), all),
            false_alarms: Share::new(alone(&benign), ordinary),
            false_alarms_per_100k: Share::per_100k(alone(&benign), ordinary),
            joint_ordinary: Share::per_100k(similar(&benign), ordinary),
            steps: STEPS.into_iter().map(steps_row).collect(),
            similarities: SIMILARITIES_BPS.into_iter().map(similarity_row).collect(),
            shared_shapes: self.shared_shapes(),
            shared_codes: self.shared_codes(false),
            shared_new_codes: self.shared_codes(true),
            recognised: self.named(&self.attacks, &other),
            alarms: self.named(&self.benign, &alarms).into_iter().map(Recognised::of_ordinary).collect(),
            unread,
        }
    }
}

/// For each length: how many things of at least that length somebody else has as well, in another contract.
fn shared(things: &[(B256, u32, Parties)], lengths: &[u32]) -> Vec<SharedRow> {
    let mut owners: BTreeMap<B256, BTreeSet<Parties>> = BTreeMap::new();
    for (hash, _, parties) in things {
        owners.entry(*hash).or_default().insert(*parties);
    }
    let is_shared = |hash: &B256, (sender, contract): &Parties| {
        let mut others = owners.get(hash).into_iter().flatten();
        others.any(|other| other.0 != *sender && other.1 != *contract)
    };
    let row = |length: u32| {
        let long = || things.iter().filter(|(_, found, _)| *found >= length);
        let shared = long().filter(|(hash, _, parties)| is_shared(hash, parties)).count();
        SharedRow { length, shared: Share::new(count(shared), count(long().count())) }
    };
    lengths.iter().copied().map(row).collect()
}

impl Recognised {
    /// Of an ordinary transaction no date is asked.
    fn of_ordinary(self) -> Self {
        Self { is_earlier: false, ..self }
    }
}

fn words(likeness: &Likeness) -> String {
    match likeness {
        Likeness::SameCode { .. } => "the same code".to_owned(),
        Likeness::SameInstructions { instructions, .. } => format!("the same {instructions} instructions"),
        Likeness::SameShape { steps } => format!("the same {steps} steps"),
        Likeness::Similar { similarity_bps } => format!("steps that are similar by {similarity_bps}"),
    }
}

/// Zero or one, by the last bit of the hash.
fn half(case: &Case) -> usize {
    usize::from(case.tx.0.last().is_some_and(|byte| byte % 2 == 1))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl Evaluation {
    /// The evaluation for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let of = |share: &Share| {
            format!("{} of {}, {} ({} to {})", share.count, share.of, share.share, share.low, share.high)
        };
        let (attacks, dated, learned, most) = (self.attacks, self.dated, self.learned, self.steps_most);
        let mut lines = vec![
            format!(
                "{attacks} attacks, {dated} with a date, {learned} of them give a signature; the longest has {most} steps"
            ),
            format!("alarm alone, by one that is certain to be earlier: {}", of(&self.by_earlier)),
            format!("alarm alone, by any other one: {}", of(&self.by_any_other)),
            format!(
                "only with another detector, by one that is certain to be earlier: {}",
                of(&self.jointly_by_earlier)
            ),
            format!("only with another detector, by any other one: {}", of(&self.jointly_by_any_other)),
            format!("ordinary transactions that alarm alone: {}", of(&self.false_alarms)),
            format!("  per 100,000: {}", of(&self.false_alarms_per_100k)),
            format!(
                "ordinary transactions that alarm only with another detector, per 100,000: {}",
                of(&self.joint_ordinary)
            ),
        ];
        let row = |what: &str, row: &BoundRow| {
            let [first, second] = row.ordinary;
            format!(
                "  {what} {}: attacks by earlier {}; by any other {}; ordinary {} of {} and {} of {}",
                row.bound,
                of(&row.by_earlier),
                of(&row.by_any_other),
                first.count,
                first.of,
                second.count,
                second.of
            )
        };
        lines.extend(self.steps.iter().map(|one| row("the same steps, at least", one)));
        lines.extend(self.similarities.iter().map(|one| row("similar by basis points, at least", one)));
        lines.extend(self.shared_shapes.iter().map(|row| {
            format!(
                "  ordinary shapes of at least {} steps that others have as well: {}",
                row.length,
                of(&row.shared)
            )
        }));
        for (what, rows) in [("called first", &self.shared_codes), ("created", &self.shared_new_codes)] {
            lines.extend(rows.iter().map(|row| {
                let (length, shared) = (row.length, of(&row.shared));
                format!("  codes of at least {length} instructions that ordinary senders {what} and others have: {shared}")
            }));
        }
        lines.extend(self.recognised.iter().map(|one| {
            let earlier = if one.is_earlier { ", which is earlier" } else { "" };
            format!("recognised {}: {} of {}{earlier}", one.tx, one.how, one.known)
        }));
        lines.extend(
            self.alarms
                .iter()
                .map(|one| format!("alarm on ordinary {}: {} of {}", one.tx, one.how, one.known)),
        );
        lines.extend(self.unread.iter().map(|reason| format!("not read: {reason}")));
        lines
    }
}
