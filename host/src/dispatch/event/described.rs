//! What clients may send and what is acknowledged, for the description of all events. Tests of `event.rs` parse what these
//! schemas allow and what they forbid, so this table and the parser cannot differ.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::SendMessage;
use super::request::{HistoryRequest, PastRequest, RoomMembersRequest, UnreadRequest};
use super::revise::{DeleteMessage, EditMessage, MarkMessage};
use parlance_hub::{HistoryBody, JoinBody, MembersBody, OkBody, RefreshedBody, SentBody, StatesBody, UnreadBody};
use parlance_types::id::{MessageId, RoomId};

/// An event that clients send.
pub(in crate::dispatch) struct ClientEvent {
    pub(in crate::dispatch) name: &'static str,
    /// What it does, with the shipped handlers.
    pub(in crate::dispatch) about: &'static str,
    pub(in crate::dispatch) arguments: &'static [Argument],
    /// The schema of the acknowledgement if it succeeds.
    pub(in crate::dispatch) answer: fn(&mut SchemaGenerator) -> Schema,
}

/// An argument of an event.
pub(in crate::dispatch) struct Argument {
    pub(in crate::dispatch) name: &'static str,
    pub(in crate::dispatch) is_required: bool,
    pub(in crate::dispatch) schema: fn(&mut SchemaGenerator) -> Schema,
}

fn schema_of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

const fn required<T: JsonSchema>(name: &'static str) -> Argument {
    Argument {
        name,
        is_required: true,
        schema: schema_of::<T>,
    }
}

const fn optional<T: JsonSchema>(name: &'static str) -> Argument {
    Argument {
        name,
        is_required: false,
        schema: schema_of::<Option<T>>,
    }
}

/// The statuses that a client may set.
fn own_status(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["online", "away"] })
}

/// All of them but custom events.
pub(in crate::dispatch) const CLIENT_EVENTS: &[ClientEvent] = &[
    ClientEvent {
        name: "join-room",
        about: "Enters a room.",
        arguments: &[required::<RoomId>("roomId"), optional::<PastRequest>("options")],
        answer: schema_of::<JoinBody<'_>>,
    },
    ClientEvent {
        name: "leave-room",
        about: "Leaves a room.",
        arguments: &[required::<RoomId>("roomId")],
        answer: schema_of::<OkBody<'_>>,
    },
    ClientEvent {
        name: "send-message",
        about: "Posts a message. The same `clientId` posts once.",
        arguments: &[required::<SendMessage>("message")],
        answer: schema_of::<SentBody<'_>>,
    },
    ClientEvent {
        name: "typing",
        about: "The user types, or has stopped.",
        arguments: &[required::<RoomId>("roomId"), optional::<bool>("isTyping")],
        answer: schema_of::<OkBody<'_>>,
    },
    ClientEvent {
        name: "read-message",
        about: "The user has read a message, and those before it.",
        arguments: &[required::<MessageId>("messageId")],
        answer: schema_of::<OkBody<'_>>,
    },
    ClientEvent {
        name: "edit-message",
        about: "Replaces the content and the metadata of one's own message.",
        arguments: &[required::<EditMessage>("edit")],
        answer: schema_of::<OkBody<'_>>,
    },
    ClientEvent {
        name: "delete-message",
        about: "Deletes one's own message.",
        arguments: &[required::<DeleteMessage>("message")],
        answer: schema_of::<OkBody<'_>>,
    },
    ClientEvent {
        name: "mark-message",
        about: "Sets a mark, or takes it back.",
        arguments: &[required::<MarkMessage>("mark")],
        answer: schema_of::<OkBody<'_>>,
    },
    ClientEvent {
        name: "set-presence",
        about: "Sets the presence of this connection.",
        arguments: &[Argument {
            name: "status",
            is_required: true,
            schema: own_status,
        }],
        answer: schema_of::<OkBody<'_>>,
    },
    ClientEvent {
        name: "get-presence",
        about: "Asks for the presence of users.",
        arguments: &[required::<Vec<String>>("userIds")],
        answer: schema_of::<StatesBody<'_>>,
    },
    ClientEvent {
        name: "history",
        about: "Reads a page of a room's messages: the newest ones before `before`, or the oldest ones after `after`.",
        arguments: &[required::<HistoryRequest>("page")],
        answer: schema_of::<HistoryBody<'_>>,
    },
    ClientEvent {
        name: "unread",
        about: "Reads the rooms in which the user is a lasting member, in the order of their ids.",
        arguments: &[optional::<UnreadRequest>("page")],
        answer: schema_of::<UnreadBody<'_>>,
    },
    ClientEvent {
        name: "room-members",
        about: "Reads the lasting members of a room that the connection is in, in the order of their ids.",
        arguments: &[required::<RoomMembersRequest>("page")],
        answer: schema_of::<MembersBody<'_>>,
    },
    ClientEvent {
        name: "refresh-token",
        about: "Replaces the connection's token by a later one of the same user.",
        arguments: &[required::<String>("token")],
        answer: schema_of::<RefreshedBody>,
    },
];
