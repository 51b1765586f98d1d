//! Projects of handlers: a directory or a source file in one of the languages, and the component that is built of it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value as Json;

use super::{Failure, build};
use crate::config::to_json;
use parlance_types::id::check_handler_name;

/// Where the components are, below a project's directory.
const COMPONENTS: &str = "target/components";
/// The longest manifest that is read, in bytes.
const MANIFEST_BYTES: u64 = 1024 * 1024;
/// Where the handler of a project is, if its manifest does not say so.
const MAIN_MODULES: [&str; 6] = [
    "src/handler.ts",
    "src/handler.js",
    "src/handler.mts",
    "src/handler.mjs",
    "handler.ts",
    "handler.js",
];
const MAIN_PYTHON: [&str; 2] = ["src/handler.py", "handler.py"];

/// A language of handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Rust.
    Rust,
    /// TypeScript.
    #[value(alias = "typescript")]
    Ts,
    /// JavaScript.
    #[value(alias = "javascript")]
    Js,
    /// Python.
    #[value(alias = "py")]
    Python,
}

impl Language {
    /// The language of a source file, by its extension. Rust has none: its handlers are crates.
    fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "ts" | "mts" => Some(Self::Ts),
            "js" | "mjs" => Some(Self::Js),
            "py" => Some(Self::Python),
            _ => None,
        }
    }

    /// The extensions of the files that a component is made of.
    pub(super) fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &["rs", "toml", "wit"],
            Self::Ts | Self::Js => &["ts", "mts", "js", "mjs", "json"],
            Self::Python => &["py", "toml"],
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Ts => "TypeScript",
            Self::Js => "JavaScript",
            Self::Python => "Python",
        })
    }
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    /// The path by which it is found: the directory, or the single source file.
    pub(super) path: PathBuf,
    /// The handler's name.
    pub(super) name: String,
    pub(super) language: Language,
    pub(super) directory: PathBuf,
    /// The file to build, below the directory: a module, or `Cargo.toml`.
    pub(super) main: PathBuf,
}

impl Project {
    /// The project at a path: a directory with a manifest, or a single source file. `None` if there is none.
    ///
    /// # Errors
    /// A manifest cannot be read, or names a file that does not exist.
    pub(super) fn find(path: &Path) -> Result<Option<Self>, Failure> {
        if path.is_dir() {
            return Self::of_directory(path);
        }
        let (Some(language), true) = (Language::of_file(path), path.is_file()) else {
            return Ok(None);
        };
        let (Some(file), Some(stem)) = (path.file_name(), path.file_stem()) else {
            return Ok(None);
        };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let project = Self::new(plain_name(&stem.to_string_lossy()), language, directory, file.into())?;
        Ok(Some(Self {
            path: path.to_owned(),
            ..project
        }))
    }

    fn of_directory(directory: &Path) -> Result<Option<Self>, Failure> {
        for find in [Self::of_cargo, Self::of_package, Self::of_python] {
            if let Some(project) = find(directory)? {
                return Ok(Some(project));
            }
        }
        Ok(None)
    }

    fn new(name: String, language: Language, directory: &Path, main: PathBuf) -> Result<Self, Failure> {
        check_handler_name(&name).map_err(|error| {
            Failure::Usage(format!(
                "{}: the name {name:?}: {error}; give the project another",
                directory.join(&main).display()
            ))
        })?;
        Ok(Self {
            path: directory.to_owned(),
            name,
            language,
            directory: directory.to_owned(),
            main,
        })
    }

