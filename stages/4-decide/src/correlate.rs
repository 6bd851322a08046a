//! One incident per attack: which findings belong together.
//!
//! In: the findings of one block, the open incidents, the policy. Out: assignments. Findings of one transaction are
//! judged together. They join an open incident of the same protocol where they share a suspect with it or follow it
//! within the window; they open a new one only where they are strong enough. Weak findings that join nothing are
//! dropped. Must never: depend on the order in which detectors ran.

use crate::policy::Policy;
use alloy_primitives::{Address, B256};
use cordon_model::finding::Finding;
use cordon_model::incident::{Incident, Standing};
use cordon_model::units::{ChainId, FindingId, IncidentId, ProtocolId, TxRef};
use std::collections::{BTreeMap, BTreeSet};

/// Findings of one transaction and the incident they belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The incident.
    pub incident: IncidentId,
    /// True where the first of the findings opens it.
    pub opens: bool,
    /// Chain.
    pub chain_id: ChainId,
    /// Protocol.
    pub protocol: ProtocolId,
    /// Findings, strongest first.
    pub findings: Vec<Finding>,
}

/// What correlation needs to know of an incident.
#[derive(Debug, Clone)]
struct Known {
    id: IncidentId,
    chain_id: ChainId,
    protocol: ProtocolId,
    suspects: BTreeSet<Address>,
    first_block: u64,
    last_block: u64,
    findings: BTreeSet<FindingId>,
}

impl Known {
    fn of(incident: &Incident) -> Self {
        let mut known = Self {
            id: incident.id,
            chain_id: incident.chain_id,
            protocol: incident.protocol.clone(),
            suspects: BTreeSet::new(),
            first_block: u64::MAX,
            last_block: 0,
            findings: BTreeSet::new(),
        };
        incident.findings.iter().for_each(|finding| known.take(finding));
        known
    }

    fn take(&mut self, finding: &Finding) {
        self.suspects.extend(&finding.suspects);
        self.first_block = self.first_block.min(finding.tx.block.number);
        self.last_block = self.last_block.max(finding.tx.block.number);
        self.findings.insert(finding.id);
    }

    fn shares_suspect(&self, findings: &[Finding]) -> bool {
        findings.iter().any(|finding| finding.suspects.iter().any(|suspect| self.suspects.contains(suspect)))
    }

    /// An open incident whose findings were all withdrawn by a reorganisation takes whatever comes next: the same
    /// attack is about to be mined again.
    fn is_recent(&self, findings: &[Finding], window_blocks: u64) -> bool {
        if self.findings.is_empty() {
            return true;
        }
        let block = findings.iter().map(|finding| finding.tx.block.number).min().unwrap_or_default();
        // What is found out late may be older than what opened the incident.
        let after = block.saturating_sub(self.last_block);
        after.max(self.first_block.saturating_sub(block)) <= window_blocks
    }
}

/// Assigns the findings of one block to incidents, in the order of their transactions.
#[must_use]
pub fn correlate(findings: Vec<Finding>, incidents: &[&Incident], policy: &Policy) -> Vec<Assignment> {
    let open = incidents.iter().filter(|incident| incident.standing == Standing::Open);
    let mut known: Vec<Known> = open.map(|incident| Known::of(incident)).collect();
    // What a closed incident holds was decided on by a person; judging its block again does not reopen it.
    let decided: BTreeSet<FindingId> =
        incidents.iter().flat_map(|incident| incident.findings.iter().map(|finding| finding.id)).collect();
    // A person said of these transactions that they are no attack; in which block they stand makes no difference.
    let harmless: BTreeSet<(&ProtocolId, B256)> = incidents
        .iter()
        .filter(|incident| incident.standing == Standing::FalseAlarm)
        .flat_map(|incident| incident.findings.iter().map(|finding| (&finding.protocol, finding.tx.hash)))
        .collect();
    let is_fresh = |finding: &Finding| {
        !decided.contains(&finding.id) && !harmless.contains(&(&finding.protocol, finding.tx.hash))
    };
    let mut assignments = Vec::new();
    let fresh = findings.into_iter().filter(is_fresh).collect();
    for ((_, _, tx, protocol), mut group) in by_transaction(fresh) {
        group.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        // The same detector configured twice says the same thing twice.
        let mut seen = BTreeSet::new();
        group.retain(|finding| seen.insert(finding.id));
        let alarming = policy.is_alarming(&group);
        let joined = known.iter().position(|known| {
            let same = known.chain_id == tx.chain_id && known.protocol == protocol;
            same && (known.shares_suspect(&group)
                || alarming && known.is_recent(&group, policy.window_blocks))
        });
        let Some(strongest) = group.first() else { continue };
        let (id, opens) = match joined.and_then(|at| known.get(at)) {
            Some(known) => (known.id, false),
            None if alarming => (incident_id(tx.chain_id, &protocol, strongest), true),
            None => continue,
        };
        if opens {
            let (suspects, findings) = (BTreeSet::new(), BTreeSet::new());
            let (chain_id, protocol) = (tx.chain_id, protocol.clone());
            let (first_block, last_block) = (u64::MAX, 0);
            known.push(Known { id, chain_id, protocol, suspects, first_block, last_block, findings });
        }
        let Some(target) = known.iter_mut().find(|known| known.id == id) else { continue };
        group.retain(|finding| !target.findings.contains(&finding.id));
        group.iter().for_each(|finding| target.take(finding));
        if !group.is_empty() {
            assignments.push(Assignment {
                incident: id,
                opens,
                chain_id: tx.chain_id,
                protocol,
                findings: group,
            });
        }
    }
    assignments
}

