//! What the admin API shows and takes. Every type here is part of its OpenAPI document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::text::number::whole;

/// Where a tenant is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In the configuration file: it is changed there.
    File,
    /// In the store, through the admin API.
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
    /// Nobody may connect, and nobody is connected.
    pub suspended: bool,
    /// Whether it is served here; when not, `problem` says why.
    pub served: bool,
    /// The number of its last change, for `If-Match`; 0 for one of the file.
    pub revision: u64,
    /// Connections to this node.
    pub connections: u64,
    /// Why it is not served here, or not as it is configured.
    #[serde(default)]
    pub problem: Option<String>,
    /// Its configuration, with the keys of `[tenants.NAME]` in the file; secrets are left out. `null` for a tenant of
    /// the file.
    #[schema(value_type = Option<Object>)]
    pub configuration: Value,
}

/// What a tenant uses, beside what it may.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageView {
    /// Open connections to this node.
    pub connections: Measure,
    /// Bytes of stored messages.
    pub message_bytes: Measure,
    /// Bytes of key-value data.
    pub kv_bytes: Measure,
    /// Rooms with a message.
    pub rooms: Measure,
    /// Bytes of the components that are kept for its deployed handlers, each counted once.
    #[serde(default)]
    pub component_bytes: Measure,
}

/// A number and the most it may be.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub struct Measure {
    /// How much there is.
    pub used: u64,
    /// How much there may be.
    pub limit: u64,
}

/// A deployed handler.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandlerView {
    /// Its name: names it in logs and owns its key-value data.
    pub name: String,
    /// The version that handles events, besides a canary's share; none when there is a canary only.
    pub active: Option<u64>,
    /// A version on trial.
    pub canary: Option<CanaryView>,
    /// The versions that are kept, newest first.
    pub versions: Vec<VersionView>,
    /// The number of its last change.
    pub revision: u64,
}

/// A version on trial in some of the rooms.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryView {
    /// Which version.
    pub version: u64,
    /// The share of rooms, 1 to 99.
    #[schema(minimum = 1, maximum = 99)]
    pub percent: u8,
}

/// One version of a handler.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// 1, 2, 3 … in the order of deployment.
    pub version: u64,
    /// Of the component's bytes, in hexadecimal.
    pub sha256: String,
    /// Bytes of the component.
    pub size: u64,
    /// The events it handles: `message`, `typing` and so on.
    pub events: Vec<String>,
    /// When it was deployed, in milliseconds since the Unix epoch.
    pub deployed_at: u64,
    /// Who deployed it: the name of the admin token.
    pub deployed_by: String,
    /// What was said of it.
    pub note: Option<String>,
    /// Why it was taken out of service by itself, if it was.
    pub failed: Option<String>,
    /// `active`, `canary`, `failed`, `kept`, or `unavailable`: it should be in service and cannot be loaded on this
    /// node, which tries again.
    pub state: String,
    /// Why it cannot be loaded on this node.
    #[serde(default)]
    pub problem: Option<String>,
    /// Events it handled on this node since it was loaded.
    pub events_handled: u64,
    /// Those of them that ended with a trap or ran out of time.
    pub events_failed: u64,
    /// Whether its instances are used again: `fresh` or `warm`.
    #[serde(default)]
    pub isolation: String,
    /// What the component can read with `settings.get`.
    pub settings: BTreeMap<String, String>,
}

/// What is to be revoked: exactly one of the first three.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeRequest {
    /// The token with this `jti`.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 512)]
    pub token_id: Option<String>,
    /// Every token of this user that was issued before `issuedBefore`, or until now.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub user: Option<String>,
    /// Every token of the tenant that was issued before this moment, in milliseconds since the Unix epoch; with
    /// `user`, of that user.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0)]
    pub issued_before: Option<u64>,
    /// When the revoked tokens have expired anyway, in milliseconds since the Unix epoch. Default: 400 days from now.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0)]
    pub expires_at: Option<u64>,
}

/// Something revoked: a token, a user's tokens, or all of the tenant's.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationView {
    /// Names it, to take it back.
    pub id: String,
    /// The token with this `jti`.
    #[serde(default)]
    pub token_id: Option<String>,
    /// The tokens of this user.
    #[serde(default)]
    pub user: Option<String>,
    /// Only tokens that were issued before this moment, in milliseconds since the Unix epoch; none for one token.
    #[serde(default)]
    pub issued_before: Option<u64>,
    /// Until when it is kept, in milliseconds since the Unix epoch: then the tokens have expired.
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
    /// Who: the name of an admin token, or `server` for what happened by itself.
    pub actor: String,
    /// Whose tenant; empty for none.
    pub tenant: String,
    /// What, such as `tenant.create` or `handler.rollback`.
    pub action: String,
    /// The particulars.
    #[schema(value_type = Value)]
    pub detail: Value,
}

/// A step of a deployment, as it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum DeployStep {
    /// The component is here.
    Received {
        /// Its bytes.
        size: u64,
        /// Their hash, in hexadecimal.
        sha256: String,
    },
    /// It is being compiled, or found in the cache, and checked.
    Compiling,
    /// It is being kept.
    Storing,
    /// It is being put into service.
    Activating,
    /// It is in service on this node.
    Done {
        /// Its number.
        version: u64,
    },
}

/// Clients: whoever is in one of the rooms or is one of the users.
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

/// An event for clients.
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
    /// Who gets it.
    pub to: ClientsRequest,
    /// Who of those does not.
    #[serde(default)]
    pub except: ClientsRequest,
}

/// An event for the servers of the fleet.
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
    /// Wait for what each of them answers.
    #[serde(default)]
    pub answers: bool,
}

/// What the servers have answered.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ServerAnswers {
    /// One of each, in no order; `null` of those that handle no such events: of the nodes of
    /// Parlance one does at most (`on-server-event`).
    #[schema(value_type = Vec<Value>)]
    pub answers: Vec<Box<RawValue>>,
    /// Whether every server has answered in time (`redis.request_timeout`). False when none was waited for.
    pub complete: bool,
}

/// A connection, of whichever server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SocketView {
    /// Its id.
    pub id: String,
    /// The rooms it is in.
    pub rooms: Vec<String>,
    /// The IP address that it came from, as its server sees it; `server.trusted_proxies` are believed about it.
    pub address: Option<String>,
    /// `userId` and `username` at a node of Parlance; at a Node server what that keeps with the socket.
    #[schema(value_type = Value)]
    pub data: Box<RawValue>,
}

/// Connections.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SocketsView {
    /// Those that were found.
    pub sockets: Vec<SocketView>,
    /// Whether every server has answered in time (`redis.request_timeout`).
    pub complete: bool,
}
