//! Builds handlers in Rust with cargo.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use parlance_build::{Options, TARGET, Toolchain};

use super::tool;
use crate::cli::Failure;
use crate::cli::project::Project;

/// How to get a compiler.
const RUSTUP: &str = "install rustup (https://rustup.rs)";

pub(super) fn build(project: &Project, lines: bool, notes: &mut impl Write) -> Result<(), Failure> {
    let directory = project
        .directory
        .canonicalize()
        .with_context(|| project.directory.display().to_string())?;
    let toolchain = match Toolchain::find(&directory) {
        Ok(toolchain) => toolchain,
        Err(_) if !tool::is_there(Path::new("cargo")) => {
            return Err(Failure::Usage(format!(
                "Rust is not installed: cargo is not on the search path; {RUSTUP}, then: rustup target add {TARGET}"
            )));
        }
        Err(error) => return Err(Failure::Usage(format!("{error:#}"))),
    };
    // Projects that share one share the compiled standard library.
    let target_dir = parlance_build::target_dir().unwrap_or_else(|| directory.join("target"));
    if matches!(toolchain, Toolchain::BuildStd { .. }) && !target_dir.join(TARGET).is_dir() {
        // A note that cannot be written is not a failure.
        let _ = writeln!(
            notes,
            "the first build compiles Rust's standard library too, which takes a minute or two"
        );
    }
    parlance_build::build(&Options {
        root: Some(root(&directory)),
        packages: vec![project.name.clone()],
        out_dir: directory.join("target/components"),
        target_dir,
        workspace: directory,
        locked: false,
        lines,
    })?;
    Ok(())
}

/// The directory whose path is taken out of the component: that of the repository, since a crate may refer to others
/// beside it.
fn root(directory: &Path) -> PathBuf {
    let repository = directory.ancestors().find(|above| above.join(".git").exists());
    repository.unwrap_or(directory).to_owned()
}
