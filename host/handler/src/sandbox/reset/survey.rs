//! Finds out whether the instances of a component can be put back to their first state, and where that state is.
//!
//! What an instance of WebAssembly can change is its memories, its mutable globals, its tables, which of its segments it
//! has dropped, and the handles that its component holds (Core Specification, "Store"; Component Model, "Canonical
//! ABI"). A component qualifies if it has one memory, and if nothing in it changes a table, drops a segment or has to do
//! with handles. So memory and globals are all that is left.

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind as Kind, ComponentOuterAliasKind,
    ComponentType, ComponentTypeDeclaration, ComponentTypeRef, ExternalKind, Instance, InstanceTypeDeclaration,
    Operator, Parser, Payload, TypeBounds, TypeRef, ValType,
};

use super::NAME_PREFIX;
use super::shifts::MODULES_MAX;
use crate::sandbox::engine::CORE_INSTANCES_PER_COMPONENT;

/// Most bytes of the memory of an instance that is put back. Finding changed pages takes longer in a larger one.
const MEMORY_MAX: u64 = 2 << 20;
/// Bytes of a page of WebAssembly.
const WASM_PAGE: u64 = 1 << 16;
/// Most mutable globals of a component.
const GLOBALS_MAX: usize = 64;

/// A core module of a component, and what an instance of it can change.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Where its bytes are within the component.
    pub(super) range: std::ops::Range<usize>,
    /// Whether it defines the component's memory, which is its memory number 0.
    pub(super) has_memory: bool,
    /// The number and the type of each mutable global that it defines.
    pub(super) globals: Vec<(u32, ValType)>,
    /// The core instance that is made of it.
    pub(super) instance: Option<u32>,
}

impl Module {
    /// Whether an instance of it can change at all.
    pub(super) fn has_state(&self) -> bool {
        self.has_memory || !self.globals.is_empty()
    }
}

/// How many definitions of each kind a component has, which gives the numbers of those that are added.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) core_instances: u32,
    pub(super) core_functions: u32,
    pub(super) core_memories: u32,
    pub(super) types: u32,
    pub(super) functions: u32,
}

/// A component that qualifies.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) modules: Vec<Module>,
    /// How many core instances are made of modules.
    instantiated: u32,
    pub(super) counts: Counts,
}

/// Why the instances of a component cannot be put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// It does not parse; compiling it says why.
    #[error("it cannot be read")]
    Malformed,
    #[error("it has no memory, or more than one, or one that is too large")]
    Memory,
    #[error("it has more mutable globals than {GLOBALS_MAX}, or one that holds a reference")]
    Globals,
    #[error("it has code that changes a table or drops a segment")]
    Code,
    #[error("it has to do with resources or with asynchronous functions")]
    Handles,
    #[error("it imports WASI, whose random numbers a guest may read while it is instantiated")]
    Wasi,
    #[error("it is composed in a way that hides its core instances")]
    Composition,
    #[error("it uses a name that begins with \"{NAME_PREFIX}\"")]
    Name,
}

impl From<wasmparser::BinaryReaderError> for Unfit {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed
    }
}

/// Reads a component.
///
/// # Errors
/// Why it does not qualify.
pub(super) fn survey(bytes: &[u8]) -> Result<Survey, Unfit> {
    let mut survey = Survey::default();
    // How many components and modules the parser is in.
    let mut depth = 0_u32;
    let mut in_module = None;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        match (&payload, &mut in_module) {
            (Payload::ModuleSection { unchecked_range, .. }, _) => {
                // A nested component with code of its own would have instances that the outer one cannot name.
                if depth != 1 {
                    return Err(Unfit::Composition);
                }
                in_module = Some(ModuleReader::at(unchecked_range.clone()));
            }
            (Payload::Version { .. }, _) => depth += 1,
            (Payload::End(_), module) => {
                depth = depth.saturating_sub(1);
                if let Some(read) = module.take() {
                    survey.modules.push(read.module);
                }
            }
            (_, Some(module)) => module.read(payload)?,
            (_, None) if depth == 1 => survey.read(payload)?,
            (_, None) => check_nested(payload)?,
        }
    }
    survey.check()
}

