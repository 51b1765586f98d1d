//! Runs cargo in the guests' workspace.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use cargo_metadata::{CrateType, Message, MetadataCommand, PackageId};

use crate::Options;
use crate::toolchain::{TARGET, Toolchain};

/// Bytes of a guest's shadow stack. It is small, so that a fresh instance touches few pages. It lies below the data, so
/// that an overflow traps.
const STACK_SIZE: u32 = 16 * 1024;
/// The file in the target directory with the compiler's option that is another one for each root. Cargo compiles
/// everything anew for other options, also the standard library, which has nothing to do with the root; it does not look
/// into this file.
const ROOT_OPTION: &str = "parlance-root.args";

/// The directories of [`Options`], created and as canonical paths, as the compiler sees them.
pub(crate) struct BuildPaths {
    pub(crate) workspace: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) target_dir: PathBuf,
    pub(crate) out_dir: PathBuf,
}

impl BuildPaths {
    /// Waits until no other build uses the target directory, and prepares it for this one. The build's turn ends when
    /// the file is dropped.
    pub(crate) fn take_turn(&self) -> Result<File> {
        let path = self.target_dir.join(ROOT_OPTION);
        let write = || -> std::io::Result<File> {
            let mut file = File::options().create(true).truncate(false).write(true).open(&path)?;
            file.lock()?;
            file.set_len(0)?;
            writeln!(file, "{}", remap(&self.root, "/guests"))?;
            Ok(file)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn new(options: &Options) -> Result<Self> {
        let workspace = canonical(&options.workspace)?;
        let root = match &options.root {
            Some(root) => canonical(root)?,
            None => workspace.parent().unwrap_or(&workspace).to_owned(),
        };
        Ok(Self {
            root,
            target_dir: created(&options.target_dir)?,
            out_dir: created(&options.out_dir)?,
            workspace,
        })
    }
}

fn created(directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create the directory {}", directory.display()))?;
    canonical(directory)
}

fn canonical(directory: &Path) -> Result<PathBuf> {
    directory
        .canonicalize()
        .with_context(|| format!("no directory {}", directory.display()))
}

/// A core module that cargo has built.
pub(crate) struct Module {
    pub(crate) package: String,
    pub(crate) path: PathBuf,
    /// Whether its package wants the component to have line tables.
    pub(crate) keeps_lines: bool,
}

/// A package that has a `cdylib`.
struct Guest {
    id: PackageId,
    keeps_lines: bool,
}

/// Builds the packages, or all that have a `cdylib` if none is named, and returns their modules in that order.
pub(crate) fn build(toolchain: &Toolchain, paths: &BuildPaths, options: &Options) -> Result<Vec<Module>> {
    let packages = options.packages.as_slice();
    let mut ids = guests(toolchain, paths)?;
    if let Some(missing) = packages.iter().find(|name| !ids.contains_key(*name)) {
        let known: Vec<_> = ids.into_keys().collect();
        let workspace = paths.workspace.display();
        bail!(
            "no package `{missing}` with crate-type `cdylib` in {workspace}; there are: {}",
            known.join(", ")
        );
    }
    if !packages.is_empty() {
        ids.retain(|name, _| packages.contains(name));
    }
    let modules = run(toolchain, paths, &ids, options.locked)?;
    let order = if packages.is_empty() {
        ids.keys().cloned().collect()
    } else {
        packages.to_vec()
    };
    order
        .into_iter()
        .map(|package| {
            let guest = ids.get(&package);
            let built = guest.and_then(|guest| Some((guest.keeps_lines, modules.get(&guest.id)?.clone())));
            let (keeps_lines, path) = built.ok_or_else(|| anyhow!("cargo built no module for package `{package}`"))?;
            Ok(Module {
                package,
                path,
                keeps_lines,
            })
        })
        .collect()
}

/// The workspace's packages that have a `cdylib`, by name.
fn guests(toolchain: &Toolchain, paths: &BuildPaths) -> Result<BTreeMap<String, Guest>> {
    let output = toolchain
        .cargo(&paths.workspace)
        .args(["metadata", "--no-deps", "--format-version=1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "cargo does not read the workspace {}: {}",
            paths.workspace.display(),
            output.status
        );
    }
    let metadata = MetadataCommand::parse(String::from_utf8(output.stdout)?)?;
    let has_cdylib = |package: &cargo_metadata::Package| {
        package
            .targets
            .iter()
            .any(|target| target.crate_types.contains(&CrateType::CDyLib))
    };
    let packages = metadata.packages.into_iter().filter(has_cdylib);
    let guest = |package: cargo_metadata::Package| {
        let lines = package.metadata.get("parlance").and_then(|own| own.get("lines"));
        let keeps_lines = lines.and_then(|lines| lines.as_bool()).unwrap_or_default();
        (
            package.name.to_string(),
            Guest {
                id: package.id,
                keeps_lines,
            },
        )
    };
    Ok(packages.map(guest).collect())
}

/// Runs the build and returns the module of each package.
fn run(
    toolchain: &Toolchain,
    paths: &BuildPaths,
    packages: &BTreeMap<String, Guest>,
    locked: bool,
) -> Result<BTreeMap<PackageId, PathBuf>> {
    let mut command = toolchain.cargo(&paths.workspace);
    command
        .args([
            "build",
            "--release",
            "--lib",
            "--message-format=json-render-diagnostics",
            "--target",
            TARGET,
        ])
        .args(toolchain.arguments())
        .arg("--target-dir")
        .arg(&paths.target_dir)
        .args(packages.keys().flat_map(|name| ["--package", name]))
        // The encoded form, since a path may contain a space.
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(toolchain, paths)?.join("\x1f"));
    if locked {
        command.arg("--locked");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let messages = child.stdout.take().context("cargo has no output")?;
    let mut modules = BTreeMap::new();
    for message in Message::parse_stream(BufReader::new(messages)) {
        if let Message::CompilerArtifact(artifact) = message? {
            let module = artifact
                .filenames
                .into_iter()
                .find(|file| file.extension() == Some("wasm"));
            modules.extend(module.map(|file| (artifact.package_id, file.into_std_path_buf())));
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "cargo could not build the guests in {}: {status}",
            paths.workspace.display()
        );
    }
    Ok(modules)
}

fn rustflags(toolchain: &Toolchain, paths: &BuildPaths) -> Result<Vec<String>> {
    let mut flags = toolchain.rustflags();
    flags.push(format!("-Clink-arg=-zstack-size={STACK_SIZE}"));
    let (sources, sources_name) = toolchain.sources(&paths.workspace)?;
    // The compiler uses the last match, and a target directory is usually within the root.
    flags.push(format!("@{}", paths.target_dir.join(ROOT_OPTION).display()));
    let mut remaps = vec![(paths.target_dir.clone(), "/target".to_owned())];
    remaps.extend(cargo_home().map(|home| (home, "/cargo".to_owned())));
    // Debian's directory is a link. The compiler may use either of its names, depending on how it found the file.
    remaps.extend(
        sources
            .canonicalize()
            .ok()
            .map(|sources| (sources, sources_name.clone())),
    );
    remaps.push((sources, sources_name));
    flags.extend(remaps.iter().map(|(from, to)| remap(from, to)));
    Ok(flags)
}

/// The compiler's option that puts a name in place of a path.
fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> Option<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}
