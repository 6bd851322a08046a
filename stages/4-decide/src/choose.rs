//! Which option does the least harm.
//!
//! In: an incident with the simulations of its options, of which only those count that speak of the attack as it
//! stands now. Out: the one to take, and why. Options that do not stop the
//! replayed attack are out. In a critical incident those come first that act on every contract which the findings name
//! as flawed: a replay proves only that this transaction fails, and an attacker who is shut out of a bystander's
//! contract tries the flaw another way. Among those left, the one that breaks the fewest honest transactions wins.
//! Must never: choose an option that was not shown to stop the attack.

use alloy_primitives::Address;
use cordon_model::finding::AttackClass;
use cordon_model::incident::{Incident, Severity};
use cordon_model::simulation::Simulation;
use std::collections::BTreeSet;

/// The chosen option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Position in the list of simulations.
    pub index: usize,
    /// Why this one, naming what the others lacked.
    pub rationale: String,
}

/// The best option, or `None` where none stops the attack. Ties go to fewer steps, then to the smaller plan hash, so
/// that the same simulations always give the same choice.
#[must_use]
pub fn choose(incident: &Incident) -> Option<Choice> {
    let simulations: Vec<(usize, &Simulation)> = incident.current_simulations().collect();
    let flawed = flawed_contracts(incident);
    let critical = incident.severity == Some(Severity::Critical);
    let rank = |simulation: &Simulation| {
        let leaves_flaw_open = critical && !acts_on(simulation, &flawed);
        (leaves_flaw_open, simulation.honest_broken(), simulation.plan.steps.len(), simulation.plan.hash())
    };
    let stopping = || simulations.iter().copied().filter(|(_, simulation)| simulation.contains_attack());
    let (index, best) = stopping().min_by_key(|(_, simulation)| rank(simulation))?;
    let working = best.honest.iter().filter(|trial| trial.works_without).count();
    let mut rationale = format!(
        "{} of {} options stop the replayed attack; this one fails {} of {working} honest transactions",
        stopping().count(),
        simulations.len(),
        best.honest_broken(),
    );
    let milder = stopping().filter(|(_, other)| other.honest_broken() < best.honest_broken()).count();
    if milder > 0 {
        let why = "leave a contract open that the findings name as flawed, to which the attacker could find another way";
        rationale.push_str(&format!("; {milder} milder options {why}"));
    }
    Some(Choice { index, rationale })
}

/// Contracts whose own behaviour the findings object to. A moved rate is not among them: it names the vault whose
/// rate was moved, which may work as designed. Nor is the shape of a transaction, which is the sender's.
fn flawed_contracts(incident: &Incident) -> BTreeSet<Address> {
    let flawed = |class: AttackClass| match class {
        AttackClass::ValueExtraction
        | AttackClass::Reentrancy
        | AttackClass::AllowanceDrain
        | AttackClass::PriceManipulation
        | AttackClass::Governance
        | AttackClass::UnbackedMint
        | AttackClass::Privilege => true,
        AttackClass::RateManipulation
        | AttackClass::FlashLoan
        | AttackClass::ControlFlow
        | AttackClass::Oracle
        | AttackClass::Phishing
        | AttackClass::Preparation
        | AttackClass::Invariant
        | AttackClass::UserRule => false,
    };
    incident.findings.iter().filter(|finding| flawed(finding.class)).map(|finding| finding.contract).collect()
}

fn acts_on(simulation: &Simulation, contracts: &BTreeSet<Address>) -> bool {
    let targets: BTreeSet<Address> = simulation.plan.steps.iter().filter_map(|step| step.call.to).collect();
    contracts.is_subset(&targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{incident_of, simulation, tried, value_loss};

    fn incident(severity: Severity, options: Vec<Simulation>) -> Incident {
        let mut incident = incident_of(value_loss(10, 500_000, 1_600));
        incident.severity = Some(severity);
        tried(&mut incident, options);
        incident
    }

    /// An option that acts on a contract which no finding names.
    fn bystander(broken: usize) -> Simulation {
        let mut option = simulation("bystander", true, broken);
        option.plan.steps[0].call.to = Some(Address::repeat_byte(0x77));
        option
    }

    #[test]
    fn the_least_harmful_of_the_effective_options_wins() {
        let options =
            vec![simulation("both", true, 9), simulation("vault", true, 7), simulation("nothing", false, 0)];
        let choice = choose(&incident(Severity::High, options)).unwrap();
        assert_eq!(choice.index, 1);
        assert!(choice.rationale.contains("2 of 3 options"), "{}", choice.rationale);
    }

    #[test]
    fn a_critical_incident_closes_the_flawed_contract_even_where_a_bystander_would_be_milder() {
        let options = vec![bystander(0), simulation("vault", true, 7)];
        let choice = choose(&incident(Severity::Critical, options.clone())).unwrap();
        assert_eq!(choice.index, 1);
        assert!(choice.rationale.contains("1 milder options leave a contract open"), "{}", choice.rationale);
        assert_eq!(choose(&incident(Severity::High, options)).unwrap().index, 0);
    }

    #[test]
    fn a_trial_that_does_not_know_the_newest_finding_does_not_count() {
        let mut incident = incident(Severity::Critical, vec![simulation("vault", true, 0)]);
        incident.findings.push(value_loss(12, 500_000, 1_600));
        assert_eq!(choose(&incident), None);
    }

    #[test]
    fn a_bystander_is_better_than_nothing() {
        assert_eq!(choose(&incident(Severity::Critical, vec![bystander(3)])).unwrap().index, 0);
    }

    #[test]
    fn an_option_that_stops_nothing_is_never_chosen() {
        assert_eq!(choose(&incident(Severity::Critical, vec![simulation("nothing", false, 0)])), None);
        assert_eq!(choose(&incident(Severity::Critical, vec![])), None);
    }

    #[test]
    fn the_order_of_options_does_not_matter() {
        let (a, b) = (simulation("a", true, 3), simulation("b", true, 3));
        let one = incident(Severity::High, vec![a.clone(), b.clone()]);
        let other = incident(Severity::High, vec![b, a]);
        let chosen = |incident: &Incident| incident.simulations[choose(incident).unwrap().index].clone();
        assert_eq!(chosen(&one), chosen(&other));
    }
}
