//! Allowance drain: coins of somebody who takes no part are pulled, through a contract that he trusted, because the
//! sender said so.
//!
//! In: calls and transfers. Out: one finding for the contract whose allowances were used. Must never: take for a
//! bystander whom the transaction shows to agree, or let the sender make a bystander agree.
//!
//! Users give routers, vaults and bridges a standing allowance. Whoever finds a function of such a contract that pulls
//! from an account of the caller's choice takes everything that all users allowed it. A pull counts where
//!
//! 1. a contract that is not the sender's orders `transferFrom` of coins that are not the sender's;
//! 2. the sender's side wrote down the account it takes from: a reward that a treasury pays is pulled as well, but the
//!    claimant does not say from whom;
//! 3. nothing shows that the account agrees. It agrees where one of the contracts through which the pull was made, or the
//!    token, recovered its signature (orders, permits, meta-transactions), where it answered a call of somebody who is not
//!    the sender (ERC-1271), where its own code had the pull made (wallets with code, ERC-4337), or where somebody who is
//!    not the sender gave it something in return;
//! 4. the sender's side gains by the transaction, or it dictated the call: its calldata holds the very `transferFrom`
//!    that was made. Somebody who pays a keeper to execute payments does neither.
//!
//! A dictated pull opens an incident alone, and what the account was given does not excuse it: no ordinary function lets
//! its caller write the call to be made with other people's allowances. Any other counts half, since contracts that
//! charge users who allowed it exist.
//!
//! Hostile input: what the sender's side itself gives to the account, calls of it, and recovered signatures are not
//! counted, since everybody can send dust, call anybody and replay an old signature.
//!
//! Source: the incidents of Multichain (2022), Transit Swap (2022), Dexible, SushiSwap's RouteProcessor2 and Maestro (2023).
//! 10 of 93 archived attacks hold such a pull, 5 of them a dictated one, against 5 of 6,041 ordinary calls, none of them
//! dictated: settlements of signed orders whose exchange the sender called first, so that it counted as his. Limits: a
//! spender that is the sender's own (phishing, where the victim's allowance went to the thief directly, cannot be told from
//! the sweep of deposit addresses); permits that were phished; accounts that the flawed contract finds without being told;
//! for pulls that are not dictated, dust that reaches the victim by way of a stranger.

use crate::detector::{Detector, Statement};
use crate::parties::{NetFlows, SendersSide, climb, item_moved};
use alloy_primitives::map::{AddressMap, AddressSet};
use alloy_primitives::{Address, U256, address};
use cordon_model::execution::{Execution, FrameKind, Transfer};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::Asset;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Half of what opens an incident: contracts that charge their users on somebody's word exist.
const SCORE: Score = Score(300);

/// Opens an incident alone: a pull whose call the sender wrote himself is an arbitrary call with others' allowances.
const SCORE_DICTATED: Score = Score(600);

/// `transferFrom(address,address,uint256)` of ERC-20.
const TRANSFER_FROM: [u8; 4] = [0x23, 0xb8, 0x72, 0xdd];

/// The precompiled contract that recovers signers.
const ECRECOVER: Address = address!("0000000000000000000000000000000000000001");

/// Configuration of [`AllowanceDrain`]. There is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowanceDrainConfig {}

