//! Permits, approvals, drainers and poisoned histories, and their benign twins.

use super::*;
use crate::testing::*;
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use cordon_model::execution::{FrameKind, Log, StorageChange};
use cordon_model::finding::sign::LureKind;
use cordon_model::units::Asset;

/// A wallet that no call reaches.
const WALLET: Address = address!("7777000000000000000000000000000000007777");
const SHARES: [Asset; 2] = [DSHARE, LSHARE];

fn judged(execution: &Execution) -> Vec<(LureKind, u16)> {
    let findings = PhishingConfig::default().build().unwrap().inspect(&World::protocol(), execution);
    let said = findings.into_iter().map(|finding| match finding.evidence {
        Evidence::Sign(Sign::Lure(lure)) => (lure.kind, finding.score.0),
        other => panic!("{other}"),
    });
    said.collect()
}

fn said(script: Script) -> Vec<(LureKind, u16)> {
    judged(&script.finish(&[]))
}

fn owner(number: u8) -> Address {
    Address::repeat_byte(0xd0 + number)
}

fn call_data(function: &str, words: &[U256]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_be_bytes::<32>());
    keccak256(function)[..4].iter().copied().chain(words).collect()
}

fn word(account: Address) -> U256 {
    account.into_word().into()
}

fn token_of(asset: Asset) -> Address {
    let Asset::Token(token) = asset else { panic!("a token") };
    token
}

fn permit(script: &mut Script, asset: Asset, owner: Address, spender: Address, amount: u64) {
    let function = "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)";
    let input = call_data(function, &[word(owner), word(spender), U256::from(amount), U256::MAX]);
    script.frame(FrameKind::Call, token_of(asset), &input, |_| {});
}

/// So many owners sign permits of a share to the controller, which takes it.
fn phished(owners: u8, to: Address) -> Script {
    let mut script = World::new().script();
    for number in 0..owners {
        permit(&mut script, DSHARE, owner(number), CONTROLLER, 9);
        script.pull(DSHARE, owner(number), to, wad(9));
    }
    script
}

#[test]
fn permits_of_several_owners_that_are_used_for_nothing_are_found() {
    assert_eq!(said(phished(3, CONTROLLER)), [(LureKind::Permit, 300)]);
    assert_eq!(said(phished(3, WALLET)), [(LureKind::Permit, 300)]);
    assert_eq!(said(phished(10, WALLET)), [(LureKind::Permit, 700)]);
    let findings = PhishingConfig::default()
        .build()
        .unwrap()
        .inspect(&World::protocol(), &phished(3, WALLET).finish(&[]));
    let lure = Lure {
        kind: LureKind::Permit,
        victim: owner(0),
        victims: 3,
        token: COLLATERAL_VAULT,
        tokens: 1,
        taker: WALLET,
    };
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!((finding.class, finding.contract), (AttackClass::Phishing, COLLATERAL_VAULT));
    assert_eq!(finding.evidence, Evidence::Sign(Sign::Lure(lure)));
}

#[test]
fn one_owner_counts_where_he_loses_several_tokens_or_all_of_one() {
    let mut script = phished(1, WALLET);
    permit(&mut script, LSHARE, owner(0), CONTROLLER, 9);
    script.pull(LSHARE, owner(0), WALLET, wad(9));
    assert_eq!(said(script), [], "both sides of a pair");
    let mut script = phished(1, WALLET);
    for asset in [LSHARE, USD] {
        permit(&mut script, asset, owner(0), CONTROLLER, 9);
        script.pull(asset, owner(0), WALLET, wad(9));
    }
    assert_eq!(said(script), [(LureKind::Permit, 300)]);
    let mut execution = phished(1, WALLET).finish(&[]);
    let (slot, after) = (U256::ONE, U256::ZERO);
    execution.storage_changes.push(StorageChange { address: COLLATERAL_VAULT, slot, before: wad(9), after });
    assert_eq!(judged(&execution), [(LureKind::Permit, 300)]);
}

