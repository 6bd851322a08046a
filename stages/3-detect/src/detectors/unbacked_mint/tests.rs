//! Issues that nobody paid for, custodies that hold too little, messages that are none, and their benign twins.

use super::*;
use crate::DetectorSet;
use crate::testing::*;
use alloy_primitives::{Bytes, I256, U256};
use cordon_model::execution::{Detail, StorageChange};
use cordon_model::finding::sign::MessageFault;
use cordon_model::units::{Asset, ChainId};

fn set_of(config: UnbackedMintConfig) -> DetectorSet {
    DetectorSet::new(vec![Box::new(config.build().unwrap())], vec![World::protocol()])
}

fn judged(config: UnbackedMintConfig, script: Script) -> Vec<Finding> {
    let set = set_of(config);
    let execution = script.judged_by(&set);
    set.inspect(&execution)
}

fn scores(config: UnbackedMintConfig, script: Script) -> Vec<u16> {
    judged(config, script).iter().map(|finding| finding.score.0).collect()
}

const NONE: [u16; 0] = [];

/// Ten shares there are; so many tenths of one more are issued to the controller.
fn minted(tenths: u64) -> Script {
    let mut script = World::new().script();
    script.call(COLLATERAL_VAULT, 1, |script| {
        script.transfer(DSHARE, Address::ZERO, CONTROLLER, wad(tenths) / U256::from(10u8));
    });
    script
}

fn default_scores(script: Script) -> Vec<u16> {
    scores(UnbackedMintConfig::default(), script)
}

#[test]
fn a_large_share_for_nothing_is_found_and_most_of_it_is_strong() {
    let findings = judged(UnbackedMintConfig::default(), minted(50));
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(
        (finding.score.0, finding.class, finding.contract),
        (700, AttackClass::UnbackedMint, COLLATERAL_VAULT)
    );
    let what = Unbacked::Issue {
        token: COLLATERAL_VAULT,
        minted_raw: wad(5),
        supply_raw: wad(10),
        share_bps: Bps(5_000),
    };
    assert_eq!(finding.evidence, Evidence::Sign(Sign::Unbacked(what)));
    assert_eq!(default_scores(minted(49)), [200]);
    assert_eq!(default_scores(minted(5)), [200]);
    assert_eq!(default_scores(minted(4)), NONE, "a claim");
}

#[test]
fn what_is_issued_to_the_minter_and_passed_on_counts_as_well() {
    let mut script = World::new().script();
    script.call(COLLATERAL_VAULT, 1, |script| {
        script.transfer(DSHARE, Address::ZERO, BOB, wad(9));
        script.transfer(DSHARE, BOB, CONTROLLER, wad(6));
    });
    assert_eq!(default_scores(script), [700]);
}

/// The benign twins: a deposit, a flash mint, a debt, a first issue, an issue to others.
#[test]
fn what_was_paid_for_given_back_or_owed_is_no_gift() {
    let mut script = World::new().script();
    script.buy_shares(CONTROLLER, wad(6), wad(6));
    assert_eq!(default_scores(script), NONE, "a deposit");

    let mut script = minted(60);
    script.transfer(DSHARE, CONTROLLER, Address::ZERO, wad(6));
    assert_eq!(default_scores(script), NONE, "a flash mint");

    let mut script = World::new().script();
    script.call(LENDING_VAULT, 1, |script| {
        script.transfer(DSHARE, Address::ZERO, CONTROLLER, wad(6));
        script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(600));
    });
    assert_eq!(default_scores(script), NONE, "the receipt of a debt");

    let mut world = World::new();
    world.supplies.clear();
    let mut script = world.script();
    script.transfer(DSHARE, Address::ZERO, CONTROLLER, wad(6));
    assert_eq!(default_scores(script), NONE, "a first issue");

    let mut script = World::new().script();
    script.transfer(DSHARE, Address::ZERO, BOB, wad(6));
    assert_eq!(default_scores(script), NONE, "issued to somebody else");
    let mut script = World::new().script();
    script.transfer(COIN, Address::ZERO, CONTROLLER, wad(6));
    assert_eq!(default_scores(script), NONE, "a token that is not protected");
}

