//! Compares instances of generated modules. A second module in the same component, the probe, calls the functions of the
//! first one and reads its globals and tables.

use arbitrary::Unstructured;
use wasm_encoder::{
    Alias, BlockType, CanonicalFunctionSection, CodeSection, Component as Encoded, ComponentAliasSection,
    ComponentExportKind, ComponentExportSection, ComponentSectionId, ComponentTypeSection, ComponentValType,
    EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalType, HeapType, ImportSection,
    InstanceSection, InstructionSink, Module, ModuleArg, PrimitiveValType, RawSection, RefType, TableType, TypeSection,
    ValType,
};
use wasm_smith::Config;
use wasmparser::{CompositeInnerType, ExternalKind, FuncType, Parser, Payload};
use wasmtime::component::Component;

use super::{Loaded, Running, sandbox};
use crate::sandbox::reset::instrument;

/// How many modules are generated.
const SEEDS: u64 = 1500;
/// How many of them must have instances that can be put back, and were. Others change tables, for example.
const COMPARED_MIN: usize = 200;

/// What the probe does with a function, global or table of the module.
enum Probe {
    Run,
    Read,
}

/// A generated module: its bytes, and what it exports.
#[derive(Default)]
struct Generated {
    bytes: Vec<u8>,
    functions: Vec<(String, FuncType)>,
    globals: Vec<(String, wasmparser::GlobalType)>,
    tables: Vec<(String, wasmparser::TableType)>,
}

/// Numbers that depend on the seed alone (SplitMix64).
fn bytes_of(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..1500).flat_map(|_| next().to_le_bytes()).collect()
}

