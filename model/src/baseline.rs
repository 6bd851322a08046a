//! What the use of a protocol has been so far: for each way to measure a transaction, the most that was ever seen.
//!
//! In: what transactions measured, in the order of the chain. Out: how far a new one exceeds all of them. A fold: the same
//! transactions in the same order give the same baseline, and a block that leaves the chain is taken back exactly. Must
//! never: learn by itself; whoever judges decides what counts as ordinary.

use crate::log::CURSOR_DEPTH_MAX;
use crate::tally::{Tallies, Tally};
use crate::units::{BlockRef, ProtocolId};
use alloy_primitives::{B256, U256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

/// Most habits that are remembered of a protocol. The most diverse of the nine protocols whose whole history is at
/// hand has 46 orders of calls and moves 29 assets; whoever floods a protocol with new orders of calls fills memory up to here and no further, at about
/// 100 bytes each.
pub const HABITS_MAX: usize = 65_536;

/// What is measured of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// The order in which the protocol's functions were called, nested as they were.
    CallOrder,
    /// How many of the protocol's functions were called, and how often one of them.
    Calls,
    /// How deep calls of the protocol were nested in each other.
    Depth,
    /// How many movements of value its calls made.
    Transfers,
    /// How many storage slots its calls wrote.
    Writes,
    /// How much of one asset left it.
    Outflow,
    /// How much of one asset left it within a time, less what came in.
    OutflowRate,
    /// In how many such times any of it did.
    OutflowTimes,
    /// How many transactions used a function, or whatever else an invariant speaks of.
    Uses,
    /// At which of these uses the most of something was last exceeded.
    Since,
    /// How many different callers a function had, up to where it counts as open to everybody.
    Callers,
    /// A caller of such a function.
    Caller,
    /// A function was called by a contract.
    CalledByContract,
    /// How often a contract was entered in one transaction.
    Entries,
    /// How often a contract was entered by transactions of one sender in one block.
    BlockEntries,
    /// A contract was entered while an earlier entry was not over.
    Nested,
    /// How much gas a function used.
    Gas,
    /// A word of a function's arguments that may be an amount.
    Argument,
    /// The same from below, stored as what is missing to `U256::MAX`, so that the least ever is the most ever; see
    /// [`Aspect::amount`].
    ArgumentLeast,
    /// How many coins a function was given.
    CallValue,
    /// How much of an asset a function paid out.
    PaidOut,
    /// How much of an asset a function took in.
    TakenIn,
    /// Which part of what a contract held of an asset a function paid out, in basis points.
    PaidOutShare,
    /// How much of an asset a function took in, in basis points of what the contract held of it.
    TakenInShare,
    /// A function paid out and took nothing in.
    PaidForNothing,
    /// By how much the supply of a token grew in one transaction, in basis points of what there was.
    SupplyGrowth,
    /// How far the answer of a price feed was from the one before, in basis points of that.
    AnswerMove,
    /// What the protocol lost by its books, in basis points of what it held.
    BookLoss,
    /// The price of a share in an asset, with 18 decimals.
    SharePrice,
    /// How far that fell below its highest, in basis points.
    SharePriceFall,
    /// How far that rose above its highest at once, in basis points.
    SharePriceRise,
}

impl Aspect {
    /// True where the bound is the least that ever was.
    #[must_use]
    pub fn is_least(self) -> bool {
        self == Self::ArgumentLeast
    }

    /// What a stored value stands for, and how an amount is stored: both are the same.
    #[must_use]
    pub fn amount(self, stored: U256) -> U256 {
        if self.is_least() { U256::MAX.saturating_sub(stored) } else { stored }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CallOrder => "order of calls",
            Self::Calls => "calls",
            Self::Depth => "depth of calls within calls",
            Self::Transfers => "movements of value",
            Self::Writes => "writes to storage",
            Self::Outflow => "outflow of one asset",
            Self::OutflowRate => "outflow of one asset within a time",
            Self::OutflowTimes => "times with such an outflow",
            Self::Uses => "uses",
            Self::Since => "use at which a limit was last exceeded",
            Self::Callers => "number of callers",
            Self::Caller => "caller",
            Self::CalledByContract => "called by a contract",
            Self::Entries => "entries in one transaction",
            Self::BlockEntries => "entries by one sender in one block",
            Self::Nested => "entered while entered",
            Self::Gas => "gas used",
            Self::Argument => "argument",
            Self::ArgumentLeast => "least argument",
            Self::CallValue => "coins sent along",
            Self::PaidOut => "amount paid out",
            Self::TakenIn => "amount taken in",
            Self::PaidOutShare => "part of what was held paid out in basis points",
            Self::TakenInShare => "taken in, in basis points of what was held",
            Self::PaidForNothing => "paid out for nothing",
            Self::SupplyGrowth => "growth of the supply in basis points",
            Self::AnswerMove => "move of a price feed in basis points",
            Self::BookLoss => "loss by the books in basis points",
            Self::SharePrice => "price of a share",
            Self::SharePriceFall => "fall of the price of a share in basis points",
            Self::SharePriceRise => "rise of the price of a share in basis points",
        })
    }
}

