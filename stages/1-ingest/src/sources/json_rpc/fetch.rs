//! Whole blocks from a node: transactions, receipts, and everything checked against the header.
//!
//! In: a number. Out: the block, or `None` where the node has none. A wrong answer of one node of a pool is held
//! against it, and the next one is asked. It must never give a block whose parts are of different blocks.

use super::node::{Answer, Node, is_null};
use crate::convert::{self, Integrity, RawBody, RawHeader};
use crate::error::{SourceError, is_wrong_answer};
use crate::providers::member::Member;
use crate::receipts::{self, RawReceipt};
use cordon_model::block::{Block, Outcome};
use cordon_model::units::{BlockRef, ChainId};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Receipts that are asked for in one packet where a node has no method for all of a block. Hosted nodes take between
/// 100 and 1,000 requests in one.
const RECEIPTS_PER_BATCH: usize = 100;

/// Fetches blocks; clones share what was learnt of the node.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    node: Arc<Node>,
    chain_id: ChainId,
    integrity: Integrity,
    receipts: bool,
    learnt: Arc<Learnt>,
}

/// Methods that the node turned out not to offer. A pool remembers that for each of its nodes by itself.
#[derive(Debug, Default)]
struct Learnt {
    no_block_receipts: AtomicBool,
    no_receipts: AtomicBool,
}

/// An error, and the node of the pool whose answer it is about.
struct Trouble {
    error: SourceError,
    by: Option<Arc<Member>>,
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self { error, by: None }
    }
}

/// Receipts as they came, and from whom.
struct Given {
    receipts: Vec<RawReceipt>,
    origin: String,
    by: Option<Arc<Member>>,
}

