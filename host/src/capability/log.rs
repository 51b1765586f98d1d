//! `log`: lines in the server's log.

use super::Call;
use crate::text::escape;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Of interest to nobody but the author.
    Trace,
    /// Of interest to the author.
    Debug,
    /// Of interest to the operator.
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

/// A line, in which characters that are not to be seen are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub text: String,
}

/// The lines of one event, within its allowance. They stay when the event fails.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    lines: Vec<LogLine>,
    left: usize,
    cut: bool,
}

/// What a line costs besides its text, so that empty lines are not free.
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
    /// None yet; at most `bytes` in all.
    #[must_use]
    pub fn with_allowance(bytes: usize) -> Self {
        Self {
            lines: Vec::new(),
            left: bytes,
            cut: false,
        }
    }

    /// The lines, in order.
    #[must_use]
    pub fn lines(&self) -> &[LogLine] {
        &self.lines
    }

    /// Whether something was left out for want of allowance.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// Notes that something was left out before it came here.
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
        // Escaping lengthens, and it is the escaped text that fills the log.
        self.cut |= text.len() > room;
        text.truncate(text.floor_char_boundary(room));
        self.left = room - text.len();
        self.lines.push(LogLine { level, text });
    }
}

impl Call {
    /// Writes a line; what goes past the allowance is cut.
    pub fn log(&mut self, level: Level, text: &str) {
        self.logs.write(level, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_said_to_be() {
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
    fn an_escaped_line_counts_as_it_is_written() {
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
