//! Compiled code, and the one place of the host where it becomes something to run.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Code that this server's own compiler made. wasmtime runs what it deserialises as it is, so whoever makes one of
/// these vouches for the bytes.
pub(super) struct TrustedCode(Vec<u8>);

impl TrustedCode {
    /// Exactly two callers may say so: `compile`, of what our own compiler gave, in this process or in a child of
    /// ours; and `cache`, of an entry whose HMAC it has verified with a key that only we can read.
    pub(super) fn assume_trusted(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// # Errors
    /// When it was compiled by another version of wasmtime, or for an engine with other settings.
    #[allow(
        unsafe_code,
        reason = "the only way to use code that was compiled in another process or an earlier life of this one"
    )]
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` asks for bytes that `precompile_component` gave and nobody changed since. That is what
        // `assume_trusted` says, and they are ours since: in private memory, never mapped from a file that could change.
        // Version and settings are compared by wasmtime itself.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
