//! From an approved step to a mined transaction.
//!
//! In: a step of a plan, chain time, a node. Out: lane events, and what became of the step. The order is fixed: the
//! gate records the intent, the signature is recorded, only then it is sent. Every call may be repeated and every
//! process may be killed at any point; what follows is decided by the lane and the chain alone: an intent without
//! signature is signed, a signature without a trace on chain is sent again, and the nonce stays the same.
//!
//! Must never sign without the gate, send what is not recorded, or take a node's word for a transaction's end: only
//! a receipt of a recorded signature ends a step.

mod advance;
mod delivery;

use alloy_primitives::{Address, B256};
use alloy_provider::{DynProvider, Provider};
use cordon_model::lane::LaneEvent;
use cordon_model::log::{EventLog, LogError};
use cordon_model::plan::{Plan, Receipt};
use cordon_model::units::{BlockRef, ChainId, PlanHash};
use std::sync::Arc;

pub use self::delivery::Delivery;

use crate::fees::{FeePolicy, FeeRefused, Fees};
use crate::gate::{Authorized, Gate, Stamp, StepRequest};
use crate::journal::{self, Entry, LaneError};
use crate::lane::Lane;
use crate::node::{self, Answer, NodeError};
use crate::rule::{Refused, Rule, TX_GAS_MAX};
use crate::signer::{SignError, Signer};
use crate::verify::{self, VerifyError};
use alloy_eips::BlockId;

/// Blocks that may pass without the step before it is replaced, unless set otherwise. The first block after the
/// signature may have been built before the transaction reached its builder; where the second leaves it out too,
/// the price is the likely reason.
pub const REPLACE_AFTER_BLOCKS_DEFAULT: u64 = 2;

/// Gas on top of the node's estimate, in percent: the estimate is exact for the newest state, and the state moves
/// until the step lands. Unused gas costs nothing.
const GAS_MARGIN_PERCENT: u64 = 25;

/// How a sender offers and replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendPolicy {
    /// Fees.
    pub fees: FeePolicy,
    /// Blocks that may pass without the step before it is replaced.
    pub replace_after_blocks: u64,
}

impl Default for SendPolicy {
    fn default() -> Self {
        Self { fees: FeePolicy::default(), replace_after_blocks: REPLACE_AFTER_BLOCKS_DEFAULT }
    }
}

/// What became of a submitted step so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is in a block.
    Mined(Receipt),
    /// It is signed, recorded and was handed to the node.
    InFlight {
        /// Nonce.
        nonce: u64,
        /// Hash of the newest signature.
        tx_hash: B256,
        /// Fees of the newest signature.
        fees: Fees,
        /// What the node said; whatever it was, [`Sender::poll`] carries on.
        delivery: Delivery,
    },
    /// Its intent stands, but nothing can be done now.
    Held {
        /// Nonce.
        nonce: u64,
        /// Why.
        why: HeldWhy,
    },
}

/// Why an open step is not moved on. The same reason has the same words each time, so that it is told once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeldWhy {
    /// The gate refuses to have it signed or sent again.
    #[error("{0}")]
    Rule(Rule),
    /// The budget does not allow a better offer; the standing one was sent again.
    #[error("{0}")]
    Fees(FeeRefused),
    /// Its nonce is used on chain by a transaction that is not in the lane: somebody used the key elsewhere. While that
    /// stands it cannot be mined and is not signed again; it never gets another nonce, and whoever wants the same done
    /// makes another plan, for which the lane is free.
    #[error("nonce {nonce} is used on chain by a transaction that was not signed here")]
    NonceTaken {
        /// Nonce of the step.
        nonce: u64,
        /// Next nonce of the account on chain.
        chain_nonce: u64,
    },
    /// It was replaced as often as is allowed; the newest signature was sent again.
    #[error("it was signed {signatures} times, no more are made")]
    SignaturesExhausted {
        /// Number of signatures.
        signatures: usize,
    },
    /// The node failed; the next poll tries again. What it said is left out: it differs from one time to the next, it
    /// may hold what is nobody's business, and this text is recorded and sent to people.
    #[error("the node failed while {doing}")]
    Node {
        /// What was being asked.
        doing: &'static str,
    },
}

