//! Makes a component: links the QuickJS runtime with bindings for the world, runs the sources' top level in it, and
//! keeps the memory that this leaves (pre-initialisation, by wizer).

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use componentize_qjs::codegen;
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Cache, CacheConfig, Config, Engine, OptLevel, Store, StoreLimits, StoreLimitsBuilder, Trap};
use wasmtime_wizer::{WasmtimeWizerComponent, Wizer};
use wit_component::{StringEncoding, embed_component_metadata};

use crate::entry::{self, ENTRY};
use crate::graph::Graph;
use crate::problem::{Problem, Problems};
use crate::runtime;
use crate::wit::{self, Worlds};

/// How long the sources' top level may run.
const MAX_TIME: Duration = Duration::from_secs(10);
/// How much memory it may use, in bytes. An event has less: `sandbox.memory`.
const MAX_MEMORY: usize = 256 << 20;

/// The engine starts no search for garbage: `handlers.js` does, in warm instances.
const DISABLES_GC: bool = true;
/// The engine's stack in the component's memory, in bytes. It comes first in the memory, and what follows should be
/// among the pages that the server keeps resident, which cost an event least. Deep recursion reaches the server's own
/// limit of the stack before this one.
const STACK: u32 = 256 << 10;

/// Why there is no component.
#[derive(Debug)]
pub enum Error {
    /// The sources have problems.
    Sources(Problems),
    /// Something else is wrong, such as a directory that cannot be written.
    Other(anyhow::Error),
}

/// Builds the component of the sources, which export `handlers`. Compiled code of the runtime is kept in `cache`.
pub(crate) fn build(
    graph: Graph,
    handlers: &[(&'static str, &'static str)],
    wit: Option<&Path>,
    cache: Option<&Path>,
) -> Result<Vec<u8>, Error> {
    let exports: Vec<_> = handlers.iter().map(|(_, interface)| *interface).collect();
    let names: Vec<_> = handlers.iter().map(|(name, _)| *name).collect();
    let (linked, shim) = link(wit, &exports)?;
    let script = entry::script(&graph, &names);
    let engine = engine(cache)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("no event loop")?;
    let graph = Arc::new(graph);
    runtime.block_on(initialize(&engine, &linked, &shim, &script, &graph))
}

/// The runtime with bindings for the world, not yet initialised, and the script that the bindings need.
fn link(wit: Option<&Path>, exports: &[&str]) -> Result<(Vec<u8>, String)> {
    let Worlds {
        resolve,
        component,
        support,
    } = wit::worlds(wit, exports)?;
    let (mut bindings, metadata) = wit_dylib::create_with_metadata(&resolve, component, None);
    let shim = codegen::generate_shim(&resolve, &metadata);
    embed_component_metadata(&mut bindings, &resolve, component, StringEncoding::UTF8)?;
    let mut library = runtime::SUPPORT.to_vec();
    embed_component_metadata(&mut library, &resolve, support, StringEncoding::UTF8)?;
    let mut linker = wit_component::Linker::default();
    linker.stub_missing_functions(true);
    linker.stack_size(STACK);
    linker.library("runtime.wasm", &runtime::without_wasi()?, false)?;
    linker.library("bindings.wasm", &bindings, false)?;
    linker.library("support.wasm", &library, false)?;
    let component = linker.encode().context("the runtime cannot be linked")?;
    Ok((component, shim))
}

/// An engine whose compiled code is kept in `cache`: compiling the runtime takes longer than all else.
fn engine(cache: Option<&Path>) -> Result<Engine> {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // The code runs once. The server compiles the component for itself.
    config.cranelift_opt_level(OptLevel::None);
    config.epoch_interruption(true);
    if let Some(directory) = cache {
        let mut settings = CacheConfig::new();
        settings.with_directory(directory);
        let cache = Cache::new(settings).map_err(anyhow::Error::from);
        let cache = cache.with_context(|| format!("the cache {} cannot be used", directory.display()))?;
        config.cache(Some(cache));
    }
    Ok(Engine::new(&config)?)
}

