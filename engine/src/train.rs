//! `cordon train bytecode`: the model that scores new contracts, from codes of attackers and of ordinary contracts.
//!
//! In: folders of recordings and codes. Out: a [`Model`] as it is written to a file, and a [`TrainReport`] of how its training does on
//! families of codes that it leaves out. Must never: draw a random number, read a clock, or let a family of similar codes stand on
//! both sides of a test. The same files give the same model.
//!
//! Training computes with floating point, but with nothing except additions, multiplications and divisions in a fixed order, which
//! IEEE 754 defines to the last bit. What is shipped are integers.

mod corpus;
mod evaluate;
mod families;
mod logistic;
mod report;

pub use corpus::Origin;
pub use evaluate::{Point, Split};
pub use report::TrainReport;

use crate::error::EngineError;
use cordon_detect::bytecode::{Bounds, FORMAT, Model, Tested, Trained};
use cordon_model::units::Milli;
use corpus::Corpus;
use evaluate::{FOLDS, Judged, cross_validated, later_in_time};
use families::families;
use logistic::{Sample, fit};
use std::cmp::Reverse;
use std::path::PathBuf;

/// Share of ordinary codes, one in so many, that may reach the lower bound. Of the codes at hand some twenty do.
const LIKELY_ONE_IN: usize = 200;

/// Share of attackers' codes, per mille, at whose figure a code is beyond doubt: the recall of the setting of Forta's Early Attack
/// Detector that is meant to be precise. How many ordinary codes reach it is in the model's file. A bound above all ordinary codes
/// was tried first, and depended on a single one of them.
const SURE_PERMILLE: usize = 310;

/// What is trained on.
#[derive(Debug, Clone, Default)]
pub struct TrainingSet {
    /// Files and folders of attackers' codes: hexadecimal text (`.evm`), trees of calls, states before attacks.
    pub attackers: Vec<PathBuf>,
    /// Files and folders of blocks with the codes that they ran.
    pub benign: Vec<PathBuf>,
}

/// Trains on all codes, and tests on families that are left out in turn.
///
/// # Errors
/// A path that cannot be read, or too little to learn from. A single file below a folder that cannot be used is in the report.
pub fn bytecode(set: &TrainingSet, progress: &dyn Fn(&str)) -> Result<(Model, TrainReport), EngineError> {
    let corpus = Corpus::read(set, progress)?;
    progress(&format!("{} codes read; looking for families", corpus.codes.len()));
    let families = families(&corpus.codes);
    progress("families found; cross-validating");
    let judged = cross_validated(&corpus.codes, &families, progress);
    let bounds = bounds(&judged);
    progress("training on all codes");
    let samples: Vec<Sample> = corpus.codes.iter().map(Sample::of).collect();
    let (bias, weights) = fit(&samples);
    let split = later_in_time(&corpus.codes, &families);
    let report = TrainReport::new(&corpus, &families, &judged, (bounds, split));
    let tested = |bound| report::reached(&judged, bound);
    let ((likely_attackers, likely_benign), (sure_attackers, sure_benign)) =
        (tested(bounds.likely), tested(bounds.sure));
    let trained = Trained {
        command: "cordon train bytecode --attackers PATH... --benign PATH... --out FILE".to_owned(),
        attackers: report.attackers,
        benign: report.benign,
        families: report.families,
        corpus: corpus.hash(),
    };
    let tested = Tested { folds: FOLDS, likely_attackers, likely_benign, sure_attackers, sure_benign };
    let format = FORMAT.to_owned();
    Ok((Model { format, trained, tested, bounds, bias, weights }, report))
}

/// The lower bound is the lowest figure that at most one in [`LIKELY_ONE_IN`] ordinary codes reaches; the upper one is reached by
/// [`SURE_PERMILLE`] of the attackers' codes.
fn bounds(judged: &[Judged]) -> Bounds {
    let falling = |is_attacker: bool| {
        let figures = judged.iter().filter(|one| one.is_attacker == is_attacker).map(|one| one.log_odds);
        let mut figures: Vec<Milli> = figures.collect();
        figures.sort_unstable_by_key(|log_odds| Reverse(*log_odds));
        figures
    };
    let likely = above(&falling(false), LIKELY_ONE_IN);
    let attackers = falling(true);
    let wanted = attackers.len().saturating_mul(SURE_PERMILLE).div_ceil(1_000);
    let sure = attackers.get(wanted.saturating_sub(1)).copied().unwrap_or_default();
    Bounds { likely, sure: sure.max(likely) }
}

/// The lowest figure that at most one in so many reaches, of figures in falling order.
fn above(falling: &[Milli], one_in: usize) -> Milli {
    let place = falling.len().checked_div(one_in).unwrap_or(0);
    Milli(falling.get(place).copied().unwrap_or_default().0.saturating_add(1))
}

#[cfg(test)]
mod tests;
