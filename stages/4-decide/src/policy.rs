//! What may be done without a person.
//!
//! In: the operator's policy, an incident, a protocol, the chosen option. Out: a decision that names its rule. The
//! default allows nothing: a lever acts by itself only where the operator granted it, the attack was shown to be
//! stopped, and the side-effects stay within the operator's bound.

use cordon_model::calibration::Thresholds;
use cordon_model::finding::{Finding, Score};
use cordon_model::incident::{Incident, Severity};
use cordon_model::plan::Plan;
use cordon_model::protocol::{Capability, Grant, Protocol};
use cordon_model::simulation::Simulation;
use cordon_model::units::{ProtocolId, TxRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The operator's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// One finding of this score (per mille) opens an incident. Default 600: above every score that the detectors
    /// give to a near miss in their own tests.
    pub alarm_score: u16,
    /// Two different detectors with this score (per mille) on one transaction open an incident. Default 300: half of
    /// the above, since independent signals rarely coincide on honest transactions.
    pub joint_alarm_score: u16,
    /// A strong finding joins an open incident of the same protocol that is at most this many blocks old. Default
    /// 1,800: six hours of Ethereum, the length of the longest attack in the incident history (Curve, 2023).
    pub window_blocks: u64,
    /// A loss of this share of the holdings in one transaction is critical, in basis points. Default 100: one percent
    /// a transaction empties a system in minutes.
    pub critical_loss_bps: u32,
    /// Least severity at which a granted lever may act by itself. Default high.
    pub act_severity_min: Severity,
    /// Largest share of working honest transactions that an automatic containment may break unless the incident is
    /// critical, in basis points. Default 5,000: a lever that breaks most use is for critical incidents.
    pub side_effect_max_bps: u32,
    /// Nothing is done without a person, and the record says what would have been. Default false.
    pub shadow: bool,
    /// Thresholds that protocols' own histories gave, in place of [`Policy::alarm_score`]. They come from another file.
    #[serde(skip)]
    pub calibrated: Vec<Thresholds>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alarm_score: 600,
            joint_alarm_score: 300,
            window_blocks: 1_800,
            critical_loss_bps: 100,
            act_severity_min: Severity::High,
            side_effect_max_bps: 5_000,
            shadow: false,
            calibrated: Vec::new(),
        }
    }
}

impl Policy {
    /// Whether findings on one transaction of a protocol are strong enough to open an incident.
    #[must_use]
    pub fn is_alarming(&self, findings: &[Finding]) -> bool {
        let Some(first) = findings.first() else { return false };
        let page = self.thresholds(&first.protocol).map_or(Score(self.alarm_score), |own| own.page);
        self.strength(findings) >= page
    }

    /// What the history of a protocol gave, if it was asked.
    fn thresholds(&self, protocol: &ProtocolId) -> Option<&Thresholds> {
        self.calibrated.iter().find(|own| own.protocol == *protocol)
    }

    /// How strong the findings on each transaction of an incident are together.
    pub(crate) fn strengths(&self, incident: &Incident) -> BTreeMap<TxRef, Score> {
        let mut by_transaction: BTreeMap<TxRef, Vec<Finding>> = BTreeMap::new();
        for finding in &incident.findings {
            by_transaction.entry(finding.tx).or_default().push(finding.clone());
        }
        by_transaction.into_iter().map(|(tx, findings)| (tx, self.strength(&findings))).collect()
    }

    /// The same on the strongest of them.
    pub(crate) fn strongest(&self, incident: &Incident) -> Score {
        self.strengths(incident).into_values().max().unwrap_or(Score(0))
    }

    /// How strong the findings of one transaction are together: the strongest alone, or the sum of what the detectors say
    /// that reach [`Policy::joint_alarm_score`], each by its strongest finding. Two of these open an incident, however low
    /// that score is set.
    #[must_use]
    pub fn strength(&self, findings: &[Finding]) -> Score {
        let mut voices: BTreeMap<&str, u16> = BTreeMap::new();
        for finding in findings {
            let loudest = voices.entry(&finding.detector).or_default();
            *loudest = finding.score.0.max(*loudest);
        }
        let single = voices.values().copied().max().unwrap_or_default();
        let joint: Vec<u16> = voices.into_values().filter(|score| *score >= self.joint_alarm_score).collect();
        if joint.len() < 2 {
            return Score(single);
        }
        let sum = joint.into_iter().fold(0u16, u16::saturating_add).min(Score::MAX.0);
        Score(sum.max(self.alarm_score))
    }
}

