//! Messages that were sent, that were not, and those of which it cannot be said.

use super::*;
use crate::testing::{LENDING_VAULT, World};
use alloy_primitives::U256;
use cordon_model::finding::{AttackClass, Score};
use cordon_model::log::ChainEvent;
use cordon_model::message::MessageNews;
use cordon_model::units::BlockRef;

const OTHER: ChainId = ChainId(10);
const SOURCE: SourceId = SourceId(B256::repeat_byte(1));
const ID: B256 = B256::repeat_byte(7);
const PAID_S: u64 = 1_000_000;
const CLOCKS_S: u64 = 24;
const TRAVELS_S: u64 = 3_600;

fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::from(U256::from(number)) }
}

fn message(amount: Option<u64>) -> Message {
    Message { id: ID, amount_raw: amount.map(U256::from) }
}

fn claim(messages: &[Message]) -> Claim {
    let execution = World::new().script().finish(&[]);
    let what = Unbacked::Release { custody: LENDING_VAULT, fault: MessageFault::Unsent, message: Some(ID) };
    let statement = crate::detector::Statement {
        class: AttackClass::UnbackedMint,
        contract: LENDING_VAULT,
        score: Score(800),
        evidence: Evidence::Sign(Sign::Unbacked(what)),
    };
    Claim {
        sources: vec![(OTHER, SOURCE)],
        messages: messages.to_vec(),
        paid_s: PAID_S,
        travels_max_s: TRAVELS_S,
        clocks_s: CLOCKS_S,
        finding: statement.by("unbacked-mint", &World::protocol(), &execution),
    }
}

/// The other chain: listened to since then, with what was sent in which block, and judged up to a block and time.
struct Other {
    messages: Messages,
    cursor: Cursor,
}

impl Other {
    fn of(since_s: u64, sent: &[(u64, Message)], head: u64, at_s: u64) -> Self {
        let mut messages = Messages::default();
        let mut take =
            |number, news| messages.apply(&ChainEvent::Messages { block: block(number), news: vec![news] });
        take(1, MessageNews::Listening { sources: vec![SOURCE], since_s });
        for (number, message) in sent {
            take(*number, MessageNews::Sent { source: SOURCE, message: *message });
        }
        let mut cursor = Cursor { at_s, ..Cursor::new(OTHER) };
        (1..=head).for_each(|number| cursor.push(block(number)));
        Self { messages, cursor }
    }

    /// Listened to for long enough, and judged up to the payment.
    fn judged(sent: &[(u64, Message)], head: u64) -> Self {
        Self::of(PAID_S - TRAVELS_S - CLOCKS_S, sent, head, PAID_S + CLOCKS_S)
    }

    fn says(&self, claim: &Claim) -> Verdict {
        settle(claim, &BTreeMap::from([(OTHER, Known { cursor: &self.cursor, messages: &self.messages })]))
    }
}

fn fault(verdict: Verdict) -> MessageFault {
    let Verdict::Wrong(finding) = verdict else { panic!("{verdict:?}") };
    let Evidence::Sign(Sign::Unbacked(Unbacked::Release { fault, message, .. })) = finding.evidence else {
        panic!("{finding:?}")
    };
    assert_eq!(message, Some(ID));
    fault
}

#[test]
fn what_was_never_sent_is_wrong_once_the_other_chain_was_judged_so_far() {
    let claim = claim(&[message(None)]);
    assert_eq!(settle(&claim, &BTreeMap::new()), Verdict::Waits, "nothing is known of the other chain");
    let behind = Other::of(0, &[], 5, PAID_S + CLOCKS_S - 1);
    assert_eq!(behind.says(&claim), Verdict::Waits);
    assert_eq!(fault(Other::judged(&[], 5).says(&claim)), MessageFault::Unsent);
    let another = Message { id: B256::ZERO, amount_raw: None };
    assert_eq!(fault(Other::judged(&[(2, another)], 5).says(&claim)), MessageFault::Unsent);
}

