//! What every event log must do, as checks that each implementation's tests run.
//!
//! In: a way to open an empty log and to open it again. Out: nothing, or [`Broken`] with the rule that the log does
//! not keep. One suite for all implementations is what makes them interchangeable; a rule that is not checked here
//! is not promised to the engine.

use cordon_model::log::{
    Actor, Append, Batch, Body, ChainEvent, Cursor, EventLog, FORMAT_VERSION, LogError, Record, Stored,
    StreamId,
};
use cordon_model::units::{BlockRef, ChainId};
use std::future::Future;
use std::sync::Arc;

/// Writers that race for one place in the log: enough that they meet, few enough that the check takes no time.
const RACERS: usize = 8;

/// A rule that the log does not keep.
#[derive(Debug, thiserror::Error)]
#[error("{rule}: {found}")]
pub struct Broken {
    /// The rule.
    pub rule: &'static str,
    /// What was found instead.
    pub found: String,
}

/// Runs the whole suite. `open` must give the same log each time, and that log must be empty at first.
///
/// # Errors
/// [`Broken`] names the first rule that the log does not keep.
pub async fn check<F>(open: impl Fn() -> F) -> Result<(), Broken>
where
    F: Future<Output = Arc<dyn EventLog>>,
{
    let log = open().await;
    an_empty_log_reads_empty(&*log).await?;
    records_come_back_in_order(&*log).await?;
    a_wrong_version_is_a_conflict(&*log).await?;
    a_batch_is_whole_or_nothing(&*log).await?;
    a_batch_may_append_twice_to_one_stream(&*log).await?;
    the_cursor_moves_with_its_records(&*log).await?;
    an_unknown_format_is_not_written(&*log).await?;
    streams_are_listed_by_prefix(&*log).await?;
    one_of_many_racing_writers_wins(&open).await?;
    everything_is_there_after_reopening(log, &open).await
}

async fn an_empty_log_reads_empty(log: &dyn EventLog) -> Result<(), Broken> {
    let rule = "an empty log reads empty";
    same(rule, &read(rule, log, "empty").await?, &Vec::new())?;
    same(rule, &version(rule, log, "empty").await?, &0)?;
    same(rule, &asked(rule, log.since(0, 10).await)?, &Vec::new())?;
    same(rule, &asked(rule, log.streams(String::new()).await)?, &Vec::new())?;
    same(rule, &asked(rule, log.cursor(ChainId(1)).await)?, &None)
}

async fn records_come_back_in_order(log: &dyn EventLog) -> Result<(), Broken> {
    let rule = "records come back as written and in order";
    asked(rule, log.commit(batch(vec![append("order/a", 0, &[1, 2])])).await)?;
    asked(rule, log.commit(batch(vec![append("order/b", 0, &[3])])).await)?;
    asked(rule, log.commit(batch(vec![append("order/a", 2, &[4])])).await)?;
    let all = asked(rule, log.since(0, 10).await)?;
    let places: Vec<_> =
        all.iter().map(|s| (s.position, s.stream.0.as_str(), s.version, number(s))).collect();
    let expected =
        vec![(1, "order/a", 1, 1), (2, "order/a", 2, 2), (3, "order/b", 1, 3), (4, "order/a", 3, 4)];
    same(rule, &places, &expected)?;
    same(rule, &all.first().map(|s| s.record.clone()), &Some(record(1)))?;
    same(rule, &numbers(&read(rule, log, "order/a").await?), &vec![1, 2, 4])?;
    same(rule, &version(rule, log, "order/a").await?, &3)?;
    same(rule, &numbers(&asked(rule, log.since(1, 2).await)?), &vec![2, 3])?;
    same(rule, &asked(rule, log.since(u64::MAX, 2).await)?, &Vec::new())
}

async fn a_wrong_version_is_a_conflict(log: &dyn EventLog) -> Result<(), Broken> {
    let rule = "an append at another version than the stored one is a conflict and writes nothing";
    asked(rule, log.commit(batch(vec![append("conflict", 0, &[1])])).await)?;
    for expected in [0, 2, u64::MAX] {
        conflicts(rule, log.commit(batch(vec![append("conflict", expected, &[2])])).await, expected, 1)?;
    }
    // An append without records still guards: a decision may hang on a stream that it does not write to.
    conflicts(rule, log.commit(batch(vec![append("conflict", 0, &[])])).await, 0, 1)?;
    asked(rule, log.commit(batch(vec![append("conflict", 1, &[])])).await)?;
    same(rule, &numbers(&read(rule, log, "conflict").await?), &vec![1])
}