impl AllowanceDrainConfig {
    /// The detector.
    #[must_use]
    pub fn build(&self) -> AllowanceDrain {
        AllowanceDrain {}
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct AllowanceDrain {}

impl Detector for AllowanceDrain {
    fn name(&self) -> &'static str {
        "allowance-drain"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let side = SendersSide::of(protocol, execution);
        let mut pulls = pulls(protocol, &side, execution);
        if pulls.is_empty() {
            return Vec::new();
        }
        let written = Written::of(&side, execution, pulls.iter().map(|pull| pull.account).collect());
        let consent = Consent::of(&side, execution);
        let gains = NetFlows::of(execution).of_side(&side).iter().any(|delta| delta.delta_raw.is_positive());
        pulls.retain(|pull| {
            let dictated = written.dictated.contains(&pull.account);
            let excused = consent.agreed(pull) || (!dictated && consent.given.contains(&pull.account));
            written.named.contains(&pull.account) && (gains || dictated) && !excused
        });
        let Some(drain) = widest(&pulls) else { return Vec::new() };
        let dictated = drain.accounts.iter().any(|account| written.dictated.contains(account));
        vec![
            Statement {
                class: AttackClass::AllowanceDrain,
                contract: drain.contract,
                score: if dictated { SCORE_DICTATED } else { SCORE },
                evidence: Evidence::AllowanceDrain {
                    spender: drain.spender,
                    account: drain.account,
                    accounts: u32::try_from(drain.accounts.len()).unwrap_or(u32::MAX),
                    asset: drain.asset,
                    amount_raw: drain.amount_raw,
                    dictated,
                },
            }
            .by(self.name(), protocol, execution),
        ]
    }
}

/// Coins that a stranger's contract pulled from a stranger's account.
#[derive(Debug)]
struct Pull {
    /// Protected contract that is concerned.
    contract: Address,
    spender: Address,
    account: Address,
    asset: Asset,
    amount_raw: U256,
    /// The token, the spender, and who had it pull, up to the sender's side.
    path: Vec<Address>,
}

fn pulls(protocol: &Protocol, side: &SendersSide, execution: &Execution) -> Vec<Pull> {
    let kept = execution.transfers.iter().filter(|transfer| !transfer.amount_raw.is_zero());
    kept.filter_map(|transfer| pull(protocol, side, execution, transfer)).collect()
}

fn pull(protocol: &Protocol, side: &SendersSide, execution: &Execution, transfer: &Transfer) -> Option<Pull> {
    let Asset::Token(token) = transfer.asset else { return None };
    let (account, asset, amount_raw) = (transfer.from, transfer.asset, transfer.amount_raw);
    if side.has(account) || account.is_zero() {
        return None;
    }
    let mut climb = climb(execution, transfer.frame);
    let order = climb.by_ref().find(|frame| frame.address == token && frame.caller != token)?;
    let spender = order.caller;
    let is_pull = order.kind == FrameKind::Call && order.selector().is_some_and(|s| s.0 == TRANSFER_FROM);
    if !is_pull || spender == account || side.has(spender) {
        return None;
    }
    let contract = [spender, token, account].into_iter().find(|party| protocol.protects(*party))?;
    let above = climb.map(|frame| frame.address).take_while(|address| !side.has(*address));
    let path: Vec<Address> = [token].into_iter().chain(above).collect();
    Some(Pull { contract, spender, account, asset, amount_raw, path })
}

/// What the sender's side wrote into its calls.
#[derive(Debug, Default)]
struct Written {
    /// Of the accounts asked for, those that it wrote down.
    named: AddressSet,
    /// Those that it wrote down as the source of a `transferFrom`.
    dictated: AddressSet,
}

impl Written {
    /// One pass over the calldata: addresses stand anywhere in it, since calls within calls are not aligned.
    fn of(side: &SendersSide, execution: &Execution, accounts: AddressSet) -> Self {
        let source = [TRANSFER_FROM.as_slice(), &[0; 12]].concat();
        let mut written = Self::default();
        let calls = execution.frames.iter().filter(|frame| side.has(frame.caller) && !frame.reverted);
        for frame in calls.filter(|frame| frame.selector().is_some()) {
            for (at, bytes) in frame.input.windows(Address::len_bytes()).enumerate() {
                let address = Address::from_slice(bytes);
                if !accounts.contains(&address) {
                    continue;
                }
                written.named.insert(address);
                // A call of the token itself is no call that somebody else was told to make.
                let before = at.checked_sub(source.len()).filter(|start| *start > 0);
                if before.and_then(|start| frame.input.get(start..at)) == Some(source.as_slice()) {
                    written.dictated.insert(address);
                }
            }
        }
        written
    }
}

/// What shows that an account agrees to what happens to it.
#[derive(Debug, Default)]
struct Consent {
    /// Accounts by whom their signatures were checked.
    signed: AddressMap<BTreeSet<Address>>,
    /// Accounts that answered somebody who is not the sender.
    answered: AddressSet,
    /// Accounts that somebody who is not the sender gave something.
    given: AddressSet,
}

impl Consent {
    fn of(side: &SendersSide, execution: &Execution) -> Self {
        let mut consent = Self::default();
        for frame in execution.frames.iter().filter(|frame| !frame.reverted && !side.has(frame.caller)) {
            if frame.code_address == ECRECOVER {
                let signer = frame.output.get(12..32).map(Address::from_slice);
                let Some(signer) = signer else { continue };
                consent.signed.entry(signer).or_default().insert(frame.caller);
            } else if !frame.output.is_empty() && frame.caller != frame.address {
                consent.answered.insert(frame.address);
            }
        }
        let by_others = execution.transfers.iter().filter(|transfer| !side.has(transfer.from));
        consent.given = by_others.map(|transfer| transfer.to).collect();
        let items = execution.logs.iter().filter_map(item_moved);
        consent.given.extend(items.filter(|(from, _)| !side.has(*from)).map(|(_, to)| to));
        consent
    }

