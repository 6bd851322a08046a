//! Circles that have a name, and what keeps one from having it.

use super::*;
use crate::detector::Statement;
use crate::testing::*;
use alloy_primitives::{Bytes, address, keccak256};
use cordon_model::execution::{Detail, Transfer};
use cordon_model::finding::AttackClass;

const POOL_A: Address = address!("aaaa000000000000000000000000000000000001");
const POOL_B: Address = address!("bbbb000000000000000000000000000000000002");
const SWAP: &str = "swap(uint256,uint256,address,bytes)";
const SWAPPED: &str = "Swap(address,uint256,uint256,uint256,uint256,address)";

fn function(signature: &str) -> Vec<u8> {
    keccak256(signature)[..4].to_vec()
}

fn log(script: &mut Script, market: Address, event: &str, word: Address) {
    let topics = vec![keccak256(event), word.into_word()];
    script.execution.logs.push(Log { seq: 0, frame: 0, address: market, topics, data: Bytes::new() });
}

fn pay(script: &mut Script, asset: Asset, from: Address, to: Address, amount: u64) {
    let Asset::Token(token) = asset else { panic!("no native coin here") };
    script.frame(FrameKind::Call, token, &function("transfer(address,uint256)"), |_| {});
    let transfer = Transfer { seq: 0, frame: 0, asset, from, to, amount_raw: wad(amount) };
    script.execution.transfers.push(transfer);
}

fn swap(script: &mut Script, market: Address, given: (Asset, u64), taken: (Asset, u64)) {
    pay(script, given.0, CONTROLLER, market, given.1);
    script.frame(FrameKind::Call, market, &function(SWAP), |script| {
        pay(script, taken.0, market, CONTROLLER, taken.1);
    });
    log(script, market, SWAPPED, CONTROLLER);
}

/// A hundred dollars become coins in one market and `back` dollars in another.
fn circle(back: u64) -> Script {
    let mut script = World::new().script();
    swap(&mut script, POOL_A, (USD, 100), (COIN, 7));
    swap(&mut script, POOL_B, (COIN, 7), (USD, back));
    script
}

fn named(script: Script) -> Option<Circle> {
    Circle::of(&World::protocol(), &script.finish(&[]))
}

const ARBITRAGE: Option<Circle> = Some(Circle { pattern: OrdinaryPattern::Arbitrage, markets: 2 });

#[test]
fn a_closed_circle_over_markets_is_an_arbitrage() {
    assert_eq!(named(circle(101)), ARBITRAGE);
    assert_eq!(named(circle(110)), ARBITRAGE);
}

#[test]
fn a_gap_that_trade_does_not_leave_has_no_name() {
    assert_eq!(named(circle(111)), None);
    assert_eq!(named(circle(99)), None, "a loss is no arbitrage");
}

#[test]
fn a_loan_and_a_tip_belong_to_it() {
    let mut script = World::new().script();
    script.frame(FrameKind::Call, BOB, &function("flashLoan(address,uint256,bytes)"), |script| {
        pay(script, USD, BOB, CONTROLLER, 100);
        script.call(CONTROLLER, 1, |script| {
            swap(script, POOL_A, (USD, 100), (COIN, 7));
            swap(script, POOL_B, (COIN, 7), (USD, 105));
            pay(script, USD, CONTROLLER, BOB, 100);
        });
    });
    let tip =
        Transfer { seq: 0, frame: 0, asset: Asset::Native, from: CONTROLLER, to: CHILD, amount_raw: wad(1) };
    script.execution.transfers.push(tip);
    script.frame(FrameKind::Call, CHILD, &[], |_| {});
    assert_eq!(named(script), ARBITRAGE);
}

#[test]
fn without_logs_or_with_half_of_them_nothing_has_a_name() {
    let execution = circle(101).finish(&[]);
    let judged = |execution: &Execution| Circle::of(&World::protocol(), execution);
    assert_eq!(judged(&Execution { detail: Detail::Calls, ..execution.clone() }), None);
    assert_eq!(judged(&Execution { truncated: true, ..execution.clone() }), None);
    assert_eq!(judged(&Execution { logs: Vec::new(), ..execution }), None);
}

/// Hostile input: attacks that are wrapped into an arbitrage.
#[test]
fn an_attack_does_not_become_ordinary_by_an_arbitrage_around_it() {
    let mut direct = circle(101);
    direct.call(LENDING_VAULT, 1, |_| {});
    assert_eq!(named(direct), None, "the victim is called, and is no market");

    let mut token = circle(101);
    token.frame(FrameKind::Call, COIN_TOKEN, &function("burn(address,uint256)"), |_| {});
    assert_eq!(named(token), None, "a token is asked for something that tokens are not");

    let mut hidden = circle(101);
    hidden.frame(FrameKind::Call, POOL_B, &function("sync(address)"), |script| {
        script.call(LENDING_VAULT, 1, |script| pay(script, USD, LENDING_VAULT, CONTROLLER, 1));
    });
    assert_eq!(named(hidden), None, "the victim is called by a false market, and loses");

    let mut twice = circle(101);
    swap(&mut twice, POOL_A, (USD, 1), (COIN, 1));
    assert_eq!(named(twice), None, "a market is moved to and fro");

    let mut minted = World::new().script();
    pay(&mut minted, COIN, Address::ZERO, CONTROLLER, 7);
    swap(&mut minted, POOL_A, (USD, 100), (LSHARE, 7));
    swap(&mut minted, POOL_B, (LSHARE, 7), (USD, 100));
    log(&mut minted, CHILD, SWAPPED, CONTROLLER);
    pay(&mut minted, COIN, CONTROLLER, CHILD, 7);
    pay(&mut minted, USD, CHILD, CONTROLLER, 9);
    assert_eq!(named(minted), None, "what was made of nothing is its issuer's loss");
}

