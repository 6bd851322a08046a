//! What may be done without a person.
//!
//! In: the operator's policy, an incident, a protocol, the chosen option. Out: a decision that names its rule. The
//! default allows nothing: a lever acts by itself only where the operator granted it, the attack was shown to be
//! stopped, and the side-effects stay within the operator's bound.

use cordon_model::finding::{Finding, Score};
use cordon_model::incident::{Incident, Severity};
use cordon_model::plan::Plan;
use cordon_model::protocol::{Capability, Grant, Protocol};
use cordon_model::simulation::Simulation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
        }
    }
}

impl Policy {
    /// Whether findings of one transaction are strong enough to open an incident.
    #[must_use]
    pub fn is_alarming(&self, findings: &[Finding]) -> bool {
        self.strength(findings).0 >= self.alarm_score
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
    let working = simulation.honest.iter().filter(|trial| trial.works_without).count();
    let broken = simulation.honest_broken();
    let bound = working.saturating_mul(usize::try_from(policy.side_effect_max_bps).unwrap_or(usize::MAX));
    if severity < Severity::Critical && broken.saturating_mul(10_000) > bound {
        return Some(PolicyRule::SideEffectTooLarge { broken, working });
    }
    None
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
    fn a_misspelt_policy_key_is_refused() {
        let error = toml::from_str::<Policy>("alarm_scores = 3").unwrap_err().to_string();
        assert!(error.contains("alarm_scores") && error.contains("alarm_score"), "{error}");
    }
}