/// Hostile input.
#[test]
fn dust_does_not_pay_where_prices_are_known() {
    let mut script = minted(60);
    script.transfer(USD, CONTROLLER, BOB, wad(1));
    assert_eq!(default_scores(script), [700], "a dollar for 600");
    let mut script = minted(60);
    script.transfer(USD, CONTROLLER, BOB, wad(300));
    assert_eq!(default_scores(script), NONE, "half of it: a discount");
    let mut script = minted(60);
    script.transfer(Asset::Token(CHILD), CONTROLLER, BOB, wad(1));
    assert_eq!(default_scores(script), NONE, "without a price anything may be worth it; see the limits");
}

#[test]
fn an_unknown_supply_is_a_gap_and_a_slot_that_grew_by_the_issue_fills_it() {
    let detector = UnbackedMintConfig::default().build().unwrap();
    let mut execution = minted(60).finish(&[]);
    let judge = |execution: &Execution| {
        let Opinion { findings, gaps } = detector.judge(&World::protocol(), execution);
        (findings.iter().map(|finding| finding.score.0).collect::<Vec<_>>(), gaps.len())
    };
    assert_eq!(judge(&execution), (vec![], 1));
    let change = |slot: u64, before: U256| StorageChange {
        address: COLLATERAL_VAULT,
        slot: U256::from(slot),
        before,
        after: before + wad(6),
    };
    execution.storage_changes = vec![change(1, wad(1))];
    assert_eq!(judge(&execution), (vec![], 1), "the only such slot may be the balance");
    execution.storage_changes.push(change(2, wad(10)));
    assert_eq!(judge(&execution), (vec![700], 0));
    execution.storage_changes = vec![change(1, wad(1_000)), change(2, wad(100))];
    assert_eq!(judge(&execution), (vec![], 0), "a share of the larger one");
}

fn backed(asset: &str) -> UnbackedMintConfig {
    let pair = BackingConfig {
        token: COLLATERAL_VAULT,
        custody: COLLATERAL_VAULT,
        asset: asset.to_owned(),
        token_decimals: 18,
        asset_decimals: 18,
    };
    UnbackedMintConfig { backing: vec![pair], ..UnbackedMintConfig::default() }
}

fn coins() -> UnbackedMintConfig {
    backed(&COIN_TOKEN.to_string())
}

#[test]
fn an_issue_or_a_payment_without_the_other_half_breaks_the_backing() {
    let mut script = World::new().script();
    script.transfer(DSHARE, Address::ZERO, BOB, wad(1));
    let findings = judged(coins(), script);
    let what = Unbacked::Backing {
        token: COLLATERAL_VAULT,
        custody: COLLATERAL_VAULT,
        asset: COIN,
        grown_raw: wad(1),
    };
    assert_eq!((findings[0].score.0, &findings[0].evidence), (900, &Evidence::Sign(Sign::Unbacked(what))));
    let mut script = World::new().script();
    script.transfer(COIN, COLLATERAL_VAULT, BOB, wad(1));
    assert_eq!(scores(coins(), script), [900]);
}

#[test]
fn what_is_backed_or_lacked_before_is_nothing_new() {
    let mut script = World::new().script();
    script.buy_shares(BOB, wad(6), wad(6));
    script.redeem_shares(BOB, wad(2), wad(2));
    assert_eq!(scores(coins(), script), NONE);
    let mut script = World::new().script();
    script.transfer(DSHARE, Address::ZERO, BOB, U256::ONE);
    assert_eq!(scores(coins(), script), NONE, "rounding");
    let mut world = World::new();
    world.balances.insert((COIN_TOKEN, COLLATERAL_VAULT), wad(11));
    let mut script = world.script();
    script.transfer(DSHARE, Address::ZERO, BOB, wad(1));
    assert_eq!(scores(coins(), script), NONE, "out of a surplus");
    let mut world = World::new();
    world.balances.insert((COIN_TOKEN, COLLATERAL_VAULT), wad(3));
    let mut script = world.script();
    script.buy_shares(BOB, wad(1), wad(1));
    assert_eq!(scores(coins(), script), NONE, "an old lack");
}

