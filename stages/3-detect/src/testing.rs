//! A small world of protected contracts for the detectors' tests.
//!
//! In: a script of calls, storage accesses and transfers. Out: an [`Execution`] whose frames, sequence numbers and
//! readings fit together, so that a test says what happened and not how it is recorded. Must never: know thresholds.

use crate::valuation::{balance_of, total_supply};
use alloy_primitives::{Address, B256, Bytes, I256, Selector, U256, address, keccak256};
use cordon_model::block::Transaction;
use cordon_model::execution::{
    AccessKind, Creation, Execution, Frame, FrameKind, Log, Status, StorageAccess, Transfer, ViewCall,
    ViewReading,
};
use cordon_model::protocol::{
    AccountSide, AccountView, AssetSpec, CONVERT_TO_ASSETS, Price, ProtectedContract, Protocol,
};
use cordon_model::units::{Asset, BlockRef, ChainId, ProtocolId, TxRef, WAD};
use std::collections::BTreeMap;

pub(crate) const LENDING_VAULT: Address = address!("1111111111111111111111111111111111111111");
pub(crate) const COLLATERAL_VAULT: Address = address!("2222222222222222222222222222222222222222");
pub(crate) const IMPLEMENTATION: Address = address!("3333333333333333333333333333333333333333");
pub(crate) const USD_TOKEN: Address = address!("4444444444444444444444444444444444444444");
pub(crate) const COIN_TOKEN: Address = address!("5555555555555555555555555555555555555555");
pub(crate) const ALICE: Address = address!("a11ce00000000000000000000000000000000001");
pub(crate) const BOB: Address = address!("b0b0000000000000000000000000000000000002");
pub(crate) const CHILD: Address = address!("c000000000000000000000000000000000000003");
pub(crate) const CONTROLLER: Address = address!("d000000000000000000000000000000000000004");
pub(crate) const USD: Asset = Asset::Token(USD_TOKEN);
pub(crate) const COIN: Asset = Asset::Token(COIN_TOKEN);
/// Share of the collateral vault.
pub(crate) const DSHARE: Asset = Asset::Token(COLLATERAL_VAULT);
/// Share of the lending vault.
pub(crate) const LSHARE: Asset = Asset::Token(LENDING_VAULT);
/// Slots of the lending vault.
pub(crate) const COLLATERAL_SLOT: u64 = 5;
pub(crate) const DEBT_SLOT: u64 = 6;
pub(crate) const TOTAL_DEBT_SLOT: u64 = 7;

const COLLATERAL_OF: Selector = Selector::new([0xc0, 0, 0, 1]);
const DEBT_OF: Selector = Selector::new([0xde, 0, 0, 2]);

pub(crate) fn wad(units: u64) -> U256 {
    U256::from(units) * WAD
}

pub(crate) fn selector(number: u8) -> Selector {
    Selector::new([0xaa, 0, 0, number])
}

pub(crate) fn argument(account: Address) -> [u8; 32] {
    account.into_word().0
}

/// Balances and account lines at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) balances: BTreeMap<(Address, Address), U256>,
    pub(crate) supplies: BTreeMap<Address, U256>,
    pub(crate) collateral: BTreeMap<Address, U256>,
    pub(crate) debts: BTreeMap<Address, U256>,
}

impl World {
    /// 300,000 dollars of lenders; a collateral vault of 10 coins and 10 shares, all pledged by Bob.
    pub(crate) fn new() -> Self {
        let mut world = Self::default();
        world.balances.insert((USD_TOKEN, LENDING_VAULT), wad(300_000));
        world.supplies.insert(LENDING_VAULT, wad(300_000));
        world.balances.insert((LENDING_VAULT, BOB), wad(300_000));
        world.balances.insert((COIN_TOKEN, COLLATERAL_VAULT), wad(10));
        world.supplies.insert(COLLATERAL_VAULT, wad(10));
        world.balances.insert((COLLATERAL_VAULT, LENDING_VAULT), wad(10));
        world.collateral.insert(BOB, wad(10));
        world
    }

