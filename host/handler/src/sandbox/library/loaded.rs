//! Libraries whose code is loaded.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
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

/// The libraries of components in use.
#[derive(Default)]
pub(in crate::sandbox) struct Libraries(Mutex<HashMap<LibraryDigest, Weak<LoadedLibrary>>>);

impl Libraries {
    /// All of them, which stay while they are held.
    pub(in crate::sandbox) fn in_use(&self) -> Vec<Arc<LoadedLibrary>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }

    pub(in crate::sandbox) fn get(&self, digest: &LibraryDigest) -> Option<Arc<LoadedLibrary>> {
        self.0.lock().get(digest).and_then(Weak::upgrade)
    }

    /// Adds a library. If another component has brought the same one meanwhile, that one is taken.
    pub(in crate::sandbox) fn intern(&self, library: LoadedLibrary) -> Arc<LoadedLibrary> {
        let mut all = self.0.lock();
        if let Some(same) = all.get(&library.digest).and_then(Weak::upgrade) {
            return same;
        }
        let library = Arc::new(library);
        all.retain(|_, other| other.strong_count() > 0);
        all.insert(library.digest, Arc::downgrade(&library));
        library
    }
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
