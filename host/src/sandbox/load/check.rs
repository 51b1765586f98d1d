//! What a component must pass before it may handle events.

use std::sync::Arc;

use wasmtime::component::InstancePre;

use super::{Exports, LoadError};
use crate::sandbox::backtrace::detail;
use crate::sandbox::call::CallState;
use crate::sandbox::engine::Sandbox;
use crate::sandbox::meter::GuestLimits;
use crate::sandbox::wait::wait;

/// Instantiates once under the default limits, and compares the exports' types: what would fail every event is
/// refused here.
pub(super) fn try_out(
    sandbox: &Arc<Sandbox>,
    pre: &InstancePre<CallState>,
    exports: &Exports,
) -> Result<(), LoadError> {
    let limits = GuestLimits {
        memory: sandbox.limits.memory,
        ..GuestLimits::default()
    };
    let instantiate = async {
        let _running = sandbox.ticker.count();
        let mut store = sandbox.store(&limits);
        let instance = pre
            .instantiate_async(&mut store)
            .await
            .map_err(|error| LoadError::Instantiate(detail(&error)))?;
        exports.check_types(&mut store, &instance)
    };
    let instantiate = async {
        let instantiated = tokio::time::timeout(limits.wall_time, instantiate).await;
        instantiated.unwrap_or_else(|_| Err(LoadError::Instantiate("it took too long".to_owned())))
    };
    wait(instantiate).map_err(LoadError::Instantiate)?
}

/// Says what a file is when it is not a component. The header is `\0asm`, then the version and the layer: 13 and 1
/// for a component, 1 and 0 for a core module (Component Model, Binary.md).
pub(super) fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    let why = match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => {
            "this is a core module, not a component; wrap it with `parlance-build` or `wasm-tools component new`"
        }
        [0x7f, b'E', b'L', b'F', ..] => "this is precompiled or native code, which is never accepted",
        [] => "the file is empty",
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            "this is WebAssembly text; convert it with `wasm-tools parse` first"
        }
        _ => "this is not a WebAssembly component",
    };
    Err(LoadError::NotAComponent(why))
}
