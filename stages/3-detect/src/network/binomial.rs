//! How often chance alone passes a threshold, exactly and in integers.
//!
//! In: slots, missed slots, and the share that is missed in good times. Out: the probability in parts of 10^12. With it
//! a false-alarm rate is a statement that a test checks. Must never: round a probability down to nothing.

use alloy_primitives::U512;

/// The whole, of which [`tail_parts`] gives parts: 10^12, so that one chance in a million years is still a number.
pub const PARTS: u64 = 1_000_000_000_000;

/// Most trials: `1000^n` times [`PARTS`] must fit 512 bits, and 40 trials need 439.
pub(super) const TRIALS_MAX: u32 = 40;

/// Probability that at least `hits` of `trials` happen, each with a chance of `chance_permille` thousandths, in parts
/// of [`PARTS`], rounded up. `None` for more than 40 trials or a chance above the whole.
#[must_use]
pub fn tail_parts(trials: u32, hits: u32, chance_permille: u32) -> Option<u64> {
    let no_chance = 1_000u32.checked_sub(chance_permille)?;
    if trials > TRIALS_MAX {
        return None;
    }
    let power = |base: u32, exponent: u32| U512::from(base).pow(U512::from(exponent));
    let mut ways = U512::from(1u8);
    let mut sum = U512::ZERO;
    for hit in 0..=trials {
        if hit >= hits {
            sum += ways * power(chance_permille, hit) * power(no_chance, trials - hit);
        }
        ways = ways * U512::from(trials - hit) / U512::from(hit + 1);
    }
    let parts = (sum * U512::from(PARTS)).div_ceil(power(1_000, trials));
    u64::try_from(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_exact() {
        // Checked against fractions of big integers in another language.
        let table = [
            (0, PARTS),
            (1, 275_019_664_043),
            (2, 40_682_585_753),
            (3, 3_993_447_233),
            (4, 287_473_645),
            (5, 16_076_590),
            (6, 724_837),
        ];
        for (hits, parts) in table {
            assert_eq!(tail_parts(32, hits, 10), Some(parts), "{hits} of 32 at 1 %");
        }
        assert_eq!(tail_parts(2, 1, 500), Some(PARTS * 3 / 4));
        assert_eq!(tail_parts(40, 1, 1_000), Some(PARTS));
        assert_eq!((tail_parts(10, 11, 500), tail_parts(10, 1, 0)), (Some(0), Some(0)));
    }

    #[test]
    fn what_cannot_be_computed_exactly_is_refused() {
        assert_eq!((tail_parts(41, 4, 10), tail_parts(32, 4, 1_001)), (None, None));
    }
}
