//! Whether what one chain pays out for was ever sent on another.
//!
//! In: the claims of transactions that paid out, and what the logs of other chains say was sent, as far as those were judged. Out:
//! for each claim a verdict. Must never: call a message unsent before the other chain was judged up to the time of the payment, or
//! trust that it was sent while the block that says so may still leave its chain.

pub(crate) mod end;

use alloy_primitives::{Address, B256};
use cordon_model::finding::sign::{MessageFault, Sign, Unbacked};
use cordon_model::finding::{Evidence, Finding};
use cordon_model::log::Cursor;
use cordon_model::message::{Claim, Message, Messages, SourceId};
use cordon_model::units::ChainId;
use std::collections::{BTreeMap, BTreeSet};

/// What one transaction has to do with messages between chains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Messages that it sends.
    pub sent: Vec<(SourceId, Message)>,
    /// Messages that it pays out for, one claim for each custody.
    pub claims: Vec<Claim>,
    /// What could not be read, in words: what was sent is not known in whole then.
    pub gaps: Vec<String>,
}

impl Heard {
    /// Takes what another detector, or the same one for another protocol, heard in the transaction.
    pub(crate) fn take(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.claims.extend(other.claims);
        self.gaps.extend(other.gaps);
    }
}

/// Another chain, as far as it was judged.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// How far.
    pub cursor: &'a Cursor,
    /// What its log says of messages.
    pub messages: &'a Messages,
}

/// What is to be said of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet: another chain was not judged that far, or what was sent may still leave it.
    Waits,
    /// Everything was sent, and no reorganisation that can be followed takes it back.
    Sent,
    /// It cannot be said, and never will be: why.
    Unknown(String),
    /// Something was not sent, or not as much.
    Wrong(Box<Finding>),
}

/// What is to be said of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Waits,
    Sent,
    TooYoung,
    Wrong(MessageFault),
}

/// The finding on a claim for a message that was paid out for in an earlier transaction: of an earlier block, or of the same one.
#[must_use]
pub fn paid_before(claim: &Claim, own: &Messages, in_block: &BTreeSet<(Address, B256)>) -> Option<Finding> {
    let custody = claim.finding.contract;
    let before =
        |message: &&Message| own.is_paid(custody, message.id) || in_block.contains(&(custody, message.id));
    claim.messages.iter().find(before).map(|message| finding(claim, MessageFault::Twice, message.id))
}

/// Judges a claim by the other chains, as far as each is known.
#[must_use]
pub fn settle(claim: &Claim, known: &BTreeMap<ChainId, Known<'_>>) -> Verdict {
    let words = || claim.messages.iter().map(|message| (message, word(claim, message, known)));
    for (message, word) in words() {
        if let Word::Wrong(fault) = word {
            return Verdict::Wrong(Box::new(finding(claim, fault, message.id)));
        }
    }
    if words().any(|(_, word)| word == Word::Waits) {
        return Verdict::Waits;
    }
    words().find(|(_, word)| *word == Word::TooYoung).map_or(Verdict::Sent, |(message, _)| {
        Verdict::Unknown(format!(
            "whether message {} was sent: it may have been sent when its chain was not listened to",
            message.id
        ))
    })
}

fn word(claim: &Claim, message: &Message, known: &BTreeMap<ChainId, Known<'_>>) -> Word {
    let (mut is_behind, mut is_young, mut is_less) = (false, false, false);
    for (chain, source) in &claim.sources {
        let Some(Known { cursor, messages }) = known.get(chain) else {
            is_behind = true;
            continue;
        };
        for sent in messages.sent(*source, message.id) {
            let covers = |paid| sent.amount_raw.is_none_or(|amount| amount >= paid);
            if !message.amount_raw.is_none_or(covers) {
                is_less = true;
                continue;
            }
            let for_good = cursor.recent.first().is_some_and(|oldest| sent.block.number < oldest.number);
            return if for_good { Word::Sent } else { Word::Waits };
        }
        is_behind |= cursor.at_s < claim.paid_s.saturating_add(claim.clocks_s);
        // A chain that was judged so far without listening to this source will not hear what it sent then any more.
        let since_s = messages.since_s(*source).unwrap_or(u64::MAX);
        let heard_all_s = since_s.saturating_add(claim.travels_max_s).saturating_add(claim.clocks_s);
        is_young |= claim.paid_s < heard_all_s;
    }
    match (is_behind, is_less, is_young) {
        (true, _, _) => Word::Waits,
        (false, true, _) => Word::Wrong(MessageFault::More),
        (false, false, true) => Word::TooYoung,
        (false, false, false) => Word::Wrong(MessageFault::Unsent),
    }
}

fn finding(claim: &Claim, fault: MessageFault, id: B256) -> Finding {
    let what = Unbacked::Release { custody: claim.finding.contract, fault, message: Some(id) };
    Finding { evidence: Evidence::Sign(Sign::Unbacked(what)), ..claim.finding.clone() }
}

#[cfg(test)]
mod tests;
