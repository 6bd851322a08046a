//! One life of the process that watches: `cordon watch` on a runtime of its own that ends with it.
//!
//! In: a configuration, and the moment at which it dies. Out: how it ended. Dying drops everything at once, wherever it
//! is: the loop, the deliveries, requests under way. Its clock stands still while there is work and jumps when there is
//! none, so that pauses of seconds cost milliseconds.

use crate::node::FaultyNode;
use crate::receiver::Receiver;
use cordon_engine::Config;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How far the clock of a life jumps when there is nothing to do: the engine's shortest pause.
const JUMP: Duration = Duration::from_millis(250);

/// How long there must be nothing to do before the clock jumps, on the wall clock.
const IDLE: Duration = Duration::from_millis(2);

/// How long the threads of the database may take to end.
const THREADS_PATIENCE: Duration = Duration::from_secs(20);

/// How a life ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It was asked to, and ended well.
    Stopped,
    /// It died as the schedule said.
    Died,
    /// It gave up by itself.
    GaveUp(String),
}

/// A running watch.
#[derive(Debug)]
pub(crate) struct Life {
    thread: JoinHandle<End>,
    stop: watch::Sender<bool>,
}

impl Life {
    /// Starts it. It dies at poll number `dies_at` of its future, or when the node or the receiver says so.
    pub(crate) fn begin(
        config: PathBuf,
        node: Arc<FaultyNode>,
        receiver: Arc<Receiver>,
        dies_at: Option<u64>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            let end = runtime.block_on(live(config, node, receiver, stopped, dies_at));
            runtime.shutdown_background();
            end
        });
        Self { thread, stop }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks it to end, as an interrupt does, and waits until nothing of it is left.
    pub(crate) async fn end(self) -> End {
        self.stop.send_replace(true);
        let end = tokio::task::spawn_blocking(move || {
            let end = self.thread.join().unwrap();
            wait_for_database_threads();
            end
        });
        end.await.unwrap()
    }
}

async fn live(
    config: PathBuf,
    node: Arc<FaultyNode>,
    receiver: Arc<Receiver>,
    stopped: watch::Receiver<bool>,
    dies_at: Option<u64>,
) -> End {
    let config = Config::load(&config).unwrap();
    tokio::spawn(jump_when_idle(Arc::clone(&node), Arc::clone(&receiver)));
    let say = Box::new(|line: String| tracing::info!(target: "cordon_said", "{line}"));
    let mut watching = Box::pin(cordon_engine::watch::watch(&config, say, stopped));
    let mut polls = 0u64;
    let counted = std::future::poll_fn(|context| {
        polls += 1;
        if Some(polls) == dies_at {
            return Poll::Ready(End::Died);
        }
        watching.as_mut().poll(context).map(|outcome| match outcome {
            Ok(()) => End::Stopped,
            Err(error) => End::GaveUp(format!("{error}: {error:?}")),
        })
    });
    tokio::select! {
        biased;
        () = node.death.notified() => End::Died,
        () = receiver.death.notified() => End::Died,
        end = counted => end,
    }
}

/// Lets the clock jump as long as neither the node nor the receiver works on something for this life.
async fn jump_when_idle(node: Arc<FaultyNode>, receiver: Arc<Receiver>) {
    let mut before = node.traffic();
    loop {
        // A blocking task keeps tokio from moving the clock by itself.
        let slept = tokio::task::spawn_blocking(|| std::thread::sleep(IDLE)).await;
        if slept.is_err() {
            return;
        }
        let now = node.traffic();
        if now == before && now.1 <= 0 && !receiver.busy.load(std::sync::atomic::Ordering::SeqCst) {
            tokio::time::advance(JUMP).await;
        }
        before = now;
    }
}

/// A killed process takes its threads along. Here the database's threads finish what they are at; nobody may start on
/// the same file before that.
fn wait_for_database_threads() {
    let begun = Instant::now();
    while database_threads() > 0 {
        assert!(begun.elapsed() < THREADS_PATIENCE, "the database's threads do not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn database_threads() -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let name =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.flatten().map(name).filter(|name| name.starts_with("sqlx-sqlite")).count()
}
