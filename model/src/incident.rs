//! An incident is its log: a fold over events with one total transition function.
//!
//! In: [`IncidentEvent`]s in order. Out: [`Incident`], or a typed refusal that names state and event. Phases may
//! overlap (investigation runs while containment holds), so each phase carries its own status and the state is
//! derived from them. Must never: guess. An event that does not fit is refused, not skipped.

mod event;
mod state;

pub use event::IncidentEvent;
pub use state::{Severity, Standing, State};

use crate::allocation::Allocation;
use crate::finding::{AttackClass, Evidence, Finding};
use crate::plan::{Certainty, Plan, Purpose, Receipt, Verification};
use crate::remedy::{Remedy, Verdict};
use crate::simulation::Simulation;
use crate::units::{ChainId, FindingId, IncidentId, PlanHash, ProtocolId};
use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How far a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanStatus {
    /// Waits for approval.
    Chosen,
    /// May be executed.
    Approved,
    /// May not be executed.
    Refused,
    /// Landed and took effect.
    Completed,
    /// Landed without effect, or can never land.
    Failed,
}

/// A plan and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// The plan.
    pub plan: Plan,
    /// How far it is.
    pub status: PlanStatus,
    /// Receipts by step.
    pub receipts: BTreeMap<u32, Receipt>,
    /// The newest check of each step's effects.
    pub verifications: BTreeMap<u32, Verification>,
    /// Why steps were held, the newest reason of each.
    pub held: BTreeMap<u32, String>,
}

impl PlanRecord {
    /// The first step that has not both landed and taken effect; `None` once all have.
    #[must_use]
    pub fn next_step(&self) -> Option<u32> {
        let steps = u32::try_from(self.plan.steps.len()).unwrap_or(u32::MAX);
        (0..steps).find(|step| !self.verifications.get(step).is_some_and(Verification::passed))
    }
}

/// An incident as its log tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Identifier.
    pub id: IncidentId,
    /// Chain.
    pub chain_id: ChainId,
    /// Protocol.
    pub protocol: ProtocolId,
    /// Whether it takes events.
    pub standing: Standing,
    /// Findings that stand, in order of arrival.
    pub findings: Vec<Finding>,
    /// How certain the blocks of findings are; a finding that is not named stands on an unconfirmed block.
    #[serde(default)]
    pub certainty: BTreeMap<FindingId, Certainty>,
    /// Severity, once triaged.
    pub severity: Option<Severity>,
    /// Simulations, in order.
    pub simulations: Vec<Simulation>,
    /// Why Cordon could not go on by itself, the newest reason.
    pub needs_person: Option<String>,
    /// Plans by hash.
    pub plans: BTreeMap<PlanHash, PlanRecord>,
    /// Value lost according to the investigation, wad.
    pub investigated_loss_wad: Option<U256>,
    /// Number of findings that the investigation knew.
    pub investigated_findings: usize,
    /// Fixes judged, in order.
    pub remedies: Vec<Remedy>,
    /// Who is owed what.
    pub allocation: Option<Allocation>,
    /// Paid claims by account, raw.
    pub paid_raw: BTreeMap<Address, U256>,
}

/// An event that does not fit the incident's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event '{event}' does not fit an incident that is {state}: {rule}")]
pub struct IllegalTransition {
    /// Name of the event.
    pub event: &'static str,
    /// State of the incident, or `unopened`.
    pub state: String,
    /// Rule that was broken.
    pub rule: &'static str,
}

impl Incident {
    /// The incident after `event`; `None` stands for an incident that is not open yet.
    ///
    /// # Errors
    /// [`IllegalTransition`] where the event does not fit; the incident is unchanged.
    pub fn next(current: Option<Self>, event: &IncidentEvent) -> Result<Self, IllegalTransition> {
        match (current, event) {
            (None, IncidentEvent::Detected { incident, chain_id, protocol, finding }) => {
                Ok(Self::open(*incident, *chain_id, protocol.clone(), (**finding).clone()))
            }
            (None, event) => Err(illegal("unopened", event, "the first event of an incident is a detection")),
            (Some(incident), event) => incident.apply(event),
        }
    }

