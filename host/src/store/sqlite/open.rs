//! From a path to an open database: who may have it, whether it is ours, and its schema brought up to date.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::integrity::{self, Integrity};

mod embedded {
    refinery::embed_migrations!("src/store/migrations/sqlite");
}

/// Marks a file as ours, in SQLite's `application_id`: `Parl`.
const APPLICATION_ID: i32 = 0x5061_726c;
/// How long a connection waits for a lock that another program, a backup or a shell, holds on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages in the write-ahead log after which the writer folds it into the database, 4 KiB each. Everybody's next batch
/// waits for that: a tenant that writes large values makes it as long as this allows.
const CHECKPOINT_PAGES: i32 = 2_000;
/// What is left of the write-ahead log after it has grown in a burst, in bytes.
const LOG_BYTES: i32 = 64 * 1024 * 1024;
/// The writer's page cache, in KiB.
const WRITER_CACHE_KIB: i32 = 32 * 1024;
/// Each reader's page cache, in KiB.
const READER_CACHE_KIB: i32 = 8 * 1024;
/// Bytes of the shortest file that can be an SQLite database: one page of the smallest size.
pub(super) const SMALLEST_DATABASE: u64 = 512;
/// Prepared statements kept by each connection; more than there are different ones.
const STATEMENTS: usize = 32;

/// Why the database could not be opened, for the operator: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path ends in a directory.
    #[error("{path} is a directory; the database must be a file: name one in it, such as {path}/parlance.db")]
    IsDirectory {
        /// What was asked for.
        path: String,
    },
    /// The directory of the file is not there.
    #[error("there is no directory {directory} for the database {path}; create it, or choose another path")]
    NoDirectory {
        /// What was asked for.
        path: String,
        /// What is missing.
        directory: String,
    },
    /// The file or its directory does not let us write.
    #[error("cannot write {path}; the server's user must be allowed to write the database and its directory")]
    NotWritable {
        /// The file that was to be written.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Another process, or another store of this one, has it open.
    #[error(
        "the database {path} is in use by another server (it holds the lock {lock}); stop that one or choose another path"
    )]
    InUse {
        /// What was asked for.
        path: String,
        /// The file whose lock is held.
        lock: String,
    },
    /// The file is something else, or its first page is damaged.
    #[error(
        "{path} is not an SQLite database, or its beginning is damaged; put a backup in its place with `parlance restore FILE`, or choose another path"
    )]
    NotADatabase {
        /// What was asked for.
        path: String,
    },
    /// It contradicts itself.
    #[error(
        "the database {path} is damaged: {finding}; put a backup in its place with `parlance restore FILE`, or save what can still be read with `sqlite3 {path} .recover`"
    )]
    Damaged {
        /// What was asked for.
        path: String,
        /// The first thing that is wrong.
        finding: String,
    },
    /// An SQLite database of some other program.
    #[error("the SQLite database {path} was not made by Parlance; choose another path")]
    NotOurs {
        /// What was asked for.
        path: String,
    },
    /// A newer release has changed the schema.
    #[error(
        "the database {path} was made by a newer Parlance (schema {found}, this one knows {known}); run that release, or restore a backup from before it"
    )]
    Newer {
        /// What was asked for.
        path: String,
        /// The schema's version there.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The file system cannot do what a write-ahead log needs, as network file systems cannot.
    #[error("the file system of {path} cannot keep a write-ahead log; put the database on a local disk")]
    NoLog {
        /// What was asked for.
        path: String,
    },
    /// The schema could not be brought up to date; the database is as it was.
    #[error(
        "the schema of {path} could not be brought up to date; it is as it was, restore it from a backup if it is damaged"
    )]
    Migration {
        /// What was asked for.
        path: String,
        /// What failed.
        source: refinery::Error,
    },
    /// Something else, such as a full disk.
    #[error("cannot open the database {path}")]
    Failed {
        /// What was asked for.
        path: String,
        /// What failed.
        source: anyhow::Error,
    },
}

/// The right to have a database open. One process at a time has it; it ends with the process, however that ends.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it held for as long as a child process, just forked, has a copy of the file.
        let _ = self.0.unlock();
    }
}

/// A database that is ours, locked and up to date.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) path: PathBuf,
    pub(super) lock: Lock,
}

/// Opens the database at `path`, and looks for damage for as long as `check_time`.
pub(super) fn open(path: &Path, check_time: Duration) -> Result<Opened, OpenError> {
    let real = resolve(path)?;
    let lock = lock(path, &real)?;
    create(path, &real)?;
    let mut writer = connect(&real, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE_KIB)
        .and_then(|db| check_is_database(&db).map(|()| db))
        .map_err(|error| failed(path, error))?;
    check_is_ours(path, &writer)?;
    prepare(path, &writer)?;
    check_integrity(path, &mut writer, &real, check_time)?;
    migrate(path, &mut writer)?;
    Ok(Opened {
        writer,
        path: real,
        lock,
    })
}

/// A connection for a reader thread to a database that is open.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB).map_err(|error| failed(path, error))
}

/// Whether a database may be at this path, as far as its directory says. Nothing is made.
///
/// # Errors
/// [`OpenError::IsDirectory`], [`OpenError::NoDirectory`] or [`OpenError::NotWritable`].
pub fn check_path(path: &Path) -> Result<(), OpenError> {
    resolve(path).map(drop)
}

/// The path without links, so that every way to the same file ends at the same lock.
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

/// The file whose name is that of the database with an ending.
pub(super) fn with_suffix(database: &Path, end: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

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

/// Makes the file if it is not there, readable by its owner alone: it holds what people wrote to each other.
/// SQLite gives its own files the same permissions.
fn create(path: &Path, real: &Path) -> Result<(), OpenError> {
    let length = writable(real)?
        .metadata()
        .map_err(|source| OpenError::Failed {
            path: display(path),
            source: source.into(),
        })?
        .len();
    // SQLite takes what is shorter than its smallest page for empty and would write over it.
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
    // Each connection stays on one thread, so SQLite need not lock within it.
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // Negative: KiB rather than pages.
    db.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(db)
}

/// SQLite looks at the file only when something is asked of it.
pub(super) fn check_is_database(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

fn check_is_ours(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let read = |sql: &str| {
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|error| failed(path, error))
    };
    if read("PRAGMA application_id")? == i64::from(APPLICATION_ID) {
        return check_is_known(path, db);
    }
    if read("SELECT count(*) FROM sqlite_schema")? > 0 {
        return Err(OpenError::NotOurs { path: display(path) });
    }
    // Before the first table, so that a crash between the two leaves a file that is still known as ours.
    db.pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(|error| failed(path, error))
}

/// Refuses a database of another program, and of a newer release. Writes nothing.
pub(super) fn check_can_be_read(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let application: i32 = db
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(|error| failed(path, error))?;
    if application != APPLICATION_ID {
        return Err(OpenError::NotOurs { path: display(path) });
    }
    check_is_known(path, db)
}

/// A damaged database is refused before anything is built on it.
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

fn check_is_known(path: &Path, db: &Connection) -> Result<(), OpenError> {
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

/// Sets what holds for the file or the connection and cannot be set within a transaction.
fn prepare(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let mode: String = db
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(|error| failed(path, error))?;
    if mode != "wal" {
        return Err(OpenError::NoLog { path: display(path) });
    }
    let set = || -> rusqlite::Result<()> {
        // FULL: with a write-ahead log, the only setting under which a commit survives the loss of power.
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        db.pragma_update(None, "journal_size_limit", LOG_BYTES)
    };
    set().map_err(|error| failed(path, error))
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
