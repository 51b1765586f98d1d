//! Counts the instances, memories and tables of a component before it is compiled, and refuses too many.
//!
//! A component may instantiate nested components any number of times, and those may do the same: a few hundred bytes
//! can stand for millions of instances, each of which costs memory wherever the compiled code is loaded. So this
//! follows the instantiations as the compiler would, and stops as soon as there are too many.

use std::collections::BTreeMap;
use std::rc::Rc;

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind as Kind, ComponentInstance, ComponentOuterAliasKind,
    Encoding, Instance, Parser, Payload,
};

use crate::sandbox::engine::{CORE_INSTANCES_PER_COMPONENT, MEMORIES_PER_COMPONENT, TABLES_PER_COMPONENT};
use crate::sandbox::load::LoadError;

/// Most component instances in a component. A composed component has some tens.
const COMPONENT_INSTANCES_MAX: usize = 1000;
/// Most definitions, aliases and exports, each counted as often as its component is instantiated.
const DEFINITIONS_MAX: u32 = 1_000_000;
/// Most names that an instance exports, including the names of the instances among them. Loading the code stores each
/// name separately, even if one instance is exported many times. An interface has some tens.
const EXPORTED_NAMES_MAX: u32 = 10_000;
/// Deepest nesting of components.
const NESTING_MAX: usize = 100;
/// How the message of a [`ComponentLimitError::TooMany`] begins.
pub(super) const TOO_MANY: &str = "the component is made of too many parts";

/// Why a component is refused before it is compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ComponentLimitError {
    /// It has more of something than the pool provides for one component.
    #[error("{TOO_MANY}: with those of the components in it, it has more than {max} {what}")]
    TooMany {
        /// Of what there are too many.
        what: &'static str,
        /// The limit.
        max: u32,
    },
    /// It cannot be parsed. The compiler's message might be better, but the compiler must not see such a component.
    #[error("{0}")]
    Malformed(String),
}

impl ComponentLimitError {
    pub(super) fn into_load_error(self) -> LoadError {
        match self {
            Self::TooMany { .. } => LoadError::TooMany(self.to_string()),
            Self::Malformed(why) => LoadError::Compile(why),
        }
    }
}

impl From<BinaryReaderError> for ComponentLimitError {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Counts the component's instances, memories and tables.
///
/// # Errors
/// When there are too many, or the component cannot be read.
pub(super) fn check(bytes: &[u8]) -> Result<(), ComponentLimitError> {
    let root = Rc::new(read(bytes)?);
    let exports = InstanceCounter::default().instantiate(&root, &BTreeMap::new(), None)?;
    instance(exports).map(drop)
}

/// Memories and tables that a core module defines.
#[derive(Debug, Clone, Copy, Default)]
struct Module {
    memories: u32,
    tables: u32,
}

/// A component's definitions, in the order in which they are written.
type Definition = Vec<Item>;

/// A definition in a component that matters for counting.
enum Item {
    Module(Module),
    Component(Rc<Definition>),
    CoreInstance(Option<u32>),
    Instantiate(u32, Vec<(String, Kind, u32)>),
    FromExports(Vec<(String, Kind, u32)>),
    AliasExport(Kind, u32, String),
    AliasOuter(ComponentOuterAliasKind, u32, u32),
    Import(Kind, String),
    Export(Kind, String, u32),
}

fn read(bytes: &[u8]) -> Result<Definition, ComponentLimitError> {
    // The components that are being read, outermost first, and the core module that is being read, if the parser is in
    // one.
    let mut open: Vec<Definition> = Vec::new();
    let mut module: Option<Module> = None;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let Some(counted) = &mut module {
            match payload {
                Payload::MemorySection(section) => counted.memories = counted.memories.saturating_add(section.count()),
                Payload::TableSection(section) => counted.tables = counted.tables.saturating_add(section.count()),
                Payload::End(_) => {
                    let counted = *counted;
                    module = None;
                    if let Some(inner) = open.last_mut() {
                        inner.push(Item::Module(counted));
                    }
                }
                _ => {}
            }
            continue;
        }
        match payload {
            Payload::Version {
                encoding: Encoding::Component,
                ..
            } => {
                if open.len() >= NESTING_MAX {
                    let (what, max) = (
                        "components one in the other",
                        u32::try_from(NESTING_MAX).unwrap_or(u32::MAX),
                    );
                    return Err(ComponentLimitError::TooMany { what, max });
                }
                open.push(Vec::new());
            }
            Payload::Version { .. } => module = Some(Module::default()),
            Payload::End(_) => {
                let Some(done) = open.pop() else { break };
                match open.last_mut() {
                    Some(outer) => outer.push(Item::Component(Rc::new(done))),
                    None => return Ok(done),
                }
            }
            other => {
                if let Some(inner) = open.last_mut() {
                    read_section(other, inner)?;
                }
            }
        }
    }
    Err(ComponentLimitError::Malformed(
        "the component ends too early".to_owned(),
    ))
}

