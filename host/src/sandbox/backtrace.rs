//! What the log says of a guest that was stopped: the cause, and where it was, one frame a line.
//!
//! Every byte of it is the guest's own choice. So a name is cut before it is demangled and after, since a short mangled
//! name can stand for one that is larger than any memory; and no name can begin a line of its own.

use std::fmt::{self, Write};

use wasmtime::{FrameInfo, WasmBacktrace};

/// Bytes of the cause.
const CAUSE_MAX: usize = 1024;
/// Frames, innermost first.
const FRAMES_MAX: usize = 20;
/// Bytes of a name as the component has it. Longer ones are shown as they are, up to `NAME_MAX`.
const MANGLED_MAX: usize = 1024;
/// Bytes of a name as it is shown.
const NAME_MAX: usize = 160;

/// The cause and the guest's backtrace, at most some 4 KiB. Names are those that the component brings along; a
/// component without them has the functions' numbers. Offsets are those in the module's file, for
/// `wasm-tools addr2line` and its like.
pub(super) fn describe(error: &wasmtime::Error) -> String {
    let mut text = single_line(&error.root_cause().to_string(), CAUSE_MAX);
    let frames = error
        .downcast_ref::<WasmBacktrace>()
        .map(WasmBacktrace::frames)
        .unwrap_or_default();
    for (number, frame) in frames.iter().take(FRAMES_MAX).enumerate() {
        // Writing to text does not fail.
        let _ = write!(text, "\n    {number}: {}", Frame(frame));
    }
    if frames.len() > FRAMES_MAX {
        let _ = write!(text, "\n    and {} more", frames.len().saturating_sub(FRAMES_MAX));
    }
    text
}

struct Frame<'a>(&'a FrameInfo);

impl fmt::Display for Frame<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.func_name() {
            Some(name) => out.write_str(&demangled(name))?,
            None => write!(out, "function {}", self.0.func_index())?,
        }
        match self.0.module_offset() {
            Some(offset) => write!(out, " at {offset:#x}"),
            None => Ok(()),
        }
    }
}

/// The name as its author wrote it.
fn demangled(name: &str) -> String {
    if name.len() <= MANGLED_MAX
        && let Ok(demangled) = rustc_demangle::try_demangle(name)
    {
        let mut bounded = Bounded(String::new());
        // An error is the bound: the demangler stops there.
        let _ = write!(bounded, "{demangled:#}");
        return single_line(&bounded.0, NAME_MAX);
    }
    single_line(name, NAME_MAX)
}

/// Takes `NAME_MAX` bytes and refuses more.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = NAME_MAX.saturating_sub(self.0.len());
        self.0
            .push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Somebody else's text on one line, cut to so many bytes.
pub(super) fn single_line(text: &str, max: usize) -> String {
    let cut = text.get(..text.floor_char_boundary(max)).unwrap_or_default();
    cut.chars()
        .map(|c| if c.is_control() || is_break(c) { ' ' } else { c })
        .collect()
}

/// Line and paragraph separators, and the marks that turn the direction of what follows: a log must read as it was
/// written.
fn is_break(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_their_author_wrote_them() {
        for (mangled, shown) in [
            (
                "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
                "core::panicking::panic_fmt",
            ),
            ("_RNvCsdlBVlVTnNVk_5hello4main", "hello::main"),
            ("malloc", "malloc"),
            ("$func12", "$func12"),
            ("a\nb\u{1b}[31m\u{202e}c", "a b [31m c"),
        ] {
            assert_eq!(demangled(mangled), shown);
        }
    }

    #[test]
    fn a_name_that_stands_for_more_than_any_memory_is_cut() {
        // Each tuple has the one before twice, by reference: 2^40 names.
        let mut mangled = "_RINvC1a1b".to_owned();
        let mut begin = mangled.len() - 2;
        mangled.push_str("TmmE");
        for _ in 0..40 {
            let next = mangled.len() - 2;
            let reference = reference(begin + 2);
            let _ = write!(mangled, "T{reference}{reference}E");
            begin = next;
        }
        mangled.push('E');
        assert!(mangled.len() <= MANGLED_MAX && rustc_demangle::try_demangle(&mangled).is_ok());
        let shown = demangled(&mangled);
        assert!(
            shown.starts_with("a::b::<(u32, u32)") && shown.len() <= NAME_MAX,
            "{shown}"
        );
    }

    /// A reference to a position of a name, as the mangling scheme writes it: base 62, one less, then `_`.
    fn reference(to: usize) -> String {
        const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let to = to - 2;
        let Some(mut rest) = to.checked_sub(1) else {
            return "B_".to_owned();
        };
        let mut digits = vec![];
        loop {
            digits.push(DIGITS[rest % 62]);
            rest /= 62;
            if rest == 0 {
                break;
            }
        }
        digits.reverse();
        format!("B{}_", String::from_utf8(digits).unwrap())
    }

    #[test]
    fn a_long_name_is_cut_where_a_character_ends() {
        let shown = demangled(&"é".repeat(MANGLED_MAX));
        assert_eq!(shown.len(), NAME_MAX);
        assert!(demangled(&format!("_ZN{}E", "1a".repeat(MANGLED_MAX))).len() <= NAME_MAX);
    }
}
