//! The event by which one end of a bridge names a message.
//!
//! In: an event with names, and which of its values say which message it is and how much it is about. Out: the message of a log.
//! Must never: take two messages for one because a value was left out of its id, or read a log of another shape.

use crate::rules::bounded;
use alloy_dyn_abi::{DynSolEvent, DynSolType, DynSolValue, Specifier as _};
use alloy_json_abi::Event;
use alloy_primitives::{B256, U256, keccak256};
use cordon_model::execution::Log;
use cordon_model::message::Message;

/// How an event is to be written; what errors quote.
const EVENT: &str =
    "an event with the names of its values, such as \"Sent(bytes32 indexed id, address to, uint256 amount)\"";

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
    topic: B256,
    event: DynSolEvent,
    id: Vec<Place>,
    amount: Option<Place>,
}

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Among the indexed ones.
    Topic(usize),
    /// Among the others.
    Data(usize),
    /// Nowhere: it is the same in every message, such as the number of the chain that sends.
    Always(U256),
}

/// What is wrong with how it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The event, and what it should be.
    Event(&'static str),
    /// A name of the id, and what it should be.
    Id(String, &'static str),
    /// The name of the amount, and what it should be.
    Amount(String, &'static str),
}

impl End {
    pub(crate) fn of(signature: &str, id: &[String], amount: Option<&str>) -> Result<Self, Wrong> {
        bounded(signature).map_err(|_| Wrong::Event(EVENT))?;
        let event = Event::parse(signature).map_err(|_| Wrong::Event(EVENT))?;
        let resolved = event.resolve().map_err(|_| Wrong::Event(EVENT))?;
        let topic = resolved.topic_0().ok_or(Wrong::Event("an event that is not anonymous"))?;
        let place = |name: &str| -> Option<(Place, DynSolType)> {
            let (mut topics, mut words) = (0usize, 0usize);
            for input in &event.inputs {
                let (place, count) = match input.indexed {
                    true => (Place::Topic(topics), &mut topics),
                    false => (Place::Data(words), &mut words),
                };
                if input.name == name {
                    return Some((place, input.resolve().ok()?));
                }
                *count = count.saturating_add(1);
            }
            None
        };
        let mut places = Vec::new();
        for name in id {
            let found = place(name).filter(|(_, kind)| is_simple(kind)).map(|(place, _)| place);
            let number = || name.parse().ok().filter(|_| name.starts_with(|c: char| c.is_ascii_digit()));
            let expected = "the name of a value of the event that is a single word or bytes, or a number that stands for one";
            let found = found.or_else(|| number().map(Place::Always));
            places.push(found.ok_or_else(|| Wrong::Id(name.clone(), expected))?);
        }
        let number = |name: &str| place(name).filter(|(_, kind)| matches!(kind, DynSolType::Uint(_)));
        let expected = "the name of an unsigned number of the event";
        let amount = amount
            .map(|name| number(name).ok_or_else(|| Wrong::Amount(name.to_owned(), expected)))
            .transpose()?;
        Ok(Self { topic, event: resolved, id: places, amount: amount.map(|(place, _)| place) })
    }

    /// True where the log is this event by its first topic; whether it can be read is another question.
    pub(crate) fn is(&self, log: &Log) -> bool {
        log.topics.first() == Some(&self.topic)
    }

    /// True where messages have an id.
    pub(crate) fn names(&self) -> bool {
        !self.id.is_empty()
    }

    /// What tells it from other ends, whatever its values are called.
    pub(crate) fn marks(&self) -> String {
        format!("{} {:?} {:?}", self.topic, self.id, self.amount)
    }

    /// The message; `None` where the log has another shape, or messages have no id.
    pub(crate) fn read(&self, log: &Log) -> Option<Message> {
        let found = self.event.decode_log_parts(log.topics.iter().copied(), &log.data).ok()?;
        let value = |place: &Place| match place {
            Place::Topic(at) => word(found.indexed.get(*at)?),
            Place::Data(at) => word(found.body.get(*at)?),
            Place::Always(number) => Some(B256::from(*number)),
        };
        let words: Vec<B256> = self.id.iter().map(value).collect::<Option<_>>()?;
        let id = match words.as_slice() {
            [] => return None,
            [only] => *only,
            several => keccak256(several.iter().flat_map(|word| word.0).collect::<Vec<u8>>()),
        };
        let amount_raw = match &self.amount {
            Some(place) => Some(U256::from_be_bytes(value(place)?.0)),
            None => None,
        };
        Some(Message { id, amount_raw })
    }
}

fn is_simple(kind: &DynSolType) -> bool {
    matches!(
        kind,
        DynSolType::Bool
            | DynSolType::Int(_)
            | DynSolType::Uint(_)
            | DynSolType::FixedBytes(_)
            | DynSolType::Address
            | DynSolType::Bytes
    )
}

/// A value as one word; of bytes the hash, which is what indexed ones are in a log. Texts are not taken: decoding makes different
/// bytes that are no text equal.
fn word(value: &DynSolValue) -> Option<B256> {
    match value {
        DynSolValue::Bytes(bytes) => Some(keccak256(bytes)),
        other => other.as_word(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, Bytes};
    use alloy_sol_types::{SolEvent, sol};
    use proptest::prelude::*;

    sol! {
        event Sent(bytes32 indexed id, address to, uint256 amount);
        event Published(uint16 chain, bytes32 indexed sender, uint64 sequence, bytes payload);
        event Hashed(bytes indexed payload);
        event Plain(bytes payload);
    }

    fn log(event: &impl SolEvent) -> Log {
        let data = event.encode_log_data();
        let topics = data.topics().to_vec();
        Log { seq: 0, frame: 0, address: Address::ZERO, topics, data: data.data }
    }

    fn end(signature: &str, id: &[&str], amount: Option<&str>) -> Result<End, Wrong> {
        End::of(signature, &id.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), amount)
    }

    #[test]
    fn a_message_is_a_word_and_an_amount() {
        let end =
            end("Sent(bytes32 indexed id, address to, uint256 amount)", &["id"], Some("amount")).unwrap();
        let id = B256::repeat_byte(7);
        let sent = log(&Sent { id, to: Address::ZERO, amount: U256::from(9) });
        assert!(end.is(&sent));
        assert_eq!(end.read(&sent), Some(Message { id, amount_raw: Some(U256::from(9)) }));
        let short = Log { data: Bytes::from_static(&[1, 2, 3]), ..sent };
        assert!(end.is(&short));
        assert_eq!(end.read(&short), None, "of another shape");
    }

    #[test]
    fn several_values_are_one_id_and_each_of_them_counts() {
        let end = end(
            "Published(uint16 chain, bytes32 indexed sender, uint64 sequence, bytes payload)",
            &["sender", "sequence"],
            None,
        )
        .unwrap();
        let read = |sender: u8, sequence, chain| {
            let sender = B256::repeat_byte(sender);
            end.read(&log(&Published { chain, sender, sequence, payload: Bytes::new() })).unwrap().id
        };
        assert_eq!(read(1, 2, 3), read(1, 2, 4), "what is not named makes no difference");
        assert!(read(1, 2, 3) != read(1, 3, 3) && read(1, 2, 3) != read(2, 2, 3));
    }

    /// Two chains that count by themselves, of which the first does not log who it is.
    #[test]
    fn a_number_stands_for_what_one_end_does_not_log() {
        let published = "Published(uint16 chain, bytes32 indexed sender, uint64 sequence, bytes payload)";
        let named = end(published, &["chain", "sequence"], None).unwrap();
        let fixed = |number: &str| end(published, &[number, "sequence"], None).unwrap();
        let message = Published { chain: 5, sender: B256::ZERO, sequence: 9, payload: Bytes::new() };
        assert_eq!(fixed("5").read(&log(&message)), named.read(&log(&message)));
        assert_ne!(fixed("6").read(&log(&message)), named.read(&log(&message)));
        assert_ne!(fixed("5").marks(), fixed("6").marks());
    }

    #[test]
    fn bytes_are_the_same_whether_the_log_holds_them_or_their_hash() {
        let hashed = end("Hashed(bytes indexed payload)", &["payload"], None).unwrap();
        let plain = end("Plain(bytes payload)", &["payload"], None).unwrap();
        let payload = Bytes::from_static(b"pay");
        let whole = plain.read(&log(&Plain { payload: payload.clone() })).unwrap();
        let topic = Log {
            topics: vec![Hashed::SIGNATURE_HASH, keccak256(&payload)],
            ..log(&Plain { payload: Bytes::new() })
        };
        assert_eq!(hashed.read(&Log { data: Bytes::new(), ..topic }), Some(whole));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let sent = "Sent(bytes32 indexed id, address to, uint256 amount)";
        assert!(matches!(end("Sent(", &[], None), Err(Wrong::Event(_))));
        assert!(matches!(end(&"Sent(".repeat(10_000), &[], None), Err(Wrong::Event(_))));
        assert!(matches!(
            end(
                "Sent(uint[][][] indexed a, bytes32 indexed b, bytes32 indexed c, bytes32 indexed d)",
                &[],
                None
            ),
            Err(Wrong::Event(_))
        ));
        assert!(matches!(end(sent, &["key"], None), Err(Wrong::Id(name, _)) if name == "key"));
        assert!(matches!(end("Sent(string key)", &["key"], None), Err(Wrong::Id(..))));
        assert!(matches!(end("Sent(uint256[] ids)", &["ids"], None), Err(Wrong::Id(..))));
        assert!(matches!(end(sent, &["id"], Some("to")), Err(Wrong::Amount(name, _)) if name == "to"));
    }

    proptest! {
        /// Hostile input.
        #[test]
        fn any_log_is_read_or_refused(
            topics in proptest::collection::vec(any::<[u8; 32]>(), 0..5),
            data in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let end = end("Published(uint16 chain, bytes32 indexed sender, uint64 sequence, bytes payload)", &["sequence", "payload"], None).unwrap();
            let topics = topics.into_iter().map(B256::from).collect();
            let mut log = log(&Plain { payload: Bytes::new() });
            (log.topics, log.data) = (topics, data.into());
            let _ = end.read(&log);
            log.topics.insert(0, end.topic);
            let _ = end.read(&log);
        }
    }
}
