//! Finds and runs the programs that build.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow};

use crate::cli::Failure;

/// The program of this name beside this one, or on the search path.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let beside = own.parent().map(|directory| directory.join(name));
    beside.filter(|path| path.is_file()).or_else(|| on_path(name))
}

/// The program of this name on the search path.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// Runs a builder to its end. Its output goes to standard error.
pub(super) fn run(command: &mut Command, what: &str) -> Result<(), Failure> {
    let program = Path::new(command.get_program()).display().to_string();
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("{program} cannot be run"))?;
    if status.success() {
        return Ok(());
    }
    Err(anyhow!("{what} could not be built").into())
}
