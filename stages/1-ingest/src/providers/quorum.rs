//! Whether the nodes agree on a block, each asked by itself.
//!
//! In: the number and the hash of a block that was judged. Out: a verdict that names every answer. The header's hash is
//! recomputed, so that a node cannot agree by repeating what it is told. It must never count one node twice, nor take
//! a node that merely lags for one that disagrees.

use super::member::Member;
use crate::convert::{self, Integrity, RawHeader};
use crate::error::SourceError;
use crate::sources::json_rpc::node::is_null;
use alloy_primitives::B256;
use cordon_model::network::ProviderAnswer;
use futures::future::join_all;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// Longest name of a client that is kept; geth's has about sixty characters.
const CLIENT_CHARS_MAX: usize = 120;

/// What the nodes say of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As many nodes as are needed have exactly this block, and none has another one.
    Agreed {
        /// All answers, those of lagging nodes included.
        answers: Vec<ProviderAnswer>,
    },
    /// There is one node only, and it has this block: nobody contradicts, and nobody confirms.
    Single {
        /// Its answer.
        answer: ProviderAnswer,
    },
    /// At least one node has another block at this height, or other receipts.
    Split {
        /// All answers.
        answers: Vec<ProviderAnswer>,
    },
    /// Too few nodes have a block at this height yet, or could be reached.
    TooFew {
        /// How many have it.
        answered: usize,
        /// How many must.
        needed: usize,
    },
}

/// Asks every node of a chain by itself.
#[derive(Debug, Clone)]
pub struct Quorum {
    seats: Vec<Arc<Seat>>,
    needed: usize,
    integrity: Integrity,
}

#[derive(Debug)]
struct Seat {
    member: Arc<Member>,
    client: Mutex<Option<String>>,
}

/// What a node said, before it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    hash: B256,
    receipts_root: B256,
}

impl Quorum {
    pub(crate) fn new(members: &[Arc<Member>], integrity: Integrity) -> Self {
        let seat =
            |member: &Arc<Member>| Arc::new(Seat { member: Arc::clone(member), client: Mutex::new(None) });
        Self { seats: members.iter().map(seat).collect(), needed: members.len() / 2 + 1, integrity }
    }

    /// How many nodes must have the block, instead of the majority of those that are configured. More than there are
    /// can never be reached.
    #[must_use]
    pub fn with_needed(mut self, needed: NonZeroUsize) -> Self {
        self.needed = needed.get();
        self
    }

    /// Nodes that are configured.
    #[must_use]
    pub fn size(&self) -> usize {
        self.seats.len()
    }

    /// Nodes that must agree.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// What the nodes say of this block. It takes as long as the slowest node, at most the time limit of a request and
    /// as much again for the name of its client, which is asked for once.
    pub async fn check(&self, number: u64, hash: B256) -> Verdict {
        let asked = self.seats.iter().map(|seat| self.ask(seat, number));
        judge(join_all(asked).await, hash, self.needed)
    }

    /// What each node says of the block at a height, without judging it.
    pub async fn answers(&self, number: u64) -> Vec<ProviderAnswer> {
        join_all(self.seats.iter().map(|seat| self.ask(seat, number))).await
    }

    async fn ask(&self, seat: &Seat, number: u64) -> ProviderAnswer {
        seat.learn_client().await;
        let said = match self.said(&seat.member, number).await {
            Ok(said) => said,
            Err(error) => {
                tracing::warn!(node = seat.member.name(), %error, "node does not take part in the quorum");
                None
            }
        };
        ProviderAnswer {
            provider: seat.member.name().to_owned(),
            client: seat.client.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            hash: said.map(|said| said.hash),
            receipts_root: said.map(|said| said.receipts_root),
        }
    }

