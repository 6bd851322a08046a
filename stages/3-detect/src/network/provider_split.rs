//! Provider split: nodes that disagree on a block.
//!
//! In: what several nodes say about the same heights. Out: a warning or a page with all answers. Must never: count a
//! node that did not answer as one that disagrees, or the ordinary race at the newest block as a split.
//!
//! # Source and false alarms
//!
//! Another hash two blocks below the newest one for longer than a slot is a warning, five blocks below a page. Infura
//! and others stood on a fork of their own from block 11,234,873 on, on 11 November 2020, because of an old client. Two nodes
//! differ at the newest block whenever one of them is late; two blocks deeper they differ only for as long as one of
//! them follows a reorganisation of depth two, which the slot of patience covers. The rate is thus that of nodes that
//! lag or lie. Equal hashes with other receipts cannot be explained by any delay: page at once.

use super::ChainTiming;
use super::standing::Reading;
use crate::detectors::ConfigError;
use cordon_model::network::observation::{HeightAnswers, Observation};
use cordon_model::network::{AlarmLevel, NetworkSignal, ProviderAnswer, SignalKind};
use serde::Deserialize;

/// Most answers that an alarm carries: more nodes than anybody asks.
const ANSWERS_MAX: usize = 16;

/// `[network.provider-split]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSplitConfig {
    /// Blocks below the newest one from which on a lasting difference is a warning. Default 2.
    pub warn_depth: u64,
    /// Blocks below the newest one from which on a difference is a page. Default 5.
    pub page_depth: u64,
}

impl Default for ProviderSplitConfig {
    fn default() -> Self {
        Self { warn_depth: 2, page_depth: 5 }
    }
}

impl ProviderSplitConfig {
    pub(super) fn build(&self, timing: ChainTiming) -> Result<ProviderSplit, ConfigError> {
        super::ascending("network.provider-split.warn_depth / page_depth", self.warn_depth, self.page_depth)?;
        Ok(ProviderSplit { config: self.clone(), patience_s: timing.blocks_to_s(1), since_s: None })
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct ProviderSplit {
    config: ProviderSplitConfig,
    /// One slot.
    patience_s: u64,
    /// Since when there is a difference at the depth of a warning.
    since_s: Option<u64>,
}

/// What the answers for one height are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Accord {
    /// Fewer than two nodes gave a block.
    Unknown,
    Agree,
    /// Several hashes.
    Split,
    /// One hash with several receipts.
    Lie,
}

impl ProviderSplit {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        let told = seen.providers.iter().map(|height| height.number).max()?;
        let newest = seen.head.map_or(told, |head| head.block.number.max(told));
        let (mut deep_agreement, mut worst) = (false, None);
        for height in &seen.providers {
            let (accord, depth) = (accord(&height.answers), newest.saturating_sub(height.number));
            let level = match accord {
                Accord::Lie => Some(AlarmLevel::Page),
                Accord::Split if depth >= self.config.page_depth => Some(AlarmLevel::Page),
                Accord::Split if depth >= self.config.warn_depth => Some(AlarmLevel::Warn),
                Accord::Agree if depth >= self.config.warn_depth => {
                    deep_agreement = true;
                    None
                }
                Accord::Split | Accord::Agree | Accord::Unknown => None,
            };
            if let Some(level) = level
                && worst.is_none_or(|(before, _)| level > before)
            {
                worst = Some((level, height));
            }
        }
        match worst {
            Some((AlarmLevel::Page, height)) => Some(split(AlarmLevel::Page, height)),
            Some((AlarmLevel::Warn, height)) => {
                let since_s = *self.since_s.get_or_insert(seen.at_s);
                let lasting = seen.at_s.saturating_sub(since_s) > self.patience_s;
                lasting.then(|| split(AlarmLevel::Warn, height))
            }
            None if deep_agreement => {
                self.since_s = None;
                Some(Reading::Calm { kind: SignalKind::ProviderSplit, subject: None })
            }
            None => None,
        }
    }
}

