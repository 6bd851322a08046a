//! How many events are to be expected at most where so many were seen.
//!
//! In: a count. Out: the upper end of the one-sided 95 % interval of a Poisson mean (Garwood, "Fiducial limits for the Poisson
//! distribution", Biometrika 1936), in thousandths, in integers. Must never: come out below the true bound.

use alloy_primitives::U256;

/// Counts up to here are bounded exactly; beyond, 256 bits do not hold the terms.
const EXACT_MAX: u64 = 100;

/// One in fixed point.
const ONE: u64 = 1 << 48;

/// 1.6449, the quantile of the normal distribution that leaves 5 % above, in ten-thousandths, rounded up.
const Z: u64 = 16_449;

/// The largest mean, in thousandths, under which seeing so few is not less probable than 5 %.
#[must_use]
pub fn episodes_max_milli(seen: u64) -> u64 {
    if seen > EXACT_MAX {
        return approximately(seen);
    }
    // Two standard deviations above the count and a few more; what lies beyond would not fit into 256 bits.
    let most = seen.saturating_add(seen.isqrt().saturating_mul(2)).saturating_add(5);
    let (mut low, mut high) = (0u64, most.saturating_mul(1_000));
    while high.saturating_sub(low) > 1 {
        let middle = low.midpoint(high);
        if is_improbable(seen, middle) { high = middle } else { low = middle }
    }
    high
}

/// Whether at most `seen` events have a probability of 5 % or less under a mean: the first terms of its exponential series are
/// a twentieth of all of them or less.
fn is_improbable(seen: u64, mean_milli: u64) -> bool {
    let (mut term, mut sum, mut first) = (U256::from(ONE), U256::ZERO, U256::ZERO);
    let mut count = 0u64;
    while !term.is_zero() {
        sum = sum.saturating_add(term);
        if count == seen {
            first = sum;
        }
        count = count.saturating_add(1);
        term = term.saturating_mul(U256::from(mean_milli)) / U256::from(count.saturating_mul(1_000));
    }
    // Where the terms end before, all of them were counted.
    count > seen && first.saturating_mul(U256::from(20u64)) <= sum
}

/// Wilson and Hilferty's approximation (PNAS 1931), for counts where it is right within a ten-thousandth; plus as much.
fn approximately(seen: u64) -> u64 {
    let n = U256::from(seen.saturating_add(1));
    // (1 - 1 / 9n + z / 3√n)³ n, with nine decimals inside.
    let scale = U256::from(1_000_000_000u64);
    let root = (n.saturating_mul(scale).saturating_mul(scale)).root(2);
    let spread = U256::from(Z).saturating_mul(scale).saturating_mul(scale)
        / (root.saturating_mul(U256::from(30_000u64)));
    let base = scale.saturating_sub(scale / n.saturating_mul(U256::from(9u64))).saturating_add(spread);
    let cubed = base.saturating_mul(base).saturating_mul(base) / scale.saturating_mul(scale);
    let milli = n.saturating_mul(cubed).saturating_mul(U256::from(1_000u64)) / scale;
    let above = milli / U256::from(10_000u64) + U256::ONE;
    u64::try_from(milli.saturating_add(above)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_garwoods() {
        // Half the 95 % quantile of chi-squared with 2 (k + 1) degrees of freedom, from published tables.
        let published = [
            (0, 2_996),
            (1, 4_744),
            (2, 6_296),
            (3, 7_754),
            (5, 10_513),
            (10, 16_962),
            (20, 29_062),
            (50, 63_287),
        ];
        for (seen, bound) in published {
            let found = episodes_max_milli(seen);
            assert!((bound..=bound + 1).contains(&found), "{seen}: {found}, published {bound}");
        }
    }

    #[test]
    fn the_approximation_goes_on_where_exactness_ends() {
        for seen in [80, 90, EXACT_MAX] {
            let (exact, near) = (episodes_max_milli(seen), approximately(seen));
            assert!(near >= exact && near - exact <= exact / 2_000, "{seen}: {exact}, {near}");
        }
        assert!(episodes_max_milli(EXACT_MAX + 1) > episodes_max_milli(EXACT_MAX));
        assert_eq!(episodes_max_milli(u64::MAX), u64::MAX);
    }
}
