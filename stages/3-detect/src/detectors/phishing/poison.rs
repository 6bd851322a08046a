//! Histories filled with movements of nothing, so that users copy the wrong address.
//!
//! In: transfers and calls. Out: one statement for each protected token. Must never: count a movement whose account acts,
//! or moves something as well.

use super::{PhishingConfig, Said, count};
use crate::parties::SendersSide;
use alloy_primitives::Address;
use alloy_primitives::map::AddressSet;
use cordon_model::execution::{Execution, Transfer};
use cordon_model::finding::Score;
use cordon_model::finding::sign::{Lure, LureKind};
use cordon_model::protocol::Protocol;
use cordon_model::units::Asset;
use std::collections::{BTreeMap, BTreeSet};

/// Below what adds up to an alarm: nothing is lost yet, and the many calls of such a batch are no second reason.
const SCORE: Score = Score(200);

/// Below what opens an incident alone: who looks like whom is no chance (one in four billion), but nothing is lost yet.
const SCORE_LOOKALIKE: Score = Score(500);

/// What people compare of an address: the first and the last four digits, as wallets shorten it.
type Look = ([u8; 2], [u8; 2]);

fn look(address: Address) -> Look {
    let [a, b, .., y, z] = address.into_array();
    ([a, b], [y, z])
}

/// Movements of nothing of one token.
#[derive(Debug, Default)]
struct Poisoned {
    pairs: BTreeSet<(Address, Address)>,
    accounts: BTreeSet<Address>,
    lookalike: Option<(Address, Address)>,
}

pub(super) fn poisoned(
    bounds: &PhishingConfig,
    protocol: &Protocol,
    side: &SendersSide,
    execution: &Execution,
) -> Vec<Said> {
    let of_nothing = |moved: &&Transfer| {
        let parties_differ = moved.from != moved.to && !moved.from.is_zero() && !moved.to.is_zero();
        moved.amount_raw.is_zero() && parties_differ
    };
    let mut empty = execution.transfers.iter().filter(of_nothing).peekable();
    if empty.peek().is_none() {
        return Vec::new();
    }
    let called: AddressSet = execution.frames.iter().map(|frame| frame.address).collect();
    let paying = execution.transfers.iter().filter(|moved| !moved.amount_raw.is_zero());
    let (mut payers, mut paid) = (AddressSet::default(), BTreeMap::new());
    for moved in paying {
        payers.insert(moved.from);
        paid.insert((moved.from, look(moved.to)), moved.to);
    }
    let mut tokens: BTreeMap<Address, Poisoned> = BTreeMap::new();
    for moved in empty {
        let Asset::Token(token) = moved.asset else { continue };
        if !protocol.protects(token) {
            continue;
        }
        let (from, to) = (moved.from, moved.to);
        let resembles = paid.get(&(from, look(to))).is_some_and(|real| *real != to);
        let is_passive = !side.has(from) && !called.contains(&from) && !payers.contains(&from);
        let poisoned = tokens.entry(token).or_default();
        if resembles {
            poisoned.lookalike = poisoned.lookalike.or(Some((from, to)));
        }
        if resembles || is_passive {
            poisoned.pairs.insert((from, to));
            poisoned.accounts.insert(from);
        }
    }
    let state = |(token, poisoned): (Address, Poisoned)| {
        let (kind, score, (victim, taker)) = match poisoned.lookalike {
            Some(pair) => (LureKind::Lookalike, SCORE_LOOKALIKE, pair),
            None if count(poisoned.accounts.len()) >= bounds.poisoned_min => {
                (LureKind::Poisoning, SCORE, *poisoned.pairs.first()?)
            }
            None => return None,
        };
        let victims = count(poisoned.accounts.len());
        Some(Said { score, lure: Lure { kind, victim, victims, token, tokens: 1, taker } })
    };
    tokens.into_iter().filter_map(state).collect()
}
