//! Escapes invisible characters in text for people: the log, terminals.
//!
//! Control characters move a terminal's cursor. Controls of the writing direction, such as U+202E, change the order in
//! which text is shown. Other format characters hide text. Joiners (U+200C, U+200D) stay: Persian and emoji need them,
//! and they hide nothing.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// Letters and symbols that are blank: fillers of Hangul, and the Braille pattern without dots.
const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// Whether a character controls the writing direction: marks, embeddings, overrides, isolates.
#[must_use]
pub fn is_directional(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character is visible by itself.
#[must_use]
pub fn is_visible(c: char) -> bool {
    use GeneralCategoryGroup::{Letter, Number, Punctuation, Symbol};
    matches!(c.general_category_group(), Letter | Number | Punctuation | Symbol) && !BLANK.contains(&c)
}

/// Whether a character must be escaped.
fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    match c.general_category() {
        GeneralCategory::Control | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => true,
        GeneralCategory::Format => !matches!(c, '\u{200c}' | '\u{200d}'),
        _ => false,
    }
}

/// The form of an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `\u{202e}`, for plain text.
    Text,
    /// `\u202e`, for JSON, whose value does not change.
    Json,
}

fn push(out: &mut String, c: char, style: Style) {
    match (style, c) {
        (Style::Text, '\n') => out.push_str("\\n"),
        (Style::Text, '\r') => out.push_str("\\r"),
        (Style::Text, '\t') => out.push_str("\\t"),
        // Writing to a string cannot fail.
        (Style::Text, c) => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        (Style::Json, c) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

fn escaped(text: &str, style: Style, escapes: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&escapes) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    let (before, rest) = text.split_at_checked(first).unwrap_or((text, ""));
    out.push_str(before);
    for c in rest.chars() {
        if escapes(c) {
            push(&mut out, c, style);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Escapes all invisible characters, line ends and tabs included, so that the result is one line.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, Style::Text, is_hidden)
}

/// Like [`line`](fn@line), but keeps line ends and tabs.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, Style::Text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

/// Escapes invisible characters of a JSON text with JSON's own escapes.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    // In JSON, ASCII control characters occur only between values, as white space.
    escaped(text, Style::Json, |c| !c.is_ascii() && is_hidden(c))
}

/// A writer that escapes invisible characters; each write must be a whole event. ASCII control characters pass, since
/// the log's formatter uses them for line ends and colours.
#[derive(Debug, Clone)]
pub struct Escaping<W> {
    out: W,
    style: Style,
}

impl<W> Escaping<W> {
    /// Wraps a writer.
    pub fn new(out: W, style: Style) -> Self {
        Self { out, style }
    }
}

impl<W: io::Write> io::Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_ascii() {
            self.out.write_all(bytes)?;
        } else {
            let text = String::from_utf8_lossy(bytes);
            let safe = escaped(&text, self.style, |c| !c.is_ascii() && is_hidden(c));
            self.out.write_all(safe.as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_invisible_and_directional_characters_are_escaped() {
        assert_eq!(line("a\u{202e}b\u{2066}\u{61c}c"), "a\\u{202e}b\\u{2066}\\u{61c}c");
        assert_eq!(
            line("\u{1b}[2J\n\t\r\u{85}\u{2028}"),
            "\\u{1b}[2J\\n\\t\\r\\u{85}\\u{2028}"
        );
        assert_eq!(line("\u{feff}x\u{e0041}"), "\\u{feff}x\\u{e0041}");
        for same in ["", "plain", "naïve 日本語 שלום", "👩‍👩‍👧 می‌خواهم", "\"quotes\" \\ '"]
        {
            assert!(matches!(line(same), Cow::Borrowed(text) if text == same), "{same}");
        }
        assert_eq!(lines("a\n\tb\u{202e}\r"), "a\n\tb\\u{202e}\\r");
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let text = "{\n \"a\u{202e}\":\"\u{e0041}\u{200b}é\"}";
        let safe = json(text);
        assert_eq!(safe, "{\n \"a\\u202e\":\"\\udb40\\udc41\\u200bé\"}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&safe), value(text));
    }

    #[test]
    fn the_writer_escapes_its_input() {
        let through = |style, text: &str| {
            let mut out = Vec::new();
            Escaping::new(&mut out, style).write_all(text.as_bytes()).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(through(Style::Text, "\u{1b}[31mé\u{202e}\n"), "\u{1b}[31mé\\u{202e}\n");
        assert_eq!(through(Style::Json, "{\"a\":\"\u{202e}\"}\n"), "{\"a\":\"\\u202e\"}\n");
        assert_eq!(through(Style::Text, "plain\n"), "plain\n");
    }

    #[test]
    fn letters_digits_and_symbols_are_visible_and_fillers_are_not() {
        for c in ['a', '7', '-', '😀', 'ש', 'é', '日'] {
            assert!(is_visible(c), "{c}");
        }
        for c in [
            ' ', '\t', '\u{a0}', '\u{3000}', '\u{200b}', '\u{200d}', '\u{ad}', '\u{301}', '\u{3164}', '\u{2800}',
            '\u{fe0f}',
        ] {
            assert!(!is_visible(c), "{:x}", u32::from(c));
        }
        assert!(is_directional('\u{202e}') && is_directional('\u{61c}') && !is_directional('\u{200d}'));
    }
}
