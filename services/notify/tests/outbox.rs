//! The outbox on a real log: nothing is lost over failures and restarts, and nothing is sent twice without need.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as the test does: by a panic"
)]

use cordon_model::incident::Severity;
use cordon_model::log::{Append, Batch, Body, ChainEvent, EventLog, LogError, StreamId};
use cordon_model::notice::{Audience, Notice, OutboxEvent};
use cordon_model::units::{BlockRef, ChainId, IncidentId, NoticeId, ProtocolId};
use cordon_notify::channels::terminal::TerminalChannel;
use cordon_notify::{
    Channel, ChannelConfig, DeliveryError, DeliveryFuture, Drained, Moment, Outbox, pending, queue_records,
};
use cordon_store::SqliteLog;
use secrecy::SecretString;
use std::io::Write;
use std::sync::{Arc, Mutex};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

#[tokio::test]
async fn a_failing_receiver_gets_everything_once_it_is_back() {
    let log = SqliteLog::in_memory().await.unwrap();
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).up_to_n_times(3).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let mut outbox = Outbox::new(webhook(&server));
    queue(&log, &[notice("a"), notice("b")]).await;

    let first = outbox.drain(&log, at(100)).await.unwrap();
    assert_eq!(first, Drained { delivered: 0, failed: 2, pending: 2, next_due_s: Some(105) });
    // Not due yet: nothing is sent.
    let early = outbox.drain(&log, at(104)).await.unwrap();
    assert_eq!(early, Drained { delivered: 0, failed: 0, pending: 2, next_due_s: Some(105) });
    // The first fails once more and waits longer, the second gets through.
    let second = outbox.drain(&log, at(105)).await.unwrap();
    assert_eq!(second, Drained { delivered: 1, failed: 1, pending: 1, next_due_s: Some(115) });
    let third = outbox.drain(&log, at(115)).await.unwrap();
    assert_eq!(third, Drained { delivered: 1, failed: 0, pending: 0, next_due_s: None });
    outbox.drain(&log, at(10_000)).await.unwrap();
    assert_eq!(server.received_requests().await.unwrap().len(), 5);
    let expected =
        ["queued a", "queued b", "failed a 1", "failed b 1", "failed a 2", "delivered b 2", "delivered a 3"];
    assert_eq!(story(&log).await, expected);
}

#[tokio::test]
async fn a_restart_sends_what_is_pending_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).up_to_n_times(1).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(500)).up_to_n_times(1).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    {
        let log = SqliteLog::open(&path).await.unwrap();
        queue(&log, &[notice("a"), notice("b")]).await;
        let drained = Outbox::new(webhook(&server)).drain(&log, at(100)).await.unwrap();
        assert_eq!((drained.delivered, drained.failed, drained.pending), (1, 1, 1));
        log.close().await;
    }
    let log = SqliteLog::open(&path).await.unwrap();
    let mut outbox = Outbox::new(webhook(&server));
    // A start tries at once, and goes on counting where the log stands.
    let drained = outbox.drain(&log, at(101)).await.unwrap();
    assert_eq!(drained, Drained { delivered: 1, failed: 0, pending: 0, next_due_s: None });
    assert_eq!(story(&log).await, ["queued a", "queued b", "delivered a 1", "failed b 1", "delivered b 2"]);
    let ids: Vec<String> = received(&server).await;
    assert_eq!(ids, [id("a"), id("b"), id("b")]);
}

#[tokio::test]
async fn a_death_between_delivery_and_record_sends_again_under_the_same_id() {
    let log = SqliteLog::in_memory().await.unwrap();
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    queue(&log, &[notice("a")]).await;
    // The process delivers, and dies before it appends.
    webhook(&server).deliver(&notice("a"), 100).await.unwrap();
    let drained = Outbox::new(webhook(&server)).drain(&log, at(101)).await.unwrap();
    assert_eq!(drained.delivered, 1);
    assert_eq!(received(&server).await, [id("a"), id("a")]);
}

