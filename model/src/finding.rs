//! What a detector says, and on which grounds.
//!
//! In: facts of one execution. Out: [`Finding`] with [`Evidence`]. The vocabulary is closed on purpose: store,
//! notices and reports render each kind of evidence once, and a new detector does not touch them.

use crate::baseline::First;
use crate::units::{Asset, AssetDelta, Bps, ChainId, FindingId, ProtocolId, TxRef, format_value};
use alloy_primitives::{Address, I256, Selector, U256};
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
            Self::UserRule => "user rule",
        })
    }
}

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

impl fmt::Display for PrivilegeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "the owner",
            Self::Role => "a role",
            Self::Implementation => "the implementation",
            Self::Initialiser => "the initial state",
            Self::Safeguard => "a safeguard",
        })
    }
}

/// Ordinary use that looks like an attack in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrdinaryPattern {
    /// Differences between markets are traded away.
    Arbitrage,
    /// A debt is repaid for its collateral, as the market offers to everybody.
    Liquidation,
}

impl fmt::Display for OrdinaryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arbitrage => "an arbitrage",
            Self::Liquidation => "a liquidation",
        })
    }
}

/// A function for people; a call without a selector runs the fallback.
fn name(selector: &Option<Selector>) -> String {
    selector.map_or("fallback".to_owned(), |selector| selector.to_string())
}

impl Evidence {
    /// Those that speak of more parties than the sender and one contract; nothing for any other.
    fn fmt_parties(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllowanceDrain { spender, account, accounts, asset, amount_raw, dictated } => {
                let how =
                    if *dictated { "with a call that the sender wrote" } else { "at the sender's word" };
                write!(f, "{amount_raw} of {asset} pulled from {account} through {spender} {how}")?;
                if *accounts > 1 {
                    write!(f, ", and from {} others", accounts.saturating_sub(1))
                } else {
                    Ok(())
                }
            }
            Self::PriceManipulation { market, given, taken, contract, function, looked } => {
                write!(
                    f,
                    "{market} was traded from {given} to {taken} and back, and {} of {contract}",
                    name(function)
                )?;
                f.write_str(if *looked {
                    ", which looked at it, was called in between"
                } else {
                    " was called in between"
                })
            }
            Self::Privilege { contract, change, taken } => {
                write!(f, "{change} of {contract} changed")?;
                if *taken { f.write_str(", and its assets went to the sender's side") } else { Ok(()) }
            }
            Self::Ordinary { pattern, markets, instead_of } => {
                write!(
                    f,
                    "{instead_of}; ordinary as part of {pattern} over {markets} markets, at which nobody else loses"
                )
            }
            Self::ValueLoss { .. }
            | Self::Reentry { .. }
            | Self::RateJump { .. }
            | Self::FlashLoan { .. }
            | Self::RepeatedCalls { .. }
            | Self::FreshCaller { .. }
            | Self::Profit { .. }
            | Self::Unprecedented { .. }
            | Self::Rule { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ValueLoss { loss_wad, loss_share_bps, holdings, .. } => {
                write!(f, "protected system lost {} in value", format_value(*loss_wad))?;
                if let Some(share) = loss_share_bps {
                    write!(f, " ({share} of its holdings)")?;
                }
                write!(f, " over {} assets", holdings.len())
            }
            Self::Reentry { contract, outer, inner, via, slots } => {
                write!(
                    f,
                    "{} of {contract} entered through {via} while {} was unsettled",
                    name(inner),
                    name(outer)
                )?;
                write!(f, " ({} shared slots)", slots.len())
            }
            Self::RateJump { contract, before_raw, extreme_raw, jump_bps, .. } => {
                write!(
                    f,
                    "rate of {contract} moved by {jump_bps} within the transaction ({before_raw} -> {extreme_raw})"
                )
            }
            Self::FlashLoan { lender, asset, amount_raw, repaid_raw, calls } => write!(
                f,
                "{amount_raw} of {asset} borrowed from {lender}, {repaid_raw} given back in the same transaction, {calls} \
                 calls into the protocol in between"
            ),
            Self::RepeatedCalls { contract, function, times, frames } => write!(
                f,
                "{} of {contract} called {times} times in a transaction of {frames} calls",
                name(function)
            ),
            Self::FreshCaller { caller, contract, function } => write!(
                f,
                "{} of {contract} called by {caller}, which the same transaction created",
                name(function)
            ),
            Self::Profit { gains, paid, loser, losses } => {
                let (gained, paid, lost) = (gains.len(), paid.len(), losses.len());
                write!(f, "the sender's side gained {gained} assets and paid {paid}")?;
                match loser {
                    Some(loser) => write!(f, "; {loser} lost {lost} and received nothing"),
                    None => Ok(()),
                }
            }
            Self::Unprecedented { transactions, firsts } => {
                write!(f, "never in {transactions} transactions:")?;
                firsts
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, first)| write!(f, "{} {first}", if index == 0 { "" } else { ";" }))
            }
            Self::AllowanceDrain { .. }
            | Self::PriceManipulation { .. }
            | Self::Privilege { .. }
            | Self::Ordinary { .. } => self.fmt_parties(f),
            Self::Rule { rule, title, .. } => write!(f, "{title} (rule {rule})"),
        }
    }
}
