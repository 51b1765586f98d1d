//! The arguments of the hub's own events. Clients are told their fields by these doc comments.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answers::FailedEvent;
use super::appended::Appended;
use super::revision::{Deleted, Edited, MarkedBy, Revised};
use parlance_handler::capability::{Status, declare_host_events};
use parlance_types::id::{MessageId, RoomId, UserId};

/// A message of a room.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Message")]
pub(super) struct Posted<'a> {
    pub(super) id: MessageId,
    /// Its number in its room: 1, 2, 3 … without gaps.
    #[schemars(range(min = 1))]
    pub(super) seq: u64,
    pub(super) room_id: &'a RoomId,
    /// The sender. Messages of bots have `bot:` and a name, which no user can have.
    pub(super) user_id: &'a UserId,
    /// The sender's name at that time, as the token said.
    pub(super) username: &'a str,
    pub(super) content: &'a str,
    /// What the sender added. The server does not check it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub(super) metadata: Option<&'a RawValue>,
    pub(super) sent_at: u64,
    /// The sender's own id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<&'a str>,
    #[serde(flatten)]
    pub(super) revision: Option<Revised<'a>>,
}

/// A message that has changed.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Changed<'a> {
    pub(super) message: Posted<'a>,
}

impl JsonSchema for Changed<'_> {
    fn schema_name() -> Cow<'static, str> {
        "ChangedMessage".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let mut schema = Posted::json_schema(schemas);
        if let Some(required) = schema.get_mut("required").and_then(serde_json::Value::as_array_mut) {
            required.push("rev".into());
        }
        schema.insert(
            "description".to_owned(),
            "A message that has changed, as it is now.".into(),
        );
        schema
    }
}

/// How far a user has read.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct Read<'a> {
    pub(super) message_id: MessageId,
    pub(super) room_id: &'a RoomId,
    pub(super) user_id: &'a UserId,
    pub(super) read_at: u64,
}

/// A user's presence, as others are told.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Presence")]
pub(super) struct PresenceEvent<'a> {
    pub(super) user_id: &'a UserId,
    pub(super) username: &'a str,
    pub(super) status: Status,
    /// Since when it has been so.
    pub(super) since: u64,
}

/// A user's presence, as an asker is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PresenceState")]
pub(super) struct PlainState<'a> {
    pub(super) user_id: &'a UserId,
    /// The name of a user who is online or away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<&'a str>,
    pub(super) status: Status,
    /// How many connections the user has.
    pub(super) connections: u32,
    /// Since when it has been so.
    pub(super) since: u64,
}

/// A user in a room.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RoomUser")]
pub(super) struct Membership<'a> {
    pub(super) room_id: &'a RoomId,
    pub(super) user_id: &'a UserId,
    pub(super) username: &'a str,
}

/// The end of a token.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct Expiring {
    pub(super) expires_at: u64,
}

declare_host_events! {
    /// The events of rooms, messages and presence.
    pub const HUB_EVENTS;

    /// A message was posted in a room that this connection is in.
    pub(super) NewMessage = "new-message", Posted<'a>;

    /// An author has edited a message.
    pub(super) MessageEdited = "message-edited", Edited<'a>;

    /// Text was added to the end of a message, as by a bot that answers word by word. What comes
    /// within 40 ms comes as one, unless something else happens in the room.
    pub(super) MessageAppended = "message-appended", Appended;

    /// A message was deleted.
    pub(super) MessageDeleted = "message-deleted", Deleted<'a>;

    /// A user has set a mark or taken it back.
    pub(super) MessageMarked = "message-marked", MarkedBy<'a>;

    /// A message as it is now. It comes instead of single changes where the server has missed some.
    pub(super) MessageChanged = "message-changed", Changed<'a>;

    /// A user has read a message, and those before it.
    pub(super) MessageRead = "message-read", Read<'a>;

    /// A user's first connection has joined the room.
    pub(super) UserJoined = "user-joined", Membership<'a>;

    /// A user's last connection has left the room.
    pub(super) UserLeft = "user-left", Membership<'a>;

    /// The presence of a user who shares a room with this one has changed.
    pub(super) PresenceChanged = "presence", PresenceEvent<'a>;

    /// The connection's token expires soon: send a new one with `refresh-token`.
    pub(super) TokenExpiring = "token-expiring", Expiring;

    /// An event that asked for no acknowledgement has failed.
    pub(super) ErrorEvent = "error-event", FailedEvent<'a>;
}