#[tokio::test]
async fn the_same_notice_queued_twice_is_sent_once() {
    let log = SqliteLog::in_memory().await.unwrap();
    queue(&log, &[notice("a"), notice("a")]).await;
    let (mut outbox, text) = terminal();
    assert_eq!(outbox.drain(&log, at(1)).await.unwrap().delivered, 1);
    queue(&log, &[notice("a")]).await;
    assert_eq!(outbox.drain(&log, at(2)).await.unwrap(), Drained::default());
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    let expected = "\
[HIGH] notice a
    inc-abababab, protocol lending on chain 1, for responders
    - lost: 1250 USD
";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn notices_queued_during_a_delivery_do_not_disturb_its_record() {
    let log = Arc::new(SqliteLog::in_memory().await.unwrap());
    queue(&log, &[notice("a")]).await;
    let mut outbox = Outbox::new(Box::new(QueuesMeanwhile { log: log.clone() }));
    assert_eq!(outbox.drain(&*log, at(1)).await.unwrap().delivered, 1);
    assert_eq!(story(&log).await, ["queued a", "queued b", "delivered a 1"]);
}

#[tokio::test]
async fn a_dead_receiver_costs_few_attempts_and_a_later_notice_is_not_held_up_for_ever() {
    let log = SqliteLog::in_memory().await.unwrap();
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(500)).up_to_n_times(3).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let notices: Vec<Notice> = ["a", "b", "c", "d"].map(notice).to_vec();
    queue(&log, &notices).await;
    let mut outbox = Outbox::new(webhook(&server));
    let first = outbox.drain(&log, at(100)).await.unwrap();
    assert_eq!(first, Drained { delivered: 0, failed: 3, pending: 4, next_due_s: Some(100) });
    // The first three wait; the fourth was not tried yet and does not wait for them.
    let second = outbox.drain(&log, at(101)).await.unwrap();
    assert_eq!(second, Drained { delivered: 1, failed: 0, pending: 3, next_due_s: Some(105) });
}

#[tokio::test]
async fn a_stream_that_makes_no_sense_is_corrupt() {
    let log = SqliteLog::in_memory().await.unwrap();
    let (mut outbox, _text) = terminal();
    let mut records = queue_records(&[notice("a")], 1, 1);
    records[0].body = Body::Outbox(OutboxEvent::Delivered { notice: notice("a").id, attempts: 1 });
    commit(&log, records).await;
    let error = outbox.drain(&log, at(1)).await.unwrap_err();
    assert!(matches!(&error, LogError::Corrupt { position: 1, .. }), "{error}");

    let log = SqliteLog::in_memory().await.unwrap();
    let mut records = queue_records(&[notice("a")], 1, 1);
    records[0].body =
        Body::Chain(ChainEvent::Reverted { block: BlockRef { number: 1, hash: [0; 32].into() } });
    commit(&log, records).await;
    let error = pending(&log.read(stream()).await.unwrap()).unwrap_err();
    assert!(error.to_string().contains("is no outbox event"), "{error}");
}

/// Accepts, and has the engine queue another notice in the meantime.
#[derive(Debug)]
struct QueuesMeanwhile {
    log: Arc<SqliteLog>,
}

impl Channel for QueuesMeanwhile {
    fn name(&self) -> &'static str {
        "on-call"
    }

    fn deliver<'a>(&'a self, _notice: &'a Notice, _sent_at_s: u64) -> DeliveryFuture<'a> {
        Box::pin(async move {
            queue(&self.log, &[notice("b")]).await;
            Ok::<(), DeliveryError>(())
        })
    }
}

/// A writer whose text the test can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn terminal() -> (Outbox, Arc<Mutex<Vec<u8>>>) {
    let shared = Shared::default();
    (Outbox::new(Box::new(TerminalChannel::new("on-call", Box::new(shared.clone())))), shared.0)
}

