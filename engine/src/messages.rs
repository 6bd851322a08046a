//! Messages between chains: what this one sends and pays out for, beside what the others sent.
//!
//! In: the transactions of a block, and the log, in which every watched chain writes what it sends. Out: findings on what was paid
//! for and never sent, and what the log has to remember. Must never: wait for another chain. What cannot be said yet is asked again
//! with each block, and a restart knows of it.

use crate::engine::Engine;
use crate::error::EngineError;
use cordon_detect::DetectorSet;
use cordon_detect::messages::{Known, Verdict, paid_before, settle};
use cordon_model::block::Block;
use cordon_model::execution::{Execution, Log};
use cordon_model::finding::Finding;
use cordon_model::log::{ChainEvent, Cursor};
use cordon_model::message::{Claim, MessageNews};
use cordon_model::units::{ChainId, TxRef};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Most news in one record: some hundred kilobytes, where a record may have 16 MiB.
const NEWS_MAX: usize = 1_000;

/// What a block has to do with messages.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// What the log has to remember.
    news: Vec<MessageNews>,
    /// What is wrong, with transactions of this block or of earlier ones.
    pub(crate) findings: Vec<Finding>,
}

impl Heard {
    /// Takes the findings on one transaction.
    pub(crate) fn of(&mut self, tx: &TxRef) -> Vec<Finding> {
        let (of_tx, others) =
            std::mem::take(&mut self.findings).into_iter().partition(|found| found.tx == *tx);
        self.findings = others;
        of_tx
    }

    /// What the log has to remember, in records that stay small however much a block sends.
    pub(crate) fn events(&mut self, block: &Block) -> Vec<ChainEvent> {
        let news = std::mem::take(&mut self.news);
        let block = block.block_ref();
        news.chunks(NEWS_MAX).map(|news| ChainEvent::Messages { block, news: news.to_vec() }).collect()
    }
}

impl Engine {
    /// Hears what the transactions of a block send and pay out for, and asks again about what was left open. `is_exact` says that the
    /// block was reproduced as the chain states it.
    ///
    /// # Errors
    /// [`EngineError`] where the log cannot be read.
    pub(crate) async fn hear(
        &mut self,
        detectors: &DetectorSet,
        block: &Block,
        (executions, is_exact): (&[Execution], bool),
    ) -> Result<Heard, EngineError> {
        let mut heard = Heard::default();
        let sources = detectors.listens();
        let listens = !sources.is_empty();
        if !self.journal.messages().listening().eq(sources.iter().copied()) {
            heard.news.push(MessageNews::Listening { sources, since_s: block.timestamp_s });
        }
        let open: Vec<Claim> = self.journal.messages().waiting().cloned().collect();
        let (fresh, is_whole) = self.claims(detectors, block, executions, &mut heard);
        if listens && !(is_exact && is_whole) {
            tracing::warn!(block = block.number, "what bridges sent could not be read in whole");
            heard.news.push(MessageNews::Missed { since_s: block.timestamp_s });
        }
        if open.is_empty() && fresh.is_empty() {
            return Ok(heard);
        }
        let verdicts = self.verdicts(open.iter().chain(&fresh)).await?;
        let claims = open.iter().map(|claim| (claim, true)).chain(fresh.iter().map(|claim| (claim, false)));
        for ((claim, is_open), verdict) in claims.zip(verdicts) {
            heard.take(claim, is_open, verdict);
        }
        Ok(heard)
    }

