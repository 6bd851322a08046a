//! Who stands on which side of a transaction, and what each account gained and lost.
//!
//! In: a protocol and an execution. Out: the sender's side, and net flows per account. Must never: take value for an
//! argument. Sides follow from who sent, who was called first and who created whom.

use crate::detector::{enters_from_outside, is_named};
use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, B256, I256, U256, b256};
use cordon_model::execution::{Creation, Execution, Frame, FrameKind, Log, Transfer};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, AssetDelta};
use std::collections::{BTreeMap, BTreeSet};

/// `keccak256("Deposit(address,uint256)")`, of wrapped coins (WETH9).
const DEPOSIT_TOPIC: B256 = b256!("0xe1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c");
/// `keccak256("Withdrawal(address,uint256)")`, of wrapped coins (WETH9).
const WITHDRAWAL_TOPIC: B256 = b256!("0x7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65");

/// `keccak256("Transfer(address,address,uint256)")`: with a fourth topic, of a single item (ERC-721).
const TRANSFER_TOPIC: B256 = b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
/// `keccak256("TransferSingle(address,address,address,uint256,uint256)")` (ERC-1155).
const TRANSFER_SINGLE_TOPIC: B256 =
    b256!("0xc3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62");

/// The accounts that act for the sender: himself, the contract that he calls or creates unless the operator named it,
/// and every contract that one of these creates in the transaction.
///
/// A router that the sender calls first counts as his own: what it does, it does because he said so. A contract of
/// his that he calls through somebody else's does not; its gain is then nobody's.
#[derive(Debug)]
pub(crate) struct SendersSide(AddressSet);

impl SendersSide {
    pub(crate) fn of(protocol: &Protocol, execution: &Execution) -> Self {
        Self::unless(execution, |root| is_named(protocol, root))
    }

    /// The same where nobody is named.
    pub(crate) fn unnamed(execution: &Execution) -> Self {
        Self::unless(execution, |_| false)
    }

    fn unless(execution: &Execution, is_anothers: impl Fn(Address) -> bool) -> Self {
        let mut own = AddressSet::default();
        own.insert(execution.transaction.from);
        let root = execution.frames.first().map(|frame| frame.address);
        own.extend(root.filter(|root| !is_anothers(*root)));
        let created = execution.frames.iter().filter(|frame| is_creation(frame) && !frame.reverted);
        for frame in created {
            if own.contains(&frame.caller) {
                own.insert(frame.address);
            }
        }
        Self(own)
    }

    pub(crate) fn has(&self, address: Address) -> bool {
        self.0.contains(&address)
    }

    /// Its calls of protected contracts that may change something, in order.
    pub(crate) fn entries<'a>(
        &'a self,
        protocol: &'a Protocol,
        execution: &'a Execution,
    ) -> impl Iterator<Item = &'a Frame> {
        execution.frames.iter().filter(|frame| {
            frame.kind == FrameKind::Call && self.has(frame.caller) && enters_from_outside(protocol, frame)
        })
    }
}

/// The contracts that the sender's side created, where nobody is known to be protected.
pub fn senders_creations(execution: &Execution) -> impl Iterator<Item = &Creation> {
    let side = SendersSide::unnamed(execution);
    execution.creations.iter().filter(move |creation| side.has(creation.address))
}

/// Net flows of all accounts. The issuer of a token stands on the other side of what is minted and burned: whoever
/// redeems shares pays the vault with them.
#[derive(Debug, Default)]
pub(crate) struct NetFlows(BTreeMap<Address, BTreeMap<Asset, I256>>);

impl NetFlows {
    pub(crate) fn of(execution: &Execution) -> Self {
        let mut flows = Self::default();
        for transfer in &execution.transfers {
            let issuer = |account: Address| match transfer.asset {
                Asset::Token(token) if account.is_zero() => token,
                Asset::Token(_) | Asset::Native => account,
            };
            let (from, to) = (issuer(transfer.from), issuer(transfer.to));
            flows.moved(transfer.asset, from, to, transfer.amount_raw);
        }
        flows.add_wrapped(execution);
        flows.add_items(execution);
        flows
    }

    /// Single items that changed hands, one counted as one whatever it is: who gives up a position, or sells an item, pays.
    /// New items are left out: what they are worth is for the market to say, and most are worth nothing.
    fn add_items(&mut self, execution: &Execution) {
        for log in &execution.logs {
            let Some((from, to)) = item_moved(log).filter(|(from, _)| !from.is_zero()) else { continue };
            let to = if to.is_zero() { log.address } else { to };
            self.moved(Asset::Token(log.address), from, to, U256::ONE);
        }
    }

