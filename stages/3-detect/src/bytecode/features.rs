//! A code as a short list of figures.
//!
//! In: runtime code. Out: [`Features`], each a place in a list of fixed length and a value in thousandths. Must never: change what
//! stands at a place without a new format of the model, whose weights go by these places.
//!
//! Three groups are counts of many things that are hashed into a fixed number of buckets (sequences of one to three instructions,
//! functions called, functions offered). Counts enter by their logarithm, and each group is scaled to length one, so that a large
//! contract weighs no more than a small one. After them stand single facts.

use super::code::{Instructions, PUSH0, PUSH32, STOP, without_metadata};
use super::facts::CodeFacts;
use alloy_primitives::Selector;
use cordon_model::finding::sign::CodeTrait;
use std::collections::BTreeMap;

/// Buckets for sequences of instructions, of which a contract has some hundreds different ones. Chosen, not tuned.
const SEQUENCE_BUCKETS: u32 = 2_048;
/// Buckets for functions, once for those called and once for those offered: a contract has tens.
const FUNCTION_BUCKETS: u32 = 512;

const CALLS_AT: u32 = SEQUENCE_BUCKETS;
const HAS_AT: u32 = CALLS_AT + FUNCTION_BUCKETS;
const FACTS_AT: u32 = HAS_AT + FUNCTION_BUCKETS;
const FACTS: u32 = 15;

/// How many places there are.
pub const DIMENSIONS: u32 = FACTS_AT + FACTS;

/// The value of something that is simply there, and the length of a group.
const ONE: i32 = 1_000;

/// Longest sequence of instructions that is counted. Forta's model goes up to four; three keep collisions rare.
const SEQUENCE_MAX: usize = 3;

/// A step of a logarithmic figure. Codes have up to 2^15 instructions, so that the largest is a little above [`ONE`].
const STEP: i32 = 100;

/// A code as a short list of figures; see the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    entries: Vec<(u32, i32)>,
    /// Functions by the places they are counted at, the first of each.
    functions: BTreeMap<u32, Selector>,
    facts: CodeFacts,
}

impl Features {
    /// Of runtime code.
    #[must_use]
    pub fn of(code: &[u8]) -> Self {
        let facts = CodeFacts::of(code);
        let mut entries = scaled(sequences(&classes(code)));
        let mut functions = BTreeMap::new();
        for (at, selectors) in [(CALLS_AT, &facts.callees), (HAS_AT, &facts.functions)] {
            let mut counts = BTreeMap::new();
            for selector in selectors {
                let place = at.saturating_add(hash(selector.as_slice()) % FUNCTION_BUCKETS);
                *counts.entry(place).or_default() += 1u32;
                functions.entry(place).or_insert(*selector);
            }
            entries.extend(scaled(counts));
        }
        let places = (FACTS_AT..DIMENSIONS).zip(single(&facts));
        entries
            .extend(places.filter(|(_, (_, value))| *value != 0).map(|(place, (_, value))| (place, value)));
        Self { entries, functions, facts }
    }

    /// Places and values in thousandths, those that are zero left out.
    #[must_use]
    pub fn entries(&self) -> &[(u32, i32)] {
        &self.entries
    }

    /// What was read off the code.
    #[must_use]
    pub fn facts(&self) -> &CodeFacts {
        &self.facts
    }

    /// What a place stands for in this code.
    pub(super) fn what(&self, place: u32) -> Option<CodeTrait> {
        match place {
            0..CALLS_AT => Some(CodeTrait::Instructions),
            CALLS_AT..HAS_AT => self.functions.get(&place).copied().map(CodeTrait::Calls),
            HAS_AT..FACTS_AT => self.functions.get(&place).copied().map(CodeTrait::Has),
            _ => {
                let at = usize::try_from(place.checked_sub(FACTS_AT)?).ok()?;
                single(&self.facts).get(at).map(|(what, _)| *what)
            }
        }
    }
}

/// The single facts, in the order of their places.
fn single(facts: &CodeFacts) -> [(CodeTrait, i32); 15] {
    let flag = |is: bool| if is { ONE } else { 0 };
    let steps = |count: usize| logarithm(u32::try_from(count).unwrap_or(u32::MAX)).saturating_mul(STEP);
    let calls = u64::from(facts.calls).saturating_mul(20_000).checked_div(u64::from(facts.instructions));
    let density = i32::try_from(calls.unwrap_or(0)).unwrap_or(ONE).min(ONE);
    let instructions = usize::try_from(facts.instructions).unwrap_or(usize::MAX);
    [
        (CodeTrait::LoanCallback, flag(facts.takes_loans)),
        (CodeTrait::SwapCallback, flag(facts.swaps)),
        (CodeTrait::AsksOrigin, flag(facts.asks_origin)),
        (CodeTrait::DestroysItself, flag(facts.destroys_itself)),
        (CodeTrait::Creates, flag(facts.creates)),
        (CodeTrait::Delegates, flag(facts.delegates)),
        (CodeTrait::NoMetadata, flag(!facts.has_metadata)),
        (CodeTrait::NoFunctions, flag(facts.functions.is_empty())),
        (CodeTrait::NoLogs, flag(!facts.logs)),
        (CodeTrait::NoWrites, flag(!facts.writes)),
        (CodeTrait::Addresses, steps(facts.addresses.len())),
        (CodeTrait::Functions, steps(facts.functions.len())),
        (CodeTrait::Callees, steps(facts.callees.len())),
        (CodeTrait::Size, steps(instructions)),
        // One call in twenty instructions is the most that compilers make.
        (CodeTrait::CallDensity, density),
    ]
}

