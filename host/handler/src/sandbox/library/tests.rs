//! Tests of taking components apart and of what their handlers share then.

use std::fmt::Write as _;
use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Module, Store};

use super::*;
use crate::sandbox::LoadError;
use crate::sandbox::reset::Shifts;
use crate::sandbox::tests::{refused, small_sandbox};

/// A component of a module with a memory, whose first byte is `byte`, and of a library of so many functions that works on
/// it: `get` returns the byte, `fail` traps.
fn text(byte: u8, functions: u64) -> String {
    // Functions that nobody calls make the module large.
    let mut filler = String::new();
    for number in 0..functions {
        let _ = write!(filler, "(func (result i64) (i64.const {}))", (1_u64 << 62) + number);
    }
    format!(
        r#"(component
            (core module $main (memory (export "memory") 1) (data (i32.const 0) "\{byte:02x}")
                (func (export "one") (result i32) (i32.const 1))
                (table (export "table") 1 funcref) (global (export "base") (mut i32) (i32.const 0)))
            (core module $library
                (import "main" "memory" (memory 0)) (import "main" "one" (func $one (result i32)))
                (import "main" "table" (table 1 funcref)) (import "main" "base" (global $base (mut i32)))
                (func (export "get") (result i32) (i32.load8_u (global.get $base)))
                (func (export "fail") (result i32) (drop (call $one)) unreachable)
                (global (export "own") i32 (i32.const 7))
                {filler})
            (core instance $main (instantiate $main))
            (core instance $library (instantiate $library (with "main" (instance $main))))
            (func (export "get") (result u32) (canon lift (core func $library "get")))
            (func (export "fail") (result u32) (canon lift (core func $library "fail"))))"#
    )
}

/// Functions of a module that is large enough.
const MANY: u64 = 6000;

fn component(byte: u8) -> Vec<u8> {
    wat::parse_str(text(byte, MANY)).unwrap()
}

/// Compiles a component without its library, which is given, and calls it.
fn call(engine: &Engine, separated: &Separated, library: &Module, name: &str) -> wasmtime::Result<u32> {
    let component = Component::new(engine, &separated.component)?;
    let mut linker: Linker<()> = Linker::new(engine);
    linker.root().module(&Library::import_name(0), library)?;
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &component)?;
    let function = instance.get_typed_func::<(), (u32,)>(&mut store, name)?;
    Ok(function.call(&mut store, ())?.0)
}

#[test]
fn components_share_a_library_and_keep_their_own_memory() {
    let engine = Engine::default();
    let (one, two) = (component(1), component(2));
    let [first, second] = [&one, &two].map(|bytes| separate(bytes).unwrap());
    let [library] = &first.libraries[..] else {
        panic!("one library")
    };
    assert_eq!(library.digest, second.libraries[0].digest);
    assert_eq!(library.bytes(&one), second.libraries[0].bytes(&two));
    assert!(first.component.len() < one.len() - LIBRARY_MIN);
    let module = Module::new(&engine, library.bytes(&one)).unwrap();
    assert_eq!(call(&engine, &first, &module, "get").unwrap(), 1);
    assert_eq!(call(&engine, &second, &module, "get").unwrap(), 2);
    assert_eq!(Library::from_bytes(&library.to_bytes()), *library);
}

#[test]
fn the_offsets_of_a_backtrace_are_those_of_the_authors_component() {
    let engine = Engine::default();
    // A section after the library, so that there is code of the component behind it.
    let behind = r#"(core module $behind (import "library" "fail" (func $fail (result i32)))
            (func (export "fail") (result i32) (call $fail)))
        (core instance $behind (instantiate $behind (with "library" (instance $library))))
        (func (export "fail-behind") (result u32) (canon lift (core func $behind "fail"))))"#;
    let text = text(1, MANY);
    let text = format!("{} {behind}", text.strip_suffix(')').unwrap());
    let bytes = wat::parse_str(text).unwrap();
    let offsets = |error: &wasmtime::Error, origin: &Origin| -> Vec<usize> {
        let frames = error.downcast_ref::<wasmtime::WasmBacktrace>().unwrap().frames();
        let offset = |frame: &wasmtime::FrameInfo| origin.offset(frame.module(), frame.module_offset().unwrap());
        frames.iter().map(offset).collect()
    };
    let whole = Component::new(&engine, &bytes).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &whole).unwrap();
    let function = instance
        .get_typed_func::<(), (u32,)>(&mut store, "fail-behind")
        .unwrap();
    let error = function.call(&mut store, ()).unwrap_err();
    let expected = offsets(&error, &Origin::default());
    assert_eq!(expected.len(), 2);

    let separated = separate(&bytes).unwrap();
    let library = separated.libraries[0].clone();
    let module = Module::new(&engine, library.bytes(&bytes)).unwrap();
    let error = call(&engine, &separated, &module, "fail-behind").unwrap_err();
    let loaded = LoadedLibrary {
        digest: library.digest,
        module,
        code_bytes: 0,
    };
    let origin = Origin {
        shifts: Shifts::default(),
        libraries: vec![(library, Arc::new(loaded))],
    };
    assert_eq!(offsets(&error, &origin), expected);
}