impl Survey {
    /// Reads a section of the component itself.
    fn read(&mut self, payload: Payload<'_>) -> Result<(), Unfit> {
        let counts = &mut self.counts;
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let module = self
                            .modules
                            .get_mut(usize::try_from(module_index).unwrap_or(usize::MAX));
                        let module = module.ok_or(Unfit::Composition)?;
                        if module.has_state() && module.instance.is_some() {
                            return Err(Unfit::Composition);
                        }
                        module.instance = Some(counts.core_instances);
                        self.instantiated += 1;
                    }
                    counts.core_instances += 1;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    match alias? {
                        ComponentAlias::CoreInstanceExport { kind, name, .. } => {
                            check_name(name)?;
                            match kind {
                                ExternalKind::Func => counts.core_functions += 1,
                                ExternalKind::Memory => counts.core_memories += 1,
                                _ => {}
                            }
                        }
                        ComponentAlias::InstanceExport { kind, .. } => counts.count(kind)?,
                        ComponentAlias::Outer { kind, .. } => match kind {
                            ComponentOuterAliasKind::Type => counts.types += 1,
                            ComponentOuterAliasKind::CoreModule => return Err(Unfit::Composition),
                            ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Component => {}
                        },
                    }
                }
            }
            Payload::ComponentTypeSection(section) => {
                for kind in section {
                    check_type(&kind?)?;
                    counts.types += 1;
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    if import.name.name.starts_with("wasi:") {
                        return Err(Unfit::Wasi);
                    }
                    check_reference(&import.ty)?;
                    counts.count(import.ty.kind())?;
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    check_name(export.name.name)?;
                    counts.count(export.kind)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    let options = match function? {
                        CanonicalFunction::Lift { options, .. } => {
                            counts.functions += 1;
                            options
                        }
                        CanonicalFunction::Lower { options, .. } => {
                            counts.core_functions += 1;
                            options
                        }
                        _ => return Err(Unfit::Handles),
                    };
                    if options
                        .iter()
                        .any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_)))
                    {
                        return Err(Unfit::Handles);
                    }
                }
            }
            Payload::ComponentStartSection { .. } => return Err(Unfit::Composition),
            _ => {}
        }
        Ok(())
    }

    fn check(self) -> Result<Self, Unfit> {
        let stateful = || self.modules.iter().filter(|module| module.has_state());
        if stateful().filter(|module| module.has_memory).count() != 1 {
            return Err(Unfit::Memory);
        }
        if stateful().count() > MODULES_MAX {
            return Err(Unfit::Composition);
        }
        if stateful().map(|module| module.globals.len()).sum::<usize>() > GLOBALS_MAX {
            return Err(Unfit::Globals);
        }
        // The one that is added needs a place too.
        if self.instantiated >= CORE_INSTANCES_PER_COMPONENT {
            return Err(Unfit::Composition);
        }
        // A module of which there is no instance has no state, and its code never runs.
        if stateful().any(|module| module.instance.is_none()) {
            return Err(Unfit::Composition);
        }
        Ok(self)
    }
}

impl Counts {
    /// Counts a definition that comes from an import, an export or another instance.
    fn count(&mut self, kind: Kind) -> Result<(), Unfit> {
        match kind {
            Kind::Type => self.types += 1,
            Kind::Func => self.functions += 1,
            Kind::Module | Kind::Value => return Err(Unfit::Composition),
            Kind::Instance | Kind::Component => {}
        }
        Ok(())
    }
}

/// Reads a section of a nested component: it may have types and functions, but no code and no instances of any.
fn check_nested(payload: Payload<'_>) -> Result<(), Unfit> {
    match payload {
        Payload::InstanceSection(_) | Payload::ComponentCanonicalSection(_) | Payload::ComponentStartSection { .. } => {
            Err(Unfit::Composition)
        }
        Payload::ComponentTypeSection(section) => section.into_iter().try_for_each(|kind| check_type(&kind?)),
        Payload::ComponentImportSection(section) => {
            section.into_iter().try_for_each(|import| check_reference(&import?.ty))
        }
        Payload::ComponentExportSection(section) => section
            .into_iter()
            .try_for_each(|export| export?.ty.as_ref().map_or(Ok(()), check_reference)),
        _ => Ok(()),
    }
}

