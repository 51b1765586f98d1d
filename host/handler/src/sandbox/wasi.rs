//! WASI 0.2 for components whose tool chains need it, without any access to the outside.
//!
//! Standard output and error go to the handler's log; standard input is empty. There are no arguments, environment
//! variables, directories or sockets. The clocks have millisecond resolution and agree with `ambient`. Large requests
//! for random bytes are refused. `exit` stops the guest as a trap does. Waiting for a clock counts against the event's
//! wall time, blocks no thread, and ends with the event. Outgoing HTTP is in [`super::http`].
//!
//! It is created when a component first calls it, so that components without WASI do not pay for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::call::CallState;
use super::http::OutgoingHttp;
use super::stdio::Stdio;
use crate::capability::Call;

/// Resolution of the clocks.
const COARSE: Duration = Duration::from_millis(1);
/// Most random bytes in one call.
const RANDOM_MAX: u64 = 64 * 1024;
/// Most streams, pollables, requests and other resources that an instance may hold.
const RESOURCES: usize = 512;
/// Most bytes in memory of the headers of one request or response.
const HEADERS_MAX: usize = 16 * 1024;

/// The WASI of one instance.
pub(super) struct Wasi {
    context: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    stdio: Stdio,
    clock: Clock,
}

impl Wasi {
    fn new(now_ms: u64) -> Self {
        let (stdio, clock) = (Stdio::default(), Clock::new(now_ms));
        let mut context = WasiCtx::builder();
        context
            .stdout(stdio.output())
            .stderr(stdio.error())
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .max_random_size(RANDOM_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADERS_MAX);
        Self {
            context: context.build(),
            http,
            table,
            stdio,
            clock,
        }
    }

    /// Sets the clocks for another event in the same instance.
    pub(super) fn set_time(&self, now_ms: u64) {
        self.clock.set(now_ms);
    }

    /// Logs the complete lines that were written so far.
    pub(super) fn log(&self, call: &mut Call) {
        self.stdio.log(call);
    }

    /// Logs everything that was written. To be called at the event's end.
    pub(super) fn log_all(&self, call: &mut Call) {
        self.stdio.log_all(call);
    }
}

/// Adds the WASI interfaces that a component may import.
///
/// # Errors
/// When the linker already has one of them.
pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    super::http::add_to_linker(linker)
}

impl CallState {
    /// The instance's WASI. Every call of WASI uses this at least once, so calls are counted here. wasmtime offers no
    /// way to refuse a call here, so a guest that calls too often is stopped at the next tick.
    fn wasi(&mut self) -> &mut Wasi {
        self.meter.count_host_call();
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(self.now_ms)))
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Wasi { context, table, .. } = self.wasi();
        WasiCtxView { ctx: context, table }
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.wasi();
        let Wasi { http, table, .. } = &mut **self.wasi.get_or_insert_with(|| Box::new(Wasi::new(self.now_ms)));
        let hooks = self.outgoing.get_or_insert_with(|| Box::new(OutgoingHttp::denied()));
        WasiHttpCtxView {
            hooks: hooks.as_mut(),
            table,
            ctx: http,
        }
    }
}

/// Both clocks. They start at the event's time, as `ambient` reports it, and advance from there.
#[derive(Debug, Clone)]
struct Clock {
    started: Instant,
    /// Milliseconds since the Unix epoch at `started`.
    epoch_ms: Arc<AtomicU64>,
}

impl Clock {
    fn new(now_ms: u64) -> Self {
        Self {
            started: Instant::now(),
            epoch_ms: Arc::new(AtomicU64::new(now_ms)),
        }
    }

    fn set(&self, now_ms: u64) {
        self.epoch_ms
            .store(now_ms.saturating_sub(self.elapsed_ms()), Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        COARSE
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.epoch_ms.load(Ordering::Relaxed).saturating_add(self.elapsed_ms()))
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        u64::try_from(COARSE.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        self.elapsed_ms().saturating_mul(HostMonotonicClock::resolution(self))
    }
}
