//! Encodes a WIT package in its binary form, as registries keep it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wit_parser::Resolve;

use crate::{Built, component};

/// Encodes the WIT package in the `.wit` files of a directory. The output is `<out_dir>/<namespace>-<name>.wasm`, from
/// which `wasm-tools component wit` or `wkg` gives the text back, with its comments.
///
/// # Errors
/// When the files are not a package, or the output cannot be written.
pub fn encode_wit(directory: &Path, out_dir: &Path) -> Result<Built> {
    let mut resolve = Resolve::default();
    let (id, _) = resolve
        .push_dir(directory)
        .with_context(|| format!("{} is not a WIT package", directory.display()))?;
    let bytes = wit_component::encode(&resolve, id)?;
    let name = &resolve.packages.get(id).context("the package that was just read")?.name;
    let package = format!("{}-{}", name.namespace, name.name);
    fs::create_dir_all(out_dir).with_context(|| format!("cannot make {}", out_dir.display()))?;
    let path = out_dir.join(format!("{package}.wasm"));
    let changed = component::write(&path, &bytes)?;
    Ok(Built {
        package,
        path,
        size: bytes.len(),
        changed,
    })
}

#[cfg(test)]
mod tests {
    use wit_component::DecodedWasm;

    use super::*;

    #[test]
    fn the_contract_is_encoded_and_read_back_with_its_comments() {
        let directory = tempfile::tempdir().unwrap();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let built = encode_wit(&wit, directory.path()).unwrap();
        assert_eq!((built.package.as_str(), built.changed), ("parlance-chat", true));
        let DecodedWasm::WitPackage(resolve, id) = wit_component::decode(&fs::read(&built.path).unwrap()).unwrap()
        else {
            panic!("not a WIT package");
        };
        let package = &resolve.packages[id];
        assert_eq!(package.name.to_string(), "parlance:chat@0.1.0");
        let docs = &resolve.interfaces[package.interfaces["kv"]].docs;
        assert!(docs.contents.is_some());
        assert!(!encode_wit(&wit, directory.path()).unwrap().changed);
    }

    #[test]
    fn a_directory_without_a_package_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = encode_wit(&directory.path().join("none"), directory.path()).unwrap_err();
        assert!(error.to_string().contains("none is not a WIT package"), "{error}");
    }
}
