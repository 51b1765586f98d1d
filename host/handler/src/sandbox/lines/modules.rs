//! Finds a component's core modules that carry debug information.

use std::collections::BTreeMap;
use std::ops::Range;

use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

/// How the names of DWARF's sections begin.
const PREFIX: &str = ".debug_";

/// A core module's code, and its sections of debug information.
#[derive(Default)]
pub(super) struct Module<'a> {
    /// Where its code section is in the component's file. DWARF counts addresses from its beginning.
    pub(super) code: Range<usize>,
    sections: BTreeMap<&'a str, &'a [u8]>,
}

impl<'a> Module<'a> {
    /// A section's bytes; none if the module does not have it.
    pub(super) fn section(&self, name: &str) -> &'a [u8] {
        self.sections.get(name).copied().unwrap_or_default()
    }
}

/// The modules of a component and of those in it that have debug information, in the order of the file.
///
/// # Errors
/// When the component cannot be read.
pub(super) fn find(component: &[u8]) -> Result<Vec<Module<'_>>, BinaryReaderError> {
    let mut found = Vec::new();
    // The module that is being read, if the parser is in one. None has another in it.
    let mut open: Option<Module<'_>> = None;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match (&mut open, payload) {
            (
                None,
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                },
            ) => open = Some(Module::default()),
            (Some(module), Payload::CodeSectionStart { range, .. }) => module.code = range,
            (Some(module), Payload::CustomSection(section)) if section.name().starts_with(PREFIX) => {
                module.sections.entry(section.name()).or_insert(section.data());
            }
            (Some(_), Payload::End(_)) => {
                found.extend(open.take().filter(|module| !module.sections.is_empty()));
            }
            _ => {}
        }
    }
    Ok(found)
}