    /// The claims of the transactions that other chains have to say something of, and whether everything could be read.
    fn claims(
        &self,
        detectors: &DetectorSet,
        block: &Block,
        executions: &[Execution],
        heard: &mut Heard,
    ) -> (Vec<Claim>, bool) {
        let (own, mut paid) = (self.journal.messages(), BTreeSet::new());
        let (mut claims, mut is_whole) = (Vec::new(), true);
        for execution in executions {
            let (execution, has_logs) = with_every_log(block, execution);
            let found = detectors.messages(&execution);
            for what in &found.gaps {
                tracing::warn!(tx = %execution.tx.hash, %what, "could not be read");
            }
            is_whole &= has_logs && found.gaps.is_empty();
            let sent = found.sent.into_iter().map(|(source, message)| MessageNews::Sent { source, message });
            heard.news.extend(sent);
            for claim in found.claims {
                let custody = claim.finding.contract;
                heard.findings.extend(paid_before(&claim, own, &paid));
                let ids = || claim.messages.iter().map(|message| message.id);
                heard.news.extend(ids().map(|id| MessageNews::Paid { custody, id }));
                paid.extend(ids().map(|id| (custody, id)));
                if !claim.sources.is_empty() {
                    claims.push(claim);
                }
            }
        }
        (claims, is_whole)
    }

    /// What the other chains say of claims, in order.
    async fn verdicts(
        &mut self,
        claims: impl Iterator<Item = &Claim> + Clone,
    ) -> Result<Vec<Verdict>, EngineError> {
        let chains: BTreeSet<_> =
            claims.clone().flat_map(|claim| claim.sources.iter().map(|(chain, _)| *chain)).collect();
        for chain in &chains {
            self.journal.follow(*chain).await?;
        }
        self.journal.refresh().await?;
        let cursors = self.cursors(&chains).await?;
        let mut known = BTreeMap::new();
        for (chain, cursor) in &cursors {
            let messages = self.journal.messages_of(*chain);
            known.extend(messages.map(|messages| (*chain, Known { cursor, messages })));
        }
        Ok(claims.map(|claim| settle(claim, &known)).collect())
    }

    /// How far other chains were judged, as far as everything of them up to there is known: a chain that moved while its messages were
    /// read may have taken one back that it sends again.
    async fn cursors(&self, chains: &BTreeSet<ChainId>) -> Result<BTreeMap<ChainId, Cursor>, EngineError> {
        let mut cursors = BTreeMap::new();
        for chain in chains {
            let cursor = self.journal.log().cursor(*chain).await?;
            if self.journal.is_up_to_date(*chain).await? {
                cursors.extend(cursor.map(|cursor| (*chain, cursor)));
            }
        }
        Ok(cursors)
    }
}

/// The transaction with the logs of its receipt where its own record was cut: whoever calls often enough cuts it. False where
/// these are not at hand.
fn with_every_log<'a>(block: &Block, execution: &'a Execution) -> (Cow<'a, Execution>, bool) {
    if !execution.truncated {
        return (Cow::Borrowed(execution), true);
    }
    let place = usize::try_from(execution.tx.index).unwrap_or(usize::MAX);
    let Some(logs) = block.outcomes.get(place).and_then(|outcome| outcome.logs.as_ref()) else {
        return (Cow::Borrowed(execution), false);
    };
    let log = |log: &alloy_primitives::Log| {
        let (address, topics, data) = (log.address, log.topics().to_vec(), log.data.data.clone());
        Log { seq: 0, frame: 0, address, topics, data }
    };
    let logs = logs.iter().map(log).collect();
    (Cow::Owned(Execution { logs, ..execution.clone() }), true)
}

impl Heard {
    fn take(&mut self, claim: &Claim, is_open: bool, verdict: Verdict) {
        let tx = claim.finding.tx.hash;
        match verdict {
            Verdict::Waits if is_open => return,
            Verdict::Waits => {
                tracing::info!(%tx, "paid out for messages of which it cannot be said yet whether they were sent");
                self.news.push(MessageNews::Waiting { claim: Box::new(claim.clone()) });
                return;
            }
            Verdict::Sent => {}
            Verdict::Unknown(what) => tracing::warn!(%tx, %what, "could not be judged"),
            Verdict::Wrong(finding) => self.findings.push(*finding),
        }
        if is_open {
            self.news.push(MessageNews::Settled { claim: claim.finding.id });
        }
    }
}
