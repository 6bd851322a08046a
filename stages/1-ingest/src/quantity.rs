//! Numbers as JSON-RPC writes them, read leniently.
//!
//! In: `"0x1f"`, also padded with zeros as some L2 nodes do, or a plain JSON integer. Out: an integer of the wanted
//! width. Must never truncate: what does not fit is an error.

use alloy_primitives::U256;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Longest piece of foreign text that an error repeats, so that one bad answer does not fill a log.
const QUOTE_CHARS_MAX: usize = 40;

/// For `deserialize_with`: a number that must be there.
pub(crate) fn required<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<U256>,
{
    deserializer.deserialize_any(QuantityVisitor(PhantomData))
}

/// For `deserialize_with` beside `default`: a number that may be missing or null.
pub(crate) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<U256>,
{
    deserializer.deserialize_option(OptionVisitor(PhantomData))
}

/// Reads `0x`-prefixed hexadecimal digits.
pub(crate) fn parse(text: &str) -> Option<U256> {
    let digits = text.strip_prefix("0x")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number { U256::from_str_radix(digits, 16).ok() } else { None }
}

struct QuantityVisitor<T>(PhantomData<T>);

impl<T: TryFrom<U256>> QuantityVisitor<T> {
    fn narrow<E: de::Error>(value: U256) -> Result<T, E> {
        let bits = 8 * size_of::<T>();
        T::try_from(value).map_err(|_| E::custom(format!("number {value:#x} does not fit {bits} bits")))
    }
}

impl<T: TryFrom<U256>> Visitor<'_> for QuantityVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a 0x-prefixed hexadecimal number of at most {} bits", 8 * size_of::<T>())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let Some(value) = parse(text) else {
            let quoted: String = text.chars().take(QUOTE_CHARS_MAX).collect();
            return Err(E::invalid_value(de::Unexpected::Str(&quoted), &self));
        };
        Self::narrow(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        Self::narrow(U256::from(value))
    }
}

struct OptionVisitor<T>(PhantomData<T>);

impl<'de, T: TryFrom<U256>> Visitor<'de> for OptionVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a 0x-prefixed hexadecimal number or null")
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        required(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Numbers {
        #[serde(deserialize_with = "required")]
        wide: U256,
        #[serde(default, deserialize_with = "optional")]
        narrow: Option<u8>,
    }

    fn read(text: &str) -> Result<Numbers, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn padded_plain_and_missing_numbers_are_read() {
        let padded = format!(r#"{{"wide":"0x{:064x}"}}"#, 7);
        assert_eq!(read(&padded), Ok(Numbers { wide: U256::from(7), narrow: None }));
        assert_eq!(
            read(r#"{"wide":12,"narrow":"0xff"}"#),
            Ok(Numbers { wide: U256::from(12), narrow: Some(255) })
        );
        assert_eq!(read(r#"{"wide":"0x0","narrow":null}"#), Ok(Numbers { wide: U256::ZERO, narrow: None }));
    }

    #[test]
    fn what_is_no_number_or_does_not_fit_is_named() {
        for text in [r#"{"wide":"0x"}"#, r#"{"wide":"7"}"#, r#"{"wide":"0xzz"}"#, r#"{"wide":"0x+1"}"#] {
            assert!(read(text).unwrap_err().contains("hexadecimal number"), "{text}");
        }
        assert!(read(r#"{"wide":-1}"#).is_err());
        let too_wide = format!(r#"{{"wide":"0x1{:064x}"}}"#, 0);
        assert!(read(&too_wide).unwrap_err().contains("hexadecimal number of at most 256 bits"));
        let error = read(r#"{"wide":"0x0","narrow":"0x100"}"#).unwrap_err();
        assert!(error.contains("0x100 does not fit 8 bits"), "{error}");
    }
}
