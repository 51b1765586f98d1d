//! Finds and runs the programs that build.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow};

use crate::cli::Failure;

/// The program of this name beside this one, else the one of the search path; `None` if there is neither.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let beside = own.parent().map(|directory| directory.join(name));
    if let Some(beside) = beside.filter(|path| path.is_file()) {
        return Some(beside);
    }
    Some(PathBuf::from(name)).filter(|program| is_there(program))
}

/// Whether a program can be run: one of the search path, if this is only a name.
pub(super) fn is_there(program: &Path) -> bool {
    version(program).is_some()
}

/// What a program prints for `--version`; `None` if it cannot be run.
pub(super) fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
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
