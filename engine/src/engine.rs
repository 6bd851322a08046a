//! The one loop's body: every cause that can move Cordon is an [`Event`], and each is handled to its end before the
//! next.
//!
//! In: chain updates and what people decide. Out: records in the log and transactions on chain. The order is fixed:
//! judge (one atomic commit with the cursor), then respond. Whatever is interrupted is taken up again from the log by
//! [`Engine::resume`].

use crate::config::raw::Execution;
use crate::config::{Config, Password};
use crate::error::EngineError;
use crate::history::{History, Past};
use crate::journal::{Entries, Entry, Journal, Observer, Stamp};
use crate::members::Followup;
use crate::network::Noted;
use crate::rehearsal::Failures;
use crate::trials::{Trials, views};
use alloy_primitives::{Address, B256, U256};
use alloy_provider::{DynProvider, Provider};
use cordon_contain::{Authority, Gate, KeystoreSigner, PasswordSource, SendPolicy, Sender, Signer};
use cordon_decide::{Playbook, Policy};
use cordon_detect::network::NetworkMonitors;
use cordon_detect::{DetectorConfig, DetectorSet};
use cordon_ingest::Quorum;
use cordon_model::baseline::Baselines;
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::calibration::Strengths;
use cordon_model::incident::{Incident, IncidentEvent, Standing};
use cordon_model::log::{Actor, ChainEvent, Cursor, EventLog};
use cordon_model::protocol::Protocol;
use cordon_model::units::{BlockRef, ChainId, IncidentId, PlanHash};
use cordon_replay::{BlockReplay, Fork, Interest, Replayer, Rules, Views, Watch};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that can move the engine.
#[derive(Debug)]
pub enum Event {
    /// The chain changed.
    Chain(ChainUpdate),
    /// A person allows a plan.
    Approve {
        /// Who.
        person: String,
        /// Why.
        why: String,
        /// Which plan.
        plan: PlanHash,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    pub(crate) chain_id: ChainId,
    pub(crate) policy: Policy,
    pub(crate) playbook: Playbook,
    /// Detectors and protocols as configured.
    pub(crate) units: Vec<DetectorConfig>,
    pub(crate) configured: Vec<Protocol>,
    /// The detectors over the protocols with everybody who joined them.
    pub(crate) detectors: Arc<DetectorSet>,
    pub(crate) provider: DynProvider,
    pub(crate) rules: Rules,
    pub(crate) replayer: Replayer,
    pub(crate) quorum: Option<Quorum>,
    pub(crate) monitors: Option<NetworkMonitors>,
    pub(crate) noted: Noted,
    pub(crate) history: History,
    pub(crate) journal: Journal,
    pub(crate) cursor: Cursor,
    pub(crate) stamp: Stamp,
    pub(crate) senders: BTreeMap<Address, Sender>,
    pub(crate) interfaces: cordon_investigate::Interfaces,
    pub(crate) reports: Option<PathBuf>,
    /// Failed responses in a row, by incident.
    pub(crate) failures: BTreeMap<IncidentId, u32>,
    pub(crate) rehearsal_failures: Failures,
}

/// The state after the newest judged block, with what is needed to judge a transaction on it.
#[derive(Clone)]
pub(crate) struct Scene {
    /// The newest judged block.
    pub(crate) head: BlockRef,
    /// The state after it.
    pub(crate) fork: Fork,
    /// The detectors, with everybody who joined.
    pub(crate) detectors: Arc<DetectorSet>,
    /// The readings that they want.
    pub(crate) views: Views,
    /// What is ordinary for each protocol.
    pub(crate) baselines: Baselines,
}

impl Engine {
    /// An engine over a log and a node. Keys are opened here, so that a wrong password is found before an attack is.
    ///
    /// # Errors
    /// [`EngineError`] where the configuration, a key or the log cannot be used.
    pub async fn open(
        config: &Config,
        provider: DynProvider,
        log: Arc<dyn EventLog>,
        observer: Observer,
    ) -> Result<Self, EngineError> {
        let chain_id = config.chain.id;
        let rules = Rules::new(chain_id, config.chain.hardfork.as_deref())
            .map_err(cordon_replay::ReplayError::from)?;
        let channels: Vec<String> = config.channels.iter().map(|channel| channel.name().to_owned()).collect();
        let journal = Journal::open(Arc::clone(&log), chain_id, &channels, observer).await?;
        let followed = &journal.chain().followed;
        let detectors = crate::members::assemble(&config.detectors, &config.protocols, followed)?;
        let cursor = log.cursor(chain_id).await?.unwrap_or_else(|| Cursor::new(chain_id));
        let senders = senders(config, &provider, &log)?;
        let stamp = match cursor.head() {
            Some(head) => stamp_at(&provider, head.number).await?,
            None => Stamp::default(),
        };
        let mut engine = Self {
            chain_id,
            policy: config.policy.clone(),
            playbook: Playbook::exploit_response()?,
            units: config.detectors.clone(),
            configured: config.protocols.clone(),
            detectors: Arc::new(detectors),
            replayer: match config.chain.execution {
                Execution::Local => Replayer::for_node(provider.clone(), rules.clone()),
                Execution::NodeTraces => Replayer::for_traces(provider.clone(), chain_id),
            },
            provider,
            rules,
            quorum: None,
            monitors: None,
            noted: Noted::default(),
            history: History::default(),
            journal,
            cursor,
            stamp,
            senders,
            interfaces: cordon_investigate::Interfaces::standard(),
            reports: None,
            failures: BTreeMap::new(),
            rehearsal_failures: Failures::default(),
        };
        for path in &config.abis {
            let read = |source| EngineError::File { doing: "read", path: path.clone(), source };
            engine.learn_abi(&path.display().to_string(), &std::fs::read_to_string(path).map_err(read)?)?;
        }
        Ok(engine)
    }

