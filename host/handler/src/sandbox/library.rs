//! Libraries: core modules that work on the memory of another module of their component. An interpreter such as QuickJS or
//! CPython is one, with its code in it and its state beside it, so it has the same bytes in every handler.
//!
//! Such a module is compiled once, apart from the components that have it, which import it instead. So a new version of a
//! handler in JavaScript costs the compiler what is in its own module, and all handlers of a language share one copy of
//! its machine code. What is to be known for that is the place of each library, for backtraces.

mod kind;
mod loaded;
mod survey;

use std::ops::Range;

use sha2::{Digest as _, Sha256};
use wasm_encoder::{Component, ComponentImportSection, ComponentTypeRef, CoreTypeSection, ModuleType};

pub(super) use loaded::{LoadedLibrary, Origin};

/// How the names begin of what a component imports.
pub(super) const NAME_PREFIX: &str = "parlance-library";
/// The least module that is compiled apart, in bytes: of a smaller one there is little to share.
const LIBRARY_MIN: usize = 64 * 1024;
/// Most libraries of a component. CPython comes in three.
pub(super) const LIBRARIES_MAX: usize = 4;
/// Most functions, tables and globals of all libraries of a component, imported ones too. wasmtime keeps at most 32 bytes of
/// each in every instance, beside its memory, and bounds that for a component, not for what it imports: this is 1 MiB, as
/// much as a component may have. CPython has 14,000.
const PARTS_MAX: usize = 32 * 1024;
/// Bytes of an encoded [`Library`].
pub(super) const LIBRARY_BYTES: usize = 32 + 3 * size_of::<u32>();

/// SHA-256 of a library's bytes.
pub(super) type LibraryDigest = [u8; 32];

/// A library, and where it was in its component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Library {
    pub(super) digest: LibraryDigest,
    /// Its place, in bytes from the beginning of the component that had it.
    place: Range<u32>,
    /// Where the component that imports it goes on with what followed it.
    resumed_at: u32,
}

/// A component without its libraries.
pub(super) struct Separated {
    /// The component, which imports them.
    pub(super) component: Vec<u8>,
    /// In the order of their places.
    pub(super) libraries: Vec<Library>,
}

impl Library {
    /// The name under which a component imports the library with this number.
    pub(super) fn import_name(number: usize) -> String {
        format!("{NAME_PREFIX}-n{number}")
    }

    /// Its bytes in the component that has it.
    pub(super) fn bytes<'a>(&self, component: &'a [u8]) -> &'a [u8] {
        let place = self.place.start as usize..self.place.end as usize;
        component.get(place).unwrap_or_default()
    }

    pub(super) fn to_bytes(&self) -> [u8; LIBRARY_BYTES] {
        let mut bytes = [0; LIBRARY_BYTES];
        let numbers = [self.place.start, self.place.end, self.resumed_at].map(u32::to_le_bytes);
        let all = self.digest.iter().chain(numbers.iter().flatten());
        for (to, from) in bytes.iter_mut().zip(all) {
            *to = *from;
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; LIBRARY_BYTES]) -> Self {
        let (digest, numbers) = bytes.split_first_chunk().unwrap_or((&[0; 32], &[]));
        let (numbers, _) = numbers.as_chunks();
        let number = |at: usize| numbers.get(at).map_or(0, |bytes| u32::from_le_bytes(*bytes));
        Self {
            digest: *digest,
            place: number(0)..number(1),
            resumed_at: number(2),
        }
    }
}

/// Takes the libraries out of a component. `None` if it has none.
pub(super) fn separate(component: &[u8]) -> Option<Separated> {
    let mut rest = Vec::with_capacity(component.len());
    let mut libraries: Vec<Library> = Vec::new();
    let (mut copied, mut parts) = (0, 0);
    for module in survey::modules_used_once(component)? {
        let bytes = component.get(module.bytes.clone())?;
        if bytes.len() < LIBRARY_MIN || libraries.len() >= LIBRARIES_MAX {
            continue;
        }
        let Some(kind) = kind::of(bytes).filter(|kind| parts + kind.parts <= PARTS_MAX) else {
            continue;
        };
        let digest = Sha256::digest(bytes).into();
        // A backtrace could not tell two of the same code apart.
        if libraries.iter().any(|library| library.digest == digest) {
            continue;
        }
        parts += kind.parts;
        rest.extend_from_slice(component.get(copied..module.section)?);
        import(&mut rest, &kind.module, libraries.len());
        libraries.push(Library {
            digest,
            place: u32::try_from(module.bytes.start).ok()?..u32::try_from(module.bytes.end).ok()?,
            resumed_at: u32::try_from(rest.len()).ok()?,
        });
        copied = module.bytes.end;
    }
    rest.extend_from_slice(component.get(copied..)?);
    (!libraries.is_empty()).then_some(Separated {
        component: rest,
        libraries,
    })
}

/// Writes the sections that import a library.
fn import(component: &mut Vec<u8>, kind: &ModuleType, number: usize) {
    let mut types = CoreTypeSection::new();
    types.ty().module(kind);
    let mut imports = ComponentImportSection::new();
    let kind = ComponentTypeRef::Module(u32::try_from(number).unwrap_or(u32::MAX));
    imports.import(Library::import_name(number), kind);
    let mut sections = Component::new();
    sections.section(&types).section(&imports);
    let sections = sections.finish();
    // Without the header of a component of its own.
    component.extend_from_slice(sections.get(Component::HEADER.len()..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