    /// The node's block at this height; `None` where it has none.
    async fn said(&self, member: &Arc<Member>, number: u64) -> Result<Option<Said>, SourceError> {
        let answer = member.question("eth_getBlockByNumber", &(format!("{number:#x}"), false)).await?;
        if is_null(&answer) {
            return Ok(None);
        }
        let origin = format!("answer of {} to eth_getBlockByNumber", member.name());
        let header: RawHeader = convert::read_json(answer.get().as_bytes(), &origin)?;
        let receipts_root = header.receipts_root();
        match convert::header_ref(&header, &origin, self.integrity) {
            Ok(block) if block.number != number => {
                Err(SourceError::WrongBlock { origin, expected: number, found: block.number })
            }
            Ok(block) => Ok(Some(Said { hash: block.hash, receipts_root })),
            // A header that is not what it says is a block that nobody else has.
            Err(SourceError::HashMismatch { computed, .. }) => {
                Ok(Some(Said { hash: computed, receipts_root }))
            }
            Err(error) => Err(error),
        }
    }
}

impl Seat {
    /// Asks once for the client's name; a node that does not tell is asked again with the next block.
    async fn learn_client(&self) {
        if self.client.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        if let Ok(answer) = self.member.question("web3_clientVersion", &()).await
            && let Ok(name) = serde_json::from_str::<String>(answer.get())
        {
            let name = name.chars().take(CLIENT_CHARS_MAX).collect();
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
        }
    }
}

/// The verdict on answers; pure.
fn judge(answers: Vec<ProviderAnswer>, hash: B256, needed: usize) -> Verdict {
    let having = || answers.iter().filter(|answer| answer.hash.is_some());
    let root = having().find_map(|answer| answer.receipts_root);
    let differs = |answer: &ProviderAnswer| answer.hash != Some(hash) || answer.receipts_root != root;
    if having().any(differs) {
        return Verdict::Split { answers };
    }
    let answered = having().count();
    if answered < needed {
        return Verdict::TooFew { answered, needed };
    }
    match <[ProviderAnswer; 1]>::try_from(answers) {
        Ok([answer]) => Verdict::Single { answer },
        Err(answers) => Verdict::Agreed { answers },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(hash: Option<u8>, root: u8) -> ProviderAnswer {
        ProviderAnswer {
            provider: "node".to_owned(),
            client: None,
            hash: hash.map(B256::repeat_byte),
            receipts_root: hash.map(|_| B256::repeat_byte(root)),
        }
    }

    const HASH: B256 = B256::repeat_byte(7);

    #[test]
    fn a_majority_agrees_and_a_node_that_lags_does_not_disturb() {
        let answers = vec![answer(Some(7), 1), answer(None, 0), answer(Some(7), 1)];
        assert_eq!(judge(answers.clone(), HASH, 2), Verdict::Agreed { answers });
    }

    #[test]
    fn one_other_hash_or_root_is_a_split() {
        let answers = vec![answer(Some(7), 1), answer(Some(7), 1), answer(Some(8), 1)];
        assert_eq!(judge(answers.clone(), HASH, 2), Verdict::Split { answers });
        let answers = vec![answer(Some(7), 1), answer(Some(7), 2)];
        assert_eq!(judge(answers.clone(), HASH, 2), Verdict::Split { answers });
        let answers = vec![answer(Some(8), 1), answer(Some(8), 1)];
        assert_eq!(judge(answers.clone(), HASH, 2), Verdict::Split { answers }, "against what was judged");
    }

    #[test]
    fn too_few_are_no_agreement() {
        let answers = vec![answer(Some(7), 1), answer(None, 0), answer(None, 0)];
        assert_eq!(judge(answers, HASH, 2), Verdict::TooFew { answered: 1, needed: 2 });
        assert_eq!(judge(vec![answer(None, 0)], HASH, 1), Verdict::TooFew { answered: 0, needed: 1 });
    }

    #[test]
    fn one_node_alone_is_said_to_be_alone() {
        let only = answer(Some(7), 1);
        assert_eq!(judge(vec![only.clone()], HASH, 1), Verdict::Single { answer: only });
    }
}
