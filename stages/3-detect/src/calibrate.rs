//! From a protocol's own history to thresholds that keep what the operator allows.
//!
//! In: how strong the findings on a protocol's ordinary transactions were, over which time, and a [`Budget`] such as "1 per
//! week". Out: the lowest threshold at which the rate of false alarms is shown to stay within the budget, and what each
//! other threshold would have done. Must never: promise what the history is too short to show.
//!
//! The strength of all findings on a transaction together is calibrated, and not each detector by itself: whatever
//! detectors have to do with each other is then in the figures. Alarms are counted as episodes, since a burst wakes people
//! once and bursts are what makes nominal rates wrong. The thresholds are tried from the strictest on, and the first
//! that fails ends the search (fixed-sequence testing; Angelopoulos et al., "Learn then Test", 2021), so that the bound of
//! the chosen one holds although it was chosen.

mod bound;
mod budget;

pub use bound::episodes_max_milli;
pub use budget::{Budget, Period};

use cordon_model::calibration::Weight;
use cordon_model::finding::Score;
use std::collections::BTreeSet;

/// Alarms of a protocol that are at most this many blocks apart are one episode: ten minutes of Ethereum. From the
/// evaluation protocol of the field's histories, where records of one burst lie closer and those of two users farther apart.
pub const EPISODE_GAP_BLOCKS: u64 = 50;

/// A protocol's ordinary use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// When it begins, Unix seconds.
    pub from_s: u64,
    /// When it ends, Unix seconds.
    pub to_s: u64,
    /// How many transactions it holds.
    pub transactions: u64,
    /// Those of which a detector had something to say, in the order of the chain. No attack is among them.
    pub weights: Vec<Weight>,
}

impl Stream {
    /// How long it is, in seconds.
    #[must_use]
    pub fn length_s(&self) -> u64 {
        self.to_s.saturating_sub(self.from_s)
    }
}

/// What a threshold would have done over a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The threshold.
    pub threshold: Score,
    /// Ordinary transactions that reach it.
    pub transactions: u64,
    /// Episodes that they make.
    pub episodes: u64,
}

impl Level {
    /// Of a stream at a threshold.
    #[must_use]
    pub fn of(stream: &Stream, threshold: Score) -> Self {
        let reached = stream.weights.iter().filter(|weight| weight.strength >= threshold);
        let (mut transactions, mut episodes) = (0u64, 0u64);
        let mut last: Option<u64> = None;
        for weight in reached {
            let block = weight.tx.block.number;
            let is_new = last.is_none_or(|last| block.saturating_sub(last) > EPISODE_GAP_BLOCKS);
            (transactions, episodes) =
                (transactions.saturating_add(1), episodes.saturating_add(u64::from(is_new)));
            last = Some(block);
        }
        Self { threshold, transactions, episodes }
    }

    /// True where, with 95 % confidence, no more episodes are to be expected than the budget allows.
    fn is_shown(&self, stream: &Stream, budget: Budget) -> bool {
        budget.covers_milli(episodes_max_milli(self.episodes), stream.length_s())
    }

    /// True where there were no more episodes than the budget allows, whatever that shows.
    fn is_within(&self, stream: &Stream, budget: Budget) -> bool {
        budget.covers_milli(self.episodes.saturating_mul(1_000), stream.length_s())
    }
}

/// What a budget comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The lowest threshold that is shown to keep it.
    Shown(Level),
    /// None is shown to keep it; the lowest, from the default on, that did not exceed it, and how long a history without any
    /// false alarm would have to be, in seconds.
    TooShort {
        /// It.
        level: Level,
        /// How long.
        needs_s: u64,
    },
    /// Ordinary use exceeds it at the highest threshold there is.
    Exceeded(Level),
}

impl Choice {
    /// The threshold.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Shown(level) | Self::Exceeded(level) | Self::TooShort { level, .. } => *level,
        }
    }
}

/// Every threshold at which something changes, the lowest first, and the highest there is.
#[must_use]
pub fn levels(stream: &Stream) -> Vec<Level> {
    let strengths = stream.weights.iter().map(|weight| weight.strength);
    // Just above a strength fewer are left than at it.
    let above = strengths.map(|strength| Score(strength.0.saturating_add(1)).min(Score::MAX));
    let thresholds: BTreeSet<Score> = above.chain([Score(1), Score::MAX]).collect();
    thresholds.into_iter().map(|threshold| Level::of(stream, threshold)).collect()
}

/// Within which thresholds the choice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// None is below this, however quiet the history was: what a detector itself calls hardly telling is no reason to wake anybody.
    pub floor: Score,
    /// What holds where nothing can be shown.
    pub default: Score,
}

