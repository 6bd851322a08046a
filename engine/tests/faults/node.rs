//! The faulty node: a real anvil behind a connection that goes wrong as the schedule says.
//!
//! In: the requests of the engine. Out: the node's answers, distorted, false, late or none. It also knows when the
//! engine has come to rest at the head, because then it asks for the same missing block again and again.

use crate::distort::{Answer, Fault, Lie, distort, lie};
use crate::line::{Request, read_request, write_answer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};

/// The key in the node's url, as hosted nodes have it. It must show up nowhere.
pub(crate) const KEY: &str = "k3yk3yk3y0123456789abcdef";

/// A late answer, on the wall clock: long against a request, short against a test.
const LATE: Duration = Duration::from_millis(4);

/// What happens at one request of the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The request goes wrong.
    Fault(Fault),
    /// The process dies before the node saw the request.
    DieBefore,
    /// The process dies after the node did what was asked.
    DieAfter,
    /// The chain changes between this request and the one before.
    ChainMoves,
}

/// A wish that the schedule changes the chain now; answered when that is done.
pub(crate) type Move = oneshot::Sender<()>;

#[derive(Debug, Default)]
struct Plan {
    events: BTreeMap<u64, Event>,
    /// Told at the next blocks that are asked for, in this order.
    block_lies: Vec<Lie>,
    receipt_lies: u32,
    /// The answer before this one.
    earlier: Option<Vec<u8>>,
    injected: BTreeMap<String, u64>,
    /// Number of the missing block that was asked for last, and how often in a row.
    rest: (u64, u64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct FaultyNode {
    pub(crate) url: String,
    upstream: String,
    client: reqwest::Client,
    plan: Mutex<Plan>,
    /// The node cannot be reached.
    away: AtomicBool,
    requests: AtomicU64,
    turned_away: AtomicU64,
    in_flight: AtomicI64,
    pub(crate) death: Notify,
    moves: mpsc::UnboundedSender<Move>,
}

impl FaultyNode {
    /// Listens in front of the node on `port`. The schedule is told when it must move the chain.
    pub(crate) async fn start(port: u16) -> (Arc<Self>, mpsc::UnboundedReceiver<Move>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (moves, wishes) = mpsc::unbounded_channel();
        let node = Arc::new(Self {
            url: format!("http://{}/v3/{KEY}?token={KEY}", listener.local_addr().unwrap()),
            upstream: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::new(),
            plan: Mutex::default(),
            away: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            death: Notify::new(),
            moves,
        });
        let serving = Arc::clone(&node);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        (node, wishes)
    }

    /// Begins a phase: what happens at which request from now on.
    pub(crate) fn plan(&self, events: BTreeMap<u64, Event>, block_lies: Vec<Lie>, receipt_lies: u32) {
        let mut plan = self.plan.lock().unwrap();
        self.requests.store(0, Ordering::SeqCst);
        (plan.events, plan.block_lies, plan.receipt_lies) = (events, block_lies, receipt_lies);
        plan.rest = (0, 0);
    }

    /// From now on everything goes well.
    pub(crate) fn heal(&self) {
        self.plan(BTreeMap::new(), Vec::new(), 0);
        self.set_away(false);
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// How often the client was turned away since the last call.
    pub(crate) fn take_turned_away(&self) -> u64 {
        self.turned_away.swap(0, Ordering::SeqCst)
    }

    /// What was injected since the last call, by name.
    pub(crate) fn take_injected(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.plan.lock().unwrap().injected)
    }

    /// Requests that came in, and requests that are being worked on.
    pub(crate) fn traffic(&self) -> (u64, i64) {
        let away = self.turned_away.load(Ordering::SeqCst);
        (self.requests.load(Ordering::SeqCst).wrapping_add(away), self.in_flight.load(Ordering::SeqCst))
    }

    /// Whether the engine asked twice in a row for the block after `head`, and nothing was wrong with the answers.
    pub(crate) fn rests_at(&self, head: u64) -> bool {
        let (number, times) = self.plan.lock().unwrap().rest;
        number == head + 1 && times >= 2
    }

    /// Forgets that the engine rested.
    pub(crate) fn disturb(&self) {
        self.plan.lock().unwrap().rest = (0, 0);
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Ok(Some(request)) = read_request(&mut stream).await {
            if self.away.load(Ordering::SeqCst) {
                self.turned_away.fetch_add(1, Ordering::SeqCst);
                return;
            }
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            let answer = self.answer(&request).await;
            let written = match &answer {
                Some(answer) => {
                    let Answer { status, headers, length, body } = answer;
                    write_answer(&mut stream, status, headers, *length, body).await.is_ok()
                        && *length == body.len()
                }
                None => false,
            };
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            if !written {
                return;
            }
        }
    }

    /// `None` where the connection ends without an answer.
    async fn answer(&self, request: &Request) -> Option<Answer> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let event = self.plan.lock().unwrap().events.remove(&number);
        match event {
            Some(Event::DieBefore) => return self.die("DieBefore"),
            Some(Event::Fault(Fault::Dropped)) => {
                self.note("Dropped");
                return None;
            }
            Some(Event::ChainMoves) => {
                let (done, is_done) = oneshot::channel();
                if self.moves.send(done).is_ok() && is_done.await.is_ok() {
                    self.note("ChainMoves");
                }
            }
            _ => {}
        }
        let sound = self.forward(&request.body).await?;
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match event {
            Some(Event::DieAfter) => return self.die("DieAfter"),
            Some(Event::Fault(Fault::AnswerDropped)) => {
                self.note("AnswerDropped");
                return None;
            }
            Some(Event::Fault(Fault::Silent)) => {
                self.note("Silent");
                // The clock of the engine may run meanwhile.
                self.in_flight.fetch_sub(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(60)).await;
                self.in_flight.fetch_add(1, Ordering::SeqCst);
                return None;
            }
            Some(Event::Fault(Fault::Late)) => tokio::time::sleep(LATE).await,
            _ => {}
        }
        let told = self.tell_lie(&asked, &sound).await;
        let mut plan = self.plan.lock().unwrap();
        let earlier = plan.earlier.replace(sound.clone());
        if let Some((lie, false_answer)) = told {
            *plan.injected.entry(format!("{lie:?}")).or_default() += 1;
            plan.rest = (0, 0);
            return Some(Answer::sound(false_answer));
        }
        match event {
            Some(Event::Fault(fault)) => {
                *plan.injected.entry(format!("{fault:?}")).or_default() += 1;
                plan.rest = (0, 0);
                Some(distort(fault, &sound, earlier.as_deref()))
            }
            _ => {
                watch_for_rest(&mut plan, &asked, &sound);
                Some(Answer::sound(sound))
            }
        }
    }

    fn note(&self, what: &str) {
        *self.plan.lock().unwrap().injected.entry(what.to_owned()).or_default() += 1;
    }

    fn die(&self, what: &str) -> Option<Answer> {
        self.note(what);
        self.death.notify_one();
        None
    }

    async fn forward(&self, body: &[u8]) -> Option<Vec<u8>> {
        let request = self.client.post(&self.upstream).header("content-type", "application/json");
        let answer = request.body(body.to_vec()).send().await.ok()?;
        Some(answer.bytes().await.ok()?.to_vec())
    }

    /// Tells the next lie where the request is one about which it can be told.
    async fn tell_lie(&self, asked: &Value, sound: &[u8]) -> Option<(Lie, Vec<u8>)> {
        let whole_block = asked["method"] == "eth_getBlockByNumber" && asked["params"][1] == json!(true);
        let receipt = asked["method"] == "eth_getTransactionReceipt";
        let (next, other) = {
            let plan = self.plan.lock().unwrap();
            match (plan.block_lies.first(), plan.receipt_lies) {
                (Some(lie), _) if whole_block => (*lie, previous_block(asked)),
                (_, 1..) if receipt => (Lie::OtherReceipt, None),
                _ => return None,
            }
        };
        let other = match (next, other) {
            (Lie::OtherBlock, Some(block)) => self.ask("eth_getBlockByNumber", json!([block, true])).await,
            (Lie::OtherReceipt, _) => self.receipt_of_another_block().await,
            _ => None,
        };
        let told = lie(next, sound, other)?;
        let mut plan = self.plan.lock().unwrap();
        if receipt {
            plan.receipt_lies -= 1;
        } else {
            plan.block_lies.remove(0);
        }
        Some((next, told))
    }

    async fn receipt_of_another_block(&self) -> Option<Value> {
        let receipts = self.ask("eth_getBlockReceipts", json!(["0x1"])).await?;
        receipts.get(0).cloned()
    }

    async fn ask(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params }).to_string();
        let answer = self.forward(body.as_bytes()).await?;
        serde_json::from_slice::<Value>(&answer).ok()?.get("result").cloned()
    }
}

fn previous_block(asked: &Value) -> Option<String> {
    let number = u64::from_str_radix(asked["params"][0].as_str()?.strip_prefix("0x")?, 16).ok()?;
    Some(format!("{:#x}", number.checked_sub(1)?))
}

/// The source asks for the block after its cursor; a `null` means that there is none.
fn watch_for_rest(plan: &mut Plan, asked: &Value, sound: &[u8]) {
    if asked["method"] != "eth_getBlockByNumber" || asked["params"][1] != json!(true) {
        return;
    }
    let number = asked["params"][0].as_str().and_then(|text| text.strip_prefix("0x"));
    let Some(number) = number.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else { return };
    let answer: Value = serde_json::from_slice(sound).unwrap_or_default();
    let is_missing = answer.get("result") == Some(&Value::Null);
    plan.rest = match (is_missing, plan.rest) {
        (true, (last, times)) if last == number => (number, times + 1),
        (true, _) => (number, 1),
        (false, _) => (0, 0),
    };
}
