//! The outcome of one event in its instance.

use std::time::Duration;

use super::bindings::parlance::chat::types;
use crate::capability::{Effects, Logs, Packet};
use parlance_store::ReadSet;
use parlance_types::error::{Code, EventError};

/// The handler's refusal, with a message for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The stable code, such as `denied`.
    pub code: Code,
    /// The handler's message.
    pub message: String,
    /// When the client may try again, if the handler set that and the code allows it.
    pub retry_after: Option<Duration>,
    /// Whether the store could not answer a read of the event before. What the handler makes of that is not its decision,
    /// so the code is then `unavailable`.
    pub host_failed: bool,
}

impl Rejection {
    /// The error for the client. `not_joined`: the host has told the handler, by a refusal or when asked, that the
    /// connection is not in a room. A `denied` or `not-found` after that is then retryable, since it may succeed after
    /// a join.
    #[must_use]
    pub fn to_event_error(&self, not_joined: bool) -> EventError {
        let error = match self.code {
            Code::Denied | Code::NotFound if not_joined => EventError::not_joined(self.code, &self.message),
            code => EventError {
                retry_after: self.retry_after,
                ..EventError::new(code, self.message.clone())
            },
        };
        EventError {
            by_handler: !self.host_failed,
            host_failed: self.host_failed,
            ..error
        }
    }

    /// Makes it the host's, if the store could not answer a read of the event before.
    #[must_use]
    pub(super) fn after_reads(self, store_failed: bool) -> Self {
        Self {
            code: if store_failed { Code::Unavailable } else { self.code },
            host_failed: store_failed,
            ..self
        }
    }

    /// Sets when the client may try again, for codes that allow it.
    #[must_use]
    pub(super) fn with_retry(self, after: Option<Duration>) -> Self {
        let makes_sense = matches!(self.code, Code::RateLimited | Code::QuotaExceeded | Code::Unavailable);
        Self {
            retry_after: after.filter(|_| makes_sense),
            ..self
        }
    }
}

/// Most bytes of a rejection's message that reach the client.
const REJECTION_MESSAGE_MAX: usize = 1024;

impl From<types::Rejection> for Rejection {
    fn from(rejection: types::Rejection) -> Self {
        let (code, message) = match rejection {
            types::Rejection::Denied(text) => (Code::Denied, text),
            types::Rejection::Invalid(text) => (Code::Invalid, text),
            types::Rejection::NotFound(text) => (Code::NotFound, text),
            types::Rejection::Conflict(text) => (Code::Conflict, text),
            types::Rejection::TooLarge(text) => (Code::TooLarge, text),
            types::Rejection::RateLimited(text) => (Code::RateLimited, text),
            types::Rejection::QuotaExceeded(text) => (Code::QuotaExceeded, text),
            types::Rejection::Unavailable(text) => (Code::Unavailable, text),
        };
        let mut message = message;
        message.truncate(message.floor_char_boundary(REJECTION_MESSAGE_MAX));
        Self {
            code,
            message,
            retry_after: None,
            host_failed: false,
        }
    }
}

/// Why a guest was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrapKind {
    /// A trap of the guest itself: a panic, an access out of bounds, a division by zero …
    Guest,
    /// It used up its processor time.
    GuestTime,
    /// It exceeded its wall-clock time.
    WallTime,
    /// It exceeded its wall-clock time while it waited for the host: the store, its turn, or other tenants' DNS
    /// look-ups.
    HostTime,
    /// It trapped after it was refused more memory, or started with more than its limit.
    Memory,
    /// It overflowed its stack.
    Stack,
    /// It called the host too often.
    HostCalls,
    /// It passed too many bytes, or returned a malformed value.
    Transfer,
    /// The host could not run it.
    Host,
}

impl TrapKind {
    /// All variants, for metrics.
    pub const ALL: [Self; 9] = [
        Self::Guest,
        Self::GuestTime,
        Self::WallTime,
        Self::HostTime,
        Self::Memory,
        Self::Stack,
        Self::HostCalls,
        Self::Transfer,
        Self::Host,
    ];