fn webhook(server: &MockServer) -> Box<dyn Channel> {
    let url = server.uri();
    let text = format!("type = \"webhook\"\nname = \"on-call\"\nurl = \"{url}\"\nsecret_env = \"S\"");
    let config: ChannelConfig = toml::from_str(&text).unwrap();
    config.build(&|_| Some(SecretString::from("0123456789abcdef"))).unwrap()
}

/// A channel during whose first delivery the engine queues another notice.
#[derive(Debug)]
struct Interrupted {
    log: Arc<SqliteLog>,
    told: Arc<Mutex<Vec<NoticeId>>>,
}

impl Channel for Interrupted {
    fn name(&self) -> &str {
        "on-call"
    }

    fn deliver<'a>(&'a self, notice: &'a Notice, _: u64) -> DeliveryFuture<'a> {
        Box::pin(async {
            self.told.lock().unwrap().push(notice.id);
            if notice.title == "notice a" {
                commit(&self.log, queue_records(&[crate::notice("b")], 1, 1)).await;
            }
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_notice_that_is_queued_during_a_delivery_is_not_overlooked() {
    let (log, told) = (Arc::new(SqliteLog::in_memory().await.unwrap()), Arc::default());
    let channel = Interrupted { log: Arc::clone(&log), told: Arc::clone(&told) };
    let mut outbox = Outbox::new(Box::new(channel));
    queue(&log, &[notice("a")]).await;
    for clock_s in 100..103 {
        outbox.drain(log.as_ref(), at(clock_s)).await.unwrap();
    }
    assert_eq!(*told.lock().unwrap(), [notice("a").id, notice("b").id]);
}

fn stream() -> StreamId {
    StreamId::outbox("on-call")
}

fn at(clock_s: u64) -> Moment {
    Moment { clock_s, at_s: clock_s, at_block: clock_s / 12 }
}

fn notice(occasion: &str) -> Notice {
    Notice {
        id: NoticeId::derive(&[occasion]),
        incident: Some(IncidentId([0xab; 32].into())),
        protocol: Some(ProtocolId("lending".to_owned())),
        chain_id: ChainId(1),
        severity: Severity::High,
        audience: Audience::Responders,
        title: format!("notice {occasion}"),
        lines: vec!["lost: 1250 USD".to_owned()],
    }
}

fn id(occasion: &str) -> String {
    notice(occasion).id.0.to_string()
}

async fn queue(log: &SqliteLog, notices: &[Notice]) {
    commit(log, queue_records(notices, 1, 1)).await;
}

async fn commit(log: &SqliteLog, records: Vec<cordon_model::log::Record>) {
    let expected_version = u64::try_from(log.read(stream()).await.unwrap().len()).unwrap();
    let append = Append { stream: stream(), expected_version, records };
    log.commit(Batch { appends: vec![append], cursor: None }).await.unwrap();
}

/// The stream in words.
async fn story(log: &SqliteLog) -> Vec<String> {
    let name = |id: &NoticeId| ["a", "b"].into_iter().find(|name| notice(name).id == *id).unwrap();
    let tell = |body: Body| match body {
        Body::Outbox(OutboxEvent::Queued { notice }) => format!("queued {}", name(&notice.id)),
        Body::Outbox(OutboxEvent::Delivered { notice, attempts }) => {
            format!("delivered {} {attempts}", name(&notice))
        }
        Body::Outbox(OutboxEvent::Failed { notice, attempt, .. }) => {
            format!("failed {} {attempt}", name(&notice))
        }
        other => panic!("{other:?}"),
    };
    log.read(stream()).await.unwrap().into_iter().map(|stored| tell(stored.record.body)).collect()
}

async fn received(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    requests
        .iter()
        .map(|request| request.headers["x-cordon-notice-id"].to_str().unwrap().to_owned())
        .collect()
}
