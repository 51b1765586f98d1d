//! Which packages a crate builds, as cargo says.

use std::collections::BTreeSet;
use std::process::Command;

use crate::{files, hold};

/// Packages of the server that tests of a handler do without.
const SERVER_ONLY: [&str; 10] = [
    "axum",
    "deadpool-postgres",
    "engineioxide",
    "parlance",
    "parlance-shipped",
    "redis",
    "refinery",
    "rusqlite",
    "socketioxide",
    "tokio-postgres",
];

/// The packages that are built for this one, its own development dependencies apart.
fn built_for(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--package", package, "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(files::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn tests_of_handlers_build_no_server() {
    let built = built_for("parlance-testing");
    assert!(built.contains("wasmtime"), "parlance-testing builds {built:?}");
    let server = built_for("parlance");
    let unknown = SERVER_ONLY.iter().filter(|name| !server.contains(**name));
    let unknown: Vec<_> = unknown.map(|name| (*name).to_owned()).collect();
    hold("The list names packages that the server builds.", &unknown);
    let broken = SERVER_ONLY.iter().filter(|name| built.contains(**name));
    let broken: Vec<_> = broken.map(|name| (*name).to_owned()).collect();
    hold("parlance-testing builds nothing of the server's own.", &broken);
}
