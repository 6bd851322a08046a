//! Unbacked mint: tokens are issued, or coins paid out by a custody, for which nothing was given.
//!
//! In: transfers, logs, what differs afterwards, and readings of supplies and balances. Out: findings of three kinds, each
//! in a file of its own: [`issue`] needs no configuration, [`backing`] and [`bridge`] judge what the operator wrote down.
//! Must never: take a claim for a theft. Rewards, vested coins and messages from another chain are paid for nothing as
//! well; what tells is how much of all there is was issued at once, and what the operator says must hold.
//!
//! | what | score | why |
//! |---|---|---|
//! | for nothing, a share of the supply from `issue_weak_bps` on | 200 | a claim is seldom as large, but a young token's is |
//! | the same from `issue_strong_bps` on | 700 | most of what there was, once more |
//! | more issued than a custody holds for it, by more than before | 900; 700 in native coin | what the operator says must never be |
//! | paid out without the message of a release | 800 | the same |
//! | paid out for a message used twice, in one transaction or in two | 800 | one message, one payment |
//! | paid out for a message that no source sent, or more than it says | 800 | looked up in what the other chains' logs say |
//! | paid out for a message of zero | 900 | what was never written reads as zero |
//!
//! Source: Cover (December 2020: 40 quintillion minted), PAID (March 2021: a tenth of the supply, with a stolen key),
//! Qubit (January 2022: a deposit of the zero address), Meter (February 2022), Nomad (August 2022: an unproven message has
//! the root zero, which was accepted), BNB Bridge (October 2022), pGALA (November 2022) and Ankr (December 2022: six
//! quadrillion aBNBc with a stolen key). Limits: a message that the source did send without a deposit (Qubit, Meter: that is to be seen on the source's chain alone);
//! whether a message was sent is asked where both chains are watched by one process, after the source was judged up to the time of
//! the payment, and not of pending transactions; a mint to somebody who is not on the sender's side; without prices, a payment of
//! dust; a share that is issued in small parts over many transactions.
//!
//! Measured (`cordon backtest`): of 27,028 ordinary transactions one has a weak finding, a claim of 6.6 % of a token that was
//! days old. None of the attacks at hand issues a token to the sender's side in a record that has logs.

mod backing;
mod bridge;
mod issue;

use crate::detector::{Detector, Opinion, Statement};
use crate::detectors::ConfigError;
use crate::messages;
use crate::parties::SendersSide;
use crate::valuation::Readings;
use alloy_primitives::Address;
use backing::Pair;
use bridge::Gate;
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::sign::{Sign, Unbacked};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::message::SourceId;
use cordon_model::protocol::Protocol;
use cordon_model::units::{Bps, parse_wad};
use issue::Shares;
use serde::Deserialize;

/// Configuration of [`UnbackedMint`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnbackedMintConfig {
    /// Share of a token's supply from which on an issue for nothing is a finding. Default 500 (5 %): the fastest schedule in
    /// lasting use (three quarters of the supply in a year) issues 1.5 % a week, to all claimants together.
    pub issue_weak_bps: Bps,
    /// Share from which on it opens an incident alone. Default 5000 (50 %): afterwards at least a third of all coins belongs
    /// to somebody who paid nothing, which no distribution to many users in single claims does.
    pub issue_strong_bps: Bps,
    /// Native coins that count as no payment, as a decimal text. Default `"0.05"`: fees of bridges and claims take a few
    /// thousandths, as in `profit`.
    pub dust_max_coins: String,
    /// Tokens of which there must never be more than a custody holds for them.
    pub backing: Vec<BackingConfig>,
    /// Custodies that pay out by messages.
    pub bridge: Vec<BridgeConfig>,
}

/// A token and what stands behind it. Judged where the protocol protects one of both contracts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackingConfig {
    /// The token that is issued.
    pub token: Address,
    /// Who holds what stands behind it.
    pub custody: Address,
    /// What that is: a token's address, or `native`. A balance of native coin can only be seen to change, so that an excess
    /// of the custody is not counted in its favour.
    pub asset: String,
    /// Decimals of the token. Default 18.
    #[serde(default = "eighteen")]
    pub token_decimals: u8,
    /// Decimals of the asset. Default 18.
    #[serde(default = "eighteen")]
    pub asset_decimals: u8,
}

fn eighteen() -> u8 {
    18
}

/// A custody that pays out by messages. Judged where the protocol protects it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeConfig {
    /// Who pays out; a token, where messages have it issued.
    pub custody: Address,
    /// Event that it, or another contract of the protocol, logs for each release, such as
    /// `Released(bytes32 indexed id, address to, uint256 amount)`.
    pub release_event: String,
    /// Names of the event's values that together say which message it is. Without them messages are not compared. Where each source
    /// numbers its messages by itself, one of them must say who sent it; a source that does not log its own number has the number itself
    /// in that place (`["1", "nonce"]` for `["from_chain", "nonce"]`).
    #[serde(default)]
    pub id: Vec<String>,
    /// Name of the value that says how much is paid, where the sources say it in the same unit. More than was sent is a
    /// finding then.
    #[serde(default)]
    pub amount: Option<String>,
    /// Longest that a message takes, in hours; needed where there is a source. What is paid sooner after a source is first watched
    /// may have been sent before, and is not judged. No default: a message that is passed on at once takes minutes, and a withdrawal
    /// from an optimistic rollup a week at least, and as long as its user likes to wait.
    #[serde(default)]
    pub travels_max_hours: Option<u64>,
    /// By how much the clocks of the chains may differ, in seconds: how long after a payment a source must have been judged
    /// before its silence counts. Default 24, two slots of Ethereum.
    #[serde(default = "two_slots")]
    pub clocks_s: u64,
    /// Who may have sent the messages. Each is watched on its chain by the same process; without any, it is not asked whether
    /// messages were sent.
    #[serde(default)]
    pub source: Vec<SourceConfig>,
}

