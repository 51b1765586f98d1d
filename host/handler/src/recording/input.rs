//! The input of an event, owned: of one in a recording, or of one that a test makes up.

use parlance_store::{ClientRef, RequestDigest};
use serde::{Deserialize, Serialize};

use super::blob::Blob;
use crate::capability::{RequestedChange, ResponsePart, Status};
use crate::sandbox::{Change, HandlerInput, Interface};

/// An event with its arguments, as a handler got them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the WIT functions")]
pub enum Input {
    /// `on-message.handle`
    Message {
        room: String,
        content: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
    },
    /// `on-typing.handle`
    Typing { room: String, typing: bool },
    /// `on-receipt.handle`
    Receipt { message: String },
    /// `on-revise.handle`
    Revise {
        message: String,
        #[serde(flatten)]
        change: RequestedChange,
    },
    /// `on-presence.handle`
    Presence { change: PresenceChange },
    /// `on-connect.handle`
    Connect,
    /// `on-room.handle` with `join`
    Join { room: String },
    /// `on-room.handle` with `leave`
    Leave { room: String },
    /// `on-event.handle`, or `on-event-ack.handle`
    Event {
        name: String,
        arguments: String,
        attachments: Vec<Blob>,
    },
    /// `on-server-event.handle`
    ServerEvent { name: String, arguments: String },
    /// `on-answer.handle`
    Answer {
        asker: String,
        tag: String,
        /// A JSON array; absent if the client did not answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arguments: Option<String>,
        #[serde(default)]
        attachments: Vec<Blob>,
    },
    /// `on-timer.handle`
    Timer {
        owner: String,
        name: String,
        due_ms: u64,
        payload: String,
    },
    /// `on-response.handle`
    Response {
        owner: String,
        id: String,
        tag: String,
        number: u32,
        part: ResponsePart,
    },
}

/// A change of a connection's presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresenceChange {
    /// The connection was opened.
    Connected,
    /// The connection was closed.
    Disconnected,
    /// The client has set its status to online.
    Online,
    /// The client has set its status to away.
    Away,
    /// The client has set its status to offline.
    Offline,
}

impl From<Change> for PresenceChange {
    fn from(change: Change) -> Self {
        match change {
            Change::Connected => Self::Connected,
            Change::Disconnected => Self::Disconnected,
            Change::Set(status) => match Status::from(status) {
                Status::Online => Self::Online,
                Status::Away => Self::Away,
                Status::Offline => Self::Offline,
            },
        }
    }
}

impl From<PresenceChange> for Change {
    fn from(change: PresenceChange) -> Self {
        match change {
            PresenceChange::Connected => Self::Connected,
            PresenceChange::Disconnected => Self::Disconnected,
            PresenceChange::Online => Self::Set(Status::Online.into()),
            PresenceChange::Away => Self::Set(Status::Away.into()),
            PresenceChange::Offline => Self::Set(Status::Offline.into()),
        }
    }
}

