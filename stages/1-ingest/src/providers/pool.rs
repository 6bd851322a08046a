//! Several nodes of one chain as one transport: reads of state, sending and following all go through it.
//!
//! In: packets of requests. Out: the first good answer. Reads go to the best node, to the next one where that fails or
//! lacks what was asked for, and to a second one at the same time where the first is slow. Signed transactions go to
//! every node. Everything else goes to one node, once. It must never repeat a request that changes something, wait
//! without end, or prefer a node that lags.

use super::answer::{self, Kind, Worth};
use super::counters::Role;
use super::hedge::{self, Allowance};
use super::member::{Member, Rank, Reply};
use crate::sources::json_rpc::dial::Dial;
use crate::sources::json_rpc::guard::{Failed, no_answer};
use crate::sources::json_rpc::redact::Redactor;
use alloy_json_rpc::{Id, Request, RequestPacket, ResponsePacket, SerializedRequest};
use alloy_transport::{RpcError, TransportError, TransportErrorKind, TransportFut};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower::Service;

/// First id of the requests that go out through a pool. A member's own client counts from zero on the same
/// connection; two requests with one id would take each other's answers.
const IDS_FROM: u64 = 1 << 32;

/// Several nodes as one transport.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    name: String,
    members: Vec<Arc<Member>>,
    limit: Duration,
    ids: AtomicU64,
    allowance: Mutex<Allowance>,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) packet: ResponsePacket,
    pub(crate) by: Option<Arc<Member>>,
}

impl Pool {
    /// `limit` bounds one request at one node.
    pub(crate) fn new(members: Vec<Arc<Member>>, limit: Duration) -> Self {
        let name = match members.as_slice() {
            [only] => only.name().to_owned(),
            members => format!("pool of {} nodes", members.len()),
        };
        let allowance = Mutex::new(Allowance::full());
        Self(Arc::new(Inner { name, members, limit, ids: AtomicU64::new(IDS_FROM), allowance }))
    }

    /// How to speak of all of them.
    pub(crate) fn redactor(&self) -> Redactor {
        let redactors = self.0.members.iter().map(|member| member.dial().redactor().as_ref());
        Redactor::joined(self.0.name.clone(), redactors)
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Longest time for one request at all nodes together: a node that hangs until its limit, another one that does
    /// the same, and a quarter for the pauses that they asked for.
    pub(crate) fn limit(&self) -> Duration {
        self.0.limit.saturating_mul(9) / 4
    }

    /// How many nodes there are.
    pub(crate) fn width(&self) -> usize {
        self.0.members.len()
    }

    /// Ways to the nodes that can push, best first.
    pub(crate) fn pushing(&self) -> Vec<Dial> {
        let mut dials: Vec<_> = self.pushers().iter().map(|member| member.dial().clone()).collect();
        let down = self.0.members.iter().filter(|member| member.node().is_none() && !member.is_foreign());
        dials.extend(down.map(|member| member.dial().clone()).filter(Dial::can_push));
        dials
    }

    /// Connected nodes that can push, best first.
    pub(crate) fn pushers(&self) -> Vec<Arc<Member>> {
        let mut ranked = self.ranked(&RequestPacket::Batch(Vec::new()));
        ranked.retain(|member| member.dial().can_push());
        ranked.into()
    }

    /// Asks; see the head of this file.
    pub(crate) async fn send(&self, packet: RequestPacket) -> Result<Answered, TransportError> {
        let (packet, ids) = self.renumbered(&packet)?;
        let asked = async {
            match answer::kind(&packet) {
                Kind::Read => self.read(packet).await,
                Kind::Send => self.spread(packet).await,
                Kind::Bound => self.bound(packet).await,
            }
        };
        let mut answered = match timeout(self.limit(), asked).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(self.failed(no_answer(self.limit()))),
        };
        restore(&mut answered.packet, &ids);
        Ok(answered)
    }

