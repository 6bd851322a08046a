//! A custody pays out without a message, twice for one, for a message of zero, or for one that no other chain sent.
//!
//! In: a custody and its event, and the contracts of other chains that send its messages, as the operator wrote them down; transfers
//! and logs. Out: at most one statement, and what is to be compared with the other chains. Must never: judge without logs.

use super::{BridgeConfig, Heard, Said, SourceConfig};
use crate::detector::Statement;
use crate::detectors::ConfigError;
use crate::messages::{
    self,
    end::{End, Wrong},
};
use alloy_primitives::{Address, B256};
use cordon_model::execution::{Execution, Log, Transfer};
use cordon_model::finding::sign::{MessageFault, Sign, Unbacked};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::message::{Claim, Message, SourceId};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, ChainId};
use std::collections::BTreeSet;

/// Opens an incident alone: what the operator says must never be.
const SCORE: Score = Score(800);

/// Worse than the others, since whoever finds it can repeat it without end (Nomad: 300 copies within hours).
const SCORE_ZERO: Score = Score(900);

const HOUR_S: u64 = 3_600;

/// A custody and the event by which it says that it pays out.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    custody: Address,
    released: End,
    sources: Vec<Source>,
    travels_max_s: u64,
    clocks_s: u64,
}

/// A contract on another chain that sends messages.
#[derive(Debug, Clone)]
struct Source {
    id: SourceId,
    chain_id: ChainId,
    contract: Address,
    sent: End,
}

impl Gate {
    pub(super) fn of(config: &BridgeConfig) -> Result<Self, ConfigError> {
        let BridgeConfig { custody, release_event, id, amount, travels_max_hours, clocks_s, source } = config;
        let released = End::of(release_event, id, amount.as_deref()).map_err(|wrong| match wrong {
            Wrong::Event(expected) => {
                error("unbacked-mint.bridge.release_event", release_event.clone(), expected)
            }
            Wrong::Id(name, expected) => error("unbacked-mint.bridge.id", name, expected),
            Wrong::Amount(name, expected) => error("unbacked-mint.bridge.amount", name, expected),
        })?;
        let sources = source.iter().map(Source::of).collect::<Result<Vec<_>, _>>()?;
        if let Some(source) = source.iter().find(|source| source.id.len() != id.len()) {
            let expected = "as many names as the bridge's own id has";
            return Err(error("unbacked-mint.bridge.source.id", format!("{:?}", source.id), expected));
        }
        if !sources.is_empty() && !released.names() {
            let expected = "the names of the values that say which message it is, where there is a source";
            return Err(error("unbacked-mint.bridge.id", "nothing".to_owned(), expected));
        }
        if let Some(one) = source.iter().find(|one| one.amount.is_some() != amount.is_some()) {
            let value = format!("{:?}", one.amount);
            return Err(error(
                "unbacked-mint.bridge.source.amount",
                value,
                "an amount at both ends, or at none",
            ));
        }
        if travels_max_hours.is_none() && !sources.is_empty() {
            let expected = "the longest that a message takes, where there is a source";
            return Err(error("unbacked-mint.bridge.travels_max_hours", "nothing".to_owned(), expected));
        }
        let travels_max_s = travels_max_hours.unwrap_or_default().saturating_mul(HOUR_S);
        Ok(Self { custody: *custody, released, sources, travels_max_s, clocks_s: *clocks_s })
    }

    pub(super) fn judge(&self, protocol: &Protocol, execution: &Execution) -> Heard {
        if !protocol.protects(self.custody) || !self.pays(protocol, execution) {
            return (Vec::new(), Vec::new());
        }
        if !execution.detail.knows_logs() {
            return (
                Vec::new(),
                vec![format!("whether {} paid out by a message: no logs are known", self.custody)],
            );
        }
        let said = self.fault(&self.releases(protocol, execution)).map(|(fault, message)| Said {
            contract: self.custody,
            score: if fault == MessageFault::Zero { SCORE_ZERO } else { SCORE },
            what: Unbacked::Release { custody: self.custody, fault, message },
        });
        (said.into_iter().collect(), Vec::new())
    }

