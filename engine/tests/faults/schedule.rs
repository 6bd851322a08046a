//! One schedule: phases of chain, faults and deaths, drawn from a seed, and then peace.
//!
//! In: a seed. Out: what was injected, and which promises were broken. In the last phase everything works again and the
//! process is started afresh; whatever is missing or doubled then will stay so.

use crate::anvil::Anvil;
use crate::book::{Book, Breach, Breaches, Canon};
use crate::dice::Dice;
use crate::distort::{BLOCK_LIES, FAULTS, Lie};
use crate::evidence::{Store, read_canon};
use crate::life::{End, Life};
use crate::node::{Event, FaultyNode, KEY, Move};
use crate::receiver::{Ailment, Receiver, SECRET_ENV};
use crate::story::{Branch, Part, Stage, Story};
use crate::table::Class;
use alloy_primitives::B256;
use secrecy::SecretString;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

/// How long the engine may take to come to rest, on the wall clock.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks that are mined in peace until the attack is contained and everybody told.
const PEACE_BLOCKS_MAX: u64 = 16;

/// Requests of a phase at which something may happen: a block takes some tens.
const REQUESTS: u64 = 150;

/// Half an hour of Ethereum's slots.
const OUTAGE_BLOCKS: u64 = 150;

/// Attempts that fail before the receiver is back: three notices at once, and some of them again.
const RECEIVER_FAILURES: u64 = 5;

/// Password of the guardian's key.
const PASSWORD: &str = "correct horse battery staple";

/// What every schedule uses.
#[derive(Debug)]
pub(crate) struct Theatre {
    pub(crate) anvil: Anvil,
    pub(crate) stage: Stage,
    pub(crate) node: Arc<FaultyNode>,
    pub(crate) receiver: Arc<Receiver>,
    wishes: UnboundedReceiver<Move>,
    snapshot: serde_json::Value,
    keystore: Vec<u8>,
}

/// What a schedule came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) injected: BTreeMap<Class, u64>,
    pub(crate) details: BTreeMap<String, u64>,
    pub(crate) breaches: Breaches,
    /// The node lost the state of its own chain; nothing can be said of the engine then.
    pub(crate) void: bool,
}

impl Outcome {
    pub(crate) fn note(&mut self, class: Class, times: u64) {
        *self.injected.entry(class).or_default() += times;
    }

    fn detail(&mut self, name: &str, times: u64) {
        *self.details.entry(name.to_owned()).or_default() += times;
    }
}

impl Theatre {
    /// Starts the node and everything around it, and deploys the market.
    pub(crate) async fn open(binary: &Path) -> Self {
        let anvil = Anvil::start(binary);
        let stage = Stage::build(&anvil).await;
        let (node, wishes) = FaultyNode::start(anvil.port).await;
        let receiver = Receiver::start().await;
        let folder = TempDir::new().unwrap();
        let password = SecretString::from(PASSWORD.to_owned());
        let path =
            cordon_contain::create_keystore(folder.path(), crate::market::GUARDIAN_KEY, &password).unwrap();
        let keystore = std::fs::read(path).unwrap();
        let snapshot = anvil.rpc("evm_snapshot", json!([])).await;
        Self { anvil, stage, node, receiver, wishes, snapshot, keystore }
    }

    /// Puts everything back to where it was before the first schedule.
    pub(crate) async fn reset(&mut self) {
        self.anvil.rpc("evm_revert", json!([self.snapshot])).await;
        self.anvil.rpc("anvil_dropAllTransactions", json!([])).await;
        self.snapshot = self.anvil.rpc("evm_snapshot", json!([])).await;
        self.node.heal();
        self.node.take_injected();
        self.node.take_turned_away();
        self.receiver.clear();
        while self.wishes.try_recv().is_ok() {}
    }

    /// A folder in memory with configuration and key, as an operator would fill it.
    pub(crate) fn folder(&self, first: u64) -> TempDir {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        let Stage { market, odd, .. } = &self.stage;
        let hook = &self.receiver.url;
        let channel =
            format!("type = \"webhook\"\nurl = \"{hook}\"\nsecret_env = \"{SECRET_ENV}\"\ntimeout_s = 30");
        let watched = format!("contracts = [\n  {{ address = \"{odd}\", name = \"OddLogger\" }},");
        let text = market
            .config(&self.node.url, first, "automatic")
            .replace("type = \"terminal\"", &channel)
            .replace("password_env = \"CORDON_TEST_PASSWORD\"", "password_file = \"password\"")
            .replace("contracts = [", &watched);
        std::fs::write(folder.path().join("cordon.toml"), text).unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        std::fs::write(folder.path().join("guardian.json"), &self.keystore).unwrap();
        folder
    }
}

