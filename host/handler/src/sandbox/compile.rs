//! Compiles components: in this process, or in a child process that may fail.
//!
//! A malicious component can cost its compiler any amount of time and memory, and compilers have bugs. So a child
//! process compiles what comes from tenants: this same program as `parlance compile-component`. It limits itself before
//! it reads its input, runs at a lower priority than the server, and is killed when its time is up.

mod child;
mod compile_queue;
mod component_limits;
mod confinement;
mod negative_cache;

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::Engine;

pub use child::{ChildError, compile_component};
pub(super) use compile_queue::CompileQueue;
pub(super) use negative_cache::NegativeCache;

use super::artefact::{Artefact, Parts};
use super::backtrace::single_line;
use super::engine::EngineLimits;
use super::library::{self, Library, LibraryDigest, LoadedLibrary};
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
    /// In this process, without limits: for trusted components, in development, and for tools.
    #[default]
    InProcess,
    /// In a child process that runs this program, the `parlance` binary.
    Child(PathBuf),
}

/// A compiled component, with the code of its libraries: `None` for those that were known already.
pub(super) type WithLibraries = (Artefact, Vec<Option<TrustedCode>>);

/// Compiles a component whose header has been checked, to at most `code_max` bytes, without the code of the `known`
/// libraries. Its source lines are left out if they cannot be read.
///
/// # Errors
/// When it does not compile, or not within the limits.
pub(super) fn compile(
    engine: &Engine,
    compiler: &Compiler,
    limits: &EngineLimits,
    code_max: usize,
    bytes: &[u8],
    known: &[Arc<LoadedLibrary>],
) -> Result<WithLibraries, LoadError> {
    let parts = match compiler {
        Compiler::InProcess => {
            component_limits::check(bytes).map_err(|error| error.into_load_error())?;
            let known: Vec<LibraryDigest> = known.iter().map(|library| library.digest).collect();
            let compiled = precompile(engine, bytes, &known);
            let mut parts = compiled.map_err(|error| LoadError::from_compiler(message(&format!("{error:#}"))))?;
            let lines = lines::of_component(bytes).inspect_err(|error| no_lines(&error.to_string()));
            parts.lines = lines.unwrap_or_default();
            parts
        }
        Compiler::Child(program) => {
            let compiled = child::compile(program, limits, code_max, bytes, known);
            super::block_on::block_on(compiled).map_err(LoadError::Compiler)??
        }
    };
    let (libraries, codes): (Vec<_>, Vec<_>) = parts.libraries.into_iter().unzip();
    let artefact = Artefact {
        code: TrustedCode::assume_trusted(parts.code),
        shifts: parts.shifts,
        libraries,
        lines: parts.lines,
    };
    let trusted = |code: Vec<u8>| (!code.is_empty()).then(|| TrustedCode::assume_trusted(code));
    Ok((artefact, codes.into_iter().map(trusted).collect()))
}

/// Compiles a component with what puts its instances back ([`reset`]), where that is possible. Leaves its source lines out.
fn precompile(engine: &Engine, bytes: &[u8], known: &[LibraryDigest]) -> wasmtime::Result<Parts<Vec<u8>>> {
    if let Some(instrumented) = reset::instrument(bytes) {
        // If this fails, the component is not valid either, and the message should be about its own bytes.
        if let Ok((code, libraries)) = precompile_apart(engine, &instrumented.bytes, known) {
            return Ok(parts(code, Some(instrumented.shifts), libraries));
        }
    }
    let (code, libraries) = precompile_apart(engine, bytes, known)?;
    Ok(parts(code, None, libraries))
}

fn parts(code: Vec<u8>, shifts: Option<Shifts>, libraries: Vec<(Library, Vec<u8>)>) -> Parts<Vec<u8>> {
    Parts {
        code,
        shifts,
        libraries,
        lines: Vec::new(),
    }
}

/// The code of a component, and that of its libraries apart: none for those that are known.
type CodeApart = (Vec<u8>, Vec<(Library, Vec<u8>)>);

fn precompile_apart(engine: &Engine, bytes: &[u8], known: &[LibraryDigest]) -> wasmtime::Result<CodeApart> {
    if let Some(separated) = library::separate(bytes) {
        let code = |library: Library| {
            let code = match known.contains(&library.digest) {
                true => Vec::new(),
                false => engine.precompile_module(library.bytes(bytes))?,
            };
            Ok((library, code))
        };
        // As in `precompile`: the message should be about the component's own bytes.
        if let Ok(component) = engine.precompile_component(&separated.component)
            && let Ok(libraries) = separated
                .libraries
                .into_iter()
                .map(code)
                .collect::<wasmtime::Result<_>>()
        {
            return Ok((component, libraries));
        }
    }
    Ok((engine.precompile_component(bytes)?, Vec::new()))
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
