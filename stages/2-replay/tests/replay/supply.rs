//! How state is fetched: batches and nodes that refuse them, what is read ahead, and what is never asked twice.

use crate::contracts::*;
use crate::node::{COUNTER_AT, THIEF, VAULT, chain, count, newest, rules};
use alloy_json_rpc::{ErrorPayload, Id, RequestPacket, Response, ResponsePacket, ResponsePayload};
use alloy_primitives::{Address, Bytes, U256};
use alloy_provider::{DynProvider, Provider as _, RootProvider};
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use cordon_model::block::{Block, ChainProfile};
use cordon_model::execution::Execution;
use cordon_range::{Call, Chain, ChainTransport};
use cordon_replay::{BlockReplay, ReadAhead, ReplayError, Replayer, StateError, Watch, ask, no_views};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tower::Service;

/// How a node shows that it does not like a batch.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    /// The connection fails, as with an HTTP status.
    Transport,
    /// One error for the whole batch, with an id of its own.
    OneError,
    /// Only the first part is answered.
    Cut,
    /// Every part is an error.
    EveryPart,
}

/// The range's node behind a line that counts, refuses large batches, and loses the answers to one method.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    inner: ChainTransport,
    largest: usize,
    refusal: Refusal,
    pub(crate) unanswered: Arc<Mutex<Option<&'static str>>>,
    requests: Arc<AtomicUsize>,
    messages: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Line {
    pub(crate) fn to(chain: &Chain) -> Self {
        Self {
            inner: chain.transport(),
            largest: usize::MAX,
            refusal: Refusal::Transport,
            unanswered: Arc::default(),
            requests: Arc::default(),
            messages: Arc::default(),
            refused: Arc::default(),
        }
    }

    pub(crate) fn provider(&self) -> DynProvider {
        RootProvider::new(RpcClient::new(self.clone(), true)).erased()
    }

    pub(crate) fn seen(&self) -> (usize, usize) {
        (self.requests.load(Ordering::SeqCst), self.messages.load(Ordering::SeqCst))
    }
}

fn failure(id: Id) -> Response {
    let payload = ErrorPayload { code: -32_600, message: "batch too large".into(), data: None };
    Response { id, payload: ResponsePayload::Failure(payload) }
}

impl Service<RequestPacket> for Line {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let requests = packet.requests().to_vec();
        self.requests.fetch_add(requests.len(), Ordering::SeqCst);
        self.messages.fetch_add(1, Ordering::SeqCst);
        let (is_batch, largest, refusal) =
            (matches!(packet, RequestPacket::Batch(_)), self.largest, self.refusal);
        let unanswered = *self.unanswered.lock().unwrap();
        let refuses = is_batch && requests.len() > largest;
        self.refused.fetch_add(usize::from(refuses), Ordering::SeqCst);
        let answer = self.inner.call(packet);
        Box::pin(async move {
            if refuses && matches!(refusal, Refusal::Transport) {
                return Err(TransportErrorKind::http_error(413, "payload too large".to_owned()));
            }
            if refuses && matches!(refusal, Refusal::OneError) {
                return Ok(ResponsePacket::Single(failure(Id::None)));
            }
            if refuses && matches!(refusal, Refusal::EveryPart) {
                let failures = requests.iter().map(|request| failure(request.id().clone()));
                return Ok(ResponsePacket::Batch(failures.collect()));
            }
            let mut answer = answer.await?;
            let lose = |response: &mut Response| {
                let method = requests.iter().find(|request| *request.id() == response.id).map(|r| r.method());
                if method == unanswered && unanswered.is_some() {
                    *response = failure(response.id.clone());
                }
            };
            match &mut answer {
                ResponsePacket::Single(response) => lose(response),
                ResponsePacket::Batch(responses) => {
                    responses.iter_mut().for_each(lose);
                    if refuses {
                        responses.truncate(largest);
                    }
                }
            }
            Ok(answer)
        })
    }
}

fn counter(n: u8) -> Address {
    Address::with_last_byte(100 + n)
}

/// A chain with many contracts, and a block in which every one of them is called.
async fn busy_block() -> (Chain, Arc<Block>) {
    let chain = chain();
    let counters: Vec<Address> = (0..60).map(counter).collect();
    for (n, counter) in (0u64..).zip(&counters) {
        chain.set_code(*counter, COUNTER.to_vec());
        chain.set_storage(*counter, U256::ZERO, wei(n));
    }
    for counter in &counters {
        chain.submit_as(ALICE, Call::new(*counter, Bytes::new())).unwrap();
    }
    chain.submit_as(ALICE, Call::new(THIEF, Bytes::new())).unwrap();
    chain.mine();
    let block = newest(&chain).await;
    assert_eq!(block.transactions.len(), 61);
    (chain, block)
}

