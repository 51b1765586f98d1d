//! Builds the projects of `parlance dev`, now and whenever their sources change.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::sync::watch;

use super::Target;
use super::watcher::Watcher;
use crate::app::Builds;
use crate::cli::Failure;
use crate::cli::project::Project;

/// The exit code of `parlance build` if what it needs is missing.
const MISSING: i32 = 2;
/// Most of a builder's messages that the page shows, in bytes.
const SHOWN: usize = 16 * 1024;

/// Builds targets, and says what came of it.
pub(super) struct Builder {
    targets: Vec<Target>,
    /// `None` if there is nothing to watch.
    watcher: Option<Watcher>,
    /// Why targets do not build, by their positions.
    problems: BTreeMap<usize, String>,
    builds: watch::Sender<Builds>,
}

/// Why a project was not built, in the builder's words.
enum NotBuilt {
    /// Its sources have mistakes.
    Broken(String),
    /// What building needs is missing, or a manifest is wrong.
    Impossible(String),
}

impl Builder {
    pub(super) fn new(targets: &[Target], builds: watch::Sender<Builds>) -> Result<Self, Failure> {
        let watcher = match targets {
            [] => None,
            targets => Some(Watcher::new(targets)?),
        };
        Ok(Self {
            targets: targets.to_vec(),
            watcher,
            problems: BTreeMap::new(),
            builds,
        })
    }

    /// Builds all projects. If one does not build, waits for its sources to change and tries again.
    pub(super) fn build_all(&mut self) -> Result<(), Failure> {
        let mut left: BTreeSet<usize> = (0..self.targets.len()).collect();
        loop {
            let mut broken = BTreeSet::new();
            for at in left {
                match self.build(at) {
                    Ok(()) => {}
                    Err(NotBuilt::Broken(_)) => {
                        broken.insert(at);
                    }
                    Err(NotBuilt::Impossible(_)) => {
                        return Err(Failure::Usage("it cannot be built; the message is above".to_owned()));
                    }
                }
            }
            if broken.is_empty() {
                return Ok(());
            }
            say("the server starts when that is mended; waiting for a change");
            let changed = self.watcher.as_mut().and_then(Watcher::wait);
            let (changed, _) = changed.context("files are not watched any more")?;
            left = broken.union(&changed).copied().collect();
        }
    }

    /// Builds what changes, until the process ends.
    pub(super) fn run(mut self) {
        while let Some((changed, since)) = self.watcher.as_mut().and_then(Watcher::wait) {
            let mut is_new = false;
            for at in changed {
                match self.build(at) {
                    Ok(()) => {
                        self.problems.remove(&at);
                        is_new = true;
                    }
                    Err(NotBuilt::Broken(text) | NotBuilt::Impossible(text)) => {
                        tracing::error!("it does not build; the version before stays in service");
                        self.problems.insert(at, text);
                    }
                }
            }
            let problem = self.problems.values().next().map(|text| Arc::from(text.as_str()));
            self.builds.send_modify(|builds| {
                builds.problem = problem;
                if is_new {
                    builds.count += 1;
                    builds.since = Some(since);
                }
            });
        }
    }

    fn build(&self, at: usize) -> Result<(), NotBuilt> {
        match self.targets.get(at) {
            Some(Target::Project(project)) => build(project),
            Some(Target::Component(_)) | None => Ok(()),
        }
    }
}

/// Builds a project in a process of its own. Its messages are shown as they come.
fn build(project: &Project) -> Result<(), NotBuilt> {
    let begun = Instant::now();
    let (status, messages) = run(&project.path).map_err(|error| {
        let text = format!("{error:#}");
        say(&text);
        NotBuilt::Impossible(text)
    })?;
    match status {
        Some(0) => {
            say(&format!("built {} in {} ms", project.name, begun.elapsed().as_millis()));
            Ok(())
        }
        Some(MISSING) => Err(NotBuilt::Impossible(messages)),
        _ => Err(NotBuilt::Broken(messages)),
    }
}

/// Runs `parlance build`. Returns its exit code and its messages.
fn run(path: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let mut child = Command::new(&program)
        .args(["build", "--lines"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            let program = program.display();
            format!("{program}, which builds it, cannot be run; if it was replaced, start parlance dev again")
        })?;
    let mut messages = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line.context("the builder's messages cannot be read")?;
            let line = String::from_utf8_lossy(&line);
            say(&line);
            if messages.len() + line.len() < SHOWN {
                messages.push_str(&line);
                messages.push('\n');
            }
        }
    }
    Ok((child.wait()?.code(), messages))
}

/// Writes a line for the developer. There is no log before the server starts.
fn say(line: &str) {
    // There is nothing to do when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
