//! Finds scenario files and runs them.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::case;
use super::environment::{BuildSource, Environment, ShippedHandlers};
use super::file::ScenarioFile;
use super::parse::Document;
use super::report::{CaseReport, FileReport};
use super::tree::NodePath;
use super::update;

/// Most files of a run.
const FILES_MAX: usize = 10_000;
/// The endings of scenario files.
const ENDINGS: [&str; 2] = ["yaml", "yml"];

/// How scenarios run.
#[derive(Clone, Default)]
pub struct Options {
    /// Only cases whose name contains this run.
    pub filter: Option<String>,
    /// Expectations that do not hold are rewritten in the files.
    pub update: bool,
    /// The directory of compiled components. Without one, each run compiles anew.
    pub cache: Option<PathBuf>,
    /// Makes components of sources. Without it, a handler must be a component.
    pub build: Option<BuildSource>,
    /// The shipped handlers, which come with the server. Without them, an event that one of them would take is an error.
    pub shipped: Option<ShippedHandlers>,
}

/// Runs scenario files. It compiles each component once.
pub struct Runner {
    environment: Environment,
    options: Options,
}

impl Runner {
    /// Sets up the sandbox.
    ///
    /// # Errors
    /// When that fails, or another user may write to the directory of compiled components.
    pub fn new(options: Options) -> Result<Self> {
        Ok(Self {
            environment: Environment::new(options.cache.as_deref(), options.build.clone(), options.shipped)?,
            options,
        })
    }

    /// Runs the cases of a file, and updates the file if that is asked for.
    pub fn run(&self, path: &Path) -> FileReport {
        let mut report = FileReport::new(path);
        let document = match Document::read(path) {
            Ok(document) => document,
            Err(problem) => {
                report.problem = Some(problem);
                return report;
            }
        };
        let is_asked = |name: &str| self.options.filter.as_ref().is_none_or(|part| name.contains(part));
        let mut fixes = Vec::new();
        for (at, case) in document
            .file
            .cases
            .iter()
            .enumerate()
            .filter(|(_, case)| is_asked(&case.name))
        {
            let started = Instant::now();
            match case::run(&self.environment, &document, at) {
                Ok(run) => {
                    fixes.extend(run.fixes);
                    report.cases.push(CaseReport {
                        name: case.name.clone(),
                        line: document.tree.line_of(&NodePath::default().key("cases").item(at)),
                        took: started.elapsed(),
                        differences: run.differences,
                        further: run.further,
                    });
                }
                Err(problem) => {
                    report.problem = Some(problem);
                    return report;
                }
            }
        }
        if self.options.update && !fixes.is_empty() {
            match update::rewritten(&document, &fixes).and_then(|text| Ok(std::fs::write(path, text)?)) {
                Ok(()) => report.set_updated(fixes.len()),
                Err(error) => report.problem = Some(document.problem(&NodePath::default(), format!("{error:#}"))),
            }
        }
        report
    }

    /// The files that a scenario file depends on: itself and its components.
    #[must_use]
    pub fn watched(path: &Path) -> Vec<PathBuf> {
        let mut watched = vec![path.to_owned()];
        if let Ok(document) = Document::read(path) {
            let specs = document.file.handlers.values();
            watched.extend(specs.filter_map(|spec| Environment::source(spec, document.base())));
        }
        watched
    }

    /// Reads the components again that come from files, since they may have changed.
    pub fn reload(&self) {
        self.environment.forget_files();
    }
}

/// The scenario files that paths name: files, directories with everything in them, and patterns such as
/// `scenarios/*.yaml`.
///
/// # Errors
/// When a path names none, or they name too many.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            collect(path, &mut found)?;
        } else if path.is_file() {
            found.push(path.clone());
        } else {
            let pattern = path
                .to_str()
                .with_context(|| format!("{} is not a path in UTF-8", path.display()))?;
            let matched = glob::glob(pattern).with_context(|| format!("{pattern} is not a pattern"))?;
            for file in matched {
                found.push(file.context("a directory cannot be read")?);
            }
        }
        if found.len() == before {
            bail!("{} names no scenario file (.yaml or .yml)", path.display());
        }
        if found.len() > FILES_MAX {
            bail!("these are more than {FILES_MAX} scenario files");
        }
    }
    found.dedup();
    Ok(found)
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("{} cannot be read", directory.display()))?;
    let mut entries = entries.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links are not followed: they may lead round in a circle.
        if entry.file_type()?.is_dir() {
            collect(&path, found)?;
        } else if ENDINGS
            .iter()
            .any(|ending| path.extension().is_some_and(|own| own == *ending))
        {
            found.push(path);
        }
        if found.len() > FILES_MAX {
            break;
        }
    }
    Ok(())
}

/// The JSON Schema of a scenario file, with which editors complete and check one.
#[must_use]
pub fn schema() -> Value {
    schemars::schema_for!(ScenarioFile).to_value()
}
