//! `kill -9` at every point: the process dies at its n-th commit or its n-th request to the node, before or after it
//! took effect, for every n until it gets through. A new process then finishes the work from the log and the chain
//! alone. Whatever n was: one intent, one nonce, at most one transaction mined, and the vault is paused.

use crate::world::{CHAIN, Fuse, FusedLog, FusedNode, World, guardian};
use cordon_contain::{LaneUpdate, SendPolicy, Submitted};
use cordon_model::lane::LaneEvent;
use cordon_model::log::{Body, EventLog, StreamId};
use cordon_model::plan::Plan;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Far more points than a run has; the loop ends at the first n that a run gets past.
const POINTS_MAX: i64 = 200;

/// Blocks that a process gets to finish its work: each round is one block.
const ROUNDS_MAX: usize = 8;

/// Blocks that pass between two lives.
const BLOCKS_WHILE_DEAD: u64 = 3;

/// What the chain does while processes live and die on it.
#[derive(Debug)]
struct Run {
    world: World,
    plan: Plan,
    /// Whether the block of the step still has to leave the chain once.
    reorg_to_come: AtomicBool,
}

impl Run {
    async fn new(reorg: bool) -> Self {
        let world = World::new().await;
        let plan = world.pause_plan();
        world.approve(&plan).await;
        Self { world, plan, reorg_to_come: AtomicBool::new(reorg) }
    }

    /// True where the step is mined for good; the first time it may be taken back.
    fn settled(&self, mined_in: u64) -> bool {
        if self.reorg_to_come.swap(false, Ordering::SeqCst) {
            let depth = self.world.chain.head().number - mined_in + 1;
            self.world.chain.reorg(depth).unwrap();
            self.world.chain.mine_many(depth);
            return false;
        }
        true
    }

    /// One life of a process: it submits, and polls once per block until the step is settled or it dies.
    async fn live(&self, commits: Arc<Fuse>, requests: Arc<Fuse>) -> bool {
        let world = &self.world;
        let node =
            FusedNode { inner: world.chain.transport(), requests: requests.clone(), also: commits.clone() };
        let log: Arc<dyn EventLog> =
            Arc::new(FusedLog { inner: world.log.clone(), commits: commits.clone(), also: requests.clone() });
        let sender = world.sender_over(node.provider(), log, SendPolicy::default());
        if let Ok(Submitted::Mined(receipt)) = sender.submit(&self.plan, 0, world.now()).await
            && self.settled(receipt.block.number)
        {
            return true;
        }
        for _ in 0..ROUNDS_MAX {
            if commits.is_blown() || requests.is_blown() {
                return false;
            }
            world.chain.mine();
            for update in sender.poll(world.now()).await.unwrap_or_default() {
                if let LaneUpdate::Mined { receipt } = update
                    && self.settled(receipt.block.number)
                {
                    return true;
                }
            }
        }
        false
    }
}

/// What must hold however often the process died.
async fn check(world: &World, point: &str) {
    let lane = world.log.read(StreamId::lane(CHAIN, guardian().address())).await.unwrap();
    let (mut intents, mut mined, mut unmined) = (0, 0, 0);
    for stored in &lane {
        match &stored.record.body {
            Body::Lane(LaneEvent::IntentRecorded { intent }) => {
                intents += 1;
                assert_eq!(intent.nonce, 0, "{point}");
            }
            Body::Lane(LaneEvent::Signed { nonce, .. }) => assert_eq!(*nonce, 0, "{point}"),
            Body::Lane(LaneEvent::Mined { .. }) => mined += 1,
            Body::Lane(LaneEvent::Unmined { .. }) => unmined += 1,
            other => panic!("{point}: {other:?}"),
        }
    }
    assert_eq!((intents, mined), (1, unmined + 1), "{point}: {lane:?}");
    assert_eq!(world.guardian_nonce().await, 1, "{point}: at most one transaction is mined");
    assert!(world.is_paused(), "{point}");
    for tx in world.chain.pending() {
        assert_ne!(tx.inner.signer(), guardian().address(), "{point}: nothing is left over");
    }
}

/// Kills the first process at every point that `fuses` names, then lets a second one finish.
async fn kill_everywhere(what: &str, reorg: bool, fuses: impl Fn(i64) -> (Arc<Fuse>, Arc<Fuse>)) {
    for n in 0..POINTS_MAX {
        let point = format!("{what} {n}");
        let run = Run::new(reorg).await;
        let (commits, requests) = fuses(n);
        let mut finished = run.live(commits.clone(), requests.clone()).await;
        let died = commits.is_blown() || requests.is_blown();
        if !finished {
            assert!(died, "{point}: a process that lives finishes");
            // The chain goes on without the process, so the second one sees other fees and signs other bytes.
            run.world.chain.mine_many(BLOCKS_WHILE_DEAD);
            finished = run.live(Fuse::endless(), Fuse::endless()).await;
        }
        assert!(finished, "{point}");
        check(&run.world, &point).await;
        if !died {
            assert!(n >= 3, "{what}: a run has at least three points");
            return;
        }
    }
    panic!("{what}: a run has more than {POINTS_MAX} points");
}

#[tokio::test]
async fn dying_around_a_commit_loses_nothing_and_doubles_nothing() {
    for after in [false, true] {
        kill_everywhere("commit", false, |n| (Fuse::at(n, after), Fuse::endless())).await;
    }
}

#[tokio::test]
async fn dying_around_a_commit_while_the_chain_reorganises_does_neither() {
    for after in [false, true] {
        kill_everywhere("commit", true, |n| (Fuse::at(n, after), Fuse::endless())).await;
    }
}

#[tokio::test]
async fn dying_around_a_request_loses_nothing_and_doubles_nothing() {
    for after in [false, true] {
        kill_everywhere("request", false, |n| (Fuse::endless(), Fuse::at(n, after))).await;
    }
}

#[tokio::test]
async fn dying_around_a_request_while_the_chain_reorganises_does_neither() {
    for after in [false, true] {
        kill_everywhere("request", true, |n| (Fuse::endless(), Fuse::at(n, after))).await;
    }
}

#[tokio::test]
async fn two_processes_with_one_key_send_one_transaction() {
    let world = World::new().await;
    let plan = world.pause_plan();
    world.approve(&plan).await;
    let (one, two) = (world.sender(), world.sender());
    let (first, second) = tokio::join!(one.submit(&plan, 0, world.now()), two.submit(&plan, 0, world.now()));
    for submitted in [first.unwrap(), second.unwrap()] {
        assert!(matches!(submitted, Submitted::InFlight { nonce: 0, .. }), "{submitted:?}");
    }
    world.chain.mine();
    let (first, second) = tokio::join!(one.poll(world.now()), two.poll(world.now()));
    let news = [first.unwrap(), second.unwrap()].concat();
    assert_eq!(news.iter().filter(|update| matches!(update, LaneUpdate::Mined { .. })).count(), 1);
    check(&world, "two processes").await;
}
