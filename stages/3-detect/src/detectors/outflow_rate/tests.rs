//! A past of withdrawals, and what leaves beside it.

use super::*;
use crate::testing::*;
use cordon_model::units::BlockRef;

/// A protocol with a past, which learns from every ordinary transaction that it is shown.
struct Past {
    baseline: Baseline,
    detector: OutflowRate,
    number: u64,
    now_s: u64,
}

impl Past {
    fn new() -> Self {
        let detector = OutflowRateConfig::default().build().unwrap();
        Self { baseline: Baseline::default(), detector, number: 0, now_s: 1_700_000_000 }
    }

    /// Withdrawals of 1,000 dollars, ten minutes apart: 6,000 in an hour, 144,000 in a day.
    fn of(transactions: u64) -> Self {
        let mut past = Self::new();
        for _ in 0..transactions {
            assert_eq!(past.withdraw(600, 1_000), []);
        }
        past
    }

    fn withdraw(&mut self, later_s: u64, dollars: u64) -> Vec<Score> {
        let mut script = World::new().script();
        script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(dollars));
        self.see(later_s, script, true)
    }

    /// The scores for a transaction that comes so much later.
    fn see(&mut self, later_s: u64, script: Script, with_views: bool) -> Vec<Score> {
        let protocol = World::protocol();
        let views = self.detector.views(&protocol, &script.execution);
        let execution = script.finish(if with_views { &views } else { &[] });
        let found = self.compare(later_s, execution);
        found.iter().map(|finding| finding.score).collect()
    }

    fn compare(&mut self, later_s: u64, mut execution: Execution) -> Vec<Finding> {
        (self.number, self.now_s) = (self.number + 1, self.now_s + later_s);
        let block = BlockRef { number: self.number, hash: B256::from(U256::from(self.number)) };
        (execution.tx.block, execution.timestamp_s) = (block, self.now_s);
        let compared = self.detector.compare(&World::protocol(), &execution, &self.baseline);
        compared.pass_into(&mut self.baseline, &execution, !compared.findings.is_empty());
        compared.findings
    }
}

#[test]
fn twice_the_most_and_a_tenth_of_what_was_held_opens_an_incident() {
    let mut past = Past::of(200);
    let mut script = World::new().script();
    script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(100_000));
    let views = past.detector.views(&World::protocol(), &script.execution);
    let [finding] = &past.compare(600, script.finish(&views))[..] else { panic!("one asset left") };
    let expected =
        Outflow { asset: USD, window_s: 3_600, amount_raw: wad(105_000), most_raw: wad(6_000), times: 33 };
    assert_eq!(finding.evidence, Evidence::Sign(Sign::Outflow(expected)));
    assert_eq!((finding.contract, finding.score), (LENDING_VAULT, ALARM));
}

#[test]
fn a_drain_by_small_transactions_adds_up() {
    let mut past = Past::of(200);
    let alarms: Vec<usize> = (0..60).filter(|_| past.withdraw(12, 1_000) == [ALARM]).collect();
    // The sixth still fits twice the hour's most; a tenth of the 300,000 that are held must have gone as well.
    assert!(alarms.first().is_some_and(|first| (20..40).contains(first)), "{alarms:?}");
    assert!(alarms.len() > 20, "what alarmed counts in the window as well: {alarms:?}");
}

/// The near misses: just below twice the most; a record that is a small part of what is held; a short past.
#[test]
fn records_alone_are_ordinary() {
    assert_eq!(Past::of(200).withdraw(600, 7_000), [], "12,000 in an hour");
    assert_eq!(Past::of(200).withdraw(600, 20_000), [], "less than a tenth of 300,000");
    assert_eq!(Past::of(170).withdraw(600, 100_000), [], "nothing is learned of 28 hours");
}

