//! Copies of a database: made while a server has it open, and put in its place when none has.
//!
//! A copy is one file that needs no other: it has no write-ahead log. It is checked whole before it gets its name, so
//! a file of that name is a database that can be restored.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::integrity::{self, Integrity};
use super::open::{self, OpenError, display, with_suffix};

/// How long a copy waits before it tries again where another program holds the database locked.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// What SQLite keeps beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Why a database was not backed up or restored, for the operator. What was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database, or the backup, cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file to restore is no backup.
    #[error("{path} is no backup: it is not an SQLite database, or its beginning is damaged; nothing was changed")]
    NotABackup {
        /// What was asked for.
        path: String,
    },
    /// There is nothing to copy.
    #[error("there is no database {path}")]
    Missing {
        /// What was asked for.
        path: String,
    },
    /// The file to be written is there already.
    #[error("{path} is there already; choose another name, or use --force")]
    Exists {
        /// What was asked for.
        path: String,
    },
    /// The file to be written is a directory, a device or the like.
    #[error("{path} is no file that can be replaced; name another one")]
    NotAFile {
        /// What was asked for.
        path: String,
    },
    /// The database that an earlier restore has replaced is still there.
    #[error(
        "{aside} is there already, from an earlier restore; move it away, or use --force, which keeps nothing of the database that it replaces"
    )]
    AsideExists {
        /// Where the database would have been kept.
        aside: String,
    },
    /// The backup would be the database itself, or one of the files that belong to it.
    #[error("{path} belongs to the database itself; name another file")]
    IsDatabase {
        /// What was asked for.
        path: String,
    },
    /// What was to be copied is damaged.
    #[error("{path} is damaged: {finding}; {advice}")]
    Damaged {
        /// Which of the two.
        path: String,
        /// The first thing that is wrong with it.
        finding: String,
        /// What to do.
        advice: &'static str,
    },
    /// Something else, such as a full disk.
    #[error("cannot write {path}")]
    Failed {
        /// What was to be written.
        path: String,
        /// What failed.
        source: anyhow::Error,
    },
}

/// What became of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Bytes of the database.
    pub bytes: u64,
    /// The file that is now what the database was before; none when there was none, or when it was not to be kept.
    pub aside: Option<PathBuf>,
}

/// Copies the database at `database` into `file`, whether or not a server has it open: everything that was committed
/// before this began, nothing in part. Answers with the bytes of the copy, which is on disk then.
///
/// # Errors
/// See [`BackupError`]; `file` is there already, unless `replace`.
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
    // What SQLite finds beside a file of this name it would read into the copy.
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
    open::check_can_be_read(&database, &source)?;
    let directory = file.parent().unwrap_or(Path::new("."));
    // Readable by its owner alone, as the database is.
    let made = tempfile::Builder::new()
        .prefix(".parlance-backup-")
        .tempfile_in(directory)
        .map_err(|error| failed(error.into()))?;
    let mut copy = || -> rusqlite::Result<Integrity> {
        // The copy does not show what the file lacks of its last page.
        if let damaged @ Integrity::Damaged(_) = integrity::check(&mut source, &database, Some(Duration::ZERO))? {
            return Ok(damaged);
        }
        let mut copy = Connection::open_with_flags(made.path(), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // In one step: between two of them a server writes, and then SQLite begins anew.
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

/// Puts the copy at `file` in place of the database at `database`, which no server may have open. The database that
/// was there is kept beside it, unless `replace`.
///
/// # Errors
/// See [`BackupError`]; the database is in use.
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
    // Nobody else is here, for whoever is has the lock: what is left in it is of one that was cut short.
    let staging = with_suffix(&real, ".restoring");
    let failed = |source: anyhow::Error| BackupError::Failed {
        path: display(&real),
        source,
    };
    let aside = keep.then_some(aside);
    let done = stage(&file, &staging)
        .and_then(|staged| replace_database(&staged, &real, aside.as_deref()).map_err(|error| failed(error.into())));
    // The next restore removes what this cannot.
    let _ = fs::remove_dir_all(&staging);
    Ok(Restored { bytes: done?, aside })
}

/// A copy of the backup in the directory `staging`, on the disk that the database is on, checked whole.
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
        // Of a backup that was made with other tools. One of ours has none: a log beside it is another database's.
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
        open::check_can_be_read(file, &copy)?;
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

/// Puts `staged` in the place of `real`, of which nothing that SQLite would read into the new database is left.
fn replace_database(staged: &Path, real: &Path, aside: Option<&Path>) -> io::Result<u64> {
    // A database in one file can be replaced in one step. One that is too damaged for that keeps its log beside it.
    let _ = checkpoint(real);
    if let Ok(before) = fs::metadata(real) {
        let made = fs::metadata(staged)?;
        // Restored by root, a database is still that of the server's user.
        if (before.uid(), before.gid()) != (made.uid(), made.gid()) {
            chown(staged, Some(before.uid()), Some(before.gid()))?;
        }
    }
    if let Some(aside) = aside {
        // Logs of an earlier database that was moved away do not belong to this one.
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

/// Removes files, those that are there.
fn remove(paths: &[PathBuf]) -> io::Result<()> {
    for path in paths {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the database is one with a write-ahead log: its header says so (SQLite's file format, 1.3.3).
fn is_in_wal_mode(database: &Path) -> io::Result<bool> {
    let mut header = [0; 20];
    let read = File::open(database)?.read_exact(&mut header);
    Ok(read.is_ok() && header.get(18) == Some(&2))
}

/// Writes the write-ahead log into its database and removes it, as a server does when it stops.
fn checkpoint(real: &Path) -> rusqlite::Result<()> {
    let db = Connection::open_with_flags(real, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)
}

/// Makes a copy one file that needs no other, and looks through all of it.
fn make_standalone(copy: &mut Connection, path: &Path) -> rusqlite::Result<Integrity> {
    copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    integrity::check(copy, path, None)
}

/// Waits until the file or directory is on disk; its bytes.
fn sync_to_disk(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    file.sync_all()?;
    file.metadata().map(|data| data.len())
}
