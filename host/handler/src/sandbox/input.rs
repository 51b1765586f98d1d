//! The input of a handler.

use super::bindings::exports::parlance::chat as exports;
use super::interface::Interface;
use crate::capability::{RequestedChange, ResponsePart};

/// An event with its arguments, one variant for each function that handlers export.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of the WIT functions")]
pub enum HandlerInput<'a> {
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
    /// `on-revise.handle`
    Revise {
        message: &'a String,
        change: &'a RequestedChange,
    },
    /// `on-presence.handle`
    Presence(exports::on_presence::Change),
    /// `on-connect.handle`
    Connect,
    /// `on-room.handle` with `join`
    Join { room: &'a String },
    /// `on-room.handle` with `leave`
    Leave { room: &'a String },
    /// `on-event.handle`, or `on-event-ack.handle`
    Event {
        name: &'a str,
        arguments: &'a String,
        attachments: &'a [&'a [u8]],
    },
    /// `on-server-event.handle`
    ServerEvent { name: &'a str, arguments: &'a String },
    /// `on-answer.handle`
    Answer {
        /// The name of the handler that asked.
        asker: &'a str,
        tag: &'a str,
        /// A JSON array and its attachments; absent if the client did not answer.
        answer: Option<(&'a String, &'a [&'a [u8]])>,
    },
    /// `on-timer.handle`
    Timer {
        /// The name of the handler that has set it.
        owner: &'a str,
        name: &'a str,
        due_ms: u64,
        payload: &'a String,
    },
    /// `on-response.handle`
    Response {
        /// The name of the handler that has sent the request.
        owner: &'a str,
        id: &'a str,
        tag: &'a str,
        number: u32,
        part: &'a ResponsePart,
    },
}

impl<'a> HandlerInput<'a> {
    /// The room that the event names.
    #[must_use]
    pub fn room(&self) -> Option<&str> {
        match self {
            Self::Message { room, .. } | Self::Typing { room, .. } | Self::Join { room } | Self::Leave { room } => {
                Some(room)
            }
            Self::Receipt { .. }
            | Self::Revise { .. }
            | Self::Presence(_)
            | Self::Connect
            | Self::Event { .. }
            | Self::ServerEvent { .. }
            | Self::Answer { .. }
            | Self::Timer { .. }
            | Self::Response { .. } => None,
        }
    }

    /// The handler whose event it is, where that is not decided by a route.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Answer { asker, .. } => Some(asker),
            Self::Timer { owner, .. } | Self::Response { owner, .. } => Some(owner),
            _ => None,
        }
    }

    /// Whether no client has caused it.
    #[must_use]
    pub fn is_of_nobody(&self) -> bool {
        matches!(
            self,
            Self::ServerEvent { .. } | Self::Timer { .. } | Self::Response { .. }
        )
    }

    /// The interface that handles it.
    #[must_use]
    pub fn interface(&self) -> Interface {
        match self {
            Self::Message { .. } => Interface::Message,
            Self::Typing { .. } => Interface::Typing,
            Self::Receipt { .. } => Interface::Receipt,
            Self::Revise { .. } => Interface::Revise,
            Self::Presence(_) => Interface::Presence,
            Self::Connect => Interface::Connect,
            Self::Join { .. } | Self::Leave { .. } => Interface::Room,
            Self::Event { .. } => Interface::Event,
            Self::ServerEvent { .. } => Interface::ServerEvent,
            Self::Answer { .. } => Interface::Answer,
            Self::Timer { .. } => Interface::Timer,
            Self::Response { .. } => Interface::Response,
        }
    }
}
