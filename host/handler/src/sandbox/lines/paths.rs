//! Names source files for people: below the directory of their project, crate or library.

use super::table::PATH_MAX;

/// Where cargo and rustc keep sources of others, each with the number of directories below it that say nothing to a
/// reader: the registry's index, and the compiler's commit.
const SOURCES: [(&str, usize); 3] = [("/registry/src/", 1), ("/git/checkouts/", 0), ("/rustc/", 1)];

/// What stands for the beginning of a path that is too long.
const CUT: &str = "…";

/// A file's path, of which the last [`PATH_MAX`] bytes are kept. `directory` is where its compiler ran.
pub(super) fn shown(path: &str, directory: &str) -> String {
    let path = of_others(path).unwrap_or_else(|| below(path, directory));
    if path.len() <= PATH_MAX {
        return path.to_owned();
    }
    let from = path.ceil_char_boundary(path.len().saturating_sub(PATH_MAX.saturating_sub(CUT.len())));
    format!("{CUT}{}", path.get(from..).unwrap_or_default())
}

/// The path below a well-known directory of sources, so `serde-1.0.228/src/lib.rs` or `library/core/src/option.rs`.
fn of_others(path: &str) -> Option<&str> {
    SOURCES.iter().find_map(|(place, skipped)| {
        let (_, rest) = path.split_once(place)?;
        rest.splitn(skipped.saturating_add(1), '/').nth(*skipped)
    })
}

fn below<'a>(path: &'a str, directory: &str) -> &'a str {
    let directory = Some(directory.trim_end_matches('/')).filter(|directory| !directory.is_empty());
    let rest = directory.and_then(|directory| path.strip_prefix(directory)?.strip_prefix('/'));
    let path = rest.unwrap_or(path);
    path.strip_prefix("./").unwrap_or(path)
}

/// A path that may be relative to a directory.
pub(super) fn join(directory: &str, path: &str) -> String {
    if directory.is_empty() || path.starts_with('/') {
        return path.to_owned();
    }
    format!("{}/{path}", directory.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_below_their_project_crate_or_library() {
        for (path, directory, expected) in [
            ("/guests/greeter/src/lib.rs", "/guests/greeter", "src/lib.rs"),
            ("/guests/greeter/./src/a.c", "/guests/greeter/", "src/a.c"),
            (
                "/guests/greeter-2/src/lib.rs",
                "/guests/greeter",
                "/guests/greeter-2/src/lib.rs",
            ),
            ("src/lib.rs", "", "src/lib.rs"),
            ("/src/lib.rs", "/", "/src/lib.rs"),
            (
                "/cargo/registry/src/index-1949cf8c6b5b557f/serde-1.0.228/src/lib.rs",
                "/cargo/registry/src/index-1949cf8c6b5b557f/serde-1.0.228",
                "serde-1.0.228/src/lib.rs",
            ),
            (
                "/cargo/git/checkouts/kit-1f/9b2/src/lib.rs",
                "",
                "kit-1f/9b2/src/lib.rs",
            ),
            (
                "/rustc/59807616e1/library/core/src/option.rs",
                "/rustc/59807616e1",
                "library/core/src/option.rs",
            ),
            ("/rustc/59807616e1", "", "/rustc/59807616e1"),
        ] {
            assert_eq!(shown(&join(directory, path), directory), expected);
        }
        assert_eq!(
            shown(&join("/guests/greeter", "src/lib.rs"), "/guests/greeter"),
            "src/lib.rs"
        );
    }

    #[test]
    fn of_a_long_path_the_end_stays() {
        let shown = shown(&format!("{}/src/lib.rs", "é/".repeat(100)), "");
        assert!(shown.starts_with('…') && shown.ends_with("/src/lib.rs"), "{shown}");
        assert!(shown.len() <= PATH_MAX && shown.len() > PATH_MAX - 4, "{shown}");
    }
}
