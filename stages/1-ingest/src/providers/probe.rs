//! The look at every node from time to time: which are back, and which lag.
//!
//! In: a pool. Out: connections that were lost are there again, and each node's newest block is known. It must never
//! keep a pool alive that nobody uses any more.

use super::member::Member;
use super::pool::{Inner, Pool};
use crate::error::SourceError;
use futures::future::join_all;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Looks at every node once per `period`, until the pool is dropped.
pub(crate) fn start(pool: &Pool, period: Duration) {
    let pool = Arc::downgrade(pool.inner());
    drop(tokio::spawn(run(pool, period)));
}

async fn run(pool: Weak<Inner>, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        let Some(inner) = pool.upgrade() else { return };
        let members = inner.members().to_vec();
        let alone = members.len() == 1;
        // The nodes themselves may be waited for, the pool must not be held meanwhile.
        drop(inner);
        if alone {
            // Nobody is there to compare it with.
            join_all(members.iter().map(raise)).await;
        } else {
            join_all(members.iter().map(look)).await;
        }
    }
}

/// Connects where that is needed, and asks for the newest block.
pub(crate) async fn look(member: &Arc<Member>) {
    if !raise(member).await {
        return;
    }
    if let Err(error) = member.question("eth_blockNumber", &()).await {
        tracing::debug!(node = member.name(), %error, "node does not name its newest block");
    }
}

/// Connects where that is needed. True where there is a connection.
async fn raise(member: &Arc<Member>) -> bool {
    if member.node().is_some() || member.is_foreign() {
        return !member.is_foreign();
    }
    match member.raise().await {
        Ok(()) => {
            tracing::info!(node = member.name(), "node is back");
            true
        }
        Err(error @ SourceError::WrongChainId { .. }) => {
            tracing::error!(node = member.name(), %error, "node is left out for good");
            false
        }
        Err(error) => {
            tracing::debug!(node = member.name(), %error, "node is still away");
            false
        }
    }
}
