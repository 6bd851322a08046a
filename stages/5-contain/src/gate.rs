//! The gate: the only maker of [`Authorized`], without which no signer signs.
//!
//! In: a step of a plan. Out: permission to sign it with one nonce, after the intent is durably recorded; or a
//! refusal that names its rule. Judging and recording are one exclusive commit: it names the versions of the lane
//! and of the incident that were read, so of two racing callers only one records, and a plan that is withdrawn while
//! it is judged is not signed. The same step again gets its earlier intent back, which is a success.
//!
//! Must never sign, speak to a node, or read a clock.

use alloy_primitives::Address;
use cordon_model::incident::PlanRecord;
use cordon_model::lane::{Intent, LaneEvent};
use cordon_model::log::{Append, Batch, EventLog, LogError, StreamId};
use cordon_model::plan::Plan;
use cordon_model::units::{ChainId, IncidentId};
use std::sync::Arc;

use crate::authority::Authority;
use crate::journal::{self, Entry, IncidentLog, LaneError};
use crate::lane::Lane;
use crate::rule::{Judgement, Question, Refused, Rule, judge};

/// How often the gate reads again after somebody else wrote. A lane and an incident have few writers, so a second
/// try nearly always succeeds; eight failures in a row mean that something writes in a loop.
pub const AUTHORIZE_TRIES_MAX: u32 = 8;

/// Chain time, as the caller sees it; the gate has no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Timestamp of the newest block, Unix seconds.
    pub at_s: u64,
    /// Number of the newest block.
    pub at_block: u64,
}

/// A step that somebody wants to be signed.
#[derive(Debug, Clone, Copy)]
pub struct StepRequest<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Position of the step in it.
    pub step: u32,
    /// Gas limit, if this is the step's first intent.
    pub gas_limit: u64,
    /// Next nonce of the account on chain (`eth_getTransactionCount` at `latest`).
    pub chain_nonce: u64,
    /// Chain time.
    pub at: Stamp,
}

/// Permission to sign one step once. Only the gate makes it, it cannot be copied, and a signer consumes it.
#[derive(Debug)]
#[must_use = "an authorisation is worth nothing until it is signed"]
pub struct Authorized {
    intent: Intent,
}

impl Authorized {
    /// What may be signed.
    #[must_use]
    pub fn intent(&self) -> &Intent {
        &self.intent
    }
}

/// The gate of one account on one chain.
#[derive(Debug, Clone)]
pub struct Gate {
    log: Arc<dyn EventLog>,
    authority: Authority,
}

impl Gate {
    /// A gate over a log, with what the operator granted.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, authority: Authority) -> Self {
        Self { log, authority }
    }

    /// Chain on which this gate authorises.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.authority.chain_id
    }

    /// Account for which this gate authorises.
    #[must_use]
    pub fn account(&self) -> Address {
        self.authority.account
    }

    /// Judges a step, records its intent and permits to sign it.
    ///
    /// # Errors
    /// [`Refused`]; where it names a rule, nothing was recorded.
    pub async fn authorize(&self, request: StepRequest<'_>) -> Result<Authorized, Refused> {
        for _ in 0..AUTHORIZE_TRIES_MAX {
            let (judgement, lane, incident) = self.judge(&request).await?;
            let intent = match judgement {
                Judgement::Earlier(intent) => return Ok(Authorized { intent }),
                Judgement::Fresh(intent) => intent,
            };
            match self.record(&request, &intent, &lane, &incident).await {
                Ok(()) => return Ok(Authorized { intent }),
                Err(LogError::Conflict { .. }) => {}
                Err(error) => return Err(Refused::Log(error)),
            }
        }
        let (plan, step) = (request.plan.hash(), request.step);
        Err(Refused::Contended { plan, step, tries: AUTHORIZE_TRIES_MAX })
    }

    /// Judges a step without recording anything, so that a refusal comes before the node is asked for an estimate.
    ///
    /// # Errors
    /// [`Refused`] as [`Self::authorize`] would.
    pub async fn check(&self, request: StepRequest<'_>) -> Result<(), Refused> {
        self.judge(&request).await.map(|_| ())
    }

    /// Permits to sign a step again whose intent stands in the lane, if every rule still holds.
    pub(crate) async fn authorize_again(
        &self,
        intent: &Intent,
        chain_nonce: u64,
        at: Stamp,
    ) -> Result<Authorized, Refused> {
        let incident = self.incident(intent.incident).await?.incident;
        let refused = |rule| Refused::Rule { plan: intent.plan, step: intent.step, rule };
        let Some(incident) = incident else { return Err(refused(Rule::IncidentOpen { standing: None })) };
        let Some(PlanRecord { plan, .. }) = incident.plans.get(&intent.plan) else {
            return Err(refused(Rule::PlanApproved { status: None }));
        };
        let (step, gas_limit) = (intent.step, intent.gas_limit);
        self.authorize(StepRequest { plan, step, gas_limit, chain_nonce, at }).await
    }

    /// The lane as it stands now.
    pub(crate) async fn lane(&self) -> Result<Lane, LaneError> {
        journal::read_lane(self.log.as_ref(), self.chain_id(), self.account()).await
    }

    async fn incident(&self, id: IncidentId) -> Result<IncidentLog, Refused> {
        journal::read_incident(self.log.as_ref(), id).await.map_err(Refused::Log)?.map_err(Refused::Incident)
    }

    async fn judge(&self, request: &StepRequest<'_>) -> Result<(Judgement, Lane, IncidentLog), Refused> {
        let incident = self.incident(request.plan.incident).await?;
        let lane = self.lane().await?;
        let (hash, step) = (request.plan.hash(), request.step);
        let question = Question {
            plan: request.plan,
            hash,
            step,
            gas_limit: request.gas_limit,
            chain_nonce: request.chain_nonce,
            approved_by_person: incident.approved_by_people.contains(&hash),
        };
        let judgement = judge(&question, incident.incident.as_ref(), &lane, &self.authority)
            .map_err(|rule| Refused::Rule { plan: hash, step, rule })?;
        Ok((judgement, lane, incident))
    }

    async fn record(
        &self,
        request: &StepRequest<'_>,
        intent: &Intent,
        lane: &Lane,
        incident: &IncidentLog,
    ) -> Result<(), LogError> {
        let intent_entry = Entry {
            chain_id: self.chain_id(),
            account: self.account(),
            expected_version: lane.version(),
            event: LaneEvent::IntentRecorded { intent: intent.clone() },
            why: format!("step {} of approved plan '{}' may be signed", request.step, request.plan.title),
            at: request.at,
        };
        // Nothing is appended to the incident; naming its version makes the commit fail where it changed meanwhile.
        let incident_unchanged = Append {
            stream: StreamId::incident(intent.incident),
            expected_version: incident.version,
            records: Vec::new(),
        };
        self.log
            .commit(Batch { appends: vec![intent_entry.append(), incident_unchanged], cursor: None })
            .await
    }
}
