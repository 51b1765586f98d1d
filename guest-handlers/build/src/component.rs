//! Core module in, component file out.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

/// Encodes a core module as a component, by the description of its world that `wit-bindgen` left in it, and validates
/// the result.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// Writes the file when it does not hold these bytes already, and says whether it did.
///
/// By a rename, so that one who reads at this moment (`parlance dev` watches such files) finds the old component or the
/// new one, never half of it.
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
