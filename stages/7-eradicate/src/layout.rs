//! Storage layouts of two implementations, and what an upgrade from one to the other would do to the state.
//!
//! In: the `storageLayout` that solc writes (`storage[]` and `types{}`). Out: [`LayoutChange`]s, harmless ones included.
//! The rules are those of OpenZeppelin's upgrades plugins: variables may be appended, may take the room of a gap that
//! shrinks accordingly, and may do nothing else. Positions are compared rather than edit distances: state is read
//! wrongly exactly where a variable's bytes mean something else than before, and a position says that directly.
//!
//! What solc's plain layout does not show, and what is therefore not judged here: ERC-7201 namespaces (OpenZeppelin's
//! upgradeable contracts since v5 keep their state there), the members of enums (only their size is compared), and
//! the type beneath a user-defined value type (another name counts as another type). The replay of honest history
//! with the fixed code is what covers these.

mod compare;
mod types;

pub use compare::compare;

use alloy_primitives::U256;
use cordon_model::remedy::LayoutChange;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Bytes in a storage slot.
const SLOT_BYTES: u64 = 32;

/// A storage layout, checked: every type that a variable or another type names is described.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageLayout {
    pub(crate) variables: Vec<Variable>,
    pub(crate) types: BTreeMap<String, Type>,
}

/// A state variable, or a member of a struct (whose position is relative to the struct).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) label: String,
    pub(crate) start: Position,
    pub(crate) end: Position,
    pub(crate) type_id: String,
}

/// A byte in storage, counted from the low end of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) slot: U256,
    pub(crate) offset: u64,
}

/// A type as far as solc describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Type {
    pub(crate) label: String,
    pub(crate) bytes: u64,
    pub(crate) shape: Shape,
}

/// How a type uses storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An address or a contract: 20 bytes that mean the same.
    Address,
    /// A value that its label describes fully, `bytes` and `string` included.
    Elementary,
    /// An enum; solc does not list its members.
    Enum,
    /// A user-defined value type; solc does not say what it is made of.
    Named,
    /// A struct with its members.
    Struct(Vec<Variable>),
    /// A mapping from key to value, by type ids.
    Mapping { key: String, value: String },
    /// An array of fixed length, by the element's type id.
    FixedArray { element: String },
    /// An array of variable length, by the element's type id.
    DynamicArray { element: String },
}

