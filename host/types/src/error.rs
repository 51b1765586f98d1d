//! The error that a client gets when an event fails: a stable code, a message for people, and whether to try again.

use std::borrow::Cow;
use std::time::Duration;

/// The code of a failed event. Codes are kebab-case and stable, since clients decide by them.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    strum::VariantArray,
    schemars::JsonSchema,
)]
#[strum(serialize_all = "kebab-case")]
#[schemars(rename = "ErrorCode", rename_all = "kebab-case")]
pub enum Code {
    /// The event is malformed.
    Invalid,
    /// The user may not do this.
    Denied,
    /// It does not exist, or this user may not know that it exists.
    NotFound,
    /// It conflicts with the current state.
    Conflict,
    /// A size limit is exceeded.
    TooLarge,
    /// There were too many events in a short time.
    RateLimited,
    /// A quota is used up.
    QuotaExceeded,
    /// The handler did not finish in time.
    Timeout,
    /// The handler failed.
    HandlerFailed,
    /// No handler is installed for this event.
    Unhandled,
    /// A part of the server is down or overloaded.
    Unavailable,
}

impl Code {
    /// All codes, for metrics and documentation.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The code as clients get it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the same event may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Timeout | Self::Unavailable)
    }
}

/// The error of an event, for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventError {
    /// The code.
    pub code: Code,
    /// A message for people, without internal causes.
    pub message: Cow<'static, str>,
    /// For limits: after how long trying again makes sense.
    pub retry_after: Option<Duration>,
    /// Whether the event may succeed after the connection has joined the room.
    pub not_joined: bool,
    /// Whether the handler itself refused the event.
    pub by_handler: bool,
    /// Whether the handler did not get to an end because the host lacked something, such as its store.
    pub host_failed: bool,
}

impl EventError {
    /// An error for an exceeded limit, with the time after which trying again makes sense.
    pub fn limited(code: Code, message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: Some(retry_after),
            not_joined: false,
            by_handler: false,
            host_failed: false,
        }
    }

    /// An error because the connection has not joined the event's room. The event may succeed after a join.
    #[must_use]
    pub fn not_joined(code: Code, message: &str) -> Self {
        Self {
            not_joined: true,
            ..Self::new(code, format!("not joined yet: {message}"))
        }
    }

    /// Whether the same event may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.code.is_retryable() || self.retry_after.is_some() || self.not_joined
    }

    /// After how many milliseconds, rounded up, trying again makes sense; at least 1.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        let after = self.retry_after?;
        Some(
            u64::try_from(after.as_micros().div_ceil(1000))
                .unwrap_or(u64::MAX)
                .max(1),
        )
    }

    /// An error with this code and message.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            not_joined: false,
            by_handler: false,
            host_failed: false,
        }
    }
}
