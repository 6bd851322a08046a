//! The scenarios of the range: what can happen on the practice chain, in a visible list.
//!
//! In go a scenario and a [`Setup`]; out comes a [`World`] that plays it block by block. Each script lies in a folder
//! of its own under `range/scenarios`, and each attack has a benign twin, because a defence that also fires on the
//! twin is no defence. A script must never look at what a defender does.

#[path = "../scenarios/donation_reentrancy/mod.rs"]
mod donation_reentrancy;
#[path = "../scenarios/donation_reentrancy_benign/mod.rs"]
mod donation_reentrancy_benign;
#[path = "../scenarios/lending_market/mod.rs"]
pub(crate) mod lending_market;

use alloy_primitives::Address;

use self::lending_market::Market;
use self::lending_market::act::Act;
use self::lending_market::cast::Endowment;
use crate::Chain;
use crate::world::{RangeError, World};

/// Everything that can be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// A lending vault is drained in a series of strikes.
    DonationReentrancy,
    /// The same vault in large but honest use.
    DonationReentrancyBenign,
}

/// What differs from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Fixes every amount and every actor's address. Equal set-ups give equal chains.
    pub seed: u64,
    /// Gets the pauser role of both vaults, and native coin for gas. The caller holds its key.
    pub guardian: Address,
    /// Gets the administrator and upgrader roles, the reserve, and native coin for gas. The caller holds its key.
    pub operator: Address,
}

impl Scenario {
    /// All scenarios, an attack before its twin.
    pub const ALL: [Self; 2] = [Self::DonationReentrancy, Self::DonationReentrancyBenign];

    /// The name as it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DonationReentrancy => "donation-reentrancy",
            Self::DonationReentrancyBenign => "donation-reentrancy-benign",
        }
    }

    /// What happens, in one sentence.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::DonationReentrancy => {
                "An attacker inflates the collateral rate by a donation and re-enters the lending vault to borrow \
                 against collateral that it takes back, in eight strikes."
            }
            Self::DonationReentrancyBenign => {
                "A whale comes and goes, large loans are opened near the limit, yield is donated and tokens are \
                 airdropped, and nobody loses anything."
            }
        }
    }

    /// The scenario with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// A new chain with the deployed protocol and its first users, ready for the first step of the script.
    ///
    /// # Errors
    /// The set-up failed, which means that contracts and script do not fit together.
    pub fn build(self, setup: Setup) -> Result<World, RangeError> {
        World::new(self, setup)
    }

    pub(crate) fn script(self) -> &'static Script {
        match self {
            Self::DonationReentrancy => &donation_reentrancy::SCRIPT,
            Self::DonationReentrancyBenign => &donation_reentrancy_benign::SCRIPT,
        }
    }
}

/// What one scenario adds to the shared market. It keeps no state: a turn follows from the step and the chain.
pub(crate) struct Script {
    /// Steps until it is over.
    steps: u64,
    /// Honest actors that only this scenario has.
    honest: &'static [Endowment],
    /// Attackers.
    hostile: &'static [Endowment],
    /// The acts of one step, counted from one.
    turn: fn(&Market, &Chain, u64) -> Result<Vec<Act>, RangeError>,
    /// Accounts that hold what the attackers own.
    hostile_accounts: fn(&Market) -> Vec<Address>,
    /// Honest borrowers that only this scenario has.
    borrowers: fn(&Market) -> Vec<Address>,
}

impl Script {
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn honest(&self) -> &'static [Endowment] {
        self.honest
    }

    pub(crate) fn hostile(&self) -> &'static [Endowment] {
        self.hostile
    }

    pub(crate) fn turn(&self, market: &Market, chain: &Chain, step: u64) -> Result<Vec<Act>, RangeError> {
        (self.turn)(market, chain, step)
    }

    pub(crate) fn hostile_accounts(&self, market: &Market) -> Vec<Address> {
        (self.hostile_accounts)(market)
    }

    pub(crate) fn borrowers(&self, market: &Market) -> Vec<Address> {
        (self.borrowers)(market)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_found_by_its_name_and_says_what_it_is() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::from_name(scenario.name()), Some(scenario));
            assert!(scenario.describe().ends_with('.'));
        }
        assert_eq!(Scenario::from_name("donation_reentrancy"), None);
    }
}
