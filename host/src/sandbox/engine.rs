//! The engine: settings, the pool of instances, the ticker, and the linker with every capability.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinError;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store};

use super::bindings;
use super::cache::{CodeCache, CacheError};
use super::call::CallState;
use super::compile::{CompileLimits, Compiler, CompileQueue, NegativeCache, compiled_max};
use super::http::HttpClient;
use super::load::Compiled;
use super::meter::{GuestLimits, Meter, tick};
use super::ticker::Ticker;
use super::warm::{InstanceSlots, WarmLimits};
use super::wasi;
use crate::scheduler::{Background, BackgroundPool};

/// Bytes of stack for WebAssembly code of one instance.
const WASM_STACK: usize = 256 * 1024;
/// Bytes of the whole stack of one instance; what is left over is for the host's functions.
const ASYNC_STACK: usize = 1024 * 1024;
/// Core instances a component may be made of: its own and the shims that adapt it.
pub(super) const CORE_INSTANCES_PER_COMPONENT: u32 = 32;
/// Linear memories a component may have.
pub(super) const MEMORIES_PER_COMPONENT: u32 = 2;
/// Tables a component may have.
pub(super) const TABLES_PER_COMPONENT: u32 = 8;
/// Handles an instance may hold; no interface gives out any yet.
const HANDLES: usize = 1000;
/// Bytes of each memory that stay mapped between two uses: a small handler's whole memory.
const KEEP_RESIDENT: usize = 256 * 1024;

/// What is fixed for the life of the engine.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// Instances at once. More events wait their turn.
    pub instances: u32,
    /// Bytes of one linear memory.
    pub memory: usize,
    /// Time between two looks at the guests' spending.
    pub tick: Duration,
    /// Bytes of a component's file.
    pub component_size: usize,
    /// What compiling one component may cost.
    pub compile: CompileLimits,
    /// Bytes of compiled components on disk.
    pub cache_size: usize,
    /// Instances that are used again.
    pub warm: WarmLimits,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            instances: 256,
            memory: 16 * 1024 * 1024,
            tick: Duration::from_millis(1),
            component_size: 32 * 1024 * 1024,
            compile: CompileLimits::default(),
            cache_size: 512 * 1024 * 1024,
            warm: WarmLimits::default(),
        }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refused.
    #[error("the WebAssembly engine could not be set up: {0}")]
    Setup(String),
    /// No thread.
    #[error("a thread for the guests could not be started: {0}")]
    Ticker(#[from] std::io::Error),
}

/// The engine and all that is the same for every handler. Dropping the last clone of it ends the ticker.
pub struct Sandbox {
    pub(super) engine: Engine,
    pub(super) linker: Linker<CallState>,
    /// What components link to that import some of WASI.
    pub(super) wasi_linker: Linker<CallState>,
    /// Set when the first component with a grant for it is loaded.
    pub(super) http: OnceLock<HttpClient>,
    pub(super) limits: EngineLimits,
    /// Instances that may be made now.
    pub(super) slots: Arc<InstanceSlots>,
    pub(super) background: BackgroundPool,
    /// What is in use, by the hash of its bytes, so that tenants with the same component share its code.
    pub(super) compiled: Mutex<HashMap<[u8; 32], Weak<Compiled>>>,
    pub(super) ticker: Ticker,
    pub(super) compiler: Compiler,
    pub(super) cache: Option<CodeCache>,
    /// Who compiles, and who waits for that.
    pub(super) compile_queue: CompileQueue,
    /// What took its compiler too much.
    pub(super) negative_cache: NegativeCache,
    loads_in_place: bool,
}

impl Sandbox {
    /// Sets up the engine with a pool of instances; where the address space does not suffice, without one.
    ///
    /// # Errors
    /// When neither works.
    pub fn new(limits: EngineLimits) -> Result<Self, EngineError> {
        let engine = match Engine::new(&config(Some(&limits))) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "no pool of instances: each event will map its memory anew, which costs several times as much"
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
            slots,
            compiled: Mutex::default(),
            background: BackgroundPool::start(background_threads())?,
            ticker,
            compiler: Compiler::default(),
            cache: None,
            compile_queue: CompileQueue::default(),
            negative_cache: NegativeCache::default(),
            loads_in_place: false,
        })
    }

    /// Leaves compiling to another than this process.
    #[must_use]
    pub fn with_compiler(mut self, compiler: Compiler) -> Self {
        self.compiler = compiler;
        self
    }

    /// Loads components on the task that asks for it: for a simulation, in which no other thread may decide what comes
    /// first.
    #[must_use]
    pub fn loading_in_place(mut self) -> Self {
        self.loads_in_place = true;
        self
    }

    /// Loads something. That takes a while where it is compiled, so a thread does it that serves nobody.
    ///
    /// # Errors
    /// When it panics, or the runtime ends.
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

    /// Keeps compiled components in a directory, which is made with its key when it is not there.
    ///
    /// # Errors
    /// When the directory or what is in it is not ours alone.
    pub fn open_cache(&mut self, directory: &Path) -> Result<(), CacheError> {
        let max = compiled_max(&self.limits);
        self.cache = Some(CodeCache::open(directory, self.limits.cache_size, max)?);
        Ok(())
    }

    /// How many instances could be made now.
    #[must_use]
    pub fn free_instances(&self) -> usize {
        self.slots.free()
    }

    /// Ends instances that have waited for longer than `sandbox.warm_idle`. Call it now and then.
    pub fn retire_idle(&self) {
        self.slots.evict_idle(self.limits.warm.idle);
    }

    /// Where events go on that take long.
    #[must_use]
    pub fn background(&self) -> Option<Background> {
        self.background.background()
    }

    /// A store for one instance, with its limits armed and no event yet.
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

    /// What was fixed when the engine was set up.
    #[must_use]
    pub fn limits(&self) -> &EngineLimits {
        &self.limits
    }
}

/// Threads for guests that run long: half of what the machine has, so that the others are always there for guests that
/// finish quickly.
fn background_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| (threads.get() / 2).max(1))
}

/// An engine that makes code for the sandbox's and runs none.
pub(super) fn compiling_engine() -> wasmtime::Result<Engine> {
    Engine::new(&config(None))
}

fn config(pool: Option<&EngineLimits>) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        .wasm_memory64(false)
        .cranelift_opt_level(OptLevel::Speed)
        .native_unwind_info(false);
    if let Some(limits) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(limits)));
    }
    config
}

fn pooling(limits: &EngineLimits) -> PoolingAllocationConfig {
    // An instance that is being taken down still has its slot while the next one may begin.
    let slots = limits.instances.saturating_add(limits.instances / 4).saturating_add(4);
    // So many of everything that whoever has a slot finds what a component may need.
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(slots.saturating_mul(MEMORIES_PER_COMPONENT))
        .total_tables(slots.saturating_mul(TABLES_PER_COMPONENT))
        .total_stacks(slots)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memory_size(limits.memory)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 * 1024)
        .async_stack_keep_resident(16 * 1024)
        .max_unused_warm_slots(slots)
        .pagemap_scan(pagemap_scan());
    pool
}

/// Resetting only the pages that were written is what makes a fresh instance cheap. wasmtime 48 does not reset a
/// written page that the kernel has swapped out, so a machine with swap does without.
fn pagemap_scan() -> Enabled {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    // The first line is the heading.
    if cfg!(target_os = "linux") && !swaps.is_empty() && swaps.lines().count() <= 1 {
        Enabled::Auto
    } else {
        tracing::info!("swap is in use: a fresh instance costs more, as all of its memory is cleared");
        Enabled::No
    }
}
