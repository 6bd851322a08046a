//! [`SqliteLog`]: the event log in one SQLite file.
//!
//! In: [`Batch`]es. Out: [`Stored`] records. One connection writes, so that writers of this process queue instead of
//! failing; writers of other processes are kept apart by SQLite's own lock. A batch is acknowledged after the
//! write-ahead log was flushed to disk (`synchronous = FULL`). Must never: skip a record that it cannot read.

use crate::error::StoreError;
use crate::schema;
use cordon_model::log::{
    Append, Batch, Cursor, EventLog, FORMAT_VERSION, FORMAT_VERSION_OLDEST, LogError, LogFuture, Record,
    Stored, StreamId,
};
use cordon_model::units::ChainId;
use serde::Deserialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};
use std::path::Path;
use std::time::Duration;

/// How long a writer waits for the lock of another process. A batch takes milliseconds; five seconds cover a
/// checkpoint on a slow disk, and are shorter than one Ethereum slot.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that read at the same time: the engine, the outboxes and one or two people asking.
const READERS_MAX: u32 = 4;

/// Largest record, bytes of JSON. The largest that Cordon writes (a report of a long simulation) is far below one
/// MiB; what exceeds this is a mistake that must not fill the disk.
const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The event log in one SQLite file, or in memory.
#[derive(Debug, Clone)]
pub struct SqliteLog {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteLog {
    /// Opens the log at `path` and creates it where there is none; its directory must exist.
    ///
    /// # Errors
    /// [`StoreError`] names the file: not writable, not a database, of another program, of a newer build, or an
    /// SQLite that is too old. A file that is refused is left as it was.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        let failed = |source| StoreError::new(&name, "opening it", source);
        let options =
            SqliteConnectOptions::new().filename(path).foreign_keys(true).busy_timeout(BUSY_TIMEOUT);
        let options = options.disable_statement_logging();

        // A plain connection looks first: switching to WAL already changes a file, and it may not be ours.
        let mut first = options.clone().create_if_missing(true).connect().await.map_err(failed)?;
        schema::check_sqlite(&name, &mut first).await?;
        schema::check_file(&name, &mut first).await?;
        first.close().await.map_err(failed)?;

        let durable =
            options.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let writer = one_connection().connect_with(durable).await.map_err(failed)?;
        let mut connection = writer.acquire().await.map_err(failed)?;
        schema::migrate(&name, &mut connection).await?;
        drop(connection);
        let readers = SqlitePoolOptions::new().max_connections(READERS_MAX);
        let readers = readers.connect_with(options.read_only(true)).await.map_err(failed)?;
        Ok(Self { writer, readers })
    }

    /// A log that ends with the process, for drills and tests. It is the same database behind the same code; only
    /// the file is missing.
    ///
    /// # Errors
    /// [`StoreError`] where the linked SQLite is too old or memory is short.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let name = "in memory";
        let failed = |source| StoreError::new(name, "opening it", source);
        let options =
            SqliteConnectOptions::new().in_memory(true).foreign_keys(true).disable_statement_logging();
        // A second connection to memory would be a second, empty database: readers share the writer's.
        let writer = one_connection().connect_with(options).await.map_err(failed)?;
        let mut connection = writer.acquire().await.map_err(failed)?;
        schema::check_sqlite(name, &mut connection).await?;
        schema::migrate(name, &mut connection).await?;
        drop(connection);
        Ok(Self { readers: writer.clone(), writer })
    }

    /// Closes all connections after the work in hand, and folds the write-ahead log back into the file. A log that
    /// is not closed loses nothing; its next opening does this work.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn commit_batch(&self, batch: Batch) -> Result<(), LogError> {
        // IMMEDIATE takes the write lock before the versions are read, so nobody appends in between.
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(storage("waiting for the write lock"))?;
        for append in &batch.appends {
            append_records(&mut transaction, append).await?;
        }
        if let Some(cursor) = &batch.cursor {
            write_cursor(&mut transaction, cursor).await?;
        }
        transaction.commit().await.map_err(storage("committing a batch"))
    }

    async fn read_stream(&self, stream: StreamId) -> Result<Vec<Stored>, LogError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT position, stream, version, json FROM record WHERE stream = $1 ORDER BY version",
        )
        .bind(&stream.0)
        .fetch_all(&self.readers)
        .await
        .map_err(storage("reading a stream"))?;
        let mut records = Vec::with_capacity(rows.len());
        for (row, expected) in rows.into_iter().zip(1u64..) {
            let stored = decode(row)?;
            if stored.version != expected {
                let reason = format!(
                    "it is record {} of stream '{stream}' where {expected} should be",
                    stored.version
                );
                return Err(LogError::Corrupt { position: stored.position, reason });
            }
            records.push(stored);
        }
        Ok(records)
    }

    async fn read_version(&self, stream: StreamId) -> Result<u64, LogError> {
        let version: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM record WHERE stream = $1")
                .bind(&stream.0)
                .fetch_one(&self.readers)
                .await
                .map_err(storage("reading the version of a stream"))?;
        u64::try_from(version).map_err(storage("reading the version of a stream"))
    }

    async fn list_streams(&self, prefix: String) -> Result<Vec<StreamId>, LogError> {
        // `>=` lets the index skip to the prefix; SUBSTR, unlike LIKE, minds case and knows no wildcards.
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT stream FROM record WHERE version = 1 AND stream >= $1 AND SUBSTR(stream, 1, LENGTH($1)) = $1",
        )
        .bind(prefix)
        .fetch_all(&self.readers)
        .await
        .map_err(storage("listing streams"))?;
        let mut streams: Vec<StreamId> = names.into_iter().map(StreamId).collect();
        // Sorted here and not by the database, so that the order does not hang on a collation.
        streams.sort();
        Ok(streams)
    }

    async fn read_since(&self, position: u64, limit: u32) -> Result<Vec<Stored>, LogError> {
        let Ok(after) = i64::try_from(position) else {
            return Ok(Vec::new());
        };
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT position, stream, version, json FROM record WHERE position > $1 ORDER BY position LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(storage("reading the log"))?;
        rows.into_iter().map(decode).collect()
    }

    async fn read_cursor(&self, chain_id: ChainId) -> Result<Option<Cursor>, LogError> {
        let json: Option<Vec<u8>> = sqlx::query_scalar("SELECT json FROM chain_cursor WHERE chain_id = $1")
            .bind(chain_id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(storage("reading a cursor"))?;
        json.map(|json| serde_json::from_slice(&json).map_err(storage("reading a cursor"))).transpose()
    }
}

