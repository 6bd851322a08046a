//! The upgrade of a UUPS proxy (OpenZeppelin v5) as a plan.
//!
//! In: the candidate, where it will be deployed, who may upgrade, and a view that only the fixed code answers as
//! expected. Out: a `Plan` of two steps: deploy, then `upgradeToAndCall`. Must never: rely on `eth_call` to read the
//! implementation slot, which it cannot, or plan an upgrade whose effect nobody can ask afterwards.

use crate::artifact::Artifact;
use alloy_primitives::{Address, B256, Bytes, Selector, U256, b256};
use alloy_sol_types::SolValue;
use cordon_model::execution::ViewCall;
use cordon_model::plan::{Call, Check, Expectation, Plan, Purpose, Step, Undo};
use cordon_model::units::{ChainId, IncidentId};

/// Slot of the implementation's address in a proxy (ERC-1967): `keccak256("eip1967.proxy.implementation") - 1`.
pub const ERC1967_IMPLEMENTATION_SLOT: B256 =
    b256!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");

/// `upgradeToAndCall(address,bytes)` of `UUPSUpgradeable` v5.
const UPGRADE_TO_AND_CALL: Selector = Selector::new([0x4f, 0x1e, 0xf2, 0x86]);
/// `proxiableUUID()` (ERC-1822). It answers on the implementation alone and reverts through a proxy.
const PROXIABLE_UUID: Selector = Selector::new([0x52, 0xd1, 0x90, 0x2d]);

/// Why there is no upgrade plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// Nobody could tell afterwards whether the upgrade took effect.
    #[error("the upgrade of proxy {proxy} names no effect, expected a view that only the fixed code answers")]
    NoEffect {
        /// The proxy.
        proxy: Address,
    },
    /// The candidate cannot be upgraded again, and `upgradeToAndCall` would refuse it.
    #[error("candidate '{candidate}' has no function {missing}, which a UUPS implementation must have")]
    NotUpgradeable {
        /// Name of the candidate.
        candidate: String,
        /// The missing function.
        missing: &'static str,
    },
    /// The upgrade would change nothing.
    #[error("the new implementation {implementation} is the one that runs already")]
    SameImplementation {
        /// The address.
        implementation: Address,
    },
}

/// What an upgrade is made of.
#[derive(Debug, Clone)]
pub struct UpgradeOrder<'a> {
    /// Incident.
    pub incident: IncidentId,
    /// Chain.
    pub chain_id: ChainId,
    /// Proxy to upgrade.
    pub proxy: Address,
    /// Account that deploys and upgrades.
    pub upgrader: Address,
    /// The fixed implementation.
    pub candidate: &'a Artifact,
    /// Its ABI-encoded constructor arguments.
    pub constructor_arguments: Bytes,
    /// Address it will have; see [`implementation_address`].
    pub implementation: Address,
    /// Implementation that runs now, to return to.
    pub old_implementation: Address,
    /// Calldata that the proxy runs on the new code within the upgrade, for instance a reinitialiser; may be empty.
    pub setup: Bytes,
    /// What must hold before the upgrade.
    pub preconditions: Vec<Check>,
    /// What must hold after it, asked of the proxy; at least one.
    pub effects: Vec<Check>,
}

/// Address of a contract that `deployer` creates with the transaction of this nonce.
#[must_use]
pub fn implementation_address(deployer: Address, nonce: u64) -> Address {
    deployer.create(nonce)
}

/// A check that tells the candidate from the live code: a getter without arguments that only the candidate has, asked
/// through the proxy. `None` where there is no such getter, or where the live code would answer anything in its
/// fallback and the caller must name a better effect.
#[must_use]
pub fn distinguishing_check(live: &Artifact, candidate: &Artifact, proxy: Address) -> Option<Check> {
    if live.has_fallback {
        return None;
    }
    let getter = candidate.getters.iter().find(|getter| !live.functions.contains_key(*getter))?;
    let selector = candidate.functions.get(getter)?;
    let view = ViewCall { target: proxy, input: Bytes::from(selector.to_vec()) };
    let what =
        format!("{getter} answers, which {} has and {} has not", candidate.contract_name, live.contract_name);
    Some(Check { what, view, expect: Expectation::AtLeast(U256::ZERO) })
}

/// The plan: deploy the implementation, then point the proxy to it.
///
/// Going back is a call that the plan carries. It restores the code, not what the setup call wrote, and a
/// reinitialiser does not run a second time.
///
/// # Errors
/// [`UpgradeError`] where no effect is named, the candidate is not a UUPS implementation, or nothing would change.
pub fn upgrade_plan(order: UpgradeOrder<'_>) -> Result<Plan, UpgradeError> {
    if order.effects.is_empty() {
        return Err(UpgradeError::NoEffect { proxy: order.proxy });
    }
    if order.implementation == order.old_implementation {
        return Err(UpgradeError::SameImplementation { implementation: order.implementation });
    }
    for (selector, missing) in
        [(UPGRADE_TO_AND_CALL, "upgradeToAndCall(address,bytes)"), (PROXIABLE_UUID, "proxiableUUID()")]
    {
        if !order.candidate.functions.values().any(|known| *known == selector) {
            let candidate = order.candidate.contract_name.clone();
            return Err(UpgradeError::NotUpgradeable { candidate, missing });
        }
    }
    let title = format!("upgrade proxy {} to {}", order.proxy, order.candidate.contract_name);
    let (incident, chain_id) = (order.incident, order.chain_id);
    let steps = vec![deploy(&order), upgrade(order)];
    Ok(Plan { incident, purpose: Purpose::Eradicate, chain_id, title, capability: None, attempt: 0, steps })
}

fn deploy(order: &UpgradeOrder<'_>) -> Step {
    let data = order.candidate.creation_code(&order.constructor_arguments);
    let why = "deployed code stays; nothing refers to it before the upgrade".to_owned();
    Step {
        name: format!("deploy {} at {}", order.candidate.contract_name, order.implementation),
        from: order.upgrader,
        call: Call { to: None, value_wei: U256::ZERO, data },
        preconditions: order.preconditions.clone(),
        effects: vec![is_implementation(order.implementation)],
        undo: Undo::NoUndo { why },
    }
}

fn upgrade(order: UpgradeOrder<'_>) -> Step {
    let mut preconditions = vec![is_implementation(order.implementation)];
    preconditions.extend(order.preconditions);
    let undo = upgrade_call(order.proxy, order.old_implementation, Bytes::new());
    Step {
        name: format!("point proxy {} to {}", order.proxy, order.implementation),
        from: order.upgrader,
        call: upgrade_call(order.proxy, order.implementation, order.setup),
        preconditions,
        effects: order.effects,
        undo: Undo::Call { from: Some(order.upgrader), call: undo },
    }
}

/// The call by which the upgrader points a UUPS proxy to another implementation.
#[must_use]
pub fn upgrade_call(proxy: Address, implementation: Address, setup: Bytes) -> Call {
    let arguments = (implementation, setup).abi_encode_params();
    let data = [UPGRADE_TO_AND_CALL.as_slice(), &arguments].concat().into();
    Call { to: Some(proxy), value_wei: U256::ZERO, data }
}

/// `upgradeToAndCall` makes the same check and reverts where it fails; asking first keeps that from costing time.
fn is_implementation(implementation: Address) -> Check {
    let view = ViewCall { target: implementation, input: Bytes::from(PROXIABLE_UUID.to_vec()) };
    Check {
        what: format!("{implementation} is a UUPS implementation"),
        view,
        expect: Expectation::Returns(Bytes::from(ERC1967_IMPLEMENTATION_SLOT.to_vec())),
    }
}
