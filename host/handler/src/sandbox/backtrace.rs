//! Describes a stopped guest for the log: the cause and the guest's backtrace, one frame a line, with the lines of its
//! source where the component has debug information.
//!
//! The guest controls every byte of it, so every part is one line of bounded length. A short mangled name can expand to
//! one that is larger than any memory: demangling stops at the most bytes that a name is shown with, and a name that is
//! long already is shown as it is, cut.

use std::fmt::{self, Write};

use parlance_types::text::escape;
use wasmtime::{FrameInfo, WasmBacktrace};

use super::library::Origin;
use super::lines::LineTable;

/// Most bytes of the cause.
const CAUSE_MAX: usize = 1024;
/// Most frames, innermost first.
const FRAMES_MAX: usize = 20;
/// Longest mangled name that is demangled, in bytes. A longer one is shown mangled, cut to `NAME_MAX`.
const MANGLED_MAX: usize = 1024;
/// Most bytes of a name as it is shown.
const NAME_MAX: usize = 160;
/// Most bytes of a file and its line.
const PLACE_MAX: usize = 120;
/// Most bytes of all files and lines. The innermost frames have theirs.
const PLACES_MAX: usize = 4096;
/// Most lines of one frame: the innermost ones, and the outermost, which is the function's own.
const PLACES_PER_FRAME: usize = 6;

/// The error's cause, and the guest's backtrace without the lines of its source.
pub(super) fn describe(error: &wasmtime::Error) -> String {
    describe_with(error, &LineTable::default(), &Origin::default())
}

/// The cause and the guest's backtrace, less than 10 KiB. Function names come from the component; without them,
/// frames have function numbers. Offsets are those in the component's file, as `wasm-tools addr2line` takes them.
pub(super) fn describe_with(error: &wasmtime::Error, lines: &LineTable, origin: &Origin) -> String {
    let mut text = single_line(&error.root_cause().to_string(), CAUSE_MAX);
    let mut left = PLACES_MAX;
    let frames = error
        .downcast_ref::<WasmBacktrace>()
        .map(WasmBacktrace::frames)
        .unwrap_or_default();
    for (number, frame) in frames.iter().take(FRAMES_MAX).enumerate() {
        let offset = frame.module_offset();
        let offset = offset.map(|offset| origin.offset(frame.module(), offset));
        let places = places(frame, offset, lines, left);
        left = left.saturating_sub(places.len());
        // Writing to a string cannot fail.
        let _ = write!(text, "\n    {number}: {}", Frame(frame, offset, &places));
    }
    if frames.len() > FRAMES_MAX {
        let _ = write!(text, "\n    and {} more", frames.len().saturating_sub(FRAMES_MAX));
    }
    text
}

/// The lines of a frame's source, if they have at most `max` bytes: that of its code, and where that was inlined.
fn places(frame: &FrameInfo, offset: Option<usize>, lines: &LineTable, max: usize) -> String {
    // A function without a name is none of the component's modules: wasmtime made it to join two components, and counts
    // its offsets from elsewhere.
    let (Some(_), Some(offset)) = (frame.func_name(), offset) else {
        return String::new();
    };
    let text = places_at(lines, offset);
    if text.len() > max { String::new() } else { text }
}

fn places_at(lines: &LineTable, offset: usize) -> String {
    let mut places: Vec<String> = lines
        .at(offset)
        .map(|(file, line)| single_line(&format!("{file}:{line}"), PLACE_MAX))
        .collect();
    // The outermost one stays.
    let cut = PLACES_PER_FRAME.saturating_sub(1)..places.len().saturating_sub(1);
    if !cut.is_empty() {
        places.drain(cut);
    }
    places.join(", inlined at ")
}

/// A frame, where its code is, and the lines of its source.
struct Frame<'a>(&'a FrameInfo, Option<usize>, &'a str);

impl fmt::Display for Frame<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.func_name() {
            Some(name) => out.write_str(&demangled(name))?,
            None => write!(out, "function {}", self.0.func_index())?,
        }
        match (self.1, self.2) {
            (Some(offset), "") => write!(out, " at {offset:#x}"),
            (Some(offset), places) => write!(out, " at {places} ({offset:#x})"),
            (None, _) => Ok(()),
        }
    }
}

/// The demangled name, as the author wrote it.
fn demangled(name: &str) -> String {
    if name.len() <= MANGLED_MAX
        && let Ok(demangled) = rustc_demangle::try_demangle(name)
    {
        let mut bounded = Bounded(String::new());
        // An error means that `NAME_MAX` was reached, where the demangler stops.
        let _ = write!(bounded, "{demangled:#}");
        return single_line(&bounded.0, NAME_MAX);
    }
    single_line(name, NAME_MAX)
}

/// A string that takes `NAME_MAX` bytes and then fails.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = NAME_MAX.saturating_sub(self.0.len());
        self.0
            .push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Text from outside as one line, cut to at most `max` bytes.
pub(super) fn single_line(text: &str, max: usize) -> String {
    let cut = text.get(..text.floor_char_boundary(max)).unwrap_or_default();
    cut.chars().map(|c| if garbles_a_line(c) { ' ' } else { c }).collect()
}

/// Whether a character moves the cursor, separates lines or paragraphs, or changes the writing direction.
fn garbles_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || escape::is_directional(c)
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
            ("a\nb\u{1b}[31m\u{202e}c\u{2028}d", "a b [31m c d"),
            ("a\u{61c}b\u{200e}c\u{200f}d\u{2069}e", "a b c d e"),
        ] {
            assert_eq!(demangled(mangled), shown);
        }
    }

    #[test]
    fn a_name_that_expands_without_bound_is_cut() {
        // Each tuple refers to the one before it twice: 2^40 names when expanded.
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

    /// A back reference to a position in the name, as the mangling scheme writes it: the position minus one in base 62,
    /// then `_`.
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
    fn a_long_name_is_cut_between_characters() {
        let shown = demangled(&"é".repeat(MANGLED_MAX));
        assert_eq!(shown.len(), NAME_MAX);
        assert!(demangled(&format!("_ZN{}E", "1a".repeat(MANGLED_MAX))).len() <= NAME_MAX);
    }
}
