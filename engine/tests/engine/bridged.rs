//! Two chains and one log: what is paid out on one is compared with what was sent on the other.

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use cordon_engine::{Config, Engine, Event};
use cordon_ingest::sources::json_rpc;
use cordon_ingest::{Advance, ChainSource, JsonRpc, StartAt};
use cordon_model::finding::sign::{MessageFault, Sign, Unbacked};
use cordon_model::finding::{Evidence, Finding};
use cordon_model::log::{Body, ChainEvent, EventLog, StreamId};
use cordon_model::message::{MessageNews, Messages};
use cordon_range::{Call, Chain, ChainConfig};
use cordon_store::SqliteLog;
use std::sync::Arc;
use tempfile::TempDir;

/// On both chains, as bridges are that were deployed alike everywhere.
const BRIDGE: Address = Address::repeat_byte(0xb1);
const USER: Address = Address::repeat_byte(0xa1);
const PADDER: Address = Address::repeat_byte(0xad);
const SENT: &str = "Sent(bytes32 indexed id, uint256 amount)";
const RELEASED: &str = "Released(bytes32 indexed id, uint256 amount)";
const COIN_WEI: u64 = 1_000_000_000_000_000_000;

/// Logs the event that it is called with (topic, id, amount), and pays the amount to whoever is named after it.
const CODE: [u8; 36] = hex!("6040355f526020355f3560205fa260603611601657005b5f5f5f5f6040356060355af100");

/// One chain, and the engine that watches it.
struct End {
    chain: Chain,
    config: Config,
    source: JsonRpc,
    engine: Engine,
}

struct Bridge {
    home: End,
    away: End,
    log: Arc<dyn EventLog>,
    _folder: TempDir,
}

impl End {
    async fn new(config: Config, log: &Arc<dyn EventLog>) -> Self {
        let chain = Chain::new(ChainConfig { chain_id: config.chain.id.0, ..ChainConfig::default() });
        chain.set_code(BRIDGE, CODE);
        chain.fund(BRIDGE, U256::from(1_000u32) * U256::from(COIN_WEI));
        chain.fund(USER, U256::from(1_000u32) * U256::from(COIN_WEI));
        chain.mine();
        let mut follow = json_rpc::Config::new(config.chain.id);
        follow.start = StartAt::Block(1);
        let source = JsonRpc::from_provider(chain.provider(), follow);
        let engine = open(&config, &chain, log).await;
        Self { chain, config, source, engine }
    }

    fn act(&self, event: &str, (id, coins): (B256, u64), to: Option<Address>) {
        let topic = keccak256(event.replace(" indexed id", "").replace(" amount", "").replace(", ", ","));
        let amount = U256::from(coins) * U256::from(COIN_WEI);
        let mut input = [topic.0, id.0, amount.to_be_bytes::<32>()].concat();
        input.extend(to.iter().flat_map(|to| to.into_word().0));
        let hash = self.chain.submit_as(USER, Call::new(BRIDGE, Bytes::from(input))).unwrap();
        self.chain.mine();
        assert!(self.chain.receipt(hash).unwrap().status());
    }

    fn send(&self, id: u8, coins: u64) {
        self.act(SENT, (B256::repeat_byte(id), coins), None);
    }

    fn release(&self, id: u8, coins: u64) {
        let before = self.chain.balance(USER);
        self.act(RELEASED, (B256::repeat_byte(id), coins), Some(USER));
        assert!(self.chain.balance(USER) > before, "it was paid out");
    }

    async fn follow(&mut self) {
        while let Advance::Update(update) = self.source.advance(self.engine.cursor()).await.unwrap() {
            self.engine.handle(Event::Chain(update)).await.unwrap();
        }
    }

    /// So many more blocks, all of them judged.
    async fn live(&mut self, blocks: u64) {
        self.chain.mine_many(blocks);
        self.follow().await;
    }

    fn findings(&self) -> Vec<Finding> {
        self.engine.incidents().flat_map(|incident| incident.findings.clone()).collect()
    }

