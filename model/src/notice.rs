//! Messages to people.
//!
//! In: the events of an incident or of a chain. Out: [`Notice`] in an outbox that is part of the log. Every text field may carry data
//! from the chain, so a channel must escape it for its own format.

use crate::incident::Severity;
use crate::units::{ChainId, IncidentId, NoticeId, ProtocolId};
use serde::{Deserialize, Serialize};

/// One message for one occasion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Derived from subject and occasion: the same occasion never gives a second notice.
    pub id: NoticeId,
    /// Incident it tells of; `None` where it is about the chain or its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// Protocol concerned; `None` where it is about the chain or its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolId>,
    /// Chain concerned.
    pub chain_id: ChainId,
    /// Severity of the matter when the notice was written.
    pub severity: Severity,
    /// Who should read it.
    pub audience: Audience,
    /// One line.
    pub title: String,
    /// Details, one fact a line.
    pub lines: Vec<String>,
}

/// Who should read a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// The people on call.
    Responders,
    /// Signers of the protocol's multisig.
    Signers,
    /// Everybody who uses the protocol.
    Users,
    /// Those who run validators, nodes, sequencers and price feeds.
    Operators,
}

/// What happened to the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxEvent {
    /// The notice must reach the channel.
    Queued {
        /// The notice.
        notice: Notice,
    },
    /// The channel accepted it.
    Delivered {
        /// Which notice.
        notice: NoticeId,
        /// Attempts it took, from one.
        attempts: u32,
    },
    /// An attempt failed; it will be tried again.
    Failed {
        /// Which notice.
        notice: NoticeId,
        /// Number of this attempt, from one.
        attempt: u32,
        /// Why, for people.
        error: String,
    },
}
