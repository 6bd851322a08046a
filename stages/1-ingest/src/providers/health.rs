//! How well a node does, as plain numbers.
//!
//! In: what became of its requests, and the newest block it named. Out: a cost to rank nodes by, a time for which it is
//! left alone, and the delay after which a second node is worth asking. Pure: the time is handed in. It must never
//! judge a node by one fast answer, nor forget that it failed a moment ago.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Weight of a new sample in the moving averages is one eighth, as in TCP's estimate of round trips (RFC 6298): eight
/// requests forget an outlier, thirty a slow hour.
const SMOOTHING: u64 = 8;

/// A failure in thousandths.
const FAILED_PERMILLE: u64 = 1_000;

/// Failures in a row after which a node is left alone for a while: one may be chance, three are an outage.
const STRIKES_MAX: u32 = 3;

/// First time for which a node is left alone; doubled with each further failure. As long as the first pause of a
/// retry.
const REST_FIRST: Duration = Duration::from_millis(250);

/// Longest time for which a failing node is left alone, unless it asks for more itself: it must be found again soon
/// after it is back.
const REST_MAX: Duration = Duration::from_secs(30);

/// For how long a node is left alone that gave a wrong answer. Longer than any failover, because a wrong answer is
/// worse than none.
const DISTRUST: Duration = Duration::from_secs(60);

/// Longest pause that a node may ask for. Daily limits are named in hours; a node is tried again after ten minutes.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// What a block of lag costs in the ranking, in milliseconds: as much as waiting for it on the fastest rollups
/// (250 ms), four times over, so that lag outweighs any latency of a node that answers.
const LAG_COST_MS: u64 = 1_000;

/// Lag that is no lag: the nodes are not asked at the same instant, and blocks spread for a moment.
const LAG_TOLERATED_BLOCKS: u64 = 1;

/// Latencies below which nodes are equally fast: the jitter of a loaded machine, and a fifteenth of the shortest block
/// time in use.
const LATENCY_FLOOR_MS: u64 = 16;

/// Latencies that are remembered for the quantile: two minutes of a followed chain, and enough for a 95th percentile.
const RECENT_MAX: usize = 128;

/// Latencies below which no quantile is taken: a 95th percentile of fewer than twenty is their maximum.
const RECENT_MIN: usize = 20;

/// The quantile after which a second node is asked, in percent. One request in twenty is asked twice at most.
const QUANTILE_PERCENT: usize = 95;

/// Why a node is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It failed several times in a row; asking it is useless, not forbidden.
    Failing,
    /// It limits how often it may be asked; asking it prolongs that.
    Limited,
    /// It gave a wrong answer.
    Distrusted,
}

/// How well a node does.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures_permille: u64,
    latency_us: Option<u64>,
    recent_us: VecDeque<u64>,
    strikes: u32,
    limits: u32,
    rest: Option<(Rest, Instant)>,
    head: Option<u64>,
}

impl Health {
    /// An answer came.
    pub(crate) fn answered(&mut self, latency: Duration) {
        self.strikes = 0;
        self.limits = 0;
        self.failures_permille = smoothed(self.failures_permille, 0);
        if self.rest.is_some_and(|(rest, _)| rest == Rest::Failing) {
            self.rest = None;
        }
        self.sample(latency);
    }

