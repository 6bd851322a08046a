//! The versions of the database schema.
//!
//! In: a connection. Out: a database of the newest schema, or a refusal. A file of a newer build or of another
//! program is left as it was found.

use crate::error::StoreError;
use sqlx::{Connection, Executor, SqliteConnection};

/// Oldest SQLite that is safe: before it, resetting a WAL could race with a checkpoint and corrupt the database
/// (sqlite.org/wal.html#walresetbug).
const SQLITE_LEAST: &str = "3.51.3";

/// Every schema version with the statements that lead to it, oldest first. A released line is never edited.
const MIGRATIONS: [(i64, &str); 1] = [(1, include_str!("../migrations/0001_log.sql"))];

/// Refuses an SQLite that can corrupt a log.
pub(crate) async fn check_sqlite(path: &str, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(connection)
        .await
        .map_err(|source| StoreError::new(path, "asking SQLite for its version", source))?;
    if numbers(&found) < numbers(SQLITE_LEAST) {
        return Err(StoreError::SqliteTooOld { found, least: SQLITE_LEAST });
    }
    Ok(())
}

/// The dotted numbers of a version; they compare as the versions do. What is no number counts as zero.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

/// Schema version of the database, zero for an empty one.
pub(crate) async fn check_file(path: &str, connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let failed = |source| StoreError::new(path, "reading the schema version", source);
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    if tables.is_empty() {
        return Ok(0);
    }
    if !tables.iter().any(|name| name == "cordon_schema") {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let found: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM cordon_schema")
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    let known = MIGRATIONS.iter().map(|(version, _)| *version).max().unwrap_or(0);
    if found > known {
        return Err(StoreError::SchemaNewer { path: path.to_owned(), found, known });
    }
    Ok(found)
}

/// Brings the database to the newest schema in one exclusive transaction, so that two processes that start at once
/// do not both migrate. It takes the write lock even where nothing is to be done: a file that cannot be written
/// must be known at the start, not when the first finding arrives.
pub(crate) async fn migrate(path: &str, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = |source| StoreError::new(path, "bringing the schema up to date", source);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let found = check_file(path, &mut transaction).await?;
    if found == 0 {
        let table = "CREATE TABLE IF NOT EXISTS cordon_schema (version BIGINT NOT NULL PRIMARY KEY)";
        transaction.execute(table).await.map_err(failed)?;
    }
    for (version, statements) in MIGRATIONS.iter().filter(|(version, _)| *version > found) {
        sqlx::raw_sql(*statements).execute(&mut *transaction).await.map_err(failed)?;
        sqlx::query("INSERT INTO cordon_schema (version) VALUES ($1)")
            .bind(*version)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_not_by_text() {
        assert!(numbers("3.51.3") <= numbers("3.51.3"));
        assert!(numbers("3.51.3") < numbers("3.51.10"));
        assert!(numbers("3.51.3") < numbers("3.100.0"));
        assert!(numbers("3.46.0") < numbers("3.51.3"));
        assert!(numbers("3.51") < numbers("3.51.3"));
    }
}