/// A schedule under way.
struct Play<'a> {
    anvil: &'a Anvil,
    node: &'a Arc<FaultyNode>,
    receiver: &'a Arc<Receiver>,
    wishes: &'a mut UnboundedReceiver<Move>,
    story: Story<'a>,
    dice: Dice,
    folder: TempDir,
    life: Option<Life>,
    deaths: u64,
    outcome: Outcome,
}

/// Plays the schedule of a seed.
pub(crate) async fn play(theatre: &mut Theatre, seed: u64) -> Outcome {
    let (mut play, store) = begin(theatre, seed).await;
    for _ in 0..play.dice.between(2, 4) {
        play.phase(&store).await;
    }
    play.peace(&store).await;
    play.finish(&store).await
}

/// The node is away for half an hour of chain time, and the attack falls into it.
pub(crate) async fn half_an_hour_away(theatre: &mut Theatre, seed: u64) -> Outcome {
    let (mut play, store) = begin(theatre, seed).await;
    play.story.mine(&[Part::Honest], &mut play.dice).await;
    play.begin_peaceful_life();
    play.settle().await;
    play.node.set_away(true);
    let strikes_at = play.dice.below(OUTAGE_BLOCKS);
    for number in 0..OUTAGE_BLOCKS {
        let part = if number == strikes_at { Part::Strike } else { Part::Honest };
        play.story.mine(&[part], &mut play.dice).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    play.node.set_away(false);
    play.node.disturb();
    play.settle().await;
    let turned_away = play.node.take_turned_away();
    play.outcome.note(Class::F8, turned_away);
    play.peace(&store).await;
    play.finish(&store).await
}

/// The receiver fails at first, and is back while the same process lives. Takes as long as the waits of an outbox.
pub(crate) async fn receiver_away_for_a_while(theatre: &mut Theatre, seed: u64) -> Outcome {
    let (mut play, store) = begin(theatre, seed).await;
    play.receiver.ail(Some(Ailment::Broken));
    play.story.mine(&[Part::Strike], &mut play.dice).await;
    play.begin_peaceful_life();
    play.settle().await;
    let begun = Instant::now();
    while play.receiver.ailed() < RECEIVER_FAILURES && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let failed = play.receiver.ailed();
    play.receiver.ail(None);
    while !store.read().await.notices().values().all(|times| *times > 0) && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    play.outcome.breaches.expect(
        play.life.as_ref().is_some_and(|life| !life.is_over()),
        Breach::Wrong,
        || "the process did not live through it".to_owned(),
    );
    let told = store.read().await.notices();
    play.outcome.breaches.expect(
        !told.is_empty() && told.values().all(|times| *times == 1),
        Breach::Lost,
        || format!("notices and how often they were recorded as delivered: {told:?}"),
    );
    play.peace(&store).await;
    let mut outcome = play.finish(&store).await;
    outcome.injected.insert(Class::F3, failed);
    outcome
}

async fn begin(theatre: &mut Theatre, seed: u64) -> (Play<'_>, Store) {
    theatre.reset().await;
    let story = Story::begin(&theatre.anvil, theatre.stage).await;
    let folder = theatre.folder(story.first);
    let store = Store::prepare(&folder.path().join("cordon.sqlite")).await;
    let play = Play {
        anvil: &theatre.anvil,
        node: &theatre.node,
        receiver: &theatre.receiver,
        wishes: &mut theatre.wishes,
        story,
        dice: Dice::new(seed),
        folder,
        life: None,
        deaths: 0,
        outcome: Outcome::default(),
    };
    (play, store)
}

impl Play<'_> {
    /// A stretch of chain, with faults, until the engine rests or is dead.
    async fn phase(&mut self, store: &Store) {
        let away = self.dice.percent(20);
        self.node.set_away(away);
        self.node.take_turned_away();
        self.plan_faults();
        self.ail();
        let early = self.dice.percent(50);
        if early {
            self.begin_life();
        }
        self.move_chain(away).await;
        if !early {
            self.begin_life();
        }
        if away {
            tokio::time::sleep(Duration::from_millis(self.dice.between(5, 40))).await;
            self.node.set_away(false);
        }
        self.node.disturb();
        if self.settle().await {
            self.met_at_the_head(store).await;
        }
        if away && self.node.take_turned_away() > 0 {
            self.outcome.note(Class::F8, 1);
        }
    }

    fn plan_faults(&mut self) {
        let mut events = BTreeMap::new();
        for _ in 0..self.dice.below(7) {
            let fault = self.dice.pick(&FAULTS);
            events.insert(self.dice.below(REQUESTS), Event::Fault(fault));
        }
        if self.dice.percent(25) {
            let death = self.dice.pick(&[Event::DieBefore, Event::DieAfter]);
            events.insert(self.dice.below(REQUESTS), death);
        }
        if self.dice.percent(20) {
            events.insert(self.dice.below(REQUESTS), Event::ChainMoves);
        }
        let lies: Vec<Lie> = (0..self.dice.below(3)).map(|_| self.dice.pick(&BLOCK_LIES)).collect();
        let receipt_lies = u32::from(self.dice.percent(30));
        self.node.plan(events, lies, receipt_lies);
    }

    fn ail(&mut self) {
        let ailments = [Ailment::Broken, Ailment::Hanging, Ailment::Away, Ailment::AnswerLost];
        let ailment = self.dice.percent(30).then(|| self.dice.pick(&ailments));
        self.receiver.ail(ailment);
        let dies_after = self.dice.percent(10).then(|| self.dice.between(1, 4));
        self.receiver.kill_after(dies_after);
    }

    fn begin_life(&mut self) {
        if self.life.is_some() {
            return;
        }
        let dies_at = self.dice.percent(30).then(|| self.dice.between(1, 400));
        let config = self.folder.path().join("cordon.toml");
        self.life = Some(Life::begin(config, Arc::clone(self.node), Arc::clone(self.receiver), dies_at));
    }

    async fn move_chain(&mut self, away: bool) {
        let Self { story, dice, .. } = self;
        let reorganised = story.length() > 0 && dice.percent(45);
        if reorganised {
            let depth = dice.between(1, story.length().min(4));
            let held = story.holds_strike(depth);
            let branch = match (held, dice.below(4)) {
                (_, 0) => Branch::Same,
                (true, 1) => Branch::Removed,
                (true, _) => Branch::Moved,
                (false, _) => Branch::Added,
            };
            let extra = dice.below(3);
            story.reorganise(depth, branch, extra, dice).await;
            let changes = held || branch == Branch::Added;
            self.outcome.note(Class::F4, u64::from(changes));
            self.outcome.detail(&format!("Reorg{branch:?}"), 1);
        }
        let blocks =
            if away { self.dice.between(1, 4) } else { self.dice.between(u64::from(!reorganised), 3) };
        for _ in 0..blocks {
            let parts = self.parts();
            self.story.mine(&parts, &mut self.dice).await;
        }
    }

    fn parts(&mut self) -> Vec<Part> {
        let dice = &mut self.dice;
        let mut parts = vec![Part::Honest; usize::try_from(dice.below(3)).unwrap()];
        if dice.percent(20) {
            parts.push(Part::OddLogs);
        }
        match dice.below(100) {
            0..30 => parts.push(Part::Strike),
            30..45 => parts.push(Part::StrikeThrough),
            45..55 => parts.push(Part::FailedStrike),
            _ => {}
        }
        parts
    }

    /// Waits until the engine rests at the head (true) or is dead (false), and moves the chain where the plan says so.
    async fn settle(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            while let Ok(done) = self.wishes.try_recv() {
                self.move_chain(false).await;
                self.node.disturb();
                done.send(()).ok();
            }
            let Some(life) = &self.life else { return false };
            if life.is_over() {
                self.bury().await;
                return false;
            }
            if self.node.rests_at(self.story.head) {
                return true;
            }
            if begun.elapsed() > PATIENCE {
                let what = format!("the engine does not come to rest at block {}", self.story.head);
                self.outcome.breaches.0.push((Breach::Lost, what));
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Takes note of how the life ended.
    async fn bury(&mut self) {
        let Some(life) = self.life.take() else { return };
        match life.end().await {
            End::Stopped => {}
            End::Died => self.deaths += 1,
            End::GaveUp(why) => {
                self.outcome.detail("GaveUp", 1);
                tracing::warn!(target: "cordon_test", why, "gave up");
                // A supervisor starts it again; what it must not do is to give up for good, or for a wrong reason.
                let fatal = ["serves chain", "reorganised below", "was reverted, but"];
                let is_wrong = fatal.iter().any(|words| why.contains(words));
                self.outcome.breaches.expect(!is_wrong, Breach::Wrong, || format!("gave up: {why}"));
            }
        }
    }

    /// Depth zero: an attack in the newest block is on record while that block is the newest.
    async fn met_at_the_head(&mut self, store: &Store) {
        let head = self.anvil.block(self.story.head).await;
        let hash: B256 = serde_json::from_value(head["hash"].clone()).unwrap();
        if !self.story.holds_strike(1) {
            return;
        }
        let canon = read_canon(self.anvil, &self.story.stage(), self.story.head).await;
        let Some(strike) = canon.strikes.iter().next() else { return };
        let pages = store.read().await;
        let met = pages.incidents().iter().any(|incident| {
            incident.findings.iter().any(|f| f.tx.hash == strike.hash && f.tx.block.hash == hash)
        });
        self.outcome.breaches.expect(met, Breach::Lost, || {
            format!("attack {} was not on record while block {} was the newest", strike.hash, strike.number)
        });
        self.outcome.note(Class::F6, 1);
    }

    /// Everything works again. The process starts afresh, and blocks are mined until nothing is left to do.
    async fn peace(&mut self, store: &Store) {
        self.node.heal();
        self.receiver.ail(None);
        self.receiver.kill_after(None);
        let ailed = self.receiver.ailed();
        self.outcome.note(Class::F3, ailed);
        self.bury().await;
        for _ in 0..PEACE_BLOCKS_MAX {
            self.story.mine(&[], &mut self.dice).await;
            self.node.disturb();
            let mut lives = 0;
            loop {
                self.begin_peaceful_life();
                lives += 1;
                if self.settle().await {
                    break;
                }
                if lives > 3 || !self.outcome.breaches.0.is_empty() {
                    self.outcome.breaches.0.push((Breach::Lost, "no life settles in peace".to_owned()));
                    return self.bury().await;
                }
            }
            if store.read().await.is_at_peace() {
                break;
            }
        }
        self.bury().await;
    }

    /// Compares the log with the chain and with what the receiver saw.
    async fn finish(mut self, store: &Store) -> Outcome {
        // Seen once in some hundred rollbacks of one anvil: its newest state is empty.
        self.outcome.void = !self.story.is_sound().await;
        let canon = read_canon(self.anvil, &self.story.stage(), self.story.first).await;
        audit(&canon, store, self.receiver, self.deaths, &mut self.outcome).await;
        let Self { mut outcome, deaths, node, .. } = self;
        outcome.note(Class::F1, canon.odd_blocks);
        outcome.note(Class::F5, canon.strikes.iter().filter(|strike| strike.through).count() as u64);
        outcome.note(Class::F10, canon.failed_strikes);
        outcome.note(Class::F11, deaths);
        for (name, times) in node.take_injected() {
            if !["ChainMoves", "DieBefore", "DieAfter"].contains(&name.as_str()) {
                outcome.note(Class::F2, times);
            }
            outcome.detail(&name, times);
        }
        outcome
    }

    fn begin_peaceful_life(&mut self) {
        if self.life.is_none() {
            let config = self.folder.path().join("cordon.toml");
            self.life = Some(Life::begin(config, Arc::clone(self.node), Arc::clone(self.receiver), None));
        }
    }
}

/// Adds every promise that was broken.
pub(crate) async fn audit(
    canon: &Canon,
    store: &Store,
    receiver: &Receiver,
    deaths: u64,
    outcome: &mut Outcome,
) {
    let pages = store.read().await;
    let (accepted, acknowledged) = (receiver.accepted(), receiver.acknowledged());
    let book = Book { canon, pages: &pages, accepted, acknowledged, deaths };
    outcome.breaches.0.extend(book.audit().0);
    let forged = receiver.forged();
    outcome
        .breaches
        .expect(forged.is_empty(), Breach::Wrong, || format!("signatures do not fit: {forged:?}"));
    for (stream, record) in &pages.records {
        let told = serde_json::to_string(record).unwrap().contains(KEY);
        outcome.breaches.expect(!told, Breach::Wrong, || format!("{stream} holds the node's key"));
    }
}
