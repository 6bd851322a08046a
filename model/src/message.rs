//! Messages between chains: what was sent on one, and what was paid out for it on another.
//!
//! In: what each chain's log says of its own transactions. Out: [`Messages`], a fold over it, by which a payment on one chain is
//! compared with what was sent on the others. Must never: forget what was sent, since a message may be used years later.

use crate::finding::Finding;
use crate::log::{CURSOR_DEPTH_MAX, ChainEvent};
use crate::units::{BlockRef, ChainId, FindingId};
use alloy_primitives::{Address, B256, U256, keccak256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// One way in which a contract says that it sends a message: derived from chain, contract, event and which of its values identify a
/// message, so that messages that were told apart otherwise are never mixed up. How the values are called makes no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(pub B256);

impl SourceId {
    /// The source with these marks.
    #[must_use]
    pub fn derive(chain_id: ChainId, contract: Address, parts: &[&str]) -> Self {
        let mut text = format!("{chain_id}\n{contract}");
        for part in parts {
            text.push('\n');
            text.push_str(part);
        }
        Self(keccak256(text))
    }
}

/// A message, as either end names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// What identifies it: a word of the event, or the hash of several.
    pub id: B256,
    /// How much it is about, raw, where both ends say so in the same unit.
    pub amount_raw: Option<U256>,
}

/// What a chain's log remembers of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageNews {
    /// From this block on, what these sources of the chain send is recorded, and of no others.
    Listening {
        /// All of them.
        sources: Vec<SourceId>,
        /// Timestamp of the block, Unix seconds.
        since_s: u64,
    },
    /// What the sources sent in this block could not be read in whole: it is as if they were listened to from here on.
    Missed {
        /// Timestamp of the block, Unix seconds.
        since_s: u64,
    },
    /// A message was sent.
    Sent {
        /// By whom.
        source: SourceId,
        /// What.
        message: Message,
    },
    /// A custody paid out for a message.
    Paid {
        /// Who paid.
        custody: Address,
        /// For what.
        id: B256,
    },
    /// Whether what was paid for was ever sent cannot be said for good yet.
    Waiting {
        /// What is to be found out.
        claim: Box<Claim>,
    },
    /// It was said for good, in one way or the other.
    Settled {
        /// The finding that the claim would have become.
        claim: FindingId,
    },
}

/// A transaction that paid out for messages which other chains should have sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// By whom they may have been sent.
    pub sources: Vec<(ChainId, SourceId)>,
    /// The messages.
    pub messages: Vec<Message>,
    /// Timestamp of the block that paid, Unix seconds.
    pub paid_s: u64,
    /// Longest that a message takes, in seconds: what was paid for sooner after listening began may have been sent before.
    pub travels_max_s: u64,
    /// By how much the clocks of two chains may differ, in seconds.
    pub clocks_s: u64,
    /// What it is if one of them was never sent.
    pub finding: Finding,
}

/// What one chain's log says of messages: a fold over its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Messages {
    listening: BTreeMap<SourceId, u64>,
    sent: BTreeMap<(SourceId, B256), Vec<Sent>>,
    paid: BTreeMap<(Address, B256), Vec<BlockRef>>,
    waiting: BTreeMap<FindingId, Claim>,
    /// What the newest blocks brought, at most [`CURSOR_DEPTH_MAX`] of them: older ones do not leave the chain.
    recent: VecDeque<(BlockRef, Vec<Brought>)>,
}

/// Where something stands that a block brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brought {
    Sent(SourceId, B256),
    Paid(Address, B256),
}

/// That a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// In which block.
    pub block: BlockRef,
    /// About how much, raw.
    pub amount_raw: Option<U256>,
}

impl Messages {
    /// Takes the next event of the chain.
    pub fn apply(&mut self, event: &ChainEvent) {
        match event {
            ChainEvent::Reverted { block } => self.revert(*block),
            ChainEvent::Messages { block, news } => {
                if self.recent.back().is_none_or(|(newest, _)| newest != block) {
                    self.recent.push_back((*block, Vec::new()));
                    let excess = self.recent.len().saturating_sub(CURSOR_DEPTH_MAX);
                    self.recent.drain(..excess);
                }
                news.iter().for_each(|news| self.take(*block, news));
            }
            _ => {}
        }
    }

    fn take(&mut self, block: BlockRef, news: &MessageNews) {
        match news {
            MessageNews::Listening { sources, since_s } => {
                self.listening.retain(|source, _| sources.contains(source));
                for source in sources {
                    self.listening.entry(*source).or_insert(*since_s);
                }
            }
            MessageNews::Missed { since_s } => {
                self.listening.values_mut().for_each(|since| *since = *since_s)
            }
            MessageNews::Sent { source, message } => {
                self.brought(Brought::Sent(*source, message.id));
                let sent = Sent { block, amount_raw: message.amount_raw };
                self.sent.entry((*source, message.id)).or_default().push(sent);
            }
            MessageNews::Paid { custody, id } => {
                self.brought(Brought::Paid(*custody, *id));
                self.paid.entry((*custody, *id)).or_default().push(block);
            }
            MessageNews::Waiting { claim } => {
                self.waiting.insert(claim.finding.id, claim.as_ref().clone());
            }
            MessageNews::Settled { claim } => {
                self.waiting.remove(claim);
            }
        }
    }

