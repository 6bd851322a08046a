//! Which option does the least harm.
//!
//! In: simulations of the options. Out: the one that stops the attack and breaks the fewest honest transactions, and
//! why. Must never: choose an option that was not shown to stop the attack.

use cordon_model::simulation::Simulation;

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
pub fn choose(simulations: &[Simulation]) -> Option<Choice> {
    let stopping = simulations.iter().enumerate().filter(|(_, simulation)| simulation.contains_attack());
    let (index, best) = stopping.min_by_key(|(_, simulation)| {
        (simulation.honest_broken(), simulation.plan.steps.len(), simulation.plan.hash())
    })?;
    let stopping = simulations.iter().filter(|simulation| simulation.contains_attack()).count();
    let rationale = format!(
        "{stopping} of {} options stop the replayed attack; this one fails {} of {} honest transactions, the fewest",
        simulations.len(),
        best.honest_broken(),
        best.honest.iter().filter(|trial| trial.works_without).count()
    );
    Some(Choice { index, rationale })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::simulation;

    #[test]
    fn the_least_harmful_of_the_effective_options_wins() {
        let options =
            [simulation("both", true, 9), simulation("vault", true, 7), simulation("nothing", false, 0)];
        let choice = choose(&options).unwrap();
        assert_eq!(choice.index, 1);
        assert!(choice.rationale.contains("2 of 3 options"), "{}", choice.rationale);
    }

    #[test]
    fn an_option_that_stops_nothing_is_never_chosen() {
        assert_eq!(choose(&[simulation("nothing", false, 0)]), None);
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn the_order_of_options_does_not_matter() {
        let (a, b) = (simulation("a", true, 3), simulation("b", true, 3));
        let one = [a.clone(), b.clone()];
        let other = [b, a];
        assert_eq!(one[choose(&one).unwrap().index], other[choose(&other).unwrap().index]);
    }
}