impl Input {
    /// A copy of a handler's input.
    #[must_use]
    pub fn of(input: &HandlerInput<'_>) -> Self {
        let blobs = |slices: &[&[u8]]| slices.iter().map(|bytes| Blob(bytes.to_vec())).collect();
        match *input {
            HandlerInput::Message {
                room,
                content,
                metadata,
                client_id,
            } => Self::Message {
                room: room.clone(),
                content: content.to_owned(),
                metadata: metadata.cloned(),
                client_id: client_id.map(str::to_owned),
            },
            HandlerInput::Typing { room, typing } => Self::Typing {
                room: room.clone(),
                typing,
            },
            HandlerInput::Receipt { message } => Self::Receipt {
                message: message.clone(),
            },
            HandlerInput::Revise { message, change } => Self::Revise {
                message: message.clone(),
                change: change.clone(),
            },
            HandlerInput::Presence(change) => Self::Presence { change: change.into() },
            HandlerInput::Connect => Self::Connect,
            HandlerInput::Join { room } => Self::Join { room: room.clone() },
            HandlerInput::Leave { room } => Self::Leave { room: room.clone() },
            HandlerInput::Event {
                name,
                arguments,
                attachments,
            } => Self::Event {
                name: name.to_owned(),
                arguments: arguments.clone(),
                attachments: blobs(attachments),
            },
            HandlerInput::ServerEvent { name, arguments } => Self::ServerEvent {
                name: name.to_owned(),
                arguments: arguments.clone(),
            },
            HandlerInput::Answer { asker, tag, answer } => Self::Answer {
                asker: asker.to_owned(),
                tag: tag.to_owned(),
                arguments: answer.map(|(arguments, _)| arguments.clone()),
                attachments: answer.map(|(_, attachments)| blobs(attachments)).unwrap_or_default(),
            },
            HandlerInput::Timer {
                owner,
                name,
                due_ms,
                payload,
            } => Self::Timer {
                owner: owner.to_owned(),
                name: name.to_owned(),
                due_ms,
                payload: payload.clone(),
            },
            HandlerInput::Response {
                owner,
                id,
                tag,
                number,
                part,
            } => Self::Response {
                owner: owner.to_owned(),
                id: id.to_owned(),
                tag: tag.to_owned(),
                number,
                part: part.clone(),
            },
        }
    }

    /// The client's reference to the message that the event sends, if it has one.
    #[must_use]
    pub fn sent(&self) -> Option<ClientRef> {
        match self {
            Self::Message {
                room,
                content,
                metadata,
                client_id: Some(id),
            } => Some(ClientRef {
                id: id.as_str().into(),
                request: RequestDigest::of(room, content, metadata.as_deref()),
            }),
            _ => None,
        }
    }

    /// Its attachments, for [`handler_input`](Self::handler_input).
    #[must_use]
    pub fn attachments(&self) -> Vec<&[u8]> {
        match self {
            Self::Event { attachments, .. } | Self::Answer { attachments, .. } => {
                attachments.iter().map(|blob| blob.0.as_slice()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The input for a handler, with [`attachments`](Self::attachments).
    #[must_use]
    pub fn handler_input<'a>(&'a self, slices: &'a [&'a [u8]]) -> HandlerInput<'a> {
        match self {
            Self::Message {
                room,
                content,
                metadata,
                client_id,
            } => HandlerInput::Message {
                room,
                content,
                metadata: metadata.as_ref(),
                client_id: client_id.as_deref(),
            },
            Self::Typing { room, typing } => HandlerInput::Typing { room, typing: *typing },
            Self::Receipt { message } => HandlerInput::Receipt { message },
            Self::Revise { message, change } => HandlerInput::Revise { message, change },
            Self::Presence { change } => HandlerInput::Presence((*change).into()),
            Self::Connect => HandlerInput::Connect,
            Self::Join { room } => HandlerInput::Join { room },
            Self::Leave { room } => HandlerInput::Leave { room },
            Self::Event { name, arguments, .. } => HandlerInput::Event {
                name,
                arguments,
                attachments: slices,
            },
            Self::ServerEvent { name, arguments } => HandlerInput::ServerEvent { name, arguments },
            Self::Answer {
                asker, tag, arguments, ..
            } => HandlerInput::Answer {
                asker,
                tag,
                answer: arguments.as_ref().map(|arguments| (arguments, slices)),
            },
            Self::Timer {
                owner,
                name,
                due_ms,
                payload,
            } => HandlerInput::Timer {
                owner,
                name,
                due_ms: *due_ms,
                payload,
            },
            Self::Response {
                owner,
                id,
                tag,
                number,
                part,
            } => HandlerInput::Response {
                owner,
                id,
                tag,
                number: *number,
                part,
            },
        }
    }

    /// The interface that handles it.
    #[must_use]
    pub fn interface(&self) -> Interface {
        self.handler_input(&[]).interface()
    }
}
