//! `cordon watch` as a process of its own, with its own folder.
//!
//! In: a market and a node's URL. Out: the lines it prints, and its log after it ended.

use crate::market::{GUARDIAN_KEY, Market};
use secrecy::SecretString;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Password of the test's keystore.
const PASSWORD: &str = "correct horse battery staple";

/// How long to wait for a line before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with configuration and keystore, before anything runs in it.
pub(crate) struct Prepared {
    folder: TempDir,
}

impl Prepared {
    /// Changes the configuration.
    pub(crate) fn edit_config(&self, edit: impl Fn(String) -> String) {
        edit_config(&self.folder, edit);
    }

    /// Runs another command in the folder.
    pub(crate) fn cordon(&self, arguments: &[&str]) -> std::process::Output {
        cordon(self.folder.path()).args(arguments).output().unwrap()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Whether a file of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.folder.path().join(name).exists()
    }

    /// A file of the folder.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Starts a watcher that must end at once with this exit code, and returns what it says.
    pub(crate) fn fails_to_start(&self, code: i32, password: &str) -> String {
        let mut command = cordon(self.folder.path());
        let output = command.args(["watch"]).env("CORDON_TEST_PASSWORD", password).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }
}

/// A running watcher.
pub(crate) struct Watch {
    folder: TempDir,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn cordon(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cordon"));
    command.current_dir(folder).env("CORDON_TEST_PASSWORD", PASSWORD);
    command
}

fn edit_config(folder: &TempDir, edit: impl Fn(String) -> String) {
    let path = folder.path().join("cordon.toml");
    std::fs::write(&path, edit(std::fs::read_to_string(&path).unwrap())).unwrap();
}

fn spawn(folder: &Path) -> (Child, Receiver<String>) {
    let mut command = cordon(folder);
    command.args(["watch", "--config", "cordon.toml"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (sender, lines) = channel();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let also = sender.clone();
    std::thread::spawn(move || {
        BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    std::thread::spawn(move || {
        BufReader::new(err).lines().map_while(Result::ok).try_for_each(|line| also.send(line))
    });
    (child, lines)
}

impl Watch {
    /// Writes configuration and keystore into a new folder.
    pub(crate) fn prepare(market: &Market, rpc: &str, start_block: u64, grant: &str) -> Prepared {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("cordon.toml"), market.config(rpc, start_block, grant)).unwrap();
        let password = SecretString::from(PASSWORD.to_owned());
        let keystore = cordon_contain::create_keystore(folder.path(), GUARDIAN_KEY, &password).unwrap();
        std::fs::rename(keystore, folder.path().join("guardian.json")).unwrap();
        Prepared { folder }
    }

    /// Prepares a folder and starts watching in it.
    pub(crate) fn start(market: &Market, rpc: &str, start_block: u64, grant: &str) -> Self {
        Self::begin(Self::prepare(market, rpc, start_block, grant))
    }

    /// Starts watching in a folder that was prepared.
    pub(crate) fn begin(prepared: Prepared) -> Self {
        let Prepared { folder } = prepared;
        let (child, lines) = spawn(folder.path());
        Self { folder, child, lines, seen: Vec::new() }
    }

    /// Runs another command in the watcher's folder.
    pub(crate) fn cordon(&self, arguments: &[&str]) -> std::process::Output {
        cordon(self.folder.path()).args(arguments).output().unwrap()
    }

    /// Writes a file into the watcher's folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// A file of the watcher's folder.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Whether a file of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.folder.path().join(name).exists()
    }

    /// Waits for a line that contains `text`.
    pub(crate) async fn await_line(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            while let Ok(line) = self.lines.try_recv() {
                self.seen.push(line);
                if self.seen.last().is_some_and(|line| line.contains(text)) {
                    return;
                }
            }
            assert!(
                start.elapsed() < PATIENCE,
                "no line with '{text}' within {PATIENCE:?}; seen:\n{}",
                self.seen.join("\n")
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills the process the hard way (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // What it had printed; the lines end with the process.
        self.seen.extend(self.lines.iter());
    }

    /// Changes the configuration, for the next start.
    pub(crate) fn edit_config(&self, edit: impl Fn(String) -> String) {
        edit_config(&self.folder, edit);
    }

    /// Waits until it ends by itself, and returns its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "the process does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.child.wait().unwrap().code()
    }

    /// Starts it again on the same folder.
    pub(crate) fn restart(&mut self) {
        (self.child, self.lines) = spawn(self.folder.path());
    }

    /// Ends it as an operator does (SIGINT) and checks that it ends well.
    pub(crate) async fn interrupt(&mut self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        assert_eq!(self.ended().await, Some(0), "an interrupt is an ordinary end");
    }

    /// All that was printed so far.
    pub(crate) fn log_text(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    /// `cordon incident list --json` on its log.
    pub(crate) fn incidents(&self) -> Vec<Value> {
        let output = cordon(self.folder.path()).args(["incident", "list", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
