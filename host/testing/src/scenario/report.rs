//! The report of a file: what is different from what is expected, for a reader.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::problem::Problem;
use super::write::block;

/// Longest value that is shown on one line, in characters.
const LINE_CHARS: usize = 90;
/// Most lines of a value or a backtrace that are shown.
const LINES_MAX: usize = 40;

/// What came of a file.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub file: PathBuf,
    /// Its cases that ran.
    pub cases: Vec<CaseReport>,
    /// What is wrong with the file, or with a case that cannot run.
    pub problem: Option<Problem>,
    /// How many expectations were rewritten.
    pub updated: usize,
}

/// What came of a case.
#[derive(Debug)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// Its line.
    pub line: usize,
    /// How long it took, all runs together.
    pub took: Duration,
    /// What is not as expected.
    pub differences: Vec<Difference>,
    /// How many differences there are besides.
    pub further: usize,
}

/// One thing that is not as expected.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The line of the expectation.
    pub line: usize,
    /// The event after which it was noticed; `None` after the whole case.
    pub event: Option<String>,
    /// Where in the event.
    pub path: String,
    /// What is expected; `None` if nothing is.
    pub expected: Option<Value>,
    /// What came; `None` if nothing did.
    pub actual: Option<Value>,
    /// What this means, where it needs words.
    pub note: Option<String>,
    /// Whether `--update` mends it.
    pub is_fixable: bool,
    /// What else happened: a trap, log lines.
    pub context: Vec<String>,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// With colours of a terminal.
    Colours,
}

impl Style {
    fn paint(self, colour: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colours => format!("\x1b[{colour}m{text}\x1b[0m"),
        }
    }

    fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}

impl FileReport {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            cases: Vec::new(),
            problem: None,
            updated: 0,
        }
    }

    /// Takes out the differences that were mended.
    pub(super) fn set_updated(&mut self, expectations: usize) {
        self.updated = expectations;
        for case in &mut self.cases {
            case.differences.retain(|difference| !difference.is_fixable);
            case.further = 0;
        }
    }

    /// Whether every case is as expected, after updating it if that was asked for.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problem.is_none() && self.cases.iter().all(CaseReport::is_ok)
    }

    /// How many cases are not as expected.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.is_ok()).count()
    }

    /// The report: a line for each case that failed, with its differences.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let mut text = String::new();
        for case in self.cases.iter().filter(|case| !case.is_ok()) {
            text.push_str(&self.render_case(case, style));
        }
        if let Some(problem) = &self.problem {
            let _ = writeln!(text, "{} {problem}", style.red("error"));
        }
        text
    }

    pub(super) fn render_case(&self, case: &CaseReport, style: Style) -> String {
        let mut text = String::new();
        let place = style.dim(&format!("{}:{}", self.file.display(), case.line));
        let _ = writeln!(text, "{} {} {place}", style.red("failed"), style.bold(&case.name));
        for difference in &case.differences {
            self.render_difference(&mut text, difference, style);
        }
        if case.further > 0 {
            let _ = writeln!(text, "    … and {} further differences", case.further);
        }
        text
    }

    fn render_difference(&self, text: &mut String, difference: &Difference, style: Style) {
        let place = style.dim(&format!("{}:{}", self.file.display(), difference.line));
        let event = difference
            .event
            .as_ref()
            .map(|event| format!("{event}: "))
            .unwrap_or_default();
        let _ = writeln!(text, "    {event}{} {place}", style.bold(&difference.path));
        for line in values(difference.expected.as_ref(), difference.actual.as_ref(), style) {
            let _ = writeln!(text, "        {line}");
        }
        for note in difference.note.iter().chain(&difference.context) {
            for line in note.lines().take(LINES_MAX) {
                let _ = writeln!(text, "      {}", style.dim(line));
            }
        }
    }
}

impl CaseReport {
    /// Whether it is as expected.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.differences.is_empty()
    }
}

/// The values, one above the other; for long ones, what differs in them.
fn values(expected: Option<&Value>, actual: Option<&Value>, style: Style) -> Vec<String> {
    let short = |value: &Value| {
        let text = value.to_string();
        (text.chars().count() <= LINE_CHARS).then_some(text)
    };
    let nothing = || Some("nothing".to_owned());
    let lines = (expected.map_or_else(nothing, short), actual.map_or_else(nothing, short));
    if let (Some(expected), Some(actual)) = lines {
        return vec![
            style.red(&format!("- expected: {expected}")),
            style.green(&format!("+ actual:   {actual}")),
        ];
    }
    let shown = |value: Option<&Value>| value.map(block).unwrap_or_default();
    let (expected, actual) = (shown(expected), shown(actual));
    let diff = TextDiff::from_lines(&expected, &actual);
    let mut lines = vec![format!("{} {}", style.red("- expected"), style.green("+ actual"))];
    for change in diff.iter_all_changes() {
        let line = change.value().trim_end_matches('\n');
        lines.push(match change.tag() {
            ChangeTag::Delete => style.red(&format!("- {line}")),
            ChangeTag::Insert => style.green(&format!("+ {line}")),
            ChangeTag::Equal => format!("  {line}"),
        });
    }
    if lines.len() > LINES_MAX {
        let further = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("… and {further} further lines"));
    }
    lines
}
