//! The one append-only log, its format, and the seam behind which it is stored.
//!
//! In: [`Batch`]es that are written whole or not at all. Out: [`Record`]s in order. The format is versioned from the
//! first release: a reader refuses a newer format by name instead of misreading it.

use crate::baseline::Measure;
use crate::calibration::{Judging, Weight};
use crate::incident::IncidentEvent;
use crate::lane::LaneEvent;
use crate::message::MessageNews;
use crate::network::{NetworkAlarm, SignalKind};
use crate::notice::OutboxEvent;
use crate::tally::Tally;
use crate::units::{BlockRef, ChainId, IncidentId, ProtocolId, TxRef};
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// Version of the record format that this build writes.
pub const FORMAT_VERSION: u32 = 1;

/// Oldest record format that this build reads.
pub const FORMAT_VERSION_OLDEST: u32 = 1;

/// Most block references that a cursor keeps: how deep a reorganisation may be and still be followed exactly.
/// 256 is the reach of `BLOCKHASH`, and four times the 64 blocks after which Ethereum finalises.
pub const CURSOR_DEPTH_MAX: usize = 256;

/// Name of a stream: `incident/<id>`, `lane/<chain>/<account>`, `outbox/<channel>`, `chain/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(pub String);

impl StreamId {
    /// Prefix of all incident streams.
    pub const INCIDENTS: &'static str = "incident/";

    /// Stream of one incident.
    #[must_use]
    pub fn incident(id: IncidentId) -> Self {
        Self(format!("{}{}", Self::INCIDENTS, alloy_primitives::hex::encode(id.0)))
    }

    /// Stream of one signing account on one chain.
    #[must_use]
    pub fn lane(chain_id: ChainId, account: Address) -> Self {
        Self(format!("lane/{chain_id}/{account:#x}"))
    }

    /// Stream of one notice channel.
    #[must_use]
    pub fn outbox(channel: &str) -> Self {
        Self(format!("outbox/{channel}"))
    }

    /// Stream of what happened to a chain.
    #[must_use]
    pub fn chain(chain_id: ChainId) -> Self {
        Self(format!("chain/{chain_id}"))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A part of Cordon, by name.
    Cordon(String),
    /// A person, as authenticated.
    Person(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cordon(part) => write!(f, "cordon/{part}"),
            Self::Person(name) => f.write_str(name),
        }
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format of this record.
    pub format: u32,
    /// Chain time at which it was written: timestamp of the newest block known then, Unix seconds.
    pub at_s: u64,
    /// Newest block known then.
    pub at_block: u64,
    /// Who.
    pub actor: Actor,
    /// Why, one sentence.
    pub why: String,
    /// What.
    pub body: Body,
}

/// Content of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Of an incident.
    Incident(IncidentEvent),
    /// Of a signer.
    Lane(LaneEvent),
    /// Of the outbox.
    Outbox(OutboxEvent),
    /// Of a chain.
    Chain(ChainEvent),
}

/// What happened to a chain as such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainEvent {
    /// A block left the canonical chain.
    Reverted {
        /// Which.
        block: BlockRef,
    },
    /// Replay did not reproduce what the block's header or receipts state; its facts are not relied upon.
    ReplayMismatch {
        /// Which block.
        block: BlockRef,
        /// What differs.
        what: String,
    },
    /// How far the chain counts as safe and as finalised, whenever it moved.
    Finality {
        /// Newest block that the chain's own rule calls safe.
        safe: Option<BlockRef>,
        /// Newest block that it calls final.
        finalized: Option<BlockRef>,
    },
    /// A condition of the chain or its nodes began, or got worse or better.
    AlarmRaised {
        /// What was measured.
        alarm: NetworkAlarm,
    },
    /// The condition is over.
    AlarmCleared {
        /// Which kind.
        kind: SignalKind,
        /// What it was about within its kind.
        subject: Option<Address>,
    },
    /// Nothing is sent on this chain until [`ChainEvent::Released`].
    Held {
        /// Which rule, and on which grounds.
        why: String,
    },
    /// What held automation is over.
    Released {
        /// Why.
        why: String,
    },
    /// Nobody judges the blocks of this chain until Cordon is started again.
    Halted {
        /// What cannot be overcome without a person.
        why: String,
    },
    /// A contract joined a protocol: made by its factory, or the code behind its proxy.
    Followed {
        /// Protocol.
        protocol: ProtocolId,
        /// The contract.
        contract: Address,
        /// Block in which it joined.
        block: BlockRef,
        /// How it joined.
        because: FollowReason,
    },
    /// A protocol was used in ordinary ways in a block.
    Learned {
        /// Protocol.
        protocol: ProtocolId,
        /// Block.
        block: BlockRef,
        /// Ordinary transactions of the protocol, with those of this block.
        transactions: u64,
        /// What exceeded everything before.
        firsts: Vec<Measure>,
    },
    /// A transaction of a protocol woke people, so nothing was learned from it until they say that it is ordinary.
    Withheld {
        /// Protocol.
        protocol: ProtocolId,
        /// Transaction.
        tx: TxRef,
        /// What would have been learned.
        firsts: Vec<Measure>,
    },
    /// What windows over several transactions count, ordinary or not.
    Tallied {
        /// Protocol.
        protocol: ProtocolId,
        /// Block.
        block: BlockRef,
        /// Its timestamp, Unix seconds.
        timestamp_s: u64,
        /// What is counted.
        tallies: Vec<Tally>,
    },
    /// What a block has to do with messages between chains.
    Messages {
        /// Block.
        block: BlockRef,
        /// In the order in which it happened.
        news: Vec<MessageNews>,
    },
    /// How strong the findings on a protocol's transactions of a block were, whether or not they woke anybody.
    Weighed {
        /// Protocol.
        protocol: ProtocolId,
        /// Block.
        block: BlockRef,
        /// One for each transaction that has findings, in the order of the block.
        weights: Vec<Weight>,
    },
    /// From the next judged block on transactions are judged so.
    JudgedBy {
        /// How.
        judging: Judging,
    },
    /// From the next judged block on the operator's rules, and signatures of known attacks, are these.
    RulesTaken {
        /// Their files, in the order of the configuration.
        files: Vec<RuleFile>,
    },
    /// People called a transaction that was withheld ordinary.
    Accepted {
        /// Protocol.
        protocol: ProtocolId,
        /// Transaction.
        tx: TxRef,
        /// Newest block then.
        block: BlockRef,
    },
}