    pub(crate) fn protocol() -> Protocol {
        let contract = |address, name: &str| ProtectedContract { address, name: name.to_owned() };
        let asset =
            |asset, symbol: &str, price| AssetSpec { asset, symbol: symbol.to_owned(), decimals: 18, price };
        let line = |selector, asset, side| AccountView { target: LENDING_VAULT, selector, asset, side };
        Protocol {
            id: ProtocolId("lending".to_owned()),
            chain_id: ChainId(1),
            contracts: vec![contract(LENDING_VAULT, "lending"), contract(COLLATERAL_VAULT, "collateral")]
                .into(),
            factories: vec![],
            assets: vec![
                asset(USD, "USD", Price::Fixed { value_wad: WAD }),
                asset(COIN, "COIN", Price::Fixed { value_wad: wad(100) }),
                asset(DSHARE, "dCOIN", Price::ShareRate { vault: COLLATERAL_VAULT, underlying: COIN }),
                asset(LSHARE, "dLEND", Price::ShareRate { vault: LENDING_VAULT, underlying: USD }),
            ],
            account_views: vec![
                line(COLLATERAL_OF, DSHARE, AccountSide::Collateral),
                line(DEBT_OF, USD, AccountSide::Debt),
            ],
            capabilities: vec![],
        }
    }

    /// A transaction of Alice to an address that is nothing special.
    pub(crate) fn script(self) -> Script {
        Script::new(self, ALICE, CONTROLLER)
    }

    fn answer(&self, call: &ViewCall) -> Option<Bytes> {
        let selector = Selector::try_from(call.input.get(..4)?).ok()?;
        let argument = call.input.get(4..36).map(U256::from_be_slice);
        let account = argument.map(|word| Address::from_word(B256::from(word)));
        let balance = |token, holder| self.balances.get(&(token, holder)).copied().unwrap_or_default();
        let supply = |token| self.supplies.get(&token).copied().unwrap_or_default();
        let value = match (selector, account) {
            (CONVERT_TO_ASSETS, _) => {
                let held = match call.target {
                    LENDING_VAULT => balance(USD_TOKEN, LENDING_VAULT) + self.debts.values().sum::<U256>(),
                    _ => balance(COIN_TOKEN, COLLATERAL_VAULT),
                };
                argument? * (held + U256::ONE) / (supply(call.target) + U256::ONE)
            }
            (COLLATERAL_OF, Some(account)) => self.collateral.get(&account).copied().unwrap_or_default(),
            (DEBT_OF, Some(account)) => self.debts.get(&account).copied().unwrap_or_default(),
            (_, Some(holder)) if *call == balance_of(call.target, holder) => balance(call.target, holder),
            (_, _) if *call == total_supply(call.target) => supply(call.target),
            _ => return None,
        };
        Some(Bytes::from(value.to_be_bytes::<32>().to_vec()))
    }
}

/// Builds one execution.
#[derive(Debug)]
pub(crate) struct Script {
    before: World,
    pub(crate) now: World,
    pub(crate) execution: Execution,
    stack: Vec<usize>,
    seq: u32,
}

impl Script {
    pub(crate) fn new(world: World, from: Address, to: Address) -> Self {
        let block = BlockRef { number: 100, hash: B256::repeat_byte(1) };
        let tx = TxRef { chain_id: ChainId(1), block, index: 3, hash: B256::repeat_byte(2) };
        let execution = Execution {
            gas_used: 100_000,
            balance_changes_wei: BTreeMap::from([(from, I256::MINUS_ONE)]),
            ..Execution::bare(tx, 1_700_000_000, transaction(from, to))
        };
        let mut script = Self { before: world.clone(), now: world, execution, stack: vec![], seq: 0 };
        script.enter(FrameKind::Call, to, to, &[]);
        script
    }

    fn tick(&mut self) -> u32 {
        self.seq += 1;
        self.seq
    }

    fn top(&self) -> (u32, Address) {
        self.stack.last().map_or((0, self.execution.transaction.from), |index| {
            let frame = &self.execution.frames[*index];
            (frame.index, frame.address)
        })
    }

    pub(crate) fn enter(&mut self, kind: FrameKind, address: Address, code_address: Address, input: &[u8]) {
        let (parent, caller) = self.top();
        let enter_seq = self.tick();
        let index = self.execution.frames.len();
        self.execution.frames.push(Frame {
            index: u32::try_from(index).unwrap(),
            parent: (!self.stack.is_empty()).then_some(parent),
            depth: u32::try_from(self.stack.len()).unwrap(),
            kind,
            caller,
            address,
            code_address,
            value_wei: U256::ZERO,
            input: Bytes::copy_from_slice(input),
            output: Bytes::new(),
            gas_used: 0,
            status: Status::Success,
            reverted: false,
            precompile: false,
            enter_seq,
            exit_seq: 0,
        });
        self.stack.push(index);
    }

    pub(crate) fn exit(&mut self) {
        let exit_seq = self.tick();
        let index = self.stack.pop().unwrap();
        self.execution.frames[index].exit_seq = exit_seq;
    }

