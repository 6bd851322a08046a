//! Invariants that nobody wrote: what held in every ordinary use of a function for long, and does not hold now.
//!
//! In: how one transaction uses the functions of a protocol, and the protocol's [`Baseline`]. Out: which inferred bounds it exceeds, with
//! the support of each, and a finding where bounds of several kinds break together. Must never: learn, or take a bound for
//! an invariant that was exceeded lately.
//!
//! A bound is the most that ever was. Its *support* is how many uses in a row kept to it, up to now; by the rule of succession the next one
//! keeps to it as well with probability `(n + 1) / (n + 2)`, its *confidence*. A counter, a deadline or a growing amount exceeds its bound
//! all the time and never has support, so that nothing has to be known of what an argument means.
//!
//! The templates are the 23 of Trace2Inv (FSE 2024), as far as what a transaction did tells them, and conservation. How many of 27
//! exploits each breaks in there, and its false alarms alone:
//!
//! | group | template | exploits | false alarms | kind | here |
//! |---|---|---|---|---|---|
//! | access control | only by accounts | 15 | 0.2 % | access | [`access`] |
//! | | sender is owner; is a manager | 4; 3 | 0.6; 0.5 % | | `first-actor`, of whoever calls |
//! | | origin is owner; is a manager | 6; 8 | 1.8; 2.6 % | | left out: accounts are tricked and relayed for, and who calls says it with fewer alarms |
//! | time lock | one call per sender and block | 9 | 0.0 % | repetition | [`entries`]: within the transaction |
//! | | one call per origin and block | 11 | 0.0 % | repetition | [`same_block`] |
//! | | pause between calls of a sender | 10 | 2.4 % | | left out: every sender's last call of every function would have to be kept for as long as people pause; what attacks do is the pause of nothing, which the line above has |
//! | gas | gas at the start | 18 | 2.4 % | | left out: the sender chooses it freely |
//! | | gas used | 15 | 2.6 % | data | [`gas`] |
//! | re-entrancy | lock | 2 | 0.0 % | repetition | [`entries`] |
//! | oracle | range | 5 | 22.3 % | | left out: prices leave their range; `oracle` has declared ones |
//! | | deviation | 4 | 4.6 % | data | [`answers`] |
//! | storage | total supply | 7 | 7.9 % | data | [`supply`]: its growth in one transaction, not its level |
//! | | total borrow | 6 | 12.6 % | | left out: a level that grows with success, without a common view; [`solvency`] instead |
//! | data flow | values in mappings | 1 | 1.5 % | | left out: which mapping a slot is in is not recorded of every transaction, for one exploit |
//! | | coins sent along | 2 | 0.7 % | data | [`arguments`] |
//! | | arguments from above; from below | 17; 1 | 1.6; 0.9 % | data | [`arguments`] |
//! | money flow | tokens in; out | 8; 17 | 0.7; 0.4 % | flow | [`flow`] |
//! | | ratio of tokens in; out | 5; 15 | 0.8; 1.4 % | flow | [`shares`] |
//! | none | nothing is paid for nothing | | | conservation | [`flow`] |
//! | | the price of a share does not fall or leap | | | conservation | [`share_price`] |
//! | | no loss by the books | | | conservation | [`solvency`] |
//!
//! There "only by accounts, and same block or data bound" found 20 at 0.3 % false alarms, "only by accounts, gas and data" 23 at 4 %;
//! alone most templates raise more than one in a hundred. So kinds have to break together. What needs readings (ratios, supply,
//! books) says nothing where they could not be taken.

mod access;
mod answers;
mod arguments;
mod entries;
mod flow;
mod gas;
mod same_block;
mod share_price;
mod shares;
mod solvency;
mod supply;

