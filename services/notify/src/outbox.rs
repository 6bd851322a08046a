//! The outbox: every queued notice reaches its channel at least once, whatever dies in between.
//!
//! In: the stream `outbox/<channel>`, on which the engine queues notices in the same batch as the incident events
//! that cause them. Out: deliveries, and a record of each attempt on the same stream. What is pending is a pure fold
//! of that stream, so a restart continues where the log stands. A second delivery is possible in one case alone: the
//! process dies, or the log fails, after the receiver accepted and before that was recorded. The receiver knows it
//! by the notice's id.
//! Must never: give a notice up, or record a delivery that was not confirmed.

use crate::channel::{Channel, DeliveryError};
use crate::text::clip;
use cordon_model::log::{
    Actor, Append, Batch, Body, EventLog, FORMAT_VERSION, LogError, Record, Stored, StreamId,
};
use cordon_model::notice::{Notice, OutboxEvent};
use cordon_model::units::NoticeId;
use std::collections::BTreeMap;

/// Wait after the first failure, seconds; it doubles with each further one. A receiver that restarts is back by then.
const BACKOFF_FIRST_S: u64 = 5;

/// Longest wait between two attempts, seconds. A quarter of an hour: 96 records a day for a receiver that is gone,
/// and a delay that an incident still bears once it is back.
const BACKOFF_MAX_S: u64 = 900;

/// Most attempts of one drain, so that a long queue does not keep its caller for ever.
const DRAIN_ATTEMPTS_MAX: usize = 64;

/// Failures after which a drain stops: the receiver is likely down, and each further attempt may cost a timeout. More
/// than one, so that a single notice that the receiver refuses does not hold up the others.
const DRAIN_FAILURES_MAX: usize = 3;

/// How often an append is tried again because the engine queued a notice meanwhile; it does so once a block at most.
const APPEND_TRIES_MAX: u32 = 16;

/// Longest error text that is recorded, characters.
const ERROR_CHARS_MAX: usize = 300;

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The caller's clock, Unix seconds: it spaces attempts and dates signatures. It must go on while the chain or
    /// its node stands still; a deterministic run passes chain time here too.
    pub clock_s: u64,
    /// Timestamp of the newest block known, Unix seconds, for the records.
    pub at_s: u64,
    /// Number of that block.
    pub at_block: u64,
}

/// A notice that waits for delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The notice.
    pub notice: Notice,
    /// Failed attempts so far.
    pub attempts: u32,
}

/// What a drain did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Notices that the channel accepted.
    pub delivered: usize,
    /// Attempts that failed.
    pub failed: usize,
    /// Notices that still wait.
    pub pending: usize,
    /// Clock time at which the next one is due, Unix seconds; `None` where none waits.
    pub next_due_s: Option<u64>,
}

/// Delivers what is queued for one channel. There must be one per channel and log: two would deliver twice.
#[derive(Debug)]
pub struct Outbox {
    channel: Box<dyn Channel>,
    stream: StreamId,
    /// Clock time before which a notice that failed is not tried again. It is not in the log on purpose: a start of
    /// the process is a good occasion to try at once.
    not_before_s: BTreeMap<NoticeId, u64>,
    /// Version of the stream at which nothing waited: as long as it has no other, there is nothing to read.
    settled: Option<u64>,
}

impl Outbox {
    /// The outbox of a channel.
    #[must_use]
    pub fn new(channel: Box<dyn Channel>) -> Self {
        let stream = StreamId::outbox(channel.name());
        Self { channel, stream, not_before_s: BTreeMap::new(), settled: None }
    }

    /// Name of the channel.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        self.channel.name()
    }

    /// Tries every notice that is due, oldest first, and records each outcome before the next attempt. A failing
    /// receiver is not an error: its notices stay pending. An attempt may take as long as the channel's timeout, so
    /// this runs beside the loop that watches the chain, not inside of it.
    ///
    /// # Errors
    /// [`LogError`] where the log cannot be read or written. A notice that was just delivered is then tried again
    /// by the next drain.
    pub async fn drain(&mut self, log: &dyn EventLog, moment: Moment) -> Result<Drained, LogError> {
        if self.settled.is_some() && self.settled == Some(log.version(self.stream.clone()).await?) {
            return Ok(Drained::default());
        }
        let stored = log.read(self.stream.clone()).await?;
        let mut version = stored.last().map_or(0, |last| last.version);
        // What the stream holds if nobody else writes meanwhile.
        let mut expected = version;
        let mut waiting = pending(&stored)?;
        self.not_before_s.retain(|id, _| waiting.iter().any(|pending| pending.notice.id == *id));
        let due = waiting.iter().filter(|pending| self.due_s(pending, moment) <= moment.clock_s);
        let due: Vec<Pending> = due.take(DRAIN_ATTEMPTS_MAX).cloned().collect();
        let mut drained = Drained::default();
        for Pending { notice, attempts } in due {
            if drained.failed >= DRAIN_FAILURES_MAX {
                break;
            }
            let attempt = attempts.saturating_add(1);
            let record = match self.channel.deliver(&notice, moment.clock_s).await {
                Ok(()) => {
                    drained.delivered = drained.delivered.saturating_add(1);
                    waiting.retain(|pending| pending.notice.id != notice.id);
                    let event = OutboxEvent::Delivered { notice: notice.id, attempts: attempt };
                    outbox_record(moment, "the channel accepted the notice", event)
                }
                Err(error) => {
                    drained.failed = drained.failed.saturating_add(1);
                    self.failed_record(notice.id, attempt, &error, moment)
                }
            };
            version = append(log, &self.stream, version, record).await?;
            expected = expected.saturating_add(1);
        }
        // A record of somebody else in between may be a notice that was not seen here.
        self.settled = (waiting.is_empty() && version == expected).then_some(version);
        drained.pending = waiting.len();
        drained.next_due_s = waiting.iter().map(|pending| self.due_s(pending, moment)).min();
        Ok(drained)
    }

    fn due_s(&self, pending: &Pending, moment: Moment) -> u64 {
        self.not_before_s.get(&pending.notice.id).copied().unwrap_or(moment.clock_s)
    }

    fn failed_record(&mut self, id: NoticeId, attempt: u32, error: &DeliveryError, moment: Moment) -> Record {
        let channel = self.channel.name();
        let error = clip(&error.to_string(), ERROR_CHARS_MAX);
        tracing::warn!(channel, notice = %id, attempt, error, "notice not delivered, it will be tried again");
        self.not_before_s.insert(id, moment.clock_s.saturating_add(backoff_s(attempt)));
        let event = OutboxEvent::Failed { notice: id, attempt, error };
        outbox_record(moment, "the channel did not accept the notice", event)
    }
}

