//! What each kind of evidence says to people.
//!
//! In: [`Evidence`]. Out: one sentence without a full stop. Must never: print what a contract says as it stands; whoever
//! shows the sentence cleans it.

use super::{Evidence, OrdinaryPattern, PrivilegeChange, ReentryKind};
use crate::units::format_value;
use alloy_primitives::Selector;
use std::fmt;

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

impl fmt::Display for OrdinaryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arbitrage => "an arbitrage",
            Self::Liquidation => "a liquidation",
            Self::Sandwich => "a sandwich",
            Self::Owed => "what was owed",
        })
    }
}

impl fmt::Display for ReentryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameFunction => f.write_str("the same function"),
            Self::CrossFunction => f.write_str("another function"),
            Self::CrossContract { by } => write!(f, "by way of {by}"),
            Self::ReadOnly { reader } => write!(f, "read-only, for {reader}"),
        }
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
                write!(f, "{instead_of}; ordinary as part of {pattern}")?;
                match pattern {
                    OrdinaryPattern::Arbitrage | OrdinaryPattern::Liquidation => {
                        write!(f, " over {markets} markets, at which nobody else loses")
                    }
                    OrdinaryPattern::Sandwich => write!(
                        f,
                        " over {markets} markets, in which a user got a worse price, and the protocol loses nothing"
                    ),
                    OrdinaryPattern::Owed => f.write_str(", by the protocol's own books"),
                }
            }
            Self::ValueLoss { .. }
            | Self::Reentry { .. }
            | Self::RateJump { .. }
            | Self::FlashLoan { .. }
            | Self::RepeatedCalls { .. }
            | Self::FreshCaller { .. }
            | Self::Profit { .. }
            | Self::Unprecedented { .. }
            | Self::Sign(_)
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
            Self::Reentry { contract, outer, inner, via, slots, kind } => {
                write!(
                    f,
                    "{} of {contract} entered through {via} while {} was unsettled",
                    name(inner),
                    name(outer)
                )?;
                match kind {
                    Some(kind) => write!(f, " ({kind}; {} shared slots)", slots.len()),
                    None => write!(f, " ({} shared slots)", slots.len()),
                }
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
            Self::Sign(sign) => sign.fmt(f),
            Self::Rule { rule, title, .. } => write!(f, "{title} (rule {rule})"),
        }
    }
}