/// Rules that forbid an automatic containment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyRule {
    /// A lever of the plan is not granted for automatic use.
    LeverObserveOnly {
        /// Which lever.
        lever: String,
    },
    /// A step of the plan belongs to no configured lever.
    StepWithoutLever {
        /// Which step.
        step: String,
    },
    /// The attack was not shown to be stopped.
    NotProven,
    /// The protocol's own use comes as close to this more often than the operator allows.
    TooWeak {
        /// Strength of the incident's strongest transaction.
        found: Score,
        /// Least strength, by calibration.
        least: Score,
    },
    /// The policy records what would be done, and does nothing.
    Shadow,
    /// The incident is not severe enough.
    SeverityTooLow {
        /// Severity of the incident.
        found: Severity,
        /// Least severity.
        least: Severity,
    },
    /// Too much honest use would break.
    SideEffectTooLarge {
        /// Honest transactions that would fail.
        broken: usize,
        /// Honest transactions that work now.
        working: usize,
    },
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeverObserveOnly { lever } => {
                write!(
                    f,
                    "lever '{lever}' is observe-only: a person must approve the plan, or the operator must grant it"
                )
            }
            Self::StepWithoutLever { step } => write!(f, "step '{step}' belongs to no configured lever"),
            Self::NotProven => f.write_str("the plan was not shown to stop the attack"),
            Self::TooWeak { found, least } => {
                write!(
                    f,
                    "strength {found} is below {least}, from which on the protocol's own history lets a lever act by itself"
                )
            }
            Self::Shadow => f.write_str("the policy is in shadow mode: the plan would have been executed"),
            Self::SeverityTooLow { found, least } => {
                write!(f, "severity {found} is below {least}, the least at which a lever may act by itself")
            }
            Self::SideEffectTooLarge { broken, working } => {
                write!(
                    f,
                    "{broken} of {working} honest transactions would fail, and the incident is not critical"
                )
            }
        }
    }
}

/// Whether the plan may be executed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, because of this.
    Execute {
        /// Why.
        why: String,
    },
    /// Not without a person.
    Refuse {
        /// The rule that forbids it.
        rule: PolicyRule,
    },
}

/// Decides on the chosen option.
#[must_use]
pub fn decide(
    policy: &Policy,
    incident: &Incident,
    protocol: &Protocol,
    simulation: &Simulation,
) -> Decision {
    match forbidden(policy, incident, protocol, simulation) {
        Some(rule) => Decision::Refuse { rule },
        None => Decision::Execute {
            why: "every lever is granted, the replayed attack takes nothing, and the side-effect is within bounds".to_owned(),
        },
    }
}

fn forbidden(
    policy: &Policy,
    incident: &Incident,
    protocol: &Protocol,
    simulation: &Simulation,
) -> Option<PolicyRule> {
    if !simulation.contains_attack() {
        return Some(PolicyRule::NotProven);
    }
    if let Some(rule) = ungranted(&simulation.plan, protocol) {
        return Some(rule);
    }
    let severity = incident.severity.unwrap_or(Severity::Low);
    if severity < policy.act_severity_min {
        return Some(PolicyRule::SeverityTooLow { found: severity, least: policy.act_severity_min });
    }
    if let Some(own) = policy.thresholds(&protocol.id) {
        let (found, least) = (policy.strongest(incident), own.act);
        if found < least {
            return Some(PolicyRule::TooWeak { found, least });
        }
    }
    let working = simulation.honest.iter().filter(|trial| trial.works_without).count();
    let broken = simulation.honest_broken();
    let bound = working.saturating_mul(usize::try_from(policy.side_effect_max_bps).unwrap_or(usize::MAX));
    if severity < Severity::Critical && broken.saturating_mul(10_000) > bound {
        return Some(PolicyRule::SideEffectTooLarge { broken, working });
    }
    // The last rule: without shadow mode the plan would be executed.
    policy.shadow.then_some(PolicyRule::Shadow)
}

