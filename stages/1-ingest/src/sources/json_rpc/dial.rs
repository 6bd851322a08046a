//! How a node is reached: over http, a websocket, or a socket of this machine.
//!
//! In: what the operator wrote. Out: a client with the guard of [`super::guard`] in it, so that those who take its
//! provider away have the time limit and the clean texts too. It keeps the url for further connections to the same
//! node, and must never show it.

use super::guard::{Guard, no_answer};
use super::redact::Redactor;
use crate::error::SourceError;
use alloy_pubsub::{ConnectionHandle, PubSubConnect};
use alloy_rpc_client::{BuiltInConnectionString, ClientBuilder, ConnectionConfig, RpcClient};
use alloy_transport::{TransportConnect as _, TransportResult};
use alloy_transport_ipc::IpcConnect;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use url::Url;

/// Reconnects of a connection that is held open: without end, because one that gave up would stay dead until the
/// process is restarted. Requests meanwhile run into their own limits; the transport pauses up to 30 seconds between
/// attempts.
const RECONNECTS_MAX: u32 = u32::MAX;

/// Pause before a socket of this machine is connected again: a node that restarts is back within seconds, and looking
/// costs one system call.
const SOCKET_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The way to one node.
#[derive(Clone)]
pub(crate) struct Dial {
    target: BuiltInConnectionString,
    redactor: Arc<Redactor>,
    limit: Duration,
    reconnects: u32,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("redactor", &self.redactor)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Dial {
    /// Reads an url, or the absolute path of a socket. `limit` bounds connecting and each request.
    pub(crate) fn new(url: &str, limit: Duration) -> Result<Self, SourceError> {
        if let Some(path) = socket_path(url)? {
            let redactor = Arc::new(Redactor::for_socket(path));
            return Ok(Self {
                target: BuiltInConnectionString::Ipc(path.to_owned()),
                redactor,
                limit,
                reconnects: RECONNECTS_MAX,
            });
        }
        let (url, redactor) = Redactor::for_url(url).map_err(unusable)?;
        let target = target(&url).ok_or_else(|| unusable("its scheme is another one".to_owned()))?;
        Ok(Self { target, redactor: Arc::new(redactor), limit, reconnects: RECONNECTS_MAX })
    }

    /// The same way, for a connection that ends where it is lost.
    pub(crate) fn without_reconnects(&self) -> Self {
        Self { reconnects: 1, ..self.clone() }
    }

    /// How to speak of the node.
    pub(crate) fn redactor(&self) -> &Arc<Redactor> {
        &self.redactor
    }

    /// Longest time for connecting and for each request.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// True where the node can push.
    pub(crate) fn can_push(&self) -> bool {
        !matches!(self.target, BuiltInConnectionString::Http(_))
    }

    /// True where the node seems to run on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.target.is_local()
    }

    /// True where both lead to the same place, so that one node is not taken for two.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.target == other.target
    }

    /// Makes a client. Websockets and local sockets are connected; http connects with its first request.
    pub(crate) async fn client(&self) -> Result<RpcClient, SourceError> {
        let reason = match timeout(self.limit, self.connect()).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) => self.redactor.cause(&error),
            Err(_) => no_answer(self.limit),
        };
        let node = self.redactor.node().to_owned();
        Err(SourceError::Unreachable { node, method: "connect", attempts: 1, reason })
    }

    async fn connect(&self) -> TransportResult<RpcClient> {
        let guard = Guard::new(Arc::clone(&self.redactor), self.limit);
        // The builder looks for the push channel below the layer; a transport that was wrapped before would hide it.
        let builder = ClientBuilder::default().layer(guard);
        if let BuiltInConnectionString::Ipc(path) = &self.target {
            let connect = IpcConnect::new(path.clone());
            let socket = Socket { connect, reconnects: self.reconnects }.into_service().await?;
            return Ok(builder.transport(socket, true));
        }
        let config = ConnectionConfig::new().with_max_retries(self.reconnects);
        let transport = self.target.connect_boxed_with(config).await?;
        Ok(builder.transport(transport, self.is_local()))
    }
}

/// A local socket that is connected again without end; alloy's own gives up after ten attempts.
#[derive(Debug)]
struct Socket {
    connect: IpcConnect<PathBuf>,
    reconnects: u32,
}

impl PubSubConnect for Socket {
    fn is_local(&self) -> bool {
        true
    }

    async fn connect(&self) -> TransportResult<ConnectionHandle> {
        let handle = self.connect.connect().await?;
        Ok(handle.with_max_retries(self.reconnects).with_retry_interval(SOCKET_RETRY_INTERVAL))
    }
}

fn unusable(reason: String) -> SourceError {
    SourceError::Url { reason }
}

fn target(url: &Url) -> Option<BuiltInConnectionString> {
    let text = url.as_str();
    match url.scheme() {
        "http" | "https" => BuiltInConnectionString::try_as_http(text).ok(),
        "ws" | "wss" => BuiltInConnectionString::try_as_ws(text).ok(),
        _ => None,
    }
}

/// The path of `ipc:///path` or of a bare absolute path; `None` for everything else.
fn socket_path(url: &str) -> Result<Option<&Path>, SourceError> {
    let path = match url.strip_prefix("ipc://") {
        Some(path) => Path::new(path),
        None if url.starts_with('/') => Path::new(url),
        None => return Ok(None),
    };
    if path.is_absolute() {
        Ok(Some(path))
    } else {
        Err(unusable("the path of its socket is not absolute".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(url: &str) -> Result<Dial, SourceError> {
        Dial::new(url, Duration::from_secs(1))
    }

    #[test]
    fn sockets_are_named_with_or_without_a_scheme() {
        for url in ["ipc:///run/geth/geth.ipc", "/run/geth/geth.ipc"] {
            let dial = dial(url).unwrap();
            assert_eq!(dial.redactor().node(), "ipc:///run/geth/geth.ipc");
            assert!(dial.can_push() && dial.is_local());
        }
        assert!(dial("ipc:///a").unwrap().is_same(&dial("/a").unwrap()));
    }

    #[test]
    fn a_relative_socket_and_files_are_refused() {
        for url in ["ipc://geth.ipc", "ipc://", "ipc:geth.ipc", "geth.ipc", "file:///etc/passwd"] {
            assert!(matches!(dial(url), Err(SourceError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn what_pushes_is_known_and_no_url_is_shown() {
        assert!(!dial("http://127.0.0.1:1/S3CRET").unwrap().can_push());
        let pushing = dial("wss://node.example/S3CRET").unwrap();
        assert!(pushing.can_push() && !pushing.is_local());
        assert!(!format!("{pushing:?}").contains("S3CRET"));
    }
}
