//! What the sender's side gained was owed to it: a withdrawal, or a loan against collateral, as the protocol's own books have it.
//!
//! In: a protocol whose books the operator described, and an execution with its readings. Out: whether both sides of the books fell
//! alike. Must never: believe books that are incomplete.
//!
//! `profit` counts tokens. A debt or a deposit that is a line in a contract's storage is none, so that every loan of such a market
//! looks like a gift. Where prices, balances and account lines are all known, `value-loss` knows better: it would speak if more
//! left than obligations fell. So a gain is owed where
//!
//! 1. every asset that left the protocol has a price,
//! 2. everything that the books need was read, and
//! 3. the system lost nothing in value, up to rounding.
//!
//! It is only asked where `profit` is alone. With borrowed coins, a hundred calls or anything else beside it, the operator's prices
//! and the protocol's views are not believed against the rest.

use crate::detectors::value_loss::books_are_even;
use crate::parties::Crossing;
use cordon_model::execution::{Execution, Transfer};
use cordon_model::finding::{Evidence, Finding};
use cordon_model::protocol::{Price, Protocol};

/// Whether the only finding is on a gain that was owed.
pub(super) fn explains(protocol: &Protocol, execution: &Execution, findings: &[Finding]) -> bool {
    let [Finding { evidence: Evidence::Profit { .. }, .. }] = findings else { return false };
    let leaves = |moved: &&Transfer| Crossing::of(protocol, moved) == Some(Crossing::Out);
    let left = execution.transfers.iter().filter(leaves);
    let is_priced = |asset| protocol.asset(asset).is_some_and(|spec| spec.price != Price::Unpriced);
    left.map(|moved| moved.asset).all(is_priced) && books_are_even(protocol, execution)
}

#[cfg(test)]
mod tests {
    use crate::DetectorSet;
    use crate::detectors::DetectorConfig;
    use crate::testing::*;
    use alloy_primitives::U256;
    use cordon_model::finding::{Evidence, Finding, OrdinaryPattern};
    use cordon_model::protocol::{Price, Protocol};

    fn judged(script: Script, protocol: Protocol) -> Vec<Finding> {
        let set = DetectorSet::from_configs(&DetectorConfig::all(), vec![protocol]).unwrap();
        set.inspect(&script.judged_by(&set))
    }

    /// Alice borrows 500 dollars; she pledged shares worth 1,000 before, or nothing.
    fn loan(pledged: bool) -> Script {
        let mut world = World::new();
        if pledged {
            world.collateral.insert(ALICE, wad(10));
        }
        let mut script = Script::new(world, ALICE, LENDING_VAULT);
        script.write(DEBT_SLOT, wad(500));
        script.transfer(USD, LENDING_VAULT, ALICE, wad(500));
        script.now.debts.insert(ALICE, wad(500));
        script
    }

    fn patterns(findings: &[Finding]) -> Vec<(Option<OrdinaryPattern>, u16)> {
        let pattern = |finding: &Finding| match &finding.evidence {
            Evidence::Ordinary { pattern, .. } => Some(*pattern),
            _ => None,
        };
        findings.iter().map(|finding| (pattern(finding), finding.score.0)).collect()
    }

    #[test]
    fn a_loan_against_collateral_is_owed() {
        let findings = judged(loan(true), World::protocol());
        assert_eq!(patterns(&findings), [(Some(OrdinaryPattern::Owed), 200)]);
        let text = findings[0].evidence.to_string();
        assert!(text.ends_with("ordinary as part of what was owed, by the protocol's own books"), "{text}");
    }

    /// The near misses: a loan against nothing, an asset that has no price, and an account line that cannot be read.
    #[test]
    fn what_the_books_do_not_show_is_not_owed() {
        let findings = judged(loan(false), World::protocol());
        assert!(findings.len() > 1 && findings.iter().any(|finding| finding.score.0 == 300), "{findings:?}");
        let mut unpriced = World::protocol();
        unpriced.assets[0].price = Price::Unpriced;
        assert!(patterns(&judged(loan(true), unpriced)).contains(&(None, 300)));
        let mut silent = World::protocol();
        silent.account_views[0].selector = selector(99);
        assert!(patterns(&judged(loan(true), silent)).contains(&(None, 300)));
    }

    /// Hostile input: with any other sign beside it nothing is explained.
    #[test]
    fn beside_another_sign_the_books_are_not_believed() {
        let mut script = loan(true);
        for _ in 0..12 {
            script.frame(cordon_model::execution::FrameKind::Call, ALICE, &[], |s| {
                s.call(LENDING_VAULT, 9, |_| {})
            });
        }
        script.now.debts.insert(BOB, U256::ZERO);
        let findings = judged(script, World::protocol());
        assert!(findings.iter().any(|finding| finding.detector == "repeated-calls"), "{findings:?}");
        assert!(patterns(&findings).iter().all(|(pattern, _)| pattern.is_none()), "{findings:?}");
    }
}
