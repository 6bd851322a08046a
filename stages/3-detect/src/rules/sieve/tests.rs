//! A rule with its conditions taken out judges as it does without.

use super::super::formula::Formula;
use super::super::functions::environment;
use super::super::tests::{load, strike};
use super::super::{literals, shortcuts, types};
use super::*;
use crate::testing::{ALICE, BOB, LENDING_VAULT, World, wad};
use cordon_model::execution::{Execution, Transfer};
use cordon_model::units::Asset;
use proptest::prelude::*;
use std::sync::Arc;

/// Conditions in every form that is taken out, some of which fail with an error on some elements.
const RULES: [&str; 19] = [
    "transfers.exists(t, protects(t.from) && t.amount > 5)",
    "transfers.exists(t, !protects(t.from) && !(t.amount > 5))",
    "transfers.exists(t, t.amount <= 3 && t.to == tx.from && !t.native)",
    "transfers.exists(t, 5 > t.amount && t.amount >= u('2') && t.amount != 3)",
    "transfers.exists(t, t.amount == 3) || transfers.exists(t, t.native && t.amount == 7)",
    "transfers.exists(t, t.native) && transfers.exists(t, !t.native)",
    "transfers.exists_one(t, t.native && t.amount > 2)",
    "transfers.exists_one(t, t.to in ['0xa11ce00000000000000000000000000000000001'])",
    "size(transfers.filter(t, protects(t.to) && t.amount % 2 == 1)) == 2",
    "size(transfers.filter(t, protects(t.to))) * 2 > size(transfers.filter(t, !protects(t.to)))",
    "sum(transfers.filter(t, t.native).map(t, t.amount)) > u('9')",
    "sum(transfers.filter(t, t.native).map(t, t.amount + 1)) > 9",
    "transfers.filter(t, t.native).exists(t, t.amount == 2)",
    "transfers.map(t, t.native && t.amount < 4, t.amount).exists(a, a == 3)",
    // A division by zero, before and behind what is taken out.
    "transfers.exists(t, u('12') / t.amount == 4 && t.native)",
    "transfers.exists(t, t.native && u('12') / t.amount == 4)",
    "transfers.all(t, u('12') / t.amount < 7 || t.native)",
    "calls.exists(c, c.kind == 'delegatecall' && !c.protected) || transfers.exists(t, t.amount == 1)",
    "logs.exists(l, l.topic0 != event('A()') && l.protected && transfers.exists(t, t.native && t.from == l.address))",
];

/// A rule, with everything left where it was written or with conditions taken out.
fn rule(when: &str, is_sieved: bool) -> Formula {
    let program = environment().unwrap().compile(when).unwrap();
    let mut expression = program.expression().clone();
    let mut constants = literals::lift(&mut expression).unwrap();
    types::check(&expression, &constants, types::Wanted::YesNo).unwrap();
    let gates = if is_sieved { take(&mut expression, &mut constants) } else { Gates::new() };
    shortcuts::take(&mut expression);
    Formula { expression, constants, gates, beyond_calls: None }
}

fn moves(moved: &[(u8, bool, u8, u8)]) -> Execution {
    let account = |number: u8| [ALICE, BOB, LENDING_VAULT][usize::from(number % 3)];
    let transfers = moved.iter().map(|(amount, is_native, from, to)| Transfer {
        seq: 0,
        frame: 0,
        asset: if *is_native { Asset::Native } else { Asset::Token(BOB) },
        from: account(*from),
        to: account(*to),
        amount_raw: U256::from(*amount),
    });
    Execution { transfers: transfers.collect(), ..strike() }
}

#[test]
fn conditions_are_taken_out_of_these_rules() {
    let sieves = |when: &str| {
        let set = load(when).unwrap();
        let taken = |constant: &&Constant| matches!(constant, Constant::Sieve(_) | Constant::Total(..));
        (set.rules[0].constants().filter(taken).count(), set.rules[0].when.gates.clone())
    };
    let total = "sum(transfers.filter(t, protects(t.from) && !protects(t.to)).map(t, t.amount)) > ether('1')";
    assert_eq!(sieves(total), (2, vec![]));
    assert!(!format!("{:?}", load(total).unwrap().rules[0].when.expression).contains("Comprehension"));
    assert_eq!(sieves("changes.exists(c, c.protected && c.slot == slot('a'))"), (1, vec![vec![1]]));
    assert_eq!(
        sieves("tx.success && (calls.exists(c, c.static) || logs.exists(l, l.protected))"),
        (2, vec![vec![0, 1]])
    );
    assert_eq!(sieves("tx.success || logs.exists(l, l.protected)"), (1, vec![]));
    for when in [
        "transfers.all(t, t.native)",
        "transfers.exists(t, t.native || t.amount > 5)",
        "transfers.exists(t, t.from == t.to)",
        // Of a loop whose variable is called like a list nothing is known.
        "transfers.exists(logs, logs.native)",
        "calls.exists(protocol, protocol.protected && transfers.exists(t, t.native))",
    ] {
        assert_eq!(sieves(when), (0, vec![]), "{when}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_rule_judges_as_it_was_written(moved in prop::collection::vec((0u8..8, any::<bool>(), 0u8..3, 0u8..3), 0..6)) {
        let (protocol, execution) = (World::protocol(), moves(&moved));
        let env = Arc::new(environment().unwrap().with_optional_support(false));
        for when in RULES {
            let facts = Facts::new(&protocol, &execution);
            let written = rule(when, false).holds(&env, &facts);
            let sieved = rule(when, true).holds(&env, &facts);
            prop_assert_eq!(written.is_err(), sieved.is_err(), "{}: {:?} {:?}", when, written, sieved);
            prop_assert_eq!(written.ok(), sieved.ok(), "{}", when);
        }
    }
}

/// A sieve is not a way round the bound: what it passes over counts, if less.
#[test]
fn loops_over_sieves_end() {
    let moved = Transfer { amount_raw: wad(1), ..strike().transfers[0].clone() };
    let execution = Execution { transfers: vec![moved; super::super::LIST_MAX], ..strike() };
    let protocol = World::protocol();
    let facts = Facts::new(&protocol, &execution);
    let set = load("transfers.all(a, !transfers.exists(b, b.native && b.from == a.to))").unwrap();
    assert!(
        set.rules[0].when.holds(&set.env, &facts).unwrap_err().contains("it walks more than 100000 elements")
    );
    let set = load("transfers.exists(b, b.native && b.from == b.to)").unwrap();
    assert_eq!(set.rules[0].when.holds(&set.env, &facts), Ok(false));
}
