//! Each template alone: what breaks it, what nearly does, and what somebody hostile would show it.

use super::*;
use crate::DetectorSet;
use crate::valuation::{MULTICALL3, holding};
use cordon_model::execution::{Detail, Transfer};
use cordon_model::tally::Tally;
use cordon_model::units::Asset;

const FEED: Address = Address::repeat_byte(0xfe);

/// Uses in a row that make an invariant.
const SUPPORT_MIN: u64 = 40;

/// One aspect of a protocol's past, with all readings. What exceeds an established bound is withheld.
struct Watched {
    aspect: Aspect,
    baseline: Baseline,
    number: u64,
}

impl Watched {
    fn new(aspect: Aspect) -> Self {
        Self { aspect, baseline: Baseline::default(), number: 0 }
    }

    /// Sixty ordinary uses.
    fn after(aspect: Aspect, script: impl Fn(u64) -> Script) -> Self {
        let mut watched = Self::new(aspect);
        for number in 0..60 {
            assert_eq!(watched.next(script(number)), None, "{aspect}: use {number}");
        }
        watched
    }

    /// The bound and what was found, of a transaction in the next block.
    fn next(&mut self, script: Script) -> Option<(U256, U256)> {
        self.number += 1;
        self.same(script)
    }

    /// The same in the newest block.
    fn same(&mut self, script: Script) -> Option<(U256, U256)> {
        let set = DetectorSet::new(vec![Box::new(detector())], vec![World::protocol()]);
        self.see(script.judged_by(&set)).map(|broken| (broken.bound, broken.found))
    }

    fn see(&mut self, mut execution: Execution) -> Option<BrokenInvariant> {
        let block = BlockRef { number: self.number, hash: B256::from(U256::from(self.number)) };
        execution.tx.block = block;
        let protocol = World::protocol();
        let (broken, firsts) =
            judge(&bounds(&Entries::of(&protocol, &execution), &self.baseline), &self.baseline);
        let broken = broken.into_iter().find(|one| one.aspect == self.aspect && one.support >= SUPPORT_MIN);
        let withheld = broken.is_some();
        let Comparison { tallies, .. } = detector().compare(&protocol, &execution, &self.baseline);
        let tallies: Vec<Tally> = tallies.into_iter().map(|tally| Tally { withheld, ..tally }).collect();
        self.baseline.count(block, self.number, &tallies);
        if !withheld {
            let measures: Vec<Measure> = firsts.iter().map(|first| first.measure).collect();
            self.baseline.learn(block, self.number, &measures);
        }
        broken
    }

    fn has_learned(&self) -> bool {
        let aspect = self.aspect;
        let keys =
            [B256::ZERO, keccak256(b"books"), keccak256([COLLATERAL_VAULT.as_slice(), b"supply"].concat())];
        keys.into_iter().any(|key| self.baseline.most(aspect, key).is_some())
    }
}

fn detector() -> Invariants {
    InvariantsConfig { support_min: SUPPORT_MIN }.build().unwrap()
}

fn broken(bound: u64, found: u64) -> Option<(U256, U256)> {
    Some((U256::from(bound), U256::from(found)))
}

/// A vault that holds so many raw coins pays out some of them.
fn payout(held_raw: U256, paid_raw: U256) -> Script {
    let mut world = World::new();
    world.balances.insert((COIN_TOKEN, COLLATERAL_VAULT), held_raw);
    let mut script = Script::new(world, ALICE, COLLATERAL_VAULT);
    script.execution.frames[0].input = selector(2).to_vec().into();
    script.transfer(COIN, COLLATERAL_VAULT, ALICE, paid_raw);
    script
}

#[test]
fn a_larger_part_of_what_is_held_breaks_and_a_larger_amount_does_not() {
    let mut watched = Watched::after(Aspect::PaidOutShare, |_| payout(wad(10), wad(1)));
    assert_eq!(watched.next(payout(wad(1_000), wad(100))), None, "the same part of more");
    assert_eq!(watched.next(payout(wad(10), wad(9))), broken(1_000, 9_000));
    let mut watched = Watched::after(Aspect::TakenInShare, |_| deposit(ALICE, 1));
    assert_eq!(watched.next(redemption(ALICE, 9)), None, "the other way");
    assert_eq!(watched.next(deposit(ALICE, 8)), broken(1_000, 8_000));
}

