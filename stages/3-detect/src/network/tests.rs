//! The set of monitors as a whole: configuration, restoring, and any stream of observations.

use super::testing::{at, block, ethereum, monitors, timing};
use super::*;
use alloy_primitives::I256;
use cordon_model::network::observation::{
    BeaconSight, FeedSight, FinalityEpochs, Head, HeightAnswers, ReplaySight, RollupSync, SlotBlock,
    SlotSight,
};
use cordon_model::network::{AlarmLevel, NetworkSignal, ProviderAnswer};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn parse(text: &str) -> Result<NetworkConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn an_empty_table_takes_the_documented_defaults() {
    assert_eq!(parse(""), Ok(NetworkConfig::default()));
}

#[test]
fn every_signal_can_be_written() {
    let text = "
calm_s = 60
off = ['mempool-spam']
[reorg]
warn_depth = 8
page_depth = 32
[finality-delay]
epoch_slots = 16
[missed-slots]
warn = 5
page = 6
[chain-halt]
silent_min_s = 30
[participation]
warn_permille = 900
[slashing]
page_any = 20
[[slashing.operators]]
name = 'ours'
watched = true
validators = [1, 2, 3]
[sequencer-stall]
warn_s = 20
[provider-split]
page_depth = 6
[base-fee-spike]
floor_wei = 0
[mempool-spam]
warn_multiple = 9
[oracle-stall]
patience_s = 120
[[oracle-stall.feeds]]
address = '0x00000000000000000000000000000000000000fe'
heartbeat_s = 3600
[backlog]
page_s = 600
[replay-mismatch]
agree_blocks = 64
";
    let config = parse(text).unwrap();
    assert_eq!((config.calm_s, config.reorg.page_depth, config.slashing.operators.len()), (60, 32, 1));
    let built = config.build(timing(12_000, Consensus::Slots)).unwrap();
    assert!(!built.kinds().contains(&SignalKind::MempoolSpam), "switched off");
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    for text in ["calm = 3", "off = ['reorgs']", "[reorg]\ndepth = 3", "[finality]\nwarn_epochs = 3"] {
        let error = parse(text).unwrap_err();
        assert!(error.contains("unknown"), "{error}");
    }
}

#[test]
fn an_unusable_value_is_refused_with_key_value_and_expectation() {
    let slots = timing(12_000, Consensus::Slots);
    let config = NetworkConfig {
        reorg: ReorgConfig { warn_depth: 4, ..ReorgConfig::default() },
        ..NetworkConfig::default()
    };
    assert_eq!(
        config.build(slots).unwrap_err().to_string(),
        "network.reorg.warn_depth / page_depth = '4 / 3': expected a warning of at least 1 that is not above the page"
    );
    let config = NetworkConfig { calm_s: 86_401, ..NetworkConfig::default() };
    assert!(config.build(slots).unwrap_err().to_string().starts_with("network.calm_s = '86401'"));
    let missed_slots = MissedSlotsConfig { window_slots: 41, ..MissedSlotsConfig::default() };
    let config = NetworkConfig { missed_slots, ..NetworkConfig::default() };
    assert!(config.build(slots).unwrap_err().to_string().contains("window_slots = '41'"));
}

#[test]
fn each_kind_of_chain_has_the_signals_that_mean_something_there() {
    let kinds = |ms, consensus| monitors(ms, consensus).kinds();
    let slots = kinds(12_000, Consensus::Slots);
    assert!(slots.contains(&SignalKind::MissedSlots) && !slots.contains(&SignalKind::SequencerStall));
    assert_eq!(slots.len(), 12);
    let rollup = kinds(250, Consensus::Sequencer);
    assert!(rollup.contains(&SignalKind::SequencerStall) && !rollup.contains(&SignalKind::Participation));
    assert_eq!(rollup.len(), 10);
    assert_eq!(kinds(13_000, Consensus::Irregular).len(), 9);
    let odd = kinds(750, Consensus::Slots);
    assert!(!odd.contains(&SignalKind::MissedSlots), "whole seconds cannot tell slots of 750 ms");
}

#[test]
fn an_alarm_of_the_log_is_neither_raised_twice_nor_left_standing() {
    // Blocks of an irregular chain: the slots that a halt leaves without a block are an alarm of their own.
    let mut monitors = monitors(6_000, Consensus::Irregular);
    let signal = NetworkSignal::ChainHalt { newest: block(7), silent_s: 200 };
    monitors.restore(&[NetworkAlarm { level: AlarmLevel::Page, signal }]);
    let halted = Observation { at_s: 1_200, ..at(1_000, 7) };
    assert_eq!(monitors.observe(&halted), []);
    let changes: Vec<_> = (0..60).flat_map(|i| monitors.observe(&at(1_212 + i * 12, 8 + i))).collect();
    assert_eq!(changes, [Change::Cleared { kind: SignalKind::ChainHalt, subject: None }]);
}

#[test]
fn an_alarm_of_a_signal_that_has_no_meaning_here_is_cleared() {
    let mut monitors = ethereum();
    let signal = NetworkSignal::SequencerStall { head_age_s: 70, safe_lag_blocks: None };
    monitors.restore(&[NetworkAlarm { level: AlarmLevel::Page, signal }]);
    let cleared = Change::Cleared { kind: SignalKind::SequencerStall, subject: None };
    assert_eq!(monitors.observe(&Observation::default()), [cleared]);
}

