//! Chance from a seed. In goes a key, out comes a fixed sequence of numbers: the same key gives the same numbers on
//! every machine and in every release. Never a source of secrets.

/// SplitMix64 of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014). Small, exact in
/// integers, and good enough to vary amounts.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64 {
    state: u64,
}

/// The odd constant by which the state advances: 2^64 divided by the golden ratio (from the paper).
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix64 {
    /// A sequence of its own for each key. Keys are folded one after the other, so `[1, 2]` and `[2, 1]` differ.
    pub(crate) fn keyed(key: &[u64]) -> Self {
        let state = key.iter().fold(0, |state, part| mix(u64::wrapping_add(state, GAMMA) ^ mix(*part)));
        Self { state }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number below `bound`, or zero for the bound zero. The bias of the remainder is below one in 2^40 for the
    /// bounds in use.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or_default()
    }

    /// `first`, `first + step`, ... up to `last`, each equally likely.
    pub(crate) fn between(&mut self, first: u64, last: u64, step: u64) -> u64 {
        let choices = last.saturating_sub(first).checked_div(step).unwrap_or_default();
        first.saturating_add(self.below(choices.saturating_add(1)).saturating_mul(step))
    }

    /// Moves the items into a random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let bound = u64::try_from(end).unwrap_or(u64::MAX).saturating_add(1);
            items.swap(end, usize::try_from(self.below(bound)).unwrap_or(end));
        }
    }
}

/// The finaliser from the paper.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // First three outputs of the reference implementation for the seed 1234567.
        let mut dice = SplitMix64 { state: 1_234_567 };
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([dice.next(), dice.next(), dice.next()], expected);
    }

    #[test]
    fn keys_differ_by_order_and_bounds_hold() {
        let mut left = SplitMix64::keyed(&[1, 2]);
        let mut right = SplitMix64::keyed(&[2, 1]);
        assert_ne!(left.next(), right.next());
        for _ in 0..100 {
            assert!(left.below(7) < 7);
            let step = left.between(50, 90, 10);
            assert!((50..=90).contains(&step) && step.is_multiple_of(10));
        }
        assert_eq!((left.below(0), left.between(5, 5, 0)), (0, 5));
    }

    #[test]
    fn a_shuffle_keeps_all_items() {
        let mut items = [1, 2, 3, 4, 5];
        SplitMix64::keyed(&[9]).shuffle(&mut items);
        items.sort_unstable();
        assert_eq!(items, [1, 2, 3, 4, 5]);
    }
}