fn by_transaction(findings: Vec<Finding>) -> BTreeMap<Place, Vec<Finding>> {
    let mut groups: BTreeMap<_, Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        let place = (finding.tx.block.number, finding.tx.index, finding.tx, finding.protocol.clone());
        groups.entry(place).or_default().push(finding);
    }
    groups
}

/// A transaction of one protocol, in the order of the chain.
type Place = (u64, u32, TxRef, ProtocolId);

fn incident_id(chain_id: ChainId, protocol: &ProtocolId, first: &Finding) -> IncidentId {
    IncidentId::derive(&[&chain_id.to_string(), &protocol.0, &first.id.0.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{finding, incident_of};
    use proptest::prelude::*;

    #[test]
    fn a_strong_finding_opens_an_incident_and_weak_ones_join_it() {
        let policy = Policy::default();
        let block = vec![finding("value-loss", 10, 0, 900), finding("reentrancy", 10, 0, 100)];
        let assignments = correlate(block, &[], &policy);
        assert_eq!(assignments.len(), 1);
        assert!(assignments[0].opens);
        assert_eq!(assignments[0].findings.len(), 2);
        assert_eq!(assignments[0].findings[0].detector, "value-loss");
    }

    #[test]
    fn a_weak_finding_alone_opens_nothing() {
        assert!(correlate(vec![finding("reentrancy", 10, 0, 200)], &[], &Policy::default()).is_empty());
    }

    #[test]
    fn two_middling_detectors_open_together() {
        let block = vec![finding("reentrancy", 10, 0, 400), finding("rate-jump", 10, 0, 400)];
        assert!(correlate(block, &[], &Policy::default())[0].opens);
        let twice = vec![finding("reentrancy", 10, 0, 400), finding("reentrancy", 10, 1, 400)];
        assert!(correlate(twice, &[], &Policy::default()).is_empty(), "one detector twice is one voice");
    }

    #[test]
    fn the_second_strike_joins_the_first() {
        let first = incident_of(finding("value-loss", 10, 0, 900));
        let assignments = correlate(vec![finding("value-loss", 12, 0, 900)], &[&first], &Policy::default());
        assert_eq!(assignments[0].incident, first.id);
        assert!(!assignments[0].opens);
    }

    #[test]
    fn a_stranger_long_after_opens_another() {
        let first = incident_of(finding("value-loss", 10, 0, 900));
        let mut later = finding("value-loss", 10_000, 0, 900);
        later.suspects = vec![Address::repeat_byte(0x99)];
        let assignments = correlate(vec![later], &[&first], &Policy::default());
        assert!(assignments[0].opens);
        assert_ne!(assignments[0].incident, first.id);
    }

    /// What was found out late is of an earlier block than the newest incident.
    #[test]
    fn a_stranger_long_before_opens_another_and_shortly_before_joins() {
        let first = incident_of(finding("value-loss", 10_000, 0, 900));
        let opens = |block| {
            let mut earlier = finding("value-loss", block, 0, 900);
            earlier.suspects = vec![Address::repeat_byte(0x99)];
            correlate(vec![earlier], &[&first], &Policy::default())[0].opens
        };
        assert_eq!((opens(9_990), opens(10)), (false, true));
    }

    #[test]
    fn an_incident_whose_block_left_takes_the_attack_when_it_is_mined_again() {
        let mut hollow = incident_of(finding("value-loss", 10, 0, 900));
        hollow.findings.clear();
        let assignments = correlate(vec![finding("value-loss", 11, 0, 900)], &[&hollow], &Policy::default());
        assert_eq!((assignments[0].incident, assignments[0].opens), (hollow.id, false));
    }

    #[test]
    fn what_a_closed_incident_holds_is_not_opened_again() {
        let mut closed = incident_of(finding("value-loss", 10, 0, 900));
        closed.standing = Standing::FalseAlarm;
        assert!(
            correlate(vec![finding("value-loss", 10, 0, 900)], &[&closed], &Policy::default()).is_empty()
        );
    }

    #[test]
    fn a_known_finding_is_not_added_again() {
        let first = incident_of(finding("value-loss", 10, 0, 900));
        assert!(correlate(vec![finding("value-loss", 10, 0, 900)], &[&first], &Policy::default()).is_empty());
    }

    proptest! {
        #[test]
        fn the_order_of_findings_within_a_block_does_not_matter(
            order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
            scores in proptest::collection::vec(0u16..=1000, 6),
        ) {
            let names = ["value-loss", "reentrancy", "rate-jump"];
            let block: Vec<_> = (0..6).map(|i| finding(names[i % 3], 10, u32::try_from(i / 3).unwrap(), scores[i])).collect();
            let shuffled = order.iter().map(|i| block[*i].clone()).collect();
            let policy = Policy::default();
            prop_assert_eq!(correlate(block, &[], &policy), correlate(shuffled, &[], &policy));
        }
    }
}
