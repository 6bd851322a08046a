//! The market that the lending scenarios share: two tokens, the collateral vault, the lending vault behind its proxy,
//! its first users and their endowments.
//!
//! In go a chain, a seed and the accounts of the people who run the protocol; out come the addresses, and the acts that
//! actors can do. Nothing here is hostile, and every act of the set-up must succeed.

pub(crate) mod act;
pub(crate) mod cast;
pub(crate) mod dice;
pub(crate) mod interfaces;
pub(crate) mod traffic;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue as _};

use self::act::{Act, Amount, perform, tokens};
use self::cast::{BORROWER, Cast, DEPLOYER, Endowment, ISSUER, ZAPPER};
use self::interfaces::{ILending, IShareVault, IToken};
use crate::artifacts;
use crate::world::RangeError;
use crate::{Call, Chain};

/// Price of one sETH in whole dUSD, as the vault is set up and as the operator knows it.
pub(crate) const SETH_PRICE_DUSD: u64 = 2_000;
/// What the operator holds for emergencies, whole dUSD: more than half of what one strike can take.
pub(crate) const RESERVE_DUSD: u64 = 400_000;
/// Most collateral shares of one account, whole shares (`LendingVaultBase.initialize`).
pub(crate) const COLLATERAL_CAP_SHARES: u64 = 100;
/// First loan of the borrower, whole dUSD: a third of what its collateral allows.
const FIRST_LOAN_DUSD: u64 = 600;
/// Native coin of each actor, whole coins: a thousand transactions at the highest fee an actor offers.
const GAS_COINS: u64 = 200;

/// A token or a vault that is one, with its symbol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) address: Address,
    pub(crate) symbol: &'static str,
}

/// The deployed market.
#[derive(Debug, Clone)]
pub(crate) struct Market {
    pub(crate) cast: Cast,
    /// The dollar that is lent.
    pub(crate) usd: Token,
    /// The staked coin behind the collateral.
    pub(crate) coin: Token,
    /// The collateral vault.
    pub(crate) pool: Token,
    /// The lending vault: its proxy.
    pub(crate) vault: Token,
    /// What stands behind the proxy at the start.
    pub(crate) implementation: Address,
    /// The zapper's `LeverageZap`.
    pub(crate) zap: Address,
}

/// The people who run the protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stewards {
    /// May pause both vaults.
    pub(crate) guardian: Address,
    /// May do the rest, and holds the reserve.
    pub(crate) operator: Address,
}

impl Market {
    /// Funds everybody, deploys everything and lets the first users in. `extras` are the actors that only one scenario
    /// has. Returns the market and the story of the blocks it took.
    pub(crate) fn found(
        chain: &Chain,
        cast: Cast,
        stewards: Stewards,
        extras: &[Endowment],
    ) -> Result<(Self, Vec<String>), RangeError> {
        let endowments: Vec<Endowment> =
            cast.endowments().into_iter().chain(extras.iter().copied()).collect();
        let names = endowments.iter().map(|endowment| endowment.name).chain([DEPLOYER, ISSUER]);
        for account in names.map(|name| cast.address(name)).chain([stewards.guardian, stewards.operator]) {
            chain.fund(account, tokens(GAS_COINS));
        }
        let (market, deployments) = Self::deployments(chain, cast, stewards)?;
        let blocks = [
            deployments,
            market.mints(&endowments, stewards.operator),
            market.approvals()?,
            market.entries(),
            market.first_loan(),
        ];
        let mut story = Vec::new();
        for acts in blocks {
            let done = perform(chain, &acts)?;
            story.extend(done.narration);
            if done.reverted != 0 {
                return Err(RangeError::SetUp { block: done.block.number, story });
            }
        }
        Ok((market, story))
    }