/// The code's instructions with those made one that differ in nothing but where they reach or how long a number is. Two codes
/// with the same classes are the same contract with other constants.
#[must_use]
pub fn classes(code: &[u8]) -> Vec<u8> {
    Instructions::of(without_metadata(code)).map(|one| class(one.opcode)).collect()
}

fn class(opcode: u8) -> u8 {
    match opcode {
        // Small numbers and places to jump to; selectors, addresses and words stay what they are.
        PUSH0..=0x62 => PUSH0,
        0x63 | 0x73 | PUSH32 | STOP => opcode,
        0x64..=0x7e => 0x64,
        0x80..=0x8f => 0x80,
        0x90..=0x9f => 0x90,
        0xa0..=0xa4 => 0xa0,
        other => other,
    }
}

fn sequences(classes: &[u8]) -> BTreeMap<u32, u32> {
    let mut counts = vec![0u32; usize::try_from(SEQUENCE_BUCKETS).unwrap_or(0)];
    for len in 1..=SEQUENCE_MAX {
        for sequence in classes.windows(len) {
            let bucket = usize::try_from(hash(sequence) % SEQUENCE_BUCKETS).ok();
            if let Some(count) = bucket.and_then(|bucket| counts.get_mut(bucket)) {
                *count = count.saturating_add(1);
            }
        }
    }
    (0..).zip(counts).filter(|(_, count)| *count > 0).collect()
}

/// Counts by their logarithm, as parts of a vector of length one, in thousandths.
fn scaled(counts: BTreeMap<u32, u32>) -> Vec<(u32, i32)> {
    let sizes: Vec<(u32, i32)> = counts.into_iter().map(|(place, count)| (place, logarithm(count))).collect();
    let squares = sizes.iter().map(|(_, size)| u64::from(size.unsigned_abs()).saturating_pow(2));
    // In thousandths as well, so that rounding does not matter.
    let length = squares.fold(0u64, u64::saturating_add).saturating_mul(1_000_000).isqrt();
    let part = |size: i32| {
        let scaled = i64::from(size).saturating_mul(i64::from(ONE)).saturating_mul(1_000);
        let part = scaled.checked_div(i64::try_from(length).unwrap_or(i64::MAX)).unwrap_or(0);
        i32::try_from(part).unwrap_or(ONE)
    };
    sizes.into_iter().map(|(place, size)| (place, part(size))).collect()
}

/// The binary logarithm, rounded down, and one; zero of none.
fn logarithm(count: u32) -> i32 {
    count.checked_ilog2().map_or(0, |log| i32::try_from(log).unwrap_or(0).saturating_add(1))
}

/// FNV-1a with 32 bits (Fowler, Noll, Vo), mixed once more since its low bits say little of short inputs.
fn hash(bytes: &[u8]) -> u32 {
    let mixed =
        bytes.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x7feb_352d);
    mixed ^ (mixed >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    #[test]
    fn constants_and_stack_places_do_not_matter() {
        let one = hex!("6001 610203 81 92 63aabbccdd a1 73 1111111111111111111111111111111111111111");
        let other = hex!("62010203 5f 80 90 6301020304 a4 73 2222222222222222222222222222222222222222");
        assert_eq!(classes(&one), classes(&other));
        assert_ne!(classes(&hex!("6001")), classes(&hex!("6301020304")));
    }

    #[test]
    fn groups_have_length_one_however_large_the_code() {
        let small = [hex!("6001 6002 01 5f 52 63aabbccdd 5f f1")].concat();
        let large: Vec<u8> = (0..2_000u32)
            .flat_map(|number| {
                [
                    &hex!("63")[..],
                    &number.wrapping_mul(2_654_435_761).to_be_bytes(),
                    &[(number % 7).to_be_bytes()[3], 0xf1],
                ]
                .concat()
            })
            .collect();
        for code in [small, large] {
            let features = Features::of(&code);
            let length = |from: u32, to: u32| -> i64 {
                let part = features.entries().iter().filter(|(place, _)| (from..to).contains(place));
                part.map(|(_, value)| i64::from(*value).pow(2)).sum()
            };
            for square in [length(0, CALLS_AT), length(CALLS_AT, HAS_AT)] {
                assert!((900_000..=1_000_000).contains(&square), "{square}");
            }
            assert!(features.entries().iter().all(|(place, _)| *place < DIMENSIONS));
            assert!(features.entries().is_sorted_by_key(|(place, _)| *place));
        }
    }

    #[test]
    fn every_place_says_what_it_stands_for() {
        let features = Features::of(&hex!("80 63aabbccdd 14 57 63a9059cbb 5f f1 32 ff"));
        let named: Vec<_> =
            features.entries().iter().filter_map(|(place, _)| features.what(*place)).collect();
        assert_eq!(named.len(), features.entries().len());
        for wanted in [
            CodeTrait::Instructions,
            CodeTrait::Calls(Selector::new(hex!("a9059cbb"))),
            CodeTrait::Has(Selector::new(hex!("aabbccdd"))),
            CodeTrait::AsksOrigin,
            CodeTrait::DestroysItself,
            CodeTrait::NoLogs,
            CodeTrait::CallDensity,
        ] {
            assert!(named.contains(&wanted), "{wanted}");
        }
    }

    #[test]
    fn nothing_has_figures_too() {
        let features = Features::of(&[]);
        assert_eq!(features.facts().instructions, 0);
        let flags: Vec<_> =
            features.entries().iter().filter_map(|(place, _)| features.what(*place)).collect();
        assert_eq!(
            flags,
            [CodeTrait::NoMetadata, CodeTrait::NoFunctions, CodeTrait::NoLogs, CodeTrait::NoWrites]
        );
    }
}