fn two_slots() -> u64 {
    24
}

/// A contract on another chain that sends messages. It must be protected there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Its chain's id.
    pub chain: u64,
    /// The contract.
    pub contract: Address,
    /// Event that it logs for each message, such as `Sent(bytes32 indexed id, address to, uint256 amount)`.
    pub event: String,
    /// Names of the event's values that together say which message it is, in the order of the bridge's.
    pub id: Vec<String>,
    /// Name of the value that says how much is sent.
    #[serde(default)]
    pub amount: Option<String>,
}

impl Default for UnbackedMintConfig {
    fn default() -> Self {
        Self {
            issue_weak_bps: Bps(500),
            issue_strong_bps: Bps(5_000),
            dust_max_coins: "0.05".to_owned(),
            backing: Vec::new(),
            bridge: Vec::new(),
        }
    }
}

impl UnbackedMintConfig {
    /// The detector.
    ///
    /// # Errors
    /// A share of nothing, shares in the wrong order, an amount, asset or event that is none.
    pub fn build(&self) -> Result<UnbackedMint, ConfigError> {
        let wrong =
            |key, value: &dyn ToString, expected| ConfigError { key, value: value.to_string(), expected };
        let (weak, strong) = (self.issue_weak_bps, self.issue_strong_bps);
        if weak.0 == 0 {
            return Err(wrong("unbacked-mint.issue_weak_bps", &weak.0, "1 or more"));
        }
        if strong < weak {
            return Err(wrong("unbacked-mint.issue_strong_bps", &strong.0, "issue_weak_bps or more"));
        }
        let dust_max_wei = parse_wad(&self.dust_max_coins).ok_or_else(|| {
            let expected = "a decimal number with at most 18 digits after the point, such as \"0.05\"";
            wrong("unbacked-mint.dust_max_coins", &self.dust_max_coins, expected)
        })?;
        Ok(UnbackedMint {
            shares: Shares { weak, strong, dust_max_wei },
            pairs: self.backing.iter().map(Pair::of).collect::<Result<_, _>>()?,
            gates: self.bridge.iter().map(Gate::of).collect::<Result<_, _>>()?,
        })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct UnbackedMint {
    shares: Shares,
    pairs: Vec<Pair>,
    gates: Vec<Gate>,
}

/// What one of the three kinds says, before it is a finding.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    /// Protected contract that is concerned.
    contract: Address,
    score: Score,
    what: Unbacked,
}

/// What they say, and what they could not judge.
type Heard = (Vec<Said>, Vec<String>);

impl Detector for UnbackedMint {
    fn name(&self) -> &'static str {
        "unbacked-mint"
    }

    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        let pairs = self.pairs.iter().filter(|pair| pair.concerns(protocol, execution));
        let mut calls: Vec<ViewCall> = pairs.flat_map(Pair::views).collect();
        calls.extend(issue::views(protocol, &SendersSide::of(protocol, execution), execution));
        calls
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        self.judge(protocol, execution).findings
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        self.judge(protocol, execution).gaps
    }

    fn listens(&self, protocol: &Protocol) -> Vec<SourceId> {
        self.gates.iter().flat_map(|gate| gate.listens(protocol)).collect()
    }

    fn messages(&self, protocol: &Protocol, execution: &Execution) -> messages::Heard {
        let mut heard = messages::Heard::default();
        for gate in &self.gates {
            heard.take(gate.messages(self.name(), protocol, execution));
        }
        heard
    }

    fn judge(&self, protocol: &Protocol, execution: &Execution) -> Opinion {
        let readings = Readings::of(execution);
        let (mut said, mut gaps) = self.shares.judge(protocol, execution, &readings);
        let pairs = self.pairs.iter().filter(|pair| pair.concerns(protocol, execution));
        for (more, unknown) in pairs
            .map(|pair| pair.judge(protocol, execution, &readings))
            .chain(self.gates.iter().map(|gate| gate.judge(protocol, execution)))
        {
            said.extend(more);
            gaps.extend(unknown);
        }
        // One finding for each contract, the strongest: a finding's id is derived from it.
        said.sort_by_key(|one| (one.contract, std::cmp::Reverse(one.score)));
        said.dedup_by_key(|one| one.contract);
        let state = |Said { contract, score, what }| {
            let evidence = Evidence::Sign(Sign::Unbacked(what));
            Statement { class: AttackClass::UnbackedMint, contract, score, evidence }.by(
                self.name(),
                protocol,
                execution,
            )
        };
        Opinion { findings: said.into_iter().map(state).collect(), gaps }
    }
}

#[cfg(test)]
mod tests;
