//! Makes a component of a core module.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

/// Encodes a core module as a component and validates it. `wit-bindgen` has embedded the description of its world.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// Writes the file unless it has these bytes already. Returns whether it was written.
///
/// It is replaced by a rename, so that a concurrent reader, such as `parlance dev`, sees either the old component or
/// the new one.
pub(crate) fn write(path: &Path, component: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == component) {
        return Ok(false);
    }
    let new = path.with_extension(format!("wasm.{}", std::process::id()));
    fs::write(&new, component)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}
