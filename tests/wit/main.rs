//! `parlance-wit`: holds `wit/` to the released contract, and writes its reference.
//!
//! `make lint` runs `check`; `make docs` runs `reference`.

#![allow(
    clippy::indexing_slicing,
    reason = "an id of wit-parser is an index of the arena that gave it"
)]

mod compatibility;
mod contract;
mod reference;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::contract::{Contract, Sources};

const USAGE: &str = "\
usage: parlance-wit check            fails if wit/ breaks components that are built against tests/wit/released
       parlance-wit reference DIR    writes the reference of wit/ into DIR: README.md and a page for each interface";

fn main() -> Result<ExitCode> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let current = Sources::read(&tests.parent().context("tests/ is not in a repository")?.join("wit"))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["check"] => check(&Sources::read(&tests.join("wit/released"))?, &current),
        ["reference", directory] => write(&PathBuf::from(directory), &current),
        _ => bail!("{USAGE}"),
    }
}

fn check(released: &Sources, current: &Sources) -> Result<ExitCode> {
    let breaks = compatibility::breaks(released, current)?;
    if breaks.is_empty() {
        println!("wit/: components built against tests/wit/released keep working");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}", compatibility::report(&breaks));
    Ok(ExitCode::FAILURE)
}

/// Replaces the pages of an earlier run, so that an interface that is gone leaves none.
fn write(directory: &Path, current: &Sources) -> Result<ExitCode> {
    let pages = reference::pages(&Contract::parse(current)?)?;
    if directory.exists() {
        std::fs::remove_dir_all(directory).with_context(|| format!("cannot replace {}", directory.display()))?;
    }
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    for (name, text) in &pages {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{} pages in {}", pages.len(), directory.display());
    Ok(ExitCode::SUCCESS)
}
