//! Generates the code that embeds the shipped handlers (`shipped.rs`) and the page of development mode (`page.rs`).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The files of `examples/web-chat/` that make the page: their extensions and media types.
const PAGE_TYPES: [(&str, &str); 4] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("svg", "image/svg+xml"),
];

/// The official Socket.IO client, from the page's npm packages.
const CLIENT: &str = "node_modules/socket.io-client/dist";
/// The client's files, which Node's server serves too.
const CLIENT_FILES: [&str; 4] = [
    "socket.io.js",
    "socket.io.min.js",
    "socket.io.msgpack.min.js",
    "socket.io.esm.min.js",
];

fn main() -> Result<()> {
    let out_dir = directory("OUT_DIR")?;
    let host = directory("CARGO_MANIFEST_DIR")?;
    let repository = host.parent().context("host/ is not in the repository")?;
    page(&repository.join("examples/web-chat"), &out_dir).context("cannot embed the chat page")
}

fn directory(variable: &str) -> Result<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .with_context(|| format!("{variable} is not set; cargo sets it"))
}

fn page(directory: &Path, out_dir: &Path) -> Result<()> {
    watch(directory);
    let files = entries(directory)?;
    let mut code = String::from(
        "/// The chat page: each file's path below the page's own, its media type, its bytes.\n\
         pub(super) const PAGE: &[(&str, &str, &[u8])] = &[\n",
    );
    for file in &files {
        let (Some(name), Some(media_type)) = (file.file_name().and_then(|name| name.to_str()), media_type(file)) else {
            continue;
        };
        writeln!(code, "    ({name:?}, {media_type:?}, include_bytes!({file:?})),")?;
    }
    code.push_str(
        "];\n\
         /// The name and the bytes of each file of the official client. Empty if npm has not installed it.\n\
         pub(super) const CLIENT: &[(&str, &[u8])] = &[\n",
    );
    // A build for tests of other parts does not need it.
    for name in CLIENT_FILES {
        let path = directory.join(CLIENT).join(name);
        if path.exists() {
            writeln!(code, "    ({name:?}, include_bytes!({path:?})),")?;
        }
    }
    code.push_str("];\n");
    write(&out_dir.join("page.rs"), &code)
}

fn media_type(file: &Path) -> Option<&'static str> {
    let ending = file.extension()?.to_str()?;
    PAGE_TYPES
        .iter()
        .find(|(known, _)| *known == ending)
        .map(|(_, media_type)| *media_type)
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
