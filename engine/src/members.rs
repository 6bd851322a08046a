//! Contracts that join a protocol while it is watched.
//!
//! In: what the transactions of a block did, and the code behind proxies at the start. Out: a larger set of protected
//! contracts, recorded with the block that made it so. A block in which somebody joins is executed and judged again with
//! the new member, since the same block may already use it. Must never: forget a member that the log knows, or keep one
//! whose block left the chain.

use crate::calibrate::fingerprint;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::journal::Entries;
use alloy_primitives::{Address, U256};
use alloy_provider::Provider;
use cordon_detect::members::{IMPLEMENTATION_SLOT, Joining, as_address, joining, member};
use cordon_detect::{ConfigError, DetectorConfig, DetectorSet};
use cordon_model::block::Block;
use cordon_model::calibration::Judging;
use cordon_model::chain_state::Followed;
use cordon_model::log::{ChainEvent, FollowReason, RuleFile};
use cordon_model::protocol::Protocol;
use cordon_model::units::BlockRef;
use cordon_replay::BlockReplay;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::sync::Arc;

/// Questions about proxies that are open at once at the start. A restart in the middle of an incident must not wait for
/// hundreds of contracts one after the other, and a node's limit of requests is shared with everything else.
const LOOKS_AT_ONCE: usize = 16;

/// Most times that a block is executed for members that join by members that joined in it. A child of a factory that
/// is a proxy is one round; three deep is a nesting that no protocol in use has.
const ROUNDS_MAX: usize = 4;

/// A block that was executed, with the detectors that know who joined in it.
pub(crate) struct Followup {
    pub(crate) replayed: BlockReplay,
    pub(crate) joined: Vec<ChainEvent>,
    pub(crate) detectors: Arc<DetectorSet>,
}

/// The detectors over the configured protocols and their members.
pub(crate) fn assemble(
    detectors: &[DetectorConfig],
    configured: &[Protocol],
    followed: &[Followed],
) -> Result<DetectorSet, ConfigError> {
    let mut protocols = configured.to_vec();
    for joined in followed {
        let found = protocols.iter_mut().find(|protocol| protocol.id == joined.protocol);
        if let Some(protocol) = found.filter(|protocol| !protocol.protects(joined.contract)) {
            let entry = member(protocol, joined.contract, joined.because);
            protocol.contracts.push(entry);
        }
    }
    DetectorSet::from_configs(detectors, protocols)
}

impl Engine {
    /// Executes a block again, as often as somebody joins by it.
    pub(crate) async fn replay(&mut self, block: &Arc<Block>) -> Result<Followup, EngineError> {
        let mut followed = self.journal.chain().followed.clone();
        let mut detectors = Arc::clone(&self.detectors);
        let mut joined = Vec::new();
        for _ in 1..ROUNDS_MAX {
            let replayed = self.execute(block, &detectors).await?;
            let found = newcomers(&detectors, &replayed);
            if found.is_empty() {
                return Ok(Followup { replayed, joined, detectors });
            }
            let at = block.block_ref();
            joined.extend(found.iter().map(|joining| event(joining, at)));
            followed.extend(found.into_iter().map(|joining| entry(joining, at)));
            detectors = Arc::new(assemble(&self.units, &self.configured, &followed)?);
        }
        let replayed = self.execute(block, &detectors).await?;
        Ok(Followup { replayed, joined, detectors })
    }

    /// Takes up the code behind the configured proxies as it is now. Later changes show in blocks.
    ///
    /// # Errors
    /// [`EngineError`] where the node or the log fails.
    pub async fn survey(&mut self) -> Result<(), EngineError> {
        let proxies = self
            .detectors
            .protocols()
            .flat_map(|protocol| protocol.contracts.iter().map(move |contract| (protocol, contract.address)));
        let looks = proxies.map(|(protocol, proxy)| self.code_behind(protocol, proxy));
        let looks: Vec<_> = looks.collect();
        let found: Vec<Option<Joining>> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
        let found: Vec<Joining> = found.into_iter().flatten().collect();
        if found.is_empty() {
            return Ok(());
        }
        // A block of its own that no reorganisation takes back: the code was there before watching began.
        let at = BlockRef { number: self.stamp.at_block, hash: Default::default() };
        let chain = found.iter().map(|joining| event(joining, at)).collect();
        self.journal.append(self.stamp, Entries { chain, ..Entries::default() }).await?;
        self.reassemble()
    }

