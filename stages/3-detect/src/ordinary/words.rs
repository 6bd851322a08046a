//! The events and functions by which markets, lenders and tokens are known.
//!
//! In: nothing. Out: hashes of public interfaces, made from their signatures so that they can be read and checked. Must
//! never: hold an address.

use alloy_primitives::map::B256Map;
use alloy_primitives::{B256, Selector, keccak256};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Swaps of markets. An event's first topic is a market within its contract where many markets share one.
const SWAPS: [(&str, bool); 15] = [
    ("Swap(address,uint256,uint256,uint256,uint256,address)", false),
    ("Swap(address,address,uint256,uint256,uint256,uint256)", false),
    ("Swap(address,address,int256,int256,uint160,uint128,int24)", false),
    ("Swap(address,address,int256,int256,uint160,uint128,int24,uint128,uint128)", false),
    ("Swap(bytes32,address,int128,int128,uint160,uint128,int24,uint24)", true),
    ("Swap(bytes32,address,address,uint256,uint256)", true),
    ("Swap(address,address,address,uint256,uint256,uint256,uint256)", true),
    ("Swap(bool,uint256,uint256,address)", false),
    ("TokenExchange(address,int128,uint256,int128,uint256)", false),
    ("TokenExchange(address,uint256,uint256,uint256,uint256)", false),
    ("TokenExchange(address,uint256,uint256,uint256,uint256,uint256,uint256)", false),
    ("TokenExchangeUnderlying(address,int128,uint256,int128,uint256)", false),
    ("DODOSwap(address,address,uint256,uint256,address,address)", false),
    ("TokenPurchase(address,uint256,uint256)", false),
    ("EthPurchase(address,uint256,uint256)", false),
];

/// Liquidations of Aave, Compound, Morpho and Compound III.
const LIQUIDATIONS: [&str; 4] = [
    "LiquidationCall(address,address,address,uint256,uint256,address,bool)",
    "LiquidateBorrow(address,address,uint256,address,uint256)",
    "Liquidate(bytes32,address,address,uint256,uint256,uint256,uint256,uint256)",
    "AbsorbCollateral(address,address,address,uint256,uint256)",
];

/// How markets are traded with, or asked to settle a trade.
const SWAP_CALLS: [&str; 22] = [
    "swap(uint256,uint256,address,bytes)",
    "swap(uint256,uint256,address)",
    "swap(address,bool,int256,uint160,bytes)",
    "swap((address,address,uint24,int24,address),(bool,int256,uint160),bytes)",
    "swap((bytes32,uint8,address,address,uint256,bytes),(address,bool,address,bool),uint256,uint256)",
    "swap((uint8,address,address,address,uint256,uint256,bytes))",
    "batchSwap(uint8,(bytes32,uint256,uint256,uint256,bytes)[],address[],(address,bool,address,bool),int256[],uint256)",
    "unlock(bytes)",
    "settle()",
    "settle(address,uint256)",
    "sync(address)",
    "take(address,address,uint256)",
    "sendTo(address,address,uint256)",
    "exchange(int128,int128,uint256,uint256)",
    "exchange(int128,int128,uint256,uint256,address)",
    "exchange(uint256,uint256,uint256,uint256)",
    "exchange(uint256,uint256,uint256,uint256,bool)",
    "exchange_underlying(int128,int128,uint256,uint256)",
    "sellBase(address)",
    "sellQuote(address)",
    "ethToTokenSwapInput(uint256,uint256)",
    "tokenToEthSwapInput(uint256,uint256,uint256)",
];

/// How borrowers are liquidated.
const LIQUIDATION_CALLS: [&str; 6] = [
    "liquidationCall(address,address,address,uint256,bool)",
    "liquidateBorrow(address,uint256,address)",
    "liquidateBorrow(address,address)",
    "liquidate((address,address,address,address,uint256),address,uint256,uint256,bytes)",
    "absorb(address,address[])",
    "buyCollateral(address,uint256,uint256,address)",
];

/// How coins are lent within a transaction. A flash swap is a swap.
const LOAN_CALLS: [&str; 8] = [
    "flashLoan(address,address,uint256,bytes)",
    "flashLoan(address,address[],uint256[],bytes)",
    "flashLoan(address,uint256,bytes)",
    "flashLoan(address,address[],uint256[],uint256[],address,bytes,uint16)",
    "flashLoanSimple(address,address,uint256,bytes,uint16)",
    "flashLoan(uint256,uint256,address,bytes)",
    "flash(address,uint256,uint256,bytes)",
    "operate((address,uint256)[],(uint8,uint256,(bool,uint8,uint8,uint256),uint256,uint256,address,uint256,bytes)[])",
];

/// What is done with tokens and wrapped coins.
const TOKEN_CALLS: [&str; 9] = [
    "transfer(address,uint256)",
    "transferFrom(address,address,uint256)",
    "approve(address,uint256)",
    "balanceOf(address)",
    "allowance(address,address)",
    "deposit()",
    "withdraw(uint256)",
    "getReserves()",
    "token0()",
];

/// The lists above, hashed.
#[derive(Debug)]
pub(super) struct Words {
    /// Events of swaps; true where the first topic after the event names a market within its contract.
    pub(super) swaps: B256Map<bool>,
    /// Events of liquidations.
    pub(super) liquidations: BTreeSet<B256>,
    /// Functions of markets.
    pub(super) market_calls: BTreeSet<Selector>,
    /// Functions of lenders.
    pub(super) loan_calls: BTreeSet<Selector>,
    /// Functions of tokens.
    pub(super) token_calls: BTreeSet<Selector>,
}

/// See [`Words`].
pub(super) static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let topic = |text: &&str| keccak256(text);
    let function = |text: &&str| Selector::from_slice(keccak256(text).get(..4).unwrap_or(&[0; 4]));
    Words {
        swaps: SWAPS.iter().map(|(text, shared)| (keccak256(text), *shared)).collect(),
        liquidations: LIQUIDATIONS.iter().map(topic).collect(),
        market_calls: SWAP_CALLS.iter().chain(&LIQUIDATION_CALLS).map(function).collect(),
        loan_calls: LOAN_CALLS.iter().map(function).collect(),
        token_calls: TOKEN_CALLS.iter().map(function).collect(),
    }
});
