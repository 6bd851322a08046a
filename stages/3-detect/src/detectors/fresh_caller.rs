//! Fresh caller: a contract that the same transaction created calls the protocol.
//!
//! In: calls and creations. Out: a finding where a contract of the sender's side, born in this transaction, calls a
//! protected contract. Must never: speak of an attack by itself. Factories and wallets of one use exist.
//!
//! Whoever attacks from a constructor, or creates his contract and strikes at once, leaves no time in which the
//! contract could be looked at before (19 of 93 archived attacks, against 13 of 6,041 ordinary calls, `cordon backtest`;
//! detectors of new contracts miss them by construction, LookAhead 2024). Users come with accounts that exist. Limits: a contract that was created a block
//! earlier is not seen here.

use crate::detector::{Detector, Statement};
use crate::parties::{SendersSide, is_creation};
use alloy_primitives::map::AddressSet;
use cordon_model::execution::Execution;
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use serde::Deserialize;

/// Half of what opens an incident: together with another detector it does, alone it does not.
const SCORE: Score = Score(300);

/// Configuration of [`FreshCaller`]. There is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshCallerConfig {}

impl FreshCallerConfig {
    /// The detector.
    #[must_use]
    pub fn build(&self) -> FreshCaller {
        FreshCaller {}
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct FreshCaller {}

impl Detector for FreshCaller {
    fn name(&self) -> &'static str {
        "fresh-caller"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let side = SendersSide::of(protocol, execution);
        let created = execution.frames.iter().filter(|frame| is_creation(frame) && !frame.reverted);
        let fresh: AddressSet =
            created.map(|frame| frame.address).filter(|address| side.has(*address)).collect();
        let mut entries = side.entries(protocol, execution);
        let entry = entries.find(|frame| fresh.contains(&frame.caller) && frame.selector().is_some());
        let Some(entry) = entry else { return Vec::new() };
        let (caller, contract, function) = (entry.caller, entry.address, entry.selector());
        vec![
            Statement {
                class: AttackClass::ControlFlow,
                contract,
                score: SCORE,
                evidence: Evidence::FreshCaller { caller, contract, function },
            }
            .by(self.name(), protocol, execution),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use alloy_primitives::Address;
    use cordon_model::execution::FrameKind;

    fn judged(execution: &Execution) -> Vec<Finding> {
        FreshCallerConfig::default().build().inspect(&World::protocol(), execution)
    }

    fn created(inside: impl FnOnce(&mut Script), after: impl FnOnce(&mut Script)) -> Execution {
        let mut script = World::new().script();
        script.create(CHILD, inside);
        script.call(CHILD, 7, after);
        script.finish(&[])
    }

    fn caller(findings: &[Finding]) -> Option<Address> {
        match &findings.first()?.evidence {
            Evidence::FreshCaller { caller, contract: LENDING_VAULT, .. } => Some(*caller),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_contract_born_in_the_transaction_that_calls_the_protocol_is_a_finding() {
        let from_constructor = created(|script| script.call(LENDING_VAULT, 1, |_| {}), |_| {});
        assert_eq!(caller(&judged(&from_constructor)), Some(CHILD));
        let at_once = created(|_| {}, |script| script.call(LENDING_VAULT, 1, |_| {}));
        assert_eq!(caller(&judged(&at_once)), Some(CHILD));
    }

    #[test]
    fn a_new_contract_that_leaves_the_protocol_alone_is_none() {
        assert_eq!(judged(&created(|_| {}, |script| script.call(BOB, 1, |_| {}))), []);
    }

    #[test]
    fn a_contract_that_the_protocol_itself_creates_is_no_strangers() {
        let mut script = World::new().script();
        script.call(COLLATERAL_VAULT, 1, |script| {
            script.create(CHILD, |script| script.call(LENDING_VAULT, 1, |_| {}));
        });
        assert_eq!(judged(&script.finish(&[])), []);
    }

    #[test]
    fn a_contract_that_a_new_contract_creates_is_new_as_well() {
        let grandchild = Address::repeat_byte(0xcc);
        let mut script = World::new().script();
        script.create(CHILD, |script| {
            script.create(grandchild, |script| script.call(LENDING_VAULT, 1, |_| {}));
        });
        assert_eq!(caller(&judged(&script.finish(&[]))), Some(grandchild));
    }

    #[test]
    fn a_call_that_was_undone_did_not_happen() {
        let undone = created(|_| {}, |script| script.reverted(LENDING_VAULT, 1, |_| {}));
        assert_eq!(judged(&undone), []);
    }

    #[test]
    fn looking_is_not_calling() {
        let look = |script: &mut Script| {
            script.frame(FrameKind::StaticCall, LENDING_VAULT, selector(1).as_slice(), |_| {});
        };
        assert_eq!(judged(&created(look, |_| {})), []);
    }
}
