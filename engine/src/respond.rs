//! What follows from an incident: the playbook's steps, as far as Cordon does them itself, and the plans that were
//! allowed.
//!
//! In: the incidents as the log tells them, the newest block. Out: events, and signed transactions through the gate.
//! Every step reads from the log whether it is done, so it can be interrupted anywhere and taken up again. Must never:
//! let a failing node or a failing step keep the next block from being judged.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::journal::{Entries, Entry, Stamp};
use cordon_contain::{LaneUpdate, ProbeState, SendError, Submitted, levers, verify_effects};
use cordon_decide::{Decision, StepKind, Who};
use cordon_model::incident::{Incident, IncidentEvent, PlanStatus, Standing};
use cordon_model::plan::{Certainty, Plan, Purpose};
use cordon_model::protocol::Protocol;
use cordon_model::units::{CapabilityId, IncidentId, PlanHash, TxRef};
use std::collections::BTreeSet;

/// Most rounds over the playbook for one incident and block: there are fewer steps than that.
const ROUNDS_MAX: usize = 16;

/// Most levers of which combinations are tried: with three, seven options are simulated.
const COMBINED_LEVERS_MAX: usize = 3;

/// Failures of a response in a row after which people are told: a node that is away for a block or two is ordinary,
/// half a minute of Ethereum is not.
const FAILURES_UNTOLD_MAX: u32 = 3;

impl Engine {
    /// Does what is due for every open incident. A failure is logged and tried again with the next block, except where
    /// the log itself fails.
    pub(crate) async fn respond(&mut self) -> Result<(), EngineError> {
        self.poll_lanes().await?;
        let open = self.journal.incidents().filter(|incident| incident.standing == Standing::Open);
        let ids: Vec<IncidentId> = open.map(|incident| incident.id).collect();
        for id in ids {
            match self.respond_to(id).await {
                Ok(()) => {
                    self.failures.remove(&id);
                }
                Err(error) if error.is_of_the_log() => return Err(error),
                Err(error) => self.failed(id, &chain(&error)).await?,
            }
        }
        Ok(())
    }

