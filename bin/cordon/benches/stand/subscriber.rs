//! A subscriber that does nothing but note when it is told, on a socket of its own: what Cordon's time is compared with.
//!
//! In: a node's socket. Out: moments, as they come.

use alloy_primitives::B256;
use alloy_provider::{DynProvider, Provider, ProviderBuilder};
use futures::{Stream, StreamExt};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// When things happened.
pub(crate) type Moments<Key> = Arc<Mutex<BTreeMap<Key, Instant>>>;

/// A connection of its own to the node behind this socket.
pub(crate) async fn connect(socket: &Path) -> DynProvider {
    ProviderBuilder::new().connect_ipc(socket.to_path_buf().into()).await.unwrap().erased()
}

/// When it is told of each head, by number.
pub(crate) async fn heads(socket: &Path) -> Moments<u64> {
    let provider = connect(socket).await;
    let stream = provider.subscribe_blocks().await.unwrap().into_stream();
    note(provider, stream, |header| header.number)
}

/// When it is told of each transaction that waits, with its body, by hash.
pub(crate) async fn pending(socket: &Path) -> Moments<B256> {
    let provider = connect(socket).await;
    let stream = provider.subscribe_full_pending_transactions().await.unwrap().into_stream();
    note(provider, stream, |transaction| *transaction.inner.tx_hash())
}

/// Notes when each item came. The stream ends with its provider.
fn note<Item, Key: Ord + Send + 'static>(
    provider: DynProvider,
    mut stream: impl Stream<Item = Item> + Unpin + Send + 'static,
    key: impl Fn(&Item) -> Key + Send + 'static,
) -> Moments<Key> {
    let moments = Moments::default();
    let told = Arc::clone(&moments);
    tokio::spawn(async move {
        while let Some(item) = stream.next().await {
            told.lock().unwrap().insert(key(&item), Instant::now());
        }
        drop(provider);
    });
    moments
}
