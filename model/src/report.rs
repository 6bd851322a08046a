//! What happened, for people who were not there.
//!
//! In: the incident's log and the executions of its transactions. Out: [`Report`], the same for Markdown and JSON.

use crate::execution::Status;
use crate::finding::AttackClass;
use crate::units::{Asset, AssetDelta, IncidentId, ProtocolId, TxRef};
use alloy_primitives::{Address, I256, U256};
use serde::{Deserialize, Serialize};

/// The investigation of one incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Incident.
    pub incident: IncidentId,
    /// Protocol.
    pub protocol: ProtocolId,
    /// What went wrong.
    pub root_cause: RootCause,
    /// Value that the protected system lost over all transactions, wad.
    pub loss_wad: U256,
    /// Transactions of the incident, in order.
    pub transactions: Vec<TxReport>,
    /// Who took part.
    pub parties: Vec<Party>,
    /// Profit and loss per account over all transactions, largest gain first.
    pub profit_and_loss: Vec<ProfitAndLoss>,
    /// What happened when.
    pub timeline: Vec<TimelineEntry>,
}

/// What went wrong, and on which grounds it is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootCause {
    /// Classes of attack seen, strongest first.
    pub classes: Vec<AttackClass>,
    /// One sentence.
    pub summary: String,
    /// Contract and functions concerned, for people.
    pub grounds: Vec<String>,
}

/// One transaction of the incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxReport {
    /// Where it was mined.
    pub tx: TxRef,
    /// Unix time in seconds.
    pub timestamp_s: u64,
    /// Sender.
    pub from: Address,
    /// How it ended.
    pub status: Status,
    /// Decoded calls, in order of entry.
    pub calls: Vec<CallLine>,
    /// Movements of value, in order.
    pub flows: Vec<Flow>,
}

/// One line of a decoded call tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallLine {
    /// Depth; zero is the transaction's own call.
    pub depth: u32,
    /// Kind and target, decoded function and arguments where the interface is known.
    pub text: String,
    /// Caller.
    pub from: Address,
    /// Account called.
    pub to: Address,
    /// Native coin sent along.
    pub value_wei: U256,
    /// How the call ended.
    pub status: Status,
}

/// One movement of value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Sequence number within the transaction.
    pub seq: u32,
    /// What moved.
    pub asset: Asset,
    /// Sender.
    pub from: Address,
    /// Receiver.
    pub to: Address,
    /// Amount, raw.
    pub amount_raw: U256,
}

/// An account and its part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Account.
    pub address: Address,
    /// Its part.
    pub role: PartyRole,
    /// On which grounds.
    pub why: String,
}

/// Parts that accounts play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartyRole {
    /// Sent the attack.
    Attacker,
    /// Contract through which the attack ran.
    AttackContract,
    /// Received value of the protected system.
    Beneficiary,
    /// Contract that was attacked.
    Victim,
}

/// One account's balance of the incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfitAndLoss {
    /// Account.
    pub account: Address,
    /// Name for people, where there is one.
    pub label: Option<String>,
    /// Change per asset.
    pub deltas: Vec<AssetDelta>,
    /// Change in value, wad, as far as assets are priced.
    pub value_wad: I256,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// Block.
    pub block: u64,
    /// Unix time in seconds.
    pub timestamp_s: u64,
    /// What happened.
    pub what: String,
}
