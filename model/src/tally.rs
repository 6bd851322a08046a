//! What was counted of a protocol lately: amounts with the time of their block, summed over windows that end now.
//!
//! In: tallies, block by block. Out: sums and distinct values since a moment. A fold: the same blocks give the same sums, and a block
//! that leaves the chain is taken back. Must never: grow with the age of a protocol, or lose an amount inside its window
//! silently.

use crate::units::BlockRef;
use alloy_primitives::{B256, U256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most series of a protocol: 65,536. A series of one entry takes a few hundred bytes, so that whoever sends from ever new accounts
/// to a rule that counts by account fills some twenty megabytes and no more. Beyond it a new series is not begun, which [`Tallies::has_room`] tells.
pub const SERIES_MAX: usize = 65_536;

/// Most entries of a series, at most one for each block and value: a day of blocks of 2 s, and nine days of 12 s. Of a longer
/// window the oldest part is missing then.
pub const ENTRIES_MAX: usize = 65_536;

/// How much longer than its window an entry is kept, in seconds, so that it is there again when newer blocks leave the chain. An hour
/// is more than the 256 blocks of 12 s that a reorganisation may take back.
const KEPT_LONGER_S: u64 = 3_600;

/// The largest amount that is counted, so that no sum of [`ENTRIES_MAX`] overflows.
const AMOUNT_MAX: U256 = U256::from_limbs([u64::MAX, u64::MAX, u64::MAX, u64::MAX >> 16]);

/// One amount to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Series to which it belongs.
    pub key: B256,
    /// For how long it counts, in seconds.
    pub window_s: u64,
    /// How much; one where something merely happened.
    pub amount: U256,
    /// What it was, where distinct values are counted; otherwise zero.
    #[serde(default, skip_serializing_if = "B256::is_zero")]
    pub value: B256,
    /// True where the transaction woke people. It counts, but nobody may take it for ordinary use.
    #[serde(default, skip_serializing_if = "is_ordinary")]
    pub withheld: bool,
}

impl Tally {
    /// An amount of a series, of an ordinary transaction until somebody says otherwise.
    #[must_use]
    pub fn of(key: B256, window_s: u64, amount: U256) -> Self {
        Self { key, window_s, amount, value: B256::ZERO, withheld: false }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_ordinary(withheld: &bool) -> bool {
    !*withheld
}

/// See the module. A copy costs one reference for each series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tallies(BTreeMap<B256, Arc<Series>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Series {
    window_s: u64,
    /// Of everything before the oldest entry.
    forgotten: Total,
    entries: VecDeque<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    block: BlockRef,
    at_s: u64,
    value: B256,
    withheld: bool,
    amount: U256,
    /// Of this entry and all before it, so that any sum is one difference.
    total: Total,
}

/// Running sums, modulo 2^256.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Total {
    all: U256,
    ordinary: U256,
}

impl Total {
    fn and(self, amount: U256, withheld: bool) -> Self {
        let ordinary = if withheld { U256::ZERO } else { amount };
        Self { all: self.all.wrapping_add(amount), ordinary: self.ordinary.wrapping_add(ordinary) }
    }

    fn since(self, before: Self) -> Self {
        Self { all: self.all.wrapping_sub(before.all), ordinary: self.ordinary.wrapping_sub(before.ordinary) }
    }
}

impl Tallies {
    /// The sum of a series from `from_s` on, Unix seconds.
    #[must_use]
    pub fn sum(&self, key: B256, from_s: u64) -> U256 {
        self.0.get(&key).map_or(U256::ZERO, |series| series.between(from_s, u64::MAX).all)
    }

    /// What ordinary transactions added to a series from `from_s` on and before `to_s`.
    #[must_use]
    pub fn ordinary(&self, key: B256, from_s: u64, to_s: u64) -> U256 {
        self.0.get(&key).map_or(U256::ZERO, |series| series.between(from_s, to_s).ordinary)
    }

    /// When an ordinary transaction last added to a series, Unix seconds.
    #[must_use]
    pub fn last_ordinary_s(&self, key: B256) -> Option<u64> {
        let mut newest_first = self.0.get(&key)?.entries.iter().rev();
        newest_first.find(|entry| !entry.withheld).map(|entry| entry.at_s)
    }

    /// Which value an ordinary transaction last added to a series. It outlives its window until room is needed.
    #[must_use]
    pub fn last_ordinary_value(&self, key: B256) -> Option<B256> {
        let mut newest_first = self.0.get(&key)?.entries.iter().rev();
        newest_first.find(|entry| !entry.withheld).map(|entry| entry.value)
    }

    /// How much of one value was added to a series in its newest block; zero where that is not `block`.
    #[must_use]
    pub fn sum_in(&self, key: B256, block: BlockRef, value: B256) -> U256 {
        let newest_first = self.0.get(&key).into_iter().flat_map(|series| series.entries.iter().rev());
        let of_block = newest_first.take_while(|entry| entry.block == block);
        of_block
            .filter(|entry| entry.value == value)
            .fold(U256::ZERO, |sum, entry| sum.saturating_add(entry.amount))
    }

