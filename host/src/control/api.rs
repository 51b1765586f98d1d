//! The types of the admin API's requests and answers. Each is part of the API's OpenAPI document.

mod data;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

pub use data::{
    DeleteMessageQuery, EditMessageRequest, MarksView, MemberRequest, MemberView, MembersView, MessageView,
    MessagesView, PostMessageRequest, RoomView, RoomsView,
};
use parlance_handler::capability::Parts;
use parlance_types::text::number::whole;

/// Where a tenant is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In the configuration file, and changed there.
    File,
    /// In the store, and changed through the admin API.
    Store,
}

/// A tenant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantView {
    /// Its name.
    pub name: String,
    /// The Socket.IO namespace of its clients.
    pub namespace: String,
    /// Where it is defined.
    pub source: Source,
    /// Whether it is suspended: no client may connect, and none is connected.
    pub suspended: bool,
    /// Whether this node serves it; when not, `problem` says why.
    pub served: bool,
    /// The revision of its last change, for `If-Match`; 0 for a tenant of the configuration file.
    pub revision: u64,
    /// Connections to this node.
    pub connections: u64,
    /// Why this node does not serve it, or not as it is configured.
    #[serde(default)]
    pub problem: Option<String>,
    /// What the operator should know although it is served, such as that it has no keys, so that nobody can connect.
    #[serde(default)]
    pub warning: Option<String>,
    /// Its configuration, with the keys of `[tenants.NAME]` in the configuration file and without secrets. `null` for a
    /// tenant of the file.
    #[schema(value_type = Option<Object>)]
    pub configuration: Value,
}

/// What a tenant uses, and its limits.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageView {
    /// Open connections to this node.
    pub connections: Measure,
    /// Bytes of stored messages.
    pub message_bytes: Measure,
    /// Bytes of key-value data.
    pub kv_bytes: Measure,
    /// Rooms that have a message.
    pub rooms: Measure,
    /// Bytes of the components that are kept for its deployed handlers, each counted once.
    #[serde(default)]
    pub component_bytes: Measure,
}

/// A used amount and its limit.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub struct Measure {
    /// The used amount.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// A deployed handler.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandlerView {
    /// Its name, in logs and as the owner of its key-value data.
    pub name: String,
    /// The version that handles events, apart from the canary's share; `null` when there is only a canary.
    pub active: Option<u64>,
    /// The canary, if there is one.
    pub canary: Option<CanaryView>,
    /// The kept versions, newest first.
    pub versions: Vec<VersionView>,
    /// The revision of its last change.
    pub revision: u64,
}

/// A version that serves a share of the rooms for a trial.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryView {
    /// The version's number.
    pub version: u64,
    /// The share of rooms in percent, 1 to 99.
    #[schema(minimum = 1, maximum = 99)]
    pub percent: u8,
}

/// One version of a handler.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// 1, 2, 3 … in the order of deployment.
    pub version: u64,
    /// SHA-256 of the component's bytes, in hexadecimal.
    pub sha256: String,
    /// The size of the component in bytes.
    pub size: u64,
    /// The events it handles: `message`, `typing` and so on.
    pub events: Vec<String>,
    /// The custom events (`event`) that it claims: names, or prefixes that end with `*`. Empty for all that no other
    /// handler claims.
    #[serde(default)]
    pub event_patterns: Vec<String>,
    /// When it was deployed, in milliseconds since the Unix epoch.
    pub deployed_at: u64,
    /// Who deployed it: the name of the admin token.
    pub deployed_by: String,
    /// The note that it was deployed with.
    pub note: Option<String>,
    /// Why the server rolled it back, if it did.
    pub failed: Option<String>,
    /// `active`, `canary`, `failed`, `kept`, or `unavailable`: this node cannot load the version that should be in
    /// service, and tries again.
    pub state: String,
    /// Why this node cannot load it.
    #[serde(default)]
    pub problem: Option<String>,
    /// Events that it has handled on this node since it was loaded.
    pub events_handled: u64,
    /// Those of them that ended with a trap or ran out of time.
    pub events_failed: u64,
    /// `fresh` when each event gets an instance of its own, `warm` when instances are reused.
    #[serde(default)]
    pub isolation: String,
    /// `serializable` when an event runs again that has read keys which others changed, else `none`.
    #[serde(default)]
    pub isolation_level: String,
    /// What the component can read with `settings.get`.
    pub settings: BTreeMap<String, String>,
}

