//! What can be wrong with a node's traces.
//!
//! In: failures of the request and of its answer. Out: typed errors that name the method and the place in the answer.

use alloy_transport::TransportError;

/// Traces that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The node does not offer the method.
    #[error(
        "{method}: the node does not offer it (\"{answer}\"); a node with the debug API, and for old blocks with their state, is needed"
    )]
    NotOffered {
        /// Method, and tracer where one was named.
        method: &'static str,
        /// The node's words.
        answer: String,
    },
    /// The node refused or could not be reached.
    #[error("{method}: the node's request failed")]
    Node {
        /// Method, and tracer where one was named.
        method: &'static str,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// The node did not answer in time.
    #[error("{method}: the node gave no answer within {timeout_ms} ms")]
    Timeout {
        /// Method, and tracer where one was named.
        method: &'static str,
        /// How long it was waited for.
        timeout_ms: u64,
    },
    /// The answer is larger than what is read.
    #[error("{method}: the answer has {bytes} bytes, at most {max} are read")]
    TooLarge {
        /// Method, and tracer where one was named.
        method: &'static str,
        /// Size of the answer.
        bytes: usize,
        /// Bound.
        max: usize,
    },
    /// The answer does not have the form of a trace, or is not the trace of this block.
    #[error("{method}: {place}: {reason}")]
    Malformed {
        /// Method, and tracer where one was named.
        method: &'static str,
        /// Where in the answer, as a path.
        place: String,
        /// What was found or expected.
        reason: String,
    },
    /// The thread that reads deep traces could not be started.
    #[error("the thread that reads traces could not be started")]
    Thread(#[source] std::io::Error),
}