    /// A crate that makes a `cdylib`, which only a handler is expected to be.
    fn of_cargo(directory: &Path) -> Result<Option<Self>, Failure> {
        let Some(manifest) = read_toml(&directory.join("Cargo.toml"))? else {
            return Ok(None);
        };
        let kinds = manifest.get("lib").and_then(|lib| lib.get("crate-type"));
        let kinds = kinds.and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let name = manifest.get("package").and_then(|package| package.get("name"));
        match name.and_then(Json::as_str) {
            Some(name) if kinds.iter().any(|kind| kind.as_str() == Some("cdylib")) => {
                Self::new(name.to_owned(), Language::Rust, directory, "Cargo.toml".into()).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn of_package(directory: &Path) -> Result<Option<Self>, Failure> {
        let file = directory.join("package.json");
        let Some(text) = read(&file)? else {
            return Ok(None);
        };
        let package: Json =
            serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
        let named = package.get("main").and_then(Json::as_str);
        let Some(main) = main_of(&file, named, &MAIN_MODULES)? else {
            return Ok(None);
        };
        let Some(language) = Language::of_file(&main) else {
            return Ok(None);
        };
        let name = package.get("name").and_then(Json::as_str);
        // A scope is npm's.
        let name = name.map(|name| plain_name(name.rsplit('/').next().unwrap_or(name)));
        Self::new(
            name.unwrap_or_else(|| directory_name(directory)),
            language,
            directory,
            main,
        )
        .map(Some)
    }

    fn of_python(directory: &Path) -> Result<Option<Self>, Failure> {
        let file = directory.join("pyproject.toml");
        let Some(manifest) = read_toml(&file)? else {
            return Ok(None);
        };
        let tool = manifest.get("tool").and_then(|tool| tool.get("parlance"));
        let named = tool.and_then(|tool| tool.get("main")).and_then(Json::as_str);
        let Some(main) = main_of(&file, named, &MAIN_PYTHON)? else {
            return Ok(None);
        };
        let name = manifest.get("project").and_then(|project| project.get("name"));
        let name = name.and_then(Json::as_str).map(plain_name);
        let name = name.unwrap_or_else(|| directory_name(directory));
        Self::new(name, Language::Python, directory, main).map(Some)
    }

    /// Where the component is built.
    pub(super) fn component(&self) -> PathBuf {
        let file = format!("{COMPONENTS}/{}.wasm", self.name);
        if self.directory == Path::new(".") {
            return file.into();
        }
        self.directory.join(file)
    }
}

/// The component at a path: the file itself if it is one, or what is built of the project or source file there, with line
/// tables if `lines`.
///
/// # Errors
/// There is no project in the directory, what building needs is missing, or the sources have mistakes. The builder's
/// messages are on standard error.
pub fn component(path: &Path, lines: bool) -> Result<PathBuf, Failure> {
    match Project::find(path)? {
        Some(project) => build::build(&project, lines, &mut std::io::stderr()),
        None if path.is_dir() => Err(no_project(path)),
        None => Ok(path.to_owned()),
    }
}

/// The bytes of the [`component`] at a path, for scenarios, with line tables.
///
/// # Errors
/// As [`component`], or when the file cannot be read.
pub(super) fn component_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = component(path, true)?;
    std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))
}

/// The failure for a path that has no project.
pub(super) fn no_project(path: &Path) -> Failure {
    let shown = path.display();
    if !path.exists() {
        return Failure::Usage(format!("{shown} does not exist"));
    }
    if path.is_file() {
        return Failure::Usage(format!(
            "{shown} is neither a handler's source (.ts, .js, .py) nor the directory of a project"
        ));
    }
    if path.join("Cargo.toml").exists() {
        return Failure::Usage(format!(
            "{shown} is not the crate of a handler: its Cargo.toml needs a [package], and crate-type = [\"cdylib\"] in [lib]"
        ));
    }
    Failure::Usage(format!(
        "{shown} has no handler: neither Cargo.toml, nor package.json or pyproject.toml that names one \
         (`main`, or src/handler.ts, .js or .py). `parlance new NAME` makes a project"
    ))
}

/// The main module: the one that the manifest names, or the first of the usual ones that exists.
fn main_of(manifest: &Path, named: Option<&str>, usual: &[&str]) -> Result<Option<PathBuf>, Failure> {
    let directory = manifest.parent().unwrap_or(Path::new("."));
    match named {
        Some(main) if directory.join(main).is_file() => Ok(Some(main.into())),
        Some(main) if Language::of_file(Path::new(main)).is_some() => Err(Failure::Usage(format!(
            "{}: the main module {main:?} does not exist",
            manifest.display()
        ))),
        // A package for something else, such as a page.
        Some(_) => Ok(None),
        None => Ok(usual
            .iter()
            .map(PathBuf::from)
            .find(|main| directory.join(main).is_file())),
    }
}