async fn replayed(
    chain: &Chain,
    line: &Line,
    block: &Arc<Block>,
    depth: ReadAhead,
) -> (BlockReplay, Replayer) {
    let mut replayer = Replayer::for_node(line.provider(), rules(chain)).reading_ahead(depth);
    let replay = replayer.replay(Arc::clone(block), Watch::everything(no_views())).await.unwrap();
    assert_eq!(replay.mismatches, []);
    (replay, replayer)
}

fn same(ours: &[Execution], theirs: &[Execution]) {
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

#[tokio::test]
async fn reading_ahead_changes_the_number_of_messages_and_nothing_else() {
    let (chain, block) = busy_block().await;
    let off = Line::to(&chain);
    let (slow, replayer) = replayed(&chain, &off, &block, ReadAhead::Off).await;
    let without = replayer.last_reads().unwrap();
    let ahead = Line::to(&chain);
    let (fast, replayer) = replayed(&chain, &ahead, &block, ReadAhead::Guessed).await;
    let with = replayer.last_reads().unwrap();
    println!("without: {without:?}\nwith: {with:?}");
    same(&fast.executions, &slow.executions);
    assert_eq!((without.ahead, without.rounds), (0, 0));
    assert!(without.late > 120 && without.round_trips == without.late, "every read waits: {without:?}");
    assert_eq!(with.reads(), without.reads(), "the block reads what it reads");
    assert!(with.late <= 2 && with.round_trips * 20 <= without.round_trips, "{with:?}");

    // The counts are those of the line.
    for (line, reads) in [(off, without), (ahead, with)] {
        let (requests, messages) = line.seen();
        assert_eq!((reads.requests, reads.messages), (requests as u64, messages as u64));
    }
}

#[tokio::test]
async fn a_node_that_refuses_batches_is_asked_in_smaller_ones() {
    let (chain, block) = busy_block().await;
    let (expected, _) = replayed(&chain, &Line::to(&chain), &block, ReadAhead::Guessed).await;
    for refusal in [Refusal::Transport, Refusal::OneError, Refusal::Cut, Refusal::EveryPart] {
        for largest in [0, 10] {
            let line = Line { largest, refusal, ..Line::to(&chain) };
            let (replay, mut replayer) = replayed(&chain, &line, &block, ReadAhead::Guessed).await;
            same(&replay.executions, &expected.executions);
            let reads = replayer.last_reads().unwrap();
            assert!(reads.late <= 2, "{refusal:?} {largest}: {reads:?}");

            // What the node takes is remembered.
            let refused = line.refused.load(Ordering::SeqCst);
            assert!(refused > 0);
            let again = replayer.replay(Arc::clone(&block), Watch::everything(no_views())).await.unwrap();
            same(&again.executions, &expected.executions);
            assert_eq!(line.refused.load(Ordering::SeqCst), refused, "{refusal:?} {largest}");
            let largest_now = replayer.last_reads().unwrap().largest_batch;
            assert!(largest_now <= largest.max(1) as u64, "{refusal:?} {largest}: {largest_now}");
        }
    }
}

#[tokio::test]
async fn a_value_that_the_node_refuses_is_an_error_and_never_zero() {
    let (chain, block) = busy_block().await;
    for method in ["eth_getStorageAt", "eth_getBalance", "eth_getCode", "eth_getTransactionCount"] {
        for depth in [ReadAhead::Off, ReadAhead::Named, ReadAhead::Guessed] {
            let line = Line::to(&chain);
            *line.unanswered.lock().unwrap() = Some(method);
            let mut replayer = Replayer::for_node(line.provider(), rules(&chain)).reading_ahead(depth);
            let error = replayer.replay(Arc::clone(&block), Watch::everything(no_views())).await.unwrap_err();
            let is_state = matches!(&error, ReplayError::State { source: StateError::Node(_), .. });
            assert!(is_state, "{method} {depth:?}: {error:?}");
            assert!(replayer.fork_head().is_none());
            *line.unanswered.lock().unwrap() = None;
            let replay = replayer.replay(Arc::clone(&block), Watch::everything(no_views())).await.unwrap();
            assert_eq!(replay.mismatches, [], "{method} {depth:?}: nothing of the failure is kept");
        }
    }
}

#[tokio::test]
async fn what_is_carried_is_not_read_again() {
    let (chain, block) = busy_block().await;
    let line = Line::to(&chain);
    let (_, mut replayer) = replayed(&chain, &line, &block, ReadAhead::Guessed).await;
    let first = replayer.last_reads().unwrap();
    assert!(first.cold_slots >= 60 && first.carried == 0, "{first:?}");
    for _ in 0..2 {
        chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
        chain.submit_as(ALICE, Call::new(counter(0), Bytes::new())).unwrap();
        chain.mine();
        let replay = replayer.replay(newest(&chain).await, Watch::everything(no_views())).await.unwrap();
        assert_eq!(replay.mismatches, []);
    }
    let third = replayer.last_reads().unwrap();
    assert_eq!((third.cold(), third.late, third.requests), (0, 0, 0), "{third:?}");
    assert!(third.carried >= 4, "{third:?}");
}

/// A chain may be watched from its very beginning.
#[tokio::test]
async fn the_genesis_block_is_replayed_and_so_is_the_one_after_it() {
    let chain = chain();
    let mut replayer = Replayer::for_node(chain.provider(), rules(&chain));
    let genesis = newest(&chain).await;
    let replay = replayer.replay(Arc::clone(&genesis), Watch::everything(no_views())).await.unwrap();
    assert_eq!((genesis.number, replay.executions.len(), replay.mismatches), (0, 0, Vec::new()));
    chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
    chain.mine();
    let replay = replayer.replay(newest(&chain).await, Watch::everything(no_views())).await.unwrap();
    assert_eq!((replay.executions.len(), replay.mismatches), (1, Vec::new()));
}

#[tokio::test]
async fn a_fork_of_the_head_shares_what_it_reads_with_the_next_block() {
    let (chain, block) = busy_block().await;
    let line = Line::to(&chain);
    let (_, mut replayer) = replayed(&chain, &line, &block, ReadAhead::Off).await;
    let head = replayer.fork_head().unwrap();
    assert_eq!(U256::from_be_slice(&head.view(&count()).await.unwrap().unwrap()), wei(0));
    chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
    chain.mine();
    let before = head.branch();
    let replay = replayer.replay(newest(&chain).await, Watch::everything(ask(vec![count()]))).await.unwrap();
    assert_eq!(replay.executions[0].view(&count()).unwrap().words(), Some((wei(0), wei(1))));
    let reads = replayer.last_reads().unwrap();
    assert!(reads.ahead >= 2 && reads.late == 0, "{reads:?}");
    assert_eq!(U256::from_be_slice(&before.view(&count()).await.unwrap().unwrap()), wei(0));
}

#[tokio::test]
async fn code_that_cannot_change_is_read_once_even_where_state_is_not_carried() {
    let (chain, block) = busy_block().await;
    let line = Line::to(&chain);
    let rules = rules(&chain).with_profile(ChainProfile::Linea);
    let mut replayer = Replayer::for_node(line.provider(), rules);
    assert_eq!(replayer.replay(block, Watch::everything(no_views())).await.unwrap().mismatches, []);
    assert!(replayer.fork_head().is_none());
    let mine = || async {
        chain.submit_as(ALICE, Call::new(COUNTER_AT, Bytes::new())).unwrap();
        chain.submit_as(ALICE, Call::new(VAULT, Bytes::new())).unwrap();
        chain.mine();
        newest(&chain).await
    };
    let mut reads = Vec::new();
    for _ in 0..3 {
        assert_eq!(
            replayer.replay(mine().await, Watch::everything(no_views())).await.unwrap().mismatches,
            []
        );
        reads.push(replayer.last_reads().unwrap());
    }
    println!("{reads:?}");
    let codes: Vec<u64> = reads.iter().map(|reads| reads.cold_codes).collect();
    assert_eq!(codes[0] - codes[1], 1, "the counter's code was new in the first block: {codes:?}");
    assert_eq!(reads[0].cold_accounts, reads[1].cold_accounts);

    // After a reorganisation an address may hold another contract.
    chain.reorg(1).unwrap();
    let replay = replayer.replay(mine().await, Watch::everything(no_views())).await.unwrap();
    assert_eq!(replay.mismatches, []);
    assert!(replayer.last_reads().unwrap().cold_codes > codes[1]);
}

#[tokio::test]
async fn what_a_kind_of_transaction_reads_is_read_ahead_the_third_time() {
    let chain = chain();
    let rules = rules(&chain).with_profile(ChainProfile::Linea);
    let mut replayer = Replayer::for_node(chain.provider(), rules);
    let mut rounds = Vec::new();
    for _ in 0..4 {
        for target in [COUNTER_AT, THIEF] {
            chain.submit_as(ALICE, Call::new(target, Bytes::new())).unwrap();
        }
        chain.mine();
        let block = newest(&chain).await;
        assert_eq!(replayer.replay(block, Watch::everything(no_views())).await.unwrap().mismatches, []);
        rounds.push(replayer.last_reads().unwrap());
    }
    println!("{rounds:?}");
    assert!(rounds[3].round_trips < rounds[0].round_trips, "{rounds:?}");
    assert_eq!((rounds[3].round_trips, rounds[3].late), (1, 0), "one batch brings everything: {rounds:?}");
}
