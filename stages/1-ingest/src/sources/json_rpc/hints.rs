//! Hints that there is a new block, pushed by a node.
//!
//! In: a node, or a pool of which one node pushes. Out: an early end of a wait. Hints carry nothing: blocks are always
//! fetched by number. It must never stop the polling, whatever becomes of a subscription.

use super::node::Node;
use crate::providers::member::Member;
use alloy_provider::Provider as _;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Most hints that are dropped at once after one was taken: the size of alloy's channel, so that a backlog wakes the
/// caller once and not sixteen times.
const HINTS_DROPPED_MAX: usize = 16;

/// A subscription to new heads, where there is one.
#[derive(Debug, Default)]
pub(super) struct Hints {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    heads: Receiver<Box<RawValue>>,
    by: Option<Arc<Member>>,
}

#[derive(Debug, Clone, Copy)]
enum Hint {
    Head,
    Lost,
}

impl Hints {
    /// Sleeps for the interval at most; a pushed header ends it early.
    pub(super) async fn wait(&mut self, node: &Node, interval: Duration) {
        // The connection of a node that fails may be open and silent; another one can push meanwhile.
        if self.open.as_ref().and_then(|open| open.by.as_ref()).is_some_and(|member| member.is_failing()) {
            self.open = None;
        }
        let hinted = async {
            if self.open.is_none() {
                self.open = subscribe(node).await;
            }
            match &mut self.open {
                Some(open) => hint(&mut open.heads).await,
                None => std::future::pending().await,
            }
        };
        // Elapsed is the ordinary end of a wait without a push.
        let lost = matches!(tokio::time::timeout(interval, hinted).await, Ok(Hint::Lost));
        if lost {
            tracing::warn!(
                node = node.name(),
                "subscription to new heads was lost; polling until it is back"
            );
            self.open = None;
            tokio::time::sleep(interval).await;
        }
    }
}

/// Waits for a pushed header and drops what queued up behind it.
async fn hint(heads: &mut Receiver<Box<RawValue>>) -> Hint {
    match heads.recv().await {
        Ok(_) | Err(RecvError::Lagged(_)) => {
            for _ in 0..HINTS_DROPPED_MAX {
                if heads.try_recv().is_err() {
                    break;
                }
            }
            Hint::Head
        }
        Err(RecvError::Closed) => Hint::Lost,
    }
}

/// Subscribes to new heads at the best node that can push.
async fn subscribe(node: &Node) -> Option<Open> {
    for (provider, by) in node.pushers() {
        match provider.subscribe::<_, IgnoredAny>(("newHeads",)).await {
            Ok(subscription) => return Some(Open { heads: subscription.into_raw().rx, by }),
            Err(error) => {
                let reason = node.describe(&error);
                tracing::debug!(node = node.name(), reason, "new heads cannot be subscribed");
            }
        }
    }
    None
}