    fn deployments(chain: &Chain, cast: Cast, stewards: Stewards) -> Result<(Self, Vec<Act>), RangeError> {
        let Stewards { guardian, operator } = stewards;
        let deployer = cast.address(DEPLOYER);
        let issuer = cast.address(ISSUER);
        let nonce = chain.next_nonce(deployer);
        let token =
            |place: u64, symbol| Token { address: deployer.create(nonce.saturating_add(place)), symbol };
        let market = Self {
            cast,
            usd: token(0, "dUSD"),
            coin: token(1, "sETH"),
            pool: token(2, "vsETH"),
            implementation: token(3, "").address,
            vault: token(4, "dLEND"),
            zap: cast.address(ZAPPER).create(0),
        };
        let name = |text: &str, symbol: &str| (text.to_owned(), symbol.to_owned());
        let (usd_name, usd_symbol) = name("Drill Dollar", market.usd.symbol);
        let (coin_name, coin_symbol) = name("Staked Ether", market.coin.symbol);
        let (pool_name, pool_symbol) = name("Vault Staked Ether", market.pool.symbol);
        let initialize = ILending::initializeCall {
            asset: market.usd.address,
            collateral: market.pool.address,
            collateralPriceWad: tokens(SETH_PRICE_DUSD),
            admin: operator,
            pauser: guardian,
            upgrader: operator,
        };
        let pool_args = (market.coin.address, pool_name, pool_symbol, operator, guardian).abi_encode_params();
        let proxy_args = (market.implementation, Bytes::from(initialize.abi_encode())).abi_encode_params();
        let acts = vec![
            market.deploy(DEPLOYER, "DrillToken", &(usd_name, usd_symbol, issuer).abi_encode_params())?,
            market.deploy(DEPLOYER, "DrillToken", &(coin_name, coin_symbol, issuer).abi_encode_params())?,
            market.deploy(DEPLOYER, "CollateralVault", &pool_args)?,
            market.deploy(DEPLOYER, "LendingVault", &[])?,
            market.deploy(DEPLOYER, "ERC1967Proxy", &proxy_args)?,
        ];
        Ok((market, acts))
    }

    fn mints(&self, endowments: &[Endowment], operator: Address) -> Vec<Act> {
        let mut acts = vec![self.mint(self.usd, operator, "operator", tokens(RESERVE_DUSD))];
        for endowment in endowments {
            let to = self.cast.address(endowment.name);
            let amounts =
                [(self.usd, tokens(endowment.dusd)), (self.coin, act::milli_tokens(endowment.seth_milli))];
            for (token, amount) in amounts.into_iter().filter(|(_, amount)| !amount.is_zero()) {
                acts.push(self.mint(token, to, endowment.name, amount));
            }
        }
        acts
    }

    fn approvals(&self) -> Result<Vec<Act>, RangeError> {
        // The zap comes first, because its address was derived from the first nonce of its owner.
        let mut acts = vec![self.deploy_zap(ZAPPER)?];
        acts.extend(
            cast::lenders().map(|lender| self.approve(lender, self.usd, self.vault.address, "dLEND")),
        );
        for (owner, token, spender, name) in [
            (BORROWER, self.coin, self.pool.address, "vsETH"),
            (BORROWER, self.pool, self.vault.address, "dLEND"),
            (BORROWER, self.usd, self.vault.address, "dLEND"),
            (ZAPPER, self.coin, self.pool.address, "vsETH"),
            (ZAPPER, self.pool, self.zap, "its zap"),
            (ZAPPER, self.usd, self.zap, "its zap"),
        ] {
            acts.push(self.approve(owner, token, spender, name));
        }
        Ok(acts)
    }

    fn entries(&self) -> Vec<Act> {
        let deposits = self.cast.first_deposits().into_iter();
        let deposits =
            deposits.map(|(lender, amount)| self.deposit(lender, self.vault, self.usd, tokens(amount)));
        let pledges = [(BORROWER, cast::borrower_collateral()), (ZAPPER, cast::zapper_collateral())];
        let pledges = pledges.map(|(owner, amount)| self.deposit(owner, self.pool, self.coin, amount));
        deposits.chain(pledges).collect()
    }

    fn first_loan(&self) -> Vec<Act> {
        vec![
            self.supply_collateral(BORROWER, cast::borrower_collateral()),
            self.borrow(BORROWER, tokens(FIRST_LOAN_DUSD)),
        ]
    }
}

/// What actors can do in the market. Each returns the act; nothing is sent here.
impl Market {
    /// A call of `to` by `actor`.
    pub(crate) fn act(&self, actor: &'static str, to: Address, call: &impl SolCall, text: String) -> Act {
        Act {
            actor,
            from: self.cast.address(actor),
            call: Call::new(to, call.abi_encode()),
            text,
            gain: None,
        }
    }