/// A rule file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFile {
    /// Name in errors and in the configuration.
    pub name: String,
    /// Keccak-256 of its text.
    pub text_hash: B256,
}

/// Why a contract joined a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowReason {
    /// Created by this factory.
    CreatedBy(Address),
    /// Implementation that this proxy points to now.
    ImplementationOf(Address),
}

/// How far a chain has been judged. It never passes a block whose findings are not in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Chain.
    pub chain_id: ChainId,
    /// The newest judged blocks, oldest first, at most [`CURSOR_DEPTH_MAX`].
    pub recent: Vec<BlockRef>,
    /// Timestamp of the newest block that was judged last, Unix seconds; zero where it is not known.
    #[serde(default)]
    pub at_s: u64,
}

impl Cursor {
    /// Of a chain of which nothing was judged.
    #[must_use]
    pub fn new(chain_id: ChainId) -> Self {
        Self { chain_id, recent: Vec::new(), at_s: 0 }
    }

    /// The newest judged block.
    #[must_use]
    pub fn head(&self) -> Option<BlockRef> {
        self.recent.last().copied()
    }

    /// Takes a judged block, dropping the oldest beyond the bound.
    pub fn push(&mut self, block: BlockRef) {
        self.recent.push(block);
        let excess = self.recent.len().saturating_sub(CURSOR_DEPTH_MAX);
        self.recent.drain(..excess);
    }

    /// Takes back the newest block if it is this one; `false` where it is not.
    pub fn pop(&mut self, block: BlockRef) -> bool {
        let matches = self.recent.last() == Some(&block);
        if matches {
            self.recent.pop();
            // What comes in its place is older than the block that left, or as old.
            self.at_s = 0;
        }
        matches
    }
}

/// Records for one stream, with the version at which they must be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Stream.
    pub stream: StreamId,
    /// Number of records that the stream must hold before; anything else is a conflict.
    pub expected_version: u64,
    /// Records, in order.
    pub records: Vec<Record>,
}

/// What is written in one exclusive transaction: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Records to append.
    pub appends: Vec<Append>,
    /// New position on a chain.
    pub cursor: Option<Cursor>,
}

/// A record with its place in the whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Position in the whole log, from one.
    pub position: u64,
    /// Stream.
    pub stream: StreamId,
    /// Position in the stream, from one.
    pub version: u64,
    /// The record.
    pub record: Record,
}

/// Why the log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Somebody else appended first; read again and decide again.
    #[error("stream '{stream}' holds {found} records, expected {expected}")]
    Conflict {
        /// Stream.
        stream: StreamId,
        /// Version that the writer knew.
        expected: u64,
        /// Version that is stored.
        found: u64,
    },
    /// A stored record has a format that this build does not read.
    #[error(
        "record {position} of the log has format {found}, this build reads {FORMAT_VERSION_OLDEST} to {FORMAT_VERSION}"
    )]
    Format {
        /// Position of the record.
        position: u64,
        /// Its format.
        found: u32,
    },
    /// A stored record cannot be read.
    #[error("record {position} of the log cannot be read: {reason}")]
    Corrupt {
        /// Position of the record.
        position: u64,
        /// Why.
        reason: String,
    },
    /// The storage failed.
    #[error("log storage failed while {doing}")]
    Storage {
        /// What was being done.
        doing: String,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A boxed future, so that this crate needs no runtime.
pub type LogFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// Where the log lives. Implementations share one conformance suite.
pub trait EventLog: Send + Sync + fmt::Debug {
    /// Writes the batch whole, durably, or not at all.
    fn commit(&self, batch: Batch) -> LogFuture<'_, ()>;

    /// All records of a stream, in order.
    fn read(&self, stream: StreamId) -> LogFuture<'_, Vec<Stored>>;

    /// Number of records of a stream. Stores that can tell without reading the records should.
    fn version(&self, stream: StreamId) -> LogFuture<'_, u64> {
        let stored = self.read(stream);
        Box::pin(async move { Ok(stored.await?.last().map_or(0, |stored| stored.version)) })
    }

    /// Names of the streams with this prefix, sorted.
    fn streams(&self, prefix: String) -> LogFuture<'_, Vec<StreamId>>;

    /// Records after a position of the whole log, at most `limit`, in order.
    fn since(&self, position: u64, limit: u32) -> LogFuture<'_, Vec<Stored>>;

    /// How far a chain has been judged.
    fn cursor(&self, chain_id: ChainId) -> LogFuture<'_, Option<Cursor>>;
}
