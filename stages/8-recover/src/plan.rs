//! Recovery as plans: a claim contract that is deployed and funded, and a protocol that is opened again.
//!
//! In: an allocation with its claim tree, and the accounts that act. Out: `Plan`s whose effects anybody can ask on chain.
//! The claim contract is taken to answer `root()`, `token()` and `isClaimed(address)` and to pay through
//! `claim(address,uint256,bytes32[])`, as `contracts/src/MerkleClaim.sol` does. Must never: fund a contract with another
//! sum than its claims add up to, or open what is not known to be closed.

use alloy_primitives::{Address, B256, Bytes, Selector, U256};
use alloy_sol_types::SolValue;
use cordon_model::allocation::{Allocation, Claim, ClaimTree};
use cordon_model::execution::ViewCall;
use cordon_model::plan::{Call, Check, Expectation, Plan, Purpose, Step, Undo};
use cordon_model::units::{Asset, ChainId, IncidentId};

/// `root()` of the claim contract.
const ROOT: Selector = Selector::new([0xeb, 0xf0, 0xc7, 0x17]);
/// `token()` of the claim contract.
const TOKEN: Selector = Selector::new([0xfc, 0x0c, 0x54, 0x6a]);
/// `isClaimed(address)` of the claim contract.
const IS_CLAIMED: Selector = Selector::new([0x8c, 0xc0, 0x80, 0x25]);
/// `claim(address,uint256,bytes32[])` of the claim contract.
const CLAIM: Selector = Selector::new([0x3d, 0x13, 0xf8, 0x74]);
/// `balanceOf(address)` of ERC-20.
const BALANCE_OF: Selector = Selector::new([0x70, 0xa0, 0x82, 0x31]);
/// `transfer(address,uint256)` of ERC-20.
const TRANSFER: Selector = Selector::new([0xa9, 0x05, 0x9c, 0xbb]);
/// `paused()` of OpenZeppelin `Pausable`.
const PAUSED: Selector = Selector::new([0x5c, 0x97, 0x5a, 0xbb]);
/// `pause()` by the convention of OpenZeppelin's wizard; the library itself names no public function.
const PAUSE: Selector = Selector::new([0x84, 0x56, 0xcb, 0x59]);
/// `unpause()` by the same convention.
const UNPAUSE: Selector = Selector::new([0x3f, 0x4b, 0xa8, 0x3a]);

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Only tokens are paid out by a claim contract.
    #[error("the allocation is in {asset}, expected an ERC-20 token")]
    NotAToken {
        /// Asset of the allocation.
        asset: Asset,
    },
    /// The tree was made of another allocation.
    #[error("the claims add up to {claims_raw}, the allocation pays {allocated_raw}")]
    Mismatch {
        /// Sum of the claims, raw; the largest number where it does not fit 256 bits.
        claims_raw: U256,
        /// Sum of the entitlements, raw; the largest number where it does not fit 256 bits.
        allocated_raw: U256,
    },
    /// There is nothing to deploy.
    #[error("the claim contract's init code is empty")]
    NoInitCode,
    /// There is nothing to open.
    #[error("a reopening names no contract to unpause")]
    NothingToOpen,
}

/// What a reimbursement is made of.
#[derive(Debug, Clone)]
pub struct Reimbursement<'a> {
    /// Incident.
    pub incident: IncidentId,
    /// Chain.
    pub chain_id: ChainId,
    /// Who is owed what.
    pub allocation: &'a Allocation,
    /// The same as a tree.
    pub tree: &'a ClaimTree,
    /// Account that deploys the claim contract.
    pub deployer: Address,
    /// Address that the claim contract will have: `deployer.create(nonce)` of the deploying transaction.
    pub claim_contract: Address,
    /// Init code of the claim contract, constructor arguments included.
    pub init_code: Bytes,
    /// Account that holds the funds.
    pub treasury: Address,
    /// Steps that put the books in order first, for instance writing off the attacker's debt.
    pub books: Vec<Step>,
}

