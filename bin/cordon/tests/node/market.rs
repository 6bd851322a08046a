//! The drill's market on a real node: the same contracts, deployed over JSON-RPC.
//!
//! In: a running anvil. Out: addresses. Every account is one of anvil's own; the guardian's key is the one that anvil
//! publishes for its second account, so that `cordon` can sign with a keystore of it.

use crate::anvil::{Anvil, root};
use alloy_primitives::{Address, B256, U256, b256};
use alloy_sol_types::{SolCall, SolConstructor, sol};
use serde_json::Value;

sol! {
    interface Token {
        constructor(string name, string symbol, address admin);
        function mint(address to, uint256 amount);
        function approve(address spender, uint256 amount);
        function balanceOf(address account) returns (uint256);
    }
    interface Collateral {
        constructor(address asset, string name, string symbol, address admin, address pauser);
        function deposit(uint256 assets, address receiver);
    }
    interface Vault {
        function initialize(address asset, address collateral, uint256 priceWad, address admin, address pauser, address upgrader);
        function deposit(uint256 assets, address receiver);
        function redeem(uint256 shares, address receiver, address owner);
        function paused() returns (bool);
        function initializeV2(uint256 maxCollateralRateWad);
    }
    interface Proxy {
        constructor(address implementation, bytes init);
    }
    interface Controller {
        constructor(address collateralVault, address lendingVault, uint256 capShares);
        function strike(uint256 amount);
    }
}

/// Key of anvil's second account (`test test … junk`, index 1), published by anvil itself at every start.
pub(crate) const GUARDIAN_KEY: B256 =
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");

/// 10^18 times `amount`.
pub(crate) fn wad(amount: u64) -> U256 {
    U256::from(amount) * U256::from(10).pow(U256::from(18))
}

/// Calldata that finishes the upgrade to the fixed vault: a ceiling five percent above the rate at the start.
pub(crate) fn initialize_v2() -> String {
    let ceiling = wad(105) / U256::from(100);
    alloy_primitives::hex::encode_prefixed(
        Vault::initializeV2Call { maxCollateralRateWad: ceiling }.abi_encode(),
    )
}

/// Everything that is deployed, and who is who.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Market {
    pub(crate) usd: Address,
    pub(crate) coin: Address,
    pub(crate) pool: Address,
    pub(crate) vault: Address,
    pub(crate) controller: Address,
    pub(crate) admin: Address,
    pub(crate) guardian: Address,
    pub(crate) attacker: Address,
}

fn code(name: &str) -> Vec<u8> {
    let path = root().join(format!("contracts/artifacts/{name}.json"));
    let artifact: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    alloy_primitives::hex::decode(artifact["bytecode"].as_str().unwrap()).unwrap()
}

fn creation(name: &str, arguments: Vec<u8>) -> Vec<u8> {
    [code(name), arguments].concat()
}

impl Market {
    /// Deploys the market, lets two lenders deposit, and gives the attacker its contract and capital.
    pub(crate) async fn deploy(node: &Anvil) -> Self {
        let accounts = node.accounts().await;
        let [admin, guardian, lender, other, attacker] = accounts[..5] else {
            panic!("anvil has ten accounts")
        };
        let token = |name: &str, symbol: &str| {
            Token::constructorCall { name: name.into(), symbol: symbol.into(), admin }.abi_encode()
        };
        let usd = node.deploy(admin, creation("DrillToken", token("Drill Dollar", "dUSD"))).await;
        let coin = node.deploy(admin, creation("DrillToken", token("Staked Ether", "sETH"))).await;
        let (name, symbol) = ("Vault Staked Ether".to_owned(), "vsETH".to_owned());
        let arguments =
            Collateral::constructorCall { asset: coin, name, symbol, admin, pauser: guardian }.abi_encode();
        let pool = node.deploy(admin, creation("CollateralVault", arguments)).await;
        let implementation = node.deploy(admin, code("LendingVault")).await;
        let (asset, collateral, pauser, upgrader) = (usd, pool, guardian, admin);
        let init = Vault::initializeCall { asset, collateral, priceWad: wad(2000), admin, pauser, upgrader }
            .abi_encode();
        let arguments = Proxy::constructorCall { implementation, init: init.into() }.abi_encode();
        let vault = node.deploy(admin, creation("ERC1967Proxy", arguments)).await;
        let arguments =
            Controller::constructorCall { collateralVault: pool, lendingVault: vault, capShares: wad(100) }
                .abi_encode();
        let controller = node.deploy(attacker, creation("DrainController", arguments)).await;
        let market = Self { usd, coin, pool, vault, controller, admin, guardian, attacker };
        for (lender, amount) in [(lender, wad(3_000_000)), (other, wad(2_000_000))] {
            market.lend(node, lender, amount).await;
        }
        market.pledge(node, other).await;
        node.ok(admin, Some(coin), Token::mintCall { to: controller, amount: wad(500) }.abi_encode()).await;
        market
    }

