//! A bounded window of measurements and its median.
//!
//! In: values with their time. Out: the median of the last span of time. The median and not the mean, because a few
//! extreme values, which is what an alarm is about, do not move it. Must never: grow with the rate of blocks.

use std::collections::VecDeque;

/// Most samples of a window. The error of a median shrinks with the root of their number; 512 leave 4 % of the spread,
/// far below the factors of two and five that are asked here.
const SAMPLES_MAX: u64 = 512;

/// Fewest samples before a median is given. Thirty leave about a fifth of the spread, which a factor of two outlasts;
/// at 12 s per block they are there after six minutes.
pub(super) const SAMPLES_MIN: usize = 30;

/// Values of the last span of time, at most one in each part of it.
#[derive(Debug)]
pub(super) struct Window {
    span_s: u64,
    spacing_s: u64,
    samples: VecDeque<(u64, u64)>,
}

impl Window {
    pub(super) fn new(span_s: u64) -> Self {
        // A span of n spacings can hold n + 1 samples.
        Self { span_s, spacing_s: span_s.div_ceil(SAMPLES_MAX - 1).max(1), samples: VecDeque::new() }
    }

    /// Adds a value, unless the one before is too near or later.
    pub(super) fn push(&mut self, at_s: u64, value: u64) {
        let near = |(last_s, _): &(u64, u64)| at_s < last_s.saturating_add(self.spacing_s);
        if self.samples.back().is_some_and(near) {
            return;
        }
        let oldest_s = at_s.saturating_sub(self.span_s);
        while self.samples.front().is_some_and(|(sample_s, _)| *sample_s < oldest_s) {
            self.samples.pop_front();
        }
        self.samples.push_back((at_s, value));
    }

    /// The lower median; `None` before there are [`SAMPLES_MIN`] values.
    pub(super) fn median(&self) -> Option<u64> {
        if self.samples.len() < SAMPLES_MIN {
            return None;
        }
        let mut values: Vec<u64> = self.samples.iter().map(|(_, value)| *value).collect();
        let middle = (values.len() - 1) / 2;
        Some(*values.select_nth_unstable(middle).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_needs_enough_values_and_forgets_old_ones() {
        let mut window = Window::new(3_600);
        (0..29).for_each(|i| window.push(i * 12, 10));
        assert_eq!(window.median(), None);
        window.push(29 * 12, 1_000_000);
        assert_eq!(window.median(), Some(10), "one extreme value does not move it");
        (0..40).for_each(|i| window.push(10_000 + i * 12, 30));
        assert_eq!((window.median(), window.samples.len()), (Some(30), 40));
    }

    #[test]
    fn it_is_bounded_at_any_rate() {
        let mut window = Window::new(3_600);
        (0..100_000).for_each(|s| window.push(s, s));
        assert!(window.samples.len() as u64 <= SAMPLES_MAX, "{}", window.samples.len());
        window.push(5, 5);
        assert!(window.samples.len() as u64 <= SAMPLES_MAX, "a clock that goes back adds nothing");
    }
}
