//! What a bad node, balancer or network does to one answer.
//!
//! In: a sound answer. Out: the bytes that the client gets instead, if any. Each kind is one that hosted nodes show.

use alloy_primitives::B256;
use serde_json::{Value, json};

/// One way in which one request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The connection ends before the node saw the request.
    Dropped,
    /// The node did what was asked, and the connection ends before its answer.
    AnswerDropped,
    /// The answer is late.
    Late,
    /// There is never an answer.
    Silent,
    /// The body ends before its stated length.
    Truncated,
    /// The body is whole as HTTP, and half as JSON.
    HalfJson,
    /// `null` where there is something.
    Null,
    /// The answer carries the id of another request.
    OtherId,
    /// The answer to an earlier request comes again.
    Stale,
    /// A page for people, with status 200.
    Page,
    /// A JSON-RPC error that says "later".
    LimitError,
    /// A JSON-RPC error that says nothing.
    InternalError,
    /// Status 429.
    TooMany,
    /// Status 429 with a wish for when to come back.
    TooManyRetryAfter,
    /// Status 500.
    Internal,
    /// Status 502 with a balancer's page.
    BadGateway,
    /// Status 503.
    Unavailable,
}

pub(crate) const FAULTS: [Fault; 17] = [
    Fault::Dropped,
    Fault::AnswerDropped,
    Fault::Late,
    Fault::Silent,
    Fault::Truncated,
    Fault::HalfJson,
    Fault::Null,
    Fault::OtherId,
    Fault::Stale,
    Fault::Page,
    Fault::LimitError,
    Fault::InternalError,
    Fault::TooMany,
    Fault::TooManyRetryAfter,
    Fault::Internal,
    Fault::BadGateway,
    Fault::Unavailable,
];

/// A page as balancers send it.
const PAGE: &str = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";

/// An answer as it goes out.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: &'static str,
    /// Length that is stated.
    pub(crate) length: usize,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn sound(body: Vec<u8>) -> Self {
        Self { status: "200 OK", headers: "", length: body.len(), body }
    }

    fn refusal(status: &'static str, headers: &'static str, body: &str) -> Self {
        Self { status, headers, length: body.len(), body: body.as_bytes().to_vec() }
    }
}

/// What becomes of an answer whose connection lives; `earlier` is the answer to an earlier request.
pub(crate) fn distort(fault: Fault, sound: &[u8], earlier: Option<&[u8]>) -> Answer {
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(sound).unwrap();
        // In a batch one part goes wrong and the others are sound.
        match value.as_array_mut() {
            Some(parts) => parts.first_mut().into_iter().for_each(edit),
            None => edit(&mut value),
        }
        Answer::sound(value.to_string().into_bytes())
    };
    let error = |code: i64, message: &str| {
        let refuse = |answer: &Value| {
            let error = json!({ "code": code, "message": message });
            json!({ "jsonrpc": "2.0", "id": answer["id"], "error": error })
        };
        let answer: Value = serde_json::from_slice(sound).unwrap();
        let refused = match answer.as_array() {
            Some(parts) => parts.iter().map(refuse).collect(),
            None => refuse(&answer),
        };
        Answer::sound(refused.to_string().into_bytes())
    };
    match fault {
        Fault::Truncated => {
            Answer { length: sound.len(), ..Answer::sound(sound[..sound.len() / 2].to_vec()) }
        }
        Fault::HalfJson => Answer::sound(sound[..sound.len() / 2].to_vec()),
        Fault::Null => edited(&|value| value["result"] = Value::Null),
        Fault::OtherId => edited(&|value| value["id"] = json!(value["id"].as_u64().unwrap_or(0) + 7)),
        Fault::Stale => Answer::sound(earlier.unwrap_or_default().to_vec()),
        Fault::Page => Answer::refusal("200 OK", "", PAGE),
        Fault::LimitError => error(-32005, "limit exceeded"),
        Fault::InternalError => error(-32603, "internal error"),
        Fault::TooMany => Answer::refusal("429 Too Many Requests", "", "slow down"),
        Fault::TooManyRetryAfter => {
            Answer::refusal("429 Too Many Requests", "retry-after: 2\r\n", "slow down")
        }
        Fault::Internal => Answer::refusal("500 Internal Server Error", "", "oops"),
        Fault::BadGateway => Answer::refusal("502 Bad Gateway", "", PAGE),
        Fault::Unavailable => Answer::refusal("503 Service Unavailable", "retry-after: 1\r\n", ""),
        Fault::Dropped | Fault::AnswerDropped | Fault::Late | Fault::Silent => Answer::sound(sound.to_vec()),
    }
}

/// A false answer about a block or a receipt, which looks sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lie {
    /// A field of the header is another.
    ChangedField,
    /// The stated hash is another.
    ForgedHash,
    /// Transactions are missing.
    MissingTransactions,
    /// A transaction has another input.
    ChangedTransaction,
    /// It is another block.
    OtherBlock,
    /// A receipt of a transaction of another block.
    OtherReceipt,
}

pub(crate) const BLOCK_LIES: [Lie; 5] =
    [Lie::ChangedField, Lie::ForgedHash, Lie::MissingTransactions, Lie::ChangedTransaction, Lie::OtherBlock];

/// Tells the lie about the block or receipt in a sound answer; `other` is a true answer about something else. `None`
/// where there is nothing to lie about.
pub(crate) fn lie(lie: Lie, sound: &[u8], other: Option<Value>) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(sound).unwrap();
    let result = value.get_mut("result").filter(|result| result.is_object())?;
    match lie {
        Lie::ChangedField => result["gasUsed"] = json!("0x5208"),
        Lie::ForgedHash => result["hash"] = json!(B256::repeat_byte(0x5a)),
        Lie::MissingTransactions => {
            result["transactions"].as_array_mut().filter(|list| !list.is_empty())?.clear();
        }
        Lie::ChangedTransaction => {
            let list = result["transactions"].as_array_mut()?;
            list.first_mut().filter(|tx| tx.is_object())?["input"] = json!("0x");
        }
        Lie::OtherBlock | Lie::OtherReceipt => *result = other.filter(Value::is_object)?,
    }
    Some(value.to_string().into_bytes())
}
