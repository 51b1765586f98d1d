//! The core module that is added to a component: its functions run in the sandbox and reach the component's memory and
//! globals, which the host cannot.
//!
//! | function | what it does |
//! | --- | --- |
//! | `save` | keeps the value of each global; returns the whole memory as a list |
//! | `mend` | puts back the eight bytes that the list's pointer and length took; returns them |
//! | `aim` | sets where the lists of the next `restore` go |
//! | `realloc` | gives the host those places, one after the other, for the lists of `restore` |
//! | `restore` | gives each global its kept value; the lists are in place by then |

use wasm_encoder::{
    CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, Ieee32, Ieee64, ImportSection, InstructionSink, MemArg, MemoryType, Module, TypeSection, ValType,
};

use super::RUNS;

/// The name of the memory among the exports of the module that defines it.
pub(super) const MEMORY: &str = "parlance-reset-memory";

/// A global of another module.
pub(super) struct ImportedGlobal {
    /// The name of the instance that exports it, among the imports.
    pub(super) instance: String,
    pub(super) name: String,
    pub(super) kind: ValType,
}

/// The functions, in the order of their numbers.
pub(super) const FUNCTIONS: [&str; 5] = ["save", "mend", "aim", "realloc", "restore"];

const ADDRESS: MemArg = MemArg {
    offset: 0,
    align: 0,
    memory_index: 0,
};

/// Encodes the module. `memory` is the name of the instance that exports the memory.
pub(super) fn encode(memory: &str, globals: &[ImportedGlobal]) -> Vec<u8> {
    let mut imports = ImportSection::new();
    imports.import(
        memory,
        MEMORY,
        EntityType::Memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        }),
    );
    let mutable = |val_type| GlobalType {
        val_type,
        mutable: true,
        shared: false,
    };
    for global in globals {
        imports.import(&global.instance, &global.name, EntityType::Global(mutable(global.kind)));
    }

    // The imported globals come first, then a kept value for each, then these.
    let imported = u32::try_from(globals.len()).unwrap_or(u32::MAX);
    let (taken, next, first_place) = (2 * imported, 2 * imported + 1, 2 * imported + 2);
    let mut own = GlobalSection::new();
    for global in globals {
        own.global(mutable(global.kind), &zero(global.kind));
    }
    own.global(mutable(ValType::I64), &ConstExpr::i64_const(0));
    own.global(mutable(ValType::I32), &ConstExpr::i32_const(0));
    for _ in 0..RUNS {
        own.global(mutable(ValType::I32), &ConstExpr::i32_const(0));
    }

    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]);
    types.ty().function([], [ValType::I64]);
    types.ty().function([ValType::I32; RUNS], []);
    types.ty().function([ValType::I32; 4], [ValType::I32]);
    types.ty().function([ValType::I32; 2 * RUNS], []);
    let (mut functions, mut exports) = (FunctionSection::new(), ExportSection::new());
    for (number, name) in (0_u32..).zip(FUNCTIONS) {
        functions.function(number);
        exports.export(name, ExportKind::Func, number);
    }

    let mut code = CodeSection::new();
    code.function(&function(|save| {
        for number in 0..imported {
            save.global_get(number).global_set(imported + number);
        }
        save.i32_const(0).i64_load(ADDRESS).global_set(taken);
        // The pointer, 0, and the length.
        save.i32_const(0).i32_const(0).i32_store(ADDRESS);
        save.i32_const(4)
            .memory_size(0)
            .i32_const(16)
            .i32_shl()
            .i32_store(ADDRESS);
        save.i32_const(0);
    }));
    code.function(&function(|mend| {
        mend.i32_const(0).global_get(taken).i64_store(ADDRESS);
        mend.global_get(taken);
    }));
    code.function(&function(|aim| {
        for (number, place) in (0..).zip(first_place..).take(RUNS) {
            aim.local_get(number).global_set(place);
        }
    }));
    code.function(&function(|realloc| {
        realloc.global_get(next).i32_const(1).i32_add().global_set(next);
        // The place of the list with this number. There is no way to index globals.
        realloc.global_get(first_place);
        for (number, place) in (1..).zip(first_place + 1..).take(RUNS - 1) {
            // select(later, earlier, next > number)
            realloc.local_set(0);
            realloc
                .global_get(place)
                .local_get(0)
                .global_get(next)
                .i32_const(number)
                .i32_gt_u()
                .select();
        }
    }));
    code.function(&function(|restore| {
        for number in 0..imported {
            restore.global_get(imported + number).global_set(number);
        }
        restore.i32_const(0).global_set(next);
    }));

    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions);
    module.section(&own).section(&exports).section(&code);
    module.finish()
}

fn function(write: impl FnOnce(&mut InstructionSink<'_>)) -> Function {
    let mut function = Function::new([]);
    let mut body = function.instructions();
    write(&mut body);
    body.end();
    function
}

fn zero(kind: ValType) -> ConstExpr {
    match kind {
        ValType::I32 => ConstExpr::i32_const(0),
        ValType::I64 => ConstExpr::i64_const(0),
        ValType::F32 => ConstExpr::f32_const(Ieee32::new(0)),
        ValType::F64 => ConstExpr::f64_const(Ieee64::new(0)),
        ValType::V128 => ConstExpr::v128_const(0),
        ValType::Ref(reference) => ConstExpr::ref_null(reference.heap_type),
    }
}
