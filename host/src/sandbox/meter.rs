//! What one event may spend in its instance, and what it has spent.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use super::classify;
use super::call::CallState;
use crate::scheduler::{CpuProfile, CpuTimer, Quantum, yield_now};

/// What one event may spend. Each has a key under `[sandbox]` in the config.
#[derive(Debug, Clone)]
pub struct GuestLimits {
    /// Processor time, looked at once a tick of the engine.
    pub guest_time: Duration,
    /// Time from the first step to the last, waiting for the store included.
    pub wall_time: Duration,
    /// Bytes of all linear memories together.
    pub memory: usize,
    /// Calls of the host.
    pub host_calls: u32,
    /// Bytes lifted out of the guest, in one call of the host at most.
    pub transfer: usize,
    /// Bytes that go from the guest to the host and back in all calls of the host together.
    pub transfer_total: usize,
    /// HTTP requests, where the operator grants any.
    pub http_requests: u32,
    /// Bytes of the bodies of all its HTTP requests and responses, and of the responses' headers, together.
    pub http_bytes: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            guest_time: Duration::from_millis(50),
            wall_time: Duration::from_secs(2),
            memory: 16 * 1024 * 1024,
            host_calls: 1000,
            transfer: 2 * 1024 * 1024,
            transfer_total: 16 * 1024 * 1024,
            http_requests: 8,
            http_bytes: 1024 * 1024,
        }
    }
}

/// Elements of all tables of an instance together.
const TABLE_ELEMENTS: usize = 20_000;

/// Why the host stopped a guest. Carried through wasmtime as the error of the trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StopReason {
    #[error("it used up its processor time")]
    GuestTime,
    #[error("it called the host too often")]
    HostCalls,
    #[error("it exchanged more bytes with the host than it may (sandbox.transfer_total)")]
    Transfer,
    #[error("it called the host while it was being instantiated")]
    NoEvent,
}

/// What has been spent.
#[derive(Debug)]
pub(super) struct Meter {
    guest_time: Duration,
    /// What the event has used.
    timer: Option<Arc<CpuTimer>>,
    /// Told what the event uses, for the events to come.
    profile: Option<Arc<CpuProfile>>,
    observed: Duration,
    /// What the event's task works in.
    quantum: Option<Quantum>,
    memory: usize,
    memory_max: usize,
    peak_memory: usize,
    table_elements: usize,
    pub(super) host_calls: u32,
    host_calls_max: u32,
    /// Bytes that may still go to the host and back.
    transfer_left: usize,
    /// What it waits for is the host's: the store, the hall, its turn. So it is not to blame for the time.
    pub(super) waits_for_host: bool,
    /// Set once the guest asked for more memory than it may have: what it does then is its answer to that.
    pub(super) memory_refused: bool,
    /// Set once the host had no memory that the guest might have had.
    pub(super) host_out_of_memory: bool,
}

impl Meter {
    pub(super) fn new(limits: &GuestLimits) -> Self {
        Self {
            guest_time: limits.guest_time,
            timer: None,
            profile: None,
            observed: Duration::ZERO,
            quantum: None,
            memory: 0,
            memory_max: limits.memory,
            peak_memory: 0,
            table_elements: 0,
            host_calls: 0,
            host_calls_max: limits.host_calls,
            transfer_left: limits.transfer_total,
            waits_for_host: false,
            memory_refused: false,
            host_out_of_memory: false,
        }
    }

    /// An event begins, in a task that works in this quantum.
    pub(super) fn begin_event(
        &mut self,
        limits: &GuestLimits,
        timer: Arc<CpuTimer>,
        profile: Arc<CpuProfile>,
        quantum: Quantum,
    ) {
        self.guest_time = limits.guest_time;
        self.timer = Some(timer);
        self.profile = Some(profile);
        self.observed = Duration::ZERO;
        self.quantum = Some(quantum);
    }

    /// What the event's version has been told of so far.
    pub(super) fn observed(&self) -> Duration {
        self.observed
    }

    /// The event has used so much by now.
    fn observe(&mut self, used: Duration) {
        if let Some(profile) = &self.profile {
            profile.observe(used.saturating_sub(self.observed));
        }
        self.observed = used;
    }

    /// Whether the event's processor time is used up; called once a tick.
    fn is_out_of_time(&mut self) -> bool {
        // Without an event there is no time to spend.
        let Some(timer) = &self.timer else { return true };
        let used = timer.total_now();
        self.observe(used);
        used > self.guest_time
    }

    /// For the next event in the same instance, which keeps its memories.
    pub(super) fn reset(&mut self, limits: &GuestLimits) {
        self.memory_max = limits.memory;
        self.peak_memory = self.memory;
        self.host_calls = 0;
        self.host_calls_max = limits.host_calls;
        self.transfer_left = limits.transfer_total;
        self.waits_for_host = false;
        self.memory_refused = false;
        self.host_out_of_memory = false;
    }

    /// Bytes of all memories now.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    pub(super) fn peak_memory(&self) -> usize {
        self.peak_memory
    }

    /// Counts a call of the host.
    pub(super) fn host_call(&mut self) -> Result<(), StopReason> {
        self.count_host_call();
        if self.exceeds_host_calls() {
            Err(StopReason::HostCalls)
        } else {
            Ok(())
        }
    }

    /// So many bytes go to the host or back.
    pub(super) fn count_transfer(&mut self, bytes: usize) -> Result<(), StopReason> {
        self.transfer_left = self.transfer_left.checked_sub(bytes).ok_or(StopReason::Transfer)?;
        Ok(())
    }

    /// Counts a call of the host that cannot be refused; [`tick`] stops the guest when it was one too many.
    pub(super) fn count_host_call(&mut self) {
        self.host_calls = self.host_calls.saturating_add(1);
        self.waits_for_host = false;
    }

    fn exceeds_host_calls(&self) -> bool {
        self.host_calls > self.host_calls_max
    }
}

/// A tick has passed while the guest ran: let others run too, and stop it when its time is up.
pub(super) fn tick(mut store: StoreContextMut<'_, CallState>) -> wasmtime::Result<UpdateDeadline> {
    let meter = &mut store.data_mut().meter;
    if meter.exceeds_host_calls() {
        return Err(StopReason::HostCalls.into());
    }
    if meter.is_out_of_time() {
        return Err(StopReason::GuestTime.into());
    }
    meter.waits_for_host = true;
    // The version decides, not this tick: it falls anywhere within an event, and while a machine puts a thread aside ticks
    // pass in which its guest did not run. A quick event must not end up behind those that are not.
    let long = meter.profile.as_ref().is_some_and(|profile| profile.runs_long());
    let quantum = meter.quantum.clone().filter(|_| long);
    let pause = async move {
        match quantum {
            Some(quantum) => quantum.move_to_background().await,
            None => yield_now().await,
        }
    };
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(pause)))
}

impl ResourceLimiter for Meter {
    /// Sums over all memories of the instance; wasmtime asks for each growth and each initial size.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory_max {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory = total;
        self.peak_memory = self.peak_memory.max(total);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.host_out_of_memory |= classify::is_host_exhausted(&error);
        Ok(())
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.host_out_of_memory |= classify::is_host_exhausted(&error);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }
}