    /// Whose code a contract runs now, where it is a proxy and that code does not belong to the protocol yet.
    async fn code_behind(&self, protocol: &Protocol, proxy: Address) -> Result<Option<Joining>, EngineError> {
        let node = |source| EngineError::Node { what: format!("code slot of {proxy}"), source };
        let slot = U256::from_be_bytes(IMPLEMENTATION_SLOT.0);
        let word = self.provider.get_storage_at(proxy, slot).await.map_err(node)?;
        let code = as_address(word).filter(|code| !protocol.protects(*code));
        let because = FollowReason::ImplementationOf(proxy);
        Ok(code.map(|contract| Joining { protocol: protocol.id.clone(), contract, because }))
    }

    /// Judges by these detectors from the next block on. What the log and earlier blocks say stays as it is.
    ///
    /// # Errors
    /// [`EngineError`] where a detector cannot be built; then everything is as before.
    pub fn judge_by(&mut self, units: &[DetectorConfig]) -> Result<(), EngineError> {
        self.detectors = Arc::new(assemble(units, &self.configured, &self.journal.chain().followed)?);
        self.units = units.to_vec();
        Ok(())
    }

    /// That the rules and signatures are others than those by which the newest block was judged, if so.
    pub(crate) fn rules_taken(&self) -> Option<ChainEvent> {
        let of_unit = |unit: &DetectorConfig| -> Vec<RuleFile> {
            match unit {
                DetectorConfig::Rules(config) => config.sets.iter().map(|set| set.file()).collect(),
                DetectorConfig::KnownAttack(config) => config.sets.iter().map(|set| set.file()).collect(),
                _ => Vec::new(),
            }
        };
        let files: Vec<RuleFile> = self.units.iter().flat_map(of_unit).collect();
        (files != self.journal.chain().rules).then_some(ChainEvent::RulesTaken { files })
    }

    /// That transactions are judged in another way than those of the newest block were, if so.
    pub(crate) fn judged_by(&self) -> Option<ChainEvent> {
        let judging = Judging {
            detectors: fingerprint(&self.units),
            protocols: self.configured.iter().map(|protocol| protocol.id.clone()).collect(),
            thresholds: self.policy.calibrated.clone(),
        };
        (judging != self.journal.chain().judging).then_some(ChainEvent::JudgedBy { judging })
    }

    /// The detectors as the log says now.
    pub(crate) fn reassemble(&mut self) -> Result<(), EngineError> {
        let detectors = assemble(&self.units, &self.configured, &self.journal.chain().followed)?;
        self.detectors = Arc::new(detectors);
        Ok(())
    }
}

fn newcomers(detectors: &DetectorSet, replayed: &BlockReplay) -> Vec<Joining> {
    let mut found: Vec<Joining> = Vec::new();
    for execution in &replayed.executions {
        let concerned = detectors.concerned(execution);
        for newcomer in concerned.into_iter().flat_map(|protocol| joining(protocol, execution)) {
            if !found.iter().any(|known| known.contract == newcomer.contract) {
                found.push(newcomer);
            }
        }
    }
    found
}

fn event(joining: &Joining, block: BlockRef) -> ChainEvent {
    let (protocol, contract, because) = (joining.protocol.clone(), joining.contract, joining.because);
    ChainEvent::Followed { protocol, contract, block, because }
}

fn entry(joining: Joining, block: BlockRef) -> Followed {
    Followed { protocol: joining.protocol, contract: joining.contract, block, because: joining.because }
}