impl EventLog for SqliteLog {
    fn commit(&self, batch: Batch) -> LogFuture<'_, ()> {
        Box::pin(self.commit_batch(batch))
    }

    fn read(&self, stream: StreamId) -> LogFuture<'_, Vec<Stored>> {
        Box::pin(self.read_stream(stream))
    }

    fn version(&self, stream: StreamId) -> LogFuture<'_, u64> {
        Box::pin(self.read_version(stream))
    }

    fn streams(&self, prefix: String) -> LogFuture<'_, Vec<StreamId>> {
        Box::pin(self.list_streams(prefix))
    }

    fn since(&self, position: u64, limit: u32) -> LogFuture<'_, Vec<Stored>> {
        Box::pin(self.read_since(position, limit))
    }

    fn cursor(&self, chain_id: ChainId) -> LogFuture<'_, Option<Cursor>> {
        Box::pin(self.read_cursor(chain_id))
    }
}

/// A pool of exactly one connection that is never renewed: in memory, the connection is the database.
fn one_connection() -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None)
}

/// Position, stream, version and JSON of a record. The JSON is taken as bytes, so that text which is not even
/// UTF-8 is reported as corrupt together with its position.
type Row = (i64, String, i64, Vec<u8>);

/// The part of a record that every format has.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

fn decode((position, stream, version, json): Row) -> Result<Stored, LogError> {
    let position = u64::try_from(position).map_err(storage("reading a position"))?;
    let corrupt = |reason: String| LogError::Corrupt { position, reason };
    let version = u64::try_from(version).map_err(|error| corrupt(error.to_string()))?;
    // The format comes first: a newer record may hold what this build cannot parse, and is not corrupt for that.
    let header: Header = serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
    check_format(position, header.format)?;
    let record: Record = serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
    Ok(Stored { position, stream: StreamId(stream), version, record })
}

fn check_format(position: u64, found: u32) -> Result<(), LogError> {
    if (FORMAT_VERSION_OLDEST..=FORMAT_VERSION).contains(&found) {
        return Ok(());
    }
    Err(LogError::Format { position, found })
}

async fn append_records(connection: &mut SqliteConnection, append: &Append) -> Result<(), LogError> {
    let found: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM record WHERE stream = $1")
        .bind(&append.stream.0)
        .fetch_one(&mut *connection)
        .await
        .map_err(storage("reading the version of a stream"))?;

    let stored = u64::try_from(found).map_err(storage("reading the version of a stream"))?;
    if stored != append.expected_version {
        let (stream, expected) = (append.stream.clone(), append.expected_version);
        return Err(LogError::Conflict { stream, expected, found: stored });
    }
    let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(position), 0) FROM record")
        .fetch_one(&mut *connection)
        .await
        .map_err(storage("reading the length of the log"))?;
    for (record, offset) in append.records.iter().zip(1i64..) {
        let position = last.saturating_add(offset);
        check_format(u64::try_from(position).unwrap_or(u64::MAX), record.format)?;
        let json = serde_json::to_string(record).map_err(storage("serialising a record"))?;
        if json.len() > RECORD_BYTES_MAX {
            let stream = append.stream.to_string();
            let large = StoreError::RecordTooLarge { stream, bytes: json.len(), max: RECORD_BYTES_MAX };
            return Err(storage("appending a record")(large));
        }
        sqlx::query("INSERT INTO record (position, stream, version, json) VALUES ($1, $2, $3, $4)")
            .bind(position)
            .bind(&append.stream.0)
            .bind(found.saturating_add(offset))
            .bind(json)
            .execute(&mut *connection)
            .await
            .map_err(storage("appending a record"))?;
    }
    Ok(())
}

async fn write_cursor(connection: &mut SqliteConnection, cursor: &Cursor) -> Result<(), LogError> {
    let json = serde_json::to_string(cursor).map_err(storage("serialising a cursor"))?;
    sqlx::query(
        "INSERT INTO chain_cursor (chain_id, json) VALUES ($1, $2) \
         ON CONFLICT (chain_id) DO UPDATE SET json = EXCLUDED.json",
    )
    .bind(cursor.chain_id.to_string())
    .bind(json)
    .execute(connection)
    .await
    .map_err(storage("writing a cursor"))?;
    Ok(())
}

fn storage<E: std::error::Error + Send + Sync + 'static>(doing: &'static str) -> impl Fn(E) -> LogError {
    move |source| LogError::Storage { doing: doing.to_owned(), source: Box::new(source) }
}
