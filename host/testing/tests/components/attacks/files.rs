//! Files that are not valid components, or import something that does not exist.

use std::sync::Arc;

use parlance_handler::sandbox::Sandbox;
use parlance_testing::{EngineLimits, GuestLimits, LoadError, TestHost};

use super::text::{component, text};

#[track_caller]
fn refused(bytes: &[u8]) -> LoadError {
    let Err(error) = TestHost::from_bytes(bytes) else {
        panic!("it is loaded")
    };
    error.downcast().unwrap()
}

fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn harmless() -> Vec<u8> {
    component(text!("harmless"))
}

#[test]
fn imports_that_are_not_granted() {
    for import in [
        text!("import-unknown"),
        text!("import-function"),
        text!("import-command"),
        text!("import-wasi"),
        text!("import-interface"),
        text!("import-of-interface"),
    ] {
        let error = refused(&binary(import));
        assert!(matches!(error, LoadError::Imports(_)), "{import}: {error}");
    }
    assert!(matches!(refused(&binary(text!("import-http"))), LoadError::NotGranted));
}

#[test]
fn a_wrong_version_of_the_interfaces() {
    let error = refused(&binary(text!("wrong-version-import")));
    assert!(
        matches!(error, LoadError::Contract(_)) && error.to_string().contains("against parlance:chat@0.2.0"),
        "{error}"
    );
    let error = refused(&binary(text!("wrong-version-export")));
    assert!(
        matches!(error, LoadError::NoExports) && error.to_string().contains("0.1"),
        "{error}"
    );
}

#[test]
fn an_export_with_other_types() {
    let error = refused(&binary(text!("export-of-other-types")));
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
    assert!(matches!(refused(&binary(text!("no-exports"))), LoadError::NoExports));
}

#[test]
fn files_that_are_not_components() {
    let core = binary(text!("harmless"));
    let mut precompiled = b"\x7fELF\x02\x01\x01".to_vec();
    precompiled.extend(harmless());
    for (bytes, word) in [
        (core.as_slice(), "core module"),
        (text!("harmless").as_bytes(), "text"),
        (b"  (component)".as_slice(), "text"),
        (b";; a comment\n(component)", "text"),
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

/// Loads many files with one engine.
fn sandbox() -> Arc<Sandbox> {
    let limits = EngineLimits {
        instances: 4,
        ..EngineLimits::default()
    };
    Arc::new(Sandbox::new(limits, &GuestLimits::default()).unwrap())
}

fn taken(sandbox: &Arc<Sandbox>, bytes: &[u8]) -> bool {
    sandbox.load(Arc::default(), bytes, &GuestLimits::default()).is_ok()
}

#[test]
fn a_truncated_file() {
    let (sandbox, whole) = (sandbox(), harmless());
    let is_taken = |length: usize| taken(&sandbox, &whole[..length]);
    assert!(is_taken(whole.len()));
    // Sections at its end have only names, and a file without them is valid.
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
        // It may still be a valid component, if the byte is in a name. What matters is that the host survives.
        refused += usize::from(!taken(&sandbox, &flipped));
    }
    assert!(refused > whole.len() / 2, "{refused} of {}", whole.len());
    assert!(taken(&sandbox, &whole));
}