/// The plan that makes an allocation claimable: books, deployment, funding.
///
/// # Errors
/// [`PlanError`] where tree and allocation disagree, the asset is no token, or there is no code.
pub fn reimbursement(order: Reimbursement<'_>) -> Result<Plan, PlanError> {
    let Asset::Token(token) = order.allocation.asset else {
        return Err(PlanError::NotAToken { asset: order.allocation.asset });
    };
    if order.init_code.is_empty() {
        return Err(PlanError::NoInitCode);
    }
    let amount_raw = funding(order.allocation, order.tree)?;
    let title = format!("pay {} accounts {amount_raw} of token {token}", order.tree.claims.len());
    let mut steps = order.books;
    steps.push(deployment(order.deployer, order.claim_contract, order.init_code, token, order.tree.root));
    steps.push(fund(order.treasury, order.claim_contract, token, amount_raw));
    Ok(Plan {
        incident: order.incident,
        purpose: Purpose::Reimburse,
        chain_id: order.chain_id,
        title,
        capability: None,
        attempt: 0,
        steps,
    })
}

fn funding(allocation: &Allocation, tree: &ClaimTree) -> Result<U256, PlanError> {
    let claims = tree.claims.iter().try_fold(U256::ZERO, |sum, claim| sum.checked_add(claim.amount_raw));
    let allocated = allocation.total_paid_raw();
    match (claims, allocated) {
        (Some(claims_raw), Some(allocated_raw)) if claims_raw == allocated_raw => Ok(claims_raw),
        (claims, allocated) => Err(PlanError::Mismatch {
            claims_raw: claims.unwrap_or(U256::MAX),
            allocated_raw: allocated.unwrap_or(U256::MAX),
        }),
    }
}

fn deployment(deployer: Address, contract: Address, init_code: Bytes, token: Address, root: B256) -> Step {
    let effects = vec![
        check(format!("the claim contract {contract} holds the root {root}"), contract, ROOT, root),
        check(format!("the claim contract {contract} pays in {token}"), contract, TOKEN, token.into_word()),
    ];
    let why = "an unfunded claim contract holds nothing and is abandoned by not funding it".to_owned();
    Step {
        name: format!("deploy the claim contract at {contract}"),
        from: deployer,
        call: Call { to: None, value_wei: U256::ZERO, data: init_code },
        preconditions: vec![],
        effects,
        undo: Undo::NoUndo { why },
    }
}

fn fund(treasury: Address, contract: Address, token: Address, amount_raw: U256) -> Step {
    let data = call_data(TRANSFER, &(contract, amount_raw).abi_encode_params());
    let why = "what is in the claim contract belongs to the claimants until its deadline".to_owned();
    Step {
        name: format!("fund the claim contract with {amount_raw}"),
        from: treasury,
        call: Call { to: Some(token), value_wei: U256::ZERO, data },
        preconditions: vec![holds(token, treasury, amount_raw)],
        effects: vec![holds(token, contract, amount_raw)],
        undo: Undo::NoUndo { why },
    }
}

/// The call by which anybody pays a claim to its account.
#[must_use]
pub fn claim_call(claim_contract: Address, claim: &Claim) -> Call {
    let arguments = (claim.account, claim.amount_raw, claim.proof.clone()).abi_encode_params();
    Call { to: Some(claim_contract), value_wei: U256::ZERO, data: call_data(CLAIM, &arguments) }
}

/// The check that an account has been paid by the claim contract.
#[must_use]
pub fn claimed(claim_contract: Address, account: Address) -> Check {
    let view =
        ViewCall { target: claim_contract, input: call_data(IS_CLAIMED, account.into_word().as_slice()) };
    let expect = Expectation::Returns(word(true));
    Check { what: format!("the claim of {account} is paid"), view, expect }
}

/// What a reopening is made of.
#[derive(Debug, Clone)]
pub struct Reopening {
    /// Incident.
    pub incident: IncidentId,
    /// Chain.
    pub chain_id: ChainId,
    /// Contracts to open, in this order.
    pub unpauses: Vec<Unpause>,
    /// What must hold before anything is opened: the fix is in place, the claims are funded.
    pub preconditions: Vec<Check>,
}

/// One contract to open again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpause {
    /// The paused contract.
    pub target: Address,
    /// Name for people.
    pub name: String,
    /// Account that may unpause it.
    pub authority: Address,
    /// Account that may pause it again, where it is known.
    pub pauser: Option<Address>,
}

