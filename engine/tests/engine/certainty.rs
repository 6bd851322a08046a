//! An alert is raised on an unconfirmed block, and confirmed or withdrawn later.

use crate::watchtower::{Grants, Tower, Watch};
use alloy_primitives::B256;
use cordon_model::incident::IncidentEvent;
use cordon_model::plan::Certainty;
use cordon_model::units::BlockRef;

async fn confirmations(watch: &Watch) -> Vec<Certainty> {
    let certainty = |event| match event {
        IncidentEvent::FindingConfirmed { certainty, .. } => Some(certainty),
        _ => None,
    };
    watch.events().await.into_iter().filter_map(certainty).collect()
}

async fn detected() -> (Tower, Watch, BlockRef) {
    let mut tower = Tower::before_the_attack(41, Grants::ObserveOnly);
    let mut watch = tower.wake().await;
    watch.until_detected(&mut tower).await;
    let strike = watch.incident().findings[0].tx.block;
    (tower, watch, strike)
}

#[tokio::test]
async fn a_finding_becomes_safe_then_final_and_is_told_once() {
    let (tower, mut watch, strike) = detected().await;
    let findings = watch.incident().findings.len();
    assert!(watch.engine.awaits_finality());
    let parent = watch.engine.cursor().recent.iter().rev().nth(1).copied();
    watch.engine.confirm(parent, parent).await.unwrap();
    assert_eq!(confirmations(&watch).await, [], "the block before says nothing of this one");
    watch.engine.confirm(Some(strike), parent).await.unwrap();
    assert_eq!(confirmations(&watch).await, vec![Certainty::Safe; findings]);
    assert_eq!(watch.told("is in finalised blocks").await, 0);

    // The next process goes on from there.
    drop(watch);
    let mut watch = tower.wake().await;
    for _ in 0..2 {
        watch.engine.confirm(Some(strike), Some(strike)).await.unwrap();
    }
    let told = confirmations(&watch).await;
    assert_eq!(told.len(), 2 * findings, "{told:?}");
    assert!(told[findings..].iter().all(|certainty| *certainty == Certainty::Finalized));
    assert_eq!(watch.told("is in finalised blocks").await, 1);
    assert!(!watch.engine.awaits_finality());
}

#[tokio::test]
async fn a_node_on_another_branch_or_ahead_confirms_nothing() {
    let (_tower, mut watch, strike) = detected().await;
    let other = BlockRef { number: strike.number, hash: B256::repeat_byte(7) };
    let ahead = BlockRef { number: strike.number + 1_000, hash: B256::repeat_byte(8) };
    watch.engine.confirm(Some(other), Some(other)).await.unwrap();
    watch.engine.confirm(Some(ahead), Some(ahead)).await.unwrap();
    assert_eq!(confirmations(&watch).await, []);
}

#[tokio::test]
async fn what_left_the_chain_is_withdrawn_and_never_confirmed() {
    let (tower, mut watch, strike) = detected().await;
    tower.chain().reorg(1).unwrap();
    tower.chain().mine();
    watch.follow().await.unwrap();
    let head = tower.head();
    assert!(head.number >= strike.number);
    watch.engine.confirm(Some(head), Some(head)).await.unwrap();
    assert_eq!(confirmations(&watch).await, []);
    assert!(watch.incident().findings.is_empty());
}