/// One measurement of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// What was measured.
    pub aspect: Aspect,
    /// What it was measured of: the order itself, the asset, one number of several.
    pub key: B256,
    /// How much; one where something merely happened.
    pub value: U256,
}

/// A measurement that exceeds all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// What was measured, and how much it was.
    #[serde(flatten)]
    pub measure: Measure,
    /// The most before; zero where it never was.
    pub before: U256,
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measure { aspect, value, .. } = self.measure;
        let (amount, limit) = (aspect.amount(value), aspect.amount(self.before));
        match (aspect, self.before.is_zero()) {
            (Aspect::CallOrder, _) => write!(f, "{aspect} never seen"),
            (_, true) => write!(f, "{aspect}: {amount}, none before"),
            (_, false) if aspect.is_least() => write!(f, "{aspect}: {amount}, at least {limit} before"),
            (_, false) => write!(f, "{aspect}: {amount}, at most {limit} before"),
        }
    }
}

/// The baselines of all protocols of a chain. A copy costs one reference for each protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baselines(BTreeMap<ProtocolId, Arc<Baseline>>);

impl Baselines {
    /// Of one protocol; `None` where nothing of it is known.
    #[must_use]
    pub fn of(&self, protocol: &ProtocolId) -> Option<&Baseline> {
        self.0.get(protocol).map(Arc::as_ref)
    }

    /// How many ordinary transactions of a protocol were seen.
    #[must_use]
    pub fn transactions(&self, protocol: &ProtocolId) -> u64 {
        self.of(protocol).map_or(0, Baseline::transactions)
    }

    /// See [`Baseline::learn`].
    pub fn learn(&mut self, protocol: &ProtocolId, block: BlockRef, transactions: u64, measures: &[Measure]) {
        let baseline = self.0.entry(protocol.clone()).or_default();
        Arc::make_mut(baseline).learn(block, transactions, measures);
    }

    /// See [`Tallies::count`].
    pub fn count(&mut self, protocol: &ProtocolId, block: BlockRef, at_s: u64, tallies: &[Tally]) {
        let baseline = self.0.entry(protocol.clone()).or_default();
        Arc::make_mut(baseline).count(block, at_s, tallies);
    }

    /// See [`Baseline::revert`].
    pub fn revert(&mut self, block: BlockRef) {
        self.0.values_mut().for_each(|baseline| Arc::make_mut(baseline).revert(block));
    }
}

/// What one protocol was used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    transactions: u64,
    most: BTreeMap<(Aspect, B256), U256>,
    /// How to take back the newest blocks, oldest first.
    undo: VecDeque<Undo>,
    tallies: Tallies,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Undo {
    block: BlockRef,
    transactions: u64,
    before: Vec<((Aspect, B256), Option<U256>)>,
}

impl Baseline {
    /// How many ordinary transactions it has seen.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// What was counted lately, ordinary or not.
    #[must_use]
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// The most that was ever measured.
    #[must_use]
    pub fn most(&self, aspect: Aspect, key: B256) -> Option<U256> {
        self.most.get(&(aspect, key)).copied()
    }

    /// Which of the measurements exceed all before them.
    #[must_use]
    pub fn firsts(&self, measures: &[Measure]) -> Vec<First> {
        let is_full = self.most.len() >= HABITS_MAX;
        let first = |measure: &Measure| {
            let before = self.most.get(&(measure.aspect, measure.key)).copied();
            // A baseline that takes nothing new any more cannot tell new from known.
            let is_known = before.map_or(is_full, |before| measure.value <= before);
            (!is_known).then(|| First { measure: *measure, before: before.unwrap_or(U256::ZERO) })
        };
        measures.iter().filter_map(first).collect()
    }

