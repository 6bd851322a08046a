//! The levers that Cordon can pull, in one list.
//!
//! In: a capability that the operator configured. Out: whether it can be pulled now, and the plan that pulls or
//! undoes it. An adapter knows one contract interface. Must never send anything: an adapter asks and plans.

pub mod pausable;

use alloy_provider::DynProvider;
use cordon_model::plan::Plan;
use cordon_model::protocol::{Capability, LeverKind};
use cordon_model::units::{ChainId, IncidentId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::authority::CallGrant;
use crate::node::NodeError;

/// The adapter of a kind of lever. A new kind is one file beside this one and one line here.
#[must_use]
pub fn adapter(kind: LeverKind) -> &'static dyn Lever {
    match kind {
        LeverKind::Pausable => &pausable::Pausable,
    }
}

/// Whether a lever can be pulled now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeState {
    /// Pulling it succeeds on the newest state.
    Ready,
    /// It is pulled already; pulling it again would revert, so a plan leaves it out.
    AlreadyActive,
    /// It cannot be pulled.
    Unavailable {
        /// Why not, for people.
        why: String,
    },
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whether it can be pulled.
    pub state: ProbeState,
    /// Gas that pulling it takes, where it can be pulled and the node could say.
    pub gas_estimate: Option<u64>,
}

/// A boxed future, so that adapters stand in one list.
pub type ProbeFuture<'a> = Pin<Box<dyn Future<Output = Result<Probe, NodeError>> + Send + 'a>>;

/// One contract interface with a way to stop something.
pub trait Lever: Send + Sync + fmt::Debug {
    /// Which kind this is.
    fn kind(&self) -> LeverKind;

    /// The calls that pulling the lever takes, as grants; the undoing calls are not among them.
    fn grants(&self, capability: &Capability) -> Vec<CallGrant>;

    /// Asks the chain whether the authority could pull it now.
    fn probe<'a>(&'a self, provider: &'a DynProvider, capability: &'a Capability) -> ProbeFuture<'a>;

    /// The plan that pulls it.
    fn plan(&self, incident: IncidentId, chain_id: ChainId, capability: &Capability) -> Plan;

    /// The plan that undoes it; `None` where it is not known who may.
    fn undo_plan(&self, incident: IncidentId, chain_id: ChainId, capability: &Capability) -> Option<Plan>;
}
