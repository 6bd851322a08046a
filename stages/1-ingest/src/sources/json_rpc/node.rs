//! One node, or a pool of them: requests with bounded retries and texts that hold no credentials.
//!
//! In: method and parameters. Out: the raw answer and who gave it, or an error that names the node by scheme, host and
//! port. It must never let a transport's own text through unredacted.

use super::dial::Dial;
use super::guard::{Failed, no_answer};
use super::redact::Redactor;
use crate::convert;
use crate::error::SourceError;
use crate::providers::answer;
use crate::providers::member::Member;
use crate::providers::pool::Pool;
use crate::quantity;
use alloy_json_rpc::{
    ErrorPayload, Id, Request, RequestPacket, ResponsePacket, ResponsePayload, SerializedRequest,
};
use alloy_provider::{DynProvider, Provider as _, RootProvider};
use alloy_transport::{BoxTransport, RpcError, TransportError, TransportErrorKind, TransportResult};
use cordon_model::units::ChainId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tower::Service as _;

/// Attempts per request. Four with doubling pauses span about two seconds, which outlasts a rate limit counted per
/// second and a load balancer that swaps a node, and still reports an outage within one Ethereum slot.
pub(crate) const ATTEMPTS_MAX: u32 = 4;

/// Pause after the first failed attempt; doubled after each further one. A quarter of the second over which hosted
/// nodes count their limits.
pub(crate) const BACKOFF_BASE: Duration = Duration::from_millis(250);

/// Longest pause that a node may ask for with `Retry-After`. One Ethereum slot: whoever wants more is treated as
/// unreachable, so that the caller can tell people.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(12);

/// HTTP status: the server gave up waiting for the request.
const STATUS_REQUEST_TIMEOUT: u16 = 408;

/// HTTP status: too many requests.
const STATUS_TOO_MANY_REQUESTS: u16 = 429;

/// First HTTP status of the server's own faults.
const STATUS_SERVER_FAULT: u16 = 500;

/// A node, and how to speak of it.
#[derive(Debug)]
pub(crate) struct Node {
    provider: DynProvider,
    redactor: Arc<Redactor>,
    timeout: Duration,
    line: Line,
}

/// What stands behind a node's provider.
#[derive(Debug)]
enum Line {
    /// A provider that the caller made.
    Given,
    /// A connection of our own.
    Dialled(Dial),
    /// Several nodes that answer as one.
    Pooled(Pool),
}

/// An answer, and who gave it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What JSON-RPC calls the result.
    pub(crate) text: Box<RawValue>,
    /// The node of the pool, where there is one.
    pub(crate) by: Option<Arc<Member>>,
}

impl Node {
    pub(crate) fn from_provider(provider: DynProvider, timeout: Duration) -> Self {
        Self { provider, redactor: Arc::new(Redactor::without_url()), timeout, line: Line::Given }
    }

    /// Connects with a time limit; see [`Dial::client`].
    pub(crate) async fn connect(url: &str, limit: Duration) -> Result<Self, SourceError> {
        Self::dial(&Dial::new(url, limit)?).await
    }

    /// Makes a connection of its own.
    pub(crate) async fn dial(dial: &Dial) -> Result<Self, SourceError> {
        let provider = RootProvider::new(dial.client().await?).erased();
        let redactor = Arc::clone(dial.redactor());
        Ok(Self { provider, redactor, timeout: dial.limit(), line: Line::Dialled(dial.clone()) })
    }

    /// Several nodes as one. The pool ends each request by itself; its limit here is only the last resort.
    pub(crate) fn pooled(provider: DynProvider, pool: Pool) -> Self {
        let redactor = Arc::new(pool.redactor());
        Self { provider, redactor, timeout: pool.limit(), line: Line::Pooled(pool) }
    }

    pub(crate) fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// The connection below the provider.
    pub(crate) fn transport(&self) -> BoxTransport {
        self.provider.client().transport().clone()
    }

    /// Ways to nodes that can push, best first; empty where pushes come over the provider itself or not at all.
    pub(crate) fn pushing(&self) -> Vec<Dial> {
        match &self.line {
            Line::Given => Vec::new(),
            Line::Dialled(dial) => Some(dial.clone()).filter(Dial::can_push).into_iter().collect(),
            Line::Pooled(pool) => pool.pushing(),
        }
    }

