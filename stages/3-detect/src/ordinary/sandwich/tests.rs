//! Sandwiches, what only looks like one, and what hides behind one.

use super::*;
use crate::detector::Statement;
use crate::testing::*;
use alloy_primitives::{Bytes, address};
use cordon_model::execution::{FrameKind, Transfer};
use cordon_model::finding::{AttackClass, Score};

const POOL: Address = address!("aaaa000000000000000000000000000000000001");
const BOT: Address = address!("b000000000000000000000000000000000000007");
const ROUTER: Address = address!("0000000000000000000000000000000000000099");
const SWAPPED: &str = "Swap(address,uint256,uint256,uint256,uint256,address)";
const SWAP: &str = "swap(uint256,uint256,address,bytes)";

fn pay(script: &mut Script, asset: Asset, from: Address, to: Address, amount: u64) {
    let transfer = Transfer { seq: 0, frame: 0, asset, from, to, amount_raw: wad(amount) };
    script.execution.transfers.push(transfer);
}

/// A trade of dollars for coins, or of coins for dollars, in the pool.
fn trade(from: Address, to: Address, buys: bool, given: u64, taken: u64) -> Script {
    let mut script = Script::new(World::new(), from, to);
    let (gives, takes) = if buys { (USD, COIN) } else { (COIN, USD) };
    pay(&mut script, gives, to, POOL, given);
    let input = keccak256(SWAP)[..4].to_vec();
    script.frame(FrameKind::Call, POOL, &input, |script| {
        pay(script, takes, POOL, to, taken);
        let amounts = if buys { [given, 0, 0, taken] } else { [0, given, taken, 0] };
        let data: Vec<u8> = amounts.iter().flat_map(|amount| wad(*amount).to_be_bytes::<32>()).collect();
        script.log(SWAPPED, &[], &data);
    });
    script
}

fn block(scripts: Vec<Script>) -> Vec<Execution> {
    scripts.into_iter().map(|script| script.finish(&[])).collect()
}

fn front() -> Script {
    trade(ALICE, BOT, true, 1_000, 10)
}

fn victim() -> Script {
    trade(BOB, ROUTER, true, 500, 4)
}

fn back(given: u64) -> Script {
    trade(ALICE, BOT, false, given, 1_050)
}

fn found(scripts: Vec<Script>) -> Vec<(Address, usize, Vec<usize>, usize)> {
    let found = sandwiches(&block(scripts));
    found.into_iter().map(|one| (one.actor, one.front, one.victims, one.back)).collect()
}

#[test]
fn a_trade_around_others_is_a_sandwich() {
    let whole = found(vec![front(), victim(), victim(), back(10)]);
    assert_eq!(whole, [(ALICE, 0, vec![1, 2], 3)]);
    let by_contract = found(vec![front(), victim(), trade(CHILD, BOT, false, 10, 1_050)]);
    assert_eq!(by_contract, [(BOT, 0, vec![1], 2)], "another sender of the same contract");
    let twice = found(vec![front(), victim(), back(10), front(), victim(), back(10)]);
    assert_eq!(twice, [(ALICE, 0, vec![1], 2), (ALICE, 3, vec![4], 5)]);
}

/// The near misses.
#[test]
fn without_a_victim_or_with_other_amounts_or_ways_there_is_none() {
    assert_eq!(found(vec![front(), back(10)]), []);
    assert_eq!(found(vec![front(), trade(BOB, ROUTER, false, 4, 500), back(10)]), [], "the other way");
    assert_eq!(found(vec![front(), victim(), trade(ALICE, BOT, true, 1_000, 9)]), [], "twice the same way");
    assert_eq!(found(vec![back(10), victim(), trade(CHILD, ROUTER, false, 10, 900)]), [], "somebody else");
    let given = [8, 9, 10, 11, 12].map(|given| found(vec![front(), victim(), back(given)]).len());
    assert_eq!(given, [0, 1, 1, 1, 0], "a tenth more or less");
}

/// The benign twin: users of one router.
#[test]
fn users_of_one_router_do_not_sandwich_each_other() {
    let first = || trade(ALICE, ROUTER, true, 1_000, 10);
    let last = || trade(CHILD, ROUTER, false, 10, 1_050);
    assert_eq!(found(vec![first(), victim(), last()]), []);
    let failed = {
        let mut execution = front().finish(&[]);
        execution.status = cordon_model::execution::Status::Revert { output: Bytes::new() };
        [execution, victim().finish(&[]), back(10).finish(&[])]
    };
    assert_eq!(sandwiches(&failed), []);
}

