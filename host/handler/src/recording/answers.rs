//! What a handler was told while it ran: each answer with its question, in the order of asking.

use serde::{Deserialize, Serialize};

use super::blob::Blob;
use super::questions::{
    ELAPSED, HTTP_RATE, RANDOM, ROOM_COUNT, history_question, http_question, joined_question, key_question,
    keys_question, last_seq_question, member_count_question, members_question, message_question, presence_question,
    random_bytes_question,
};
use crate::capability::{HttpAnswer, HttpHead, PresenceState, Status};
use parlance_store::{KvPage, Marks, Message, Revision};
use parlance_types::id::{MessageId, RoomId, UserId};

/// One answer of the host. `answer` is absent when the handler ended before there was one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[allow(missing_docs, reason = "the fields are the question's, and `answer`")]
pub enum Answer {
    /// The value at a key in the store.
    Key {
        /// The space of the host that the key is in; absent for the handler's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        space: Option<String>,
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Stored<Option<Blob>>>,
    },
    /// Keys of the store from one on, and before another one.
    Keys {
        /// As for a key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        space: Option<String>,
        from: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        limit: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Stored<RecordedPage>>,
    },
    /// The `seq` of the room's last message.
    LastSeq {
        room: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Stored<u64>>,
    },
    /// A message of the store.
    Message {
        id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Stored<Option<RecordedMessage>>>,
    },
    /// Messages of a room.
    History {
        room: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        limit: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Stored<Vec<RecordedMessage>>>,
    },
    /// Whether the connection was in a room.
    Joined { room: String, answer: bool },
    /// How many rooms the connection was in.
    RoomCount { answer: usize },
    /// Users in a room.
    Members {
        room: String,
        limit: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Vec<String>>,
    },
    /// How many users were in a room.
    MemberCount {
        room: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<usize>,
    },
    /// The presence of users.
    Presence {
        users: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Vec<RecordedPresence>>,
    },
    /// Whether the tenant's rate admitted a request.
    HttpRate { answer: bool },
    /// 64 random bits, as 16 hexadecimal digits.
    Random { answer: String },
    /// Random bytes.
    RandomBytes { answer: Blob },
    /// Milliseconds since the event began.
    Elapsed { answer: u64 },
    /// A request to a web server.
    Http {
        number: u32,
        request: RecordedRequest,
        answer: RecordedResponse,
    },
}

/// An answer of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stored<T> {
    /// The store has answered.
    Value(T),
    /// The store could not serve.
    Failed,
}

/// A page of keys that a handler read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of `KvPage`")]
pub struct RecordedPage {
    pub entries: Vec<(String, Blob)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<&KvPage> for RecordedPage {
    fn from(page: &KvPage) -> Self {
        let entry = |(key, value): &(String, Vec<u8>)| (key.clone(), Blob(value.clone()));
        Self {
            entries: page.entries.iter().map(entry).collect(),
            next: page.next.clone(),
        }
    }
}

/// A message that a handler read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of `Message`")]
pub struct RecordedMessage {
    pub id: String,
    pub room: String,
    pub seq: u64,
    pub sender: String,
    pub username: String,
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    pub sent_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RecordedRevision>,
}

/// What has become of a message that a handler read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the store's `Revision`")]
pub struct RecordedRevision {
    pub rev: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<RecordedMarks>,
}

/// Marks of one kind and value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the store's `Marks`")]
pub struct RecordedMarks {
    pub kind: String,
    pub value: String,
    pub count: u64,
    pub users: Vec<String>,
}

/// A user's presence that a handler read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of `PresenceState`")]
pub struct RecordedPresence {
    pub user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    pub status: Status,
    pub connections: u32,
    pub since: u64,
}

/// What a recording says of a request. The values of headers and the path are left out: keys to services are in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// Scheme, host and port.
    pub origin: String,
    /// Bytes of path and query.
    pub target_bytes: usize,
    /// The headers' names, with the bytes of their values.
    pub headers: Vec<(String, usize)>,
    /// Bytes of the body.
    pub body_bytes: usize,
}

