//! Builds handlers in JavaScript and TypeScript with `parlance-js`, a program that comes with this one: its engine and
//! its reader of TypeScript would be a burden to a server.

use std::path::{Path, absolute};
use std::process::Command;

use anyhow::Context as _;

use super::{replace, temporary, tool};
use crate::cli::Failure;
use crate::cli::project::Project;

const BUILDER: &str = "parlance-js";

pub(super) fn build(project: &Project, component: &Path) -> Result<(), Failure> {
    let builder = tool::find(BUILDER).ok_or_else(|| {
        Failure::Usage(format!(
            "{} handlers are built by {BUILDER}, which is neither beside parlance nor on the search path; install the one \
             of the same version (in a checkout of Parlance: cargo build --release -p {BUILDER})",
            project.language
        ))
    })?;
    let file = temporary(component);
    let output = absolute(&file).with_context(|| file.display().to_string())?;
    let mut command = Command::new(builder);
    // In the project's directory, so that messages name files as its author does.
    command
        .current_dir(&project.directory)
        .arg("build")
        .arg(&project.main)
        .arg("-o")
        .arg(output);
    tool::run(&mut command, &project.name)?;
    replace(&file, component)
}
