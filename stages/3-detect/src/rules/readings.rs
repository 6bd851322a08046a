//! View calls of rules: `before("0x...", "totalSupply()")` and `after(...)`, turned into questions once, at load.
//!
//! In: texts. Out: a [`Reading`] with its calldata; the answer, where an execution has it. Must never: ask what depends on
//! the transaction, since questions are put before a rule is evaluated, or take a call that failed for a zero.

use super::literals::{canonical, octets};
use super::values::Octets;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use cordon_model::execution::{Execution, ViewCall, ViewReading};
use std::fmt;

/// Most arguments of a view call. Views of contracts in use have at most five.
const ARGUMENTS_MAX: usize = 8;

/// Most readings of one rule. Each is a call before and one after every transaction that the rule is looked at for.
pub(super) const READINGS_MAX: usize = 16;

/// Which state is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// One question to one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) call: ViewCall,
    side: Side,
    signature: String,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(f, "{} of {} {side} the transaction", self.signature, self.call.target)
    }
}

impl Reading {
    /// From what stands between the brackets: a contract, a signature, and its arguments.
    pub(super) fn parse(side: Side, texts: &[&str]) -> Result<Self, String> {
        let [contract, signature, arguments @ ..] = texts else {
            return Err(
                "expected a contract, a signature such as 'balanceOf(address)', and its arguments".to_owned()
            );
        };
        let Ok(Octets::Address(target)) = octets(contract) else {
            return Err(format!("'{contract}' is not the address of a contract"));
        };
        let types = types_of(canonical(signature)?)?;
        if types.len() != arguments.len() || arguments.len() > ARGUMENTS_MAX {
            let (takes, given) = (types.len(), arguments.len());
            return Err(format!(
                "'{signature}' takes {takes} arguments (at most {ARGUMENTS_MAX}), found {given}"
            ));
        }
        let mut input: Vec<u8> = keccak256(signature).iter().take(4).copied().collect();
        for (kind, text) in types.iter().zip(arguments) {
            let word =
                argument(kind, text).ok_or_else(|| format!("'{text}' is not a value of type {kind}"))?;
            input.extend(word.0);
        }
        Ok(Self { call: ViewCall { target, input: input.into() }, side, signature: (*signature).to_owned() })
    }

    /// Zeros as an answer on both sides, for a rule to be tried on at load.
    pub(super) fn sample(&self) -> ViewReading {
        let answer = Some(Bytes::from(B256::ZERO.to_vec()));
        ViewReading { call: self.call.clone(), before: answer.clone(), after: answer }
    }

    /// The answer, where there is one.
    pub(super) fn answer<'e>(&self, execution: &'e Execution) -> Option<&'e Bytes> {
        let reading = execution.views.iter().find(|reading| reading.call == self.call)?;
        match self.side {
            Side::Before => reading.before.as_ref(),
            Side::After => reading.after.as_ref(),
        }
    }
}

/// The types in the brackets of a signature, each of which takes one word.
fn types_of(signature: &str) -> Result<Vec<&str>, String> {
    let inside = signature.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default();
    let types: Vec<&str> = if inside.is_empty() { Vec::new() } else { inside.split(',').collect() };
    let is_word = |kind: &&str| !kind.contains(['(', ')', '[']) && !matches!(*kind, "bytes" | "string" | "");
    match types.iter().find(|kind| !is_word(kind)) {
        Some(kind) => {
            Err(format!("an argument of type '{kind}' is more than a word; rules ask with words only"))
        }
        None => Ok(types),
    }
}

/// An argument as it is encoded. Signed numbers cannot be negative.
fn argument(kind: &str, text: &str) -> Option<B256> {
    if kind == "address" {
        return match octets(text) {
            Ok(Octets::Address(address)) => Some(address.into_word()),
            _ => None,
        };
    }
    if kind == "bool" {
        let is_true = U256::from(u8::from(text == "true"));
        return matches!(text, "true" | "false").then(|| is_true.into());
    }
    if let Some(size) = kind.strip_prefix("bytes") {
        let bytes = alloy_primitives::hex::decode(text.strip_prefix("0x")?).ok()?;
        return (bytes.len() == size.parse::<usize>().ok()?).then(|| B256::right_padding_from(&bytes));
    }
    let bits: usize = kind.trim_start_matches("uint").trim_start_matches("int").parse().ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => U256::from_str_radix(digits, 16).ok()?,
        None => U256::from_str_radix(text, 10).ok()?,
    };
    let bits = if kind.starts_with("int") { bits.saturating_sub(1) } else { bits };
    (!text.is_empty() && number.bit_len() <= bits).then(|| number.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;

    const TOKEN: &str = "0x00000000000000000000000000000000000000c0";

    fn input(texts: &[&str]) -> Result<String, String> {
        let all: Vec<&str> = [TOKEN].into_iter().chain(texts.iter().copied()).collect();
        Reading::parse(Side::After, &all).map(|reading| reading.call.input.to_string())
    }

    #[test]
    fn questions_are_encoded_as_the_abi_says() {
        assert_eq!(input(&["totalSupply()"]).unwrap(), "0x18160ddd");
        let balance = format!("0x70a08231{:0>64}", "c0");
        assert_eq!(input(&["balanceOf(address)", TOKEN]).unwrap(), balance);
        let word = |text: &str| input(&["f(bytes4,bool,uint8,int8)", "0x01020304", "true", text, "127"]);
        let tail = |number: &str| format!("{:0<64}{:0>64}{:0>64}{:0>64}", "01020304", "1", number, "7f");
        assert!(word("255").unwrap().ends_with(&tail("ff")) && word("0xfe").unwrap().ends_with(&tail("fe")));
        let reading = Reading::parse(Side::Before, &[TOKEN, "totalSupply()"]).unwrap();
        assert_eq!(
            reading.to_string(),
            "totalSupply() of 0x00000000000000000000000000000000000000C0 before the transaction"
        );
        assert_eq!(reading.call.target, Address::with_last_byte(0xc0));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for (texts, what) in [
            (&["balanceOf(address)"][..], "takes 1 arguments (at most 8), found 0"),
            (&["balanceOf(address)", "0xc0"], "'0xc0' is not a value of type address"),
            (&["f(uint8)", "256"], "not a value of type uint8"),
            (&["f(uint8)", "-1"], "not a value of type uint8"),
            (&["f(int8)", "128"], "not a value of type int8"),
            (&["f(bytes4)", "0x01"], "not a value of type bytes4"),
            (&["f(bool)", "1"], "not a value of type bool"),
            (&["f(bytes)", "0x01"], "more than a word"),
            (&["f(uint256[])", "1"], "more than a word"),
            (&["f((uint256,bool))", "1"], "more than a word"),
            (&["balanceOf(address owner)", TOKEN], "is not a signature"),
            (&[], "expected a contract, a signature"),
        ] {
            let error = input(texts).unwrap_err();
            assert!(error.contains(what), "{texts:?}: {error}");
        }
        assert!(Reading::parse(Side::After, &["0x01", "f()"]).unwrap_err().contains("is not the address"));
    }
}