/// The plan that opens contracts again. Each step asks the preconditions anew, and that the contract is paused: a
/// contract that somebody else has opened in the meantime is a surprise, not a success.
///
/// # Errors
/// [`PlanError::NothingToOpen`] where no contract is named.
pub fn reopening(order: Reopening) -> Result<Plan, PlanError> {
    if order.unpauses.is_empty() {
        return Err(PlanError::NothingToOpen);
    }
    let names: Vec<&str> = order.unpauses.iter().map(|unpause| unpause.name.as_str()).collect();
    let title = format!("reopen {}", names.join(", "));
    let steps = order.unpauses.iter().map(|unpause| unpause_step(unpause, &order.preconditions)).collect();
    Ok(Plan {
        incident: order.incident,
        purpose: Purpose::Reopen,
        chain_id: order.chain_id,
        title,
        capability: None,
        attempt: 0,
        steps,
    })
}

fn unpause_step(unpause: &Unpause, preconditions: &[Check]) -> Step {
    let paused = |paused: bool| Check {
        what: format!("paused() of {} is {paused}", unpause.name),
        view: ViewCall { target: unpause.target, input: call_data(PAUSED, &[]) },
        expect: Expectation::Returns(word(paused)),
    };
    let call = |selector: Selector| Call {
        to: Some(unpause.target),
        value_wei: U256::ZERO,
        data: call_data(selector, &[]),
    };
    let mut before = vec![paused(true)];
    before.extend_from_slice(preconditions);
    Step {
        name: format!("unpause {}", unpause.name),
        from: unpause.authority,
        call: call(UNPAUSE),
        preconditions: before,
        effects: vec![paused(false)],
        undo: Undo::Call { from: unpause.pauser, call: call(PAUSE) },
    }
}

fn check(what: String, target: Address, selector: Selector, answer: B256) -> Check {
    let view = ViewCall { target, input: call_data(selector, &[]) };
    Check { what, view, expect: Expectation::Returns(Bytes::from(answer.to_vec())) }
}

fn holds(token: Address, account: Address, amount_raw: U256) -> Check {
    let view = ViewCall { target: token, input: call_data(BALANCE_OF, account.into_word().as_slice()) };
    let what = format!("{account} holds at least {amount_raw} of {token}");
    Check { what, view, expect: Expectation::AtLeast(amount_raw) }
}

fn call_data(selector: Selector, arguments: &[u8]) -> Bytes {
    [selector.as_slice(), arguments].concat().into()
}

