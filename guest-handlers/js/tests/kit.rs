//! The package `parlance-handlers`, as the program writes it into a project.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and not their helpers"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use wit_parser::{Resolve, WorldItem};

fn camel(name: &str) -> String {
    let mut parts = name.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let (head, tail) = part.split_at(1);
        name + &head.to_uppercase() + tail
    })
}

#[test]
fn the_types_have_all_that_the_wit_has() {
    let directory = tempfile::tempdir().unwrap();
    let package = directory.path().join("node_modules/parlance-handlers");
    let program = Command::new(env!("CARGO_BIN_EXE_parlance-js"))
        .arg("kit")
        .arg(&package)
        .status();
    assert!(program.unwrap().success());
    let module = |name: &str| fs::read_to_string(package.join(name)).unwrap();
    let types = [
        "index.d.ts",
        "members.d.ts",
        "moderate.d.ts",
        "requests.d.ts",
        "revise.d.ts",
    ]
    .map(module)
    .concat();
    let modules = [
        "index.js",
        "kv.js",
        "members.js",
        "moderate.js",
        "requests.js",
        "revise.js",
    ]
    .map(module)
    .concat();
    let manifest = fs::read_to_string(package.join("package.json")).unwrap();
    assert!(manifest.contains(r#""types": "index.d.ts""#));

    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let (wit, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[wit], Some("handler")).unwrap();
    let world = &resolve.worlds[world];
    let name = |item: &WorldItem| match item {
        WorldItem::Interface { id, .. } => (resolve.interfaces[*id].name.clone().unwrap(), *id),
        _ => panic!("the world has interfaces only"),
    };
    for (interface, _) in world.exports.values().map(name) {
        let handler = camel(&interface).replacen("on", "On", 1);
        assert!(types.contains(&format!("export type {handler} = ")), "{handler}");
    }
    // Globals and classes stand for these.
    let elsewhere = ["ambient", "log", "refusal", "types"];
    for (interface, id) in world.imports.values().map(name) {
        if elsewhere.contains(&interface.as_str()) {
            continue;
        }
        for function in resolve.interfaces[id].functions.keys().map(|function| camel(function)) {
            assert!(
                types.contains(&format!("{function}(")),
                "{interface}.{function} has no type"
            );
            assert!(
                modules.contains(&format!("Host.{function}")),
                "{interface}.{function} is not called"
            );
        }
    }
}