/// The benign twins: relayers.
#[test]
fn who_is_paid_who_pays_a_contract_and_a_routers_permit_are_ordinary() {
    let mut script = phished(3, CONTROLLER);
    (0..3).for_each(|number| script.transfer(COIN, COLLATERAL_VAULT, owner(number), wad(1)));
    assert_eq!(said(script), [], "paid by a market");

    let mut script = phished(3, CONTROLLER);
    script.transfer(COIN, COLLATERAL_VAULT, CONTROLLER, wad(3));
    (0..3).for_each(|number| script.transfer(COIN, CONTROLLER, owner(number), wad(1)));
    assert_eq!(said(script), [], "paid with what the market gave");

    let mut script = phished(3, BOB);
    script.call(BOB, 1, |_| {});
    assert_eq!(said(script), [], "a payment to a contract, which is called");

    let mut script = World::new().script();
    for number in 0..3 {
        permit(&mut script, DSHARE, owner(number), BOB, 9);
        script.call(BOB, 1, |script| script.pull(DSHARE, owner(number), WALLET, wad(9)));
    }
    assert_eq!(said(script), [], "the allowance is a router's");
    assert_eq!(said(phished(2, WALLET)), []);
    let mut script = World::new().script();
    (0..3).for_each(|number| script.pull(DSHARE, owner(number), WALLET, wad(9)));
    assert_eq!(said(script), [], "standing allowances are not given here");
}

/// Hostile input.
#[test]
fn dust_of_the_takers_own_pays_nobody() {
    let mut script = phished(3, CONTROLLER);
    (0..3).for_each(|number| script.transfer(COIN, CONTROLLER, owner(number), U256::ONE));
    assert_eq!(said(script), [(LureKind::Permit, 300)]);
    let mut script = phished(3, CONTROLLER);
    script.transfer(COIN, COLLATERAL_VAULT, CONTROLLER, wad(300));
    (0..3).for_each(|number| script.transfer(COIN, CONTROLLER, owner(number), U256::ONE));
    assert_eq!(said(script), [(LureKind::Permit, 300)], "out of what it was sold for");
}

