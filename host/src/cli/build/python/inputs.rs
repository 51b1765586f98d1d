//! Tells whether what a component is made of has changed since it was built, which takes many seconds.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

use super::is_of_tools;
use crate::cli::new::TEMPLATES;
use parlance_handler::sandbox::hex;

/// The file with the inputs of the last build.
const FILE: &str = "inputs";
/// Most files that are compared. A project with more is built each time.
const MAX_FILES: usize = 100_000;

/// What a component is made of, as a hash: the builder, and files by their sizes, times and paths below their directory,
/// whichever way that was named.
pub(super) struct Inputs(String);

impl Inputs {
    /// The files below `directories`, but for those of tools, and below `packages`. `None` if they cannot all be looked
    /// at.
    pub(super) fn of(builder: &str, directories: &[&Path], packages: &Path) -> Option<Self> {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update(text);
            digest.update([0]);
        };
        add(builder);
        for (path, text) in TEMPLATES {
            add(path);
            add(text);
        }
        let mut left = MAX_FILES;
        let own = directories.iter().map(|directory| (*directory, true));
        for (directory, is_own) in own.chain(packages.is_dir().then_some((packages, false))) {
            let mut files = Vec::new();
            collect(directory, is_own, left, &mut files).ok()?;
            left = left.saturating_sub(files.len());
            files.sort();
            add("directory");
            files.iter().for_each(|file| add(file));
        }
        Some(Self(hex(&digest.finalize())))
    }

    /// Whether the component is what the last build has made of these inputs.
    pub(super) fn are_built(&self, work: &Path, component: &Path) -> bool {
        let kept = fs::read_to_string(work.join(FILE)).ok();
        kept.is_some() && kept == self.with(component)
    }

    /// Notes that the component was built of these inputs.
    pub(super) fn keep(&self, work: &Path, component: &Path) -> io::Result<()> {
        fs::write(work.join(FILE), self.with(component).unwrap_or_default())
    }

    fn with(&self, component: &Path) -> Option<String> {
        Some(format!("{}\n{}\n", self.0, stamp(&fs::metadata(component).ok()?)))
    }
}

/// Collects the files below a directory, at most `max`, each with its size and time. What Python compiles while it runs is
/// left out, and so are directories of tools among the author's own.
fn collect(directory: &Path, is_own: bool, max: usize, files: &mut Vec<String>) -> io::Result<()> {
    let mut left: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let data = fs::metadata(&path)?;
        if data.is_dir() {
            let is_skipped = path.ends_with("__pycache__") || (is_own && is_of_tools(&path));
            if path == directory || !is_skipped {
                for entry in fs::read_dir(&path)? {
                    left.push(entry?.path());
                }
            }
        } else if files.len() < max {
            let name = path.strip_prefix(directory).unwrap_or(&path);
            files.push(format!("{} {}", name.display(), stamp(&data)));
        } else {
            return Err(io::Error::other("too many files"));
        }
    }
    Ok(())
}

/// A file's size and the time of its last change.
fn stamp(data: &Metadata) -> String {
    let time = data
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{} {:?}", data.len(), time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_built_until_one_of_its_inputs_or_itself_changes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for path in ["src/target", "packages/target", "packages/__pycache__", "work"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for file in ["src/handler.py", "src/words.txt", "packages/target/one.py", "component"] {
            fs::write(at(file), "1").unwrap();
        }
        let inputs = || Inputs::of("builder 1", &[&at("src")], &at("packages")).unwrap();
        assert!(!inputs().are_built(&at("work"), &at("component")), "there was no build");
        inputs().keep(&at("work"), &at("component")).unwrap();
        let is_built = || inputs().are_built(&at("work"), &at("component"));
        assert!(is_built());
        fs::write(at("src/target/made"), "by a tool").unwrap();
        fs::write(at("packages/__pycache__/one.pyc"), "by Python").unwrap();
        assert!(is_built());
        let by_another_path = Inputs::of("builder 1", &[&at("work/../src")], &at("packages")).unwrap();
        assert!(by_another_path.are_built(&at("work"), &at("component")));
        for file in [
            "src/handler.py",
            "src/words.txt",
            "src/new.py",
            "packages/target/one.py",
            "component",
        ] {
            let before = fs::read(at(file)).ok();
            fs::write(at(file), "22").unwrap();
            assert!(!is_built(), "{file}");
            match before {
                Some(bytes) => fs::write(at(file), bytes).unwrap(),
                None => fs::remove_file(at(file)).unwrap(),
            }
            inputs().keep(&at("work"), &at("component")).unwrap();
        }
        let other = Inputs::of("builder 2", &[&at("src")], &at("packages")).unwrap();
        assert!(!other.are_built(&at("work"), &at("component")));
        fs::remove_file(at("component")).unwrap();
        assert!(!is_built());
    }
}
