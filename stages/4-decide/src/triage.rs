//! How bad it is.
//!
//! In: an incident. Out: a severity and the grounds for it. Must never: lower a severity that was set; the engine
//! records a triage only where it raises.

use crate::policy::Policy;
use alloy_primitives::U256;
use cordon_model::finding::Evidence;
use cordon_model::incident::{Incident, Severity};
use cordon_model::units::{Bps, format_value};

/// Severity of an incident as its findings stand, with the grounds in one sentence.
#[must_use]
pub fn triage(incident: &Incident, policy: &Policy) -> (Severity, String) {
    let losses = incident.findings.iter().filter_map(|finding| match &finding.evidence {
        Evidence::ValueLoss { loss_wad, loss_share_bps, .. } => Some((*loss_wad, *loss_share_bps)),
        Evidence::Reentry { .. }
        | Evidence::RateJump { .. }
        | Evidence::FlashLoan { .. }
        | Evidence::RepeatedCalls { .. }
        | Evidence::FreshCaller { .. }
        | Evidence::Profit { .. }
        | Evidence::Unprecedented { .. }
        | Evidence::AllowanceDrain { .. }
        | Evidence::PriceManipulation { .. }
        | Evidence::Privilege { .. }
        | Evidence::Ordinary { .. }
        | Evidence::Sign(_)
        | Evidence::Rule { .. } => None,
    });
    let (mut total, mut share) = (U256::ZERO, Bps(0));
    for (loss_wad, loss_share_bps) in losses {
        total = total.saturating_add(loss_wad);
        share = share.max(loss_share_bps.unwrap_or(Bps(0)));
    }
    let detectors = incident.classes().len();
    if share >= Bps(policy.critical_loss_bps) {
        (
            Severity::Critical,
            format!("value {} left, {share} of the holdings in one transaction", format_value(total)),
        )
    } else if !total.is_zero() {
        (Severity::High, format!("value {} left", format_value(total)))
    } else if detectors > 1 {
        (Severity::High, format!("{detectors} kinds of attack in one incident, no loss measured yet"))
    } else {
        (Severity::Medium, "one kind of attack, no loss measured yet".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{finding, incident_of, value_loss};

    #[test]
    fn a_large_loss_wakes_everybody() {
        let (severity, why) = triage(&incident_of(value_loss(10, 500_000, 1_600)), &Policy::default());
        assert_eq!(severity, Severity::Critical);
        assert!(why.contains("500,000.00") && why.contains("16.00 %"), "{why}");
    }

    #[test]
    fn a_small_loss_is_high_and_no_loss_is_medium() {
        assert_eq!(triage(&incident_of(value_loss(10, 500, 1)), &Policy::default()).0, Severity::High);
        assert_eq!(
            triage(&incident_of(finding("reentrancy", 10, 0, 900)), &Policy::default()).0,
            Severity::Medium
        );
    }
}
