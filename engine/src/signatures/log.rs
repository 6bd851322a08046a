//! Signatures of incidents that are in the log.
//!
//! In: an event log, which says which transactions an incident is of, and a node, which still holds the state before them. Out: a
//! signature for each attack transaction that is not like one before it. Must never: learn from an incident that people called a false
//! alarm, or from a transaction that left the chain.
//!
//! The log knows of the protocol only the contracts that findings name. They count as protected, and the contract that the attack
//! called first stands on the sender's side where the findings suspect it and nobody else called it in that block.

use super::{Learned, NOTHING_TELLING};
use crate::error::EngineError;
use crate::incidents::{self, Dossier};
use crate::node;
use crate::respond::attack_transactions;
use alloy_primitives::Address;
use alloy_provider::DynProvider;
use cordon_detect::detectors::known_attack::KnownAttackConfig;
use cordon_detect::signatures::{Memory, Observed};
use cordon_model::block::Block;
use cordon_model::execution::Execution;
use cordon_model::finding::{AttackClass, Finding};
use cordon_model::incident::{Incident, State};
use cordon_model::protocol::{Contracts, ProtectedContract, Protocol};
use cordon_model::signature::{Provenance, Signature};
use cordon_model::units::{ChainId, TxRef};
use cordon_replay::{Fork, Rules, no_views};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Attack transactions of one incident that are executed again, oldest first. The first ones show what the attack is; each needs the
/// state of its own block.
const ATTACKS_MAX: usize = 8;

/// Where signatures are learned from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Event log.
    pub store: PathBuf,
    /// One incident, as `incident list` prints it; without it all that people closed as real.
    pub incident: Option<String>,
    /// Node of the incidents' chain.
    pub rpc: String,
    /// Hardfork, for chains whose schedule is not built in.
    pub hardfork: Option<String>,
}

/// Learns signatures from the log.
///
/// # Errors
/// [`EngineError`] where the log or the node cannot be used, and [`EngineError::Refused`] where the named incident is a false alarm.
pub async fn learn_from_log(source: &Source) -> Result<Learned, EngineError> {
    let dossiers = match &source.incident {
        Some(id) => vec![real(incidents::one(&source.store, id).await?)?],
        None => incidents::all(&source.store).await?,
    };
    let (provider, chain_id) = node::connect(&source.rpc).await?;
    let rules = Rules::new(chain_id, source.hardfork.as_deref()).map_err(cordon_replay::ReplayError::from)?;
    let mut school = School { provider, chain_id, rules, memory: Vec::new(), notes: Vec::new() };
    for dossier in &dossiers {
        let id = &dossier.id;
        match dossier.state {
            State::FalseAlarm => school.notes.push(format!("{id}: people called it a false alarm")),
            State::Closed => school.learn(dossier).await?,
            _ if source.incident.is_some() => school.learn(dossier).await?,
            _ => school
                .notes
                .push(format!("{id}: nobody has closed it yet; name it to learn from it all the same")),
        }
    }
    let signatures = school.memory.iter().map(|one| Signature::clone(one)).collect();
    Ok(Learned::of(signatures, school.notes))
}

fn real(dossier: Dossier) -> Result<Dossier, EngineError> {
    if dossier.state == State::FalseAlarm {
        let id = dossier.id;
        return Err(EngineError::Refused(format!(
            "{id}: people called it a false alarm, which gives no signature"
        )));
    }
    Ok(dossier)
}

/// What is learned, and by what.
struct School {
    provider: DynProvider,
    chain_id: ChainId,
    rules: Rules,
    memory: Vec<Arc<Signature>>,
    notes: Vec<String>,
}

impl School {
    async fn learn(&mut self, dossier: &Dossier) -> Result<(), EngineError> {
        let (id, incident) = (&dossier.id, &dossier.incident);
        if incident.chain_id != self.chain_id {
            let (found, expected) = (self.chain_id, incident.chain_id);
            self.notes.push(format!("{id}: it is of chain {expected}, the node serves chain {found}"));
            return Ok(());
        }
        let attack = attack_transactions(incident);
        if attack.len() > ATTACKS_MAX {
            let (all, rest) = (attack.len(), attack.len().saturating_sub(ATTACKS_MAX));
            self.notes.push(format!("{id}: of its {all} transactions the newest {rest} are left out"));
        }
        for tx in attack.iter().take(ATTACKS_MAX) {
            let note = match self.execution(tx).await? {
                Ok((execution, block)) => self.take(id, incident, &execution, &block),
                Err(why) => Some(why),
            };
            self.notes.extend(note.map(|why| format!("{id}, transaction {}: {why}", tx.hash)));
        }
        Ok(())
    }

