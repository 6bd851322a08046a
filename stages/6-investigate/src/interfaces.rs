//! Known interfaces: from four bytes and data to a function, its arguments and its answer.
//!
//! In: ABIs as JSON, plus a small set of standard signatures. Out: text for people. A selector does not identify a
//! function for certain, so what the caller gave is tried before the standard set, and data that does not decode is
//! shown as bytes. Must never: allocate more than a small multiple of the calldata, or pass its text on unescaped.

mod standard;
mod values;

use crate::labels::Labels;
use crate::text::plain;
use alloy_dyn_abi::{DynSolType, DynSolValue, FunctionExt, JsonAbiExt};
use alloy_json_abi::{Error as AbiError, Function, JsonAbi, Param};
use alloy_primitives::{Selector, U256, hex};
use std::collections::BTreeMap;
use values::arguments;

/// Largest ABI text. Etherscan's largest verified contracts stay below 1 MiB with all their libraries.
pub const ABI_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest data that is decoded. Offsets in calldata may point to the same bytes many times (`bytes[]`), which makes the
/// decoded value quadratic in the data's length; at 16 KiB that is some megabytes. Longer data is shown by its length.
pub const CALLDATA_BYTES_MAX: usize = 16 * 1024;

/// Selector of `Error(string)`, the reason of a plain `require`.
const ERROR_STRING: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// Selector of `Panic(uint256)`, by which Solidity reports failed assertions.
const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

/// Functions and errors by selector.
#[derive(Debug, Clone, Default)]
pub struct Interfaces {
    functions: BTreeMap<Selector, Vec<Function>>,
    errors: BTreeMap<Selector, Vec<AbiError>>,
}

/// Why an ABI cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// It is larger than any real one.
    #[error("ABI of '{origin}' has {bytes} bytes, expected at most {ABI_BYTES_MAX}")]
    TooLarge {
        /// Where it came from.
        origin: String,
        /// Its size.
        bytes: usize,
    },
    /// It is not a JSON ABI.
    #[error("ABI of '{origin}' cannot be read, expected a JSON list of functions, events and errors")]
    Json {
        /// Where it came from.
        origin: String,
        /// Cause, with line and column.
        #[source]
        source: serde_json::Error,
    },
}

impl Interfaces {
    /// The standard signatures that incidents are full of: tokens, vaults, pauses, roles, proxies, Safe.
    #[must_use]
    pub fn standard() -> Self {
        let mut interfaces = Self::default();
        for function in standard::FUNCTIONS.iter().filter_map(|text| Function::parse(text).ok()) {
            interfaces.functions.entry(function.selector()).or_default().push(function);
        }
        for error in standard::ERRORS.iter().filter_map(|text| AbiError::parse(text).ok()) {
            interfaces.errors.entry(error.selector()).or_default().push(error);
        }
        interfaces
    }

    /// Adds an ABI (a JSON list). What it knows is preferred to what was known before.
    ///
    /// # Errors
    /// [`InterfaceError`] where the text is too long or not an ABI; nothing is added then.
    pub fn add_abi(&mut self, origin: &str, json: &str) -> Result<(), InterfaceError> {
        if json.len() > ABI_BYTES_MAX {
            return Err(InterfaceError::TooLarge { origin: origin.to_owned(), bytes: json.len() });
        }
        let abi: JsonAbi = serde_json::from_str(json)
            .map_err(|source| InterfaceError::Json { origin: origin.to_owned(), source })?;
        for function in abi.functions() {
            prefer(self.functions.entry(function.selector()).or_default(), function.clone());
        }
        for error in abi.errors() {
            prefer(self.errors.entry(error.selector()).or_default(), error.clone());
        }
        Ok(())
    }

    /// Name of the function that this selector most likely means, or the selector itself.
    #[must_use]
    pub fn function_name(&self, selector: Option<Selector>) -> String {
        let Some(selector) = selector else {
            return "the fallback".to_owned();
        };
        let known = self.functions.get(&selector).and_then(|functions| functions.first());
        known.map_or_else(|| selector.to_string(), |function| plain(&function.name))
    }

    /// A call as `name(parameter: value, ..)`; where it is not known, the selector and the number of bytes.
    #[must_use]
    pub fn call(&self, input: &[u8], labels: &Labels) -> String {
        let Some((selector, data)) = input.split_first_chunk::<4>() else {
            return if input.is_empty() {
                "(no data)".to_owned()
            } else {
                format!("({} bytes)", input.len())
            };
        };
        match self.decoded(*selector, data) {
            Some((function, values)) => {
                let arguments = arguments(&function.inputs, &values, labels);
                format!("{}({arguments})", plain(&function.name))
            }
            None => format!("{}({} bytes)", Selector::new(*selector), data.len()),
        }
    }