    /// The values of a series from `from_s` on.
    #[must_use]
    pub fn values(&self, key: B256, from_s: u64) -> BTreeSet<B256> {
        let Some(series) = self.0.get(&key) else { return BTreeSet::new() };
        series.entries.iter().skip(series.first_since(from_s)).map(|entry| entry.value).collect()
    }

    /// Whether a tally of this series would be counted.
    #[must_use]
    pub fn has_room(&self, key: B256) -> bool {
        self.0.contains_key(&key) || self.0.len() < SERIES_MAX
    }

    /// Counts what happened in a block, which is the newest one.
    pub fn count(&mut self, block: BlockRef, at_s: u64, tallies: &[Tally]) {
        for tally in tallies {
            if !self.has_room(tally.key) {
                self.forget(at_s);
            }
            if self.has_room(tally.key) {
                let series = self.0.entry(tally.key).or_default();
                Arc::make_mut(series).count(block, at_s, tally);
            }
        }
    }

    /// Takes back what was counted in a block that left the chain. Blocks leave newest first.
    pub fn revert(&mut self, block: BlockRef) {
        let touched = |series: &Arc<Series>| series.entries.back().is_some_and(|entry| entry.block == block);
        for series in self.0.values_mut().filter(|series| touched(series)) {
            let entries = &mut Arc::make_mut(series).entries;
            while entries.pop_back_if(|entry| entry.block == block).is_some() {}
        }
        self.0.retain(|_, series| !series.entries.is_empty());
    }

    /// Drops series of which nothing counts any more.
    fn forget(&mut self, now_s: u64) {
        self.0.retain(|_, series| {
            series.entries.back().is_some_and(|entry| entry.at_s >= series.oldest(now_s))
        });
    }
}

impl Series {
    fn first_since(&self, from_s: u64) -> usize {
        self.entries.partition_point(|entry| entry.at_s < from_s)
    }

    fn between(&self, from_s: u64, to_s: u64) -> Total {
        let (first, end) = (self.first_since(from_s), self.first_since(to_s));
        let before = |at: usize| Some(self.entries.get(at.checked_sub(1)?)?.total);
        match (end > first).then(|| before(end)).flatten() {
            Some(last) => last.since(before(first).unwrap_or(self.forgotten)),
            None => Total::default(),
        }
    }

    fn oldest(&self, now_s: u64) -> u64 {
        now_s.saturating_sub(self.window_s).saturating_sub(KEPT_LONGER_S)
    }

