//! Builds Parlance handler components of JavaScript and TypeScript.
//!
//! [`build`] takes a source file whose exported functions are the handlers, with all that it imports. Nothing else is
//! needed: the QuickJS runtime, the WIT and the package `parlance-handlers` are in this library.

mod component;
mod entry;
mod graph;
mod handlers;
mod kit;
mod problem;
mod runtime;
mod transform;
mod wit;

use std::path::Path;

pub use component::Error;
pub use kit::write as write_kit;
pub use problem::{Problem, Problems};

/// A component, and what its author may want to mend in the sources.
#[derive(Debug)]
pub struct Built {
    /// The component's bytes.
    pub component: Vec<u8>,
    /// What can be built and is probably a mistake.
    pub warnings: Vec<Problem>,
}

/// Builds the component of the source file `entry`.
///
/// `wit` is a directory with the WIT of another version of Parlance; without it the library's own is used. `cache` is an
/// absolute directory for the compiled runtime, which shortens a build from seconds to a fraction of one.
///
/// # Errors
/// If the sources have problems, with all that were found, or the component cannot be made.
pub fn build(entry: &Path, wit: Option<&Path>, cache: Option<&Path>) -> Result<Built, Error> {
    let graph = graph::Graph::load(entry)?;
    let handlers = handlers::find(&graph)?;
    let warnings = graph.warnings();
    let component = component::build(graph, &handlers, wit, cache)?;
    Ok(Built { component, warnings })
}
