//! Opens a database: takes its lock, checks that it is one of Parlance's and not damaged, and migrates its schema.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::integrity::{self, Integrity};
use super::merge;
use crate::Epoch;
use crate::quota::MESSAGE_OVERHEAD;

mod embedded {
    refinery::embed_migrations!("src/migrations/sqlite");
}

/// SQLite's `application_id` of Parlance's databases: `Parl`.
const APPLICATION_ID: i32 = 0x5061_726c;
/// How long a connection waits for a lock on the database that another program holds, such as a shell.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of 4 KiB in the write-ahead log after which the writer checkpoints it. The next batch waits for the checkpoint,
/// so this bounds the wait that a tenant with large values can cause.
const CHECKPOINT_PAGES: i32 = 2_000;
/// Bytes to which the file of the write-ahead log is cut after a burst.
const LOG_BYTES: i32 = 64 * 1024 * 1024;
/// The writer's page cache, in KiB.
const WRITER_CACHE_KIB: i32 = 8 * 1024;
/// Each reader's page cache, in KiB.
const READER_CACHE_KIB: i32 = 8 * 1024;
/// Bytes of the smallest SQLite database: one page of the smallest size.
pub(super) const SMALLEST_DATABASE: u64 = 512;
/// Prepared statements that each connection caches; more than the store has.
const STATEMENTS: usize = 32;

/// Why a database was not opened. For the operator: what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path is a directory.
    #[error("{path} is a directory; the database must be a file: name one in it, such as {path}/parlance.db")]
    IsDirectory {
        /// The path that was to be opened.
        path: String,
    },
    /// The file's directory does not exist.
    #[error("there is no directory {directory} for the database {path}; create it, or choose another path")]
    NoDirectory {
        /// The path that was to be opened.
        path: String,
        /// The missing directory.
        directory: String,
    },
    /// The file or its directory is not writable.
    #[error("cannot write {path}; the server's user must be allowed to write the database and its directory")]
    NotWritable {
        /// The file that cannot be written.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another process, or another store of this process, has the database open.
    #[error(
        "the database {path} is in use by another server (it holds the lock {lock}); stop that one or choose another path"
    )]
    InUse {
        /// The path that was to be opened.
        path: String,
        /// The lock file.
        lock: String,
    },
    /// The file is not an SQLite database, or its first page is damaged.
    #[error(
        "{path} is not an SQLite database, or its beginning is damaged; put a backup in its place with `parlance restore FILE`, or choose another path"
    )]
    NotADatabase {
        /// The path that was to be opened.
        path: String,
    },
    /// The database is damaged.
    #[error(
        "the database {path} is damaged: {finding}; put a backup in its place with `parlance restore FILE`, or save what can still be read with `sqlite3 {path} .recover`"
    )]
    Damaged {
        /// The path that was to be opened.
        path: String,
        /// The first contradiction that the check found.
        finding: String,
    },
    /// The SQLite database belongs to another program.
    #[error("the SQLite database {path} was not made by Parlance; choose another path")]
    NotParlance {
        /// The path that was to be opened.
        path: String,
    },
    /// A newer release has migrated the schema.
    #[error(
        "the database {path} was made by a newer Parlance (schema {found}, this one knows {known}); run that release, or restore a backup from before it"
    )]
    Newer {
        /// The path that was to be opened.
        path: String,
        /// The schema's version in the database.
        found: i64,
        /// The newest version that this release knows.
        known: i64,
    },
    /// The file system does not support a write-ahead log. Network file systems do not.
    #[error("the file system of {path} cannot keep a write-ahead log; put the database on a local disk")]
    NoLog {
        /// The path that was to be opened.
        path: String,
    },
    /// A migration of the schema failed. The database is unchanged.
    #[error(
        "the schema of {path} could not be brought up to date; it is as it was, restore it from a backup if it is damaged"
    )]
    Migration {
        /// The path that was to be opened.
        path: String,
        /// The error.
        source: refinery::Error,
    },
    /// Another error, such as a full disk.
    #[error("cannot open the database {path}")]
    Failed {
        /// The path that was to be opened.
        path: String,
        /// The error.
        source: anyhow::Error,
    },
}

/// The right to have a database open. One process at a time has it, and loses it when it ends, also by `kill -9`.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that was just forked may have a copy of it.
        let _ = self.0.unlock();
    }
}

