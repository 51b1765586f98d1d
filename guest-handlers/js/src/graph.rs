//! The source files of a handler: the entry and all that it imports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use oxc_resolver::{ResolveOptions, Resolver};

use crate::kit;
use crate::problem::{Problem, Problems};
use crate::transform::{Export, Import, Module, transform};
use crate::wit;

/// The largest source file, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// The largest number of source files.
const MAX_FILES: usize = 1000;

/// The modules of a handler. A module's name is its path from the entry's directory, so that the same sources give the
/// same component wherever they lie.
#[derive(Debug)]
pub(crate) struct Graph {
    /// The entry's directory, as the author named it.
    directory: PathBuf,
    entry: String,
    modules: BTreeMap<String, Module>,
    /// The module that a specifier means in a module.
    resolved: BTreeMap<(String, String), String>,
}

impl Graph {
    /// Reads and transforms the entry and all that it imports.
    pub(crate) fn load(entry: &Path) -> Result<Self, Problems> {
        let directory = entry.parent().map(Path::to_path_buf).unwrap_or_default();
        let real_entry = fs::canonicalize(entry)
            .map_err(|error| Problem::of_file(&entry.to_string_lossy(), format!("cannot be read: {error}")))?;
        let root = real_entry.parent().unwrap_or(&real_entry).to_path_buf();
        let mut graph = Self {
            directory,
            entry: name_of(&root, &real_entry),
            modules: BTreeMap::new(),
            resolved: BTreeMap::new(),
        };
        let resolver = resolver();
        let mut problems = Vec::new();
        let mut queue = vec![real_entry];
        while let Some(path) = queue.pop() {
            let name = name_of(&root, &path);
            if graph.modules.contains_key(&name) {
                continue;
            }
            if graph.modules.len() == MAX_FILES {
                return Err(Problem::of_file(
                    &graph.display(&name),
                    format!("more than {MAX_FILES} files are imported"),
                )
                .into());
            }
            let module = match graph.read(&name, &path) {
                Ok(module) => module,
                Err(Problems(found)) => {
                    problems.extend(found);
                    Module::default()
                }
            };
            for import in &module.imports {
                if kit::provides(&import.specifier) {
                    continue;
                }
                match resolver.resolve_file(&path, &import.specifier) {
                    Ok(resolution) => {
                        let found = resolution.path().to_path_buf();
                        let key = (name.clone(), import.specifier.clone());
                        graph.resolved.insert(key, name_of(&root, &found));
                        queue.push(found);
                    }
                    Err(_) => problems.push(not_found(&graph.display(&name), &module.source, import)),
                }
            }
            graph.modules.insert(name, module);
        }
        if problems.is_empty() {
            Ok(graph)
        } else {
            Err(Problems(problems))
        }
    }

    fn read(&self, name: &str, path: &Path) -> Result<Module, Problems> {
        let file = self.display(name);
        let cannot_read = |error: std::io::Error| Problem::of_file(&file, format!("cannot be read: {error}"));
        let size = fs::metadata(path).map_err(cannot_read)?.len();
        if size > MAX_FILE {
            let message = format!("the file has {size} bytes, more than the {MAX_FILE} that a source may have");
            return Err(Problem::of_file(&file, message).into());
        }
        let source = fs::read_to_string(path).map_err(cannot_read)?;
        if path.extension().is_some_and(|extension| extension == "json") {
            return Ok(json_module(source));
        }
        let module = transform(&file, source)?;
        if module.imports.is_empty() && module.exports.is_empty() && is_common_js(&module.source) {
            return Err(
                Problem::of_file(&file, "this is a CommonJS module, which a handler cannot import")
                    .help("use `import` and `export`, or a version of the package that has them")
                    .into(),
            );
        }
        Ok(module)
    }

    /// The name of the entry.
    pub(crate) fn entry(&self) -> &str {
        &self.entry
    }

    /// The modules, by name.
    pub(crate) fn modules(&self) -> &BTreeMap<String, Module> {
        &self.modules
    }

    /// The name of the module that `specifier` means in the module `importer`.
    pub(crate) fn resolve(&self, importer: &str, specifier: &str) -> Option<&str> {
        let key = (importer.to_owned(), specifier.to_owned());
        self.resolved.get(&key).map(String::as_str)
    }

    /// All names that the entry exports, with the module that names each.
    pub(crate) fn exports(&self) -> Vec<(&str, &Export)> {
        let mut exports = Vec::new();
        let mut seen = BTreeSet::new();
        let mut queue = vec![self.entry.as_str()];
        while let Some(name) = queue.pop() {
            let Some(module) = self.modules.get(name).filter(|_| seen.insert(name)) else {
                continue;
            };
            exports.extend(module.exports.iter().map(|export| (name, export)));
            let stars = module.imports.iter().filter(|import| import.is_star_export);
            queue.extend(stars.filter_map(|import| self.resolve(name, &import.specifier)));
        }
        exports
    }

