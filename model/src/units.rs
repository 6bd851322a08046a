//! Typed identifiers and units, so that a chain id cannot be passed as a block number, nor a plan's hash as a
//! finding's.
//!
//! In: raw numbers and hashes. Out: newtypes. Must never: convert between units silently or round.

use alloy_primitives::{Address, B256, I256, U256, keccak256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One whole unit of account or of an 18-decimal token, `10^18`; the fixed point of every `_wad` field.
pub const WAD: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// EIP-155 chain id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Hundredths of a percent; 10,000 is the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bps(pub u32);

impl Bps {
    /// `part / whole` in basis points, rounded down; saturates at `u32::MAX` and for a zero whole.
    #[must_use]
    pub fn ratio(part: U256, whole: U256) -> Self {
        let scaled = part.saturating_mul(U256::from(10_000u32));
        match scaled.checked_div(whole) {
            Some(bps) => Self(u32::try_from(bps).unwrap_or(u32::MAX)),
            None if part.is_zero() => Self(0),
            None => Self(u32::MAX),
        }
    }

    /// This share of `amount`, rounded down.
    #[must_use]
    pub fn of(self, amount: U256) -> U256 {
        amount.saturating_mul(U256::from(self.0)) / U256::from(10_000u32)
    }
}

impl fmt::Display for Bps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}

/// Thousandths of a plain number, with a sign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Milli(pub i64);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03}", size / 1_000, size % 1_000)
    }
}

/// What is held or moved: the chain's own coin, or a token contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asset {
    /// The chain's native coin, in wei.
    Native,
    /// An ERC-20 token, in its smallest unit.
    Token(Address),
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Token(token) => token.fmt(f),
        }
    }
}

/// A signed change of one asset, in its smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetDelta {
    /// Which asset.
    pub asset: Asset,
    /// Change in the smallest unit; negative is a loss.
    pub delta_raw: I256,
}

/// A block named by number and hash: the number alone is ambiguous across reorganisations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Height.
    pub number: u64,
    /// Hash of the header.
    pub hash: B256,
}

/// A transaction where it was mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TxRef {
    /// Chain on which it was mined.
    pub chain_id: ChainId,
    /// Block that contains it.
    pub block: BlockRef,
    /// Position in the block.
    pub index: u32,
    /// Transaction hash.
    pub hash: B256,
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub B256);

        impl $name {
            /// The identifier of the given parts, joined with a separator that no part contains.
            #[must_use]
            pub fn derive(parts: &[&str]) -> Self {
                Self(keccak256(parts.join("\u{1f}")))
            }

            /// Prefix and the first eight hex digits, for people; not unique by construction.
            #[must_use]
            pub fn short(&self) -> String {
                let hex = alloy_primitives::hex::encode(self.0);
                format!(concat!($prefix, "-{}"), hex.get(..8).unwrap_or(&hex))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }
    };
}

hash_id!(
    /// A finding: derived from detector, subject and transaction, so judging a block twice yields the same id.
    FindingId, "fnd"
);
hash_id!(
    /// An incident: derived from chain, protocol and the first finding.
    IncidentId, "inc"
);
hash_id!(
    /// Hash of a plan's canonical text; people approve this, not a name.
    PlanHash, "pln"
);
hash_id!(
    /// A notice: derived from its incident and occasion, so a restart does not send a second one.
    NoticeId, "ntc"
);

/// Name of a protected protocol, as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProtocolId(pub String);

impl fmt::Display for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Name of a lever on chain, as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapabilityId(pub String);

impl fmt::Display for CapabilityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Renders a raw amount with its decimals, trailing zeros cut: `1234500, 3` is `1234.5`.
#[must_use]
pub fn format_units(raw: U256, decimals: u8) -> String {
    let digits = raw.to_string();
    let decimals = usize::from(decimals);
    let padded = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = padded.split_at(padded.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// A value in wad for people: two decimals, cut not rounded, with separators: `1234567.899` is `1,234,567.89`.
/// Records and reports keep the exact number; this is for lines that are read at night.
#[must_use]
pub fn format_value(value_wad: U256) -> String {
    let cents = value_wad / U256::from(10_000_000_000_000_000u64);
    let (whole, cents) = cents.div_rem(U256::from(100u8));
    let digits = whole.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped}.{cents:0>2}")
}

/// Reads a decimal text such as `2500.5` as wad, exactly; `None` for anything else, more than 18 decimals, or a number
/// that does not fit.
#[must_use]
pub fn parse_wad(text: &str) -> Option<U256> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 18 {
        return None;
    }
    U256::from_str_radix(&format!("{whole}{fraction:0<18}"), 10).ok()
}

/// [`format_units`] for a signed change; a gain carries a plus sign.
#[must_use]
pub fn format_signed_units(raw: I256, decimals: u8) -> String {
    let sign = if raw.is_negative() { "-" } else { "+" };
    format!("{sign}{}", format_units(raw.unsigned_abs(), decimals))
}

/// A moment that is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// From this time on, Unix seconds.
    AtS(u64),
    /// From this height on.
    AtBlock(u64),
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtS(time_s) => write!(f, "from Unix time {time_s}"),
            Self::AtBlock(number) => write!(f, "from block {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_rendered_exactly() {
        assert_eq!(format_units(U256::from(1_234_500u64), 3), "1234.5");
        assert_eq!(format_units(U256::from(1u64), 18), "0.000000000000000001");
        assert_eq!(format_units(U256::ZERO, 18), "0");
        assert_eq!(format_units(U256::from(7u64), 0), "7");
        assert_eq!(format_signed_units(I256::try_from(-1500).unwrap(), 3), "-1.5");
    }

    #[test]
    fn values_are_cut_to_cents_and_grouped() {
        let wad = |text: &str| text.parse::<U256>().unwrap();
        assert_eq!(format_value(wad("1234567899000000000000000")), "1,234,567.89");
        assert_eq!(format_value(wad("9999999999999999")), "0.00");
        assert_eq!(format_value(wad("123000000000000000000")), "123.00");
        assert_eq!(format_value(U256::ZERO), "0.00");
    }

    #[test]
    fn decimal_texts_are_read_exactly_or_not_at_all() {
        assert_eq!(parse_wad("1999.95"), Some(U256::from(199_995u64) * WAD / U256::from(100u64)));
        assert_eq!(parse_wad("0.000000000000000001"), Some(U256::from(1u64)));
        for wrong in ["", ".", "1.", ".5", "1,5", "-1", "1e3", "0.0000000000000000001", "1.2.3"] {
            assert_eq!(parse_wad(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ratios_round_down_and_saturate() {
        assert_eq!(Bps::ratio(U256::from(1), U256::from(3)), Bps(3333));
        assert_eq!(Bps::ratio(U256::ZERO, U256::ZERO), Bps(0));
        assert_eq!(Bps::ratio(U256::from(1), U256::ZERO), Bps(u32::MAX));
        assert_eq!(Bps(250).of(U256::from(1000)), U256::from(25));
    }

    #[test]
    fn ids_differ_where_parts_shift() {
        assert_ne!(FindingId::derive(&["ab", "c"]), FindingId::derive(&["a", "bc"]));
        assert!(IncidentId::derive(&["x"]).to_string().starts_with("inc-"));
    }
}
