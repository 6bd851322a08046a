//! A node between the engine and the range, so that a test can stand in the way of its requests.

use alloy_json_rpc::{RequestPacket, ResponsePacket};
use alloy_provider::{DynProvider, Provider, RootProvider};
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportFut};
use std::fmt::Debug;
use std::task::{Context, Poll};
use tower::Service;

/// Answers requests in its own way.
pub(crate) trait Node: Clone + Debug + Send + Sync + 'static {
    fn answer(&self, packet: RequestPacket) -> TransportFut<'static>;
}

/// The client that production uses, over this node.
pub(crate) fn provider(node: impl Node) -> DynProvider {
    RootProvider::new(RpcClient::new(Line(node), true)).erased()
}

#[derive(Debug, Clone)]
struct Line<N>(N);

impl<N: Node> Service<RequestPacket> for Line<N> {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        self.0.answer(packet)
    }
}