    /// The name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::GuestTime => "guest-time",
            Self::WallTime => "wall-time",
            Self::HostTime => "host-time",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::HostCalls => "host-calls",
            Self::Transfer => "transfer",
            Self::Host => "host",
        }
    }

    /// Whether it is the handler's fault, and not that of the host.
    #[must_use]
    pub fn is_handler_fault(self) -> bool {
        !matches!(self, Self::Host | Self::HostTime)
    }

    /// The error for the client: a code, and a message without the cause.
    #[must_use]
    pub fn client_error(self) -> (Code, &'static str) {
        match self {
            Self::GuestTime | Self::WallTime | Self::HostTime => (Code::Timeout, "the handler did not finish in time"),
            Self::Guest | Self::Memory | Self::Stack | Self::HostCalls | Self::Transfer => {
                (Code::HandlerFailed, "the handler failed")
            }
            Self::Host => (Code::Unavailable, "the server cannot run the handler now; try again"),
        }
    }
}

/// Why and where a guest was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// The kind.
    pub kind: TrapKind,
    /// The cause and the guest's backtrace, for the log. Never for a client.
    pub detail: String,
}

impl Trap {
    /// Makes it the host's, if the store could not answer a read of the event before: a handler may panic when a read
    /// fails.
    #[must_use]
    pub(super) fn after_reads(self, store_failed: bool) -> Self {
        let kind = match self.kind {
            TrapKind::Guest if store_failed => TrapKind::Host,
            kind => kind,
        };
        Self { kind, ..self }
    }
}

/// Why an event failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The handler refused it.
    Rejected(Rejection),
    /// The handler was stopped.
    Trapped(Trap),
}

/// What an event has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How often the guest called the host.
    pub host_calls: u32,
    /// Peak size of its linear memories, in bytes.
    pub peak_memory: usize,
    /// Wall-clock time from the first step to the last, waiting included.
    pub guest_time: Duration,
    /// Processor time: for the instance, the guest and its calls of the host.
    pub cpu: Duration,
    /// Whether the instance had handled other events before.
    pub reused: bool,
    /// Why a warm instance is not used again.
    pub retired: Option<RetireReason>,
}

/// Why a warm instance was dropped after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetireReason {
    /// Its event failed.
    Failed,
    /// It had handled `sandbox.warm_uses` events.
    Uses,
    /// Its memory exceeded `sandbox.warm_memory`.
    Memory,
    /// As many instances of the handler are idle as may be (`sandbox.warm_kept`).
    Full,
}

impl RetireReason {
    /// All variants, for metrics.
    pub const ALL: [Self; 4] = [Self::Failed, Self::Uses, Self::Memory, Self::Full];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Uses => "uses",
            Self::Memory => "memory",
            Self::Full => "full",
        }
    }
}

/// What a handler returned for an event that it accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerReply {
    /// A JSON value as text, or nothing.
    Data(Option<String>),
    /// The arguments of the acknowledgement: a JSON array and its attachments (`on-event-ack`).
    Acknowledgement(Packet),
    /// No acknowledgement (`on-event-ack`).
    Silent,
}

impl HandlerReply {
    /// The JSON text, if there is one.
    #[must_use]
    pub fn into_data(self) -> Option<String> {
        match self {
            Self::Data(data) => data,
            Self::Acknowledgement(_) | Self::Silent => None,
        }
    }

    /// Bytes that go to the client.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Data(data) => data.as_ref().map_or(0, String::len),
            Self::Acknowledgement(packet) => packet.bytes(),
            Self::Silent => 0,
        }
    }
}

/// The outcome of one event.
#[derive(Debug)]
pub struct CallOutcome {
    /// The handler's reply, or why the event failed.
    pub result: Result<HandlerReply, Failure>,
    /// The effects that the handler asked for. Empty if the event failed.
    pub effects: Effects,
    /// The keys that the handler has read, also if the event failed.
    pub reads: ReadSet,
    /// The handler's log lines, also if the event failed.
    pub logs: Logs,
    /// What it has used.
    pub usage: Usage,
    /// Whether the host refused something because the connection has not joined a room.
    pub not_joined: bool,
}
