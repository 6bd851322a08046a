//! The decision that every source makes: what follows a cursor, given what the chain shows.
//!
//! In: the caller's cursor and one look at the chain. Out: one [`Step`]. Pure, so that reorganisations can be tested
//! without a node. It must never guess: where the cursor's memory ends, it says so.

use alloy_primitives::B256;
use cordon_model::log::Cursor;
use cordon_model::units::BlockRef;

/// One look at a chain, taken for one cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Number of the first block that was ever watched, where it is known. It tells a young cursor, which holds all
    /// that was judged, from an old one whose older blocks were dropped.
    pub begun_at: Option<u64>,
    /// What the chain shows.
    pub sight: Sight,
}

/// What the chain shows beyond the cursor's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// There is a block right after the cursor's head; for an empty cursor, the block to begin with.
    Next {
        /// The parent that this block names.
        parent_hash: B256,
    },
    /// There is no block after the cursor's head; this is the newest one of the chain.
    Newest(BlockRef),
    /// There is no block at all, or not yet the one to begin with.
    Nothing,
}

/// What follows the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The block that was seen extends the cursor.
    Apply,
    /// The cursor's head left the canonical chain.
    Revert(BlockRef),
    /// The cursor stands at the newest block, or the chain shows a prefix of what was judged already.
    AtHead,
    /// The chain grew between two requests: the look is stale.
    LookAgain {
        /// Newest block of the chain.
        newest: u64,
    },
    /// The chain ends below all that the cursor remembers, so nothing can be compared.
    Behind {
        /// Newest block of the chain, `None` where it has none.
        newest: Option<u64>,
    },
    /// The reorganisation reaches below the cursor's memory.
    TooDeep {
        /// Oldest block that the cursor remembers; it left the canonical chain too.
        oldest: BlockRef,
    },
}

/// What follows the cursor, given what the chain shows.
///
/// A chain whose newest block lies below the cursor's head is no reorganisation as long as that block is one that the
/// cursor remembers: a node that lags looks exactly so, and no block has taken the place of a judged one. The revert
/// follows as soon as one does.
#[must_use]
pub fn next_step(cursor: &Cursor, view: &View) -> Step {
    let Some(head) = cursor.head() else {
        return match view.sight {
            Sight::Next { .. } => Step::Apply,
            Sight::Newest(_) | Sight::Nothing => Step::AtHead,
        };
    };
    match view.sight {
        Sight::Next { parent_hash } if parent_hash == head.hash => Step::Apply,
        Sight::Next { .. } => revert(cursor, head, view.begun_at),
        Sight::Newest(newest) if newest.number > head.number => Step::LookAgain { newest: newest.number },
        Sight::Newest(newest) => match remembered(cursor, newest.number) {
            Some(hash) if hash == newest.hash => Step::AtHead,
            Some(_) => revert(cursor, head, view.begun_at),
            None => Step::Behind { newest: Some(newest.number) },
        },
        Sight::Nothing => Step::Behind { newest: None },
    }
}

/// The head goes, unless nothing would remain to tell where to go on from.
fn revert(cursor: &Cursor, head: BlockRef, begun_at: Option<u64>) -> Step {
    let is_last = cursor.recent.len() == 1;
    if is_last && begun_at != Some(head.number) { Step::TooDeep { oldest: head } } else { Step::Revert(head) }
}

