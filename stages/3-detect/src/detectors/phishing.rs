//! Phishing: users of the protocol were led to sign or to send what they did not mean to.
//!
//! In: calls with their calldata, transfers and logs. Out: at most one finding for each protected token. Must never: look like
//! a flaw of the protocol. What is told here is told for the sake of its users, and opens an incident alone only where many
//! of them lose at once.
//!
//! | what | score | benign twin, and what tells it |
//! |---|---|---|
//! | signed permits (ERC-2612, DAI, Permit2) give the sender's side allowances, by which it takes, for nothing, from `owners_min` owners, `tokens_min` tokens of one, or all that one has of a token | 300; 700 from `owners_many` owners on | relayers: the owner receives something, or the allowance is a router's and not the sender's |
//! | signed permits, or approvals by their own calls, of `owners_min` owners to the sender's side | 300 | bundles of ERC-4337: different users allow different contracts, none of them the bundler's |
//! | an account allows a contract several tokens and that contract takes them in the same transaction, for nothing: `tokens_min`, or two if the transaction created it | 300 | deposits and payments: they go to a contract that is called, or in one currency |
//! | movements of nothing from `poisoned_min` accounts that do not act | 200 | claims of nothing: whoever pays them is called |
//! | a movement of nothing to an address that looks like one that the same account pays in this transaction | 500 | none known |
//!
//! *For nothing* means that the owner is given nothing in the transaction by anybody but the sender's side, and by that only
//! what it received from others and did not keep. What is taken counts where it goes to the sender's side, or to accounts
//! that no call reaches: payments for something go to contracts, which are called.
//!
//! Source: ERC-2612, Permit2, ERC-4337 and EIP-7702; the wallet drainers of 2023 and 2024 (Inferno, Pink, Angel); poisoning
//! of address histories by `transferFrom` of zero (since November 2022; 68 million dollars in one case of May 2024). Limits:
//! what is taken in a later transaction than it was allowed; transfers that a user was led to order himself; dust sent
//! from accounts of the thief's own; false tokens, unless they are protected, which they are nowhere but in a back-test; looks that are only alike
//! beside payments of earlier transactions; records without calldata (facts of blocks), where only poisoning shows; a gift
//! by a stranger's account, which hides a victim.
//!
//! Measured (`cordon backtest`): one of 27,028 ordinary transactions, which is what it is said to be: 36 movements of four
//! false tokens between wallets, some of them of nothing, in a block of Ethereum of July 2025. None of the 117 attacks at
//! hand is of these kinds, so that how many are found is not known.

mod grants;
mod poison;
mod take;

use crate::detector::{Detector, Statement};
use crate::detectors::ConfigError;
use crate::parties::SendersSide;
use alloy_primitives::Address;
use cordon_model::execution::Execution;
use cordon_model::finding::sign::{Lure, Sign};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use grants::Grants;
use serde::Deserialize;
use std::cmp::Reverse;

/// Configuration of [`Phishing`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PhishingConfig {
    /// Owners from which on permits or approvals to the sender's side are a finding. Default 3: a relayer carries the permit
    /// of one user, or of both sides of a trade.
    pub owners_min: u32,
    /// Owners from which on it opens an incident alone. Default 10: that many who all lose and get nothing are no batch of
    /// payments that somebody happens to relay.
    pub owners_many: u32,
    /// Tokens of one owner from which on it is a finding. Default 3: a payment is made in one currency, a deposit in a pair
    /// of them.
    pub tokens_min: u32,
    /// Accounts that movements of nothing speak of, from which on they are a finding. Default 3: one or two are contracts
    /// that do not check for zero.
    pub poisoned_min: u32,
}

impl Default for PhishingConfig {
    fn default() -> Self {
        Self { owners_min: 3, owners_many: 10, tokens_min: 3, poisoned_min: 3 }
    }
}

impl PhishingConfig {
    /// The detector.
    ///
    /// # Errors
    /// A number that every transaction reaches, or fewer for many than for some.
    pub fn build(&self) -> Result<Phishing, ConfigError> {
        let counts = [
            ("phishing.owners_min", self.owners_min),
            ("phishing.tokens_min", self.tokens_min),
            ("phishing.poisoned_min", self.poisoned_min),
        ];
        if let Some((key, count)) = counts.into_iter().find(|(_, count)| *count < 2) {
            return Err(ConfigError { key, value: count.to_string(), expected: "2 or more" });
        }
        if self.owners_many < self.owners_min {
            let (key, value) = ("phishing.owners_many", self.owners_many.to_string());
            return Err(ConfigError { key, value, expected: "owners_min or more" });
        }
        Ok(Phishing { bounds: self.clone() })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Phishing {
    bounds: PhishingConfig,
}

/// What was seen, before it is a finding.
#[derive(Debug)]
struct Said {
    score: Score,
    lure: Lure,
}

impl Detector for Phishing {
    fn name(&self) -> &'static str {
        "phishing"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let side = SendersSide::of(protocol, execution);
        let grants = Grants::of(execution);
        let mut said = poison::poisoned(&self.bounds, protocol, &side, execution);
        if !grants.is_empty() {
            said.extend(take::taken(&self.bounds, protocol, &side, execution, &grants));
        }
        // One finding for each token, the strongest: a finding's id is derived from it.
        said.sort_by_key(|one| (one.lure.token, Reverse(one.score), one.lure.taker));
        said.dedup_by_key(|one| one.lure.token);
        let state = |Said { score, lure }| {
            let (contract, evidence) = (lure.token, Evidence::Sign(Sign::Lure(lure)));
            Statement { class: AttackClass::Phishing, contract, score, evidence }.by(
                self.name(),
                protocol,
                execution,
            )
        };
        said.into_iter().map(state).collect()
    }
}

/// Number of things that are told apart.
fn count(things: usize) -> u32 {
    u32::try_from(things).unwrap_or(u32::MAX)
}

/// The first protected token of these.
fn protected<'a>(protocol: &Protocol, tokens: impl IntoIterator<Item = &'a Address>) -> Option<Address> {
    tokens.into_iter().copied().find(|token| protocol.protects(*token))
}

#[cfg(test)]
mod tests;
