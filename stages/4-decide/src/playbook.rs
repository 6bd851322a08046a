//! The playbook: which steps an incident goes through, in which order, and who does them.
//!
//! In: TOML over a closed list of step kinds. Out: the steps that are due for an incident. Whether a step is done is
//! read from the incident itself, so a playbook needs no state of its own and survives any restart.

use cordon_model::incident::{Incident, Standing};
use cordon_model::plan::Purpose;
use serde::Deserialize;
use std::fmt;

/// The playbook that ships with Cordon.
const EXPLOIT_RESPONSE: &str = include_str!("../playbooks/exploit-response.toml");

/// An ordered list of steps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// Name for people.
    pub name: String,
    /// Steps, in order.
    #[serde(rename = "step")]
    steps: Vec<PlaybookStep>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaybookStep {
    /// What is done.
    #[serde(rename = "do")]
    kind: StepKind,
    /// Who does it.
    by: Who,
    /// Steps that must be done before.
    #[serde(default)]
    after: Vec<StepKind>,
}

/// Who does a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Cordon, by itself.
    Cordon,
    /// A person decides; Cordon prepares, checks and records.
    Person,
}

/// Everything a playbook can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Set the severity.
    Triage,
    /// Try every lever on a fork.
    SimulateOptions,
    /// Choose a plan, have it allowed, send it, verify it.
    Contain,
    /// Write the report.
    Investigate,
    /// Prove and install a fix.
    Eradicate,
    /// Settle who is owed what and make it claimable.
    Reimburse,
    /// Open the system again.
    Reopen,
    /// Close the incident.
    Close,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Triage => "triage",
            Self::SimulateOptions => "simulate-options",
            Self::Contain => "contain",
            Self::Investigate => "investigate",
            Self::Eradicate => "eradicate",
            Self::Reimburse => "reimburse",
            Self::Reopen => "reopen",
            Self::Close => "close",
        })
    }
}

impl StepKind {
    /// Whether the incident's log shows the step as done.
    #[must_use]
    pub fn is_done(self, incident: &Incident) -> bool {
        match self {
            Self::Triage => incident.severity.is_some(),
            // A finding that came later asks for another trial: what was harmless when it was tried may not be now.
            Self::SimulateOptions => {
                incident.is_contained() || incident.current_simulations().next().is_some()
            }
            Self::Contain => incident.is_contained(),
            Self::Investigate => {
                let knows_all = incident.investigated_findings == incident.findings.len();
                incident.investigated_loss_wad.is_some() && knows_all
            }
            Self::Eradicate => incident.has_completed(Purpose::Eradicate),
            Self::Reimburse => incident.has_completed(Purpose::Reimburse),
            Self::Reopen => incident.has_completed(Purpose::Reopen),
            Self::Close => incident.standing != Standing::Open,
        }
    }
}

/// Why a playbook cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaybookError {
    /// Not the TOML that is expected; the message names line and key.
    #[error("playbook: {0}")]
    Shape(String),
    /// A step waits for one that does not stand before it.
    #[error("playbook '{name}': step '{step}' waits for '{after}', expected a step that stands before it")]
    Order {
        /// Playbook.
        name: String,
        /// Step that waits.
        step: StepKind,
        /// What it waits for.
        after: StepKind,
    },
    /// A step stands twice.
    #[error("playbook '{name}': step '{step}' stands twice, expected each step once")]
    Twice {
        /// Playbook.
        name: String,
        /// The step.
        step: StepKind,
    },
}

impl Playbook {
    /// The playbook for exploits that ships with Cordon.
    ///
    /// # Errors
    /// Never for a released build: a test reads it.
    pub fn exploit_response() -> Result<Self, PlaybookError> {
        Self::parse(EXPLOIT_RESPONSE)
    }

    /// Reads a playbook.
    ///
    /// # Errors
    /// [`PlaybookError`], naming line, key or step.
    pub fn parse(text: &str) -> Result<Self, PlaybookError> {
        let playbook: Self = toml::from_str(text).map_err(|error| PlaybookError::Shape(error.to_string()))?;
        let mut seen: Vec<StepKind> = Vec::new();
        for step in &playbook.steps {
            let name = playbook.name.clone();
            if seen.contains(&step.kind) {
                return Err(PlaybookError::Twice { name, step: step.kind });
            }
            if let Some(after) = step.after.iter().find(|after| !seen.contains(after)) {
                return Err(PlaybookError::Order { name, step: step.kind, after: *after });
            }
            seen.push(step.kind);
        }
        Ok(playbook)
    }

    /// Steps that are due: not done, while every step they wait for is done.
    #[must_use]
    pub fn pending(&self, incident: &Incident) -> Vec<(StepKind, Who)> {
        let due = |step: &&PlaybookStep| {
            !step.kind.is_done(incident) && step.after.iter().all(|after| after.is_done(incident))
        };
        self.steps.iter().filter(due).map(|step| (step.kind, step.by)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{incident_of, simulation, tried, value_loss};

    #[test]
    fn the_shipped_playbook_begins_with_triage_and_then_simulates() {
        let playbook = Playbook::exploit_response().unwrap();
        let mut incident = incident_of(value_loss(10, 1, 1));
        assert_eq!(playbook.pending(&incident), [(StepKind::Triage, Who::Cordon)]);
        incident.severity = Some(cordon_model::incident::Severity::High);
        assert_eq!(playbook.pending(&incident), [(StepKind::SimulateOptions, Who::Cordon)]);
        tried(&mut incident, vec![simulation("pause", true, 0)]);
        assert_eq!(playbook.pending(&incident), [(StepKind::Contain, Who::Cordon)]);
        // A further finding asks for another trial before anything is contained.
        incident.findings.push(value_loss(12, 1, 1));
        assert_eq!(playbook.pending(&incident), [(StepKind::SimulateOptions, Who::Cordon)]);
    }

    #[test]
    fn a_misspelt_step_is_named_with_its_line() {
        let error = Playbook::parse("name = \"p\"\n[[step]]\ndo = \"triag\"\nby = \"cordon\"\n").unwrap_err();
        assert!(error.to_string().contains("triag") && error.to_string().contains("line 3"), "{error}");
    }

    #[test]
    fn a_step_cannot_wait_for_a_later_one_or_stand_twice() {
        let later = "name = \"p\"\n[[step]]\ndo = \"contain\"\nby = \"cordon\"\nafter = [\"triage\"]\n";
        assert!(matches!(Playbook::parse(later), Err(PlaybookError::Order { .. })));
        let twice = "name = \"p\"\n[[step]]\ndo = \"triage\"\nby = \"cordon\"\n[[step]]\ndo = \"triage\"\nby = \"cordon\"\n";
        assert!(matches!(Playbook::parse(twice), Err(PlaybookError::Twice { .. })));
    }
}
