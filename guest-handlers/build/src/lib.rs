//! Builds guest crates into handler components.
//!
//! A guest is a `cdylib` crate in a separate cargo workspace. [`build`] finds a toolchain for `wasm32-unknown-unknown`,
//! runs cargo in that workspace, and encodes each core module as a component. Builds are reproducible: the same sources
//! give the same bytes in any directory, and no path of the machine gets into the output.
//!
//! The host's build script calls this, so the environment of the outer cargo is kept from the inner one. This crate
//! installs nothing: `guest-handlers/setup.sh` (`make setup`) does.

mod cargo;
mod component;
mod environment;
mod toolchain;
mod wit;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use environment::{clean, target_dir};
pub use toolchain::{TARGET, Toolchain};
pub use wit::encode_wit;

/// What to build, and where the output goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cargo workspace of the guest crates: the directory with its `Cargo.toml`.
    pub workspace: PathBuf,
    /// The directory whose path is removed from the output. It must contain the workspace and every crate that it
    /// refers to by path. `None`: the directory above the workspace.
    pub root: Option<PathBuf>,
    /// The packages to build. Empty: every package of the workspace that has a `cdylib`.
    pub packages: Vec<String>,
    /// Cargo's target directory, which is created if it does not exist. Keep it and share it: the first build in an
    /// empty one takes minutes if the standard library must be compiled; later ones take seconds, also of other
    /// workspaces with the same profile. Builds in one target directory follow one another.
    pub target_dir: PathBuf,
    /// The directory for the components, which is created if it does not exist.
    pub out_dir: PathBuf,
    /// Whether cargo must use `Cargo.lock` as it is, and fail if it is out of date (`--locked`).
    pub locked: bool,
    /// Whether the components keep what debug information cargo has put into them, from which a server names the files and
    /// lines in a backtrace. They are some times as large then. Otherwise those of packages keep it that say so:
    /// `lines = true` in `[package.metadata.parlance]`.
    pub lines: bool,
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
    /// Whether the file was written. A file that already has these bytes is not touched.
    pub changed: bool,
}

/// Builds the packages and returns them in the order of [`Options::packages`], or sorted by name if that is empty.
///
/// Cargo's progress and the compiler's messages go to standard error.
///
/// # Errors
/// When there is no toolchain for guests (the message says how to install one), the workspace or a package does not
/// exist, compiling fails, a module is not a valid component (for example because it exports no interface), or a file
/// cannot be written.
pub fn build(options: &Options) -> Result<Vec<Built>> {
    let paths = cargo::BuildPaths::new(options)?;
    let toolchain = Toolchain::find(&paths.workspace)?;
    // Until the modules are read, since a package of the same name would write to the same files.
    let _turn = paths.take_turn()?;
    let modules = cargo::build(&toolchain, &paths, options)?;
    modules
        .into_iter()
        .map(|module| encode(module, options.lines, &paths.out_dir))
        .collect()
}

fn encode(module: cargo::Module, lines: bool, out_dir: &Path) -> Result<Built> {
    let mut bytes = fs::read(&module.path).with_context(|| format!("cannot read {}", module.path.display()))?;
    if !(lines || module.keeps_lines) {
        bytes = component::without_debug_information(&bytes)
            .with_context(|| format!("{} is not a core module", module.path.display()))?;
    }
    let component = component::encode(&bytes).with_context(|| {
        format!(
            "package `{}` is not a component: {} cannot be encoded as one",
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
