//! ChainUpdate -> Execution: every transaction executed again under the rules of its own block.
//!
//! In: blocks, and the state they ran on (a witness that travels with the block, or a node that is asked lazily).
//! Out: plain [`Execution`](cordon_model::execution::Execution)s, the differences from what the header and the
//! receipts state, and [`Fork`]s on which a question "what if" is answered before anything is sent.
//!
//! Where our own EVM does not know a chain's rules, a node's traces are turned into the same executions ([`Traced`]).
//!
//! This is the only stage with an EVM. Must never: let a type of the EVM implementation out, read missing state as
//! zero, or hand out a cut record without its `truncated` flag.

mod ahead;
mod attack_state;
mod bench;
mod block_run;
mod bloom;
mod error;
mod machine;
pub mod measure;
mod named;
mod op_stack;
mod protocol;
mod recorder;
mod replay;
mod rules;
mod state;
mod traced;
mod transfers;
mod verify;
mod watch;
mod what_if;

pub use ahead::ReadAhead;
pub use attack_state::{AttackState, AttackStateError};
pub use bench::{Lap, Prepared};
pub use block_run::{BlockReplay, Mismatch};
pub use error::{ReplayError, RulesError, StateError};
pub use machine::{MAX_VIEWS, VIEW_GAS_LIMIT, warm_up};
pub use recorder::bounds::{MAX_ACCESSES, MAX_DATA_BYTES, MAX_FRAMES, MAX_LOGS, MAX_TRANSFERS};
pub use replay::{Replayer, replay_witness};
pub use rules::Rules;
pub use state::ReadStats;
pub use traced::{
    TraceError, Traced, read_block_facts, read_call_tree, read_history_block, read_reproduction,
};
pub use verify::{Totals, verify};
pub use watch::{Interest, Views, Watch, ask, no_views};
pub use what_if::{Case, Fork, MAX_WHAT_IF_THREADS, Outcome, what_if, what_if_on};
