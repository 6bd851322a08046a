//! What the operator lets Cordon sign.
//!
//! In: the configuration and the decisions of people. Out: [`Authority`], a list that is empty unless somebody
//! filled it. Must never grant more than is written in it: an unknown call, a creation or a value transfer is
//! covered by nothing but a plan that a person approved.

use alloy_primitives::{Address, Selector, U256};
use cordon_model::plan::Call;
use cordon_model::protocol::{Capability, Grant};
use cordon_model::units::{ChainId, PlanHash};

use crate::levers;
use crate::rule::Rule;

/// Permission for one function of one contract, in any plan that the policy approves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallGrant {
    /// Contract.
    pub target: Address,
    /// Function.
    pub selector: Selector,
    /// Most native coin that may be sent along, wei. Zero for every pause.
    pub value_max_wei: U256,
}

/// Permission for one whole plan, which a person approved by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanGrant {
    /// The plan.
    pub plan: PlanHash,
    /// Most native coin that each of its steps may send along, wei.
    pub value_max_wei: U256,
}

/// Everything that one account may sign on one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Chain.
    pub chain_id: ChainId,
    /// Account whose key is held.
    pub account: Address,
    /// Functions that may be called without a person.
    pub calls: Vec<CallGrant>,
    /// Plans that a person approved outside the log.
    pub plans: Vec<PlanGrant>,
    /// Where set, a plan whose approval in the log was written by a person is covered too, with at most this much
    /// native coin per step, wei.
    pub people_value_max_wei: Option<U256>,
}

impl Authority {
    /// An authority that grants nothing.
    #[must_use]
    pub fn new(chain_id: ChainId, account: Address) -> Self {
        Self { chain_id, account, calls: Vec::new(), plans: Vec::new(), people_value_max_wei: None }
    }

    /// Adds one function.
    #[must_use]
    pub fn with_call(mut self, grant: CallGrant) -> Self {
        self.calls.push(grant);
        self
    }

    /// Adds one plan.
    #[must_use]
    pub fn with_plan(mut self, grant: PlanGrant) -> Self {
        self.plans.push(grant);
        self
    }

    /// Lets the approvals of people in the log count, with at most this much native coin per step, wei.
    #[must_use]
    pub fn with_people(mut self, value_max_wei: U256) -> Self {
        self.people_value_max_wei = Some(value_max_wei);
        self
    }

    /// Adds the pulling calls of those levers that the operator granted for automatic use and that this account may
    /// pull. Undoing a lever is never granted this way.
    #[must_use]
    pub fn with_levers<'a>(mut self, capabilities: impl IntoIterator<Item = &'a Capability>) -> Self {
        for capability in capabilities {
            if capability.grant == Grant::Automatic && capability.authority == self.account {
                self.calls.extend(levers::adapter(capability.adapter).grants(capability));
            }
        }
        self
    }

    /// Whether a call of a plan is covered.
    pub(crate) fn covers(&self, plan: PlanHash, call: &Call, approved_by_person: bool) -> Result<(), Rule> {
        let selector = call.data.get(..4).and_then(|bytes| Selector::try_from(bytes).ok());
        let functions = self
            .calls
            .iter()
            .filter(|grant| call.to == Some(grant.target) && selector == Some(grant.selector))
            .map(|grant| grant.value_max_wei);
        let plans = self.plans.iter().filter(|grant| grant.plan == plan).map(|grant| grant.value_max_wei);
        let people = self.people_value_max_wei.filter(|_| approved_by_person);
        match functions.chain(plans).chain(people).max() {
            None => Err(Rule::CallGranted { target: call.to, selector }),
            Some(limit_wei) if call.value_wei > limit_wei => {
                Err(Rule::ValueWithinGrant { value_wei: call.value_wei, limit_wei })
            }
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{B256, Bytes};
    use cordon_model::protocol::LeverKind;
    use cordon_model::units::CapabilityId;

    const VAULT: Address = Address::repeat_byte(0xaa);
    const GUARDIAN: Address = Address::repeat_byte(0xbb);
    const PAUSE: [u8; 4] = [0x84, 0x56, 0xcb, 0x59];
    const UNPAUSE: [u8; 4] = [0x3f, 0x4b, 0xa8, 0x3a];
    const PLAN: PlanHash = PlanHash(B256::repeat_byte(7));

    fn call(to: Option<Address>, data: &[u8], value_wei: u64) -> Call {
        Call { to, value_wei: U256::from(value_wei), data: Bytes::copy_from_slice(data) }
    }

    fn lever(grant: Grant) -> Capability {
        Capability {
            id: CapabilityId("pause".to_owned()),
            adapter: LeverKind::Pausable,
            target: VAULT,
            authority: GUARDIAN,
            undo_authority: None,
            grant,
        }
    }

    fn nothing() -> Authority {
        Authority::new(ChainId(1), GUARDIAN)
    }

    #[test]
    fn an_automatic_lever_covers_its_pull_and_nothing_else() {
        let authority = nothing().with_levers(&[lever(Grant::Automatic)]);
        assert_eq!(authority.covers(PLAN, &call(Some(VAULT), &PAUSE, 0), false), Ok(()));
        let elsewhere = call(Some(GUARDIAN), &PAUSE, 0);
        for refused in
            [call(Some(VAULT), &UNPAUSE, 0), elsewhere, call(None, &PAUSE, 0), call(Some(VAULT), &[], 0)]
        {
            assert!(matches!(authority.covers(PLAN, &refused, false), Err(Rule::CallGranted { .. })));
        }
        let paying = authority.covers(PLAN, &call(Some(VAULT), &PAUSE, 1), false);
        assert_eq!(paying, Err(Rule::ValueWithinGrant { value_wei: U256::from(1), limit_wei: U256::ZERO }));
    }

    #[test]
    fn a_lever_without_grant_or_of_another_account_covers_nothing() {
        let pause = call(Some(VAULT), &PAUSE, 0);
        assert!(nothing().with_levers(&[lever(Grant::ObserveOnly)]).covers(PLAN, &pause, false).is_err());
        let other = Capability { authority: VAULT, ..lever(Grant::Automatic) };
        assert!(nothing().with_levers(&[other]).covers(PLAN, &pause, false).is_err());
    }

    #[test]
    fn a_person_covers_a_whole_plan_up_to_a_value() {
        let (creation, payment) = (call(None, &[0x60], 0), call(Some(VAULT), &[], 5));
        let by_hash = nothing().with_plan(PlanGrant { plan: PLAN, value_max_wei: U256::ZERO });
        assert_eq!(by_hash.covers(PLAN, &creation, false), Ok(()));
        assert!(by_hash.covers(PLAN, &payment, false).is_err());
        assert!(by_hash.covers(PlanHash(B256::ZERO), &creation, false).is_err());
        let by_people = nothing().with_people(U256::from(5));
        assert_eq!(by_people.covers(PLAN, &payment, true), Ok(()));
        assert!(by_people.covers(PLAN, &payment, false).is_err());
        assert!(nothing().covers(PLAN, &creation, true).is_err());
    }
}
