//! The checks of a component that run before it is compiled. The fuzz targets in `tests/fuzz` call them.

use super::{compile, load};

/// Whether the bytes pass the checks and would be compiled.
#[must_use]
pub fn is_compiled(bytes: &[u8]) -> bool {
    load::check_header(bytes).is_ok() && compile::keeps_limits(bytes)
}