    fn faults(&self) -> Vec<MessageFault> {
        let fault = |finding: Finding| match finding.evidence {
            Evidence::Sign(Sign::Unbacked(Unbacked::Release { fault, .. })) => fault,
            other => panic!("{other}"),
        };
        self.findings().into_iter().map(fault).collect()
    }
}

async fn open(config: &Config, chain: &Chain, log: &Arc<dyn EventLog>) -> Engine {
    Engine::open(config, chain.provider(), Arc::clone(log), Box::new(|_| {})).await.unwrap()
}

/// A bridge that goes both ways, so that each chain is a source of the other one.
fn config(travels_max_hours: u64) -> String {
    let (home, away) = (31_337, 31_338);
    let chain = |id| format!("[[chain]]\nid = {id}\nrpc = 'http://range.invalid'\nhardfork = 'osaka'\n");
    let protocol = |name, id| {
        format!(
            "[[protocol]]\nid = '{name}'\nchain = {id}\ncontracts = [{{ address = '{BRIDGE}', name = 'bridge' }}]\n"
        )
    };
    let source = |id| {
        format!(
            "[[detector.bridge.source]]\nchain = {id}\ncontract = '{BRIDGE}'\nevent = '{SENT}'\nid = ['id']\namount = 'amount'\n"
        )
    };
    format!(
        "{}{}{}{}[[detector]]\ntype = 'unbacked-mint'\n[[detector.bridge]]\ncustody = '{BRIDGE}'\n\
             release_event = '{RELEASED}'\nid = ['id']\namount = 'amount'\ntravels_max_hours = {travels_max_hours}\n{}{}",
        chain(home),
        chain(away),
        protocol("home", home),
        protocol("away", away),
        source(home),
        source(away),
    )
}

impl Bridge {
    /// Messages that take so many hours at most.
    async fn new(travels_max_hours: u64) -> Self {
        let text = config(travels_max_hours);
        let folder = tempfile::tempdir().unwrap();
        let configs = Config::parse_all(&text, "the test's configuration", folder.path()).unwrap();
        let [home, away] = configs.as_slice() else { panic!("{configs:?}") };
        let log: Arc<dyn EventLog> = Arc::new(SqliteLog::open(&folder.path().join("log.db")).await.unwrap());
        let (home, away) = (End::new(home.clone(), &log).await, End::new(away.clone(), &log).await);
        let mut bridge = Self { home, away, log, _folder: folder };
        // Longer than the clocks may differ.
        bridge.home.live(3).await;
        bridge.away.live(3).await;
        bridge
    }

    /// What the log says of the messages of the chain that pays.
    async fn messages(&self) -> Messages {
        let mut messages = Messages::default();
        for stored in self.log.read(StreamId::chain(self.away.config.chain.id)).await.unwrap() {
            if let Body::Chain(event) = &stored.record.body {
                messages.apply(event);
            }
        }
        messages
    }

    /// The process that watches the paying chain ends, and another one begins.
    async fn restart(&mut self) {
        self.away.engine = open(&self.away.config, &self.away.chain, &self.log).await;
    }
}

#[tokio::test]
async fn what_was_never_sent_is_an_incident_once_the_other_chain_was_judged_that_far() {
    let mut bridge = Bridge::new(0).await;
    bridge.away.release(7, 5);
    bridge.away.follow().await;
    let paid = bridge.away.engine.cursor().head().unwrap();
    bridge.away.live(5).await;
    assert_eq!(bridge.away.findings(), [], "the other chain stands at its first block");
    assert_eq!(bridge.messages().await.waiting().count(), 1);

    bridge.restart().await;
    bridge.home.live(2).await;
    bridge.away.live(1).await;
    assert_eq!(bridge.away.findings(), [], "clocks may differ by two slots");
    bridge.home.live(1).await;
    bridge.away.live(1).await;
    assert_eq!(bridge.away.faults(), [MessageFault::Unsent]);
    assert_eq!(bridge.away.findings()[0].tx.block, paid, "of a block that was judged before");
    assert_eq!(bridge.messages().await.waiting().count(), 0);
    bridge.home.live(3).await;
    bridge.away.live(3).await;
    assert_eq!(bridge.away.findings().len(), 1, "it is said once");
    assert_eq!(bridge.home.findings(), [], "the other chain paid nothing out");
}

