//! Measurements of what the state of a replay costs, for `cordon bench` and for tests.
//!
//! In: blocks, and a node or witnesses behind them. Out: plain whole numbers. Must never: state a figure of a run that
//! was not right.

pub mod cold;
pub mod what_if;

use std::time::Duration;

fn nanoseconds(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// `part` of `whole` in thousandths, rounded down; zero of nothing.
fn permille(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1_000).checked_div(whole).unwrap_or(0)
}
