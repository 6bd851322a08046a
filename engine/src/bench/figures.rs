//! Numbers of a measurement: decimals without floating point, medians, and what the system says about itself.
//!
//! In: counts and nanoseconds. Out: figures for people and for JSON.

use serde::{Serialize, Serializer};
use std::fmt;

/// Spread of the bare EVM (ninth decile over first) above which a run says nothing: something else was running.
pub(super) const SPREAD_MAX: Decimal = Decimal::thousandths(1_300);

/// A number with three decimals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(u64);

impl Decimal {
    /// So many thousandths.
    #[must_use]
    pub const fn thousandths(value: u64) -> Self {
        Self(value)
    }

    /// One count over another; zero where there is nothing to divide by.
    #[must_use]
    pub(super) fn ratio(above: u64, below: u64) -> Self {
        let thousandths = u128::from(above).saturating_mul(1_000).checked_div(u128::from(below)).unwrap_or(0);
        Self(u64::try_from(thousandths).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}.{:03}", self.0 / 1_000, self.0 % 1_000))
    }
}

impl Serialize for Decimal {
    /// As a JSON number. JSON libraries take decimals as floating point; the value is read from its own text, so that
    /// nothing is computed with it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = self.to_string().parse::<f64>().map_err(serde::ser::Error::custom)?;
        serializer.serialize_f64(number)
    }
}

/// So many in so many nanoseconds, per second; zero where no time passed.
pub(super) fn per_s(amount: u64, ns: u64) -> u64 {
    let scaled = u128::from(amount).saturating_mul(1_000_000_000);
    u64::try_from(scaled.checked_div(u128::from(ns)).unwrap_or(0)).unwrap_or(u64::MAX)
}

pub(super) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The value below which half of the others lie; zero for none.
pub(super) fn median<T: Ord + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Ninth decile over first decile.
pub(super) fn spread(mut values: Vec<u64>) -> Decimal {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    let at = |tenths: usize| values.get(last.saturating_mul(tenths).div_ceil(10)).copied().unwrap_or(0);
    // The first decile is rounded down and the ninth up: a small sample must not look quieter than it was.
    let low = values.get(last / 10).copied().unwrap_or(0);
    Decimal::ratio(at(9), low)
}

/// Processes that waited for a processor over the last minute; `None` where the system does not say.
pub(super) fn load_average() -> Option<Decimal> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let (whole, part) = text.split_whitespace().next()?.split_once('.')?;
    let hundredths: u64 = part.parse().ok()?;
    Some(Decimal(whole.parse::<u64>().ok()?.saturating_mul(1_000).saturating_add(hundredths * 10)))
}

/// Most memory that this process has held at once, in bytes; `None` where the system does not say.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes.saturating_mul(1_024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_numbers_in_json_and_keep_their_digits() {
        assert_eq!(serde_json::to_string(&Decimal::thousandths(1_034)).unwrap(), "1.034");
        assert_eq!(serde_json::to_string(&Decimal::ratio(1, 20)).unwrap(), "0.05");
        assert_eq!(format!("{:>7}", Decimal::ratio(7, 2)), "  3.500");
        assert_eq!(Decimal::ratio(5, 0), Decimal::default());
    }

    #[test]
    fn a_rate_is_right_however_short_the_time() {
        assert_eq!(per_s(23, 380_000), 60_526, "less than a millisecond");
        assert_eq!(per_s(30_000_000, 24_000_000), 1_250_000_000);
        assert_eq!(per_s(7, 2_000_000_000), 3);
        assert_eq!(per_s(7, 0), 0);
    }

    #[test]
    fn the_middle_and_the_spread_of_a_sample() {
        assert_eq!(median(vec![9, 1, 5]), 5);
        assert_eq!(median(Vec::<u64>::new()), 0);
        let sample: Vec<u64> = (100..=110).collect();
        assert_eq!(spread(sample), Decimal::ratio(109, 101));
        assert_eq!(spread(vec![100, 131]), Decimal::ratio(131, 100));
    }
}
