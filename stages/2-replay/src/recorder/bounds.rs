//! How long each list of a record may become.
//!
//! In: the level of detail. Out: the bounds. Where one cuts, the record is flagged as truncated.
//!
//! At [`Detail::Watch`] all of them together stay below the 16 MB per transaction that the performance goals allow:
//! 16,384 frames of about 240 bytes, 32,768 accesses of 128, 16,384 logs and as many transfers of about 100 each, and
//! 4 MB of data. What the final state adds (changed slots and balances) is bounded by the gas of the transaction.

use cordon_model::execution::Detail;

/// Frames kept per transaction. The busiest of 4,523 measured mainnet transactions stay in the hundreds, a loop of
/// calls to an empty account makes 434,000.
pub const MAX_FRAMES: usize = 16_384;
/// Logs kept per transaction; a loop of empty logs makes 132,000.
pub const MAX_LOGS: usize = 16_384;
/// Transfers kept per transaction, native and ERC-20 together.
pub const MAX_TRANSFERS: usize = 16_384;
/// Accesses kept per transaction, half of them to storage and half to transient storage; a loop of warm reads makes
/// 480,000 before repetitions are dropped.
pub const MAX_ACCESSES: usize = 32_768;
/// Bytes of calldata and return data kept per transaction, and as many again of topics and data of logs, half of the
/// bound each. Passing a megabyte on to a callee is free of copying inside the EVM, so that without a bound a loop of
/// calls would have the recorder copy gigabytes.
pub const MAX_DATA_BYTES: usize = 4 << 20;

/// How much more [`Detail::Full`] keeps of everything: a record of at most 256 MB, for the few transactions that
/// people look into.
const FULL_FACTOR: usize = 16;
/// Slot preimages kept at [`Detail::Full`], about 130 bytes each.
const MAX_PREIMAGES: usize = 131_072;

/// The bounds of one level of detail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) frames: usize,
    pub(super) logs: usize,
    pub(super) transfers: usize,
    /// Of each of the two kinds of storage.
    pub(super) accesses: usize,
    /// Of frames, and once more of logs.
    pub(super) data_bytes: usize,
    pub(super) preimages: usize,
}

impl Bounds {
    pub(super) fn of(detail: Detail) -> Self {
        let (factor, preimages) = match detail {
            Detail::Watch | Detail::Traced | Detail::Calls | Detail::Entries => (1, 0),
            Detail::Full => (FULL_FACTOR, MAX_PREIMAGES),
        };
        Self {
            frames: MAX_FRAMES * factor,
            logs: MAX_LOGS * factor,
            transfers: MAX_TRANSFERS * factor,
            accesses: MAX_ACCESSES / 2 * factor,
            data_bytes: MAX_DATA_BYTES / 2 * factor,
            preimages,
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::of(Detail::default())
    }
}
