//! Blocks that are fetched before they are asked for, while a chain is caught up with.
//!
//! In: what was applied last. Out: the next block, where it was fetched and builds on the cursor's head. It must never
//! change the order of blocks, nor hand out one that builds on another block than the cursor's head.

use super::fetch::Fetcher;
use alloy_primitives::B256;
use cordon_model::block::Block;
use std::collections::VecDeque;
use tokio::task::JoinHandle;

/// Blocks applied in a row after which the source may be behind. The first block after a rest is what steady following
/// looks like.
const RUN_MIN: u32 = 2;

/// Blocks under way, in order.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    under_way: VecDeque<(u64, JoinHandle<Option<Block>>)>,
    newest: Option<u64>,
    last: Option<u64>,
    run: u32,
}

impl Ahead {
    /// The block with this number, where it was fetched and builds on this parent. Everything is dropped where it does
    /// not: the chain was reorganised, or the caller went elsewhere.
    pub(super) async fn take(&mut self, number: u64, parent: B256) -> Option<Block> {
        let (first, task) = self.under_way.front_mut()?;
        if *first != number {
            self.drop_all();
            return None;
        }
        let fetched = task.await.ok().flatten();
        // Only now, so that a caller that stops waiting loses nothing.
        self.under_way.pop_front();
        let fits = fetched.filter(|block| block.number == number && block.parent_hash == parent);
        if fits.is_none() {
            self.drop_all();
        }
        fits
    }

    /// The source came to the head.
    pub(super) fn rest(&mut self) {
        self.drop_all();
        self.newest = None;
        self.last = None;
        self.run = 0;
    }

    /// A block was handed out; those after it are fetched where there are some, up to `end`, so many at once.
    pub(super) async fn handed_out(
        &mut self,
        fetcher: &Fetcher,
        number: u64,
        end: Option<u64>,
        at_once: usize,
    ) {
        // A caller that could not judge a block asks for it again; that is no backlog.
        if self.last != Some(number) {
            self.run = self.run.saturating_add(1);
            self.last = Some(number);
        }
        if self.run < RUN_MIN || at_once == 0 {
            return;
        }
        if self.newest.is_none_or(|newest| newest <= number) {
            // Without an answer nothing is fetched ahead; the block after this one shows what is wrong.
            self.newest = fetcher.node().block_number_once().await;
        }
        let Some(newest) = self.newest else { return };
        let last = end.map_or(newest, |end| newest.min(end));
        let mut next = self.under_way.back().map_or(number, |(last, _)| *last);
        while next < last && self.under_way.len() < at_once {
            next = next.saturating_add(1);
            let (fetcher, wanted) = (fetcher.clone(), next);
            let task = tokio::spawn(async move { fetcher.block(Some(wanted)).await.ok().flatten() });
            self.under_way.push_back((next, task));
        }
    }

    fn drop_all(&mut self) {
        for (_, task) in self.under_way.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.drop_all();
    }
}
