//! What was taken by allowances that were given in the same transaction, and allowances that only lie ready.
//!
//! In: grants, transfers and calls. Out: statements on permits, approvals and drainers. Must never: count an owner who was
//! given something.

use super::grants::{Grant, Grants, Made};
use super::{PhishingConfig, Said, count, protected};
use crate::parties::{NetFlows, SendersSide, climb, is_creation, item_moved};
use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, U256};
use cordon_model::execution::{Execution, Transfer};
use cordon_model::finding::Score;
use cordon_model::finding::sign::{Lure, LureKind};
use cordon_model::protocol::Protocol;
use cordon_model::units::Asset;
use std::collections::{BTreeMap, BTreeSet};

/// Half of what opens an incident: payments that somebody relays look alike in parts.
const SCORE: Score = Score(300);

/// Opens an incident alone: many users lose at once.
const SCORE_MANY: Score = Score(700);

/// Tokens that a contract which the transaction created takes, for it to be a finding. One is a deposit into a new vault.
const FRESH_TOKENS_MIN: usize = 2;

/// Where what was taken went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Receiver {
    Side,
    Account(Address),
}

/// What one receiver took by one kind of grant.
#[derive(Debug, Default)]
struct Loot {
    owners: BTreeSet<Address>,
    /// Tokens of each owner.
    tokens: BTreeMap<Address, BTreeSet<Address>>,
    /// True where somebody has nothing left of a token.
    all_of_it: bool,
}

impl Loot {
    fn most_tokens(&self) -> usize {
        self.tokens.values().map(BTreeSet::len).max().unwrap_or_default()
    }

    fn lure(&self, protocol: &Protocol, kind: LureKind, taker: Address) -> Option<Lure> {
        let tokens: BTreeSet<Address> = self.tokens.values().flatten().copied().collect();
        let (victims, tokens_count) = (count(self.owners.len()), count(tokens.len()));
        let (token, victim) = (protected(protocol, &tokens)?, *self.owners.first()?);
        Some(Lure { kind, victim, victims, token, tokens: tokens_count, taker })
    }
}

pub(super) fn taken(
    bounds: &PhishingConfig,
    protocol: &Protocol,
    side: &SendersSide,
    execution: &Execution,
    grants: &Grants,
) -> Vec<Said> {
    let scene = Scene::of(side, execution, grants);
    let mut signed: BTreeMap<Receiver, Loot> = BTreeMap::new();
    let mut called: BTreeMap<(Address, Receiver), Loot> = BTreeMap::new();
    let mut used: BTreeSet<Grant> = BTreeSet::new();
    for moved in execution.transfers.iter().filter(|moved| !moved.amount_raw.is_zero()) {
        let Some((token, grant, made)) = scene.taken_by(moved) else { continue };
        let Grant { owner, spender, .. } = grant;
        used.insert(grant);
        let loot = if made.signed && side.has(spender) && !side.has(owner) {
            match scene.receiver(moved.to).filter(|_| !scene.is_paid(owner)) {
                Some(receiver) => signed.entry(receiver).or_default(),
                None => continue,
            }
        } else if !made.signed {
            match scene.drained_to(owner, spender, moved.to) {
                Some(receiver) => called.entry((spender, receiver)).or_default(),
                None => continue,
            }
        } else {
            continue;
        };
        loot.owners.insert(owner);
        loot.tokens.entry(owner).or_default().insert(token);
        loot.all_of_it |= scene.emptied.contains(&(token, moved.amount_raw));
    }
    let mut said: Vec<Said> = Vec::new();
    for (receiver, loot) in &signed {
        let taker = match receiver {
            Receiver::Side => execution.transaction.from,
            Receiver::Account(account) => *account,
        };
        said.extend(permits(bounds, loot).zip(loot.lure(protocol, LureKind::Permit, taker)).map(Said::of));
    }
    for ((spender, _), loot) in &called {
        let is_fresh = scene.created.contains(spender) && loot.most_tokens() >= FRESH_TOKENS_MIN;
        let is_drain = is_fresh || count(loot.most_tokens()) >= bounds.tokens_min;
        let score = is_drain.then_some(SCORE);
        said.extend(score.zip(loot.lure(protocol, LureKind::Drainer, *spender)).map(Said::of));
    }
    said.extend(scene.approvals(bounds, protocol, &used));
    said
}

impl Said {
    fn of((score, lure): (Score, Lure)) -> Self {
        Self { score, lure }
    }
}

fn permits(bounds: &PhishingConfig, loot: &Loot) -> Option<Score> {
    let owners = count(loot.owners.len());
    let several = owners >= bounds.owners_min || count(loot.most_tokens()) >= bounds.tokens_min;
    if owners >= bounds.owners_many {
        return Some(SCORE_MANY);
    }
    (several || loot.all_of_it).then_some(SCORE)
}

/// What is asked of the transaction for every movement.
struct Scene<'a> {
    side: &'a SendersSide,
    execution: &'a Execution,
    grants: &'a Grants,
    /// Accounts that a call reached.
    called: AddressSet,
    created: AddressSet,
    /// Who was given something, and by whom.
    given: BTreeMap<Address, BTreeSet<Address>>,
    /// Amounts of tokens that a slot held before and does not hold any more.
    emptied: BTreeSet<(Address, U256)>,
}

