//! Compiling components: in this process, or in a child that may fail.
//!
//! A component can be made to cost its compiler any time and any memory, and compilers have bugs. So what comes from
//! tenants is compiled by a child process, this same program as `parlance compile-component`, which limits itself
//! before it reads, stands behind the server when the machine is busy, and is killed when its time is up.

mod child;
mod confinement;
mod component_limits;
mod compile_queue;
mod negative_cache;

use std::path::PathBuf;
use std::time::Duration;

use wasmtime::Engine;

pub use child::{ChildError, compile_component};
pub(super) use compile_queue::CompileQueue;
pub(super) use negative_cache::NegativeCache;

use super::backtrace::single_line;
use super::trusted_code::TrustedCode;
use super::engine::EngineLimits;
use super::load::LoadError;

/// Bytes of compiled code for each byte that a component may have.
const COMPILED_PER_BYTE: usize = 8;
/// Bytes of a compiler's message.
const MESSAGE_MAX: usize = 1024;

/// Who compiles.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// This process, without limits: for components that one trusts, and for tools.
    #[default]
    InProcess,
    /// A child process of this program, the `parlance` binary.
    Child(PathBuf),
}

/// What compiling one component may cost.
#[derive(Debug, Clone)]
pub struct CompileLimits {
    /// Processor time. Of the clock it may be four times as much, since the compiler stands behind the server.
    pub time: Duration,
    /// Bytes of the compiler's address space.
    pub memory: usize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            memory: 2 * 1024 * 1024 * 1024,
        }
    }
}

/// Compiles a component whose header was checked.
///
/// # Errors
/// When it does not compile, or not within the limits.
pub(super) fn compile(
    engine: &Engine,
    compiler: &Compiler,
    limits: &EngineLimits,
    bytes: &[u8],
) -> Result<TrustedCode, LoadError> {
    let code = match compiler {
        Compiler::InProcess => {
            component_limits::check(bytes).map_err(|error| error.into_load_error())?;
            engine
                .precompile_component(bytes)
                .map_err(|error| LoadError::Compile(message(&format!("{error:#}"))))?
        }
        Compiler::Child(program) => {
            let compiled = child::compile(program, limits, compiled_max(limits), bytes);
            super::block_on::block_on(compiled).map_err(LoadError::Compiler)??
        }
    };
    Ok(TrustedCode::assume_trusted(code))
}

/// Bytes of compiled code at most.
pub(super) fn compiled_max(limits: &EngineLimits) -> usize {
    limits.component_size.saturating_mul(COMPILED_PER_BYTE)
}

/// A compiler's words, which may have names of the component's in them.
fn message(text: &str) -> String {
    single_line(text.trim(), MESSAGE_MAX)
}