fn generate(seed: u64) -> Option<Generated> {
    let config = Config {
        max_imports: 0,
        min_memories: 1,
        max_memories: 1,
        max_memory32_bytes: 4 << 16,
        min_globals: 2,
        max_globals: 10,
        max_tables: 2,
        max_table_elements: 50,
        min_funcs: 2,
        max_funcs: 12,
        max_instructions: 60,
        export_everything: true,
        disallow_traps: seed.is_multiple_of(2),
        bulk_memory_enabled: seed.is_multiple_of(3),
        reference_types_enabled: seed.is_multiple_of(3),
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        threads_enabled: false,
        ..Config::default()
    };
    let bytes = bytes_of(seed);
    let mut module = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
    module.ensure_termination(1000).ok()?;
    let bytes = module.to_bytes();
    let (mut types, mut functions, mut globals, mut tables) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut generated = Generated::default();
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.unwrap() {
            Payload::TypeSection(section) => {
                for group in section {
                    for kind in group.unwrap().into_types() {
                        let CompositeInnerType::Func(kind) = kind.composite_type.inner else {
                            panic!("{kind:?}")
                        };
                        types.push(kind);
                    }
                }
            }
            Payload::FunctionSection(section) => functions.extend(section.into_iter().map(|index| index.unwrap())),
            Payload::GlobalSection(section) => globals.extend(section.into_iter().map(|global| global.unwrap().ty)),
            Payload::TableSection(section) => tables.extend(section.into_iter().map(|table| table.unwrap().ty)),
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.unwrap();
                    let (name, index) = (export.name.to_owned(), export.index as usize);
                    match export.kind {
                        ExternalKind::Func => {
                            generated
                                .functions
                                .push((name, types[functions[index] as usize].clone()));
                        }
                        ExternalKind::Global => generated.globals.push((name, globals[index])),
                        ExternalKind::Table => generated.tables.push((name, tables[index])),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    generated.bytes = bytes;
    Some(generated)
}

fn value_type(kind: wasmparser::ValType) -> ValType {
    match kind {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(kind) => ValType::Ref(reference(kind)),
    }
}

fn reference(kind: wasmparser::RefType) -> RefType {
    if kind.is_func_ref() {
        RefType::FUNCREF
    } else {
        RefType::EXTERNREF
    }
}

fn heap(kind: RefType) -> HeapType {
    kind.heap_type
}

/// Pushes an argument that depends on `number`.
fn argument(code: &mut InstructionSink<'_>, kind: ValType, number: i32) {
    let value = number.wrapping_mul(0x0123_4567);
    match kind {
        ValType::I32 => code.i32_const(value),
        ValType::I64 => code.i64_const(i64::from(value) << 20),
        ValType::F32 => code.i32_const(value).f32_reinterpret_i32(),
        ValType::F64 => code.i64_const(i64::from(value) << 30).f64_reinterpret_i64(),
        ValType::V128 => code.i32_const(value).i32x4_splat(),
        ValType::Ref(kind) => code.ref_null(heap(kind)),
    };
}

/// The probe's functions, with their bodies.
fn probe(generated: &Generated) -> (Vec<u8>, Vec<Probe>) {
    let (mut types, mut imports) = (TypeSection::new(), ImportSection::new());
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    // Types 0 and 1: those of `Probe::Run` and `Probe::Read`.
    types.ty().function([], []);
    types.ty().function([], [ValType::I64]);
    for (number, (name, kind)) in (2..).zip(&generated.functions) {
        let list = |kinds: &[wasmparser::ValType]| kinds.iter().copied().map(value_type).collect::<Vec<_>>();
        types.ty().function(list(kind.params()), list(kind.results()));
        imports.import("m", name, EntityType::Function(number));
    }
    for (name, kind) in &generated.globals {
        let kind = GlobalType {
            val_type: value_type(kind.content_type),
            mutable: kind.mutable,
            shared: false,
        };
        imports.import("m", name, EntityType::Global(kind));
    }
    for (name, kind) in &generated.tables {
        let kind = TableType {
            element_type: reference(kind.element_type),
            table64: false,
            minimum: kind.initial,
            maximum: kind.maximum,
            shared: false,
        };
        imports.import("m", name, EntityType::Table(kind));
    }
    let mut probes = Vec::new();
    let mut add = |kind: Probe, locals: &[(u32, ValType)], body: &dyn Fn(&mut InstructionSink<'_>)| {
        functions.function(u32::from(matches!(kind, Probe::Read)));
        let mut function = Function::new(locals.iter().copied());
        let mut sink = function.instructions();
        body(&mut sink);
        sink.end();
        code.function(&function);
        probes.push(kind);
    };
    for (number, (_, kind)) in (0_i32..).zip(&generated.functions) {
        add(Probe::Run, &[], &|code| {
            for (at, parameter) in (1_i32..).zip(kind.params()) {
                argument(code, value_type(*parameter), number + at);
            }
            code.call(number.cast_unsigned());
            for _ in kind.results() {
                code.drop();
            }
        });
    }
    for (number, (_, kind)) in (0..).zip(&generated.globals) {
        for half in 0..2 {
            add(Probe::Read, &[], &|code| {
                code.global_get(number);
                match value_type(kind.content_type) {
                    ValType::I32 => code.i64_extend_i32_u(),
                    ValType::I64 => code,
                    ValType::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
                    ValType::F64 => code.i64_reinterpret_f64(),
                    ValType::V128 => code.i64x2_extract_lane(half),
                    ValType::Ref(_) => code.ref_is_null().i64_extend_i32_u(),
                };
            });
        }
    }
    for (number, _) in (0..).zip(&generated.tables) {
        // The size, and one bit for each element that is null.
        add(Probe::Read, &[(1, ValType::I32), (1, ValType::I64)], &|code| {
            code.block(BlockType::Empty).loop_(BlockType::Empty);
            code.local_get(0).table_size(number).i32_ge_u().br_if(1);
            code.local_get(1).i64_const(1).i64_shl();
            code.local_get(0)
                .table_get(number)
                .ref_is_null()
                .i64_extend_i32_u()
                .i64_or()
                .local_set(1);
            code.local_get(0).i32_const(1).i32_add().local_set(0).br(0);
            code.end().end();
            code.local_get(1)
                .table_size(number)
                .i64_extend_i32_u()
                .i64_const(56)
                .i64_shl()
                .i64_xor();
        });
    }
    let mut exports = ExportSection::new();
    let imported = u32::try_from(generated.functions.len()).unwrap();
    for (number, _) in (0..).zip(&probes) {
        exports.export(&name(number), ExportKind::Func, imported + number);
    }
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&exports)
        .section(&code);
    (module.finish(), probes)
}

fn name(number: u32) -> String {
    format!("probe{number}")
}

/// The component of both modules, which exports the probe's functions.
fn component(generated: &Generated) -> (Vec<u8>, Vec<Probe>) {
    let (probe, probes) = probe(generated);
    let mut component = Encoded::new();
    for data in [&generated.bytes, &probe] {
        component.section(&RawSection {
            id: ComponentSectionId::CoreModule.into(),
            data,
        });
    }
    let mut instances = InstanceSection::new();
    instances.instantiate(0, Vec::<(&str, ModuleArg)>::new());
    instances.instantiate(1, [("m", ModuleArg::Instance(0))]);
    let (mut aliases, mut types) = (ComponentAliasSection::new(), ComponentTypeSection::new());
    let (mut lifted, mut exports) = (CanonicalFunctionSection::new(), ComponentExportSection::new());
    let none: [(&str, ComponentValType); 0] = [];
    types.function().params(none).result(None);
    types
        .function()
        .params(none)
        .result(Some(ComponentValType::Primitive(PrimitiveValType::U64)));
    for (number, probe) in (0..).zip(&probes) {
        aliases.alias(Alias::CoreInstanceExport {
            instance: 1,
            kind: ExportKind::Func,
            name: &name(number),
        });
        lifted.lift(number, u32::from(matches!(probe, Probe::Read)), []);
        exports.export(name(number).as_str(), ComponentExportKind::Func, number, None);
    }
    component
        .section(&instances)
        .section(&aliases)
        .section(&types)
        .section(&lifted)
        .section(&exports);
    (component.finish(), probes)
}

/// All that can be seen of an instance.
async fn state(running: &mut Running, probes: &[Probe]) -> (Vec<u8>, Vec<u64>) {
    let mut numbers = Vec::new();
    for (number, probe) in (0..).zip(probes) {
        if matches!(probe, Probe::Read) {
            numbers.push(running.number(&name(number)).await);
        }
    }
    (running.memory().await, numbers)
}

#[tokio::test]
async fn generated_guests_leave_nothing_behind() {
    let sandbox = sandbox();
    let (mut compared, mut changed) = (0, 0);
    for seed in 0..SEEDS {
        let Some(generated) = generate(seed) else { continue };
        let (bytes, probes) = component(&generated);
        let Some(instrumented) = instrument(&bytes) else {
            continue;
        };
        let Ok(instrumented) = Component::from_binary(&sandbox.engine, &instrumented.bytes) else {
            // The engine refuses the module as it was generated, too.
            assert!(Component::from_binary(&sandbox.engine, &bytes).is_err(), "seed {seed}");
            continue;
        };
        let loaded = Loaded::from_component(&sandbox, &instrumented);
        let Some(mut new) = loaded.try_start().await else {
            continue;
        };
        let first = state(&mut new, &probes).await;
        let mut running = loaded.try_start().await.unwrap();
        let mut used = false;
        for (number, probe) in (0..).zip(&probes) {
            if matches!(probe, Probe::Read) {
                continue;
            }
            // After a trap an instance is not used again.
            if !running.call(&name(number)).await {
                running = loaded.try_start().await.unwrap();
                continue;
            }
            if !running.put_back().await {
                running = loaded.try_start().await.unwrap();
                continue;
            }
            // Another instance runs the function and is not put back: its state shows whether the function changed anything.
            let mut other = loaded.try_start().await.unwrap();
            assert!(other.call(&name(number)).await, "seed {seed}, function {number}");
            changed += usize::from(state(&mut other, &probes).await != first);
            let (memory, numbers) = state(&mut running, &probes).await;
            assert_eq!(numbers, first.1, "seed {seed}, function {number}");
            // Not all bytes in the message.
            let differs = memory.iter().zip(&first.0).position(|(now, then)| now != then);
            assert_eq!(
                (memory.len(), differs),
                (first.0.len(), None),
                "seed {seed}, function {number}"
            );
            used = true;
        }
        compared += usize::from(used);
    }
    assert!(compared >= COMPARED_MIN, "only {compared} were compared");
    assert!(changed >= COMPARED_MIN, "only {changed} calls changed anything");
}