    /// The transaction executed again, with its block; or why that is not the transaction of the finding.
    async fn execution(&self, tx: &TxRef) -> Result<Result<(Execution, Arc<Block>), String>, EngineError> {
        let block = crate::inspect::block(self.provider.clone(), self.chain_id, tx.block.number).await?;
        let place = usize::try_from(tx.index).ok();
        let transaction = place.and_then(|place| block.transactions.get(place));
        let transaction = transaction.filter(|found| found.hash == tx.hash && block.hash == tx.block.hash);
        let Some(transaction) = transaction.cloned() else {
            return Ok(Err(format!("it is no longer in block {} of the chain", tx.block.number)));
        };
        let block = Arc::new(block);
        let provider = Some(self.provider.clone());
        let mut fork = Fork::before(provider, &self.rules, Arc::clone(&block), tx.index).await?;
        let mut execution = fork.transaction(&transaction, no_views()).await?;
        execution.tx = *tx;
        Ok(Ok((execution, block)))
    }

    /// Learns one transaction; or why there is nothing to learn from it.
    fn take(
        &mut self,
        id: &str,
        incident: &Incident,
        execution: &Execution,
        block: &Block,
    ) -> Option<String> {
        if !execution.status.is_success() {
            return Some("it failed, so that it did nothing".to_owned());
        }
        let findings: Vec<&Finding> =
            incident.findings.iter().filter(|finding| finding.tx == execution.tx).collect();
        let mut observed = Observed::of(&protocol(incident, &findings, execution), execution);
        if is_public(execution, block) {
            observed.codes.retain(|code| code.is_new);
        }
        let limits = KnownAttackConfig::default().limits();
        if let Some(known) = Memory::of(self.memory.iter().map(Arc::clone)).nearest(&observed, &limits) {
            return Some(format!("it is like {}, which is learned already", known.signature.name));
        }
        let strongest = findings.into_iter().max_by_key(|finding| finding.score);
        let class = strongest.map_or(AttackClass::ControlFlow, |finding| finding.class);
        let provenance = Provenance {
            chain_id: incident.chain_id,
            tx: execution.tx.hash,
            incident: Some(incident.id),
            text: format!("learned from incident {id}, block {}", execution.tx.block.number),
        };
        let name = format!("{id}-{}", self.memory.len().saturating_add(1));
        match observed.signature(name, class, provenance, &limits) {
            Some(signature) => {
                self.memory.push(Arc::new(signature));
                None
            }
            None => Some(NOTHING_TELLING.to_owned()),
        }
    }
}

/// The protocol as far as the findings name it. What the attack called first is one of its contracts where no finding suspects it.
fn protocol(incident: &Incident, findings: &[&Finding], execution: &Execution) -> Protocol {
    let mut protected: BTreeSet<Address> = incident.findings.iter().map(|finding| finding.contract).collect();
    let suspected = |account: &Address| findings.iter().any(|finding| finding.suspects.contains(account));
    protected.extend(execution.transaction.to.filter(|called| !suspected(called)));
    let contract = |address: Address| ProtectedContract { address, name: address.to_string() };
    let mut contracts = Contracts::default();
    contracts.extend(protected.into_iter().map(contract));
    Protocol {
        id: incident.protocol.clone(),
        chain_id: incident.chain_id,
        contracts,
        factories: Vec::new(),
        assets: Vec::new(),
        account_views: Vec::new(),
        capabilities: Vec::new(),
    }
}

/// Whether somebody else called the same contract first in the same block: then its code is not the attacker's.
fn is_public(execution: &Execution, block: &Block) -> bool {
    let (from, to) = (execution.transaction.from, execution.transaction.to);
    to.is_some() && block.transactions.iter().any(|other| other.to == to && other.from != from)
}
