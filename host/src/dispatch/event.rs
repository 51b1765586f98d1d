//! Parses the text of a Socket.IO event into an [`Event`], and checks it against the client limits.

mod described;
mod request;
mod revise;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use parlance_handler::capability::{ClientLimits, MARK_MAX, RequestedChange, Status, is_mark};
use parlance_store::PastRange;
use parlance_types::error::{Code, EventError};
use parlance_types::id::{RoomId, UserId, check_client_id};
use parlance_types::text::json;
use request::{KnownFields, Object, PastRequest};
use revise::{DeleteMessage, EditMessage, MarkMessage};

pub(super) use described::{CLIENT_EVENTS, ClientEvent};
pub(super) use request::{HistoryRequest, RoomMembersRequest, UnreadRequest};

/// An event of a client.
#[derive(Debug)]
pub(super) enum Event {
    Join {
        room: String,
        past: PastRange,
    },
    Leave {
        room: String,
    },
    Message(SendMessage),
    Typing {
        room: String,
        typing: bool,
    },
    Read {
        message: String,
    },
    Revise {
        message: String,
        change: RequestedChange,
    },
    SetPresence(Status),
    GetPresence(Vec<String>),
    History(HistoryRequest),
    Unread(UnreadRequest),
    RoomMembers(RoomMembersRequest),
    RefreshToken(String),
    Custom {
        name: String,
        arguments: String,
        attachments: Vec<Bytes>,
    },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct SendMessage {
    #[serde(rename = "roomId")]
    #[schemars(with = "RoomId")]
    pub(super) room: String,
    #[schemars(length(min = 1))]
    pub(super) content: String,
    /// What the sender adds. The server does not check it.
    #[serde(default, deserialize_with = "json_text")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub(super) metadata: Option<String>,
    /// The sender's own id of the message, such as a UUID.
    #[serde(default)]
    pub(super) client_id: Option<String>,
}

/// A parsed event, with what the reply must mention.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) event: Event,
    /// Unknown keys of the event's object.
    pub(super) unknown: Vec<String>,
}

/// Keeps a JSON value as text, and reads `null` as absent.
fn json_text<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<String>, D::Error> {
    let value = Option::<Box<RawValue>>::deserialize(reader)?;
    Ok(value
        .map(|value| String::from(Box::<str>::from(value)))
        .filter(|text| text != "null"))
}

/// The name of an event, found without parsing the rest, since replies to events that cannot be parsed need it too.
pub(super) fn name(text: &str) -> &str {
    let rest = text.trim_start().strip_prefix('[').unwrap_or_default().trim_start();
    rest.strip_prefix('"')
        .and_then(|rest| rest.split_once('"'))
        .map_or("", |(name, _)| name)
}