use crate::detector::{Comparison, Detector, Statement};
use crate::detectors::ConfigError;
use crate::entry::{Entries, Entry};
use alloy_primitives::{Address, B256, Selector, U256, keccak256};
use cordon_model::baseline::{Aspect, Baseline, First, Measure};
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::sign::{Broken, BrokenInvariant, Sign};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Every template.
const TEMPLATES: [fn(&Entries<'_>, &Baseline) -> Vec<Bound>; 11] = [
    access::bounds,
    answers::bounds,
    arguments::bounds,
    entries::bounds,
    flow::bounds,
    gas::bounds,
    same_block::bounds,
    share_price::bounds,
    shares::bounds,
    solvency::bounds,
    supply::bounds,
];

/// Most broken invariants named by a finding; people read a few.
const NAMED_MAX: usize = 12;

/// Somebody new, with something new, and value is involved: opens an incident alone, as the default policy has it.
const ALARM: Score = Score(600);
/// Two kinds of which the learned baseline knows nothing, or conservation: counts together with another detector.
const JOINT: Score = Score(300);
/// Two kinds that mostly grow together: large use.
const LARGE: Score = Score(200);

/// What one transaction measured against one bound.
#[derive(Debug, Clone, Copy)]
struct Bound {
    aspect: Aspect,
    contract: Address,
    function: Option<Selector>,
    /// Of what exactly: the function, an argument, an asset.
    key: B256,
    /// Whose uses are the support.
    subject: B256,
    value: U256,
}

impl Bound {
    /// Of a part of a function, supported by all uses of the function.
    fn of_part(entry: &Entry<'_>, aspect: Aspect, part: &[u8], value: U256) -> Self {
        let (contract, function) = (entry.contract(), entry.function());
        Self { aspect, contract, function, key: entry.key_with(part), subject: entry.key(), value }
    }

    /// Of something whose uses are counted by themselves.
    fn alone(contract: Address, aspect: Aspect, key: B256, value: U256) -> Self {
        Self { aspect, contract, function: None, key, subject: key, value }
    }
}

/// Kinds of invariants; those of one kind tend to break together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Access,
    Repetition,
    Data,
    Flow,
    Conservation,
}

/// The kind of an aspect; `None` for those that are no invariants.
fn kind(aspect: Aspect) -> Option<Kind> {
    Some(match aspect {
        Aspect::CalledByContract => Kind::Access,
        Aspect::Entries | Aspect::BlockEntries | Aspect::Nested => Kind::Repetition,
        Aspect::Gas | Aspect::Argument | Aspect::ArgumentLeast | Aspect::CallValue => Kind::Data,
        Aspect::SupplyGrowth | Aspect::AnswerMove => Kind::Data,
        Aspect::PaidOut | Aspect::PaidOutShare | Aspect::TakenIn | Aspect::TakenInShare => Kind::Flow,
        Aspect::PaidForNothing | Aspect::SharePriceFall | Aspect::SharePriceRise | Aspect::BookLoss => {
            Kind::Conservation
        }
        _ => return None,
    })
}

/// How established an invariant has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InvariantsConfig {
    /// Uses in a row that kept to a bound before it counts, from 10 on. A hundred: a confidence of 99 %.
    pub support_min: u64,
}

impl Default for InvariantsConfig {
    fn default() -> Self {
        Self { support_min: 100 }
    }
}

impl InvariantsConfig {
    /// # Errors
    /// A support that says nothing.
    pub fn build(self) -> Result<Invariants, ConfigError> {
        if self.support_min >= 10 {
            return Ok(Invariants(self));
        }
        let (key, value) = ("invariants.support_min", self.support_min.to_string());
        Err(ConfigError { key, value, expected: "a number of uses from 10 on" })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Invariants(InvariantsConfig);

impl Detector for Invariants {
    fn name(&self) -> &'static str {
        "invariants"
    }

    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        let entries = Entries::of(protocol, execution);
        [shares::views(&entries), supply::views(&entries)].concat()
    }

    /// Nothing: what always held is not known without a past.
    fn inspect(&self, _: &Protocol, _: &Execution) -> Vec<Finding> {
        Vec::new()
    }

    fn compares(&self) -> bool {
        true
    }