    fn count(&mut self, block: BlockRef, at_s: u64, tally: &Tally) {
        self.window_s = self.window_s.max(tally.window_s);
        let (mut amount, withheld) = (tally.amount.min(AMOUNT_MAX), tally.withheld);
        let is_same =
            |last: &mut Entry| (last.block, last.value, last.withheld) == (block, tally.value, withheld);
        if let Some(last) = self.entries.pop_back_if(is_same) {
            amount = amount.saturating_add(last.amount).min(AMOUNT_MAX);
        }
        let before = self.entries.back().map_or(self.forgotten, |last| last.total);
        let (value, total) = (tally.value, before.and(amount, withheld));
        self.entries.push_back(Entry { block, at_s, value, withheld, amount, total });
        let oldest = self.oldest(at_s);
        let is_past = |entry: &mut Entry| entry.at_s < oldest;
        while self.entries.len() > ENTRIES_MAX || self.entries.front_mut().is_some_and(is_past) {
            let gone = self.entries.pop_front();
            self.forgotten = gone.map_or(self.forgotten, |gone| gone.total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: B256 = B256::repeat_byte(1);

    fn block(number: u64) -> BlockRef {
        BlockRef { number, hash: B256::from(U256::from(number)) }
    }

    fn tally(amount: u64, value: u8) -> Tally {
        Tally {
            key: KEY,
            window_s: 100,
            amount: U256::from(amount),
            value: B256::with_last_byte(value),
            withheld: false,
        }
    }

    #[test]
    fn a_sum_covers_the_window_and_nothing_else() {
        let mut tallies = Tallies::default();
        for number in 1..=10 {
            tallies.count(block(number), number * 10, &[tally(number, 0)]);
        }
        assert_eq!(tallies.sum(KEY, 0), U256::from(55));
        assert_eq!(tallies.sum(KEY, 80), U256::from(8 + 9 + 10));
        assert_eq!(tallies.sum(KEY, 81), U256::from(9 + 10));
        assert_eq!(tallies.sum(KEY, 101), U256::ZERO);
        assert_eq!(tallies.sum(B256::ZERO, 0), U256::ZERO);
    }

    #[test]
    fn one_block_is_one_entry_and_values_are_told_apart() {
        let mut tallies = Tallies::default();
        tallies.count(block(1), 10, &[tally(1, 7), tally(2, 7), tally(4, 8)]);
        tallies.count(block(2), 20, &[tally(8, 7)]);
        assert_eq!(tallies.sum(KEY, 0), U256::from(15));
        assert_eq!(tallies.values(KEY, 0), [7, 8].map(B256::with_last_byte).into());
        assert_eq!(tallies.values(KEY, 20), [B256::with_last_byte(7)].into());
        assert_eq!(tallies.0[&KEY].entries.len(), 3);
    }

    #[test]
    fn what_woke_people_counts_but_is_not_ordinary() {
        let mut tallies = Tallies::default();
        for number in 1..=5 {
            let withheld = number >= 4;
            tallies.count(
                block(number),
                number * 10,
                &[Tally { withheld, ..tally(number, 0) }, tally(10, 0)],
            );
        }
        assert_eq!(tallies.sum(KEY, 0), U256::from(1 + 2 + 3 + 4 + 5 + 50));
        assert_eq!(tallies.ordinary(KEY, 0, u64::MAX), U256::from(1 + 2 + 3 + 50));
        assert_eq!(tallies.ordinary(KEY, 20, 40), U256::from(2 + 3 + 20));
        tallies.count(block(6), 60, &[Tally { withheld: true, ..tally(1, 0) }]);
        assert_eq!(tallies.last_ordinary_s(KEY), Some(50));
    }

    #[test]
    fn one_value_of_the_newest_block_is_told_and_the_last_ordinary_one() {
        let mut tallies = Tallies::default();
        tallies.count(block(1), 10, &[tally(1, 7)]);
        tallies.count(block(2), 10, &[tally(2, 7), tally(4, 8), tally(8, 7)]);
        let sum = |number, value| tallies.sum_in(KEY, block(number), B256::with_last_byte(value));
        assert_eq!((sum(2, 7), sum(2, 8), sum(2, 9)), (U256::from(10), U256::from(4), U256::ZERO));
        assert_eq!((sum(1, 7), sum(3, 7)), (U256::ZERO, U256::ZERO), "not the newest block");
        tallies.count(block(3), 1_000_000, &[Tally { withheld: true, ..tally(1, 9) }]);
        assert_eq!(tallies.last_ordinary_value(KEY), None, "past its window, and something newer came");
        tallies.count(block(4), 1_000_010, &[tally(1, 5), Tally { withheld: true, ..tally(1, 9) }]);
        assert_eq!(tallies.last_ordinary_value(KEY), Some(B256::with_last_byte(5)));
        assert_eq!(tallies.last_ordinary_value(B256::ZERO), None);
    }

    #[test]
    fn a_block_that_leaves_the_chain_was_never_counted() {
        let mut tallies = Tallies::default();
        tallies.count(block(1), 10, &[tally(1, 0)]);
        let before = tallies.clone();
        tallies.count(block(2), 20, &[tally(2, 0), Tally { key: B256::ZERO, ..tally(3, 1) }]);
        tallies.revert(block(2));
        assert_eq!(tallies, before);
        tallies.revert(block(1));
        assert_eq!(tallies, Tallies::default());
    }

    #[test]
    fn what_is_past_leaves_and_makes_room() {
        let mut tallies = Tallies::default();
        tallies.count(block(1), 0, &[tally(1, 0)]);
        tallies.count(block(2), 100 + KEPT_LONGER_S, &[tally(1, 0)]);
        assert_eq!(tallies.0[&KEY].entries.len(), 2, "exactly at the edge");
        tallies.count(block(3), 101 + KEPT_LONGER_S, &[tally(1, 0)]);
        assert_eq!(tallies.0[&KEY].entries.len(), 2);

        let of = |number: usize| Tally { key: B256::from(U256::from(number)), ..tally(1, 0) };
        let mut tallies = Tallies::default();
        for number in 0..SERIES_MAX + 5 {
            tallies.count(block(1), 0, &[of(number)]);
        }
        assert_eq!(tallies.0.len(), SERIES_MAX);
        assert!(!tallies.has_room(of(SERIES_MAX + 1).key));
        tallies.count(block(9), 1_000_000, &[of(SERIES_MAX + 1)]);
        assert_eq!(tallies.0.len(), 1);
    }

    /// Hostile input: amounts at the edge of a word, and more entries than are kept.
    #[test]
    fn no_amount_breaks_the_sums() {
        let mut tallies = Tallies::default();
        for number in 0..(ENTRIES_MAX as u64 + 10) {
            tallies.count(block(number), number / 1_000, &[Tally { amount: U256::MAX, ..tally(0, 0) }]);
        }
        assert_eq!(tallies.0[&KEY].entries.len(), ENTRIES_MAX);
        assert_eq!(tallies.sum(KEY, 0), AMOUNT_MAX * U256::from(ENTRIES_MAX));
        tallies.count(block(1 << 40), 70, &[tally(5, 0)]);
        assert_eq!(tallies.sum(KEY, 70), U256::from(5));
    }
}
