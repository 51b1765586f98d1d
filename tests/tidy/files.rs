//! The repository's files: those that are checked in, and those that would be with `git add`.

use std::fs;
use std::path::Path;

use ignore::WalkBuilder;

/// A text file.
pub(crate) struct File {
    /// From the top of the repository, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Whether the file's name ends with a dot and this.
    pub(crate) fn is(&self, ending: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, own)| own == ending)
    }

    /// The name without the directories.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// The top of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every path but directories, whatever the file holds. A link's target counts once, where it lies.
pub(crate) fn paths() -> Vec<String> {
    // The files that git ignores count as absent also where there is no git: in an unpacked archive.
    let walk = WalkBuilder::new(root())
        .hidden(false)
        .require_git(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    let mut paths = Vec::new();
    for entry in walk {
        let entry = entry.unwrap();
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            paths.push(entry.path().strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
    paths.sort();
    paths
}

/// Every text file.
pub(crate) fn all() -> Vec<File> {
    let read = |path: String| {
        let bytes = fs::read(root().join(&path)).unwrap();
        // Pictures are no text.
        String::from_utf8(bytes).ok().map(|text| File { path, text })
    };
    let files: Vec<File> = paths().into_iter().filter_map(read).collect();
    assert!(files.len() > 100, "the repository is not where the tests look for it");
    files
}

/// One file that must be there.
pub(crate) fn one(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
