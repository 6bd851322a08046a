//! What the operator of the protocol in a scenario knows about it: addresses, prices, levers and people in charge.
//!
//! In goes the market, out comes what would stand in a configuration. Nothing here may tell anything of an attacker.

use alloy_primitives::{Address, Bytes, U256, uint};
use alloy_sol_types::SolCall as _;

use crate::chain::config::Fork;
use crate::scenarios::Setup;
use crate::scenarios::lending_market::act::tokens;
use crate::scenarios::lending_market::interfaces::ILending;
use crate::scenarios::lending_market::{Market, RESERVE_DUSD, SETH_PRICE_DUSD};
use crate::{BlockRef, Chain};

/// Ceiling for the collateral rate that the fix is installed with: five percent above the rate at the start, several
/// years of staking yield. The same value stands in the contracts' own test.
const MAX_COLLATERAL_RATE_WAD: U256 = uint!(1_050_000_000_000_000_000_U256);
/// All tokens and shares of the market have 18 decimals.
const DECIMALS: u8 = 18;

/// What the operator knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Name of the protocol rules, in lower case: `prague` or `osaka`.
    pub hardfork: &'static str,
    /// Name of the protocol.
    pub protocol: &'static str,
    /// First block after the set-up: from here on there is something to watch.
    pub start_block: u64,
    /// May pause.
    pub guardian: Address,
    /// May unpause, upgrade, write off, and holds the reserve.
    pub operator: Address,
    /// The protected contracts.
    pub contracts: Vec<NamedContract>,
    /// Tokens and shares with their prices.
    pub assets: Vec<ValuedAsset>,
    /// What users have and owe, besides token balances.
    pub account_lines: Vec<AccountLine>,
    /// The pause levers.
    pub pause_levers: Vec<PauseLever>,
    /// How the lending vault is upgraded, and to what.
    pub upgrade: Upgrade,
    /// What is there to pay victims with.
    pub treasury: Treasury,
}

/// A protected contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContract {
    /// Name for people, also the name of the artifact that describes its functions.
    pub name: &'static str,
    /// Address; of the proxy if it is one.
    pub address: Address,
}

/// A token or share with its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValuedAsset {
    /// Contract address.
    pub token: Address,
    /// Symbol.
    pub symbol: &'static str,
    /// Decimals of the smallest unit.
    pub decimals: u8,
    /// What one whole token is worth.
    pub price: AssetPrice,
}

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetPrice {
    /// Whole dollars per whole token.
    FixedUsd(u64),
    /// `convertToAssets` of the token itself, which is an ERC-4626 vault over `underlying`.
    ShareOf {
        /// What a share converts to.
        underlying: Address,
    },
}

/// A view function that tells one account's position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountLine {
    /// Contract to ask.
    pub target: Address,
    /// Signature; the only argument is the account.
    pub function: &'static str,
    /// Asset in which the answer is counted.
    pub asset: Address,
    /// Who owes whom.
    pub side: LineSide,
}

/// Direction of an [`AccountLine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineSide {
    /// The protocol holds it for the account.
    Collateral,
    /// The account owes it.
    Debt,
}

/// `pause()` and `unpause()` of one contract, with `paused()` to read the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseLever {
    /// Name of the lever.
    pub id: &'static str,
    /// Contract that carries it.
    pub target: Address,
    /// May pause.
    pub authority: Address,
    /// May unpause.
    pub undo_authority: Address,
}

/// How the lending vault is upgraded: `upgradeToAndCall` on the proxy (UUPS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The proxy.
    pub proxy: Address,
    /// May upgrade.
    pub authority: Address,
    /// What stands behind the proxy at the start.
    pub implementation: Address,
    /// Artifact name of what stands behind the proxy at the start.
    pub current_artifact: &'static str,
    /// Artifact name of the fix.
    pub fixed_artifact: &'static str,
    /// Call data that finishes the upgrade, for `upgradeToAndCall`.
    pub initializer: Bytes,
}

/// Money that the operator may use to pay victims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treasury {
    /// Account that holds it.
    pub holder: Address,
    /// Token.
    pub token: Address,
    /// Base units at the start.
    pub amount_raw: U256,
}

/// The facts about `market` on `chain`, whose head is the last block of the set-up.
pub(super) fn gather(chain: &Chain, head: BlockRef, market: &Market, setup: Setup) -> Facts {
    let Market { usd, coin, pool, vault, implementation, .. } = *market;
    let Setup { guardian, operator, .. } = setup;
    let asset = |token: Address, symbol, price| ValuedAsset { token, symbol, decimals: DECIMALS, price };
    let pause = |id, target| PauseLever { id, target, authority: guardian, undo_authority: operator };
    let line = |function, asset, side| AccountLine { target: vault.address, function, asset, side };
    Facts {
        chain_id: chain.config().chain_id,
        hardfork: match chain.config().fork {
            Fork::Prague => "prague",
            Fork::Osaka => "osaka",
        },
        protocol: "drill-lending",
        start_block: head.number.saturating_add(1),
        guardian,
        operator,
        contracts: vec![
            NamedContract { name: "LendingVault", address: vault.address },
            NamedContract { name: "CollateralVault", address: pool.address },
        ],
        assets: vec![
            asset(usd.address, usd.symbol, AssetPrice::FixedUsd(1)),
            asset(coin.address, coin.symbol, AssetPrice::FixedUsd(SETH_PRICE_DUSD)),
            asset(vault.address, vault.symbol, AssetPrice::ShareOf { underlying: usd.address }),
            asset(pool.address, pool.symbol, AssetPrice::ShareOf { underlying: coin.address }),
        ],
        account_lines: vec![
            line("collateralOf(address)", pool.address, LineSide::Collateral),
            line("debtOf(address)", usd.address, LineSide::Debt),
        ],
        pause_levers: vec![
            pause("pause-lending-vault", vault.address),
            pause("pause-collateral-vault", pool.address),
        ],
        upgrade: Upgrade {
            proxy: vault.address,
            authority: operator,
            implementation,
            current_artifact: "LendingVault",
            fixed_artifact: "LendingVaultV2",
            initializer: ILending::initializeV2Call { maxCollateralRateWad: MAX_COLLATERAL_RATE_WAD }
                .abi_encode()
                .into(),
        },
        treasury: Treasury { holder: operator, token: usd.address, amount_raw: tokens(RESERVE_DUSD) },
    }
}
