//! What is wrong with a scenario file, with its line.

use std::fmt;
use std::path::{Path, PathBuf};

use parlance_types::settings::suggestion;
use serde_saphyr::Error;

/// Something that is wrong with a scenario file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.message),
        }
    }
}

impl std::error::Error for Problem {}

impl Problem {
    pub(super) fn new(file: &Path, line: usize, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            message: message.into(),
        }
    }

    /// What the YAML library says, in words for an author.
    pub(super) fn of_yaml(file: &Path, error: &Error) -> Self {
        let error = error.without_snippet();
        let line = error
            .location()
            .map_or(0, |location| usize::try_from(location.line()).unwrap_or_default());
        let message = match error {
            Error::SerdeUnknownField { field, expected, .. } => {
                format!("the key `{field}` is unknown; {}", nearest(field, expected))
            }
            Error::SerdeUnknownVariant { variant, expected, .. } => {
                format!("`{variant}` is not allowed here; {}", nearest(variant, expected))
            }
            Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
            Error::SerdeInvalidType {
                unexpected, expected, ..
            } => {
                format!("this is {unexpected}; it must be {expected}")
            }
            other => {
                let text = other.to_string();
                text.lines().next().unwrap_or_default().to_owned()
            }
        };
        Self::new(file, line, message)
    }
}

/// The name that the author probably meant. `message` means `send-message`.
fn nearest(name: &str, known: &[&str]) -> String {
    let part = known.iter().find(|known| known.split('-').any(|part| part == name));
    match part {
        Some(known) => format!("did you mean `{known}`?"),
        None => suggestion(name, known),
    }
}