    /// The creation of `contract` with encoded constructor `args`.
    pub(crate) fn deploy(&self, actor: &'static str, contract: &str, args: &[u8]) -> Result<Act, RangeError> {
        let code = [artifacts::creation_code(contract)?.as_ref(), args].concat();
        let from = self.cast.address(actor);
        Ok(Act { actor, from, call: Call::create(code), text: format!("deploys {contract}"), gain: None })
    }

    pub(crate) fn deploy_zap(&self, actor: &'static str) -> Result<Act, RangeError> {
        self.deploy(actor, "LeverageZap", &(self.pool.address, self.vault.address).abi_encode_params())
    }

    pub(crate) fn mint(&self, token: Token, to: Address, name: &str, amount: U256) -> Act {
        let text = format!("mints {} {} for {name}", Amount(amount), token.symbol);
        self.act(ISSUER, token.address, &IToken::mintCall { to, amount }, text)
    }

    /// Approval without limit, as most front ends ask for it.
    pub(crate) fn approve(&self, actor: &'static str, token: Token, spender: Address, name: &str) -> Act {
        let text = format!("approves {name} for {}", token.symbol);
        self.act(actor, token.address, &IToken::approveCall { spender, amount: U256::MAX }, text)
    }

    pub(crate) fn transfer(
        &self,
        actor: &'static str,
        token: Token,
        to: (Address, &str),
        amount: U256,
    ) -> Act {
        let text = format!("sends {} {} to {}", Amount(amount), token.symbol, to.1);
        self.act(actor, token.address, &IToken::transferCall { to: to.0, amount }, text)
    }

    pub(crate) fn deposit(&self, actor: &'static str, into: Token, asset: Token, assets: U256) -> Act {
        let text = format!("deposits {} {}", Amount(assets), asset.symbol);
        let receiver = self.cast.address(actor);
        self.act(actor, into.address, &IShareVault::depositCall { assets, receiver }, text)
    }

    pub(crate) fn redeem(&self, actor: &'static str, from: Token, shares: U256) -> Act {
        let text = format!("redeems {} {}", Amount(shares), from.symbol);
        let owner = self.cast.address(actor);
        self.act(actor, from.address, &IShareVault::redeemCall { shares, receiver: owner, owner }, text)
    }

    pub(crate) fn supply_collateral(&self, actor: &'static str, shares: U256) -> Act {
        let text = format!("pledges {} {}", Amount(shares), self.pool.symbol);
        self.act(actor, self.vault.address, &ILending::supplyCollateralCall { shares }, text)
    }

    pub(crate) fn withdraw_collateral(&self, actor: &'static str, shares: U256) -> Act {
        let text = format!("takes back {} {}", Amount(shares), self.pool.symbol);
        let to = self.cast.address(actor);
        self.act(actor, self.vault.address, &ILending::withdrawCollateralCall { shares, to }, text)
    }

    pub(crate) fn borrow(&self, actor: &'static str, assets: U256) -> Act {
        let text = format!("borrows {} {}", Amount(assets), self.usd.symbol);
        self.act(actor, self.vault.address, &ILending::borrowCall { assets, data: Bytes::new() }, text)
    }

    pub(crate) fn repay(&self, actor: &'static str, assets: U256) -> Act {
        let text = format!("repays {} {}", Amount(assets), self.usd.symbol);
        let account = self.cast.address(actor);
        self.act(actor, self.vault.address, &ILending::repayCall { account, assets }, text)
    }
}

/// What can be read from the market at the head.
impl Market {
    pub(crate) fn balance(chain: &Chain, token: Address, account: Address) -> Result<U256, RangeError> {
        view(chain, token, &IToken::balanceOfCall { account })
    }

    pub(crate) fn debt(&self, chain: &Chain, account: Address) -> Result<U256, RangeError> {
        view(chain, self.vault.address, &ILending::debtOfCall { account })
    }

    pub(crate) fn pledged(&self, chain: &Chain, account: Address) -> Result<U256, RangeError> {
        view(chain, self.vault.address, &ILending::collateralOfCall { account })
    }
}

/// Reads a view function of `to` at the head.
pub(crate) fn view<C: SolCall>(chain: &Chain, to: Address, call: &C) -> Result<C::Return, RangeError> {
    let output = chain.call(to, call.abi_encode())?;
    C::abi_decode_returns(&output).map_err(|source| RangeError::View {
        contract: to,
        function: C::SIGNATURE,
        source,
    })
}
