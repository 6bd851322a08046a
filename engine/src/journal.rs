//! The engine's side of the log: incidents as folded so far, and the one way to append to them.
//!
//! In: events with who and why. Out: one atomic batch per call, holding the incident events, the notices that follow
//! from them, chain events and the cursor, so that after a crash either all of it happened or none. Must never:
//! change an incident in memory that was not first made durable.

use cordon_model::chain_state::ChainState;
use cordon_model::incident::{IllegalTransition, Incident, IncidentEvent};
use cordon_model::log::{
    Actor, Append, Batch, Body, ChainEvent, Cursor, EventLog, FORMAT_VERSION, LogError, Record, Stored,
    StreamId,
};
use cordon_model::message::Messages;
use cordon_model::notice::{Notice, OutboxEvent};
use cordon_model::units::{ChainId, IncidentId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How often an append is tried again when the outbox moved meanwhile: deliveries of at most this many notices can
/// be recorded between reading a version and using it, and each try reads it afresh.
const CONFLICT_TRIES_MAX: u32 = 16;

/// Records read at once when others wrote: a page of a few megabytes.
const REFRESH_RECORDS_MAX: u32 = 1_000;

/// Newest block known when something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Its timestamp, Unix seconds.
    pub at_s: u64,
    /// Its number.
    pub at_block: u64,
}

/// An event with who and why.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who.
    pub actor: Actor,
    /// Why, one sentence.
    pub why: String,
    /// What.
    pub event: IncidentEvent,
}

impl Entry {
    /// An entry of a part of Cordon.
    #[must_use]
    pub fn by(part: &str, why: impl Into<String>, event: IncidentEvent) -> Self {
        Self { actor: Actor::Cordon(part.to_owned()), why: why.into(), event }
    }

    /// An entry of a person.
    #[must_use]
    pub fn person(name: &str, why: impl Into<String>, event: IncidentEvent) -> Self {
        Self { actor: Actor::Person(name.to_owned()), why: why.into(), event }
    }
}

/// Why the journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An event does not fit the incident.
    #[error("incident {incident}: {source}")]
    Illegal {
        /// Which incident.
        incident: IncidentId,
        /// The broken rule.
        #[source]
        source: IllegalTransition,
    },
}

/// What is to be written together.
#[derive(Debug, Default)]
pub struct Entries {
    /// Events by incident, in order.
    pub incidents: Vec<(IncidentId, Vec<Entry>)>,
    /// What happened to the chain.
    pub chain: Vec<ChainEvent>,
    /// New position on the chain.
    pub cursor: Option<Cursor>,
}

impl Entries {
    /// Events of one incident only.
    #[must_use]
    pub fn of(incident: IncidentId, entries: Vec<Entry>) -> Self {
        Self { incidents: vec![(incident, entries)], ..Self::default() }
    }
}

#[derive(Debug, Clone)]
struct Tracked {
    incident: Incident,
    version: u64,
}

/// Something that is in the log now.
#[derive(Debug, Clone, Copy)]
pub enum News<'a> {
    /// A record of an incident, and the incident as it stands after it.
    Incident(&'a Incident, &'a Record),
    /// What people are told of the chain itself, one or more notices of one batch.
    Chain(&'a [Notice]),
}

/// Told of everything that is durable.
pub type Observer = Box<dyn FnMut(News<'_>) + Send + Sync>;

/// See the module.
pub struct Journal {
    log: Arc<dyn EventLog>,
    chain_id: ChainId,
    incidents: BTreeMap<IncidentId, Tracked>,
    chain: ChainState,
    /// Records of the chain's own stream.
    chain_records: u64,
    /// What the chain's own log says of messages, and what those of other chains say, with the records read of each.
    messages: Messages,
    others: BTreeMap<ChainId, (u64, Messages)>,
    outboxes: Vec<StreamId>,
    observer: Observer,
    /// How much of the whole log has been read.
    position: u64,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("incidents", &self.incidents.len())
            .field("outboxes", &self.outboxes)
            .finish()
    }
}

