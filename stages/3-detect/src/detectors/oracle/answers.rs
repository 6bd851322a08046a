//! Answers of price feeds that protected contracts went by.
//!
//! In: frames and transfers. Out: one [`Answer`] per question that a protected contract asked while it moved value. Must
//! never: read more out of return data than there is. What is too short says nothing and is counted.

use crate::parties::SendersSide;
use alloy_primitives::{Address, Bytes, I256, Selector, U256};
use cordon_model::execution::{Execution, Frame, FrameKind};
use cordon_model::protocol::Protocol;

/// `latestRoundData()` of Chainlink's `AggregatorV3Interface`: round, answer, start, update, round of the answer.
pub(super) const LATEST_ROUND_DATA: Selector = Selector::new([0xfe, 0xaf, 0x96, 0x8c]);
/// `latestAnswer()` of the interface before it.
pub(super) const LATEST_ANSWER: Selector = Selector::new([0x50, 0xd2, 0x5b, 0xcd]);

/// Most steps up the call tree over all questions of one transaction: a thousand questions at the depth limit of 1,024.
const WALK_STEPS_MAX: usize = 1 << 20;

/// What a feed said, and who went by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Contract that was asked: a proxy, or the aggregator that it asks.
    pub(super) feed: Address,
    /// Nearest protected contract above.
    pub(super) reader: Address,
    pub(super) said: Said,
}

/// Return data of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) answer: I256,
    /// Absent where only the price was asked for.
    pub(super) round: Option<Round>,
}

/// What a feed says of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    /// Unix seconds, cut at the largest number that a clock can show.
    pub(super) updated_at_s: u64,
    pub(super) is_carried_over: bool,
}

/// Everything that was asked.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) all: Vec<Answer>,
    /// Questions whose answers are not known, or too short to be one.
    pub(super) unread: usize,
    /// True where the call tree was too large to find out who asked.
    pub(super) cut: bool,
}

impl Said {
    /// `None` for data that is too short.
    pub(super) fn read(question: Selector, data: &Bytes) -> Option<Self> {
        let word = |index: usize| data.get(index * 32..index * 32 + 32).map(U256::from_be_slice);
        if question == LATEST_ANSWER {
            return Some(Self { answer: I256::from_raw(word(0)?), round: None });
        }
        // Rounds begin with one: an adapter that does not know of them leaves the last word empty.
        let (asked_in, answered_in) = (word(0)?, word(4)?);
        let round = Round {
            updated_at_s: word(3)?.saturating_to(),
            is_carried_over: !answered_in.is_zero() && answered_in < asked_in,
        };
        Some(Self { answer: I256::from_raw(word(1)?), round: Some(round) })
    }
}

/// The question that a frame asks a feed.
pub(super) fn question(frame: &Frame) -> Option<Selector> {
    let is_call = matches!(frame.kind, FrameKind::StaticCall | FrameKind::Call);
    let asked = frame.selector().filter(|asked| [LATEST_ROUND_DATA, LATEST_ANSWER].contains(asked));
    asked.filter(|_| is_call && frame.status.is_success() && !frame.reverted)
}

impl Answers {
    pub(super) fn of(protocol: &Protocol, execution: &Execution) -> Self {
        let mut answers = Self::default();
        let asked: Vec<(&Frame, Selector)> =
            execution.frames.iter().filter_map(|frame| Some((frame, question(frame)?))).collect();
        if asked.is_empty() {
            return answers;
        }
        let tree = Tree::of(protocol, execution);
        let mut steps = WALK_STEPS_MAX;
        for (frame, question) in asked {
            if steps == 0 {
                answers.cut = true;
                break;
            }
            let Some(reader) = tree.reader(frame, &mut steps) else { continue };
            match Said::read(question, &frame.output) {
                Some(said) => answers.all.push(Answer { feed: frame.address, reader, said }),
                None => answers.unread = answers.unread.saturating_add(1),
            }
        }
        answers
    }
}

struct Tree<'a> {
    protocol: &'a Protocol,
    execution: &'a Execution,
    side: SendersSide,
    /// Moments at which value moved, ascending.
    moves: Vec<u32>,
}

impl<'a> Tree<'a> {
    fn of(protocol: &'a Protocol, execution: &'a Execution) -> Self {
        let moved = execution.transfers.iter().filter(|moved| !moved.amount_raw.is_zero());
        let mut moves: Vec<u32> = moved.map(|moved| moved.seq).collect();
        moves.sort_unstable();
        Self { protocol, execution, side: SendersSide::of(protocol, execution), moves }
    }

    /// The protected contract for which a feed was asked: the nearest above it that is no feed itself. `None` where the
    /// sender's side stands in between, or where nothing moved in the calls of protected contracts that lead there.
    fn reader(&self, frame: &Frame, steps: &mut usize) -> Option<Address> {
        let (mut reader, mut cursor) = (None, frame);
        while let Some(above) = self.above(cursor) {
            *steps = steps.checked_sub(1)?;
            let is_protected = self.protocol.protects(above.address);
            if self.side.has(above.address) || (reader.is_some() && !is_protected) {
                break;
            }
            let is_feed = question(above).is_some();
            if is_protected && !is_feed {
                reader = reader.or(Some(above.address));
                if above.kind == FrameKind::Call && !above.reverted && self.moved_within(above) {
                    return reader;
                }
            }
            cursor = above;
        }
        None
    }

    fn above(&self, frame: &Frame) -> Option<&'a Frame> {
        self.execution.frame(frame.parent.filter(|above| *above < frame.index)?)
    }

    fn moved_within(&self, frame: &Frame) -> bool {
        let first = self.moves.partition_point(|seq| *seq < frame.enter_seq);
        self.moves.get(first).is_some_and(|seq| *seq <= frame.exit_seq)
    }
}