/// Which tokens to revoke. Exactly one of the first three fields is given, but `user` and `issuedBefore` may go
/// together.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeRequest {
    /// The token with this `jti`.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 512)]
    pub token_id: Option<String>,
    /// Every token of this user that was issued until now, or before `issuedBefore`.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub user: Option<String>,
    /// Every token of the tenant, or with `user` of that user, that was issued before this moment, in milliseconds
    /// since the Unix epoch.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0)]
    pub issued_before: Option<u64>,
    /// When the last of the revoked tokens expires, in milliseconds since the Unix epoch; the revocation is then
    /// forgotten. 400 days from now when not given.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0)]
    pub expires_at: Option<u64>,
}

/// A revocation: of one token, of a user's tokens, or of all the tenant's.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationView {
    /// Its id, for taking it back.
    pub id: String,
    /// The token with this `jti`.
    #[serde(default)]
    pub token_id: Option<String>,
    /// The user whose tokens are revoked.
    #[serde(default)]
    pub user: Option<String>,
    /// The moment before which the tokens were issued, in milliseconds since the Unix epoch; `null` for a single token.
    #[serde(default)]
    pub issued_before: Option<u64>,
    /// When it is forgotten, in milliseconds since the Unix epoch: the tokens have expired by then.
    pub expires_at: u64,
}

/// An entry of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditView {
    /// 1, 2, 3 …
    pub id: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Its author: the name of an admin token, or `server`.
    pub actor: String,
    /// The tenant that it concerns; empty for none.
    pub tenant: String,
    /// The action, such as `tenant.create` or `handler.rollback`.
    pub action: String,
    /// The particulars of the action, which depend on its kind.
    #[schema(value_type = Value)]
    pub detail: Value,
}

/// A step of a deployment, as it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum DeployStep {
    /// The component has arrived.
    Received {
        /// Its size in bytes.
        size: u64,
        /// SHA-256 of its bytes, in hexadecimal.
        sha256: String,
    },
    /// The component is compiled, or found in the cache, and checked.
    Compiling,
    /// Recorded events run on the component.
    Backtesting,
    /// The component is stored.
    Storing,
    /// The version is put into service.
    Activating,
    /// The version is in service on this node.
    Done {
        /// Its version number.
        version: u64,
    },
}

/// Clients, by rooms and users: those in any of the rooms, and those of any of the users.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientsRequest {
    /// Room ids.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub rooms: Vec<String>,
    /// User ids.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub users: Vec<String>,
}

/// An event to send to clients.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmitRequest {
    /// Its name.
    #[schema(min_length = 1)]
    pub event: String,
    /// Its arguments, any JSON.
    #[serde(default)]
    #[schema(value_type = Vec<Value>)]
    pub arguments: Vec<Box<RawValue>>,
    /// The clients that get it.
    pub to: ClientsRequest,
    /// The clients among those that do not get it.
    #[serde(default)]
    pub except: ClientsRequest,
}

/// An event to send to the servers of the fleet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerEmitRequest {
    /// Its name.
    #[schema(min_length = 1)]
    pub event: String,
    /// Its arguments, any JSON.
    #[serde(default)]
    #[schema(value_type = Vec<Value>)]
    pub arguments: Vec<Box<RawValue>>,
    /// Whether to wait for the servers' answers.
    #[serde(default)]
    pub answers: bool,
}

/// The answers of the servers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ServerAnswers {
    /// One answer of each server, in no particular order; `null` from a server that does not handle such events. Of
    /// Parlance's nodes at most one handles them (`on-server-event`).
    #[schema(value_type = Vec<Value>)]
    pub answers: Vec<Box<RawValue>>,
    /// Whether every server has answered in time (`redis.request_timeout`). False when `answers` was not asked for.
    pub complete: bool,
}

/// A connection to any of the servers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SocketView {
    /// Its id.
    pub id: String,
    /// The rooms that it is in.
    pub rooms: Vec<String>,
    /// The client's IP address, as its server sees it. A node of Parlance believes `server.trusted_proxies` about it.
    pub address: Option<String>,
    /// `userId` and `username` from a node of Parlance; from a Node server what it keeps with the socket.
    #[schema(value_type = Value)]
    pub data: Box<RawValue>,
}

/// Connections that were asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SocketsView {
    /// The connections.
    pub sockets: Vec<SocketView>,
    /// Whether every server has answered in time (`redis.request_timeout`).
    pub complete: bool,
}

/// Which events of a tenant to record.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordingRequest {
    /// Only events of this handler.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 63)]
    pub handler: Option<String>,
    /// The share of events in percent, 1 to 100; 100 when not given.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 100)]
    pub percent: Option<u64>,
    /// Only events whose handler was stopped.
    #[serde(default)]
    pub traps: bool,
    /// Events after which the recording ends, 1 to 1,000,000.
    #[serde(default, deserialize_with = "whole")]
    #[schema(nullable = false, required = true, minimum = 1, maximum = 1_000_000)]
    pub limit: Option<u64>,
    /// Whether to record message text as it is; it is masked when not given.
    #[serde(default)]
    pub with_content: bool,
}

