//! Functions of rules beyond those of CEL.
//!
//! In: fields of records. Out: words, addresses, sums. Calldata that ends early reads as zero, as the EVM reads it; a
//! topic that is not there is null, which equals nothing. Must never: fail on what a transaction holds.

use super::decoded::Schema;
use super::types::Type;
use super::values::{Amount, Octets, Signed, natural};
use alloy_primitives::{Address, B256, U256};
use cel::common::types::{CelBytes, CelInt, CelList, CelNull, CelString, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};

type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// A function: its name, its parameters, what it gives, and the function itself.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) takes: &'static [Type],
    pub(super) gives: Type,
    run: cel::common::functions::Function,
}

/// Every function. One more is one more line here and one in `docs/rules.md`.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature { name: "arg", takes: &[Type::CALL, Type::INT], gives: Type::AMOUNT, run: arg },
    Signature { name: "arg_address", takes: &[Type::CALL, Type::INT], gives: Type::HEX, run: arg_address },
    Signature { name: "topic", takes: &[Type::LOG, Type::INT], gives: Type::HEX, run: topic },
    Signature { name: "topic_address", takes: &[Type::LOG, Type::INT], gives: Type::HEX, run: topic_address },
    Signature {
        name: "topic_amount",
        takes: &[Type::LOG, Type::INT],
        gives: Type::AMOUNT,
        run: topic_amount,
    },
    Signature { name: "word", takes: &[Type::HEX, Type::INT], gives: Type::AMOUNT, run: word },
    Signature { name: "to_address", takes: &[Type::AMOUNT], gives: Type::HEX, run: to_address },
    Signature { name: "args", takes: &[Type::CALL, Type::SIGNATURE], gives: Type::ANYTHINGS, run: args_of },
    Signature {
        name: "event_args",
        takes: &[Type::LOG, Type::SIGNATURE],
        gives: Type::ANYTHINGS,
        run: args_of,
    },
    Signature { name: "abs", takes: &[Type::SIGNED], gives: Type::AMOUNT, run: abs },
    Signature { name: "sum", takes: &[Type::AMOUNT.listed()], gives: Type::AMOUNT, run: sum },
];

/// `args(call, signature)[place]` in one step, which decodes one argument and not all; see [`super::shortcuts`].
pub(super) const PART: &str = "@part";

/// What an expression gives, as bytes of CEL: an amount as a word, hex as it is, null as nothing.
pub(super) const BYTES: &str = "@bytes";

/// CEL with these functions.
///
/// # Errors
/// A name that CEL itself has; a test holds that there is none.
pub(super) fn environment() -> Result<Env, cel::DeclarationError> {
    let mut env = Env::stdlib();
    for function in FUNCTIONS {
        let parameters = function.takes.iter().map(|_| DYN_TYPE).collect();
        env.add_overload(function.name, function.name, parameters, function.run)?;
    }
    env.add_overload(PART, PART, vec![DYN_TYPE, DYN_TYPE, DYN_TYPE], part)?;
    env.add_overload(BYTES, BYTES, vec![DYN_TYPE], bytes)?;
    env.add_overload("size", "size_hex", vec![<Octets as Val>::cel_type().to_owned()], size)?;
    Ok(env)
}

fn wrong(function: &str, args: &[CowVal<'_, '_>]) -> ExecutionError {
    let types = args.iter().map(|arg| arg.get_type().name().to_owned()).collect();
    ExecutionError::no_such_overload(function, types)
}

fn field<'b, 'v>(record: &'b (dyn Val + 'v), name: &'static str) -> Option<CowVal<'b, 'v>> {
    record.as_indexer()?.get(&CelString::from(name)).ok()
}

/// The word at `index`, after `skip` bytes.
fn word_at(bytes: &[u8], skip: usize, index: &dyn Val) -> Option<B256> {
    let index = usize::try_from(natural(index)?).unwrap_or(usize::MAX);
    let start = index.saturating_mul(32).saturating_add(skip);
    let mut word = B256::ZERO;
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(start)) {
        *to = *from;
    }
    Some(word)
}

fn argument(args: &[CowVal<'_, '_>]) -> Option<B256> {
    let [call, index] = args else { return None };
    let input = field(call.as_ref(), "input")?;
    word_at(input.downcast_ref::<Octets>()?.as_slice(), 4, index.as_ref())
}

fn amount<'b, 'v>(word: B256) -> CowVal<'b, 'v> {
    CowVal::owned(Amount(U256::from_be_bytes(word.0)))
}