    async fn respond_to(&mut self, id: IncidentId) -> Result<(), EngineError> {
        for _ in 0..ROUNDS_MAX {
            let Some(incident) = self.journal.incident(id) else { return Ok(()) };
            let before = incident.clone();
            let due: Vec<StepKind> = self
                .playbook
                .pending(incident)
                .into_iter()
                .filter(|(_, who)| *who == Who::Cordon)
                .map(|(kind, _)| kind)
                .collect();
            for kind in due {
                self.take(id, kind).await?;
            }
            self.raise_severity(id).await?;
            self.execute_plans(id).await?;
            if self.journal.incident(id) == Some(&before) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A response failed. The next block tries again; after a few people are told, because the attack goes on.
    async fn failed(&mut self, id: IncidentId, error: &str) -> Result<(), EngineError> {
        tracing::warn!(incident = %id, error, "will be tried again with the next block");
        let failures = self.failures.get(&id).copied().unwrap_or_default().saturating_add(1);
        self.failures.insert(id, failures);
        if failures == FAILURES_UNTOLD_MAX {
            let why = format!("the response failed {failures} times in a row: {error}");
            return self.ask_for_person(id, why).await;
        }
        Ok(())
    }

    /// Records once per reason that a person is needed, so that people are told.
    async fn ask_for_person(&mut self, id: IncidentId, why: String) -> Result<(), EngineError> {
        tracing::warn!(incident = %id, why, "a person is needed");
        if self.journal.incident(id).is_none_or(|incident| incident.needs_person.as_ref() == Some(&why)) {
            return Ok(());
        }
        let event = IncidentEvent::NeedsPerson { why };
        self.record(id, vec![Entry::by("engine", "it cannot go on by itself", event)]).await
    }

    async fn take(&mut self, id: IncidentId, kind: StepKind) -> Result<(), EngineError> {
        match kind {
            StepKind::Triage => self.raise_severity(id).await,
            StepKind::SimulateOptions => self.simulate_options(id).await,
            StepKind::Contain => self.choose_containment(id).await,
            StepKind::Investigate => self.write_report(id).await,
            // A playbook may name Cordon for these, but they need an artifact, funds or a decision that it has not.
            StepKind::Eradicate | StepKind::Reimburse | StepKind::Reopen | StepKind::Close => Ok(()),
        }
    }

    pub(crate) async fn record(&mut self, id: IncidentId, entries: Vec<Entry>) -> Result<(), EngineError> {
        Ok(self.journal.append(self.stamp, Entries::of(id, entries)).await?)
    }

    async fn raise_severity(&mut self, id: IncidentId) -> Result<(), EngineError> {
        let Some(incident) = self.journal.incident(id) else { return Ok(()) };
        let (severity, rationale) = cordon_decide::triage(incident, &self.policy);
        if incident.severity.is_some_and(|known| known >= severity) {
            return Ok(());
        }
        let event = IncidentEvent::Triaged { severity, rationale };
        self.record(id, vec![Entry::by("decide", "severity follows from the findings", event)]).await
    }

    /// Tries every lever, and combinations of few, on forks.
    async fn simulate_options(&mut self, id: IncidentId) -> Result<(), EngineError> {
        let Some((incident, protocol)) = self.known(id) else { return Ok(()) };
        let Some(head) = self.history.head().cloned() else { return Ok(()) };
        let attack = attack_transactions(&incident);
        let mut entries = Vec::new();
        for plan in self.options(&incident, &protocol).await? {
            let simulation = Box::new(self.trials(&protocol).simulate(plan, &head, &attack).await?);
            entries.push(Entry::by(
                "replay",
                "tried on a fork before anything is sent",
                IncidentEvent::Simulated { simulation },
            ));
        }
        if entries.is_empty() {
            let why = "no lever can be pulled now, so there is no containment to try".to_owned();
            return self.ask_for_person(id, why).await;
        }
        self.record(id, entries).await
    }

    /// A plan per lever that is ready, and one per combination.
    async fn options(&self, incident: &Incident, protocol: &Protocol) -> Result<Vec<Plan>, EngineError> {
        let mut singles = Vec::new();
        for capability in &protocol.capabilities {
            let lever = levers::adapter(capability.adapter);
            let probe = lever.probe(&self.provider, capability).await.map_err(EngineError::Probe)?;
            match probe.state {
                ProbeState::Ready => singles.push(lever.plan(incident.id, self.chain_id, capability)),
                ProbeState::AlreadyActive => {
                    tracing::warn!(lever = %capability.id, "is active already");
                }
                ProbeState::Unavailable { why } => {
                    tracing::warn!(lever = %capability.id, why, "cannot be pulled now")
                }
            }
        }
        let mut plans = singles.clone();
        if (2..=COMBINED_LEVERS_MAX).contains(&singles.len()) {
            let subsets = 1u32.checked_shl(u32::try_from(singles.len()).unwrap_or(0)).unwrap_or(0);
            plans.extend(
                (1..subsets)
                    .filter(|subset| subset.count_ones() > 1)
                    .map(|subset| combined(&singles, subset)),
            );
        }
        Ok(plans)
    }

    /// Chooses the least harmful option that stops the attack, and lets the policy decide on it.
    async fn choose_containment(&mut self, id: IncidentId) -> Result<(), EngineError> {
        let Some((incident, protocol)) = self.known(id) else { return Ok(()) };
        if incident.plans.values().any(|record| record.plan.purpose == Purpose::Contain) {
            return Ok(());
        }
        let Some(choice) = cordon_decide::choose(&incident) else {
            let why = "none of the simulated options stops the replayed attack".to_owned();
            return self.ask_for_person(id, why).await;
        };
        let Some(simulation) = incident.simulations.get(choice.index) else { return Ok(()) };
        let plan = simulation.plan.hash();
        let chosen = IncidentEvent::PlanChosen {
            plan: Box::new(simulation.plan.clone()),
            rationale: choice.rationale,
        };
        let chosen = Entry::by("decide", "the option that stops the attack with the least harm", chosen);
        let decided = match cordon_decide::decide(&self.policy, &incident, &protocol, simulation) {
            Decision::Execute { why } => Entry::by("decide", why, IncidentEvent::PlanApproved { plan }),
            Decision::Refuse { rule } => {
                let rule = rule.to_string();
                Entry::by(
                    "decide",
                    "the policy does not allow it without a person",
                    IncidentEvent::PlanRefused { plan, rule },
                )
            }
        };
        self.record(id, vec![chosen, decided]).await
    }

    /// Sends the next step of every allowed plan, and verifies the steps that landed.
    async fn execute_plans(&mut self, id: IncidentId) -> Result<(), EngineError> {
        let Some(incident) = self.journal.incident(id) else { return Ok(()) };
        let approved = incident.plans.iter().filter(|(_, record)| record.status == PlanStatus::Approved);
        let work: Vec<(PlanHash, Plan, Option<u32>, bool)> = approved
            .map(|(hash, record)| {
                let next = record.next_step();
                let landed = next.is_some_and(|step| record.receipts.contains_key(&step));
                (*hash, record.plan.clone(), next, landed)
            })
            .collect();
        for (hash, plan, next, landed) in work {
            match (next, landed) {
                (None, _) => {
                    let done = Entry::by(
                        "contain",
                        "every step landed and took effect",
                        IncidentEvent::PlanCompleted { plan: hash },
                    );
                    self.record(id, vec![done]).await?;
                }
                (Some(step), true) => {
                    self.verify(id, &plan, step).await?;
                }
                (Some(step), false) => self.submit(id, &plan, step).await?,
            }
        }
        Ok(())
    }

    async fn submit(&mut self, id: IncidentId, plan: &Plan, step: u32) -> Result<(), EngineError> {
        let from = usize::try_from(step).ok().and_then(|index| plan.steps.get(index)).map(|step| step.from);
        let Some(sender) = from.and_then(|from| self.senders.get(&from)) else {
            return self
                .hold(
                    id,
                    plan.hash(),
                    step,
                    "no key is configured for the account that must send it".to_owned(),
                )
                .await;
        };
        let at = cordon_contain::Stamp { at_s: self.stamp.at_s, at_block: self.stamp.at_block };
        match sender.submit(plan, step, at).await {
            Ok(Submitted::Mined(_)) => Ok(()),
            Ok(Submitted::InFlight { nonce, tx_hash, delivery, .. }) => {
                tracing::info!(plan = %plan.hash(), step, nonce, %tx_hash, ?delivery, "sent");
                Ok(())
            }
            Ok(Submitted::Held { why, .. }) => self.hold(id, plan.hash(), step, why.to_string()).await,
            // Somebody else may have done it already: what counts is whether the effects hold.
            Err(error @ (SendError::Precondition { .. } | SendError::WouldRevert { .. })) => {
                if self.verify(id, plan, step).await? {
                    return Ok(());
                }
                self.hold(id, plan.hash(), step, chain(&error)).await
            }
            Err(SendError::Refused(refused)) => self.hold(id, plan.hash(), step, chain(&refused)).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Records why a step is held, once per reason, so that people are told.
    async fn hold(
        &mut self,
        id: IncidentId,
        plan: PlanHash,
        step: u32,
        why: String,
    ) -> Result<(), EngineError> {
        tracing::warn!(%plan, step, why, "held");
        let open = self.journal.incident(id).filter(|incident| incident.standing == Standing::Open);
        let record = open.and_then(|incident| incident.plans.get(&plan));
        let news = record.is_some_and(|record| {
            record.status == PlanStatus::Approved && record.held.get(&step) != Some(&why)
        });
        if !news {
            return Ok(());
        }
        let event = IncidentEvent::StepHeld { plan, step, why };
        self.record(id, vec![Entry::by("contain", "it cannot go on by itself", event)]).await
    }

    /// Asks a step's effects on the newest block and records a new answer; true where all of them hold.
    async fn verify(&mut self, id: IncidentId, plan: &Plan, step: u32) -> Result<bool, EngineError> {
        let Some(head) = self.cursor.head() else { return Ok(false) };
        let mut verification = verify_effects(&self.provider, plan, step, head, Certainty::Latest).await?;
        let last = plan.steps.len() == usize::try_from(step).unwrap_or(usize::MAX).saturating_add(1);
        if plan.purpose == Purpose::Contain && last {
            verification.effects.extend(self.attack_fails_now(id).await?);
        }
        let passed = verification.passed();
        let known = self.journal.incident(id).and_then(|incident| incident.plans.get(&plan.hash()));
        let known = known.and_then(|record| record.verifications.get(&step));
        if known.is_some_and(|known| known.effects == verification.effects) {
            return Ok(passed);
        }
        let event = IncidentEvent::EffectsChecked { verification };
        self.record(id, vec![Entry::by("contain", "asked on chain after the step landed", event)]).await?;
        Ok(passed)
    }

    /// Whether the newest attack transaction, run once more on a fork of the newest block, takes nothing. A flag that
    /// reads "paused" is not the proof; this is.
    async fn attack_fails_now(&self, id: IncidentId) -> Result<Option<(String, bool)>, EngineError> {
        let Some((incident, protocol)) = self.known(id) else { return Ok(None) };
        let Some(head) = self.history.head() else { return Ok(None) };
        let trials = self.trials(&protocol);
        let newest = attack_transactions(&incident).last().and_then(|tx| trials.transaction(tx));
        let Some(transaction) = newest else { return Ok(None) };
        let outcome = trials.outcome(&transaction, &trials.fork(head)?).await?;
        let how = outcome.error.as_deref().unwrap_or("it runs to its end");
        let what =
            format!("the attack {}, run once more on this block, takes nothing ({how})", transaction.hash);
        Ok(Some((what, !outcome.is_harmful())))
    }

    /// Asks every lane what became of its transactions, and tells the incidents.
    async fn poll_lanes(&mut self) -> Result<(), EngineError> {
        let at = cordon_contain::Stamp { at_s: self.stamp.at_s, at_block: self.stamp.at_block };
        let mut updates = Vec::new();
        for (account, sender) in &self.senders {
            match sender.poll(at).await {
                Ok(found) => updates.extend(found),
                Err(error) => {
                    let error = EngineError::from(error);
                    if error.is_of_the_log() {
                        return Err(error);
                    }
                    tracing::warn!(%account, error = %chain(&error), "lane could not be polled");
                }
            }
        }
        for update in updates {
            match update {
                LaneUpdate::Held { plan, step, why, .. } => {
                    let holds = |incident: &&Incident| incident.plans.contains_key(&plan);
                    let id = self.journal.incidents().find(holds).map(|incident| incident.id);
                    if let Some(id) = id {
                        self.hold(id, plan, step, why.to_string()).await?;
                    }
                }
                LaneUpdate::Signed { .. } | LaneUpdate::Resent { .. } => tracing::info!(?update, "lane"),
                LaneUpdate::Mined { .. } | LaneUpdate::Unmined { .. } => {}
            }
        }
        self.reconcile().await
    }

    /// Brings the incidents in line with the lanes. It reads the lanes themselves and not the updates of one poll, so
    /// that a receipt which an earlier process recorded and did not pass on is passed on now.
    async fn reconcile(&mut self) -> Result<(), EngineError> {
        for account in self.senders.keys().copied().collect::<Vec<_>>() {
            let Some(sender) = self.senders.get(&account) else { continue };
            let lane = sender.lane().await?;
            for entry in lane.entries() {
                let (plan, step) = (entry.intent.plan, entry.intent.step);
                let Some(incident) = self.journal.incident(entry.intent.incident) else { continue };
                if incident.standing != Standing::Open {
                    continue;
                }
                let told = incident.plans.get(&plan).and_then(|record| record.receipts.get(&step));
                let (id, event, why) = match (told, &entry.mined) {
                    (None, Some(receipt)) => (
                        incident.id,
                        IncidentEvent::StepLanded { receipt: receipt.clone() },
                        "its transaction was mined",
                    ),
                    (Some(known), mined) if mined.as_ref() != Some(known) => (
                        incident.id,
                        IncidentEvent::StepReverted { plan, step, block: known.block },
                        "its block left the canonical chain",
                    ),
                    (Some(_), _) | (None, None) => continue,
                };
                self.record(id, vec![Entry::by("contain", why, event)]).await?;
            }
        }
        Ok(())
    }

    /// An incident and its protocol, as they stand.
    pub(crate) fn known(&self, id: IncidentId) -> Option<(Incident, Protocol)> {
        let incident = self.journal.incident(id)?;
        Some((incident.clone(), self.protocol(incident)?.clone()))
    }

    /// Newest block that was judged.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }
}

/// The transactions of an incident's findings, in the order of the chain.
pub(crate) fn attack_transactions(incident: &Incident) -> Vec<TxRef> {
    let txs: BTreeSet<(u64, u32, TxRef)> = incident
        .findings
        .iter()
        .map(|finding| (finding.tx.block.number, finding.tx.index, finding.tx))
        .collect();
    txs.into_iter().map(|(_, _, tx)| tx).collect()
}

/// Several containments as one plan.
fn combined(plans: &[Plan], subset: u32) -> Plan {
    let chosen: Vec<&Plan> = plans
        .iter()
        .enumerate()
        .filter(|(index, _)| subset >> index & 1 == 1)
        .map(|(_, plan)| plan)
        .collect();
    let titles: Vec<&str> = chosen.iter().map(|plan| plan.title.as_str()).collect();
    let names: Vec<String> =
        chosen.iter().filter_map(|plan| plan.capability.as_ref()).map(|id| id.0.clone()).collect();
    let first = plans.first();
    Plan {
        incident: first.map_or_else(|| IncidentId::derive(&[]), |plan| plan.incident),
        purpose: Purpose::Contain,
        chain_id: first.map_or(cordon_model::units::ChainId(0), |plan| plan.chain_id),
        title: titles.join("; "),
        capability: Some(CapabilityId(names.join("+"))),
        steps: chosen.iter().flat_map(|plan| plan.steps.clone()).collect(),
    }
}

/// An error with its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
