//! The engine: its settings, the instance pool, the ticker, and the linkers with all capabilities.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinError;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store, WasmBacktraceDetails,
};

use super::artefact::BESIDES_CODE_MAX;
use super::bindings;
use super::cache::{CacheError, CodeCache};
use super::call::CallState;
use super::compile::{CompileQueue, Compiler, NegativeCache, compiled_max};
use super::http::HttpClient;
use super::interned::Interned;
use super::library::LoadedLibrary;
use super::load::Compiled;
use super::meter::{GuestLimits, Meter, tick};
use super::reset::Pagemap;
use super::slots::InstanceSlots;
use super::ticker::Ticker;
use super::wasi;
use parlance_scheduler::{Background, BackgroundPool};
use parlance_types::settings::{Count, Directory, GIB, KIB, MIB, Size, Time, millis, secs, settings};

/// Bytes of an instance's stack that WebAssembly code may use.
const WASM_STACK: usize = 256 * 1024;
/// Bytes of an instance's whole stack. The rest is for the host's functions.
const ASYNC_STACK: usize = 1024 * 1024;
/// Most core instances of a component: its own and those of adapters.
pub(super) const CORE_INSTANCES_PER_COMPONENT: u32 = 32;
/// Most linear memories of a component.
pub(super) const MEMORIES_PER_COMPONENT: u32 = 2;
/// Most tables of a component.
pub(super) const TABLES_PER_COMPONENT: u32 = 8;
/// Most resource handles that an instance may hold.
const HANDLES: usize = 1000;
/// Bytes of each memory that stay resident between two uses: enough for the whole memory of a small handler.
const KEEP_RESIDENT: usize = 256 * 1024;

settings! {
    /// What all handlers share.
    pub struct EngineLimits of the server in "sandbox" {
        /// Instances at once, in the whole server, a quarter of them for tenants that have few. Further events wait.
        instances: u32 = 256, Count(1, 10_000);
        /// Processor time that compiling a component may take; of the clock, four times as much.
        compile_time: Duration = secs(60), Time(secs(1), secs(600));
        /// Bytes of address space of the process that compiles.
        compile_memory: usize = 4 * GIB, Size(256 * MIB, 64 * GIB);
        /// The directory of compiled components, which is made when it is not there; "none" for no cache.
        cache: Option<PathBuf> = Some(".parlance/cache".into()), Directory;
        /// Bytes of compiled components in it; those that were not used for longest go first.
        cache_size: usize = 512 * MIB, Size(MIB, 64 * GIB);
        /// Instances of one handler that wait for its next event. More run when more events do. A handler with
        /// `isolation = "fresh"` has such instances too, where they can be put back to their first state.
        warm_kept: usize = 8, Count(1, 1024);
        /// Events that such an instance handles at most.
        warm_uses: u32 = 10_000, Count(1, 1_000_000_000);
        /// Bytes of memory past which it is not used again. CPython begins with 11 MiB.
        warm_memory: usize = 16 * MIB, Size(64 * KIB, GIB);
        /// How long it waits for its next event.
        warm_idle: Duration = secs(60), Time(secs(1), secs(3600));
        /// How often running handlers are looked at, hence how exactly times are kept.
        tick: Duration = millis(1), Time(millis(1), millis(100));
    }
}

/// Why the engine cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refuses the configuration.
    #[error("the WebAssembly engine could not be set up: {0}")]
    Setup(String),
    /// A thread cannot be started.
    #[error("a thread for the guests could not be started: {0}")]
    Ticker(#[from] std::io::Error),
}

/// The engine and everything else that all handlers share. The ticker ends when this is dropped.
pub struct Sandbox {
    pub(super) engine: Engine,
    pub(super) linker: Linker<CallState>,
    /// The linker for components that import WASI.
    pub(super) wasi_linker: Linker<CallState>,
    /// The client for outgoing HTTP. Created when the first component with a grant for it is loaded.
    pub(super) http: OnceLock<HttpClient>,
    pub(super) limits: EngineLimits,
    /// Bytes of a component's file, whichever tenant's.
    pub(super) component_size: usize,
    /// Permits for instances.
    pub(super) slots: Arc<InstanceSlots>,
    pub(super) background: BackgroundPool,
    /// Components in use, by the hash of their bytes, so that tenants with the same component share its code.
    pub(super) compiled: Interned<Compiled>,
    /// The libraries of these components, by the hash of theirs.
    pub(super) libraries: Interned<LoadedLibrary>,
    pub(super) ticker: Ticker,
    pub(super) compiler: Compiler,
    pub(super) cache: Option<CodeCache>,
    /// Running and waiting compilations.
    pub(super) compile_queue: CompileQueue,
    /// Components that exceeded a limit of the compiler.
    pub(super) negative_cache: NegativeCache,
    loads_in_place: bool,
    /// What the kernel knows of the memory's pages, for putting instances back. `None` where it does not tell.
    pub(super) pagemap: Option<Arc<Pagemap>>,
}