/// An open database, locked and migrated.
pub(super) struct Opened {
    /// The connection that writes.
    pub(super) writer: Connection,
    /// The path without links.
    pub(super) path: PathBuf,
    /// About how many messages there are: no fewer, unless some were deleted.
    pub(super) messages: u64,
    pub(super) epoch: Epoch,
    pub(super) lock: Lock,
}

/// Opens the database at `path`, and looks for damage for at most `check_time`.
pub(super) fn open(path: &Path, check_time: Duration) -> Result<Opened, OpenError> {
    let real = resolve(path)?;
    let lock = lock(path, &real)?;
    create(path, &real)?;
    let mut writer = connect(&real, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE_KIB)
        .and_then(|db| check_is_database(&db).map(|()| db))
        .map_err(|error| failed(path, error))?;
    claim(path, &writer)?;
    configure(path, &writer)?;
    check_integrity(path, &mut writer, &real, check_time)?;
    migrate(path, &mut writer)?;
    merge::merge_all(&writer).map_err(|error| failed(path, error))?;
    let messages = count_messages(&writer).map_err(|error| failed(path, error))?;
    let epoch = epoch(&real);
    Ok(Opened {
        writer,
        path: real,
        messages,
        epoch,
        lock,
    })
}

/// Tells this file from the one that a restore puts in its place: by its number and the time when it was made.
fn epoch(file: &Path) -> Epoch {
    let metadata = fs::metadata(file).ok();
    let made = metadata.as_ref().and_then(|metadata| metadata.created().ok());
    let since = made.and_then(|made| made.duration_since(SystemTime::UNIX_EPOCH).ok());
    let since = since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    Epoch::of(&[metadata.map_or(0, |metadata| metadata.ino()), since])
}

/// About how many messages there are, from what the tenants' usage says, without a look at each of them.
fn count_messages(db: &Connection) -> rusqlite::Result<u64> {
    let bytes: i64 = db.query_row("SELECT coalesce(sum(message_bytes), 0) FROM usage", [], |row| {
        row.get(0)
    })?;
    Ok(bytes.cast_unsigned() / MESSAGE_OVERHEAD)
}

/// Connects a reader thread to a database that is open.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB).map_err(|error| failed(path, error))
}

/// Checks that a database can be at this path, as far as its directory tells. Creates nothing.
///
/// # Errors
/// [`OpenError::IsDirectory`], [`OpenError::NoDirectory`] or [`OpenError::NotWritable`].
pub fn check_path(path: &Path) -> Result<(), OpenError> {
    resolve(path).map(drop)
}

/// The path without links, so that every name of a file leads to one lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    if path.is_dir() {
        return Err(OpenError::IsDirectory { path: display(path) });
    }
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match (directory.canonicalize(), path.file_name()) {
        (Ok(directory), Some(name)) if directory.is_dir() => Ok(directory.join(name)),
        (Err(source), _) if source.kind() == io::ErrorKind::PermissionDenied => Err(OpenError::NotWritable {
            path: display(path),
            source,
        }),
        _ => Err(OpenError::NoDirectory {
            path: display(path),
            directory: display(directory),
        }),
    }
}

/// The database's path with `end` appended to its name.
pub(super) fn with_suffix(database: &Path, end: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Takes the lock of the database at `real`, which the operator calls `path`.
pub(super) fn lock(path: &Path, real: &Path) -> Result<Lock, OpenError> {
    let name = with_suffix(real, ".lock");
    let file = writable(&name)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: display(path),
            lock: display(&name),
        }),
        Err(TryLockError::Error(source)) => Err(OpenError::NotWritable {
            path: display(&name),
            source,
        }),
    }
}

/// Creates the file if it does not exist, readable by its owner alone, since it holds people's messages. SQLite gives
/// the files beside it the same permissions.
fn create(path: &Path, real: &Path) -> Result<(), OpenError> {
    let length = writable(real)?
        .metadata()
        .map_err(|source| OpenError::Failed {
            path: display(path),
            source: source.into(),
        })?
        .len();
    // SQLite takes a file that is shorter than its smallest page for empty, and would overwrite it.
    if (1..SMALLEST_DATABASE).contains(&length) {
        return Err(OpenError::NotADatabase { path: display(path) });
    }
    Ok(())
}

fn writable(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| OpenError::NotWritable {
            path: display(path),
            source,
        })
}