    /// Writes investigation reports as Markdown and JSON into a folder from now on.
    #[must_use]
    pub fn with_reports(mut self, folder: &Path) -> Self {
        self.reports = Some(folder.to_owned());
        self
    }

    /// How far the chain has been judged.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What is protected, with everybody who joined.
    pub fn protocols(&self) -> impl Iterator<Item = &Protocol> {
        self.detectors.protocols()
    }

    /// All incidents of the chain.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.journal.incidents()
    }

    /// Learns an interface, so that reports can name its functions and errors.
    ///
    /// # Errors
    /// [`EngineError::Interface`] where the text is no ABI and no artifact.
    pub fn learn_abi(&mut self, origin: &str, json: &str) -> Result<(), EngineError> {
        Ok(self.interfaces.add_abi(origin, &abi_of(json))?)
    }

    /// Names of addresses for an incident's reports.
    #[must_use]
    pub fn labels(&self, incident: &Incident) -> cordon_investigate::Labels {
        self.protocol(incident).map(cordon_investigate::Labels::of).unwrap_or_default()
    }

    /// Where a transaction would be executed that is mined next; `None` where no state is kept.
    pub(crate) fn scene(&self) -> Option<Scene> {
        let (head, fork) = (self.cursor.head()?, self.replayer.fork_head()?);
        let detectors = Arc::clone(&self.detectors);
        let baselines = self.journal.chain().baselines.clone();
        Some(Scene { head, fork, views: views(&detectors), detectors, baselines })
    }

    /// Handles one event to its end.
    ///
    /// # Errors
    /// [`EngineError`] where the chain cannot be judged; nothing was passed over, so the same event may be handled
    /// again. What fails in the response is logged and tried again with the next block.
    pub async fn handle(&mut self, event: Event) -> Result<(), EngineError> {
        self.journal.refresh().await?;
        match event {
            Event::Chain(ChainUpdate::Applied(block)) => {
                self.judge(Arc::new(*block)).await?;
                self.respond().await
            }
            Event::Chain(ChainUpdate::Reverted(block)) => self.revert(block).await,
            // A mempool source does not exist yet.
            Event::Chain(ChainUpdate::Pending(_)) => Ok(()),
            Event::Approve { person, why, plan } => {
                self.approve(&person, why, plan).await?;
                self.respond().await
            }
        }
    }