impl Sandbox {
    /// Sets up the engine with an instance pool, or without one if the address space does not suffice. `largest` has the
    /// limits of the file's top level: no tenant's instance has more memory, and no tenant's component is larger.
    ///
    /// # Errors
    /// When neither works.
    pub fn new(limits: EngineLimits, largest: &GuestLimits) -> Result<Self, EngineError> {
        let pool = pooling(limits.instances, largest.memory);
        let engine = match Engine::new(&config(Some(pool))) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "no instance pool: each event maps its memory anew, which costs several times as much"
                );
                Engine::new(&config(None)).map_err(|error| EngineError::Setup(format!("{error:#}")))?
            }
        };
        let mut linker = Linker::new(&engine);
        bindings::Handler::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut CallState| state)
            .map_err(|error| EngineError::Setup(format!("{error:#}")))?;
        let mut wasi_linker = linker.clone();
        wasi::add_to_linker(&mut wasi_linker).map_err(|error| EngineError::Setup(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine, limits.tick)?;
        let slots = InstanceSlots::new(limits.instances as usize);
        Ok(Self {
            engine,
            linker,
            wasi_linker,
            http: OnceLock::new(),
            limits,
            component_size: largest.component_size,
            slots,
            compiled: Interned::default(),
            libraries: Interned::default(),
            background: BackgroundPool::start(background_threads())?,
            ticker,
            compiler: Compiler::default(),
            cache: None,
            compile_queue: CompileQueue::default(),
            negative_cache: NegativeCache::default(),
            loads_in_place: false,
            pagemap: Pagemap::open().map(Arc::new),
        })
    }

    /// Sets where components are compiled.
    #[must_use]
    pub fn with_compiler(mut self, compiler: Compiler) -> Self {
        self.compiler = compiler;
        self
    }

    /// Loads components on the calling task instead of another thread. A simulation needs this, since a second thread
    /// would make the order of events depend on timing.
    #[must_use]
    pub fn loading_in_place(mut self) -> Self {
        self.loads_in_place = true;
        self
    }

    /// Runs `load` on a thread for blocking work, since compiling takes long.
    ///
    /// # Errors
    /// When `load` panics or the runtime shuts down.
    pub async fn load_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        load: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        if self.loads_in_place {
            return Ok(load(self));
        }
        let sandbox = self.clone();
        tokio::task::spawn_blocking(move || load(&sandbox)).await
    }

    /// Opens the cache of compiled components in a directory. Creates the directory and its key if they do not exist.
    ///
    /// # Errors
    /// When another user owns or may access the directory or its key.
    pub fn open_cache(&mut self, directory: &Path) -> Result<(), CacheError> {
        let max = compiled_max(self.component_size).saturating_add(BESIDES_CODE_MAX);
        self.cache = Some(CodeCache::open(directory, self.limits.cache_size, max)?);
        Ok(())
    }

    /// How many instances could be created now.
    #[must_use]
    pub fn free_instances(&self) -> usize {
        self.slots.free()
    }

    /// Drops warm instances that have been idle for longer than `sandbox.warm_idle`. To be called from time to time.
    pub fn retire_idle(&self) {
        self.slots.evict_idle(self.limits.warm_idle);
    }

    /// The threads on which long events continue.
    #[must_use]
    pub fn background(&self) -> Option<Background> {
        self.background.background()
    }

    /// A wasmtime store for one instance, with its limits set and no event yet.
    pub(super) fn store(&self, limits: &GuestLimits) -> Store<CallState> {
        let meter = Meter::new(limits);
        let mut store = Store::new(&self.engine, CallState::new(meter));
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(limits.transfer);
        store.set_max_component_handles(HANDLES);
        store.epoch_deadline_callback(tick);
        store.set_epoch_deadline(1);
        store
    }
}

/// The number of background threads: half as many as the machine has processors, so that the other half is always free
/// for guests that finish quickly.
fn background_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| (threads.get() / 2).max(1))
}

/// An engine that compiles code for [`Sandbox`]'s engine and runs none.
pub(super) fn compiling_engine() -> wasmtime::Result<Engine> {
    Engine::new(&compiling_config())
}

/// The configuration of such an engine, which needs no pool.
pub(super) fn compiling_config() -> Config {
    config(None)
}

fn config(pool: Option<PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        .wasm_memory64(false)
        .cranelift_opt_level(OptLevel::Speed)
        // The same bits on every machine, so that a replay is exact. A loop of nothing but floating point takes 1.43 times
        // as long; the code of the shipped handlers, which have none, keeps its size.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // wasmtime would read a tenant's debug information in this process; `lines` has read it where it was compiled.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .native_unwind_info(false);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

fn pooling(instances: u32, memory: usize) -> PoolingAllocationConfig {
    // An instance that is being dropped still has its slot in the pool when the next one starts.
    let slots = instances.saturating_add(instances / 4).saturating_add(4);
    // Enough of everything, so that an instance with a slot gets all that a component may have.
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(slots.saturating_mul(MEMORIES_PER_COMPONENT))
        .total_tables(slots.saturating_mul(TABLES_PER_COMPONENT))
        .total_stacks(slots)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memory_size(memory)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 * 1024)
        .async_stack_keep_resident(16 * 1024)
        .max_unused_warm_slots(slots)
        .pagemap_scan(pagemap_scan());
    pool
}

/// Whether only written pages are reset, which is what makes fresh instances cheap. wasmtime 48 does not reset a
/// written page that the kernel has swapped out, so this is off on a machine with swap.
fn pagemap_scan() -> Enabled {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    // The first line is the header.
    if cfg!(target_os = "linux") && !swaps.is_empty() && swaps.lines().count() <= 1 {
        Enabled::Auto
    } else {
        tracing::info!("swap is in use: a fresh instance costs more, since all of its memory is cleared");
        Enabled::No
    }
}
