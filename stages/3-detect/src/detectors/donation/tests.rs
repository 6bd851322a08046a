//! Gifts to a share contract, with the verdict that each deserves.

use super::*;
use crate::detector::Opinion;
use crate::testing::*;
use cordon_model::execution::Log;

fn judged(execution: &Execution) -> Vec<Finding> {
    DonationConfig::default().build().unwrap().inspect(&World::protocol(), execution)
}

/// Judged with the supply that the world had before, or without any reading.
fn read(script: Script) -> Vec<Finding> {
    let detector = DonationConfig::default().build().unwrap();
    let calls = detector.views(&World::protocol(), &script.execution);
    judged(&script.finish(&calls))
}

fn unread(script: Script) -> Vec<Finding> {
    judged(&script.finish(&[]))
}

fn said(findings: &[Finding]) -> Vec<(u16, DonationEffect)> {
    let effect = |finding: &Finding| match &finding.evidence {
        Evidence::Sign(Sign::Donation(sign)) => (finding.score.0, sign.effect),
        other => panic!("{other:?}"),
    };
    findings.iter().map(effect).collect()
}

fn gift(script: &mut Script, coins: U256) {
    script.transfer(COIN, CONTROLLER, COLLATERAL_VAULT, coins);
}

/// A world in which the collateral vault is as good as empty.
fn empty(shares: u64) -> World {
    let mut world = World::new();
    world.supplies.insert(COLLATERAL_VAULT, U256::from(shares));
    world.balances.insert((COIN_TOKEN, COLLATERAL_VAULT), U256::from(shares));
    world
}

#[test]
fn a_gift_between_two_trades_makes_shares_dearer_and_says_by_how_much() {
    let strike = || {
        let mut script = World::new().script();
        script.buy_shares(CONTROLLER, wad(10), wad(10));
        gift(&mut script, wad(20));
        script.redeem_shares(CONTROLLER, wad(10), wad(20));
        script
    };
    let findings = unread(strike());
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!((finding.class, finding.contract), (AttackClass::RateManipulation, COLLATERAL_VAULT));
    let expected = sign::Donation {
        contract: COLLATERAL_VAULT,
        asset: COIN,
        amount_raw: wad(20),
        effect: DonationEffect::RateMoved { jump_bps: Bps(10_000) },
    };
    assert_eq!((finding.score, &finding.evidence), (Score(700), &Evidence::Sign(Sign::Donation(expected))));
    assert!(finding.evidence.to_string().contains("dearer by 100.00 %"), "{}", finding.evidence);
    assert_eq!(said(&read(strike())), said(&findings), "the supply adds nothing to two trades");
}

/// The near miss: a gift that moves the price by less than fees do.
#[test]
fn a_gift_below_the_bound_is_silent_and_one_above_it_is_weak() {
    let given = |thousandths: u64| {
        let mut script = World::new().script();
        script.buy_shares(CONTROLLER, wad(10), wad(10));
        gift(&mut script, wad(20) * U256::from(thousandths) / U256::from(1_000));
        script.redeem_shares(
            CONTROLLER,
            wad(10),
            wad(10) * U256::from(1_000 + thousandths) / U256::from(1_000),
        );
        said(&unread(script))
    };
    assert_eq!(given(20), []);
    let [(score, DonationEffect::RateMoved { jump_bps })] = given(30)[..] else { panic!("{:?}", given(30)) };
    assert!((300..400).contains(&score) && jump_bps.0 >= 299, "{score} {jump_bps}");
}

#[test]
fn without_a_price_before_the_supply_tells_and_without_that_it_only_confirms() {
    let strike = |coins: u64| {
        let mut script = World::new().script();
        gift(&mut script, wad(coins));
        script.redeem_shares(CONTROLLER, wad(5), wad(5 + coins / 2));
        script
    };
    assert_eq!(said(&unread(strike(10))), [(300, DonationEffect::Traded)]);
    assert_eq!(said(&read(strike(10))), [(700, DonationEffect::RateMoved { jump_bps: Bps(10_000) })]);
    // A gift that is small beside what is redeemed did not serve to redeem it.
    let mut small = World::new().script();
    gift(&mut small, wad(1));
    small.redeem_shares(CONTROLLER, wad(10), wad(11));
    assert_eq!(unread(small), []);
}

