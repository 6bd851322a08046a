//! Reading and writing the lane stream and the incident stream.
//!
//! In: the event log. Out: folded values, and appended records in the one format. Must never append without the
//! version that was read: two processes with the same key meet only here.

use alloy_primitives::Address;
use cordon_model::incident::{IllegalTransition, Incident, IncidentEvent};
use cordon_model::lane::LaneEvent;
use cordon_model::log::{Actor, Append, Batch, Body, EventLog, FORMAT_VERSION, LogError, Record, StreamId};
use cordon_model::units::{ChainId, IncidentId, PlanHash};
use std::collections::BTreeSet;

use crate::gate::Stamp;
use crate::lane::{IllegalLaneEvent, Lane};

/// Name under which this crate signs its records.
const ACTOR: &str = "contain";

/// Why a lane cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The log failed.
    #[error("the lane cannot be read or written")]
    Log(#[from] LogError),
    /// A record of the lane contradicts the ones before it.
    #[error("lane '{stream}' contradicts itself")]
    Illegal {
        /// Stream.
        stream: StreamId,
        /// The contradiction.
        #[source]
        source: IllegalLaneEvent,
    },
    /// A record of the stream is not of a lane.
    #[error("record {version} of lane '{stream}' is not a lane event")]
    Foreign {
        /// Stream.
        stream: StreamId,
        /// Position in the stream.
        version: u64,
    },
}

/// Reads and folds a lane.
pub(crate) async fn read_lane(
    log: &dyn EventLog,
    chain_id: ChainId,
    account: Address,
) -> Result<Lane, LaneError> {
    let stream = StreamId::lane(chain_id, account);
    let mut lane = Lane::default();
    for stored in log.read(stream.clone()).await? {
        let Body::Lane(event) = &stored.record.body else {
            return Err(LaneError::Foreign { stream, version: stored.version });
        };
        lane.apply(event).map_err(|source| LaneError::Illegal { stream: stream.clone(), source })?;
    }
    Ok(lane)
}

/// One entry for the lane.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) chain_id: ChainId,
    pub(crate) account: Address,
    /// Version of the lane that was read.
    pub(crate) expected_version: u64,
    pub(crate) event: LaneEvent,
    pub(crate) why: String,
    pub(crate) at: Stamp,
}

impl Entry {
    pub(crate) fn append(self) -> Append {
        let record = Record {
            format: FORMAT_VERSION,
            at_s: self.at.at_s,
            at_block: self.at.at_block,
            actor: Actor::Cordon(ACTOR.to_owned()),
            why: self.why,
            body: Body::Lane(self.event),
        };
        Append {
            stream: StreamId::lane(self.chain_id, self.account),
            expected_version: self.expected_version,
            records: vec![record],
        }
    }
}

/// Appends one lane event at the version that was read.
pub(crate) async fn append(log: &dyn EventLog, entry: Entry) -> Result<(), LogError> {
    log.commit(Batch { appends: vec![entry.append()], cursor: None }).await
}

/// An incident as its stream tells it.
#[derive(Debug, Default)]
pub(crate) struct IncidentLog {
    /// The incident; `None` where the stream is empty.
    pub(crate) incident: Option<Incident>,
    /// Number of records in the stream.
    pub(crate) version: u64,
    /// Plans whose approval was written by a person.
    pub(crate) approved_by_people: BTreeSet<PlanHash>,
}

/// Reads and folds an incident.
pub(crate) async fn read_incident(
    log: &dyn EventLog,
    id: IncidentId,
) -> Result<Result<IncidentLog, IllegalTransition>, LogError> {
    let mut read = IncidentLog::default();
    for stored in log.read(StreamId::incident(id)).await? {
        read.version = stored.version;
        let Body::Incident(event) = &stored.record.body else { continue };
        match Incident::next(read.incident.take(), event) {
            Ok(incident) => read.incident = Some(incident),
            Err(illegal) => return Ok(Err(illegal)),
        }
        if let (IncidentEvent::PlanApproved { plan }, Actor::Person(_)) = (event, &stored.record.actor) {
            read.approved_by_people.insert(*plan);
        }
    }
    Ok(Ok(read))
}