#[test]
fn native_backing_is_judged_by_its_change() {
    let issue = |paid: i64| {
        let mut script = World::new().script();
        script.transfer(DSHARE, Address::ZERO, BOB, wad(1));
        let paid = I256::try_from(wad(1)).unwrap() * I256::try_from(paid).unwrap();
        script.execution.balance_changes_wei.insert(COLLATERAL_VAULT, paid);
        scores(backed("native"), script)
    };
    assert_eq!((issue(0), issue(1), issue(-1)), (vec![700], vec![], vec![700]));
}

#[test]
fn amounts_are_compared_in_the_smaller_unit_and_what_does_not_fit_is_a_gap() {
    let mut config = coins();
    config.backing[0].asset_decimals = 6;
    let held = |raw: u64| {
        let mut world = World::new();
        world.balances.insert((COIN_TOKEN, COLLATERAL_VAULT), U256::from(raw));
        let mut script = world.script();
        script.transfer(DSHARE, Address::ZERO, BOB, wad(1));
        scores(config.clone(), script)
    };
    assert_eq!((held(11_000_000), held(10_500_000)), (vec![], vec![900]));
    let set = set_of(coins());
    let mut execution = minted(1).judged_by(&set);
    execution.views.iter_mut().for_each(|reading| reading.after = None);
    let judgement = set.judge(&execution);
    assert!(
        judgement.findings.is_empty() && judgement.gaps.iter().any(|gap| gap.what.contains("not to be read"))
    );
    config.backing[0].asset_decimals = 0;
    let set = set_of(config);
    let mut execution = minted(1).judged_by(&set);
    let most = Some(Bytes::from(vec![0xff; 32]));
    execution.views.iter_mut().for_each(|reading| reading.after.clone_from(&most));
    assert_eq!(set.inspect(&execution), [], "hostile input: a supply beyond all numbers");
    assert!(!set.gaps(&execution).is_empty());
}

const RELEASED: &str = "Released(bytes32)";
const NAMED: &str = "Released(bytes32 indexed id)";
const SENT: &str = "Sent(bytes32)";

fn bridged(custody: Address) -> UnbackedMintConfig {
    let gate = BridgeConfig {
        custody,
        release_event: NAMED.to_owned(),
        id: vec!["id".to_owned()],
        amount: None,
        travels_max_hours: Some(168),
        clocks_s: two_slots(),
        source: Vec::new(),
    };
    UnbackedMintConfig { bridge: vec![gate], ..UnbackedMintConfig::default() }
}

/// A payment of the lending vault, with releases of these messages.
fn released(messages: &[Address]) -> Script {
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 1, |script| {
        messages.iter().for_each(|message| script.log(RELEASED, &[*message], &[]));
        script.transfer(USD, LENDING_VAULT, CHILD, wad(5));
    });
    script
}

fn fault(script: Script) -> Option<(MessageFault, u16)> {
    let findings = judged(bridged(LENDING_VAULT), script);
    findings.first().map(|finding| match &finding.evidence {
        Evidence::Sign(Sign::Unbacked(Unbacked::Release { fault, .. })) => (*fault, finding.score.0),
        other => panic!("{other}"),
    })
}