/// The answer to a request, as far as the handler has read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedResponse {
    /// The error in place of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The status; absent when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Names and values of the headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Blob)>,
    /// The length of the body that the server announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The parts of the body that the handler read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Blob>,
    /// How the body ended: `complete`, or an error; absent when the handler did not read it to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

impl RecordedResponse {
    /// Whether there is a head or an error.
    pub(super) fn has_begun(&self) -> bool {
        self.status.is_some() || self.error.is_some()
    }
}

/// The end of a body that was read completely.
const COMPLETE: &str = "complete";

impl Answer {
    /// The question, in words that are unique for what was asked. An answer of the recording belongs to whoever asks in
    /// these words.
    #[must_use]
    pub fn question(&self) -> String {
        match self {
            Self::Key { space, key, .. } => key_question(space.as_deref(), key),
            Self::Keys {
                space,
                from,
                until,
                limit,
                ..
            } => keys_question(space.as_deref(), from, until.as_deref(), *limit),
            Self::LastSeq { room, .. } => last_seq_question(room),
            Self::Message { id, .. } => message_question(id),
            Self::History {
                room, before, limit, ..
            } => history_question(room, *before, *limit),
            Self::Joined { room, .. } => joined_question(room),
            Self::RoomCount { .. } => ROOM_COUNT.to_owned(),
            Self::Members { room, limit, .. } => members_question(room, *limit),
            Self::MemberCount { room, .. } => member_count_question(room),
            Self::Presence { users, .. } => presence_question(users),
            Self::HttpRate { .. } => HTTP_RATE.to_owned(),
            Self::Random { .. } => RANDOM.to_owned(),
            Self::RandomBytes { answer } => random_bytes_question(answer.0.len()),
            Self::Elapsed { .. } => ELAPSED.to_owned(),
            Self::Http { request, .. } => http_question(&request.method, &request.origin),
        }
    }

    /// Estimated bytes of the answer in memory.
    pub(super) fn bytes(&self) -> usize {
        const FIXED: usize = 96;
        let own = match self {
            Self::Key { key, answer, .. } => {
                key.len()
                    + match answer {
                        Some(Stored::Value(Some(value))) => value.0.len(),
                        _ => 0,
                    }
            }
            Self::Keys {
                from, until, answer, ..
            } => {
                let entries = match answer {
                    Some(Stored::Value(page)) => page.entries.as_slice(),
                    _ => &[],
                };
                let entry = |(key, value): &(String, Blob)| key.len() + value.0.len() + FIXED;
                from.len() + until.as_ref().map_or(0, String::len) + entries.iter().map(entry).sum::<usize>()
            }
            Self::Message { answer, .. } => match answer {
                Some(Stored::Value(Some(message))) => message.bytes(),
                _ => 0,
            },
            Self::History { room, answer, .. } => {
                room.len()
                    + match answer {
                        Some(Stored::Value(messages)) => messages.iter().map(RecordedMessage::bytes).sum(),
                        _ => 0,
                    }
            }
            Self::Members { answer, .. } => answer.iter().flatten().map(|user| user.len() + FIXED).sum(),
            Self::Presence { users, .. } => users.iter().map(|user| 2 * user.len() + 2 * FIXED).sum(),
            Self::RandomBytes { answer } => answer.0.len(),
            Self::Joined { room, .. } | Self::MemberCount { room, .. } | Self::LastSeq { room, .. } => room.len(),
            Self::Http { answer, .. } => {
                let pair = |(name, value): &(String, Blob)| name.len() + value.0.len();
                answer.headers.iter().map(pair).sum::<usize>()
                    + answer.parts.iter().map(|part| part.0.len() + FIXED).sum::<usize>()
            }
            Self::RoomCount { .. } | Self::HttpRate { .. } | Self::Random { .. } | Self::Elapsed { .. } => 0,
        };
        own + FIXED
    }
}

impl From<&Message> for RecordedMessage {
    fn from(message: &Message) -> Self {
        Self {
            id: message.id.to_string(),
            room: message.room.to_string(),
            seq: message.seq,
            sender: message.sender.to_string(),
            username: message.username.to_string(),
            content: message.content.clone(),
            metadata: message.metadata.clone(),
            sent_at: message.sent_at,
            revision: message.revision.as_deref().map(Into::into),
        }
    }
}

