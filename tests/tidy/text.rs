//! What every file keeps to.

use std::collections::BTreeSet;

use crate::files::{self, File};
use crate::hold;

/// The longest a file may be, in lines.
const LINES: usize = 500;

/// What may lie at the top: the fixed layout, and what tools look for there. Names that begin with a dot may, too.
pub(crate) const TOP: [&str; 16] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "clippy.toml",
    "examples",
    "guest-handlers",
    "host",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "tests",
    "wit",
];

/// Written by a tool, or by a lawyer.
fn is_given(file: &File) -> bool {
    [
        "Cargo.lock",
        "package-lock.json",
        "asyncapi.json",
        "events.d.ts",
        "parlance.schema.json",
    ]
    .contains(&file.name())
        || file.path.starts_with("LICENSE-")
}

#[test]
fn files_are_small() {
    let files = files::all();
    let lines = |file: &File| file.text.lines().count();
    let long = files.iter().filter(|file| !is_given(file) && lines(file) > LINES);
    let broken: Vec<_> = long
        .map(|file| format!("{}: {} lines", file.path, lines(file)))
        .collect();
    hold("A file of more than 500 lines asks to be two.", &broken);
}

#[test]
fn the_top_level_is_fixed() {
    let paths = files::paths();
    let top: BTreeSet<&str> = paths.iter().filter_map(|path| path.split('/').next()).collect();
    let stray = top.iter().filter(|name| !name.starts_with('.') && !TOP.contains(name));
    hold(
        "The top level is fixed.",
        &stray.map(|name| (*name).to_owned()).collect::<Vec<_>>(),
    );
    assert!(top.contains("README.md") && top.contains("host"), "{top:?}");
}

#[test]
fn no_registry_is_named() {
    // In pieces, so that this file does not name them.
    let hosts = [
        concat!("crates", ".io"),
        concat!("npm", "js."),
        concat!("pypi", ".org"),
        concat!("python", "hosted"),
        concat!("registry", ".npm"),
        concat!("registry", ".yarnpkg"),
        concat!("deb.", "debian.org"),
        concat!("archive.", "ubuntu.com"),
        concat!("static.", "rust-lang.org"),
    ];
    let mut broken = Vec::new();
    for file in files::all() {
        // Cargo writes the name of its index into its lock files, whichever mirror is in use.
        let index = concat!("\"registry+https://github.com/rust-lang/crates", ".io-index\"");
        let text = if file.name() == "Cargo.lock" {
            file.text.replace(index, "")
        } else {
            file.text
        };
        for host in hosts {
            let lines = text.lines().zip(1..).filter(|(line, _)| line.contains(host));
            broken.extend(lines.map(|(_, number)| format!("{}:{number}: {host}", file.path)));
        }
    }
    hold("Which registry or mirror is used is the machine's business.", &broken);
}

#[test]
fn npm_lock_files_name_no_place() {
    let locks: Vec<File> = files::all()
        .into_iter()
        .filter(|file| file.name() == "package-lock.json")
        .collect();
    assert!(locks.len() > 1, "the lock files are gone");
    let named = locks.iter().filter(|file| file.text.contains("\"resolved\""));
    hold(
        "npm's lock files are written with omit-lockfile-registry-resolved.",
        &named.map(|file| file.path.clone()).collect::<Vec<_>>(),
    );
}

#[test]
fn no_path_of_a_machine_is_named() {
    // In pieces, so that this file does not name them.
    let homes = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
    ];
    let mut broken = Vec::new();
    for file in files::all() {
        for (line, number) in file.text.lines().zip(1..) {
            for home in homes {
                // `https://host/home/` and `a/work/b` are no paths of a machine.
                let begins = |at: usize| {
                    let before = line.get(..at).unwrap_or_default().chars().next_back();
                    before.is_none_or(|before| {
                        !before.is_alphanumeric() && !['.', '-', '_', '}', ')', '*'].contains(&before)
                    })
                };
                if line.match_indices(home).any(|(at, _)| begins(at)) {
                    broken.push(format!("{}:{number}: {home}", file.path));
                }
            }
        }
    }
    hold("A file works wherever it lies.", &broken);
}

/// Such a comment can be read only with the one before it.
#[test]
fn no_doc_comment_begins_with_the_same() {
    let begins = |line: &str| {
        let line = line.trim_start();
        let comment = ["///", "//!"].iter().find_map(|mark| line.strip_prefix(mark));
        comment.is_some_and(|text| text.trim_start().starts_with("The same"))
    };
    let mut broken = Vec::new();
    for file in files::all().iter().filter(|file| file.is("rs")) {
        let mut before = "";
        for (line, number) in file.text.lines().zip(1..) {
            // A sentence may go on with these words.
            let goes_on = before.trim_start().starts_with("//") && !before.trim_end().ends_with('.');
            if begins(line) && !goes_on {
                broken.push(format!("{}:{number}", file.path));
            }
            before = line;
        }
    }
    hold("A doc comment names its subject.", &broken);
}
