//! The QuickJS runtime without WASI.
//!
//! The crate's runtime imports WASI, which it needs only to start. Its own way to get rid of it is to compose the
//! component with one that traps: that makes each fresh instance larger and slower, with three more components in it.
//! Here each of these imports becomes one of the library in `support.wat`, before the runtime is linked.

use anyhow::{Context, Result, bail};
use componentize_qjs::opt_size_sync_runtime_wasm;
use wasm_encoder::{EntityType, ImportSection, Module, RawSection};
use wasmparser::{Parser, Payload, TypeRef};

/// The library that takes the place of what the runtime imports.
pub(crate) const SUPPORT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/support.wasm"));

/// The runtime, whose imports are all from other libraries of the component.
pub(crate) fn without_wasi() -> Result<Vec<u8>> {
    let runtime = opt_size_sync_runtime_wasm();
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(runtime) {
        match payload.context("the runtime cannot be read")? {
            Payload::ImportSection(section) => {
                let mut imports = ImportSection::new();
                for import in section.into_imports() {
                    let import = import?;
                    let kind = entity(import.ty)?;
                    if import.module == "env" || import.module.starts_with("GOT.") {
                        imports.import(import.module, import.name, kind);
                    } else {
                        imports.import("env", &format!("{}#{}", import.module, import.name), kind);
                    }
                }
                module.section(&imports);
            }
            // The worlds of WASI, which say what those imports were.
            Payload::CustomSection(section) if is_of_wasi(section.name()) => {}
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
                    let data = runtime.get(range).context("the runtime cannot be read")?;
                    module.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(module.finish())
}

fn is_of_wasi(section: &str) -> bool {
    section.starts_with("component-type") && section.contains("wasi")
}

fn entity(kind: TypeRef) -> Result<EntityType> {
    use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
    match RoundtripReencoder.entity_type(kind) {
        Ok(kind) => Ok(kind),
        Err(error) => bail!("the runtime cannot be read: {error}"),
    }
}
