//! Compiles components: in this process, or in a child process that may fail.
//!
//! A malicious component can cost its compiler any amount of time and memory, and compilers have bugs. So a child
//! process compiles what comes from tenants: this same program as `parlance compile-component`. It limits itself before
//! it reads its input, runs at a lower priority than the server, and is killed when its time is up.

mod child;
mod compile_queue;
mod component_limits;
mod confinement;
mod function_cache;
mod negative_cache;

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::Engine;

pub use child::{ChildError, compile_component};
pub(super) use compile_queue::CompileQueue;
use function_cache::FunctionCache;
pub(super) use negative_cache::NegativeCache;

use super::artefact::{Artefact, Parts};
use super::backtrace::single_line;
use super::engine::{EngineError, EngineLimits, compiling_config};
use super::lines;
use super::load::LoadError;
use super::reset::{self, Shifts};
use super::trusted_code::TrustedCode;

/// Most bytes of compiled code, for each byte of `sandbox.component_size`.
const COMPILED_PER_BYTE: usize = 8;
/// Most bytes of a compiler's message.
const MESSAGE_MAX: usize = 1024;

/// Where components are compiled.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// In this process, without limits: for trusted components, and for tools.
    #[default]
    InProcess,
    /// In this process, by [`Compiler::for_development`].
    Development(Engine),
    /// In a child process that runs this program, the `parlance` binary.
    Child(PathBuf),
}

impl Compiler {
    /// Compiles in this process, and keeps functions in memory: a component that has changed a little is compiled in a
    /// part of the time.
    ///
    /// # Errors
    /// When the engine cannot be set up.
    pub fn for_development() -> Result<Self, EngineError> {
        let setup = |error| EngineError::Setup(format!("{error:#}"));
        let mut config = compiling_config();
        config
            .enable_incremental_compilation(Arc::new(FunctionCache::default()))
            .map_err(setup)?;
        Engine::new(&config).map(Self::Development).map_err(setup)
    }
}

/// Compiles a component whose header has been checked, to at most `code_max` bytes. Its source lines are left out if they
/// cannot be read.
///
/// # Errors
/// When it does not compile, or not within the limits.
pub(super) fn compile(
    engine: &Engine,
    compiler: &Compiler,
    limits: &EngineLimits,
    code_max: usize,
    bytes: &[u8],
) -> Result<Artefact, LoadError> {
    let engine = match compiler {
        Compiler::Development(engine) => engine,
        Compiler::InProcess | Compiler::Child(_) => engine,
    };
    let Parts { code, shifts, lines } = match compiler {
        Compiler::InProcess | Compiler::Development(_) => {
            component_limits::check(bytes).map_err(|error| error.into_load_error())?;
            let (code, shifts) =
                precompile(engine, bytes).map_err(|error| LoadError::from_compiler(message(&format!("{error:#}"))))?;
            let lines = lines::of_component(bytes).inspect_err(|error| no_lines(&error.to_string()));
            Parts {
                code,
                shifts,
                lines: lines.unwrap_or_default(),
            }
        }
        Compiler::Child(program) => {
            let compiled = child::compile(program, limits, code_max, bytes);
            super::block_on::block_on(compiled).map_err(LoadError::Compiler)??
        }
    };
    Ok(Artefact {
        code: TrustedCode::assume_trusted(code),
        shifts,
        lines,
    })
}

/// Compiles a component with what puts its instances back ([`reset`]), where that is possible. Returns the code, and by how
/// much the component's parts have moved.
fn precompile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<(Vec<u8>, Option<Shifts>)> {
    if let Some(instrumented) = reset::instrument(bytes) {
        // If this fails, the component is not valid either, and the message should be about its own bytes.
        if let Ok(code) = engine.precompile_component(&instrumented.bytes) {
            return Ok((code, Some(instrumented.shifts)));
        }
    }
    Ok((engine.precompile_component(bytes)?, None))
}

/// Says why a component's debug information is not used. The log line about the component follows.
fn no_lines(why: &str) {
    tracing::warn!(why, "backtraces of the next component have no source lines");
}

/// Whether a component keeps the limits on its parts.
#[cfg(any(test, fuzzing))]
pub(super) fn keeps_limits(bytes: &[u8]) -> bool {
    component_limits::check(bytes).is_ok()
}

/// Most bytes of compiled code, of a component of this size.
pub(super) fn compiled_max(component_size: usize) -> usize {
    component_size.saturating_mul(COMPILED_PER_BYTE)
}

/// A compiler's message as one line. It may contain names from the component.
fn message(text: &str) -> String {
    single_line(text.trim(), MESSAGE_MAX)
}
