//! Backups: copies a database while a server may have it open, and restores a copy when none has.
//!
//! A backup is one file without a write-ahead log. The whole of it is checked before it gets its name, so a file of that
//! name can be restored.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::integrity::{self, Integrity};
use super::open::{self, OpenError, display, with_suffix};

/// How long a backup waits before it tries again while another program has the database locked.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Endings of the files that SQLite keeps beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Why a database was not backed up or restored, for the operator. All files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database or the backup cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file to restore is not a database.
    #[error("{path} is not a backup: it is not an SQLite database, or its beginning is damaged; nothing was changed")]
    NotABackup {
        /// The file that the operator named.
        path: String,
    },
    /// The file to copy does not exist.
    #[error("there is no database {path}")]
    Missing {
        /// The file that the operator named.
        path: String,
    },
    /// The file to write exists already.
    #[error("{path} exists already; choose another name, or use --force")]
    Exists {
        /// The file that the operator named.
        path: String,
    },
    /// The file to write is a directory, a device or the like.
    #[error("{path} is not a file that can be replaced; name another one")]
    NotAFile {
        /// The file that the operator named.
        path: String,
    },
    /// The database that an earlier restore replaced is still there.
    #[error(
        "{aside} exists already, from an earlier restore; move it away, or use --force, which does not keep the database that it replaces"
    )]
    AsideExists {
        /// The path to which the database would be moved.
        aside: String,
    },
    /// The file to write is the database itself, or one of the files that belong to it.
    #[error("{path} belongs to the database itself; name another file")]
    IsDatabase {
        /// The file that the operator named.
        path: String,
    },
    /// The file to copy is damaged.
    #[error("{path} is damaged: {finding}; {advice}")]
    Damaged {
        /// The damaged file: the database, or the backup to restore.
        path: String,
        /// The first contradiction that the check found.
        finding: String,
        /// What the operator can do.
        advice: &'static str,
    },
    /// Another error, such as a full disk.
    #[error("cannot write {path}")]
    Failed {
        /// The file to write.
        path: String,
        /// The error.
        source: anyhow::Error,
    },
}

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Bytes of the restored database.
    pub bytes: u64,
    /// Where the replaced database is now. `None` when there was no database, or when it was not to be kept.
    pub aside: Option<PathBuf>,
}

/// Copies `database` to `file`, whether or not a server has it open. The copy has every transaction that was committed
/// before the call, and none in part. Returns the bytes of the copy, which is synced to disk.
///
/// # Errors
/// See [`BackupError`]. `file` may exist only with `replace`.
pub fn backup(database: &Path, file: &Path, replace: bool) -> Result<u64, BackupError> {
    let database = open::resolve(database)?;
    let file = open::resolve(file)?;
    if !database.exists() {
        return Err(BackupError::Missing {
            path: display(&database),
        });
    }
    if file == database
        || COMPANIONS
            .iter()
            .chain(&[".lock"])
            .any(|end| file == with_suffix(&database, end))
    {
        return Err(BackupError::IsDatabase { path: display(&file) });
    }
    if fs::metadata(&file).is_ok_and(|there| !there.is_file()) {
        return Err(BackupError::NotAFile { path: display(&file) });
    }
    // SQLite would take files with these names for parts of the copy.
    let companions = COMPANIONS.map(|end| with_suffix(&file, end));
    if !replace && let Some(there) = [&file].into_iter().chain(&companions).find(|path| path.exists()) {
        return Err(BackupError::Exists { path: display(there) });
    }
    let failed = |source: anyhow::Error| BackupError::Failed {
        path: display(&file),
        source,
    };
    let mut source = open::open_reader(&database)?;
    open::check_is_database(&source).map_err(|error| open::failed(&database, error))?;
    open::check_compatible(&database, &source)?;
    let directory = file.parent().unwrap_or(Path::new("."));
    // A temporary file is readable by its owner alone, as the database is.
    let made = tempfile::Builder::new()
        .prefix(".parlance-backup-")
        .tempfile_in(directory)
        .map_err(|error| failed(error.into()))?;
    let mut copy = || -> rusqlite::Result<Integrity> {
        // Only the source tells that part of its last page is missing: the copy has zeros there.
        if let damaged @ Integrity::Damaged(_) = integrity::check(&mut source, &database, Some(Duration::ZERO))? {
            return Ok(damaged);
        }
        let mut copy = Connection::open_with_flags(made.path(), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // One step, because SQLite starts over when a server writes between two steps.
        Backup::new(&source, &mut copy)?.run_to_completion(i32::MAX, BUSY_PAUSE, None)?;
        make_standalone(&mut copy, made.path())
    };
    let condition = integrity::from_error(copy()).map_err(|error| failed(error.into()))?;
    if let Integrity::Damaged(finding) = condition {
        return Err(BackupError::Damaged {
            path: display(&database),
            finding,
            advice: "no backup was made; put an older one in its place with `parlance restore FILE`",
        });
    }
    let bytes = sync_to_disk(made.path()).map_err(|error| failed(error.into()))?;
    remove(&companions)
        .and_then(|()| sync_to_disk(directory))
        .map_err(|error| failed(error.into()))?;
    let named = if replace {
        made.persist(&file)
    } else {
        made.persist_noclobber(&file)
    };
    named.map_err(|error| failed(error.into()))?;
    sync_to_disk(directory).map_err(|error| failed(error.into()))?;
    Ok(bytes)
}

/// Replaces `database`, which no server may have open, by the backup `file`. Without `replace` the old database is kept
/// beside the new one.
///
/// # Errors
/// See [`BackupError`].
pub fn restore(database: &Path, file: &Path, replace: bool) -> Result<Restored, BackupError> {
    let real = open::resolve(database)?;
    let file = open::resolve(file)?;
    if !file.exists() {
        return Err(BackupError::Missing { path: display(&file) });
    }
    if file == real {
        return Err(BackupError::IsDatabase { path: display(&file) });
    }
    let _lock = open::lock(database, &real)?;
    let aside = with_suffix(&real, ".before-restore");
    let keep = !replace && fs::metadata(&real).is_ok_and(|there| there.len() > 0);
    if keep && aside.exists() {
        return Err(BackupError::AsideExists { aside: display(&aside) });
    }
    // This process has the lock, so what the directory holds is left over from an interrupted restore.
    let staging = with_suffix(&real, ".restoring");
    let failed = |source: anyhow::Error| BackupError::Failed {
        path: display(&real),
        source,
    };
    let aside = keep.then_some(aside);
    let done = stage(&file, &staging)
        .and_then(|staged| replace_database(&staged, &real, aside.as_deref()).map_err(|error| failed(error.into())));
    // The next restore deletes the directory if this one cannot.
    let _ = fs::remove_dir_all(&staging);
    Ok(Restored { bytes: done?, aside })
}

/// Copies the backup into the directory `staging`, on the database's disk, and checks all of the copy.
fn stage(file: &Path, staging: &Path) -> Result<PathBuf, BackupError> {
    let staged = staging.join("database");
    let failed = |source: anyhow::Error| BackupError::Failed {
        path: display(&staged),
        source,
    };
    let copy = || -> io::Result<()> {
        if staging.exists() {
            fs::remove_dir_all(staging)?;
        }
        fs::DirBuilder::new().mode(0o700).create(staging)?;
        fs::copy(file, &staged)?;
        // A backup that another tool made may have a log. One of Parlance's has none, so a log beside it belongs to
        // another database.
        let log = with_suffix(file, "-wal");
        if log.exists() && is_in_wal_mode(file)? {
            fs::copy(log, with_suffix(&staged, "-wal"))?;
        }
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o600))
    };
    copy().map_err(|error| failed(error.into()))?;
    if fs::metadata(&staged).is_ok_and(|copy| copy.len() < open::SMALLEST_DATABASE) {
        return Err(BackupError::NotABackup { path: display(file) });
    }
    let look = || -> Result<Integrity, OpenError> {
        let as_read = |error| open::failed(file, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(&staged, flags).map_err(as_read)?;
        open::check_is_database(&copy).map_err(as_read)?;
        open::check_compatible(file, &copy)?;
        make_standalone(&mut copy, &staged).map_err(as_read)
    };
    let finding = match look() {
        Ok(Integrity::Damaged(finding)) | Err(OpenError::Damaged { finding, .. }) => finding,
        Ok(Integrity::Intact | Integrity::Unfinished) => {
            sync_to_disk(&staged).map_err(|error| failed(error.into()))?;
            return Ok(staged);
        }
        Err(OpenError::NotADatabase { path }) => return Err(BackupError::NotABackup { path }),
        Err(other) => return Err(other.into()),
    };
    Err(BackupError::Damaged {
        path: display(file),
        finding,
        advice: "nothing was changed; restore another backup",
    })
}

