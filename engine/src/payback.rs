//! Recovery: who lost what, who is owed what, and the plans that pay and reopen.
//!
//! In: an incident that is fixed, the vault whose shares lost value, the funds at hand. Out: an [`Allocation`] with its
//! claim tree, recorded in the incident, and plans. Losses are a difference of states: the shares that each account
//! holds now, at the rate just before the attack and at the rate after the books are put in order. Must never: take a
//! number from anywhere else than the chain.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::journal::Entry;
use crate::respond::attack_transactions;
use alloy_primitives::{Address, B256, Bytes, U256, b256};
use alloy_provider::Provider;
use alloy_rpc_types_eth::{Filter, TransactionInput, TransactionRequest};
use alloy_sol_types::SolValue;
use cordon_model::allocation::{Allocation, ClaimTree};
use cordon_model::execution::{ViewCall, word};
use cordon_model::incident::IncidentEvent;
use cordon_model::plan::{Check, Plan, Step};
use cordon_model::protocol::convert_to_assets;
use cordon_model::units::{Asset, BlockRef, IncidentId};
use cordon_recover::{AllocationInput, Losses, Method, Reimbursement, Reopening, Unpause};
use std::collections::{BTreeMap, BTreeSet};

/// `Transfer(address,address,uint256)` of ERC-20.
pub(crate) const TRANSFER_TOPIC: B256 =
    b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// `balanceOf(address)` of ERC-20.
const BALANCE_OF: [u8; 4] = [0x70, 0xa0, 0x82, 0x31];

/// Everything that a reimbursement needs besides the incident.
#[derive(Debug, Clone)]
pub struct PaybackOrder {
    /// ERC-4626 vault whose shares lost value.
    pub vault: Address,
    /// Its asset, in which losses are counted and paid.
    pub asset: Address,
    /// First block in which shares could move.
    pub since_block: u64,
    /// Steps that put the books in order, such as writing off debt that nobody will repay.
    pub books: Vec<Step>,
    /// Account that deploys the claim contract and holds the funds.
    pub treasury: Address,
    /// Funds at hand, raw.
    pub funds_raw: U256,
    /// Init code of the claim contract (`contracts/src/MerkleClaim.sol`), without its constructor arguments.
    pub claim_code: Bytes,
    /// Last second at which claims are paid, Unix time.
    pub claim_deadline_s: u64,
}

/// What is settled.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Losses, gains and those left out.
    pub losses: Losses,
    /// Who is owed what.
    pub allocation: Allocation,
    /// The same as claims.
    pub tree: ClaimTree,
    /// Contract that pays them, once deployed.
    pub claim_contract: Address,
}

impl Engine {
    /// Settles who is owed what, records it, and chooses the plan that pays.
    ///
    /// # Errors
    /// [`EngineError`] where the chain cannot be read, nobody lost anything, or the arithmetic does not add up.
    pub async fn settle(
        &mut self,
        id: IncidentId,
        order: &PaybackOrder,
    ) -> Result<(Settlement, Plan), EngineError> {
        let Some((incident, protocol)) = self.known(id) else {
            let expected = "an incident of this log and a protocol of this configuration".to_owned();
            return Err(EngineError::Argument { what: "incident", found: id.to_string(), expected });
        };
        let attack = attack_transactions(&incident);
        let snapshot = self.block_before_attack(attack.first().map(|tx| tx.block)).await?;
        let holders = self.share_holders(order).await?;
        let (before, after) = self.values(order, &protocol, &holders, snapshot).await?;
        let excluded = |account: &Address| {
            let suspect = incident.findings.iter().any(|finding| finding.suspects.contains(account));
            if suspect {
                Some("acted in the attack")
            } else {
                protocol.protects(*account).then_some("part of the protocol")
            }
        };
        let exclude: BTreeMap<Address, String> =
            holders.keys().filter_map(|account| Some((*account, excluded(account)?.to_owned()))).collect();
        let losses = cordon_recover::losses(&before, &after, &exclude);
        let recovery = |error: &dyn std::fmt::Display| EngineError::Recovery(error.to_string());
        let input = AllocationInput {
            asset: Asset::Token(order.asset),
            snapshot,
            losses: &losses,
            funds_raw: order.funds_raw,
        };
        let allocation = Method::ProRata.allocate(&input).map_err(|error| recovery(&error))?;
        let tree = cordon_recover::claim_tree(&allocation).map_err(|error| recovery(&error))?;
        let claim_contract = self.next_contract(order).await?;
        let plan = cordon_recover::reimbursement(Reimbursement {
            incident: id,
            chain_id: self.chain_id,
            allocation: &allocation,
            tree: &tree,
            deployer: order.treasury,
            claim_contract,
            init_code: claim_init_code(order, tree.root),
            treasury: order.treasury,
            books: order.books.clone(),
        })
        .map_err(|error| recovery(&error))?;
        let settled = IncidentEvent::AllocationSettled {
            allocation: Box::new(allocation.clone()),
            merkle_root: tree.root,
        };
        let rationale = "pays what was settled, after the books are put in order".to_owned();
        let chosen = IncidentEvent::PlanChosen { plan: Box::new(plan.clone()), rationale };
        let entries = vec![
            Entry::by("recover", "computed from the difference of two states", settled),
            Entry::by("recover", "follows from the allocation", chosen),
        ];
        self.record(id, entries).await?;
        Ok((Settlement { losses, allocation, tree, claim_contract }, plan))
    }