    /// A call to `address` with what happens inside it.
    pub(crate) fn frame(
        &mut self,
        kind: FrameKind,
        address: Address,
        input: &[u8],
        inside: impl FnOnce(&mut Self),
    ) {
        self.enter(kind, address, address, input);
        inside(self);
        self.exit();
    }

    pub(crate) fn call(&mut self, address: Address, function: u8, inside: impl FnOnce(&mut Self)) {
        self.frame(FrameKind::Call, address, selector(function).as_slice(), inside);
    }

    /// A creation with what its constructor does.
    pub(crate) fn create(&mut self, address: Address, inside: impl FnOnce(&mut Self)) {
        self.frame(FrameKind::Create, address, &[0x60], inside);
    }

    /// A call through a proxy: the proxy's frame and the delegate frame below it.
    pub(crate) fn proxied(&mut self, address: Address, function: u8, inside: impl FnOnce(&mut Self)) {
        self.call(address, function, |script| {
            script.enter(FrameKind::DelegateCall, address, IMPLEMENTATION, selector(function).as_slice());
            inside(script);
            script.exit();
        });
    }

    /// A call whose effects are undone.
    pub(crate) fn reverted(&mut self, address: Address, function: u8, inside: impl FnOnce(&mut Self)) {
        let first = self.execution.frames.len();
        self.call(address, function, inside);
        for frame in &mut self.execution.frames[first..] {
            frame.reverted = true;
        }
    }

    pub(crate) fn access(&mut self, kind: AccessKind, slot: u64, value: U256) {
        let seq = self.tick();
        let (frame, address) = self.top();
        self.execution.accesses.push(StorageAccess {
            seq,
            frame,
            address,
            slot: U256::from(slot),
            kind,
            times: 1,
            before: value,
            value,
        });
    }

    pub(crate) fn read(&mut self, slot: u64, value: U256) {
        self.access(AccessKind::Read, slot, value);
    }

    pub(crate) fn write(&mut self, slot: u64, value: U256) {
        self.access(AccessKind::Write, slot, value);
    }

    /// A token transfer inside a call of the token; mints and burns by the zero address.
    pub(crate) fn transfer(&mut self, asset: Asset, from: Address, to: Address, amount_raw: U256) {
        self.ordered(selector(0xff).as_slice(), asset, from, to, amount_raw);
    }

    /// The calldata of `transferFrom`.
    pub(crate) fn transfer_from(from: Address, to: Address, amount_raw: U256) -> Vec<u8> {
        [&[0x23, 0xb8, 0x72, 0xdd], &argument(from)[..], &argument(to), &amount_raw.to_be_bytes::<32>()]
            .concat()
    }

    /// A token transfer by allowance: the current account has the token pull.
    pub(crate) fn pull(&mut self, asset: Asset, from: Address, to: Address, amount_raw: U256) {
        self.ordered(&Self::transfer_from(from, to, amount_raw), asset, from, to, amount_raw);
    }

    fn ordered(&mut self, input: &[u8], asset: Asset, from: Address, to: Address, amount_raw: U256) {
        let Asset::Token(token) = asset else { panic!("the world has no native transfers") };
        self.enter(FrameKind::Call, token, token, input);
        let seq = self.tick();
        let (frame, _) = self.top();
        self.execution.transfers.push(Transfer { seq, frame, asset, from, to, amount_raw });
        self.exit();
        let moved = |map: &mut BTreeMap<_, U256>, key, gain: bool| {
            let amount = map.entry(key).or_default();
            *amount = if gain { *amount + amount_raw } else { amount.saturating_sub(amount_raw) };
        };
        if from.is_zero() || to.is_zero() {
            let supply = self.now.supplies.entry(token).or_default();
            *supply = if from.is_zero() { *supply + amount_raw } else { *supply - amount_raw };
        }
        moved(&mut self.now.balances, (token, from), false);
        moved(&mut self.now.balances, (token, to), true);
    }

    /// A log of the current account, by the signature of its event and its indexed addresses.
    pub(crate) fn log(&mut self, event: &str, indexed: &[Address], data: &[u8]) {
        let seq = self.tick();
        let (frame, address) = self.top();
        let indexed = indexed.iter().map(|account| account.into_word());
        let topics = [keccak256(event)].into_iter().chain(indexed).collect();
        self.execution.logs.push(Log { seq, frame, address, topics, data: Bytes::copy_from_slice(data) });
    }