impl RecordedMessage {
    fn bytes(&self) -> usize {
        256 + self.content.len() + self.metadata.as_ref().map_or(0, String::len)
    }

    /// The message; `None` when an id in the file is not one.
    pub(super) fn to_message(&self) -> Option<Message> {
        Some(Message {
            id: MessageId::parse(&self.id)?,
            room: RoomId::new(&self.room).ok()?,
            seq: self.seq,
            sender: UserId::new(&self.sender).ok()?,
            username: self.username.as_str().into(),
            content: self.content.clone(),
            metadata: self.metadata.clone(),
            sent_at: self.sent_at,
            client: None,
            revision: match &self.revision {
                Some(revision) => Some(Box::new(revision.to_revision()?)),
                None => None,
            },
        })
    }
}

impl From<&PresenceState> for RecordedPresence {
    fn from(state: &PresenceState) -> Self {
        Self {
            user: state.user.to_string(),
            username: state.username.as_ref().map(ToString::to_string),
            status: state.status,
            connections: state.connections,
            since: state.since,
        }
    }
}

impl RecordedPresence {
    /// The state; `None` when the user id in the file is not one.
    pub(super) fn to_state(&self) -> Option<PresenceState> {
        Some(PresenceState {
            user: UserId::new(&self.user).ok()?,
            username: self.username.as_deref().map(Into::into),
            status: self.status,
            connections: self.connections,
            since: self.since,
        })
    }
}

impl From<&HttpAnswer> for RecordedResponse {
    fn from(answer: &HttpAnswer) -> Self {
        let mut recorded = Self {
            parts: answer.chunks.iter().map(|chunk| Blob(chunk.to_vec())).collect(),
            end: answer.end.as_ref().map(|end| match end {
                Ok(()) => COMPLETE.to_owned(),
                Err(error) => error.clone(),
            }),
            ..Self::default()
        };
        match &answer.head {
            None => {}
            Some(Err(error)) => recorded.error = Some(error.clone()),
            Some(Ok(head)) => {
                recorded.status = Some(head.status);
                recorded.length = head.length;
                let headers = head.headers.iter();
                recorded.headers = headers
                    .map(|(name, value)| (name.clone(), Blob(value.clone())))
                    .collect();
            }
        }
        recorded
    }
}

impl From<&RecordedResponse> for HttpAnswer {
    fn from(recorded: &RecordedResponse) -> Self {
        let head = match (&recorded.error, recorded.status) {
            (Some(error), _) => Some(Err(error.clone())),
            (None, Some(status)) => Some(Ok(HttpHead {
                status,
                headers: recorded
                    .headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.0.clone()))
                    .collect(),
                length: recorded.length,
            })),
            (None, None) => None,
        };
        Self {
            head,
            chunks: recorded.parts.iter().map(|part| part.0.clone().into()).collect(),
            end: recorded.end.as_ref().map(|end| match end.as_str() {
                COMPLETE => Ok(()),
                error => Err(error.to_owned()),
            }),
        }
    }
}

impl From<&Revision> for RecordedRevision {
    fn from(revision: &Revision) -> Self {
        let marks = revision.marks.iter().map(|marks| RecordedMarks {
            kind: marks.kind.clone(),
            value: marks.value.clone(),
            count: marks.count,
            users: marks.users.iter().map(ToString::to_string).collect(),
        });
        Self {
            rev: revision.rev,
            edited_at: revision.edited_at,
            deleted_at: revision.deleted_at,
            marks: marks.collect(),
        }
    }
}

impl RecordedRevision {
    fn to_revision(&self) -> Option<Revision> {
        let marks = self.marks.iter().map(|marks| {
            let users = marks.users.iter().map(|user| UserId::new(user).ok());
            Some(Marks {
                kind: marks.kind.clone(),
                value: marks.value.clone(),
                count: marks.count,
                users: users.collect::<Option<_>>()?,
            })
        });
        Some(Revision {
            rev: self.rev,
            edited_at: self.edited_at,
            deleted_at: self.deleted_at,
            marks: marks.collect::<Option<_>>()?,
        })
    }
}
