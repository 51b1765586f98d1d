//! Why an operator's request was not carried out.

use parlance_store::StoreError;
use parlance_store::catalog::Conflict;
use parlance_types::error::{Code, EventError};

/// Why an operator's request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The request is wrong. Every problem, each with its key.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// What the request names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts the present state.
    #[error("{0}")]
    Conflict(String),
    /// A backtest shows more differences than are allowed. The first text says so, the others in what.
    #[error("{}", .0.join("; "))]
    Differs(Vec<String>),
    /// It was changed by somebody else first, or is not at the expected revision.
    #[error("{0}")]
    Changed(String),
    /// The component or the event is larger than allowed.
    #[error("{0}")]
    TooLarge(String),
    /// Too many such requests are under way.
    #[error("{0}")]
    TooMany(String),
    /// The tenant is over one of its rates.
    #[error("{why}")]
    Limited {
        /// Which rate.
        why: String,
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The tenant stores as much as it may.
    #[error("{why}")]
    QuotaExceeded {
        /// Which quota.
        why: String,
        /// When to try again, in milliseconds: until then data must be deleted or the quota raised.
        retry_after_ms: u64,
    },
    /// This node cannot do it now; trying again may help.
    #[error("{0}")]
    Host(String),
    /// The store does not answer.
    #[error("the store cannot serve now; try again")]
    Unavailable(#[source] StoreError),
}

impl ControlError {
    /// A stable code for programs, in kebab-case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::NotFound(_) => "not-found",
            Self::Conflict(_) => "conflict",
            Self::Differs(_) => "differs",
            Self::Changed(_) => "changed",
            Self::TooLarge(_) => "too-large",
            Self::TooMany(_) | Self::Limited { .. } => "rate-limited",
            Self::QuotaExceeded { .. } => "quota-exceeded",
            Self::Host(_) | Self::Unavailable(_) => "unavailable",
        }
    }

    pub(super) fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid(vec![problem.into()])
    }

    /// The error when others have changed `what` at each of [`MAX_ATTEMPTS`](super::validation::MAX_ATTEMPTS) attempts.
    pub(super) fn contended(what: &str) -> Self {
        Self::Host(format!("others change {what} at the same time; try again"))
    }
}

/// The refusal of what counts as an event of the tenant.
impl From<EventError> for ControlError {
    fn from(error: EventError) -> Self {
        let (code, retry_after_ms) = (error.code, error.retry_after_ms().unwrap_or(1));
        let why = error.message.into_owned();
        match code {
            Code::Invalid | Code::Denied => Self::invalid(why),
            Code::NotFound => Self::NotFound(why),
            Code::Conflict => Self::Conflict(why),
            Code::TooLarge => Self::TooLarge(why),
            Code::RateLimited => Self::Limited { why, retry_after_ms },
            Code::QuotaExceeded => Self::QuotaExceeded { why, retry_after_ms },
            Code::Timeout | Code::HandlerFailed | Code::Unhandled | Code::Unavailable => Self::Host(why),
        }
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
