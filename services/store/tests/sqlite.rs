//! The SQLite log keeps the rules of every event log, and says clearly what is wrong with a file.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does: by a panic")]

use cordon_model::log::{EventLog, LogError, StreamId};
use cordon_store::{SqliteLog, StoreError, conformance};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let open = || async { Arc::new(SqliteLog::open(&path).await.unwrap()) as Arc<dyn EventLog> };
    conformance::check(open).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    let log: Arc<dyn EventLog> = Arc::new(SqliteLog::in_memory().await.unwrap());
    conformance::check(|| async { log.clone() }).await.unwrap();
}

#[tokio::test]
async fn two_logs_in_memory_are_two_logs() {
    let one = SqliteLog::in_memory().await.unwrap();
    let two = SqliteLog::in_memory().await.unwrap();
    write_one(&one).await;
    assert_eq!(one.since(0, 10).await.unwrap().len(), 1);
    assert_eq!(two.since(0, 10).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_log_may_be_opened_many_times_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let path = path.clone();
        opening.spawn(async move { SqliteLog::open(&path).await });
    }
    let logs = opening.join_all().await;
    write_one(logs.into_iter().map(Result::unwrap).last().as_ref().unwrap()).await;
}

#[tokio::test]
async fn a_batch_reaches_the_disk_before_it_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let log = SqliteLog::open(&path).await.unwrap();
    write_one(&log).await;
    let mut plain = connect(&path).await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut plain).await.unwrap();
    assert_eq!(mode, "wal");
    // The first log is still open: another connection sees what it acknowledged.
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM record").fetch_one(&mut plain).await.unwrap();
    assert_eq!(count, 1);
    plain.close().await.unwrap();
    log.close().await;
    assert!(!folder.path().join("log.db-wal").exists(), "closing folds the write-ahead log into the file");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let (_folder, path) =
        file("cordon.toml is not a log, and it is longer than a header of one hundred bytes. ".repeat(20));
    let before = std::fs::read(&path).unwrap();
    let refused = SqliteLog::open(&path).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotADatabase { .. }), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        format!("'{}' is not an event log: it is no SQLite database, or a damaged one", path.display())
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_log_cut_in_half_is_refused() {
    let (_folder, path) = file(String::new());
    let log = SqliteLog::open(&path).await.unwrap();
    write_one(&log).await;
    log.close().await;
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let message = match SqliteLog::open(&path).await {
        Err(refused) => refused.to_string(),
        // Where the first pages are whole, SQLite notices when it reads the missing ones.
        Ok(log) => log.since(0, 10).await.unwrap_err().source().unwrap().to_string(),
    };
    assert!(message.contains("damaged") || message.contains("malformed"), "{message}");
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_left_alone() {
    let (_folder, path) = file(String::new());
    let mut plain = connect(&path).await;
    plain.execute("CREATE TABLE places (url TEXT)").await.unwrap();
    plain.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = SqliteLog::open(&path).await.unwrap_err();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_number() {
    let (_folder, path) = file(String::new());
    SqliteLog::open(&path).await.unwrap().close().await;
    let mut plain = connect(&path).await;
    plain.execute("INSERT INTO cordon_schema (version) VALUES (7)").await.unwrap();
    plain.close().await.unwrap();
    let refused = SqliteLog::open(&path).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "event log '{}' has schema version 7, this build knows versions up to 1: use a newer build",
            path.display()
        )
    );
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere").join("log.db");
    let (_other, plain_file) = file("a file, not a folder".to_owned());
    for path in [missing, plain_file.join("log.db"), folder.path().to_path_buf()] {
        let refused = SqliteLog::open(&path).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unwritable { .. }), "{refused:?}");
        assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
    }
}

#[tokio::test]
async fn a_read_only_log_is_refused_at_the_start() {
    let (_folder, path) = file(String::new());
    SqliteLog::open(&path).await.unwrap().close().await;
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    if std::fs::OpenOptions::new().append(true).open(&path).is_ok() {
        eprintln!("SKIPPED: this user may write to read-only files");
        return;
    }
    let refused = SqliteLog::open(&path).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unwritable { .. }), "{refused:?}");
}

#[tokio::test]
async fn damage_in_a_record_is_named_by_position() {
    let cases = [
        (r#"{"format":1,"at_s":12"#, "EOF while parsing"),
        ("", "EOF while parsing"),
        (
            r#"{"format":1,"at_s":1,"at_block":1,"actor":{"cordon":"x"},"why":"","body":{"later":{}}}"#,
            "unknown variant",
        ),
        (r#"{"at_s":1}"#, "missing field `format`"),
    ];
    for (json, reason) in cases {
        let (_folder, log) = with_raw("chain/1", 1, json).await;
        match log.read(StreamId("chain/1".to_owned())).await.unwrap_err() {
            LogError::Corrupt { position: 1, reason: found } => assert!(found.contains(reason), "{found}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(log.since(0, 10).await, Err(LogError::Corrupt { position: 1, .. })));
    }
}

#[tokio::test]
async fn a_newer_record_is_refused_by_its_format_even_where_its_shape_is_unknown() {
    let (_folder, log) = with_raw("chain/1", 1, r#"{"format":2,"shape":"of the future"}"#).await;
    let refused = log.read(StreamId("chain/1".to_owned())).await.unwrap_err();
    assert_eq!(refused.to_string(), "record 1 of the log has format 2, this build reads 1 to 1");
}

#[tokio::test]
async fn a_hole_in_a_stream_is_corrupt() {
    let json = r#"{"format":1,"at_s":1,"at_block":1,"actor":{"cordon":"x"},"why":"","body":{"chain":{"reverted":{"block":{"number":1,"hash":"0x0000000000000000000000000000000000000000000000000000000000000000"}}}}}"#;
    let (_folder, log) = with_raw("chain/1", 2, json).await;
    let refused = log.read(StreamId("chain/1".to_owned())).await.unwrap_err();
    assert!(
        refused.to_string().contains("it is record 2 of stream 'chain/1' where 1 should be"),
        "{refused}"
    );
}

fn file(text: String) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// A connection that is not Cordon's, as another program would open it.
async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

/// A log that holds one record as raw text.
async fn with_raw(stream: &str, version: i64, json: &str) -> (tempfile::TempDir, SqliteLog) {
    let (folder, path) = file(String::new());
    let log = SqliteLog::open(&path).await.unwrap();
    let mut plain = connect(&path).await;
    sqlx::query("INSERT INTO record (position, stream, version, json) VALUES (1, $1, $2, $3)")
        .bind(stream)
        .bind(version)
        .bind(json)
        .execute(&mut plain)
        .await
        .unwrap();
    (folder, log)
}

async fn write_one(log: &SqliteLog) {
    use cordon_model::log::{Actor, Append, Batch, Body, ChainEvent, Record};
    use cordon_model::units::BlockRef;
    let block = BlockRef { number: 1, hash: [1; 32].into() };
    let record = Record {
        format: 1,
        at_s: 1,
        at_block: 1,
        actor: Actor::Person("somebody".to_owned()),
        why: "a test".to_owned(),
        body: Body::Chain(ChainEvent::Reverted { block }),
    };
    let append =
        Append { stream: StreamId("chain/1".to_owned()), expected_version: 0, records: vec![record] };
    log.commit(Batch { appends: vec![append], cursor: None }).await.unwrap();
}