    async fn lend(&self, node: &Anvil, lender: Address, amount: U256) {
        node.ok(self.admin, Some(self.usd), Token::mintCall { to: lender, amount }.abi_encode()).await;
        node.ok(lender, Some(self.usd), Token::approveCall { spender: self.vault, amount }.abi_encode())
            .await;
        let deposit = Vault::depositCall { assets: amount, receiver: lender };
        node.ok(lender, Some(self.vault), deposit.abi_encode()).await;
    }

    async fn pledge(&self, node: &Anvil, holder: Address) {
        let amount = wad(2);
        node.ok(self.admin, Some(self.coin), Token::mintCall { to: holder, amount }.abi_encode()).await;
        node.ok(holder, Some(self.coin), Token::approveCall { spender: self.pool, amount }.abi_encode())
            .await;
        let deposit = Collateral::depositCall { assets: amount, receiver: holder };
        node.ok(holder, Some(self.pool), deposit.abi_encode()).await;
    }

    /// Hands in the attack; it is mined with the next block.
    pub(crate) async fn strike(&self, node: &Anvil) -> B256 {
        node.send(
            self.attacker,
            Some(self.controller),
            Controller::strikeCall { amount: U256::ZERO }.abi_encode(),
        )
        .await
    }

    /// Gives the attacker a contract of its own with this cap and this capital.
    pub(crate) async fn arm(&mut self, node: &Anvil, cap_shares: U256, coins: U256) {
        let (pool, vault) = (self.pool, self.vault);
        let arguments =
            Controller::constructorCall { collateralVault: pool, lendingVault: vault, capShares: cap_shares }
                .abi_encode();
        self.controller = node.deploy(self.attacker, creation("DrainController", arguments)).await;
        let mint = Token::mintCall { to: self.controller, amount: coins };
        node.ok(self.admin, Some(self.coin), mint.abi_encode()).await;
    }

    /// Hands in the attack for so much; it is mined with the next block.
    pub(crate) async fn strike_for(&self, node: &Anvil, amount: U256) -> B256 {
        node.send(self.attacker, Some(self.controller), Controller::strikeCall { amount }.abi_encode()).await
    }

    /// Loot of the attacker so far.
    pub(crate) async fn loot(&self, node: &Anvil) -> U256 {
        let balance = node.call(self.usd, Token::balanceOfCall { account: self.attacker }.abi_encode()).await;
        U256::from_be_slice(&balance)
    }

    pub(crate) async fn paused(&self, node: &Anvil) -> bool {
        U256::from_be_slice(&node.call(self.vault, Vault::pausedCall {}.abi_encode()).await) == U256::from(1)
    }

    /// The operator's configuration for this market. `grant` is `automatic` or `observe-only`.
    pub(crate) fn config(&self, rpc: &str, start_block: u64, grant: &str) -> String {
        let Self { usd, coin, pool, vault, admin, guardian, .. } = self;
        format!(
            r#"
[store]
path = "cordon.sqlite"

[chain]
id = 31337
rpc = "{rpc}"
hardfork = "osaka"
start_block = {start_block}
poll_interval_ms = 50

[[protocol]]
id = "lending"
contracts = [
  {{ address = "{vault}", name = "LendingVault" }},
  {{ address = "{pool}", name = "CollateralVault" }},
]
asset = [
  {{ token = "{usd}", symbol = "dUSD", decimals = 18, price = "1" }},
  {{ token = "{coin}", symbol = "sETH", decimals = 18, price = "2000" }},
  {{ token = "{vault}", symbol = "dLEND", decimals = 18, share_of = "{vault}", underlying = "{usd}" }},
  {{ token = "{pool}", symbol = "vsETH", decimals = 18, share_of = "{pool}", underlying = "{coin}" }},
]
account = [
  {{ target = "{vault}", function = "collateralOf(address)", asset = "{pool}", side = "collateral" }},
  {{ target = "{vault}", function = "debtOf(address)", asset = "{usd}", side = "debt" }},
]

[[protocol.lever]]
id = "pause-lending"
type = "pausable"
target = "{vault}"
authority = "{guardian}"
undo_authority = "{admin}"
grant = "{grant}"

[[detector]]
type = "value-loss"
[[detector]]
type = "reentrancy"
[[detector]]
type = "rate-jump"

[[signer]]
address = "{guardian}"
keystore = "guardian.json"
password_env = "CORDON_TEST_PASSWORD"

[[channel]]
type = "terminal"
"#
        )
    }
}