#[test]
fn no_balance_makes_a_part_that_nothing_exceeds() {
    let large = U256::ONE << 200;
    for (held_raw, found) in [(U256::ZERO, None), (U256::from(9_999), None)] {
        let mut watched = Watched::after(Aspect::PaidOutShare, |_| payout(wad(10), wad(1)));
        assert_eq!(watched.next(payout(held_raw, large)), found);
    }
    let mut watched = Watched::after(Aspect::PaidOutShare, |_| payout(wad(10), wad(1)));
    assert_eq!(watched.next(payout(U256::from(10_000), large)), broken(1_000, 10_000));
    assert_eq!(watched.see(payout(wad(10), wad(9)).finish(&[])), None, "balances that were not read");
}

#[test]
fn balances_are_asked_once_and_not_without_end() {
    let protocol = World::protocol();
    let mut script = World::new().script();
    script.call(COLLATERAL_VAULT, 2, |s| {
        for number in 0..100u8 {
            let token = Asset::Token(Address::repeat_byte(number));
            s.transfer(token, COLLATERAL_VAULT, ALICE, wad(1));
            s.transfer(token, COLLATERAL_VAULT, BOB, wad(1));
        }
    });
    assert_eq!(detector().views(&protocol, &script.finish(&[])).len(), 64);
    let mut coins = World::new().script();
    coins.call(COLLATERAL_VAULT, 2, |_| {});
    let mut coins = coins.finish(&[]);
    let (seq, from, to) = (coins.frames[1].enter_seq, COLLATERAL_VAULT, ALICE);
    coins.transfers.push(Transfer { seq, frame: 1, asset: Asset::Native, from, to, amount_raw: wad(1) });
    let [call] = &detector().views(&protocol, &coins)[..] else { panic!("one balance") };
    assert_eq!((call, call.target), (&holding(Asset::Native, COLLATERAL_VAULT), MULTICALL3));
}

#[test]
fn a_supply_that_grows_by_more_at_once_breaks_and_a_higher_one_does_not() {
    let mut watched = Watched::after(Aspect::SupplyGrowth, |_| deposit(ALICE, 1));
    assert_eq!(watched.next(redemption(ALICE, 9)), None, "it shrinks");
    let mut world = World::new();
    world.supplies.insert(COLLATERAL_VAULT, wad(1_000));
    let mut high = Script::new(world, ALICE, COLLATERAL_VAULT);
    high.transfer(DSHARE, Address::ZERO, ALICE, wad(100));
    assert_eq!(watched.next(high), None, "a tenth of a hundred times as much");
    assert_eq!(watched.next(deposit(ALICE, 5)), broken(1_000, 5_000));
}

#[test]
fn the_first_supply_is_no_growth() {
    for supply in [U256::ZERO, U256::from(9_999)] {
        let mut watched = Watched::new(Aspect::SupplyGrowth);
        for _ in 0..60 {
            let mut world = World::new();
            world.supplies.insert(COLLATERAL_VAULT, supply);
            let mut script = Script::new(world, ALICE, COLLATERAL_VAULT);
            script.transfer(DSHARE, Address::ZERO, ALICE, U256::ONE << 200);
            assert_eq!(watched.next(script), None);
        }
        assert!(!watched.has_learned(), "{supply}");
    }
}

#[test]
fn an_argument_below_all_before_breaks_and_is_shown_as_it_is() {
    let past = || Watched::after(Aspect::ArgumentLeast, |number| deposit(ALICE, 2 + number % 5));
    assert_eq!(past().next(deposit(ALICE, 2)), None);
    assert_eq!(past().next(deposit(ALICE, 900)), None);
    let mut watched = past();
    let broken = watched.see(deposit(ALICE, 1).finish(&[])).unwrap();
    assert_eq!((broken.bound, broken.found), (wad(2), wad(1)));
    let text = broken.to_string();
    assert!(text.contains("least argument 1000000000000000000, at least 2000000000000000000 in"), "{text}");
}

#[test]
fn what_is_no_amount_has_no_least() {
    let with_word = |word: U256| {
        let mut script = deposit(ALICE, 1);
        script.execution.frames[0].input = [&selector(1)[..], &word.to_be_bytes::<32>()].concat().into();
        script
    };
    let past = || Watched::after(Aspect::ArgumentLeast, |_| deposit(ALICE, 3));
    assert_eq!(past().next(with_word(U256::MAX)), None);
    assert_eq!(past().next(with_word(U256::ONE << 128)), None);
    assert_eq!(past().next(with_word(U256::ZERO)), Some((wad(3), U256::ZERO)));
    let mut addresses = Watched::after(Aspect::ArgumentLeast, |_| with_word(U256::MAX));
    assert_eq!(addresses.next(with_word(U256::ONE)), None, "there is no least of what never was");
}

