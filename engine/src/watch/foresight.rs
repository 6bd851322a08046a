//! Looks at transactions that wait to be mined, beside the loop that judges blocks.
//!
//! In: the node's feed of pending transactions, and the state after the newest judged block. Out: lines for people, where
//! a detector would speak if the transaction were mined now. Must never: keep a block waiting, or be taken for what
//! happened. A pending transaction may be replaced, dropped, or mined on another state, so nothing of this is recorded as
//! a finding; its block is judged in any case.

use super::Say;
use crate::engine::Scene;
use crate::error::chain;
use crate::render::plain;
use cordon_ingest::PendingFeed;
use cordon_model::block::Transaction;
use cordon_replay::ReplayError;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeSet, VecDeque};
use tokio::sync::watch::Receiver;

/// Transactions that are not told of again when they come a second time; a node sends one again when it was replaced
/// and comes back. As many as two full blocks hold.
const TOLD_MAX: usize = 512;

/// Transactions that are looked at at once, so that one that waits for the node does not keep the next one waiting. More
/// would take processor time from the judging of blocks, since each may keep a core busy.
const LOOKS_MAX: usize = 4;

/// Looks until the scene's sender is gone.
pub(super) async fn run(mut feed: PendingFeed, mut scenes: Receiver<Option<Scene>>, say: Say) {
    let mut told = Told::default();
    let mut looks = FuturesUnordered::new();
    loop {
        let transaction = tokio::select! {
            changed = scenes.changed() => if changed.is_err() { return } else { continue },
            Some(looked) = looks.next() => {
                tell(looked, &mut told, &say);
                continue;
            }
            transaction = feed.next(), if looks.len() < LOOKS_MAX => transaction,
        };
        let Some(scene) = scenes.borrow().clone() else { continue };
        looks.push(look(scene, transaction));
    }
}

/// What became of a look at a transaction.
struct Looked {
    transaction: Box<Transaction>,
    /// The block on whose state it was looked at.
    at: u64,
    lines: Result<Vec<String>, ReplayError>,
}

fn tell(looked: Looked, told: &mut Told, say: &Say) {
    let Looked { transaction, at, lines } = looked;
    match lines {
        Ok(lines) if !lines.is_empty() && told.is_new(&transaction) => {
            let (hash, from) = (transaction.hash, transaction.from);
            say(format!("pending, on the state after block {at}: transaction {hash} of {from}"));
            lines.into_iter().for_each(|line| say(format!("    {line}")));
        }
        Ok(_) => {}
        // Its state could not be read in time; its block will be judged.
        Err(error) => tracing::debug!(tx = %transaction.hash, error = %chain(&error), "not foreseen"),
    }
}

async fn look(scene: Scene, transaction: Box<Transaction>) -> Looked {
    let lines = lines(&scene, &transaction).await;
    Looked { transaction, at: scene.head.number, lines }
}

/// What the detectors would say.
async fn lines(scene: &Scene, transaction: &Transaction) -> Result<Vec<String>, ReplayError> {
    let mut fork = scene.fork.branch();
    let execution = fork.transaction(transaction, scene.views.clone()).await?;
    let mut findings = scene.detectors.inspect(&execution);
    let compared = scene.detectors.compare(&execution, &scene.baselines);
    findings.extend(compared.into_iter().flat_map(|(_, compared)| compared.findings));
    let line = |finding: &cordon_model::finding::Finding| {
        let (class, protocol) = (finding.class, plain(&finding.protocol.0));
        format!("{class} on '{protocol}' (score {}): {}", finding.score, plain(&finding.evidence.to_string()))
    };
    Ok(findings.iter().map(line).collect())
}

/// Transactions that were told of, the newest ones.
#[derive(Default)]
struct Told {
    order: VecDeque<alloy_primitives::B256>,
    known: BTreeSet<alloy_primitives::B256>,
}

impl Told {
    fn is_new(&mut self, transaction: &Transaction) -> bool {
        if !self.known.insert(transaction.hash) {
            return false;
        }
        self.order.push_back(transaction.hash);
        if self.order.len() > TOLD_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}
