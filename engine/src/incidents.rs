//! `cordon incident`: what the log says of incidents, and what a person decides about them, without a node.
//!
//! In: an event log, and a [`Decree`] in a person's name. Out: incidents with their records, and one event more. A
//! watcher may run on the same log meanwhile: who appends second reads again and decides again. Must never: write to a
//! file that is no event log, or write anything beside the one event and the notices that follow from it.

use crate::error::EngineError;
use cordon_model::incident::{Incident, IncidentEvent, PlanRecord, PlanStatus, State};
use cordon_model::log::{
    Actor, Append, Batch, Body, EventLog, FORMAT_VERSION, LogError, Record, Stored, StreamId,
};
use cordon_model::units::PlanHash;
use cordon_store::SqliteLog;
use serde::Serialize;
use std::io::ErrorKind;
use std::path::Path;

/// How often a decision is tried again because a watcher wrote meanwhile. It writes a few times a block; eight
/// conflicts in a row mean that something else is wrong.
const CONFLICT_TRIES_MAX: u32 = 8;

/// Prefix of all outbox streams.
const OUTBOXES: &str = "outbox/";

/// How a part of Cordon is shown in the log; no person may be named so.
const CORDON_NAMES: &str = "cordon/";

/// One incident with its whole log.
#[derive(Debug, Clone, Serialize)]
pub struct Dossier {
    /// Identifier for people.
    pub id: String,
    /// State.
    pub state: State,
    /// The incident as its log tells it.
    pub incident: Incident,
    /// The log.
    pub records: Vec<Record>,
}

impl Dossier {
    /// One line.
    #[must_use]
    pub fn line(&self) -> String {
        let severity =
            self.incident.severity.map_or_else(|| "untriaged".to_owned(), |severity| severity.to_string());
        let (id, state, protocol) = (&self.id, self.state, crate::render::plain(&self.incident.protocol.0));
        let opened = self.records.first().map_or(0, |record| record.at_block);
        format!(
            "{id}  {state}  {severity}  protocol {protocol}  chain {}  block {opened}",
            self.incident.chain_id
        )
    }

    /// The whole log as lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.line()];
        for record in &self.records {
            let Body::Incident(event) = &record.body else { continue };
            let (title, details) = crate::render::event(event);
            lines.push(format!(
                "block {} {}: {title} ({})",
                record.at_block,
                record.actor,
                crate::render::plain(&record.why)
            ));
            lines.extend(details.into_iter().map(|line| format!("    {line}")));
        }
        lines
    }
}

/// What a person decides about an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// The plan may be executed; it is named as `cordon incident show` prints it, or by its full hash.
    Approve {
        /// Which plan.
        plan: String,
    },
    /// It is no attack.
    FalseAlarm,
    /// It is done.
    Close,
}

/// A decision with who and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decree {
    /// What is decided.
    pub ruling: Ruling,
    /// Who decides, as given by the caller: whoever may write the log may decide.
    pub by: String,
    /// Why, one sentence.
    pub why: String,
}

/// Every incident of a log.
///
/// # Errors
/// [`EngineError`] where the file is no log, or holds what this build cannot read.
pub async fn all(store: &Path) -> Result<Vec<Dossier>, EngineError> {
    let log = open(store).await?;
    let found = read(&log).await;
    log.close().await;
    found
}

/// The one incident of this id, as `incident list` prints it or in full.
///
/// # Errors
/// [`EngineError::Argument`] where there is none or more than one.
pub async fn one(store: &Path, id: &str) -> Result<Dossier, EngineError> {
    pick(all(store).await?, id)
}

/// Writes a person's decision about an incident to the log, and returns the incident after it.
///
/// # Errors
/// [`EngineError::Argument`] where the incident or the plan is not known or nobody signs, [`EngineError::Refused`]
/// where the decision does not fit the incident, and what opening the log can fail with.
pub async fn decide(store: &Path, id: &str, decree: &Decree) -> Result<Dossier, EngineError> {
    let log = open(store).await?;
    let decided = append(&log, id, decree).await;
    log.close().await;
    decided
}

/// Opens a log that must exist. An empty file is refused, since opening it would make it a log.
pub(crate) async fn open(store: &Path) -> Result<SqliteLog, EngineError> {
    let failed = |source| EngineError::File { doing: "open the event log", path: store.to_owned(), source };
    if std::fs::metadata(store).map_err(failed)?.len() == 0 {
        let empty = "it is empty: no watcher has written to it";
        return Err(failed(std::io::Error::new(ErrorKind::InvalidData, empty)));
    }
    Ok(SqliteLog::open(store).await?)
}

pub(crate) async fn read(log: &dyn EventLog) -> Result<Vec<Dossier>, EngineError> {
    let mut found = Vec::new();
    for stream in log.streams(StreamId::INCIDENTS.to_owned()).await? {
        found.extend(dossier(log.read(stream).await?)?);
    }
    Ok(found)
}

fn dossier(stored: Vec<Stored>) -> Result<Option<Dossier>, EngineError> {
    let records: Vec<Record> = stored.into_iter().map(|stored| stored.record).collect();
    let events: Vec<&IncidentEvent> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Incident(event) => Some(event),
            Body::Lane(_) | Body::Outbox(_) | Body::Chain(_) => None,
        })
        .collect();
    let folded = Incident::fold(events).map_err(|error| EngineError::Refused(error.to_string()))?;
    Ok(folded.map(|incident| Dossier {
        id: incident.id.to_string(),
        state: incident.state(),
        incident,
        records,
    }))
}