fn check_type(kind: &ComponentType<'_>) -> Result<(), Unfit> {
    match kind {
        // Handles have a type of their own for each resource, and a resource is defined or imported somewhere.
        ComponentType::Resource { .. } => Err(Unfit::Handles),
        ComponentType::Func(function) if function.async_ => Err(Unfit::Handles),
        ComponentType::Defined(_) | ComponentType::Func(_) => Ok(()),
        ComponentType::Component(declarations) => declarations.iter().try_for_each(|declaration| match declaration {
            ComponentTypeDeclaration::Type(kind) => check_type(kind),
            ComponentTypeDeclaration::Export { ty, .. } => check_reference(ty),
            ComponentTypeDeclaration::Import(import) => check_reference(&import.ty),
            ComponentTypeDeclaration::CoreType(_) | ComponentTypeDeclaration::Alias(_) => Ok(()),
        }),
        ComponentType::Instance(declarations) => declarations.iter().try_for_each(|declaration| match declaration {
            InstanceTypeDeclaration::Type(kind) => check_type(kind),
            InstanceTypeDeclaration::Export { ty, .. } => check_reference(ty),
            InstanceTypeDeclaration::CoreType(_) | InstanceTypeDeclaration::Alias(_) => Ok(()),
        }),
    }
}

fn check_reference(reference: &ComponentTypeRef) -> Result<(), Unfit> {
    match reference {
        ComponentTypeRef::Type(TypeBounds::SubResource) => Err(Unfit::Handles),
        ComponentTypeRef::Module(_) | ComponentTypeRef::Value(_) => Err(Unfit::Composition),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), Unfit> {
    if name.starts_with(NAME_PREFIX) {
        return Err(Unfit::Name);
    }
    Ok(())
}

/// Reads a core module.
struct ModuleReader {
    module: Module,
    globals: u32,
}

impl ModuleReader {
    fn at(range: std::ops::Range<usize>) -> Self {
        Self {
            module: Module {
                range,
                ..Module::default()
            },
            globals: 0,
        }
    }

    fn read(&mut self, payload: Payload<'_>) -> Result<(), Unfit> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    match import?.ty {
                        // Another module of the component defines it, with its state.
                        TypeRef::Global(_) => self.globals += 1,
                        TypeRef::Func(_) | TypeRef::Table(_) | TypeRef::Memory(_) => {}
                        TypeRef::Tag(_) | TypeRef::FuncExact(_) => return Err(Unfit::Code),
                    }
                }
            }
            Payload::MemorySection(section) => {
                if section.count() > 1 || self.module.has_memory {
                    return Err(Unfit::Memory);
                }
                for memory in section {
                    let memory = memory?;
                    let is_plain = !memory.memory64 && !memory.shared && memory.page_size_log2.is_none();
                    if !is_plain || memory.initial == 0 || memory.initial > MEMORY_MAX / WASM_PAGE {
                        return Err(Unfit::Memory);
                    }
                    self.module.has_memory = true;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let kind = global?.ty;
                    if kind.mutable {
                        if matches!(kind.content_type, ValType::Ref(_)) || kind.shared {
                            return Err(Unfit::Globals);
                        }
                        self.module.globals.push((self.globals, kind.content_type));
                    }
                    self.globals += 1;
                }
            }
            Payload::ExportSection(section) => section.into_iter().try_for_each(|export| check_name(export?.name))?,
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    if changes_more(&operator?) {
                        return Err(Unfit::Code);
                    }
                }
            }
            Payload::TagSection(_) => return Err(Unfit::Code),
            _ => {}
        }
        Ok(())
    }
}

/// Whether an instruction can change anything besides memory and globals. `memory.grow` is found out afterwards.
fn changes_more(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::TableSet { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. }
            | Operator::DataDrop { .. }
            | Operator::TableAtomicSet { .. }
            | Operator::TableAtomicRmwXchg { .. }
            | Operator::TableAtomicRmwCmpxchg { .. }
    )
}
