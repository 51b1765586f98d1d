//! Generates the code that embeds the page of development mode (`page.rs`), and what `parlance new` and `parlance build`
//! write: the templates, the kits and the WIT (`templates.rs`).

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

/// The page's package with the client, a directory of the page's.
const PACKAGE: &str = "client";

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
    page(&repository.join("examples/web-chat"), &out_dir).context("cannot embed the chat page")?;
    templates(&host.join("templates"), repository, &out_dir).context("cannot embed the templates")
}

fn directory(variable: &str) -> Result<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .with_context(|| format!("{variable} is not set; cargo sets it"))
}

fn page(directory: &Path, out_dir: &Path) -> Result<()> {
    let package = directory.join(PACKAGE);
    watch(directory);
    watch(&package);
    let mut files = entries(directory)?;
    files.extend(entries(&package)?);
    let mut code = String::from(
        "/// The chat page: each file's path below the page's own, its media type, its bytes.\n\
         pub(super) const PAGE: &[(&str, &str, &[u8])] = &[\n",
    );
    for file in &files {
        let path = file.strip_prefix(directory)?.to_str();
        let (Some(path), Some(media_type)) = (path, media_type(file)) else {
            continue;
        };
        writeln!(code, "    ({path:?}, {media_type:?}, include_bytes!({file:?})),")?;
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

/// The languages of handlers: the names of their directories in `templates/`.
const LANGUAGES: [&str; 4] = ["rust", "ts", "js", "python"];

/// Embeds a project's files for each language: the template, and the kit below `vendor/`.
fn templates(directory: &Path, repository: &Path, out_dir: &Path) -> Result<()> {
    let guests = repository.join("guest-handlers");
    let (wit, kit) = (repository.join("wit"), guests.join("kit"));
    let mut files = Vec::new();
    collect(&directory.join("common"), Path::new("common"), &mut files)?;
    for language in LANGUAGES {
        collect(&directory.join(language), Path::new(language), &mut files)?;
    }
    let rust = Path::new("rust/vendor/parlance-guest");
    collect(&kit.join("src"), &rust.join("src"), &mut files)?;
    collect(&wit, &rust.join("wit"), &mut files)?;
    // The crate's documentation.
    let page = kit.join("README.md");
    if page.exists() {
        files.push((rust.join("README.md").to_string_lossy().into_owned(), page));
    }
    let python = Path::new("python/vendor/parlance_handlers");
    collect(&guests.join("python/parlance_handlers"), python, &mut files)?;
    // For no project: `parlance build` needs it for handlers in Python that send HTTP requests.
    collect(&guests.join("python/wit"), Path::new("wasi"), &mut files)?;
    for language in ["ts", "js"] {
        let package = Path::new(language).join("vendor/parlance-handlers");
        collect(&guests.join("js/kit"), &package, &mut files)?;
    }
    // Its modules are in the builder; editors need the types.
    files.retain(|(path, _)| !(path.contains("/vendor/parlance-handlers/") && path.ends_with(".js")));
    let mut embedded = Vec::new();
    for (path, file) in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // In the repository the crate finds the WIT above it.
        let text = text.replace("\"../../wit\"", "\"wit\"");
        embedded.push((path, text));
    }
    let manifest = standalone_manifest(&kit, &guests)?;
    embedded.push(("rust/vendor/parlance-guest/Cargo.toml".to_owned(), manifest));
    let mut code = String::from(
        "/// What a new project is made of: each file's language and path, and its text.\n\
         pub(super) const TEMPLATES: &[(&str, &str)] = &[\n",
    );
    for (path, text) in &embedded {
        writeln!(code, "    ({path:?}, {text:?}),")?;
    }
    code.push_str("];\n");
    write(&out_dir.join("templates.rs"), &code)
}

/// Adds a directory's files, at all depths, with their paths below `name`.
fn collect(directory: &Path, name: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    watch(directory);
    for entry in entries(directory)? {
        let path = name.join(entry.file_name().unwrap_or_default());
        if path.ends_with("__pycache__") {
            continue;
        }
        if entry.is_dir() {
            collect(&entry, &path, files)?;
        } else {
            files.push((path.to_string_lossy().into_owned(), entry));
        }
    }
    Ok(())
}

/// The manifest of the Rust kit as it is outside its workspace: with the values that it inherits.
fn standalone_manifest(kit: &Path, workspace: &Path) -> Result<String> {
    let read = |directory: &Path| {
        let file = directory.join("Cargo.toml");
        watch(&file);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let (own, inherited) = (read(kit)?, read(workspace)?);
    let mut manifest = String::new();
    for line in own
        .lines()
        .filter(|line| *line != "[lints]" && *line != "workspace = true")
    {
        let line = match line.strip_suffix(".workspace = true") {
            Some(key) => {
                let start = format!("{key} = ");
                let value = inherited.lines().find(|line| line.starts_with(&start));
                value.with_context(|| format!("the workspace of the guests has no {key}"))?
            }
            None => line,
        };
        writeln!(manifest, "{line}")?;
    }
    Ok(manifest)
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
