//! Runs the program on sources, as an author would.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `parlance-js build` in `directory`, with a cache that the tests share.
pub(crate) fn build(directory: &Path, file: &str, output: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_parlance-js"))
        .args(["build", file, "-o"])
        .arg(output)
        .current_dir(directory)
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap()
}
