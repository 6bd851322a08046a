//! Rules that count, sum and tell apart, over several transactions.

use crate::detector::{Comparison, Detector as _};
use crate::rules::{RuleSet, UserRules};
use crate::testing::*;
use alloy_primitives::{Address, B256, U256};
use cordon_model::baseline::Baseline;
use cordon_model::finding::Evidence;
use cordon_model::finding::sign::Sign;
use cordon_model::units::BlockRef;
use std::sync::Arc;

fn rules(text: &str) -> UserRules {
    UserRules::new(vec![Arc::new(RuleSet::parse("rules.toml", text).unwrap())])
}

fn refused(text: &str) -> String {
    RuleSet::parse("rules.toml", text).unwrap_err()[0].to_string()
}

/// A rule with a window, around what varies.
fn rule(window: &str, tests: &str) -> String {
    format!(
        "[[rule]]\nid = 'w'\ntitle = 'too much'\nclass = 'test'\nscore = 700\nwhen = 'calls.exists(c, c.protected)'\n\
         [rule.window]\n{window}\n{tests}"
    )
}

/// Judges transactions of these senders that take so many dollars each, a minute apart; the scores by transaction.
fn scores(rules: &UserRules, takings: &[(Address, u64)]) -> Vec<u16> {
    let mut baseline = Baseline::default();
    let mut judge = |(number, (sender, dollars)): (u64, &(Address, u64))| {
        let mut script = Script::new(World::new(), *sender, CONTROLLER);
        script.call(LENDING_VAULT, 1, |_| {});
        script.transfer(USD, LENDING_VAULT, *sender, wad(*dollars));
        let mut execution = script.finish(&[]);
        execution.timestamp_s += number * 60;
        let Comparison { findings, tallies, gaps, .. } =
            rules.compare(&World::protocol(), &execution, &baseline);
        assert!(gaps.is_empty(), "{gaps:?}");
        let block = BlockRef { number, hash: B256::from(U256::from(number)) };
        baseline.count(block, execution.timestamp_s, &tallies);
        assert!(rules.inspect(&World::protocol(), &execution).is_empty(), "a transaction alone says nothing");
        findings.first().map_or(0, |finding| finding.score.0)
    };
    (0..).zip(takings).map(&mut judge).collect()
}

#[test]
fn transactions_are_counted_within_the_window() {
    let two_minutes = rules(&rule("seconds = 120\nabove = '1'", ""));
    assert_eq!(scores(&two_minutes, &[(ALICE, 1); 3]), [0, 700, 700]);
    let hour = rules(&rule("seconds = 3600\nabove = '2'", ""));
    assert_eq!(scores(&hour, &[(ALICE, 1); 4]), [0, 0, 700, 700]);
}

#[test]
fn each_sender_has_a_window_of_his_own() {
    let rules = rules(&rule("seconds = 600\nby = 'tx.from'\nabove = '1'", ""));
    assert_eq!(scores(&rules, &[(ALICE, 1), (BOB, 1), (ALICE, 1), (BOB, 1)]), [0, 0, 700, 700]);
}

#[test]
fn amounts_are_summed_and_the_limit_may_be_computed() {
    let sum = "seconds = 600\nsum = 'sum(transfers.filter(t, protects(t.from)).map(t, t.amount))'";
    let rules = rules(&rule(&format!("{sum}\nabove = 'ether(\"50\") + ether(\"50\")'"), ""));
    assert_eq!(scores(&rules, &[(ALICE, 60), (BOB, 40), (ALICE, 1)]), [0, 0, 700]);
}

#[test]
fn different_values_are_counted_once() {
    let rules = rules(&rule("seconds = 600\ndistinct = 'tx.from'\nabove = '1'", ""));
    assert_eq!(scores(&rules, &[(ALICE, 1), (ALICE, 1), (BOB, 1), (ALICE, 1)]), [0, 0, 700, 700]);
}

#[test]
fn the_finding_says_how_much_of_whom() {
    let rules = rules(&rule("seconds = 600\nby = 'tx.from'\nabove = '0'", ""));
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 1, |_| {});
    let compared = rules.compare(&World::protocol(), &script.finish(&[]), &Baseline::default());
    let [finding] = &compared.findings[..] else { panic!("one more than none") };
    let Evidence::Sign(Sign::Counted(counted)) = &finding.evidence else { panic!("{:?}", finding.evidence) };
    assert_eq!((counted.total, counted.limit, counted.window_s), (U256::ONE, U256::ZERO, 600));
    assert_eq!(counted.by.as_ref().map(|by| by.to_vec()), Some(ALICE.to_vec()));
    assert_eq!(finding.detector, "rules");
}

#[test]
fn a_rule_that_changes_counts_anew() {
    let key = |seconds: u32| {
        let rules = rules(&rule(&format!("seconds = {seconds}\nabove = '0'"), ""));
        let mut script = World::new().script();
        script.call(LENDING_VAULT, 1, |_| {});
        rules.compare(&World::protocol(), &script.finish(&[]), &Baseline::default()).tallies[0].key
    };
    assert_eq!(key(600), key(600));
    assert_ne!(key(600), key(601));
}

#[test]
fn tests_of_a_file_say_what_was_counted_before() {
    let tests = |earlier: &str, expect: bool| {
        format!(
            "[[rule.test]]\nname = 't'\nexpect = {expect}\ncalls = [{{ function = 'f()' }}]\nearlier = [{earlier}]"
        )
    };
    let window = "seconds = 600\nby = 'tx.from'\nabove = '3'";
    rules(&rule(window, &tests("{ seconds_ago = 599, times = 3 }", true)));
    rules(&rule(window, &tests("{ seconds_ago = 600, times = 3 }", false)));
    rules(&rule(window, &tests("{ seconds_ago = 5, times = 3, by = '0xbb' }", false)));
    let distinct = "seconds = 600\ndistinct = 'tx.from'\nabove = '1'";
    rules(&rule(distinct, &tests("{ seconds_ago = 5, value = '0xbb' }", true)));
    rules(&rule(distinct, &tests("{ seconds_ago = 5, value = '0xaa' }", false)));
    let failed = refused(&rule(window, &tests("{ seconds_ago = 5, times = 3 }", false)));
    assert!(failed.contains("the rule holds, expected that it does not hold"), "{failed}");
}

#[test]
fn what_cannot_be_counted_is_refused_by_key() {
    let error = |window: &str| refused(&rule(window, ""));
    assert!(error("seconds = 5\nabove = '1'").contains("window.seconds 5: expected 60 to 604800"));
    let both = "seconds = 60\nabove = '1'\nsum = 'tx.value'\ndistinct = 'tx.from'";
    assert!(error(both).contains("expected sum or distinct, not both"));
    assert!(error("seconds = 60\nabove = 'tx.from'").contains("expected an amount or a number"));
    assert!(
        error("seconds = 60\nabove = '1'\nby = 'tx.value'").contains("this gives an amount, expected hex")
    );
    let column = error("seconds = 60\nabove = '1'\nsum = 'tx.valeu'");
    assert!(column.contains("line 10, column 10") && column.contains("tx has no 'valeu'"), "{column}");
    assert!(error("seconds = 60").contains("above"));
}
