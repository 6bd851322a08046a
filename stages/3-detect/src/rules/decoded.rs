//! Arguments of calls and of events, decoded by a signature that was parsed once, at load.
//!
//! In: `swap(uint256,uint256,address,bytes)` or `Transfer(address indexed from, address indexed to, uint256 value)`, and the
//! bytes of a call or log. Out: one value per parameter. Read is what a contract would read: bytes beyond the end are zero, and
//! of a word that is wider than its type the bits of the type. Must never: fail on what a transaction holds (what cannot be
//! read is null), or take longer than the rule's [`Budget`] allows.

use super::lists::Budget;
use super::types::Type;
use super::values::{Amount, Octets, Signed};
use alloy_dyn_abi::{DynSolType, Specifier};
use alloy_json_abi::{Event, Function};
use alloy_primitives::{Address, B256, Bytes, I256, Selector, U256, keccak256};
use cel::common::types::{CelBool, CelList, CelNull, CelString};
use cel::common::types::{Kind as CelKind, Type as CelType};
use cel::common::value::{StaticVal, Val};
use cordon_model::execution::{Frame, Log};
use std::any::Any;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Most brackets of each kind in a signature, and most types in one another. Signatures in use have four; without a
/// bound the parser and every reading would go as deep as a text can ask.
const NESTING_MAX: usize = 8;

/// Most parameters of a signature. A function of Solidity cannot have more than its stack has places (16) without
/// putting them into a tuple; a few times that is room for tuples.
const PARAMETERS_MAX: usize = 64;

/// Most words that a parameter of fixed length takes. A tree of 32 hashes, the longest in use, takes 32.
const WORDS_MAX: usize = 1_024;

/// Bytes of a word of the ABI.
const WORD: usize = 32;

type Boxed = Box<dyn Val>;

/// What one value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Address,
    Bool,
    /// So many bits.
    Uint(usize),
    /// So many bits.
    Int(usize),
    /// So many bytes.
    Fixed(usize),
    Octets,
    Text,
    List(Box<Kind>),
    Array(Box<Kind>, usize),
    Tuple(Vec<Kind>),
}

impl Kind {
    fn of(found: &DynSolType) -> Option<Self> {
        Some(match found {
            DynSolType::Address => Self::Address,
            DynSolType::Bool => Self::Bool,
            DynSolType::Uint(bits) => Self::Uint(*bits),
            DynSolType::Int(bits) => Self::Int(*bits),
            DynSolType::FixedBytes(bytes) => Self::Fixed(*bytes),
            DynSolType::Function => Self::Fixed(24),
            DynSolType::Bytes => Self::Octets,
            DynSolType::String => Self::Text,
            DynSolType::Array(of) => Self::List(Box::new(Self::of(of)?)),
            DynSolType::FixedArray(of, length) => Self::Array(Box::new(Self::of(of)?), *length),
            tuple => Self::Tuple(tuple.as_tuple()?.iter().map(Self::of).collect::<Option<_>>()?),
        })
    }

    fn is_dynamic(&self) -> bool {
        match self {
            Self::Octets | Self::Text | Self::List(_) => true,
            Self::Array(of, _) => of.is_dynamic(),
            Self::Tuple(parts) => parts.iter().any(Self::is_dynamic),
            Self::Address | Self::Bool | Self::Uint(_) | Self::Int(_) | Self::Fixed(_) => false,
        }
    }

    /// Bytes that it takes where it stands, which is those of an offset where its length is not known beforehand.
    fn head_bytes(&self) -> usize {
        match self {
            _ if self.is_dynamic() => WORD,
            Self::Array(of, length) => of.head_bytes().saturating_mul(*length),
            Self::Tuple(parts) => heads(parts),
            _ => WORD,
        }
    }

    /// The type of the value, as far as rules tell types apart.
    pub(super) fn type_of(&self) -> Type {
        match self {
            Self::Address | Self::Fixed(_) | Self::Octets => Type::HEX,
            Self::Bool => Type::BOOL,
            Self::Uint(_) => Type::AMOUNT,
            Self::Int(_) => Type::SIGNED,
            Self::Text => Type::TEXT,
            Self::List(of) | Self::Array(of, _) => of.type_of().listed(),
            Self::Tuple(parts) => {
                let types = parts.iter().map(Self::type_of);
                types.reduce(Type::join).unwrap_or(Type::ANY).listed()
            }
        }
    }