fn separates(text: &str) -> bool {
    separate(&wat::parse_str(text).unwrap()).is_some()
}

#[test]
fn a_component_without_a_library_stays_whole() {
    let whole = text(1, MANY);
    assert!(separates(&whole));
    let owns_memory = whole
        .replace(r#"(import "main" "memory" (memory 0))"#, "")
        .replace(r#"(global (export "own")"#, r#"(memory 1) (global (export "own")"#);
    assert!(!separates(&owns_memory), "its state is in it");
    assert!(!separates(&text(1, 10)), "there is little to share");
    assert!(
        !separates(&text(1, PARTS_MAX as u64)),
        "too much of it would be in each instance"
    );
    let global = r#"(global (export "own")"#;
    for own in [
        "(type $t (func)) (table 1 (ref null $t))",
        "(type $t (func)) (global (ref null $t) (ref.null $t))",
        "(type $t (func)) (func (param (ref null $t)))",
        r#"(type $t (func)) (table (export "t") 1 (ref null $t))"#,
    ] {
        assert!(!separates(&whole.replace(global, &format!("{own} {global}"))), "{own}");
    }
    assert!(separate(b"\0asm").is_none() && separate(b"").is_none());
}

#[test]
fn a_module_that_is_used_otherwise_than_once_stays() {
    let whole = text(1, MANY);
    let with = |more: &str| format!("{} {more})", whole.strip_suffix(')').unwrap());
    for more in [
        r#"(core instance (instantiate $library (with "main" (instance $main))))"#,
        r#"(export "library" (core module $library))"#,
        "(component (alias outer 1 $library (core module)))",
        r#"(component $inner (import "m" (core module)))
            (instance (instantiate $inner (with "m" (core module $library))))"#,
        r#"(instance (export "m" (core module $library)))"#,
        // Their numbers would change.
        "(core type (module))",
        r#"(import "m" (core module))"#,
    ] {
        assert!(!separates(&with(more)), "{more}");
    }
    // A nested component beside the library changes nothing.
    assert!(separates(&with("(component (core module (memory 1)))")));
}

#[test]
fn of_the_same_library_twice_one_is_compiled_apart() {
    // Without names, which would make two of them.
    let once = text(1, MANY)
        .replace("(core module $library", "(core module")
        .replace("(instantiate $library", "(instantiate 1");
    let library = &once[once.rfind("(core module").unwrap()..once.find("(core instance $main").unwrap()];
    let again = r#"(core instance (instantiate 2 (with "main" (instance $main)))))"#;
    let twice = format!("{} {library} {again}", once.strip_suffix(')').unwrap());
    let bytes = wat::parse_str(twice).unwrap();
    assert_eq!(separate(&bytes).unwrap().libraries.len(), 1);
}

#[test]
fn what_an_import_would_make_valid_is_compiled_as_it_is() {
    // The name of a core type that only the import of the library brings.
    let mut bytes = component(1);
    let nested = wat::parse_str("(component (core type (module)) (component (alias outer 1 0 (core type))))").unwrap();
    // The inner component alone, as a section of ours: its type is none of ours.
    let at = nested
        .windows(8)
        .rposition(|part| part == b"\0asm\x0d\0\x01\0")
        .unwrap();
    let inner = &nested[at..];
    bytes.push(4);
    bytes.push(u8::try_from(inner.len()).unwrap());
    bytes.extend_from_slice(inner);
    assert!(separate(&bytes).is_none());
    assert!(Component::new(&Engine::default(), &bytes).is_err());
}

#[test]
fn no_component_asks_for_the_library_of_another() {
    let sandbox = Arc::new(small_sandbox());
    let import = format!(r#"(component (import "{}" (core module))"#, Library::import_name(0));
    for functions in [MANY, 10] {
        let bytes = wat::parse_str(text(1, functions).replacen("(component", &import, 1)).unwrap();
        let error = refused(&sandbox, &bytes);
        assert!(matches!(error, LoadError::Imports(_)), "{error}");
    }
    // Without the import the component loads, and is refused only because it handles no event.
    assert!(matches!(refused(&sandbox, &component(1)), LoadError::NoExports));
}
