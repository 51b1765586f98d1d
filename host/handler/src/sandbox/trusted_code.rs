//! Compiled code, and the one place where the host loads it for execution.

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Machine code that this server's own compiler produced. wasmtime runs deserialized code unchecked, so a caller that
/// makes a `TrustedCode` vouches for its bytes.
pub(super) struct TrustedCode(Vec<u8>);

impl TrustedCode {
    /// Wraps bytes without a check. Only three callers may do this: `compile`, for what our own compiler produced in this
    /// process or in a child; `cache`, for an entry whose HMAC it has verified with a key that only this server can read;
    /// and `load`, for code that is loaded already.
    pub(super) fn assume_trusted(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Loads the code into an engine.
    ///
    /// # Errors
    /// When another version of wasmtime compiled it, or for an engine with other settings.
    #[allow(
        unsafe_code,
        reason = "the only way to load code that another process, or an earlier run, has compiled"
    )]
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` requires bytes that `precompile_component` returned and nobody changed since. Callers
        // of `assume_trusted` guarantee that, and since then the bytes were in private memory, never mapped from a file
        // that could change. wasmtime itself compares version and settings.
        unsafe { Component::deserialize(engine, &self.0) }
    }

    /// Loads the code of a core module into an engine.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    #[allow(unsafe_code, reason = "as for a component")]
    pub(super) fn load_module(&self, engine: &Engine) -> wasmtime::Result<Module> {
        // SAFETY: as in `load`, of bytes that `precompile_module` returned. wasmtime tells a module's from a component's.
        unsafe { Module::deserialize(engine, &self.0) }
    }
}
