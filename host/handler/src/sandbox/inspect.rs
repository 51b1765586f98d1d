//! Lists what a component imports and exports, for `parlance inspect`.

use std::sync::Arc;

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::engine::Sandbox;
use super::interface::Interface;
use super::load::LoadError;
use super::{library, reset};
use crate::capability::HandlerInfo;

/// What is known of a component without running it.
#[derive(Debug)]
pub struct Inspection {
    /// Bytes of the file.
    pub size: usize,
    /// SHA-256 of the file, in hexadecimal; absent if the component does not load.
    pub sha256: Option<String>,
    /// Names of its imports.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
    /// The interfaces that it would handle if it had the grants that it needs, or why the server would refuse it.
    pub handles: Result<Vec<Interface>, LoadError>,
}

/// Inspects a component without running it.
///
/// # Errors
/// When the file is not a component or does not compile.
pub fn inspect(sandbox: &Arc<Sandbox>, bytes: &[u8]) -> Result<Inspection, LoadError> {
    let info = Arc::new(HandlerInfo {
        name: "inspected".into(),
        ..HandlerInfo::default()
    });
    let loaded = sandbox.load_to_inspect(info, bytes);
    if let Err(
        error
        @ (LoadError::TooLarge { .. } | LoadError::NotAComponent(_) | LoadError::Compile(_) | LoadError::Async(_)),
    ) = loaded
    {
        return Err(error);
    }
    let component = match &loaded {
        Ok(handler) => handler.compiled.pre.component().clone(),
        Err(_) => {
            Component::from_binary(&sandbox.engine, bytes).map_err(|error| LoadError::Compile(format!("{error:#}")))?
        }
    };
    let kind = component.component_type();
    let name = |name: &str, item: &ComponentItem| match item {
        ComponentItem::ComponentInstance(_) => name.to_owned(),
        other => format!("{name} ({})", item_kind(other)),
    };
    Ok(Inspection {
        size: bytes.len(),
        sha256: loaded.as_ref().ok().map(super::Handler::sha256),
        imports: kind
            .imports(&sandbox.engine)
            .filter(|(name, _)| !name.starts_with(library::NAME_PREFIX))
            .map(|(at, item)| name(at, &item.ty))
            .collect(),
        exports: kind
            .exports(&sandbox.engine)
            .filter(|(name, _)| !name.starts_with(reset::NAME_PREFIX))
            .map(|(at, item)| name(at, &item.ty))
            .collect(),
        handles: loaded.map(|handler| handler.interfaces().collect()),
    })
}

fn item_kind(item: &ComponentItem) -> &'static str {
    match item {
        ComponentItem::ComponentFunc(_) | ComponentItem::CoreFunc(_) => "function",
        ComponentItem::Module(_) => "core module",
        ComponentItem::Component(_) => "component",
        ComponentItem::ComponentInstance(_) => "instance",
        ComponentItem::Type(_) | ComponentItem::Resource(_) => "type",
    }
}