fn address<'b, 'v>(word: B256) -> CowVal<'b, 'v> {
    CowVal::owned(Octets::Address(Address::from_word(word)))
}

fn arg<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    argument(&args).map(amount).ok_or_else(|| wrong("arg", &args))
}

fn arg_address<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    argument(&args).map(address).ok_or_else(|| wrong("arg_address", &args))
}

/// The topic: an error where the arguments are wrong, `None` where the log has no such topic.
fn topic_of(function: &str, args: &[CowVal<'_, '_>]) -> Result<Option<B256>, ExecutionError> {
    let [log, index] = args else { return Err(wrong(function, args)) };
    let (Some(topics), Some(index)) = (field(log.as_ref(), "topics"), natural(index.as_ref())) else {
        return Err(wrong(function, args));
    };
    let topics = topics.downcast_ref::<CelList<'_>>().ok_or_else(|| wrong(function, args))?;
    let found = usize::try_from(index).ok().and_then(|index| topics.inner().get(index));
    Ok(found.and_then(|topic| match topic.downcast_ref::<Octets>() {
        Some(Octets::Word(word)) => Some(*word),
        _ => None,
    }))
}

fn or_null<'b, 'v>(value: Option<CowVal<'b, 'v>>) -> CowVal<'b, 'v> {
    value.unwrap_or_else(|| CowVal::owned(CelNull))
}

fn topic<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    Ok(or_null(topic_of("topic", &args)?.map(|word| CowVal::owned(Octets::Word(word)))))
}

fn topic_address<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    Ok(or_null(topic_of("topic_address", &args)?.map(address)))
}

fn topic_amount<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    Ok(amount(topic_of("topic_amount", &args)?.unwrap_or_default()))
}

fn args_of<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let [record, schema] = args.as_slice() else { return Err(wrong("args", &args)) };
    let record = record.as_indexer().ok_or_else(|| wrong("args", &args))?;
    record.get(schema.as_ref()).map(|found| CowVal::Owned(found.into_owned()))
}

fn part<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let [record, schema, place] = args.as_slice() else { return Err(wrong("args", &args)) };
    let (Some(record), Some(schema)) = (record.as_indexer(), schema.downcast_ref::<Schema>()) else {
        return Err(wrong("args", &args));
    };
    let place = natural(place.as_ref()).and_then(|place| usize::try_from(place).ok());
    let wanted = Schema { place: Some(place.unwrap_or(usize::MAX)), ..schema.clone() };
    record.get(&wanted).map(|found| CowVal::Owned(found.into_owned()))
}

fn bytes<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let bytes = args.first().and_then(|value| {
        if let Some(octets) = value.downcast_ref::<Octets>() {
            return Some(octets.as_slice().to_vec());
        }
        let word = || natural(value.as_ref()).map(|number| number.to_be_bytes::<32>().to_vec());
        word().or_else(|| value.downcast_ref::<CelNull>().map(|_| Vec::new()))
    });
    bytes.map(|bytes| CowVal::owned(CelBytes::from(bytes))).ok_or_else(|| wrong("a window", &args))
}

/// How far a signed number is from zero.
fn abs<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let number = args.first().and_then(|number| number.downcast_ref::<Signed>());
    number
        .map(|Signed(number)| CowVal::owned(Amount(number.unsigned_abs())))
        .ok_or_else(|| wrong("abs", &args))
}

fn word<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let found = match args.as_slice() {
        [bytes, index] => {
            bytes.downcast_ref::<Octets>().and_then(|bytes| word_at(bytes.as_slice(), 0, index.as_ref()))
        }
        _ => None,
    };
    found.map(amount).ok_or_else(|| wrong("word", &args))
}

fn to_address<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let number = args.first().and_then(|number| natural(number.as_ref()));
    number.map(|number| address(B256::from(number))).ok_or_else(|| wrong("to_address", &args))
}

/// The length in bytes.
fn size<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let bytes = args.first().and_then(|bytes| bytes.downcast_ref::<Octets>());
    let length = bytes.and_then(|bytes| i64::try_from(bytes.as_slice().len()).ok());
    length.map(|length| CowVal::owned(CelInt::from(length))).ok_or_else(|| wrong("size", &args))
}

fn sum<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let total = args.first().and_then(|list| {
        let mut items = list.as_iterable()?.iter();
        let mut total = U256::ZERO;
        while let Some(item) = items.next() {
            total = total.saturating_add(natural(item)?);
        }
        Some(total)
    });
    total.map(|total| CowVal::owned(Amount(total))).ok_or_else(|| wrong("sum", &args))
}