    /// Folds a whole log.
    ///
    /// # Errors
    /// The first [`IllegalTransition`] in the log.
    pub fn fold<'a>(
        events: impl IntoIterator<Item = &'a IncidentEvent>,
    ) -> Result<Option<Self>, IllegalTransition> {
        events.into_iter().try_fold(None, |incident, event| Self::next(incident, event).map(Some))
    }

    fn open(id: IncidentId, chain_id: ChainId, protocol: ProtocolId, finding: Finding) -> Self {
        Self {
            id,
            chain_id,
            protocol,
            standing: Standing::Open,
            findings: vec![finding],
            certainty: BTreeMap::new(),
            severity: None,
            simulations: Vec::new(),
            needs_person: None,
            plans: BTreeMap::new(),
            investigated_loss_wad: None,
            investigated_findings: 0,
            remedies: Vec::new(),
            allocation: None,
            paid_raw: BTreeMap::new(),
        }
    }

    fn apply(mut self, event: &IncidentEvent) -> Result<Self, IllegalTransition> {
        let state = self.state().to_string();
        self.accept(event).map_err(|rule| illegal(&state, event, rule))?;
        Ok(self)
    }

    /// The total transition function for an open or closed incident; an error names the broken rule.
    fn accept(&mut self, event: &IncidentEvent) -> Result<(), &'static str> {
        match (self.standing, event) {
            (_, IncidentEvent::Detected { .. }) => return Err("an incident is detected once"),
            (Standing::Open, IncidentEvent::Reopened) => return Err("an open incident cannot be reopened"),
            (Standing::Closed | Standing::FalseAlarm, IncidentEvent::Reopened) => {
                self.standing = Standing::Open
            }
            (Standing::Closed | Standing::FalseAlarm, _) => {
                return Err("a closed incident takes only a reopening");
            }
            (Standing::Open, IncidentEvent::FalseAlarm) => self.standing = Standing::FalseAlarm,
            (Standing::Open, IncidentEvent::Closed) => self.standing = Standing::Closed,
            (Standing::Open, event) => return self.accept_open(event),
        }
        Ok(())
    }

    fn accept_open(&mut self, event: &IncidentEvent) -> Result<(), &'static str> {
        match event {
            IncidentEvent::FindingAdded { finding } => self.add_finding(finding)?,
            IncidentEvent::FindingWithdrawn { finding } => {
                self.findings.retain(|known| known.id != *finding);
                self.certainty.remove(finding);
            }
            IncidentEvent::FindingConfirmed { finding, certainty } => self.confirm(*finding, *certainty)?,
            IncidentEvent::Triaged { severity, .. } => self.severity = Some(*severity),
            IncidentEvent::Simulated { simulation } => self.simulations.push((**simulation).clone()),
            IncidentEvent::NeedsPerson { why } => self.needs_person = Some(why.clone()),
            IncidentEvent::PlanChosen { plan, .. } => self.choose(plan)?,
            IncidentEvent::PlanApproved { plan } => self.decide_on(*plan, PlanStatus::Approved)?,
            IncidentEvent::PlanRefused { plan, .. } => self.decide_on(*plan, PlanStatus::Refused)?,
            IncidentEvent::StepLanded { receipt } => {
                self.allowed(receipt.plan)?.receipts.insert(receipt.step, receipt.clone());
            }
            IncidentEvent::StepReverted { plan, step, .. } => self.revert_step(*plan, *step)?,
            IncidentEvent::StepHeld { plan, step, why } => {
                self.approved(*plan)?.held.insert(*step, why.clone());
            }
            IncidentEvent::EffectsChecked { verification } => {
                let record = self.executing(verification.plan)?;
                record.verifications.insert(verification.step, verification.clone());
            }
            IncidentEvent::PlanFailed { plan, .. } => self.approved(*plan)?.status = PlanStatus::Failed,
            IncidentEvent::PlanCompleted { plan } => self.complete(*plan)?,
            IncidentEvent::Investigated { loss_wad, .. } => {
                self.investigated_loss_wad = Some(*loss_wad);
                self.investigated_findings = self.findings.len();
            }
            IncidentEvent::RemedyJudged { remedy } => self.remedies.push((**remedy).clone()),
            IncidentEvent::AllocationSettled { allocation, .. } => {
                self.allocation = Some((**allocation).clone())
            }
            IncidentEvent::ClaimPaid { account, amount_raw, .. } => self.pay(*account, *amount_raw)?,
            IncidentEvent::Detected { .. }
            | IncidentEvent::FalseAlarm
            | IncidentEvent::Reopened
            | IncidentEvent::Closed => {
                return Err("events that change the standing are decided before");
            }
        }
        Ok(())
    }

    fn add_finding(&mut self, finding: &Finding) -> Result<(), &'static str> {
        if self.findings.iter().any(|known| known.id == finding.id) {
            return Err("a finding is added once");
        }
        self.findings.push(finding.clone());
        Ok(())
    }

    fn confirm(&mut self, finding: FindingId, certainty: Certainty) -> Result<(), &'static str> {
        if !self.findings.iter().any(|known| known.id == finding) {
            return Err("only a finding that stands is confirmed");
        }
        let known = self.certainty.insert(finding, certainty);
        if known.is_some_and(|known| known >= certainty) {
            return Err("a confirmation makes a finding more certain");
        }
        Ok(())
    }

    fn choose(&mut self, plan: &Plan) -> Result<(), &'static str> {
        let hash = plan.hash();
        if self.plans.contains_key(&hash) {
            return Err("a plan is chosen once");
        }
        let (receipts, verifications, held) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let record =
            PlanRecord { plan: plan.clone(), status: PlanStatus::Chosen, receipts, verifications, held };
        self.plans.insert(hash, record);
        Ok(())
    }

    /// A refusal is not the last word: a person may approve what the policy refused.
    fn decide_on(&mut self, plan: PlanHash, to: PlanStatus) -> Result<(), &'static str> {
        let record = self.plans.get_mut(&plan).ok_or("the plan was never chosen")?;
        match (record.status, to) {
            (PlanStatus::Chosen, _) | (PlanStatus::Refused, PlanStatus::Approved) => record.status = to,
            (PlanStatus::Refused | PlanStatus::Approved | PlanStatus::Completed | PlanStatus::Failed, _) => {
                return Err("a plan is decided on once");
            }
        }
        Ok(())
    }

    fn approved(&mut self, plan: PlanHash) -> Result<&mut PlanRecord, &'static str> {
        let record = self.plans.get_mut(&plan).ok_or("the plan was never chosen")?;
        if record.status == PlanStatus::Approved {
            Ok(record)
        } else {
            Err("only an approved plan is executed")
        }
    }

    /// A plan whose effects may be asked: a completed one too, at a later and more certain block.
    fn executing(&mut self, plan: PlanHash) -> Result<&mut PlanRecord, &'static str> {
        let record = self.plans.get_mut(&plan).ok_or("the plan was never chosen")?;
        match record.status {
            PlanStatus::Approved | PlanStatus::Completed => Ok(record),
            PlanStatus::Chosen | PlanStatus::Refused | PlanStatus::Failed => {
                Err("only an approved plan is executed")
            }
        }
    }

    /// A plan that was allowed at some time. What the chain did with its steps is a fact, also after it was given up.
    fn allowed(&mut self, plan: PlanHash) -> Result<&mut PlanRecord, &'static str> {
        let record = self.plans.get_mut(&plan).ok_or("the plan was never chosen")?;
        match record.status {
            PlanStatus::Approved | PlanStatus::Completed | PlanStatus::Failed => Ok(record),
            PlanStatus::Chosen | PlanStatus::Refused => Err("only an approved plan is executed"),
        }
    }

    fn revert_step(&mut self, plan: PlanHash, step: u32) -> Result<(), &'static str> {
        let record = self.allowed(plan)?;
        record.receipts.remove(&step);
        record.verifications.remove(&step);
        if record.status == PlanStatus::Completed {
            record.status = PlanStatus::Approved;
        }
        Ok(())
    }

    fn complete(&mut self, plan: PlanHash) -> Result<(), &'static str> {
        let record = self.approved(plan)?;
        if record.next_step().is_some() {
            return Err("a plan is complete when every step took effect");
        }
        record.status = PlanStatus::Completed;
        Ok(())
    }

    fn pay(&mut self, account: Address, amount_raw: U256) -> Result<(), &'static str> {
        let allocation = self.allocation.as_ref().ok_or("nobody is paid before the allocation is settled")?;
        let entitled = allocation.entitlements.iter().find(|entitlement| entitlement.account == account);
        if entitled.is_none_or(|entitlement| entitlement.amount_raw != amount_raw) {
            return Err("a claim pays exactly what the allocation says");
        }
        if self.paid_raw.insert(account, amount_raw).is_some() {
            return Err("an account is paid once");
        }
        Ok(())
    }

    /// True where a plan for this purpose is complete.
    #[must_use]
    pub fn has_completed(&self, purpose: Purpose) -> bool {
        self.plans
            .values()
            .any(|record| record.plan.purpose == purpose && record.status == PlanStatus::Completed)
    }

    /// The newest block in which a containment took effect.
    #[must_use]
    pub fn contained_at(&self) -> Option<u64> {
        let completed = |record: &&PlanRecord| {
            record.plan.purpose == Purpose::Contain && record.status == PlanStatus::Completed
        };
        let landed = |record: &PlanRecord| {
            let receipts = record.receipts.values().map(|receipt| receipt.block.number);
            let checks = record.verifications.values().map(|verification| verification.block.number);
            receipts.max().or(checks.max())
        };
        self.plans.values().filter(completed).filter_map(landed).max()
    }

    /// Findings that no containment has answered yet: all of them before one took effect, later ones after it.
    pub fn threat(&self) -> impl Iterator<Item = &Finding> {
        let answered = self.contained_at();
        self.findings
            .iter()
            .filter(move |finding| answered.is_none_or(|block| finding.tx.block.number > block))
    }

    /// True where a containment took effect and no value was lost after it.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        let loses = |finding: &Finding| matches!(finding.evidence, Evidence::ValueLoss { .. });
        self.contained_at().is_some() && !self.threat().any(loses)
    }

    /// How many plans for this purpose have ended: the number of the next attempt.
    #[must_use]
    pub fn attempts(&self, purpose: Purpose) -> u32 {
        let ended = |record: &&PlanRecord| {
            let over = matches!(record.status, PlanStatus::Completed | PlanStatus::Failed);
            record.plan.purpose == purpose && over
        };
        u32::try_from(self.plans.values().filter(ended).count()).unwrap_or(u32::MAX)
    }

    /// Simulations that speak of the attack as it stands: of this attempt, and covering every finding of the threat.
    pub fn current_simulations(&self) -> impl Iterator<Item = (usize, &Simulation)> {
        let threat: BTreeSet<FindingId> = self.threat().map(|finding| finding.id).collect();
        let attempt = self.attempts(Purpose::Contain);
        let current = move |(_, simulation): &(usize, &Simulation)| {
            let covers: BTreeSet<FindingId> = simulation.covers.iter().copied().collect();
            simulation.plan.attempt == attempt && covers == threat
        };
        self.simulations.iter().enumerate().filter(current)
    }

    /// The state that the phases add up to: the furthest phase that is done.
    #[must_use]
    pub fn state(&self) -> State {
        match self.standing {
            Standing::Closed => return State::Closed,
            Standing::FalseAlarm => return State::FalseAlarm,
            Standing::Open => {}
        }
        if self.has_completed(Purpose::Reopen) {
            State::Recovered
        } else if self.has_completed(Purpose::Eradicate) {
            State::Eradicated
        } else if self.is_contained() {
            if self.investigated_loss_wad.is_some() { State::Investigated } else { State::Contained }
        } else if self.severity.is_some() {
            State::Triaged
        } else {
            State::Detected
        }
    }

    /// Classes of attack seen so far, in order of first appearance.
    #[must_use]
    pub fn classes(&self) -> Vec<AttackClass> {
        let mut classes = Vec::new();
        for finding in &self.findings {
            if !classes.contains(&finding.class) {
                classes.push(finding.class);
            }
        }
        classes
    }

    /// The newest proven fix.
    #[must_use]
    pub fn proven_remedy(&self) -> Option<&Remedy> {
        self.remedies.iter().rev().find(|remedy| remedy.verdict == Verdict::Proven)
    }
}

