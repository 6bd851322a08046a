//! What a detector says, and on which grounds.
//!
//! In: facts of one execution. Out: [`Finding`] with [`Evidence`]. The vocabulary is closed on purpose: store,
//! notices and reports render each kind of evidence once, and a new detector does not touch them.

mod evidence;
pub mod sign;

pub use evidence::{Evidence, OrdinaryPattern, PrivilegeChange, ReentryKind};

use crate::units::{ChainId, FindingId, ProtocolId, TxRef};
use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One detector's statement on one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Derived from detector, subject and transaction.
    pub id: FindingId,
    /// Detector that speaks.
    pub detector: String,
    /// Kind of attack it points to.
    pub class: AttackClass,
    /// Protocol that is hurt.
    pub protocol: ProtocolId,
    /// Contract of the protocol that is concerned.
    pub contract: Address,
    /// Transaction it speaks of.
    pub tx: TxRef,
    /// How strongly, from 0 to 1000; not a probability until calibrated.
    pub score: Score,
    /// Grounds.
    pub evidence: Evidence,
    /// Accounts that seem to act against the protocol: the sender first.
    pub suspects: Vec<Address>,
}

impl Finding {
    /// The id of a finding: the same transaction judged twice gives the same id.
    #[must_use]
    pub fn derive_id(detector: &str, chain_id: ChainId, contract: Address, tx: &TxRef) -> FindingId {
        let parts = [
            detector,
            &chain_id.to_string(),
            &contract.to_string(),
            &tx.hash.to_string(),
            &tx.block.hash.to_string(),
        ];
        FindingId::derive(&parts)
    }
}

/// Strength of a finding in per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(pub u16);

impl Score {
    /// The strongest score.
    pub const MAX: Self = Self(1000);

    /// `value` of `full`, scaled to `0..=1000` and cut there.
    #[must_use]
    pub fn scaled(value: U256, full: U256) -> Self {
        let scaled =
            value.saturating_mul(U256::from(1000u32)).checked_div(full).unwrap_or(U256::from(1000u32));
        Self(u16::try_from(scaled.min(U256::from(1000u32))).unwrap_or(1000))
    }

    /// This much, and of `span` the part that this strength is.
    #[must_use]
    pub fn and(self, span: u16, strength: Self) -> Self {
        let above = u32::from(strength.0).saturating_mul(u32::from(span)) / u32::from(Self::MAX.0);
        Self(self.0.saturating_add(u16::try_from(above).unwrap_or(u16::MAX)).min(Self::MAX.0))
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Kinds of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttackClass {
    /// Value leaves that nobody was owed.
    ValueExtraction,
    /// A protected contract is entered again while it waits for an untrusted one.
    Reentrancy,
    /// A share price or exchange rate is moved inside one transaction.
    RateManipulation,
    /// A sequence that borrowed coins paid for, which no participant with coins of his own would need.
    FlashLoan,
    /// Calls of a shape that ordinary use does not have.
    ControlFlow,
    /// Allowances that users gave a contract are used by somebody else.
    AllowanceDrain,
    /// A market's price is moved and undone, and the protocol goes by it in between.
    PriceManipulation,
    /// Rights over a protected contract change.
    Privilege,
    /// Votes that nobody means to keep decide.
    Governance,
    /// The protocol goes by a price that does not hold.
    Oracle,
    /// Tokens are issued, or paid out, for which nothing was given.
    UnbackedMint,
    /// Users are led to sign or send what they do not mean to.
    Phishing,
    /// What an attack needs is put in place.
    Preparation,
    /// Something that held in all ordinary use does not hold.
    Invariant,
    /// What a rule of the operator names; the rule says what it means.
    UserRule,
}

impl fmt::Display for AttackClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ValueExtraction => "value extraction",
            Self::Reentrancy => "re-entrancy",
            Self::RateManipulation => "rate manipulation",
            Self::FlashLoan => "flash-loan-funded sequence",
            Self::ControlFlow => "abnormal control flow",
            Self::AllowanceDrain => "allowance drain",
            Self::PriceManipulation => "price manipulation",
            Self::Privilege => "change of rights",
            Self::Governance => "borrowed votes",
            Self::Oracle => "wrong price",
            Self::UnbackedMint => "issue without backing",
            Self::Phishing => "phishing of users",
            Self::Preparation => "preparation of an attack",
            Self::Invariant => "broken invariant",
            Self::UserRule => "user rule",
        })
    }
}
