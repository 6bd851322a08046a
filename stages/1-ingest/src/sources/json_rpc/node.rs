//! One node: requests with a time limit, bounded retries and texts that hold no credentials.
//!
//! In: method and parameters. Out: the raw answer, or an error that names the node by scheme, host and port. Every
//! provider that is made here has the guard of [`super::guard`] in its client, so that those who take the provider
//! away have the time limit and the clean texts too. It must never let a transport's own text through unredacted.

use super::guard::{Failed, Guard, no_answer};
use super::redact::Redactor;
use crate::convert;
use crate::error::SourceError;
use crate::quantity;
use alloy_provider::{DynProvider, Provider as _, RootProvider};
use alloy_rpc_client::{BuiltInConnectionString, ClientBuilder, ConnectionConfig};
use alloy_transport::utils::guess_local_url;
use alloy_transport::{RpcError, TransportError, TransportErrorKind};
use cordon_model::units::ChainId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Attempts per request. Four with doubling pauses span about two seconds, which outlasts a rate limit counted per
/// second and a load balancer that swaps a node, and still reports an outage within one Ethereum slot.
const ATTEMPTS_MAX: u32 = 4;

/// Pause after the first failed attempt; doubled after each further one. A quarter of the second over which hosted
/// nodes count their limits.
const BACKOFF_BASE: Duration = Duration::from_millis(250);

/// Longest pause that a node may ask for with `Retry-After`. One Ethereum slot: whoever wants more is treated as
/// unreachable, so that the caller can tell people.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(12);

/// Reconnects of a websocket: without end, because a connection that gave up would stay dead until the process is
/// restarted. Requests meanwhile run into their own limits; the transport pauses up to 30 seconds between attempts.
const RECONNECTS_MAX: u32 = u32::MAX;

/// HTTP status: the server gave up waiting for the request.
const STATUS_REQUEST_TIMEOUT: u16 = 408;

/// HTTP status: too many requests.
const STATUS_TOO_MANY_REQUESTS: u16 = 429;

/// First HTTP status of the server's own faults.
const STATUS_SERVER_FAULT: u16 = 500;

/// A node, and how to speak of it.
#[derive(Debug)]
pub(super) struct Node {
    provider: DynProvider,
    redactor: Arc<Redactor>,
    timeout: Duration,
}

impl Node {
    pub(super) fn from_provider(provider: DynProvider, timeout: Duration) -> Self {
        Self { provider, redactor: Arc::new(Redactor::without_url()), timeout }
    }

    /// Makes the client. A websocket is connected, http connects with its first request.
    pub(super) async fn connect(url: &str, limit: Duration) -> Result<Self, SourceError> {
        let (url, redactor) = Redactor::for_url(url).map_err(|reason| SourceError::Url { reason })?;
        let redactor = Arc::new(redactor);
        let config = ConnectionConfig::new().with_max_retries(RECONNECTS_MAX);
        let reason = match timeout(limit, BuiltInConnectionString::connect_with(url.as_str(), config)).await {
            Ok(Ok(transport)) => {
                let guard = Guard::new(Arc::clone(&redactor), limit);
                // The builder looks for the websocket's push channel below the layer; a transport that was wrapped
                // before would hide it.
                let client =
                    ClientBuilder::default().layer(guard).transport(transport, guess_local_url(&url));
                let provider = RootProvider::new(client).erased();
                return Ok(Self { provider, redactor, timeout: limit });
            }
            Ok(Err(error)) => redactor.cause(&error),
            Err(_) => no_answer(limit),
        };
        let node = redactor.node().to_owned();
        Err(SourceError::Unreachable { node, method: "connect", attempts: 1, reason })
    }

    pub(super) fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// Scheme, host and port.
    pub(super) fn name(&self) -> &str {
        self.redactor.node()
    }

    /// Where an answer is from, for errors about it.
    pub(super) fn origin(&self, method: &str) -> String {
        format!("answer of {} to {method}", self.name())
    }

    /// A transport's error as text without credentials.
    pub(super) fn describe(&self, error: &TransportError) -> String {
        match error {
            // The node is named around it, so its cause is enough.
            RpcError::Transport(TransportErrorKind::Custom(custom)) if custom.is::<Failed>() => {
                custom.downcast_ref::<Failed>().map(|failed| failed.cause.clone()).unwrap_or_default()
            }
            error => self.redactor.chain(error),
        }
    }

    /// The chain that the node serves.
    pub(super) async fn chain_id(&self) -> Result<ChainId, SourceError> {
        let answer = self.request("eth_chainId", &()).await?;
        let origin = self.origin("eth_chainId");
        let text: String = convert::read_json(answer.get().as_bytes(), &origin)?;
        let number = quantity::parse(&text).and_then(|number| u64::try_from(number).ok());
        number.map(ChainId).ok_or_else(|| {
            let reason = "expected a chain id as a 0x-prefixed number of 64 bits".to_owned();
            SourceError::Malformed { origin, reason }
        })
    }

    /// Asks, and asks again where that can help.
    pub(super) async fn request(
        &self,
        method: &'static str,
        params: &(impl Serialize + Sync),
    ) -> Result<Box<RawValue>, SourceError> {
        let refused = |reason: String| SourceError::Refused { node: self.name().to_owned(), method, reason };
        // A method without parameters takes an empty list; JSON's unit would be null.
        let params = to_raw_value(params).map_err(|error| refused(error.to_string()))?;
        let params = if params.get() == "null" { RawValue::from_string("[]".to_owned()) } else { Ok(params) }
            .map_err(|error| refused(error.to_string()))?;
        let mut pause = BACKOFF_BASE;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (reason, wanted_pause) =
                match timeout(self.timeout, self.provider.raw_request_dyn(method.into(), &params)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Err(_) => (no_answer(self.timeout), None),
                    Ok(Err(error)) => match retry(&error) {
                        Retry::Useless => return Err(refused(self.describe(&error))),
                        Retry::After(wanted) => (self.describe(&error), wanted),
                    },
                };
            if attempts >= ATTEMPTS_MAX || wanted_pause.is_some_and(|wanted| wanted > RETRY_AFTER_MAX) {
                return Err(SourceError::Unreachable {
                    node: self.name().to_owned(),
                    method,
                    attempts,
                    reason,
                });
            }
            tracing::debug!(node = self.name(), method, attempts, reason, "request failed, trying again");
            tokio::time::sleep(pause.max(wanted_pause.unwrap_or_default())).await;
            pause = pause.saturating_mul(2);
        }
    }
}

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