impl<'a> Scene<'a> {
    fn of(side: &'a SendersSide, execution: &'a Execution, grants: &'a Grants) -> Self {
        let kept = || execution.frames.iter().filter(|frame| !frame.reverted);
        let gone = execution.storage_changes.iter().filter(|change| change.after.is_zero());
        Self {
            side,
            execution,
            grants,
            called: kept().map(|frame| frame.address).collect(),
            created: kept().filter(|frame| is_creation(frame)).map(|frame| frame.address).collect(),
            given: given(side, execution, grants),
            emptied: gone.map(|change| (change.address, change.before)).collect(),
        }
    }

    /// The token, and the grant by which it was pulled.
    fn taken_by(&self, moved: &Transfer) -> Option<(Address, Grant, Made)> {
        let Asset::Token(token) = moved.asset else { return None };
        let mut climb = climb(self.execution, moved.frame);
        let order = climb.find(|frame| frame.address == token && frame.caller != token)?;
        let by = |spender, keeper| self.grants.by(moved.from, token, spender, keeper);
        // Permit2 stands between the token and the spender.
        let beyond = climb.find(|frame| frame.address == order.caller && frame.caller != frame.address);
        let grant = by(order.caller, token).or_else(|| by(beyond?.caller, order.caller));
        grant.filter(|(_, made)| made.seq < moved.seq).map(|(grant, made)| (token, *grant, *made))
    }

    /// Payments for something go to contracts, which are called.
    fn receiver(&self, to: Address) -> Option<Receiver> {
        if self.side.has(to) {
            return Some(Receiver::Side);
        }
        (!self.called.contains(&to)).then_some(Receiver::Account(to))
    }

    /// Where a contract put what it took of an account that had just allowed it to, unless that is a payment.
    fn drained_to(&self, owner: Address, spender: Address, to: Address) -> Option<Receiver> {
        let by_others = self.given.get(&owner).is_some_and(|by| by.iter().any(|from| *from != spender));
        let is_its_own = to == spender && self.created.contains(&spender);
        let is_passive = !self.called.contains(&to) && to != self.execution.transaction.from;
        (!by_others && to != owner && (is_its_own || is_passive)).then_some(Receiver::Account(to))
    }

    fn is_paid(&self, owner: Address) -> bool {
        self.given.get(&owner).is_some_and(|by| !by.is_empty())
    }

    /// Allowances of several owners that lie ready for the sender's side.
    fn approvals(&self, bounds: &PhishingConfig, protocol: &Protocol, used: &BTreeSet<Grant>) -> Vec<Said> {
        let mut ready: BTreeMap<Address, Loot> = BTreeMap::new();
        let foreign = self.grants.iter().filter(|(grant, _)| {
            let Grant { owner, spender, .. } = grant;
            let to_side = self.side.has(*spender) && !self.side.has(*owner);
            to_side && !self.is_paid(*owner) && !used.contains(grant)
        });
        for (grant, _) in foreign {
            let loot = ready.entry(grant.spender).or_default();
            loot.owners.insert(grant.owner);
            loot.tokens.entry(grant.owner).or_default().extend(grant.token);
        }
        let many = ready.into_iter().filter(|(_, loot)| count(loot.owners.len()) >= bounds.owners_min);
        let lures = many.filter_map(|(spender, loot)| loot.lure(protocol, LureKind::Approvals, spender));
        lures.map(|lure| Said::of((SCORE, lure))).collect()
    }
}

/// Who was given something, and by whom. The sender's side gives only what it received of others than the owners and did not
/// keep: everybody can send dust.
fn given(side: &SendersSide, execution: &Execution, grants: &Grants) -> BTreeMap<Address, BTreeSet<Address>> {
    let owners: AddressSet = grants.iter().map(|(grant, _)| grant.owner).collect();
    let gained =
        NetFlows::of(execution).of_side(side).into_iter().filter(|delta| delta.delta_raw.is_positive());
    let kept: BTreeMap<Asset, U256> =
        gained.map(|delta| (delta.asset, delta.delta_raw.unsigned_abs())).collect();
    let mut received: BTreeMap<Asset, U256> = BTreeMap::new();
    for moved in &execution.transfers {
        if side.has(moved.to) && !side.has(moved.from) && !owners.contains(&moved.from) {
            let sum = received.entry(moved.asset).or_default();
            *sum = sum.saturating_add(moved.amount_raw);
        }
    }
    let passes_on = |moved: &Transfer| {
        let of = |sums: &BTreeMap<Asset, U256>| sums.get(&moved.asset).copied().unwrap_or_default();
        of(&received) >= moved.amount_raw && of(&kept) <= moved.amount_raw
    };
    let mut given: BTreeMap<Address, BTreeSet<Address>> = BTreeMap::new();
    for moved in &execution.transfers {
        let is_gift = owners.contains(&moved.to) && !moved.amount_raw.is_zero() && moved.from != moved.to;
        if is_gift && (!side.has(moved.from) || passes_on(moved)) {
            given.entry(moved.to).or_default().insert(moved.from);
        }
    }
    for (log, (from, to)) in execution.logs.iter().filter_map(|log| Some((log, item_moved(log)?))) {
        if owners.contains(&to) && !side.has(from) {
            given.entry(to).or_default().insert(if from.is_zero() { log.address } else { from });
        }
    }
    given
}