/// The benign twins: a message that was sent, for as much and for more, whichever chain is judged first.
#[tokio::test]
async fn what_was_sent_wakes_nobody_and_is_settled_when_it_is_for_good() {
    let mut bridge = Bridge::new(0).await;
    bridge.home.send(7, 5);
    bridge.home.send(8, 5);
    bridge.home.send(9, 5);
    bridge.home.follow().await;
    bridge.home.live(1).await;
    bridge.away.release(7, 5);
    bridge.away.release(8, 4);
    bridge.away.follow().await;
    assert_eq!(bridge.messages().await.waiting().count(), 2);
    bridge.home.live(260).await;
    bridge.away.live(1).await;
    assert_eq!(bridge.messages().await.waiting().count(), 0);
    bridge.away.release(9, 5);
    bridge.away.follow().await;
    assert_eq!(bridge.messages().await.waiting().count(), 0, "nothing to wait for");
    assert_eq!(bridge.away.findings(), []);
    assert_eq!(bridge.home.findings(), []);
}

#[tokio::test]
async fn more_than_was_sent_and_a_second_payment_are_incidents() {
    let mut bridge = Bridge::new(0).await;
    bridge.home.send(7, 5);
    bridge.home.send(8, 5);
    bridge.home.live(5).await;
    bridge.away.release(7, 6);
    bridge.away.follow().await;
    assert_eq!(bridge.away.faults(), [MessageFault::More]);
    bridge.away.release(8, 5);
    bridge.restart().await;
    bridge.away.release(8, 5);
    bridge.away.follow().await;
    assert_eq!(bridge.away.faults(), [MessageFault::More, MessageFault::Twice]);
}

#[tokio::test]
async fn a_message_whose_block_leaves_its_chain_was_never_sent() {
    let mut bridge = Bridge::new(0).await;
    bridge.home.live(2).await;
    bridge.home.send(7, 5);
    bridge.home.follow().await;
    bridge.away.release(7, 5);
    bridge.home.live(3).await;
    bridge.away.follow().await;
    assert_eq!(bridge.away.findings(), []);
    bridge.home.chain.reorg(4).unwrap();
    bridge.home.live(8).await;
    bridge.away.live(1).await;
    assert_eq!(bridge.away.faults(), [MessageFault::Unsent]);
}

/// The near miss, and what leaves the chain that pays.
#[tokio::test]
async fn what_may_be_older_than_the_watch_and_what_left_the_chain_are_not_judged() {
    let mut bridge = Bridge::new(1).await;
    bridge.away.release(7, 5);
    bridge.away.follow().await;
    bridge.home.live(5).await;
    bridge.away.live(1).await;
    assert_eq!((bridge.away.findings(), bridge.messages().await.waiting().count()), (Vec::new(), 0));

    let mut bridge = Bridge::new(0).await;
    bridge.away.release(7, 5);
    bridge.away.follow().await;
    bridge.away.chain.reorg(1).unwrap();
    bridge.home.live(5).await;
    bridge.away.live(2).await;
    assert_eq!((bridge.away.findings(), bridge.messages().await.waiting().count()), (Vec::new(), 0));
    bridge.away.release(7, 5);
    bridge.home.live(9).await;
    bridge.away.live(1).await;
    assert_eq!(bridge.away.faults(), [MessageFault::Unsent], "its id was not used up by the block that left");
}