    /// Takes up what an earlier process left: open incidents are answered on the state of the newest judged block.
    ///
    /// # Errors
    /// [`EngineError`] where the log cannot be written.
    pub async fn resume(&mut self, head: Arc<Block>) -> Result<(), EngineError> {
        self.stand_at(head);
        self.respond().await
    }

    /// Takes a block as the newest one without judging it.
    pub fn stand_at(&mut self, head: Arc<Block>) {
        self.stamp = Stamp { at_s: head.timestamp_s, at_block: head.number };
        if self.history.at(head.number).is_none() {
            self.history.push(Past { block: head, executions: Vec::new() });
        }
    }

    /// Fills the history with a block that was judged before, without judging it again.
    ///
    /// # Errors
    /// [`EngineError`] where the block cannot be executed.
    pub async fn remember(&mut self, block: Arc<Block>) -> Result<(), EngineError> {
        let detectors = Arc::clone(&self.detectors);
        let replayed = self.execute(&block, &detectors).await?;
        let executions = replayed.executions.into_iter().filter(|e| self.detectors.concerns(e)).collect();
        self.history.push(Past { block, executions });
        Ok(())
    }

    /// Executes a block again, with the readings that these detectors want.
    pub(crate) async fn execute(
        &mut self,
        block: &Arc<Block>,
        detectors: &Arc<DetectorSet>,
    ) -> Result<BlockReplay, EngineError> {
        let interest = Interest::Touching(detectors.watched());
        let watch = Watch { interest, ..Watch::everything(views(detectors)) };
        Ok(self.replayer.replay(Arc::clone(block), watch).await?)
    }

    /// Executes a block again, judges what it did, and writes findings and cursor in one batch.
    async fn judge(&mut self, block: Arc<Block>) -> Result<(), EngineError> {
        let Followup { replayed, joined, detectors } = self.replay(&block).await?;
        let stamp = Stamp { at_s: block.timestamp_s, at_block: block.number };
        let taken = self.rules_taken().into_iter().chain(self.judged_by());
        let mut chain: Vec<ChainEvent> = taken.chain(joined).collect();
        for mismatch in &replayed.mismatches {
            tracing::warn!(block = block.number, what = %mismatch.what, "replay does not reproduce the block");
            chain.push(ChainEvent::ReplayMismatch { block: block.block_ref(), what: mismatch.what.clone() });
        }
        let executions: Vec<_> = replayed.executions.into_iter().filter(|e| detectors.concerns(e)).collect();
        let own = self.own_transactions().await?;
        let rehearsed = self.rehearse(&detectors, &block, &executions).await?;
        let mut heard = self.hear(&detectors, &block, (&executions, replayed.mismatches.is_empty())).await?;
        let (mut pupil, accepted) = self.pupil(&detectors, (block.block_ref(), block.timestamp_s));
        let mut found = Vec::new();
        for (execution, rehearsed) in executions.iter().zip(rehearsed) {
            let judgement = detectors.judge(execution);
            let said = judgement.findings.into_iter().chain(rehearsed).chain(heard.of(&execution.tx));
            found.push(said.collect());
            for gap in judgement.gaps {
                tracing::warn!(detector = gap.detector, tx = %gap.tx.hash, what = %gap.what, "could not be judged");
            }
        }
        chain.extend(heard.events(&block));
        let mut findings = heard.findings;
        for (execution, found) in executions.iter().zip(detectors.name_ordinary(&executions, found)) {
            // A write-off or a refill that people approved looks like a loss or a rate jump, and is none.
            if !own.contains(&execution.tx.hash) {
                findings.extend(pupil.judge(execution, found));
            }
        }
        chain.extend(accepted);
        chain.extend(pupil.events());
        let known: Vec<&Incident> = self.journal.incidents().collect();
        let assignments = cordon_decide::correlate(findings, &known, &self.policy);
        let rarity = |incident: &Incident| self.rarity(incident, &known);
        let incidents = assignments
            .into_iter()
            .map(|assignment| (assignment.incident, entries(assignment, &self.policy, &rarity)))
            .collect();
        let mut cursor = self.cursor.clone();
        if let (None, Some(number)) = (cursor.head(), block.number.checked_sub(1)) {
            // Where a watch begins there is nothing to judge before it; but if its first block leaves the chain, it must
            // be known on what the next one has to build.
            cursor.push(BlockRef { number, hash: block.parent_hash });
        }
        cursor.push(block.block_ref());
        cursor.at_s = block.timestamp_s;
        self.journal.append(stamp, Entries { incidents, chain, cursor: Some(cursor.clone()) }).await?;
        self.noted
            .replayed(block.block_ref(), replayed.mismatches.first().map(|mismatch| mismatch.what.as_str()));
        (self.cursor, self.stamp, self.detectors) = (cursor, stamp, detectors);
        self.history.push(Past { block, executions });
        Ok(())
    }

