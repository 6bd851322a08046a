//! What happens on the chain: honest traffic, the attack in its disguises, and reorganisations of it.
//!
//! In: a running anvil with the attack market. Out: blocks. It remembers what it put into which block, so that it can take
//! blocks back and mine the same transactions elsewhere; what really became of them is read from the node alone.

use crate::anvil::{Anvil, Tx, root};
use crate::dice::Dice;
use crate::market::{Market, wad};
use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_sol_types::{SolCall as _, SolConstructor as _, sol};
use serde_json::{Value, json};

sol! {
    interface Token {
        function mint(address to, uint256 amount);
        function approve(address spender, uint256 amount);
    }
    interface Vault {
        function deposit(uint256 assets, address receiver);
    }
    interface Controller {
        constructor(address collateralVault, address lendingVault, uint256 capShares);
        function strike(uint256 amount);
    }
}

/// Code of a contract that passes on what stands behind the first word of its input to the address in that word, or
/// creates a contract from it where the word is zero.
const FORWARDER: &str = "602b8060095f395ff3\
    6020360380 60205f375f358015 6020575f5f835f5f855af1 601e575f5ffd5b00 5b505f5ff0601e575f5ffd";

/// Code of a contract that logs, whatever it is asked: a log without topics, a `Transfer` that is too short, one with
/// four topics that are no addresses, one that is too long, and 100 kB.
fn odd_logger() -> Vec<u8> {
    let transfer = "7fddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
    let runtime = [
        "60205fa0",
        &format!("{transfer}60015fa1"),
        &format!("33305a{transfer}60405fa4"),
        &format!("3330{transfer}6103e85fa3"),
        "620186a05fa0",
        "00",
    ]
    .concat();
    let length = runtime.len() / 2;
    hex::decode(format!("60{length:02x}8060095f395ff3{runtime}")).unwrap()
}

/// What one transaction of a block is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A deposit or an approval.
    Honest,
    /// The attack.
    Strike,
    /// The attack by way of another contract.
    StrikeThrough,
    /// The attack, with too little gas to get through.
    FailedStrike,
    /// Logs that nobody can read.
    OddLogs,
}

impl Part {
    pub(crate) fn is_strike(self) -> bool {
        matches!(self, Self::Strike | Self::StrikeThrough)
    }
}

/// How a reorganisation treats the attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Branch {
    /// The same transactions in the same order.
    Same,
    /// The attack is not mined again.
    Removed,
    /// The attack is mined one block later.
    Moved,
    /// There is an attack that was not there before.
    Added,
}

/// The accounts and contracts of all schedules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    pub(crate) market: Market,
    pub(crate) odd: Address,
    pub(crate) forwarder: Address,
    pub(crate) second_controller: Address,
    pub(crate) other_attacker: Address,
    lender: Address,
}

impl Stage {
    /// Deploys everything.
    pub(crate) async fn build(anvil: &Anvil) -> Self {
        let market = Market::deploy(anvil).await;
        let accounts = anvil.accounts().await;
        let (lender, other_attacker) = (accounts[2], accounts[5]);
        let odd = anvil.deploy(lender, odd_logger()).await;
        let code = hex::decode(FORWARDER.replace(' ', "")).unwrap();
        let forwarder = anvil.deploy(other_attacker, code).await;
        let arguments = Controller::constructorCall {
            collateralVault: market.pool,
            lendingVault: market.vault,
            capShares: wad(100),
        };
        let creation = [controller_code(), arguments.abi_encode()].concat();
        let passed_on = [[0u8; 32].as_slice(), &creation].concat();
        anvil.ok(other_attacker, Some(forwarder), passed_on).await;
        let second_controller = forwarder.create(1);
        let coins = Token::mintCall { to: second_controller, amount: wad(500) };
        anvil.ok(market.admin, Some(market.coin), coins.abi_encode()).await;
        let dollars = Token::mintCall { to: lender, amount: wad(1_000_000) };
        anvil.ok(market.admin, Some(market.usd), dollars.abi_encode()).await;
        let approval = Token::approveCall { spender: market.vault, amount: U256::MAX };
        anvil.ok(lender, Some(market.usd), approval.abi_encode()).await;
        Self { market, odd, forwarder, second_controller, other_attacker, lender }
    }

