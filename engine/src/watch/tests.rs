//! When an outbox looks for notices. Time stands still here unless a test moves it: the test's own task is always ready,
//! so the paused clock never jumps by itself.

use super::open::observer;
use super::{OUTBOX_PERIOD, Say, Shared, deliver};
use crate::journal::News;
use crate::render::Names;
use cordon_decide::chain_notices;
use cordon_model::log::{Append, Batch, ChainEvent, Cursor, EventLog, LogFuture, Stored, StreamId};
use cordon_model::notice::Notice;
use cordon_model::units::ChainId;
use cordon_notify::{Channel, DeliveryFuture, Outbox, queue_records};
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch::{Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};

const INBOX: &str = "inbox";

/// Turns that all other tasks get: more than a look with a delivery takes.
const TURNS: usize = 1_000;

/// A log in memory that answers at once: one with threads of its own would let the paused clock jump.
#[derive(Debug, Default)]
struct Prompt(Mutex<Vec<Stored>>);

impl EventLog for Prompt {
    fn commit(&self, batch: Batch) -> LogFuture<'_, ()> {
        let mut stored = self.0.lock().unwrap();
        for Append { stream, expected_version, records } in batch.appends {
            for (version, record) in (expected_version + 1..).zip(records) {
                let position = stored.len() as u64 + 1;
                stored.push(Stored { position, stream: stream.clone(), version, record });
            }
        }
        Box::pin(ready(Ok(())))
    }

    fn read(&self, stream: StreamId) -> LogFuture<'_, Vec<Stored>> {
        let stored = self.0.lock().unwrap();
        let found = stored.iter().filter(|stored| stored.stream == stream).cloned().collect();
        Box::pin(ready(Ok(found)))
    }

    fn streams(&self, _: String) -> LogFuture<'_, Vec<StreamId>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn since(&self, _: u64, _: u32) -> LogFuture<'_, Vec<Stored>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn cursor(&self, _: ChainId) -> LogFuture<'_, Option<Cursor>> {
        Box::pin(ready(Ok(None)))
    }
}

/// A channel that keeps the titles of what it accepted.
#[derive(Debug, Clone, Default)]
struct Inbox(Arc<Mutex<Vec<String>>>);

impl Channel for Inbox {
    fn name(&self) -> &str {
        INBOX
    }

    fn deliver<'a>(&'a self, notice: &'a Notice, _: u64) -> DeliveryFuture<'a> {
        self.0.lock().unwrap().push(notice.title.clone());
        Box::pin(ready(Ok(())))
    }
}

/// An outbox at work on an empty log, which has had its first look.
struct Post {
    shared: Shared,
    inbox: Inbox,
    over: Sender<bool>,
    delivery: JoinHandle<()>,
}

impl Post {
    async fn open() -> Self {
        let log: Arc<dyn EventLog> = Arc::new(Prompt::default());
        let (bell, rung) = channel(());
        let (over, ended) = channel(false);
        let inbox = Inbox::default();
        let outbox = Outbox::new(Box::new(inbox.clone()));
        let delivery = tokio::spawn(deliver(outbox, Arc::clone(&log), rung, ended));
        turns().await;
        let say: Say = Arc::new(|_| {});
        let (_, units) = channel(Arc::default());
        Self { shared: Shared { log, say, units, bell }, inbox, over, delivery }
    }

    /// Queues what people are told of a chain, and returns the notices. Another `occasion` gives others.
    async fn queue(&self, occasion: u64) -> Vec<Notice> {
        let event = ChainEvent::Released { why: "the nodes agree".into() };
        let notices = chain_notices(ChainId(1), &event, occasion, &[]);
        let stream = StreamId::outbox(INBOX);
        let expected_version = self.shared.log.version(stream.clone()).await.unwrap();
        let appends = vec![Append { stream, expected_version, records: queue_records(&notices, 0, 0) }];
        self.shared.log.commit(Batch { appends, cursor: None }).await.unwrap();
        notices
    }

    fn delivered(&self) -> usize {
        self.inbox.0.lock().unwrap().len()
    }
}

/// Lets everything run that can run now. No time passes.
async fn turns() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_queued_notice_is_delivered_at_once_because_the_bell_rings() {
    let (start, post) = (Instant::now(), Post::open().await);
    let mut observe = observer(&post.shared, Names::of(&[]));
    let mut queued = 0;
    for occasion in 1..=3 {
        let notices = post.queue(occasion).await;
        turns().await;
        assert_eq!(post.delivered(), queued, "nobody has rung yet");
        observe(News::Chain(&notices));
        turns().await;
        queued += notices.len();
        assert_eq!(post.delivered(), queued);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_another_process_queued_is_found_by_the_next_look() {
    let post = Post::open().await;
    let notices = post.queue(1).await;
    advance(OUTBOX_PERIOD - Duration::from_millis(1)).await;
    turns().await;
    assert_eq!(post.delivered(), 0);
    advance(Duration::from_millis(2)).await;
    turns().await;
    assert_eq!(post.delivered(), notices.len());
}

#[tokio::test(start_paused = true)]
async fn the_end_delivers_what_is_still_queued() {
    let (start, post) = (Instant::now(), Post::open().await);
    let notices = post.queue(1).await;
    post.over.send_replace(true);
    turns().await;
    assert_eq!((post.delivered(), start.elapsed()), (notices.len(), Duration::ZERO));
    assert!(post.delivery.is_finished());
}
