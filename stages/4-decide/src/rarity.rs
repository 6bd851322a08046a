//! How rare it is that ordinary use looks like this.
//!
//! In: an incident that was just opened, and how strong the findings on its protocol's transactions were before. Out: one
//! sentence for whoever is woken. Must never: count an attack for ordinary use, or show a share without its count.
//!
//! The probability is a conformal p-value (Vovk et al., "Algorithmic Learning in a Random World", 2005): of `n` transactions that
//! are exchangeable with this one, with `k` as strong, a new one is as strong with probability `(k + 1) / (n + 1)` at most. It is
//! never below `1 / (n + 1)`, however strange the transaction is, and says nothing where use has changed.

use crate::policy::Policy;
use cordon_model::calibration::{Strengths, Weight};
use cordon_model::finding::Score;
use cordon_model::incident::{Incident, Standing};
use cordon_model::units::TxRef;
use std::collections::BTreeMap;

/// How often transactions of the incident's protocol were as strong as its strongest one before, of so many ordinary
/// transactions; `None` where nothing is known of them.
#[must_use]
pub fn rarity(
    policy: &Policy,
    incident: &Incident,
    past: (&Strengths, u64),
    known: &[&Incident],
) -> Option<String> {
    let (strengths, transactions) = past;
    if transactions == 0 {
        return None;
    }
    let found = policy.strongest(incident);
    let attacks = attacks(policy, incident, known);
    let attacks_as_strong = attacks.values().filter(|strength| **strength >= found).count();
    let as_strong =
        strengths.reaching(found).saturating_sub(u64::try_from(attacks_as_strong).unwrap_or(u64::MAX));
    let nearest = strengths.loudest_first().find(|weight| !attacks.contains_key(&weight.tx));
    let bound = inverse(as_strong.saturating_add(1), transactions.saturating_add(1));
    let rare =
        format!("as strong as {as_strong} of {transactions} ordinary transactions before, p at most {bound}");
    Some(match nearest {
        Some(Weight { tx, strength, detectors, .. }) => {
            let who = detectors.join(", ");
            format!("{rare}; the strongest of them was {} with {strength} ({who}), this is {found}", tx.hash)
        }
        None => format!("{rare}; no detector spoke of any of them"),
    })
}

/// Transactions of the same protocol that people have not called ordinary.
fn attacks(policy: &Policy, incident: &Incident, known: &[&Incident]) -> BTreeMap<TxRef, Score> {
    let others = known.iter().filter(|other| {
        other.protocol == incident.protocol
            && other.chain_id == incident.chain_id
            && other.standing != Standing::FalseAlarm
    });
    others.flat_map(|other| policy.strengths(other)).collect()
}

/// A share with as many decimals as it takes to show it, rounded up.
fn inverse(count: u64, of: u64) -> String {
    let (mut decimals, mut scale) = (3usize, 1_000u128);
    while u128::from(count).saturating_mul(scale) < u128::from(of) && decimals < 18 {
        (decimals, scale) = (decimals.saturating_add(1), scale.saturating_mul(10));
    }
    let scaled = u128::from(count).saturating_mul(scale).div_ceil(u128::from(of.max(1))).min(scale);
    format!("{}.{:0decimals$}", scaled / scale, scaled % scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{finding, incident_of};
    use cordon_model::incident::IncidentEvent;

    /// Findings at blocks, as the log would have them.
    fn strengths(at: &[(u64, u16)]) -> Strengths {
        let mut strengths = Strengths::default();
        for (block, strength) in at {
            let finding = finding("profit", *block, 0, *strength);
            let (tx, strength, class) = (finding.tx, finding.score, finding.class);
            strengths.take(tx.block, &[Weight { tx, strength, class, detectors: vec!["profit".to_owned()] }]);
        }
        strengths
    }

    fn said(strength: u16, past: &[(u64, u16)], transactions: u64, known: &[&Incident]) -> Option<String> {
        let incident = incident_of(finding("value-loss", 100, 0, strength));
        rarity(&Policy::default(), &incident, (&strengths(past), transactions), known)
    }

    #[test]
    fn whoever_is_woken_learns_how_rare_it_is_and_what_came_closest() {
        let quiet = said(900, &[(1, 300), (2, 200)], 999, &[]).unwrap();
        let expected = "as strong as 0 of 999 ordinary transactions before, p at most 0.001; the strongest of them was 0x";
        assert!(
            quiet.starts_with(expected) && quiet.ends_with("with 0.300 (profit), this is 0.900"),
            "{quiet}"
        );
        let loud = said(300, &[(1, 300), (2, 200)], 999, &[]).unwrap();
        assert!(
            loud.starts_with("as strong as 1 of 999 ordinary transactions before, p at most 0.002"),
            "{loud}"
        );
        assert_eq!(said(900, &[], 0, &[]), None);
        let silent = said(900, &[], 123_456, &[]).unwrap();
        assert!(silent.contains("p at most 0.000009; no detector spoke"), "{silent}");
    }

    #[test]
    fn attacks_are_no_ordinary_use_and_false_alarms_are() {
        let attack = incident_of(finding("profit", 1, 0, 900));
        let past = [(1, 900), (2, 200)];
        let after = said(900, &past, 99, &[&attack]).unwrap();
        assert!(after.starts_with("as strong as 0 of 99 ") && after.contains("with 0.200"), "{after}");
        let false_alarm = Incident::next(Some(attack), &IncidentEvent::FalseAlarm).unwrap();
        let after = said(900, &past, 99, &[&false_alarm]).unwrap();
        assert!(after.starts_with("as strong as 1 of 99 ") && after.contains("with 0.900"), "{after}");
    }
}
