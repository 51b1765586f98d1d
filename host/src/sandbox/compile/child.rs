//! The child that compiles: what its parent does, and what it does itself.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rlimit::{Resource, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{component_limits, confinement, message};
use crate::sandbox::engine::{EngineLimits, compiling_engine};
use crate::sandbox::load::LoadError;

/// For each second of the processor that the child may have, seconds of the clock: on a busy machine it waits for its
/// turn, since it is less important than the server.
const WALL_CLOCK_FACTOR: u32 = 4;
/// Steps below the server, as many as there are: of a processor that is busy otherwise a seventieth, so that what is
/// deployed gets into service there too, in its time.
const NICENESS: i32 = 19;
/// Bytes of what the child says on standard error that are kept.
const STDERR_MAX: u64 = 8 * 1024;
/// SIGABRT: Rust ends so when memory is refused. The same number on every system that this runs on.
const SIGABRT: i32 = 6;
/// What it says then.
const OUT_OF_MEMORY_TEXTS: [&str; 2] = ["memory allocation of", "Cannot allocate memory"];

/// Runs the child. Dropping this kills it.
pub(super) async fn compile(
    program: &Path,
    limits: &EngineLimits,
    output_max: usize,
    bytes: &[u8],
) -> Result<Vec<u8>, LoadError> {
    let allowed = &limits.compile;
    let seconds = allowed.time.as_secs_f64().ceil();
    let mut command = Command::new(program);
    command
        .arg("compile-component")
        .args(["--memory", &allowed.memory.to_string()])
        .args(["--seconds", &format!("{seconds:.0}")])
        // It needs nothing of it, and there are secrets in it.
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
                // It may have died; its status says more than a broken pipe.
                let _ = stdin.write_all(bytes).await;
            }
            Ok(())
        };
        let (code, messages, ()) = tokio::try_join!(read_stdout(stdout, output_max), read_stderr(stderr), give)?;
        let status = child.wait().await.map_err(failed)?;
        Ok((code, messages, status))
    };
    let clock = allowed.time.saturating_mul(WALL_CLOCK_FACTOR);
    let talked = tokio::time::timeout(clock, talk).await;
    let (code, messages, status) = talked.unwrap_or(Err(LoadError::CompileWallTime { max: clock }))?;
    if status.success() {
        for problem in confinement::problems(&messages) {
            tracing::warn!("the process that compiles has no whole fence around it: {problem}");
        }
        Ok(code)
    } else {
        Err(failure(limits, status, &messages))
    }
}

async fn read_stdout(stdout: Option<impl AsyncRead + Unpin>, max: usize) -> Result<Vec<u8>, LoadError> {
    let mut code = Vec::new();
    if let Some(stdout) = stdout {
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        // An error is an end too: the status says which.
        let _ = stdout.take(limit).read_to_end(&mut code).await;
    }
    if code.len() > max {
        return Err(LoadError::CompiledTooLarge { max });
    }
    Ok(code)
}

async fn read_stderr(stderr: Option<impl AsyncRead + Unpin>) -> Result<String, LoadError> {
    let mut messages = Vec::new();
    if let Some(mut stderr) = stderr {
        let _ = (&mut stderr).take(STDERR_MAX).read_to_end(&mut messages).await;
        // It must not wait for somebody to listen.
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    }
    Ok(String::from_utf8_lossy(&messages).into_owned())
}

fn failure(limits: &EngineLimits, status: ExitStatus, messages: &str) -> LoadError {
    let max = limits.compile.memory;
    if OUT_OF_MEMORY_TEXTS.iter().any(|words| messages.contains(words))
        && (status.signal() == Some(SIGABRT) || status.code().is_some())
    {
        return LoadError::CompileMemory { max };
    }
    match (status.code(), status.signal()) {
        (Some(1), _) if messages.contains(component_limits::TOO_MANY) => LoadError::TooMany(message(last_message(messages))),
        (Some(1), _) => LoadError::Compile(message(last_message(messages))),
        // The kernel's, past RLIMIT_CPU.
        (_, Some(24)) => LoadError::CompileTime {
            max: limits.compile.time,
        },
        _ => LoadError::Compiler(message(&format!("{status} {messages}"))),
    }
}

/// What the child says of the component: the last line, after what it may have said of its fence.
fn last_message(messages: &str) -> &str {
    messages.rsplit_once("parlance: ").map_or(messages, |(_, words)| words)
}

/// Why the child gives up.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not limit itself.
    #[error("the limits of the compiling process cannot be set: {0}")]
    Limits(#[source] std::io::Error),
    /// Standard input or output.
    #[error("the compiling process cannot talk to its parent: {0}")]
    Pipe(#[source] std::io::Error),
    /// The component.
    #[error("{0}")]
    Compile(String),
}

/// The child's whole life: limits itself, stands back, reads a component, writes its code. `memory` is of its address
/// space, in bytes; `seconds` of processor time. For a process that does nothing else, since the limits stay.
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
    // Not everywhere may a process do that; then it is merely as important as the server.
    let _ = rustix::process::nice(NICENESS);
    for problem in confinement::confine() {
        // Nobody may listen.
        let _ = writeln!(std::io::stderr(), "{}{problem}", confinement::PROBLEM_PREFIX);
    }
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(ChildError::Pipe)?;
    component_limits::check(&bytes).map_err(|error| ChildError::Compile(error.to_string()))?;
    let engine = compiling_engine().map_err(|error| ChildError::Compile(format!("{error:#}")))?;
    let code = engine
        .precompile_component(&bytes)
        .map_err(|error| ChildError::Compile(format!("{error:#}")))?;
    output.write_all(&code).map_err(ChildError::Pipe)
}
