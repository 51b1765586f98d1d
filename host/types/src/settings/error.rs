//! What is wrong with a configuration: all of it, each with its key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

/// Longest value that a message shows, in characters.
const SHOWN_CHARS: usize = 80;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key's path, such as `limits.packet`, or the variable, or the file and line.
    pub key: String,
    /// Its line in the file, or that of the table or item that it is missing in.
    pub line: Option<usize>,
    /// The variable that set it, when the environment did.
    pub variable: Option<String>,
    /// The value as TOML, shortened; never a secret.
    pub value: Option<String>,
    /// What is wrong, in words that follow the value.
    pub problem: String,
    /// What is allowed, or what to do.
    pub help: Option<String>,
}

impl ConfigError {
    /// Something that is wrong with this key.
    pub fn new(key: impl fmt::Display, problem: impl Into<String>) -> Self {
        Self {
            key: key.to_string(),
            line: None,
            variable: None,
            value: None,
            problem: problem.into(),
            help: None,
        }
    }

    /// Shows the value, shortened. A value that may be a secret must not be shown.
    #[must_use]
    pub fn value(mut self, value: &Value) -> Self {
        self.value = Some(shown(value));
        self
    }

    /// Says which variable has set the value.
    #[must_use]
    pub fn variable(mut self, variable: Option<&String>) -> Self {
        self.variable = variable.cloned();
        self
    }

    /// Says what is allowed.
    #[must_use]
    pub fn allowed(self, allowed: impl fmt::Display) -> Self {
        self.help(format!("allowed: {allowed}"))
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Table(_) => "a table".to_owned(),
        other => other.to_string().replace('\n', " "),
    };
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(variable) = &self.variable {
            write!(f, " (from {variable})")?;
        } else if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        write!(f, ": {}", self.problem)?;
        match &self.help {
            Some(help) => write!(f, "\n    {help}"),
            None => Ok(()),
        }
    }
}

/// Where errors are collected.
#[derive(Debug, Default)]
pub struct Errors(Vec<ConfigError>);

impl Errors {
    /// Collects one more. What is wrong with a whole table is found once for each struct of settings in it, and told once.
    pub fn push(&mut self, error: ConfigError) {
        if !self.0.contains(&error) {
            self.0.push(error);
        }
    }

    /// Takes over errors of a table inside, which were read as if it were the top.
    pub fn extend_below(&mut self, path: &str, errors: Self) {
        self.0.extend(errors.0.into_iter().map(|mut error| {
            error.key = if error.key.is_empty() {
                path.to_owned()
            } else {
                format!("{path}.{}", error.key)
            };
            error
        }));
    }

    /// Says on which line of the file each key is.
    pub fn locate(&mut self, lines: &BTreeMap<String, usize>) {
        for error in self.0.iter_mut().filter(|error| error.variable.is_none()) {
            let above = error.key.rsplit_once('.').map(|(table, _)| table);
            let line = lines.get(&error.key).or_else(|| lines.get(above?));
            error.line = line.copied();
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, found in this file or, without one, in the environment.
    #[must_use]
    pub fn into_report(self, file: Option<&Path>) -> ConfigErrors {
        ConfigErrors {
            file: file.map(Path::to_path_buf),
            errors: self.0,
        }
    }
}

/// Everything that is wrong with a configuration. The text has one block for each error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    file: Option<PathBuf>,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The errors, in the order in which they were found.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len();
        write!(
            f,
            "{count} {} in the configuration",
            if count == 1 { "error" } else { "errors" }
        )?;
        match &self.file {
            Some(file) => write!(f, " ({} and the environment):", file.display())?,
            None => write!(f, " (from the environment; no file):")?,
        }
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