    fn compare(&self, protocol: &Protocol, execution: &Execution, baseline: &Baseline) -> Comparison {
        let entries = Entries::of(protocol, execution);
        let (broken, firsts) = judge(&bounds(&entries, baseline), baseline);
        let mut established: Vec<BrokenInvariant> =
            broken.into_iter().filter(|one| one.support >= self.0.support_min).collect();
        established.sort_by_key(|one| std::cmp::Reverse(one.support));
        let kinds: BTreeSet<Kind> = established.iter().filter_map(|one| kind(one.aspect)).collect();
        let finding = score(&kinds).zip(established.first().copied()).map(|(score, first)| {
            established.truncate(NAMED_MAX);
            let evidence = Evidence::Sign(Sign::Broken(Broken { invariants: established }));
            Statement { class: AttackClass::Invariant, contract: first.contract, score, evidence }.by(
                self.name(),
                protocol,
                execution,
            )
        });
        let tallies =
            [same_block::tallies(&entries, baseline), answers::tallies(&entries, baseline)].concat();
        Comparison { findings: finding.into_iter().collect(), firsts, tallies, gaps: Vec::new() }
    }
}

/// What is measured, the most of each.
fn bounds(entries: &Entries<'_>, baseline: &Baseline) -> Vec<Bound> {
    let mut most: BTreeMap<(Aspect, B256), Bound> = BTreeMap::new();
    for bound in TEMPLATES.iter().flat_map(|template| template(entries, baseline)) {
        let known = most.entry((bound.aspect, bound.key)).or_insert(bound);
        if known.value < bound.value {
            *known = bound;
        }
    }
    most.into_values().collect()
}

/// Which bounds are exceeded, whatever their support, and what is to be learned.
fn judge(bounds: &[Bound], baseline: &Baseline) -> (Vec<BrokenInvariant>, Vec<First>) {
    let number = |aspect, key| -> u64 { baseline.most(aspect, key).unwrap_or_default().saturating_to() };
    let (mut broken, mut measures) = (Vec::new(), Vec::new());
    let subjects: BTreeSet<B256> = bounds.iter().map(|bound| bound.subject).collect();
    for subject in subjects {
        let uses = number(Aspect::Uses, subject).saturating_add(1);
        measures.push(Measure { aspect: Aspect::Uses, key: subject, value: U256::from(uses) });
    }
    for bound in bounds {
        let Bound { aspect, contract, function, key, subject, value: found } = *bound;
        let before = baseline.most(aspect, key);
        if before.is_some_and(|before| found <= before) {
            continue;
        }
        let (uses, since_key) = (number(Aspect::Uses, subject), since(aspect, key));
        let support = uses.saturating_sub(number(Aspect::Since, since_key));
        measures.push(Measure { aspect, key, value: found });
        let use_now = U256::from(uses.saturating_add(1));
        measures.push(Measure { aspect: Aspect::Since, key: since_key, value: use_now });
        // That nothing happened is learned; it breaks nothing. And there is no least of what never was.
        if found.is_zero() || (aspect.is_least() && before.is_none()) {
            continue;
        }
        let (bound, found) = (aspect.amount(before.unwrap_or_default()), aspect.amount(found));
        broken.push(BrokenInvariant { contract, function, aspect, bound, found, support });
    }
    // The highest price is no bound; it says how far the next one fell or rose.
    broken.retain(|one| one.aspect != Aspect::SharePrice);
    (broken, baseline.firsts(&measures))
}

/// Under which key it stands when a bound was last exceeded.
fn since(aspect: Aspect, key: B256) -> B256 {
    keccak256([aspect.to_string().as_bytes(), key.as_slice()].concat())
}

/// What broken kinds say together.
fn score(kinds: &BTreeSet<Kind>) -> Option<Score> {
    let has = |kind| kinds.contains(&kind);
    let moves = has(Kind::Flow) || has(Kind::Conservation);
    if has(Kind::Access) && moves && (has(Kind::Data) || has(Kind::Repetition)) {
        return Some(ALARM);
    }
    if has(Kind::Conservation) || (has(Kind::Access) && kinds.len() > 1) {
        return Some(JOINT);
    }
    (kinds.len() > 1).then_some(LARGE)
}

#[cfg(test)]
mod tests;
