//! Builds the shipped handlers with the toolchain of this machine.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml exempts test functions, and not their helpers"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use parlance_build::{Built, Options, build};
use wasmparser::{Operator, Parser, Payload};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// `-zstack-size` as [`build`] sets it.
const STACK_SIZE: i32 = 16 * 1024;

/// Builds the repository's handlers, with the target directory that the server's build uses too.
fn shipped(out_dir: &Path) -> Vec<Built> {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("guests");
    let workspace = Path::new(REPOSITORY).join("guest-handlers");
    build(&Options {
        workspace,
        root: None,
        packages: Vec::new(),
        target_dir,
        out_dir: out_dir.into(),
        locked: true,
        lines: false,
    })
    .unwrap()
}

/// Copies the handlers' sources, without build output. `kit/wit` is a link, and a directory in the copy.
fn copy(to: &Path) {
    let files = Command::new("find")
        .args("-L guest-handlers -type f -not -path */target/* -not -path */build/*".split(' '))
        .current_dir(REPOSITORY)
        .output()
        .unwrap();
    assert!(files.status.success());
    for file in String::from_utf8(files.stdout).unwrap().lines() {
        fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        fs::copy(Path::new(REPOSITORY).join(file), to.join(file)).unwrap();
    }
}

/// The first run takes minutes: the copy shares nothing with the first build, not even the compiled standard library.
/// Later runs keep that, and compile only the handlers, since the files of the copy are new.
#[test]
fn building_twice_in_two_directories_gives_the_same_bytes() {
    let out_dir = tempfile::tempdir().unwrap();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a second build");
    let elsewhere = place.join("a directory of another length");
    if elsewhere.exists() {
        fs::remove_dir_all(&elsewhere).unwrap();
    }
    copy(&elsewhere);
    let first = shipped(out_dir.path());
    let second = build(&Options {
        workspace: elsewhere.join("guest-handlers"),
        root: None,
        packages: Vec::new(),
        target_dir: place.join("target"),
        out_dir: elsewhere.join("out"),
        locked: true,
        lines: false,
    })
    .unwrap();

    let names = |built: &[Built]| built.iter().map(|built| built.package.clone()).collect::<Vec<_>>();
    assert_eq!(
        names(&first),
        ["message", "presence", "receipt", "revise", "room", "typing"]
    );
    assert_eq!(names(&first), names(&second));
    for (one, other) in first.iter().zip(&second) {
        let same = fs::read(&one.path).unwrap() == fs::read(&other.path).unwrap();
        assert!(same, "{} differs: {} and {} bytes", one.package, one.size, other.size);
    }
}

#[test]
fn no_path_of_the_machine_is_in_a_component() {
    let out_dir = tempfile::tempdir().unwrap();
    let home = std::env::home_dir().unwrap();
    let paths = [
        PathBuf::from(REPOSITORY).canonicalize().unwrap(),
        home.join(".cargo"),
        "/usr/lib/rustlib".into(),
    ];
    for built in shipped(out_dir.path()) {
        let bytes = fs::read(&built.path).unwrap();
        for path in paths.iter().map(|path| path.to_str().unwrap()) {
            let found = bytes.windows(path.len()).any(|part| part == path.as_bytes());
            assert!(!found, "{} contains {path}", built.package);
        }
    }
}

#[test]
fn unchanged_components_are_not_written() {
    let out_dir = tempfile::tempdir().unwrap();
    assert!(shipped(out_dir.path()).iter().all(|built| built.changed));
    let path = out_dir.path().join("room.wasm");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    assert!(shipped(out_dir.path()).iter().all(|built| !built.changed));
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), time);
    fs::write(&path, "something else").unwrap();
    let changed: Vec<_> = shipped(out_dir.path())
        .into_iter()
        .filter(|built| built.changed)
        .collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(changed[0].path.file_name(), path.file_name());
}

#[test]
fn the_shadow_stack_is_small() {
    let out_dir = tempfile::tempdir().unwrap();
    for built in shipped(out_dir.path()) {
        let bytes = fs::read(&built.path).unwrap();
        assert_eq!(stack_pointer(&bytes), STACK_SIZE, "{}", built.package);
    }
}

/// The start of the stack of a component's first core module, which the linker makes the module's first global. Since
/// the stack lies below the data, this is also its size.
fn stack_pointer(component: &[u8]) -> i32 {
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::GlobalSection(globals) = payload.unwrap() {
            let global = globals.into_iter().next().unwrap().unwrap();
            let Operator::I32Const { value } = global.init_expr.get_operators_reader().read().unwrap() else {
                panic!("the first global is no stack pointer");
            };
            return value;
        }
    }
    panic!("no module with a global");
}

#[test]
fn a_missing_package_is_named_with_the_existing_ones() {
    let out_dir = tempfile::tempdir().unwrap();
    let error = build(&Options {
        workspace: Path::new(REPOSITORY).join("guest-handlers"),
        root: None,
        packages: vec!["room".into(), "nobody".into()],
        target_dir: out_dir.path().join("target"),
        out_dir: out_dir.path().into(),
        locked: true,
        lines: false,
    })
    .unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains("no package `nobody`"), "{message}");
    assert!(
        message.contains("there are: message, presence, receipt, revise, room, typing"),
        "{message}"
    );
}

/// `cargo`, `rustc` and `dpkg` are looked for on the search path.
#[test]
fn without_a_compiler_the_message_names_both_ways_to_get_one() {
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_parlance-build"))
        .args(["--workspace", "."])
        .current_dir(empty.path())
        .env("PATH", empty.path())
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{message}");
    for way in [
        "rustup target add wasm32-unknown-unknown",
        "apt-get install rustc-web cargo-web rust-web-src lld-NN",
    ] {
        assert!(message.contains(way), "{message}");
    }
}
