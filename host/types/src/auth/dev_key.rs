//! The development key: a secret that `parlance dev` creates once and `parlance token` uses too.
//!
//! It is stored in `.parlance/dev-secret` below the current directory as 64 hexadecimal digits, readable by its owner
//! alone. `serve` never uses it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::key::{Algorithm, Key, KeyError, MIN_SECRET_BYTES};

/// Path of the secret, below the directory in which `parlance dev` runs.
pub const DEV_SECRET_PATH: &str = ".parlance/dev-secret";
const SECRET_BYTES: usize = 32;

/// Why there is no development key. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum DevKeyError {
    /// The file exists but cannot be read.
    #[error("cannot read the development secret {}: {source}; make it readable or delete it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file or its directory cannot be written.
    #[error(
        "cannot write the development secret {}: {source}; run in a directory you may write to, or set JWT_SECRET",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The secret is too short.
    #[error(
        "the development secret {} has {got} bytes and should have at least {MIN_SECRET_BYTES}; \
         delete it and `parlance dev` makes another", path.display()
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// How many bytes it has, without surrounding white space.
        got: usize,
    },
    /// The secret cannot be used as a key.
    #[error("the development secret {}: {source}; delete it and `parlance dev` makes another", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: KeyError,
    },
}

/// The development key and its file.
#[derive(Debug)]
pub struct DevKey {
    /// The HS256 key.
    pub key: Key,
    /// The file that holds its secret.
    pub path: PathBuf,
    /// Whether the file was just created.
    pub created: bool,
}

/// Reads the development key below `directory`; `None` if there is none yet.
///
/// # Errors
/// When the file exists but cannot be used.
pub fn load(directory: &Path) -> Result<Option<DevKey>, DevKeyError> {
    let path = directory.join(DEV_SECRET_PATH);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DevKeyError::Read { path, source }),
    };
    let secret = text.trim();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(DevKeyError::TooShort {
            path,
            got: secret.len(),
        });
    }
    match Key::from_secret(Algorithm::Hs256, secret.as_bytes()) {
        Ok(key) => Ok(Some(DevKey {
            key,
            path,
            created: false,
        })),
        Err(source) => Err(DevKeyError::Unusable { path, source }),
    }
}

/// Reads the development key below `directory`, or creates one. Two processes that start at once get the same key.
///
/// # Errors
/// When the file cannot be used or written.
pub fn load_or_create(directory: &Path) -> Result<DevKey, DevKeyError> {
    if let Some(found) = load(directory)? {
        return Ok(found);
    }
    let path = directory.join(DEV_SECRET_PATH);
    let created = create(&path).map_err(|source| DevKeyError::Write {
        path: path.clone(),
        source,
    })?;
    match load(directory)? {
        Some(found) => Ok(DevKey { created, ..found }),
        None => Err(DevKeyError::Read {
            path,
            source: io::ErrorKind::NotFound.into(),
        }),
    }
}

/// Creates the file atomically, so that no process reads half of it. Returns `false` if another process was faster.
fn create(path: &Path) -> io::Result<bool> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // Keeps the secret out of a surrounding repository.
    fs::write(directory.join(".gitignore"), "*\n")?;
    let mut secret = [0u8; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // On Unix a temporary file is created with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{digits}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}