impl Journal {
    /// Reads every incident of the chain from the log. Notices go to the outboxes of `channels`.
    ///
    /// # Errors
    /// The log cannot be read, or holds an event that does not fit.
    pub async fn open(
        log: Arc<dyn EventLog>,
        chain_id: ChainId,
        channels: &[String],
        observer: Observer,
    ) -> Result<Self, JournalError> {
        let mut incidents = BTreeMap::new();
        let mut position = None;
        for stream in log.streams(StreamId::INCIDENTS.to_owned()).await? {
            let stored = log.read(stream).await?;
            let version = stored.last().map_or(0, |stored| stored.version);
            // The first stream's end: whatever is appended while the others are read lies behind it and is taken up later.
            position = position.or(stored.last().map(|stored| stored.position));
            let mut incident = None;
            for entry in &stored {
                if let Body::Incident(event) = &entry.record.body {
                    incident = Some(next(incident, event)?);
                }
            }
            if let Some(incident) = incident.filter(|incident| incident.chain_id == chain_id) {
                incidents.insert(incident.id, Tracked { incident, version });
            }
        }
        let outboxes = channels.iter().map(|channel| StreamId::outbox(channel)).collect();
        let (mut chain, mut messages, mut chain_records) = (ChainState::default(), Messages::default(), 0);
        for stored in log.read(StreamId::chain(chain_id)).await? {
            chain_records = stored.version;
            if let Body::Chain(event) = &stored.record.body {
                chain.apply(event);
                messages.apply(event);
            }
        }
        let (position, others) = (position.unwrap_or(0), BTreeMap::new());
        Ok(Self {
            log,
            chain_id,
            incidents,
            chain,
            chain_records,
            messages,
            others,
            outboxes,
            observer,
            position,
        })
    }

