//! What goes wrong between the engine and the world, request by request and commit by commit.
//!
//! In: a budget of faults drawn from a seed. Out: answers, false answers, errors, and death. Everything is counted, and
//! nothing depends on time, so the same seed meets the same fault at the same request.

use crate::dice::Dice;
use crate::node::Node;
use alloy_json_rpc::{ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload};
use alloy_primitives::B256;
use alloy_transport::{TransportErrorKind, TransportFut};
use cordon_range::{Chain, ChainTransport};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tower::Service as _;

/// Where a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    /// At this request or commit, counted from one.
    pub(crate) at: u64,
    /// At a commit, and not at a request.
    pub(crate) at_commit: bool,
    /// What it was about to do still takes effect, and nobody hears of it.
    pub(crate) after: bool,
}

/// When one process dies, and whether it has.
#[derive(Debug)]
pub(crate) struct Fate {
    death: Option<Death>,
    commits: AtomicU64,
    requests: AtomicU64,
    dead: AtomicBool,
}

impl Fate {
    pub(crate) fn of(death: Option<Death>) -> Arc<Self> {
        let (commits, requests) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { death, commits, requests, dead: AtomicBool::new(false) })
    }

    pub(crate) fn immortal() -> Arc<Self> {
        Self::of(None)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Does something, unless the process is dead or dies now before it; `None` where nobody hears of the outcome.
    fn strike<T>(&self, is_commit: bool, action: impl FnOnce() -> T) -> Option<T> {
        if self.is_dead() {
            return None;
        }
        let counter = if is_commit { &self.commits } else { &self.requests };
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        match self.death.filter(|death| death.at_commit == is_commit && death.at == number) {
            None => Some(action()),
            Some(death) => {
                self.dead.store(true, Ordering::SeqCst);
                if death.after {
                    action();
                }
                None
            }
        }
    }

    pub(crate) fn strike_commit<T>(&self, action: impl FnOnce() -> T) -> Option<T> {
        self.strike(true, action)
    }
}

/// Faults that are still to come.
#[derive(Debug)]
struct Storm {
    dice: Dice,
    left: u64,
    percent: u64,
    /// The answer before this one.
    met: u64,
}

/// The way to the node, shared by all lives.
#[derive(Debug)]
pub(crate) struct Weather {
    chain: Chain,
    storm: Mutex<Storm>,
}

impl Weather {
    pub(crate) fn fair(chain: &Chain) -> Arc<Self> {
        let storm = Storm { dice: Dice::new(0), left: 0, percent: 0, met: 0 };
        Arc::new(Self { chain: chain.clone(), storm: Mutex::new(storm) })
    }

    /// From now on, one in `100 / percent` requests goes wrong until `left` have.
    pub(crate) fn set(&self, dice: Dice, left: u64, percent: u64) {
        let mut storm = self.storm.lock().unwrap();
        *storm = Storm { dice, left, percent, met: storm.met };
    }

    /// How many requests went wrong so far.
    pub(crate) fn met(&self) -> u64 {
        self.storm.lock().unwrap().met
    }

    fn next_fault(&self) -> Option<u64> {
        let mut storm = self.storm.lock().unwrap();
        let percent = storm.percent;
        if storm.left == 0 || !storm.dice.percent(percent) {
            return None;
        }
        storm.left -= 1;
        storm.met += 1;
        Some(storm.dice.below(9))
    }
}

/// The node as one process sees it.
#[derive(Debug, Clone)]
pub(crate) struct StormyNode {
    pub(crate) inner: ChainTransport,
    pub(crate) weather: Arc<Weather>,
    pub(crate) fate: Arc<Fate>,
}

impl Node for StormyNode {
    fn answer(&self, packet: RequestPacket) -> TransportFut<'static> {
        let mut inner = self.inner.clone();
        let asked = packet.as_single().cloned();
        let fault = if self.fate.is_dead() { None } else { self.weather.next_fault() };
        // The range answers when it is asked and not when the answer is waited for.
        if fault == Some(0) {
            return Box::pin(std::future::ready(Err(TransportErrorKind::custom_str("connection reset"))));
        }
        let Some(sound) = self.fate.strike(false, || inner.call(packet)) else {
            return Box::pin(std::future::ready(Err(TransportErrorKind::custom_str("the process is dead"))));
        };
        let chain = self.weather.chain.clone();
        let Some((fault, asked)) = fault.zip(asked) else { return sound };
        Box::pin(async move {
            let ResponsePacket::Single(mut answer) = sound.await? else {
                return Err(TransportErrorKind::custom_str("a batch is lost"));
            };
            match fault {
                1 => return Err(TransportErrorKind::custom_str("the answer is lost")),
                2 => return Err(TransportErrorKind::http_error(503, "<html>busy</html>".to_owned())),
                3 => return Err(TransportErrorKind::http_error(429, "slow down".to_owned())),
                4 => answer.payload = refusal(-32005, "limit exceeded"),
                5 => answer.payload = refusal(-32603, "internal error"),
                6 => answer.payload = success(&Value::Null),
                7 => answer.payload = success(&json!("<html>")),
                _ => tell_lie(&chain, asked.method(), &mut answer),
            }
            Ok(ResponsePacket::Single(answer))
        })
    }
}

fn refusal(code: i64, message: &'static str) -> ResponsePayload {
    ResponsePayload::Failure(ErrorPayload { code, message: message.into(), data: None })
}

fn success(value: &Value) -> ResponsePayload {
    ResponsePayload::Success(serde_json::value::to_raw_value(value).unwrap())
}

/// Says something false about a block or a receipt; where it is about neither, the answer is `null`.
fn tell_lie(chain: &Chain, method: &str, answer: &mut Response) {
    let value = answer.payload.as_success().and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let told = match (method, value) {
        ("eth_getBlockByNumber", Some(mut block)) if block.is_object() => {
            match block["gasUsed"].as_str().map_or(0, str::len) % 3 {
                0 => block["hash"] = json!(B256::repeat_byte(0x5a)),
                1 => block["timestamp"] = json!("0x1"),
                _ => block["transactions"] = json!([]),
            }
            block
        }
        ("eth_getTransactionReceipt", Some(receipt)) if receipt.is_object() => {
            other_receipt(chain).unwrap_or(Value::Null)
        }
        _ => Value::Null,
    };
    answer.payload = success(&told);
}

/// The receipt of the first transaction of an early block.
fn other_receipt(chain: &Chain) -> Option<Value> {
    let block = chain.rpc("eth_getBlockByNumber", json!(["0x1", false])).ok()?;
    chain.rpc("eth_getTransactionReceipt", json!([block["transactions"][0]])).ok()
}
