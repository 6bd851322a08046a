//! One node of a pool: its connection, its health, its budget and its numbers.
//!
//! In: packets of requests. Out: what became of them, with health and numbers kept. It must never send a request to a
//! node whose chain was not checked.

use super::answer::{self, Worth};
use super::budget::Budget;
use super::counters::{NodeCounts, Role, Tally};
use super::health::{Health, Rest};
use crate::error::SourceError;
use crate::sources::json_rpc::dial::Dial;
use crate::sources::json_rpc::guard::Failed;
use crate::sources::json_rpc::node::{self, Node};
use alloy_json_rpc::{RequestPacket, ResponsePacket};
use alloy_transport::{TransportErrorKind, TransportResult};
use cordon_model::units::ChainId;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tower::Service as _;

/// Methods of which it is remembered that a node does not offer them; nodes lack a handful of those in use here.
const UNSUPPORTED_MAX: usize = 32;

/// One node of a pool.
#[derive(Debug)]
pub(crate) struct Member {
    name: String,
    dial: Dial,
    chain_id: ChainId,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    link: Link,
    health: Health,
    budget: Budget,
    tally: Tally,
    unsupported: BTreeSet<String>,
}

/// Whether there is a connection.
#[derive(Debug, Clone)]
enum Link {
    /// Connected, and its chain was checked.
    Up(Arc<Node>),
    /// It could not be reached; it is tried again.
    Down,
    /// It serves another chain; it is never asked.
    Foreign,
}

/// How a member stands among others; smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// It lacks the method, asked to be left alone, fails, or gave a wrong answer.
    resting: bool,
    /// Its budget is used up, or its pause has to be waited for.
    wait: Duration,
    /// What asking it is expected to cost.
    cost_ms: u64,
}

/// What became of a request at one node.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) member: Arc<Member>,
    pub(crate) outcome: TransportResult<ResponsePacket>,
    pub(crate) worth: Worth,
}

impl Member {
    pub(crate) fn new(
        name: Option<String>,
        dial: Dial,
        chain_id: ChainId,
        max_requests_per_s: Option<NonZeroU32>,
    ) -> Self {
        let name = name.unwrap_or_else(|| dial.redactor().node().to_owned());
        let state = State {
            link: Link::Down,
            health: Health::default(),
            budget: Budget::new(max_requests_per_s),
            tally: Tally::default(),
            unsupported: BTreeSet::new(),
        };
        Self { name, dial, chain_id, state: Mutex::new(state) }
    }

