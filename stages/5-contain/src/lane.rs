//! The fold of one signer's log: which nonce belongs to which step, what was signed for it, what was mined.
//!
//! In: the [`LaneEvent`]s of one account on one chain, in order. Out: [`Lane`], or a refusal that names the broken
//! rule. Pure. Must never accept a log in which a step has two nonces or a nonce has two steps: everything that
//! follows rests on this.

use alloy_primitives::{B256, Bytes};
use cordon_model::lane::{Intent, LaneEvent};
use cordon_model::plan::Receipt;
use cordon_model::units::PlanHash;
use std::collections::BTreeMap;

use crate::fees::Fees;

/// One signature that was made for a nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Transaction hash.
    pub tx_hash: B256,
    /// The signed EIP-2718 envelope.
    pub raw: Bytes,
    /// Its fees.
    pub fees: Fees,
    /// Newest block when it was made.
    pub at_block: u64,
}

/// One nonce: the step it belongs to and how far that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What may be signed.
    pub intent: Intent,
    /// Signatures in the order in which they were made; each replaces the one before.
    pub signatures: Vec<Signature>,
    /// Where it was mined, unless it was not, or that block left the chain.
    pub mined: Option<Receipt>,
}

impl Entry {
    /// True until one of its transactions is mined.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.mined.is_none()
    }

    /// The newest signature, which is the one to be mined if fees decide.
    #[must_use]
    pub fn newest(&self) -> Option<&Signature> {
        self.signatures.last()
    }
}

/// A lane event that contradicts the lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("lane event '{event}' for nonce {nonce} does not fit: {rule}")]
pub struct IllegalLaneEvent {
    /// Name of the event.
    pub event: &'static str,
    /// Nonce it speaks of.
    pub nonce: u64,
    /// Rule that it breaks.
    pub rule: &'static str,
}

/// All that is known of one signing account on one chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lane {
    version: u64,
    entries: BTreeMap<u64, Entry>,
}