fn remembered(cursor: &Cursor, number: u64) -> Option<B256> {
    cursor.recent.iter().rev().find(|block| block.number == number).map(|block| block.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use cordon_model::log::CURSOR_DEPTH_MAX;
    use cordon_model::units::ChainId;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn block(number: u64, salt: u8) -> BlockRef {
        BlockRef { number, hash: B256::repeat_byte(salt) }
    }

    fn cursor(recent: &[BlockRef]) -> Cursor {
        Cursor { chain_id: ChainId(1), recent: recent.to_vec(), at_s: 0 }
    }

    fn view(sight: Sight) -> View {
        View { begun_at: None, sight }
    }

    fn child_of(block: BlockRef) -> Sight {
        Sight::Next { parent_hash: block.hash }
    }

    #[test]
    fn an_empty_cursor_takes_the_first_block_or_waits_for_it() {
        assert_eq!(next_step(&cursor(&[]), &view(child_of(block(4, 9)))), Step::Apply);
        assert_eq!(next_step(&cursor(&[]), &view(Sight::Newest(block(3, 1)))), Step::AtHead);
        assert_eq!(next_step(&cursor(&[]), &view(Sight::Nothing)), Step::AtHead);
    }

    #[test]
    fn a_child_of_the_head_is_applied_and_any_other_block_reverts_it() {
        let judged = cursor(&[block(4, 4), block(5, 5)]);
        assert_eq!(next_step(&judged, &view(child_of(block(5, 5)))), Step::Apply);
        assert_eq!(next_step(&judged, &view(child_of(block(5, 6)))), Step::Revert(block(5, 5)));
    }

    #[test]
    fn the_same_height_with_another_hash_reverts() {
        let judged = cursor(&[block(4, 4), block(5, 5)]);
        assert_eq!(next_step(&judged, &view(Sight::Newest(block(5, 5)))), Step::AtHead);
        assert_eq!(next_step(&judged, &view(Sight::Newest(block(5, 6)))), Step::Revert(block(5, 5)));
    }

    #[test]
    fn a_shorter_chain_reverts_only_where_a_block_was_replaced() {
        let judged = cursor(&[block(4, 4), block(5, 5)]);
        assert_eq!(next_step(&judged, &view(Sight::Newest(block(4, 4)))), Step::AtHead);
        assert_eq!(next_step(&judged, &view(Sight::Newest(block(4, 7)))), Step::Revert(block(5, 5)));
    }

    #[test]
    fn a_chain_below_the_memory_is_behind_and_not_reorganised() {
        let judged = cursor(&[block(4, 4), block(5, 5)]);
        assert_eq!(next_step(&judged, &view(Sight::Newest(block(3, 3)))), Step::Behind { newest: Some(3) });
        assert_eq!(next_step(&judged, &view(Sight::Nothing)), Step::Behind { newest: None });
    }

    #[test]
    fn a_stale_look_is_taken_again() {
        let judged = cursor(&[block(5, 5)]);
        assert_eq!(next_step(&judged, &view(Sight::Newest(block(6, 6)))), Step::LookAgain { newest: 6 });
    }

    #[test]
    fn the_last_remembered_block_is_given_up_only_where_watching_began_with_it() {
        let judged = cursor(&[block(5, 5)]);
        let replaced = child_of(block(5, 6));
        assert_eq!(next_step(&judged, &view(replaced)), Step::TooDeep { oldest: block(5, 5) });
        let young = View { begun_at: Some(5), sight: replaced };
        assert_eq!(next_step(&judged, &young), Step::Revert(block(5, 5)));
        let old = View { begun_at: Some(4), sight: replaced };
        assert_eq!(next_step(&judged, &old), Step::TooDeep { oldest: block(5, 5) });
    }

    /// A canonical chain that can be cut and regrown; the hash of a block commits to its parent.
    #[derive(Debug, Default)]
    struct Model {
        chain: Vec<(BlockRef, B256)>,
        salt: u64,
        appearances: HashMap<B256, u32>,
    }

    impl Model {
        fn grow(&mut self, count: usize) {
            for _ in 0..count {
                let parent = self.chain.last().map_or(B256::ZERO, |(block, _)| block.hash);
                let number = self.chain.len() as u64;
                let hash = keccak256([parent.as_slice(), &self.salt.to_be_bytes()].concat());
                self.chain.push((BlockRef { number, hash }, parent));
                *self.appearances.entry(hash).or_default() += 1;
            }
        }

        fn reorganise(&mut self, depth: usize, regrow: usize) {
            let keep = self.chain.len().saturating_sub(depth).max(1);
            self.chain.truncate(keep);
            self.salt += 1;
            self.grow(regrow);
        }

        fn look(&self, cursor: &Cursor, begun_at: Option<u64>) -> View {
            let wanted = cursor.head().map_or(0, |head| head.number + 1);
            let sight = match (self.chain.get(usize::try_from(wanted).unwrap()), self.chain.last()) {
                (Some((_, parent)), _) => Sight::Next { parent_hash: *parent },
                (None, Some((newest, _))) => Sight::Newest(*newest),
                (None, None) => Sight::Nothing,
            };
            View { begun_at, sight }
        }
    }

    /// Applies steps until the source rests; `Err` with the oldest block where the memory did not reach.
    fn settle(
        model: &Model,
        cursor: &mut Cursor,
        begun_at: Option<u64>,
        applied: &mut HashMap<B256, i64>,
    ) -> Result<(), BlockRef> {
        for _ in 0..10_000 {
            match next_step(cursor, &model.look(cursor, begun_at)) {
                Step::Apply => {
                    let number = cursor.head().map_or(0, |head| head.number + 1);
                    let next = model.chain[usize::try_from(number).unwrap()].0;
                    cursor.push(next);
                    *applied.entry(next.hash).or_default() += 1;
                }
                Step::Revert(block) => {
                    assert!(cursor.pop(block), "only the head is ever reverted");
                    *applied.entry(block.hash).or_default() -= 1;
                }
                Step::AtHead => return Ok(()),
                Step::TooDeep { oldest } => return Err(oldest),
                step @ (Step::LookAgain { .. } | Step::Behind { .. }) => {
                    panic!("a steady chain gave {step:?}")
                }
            }
        }
        panic!("the source does not come to rest")
    }

    #[derive(Debug, Clone)]
    enum Change {
        Grow(usize),
        Reorganise { depth: usize, regrow: usize },
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = prop_oneof![
            (1usize..20).prop_map(Change::Grow),
            (1usize..12, 0usize..15).prop_map(|(depth, regrow)| Change::Reorganise { depth, regrow }),
        ];
        prop::collection::vec(change, 1..25)
    }

    proptest! {
        #[test]
        fn the_cursor_follows_every_history(changes in changes()) {
            let (mut model, mut judged, mut applied) = (Model::default(), cursor(&[]), HashMap::new());
            model.grow(1);
            for change in changes {
                match change {
                    Change::Grow(count) => model.grow(count),
                    Change::Reorganise { depth, regrow } => model.reorganise(depth, regrow),
                }
                prop_assert_eq!(settle(&model, &mut judged, Some(0), &mut applied), Ok(()));
                let canonical: Vec<BlockRef> = model.chain.iter().map(|(block, _)| *block).collect();
                let remembered = judged.recent.clone();
                let oldest = usize::try_from(remembered[0].number).unwrap();
                // A chain that only shrank is a prefix of what was judged; any other equals it.
                for (ours, theirs) in remembered.iter().zip(canonical.iter().skip(oldest)) {
                    prop_assert_eq!(ours, theirs);
                }
                prop_assert!(judged.head().unwrap().number >= canonical.last().unwrap().number);
                // A judged block counts once, a reverted one not at all.
                prop_assert!(applied.values().all(|count| (0..=1).contains(count)));
                let standing = applied.values().filter(|count| **count == 1).count() as u64;
                prop_assert_eq!(standing, judged.head().unwrap().number + 1);
            }
            model.grow(40);
            prop_assert_eq!(settle(&model, &mut judged, Some(0), &mut applied), Ok(()));
            for (block, _) in &model.chain {
                prop_assert_eq!(applied.get(&block.hash), Some(&1));
            }
        }

        #[test]
        fn a_reorganisation_beyond_the_memory_is_named(depth in 1usize..600) {
            let (mut model, mut judged, mut applied) = (Model::default(), cursor(&[]), HashMap::new());
            model.grow(700);
            prop_assert_eq!(settle(&model, &mut judged, Some(0), &mut applied), Ok(()));
            let oldest = judged.recent[0];
            model.reorganise(depth, depth);
            let settled = settle(&model, &mut judged, Some(0), &mut applied);
            if depth < CURSOR_DEPTH_MAX {
                prop_assert_eq!(settled, Ok(()));
                prop_assert_eq!(judged.head(), model.chain.last().map(|(block, _)| *block));
            } else {
                prop_assert_eq!(settled, Err(oldest));
            }
        }
    }
}
