//! The host functions that a handler may call: one module for each WIT interface, as methods of [`Call`].
//!
//! Reads go to the store and to the connection's [`HostContext`]. Writes become [`Effects`]. Nothing here knows
//! WebAssembly: `sandbox` translates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parlance_store::{ClientRef, ReadSet, Reader, StoreError, Write};
use parlance_types::auth::Identity;
use parlance_types::id::{ConnectionId, RoomId, UserId};

mod ambient;
mod broadcast;
mod dns_lookups;
pub mod effects;
mod event_pattern;
mod grants;
mod handshake;
mod host_events;
mod identity;
mod injection;
mod kv;
mod limits;
mod log;
mod members;
mod messages;
mod moderate;
mod outbound;
mod presence;
mod refusal;
mod requests;
mod response_parts;
mod revise;
mod rooms;
mod settings;
mod tap;
#[cfg(any(test, feature = "test-util"))]
mod test_util;
mod timers;

pub use ambient::{RandomSource, SystemRandom};
pub use broadcast::{ANSWER_TIME_MAX, ANSWER_TIME_MIN, ATTACHMENTS_MAX, AudienceRequest, TAG_MAX};
pub use dns_lookups::{DNS_LOOKUPS_PER_TENANT, DnsLookupLimit};
pub use effects::{Audience, Effect, Effects, Packet, Question, Status};
pub use event_pattern::{EVENT_PATTERNS_MAX, EventPattern, EventPatternError, SERVER_EVENTS};
pub use grants::{Grants, HostPattern, HostPatternError, HttpScheme};
pub use handshake::HandshakeData;
pub use host_events::{HostEvent, HostEventDescription, declare_host_events};
pub use injection::Capability;
pub use limits::{CallLimits, ClientLimits, EffectLimits};
pub use log::{Level, LogLine, Logs};
pub use members::{MEMBERS_EVENTS, MembershipChange, check_role};
pub use messages::DraftRequest;
pub use moderate::MODERATE_EVENTS;
pub use outbound::{
    DeadLetter, FailureReason, OutboundRequest, Parts, RequestOptions, RequestProgress, Response, ResponseFailure,
    ResponsePart, ServerSentEvent,
};
pub use presence::PresenceState;
pub(crate) use requests::header_map;
pub use response_parts::{PartCutter, PartTooLarge};
pub use revise::{MARK_MAX, RequestedChange, is_mark};
pub use tap::{HttpAnswer, HttpErrorName, HttpHead, HttpRequest, HttpTap, WasiTap};
pub use timers::Timer;

/// Why a capability refuses a call: the WIT's `fault`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The user, the room or the handler may not do this.
    #[error("denied")]
    Denied,
    /// It does not exist, or this user may not know that it exists.
    #[error("not found")]
    NotFound,
    /// An argument is malformed.
    #[error("{0}")]
    Invalid(String),
    /// An argument exceeds its size limit.
    #[error("too large")]
    TooLarge,
    /// The event's allowance is used up.
    #[error("the event's allowance is used up")]
    QuotaExceeded,
    /// The store cannot serve the request now.
    #[error("{0}")]
    Unavailable(String),
}

/// What a call may ask the host about its connection and its tenant.
#[async_trait::async_trait]
pub trait HostContext: Send + Sync {
    /// Whether the connection is in the room, without the effects of the running event.
    fn joined(&self, room: &str) -> bool;

    /// How many rooms the connection is in, without the effects of the running event.
    fn room_count(&self) -> usize;

    /// Takes one HTTP request from the tenant's rate limit. `false`: the limit is used up for now.
    fn admit_http_request(&self) -> bool;

    /// The tenant's limit of concurrent DNS look-ups, which its HTTP requests need.
    fn dns_lookups(&self) -> DnsLookupLimit;

    /// Waits until the writes of the connection's earlier events are in the store.
    async fn wait_in_flight(&self);

    /// Users with a connection in the room, each once, at most `limit`.
    async fn members(&self, room: &RoomId, limit: usize) -> Vec<UserId>;

    /// How many users have a connection in the room. `user` counts as one of them in any case.
    async fn member_count(&self, room: &RoomId, user: &UserId) -> usize;

    /// The users' presence as this connection's user may see it, in the order of `users`.
    async fn presence(&self, users: &[UserId]) -> Vec<PresenceState>;

    /// Whether a test has taken this capability from the handler. A server takes none.
    fn denies(&self, _: Capability) -> bool {
        false
    }
}

/// Whether an instance outlives the event that it was made for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Each event gets a new instance, or one that was put back to its first state, which makes no difference to it.
    #[default]
    Fresh,
    /// Events of one tenant and one version use an instance one after another, and its memory with it, until an event
    /// fails in it or it reaches one of the limits `sandbox.warm_*`.
    Warm,
}

impl Isolation {
    /// Reads the name: `fresh` or `warm`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "fresh" => Some(Self::Fresh),
            "warm" => Some(Self::Warm),
            _ => None,
        }
    }

    /// The name in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Warm => "warm",
        }
    }
}

