//! `parlance build`: makes a component of a project or a source file, by the builder of its language.

mod javascript;
mod python;
mod rust;
mod tool;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;

use super::project::{Language, Project, no_project};
use super::{BuildArgs, Failure};

/// Builds, and prints where the component is.
///
/// # Errors
/// There is no project, what building needs is missing, or the sources have mistakes.
pub fn run(args: &BuildArgs, out: &mut impl Write, notes: &mut impl Write) -> Result<(), Failure> {
    let project = Project::find(&args.path)?.ok_or_else(|| no_project(&args.path))?;
    let begun = Instant::now();
    let path = build(&project, args.lines, notes)?;
    let size = fs::metadata(&path).map_or(0, |data| data.len());
    let took = begun.elapsed().as_secs_f32();
    writeln!(out, "{}  {size} bytes, in {took:.1} s", path.display()).context("standard output")?;
    Ok(())
}

/// Builds a project, and returns the path of the component. `lines`: a component in Rust keeps its line tables for
/// backtraces; those of other languages bring their own stacks. The builder's messages go to standard error, notes on what
/// it installs to `notes`.
///
/// # Errors
/// [`Failure::Usage`] if what building needs is missing; otherwise the sources have mistakes, or a file cannot be
/// written.
pub(super) fn build(project: &Project, lines: bool, notes: &mut impl Write) -> Result<PathBuf, Failure> {
    let component = project.component();
    if let Some(directory) = component.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {}", directory.display()))?;
    }
    match project.language {
        Language::Rust => rust::build(project, lines, notes)?,
        Language::Ts | Language::Js => javascript::build(project, &component)?,
        Language::Python => python::build(project, &component, notes)?,
    }
    Ok(component)
}

/// Where a builder writes, so that a concurrent reader sees either the old component or the new one.
fn temporary(component: &Path) -> PathBuf {
    component.with_extension(format!("wasm.{}", std::process::id()))
}

/// Puts what was built in its place.
fn replace(temporary: &Path, component: &Path) -> Result<(), Failure> {
    fs::rename(temporary, component).with_context(|| format!("cannot write {}", component.display()))?;
    Ok(())
}