/// Why a storage layout cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It does not have the compiler's form.
    #[error("the layout does not have the form that solc writes")]
    Form {
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// A number is not one.
    #[error("{key} of '{label}' is '{value}', expected {expected}")]
    Number {
        /// Key: `slot`, `offset` or `numberOfBytes`.
        key: &'static str,
        /// Variable or type concerned.
        label: String,
        /// What is written there.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A type is named and not described.
    #[error("'{user}' uses type '{type_id}', which the layout does not describe")]
    UnknownType {
        /// Variable or type that names it.
        user: String,
        /// The missing type.
        type_id: String,
    },
    /// An encoding that solc did not know when this was written.
    #[error("type '{type_id}' has encoding '{encoding}', expected inplace, mapping, dynamic_array or bytes")]
    UnknownEncoding {
        /// Type.
        type_id: String,
        /// Its encoding.
        encoding: String,
    },
}

#[derive(Deserialize)]
struct RawLayout {
    storage: Vec<RawVariable>,
    /// solc writes `null` where there are no variables.
    types: Option<BTreeMap<String, RawType>>,
}

#[derive(Deserialize)]
struct RawVariable {
    label: String,
    offset: u64,
    slot: String,
    #[serde(rename = "type")]
    type_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawType {
    encoding: String,
    label: String,
    number_of_bytes: String,
    members: Option<Vec<RawVariable>>,
    key: Option<String>,
    value: Option<String>,
    base: Option<String>,
}

impl StorageLayout {
    /// Reads solc's `storageLayout`.
    ///
    /// # Errors
    /// [`LayoutError`] where it has another form, a number is wrong, or a type is missing.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, LayoutError> {
        let raw = RawLayout::deserialize(json).map_err(|source| LayoutError::Form { source })?;
        let raw_types = raw.types.unwrap_or_default();
        let sizes = raw_types
            .iter()
            .map(|(id, raw)| Ok((id.as_str(), size(id, &raw.number_of_bytes)?)))
            .collect::<Result<BTreeMap<&str, u64>, LayoutError>>()?;
        let variables = variables(&raw.storage, &sizes)?;
        let types = raw_types
            .iter()
            .map(|(id, raw)| Ok((id.clone(), described(id, raw, &sizes)?)))
            .collect::<Result<_, LayoutError>>()?;
        Ok(Self { variables, types })
    }

    /// Number of state variables.
    #[must_use]
    pub fn len(&self) -> usize {
        self.variables.len()
    }

    /// True where there is no state variable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }
}

impl Position {
    /// The position `bytes` further on; the far end of storage where there is no such slot.
    fn plus(self, bytes: u64) -> Self {
        let end = self.offset.saturating_add(bytes);
        let slot = self.slot.saturating_add(U256::from(end / SLOT_BYTES));
        Self { slot, offset: end % SLOT_BYTES }
    }
}

impl Variable {
    /// Whether both use the same byte.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

fn size(id: &str, text: &str) -> Result<u64, LayoutError> {
    text.parse().map_err(|_| LayoutError::Number {
        key: "numberOfBytes",
        label: id.to_owned(),
        value: text.to_owned(),
        expected: "a number of bytes",
    })
}

fn variables(raw: &[RawVariable], sizes: &BTreeMap<&str, u64>) -> Result<Vec<Variable>, LayoutError> {
    raw.iter().map(|raw| variable(raw, sizes)).collect()
}

fn variable(raw: &RawVariable, sizes: &BTreeMap<&str, u64>) -> Result<Variable, LayoutError> {
    let number =
        |key, value: String, expected| LayoutError::Number { key, label: raw.label.clone(), value, expected };
    let slot = U256::from_str_radix(&raw.slot, 10)
        .map_err(|_| number("slot", raw.slot.clone(), "a decimal number below 2^256"))?;
    if raw.offset >= SLOT_BYTES {
        return Err(number("offset", raw.offset.to_string(), "a number from 0 to 31"));
    }
    let bytes = *sizes.get(raw.type_id.as_str()).ok_or_else(|| unknown(&raw.label, &raw.type_id))?;
    let start = Position { slot, offset: raw.offset };
    let (label, type_id) = (raw.label.clone(), raw.type_id.clone());
    Ok(Variable { label, start, end: start.plus(bytes), type_id })
}

fn unknown(user: &str, type_id: &str) -> LayoutError {
    LayoutError::UnknownType { user: user.to_owned(), type_id: type_id.to_owned() }
}

fn described(id: &str, raw: &RawType, sizes: &BTreeMap<&str, u64>) -> Result<Type, LayoutError> {
    let known = |part: &Option<String>| match part {
        Some(part) if sizes.contains_key(part.as_str()) => Ok(part.clone()),
        Some(part) => Err(unknown(id, part)),
        None => Err(unknown(id, "")),
    };
    let shape = match raw.encoding.as_str() {
        "mapping" => Shape::Mapping { key: known(&raw.key)?, value: known(&raw.value)? },
        "dynamic_array" => Shape::DynamicArray { element: known(&raw.base)? },
        "bytes" => Shape::Elementary,
        "inplace" => match (&raw.members, &raw.base) {
            (Some(members), _) => Shape::Struct(variables(members, sizes)?),
            (None, Some(_)) => Shape::FixedArray { element: known(&raw.base)? },
            (None, None) => value_shape(id),
        },
        encoding => {
            let (type_id, encoding) = (id.to_owned(), encoding.to_owned());
            return Err(LayoutError::UnknownEncoding { type_id, encoding });
        }
    };
    Ok(Type { label: raw.label.clone(), bytes: size(id, &raw.number_of_bytes)?, shape })
}

/// solc tells value types apart only by the beginning of the type's id.
fn value_shape(id: &str) -> Shape {
    if id == "t_address" || id == "t_address_payable" || id.starts_with("t_contract(") {
        Shape::Address
    } else if id.starts_with("t_enum(") {
        Shape::Enum
    } else if id.starts_with("t_userDefinedValueType(") {
        Shape::Named
    } else {
        Shape::Elementary
    }
}

/// A change that leaves the state readable.
fn harmless(label: &str, what: impl Into<String>) -> LayoutChange {
    LayoutChange { label: label.to_owned(), what: what.into(), breaking: false }
}

/// A change by which state would be read wrongly.
fn breaking(label: &str, what: impl Into<String>) -> LayoutChange {
    LayoutChange { label: label.to_owned(), what: what.into(), breaking: true }
}