/// What a poll found or did for one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneUpdate {
    /// One of its signatures was mined; recorded.
    Mined {
        /// Where and how. `success` tells whether the call ran to its end.
        receipt: Receipt,
    },
    /// Its block left the chain; recorded, and the step is open again.
    Unmined {
        /// Plan.
        plan: PlanHash,
        /// Step.
        step: u32,
        /// Block that left.
        block: BlockRef,
    },
    /// It was signed and sent.
    Signed {
        /// Plan.
        plan: PlanHash,
        /// Step.
        step: u32,
        /// Nonce.
        nonce: u64,
        /// Hash of the new signature.
        tx_hash: B256,
        /// Fees of the new signature.
        fees: Fees,
        /// Hash of the signature that it replaces, if it is not the first.
        replaces: Option<B256>,
        /// What the node said.
        delivery: Delivery,
    },
    /// Its newest signature was sent again, because the node did not have it.
    Resent {
        /// Plan.
        plan: PlanHash,
        /// Step.
        step: u32,
        /// Nonce.
        nonce: u64,
        /// Hash of the signature.
        tx_hash: B256,
        /// What the node said.
        delivery: Delivery,
    },
    /// Nothing could be done.
    Held {
        /// Plan.
        plan: PlanHash,
        /// Step.
        step: u32,
        /// Nonce.
        nonce: u64,
        /// Why.
        why: HeldWhy,
    },
}

