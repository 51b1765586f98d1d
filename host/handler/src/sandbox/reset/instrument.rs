//! Adds to a component what puts its instances back: exports of its memory and globals, the [`helper`], and functions of
//! the component that call it.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentSectionId, ComponentTypeSection, ComponentValType, ExportKind, ExportSection,
    InstanceSection, ModuleArg, PrimitiveValType, RawSection, SectionId, ValType,
};
use wasmparser::{ExternalKind, Parser, Payload};

use super::helper::{self, ImportedGlobal};
use super::survey::{Module, Survey, Unfit, survey};
use super::{NAME_PREFIX, RUNS};

/// Makes a component whose instances can be put back.
///
/// # Errors
/// Why that is not possible.
pub(super) fn instrument(bytes: &[u8]) -> Result<Vec<u8>, Unfit> {
    let survey = survey(bytes)?;
    let mut component = Component::new();
    let mut modules = survey.modules.iter();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        match &payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ModuleSection { .. } if depth == 1 => {
                let module = modules.next().ok_or(Unfit::Malformed)?;
                let data = bytes.get(module.range.clone()).ok_or(Unfit::Malformed)?;
                let exported = if module.has_state() {
                    export_state(data, module)?
                } else {
                    data.to_vec()
                };
                component.section(&RawSection {
                    id: ComponentSectionId::CoreModule.into(),
                    data: &exported,
                });
            }
            Payload::ComponentSection { unchecked_range, .. } if depth == 1 => {
                component.section(&RawSection {
                    id: ComponentSectionId::Component.into(),
                    data: bytes.get(unchecked_range.clone()).ok_or(Unfit::Malformed)?,
                });
            }
            section if depth == 1 => {
                if let Some((id, range)) = section.as_section() {
                    let data = bytes.get(range).ok_or(Unfit::Malformed)?;
                    component.section(&RawSection { id, data });
                }
            }
            _ => {}
        }
    }
    add_helper(&mut component, &survey)?;
    Ok(component.finish())
}

/// The name under which a module exports a global.
fn global_name(number: u32) -> String {
    format!("{NAME_PREFIX}-global-{number}")
}

/// A core module that exports its memory and its mutable globals besides what it exports already.
fn export_state(bytes: &[u8], module: &Module) -> Result<Vec<u8>, Unfit> {
    let mut exports = ExportSection::new();
    let mut parts = Vec::new();
    let mut place = None;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let Payload::ExportSection(section) = &payload {
            place = Some(parts.len());
            for export in section.clone() {
                let export = export?;
                let kind = match export.kind {
                    ExternalKind::Func => ExportKind::Func,
                    ExternalKind::Table => ExportKind::Table,
                    ExternalKind::Memory => ExportKind::Memory,
                    ExternalKind::Global => ExportKind::Global,
                    ExternalKind::Tag | ExternalKind::FuncExact => return Err(Unfit::Code),
                };
                exports.export(export.name, kind, export.index);
            }
            continue;
        }
        let Some((id, range)) = payload.as_section() else {
            continue;
        };
        // Without exports, theirs is the place before the first section that comes after them.
        let follows = [
            SectionId::Start,
            SectionId::Element,
            SectionId::DataCount,
            SectionId::Code,
            SectionId::Data,
        ];
        if place.is_none() && follows.iter().any(|section| u8::from(*section) == id) {
            place = Some(parts.len());
        }
        parts.push((id, bytes.get(range).ok_or(Unfit::Malformed)?));
    }
    if module.has_memory {
        exports.export(helper::MEMORY, ExportKind::Memory, 0);
    }
    for (number, _) in &module.globals {
        exports.export(&global_name(*number), ExportKind::Global, *number);
    }
    let place = place.unwrap_or(parts.len());
    let mut encoded = wasm_encoder::Module::new();
    for (number, (id, data)) in parts.iter().enumerate() {
        if number == place {
            encoded.section(&exports);
        }
        encoded.section(&RawSection { id: *id, data });
    }
    if place == parts.len() {
        encoded.section(&exports);
    }
    Ok(encoded.finish())
}

