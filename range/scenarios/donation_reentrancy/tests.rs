//! The attack as it goes without defence, and that a pause at any time ends it.

use alloy_primitives::{Address, B256, I256, U256, hex, keccak256};
use alloy_sol_types::{SolCall as _, SolValue as _};

use super::*;
use crate::scenarios::{Scenario, Setup};
use crate::world::{RangeError, StepOutcome, World};
use crate::{Call, artifacts};

const GUARDIAN: Address = Address::repeat_byte(0x91);
const OPERATOR: Address = Address::repeat_byte(0x0b);
/// Selector of `pause()`.
const PAUSE: [u8; 4] = hex!("8456cb59");
const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/donation_reentrancy/expected.txt");

fn world(seed: u64) -> World {
    let setup = Setup { seed, guardian: GUARDIAN, operator: OPERATOR };
    Scenario::DonationReentrancy.build(setup).unwrap()
}

fn steps(world: &mut World, count: u64) -> Vec<StepOutcome> {
    (0..count).map(|_| world.step().unwrap()).collect()
}

fn pause(world: &World, tip_wei: u128) -> B256 {
    let vault = world.facts().upgrade.proxy;
    let call = Call::new(vault, PAUSE).with_fees(Call::DEFAULT_MAX_FEE_WEI, tip_wei);
    world.submit_as(GUARDIAN, call).unwrap()
}

fn strikes(outcomes: &[StepOutcome]) -> Vec<&String> {
    outcomes
        .iter()
        .flat_map(|outcome| &outcome.narration)
        .filter(|line| line.contains("attacker strikes"))
        .collect()
}

#[test]
fn undefended_the_run_reads_as_expected() {
    let mut world = world(1);
    let mut text = format!("{}\n\n", Scenario::DonationReentrancy.describe());
    for line in world.prologue() {
        text.push_str(&format!("{line}\n"));
    }
    while !world.is_over() {
        for line in world.step().unwrap().narration {
            text.push_str(&format!("{line}\n"));
        }
    }
    text.push_str(&format!("\n{}", world.scorecard().unwrap()));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(EXPECTED, &text).unwrap();
    }
    let expected = std::fs::read_to_string(EXPECTED).unwrap_or_default();
    assert_eq!(text, expected, "run with UPDATE_EXPECT=1 if the change is meant");
}

#[test]
fn undefended_the_lenders_lose_most_and_the_attacker_gains_exactly_that() {
    for seed in [1, 7] {
        let mut world = world(seed);
        let start = world.scorecard().unwrap();
        let before = steps(&mut world, FIRST_STRIKE_STEP - 1);
        assert!(before.iter().all(|outcome| outcome.reverted == 0), "honest life before the attack succeeds");
        let calm = world.scorecard().unwrap();
        assert_eq!(calm.lenders_wealth_raw(), start.lenders_wealth_raw(), "without an attack nobody loses");
        let pool = world.facts().contracts[1].address;
        let pool_coins = world.balance_of(world.facts().assets[1].token, pool).unwrap();

        let attack = steps(&mut world, STRIKES * STRIKE_EVERY_STEPS);
        assert_eq!(strikes(&attack).len(), 8);
        assert!(strikes(&attack).iter().all(|line| line.ends_with("dUSD")), "every strike pays");
        steps(&mut world, STEPS - WITHDRAW_STEP + 1);
        assert!(world.is_over());

        let end = world.scorecard().unwrap();
        let taken = end.attacker_profit_dusd_raw.into_raw();
        assert!(
            taken * U256::from(10) > calm.vault_cash_raw * U256::from(7),
            "more than 70 % of the cash is gone"
        );
        assert_eq!(end.unbacked_debt_raw, taken, "what the vault lost is what the attacker got");
        let residue = world.balance_of(world.facts().assets[1].token, pool).unwrap() - pool_coins;
        assert_eq!(
            end.attacker_profit_seth_raw,
            -I256::from_raw(residue),
            "the donations stay with the other holders"
        );
        assert!(end.attacker_profit_value_raw() > I256::from_raw(taken * U256::from(8) / U256::from(10)));
        let loss = calm.lenders_wealth_raw() - end.lenders_wealth_raw();
        // Every deposit and redemption after the attack, and every division of the score, rounds by a base unit or two.
        assert!(loss.abs_diff(taken) <= U256::from(1_000), "the lenders bear the loss: {loss} of {taken}");
    }
}

#[test]
fn a_pause_after_the_first_strike_keeps_the_loss_at_one_strike() {
    let mut world = world(1);
    let first = steps(&mut world, FIRST_STRIKE_STEP);
    assert!(strikes(&first)[0].ends_with("dUSD"));
    let loss = world.scorecard().unwrap().unbacked_debt_raw;
    assert!(loss > tokens(700_000));
    pause(&world, Call::DEFAULT_PRIORITY_FEE_WEI);
    let rest = steps(&mut world, STEPS - FIRST_STRIKE_STEP);
    assert_eq!(strikes(&rest).len(), 7, "the attacker keeps trying");
    assert!(strikes(&rest).iter().all(|line| line.ends_with("reverted")));
    let end = world.scorecard().unwrap();
    assert_eq!(end.unbacked_debt_raw, loss);
    assert_eq!(end.attacker_profit_dusd_raw, I256::from_raw(loss));
}

