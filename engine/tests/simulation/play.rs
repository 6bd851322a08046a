//! One simulated history: a chain that lives, processes that die, and peace at the end.
//!
//! In: a seed. Out: the log's bytes, what was injected, and which promises were broken. It goes the way of `cordon watch`
//! over the same public calls; its only clock is the runtime's, which stands still while anything is to be done.

use crate::book::{Book, Breach, Breaches, Canon, Strike};
use crate::chain_edits::{MinedTx, take_back};
use crate::dice::Dice;
use crate::memory::{MemoryLog, MortalLog};
use crate::node;
use crate::watchtower::{Grants, Tower};
use crate::weather::{Death, Fate, StormyNode, Weather};
use alloy_primitives::{Address, B256, keccak256};
use cordon_engine::{Engine, EngineError, Event};
use cordon_ingest::sources::json_rpc;
use cordon_ingest::{Advance, ChainSource as _, JsonRpc, StartAt};
use cordon_model::log::EventLog;
use cordon_model::notice::Notice;
use cordon_model::units::BlockRef;
use cordon_notify::{Channel, DeliveryError, DeliveryFuture, Moment, Outbox};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Steps of the scenario before the first strike.
const STRIKE_STEP: u64 = 23;

/// Blocks that are mined in peace until nothing is left to do.
const PEACE_BLOCKS_MAX: u64 = 14;

/// More turns of the loop than any block takes, with all faults of a phase.
const TURNS_MAX: usize = 400;

/// Blocks that are fetched ahead: none. They are fetched beside the replay, on another thread, so that which of the two asks
/// the node first, and meets the next fault, would not follow from the seed. The fault suite fetches ahead.
const FETCH_AHEAD: usize = 0;

/// Pause after a failure of the node, on the runtime's clock.
const PAUSE: Duration = Duration::from_secs(1);

/// What was injected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) blocks: u64,
    pub(crate) strikes: u64,
    pub(crate) reorganisations: u64,
    pub(crate) deaths: u64,
    pub(crate) node_faults: u64,
    pub(crate) receiver_faults: u64,
    pub(crate) gave_up: u64,
}

/// What a history came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) bytes: Vec<u8>,
    pub(crate) tally: Tally,
    pub(crate) breaches: Breaches,
}

/// The receiver of notices.
#[derive(Debug, Default)]
struct Inbox {
    accepted: BTreeMap<String, u64>,
    acknowledged: BTreeMap<String, u64>,
    dice: Option<Dice>,
    failed: u64,
}

/// A channel to the receiver that fails now and then, or loses the receiver's answer.
#[derive(Debug)]
struct Post(Arc<Mutex<Inbox>>);

impl Channel for Post {
    fn name(&self) -> &str {
        "terminal"
    }

    fn deliver<'a>(&'a self, notice: &'a Notice, _: u64) -> DeliveryFuture<'a> {
        let mut inbox = self.0.lock().unwrap();
        let luck = inbox.dice.as_mut().map_or(100, |dice| dice.below(100));
        inbox.failed += u64::from(luck < 30);
        let id = notice.id.0.to_string();
        if luck >= 15 {
            *inbox.accepted.entry(id.clone()).or_default() += 1;
        }
        let outcome = if luck < 30 {
            Err(DeliveryError::Status { host: "receiver".to_owned(), status: 500 })
        } else {
            *inbox.acknowledged.entry(id).or_default() += 1;
            Ok(())
        };
        Box::pin(std::future::ready(outcome))
    }
}

/// A process.
struct Life {
    engine: Engine,
    source: JsonRpc,
    outbox: Outbox,
    log: Arc<dyn EventLog>,
    fate: Arc<Fate>,
}

/// How far a process came.
enum Way {
    Rests,
    Dead,
}

struct Play {
    tower: Tower,
    weather: Arc<Weather>,
    disk: MemoryLog,
    inbox: Arc<Mutex<Inbox>>,
    dice: Dice,
    life: Option<Life>,
    tally: Tally,
    breaches: Breaches,
    born: tokio::time::Instant,
}

/// Plays the history of a seed. The runtime's clock must be paused.
pub(crate) async fn play(seed: u64) -> Outcome {
    let mut dice = Dice::new(seed);
    let mut tower = Tower::after_steps(STRIKE_STEP - 1 - dice.between(1, 8), seed, Grants::Automatic);
    tower.config.chain.fetch_ahead = FETCH_AHEAD;
    tower.config.signers.retain(|signer| signer.address == tower.guardian);
    let weather = Weather::fair(tower.chain());
    let mut play = Play {
        tower,
        weather,
        disk: MemoryLog::default(),
        inbox: Arc::default(),
        dice,
        life: None,
        tally: Tally::default(),
        breaches: Breaches::default(),
        born: tokio::time::Instant::now(),
    };
    for _ in 0..play.dice.between(6, 16) {
        play.phase().await;
    }
    play.peace().await;
    play.finish()
}

