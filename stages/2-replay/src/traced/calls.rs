//! The call tracer's result, read into a flat list of calls.
//!
//! In: JSON of `callTracer` with logs. Out: a [`CallTree`] within the recorder's bounds; where a bound cut, it says so.
//! Must never: build what it then drops. A trace of a million calls is skipped over, not stored.

use super::json::Text;
use crate::recorder::bounds::{MAX_DATA_BYTES, MAX_FRAMES, MAX_LOGS};
use alloy_primitives::{Address, B256, Bytes, U64, U256, hex};
use cordon_model::execution::FrameKind;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Deepest call that can appear: the EVM allows 1,024 calls below the first (yellow paper, section 9.4), and tracers list
/// the one that failed for being deeper.
const MAX_DEPTH: u32 = 1_025;

/// Calls of one transaction, each after the calls it made; the last is the transaction's own.
#[derive(Debug, Default)]
pub(crate) struct CallTree {
    pub(crate) calls: Vec<TracedCall>,
    pub(crate) truncated: bool,
    opened: usize,
    logs: usize,
    data_bytes: usize,
}

/// What an entry of the tracer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TracedKind {
    Frame(FrameKind),
    SelfDestruct,
}

/// One entry of the tracer.
#[derive(Debug)]
pub(crate) struct TracedCall {
    pub(crate) kind: TracedKind,
    pub(crate) from: Address,
    /// Absent where a creation failed.
    pub(crate) to: Option<Address>,
    pub(crate) value_wei: U256,
    /// Absent in some nodes' traces below the first call.
    pub(crate) gas_used: Option<u64>,
    pub(crate) input: Bytes,
    pub(crate) output: Bytes,
    pub(crate) error: Option<String>,
    /// Positions of the calls made by this one, in order.
    pub(crate) children: Vec<usize>,
    pub(crate) logs: Vec<TracedLog>,
}

/// One log of a call.
#[derive(Debug)]
pub(crate) struct TracedLog {
    /// How many calls the frame had made before it.
    pub(crate) position: usize,
    pub(crate) address: Address,
    pub(crate) topics: Vec<B256>,
    pub(crate) data: Bytes,
}

impl<'de> Deserialize<'de> for CallTree {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let mut tree = Self::default();
        CallSeed { tree: &mut tree, depth: 0 }.deserialize(json)?;
        Ok(tree)
    }
}

impl CallTree {
    /// The bytes of a text, or nothing where the budget does not suffice.
    fn data<E: Error>(&mut self, text: &str) -> Result<Bytes, E> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let total = self.data_bytes.saturating_add(digits.len() / 2);
        if total > MAX_DATA_BYTES {
            self.truncated = true;
            return Ok(Bytes::new());
        }
        self.data_bytes = total;
        let bytes = hex::decode(digits).map_err(|error| E::custom(format!("no hex data: {error}")))?;
        Ok(bytes.into())
    }

    fn log<E: Error>(&mut self, log: WireLog<'_>, logs: &mut Vec<WiredLog>) -> Result<(), E> {
        if self.logs >= MAX_LOGS {
            self.truncated = true;
            return Ok(());
        }
        if log.topics.len() > 4 {
            return Err(E::custom(format!("a log with {} topics, expected at most 4", log.topics.len())));
        }
        self.logs = self.logs.saturating_add(1);
        let data = log.data.map(|Text(data)| self.data(&data)).transpose()?.unwrap_or_default();
        let position =
            log.position.map(|position| usize::try_from(position.to::<u64>()).unwrap_or(usize::MAX));
        logs.push(WiredLog { position, address: log.address, topics: log.topics, data });
        Ok(())
    }
}

#[derive(Deserialize)]
struct WireLog<'a> {
    address: Address,
    topics: Vec<B256>,
    #[serde(borrow, default)]
    data: Option<Text<'a>>,
    #[serde(default)]
    position: Option<U64>,
}

