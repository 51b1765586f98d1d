//! An event on its way into a handler.

use super::bindings::exports::parlance::chat as exports;
use super::load::Interface;

/// The event, as the interface wants it.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of the WIT functions")]
pub enum Input<'a> {
    /// `on-message.handle`
    Message {
        room: &'a String,
        content: &'a str,
        metadata: Option<&'a String>,
        client_id: Option<&'a str>,
    },
    /// `on-typing.handle`
    Typing { room: &'a String, typing: bool },
    /// `on-receipt.handle`
    Receipt { message: &'a String },
    /// `on-presence.handle`
    Presence(exports::on_presence::Change),
    /// `on-room.handle` with `join`
    Join { room: &'a String },
    /// `on-room.handle` with `leave`
    Leave { room: &'a String },
    /// `on-event.handle`
    Event {
        name: &'a str,
        arguments: &'a String,
        attachments: &'a [&'a [u8]],
    },
}

impl Input<'_> {
    /// The room that the event names.
    #[must_use]
    pub fn room(&self) -> Option<&str> {
        match self {
            Self::Message { room, .. } | Self::Typing { room, .. } | Self::Join { room } | Self::Leave { room } => {
                Some(room)
            }
            Self::Receipt { .. } | Self::Presence(_) | Self::Event { .. } => None,
        }
    }

    /// Which interface handles it.
    #[must_use]
    pub fn interface(&self) -> Interface {
        match self {
            Self::Message { .. } => Interface::Message,
            Self::Typing { .. } => Interface::Typing,
            Self::Receipt { .. } => Interface::Receipt,
            Self::Presence(_) => Interface::Presence,
            Self::Join { .. } | Self::Leave { .. } => Interface::Room,
            Self::Event { .. } => Interface::Event,
        }
    }
}

/// The same, for whoever cannot wait for the sender of what it borrows.
pub(super) enum OwnedInput {
    Message {
        room: String,
        content: String,
        metadata: Option<String>,
        client_id: Option<String>,
    },
    Typing {
        room: String,
        typing: bool,
    },
    Receipt {
        message: String,
    },
    Presence(exports::on_presence::Change),
    Join {
        room: String,
    },
    Leave {
        room: String,
    },
    Event {
        name: String,
        arguments: String,
        attachments: Vec<Vec<u8>>,
    },
}

impl From<Input<'_>> for OwnedInput {
    fn from(input: Input<'_>) -> Self {
        match input {
            Input::Message {
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
            Input::Typing { room, typing } => Self::Typing {
                room: room.clone(),
                typing,
            },
            Input::Receipt { message } => Self::Receipt {
                message: message.clone(),
            },
            Input::Presence(change) => Self::Presence(change),
            Input::Join { room } => Self::Join { room: room.clone() },
            Input::Leave { room } => Self::Leave { room: room.clone() },
            Input::Event {
                name,
                arguments,
                attachments,
            } => Self::Event {
                name: name.to_owned(),
                arguments: arguments.clone(),
                attachments: attachments.iter().map(|bytes| bytes.to_vec()).collect(),
            },
        }
    }
}

impl OwnedInput {
    /// The attachments, for [`as_input`](Self::as_input).
    pub(super) fn attachments(&self) -> Vec<&[u8]> {
        match self {
            Self::Event { attachments, .. } => attachments.iter().map(Vec::as_slice).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn as_input<'a>(&'a self, attachments: &'a [&'a [u8]]) -> Input<'a> {
        match self {
            Self::Message {
                room,
                content,
                metadata,
                client_id,
            } => Input::Message {
                room,
                content,
                metadata: metadata.as_ref(),
                client_id: client_id.as_deref(),
            },
            Self::Typing { room, typing } => Input::Typing { room, typing: *typing },
            Self::Receipt { message } => Input::Receipt { message },
            Self::Presence(change) => Input::Presence(*change),
            Self::Join { room } => Input::Join { room },
            Self::Leave { room } => Input::Leave { room },
            Self::Event { name, arguments, .. } => Input::Event {
                name,
                arguments,
                attachments,
            },
        }
    }
}