/// Why a step was not sent, or could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The gate refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The signer's key is another account's than the gate's.
    #[error("the signer holds {signer}, the gate authorises for {gate}")]
    WrongSigner {
        /// Account of the signer.
        signer: Address,
        /// Account of the gate.
        gate: Address,
    },
    /// The node is on another chain.
    #[error("the node is on chain {node}, the gate authorises for chain {gate}")]
    WrongChain {
        /// Chain of the node.
        node: u64,
        /// Chain of the gate.
        gate: ChainId,
    },
    /// A precondition of the step does not hold.
    #[error("step {step} was not sent, its precondition does not hold: {what}")]
    Precondition {
        /// Step.
        step: u32,
        /// The precondition.
        what: String,
    },
    /// The call would revert on the newest state.
    #[error("step {step} was not sent, it would revert: {reason}")]
    WouldRevert {
        /// Step.
        step: u32,
        /// Reason of the revert.
        reason: String,
    },
    /// The budget does not pay for the next block.
    #[error("the step was not sent")]
    Fees(#[from] FeeRefused),
    /// The key could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The lane cannot be used.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The log failed; what was recorded shows when it is read again.
    #[error("the event log failed")]
    Log(#[source] LogError),
    /// The node failed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The preconditions could not be asked.
    #[error("the preconditions could not be asked")]
    Verify(#[from] VerifyError),
    /// Others wrote to the lane each time; ask again.
    #[error("the lane changed {tries} times while nonce {nonce} was moved on; ask again")]
    Contended {
        /// Nonce.
        nonce: u64,
        /// How often it was tried.
        tries: u32,
    },
}

/// Permission together with the offer that is to be signed.
#[derive(Debug)]
struct Ready {
    authorized: Authorized,
    fees: Fees,
}

/// Sends the steps of one account on one chain.
#[derive(Debug)]
pub struct Sender {
    provider: DynProvider,
    gate: Gate,
    signer: Arc<dyn Signer>,
    log: Arc<dyn EventLog>,
    policy: SendPolicy,
}

impl Sender {
    /// A sender over a node, a gate, a key and the log that the gate writes to.
    #[must_use]
    pub fn new(
        provider: DynProvider,
        gate: Gate,
        signer: Arc<dyn Signer>,
        log: Arc<dyn EventLog>,
        policy: SendPolicy,
    ) -> Self {
        Self { provider, gate, signer, log, policy }
    }

    /// The lane as the log tells it. It is the truth about what was sent; updates of [`Self::poll`] are only the news
    /// and are not repeated after a restart.
    ///
    /// # Errors
    /// [`LaneError`].
    pub async fn lane(&self) -> Result<Lane, LaneError> {
        self.gate.lane().await
    }

    /// Sends a step, or carries on with it where it was begun before. Safe to repeat.
    ///
    /// # Errors
    /// [`SendError`]. Where it is a refusal, a precondition, a revert or a budget, nothing was recorded, unless the
    /// step had been begun before.
    pub async fn submit(&self, plan: &Plan, step: u32, at: Stamp) -> Result<Submitted, SendError> {
        self.check_signer()?;
        let lane = self.lane().await?;
        if let Some(begun) = lane.of_step(plan.hash(), step) {
            let nonce = begun.intent.nonce;
            // The lane may say mined where the block has left the chain since; the answer must be today's.
            self.recheck(nonce, at).await?;
            return self.carry_on(nonce, at, None).await;
        }
        let chain_nonce = self.check_chain_and_nonce().await?;
        // An open step whose incident ended is not sent for its own sake. Where it stands in the way of another step,
        // its signature is handed over again: it was public before, and only a block that holds it frees the lane.
        if let Some(open) = lane.in_the_way(chain_nonce)
            && let Some(newest) = open.newest()
        {
            self.resend(open, newest).await;
        }
        let request = StepRequest { plan, step, gas_limit: 0, chain_nonce, at };
        self.gate.check(request).await?;
        let ((), gas_limit, market) =
            tokio::try_join!(self.check_preconditions(plan, step), self.gas_limit(plan, step), async {
                node::market(&self.provider).await.map_err(SendError::from)
            },)?;
        let fees = self.policy.fees.first(&market, gas_limit)?;
        let authorized = self.gate.authorize(StepRequest { gas_limit, ..request }).await?;
        let nonce = authorized.intent().nonce;
        self.carry_on(nonce, at, Some(Ready { authorized, fees })).await
    }

    async fn carry_on(&self, nonce: u64, at: Stamp, ready: Option<Ready>) -> Result<Submitted, SendError> {
        let update = self.advance(nonce, at, ready).await?;
        if let Some(LaneUpdate::Held { nonce, why, .. }) = update {
            return Ok(Submitted::Held { nonce, why });
        }
        let lane = self.lane().await?;
        let entry = lane.entry(nonce);
        if let Some(receipt) = entry.and_then(|entry| entry.mined.clone()) {
            return Ok(Submitted::Mined(receipt));
        }
        let delivery = match update {
            Some(LaneUpdate::Signed { delivery, .. } | LaneUpdate::Resent { delivery, .. }) => delivery,
            Some(_) | None => Delivery::AlreadyKnown,
        };
        match entry.and_then(|entry| entry.newest()) {
            Some(newest) => {
                Ok(Submitted::InFlight { nonce, tx_hash: newest.tx_hash, fees: newest.fees, delivery })
            }
            None => Err(SendError::Contended { nonce, tries: 1 }),
        }
    }

    fn check_signer(&self) -> Result<(), SendError> {
        let (signer, gate) = (self.signer.address(), self.gate.account());
        if signer == gate { Ok(()) } else { Err(SendError::WrongSigner { signer, gate }) }
    }

    /// The account's next nonce on a node that is on the right chain. Both questions fail with the same words,
    /// whichever of the two answers comes first.
    async fn check_chain_and_nonce(&self) -> Result<u64, SendError> {
        let doing = "reading the chain id and the account's nonce";
        let chain = async { self.provider.get_chain_id().await.map_err(node::failed(doing)) };
        let nonce = node::chain_nonce(&self.provider, self.gate.account(), doing);
        let (node, chain_nonce) = tokio::try_join!(chain, nonce)?;
        let gate = self.gate.chain_id();
        if node == gate.0 { Ok(chain_nonce) } else { Err(SendError::WrongChain { node, gate }) }
    }

    async fn check_preconditions(&self, plan: &Plan, step: u32) -> Result<(), SendError> {
        let found = usize::try_from(step).ok().and_then(|index| plan.steps.get(index));
        let checks = found.map(|found| found.preconditions.as_slice()).unwrap_or_default();
        let answers = verify::ask(&self.provider, checks, BlockId::latest()).await?;
        match answers.into_iter().find(|(_, held)| !held) {
            Some((what, _)) => Err(SendError::Precondition { step, what }),
            None => Ok(()),
        }
    }

    /// The node's estimate with a margin, within what one transaction may have.
    async fn gas_limit(&self, plan: &Plan, step: u32) -> Result<u64, SendError> {
        let (hash, steps) = (plan.hash(), plan.steps.len());
        let refused = |rule| SendError::Refused(Refused::Rule { plan: hash, step, rule });
        let found = usize::try_from(step).ok().and_then(|index| plan.steps.get(index));
        let found = found.ok_or_else(|| refused(Rule::StepExists { steps }))?;
        match node::estimate_gas(&self.provider, node::request(Some(found.from), &found.call)).await? {
            Answer::Ran(gas) if gas > TX_GAS_MAX => Err(refused(Rule::GasWithinCap { gas_limit: gas })),
            Answer::Ran(gas) => {
                let margin = gas.saturating_mul(GAS_MARGIN_PERCENT) / 100;
                Ok(gas.saturating_add(margin).min(TX_GAS_MAX))
            }
            Answer::Reverted(reason) => Err(SendError::WouldRevert { step, reason }),
        }
    }

    /// Records one event at the version of the lane that was read.
    async fn record(&self, lane: &Lane, event: LaneEvent, why: String, at: Stamp) -> Result<(), SendError> {
        let entry = Entry {
            chain_id: self.gate.chain_id(),
            account: self.gate.account(),
            expected_version: lane.version(),
            event,
            why,
            at,
        };
        journal::append(self.log.as_ref(), entry).await.map_err(SendError::Log)
    }
}