    /// The execution with the readings that were asked for.
    pub(crate) fn finish(mut self, calls: &[ViewCall]) -> Execution {
        while !self.stack.is_empty() {
            self.exit();
        }
        let reading = |call: &ViewCall| ViewReading {
            call: call.clone(),
            before: self.before.answer(call),
            after: self.now.answer(call),
        };
        self.execution.views = calls.iter().map(reading).collect();
        self.execution
    }

    /// The execution with every reading that these detectors want.
    pub(crate) fn judged_by(self, set: &crate::DetectorSet) -> Execution {
        let (before, mut script) = (self.before.clone(), self);
        while !script.stack.is_empty() {
            script.exit();
        }
        let calls = set.views(&script.execution);
        script.before = before;
        script.finish(&calls)
    }

    // ---- What users do ---------------------------------------------------------------------------------------------

    /// Deposits coins into the collateral vault for shares at the current rate.
    pub(crate) fn buy_shares(&mut self, user: Address, coins: U256, shares: U256) {
        self.call(COLLATERAL_VAULT, 1, |s| {
            s.transfer(COIN, user, COLLATERAL_VAULT, coins);
            s.transfer(DSHARE, Address::ZERO, user, shares);
        });
    }

    pub(crate) fn redeem_shares(&mut self, user: Address, shares: U256, coins: U256) {
        self.call(COLLATERAL_VAULT, 2, |s| {
            s.transfer(DSHARE, user, Address::ZERO, shares);
            s.transfer(COIN, COLLATERAL_VAULT, user, coins);
        });
    }

    pub(crate) fn pledge(&mut self, user: Address, shares: U256) {
        self.proxied(LENDING_VAULT, 3, |s| {
            s.write(COLLATERAL_SLOT, shares);
            s.transfer(DSHARE, user, LENDING_VAULT, shares);
        });
        *self.now.collateral.entry(user).or_default() += shares;
    }

    pub(crate) fn unpledge(&mut self, user: Address, shares: U256) {
        self.proxied(LENDING_VAULT, 4, |s| {
            s.read(COLLATERAL_SLOT, shares);
            s.write(COLLATERAL_SLOT, U256::ZERO);
            s.read(DEBT_SLOT, U256::ZERO);
            s.transfer(DSHARE, LENDING_VAULT, user, shares);
        });
        *self.now.collateral.entry(user).or_default() -= shares;
    }

    /// Borrows with a callback before the debt is recorded, as the flawed vault does it.
    pub(crate) fn borrow(&mut self, user: Address, dollars: U256, hook: impl FnOnce(&mut Self)) {
        self.proxied(LENDING_VAULT, 5, |s| {
            s.read(DEBT_SLOT, U256::ZERO);
            s.read(COLLATERAL_SLOT, wad(100));
            s.transfer(USD, LENDING_VAULT, user, dollars);
            s.call(user, 6, hook);
            s.read(DEBT_SLOT, U256::ZERO);
            s.write(DEBT_SLOT, dollars);
            s.read(TOTAL_DEBT_SLOT, U256::ZERO);
            s.write(TOTAL_DEBT_SLOT, dollars);
        });
        *self.now.debts.entry(user).or_default() += dollars;
    }

    /// The whole strike of the module documentation of `value_loss`, through a child contract of Alice's controller.
    pub(crate) fn strike(mut self) -> Self {
        let creation = Creation {
            frame: 0,
            creator: CONTROLLER,
            address: CHILD,
            init_code_hash: B256::repeat_byte(8),
            code_hash: B256::repeat_byte(9),
        };
        self.execution.creations.push(creation);
        self.transfer(COIN, CONTROLLER, CHILD, wad(990));
        self.enter(FrameKind::Call, CHILD, CHILD, selector(9).as_slice());
        self.buy_shares(CHILD, wad(100), wad(100));
        self.pledge(CHILD, wad(100));
        self.transfer(COIN, CHILD, COLLATERAL_VAULT, wad(890));
        self.borrow(CHILD, wad(60_000), |s| s.unpledge(CHILD, wad(100)));
        self.redeem_shares(CHILD, wad(100), wad(909));
        self.transfer(COIN, CHILD, CONTROLLER, wad(909));
        self.transfer(USD, CHILD, ALICE, wad(60_000));
        self.exit();
        self
    }
}

fn transaction(from: Address, to: Address) -> Transaction {
    Transaction {
        hash: B256::repeat_byte(2),
        gas_limit: 30_000_000,
        max_fee_per_gas_wei: Some(1),
        max_priority_fee_per_gas_wei: Some(1),
        chain_id: Some(1),
        ..Transaction::bare(from, Some(to))
    }
}