/// A recording of a tenant's events on this node.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordingView {
    /// Whether it records further events.
    pub on: bool,
    /// The handler whose events it records; `null` for all.
    pub handler: Option<String>,
    /// The share of events in percent.
    pub percent: u8,
    /// Whether it records only events whose handler was stopped.
    pub traps: bool,
    /// Events after which it ends.
    pub limit: u64,
    /// Whether message text is recorded as it is.
    pub with_content: bool,
    /// Events that were recorded.
    pub recorded: u64,
    /// Events that are kept, the newest ones (`quota.recording_bytes`).
    pub kept: u64,
    /// Bytes of the events that are kept.
    pub bytes: u64,
    /// Events that were not recorded, because there were too many in a second (`quota.recording_events_per_second`) or
    /// because they were too large.
    pub left_out: u64,
}

/// What became of recorded events on a component.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacktestView {
    /// The handler whose events they are.
    pub handler: String,
    /// SHA-256 of the component's bytes, in hexadecimal.
    pub sha256: String,
    /// The share of the events that differ, in percent.
    pub different_percent: f64,
    /// How many events are the same, how many differ and in what, with examples (`host/recordings.md`).
    #[schema(value_type = Object)]
    pub report: Value,
}

/// What is to become of a handler's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RequestState {
    /// It is being sent, or waits for its next attempt.
    Pending,
    /// It has failed, and is kept for the operator (`quota.dead_letters_kept`).
    Failed,
}

/// A request of a handler to a web service, without what may be secret: the values of its headers and of its URL's query,
/// and its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// The handler that has asked for it.
    pub handler: String,
    /// Its id, which is the value of `Idempotency-Key` unless the handler has set one.
    pub id: String,
    /// Whether it is to be sent or has failed.
    pub state: RequestState,
    /// Its method.
    pub method: String,
    /// Its URL, with `…` for each value of the query.
    pub url: String,
    /// The handler's tag.
    pub tag: String,
    /// How its answer is cut: `whole`, `lines` or `server-sent-events`.
    #[schema(value_type = String)]
    pub parts: Parts,
    /// The names of the headers that the handler has set.
    pub header_names: Vec<String>,
    /// The size of its body in bytes.
    pub body_bytes: u64,
    /// When the handler asked for it, in milliseconds since the Unix epoch.
    pub asked_at: u64,
    /// How often it was tried without success.
    pub attempts: u8,
    /// How often it is tried at most.
    pub attempts_max: u8,
    /// When the next attempt is due, in milliseconds since the Unix epoch; `null` for a request that has failed.
    #[serde(default)]
    pub due_at: Option<u64>,
    /// Parts of its answer that were handled; `null` for a request that has failed.
    #[serde(default)]
    pub parts_handled: Option<u32>,
    /// Why it, or its last attempt, has failed.
    #[serde(default)]
    pub error: Option<String>,
    /// When it failed, in milliseconds since the Unix epoch; `null` for a pending request.
    #[serde(default)]
    pub failed_at: Option<u64>,
}

/// A page of requests, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestsView {
    /// The requests.
    pub requests: Vec<RequestView>,
    /// Set when there are further ones: `after` of the next page.
    #[serde(default)]
    pub next: Option<String>,
}

/// The erasure of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErasureView {
    /// Whether it has ended. Otherwise it goes on, also when this server ends.
    pub done: bool,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub asked_at: u64,
    /// When it ended, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub done_at: Option<u64>,
    /// The room in which it is; rooms come in the order of their ids. `null` before the first and after the last.
    #[serde(default)]
    pub room: Option<String>,
    /// Messages of the user that were deleted so far.
    pub messages: u64,
    /// Marks of the user on messages of others that were taken back so far.
    pub marks: u64,
    /// Receipts of the user that were removed so far.
    pub receipts: u64,
    /// Keys of handlers that were deleted so far.
    pub keys: u64,
}

/// How much an export has, or an import has stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferView {
    /// Rooms. 0 in an export of one user.
    pub rooms: u64,
    /// Messages, deleted ones too.
    pub messages: u64,
    /// Marks.
    pub marks: u64,
    /// Receipts.
    pub receipts: u64,
    /// Keys and timers of handlers.
    pub keys: u64,
    /// Lasting members of rooms.
    #[serde(default)]
    pub members: u64,
    /// Bans.
    #[serde(default)]
    pub bans: u64,
}