/// What the host makes sure of when events of a handler use its keys at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IsolationLevel {
    /// Each event reads and writes keys as if it ran alone: one that did not is run again (promise 12).
    #[default]
    Serializable,
    /// A change that another event makes between a read and a write is lost.
    None,
}

impl IsolationLevel {
    /// Reads the name: `serializable` or `none`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "serializable" => Some(Self::Serializable),
            "none" => Some(Self::None),
            _ => None,
        }
    }

    /// The name in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serializable => "serializable",
            Self::None => "none",
        }
    }
}

/// A handler's name and what its operator configured for it. Made once for a version, shared by all its calls.
#[derive(Debug, Clone, Default)]
pub struct HandlerInfo {
    /// The handler's name in logs, which also names its key-value space.
    pub name: Arc<str>,
    /// The operator's settings.
    pub settings: BTreeMap<String, String>,
    /// Which servers it may send requests to.
    pub grants: Arc<Grants>,
    /// Whether its instances handle more than one event.
    pub isolation: Isolation,
    /// What events may rely on that use its keys at the same time.
    pub isolation_level: IsolationLevel,
    /// The version's number among the versions deployed under this name; 0 for a handler from the configuration.
    pub version: u64,
    /// The custom events that it claims; empty for all that no other handler claims.
    pub event_patterns: Vec<EventPattern>,
}

/// One event's view of the host: its inputs, and the effects and log lines that its handler has asked for so far.
pub struct Call {
    /// The user who caused the event.
    pub identity: Arc<Identity>,
    /// The connection that sent the event.
    pub connection: ConnectionId,
    /// What the client sent when that connection opened.
    pub handshake: Arc<HandshakeData>,
    /// The handler that runs.
    pub handler: Arc<HandlerInfo>,
    /// When the event arrived, in milliseconds since the Unix epoch; `ambient.now-ms` returns it.
    pub now_ms: u64,
    /// The client's own id of the message that this event sends, with a digest of the request.
    pub sent: Option<ClientRef>,
    /// The source of random numbers.
    pub random: Arc<dyn RandomSource>,
    /// The store that reads go to.
    pub store: Arc<dyn Reader>,
    /// What the host knows of the connection and the tenant.
    pub host_context: Arc<dyn HostContext>,
    /// Notes or replaces what the component gets through WASI, when the event is recorded or replayed.
    pub wasi_tap: Option<Arc<dyn WasiTap>>,
    /// Whether the event may take one of the instances that are reserved for tenants with few events in handlers.
    pub has_reserved_slot: bool,
    /// Whether the handler has run for this event before, and what it did then was dropped.
    pub is_rerun: bool,
    /// The limits of the handler's calls.
    pub limits: Arc<CallLimits>,
    /// Whether another server caused the event. There is no client to act for then, so calls that act for one are
    /// denied.
    pub is_server_event: bool,
    /// Whether the handler exports `on-answer`, so that it can be called with clients' answers.
    pub takes_answers: bool,
    /// The effects that the handler has asked for so far.
    pub effects: Effects,
    /// What the handler has read of keys so far, as far as the commit is to find it unchanged.
    pub reads: ReadSet,
    /// The lines that the handler has logged so far.
    pub logs: Logs,
    /// When the client may try again, in case the handler refuses the event.
    pub retry_after: Option<Duration>,
    /// Set once the host has refused something because the connection has not joined a room.
    pub not_joined: AtomicBool,
    /// Set once the store could not answer a read.
    pub store_failed: bool,
}

impl Call {
    /// Refuses what only a client's event may do.
    fn require_client(&self) -> Result<(), Fault> {
        if self.is_server_event {
            Err(Fault::Denied)
        } else {
            Ok(())
        }
    }

    /// What the store has answered. Of a failure the handler learns only that it may try again later; the cause goes to
    /// the log.
    fn answered<T>(&mut self, read: Result<T, StoreError>) -> Result<T, Fault> {
        read.map_err(|error| {
            tracing::warn!(error = format!("{error:#}"), "a handler's read failed");
            self.store_failed = true;
            Fault::Unavailable("the store cannot serve now".to_owned())
        })
    }

    /// Refuses a call of a capability that a test has taken away.
    fn require(&self, capability: Capability) -> Result<(), Fault> {
        if self.host_context.denies(capability) {
            Err(Fault::Denied)
        } else {
            Ok(())
        }
    }

    fn write(&mut self, write: Write, bytes: usize) -> Result<(), Fault> {
        self.add(Effect::Write(Arc::new(write)), bytes)
    }

    fn add(&mut self, effect: Effect, bytes: usize) -> Result<(), Fault> {
        self.effects
            .push(effect, bytes)
            .map_err(|effects::AllowanceUsedUp| Fault::QuotaExceeded)
    }
}

fn room_id(text: &str) -> Result<RoomId, Fault> {
    RoomId::new(text).map_err(|error| Fault::Invalid(error.to_string()))
}

fn user_id(text: &str) -> Result<UserId, Fault> {
    UserId::new(text).map_err(|error| Fault::Invalid(error.to_string()))
}