/// Adds the helper, its instance, and the component's functions that call it.
fn add_helper(component: &mut Component, survey: &Survey) -> Result<(), Unfit> {
    let counts = &survey.counts;
    let stateful: Vec<(String, u32, &Module)> = survey
        .modules
        .iter()
        .filter(|module| module.has_state())
        .filter_map(|module| {
            module
                .instance
                .map(|instance| (format!("instance-{instance}"), instance, module))
        })
        .collect();
    let memory = stateful.iter().find(|(_, _, module)| module.has_memory);
    let (memory, memory_instance, _) = memory.ok_or(Unfit::Memory)?;
    let mut globals = Vec::new();
    for (instance, _, module) in &stateful {
        for (number, kind) in &module.globals {
            globals.push(ImportedGlobal {
                instance: instance.clone(),
                name: global_name(*number),
                kind: value_type(*kind)?,
            });
        }
    }
    component.section(&RawSection {
        id: ComponentSectionId::CoreModule.into(),
        data: &helper::encode(memory, &globals),
    });
    let mut instances = InstanceSection::new();
    let arguments: Vec<_> = stateful
        .iter()
        .map(|(name, instance, _)| (name.as_str(), ModuleArg::Instance(*instance)))
        .collect();
    let module = u32::try_from(survey.modules.len()).unwrap_or(u32::MAX);
    instances.instantiate(module, arguments);
    component.section(&instances);

    let mut aliases = ComponentAliasSection::new();
    aliases.alias(Alias::CoreInstanceExport {
        instance: *memory_instance,
        kind: ExportKind::Memory,
        name: helper::MEMORY,
    });
    for name in helper::FUNCTIONS {
        aliases.alias(Alias::CoreInstanceExport {
            instance: counts.core_instances,
            kind: ExportKind::Func,
            name,
        });
    }
    component.section(&aliases);

    // The list of bytes, and the types of `save`, `mend`, `aim` and `restore`.
    let mut types = ComponentTypeSection::new();
    let bytes = ComponentValType::Type(counts.types);
    let number = ComponentValType::Primitive(PrimitiveValType::U32);
    types.defined_type().list(PrimitiveValType::U8);
    types
        .function()
        .params::<[(&str, ComponentValType); 0], _>([])
        .result(Some(bytes));
    types
        .function()
        .params::<[(&str, ComponentValType); 0], _>([])
        .result(Some(ComponentValType::Primitive(PrimitiveValType::U64)));
    types
        .function()
        .params(PARAMETERS.map(|name| (name, number)))
        .result(None);
    types
        .function()
        .params(PARAMETERS.map(|name| (name, bytes)))
        .result(None);
    component.section(&types);

    let [save, mend, aim, realloc, restore] = [0, 1, 2, 3, 4].map(|number: u32| counts.core_functions + number);
    let memory = CanonicalOption::Memory(counts.core_memories);
    let mut functions = CanonicalFunctionSection::new();
    functions.lift(save, counts.types + 1, [memory]);
    functions.lift(mend, counts.types + 2, []);
    functions.lift(aim, counts.types + 3, []);
    functions.lift(restore, counts.types + 4, [memory, CanonicalOption::Realloc(realloc)]);
    component.section(&functions);

    let mut exports = ComponentExportSection::new();
    for (name, number) in EXPORTS.into_iter().zip(counts.functions..) {
        exports.export(name, ComponentExportKind::Func, number, None);
    }
    component.section(&exports);
    Ok(())
}

/// The parameters of `aim` and `restore`: one for each run of pages.
const PARAMETERS: [&str; RUNS] = ["a", "b", "c", "d"];

/// The functions that the component exports: `save`, `mend`, `aim` and `restore`.
pub(super) const EXPORTS: [&str; 4] = [
    "parlance-reset-save",
    "parlance-reset-mend",
    "parlance-reset-aim",
    "parlance-reset-restore",
];

fn value_type(kind: wasmparser::ValType) -> Result<ValType, Unfit> {
    Ok(match kind {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(_) => return Err(Unfit::Globals),
    })
}