impl Play {
    async fn phase(&mut self) {
        self.move_chain();
        let (left, percent) = (self.dice.below(5), self.dice.pick(&[1, 3, 10]));
        self.weather.set(Dice::new(self.dice.roll()), left, percent);
        let luck = Dice::new(self.dice.roll());
        self.inbox.lock().unwrap().dice = self.dice.percent(40).then_some(luck);
        let death = self.dice.percent(40).then(|| self.draw_death());
        if self.dice.percent(15) {
            self.life = None;
            self.tally.deaths += 1;
        }
        self.live(death).await;
    }

    fn draw_death(&mut self) -> Death {
        let at_commit = self.dice.percent(50);
        let at = if at_commit { self.dice.between(1, 14) } else { self.dice.between(1, 250) };
        Death { at, at_commit, after: self.dice.percent(50) }
    }

    /// Follows the chain to its head with the process there is, or a new one.
    async fn live(&mut self, death: Option<Death>) {
        if self.life.is_none() {
            match self.begin(death).await {
                Ok(life) => self.life = Some(life),
                Err(None) => self.tally.deaths += 1,
                // Whoever starts processes starts another one.
                Err(Some(error)) => {
                    self.tally.gave_up += 1;
                    let transient = is_transient(&error);
                    self.breaches.expect(transient, Breach::Wrong, || format!("did not start: {error:?}"));
                }
            }
        }
        let Some(mut life) = self.life.take() else { return };
        match self.follow(&mut life).await {
            Ok(Way::Rests) => self.life = Some(life),
            Ok(Way::Dead) => self.tally.deaths += 1,
            Err(error) => self.breaches.0.push((Breach::Lost, format!("gave up: {error}"))),
        }
    }

    /// Starts a process as `cordon watch` does; `None` where it dies before it runs.
    async fn begin(&self, death: Option<Death>) -> Result<Life, Option<EngineError>> {
        let fate = Fate::of(death);
        let log: Arc<dyn EventLog> = Arc::new(MortalLog { disk: self.disk.clone(), fate: Arc::clone(&fate) });
        let line = StormyNode {
            inner: self.tower.chain().transport(),
            weather: Arc::clone(&self.weather),
            fate: Arc::clone(&fate),
        };
        let provider = node::provider(line);
        let begun = self.start(&log, &provider).await;
        let alive = |error| (!fate.is_dead()).then_some(error);
        let engine = begun.map_err(alive)?;
        let first = self.tower.config.chain.start_block.unwrap();
        let source = JsonRpc::from_provider(provider, self.source_config(first));
        let outbox = Outbox::new(Box::new(Post(Arc::clone(&self.inbox))));
        Ok(Life { engine, source, outbox, log, fate })
    }

    fn source_config(&self, first: u64) -> json_rpc::Config {
        let mut config = json_rpc::Config::new(self.tower.chain_id());
        config.start = StartAt::Block(first);
        config.fetch_ahead = FETCH_AHEAD;
        config
    }

