//! WASI 0.2 for components whose tool chains need it, without any access to the outside.
//!
//! Standard output and error go to the handler's log; standard input is empty. There are no arguments, environment
//! variables, directories or sockets. The clocks have millisecond resolution and agree with `ambient`. Random bytes come
//! from the same source as those of `ambient`; large requests for them are refused. `exit` stops the guest as a trap does. Waiting for a clock counts against the event's
//! wall time, blocks no thread, and ends with the event. Outgoing HTTP is in [`super::http`].
//!
//! It is created when a component first calls it, so that components without WASI do not pay for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::TryRng;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::call::CallState;
use super::http::OutgoingHttp;
use super::stdio::Stdio;
use crate::capability::{Call, RandomSource, WasiTap};

/// Resolution of the clocks.
const COARSE: Duration = Duration::from_millis(1);
/// Most random bytes in one call.
const RANDOM_MAX: u64 = 64 * 1024;
/// Most streams, pollables, requests and other resources that an instance may hold.
const RESOURCES: usize = 512;
/// Most bytes in memory of the headers of one request or response.
const HEADERS_MAX: usize = 16 * 1024;

/// What the clocks and the random numbers of an event come from.
#[derive(Clone)]
pub(super) struct Ambient {
    /// When the event arrived, in milliseconds since the Unix epoch.
    pub(super) now_ms: u64,
    pub(super) random: Arc<dyn RandomSource>,
    pub(super) tap: Option<Arc<dyn WasiTap>>,
}

impl Ambient {
    pub(super) fn of(call: &Call) -> Self {
        Self {
            now_ms: call.now_ms,
            random: call.random.clone(),
            tap: call.wasi_tap.clone(),
        }
    }
}

/// The WASI of one instance.
pub(super) struct Wasi {
    context: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    stdio: Stdio,
    shared: EventAmbient,
}

impl Wasi {
    fn new(ambient: Ambient) -> Self {
        let mut seed = [0; size_of::<u128>()];
        ambient.random.fill(&mut seed);
        let (stdio, shared) = (Stdio::default(), EventAmbient::new(ambient));
        let mut context = WasiCtx::builder();
        context
            .stdout(stdio.output())
            .stderr(stdio.error())
            .wall_clock(shared.clone())
            .monotonic_clock(shared.clone())
            .secure_random(shared.clone())
            .insecure_random(shared.clone())
            .insecure_random_seed(u128::from_le_bytes(seed))
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
            shared,
        }
    }

    /// Sets the clocks and the random numbers for another event in the same instance.
    pub(super) fn begin_event(&self, ambient: Ambient) {
        self.shared.begin_event(ambient);
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
        self.wasi
            .get_or_insert_with(|| Box::new(Wasi::new(self.ambient.clone())))
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
        let wasi = self
            .wasi
            .get_or_insert_with(|| Box::new(Wasi::new(self.ambient.clone())));
        let Wasi { http, table, .. } = &mut **wasi;
        let hooks = self.outgoing.get_or_insert_with(|| Box::new(OutgoingHttp::denied()));
        WasiHttpCtxView {
            hooks: hooks.as_mut(),
            table,
            ctx: http,
        }
    }
}

/// The clocks and random numbers of an instance, which each of its events sets. The clocks start at the event's time, as
/// `ambient` reports it, and advance from there. Clones share one state.
#[derive(Clone)]
struct EventAmbient {
    /// When the instance's clocks started.
    started: Instant,
    state: Arc<Mutex<AmbientState>>,
}

struct AmbientState {
    ambient: Ambient,
    /// Milliseconds from `started` to the event's begin.
    begun_ms: u64,
}

impl EventAmbient {
    fn new(ambient: Ambient) -> Self {
        Self {
            started: Instant::now(),
            state: Arc::new(Mutex::new(AmbientState { ambient, begun_ms: 0 })),
        }
    }

    fn begin_event(&self, ambient: Ambient) {
        let begun_ms = self.since_start();
        *self.state.lock() = AmbientState { ambient, begun_ms };
    }

    fn since_start(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The milliseconds from `started` to the event's begin, and from there until now.
    fn elapsed_ms(&self) -> (u64, u64) {
        let state = self.state.lock();
        let real = self.since_start().saturating_sub(state.begun_ms);
        let shown = state.ambient.tap.as_ref().map_or(real, |tap| tap.elapsed_ms(real));
        (state.begun_ms, shown)
    }
}

impl HostWallClock for EventAmbient {
    fn resolution(&self) -> Duration {
        COARSE
    }

    fn now(&self) -> Duration {
        let (_, elapsed) = self.elapsed_ms();
        Duration::from_millis(self.state.lock().ambient.now_ms.saturating_add(elapsed))
    }
}

impl HostMonotonicClock for EventAmbient {
    fn resolution(&self) -> u64 {
        u64::try_from(COARSE.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        let (begun, elapsed) = self.elapsed_ms();
        begun
            .saturating_add(elapsed)
            .saturating_mul(HostMonotonicClock::resolution(self))
    }
}

impl TryRng for EventAmbient {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; size_of::<u32>()];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.state.lock().ambient.random.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.state.lock().ambient.random.fill(bytes);
        Ok(())
    }
}
