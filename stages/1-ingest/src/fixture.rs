//! Nodes for tests, over http and over a local socket, that go wrong on demand.
//!
//! In: a function from requests to answers. Out: urls. They hold the connection semantics of real nodes: batches over
//! http, and one JSON text after the other on a socket.

use crate::conformance::TestChain;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// How a node goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// It does not.
    None,
    /// It answers with this status and header `Retry-After`, where there is one.
    Status(u16, Option<&'static str>),
    /// It answers after so long.
    Slow(Duration),
    /// It answers with half of its body.
    Truncated,
    /// Its blocks are not what they say.
    Lies,
    /// It lacks the newest blocks.
    Lags(u64),
    /// It answers every request with this error.
    Error(i64, &'static str),
    /// It does not know this method.
    Without(&'static str),
}

/// A node over http whose fault can be changed while it runs.
#[derive(Debug)]
pub(crate) struct FaultyNode {
    pub(crate) server: MockServer,
    fault: Arc<Mutex<Fault>>,
    requests: Arc<AtomicUsize>,
    methods: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl FaultyNode {
    pub(crate) async fn serve(chain: &TestChain, fault: Fault) -> Self {
        Self::serve_with(fault, {
            let chain = chain.clone();
            move |request| chain.answer(request)
        })
        .await
    }

    pub(crate) async fn serve_with(
        fault: Fault,
        answer: impl Fn(&Value) -> Value + Send + Sync + 'static,
    ) -> Self {
        let server = MockServer::start().await;
        let fault = Arc::new(Mutex::new(fault));
        let (requests, methods) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<BTreeMap<_, _>>>::default());
        let (faulty, counted, named) = (Arc::clone(&fault), Arc::clone(&requests), Arc::clone(&methods));
        let respond = move |request: &Request| {
            let request: Value = serde_json::from_slice(&request.body).unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            for request in request.as_array().map_or(std::slice::from_ref(&request), Vec::as_slice) {
                *named.lock().unwrap().entry(request["method"].as_str().unwrap().to_owned()).or_default() +=
                    1;
            }
            respond(&faulty.lock().unwrap(), &request, &answer)
        };
        Mock::given(any()).respond_with(respond).mount(&server).await;
        Self { server, fault, requests, methods }
    }

    pub(crate) fn url(&self) -> String {
        self.server.uri()
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Packets that came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Requests for a method that came.
    pub(crate) fn asked(&self, method: &str) -> usize {
        self.methods.lock().unwrap().get(method).copied().unwrap_or_default()
    }
}

fn respond(fault: &Fault, request: &Value, answer: &impl Fn(&Value) -> Value) -> ResponseTemplate {
    let each = |change: &dyn Fn(&Value, Value) -> Value| match request.as_array() {
        Some(batch) => batch.iter().map(|request| change(request, answer(request))).collect(),
        None => change(request, answer(request)),
    };
    let error = |request: &Value, code: i64, message: &str| json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}});
    let ok = |value: Value| ResponseTemplate::new(200).set_body_json(value);
    match fault {
        Fault::None => ok(each(&|_, answer| answer)),
        Fault::Status(status, None) => ResponseTemplate::new(*status).set_body_string("slow down"),
        Fault::Status(status, Some(after)) => {
            ResponseTemplate::new(*status).insert_header("Retry-After", *after)
        }
        Fault::Slow(delay) => ok(each(&|_, answer| answer)).set_delay(*delay),
        Fault::Truncated => {
            let text = each(&|_, answer| answer).to_string();
            ResponseTemplate::new(200).set_body_string(&text[..text.len() / 2])
        }
        Fault::Lies => ok(each(&|_, mut answer| {
            if answer["result"]["parentHash"].is_string() {
                answer["result"]["timestamp"] = json!("0x1");
            }
            answer
        })),
        Fault::Lags(behind) => ok(each(&|request, own| lagging(request, own, *behind, answer))),
        Fault::Error(code, message) => ok(each(&|request, _| error(request, *code, message))),
        Fault::Without(method) => ok(each(&|request, answer| {
            if request["method"] == json!(method) {
                error(request, -32_601, "method not found")
            } else {
                answer
            }
        })),
    }
}