    /// What stands at a place of a list or tuple; words where nothing can.
    pub(super) fn at(&self, place: usize) -> Result<&Self, String> {
        match self {
            Self::Tuple(parts) => parts.get(place).ok_or_else(|| {
                format!("there are {} values, the first of which is at 0, and none at {place}", parts.len())
            }),
            Self::Array(of, length) if place < *length => Ok(of),
            Self::Array(_, length) => Err(format!("the array has {length} elements, and none at {place}")),
            Self::List(of) => Ok(of),
            _ => Err("this value has no places".to_owned()),
        }
    }
}

fn heads(parts: &[Kind]) -> usize {
    parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.head_bytes()))
}

/// Where a value of an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// This topic.
    Topic(usize),
    /// So many bytes after the beginning of calldata (without selector) or data.
    Data(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tag {
    Function(Selector),
    Event(B256),
}

/// A signature, ready to read by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    tag: Tag,
    /// A tuple of everything; an indexed argument that is no word is known by its hash only, and is one.
    whole: Kind,
    places: Vec<Place>,
}

impl Layout {
    /// Of a function, as `name(types)`; parameters may have names.
    pub(super) fn function(signature: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "'{signature}' is not the signature of a function such as 'transfer(address,uint256)': {why}"
            )
        };
        bounded(signature).map_err(|why| wrong(&why))?;
        let function = Function::parse(signature).map_err(|error| wrong(&first_line(&error)))?;
        Self::of_function(&function).map_err(|why| wrong(&why))
    }

    /// Of a function of an ABI.
    pub(super) fn of_function(function: &Function) -> Result<Self, String> {
        let types = function.inputs.iter().map(|input| input.resolve().map_err(|error| first_line(&error)));
        let types = types.collect::<Result<Vec<_>, _>>()?;
        let kinds = kinds(&types)?;
        let hash = keccak256(canonical(&function.name, &types));
        let [a, b, c, d, ..] = hash.0;
        let mut at = 0usize;
        let places = kinds.iter().map(|kind| next(&mut at, kind)).collect();
        Ok(Self { tag: Tag::Function(Selector::new([a, b, c, d])), whole: Kind::Tuple(kinds), places })
    }

    /// Of an event, as `name(types)` with `indexed` where an argument is one of the topics.
    pub(super) fn event(signature: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "'{signature}' is not the signature of an event such as 'Transfer(address indexed, address indexed, uint256)': {why}"
            )
        };
        bounded(signature).map_err(|why| wrong(&why))?;
        let event = Event::parse(signature).map_err(|error| wrong(&first_line(&error)))?;
        Self::of_event(&event).map_err(|why| wrong(&why))
    }

    /// Of an event of an ABI.
    pub(super) fn of_event(event: &Event) -> Result<Self, String> {
        if event.anonymous {
            return Err("an anonymous event cannot be told by its first topic".to_owned());
        }
        let types = event.inputs.iter().map(|input| input.resolve().map_err(|error| first_line(&error)));
        let types = types.collect::<Result<Vec<_>, _>>()?;
        let (mut topic, mut at) = (0usize, 0usize);
        let (mut seen, mut places) = (Vec::new(), Vec::new());
        for (kind, input) in kinds(&types)?.into_iter().zip(&event.inputs) {
            if input.indexed {
                topic = topic.saturating_add(1);
                places.push(Place::Topic(topic));
                let is_word = !matches!(
                    kind,
                    Kind::Octets | Kind::Text | Kind::List(_) | Kind::Array(..) | Kind::Tuple(_)
                );
                seen.push(if is_word { kind } else { Kind::Fixed(WORD) });
            } else {
                places.push(next(&mut at, &kind));
                seen.push(kind);
            }
        }
        if topic > 3 {
            return Err(format!("{topic} indexed arguments, and a log has room for 3"));
        }
        Ok(Self {
            tag: Tag::Event(keccak256(canonical(&event.name, &types))),
            whole: Kind::Tuple(seen),
            places,
        })
    }

    /// All values together.
    pub(super) fn kind(&self) -> &Kind {
        &self.whole
    }

    fn kinds(&self) -> &[Kind] {
        match &self.whole {
            Kind::Tuple(kinds) => kinds,
            _ => &[],
        }
    }

    fn topics(&self) -> usize {
        self.places.iter().filter(|place| matches!(place, Place::Topic(_))).count()
    }
}