fn split(level: AlarmLevel, height: &HeightAnswers) -> Reading {
    let answers = height.answers.iter().take(ANSWERS_MAX).cloned().collect();
    Reading::of(Some(level), NetworkSignal::ProviderSplit { number: height.number, answers })
}

fn accord(answers: &[ProviderAnswer]) -> Accord {
    let mut given = answers.iter().filter_map(|answer| Some((answer.hash?, answer.receipts_root)));
    let Some((hash, mut root)) = given.next() else { return Accord::Unknown };
    let mut accord = Accord::Unknown;
    for (other, other_root) in given {
        let found = match (root, other_root) {
            _ if other != hash => Accord::Split,
            (Some(root), Some(other_root)) if root != other_root => Accord::Lie,
            _ => Accord::Agree,
        };
        if other == hash {
            root = root.or(other_root);
        }
        accord = accord.max(found);
    }
    accord
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{at, cleared, ethereum, raised, watch};
    use alloy_primitives::B256;

    /// Answers as numbers of hashes; 0 is a node without an answer.
    fn height(number: u64, hashes: &[u8]) -> HeightAnswers {
        let answer = |(i, hash): (usize, &u8)| ProviderAnswer {
            provider: format!("https://node{i}.example"),
            client: None,
            hash: (*hash != 0).then(|| B256::repeat_byte(*hash)),
            receipts_root: None,
        };
        HeightAnswers { number, answers: hashes.iter().enumerate().map(answer).collect() }
    }

    fn look(at_s: u64, head: u64, heights: &[HeightAnswers]) -> Observation {
        Observation { providers: heights.to_vec(), ..at(at_s, head) }
    }

    fn levels(looks: &[Observation]) -> Vec<AlarmLevel> {
        raised(&watch(&mut ethereum(), looks), SignalKind::ProviderSplit)
    }

    #[test]
    fn a_lasting_difference_two_blocks_below_warns() {
        let differ = |at_s, number| look(at_s, 100, &[height(number, &[1, 1, 2])]);
        assert_eq!(levels(&[differ(0, 98), differ(12, 98)]), [], "not longer than a slot");
        assert_eq!(levels(&[differ(0, 98), differ(13, 98)]), [AlarmLevel::Warn]);
        assert_eq!(levels(&[differ(0, 99), differ(13, 99)]), [], "the race at the newest block");
        let healed = look(6, 100, &[height(98, &[1, 1, 1])]);
        assert_eq!(levels(&[differ(0, 98), healed, differ(13, 98)]), [], "it agreed in between");
    }

    #[test]
    fn a_difference_five_blocks_below_pages() {
        assert_eq!(levels(&[look(0, 100, &[height(96, &[1, 2])])]), []);
        let heights = [height(98, &[1, 2]), height(95, &[3, 4])];
        assert_eq!(levels(&[look(0, 100, &heights)]), [AlarmLevel::Page]);
    }

    #[test]
    fn other_receipts_under_the_same_hash_page_at_once() {
        let mut lie = height(100, &[1, 1, 1]);
        lie.answers[1].receipts_root = Some(B256::repeat_byte(8));
        assert_eq!(levels(&[look(0, 100, &[lie.clone()])]), [], "only one node told its receipts");
        lie.answers[2].receipts_root = Some(B256::repeat_byte(9));
        assert_eq!(levels(&[look(0, 100, &[lie])]), [AlarmLevel::Page]);
    }

    #[test]
    fn silence_is_no_difference_and_no_agreement() {
        assert_eq!(
            levels(&[look(0, 100, &[height(90, &[1, 0, 0]), height(91, &[0, 0]), height(92, &[])])]),
            []
        );
        let mut looks = vec![look(0, 100, &[height(90, &[1, 2])])];
        looks.extend((1..100).map(|i| look(i * 12, 100 + i, &[height(98 + i, &[1, 0])])));
        assert_eq!(cleared(&watch(&mut ethereum(), &looks), SignalKind::ProviderSplit), 0);
        looks.extend((100..200).map(|i| look(i * 12, 100 + i, &[height(98 + i, &[1, 1])])));
        assert_eq!(cleared(&watch(&mut ethereum(), &looks), SignalKind::ProviderSplit), 1);
    }
}