/// Hostile input: whoever calls often enough has the record of his transaction cut before it comes to the message.
#[tokio::test]
async fn a_message_behind_a_record_that_was_cut_is_read_from_the_receipt() {
    let mut bridge = Bridge::new(0).await;
    let cut = |end: &End, event: &str, id: u8| {
        let topic = keccak256(event.replace(" indexed id", "").replace(" amount", "").replace(", ", ","));
        let input = [topic.0, [id; 32], [0; 32]].concat();
        let call = Call::new(PADDER, Bytes::from(input)).with_gas_limit(14_000_000);
        let hash = end.chain.submit_as(USER, call).unwrap();
        end.chain.mine();
        let receipt = end.chain.receipt(hash).unwrap();
        assert!(receipt.status() && receipt.logs().len() == 1, "{receipt:?}");
    };
    for end in [&bridge.home, &bridge.away] {
        end.chain.set_code(PADDER, padder());
    }
    cut(&bridge.home, SENT, 7);
    bridge.home.live(1).await;
    cut(&bridge.away, RELEASED, 7);
    cut(&bridge.away, RELEASED, 8);
    bridge.away.follow().await;
    bridge.home.live(5).await;
    bridge.away.live(1).await;
    assert_eq!(bridge.away.faults(), [MessageFault::Unsent]);
    let said = bridge.away.findings()[0].evidence.to_string();
    assert!(said.contains(&B256::repeat_byte(8).to_string()), "{said}");
}

/// Calls nobody 20,000 times, and then the bridge with what it was called with.
fn padder() -> Bytes {
    // A counter; then: call 0xdead with nothing, one less, again while it is not zero.
    let mut code =
        hex!("614e20" "5b" "5f5f5f5f5f" "61dead" "612710" "f1" "50" "6001" "90" "03" "80" "6003" "57")
            .to_vec();
    // calldata to memory, and the call of the bridge with it.
    code.extend(hex!("365f5f37" "5f5f" "36" "5f5f" "73"));
    code.extend(BRIDGE.as_slice());
    code.extend(hex!("5af1" "00"));
    code.into()
}

#[tokio::test]
async fn what_a_process_listens_to_is_in_the_log() {
    let bridge = Bridge::new(0).await;
    for end in [&bridge.home, &bridge.away] {
        let stored = bridge.log.read(StreamId::chain(end.config.chain.id)).await.unwrap();
        let listening = stored.iter().filter_map(|stored| match &stored.record.body {
            Body::Chain(ChainEvent::Messages { news, .. }) => Some(news),
            _ => None,
        });
        let listening: Vec<_> = listening.flatten().collect();
        assert!(
            matches!(listening.as_slice(), [MessageNews::Listening { sources, .. }] if sources.len() == 1)
        );
    }
}

#[test]
fn a_bridge_of_which_one_end_is_not_watched_is_refused_by_key() {
    let problems = |from: &str, to: &str| {
        let text = config(0).replacen(from, to, 1);
        Config::parse_all(&text, "the test's configuration", std::path::Path::new("."))
            .unwrap_err()
            .to_string()
    };
    let stranger = Address::repeat_byte(0x5e);
    let custody = problems(&format!("custody = '{BRIDGE}'"), &format!("custody = '{stranger}'"));
    assert!(custody.contains(&format!("detector[0].bridge[0].custody: found '{stranger}'")), "{custody}");
    let source = problems("chain = 31337\ncontract =", "chain = 10\ncontract =");
    assert!(source.contains("detector[0].bridge[0].source[0].contract"), "{source}");
    assert!(source.contains("a contract that a [[protocol]] on chain 10 protects"), "{source}");
    let alone = format!("id = 'away'\nchain = 31338\ncontracts = [{{ address = '{stranger}'");
    let own = problems(&format!("id = 'away'\nchain = 31338\ncontracts = [{{ address = '{BRIDGE}'"), &alone);
    assert!(own.contains("source[0].chain: found '31337', expected another chain"), "{own}");
    let twice = config(0) + config(0).split("[[detector]]\ntype = 'unbacked-mint'\n").nth(1).unwrap();
    let error = Config::parse_all(&twice, "the test's configuration", std::path::Path::new(".")).unwrap_err();
    assert!(error.to_string().contains("a custody that no other bridge has"), "{error}");
}
