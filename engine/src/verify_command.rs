//! `cordon fix verify`: the engine started on its log for one judgement.
//!
//! In: paths and addresses as typed. Out: a judged remedy. The node must still hold the state before the attack.

use crate::config::Config;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::fix::Candidate;
use crate::node::{self, Nodes};
use crate::watch::remember;
use alloy_primitives::{Address, Bytes};
use cordon_eradicate::Artifact;
use cordon_ingest::{Advance, ChainSource, StartAt};
use cordon_model::block::ChainUpdate;
use cordon_model::log::{Cursor, EventLog};
use cordon_model::remedy::Remedy;
use cordon_store::SqliteLog;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Blocks before the attack whose honest transactions a fix is compared on: as many as fit beside the attack into the
/// history.
const HONEST_BLOCKS: u64 = 64;

/// Blocks of the attack that are executed again; later strikes repeat the first ones.
const ATTACK_BLOCKS_MAX: u64 = 64;

/// A fix to verify, as typed.
#[derive(Debug, Clone)]
pub struct FixRequest {
    /// Incident, as `incident list` prints it.
    pub incident: String,
    /// Artifact of the fix.
    pub artifact: PathBuf,
    /// Artifact of the live implementation.
    pub live: PathBuf,
    /// Proxy.
    pub proxy: String,
    /// Who may upgrade.
    pub upgrader: String,
    /// Calldata within the upgrade.
    pub init: String,
}

/// Judges a fix and records the judgement in the log.
///
/// # Errors
/// [`EngineError`] naming what cannot be used.
pub async fn verify_fix(configs: &[Config], request: &FixRequest) -> Result<Remedy, EngineError> {
    let candidate = Candidate {
        fixed: artifact(&request.artifact)?,
        live: artifact(&request.live)?,
        proxy: address("proxy", &request.proxy)?,
        upgrader: address("upgrader", &request.upgrader)?,
        setup: request.init.parse::<Bytes>().map_err(|_| EngineError::Argument {
            what: "init",
            found: request.init.clone(),
            expected: "calldata as 0x and hex digits".to_owned(),
        })?,
    };
    let missing = |found: String| EngineError::Argument {
        what: "incident",
        found,
        expected: "an incident of a chain that the configuration names".to_owned(),
    };
    let store = &configs.first().ok_or_else(|| missing(request.incident.clone()))?.store;
    let dossier = crate::incidents::one(store, &request.incident).await?;
    let of_chain = |config: &&Config| config.chain.id == dossier.incident.chain_id;
    let config = configs.iter().find(of_chain).ok_or_else(|| missing(request.incident.clone()))?;
    let log: Arc<dyn EventLog> = Arc::new(SqliteLog::open(&config.store).await?);
    let Nodes { mut source, provider, .. } = node::open(config, StartAt::Head).await?;
    // Judging a fix signs nothing, so no key is opened for it.
    let keyless = Config { signers: Vec::new(), ..config.clone() };
    let mut engine = Engine::open(&keyless, provider.clone(), log, Box::new(|_| {})).await?;
    // Only the attack, honest use before it, and the newest block are needed, however long ago it was.
    let attacked = dossier.incident.findings.iter().map(|finding| finding.tx.block.number);
    if let (Some(first), Some(last)) = (attacked.clone().min(), attacked.max()) {
        let last = last.min(first.saturating_add(ATTACK_BLOCKS_MAX));
        let blocks = first.saturating_sub(HONEST_BLOCKS)..=last;
        remember(&keyless, &mut engine, provider, blocks).await?;
    }
    let newest = Cursor::new(config.chain.id);
    if let Advance::Update(ChainUpdate::Applied(head)) = source.advance(&newest).await? {
        engine.stand_at(Arc::new(*head));
    }
    engine.verify_fix(dossier.incident.id, &candidate).await
}

fn artifact(path: &Path) -> Result<Artifact, EngineError> {
    let read = |source| EngineError::File { doing: "read", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(read)?;
    Ok(Artifact::parse(&path.display().to_string(), &text)?)
}

fn address(what: &'static str, text: &str) -> Result<Address, EngineError> {
    let expected = "an address: 0x and 40 hex digits".to_owned();
    text.parse().map_err(|_| EngineError::Argument { what, found: text.to_owned(), expected })
}
