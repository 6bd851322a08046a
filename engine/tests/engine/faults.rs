//! Ways to make the log and the node fail at a chosen point.
//!
//! A [`Rival`] stands for somebody else who writes just between the engine's read and its commit. A [`Fuse`]
//! stands for the death of a process: from the n-th commit on nothing works any more, and whether that
//! commit itself took effect is chosen. An [`Outage`] stands for a node that goes away in the middle of the work and is
//! brought back by the test.

use crate::node::Node;
use alloy_json_rpc::RequestPacket;
use alloy_transport::TransportFut;
use cordon_model::incident::IncidentEvent;
use cordon_model::log::{
    Actor, Append, Batch, Body, Cursor, EventLog, FORMAT_VERSION, LogError, LogFuture, Record, Stored,
    StreamId,
};
use cordon_model::units::ChainId;
use cordon_range::{Chain, ChainTransport};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tower::Service;

/// What becomes of the commit at which the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// It was not written.
    BeforeCommit,
    /// It was written, and nobody heard of it.
    AfterCommit,
}

/// Lets a number of commits through, and then nothing more.
#[derive(Debug)]
pub(crate) struct Fuse {
    left: AtomicI64,
    blown: AtomicBool,
    death: Death,
}

impl Fuse {
    /// Blows at commit number `at`, counted from one.
    pub(crate) fn at(at: i64, death: Death) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(at), blown: AtomicBool::new(false), death })
    }

    /// Never blows.
    pub(crate) fn solid() -> Arc<Self> {
        Self::at(i64::MAX, Death::BeforeCommit)
    }

    pub(crate) fn is_blown(&self) -> bool {
        self.blown.load(Ordering::SeqCst)
    }

    /// True where this commit is the one at which the process dies.
    fn burn(&self) -> bool {
        let dies = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if dies {
            self.blown.store(true, Ordering::SeqCst);
        }
        dies
    }
}

/// A log that hangs on a fuse.
#[derive(Debug)]
pub(crate) struct FusedLog {
    pub(crate) inner: Arc<dyn EventLog>,
    pub(crate) fuse: Arc<Fuse>,
}

fn dead() -> LogError {
    LogError::Storage { doing: "a test".to_owned(), source: "the process is dead".into() }
}

impl FusedLog {
    fn alive(&self) -> Result<(), LogError> {
        if self.fuse.is_blown() { Err(dead()) } else { Ok(()) }
    }
}

impl EventLog for FusedLog {
    fn commit(&self, batch: Batch) -> LogFuture<'_, ()> {
        Box::pin(async move {
            self.alive()?;
            if !self.fuse.burn() {
                return self.inner.commit(batch).await;
            }
            if self.fuse.death == Death::AfterCommit {
                self.inner.commit(batch).await?;
            }
            Err(dead())
        })
    }

    fn read(&self, stream: StreamId) -> LogFuture<'_, Vec<Stored>> {
        Box::pin(async move {
            self.alive()?;
            self.inner.read(stream).await
        })
    }

    fn streams(&self, prefix: String) -> LogFuture<'_, Vec<StreamId>> {
        Box::pin(async move {
            self.alive()?;
            self.inner.streams(prefix).await
        })
    }

    fn since(&self, position: u64, limit: u32) -> LogFuture<'_, Vec<Stored>> {
        Box::pin(async move {
            self.alive()?;
            self.inner.since(position, limit).await
        })
    }

    fn cursor(&self, chain_id: ChainId) -> LogFuture<'_, Option<Cursor>> {
        Box::pin(async move {
            self.alive()?;
            self.inner.cursor(chain_id).await
        })
    }
}

/// Somebody who writes to an incident once, right before the n-th commit that rests on what the incident was.
#[derive(Debug)]
pub(crate) struct Rival {
    left: AtomicI64,
    spoke: AtomicBool,
    event: IncidentEvent,
}

impl Rival {
    /// Says `event` before commit number `at`, counted from one.
    pub(crate) fn at(at: i64, event: IncidentEvent) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(at), spoke: AtomicBool::new(false), event })
    }

    pub(crate) fn spoke(&self) -> bool {
        self.spoke.load(Ordering::SeqCst)
    }

    async fn speak(&self, log: &dyn EventLog, stream: StreamId) -> Result<(), LogError> {
        let expected_version = log.read(stream.clone()).await?.last().map_or(0, |stored| stored.version);
        let (actor, why) = (Actor::Person("on call".to_owned()), "looked at it".to_owned());
        let body = Body::Incident(self.event.clone());
        let record = Record { format: FORMAT_VERSION, at_s: 0, at_block: 0, actor, why, body };
        let append = Append { stream, expected_version, records: vec![record] };
        log.commit(Batch { appends: vec![append], cursor: None }).await?;
        self.spoke.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// A log into which a rival writes too.
#[derive(Debug)]
pub(crate) struct RivalLog {
    pub(crate) inner: Arc<dyn EventLog>,
    pub(crate) rival: Arc<Rival>,
}

impl EventLog for RivalLog {
    fn commit(&self, batch: Batch) -> LogFuture<'_, ()> {
        Box::pin(async move {
            let known = |append: &&Append| {
                append.stream.0.starts_with(StreamId::INCIDENTS) && append.expected_version > 0
            };
            let stream = batch.appends.iter().find(known).map(|append| append.stream.clone());
            if let Some(stream) = stream
                && self.rival.left.fetch_sub(1, Ordering::SeqCst) == 1
            {
                self.rival.speak(self.inner.as_ref(), stream).await?;
            }
            self.inner.commit(batch).await
        })
    }

    fn read(&self, stream: StreamId) -> LogFuture<'_, Vec<Stored>> {
        self.inner.read(stream)
    }

    fn streams(&self, prefix: String) -> LogFuture<'_, Vec<StreamId>> {
        self.inner.streams(prefix)
    }

    fn since(&self, position: u64, limit: u32) -> LogFuture<'_, Vec<Stored>> {
        self.inner.since(position, limit)
    }

    fn cursor(&self, chain_id: ChainId) -> LogFuture<'_, Option<Cursor>> {
        self.inner.cursor(chain_id)
    }
}

/// Takes a chain's nodes off the net at a chosen request.
#[derive(Debug)]
pub(crate) struct Outage {
    chain: Chain,
    left: AtomicI64,
}

impl Outage {
    /// No outage until one is armed.
    pub(crate) fn none(chain: &Chain) -> Arc<Self> {
        Arc::new(Self { chain: chain.clone(), left: AtomicI64::new(i64::MAX) })
    }

    /// The node goes away at request number `at` from now, counted from one.
    pub(crate) fn arm(&self, at: i64) {
        self.left.store(at, Ordering::SeqCst);
    }

    /// The node is back, for good. True where it had been away.
    pub(crate) fn end(&self) -> bool {
        self.chain.set_offline(false);
        self.left.swap(i64::MAX, Ordering::SeqCst) <= 0
    }

    fn count(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.chain.set_offline(true);
        }
    }
}

/// A connection whose requests are counted by an outage.
#[derive(Debug, Clone)]
pub(crate) struct CountedNode {
    pub(crate) inner: ChainTransport,
    pub(crate) outage: Arc<Outage>,
}

impl Node for CountedNode {
    fn answer(&self, packet: RequestPacket) -> TransportFut<'static> {
        self.outage.count();
        self.inner.clone().call(packet)
    }
}
