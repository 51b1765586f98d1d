//! A mistake in the sources: its place, its message, and what to do.

use std::fmt;

/// A problem in the sources. Written as `FILE:LINE:COLUMN: MESSAGE`, with the line and what to do below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the author would name it on the command line; empty if the problem is in none.
    pub file: String,
    /// The line and the column, from 1; none if the whole file is meant.
    pub place: Option<(u32, u32)>,
    /// The mistake, in words.
    pub message: String,
    /// The line of the source.
    pub excerpt: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// Why no component was built: at least one problem.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

/// Longer lines are not shown: they come from a bundler.
const MAX_EXCERPT: usize = 200;

impl Problem {
    /// A problem at a byte of `source`.
    pub(crate) fn at(file: &str, source: &str, offset: u32, message: impl Into<String>) -> Self {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let before = source.get(..offset).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let place = (u32::try_from(line).unwrap_or(0), u32::try_from(column).unwrap_or(0));
        let excerpt = source.lines().nth(line - 1).filter(|line| line.len() <= MAX_EXCERPT);
        Self {
            file: file.to_owned(),
            place: Some(place),
            message: message.into(),
            excerpt: excerpt.map(str::to_owned),
            help: None,
        }
    }

    /// A problem with a whole file.
    pub(crate) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            place: None,
            message: message.into(),
            excerpt: None,
            help: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message)?,
            None if self.file.is_empty() => f.write_str(&self.message)?,
            None => write!(f, "{}: {}", self.file, self.message)?,
        }
        if let (Some((line, column)), Some(excerpt)) = (self.place, &self.excerpt) {
            let indent: String = excerpt
                .chars()
                .take(usize::try_from(column).unwrap_or(1).saturating_sub(1))
                .map(|character| if character == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n{line:>5} | {excerpt}\n      | {indent}^")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
