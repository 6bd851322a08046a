//! What a request may do, and what an answer is worth.
//!
//! In: method names, and answers or errors of a node. Out: whether a request may be repeated elsewhere, and whether
//! another node should be asked. Pure. It must never let a request be repeated that changes something, nor take the
//! result of an execution for a fault of the node.

use alloy_json_rpc::{
    ErrorPayload, RequestPacket, ResponsePacket, ResponsePayload, RpcError, SerializedRequest,
};
use alloy_primitives::{Bytes, U64, keccak256};
use alloy_transport::layers::{RateLimitRetryPolicy, RetryPolicy as _};
use alloy_transport::{TransportError, TransportErrorKind, TransportResult};
use serde_json::value::{RawValue, to_raw_value};
use std::time::Duration;

/// JSON-RPC 2.0: the method does not exist.
const METHOD_NOT_FOUND: i64 = -32_601;

/// What Ethereum's clients say of a method that they do not offer, where they do not use the code for it.
const UNSUPPORTED: [&str; 4] =
    ["method not found", "does not exist/is not available", "method not supported", "unsupported method"];

/// What Ethereum's clients say of a block or of state that they do not have: geth, Erigon, Nethermind, Besu, Reth and
/// anvil, in this order.
const LACKING: [&str; 14] = [
    "header not found",
    "unknown block",
    "missing trie node",
    "block not found",
    "state not available",
    "state is not available",
    "historical state",
    "no state available",
    "could not find block",
    "pruned",
    "world state unavailable",
    "block is not available",
    "header for hash not found",
    "blockoutofrange",
];

/// HTTP status: too many requests.
const STATUS_TOO_MANY_REQUESTS: u16 = 429;

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It changes nothing and means the same at every node: it may be asked anywhere, also twice.
    Read,
    /// A signed transaction: it may go to every node, because its hash is the same everywhere.
    Send,
    /// It changes something or lives at one node (filters, signing accounts, test nodes): it is asked once.
    Bound,
}

/// What a packet may do: what the least harmless of its requests does.
pub(crate) fn kind(packet: &RequestPacket) -> Kind {
    let kinds = || packet.method_names().map(kind_of);
    if kinds().all(|kind| kind == Kind::Read) {
        Kind::Read
    } else if kinds().all(|kind| kind == Kind::Send) {
        Kind::Send
    } else {
        Kind::Bound
    }
}

fn kind_of(method: &str) -> Kind {
    match method {
        "eth_sendRawTransaction" => Kind::Send,
        "eth_getFilterChanges" | "eth_getFilterLogs" => Kind::Bound,
        "eth_call"
        | "eth_estimateGas"
        | "eth_chainId"
        | "eth_blockNumber"
        | "eth_gasPrice"
        | "eth_feeHistory"
        | "eth_maxPriorityFeePerGas"
        | "eth_blobBaseFee"
        | "eth_createAccessList"
        | "eth_simulateV1"
        | "eth_syncing"
        | "eth_config"
        | "web3_clientVersion"
        | "net_version" => Kind::Read,
        _ if ["eth_get", "debug_trace", "debug_getRaw", "trace_"]
            .iter()
            .any(|start| method.starts_with(start)) =>
        {
            Kind::Read
        }
        _ => Kind::Bound,
    }
}

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It is the answer, a failed execution included.
    Good,
    /// The node does not have what was asked for; another one may.
    Lacks,
    /// The node does not offer the method.
    Unsupported,
    /// The node asks to be left alone, for so long.
    Limited(Option<Duration>),
    /// There is no answer, or none that can be read.
    Failed,
    /// The request cannot be sent at all, to nobody.
    Unsendable,
}

/// What an answer is worth. `newest` is the newest block that another node named.
pub(crate) fn worth(
    requests: &RequestPacket,
    outcome: &TransportResult<ResponsePacket>,
    newest: Option<u64>,
) -> Worth {
    match outcome {
        Err(error) => worth_of_error(error),
        Ok(packet) if packet.responses().len() < requests.len() => Worth::Failed,
        Ok(packet) => {
            let worst = packet.responses().iter().map(|response| match &response.payload {
                ResponsePayload::Failure(error) => worth_of_refusal(error),
                ResponsePayload::Success(text) if text.get().trim() == "null" => {
                    let asked = requests.requests().iter().find(|request| *request.id() == response.id);
                    if asked.is_some_and(|request| should_exist(request, newest)) {
                        Worth::Lacks
                    } else {
                        Worth::Good
                    }
                }
                ResponsePayload::Success(_) => Worth::Good,
            });
            worst.max_by_key(|worth| severity(*worth)).unwrap_or(Worth::Good)
        }
    }
}

