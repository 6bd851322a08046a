//! Whether a step's conditions hold on chain.
//!
//! In: checks, a block. Out: each check and whether it held on that block's state. Whoever wants to know whether a
//! containment took effect asks here again at a more certain block. Must never count a node that did not answer as
//! a condition that held, nor as one that did not.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_provider::{DynProvider, Provider};
use alloy_transport::RpcError;
use cordon_model::plan::{Call, Certainty, Check, Plan, Verification};
use cordon_model::units::BlockRef;

use alloy_primitives::U256;

use crate::node::{self, Answer, NodeError};

/// Most checks that one step may carry: each costs the node a call, and a real step has one to five.
pub const CHECKS_MAX: usize = 256;

/// Why the conditions could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The node failed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The plan has no such step.
    #[error("the plan has {steps} steps, asked for step {step}")]
    StepMissing {
        /// Asked step.
        step: u32,
        /// Number of steps.
        steps: usize,
    },
    /// More checks than are asked.
    #[error("the step has {found} checks, at most {CHECKS_MAX} are asked")]
    TooManyChecks {
        /// Number of checks.
        found: usize,
    },
    /// The node does not have such a block.
    #[error("the node has no {certainty:?} block")]
    NoBlock {
        /// Which one was asked for.
        certainty: Certainty,
    },
}

/// Asks the effects of a step on the state after a block.
///
/// # Errors
/// [`VerifyError`]; a check that could not be asked fails the whole.
pub async fn verify_effects(
    provider: &DynProvider,
    plan: &Plan,
    step: u32,
    block: BlockRef,
    certainty: Certainty,
) -> Result<Verification, VerifyError> {
    let found = usize::try_from(step).ok().and_then(|index| plan.steps.get(index));
    let found = found.ok_or(VerifyError::StepMissing { step, steps: plan.steps.len() })?;
    let id = BlockId::from((block.hash, Some(true)));
    let effects = ask(provider, &found.effects, id).await?;
    Ok(Verification { plan: plan.hash(), step, block, certainty, effects })
}

/// Asks checks one after the other and tells for each whether it held.
///
/// # Errors
/// [`VerifyError`]; a check that could not be asked fails the whole.
pub async fn ask(
    provider: &DynProvider,
    checks: &[Check],
    block: BlockId,
) -> Result<Vec<(String, bool)>, VerifyError> {
    if checks.len() > CHECKS_MAX {
        return Err(VerifyError::TooManyChecks { found: checks.len() });
    }
    let mut answers = Vec::with_capacity(checks.len());
    for check in checks {
        let call =
            Call { to: Some(check.view.target), value_wei: U256::ZERO, data: check.view.input.clone() };
        let held = match node::call(provider, node::request(None, &call), block).await? {
            Answer::Ran(output) => check.expect.holds(Some(&output)),
            Answer::Reverted(_) => check.expect.holds(None),
        };
        answers.push((check.what.clone(), held));
    }
    Ok(answers)
}

/// The newest block of a certainty, on whose state effects can be asked.
///
/// # Errors
/// [`VerifyError::Node`] and [`VerifyError::NoBlock`].
pub async fn newest(provider: &DynProvider, certainty: Certainty) -> Result<BlockRef, VerifyError> {
    let tag = match certainty {
        Certainty::Latest => BlockNumberOrTag::Latest,
        Certainty::Safe => BlockNumberOrTag::Safe,
        Certainty::Finalized => BlockNumberOrTag::Finalized,
    };
    match provider.get_block_by_number(tag).await {
        Ok(Some(block)) => Ok(BlockRef { number: block.header.number, hash: block.header.hash }),
        Ok(None) => Err(VerifyError::NoBlock { certainty }),
        // Before the first finalised block geth answers with an error instead of null.
        Err(RpcError::ErrorResp(payload)) if payload.message.contains("block not found") => {
            Err(VerifyError::NoBlock { certainty })
        }
        Err(source) => Err(node::failed("reading a block")(source).into()),
    }
}
