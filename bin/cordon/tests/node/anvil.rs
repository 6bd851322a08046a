//! A real node: anvil from npm, started for one test and killed with it.
//!
//! In: a command line. Out: JSON-RPC. Where npm's packages are missing they are installed; where npm itself is missing the
//! test skips and says why, except under `CORDON_CI`, where that is a failure.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long to wait for anything before the test fails: a slow machine starts anvil within two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The anvil binary, installed from npm where it is missing; `None`, after having said why, only without npm.
pub(crate) fn binary() -> Option<PathBuf> {
    let path = root().join("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
    if let Some(own) = std::env::var_os("ANVIL") {
        return Some(PathBuf::from(own));
    }
    if path.exists() {
        return Some(path);
    }
    if Command::new("npm").arg("--version").output().is_err() {
        assert!(std::env::var_os("CORDON_CI").is_none(), "npm is missing in CI");
        eprintln!("SKIPPED: no npm on this machine, and no anvil named in ANVIL");
        return None;
    }
    install();
    assert!(path.exists(), "npm installed no anvil for this platform; name one in ANVIL");
    Some(path)
}

/// Installs the pinned packages, once however many tests want them at the same time.
fn install() {
    let lock = std::fs::File::create(std::env::temp_dir().join("cordon-npm-ci.lock")).unwrap();
    lock.lock().unwrap();
    if root().join("node_modules/.package-lock.json").exists() {
        return;
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let output = Command::new("npm").args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// A running anvil.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) port: u16,
    client: reqwest::Client,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Anvil {
    /// Starts anvil on a free port; blocks are mined only when the test says so.
    pub(crate) fn start(binary: &Path) -> Self {
        Self::start_with(binary, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(binary: &Path, further: &[&str]) -> Self {
        let arguments = ["--port", "0", "--no-mining", "--order", "fees", "--hardfork", "osaka"];
        let mut child = Command::new(binary)
            .args(arguments)
            .args(further)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("anvil says where it listens").unwrap();
            if let Some((_, port)) = line.split_once("Listening on 127.0.0.1:") {
                break port.trim().parse().unwrap();
            }
        };
        // Keep reading, so that anvil never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port, client: reqwest::Client::new() }
    }

    pub(crate) async fn rpc(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let url = format!("http://127.0.0.1:{}", self.port);
        let answer: Value = self.client.post(url).json(&body).send().await.unwrap().json().await.unwrap();
        assert!(answer.get("error").is_none(), "{method} failed: {answer}");
        answer["result"].clone()
    }

    pub(crate) async fn accounts(&self) -> Vec<Address> {
        serde_json::from_value(self.rpc("eth_accounts", json!([])).await).unwrap()
    }

    /// Hands in a transaction of an unlocked account with an ordinary offer: a tip of 1 gwei, a cap of 2 gwei (anvil
    /// orders by the cap).
    pub(crate) async fn send(&self, from: Address, to: Option<Address>, data: impl Into<Bytes>) -> B256 {
        let data: Bytes = data.into();
        let mut tx = json!({ "from": from, "data": data, "gas": "0x7a1200",
            "maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x3b9aca00" });
        if let Some(to) = to {
            tx["to"] = json!(to);
        }
        serde_json::from_value(self.rpc("eth_sendTransaction", json!([tx])).await).unwrap()
    }

    pub(crate) async fn mine(&self) {
        self.rpc("evm_mine", json!([])).await;
    }

    pub(crate) async fn receipt(&self, hash: B256) -> Value {
        self.rpc("eth_getTransactionReceipt", json!([hash])).await
    }

    /// Sends, mines, and asserts success.
    pub(crate) async fn ok(&self, from: Address, to: Option<Address>, data: impl Into<Bytes>) -> Value {
        let hash = self.send(from, to, data).await;
        self.mine().await;
        let receipt = self.receipt(hash).await;
        assert_eq!(receipt["status"], "0x1", "transaction {hash} must succeed: {receipt}");
        receipt
    }

    /// Deploys a contract and returns its address.
    pub(crate) async fn deploy(&self, from: Address, code: Vec<u8>) -> Address {
        let receipt = self.ok(from, None, code).await;
        serde_json::from_value(receipt["contractAddress"].clone()).unwrap()
    }

    pub(crate) async fn call(&self, to: Address, data: impl Into<Bytes>) -> Bytes {
        let data: Bytes = data.into();
        serde_json::from_value(self.rpc("eth_call", json!([{ "to": to, "data": data }, "latest"])).await)
            .unwrap()
    }

    pub(crate) async fn nonce(&self, account: Address, tag: &str) -> u64 {
        let answer = self.rpc("eth_getTransactionCount", json!([account, tag])).await;
        serde_json::from_value::<U256>(answer).unwrap().to::<u64>()
    }

    pub(crate) async fn block_number(&self) -> u64 {
        serde_json::from_value::<U256>(self.rpc("eth_blockNumber", json!([])).await).unwrap().to::<u64>()
    }

    /// Waits until a transaction of `account` is in the pool.
    pub(crate) async fn await_pending(&self, account: Address) -> Duration {
        let start = Instant::now();
        while self.nonce(account, "pending").await <= self.nonce(account, "latest").await {
            assert!(
                start.elapsed() < PATIENCE,
                "no transaction of {account} reached the pool in {PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }
}
