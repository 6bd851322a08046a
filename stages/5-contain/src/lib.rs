//! Plan -> Receipt: the only stage that can sign.
//!
//! In: an approved [`Plan`](cordon_model::plan::Plan), a lane of the log, a node. Out: signed transactions on chain,
//! and lane events that tell what became of them. There is one way to a signature: [`gate::Gate::authorize`] checks
//! the rules and records the intent in one exclusive commit, the [`signer::Signer`] takes nothing but the
//! [`gate::Authorized`] that only the gate can make, and the [`sender::Sender`] records each signature before it
//! leaves the process. So whatever is interrupted, a step never gets a second nonce and is mined at most once.
//!
//! This crate must never decide that something is to be done. It executes what the incident's log says was chosen
//! and approved, and refuses everything else by name.

pub mod authority;
pub mod fees;
pub mod gate;
mod journal;
pub mod keystore;
pub mod lane;
pub mod levers;
pub mod node;
pub mod rule;
pub mod sender;
pub mod signer;
pub mod verify;

pub use authority::{Authority, CallGrant, PlanGrant};
pub use fees::{FeePolicy, FeeRefused, Fees, Market};
pub use gate::{Authorized, Gate, Stamp, StepRequest};
pub use journal::LaneError;
pub use keystore::{KeystoreError, KeystoreSigner, PasswordSource, create_keystore};
pub use lane::Lane;
pub use levers::{Lever, Probe, ProbeState};
pub use node::NodeError;
pub use rule::{Refused, Rule};
pub use sender::{Delivery, HeldWhy, LaneUpdate, SendError, SendPolicy, Sender, Submitted};
pub use signer::{SignError, SignedEnvelope, Signer};
pub use verify::{VerifyError, verify_effects};
