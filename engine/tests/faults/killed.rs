//! The process itself: `cordon watch` in a process of its own, killed with SIGKILL at random moments.
//!
//! In: a seed. Out: what was broken. The process is this test's own binary, started again to watch, so that nothing has to
//! be built beside it. Its clock is the wall clock.

use crate::dice::Dice;
use crate::evidence::{Store, read_canon};
use crate::schedule::{Outcome, Theatre, audit};
use crate::story::{Branch, Part, Story};
use crate::table::Class;
use cordon_engine::Config;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the configuration to the process that watches.
const CONFIG_ENV: &str = "CORDON_FAULT_CONFIG";

/// Latest moment of a kill, milliseconds after the start: a start with its whole response takes a few hundred.
const KILL_MS_MAX: u64 = 600;

/// How long to wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks that are mined until nothing is left to do.
const PEACE_BLOCKS_MAX: u64 = 16;

/// What the process does that the tests start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is the process that other tests start and kill"]
async fn the_watcher() {
    let Some(path) = std::env::var_os(CONFIG_ENV) else { return };
    let config = Config::load(Path::new(&path)).unwrap();
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    cordon_engine::watch::watch(&config, Box::new(|_| {}), stopped).await.unwrap();
}

/// A process that watches; it is killed where it is dropped.
struct Watcher(Child);

impl Watcher {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["killed::the_watcher", "--exact", "--ignored", "--nocapture"]).env(CONFIG_ENV, config);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Kills the process at random moments, then lets it live.
pub(crate) async fn killed(theatre: &mut Theatre, seed: u64) -> Outcome {
    theatre.reset().await;
    let (mut dice, mut outcome, mut deaths) = (Dice::new(seed), Outcome::default(), 0);
    let mut story = Story::begin(&theatre.anvil, theatre.stage).await;
    let folder = theatre.folder(story.first);
    let config: PathBuf = folder.path().join("cordon.toml");
    let store = Store::prepare(&folder.path().join("cordon.sqlite")).await;
    story.mine(&[Part::Honest, Part::Strike], &mut dice).await;
    for _ in 0..dice.between(2, 4) {
        let watcher = Watcher::start(&config);
        tokio::time::sleep(Duration::from_millis(dice.below(KILL_MS_MAX))).await;
        drop(watcher);
        deaths += 1;
        match dice.below(3) {
            0 => story.mine(&[Part::Honest], &mut dice).await,
            1 => story.reorganise(1, Branch::Same, 0, &mut dice).await,
            _ => {}
        }
    }
    // The last one is killed too, when there is nothing left to do.
    let watcher = Watcher::start(&config);
    for _ in 0..PEACE_BLOCKS_MAX {
        story.mine(&[], &mut dice).await;
        theatre.node.disturb();
        let begun = Instant::now();
        while !theatre.node.rests_at(story.head) {
            assert!(begun.elapsed() < PATIENCE, "seed {seed}: no rest at block {}", story.head);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // An outbox looks for notices four times in a second.
        tokio::time::sleep(Duration::from_millis(300)).await;
        if store.read().await.is_at_peace() {
            break;
        }
    }
    drop(watcher);
    outcome.void = !story.is_sound().await;
    let canon = read_canon(&theatre.anvil, &theatre.stage, story.first).await;
    audit(&canon, &store, &theatre.receiver, deaths, &mut outcome).await;
    outcome.note(Class::F11, deaths);
    outcome
}