    async fn start(
        &self,
        log: &Arc<dyn EventLog>,
        provider: &alloy_provider::DynProvider,
    ) -> Result<Engine, EngineError> {
        let silent = Box::new(|_: cordon_engine::News<'_>| {});
        let mut engine = Engine::open(&self.tower.config, provider.clone(), Arc::clone(log), silent).await?;
        cordon_engine::watch::restore(&self.tower.config, &mut engine, provider.clone()).await?;
        Ok(engine)
    }

    /// The loop of `watch`, with deliveries in between.
    async fn follow(&mut self, life: &mut Life) -> Result<Way, EngineError> {
        let mut last = String::new();
        for _ in 0..TURNS_MAX {
            let turned = turn(life).await;
            if let Err(error) = &turned {
                last = error.to_string();
            }
            if life.fate.is_dead() {
                return Ok(Way::Dead);
            }
            self.deliver(life).await;
            if life.fate.is_dead() {
                return Ok(Way::Dead);
            }
            match turned {
                Ok(true) => {}
                Ok(false) if life.engine.is_unfinished() => tokio::time::sleep(PAUSE).await,
                Ok(false) => return Ok(Way::Rests),
                Err(error) if is_transient(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
        self.breaches.0.push((Breach::Lost, format!("no rest in {TURNS_MAX} turns, last error '{last}'")));
        Ok(Way::Rests)
    }

    async fn deliver(&self, life: &mut Life) {
        let (stamp, clock_s) = (life.engine.stamp(), 2_000_000_000 + self.born.elapsed().as_secs());
        let moment = Moment { clock_s, at_s: stamp.at_s, at_block: stamp.at_block };
        // What fails stays in the outbox, where the audit looks.
        life.outbox.drain(life.log.as_ref(), moment).await.ok();
    }

    fn move_chain(&mut self) {
        let first = self.tower.config.chain.start_block.unwrap();
        let length = (self.tower.head().number + 1).saturating_sub(first);
        if length > 0 && self.dice.percent(25) {
            let depth = self.dice.between(1, length.min(4));
            self.reorganise(depth);
            self.tally.reorganisations += 1;
            return;
        }
        for _ in 0..self.dice.between(1, 2) {
            if self.dice.percent(20) || self.tower.world.step().is_err() {
                self.tower.chain().mine();
            }
        }
    }

    /// Takes blocks away and mines their transactions again: as before, later, or without those of the attacker.
    fn reorganise(&mut self, depth: u64) {
        let chain = self.tower.chain().clone();
        let honest = self.honest();
        let dropped: Vec<MinedTx> =
            take_back(&chain, depth).into_iter().filter(|tx| tx.from != self.tower.guardian).collect();
        let first = chain.head().number + 1;
        let kind = self.dice.below(3);
        let shift = u64::from(kind == 1);
        for number in first..first + depth + shift + self.dice.below(2) {
            for tx in dropped.iter().filter(|tx| tx.block + shift == number) {
                if kind != 2 || honest.contains(&tx.from) {
                    // The new branch may have no room for it, for instance because a nonce is missing now.
                    chain.submit_as_with_nonce(tx.from, tx.nonce, tx.call.clone()).ok();
                }
            }
            chain.mine();
        }
    }

    /// Who is known to be no attacker.
    fn honest(&self) -> Vec<Address> {
        let known = self.tower.world.accounts().iter().map(|account| account.address);
        known.chain([self.tower.guardian, self.tower.operator]).collect()
    }

    async fn peace(&mut self) {
        self.tally.node_faults = self.weather.met();
        self.weather.set(Dice::new(0), 0, 0);
        self.inbox.lock().unwrap().dice = None;
        self.life = None;
        for _ in 0..PEACE_BLOCKS_MAX {
            self.tower.chain().mine();
            self.live(None).await;
            // Longer than the longest wait between two attempts of an outbox.
            tokio::time::sleep(Duration::from_secs(1_000)).await;
            if let Some(mut life) = self.life.take() {
                self.deliver(&mut life).await;
                self.life = Some(life);
            }
            if !self.breaches.0.is_empty() || self.disk.pages().is_at_peace() {
                return;
            }
        }
    }

    fn finish(mut self) -> Outcome {
        let canon = self.canon();
        let pages = self.disk.pages();
        let inbox = self.inbox.lock().unwrap();
        let (accepted, acknowledged) = (inbox.accepted.clone(), inbox.acknowledged.clone());
        self.tally.receiver_faults = inbox.failed;
        self.tally.strikes = canon.strikes.len() as u64;
        self.tally.blocks = canon.blocks.len() as u64;
        let book = Book { canon: &canon, pages: &pages, accepted, acknowledged, deaths: self.tally.deaths };
        let mut breaches = std::mem::take(&mut self.breaches);
        breaches.0.extend(book.audit().0);
        Outcome { bytes: self.disk.bytes(), tally: self.tally, breaches }
    }

    /// The chain as it stands. An attack is a transaction of somebody unknown that moved dollars.
    fn canon(&self) -> Canon {
        let (chain, honest) = (self.tower.chain(), self.honest());
        let transfer = keccak256("Transfer(address,address,uint256)");
        let asset = |symbol: &str| {
            let assets = &self.tower.world.facts().assets;
            assets.iter().find(|asset| asset.symbol == symbol).unwrap().token
        };
        let dollar = asset("dUSD");
        let first = self.tower.config.chain.start_block.unwrap();
        let mut canon = Canon::default();
        for number in first..=chain.head().number {
            let block = chain.rpc("eth_getBlockByNumber", serde_json::json!([format!("{number:#x}"), true]));
            let hash: B256 = block.unwrap()["hash"].as_str().unwrap().parse().unwrap();
            canon.blocks.push(BlockRef { number, hash });
        }
        for tx in crate::chain_edits::transactions_since(chain, first) {
            let receipt = chain.receipt(tx.hash).unwrap();
            let block = receipt.block_hash.unwrap();
            if tx.from == self.tower.guardian {
                canon.guardian.push((tx.hash, tx.nonce));
            }
            let moved = receipt
                .logs()
                .iter()
                .any(|log| log.address() == dollar && log.topics().first() == Some(&transfer));
            if moved && !honest.contains(&tx.from) {
                canon.strikes.insert(Strike { hash: tx.hash, block, number: tx.block, through: false });
            }
        }
        canon
    }
}

/// One turn of the loop; false at the head.
async fn turn(life: &mut Life) -> Result<bool, EngineError> {
    match life.source.advance(life.engine.cursor()).await? {
        Advance::Update(update) => life.engine.handle(Event::Chain(update)).await.map(|()| true),
        Advance::AtHead | Advance::End => life.engine.retry().await.map(|()| false),
    }
}

/// As the loop of `watch` draws the line.
fn is_transient(error: &EngineError) -> bool {
    match error {
        EngineError::Source(error) => error.is_transient(),
        EngineError::Replay(_) | EngineError::Node { .. } => true,
        error => !error.is_of_the_log() && matches!(error, EngineError::Journal(_) | EngineError::Log(_)),
    }
}
