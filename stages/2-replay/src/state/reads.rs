//! What reading the state of one block took.
//!
//! In: every read and every request. Out: plain sums. Must never: mix the reads of two blocks.

use std::sync::atomic::{AtomicU64, Ordering};

/// What reading the state of one block from a node took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// First reads that earlier blocks answered: a post-state of our own that is applied instead of read again.
    pub carried: u64,
    /// First reads that were answered by what had been read ahead, or by another branch of the same state.
    pub ahead: u64,
    /// First reads for which the EVM had to wait.
    pub late: u64,
    /// Accounts that the node was asked for.
    pub cold_accounts: u64,
    /// Slots that the node was asked for.
    pub cold_slots: u64,
    /// Codes that the node was asked for; an account whose code cannot have changed is read without.
    pub cold_codes: u64,
    /// JSON-RPC requests; an account is two or three of them.
    pub requests: u64,
    /// Messages that carried them: batches and single requests.
    pub messages: u64,
    /// Requests in the largest message.
    pub largest_batch: u64,
    /// Times that the node was waited for; messages under way at the same time count once.
    pub round_trips: u64,
    /// Times that the block was run on guesses to learn what it reads.
    pub rounds: u64,
}

impl ReadStats {
    /// First reads that were answered without waiting.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.carried.saturating_add(self.ahead)
    }

    /// First reads that the EVM made: a value that a transaction reads again within the block is not counted again.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.hits().saturating_add(self.late)
    }

    /// Values that the node was asked for: the block's cold reads.
    #[must_use]
    pub fn cold(&self) -> u64 {
        self.cold_accounts.saturating_add(self.cold_slots)
    }

    /// Adds another block's reads.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.carried, other.carried),
            (&mut self.ahead, other.ahead),
            (&mut self.late, other.late),
            (&mut self.cold_accounts, other.cold_accounts),
            (&mut self.cold_slots, other.cold_slots),
            (&mut self.cold_codes, other.cold_codes),
            (&mut self.requests, other.requests),
            (&mut self.messages, other.messages),
            (&mut self.round_trips, other.round_trips),
            (&mut self.rounds, other.rounds),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
        self.largest_batch = self.largest_batch.max(other.largest_batch);
    }
}

/// The same, while it is being counted by several threads.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) carried: Count,
    pub(super) ahead: Count,
    pub(super) late: Count,
    pub(super) cold_accounts: Count,
    pub(super) cold_slots: Count,
    pub(super) cold_codes: Count,
    pub(super) requests: Count,
    pub(super) messages: Count,
    pub(super) largest_batch: Count,
    pub(super) round_trips: Count,
    pub(super) rounds: Count,
}

impl Counters {
    pub(super) fn stats(&self) -> ReadStats {
        ReadStats {
            carried: self.carried.get(),
            ahead: self.ahead.get(),
            late: self.late.get(),
            cold_accounts: self.cold_accounts.get(),
            cold_slots: self.cold_slots.get(),
            cold_codes: self.cold_codes.get(),
            requests: self.requests.get(),
            messages: self.messages.get(),
            largest_batch: self.largest_batch.get(),
            round_trips: self.round_trips.get(),
            rounds: self.rounds.get(),
        }
    }
}

/// One sum. Nothing else hangs on its order, so relaxed is enough.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn at_least(&self, value: usize) {
        self.0.fetch_max(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
