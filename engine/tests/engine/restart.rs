//! The process dies at its n-th commit, for every n from the first judged block to the verified containment, before or
//! after that commit took effect. The next process finishes the work from the log and the chain alone.

use crate::faults::{Death, Fuse, Outage};
use crate::watchtower::{Grants, Tower, Watch};
use cordon_model::incident::Incident;

const SEED: u64 = 11;

/// Blocks from the first watched one to the containment, with those that a dead process misses.
const BLOCKS_MAX: usize = 24;

/// More commits than there are up to the containment; the loop ends with the first n that a life gets past.
const COMMITS_MAX: i64 = 200;

/// One life: it follows the scenario until the incident is contained and its report written, or until it dies.
async fn live(tower: &mut Tower, fuse: std::sync::Arc<Fuse>) -> Option<Watch> {
    let outage = Outage::none(tower.chain());
    let mut watch = Watch::begin(tower, fuse, outage).await.ok()?;
    for _ in 0..BLOCKS_MAX {
        let followed = watch.follow().await;
        if watch.fuse.is_blown() {
            return None;
        }
        followed.unwrap();
        if watch.is_investigated() {
            return Some(watch);
        }
        tower.world.step().unwrap();
    }
    panic!("not contained: {:?}", watch.engine.incidents().map(Incident::state).collect::<Vec<_>>());
}

async fn dies_at_every_commit(death: Death, blocks_while_dead: usize) {
    for at in 1..COMMITS_MAX {
        let what = format!("{death:?} {at}, {blocks_while_dead} blocks while dead");
        let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
        let first = live(&mut tower, Fuse::at(at, death)).await;
        let survived = first.is_some();
        let mut watch = match first {
            Some(watch) => watch,
            None => {
                for _ in 0..blocks_while_dead {
                    tower.world.step().unwrap();
                }
                live(&mut tower, Fuse::solid()).await.unwrap()
            }
        };
        watch.deliver().await.unwrap();
        let incident = tower.assert_contained_once(&watch, &what).await;
        assert!(!incident.findings.is_empty(), "{what}");
        let queued = tower.assert_everybody_was_told(&watch, &what).await;
        assert!(queued.values().all(|times| *times == 1), "{what}: queued twice: {queued:?}");
        if survived {
            assert!(at > 15, "{what}: a containment takes more commits than that");
            return;
        }
    }
    panic!("the process never got through {COMMITS_MAX} commits");
}

#[tokio::test]
async fn a_commit_that_was_not_written_is_made_by_the_next_process() {
    dies_at_every_commit(Death::BeforeCommit, 0).await;
}

#[tokio::test]
async fn a_commit_that_nobody_heard_of_is_not_made_twice() {
    dies_at_every_commit(Death::AfterCommit, 0).await;
}

#[tokio::test]
async fn the_chain_goes_on_while_the_process_is_dead() {
    dies_at_every_commit(Death::BeforeCommit, 2).await;
}

#[tokio::test]
async fn the_chain_goes_on_after_a_commit_that_nobody_heard_of() {
    dies_at_every_commit(Death::AfterCommit, 2).await;
}

/// A process may also die right after it started again, while it takes up what was left.
#[tokio::test]
async fn a_process_that_dies_again_and_again_at_its_first_commits_still_gets_through() {
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    for life in 0..COMMITS_MAX {
        // Each life gets a few commits, so that every one makes some progress and dies somewhere else.
        if let Some(mut watch) = live(&mut tower, Fuse::at(2 + life % 3, Death::AfterCommit)).await {
            watch.deliver().await.unwrap();
            tower.assert_contained_once(&watch, "after many lives").await;
            let queued = tower.assert_everybody_was_told(&watch, "after many lives").await;
            assert!(queued.values().all(|times| *times == 1), "queued twice: {queued:?}");
            return;
        }
    }
    panic!("no progress over {COMMITS_MAX} lives");
}
