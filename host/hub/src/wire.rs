//! The JSON that clients get: the host's own events and acknowledgements. Each of them is encoded only here.

mod answers;
mod appended;
mod bodies;
mod members;
mod past;
mod revision;
mod shipped;

use std::time::Duration;

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::connection::{Connection, Outgoing};
use answers::{ErrorBody, FailedEvent};
pub use answers::{Failed, OkBody, RefreshedBody, SentBody, StatesBody};
pub(super) use appended::Appended;
pub use bodies::HUB_EVENTS;
use bodies::{
    ErrorEvent, Expiring, Membership, MessageRead, NewMessage, PlainState, Posted, PresenceChanged, PresenceEvent,
    Read, TokenExpiring, UserJoined, UserLeft,
};
pub use members::{MembersBody, UnreadBody, members_reply, unread_reply};
use parlance_handler::capability::{HostEvent, Packet, PresenceState, Status};
use parlance_store::{ClientRef, Draft, Message};
use parlance_types::error::{Code, EventError};
use parlance_types::id::{MessageId, RoomId, UserId};
pub use past::{HistoryBody, JoinBody, history_reply, join_reply};
pub(super) use revision::{message_changed, message_revised};
pub use shipped::UserTyping;

/// What the answer to an event says when the event succeeded. [`Responder`] is how it reaches the client.
#[derive(Debug, Clone)]
pub enum Reply {
    /// `{ok: true, message: {id, seq, sentAt, username, clientId?}}` of the event's first post, `data` added when there
    /// is some.
    Message {
        /// A JSON text.
        data: Option<String>,
    },
    /// `{ok: true}`, `data` added when there is some.
    Ok {
        /// A JSON text.
        data: Option<String>,
    },
    /// What the handler returned, unchanged: a JSON text.
    AsIs(String),
    /// The acknowledgement's arguments that the handler returned: a JSON array, with its attachments.
    Arguments(Packet),
    /// The message was posted before. The answer has its `seq`, and nothing of a handler.
    Repeated(Box<Repeated>),
    /// No answer: none was asked for, or it is sent elsewhere.
    Silent,
}

impl Reply {
    /// The bytes that the answer takes, besides what all answers have.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Message { data } | Self::Ok { data } => data.as_ref().map_or(0, String::len),
            Self::AsIs(json) => json.len(),
            Self::Arguments(packet) => packet.bytes(),
            Self::Repeated(_) | Self::Silent => 0,
        }
    }
}

/// How an event is answered, whether it succeeded ([`Reply`]) or failed (`EventError`): by an acknowledgement if the
/// client asked for one, and by `error-event` if it did not and the event failed.
#[derive(Debug, Clone)]
pub struct Responder {
    /// The client's number for the acknowledgement.
    pub ack: Option<i64>,
    /// The event's name, for `error-event`.
    pub event: std::borrow::Cow<'static, str>,
    /// Keys of the request that the server does not know. The answer names them.
    pub unknown: Vec<String>,
}

/// A message that was posted before, as its sender is told when sending it again.
#[derive(Debug, Clone)]
pub struct Repeated {
    /// Its room.
    pub room: RoomId,
    /// The receipt that is acknowledged.
    pub receipt: Receipt,
}

impl Repeated {
    /// The answer to a message whose id is taken by the message `first`.
    ///
    /// # Errors
    /// The first message was sent with other content.
    pub fn of(first: Message, sent: &ClientRef) -> Result<Self, EventError> {
        if first.request() != sent.request {
            return Err(client_id_taken());
        }
        Ok(Self {
            room: first.room,
            receipt: Receipt {
                id: first.id,
                seq: first.seq,
                sent_at: first.sent_at,
                username: first.username,
                client_id: Some(sent.id.clone()),
            },
        })
    }
}

/// The error for a sender who uses a `clientId` again for another message.
#[must_use]
pub fn client_id_taken() -> EventError {
    EventError::new(
        Code::Conflict,
        "this clientId is that of another message; give each message one of its own",
    )
}

