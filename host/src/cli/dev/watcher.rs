//! Watches the files that components are made of.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Target;
use crate::cli::Failure;
use crate::config::USUAL_FILE;

/// How long no file may change before a build begins: editors write a file in several steps, which take less.
const QUIET: Duration = Duration::from_millis(15);
/// How long changes without a pause may delay a build.
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// Directories of tools, whose files are no sources.
const OF_TOOLS: [&str; 4] = ["target", "node_modules", "dist", "__pycache__"];

/// Watches targets.
pub(super) struct Watcher {
    watcher: RecommendedWatcher,
    events: Receiver<notify::Result<Event>>,
    targets: Vec<Watched>,
}

/// The files of a target.
struct Watched {
    /// The directory, or the component itself.
    path: PathBuf,
    /// The extensions of its files; empty for a component.
    extensions: &'static [&'static str],
}

impl Watcher {
    pub(super) fn new(targets: &[Target]) -> Result<Self, Failure> {
        let (sender, events) = channel();
        let watcher = notify::recommended_watcher(sender).context("files cannot be watched")?;
        let mut watched = Vec::new();
        for target in targets {
            let (path, extensions) = match target {
                Target::Component(path) => (path, &[][..]),
                Target::Project(project) => (&project.directory, project.language.extensions()),
            };
            let path = path.canonicalize().with_context(|| path.display().to_string())?;
            watched.push(Watched { path, extensions });
        }
        let mut all = Self {
            watcher,
            events,
            targets: watched,
        };
        for at in 0..all.targets.len() {
            all.watch_target(at).context("files cannot be watched")?;
        }
        Ok(all)
    }

    fn watch_target(&mut self, at: usize) -> notify::Result<()> {
        let Some(target) = self.targets.get(at) else {
            return Ok(());
        };
        let path = target.path.clone();
        if target.extensions.is_empty() {
            // The file itself is replaced by each build.
            let directory = path.parent().unwrap_or(&path);
            return self.watcher.watch(directory, RecursiveMode::NonRecursive);
        }
        self.watch_directory(&path)
    }

    /// Watches a directory and those in it, except those of tools, which have too many files.
    fn watch_directory(&mut self, directory: &Path) -> notify::Result<()> {
        self.watcher.watch(directory, RecursiveMode::NonRecursive)?;
        // A directory that is gone meanwhile needs no watch.
        let Ok(entries) = fs::read_dir(directory) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_of_tools(&entry.file_name()) {
                self.watch_directory(&path)?;
            }
        }
        Ok(())
    }

    /// Waits for changes. Returns the targets whose files have changed, by their positions, and when the first did; none
    /// if there can be no more.
    pub(super) fn wait(&mut self) -> Option<(BTreeSet<usize>, Instant)> {
        loop {
            let first = self.events.recv().ok()?;
            let mut changed = self.changed(first);
            if changed.is_empty() {
                continue;
            }
            let begun = Instant::now();
            while begun.elapsed() < LONGEST_DELAY {
                match self.events.recv_timeout(QUIET) {
                    Ok(event) => changed.append(&mut self.changed(event)),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            return Some((changed, begun));
        }
    }

    fn changed(&mut self, event: notify::Result<Event>) -> BTreeSet<usize> {
        let all = || (0..self.targets.len()).collect();
        // Some changes may have been lost.
        let Ok(event) = event else { return all() };
        if event.need_rescan() {
            return all();
        }
        let matters = match event.kind {
            // A file that was written has been closed; before that it is in the middle of being written.
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
            EventKind::Modify(ModifyKind::Metadata(_)) | EventKind::Any | EventKind::Other => false,
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
        };
        if !matters {
            return BTreeSet::new();
        }
        let is_new = matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_));
        for path in event.paths.iter().filter(|path| is_new && path.is_dir()) {
            let name = path.file_name().unwrap_or_default();
            if !is_of_tools(name) && self.targets.iter().any(|target| target.has(path)) {
                // Fails if the directory is gone already.
                let _ = self.watch_directory(path);
            }
        }
        let is_of = |target: &Watched| event.paths.iter().any(|path| target.is_made_of(path));
        (0..)
            .zip(&self.targets)
            .filter(|(_, target)| is_of(target))
            .map(|(at, _)| at)
            .collect()
    }
}

impl Watched {
    fn has(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.path);
        below.is_ok_and(|below| !below.iter().any(is_of_tools))
    }

    fn is_made_of(&self, path: &Path) -> bool {
        if self.extensions.is_empty() {
            return path == self.path;
        }
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        // The configuration is read at the start only.
        let is_config = path.file_name() == Some(OsStr::new(USUAL_FILE));
        self.has(path) && self.extensions.contains(&extension) && !is_config
    }
}

/// Whether a directory or file is of a tool: hidden ones are, such as an editor's.
fn is_of_tools(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') || OF_TOOLS.contains(&&*name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::project::Project;

    #[test]
    fn only_sources_count() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("src")).unwrap();
        fs::write(directory.path().join("src/handler.py"), "").unwrap();
        fs::write(directory.path().join("pyproject.toml"), "[project]\nname = \"polls\"\n").unwrap();
        let project = Project::find(directory.path()).unwrap().unwrap();
        let mut watcher = Watcher::new(&[Target::Project(project)]).unwrap();
        for other in ["parlance.db", "notes.md", "src/.handler.py.swp", "parlance.toml"] {
            fs::write(directory.path().join(other), "x").unwrap();
        }
        fs::create_dir_all(directory.path().join("src/deep/er")).unwrap();
        // The last change: were another one counted, it would be alone in its answer.
        fs::write(directory.path().join("src/handler.py"), "x").unwrap();
        let (changed, _) = watcher.wait().unwrap();
        assert_eq!(changed, BTreeSet::from([0]));
        let mut of_others = Vec::new();
        while let Ok(event) = watcher.events.try_recv() {
            of_others.extend(watcher.changed(event));
        }
        assert!(of_others.is_empty());
        fs::write(directory.path().join("src/deep/er/words.py"), "x").unwrap();
        assert!(watcher.wait().is_some(), "a new directory is watched");
    }
}
