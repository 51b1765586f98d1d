//! Embeds the shipped handlers (`shipped.rs`).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parlance_build::{Options, build};

/// The shipped handlers: packages of `guest-handlers/`.
const HANDLERS: [&str; 6] = ["message", "typing", "receipt", "revise", "presence", "room"];

fn main() -> Result<()> {
    let out_dir = directory("OUT_DIR")?;
    let own = directory("CARGO_MANIFEST_DIR")?;
    let repository = own
        .ancestors()
        .nth(2)
        .context("host/shipped/ is not in the repository")?;
    build_handlers(repository, &out_dir).context("cannot build the shipped handlers")
}

fn directory(variable: &str) -> Result<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .with_context(|| format!("{variable} is not set; cargo sets it"))
}

/// Builds the shipped handlers, and writes the code that embeds them.
fn build_handlers(repository: &Path, out_dir: &Path) -> Result<()> {
    let workspace = repository.join("guest-handlers");
    // Cargo's `OUT_DIR` is <target>/<profile>/build/<package>/out. The guests have one target directory for all profiles,
    // <target>/guests, because where the standard library is compiled with them, that takes a minute.
    let target = out_dir
        .ancestors()
        .nth(4)
        .context("OUT_DIR is not in a target directory")?;
    // Printed before building, so that cargo runs a failed build again when these change.
    for source in sources(&workspace)? {
        watch(&source);
    }
    watch(&repository.join("wit"));
    watch(&repository.join("rust-toolchain.toml"));
    let built = build(&Options {
        workspace,
        root: None,
        packages: HANDLERS.map(str::to_owned).to_vec(),
        target_dir: target.join("guests"),
        out_dir: out_dir.join("components"),
        locked: true,
        lines: false,
    })?;
    let mut code = String::from(
        "/// The shipped handlers, as components: each one's name and bytes.\n\
         const SHIPPED: &[(&str, &[u8])] = &[\n",
    );
    for handler in built {
        writeln!(code, "    ({:?}, include_bytes!({:?})),", handler.package, handler.path)?;
    }
    code.push_str("];\n");
    write(&out_dir.join("shipped.rs"), &code)
}

/// What the guests are made of: the crates of their workspace, its manifest and its lock file. The workspace's own
/// `target`, where a cargo that was run by hand puts its output, is not among them.
fn sources(workspace: &Path) -> Result<Vec<PathBuf>> {
    let crates = entries(workspace)?
        .into_iter()
        .filter(|path| path.join("Cargo.toml").exists());
    // `build` is a dependency of this script, so cargo watches it anyway.
    let guests = crates.filter(|path| !path.ends_with("build"));
    Ok(guests
        .chain(["Cargo.toml", "Cargo.lock"].map(|file| workspace.join(file)))
        .collect())
}

/// The entries of a directory, sorted by name, so that the same files generate the same code.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<_>> { fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = read().with_context(|| format!("cannot read {}", directory.display()))?;
    paths.sort();
    Ok(paths)
}

fn write(path: &Path, code: &str) -> Result<()> {
    fs::write(path, code).with_context(|| format!("cannot write {}", path.display()))
}

fn watch(path: &Path) {
    println!("cargo:rerun-if-changed={}", path.display());
}