fn near(values: std::ops::Range<u64>) -> impl Strategy<Value = u64> {
    prop_oneof![9 => values, 1 => any::<u64>()]
}

fn head() -> impl Strategy<Value = Head> {
    (near(0..200), near(0..2_000), option::of(any::<u64>())).prop_map(
        |(number, timestamp_s, base_fee_wei)| Head { block: block(number), timestamp_s, base_fee_wei },
    )
}

fn providers() -> impl Strategy<Value = Vec<HeightAnswers>> {
    let answer = (option::of(0u8..3), option::of(0u8..2)).prop_map(|(hash, root)| ProviderAnswer {
        provider: "https://node.example".to_owned(),
        client: None,
        hash: hash.map(|byte| [byte; 32].into()),
        receipts_root: root.map(|byte| [byte; 32].into()),
    });
    let height = (near(0..200), vec(answer, 0..4));
    vec(height.prop_map(|(number, answers)| HeightAnswers { number, answers }), 0..3)
}

fn beacon() -> impl Strategy<Value = BeaconSight> {
    let block = (option::of(0u32..1_100), vec(near(0..20), 0..5))
        .prop_map(|(sync_permille, slashed)| SlotBlock { sync_permille, slashed });
    let slot = (near(0..200), option::of(block)).prop_map(|(slot, block)| SlotSight { slot, block });
    let finality =
        (near(0..10), near(0..10)).prop_map(|(current, finalized)| FinalityEpochs { current, finalized });
    (option::of(finality), vec(slot, 0..6)).prop_map(|(finality, slots)| BeaconSight { finality, slots })
}

fn feeds() -> impl Strategy<Value = Vec<FeedSight>> {
    let number = || any::<i64>().prop_map(|value| I256::try_from(value).unwrap());
    let feed = (0u8..3, near(0..2_000), number(), option::of(number()), option::of(number()));
    vec(
        feed.prop_map(|(feed, updated_at_s, answer, min, max)| FeedSight {
            feed: Address::repeat_byte(feed),
            updated_at_s,
            answer,
            min,
            max,
        }),
        0..3,
    )
}

fn observation() -> impl Strategy<Value = Observation> {
    let number = || near(0..200);
    let chain = (
        near(0..2_000),
        option::of(head()),
        vec(number().prop_map(block), 0..5),
        option::of(number().prop_map(block)),
        option::of(number().prop_map(block)),
    );
    let rollup = (number(), number(), number()).prop_map(|(unsafe_number, safe_number, finalized_number)| {
        RollupSync { unsafe_number, safe_number, finalized_number }
    });
    let replay = (number(), vec((number().prop_map(block), ".*"), 0..2))
        .prop_map(|(blocks, mismatches)| ReplaySight { blocks, mismatches });
    let rest = (
        option::of(any::<u64>()),
        providers(),
        option::of(beacon()),
        option::of(rollup),
        feeds(),
        option::of(number()),
        option::of(replay),
    );
    (chain, rest).prop_map(|((at_s, head, reverted, safe, finalized), rest)| {
        let (txpool_pending, providers, beacon, rollup, feeds, backlog_blocks, replay) = rest;
        Observation {
            at_s,
            head,
            reverted,
            safe,
            finalized,
            txpool_pending,
            providers,
            beacon,
            rollup,
            feeds,
            backlog_blocks,
            replay,
        }
    })
}

fn any_monitors() -> impl Strategy<Value = NetworkMonitors> {
    let consensus =
        prop_oneof![Just(Consensus::Slots), Just(Consensus::Sequencer), Just(Consensus::Irregular)];
    (1u64..20_000, consensus, 0u64..400).prop_map(|(ms, consensus, calm_s)| {
        let feeds =
            (0..2).map(|i| FeedConfig { address: Address::repeat_byte(i), heartbeat_s: 60 }).collect();
        let oracle_stall = OracleConfig { feeds, ..OracleConfig::default() };
        NetworkConfig { calm_s, oracle_stall, ..NetworkConfig::default() }
            .build(timing(ms, consensus))
            .unwrap()
    })
}

proptest! {
    #[test]
    fn any_stream_is_judged_without_a_panic_and_without_repeating_itself(
        mut monitors in any_monitors(),
        mut looks in vec(observation(), 0..120),
        in_order in any::<bool>(),
    ) {
        if in_order {
            looks.sort_by_key(|look| look.at_s);
        }
        let mut standing: BTreeMap<_, AlarmLevel> = BTreeMap::new();
        for look in &looks {
            for change in monitors.observe(look) {
                match change {
                    Change::Raised(alarm) => {
                        let key = (alarm.signal.kind(), alarm.signal.subject());
                        let before = standing.insert(key, alarm.level);
                        prop_assert_ne!(before, Some(alarm.level), "raised twice: {:?}", alarm);
                    }
                    Change::Cleared { kind, subject } => {
                        let before = standing.remove(&(kind, subject));
                        prop_assert!(before.is_some(), "{} was cleared and did not stand", kind);
                    }
                }
            }
            prop_assert_eq!(monitors.standing(), standing.keys().copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_same_stream_gives_the_same_changes(looks in vec(observation(), 0..60)) {
        let changes = |mut monitors: NetworkMonitors| {
            looks.iter().flat_map(|look| monitors.observe(look)).collect::<Vec<_>>()
        };
        prop_assert_eq!(changes(ethereum()), changes(ethereum()));
    }
}