fn read_section(payload: Payload<'_>, items: &mut Definition) -> Result<(), ComponentLimitError> {
    match payload {
        Payload::InstanceSection(section) => {
            for instance in section {
                items.push(Item::CoreInstance(match instance? {
                    Instance::Instantiate { module_index, .. } => Some(module_index),
                    Instance::FromExports(_) => None,
                }));
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section {
                items.push(match instance? {
                    ComponentInstance::Instantiate { component_index, args } => {
                        let args = args.iter().map(|arg| (arg.name.to_owned(), arg.kind, arg.index));
                        Item::Instantiate(component_index, args.collect())
                    }
                    ComponentInstance::FromExports(exports) => {
                        let exports = exports
                            .iter()
                            .map(|export| (export.name.name.to_owned(), export.kind, export.index));
                        Item::FromExports(exports.collect())
                    }
                });
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section {
                match alias? {
                    ComponentAlias::InstanceExport {
                        kind,
                        instance_index,
                        name,
                    } => items.push(Item::AliasExport(kind, instance_index, name.to_owned())),
                    ComponentAlias::Outer { kind, count, index } => items.push(Item::AliasOuter(kind, count, index)),
                    // Functions, memories and tables of instances that are counted already.
                    ComponentAlias::CoreInstanceExport { .. } => {}
                }
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section {
                let import = import?;
                items.push(Item::Import(import.ty.kind(), import.name.name.to_owned()));
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section {
                let export = export?;
                items.push(Item::Export(export.kind, export.name.name.to_owned(), export.index));
            }
        }
        _ => {}
    }
    Ok(())
}

/// A definition that an index of a component refers to.
#[derive(Clone)]
enum Value {
    Module(Module),
    /// A nested component, with the number of the scope in which it is defined.
    Component(Rc<Definition>, usize),
    /// With the number of names that it exports, those of the instances among them included.
    Instance(Rc<Exports>, u32),
    /// It comes from the host, or is not counted.
    Unknown,
}

type Exports = BTreeMap<String, Value>;
type NamedItems = [(String, Kind, u32)];

/// The index spaces of a component instance.
#[derive(Default)]
struct Scope {
    modules: Vec<Value>,
    components: Vec<Value>,
    instances: Vec<Value>,
    outer: Option<usize>,
}

/// The counts so far.
#[derive(Default)]
struct InstanceCounter {
    /// One for each component instance. They stay, since definitions in one may be used after it is complete.
    scopes: Vec<Scope>,
    core_instances: u32,
    memories: u32,
    tables: u32,
    steps: u32,
}

impl InstanceCounter {
    fn instantiate(
        &mut self,
        definition: &Rc<Definition>,
        imports: &Exports,
        outer: Option<usize>,
    ) -> Result<Exports, ComponentLimitError> {
        let scope = self.scopes.len();
        if scope >= COMPONENT_INSTANCES_MAX {
            let (what, max) = (
                "instances of components",
                u32::try_from(COMPONENT_INSTANCES_MAX).unwrap_or(u32::MAX),
            );
            return Err(ComponentLimitError::TooMany { what, max });
        }
        self.scopes.push(Scope {
            outer,
            ..Scope::default()
        });
        let mut exports = Exports::new();
        for item in definition.iter() {
            self.count_definitions(1)?;
            match item {
                Item::Module(module) => self.define(scope, Kind::Module, Value::Module(*module)),
                Item::Component(inner) => self.define(scope, Kind::Component, Value::Component(inner.clone(), scope)),
                Item::CoreInstance(module) => self.core_instance(scope, *module)?,
                Item::Instantiate(component, args) => {
                    let args = self.gather(scope, args)?;
                    let made = match self.get(scope, Kind::Component, *component) {
                        Value::Component(inner, outer) => instance(self.instantiate(&inner, &args, Some(outer))?)?,
                        _ => Value::Unknown,
                    };
                    self.define(scope, Kind::Instance, made);
                }
                Item::FromExports(parts) => {
                    let made = instance(self.gather(scope, parts)?)?;
                    self.define(scope, Kind::Instance, made);
                }
                Item::AliasExport(kind, instance, name) => {
                    let value = match self.get(scope, Kind::Instance, *instance) {
                        Value::Instance(exports, _) => exports.get(name).cloned().unwrap_or(Value::Unknown),
                        _ => Value::Unknown,
                    };
                    self.define(scope, *kind, value);
                }
                Item::AliasOuter(kind, count, index) => {
                    let kind = match kind {
                        ComponentOuterAliasKind::CoreModule => Kind::Module,
                        ComponentOuterAliasKind::Component => Kind::Component,
                        ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => continue,
                    };
                    let value = self.outer(scope, *count)?.map(|outer| self.get(outer, kind, *index));
                    self.define(scope, kind, value.unwrap_or(Value::Unknown));
                }
                Item::Import(kind, name) => {
                    self.define(scope, *kind, imports.get(name).cloned().unwrap_or(Value::Unknown));
                }
                Item::Export(kind, name, index) => {
                    // An export also defines a new index.
                    let value = self.get(scope, *kind, *index);
                    self.define(scope, *kind, value.clone());
                    exports.insert(name.clone(), value);
                }
            }
        }
        Ok(exports)
    }

    fn core_instance(&mut self, scope: usize, module: Option<u32>) -> Result<(), ComponentLimitError> {
        // A core instance that only groups exports takes no slot of the pool.
        let Some(module) = module else { return Ok(()) };
        let max = CORE_INSTANCES_PER_COMPONENT;
        add(&mut self.core_instances, 1, "core instances", max)?;
        if let Value::Module(module) = self.get(scope, Kind::Module, module) {
            add(&mut self.memories, module.memories, "memories", MEMORIES_PER_COMPONENT)?;
            add(&mut self.tables, module.tables, "tables", TABLES_PER_COMPONENT)?;
        }
        Ok(())
    }

    fn space(&mut self, scope: usize, kind: Kind) -> Option<&mut Vec<Value>> {
        let scope = self.scopes.get_mut(scope)?;
        match kind {
            Kind::Module => Some(&mut scope.modules),
            Kind::Component => Some(&mut scope.components),
            Kind::Instance => Some(&mut scope.instances),
            Kind::Func | Kind::Value | Kind::Type => None,
        }
    }

    fn get(&mut self, scope: usize, kind: Kind, index: u32) -> Value {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let found = self.space(scope, kind).and_then(|space| space.get(at).cloned());
        found.unwrap_or(Value::Unknown)
    }

    fn define(&mut self, scope: usize, kind: Kind, value: Value) {
        if let Some(space) = self.space(scope, kind) {
            space.push(value);
        }
    }

    /// The scope `count` scopes further out.
    fn outer(&mut self, scope: usize, count: u32) -> Result<Option<usize>, ComponentLimitError> {
        let mut from = Some(scope);
        for _ in 0..count {
            self.count_definitions(1)?;
            from = from
                .and_then(|scope| self.scopes.get(scope))
                .and_then(|scope| scope.outer);
        }
        Ok(from)
    }

    fn gather(&mut self, scope: usize, parts: &NamedItems) -> Result<Exports, ComponentLimitError> {
        self.count_definitions(u32::try_from(parts.len()).unwrap_or(u32::MAX))?;
        let value = |(name, kind, index): &(String, Kind, u32)| (name.clone(), self.get(scope, *kind, *index));
        Ok(parts.iter().map(value).collect())
    }

    fn count_definitions(&mut self, steps: u32) -> Result<(), ComponentLimitError> {
        add(&mut self.steps, steps, "definitions", DEFINITIONS_MAX)
    }
}

/// An instance with these exports, and the number of their names in all.
fn instance(exports: Exports) -> Result<Value, ComponentLimitError> {
    let mut names = 0;
    for value in exports.values() {
        let inner = match value {
            Value::Instance(_, names) => *names,
            _ => 0,
        };
        add(
            &mut names,
            inner.saturating_add(1),
            "names that an instance exports",
            EXPORTED_NAMES_MAX,
        )?;
    }
    Ok(Value::Instance(Rc::new(exports), names))
}

fn add(sum: &mut u32, more: u32, what: &'static str, max: u32) -> Result<(), ComponentLimitError> {
    *sum = sum.saturating_add(more);
    if *sum > max {
        return Err(ComponentLimitError::TooMany { what, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
