//! What is given as a component and is none, or asks for what there is not.

use std::sync::Arc;

use parlance::sandbox::Sandbox;
use parlance_testing::{EngineLimits, GuestLimits, LoadError, TestHost};

use super::text::{component, usual};

#[track_caller]
fn refused(bytes: &[u8]) -> LoadError {
    let Err(error) = TestHost::from_bytes(bytes) else {
        panic!("it is loaded")
    };
    error.downcast().unwrap()
}

fn text(component: &str) -> Vec<u8> {
    wat::parse_str(component).unwrap()
}

fn harmless() -> Vec<u8> {
    component(&usual("", "(i32.const 0)"))
}

#[test]
fn imports_that_are_not_granted() {
    for import in [
        "(component (import \"evil:host/shell@1.0.0\" (instance (export \"run\" (func)))))",
        "(component (import \"run\" (func)))",
        "(component (import \"wasi:cli/run@0.2.0\" (instance (export \"run\" (func)))))",
        "(component (import \"wasi:keyvalue/store@0.2.0\" (instance (export \"open\" (func)))))",
        "(component (import \"parlance:chat/shell@0.1.0\" (instance (export \"run\" (func)))))",
        "(component (import \"parlance:chat/kv@0.1.0\" (instance (export \"drop-all\" (func)))))",
    ] {
        let error = refused(&text(import));
        assert!(matches!(error, LoadError::Imports(_)), "{import}: {error}");
    }
    let http = "(component (import \"wasi:http/outgoing-handler@0.2.0\" (instance)))";
    assert!(matches!(refused(&text(http)), LoadError::NotGranted));
}

#[test]
fn a_wrong_version_of_the_interfaces() {
    let import =
        "(component (import \"parlance:chat/ambient@0.2.0\" (instance (export \"now-ms\" (func (result u64))))))";
    let error = refused(&text(import));
    assert!(
        matches!(error, LoadError::Imports(_)) && error.to_string().contains("ambient@0.2.0"),
        "{error}"
    );
    let export = "(component (instance $i) (export \"parlance:chat/on-event@0.2.0\" (instance $i)))";
    let error = refused(&text(export));
    assert!(
        matches!(error, LoadError::NoExports) && error.to_string().contains("0.1"),
        "{error}"
    );
}

#[test]
fn an_export_with_other_types() {
    let export = r#"(component
        (core module $m (func (export "handle") (param i32) (result i32) (local.get 0)))
        (core instance $c (instantiate $m))
        (func $handle (param "x" u32) (result u32) (canon lift (core func $c "handle")))
        (instance $i (export "handle" (func $handle)))
        (export "parlance:chat/on-event@0.1.0" (instance $i)))"#;
    let error = refused(&text(export));
    assert!(
        matches!(
            error,
            LoadError::Export {
                interface: "on-event",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn no_exports() {
    assert!(matches!(refused(&text("(component)")), LoadError::NoExports));
}

#[test]
fn what_is_no_component() {
    let core = wat::parse_str(usual("", "(i32.const 0)")).unwrap();
    let text = usual("", "(i32.const 0)");
    let mut precompiled = b"\x7fELF\x02\x01\x01".to_vec();
    precompiled.extend(harmless());
    for (bytes, word) in [
        (core.as_slice(), "core module"),
        (text.as_bytes(), "text"),
        (b"  (component)".as_slice(), "text"),
        (&precompiled, "precompiled"),
        (b"", "empty"),
        (b"\0asm", "not a WebAssembly component"),
        (b"#!/bin/sh\nexit", "not a WebAssembly component"),
    ] {
        let error = refused(bytes);
        assert!(matches!(error, LoadError::NotAComponent(_)), "{word}: {error}");
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

/// One engine for many files.
fn sandbox() -> Arc<Sandbox> {
    let limits = EngineLimits {
        instances: 4,
        ..EngineLimits::default()
    };
    Arc::new(Sandbox::new(limits).unwrap())
}

fn taken(sandbox: &Arc<Sandbox>, bytes: &[u8]) -> bool {
    sandbox.load(Arc::default(), bytes, &GuestLimits::default()).is_ok()
}

#[test]
fn a_truncated_file() {
    let (sandbox, whole) = (sandbox(), harmless());
    let is_taken = |length: usize| taken(&sandbox, &whole[..length]);
    assert!(is_taken(whole.len()));
    // At its end are sections that hold names alone: a file may end before each of them.
    let code = whole.len() / 2;
    for length in 0..code {
        assert!(!is_taken(length), "{length} of {} bytes", whole.len());
    }
    assert!((code..whole.len()).filter(|length| is_taken(*length)).count() <= 3);
}

#[test]
fn a_file_with_flipped_bits() {
    let (sandbox, whole) = (sandbox(), harmless());
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        // It may still be a component, when the byte is in a name. What matters is that the host goes on.
        refused += usize::from(!taken(&sandbox, &flipped));
    }
    assert!(refused > whole.len() / 2, "{refused} of {}", whole.len());
    assert!(taken(&sandbox, &whole));
}