fn severity(worth: Worth) -> u8 {
    match worth {
        Worth::Good => 0,
        Worth::Lacks => 1,
        Worth::Unsupported => 2,
        Worth::Limited(_) => 3,
        Worth::Failed => 4,
        Worth::Unsendable => 5,
    }
}

fn worth_of_refusal(error: &ErrorPayload) -> Worth {
    let message = error.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    // First: alloy counts "header not found" among the errors to retry at the same node.
    if says(&LACKING) {
        Worth::Lacks
    } else if is_unsupported(error) {
        Worth::Unsupported
    } else if error.is_retry_err() || message.contains("limit exceeded") {
        Worth::Limited(RateLimitRetryPolicy::default().backoff_hint(&RpcError::ErrorResp(error.clone())))
    } else {
        Worth::Good
    }
}

/// Whether the node says that it does not offer the method.
pub(crate) fn is_unsupported(error: &ErrorPayload) -> bool {
    let message = error.message.to_lowercase();
    error.code == METHOD_NOT_FOUND || UNSUPPORTED.iter().any(|words| message.contains(words))
}

fn worth_of_error(error: &TransportError) -> Worth {
    match error {
        RpcError::ErrorResp(payload) => worth_of_refusal(payload),
        RpcError::SerError(_) | RpcError::UnsupportedFeature(_) => Worth::Unsendable,
        RpcError::LocalUsageError(_) => Worth::Unsendable,
        RpcError::Transport(kind) if is_limit(kind) => Worth::Limited(kind.retry_after()),
        RpcError::DeserError { .. } if RateLimitRetryPolicy::default().should_retry(error) => {
            Worth::Limited(None)
        }
        RpcError::Transport(_) | RpcError::DeserError { .. } | RpcError::NullResp => Worth::Failed,
    }
}

fn is_limit(kind: &TransportErrorKind) -> bool {
    kind.retry_after().is_some()
        || kind.as_http_error().is_some_and(|http| http.status == STATUS_TOO_MANY_REQUESTS)
}

/// Whether null is strange: the block is named by its hash, or by a number that another node reached.
fn should_exist(request: &SerializedRequest, newest: Option<u64>) -> bool {
    match request.method() {
        "eth_getBlockByHash" | "eth_getBlockReceipts" => true,
        "eth_getBlockByNumber" => {
            let number = number(request);
            number.zip(newest).is_some_and(|(number, newest)| number <= newest)
        }
        _ => false,
    }
}

/// The first parameter, where it is a number.
fn number(request: &SerializedRequest) -> Option<u64> {
    first_param::<U64>(request).map(|number| number.to())
}

fn first_param<T: serde::de::DeserializeOwned>(request: &SerializedRequest) -> Option<T> {
    let params: Vec<Box<RawValue>> = serde_json::from_str(request.params()?.get()).ok()?;
    serde_json::from_str(params.first()?.get()).ok()
}

/// The number in an answer to `eth_blockNumber`.
pub(crate) fn head_in(requests: &RequestPacket, packet: &ResponsePacket) -> Option<u64> {
    let request = requests.as_single().filter(|request| request.method() == "eth_blockNumber")?;
    let response = packet.as_single().filter(|response| response.id == *request.id())?;
    let text = response.payload.as_success()?;
    serde_json::from_str::<U64>(text.get()).ok().map(|number| number.to())
}

/// Takes "I have it already" for what it is: the transaction is in the pool. The answer is then its hash.
pub(crate) fn accept_known(requests: &RequestPacket, packet: &mut ResponsePacket) {
    let responses = match packet {
        ResponsePacket::Single(response) => std::slice::from_mut(response),
        ResponsePacket::Batch(responses) => responses.as_mut_slice(),
    };
    for response in responses {
        let Some(request) = requests.requests().iter().find(|request| *request.id() == response.id) else {
            continue;
        };
        let known = response.payload.as_error().is_some_and(is_known);
        if known
            && let Some(bytes) = first_param::<Bytes>(request)
            && let Ok(hash) = to_raw_value(&keccak256(&bytes))
        {
            response.payload = ResponsePayload::Success(hash);
        }
    }
}

/// The words of geth and its kin, Nethermind, Erigon, Besu and older clients.
fn is_known(error: &ErrorPayload) -> bool {
    let message = error.message.to_lowercase();
    let words = ["already known", "alreadyknown", "known transaction", "already imported", "already in pool"];
    words.iter().any(|word| message.contains(word))
}

#[cfg(test)]
mod tests;
