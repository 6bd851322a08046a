//! What the drill tells while it runs, and how that reads.
//!
//! In: scenes of the range, records of the log, notices. Out: one JSON value or one paragraph of text per event. Must
//! never: tell what is not the same for the same seed.

use crate::render::{self, Names};
use cordon_model::incident::{Incident, State};
use cordon_model::log::{Body, Record};
use cordon_model::units::IncidentId;
use serde::Serialize;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DrillEvent {
    /// A new part of the story.
    Chapter {
        /// Its title.
        title: String,
    },
    /// Something that an actor of the range did.
    Scene {
        /// Block in which it was mined.
        block: u64,
        /// What.
        text: String,
    },
    /// A record of the log.
    Record {
        /// Incident.
        incident: IncidentId,
        /// State of the incident after it.
        state: State,
        /// Headline for people.
        title: String,
        /// Details for people.
        lines: Vec<String>,
        /// The record.
        record: Box<Record>,
    },
    /// Something that happened on a signer's lane.
    Lane {
        /// Newest block then.
        block: u64,
        /// What.
        text: String,
    },
    /// A message to people, as their channel shows it.
    Notice {
        /// Block after which it was sent.
        block: u64,
        /// The message.
        text: String,
    },
    /// A result.
    Result {
        /// What was found.
        lines: Vec<String>,
    },
}

impl DrillEvent {
    pub(crate) fn chapter(title: &str) -> Self {
        Self::Chapter { title: title.to_owned() }
    }

    pub(crate) fn record(incident: &Incident, record: &Record, names: &Names) -> Self {
        let (title, lines) = match &record.body {
            Body::Incident(event) => render::event(event),
            Body::Lane(_) | Body::Outbox(_) | Body::Chain(_) => (String::new(), Vec::new()),
        };
        let lines = lines.iter().map(|line| names.apply(line)).collect();
        let (state, record) = (incident.state(), Box::new(record.clone()));
        Self::Record { incident: incident.id, state, title: names.apply(&title), lines, record }
    }
}

/// An event as text for a terminal.
#[must_use]
pub fn text(event: &DrillEvent) -> String {
    match event {
        DrillEvent::Chapter { title } => format!("\n== {title}\n"),
        DrillEvent::Scene { block, text } => {
            format!("{block:>5}  chain    {}", render::plain(strip_block(text)))
        }
        DrillEvent::Record { record, state, title, lines, .. } => {
            let mut text = format!("{:>5}  CORDON   {title}  [{state}]", record.at_block);
            for line in lines {
                text.push_str("\n                  ");
                text.push_str(line);
            }
            text
        }
        DrillEvent::Lane { block, text } => format!("{block:>5}  signer   {text}"),
        DrillEvent::Notice { block, text } => {
            let lines: Vec<String> = text.lines().map(render::plain).collect();
            format!("{block:>5}  notice   {}", lines.join("\n                  "))
        }
        DrillEvent::Result { lines } => lines.join("\n"),
    }
}

/// The scene without its leading block number, which the column shows already.
fn strip_block(text: &str) -> &str {
    text.strip_prefix("block ").and_then(|rest| rest.split_once(": ")).map_or(text, |(_, rest)| rest)
}