#[test]
fn a_payment_without_its_message_or_twice_for_one_is_strong() {
    assert_eq!(fault(released(&[ALICE])), None);
    assert_eq!(fault(released(&[ALICE, BOB])), None, "a batch");
    assert_eq!(fault(released(&[])), Some((MessageFault::Missing, 800)));
    assert_eq!(fault(released(&[ALICE, BOB, ALICE])), Some((MessageFault::Twice, 800)));
    assert_eq!(fault(released(&[ALICE, ALICE, Address::ZERO])), Some((MessageFault::Zero, 900)));
    let mut script = World::new().script();
    script.transfer(DSHARE, Address::ZERO, BOB, U256::ONE);
    assert_eq!(scores(bridged(COLLATERAL_VAULT), script), [800], "a token that messages issue");
}

#[test]
fn what_stays_within_the_protocol_or_says_nothing_of_payments_is_left_alone() {
    let mut script = World::new().script();
    script.transfer(USD, LENDING_VAULT, COLLATERAL_VAULT, wad(5));
    script.transfer(USD, LENDING_VAULT, BOB, U256::ZERO);
    script.transfer(USD, BOB, LENDING_VAULT, wad(5));
    assert_eq!(fault(script), None);
}

/// Hostile input.
#[test]
fn a_strangers_event_is_no_message_and_without_logs_there_is_a_gap() {
    let mut script = released(&[]);
    script.call(BOB, 1, |script| script.log(RELEASED, &[ALICE], &[]));
    assert_eq!(fault(script), Some((MessageFault::Missing, 800)));
    let mut script = released(&[]);
    script.call(LENDING_VAULT, 1, |script| script.log(RELEASED, &[], &[]));
    assert_eq!(fault(script), Some((MessageFault::Missing, 800)), "an event without its topic");
    let set = set_of(bridged(LENDING_VAULT));
    let execution = Execution { detail: Detail::Calls, ..released(&[]).finish(&[]) };
    assert_eq!(set.inspect(&execution), []);
    assert!(set.gaps(&execution).iter().any(|gap| gap.what.contains("no logs")));
}

/// A gate whose messages are sent by a contract of a chain.
fn linked(chain_id: ChainId, custody: Address) -> UnbackedMintConfig {
    let mut config = bridged(custody);
    config.bridge[0].source = vec![SourceConfig {
        chain: chain_id.0,
        contract: COLLATERAL_VAULT,
        event: "Sent(bytes32 indexed id)".to_owned(),
        id: vec!["id".to_owned()],
        amount: None,
    }];
    config
}

#[test]
fn what_is_paid_for_is_claimed_of_the_other_chains_and_what_is_sent_is_told() {
    let heard = |chain_id, script: Script| {
        let set = set_of(linked(chain_id, LENDING_VAULT));
        let execution = script.judged_by(&set);
        (set.messages(&execution), set.listens())
    };
    let here = World::protocol().chain_id;
    let (paid, listens) = heard(ChainId(10), released(&[ALICE, BOB]));
    let [claim] = paid.claims.as_slice() else { panic!("{paid:?}") };
    assert_eq!((claim.messages.len(), claim.sources.len(), listens.len()), (2, 1, 0));
    assert_eq!(claim.messages[0].id, ALICE.into_word());
    assert!(claim.finding.evidence.to_string().contains("was never sent"), "{}", claim.finding.evidence);

    let mut script = World::new().script();
    script.call(COLLATERAL_VAULT, 1, |script| script.log(SENT, &[ALICE], &[]));
    script.call(BOB, 1, |script| script.log(SENT, &[BOB], &[]));
    script.call(COLLATERAL_VAULT, 1, |script| script.log(SENT, &[], &[]));
    let (sent, listens) = heard(here, script);
    assert_eq!(sent.sent.len(), 1, "a stranger's event is no message");
    assert_eq!((sent.sent[0].0, sent.sent[0].1.id), (listens[0], ALICE.into_word()));
    assert_eq!(sent.gaps.len(), 1, "one of another shape");
    let (paid, _) = heard(here, released(&[ALICE]));
    assert_eq!(paid.claims[0].sources, [], "nothing is sent from a chain to itself");
}