#[test]
fn a_gift_to_an_empty_contract_is_the_first_depositors_attack() {
    let mut script = empty(2).script();
    gift(&mut script, wad(500));
    let empty_of = |shares: u64| DonationEffect::Empty { shares_raw: U256::from(shares) };
    assert_eq!(said(&read(script)), [(300, empty_of(2))], "what it counts may be collectibles");
    let mut script = empty(2).script();
    script.buy_shares(CONTROLLER, U256::ONE, U256::ONE);
    gift(&mut script, wad(500));
    assert_eq!(said(&read(script)), [(700, empty_of(3))]);

    // Made empty in the same transaction, and nothing was read: Hundred Finance.
    let mut script = World::new().script();
    script.buy_shares(CONTROLLER, wad(4), wad(4));
    script.redeem_shares(CONTROLLER, wad(4) - U256::from(2), wad(4) - U256::from(2));
    gift(&mut script, wad(500));
    assert_eq!(said(&unread(script)), [(600, empty_of(2))]);

    // The near misses: a thousand and one units, and the first deposit of all.
    let mut script = empty(1_001).script();
    gift(&mut script, wad(500));
    assert_eq!(read(script), []);
    let mut script = empty(0).script();
    gift(&mut script, wad(500));
    script.buy_shares(CONTROLLER, wad(1), wad(1));
    assert_eq!(said(&read(script)), [], "a fresh contract is seeded");
}

#[test]
fn a_deposit_that_gets_no_share_harms_whoever_made_it() {
    let deposit = |world: World| {
        let mut script = world.script();
        script.buy_shares(CONTROLLER, wad(5), U256::ZERO);
        script
    };
    assert_eq!(said(&read(deposit(empty(1)))), [(700, DonationEffect::NoShares)]);
    assert_eq!(said(&unread(deposit(empty(1)))), [(300, DonationEffect::NoShares)]);
    assert_eq!(read(deposit(World::new())), [], "dust, where many shares exist");

    // Said by the answer alone, as ERC-4626 has it.
    let answered = |shares: u64, bytes: usize| {
        let mut script = empty(1).script();
        script.buy_shares(CONTROLLER, wad(5), wad(1));
        script.execution.transfers.retain(|moved| moved.asset == COIN);
        let frame =
            script.execution.frames.iter_mut().find(|frame| frame.address == COLLATERAL_VAULT).unwrap();
        frame.input = [&[0x6e, 0x55, 0x3f, 0x65], &wad(5).to_be_bytes::<32>()[..], &argument(CONTROLLER)]
            .concat()
            .into();
        frame.output = U256::from(shares).to_be_bytes::<32>()[..bytes].to_vec().into();
        let mut execution = script.finish(&[total_supply(COLLATERAL_VAULT)]);
        execution.views[0].before = Some(U256::ONE.to_be_bytes::<32>().into());
        DonationConfig::default().build().unwrap().inspect(&World::protocol(), &execution)
    };
    assert_eq!(said(&answered(0, 32)), [(700, DonationEffect::NoShares)]);
    assert_eq!((answered(1, 32), answered(0, 4)), (vec![], vec![]), "shares, and an answer that is none");
}

#[test]
fn a_rate_that_another_contract_asks_for_after_a_gift_confirms() {
    let asked = |question: [u8; 4], by: Address| {
        let mut script = World::new().script();
        gift(&mut script, wad(500));
        script.call(by, 5, |s| s.frame(FrameKind::StaticCall, COLLATERAL_VAULT, &question, |_| {}));
        said(&unread(script))
    };
    let rate = RATE_QUESTIONS[0].1.0;
    assert_eq!(asked(rate, LENDING_VAULT), [(300, DonationEffect::Looked { by: LENDING_VAULT })]);
    assert_eq!(asked([0x70, 0xa0, 0x82, 0x31], LENDING_VAULT), [], "a balance is no rate");
    assert_eq!(asked(rate, BOB), [], "not protected");
    let mut before = World::new().script();
    before.call(LENDING_VAULT, 5, |s| s.frame(FrameKind::StaticCall, COLLATERAL_VAULT, &rate, |_| {}));
    gift(&mut before, wad(500));
    assert_eq!(unread(before), []);
}