    /// How rare ordinary use was as strong as what opens an incident, as far as the log tells.
    fn rarity(&self, incident: &Incident, known: &[&Incident]) -> Option<String> {
        let (chain, nothing) = (self.journal.chain(), Strengths::default());
        let strengths = chain.strengths.get(&incident.protocol).unwrap_or(&nothing);
        let transactions = strengths.transactions(chain.baselines.transactions(&incident.protocol));
        cordon_decide::rarity(&self.policy, incident, (strengths, transactions), known)
    }

    /// Hashes of the transactions that this engine signed.
    async fn own_transactions(&self) -> Result<BTreeSet<B256>, EngineError> {
        let mut own = BTreeSet::new();
        for sender in self.senders.values() {
            let lane = sender.lane().await?;
            own.extend(
                lane.entries().flat_map(|entry| entry.signatures.iter().map(|signature| signature.tx_hash)),
            );
        }
        Ok(own)
    }

    /// Takes back a block that left the chain: its findings are withdrawn. Steps that were mined in it are found by
    /// the next poll of their lane.
    async fn revert(&mut self, block: BlockRef) -> Result<(), EngineError> {
        let mut cursor = self.cursor.clone();
        if !cursor.pop(block) {
            return Err(EngineError::Refused(format!(
                "block {} {} was reverted, but the newest judged block is another",
                block.number, block.hash
            )));
        }
        let mut incidents = Vec::new();
        for incident in self.journal.incidents().filter(|incident| incident.standing == Standing::Open) {
            let gone = incident.findings.iter().filter(|finding| finding.tx.block == block);
            let withdrawn: Vec<Entry> = gone
                .map(|finding| {
                    let event = IncidentEvent::FindingWithdrawn { finding: finding.id };
                    Entry::by("engine", format!("block {} left the canonical chain", block.number), event)
                })
                .collect();
            incidents.push((incident.id, withdrawn));
        }
        let chain = vec![ChainEvent::Reverted { block }];
        self.journal.append(self.stamp, Entries { incidents, chain, cursor: Some(cursor.clone()) }).await?;
        self.cursor = cursor;
        self.history.revert(block);
        self.noted.reverted(block);
        self.reassemble()
    }

    async fn approve(&mut self, person: &str, why: String, plan: PlanHash) -> Result<(), EngineError> {
        let holds = |incident: &&Incident| incident.plans.contains_key(&plan);
        let Some(id) = self.journal.incidents().find(holds).map(|incident| incident.id) else {
            let expected = "a plan that was chosen for an incident".to_owned();
            return Err(EngineError::Argument { what: "plan", found: plan.to_string(), expected });
        };
        let entry = Entry::person(person, why, IncidentEvent::PlanApproved { plan });
        self.journal.append(self.stamp, Entries::of(id, vec![entry])).await?;
        Ok(())
    }