    fn add_wrapped(&mut self, execution: &Execution) {
        for moved in wrapped_moves(execution) {
            let (token, holder) = (moved.token, moved.holder);
            let (from, to) = if moved.is_withdrawal { (holder, token) } else { (token, holder) };
            self.moved(Asset::Token(token), from, to, moved.amount_raw);
        }
    }

    fn moved(&mut self, asset: Asset, from: Address, to: Address, amount_raw: U256) {
        if from == to {
            return;
        }
        let amount = I256::try_from(amount_raw).unwrap_or(I256::MAX);
        self.add(from, asset, amount.saturating_neg());
        self.add(to, asset, amount);
    }

    fn add(&mut self, account: Address, asset: Asset, delta: I256) {
        let net = self.0.entry(account).or_default().entry(asset).or_default();
        *net = net.saturating_add(delta);
    }

    /// What an account gained and lost, without what came out even.
    pub(crate) fn of_account(&self, account: Address) -> Vec<AssetDelta> {
        self.0.get(&account).map(nonzero).unwrap_or_default()
    }

    /// The same over several accounts together.
    pub(crate) fn of_side(&self, side: &SendersSide) -> Vec<AssetDelta> {
        let mut sum: BTreeMap<Asset, I256> = BTreeMap::new();
        for (_, flows) in self.0.iter().filter(|(account, _)| side.has(**account)) {
            for (asset, delta) in flows {
                let net = sum.entry(*asset).or_default();
                *net = net.saturating_add(*delta);
            }
        }
        nonzero(&sum)
    }

    /// Accounts in order.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = Address> {
        self.0.keys().copied()
    }
}

/// Coins that became a token, or a token that became coins again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wrapped {
    pub(crate) token: Address,
    pub(crate) holder: Address,
    pub(crate) amount_raw: U256,
    pub(crate) is_withdrawal: bool,
}

/// Wrapped coins that were issued or redeemed, which their contracts log under names of their own. Many contracts log
/// deposits; only where just as many coins moved at that moment does the log speak of a token.
pub(crate) fn wrapped_moves(execution: &Execution) -> impl Iterator<Item = Wrapped> {
    let native = || execution.transfers.iter().filter(|transfer| transfer.asset == Asset::Native);
    let received: BTreeSet<_> = native().map(|coins| (coins.to, coins.amount_raw)).collect();
    let sent: BTreeSet<_> = native().map(|coins| (coins.from, coins.amount_raw)).collect();
    let words = execution.logs.iter().filter(|log| log.data.len() == 32);
    words.filter_map(move |log| {
        let (token, amount_raw) = (log.address, U256::from_be_slice(&log.data));
        let (holder, is_withdrawal) = match log.topics.as_slice() {
            [DEPOSIT_TOPIC, holder] if received.contains(&(token, amount_raw)) => (holder, false),
            [WITHDRAWAL_TOPIC, holder] if sent.contains(&(token, amount_raw)) => (holder, true),
            _ => return None,
        };
        Some(Wrapped { token, holder: Address::from_word(*holder), amount_raw, is_withdrawal })
    })
}

/// Who gave a single item to whom, where the log tells of one (ERC-721, ERC-1155); the zero address makes and destroys.
pub(crate) fn item_moved(log: &Log) -> Option<(Address, Address)> {
    match log.topics.as_slice() {
        [TRANSFER_TOPIC, from, to, _] | [TRANSFER_SINGLE_TOPIC, _, from, to] => {
            Some((Address::from_word(*from), Address::from_word(*to)))
        }
        _ => None,
    }
}

fn nonzero(flows: &BTreeMap<Asset, I256>) -> Vec<AssetDelta> {
    let deltas = flows.iter().filter(|(_, delta)| !delta.is_zero());
    deltas.map(|(asset, delta_raw)| AssetDelta { asset: *asset, delta_raw: *delta_raw }).collect()
}

/// Frames that are climbed from an event towards the transaction. A token behind a proxy takes two, an order that is settled
/// through a router and a conduit six; the bound keeps calls nested a thousand deep from costing a thousand steps each.
const CLIMB_MAX: usize = 16;

/// Which way value crosses the border of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crossing {
    In,
    Out,
}

impl Crossing {
    /// `None` where value stays on one side, and where it is issued or burnt: nobody had it before, or has it afterwards.
    pub(crate) fn of(protocol: &Protocol, moved: &Transfer) -> Option<Self> {
        if moved.from.is_zero() || moved.to.is_zero() {
            return None;
        }
        match (protocol.protects(moved.from), protocol.protects(moved.to)) {
            (true, false) => Some(Self::Out),
            (false, true) => Some(Self::In),
            (true, true) | (false, false) => None,
        }
    }
}

