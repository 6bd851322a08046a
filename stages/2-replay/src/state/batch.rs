//! Questions about state, asked of a node in as few messages as it allows.
//!
//! In: questions about one block's state. Out: an answer or an error for each, in order. Must never: take a missing
//! answer for an empty one, or let a node that refuses batches pass for one that is out of reach.

use super::reads::Counters;
use crate::error::StateError;
use alloy_eips::BlockId;
use alloy_primitives::{Address, Bytes, U256};
use alloy_provider::{DynProvider, Provider as _};
use alloy_rpc_client::{BatchRequest, Waiter};
use alloy_transport::{TransportError, TransportErrorKind, TransportResult};
use futures::StreamExt as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long one message to a node may take. A block must be judged within a slot of 12 s (Ethereum consensus
/// specification), and a node that needs as long as a slot for a single answer does not keep up in any case.
const STATE_TIMEOUT_MS: u64 = 12_000;
/// Requests in one batch. A hundred slots take a local node 340 us, eighteen times a single one; geth allows 1,000
/// and hosted nodes commonly 100. Where a node allows less, less is asked.
const MAX_BATCH: usize = 100;
/// A node that refuses a batch is asked again with batches this many times smaller, down to single requests.
const SHRINK: usize = 4;
/// Full batches after which a node that once refused is offered larger ones again: it may only have been disturbed, and
/// one refusal in a thousand messages is nothing.
const GROW_AFTER: usize = 1_000;
/// Messages that are under way at once. Public endpoints commonly allow some tens of requests in flight per client.
const MAX_IN_FLIGHT: usize = 8;

/// One question about state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Balance(Address),
    Nonce(Address),
    Code(Address),
    Slot(Address, U256),
}

/// An answer: a number, or code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Word(U256),
    Code(Bytes),
}

type Answers = Vec<Result<Answer, StateError>>;

/// A node as far as questions of state are concerned, shared by all blocks and branches.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(super) provider: DynProvider,
    /// Requests that the node takes in one batch, as far as it is known.
    batch: Arc<AtomicUsize>,
    /// Batches of that size that it took since.
    taken: Arc<AtomicUsize>,
}

enum Pending {
    Word(Waiter<U256>),
    Code(Waiter<Bytes>),
}

impl Pending {
    async fn answer(self) -> TransportResult<Answer> {
        Ok(match self {
            Self::Word(answer) => Answer::Word(answer.await?),
            Self::Code(answer) => Answer::Code(answer.await?),
        })
    }
}

impl Link {
    pub(crate) fn new(provider: DynProvider) -> Self {
        Self { provider, batch: Arc::new(AtomicUsize::new(MAX_BATCH)), taken: Arc::default() }
    }

    /// Offers larger batches again once the node took many of the present size.
    fn note_taken(&self, len: usize) {
        let size = self.batch.load(Ordering::Relaxed);
        if size < MAX_BATCH
            && len >= size
            && self.taken.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= GROW_AFTER
        {
            self.taken.store(0, Ordering::Relaxed);
            self.batch.store(size.saturating_mul(SHRINK).min(MAX_BATCH), Ordering::Relaxed);
        }
    }

    /// Asks everything, several messages at once.
    ///
    /// # Errors
    /// The first failure of the node as a whole; single questions that it refuses are errors of their own.
    pub(super) async fn ask(
        &self,
        block: BlockId,
        questions: &[Question],
        counters: &Counters,
    ) -> Result<Answers, StateError> {
        counters.round_trips.add(1);
        let mut answers = Vec::with_capacity(questions.len());
        let size = self.batch.load(Ordering::Relaxed).max(1);
        let messages: Vec<_> =
            questions.chunks(size).map(|part| self.ask_part(block, part, counters)).collect();
        let mut messages = futures::stream::iter(messages).buffered(MAX_IN_FLIGHT);
        while let Some(part) = messages.next().await {
            answers.extend(part?);
        }
        Ok(answers)
    }

