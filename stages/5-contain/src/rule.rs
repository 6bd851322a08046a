//! The rules of the gate, as a closed list, and the judgement over them.
//!
//! In: a request, the incident as its log tells it, the lane, the authority. Out: the intent that may be recorded or
//! was recorded before, or the broken [`Rule`]. Pure. Must never allow what it does not understand.

use alloy_primitives::{Address, Selector, U256};
use cordon_model::incident::{IllegalTransition, Incident, PlanStatus, Standing};
use cordon_model::lane::Intent;
use cordon_model::log::LogError;
use cordon_model::plan::{Plan, Step};
use cordon_model::units::{ChainId, PlanHash};
use std::fmt;

use crate::authority::Authority;
use crate::journal::LaneError;
use crate::lane::Lane;

/// Most gas of one transaction since Osaka: 2^24 (EIP-7825).
pub const TX_GAS_MAX: u64 = 16_777_216;

/// What must hold before a step may be signed; a refusal names the one that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The incident takes events: it was detected and is not closed.
    IncidentOpen {
        /// Its standing; `None` where the log does not know it.
        standing: Option<Standing>,
    },
    /// The plan was chosen and approved, by its hash, in the incident's log.
    PlanApproved {
        /// Its status; `None` where it was never chosen.
        status: Option<PlanStatus>,
    },
    /// The plan has the step.
    StepExists {
        /// Number of steps that it has.
        steps: usize,
    },
    /// The step has not taken effect yet.
    StepOpen,
    /// The steps before it landed and took effect.
    PreviousStepDone {
        /// The earliest that did not.
        previous: u32,
    },
    /// Plan, incident and authority mean the same chain.
    ChainMatches {
        /// Chain of the authority.
        held: ChainId,
        /// The other one.
        asked: ChainId,
    },
    /// The held key is the step's sender.
    SignerHoldsFrom {
        /// Account whose key is held.
        held: Address,
        /// Account that must send the step.
        from: Address,
    },
    /// A grant covers the call.
    CallGranted {
        /// Called contract; `None` for a creation.
        target: Option<Address>,
        /// Called function, if the calldata has one.
        selector: Option<Selector>,
    },
    /// The grant allows the value.
    ValueWithinGrant {
        /// Value of the call, wei.
        value_wei: U256,
        /// Limit of the grant, wei.
        limit_wei: U256,
    },
    /// The gas limit fits into a transaction.
    GasWithinCap {
        /// Wanted gas limit.
        gas_limit: u64,
    },
    /// No other step of the lane waits for its nonce to be used. A step whose nonce the chain has passed waits for
    /// nothing: [`Lane::in_the_way`] says why that is safe.
    LaneFree {
        /// Nonce of the open one.
        nonce: u64,
        /// Plan of the open one.
        plan: PlanHash,
        /// Step of the open one.
        step: u32,
    },
    /// The nonce that belongs to the step is not used on chain.
    NonceUnused {
        /// Nonce of the step.
        nonce: u64,
        /// Next nonce of the account on chain.
        chain_nonce: u64,
    },
}

impl Rule {
    /// Short name for logs and messages to machines.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::IncidentOpen { .. } => "incident-open",
            Self::PlanApproved { .. } => "plan-approved",
            Self::StepExists { .. } => "step-exists",
            Self::StepOpen => "step-open",
            Self::PreviousStepDone { .. } => "previous-step-done",
            Self::ChainMatches { .. } => "chain-matches",
            Self::SignerHoldsFrom { .. } => "signer-holds-from",
            Self::CallGranted { .. } => "call-granted",
            Self::ValueWithinGrant { .. } => "value-within-grant",
            Self::GasWithinCap { .. } => "gas-within-cap",
            Self::LaneFree { .. } => "lane-free",
            Self::NonceUnused { .. } => "nonce-unused",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IncidentOpen { standing: None } => {
                f.write_str("the incident must be open; the log does not know it")
            }
            Self::IncidentOpen { standing: Some(standing) } => {
                let standing = match standing {
                    Standing::Open => "open",
                    Standing::Closed => "closed",
                    Standing::FalseAlarm => "a false alarm",
                };
                write!(f, "the incident must be open; it is {standing}")
            }
            Self::PlanApproved { status: None } => {
                f.write_str("the plan must be approved; it was never chosen")
            }
            Self::PlanApproved { status: Some(status) } => {
                let status = match status {
                    PlanStatus::Chosen => "waiting for approval",
                    PlanStatus::Approved => "approved",
                    PlanStatus::Refused => "refused",
                    PlanStatus::Completed => "completed",
                    PlanStatus::Failed => "given up",
                };
                write!(f, "the plan must be approved; it is {status}")
            }
            Self::StepExists { steps } => write!(f, "the plan must have the step; it has {steps}"),
            Self::StepOpen => f.write_str("the step must be open; it took effect already"),
            Self::PreviousStepDone { previous } => {
                write!(f, "the steps before must have taken effect; step {previous} has not")
            }
            Self::ChainMatches { held, asked } => {
                write!(f, "the chain must match; the key is for chain {held}, asked is chain {asked}")
            }
            Self::SignerHoldsFrom { held, from } => {
                write!(f, "the signer must hold the sender; it holds {held}, the step is sent by {from}")
            }
            Self::CallGranted { target, selector } => {
                f.write_str("a grant must cover the call; none covers ")?;
                match (target, selector) {
                    (None, _) => f.write_str("a creation"),
                    (Some(target), Some(selector)) => write!(f, "{selector} on {target}"),
                    (Some(target), None) => write!(f, "a payment to {target}"),
                }
            }
            Self::ValueWithinGrant { value_wei, limit_wei } => {
                write!(f, "the value must be within the grant; {value_wei} wei is over {limit_wei} wei")
            }
            Self::GasWithinCap { gas_limit } => {
                write!(f, "the gas limit must be within {TX_GAS_MAX} (EIP-7825); it is {gas_limit}")
            }
            Self::LaneFree { nonce, plan, step } => {
                write!(f, "the lane must be free; step {step} of plan {plan} is open at nonce {nonce}")
            }
            // The chain's nonce goes on rising while this one stays used; the same refusal keeps the same words.
            Self::NonceUnused { nonce, .. } => {
                write!(f, "the nonce must be unused; the chain is past the step's nonce {nonce}")
            }
        }
    }
}

