//! Why an operator's wish was not carried out.

use crate::store::StoreError;
use crate::store::catalog::Conflict;

/// Why an operator's wish was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// What was sent is wrong; every problem, each with the key it concerns.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// It does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// Somebody else changed it first, or it is not at the revision that was expected.
    #[error("{0}")]
    Changed(String),
    /// Larger than allowed.
    #[error("{0}")]
    TooLarge(String),
    /// Too much at once; when there will be room is not known.
    #[error("{0}")]
    TooMany(String),
    /// More than the tenant may send in a second.
    #[error("{why}")]
    Limited {
        /// What there was too much of.
        why: String,
        /// After how many milliseconds trying again makes sense.
        retry_after_ms: u64,
    },
    /// The host lacks something; trying again may help.
    #[error("{0}")]
    Host(String),
    /// The store cannot serve now.
    #[error("the store cannot serve now; try again")]
    Unavailable(#[source] StoreError),
}

impl ControlError {
    /// A stable name for programs, kebab-case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::NotFound(_) => "not-found",
            Self::Conflict(_) => "conflict",
            Self::Changed(_) => "changed",
            Self::TooLarge(_) => "too-large",
            Self::TooMany(_) | Self::Limited { .. } => "rate-limited",
            Self::Host(_) | Self::Unavailable(_) => "unavailable",
        }
    }

    pub(super) fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid(vec![problem.into()])
    }
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

impl From<Conflict> for ControlError {
    fn from(conflict: Conflict) -> Self {
        Self::Changed(format!("{conflict}; look at it and try again"))
    }
}