fn pick(found: Vec<Dossier>, id: &str) -> Result<Dossier, EngineError> {
    let matches = |dossier: &Dossier| dossier.id == id || dossier.incident.id.0.to_string() == id;
    let mut found: Vec<Dossier> = found.into_iter().filter(matches).collect();
    match (found.pop(), found.is_empty()) {
        (Some(dossier), true) => Ok(dossier),
        _ => {
            let expected = "an id as `cordon incident list` prints it".to_owned();
            Err(EngineError::Argument { what: "incident", found: id.to_owned(), expected })
        }
    }
}

/// Decides on what the log says now; where somebody else appended meanwhile, once more on what it says then.
async fn append(log: &dyn EventLog, id: &str, decree: &Decree) -> Result<Dossier, EngineError> {
    signed(decree)?;
    let mut tries = 0;
    loop {
        let mut dossier = pick(read(log).await?, id)?;
        let (after, record) = ruled(&dossier, decree)?;
        let batch = batch(log, &dossier, &after, &record).await?;
        tries += 1;
        match log.commit(batch).await {
            Err(LogError::Conflict { .. }) if tries < CONFLICT_TRIES_MAX => {}
            outcome => {
                outcome?;
                dossier.state = after.state();
                dossier.incident = after;
                dossier.records.push(record);
                return Ok(dossier);
            }
        }
    }
}

/// Nobody decides without a name and a reason, or in the name of Cordon.
fn signed(decree: &Decree) -> Result<(), EngineError> {
    let refused = |what, found: &str, expected: &str| {
        Err(EngineError::Argument { what, found: found.to_owned(), expected: expected.to_owned() })
    };
    if decree.by.trim().is_empty() || decree.by.starts_with(CORDON_NAMES) {
        return refused("name", &decree.by, "the name of the person who decides");
    }
    if decree.why.trim().is_empty() {
        return refused("reason", &decree.why, "why, in one sentence");
    }
    Ok(())
}

/// The incident after the decision, and the record of it.
fn ruled(dossier: &Dossier, decree: &Decree) -> Result<(Incident, Record), EngineError> {
    let event = match &decree.ruling {
        Ruling::Approve { plan } => IncidentEvent::PlanApproved { plan: plan_of(&dossier.incident, plan)? },
        Ruling::FalseAlarm => IncidentEvent::FalseAlarm,
        Ruling::Close => IncidentEvent::Closed,
    };
    let after = Incident::next(Some(dossier.incident.clone()), &event)
        .map_err(|error| EngineError::Refused(format!("incident {}: {error}", dossier.id)))?;
    // Without a node the newest known block is that of the newest record.
    let last = dossier.records.last();
    let record = Record {
        format: FORMAT_VERSION,
        at_s: last.map_or(0, |record| record.at_s),
        at_block: last.map_or(0, |record| record.at_block),
        actor: Actor::Person(decree.by.trim().to_owned()),
        why: decree.why.trim().to_owned(),
        body: Body::Incident(event),
    };
    Ok((after, record))
}

/// The one plan of the incident that is named so.
fn plan_of(incident: &Incident, named: &str) -> Result<PlanHash, EngineError> {
    let matches = |hash: &&PlanHash| hash.to_string() == named || hash.0.to_string() == named;
    let mut found = incident.plans.keys().filter(matches);
    if let (Some(plan), None) = (found.next(), found.next()) {
        return Ok(*plan);
    }
    let open = |(hash, record): (&PlanHash, &PlanRecord)| {
        matches!(record.status, PlanStatus::Chosen | PlanStatus::Refused).then(|| hash.0.to_string())
    };
    let open: Vec<String> = incident.plans.iter().filter_map(open).collect();
    let expected = match open.as_slice() {
        [] => format!("a plan of {}, of which none waits for approval", incident.id),
        open => format!("a plan of {}, of which these wait for approval: {}", incident.id, open.join(", ")),
    };
    Err(EngineError::Argument { what: "plan", found: named.to_owned(), expected })
}

/// The record at the version on which it was decided, with its notices to every channel that the log knows.
async fn batch(
    log: &dyn EventLog,
    dossier: &Dossier,
    after: &Incident,
    record: &Record,
) -> Result<Batch, EngineError> {
    let expected_version = u64::try_from(dossier.records.len()).unwrap_or(u64::MAX);
    let stream = StreamId::incident(after.id);
    let mut appends = vec![Append { stream, expected_version, records: vec![record.clone()] }];
    let notices = match &record.body {
        Body::Incident(event) => cordon_decide::notices(after, event),
        Body::Lane(_) | Body::Outbox(_) | Body::Chain(_) => Vec::new(),
    };
    if !notices.is_empty() {
        let records = cordon_notify::queue_records(&notices, record.at_s, record.at_block);
        for stream in log.streams(OUTBOXES.to_owned()).await? {
            let expected_version = log.version(stream.clone()).await?;
            appends.push(Append { stream, expected_version, records: records.clone() });
        }
    }
    Ok(Batch { appends, cursor: None })
}

#[cfg(test)]
mod tests;
