//! A cache of compiled components on disk, so that a server that restarts need not compile again.
//!
//! The server runs the cached code without further checks, so only this server may be able to write it: the directory
//! and its key must belong to the server's user alone, and each entry carries an HMAC over its name and content. An
//! entry is read once, and the bytes that were verified are the bytes that are used. An entry that fails verification
//! is removed and compiled again.

mod directory;

use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::hmac;
use sha2::{Digest, Sha256};
use wasmtime::Engine;

pub use directory::CacheError;

use super::artefact::{self, Artefact, Parts};
use super::hex::hex;
use super::trusted_code::TrustedCode;

/// The file extension of an entry.
const EXTENSION: &str = "code";
/// The version of what an entry has: the parts of an artefact, the form of its table of source lines, and what is added
/// to a component before it is compiled.
const FORMAT: u32 = 4;
/// The first bytes of everything that is signed, so that the key serves no other purpose.
const PURPOSE: &[u8] = b"parlance compiled component 1";
/// Bytes of an HMAC-SHA256.
const TAG_BYTES: usize = 32;

/// The key of an entry: a hash of the component, or library, and of everything else that its code depends on.
pub(super) struct CacheKey([u8; 32]);

impl CacheKey {
    pub(super) fn of(engine: &Engine, component: &[u8; 32]) -> Self {
        let mut digest = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut digest);
        // The engine's hash does not cover these, but another release links and refuses differently.
        (env!("CARGO_PKG_VERSION"), FORMAT).hash(&mut digest);
        component.hash(&mut digest);
        Self(digest.0.finalize().into())
    }
}

/// The cache. An error while reading or writing is logged and only costs a compilation.
pub(super) struct CodeCache {
    directory: PathBuf,
    key: hmac::Key,
    /// Most bytes of all entries together.
    max: u64,
    /// Most bytes of one entry.
    entry_max: u64,
}

impl CodeCache {
    /// Opens the directory. Creates it and its key if they do not exist.
    ///
    /// # Errors
    /// When another user owns or may access either of them.
    pub(super) fn open(directory: &Path, max: usize, entry_max: usize) -> Result<Self, CacheError> {
        let key = directory::open(directory)?;
        if let Err(error) = directory::remove_stale(directory) {
            tracing::warn!(directory = %directory.display(), %error, "unfinished files in the cache of compiled components could not be removed");
        }
        Ok(Self {
            directory: directory.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            max: u64::try_from(max).unwrap_or(u64::MAX),
            entry_max: u64::try_from(entry_max.saturating_add(TAG_BYTES)).unwrap_or(u64::MAX),
        })
    }

    /// The cached component or library of a key, if there is an entry and its HMAC is right.
    pub(super) fn get(&self, key: &CacheKey) -> Option<Artefact> {
        let path = self.path(key);
        let bytes = match directory::read(&path, self.entry_max) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a cached component cannot be read; compiling it again");
                self.remove(key);
                return None;
            }
        };
        let (tag, content) = bytes.split_at_checked(TAG_BYTES).unwrap_or((&[], &bytes));
        let expected = self.sign(key, &[content]);
        let is_ours = aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), tag).is_ok();
        let Some(parts) = artefact::split(content).filter(|_| is_ours) else {
            tracing::warn!(path = %path.display(), "a cached component is damaged or not from this server; compiling it again");
            self.remove(key);
            return None;
        };
        self.touch(key);
        Some(Artefact {
            code: TrustedCode::assume_trusted(parts.code.to_vec()),
            shifts: parts.shifts,
            libraries: parts.libraries.into_iter().map(|(library, _)| library).collect(),
            lines: parts.lines.to_vec(),
        })
    }

    /// Stores a compiled component or library. Evicts the least recently used entries when the cache is too large.
    pub(super) fn put(&self, key: &CacheKey, artefact: &Artefact) {
        let libraries = artefact.libraries.iter().map(|library| (library.clone(), &[][..]));
        let parts = Parts {
            code: artefact.code.bytes(),
            shifts: artefact.shifts,
            libraries: libraries.collect(),
            lines: &artefact.lines,
        };
        let parts = [&parts.header()[..], parts.code, parts.lines];
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::Builder::new()
                .prefix(directory::TEMPORARY_PREFIX)
                .tempfile_in(&self.directory)?;
            file.write_all(self.sign(key, &parts).as_ref())?;
            for part in parts {
                file.write_all(part)?;
            }
            file.persist(self.path(key)).map_err(|error| error.error)?;
            directory::evict(&self.directory, EXTENSION, self.max)
        };
        if let Err(error) = write() {
            tracing::warn!(directory = %self.directory.display(), %error, "a compiled component could not be cached");
        }
    }

    /// Notes that an entry is used, and returns whether there is one.
    pub(super) fn touch(&self, key: &CacheKey) -> bool {
        let Ok(file) = std::fs::File::open(self.path(key)) else {
            return false;
        };
        // The modification time is the time of last use. If setting it fails, the entry is only evicted earlier.
        let _ = file.set_modified(SystemTime::now());
        true
    }

    /// Removes an entry.
    pub(super) fn remove(&self, key: &CacheKey) {
        // It may have been removed already.
        let _ = std::fs::remove_file(self.path(key));
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        self.directory.join(format!("{}.{EXTENSION}", hex(&key.0)))
    }

    /// The HMAC of an entry whose content is these parts, one after the other.
    fn sign(&self, key: &CacheKey, content: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [PURPOSE, key.0.as_slice()].iter().chain(content) {
            context.update(part);
        }
        context.sign()
    }
}

/// A `Hasher` that feeds SHA-256.
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
