//! Libraries: core modules that work on the memory of another module of their component. An interpreter such as QuickJS or
//! CPython is one, with its code in it and its state beside it, so it has the same bytes in every handler.
//!
//! Such a module is compiled once, apart from the components that have it, which import it instead. So a new version of a
//! handler in JavaScript costs the compiler what is in its own module, and all handlers of a language share one copy of
//! its machine code. What is to be known for that is the place of each library, for backtraces.

mod loaded;

use std::ops::Range;

use sha2::{Digest as _, Sha256};
use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{Component, ComponentImportSection, ComponentTypeRef, CoreTypeSection, EntityType, ModuleType};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

pub(super) use loaded::{Libraries, LoadedLibrary, Origin};

/// The least module that is compiled apart, in bytes: of a smaller one there is little to share.
const LIBRARY_MIN: usize = 64 * 1024;
/// Most libraries of a component: CPython comes in three. wasmtime bounds what it keeps of an instance beside its memory, 1
/// MiB for a component, and for each module that it imports.
pub(super) const LIBRARIES_MAX: usize = 4;
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
        format!("parlance-library-n{number}")
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
    let mut libraries = Vec::new();
    // Up to where the component is in `rest`, and where the section ends that was read last.
    let (mut copied, mut end) = (0, 0);
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.ok()?;
        match &payload {
            Payload::Version { range, .. } => {
                if depth == 0 {
                    end = range.end;
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            // The types of libraries come first, so that their numbers are known.
            Payload::CoreTypeSection(_) if depth == 1 => return None,
            Payload::ModuleSection { unchecked_range, .. } if depth == 1 => {
                let bytes = component.get(unchecked_range.clone())?;
                let kind = (bytes.len() >= LIBRARY_MIN && libraries.len() < LIBRARIES_MAX).then(|| type_of(bytes));
                if let Some(kind) = kind.flatten() {
                    // The section's header goes too.
                    rest.extend_from_slice(component.get(copied..end)?);
                    import(&mut rest, &kind, libraries.len());
                    libraries.push(Library {
                        digest: Sha256::digest(bytes).into(),
                        place: u32::try_from(unchecked_range.start).ok()?..u32::try_from(unchecked_range.end).ok()?,
                        resumed_at: u32::try_from(rest.len()).ok()?,
                    });
                    copied = unchecked_range.end;
                }
                end = unchecked_range.end;
            }
            section if depth == 1 => {
                if let Some((_, range)) = section.as_section() {
                    end = range.end;
                }
            }
            _ => {}
        }
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

/// The type of a module, if it is a library.
fn type_of(module: &[u8]) -> Option<ModuleType> {
    let mut kind = ModuleType::new();
    let mut kinds = Kinds::default();
    let mut imports_memory = false;
    let reencode = &mut RoundtripReencoder;
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::TypeSection(section) => {
                for function in section.into_iter_err_on_gc_types() {
                    kind.ty().func_type(&reencode.func_type(function.ok()?).ok()?);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.ok()?;
                    imports_memory |= matches!(import.ty, TypeRef::Memory(_));
                    let ty = reencode.entity_type(import.ty).ok()?;
                    kinds.push(ty)?;
                    kind.import(import.module, import.name, ty);
                }
            }
            Payload::FunctionSection(section) => {
                for number in section {
                    kinds.push(EntityType::Function(number.ok()?))?;
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    kinds.push(EntityType::Table(reencode.table_type(table.ok()?.ty).ok()?))?;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    kinds.push(EntityType::Global(reencode.global_type(global.ok()?.ty).ok()?))?;
                }
            }
            // Its state would be in it.
            Payload::MemorySection(section) if section.count() > 0 => return None,
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.ok()?;
                    kind.export(export.name, kinds.get(export.kind, export.index)?);
                }
            }
            _ => {}
        }
    }
    imports_memory.then_some(kind)
}

/// What a module has of each kind, in the order of the numbers.
#[derive(Default)]
struct Kinds {
    functions: Vec<EntityType>,
    tables: Vec<EntityType>,
    memories: Vec<EntityType>,
    globals: Vec<EntityType>,
}

impl Kinds {
    fn push(&mut self, kind: EntityType) -> Option<()> {
        match kind {
            EntityType::Function(_) => self.functions.push(kind),
            EntityType::Table(_) => self.tables.push(kind),
            EntityType::Memory(_) => self.memories.push(kind),
            EntityType::Global(_) => self.globals.push(kind),
            EntityType::Tag(_) | EntityType::FunctionExact(_) => return None,
        }
        Some(())
    }

    fn get(&self, kind: ExternalKind, number: u32) -> Option<EntityType> {
        let all = match kind {
            ExternalKind::Func => &self.functions,
            ExternalKind::Table => &self.tables,
            ExternalKind::Memory => &self.memories,
            ExternalKind::Global => &self.globals,
            ExternalKind::Tag | ExternalKind::FuncExact => return None,
        };
        all.get(usize::try_from(number).ok()?).copied()
    }
}

#[cfg(test)]
mod tests;
