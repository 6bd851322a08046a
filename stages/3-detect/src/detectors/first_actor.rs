//! First actor: somebody called a function that only few ever called, and was none of them.
//!
//! In: who enters the protocol from outside, and who did before. Out: a finding for each such function. Must never: need to be told
//! which functions are privileged. Whatever is used for long by a few accounts only is a privileged path, whether its code checks that
//! (so that the new one was given a right, or found a way around the check) or does not (so that the check is missing).
//!
//! Source: owner and manager checks as Trace2Inv (FSE 2024) infers them from history (3 to 8 of 27 exploits at 0.5 to 2.6 % false
//! alarms); stolen keys act by functions that nobody else used (Ronin, Orbit), missing checks are found by the first stranger who
//! tries (Audius, Punk Protocol). Limits: a new keeper or a new multisig looks the same, which is why it wakes nobody alone; the few
//! who may are believed; records without callers tell nothing.

use crate::detector::{Comparison, Detector, Statement};
use crate::entry::{Entries, Entry};
use alloy_primitives::{B256, U256};
use cordon_model::baseline::{Aspect, Baseline, Measure};
use cordon_model::execution::{Detail, Execution};
use cordon_model::finding::sign::{self, Sign};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Counts together with another detector.
const SCORE: Score = Score(300);

/// Callers up to which a function is a path of few. Teams run a multisig, a keeper, and one in reserve.
const FEW: u64 = 3;

/// Callers beyond which none is remembered: the function is open to everybody.
const OPEN: u64 = 5;

/// Uses after which it says something that they were few: of twenty uses by three callers, three were somebody's first (15 %). Chosen,
/// not measured.
const USES_MIN: u64 = 20;

/// Configuration of [`FirstActor`]. There is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstActorConfig {}

impl FirstActorConfig {
    /// The detector.
    #[must_use]
    pub fn build(&self) -> FirstActor {
        FirstActor {}
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct FirstActor {}

impl Detector for FirstActor {
    fn name(&self) -> &'static str {
        "first-actor"
    }

    /// Nothing: who is new is not known without a past.
    fn inspect(&self, _: &Protocol, _: &Execution) -> Vec<Finding> {
        Vec::new()
    }

    fn compares(&self) -> bool {
        true
    }

    fn compare(&self, protocol: &Protocol, execution: &Execution, baseline: &Baseline) -> Comparison {
        let mut comparison = Comparison::default();
        if execution.detail == Detail::Entries {
            return comparison;
        }
        let entries = Entries::of(protocol, execution);
        // One entry of each function: the first by somebody new, or else the first.
        let mut functions: BTreeMap<B256, (&Entry<'_>, bool)> = BTreeMap::new();
        for entry in &entries.calls {
            let is_new = baseline.most(Aspect::Caller, caller_key(entry)).is_none();
            let known = functions.entry(entry.key()).or_insert((entry, is_new));
            if is_new && !known.1 {
                *known = (entry, is_new);
            }
        }
        for (key, (entry, is_new)) in functions {
            let number = |aspect| -> u64 { baseline.most(aspect, key).unwrap_or_default().saturating_to() };
            let (callers, uses) = (number(Aspect::Callers), number(Aspect::Uses));
            let measure = |aspect, key, value| Measure { aspect, key, value: U256::from(value) };
            let mut measures = vec![measure(Aspect::Uses, key, uses.saturating_add(1))];
            if is_new && callers <= OPEN {
                measures.push(measure(Aspect::Caller, caller_key(entry), 1));
                measures.push(measure(Aspect::Callers, key, callers.saturating_add(1)));
            }
            comparison.firsts.extend(baseline.firsts(&measures));
            if is_new && (1..=FEW).contains(&callers) && uses >= USES_MIN {
                let (contract, function) = (entry.contract(), entry.function());
                let first =
                    sign::FirstActor { contract, function, caller: entry.frame.caller, callers, uses };
                let evidence = Evidence::Sign(Sign::FirstActor(first));
                let statement = Statement { class: AttackClass::Privilege, contract, score: SCORE, evidence };
                comparison.findings.push(statement.by(self.name(), protocol, execution));
            }
        }
        comparison
    }
}

fn caller_key(entry: &Entry<'_>) -> B256 {
    entry.key_with(entry.frame.caller.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use alloy_primitives::Address;
    use cordon_model::units::BlockRef;

    const KEEPER: Address = Address::repeat_byte(0x7e);

    /// So many calls of one function by accounts in turn, all of them ordinary.
    fn learned(callers: &[Address], uses: usize) -> Baseline {
        let mut baseline = Baseline::default();
        for (number, caller) in (1..).zip(callers.iter().cycle().take(uses)) {
            let block = BlockRef { number, hash: B256::ZERO };
            baseline.learn(block, number, &judged(*caller, &baseline).measures());
        }
        baseline
    }

    fn judged(caller: Address, baseline: &Baseline) -> Comparison {
        let mut script = Script::new(World::new(), caller, caller);
        script.call(LENDING_VAULT, 7, |_| {});
        FirstActorConfig::default().build().compare(&World::protocol(), &script.finish(&[]), baseline)
    }

    #[test]
    fn a_stranger_on_a_path_of_few_is_named() {
        let findings = judged(BOB, &learned(&[KEEPER, ALICE], 20)).findings;
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        let first = sign::FirstActor {
            contract: LENDING_VAULT,
            function: Some(selector(7)),
            caller: BOB,
            callers: 2,
            uses: 20,
        };
        assert_eq!(finding.evidence, Evidence::Sign(Sign::FirstActor(first)));
        assert_eq!((finding.score, finding.class), (SCORE, AttackClass::Privilege));
    }

    /// The near misses and benign twins: a known caller, a young function, and one that everybody calls.
    #[test]
    fn known_callers_young_and_open_functions_are_ordinary() {
        assert_eq!(judged(KEEPER, &learned(&[KEEPER], 40)).findings, []);
        assert_eq!(judged(BOB, &learned(&[KEEPER], 19)).findings, []);
        let many: Vec<Address> = (0x70..=0x73).map(Address::repeat_byte).collect();
        assert_eq!(judged(BOB, &learned(&many, 40)).findings, []);
    }

    #[test]
    fn an_open_function_remembers_nobody() {
        let crowd: Vec<Address> = (0x70..=0xb0).map(Address::repeat_byte).collect();
        let firsts = judged(BOB, &learned(&crowd, 100)).firsts;
        let aspects: Vec<Aspect> = firsts.iter().map(|first| first.measure.aspect).collect();
        assert_eq!(aspects, [Aspect::Uses]);
    }

    /// Hostile input: a known caller first, the stranger behind it; and a call that was undone.
    #[test]
    fn the_stranger_does_not_hide_behind_a_known_caller() {
        let baseline = learned(&[CONTROLLER], 30);
        let mut script = Script::new(World::new(), ALICE, CONTROLLER);
        script.call(LENDING_VAULT, 7, |_| {});
        script
            .frame(cordon_model::execution::FrameKind::Call, BOB, &[], |s| s.call(LENDING_VAULT, 7, |_| {}));
        let detector = FirstActorConfig::default().build();
        let mut execution = script.finish(&[]);
        assert_eq!(detector.compare(&World::protocol(), &execution, &baseline).findings.len(), 1);
        execution.frames.iter_mut().for_each(|frame| frame.reverted = true);
        assert_eq!(detector.compare(&World::protocol(), &execution, &baseline), Comparison::default());
    }
}