impl Lane {
    /// Folds a whole lane.
    ///
    /// # Errors
    /// The first [`IllegalLaneEvent`].
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a LaneEvent>) -> Result<Self, IllegalLaneEvent> {
        let mut lane = Self::default();
        for event in events {
            lane.apply(event)?;
        }
        Ok(lane)
    }

    /// Takes one event.
    ///
    /// # Errors
    /// [`IllegalLaneEvent`] where it does not fit; the lane is unchanged.
    pub fn apply(&mut self, event: &LaneEvent) -> Result<(), IllegalLaneEvent> {
        let (name, nonce, outcome) = match event {
            LaneEvent::IntentRecorded { intent } => ("intent recorded", intent.nonce, self.intend(intent)),
            LaneEvent::Signed {
                nonce,
                tx_hash,
                raw,
                max_fee_per_gas_wei,
                max_priority_fee_per_gas_wei,
                at_block,
            } => {
                let fees = Fees {
                    max_fee_per_gas_wei: *max_fee_per_gas_wei,
                    max_priority_fee_per_gas_wei: *max_priority_fee_per_gas_wei,
                };
                let signature = Signature { tx_hash: *tx_hash, raw: raw.clone(), fees, at_block: *at_block };
                ("signed", *nonce, self.sign(*nonce, signature))
            }
            LaneEvent::Mined { nonce, receipt } => ("mined", *nonce, self.mine(*nonce, receipt)),
            LaneEvent::Unmined { nonce, block } => {
                let outcome = self.entry_mut(*nonce).and_then(|entry| {
                    let mined_in = entry.mined.as_ref().map(|receipt| receipt.block);
                    if mined_in == Some(*block) {
                        entry.mined = None;
                        Ok(())
                    } else {
                        Err("only the block in which it was mined can leave")
                    }
                });
                ("unmined", *nonce, outcome)
            }
        };
        outcome.map_err(|rule| IllegalLaneEvent { event: name, nonce, rule })?;
        self.version = self.version.saturating_add(1);
        Ok(())
    }

    /// Takes an intent. That no other step may be in the way ([`Self::in_the_way`]) is judged by the gate, in the same
    /// exclusive commit that records the intent: it needs the chain's nonce of that moment, which a later reader of
    /// the lane does not have.
    fn intend(&mut self, intent: &Intent) -> Result<(), &'static str> {
        if let Some((highest, entry)) = self.entries.last_key_value() {
            if intent.nonce <= *highest {
                return Err("nonces only rise");
            }
            if (entry.intent.chain_id, entry.intent.from) != (intent.chain_id, intent.from) {
                return Err("a lane belongs to one account on one chain");
            }
        }
        if self.of_step(intent.plan, intent.step).is_some() {
            return Err("a step has one nonce for ever");
        }
        let entry = Entry { intent: intent.clone(), signatures: Vec::new(), mined: None };
        self.entries.insert(intent.nonce, entry);
        Ok(())
    }

    fn sign(&mut self, nonce: u64, signature: Signature) -> Result<(), &'static str> {
        let entry = self.entry_mut(nonce)?;
        if !entry.is_open() {
            return Err("a mined step is not signed again");
        }
        if entry.signatures.iter().any(|known| known.tx_hash == signature.tx_hash) {
            return Err("a signature is recorded once");
        }
        entry.signatures.push(signature);
        Ok(())
    }

    fn mine(&mut self, nonce: u64, receipt: &Receipt) -> Result<(), &'static str> {
        let entry = self.entry_mut(nonce)?;
        if !entry.is_open() {
            return Err("a nonce is mined once");
        }
        if (entry.intent.plan, entry.intent.step) != (receipt.plan, receipt.step) {
            return Err("a receipt belongs to the step of its nonce");
        }
        if !entry.signatures.iter().any(|known| known.tx_hash == receipt.tx_hash) {
            return Err("only a recorded signature is mined");
        }
        entry.mined = Some(receipt.clone());
        Ok(())
    }

    fn entry_mut(&mut self, nonce: u64) -> Result<&mut Entry, &'static str> {
        self.entries.get_mut(&nonce).ok_or("an intent comes first")
    }

    /// Number of records in the lane: the version at which the next one is appended.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The entry of a nonce.
    #[must_use]
    pub fn entry(&self, nonce: u64) -> Option<&Entry> {
        self.entries.get(&nonce)
    }

    /// The entry of a step.
    #[must_use]
    pub fn of_step(&self, plan: PlanHash, step: u32) -> Option<&Entry> {
        self.entries.values().find(|entry| entry.intent.plan == plan && entry.intent.step == step)
    }

    /// All entries in the order of their nonces.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Entries of which no transaction is known to be mined, in the order of their nonces. More than one only after a
    /// reorganisation, or where a nonce was used on chain by something else than its step.
    pub fn open(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.is_open())
    }

    /// The open entry, if there is one, behind which a new step would have to wait: its nonce is not used on chain, so
    /// nothing with a higher one can be mined before it.
    ///
    /// An open entry below the chain's next nonce is in nobody's way. Its nonce is used, either by its own transaction
    /// whose receipt was not read yet, or by a foreign one, because somebody used the key elsewhere. A new step then
    /// gets a nonce of its own, at or above the chain's. This cannot mine one step twice: every step keeps the one
    /// nonce that it was given, two steps never share one, and a chain mines each nonce once. That holds in a
    /// reorganisation too, which may take the foreign transaction out and let the older step land after all: at its
    /// own nonce, once, beside the newer step at another. The older step never gets a second nonce, and while the
    /// chain says that its nonce is used it is not signed either.
    #[must_use]
    pub fn in_the_way(&self, chain_nonce: u64) -> Option<&Entry> {
        self.open().find(|entry| entry.intent.nonce >= chain_nonce)
    }

    /// The nonce that a new step gets: what the chain says, or one more than the lane ever gave, whichever is
    /// higher. The lane's own count matters where the node lags behind.
    #[must_use]
    pub fn next_nonce(&self, chain_nonce: u64) -> u64 {
        let after_highest = self.entries.last_key_value().map_or(0, |(highest, _)| highest.saturating_add(1));
        chain_nonce.max(after_highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, U256};
    use cordon_model::plan::Call;
    use cordon_model::units::{BlockRef, ChainId, IncidentId};

    const BLOCK: BlockRef = BlockRef { number: 9, hash: B256::repeat_byte(9) };

    fn intent(nonce: u64, step: u32) -> LaneEvent {
        let call = Call { to: Some(Address::ZERO), value_wei: U256::ZERO, data: Bytes::new() };
        let intent = Intent {
            incident: IncidentId::derive(&["i"]),
            plan: PlanHash(B256::repeat_byte(1)),
            step,
            chain_id: ChainId(1),
            from: Address::ZERO,
            nonce,
            gas_limit: 100_000,
            call,
        };
        LaneEvent::IntentRecorded { intent }
    }

    fn signed(nonce: u64, seed: u8) -> LaneEvent {
        LaneEvent::Signed {
            nonce,
            tx_hash: B256::repeat_byte(seed),
            raw: Bytes::new(),
            max_fee_per_gas_wei: 2,
            max_priority_fee_per_gas_wei: 1,
            at_block: 8,
        }
    }

    fn mined(nonce: u64, step: u32, seed: u8) -> LaneEvent {
        let receipt = Receipt {
            plan: PlanHash(B256::repeat_byte(1)),
            step,
            tx_hash: B256::repeat_byte(seed),
            block: BLOCK,
            index: 0,
            created: None,
            gas_used: 1,
            fee_wei: U256::ZERO,
            success: true,
        };
        LaneEvent::Mined { nonce, receipt }
    }

    fn unmined(nonce: u64) -> LaneEvent {
        LaneEvent::Unmined { nonce, block: BLOCK }
    }

    fn rule(events: &[LaneEvent]) -> &'static str {
        Lane::fold(events).unwrap_err().rule
    }

    #[test]
    fn a_step_walks_from_intent_over_a_replacement_to_mined() {
        let events = [intent(4, 0), signed(4, 0xa), signed(4, 0xb), mined(4, 0, 0xa)];
        let lane = Lane::fold(&events).unwrap();
        assert_eq!(lane.version(), 4);
        assert_eq!(lane.open().count(), 0);
        assert_eq!(lane.entry(4).unwrap().newest().unwrap().tx_hash, B256::repeat_byte(0xb));
        assert_eq!(lane.entry(4).unwrap().mined.as_ref().unwrap().tx_hash, B256::repeat_byte(0xa));
    }

    #[test]
    fn a_reorganisation_opens_several_steps_again() {
        let one = [intent(4, 0), signed(4, 0xa), mined(4, 0, 0xa)];
        let two = [intent(5, 1), signed(5, 0xb), mined(5, 1, 0xb), unmined(5), unmined(4)];
        let lane = Lane::fold(one.iter().chain(&two)).unwrap();
        assert_eq!(lane.open().map(|entry| entry.intent.nonce).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(lane.in_the_way(4).map(|entry| entry.intent.nonce), Some(4));
    }

    #[test]
    fn an_open_step_is_in_the_way_only_until_its_nonce_is_used() {
        let lane = Lane::fold(&[intent(4, 0), signed(4, 0xa), intent(5, 1)]).unwrap();
        let in_the_way = |chain_nonce| lane.in_the_way(chain_nonce).map(|entry| entry.intent.nonce);
        assert_eq!((in_the_way(3), in_the_way(4)), (Some(4), Some(4)), "nobody used its nonce");
        assert_eq!(in_the_way(5), Some(5), "the older one's nonce is used, the newer one's is not");
        assert_eq!(in_the_way(6), None);
        assert_eq!(lane.open().count(), 2);
    }

    #[test]
    fn a_step_whose_nonce_was_used_elsewhere_still_takes_its_own_receipt() {
        let events = [intent(4, 0), signed(4, 0xa), intent(5, 1), signed(5, 0xb), mined(4, 0, 0xa)];
        let lane = Lane::fold(&events).unwrap();
        assert_eq!(lane.open().map(|entry| entry.intent.nonce).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn the_next_nonce_never_goes_back() {
        let lane = Lane::fold(&[intent(4, 0)]).unwrap();
        assert_eq!(lane.next_nonce(3), 5);
        assert_eq!(lane.next_nonce(9), 9);
        assert_eq!(Lane::default().next_nonce(0), 0);
    }

    #[test]
    fn events_that_contradict_the_lane_are_refused_by_rule() {
        assert_eq!(rule(&[signed(4, 0xa)]), "an intent comes first");
        assert_eq!(rule(&[intent(4, 0), intent(4, 1)]), "nonces only rise");
        assert_eq!(rule(&[intent(4, 0), intent(5, 0)]), "a step has one nonce for ever");
        assert_eq!(rule(&[intent(4, 0), signed(4, 0xa), signed(4, 0xa)]), "a signature is recorded once");
        assert_eq!(rule(&[intent(4, 0), mined(4, 0, 0xa)]), "only a recorded signature is mined");
        let done = [intent(4, 0), signed(4, 0xa), mined(4, 0, 0xa)];
        let after = |event| done.iter().cloned().chain([event]).collect::<Vec<_>>();
        assert_eq!(rule(&after(signed(4, 0xb))), "a mined step is not signed again");
        assert_eq!(rule(&after(mined(4, 0, 0xa))), "a nonce is mined once");
        assert_eq!(
            rule(&[intent(4, 0), signed(4, 0xa), mined(4, 1, 0xa)]),
            "a receipt belongs to the step of its nonce"
        );
        assert_eq!(rule(&[intent(4, 0), unmined(4)]), "only the block in which it was mined can leave");
    }
}
