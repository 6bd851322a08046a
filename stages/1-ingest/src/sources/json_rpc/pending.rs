//! Transactions that wait to be mined, with their bodies, as a node pushes them.
//!
//! In: `newPendingTransactions` over a websocket or a socket of this machine, on a connection of its own, so that a
//! flooded mempool never stands between a block and whoever waits for it. Out: one transaction at a time. The queue is
//! bounded and keeps the newest: a pending transaction that nobody looked at in time is worth nothing, and the block
//! that holds it will be judged in any case. It must never wait for its reader, nor give a transaction whose hash is
//! not that of its body.

use super::dial::Dial;
use super::node::{Node, is_null};
use crate::convert;
use crate::error::SourceError;
use alloy_primitives::B256;
use alloy_provider::{DynProvider, Provider as _};
use cordon_model::block::Transaction;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;

/// Transactions that wait for the reader. Ethereum mines about 200 per block and its mempool sees twice as many between
/// two blocks; five blocks of that.
const QUEUE_MAX: usize = 2_048;

/// Notifications that wait to be read off the connection; alloy's own 16 are less than one burst.
const NOTIFICATIONS_MAX: usize = 1_024;

/// Hashes whose bodies are asked for in one packet; a tenth of what hosted nodes take.
const BODIES_PER_BATCH: usize = 64;

/// Hashes that wait for their bodies; the newest are kept here too.
const HASHES_MAX: usize = 1_024;

/// First pause before a lost feed is opened again; doubled up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// Longest pause before a lost feed is opened again: two slots of Ethereum. What is missed meanwhile is judged in its
/// block.
const PAUSE_MAX: Duration = Duration::from_secs(24);

/// Whether a node pushes what waits to be mined.
#[derive(Debug)]
pub enum Pending {
    /// It can; the feed opens and opens again by itself.
    Feed(PendingFeed),
    /// It cannot: none of the nodes is reached over a websocket or a local socket. Polling a mempool over http sees
    /// transactions too late to act on them, so it is not done.
    NotAvailable,
}

/// Transactions that wait to be mined. Dropping it closes the connection.
#[derive(Debug)]
pub struct PendingFeed {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

/// What became of pending transactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PendingCounts {
    /// Notifications that came.
    pub seen: u64,
    /// Dropped because newer ones came before they were read.
    pub dropped: u64,
    /// Not readable, or of another hash than stated.
    pub malformed: u64,
    /// Known by hash alone, and gone when the body was asked for.
    pub gone: u64,
    /// Times that the feed was opened.
    pub opened: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<Box<Transaction>>>,
    arrived: Notify,
    seen: AtomicU64,
    dropped: AtomicU64,
    malformed: AtomicU64,
    gone: AtomicU64,
    opened: AtomicU64,
}

/// Where a feed can be opened.
#[derive(Debug)]
pub(super) enum Source {
    /// Over connections of their own, best first.
    Dials(Vec<Dial>),
    /// Over the connection of a provider that the caller made.
    Given(DynProvider, Duration),
}

impl PendingFeed {
    pub(super) fn open(source: Source) -> Self {
        let queue = Arc::<Queue>::default();
        let task = tokio::spawn(run(source, Arc::clone(&queue)));
        Self { queue, task }
    }

    /// The next transaction; waits while there is none. It may be dropped at any point without losing one, so it can
    /// stand in a `select!` beside a wait for blocks.
    pub async fn next(&mut self) -> Box<Transaction> {
        loop {
            if let Some(transaction) = self.queue.pop() {
                return transaction;
            }
            self.queue.arrived.notified().await;
        }
    }

    /// What became of the transactions so far.
    #[must_use]
    pub fn counts(&self) -> PendingCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PendingCounts {
            seen: read(&self.queue.seen),
            dropped: read(&self.queue.dropped),
            malformed: read(&self.queue.malformed),
            gone: read(&self.queue.gone),
            opened: read(&self.queue.opened),
        }
    }
}