/// The benign twins: what came in within the window, in the same transaction or another, and the protocol's own shares.
#[test]
fn what_came_in_is_taken_off() {
    let mut past = Past::of(200);
    let mut deposit = World::new().script();
    deposit.transfer(USD, CONTROLLER, LENDING_VAULT, wad(100_000));
    assert_eq!(past.see(60, deposit, true), []);
    assert_eq!(past.withdraw(600, 100_000), []);
    let mut both = World::new().script();
    both.transfer(USD, LENDING_VAULT, CONTROLLER, wad(100_000));
    both.transfer(USD, CONTROLLER, LENDING_VAULT, wad(100_001));
    both.transfer(LSHARE, LENDING_VAULT, CONTROLLER, wad(200_000));
    assert_eq!(past.see(60, both, true), []);
    let mut inside = World::new().script();
    inside.transfer(USD, LENDING_VAULT, COLLATERAL_VAULT, wad(100_000));
    assert_eq!(past.see(60, inside, true), []);
}

#[test]
fn without_the_balance_it_wakes_nobody() {
    let mut past = Past::of(200);
    let mut script = World::new().script();
    script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(100_000));
    assert_eq!(past.see(600, script, false), [UNSURE]);
}

#[test]
fn balances_of_coins_are_asked_of_multicall() {
    let mut execution = World::new().script().finish(&[]);
    execution.transfers = vec![cordon_model::execution::Transfer {
        seq: 1,
        frame: 0,
        asset: Asset::Native,
        from: LENDING_VAULT,
        to: BOB,
        amount_raw: wad(1),
    }];
    let detector = OutflowRateConfig::default().build().unwrap();
    let [call] = &detector.views(&World::protocol(), &execution)[..] else { panic!("one contract paid") };
    assert_eq!(call.target, crate::valuation::MULTICALL3);
    assert_eq!(call.input[..4], keccak256("getEthBalance(address)")[..4]);
    assert_eq!(call.input[4..], argument(LENDING_VAULT));
}

#[test]
fn a_day_has_a_limit_of_its_own() {
    let mut past = Past::new();
    let findings: usize = (0..24 * 32).map(|_| past.withdraw(3_600, 1_000).len()).sum();
    assert_eq!(findings, 0);
    let alarms: Vec<usize> = (0..60).filter(|_| past.withdraw(1_800, 1_999) == [ALARM]).collect();
    assert!(alarms.first().is_some_and(|first| (20..40).contains(first)), "{alarms:?}");
}

#[test]
fn an_alarm_teaches_nothing() {
    let mut past = Past::of(200);
    assert_eq!(past.withdraw(600, 100_000), [ALARM]);
    assert_eq!(past.withdraw(100_000, 100_000), [ALARM], "a day later the limit is what it was");
}

/// Hostile input: amounts at the edge of a word.
#[test]
fn no_amount_breaks_the_sums() {
    let mut past = Past::of(200);
    let mut execution = World::new().script().finish(&[]);
    let moved = |from, to| cordon_model::execution::Transfer {
        seq: 1,
        frame: 0,
        asset: USD,
        from,
        to,
        amount_raw: U256::MAX,
    };
    execution.transfers =
        vec![moved(LENDING_VAULT, BOB), moved(LENDING_VAULT, BOB), moved(BOB, LENDING_VAULT)];
    assert_eq!(past.compare(60, execution), []);
    assert_eq!(past.withdraw(60, 1_000), []);
}

#[test]
fn an_unusable_configuration_is_refused_by_key() {
    let default = OutflowRateConfig::default;
    let wrong = |config: OutflowRateConfig| config.build().unwrap_err().to_string();
    let error = wrong(OutflowRateConfig { windows_s: vec![3_600, 5], ..default() });
    assert!(error.starts_with("outflow-rate.windows_s = '[3600, 5]'"), "{error}");
    assert!(wrong(OutflowRateConfig { times_min: 0, ..default() }).contains("times_min = '0'"));
    assert!(wrong(OutflowRateConfig { share_min_bps: Bps(0), ..default() }).contains("share_min_bps = '0'"));
}