    /// True for a provider that the caller made.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self.line, Line::Given)
    }

    /// Open connections that can push, best first, with the node of the pool where there is one.
    pub(crate) fn pushers(&self) -> Vec<(DynProvider, Option<Arc<Member>>)> {
        if let Line::Pooled(pool) = &self.line {
            let provider =
                |member: &Arc<Member>| Some((member.node()?.provider.clone(), Some(Arc::clone(member))));
            return pool.pushers().iter().filter_map(provider).collect();
        }
        let can_push = self.provider.client().pubsub_frontend().is_some();
        can_push.then(|| (self.provider.clone(), None)).into_iter().collect()
    }

    /// How many nodes may be asked for the same thing.
    pub(crate) fn width(&self) -> usize {
        if let Line::Pooled(pool) = &self.line { pool.width() } else { 1 }
    }

    /// Scheme, host and port.
    pub(crate) fn name(&self) -> &str {
        self.redactor.node()
    }

    /// Where an answer is from, for errors about it.
    pub(crate) fn origin(&self, method: &str) -> String {
        format!("answer of {} to {method}", self.name())
    }

    /// Where this answer is from.
    pub(crate) fn origin_of(&self, answer: &Answer, method: &str) -> String {
        let name = answer.by.as_ref().map_or(self.name(), |member| member.name());
        format!("answer of {name} to {method}")
    }

    /// A transport's error as text without credentials.
    pub(crate) fn describe(&self, error: &TransportError) -> String {
        match error {
            // The node is named around it, so its cause is enough; the nodes of a pool are not named around it.
            RpcError::Transport(TransportErrorKind::Custom(custom)) if custom.is::<Failed>() => {
                let failed = custom.downcast_ref::<Failed>();
                let text = |failed: &Failed| match self.line {
                    Line::Pooled(_) => failed.to_string(),
                    Line::Given | Line::Dialled(_) => failed.cause.clone(),
                };
                failed.map(text).unwrap_or_default()
            }
            error => self.redactor.chain(error),
        }
    }

    /// The chain that the node serves.
    pub(crate) async fn chain_id(&self) -> Result<ChainId, SourceError> {
        let answer = self.request("eth_chainId", &()).await?;
        read_number(&answer.text, &self.origin_of(&answer, "eth_chainId"), "a chain id").map(ChainId)
    }

    /// Number of the newest block, asked for once; `None` where there is no answer.
    pub(crate) async fn block_number_once(&self) -> Option<u64> {
        let request = self.prepare("eth_blockNumber", &()).ok()?;
        let outcome = self.send(RequestPacket::Single(request)).await.map(|(packet, _)| packet);
        let text = self.read_single("eth_blockNumber", outcome).ok()?;
        read_number(&text, &self.origin("eth_blockNumber"), "a block number").ok()
    }

    /// Asks, and asks again where that can help.
    pub(crate) async fn request(
        &self,
        method: &'static str,
        params: &(impl Serialize + Sync),
    ) -> Result<Answer, SourceError> {
        let request = self.prepare(method, params)?;
        self.attempt(method, request).await
    }

    /// Asks the same method of many parameters in one packet; the answers stand in the order of the parameters, and an
    /// error response to one of them stands for that one alone.
    pub(crate) async fn batch(
        &self,
        method: &'static str,
        params: &[impl Serialize + Sync],
    ) -> Result<Vec<Result<Box<RawValue>, SourceError>>, SourceError> {
        let requests = params.iter().map(|params| self.prepare(method, params));
        let requests = requests.collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<Id> = requests.iter().map(|request| request.id().clone()).collect();
        let sent = self.send(RequestPacket::Batch(requests)).await;
        let (packet, _) = sent.map_err(|error| self.unreachable(method, 1, self.describe(&error)))?;
        let answered = |id: &Id| packet.responses().iter().find(|response| response.id == *id);
        let read = |id: &Id| match answered(id).map(|response| &response.payload) {
            Some(ResponsePayload::Success(text)) => Ok(text.clone()),
            Some(ResponsePayload::Failure(error)) => Err(self.refusal(method, error.clone())),
            None => Err(self.refused(method, "no answer to one request of a batch".to_owned())),
        };
        Ok(ids.iter().map(read).collect())
    }

    fn unreachable(&self, method: &'static str, attempts: u32, reason: String) -> SourceError {
        SourceError::Unreachable { node: self.name().to_owned(), method, attempts, reason }
    }

    fn refused(&self, method: &'static str, reason: String) -> SourceError {
        SourceError::Refused { node: self.name().to_owned(), method, reason }
    }

    /// What a node's error response means for whoever asked.
    fn refusal(&self, method: &'static str, error: ErrorPayload) -> SourceError {
        if answer::is_unsupported(&error) {
            return SourceError::Unsupported { node: self.name().to_owned(), method };
        }
        self.refused(method, self.describe(&RpcError::ErrorResp(error)))
    }

    /// What one answer to one request says.
    pub(crate) fn read_single(
        &self,
        method: &'static str,
        outcome: TransportResult<ResponsePacket>,
    ) -> Result<Box<RawValue>, SourceError> {
        match outcome {
            Ok(ResponsePacket::Single(response)) => match response.payload {
                ResponsePayload::Success(text) => Ok(text),
                ResponsePayload::Failure(error) => Err(self.refusal(method, error)),
            },
            Ok(ResponsePacket::Batch(_)) => Err(self.refused(method, NOT_ONE.to_owned())),
            Err(error) => Err(self.unreachable(method, 1, self.describe(&error))),
        }
    }

    /// A request under an id of this connection.
    pub(crate) fn prepare(
        &self,
        method: &'static str,
        params: &(impl Serialize + Sync),
    ) -> Result<SerializedRequest, SourceError> {
        let unwritable = |error: serde_json::Error| self.refused(method, error.to_string());
        let params = to_raw_value(params).map_err(unwritable)?;
        // A method without parameters takes an empty list; JSON's unit would be null.
        let params = if params.get() == "null" { RawValue::from_string("[]".to_owned()) } else { Ok(params) };
        let id = self.provider.client().next_id();
        Request::new(method, id, params.map_err(unwritable)?).serialize().map_err(unwritable)
    }

    /// One attempt. The time limit stands here too, for providers that the caller made.
    async fn send(
        &self,
        packet: RequestPacket,
    ) -> Result<(ResponsePacket, Option<Arc<Member>>), TransportError> {
        let sent = async {
            if let Line::Pooled(pool) = &self.line {
                return pool.send(packet).await.map(|answered| (answered.packet, answered.by));
            }
            let mut transport = self.transport();
            std::future::poll_fn(|context| transport.poll_ready(context)).await?;
            transport.call(packet).await.map(|packet| (packet, None))
        };
        match timeout(self.timeout, sent).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let (node, cause) = (self.name().to_owned(), no_answer(self.timeout));
                Err(TransportErrorKind::custom(Failed { node, cause }))
            }
        }
    }

    async fn attempt(&self, method: &'static str, request: SerializedRequest) -> Result<Answer, SourceError> {
        let mut pause = BACKOFF_BASE;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.send(RequestPacket::Single(request.clone())).await {
                Ok((ResponsePacket::Single(response), by)) => match response.payload {
                    ResponsePayload::Success(text) => return Ok(Answer { text, by }),
                    ResponsePayload::Failure(error) if error.is_retry_err() => RpcError::ErrorResp(error),
                    ResponsePayload::Failure(error) => return Err(self.refusal(method, error)),
                },
                Ok((ResponsePacket::Batch(_), _)) => TransportErrorKind::custom_str(NOT_ONE),
                Err(error) => error,
            };
            let reason = self.describe(&error);
            let wanted_pause = match retry(&error) {
                Retry::Useless => return Err(self.refused(method, reason)),
                Retry::After(wanted) => wanted,
            };
            if attempts >= ATTEMPTS_MAX || wanted_pause.is_some_and(|wanted| wanted > RETRY_AFTER_MAX) {
                return Err(self.unreachable(method, attempts, reason));
            }
            tracing::debug!(node = self.name(), method, attempts, reason, "request failed, trying again");
            tokio::time::sleep(pause.max(wanted_pause.unwrap_or_default())).await;
            pause = pause.saturating_mul(2);
        }
    }
}

