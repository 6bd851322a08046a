//! Which containment: every lever tried on forks, the least harmful one chosen, the policy asked.
//!
//! In: an incident whose threat is not answered. Out: simulations, a chosen plan, a decision that names its rule. A
//! finding that comes later asks for another round, since what was harmless when it was tried may not be now. Must
//! never: record a simulation in which no attack was replayed.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::journal::Entry;
use crate::respond::{by_which_value_left, in_chain_order};
use cordon_contain::{ProbeState, levers};
use cordon_decide::Decision;
use cordon_model::incident::{Incident, IncidentEvent, PlanStatus};
use cordon_model::plan::{Plan, Purpose};
use cordon_model::protocol::Protocol;
use cordon_model::simulation::Simulation;
use cordon_model::units::{CapabilityId, IncidentId, TxRef};

/// Most levers of which every combination is tried: with three, seven options are simulated. Beyond, only all of them
/// together are tried besides each alone.
const COMBINED_LEVERS_MAX: usize = 3;

impl Engine {
    /// Tries every lever, and combinations of few, on forks.
    pub(crate) async fn simulate_options(&mut self, id: IncidentId) -> Result<(), EngineError> {
        let Some((incident, protocol)) = self.known(id) else { return Ok(()) };
        let Some(head) = self.history.head().cloned() else { return Ok(()) };
        let attack = threat_transactions(&incident);
        if attack.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::new();
        for plan in self.options(&incident, &protocol).await? {
            let mut simulation = self.trials(&protocol).simulate(plan, &head, &attack).await?;
            if simulation.attack.is_empty() {
                return Err(EngineError::Refused(
                    "the attack's transactions are not at hand to be replayed".to_owned(),
                ));
            }
            simulation.covers = incident.threat().map(|finding| finding.id).collect();
            let event = IncidentEvent::Simulated { simulation: Box::new(simulation) };
            entries.push(Entry::by("replay", "tried on a fork before anything is sent", event));
        }
        if entries.is_empty() {
            let why = "no lever can be pulled now, so there is no containment to try".to_owned();
            return self.ask_for_person(id, why).await;
        }
        self.record(id, entries).await
    }

    /// A plan per lever that is ready, and one per combination.
    async fn options(&self, incident: &Incident, protocol: &Protocol) -> Result<Vec<Plan>, EngineError> {
        let mut singles = Vec::new();
        for capability in &protocol.capabilities {
            let lever = levers::adapter(capability.adapter);
            let probe = lever.probe(&self.provider, capability).await.map_err(EngineError::Probe)?;
            match probe.state {
                ProbeState::Ready => singles.push(lever.plan(incident.id, self.chain_id, capability)),
                ProbeState::AlreadyActive => {
                    tracing::warn!(lever = %capability.id, "is active already");
                }
                ProbeState::Unavailable { why } => {
                    tracing::warn!(lever = %capability.id, why, "cannot be pulled now")
                }
            }
        }
        let attempt = incident.attempts(Purpose::Contain);
        singles.iter_mut().for_each(|plan| plan.attempt = attempt);
        let mut plans = singles.clone();
        let all = 1u32
            .checked_shl(u32::try_from(singles.len()).unwrap_or(u32::MAX))
            .map_or(0, |bit| bit.wrapping_sub(1));
        if (2..=COMBINED_LEVERS_MAX).contains(&singles.len()) {
            let several = (1..=all).filter(|subset| subset.count_ones() > 1);
            plans.extend(several.map(|subset| combined(incident, &singles, subset)));
        } else if singles.len() > COMBINED_LEVERS_MAX {
            plans.push(combined(incident, &singles, all));
        }
        Ok(plans)
    }

    /// Chooses the least harmful option that stops the attack, and lets the policy decide on it.
    pub(crate) async fn choose_containment(&mut self, id: IncidentId) -> Result<(), EngineError> {
        let Some((incident, protocol)) = self.known(id) else { return Ok(()) };
        let mut containments =
            incident.plans.values().filter(|record| record.plan.purpose == Purpose::Contain);
        if containments.any(|record| record.status == PlanStatus::Approved) {
            return Ok(());
        }
        let Some(choice) = cordon_decide::choose(&incident) else {
            let findings = incident.findings.len();
            let why = format!(
                "none of the simulated options stops the replayed attack ({findings} findings so far)"
            );
            return self.ask_for_person(id, why).await;
        };
        let Some(simulation) = incident.simulations.get(choice.index) else { return Ok(()) };
        let known = incident.plans.get(&simulation.plan.hash()).map(|record| record.status);
        let decision = cordon_decide::decide(&self.policy, &incident, &protocol, simulation);
        let mut entries = Vec::new();
        if known.is_none() {
            let plan = Box::new(simulation.plan.clone());
            let chosen = IncidentEvent::PlanChosen { plan, rationale: choice.rationale };
            entries.push(Entry::by("decide", "the option that stops the attack with the least harm", chosen));
        }
        entries.extend(decided(simulation, decision, known));
        self.record(id, entries).await
    }
}

/// The policy's word on a plan; `None` where it was refused before and still is. What was refused while it looked
/// harmless is decided again when the incident gets worse.
fn decided(simulation: &Simulation, decision: Decision, known: Option<PlanStatus>) -> Option<Entry> {
    let plan = simulation.plan.hash();
    match (decision, known) {
        (Decision::Execute { why }, None | Some(PlanStatus::Chosen | PlanStatus::Refused)) => {
            Some(Entry::by("decide", why, IncidentEvent::PlanApproved { plan }))
        }
        (Decision::Refuse { rule }, None | Some(PlanStatus::Chosen)) => {
            let event = IncidentEvent::PlanRefused { plan, rule: rule.to_string() };
            Some(Entry::by("decide", "the policy does not allow it without a person", event))
        }
        (Decision::Execute { .. } | Decision::Refuse { .. }, Some(_)) => None,
    }
}

/// The transactions that stand for the threat, in the order of the chain: those by which value left, or all of them
/// where none did. A weak finding that joined later must not stand for the attack.
pub(crate) fn threat_transactions(incident: &Incident) -> Vec<TxRef> {
    let losing = by_which_value_left(incident.threat());
    if losing.is_empty() { in_chain_order(incident.threat().map(|finding| finding.tx)) } else { losing }
}

/// Several containments as one plan.
fn combined(incident: &Incident, plans: &[Plan], subset: u32) -> Plan {
    let chosen: Vec<&Plan> = plans
        .iter()
        .enumerate()
        .filter(|(index, _)| subset >> index & 1 == 1)
        .map(|(_, plan)| plan)
        .collect();
    let titles: Vec<&str> = chosen.iter().map(|plan| plan.title.as_str()).collect();
    let names: Vec<String> =
        chosen.iter().filter_map(|plan| plan.capability.as_ref()).map(|id| id.0.clone()).collect();
    Plan {
        incident: incident.id,
        purpose: Purpose::Contain,
        chain_id: incident.chain_id,
        title: titles.join("; "),
        capability: Some(CapabilityId(names.join("+"))),
        attempt: incident.attempts(Purpose::Contain),
        steps: chosen.iter().flat_map(|plan| plan.steps.clone()).collect(),
    }
}
