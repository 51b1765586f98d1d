//! A component's own check of what it keeps (`parlance:testing/invariant`), for tests.

use std::pin::pin;
use std::sync::Arc;

use wasmtime::component::ComponentExportIndex;

use super::call::trap;
use super::load::Handler;
use super::meter::GuestLimits;
use crate::capability::Call;
use parlance_scheduler::{CpuTimer, Quantum};

/// The interface.
const INTERFACE: &str = "parlance:testing/invariant@0.1.0";
/// Its function.
const CHECK: &str = "check";

impl Handler {
    /// Calls the component's own check, if it exports one. The error says what is wrong, or why the check failed.
    pub async fn check_invariant(&self, call: Call, limits: &GuestLimits) -> Option<Result<(), String>> {
        let component = self.compiled.pre.component();
        let interface = component.get_export_index(None, INTERFACE)?;
        let check = component.get_export_index(Some(&interface), CHECK)?;
        Some(self.run_check(check, call, limits).await)
    }

    async fn run_check(&self, check: ComponentExportIndex, call: Call, limits: &GuestLimits) -> Result<(), String> {
        let slot = self.sandbox.slots.acquire(true).await;
        let _slot = slot.map_err(|_| "the sandbox is shutting down".to_owned())?;
        let _running = self.sandbox.ticker.guest_started();
        let mut store = self.sandbox.store(limits);
        let timer = Arc::new(CpuTimer::default());
        let meter = &mut store.data_mut().meter;
        meter.begin_event(limits, timer.clone(), Arc::default(), Quantum::new());
        let run = async {
            let instance = self.compiled.pre.instantiate_async(&mut store).await?;
            store.data_mut().begin(call, None);
            let check = instance.get_typed_func::<(), (Result<(), String>,)>(&mut store, &check)?;
            let (checked,) = check.call_async(&mut store, ()).await?;
            wasmtime::Result::Ok(checked)
        };
        let ended = {
            let run = pin!(run);
            tokio::time::timeout(limits.wall_time, timer.time(run)).await
        };
        match ended {
            Ok(Ok(checked)) => checked,
            Ok(Err(error)) => {
                let trap = trap(&error, store.data(), &self.compiled);
                Err(format!("the check was stopped: {}", trap.detail))
            }
            Err(_) => Err("the check took longer than sandbox.wall_time".to_owned()),
        }
    }
}
