//! The child process that compiles: the parent's side and the child's.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rlimit::{Resource, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{component_limits, confinement, message, no_lines, precompile};
use crate::sandbox::artefact::{self, Parts};
use crate::sandbox::engine::{EngineLimits, compiling_engine};
use crate::sandbox::library::{Library, LibraryDigest, LoadedLibrary};
use crate::sandbox::lines;
use crate::sandbox::load::LoadError;

/// Wall-clock seconds for each second of processor time: on a busy machine the child waits for a processor, since its
/// priority is lower than the server's.
const WALL_CLOCK_FACTOR: u32 = 4;
/// The lowest priority: about a seventieth of a busy processor, so that a deployment still completes there.
const NICENESS: i32 = 19;
/// Most bytes of the child's standard error that are kept.
const STDERR_MAX: u64 = 8 * 1024;
/// Rust aborts with this signal when an allocation fails. The number is the same on every supported system.
const SIGABRT: i32 = 6;
/// Messages on standard error after a failed allocation.
const OUT_OF_MEMORY_TEXTS: [&str; 2] = ["memory allocation of", "Cannot allocate memory"];

/// Prefix of the child's line on standard error about debug information that it does not use.
const NO_LINES_PREFIX: &str = "source lines: ";

/// Runs the child to its end. Dropping the future kills it. Returns the component's parts, with code of at most `code_max`
/// bytes. That of the `known` libraries counts too, so that whether a component is refused does not depend on others, but
/// it is left out.
pub(super) async fn compile(
    program: &Path,
    limits: &EngineLimits,
    code_max: usize,
    bytes: &[u8],
    known: &[Arc<LoadedLibrary>],
) -> Result<Parts<Vec<u8>>, LoadError> {
    let seconds = limits.compile_time.as_secs_f64().ceil();
    let mut command = Command::new(program);
    command
        .arg("compile-component")
        .args(["--memory", &limits.compile_memory.to_string()])
        .args(["--seconds", &format!("{seconds:.0}")])
        // The child needs no variables, and the server's may hold secrets.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let failed = |error: std::io::Error| LoadError::Host(format!("{} cannot be run: {error}", program.display()));
    let mut child = command.spawn().map_err(failed)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let talk = async {
        let give = async {
            if let Some(mut stdin) = stdin {
                // The child may have died. Its exit status says more than a broken pipe.
                let _ = stdin.write_all(&known_header(known)).await;
                let _ = stdin.write_all(bytes).await;
            }
            Ok(())
        };
        let (output, messages, ()) = tokio::try_join!(read_stdout(stdout, code_max), read_stderr(stderr), give)?;
        let status = child.wait().await.map_err(failed)?;
        Ok((output, messages, status))
    };
    let clock = limits.compile_time.saturating_mul(WALL_CLOCK_FACTOR);
    let talked = tokio::time::timeout(clock, talk).await;
    let (output, messages, status) = talked.unwrap_or(Err(LoadError::CompileWallTime { max: clock }))?;
    let Some(mut parts) = artefact::split(&output).map(|parts| parts.to_owned()) else {
        return Err(failure(limits, status, &messages));
    };
    let left_out = |library: &Library| known.iter().find(|known| known.digest == library.digest);
    let known_bytes = parts.libraries.iter().filter(|(_, code)| code.is_empty());
    let known_bytes = known_bytes.filter_map(|(library, _)| Some(left_out(library)?.code_bytes));
    if parts.code_bytes().saturating_add(known_bytes.sum()) > code_max {
        return Err(LoadError::CompiledTooLarge { max: code_max });
    }
    for problem in confinement::problems(&messages) {
        tracing::warn!("the compiling process is not fully confined: {problem}");
    }
    if let Some(why) = messages.lines().find_map(|line| line.strip_prefix(NO_LINES_PREFIX)) {
        no_lines(&message(why));
    }
    if status.success() {
        return Ok(parts);
    }
    // It has compiled the component, and died of its debug information.
    no_lines(&failure(limits, status, &messages).to_string());
    parts.lines.clear();
    Ok(parts)
}

/// What the child reads before the component: how many libraries are known, and their digests.
fn known_header(known: &[Arc<LoadedLibrary>]) -> Vec<u8> {
    let count = u32::try_from(known.len()).unwrap_or(u32::MAX).to_le_bytes();
    let digests = known.iter().flat_map(|library| library.digest);
    count.into_iter().chain(digests).collect()
}

/// Reads it.
fn read_known(input: &mut impl Read) -> std::io::Result<Vec<LibraryDigest>> {
    let mut count = [0; size_of::<u32>()];
    input.read_exact(&mut count)?;
    let digest = |_| {
        let mut digest = [0; size_of::<LibraryDigest>()];
        input.read_exact(&mut digest)?;
        Ok(digest)
    };
    (0..u32::from_le_bytes(count)).map(digest).collect()
}

