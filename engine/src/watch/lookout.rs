//! Looks at the chain itself from time to time, beside the loop that judges blocks.
//!
//! In: the chain's nodes, its beacon API, its price feeds. Out: observations in a short queue. Must never: keep a block
//! waiting. It runs as a task of its own, and a look that finds the queue full is dropped: the next one says more.

use super::unix_now_s;
use crate::config::Chain;
use crate::node::Nodes;
use cordon_ingest::observe::{BeaconObserver, NodeObserver, NodeObserverConfig};
use cordon_ingest::{Counters, MethodCounts, Quorum};
use cordon_model::network::observation::{HeightAnswers, Observation};
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Shortest time between two looks. A look asks each node a handful of questions; on chains with blocks every quarter of
/// a second, a look a block would ask more than it tells.
const PERIOD_MIN: Duration = Duration::from_secs(2);

/// Longest time between two looks: one slot of Ethereum.
const PERIOD_MAX: Duration = Duration::from_secs(12);

/// Looks that may wait for the loop; more would be old when they are judged.
const QUEUE_MAX: usize = 4;

/// Longest wait for one answer: a look that takes longer than the period would be late for the next.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Heights below the head at which nodes are compared: at the head itself they differ by delay alone.
const COMPARED_BELOW_HEAD: [u64; 2] = [2, 5];

/// How often the requests to each node are told in the log: often enough to see a budget run out within an hour.
const COUNTERS_PERIOD: Duration = Duration::from_secs(300);

/// Slots of an epoch (consensus specification, `SLOTS_PER_EPOCH`).
const EPOCH_SLOTS: NonZeroU64 = NonZeroU64::new(32).expect("thirty-two is not zero");

struct Lookout {
    node: NodeObserver,
    beacon: Option<BeaconObserver>,
    quorum: Quorum,
    counters: Counters,
    period: Duration,
}

/// Begins to look; ends when the receiver is dropped.
pub(super) fn begin(chain: &Chain, nodes: &Nodes) -> Receiver<Observation> {
    let (sender, receiver) = channel(QUEUE_MAX);
    let config = NodeObserverConfig {
        node: format!("nodes of chain {}", chain.id),
        request_timeout: ANSWER_MAX,
        txpool: true,
        rollup: None,
        feeds: chain.network.oracle_stall.feeds.iter().map(|feed| feed.address).collect(),
    };
    let beacon = chain.beacon.as_deref().and_then(|url| {
        BeaconObserver::new(url, ANSWER_MAX, EPOCH_SLOTS)
            .inspect_err(|error| tracing::warn!(chain = %chain.id, %error, "no beacon API"))
            .ok()
    });
    let lookout = Lookout {
        node: NodeObserver::new(nodes.provider.clone(), config),
        beacon,
        quorum: nodes.quorum.clone(),
        counters: nodes.counters.clone(),
        period: Duration::from_millis(chain.timing.block_time_ms.get()).clamp(PERIOD_MIN, PERIOD_MAX),
    };
    tokio::spawn(lookout.run(sender));
    receiver
}

impl Lookout {
    async fn run(mut self, sender: Sender<Observation>) {
        let mut told = tokio::time::Instant::now();
        loop {
            if told.elapsed() >= COUNTERS_PERIOD {
                told = tokio::time::Instant::now();
                self.tell_counters();
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(self.period) => {}
            }
            let seen = tokio::select! {
                () = sender.closed() => return,
                seen = self.look() => seen,
            };
            match sender.try_send(seen) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    tracing::debug!("a look at the chain was dropped, the loop is busy")
                }
                Err(TrySendError::Closed(_)) => return,
            }
        }
    }

    /// What was asked of each node so far: in all at the level of information, by method at that of debugging.
    fn tell_counters(&self) {
        for node in self.counters.snapshot() {
            let (total, wrong) = (node.total(), node.wrong_answers);
            let MethodCounts { requests, errors, retries, hedges } = total;
            tracing::info!(node = node.node, requests, errors, retries, hedges, wrong, "requests");
            for (method, counts) in &node.methods {
                let MethodCounts { requests, errors, retries, hedges } = *counts;
                tracing::debug!(node = node.node, method, requests, errors, retries, hedges, "requests");
            }
        }
    }

    async fn look(&mut self) -> Observation {
        let mut seen = Observation { at_s: unix_now_s(), ..Observation::default() };
        self.node.observe(&mut seen).await;
        if let Some(beacon) = &mut self.beacon {
            seen.beacon = beacon.observe(seen.at_s).await;
        }
        let newest = seen.head.map(|head| head.block.number).filter(|_| self.quorum.size() > 1);
        for number in
            newest.into_iter().flat_map(|newest| COMPARED_BELOW_HEAD.map(|below| newest.checked_sub(below)))
        {
            let Some(number) = number else { continue };
            let answers = self.quorum.answers(number).await;
            seen.providers.push(HeightAnswers { number, answers });
        }
        seen
    }
}