/// Hostile input: a bank that logs withdrawals as WETH does, drained by re-entry, and an arbitrage around it.
#[test]
fn a_bank_that_pays_twice_is_not_taken_for_a_wrapped_coin() {
    let mut script = circle(101);
    for (from, to, event) in
        [(CONTROLLER, BOB, "Deposit(address,uint256)"), (BOB, CONTROLLER, "Withdrawal(address,uint256)")]
    {
        let times = if from == CONTROLLER { 1 } else { 2 };
        for _ in 0..times {
            let asset = Asset::Native;
            let coins = Transfer { seq: 0, frame: 0, asset, from, to, amount_raw: wad(5) };
            script.execution.transfers.push(coins);
            log(&mut script, BOB, event, CONTROLLER);
            if let Some(log) = script.execution.logs.last_mut() {
                log.data = wad(5).to_be_bytes::<32>().into();
            }
        }
    }
    assert_eq!(named(script), None);
}

#[test]
fn a_liquidation_names_its_borrower_and_may_gain_more() {
    let liquidation = |event: &str, back: u64| {
        let mut script = World::new().script();
        pay(&mut script, USD, CONTROLLER, LENDING_VAULT, 100);
        let liquidate = function("liquidateBorrow(address,uint256,address)");
        script.frame(FrameKind::Call, LENDING_VAULT, &liquidate, |script| {
            pay(script, DSHARE, BOB, CONTROLLER, 8);
        });
        log(&mut script, LENDING_VAULT, event, BOB);
        swap(&mut script, POOL_A, (DSHARE, 8), (USD, back));
        named(script)
    };
    let event = "LiquidateBorrow(address,address,uint256,address,uint256)";
    let expected = Some(Circle { pattern: OrdinaryPattern::Liquidation, markets: 2 });
    assert_eq!(liquidation(event, 125), expected);
    assert_eq!(liquidation(event, 126), None);
    assert_eq!(liquidation(SWAPPED, 105), None, "without a liquidation somebody simply loses");
}

/// Hostile input: a false market logs that the victim was liquidated.
#[test]
fn a_victim_that_is_called_is_no_borrower_whatever_is_logged() {
    let mut script = circle(101);
    let liquidate = function("liquidateBorrow(address,uint256,address)");
    script.frame(FrameKind::Call, CHILD, &liquidate, |script| {
        script.call(LENDING_VAULT, 1, |script| pay(script, USD, LENDING_VAULT, CONTROLLER, 1));
    });
    log(&mut script, CHILD, "LiquidateBorrow(address,address,uint256,address,uint256)", LENDING_VAULT);
    assert_eq!(named(script), None);
}

#[test]
fn only_findings_about_the_shape_are_lowered_and_none_is_lost() {
    let protocol = World::protocol();
    let execution = circle(101).finish(&[]);
    let finding = |detector: &str, score: u16, evidence| {
        let (class, contract, score) = (AttackClass::ControlFlow, LENDING_VAULT, Score(score));
        Statement { class, contract, score, evidence }.by(detector, &protocol, &execution)
    };
    let repeated = Evidence::RepeatedCalls { contract: LENDING_VAULT, function: None, times: 10, frames: 99 };
    let profit = |loser| Evidence::Profit { gains: vec![], paid: vec![], loser, losses: vec![] };
    let rule = Evidence::Rule { rule: "r".into(), title: "t".into(), explanation: "e".into() };
    let said = vec![
        finding("repeated-calls", 300, repeated.clone()),
        finding("profit", 300, profit(None)),
        finding("profit", 300, profit(Some(BOB))),
        finding("repeated-calls", 600, repeated.clone()),
        finding("rules", 300, rule),
    ];
    let after = explained(&protocol, &execution, said.clone());
    let scores: Vec<u16> = after.iter().map(|finding| finding.score.0).collect();
    assert_eq!(scores, [200, 200, 300, 600, 300]);
    assert!(after.iter().zip(&said).all(|(after, before)| after.id == before.id));
    let text = after[0].evidence.to_string();
    assert!(text.starts_with(&repeated.to_string()) && text.contains("arbitrage over 2 markets"), "{text}");
    let other = World::new().script().finish(&[]);
    assert_eq!(explained(&protocol, &other, said.clone()), said);
}