    fn failed(&self, cause: String) -> TransportError {
        TransportErrorKind::custom(Failed { node: self.0.name.clone(), cause })
    }

    /// The newest block, by which lag is told: of three nodes and more the second newest that is named, so that one
    /// that boasts does not make all others lag.
    fn newest(&self) -> Option<u64> {
        let mut heads: Vec<u64> = self.0.members.iter().filter_map(|member| member.head()).collect();
        heads.sort_unstable_by(|one, other| other.cmp(one));
        heads.get(usize::from(heads.len() > 2)).copied()
    }

    /// The newest block that any other node named: what this one should have too. A boast costs one request more.
    fn named_beside(&self, member: &Arc<Member>) -> Option<u64> {
        let others = self.0.members.iter().filter(|other| !Arc::ptr_eq(other, member));
        others.filter_map(|other| other.head()).max()
    }

    fn ask(
        &self,
        member: Arc<Member>,
        packet: &RequestPacket,
        role: Role,
    ) -> impl Future<Output = Reply> + use<> {
        let newest = self.named_beside(&member);
        member.ask(packet.clone(), role, newest)
    }

    /// Connected nodes, best first; equal ones in the order in which they were configured.
    fn ranked(&self, packet: &RequestPacket) -> VecDeque<Arc<Member>> {
        let (newest, now) = (self.newest(), Instant::now());
        let rank = |member: &Arc<Member>| member.rank(packet, newest, now);
        let ranked = self.0.members.iter().filter_map(|member| rank(member).map(|rank| (rank, member)));
        let mut ranked: Vec<(Rank, &Arc<Member>)> = ranked.collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, member)| Arc::clone(member)).collect()
    }

    /// The best node, the next one where it fails, a second one where it is slow and another one is as far as it.
    async fn read(&self, packet: RequestPacket) -> Result<Answered, TransportError> {
        let mut waiting = self.ranked(&packet);
        let Some(first) = waiting.pop_front() else { return Err(self.nobody()) };
        let delay = hedge::delay(first.quantile(), self.0.limit);
        let mut patience = std::pin::pin!(tokio::time::sleep(delay));
        self.earn();
        let mut asked = FuturesUnordered::new();
        asked.push(self.ask(first, &packet, Role::First));
        let (mut may_hedge, mut kept) = (true, None);
        loop {
            tokio::select! {
                biased;
                Some(reply) = asked.next() => {
                    if matches!(reply.worth, Worth::Good | Worth::Unsendable) {
                        return settle(reply);
                    }
                    self.tell(&reply);
                    kept = Some(better(kept, reply));
                    match waiting.pop_front() {
                        Some(next) => asked.push(self.ask(next, &packet, Role::Retry)),
                        None if asked.is_empty() => break,
                        None => {}
                    }
                }
                () = &mut patience, if may_hedge && !waiting.is_empty() => {
                    // One that lags is quick to say that there is nothing new.
                    let newest = self.newest();
                    let abreast = waiting.iter().position(|member| !member.lags(newest));
                    may_hedge = abreast.is_some() && self.take();
                    if may_hedge && let Some(next) = abreast.and_then(|at| waiting.remove(at)) {
                        asked.push(self.ask(next, &packet, Role::Hedge));
                        patience.as_mut().reset(tokio::time::Instant::now() + delay);
                    }
                }
            }
        }
        kept.map_or_else(|| Err(self.nobody()), settle)
    }

    /// Every node at once; the first that accepts answers, and the others go on meanwhile, so that the transaction
    /// reaches every pool.
    async fn spread(&self, packet: RequestPacket) -> Result<Answered, TransportError> {
        let members = self.ranked(&packet);
        if self.width() == 1 {
            return self.bound(packet).await;
        }
        let (replies, mut received) = mpsc::channel(members.len().max(1));
        for (index, member) in members.into_iter().enumerate() {
            let role = if index == 0 { Role::First } else { Role::Retry };
            let (asked, replies) = (member.ask(packet.clone(), role, None), replies.clone());
            // Each ends within the time limit of its node; the channel holds all replies, so none waits.
            drop(tokio::spawn(async move { drop(replies.send(asked.await).await) }));
        }
        drop(replies);
        let mut kept = None;
        while let Some(mut reply) = received.recv().await {
            if let Ok(answered) = &mut reply.outcome {
                answer::accept_known(&packet, answered);
                if answered.is_success() {
                    return settle(reply);
                }
            }
            self.tell(&reply);
            kept = Some(better(kept, reply));
        }
        kept.map_or_else(|| Err(self.nobody()), settle)
    }

    /// The best node alone.
    async fn bound(&self, packet: RequestPacket) -> Result<Answered, TransportError> {
        let Some(best) = self.ranked(&packet).pop_front() else { return Err(self.nobody()) };
        settle(best.ask(packet, Role::First, None).await)
    }

    fn nobody(&self) -> TransportError {
        self.failed("none of its nodes is connected".to_owned())
    }

    fn tell(&self, reply: &Reply) {
        let node = reply.member.name();
        tracing::debug!(pool = self.0.name, node, worth = ?reply.worth, "another node is asked, if there is one");
    }

    fn earn(&self) {
        self.0.allowance.lock().unwrap_or_else(PoisonError::into_inner).earn();
    }

    fn take(&self) -> bool {
        self.0.allowance.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The same requests under ids of our own, and what their ids were.
    fn renumbered(&self, packet: &RequestPacket) -> Result<(RequestPacket, Vec<(Id, Id)>), TransportError> {
        let mut ids = Vec::with_capacity(packet.len());
        let mut requests = Vec::with_capacity(packet.len());
        for request in packet.requests() {
            let id = Id::Number(self.0.ids.fetch_add(1, Ordering::Relaxed));
            requests.push(renumber(request, id.clone())?);
            ids.push((id, request.id().clone()));
        }
        let packet = match (packet, requests.pop()) {
            (RequestPacket::Single(_), Some(only)) => RequestPacket::Single(only),
            (_, last) => {
                requests.extend(last);
                RequestPacket::Batch(requests)
            }
        };
        Ok((packet, ids))
    }
}