    /// As the operator named it, else scheme, host and port.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn dial(&self) -> &Dial {
        &self.dial
    }

    /// The connection, where there is one.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        if let Link::Up(node) = &self.state().link { Some(Arc::clone(node)) } else { None }
    }

    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self.state().link, Link::Foreign)
    }

    pub(crate) fn is_failing(&self) -> bool {
        let state = self.state();
        !matches!(state.link, Link::Up(_)) || state.health.is_failing()
    }

    pub(crate) fn counts(&self) -> NodeCounts {
        self.state().tally.counts(&self.name)
    }

    pub(crate) fn head(&self) -> Option<u64> {
        self.state().health.head()
    }

    /// It gave this block, so it has come that far at least.
    pub(crate) fn reached(&self, number: u64) {
        let mut state = self.state();
        if state.health.head().is_none_or(|head| head < number) {
            state.health.saw_head(number);
        }
    }

    /// Its answer was proved wrong; it is asked last for a while.
    pub(crate) fn distrust(&self, reason: &str) {
        tracing::warn!(node = self.name, reason, "node gave a wrong answer; others are asked before it");
        let mut state = self.state();
        state.tally.was_wrong();
        state.health.distrusted(Instant::now());
    }

    /// Connects and checks the chain, where that was not done. True where it is up.
    ///
    /// # Errors
    /// It cannot be reached, or serves another chain.
    pub(crate) async fn raise(&self) -> Result<(), SourceError> {
        if self.node().is_some() {
            return Ok(());
        }
        let node = Node::dial(&self.dial).await?;
        let request = RequestPacket::Single(node.prepare("eth_chainId", &())?);
        self.note(request.method_names(), Role::First);
        let text = node.read_single("eth_chainId", call(&node, request).await)?;
        let found = ChainId(node::read_number(&text, &node.origin("eth_chainId"), "a chain id")?);
        if found != self.chain_id {
            self.state().link = Link::Foreign;
            let (node, expected) = (self.name.clone(), self.chain_id);
            return Err(SourceError::WrongChainId { node, expected, found });
        }
        self.state().link = Link::Up(Arc::new(node));
        Ok(())
    }

    /// How it stands for these requests; `None` where it cannot be asked at all.
    pub(crate) fn rank(&self, packet: &RequestPacket, newest: Option<u64>, now: Instant) -> Option<Rank> {
        let state = self.state();
        if !matches!(state.link, Link::Up(_)) {
            return None;
        }
        let lacks = packet.method_names().any(|method| state.unsupported.contains(method));
        let pause = match state.health.rest(now) {
            Some((Rest::Limited, left)) => left,
            Some((Rest::Failing | Rest::Distrusted, _)) | None => Duration::ZERO,
        };
        Some(Rank {
            resting: lacks || state.health.rest(now).is_some(),
            wait: state.budget.wait(now).max(pause),
            cost_ms: state.health.cost_ms(newest, self.dial.limit()),
        })
    }

    /// After which delay another node is worth asking.
    pub(crate) fn quantile(&self) -> Option<Duration> {
        self.state().health.quantile()
    }

    pub(crate) fn lags(&self, newest: Option<u64>) -> bool {
        self.state().health.lag_blocks(newest) > 0
    }

    /// Asks, once the budget and its own wishes allow it; `newest` is the newest block that another node named.
    pub(crate) async fn ask(
        self: Arc<Self>,
        packet: RequestPacket,
        role: Role,
        newest: Option<u64>,
    ) -> Reply {
        let (node, wait) = match self.admit(&packet) {
            Ok(admitted) => admitted,
            // Nothing was asked, so nothing was learnt.
            Err(error) => return Reply { member: self, outcome: Err(error), worth: Worth::Failed },
        };
        tokio::time::sleep(wait).await;
        self.note(packet.method_names(), role);
        let race = Race { member: &self, begun: Instant::now(), running: true };
        let outcome = call(&node, packet.clone()).await;
        let latency = race.finish();
        let worth = answer::worth(&packet, &outcome, newest);
        self.learn(&packet, &outcome, worth, latency);
        Reply { member: self, outcome, worth }
    }

    /// One question to this node alone, within its budget.
    pub(crate) async fn question(
        self: &Arc<Self>,
        method: &'static str,
        params: &(impl Serialize + Sync),
    ) -> Result<Box<RawValue>, SourceError> {
        let Some(node) = self.node() else {
            let (node, reason) = (self.name.clone(), "it is not connected".to_owned());
            return Err(SourceError::Unreachable { node, method, attempts: 0, reason });
        };
        let packet = RequestPacket::Single(node.prepare(method, params)?);
        let reply = Arc::clone(self).ask(packet, Role::First, None).await;
        node.read_single(method, reply.outcome)
    }

    /// The connection, and how long to wait before it is used. Waiting is bounded by the time limit of a request, so
    /// that a budget that is used up is an error and not a queue without end.
    fn admit(&self, packet: &RequestPacket) -> TransportResult<(Arc<Node>, Duration)> {
        let (now, limit) = (Instant::now(), self.dial.limit());
        let mut state = self.state();
        let Link::Up(node) = &state.link else { return Err(self.cannot("it is not connected".to_owned())) };
        let node = Arc::clone(node);
        let pause = match state.health.rest(now) {
            Some((Rest::Limited, left)) => left,
            Some((Rest::Failing | Rest::Distrusted, _)) | None => Duration::ZERO,
        };
        let wait = pause.max(state.budget.wait(now));
        if wait > limit {
            return Err(self.cannot(format!("it may be asked again in {} ms", wait.as_millis())));
        }
        Ok((node, pause.max(state.budget.take(now, packet.len()))))
    }

    fn cannot(&self, cause: String) -> alloy_transport::TransportError {
        TransportErrorKind::custom(Failed { node: self.name.clone(), cause })
    }

    fn learn(
        &self,
        packet: &RequestPacket,
        outcome: &TransportResult<ResponsePacket>,
        worth: Worth,
        latency: Duration,
    ) {
        let now = Instant::now();
        let mut state = self.state();
        if worth != Worth::Good {
            state.tally.failed(packet.method_names());
        }
        match worth {
            Worth::Unsendable => {}
            Worth::Good | Worth::Lacks => state.health.answered(latency),
            Worth::Unsupported => {
                state.health.answered(latency);
                if let Some(single) = packet.as_single()
                    && state.unsupported.len() < UNSUPPORTED_MAX
                {
                    state.unsupported.insert(single.method().to_owned());
                }
            }
            Worth::Limited(wanted) => state.health.limited(now, wanted),
            Worth::Failed => {
                state.health.failed(now);
                // The connection's task is gone for good; it is dialled again.
                if outcome.as_ref().is_err_and(|error| {
                    error.as_transport_err().is_some_and(TransportErrorKind::is_backend_gone)
                }) {
                    state.link = Link::Down;
                }
            }
        }
        if let Ok(answered) = outcome
            && let Some(number) = answer::head_in(packet, answered)
        {
            state.health.saw_head(number);
        }
    }

    fn note<'a>(&self, methods: impl Iterator<Item = &'a str>, role: Role) {
        self.state().tally.asked(methods, role);
    }

    /// The state holds plain numbers, so what a panicking thread left is still usable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn call(node: &Node, packet: RequestPacket) -> TransportResult<ResponsePacket> {
    let mut transport = node.transport();
    std::future::poll_fn(|context| transport.poll_ready(context)).await?;
    transport.call(packet).await
}

/// Notes the latency of a request, also of one that is given up because another node was faster.
struct Race<'a> {
    member: &'a Member,
    begun: Instant,
    running: bool,
}

impl Race<'_> {
    fn finish(mut self) -> Duration {
        self.running = false;
        self.begun.elapsed()
    }
}

impl Drop for Race<'_> {
    fn drop(&mut self) {
        if self.running {
            self.member.state().health.outrun(self.begun.elapsed());
        }
    }
}
