//! Observers: what nodes and beacon APIs say about the chain as such, for the monitors.
//!
//! In: nodes of an Ethereum-like chain and, where there is one, a beacon API. Out: the parts of an
//! [`Observation`](cordon_model::network::observation::Observation) that they could tell. A part that fails is absent
//! and said once in the log, and once when it is back. Must never: fail as a whole, stop anything, wait without end, or
//! repeat a word of a node or of its url; faults are told in words of our own.

mod beacon;
mod node;

pub use beacon::{BeaconObserver, BeaconUrlError};
pub use node::{NodeObserver, NodeObserverConfig};

use std::fmt;

/// How long a part that a node does not offer is left alone, seconds. Nodes are upgraded rarely; ten minutes cost six
/// requests an hour instead of one per look.
const NOT_OFFERED_PAUSE_S: u64 = 600;

/// Why a part could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The node does not know the method, or the contract the function.
    NotOffered,
    /// The node refused, with this code.
    Refused(i64),
    /// No answer within the limit.
    Late,
    /// No connection, or one that broke.
    Unreachable,
    /// An HTTP status other than success.
    Status(u16),
    /// More bytes than such an answer has.
    TooLarge,
    /// Another shape than such an answer has.
    Malformed,
    /// The node answered that there is none.
    Nothing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => f.write_str("it is not offered"),
            Self::Refused(code) => write!(f, "the node refused with code {code}"),
            Self::Late => f.write_str("no answer in time"),
            Self::Unreachable => f.write_str("no connection"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::TooLarge => f.write_str("the answer is too large"),
            Self::Malformed => f.write_str("the answer has another shape"),
            Self::Nothing => f.write_str("the node has none"),
        }
    }
}

/// One part of an observation, and whether it could be read last time.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    /// `None` before the first look.
    last: Option<Result<(), Fault>>,
    asked_again_at_s: u64,
}

/// What a look changed about a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Same,
    Broke(Fault),
    Recovered,
}

impl Part {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), last: None, asked_again_at_s: 0 }
    }

    /// False while a part that is not offered is left alone.
    pub(crate) fn is_due(&self, at_s: u64) -> bool {
        at_s >= self.asked_again_at_s
    }

    /// Takes note of an outcome and says in the log what changed.
    pub(crate) fn settle<T>(&mut self, node: &str, at_s: u64, outcome: Result<T, Fault>) -> Option<T> {
        let part = self.name.as_str();
        let state = outcome.as_ref().map(drop).map_err(|fault| *fault);
        match turn(self.last, state) {
            Turn::Broke(fault) => {
                tracing::warn!(node, part, %fault, "part of the chain's health is not seen")
            }
            Turn::Recovered => tracing::info!(node, part, "part of the chain's health is seen again"),
            Turn::Same => {}
        }
        self.last = Some(state);
        if state == Err(Fault::NotOffered) {
            self.asked_again_at_s = at_s.saturating_add(NOT_OFFERED_PAUSE_S);
        }
        outcome.ok()
    }
}

/// A part breaks when it was fine or new, and recovers when it was broken. Another fault of a broken part is no news: a
/// node that is overloaded alternates between them.
fn turn(last: Option<Result<(), Fault>>, now: Result<(), Fault>) -> Turn {
    match (last, now) {
        (None | Some(Ok(())), Err(fault)) => Turn::Broke(fault),
        (Some(Err(_)), Ok(())) => Turn::Recovered,
        (None | Some(Ok(())), Ok(())) | (Some(Err(_)), Err(_)) => Turn::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_told_of_when_it_breaks_and_when_it_is_back() {
        let late = Err(Fault::Late);
        assert_eq!(turn(None, Ok(())), Turn::Same);
        assert_eq!(turn(None, late), Turn::Broke(Fault::Late));
        assert_eq!(turn(Some(Ok(())), late), Turn::Broke(Fault::Late));
        assert_eq!(turn(Some(late), Err(Fault::Status(503))), Turn::Same);
        assert_eq!(turn(Some(late), Ok(())), Turn::Recovered);
        assert_eq!(turn(Some(Ok(())), Ok(())), Turn::Same);
    }

    #[test]
    fn what_is_not_offered_is_left_alone_for_a_while_and_what_failed_is_not() {
        let mut part = Part::new("txpool_status");
        assert_eq!(part.settle::<u64>("node", 1_000, Err(Fault::NotOffered)), None);
        assert!(!part.is_due(1_599) && part.is_due(1_600));
        assert_eq!(part.settle("node", 1_600, Ok(7)), Some(7));
        assert_eq!(part.settle::<u64>("node", 1_601, Err(Fault::Late)), None);
        assert!(part.is_due(1_601));
    }
}
