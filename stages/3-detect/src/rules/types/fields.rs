//! The fields of everything that has some, with what they are.
//!
//! In: nothing. Out: names and types; `records.rs` answers them, and a test holds the two lists together. Must never: name a field
//! that no record answers.

use super::{Record, Type};

impl Record {
    pub(in crate::rules) fn name(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Block => "block",
            Self::Protocol => "protocol",
            Self::Call => "a call",
            Self::Log => "a log",
            Self::Transfer => "a transfer",
            Self::Change => "a change",
            Self::Read => "a read",
        }
    }

    /// The fields; `records.rs` answers them, and a test holds the two lists together.
    pub(in crate::rules) fn fields(self) -> &'static [(&'static str, Type)] {
        match self {
            Self::Tx => &[
                ("hash", Type::HEX),
                ("from", Type::HEX),
                ("to", Type::HEX),
                ("value", Type::AMOUNT),
                ("selector", Type::HEX),
                ("input", Type::HEX),
                ("gas_used", Type::INT),
                ("success", Type::BOOL),
            ],
            Self::Block => &[("number", Type::INT), ("timestamp", Type::INT)],
            Self::Protocol => &[("name", Type::TEXT), ("contracts", Type::HEXES)],
            Self::Call => &[
                ("caller", Type::HEX),
                ("address", Type::HEX),
                ("code", Type::HEX),
                ("selector", Type::HEX),
                ("input", Type::HEX),
                ("output", Type::HEX),
                ("value", Type::AMOUNT),
                ("depth", Type::INT),
                ("kind", Type::TEXT),
                ("static", Type::BOOL),
                ("reverted", Type::BOOL),
                ("protected", Type::BOOL),
            ],
            Self::Log => &[
                ("address", Type::HEX),
                ("protected", Type::BOOL),
                ("topic0", Type::HEX),
                ("topics", Type::HEXES),
                ("data", Type::HEX),
            ],
            Self::Transfer => &[
                ("asset", Type::HEX),
                ("native", Type::BOOL),
                ("from", Type::HEX),
                ("to", Type::HEX),
                ("amount", Type::AMOUNT),
            ],
            Self::Change => &[
                ("address", Type::HEX),
                ("protected", Type::BOOL),
                ("slot", Type::HEX),
                ("before", Type::AMOUNT),
                ("after", Type::AMOUNT),
            ],
            Self::Read => &[
                ("address", Type::HEX),
                ("protected", Type::BOOL),
                ("slot", Type::HEX),
                ("value", Type::AMOUNT),
                ("reverted", Type::BOOL),
            ],
        }
    }
}
