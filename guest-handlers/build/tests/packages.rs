//! Packages the crates for authors as they would be published, and builds a handler with nothing else: the author has
//! no clone of the repository.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml exempts test functions, and not their helpers"
)]

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use parlance_build::{Options, build, clean};
use wasmparser::{Parser, Payload};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What each package has besides its sources.
const EVERY: [&str; 6] = [
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];
/// The crate with which authors test handlers, and those that it stands on.
const TESTING: [&str; 6] = [
    "parlance-handler",
    "parlance-hub",
    "parlance-scheduler",
    "parlance-store",
    "parlance-testing",
    "parlance-types",
];

/// Packages crates of a workspace, without network, and returns the directories of the unpacked packages. Crates of which
/// one depends on the other are packaged together.
fn unpacked<const N: usize>(workspace: &str, packages: [&str; N], to: &Path) -> [PathBuf; N] {
    // One for each call, since cargo empties it and tests run at the same time.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("packages")
        .join(packages[0]);
    let mut cargo = Command::new("cargo");
    // Verifying compiles the packages for this machine, which takes minutes, and for which a handler's are not.
    cargo.args(["package", "--no-verify", "--allow-dirty", "--offline"]);
    cargo.args(packages.map(|package| format!("--package={package}")));
    cargo.arg("--target-dir").arg(&target);
    let output = clean(&mut cargo)
        .current_dir(Path::new(REPOSITORY).join(workspace))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::create_dir_all(to).unwrap();
    packages.map(|package| {
        let name = format!("{package}-{}", env!("CARGO_PKG_VERSION"));
        let tar = Command::new("tar")
            .arg("-xzf")
            .arg(target.join("package").join(format!("{name}.crate")))
            .current_dir(to)
            .status()
            .unwrap();
        assert!(tar.success());
        to.join(name)
    })
}

/// The files below a directory.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// Fails unless the package has the files of these directories of the repository, byte for byte, and nothing else but
/// the others and what every package has.
#[track_caller]
fn assert_has(package: &Path, directories: &[(&str, &str)], others: &[&str]) {
    let mut expected: BTreeSet<String> = EVERY.iter().chain(others).map(|file| (*file).to_owned()).collect();
    for (own, of_repository) in directories {
        let directory = Path::new(REPOSITORY).join(of_repository);
        for file in files(&directory) {
            let same = fs::read(directory.join(&file)).unwrap() == fs::read(package.join(own).join(&file)).unwrap();
            assert!(same, "{own}/{file} is not that of {of_repository}");
            expected.insert(format!("{own}/{file}"));
        }
    }
    let mut found = files(package);
    // Absent where the repository is not one of git, as in an unpacked archive.
    found.insert(".cargo_vcs_info.json".to_owned());
    assert_eq!(found, expected);
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let licence = |directory: &Path| fs::read(directory.join(licence)).unwrap();
        assert_eq!(licence(package), licence(Path::new(REPOSITORY)));
    }
    let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    for key in ["description", "license", "rust-version"] {
        assert!(manifest.contains(&format!("\n{key} = ")), "no {key} in:\n{manifest}");
    }
    assert!(!manifest.contains("publish = false"), "{manifest}");
    assert!(!manifest.contains("path = \"../"), "{manifest}");
}

#[test]
fn the_packages_for_authors_have_sources_contract_licences_and_page_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let [kit] = unpacked("guest-handlers", ["parlance-guest"], directory.path());
    assert_has(
        &kit,
        &[("src", "guest-handlers/kit/src"), ("wit", "wit")],
        &["README.md"],
    );
    let [builder] = unpacked(".", ["parlance-build"], directory.path());
    assert_has(&builder, &[("src", "guest-handlers/build/src")], &["README.md"]);
}

#[test]
fn the_test_crate_and_those_beneath_it_have_sources_contract_and_licences_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let packages = unpacked(".", TESTING, directory.path());
    for (name, package) in TESTING.iter().zip(&packages) {
        let home = name.strip_prefix("parlance-").unwrap();
        let sources = format!("host/{home}/src");
        let (contract, others): (_, &[&str]) = match home {
            "handler" => (Some(("wit", "wit")), &[]),
            "testing" => (Some(("wit", "host/testing/wit")), &["README.md"]),
            _ => (None, &[]),
        };
        let directories: Vec<_> = [("src", sources.as_str())].into_iter().chain(contract).collect();
        assert_has(package, &directories, others);
    }
}

/// The first block of code of a language.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let block = page.split(&format!("```{language}\n")).nth(1).unwrap();
    block.split("```").next().unwrap()
}

/// A directory outside the repository. It has the same path at each run, so that the shared target directory gets no
/// further copy of the kit.
fn elsewhere() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_TARGET_TMPDIR").hash(&mut hasher);
    let directory = std::env::temp_dir().join(format!("parlance-packages-{:016x}", hasher.finish()));
    let repository = Path::new(REPOSITORY).canonicalize().unwrap();
    assert!(
        !directory.starts_with(repository),
        "{} is in the repository",
        directory.display()
    );
    directory
}

/// The handler is that of the kit's page, its manifest too.
#[test]
fn a_handler_is_built_with_the_packaged_kit_outside_the_repository() {
    let directory = elsewhere();
    if directory.exists() {
        fs::remove_dir_all(&directory).unwrap();
    }
    let [kit] = unpacked("guest-handlers", ["parlance-guest"], &directory);
    let page = fs::read_to_string(kit.join("README.md")).unwrap();
    let handler = directory.join("polite");
    fs::create_dir_all(handler.join("src")).unwrap();
    fs::write(handler.join("src/lib.rs"), block(&page, "rust")).unwrap();
    // The packaged kit stands in for the published one.
    let patch = format!("[patch.crates-io]\nparlance-guest = {{ path = {kit:?} }}\n");
    fs::write(handler.join("Cargo.toml"), block(&page, "toml").to_owned() + &patch).unwrap();
    // The versions that the kit was packaged with are on this machine.
    fs::copy(kit.join("Cargo.lock"), handler.join("Cargo.lock")).unwrap();
    fs::create_dir_all(directory.join(".cargo")).unwrap();
    fs::write(directory.join(".cargo/config.toml"), "[net]\noffline = true\n").unwrap();

    let built = build(&Options {
        workspace: handler,
        // Those of the shipped handlers, although the kit lies elsewhere: with both, and the same profile, cargo uses
        // the standard library that it has compiled for them, which takes minutes.
        root: Some(REPOSITORY.into()),
        packages: Vec::new(),
        target_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("guests"),
        out_dir: directory.join("components"),
        locked: false,
        lines: false,
    })
    .unwrap();
    let names: Vec<_> = built.iter().map(|built| built.package.as_str()).collect();
    assert_eq!(names, ["polite"]);
    let component = fs::read(&built[0].path).unwrap();
    assert_eq!(exports(&component), ["parlance:chat/on-message@0.1.0"]);
    fs::remove_dir_all(&directory).unwrap();
}

/// The names of a component's exports.
fn exports(component: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentExportSection(exports) if depth == 0 => {
                names.extend(exports.into_iter().map(|export| export.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    names
}
