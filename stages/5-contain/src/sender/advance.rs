//! Moving open steps on: the part of the sender that runs at every block and after every restart.
//!
//! In: the lane, the chain, chain time. Out: recorded news. It keeps nothing in memory between two calls, so a
//! restart is an ordinary call. Must never act on a lane that changed since it was read: a conflict starts it again.

use alloy_provider::Provider;
use cordon_model::lane::LaneEvent;
use cordon_model::log::{CURSOR_DEPTH_MAX, LogError};
use cordon_model::plan::Receipt;

use super::delivery::{Delivery, deliver};
use super::{HeldWhy, LaneUpdate, Ready, SendError, Sender};
use crate::gate::{Authorized, Stamp};
use crate::lane::{Entry, Lane, Signature};
use crate::node;
use crate::rule::Refused;

/// How often a step is begun again because somebody else wrote to the lane. The lane's only other writers are a
/// standby with the same key and a second task of this process.
const ADVANCE_TRIES_MAX: u32 = 8;

/// Most signatures per nonce. Thirty-two replacements of a quarter each raise the fees more than a thousandfold, so
/// a budget ends them long before; the bound keeps a misconfigured one from filling the lane.
const SIGNATURES_MAX: usize = 32;

impl Sender {
    /// Looks after every open step, and after mined ones whose block may still leave the chain.
    ///
    /// A node that fails for one step does not keep the others from being looked after; it is reported as
    /// [`HeldWhy::Node`].
    ///
    /// # Errors
    /// [`SendError`] where the log fails. News that was recorded before is not lost: [`Sender::lane`] tells it.
    pub async fn poll(&self, at: Stamp) -> Result<Vec<LaneUpdate>, SendError> {
        self.check_signer()?;
        let mut updates = Vec::new();
        for nonce in recent_nonces(&self.lane().await?, at) {
            match self.recheck(nonce, at).await {
                Ok(update) => updates.extend(update),
                Err(error) => updates.push(self.unreachable(nonce, error).await?),
            }
        }
        let open: Vec<u64> = self.lane().await?.open().map(|entry| entry.intent.nonce).collect();
        for nonce in open {
            match self.advance(nonce, at, None).await {
                Ok(update) => updates.extend(update),
                Err(error) => updates.push(self.unreachable(nonce, error).await?),
            }
        }
        Ok(updates)
    }

    /// A failing node as news; every other error stays one.
    async fn unreachable(&self, nonce: u64, error: SendError) -> Result<LaneUpdate, SendError> {
        let SendError::Node(failed) = error else { return Err(error) };
        let lane = self.lane().await?;
        let why = HeldWhy::Node { doing: failed.doing };
        match lane.entry(nonce) {
            Some(entry) => Ok(held(entry, why)),
            None => Err(SendError::Node(failed)),
        }
    }

