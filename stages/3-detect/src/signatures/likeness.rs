//! What a transaction has in common with known attacks.
//!
//! In: signatures, and what was observed of a transaction. Out: the strongest [`Resemblance`]. Must never: take the time of all
//! signatures for one transaction. Codes and shapes are looked up by their hashes, and grams by an index.

use super::{Observed, SeenCode, shape};
use alloy_primitives::{Address, B256};
use cordon_model::signature::{Shape, Signature};
use cordon_model::units::Bps;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// From where on a likeness says something. The defaults of the detector and how they were measured: `detectors::known_attack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Fewest steps of an exact shape.
    pub steps_min: u32,
    /// Fewest steps of an exact shape that alarms alone.
    pub steps_alone_min: u32,
    /// Fewest instructions of a code.
    pub instructions_min: u32,
    /// Least similarity.
    pub similarity_min_bps: Bps,
    /// Fewest different grams of either shape for a similarity.
    pub grams_min: u32,
}

impl Limits {
    /// Whether a shape is long enough to be compared at all.
    #[must_use]
    pub fn tells(&self, shape: &Shape) -> bool {
        let steps = count(shape.steps.len());
        (shape.whole && steps >= self.steps_min) || count(shape::grams(shape).len()) >= self.grams_min
    }
}

/// In which way a transaction is like a known attack, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// A contract of the sender's side runs the very code.
    SameCode {
        /// The contract.
        contract: Address,
        /// True where the transaction created it.
        is_new: bool,
    },
    /// A contract of the sender's side runs the same instructions, with other constants.
    SameInstructions {
        /// The contract.
        contract: Address,
        /// How many.
        instructions: u32,
        /// True where the transaction created it.
        is_new: bool,
    },
    /// The same steps in the same order.
    SameShape {
        /// How many.
        steps: u32,
    },
    /// Mostly the same runs of steps.
    Similar {
        /// Jaccard similarity of the sets of grams.
        similarity_bps: Bps,
    },
}

impl Likeness {
    /// Whether it says enough without any other detector.
    #[must_use]
    pub fn alarms_alone(&self, limits: &Limits) -> bool {
        match self {
            Self::SameCode { is_new, .. } | Self::SameInstructions { is_new, .. } => *is_new,
            Self::SameShape { steps } => *steps >= limits.steps_alone_min,
            Self::Similar { .. } => false,
        }
    }
}

/// A transaction beside the signature that it is most like.
#[derive(Debug, Clone, Copy)]
pub struct Resemblance<'a> {
    /// The signature.
    pub signature: &'a Signature,
    /// Its place among all.
    pub place: usize,
    /// In which way.
    pub likeness: Likeness,
}

/// Signatures, ready to be compared with.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    signatures: Vec<Arc<Signature>>,
    /// How many instructions the known codes have.
    lengths: BTreeSet<u32>,
    by_code: BTreeMap<B256, Vec<usize>>,
    by_opcodes: BTreeMap<B256, Vec<usize>>,
    by_shape: BTreeMap<B256, Vec<usize>>,
    by_gram: BTreeMap<u64, Vec<usize>>,
    /// Different grams of each signature.
    grams: Vec<u32>,
}

impl Memory {
    /// A memory of these.
    #[must_use]
    pub fn of(signatures: impl IntoIterator<Item = Arc<Signature>>) -> Self {
        let mut memory = Self::default();
        for signature in signatures {
            memory.take(signature);
        }
        memory
    }

    fn take(&mut self, signature: Arc<Signature>) {
        let place = self.signatures.len();
        for mark in &signature.codes {
            self.lengths.insert(mark.instructions);
            self.by_code.entry(mark.code_hash).or_default().push(place);
            self.by_opcodes.entry(mark.opcodes_hash).or_default().push(place);
        }
        let hash = signature.shape.as_ref().and_then(shape::hash);
        if let Some(hash) = hash {
            self.by_shape.entry(hash).or_default().push(place);
        }
        let grams = signature.shape.as_ref().map(shape::grams).unwrap_or_default();
        self.grams.push(count(grams.len()));
        for gram in grams {
            self.by_gram.entry(gram).or_default().push(place);
        }
        self.signatures.push(signature);
    }

    /// Whether any known code has so many instructions.
    #[must_use]
    pub fn knows_length(&self, instructions: u32) -> bool {
        self.lengths.contains(&instructions)
    }

