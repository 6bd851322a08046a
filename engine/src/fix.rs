//! `cordon fix verify`: a candidate implementation proven on forks, or refused by rule.
//!
//! In: an incident, the artifacts of candidate and live code, the proxy and who may upgrade it. Out: a judged
//! [`Remedy`], recorded in the incident; a proven one carries its upgrade plan. The attack and honest history are each
//! replayed on the state just before they ran, once with the live code and once with the candidate. Must never: send
//! anything, or install code other than by the upgrade itself.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::journal::Entry;
use crate::respond::{attack_transactions, suspicious_transactions};
use crate::trials::Trials;
use alloy_primitives::{Address, Bytes, U256};
use alloy_provider::Provider;
use cordon_eradicate::{Artifact, HonestComparison, HonestOutcome, UpgradeOrder};
use cordon_model::execution::Execution;
use cordon_model::incident::IncidentEvent;
use cordon_model::plan::{Call, Plan};
use cordon_model::remedy::Remedy;
use cordon_model::simulation::{AttackTrial, Ground};
use cordon_model::units::{IncidentId, TxRef};
use cordon_replay::{Fork, no_views};
use std::collections::BTreeSet;

/// Most honest transactions that a fix is compared on, newest first. Each costs two forks of its own state.
const HONEST_COMPARISONS_MAX: usize = 60;

/// Most attack transactions that a fix is tried against, oldest first.
const ATTACKS_MAX: usize = 5;

/// A candidate fix.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Artifact of the fixed implementation.
    pub fixed: Artifact,
    /// Artifact of the implementation that runs now.
    pub live: Artifact,
    /// UUPS proxy.
    pub proxy: Address,
    /// Account that may upgrade.
    pub upgrader: Address,
    /// Calldata that the proxy runs within the upgrade.
    pub setup: Bytes,
}

impl Engine {
    /// Judges a candidate fix and records the judgement.
    ///
    /// # Errors
    /// [`EngineError`] where the incident is unknown or the chain cannot be read. A refused fix is no error.
    pub async fn verify_fix(&mut self, id: IncidentId, candidate: &Candidate) -> Result<Remedy, EngineError> {
        let Some((incident, protocol)) = self.known(id) else {
            let expected = "an incident of this log and a protocol of this configuration".to_owned();
            return Err(EngineError::Argument { what: "incident", found: id.to_string(), expected });
        };
        let plan = self.upgrade_plan(id, candidate).await?;
        let attack = attack_transactions(&incident);
        let trials = self.trials(&protocol);
        let upgrade_error = match self.history.head() {
            Some(head) => trials.apply(&mut trials.fork(head)?, &plan).await?,
            None => Some("no block has been seen yet".to_owned()),
        };
        let attack_trials = attack_trials(&trials, candidate, &attack).await?;
        let suspects: BTreeSet<TxRef> = suspicious_transactions(&incident).into_iter().collect();
        let first = attack.first().map_or(u64::MAX, |tx| tx.block.number);
        let honest = honest_comparisons(&trials, candidate, (&suspects, first)).await?;
        let remedy = cordon_eradicate::judge(cordon_eradicate::Trials {
            incident: id,
            candidate: &candidate.fixed,
            live_layout: &candidate.live.layout,
            proxy: candidate.proxy,
            protected: protocol.contracts.iter().map(|contract| contract.address).collect(),
            upgrade_error,
            attack: attack_trials,
            honest,
            plan,
        });
        let event = IncidentEvent::RemedyJudged { remedy: Box::new(remedy.clone()) };
        let why = format!("candidate '{}' was replayed against the attack and honest use", remedy.candidate);
        self.record(id, vec![Entry::by("eradicate", why, event)]).await?;
        Ok(remedy)
    }

    /// The upgrade as it would be sent now.
    async fn upgrade_plan(&self, incident: IncidentId, candidate: &Candidate) -> Result<Plan, EngineError> {
        let node = |what: &str| {
            let what = what.to_owned();
            move |source| EngineError::Node { what, source }
        };
        let nonce = self.provider.get_transaction_count(candidate.upgrader).await;
        let nonce = nonce.map_err(node("nonce of the upgrader"))?;
        let slot = U256::from_be_bytes(cordon_eradicate::ERC1967_IMPLEMENTATION_SLOT.0);
        let old = self.provider.get_storage_at(candidate.proxy, slot).await;
        let old = old.map_err(node("implementation slot of the proxy"))?;
        let effect =
            cordon_eradicate::distinguishing_check(&candidate.live, &candidate.fixed, candidate.proxy);
        let order = UpgradeOrder {
            incident,
            chain_id: self.chain_id,
            proxy: candidate.proxy,
            upgrader: candidate.upgrader,
            candidate: &candidate.fixed,
            constructor_arguments: Bytes::new(),
            implementation: cordon_eradicate::implementation_address(candidate.upgrader, nonce),
            old_implementation: Address::from_word(old.into()),
            setup: candidate.setup.clone(),
            preconditions: Vec::new(),
            effects: effect.into_iter().collect(),
        };
        cordon_eradicate::upgrade_plan(order).map_err(|error| EngineError::Refused(error.to_string()))
    }
}

async fn attack_trials(
    trials: &Trials<'_>,
    candidate: &Candidate,
    attack: &[TxRef],
) -> Result<Vec<AttackTrial>, EngineError> {
    let mut found = Vec::new();
    for tx in attack.iter().take(ATTACKS_MAX) {
        let (Some(transaction), Some(live)) = (trials.transaction(tx), trials.fork_before(tx).await?) else {
            continue;
        };
        let mut fixed = live.branch();
        if install(&mut fixed, candidate).await? {
            found.push(trials.attack_trial(Ground::BeforeAttack, &transaction, &live, &fixed).await?);
        }
    }
    Ok(found)
}

async fn honest_comparisons(
    trials: &Trials<'_>,
    candidate: &Candidate,
    (suspects, first): (&BTreeSet<TxRef>, u64),
) -> Result<Vec<HonestComparison>, EngineError> {
    let touches =
        |execution: &&&Execution| execution.frames.iter().any(|frame| frame.address == candidate.proxy);
    let honest = trials.history.honest(suspects, first, usize::MAX);
    let mut found = Vec::new();
    for execution in honest.iter().filter(touches).take(HONEST_COMPARISONS_MAX) {
        let Some(mut live) = trials.fork_before(&execution.tx).await? else { continue };
        let mut fixed = live.branch();
        if !install(&mut fixed, candidate).await? {
            continue;
        }
        let old = HonestOutcome::of(&live.transaction(&execution.transaction, no_views()).await?);
        let new = HonestOutcome::of(&fixed.transaction(&execution.transaction, no_views()).await?);
        found.push(HonestComparison { tx_hash: execution.tx.hash, old, new });
    }
    Ok(found)
}

/// Deploys the candidate and points the proxy to it on a fork, from the real authority; `false` where that fails.
async fn install(fork: &mut Fork, candidate: &Candidate) -> Result<bool, EngineError> {
    let data = candidate.fixed.creation_code(&[]);
    let deployed = fork.call(candidate.upgrader, &Call { to: None, value_wei: U256::ZERO, data }).await?;
    let Some(implementation) = deployed.creations.first().filter(|_| deployed.status.is_success()) else {
        return Ok(false);
    };
    let call =
        cordon_eradicate::upgrade_call(candidate.proxy, implementation.address, candidate.setup.clone());
    Ok(fork.call(candidate.upgrader, &call).await?.status.is_success())
}
