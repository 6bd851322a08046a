//! Invariants that hold for long and break, and those that never were.

use super::*;
use crate::testing::*;
use cordon_model::execution::FrameKind;
use cordon_model::units::BlockRef;

mod templates;

/// A protocol with a past, which learns from every ordinary transaction.
struct Past {
    baseline: Baseline,
}

impl Past {
    /// So many deposits and redemptions by accounts, one share a coin.
    fn of(uses: u64) -> Self {
        let mut past = Self { baseline: Baseline::default() };
        for number in 0..uses {
            let units = 1 + number % 7;
            let found =
                past.see(if number % 2 == 0 { deposit(ALICE, units) } else { redemption(ALICE, units) });
            assert_eq!(found, None, "after {number} uses");
        }
        past
    }

    fn judge(&self, script: Script) -> Comparison {
        self.compare(&script.finish(&[]))
    }

    fn compare(&self, execution: &Execution) -> Comparison {
        let config = InvariantsConfig { support_min: 40 };
        config.build().unwrap().compare(&World::protocol(), execution, &self.baseline)
    }

    /// The score and what is broken; learned if it is nothing.
    fn see(&mut self, script: Script) -> Option<(Score, Vec<Aspect>)> {
        let execution = script.finish(&[]);
        let compared = self.compare(&execution);
        compared.pass_into(&mut self.baseline, &execution, !compared.findings.is_empty());
        if let Some(finding) = compared.findings.first() {
            let Evidence::Sign(Sign::Broken(broken)) = &finding.evidence else { panic!("{finding:?}") };
            return Some((finding.score, broken.invariants.iter().map(|one| one.aspect).collect()));
        }
        None
    }
}

fn amount(units: u64) -> [u8; 32] {
    wad(units).to_be_bytes()
}

/// The account calls the vault itself, with the amount as argument.
fn direct(user: Address, function: u8, units: u64, inside: impl FnOnce(&mut Script)) -> Script {
    let mut script = Script::new(World::new(), user, COLLATERAL_VAULT);
    script.execution.frames[0].input = [&selector(function)[..], &amount(units)].concat().into();
    inside(&mut script);
    script
}

fn deposit(user: Address, units: u64) -> Script {
    direct(user, 1, units, |s| {
        s.transfer(COIN, user, COLLATERAL_VAULT, wad(units));
        s.transfer(DSHARE, Address::ZERO, user, wad(units));
    })
}

/// So many shares for as many coins.
fn redemption(user: Address, units: u64) -> Script {
    exchange(user, units, wad(units))
}

fn exchange(user: Address, shares: u64, coins: U256) -> Script {
    direct(user, 2, shares, |s| {
        s.transfer(DSHARE, user, Address::ZERO, wad(shares));
        s.transfer(COIN, COLLATERAL_VAULT, user, coins);
    })
}

/// A contract of the sender calls the redemption with this argument and gets so many coins for nothing.
fn by_contract(argument: u64, coins: u64) -> Script {
    let mut script = World::new().script();
    let input = [&selector(2)[..], &amount(argument)].concat();
    script.frame(FrameKind::Call, COLLATERAL_VAULT, &input, |s| {
        s.transfer(COIN, COLLATERAL_VAULT, CONTROLLER, wad(coins));
    });
    script
}

#[test]
fn somebody_new_with_something_new_for_nothing_opens_an_incident() {
    let (score, broken) = Past::of(100).see(by_contract(90, 9)).unwrap();
    assert_eq!(score, ALARM);
    for aspect in [Aspect::CalledByContract, Aspect::Argument, Aspect::PaidOut, Aspect::PaidForNothing] {
        assert!(broken.contains(&aspect), "{aspect}: {broken:?}");
    }
}

