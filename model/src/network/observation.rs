//! One look at a chain and at the nodes that report it, as plain values.
//!
//! In: what nodes, a beacon API and Cordon's own books said. Out: an [`Observation`] for the monitors. Everything but
//! the time is optional, and "not asked", "not offered" and "no answer" are all absent: a monitor must never take
//! what is absent for good news.

use super::ProviderAnswer;
use crate::units::BlockRef;
use alloy_primitives::{Address, I256};

/// One look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// When it was taken, by the clock of the process, seconds since 1970.
    pub at_s: u64,
    /// The node's newest block.
    pub head: Option<Head>,
    /// Blocks that left the canonical chain since the look before, newest first, as they were followed.
    pub reverted: Vec<BlockRef>,
    /// Newest block that the chain's own rule calls safe.
    pub safe: Option<BlockRef>,
    /// Newest block that it calls final.
    pub finalized: Option<BlockRef>,
    /// Transactions that the node could mine now and that are not mined yet.
    pub txpool_pending: Option<u64>,
    /// What several nodes say about the same heights.
    pub providers: Vec<HeightAnswers>,
    /// What the beacon API said.
    pub beacon: Option<BeaconSight>,
    /// What a rollup's node says about its own synchronisation.
    pub rollup: Option<RollupSync>,
    /// Price feeds that answered.
    pub feeds: Vec<FeedSight>,
    /// Blocks that wait to be judged.
    pub backlog_blocks: Option<u64>,
    /// What replay found since the look before; `None` where nothing was replayed.
    pub replay: Option<ReplaySight>,
}

/// The newest block of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The block.
    pub block: BlockRef,
    /// Its own time, seconds since 1970.
    pub timestamp_s: u64,
    /// Its base fee, where the chain has one.
    pub base_fee_wei: Option<u64>,
}

/// What several nodes say about one height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeightAnswers {
    /// The height.
    pub number: u64,
    /// One answer a node.
    pub answers: Vec<ProviderAnswer>,
}

/// What a beacon node said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BeaconSight {
    /// Epochs of the head and of finality.
    pub finality: Option<FinalityEpochs>,
    /// Slots that were looked at for the first time, oldest first, without those that could not be read.
    pub slots: Vec<SlotSight>,
}

/// Where finality stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalityEpochs {
    /// Epoch of the head.
    pub current: u64,
    /// Finalised epoch.
    pub finalized: u64,
}

/// One slot of the beacon chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSight {
    /// Number of the slot.
    pub slot: u64,
    /// Its block; `None` where the slot was missed.
    pub block: Option<SlotBlock>,
}

/// What a beacon block says that concerns the health of the chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotBlock {
    /// Share of the sync committee that signed, in thousandths, rounded down.
    pub sync_permille: Option<u32>,
    /// Validators that the block slashes, each once, in ascending order.
    pub slashed: Vec<u64>,
}

/// Heads of a rollup, as its own node tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollupSync {
    /// Number of the newest block of the sequencer.
    pub unsafe_number: u64,
    /// Number of the newest block that is derived from data on the layer below.
    pub safe_number: u64,
    /// Number of the newest block whose data is final there.
    pub finalized_number: u64,
}

/// What a price feed answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedSight {
    /// The feed.
    pub feed: Address,
    /// When its answer was written, seconds since 1970.
    pub updated_at_s: u64,
    /// The answer, in the feed's own decimals.
    pub answer: I256,
    /// Smallest answer that it can give, where it tells.
    pub min: Option<I256>,
    /// Largest answer that it can give, where it tells.
    pub max: Option<I256>,
}

/// What replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplaySight {
    /// Blocks that were replayed, those that differ included.
    pub blocks: u64,
    /// Blocks that came out otherwise than the chain states, with what differs.
    pub mismatches: Vec<(BlockRef, String)>,
}
