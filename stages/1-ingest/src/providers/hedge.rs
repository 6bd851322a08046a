//! When a second node is asked although the first one may still answer.
//!
//! In: how fast the first node usually is, and how often hedging happened lately. Out: a delay, and a yes or no. Pure.
//! It must never double the load of nodes that are slow because they are loaded.

use std::time::Duration;

/// Shortest delay: below it the second answer costs more than it saves, and the jitter of a loaded machine counts as
/// slowness.
const DELAY_MIN: Duration = Duration::from_millis(50);

/// Delay while too few latencies are known: what a hosted node takes for a full block.
const DELAY_UNKNOWN: Duration = Duration::from_millis(500);

/// Requests that earn one hedge: hedges add a tenth to the load at most.
const REQUESTS_PER_HEDGE: u32 = 10;

/// Hedges that can be saved up; they outlast one node that hangs until its health shows it.
const SAVED_MAX: u32 = 10;

/// How long the first node is waited for alone. At most half of the time limit, so that the second one has a chance.
pub(crate) fn delay(quantile: Option<Duration>, limit: Duration) -> Duration {
    quantile.map_or(DELAY_UNKNOWN, |quantile| quantile.max(DELAY_MIN)).min(limit / 2)
}

/// How many hedges may still be made.
#[derive(Debug)]
pub(crate) struct Allowance {
    tenths: u32,
}

impl Allowance {
    /// Full, because the first requests are made before anything is known of the nodes.
    pub(crate) fn full() -> Self {
        Self { tenths: SAVED_MAX.saturating_mul(REQUESTS_PER_HEDGE) }
    }

    /// A request was made.
    pub(crate) fn earn(&mut self) {
        self.tenths = self.tenths.saturating_add(1).min(SAVED_MAX.saturating_mul(REQUESTS_PER_HEDGE));
    }

    /// Takes one hedge, where there is one.
    pub(crate) fn take(&mut self) -> bool {
        match self.tenths.checked_sub(REQUESTS_PER_HEDGE) {
            Some(left) => {
                self.tenths = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_follows_the_node_within_bounds() {
        let (limit, ms) = (Duration::from_secs(10), Duration::from_millis);
        assert_eq!(delay(None, limit), DELAY_UNKNOWN);
        assert_eq!(delay(Some(ms(1)), limit), DELAY_MIN);
        assert_eq!(delay(Some(ms(800)), limit), ms(800));
        assert_eq!(delay(Some(ms(9_000)), limit), ms(5_000));
        assert_eq!(delay(None, ms(100)), ms(50));
    }

    #[test]
    fn in_the_long_run_one_request_in_ten_is_hedged() {
        let mut allowance = Allowance::full();
        let mut hedges = 0;
        for _ in 0..1_000 {
            allowance.earn();
            hedges += u32::from(allowance.take());
        }
        assert!((100..=111).contains(&hedges), "{hedges}");
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let mut allowance = Allowance::full();
        (0..10_000).for_each(|_| allowance.earn());
        let taken = std::iter::repeat_with(|| allowance.take()).take_while(|taken| *taken).count();
        assert_eq!(taken, 10);
    }
}
