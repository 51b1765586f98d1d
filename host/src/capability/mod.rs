//! What a handler may call: one module for each WIT interface, as methods of [`Call`].
//!
//! Reads go to the store and to what the host knows of the connection ([`HostContext`]). Writes become
//! [`Effects`]. Nothing here knows of WebAssembly: `sandbox` translates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::auth::Identity;
use crate::id::{ConnectionId, RoomId, UserId};
use crate::store::{ClientRef, Store, Write};

mod ambient;
mod broadcast;
pub mod effects;
mod grants;
mod handshake;
mod identity;
mod kv;
mod log;
mod dns_lookups;
mod messages;
mod presence;
mod refusal;
mod rooms;
mod settings;

pub use ambient::{RandomSource, SystemRandom};
pub use broadcast::{ANSWER_TIME_MAX, ANSWER_TIME_MIN, ATTACHMENTS_MAX, AudienceRequest, TAG_MAX};
pub use effects::{Audience, Effect, Effects, Packet, Question, Status};
pub use grants::{Grants, HostPattern, HostPatternError, HttpScheme};
pub use handshake::HandshakeData;
pub use log::{Level, LogLine, Logs};
pub use dns_lookups::{DNS_LOOKUPS_PER_TENANT, DnsLookupLimit};
pub use messages::DraftRequest;
pub use presence::PresenceState;

/// Why a capability refused; the WIT's `fault`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The user, the room or the handler may not do this.
    #[error("denied")]
    Denied,
    /// Not there, or not for this user to know of.
    #[error("not found")]
    NotFound,
    /// An argument is malformed.
    #[error("{0}")]
    Invalid(String),
    /// An argument is over its size limit.
    #[error("too large")]
    TooLarge,
    /// The event's allowance is used up.
    #[error("the event's allowance is used up")]
    QuotaExceeded,
    /// The store cannot serve now.
    #[error("{0}")]
    Unavailable(String),
}

/// Sizes that the capabilities hold handlers to. Each has a key under `[limits]` or `[sandbox]` in the config.
#[derive(Debug, Clone)]
pub struct CallLimits {
    /// Bytes of a message's content.
    pub content: usize,
    /// Bytes of a message's metadata.
    pub metadata: usize,
    /// Bytes of a client id.
    pub client_id: usize,
    /// Bytes of an event name.
    pub event_name: usize,
    /// Bytes of an event that it emits, attachments included.
    pub emit: usize,
    /// Messages of a history page.
    pub history_page_max: u32,
    /// Users of one presence request.
    pub presence_users: usize,
    /// Rooms one connection may be in.
    pub rooms_per_connection: usize,
    /// Bytes of what is kept with a connection.
    pub connection_data: usize,
    /// Effects of one event.
    pub effects: usize,
    /// Bytes of all effects of one event together.
    pub output: usize,
    /// Bytes of log lines of one event together.
    pub log_bytes: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            content: 16 * 1024,
            metadata: 4 * 1024,
            client_id: 128,
            event_name: 128,
            emit: 128 * 1024,
            history_page_max: 200,
            presence_users: 200,
            rooms_per_connection: 256,
            connection_data: 4 * 1024,
            effects: 256,
            output: 256 * 1024,
            log_bytes: 8 * 1024,
        }
    }
}

/// What the host knows of the connection and its tenant while an event runs.
#[async_trait::async_trait]
pub trait HostContext: Send + Sync {
    /// Whether the connection is in the room.
    fn joined(&self, room: &str) -> bool;

    /// How many rooms the connection is in.
    fn room_count(&self) -> usize;

    /// Whether the tenant may send one more HTTP request now, which is counted.
    fn admit_http_request(&self) -> bool;

    /// The tenant's share of the look-ups of names, which its HTTP requests need.
    fn dns_lookups(&self) -> DnsLookupLimit;

    /// Waits until what earlier events of this connection wrote is in the store.
    async fn wait_in_flight(&self);

    /// Users with a connection in the room, each once, at most `limit`.
    async fn members(&self, room: &RoomId, limit: usize) -> Vec<UserId>;

    /// How many users have a connection in the room, `user` counted as one of them.
    async fn member_count(&self, room: &RoomId, user: &UserId) -> usize;

    /// The users' states as this connection's user may see them, in the order asked.
    async fn presence(&self, users: &[UserId]) -> Vec<PresenceState>;
}

/// What of an instance outlives the event that it was made for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Nothing: each event has an instance of its own.
    #[default]
    Fresh,
    /// Its memory: events of one tenant and one version use it one after another, until something goes wrong in it or
    /// it has served its time.
    Warm,
}

impl Isolation {
    /// The one of this name: `fresh` or `warm`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "fresh" => Some(Self::Fresh),
            "warm" => Some(Self::Warm),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Warm => "warm",
        }
    }
}

/// Which handler runs, with what its operator gave it. Made once for a version, shared by its calls.
#[derive(Debug, Clone, Default)]
pub struct HandlerInfo {
    /// Names the handler in logs and owns its key-value space.
    pub name: Arc<str>,
    /// The operator's settings.
    pub settings: BTreeMap<String, String>,
    /// What it may reach outside.
    pub grants: Arc<Grants>,
    /// Whether its instances are used again.
    pub isolation: Isolation,
    /// The version's number among those that were deployed under this name; 0 for one that was not deployed.
    pub version: u64,
}

/// One event's view of the host. Lives as long as the instance that handles the event.
pub struct Call {
    /// Who caused the event.
    pub identity: Arc<Identity>,
    /// Over which connection.
    pub connection: ConnectionId,
    /// How that connection began.
    pub handshake: Arc<HandshakeData>,
    /// Who handles it.
    pub handler: Arc<HandlerInfo>,
    /// When the event arrived, in milliseconds since the Unix epoch; what `ambient.now-ms` says.
    pub now_ms: u64,
    /// The client's own id for the message that this event sends, with what it asks for under that id.
    pub sent: Option<ClientRef>,
    /// Where chance comes from.
    pub random: Arc<dyn RandomSource>,
    /// Where reads go.
    pub store: Arc<dyn Store>,
    /// What else the host knows.
    pub host_context: Arc<dyn HostContext>,
    /// Whether the tenant has few events in handlers now. Some of the server's instances are kept for such tenants.
    pub has_reserved_slot: bool,
    /// What the handler is held to.
    pub limits: Arc<CallLimits>,
    /// No client causes the event: nothing can be done on its behalf.
    pub is_server_event: bool,
    /// Whether the handler can be called with clients' answers.
    pub takes_answers: bool,
    /// What the handler has asked for so far.
    pub effects: Effects,
    /// What the handler has logged so far.
    pub logs: Logs,
    /// When the client may try again, should the handler refuse the event.
    pub retry_after: Option<Duration>,
    /// Something was refused because the connection has not joined a room.
    pub not_joined: AtomicBool,
}

impl Call {
    /// For what is done on behalf of a client.
    fn require_client(&self) -> Result<(), Fault> {
        if self.is_server_event { Err(Fault::Denied) } else { Ok(()) }
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

/// A read that failed: the handler learns that it may try later, the log learns why.
fn unavailable(error: &crate::store::StoreError) -> Fault {
    tracing::warn!(error = format!("{error:#}"), "a handler's read failed");
    Fault::Unavailable("the store cannot serve now".to_owned())
}