/// The benign twins: payment first, a harvest, a deposit that the contract pulls, an ordinary loan.
#[test]
fn payments_harvests_and_deposits_are_no_gifts() {
    let mut paid_first = World::new().script();
    gift(&mut paid_first, wad(10));
    paid_first.call(COLLATERAL_VAULT, 1, |s| s.transfer(DSHARE, Address::ZERO, CONTROLLER, wad(10)));
    paid_first.redeem_shares(CONTROLLER, wad(10), wad(10));
    assert_eq!(unread(paid_first), [], "a pool that is paid before it issues");

    let mut harvest = World::new().script();
    harvest.buy_shares(CONTROLLER, wad(10), wad(10));
    harvest.transfer(COIN, BOB, COLLATERAL_VAULT, wad(20));
    harvest.redeem_shares(CONTROLLER, wad(10), wad(20));
    assert_eq!(unread(harvest), [], "a strategy that pushes its yield, which rate-jump weighs");

    let mut swap = World::new().script();
    gift(&mut swap, wad(10));
    swap.call(COLLATERAL_VAULT, 1, |s| s.transfer(USD, COLLATERAL_VAULT, CONTROLLER, wad(90)));
    swap.redeem_shares(CONTROLLER, wad(10), wad(10));
    assert_eq!(unread(swap), [], "a market that is paid before it pays");

    let mut taxed = World::new().script();
    taxed.buy_shares(CONTROLLER, wad(100), wad(95));
    taxed.redeem_shares(CONTROLLER, wad(95), wad(90));
    assert_eq!(unread(taxed), [], "fees on the way in and out, and nothing given");
}

/// Hostile input: what a thief does to look like the twins.
#[test]
fn a_gift_is_not_hidden_by_what_stands_beside_it() {
    let strike = |beside: &dyn Fn(&mut Script)| {
        let mut script = World::new().script();
        script.buy_shares(CONTROLLER, wad(10), wad(10));
        gift(&mut script, wad(20));
        beside(&mut script);
        script.redeem_shares(CONTROLLER, wad(10), wad(20));
        said(&unread(script)).first().map(|(score, _)| *score)
    };
    // Fee shares are issued for nothing, which looks like payment first; a claim, which looks like a sale.
    let fee =
        |s: &mut Script| s.call(COLLATERAL_VAULT, 7, |s| s.transfer(DSHARE, Address::ZERO, BOB, wad(1)));
    let claim = |s: &mut Script| {
        s.call(COLLATERAL_VAULT, 7, |s| s.transfer(USD, COLLATERAL_VAULT, CONTROLLER, wad(1)))
    };
    let loan = |s: &mut Script| {
        s.call(COLLATERAL_VAULT, 7, |s| s.transfer(COIN, COLLATERAL_VAULT, CONTROLLER, wad(2)))
    };
    assert_eq!([strike(&fee), strike(&claim), strike(&loan)], [Some(700); 3]);
    // Through a contract of the sender's own making, and in many small parts.
    let mut parts = World::new().script();
    parts.create(CHILD, |_| {});
    parts.buy_shares(CHILD, wad(10), wad(10));
    parts.call(CHILD, 1, |s| {
        for _ in 0..200 {
            s.transfer(COIN, CHILD, COLLATERAL_VAULT, wad(1) / U256::from(10));
        }
    });
    parts.redeem_shares(CHILD, wad(10), wad(20));
    assert_eq!(said(&unread(parts)).first().map(|(score, _)| *score), Some(700));
}