#[test]
fn permits_of_all_kinds_are_read() {
    let spender = word(CONTROLLER);
    let (share, first) = (word(COLLATERAL_VAULT), |owner: U256| [owner, U256::ZERO]);
    let one = U256::ONE;
    let dai = |owner| vec![owner, spender, U256::ZERO, U256::MAX, one];
    let single = |owner| vec![owner, share, one, one, one, spender, one, U256::ZERO];
    let [n160, n64] = [160u64, 96].map(U256::from);
    let batch = |owner| vec![owner, U256::from(96u8), n160, n64, spender, one, one, share, one, one, one];
    let moved = |owner| vec![share, one, one, one, word(WALLET), one, owner, U256::ZERO];
    let many = |owner: U256| [&[one, one][..], &first(owner)].concat();
    type Arguments<'a> = &'a dyn Fn(U256) -> Vec<U256>;
    let shapes: [(&str, Arguments<'_>); 5] = [
        ("permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)", &dai),
        ("permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)", &single),
        ("permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)", &batch),
        ("permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)", &moved),
        (
            "permitTransferFrom(((address,uint256)[],uint256,uint256),(address,uint256)[],address,bytes)",
            &many,
        ),
    ];
    for (function, arguments) in shapes {
        let mut script = World::new().script();
        for number in 0..3 {
            // A token reads its own permits; Permit2 (here Bob) those of all tokens, and pulls for the spender.
            let at = if function.contains("bool") { COLLATERAL_VAULT } else { BOB };
            let input = call_data(function, &arguments(word(owner(number))));
            script.frame(FrameKind::Call, at, &input, |_| {});
            script.call(BOB, 1, |script| script.pull(DSHARE, owner(number), WALLET, wad(9)));
        }
        let expected = if function.contains("bool") {
            vec![(LureKind::Approvals, 300)]
        } else {
            vec![(LureKind::Permit, 300)]
        };
        assert_eq!(said(script), expected, "{function}");
    }
}

#[test]
fn torn_and_absurd_calldata_is_read_as_nothing() {
    let batch = "permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)";
    let own = word(owner(1));
    let torn = [
        call_data(batch, &[own, U256::MAX]),
        call_data(batch, &[own, U256::from(64u8), U256::from(96u8), word(CONTROLLER), U256::ONE, U256::MAX]),
        call_data("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", &[U256::MAX, U256::MAX]),
        call_data("approve(address,uint256)", &[]),
        vec![0xd5, 0x05, 0xac],
    ];
    for input in torn {
        let mut script = World::new().script();
        script.frame(FrameKind::Call, BOB, &input, |_| {});
        script.pull(DSHARE, owner(1), WALLET, wad(9));
        assert_eq!(said(script), [], "{input:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever calldata says, it is read without a panic, and names at most as many grants as it has room for.
    #[test]
    fn no_calldata_stops_the_reader(
        function in proptest::sample::select(grants::FUNCTIONS.as_slice()),
        words in proptest::collection::vec(proptest::prelude::any::<[u8; 32]>(), 0..12),
        small in proptest::collection::vec(0u8..7, 0..12),
        cut in 0usize..32,
    ) {
        let small = small.into_iter().map(|number| U256::from(u16::from(number) * 32).to_be_bytes::<32>());
        for words in [words.into_iter().collect::<Vec<_>>(), small.collect()] {
            let mut input = call_data(function.0, &[]);
            input.extend(words.into_iter().flatten());
            input.truncate(input.len() - cut.min(input.len() - 4));
            let mut script = World::new().script();
            script.frame(FrameKind::Call, BOB, &input, |_| {});
            let read = Grants::of(&script.finish(&[]));
            proptest::prop_assert!(read.iter().count() <= 1 + input.len() / 32);
        }
    }
}

fn approve(script: &mut Script, asset: Asset, amount: u64, spender: Address) {
    let input = call_data("approve(address,uint256)", &[word(spender), U256::from(amount)]);
    script.frame(FrameKind::Call, token_of(asset), &input, |_| {});
}

#[test]
fn approvals_of_several_owners_to_the_sender_are_found_and_of_one_or_none_are_not() {
    let approved = |owners: u8, amount: u64, spender: Address| {
        let mut script = World::new().script();
        for number in 0..owners {
            script.call(owner(number), 1, |script| approve(script, DSHARE, amount, spender));
        }
        said(script)
    };
    assert_eq!(approved(3, 5, CONTROLLER), [(LureKind::Approvals, 300)]);
    assert_eq!(approved(2, 5, CONTROLLER), []);
    assert_eq!(approved(3, 0, CONTROLLER), [], "taken back");
    assert_eq!(approved(9, 5, BOB), [], "the benign twin: a bundle of users who allow a router");
}

/// An account of many tokens allows a contract all of them, which takes them to `to`.
fn drained(assets: &[Asset], drainer: Address, to: Address) -> Script {
    let mut script = World::new().script();
    script.call(owner(1), 1, |script| assets.iter().for_each(|asset| approve(script, *asset, 5, drainer)));
    script
        .call(drainer, 2, |script| assets.iter().for_each(|asset| script.pull(*asset, owner(1), to, wad(5))));
    script
}

#[test]
fn a_contract_that_is_allowed_several_tokens_and_takes_them_is_found() {
    let three = [DSHARE, LSHARE, USD];
    assert_eq!(said(drained(&three, BOB, WALLET)), [(LureKind::Drainer, 300)]);
    assert_eq!(said(drained(&SHARES, BOB, WALLET)), [], "two currencies to one payee");
    assert_eq!(said(drained(&three, BOB, BOB)), [], "the benign twin: a deposit");
    let mut paid = drained(&three, BOB, WALLET);
    paid.transfer(COIN, COLLATERAL_VAULT, owner(1), wad(1));
    assert_eq!(said(paid), [], "a purchase");
    let mut dust = drained(&three, BOB, WALLET);
    dust.transfer(COIN, BOB, owner(1), wad(1));
    assert_eq!(said(dust), [(LureKind::Drainer, 300)], "hostile input: dust of the drainer's");
    let mut fresh = World::new().script();
    fresh.create(CHILD, |_| {});
    fresh.call(owner(1), 1, |script| SHARES.iter().for_each(|asset| approve(script, *asset, 5, CHILD)));
    fresh.call(CHILD, 2, |script| {
        SHARES.iter().for_each(|asset| script.pull(*asset, owner(1), CHILD, wad(5)))
    });
    assert_eq!(said(fresh), [(LureKind::Drainer, 300)]);
}

/// Movements of nothing of a share, from so many accounts to others.
fn poisoned(accounts: u8) -> Script {
    let mut script = World::new().script();
    for number in 0..accounts {
        script.pull(DSHARE, owner(number), Address::repeat_byte(0x40 + number), U256::ZERO);
    }
    script
}

#[test]
fn movements_of_nothing_between_accounts_that_do_not_act_are_found() {
    assert_eq!(said(poisoned(3)), [(LureKind::Poisoning, 200)]);
    assert_eq!(said(poisoned(2)), []);
}

/// The benign twins: whoever pays nothing acts, or moves something as well.
#[test]
fn claims_and_fees_of_nothing_are_ordinary() {
    let mut script = poisoned(3);
    script.call(owner(1), 1, |_| {});
    assert_eq!(said(script), [], "a contract that is called");
    let mut script = poisoned(3);
    script.pull(USD, owner(1), BOB, wad(1));
    assert_eq!(said(script), [], "a fee of nothing beside a payment");
    let mut script = World::new().script();
    (0..5).for_each(|number| script.transfer(DSHARE, ALICE, owner(number), U256::ZERO));
    (0..5).for_each(|number| script.transfer(DSHARE, Address::ZERO, owner(number), U256::ZERO));
    (0..5).for_each(|number| script.pull(COIN, owner(number), WALLET, U256::ZERO));
    assert_eq!(said(script), [], "the sender's own, an issue of nothing, a token that is not protected");
}

#[test]
fn an_address_that_looks_like_one_that_is_paid_is_told_by_itself() {
    let real = address!("7777123456789012345678901234567890127777");
    let to = |posing: Address| {
        let mut script = World::new().script();
        script.transfer(USD, ALICE, real, wad(5));
        script.call(LENDING_VAULT, 1, |script| script.transfer(DSHARE, ALICE, posing, U256::ZERO));
        said(script)
    };
    assert_eq!(to(WALLET), [(LureKind::Lookalike, 500)]);
    assert_eq!(to(real), [], "the very same");
    assert_eq!(to(address!("7777000000000000000000000000000000007776")), []);
}

#[test]
fn items_that_are_given_count_as_pay() {
    let mut execution = phished(3, WALLET).finish(&[]);
    let transfer = keccak256("Transfer(address,address,uint256)");
    for number in 0..3 {
        let topics = vec![transfer, B256::ZERO, owner(number).into_word(), B256::with_last_byte(7)];
        execution.logs.push(Log { seq: 90, frame: 0, address: COIN_TOKEN, topics, data: Bytes::new() });
    }
    assert_eq!(judged(&execution), [], "a position that is issued to each");
}

#[test]
fn unusable_values_are_refused_by_key() {
    let error = |config: PhishingConfig| config.build().unwrap_err().to_string();
    let default = PhishingConfig::default;
    assert_eq!(
        error(PhishingConfig { owners_min: 1, ..default() }),
        "phishing.owners_min = '1': expected 2 or more"
    );
    assert!(error(PhishingConfig { owners_many: 2, ..default() }).ends_with("owners_min or more"));
    assert!(error(PhishingConfig { poisoned_min: 0, ..default() }).starts_with("phishing.poisoned_min"));
}