impl Drop for PendingFeed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Queue {
    fn pop(&self) -> Option<Box<Transaction>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Never waits: the oldest goes where there is no room.
    fn push(&self, transaction: Transaction) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= QUEUE_MAX {
            waiting.pop_front();
            add(&self.dropped, 1);
        }
        waiting.push_back(Box::new(transaction));
        drop(waiting);
        self.arrived.notify_one();
    }

    fn take_body(&self, text: &RawValue, origin: &str) {
        match convert::pending(text, origin) {
            Ok(transaction) => self.push(transaction),
            Err(error) => {
                add(&self.malformed, 1);
                tracing::debug!(%error, "pending transaction is left out");
            }
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Opens the feed at one node after the other, for ever.
async fn run(source: Source, queue: Arc<Queue>) {
    let (mut pause, mut turn) = (PAUSE_FIRST, 0);
    loop {
        match source.connect(turn).await {
            Ok(node) => {
                if let Some(notifications) = subscribe(&node).await {
                    add(&queue.opened, 1);
                    pause = PAUSE_FIRST;
                    pump(&node, notifications, &queue).await;
                    tracing::warn!(node = node.name(), "feed of pending transactions was lost");
                }
            }
            Err(error) => tracing::debug!(%error, "feed of pending transactions cannot be opened"),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
        turn = turn.wrapping_add(1);
    }
}

impl Source {
    async fn connect(&self, turn: usize) -> Result<Node, SourceError> {
        match self {
            Self::Given(provider, limit) => Ok(Node::from_provider(provider.clone(), *limit)),
            Self::Dials(dials) => {
                let dial = turn.checked_rem(dials.len()).and_then(|index| dials.get(index));
                let missing = || SourceError::Url { reason: "no node can push".to_owned() };
                // A connection that is lost ends here, and the next node is taken.
                Node::dial(&dial.ok_or_else(missing)?.without_reconnects()).await
            }
        }
    }
}

/// With bodies where the node gives them, else with hashes.
async fn subscribe(node: &Node) -> Option<Receiver<Box<RawValue>>> {
    let provider = node.provider();
    let frontend = provider.client().pubsub_frontend()?.clone();
    let before = frontend.channel_size();
    frontend.set_channel_size(NOTIFICATIONS_MAX);
    let kind = "newPendingTransactions";
    let subscription = match provider.subscribe::<_, IgnoredAny>((kind, true)).await {
        Ok(subscription) => Ok(subscription),
        Err(error) if error.is_error_resp() => provider.subscribe::<_, IgnoredAny>((kind,)).await,
        Err(error) => Err(error),
    };
    frontend.set_channel_size(before);
    match subscription {
        Ok(subscription) => Some(subscription.into_raw().rx),
        Err(error) => {
            let reason = node.describe(&error);
            tracing::warn!(node = node.name(), reason, "node does not push pending transactions");
            None
        }
    }
}

/// Reads notifications until the connection is lost.
async fn pump(node: &Node, mut notifications: Receiver<Box<RawValue>>, queue: &Queue) {
    let origin = node.origin("newPendingTransactions");
    let mut hashes = VecDeque::new();
    loop {
        match notifications.recv().await {
            Ok(text) => take(&text, &origin, queue, &mut hashes),
            Err(RecvError::Lagged(missed)) => missed_notifications(queue, missed),
            Err(RecvError::Closed) => return,
        }
        // What came together goes together, so that bodies are asked for in few packets.
        loop {
            match notifications.try_recv() {
                Ok(text) => take(&text, &origin, queue, &mut hashes),
                Err(TryRecvError::Lagged(missed)) => missed_notifications(queue, missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        while !hashes.is_empty() {
            let batch: Vec<(B256,)> =
                hashes.drain(..hashes.len().min(BODIES_PER_BATCH)).map(|hash| (hash,)).collect();
            fetch_bodies(node, &batch, queue).await;
        }
    }
}

fn missed_notifications(queue: &Queue, missed: u64) {
    add(&queue.seen, missed);
    add(&queue.dropped, missed);
}

/// One notification: a body, or a hash whose body is asked for.
fn take(text: &RawValue, origin: &str, queue: &Queue, hashes: &mut VecDeque<B256>) {
    add(&queue.seen, 1);
    let Ok(hash) = serde_json::from_str::<B256>(text.get()) else {
        queue.take_body(text, origin);
        return;
    };
    if hashes.len() >= HASHES_MAX {
        hashes.pop_front();
        add(&queue.dropped, 1);
    }
    hashes.push_back(hash);
}

async fn fetch_bodies(node: &Node, batch: &[(B256,)], queue: &Queue) {
    let method = "eth_getTransactionByHash";
    let answers = match node.batch(method, batch).await {
        Ok(answers) => answers,
        Err(error) => {
            add(&queue.gone, u64::try_from(batch.len()).unwrap_or(u64::MAX));
            tracing::debug!(%error, "bodies of pending transactions were not given");
            return;
        }
    };
    let origin = node.origin(method);
    for ((hash,), answer) in batch.iter().zip(answers) {
        match answer {
            Ok(text) if is_null(&text) => add(&queue.gone, 1),
            Ok(text) => match convert::pending(&text, &origin) {
                Ok(transaction) if transaction.hash == *hash => queue.push(transaction),
                Ok(_) | Err(_) => add(&queue.malformed, 1),
            },
            Err(_) => add(&queue.gone, 1),
        }
    }
}

#[cfg(test)]
mod tests;
