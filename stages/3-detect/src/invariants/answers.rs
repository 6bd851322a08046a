//! How far the answer of a price feed is from the one that the same contract went by before (oracle deviation of Trace2Inv: 4 of 27
//! exploits at 4.6 % false alarms).
//!
//! In: the answers that protected contracts went by, and the last one of an ordinary transaction. Out: a bound for each contract and feed,
//! and the newest answer where it is another. Several answers in one transaction are compared with each other, which is where a price
//! is moved. A feed that nobody asked for long has moved far when somebody does, which is then the bound.

use super::Bound;
use crate::detectors::oracle::answers_of;
use crate::entry::Entries;
use alloy_primitives::{Address, B256, U256, keccak256};
use cordon_model::baseline::{Aspect, Baseline};
use cordon_model::tally::Tally;
use cordon_model::units::Bps;
use std::collections::BTreeMap;

/// Most feeds of one transaction. The largest lending markets ask one for each asset of an account.
const FEEDS_MAX: usize = 32;

/// For how long answers are kept; the last one longer, until room is needed. Feeds promise an answer at least once a day, so that
/// the one before is there again when a block leaves the chain.
const WINDOW_S: u64 = 86_400;

/// What one contract heard of one feed.
#[derive(Debug, Clone, Copy)]
struct Heard {
    reader: Address,
    /// The last answer of an ordinary transaction before.
    before: Option<U256>,
    newest: U256,
    /// The largest step between two answers.
    step: Option<Bps>,
}

pub(super) fn bounds(entries: &Entries<'_>, baseline: &Baseline) -> Vec<Bound> {
    let bound = |(key, heard): (B256, Heard)| {
        Some(Bound::alone(heard.reader, Aspect::AnswerMove, key, U256::from(heard.step?.0)))
    };
    heard(entries, baseline).into_iter().filter_map(bound).collect()
}

pub(super) fn tallies(entries: &Entries<'_>, baseline: &Baseline) -> Vec<Tally> {
    let heard = heard(entries, baseline).into_iter();
    let changed = heard.filter(|(_, heard)| heard.before != Some(heard.newest));
    let tally = |(key, heard): (B256, Heard)| Tally {
        value: B256::from(heard.newest),
        ..Tally::of(key, WINDOW_S, U256::ONE)
    };
    changed.map(tally).collect()
}

fn heard(entries: &Entries<'_>, baseline: &Baseline) -> BTreeMap<B256, Heard> {
    let mut all: BTreeMap<B256, Heard> = BTreeMap::new();
    for (feed, reader, answer) in answers_of(entries.protocol, entries.execution) {
        let key = keccak256([reader.as_slice(), feed.as_slice(), b"answer"].concat());
        if all.len() == FEEDS_MAX && !all.contains_key(&key) {
            continue;
        }
        let step = |last: U256| Bps::ratio(answer.abs_diff(last), last);
        let first = || {
            let before = baseline.tallies().last_ordinary_value(key).map(|word| U256::from_be_bytes(word.0));
            Heard { reader, before, newest: before.unwrap_or(answer), step: before.map(|_| Bps(0)) }
        };
        let heard = all.entry(key).or_insert_with(first);
        if heard.newest != answer {
            heard.step = heard.step.max(Some(step(heard.newest)));
            heard.newest = answer;
        }
    }
    all
}