impl Answer {
    /// True where the node has nothing by that name.
    pub(crate) fn is_null(&self) -> bool {
        is_null(&self.text)
    }
}

/// Reads a number of 64 bits.
pub(crate) fn read_number(text: &RawValue, origin: &str, what: &str) -> Result<u64, SourceError> {
    let text: String = convert::read_json(text.get().as_bytes(), origin)?;
    let number = quantity::parse(&text).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| {
        let reason = format!("expected {what} as a 0x-prefixed number of 64 bits");
        SourceError::Malformed { origin: origin.to_owned(), reason }
    })
}

/// True where the node has nothing by that name.
pub(crate) fn is_null(text: &RawValue) -> bool {
    text.get().trim() == "null"
}

/// Said of a node that answers one request with a list.
const NOT_ONE: &str = "a list of answers came for one request";

/// Whether the same request can succeed later.
enum Retry {
    Useless,
    After(Option<Duration>),
}

fn retry(error: &TransportError) -> Retry {
    match error {
        RpcError::ErrorResp(payload) if payload.is_retry_err() => Retry::After(None),
        RpcError::Transport(kind) => match (kind, kind.as_http_error()) {
            (TransportErrorKind::NonRetryable(_) | TransportErrorKind::PubsubUnavailable, _) => {
                Retry::Useless
            }
            (_, Some(http)) => {
                let passing = http.status >= STATUS_SERVER_FAULT
                    || http.status == STATUS_TOO_MANY_REQUESTS
                    || http.status == STATUS_REQUEST_TIMEOUT;
                if passing { Retry::After(kind.retry_after()) } else { Retry::Useless }
            }
            (_, None) => Retry::After(None),
        },
        // Balancers answer with pages of their own while they swap nodes.
        RpcError::DeserError { .. } | RpcError::NullResp => Retry::After(None),
        RpcError::ErrorResp(_)
        | RpcError::UnsupportedFeature(_)
        | RpcError::LocalUsageError(_)
        | RpcError::SerError(_) => Retry::Useless,
    }
}