/// The threshold that a budget allows.
#[must_use]
pub fn choose(stream: &Stream, budget: Budget, range: Range) -> Choice {
    let levels = levels(stream);
    let shown = levels.iter().rev().take_while(|level| level.is_shown(stream, budget));
    if let Some(level) = shown.last() {
        return Choice::Shown(Level::of(stream, level.threshold.max(range.floor)));
    }
    let from_default = std::iter::once(Level::of(stream, range.default))
        .chain(levels.into_iter().filter(|level| level.threshold > range.default));
    match from_default.into_iter().find(|level| level.is_within(stream, budget)) {
        Some(level) => Choice::TooShort { level, needs_s: budget.needs_s() },
        None => Choice::Exceeded(Level::of(stream, Score::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use cordon_model::finding::AttackClass;
    use cordon_model::units::{BlockRef, ChainId, TxRef};
    use proptest::prelude::*;

    const WEEK_S: u64 = 604_800;
    const RANGE: Range = Range { floor: Score(200), default: Score(600) };

    /// Strengths at blocks, over so many weeks.
    fn stream(weeks: u64, at: &[(u64, u16)]) -> Stream {
        let weight = |(number, strength): &(u64, u16)| Weight {
            tx: TxRef {
                chain_id: ChainId(1),
                block: BlockRef { number: *number, hash: B256::ZERO },
                index: 0,
                hash: B256::ZERO,
            },
            strength: Score(*strength),
            class: AttackClass::ControlFlow,
            detectors: vec!["profit".to_owned()],
        };
        Stream {
            from_s: 0,
            to_s: weeks * WEEK_S,
            transactions: 1_000,
            weights: at.iter().map(weight).collect(),
        }
    }

    fn weekly() -> Budget {
        "1 per week".parse().unwrap()
    }

    fn choice(weeks: u64, at: &[(u64, u16)]) -> Choice {
        choose(&stream(weeks, at), weekly(), RANGE)
    }

    #[test]
    fn a_burst_is_one_episode_and_what_comes_later_another() {
        let stream = stream(4, &[(100, 300), (150, 600), (200, 300), (251, 300), (400, 600)]);
        let level = |threshold| Level::of(&stream, Score(threshold));
        assert_eq!(level(1), Level { threshold: Score(1), transactions: 5, episodes: 3 });
        assert_eq!(level(301), Level { threshold: Score(301), transactions: 2, episodes: 2 });
        assert_eq!(level(601).episodes, 0);
    }

    #[test]
    fn the_lowest_threshold_that_keeps_the_budget_is_chosen() {
        // Four weeks: none in four is shown to be at most one a week (3.0 in four weeks), one is not (4.7).
        let noisy = [(100, 300), (1_000, 300), (5_000, 600)];
        assert_eq!(
            choice(4, &noisy),
            Choice::Shown(Level { threshold: Score(601), transactions: 0, episodes: 0 })
        );
        let Choice::Shown(level) = choice(5, &noisy) else { panic!("one in five weeks is shown") };
        assert_eq!((level.threshold, level.episodes), (Score(301), 1));
        let Choice::Shown(level) = choice(8, &noisy) else { panic!("three in eight weeks are shown") };
        assert_eq!((level.threshold, level.episodes), (RANGE.floor, 3));
    }

    #[test]
    fn a_short_history_shows_nothing_and_says_how_much_is_missing() {
        let quiet = choice(2, &[]);
        let level = Level { threshold: RANGE.default, transactions: 0, episodes: 0 };
        let Choice::TooShort { level: found, needs_s } = quiet else { panic!("{quiet:?}") };
        assert_eq!(found, level);
        assert!((WEEK_S * 299 / 100..=WEEK_S * 3).contains(&needs_s), "{needs_s}");
        // What already exceeds the budget is not kept, although nothing is shown.
        let noisy = choice(2, &[(100, 600), (1_000, 600), (2_000, 600)]);
        assert_eq!(noisy.level().threshold, Score(601));
        assert!(matches!(noisy, Choice::TooShort { .. }));
    }

    #[test]
    fn use_that_reaches_the_top_cannot_be_told_from_attacks() {
        let loud: Vec<(u64, u16)> = (1..=20).map(|number| (number * 100, 1_000)).collect();
        assert!(matches!(
            choice(4, &loud),
            Choice::Exceeded(Level { threshold: Score::MAX, episodes: 20, .. })
        ));
    }

    proptest! {
        /// More noise never lowers the threshold, a longer time never raises it.
        #[test]
        fn thresholds_follow_what_was_seen(
            at in prop::collection::vec((1..100_000u64, 1..=1_000u16), 0..60),
            more in 1..=1_000u16,
            weeks in 1..60u64,
        ) {
            let sorted = |mut at: Vec<(u64, u16)>| { at.sort_unstable(); at };
            let quiet = sorted(at.clone());
            let noisy = sorted(at.into_iter().chain([(200_000, more)]).collect());
            let rank = |choice: Choice| match choice {
                Choice::Shown(level) => (0, level.threshold),
                Choice::TooShort { level, .. } => (1, level.threshold),
                Choice::Exceeded(level) => (2, level.threshold),
            };
            prop_assert!(rank(choice(weeks, &noisy)) >= rank(choice(weeks, &quiet)));
            if let (Choice::Shown(early), Choice::Shown(late)) = (choice(weeks, &quiet), choice(weeks + 1, &quiet)) {
                prop_assert!(late.threshold <= early.threshold);
            }
        }
    }
}
