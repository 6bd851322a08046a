//! A scenario in play: a practice chain, the actors of the script, and what the operator knows.
//!
//! In go steps, and transactions of whoever defends; out come blocks, plain sentences and a score. One step is one
//! block: the actors whose turn it is hand in their transactions, and whatever else waits is mined with them by order
//! of fees. The world never looks at what a defender does, and actors' names and the score must never reach one.

mod facts;
mod scorecard;

use std::fmt;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall as _;

pub use self::facts::{
    AccountLine, AssetPrice, Facts, LineSide, NamedContract, PauseLever, Treasury, Upgrade, ValuedAsset,
};
use self::scorecard::{Holdings, Sides};
pub use self::scorecard::{LenderStanding, Scorecard};
use crate::artifacts::ArtifactError;
use crate::scenarios::lending_market::act::perform;
use crate::scenarios::lending_market::cast::Cast;
use crate::scenarios::lending_market::interfaces::{IMerkleClaim, IShareVault};
use crate::scenarios::lending_market::{Market, Stewards, traffic, view};
use crate::scenarios::{Scenario, Setup};
use crate::{BlockRef, Call, Chain, ChainConfig, ChainError};

/// Why a scenario could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// The chain refused a transaction or a read.
    #[error("the practice chain refused")]
    Chain(#[from] ChainError),
    /// A contract's artifact cannot be used.
    #[error("a contract of the scenario cannot be deployed")]
    Artifact(#[from] ArtifactError),
    /// A transaction of the set-up failed.
    #[error("set-up failed in block {block}: {}", .story.join("; "))]
    SetUp {
        /// Block in which it failed.
        block: u64,
        /// What happened until then.
        story: Vec<String>,
    },
    /// A view function gave something else than its signature says.
    #[error("'{function}' of {contract} gave an answer that does not fit its signature")]
    View {
        /// The contract.
        contract: Address,
        /// Signature of the function.
        function: &'static str,
        /// What the decoder said.
        #[source]
        source: alloy_sol_types::Error,
    },
    /// The account belongs to no honest actor of this world.
    #[error("account {account} is no honest actor of this scenario, expected one of `accounts()`")]
    NotAnActor {
        /// The account.
        account: Address,
    },
}

/// An honest actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Name for people.
    pub name: &'static str,
    /// Address.
    pub address: Address,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepOutcome {
    /// The block that was mined.
    pub block: BlockRef,
    /// One sentence for each transaction of the script, in the order in which they were handed in.
    pub narration: Vec<String>,
    /// How many transactions of the script were mined and failed.
    pub reverted: usize,
}

/// A scenario in play.
pub struct World {
    chain: Chain,
    scenario: Scenario,
    market: Market,
    facts: Facts,
    prologue: Vec<String>,
    accounts: Vec<Account>,
    sides: Sides,
    steps_done: u64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = format_args!("{} of {}", self.steps_done, self.scenario.script().steps());
        f.debug_struct("World")
            .field("scenario", &self.scenario)
            .field("steps", &steps)
            .finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(scenario: Scenario, setup: Setup) -> Result<Self, RangeError> {
        let Setup { seed, guardian, operator } = setup;
        let script = scenario.script();
        let chain = Chain::new(ChainConfig::default());
        let cast = Cast { seed };
        let extras = [script.honest(), script.hostile()].concat();
        let (market, prologue) = Market::found(&chain, cast, Stewards { guardian, operator }, &extras)?;
        let honest = cast.endowments().into_iter().chain(script.honest().iter().copied());
        let accounts =
            honest.map(|actor| Account { name: actor.name, address: cast.address(actor.name) }).collect();
        let attackers = script.hostile_accounts(&market);
        let sides = Sides {
            attackers_at_start: Holdings::read(&chain, &market, &attackers)?,
            attackers,
            borrowers: script.borrowers(&market),
        };
        let facts = facts::gather(&chain, chain.head(), &market, setup);
        Ok(Self { chain, scenario, market, facts, prologue, accounts, sides, steps_done: 0 })
    }

    /// The chain, to connect to and to mine on beside the script.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the operator knows.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Which scenario this is.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        self.scenario
    }

    /// One sentence for each transaction of the set-up.
    #[must_use]
    pub fn prologue(&self) -> &[String] {
        &self.prologue
    }

    /// The honest actors, lenders first.
    #[must_use]
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Lets the actors whose turn it is hand in their transactions and mines one block with everything that waits.
    /// After the end of the script only the everyday traffic goes on.
    ///
    /// # Errors
    /// The chain does not take a transaction of the script. A failed execution is no error: it is mined and told.
    pub fn step(&mut self) -> Result<StepOutcome, RangeError> {
        let step = self.steps_done.saturating_add(1);
        let mut acts = traffic::turn(&self.market, &self.chain, step)?;
        if !self.is_over() {
            acts.extend(self.scenario.script().turn(&self.market, &self.chain, step)?);
        }
        let done = perform(&self.chain, &acts)?;
        self.steps_done = step;
        Ok(StepOutcome { block: done.block, narration: done.narration, reverted: done.reverted })
    }

    /// Whether all steps of the script are done.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.steps_done >= self.scenario.script().steps()
    }

    /// The honest actor `account` hands in its claim for `amount_raw` base units at a `MerkleClaim`. It waits for the
    /// next block.
    ///
    /// # Errors
    /// The account is no honest actor, or the chain does not take the transaction.
    pub fn claim(
        &self,
        account: Address,
        claim_contract: Address,
        amount_raw: U256,
        proof: Vec<B256>,
    ) -> Result<B256, RangeError> {
        if !self.accounts.iter().any(|actor| actor.address == account) {
            return Err(RangeError::NotAnActor { account });
        }
        let call = IMerkleClaim::claimCall { account, amount: amount_raw, proof };
        self.submit_as(account, Call::new(claim_contract, call.abi_encode()))
    }

    /// Hands in a transaction of any account, without a key. It waits for the next block.
    ///
    /// # Errors
    /// The chain does not take the transaction.
    pub fn submit_as(&self, from: Address, call: Call) -> Result<B256, RangeError> {
        Ok(self.chain.submit_as(from, call)?)
    }

    /// Base units of `token` that `account` holds at the head.
    ///
    /// # Errors
    /// `token` is no ERC-20 contract.
    pub fn balance_of(&self, token: Address, account: Address) -> Result<U256, RangeError> {
        Market::balance(&self.chain, token, account)
    }

    /// Base units of the underlying that ERC-4626 vault `vault` says `shares_raw` are worth at the head.
    ///
    /// # Errors
    /// `vault` is no ERC-4626 contract.
    pub fn convert_to_assets(&self, vault: Address, shares_raw: U256) -> Result<U256, RangeError> {
        view(&self.chain, vault, &IShareVault::convertToAssetsCall { shares: shares_raw })
    }

    /// How the run stands at the head. For comparisons after the fact; a defender must never see it.
    ///
    /// # Errors
    /// The vault no longer answers its view functions, for example after a broken upgrade.
    pub fn scorecard(&self) -> Result<Scorecard, RangeError> {
        scorecard::read(&self.chain, &self.market, &self.sides)
    }

    /// The market with its actors, for tests of the scripts only.
    #[cfg(test)]
    pub(crate) fn market_for_tests(&self) -> &Market {
        &self.market
    }
}
