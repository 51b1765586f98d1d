//! Finds a compiler for guests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::environment::clean;

/// The target of every guest. It has no operating system, so guests import only the host's interfaces.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// LLVM's linker for WebAssembly. Debian names its versions `wasm-ld-22` and the like.
const LINKER: &str = "wasm-ld";
/// The directory of Debian's LLVM packages, each in a directory such as `llvm-22`.
const DEBIAN_LLVM: &str = "/usr/lib";

/// A way to compile for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// `cargo` and `rustc` from the search path, with the target's standard library.
    Installed,
    /// Debian's newer compiler (`rustc-web`), which has only the sources of the standard library, so that it is
    /// compiled with the guests. The paths are absolute, since rustup's programs come first on the search path.
    BuildStd {
        /// `cargo` from `cargo-web`.
        cargo: PathBuf,
        /// `rustc` from `rustc-web`.
        rustc: PathBuf,
        /// `wasm-ld`, from the compiler's own LLVM version if that is installed.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// The first toolchain that this machine offers for a workspace. A `rust-toolchain.toml` in it applies.
    ///
    /// # Errors
    /// When there is none. The message says what to do.
    pub fn find(workspace: &Path) -> Result<Self> {
        let rustc = Path::new("rustc");
        let installed = query(rustc, workspace, &["--print", "target-libdir", "--target", TARGET]);
        if installed.is_ok_and(|directory| Path::new(&directory).is_dir()) {
            return Ok(Self::Installed);
        }
        if let Some(toolchain) = debian(workspace) {
            return Ok(toolchain);
        }
        bail!(
            "no compiler for handlers: rustc has no target {TARGET}, and Debian's packages are not installed either. \
             Install one of them:\n  \
             rustup target add {TARGET}\n  \
             apt-get install rustc-web cargo-web rust-web-src lld-NN    (the newest that apt-get knows)\n\
             In a clone of Parlance's repository, `make setup` does what this machine allows."
        )
    }

    pub(crate) fn rustc(&self) -> &Path {
        match self {
            Self::Installed => Path::new("rustc"),
            Self::BuildStd { rustc, .. } => rustc,
        }
    }

    /// A `cargo` command in the workspace, with a clean environment and this toolchain's compiler.
    pub(crate) fn cargo(&self, workspace: &Path) -> Command {
        let mut command = match self {
            Self::Installed => Command::new("cargo"),
            Self::BuildStd { cargo, .. } => Command::new(cargo),
        };
        clean(&mut command).current_dir(workspace);
        if let Self::BuildStd { rustc, .. } = self {
            // A stable compiler accepts `-Zbuild-std` only with this variable.
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// Arguments for `cargo build` besides the target.
    pub(crate) fn arguments(&self) -> &'static [&'static str] {
        match self {
            Self::Installed => &[],
            Self::BuildStd { .. } => &["-Zbuild-std=std,panic_abort"],
        }
    }

    pub(crate) fn rustflags(&self) -> Vec<String> {
        match self {
            Self::Installed => Vec::new(),
            Self::BuildStd { linker, .. } => {
                vec![
                    "-Clinker-flavor=wasm-ld".to_owned(),
                    format!("-Clinker={}", linker.display()),
                ]
            }
        }
    }

    /// The path of the standard library's sources, which may be missing, and the name that a stable compiler uses for
    /// it.
    pub(crate) fn sources(&self, workspace: &Path) -> Result<(PathBuf, String)> {
        let sysroot = query(self.rustc(), workspace, &["--print", "sysroot"])?;
        let version = query(self.rustc(), workspace, &["-vV"])?;
        let commit = version
            .lines()
            .find_map(|line| line.strip_prefix("commit-hash: "))
            .unwrap_or("unknown");
        Ok((
            Path::new(&sysroot).join("lib/rustlib/src/rust"),
            format!("/rustc/{commit}"),
        ))
    }
}

/// Runs the compiler with arguments that make it print information about itself.
fn query(rustc: &Path, workspace: &Path, arguments: &[&str]) -> Result<String> {
    let output = clean(&mut Command::new(rustc))
        .current_dir(workspace)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", rustc.display()))?;
    if !output.status.success() {
        bail!(
            "{} {}: {}",
            rustc.display(),
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn debian(workspace: &Path) -> Option<Toolchain> {
    // cargo-web also has a wrapper for package builds, under /usr/share.
    let cargo = installed_file("cargo-web", "/usr/bin/cargo")?;
    let rustc = installed_file("rustc-web", "/bin/rustc")?;
    let version = query(&rustc, workspace, &["-vV"]).ok()?;
    let linker = choose(linkers(), llvm_of(&version))?;
    let toolchain = Toolchain::BuildStd { cargo, rustc, linker };
    let (sources, _) = toolchain.sources(workspace).ok()?;
    sources.join("library/std/Cargo.toml").is_file().then_some(toolchain)
}

/// The file of an installed Debian package whose path has this suffix. Also `None` if there is no dpkg.
fn installed_file(package: &str, suffix: &str) -> Option<PathBuf> {
    let output = Command::new("dpkg")
        .args(["-L", package])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let files = String::from_utf8(output.stdout).ok()?;
    files
        .lines()
        .find(|file| file.ends_with(suffix))
        .map(PathBuf::from)
        .filter(|file| file.exists())
}

/// An installed linker and the LLVM version in its name.
type Linker = (Option<u32>, PathBuf);

/// Every linker for WebAssembly on the search path and in Debian's directories.
fn linkers() -> Vec<Linker> {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<Linker> = std::env::split_paths(&search_path)
        .flat_map(|directory| named(&directory, LINKER))
        .collect();
    found.extend(
        named(Path::new(DEBIAN_LLVM), "llvm")
            .into_iter()
            .map(|(version, directory)| (version, directory.join("bin").join(LINKER))),
    );
    found.retain(|(_, path)| path.is_file());
    found
}

/// The entries of a directory with this name and an optional version: `wasm-ld`, `wasm-ld-22`.
fn named(directory: &Path, name: &str) -> Vec<Linker> {
    let Ok(entries) = directory.read_dir() else {
        return Vec::new();
    };
    let version = |file: &str| match file.strip_prefix(name)? {
        "" => Some(None),
        rest => rest.strip_prefix('-')?.parse().ok().map(Some),
    };
    entries
        .flatten()
        .filter_map(|entry| Some((version(entry.file_name().to_str()?)?, entry.path())))
        .collect()
}

/// The linker of the compiler's own LLVM version, else the newest, since it reads the output of older compilers.
fn choose(found: Vec<Linker>, llvm: Option<u32>) -> Option<PathBuf> {
    found
        .into_iter()
        .max_by_key(|(version, _)| (llvm.is_some() && *version == llvm, *version))
        .map(|(_, path)| path)
}

/// The compiler's LLVM version, from the output of `rustc -vV`.
fn llvm_of(version: &str) -> Option<u32> {
    let text = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    text.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linker(version: Option<u32>) -> Linker {
        (
            version,
            version.map_or("wasm-ld".into(), |version| format!("wasm-ld-{version}").into()),
        )
    }

    #[test]
    fn the_linker_matches_the_compilers_llvm_or_is_the_newest() {
        let chosen = |versions: &[Option<u32>], llvm| choose(versions.iter().copied().map(linker).collect(), llvm);
        let all = [Some(9), None, Some(14), Some(22)];
        assert_eq!(chosen(&all, Some(14)), Some("wasm-ld-14".into()));
        assert_eq!(chosen(&all, Some(21)), Some("wasm-ld-22".into()));
        assert_eq!(chosen(&all, None), Some("wasm-ld-22".into()));
        assert_eq!(chosen(&[None], Some(22)), Some("wasm-ld".into()));
        assert_eq!(chosen(&[], Some(22)), None);
    }

    #[test]
    fn linkers_are_found_by_their_names() {
        let directory = tempfile::tempdir().unwrap();
        for file in [
            "wasm-ld",
            "wasm-ld-7",
            "wasm-ld-22",
            "wasm-ld-old",
            "wasm-ld22",
            "ld.lld-22",
        ] {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        let mut found: Vec<_> = named(directory.path(), LINKER)
            .into_iter()
            .map(|(version, _)| version)
            .collect();
        found.sort();
        assert_eq!(found, [None, Some(7), Some(22)]);
        assert!(named(Path::new("/nowhere"), LINKER).is_empty());
    }

    #[test]
    fn the_llvm_version_is_read_from_the_compilers_output() {
        assert_eq!(llvm_of("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8"), Some(22));
        assert_eq!(llvm_of("rustc 1.96.0"), None);
    }
}