/// After how long a client may send an event again that others came before at each run.
const CONFLICT_RETRY: Duration = Duration::from_millis(100);

/// The error for an event whose keys others have changed at each of its runs.
#[must_use]
pub fn keys_contested() -> EventError {
    EventError::limited(
        Code::Conflict,
        "other events changed the same keys each time that this one ran; try again",
        CONFLICT_RETRY,
    )
}

/// The receipt of a message for its sender.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Its id.
    pub id: MessageId,
    /// Its number in its room.
    #[schemars(range(min = 1))]
    pub seq: u64,
    /// When it was posted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// The sender's name.
    #[schemars(with = "String")]
    pub username: Arc<str>,
    /// The sender's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub client_id: Option<Arc<str>>,
}

/// Encodes as JSON. Cannot fail: the values are strings, numbers, and JSON that was checked when it arrived.
fn write<T: Serialize + ?Sized>(value: &T, capacity: usize) -> Bytes {
    let mut text = Vec::with_capacity(capacity);
    if let Err(error) = serde_json::to_writer(&mut text, value) {
        tracing::error!(%error, "a packet could not be written");
    }
    text.into()
}

/// The JSON was checked when it arrived, or was encoded here.
fn raw(json: Option<&str>) -> Option<&RawValue> {
    json.and_then(|json| serde_json::from_str(json).ok())
}

fn event<E: HostEvent>(body: &E::Argument<'_>, capacity: usize) -> Outgoing {
    Outgoing::Event(Packet {
        text: write(&(E::NAME, body), capacity),
        attachments: Vec::new(),
    })
}

pub(super) fn new_message(draft: &Draft, seq: u64) -> Outgoing {
    let metadata = draft.metadata.as_deref();
    let body = Posted {
        id: draft.id,
        seq,
        room_id: &draft.room,
        user_id: &draft.sender,
        username: &draft.username,
        content: &draft.content,
        metadata: raw(metadata),
        sent_at: draft.sent_at,
        client_id: draft.client.as_ref().map(|client| &*client.id),
        revision: None,
    };
    let capacity = 288 + draft.content.len() + draft.room.as_str().len() + metadata.map_or(0, str::len);
    event::<NewMessage>(&body, capacity)
}

/// `new-message` of a message that was read from the store.
pub(super) fn stored_message(message: &Message) -> Outgoing {
    event::<NewMessage>(&posted(message), 288 + message.content.len())
}

pub(super) fn message_read(id: MessageId, room: &RoomId, user: &UserId, read_at: u64) -> Outgoing {
    event::<MessageRead>(
        &Read {
            message_id: id,
            room_id: room,
            user_id: user,
            read_at,
        },
        192,
    )
}

pub(super) fn presence(user: &UserId, username: &str, status: Status, since: u64) -> Outgoing {
    event::<PresenceChanged>(
        &PresenceEvent {
            user_id: user,
            username,
            status,
            since,
        },
        160,
    )
}

/// `user-joined`: a user's first connection has joined the room.
pub(super) fn user_joined(room: &RoomId, user: &UserId, username: &str) -> Outgoing {
    membership::<UserJoined>(room, user, username)
}

/// `user-left`: a user's last connection has left the room.
pub(super) fn user_left(room: &RoomId, user: &UserId, username: &str) -> Outgoing {
    membership::<UserLeft>(room, user, username)
}

fn membership<E>(room_id: &RoomId, user_id: &UserId, username: &str) -> Outgoing
where
    for<'a> E: HostEvent<Argument<'a> = Membership<'a>>,
{
    let body = Membership {
        room_id,
        user_id,
        username,
    };
    event::<E>(&body, 160)
}