fn renumber(request: &SerializedRequest, id: Id) -> Result<SerializedRequest, TransportError> {
    let method = request.method_clone();
    let renumbered = match request.params() {
        Some(params) => Request::new(method, id, params.to_owned()).serialize(),
        None => Request::<[(); 0]>::new(method, id, []).serialize(),
    };
    renumbered.map_err(RpcError::SerError)
}

fn restore(packet: &mut ResponsePacket, ids: &[(Id, Id)]) {
    let responses = match packet {
        ResponsePacket::Single(response) => std::slice::from_mut(response),
        ResponsePacket::Batch(responses) => responses.as_mut_slice(),
    };
    for response in responses {
        if let Some((_, original)) = ids.iter().find(|(ours, _)| *ours == response.id) {
            response.id = original.clone();
        }
    }
}

fn settle(reply: Reply) -> Result<Answered, TransportError> {
    let by = Some(reply.member);
    reply.outcome.map(|packet| Answered { packet, by })
}

/// The one that says more: an answer rather than none, and of two answers the one of the better node, which came first.
fn better(kept: Option<Reply>, reply: Reply) -> Reply {
    match kept {
        Some(kept) if kept.outcome.is_ok() || reply.outcome.is_err() => kept,
        Some(_) | None => reply,
    }
}

/// The transport that alloy's client is built on.
#[derive(Debug, Clone)]
pub(crate) struct PoolTransport(pub(crate) Pool);

impl Service<RequestPacket> for PoolTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let pool = self.0.clone();
        Box::pin(async move { pool.send(packet).await.map(|answered| answered.packet) })
    }
}

impl Inner {
    pub(super) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }
}