impl Fetcher {
    pub(super) fn new(node: Arc<Node>, config: &super::Config) -> Self {
        let (chain_id, integrity, receipts) = (config.chain_id, config.integrity, config.receipts);
        Self { node, chain_id, integrity, receipts, learnt: Arc::default() }
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// The block with this number, or the newest one; `None` where the node has none.
    pub(super) async fn block(&self, number: Option<u64>) -> Result<Option<Block>, SourceError> {
        let mut others = self.node.width().saturating_sub(1);
        loop {
            match self.block_once(number).await {
                Ok(block) => return Ok(block),
                Err(Trouble { error, by: Some(member) }) if is_wrong_answer(&error) => {
                    member.distrust(&error.to_string());
                    match others.checked_sub(1) {
                        Some(left) => others = left,
                        None => return Err(error),
                    }
                }
                Err(trouble) => return Err(trouble.error),
            }
        }
    }

    /// Number and hash of the block with this tag; `None` where the node has none.
    pub(super) async fn tagged(&self, tag: &str) -> Result<Option<BlockRef>, SourceError> {
        let answer = self.node.request("eth_getBlockByNumber", &(tag, false)).await?;
        if answer.is_null() {
            return Ok(None);
        }
        let origin = self.node.origin_of(&answer, "eth_getBlockByNumber");
        let header: RawHeader = convert::read_json(answer.text.get().as_bytes(), &origin)?;
        convert::header_ref(&header, &origin, self.integrity).map(Some)
    }

    async fn block_once(&self, number: Option<u64>) -> Result<Option<Block>, Trouble> {
        let tag = number.map_or_else(|| "latest".to_owned(), |number| format!("{number:#x}"));
        let answer = self.node.request("eth_getBlockByNumber", &(tag, true)).await?;
        if answer.is_null() {
            return Ok(None);
        }
        let origin = self.node.origin_of(&answer, "eth_getBlockByNumber");
        let read = self.read_block(number, &answer, &origin);
        let mut block = read.map_err(|error| Trouble { error, by: answer.by.clone() })?;
        if let Some(member) = &answer.by {
            member.reached(block.number);
        }
        if self.receipts {
            if block.transactions.is_empty() {
                receipts::check_empty(&block, &origin, self.integrity)
                    .map_err(|error| Trouble { error, by: answer.by })?;
            } else {
                block.outcomes = self.outcomes(&block).await?;
            }
        }
        Ok(Some(block))
    }

    fn read_block(&self, number: Option<u64>, answer: &Answer, origin: &str) -> Result<Block, SourceError> {
        let text = answer.text.get().as_bytes();
        let header: RawHeader = convert::read_json(text, origin)?;
        let body: RawBody = convert::read_json(text, origin)?;
        let block = convert::block(&header, &body, self.chain_id, origin, self.integrity)?;
        match number {
            Some(expected) if expected != block.number => {
                Err(SourceError::WrongBlock { origin: origin.to_owned(), expected, found: block.number })
            }
            Some(_) | None => Ok(block),
        }
    }

    async fn outcomes(&self, block: &Block) -> Result<Vec<Outcome>, Trouble> {
        let Some(given) = self.receipts_of(block).await? else { return Ok(Vec::new()) };
        receipts::outcomes(given.receipts, block, &given.origin, self.integrity)
            .map_err(|error| Trouble { error, by: given.by })
    }

    /// All receipts of a block, by whatever method the node has; `None` where it has none.
    async fn receipts_of(&self, block: &Block) -> Result<Option<Given>, Trouble> {
        if self.learnt.no_receipts.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if !self.learnt.no_block_receipts.load(Ordering::Relaxed) {
            match self.receipts_at_once(block).await {
                Err(Trouble { error: SourceError::Unsupported { .. }, .. }) => {
                    self.remember(&self.learnt.no_block_receipts);
                }
                // Some nodes take a number here and no hash.
                Err(Trouble { error: error @ SourceError::Refused { .. }, .. }) => {
                    tracing::debug!(node = self.node.name(), %error, "receipts are asked for one by one");
                }
                given => return given.map(Some),
            }
        }
        match self.receipts_one_by_one(block).await {
            Err(SourceError::Unsupported { .. }) => {
                tracing::debug!(node = self.node.name(), "node gives no receipts: blocks have no outcomes");
                self.remember(&self.learnt.no_receipts);
                Ok(None)
            }
            given => Ok(Some(given?)),
        }
    }

    fn remember(&self, lacks: &AtomicBool) {
        if self.node.width() == 1 {
            lacks.store(true, Ordering::Relaxed);
        }
    }

    /// By hash, so that the receipts are of this very block even if another one takes its place meanwhile.
    async fn receipts_at_once(&self, block: &Block) -> Result<Given, Trouble> {
        let method = "eth_getBlockReceipts";
        let answer = self.node.request(method, &(block.hash,)).await?;
        if answer.is_null() {
            return Err(self.without_receipts(method, block).into());
        }
        let origin = self.node.origin_of(&answer, method);
        match convert::read_json(answer.text.get().as_bytes(), &origin) {
            Ok(receipts) => Ok(Given { receipts, origin, by: answer.by }),
            Err(error) => Err(Trouble { error, by: answer.by }),
        }
    }

    async fn receipts_one_by_one(&self, block: &Block) -> Result<Given, SourceError> {
        let method = "eth_getTransactionReceipt";
        let origin = self.node.origin(method);
        let mut receipts = Vec::with_capacity(block.transactions.len());
        for transactions in block.transactions.chunks(RECEIPTS_PER_BATCH) {
            let params: Vec<_> = transactions.iter().map(|transaction| (transaction.hash,)).collect();
            for answer in self.node.batch(method, &params).await? {
                let text: Box<RawValue> = answer?;
                if is_null(&text) {
                    return Err(self.without_receipts(method, block));
                }
                receipts.push(convert::read_json(text.get().as_bytes(), &origin)?);
            }
        }
        Ok(Given { receipts, origin, by: None })
    }

    /// The node lags behind itself, or the block has just left the chain.
    fn without_receipts(&self, method: &'static str, block: &Block) -> SourceError {
        let (node, reason) = (self.node.name().to_owned(), format!("no receipts of block {}", block.number));
        SourceError::Refused { node, method, reason }
    }
}