/// Moves `staged` to `real`, and the old database to `aside` or nowhere. Leaves no file beside `real` that SQLite would
/// take for a part of the new database. Returns the bytes of the new database.
fn replace_database(staged: &Path, real: &Path, aside: Option<&Path>) -> io::Result<u64> {
    // After a checkpoint the old database is one file, which one rename replaces. A database that is too damaged for a
    // checkpoint keeps its log.
    let _ = checkpoint(real);
    if let Ok(before) = fs::metadata(real) {
        let made = fs::metadata(staged)?;
        // A database that root restores still belongs to the server's user.
        if (before.uid(), before.gid()) != (made.uid(), made.gid()) {
            chown(staged, Some(before.uid()), Some(before.gid()))?;
        }
    }
    if let Some(aside) = aside {
        // These belong to an earlier database that was kept there.
        remove(&COMPANIONS.map(|end| with_suffix(aside, end)))?;
        fs::hard_link(real, aside)?;
        let log = with_suffix(real, "-wal");
        if log.exists() {
            fs::rename(&log, with_suffix(aside, "-wal"))?;
        }
    }
    remove(&COMPANIONS.map(|end| with_suffix(real, end)))?;
    let directory = real.parent().unwrap_or(Path::new("."));
    sync_to_disk(directory)?;
    fs::rename(staged, real)?;
    sync_to_disk(directory)?;
    fs::metadata(real).map(|now| now.len())
}

/// Deletes those of the files that exist.
fn remove(paths: &[PathBuf]) -> io::Result<()> {
    for path in paths {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the database's header says that it uses a write-ahead log (SQLite's file format, section 1.3.3).
fn is_in_wal_mode(database: &Path) -> io::Result<bool> {
    let mut header = [0; 20];
    let read = File::open(database)?.read_exact(&mut header);
    Ok(read.is_ok() && header.get(18) == Some(&2))
}

/// Writes the write-ahead log into its database and deletes it, as a server does when it stops.
fn checkpoint(real: &Path) -> rusqlite::Result<()> {
    let db = Connection::open_with_flags(real, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)
}

/// Turns off a copy's write-ahead log, so that it is one file, and checks all of it.
fn make_standalone(copy: &mut Connection, path: &Path) -> rusqlite::Result<Integrity> {
    copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    integrity::check(copy, path, None)
}

/// Waits until the file or directory is on disk. Returns its bytes.
fn sync_to_disk(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    file.sync_all()?;
    file.metadata().map(|data| data.len())
}