#[test]
fn a_pause_with_a_higher_tip_overtakes_the_first_strike() {
    let mut world = world(1);
    steps(&mut world, FIRST_STRIKE_STEP - 1);
    pause(&world, 2 * Call::DEFAULT_PRIORITY_FEE_WEI);
    let strike = steps(&mut world, 1);
    assert!(strikes(&strike)[0].ends_with("reverted"));
    assert_eq!(world.scorecard().unwrap().unbacked_debt_raw, U256::ZERO);
}

#[test]
fn the_same_seed_gives_the_same_chain_and_another_seed_another() {
    let head = |seed| steps(&mut world(seed), 30).last().unwrap().block;
    assert_eq!(head(1), head(1));
    let (one, two) = (head(1), head(2));
    assert_eq!(one.number, two.number);
    assert_ne!(one.hash, two.hash);
}

#[test]
fn the_facts_hold_on_the_chain_and_name_no_attacker() {
    let world = world(1);
    let facts = world.facts();
    assert_eq!(
        world.balance_of(facts.treasury.token, facts.treasury.holder).unwrap(),
        facts.treasury.amount_raw
    );
    assert_eq!(facts.start_block, world.chain().head().number + 1);
    for name in [facts.upgrade.current_artifact, facts.upgrade.fixed_artifact] {
        assert!(artifacts::json(name).is_ok());
    }
    let attacker = world.market_for_tests().cast.address(ATTACKER);
    assert!(!format!("{facts:?}").contains(&format!("{attacker:?}")));
    assert!(world.accounts().iter().all(|account| account.address != attacker));
}

#[test]
fn a_lender_claims_its_payment_and_a_stranger_cannot() {
    let mut world = world(1);
    let (lender, amount) = (world.accounts()[0].address, tokens(1_000));
    let leaf = keccak256(keccak256((lender, amount).abi_encode()));
    let usd = world.facts().treasury.token;
    let args = (usd, leaf, 4_000_000_000_u64, OPERATOR).abi_encode_params();
    let claims =
        world.chain().deploy_as(OPERATOR, artifacts::creation_code("MerkleClaim").unwrap(), &args).unwrap();
    let fund = super::super::lending_market::interfaces::IToken::transferCall { to: claims, amount };
    world.submit_as(OPERATOR, Call::new(usd, fund.abi_encode())).unwrap();
    world.chain().mine();
    let before = world.balance_of(usd, lender).unwrap();
    let claim = world.claim(lender, claims, amount, Vec::new()).unwrap();
    world.chain().mine();
    assert!(world.chain().receipt(claim).unwrap().status());
    assert_eq!(world.balance_of(usd, lender).unwrap(), before + amount);
    let refused = world.claim(GUARDIAN, claims, amount, Vec::new());
    assert!(matches!(refused, Err(RangeError::NotAnActor { account: GUARDIAN })));
    world.step().unwrap();
}

alloy_sol_types::sol! {
    function upgradeToAndCall(address implementation, bytes data) external payable;
    function unpause() external;
    function writeOff(address account) external;
}

#[test]
fn the_fix_of_the_facts_stops_the_later_strikes_and_honest_life_goes_on() {
    let mut world = world(1);
    steps(&mut world, FIRST_STRIKE_STEP);
    let struck = world.scorecard().unwrap();
    pause(&world, Call::DEFAULT_PRIORITY_FEE_WEI);
    steps(&mut world, 1);
    let upgrade = world.facts().upgrade.clone();
    let code = artifacts::creation_code(upgrade.fixed_artifact).unwrap();
    let implementation = world.chain().deploy_as(OPERATOR, code, &[]).unwrap();
    let drainer = controller(world.market_for_tests()).create(1);
    let calls = [
        upgradeToAndCallCall { implementation, data: upgrade.initializer }.abi_encode(),
        writeOffCall { account: drainer }.abi_encode(),
        unpauseCall {}.abi_encode(),
    ];
    let sent =
        calls.map(|input| world.submit_as(upgrade.authority, Call::new(upgrade.proxy, input)).unwrap());
    steps(&mut world, 1);
    assert!(sent.iter().all(|hash| world.chain().receipt(*hash).unwrap().status()));

    let rest = steps(&mut world, STEPS - FIRST_STRIKE_STEP - 2);
    let failed = strikes(&rest).iter().filter(|line| line.ends_with("reverted")).count();
    assert_eq!(failed, 6, "all strikes that come after the fix");
    assert_eq!(rest.iter().map(|outcome| outcome.reverted).sum::<usize>(), failed, "nobody else fails");
    let end = world.scorecard().unwrap();
    assert_eq!(end.unbacked_debt_raw, U256::ZERO, "written off");
    assert_eq!(end.attacker_profit_dusd_raw, struck.attacker_profit_dusd_raw);
    let drift = end.lenders_wealth_raw().abs_diff(struck.lenders_wealth_raw());
    assert!(drift <= U256::from(1_000), "the loss stays what it was");
}
