//! What a component must pass before it may handle events.

use std::sync::Arc;
use std::time::Duration;

use super::{Compiled, LoadError};
use crate::sandbox::call::{CallState, trap};
use crate::sandbox::engine::Sandbox;
use crate::sandbox::meter::GuestLimits;
use crate::sandbox::outcome::TrapKind;
use crate::sandbox::block_on::block_on;
use crate::scheduler::{CpuTimer, Quantum};

/// Instantiates once under the limits of its tenant, and compares the exports' types: what would fail every event is
/// refused here. It has a place among all instances, and processor time as the thread's own clock has it, so a busy
/// machine refuses nothing that an idle one takes.
pub(super) fn check_instantiation(sandbox: &Arc<Sandbox>, compiled: &Compiled, limits: &GuestLimits) -> Result<(), LoadError> {
    block_on(instantiate_once(sandbox, compiled, limits)).map_err(LoadError::Host)?
}

/// The trial itself, on the calling task.
pub(super) async fn instantiate_once(sandbox: &Arc<Sandbox>, compiled: &Compiled, limits: &GuestLimits) -> Result<(), LoadError> {
    let slot = sandbox.slots.acquire(true).await;
    let _slot = slot.map_err(|_| LoadError::Host("the sandbox is shutting down".to_owned()))?;
    let _running = sandbox.ticker.guest_started();
    let mut store = sandbox.store(limits);
    let timer = Arc::new(CpuTimer::default());
    let meter = &mut store.data_mut().meter;
    meter.begin_event(limits, timer.clone(), Arc::default(), Quantum::new());
    let instantiate = timer.time(compiled.pre.instantiate_async(&mut store));
    let instance = match tokio::time::timeout(limits.wall_time, instantiate).await {
        Ok(Ok(instance)) => instance,
        Ok(Err(error)) => return Err(refusal(&error, store.data(), limits)),
        Err(_) => return Err(time("sandbox.wall_time", limits.wall_time)),
    };
    compiled.exports.check_types(&mut store, &instance)
}

fn time(limit: &'static str, max: Duration) -> LoadError {
    LoadError::InstantiationTime { limit, max }
}

/// Which limit it met, if it was one.
fn refusal(error: &wasmtime::Error, state: &CallState, limits: &GuestLimits) -> LoadError {
    let trap = trap(error, state);
    match trap.kind {
        TrapKind::GuestTime => time("sandbox.guest_time", limits.guest_time),
        TrapKind::Memory => LoadError::InstantiationMemory { max: limits.memory },
        TrapKind::Host => LoadError::Host(trap.detail),
        _ => LoadError::Instantiate(trap.detail),
    }
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
        // Text begins with a form, or with a comment.
        _ if matches!(bytes.trim_ascii_start(), [b'(', ..] | [b';', b';', ..]) => {
            "this is WebAssembly text; convert it with `wasm-tools parse` first"
        }
        _ => "this is not a WebAssembly component",
    };
    Err(LoadError::NotAComponent(why))
}
