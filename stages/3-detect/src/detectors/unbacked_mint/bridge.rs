//! A custody pays out without a message, twice for one, or for a message of zero.
//!
//! In: a custody and its event, as the operator wrote them down; transfers and logs. Out: at most one statement. Must never:
//! judge without logs, or ask whether the message was sent: the other chain is not to be seen here.

use super::{BridgeConfig, Heard, Said};
use crate::detectors::ConfigError;
use alloy_primitives::{Address, B256, keccak256};
use cordon_model::execution::{Execution, Log, Transfer};
use cordon_model::finding::Score;
use cordon_model::finding::sign::{MessageFault, Unbacked};
use cordon_model::protocol::Protocol;
use cordon_model::units::Asset;
use std::collections::BTreeSet;

/// Opens an incident alone: what the operator says must never be.
const SCORE: Score = Score(800);

/// Worse than the others, since whoever finds it can repeat it without end (Nomad: 300 copies within hours).
const SCORE_ZERO: Score = Score(900);

/// A custody and the event by which it says that it pays out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    custody: Address,
    released: B256,
    id_topic: Option<usize>,
}

impl Gate {
    pub(super) fn of(config: &BridgeConfig) -> Result<Self, ConfigError> {
        let event = config.release_event.as_str();
        let is_signature =
            event.split_once('(').is_some_and(|(name, rest)| !name.is_empty() && rest.ends_with(')'));
        if !is_signature || event.contains(char::is_whitespace) {
            let (key, value) = ("unbacked-mint.bridge.release_event", event.to_owned());
            let expected =
                "a signature without spaces or names, such as \"Released(bytes32,address,uint256)\"";
            return Err(ConfigError { key, value, expected });
        }
        let id_topic = config.id_topic.map(usize::from);
        if id_topic.is_some_and(|topic| !(1..=3).contains(&topic)) {
            let (key, value) = ("unbacked-mint.bridge.id_topic", format!("{:?}", config.id_topic));
            return Err(ConfigError { key, value, expected: "1 to 3" });
        }
        Ok(Self { custody: config.custody, released: keccak256(event), id_topic })
    }

    pub(super) fn judge(&self, protocol: &Protocol, execution: &Execution) -> Heard {
        let pays = |moved: &&Transfer| self.pays(protocol, moved);
        if !protocol.protects(self.custody) || !execution.transfers.iter().any(|moved| pays(&moved)) {
            return (Vec::new(), Vec::new());
        }
        if !execution.detail.knows_logs() {
            return (
                Vec::new(),
                vec![format!("whether {} paid out by a message: no logs are known", self.custody)],
            );
        }
        let is_release = |log: &&Log| {
            let by_protocol = log.address == self.custody || protocol.protects(log.address);
            by_protocol && log.topics.first() == Some(&self.released)
        };
        let releases: Vec<&Log> = execution.logs.iter().filter(is_release).collect();
        let said = self.fault(&releases).map(|(fault, message)| Said {
            contract: self.custody,
            score: if fault == MessageFault::Zero { SCORE_ZERO } else { SCORE },
            what: Unbacked::Release { custody: self.custody, fault, message },
        });
        (said.into_iter().collect(), Vec::new())
    }

    /// Whatever leaves the protocol from the custody, and what is issued of a custody that is a token.
    fn pays(&self, protocol: &Protocol, moved: &Transfer) -> bool {
        let is_issued = moved.from.is_zero() && moved.asset == Asset::Token(self.custody);
        let leaves = !protocol.protects(moved.to) && !moved.to.is_zero();
        (moved.from == self.custody || is_issued) && leaves && !moved.amount_raw.is_zero()
    }

    fn fault(&self, releases: &[&Log]) -> Option<(MessageFault, Option<B256>)> {
        if releases.is_empty() {
            return Some((MessageFault::Missing, None));
        }
        let topic = self.id_topic?;
        let ids = || releases.iter().map(|log| log.topics.get(topic).copied());
        // An event of the same name that does not name its message tells as little as none.
        if ids().any(|id| id.is_none()) {
            return Some((MessageFault::Missing, None));
        }
        let mut seen = BTreeSet::new();
        let twice = ids().flatten().find(|id| !seen.insert(*id));
        let zero = ids().flatten().find(|id| id.is_zero());
        zero.map(|id| (MessageFault::Zero, Some(id))).or(twice.map(|id| (MessageFault::Twice, Some(id))))
    }
}