fn word(flag: bool) -> Bytes {
    Bytes::from(flag.abi_encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::claim_tree;
    use alloy_primitives::keccak256;
    use cordon_model::allocation::Entitlement;
    use cordon_model::units::BlockRef;

    const TREASURY: Address = Address::repeat_byte(0x77);
    const COIN: Address = Address::repeat_byte(0xee);

    fn allocation(asset: Asset) -> Allocation {
        let entitlement = |byte: u8, raw: u64| Entitlement {
            account: Address::repeat_byte(byte),
            loss_raw: U256::from(raw),
            amount_raw: U256::from(raw),
        };
        Allocation {
            asset,
            method: "pro-rata/1".to_owned(),
            snapshot: BlockRef { number: 1, hash: B256::ZERO },
            funds_raw: U256::from(12),
            total_loss_raw: U256::from(12),
            entitlements: vec![entitlement(1, 5), entitlement(2, 7)],
            dust_raw: U256::ZERO,
        }
    }

    fn order<'a>(allocation: &'a Allocation, tree: &'a ClaimTree) -> Reimbursement<'a> {
        Reimbursement {
            incident: IncidentId::derive(&["i"]),
            chain_id: ChainId(1),
            allocation,
            tree,
            deployer: TREASURY,
            claim_contract: Address::repeat_byte(0xcc),
            init_code: Bytes::from_static(&[0x60]),
            treasury: TREASURY,
            books: vec![],
        }
    }

    #[test]
    fn selectors_are_those_of_their_signatures() {
        let signatures = [
            (ROOT, "root()"),
            (TOKEN, "token()"),
            (IS_CLAIMED, "isClaimed(address)"),
            (CLAIM, "claim(address,uint256,bytes32[])"),
            (BALANCE_OF, "balanceOf(address)"),
            (TRANSFER, "transfer(address,uint256)"),
            (PAUSED, "paused()"),
            (PAUSE, "pause()"),
            (UNPAUSE, "unpause()"),
        ];
        for (selector, signature) in signatures {
            assert_eq!(selector.as_slice(), &keccak256(signature)[..4], "{signature}");
        }
    }

    #[test]
    fn a_reimbursement_deploys_and_funds_exactly_the_claims() {
        let allocation = allocation(Asset::Token(COIN));
        let tree = claim_tree(&allocation).unwrap();
        let plan = reimbursement(order(&allocation, &tree)).unwrap();
        assert_eq!(plan.purpose, Purpose::Reimburse);
        assert_eq!(plan.steps.len(), 2);
        assert!(plan.steps.iter().all(|step| !step.effects.is_empty()));

        let (deploy, fund) = (&plan.steps[0], &plan.steps[1]);
        assert_eq!(deploy.call.to, None);
        assert_eq!(deploy.effects[0].expect, Expectation::Returns(Bytes::from(tree.root.to_vec())));
        assert_eq!(fund.call.to, Some(COIN));
        assert_eq!(fund.call.data[36..], U256::from(12).to_be_bytes::<32>());
        assert_eq!(fund.effects[0].expect, Expectation::AtLeast(U256::from(12)));
    }

    #[test]
    fn a_tree_of_another_allocation_is_refused() {
        let allocation = allocation(Asset::Token(COIN));
        let mut tree = claim_tree(&allocation).unwrap();
        tree.claims.pop();
        let error = reimbursement(order(&allocation, &tree)).unwrap_err();
        assert!(matches!(error, PlanError::Mismatch { .. }), "{error}");
    }

    #[test]
    fn native_coin_and_missing_code_are_refused() {
        let native = allocation(Asset::Native);
        let tree = claim_tree(&native).unwrap();
        let error = reimbursement(order(&native, &tree)).unwrap_err();
        assert_eq!(error.to_string(), "the allocation is in native, expected an ERC-20 token");

        let coin = allocation(Asset::Token(COIN));
        let empty = Reimbursement { init_code: Bytes::new(), ..order(&coin, &tree) };
        assert_eq!(reimbursement(empty).unwrap_err(), PlanError::NoInitCode);
    }

    #[test]
    fn a_claim_is_encoded_as_solidity_expects() {
        let claim = Claim {
            account: Address::repeat_byte(1),
            amount_raw: U256::from(5),
            proof: vec![B256::repeat_byte(9)],
        };
        let data = claim_call(COIN, &claim).data;
        // Selector, account, amount, offset of the proof, its length, one hash.
        assert_eq!(data.len(), 4 + 5 * 32);
        assert_eq!(data[4 + 64..4 + 96], U256::from(96).to_be_bytes::<32>());
        assert_eq!(data[4 + 96..4 + 128], U256::from(1).to_be_bytes::<32>());
        assert!(claimed(COIN, claim.account).expect.holds(Some(&word(true))));
    }

    #[test]
    fn a_reopening_asks_that_it_is_paused_and_can_be_undone() {
        let fixed = check("the fix is in place".to_owned(), COIN, TOKEN, B256::ZERO);
        let unpause = Unpause {
            target: COIN,
            name: "vault".to_owned(),
            authority: TREASURY,
            pauser: Some(Address::repeat_byte(5)),
        };
        let (incident, chain_id) = (IncidentId::derive(&["i"]), ChainId(1));
        let opening =
            |unpauses| Reopening { incident, chain_id, unpauses, preconditions: vec![fixed.clone()] };
        let plan = reopening(opening(vec![unpause])).unwrap();
        let step = &plan.steps[0];
        assert_eq!(step.preconditions[0].what, "paused() of vault is true");
        assert_eq!(step.preconditions[1], fixed);
        assert_eq!(step.effects[0].expect, Expectation::Returns(Bytes::from(vec![0; 32])));
        assert!(matches!(&step.undo, Undo::Call { from: Some(_), call } if call.data[..] == PAUSE[..]));
        assert_eq!(reopening(opening(vec![])).unwrap_err(), PlanError::NothingToOpen);
    }
}