    fn brought(&mut self, what: Brought) {
        if let Some((_, all)) = self.recent.back_mut() {
            all.push(what);
        }
    }

    /// What happened in a block that left the chain never happened.
    fn revert(&mut self, block: BlockRef) {
        self.waiting.retain(|_, claim| claim.finding.tx.block != block);
        let Some(place) = self.recent.iter().rposition(|(brought, _)| *brought == block) else { return };
        for what in self.recent.remove(place).into_iter().flat_map(|(_, all)| all) {
            match what {
                Brought::Sent(source, id) => {
                    let sent = self.sent.entry((source, id)).or_default();
                    sent.retain(|sent| sent.block != block);
                    if sent.is_empty() {
                        self.sent.remove(&(source, id));
                    }
                }
                Brought::Paid(custody, id) => {
                    let paid = self.paid.entry((custody, id)).or_default();
                    paid.retain(|paid| *paid != block);
                    if paid.is_empty() {
                        self.paid.remove(&(custody, id));
                    }
                }
            }
        }
    }

    /// Since when a source's messages are recorded, Unix seconds; `None` where they are not.
    #[must_use]
    pub fn since_s(&self, source: SourceId) -> Option<u64> {
        self.listening.get(&source).copied()
    }

    /// The sources whose messages are recorded, in order.
    pub fn listening(&self) -> impl Iterator<Item = SourceId> {
        self.listening.keys().copied()
    }

    /// Whenever a source sent a message of this id.
    #[must_use]
    pub fn sent(&self, source: SourceId, id: B256) -> &[Sent] {
        self.sent.get(&(source, id)).map_or(&[], Vec::as_slice)
    }

    /// True where a custody paid out for a message of this id in an earlier transaction.
    #[must_use]
    pub fn is_paid(&self, custody: Address, id: B256) -> bool {
        self.paid.contains_key(&(custody, id))
    }

    /// Of what it is not known for good yet whether it was sent.
    pub fn waiting(&self) -> impl Iterator<Item = &Claim> {
        self.waiting.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: SourceId = SourceId(B256::repeat_byte(1));
    const CUSTODY: Address = Address::repeat_byte(2);
    const ID: B256 = B256::repeat_byte(3);

    fn block(number: u64) -> BlockRef {
        BlockRef { number, hash: B256::from(U256::from(number)) }
    }

    fn told(events: &[(u64, MessageNews)]) -> Messages {
        let mut messages = Messages::default();
        for (number, news) in events {
            messages.apply(&ChainEvent::Messages { block: block(*number), news: vec![news.clone()] });
        }
        messages
    }

    fn sent(amount: u64) -> MessageNews {
        let message = Message { id: ID, amount_raw: Some(U256::from(amount)) };
        MessageNews::Sent { source: SOURCE, message }
    }

    #[test]
    fn what_was_sent_twice_is_known_until_both_blocks_left_the_chain() {
        let mut messages = told(&[(4, sent(7)), (5, sent(9))]);
        messages.apply(&ChainEvent::Reverted { block: block(5) });
        assert_eq!(messages.sent(SOURCE, ID), [Sent { block: block(4), amount_raw: Some(U256::from(7)) }]);
        messages.apply(&ChainEvent::Reverted { block: block(4) });
        assert_eq!(messages, Messages::default(), "nothing is left of them");
    }

    #[test]
    fn what_was_paid_in_a_block_that_left_may_be_paid_again() {
        let mut messages = told(&[(4, MessageNews::Paid { custody: CUSTODY, id: ID })]);
        assert!(messages.is_paid(CUSTODY, ID) && !messages.is_paid(CUSTODY, B256::ZERO));
        messages.apply(&ChainEvent::Reverted { block: block(4) });
        assert!(!messages.is_paid(CUSTODY, ID));
    }

    #[test]
    fn a_source_that_was_dropped_and_taken_up_again_is_listened_to_since_then() {
        let other = SourceId(B256::repeat_byte(9));
        let listening =
            |sources: &[SourceId], since_s| MessageNews::Listening { sources: sources.to_vec(), since_s };
        let messages = told(&[
            (1, listening(&[SOURCE, other], 100)),
            (2, listening(&[other], 200)),
            (3, listening(&[SOURCE, other], 300)),
        ]);
        assert_eq!((messages.since_s(SOURCE), messages.since_s(other)), (Some(300), Some(100)));
        let mut messages = messages;
        let missed = vec![MessageNews::Missed { since_s: 400 }];
        messages.apply(&ChainEvent::Messages { block: block(4), news: missed });
        assert_eq!((messages.since_s(SOURCE), messages.since_s(other)), (Some(400), Some(400)));
    }
}
