//! `log`: a handler's lines in the server's log.

use super::Call;
use parlance_types::text::escape;

/// The severity of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Details that only the handler's author needs.
    Trace,
    /// Information for the handler's author.
    Debug,
    /// Information for the operator.
    Info,
    /// Something unexpected happened.
    Warn,
    /// Something failed.
    Error,
}

/// A line of the log. Invisible characters are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The severity.
    pub level: Level,
    /// The text.
    pub text: String,
}

/// The lines of one event, within its allowance. They are logged even when the event fails.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    lines: Vec<LogLine>,
    left: usize,
    cut: bool,
}

/// Bytes that a line counts besides its text, so that empty lines are not free.
const LINE_BYTES: usize = 16;

impl Level {
    /// The name in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl Logs {
    /// No lines yet, with an allowance of `bytes` for all of them together.
    #[must_use]
    pub fn with_allowance(bytes: usize) -> Self {
        Self {
            lines: Vec::new(),
            left: bytes,
            cut: false,
        }
    }

    /// The lines, in the order in which they were written.
    #[must_use]
    pub fn lines(&self) -> &[LogLine] {
        &self.lines
    }

    /// Whether text was left out because the allowance was used up.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// Records that text was left out before it got here.
    pub fn mark_cut(&mut self) {
        self.cut = true;
    }

    fn write(&mut self, level: Level, text: &str) {
        if self.left <= LINE_BYTES {
            self.cut = true;
            return;
        }
        let room = self.left - LINE_BYTES;
        let cut = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        self.cut |= cut.len() < text.len();
        let mut text = escape::line(cut).into_owned();
        // Escaping makes the text longer, and the log keeps the escaped text.
        self.cut |= text.len() > room;
        text.truncate(text.floor_char_boundary(room));
        self.left = room - text.len();
        self.lines.push(LogLine { level, text });
    }
}

impl Call {
    /// Writes a line. Text beyond the allowance is cut.
    pub fn log(&mut self, level: Level, text: &str) {
        self.logs.write(level, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_beyond_the_allowance_are_cut_and_marked() {
        let mut logs = Logs::with_allowance(100);
        logs.write(Level::Info, "one");
        assert!(!logs.was_cut());
        for _ in 0..50 {
            logs.write(Level::Info, &"é".repeat(40));
        }
        assert!(logs.was_cut());
        assert!(logs.lines().iter().map(|line| line.text.len()).sum::<usize>() <= 100);
    }

    #[test]
    fn escaping_counts_towards_the_allowance() {
        let mut logs = Logs::with_allowance(100);
        logs.write(Level::Info, &"\u{1b}".repeat(80));
        assert!(logs.was_cut());
        assert!(logs.lines()[0].text.len() <= 100 - LINE_BYTES);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let mut logs = Logs::with_allowance(100);
        logs.write(Level::Info, "a\u{1b}[2Jb\nc");
        assert_eq!(logs.lines()[0].text, "a\\u{1b}[2Jb\\nc");
        logs.write(Level::Info, "\u{202e}\"txt\"");
        assert_eq!(logs.lines()[1].text, "\\u{202e}\"txt\"");
    }
}
