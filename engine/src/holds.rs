//! Whether anything may be sent on this chain now.
//!
//! In: a plan that is about to be sent, what the chain's nodes say of the newest judged block, and the alarms that stand.
//! Out: leave to go on, or the rule that forbids it. Nodes that disagree stop everything on this chain until they agree
//! again, because what would be sent rests on what one of them said. A chain whose finality is lost, or which is being
//! reorganised, stops what cannot be undone; a containment can, so it goes on. Must never: take silence for consent.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::journal::Entries;
use cordon_ingest::{Quorum, Verdict};
use cordon_model::log::ChainEvent;
use cordon_model::network::{AlarmLevel, ProviderAnswer, SignalKind};
use cordon_model::plan::{Plan, Purpose};

/// Alarms under which nothing is sent that cannot be undone.
const UNSETTLED: [SignalKind; 3] = [SignalKind::FinalityDelay, SignalKind::Reorg, SignalKind::ProviderSplit];

impl Engine {
    /// Asks these nodes before anything is sent.
    #[must_use]
    pub fn with_quorum(mut self, quorum: Quorum) -> Self {
        self.quorum = Some(quorum);
        self
    }

    /// Why nothing is sent on this chain, if so.
    #[must_use]
    pub fn hold_reason(&self) -> Option<&str> {
        self.journal.chain().held.as_deref()
    }

    /// Why a plan may not be sent now; `None` where it may.
    ///
    /// # Errors
    /// [`EngineError`] where too few nodes answer, so that nobody knows; asking again later can help.
    pub(crate) async fn forbidden(&mut self, plan: &Plan) -> Result<Option<String>, EngineError> {
        self.consult().await?;
        if let Some(why) = self.hold_reason() {
            return Ok(Some(why.to_owned()));
        }
        let pages = |kind: &SignalKind| {
            let alarm = self.journal.chain().alarms.get(&(*kind, None));
            alarm.is_some_and(|alarm| alarm.level == AlarmLevel::Page)
        };
        let unsettled = UNSETTLED.into_iter().find(pages).filter(|_| plan.purpose != Purpose::Contain);
        Ok(unsettled.map(|kind| format!("what cannot be undone waits while the alarm '{kind}' stands")))
    }

    /// Looks whether a hold is over. Cheap where there is none.
    ///
    /// # Errors
    /// [`EngineError`] where too few nodes answer, or the log fails.
    pub async fn reconsider(&mut self) -> Result<(), EngineError> {
        if self.hold_reason().is_some() { self.consult().await } else { Ok(()) }
    }

    /// Asks the nodes about the newest judged block, and holds or releases the chain.
    async fn consult(&mut self) -> Result<(), EngineError> {
        let (Some(quorum), Some(head)) = (&self.quorum, self.cursor.head()) else { return Ok(()) };
        // A single node has nobody to disagree with. It is asked all the same where a hold stands that several nodes
        // caused: whoever leaves only one of them in the configuration has decided between them.
        if quorum.size() == 1 && self.hold_reason().is_none() {
            return Ok(());
        }
        match (quorum.check(head.number, head.hash).await, self.hold_reason().is_some()) {
            (Verdict::Split { answers }, false) => {
                let why = format!("nodes disagree on block {}: {}", head.number, listed(&answers));
                self.tell_chain(ChainEvent::Held { why }).await
            }
            (Verdict::Agreed { .. }, true) => {
                let why = format!("the nodes agree on block {}", head.number);
                self.tell_chain(ChainEvent::Released { why }).await
            }
            (Verdict::Single { .. }, true) => {
                let why = format!("one node is configured now, and it has block {}", head.number);
                self.tell_chain(ChainEvent::Released { why }).await
            }
            (Verdict::TooFew { answered, needed }, _) => Err(EngineError::Refused(format!(
                "{answered} of the {needed} nodes that must agree on block {} have it",
                head.number
            ))),
            (Verdict::Split { .. }, true) | (Verdict::Agreed { .. } | Verdict::Single { .. }, false) => {
                Ok(())
            }
        }
    }

    /// Records that nobody judges the blocks of this chain from now on, which people are told.
    ///
    /// # Errors
    /// [`EngineError`] where the log fails.
    pub(crate) async fn halt(&mut self, why: String) -> Result<(), EngineError> {
        self.tell_chain(ChainEvent::Halted { why }).await
    }

    async fn tell_chain(&mut self, event: ChainEvent) -> Result<(), EngineError> {
        tracing::warn!(chain = %self.chain_id, ?event, "automation");
        let entries = Entries { chain: vec![event], ..Entries::default() };
        Ok(self.journal.append(self.stamp, entries).await?)
    }
}

fn listed(answers: &[ProviderAnswer]) -> String {
    answers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
