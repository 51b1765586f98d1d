//! Loads the [libraries](super::super::library) of a component: those that other components have already are shared.

use std::sync::Arc;

use super::{Compiled, LoadError};
use crate::sandbox::artefact::Artefact;
use crate::sandbox::backtrace::describe;
use crate::sandbox::cache::{CacheKey, CodeCache};
use crate::sandbox::classify::is_host_exhausted;
use crate::sandbox::engine::Sandbox;
use crate::sandbox::library::{Library, LibraryDigest, LoadedLibrary};
use crate::sandbox::trusted_code::TrustedCode;

impl Sandbox {
    /// The libraries of a component that was compiled just now, each with its code if it is new.
    pub(super) fn load_compiled(
        &self,
        libraries: &[Library],
        codes: Vec<Option<TrustedCode>>,
    ) -> Result<Vec<Arc<LoadedLibrary>>, LoadError> {
        let load = |(library, code): (&Library, Option<TrustedCode>)| {
            let digest = library.digest;
            let Some(code) = code else {
                let known = self.libraries.get(&digest);
                return known.ok_or_else(|| LoadError::Host("a library of the component is gone".to_owned()));
            };
            let module = code.load_module(&self.engine).map_err(|error| refused(&error))?;
            let code_bytes = code.bytes().len();
            let library = LoadedLibrary {
                digest,
                module,
                code_bytes,
            };
            Ok(self.libraries.intern(digest, library))
        };
        libraries.iter().zip(codes).map(load).collect()
    }

    /// Keeps the libraries of a component that goes into the cache. They are used with it, also if it was not they that
    /// were compiled now.
    pub(super) fn cache_libraries(&self, cache: &CodeCache, compiled: &Compiled) {
        for (_, library) in &compiled.origin.libraries {
            let key = CacheKey::of(&self.engine, &library.digest);
            if cache.touch(&key) {
                continue;
            }
            match library.module.serialize() {
                // What wasmtime had loaded, and gives back.
                Ok(code) => cache.put(&key, &Artefact::of_library(TrustedCode::assume_trusted(code))),
                Err(error) => tracing::warn!(error = describe(&error), "a library could not be cached"),
            }
        }
    }

    /// A library that is in use, or in the cache.
    pub(super) fn cached_library(&self, cache: &CodeCache, digest: LibraryDigest) -> Option<Arc<LoadedLibrary>> {
        if let Some(library) = self.libraries.get(&digest) {
            return Some(library);
        }
        let key = CacheKey::of(&self.engine, &digest);
        let code = cache.get(&key)?.code;
        let module = usable(cache, &key, code.load_module(&self.engine))?;
        let code_bytes = code.bytes().len();
        let library = LoadedLibrary {
            digest,
            module,
            code_bytes,
        };
        Some(self.libraries.intern(digest, library))
    }
}

/// Why code from this server's compiler, for an engine with the same settings, cannot be loaded.
pub(super) fn refused(error: &wasmtime::Error) -> LoadError {
    if is_host_exhausted(error) {
        LoadError::Host(describe(error))
    } else {
        // The component's fault.
        LoadError::ExceedsPool(describe(error))
    }
}

/// What was loaded from an entry of the cache. One that cannot be loaded is removed.
pub(super) fn usable<T>(cache: &CodeCache, key: &CacheKey, loaded: wasmtime::Result<T>) -> Option<T> {
    let why = |error: &wasmtime::Error| {
        let why = describe(error);
        tracing::warn!(why, "a cached component cannot be loaded; compiling it again");
        cache.remove(key);
    };
    loaded.inspect_err(why).ok()
}
