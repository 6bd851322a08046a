//! The weights by which features add up to log-odds.
//!
//! In: the file that `cordon train bytecode` writes, and features. Out: a [`Likeness`]. Must never: compute with floating point, so
//! that the same code has the same figure on every machine; or be asked for a probability. The log-odds are those of the training
//! set, in which attackers are far more common than on any chain.

use super::features::{DIMENSIONS, Features};
use alloy_primitives::B256;
use cordon_model::finding::sign::{CodePart, CodeTrait};
use cordon_model::units::Milli;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the format. Another one is needed as soon as a feature changes its place.
pub const FORMAT: &str = "cordon-bytecode-model/1";

/// Parts that a likeness names: as many as people read.
const PARTS_MAX: usize = 5;

/// Largest size of a weight, in thousandths of log-odds: e^100 to one is far beyond what any training gives, and no sum of
/// [`DIMENSIONS`] such weights leaves 64 bits.
const WEIGHT_MAX: i32 = 100_000;

/// The model that comes with the program.
const SHIPPED: &str = include_str!("../../models/bytecode.json");

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// [`FORMAT`].
    pub format: String,
    /// On what it was trained.
    pub trained: Trained,
    /// How it did on what it was not trained on.
    pub tested: Tested,
    /// From where on it is believed.
    pub bounds: Bounds,
    /// Log-odds of a code without features.
    pub bias: Milli,
    /// One weight for each place, in thousandths of log-odds.
    pub weights: Vec<i32>,
}

/// On what a model was trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trained {
    /// Command that wrote it, its paths left out.
    pub command: String,
    /// Different codes of attackers.
    pub attackers: u64,
    /// Different codes of ordinary contracts.
    pub benign: u64,
    /// Groups of similar codes among all of them.
    pub families: u64,
    /// Hash of the codes' classes in order, which tells whether two trainings had the same.
    pub corpus: B256,
}

/// How a model's training does on codes that it leaves out, by cross-validation over families.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tested {
    /// Parts into which the families were divided.
    pub folds: u32,
    /// Attackers' codes at or above the lower bound.
    pub likely_attackers: u64,
    /// Ordinary codes there.
    pub likely_benign: u64,
    /// Attackers' codes at or above the upper bound.
    pub sure_attackers: u64,
    /// Ordinary codes there.
    pub sure_benign: u64,
}

/// From where on a model is believed, in log-odds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Worth a word.
    pub likely: Milli,
    /// Hardly any ordinary code got as far.
    pub sure: Milli,
}

/// How much a code is like code that attacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likeness {
    /// Log-odds.
    pub log_odds: Milli,
    /// What speaks for it most, the largest part first.
    pub parts: Vec<CodePart>,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It is no model.
    #[error("no model of bytecode: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is another one.
    #[error("{key}: found '{found}', expected {expected}")]
    Wrong {
        /// Key in the file.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What could.
        expected: String,
    },
}

impl Model {
    /// The model that comes with the program.
    ///
    /// # Errors
    /// As [`Model::from_json`]; not for the file that this was tested with.
    pub fn shipped() -> Result<Self, ModelError> {
        Self::from_json(SHIPPED)
    }

    /// A model as it was written.
    ///
    /// # Errors
    /// [`ModelError`] where it is none, or not for these features.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let model: Self = serde_json::from_str(text)?;
        let wrong = |key, found: String, expected: String| Err(ModelError::Wrong { key, found, expected });
        if model.format != FORMAT {
            return wrong("format", model.format, format!("'{FORMAT}'"));
        }
        if u32::try_from(model.weights.len()) != Ok(DIMENSIONS) {
            let expected = format!("{DIMENSIONS} weights");
            return wrong("weights", format!("{} weights", model.weights.len()), expected);
        }
        let is_large = |weight: &&i32| weight.unsigned_abs() > WEIGHT_MAX.unsigned_abs();
        if let Some(large) = model.weights.iter().find(is_large) {
            return wrong("weights", large.to_string(), format!("at most {WEIGHT_MAX} either way"));
        }
        if model.bounds.sure < model.bounds.likely {
            let expected = format!("at least bounds.likely, which is {}", model.bounds.likely.0);
            return wrong("bounds.sure", model.bounds.sure.0.to_string(), expected);
        }
        Ok(model)
    }

    /// The sum of what each feature adds, and what adds most. Sequences of instructions count as one part, since none of them
    /// means anything to people.
    #[must_use]
    pub fn judge(&self, features: &Features) -> Likeness {
        let mut millionths = i128::from(self.bias.0).saturating_mul(1_000);
        let mut parts: BTreeMap<CodeTrait, i128> = BTreeMap::new();
        for (place, value) in features.entries() {
            let weight = usize::try_from(*place).ok().and_then(|place| self.weights.get(place));
            let part = i128::from(weight.copied().unwrap_or(0)).saturating_mul(i128::from(*value));
            millionths = millionths.saturating_add(part);
            if let Some(what) = features.what(*place) {
                let sum = parts.entry(what).or_default();
                *sum = sum.saturating_add(part);
            }
        }
        let part = |(what, millionths)| CodePart { what, log_odds: thousandths(millionths) };
        let mut parts: Vec<CodePart> = parts.into_iter().map(part).collect();
        parts.retain(|part| part.log_odds.0 > 0);
        parts.sort_by_key(|part| std::cmp::Reverse(part.log_odds));
        parts.truncate(PARTS_MAX);
        Likeness { log_odds: thousandths(millionths), parts }
    }
}

