//! The checks that a component must pass before it may handle events.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Compiled, ExportIndices, LoadError};
use crate::sandbox::block_on::block_on;
use crate::sandbox::call::trap;
use crate::sandbox::engine::Sandbox;
use crate::sandbox::interface::Interface;
use crate::sandbox::meter::GuestLimits;
use crate::sandbox::outcome::{Trap, TrapKind};
use parlance_scheduler::{CpuTimer, Quantum};

/// Instantiates the component once within its tenant's limits and checks the exports' types, so that a component which
/// would fail every event is refused. Processor time is measured by the thread's clock, so a busy machine refuses
/// nothing that an idle one accepts.
pub(super) fn check_instantiation(
    sandbox: &Arc<Sandbox>,
    compiled: &Compiled,
    limits: &GuestLimits,
) -> Result<(), LoadError> {
    block_on(instantiate_once(sandbox, compiled, limits)).map_err(LoadError::Host)?
}

/// The check itself, on the calling task. The instance takes a slot like any other.
pub(super) async fn instantiate_once(
    sandbox: &Arc<Sandbox>,
    compiled: &Compiled,
    limits: &GuestLimits,
) -> Result<(), LoadError> {
    let slot = sandbox.slots.acquire(true).await;
    let _slot = slot.map_err(|_| LoadError::Host("the sandbox is shutting down".to_owned()))?;
    let _running = sandbox.ticker.guest_started();
    let mut store = sandbox.store(limits);
    let timer = Arc::new(CpuTimer::default());
    let meter = &mut store.data_mut().meter;
    meter.begin_event(limits, timer.clone(), Arc::default(), Quantum::new());
    let ended = {
        let instantiate = pin!(compiled.pre.instantiate_async(&mut store));
        tokio::time::timeout(limits.wall_time, timer.time(instantiate)).await
    };
    let instance = match ended {
        Ok(Ok(instance)) => instance,
        Ok(Err(error)) => return Err(refusal(trap(&error, store.data(), compiled), limits)),
        Err(_) => return Err(time("sandbox.wall_time", limits.wall_time)),
    };
    compiled.exports.check_types(&mut store, &instance)
}

fn time(limit: &'static str, max: Duration) -> LoadError {
    LoadError::InstantiationTime { limit, max }
}

/// The error for a failed instantiation. It names the limit that was exceeded, if there is one.
fn refusal(trap: Trap, limits: &GuestLimits) -> LoadError {
    match trap.kind {
        TrapKind::GuestTime => time("sandbox.guest_time", limits.guest_time),
        TrapKind::Memory => LoadError::InstantiationMemory { max: limits.memory },
        TrapKind::Host => LoadError::Host(trap.detail),
        _ => LoadError::Instantiate(trap.detail),
    }
}

/// Checks a component's header and says what the file is if it is not a component. The header is `\0asm`, then version
/// and layer: 13 and 1 for a component, 1 and 0 for a core module (Component Model, Binary.md).
pub(in crate::sandbox) fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    let why = match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => {
            "this is a core module, not a component; wrap it with `parlance-build` or `wasm-tools component new`"
        }
        [0x7f, b'E', b'L', b'F', ..] => "this is precompiled or native code, which is never accepted",
        [] => "the file is empty",
        // The text format begins with a parenthesis or a comment.
        _ if matches!(bytes.trim_ascii_start(), [b'(', ..] | [b';', b';', ..]) => {
            "this is WebAssembly text; convert it with `wasm-tools parse` first"
        }
        _ => "this is not a WebAssembly component",
    };
    Err(LoadError::NotAComponent(why))
}

impl ExportIndices {
    /// Whether the component exports the interface.
    pub(super) fn has(&self, interface: Interface) -> bool {
        match interface {
            Interface::Message => self.message.is_some(),
            Interface::Typing => self.typing.is_some(),
            Interface::Receipt => self.receipt.is_some(),
            Interface::Presence => self.presence.is_some(),
            Interface::Room => self.room.is_some(),
            Interface::Event => self.event.is_some() || self.event_ack.is_some(),
            Interface::Answer => self.answer.is_some(),
            Interface::ServerEvent => self.server_event.is_some(),
            Interface::Timer => self.timer.is_some(),
            Interface::Response => self.response.is_some(),
            Interface::Revise => self.revise.is_some(),
            Interface::Connect => self.connect.is_some(),
        }
    }
}