/// The benign twin.
#[test]
fn what_was_sent_is_settled_when_no_reorganisation_can_take_it_back() {
    let claim = claim(&[message(None)]);
    let depth = u64::try_from(cordon_model::log::CURSOR_DEPTH_MAX).unwrap();
    let sent = [(2, message(None))];
    assert_eq!(Other::judged(&sent, 2 + depth - 1).says(&claim), Verdict::Waits);
    assert_eq!(Other::judged(&sent, 2 + depth).says(&claim), Verdict::Sent);

    let mut other = Other::judged(&sent, 5);
    other.messages.apply(&ChainEvent::Reverted { block: block(2) });
    assert_eq!(fault(other.says(&claim)), MessageFault::Unsent, "its block left the other chain");
}

#[test]
fn more_than_was_sent_is_wrong_and_less_is_a_fee() {
    let depth = u64::try_from(cordon_model::log::CURSOR_DEPTH_MAX).unwrap();
    let says = |paid, sent| Other::judged(&[(2, message(sent))], 2 + depth).says(&claim(&[message(paid)]));
    assert_eq!(fault(says(Some(101), Some(100))), MessageFault::More);
    assert_eq!(says(Some(100), Some(100)), Verdict::Sent);
    assert_eq!(says(Some(99), Some(100)), Verdict::Sent);
    assert_eq!((says(Some(101), None), says(None, Some(1))), (Verdict::Sent, Verdict::Sent));
}

/// The near miss.
#[test]
fn what_may_have_been_sent_before_its_chain_was_watched_is_not_judged() {
    let claim = claim(&[message(None)]);
    let young = Other::of(PAID_S - TRAVELS_S - CLOCKS_S + 1, &[], 5, PAID_S + CLOCKS_S);
    assert!(matches!(young.says(&claim), Verdict::Unknown(why) if why.contains(&ID.to_string())));
    let mut unheard = Other::judged(&[], 5);
    unheard.messages = Messages::default();
    assert!(matches!(unheard.says(&claim), Verdict::Unknown(_)), "its chain listened to others then");
}

#[test]
fn one_of_several_messages_is_enough_and_any_source_may_have_sent_it() {
    let depth = u64::try_from(cordon_model::log::CURSOR_DEPTH_MAX).unwrap();
    let another = Message { id: B256::repeat_byte(9), amount_raw: None };
    let two = claim(&[another, message(None)]);
    assert_eq!(fault(Other::judged(&[(2, another)], 2 + depth).says(&two)), MessageFault::Unsent);

    let mut meshed = claim(&[message(None)]);
    meshed.sources.push((ChainId(20), SOURCE));
    let (empty, full) = (Other::judged(&[], 5), Other::judged(&[(2, message(None))], 2 + depth));
    let known = |first: &Other, second: &Other| {
        let first = Known { cursor: &first.cursor, messages: &first.messages };
        let second = Known { cursor: &second.cursor, messages: &second.messages };
        settle(&meshed, &BTreeMap::from([(OTHER, first), (ChainId(20), second)]))
    };
    assert_eq!((known(&empty, &full), known(&full, &empty)), (Verdict::Sent, Verdict::Sent));
    assert_eq!(fault(known(&empty, &empty)), MessageFault::Unsent);
}

#[test]
fn a_message_is_paid_out_once() {
    let claim = claim(&[message(None)]);
    let mut own = Messages::default();
    let (none, in_block) = (BTreeSet::new(), BTreeSet::from([(LENDING_VAULT, ID)]));
    assert_eq!(paid_before(&claim, &own, &none), None);
    assert!(paid_before(&claim, &own, &in_block).is_some());
    let paid = MessageNews::Paid { custody: LENDING_VAULT, id: ID };
    own.apply(&ChainEvent::Messages { block: block(3), news: vec![paid] });
    let found = paid_before(&claim, &own, &none).unwrap();
    assert_eq!(fault(Verdict::Wrong(Box::new(found))), MessageFault::Twice);
}