/// The text of a manifest; `None` if it does not exist.
fn read(file: &Path) -> Result<Option<String>, Failure> {
    match fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(data) if data.len() > MANIFEST_BYTES => {
            return Err(Failure::Usage(format!(
                "{} has more than {MANIFEST_BYTES} bytes",
                file.display()
            )));
        }
        _ => {}
    }
    let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(Some(text))
}

fn read_toml(file: &Path) -> Result<Option<Json>, Failure> {
    let Some(text) = read(file)? else {
        return Ok(None);
    };
    let table = to_json(&text).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    Ok(Some(table))
}

/// A name in the letters that a handler's name may have.
fn plain_name(name: &str) -> String {
    name.to_lowercase().replace(['_', '.', ' '], "-")
}

fn directory_name(directory: &Path) -> String {
    let full = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    plain_name(&full.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The project in a directory with these files.
    fn find(files: &[(&str, &str)], path: &str) -> Result<Option<(String, Language, String)>, Failure> {
        let directory = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = directory.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let found = Project::find(&directory.path().join(path))?;
        Ok(found.map(|project| {
            let component = project.component();
            let expected = project
                .directory
                .join(format!("target/components/{}.wasm", project.name));
            assert_eq!(component, expected);
            (project.name, project.language, project.main.display().to_string())
        }))
    }

    fn found(name: &str, language: Language, main: &str) -> Option<(String, Language, String)> {
        Some((name.to_owned(), language, main.to_owned()))
    }

    #[test]
    fn a_project_is_known_by_its_manifest() {
        let crate_ = "[package]\nname = \"polls\"\n[lib]\ncrate-type = [\"cdylib\"]\n";
        assert_eq!(
            find(&[("Cargo.toml", crate_)], "").unwrap(),
            found("polls", Language::Rust, "Cargo.toml")
        );
        let package = r#"{ "name": "@acme/Polls", "main": "src/main.mts" }"#;
        assert_eq!(
            find(&[("package.json", package), ("src/main.mts", "")], "").unwrap(),
            found("polls", Language::Ts, "src/main.mts")
        );
        let files = [
            ("pyproject.toml", "[project]\nname = \"slow_mode\"\n"),
            ("handler.py", ""),
        ];
        assert_eq!(
            find(&files, "").unwrap(),
            found("slow-mode", Language::Python, "handler.py")
        );
    }

    #[test]
    fn a_source_file_is_a_project_of_its_own() {
        assert_eq!(
            find(&[("Slow_Mode.js", "")], "Slow_Mode.js").unwrap(),
            found("slow-mode", Language::Js, "Slow_Mode.js")
        );
        assert_eq!(find(&[("notes.txt", "")], "notes.txt").unwrap(), None);
    }

    #[test]
    fn what_is_no_handler_is_no_project() {
        let library = "[package]\nname = \"polls\"\n";
        for files in [
            &[("Cargo.toml", "[workspace]\n")][..],
            &[("Cargo.toml", library)],
            &[("package.json", "{}")],
            &[("package.json", r#"{ "main": "dist/index.cjs" }"#)],
            &[("pyproject.toml", "")],
            &[],
        ] {
            assert_eq!(find(files, "").unwrap(), None, "{files:?}");
        }
    }

    #[test]
    fn a_manifest_that_is_wrong_says_where() {
        let missing = find(&[("package.json", r#"{ "main": "handler.ts" }"#)], "").unwrap_err();
        assert!(
            missing.to_string().contains("\"handler.ts\" does not exist"),
            "{missing}"
        );
        let broken = find(&[("Cargo.toml", "[package")], "").unwrap_err();
        assert!(broken.to_string().contains("Cargo.toml: "), "{broken}");
        let name = find(&[("grüße.py", "")], "grüße.py").unwrap_err();
        assert!(name.to_string().contains("give the project another"), "{name}");
    }
}
