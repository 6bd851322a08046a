//! One node: requests with a time limit, bounded retries and texts that hold no credentials.
//!
//! In: method and parameters. Out: the raw answer, or an error that names the node by scheme, host and port. It must
//! never let a transport's own text through unredacted, because transports print whole urls.

use crate::error::SourceError;
use alloy_provider::{DynProvider, Provider as _, RootProvider};
use alloy_rpc_client::{ClientBuilder, ConnectionConfig};
use alloy_transport::{RpcError, TransportError, TransportErrorKind};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::error::Error;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;
use url::Url;

/// Attempts per request. Four with doubling pauses span about two seconds, which outlasts a rate limit counted per
/// second and a load balancer that swaps a node, and still reports an outage within one Ethereum slot.
const ATTEMPTS_MAX: u32 = 4;

/// Pause after the first failed attempt; doubled after each further one. A quarter of the second over which hosted
/// nodes count their limits.
const BACKOFF_BASE: Duration = Duration::from_millis(250);

/// Longest pause that a node may ask for with `Retry-After`. One Ethereum slot: whoever wants more is treated as
/// unreachable, so that the caller can tell people.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(12);

/// Longest foreign text that an error carries; nodes answer whole HTML pages.
const REASON_CHARS_MAX: usize = 300;

/// Shortest piece of a url's path that is treated as a key. Shorter pieces are words such as `v3` or `rpc`, whose
/// removal would garble unrelated text; known keys have 16 characters and more.
const KEY_CHARS_MIN: usize = 8;

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
pub(super) struct Node {
    provider: DynProvider,
    name: String,
    secrets: Vec<String>,
    timeout: Duration,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Node {
    pub(super) fn from_provider(provider: DynProvider, timeout: Duration) -> Self {
        Self { provider, name: "given by the caller".to_owned(), secrets: Vec::new(), timeout }
    }

    pub(super) async fn connect(url: &str, limit: Duration) -> Result<Self, SourceError> {
        let unusable = |reason: String| SourceError::Url { reason };
        let url = Url::parse(url).map_err(|error| unusable(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") {
            return Err(unusable(format!("its scheme is '{}'", url.scheme())));
        }
        let host = url.host_str().ok_or_else(|| unusable("it has no host".to_owned()))?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let name = format!("{}://{host}{port}", url.scheme());
        let secrets = secrets(&url);
        let config = ConnectionConfig::new().with_max_retries(RECONNECTS_MAX);
        let client = ClientBuilder::default().connect_with_config(url.as_str(), config);
        let reason = match timeout(limit, client).await {
            Ok(Ok(client)) => {
                let provider = RootProvider::new(client).erased();
                return Ok(Self { provider, name, secrets, timeout: limit });
            }
            Ok(Err(error)) => redact(&chain(&error), &secrets),
            Err(_) => no_answer(limit),
        };
        Err(SourceError::Unreachable { node: name, method: "connect", attempts: 1, reason })
    }

    pub(super) fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// Scheme, host and port.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where an answer is from, for errors about it.
    pub(super) fn origin(&self, method: &str) -> String {
        format!("answer of {} to {method}", self.name)
    }

    /// A transport's error as text without credentials.
    pub(super) fn describe(&self, error: &TransportError) -> String {
        redact(&chain(error), &self.secrets)
    }

    /// Asks, and asks again where that can help.
    pub(super) async fn request(
        &self,
        method: &'static str,
        params: &(impl Serialize + Sync),
    ) -> Result<Box<RawValue>, SourceError> {
        let refused = |reason: String| SourceError::Refused { node: self.name.clone(), method, reason };
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
                return Err(SourceError::Unreachable { node: self.name.clone(), method, attempts, reason });
            }
            tracing::debug!(node = self.name, method, attempts, reason, "request failed, trying again");
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

fn no_answer(limit: Duration) -> String {
    format!("no answer within {} ms", limit.as_millis())
}

/// An error with its causes, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let line = next.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = next.source();
    }
    text
}

/// Pieces of a url that may be credentials, longest first.
fn secrets(url: &Url) -> Vec<String> {
    let mut pieces = vec![url.as_str().to_owned(), url.as_str().trim_end_matches('/').to_owned()];
    let words = [Some(url.username()), url.password(), url.query()];
    pieces.extend(words.into_iter().flatten().map(str::to_owned));
    pieces.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    let segments = url.path_segments().into_iter().flatten();
    pieces.extend(segments.filter(|segment| segment.len() >= KEY_CHARS_MIN).map(str::to_owned));
    pieces.retain(|piece| !piece.is_empty());
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    pieces
}

fn redact(text: &str, secrets: &[String]) -> String {
    let clean = secrets.iter().fold(without_urls(text), |text, secret| text.replace(secret, "[redacted]"));
    clean.chars().take(REASON_CHARS_MAX).collect()
}

/// Removes whatever looks like a url: that of a provider which the caller made is not known here.
fn without_urls(text: &str) -> String {
    let ends_word =
        |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '\'' | '<' | '>' | ',' | '`');
    let word = |word: &str| {
        let trimmed = word.trim_end_matches(ends_word);
        let end = word.get(trimmed.len()..).unwrap_or_default();
        if trimmed.contains("://") { format!("[url]{end}") } else { word.to_owned() }
    };
    text.split_inclusive(ends_word).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_any_place_of_a_url_are_removed() {
        let url = Url::parse("https://ann:s3cret@node.example/v3/0123456789abcdef?token=tok99").unwrap();
        let secrets = secrets(&url);
        let text =
            format!("error for url ({url}): bad key 0123456789abcdef, token tok99 of ann, pass s3cret");
        let clean = redact(&text, &secrets);
        assert_eq!(
            clean,
            "error for url ([url]): bad key [redacted], token [redacted] of [redacted], pass [redacted]"
        );
    }

    #[test]
    fn urls_of_foreign_providers_are_removed_too() {
        let clean = redact("error sending request for url (https://node.example/key): refused", &[]);
        assert_eq!(clean, "error sending request for url ([url]): refused");
    }

    #[test]
    fn long_answers_are_cut() {
        assert_eq!(redact(&"x".repeat(10_000), &[]).len(), REASON_CHARS_MAX);
    }
}
