//! `cordon incident`: what the log says of incidents, without a node.
//!
//! In: an event log. Out: incidents with their records. Must never write.

use crate::error::EngineError;
use cordon_model::incident::{Incident, IncidentEvent, State};
use cordon_model::log::{Body, EventLog, Record, StreamId};
use cordon_store::SqliteLog;
use serde::Serialize;
use std::path::Path;

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

/// Every incident of a log.
///
/// # Errors
/// [`EngineError`] where the file is no log, or holds what this build cannot read.
pub async fn all(store: &Path) -> Result<Vec<Dossier>, EngineError> {
    if !store.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(EngineError::File { doing: "open the event log", path: store.to_owned(), source });
    }
    let log = SqliteLog::open(store).await?;
    let mut found = Vec::new();
    for stream in log.streams(StreamId::INCIDENTS.to_owned()).await? {
        let records: Vec<Record> = log.read(stream).await?.into_iter().map(|stored| stored.record).collect();
        let events: Vec<&IncidentEvent> = records
            .iter()
            .filter_map(|record| match &record.body {
                Body::Incident(event) => Some(event),
                Body::Lane(_) | Body::Outbox(_) | Body::Chain(_) => None,
            })
            .collect();
        let folded = Incident::fold(events).map_err(|error| EngineError::Refused(error.to_string()))?;
        if let Some(incident) = folded {
            found.push(Dossier { id: incident.id.to_string(), state: incident.state(), incident, records });
        }
    }
    log.close().await;
    Ok(found)
}

/// The one incident of this id, as `incident list` prints it or in full.
///
/// # Errors
/// [`EngineError::Argument`] where there is none or more than one.
pub async fn one(store: &Path, id: &str) -> Result<Dossier, EngineError> {
    let matches = |dossier: &Dossier| dossier.id == id || dossier.incident.id.0.to_string() == id;
    let mut found: Vec<Dossier> = all(store).await?.into_iter().filter(matches).collect();
    match (found.pop(), found.is_empty()) {
        (Some(dossier), true) => Ok(dossier),
        _ => {
            let expected = "an id as `cordon incident list` prints it".to_owned();
            Err(EngineError::Argument { what: "incident", found: id.to_owned(), expected })
        }
    }
}
