//! The limits of one event in its instance, and what it has used of them.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use super::call::CallState;
use super::classify;
use parlance_scheduler::{CpuProfile, CpuTimer, Quantum, yield_now};
use parlance_types::settings::{Count, GIB, KIB, MIB, Size, Time, millis, secs, settings};

settings! {
    /// What one event may cost inside a handler.
    pub struct GuestLimits of each tenant in "sandbox" {
        /// CPU time.
        guest_time: Duration = millis(50), Time(millis(1), secs(10));
        /// Time from the start of the handler to its end, waiting for the host included.
        wall_time: Duration = secs(2), Time(millis(1), secs(60));
        /// Bytes of the handler's memory. The server reserves addresses for `instances` of the top level's size, 4 GiB for
        /// each.
        memory: usize = 16 * MIB, Size(256 * KIB, GIB);
        /// Calls to the host.
        host_calls: u32 = 1000, Count(8, 1_000_000);
        /// Bytes that the handler passes to the host in one call.
        transfer: usize = 2 * MIB, Size(64 * KIB, 256 * MIB);
        /// Bytes that the handler passes to the host and gets from it in all calls together.
        transfer_total: usize = 16 * MIB, Size(64 * KIB, 4 * GIB);
        /// HTTP requests, where a grant lets the handler send any. Those that no grant covers count too.
        http_requests: u32 = 8, Count(1, 1000);
        /// Bytes of the bodies of all its HTTP requests and responses, and of the responses' headers.
        http_bytes: usize = MIB, Size(KIB, 256 * MIB);
        /// Bytes of a component's file.
        component_size: usize = 32 * MIB, Size(64 * KIB, 512 * MIB);
    }
}

/// Most elements of all tables of an instance together.
const TABLE_ELEMENTS: usize = 20_000;

/// Why the host stops a guest. Passes through wasmtime as the trap's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StopReason {
    #[error("it used more than {} of a processor (sandbox.guest_time)", humantime::format_duration(*.0))]
    GuestTime(Duration),
    #[error("it called the host too often (sandbox.host_calls)")]
    HostCalls,
    #[error("it exchanged more bytes with the host than it may (sandbox.transfer_total)")]
    Transfer,
    #[error("it called the host while it was being instantiated")]
    NoEvent,
}

/// What the event has used so far.
#[derive(Debug)]
pub(super) struct Meter {
    guest_time: Duration,
    /// The event's processor time.
    timer: Option<Arc<CpuTimer>>,
    /// The version's profile, which is told what the event uses.
    profile: Option<Arc<CpuProfile>>,
    observed: Duration,
    /// The quantum of the event's task.
    quantum: Option<Quantum>,
    memory: usize,
    memory_max: usize,
    peak_memory: usize,
    table_elements: usize,
    pub(super) host_calls: u32,
    host_calls_max: u32,
    /// Bytes that may still be passed to the host and back.
    transfer_left: usize,
    /// Whether the event waits for the host: for the store, the hub, or its turn. Its handler is not at fault if time
    /// runs out meanwhile.
    pub(super) waits_for_host: bool,
    /// Set once the guest has asked for more memory than it may have. A trap after that counts as [`TrapKind::Memory`](super::outcome::TrapKind::Memory).
    pub(super) memory_refused: bool,
    /// Set once the host could not provide memory within the guest's limit.
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

    /// Begins an event, in a task with this quantum.
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

    /// The processor time that the version's profile has been told of so far.
    pub(super) fn observed(&self) -> Duration {
        self.observed
    }

    /// Tells the version's profile how much the event has used so far.
    fn observe(&mut self, used: Duration) {
        if let Some(profile) = &self.profile {
            profile.observe(used.saturating_sub(self.observed));
        }
        self.observed = used;
    }

    /// Whether the event's processor time is used up. Called at each tick.
    fn is_out_of_time(&mut self) -> bool {
        // Without an event no time may be used.
        let Some(timer) = &self.timer else { return true };
        let used = timer.total_now();
        self.observe(used);
        used > self.guest_time
    }

    /// Resets the limits for the next event in the same instance, which keeps its memories.
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

    /// Current bytes of all memories.
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

    /// Counts bytes that are passed to the host or back.
    pub(super) fn count_transfer(&mut self, bytes: usize) -> Result<(), StopReason> {
        self.transfer_left = self.transfer_left.checked_sub(bytes).ok_or(StopReason::Transfer)?;
        Ok(())
    }

    /// Counts a call of the host that cannot be refused here. [`tick`] stops the guest if it was one too many.
    pub(super) fn count_host_call(&mut self) {
        self.host_calls = self.host_calls.saturating_add(1);
        self.waits_for_host = false;
    }

    fn exceeds_host_calls(&self) -> bool {
        self.host_calls > self.host_calls_max
    }
}

/// Called when a tick passes while the guest runs: stops the guest if a limit is exceeded, else lets other tasks run.
pub(super) fn tick(mut store: StoreContextMut<'_, CallState>) -> wasmtime::Result<UpdateDeadline> {
    let meter = &mut store.data_mut().meter;
    if meter.exceeds_host_calls() {
        return Err(StopReason::HostCalls.into());
    }
    if meter.is_out_of_time() {
        return Err(StopReason::GuestTime(meter.guest_time).into());
    }
    meter.waits_for_host = true;
    // The version's profile decides about the background, not this tick. A tick falls anywhere within an event, and
    // ticks pass while the kernel runs another thread, so a quick event might meet one.
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
    /// Limits the sum over all memories of the instance. wasmtime asks for each growth and each initial size.
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
