//! Plans that were allowed: sending their steps, and asking on chain whether they took effect.
//!
//! In: approved plans. Out: transactions through the gate, checked effects, and for a containment that landed without
//! effect the word that it failed, so that another one takes its place. Must never: call an attack contained because a
//! flag says so.

use crate::engine::Engine;
use crate::error::{EngineError, chain};
use crate::journal::Entry;
use crate::options::threat_transactions;
use crate::respond::attack_transactions;
use cordon_contain::{HeldWhy, SendError, Submitted, verify_effects};
use cordon_model::incident::{IncidentEvent, PlanStatus, Standing};
use cordon_model::plan::{Certainty, Plan, Purpose, Receipt};
use cordon_model::units::{IncidentId, PlanHash};

/// What a plan waits for.
enum Due {
    /// Its next step has to be sent.
    Submission(u32),
    /// A step landed, and its effects have to be asked.
    Verification(u32),
    /// A step landed in a block that is about to be judged.
    Waiting,
    /// Every step landed and took effect.
    Completion,
}

impl Engine {
    /// Sends the next step of every allowed plan, and verifies the steps that landed.
    pub(crate) async fn execute_plans(&mut self, id: IncidentId) -> Result<(), EngineError> {
        let Some(incident) = self.journal.incident(id) else { return Ok(()) };
        let approved = incident.plans.iter().filter(|(_, record)| record.status == PlanStatus::Approved);
        // The lanes may know of a block that has not been judged yet; asking before it would find nothing done.
        let judged = |receipt: &Receipt| receipt.block.number <= self.stamp.at_block;
        let work: Vec<(PlanHash, Plan, Due)> = approved
            .map(|(hash, record)| {
                let due = match record.next_step().map(|step| (step, record.receipts.get(&step))) {
                    None => Due::Completion,
                    Some((step, None)) => Due::Submission(step),
                    Some((step, Some(receipt))) if judged(receipt) => Due::Verification(step),
                    Some((_, Some(_))) => Due::Waiting,
                };
                (*hash, record.plan.clone(), due)
            })
            .collect();
        for (hash, plan, due) in work {
            match due {
                Due::Completion => {
                    let done = Entry::by(
                        "contain",
                        "every step landed and took effect",
                        IncidentEvent::PlanCompleted { plan: hash },
                    );
                    self.record(id, vec![done]).await?;
                }
                Due::Verification(step) => {
                    let holds = self.verify(id, &plan, step).await?;
                    if !holds && plan.purpose == Purpose::Contain {
                        let why = format!("step {} landed without the effect it should have", step + 1);
                        self.give_up(id, hash, why).await?;
                    }
                }
                Due::Submission(step) => self.submit(id, &plan, step).await?,
                Due::Waiting => {}
            }
        }
        Ok(())
    }

    async fn submit(&mut self, id: IncidentId, plan: &Plan, step: u32) -> Result<(), EngineError> {
        if let Some(why) = self.forbidden(plan).await? {
            return self.hold(id, plan.hash(), step, why).await;
        }
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
            Ok(Submitted::Held { why, .. }) => self.held(id, plan.hash(), step, &why).await,
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

    /// A held step. A containment whose nonce was used by somebody else can never land: another one takes its place, with
    /// a nonce of its own. Any other plan waits for a person, since doing it twice might pay twice.
    pub(crate) async fn held(
        &mut self,
        id: IncidentId,
        plan: PlanHash,
        step: u32,
        why: &HeldWhy,
    ) -> Result<(), EngineError> {
        let open = self.journal.incident(id).filter(|incident| incident.standing == Standing::Open);
        let record = open.and_then(|incident| incident.plans.get(&plan));
        let contains = record.is_some_and(|record| {
            record.plan.purpose == Purpose::Contain && record.status == PlanStatus::Approved
        });
        match why {
            HeldWhy::NonceTaken { .. } if contains => self.give_up(id, plan, why.to_string()).await,
            // The node is asked again in a moment; people are told when it keeps failing.
            HeldWhy::Node { .. } => Err(EngineError::Refused(format!("step {} is held: {why}", step + 1))),
            HeldWhy::Rule(_)
            | HeldWhy::Fees(_)
            | HeldWhy::NonceTaken { .. }
            | HeldWhy::SignaturesExhausted { .. } => self.hold(id, plan, step, why.to_string()).await,
        }
    }

    async fn give_up(&mut self, id: IncidentId, plan: PlanHash, why: String) -> Result<(), EngineError> {
        let event = IncidentEvent::PlanFailed { plan, why };
        self.record(id, vec![Entry::by("contain", "the attack is not contained by it", event)]).await
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
        let missing = || EngineError::Refused("the attack is not at hand to be run once more".to_owned());
        let (incident, protocol) = self.known(id).ok_or_else(missing)?;
        let head = self.history.head().ok_or_else(missing)?;
        let trials = self.trials(&protocol);
        let threat = threat_transactions(&incident);
        let attack = if threat.is_empty() { attack_transactions(&incident) } else { threat };
        if attack.is_empty() {
            // A reorganisation took the attack back; there is nothing to run.
            return Ok(None);
        }
        let newest = attack.last().and_then(|tx| trials.transaction(tx)).ok_or_else(missing)?;
        let outcome = trials.outcome(&newest, &trials.fork(head)?).await?;
        let how = outcome.error.as_deref().unwrap_or("it runs to its end");
        let what = format!("the attack {}, run once more on this block, takes nothing ({how})", newest.hash);
        Ok(Some((what, !outcome.is_harmful())))
    }
}
