//! Finding a compiler for guests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::environment::clean;

/// The target of every guest: no operating system, so no import but the host's own interfaces.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The linker that goes with the compiler of the `-web` packages: the same LLVM.
const LINKER_PACKAGE: &str = "lld-22";

/// A way to compile for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// `cargo` and `rustc` of the search path, which have the target's standard library.
    Installed,
    /// Debian's newer compiler (`rustc-web`), which has the sources of the standard library and not the target's build
    /// of it: it is compiled along with the guests. Named by whole paths, as rustup's come first on the search path.
    BuildStd {
        /// `cargo` of `cargo-web`.
        cargo: PathBuf,
        /// `rustc` of `rustc-web`.
        rustc: PathBuf,
        /// `wasm-ld`.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// The first way that this machine offers, for a workspace: a `rust-toolchain.toml` there counts.
    ///
    /// # Errors
    /// When it offers none; the message says what to do.
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
            "no compiler for guests: rustc has no target {TARGET}, and Debian's packages are not there either.\n\
             `make setup` installs what this machine allows. By hand, one of:\n  \
             rustup target add {TARGET}\n  \
             apt-get install rustc-web cargo-web rust-web-src {LINKER_PACKAGE}"
        )
    }

    pub(crate) fn rustc(&self) -> &Path {
        match self {
            Self::Installed => Path::new("rustc"),
            Self::BuildStd { rustc, .. } => rustc,
        }
    }

    /// `cargo`, in the workspace, in a clean environment, set to use this toolchain's compiler.
    pub(crate) fn cargo(&self, workspace: &Path) -> Command {
        let mut command = match self {
            Self::Installed => Command::new("cargo"),
            Self::BuildStd { cargo, .. } => Command::new(cargo),
        };
        clean(&mut command).current_dir(workspace);
        if let Self::BuildStd { rustc, .. } = self {
            // A released compiler takes `-Zbuild-std` only when told so.
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// What `cargo build` needs besides the target.
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

    /// Where the standard library's sources lie (or would), and the name under which a released compiler speaks of
    /// them, whether they are there or not.
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

/// Asks a compiler about itself.
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
    let linker = installed_file(LINKER_PACKAGE, "/bin/wasm-ld")?;
    let toolchain = Toolchain::BuildStd { cargo, rustc, linker };
    let (sources, _) = toolchain.sources(workspace).ok()?;
    sources.join("library/std/Cargo.toml").is_file().then_some(toolchain)
}

/// The file of an installed Debian package whose path ends so. `None` where there is no dpkg, too.
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