#[test]
fn a_second_transaction_of_a_sender_in_one_block_breaks() {
    let mut watched = Watched::after(Aspect::BlockEntries, |_| deposit(ALICE, 1));
    assert_eq!(watched.next(deposit(ALICE, 1)), None);
    assert_eq!(watched.same(deposit(BOB, 1)), None, "somebody else");
    assert_eq!(watched.same(deposit(ALICE, 1)), broken(1, 2));
    assert_eq!(watched.same(deposit(ALICE, 1)), broken(1, 3));
    assert_eq!(watched.next(deposit(ALICE, 1)), None, "the next block");
}

#[test]
fn senders_that_are_not_known_and_floods_of_entries_stay_within_bounds() {
    let mut watched = Watched::after(Aspect::BlockEntries, |_| deposit(ALICE, 1));
    let mut unknown = deposit(ALICE, 1).finish(&[]);
    unknown.detail = Detail::Entries;
    assert_eq!(watched.see(unknown), None, "in the block of the one before");
    let mut many = World::new().script();
    for _ in 0..300 {
        many.call(COLLATERAL_VAULT, 2, |_| {});
    }
    assert_eq!(watched.next(many), broken(1, 64));
}

/// A deposit at the answers of a feed.
fn priced(answers: &[U256]) -> Script {
    let mut script = deposit(ALICE, 1);
    for answer in answers {
        script.frame(FrameKind::StaticCall, FEED, &[0x50, 0xd2, 0x5b, 0xcd], |_| {});
        let asked = script.execution.frames.last_mut().unwrap();
        asked.output = answer.to_be_bytes::<32>().to_vec().into();
    }
    script
}

#[test]
fn a_price_that_moves_further_than_ever_breaks_even_within_a_transaction() {
    let price = |price: u64| U256::from(price);
    let past = || {
        let around = |number: u64| priced(&[price(100_000 + number % 3 * 500)]);
        Watched::after(Aspect::AnswerMove, around)
    };
    // The last one was 101,000, and it had moved by 99 basis points at most, down from there.
    assert_eq!(past().next(priced(&[price(102_000)])), None);
    let mut watched = past();
    assert_eq!(watched.next(priced(&[price(151_500)])), broken(99, 5_000));
    assert_eq!(watched.next(priced(&[price(101_000)])), None, "the attack's answer is no ordinary one");
    let there_and_back = [price(101_000), price(50_500), price(101_000)];
    assert_eq!(past().next(priced(&there_and_back)), broken(99, 10_000));
}

#[test]
fn no_answer_breaks_the_comparison() {
    let mut watched = Watched::after(Aspect::AnswerMove, |_| priced(&[U256::from(100_000)]));
    for nonsense in [U256::ZERO, U256::MAX, U256::ONE << 255] {
        assert_eq!(watched.next(priced(&[nonsense])), None, "not above zero, which `oracle` judges");
    }
    let mut short = priced(&[U256::ONE]);
    short.execution.frames.last_mut().unwrap().output = vec![1; 31].into();
    assert_eq!(watched.next(short), None);
    let largest = U256::MAX >> 1;
    assert_eq!(watched.next(priced(&[largest])), broken(0, u64::from(u32::MAX)));
}

#[test]
fn a_loss_by_the_books_breaks_though_it_is_below_all_thresholds() {
    let mut watched = Watched::after(Aspect::BookLoss, |number| redemption(ALICE, 1 + number % 5));
    assert_eq!(watched.next(redemption(ALICE, 9)), None);
    // One coin of a hundred dollars too much, of 301,000 that are held.
    assert_eq!(watched.next(exchange(ALICE, 5, wad(6))), broken(0, 3));
    assert_eq!(watched.next(exchange(ALICE, 5, wad(4))), None, "a gain");
}

#[test]
fn books_that_cannot_be_read_say_nothing() {
    let mut watched = Watched::new(Aspect::BookLoss);
    for _ in 0..60 {
        assert_eq!(watched.see(exchange(ALICE, 5, wad(5)).finish(&[])), None);
    }
    assert!(!watched.has_learned());
    let mut watched = Watched::after(Aspect::BookLoss, |_| redemption(ALICE, 1));
    assert!(watched.has_learned());
    let set = DetectorSet::new(vec![Box::new(detector())], vec![World::protocol()]);
    let mut unread = exchange(ALICE, 5, wad(9)).judged_by(&set);
    unread.views.iter_mut().for_each(|reading| reading.after = None);
    assert_eq!(watched.see(unread), None);
}
