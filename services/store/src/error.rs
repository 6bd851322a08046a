//! Why a log could not be opened or written.
//!
//! In: failures of SQLite. Out: [`StoreError`], which names the file and what was wrong with it.

/// Why a log could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file can neither be created nor opened for writing.
    #[error(
        "cannot create or write the event log '{path}': its directory must exist and both must be writable"
    )]
    Unwritable {
        /// File.
        path: String,
        /// Cause.
        #[source]
        source: sqlx::Error,
    },
    /// The file holds something else than a database.
    #[error("'{path}' is not an event log: it is no SQLite database, or a damaged one")]
    NotADatabase {
        /// File.
        path: String,
        /// Cause.
        #[source]
        source: sqlx::Error,
    },
    /// The file is the database of another program.
    #[error("'{path}' is not an event log: it is the SQLite database of another program")]
    Foreign {
        /// File.
        path: String,
    },
    /// The file was written by a newer build.
    #[error(
        "event log '{path}' has schema version {found}, this build knows versions up to {known}: use a newer build"
    )]
    SchemaNewer {
        /// File.
        path: String,
        /// Version of the file.
        found: i64,
        /// Newest version that this build knows.
        known: i64,
    },
    /// The linked SQLite can corrupt a log.
    #[error("SQLite {found} is linked, at least {least} is needed: older ones can corrupt a log in WAL mode")]
    SqliteTooOld {
        /// Version that is linked.
        found: String,
        /// Oldest acceptable version.
        least: &'static str,
    },
    /// Anything else that SQLite refused.
    #[error("event log '{path}' failed while {doing}")]
    Storage {
        /// File.
        path: String,
        /// What was being done.
        doing: &'static str,
        /// Cause.
        #[source]
        source: sqlx::Error,
    },
    /// A record is larger than any that Cordon writes.
    #[error("record of stream '{stream}' has {bytes} bytes, at most {max} are stored")]
    RecordTooLarge {
        /// Stream.
        stream: String,
        /// Size of its JSON, bytes.
        bytes: usize,
        /// Bound, bytes.
        max: usize,
    },
}

/// Primary result code of a file that cannot be opened (`SQLITE_CANTOPEN`, sqlite.org/rescode.html).
const SQLITE_CANTOPEN: i64 = 14;
/// Primary result code of a write to a file that is read-only (`SQLITE_READONLY`).
const SQLITE_READONLY: i64 = 8;
/// Primary result code of a file that is no database (`SQLITE_NOTADB`).
const SQLITE_NOTADB: i64 = 26;
/// Primary result code of a damaged database (`SQLITE_CORRUPT`).
const SQLITE_CORRUPT: i64 = 11;
/// The primary code is the low byte of an extended result code (sqlite.org/rescode.html).
const PRIMARY_CODE_MASK: i64 = 0xff;

impl StoreError {
    /// The variant that tells the operator what to do about `source`.
    pub(crate) fn new(path: &str, doing: &'static str, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match primary_code(&source) {
            Some(SQLITE_CANTOPEN | SQLITE_READONLY) => Self::Unwritable { path, source },
            Some(SQLITE_NOTADB | SQLITE_CORRUPT) => Self::NotADatabase { path, source },
            Some(_) | None => Self::Storage { path, doing, source },
        }
    }
}

fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i64>().ok().map(|code| code & PRIMARY_CODE_MASK)
}