    /// Opens a mined step again where its block left the chain.
    pub(super) async fn recheck(&self, nonce: u64, at: Stamp) -> Result<Option<LaneUpdate>, SendError> {
        for _ in 0..ADVANCE_TRIES_MAX {
            let lane = self.lane().await?;
            let Some(entry) = lane.entry(nonce) else { return Ok(None) };
            let Some(receipt) = &entry.mined else { return Ok(None) };
            let block = receipt.block;
            match node::block_hash(&self.provider, block.number).await? {
                Some(hash) if hash == block.hash => return Ok(None),
                Some(_) => {}
                // The chain may have become shorter, or this node may be behind; only the first is news.
                None => {
                    let head = self.provider.get_block_number().await;
                    if head.map_err(node::failed("reading the block number"))? < at.at_block {
                        return Ok(None);
                    }
                }
            }
            let why = format!("block {} ({}) left the canonical chain", block.number, block.hash);
            match self.record(&lane, LaneEvent::Unmined { nonce, block }, why, at).await {
                Ok(()) => {
                    let (plan, step) = (entry.intent.plan, entry.intent.step);
                    return Ok(Some(LaneUpdate::Unmined { plan, step, block }));
                }
                Err(SendError::Log(LogError::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(SendError::Contended { nonce, tries: ADVANCE_TRIES_MAX })
    }

    /// Moves one open step on by what is needed next; `None` where nothing is.
    pub(super) async fn advance(
        &self,
        nonce: u64,
        at: Stamp,
        mut ready: Option<Ready>,
    ) -> Result<Option<LaneUpdate>, SendError> {
        for _ in 0..ADVANCE_TRIES_MAX {
            let lane = self.lane().await?;
            let Some(entry) = lane.entry(nonce) else { break };
            match self.advance_once(&lane, entry, at, ready.take()).await {
                Err(SendError::Log(LogError::Conflict { .. })) => {}
                outcome => return outcome,
            }
        }
        Err(SendError::Contended { nonce, tries: ADVANCE_TRIES_MAX })
    }

    async fn advance_once(
        &self,
        lane: &Lane,
        entry: &Entry,
        at: Stamp,
        ready: Option<Ready>,
    ) -> Result<Option<LaneUpdate>, SendError> {
        if !entry.is_open() {
            return Ok(None);
        }
        if let (Some(ready), None) = (ready, entry.newest()) {
            return self.sign(lane, entry, ready, at).await.map(Some);
        }
        // The nonce is read first: where it is used, a receipt of a recorded signature can be found now or never.
        let mut chain_nonce = self.check_chain_and_nonce().await?;
        if let Some(receipt) = self.find_receipt(entry).await? {
            return self.record_mined(lane, entry, receipt, at).await.map(Some);
        }
        let nonce = entry.intent.nonce;
        if chain_nonce > nonce {
            // Whoever hears that the nonce is taken gives the step up for good, so both are asked once more: one of
            // several nodes behind a url may lag, and a block may leave between two questions.
            chain_nonce = self.check_chain_and_nonce().await?;
            if let Some(receipt) = self.find_receipt(entry).await? {
                return self.record_mined(lane, entry, receipt, at).await.map(Some);
            }
        }
        // Said here and not by the gate, so that a used nonce is named even where the incident was closed since. Only a
        // reorganisation that takes the other transaction out makes the step an ordinary open one again; it must be,
        // because steps with higher nonces then wait for it.
        if chain_nonce > nonce {
            return Ok(Some(held(entry, HeldWhy::NonceTaken { nonce, chain_nonce })));
        }
        let authorized = match self.gate.authorize_again(&entry.intent, chain_nonce, at).await {
            Ok(authorized) => authorized,
            Err(Refused::Rule { rule, .. }) => {
                // After a reorganisation it may be in the way of a newer step; as in `submit`, what was public before is
                // handed over again, because only a block that holds it lets the newer one land.
                if let Some(newest) = entry.newest()
                    && lane.open().any(|other| other.intent.nonce > nonce)
                {
                    self.resend(entry, newest).await;
                }
                return Ok(Some(held(entry, HeldWhy::Rule(rule))));
            }
            Err(error) => return Err(error.into()),
        };
        let standing = match entry.newest() {
            Some(newest)
                if at.at_block.saturating_sub(newest.at_block) < self.policy.replace_after_blocks =>
            {
                return Ok(self.resend(entry, newest).await);
            }
            standing => standing,
        };
        if let Some(newest) = standing.filter(|_| entry.signatures.len() >= SIGNATURES_MAX) {
            self.resend(entry, newest).await;
            let why = HeldWhy::SignaturesExhausted { signatures: entry.signatures.len() };
            return Ok(Some(held(entry, why)));
        }
        self.offer(lane, entry, authorized, at, standing).await
    }

    /// Signs with fees that the market asks for now; a newer offer for the same nonce outbids the standing one.
    async fn offer(
        &self,
        lane: &Lane,
        entry: &Entry,
        authorized: Authorized,
        at: Stamp,
        standing: Option<&Signature>,
    ) -> Result<Option<LaneUpdate>, SendError> {
        let (market, gas_limit) = (node::market(&self.provider).await?, entry.intent.gas_limit);
        let offer = match standing {
            None => self.policy.fees.first(&market, gas_limit),
            Some(newest) => {
                self.policy.fees.replacement(newest.fees, &market, entry.signatures.len(), gas_limit)
            }
        };
        match (offer, standing) {
            (Ok(fees), _) => self.sign(lane, entry, Ready { authorized, fees }, at).await.map(Some),
            (Err(refused), standing) => {
                if let Some(newest) = standing {
                    self.resend(entry, newest).await;
                }
                Ok(Some(held(entry, HeldWhy::Fees(refused))))
            }
        }
    }

    /// The receipt of whichever recorded signature was mined, newest first.
    async fn find_receipt(&self, entry: &Entry) -> Result<Option<Receipt>, SendError> {
        for signature in entry.signatures.iter().rev() {
            if let Some(receipt) = node::receipt(&self.provider, &entry.intent, signature.tx_hash).await? {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    async fn record_mined(
        &self,
        lane: &Lane,
        entry: &Entry,
        receipt: Receipt,
        at: Stamp,
    ) -> Result<LaneUpdate, SendError> {
        let outcome = if receipt.success { "succeeded" } else { "reverted" };
        let why = format!("transaction {} {outcome} in block {}", receipt.tx_hash, receipt.block.number);
        let event = LaneEvent::Mined { nonce: entry.intent.nonce, receipt: receipt.clone() };
        self.record(lane, event, why, at).await?;
        Ok(LaneUpdate::Mined { receipt })
    }

    /// Signs, records the signature, and only then hands it over.
    async fn sign(
        &self,
        lane: &Lane,
        entry: &Entry,
        ready: Ready,
        at: Stamp,
    ) -> Result<LaneUpdate, SendError> {
        let replaces = entry.newest().map(|signature| signature.tx_hash);
        let envelope = self.signer.sign(ready.authorized, ready.fees).await?;
        let event = LaneEvent::Signed {
            nonce: entry.intent.nonce,
            tx_hash: envelope.tx_hash,
            raw: envelope.raw.clone(),
            max_fee_per_gas_wei: envelope.fees.max_fee_per_gas_wei,
            max_priority_fee_per_gas_wei: envelope.fees.max_priority_fee_per_gas_wei,
            at_block: at.at_block,
        };
        let why = match replaces {
            None => "the gate authorised it".to_owned(),
            Some(standing) => format!("transaction {standing} was not mined in time; this one offers more"),
        };
        self.record(lane, event, why, at).await?;
        let delivery = deliver(&self.provider, &envelope.raw).await;
        Ok(LaneUpdate::Signed {
            plan: entry.intent.plan,
            step: entry.intent.step,
            nonce: entry.intent.nonce,
            tx_hash: envelope.tx_hash,
            fees: envelope.fees,
            replaces,
            delivery,
        })
    }

    /// Hands over the newest signature again. A node that has it says so, which is no news; that it is asked by
    /// sending costs the same one call as asking and cannot come too late.
    pub(super) async fn resend(&self, entry: &Entry, newest: &Signature) -> Option<LaneUpdate> {
        let delivery = deliver(&self.provider, &newest.raw).await;
        if matches!(delivery, Delivery::AlreadyKnown | Delivery::NonceTooLow) {
            return None;
        }
        Some(LaneUpdate::Resent {
            plan: entry.intent.plan,
            step: entry.intent.step,
            nonce: entry.intent.nonce,
            tx_hash: newest.tx_hash,
            delivery,
        })
    }
}

/// Nonces of mined steps whose block may still leave the chain, as deep as the rest of Cordon follows one.
fn recent_nonces(lane: &Lane, at: Stamp) -> Vec<u64> {
    let depth = u64::try_from(CURSOR_DEPTH_MAX).unwrap_or(u64::MAX);
    let oldest = at.at_block.saturating_sub(depth);
    let mined = lane.entries().filter_map(|entry| entry.mined.as_ref().map(|mined| (entry, mined)));
    mined.filter(|(_, receipt)| receipt.block.number >= oldest).map(|(entry, _)| entry.intent.nonce).collect()
}

fn held(entry: &Entry, why: HeldWhy) -> LaneUpdate {
    LaneUpdate::Held { plan: entry.intent.plan, step: entry.intent.step, nonce: entry.intent.nonce, why }
}