fn illegal(state: &str, event: &IncidentEvent, rule: &'static str) -> IllegalTransition {
    IllegalTransition { event: event.name(), state: state.to_owned(), rule }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Evidence, Score};
    use crate::plan::{Call, Certainty, Step, Undo};
    use crate::units::{BlockRef, FindingId, TxRef};
    use alloy_primitives::B256;

    const BLOCK: BlockRef = BlockRef { number: 7, hash: B256::ZERO };

    fn finding(seed: &str) -> Box<Finding> {
        let tx = TxRef { chain_id: ChainId(1), block: BLOCK, index: 0, hash: B256::ZERO };
        let evidence = Evidence::Reentry {
            contract: Address::ZERO,
            outer: None,
            inner: None,
            via: Address::ZERO,
            slots: vec![],
            kind: None,
        };
        Box::new(Finding {
            id: FindingId::derive(&[seed]),
            detector: "reentrancy".to_owned(),
            class: AttackClass::Reentrancy,
            protocol: ProtocolId("vault".to_owned()),
            contract: Address::ZERO,
            tx,
            score: Score(900),
            evidence,
            suspects: vec![],
        })
    }

    fn detected() -> IncidentEvent {
        let (incident, protocol) = (IncidentId::derive(&["i"]), ProtocolId("vault".to_owned()));
        IncidentEvent::Detected { incident, chain_id: ChainId(1), protocol, finding: finding("a") }
    }

    fn plan() -> Plan {
        let call = Call { to: Some(Address::ZERO), value_wei: U256::ZERO, data: Default::default() };
        let undo = Undo::NoUndo { why: "a test".to_owned() };
        let step = Step {
            name: "pause".to_owned(),
            from: Address::ZERO,
            call,
            preconditions: vec![],
            effects: vec![],
            undo,
        };
        Plan {
            incident: IncidentId::derive(&["i"]),
            purpose: Purpose::Contain,
            chain_id: ChainId(1),
            title: "pause the vault".to_owned(),
            capability: None,
            attempt: 0,
            steps: vec![step],
        }
    }

    fn landed(plan: PlanHash) -> IncidentEvent {
        let receipt = Receipt {
            plan,
            step: 0,
            tx_hash: B256::ZERO,
            block: BLOCK,
            index: 0,
            created: None,
            gas_used: 30_000,
            fee_wei: U256::ZERO,
            success: true,
        };
        IncidentEvent::StepLanded { receipt }
    }

    fn checked(plan: PlanHash, held: bool) -> IncidentEvent {
        let effects = vec![("paused() is true".to_owned(), held)];
        let verification =
            Verification { plan, step: 0, block: BLOCK, certainty: Certainty::Latest, effects };
        IncidentEvent::EffectsChecked { verification }
    }

    fn chosen() -> (PlanHash, Vec<IncidentEvent>) {
        let plan = plan();
        let hash = plan.hash();
        let chosen = IncidentEvent::PlanChosen { plan: Box::new(plan), rationale: "least harm".to_owned() };
        (hash, vec![detected(), chosen])
    }

    #[test]
    fn an_incident_walks_to_contained_only_over_a_verified_effect() {
        let (plan, mut log) = chosen();
        log.extend([IncidentEvent::PlanApproved { plan }, landed(plan), checked(plan, false)]);
        let incident = Incident::fold(&log).unwrap().unwrap();
        assert_eq!(incident.state(), State::Detected);
        let refused = Incident::next(Some(incident), &IncidentEvent::PlanCompleted { plan }).unwrap_err();
        assert_eq!(refused.rule, "a plan is complete when every step took effect");

        log.extend([checked(plan, true), IncidentEvent::PlanCompleted { plan }]);
        assert_eq!(Incident::fold(&log).unwrap().unwrap().state(), State::Contained);
    }

    #[test]
    fn a_reorganisation_opens_a_completed_step_again() {
        let (plan, mut log) = chosen();
        log.extend([IncidentEvent::PlanApproved { plan }, landed(plan), checked(plan, true)]);
        log.extend([
            IncidentEvent::PlanCompleted { plan },
            IncidentEvent::StepReverted { plan, step: 0, block: BLOCK },
        ]);
        let incident = Incident::fold(&log).unwrap().unwrap();
        assert_eq!(incident.plans[&plan].status, PlanStatus::Approved);
        assert_eq!(incident.plans[&plan].next_step(), Some(0));
    }

    #[test]
    fn what_the_chain_does_with_a_given_up_plan_is_still_a_fact() {
        let (plan, mut log) = chosen();
        let given_up = IncidentEvent::PlanFailed { plan, why: "its nonce was used".to_owned() };
        log.extend([IncidentEvent::PlanApproved { plan }, given_up, landed(plan)]);
        log.push(IncidentEvent::StepReverted { plan, step: 0, block: BLOCK });
        let incident = Incident::fold(&log).unwrap().unwrap();
        assert_eq!(incident.plans[&plan].status, PlanStatus::Failed);
        assert_eq!(incident.attempts(Purpose::Contain), 1, "another attempt takes its place");
    }

    #[test]
    fn illegal_events_are_refused_by_rule() {
        let (plan, log) = chosen();
        let incident = Incident::fold(&log).unwrap();
        let rules = [
            (incident.clone(), detected(), "an incident is detected once"),
            (None, IncidentEvent::Closed, "the first event of an incident is a detection"),
            (incident.clone(), landed(plan), "only an approved plan is executed"),
            (
                incident.clone(),
                IncidentEvent::FindingAdded { finding: finding("a") },
                "a finding is added once",
            ),
            (incident.clone(), IncidentEvent::Reopened, "an open incident cannot be reopened"),
            (
                incident,
                IncidentEvent::ClaimPaid {
                    account: Address::ZERO,
                    amount_raw: U256::from(1),
                    tx_hash: B256::ZERO,
                },
                "nobody is paid before the allocation is settled",
            ),
        ];
        for (state, event, rule) in rules {
            assert_eq!(Incident::next(state, &event).unwrap_err().rule, rule);
        }
    }

    #[test]
    fn a_closed_incident_takes_only_a_reopening() {
        let log = [detected(), IncidentEvent::FalseAlarm];
        let incident = Incident::fold(&log).unwrap();
        assert_eq!(incident.as_ref().unwrap().state(), State::FalseAlarm);
        assert!(Incident::next(incident.clone(), &IncidentEvent::Closed).is_err());
        assert_eq!(Incident::next(incident, &IncidentEvent::Reopened).unwrap().state(), State::Detected);
    }
}
