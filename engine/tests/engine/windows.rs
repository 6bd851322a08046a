//! Windows over several transactions count each once, across restarts and reorganisations, and the log says by which rules.

use crate::chain_edits::{hand_in_again, take_back};
use crate::learning::{events, quiet_steps};
use crate::watchtower::{QUIET_STEPS, Tower, Watch};
use alloy_primitives::U256;
use cordon_detect::DetectorConfig;
use cordon_detect::rules::{RuleSet, RulesConfig};
use cordon_model::chain_state::ChainState;
use cordon_model::finding::Evidence;
use cordon_model::finding::sign::Sign;
use cordon_model::log::ChainEvent;
use cordon_range::Scenario;
use std::sync::Arc;

const SEED: u64 = 43;

/// Ordinary use, watched by one rule that counts transactions of a day.
fn tower(above: u64) -> Tower {
    let text = format!(
        "[[rule]]\nid = 'busy'\ntitle = 'busy'\nclass = 'test'\nscore = 700\nwhen = 'tx.success'\n\
         [rule.window]\nseconds = 86400\nabove = '{above}'"
    );
    let sets = vec![Arc::new(RuleSet::parse("busy.toml", &text).unwrap())];
    let mut tower = Tower::new(Scenario::DonationReentrancyBenign, SEED);
    let files = vec!["busy.toml".into()];
    tower.config.detectors = vec![DetectorConfig::Rules(RulesConfig { files, sets })];
    assert!(tower.config.detectors[0].build().unwrap().compares());
    tower
}

/// What the log makes of the chain, and the sum of the rule's window.
async fn counted(tower: &Tower, watch: &Watch) -> (ChainState, U256) {
    let (mut state, mut key, mut newest_s) = (ChainState::default(), None, 0);
    for event in events(tower, watch).await {
        if let ChainEvent::Tallied { tallies, timestamp_s, .. } = &event {
            (key, newest_s) = (tallies.first().map(|tally| tally.key), *timestamp_s);
        }
        state.apply(&event);
    }
    let protocol = &tower.config.protocols[0].id;
    let baseline = state.baselines.of(protocol).cloned().unwrap_or_default();
    let sum = key.map_or(U256::ZERO, |key| baseline.tallies().sum(key, newest_s.saturating_sub(86_400)));
    (state, sum)
}

/// Steps with a restart between them and a block that is mined twice.
async fn live(tower: &mut Tower) -> Watch {
    let mut watch = tower.wake().await;
    quiet_steps(tower, &mut watch, QUIET_STEPS / 2).await;
    drop(watch);
    let mut watch = tower.wake().await;
    quiet_steps(tower, &mut watch, QUIET_STEPS / 2).await;
    let dropped = take_back(tower.chain(), 2);
    hand_in_again(tower.chain(), dropped);
    tower.chain().mine();
    tower.chain().mine();
    watch.follow().await.unwrap();
    watch
}

#[tokio::test]
async fn every_transaction_counts_once() {
    let mut quiet = tower(1_000_000);
    let watch = live(&mut quiet).await;
    let (state, sum) = counted(&quiet, &watch).await;
    let protocol = &quiet.config.protocols[0].id;
    assert_eq!(sum, U256::from(state.baselines.transactions(protocol)));
    assert!(sum > U256::from(10), "{sum}");
    assert_eq!(watch.engine.incidents().count(), 0);
    let [file] = &state.rules[..] else { panic!("{:?}", state.rules) };
    assert_eq!(file.name, "busy.toml");
    let taken = |event: &ChainEvent| matches!(event, ChainEvent::RulesTaken { .. });
    let events = events(&quiet, &watch).await;
    assert_eq!(events.iter().filter(|event| taken(event)).count(), 1, "they are named when they change");

    // The same life, with a limit that only the last transaction exceeds.
    let mut loud = tower(sum.to::<u64>() - 1);
    let watch = live(&mut loud).await;
    let incident = watch.incident();
    let exceeded = incident.findings.iter().filter_map(|finding| match &finding.evidence {
        Evidence::Sign(Sign::Counted(counted)) => Some(counted.total),
        _ => None,
    });
    assert_eq!(exceeded.last(), Some(sum));
}
