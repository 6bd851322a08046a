//! Reading a node's answer, one entry per transaction, with the place of whatever is wrong.
//!
//! In: JSON of `debug_traceBlockByHash`. Out: what a tracer's own reader makes of each entry. Must never: recurse deeper
//! than the EVM's calls can nest, whatever the answer nests.

use super::error::TraceError;
use alloy_primitives::B256;
use cordon_model::block::Block;
use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Bytes of an answer that are read. The answers for full blocks of today's chains stay below 30 MB (a diff repeats the
/// code of every contract it changes, once per transaction).
pub(crate) const MAX_ANSWER_BYTES: usize = 128 << 20;
/// Stack of the thread that reads: frames nest to the EVM's depth, and one level takes some kilobytes unoptimised.
const STACK_BYTES: usize = 64 << 20;

/// Text that is not copied where it needs no unescaping.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The entries of an answer, one per transaction of the block, in order.
pub(crate) fn read_block<T: DeserializeOwned + Send>(
    method: &'static str,
    block: &Block,
    answer: &str,
) -> Result<Vec<T>, TraceError> {
    read(method, answer, || Entries { block, of: PhantomData::<T> })
}

/// A single trace by itself.
pub(crate) fn read_one<T: DeserializeOwned + Send>(
    method: &'static str,
    answer: &str,
) -> Result<T, TraceError> {
    read(method, answer, || PhantomData::<T>)
}

/// Reads on a thread whose stack is deep enough.
fn read<'a, S: DeserializeSeed<'a, Value: Send>>(
    method: &'static str,
    answer: &'a str,
    seed: impl Fn() -> S + Send,
) -> Result<S::Value, TraceError> {
    if answer.len() > MAX_ANSWER_BYTES {
        return Err(TraceError::TooLarge { method, bytes: answer.len(), max: MAX_ANSWER_BYTES });
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("traces".to_owned()).stack_size(STACK_BYTES);
        let reader =
            thread.spawn_scoped(scope, || read_here(method, answer, seed)).map_err(TraceError::Thread)?;
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn read_here<'a, S: DeserializeSeed<'a>>(
    method: &'static str,
    answer: &'a str,
    seed: impl Fn() -> S,
) -> Result<S::Value, TraceError> {
    let mut json = serde_json::Deserializer::from_str(answer);
    // The readers bound their own depth, and what they ignore is skipped without recursion.
    json.disable_recursion_limit();
    if let Ok(read) = seed().deserialize(&mut json)
        && json.end().is_ok()
    {
        return Ok(read);
    }
    // Tracking the place costs time, so only an answer that failed is read once more with it.
    let mut json = serde_json::Deserializer::from_str(answer);
    json.disable_recursion_limit();
    let mut track = serde_path_to_error::Track::new();
    let failed = seed().deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    let place = track.path().to_string();
    let reason = match failed.map(|_| json.end()) {
        Err(error) | Ok(Err(error)) => error.to_string(),
        Ok(Ok(())) => "read at the second try only".to_owned(),
    };
    Err(TraceError::Malformed { method, place, reason })
}

struct Entries<'b, T> {
    block: &'b Block,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Entries<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<T>, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one trace for each transaction of the block")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let wanted = &self.block.transactions;
        let mut read = Vec::with_capacity(wanted.len());
        for transaction in wanted {
            let entry = Entry { tx_hash: transaction.hash, of: PhantomData::<T> };
            let Some(traced) = entries.next_element_seed(entry)? else { break };
            read.push(traced);
        }
        let mut found = read.len();
        while entries.next_element::<IgnoredAny>()?.is_some() {
            found = found.saturating_add(1);
        }
        if found == wanted.len() {
            return Ok(read);
        }
        Err(A::Error::custom(format!("found {found} traces, the block has {} transactions", wanted.len())))
    }
}

struct Entry<T> {
    tx_hash: B256,
    of: PhantomData<T>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum EntryField {
    TxHash,
    Result,
    Error,
    #[serde(other)]
    Other,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Entry<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<T, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entry<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"result\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entry: A) -> Result<T, A::Error> {
        let mut traced = None;
        while let Some(field) = entry.next_key()? {
            match field {
                EntryField::TxHash => {
                    // Nodes that leave the hash out list the traces in the order of the block.
                    let found: B256 = entry.next_value()?;
                    if found != self.tx_hash {
                        return Err(A::Error::custom(format!(
                            "is the trace of transaction {found}, expected {}",
                            self.tx_hash
                        )));
                    }
                }
                EntryField::Result => traced = Some(entry.next_value()?),
                EntryField::Error => {
                    if let Some(Text(error)) = entry.next_value::<Option<Text<'_>>>()? {
                        return Err(A::Error::custom(format!("the node could not trace it: {error}")));
                    }
                }
                EntryField::Other => {
                    entry.next_value::<IgnoredAny>()?;
                }
            }
        }
        traced.ok_or_else(|| A::Error::missing_field("result"))
    }
}