    /// What the author may want to mend, though it can be built. Packages are the business of others.
    pub(crate) fn warnings(&self) -> Vec<Problem> {
        const MESSAGE: &str =
            "warning: this throws a value that is not an Error, so the log cannot say where it was thrown";
        const HELP: &str = "throw an Error; to refuse the event, a Rejection: `throw new Denied('…')`";
        let own = self.modules.iter().filter(|(name, _)| !name.contains("node_modules/"));
        let thrown = own.flat_map(|(name, module)| module.bare_throws.iter().map(move |at| (name, module, *at)));
        thrown
            .map(|(name, module, at)| Problem::at(&self.display(name), &module.source, at, MESSAGE).help(HELP))
            .collect()
    }

    /// A module's file as the author would name it on the command line.
    pub(crate) fn display(&self, name: &str) -> String {
        let mut path = self.directory.clone();
        for part in Path::new(name).components() {
            match part {
                std::path::Component::ParentDir if path.file_name().is_some() => {
                    path.pop();
                }
                part => path.push(part),
            }
        }
        path.to_string_lossy().into_owned()
    }

    /// The problem at a line of a module's output.
    pub(crate) fn problem(&self, name: &str, output_line: usize, message: &str) -> Option<Problem> {
        let module = self.modules.get(name)?;
        let line = usize::try_from(*module.lines.get(output_line.checked_sub(1)?)?).ok()?;
        let start: usize = module.source.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let text = module.source.get(start..)?;
        let indent = text.len() - text.trim_start_matches([' ', '\t']).len();
        let offset = u32::try_from(start + indent).ok()?;
        Some(Problem::at(&self.display(name), &module.source, offset, message))
    }
}

/// The path from the entry's directory, with slashes.
fn name_of(root: &Path, path: &Path) -> String {
    let shared = root
        .components()
        .zip(path.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = root.components().skip(shared).map(|_| "..".to_owned());
    let down = path
        .components()
        .skip(shared)
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// Finds files as TypeScript's bundlers do: extensions may be left out, and `./a.js` may mean `./a.ts`.
fn resolver() -> Resolver {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    Resolver::new(ResolveOptions {
        condition_names: names(&["import", "module", "default"]),
        main_fields: names(&["module", "main"]),
        extensions: names(&[".ts", ".mts", ".js", ".mjs", ".json"]),
        extension_alias: vec![
            (".js".to_owned(), names(&[".js", ".ts"])),
            (".mjs".to_owned(), names(&[".mjs", ".mts"])),
        ],
        ..ResolveOptions::default()
    })
}

fn not_found(file: &str, source: &str, import: &Import) -> Problem {
    let specifier = &import.specifier;
    let problem = |message: String| Problem::at(file, source, import.offset, message);
    let package = specifier.strip_prefix("node:").unwrap_or(specifier);
    if specifier.starts_with('.') || specifier.starts_with('/') {
        problem(format!("there is no file `{specifier}`"))
    } else if specifier.starts_with("node:") || nodejs_built_in_modules::is_nodejs_builtin_module(package) {
        problem(format!(
            "`{specifier}` belongs to Node, and a handler has neither files nor a network nor processes"
        ))
        .help("use what `parlance-handlers` exports; data that never changes can be a .json file that you import")
    } else if specifier.starts_with("parlance-handlers/") {
        problem(format!("`{specifier}` is internal")).help("import from `parlance-handlers`")
    } else if let Some(known) = wit::in_this_version(specifier) {
        problem(format!(
            "`{specifier}` is not the version of the interface that this builder knows"
        ))
        .help(format!("import from `parlance-handlers`, or write `{known}`"))
    } else if specifier.starts_with("parlance:") {
        problem(format!("`{specifier}` is not an interface that a handler may call"))
            .help("import from `parlance-handlers`")
    } else {
        problem(format!("the package `{specifier}` is not there"))
            .help("install it (`npm install`), or import a file of your own: './NAME.js'")
    }
}

fn is_common_js(source: &str) -> bool {
    source.contains("module.exports") || source.contains("exports.")
}

/// A JSON file as a module. The runtime reports what is not JSON when it evaluates the module.
fn json_module(source: String) -> Module {
    Module {
        code: format!("export default {source}"),
        lines: (1..).take(source.lines().count() + 1).collect(),
        exports: vec![Export {
            name: "default".to_owned(),
            offset: 0,
        }],
        source,
        imports: Vec::new(),
        bare_throws: Vec::new(),
    }
}
