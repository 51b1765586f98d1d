//! What a library is to a component that imports it.

use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{EntityType, ModuleType};
use wasmparser::{ExternalKind, Parser, Payload, RefType, TypeRef, ValType};

/// What a library is to a component that imports it.
pub(super) struct Kind {
    pub(super) module: ModuleType,
    /// How many functions, tables and globals it has, imported ones too.
    pub(super) parts: usize,
}

/// The kind of a module, if it is a library.
pub(super) fn of(module: &[u8]) -> Option<Kind> {
    let mut kind = ModuleType::new();
    let mut kinds = Kinds::default();
    let mut imports_memory = false;
    let reencode = &mut RoundtripReencoder;
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::TypeSection(section) => {
                for function in section.into_iter_err_on_gc_types() {
                    let function = function.ok()?;
                    let mut values = function.params().iter().chain(function.results());
                    if !values.all(|value| is_plain(*value)) {
                        return None;
                    }
                    kind.ty().func_type(&reencode.func_type(function).ok()?);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.ok()?;
                    imports_memory |= matches!(import.ty, TypeRef::Memory(_));
                    if !is_plain_import(import.ty) {
                        return None;
                    }
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
                    let table = table.ok()?.ty;
                    if !is_plain(ValType::Ref(table.element_type)) {
                        return None;
                    }
                    kinds.push(EntityType::Table(reencode.table_type(table).ok()?))?;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global.ok()?.ty;
                    if !is_plain(global.content_type) {
                        return None;
                    }
                    kinds.push(EntityType::Global(reencode.global_type(global).ok()?))?;
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
    imports_memory.then(|| Kind {
        module: kind,
        parts: kinds.functions.len() + kinds.tables.len() + kinds.globals.len(),
    })
}

/// Whether a type is that of a number, or of any function. wasmtime cannot describe an import by a reference to a type of
/// the module's own.
fn is_plain(kind: ValType) -> bool {
    !matches!(kind, ValType::Ref(reference) if reference != RefType::FUNCREF)
}

fn is_plain_import(kind: TypeRef) -> bool {
    match kind {
        TypeRef::Table(table) => is_plain(ValType::Ref(table.element_type)),
        TypeRef::Global(global) => is_plain(global.content_type),
        TypeRef::Func(_) | TypeRef::Memory(_) => true,
        TypeRef::Tag(_) | TypeRef::FuncExact(_) => false,
    }
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
