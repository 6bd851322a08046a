//! Grounds of a finding, one kind each.
//!
//! In: nothing but values. Out: [`Evidence`]. Must never: hold a sentence where a figure would do.

mod words;

use super::sign::Sign;
use crate::baseline::First;
use crate::units::{Asset, AssetDelta, Bps};
use alloy_primitives::{Address, I256, Selector, U256};
use serde::{Deserialize, Serialize};

/// Grounds of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The protected system paid out more than its obligations fell.
    ValueLoss {
        /// Net loss in value, wad; zero where the lost assets have no price.
        loss_wad: U256,
        /// Change of the system's holdings per asset.
        holdings: Vec<AssetDelta>,
        /// Change of what the system owes its users, wad.
        obligations_delta_wad: I256,
        /// Value the system held before, wad, where it could be read; the base of the loss share.
        loss_share_bps: Option<Bps>,
        /// Accounts outside the system that gained, with their gain in value, wad; largest first.
        gainers: Vec<(Address, I256)>,
    },
    /// A protected contract was re-entered and acted on state that its outer call had not yet settled.
    Reentry {
        /// Contract entered twice.
        contract: Address,
        /// Outer function.
        outer: Option<Selector>,
        /// Function entered while the outer one waited.
        inner: Option<Selector>,
        /// Untrusted account through which control came back.
        via: Address,
        /// Slots of unsettled state: the inner call used what the outer one wrote only later, or the reverse.
        slots: Vec<U256>,
        /// In which way; not known of records from before it was told apart.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<ReentryKind>,
    },
    /// An exchange rate moved within the transaction.
    RateJump {
        /// Vault whose rate moved.
        contract: Address,
        /// Underlying asset of the rate.
        underlying: Asset,
        /// Assets per whole share before, raw.
        before_raw: U256,
        /// The most extreme rate inside or after the transaction, raw.
        extreme_raw: U256,
        /// Size of the move.
        jump_bps: Bps,
    },
    /// Coins were borrowed and given back within the transaction, and the protocol was used in between.
    FlashLoan {
        /// Account that lent.
        lender: Address,
        /// What it lent.
        asset: Asset,
        /// How much.
        amount_raw: U256,
        /// How much came back.
        repaid_raw: U256,
        /// Calls into protected contracts while the loan was open.
        calls: u32,
    },
    /// One function of a protected contract was called over and over, or the protocol was called a great deal.
    RepeatedCalls {
        /// Contract called most often.
        contract: Address,
        /// Its function.
        function: Option<Selector>,
        /// How often that was.
        times: u32,
        /// Calls of the transaction, all of them.
        frames: u32,
    },
    /// A contract that did not exist before the transaction called a protected one.
    FreshCaller {
        /// The new contract.
        caller: Address,
        /// The protected one.
        contract: Address,
        /// Function that it called.
        function: Option<Selector>,
    },
    /// The sender's side ended richer, at the expense of somebody or for nothing.
    Profit {
        /// What the sender's side gained.
        gains: Vec<AssetDelta>,
        /// What it paid, to whomever.
        paid: Vec<AssetDelta>,
        /// Protected contract that lost and received nothing, where there is one.
        loser: Option<Address>,
        /// What that lost.
        losses: Vec<AssetDelta>,
    },
    /// The transaction exceeds, in several ways at once, everything that the protocol was ever used for.
    Unprecedented {
        /// Ordinary transactions before it.
        transactions: u64,
        /// In what, and by how much.
        firsts: Vec<First>,
    },
    /// Coins of accounts that take no part were pulled through a contract that they had allowed to.
    AllowanceDrain {
        /// Contract whose allowances were used.
        spender: Address,
        /// First account that was drained.
        account: Address,
        /// How many accounts were drained through that contract.
        accounts: u32,
        /// What was pulled from the first.
        asset: Asset,
        /// How much of that was pulled, from all of them.
        amount_raw: U256,
        /// True where the sender wrote the very call by which the coins were pulled.
        dictated: bool,
    },
    /// A market was traded forth and back, and another contract was used in between.
    PriceManipulation {
        /// Market that was moved.
        market: Address,
        /// Asset that was given first and taken back.
        given: Asset,
        /// Asset that was taken first and given back.
        taken: Asset,
        /// Protected contract that was called in between.
        contract: Address,
        /// Its function.
        function: Option<Selector>,
        /// True where the market was looked at while it worked.
        looked: bool,
    },
    /// Rights over a protected contract were changed.
    Privilege {
        /// The contract.
        contract: Address,
        /// What was changed.
        change: PrivilegeChange,
        /// True where the same transaction moved assets of the contract to the sender's side.
        taken: bool,
    },
    /// Grounds that a pattern of ordinary use explains, for which the score was lowered.
    Ordinary {
        /// What the transaction is.
        pattern: OrdinaryPattern,
        /// Markets that it traded with.
        markets: u32,
        /// What was seen.
        instead_of: Box<Evidence>,
    },
    /// What names a pattern in one sentence, and holds nothing that later rooms compute with.
    Sign(Sign),
    /// A rule of the operator holds.
    Rule {
        /// Id of the rule.
        rule: String,
        /// What it says.
        title: String,
        /// What that means, in the words of whoever wrote the rule.
        explanation: String,
    },
}

/// In which way a contract was entered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReentryKind {
    /// By the function that was open.
    SameFunction,
    /// By another function of the same contract.
    CrossFunction,
    /// By another contract of the protocol, which had been called meanwhile.
    CrossContract {
        /// That contract.
        by: Address,
    },
    /// By a question that changes nothing, whose answer somebody went by.
    ReadOnly {
        /// Account that wanted to know.
        reader: Address,
    },
}

/// What can be changed about the rights over a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivilegeChange {
    /// Who owns or administers it.
    Owner,
    /// Who has which role.
    Role,
    /// Which code it runs.
    Implementation,
    /// It was initialised, though it was there before the transaction.
    Initialiser,
    /// What guards its use: thresholds, modules, guards, delays.
    Safeguard,
}

/// Ordinary use that looks like an attack in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrdinaryPattern {
    /// Differences between markets are traded away.
    Arbitrage,
    /// A debt is repaid for its collateral, as the market offers to everybody.
    Liquidation,
    /// Others are traded around, and get a worse price: it harms them, and not the protocol.
    Sandwich,
    /// A withdrawal, or a loan against collateral, as the protocol's own books have it.
    Owed,
}