impl Event {
    /// Parses the text `["name", argument, …]` and checks the limits.
    pub(super) fn parse(text: &str, attachments: Vec<Bytes>, limits: &ClientLimits) -> Result<Parsed, EventError> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let visitor = EventVisitor {
            limits,
            failure: std::cell::RefCell::new(None),
            unknown: std::cell::RefCell::new(Vec::new()),
        };
        let mut event = match serde::Deserializer::deserialize_seq(&mut reader, &visitor) {
            Ok(event) => event,
            Err(error) => {
                let failure = visitor.failure.take();
                return Err(
                    failure.unwrap_or_else(|| invalid(format!("{}: {}", usage(name(text)), without_position(&error))))
                );
            }
        };
        match &mut event {
            Self::Custom { attachments: own, .. } => *own = attachments,
            _ if attachments.is_empty() => {}
            _ => return Err(invalid(format!("{}: it takes no binary data", usage(name(text))))),
        }
        event.check(limits)?;
        Ok(Parsed {
            event,
            unknown: visitor.unknown.take(),
        })
    }

    fn check(&self, limits: &ClientLimits) -> Result<(), EventError> {
        match self {
            Self::Message(message) => {
                check_room(&message.room, limits)?;
                check_text(&message.content, message.metadata.as_deref(), limits)?;
                match &message.client_id {
                    Some(id) => {
                        check_size("clientId", id.len(), limits.client_id)?;
                        check_client_id(id, limits.client_id).map_err(|error| invalid(error.to_string()))
                    }
                    None => Ok(()),
                }
            }
            Self::Revise { change, .. } => match change {
                RequestedChange::Edit { content, metadata } => check_text(content, metadata.as_deref(), limits),
                RequestedChange::Delete => Ok(()),
                RequestedChange::Mark { kind, value, .. } if is_mark(kind) && is_mark(value) => Ok(()),
                RequestedChange::Mark { .. } => Err(invalid(format!("kind and value must have 1 to {MARK_MAX} bytes"))),
            },
            Self::Join { room: id, .. }
            | Self::Leave { room: id }
            | Self::Typing { room: id, .. }
            | Self::History(HistoryRequest { room: id, .. }) => check_room(id, limits),
            Self::RoomMembers(RoomMembersRequest { room, after, .. }) => {
                check_room(room, limits)?;
                after.as_deref().map_or(Ok(()), check_user)
            }
            Self::Unread(UnreadRequest { after, .. }) => {
                after.as_deref().map_or(Ok(()), |after| check_room(after, limits))
            }
            Self::GetPresence(users) if users.len() > limits.presence_users => Err(EventError::new(
                Code::TooLarge,
                format!(
                    "get-presence takes at most {} users; these are {}",
                    limits.presence_users,
                    users.len()
                ),
            )),
            Self::Custom { arguments, .. } => check_depth("the arguments", arguments, limits.json_depth),
            Self::Read { .. } | Self::SetPresence(_) | Self::GetPresence(_) | Self::RefreshToken(_) => Ok(()),
        }
    }
}

struct EventVisitor<'a> {
    limits: &'a ClientLimits,
    /// An error with a code of its own. serde's errors cannot carry one.
    failure: std::cell::RefCell<Option<EventError>>,
    /// Unknown keys of the event's object.
    unknown: std::cell::RefCell<Vec<String>>,
}

impl<'de> Visitor<'de> for &EventVisitor<'_> {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array that begins with the event's name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Event, A::Error> {
        let name: std::borrow::Cow<'de, str> = argument(&mut items, "its name")?;
        let event = match &*name {
            "send-message" => Event::Message(self.object(&mut items)?),
            "typing" => Event::Typing {
                room: argument(&mut items, "the room")?,
                typing: items.next_element::<Option<bool>>()?.flatten().unwrap_or(true),
            },
            "read-message" => Event::Read {
                message: argument(&mut items, "the message id")?,
            },
            "edit-message" => self.object::<_, EditMessage>(&mut items)?.into(),
            "delete-message" => self.object::<_, DeleteMessage>(&mut items)?.into(),
            "mark-message" => self.object::<_, MarkMessage>(&mut items)?.into(),
            "join-room" => Event::Join {
                room: argument(&mut items, "the room")?,
                past: items
                    .next_element::<Option<Object<PastRequest>>>()?
                    .flatten()
                    .map(|options| self.fields(options).into())
                    .unwrap_or_default(),
            },
            "leave-room" => Event::Leave {
                room: argument(&mut items, "the room")?,
            },
            "set-presence" => match argument::<_, String>(&mut items, "the status")?.as_str() {
                "online" => Event::SetPresence(Status::Online),
                "away" => Event::SetPresence(Status::Away),
                other => {
                    let wrong = format!("the status must be `online` or `away`, not {other:?}");
                    return Err(A::Error::custom(wrong));
                }
            },
            "get-presence" => Event::GetPresence(argument(&mut items, "the users")?),
            "history" => Event::History(self.object(&mut items)?),
            "unread" => Event::Unread(
                items
                    .next_element::<Option<Object<UnreadRequest>>>()?
                    .flatten()
                    .map(|options| self.fields(options))
                    .unwrap_or_default(),
            ),
            "room-members" => Event::RoomMembers(self.object(&mut items)?),
            "refresh-token" => Event::RefreshToken(argument(&mut items, "the token")?),
            _ => self.custom(&name, &mut items)?,
        };
        // Later versions may have more arguments.
        while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(event)
    }
}