    /// The logs of releases: those of the custody, or where it pays out without one, those of others of the protocol.
    fn releases<'a>(&self, protocol: &Protocol, execution: &'a Execution) -> Vec<&'a Log> {
        let released = || execution.logs.iter().filter(|log| self.released.is(log));
        let own: Vec<&Log> = released().filter(|log| log.address == self.custody).collect();
        if own.is_empty() && self.pays(protocol, execution) {
            return released().filter(|log| protocol.protects(log.address)).collect();
        }
        own
    }

    /// True where something leaves the protocol from the custody, or is issued of a custody that is a token.
    fn pays(&self, protocol: &Protocol, execution: &Execution) -> bool {
        execution.transfers.iter().any(|moved: &Transfer| {
            let is_issued = moved.from.is_zero() && moved.asset == Asset::Token(self.custody);
            let leaves = !protocol.protects(moved.to) && !moved.to.is_zero();
            (moved.from == self.custody || is_issued) && leaves && !moved.amount_raw.is_zero()
        })
    }

    fn fault(&self, releases: &[&Log]) -> Option<(MessageFault, Option<B256>)> {
        if releases.is_empty() {
            return Some((MessageFault::Missing, None));
        }
        if !self.released.names() {
            return None;
        }
        let ids: Option<Vec<B256>> =
            releases.iter().map(|log| self.released.read(log).map(|message| message.id)).collect();
        // An event of the same name that does not name its message tells as little as none.
        let Some(ids) = ids else { return Some((MessageFault::Missing, None)) };
        let mut seen = BTreeSet::new();
        let twice = ids.iter().find(|id| !seen.insert(**id));
        let zero = ids.iter().find(|id| id.is_zero());
        zero.map(|id| (MessageFault::Zero, Some(*id))).or(twice.map(|id| (MessageFault::Twice, Some(*id))))
    }

    /// The sources that are the protocol's own contracts.
    pub(super) fn listens<'a>(&'a self, protocol: &'a Protocol) -> impl Iterator<Item = SourceId> + 'a {
        self.sources.iter().filter(|source| source.is_of(protocol)).map(|source| source.id)
    }

    /// What the transaction sends, and what is paid out in it for what others sent.
    pub(super) fn messages(
        &self,
        detector: &str,
        protocol: &Protocol,
        execution: &Execution,
    ) -> messages::Heard {
        let mut heard = messages::Heard::default();
        for source in self.sources.iter().filter(|source| source.is_of(protocol)) {
            let of_source = |log: &&Log| log.address == source.contract && source.sent.is(log);
            for log in execution.logs.iter().filter(of_source) {
                match source.sent.read(log) {
                    Some(message) => heard.sent.push((source.id, message)),
                    None => heard
                        .gaps
                        .push(format!("a message of {}: its log has another shape", source.contract)),
                }
            }
        }
        heard.claims.extend(self.claim(detector, protocol, execution));
        heard
    }

    fn claim(&self, detector: &str, protocol: &Protocol, execution: &Execution) -> Option<Claim> {
        if !protocol.protects(self.custody) {
            return None;
        }
        let releases = self.releases(protocol, execution).into_iter();
        let messages: Vec<Message> = releases.filter_map(|log| self.released.read(log)).collect();
        let what = Unbacked::Release {
            custody: self.custody,
            fault: MessageFault::Unsent,
            message: Some(messages.first()?.id),
        };
        let (class, evidence) = (AttackClass::UnbackedMint, Evidence::Sign(Sign::Unbacked(what)));
        let statement = Statement { class, contract: self.custody, score: SCORE, evidence };
        // A mesh of bridges may have the same addresses everywhere; nothing is sent from a chain to itself.
        let elsewhere = self.sources.iter().filter(|source| source.chain_id != protocol.chain_id);
        Some(Claim {
            sources: elsewhere.map(|source| (source.chain_id, source.id)).collect(),
            messages,
            paid_s: execution.timestamp_s,
            travels_max_s: self.travels_max_s,
            clocks_s: self.clocks_s,
            // It is said later than what else the detector says of the transaction, and must not be taken for that.
            finding: Finding {
                detector: detector.to_owned(),
                ..statement.by(&format!("{detector}/message"), protocol, execution)
            },
        })
    }
}

impl Source {
    fn of(config: &SourceConfig) -> Result<Self, ConfigError> {
        let SourceConfig { chain, contract, event, id, amount } = config;
        let sent = End::of(event, id, amount.as_deref()).map_err(|wrong| match wrong {
            Wrong::Event(expected) => error("unbacked-mint.bridge.source.event", event.clone(), expected),
            Wrong::Id(name, expected) => error("unbacked-mint.bridge.source.id", name, expected),
            Wrong::Amount(name, expected) => error("unbacked-mint.bridge.source.amount", name, expected),
        })?;
        let chain_id = ChainId(*chain);
        let id = SourceId::derive(chain_id, *contract, &[&sent.marks()]);
        Ok(Self { id, chain_id, contract: *contract, sent })
    }

    fn is_of(&self, protocol: &Protocol) -> bool {
        self.chain_id == protocol.chain_id && protocol.protects(self.contract)
    }
}

fn error(key: &'static str, value: String, expected: &'static str) -> ConfigError {
    ConfigError { key, value, expected }
}
