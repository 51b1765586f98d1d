//! What became of one event in its instance.

use std::time::Duration;

use crate::capability::{Effects, Logs, Packet};
use crate::error::{Code, EventError};

/// The handler's refusal, in words for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The stable code, such as `denied`.
    pub code: Code,
    /// The handler's words.
    pub message: String,
    /// When the client may try again, if the handler said so and the code is one for which that makes sense.
    pub retry_after: Option<Duration>,
}

impl Rejection {
    /// What the client is told. `not_joined`: the host has told the handler, by a refusal or when asked, that the
    /// connection is not in a room. What is refused after that may be granted once it is.
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
            by_handler: true,
            ..error
        }
    }

    /// The rejection with the time after which the client may try again.
    #[must_use]
    pub(super) fn with_retry(self, after: Option<Duration>) -> Self {
        let makes_sense = matches!(self.code, Code::RateLimited | Code::QuotaExceeded | Code::Unavailable);
        Self {
            retry_after: after.filter(|_| makes_sense),
            ..self
        }
    }
}

/// How a guest came to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrapKind {
    /// It trapped by itself: a panic, an access out of bounds, a division by zero …
    Guest,
    /// It used up its processor time.
    GuestTime,
    /// It took too long, waiting included.
    WallTime,
    /// It took too long because it waited for the host: for the store, for other clients' events, for its turn.
    HostTime,
    /// It trapped after its wish for more memory was refused, or asked for more in the first place.
    Memory,
    /// It overflowed its stack.
    Stack,
    /// It called the host too often.
    HostCalls,
    /// It moved too many bytes, or what it returned was malformed.
    Transfer,
    /// The host could not run it.
    Host,
}

impl TrapKind {
    /// All of them, for metrics.
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

    /// Whether the version is to blame, and not the host that could not serve it.
    #[must_use]
    pub fn is_handler_fault(self) -> bool {
        !matches!(self, Self::Host | Self::HostTime)
    }

    /// What a client is told of it: a code, and words without the cause.
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

/// A guest that was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// How.
    pub kind: TrapKind,
    /// The cause and the guest's backtrace, for the log. Never for a client.
    pub detail: String,
}

/// Why the event did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The handler said no.
    Rejected(Rejection),
    /// The handler was stopped.
    Trapped(Trap),
}

/// What the event cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls of the host.
    pub host_calls: u32,
    /// The most memory it had, in bytes.
    pub peak_memory: usize,
    /// From the first step to the last, waiting included.
    pub guest_time: Duration,
    /// Of that, the time in which a thread was busy with it: the instance, the guest, and what it asked the host.
    pub cpu: Duration,
    /// Its instance had handled other events before.
    pub reused: bool,
    /// Why its instance is not used again, where it might have been.
    pub retired: Option<RetireReason>,
}

/// Why an instance that could have handled further events was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetireReason {
    /// Its event was stopped.
    Failed,
    /// It had handled `sandbox.warm_uses` events.
    Uses,
    /// It had more than `sandbox.warm_memory`.
    Memory,
    /// So many of its kind are waiting already (`sandbox.warm_kept`).
    Full,
}

impl RetireReason {
    /// All of them, for metrics.
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
    /// A JSON text, or nothing.
    Data(Option<String>),
    /// The acknowledgement's arguments: a JSON array and its attachments (`on-event-ack`).
    Acknowledgement(Packet),
    /// The client is not answered (`on-event-ack`).
    Silent,
}

impl HandlerReply {
    /// The JSON text, where an interface returns one.
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

/// What became of one event.
#[derive(Debug)]
pub struct CallOutcome {
    /// What the handler returned, or why the event did not succeed.
    pub result: Result<HandlerReply, Failure>,
    /// What the handler asked to happen. Empty when it failed.
    pub effects: Effects,
    /// What the handler logged, also when it failed.
    pub logs: Logs,
    /// What it cost.
    pub usage: Usage,
    /// The host refused something because the connection has not joined a room.
    pub not_joined: bool,
}