fn ungranted(plan: &Plan, protocol: &Protocol) -> Option<PolicyRule> {
    for step in &plan.steps {
        let pulls = |lever: &&Capability| {
            // No lever takes native coin, so a step that sends some is not one of theirs.
            Some(lever.target) == step.call.to
                && lever.authority == step.from
                && step.call.value_wei.is_zero()
        };
        match protocol.capabilities.iter().find(pulls) {
            None => return Some(PolicyRule::StepWithoutLever { step: step.name.clone() }),
            Some(lever) if lever.grant == Grant::ObserveOnly => {
                return Some(PolicyRule::LeverObserveOnly { lever: lever.id.0.clone() });
            }
            Some(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{finding, incident_of, protocol, simulation, value_loss};

    fn incident(severity: Severity) -> Incident {
        let mut incident = incident_of(value_loss(10, 500_000, 1_600));
        incident.severity = Some(severity);
        incident
    }

    fn refusal(decision: Decision) -> PolicyRule {
        match decision {
            Decision::Refuse { rule } => rule,
            Decision::Execute { why } => panic!("must be refused, but: {why}"),
        }
    }

    #[test]
    fn a_granted_proven_critical_containment_is_executed() {
        let decision = decide(
            &Policy::default(),
            &incident(Severity::Critical),
            &protocol(Grant::Automatic),
            &simulation("pause", true, 9),
        );
        assert!(matches!(decision, Decision::Execute { .. }));
    }

    #[test]
    fn nothing_is_executed_without_a_grant() {
        for severity in [Severity::Low, Severity::Medium, Severity::High, Severity::Critical] {
            let option = simulation("pause", true, 0);
            let decision =
                decide(&Policy::default(), &incident(severity), &protocol(Grant::ObserveOnly), &option);
            assert!(matches!(refusal(decision), PolicyRule::LeverObserveOnly { .. }));
        }
    }

    #[test]
    fn each_rule_is_named() {
        let policy = Policy::default();
        let granted = protocol(Grant::Automatic);
        let critical = incident(Severity::Critical);
        let unproven = decide(&policy, &critical, &granted, &simulation("pause", false, 0));
        assert_eq!(refusal(unproven), PolicyRule::NotProven);
        let low = decide(&policy, &incident(Severity::Medium), &granted, &simulation("pause", true, 0));
        assert!(refusal(low).to_string().contains("severity medium is below high"));
        let harmful = decide(&policy, &incident(Severity::High), &granted, &simulation("pause", true, 9));
        assert!(matches!(refusal(harmful), PolicyRule::SideEffectTooLarge { broken: 9, .. }));
        let mut foreign = simulation("pause", true, 0);
        foreign.plan.steps[0].call.to = None;
        assert!(matches!(
            refusal(decide(&policy, &critical, &granted, &foreign)),
            PolicyRule::StepWithoutLever { .. }
        ));
    }

    #[test]
    fn detectors_add_up_and_findings_of_one_detector_do_not() {
        let policy = Policy::default();
        let strength = |scores: &[(&str, u16)]| {
            let findings: Vec<_> =
                scores.iter().map(|(detector, score)| finding(detector, 10, 0, *score)).collect();
            (policy.strength(&findings).0, policy.is_alarming(&findings))
        };
        assert_eq!(strength(&[]), (0, false));
        assert_eq!(strength(&[("profit", 599)]), (599, false));
        assert_eq!(strength(&[("profit", 600)]), (600, true));
        assert_eq!(strength(&[("profit", 300), ("profit", 300)]), (300, false));
        assert_eq!(strength(&[("profit", 300), ("flash-loan", 300)]), (600, true));
        assert_eq!(strength(&[("profit", 599), ("flash-loan", 299)]), (599, false));
        assert_eq!(strength(&[("profit", 900), ("flash-loan", 300)]), (1_000, true));
        let low = Policy { joint_alarm_score: 100, ..policy };
        let both = [finding("profit", 10, 0, 100), finding("flash-loan", 10, 0, 100)];
        assert_eq!(low.strength(&both), Score(600));
    }

    #[test]
    fn a_protocols_own_thresholds_take_the_place_of_the_policys() {
        let own = |page, act| {
            let protocol = finding("profit", 10, 0, 0).protocol;
            let calibrated = vec![Thresholds { protocol, page: Score(page), act: Score(act) }];
            Policy { calibrated, ..Policy::default() }
        };
        let alone = [finding("profit", 10, 0, 300)];
        assert!(own(300, 1_000).is_alarming(&alone) && !own(301, 1_000).is_alarming(&alone));
        assert!(!own(301, 1_000).is_alarming(&[]));
        let mut others = alone.clone();
        others[0].protocol = ProtocolId("another".to_owned());
        assert!(!own(300, 1_000).is_alarming(&others));
        // To act, the strongest transaction counts, and not all of them together.
        let mut incident = incident(Severity::Critical);
        let second = finding("profit", 11, 0, 300);
        incident.findings = vec![finding("flash-loan", 10, 0, 300), finding("profit", 10, 0, 300), second];
        let proven = simulation("pause", true, 0);
        let decided = |policy: &Policy| decide(policy, &incident, &protocol(Grant::Automatic), &proven);
        assert!(matches!(decided(&own(300, 600)), Decision::Execute { .. }));
        let refused = refusal(decided(&own(300, 601)));
        assert_eq!(refused, PolicyRule::TooWeak { found: Score(600), least: Score(601) });
    }

    #[test]
    fn shadow_mode_refuses_only_what_would_have_been_executed() {
        let shadow = Policy { shadow: true, ..Policy::default() };
        let (critical, granted) = (incident(Severity::Critical), protocol(Grant::Automatic));
        let proven = decide(&shadow, &critical, &granted, &simulation("pause", true, 0));
        assert_eq!(refusal(proven), PolicyRule::Shadow);
        let unproven = decide(&shadow, &critical, &granted, &simulation("pause", false, 0));
        assert_eq!(refusal(unproven), PolicyRule::NotProven);
    }

    #[test]
    fn a_misspelt_policy_key_is_refused() {
        let error = toml::from_str::<Policy>("alarm_scores = 3").unwrap_err().to_string();
        assert!(error.contains("alarm_scores") && error.contains("alarm_score"), "{error}");
    }
}
