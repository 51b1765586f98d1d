//! Keeps the environment of an outer cargo from an inner one.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// Removes from the command's environment what an outer cargo, rustup or make has set for its own build: flags,
/// wrappers, target directories, the chosen toolchain. So a guest built by a build script equals one built by hand.
///
/// Variables that describe the machine stay: the directories of cargo and rustup, access to registries, terminal
/// settings.
pub fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if is_of_outer_build(&name) {
            command.env_remove(name);
        }
    }
    command
}

/// The target directory that the environment asks cargo for (`CARGO_TARGET_DIR`), if it does.
#[must_use]
pub fn target_dir() -> Option<PathBuf> {
    std::env::var_os("CARGO_TARGET_DIR")
        .filter(|directory| !directory.is_empty())
        .map(PathBuf::from)
}

fn is_of_outer_build(name: &OsStr) -> bool {
    const OF_THE_MACHINE: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_TERM_",
    ];
    const BY_PREFIX: [&str; 5] = ["CARGO_", "RUSTC", "RUSTDOC", "RUSTFLAGS", "DEP_"];
    /// `MAKEFLAGS` names the file descriptors of a job server, for which an inner cargo would wait.
    const BY_NAME: [&str; 11] = [
        "CARGO",
        "DEBUG",
        "HOST",
        "MAKEFLAGS",
        "MFLAGS",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTUP_TOOLCHAIN",
        "TARGET",
    ];
    let Some(name) = name.to_str() else { return false };
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    BY_NAME.contains(&name) || (starts(&BY_PREFIX) && !starts(&OF_THE_MACHINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outer_builds_settings_go() {
        for name in [
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
        ] {
            assert!(is_of_outer_build(OsStr::new(name)), "{name}");
        }
        assert!(is_of_outer_build(OsStr::new("RUSTUP_TOOLCHAIN")));
    }

    #[test]
    fn the_machines_settings_stay() {
        for name in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_TERM_COLOR",
            "RUSTUP_HOME",
            "RUSTUP_AUTO_INSTALL",
            "PATH",
        ] {
            assert!(!is_of_outer_build(OsStr::new(name)), "{name}");
        }
    }
}