    /// No answer, or none that could be read.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.strikes = self.strikes.saturating_add(1);
        self.failures_permille = smoothed(self.failures_permille, FAILED_PERMILLE);
        if let Some(beyond) = self.strikes.checked_sub(STRIKES_MAX) {
            self.leave_alone(Rest::Failing, now, doubled(REST_FIRST, beyond).min(REST_MAX));
        }
    }

    /// It asked to be left alone, with or without saying for how long.
    pub(crate) fn limited(&mut self, now: Instant, wanted: Option<Duration>) {
        let pause = doubled(REST_FIRST, self.limits).min(REST_MAX);
        self.limits = self.limits.saturating_add(1);
        self.leave_alone(
            Rest::Limited,
            now,
            wanted.map_or(pause, |wanted| wanted.clamp(pause, RETRY_AFTER_MAX)),
        );
    }

    /// What it said was proved wrong.
    pub(crate) fn distrusted(&mut self, now: Instant) {
        self.leave_alone(Rest::Distrusted, now, DISTRUST);
    }

    /// Another node was faster; this one would have taken longer than this.
    pub(crate) fn outrun(&mut self, elapsed: Duration) {
        if micros(elapsed) > self.latency_us.unwrap_or_default() {
            self.sample(elapsed);
        }
    }

    /// The newest block that it named. Reorganisations may shorten a chain, so the last word counts.
    pub(crate) fn saw_head(&mut self, number: u64) {
        self.head = Some(number);
    }

    /// The newest block that it named.
    pub(crate) fn head(&self) -> Option<u64> {
        self.head
    }

    /// True from the first failure until the next answer.
    pub(crate) fn is_failing(&self) -> bool {
        self.strikes > 0
    }

    /// Why and for how long it is still left alone.
    pub(crate) fn rest(&self, now: Instant) -> Option<(Rest, Duration)> {
        let (rest, until) = self.rest?;
        let left = until.saturating_duration_since(now);
        (!left.is_zero()).then_some((rest, left))
    }

    /// What asking it is expected to cost, in milliseconds: its latency, what a failure would take times how often it
    /// fails, and its lag behind the newest block that any node named. Latencies count in powers of two, so that
    /// nodes of about the same speed do not take turns: going from one to another costs consistency.
    pub(crate) fn cost_ms(&self, newest: Option<u64>, limit: Duration) -> u64 {
        let latency_ms = self.latency_us.unwrap_or_default() / 1_000;
        let latency_ms = latency_ms.max(LATENCY_FLOOR_MS).checked_next_power_of_two().unwrap_or(u64::MAX);
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let failing_ms = limit_ms.saturating_mul(self.failures_permille) / FAILED_PERMILLE;
        let lag_ms = self.lag_blocks(newest).saturating_mul(LAG_COST_MS);
        latency_ms.saturating_add(failing_ms).saturating_add(lag_ms)
    }

    /// Blocks that it lacks of what others have, beyond what is no lag.
    pub(crate) fn lag_blocks(&self, newest: Option<u64>) -> u64 {
        let lag = newest.zip(self.head).map_or(0, |(newest, head)| newest.saturating_sub(head));
        lag.saturating_sub(LAG_TOLERATED_BLOCKS)
    }

    /// The latency that 95 of 100 answers stay below; `None` while there are too few.
    pub(crate) fn quantile(&self) -> Option<Duration> {
        if self.recent_us.len() < RECENT_MIN {
            return None;
        }
        let mut sorted: Vec<u64> = self.recent_us.iter().copied().collect();
        sorted.sort_unstable();
        let rank = sorted.len().saturating_mul(QUANTILE_PERCENT) / 100;
        sorted.get(rank).or(sorted.last()).copied().map(Duration::from_micros)
    }

    fn sample(&mut self, latency: Duration) {
        let latency_us = micros(latency);
        self.latency_us = Some(self.latency_us.map_or(latency_us, |old| smoothed(old, latency_us)));
        if self.recent_us.len() >= RECENT_MAX {
            self.recent_us.pop_front();
        }
        self.recent_us.push_back(latency_us);
    }

    /// A longer rest is never cut short by a shorter one.
    fn leave_alone(&mut self, rest: Rest, now: Instant, pause: Duration) {
        let until = now.checked_add(pause).unwrap_or(now);
        if self.rest.is_none_or(|(_, stands)| stands < until) {
            self.rest = Some((rest, until));
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1u32.checked_shl(times).unwrap_or(u32::MAX))
}

