//! A node that answers with the receipt of another transaction, or with none although there is one.

use crate::world::{ADMIN, STRANGER, World};
use alloy_json_rpc::{Request, RequestPacket, ResponsePacket};
use alloy_primitives::{B256, U256};
use alloy_provider::{DynProvider, Provider as _, RootProvider};
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportFut};
use cordon_contain::{LaneUpdate, SendPolicy};
use cordon_range::{Call, ChainTransport};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use tower::Service;

/// Asked for any receipt, it gives that of one transaction, as often as `left` says.
#[derive(Debug, Clone)]
struct WrongReceipts {
    inner: ChainTransport,
    of: B256,
    left: Arc<AtomicI64>,
}

impl WrongReceipts {
    fn provider(world: &World, of: B256, times: i64) -> DynProvider {
        let node = Self { inner: world.chain.transport(), of, left: Arc::new(AtomicI64::new(times)) };
        RootProvider::new(RpcClient::new(node, true)).erased()
    }
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
        let lies = asked.is_some() && self.left.fetch_sub(1, Ordering::SeqCst) > 0;
        let swapped = asked.filter(|_| lies).map(|request| {
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
    let lied_to = WrongReceipts::provider(&world, other.unwrap(), i64::MAX);
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

/// A node behind a balancer that lags by a block says so, and so does any node whose newest block leaves between two
/// questions. A step that is given up is given up for good.
#[tokio::test]
async fn a_receipt_that_is_missing_once_gives_no_step_up() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    world.chain.mine();
    let forgetful = WrongReceipts::provider(&world, B256::repeat_byte(0x11), 1);
    let sender = world.sender_over(forgetful, world.log.clone(), SendPolicy::default());
    let updates = sender.poll(world.now()).await.unwrap();
    assert!(matches!(updates.as_slice(), [LaneUpdate::Mined { .. }]), "{updates:?}");
}
