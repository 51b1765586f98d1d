//! Builds the guests that these tests use, and reads the initial memory of a component.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parlance_build::{Options, build};
use parlance_testing::TestHost;
use wasmparser::{Parser, Payload};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// A WebAssembly page, in bytes.
const PAGE: u64 = 64 * 1024;

/// Builds the guests of a directory of the repository, if they have changed.
fn guests(workspace: &str) -> PathBuf {
    let (repository, target) = (
        Path::new(REPOSITORY),
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap(),
    );
    let out_dir = target.join("test-guests");
    build(&Options {
        workspace: repository.join(workspace),
        root: Some(repository.to_owned()),
        packages: Vec::new(),
        target_dir: target.join("guests"),
        out_dir: out_dir.clone(),
        locked: true,
        lines: false,
    })
    .unwrap();
    out_dir
}

/// A guest of `tests/guests`.
pub(crate) fn guest(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| guests("tests/guests"));
    directory.join(format!("{name}.wasm"))
}

/// A host with a shipped handler.
pub(crate) fn shipped(name: &str) -> TestHost {
    let component = parlance_shipped::component(name).unwrap();
    TestHost::from_bytes(component).unwrap().named(name)
}

/// The component of the guest `hostile`.
pub(crate) fn hostile_file() -> PathBuf {
    guest("hostile")
}

/// A host with the guest `hostile`.
pub(crate) fn hostile() -> TestHost {
    TestHost::load(hostile_file()).unwrap().named("hostile")
}

/// A host with the guest `wasi`.
pub(crate) fn wasi() -> TestHost {
    TestHost::load(guest("wasi")).unwrap()
}

/// The component of the guest `web`, which sends HTTP requests.
pub(crate) fn web() -> Vec<u8> {
    std::fs::read(guest("web")).unwrap()
}

/// The component of the example `moderation`.
pub(crate) fn moderation_file() -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| guests("examples/moderation"));
    directory.join("moderation.wasm")
}

/// A host with the example `moderation`.
pub(crate) fn moderation() -> TestHost {
    TestHost::load(moderation_file()).unwrap().named("moderation")
}

/// The initial memory of a shipped handler's instance, in bytes.
pub(crate) fn initial_memory(shipped: &str) -> usize {
    let bytes = parlance_shipped::component(shipped).unwrap();
    let pages: u64 = Parser::new(0)
        .parse_all(bytes)
        .filter_map(|payload| match payload.unwrap() {
            Payload::MemorySection(memories) => Some(memories),
            _ => None,
        })
        .flatten()
        .map(|memory| memory.unwrap().initial)
        .sum();
    usize::try_from(pages * PAGE).unwrap()
}