#[test]
fn the_finding_says_how_established_each_is() {
    let comparison = Past::of(100).judge(by_contract(90, 9));
    let Evidence::Sign(Sign::Broken(broken)) = &comparison.findings[0].evidence else { panic!() };
    let contract = broken.invariants.iter().find(|one| one.aspect == Aspect::CalledByContract).unwrap();
    assert_eq!((contract.support, contract.function), (49, Some(selector(2))));
    assert_eq!(contract.confidence_permille(), 980);
    let text = comparison.findings[0].evidence.to_string();
    assert!(text.contains("called by a contract (1), never in 49 uses (980 per mille)"), "{text}");
}

/// The near misses: a large redemption by an account, a contract that redeems as everybody does, a young protocol.
#[test]
fn one_kind_alone_is_ordinary() {
    assert_eq!(Past::of(100).see(redemption(ALICE, 90)).map(|(score, _)| score), Some(LARGE));
    let mut plain = World::new().script();
    let input = [&selector(2)[..], &amount(3)].concat();
    plain.frame(FrameKind::Call, COLLATERAL_VAULT, &input, |s| {
        s.transfer(DSHARE, CONTROLLER, Address::ZERO, wad(3));
        s.transfer(COIN, COLLATERAL_VAULT, CONTROLLER, wad(3));
    });
    assert_eq!(Past::of(100).see(plain), None);
    assert_eq!(Past::of(60).see(by_contract(90, 9)), None, "30 uses of the function");
}

#[test]
fn the_price_of_a_share_does_not_fall_or_leap() {
    let mut past = Past::of(100);
    let fall = past.see(exchange(ALICE, 5, wad(5) - wad(1))).unwrap();
    assert_eq!(fall, (JOINT, vec![Aspect::SharePriceFall]));
    let leap = past.see(exchange(ALICE, 5, wad(6))).unwrap();
    assert_eq!(leap, (JOINT, vec![Aspect::SharePriceRise]));
}

/// The benign twin: yield, which arrives all the time, and a fee on the way out.
#[test]
fn yield_and_fees_become_the_bound() {
    let mut past = Past { baseline: Baseline::default() };
    for number in 0..200u64 {
        let coins = wad(5) * U256::from(10_000 + number * 2) / U256::from(10_000);
        let fee = coins / U256::from(200);
        assert_eq!(past.see(exchange(ALICE, 5, coins - fee)), None, "{number}");
    }
    let rising = wad(5) * U256::from(10_400) / U256::from(10_000);
    assert_eq!(past.see(exchange(ALICE, 5, rising - rising / U256::from(200))), None);
}

/// A counter or a deadline has no support, so that it is never an invariant.
#[test]
fn what_is_exceeded_all_the_time_is_no_invariant() {
    let mut past = Past { baseline: Baseline::default() };
    for number in 0..300u64 {
        let script =
            direct(ALICE, 9, 1_000 + number, |s| s.transfer(COIN, COLLATERAL_VAULT, ALICE, wad(number + 1)));
        assert_eq!(past.see(script), None, "{number}");
    }
}

/// Hostile input: calldata that ends early, words at the edge, hundreds of entries, and calls that were undone.
#[test]
fn no_calldata_breaks_the_bounds() {
    let past = Past::of(100);
    for input in [&[][..], &[1, 2, 3], &[0xaa, 0, 0, 2, 1], &[0xff; 4_000]] {
        let mut script = World::new().script();
        script.frame(FrameKind::Call, COLLATERAL_VAULT, input, |_| {});
        assert!(past.judge(script).findings.iter().all(|finding| finding.score < ALARM));
    }
    let mut many = World::new().script();
    for _ in 0..300 {
        many.call(COLLATERAL_VAULT, 2, |_| {});
    }
    assert!(!past.judge(many).findings.is_empty(), "more entries than ever, by a contract");
    let mut undone = by_contract(90, 9);
    undone.execution.frames.iter_mut().for_each(|frame| frame.reverted = true);
    assert_eq!(past.judge(undone), Comparison::default());
}

#[test]
fn a_support_that_says_nothing_is_refused() {
    let error = InvariantsConfig { support_min: 9 }.build().unwrap_err().to_string();
    assert_eq!(error, "invariants.support_min = '9': expected a number of uses from 10 on");
}