struct WiredLog {
    position: Option<usize>,
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum CallField {
    Type,
    From,
    To,
    Value,
    GasUsed,
    Input,
    Output,
    Error,
    Calls,
    Logs,
    #[serde(other)]
    Other,
}

/// Fields of a call as they come in, in any order.
#[derive(Default)]
struct Fields {
    kind: Option<TracedKind>,
    from: Option<Address>,
    to: Option<Address>,
    value_wei: U256,
    gas_used: Option<u64>,
    input: Bytes,
    output: Bytes,
    error: Option<String>,
    children: Vec<usize>,
    logs: Vec<WiredLog>,
}

impl Fields {
    fn finish<E: Error>(self) -> Result<TracedCall, E> {
        let kind = self.kind.ok_or_else(|| E::missing_field("type"))?;
        let creates = matches!(kind, TracedKind::Frame(FrameKind::Create | FrameKind::Create2));
        if self.to.is_none() && !creates {
            return Err(E::missing_field("to"));
        }
        let mut logs = Vec::with_capacity(self.logs.len());
        for log in self.logs {
            // Without calls there is only one place for a log; otherwise it must be stated.
            let position = match log.position {
                Some(position) => position,
                None if self.children.is_empty() => 0,
                None => return Err(E::missing_field("logs[..].position")),
            };
            logs.push(TracedLog { position, address: log.address, topics: log.topics, data: log.data });
        }
        logs.sort_by_key(|log| log.position);
        Ok(TracedCall {
            kind,
            from: self.from.ok_or_else(|| E::missing_field("from"))?,
            to: self.to,
            value_wei: self.value_wei,
            gas_used: self.gas_used,
            input: self.input,
            output: self.output,
            error: self.error,
            children: self.children,
            logs,
        })
    }
}

fn kind<E: Error>(name: &str) -> Result<TracedKind, E> {
    Ok(match name {
        "CALL" => TracedKind::Frame(FrameKind::Call),
        "CALLCODE" => TracedKind::Frame(FrameKind::CallCode),
        "DELEGATECALL" => TracedKind::Frame(FrameKind::DelegateCall),
        "STATICCALL" => TracedKind::Frame(FrameKind::StaticCall),
        "CREATE" => TracedKind::Frame(FrameKind::Create),
        "CREATE2" => TracedKind::Frame(FrameKind::Create2),
        "SELFDESTRUCT" => TracedKind::SelfDestruct,
        other => {
            return Err(E::custom(format!("type \"{other}\", expected a call, creation or SELFDESTRUCT")));
        }
    })
}

/// One call; the value is its position, or `None` where the bound left it out.
struct CallSeed<'t> {
    tree: &'t mut CallTree,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for CallSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<usize>, D::Error> {
        if self.depth > MAX_DEPTH {
            return Err(D::Error::custom(format!("calls nest deeper than {MAX_DEPTH}, which no EVM allows")));
        }
        if self.tree.opened >= MAX_FRAMES {
            self.tree.truncated = true;
            IgnoredAny::deserialize(json)?;
            return Ok(None);
        }
        self.tree.opened = self.tree.opened.saturating_add(1);
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CallSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<usize>, A::Error> {
        let Self { tree, depth } = self;
        let mut fields = Fields::default();
        while let Some(field) = map.next_key()? {
            match field {
                CallField::Type => fields.kind = Some(kind(&map.next_value::<Text<'_>>()?.0)?),
                CallField::From => fields.from = Some(map.next_value()?),
                CallField::To => fields.to = map.next_value()?,
                CallField::Value => fields.value_wei = map.next_value::<Option<_>>()?.unwrap_or_default(),
                CallField::GasUsed => fields.gas_used = Some(map.next_value::<U64>()?.to()),
                CallField::Input => fields.input = data(tree, &mut map)?,
                CallField::Output => fields.output = data(tree, &mut map)?,
                CallField::Error => {
                    fields.error =
                        map.next_value::<Option<Text<'_>>>()?.map(|Text(error)| error.into_owned());
                }
                CallField::Calls => {
                    fields.children =
                        map.next_value_seed(CallsSeed { tree, depth: depth.saturating_add(1) })?;
                }
                CallField::Logs => fields.logs = map.next_value_seed(LogsSeed { tree })?,
                CallField::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let index = tree.calls.len();
        tree.calls.push(fields.finish()?);
        Ok(Some(index))
    }
}

fn data<'de, A: MapAccess<'de>>(tree: &mut CallTree, map: &mut A) -> Result<Bytes, A::Error> {
    let text = map.next_value::<Option<Text<'_>>>()?;
    text.map_or(Ok(Bytes::new()), |Text(text)| tree.data(&text))
}

/// The calls made by one call.
struct CallsSeed<'t> {
    tree: &'t mut CallTree,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for CallsSeed<'_> {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<usize>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CallsSeed<'_> {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of calls")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<usize>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<usize>, A::Error> {
        let mut children = Vec::new();
        while let Some(child) =
            list.next_element_seed(CallSeed { tree: &mut *self.tree, depth: self.depth })?
        {
            children.extend(child);
        }
        Ok(children)
    }
}

/// The logs of one call.
struct LogsSeed<'t> {
    tree: &'t mut CallTree,
}

impl<'de> DeserializeSeed<'de> for LogsSeed<'_> {
    type Value = Vec<WiredLog>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<WiredLog>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LogsSeed<'_> {
    type Value = Vec<WiredLog>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of logs")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<WiredLog>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<WiredLog>, A::Error> {
        let mut logs = Vec::new();
        while let Some(log) = list.next_element::<WireLog<'de>>()? {
            self.tree.log(log, &mut logs)?;
        }
        Ok(logs)
    }
}
