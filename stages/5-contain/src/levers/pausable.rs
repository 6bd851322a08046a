//! OpenZeppelin `Pausable` behind public `pause()` and `unpause()`.
//!
//! In: a target with `paused()`, `pause()` and `unpause()`. Out: probe and plans. The contract's own functions are
//! internal; the public names are a convention that nearly every project follows, so the probe asks before it trusts.
//! A pause while paused reverts, and so does one by an account without the role; the probe tells the two apart.
//!
//! Must never take `paused()` for containment: that the attack fails is proven by running it on the paused state.
//!
//! Source: `contracts/utils/Pausable.sol` of OpenZeppelin Contracts 5.

use alloy_eips::BlockId;
use alloy_primitives::{Address, Bytes, Selector, U256};
use alloy_provider::{DynProvider, Provider};
use cordon_model::execution::{ViewCall, word};
use cordon_model::plan::{Call, Check, Expectation, Plan, Purpose, Step, Undo};
use cordon_model::protocol::{Capability, LeverKind};
use cordon_model::units::{ChainId, IncidentId};

use crate::authority::CallGrant;
use crate::levers::{Lever, Probe, ProbeFuture, ProbeState};
use crate::node::{self, Answer, NodeError};

/// `pause()`.
pub const PAUSE: Selector = Selector::new([0x84, 0x56, 0xcb, 0x59]);
/// `unpause()`.
pub const UNPAUSE: Selector = Selector::new([0x3f, 0x4b, 0xa8, 0x3a]);
/// `paused()`.
pub const PAUSED: Selector = Selector::new([0x5c, 0x97, 0x5a, 0xbb]);

/// The adapter.
#[derive(Debug, Clone, Copy)]
pub struct Pausable;

impl Lever for Pausable {
    fn kind(&self) -> LeverKind {
        LeverKind::Pausable
    }

    fn grants(&self, capability: &Capability) -> Vec<CallGrant> {
        vec![CallGrant { target: capability.target, selector: PAUSE, value_max_wei: U256::ZERO }]
    }

    fn probe<'a>(&'a self, provider: &'a DynProvider, capability: &'a Capability) -> ProbeFuture<'a> {
        Box::pin(probe(provider, capability))
    }

    fn plan(&self, incident: IncidentId, chain_id: ChainId, capability: &Capability) -> Plan {
        let target = capability.target;
        let step = Step {
            name: format!("pause {target}"),
            from: capability.authority,
            call: plain_call(target, PAUSE),
            preconditions: vec![paused_is(target, false)],
            effects: vec![paused_is(target, true)],
            undo: Undo::Call { from: capability.undo_authority, call: plain_call(target, UNPAUSE) },
        };
        Plan {
            incident,
            purpose: Purpose::Contain,
            chain_id,
            title: format!("pause {target} with lever '{}'", capability.id),
            capability: Some(capability.id.clone()),
            attempt: 0,
            steps: vec![step],
        }
    }

    fn undo_plan(&self, incident: IncidentId, chain_id: ChainId, capability: &Capability) -> Option<Plan> {
        let target = capability.target;
        let step = Step {
            name: format!("unpause {target}"),
            from: capability.undo_authority?,
            call: plain_call(target, UNPAUSE),
            preconditions: vec![paused_is(target, true)],
            effects: vec![paused_is(target, false)],
            undo: Undo::Call { from: Some(capability.authority), call: plain_call(target, PAUSE) },
        };
        Some(Plan {
            incident,
            purpose: Purpose::Reopen,
            chain_id,
            title: format!("unpause {target} with lever '{}'", capability.id),
            capability: Some(capability.id.clone()),
            attempt: 0,
            steps: vec![step],
        })
    }
}