    /// Takes the measurements of an ordinary transaction, which was the `transactions`-th.
    pub fn learn(&mut self, block: BlockRef, transactions: u64, measures: &[Measure]) {
        let mut before = Vec::new();
        for measure in measures {
            let key = (measure.aspect, measure.key);
            let known = self.most.get(&key).copied();
            let has_room = known.is_some() || self.most.len() < HABITS_MAX;
            if has_room && known.is_none_or(|known| known < measure.value) {
                before.push((key, self.most.insert(key, measure.value)));
            }
        }
        self.undo.push_back(Undo { block, transactions: self.transactions, before });
        self.transactions = transactions;
        let oldest = block.number.saturating_sub(u64::try_from(CURSOR_DEPTH_MAX).unwrap_or(u64::MAX));
        while self.undo.front().is_some_and(|undo| undo.block.number < oldest) {
            self.undo.pop_front();
        }
    }

    /// See [`Tallies::count`].
    pub fn count(&mut self, block: BlockRef, at_s: u64, tallies: &[Tally]) {
        self.tallies.count(block, at_s, tallies);
    }

    /// Takes back what was learned and counted in a block that left the chain. Blocks leave newest first.
    pub fn revert(&mut self, block: BlockRef) {
        self.tallies.revert(block);
        while let Some(undo) = self.undo.pop_back_if(|undo| undo.block == block) {
            for (key, before) in undo.before.into_iter().rev() {
                match before {
                    Some(before) => self.most.insert(key, before),
                    None => self.most.remove(&key),
                };
            }
            self.transactions = undo.transactions;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u64) -> BlockRef {
        BlockRef { number, hash: B256::with_last_byte(u8::try_from(number % 251).unwrap()) }
    }

    fn calls(value: u64) -> Measure {
        Measure { aspect: Aspect::Calls, key: B256::ZERO, value: U256::from(value) }
    }

    #[test]
    fn only_what_exceeds_everything_before_is_a_first() {
        let mut baseline = Baseline::default();
        baseline.learn(block(1), 1, &[calls(3)]);
        assert_eq!(baseline.firsts(&[calls(3)]), []);
        let [first] = baseline.firsts(&[calls(4)])[..] else { panic!("4 exceeds 3") };
        assert_eq!(first.to_string(), "calls: 4, at most 3 before");
        baseline.learn(block(2), 2, &[calls(2)]);
        assert_eq!(baseline.firsts(&[calls(3)]), [], "less than before teaches nothing");
        assert_eq!(baseline.transactions(), 2);
    }

    #[test]
    fn a_least_is_stored_as_a_most_and_shown_as_it_is() {
        let aspect = Aspect::ArgumentLeast;
        let least =
            |amount: u64| Measure { aspect, key: B256::ZERO, value: aspect.amount(U256::from(amount)) };
        let mut baseline = Baseline::default();
        baseline.learn(block(1), 1, &[least(10)]);
        assert_eq!(baseline.firsts(&[least(11)]), []);
        let [first] = baseline.firsts(&[least(0)])[..] else { panic!("0 is below 10") };
        assert_eq!(first.to_string(), "least argument: 0, at least 10 before");
        assert_eq!(aspect.amount(aspect.amount(U256::MAX)), U256::MAX);
        assert_eq!(Aspect::Argument.amount(U256::ONE), U256::ONE);
    }

    #[test]
    fn a_flood_of_new_orders_fills_no_memory_and_hides_no_record() {
        let mut baseline = Baseline::default();
        baseline.learn(block(0), 1, &[calls(3)]);
        let order = |number: usize| Measure {
            aspect: Aspect::CallOrder,
            key: B256::from(U256::from(number)),
            value: U256::ONE,
        };
        for number in 0..HABITS_MAX + 10 {
            baseline.learn(block(1_000), 2, &[order(number)]);
        }
        assert_eq!(baseline.most.len(), HABITS_MAX);
        assert_eq!(baseline.firsts(&[order(HABITS_MAX * 2)]), []);
        assert_eq!(baseline.firsts(&[calls(4)]).len(), 1);
    }

    /// Whatever was learned in blocks that leave the chain is as if it had never been, however many of them go.
    #[test]
    fn reverting_is_the_inverse_of_learning() {
        let values = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];
        let mut baseline = Baseline::default();
        let mut stages = vec![baseline.clone()];
        for (number, value) in (1..).zip(values) {
            baseline.learn(block(number), number, &[calls(value)]);
            stages.push(baseline.clone());
        }
        for number in (1..=12).rev() {
            baseline.revert(block(number));
            stages.pop();
            assert_eq!(Some(&baseline), stages.last());
        }
        baseline.revert(block(99));
        assert_eq!(baseline, Baseline::default());
    }
}
