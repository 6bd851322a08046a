//! What the drill's operator does after the alarm: the steps that need a person.
//!
//! In: a stage. Out: a fixed, paid and reopened system, every decision recorded with the operator's name. Where nothing
//! happens (a benign scenario), nothing is done.

use super::stage::Stage;
use super::tell::DrillEvent;
use crate::engine::{Engine, Event};
use crate::error::EngineError;
use crate::fix::Candidate;
use crate::payback::{PaybackOrder, Settlement};
use alloy_primitives::{Address, B256, Bytes, U256};
use cordon_eradicate::Artifact;
use cordon_model::allocation::Claim;
use cordon_model::incident::{Incident, IncidentEvent, State};
use cordon_model::plan::{Call, Check, Expectation, Plan, Purpose, Step, Undo};
use cordon_model::protocol::AccountSide;
use cordon_model::units::IncidentId;
use cordon_range::artifacts;
use cordon_recover::Unpause;

/// The name under which the drill's operator decides.
const OPERATOR: &str = "drill operator";

/// `writeOff(address)` of the fixed lending vault.
const WRITE_OFF: [u8; 4] = [0xc5, 0x4d, 0x3b, 0x3d];

/// How long claims are paid, seconds: thirty days of chain time.
const CLAIM_PERIOD_S: u64 = 30 * 86_400;

/// Fixes that are tried before the right one: each must be refused.
const WRONG_FIXES: [&str; 2] = ["LendingVaultV2Wrong", "LendingVaultV2BadLayout"];

type Tell<'a> = &'a mut (dyn FnMut(DrillEvent) + Send);

/// Plays the scenario to its end, and the response where there is something to respond to.
pub(super) async fn respond(stage: &mut Stage, tell: Tell<'_>) -> Result<(), EngineError> {
    while !stage.world.is_over() {
        stage.step(tell).await?;
        if let Some(id) = investigated(&stage.engine) {
            eradicate(stage, id, tell).await?;
            recover(stage, id, tell).await?;
            stage.until("the scenario ends", tell, |_| true).await?;
            while !stage.world.is_over() {
                stage.step(tell).await?;
            }
        }
    }
    Ok(())
}

fn investigated(engine: &Engine) -> Option<IncidentId> {
    engine.incidents().find(|incident| incident.state() == State::Investigated).map(|incident| incident.id)
}

async fn eradicate(stage: &mut Stage, id: IncidentId, tell: Tell<'_>) -> Result<(), EngineError> {
    stage.tell(DrillEvent::chapter("Eradicate: which fix holds?"), tell);
    let right = stage.world.facts().upgrade.fixed_artifact;
    let mut proven = None;
    for name in WRONG_FIXES.into_iter().chain([right]) {
        let candidate = candidate(stage, name)?;
        let remedy = stage.engine.verify_fix(id, &candidate).await?;
        stage.hear(tell).await?;
        proven = remedy.plan.or(proven);
    }
    let plan =
        proven.ok_or_else(|| EngineError::Refused(format!("no fix was proven, not even '{right}'")))?;
    carry_out(stage, &plan, "the fix is proven: the attack takes nothing and honest use is the same", tell)
        .await
}

fn candidate(stage: &Stage, name: &str) -> Result<Candidate, EngineError> {
    let facts = &stage.world.facts().upgrade;
    let artifact = |name: &str| -> Result<Artifact, EngineError> {
        Ok(Artifact::parse(name, artifacts::json(name).map_err(cordon_range::RangeError::from)?)?)
    };
    Ok(Candidate {
        fixed: artifact(name)?,
        live: artifact(facts.current_artifact)?,
        proxy: facts.proxy,
        upgrader: facts.authority,
        setup: facts.initializer.clone(),
    })
}

/// Has a plan chosen, approved by the operator, sent and verified.
async fn carry_out(stage: &mut Stage, plan: &Plan, why: &str, tell: Tell<'_>) -> Result<(), EngineError> {
    let known =
        |engine: &Engine| engine.incidents().any(|incident| incident.plans.contains_key(&plan.hash()));
    if !known(&stage.engine) {
        stage.engine.choose(plan, OPERATOR, why).await?;
    }
    let (person, why) = (OPERATOR.to_owned(), why.to_owned());
    stage.engine.handle(Event::Approve { person, why, plan: plan.hash() }).await?;
    stage.hear(tell).await?;
    let purpose = plan.purpose;
    let done = |engine: &Engine| engine.incidents().any(|incident| incident.has_completed(purpose));
    stage.until(&format!("the {purpose} completes"), tell, done).await
}

async fn recover(stage: &mut Stage, id: IncidentId, tell: Tell<'_>) -> Result<(), EngineError> {
    stage.tell(DrillEvent::chapter("Recover: who is owed what?"), tell);
    let order = payback_order(stage, id).await?;
    let (settlement, plan) = stage.engine.settle(id, &order).await?;
    stage.hear(tell).await?;
    carry_out(stage, &plan, "the allocation adds up and was looked through", tell).await?;
    claim(stage, id, &settlement, tell).await?;
    reopen(stage, id, &settlement, tell).await?;
    stage.engine.close(id, OPERATOR, "fixed, paid and open again").await?;
    stage.hear(tell).await
}

