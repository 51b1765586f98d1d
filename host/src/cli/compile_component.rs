//! `parlance compile-component`, which nobody types: the server's own compiler, apart from the server.

use std::io::{Read, Write};

use super::{CompileArgs, Failure};
use crate::sandbox::compile_component;

/// Compiles the component on `input` and writes its code to `out`, within limits that stay with the process.
///
/// # Errors
/// When it does not compile.
pub fn run(args: &CompileArgs, input: impl Read, out: impl Write) -> Result<(), Failure> {
    compile_component(input, out, args.memory, args.seconds).map_err(anyhow::Error::from)?;
    Ok(())
}