fn posted(message: &Message) -> Posted<'_> {
    Posted {
        id: message.id,
        seq: message.seq,
        room_id: &message.room,
        user_id: &message.sender,
        username: &message.username,
        content: &message.content,
        metadata: raw(message.metadata.as_deref()),
        sent_at: message.sent_at,
        client_id: message.client.as_ref().map(|client| &*client.id),
        revision: message.revision.as_deref().map(revision::Revised::of),
    }
}

/// `token-expiring`: when the client's token expires, in milliseconds since the Unix epoch.
#[must_use]
pub fn token_expiring(expires_at: u64) -> Outgoing {
    event::<TokenExpiring>(&Expiring { expires_at }, 64)
}

fn plain(state: &PresenceState) -> PlainState<'_> {
    PlainState {
        user_id: &state.user,
        username: state.username.as_deref(),
        status: state.status,
        connections: state.connections,
        since: state.since,
    }
}

/// The acknowledgement of `refresh-token`: when the new token expires, in milliseconds since the Unix epoch.
#[must_use]
pub fn token_reply(expires_at: u64) -> Bytes {
    write(&[RefreshedBody { ok: true, expires_at }], 64)
}

/// The acknowledgement of `get-presence`.
#[must_use]
pub fn presence_reply(states: &[PresenceState]) -> Bytes {
    let states = states.iter().map(plain).collect();
    write(&[StatesBody { ok: true, states }], 256)
}

impl Responder {
    /// The answer's settings for an event.
    #[must_use]
    pub fn new(ack: Option<i64>, event: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self {
            ack,
            event: event.into(),
            unknown: Vec::new(),
        }
    }

    fn done(&self, message: Option<&Receipt>, data: Option<&str>) -> Bytes {
        let (ok, data, unknown) = (true, raw(data), &*self.unknown);
        match message {
            Some(message) => write(
                &[SentBody {
                    ok,
                    message,
                    data,
                    unknown,
                }],
                192,
            ),
            None => write(&[OkBody { ok, data, unknown }], 192),
        }
    }

    /// The answer to an event that succeeded, if one was asked for.
    pub(super) fn answer(&self, reply: &Reply, first_post: Option<&Receipt>) -> Option<Outgoing> {
        let id = self.ack?;
        let text = match reply {
            Reply::Silent => return None,
            Reply::Arguments(packet) => {
                return Some(Outgoing::Acknowledgement {
                    id,
                    text: packet.text.clone(),
                    attachments: packet.attachments.clone(),
                });
            }
            Reply::Message { data } => self.done(first_post, data.as_deref()),
            Reply::Repeated(repeated) => self.done(Some(&repeated.receipt), None),
            Reply::Ok { data } => self.done(None, data.as_deref()),
            Reply::AsIs(json) => match raw(Some(json)) {
                Some(json) => write(&[json], json.get().len() + 2),
                None => {
                    let code = Code::HandlerFailed;
                    return Some(self.failure(&EventError::new(code, "the handler's reply is not JSON")));
                }
            },
        };
        Some(Outgoing::acknowledgement(id, text))
    }

    /// The answer to an event that failed: the acknowledgement, or `error-event` if none was asked for.
    pub(super) fn failure(&self, error: &EventError) -> Outgoing {
        let body = ErrorBody {
            code: error.code.as_str(),
            message: &error.message,
            retryable: error.is_retryable(),
            retry_after_ms: error.retry_after_ms(),
            unknown: &self.unknown,
        };
        match self.ack {
            Some(id) => Outgoing::acknowledgement(id, write(&[Failed { ok: false, error: body }], 160)),
            None => event::<ErrorEvent>(
                &FailedEvent {
                    event: &self.event,
                    error: body,
                },
                192,
            ),
        }
    }

    /// Answers an event that failed, without the hub. Returns the answer's weight.
    pub fn fail(&self, connection: &Connection, error: &EventError) -> u64 {
        let answer = self.failure(error);
        let weight = answer.weight();
        // A client that does not keep up is closed by its sink.
        let _ = connection.sink.send(answer);
        weight
    }
}
