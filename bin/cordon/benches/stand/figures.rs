//! Quantiles, ratios and verdicts, in whole numbers.
//!
//! In: samples. Out: text. Must never: say "passed" of something that was not measured.

/// The value below which this many thousandths of the samples lie; zero without samples.
pub(crate) fn quantile(samples: &[u64], permille: usize) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let at = sorted.len().saturating_sub(1) * permille / 1_000;
    sorted.get(at).copied().unwrap_or(0)
}

/// One number over another, in thousandths.
pub(crate) fn permille(over: u64, under: u64) -> u64 {
    over.saturating_mul(1_000).checked_div(under).unwrap_or(u64::MAX)
}

/// Thousandths as a decimal number.
pub(crate) fn decimal(permille: u64) -> String {
    format!("{}.{:03}", permille / 1_000, permille % 1_000)
}

/// Whether a figure keeps to its goal.
pub(crate) fn verdict(is_kept: bool) -> &'static str {
    if is_kept { "pass" } else { "MISSED" }
}

/// Load average of the machine over one, five and fifteen minutes.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