async fn read_stdout(stdout: Option<impl AsyncRead + Unpin>, code_max: usize) -> Result<Vec<u8>, LoadError> {
    let mut output = Vec::new();
    let max = code_max.saturating_add(artefact::BESIDES_CODE_MAX);
    if let Some(stdout) = stdout {
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        // An error ends the output too. The exit status tells why.
        let _ = stdout.take(limit).read_to_end(&mut output).await;
    }
    if output.len() > max {
        return Err(LoadError::CompiledTooLarge { max: code_max });
    }
    Ok(output)
}

async fn read_stderr(stderr: Option<impl AsyncRead + Unpin>) -> Result<String, LoadError> {
    let mut messages = Vec::new();
    if let Some(mut stderr) = stderr {
        let _ = (&mut stderr).take(STDERR_MAX).read_to_end(&mut messages).await;
        // Read the rest and discard it, so that the child does not block on a full pipe.
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    }
    Ok(String::from_utf8_lossy(&messages).into_owned())
}

fn failure(limits: &EngineLimits, status: ExitStatus, messages: &str) -> LoadError {
    let max = limits.compile_memory;
    if OUT_OF_MEMORY_TEXTS.iter().any(|words| messages.contains(words))
        && (status.signal() == Some(SIGABRT) || status.code().is_some())
    {
        return LoadError::CompileMemory { max };
    }
    match (status.code(), status.signal()) {
        (Some(1), _) if messages.contains(component_limits::TOO_MANY) => {
            LoadError::TooMany(message(last_message(messages)))
        }
        (Some(1), _) => LoadError::from_compiler(message(last_message(messages))),
        // SIGXCPU: the kernel sends it past RLIMIT_CPU.
        (_, Some(24)) => LoadError::CompileTime {
            max: limits.compile_time,
        },
        _ => LoadError::Compiler(message(&format!("{status} {messages}"))),
    }
}

/// The child's message about the component, without the lines before it about problems of its confinement.
fn last_message(messages: &str) -> &str {
    messages.rsplit_once("parlance: ").map_or(messages, |(_, words)| words)
}

/// Why the child fails.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It cannot set its own limits.
    #[error("the limits of the compiling process cannot be set: {0}")]
    Limits(#[source] std::io::Error),
    /// Standard input or output fails.
    #[error("the compiling process cannot talk to its parent: {0}")]
    Pipe(#[source] std::io::Error),
    /// The component does not compile.
    #[error("{0}")]
    Compile(String),
}

/// The child's main function: limits and confines the process, lowers its priority, reads a component, writes its code and
/// then its source lines. `memory` limits the address space, in bytes; `seconds` limits processor time. The limits stay, so
/// the process must do nothing else.
///
/// # Errors
/// When the component does not compile.
pub fn compile_component(
    mut input: impl Read,
    mut output: impl Write,
    memory: u64,
    seconds: u64,
) -> Result<(), ChildError> {
    for (resource, soft, hard) in [
        (Resource::CORE, 0, 0),
        (Resource::FSIZE, 0, 0),
        (Resource::CPU, seconds, seconds.saturating_add(1)),
        (Resource::AS, memory, memory),
    ] {
        setrlimit(resource, soft, hard).map_err(ChildError::Limits)?;
    }
    // Some systems forbid this. The child then has the server's priority.
    let _ = rustix::process::nice(NICENESS);
    for problem in confinement::confine() {
        // The parent may have gone, so errors are ignored.
        let _ = writeln!(std::io::stderr(), "{}{problem}", confinement::PROBLEM_PREFIX);
    }
    let known = read_known(&mut input).map_err(ChildError::Pipe)?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(ChildError::Pipe)?;
    component_limits::check(&bytes).map_err(|error| ChildError::Compile(error.to_string()))?;
    let engine = compiling_engine().map_err(|error| ChildError::Compile(format!("{error:#}")))?;
    let compiled = precompile(&engine, &bytes, &known);
    let parts = compiled.map_err(|error| ChildError::Compile(format!("{error:#}")))?;
    output.write_all(&parts.header()).map_err(ChildError::Pipe)?;
    output.write_all(&parts.code).map_err(ChildError::Pipe)?;
    for (_, code) in &parts.libraries {
        output.write_all(code).map_err(ChildError::Pipe)?;
    }
    // From here on the parent has all that it needs, whatever becomes of this process.
    output.flush().map_err(ChildError::Pipe)?;
    drop((engine, parts));
    match lines::of_component(&bytes) {
        Ok(lines) => output.write_all(&lines).map_err(ChildError::Pipe),
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "{NO_LINES_PREFIX}{why}");
            Ok(())
        }
    }
}
