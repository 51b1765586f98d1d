//! Finds the modules of a component that could be imported instead.

use std::collections::BTreeMap;
use std::ops::Range;

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Instance, Parser, Payload,
    Validator, WasmFeatures,
};

/// A core module that the component itself has.
pub(super) struct Module {
    /// Where its section begins.
    pub(super) section: usize,
    pub(super) bytes: Range<usize>,
}

/// The modules of a component that it instantiates once and does nothing else with. `None` if the component is not valid,
/// code aside, or if an import would change more than the module: the numbers of its types or modules.
pub(super) fn modules_used_once(component: &[u8]) -> Option<Vec<Module>> {
    let mut modules = Vec::new();
    let mut instances: BTreeMap<u32, u32> = BTreeMap::new();
    // An import brings a type, which something invalid could then refer to.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    // Where the section ends that was read last.
    let (mut depth, mut end) = (0_usize, 0);
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.ok()?;
        validator.payload(&payload).ok()?;
        match &payload {
            Payload::Version { range, .. } => {
                if depth == 0 {
                    end = range.end;
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    if names_a_module(&alias.ok()?) {
                        return None;
                    }
                }
            }
            Payload::ModuleSection { unchecked_range, .. } if depth == 1 => modules.push(Module {
                section: end,
                bytes: unchecked_range.clone(),
            }),
            Payload::CoreTypeSection(_) if depth == 1 => return None,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section.clone() {
                    if import.ok()?.ty.kind() == ComponentExternalKind::Module {
                        return None;
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section.clone() {
                    if export.ok()?.kind == ComponentExternalKind::Module {
                        return None;
                    }
                }
            }
            Payload::ComponentInstanceSection(section) if depth == 1 => {
                for instance in section.clone() {
                    if takes_a_module(&instance.ok()?) {
                        return None;
                    }
                }
            }
            Payload::InstanceSection(section) if depth == 1 => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance.ok()? {
                        *instances.entry(module_index).or_default() += 1;
                    }
                }
            }
            _ => {}
        }
        // The parts of a nested component or module end before its section does.
        if let Some((_, section)) = payload.as_section() {
            end = end.max(section.end);
        }
    }
    let is_used_once = |number| instances.get(&number) == Some(&1);
    let modules = (0..).zip(modules).filter(|(number, _)| is_used_once(*number));
    Some(modules.map(|(_, module)| module).collect())
}

fn names_a_module(alias: &ComponentAlias<'_>) -> bool {
    match alias {
        ComponentAlias::Outer { kind, .. } => *kind == ComponentOuterAliasKind::CoreModule,
        ComponentAlias::InstanceExport { kind, .. } => *kind == ComponentExternalKind::Module,
        ComponentAlias::CoreInstanceExport { .. } => false,
    }
}

fn takes_a_module(instance: &ComponentInstance<'_>) -> bool {
    match instance {
        ComponentInstance::Instantiate { args, .. } => args.iter().any(|arg| arg.kind == ComponentExternalKind::Module),
        ComponentInstance::FromExports(exports) => exports
            .iter()
            .any(|export| export.kind == ComponentExternalKind::Module),
    }
}
