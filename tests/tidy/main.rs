//! What `ARCHITECTURE.md` claims of the sources, held: who may use whom, who may name which library, and what every
//! file keeps to. Each rule reads the files as they lie there; a rule that finds nothing to check fails too.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod files;
mod source;

mod code;
mod modules;
mod names;
mod packages;
mod pages;
mod tasks;
mod text;
mod wit;

/// Fails with every place at which the rule is broken.
#[track_caller]
fn hold(rule: &str, broken: &[String]) {
    assert!(
        broken.is_empty(),
        "{rule}\n{} broken:\n  {}\n",
        broken.len(),
        broken.join("\n  ")
    );
}