    /// Chooses the plan that opens the system again, for a person to approve.
    ///
    /// # Errors
    /// [`EngineError`] where nothing is to be opened or the log cannot be written.
    pub async fn plan_reopening(
        &mut self,
        incident: IncidentId,
        unpauses: Vec<Unpause>,
        preconditions: Vec<Check>,
    ) -> Result<Plan, EngineError> {
        let order = Reopening { incident, chain_id: self.chain_id, unpauses, preconditions };
        let plan =
            cordon_recover::reopening(order).map_err(|error| EngineError::Recovery(error.to_string()))?;
        let rationale = "the cause is removed and the claims are funded".to_owned();
        let chosen = IncidentEvent::PlanChosen { plan: Box::new(plan.clone()), rationale };
        self.record(incident, vec![Entry::by("recover", "everything that must come first is done", chosen)])
            .await?;
        Ok(plan)
    }

    /// Chooses any plan that a person wants carried out, for approval.
    ///
    /// # Errors
    /// [`EngineError`] where the plan does not fit the incident or the log cannot be written.
    pub async fn choose(&mut self, plan: &Plan, person: &str, rationale: &str) -> Result<(), EngineError> {
        let (chosen, rationale) = (Box::new(plan.clone()), rationale.to_owned());
        let event = IncidentEvent::PlanChosen { plan: chosen, rationale: rationale.clone() };
        self.record(plan.incident, vec![Entry::person(person, rationale, event)]).await
    }

    /// Records claims that the chain shows as paid.
    ///
    /// # Errors
    /// [`EngineError`] where a payment differs from the allocation.
    pub async fn record_claims(
        &mut self,
        id: IncidentId,
        paid: &[(Address, U256, B256)],
    ) -> Result<(), EngineError> {
        let event = |(account, amount_raw, tx_hash): &(Address, U256, B256)| {
            let event =
                IncidentEvent::ClaimPaid { account: *account, amount_raw: *amount_raw, tx_hash: *tx_hash };
            Entry::by("recover", "the claim contract's log shows the payment", event)
        };
        self.record(id, paid.iter().map(event).collect()).await
    }

    async fn block_before_attack(&self, first: Option<BlockRef>) -> Result<BlockRef, EngineError> {
        let number = first.and_then(|block| block.number.checked_sub(1));
        let Some(number) = number else {
            return Err(EngineError::Recovery("the incident has no finding".to_owned()));
        };
        let node = |source| EngineError::Node { what: format!("block {number}"), source };
        let block = self.provider.get_block_by_number(number.into()).await.map_err(node)?;
        let missing = || EngineError::Recovery(format!("the node does not have block {number}"));
        let block = block.ok_or_else(missing)?;
        Ok(BlockRef { number, hash: block.header.hash })
    }