    /// The answer of a successful call; `None` where the function is unknown or returns nothing.
    #[must_use]
    pub fn answer(&self, input: &[u8], output: &[u8], labels: &Labels) -> Option<String> {
        let (selector, data) = input.split_first_chunk::<4>()?;
        let (function, _) = self.decoded(*selector, data)?;
        if function.outputs.is_empty() || output.is_empty() || output.len() > CALLDATA_BYTES_MAX {
            return None;
        }
        let values = function.abi_decode_output(output).ok()?;
        Some(arguments(&function.outputs, &values, labels))
    }

    /// The reason that a revert gives.
    #[must_use]
    pub fn reason(&self, output: &[u8], labels: &Labels) -> String {
        let Some((selector, data)) = output.split_first_chunk::<4>() else {
            return if output.is_empty() {
                "no reason given".to_owned()
            } else {
                format!("0x{}", hex::encode(output))
            };
        };
        let decoded = match *selector {
            _ if data.len() > CALLDATA_BYTES_MAX => None,
            ERROR_STRING => DynSolType::String.abi_decode(data).ok().and_then(message),
            PANIC => data.get(..32).map(U256::from_be_slice).map(panic_text),
            selector => self.custom_error(selector, data, labels),
        };
        decoded
            .unwrap_or_else(|| format!("unknown error {} ({} bytes)", Selector::new(*selector), data.len()))
    }

    fn custom_error(&self, selector: [u8; 4], data: &[u8], labels: &Labels) -> Option<String> {
        let candidates = self.errors.get(&Selector::new(selector))?;
        candidates.iter().find_map(|error| {
            let values = error.abi_decode_input(data).ok()?;
            Some(format!("{}({})", plain(&error.name), arguments(&error.inputs, &values, labels)))
        })
    }

    /// The first function of this selector whose parameters the data fits.
    fn decoded(&self, selector: [u8; 4], data: &[u8]) -> Option<(&Function, Vec<DynSolValue>)> {
        if data.len() > CALLDATA_BYTES_MAX {
            return None;
        }
        let candidates = self.functions.get(&Selector::new(selector))?;
        candidates.iter().find_map(|function| {
            let words: usize = function.inputs.iter().map(head_words).sum();
            // Data shorter than the parameters' heads belongs to another function.
            (data.len() >= words * 32).then_some(())?;
            Some((function, function.abi_decode_input(data).ok()?))
        })
    }
}

/// A lower bound of the words that a parameter needs: one, or none for an empty tuple.
fn head_words(param: &Param) -> usize {
    usize::from(param.ty != "tuple" || !param.components.is_empty())
}

fn prefer<T: PartialEq>(known: &mut Vec<T>, item: T) {
    known.retain(|other| *other != item);
    known.insert(0, item);
}

fn message(value: DynSolValue) -> Option<String> {
    value.as_str().map(|text| format!("\"{}\"", plain(text)))
}