#[test]
fn signed_amounts_and_markets_within_a_vault_are_told_apart() {
    let shared = "Swap(bytes32,address,int128,int128,uint160,uint128,int24,uint24)";
    let word = |amount: i64| I256::try_from(amount).unwrap().into_raw().to_be_bytes::<32>();
    let swapped = |from: Address, to: Address, event: &str, market: Address, amounts: [i64; 2]| {
        let mut script = Script::new(World::new(), from, to);
        let data = [word(amounts[0]), word(amounts[1])].concat();
        script.call(POOL, 1, |script| script.log(event, &[market], &data));
        script
    };
    let run = |event: &str, markets: [Address; 3]| {
        let [a, b, c] = markets;
        found(vec![
            swapped(ALICE, BOT, event, a, [100, -10]),
            swapped(BOB, ROUTER, event, b, [50, -4]),
            swapped(ALICE, BOT, event, c, [-105, 10]),
        ])
        .len()
    };
    let other = address!("00000000000000000000000000000000000000a2");
    assert_eq!(run("Swap(address,address,int256,int256,uint160,uint128,int24)", [POOL; 3]), 1);
    assert_eq!(run(shared, [POOL; 3]), 1);
    assert_eq!((run(shared, [POOL, other, POOL]), run(shared, [POOL, POOL, other])), (0, 0));
}

/// Hostile input.
#[test]
fn torn_logs_and_extreme_amounts_are_no_trade() {
    let mut torn = block(vec![front(), victim(), back(10)]);
    torn[0].logs[0].data = Bytes::from_static(&[1, 2, 3]);
    assert_eq!(sandwiches(&torn), []);
    let mut extreme = block(vec![front(), victim(), back(10)]);
    extreme[2].logs[0].data = Bytes::from(vec![0xff; 128]);
    assert_eq!(sandwiches(&extreme), []);
    let mut unnamed = block(vec![front(), victim(), back(10)]);
    unnamed.iter_mut().for_each(|execution| execution.logs[0].topics.clear());
    assert_eq!(sandwiches(&unnamed), []);
    let mut far = vec![front()];
    far.extend((0..=BETWEEN_MAX).map(|_| victim()));
    far.push(back(10));
    assert_eq!(found(far), [], "too far apart");
}

fn finding(execution: &Execution, score: Score, evidence: Evidence) -> Finding {
    let class = AttackClass::FlashLoan;
    Statement { class, contract: LENDING_VAULT, score, evidence }.by("test", &World::protocol(), execution)
}

fn loan() -> Evidence {
    let amount = U256::ONE;
    Evidence::FlashLoan { lender: BOB, asset: USD, amount_raw: amount, repaid_raw: amount, calls: 1 }
}

/// Scores of a weak finding on each of the outer transactions, once everything is named.
fn named(scripts: Vec<Script>, evidence: &Evidence) -> Vec<u16> {
    let block = block(scripts);
    let findings =
        block.iter().map(|execution| vec![finding(execution, Score(300), evidence.clone())]).collect();
    let named = explained(&[World::protocol()], &block, findings);
    named.iter().flatten().map(|finding| finding.score.0).collect()
}

#[test]
fn weak_findings_on_the_outer_trades_are_named_and_nobody_elses() {
    assert_eq!(named(vec![front(), victim(), back(10)], &loan()), [200, 300, 200]);
    assert_eq!(named(vec![front(), back(10)], &loan()), [300, 300], "no sandwich");
    let block = block(vec![front(), victim(), back(10)]);
    let findings = vec![vec![finding(&block[0], Score(300), loan())], vec![], vec![]];
    let text = explained(&[], &block, findings)[0][0].evidence.to_string();
    assert!(text.ends_with("part of a sandwich over 1 markets, in which a user got a worse price, and the protocol loses nothing"), "{text}");
}

#[test]
fn named_victims_and_strong_findings_are_never_lowered() {
    let fresh = Evidence::FreshCaller { caller: CHILD, contract: LENDING_VAULT, function: None };
    assert_eq!(named(vec![front(), victim(), back(10)], &fresh), [200, 300, 200]);
    let (gains, paid, losses) = (vec![], vec![], vec![]);
    let profit = Evidence::Profit { gains, paid, loser: Some(LENDING_VAULT), losses };
    assert_eq!(named(vec![front(), victim(), back(10)], &profit), [300, 300, 300]);
    let block = block(vec![front(), victim(), back(10)]);
    let strong = vec![vec![finding(&block[0], Score(600), loan())], vec![], vec![]];
    assert_eq!(explained(&[], &block, strong.clone()), strong);
}

/// Hostile input: an attack that is dressed up as half a sandwich.
#[test]
fn a_transaction_that_does_more_than_trade_keeps_its_findings() {
    let mut calling = front();
    calling.call(LENDING_VAULT, 1, |_| {});
    assert_eq!(named(vec![calling, victim(), back(10)], &loan()), [300; 3], "it calls its victim");
    let mut taking = back(10);
    pay(&mut taking, USD, LENDING_VAULT, BOT, 5);
    assert_eq!(named(vec![front(), victim(), taking], &loan()), [300; 3], "somebody loses");
    let rich = trade(ALICE, BOT, false, 10, 1_500);
    assert_eq!(named(vec![front(), victim(), rich], &loan()), [300; 3], "half of the stake is no margin");
    let mut cut = block(vec![front(), victim(), back(10)]);
    cut[2].truncated = true;
    let findings = vec![vec![finding(&cut[0], Score(300), loan())], vec![], vec![]];
    assert_eq!(explained(&[], &cut, findings)[0][0].score.0, 300, "a record that was cut");
}