    /// The protocol of an incident.
    pub(crate) fn protocol(&self, incident: &Incident) -> Option<&Protocol> {
        self.detectors.protocols().find(|protocol| protocol.id == incident.protocol)
    }

    pub(crate) fn trials<'a>(&'a self, protocol: &'a Protocol) -> Trials<'a> {
        Trials {
            provider: &self.provider,
            rules: &self.rules,
            detectors: &self.detectors,
            protocol,
            history: &self.history,
            interfaces: &self.interfaces,
            labels: cordon_investigate::Labels::of(protocol),
        }
    }
}

/// The ABI in an artifact, or the text itself where it is no artifact.
pub(crate) fn abi_of(json: &str) -> String {
    let artifact: Option<serde_json::Value> = serde_json::from_str(json).ok();
    artifact.and_then(|artifact| Some(artifact.get("abi")?.to_string())).unwrap_or_else(|| json.to_owned())
}

/// The events of an assignment. An incident is triaged in the batch that opens it, so that the first notice already says
/// how bad it is.
fn entries(
    assignment: cordon_decide::Assignment,
    policy: &Policy,
    rarity: &dyn Fn(&Incident) -> Option<String>,
) -> Vec<Entry> {
    let (incident, chain_id, opens) = (assignment.incident, assignment.chain_id, assignment.opens);
    let protocol = assignment.protocol;
    let entry = |(index, finding): (usize, cordon_model::finding::Finding)| {
        let why = format!("detector '{}' on transaction {}", finding.detector, finding.tx.hash);
        let finding = Box::new(finding);
        let event = if opens && index == 0 {
            IncidentEvent::Detected { incident, chain_id, protocol: protocol.clone(), finding }
        } else {
            IncidentEvent::FindingAdded { finding }
        };
        Entry { actor: Actor::Cordon("detect".to_owned()), why, event }
    };
    let mut entries: Vec<Entry> = assignment.findings.into_iter().enumerate().map(entry).collect();
    if let (true, Ok(Some(incident))) = (opens, Incident::fold(entries.iter().map(|entry| &entry.event))) {
        let (severity, grounds) = cordon_decide::triage(&incident, policy);
        let rationale =
            [Some(grounds), rarity(&incident)].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let triaged = IncidentEvent::Triaged { severity, rationale };
        entries.push(Entry::by("decide", "severity follows from the findings", triaged));
    }
    entries
}

/// Chain time at a height; the height alone where the chain became shorter.
async fn stamp_at(provider: &DynProvider, number: u64) -> Result<Stamp, EngineError> {
    let node = |source| EngineError::Node { what: format!("block {number}"), source };
    let block = provider.get_block_by_number(number.into()).await.map_err(node)?;
    Ok(Stamp { at_s: block.map_or(0, |block| block.header.timestamp), at_block: number })
}

fn senders(
    config: &Config,
    provider: &DynProvider,
    log: &Arc<dyn EventLog>,
) -> Result<BTreeMap<Address, Sender>, EngineError> {
    let mut senders = BTreeMap::new();
    for signer in &config.signers {
        let address = signer.address;
        let password = match &signer.password {
            Password::Env(name) => PasswordSource::Env(name.clone()),
            Password::File(path) => PasswordSource::File(path.clone()),
        };
        let key = KeystoreSigner::open(&signer.keystore, &password, address)
            .map_err(|source| EngineError::Key { address, source })?;
        let levers = config.protocols.iter().flat_map(|protocol| &protocol.capabilities);
        // No grant carries native coin: neither a pause nor a fix needs any.
        let authority = Authority::new(config.chain.id, address).with_levers(levers).with_people(U256::ZERO);
        let gate = Gate::new(Arc::clone(log), authority);
        let signer: Arc<dyn Signer> = Arc::new(key);
        let sender = Sender::new(provider.clone(), gate, signer, Arc::clone(log), SendPolicy::default());
        senders.insert(address, sender);
    }
    Ok(senders)
}
