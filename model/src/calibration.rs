//! How strong the findings on a protocol's transactions are, and from which strength on something is done about them.
//!
//! In: what the log says. Out: plain values, and a fold that counts them. A strength is no probability; what it means for a
//! protocol is told by how often its ordinary use reaches it, which is why every strength is recorded, whether or not it woke
//! anybody. Must never: decide what was ordinary; people do.

use crate::finding::{AttackClass, Score};
use crate::log::CURSOR_DEPTH_MAX;
use crate::units::{BlockRef, ProtocolId, TxRef};
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What the findings on one transaction came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Transaction.
    pub tx: TxRef,
    /// How strong its findings are together.
    pub strength: Score,
    /// What the strongest of them points to.
    pub class: AttackClass,
    /// Who spoke, in the order of names, each once.
    pub detectors: Vec<String>,
}

/// From which strength on something is done about a protocol's transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Protocol.
    pub protocol: ProtocolId,
    /// An incident is opened and people are told.
    pub page: Score,
    /// A granted lever may act by itself.
    pub act: Score,
}

/// By what transactions are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judging {
    /// Keccak-256 of the configuration of all detectors but the operator's rules: strengths of before it changed say nothing of
    /// those after.
    pub detectors: B256,
    /// What is protected, in the order of the configuration.
    pub protocols: Vec<ProtocolId>,
    /// Calibrated thresholds; a protocol that is not named goes by the policy.
    pub thresholds: Vec<Thresholds>,
}

/// How many transactions of a protocol came to which strength. It grows with the number of strengths, of which there are a
/// thousand, and not with time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strengths {
    /// Ordinary transactions that were known when counting began.
    before: u64,
    levels: BTreeMap<Score, Level>,
    /// What the newest blocks added, oldest first.
    recent: VecDeque<(BlockRef, Vec<Weight>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Level {
    count: u64,
    /// The first one, which no later block takes away.
    example: Weight,
}

impl Strengths {
    /// Nothing yet, where so many ordinary transactions are known already.
    #[must_use]
    pub fn beginning(before: u64) -> Self {
        Self { before, ..Self::default() }
    }

    /// How many ordinary transactions there have been since counting began, where so many are known now.
    #[must_use]
    pub fn transactions(&self, known: u64) -> u64 {
        known.saturating_sub(self.before)
    }

    /// How many transactions came to a strength or more.
    #[must_use]
    pub fn reaching(&self, least: Score) -> u64 {
        self.levels.range(least..).fold(0, |sum, (_, level)| sum.saturating_add(level.count))
    }

    /// One transaction of every strength, the strongest first.
    pub fn loudest_first(&self) -> impl Iterator<Item = &Weight> {
        self.levels.values().rev().map(|level| &level.example)
    }

    /// Counts what a block added.
    pub fn take(&mut self, block: BlockRef, weights: &[Weight]) {
        for weight in weights {
            let new = || Level { count: 0, example: weight.clone() };
            let level = self.levels.entry(weight.strength).or_insert_with(new);
            level.count = level.count.saturating_add(1);
        }
        self.recent.push_back((block, weights.to_vec()));
        let oldest = block.number.saturating_sub(u64::try_from(CURSOR_DEPTH_MAX).unwrap_or(u64::MAX));
        while self.recent.front().is_some_and(|(block, _)| block.number < oldest) {
            self.recent.pop_front();
        }
    }

    /// Takes back what a block that left the chain added. Blocks leave newest first.
    pub fn revert(&mut self, block: BlockRef) {
        while let Some((_, weights)) = self.recent.pop_back_if(|(newest, _)| *newest == block) {
            for weight in weights {
                let Some(level) = self.levels.get_mut(&weight.strength) else { continue };
                level.count = level.count.saturating_sub(1);
                if level.count == 0 {
                    self.levels.remove(&weight.strength);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ChainId;

    fn weight(number: u64, strength: u16) -> Weight {
        let block = BlockRef { number, hash: B256::left_padding_from(&number.to_be_bytes()) };
        let tx = TxRef { chain_id: ChainId(1), block, index: 0, hash: block.hash };
        Weight { tx, strength: Score(strength), class: AttackClass::ControlFlow, detectors: vec![] }
    }

    #[test]
    fn what_left_the_chain_was_never_counted() {
        let mut strengths = Strengths::default();
        let mut stages = vec![strengths.clone()];
        for (number, strength) in [(1, 300), (2, 600), (3, 300), (4, 100)] {
            let weight = weight(number, strength);
            strengths.take(weight.tx.block, std::slice::from_ref(&weight));
            stages.push(strengths.clone());
        }
        assert_eq!((strengths.reaching(Score(300)), strengths.reaching(Score(301))), (3, 1));
        let loudest: Vec<u64> = strengths.loudest_first().map(|weight| weight.tx.block.number).collect();
        assert_eq!(loudest, [2, 1, 4]);
        for number in (1..=4).rev() {
            strengths.revert(weight(number, 1).tx.block);
            stages.pop();
            assert_eq!(Some(&strengths), stages.last());
        }
    }
}