    /// How many signatures there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// The strongest resemblance within the limits. Of equals the first signature speaks.
    #[must_use]
    pub fn nearest(&self, observed: &Observed, limits: &Limits) -> Option<Resemblance<'_>> {
        self.nearest_of(observed, limits, &|_| true)
    }

    /// The same among those signatures whose places are admitted.
    #[must_use]
    pub fn nearest_of(
        &self,
        observed: &Observed,
        limits: &Limits,
        admits: &dyn Fn(usize) -> bool,
    ) -> Option<Resemblance<'_>> {
        let exact = [self.same_code(observed, limits, admits), self.same_shape(observed, limits, admits)];
        let exact = || exact.iter().flatten();
        let alone = exact().find(|(_, likeness)| likeness.alarms_alone(limits));
        let found = alone.or_else(|| exact().next()).copied();
        let (place, likeness) = found.or_else(|| self.similar(observed, limits, admits))?;
        Some(Resemblance { signature: self.signatures.get(place)?, place, likeness })
    }

    fn same_code(
        &self,
        observed: &Observed,
        limits: &Limits,
        admits: &dyn Fn(usize) -> bool,
    ) -> Option<(usize, Likeness)> {
        let long = observed.codes.iter().filter(|code| code.mark.instructions >= limits.instructions_min);
        // New contracts stand first: what is found of them says more.
        long.copied().find_map(|SeenCode { contract, mark, is_new }| {
            if let Some(place) = first(&self.by_code, &mark.code_hash, admits) {
                return Some((place, Likeness::SameCode { contract, is_new }));
            }
            let place = first(&self.by_opcodes, &mark.opcodes_hash, admits)?;
            let instructions = mark.instructions;
            Some((place, Likeness::SameInstructions { contract, instructions, is_new }))
        })
    }

    fn same_shape(
        &self,
        observed: &Observed,
        limits: &Limits,
        admits: &dyn Fn(usize) -> bool,
    ) -> Option<(usize, Likeness)> {
        let seen = observed.shape.as_ref()?;
        let steps = count(seen.steps.len());
        if steps < limits.steps_min {
            return None;
        }
        let hurts = |place: &usize| {
            let known = self.signatures.get(*place).and_then(|signature| signature.shape.as_ref());
            admits(*place) && known.is_some_and(|known| shape::hurts_alike(known, seen))
        };
        let place = self.by_shape.get(&shape::hash(seen)?)?.iter().copied().find(hurts)?;
        Some((place, Likeness::SameShape { steps }))
    }

    fn similar(
        &self,
        observed: &Observed,
        limits: &Limits,
        admits: &dyn Fn(usize) -> bool,
    ) -> Option<(usize, Likeness)> {
        let (place, similarity_bps) = self.most_similar(observed, limits.grams_min, admits)?;
        (similarity_bps >= limits.similarity_min_bps).then_some((place, Likeness::Similar { similarity_bps }))
    }

    /// The signature whose grams are most like those observed, and how much, whatever the limit.
    #[must_use]
    pub fn most_similar(
        &self,
        observed: &Observed,
        grams_min: u32,
        admits: &dyn Fn(usize) -> bool,
    ) -> Option<(usize, Bps)> {
        let seen: BTreeSet<u64> = shape::grams(observed.shape.as_ref()?);
        let seen_count = count(seen.len());
        if seen_count < grams_min.max(1) {
            return None;
        }
        let mut shared: BTreeMap<usize, u32> = BTreeMap::new();
        for place in seen.iter().filter_map(|gram| self.by_gram.get(gram)).flatten() {
            let count = shared.entry(*place).or_default();
            *count = count.saturating_add(1);
        }
        let mut best: Option<(usize, Bps)> = None;
        for (place, shared) in shared {
            let known = self.grams.get(place).copied().unwrap_or(0);
            if known < grams_min || !admits(place) {
                continue;
            }
            let similarity = jaccard(shared, known, seen_count);
            if best.is_none_or(|(_, most)| similarity > most) {
                best = Some((place, similarity));
            }
        }
        best
    }
}

/// The first admitted place of a key.
fn first<K: Ord>(places: &BTreeMap<K, Vec<usize>>, key: &K, admits: &dyn Fn(usize) -> bool) -> Option<usize> {
    places.get(key)?.iter().copied().find(|place| admits(*place))
}

/// What two sets have in common, of all that either has (Jaccard, 1901), rounded down.
fn jaccard(shared: u32, one: u32, other: u32) -> Bps {
    let either = u64::from(one).saturating_add(u64::from(other)).saturating_sub(u64::from(shared));
    let share = u64::from(shared).saturating_mul(10_000).checked_div(either).unwrap_or(0);
    Bps(u32::try_from(share).unwrap_or(10_000))
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
