//! What can only be shown with the engine itself at hand.

use std::sync::Arc;

use super::{EngineLimits, GuestLimits, LoadError, Sandbox};

/// The smallest component, as bytes: the header alone.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

#[test]
fn compiled_code_is_never_taken_from_a_file() {
    let limits = EngineLimits {
        instances: 1,
        ..EngineLimits::default()
    };
    let sandbox = Arc::new(Sandbox::new(limits).unwrap());
    // Of this very engine, hence the most welcome there could be.
    let compiled = sandbox.engine.precompile_component(EMPTY).unwrap();
    let refused = |bytes: &[u8]| {
        sandbox
            .load(Arc::default(), bytes, &GuestLimits::default())
            .map(|_| ())
            .unwrap_err()
    };
    let error = refused(&compiled);
    assert!(
        matches!(error, LoadError::NotAComponent(why) if why.contains("precompiled")),
        "{error}"
    );
    assert!(
        matches!(refused(EMPTY), LoadError::NoExports),
        "the component itself is one"
    );
}
