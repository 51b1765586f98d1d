//! Builds guest crates into handler components.
//!
//! A guest is a `cdylib` crate in a cargo workspace of its own. [`build`] finds a toolchain for
//! `wasm32-unknown-unknown`, runs cargo in that workspace, and encodes each core module as a component.
//! Building the same sources twice gives the same bytes, wherever they lie: no path of the machine reaches the output.
//!
//! The host's build script calls this, so nothing of the environment that an outer cargo sets reaches the inner one.
//! Nothing is installed here: `guest-handlers/setup.sh` (`make setup`) does that.

mod cargo;
mod component;
mod environment;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use environment::clean;
pub use toolchain::{TARGET, Toolchain};

/// What to build, and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cargo workspace of the guest crates: the directory of its `Cargo.toml`.
    pub workspace: PathBuf,
    /// The directory whose path is left out of the output: one that holds the workspace and every crate which it names
    /// by path. `None`: the directory above the workspace.
    ///
    /// Workspaces that share this, and the target directory, share what is compiled, the standard library included.
    pub root: Option<PathBuf>,
    /// The packages to build. Empty: every package of the workspace that has a `cdylib`.
    pub packages: Vec<String>,
    /// Cargo's target directory. Made when it is not there. Worth keeping and sharing: the first guest in an empty one
    /// may cost minutes, where the standard library has to be compiled; the next costs seconds.
    pub target_dir: PathBuf,
    /// Where the components go. Made when it is not there.
    pub out_dir: PathBuf,
    /// Whether cargo must use `Cargo.lock` as it is, and fail where that does not fit (`--locked`).
    pub locked: bool,
}

/// A component that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The package's name.
    pub package: String,
    /// The component: `<out_dir>/<package>.wasm`.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: usize,
    /// Whether the file was written. One that already held these bytes is left alone, its time of change included.
    pub changed: bool,
}

/// Builds the packages and returns them in the order of [`Options::packages`], or by name where that is empty.
///
/// Cargo's progress and the compiler's messages go to standard error.
///
/// # Errors
/// When there is no toolchain for guests (the message names the ways to one), when the workspace or a package in it is
/// not there, when compiling fails, when a module is no valid component (it exports no interface, say), and when a
/// file cannot be written.
pub fn build(options: &Options) -> Result<Vec<Built>> {
    let paths = cargo::BuildPaths::new(options)?;
    let toolchain = Toolchain::find(&paths.workspace)?;
    let modules = cargo::build(&toolchain, &paths, options)?;
    modules
        .into_iter()
        .map(|module| encode(module, &paths.out_dir))
        .collect()
}

fn encode(module: cargo::Module, out_dir: &Path) -> Result<Built> {
    let bytes = fs::read(&module.path).with_context(|| format!("cannot read {}", module.path.display()))?;
    let component = component::encode(&bytes).with_context(|| {
        format!(
            "package `{}` is no component: {} cannot be encoded as one",
            module.package,
            module.path.display()
        )
    })?;
    let path = out_dir.join(format!("{}.wasm", module.package));
    let changed = component::write(&path, &component)?;
    Ok(Built {
        package: module.package,
        path,
        size: component.len(),
        changed,
    })
}
