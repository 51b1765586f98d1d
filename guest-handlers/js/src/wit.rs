//! The WIT of the handlers' interfaces, and the world of a component.

use std::path::Path;

use anyhow::{Context, Result};
use wit_parser::{Resolve, SourceMap, WorldId};

include!(concat!(env!("OUT_DIR"), "/wit.rs"));

/// The package and its version, as the component names them.
const PACKAGE: &str = "parlance:chat";
const VERSION: &str = "0.1.0";

/// The interfaces that a component may import.
const CAPABILITIES: &[&str] = &[
    "ambient",
    "broadcast",
    "identity",
    "kv",
    "log",
    "members",
    "messages",
    "moderate",
    "presence",
    "refusal",
    "requests",
    "revise",
    "rooms",
    "settings",
    "timers",
];

/// Whether this is the name of an interface that a component may import.
pub(crate) fn is_capability(name: &str) -> bool {
    CAPABILITIES.iter().any(|interface| name == import_name(interface))
}

/// The name by which an interface is imported that this one names in another version, or without one.
pub(crate) fn in_this_version(name: &str) -> Option<String> {
    let interface = name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split('@').next()?;
    CAPABILITIES.contains(&interface).then(|| import_name(interface))
}

/// An interface's name as JavaScript imports it.
pub(crate) fn import_name(interface: &str) -> String {
    format!("{PACKAGE}/{interface}@{VERSION}")
}

/// The worlds of a component's parts.
pub(crate) struct Worlds {
    pub(crate) resolve: Resolve,
    /// What the component imports and exports.
    pub(crate) component: WorldId,
    /// What the library in `support.wat` imports.
    pub(crate) support: WorldId,
}

/// The worlds for a component that exports these interfaces, from the embedded WIT or from that in `directory`.
pub(crate) fn worlds(directory: Option<&Path>, exports: &[&str]) -> Result<Worlds> {
    let mut resolve = Resolve::default();
    if let Some(directory) = directory {
        resolve
            .push_dir(directory)
            .with_context(|| format!("the WIT in {} cannot be read", directory.display()))?;
    } else {
        let mut files = SourceMap::new();
        for (name, source) in FILES {
            files.push_str(name, *source);
        }
        let group = files
            .parse()
            .map_err(|(_, error)| error)
            .context("the embedded WIT is wrong")?;
        resolve.push_group(group).context("the embedded WIT is wrong")?;
    }
    let exports: String = exports
        .iter()
        .map(|name| format!("export {}; ", import_name(name)))
        .collect();
    let source = format!(
        "package parlance:js;
         world component {{ include {PACKAGE}/capabilities@{VERSION}; {exports} }}
         world support {{ import {}; }}",
        import_name("settings")
    );
    let package = resolve
        .push_source("component.wit", &source)
        .context("the WIT lacks an interface; is it that of this version of Parlance?")?;
    Ok(Worlds {
        component: resolve.select_world(&[package], Some("component"))?,
        support: resolve.select_world(&[package], Some("support"))?,
        resolve,
    })
}
