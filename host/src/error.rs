//! What a client is told when an event fails: a stable code, words for people, and whether to try again.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

/// The codes of failed events, kebab-case and stable: clients decide by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The event is malformed.
    Invalid,
    /// The user may not do this.
    Denied,
    /// It does not exist, or is not for this user to know of.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// A size limit.
    TooLarge,
    /// Too many in too short a time.
    RateLimited,
    /// An allowance is used up.
    QuotaExceeded,
    /// The handler did not finish in time.
    Timeout,
    /// The handler failed.
    HandlerFailed,
    /// No handler is installed for this event.
    Unhandled,
    /// Something is down.
    Unavailable,
}

impl Code {
    /// All of them, for metrics and documentation.
    pub const ALL: [Self; 11] = [
        Self::Invalid,
        Self::Denied,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Timeout,
        Self::HandlerFailed,
        Self::Unhandled,
        Self::Unavailable,
    ];

    /// As it is written to clients.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::RateLimited => "rate-limited",
            Self::QuotaExceeded => "quota-exceeded",
            Self::Timeout => "timeout",
            Self::HandlerFailed => "handler-failed",
            Self::Unhandled => "unhandled",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether the same event may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Timeout | Self::Unavailable)
    }
}

/// Why an event failed, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventError {
    /// The code.
    pub code: Code,
    /// Words for people. Never the inner cause.
    pub message: Cow<'static, str>,
    /// When it is a limit that was hit: after how long trying again makes sense.
    pub retry_after: Option<Duration>,
    /// The connection has not joined the room yet: the event may succeed once it has.
    pub not_joined: bool,
    /// The handler has said so itself.
    pub by_handler: bool,
}

impl EventError {
    /// A limit was hit; trying again makes sense after a while.
    pub fn limited(code: Code, message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: Some(retry_after),
            not_joined: false,
            by_handler: false,
        }
    }

    /// The connection has not joined the room that the event is about; trying again makes sense once it has.
    #[must_use]
    pub fn not_joined(code: Code, words: &str) -> Self {
        Self {
            not_joined: true,
            ..Self::new(code, format!("not joined yet: {words}"))
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

    /// Makes one.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            not_joined: false,
            by_handler: false,
        }
    }
}