    fn ask_part<'a>(
        &'a self,
        block: BlockId,
        questions: &'a [Question],
        counters: &'a Counters,
    ) -> Pin<Box<dyn Future<Output = Result<Answers, StateError>> + Send + 'a>> {
        Box::pin(async move {
            let Some((first, rest)) = questions.split_first() else { return Ok(Vec::new()) };
            if rest.is_empty() {
                let answer = self.ask_one(block, *first, counters).await;
                self.note_taken(1);
                return if is_of_the_node(&answer) {
                    answer.map(|answer| vec![Ok(answer)])
                } else {
                    Ok(vec![answer])
                };
            }
            let refusal = match self.ask_batch(block, questions, counters).await {
                Ok(answers) if !is_refused(&answers) => {
                    self.note_taken(questions.len());
                    return Ok(answers);
                }
                Err(timeout @ StateError::Timeout { .. }) => return Err(timeout),
                other => other,
            };
            // Is it the batch that the node does not like, or can it not answer at all?
            counters.round_trips.add(1);
            let Ok(_) = self.ask_one(block, *first, counters).await else { return refusal };
            let size = (questions.len() / SHRINK).max(1);
            if self.batch.fetch_min(size, Ordering::Relaxed) > size {
                self.taken.store(0, Ordering::Relaxed);
                tracing::info!(refused = questions.len(), size, "the node takes smaller batches only");
            }
            self.ask(block, questions, counters).await
        })
    }

    async fn ask_batch(
        &self,
        block: BlockId,
        questions: &[Question],
        counters: &Counters,
    ) -> Result<Answers, StateError> {
        counters.messages.add(1);
        counters.requests.add(questions.len());
        counters.largest_batch.at_least(questions.len());
        let client = self.provider.client();
        let mut batch = BatchRequest::new(client);
        let mut pending = Vec::with_capacity(questions.len());
        for question in questions {
            let waiter = match *question {
                Question::Slot(address, slot) => {
                    batch.add_call("eth_getStorageAt", &(address, slot, block)).map(Pending::Word)
                }
                Question::Code(address) => {
                    batch.add_call("eth_getCode", &(address, block)).map(Pending::Code)
                }
                Question::Balance(address) => {
                    batch.add_call("eth_getBalance", &(address, block)).map(Pending::Word)
                }
                Question::Nonce(address) => {
                    batch.add_call("eth_getTransactionCount", &(address, block)).map(Pending::Word)
                }
            };
            pending.push(waiter.map_err(StateError::Node)?);
        }
        in_time(batch.send()).await?;
        let mut answers = Vec::with_capacity(pending.len());
        for waiter in pending {
            answers.push(waiter.answer().await.map_err(StateError::Node));
        }
        Ok(answers)
    }

    async fn ask_one(
        &self,
        block: BlockId,
        question: Question,
        counters: &Counters,
    ) -> Result<Answer, StateError> {
        counters.messages.add(1);
        counters.requests.add(1);
        counters.largest_batch.at_least(1);
        let client = self.provider.client();
        match question {
            Question::Balance(address) => {
                in_time(client.request("eth_getBalance", (address, block))).await.map(Answer::Word)
            }
            Question::Nonce(address) => {
                in_time(client.request("eth_getTransactionCount", (address, block))).await.map(Answer::Word)
            }
            Question::Code(address) => {
                in_time(client.request("eth_getCode", (address, block))).await.map(Answer::Code)
            }
            Question::Slot(address, slot) => {
                in_time(client.request("eth_getStorageAt", (address, slot, block))).await.map(Answer::Word)
            }
        }
    }
}

/// True where not the question was refused, but the node could not be asked at all.
fn is_of_the_node(answer: &Result<Answer, StateError>) -> bool {
    !matches!(answer, Ok(_) | Err(StateError::Node(TransportError::ErrorResp(_))))
}

/// True where the node dropped a part of a batch, or answered every part with an error: then it may be the batch.
fn is_refused(answers: &Answers) -> bool {
    let is_missing = |answer: &Result<Answer, StateError>| {
        matches!(
            answer,
            Err(StateError::Node(TransportError::Transport(TransportErrorKind::MissingBatchResponse(_))))
        )
    };
    answers.iter().any(is_missing) || answers.iter().all(Result::is_err)
}

pub(super) async fn in_time<T>(
    request: impl IntoFuture<Output = Result<T, TransportError>>,
) -> Result<T, StateError> {
    match tokio::time::timeout(Duration::from_millis(STATE_TIMEOUT_MS), request.into_future()).await {
        Ok(answer) => answer.map_err(StateError::Node),
        Err(_) => Err(StateError::Timeout { timeout_ms: STATE_TIMEOUT_MS }),
    }
}