async fn payback_order(stage: &Stage, id: IncidentId) -> Result<PaybackOrder, EngineError> {
    let facts = stage.world.facts();
    let treasury = facts.treasury.holder;
    let funds_raw = stage.world.balance_of(facts.treasury.token, treasury)?;
    Ok(PaybackOrder {
        vault: facts.upgrade.proxy,
        asset: facts.treasury.token,
        since_block: 0,
        books: write_offs(stage, id).await?,
        treasury,
        funds_raw,
        claim_code: artifacts::creation_code("MerkleClaim").map_err(cordon_range::RangeError::from)?,
        claim_deadline_s: stage.engine.stamp().at_s.saturating_add(CLAIM_PERIOD_S),
    })
}

/// One write-off per account that acted in the attack and owes without collateral.
async fn write_offs(stage: &Stage, id: IncidentId) -> Result<Vec<Step>, EngineError> {
    let Some((incident, protocol)) = stage.engine.known(id) else { return Ok(Vec::new()) };
    let vault = stage.world.facts().upgrade.proxy;
    let mut steps = Vec::new();
    for account in suspects(&incident) {
        let (mut owed, mut held) = (U256::ZERO, U256::ZERO);
        for line in &protocol.account_views {
            let amount = stage.engine.ask(&line.call(account), None).await?;
            match line.side {
                AccountSide::Debt => owed = owed.saturating_add(amount),
                AccountSide::Collateral => held = held.saturating_add(amount),
            }
        }
        let debt_view = protocol.account_views.iter().find(|line| line.side == AccountSide::Debt);
        if let Some(view) = debt_view.filter(|_| !owed.is_zero() && held.is_zero()) {
            let check = Check {
                what: format!("{account} owes nothing any more"),
                view: view.call(account),
                expect: Expectation::Returns(Bytes::from(B256::ZERO.to_vec())),
            };
            steps.push(write_off(vault, stage.world.facts().operator, account, check));
        }
    }
    Ok(steps)
}

fn write_off(vault: Address, from: Address, account: Address, effect: Check) -> Step {
    let data = [&WRITE_OFF[..], account.into_word().as_slice()].concat().into();
    Step {
        name: format!("write off the debt of {account}, which has no collateral"),
        from,
        call: Call { to: Some(vault), value_wei: U256::ZERO, data },
        preconditions: Vec::new(),
        effects: vec![effect],
        undo: Undo::NoUndo {
            why: "the debt cannot be collected; the loss must show before lenders may leave".to_owned(),
        },
    }
}

fn suspects(incident: &Incident) -> Vec<Address> {
    let mut suspects: Vec<Address> =
        incident.findings.iter().flat_map(|finding| finding.suspects.clone()).collect();
    suspects.sort_unstable();
    suspects.dedup();
    suspects
}

/// The victims claim by their own transactions; what the claim contract paid is recorded.
async fn claim(
    stage: &mut Stage,
    id: IncidentId,
    settlement: &Settlement,
    tell: Tell<'_>,
) -> Result<(), EngineError> {
    let mut waiting: Vec<(Claim, B256)> = Vec::new();
    for claim in &settlement.tree.claims {
        if stage.world.accounts().iter().any(|actor| actor.address == claim.account) {
            let proof = claim.proof.clone();
            let hash =
                stage.world.claim(claim.account, settlement.claim_contract, claim.amount_raw, proof)?;
            waiting.push((claim.clone(), hash));
        }
    }
    stage.step(tell).await?;
    let mut paid = Vec::new();
    for (claim, hash) in &waiting {
        let check = cordon_recover::claimed(settlement.claim_contract, claim.account);
        let answer = stage.engine.ask(&check.view, None).await?;
        if answer == U256::from(1) {
            paid.push((claim.account, claim.amount_raw, *hash));
        }
    }
    stage.engine.record_claims(id, &paid).await?;
    stage.hear(tell).await
}

async fn reopen(
    stage: &mut Stage,
    id: IncidentId,
    settlement: &Settlement,
    tell: Tell<'_>,
) -> Result<(), EngineError> {
    let Some((incident, protocol)) = stage.engine.known(id) else { return Ok(()) };
    let completed = incident.plans.values().filter(|record| record.plan.purpose == Purpose::Contain);
    let paused: Vec<Address> =
        completed.flat_map(|record| &record.plan.steps).filter_map(|step| step.call.to).collect();
    let levers = protocol.capabilities.iter().filter(|lever| paused.contains(&lever.target));
    let unpauses = levers
        .filter_map(|lever| {
            Some(Unpause {
                target: lever.target,
                name: protocol.label(lever.target).unwrap_or("contract").to_owned(),
                authority: lever.undo_authority?,
                pauser: Some(lever.authority),
            })
        })
        .collect();
    let claims = settlement.tree.claims.iter();
    let checks =
        claims.map(|claim| cordon_recover::claimed(settlement.claim_contract, claim.account)).collect();
    let plan = stage.engine.plan_reopening(id, unpauses, checks).await?;
    stage.hear(tell).await?;
    carry_out(stage, &plan, "the fix is live, the claims are paid", tell).await
}

impl Engine {
    /// Closes an incident in a person's name.
    pub(super) async fn close(&mut self, id: IncidentId, person: &str, why: &str) -> Result<(), EngineError> {
        self.record(id, vec![crate::journal::Entry::person(person, why, IncidentEvent::Closed)]).await
    }
}
