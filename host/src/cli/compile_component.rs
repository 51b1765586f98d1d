//! `parlance compile-component`: the server's compiler as a process of its own. The server starts it; nobody types it.

use std::io::{Read, Write};

use super::{CompileArgs, Failure};
use parlance_handler::sandbox::compile_component;

/// Compiles the component on `input` and writes its code to `out`. The limits hold for the rest of the process.
///
/// # Errors
/// When it does not compile.
pub fn run(args: &CompileArgs, input: impl Read, out: impl Write) -> Result<(), Failure> {
    compile_component(input, out, args.memory, args.seconds).map_err(anyhow::Error::from)?;
    Ok(())
}