/// Asks `paused()`, and where it is false whether `pause()` by the authority would succeed.
async fn probe(provider: &DynProvider, capability: &Capability) -> Result<Probe, NodeError> {
    let target = capability.target;
    let asked = node::request(None, &plain_call(target, PAUSED));
    let paused = match node::call(provider, asked, BlockId::latest()).await? {
        Answer::Ran(output) => boolean(&output),
        Answer::Reverted(reason) => return Ok(unavailable(format!("paused() reverts: {reason}"))),
    };
    match paused {
        Some(true) => return Ok(Probe { state: ProbeState::AlreadyActive, gas_estimate: None }),
        Some(false) => {}
        None => return no_pausable(provider, target).await,
    }
    let pull = node::request(Some(capability.authority), &plain_call(target, PAUSE));
    if let Answer::Reverted(reason) = node::call(provider, pull.clone(), BlockId::latest()).await? {
        return Ok(unavailable(format!("pause() by {} reverts: {reason}", capability.authority)));
    }
    let gas_estimate = match node::estimate_gas(provider, pull).await? {
        Answer::Ran(gas) => Some(gas),
        Answer::Reverted(_) => None,
    };
    Ok(Probe { state: ProbeState::Ready, gas_estimate })
}

/// Why `paused()` gave no boolean.
async fn no_pausable(provider: &DynProvider, target: Address) -> Result<Probe, NodeError> {
    let code = provider.get_code_at(target).await.map_err(node::failed("reading a contract's code"))?;
    Ok(unavailable(if code.is_empty() {
        format!("there is no contract at {target}")
    } else {
        format!("paused() of {target} does not answer with true or false")
    }))
}

fn unavailable(why: String) -> Probe {
    Probe { state: ProbeState::Unavailable { why }, gas_estimate: None }
}

/// A Solidity boolean: one word that is zero or one.
fn boolean(output: &Bytes) -> Option<bool> {
    match word(output).filter(|_| output.len() == 32)? {
        U256::ZERO => Some(false),
        U256::ONE => Some(true),
        _ => None,
    }
}

fn plain_call(target: Address, selector: Selector) -> Call {
    Call { to: Some(target), value_wei: U256::ZERO, data: Bytes::copy_from_slice(selector.as_slice()) }
}

fn paused_is(target: Address, wanted: bool) -> Check {
    let view = ViewCall { target, input: Bytes::copy_from_slice(PAUSED.as_slice()) };
    let answer = U256::from(u8::from(wanted)).to_be_bytes::<32>();
    Check {
        what: format!("paused() of {target} is {wanted}"),
        view,
        expect: Expectation::Returns(Bytes::copy_from_slice(&answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use cordon_model::protocol::Grant;
    use cordon_model::units::CapabilityId;

    fn capability() -> Capability {
        Capability {
            id: CapabilityId("pause-vault".to_owned()),
            adapter: LeverKind::Pausable,
            target: Address::repeat_byte(1),
            authority: Address::repeat_byte(2),
            undo_authority: Some(Address::repeat_byte(3)),
            grant: Grant::ObserveOnly,
        }
    }

    #[test]
    fn selectors_are_those_of_the_names() {
        for (selector, name) in [(PAUSE, "pause()"), (UNPAUSE, "unpause()"), (PAUSED, "paused()")] {
            assert_eq!(selector.as_slice(), &keccak256(name)[..4], "{name}");
        }
    }

    #[test]
    fn pull_and_undo_mirror_each_other() {
        let incident = IncidentId::derive(&["i"]);
        let pull = Pausable.plan(incident, ChainId(1), &capability());
        let undo = Pausable.undo_plan(incident, ChainId(1), &capability()).unwrap();
        assert_eq!(pull.steps[0].effects, undo.steps[0].preconditions);
        assert_eq!(pull.steps[0].preconditions, undo.steps[0].effects);
        let Undo::Call { from, call } = &pull.steps[0].undo else { panic!("a pause can be undone") };
        assert_eq!((*from, call), (Some(undo.steps[0].from), &undo.steps[0].call));
        let nobody = Capability { undo_authority: None, ..capability() };
        assert!(Pausable.undo_plan(incident, ChainId(1), &nobody).is_none());
    }

    #[test]
    fn only_zero_and_one_are_booleans() {
        let of = |value: u8| boolean(&Bytes::from(U256::from(value).to_be_bytes::<32>()));
        assert_eq!((of(0), of(1), of(2)), (Some(false), Some(true), None));
        assert_eq!((boolean(&Bytes::new()), boolean(&Bytes::from([0u8; 64]))), (None, None));
    }
}
