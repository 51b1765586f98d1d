//! The records of a history, and their form as text.

use std::io::{self, BufRead};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name or a content. Cheap to clone, so that recording does not slow a simulation down.
pub type Text = Arc<str>;

/// Something that a client did or saw, or a fact at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Record {
    /// A client sends a message.
    Invoke(Invoke),
    /// The op was acknowledged.
    Ok {
        /// The sender.
        client: Text,
        /// The number of the op.
        op: u64,
        /// The message's `seq`, as the sender was told.
        seq: u64,
    },
    /// The op is surely not stored, unless it is sent again.
    Failed {
        /// The sender.
        client: Text,
        /// The number of the op.
        op: u64,
    },
    /// The sender was not told whether the op is stored. An op without any result counts as one of these.
    Unknown {
        /// The sender.
        client: Text,
        /// The number of the op.
        op: u64,
    },
    /// A client has joined a room.
    Joined(Joined),
    /// A client has left the room, or its connection has ended.
    Left {
        /// The client.
        client: Text,
        /// The room.
        room: Text,
    },
    /// A client got a message.
    Delivered {
        /// The client.
        client: Text,
        /// The room that the message names.
        room: Text,
        /// Its `seq`.
        seq: u64,
        /// The message.
        content: Text,
    },
    /// A client was told a user's status. The last of these records counts.
    Presence {
        /// The client.
        client: Text,
        /// The user.
        user: Text,
        /// The status, such as `online`.
        status: Text,
    },
    /// A status that a client should have been told of a user in the end.
    TruthPresence {
        /// The client.
        client: Text,
        /// The user.
        user: Text,
        /// The status, such as `online`.
        status: Text,
    },
    /// The messages of a room in the store in the end. Several of these for one room follow each other, as pages do.
    Stored {
        /// The room's tenant.
        tenant: Text,
        /// The room.
        room: Text,
        /// The room's messages in the order of `seq`.
        messages: Vec<StoredMessage>,
    },
}

/// A message that a client sends. When the client sends it again, that may be recorded with the same `op` and content,
/// but need not be.
///
/// Its `seq` must be higher than that of every op which the same client had sent to the room before and which was
/// acknowledged by then. Concurrent ops keep their order too, unless one of the client's ops failed or became unknown
/// meanwhile: then the client may have another connection, or send in another order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    /// The sender.
    pub client: Text,
    /// The sender's tenant.
    pub tenant: Text,
    /// The sender's user.
    pub user: Text,
    /// A number that is unique for this client.
    pub op: u64,
    /// The room.
    pub room: Text,
    /// The content. It must be unique in the history.
    pub content: Text,
}

/// A client has joined a room, and has everything up to `last`. A client that was in the room starts again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// The client.
    pub client: Text,
    /// The client's tenant.
    pub tenant: Text,
    /// The client's user.
    pub user: Text,
    /// The room.
    pub room: Text,
    /// The `seq` of the room's newest message, as the client was told; with `exactly: false`, the newest in the store
    /// once the client was in the room.
    pub last: u64,
    /// The last `seq` that the client had before. If it is given, `messages` are all from there up to `last`; otherwise
    /// they may be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// The past that the client was given, in ascending order.
    pub messages: Vec<Message>,
    /// `false` when the client was told nothing of the past. Then its deliveries begin at `last + 1` or anywhere
    /// before.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub exactly: bool,
}

/// A message that a client was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its `seq`.
    pub seq: u64,
    /// Its content.
    pub content: Text,
}

/// A message in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredMessage {
    /// Its `seq`.
    pub seq: u64,
    /// Its content.
    pub content: Text,
    /// Its sender.
    pub user: Text,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// The records, in the order in which things happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    pub(crate) records: Vec<Record>,
}

/// A line that is not a record.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct Unreadable {
    /// The number of the line, from 1.
    pub line: usize,
    /// The error.
    #[source]
    pub error: io::Error,
}

impl History {
    /// Adds a record.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Reads a history that has one JSON object on each line.
    ///
    /// # Errors
    /// Fails at the first line that is not a record.
    pub fn read(input: impl BufRead) -> Result<Self, Unreadable> {
        let parse = |line: io::Result<String>| Ok(serde_json::from_str(&line?)?);
        let numbered = input.lines().zip(1..);
        numbered
            .map(|(text, line)| parse(text).map_err(|error| Unreadable { line, error }))
            .collect()
    }
}

impl FromIterator<Record> for History {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        Self {
            records: records.into_iter().collect(),
        }
    }
}
