//! The in-process transport: alloy's JSON-RPC client on one side, a range chain on the other, no socket between.
//!
//! In go request packets, single or batched, out come response packets with the ids of the requests. It answers from
//! memory and never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use alloy_json_rpc::{RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest};
use alloy_provider::{DynProvider, Provider as _, RootProvider};
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use tower::Service;

use crate::chain::Chain;
use crate::rpc::RpcError;

/// A connection to a range chain. Clones share one fault switch; [`Chain::transport`] makes one with a switch of its
/// own, so a test can take down one of several "nodes".
#[derive(Debug, Clone)]
pub struct ChainTransport {
    chain: Chain,
    offline: Arc<AtomicBool>,
}

impl ChainTransport {
    pub(crate) fn new(chain: Chain) -> Self {
        Self { chain, offline: Arc::default() }
    }

    /// Makes every request through this transport and its clones fail as if the node were unreachable.
    pub fn set_offline(&self, offline: bool) {
        self.offline.store(offline, Ordering::SeqCst);
    }

    /// An alloy provider over this transport.
    pub fn provider(&self) -> DynProvider {
        RootProvider::new(RpcClient::new(self.clone(), true)).erased()
    }

    fn serve(&self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        if self.offline.load(Ordering::SeqCst) || self.chain.is_offline() {
            return Err(TransportErrorKind::custom_str("connection refused: the range is switched offline"));
        }
        Ok(match packet {
            RequestPacket::Single(request) => ResponsePacket::Single(self.answer(&request)),
            RequestPacket::Batch(requests) => {
                ResponsePacket::Batch(requests.iter().map(|request| self.answer(request)).collect())
            }
        })
    }

    fn answer(&self, request: &SerializedRequest) -> Response {
        let params = match request.params().map(|raw| serde_json::from_str(raw.get())).transpose() {
            Ok(params) => params.unwrap_or_default(),
            Err(error) => {
                let refusal = RpcError::invalid_params(format!("params are no JSON: {error}"));
                return Response {
                    id: request.id().clone(),
                    payload: ResponsePayload::Failure(refusal.payload()),
                };
            }
        };
        let payload = match self.chain.rpc(request.method(), params) {
            Ok(value) => serde_json::value::to_raw_value(&value).map_or_else(
                |error| ResponsePayload::internal_error_message(error.to_string().into()),
                ResponsePayload::Success,
            ),
            Err(error) => ResponsePayload::Failure(error.payload()),
        };
        Response { id: request.id().clone(), payload }
    }
}

impl Service<RequestPacket> for ChainTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let transport = self.clone();
        // The answer is made when the future is polled, without an await inside, so no lock outlives a poll.
        Box::pin(async move { transport.serve(packet) })
    }
}