fn thousandths(millionths: i128) -> Milli {
    Milli(i64::try_from(millionths.div_euclid(1_000)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    fn model(weights: &[(u32, i32)]) -> Model {
        let mut all = vec![0; usize::try_from(DIMENSIONS).unwrap()];
        for (place, weight) in weights {
            all[usize::try_from(*place).unwrap()] = *weight;
        }
        let trained =
            Trained { command: String::new(), attackers: 1, benign: 1, families: 2, corpus: B256::ZERO };
        let tested =
            Tested { folds: 2, likely_attackers: 0, likely_benign: 0, sure_attackers: 0, sure_benign: 0 };
        let bounds = Bounds { likely: Milli(1), sure: Milli(2) };
        Model { format: FORMAT.to_owned(), trained, tested, bounds, bias: Milli(-500), weights: all }
    }

    #[test]
    fn what_features_weigh_adds_up() {
        let features = Features::of(&hex!("32 ff"));
        let places: Vec<u32> = features.entries().iter().map(|(place, _)| *place).collect();
        let of = |wanted| {
            let is = |place: &&u32| features.what(**place) == Some(wanted);
            *places.iter().find(is).unwrap()
        };
        let (origin, destroys) = (of(CodeTrait::AsksOrigin), of(CodeTrait::DestroysItself));
        let judged =
            model(&[(origin, 700), (destroys, 1_300), (of(CodeTrait::NoLogs), -250)]).judge(&features);
        assert_eq!(judged.log_odds, Milli(-500 + 700 + 1_300 - 250));
        let part = |what, milli| CodePart { what, log_odds: Milli(milli) };
        assert_eq!(judged.parts, [part(CodeTrait::DestroysItself, 1_300), part(CodeTrait::AsksOrigin, 700)]);
        let sequences: Vec<(u32, i32)> = places
            .iter()
            .filter(|place| features.what(**place) == Some(CodeTrait::Instructions))
            .map(|place| (*place, 1_000))
            .collect();
        let [together] = model(&sequences).judge(&features).parts[..] else { panic!("one part") };
        assert_eq!(together.what, CodeTrait::Instructions);
    }

    #[test]
    fn no_code_leaves_the_range_or_stops_anything() {
        let heavy = model(&(0..DIMENSIONS).map(|place| (place, WEIGHT_MAX)).collect::<Vec<_>>());
        let mut state = 1u64;
        for len in [0usize, 1, 31, 33, 1_000, 24_576, 300_000] {
            let code: Vec<u8> = (0..len)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    state.to_be_bytes()[0]
                })
                .collect();
            let judged = heavy.judge(&Features::of(&code));
            assert!(judged.log_odds.0 < 1_000_000_000, "{judged:?}");
            assert!(judged.parts.len() <= PARTS_MAX);
            assert_eq!(judged, heavy.judge(&Features::of(&code)));
        }
    }

    #[test]
    fn the_shipped_model_is_one() {
        let model = Model::shipped().unwrap();
        assert!(SHIPPED.len() < 300_000, "{} bytes", SHIPPED.len());
        assert!(model.trained.attackers > 0 && model.trained.benign > model.trained.attackers);
        assert!(model.tested.sure_attackers <= model.tested.likely_attackers);
        assert!(model.tested.sure_benign <= model.tested.likely_benign);
        assert!(model.trained.command.starts_with("cordon train bytecode"));
    }

    #[test]
    fn what_is_no_model_is_refused_by_key() {
        let refused = |edit: fn(&mut Model)| {
            let mut wrong = model(&[]);
            edit(&mut wrong);
            Model::from_json(&serde_json::to_string(&wrong).unwrap()).unwrap_err().to_string()
        };
        assert!(refused(|model| model.format = "other/1".to_owned()).contains("format: found 'other/1'"));
        assert!(refused(|model| model.weights.truncate(7)).contains("found '7 weights'"));
        assert!(refused(|model| model.weights[0] = i32::MIN).contains("-2147483648"));
        assert!(refused(|model| model.bounds.sure = Milli(0)).contains("bounds.sure"));
        assert!(Model::from_json("[]").unwrap_err().to_string().contains("no model"));
        let right = model(&[(3, -7)]);
        assert_eq!(Model::from_json(&serde_json::to_string(&right).unwrap()).unwrap(), right);
    }
}
