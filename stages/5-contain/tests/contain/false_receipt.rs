//! A node that answers with the receipt of another transaction.

use crate::world::{ADMIN, STRANGER, World};
use alloy_json_rpc::{Request, RequestPacket, ResponsePacket};
use alloy_primitives::{B256, U256};
use alloy_provider::{Provider as _, RootProvider};
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportFut};
use cordon_contain::{LaneUpdate, SendPolicy};
use cordon_range::{Call, ChainTransport};
use std::task::{Context, Poll};
use tower::Service;

/// Asked for any receipt, it gives that of one transaction.
#[derive(Debug, Clone)]
struct WrongReceipts {
    inner: ChainTransport,
    of: B256,
}

impl Service<RequestPacket> for WrongReceipts {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let asked = packet.as_single().filter(|request| request.method() == "eth_getTransactionReceipt");
        let swapped = asked.map(|request| {
            let request = Request::new("eth_getTransactionReceipt", request.id().clone(), [self.of]);
            RequestPacket::from(request.serialize().unwrap())
        });
        self.inner.call(swapped.unwrap_or(packet))
    }
}

/// It was mined long ago, so a reorganisation would never open the step again: the pause would be believed for ever.
#[tokio::test]
async fn a_receipt_of_another_transaction_ends_no_step() {
    let world = World::new().await;
    let other = world.chain.submit_as(STRANGER, Call::transfer(ADMIN, U256::ONE));
    world.chain.mine();
    let node = WrongReceipts { inner: world.chain.transport(), of: other.unwrap() };
    let lied_to = RootProvider::new(RpcClient::new(node, true)).erased();
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    let fooled = world.sender_over(lied_to, world.log.clone(), SendPolicy::default());
    let updates = fooled.poll(world.now()).await.unwrap();
    assert!(matches!(updates.as_slice(), [LaneUpdate::Held { .. }]), "{updates:?}");
    world.chain.mine();
    let updates = sender.poll(world.now()).await.unwrap();
    assert!(matches!(updates.as_slice(), [LaneUpdate::Mined { .. }]), "{updates:?}");
    assert!(world.is_paused());
}