fn connect(path: &Path, access: OpenFlags, cache_kib: i32) -> rusqlite::Result<Connection> {
    // A connection stays on one thread, so SQLite needs no mutex in it.
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // A negative size is in KiB, not in pages.
    db.pragma_update(None, "cache_size", -cache_kib)?;
    // Without this, SQLite plans a query anew each time that a parameter has another value, which takes several times
    // as long as to run it.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(db)
}

/// Reads the schema, since SQLite looks at the file only when it must.
pub(super) fn check_is_database(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Refuses the database of another program or of a newer release. Marks an empty file as Parlance's.
fn claim(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let read = |sql: &str| {
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|error| failed(path, error))
    };
    if read("PRAGMA application_id")? == i64::from(APPLICATION_ID) {
        return check_schema_version(path, db);
    }
    if read("SELECT count(*) FROM sqlite_schema")? > 0 {
        return Err(OpenError::NotParlance { path: display(path) });
    }
    // Set before the first table is created, so that a crash in between leaves a file that is known as Parlance's.
    db.pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(|error| failed(path, error))
}

/// Refuses the database of another program or of a newer release. Writes nothing.
pub(super) fn check_compatible(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let application: i32 = db
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(|error| failed(path, error))?;
    if application != APPLICATION_ID {
        return Err(OpenError::NotParlance { path: display(path) });
    }
    check_schema_version(path, db)
}

/// Refuses a damaged database, before anything is written to it.
fn check_integrity(path: &Path, db: &mut Connection, real: &Path, time: Duration) -> Result<(), OpenError> {
    match integrity::check(db, real, Some(time)).map_err(|error| failed(path, error))? {
        Integrity::Intact => Ok(()),
        Integrity::Unfinished => {
            tracing::info!(
                "the database is too large to look for damage in all of it within store.check_time ({time:?})"
            );
            Ok(())
        }
        Integrity::Damaged(finding) => Err(OpenError::Damaged {
            path: display(path),
            finding,
        }),
    }
}

fn check_schema_version(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let read = |sql: &str| {
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|error| failed(path, error))
    };
    if read("SELECT count(*) FROM sqlite_schema WHERE name = 'refinery_schema_history'")? == 0 {
        return Ok(());
    }
    let found = read("SELECT coalesce(max(version), 0) FROM refinery_schema_history")?;
    let known = known_version();
    if found > known {
        return Err(OpenError::Newer {
            path: display(path),
            found,
            known,
        });
    }
    Ok(())
}

fn known_version() -> i64 {
    let runner = embedded::migrations::runner();
    runner
        .get_migrations()
        .iter()
        .map(|migration| i64::from(migration.version()))
        .max()
        .unwrap_or(0)
}

/// Applies the settings of the file and of the writer's connection that cannot be changed in a transaction.
fn configure(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let mode: String = db
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(|error| failed(path, error))?;
    if mode != "wal" {
        return Err(OpenError::NoLog { path: display(path) });
    }
    let set = || -> rusqlite::Result<()> {
        // With a write-ahead log, only FULL makes a commit survive the loss of power.
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        // What is deleted is overwritten, so that nobody finds the text of a deleted message in the file.
        db.pragma_update(None, "secure_delete", true)?;
        db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        db.pragma_update(None, "journal_size_limit", LOG_BYTES)
    };
    set().map_err(|error| failed(path, error))
}

/// Makes a database as the release with this version of the schema made it.
#[cfg(test)]
pub(super) fn create_version(path: &Path, version: i32) -> Connection {
    let mut db = Connection::open(path).unwrap_or_else(|error| panic!("{error}"));
    let migrated = db
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(anyhow::Error::from)
        .and_then(|()| {
            let runner = embedded::migrations::runner().set_target(refinery::Target::Version(version));
            runner.run(&mut db).map_err(anyhow::Error::from)
        });
    migrated.unwrap_or_else(|error| panic!("{error}"));
    db
}

fn migrate(path: &Path, db: &mut Connection) -> Result<(), OpenError> {
    embedded::migrations::runner()
        .set_grouped(true)
        .run(db)
        .map(drop)
        .map_err(|source| OpenError::Migration {
            path: display(path),
            source,
        })
}

pub(super) fn failed(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = display(path);
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged {
            path,
            finding: error.to_string(),
        },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => OpenError::NotWritable {
            path,
            source: io::Error::other(error),
        },
        _ => OpenError::Failed {
            path,
            source: error.into(),
        },
    }
}

pub(super) fn display(path: &Path) -> String {
    path.display().to_string()
}
