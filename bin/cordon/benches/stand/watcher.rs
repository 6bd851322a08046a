//! `cordon watch` as a process of its own over one or several nodes, with its own folder.
//!
//! In: nodes. Out: its lines with the moment at which each was read, how far it has judged, what it costs.

use crate::stand::node::Node;
use crate::stand::process::{self, Memory};
use cordon_model::log::EventLog;
use cordon_model::units::ChainId;
use cordon_store::SqliteLog;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often the log is asked how far it is: seldom enough to cost the watcher nothing.
const ASK_PERIOD: Duration = Duration::from_millis(20);

/// How long to wait for progress before the bench stops.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines with the moment at which each was read.
type Lines = Arc<Mutex<Vec<(Instant, String)>>>;

/// A running watcher.
pub(crate) struct Watcher {
    folder: TempDir,
    child: Child,
    log: SqliteLog,
    lines: Lines,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Watcher {
    /// Starts watching these nodes from their newest blocks on, over their sockets, and waits until it says so.
    pub(crate) async fn start(nodes: &[&Node], further: &str) -> Self {
        let further = format!("poll_interval_ms = 1000\n{further}");
        let config = nodes.iter().map(|node| config(node, &node.socket.display().to_string(), &further));
        Self::configured(&config.collect::<String>(), nodes.len()).await
    }

    /// The same over this address of one node, with the lines `further` for the chain's table and `channels` behind it.
    pub(crate) async fn start_over(node: &Node, rpc: &str, further: &str, channels: &str) -> Self {
        Self::configured(&format!("{}{channels}", config(node, rpc, further)), 1).await
    }

    async fn configured(config: &str, chains: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let config = format!("{config}[[detector]]\ntype = \"value-loss\"\n");
        std::fs::write(folder.path().join("cordon.toml"), config).unwrap();
        let lines = Lines::default();
        let child = spawn(&folder, &lines);
        await_lines(&lines, "watching chain", chains).await;
        let log = SqliteLog::open(&folder.path().join("cordon.sqlite")).await.unwrap();
        Self { folder, child, log, lines }
    }

    /// Kills the process, as a failing machine does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on what it left, and returns when it says that it watches `chains` chains.
    pub(crate) async fn restart(&mut self, chains: usize) {
        self.lines.lock().unwrap().clear();
        self.child = spawn(&self.folder, &self.lines);
        await_lines(&self.lines, "watching chain", chains).await;
    }

    /// Stops or continues the process (SIGSTOP, SIGCONT).
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu_ms(&self) -> u64 {
        process::cpu_ms(self.pid())
    }

    pub(crate) fn memory(&self) -> Memory {
        process::memory(self.pid())
    }

    /// Bytes of the log, and of its write-ahead log.
    pub(crate) fn log_bytes(&self) -> (u64, u64) {
        let size = |name: &str| std::fs::metadata(self.place(name)).map_or(0, |file| file.len());
        (size("cordon.sqlite"), size("cordon.sqlite-wal"))
    }

    /// Records in the log.
    pub(crate) async fn records(&self) -> u64 {
        let mut position = 0;
        loop {
            let page = self.log.since(position, 1_000).await.unwrap();
            let Some(last) = page.last() else { return position };
            position = last.position;
        }
    }

    /// Newest judged block of a chain.
    pub(crate) async fn judged(&self, chain_id: u64) -> u64 {
        let cursor = self.log.cursor(ChainId(chain_id)).await.unwrap();
        cursor.and_then(|cursor| cursor.head()).map_or(0, |head| head.number)
    }

    /// Waits until a block of a chain is judged, and says when that was seen.
    pub(crate) async fn await_judged(&self, chain_id: u64, block: u64) -> Instant {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let judged = self.judged(chain_id).await;
            if judged >= block {
                return Instant::now();
            }
            if judged > seen {
                (seen, since) = (judged, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                panic!("chain {chain_id} stands at block {judged} of {block}; last lines:\n{}", self.tail());
            }
            tokio::time::sleep(ASK_PERIOD).await;
        }
    }

    /// Calls `with` on every line so far.
    pub(crate) fn each_line(&self, mut with: impl FnMut(Instant, &str)) {
        self.lines.lock().unwrap().iter().for_each(|(at, line)| with(*at, line));
    }

    /// When the first line about each block was read: its findings are in the log. Where several chains are watched
    /// their lines begin with `prefix`.
    pub(crate) fn recorded(&self, prefix: &str) -> BTreeMap<u64, Instant> {
        let mut recorded = BTreeMap::new();
        self.each_line(|at, line| {
            let rest = line.strip_prefix(prefix).and_then(|line| line.strip_prefix("block "));
            let number = rest.and_then(|rest| rest.split(' ').next()?.parse().ok());
            if let Some(number) = number {
                recorded.entry(number).or_insert(at);
            }
        });
        recorded
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines.iter().rev().take(20).map(|(_, line)| format!("{line}\n")).collect()
    }
}

/// Chain and protocol of a node, by this address of it. `further` are lines for the chain's table.
fn config(node: &Node, rpc: &str, further: &str) -> String {
    let Node { chain_id, token, purse, .. } = node;
    format!(
        "[[chain]]\nid = {chain_id}\nrpc = \"{rpc}\"\nhardfork = \"osaka\"\n{further}\n\
         [[protocol]]\nid = \"purse-{chain_id}\"\nchain = {chain_id}\n\
         contracts = [{{ address = \"{purse}\", name = \"Purse\" }}]\n\
         [[protocol.asset]]\ntoken = \"{token}\"\nsymbol = \"dUSD\"\ndecimals = 18\nprice = \"1\"\n"
    )
}

fn spawn(folder: &TempDir, lines: &Lines) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cordon"));
    command.args(["watch", "--config", "cordon.toml"]).current_dir(folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read(child.stdout.take().unwrap(), lines);
    read(child.stderr.take().unwrap(), lines);
    child
}

fn read(pipe: impl std::io::Read + Send + 'static, lines: &Lines) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let at = Instant::now();
            lines.lock().unwrap().push((at, line));
        }
    });
}

async fn await_lines(lines: &Lines, text: &str, count: usize) {
    let start = Instant::now();
    while lines.lock().unwrap().iter().filter(|(_, line)| line.contains(text)).count() < count {
        let said = lines.lock().unwrap().iter().map(|(_, line)| format!("{line}\n")).collect::<String>();
        assert!(start.elapsed() < PATIENCE, "no {count} lines with '{text}':\n{said}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
