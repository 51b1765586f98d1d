//! Tests that need the engine itself.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::engine::compiling_engine;
use super::lines::tests::{component, sections};
use super::{Compiler, EngineLimits, GuestLimits, LoadError, Sandbox, artefact};

/// The smallest component: a header alone.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// A sandbox for one instance.
pub(super) fn small_sandbox() -> Sandbox {
    let limits = EngineLimits {
        instances: 1,
        ..EngineLimits::default()
    };
    Sandbox::new(limits, &GuestLimits::default()).unwrap()
}

/// Why a component is refused.
pub(super) fn refused(sandbox: &Arc<Sandbox>, bytes: &[u8]) -> LoadError {
    let loaded = sandbox.load(Arc::default(), bytes, &GuestLimits::default());
    loaded.map(|_| ()).unwrap_err()
}

#[test]
fn compiled_code_is_never_taken_from_a_file() {
    let sandbox = Arc::new(small_sandbox());
    // Code from the same engine is the likeliest to be accepted.
    let compiled = sandbox.engine.precompile_component(EMPTY).unwrap();
    let error = refused(&sandbox, &compiled);
    assert!(
        matches!(error, LoadError::NotAComponent(why) if why.contains("precompiled")),
        "{error}"
    );
    assert!(
        matches!(refused(&sandbox, EMPTY), LoadError::NoExports),
        "the component itself is one"
    );
}

/// A sandbox whose compiler is this script of a shell, in a file of the directory.
fn compiled_by(directory: &Path, script: &str) -> Arc<Sandbox> {
    let program = directory.join("compiler");
    // Another process writes the script: a file that this process has open for writing could not be executed, and another
    // test may fork a child that inherits the open file for a moment.
    let write = r#"printf '#!/bin/sh\n%s' "$0" > "$1" && chmod +x "$1""#;
    let written = Command::new("sh").args(["-c", write, script]).arg(&program).status();
    assert!(written.unwrap().success());
    Arc::new(small_sandbox().with_compiler(Compiler::Child(program)))
}

#[test]
fn a_compiler_that_dies_of_debug_information_has_compiled_the_component() {
    let bytes = component(&sections(4));
    let code = compiling_engine().unwrap().precompile_component(&bytes).unwrap();
    let parts = artefact::Parts {
        code: &code[..],
        shifts: None,
        libraries: Vec::new(),
        lines: &[][..],
    };
    let mut output = parts.header();
    output.extend_from_slice(&code);
    // The beginning of a table.
    output.push(7);
    // Ends as a compiler that runs out of processor time does.
    let dies = "kill -s XCPU $$";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("output");
    // A compiler that writes this, and then does that.
    let refused_by = |output: &[u8], end: &str| {
        std::fs::write(&file, output).unwrap();
        let sandbox = compiled_by(directory.path(), &format!("cat '{}'; {end}", file.display()));
        refused(&sandbox, &bytes)
    };
    let assert_no_lines = |error: &LoadError| {
        assert!(
            matches!(error, LoadError::Instantiate(why) if why.contains("0: check at 0x")),
            "{error}"
        );
    };
    // It traps, so it was compiled, and has no lines.
    assert_no_lines(&refused_by(&output, dies));
    // One byte of the code is missing.
    let error = refused_by(&output[..output.len() - 2], dies);
    assert!(matches!(error, LoadError::CompileTime { .. }), "{error}");
    // The table is no table.
    assert_no_lines(&refused_by(&output, "exit 0"));
}

#[test]
fn a_component_that_exceeded_the_compile_time_is_not_compiled_again_soon() {
    let directory = tempfile::tempdir().unwrap();
    let ran = directory.path().join("ran");
    // Ends as a compiler that runs out of processor time does.
    let script = format!("echo once >> '{}'\nkill -s XCPU $$\n", ran.display());
    let sandbox = compiled_by(directory.path(), &script);
    for _ in 0..3 {
        let error = refused(&sandbox, EMPTY);
        assert!(matches!(error, LoadError::CompileTime { .. }), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "once\n");
}

#[test]
fn a_component_with_async_functions_or_for_wasi_0_3_is_refused_with_the_remedy() {
    let sandbox = Arc::new(small_sandbox());
    for text in [
        "(component (type (stream u8)))",
        "(component (type (future)))",
        r#"(component (import "wait" (func async)))"#,
        r#"(component (core func (canon task.return)))"#,
        r#"(component (import "wasi:clocks/monotonic-clock@0.3.0" (instance (export "now" (func (result u64))))))"#,
        r#"(component (import "wasi:cli/run@0.3.0-rc-2026-03-15" (instance (export "run" (func async)))))"#,
    ] {
        let bytes = wat::parse_str(text).unwrap();
        let error = refused(&sandbox, &bytes);
        assert!(matches!(error, LoadError::Async(_)), "{text}: {error}");
        assert!(error.to_string().contains("wasm32-wasip2"), "{error}");
    }
    let older = r#"(component (import "wasi:clocks/odd@0.2.0" (instance (export "now" (func (result u64))))))"#;
    let error = refused(&sandbox, &wat::parse_str(older).unwrap());
    assert!(matches!(error, LoadError::Imports(_)));
}