/// Solidity's panic codes (Solidity documentation, "Panic via assert and Error via require").
fn panic_text(code: U256) -> String {
    let meaning = match u64::try_from(code) {
        Ok(0x01) => "assertion failed",
        Ok(0x11) => "arithmetic overflow or underflow",
        Ok(0x12) => "division by zero",
        Ok(0x21) => "value that is not of the enum",
        Ok(0x22) => "wrongly encoded storage byte array",
        Ok(0x31) => "pop from an empty array",
        Ok(0x32) => "index out of bounds",
        Ok(0x41) => "too much memory",
        Ok(0x51) => "call of an uninitialised function pointer",
        _ => "unknown panic",
    };
    format!("{meaning} (panic {code:#04x})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;

    const ABI: &str = r#"[
        {"type": "function", "name": "borrow", "stateMutability": "nonpayable", "outputs": [],
         "inputs": [{"name": "assets", "type": "uint256"}, {"name": "data", "type": "bytes"}]},
        {"type": "error", "name": "Insufficient",
         "inputs": [{"name": "who", "type": "address"}, {"name": "why", "type": "string"}]}
    ]"#;

    fn interfaces() -> Interfaces {
        let mut interfaces = Interfaces::standard();
        interfaces.add_abi("test", ABI).unwrap();
        interfaces
    }

    fn encode(signature: &str, values: &[DynSolValue]) -> Vec<u8> {
        Function::parse(signature).unwrap().abi_encode_input(values).unwrap()
    }

    #[test]
    fn every_standard_signature_parses() {
        for text in standard::FUNCTIONS {
            Function::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        for text in standard::ERRORS {
            AbiError::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn known_calls_are_decoded() {
        let (interfaces, mut labels) = (interfaces(), Labels::default());
        labels.name(Address::repeat_byte(1), "Vault");
        let to = DynSolValue::Address(Address::repeat_byte(1));
        let call = encode("transfer(address,uint256)", &[to, DynSolValue::Uint(U256::from(5), 256)]);
        assert_eq!(interfaces.call(&call, &labels), "transfer(to: Vault, amount: 5)");
        assert_eq!(
            interfaces.answer(&call, &U256::from(1).to_be_bytes::<32>(), &labels).as_deref(),
            Some("true")
        );

        let data = DynSolValue::Bytes(vec![0xab]);
        let call = encode("borrow(uint256,bytes)", &[DynSolValue::Uint(U256::MAX, 256), data]);
        assert_eq!(interfaces.call(&call, &labels), "borrow(assets: 2^256-1, data: 0xab)");
        assert_eq!(interfaces.answer(&call, &[], &labels), None);
    }

    #[test]
    fn unknown_and_malformed_calls_are_shown_as_bytes() {
        let (interfaces, labels) = (interfaces(), Labels::default());
        assert_eq!(interfaces.call(&[], &labels), "(no data)");
        assert_eq!(interfaces.call(&[1, 2], &labels), "(2 bytes)");
        assert_eq!(interfaces.call(&[1, 2, 3, 4, 5], &labels), "0x01020304(1 bytes)");
        // A transfer that is cut off, and one that is far too long.
        assert_eq!(interfaces.call(&[0xa9, 0x05, 0x9c, 0xbb, 0], &labels), "0xa9059cbb(1 bytes)");
        let mut long = vec![0xa9, 0x05, 0x9c, 0xbb];
        long.resize(4 + CALLDATA_BYTES_MAX + 1, 0);
        assert_eq!(interfaces.call(&long, &labels), "0xa9059cbb(16385 bytes)");
    }

    #[test]
    fn reasons_are_read() {
        let (interfaces, labels) = (interfaces(), Labels::default());
        let text = DynSolValue::String("not\nenough `gas`".to_owned());
        let error = encode("Error(string)", std::slice::from_ref(&text));
        assert_eq!(interfaces.reason(&error, &labels), "\"not\\u{a}enough \\u{60}gas\\u{60}\"");
        let panic = encode("Panic(uint256)", &[DynSolValue::Uint(U256::from(0x11), 256)]);
        assert_eq!(interfaces.reason(&panic, &labels), "arithmetic overflow or underflow (panic 0x11)");
        let custom = encode("Insufficient(address,string)", &[DynSolValue::Address(Address::ZERO), text]);
        assert!(interfaces.reason(&custom, &labels).starts_with("Insufficient(who: 0x0000"));
        assert_eq!(interfaces.reason(&[], &labels), "no reason given");
        assert_eq!(interfaces.reason(&[1, 2, 3, 4], &labels), "unknown error 0x01020304 (0 bytes)");
        assert_eq!(interfaces.reason(&ERROR_STRING, &labels), "unknown error 0x08c379a0 (0 bytes)");
    }

    #[test]
    fn what_the_caller_knows_is_preferred() {
        let mut interfaces = Interfaces::standard();
        let abi = r#"[{"type": "function", "name": "transfer", "stateMutability": "nonpayable", "outputs": [],
            "inputs": [{"name": "recipient", "type": "address"}, {"name": "wad", "type": "uint256"}]}]"#;
        interfaces.add_abi("token", abi).unwrap();
        let to = DynSolValue::Address(Address::ZERO);
        let call = encode("transfer(address,uint256)", &[to, DynSolValue::Uint(U256::ZERO, 256)]);
        assert!(interfaces.call(&call, &Labels::default()).contains("recipient: 0x0000"));
    }

    #[test]
    fn an_abi_that_is_none_is_refused() {
        let error = Interfaces::default().add_abi("vault.json", "{").unwrap_err();
        assert!(error.to_string().starts_with("ABI of 'vault.json' cannot be read"), "{error}");
    }

    #[test]
    fn hostile_offsets_do_not_blow_up() {
        // multicall(bytes[]): 300 elements that all point to the same bytes.
        let mut call = vec![0xac, 0x96, 0x50, 0xd8];
        let word = |value: u64| U256::from(value).to_be_bytes::<32>();
        call.extend(word(32));
        call.extend(word(300));
        for _ in 0..300 {
            call.extend(word(300 * 32));
        }
        call.extend(word(4000));
        call.resize(4 + CALLDATA_BYTES_MAX, 0xff);
        let text = interfaces().call(&call, &Labels::default());
        assert!(text.len() < 1000, "{}", text.len());
    }
}