async fn a_batch_is_whole_or_nothing(log: &dyn EventLog) -> Result<(), Broken> {
    let rule = "a batch over several streams is written whole or not at all";
    let chain_id = ChainId(71);
    let mut torn = batch(vec![append("whole/a", 0, &[1, 2]), append("whole/b", 5, &[3])]);
    torn.cursor = Some(cursor(chain_id, 9));
    conflicts(rule, log.commit(torn.clone()).await, 5, 0)?;
    same(rule, &read(rule, log, "whole/a").await?, &Vec::new())?;
    same(rule, &read(rule, log, "whole/b").await?, &Vec::new())?;
    same(rule, &asked(rule, log.cursor(chain_id).await)?, &None)?;

    torn.appends = vec![append("whole/a", 0, &[1, 2]), append("whole/b", 0, &[3])];
    asked(rule, log.commit(torn).await)?;
    same(rule, &numbers(&read(rule, log, "whole/a").await?), &vec![1, 2])?;
    same(rule, &numbers(&read(rule, log, "whole/b").await?), &vec![3])
}

async fn a_batch_may_append_twice_to_one_stream(log: &dyn EventLog) -> Result<(), Broken> {
    let rule = "a later append of a batch sees the earlier ones";
    asked(rule, log.commit(batch(vec![append("twice", 0, &[1]), append("twice", 1, &[2])])).await)?;
    let blind = batch(vec![append("twice", 2, &[3]), append("twice", 2, &[4])]);
    conflicts(rule, log.commit(blind).await, 2, 3)?;
    same(rule, &numbers(&read(rule, log, "twice").await?), &vec![1, 2])
}

async fn the_cursor_moves_with_its_records(log: &dyn EventLog) -> Result<(), Broken> {
    let rule = "the cursor of a chain moves with the records of its batch, and with nothing else";
    // The largest id must survive too: chain ids are not bounded by a signed integer.
    for chain_id in [ChainId(72), ChainId(u64::MAX)] {
        let stream = format!("cursor/{chain_id}");
        for (number, version) in [(7, 0), (8, 1)] {
            let mut with_cursor = batch(vec![append(&stream, version, &[number])]);
            with_cursor.cursor = Some(cursor(chain_id, number));
            asked(rule, log.commit(with_cursor).await)?;
            same(rule, &asked(rule, log.cursor(chain_id).await)?, &Some(cursor(chain_id, number)))?;
        }
        same(rule, &numbers(&read(rule, log, &stream).await?), &vec![7, 8])?;
    }
    asked(rule, log.commit(batch(vec![append("cursor/none", 0, &[1])])).await)?;
    same(rule, &asked(rule, log.cursor(ChainId(72)).await)?, &Some(cursor(ChainId(72), 8)))
}

async fn an_unknown_format_is_not_written(log: &dyn EventLog) -> Result<(), Broken> {
    let rule = "a record of a format that this build could not read back is not written";
    let mut newer = append("format", 0, &[1, 2]);
    if let Some(last) = newer.records.last_mut() {
        last.format = FORMAT_VERSION + 1;
    }
    match log.commit(batch(vec![newer])).await {
        Err(LogError::Format { found, .. }) if found == FORMAT_VERSION + 1 => {}
        other => return Err(Broken { rule, found: format!("{other:?}") }),
    }
    same(rule, &read(rule, log, "format").await?, &Vec::new())
}

async fn streams_are_listed_by_prefix(log: &dyn EventLog) -> Result<(), Broken> {
    let rule = "streams are listed by exact prefix, sorted, each once";
    let names = ["list/b", "list/a", "list", "LIST/c", "list_x", "list%y"];
    let appends = names.iter().map(|name| append(name, 0, &[1, 2])).collect();
    asked(rule, log.commit(batch(appends)).await)?;
    let listed = |prefix: &str| log.streams(prefix.to_owned());
    let streams = |names: &[&str]| names.iter().map(|name| StreamId((*name).to_owned())).collect::<Vec<_>>();
    same(rule, &asked(rule, listed("list/").await)?, &streams(&["list/a", "list/b"]))?;
    same(rule, &asked(rule, listed("list_").await)?, &streams(&["list_x"]))?;
    same(rule, &asked(rule, listed("list%").await)?, &streams(&["list%y"]))?;
    same(rule, &asked(rule, listed("LIST").await)?, &streams(&["LIST/c"]))?;
    same(rule, &asked(rule, listed("list/nothing").await)?, &Vec::new())
}