/// Wait after the given number of failed attempts, seconds.
fn backoff_s(failed: u32) -> u64 {
    let doublings = failed.saturating_sub(1);
    2u64.checked_pow(doublings)
        .map_or(BACKOFF_MAX_S, |factor| BACKOFF_FIRST_S.saturating_mul(factor))
        .min(BACKOFF_MAX_S)
}

/// The records that queue notices, for the engine to append to each outbox in the batch that causes them.
#[must_use]
pub fn queue_records(notices: &[Notice], at_s: u64, at_block: u64) -> Vec<Record> {
    let moment = Moment { clock_s: at_s, at_s, at_block };
    let queued = |notice: &Notice| OutboxEvent::Queued { notice: notice.clone() };
    notices
        .iter()
        .map(|notice| outbox_record(moment, "follows from the records of the same batch", queued(notice)))
        .collect()
}

/// The notices of an outbox stream that no attempt has delivered, in the order in which they were queued. The same
/// notice queued twice is one notice.
///
/// # Errors
/// [`LogError::Corrupt`] where the stream holds something else, or an outcome of a notice that was never queued.
pub fn pending(stream: &[Stored]) -> Result<Vec<Pending>, LogError> {
    let mut order = Vec::new();
    // `None` stands for a notice that was delivered.
    let mut known: BTreeMap<NoticeId, Option<Pending>> = BTreeMap::new();
    for stored in stream {
        let corrupt =
            |reason: &str| LogError::Corrupt { position: stored.position, reason: reason.to_owned() };
        let Body::Outbox(event) = &stored.record.body else {
            return Err(corrupt("it stands on an outbox stream and is no outbox event"));
        };
        match event {
            OutboxEvent::Queued { notice } => {
                known.entry(notice.id).or_insert_with(|| {
                    order.push(notice.id);
                    Some(Pending { notice: notice.clone(), attempts: 0 })
                });
            }
            OutboxEvent::Delivered { notice, .. } => {
                let entry = known
                    .get_mut(notice)
                    .ok_or_else(|| corrupt("it delivers a notice that was not queued"))?;
                *entry = None;
            }
            OutboxEvent::Failed { notice, attempt, .. } => {
                let entry =
                    known.get_mut(notice).ok_or_else(|| corrupt("it fails a notice that was not queued"))?;
                if let Some(pending) = entry {
                    pending.attempts = *attempt;
                }
            }
        }
    }
    Ok(order.iter().filter_map(|id| known.remove(id).flatten()).collect())
}

/// Appends one record after `version` or, where the engine was faster, after what it appended; the outcome of an
/// attempt is true whatever was queued meanwhile. Returns the stream's new version.
async fn append(
    log: &dyn EventLog,
    stream: &StreamId,
    version: u64,
    record: Record,
) -> Result<u64, LogError> {
    let mut expected_version = version;
    let mut tries = 0u32;
    loop {
        let append = Append { stream: stream.clone(), expected_version, records: vec![record.clone()] };
        tries = tries.saturating_add(1);
        match log.commit(Batch { appends: vec![append], cursor: None }).await {
            Ok(()) => return Ok(expected_version.saturating_add(1)),
            Err(LogError::Conflict { found, .. }) if tries < APPEND_TRIES_MAX => expected_version = found,
            Err(error) => return Err(error),
        }
    }
}

fn outbox_record(moment: Moment, why: &str, event: OutboxEvent) -> Record {
    Record {
        format: FORMAT_VERSION,
        at_s: moment.at_s,
        at_block: moment.at_block,
        actor: Actor::Cordon("notify".to_owned()),
        why: why.to_owned(),
        body: Body::Outbox(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_never_end() {
        let waits: Vec<u64> = (1..=10).map(backoff_s).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        assert_eq!(backoff_s(u32::MAX), 900);
    }
}
