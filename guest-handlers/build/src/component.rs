//! Makes a component of a core module.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// How the names of sections with debug information begin.
const DEBUG: &str = ".debug_";
/// Bytes of a module before its first section.
const HEADER: usize = 8;

/// Encodes a core module as a component and validates it. `wit-bindgen` has embedded the description of its world.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// A core module without its debug information. The names of functions stay.
pub(crate) fn without_debug_information(module: &[u8]) -> Result<Vec<u8>> {
    let mut kept = module.get(..HEADER).unwrap_or(module).to_vec();
    let mut begin = HEADER;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        let Some((_, content)) = payload.as_section() else {
            continue;
        };
        let end = usize::try_from(content.end)?;
        // A section's number and length stand before its content.
        let is_debug = matches!(&payload, Payload::CustomSection(section) if section.name().starts_with(DEBUG));
        if !is_debug {
            kept.extend_from_slice(module.get(begin..end).unwrap_or_default());
        }
        begin = end;
    }
    Ok(kept)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A custom section.
    fn section(name: &str, content: &str) -> Vec<u8> {
        let name_length = u8::try_from(name.len()).unwrap();
        let length = u8::try_from(1 + name.len() + content.len()).unwrap();
        [&[0, length, name_length][..], name.as_bytes(), content.as_bytes()].concat()
    }

    #[test]
    fn debug_information_goes_and_the_rest_stays() {
        let header = b"\0asm\x01\0\0\0";
        // A type, a function of it, and its code.
        let code = [1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 4, 1, 2, 0, 0x0b];
        let kept = [header, &code[..], &section("name", ""), &section("debug", "x")].concat();
        let info = section(".debug_info", "xyz");
        let whole = [
            header,
            &info[..],
            &code,
            &info,
            &section("name", ""),
            &section("debug", "x"),
            &info,
        ]
        .concat();
        assert_eq!(without_debug_information(&whole).unwrap(), kept);
        assert_eq!(without_debug_information(&kept).unwrap(), kept);
        assert!(without_debug_information(&whole[..whole.len() - 1]).is_err());
        assert!(without_debug_information(b"").is_err());
    }
}