async fn one_of_many_racing_writers_wins<F>(open: &impl Fn() -> F) -> Result<(), Broken>
where
    F: Future<Output = Arc<dyn EventLog>>,
{
    let rule = "of writers that race for one version exactly one wins, and the others are told";
    let mut race = tokio::task::JoinSet::new();
    for racer in 0..RACERS {
        let log = open().await;
        let number = u64::try_from(racer).unwrap_or(u64::MAX);
        race.spawn(async move { (number, log.commit(batch(vec![append("race", 0, &[number])])).await) });
    }
    let mut winners = Vec::new();
    while let Some(finished) = race.join_next().await {
        let (number, outcome) = finished.map_err(|error| Broken { rule, found: error.to_string() })?;
        match outcome {
            Ok(()) => winners.push(number),
            Err(LogError::Conflict { found: 1, .. }) => {}
            Err(other) => return Err(Broken { rule, found: format!("{other:?}") }),
        }
    }
    same(rule, &winners.len(), &1)?;
    let log = open().await;
    same(rule, &numbers(&read(rule, &*log, "race").await?), &winners)
}

async fn everything_is_there_after_reopening<F>(
    log: Arc<dyn EventLog>,
    open: &impl Fn() -> F,
) -> Result<(), Broken>
where
    F: Future<Output = Arc<dyn EventLog>>,
{
    let rule = "everything is there after reopening, in the same places";
    let before = asked(rule, log.since(0, u32::MAX).await)?;
    let positions: Vec<u64> = before.iter().map(|stored| stored.position).collect();
    same(rule, &positions, &(1..).take(before.len()).collect())?;
    let cursor_before = asked(rule, log.cursor(ChainId(72)).await)?;
    drop(log);
    let log = open().await;
    same(rule, &asked(rule, log.since(0, u32::MAX).await)?, &before)?;
    same(rule, &asked(rule, log.cursor(ChainId(72)).await)?, &cursor_before)?;
    let next = u64::try_from(before.len()).unwrap_or(u64::MAX).saturating_add(1);
    asked(rule, log.commit(batch(vec![append("reopened", 0, &[1])])).await)?;
    same(rule, &read(rule, &*log, "reopened").await?.first().map(|stored| stored.position), &Some(next))
}

fn batch(appends: Vec<Append>) -> Batch {
    Batch { appends, cursor: None }
}

fn append(stream: &str, expected_version: u64, numbers: &[u64]) -> Append {
    let records = numbers.iter().map(|number| record(*number)).collect();
    Append { stream: StreamId(stream.to_owned()), expected_version, records }
}

fn record(number: u64) -> Record {
    Record {
        format: FORMAT_VERSION,
        at_s: 1_700_000_000,
        at_block: number,
        actor: Actor::Cordon("conformance".to_owned()),
        why: "quotes ' \" \\, a NUL \u{0}, a newline \n and \u{1f4a5} must survive".to_owned(),
        body: Body::Chain(ChainEvent::Reverted { block: block(number) }),
    }
}

fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: [u8::try_from(number).unwrap_or(u8::MAX); 32].into() }
}

fn cursor(chain_id: ChainId, number: u64) -> Cursor {
    Cursor { chain_id, recent: vec![block(number.saturating_sub(1)), block(number)], at_s: number }
}

fn number(stored: &Stored) -> u64 {
    stored.record.at_block
}

fn numbers(records: &[Stored]) -> Vec<u64> {
    records.iter().map(number).collect()
}

async fn read(rule: &'static str, log: &dyn EventLog, stream: &str) -> Result<Vec<Stored>, Broken> {
    asked(rule, log.read(StreamId(stream.to_owned())).await)
}

async fn version(rule: &'static str, log: &dyn EventLog, stream: &str) -> Result<u64, Broken> {
    asked(rule, log.version(StreamId(stream.to_owned())).await)
}

fn asked<T>(rule: &'static str, answer: Result<T, LogError>) -> Result<T, Broken> {
    answer.map_err(|error| Broken { rule, found: format!("{error:?}") })
}

fn same<T: PartialEq + std::fmt::Debug>(rule: &'static str, found: &T, expected: &T) -> Result<(), Broken> {
    if found == expected {
        return Ok(());
    }
    Err(Broken { rule, found: format!("{found:?} where {expected:?} was expected") })
}

fn conflicts(
    rule: &'static str,
    outcome: Result<(), LogError>,
    wanted_expected: u64,
    wanted_found: u64,
) -> Result<(), Broken> {
    match outcome {
        Err(LogError::Conflict { expected, found, .. })
            if (expected, found) == (wanted_expected, wanted_found) =>
        {
            Ok(())
        }
        other => Err(Broken { rule, found: format!("{other:?} where a conflict was expected") }),
    }
}
