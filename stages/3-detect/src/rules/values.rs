//! The kinds of value that CEL does not have: bytes of a fixed meaning, 256-bit amounts, and such with a sign.
//!
//! In: facts of an execution. Out: values on which the operators of a rule work. Must never: wrap around. Amounts stop
//! at zero and at 2^256 - 1, because an attacker who could make a rule fail by an overflow could switch it off.

use alloy_primitives::{Address, B256, Bytes, I256, Selector, U256, hex};
use cel::ExecutionError;
use cel::common::traits::{Adder, Comparer, Divider, Modder, Multiplier, Subtractor};
use cel::common::types::{CelBytes, CelInt, CelString, CelUInt, Kind, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use std::any::Any;
use std::cmp::Ordering;

static OCTETS_TYPE: Type = Type::simple_type(Kind::Struct, "hex");
static SIGNED_TYPE: Type = Type::simple_type(Kind::Struct, "signed");
static AMOUNT_TYPE: Type = Type::simple_type(Kind::Struct, "amount");

/// An address, a selector, a word or a string of bytes. Equal to another of the same bytes, and to its hex digits in
/// either case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Octets {
    Address(Address),
    Selector(Selector),
    Word(B256),
    Data(Bytes),
}

impl Octets {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Address(address) => address.as_slice(),
            Self::Selector(selector) => selector.as_slice(),
            Self::Word(word) => word.as_slice(),
            Self::Data(data) => data,
        }
    }

    fn is_written_as(&self, text: &str) -> bool {
        let Some(digits) = text.strip_prefix("0x") else { return false };
        let own = self.as_slice();
        digits.len() == own.len().saturating_mul(2)
            && hex::decode(digits).is_ok_and(|bytes| bytes.as_slice() == own)
    }
}

impl Val for Octets {
    fn get_type(&self) -> &Type {
        &OCTETS_TYPE
    }

    fn cel_type() -> &'static Type {
        &OCTETS_TYPE
    }

    fn equals(&self, other: &dyn Val) -> bool {
        if let Some(other) = other.downcast_ref::<Self>() {
            return self.as_slice() == other.as_slice();
        }
        if let Some(bytes) = other.downcast_ref::<CelBytes<'_>>() {
            return bytes.inner() == self.as_slice();
        }
        other.downcast_ref::<CelString<'_>>().is_some_and(|text| self.is_written_as(text.inner()))
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Octets {}

/// An unsigned number of 256 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount(pub(super) U256);

/// A number beside an amount: another amount, or a whole number of CEL.
enum Operand {
    Natural(U256),
    Negative,
}

fn operand(value: &dyn Val) -> Option<Operand> {
    if let Some(amount) = value.downcast_ref::<Amount>() {
        return Some(Operand::Natural(amount.0));
    }
    if let Some(number) = value.downcast_ref::<CelUInt>() {
        return Some(Operand::Natural(U256::from(*number.inner())));
    }
    let number = *value.downcast_ref::<CelInt>()?.inner();
    Some(u64::try_from(number).map_or(Operand::Negative, |number| Operand::Natural(U256::from(number))))
}

/// The amount in a value, where there is one.
pub(super) fn natural(value: &dyn Val) -> Option<U256> {
    match operand(value)? {
        Operand::Natural(number) => Some(number),
        Operand::Negative => None,
    }
}

impl Amount {
    fn with<'b, 'v>(
        &self,
        sign: &'static str,
        other: &dyn Val,
        result: impl FnOnce(U256, U256) -> Option<U256>,
    ) -> Result<CowVal<'b, 'v>, ExecutionError> {
        let Some(other_amount) = natural(other) else {
            let types = vec!["amount".to_owned(), other.get_type().name().to_owned()];
            return Err(ExecutionError::no_such_overload(sign, types));
        };
        let number = result(self.0, other_amount)
            .ok_or_else(|| ExecutionError::function_error(sign, "an amount was divided by zero"))?;
        Ok(CowVal::owned(Self(number)))
    }
}

/// One arithmetic operator of CEL on amounts: trait, method, sign, result.
macro_rules! operator {
    ($operator:ident, $method:ident, $sign:literal, $result:expr) => {
        impl $operator for Amount {
            fn $method<'b, 'v>(&'b self, rhs: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
            where
                Self: 'v,
            {
                self.with($sign, rhs, $result)
            }
        }
    };
}

operator!(Adder, add, "_+_", |a, b| Some(a.saturating_add(b)));
operator!(Subtractor, sub, "_-_", |a, b| Some(a.saturating_sub(b)));
operator!(Multiplier, mul, "_*_", |a, b| Some(a.saturating_mul(b)));
operator!(Divider, div, "_/_", |a, b| a.checked_div(b));
operator!(Modder, modulo, "_%_", |a, b| a.checked_rem(b));

impl Comparer for Amount {
    fn compare(&self, rhs: &dyn Val) -> Result<Ordering, ExecutionError> {
        match operand(rhs) {
            Some(Operand::Natural(other)) => Ok(self.0.cmp(&other)),
            Some(Operand::Negative) => Ok(Ordering::Greater),
            None => {
                let types = vec!["amount".to_owned(), rhs.get_type().name().to_owned()];
                Err(ExecutionError::no_such_overload("_<_", types))
            }
        }
    }
}

impl Val for Amount {
    fn get_type(&self) -> &Type {
        &AMOUNT_TYPE
    }

    fn cel_type() -> &'static Type {
        &AMOUNT_TYPE
    }

    fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_subtractor<'b, 'v>(&'b self) -> Option<&'b (dyn Subtractor + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_multiplier<'b, 'v>(&'b self) -> Option<&'b (dyn Multiplier + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_divider<'b, 'v>(&'b self) -> Option<&'b (dyn Divider + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_modder<'b, 'v>(&'b self) -> Option<&'b (dyn Modder + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_comparer(&self) -> Option<&dyn Comparer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        natural(other).is_some_and(|other| other == self.0)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Amount {}

/// A number of 256 bits that may be negative. It is compared, and `abs` makes an amount of it; there is no arithmetic, since
/// one that stops at both ends would be wrong in ways that nobody looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signed(pub(super) I256);

impl Signed {
    fn beside(self, other: &dyn Val) -> Option<Ordering> {
        if let Some(other) = other.downcast_ref::<Self>() {
            return Some(self.0.cmp(&other.0));
        }
        if let Some(number) = other.downcast_ref::<CelInt>() {
            return I256::try_from(*number.inner()).ok().map(|other| self.0.cmp(&other));
        }
        // No amount is negative, and those that a signed number cannot reach are above it.
        let other = natural(other)?;
        Some(I256::try_from(other).map_or(Ordering::Less, |other| self.0.cmp(&other)))
    }
}

impl Comparer for Signed {
    fn compare(&self, rhs: &dyn Val) -> Result<Ordering, ExecutionError> {
        self.beside(rhs).ok_or_else(|| {
            let types = vec!["signed".to_owned(), rhs.get_type().name().to_owned()];
            ExecutionError::no_such_overload("_<_", types)
        })
    }
}

impl Val for Signed {
    fn get_type(&self) -> &Type {
        &SIGNED_TYPE
    }

    fn cel_type() -> &'static Type {
        &SIGNED_TYPE
    }

    fn as_comparer(&self) -> Option<&dyn Comparer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        self.beside(other) == Some(Ordering::Equal)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Signed {}
