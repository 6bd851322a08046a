//! How often a node may be asked: so many requests per second, a second's worth of them at once.
//!
//! In: the time, and how many requests go out. Out: how long they have to wait. Pure: nobody sleeps here. It must never
//! let more than the budget through in any second, whoever asks.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The window over which hosted nodes count, and therefore the largest burst.
const WINDOW: Duration = Duration::from_secs(1);

/// A budget, kept as the time at which all that was granted would have been spent evenly (the generic cell rate
/// algorithm: a token bucket without a clock of its own).
#[derive(Debug)]
pub(crate) struct Budget {
    interval: Option<Duration>,
    spent_until: Option<Instant>,
}

impl Budget {
    /// `None` is no limit.
    pub(crate) fn new(max_requests_per_s: Option<NonZeroU32>) -> Self {
        Self { interval: max_requests_per_s.map(|rate| WINDOW / rate.get()), spent_until: None }
    }

    /// How long a request would have to wait now.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.start(now).saturating_duration_since(now)
    }

    /// Takes this many requests from the budget; how long they have to wait. A batch counts as its requests, because
    /// nodes count it so.
    pub(crate) fn take(&mut self, now: Instant, requests: usize) -> Duration {
        let Some(interval) = self.interval else { return Duration::ZERO };
        // A batch larger than the burst begins when the burst is free and is paid for afterwards.
        let wait = self.wait(now);
        let cost = interval.saturating_mul(u32::try_from(requests).unwrap_or(u32::MAX));
        self.spent_until = self.earliest(now).checked_add(cost);
        wait
    }

    /// Nothing that was spent more than a window ago matters.
    fn earliest(&self, now: Instant) -> Instant {
        let interval = self.interval.unwrap_or_default();
        let window = WINDOW.saturating_sub(interval);
        let floor = now.checked_sub(window).unwrap_or(now);
        self.spent_until.map_or(floor, |spent| spent.max(floor))
    }

    fn start(&self, now: Instant) -> Instant {
        if self.interval.is_none() { now } else { self.earliest(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(rate: u32) -> Budget {
        Budget::new(NonZeroU32::new(rate))
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let (mut budget, now) = (budget(0), Instant::now());
        assert_eq!(budget.take(now, 1_000_000), Duration::ZERO);
        assert_eq!(budget.wait(now), Duration::ZERO);
    }

    #[test]
    fn a_second_is_granted_at_once_and_then_one_interval_each() {
        let (mut budget, now) = (budget(10), Instant::now());
        for _ in 0..10 {
            assert_eq!(budget.take(now, 1), Duration::ZERO);
        }
        assert_eq!(budget.take(now, 1), Duration::from_millis(100));
        assert_eq!(budget.take(now, 1), Duration::from_millis(200));
        assert_eq!(budget.wait(now + Duration::from_secs(5)), Duration::ZERO, "time gives it back");
    }

    #[test]
    fn a_batch_is_paid_for_by_those_that_follow() {
        let (mut budget, now) = (budget(10), Instant::now());
        assert_eq!(budget.take(now, 30), Duration::ZERO);
        assert_eq!(budget.take(now, 1), Duration::from_millis(2_100));
    }

    proptest! {
        /// In no window of one second do more requests begin than twice the rate: the burst, and what flows in
        /// meanwhile.
        #[test]
        fn no_second_holds_more_than_the_burst_and_the_rate(
            rate in 1u32..50,
            gaps_ms in prop::collection::vec(0u64..300, 1..200),
        ) {
            let (mut budget, mut now) = (budget(rate), Instant::now());
            let mut begun = Vec::new();
            for gap in gaps_ms {
                now += Duration::from_millis(gap);
                begun.push(now + budget.take(now, 1));
            }
            for first in &begun {
                let within = begun.iter().filter(|at| **at >= *first && **at < *first + WINDOW).count();
                prop_assert!(within <= 2 * usize::try_from(rate).unwrap(), "{within} of {rate}");
            }
        }
    }
}