/// Why the gate did not authorise.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A rule does not hold.
    #[error("step {step} of plan {plan} may not be signed: {rule}")]
    Rule {
        /// Plan.
        plan: PlanHash,
        /// Step.
        step: u32,
        /// The rule.
        rule: Rule,
    },
    /// The incident's log contradicts itself, so it allows nothing.
    #[error("the incident's log cannot be followed")]
    Incident(#[source] IllegalTransition),
    /// The lane cannot be read or contradicts itself.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The log failed; whether an intent was recorded shows when it is read again.
    #[error("the event log failed")]
    Log(#[source] LogError),
    /// Others wrote to the log each time between reading and recording.
    #[error("the log changed {tries} times while step {step} of plan {plan} was judged; ask again")]
    Contended {
        /// Plan.
        plan: PlanHash,
        /// Step.
        step: u32,
        /// How often it was tried.
        tries: u32,
    },
}

/// What is asked of the gate, without the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) hash: PlanHash,
    pub(crate) step: u32,
    pub(crate) gas_limit: u64,
    pub(crate) chain_nonce: u64,
    /// Whether the approval in the log was written by a person.
    pub(crate) approved_by_person: bool,
}

/// The judgement where no rule is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The step has this intent already.
    Earlier(Intent),
    /// This intent is to be recorded.
    Fresh(Intent),
}

/// Judges a question against everything that is known.
pub(crate) fn judge(
    question: &Question<'_>,
    incident: Option<&Incident>,
    lane: &Lane,
    authority: &Authority,
) -> Result<Judgement, Rule> {
    let earlier = lane.of_step(question.hash, question.step).map(|entry| &entry.intent);
    judge_incident(question, incident, earlier.is_some())?;
    let step = judge_call(question, authority)?;
    if let Some(intent) = earlier {
        return if intent.nonce < question.chain_nonce {
            Err(Rule::NonceUnused { nonce: intent.nonce, chain_nonce: question.chain_nonce })
        } else {
            Ok(Judgement::Earlier(intent.clone()))
        };
    }
    if let Some(open) = lane.in_the_way(question.chain_nonce) {
        let Intent { nonce, plan, step, .. } = open.intent;
        return Err(Rule::LaneFree { nonce, plan, step });
    }
    if question.gas_limit > TX_GAS_MAX {
        return Err(Rule::GasWithinCap { gas_limit: question.gas_limit });
    }
    Ok(Judgement::Fresh(Intent {
        incident: question.plan.incident,
        plan: question.hash,
        step: question.step,
        chain_id: authority.chain_id,
        from: authority.account,
        nonce: lane.next_nonce(question.chain_nonce),
        gas_limit: question.gas_limit,
        call: step.call.clone(),
    }))
}

/// The rules about the incident and the plan's standing in it. A step that has an intent may be signed again even
/// after its effect was seen: its nonce must be used by something before the lane is free, and a step must be safe
/// to land when its effect is already there.
fn judge_incident(question: &Question<'_>, incident: Option<&Incident>, earlier: bool) -> Result<(), Rule> {
    let standing = incident.map(|incident| incident.standing);
    let Some(incident) = incident.filter(|incident| incident.standing == Standing::Open) else {
        return Err(Rule::IncidentOpen { standing });
    };
    if incident.chain_id != question.plan.chain_id {
        return Err(Rule::ChainMatches { held: incident.chain_id, asked: question.plan.chain_id });
    }
    let Some(record) = incident.plans.get(&question.hash) else {
        return Err(Rule::PlanApproved { status: None });
    };
    match record.status {
        PlanStatus::Approved | PlanStatus::Completed => {}
        PlanStatus::Chosen | PlanStatus::Refused | PlanStatus::Failed => {
            return Err(Rule::PlanApproved { status: Some(record.status) });
        }
    }
    match record.next_step() {
        Some(next) if next < question.step => Err(Rule::PreviousStepDone { previous: next }),
        Some(next) if next == question.step => Ok(()),
        Some(_) | None if earlier => Ok(()),
        Some(_) | None
            if usize::try_from(question.step).is_ok_and(|step| step < question.plan.steps.len()) =>
        {
            Err(Rule::StepOpen)
        }
        Some(_) | None => Err(Rule::StepExists { steps: question.plan.steps.len() }),
    }
}

/// The rules about the call itself.
fn judge_call<'a>(question: &Question<'a>, authority: &Authority) -> Result<&'a Step, Rule> {
    let steps = &question.plan.steps;
    let step = usize::try_from(question.step).ok().and_then(|index| steps.get(index));
    let step = step.ok_or(Rule::StepExists { steps: steps.len() })?;
    if question.plan.chain_id != authority.chain_id {
        return Err(Rule::ChainMatches { held: authority.chain_id, asked: question.plan.chain_id });
    }
    if step.from != authority.account {
        return Err(Rule::SignerHoldsFrom { held: authority.account, from: step.from });
    }
    authority.covers(question.hash, &step.call, question.approved_by_person)?;
    Ok(step)
}
