//! The cache's directory: its permissions, its key, and its size.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes of the key.
const KEY_BYTES: usize = 32;
/// File name of the key.
const KEY_FILE: &str = "key";
/// File name prefix of entries that are being written.
pub(super) const TEMPORARY_PREFIX: &str = ".new-";
/// A temporary file of this age is left over from a process that was killed: writing takes far less.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// Why the cache cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Other users could put code there.
    #[error(
        "{path} {why}, but the server runs the code in it: give it to the server's user with mode 0700 (its files: 0600), \
         or name another directory with sandbox.cache, or switch the cache off with sandbox.cache = \"none\""
    )]
    NotPrivate {
        /// The directory, or the file in it.
        path: PathBuf,
        /// The problem.
        why: &'static str,
    },
    /// It cannot be created or read.
    #[error("{path} cannot be used for compiled components (sandbox.cache): {error}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Checks the directory, creates what is missing, and reads the key.
pub(super) fn open(directory: &Path) -> Result<[u8; KEY_BYTES], CacheError> {
    let unusable = |error| CacheError::Unusable {
        path: directory.to_owned(),
        error,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(unusable)?;
    let meta = fs::symlink_metadata(directory).map_err(unusable)?;
    if !meta.is_dir() {
        return Err(not_private(directory, "is not a directory"));
    }
    // The owner of a new file is the user that this process runs as.
    let probe = tempfile::tempfile_in(directory).map_err(unusable)?;
    let us = probe.metadata().map_err(unusable)?.uid();
    require_private(directory, &meta, us)?;
    let path = directory.join(KEY_FILE);
    if !path.exists() {
        make_key(directory, &path).map_err(unusable)?;
    }
    let meta = fs::symlink_metadata(&path).map_err(unusable)?;
    if !meta.is_file() {
        return Err(not_private(&path, "is not a file"));
    }
    require_private(&path, &meta, us)?;
    let mut key = [0; KEY_BYTES];
    let mut file = File::open(&path).map_err(unusable)?;
    if meta.len() != KEY_BYTES as u64 || file.read_exact(&mut key).is_err() {
        return Err(not_private(&path, "is damaged"));
    }
    Ok(key)
}

fn require_private(path: &Path, meta: &Metadata, us: u32) -> Result<(), CacheError> {
    if meta.uid() != us {
        return Err(not_private(path, "belongs to another user"));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(not_private(path, "is open to others"));
    }
    Ok(())
}

fn not_private(path: &Path, why: &'static str) -> CacheError {
    CacheError::NotPrivate {
        path: path.to_owned(),
        why,
    }
}

/// Creates the key atomically. If another process was faster, its key stays.
fn make_key(directory: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::from)?;
    // Temporary files have mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempfile_in(directory)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

/// Removes unfinished files of processes that were killed, but not the files that another process is writing now.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn remove_stale(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let age = entry.metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed());
        let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age >= STALE_AFTER));
        if is_old && entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Reads a whole file; `None` when it does not exist.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta?,
    };
    if !meta.is_file() || meta.len() > max {
        return Err(io::Error::other("it is not a file, or it is too large"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Removes the least recently used files with this extension until the rest have at most `max` bytes together.
pub(super) fn evict(directory: &Path, extension: &str, max: u64) -> io::Result<()> {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension)
            // Another process may remove a file meanwhile.
            && let Ok(meta) = fs::symlink_metadata(&path)
        {
            files.push((meta.modified()?, meta.len(), path));
        }
    }
    files.sort();
    let mut bytes: u64 = files.iter().map(|(_, len, _)| len).sum();
    for (_, len, path) in files {
        if bytes <= max {
            break;
        }
        let _ = fs::remove_file(path);
        bytes = bytes.saturating_sub(len);
    }
    Ok(())
}
