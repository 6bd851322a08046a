//! Decoded values as text.
//!
//! In: parameters and values. Out: `name: value, ..`, bounded in every direction: long bytes, strings, arrays and
//! argument lists are cut, and each cut says how much is missing.

use crate::labels::Labels;
use crate::text::plain;
use alloy_dyn_abi::DynSolValue;
use alloy_json_abi::Param;
use alloy_primitives::{I256, U256, hex};

/// Most bytes of a byte string: a word, so that hashes and keys are shown whole.
const BYTES_SHOWN_MAX: usize = 32;
/// Most elements of an array or tuple.
const ELEMENTS_SHOWN_MAX: usize = 8;
/// Most characters of an argument list: about five lines of a terminal.
const ARGUMENTS_CHARS_MAX: usize = 400;

/// The values with the names of their parameters.
pub(super) fn arguments(params: &[Param], values: &[DynSolValue], labels: &Labels) -> String {
    let named = |(param, value): (&Param, &DynSolValue)| {
        let value = text(value, labels);
        if param.name.is_empty() { value } else { format!("{}: {value}", plain(&param.name)) }
    };
    let all: Vec<String> = params.iter().zip(values).map(named).collect();
    let all = all.join(", ");
    let total = all.chars().count();
    if total <= ARGUMENTS_CHARS_MAX {
        return all;
    }
    let shown: String = all.chars().take(ARGUMENTS_CHARS_MAX).collect();
    format!("{shown}… ({} more characters)", total - ARGUMENTS_CHARS_MAX)
}

fn text(value: &DynSolValue, labels: &Labels) -> String {
    match value {
        DynSolValue::Bool(flag) => flag.to_string(),
        DynSolValue::Int(number, _) => signed(*number),
        DynSolValue::Uint(number, bits) => unsigned(*number, *bits),
        DynSolValue::FixedBytes(word, size) => bytes(word.get(..*size).unwrap_or_default()),
        DynSolValue::Address(address) => labels.short(*address),
        DynSolValue::Function(function) => bytes(function.as_slice()),
        DynSolValue::Bytes(data) => bytes(data),
        DynSolValue::String(string) => format!("\"{}\"", plain(string)),
        DynSolValue::Array(elements) | DynSolValue::FixedArray(elements) => {
            format!("[{}]", list(elements, labels))
        }
        // Tuples, under whatever name the decoder's features give them.
        tuple => format!("({})", list(tuple.as_fixed_seq().unwrap_or_default(), labels)),
    }
}

fn list(elements: &[DynSolValue], labels: &Labels) -> String {
    let shown: Vec<String> =
        elements.iter().take(ELEMENTS_SHOWN_MAX).map(|element| text(element, labels)).collect();
    let rest = elements.len().saturating_sub(shown.len());
    if rest == 0 { shown.join(", ") } else { format!("{}, … {rest} more", shown.join(", ")) }
}

fn bytes(data: &[u8]) -> String {
    match data.get(..BYTES_SHOWN_MAX) {
        Some(head) if data.len() > BYTES_SHOWN_MAX => {
            format!("0x{}… ({} bytes)", hex::encode(head), data.len())
        }
        Some(_) | None => format!("0x{}", hex::encode(data)),
    }
}

/// The largest number of a type stands for "without limit" so often that it is written as such.
fn unsigned(number: U256, bits: usize) -> String {
    let max = U256::MAX >> 256usize.saturating_sub(bits);
    if number == max && bits >= 128 { format!("2^{bits}-1") } else { number.to_string() }
}

fn signed(number: I256) -> String {
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_and_say_so() {
        let labels = Labels::default();
        let numbers = DynSolValue::Array(vec![DynSolValue::Uint(U256::from(1), 256); 10]);
        assert_eq!(text(&numbers, &labels), "[1, 1, 1, 1, 1, 1, 1, 1, … 2 more]");
        assert_eq!(
            text(&DynSolValue::Bytes(vec![0; 40]), &labels),
            format!("0x{}… (40 bytes)", "00".repeat(32))
        );
        let param = Param { ty: "string".to_owned(), ..Param::default() };
        let strings = vec![DynSolValue::String("x".repeat(150)); 5];
        let all = arguments(&vec![param; 5], &strings, &labels);
        assert!(all.ends_with("… (368 more characters)"), "{all}");
    }

    #[test]
    fn limits_are_readable() {
        assert_eq!(unsigned(U256::MAX, 256), "2^256-1");
        assert_eq!(unsigned(U256::from(255), 8), "255");
        assert_eq!(signed(I256::MINUS_ONE), "-1");
    }
}
