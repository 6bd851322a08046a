//! Groups of codes that are variants of each other.
//!
//! In: codes. Out: for each the number of its family. Must never: leave two codes that are nearly the same in different families,
//! since a test on one of them would then say how well the other was remembered.
//!
//! Two codes belong together where their sets of sequences of five instructions have more than [`SIMILAR_PERCENT`] of their union in
//! common; families are what such pairs connect. The share is estimated from the smallest hashes of both sets (Broder, "On the
//! resemblance and containment of documents", 1997).

use super::corpus::Code;
use std::collections::BTreeSet;

/// Length of a sequence.
const SEQUENCE: usize = 5;

/// Two codes are similar beyond this share. Contracts of one compiler have much of what it writes everywhere in common; see the
/// size of the largest family in the report for what this bound makes of that.
const SIMILAR_PERCENT: usize = 60;

/// Hashes kept of each code. The estimate of a share of 0.6 is then off by 0.043 (one standard deviation).
const SKETCH: usize = 128;

/// The family of each code, by the place of its first member.
pub(super) fn families(codes: &[Code]) -> Vec<usize> {
    let sketches: Vec<Sketch> = codes.iter().map(|code| Sketch::of(&code.classes)).collect();
    let mut roots: Vec<usize> = (0..codes.len()).collect();
    // In the order of their sizes, only neighbours can be similar: the smaller set has no more in common than itself.
    let mut order: Vec<(usize, &Sketch)> = sketches.iter().enumerate().collect();
    order.sort_by_key(|(place, sketch)| (sketch.size, *place));
    for (start, (first, small)) in order.iter().enumerate() {
        for (second, large) in order.iter().skip(start.saturating_add(1)) {
            if small.size.saturating_mul(100) < large.size.saturating_mul(SIMILAR_PERCENT) {
                break;
            }
            if root(&roots, *first) != root(&roots, *second) && small.is_similar(large) {
                let (low, high) = (root(&roots, *first), root(&roots, *second));
                let (low, high) = (low.min(high), low.max(high));
                if let Some(entry) = roots.get_mut(high) {
                    *entry = low;
                }
            }
        }
    }
    (0..codes.len()).map(|place| root(&roots, place)).collect()
}

fn root(roots: &[usize], mut place: usize) -> usize {
    while let Some(above) = roots.get(place).filter(|above| **above != place) {
        place = *above;
    }
    place
}

/// The smallest hashes of a set, and how many it has.
#[derive(Debug)]
struct Sketch {
    size: usize,
    smallest: Vec<u64>,
}

impl Sketch {
    fn of(classes: &[u8]) -> Self {
        let all: BTreeSet<u64> = classes.windows(SEQUENCE).map(hash).collect();
        Self { size: all.len(), smallest: all.into_iter().take(SKETCH).collect() }
    }

    /// Of the smallest hashes of the union, more than the share in both.
    fn is_similar(&self, other: &Self) -> bool {
        let (mut mine, mut others) = (self.smallest.iter().peekable(), other.smallest.iter().peekable());
        let (mut seen, mut shared) = (0usize, 0usize);
        while seen < SKETCH {
            match (mine.peek(), others.peek()) {
                (Some(one), Some(another)) if one == another => {
                    shared = shared.saturating_add(1);
                    mine.next();
                    others.next();
                }
                (Some(one), Some(another)) if one < another => {
                    mine.next();
                }
                (Some(_), Some(_)) | (None, Some(_)) => {
                    others.next();
                }
                (Some(_), None) => {
                    mine.next();
                }
                (None, None) => break,
            }
            seen = seen.saturating_add(1);
        }
        shared.saturating_mul(100) > seen.saturating_mul(SIMILAR_PERCENT)
    }
}

/// FNV-1a with 64 bits, mixed so that the smallest hashes are a fair sample (the last step of SplitMix64).
fn hash(sequence: &[u8]) -> u64 {
    let mixed = sequence.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn similar(one: &[u8], another: &[u8]) -> bool {
        Sketch::of(one).is_similar(&Sketch::of(another))
    }

    /// Bytes without a pattern, the same for the same start.
    fn bytes(start: u64, len: usize) -> Vec<u8> {
        let mut state = start;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn a_variant_is_similar_and_a_stranger_is_not() {
        let code = bytes(1, 4_000);
        let mut variant = code.clone();
        variant.truncate(3_600);
        assert!(similar(&code, &code) && similar(&code, &variant) && similar(&variant, &code));
        assert!(!similar(&code, &bytes(2, 4_000)));
        // Half of each in common is a third of the union.
        let half = [&code[..2_000], &bytes(3, 2_000)].concat();
        assert!(!similar(&code, &half));
        assert!(!similar(&code, &code[..1_000]));
    }

    #[test]
    fn nothing_is_similar_to_nothing() {
        assert!(!similar(&[], &[]) && !similar(&[1, 2], &bytes(1, 100)));
    }
}