impl EventVisitor<'_> {
    fn object<'de, A: SeqAccess<'de>, T: Deserialize<'de> + KnownFields>(&self, items: &mut A) -> Result<T, A::Error> {
        Ok(self.fields(argument(items, "an object")?))
    }

    /// Takes the fields out of an object, and keeps its unknown keys for the reply.
    fn fields<T>(&self, object: Object<T>) -> T {
        *self.unknown.borrow_mut() = object.unknown;
        object.fields
    }

    fn custom<'de, A: SeqAccess<'de>>(&self, name: &str, items: &mut A) -> Result<Event, A::Error> {
        if name.is_empty() || name.len() > self.limits.event_name {
            let allowed = format!(
                "an event name has 1 to {} bytes; this one has {}",
                self.limits.event_name,
                name.len()
            );
            *self.failure.borrow_mut() = Some(invalid(allowed));
            return Err(A::Error::custom("name"));
        }
        let mut arguments = String::from("[");
        while let Some(argument) = items.next_element::<&RawValue>()? {
            if arguments.len() > 1 {
                arguments.push(',');
            }
            arguments.push_str(argument.get());
        }
        arguments.push(']');
        Ok(Event::Custom {
            name: name.to_owned(),
            arguments,
            attachments: Vec::new(),
        })
    }
}

fn argument<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(items: &mut A, what: &str) -> Result<T, A::Error> {
    items
        .next_element()?
        .ok_or_else(|| A::Error::custom(format_args!("{what} is missing")))
}

/// The arguments of an event, for the error message about a wrong one.
fn usage(name: &str) -> &'static str {
    match name {
        "send-message" => "send-message takes {roomId, content, metadata?, clientId?}",
        "typing" => "typing takes (roomId, isTyping = true)",
        "read-message" => "read-message takes (messageId)",
        "join-room" => "join-room takes (roomId, {after?: seq, last?: count, rev?: rev}?)",
        "edit-message" => "edit-message takes {messageId, content, metadata?}",
        "delete-message" => "delete-message takes {messageId}",
        "mark-message" => "mark-message takes {messageId, kind, value, on = true}",
        "leave-room" => "leave-room takes (roomId)",
        "set-presence" => "set-presence takes (\"online\" or \"away\")",
        "get-presence" => "get-presence takes ([userId…])",
        "history" => "history takes ({roomId, after?, before?, limit?})",
        "unread" => "unread takes ({after?: roomId, limit?}?)",
        "room-members" => "room-members takes ({roomId, after?: userId, limit?})",
        "refresh-token" => "refresh-token takes (token)",
        _ => "an event takes JSON arguments",
    }
}

/// The error's message without its line and column, which mean nothing to a client that sent JavaScript values.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text.get(..at).unwrap_or_default().to_owned(),
        None => text,
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> EventError {
    EventError::new(Code::Invalid, message)
}

/// Checks the content and metadata of a message.
pub(super) fn check_text(content: &str, metadata: Option<&str>, limits: &ClientLimits) -> Result<(), EventError> {
    if content.is_empty() {
        return Err(invalid("content must not be empty"));
    }
    check_size("content", content.len(), limits.content)?;
    if let Some(metadata) = metadata {
        check_size("metadata", metadata.len(), limits.metadata)?;
        check_depth("metadata", metadata, limits.json_depth)?;
    }
    Ok(())
}

pub(super) fn check_room(id: &str, limits: &ClientLimits) -> Result<(), EventError> {
    RoomId::new(id).map_err(|error| invalid(error.to_string()))?;
    if id.len() > limits.room_id {
        return Err(invalid(format!(
            "room id has {} bytes; at most {} are allowed",
            id.len(),
            limits.room_id
        )));
    }
    Ok(())
}

fn check_user(id: &str) -> Result<(), EventError> {
    UserId::new(id).map(drop).map_err(|error| invalid(error.to_string()))
}

pub(super) fn check_size(what: &str, got: usize, max: usize) -> Result<(), EventError> {
    if got > max {
        return Err(EventError::new(
            Code::TooLarge,
            format!("{what} has {got} bytes; at most {max} are allowed"),
        ));
    }
    Ok(())
}

/// Checks the nesting of JSON that is passed on, because parsers of handlers and of other clients may recurse.
fn check_depth(what: &str, json: &str, max: usize) -> Result<(), EventError> {
    if json::exceeds_depth(json, max) {
        return Err(invalid(format!("{what} must not nest deeper than {max}")));
    }
    Ok(())
}