/// A frame and those above it, the nearest first.
pub(crate) fn climb(execution: &Execution, frame: u32) -> impl Iterator<Item = &Frame> {
    let above = |frame: &&Frame| execution.frame(frame.parent?);
    std::iter::successors(execution.frame(frame), above).take(CLIMB_MAX)
}

pub(crate) fn is_creation(frame: &Frame) -> bool {
    matches!(frame.kind, FrameKind::Create | FrameKind::Create2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use cordon_model::execution::Transfer;

    #[test]
    fn the_senders_side_is_whoever_he_sent_and_what_that_created() {
        let mut script = World::new().script();
        script.create(CHILD, |_| {});
        script.call(LENDING_VAULT, 1, |script| script.create(BOB, |_| {}));
        let execution = script.finish(&[]);
        let side = SendersSide::of(&World::protocol(), &execution);
        let has = [ALICE, CONTROLLER, CHILD, BOB, LENDING_VAULT].map(|account| side.has(account));
        assert_eq!(has, [true, true, true, false, false]);
    }

    #[test]
    fn a_protected_contract_that_is_called_first_is_nobodys() {
        let execution = Script::new(World::new(), ALICE, LENDING_VAULT).finish(&[]);
        let side = SendersSide::of(&World::protocol(), &execution);
        assert!(side.has(ALICE) && !side.has(LENDING_VAULT));
    }

    #[test]
    fn the_issuer_stands_on_the_other_side_of_what_is_minted_and_wrapped() {
        let mut script = World::new().script();
        script.redeem_shares(CONTROLLER, wad(2), wad(3));
        let mut execution = script.finish(&[]);
        let amount = |units: u64| I256::try_from(wad(units)).unwrap();
        let delta = |asset, delta_raw| AssetDelta { asset, delta_raw };
        let vault = [delta(DSHARE, amount(2)), delta(COIN, -amount(3))];
        assert_eq!(NetFlows::of(&execution).of_account(COLLATERAL_VAULT), vault);

        let coins =
            |from, to| Transfer { seq: 90, frame: 0, asset: Asset::Native, from, to, amount_raw: wad(5) };
        let log = |topic, holder: Address| Log {
            seq: 91,
            frame: 0,
            address: USD_TOKEN,
            topics: vec![topic, holder.into_word()],
            data: wad(5).to_be_bytes::<32>().into(),
        };
        execution.transfers = vec![coins(USD_TOKEN, BOB)];
        execution.logs = vec![log(WITHDRAWAL_TOPIC, CONTROLLER), log(DEPOSIT_TOPIC, ALICE)];
        let flows = NetFlows::of(&execution);
        assert_eq!(flows.of_account(CONTROLLER), [delta(USD, -amount(5))]);
        assert_eq!(flows.of_account(USD_TOKEN), [delta(Asset::Native, -amount(5)), delta(USD, amount(5))]);
        assert_eq!(flows.of_account(ALICE), [], "no coins came in with the deposit");
    }

    #[test]
    fn an_item_that_is_given_up_is_a_payment() {
        let mut execution = World::new().script().finish(&[]);
        let log = |topics: Vec<B256>| Log {
            seq: 90,
            frame: 0,
            address: COIN_TOKEN,
            topics,
            data: alloy_primitives::Bytes::new(),
        };
        let [alice, bob, nobody] = [ALICE, BOB, Address::ZERO].map(|account| account.into_word());
        execution.logs = vec![
            log(vec![TRANSFER_TOPIC, alice, nobody, B256::ZERO]),
            log(vec![TRANSFER_SINGLE_TOPIC, alice, alice, bob]),
            log(vec![TRANSFER_TOPIC, nobody, bob, B256::ZERO]),
        ];
        let flows = NetFlows::of(&execution);
        let delta = |count: i64| [AssetDelta { asset: COIN, delta_raw: I256::try_from(count).unwrap() }];
        assert_eq!(flows.of_account(ALICE), delta(-2));
        assert_eq!(
            (flows.of_account(BOB), flows.of_account(COIN_TOKEN)),
            (delta(1).to_vec(), delta(1).to_vec())
        );
    }

    #[test]
    fn flows_are_net_and_what_comes_out_even_is_left_out() {
        let mut script = World::new().script();
        script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(7));
        script.transfer(USD, CONTROLLER, ALICE, wad(7));
        script.transfer(COIN, BOB, BOB, wad(1));
        let execution = script.finish(&[]);
        let flows = NetFlows::of(&execution);
        assert_eq!(flows.of_account(CONTROLLER), []);
        assert_eq!(flows.of_account(BOB), []);
        let gain = AssetDelta { asset: USD, delta_raw: I256::try_from(wad(7)).unwrap() };
        assert_eq!(flows.of_side(&SendersSide::of(&World::protocol(), &execution)), [gain]);
    }
}