/// The moving average after a new sample.
fn smoothed(old: u64, sample: u64) -> u64 {
    if sample >= old {
        // Rounded up, so that a steady sample is reached and not only approached.
        old.saturating_add((sample - old).div_ceil(SMOOTHING))
    } else {
        old - (old - sample).div_ceil(SMOOTHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn slow_failing_and_lagging_nodes_cost_more() {
        let now = Instant::now();
        let (mut fast, mut slow, mut failing, mut lagging) =
            (Health::default(), Health::default(), Health::default(), Health::default());
        for node in [&mut fast, &mut failing, &mut lagging] {
            node.answered(ms(10));
            node.saw_head(100);
        }
        slow.answered(ms(400));
        slow.saw_head(100);
        failing.failed(now);
        lagging.saw_head(95);
        let cost = |node: &Health| node.cost_ms(Some(100), LIMIT);
        assert!(cost(&fast) < cost(&slow), "latency");
        assert!(cost(&slow) < cost(&failing), "one failure in eight costs an eighth of the limit");
        assert!(cost(&failing) < cost(&lagging), "four blocks of lag");
        lagging.saw_head(99);
        assert_eq!(cost(&lagging), cost(&fast), "one block is no lag");
        assert_eq!(
            (lagging.lag_blocks(Some(100)), lagging.lag_blocks(Some(102)), lagging.lag_blocks(None)),
            (0, 2, 0)
        );
    }

    #[test]
    fn about_the_same_speed_is_the_same_cost() {
        let (mut one, mut two) = (Health::default(), Health::default());
        one.answered(ms(20));
        two.answered(ms(30));
        assert_eq!(one.cost_ms(None, LIMIT), two.cost_ms(None, LIMIT));
    }

    #[test]
    fn three_failures_in_a_row_are_a_rest_that_grows_and_an_answer_ends_it() {
        let now = Instant::now();
        let mut node = Health::default();
        node.failed(now);
        node.failed(now);
        assert_eq!(node.rest(now), None);
        node.failed(now);
        assert_eq!(node.rest(now), Some((Rest::Failing, ms(250))));
        node.failed(now);
        assert_eq!(node.rest(now), Some((Rest::Failing, ms(500))));
        for _ in 0..100 {
            node.failed(now);
        }
        assert_eq!(node.rest(now), Some((Rest::Failing, REST_MAX)));
        assert_eq!(node.rest(now + REST_MAX), None);
        node.answered(ms(1));
        assert!(!node.is_failing());
        assert_eq!(node.rest(now), None);
    }

    #[test]
    fn a_wanted_pause_is_kept_and_bounded() {
        let now = Instant::now();
        let mut node = Health::default();
        node.limited(now, Some(ms(3_000)));
        assert_eq!(node.rest(now), Some((Rest::Limited, ms(3_000))));
        node.limited(now, None);
        assert_eq!(node.rest(now), Some((Rest::Limited, ms(3_000))), "never cut short");
        node.limited(now, Some(Duration::from_secs(86_400)));
        assert_eq!(node.rest(now), Some((Rest::Limited, RETRY_AFTER_MAX)));
        node.answered(ms(1));
        assert!(node.rest(now).is_some(), "an answer that was under way does not lift a limit");
    }

    #[test]
    fn the_quantile_needs_samples_and_ignores_the_worst_twentieth() {
        let mut node = Health::default();
        for _ in 0..RECENT_MIN - 1 {
            node.answered(ms(10));
            assert_eq!(node.quantile(), None);
        }
        for _ in 0..80 {
            node.answered(ms(10));
        }
        node.answered(ms(9_000));
        assert_eq!(node.quantile(), Some(ms(10)));
    }

    #[test]
    fn a_lost_race_counts_only_where_it_says_something_new() {
        let mut node = Health::default();
        node.answered(ms(100));
        let before = node.cost_ms(None, LIMIT);
        node.outrun(ms(50));
        assert_eq!(node.cost_ms(None, LIMIT), before);
        node.outrun(ms(5_000));
        assert!(node.cost_ms(None, LIMIT) > before);
    }

    proptest! {
        #[test]
        fn averages_stay_between_their_samples(old in 0u64..1_000_000, sample in 0u64..1_000_000) {
            let new = smoothed(old, sample);
            prop_assert!(new >= old.min(sample) && new <= old.max(sample));
            prop_assert!(old == sample || new != old, "every sample moves it");
        }

        #[test]
        fn whatever_happens_memory_and_rests_are_bounded(events in prop::collection::vec((0u8..4, 0u64..100_000), 0..400)) {
            let now = Instant::now();
            let mut node = Health::default();
            for (kind, value) in events {
                match kind {
                    0 => node.answered(ms(value)),
                    1 => node.failed(now),
                    2 => node.limited(now, Some(ms(value * 1_000))),
                    _ => node.outrun(ms(value)),
                }
                prop_assert!(node.recent_us.len() <= RECENT_MAX);
                prop_assert!(node.failures_permille <= FAILED_PERMILLE);
                prop_assert!(node.rest(now).is_none_or(|(_, left)| left <= RETRY_AFTER_MAX));
            }
        }
    }
}