/// Runs the sources' top level, and returns the component with the memory that this left.
async fn initialize(
    engine: &Engine,
    component: &[u8],
    shim: &str,
    script: &str,
    graph: &Arc<Graph>,
) -> Result<Vec<u8>, Error> {
    let wizer = Wizer::new();
    let (context, instrumented) = wizer.instrument_component(component).map_err(other)?;
    let compiled = Component::new(engine, &instrumented).map_err(other)?;
    let mut linker = Linker::new(engine);
    linker.allow_shadowing(true);
    linker.define_unknown_imports_as_traps(&compiled).map_err(other)?;
    add_log(&mut linker).map_err(other)?;
    add_loader(&mut linker, graph).map_err(other)?;
    let mut store = Store::new(engine, StoreLimitsBuilder::new().memory_size(MAX_MEMORY).build());
    store.limiter(|limits| limits);
    store.set_epoch_deadline(1);
    let watchdog = watch(engine);
    let instance = linker.instantiate_async(&mut store, &compiled).await.map_err(other)?;
    let init = instance
        .get_typed_func::<(&str, &str, Option<&str>, bool), (Result<(), String>,)>(&mut store, "init")
        .map_err(other)?;
    let called = init
        .call_async(&mut store, (shim, script, Some(ENTRY), DISABLES_GC))
        .await;
    drop(watchdog);
    let (result,) = called.map_err(|error| stopped(graph, error))?;
    result.map_err(|message| Error::Sources(entry::problem(graph, &message).into()))?;
    let mut instance = WasmtimeWizerComponent {
        store: &mut store,
        instance,
    };
    wizer.snapshot_component(context, &mut instance).await.map_err(other)
}

/// What the sources' top level logs is printed.
fn add_log(linker: &mut Linker<StoreLimits>) -> wasmtime::Result<()> {
    let mut log = linker.instance(&wit::import_name("log"))?;
    log.func_new("write", |_, _, arguments, _| {
        if let [Val::Enum(level), Val::String(text)] = arguments {
            eprintln!("{level}: {text}");
        }
        Ok(())
    })
}

/// Stops the sources' top level when it has run for [`MAX_TIME`], unless the returned sender is dropped before.
fn watch(engine: &Engine) -> Sender<()> {
    let (end, ended) = mpsc::channel();
    let engine = engine.clone();
    thread::spawn(move || {
        if ended.recv_timeout(MAX_TIME) == Err(RecvTimeoutError::Timeout) {
            engine.increment_epoch();
        }
    });
    end
}

/// Why the sources' top level was stopped.
fn stopped(graph: &Graph, error: wasmtime::Error) -> Error {
    let file = graph.display(graph.entry());
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            let message = format!("the top level runs for more than {} s", MAX_TIME.as_secs());
            Problem::of_file(&file, message)
                .help("look for a loop without end outside the handlers")
                .into()
        }
        Some(trap) => Problem::of_file(&file, format!("the engine failed at the top level: {trap}"))
            .help(format!(
                "the top level may use {} MiB, and call itself not too deeply",
                MAX_MEMORY >> 20
            ))
            .into(),
        None => other(error),
    }
}

/// What the module loader is asked for next.
enum Asked {
    Code,
    Importer,
    Imported(String),
}

/// `settings.get` as the module loader, as `support.wat` calls it.
fn add_loader(linker: &mut Linker<StoreLimits>, graph: &Arc<Graph>) -> wasmtime::Result<()> {
    let graph = graph.clone();
    let asked = Mutex::new(Asked::Code);
    let mut settings = linker.instance(&wit::import_name("settings"))?;
    settings.func_wrap("get", move |_, (name,): (String,)| {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, answer) = match &*asked {
            Asked::Code if name.is_empty() => (Asked::Importer, None),
            Asked::Code => (Asked::Code, entry::module(&graph, &name)),
            Asked::Importer => (Asked::Imported(name), None),
            Asked::Imported(importer) => (Asked::Code, entry::resolve(&graph, importer, &name)),
        };
        *asked = next;
        Ok((answer,))
    })
}

fn other(error: wasmtime::Error) -> Error {
    Error::Other(error.into())
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::Sources(problems)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Sources(problem.into())
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sources(problems) => problems.fmt(f),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for Error {}
