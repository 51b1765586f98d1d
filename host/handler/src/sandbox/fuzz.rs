//! What reads a component besides the compiler: the checks before it is compiled, and its debug information. The fuzz
//! targets in `tests/fuzz` call it.

use wasmparser::Parser;

use super::{compile, lines, load, reset};

/// Whether the bytes pass the checks and would be compiled. What is added to a component before that must keep it readable.
///
/// # Panics
/// When what was added is not read again.
#[must_use]
pub fn is_compiled(bytes: &[u8]) -> bool {
    let passes = load::check_header(bytes).is_ok() && compile::keeps_limits(bytes);
    if let Some(instrumented) = passes.then(|| reset::instrument(bytes)).flatten() {
        assert!(
            Parser::new(0)
                .parse_all(&instrumented.bytes)
                .all(|payload| payload.is_ok())
        );
    }
    passes
}

/// Reads a component's debug information. The bytes of its table that the server reads.
///
/// # Panics
/// When the server would not read the table as it was written.
#[must_use]
pub fn source_lines(component: &[u8]) -> Option<Vec<u8>> {
    let lines = lines::of_component(component).ok()?;
    assert!(lines::LineTable::parse(&lines).is_some_and(|table| table.encode() == lines));
    Some(lines)
}

/// Reads a table of source lines, as the server does with what the compiling process wrote.
///
/// # Panics
/// When a table that is read is not written as it was.
pub fn read_source_lines(bytes: &[u8]) {
    if let Some(table) = lines::LineTable::parse(bytes) {
        let again = lines::LineTable::parse(&table.encode());
        assert!(again == Some(table));
    }
}