    fn tx(&self, part: Part, dice: &mut Dice) -> Tx {
        let strike = Controller::strikeCall { amount: U256::ZERO }.abi_encode();
        let tx = |from, to, data: Vec<u8>, gas| Tx { from, to: Some(to), data: Bytes::from(data), gas };
        let Market { attacker, controller, vault, usd, .. } = self.market;
        match part {
            Part::Honest if dice.percent(50) => {
                let deposit = Vault::depositCall { assets: wad(dice.between(1, 50)), receiver: self.lender };
                tx(self.lender, vault, deposit.abi_encode(), 1_000_000)
            }
            Part::Honest => {
                let approval =
                    Token::approveCall { spender: vault, amount: wad(dice.between(1_000_000, 9_000_000)) };
                tx(self.lender, usd, approval.abi_encode(), 200_000)
            }
            Part::Strike => tx(attacker, controller, strike, 8_000_000),
            Part::StrikeThrough => {
                let passed_on = [self.second_controller.into_word().as_slice(), &strike].concat();
                tx(self.other_attacker, self.forwarder, passed_on, 8_000_000)
            }
            Part::FailedStrike => tx(attacker, controller, strike, 300_000),
            Part::OddLogs => tx(self.lender, self.odd, Vec::new(), 3_000_000),
        }
    }

    /// The addresses to which a strike brings what it took.
    pub(crate) fn loot_goes_to(&self) -> [Address; 2] {
        [self.market.attacker, self.forwarder]
    }
}

fn controller_code() -> Vec<u8> {
    let path = root().join("contracts/artifacts/DrainController.json");
    let artifact: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    hex::decode(artifact["bytecode"].as_str().unwrap()).unwrap()
}

/// The chain of one schedule.
#[derive(Debug)]
pub(crate) struct Story<'a> {
    anvil: &'a Anvil,
    stage: Stage,
    /// Number of the first watched block.
    pub(crate) first: u64,
    /// Number of the newest block.
    pub(crate) head: u64,
    clock_s: u64,
    /// What was handed in for each block from `first` on.
    blocks: Vec<Vec<(Part, Tx)>>,
}

impl<'a> Story<'a> {
    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) async fn begin(anvil: &'a Anvil, stage: Stage) -> Self {
        let head = anvil.block_number().await;
        let timestamp = anvil.block(head).await["timestamp"].clone();
        let clock_s = serde_json::from_value::<U256>(timestamp).unwrap().to::<u64>();
        Self { anvil, stage, first: head + 1, head, clock_s, blocks: Vec::new() }
    }

    /// Whether the node still has the market's code in its newest state.
    pub(crate) async fn is_sound(&self) -> bool {
        self.anvil.rpc("eth_getCode", json!([self.stage.market.vault, "latest"])).await != json!("0x")
    }

    /// Mines one block of these parts and of whatever waits.
    pub(crate) async fn mine(&mut self, parts: &[Part], dice: &mut Dice) {
        let txs = parts.iter().map(|part| (*part, self.stage.tx(*part, dice))).collect();
        self.mine_txs(txs).await;
    }

    async fn mine_txs(&mut self, txs: Vec<(Part, Tx)>) {
        for (_, tx) in &txs {
            self.anvil.hand_in(tx).await;
        }
        self.clock_s += 12;
        self.anvil.mine_at(self.clock_s).await;
        self.head += 1;
        self.blocks.push(txs);
    }

    /// Whether the newest `depth` blocks hold an attack.
    pub(crate) fn holds_strike(&self, depth: u64) -> bool {
        let depth = usize::try_from(depth).unwrap().min(self.blocks.len());
        self.blocks[self.blocks.len() - depth..].iter().flatten().any(|(part, _)| part.is_strike())
    }

    pub(crate) fn length(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Takes the newest blocks away and mines `extra` blocks more than there were.
    pub(crate) async fn reorganise(&mut self, depth: u64, branch: Branch, extra: u64, dice: &mut Dice) {
        let kept = self.blocks.len() - usize::try_from(depth).unwrap();
        let dropped = self.blocks.split_off(kept);
        self.anvil.rpc("anvil_rollback", json!([depth])).await;
        self.head -= depth;
        let mut late: Vec<(Part, Tx)> = Vec::new();
        let count = dropped.len();
        for (index, mut txs) in dropped.into_iter().enumerate() {
            let mut moved = std::mem::take(&mut late);
            if matches!(branch, Branch::Removed | Branch::Moved) {
                let (strikes, others) = txs.into_iter().partition(|(part, _)| part.is_strike());
                txs = others;
                if branch == Branch::Moved {
                    late = strikes;
                }
            }
            if branch == Branch::Added && index + 1 == count {
                let part = dice.pick(&[Part::Strike, Part::StrikeThrough]);
                moved.push((part, self.stage.tx(part, dice)));
            }
            txs.extend(moved);
            self.mine_txs(txs).await;
        }
        for _ in 0..extra.max(u64::from(!late.is_empty())) {
            let txs = std::mem::take(&mut late);
            self.mine_txs(txs).await;
        }
    }
}
