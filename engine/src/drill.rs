//! The drill: a whole incident on the practice range, against the same engine that watches real chains.
//!
//! In: a scenario and a seed. Out: events as they happen, and a report at the end. The range's chain stands in for the
//! node and nothing else differs from production. What people would decide (to accept a fix, to pay, to reopen) is
//! decided by the drill's operator, and recorded as decided by a person. Must never: look at what only the attacker
//! knows before the end, or let anything depend on the clock of the machine.

mod books;
mod config;
mod report;
mod script;
mod stage;
mod tell;

pub use report::{DrillReport, Latency, Verdict};
pub use tell::{DrillEvent, text};

use crate::error::EngineError;
use cordon_range::{Scenario, Setup, World};
use stage::Stage;

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Drill {
    /// Which scenario.
    pub scenario: Scenario,
    /// Seed of everything that varies.
    pub seed: u64,
    /// Whether Cordon watches.
    pub defended: bool,
}

/// The scenario of this name.
///
/// # Errors
/// [`EngineError::Argument`], listing the known names.
pub fn scenario(name: &str) -> Result<Scenario, EngineError> {
    Scenario::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Scenario::ALL.iter().map(|scenario| scenario.name()).collect();
        EngineError::Argument {
            what: "scenario",
            found: name.to_owned(),
            expected: format!("one of {}", names.join(", ")),
        }
    })
}

/// Every scenario with its sentence.
#[must_use]
pub fn scenarios() -> Vec<(&'static str, &'static str)> {
    Scenario::ALL.iter().map(|scenario| (scenario.name(), scenario.describe())).collect()
}

/// Plays a drill; `tell` hears of everything as it happens.
///
/// # Errors
/// [`EngineError`] where something fails that should not, which is a defect of Cordon or of the scenario.
pub async fn run(
    drill: Drill,
    tell: &mut (dyn FnMut(DrillEvent) + Send),
) -> Result<DrillReport, EngineError> {
    let keys = stage::Keys::new(drill.seed)?;
    let setup = Setup { seed: drill.seed, guardian: keys.guardian, operator: keys.operator };
    if !drill.defended {
        let mut world = drill.scenario.build(setup)?;
        tell(DrillEvent::chapter("Nobody is watching"));
        play(&mut world, tell)?;
        return DrillReport::undefended(drill, &world, tell);
    }
    let mut shadow = drill.scenario.build(setup)?;
    play(&mut shadow, &mut |_| {})?;
    let mut stage = Stage::open(drill, &keys, setup).await?;
    tell(DrillEvent::chapter("Cordon is watching"));
    script::respond(&mut stage, tell).await?;
    DrillReport::defended(drill, stage, &shadow, tell).await
}

/// Plays a scenario to its end without Cordon.
fn play(world: &mut World, tell: &mut dyn FnMut(DrillEvent)) -> Result<(), EngineError> {
    while !world.is_over() {
        let outcome = world.step()?;
        for text in outcome.narration {
            tell(DrillEvent::Scene { block: outcome.block.number, text });
        }
    }
    Ok(())
}
