//! `parlance test [PATH…]`: runs scenario files.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parlance_handler::sandbox::EngineLimits;
use parlance_testing::scenario::{FileReport, Options, Runner, Style, files, junit, schema};

use super::{Failure, project};
use crate::config::Environment;

/// The directory of scenarios when no path is given.
pub(super) const DIRECTORY: &str = "scenarios";
/// How long `--watch` waits for further changes, since an editor or a build makes several.
const SETTLE: Duration = Duration::from_millis(50);
/// Directories that builds write to.
const BUILT: [&str; 4] = ["target", "node_modules", ".parlance", ".git"];

/// `parlance test`.
#[derive(Debug, Args)]
#[command(after_help = "\
A scenario file says what is to come of events: acknowledgements, what clients receive, messages, keys, log lines.
It runs without a server and without a network, in memory, with the server's sandbox and limits.
guest-handlers/README.md describes the files.

Examples:
  parlance test                                  every file in ./scenarios
  parlance test scenarios/slow-mode.yaml --filter 'too soon'
  parlance test --update                         rewrite expectations that do not hold any more
  parlance test --watch                          again whenever a scenario or a component changes
  parlance test --junit report.xml               for continuous integration
  parlance test --schema > scenario.schema.json  for editors

Exit codes: 0 all cases as expected, 1 some are not, 2 a file is wrong.")]
pub struct TestArgs {
    /// Scenario files, directories of them, or patterns such as 'scenarios/*.yaml' [default: scenarios].
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Run only cases whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Rewrite expectations that do not hold, and fill in empty ones (`expect: {}`). Comments stay.
    #[arg(long)]
    pub update: bool,
    /// Run again whenever a scenario or a component changes, until interrupted.
    #[arg(long, conflicts_with = "update")]
    pub watch: bool,
    /// Write a report in JUnit's format.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Print the JSON Schema of scenario files, and run nothing.
    #[arg(long, exclusive = true)]
    pub schema: bool,
}

/// Runs scenario files.
///
/// # Errors
/// When a case is not as expected, a file is wrong, or something cannot be read or written.
pub fn run(args: &TestArgs, env: &Environment, out: &mut impl Write, notes: &mut impl Write) -> Result<(), Failure> {
    if args.schema {
        return writeln!(out, "{:#}", schema())
            .context("standard output")
            .map_err(Into::into);
    }
    let runner = Runner::new(Options {
        filter: args.filter.clone(),
        update: args.update,
        // As the server's: a component that both use is compiled once.
        cache: EngineLimits::default().cache,
        build: Some(Arc::new(project::component_bytes)),
        shipped: Some(parlance_shipped::component),
    });
    let runner = runner.context("the sandbox")?;
    loop {
        let paths = files(&paths(args)).map_err(|error| Failure::Usage(format!("{error:#}")))?;
        // Before the run, so that no change during it is missed.
        let watch = args.watch.then(|| Watch::start(&paths)).transpose()?;
        let result = run_once(&runner, args, &paths, style(env), out);
        let Some(watch) = watch else { return result };
        if let Err(failure) = result {
            writeln!(notes, "{failure}").context("standard error")?;
        }
        writeln!(notes, "waiting for changes …").context("standard error")?;
        watch.wait();
        runner.reload();
    }
}

fn paths(args: &TestArgs) -> Vec<PathBuf> {
    match args.paths.as_slice() {
        [] => vec![PathBuf::from(DIRECTORY)],
        paths => paths.to_vec(),
    }
}

/// Colours on a terminal whose user does not mind them.
fn style(env: &Environment) -> Style {
    if std::io::stdout().is_terminal() && env.get("NO_COLOR").is_none_or(str::is_empty) {
        Style::Colours
    } else {
        Style::Plain
    }
}

fn run_once(
    runner: &Runner,
    args: &TestArgs,
    paths: &[PathBuf],
    style: Style,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut reports = Vec::new();
    for path in paths {
        let report = runner.run(path);
        print(&report, style, out).context("standard output")?;
        reports.push(report);
    }
    if let Some(file) = &args.junit {
        let text = junit(&reports).context("the JUnit report")?;
        std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let cases: usize = reports.iter().map(|report| report.cases.len()).sum();
    let failed: usize = reports.iter().map(FileReport::failed).sum();
    let wrong = reports.iter().filter(|report| report.problem.is_some()).count();
    let seconds = started.elapsed().as_secs_f64();
    let passed = cases - failed;
    writeln!(
        out,
        "{}: {passed} passed, {failed} failed ({seconds:.2} s)",
        count(cases, "case")
    )
    .context("standard output")?;
    if wrong > 0 {
        return Err(Failure::Usage(format!("{} wrong", are(wrong, "scenario file"))));
    }
    if failed > 0 {
        return Err(anyhow::anyhow!("{} not as expected", are(failed, "case")).into());
    }
    if cases == 0 {
        return Err(Failure::Usage(match &args.filter {
            Some(filter) => format!("no case has {filter:?} in its name"),
            None => "the files have no cases".to_owned(),
        }));
    }
    Ok(())
}

fn print(report: &FileReport, style: Style, out: &mut impl Write) -> std::io::Result<()> {
    write!(out, "{}", report.render(style))?;
    let file = report.file.display();
    if report.updated > 0 {
        writeln!(out, "{file}: {} updated", count(report.updated, "expectation"))?;
    }
    if report.problem.is_none() {
        let passed = report.cases.len() - report.failed();
        writeln!(out, "{file}: {passed} of {} passed", count(report.cases.len(), "case"))?;
    }
    out.flush()
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn are(number: usize, what: &str) -> String {
    format!("{} {}", count(number, what), if number == 1 { "is" } else { "are" })
}

/// Notices when a scenario or a component changes.
struct Watch {
    files: Vec<PathBuf>,
    changes: Receiver<Vec<PathBuf>>,
    /// Sends the changes until it is dropped.
    _watcher: RecommendedWatcher,
}

impl Watch {
    fn start(scenarios: &[PathBuf]) -> Result<Self> {
        let files: Vec<PathBuf> = scenarios.iter().flat_map(|path| Runner::watched(path)).collect();
        let (sender, changes) = channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event
                && !matches!(event.kind, EventKind::Access(_))
            {
                // Nobody listens any more once a change was seen.
                let _ = sender.send(event.paths);
            }
        })
        .context("files cannot be watched")?;
        for path in &files {
            // Editors and builds replace files, so their directories are watched. A directory is a source.
            let (directory, mode) = match path {
                path if path.is_dir() => (path.as_path(), RecursiveMode::Recursive),
                path => (parent(path), RecursiveMode::NonRecursive),
            };
            // A component that is not built has perhaps no directory yet; its scenario says so.
            if directory.exists() {
                watcher
                    .watch(directory, mode)
                    .with_context(|| format!("{} cannot be watched", directory.display()))?;
            }
        }
        Ok(Self {
            files,
            changes,
            _watcher: watcher,
        })
    }

    /// Waits for a change since the start.
    fn wait(&self) {
        while let Ok(changed) = self.changes.recv() {
            if changed.iter().any(|path| self.concerns(path)) {
                break;
            }
        }
        while self.changes.recv_timeout(SETTLE).is_ok() {}
    }

    fn concerns(&self, changed: &Path) -> bool {
        let is_built = changed
            .components()
            .any(|part| BUILT.iter().any(|built| part.as_os_str() == *built));
        let changed = absolute(changed);
        self.files.iter().any(|path| {
            let path = absolute(path);
            path == changed || (path.is_dir() && changed.starts_with(&path) && !is_built)
        })
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
