//! Shares with their uncertainty, in integers.
//!
//! In: how many of how many. Out: the share and its Wilson interval. Must never: state a share without its count.

use crate::bench::Decimal;
use serde::Serialize;

/// A unit in the arithmetic below: shares are computed in billionths.
const ONE: u128 = 1_000_000_000;

/// The square of 1.96, the quantile of the normal distribution that leaves 5 % outside, in billionths.
const Z_SQUARED: u128 = 3_841_600_000;

/// So many of so many, and where the true share lies with 95 % confidence (Wilson, "Probable inference", JASA 1927).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// The share; zero of none is zero.
    pub share: Decimal,
    /// Lower end of the interval.
    pub low: Decimal,
    /// Upper end of the interval.
    pub high: Decimal,
}

impl Share {
    /// The share of `count` in `of`; more than all counts as all.
    #[must_use]
    pub fn new(count: u64, of: u64) -> Self {
        Self::scaled(count, of, 1_000)
    }

    /// The same per 100,000.
    #[must_use]
    pub fn per_100k(count: u64, of: u64) -> Self {
        Self::scaled(count, of, 100_000_000)
    }

    /// The figures times so many thousandths.
    fn scaled(count: u64, of: u64, thousandths: u128) -> Self {
        let counted = u128::from(count.min(of));
        let (share, low, high) = wilson(counted, u128::from(of));
        let decimal = |billionths: u128| {
            let scaled = billionths.saturating_mul(thousandths).saturating_add(ONE / 2) / ONE;
            Decimal::thousandths(u64::try_from(scaled).unwrap_or(u64::MAX))
        };
        Self { count, of, share: decimal(share), low: decimal(low), high: decimal(high) }
    }
}

/// Share, lower and upper end, in billionths. Of nothing, nothing is known: 0, from 0 to 1.
fn wilson(count: u128, of: u128) -> (u128, u128, u128) {
    let Some(share) = count.saturating_mul(ONE).checked_div(of) else { return (0, 0, ONE) };
    // (k + z²/2 ± z √(k (n - k) / n + z²/4)) / (n + z²), all in billionths.
    let middle = count.saturating_mul(ONE).saturating_add(Z_SQUARED / 2);
    let spread = count.saturating_mul(of.saturating_sub(count)).saturating_mul(ONE) / of;
    // z √s = √(z² s): both under the root are in billionths, so the root is as well.
    let root = Z_SQUARED.saturating_mul(spread.saturating_add(Z_SQUARED / 4)).isqrt();
    let below = of.saturating_mul(ONE).saturating_add(Z_SQUARED);
    let end = |value: u128| value.saturating_mul(ONE).checked_div(below).unwrap_or(0).min(ONE);
    (share, end(middle.saturating_sub(root)), end(middle.saturating_add(root)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(share: Share) -> [String; 3] {
        [share.share, share.low, share.high].map(|figure| figure.to_string())
    }

    #[test]
    fn intervals_are_wilsons() {
        // Published examples: 35 of 37 is 0.946 (0.823 to 0.985), 12 of 12 is 1 (0.757 to 1).
        assert_eq!(figures(Share::new(35, 37)), ["0.946", "0.823", "0.985"]);
        assert_eq!(figures(Share::new(12, 12)), ["1.000", "0.757", "1.000"]);
        assert_eq!(figures(Share::new(0, 10)), ["0.000", "0.000", "0.278"]);
        assert_eq!(figures(Share::new(0, 0)), ["0.000", "0.000", "1.000"]);
        assert_eq!(figures(Share::new(7, 5)), figures(Share::new(5, 5)));
    }

    #[test]
    fn rates_per_hundred_thousand_keep_their_decimals() {
        assert_eq!(figures(Share::per_100k(5, 5_351)), ["93.440", "39.918", "218.570"]);
        assert_eq!(Share::per_100k(0, 5_351).low.to_string(), "0.000");
    }
}