fn kinds(types: &[DynSolType]) -> Result<Vec<Kind>, String> {
    if types.len() > PARAMETERS_MAX {
        return Err(format!("{} parameters, expected at most {PARAMETERS_MAX}", types.len()));
    }
    if let Some(deep) = types.iter().find(|found| found.nesting_depth() > NESTING_MAX) {
        return Err(format!("'{deep}' has more than {NESTING_MAX} types in one another"));
    }
    if let Some(odd) = types.iter().find(|found| found.is_zst() || found.minimum_words() > WORDS_MAX) {
        return Err(format!("'{odd}' holds nothing, or more than {WORDS_MAX} words"));
    }
    let kinds = types.iter().map(|found| Kind::of(found).ok_or_else(|| format!("'{found}' is not known")));
    kinds.collect()
}

/// A signature as it is hashed: no spaces, no names, no short types.
fn canonical(name: &str, types: &[DynSolType]) -> String {
    let types: Vec<_> = types.iter().map(|found| found.sol_type_name()).collect();
    format!("{name}({})", types.join(","))
}

fn next(at: &mut usize, kind: &Kind) -> Place {
    let place = Place::Data(*at);
    *at = at.saturating_add(kind.head_bytes());
    place
}

/// Refuses what would take the parser of signatures deep.
pub(crate) fn bounded(signature: &str) -> Result<(), String> {
    let (mut depth, mut deepest) = (0usize, 0usize);
    for letter in signature.chars() {
        match letter {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    let longest = signature.split([',', ' ']).map(|part| part.matches('[').count()).max().unwrap_or(0);
    if deepest > NESTING_MAX || longest > NESTING_MAX {
        return Err(format!("more than {NESTING_MAX} brackets in one another"));
    }
    Ok(())
}

fn first_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

static SIGNATURE_TYPE: CelType = CelType::simple_type(CelKind::Struct, "signature");

/// A layout as an argument of a function of CEL, with what the rule may still read.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    pub(super) layout: Arc<Layout>,
    pub(super) budget: Arc<Budget>,
    /// The one value that is wanted, where not all are.
    pub(super) place: Option<usize>,
}

impl Val for Schema {
    fn get_type(&self) -> &CelType {
        &SIGNATURE_TYPE
    }

    fn cel_type() -> &'static CelType {
        &SIGNATURE_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Schema {}

impl Schema {
    /// What is wanted of the arguments of a call: a list of all, or one of them. `None` where one is wanted of another
    /// function.
    pub(super) fn of_call(&self, frame: &Frame) -> Option<Boxed> {
        let is_it = match &self.layout.tag {
            Tag::Function(selector) => frame.selector() == Some(*selector),
            Tag::Event(_) => false,
        };
        self.wanted(is_it, &[], || frame.input.slice(4..))
    }

    /// The same of an event. One of the same name and types that has other topics is another one.
    pub(super) fn of_log(&self, log: &Log) -> Option<Boxed> {
        let is_it = match &self.layout.tag {
            Tag::Event(topic0) => log.topics.first() == Some(topic0),
            Tag::Function(_) => false,
        };
        let fits = log.topics.len() == self.layout.topics().saturating_add(1);
        self.wanted(is_it && fits, &log.topics, || log.data.clone())
    }

    fn wanted(&self, is_it: bool, topics: &[B256], data: impl FnOnce() -> Bytes) -> Option<Boxed> {
        match self.place {
            None if !is_it => Some(Box::new(CelList::from(Vec::<Boxed>::new()))),
            Some(_) if !is_it => None,
            Some(place) => self.one(place, topics, &data()),
            None => {
                let data = data();
                let places = 0..self.layout.places.len();
                let values: Vec<Boxed> = places.filter_map(|place| self.one(place, topics, &data)).collect();
                Some(Box::new(CelList::from(values)))
            }
        }
    }

    /// The value at a place; null where it cannot be read, `None` where the signature has none.
    fn one(&self, place: usize, topics: &[B256], data: &Bytes) -> Option<Boxed> {
        let (kind, place) = (self.layout.kinds().get(place)?, self.layout.places.get(place)?);
        let budget = &self.budget;
        let read = match *place {
            Place::Topic(topic) => {
                let data = Bytes::copy_from_slice(topics.get(topic)?.as_slice());
                Reader { data: &data, budget }.value(kind, 0, 0)
            }
            Place::Data(at) => Reader { data, budget }.value(kind, 0, at),
        };
        Some(read.unwrap_or_else(|| Box::new(CelNull)))
    }
}

/// Reads values out of bytes.
struct Reader<'r> {
    data: &'r Bytes,
    budget: &'r Budget,
}

impl Reader<'_> {
    /// The value whose head stands at `at`, in a frame that begins at `frame`. `None` where it cannot be read: a length
    /// or an offset that leads out of the data, or nothing left of the budget.
    fn value(&self, kind: &Kind, frame: usize, at: usize) -> Option<Boxed> {
        if !kind.is_dynamic() {
            return self.body(kind, at);
        }
        let start = frame.checked_add(self.number(at)?)?;
        self.body(kind, start)
    }

    fn body(&self, kind: &Kind, at: usize) -> Option<Boxed> {
        if !self.budget.take(1) {
            return None;
        }
        let word = || self.word(at);
        Some(match kind {
            Kind::Address => Box::new(Octets::Address(Address::from_word(word()))),
            Kind::Bool => Box::new(CelBool::from(!word().is_zero())),
            Kind::Uint(bits) => {
                let above = 256usize.saturating_sub(*bits);
                Box::new(Amount((U256::from_be_bytes(word().0) << above) >> above))
            }
            Kind::Int(bits) => {
                let above = 256usize.saturating_sub(*bits);
                Box::new(Signed(I256::from_raw(U256::from_be_bytes(word().0) << above).asr(above)))
            }
            Kind::Fixed(bytes) => Box::new(fixed(word(), *bytes)),
            Kind::Octets => Box::new(Octets::Data(self.octets(at)?)),
            Kind::Text => {
                let octets = self.octets(at)?;
                Box::new(CelString::from(String::from_utf8_lossy(&octets).into_owned()))
            }
            Kind::List(of) => {
                let length = self.number(at)?;
                let start = at.checked_add(WORD)?;
                let left = self.data.len().saturating_sub(start);
                if length.checked_mul(of.head_bytes())? > left {
                    return None;
                }
                self.row(std::iter::repeat_n(of.as_ref(), length), start)?
            }
            Kind::Array(of, length) => self.row(std::iter::repeat_n(of.as_ref(), *length), at)?,
            Kind::Tuple(parts) => self.row(parts.iter(), at)?,
        })
    }

    /// Values one after the other.
    fn row<'k>(&self, kinds: impl Iterator<Item = &'k Kind>, frame: usize) -> Option<Boxed> {
        let mut at = frame;
        let mut values: Vec<Boxed> = Vec::new();
        for kind in kinds {
            if self.budget.is_spent() {
                return None;
            }
            values.push(self.value(kind, frame, at).unwrap_or_else(|| Box::new(CelNull)));
            at = at.checked_add(kind.head_bytes())?;
        }
        Some(Box::new(CelList::from(values)))
    }

    /// Bytes behind their length. All of them must be there.
    fn octets(&self, at: usize) -> Option<Bytes> {
        let length = self.number(at)?;
        let start = at.checked_add(WORD)?;
        let end = start.checked_add(length)?;
        if length == 0 {
            return Some(Bytes::new());
        }
        (end <= self.data.len() && self.budget.take(length / WORD)).then(|| self.data.slice(start..end))
    }

    fn word(&self, at: usize) -> B256 {
        let mut word = B256::ZERO;
        for (to, from) in word.iter_mut().zip(self.data.get(at..).unwrap_or_default()) {
            *to = *from;
        }
        word
    }

    fn number(&self, at: usize) -> Option<usize> {
        usize::try_from(U256::from_be_bytes(self.word(at).0)).ok()
    }
}

/// The first bytes of a word.
fn fixed(word: B256, bytes: usize) -> Octets {
    match bytes {
        WORD => Octets::Word(word),
        4 => Octets::Selector(Selector::from_slice(word.get(..4).unwrap_or(&[0; 4]))),
        _ => Octets::Data(Bytes::copy_from_slice(word.get(..bytes).unwrap_or_default())),
    }
}
