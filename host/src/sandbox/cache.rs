//! Compiled components on disk, so that a server that starts again need not compile.
//!
//! What lies there is run as it is, so nothing is believed: the directory and its key belong to us and are closed to
//! all others, or are refused; each entry carries an HMAC over its name and its content. The bytes that were verified
//! are the bytes that are used: they are read once. An entry that is not right is dropped, and made anew.

mod directory;

use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::hmac;
use sha2::{Digest, Sha256};
use wasmtime::Engine;

pub use directory::CacheError;

use super::trusted_code::TrustedCode;
use super::engine::EngineLimits;
use super::load::hex;

/// The ending of an entry's file.
const EXTENSION: &str = "code";
/// What is signed begins so: a key is for one purpose.
const PURPOSE: &[u8] = b"parlance compiled component 1";
/// Bytes of an HMAC-SHA256.
const TAG_BYTES: usize = 32;

/// Names an entry: the component, and everything that its code depends on.
pub(super) struct CacheKey([u8; 32]);

impl CacheKey {
    pub(super) fn of(engine: &Engine, limits: &EngineLimits, component: &[u8; 32]) -> Self {
        let mut digest = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut digest);
        // What the engine does not count: other releases and other pools link and refuse differently.
        (env!("CARGO_PKG_VERSION"), limits.memory).hash(&mut digest);
        component.hash(&mut digest);
        Self(digest.0.finalize().into())
    }
}

/// The cache. Errors on the way are logged and cost a compilation, no more.
pub(super) struct CodeCache {
    directory: PathBuf,
    key: hmac::Key,
    /// Bytes of all entries together.
    max: u64,
    /// Bytes of one entry.
    entry_max: u64,
}

impl CodeCache {
    /// Opens the directory, and makes it and its key when they are not there.
    ///
    /// # Errors
    /// When either is not ours, or not ours alone.
    pub(super) fn open(directory: &Path, max: usize, entry_max: usize) -> Result<Self, CacheError> {
        let key = directory::open(directory)?;
        if let Err(error) = directory::remove_stale(directory) {
            tracing::warn!(directory = %directory.display(), %error, "unfinished files in the cache could not be removed");
        }
        Ok(Self {
            directory: directory.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            max: u64::try_from(max).unwrap_or(u64::MAX),
            entry_max: u64::try_from(entry_max.saturating_add(TAG_BYTES)).unwrap_or(u64::MAX),
        })
    }

    /// The code that was put there, if it is as it was.
    pub(super) fn get(&self, key: &CacheKey) -> Option<TrustedCode> {
        let path = self.path(key);
        let bytes = match directory::read(&path, self.entry_max) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a cached component cannot be read; compiling anew");
                self.remove(key);
                return None;
            }
        };
        let (tag, code) = bytes.split_at_checked(TAG_BYTES).unwrap_or((&[], &bytes));
        if aws_lc_rs::constant_time::verify_slices_are_equal(self.sign(key, code).as_ref(), tag).is_err() {
            tracing::warn!(path = %path.display(), "a cached component is damaged or not ours; compiling anew");
            self.remove(key);
            return None;
        }
        let code = code.to_vec();
        // What was used last is kept longest. If that fails, it goes earlier.
        let _ = std::fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(TrustedCode::assume_trusted(code))
    }

    /// Keeps the code, and drops what was not used for longest when there is too much.
    pub(super) fn put(&self, key: &CacheKey, code: &TrustedCode) {
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::Builder::new()
                .prefix(directory::TEMPORARY_PREFIX)
                .tempfile_in(&self.directory)?;
            file.write_all(self.sign(key, code.bytes()).as_ref())?;
            file.write_all(code.bytes())?;
            file.persist(self.path(key)).map_err(|error| error.error)?;
            directory::evict(&self.directory, EXTENSION, self.max)
        };
        if let Err(error) = write() {
            tracing::warn!(directory = %self.directory.display(), %error, "a compiled component could not be cached");
        }
    }

    /// Drops an entry.
    pub(super) fn remove(&self, key: &CacheKey) {
        // It may be gone already.
        let _ = std::fs::remove_file(self.path(key));
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        self.directory.join(format!("{}.{EXTENSION}", hex(&key.0)))
    }

    fn sign(&self, key: &CacheKey, code: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [PURPOSE, key.0.as_slice(), code] {
            context.update(part);
        }
        context.sign()
    }
}

/// Takes a `Hash` into a digest.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let bytes: [u8; 32] = self.0.clone().finalize().into();
        bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

#[cfg(test)]
mod tests;
