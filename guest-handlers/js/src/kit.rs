//! The package `parlance-handlers`: what handlers import, embedded in this program.

use std::path::Path;
use std::{fs, io};

use crate::wit;

/// The files that authors get: the types, and the modules, to look things up.
const PACKAGE: &[(&str, &str)] = &[
    ("package.json", include_str!("../kit/package.json")),
    ("index.d.ts", include_str!("../kit/index.d.ts")),
    ("globals.d.ts", include_str!("../kit/globals.d.ts")),
    ("members.d.ts", include_str!("../kit/members.d.ts")),
    ("moderate.d.ts", include_str!("../kit/moderate.d.ts")),
    ("requests.d.ts", include_str!("../kit/requests.d.ts")),
    ("revise.d.ts", include_str!("../kit/revise.d.ts")),
];

/// The name that handlers import.
const NAME: &str = "parlance-handlers";

/// The kit's modules, by the name under which they import each other.
const MODULES: &[(&str, &str)] = &[
    ("index.js", include_str!("../kit/index.js")),
    ("async.js", include_str!("../kit/async.js")),
    ("encoding.js", include_str!("../kit/encoding.js")),
    ("errors.js", include_str!("../kit/errors.js")),
    ("globals.js", include_str!("../kit/globals.js")),
    ("handlers.js", include_str!("../kit/handlers.js")),
    ("host.js", include_str!("../kit/host.js")),
    ("json.js", include_str!("../kit/json.js")),
    ("kv.js", include_str!("../kit/kv.js")),
    ("log.js", include_str!("../kit/log.js")),
    ("members.js", include_str!("../kit/members.js")),
    ("moderate.js", include_str!("../kit/moderate.js")),
    ("phase.js", include_str!("../kit/phase.js")),
    ("promise.js", include_str!("../kit/promise.js")),
    ("requests.js", include_str!("../kit/requests.js")),
    ("revise.js", include_str!("../kit/revise.js")),
    ("structured-clone.js", include_str!("../kit/structured-clone.js")),
    ("url.js", include_str!("../kit/url.js")),
];

/// Whether handlers may import this without a file of their own: the kit, or an interface of the host.
pub(crate) fn provides(specifier: &str) -> bool {
    specifier == NAME || wit::is_capability(specifier)
}

/// The name of the kit's module that `specifier` means.
pub(crate) fn resolve(specifier: &str) -> Option<String> {
    let file = if specifier == NAME {
        "index.js"
    } else {
        specifier.strip_prefix(NAME)?.strip_prefix('/')?
    };
    Some(format!("{NAME}/{file}"))
}

/// The source of the kit's module of this name.
pub(crate) fn module(name: &str) -> Option<&'static str> {
    let file = name.strip_prefix(NAME)?.strip_prefix('/')?;
    MODULES
        .iter()
        .find(|(name, _)| *name == file)
        .map(|(_, source)| *source)
}

/// Writes the package into `directory`, which is made: `node_modules/parlance-handlers` of a project.
///
/// # Errors
/// If a file cannot be written.
pub fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, content) in PACKAGE.iter().chain(MODULES) {
        fs::write(directory.join(name), content)?;
    }
    Ok(())
}