/// Hostile input: dust for so many contracts that one among them is passed over.
#[test]
fn dust_for_a_crowd_hides_no_share_contract_and_is_said() {
    let mut protocol = World::protocol();
    let mut script = World::new().script();
    for number in 1..=300u64 {
        let mut contract = protocol.contracts[0].clone();
        contract.address = Address::from_word(U256::from(number).into());
        script.transfer(COIN, CONTROLLER, contract.address, U256::ONE);
        protocol.contracts.push(contract);
    }
    script.buy_shares(CONTROLLER, wad(10), wad(10));
    gift(&mut script, wad(20));
    script.redeem_shares(CONTROLLER, wad(10), wad(20));
    let Opinion { findings, gaps } =
        DonationConfig::default().build().unwrap().judge(&protocol, &script.finish(&[]));
    assert_eq!(said(&findings).first().map(|(score, _)| *score), Some(700));
    assert!(matches!(gaps.as_slice(), [gap] if gap.starts_with("301 contracts")), "{gaps:?}");
}

#[test]
fn a_market_of_compounds_kind_tells_its_shares_by_events() {
    let mint = |script: &mut Script, topic: B256, assets: U256, shares: U256, bytes: usize| {
        let (seq, frame) = script.execution.transfers.last().map(|moved| (moved.seq, moved.frame)).unwrap();
        let data = [argument(CONTROLLER), assets.to_be_bytes(), shares.to_be_bytes()].concat();
        let data = data[..bytes].to_vec().into();
        script.execution.logs.push(Log { seq, frame, address: COLLATERAL_VAULT, topics: vec![topic], data });
    };
    let strike = |bytes: usize| {
        let mut script = World::new().script();
        script.call(COLLATERAL_VAULT, 1, |s| s.pull(COIN, CONTROLLER, COLLATERAL_VAULT, wad(4)));
        mint(&mut script, books::MINT_TOPIC, wad(4), U256::from(200_000_000u64), bytes);
        gift(&mut script, wad(500));
        script.call(COLLATERAL_VAULT, 2, |s| s.transfer(COIN, COLLATERAL_VAULT, CONTROLLER, wad(504)));
        mint(&mut script, books::REDEEM_TOPIC, wad(504), U256::from(200_000_000u64), 96);
        said(&unread(script))
    };
    let [(700, DonationEffect::RateMoved { jump_bps })] = strike(96)[..] else { panic!("{:?}", strike(96)) };
    assert!(jump_bps > Bps(1_000_000), "{jump_bps}");
    let short = strike(64);
    assert!(matches!(short[..], [(300, DonationEffect::Traded)]), "a log that is cut is none: {short:?}");
}

#[test]
fn extreme_amounts_and_broken_records_do_not_stop_the_detector() {
    let mut script = World::new().script();
    script.buy_shares(CONTROLLER, wad(10), wad(10));
    gift(&mut script, wad(20));
    script.redeem_shares(CONTROLLER, wad(10), wad(20));
    let mut execution = script.finish(&[total_supply(COLLATERAL_VAULT)]);
    for moved in &mut execution.transfers {
        moved.amount_raw = U256::MAX;
    }
    let _findings = judged(&execution);
    execution.views[0].before = Some(U256::MAX.to_be_bytes::<32>().into());
    let _findings = judged(&execution);
    for frame in &mut execution.frames {
        frame.parent = Some(frame.index);
        frame.exit_seq = 0;
    }
    execution.truncated = true;
    assert_eq!(judged(&execution), []);
    let gaps = DonationConfig::default().build().unwrap().gaps(&World::protocol(), &execution);
    assert_eq!(gaps.len(), 1, "what is missing is said");
}

#[test]
fn an_unusable_bound_is_refused_by_key() {
    let build = |max, full| DonationConfig { jump_max_bps: Bps(max), jump_full_bps: Bps(full) }.build();
    assert!(build(1, 100).unwrap_err().to_string().starts_with("donation.jump_max_bps = '1'"));
    assert!(build(100, 99).unwrap_err().to_string().starts_with("donation.jump_full_bps = '99'"));
}

#[test]
fn questions_are_those_of_their_signatures() {
    for (signature, selector) in RATE_QUESTIONS {
        assert_eq!(selector.as_slice(), &alloy_primitives::keccak256(signature)[..4], "{signature}");
    }
}

use alloy_primitives::B256;