/// The answer of a node that lacks the newest `behind` blocks.
fn lagging(request: &Value, own: Value, behind: u64, answer: &impl Fn(&Value) -> Value) -> Value {
    let newest =
        answer(&json!({"method": "eth_blockNumber", "id": 0}))["result"].as_str().unwrap().to_owned();
    let newest = u64::from_str_radix(&newest[2..], 16).unwrap() - behind;
    let with = |result: Value| json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
    match (request["method"].as_str().unwrap(), request["params"][0].as_str()) {
        ("eth_blockNumber", _) => with(json!(format!("{newest:#x}"))),
        ("eth_getBlockByNumber", Some("latest")) => {
            let mut request = request.clone();
            request["params"][0] = json!(format!("{newest:#x}"));
            answer(&request)
        }
        ("eth_getBlockByNumber", Some(number)) if u64::from_str_radix(&number[2..], 16).unwrap() > newest => {
            with(Value::Null)
        }
        _ => own,
    }
}

/// A node on a local socket. Its pushes are those of `notifications`.
#[derive(Debug)]
pub(crate) struct SocketNode {
    directory: TempDir,
    pub(crate) notifications: broadcast::Sender<Value>,
    hang_up: broadcast::Sender<()>,
}

impl SocketNode {
    pub(crate) async fn serve(answer: impl Fn(&Value) -> Value + Clone + Send + Sync + 'static) -> Self {
        Self::serve_in(tempfile::tempdir().unwrap(), answer)
    }

    /// The path of its socket is `node.ipc` in the directory.
    pub(crate) fn serve_in(
        directory: TempDir,
        answer: impl Fn(&Value) -> Value + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(directory.path().join("node.ipc")).unwrap();
        let (notifications, hang_up) = (broadcast::channel(4_096).0, broadcast::channel(1).0);
        let (pushes, ends) = (notifications.clone(), hang_up.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, answer.clone(), pushes.subscribe(), ends.subscribe()));
            }
        });
        Self { directory, notifications, hang_up }
    }

    pub(crate) fn path(&self) -> String {
        self.directory.path().join("node.ipc").display().to_string()
    }

    /// Closes all connections; new ones are taken.
    pub(crate) fn hang_up(&self) {
        // Nobody may be connected.
        drop(self.hang_up.send(()));
    }

    /// Closes all connections and takes no new ones.
    pub(crate) fn vanish(&self) {
        std::fs::remove_file(self.directory.path().join("node.ipc")).unwrap();
        self.hang_up();
    }

    /// Pushes to everybody who is connected.
    pub(crate) fn push(&self, result: Value) {
        let push = json!({"jsonrpc": "2.0", "method": "eth_subscription",
            "params": {"subscription": "0x1", "result": result}});
        drop(self.notifications.send(push));
    }
}

async fn talk(
    mut stream: UnixStream,
    answer: impl Fn(&Value) -> Value,
    mut pushes: broadcast::Receiver<Value>,
    mut ends: broadcast::Receiver<()>,
) {
    let mut text = Vec::new();
    loop {
        tokio::select! {
            read = stream.read_buf(&mut text) => if read.is_err() || read.is_ok_and(|bytes| bytes == 0) { return },
            push = pushes.recv() => {
                let Ok(push) = push else { return };
                if stream.write_all(push.to_string().as_bytes()).await.is_err() { return }
            },
            _ = ends.recv() => return,
        }
        let mut values = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
        let (mut replies, mut used) = (Vec::new(), 0);
        while let Some(Ok(request)) = values.next() {
            used = values.byte_offset();
            replies.push(answer(&request));
        }
        text.drain(..used);
        for reply in replies {
            if stream.write_all(reply.to_string().as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