    /// The log itself.
    #[must_use]
    pub fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log)
    }

    /// What the log says of the chain itself.
    #[must_use]
    pub fn chain(&self) -> &ChainState {
        &self.chain
    }

    /// What the log says of the chain's messages.
    #[must_use]
    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    /// What it says of another chain's, once that one is followed.
    #[must_use]
    pub fn messages_of(&self, chain_id: ChainId) -> Option<&Messages> {
        self.others.get(&chain_id).map(|(_, messages)| messages)
    }

    /// Takes up another chain's messages from now on, with every [`Journal::refresh`].
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn follow(&mut self, chain_id: ChainId) -> Result<(), JournalError> {
        if self.others.contains_key(&chain_id) {
            return Ok(());
        }
        let (mut records, mut messages) = (0, Messages::default());
        for stored in self.log.read(StreamId::chain(chain_id)).await? {
            records = stored.version;
            if let Body::Chain(event) = &stored.record.body {
                messages.apply(event);
            }
        }
        self.others.insert(chain_id, (records, messages));
        Ok(())
    }

    /// True where everything that is in the log of a followed chain was read.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn is_up_to_date(&self, chain_id: ChainId) -> Result<bool, JournalError> {
        let stored = self.log.version(StreamId::chain(chain_id)).await?;
        Ok(self.others.get(&chain_id).is_some_and(|(records, _)| *records == stored))
    }

    /// All incidents of the chain, ordered by id.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values().map(|tracked| &tracked.incident)
    }

    /// One incident.
    #[must_use]
    pub fn incident(&self, id: IncidentId) -> Option<&Incident> {
        self.incidents.get(&id).map(|tracked| &tracked.incident)
    }

    /// Takes up what others appended to incidents: a person through the command line, or a judgement of a fix. True where
    /// there was something.
    ///
    /// # Errors
    /// The log cannot be read, or holds an event that does not fit.
    pub async fn refresh(&mut self) -> Result<bool, JournalError> {
        let mut news = false;
        loop {
            let stored = self.log.since(self.position, REFRESH_RECORDS_MAX).await?;
            let Some(last) = stored.last() else { return Ok(news) };
            self.position = last.position;
            for entry in &stored {
                news |= self.take(entry)?;
            }
        }
    }

    /// Folds one stored record of a known incident or of another chain; what this journal wrote itself is known already.
    fn take(&mut self, stored: &Stored) -> Result<bool, JournalError> {
        if let Body::Chain(event) = &stored.record.body {
            let of_stream = |(chain, _): &(&ChainId, _)| StreamId::chain(**chain) == stored.stream;
            if let Some((_, (records, messages))) = self.others.iter_mut().find(of_stream)
                && stored.version == records.saturating_add(1)
            {
                *records = stored.version;
                messages.apply(event);
            }
        }
        let Body::Incident(event) = &stored.record.body else { return Ok(false) };
        let of_stream = |tracked: &&mut Tracked| StreamId::incident(tracked.incident.id) == stored.stream;
        let Some(tracked) = self.incidents.values_mut().find(of_stream) else { return Ok(false) };
        if stored.version != tracked.version.saturating_add(1) {
            return Ok(false);
        }
        tracked.incident = next(Some(tracked.incident.clone()), event)?;
        tracked.version = stored.version;
        (self.observer)(News::Incident(&tracked.incident, &stored.record));
        Ok(true)
    }

    /// Writes everything in one atomic batch, then tells the observer.
    ///
    /// # Errors
    /// An event does not fit, or the log failed; nothing is written then.
    pub async fn append(&mut self, stamp: Stamp, entries: Entries) -> Result<(), JournalError> {
        let mut changed: BTreeMap<IncidentId, Tracked> = BTreeMap::new();
        let mut told = Vec::new();
        let mut notices = Vec::new();
        let mut batch = Batch { appends: Vec::new(), cursor: entries.cursor };
        for (id, list) in entries.incidents.into_iter().filter(|(_, list)| !list.is_empty()) {
            let known = changed.get(&id).or_else(|| self.incidents.get(&id));
            let expected_version = known.map_or(0, |tracked| tracked.version);
            let mut incident = known.map(|tracked| tracked.incident.clone());
            let mut records = Vec::new();
            for entry in list {
                let after = next(incident, &entry.event)?;
                let body = Body::Incident(entry.event);
                let record = Record {
                    format: FORMAT_VERSION,
                    at_s: stamp.at_s,
                    at_block: stamp.at_block,
                    actor: entry.actor,
                    why: entry.why,
                    body,
                };
                told.push((after.clone(), record.clone()));
                records.push(record);
                incident = Some(after);
            }
            if let Some(incident) = incident {
                // The incident as the whole batch leaves it: its severity, once known, is on every notice.
                let events = records.iter().filter_map(|record: &Record| match &record.body {
                    Body::Incident(event) => Some(event),
                    Body::Lane(_) | Body::Outbox(_) | Body::Chain(_) => None,
                });
                notices.extend(events.flat_map(|event| cordon_decide::notices(&incident, event)));
                let version =
                    expected_version.saturating_add(u64::try_from(records.len()).unwrap_or(u64::MAX));
                changed.insert(id, Tracked { incident, version });
            }
            batch.appends.push(Append { stream: StreamId::incident(id), expected_version, records });
        }
        let (mut after, mut of_chain) = (self.chain.clone(), Vec::new());
        for (event, number) in entries.chain.iter().zip(self.chain_records.saturating_add(1)..) {
            let standing: Vec<_> = after.alarms.values().cloned().collect();
            of_chain.extend(cordon_decide::chain_notices(self.chain_id, event, number, &standing));
            after.apply(event);
        }
        let outbox: Vec<Record> = notices
            .into_iter()
            .chain(of_chain.iter().cloned())
            .map(|notice| engine_record(stamp, Body::Outbox(OutboxEvent::Queued { notice })))
            .collect();
        let chain: Vec<Record> =
            entries.chain.into_iter().map(|event| engine_record(stamp, Body::Chain(event))).collect();
        let added = u64::try_from(chain.len()).unwrap_or(u64::MAX);
        self.commit(batch, &outbox, &chain).await?;
        self.incidents.extend(changed);
        for record in &chain {
            if let Body::Chain(event) = &record.body {
                self.messages.apply(event);
            }
        }
        (self.chain, self.chain_records) = (after, self.chain_records.saturating_add(added));
        for (incident, record) in &told {
            (self.observer)(News::Incident(incident, record));
        }
        if !of_chain.is_empty() {
            (self.observer)(News::Chain(&of_chain));
        }
        Ok(())
    }

    /// Commits, reading the versions of the shared streams afresh on every try: the delivery of notices appends to
    /// the outboxes at its own pace.
    async fn commit(&self, batch: Batch, outbox: &[Record], chain: &[Record]) -> Result<(), JournalError> {
        let mut tries = 0;
        loop {
            let mut attempt = batch.clone();
            let outboxes = if outbox.is_empty() { &[] } else { self.outboxes.as_slice() };
            for stream in outboxes {
                attempt.appends.push(self.shared(stream.clone(), outbox).await?);
            }
            if !chain.is_empty() {
                attempt.appends.push(self.shared(StreamId::chain(self.chain_id), chain).await?);
            }
            tries += 1;
            match self.log.commit(attempt).await {
                Err(LogError::Conflict { stream, .. })
                    if tries < CONFLICT_TRIES_MAX && !stream.0.starts_with(StreamId::INCIDENTS) => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    async fn shared(&self, stream: StreamId, records: &[Record]) -> Result<Append, LogError> {
        let expected_version = self.log.version(stream.clone()).await?;
        Ok(Append { stream, expected_version, records: records.to_vec() })
    }
}

fn next(current: Option<Incident>, event: &IncidentEvent) -> Result<Incident, JournalError> {
    let named = match (&current, event) {
        (Some(incident), _) => incident.id,
        (None, IncidentEvent::Detected { incident, .. }) => *incident,
        (None, _) => IncidentId::derive(&["unopened"]),
    };
    Incident::next(current, event).map_err(|source| JournalError::Illegal { incident: named, source })
}

fn engine_record(stamp: Stamp, body: Body) -> Record {
    let (actor, why) =
        (Actor::Cordon("engine".to_owned()), "follows from the records of the same batch".to_owned());
    Record { format: FORMAT_VERSION, at_s: stamp.at_s, at_block: stamp.at_block, actor, why, body }
}
