//! Libraries whose code is loaded.

use std::sync::Arc;

use wasmtime::Module;

use super::{Library, LibraryDigest};
use crate::sandbox::reset::Shifts;

/// The code of a library, which the components share that have it.
pub(in crate::sandbox) struct LoadedLibrary {
    pub(in crate::sandbox) digest: LibraryDigest,
    pub(in crate::sandbox) module: Module,
    /// Bytes of its compiled code.
    pub(in crate::sandbox) code_bytes: usize,
}

/// Where code is in the author's component, of code whose place is known in what was compiled.
#[derive(Default)]
pub(in crate::sandbox) struct Origin {
    /// What was added to the component.
    pub(in crate::sandbox) shifts: Shifts,
    /// What was taken out of it then.
    pub(in crate::sandbox) libraries: Vec<(Library, Arc<LoadedLibrary>)>,
}

impl Origin {
    /// The offset in the author's component, of an offset in what the module was compiled from.
    pub(in crate::sandbox) fn offset(&self, module: &Module, offset: usize) -> usize {
        let code = module.image_range();
        let mut libraries = self.libraries.iter();
        let with_libraries = match libraries.find(|(_, loaded)| loaded.module.image_range() == code) {
            Some((library, _)) => library.place.start as usize + offset,
            None => self.before_separation(offset),
        };
        self.shifts.original(with_libraries)
    }

    /// Where a byte was of the component that imports its libraries.
    fn before_separation(&self, offset: usize) -> usize {
        let places = self.libraries.iter().map(|(library, _)| library);
        let before = places.rev().find(|library| library.resumed_at as usize <= offset);
        before.map_or(offset, |library| {
            library.place.end as usize + (offset - library.resumed_at as usize)
        })
    }
}