    fn agreed(&self, pull: &Pull) -> bool {
        let checked = self.signed.get(&pull.account);
        let signed = checked.is_some_and(|by| pull.path.iter().any(|party| by.contains(party)));
        signed || pull.path.contains(&pull.account) || self.answered.contains(&pull.account)
    }
}

/// The pulls through one contract.
#[derive(Debug)]
struct Drain {
    contract: Address,
    spender: Address,
    account: Address,
    asset: Asset,
    amount_raw: U256,
    accounts: BTreeSet<Address>,
}

/// The spender that took from most accounts; of equals the one with the lowest address.
fn widest(pulls: &[Pull]) -> Option<Drain> {
    let mut drains: BTreeMap<Address, Drain> = BTreeMap::new();
    for pull in pulls {
        let drain = drains.entry(pull.spender).or_insert_with(|| Drain {
            contract: pull.contract,
            spender: pull.spender,
            account: pull.account,
            asset: pull.asset,
            amount_raw: U256::ZERO,
            accounts: BTreeSet::new(),
        });
        drain.accounts.insert(pull.account);
        if drain.asset == pull.asset {
            drain.amount_raw = drain.amount_raw.saturating_add(pull.amount_raw);
        }
    }
    drains
        .into_values()
        .reduce(|most, next| if next.accounts.len() > most.accounts.len() { next } else { most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use alloy_primitives::{B256, Bytes};
    use cordon_model::execution::Log;

    fn judged(execution: &Execution) -> Vec<Finding> {
        AllowanceDrainConfig::default().build().inspect(&World::protocol(), execution)
    }

    /// The sender's contract calls the protected vault with `words`, and the vault does `inside`.
    fn used(words: &[Address], inside: impl FnOnce(&mut Script)) -> Script {
        let mut script = World::new().script();
        let arguments = words.iter().flat_map(|word| argument(*word));
        let input: Vec<u8> = selector(1).into_iter().chain(arguments).collect();
        script.frame(FrameKind::Call, LENDING_VAULT, &input, inside);
        script
    }

    fn pulled(words: &[Address]) -> Script {
        used(words, |script| script.pull(USD, BOB, CONTROLLER, wad(9)))
    }

    fn score(script: Script) -> Option<u16> {
        judged(&script.finish(&[])).first().map(|finding| finding.score.0)
    }

    #[test]
    fn coins_pulled_from_an_account_that_the_sender_chose_are_a_finding() {
        let findings = judged(&pulled(&[BOB]).finish(&[]));
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        let expected = Evidence::AllowanceDrain {
            spender: LENDING_VAULT,
            account: BOB,
            accounts: 1,
            asset: USD,
            amount_raw: wad(9),
            dictated: false,
        };
        assert_eq!((finding.score, finding.contract), (SCORE, LENDING_VAULT));
        assert_eq!((finding.class, &finding.evidence), (AttackClass::AllowanceDrain, &expected));
    }

    /// The vault makes whatever call it is given, and the given call stands unaligned in the calldata.
    fn dictated(also: impl FnOnce(&mut Script)) -> Script {
        let call = Script::transfer_from(BOB, CONTROLLER, wad(9));
        let input = [selector(1).as_slice(), &[0; 64], &[0, 0, 7], &call].concat();
        let mut script = World::new().script();
        script.frame(FrameKind::Call, LENDING_VAULT, &input, |script| {
            script.pull(USD, BOB, CONTROLLER, wad(9));
            also(script);
        });
        script
    }

    #[test]
    fn a_pull_that_the_sender_wrote_himself_opens_an_incident_alone() {
        assert_eq!(score(dictated(|_| {})), Some(SCORE_DICTATED.0));
        let given = dictated(|script| script.transfer(COIN, COLLATERAL_VAULT, BOB, wad(1)));
        assert_eq!(score(given), Some(SCORE_DICTATED.0), "what he was given does not excuse it");
    }

    #[test]
    fn an_account_that_the_sender_did_not_choose_is_the_contracts_own_business() {
        assert_eq!(score(pulled(&[])), None);
        assert_eq!(score(pulled(&[CHILD])), None);
        let own = used(&[ALICE], |script| script.pull(USD, ALICE, LENDING_VAULT, wad(9)));
        assert_eq!(score(own), None, "a deposit of the sender's");
    }

    #[test]
    fn a_sweep_by_whom_the_account_allowed_is_not_told_from_phishing() {
        let mut sweep = World::new().script();
        sweep.pull(USD, BOB, CONTROLLER, wad(9));
        assert_eq!(score(sweep), None);
    }

    #[test]
    fn who_is_paid_to_execute_a_payment_gains_nothing_by_it() {
        let payment = used(&[BOB, CHILD], |script| script.pull(USD, BOB, CHILD, wad(9)));
        assert_eq!(score(payment), None);
    }

    /// The benign twin: the same pull, for an order that its owner signed or that pays him.
    #[test]
    fn an_account_that_agreed_or_was_paid_is_no_bystander() {
        let signed = used(&[BOB], |script| {
            recover(script, BOB);
            script.pull(USD, BOB, CONTROLLER, wad(9));
        });
        assert_eq!(score(signed), None);
        let paid = used(&[BOB], |script| {
            script.pull(USD, BOB, CONTROLLER, wad(9));
            script.transfer(COIN, COLLATERAL_VAULT, BOB, wad(1));
        });
        assert_eq!(score(paid), None);
        let mut item = pulled(&[BOB]).finish(&[]);
        item.logs.push(item_to(BOB));
        assert_eq!(judged(&item), []);
    }

    fn recover(script: &mut Script, signer: Address) {
        script.frame(FrameKind::StaticCall, ECRECOVER, &[1; 128], |_| {});
        if let Some(frame) = script.execution.frames.last_mut() {
            frame.output = Bytes::copy_from_slice(&argument(signer));
        }
    }

    fn item_to(holder: Address) -> Log {
        let transfer = alloy_primitives::keccak256("Transfer(address,address,uint256)");
        let topics =
            vec![transfer, COLLATERAL_VAULT.into_word(), holder.into_word(), B256::with_last_byte(7)];
        Log { seq: 90, frame: 0, address: COIN_TOKEN, topics, data: Bytes::new() }
    }

    #[test]
    fn wallets_with_code_agree_by_answering_or_by_having_it_pulled() {
        let answers = |script: &mut Script| {
            script.frame(FrameKind::StaticCall, BOB, &[1; 68], |_| {});
            if let Some(frame) = script.execution.frames.last_mut() {
                frame.output = Bytes::copy_from_slice(&[0x16; 32]);
            }
        };
        let answered = used(&[BOB], |script| {
            answers(script);
            script.pull(USD, BOB, CONTROLLER, wad(9));
        });
        assert_eq!(score(answered), None);
        let mut own = World::new().script();
        own.frame(FrameKind::Call, BOB, &[1; 68], |script| {
            script.call(LENDING_VAULT, 1, |script| script.pull(USD, BOB, CONTROLLER, wad(9)));
        });
        own.frame(FrameKind::Call, CHILD, &[&[0; 4], &argument(BOB)[..]].concat(), |_| {});
        assert_eq!(score(own), None);
    }

    /// Hostile input: all that a thief can do by himself to make his victim look like a party.
    #[test]
    fn the_sender_cannot_make_a_bystander_agree() {
        let mut dust = pulled(&[BOB]);
        dust.transfer(COIN, CONTROLLER, BOB, wad(1));
        assert_eq!(score(dust), Some(300), "dust from the sender");
        let mut replayed = pulled(&[BOB]);
        recover(&mut replayed, BOB);
        assert_eq!(score(replayed), Some(300), "an old signature that the sender checks himself");
        let mut called = pulled(&[BOB]);
        called.call(BOB, 1, |_| {});
        assert_eq!(score(called), Some(300), "a call of the victim");
        let elsewhere = used(&[BOB], |script| {
            script.call(CHILD, 1, |script| recover(script, BOB));
            script.pull(USD, BOB, CONTROLLER, wad(9));
        });
        assert_eq!(score(elsewhere), Some(300), "a signature that nobody on the way asked for");
    }

    #[test]
    fn what_was_undone_or_moved_nothing_is_no_pull() {
        let nothing = used(&[BOB], |script| script.pull(USD, BOB, CONTROLLER, U256::ZERO));
        assert_eq!(score(nothing), None);
        let cut = Execution { frames: Vec::new(), ..pulled(&[BOB]).finish(&[]) };
        assert_eq!(judged(&cut), [], "a record without its calls");
    }
}
