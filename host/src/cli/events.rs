//! `parlance events`: prints the description of all events.

use std::io::Write;

use anyhow::Context;

use super::Failure;
use crate::dispatch::asyncapi;

/// Runs the command. `out` is standard output.
///
/// # Errors
/// When the output cannot be written.
pub fn run(out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "{:#}", asyncapi()).context("cannot write to standard output")?;
    Ok(())
}