    /// Every account that ever received shares and still holds some.
    async fn share_holders(&self, order: &PaybackOrder) -> Result<BTreeMap<Address, U256>, EngineError> {
        let filter =
            Filter::new().address(order.vault).event_signature(TRANSFER_TOPIC).from_block(order.since_block);
        let node = |source| EngineError::Node { what: "transfers of shares".to_owned(), source };
        let logs = self.provider.get_logs(&filter).await.map_err(node)?;
        let receivers: BTreeSet<Address> = logs
            .iter()
            .filter_map(|log| log.topics().get(2).map(|topic| Address::from_word(*topic)))
            .collect();
        let mut holders = BTreeMap::new();
        for account in receivers.into_iter().filter(|account| !account.is_zero()) {
            let shares = self.ask(&balance_of(order.vault, account), None).await?;
            if !shares.is_zero() {
                holders.insert(account, shares);
            }
        }
        Ok(holders)
    }

    /// Value of each holder's shares before the attack and after the books are in order.
    async fn values(
        &self,
        order: &PaybackOrder,
        protocol: &cordon_model::protocol::Protocol,
        holders: &BTreeMap<Address, U256>,
        snapshot: BlockRef,
    ) -> Result<(BTreeMap<Address, U256>, BTreeMap<Address, U256>), EngineError> {
        let trials = self.trials(protocol);
        let Some(head) = self.history.head() else {
            return Err(EngineError::Recovery("no block has been seen yet".to_owned()));
        };
        let mut settled = trials.fork(head)?;
        for step in &order.books {
            let execution = settled.call(step.from, &step.call).await?;
            if let Some(reason) = trials.failure(&execution) {
                return Err(EngineError::Recovery(format!("step '{}' fails on a fork: {reason}", step.name)));
            }
        }
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        for (account, shares) in holders {
            let question = convert_to_assets(order.vault, *shares);
            before.insert(*account, self.ask(&question, Some(snapshot)).await?);
            let answer = settled.view(&question).await?.as_ref().and_then(word);
            after.insert(*account, answer.ok_or_else(|| no_answer(&question))?);
        }
        Ok((before, after))
    }

    /// The address of the contract that the treasury creates after the book-keeping steps.
    async fn next_contract(&self, order: &PaybackOrder) -> Result<Address, EngineError> {
        let node = |source| EngineError::Node { what: "nonce of the treasury".to_owned(), source };
        let nonce = self.provider.get_transaction_count(order.treasury).await.map_err(node)?;
        let own = order.books.iter().filter(|step| step.from == order.treasury).count();
        Ok(order.treasury.create(nonce.saturating_add(u64::try_from(own).unwrap_or(u64::MAX))))
    }

    /// Asks a view that answers one number, at a block or at the newest one.
    pub(crate) async fn ask(&self, question: &ViewCall, at: Option<BlockRef>) -> Result<U256, EngineError> {
        let input = TransactionInput::new(question.input.clone());
        let request = TransactionRequest { input, ..TransactionRequest::default() }.to(question.target);
        let call = self.provider.call(request);
        let call = match at {
            Some(block) => call.block(block.hash.into()),
            None => call,
        };
        let node = |source| EngineError::Node { what: format!("view of {}", question.target), source };
        let answer = call.await.map_err(node)?;
        word(&answer).ok_or_else(|| no_answer(question))
    }
}

/// Init code of the claim contract: token, root, deadline, and who gets what nobody claims.
fn claim_init_code(order: &PaybackOrder, root: B256) -> Bytes {
    if order.claim_code.is_empty() {
        return Bytes::new();
    }
    let arguments =
        (order.asset, root, U256::from(order.claim_deadline_s), order.treasury).abi_encode_params();
    [order.claim_code.as_ref(), &arguments].concat().into()
}

fn no_answer(question: &ViewCall) -> EngineError {
    EngineError::Recovery(format!("{} gives no number for {}", question.target, question.input))
}

/// The question `balanceOf(account)` to a token.
pub(crate) fn balance_of(token: Address, account: Address) -> ViewCall {
    let mut input = BALANCE_OF.to_vec();
    input.extend_from_slice(account.into_word().as_slice());
    ViewCall { target: token, input: Bytes::from(input) }
}