#[test]
fn a_release_that_moves_nothing_is_claimed_as_well() {
    let set = set_of(linked(ChainId(10), LENDING_VAULT));
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 1, |script| script.log(RELEASED, &[ALICE], &[]));
    assert_eq!(set.messages(&script.judged_by(&set)).claims.len(), 1);
}

#[test]
fn unusable_values_are_refused_by_key() {
    let error = |config: UnbackedMintConfig| config.build().unwrap_err().to_string();
    let default = UnbackedMintConfig::default;
    assert!(
        error(UnbackedMintConfig { issue_weak_bps: Bps(0), ..default() })
            .starts_with("unbacked-mint.issue_weak_bps = '0'")
    );
    assert!(
        error(UnbackedMintConfig { issue_strong_bps: Bps(1), ..default() })
            .contains("issue_weak_bps or more")
    );
    assert!(
        error(UnbackedMintConfig { dust_max_coins: "x".to_owned(), ..default() })
            .contains("dust_max_coins = 'x'")
    );
    assert!(error(backed("coins")).starts_with("unbacked-mint.backing.asset = 'coins'"));
    let mut config = bridged(BOB);
    config.bridge[0].release_event = "Released(".to_owned();
    assert!(error(config).starts_with("unbacked-mint.bridge.release_event = 'Released('"));
    let refused = |change: &dyn Fn(&mut BridgeConfig)| {
        let mut config = linked(ChainId(10), BOB);
        change(&mut config.bridge[0]);
        error(config)
    };
    assert!(
        refused(&|bridge| bridge.id = vec!["key".to_owned()]).starts_with("unbacked-mint.bridge.id = 'key'")
    );
    assert!(
        refused(&|bridge| bridge.amount = Some("id".to_owned()))
            .starts_with("unbacked-mint.bridge.amount = 'id'")
    );
    assert!(
        refused(&|bridge| bridge.source[0].event = "?".to_owned())
            .starts_with("unbacked-mint.bridge.source.event")
    );
    assert!(refused(&|bridge| bridge.source[0].id = Vec::new()).contains("as many names"));
    let hours = refused(&|bridge| bridge.travels_max_hours = None);
    assert!(hours.starts_with("unbacked-mint.bridge.travels_max_hours = 'nothing'"));
    let uncounted = |bridge: &mut BridgeConfig| {
        bridge.source[0].event = "Sent(bytes32 indexed id, uint256 amount)".to_owned();
        bridge.source[0].amount = Some("amount".to_owned());
    };
    assert!(refused(&uncounted).starts_with("unbacked-mint.bridge.source.amount"));
    let nameless = |bridge: &mut BridgeConfig| (bridge.id, bridge.source[0].id) = (Vec::new(), Vec::new());
    assert!(refused(&nameless).starts_with("unbacked-mint.bridge.id = 'nothing'"));
}

#[test]
fn the_tables_are_read_from_a_file() {
    let text = "[[detector]]\ntype = 'unbacked-mint'\n[[detector.backing]]\ntoken = '0x1111111111111111111111111111111111111111'\n\
        custody = '0x2222222222222222222222222222222222222222'\nasset = 'native'\n[[detector.bridge]]\n\
        custody = '0x2222222222222222222222222222222222222222'\nrelease_event = 'Released(bytes32 indexed id)'\nid = ['id']\ntravels_max_hours = 1\n[[detector.bridge.source]]\n\
        chain = 10\ncontract = '0x3333333333333333333333333333333333333333'\nevent = 'Sent(bytes32 indexed id)'\nid = ['id']\n";
    #[derive(Debug, Deserialize)]
    struct File {
        detector: Vec<crate::DetectorConfig>,
    }
    let file: File = toml::from_str(text).unwrap();
    let crate::DetectorConfig::UnbackedMint(config) = &file.detector[0] else { panic!("{file:?}") };
    assert_eq!((config.backing.len(), config.bridge.len()), (1, 1));
    assert!(config.build().is_ok());
}
