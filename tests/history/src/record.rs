//! What a history consists of, and its form as text.

use std::io::{self, BufRead};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name or a content. It is cheap to clone, so that recording does not slow a simulation down.
pub type Text = Arc<str>;

/// One thing that a client did or saw, or what is true at the end.
///
/// A client is whatever sees the messages of a room as one list, over all its connections. It belongs to one user of
/// one tenant.
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
        /// The message's place in its room, as the sender was told.
        seq: u64,
    },
    /// The op is surely not stored, unless it is sent again.
    Failed {
        /// The sender.
        client: Text,
        /// The number of the op.
        op: u64,
    },
    /// Nobody told the sender whether the op is stored. An op without any outcome counts as one of these.
    Unknown {
        /// The sender.
        client: Text,
        /// The number of the op.
        op: u64,
    },
    /// A client is in a room.
    Joined(Joined),
    /// A client is not in the room any more, or its connection has ended.
    Left {
        /// Who left.
        client: Text,
        /// Which room.
        room: Text,
    },
    /// A client got a message.
    Delivered {
        /// Who got it.
        client: Text,
        /// The room that the message names.
        room: Text,
        /// Its place there.
        seq: u64,
        /// The message.
        content: Text,
    },
    /// A client was told what a user does; the last of these counts.
    Presence {
        /// Who was told.
        client: Text,
        /// Of whom.
        user: Text,
        /// Such as `online`.
        status: Text,
    },
    /// What a client should have been told of a user in the end.
    TruthPresence {
        /// Who should have been told.
        client: Text,
        /// Of whom.
        user: Text,
        /// Such as `online`.
        status: Text,
    },
    /// What the store has of a room in the end. Several of these for one room follow each other, as pages do.
    Stored {
        /// The room's tenant.
        tenant: Text,
        /// The room.
        room: Text,
        /// The room's messages in the order of `seq`.
        messages: Vec<StoredMessage>,
    },
}

/// A message as a client sends it. When the client sends it again, that may be recorded with the same `op` and content;
/// it need not be.
///
/// Its place is behind that of every op which the same client had sent to the room before and which was acknowledged by
/// then. Ops that are on the way at once keep their order too, unless one of the client's ops failed or became unknown
/// meanwhile: then the client may be on another connection, or send in another order.
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
    /// Where the message is to go.
    pub room: Text,
    /// What no other op of the history has.
    pub content: Text,
}

/// A client is in a room, and has everything up to `last`. A client that was in the room begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// Who is in the room.
    pub client: Text,
    /// The client's tenant.
    pub tenant: Text,
    /// The client's user.
    pub user: Text,
    /// Where the client is.
    pub room: Text,
    /// The newest message of the room as the client was told; with `exactly: false`, the newest in the store once
    /// the client was in.
    pub last: u64,
    /// What the client had before. Then `messages` are all from there up to `last`, otherwise they may be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// What the client was given of the past, in ascending order.
    pub messages: Vec<Message>,
    /// False when the client was told nothing of the past. Then what it is delivered begins at `last + 1` or
    /// anywhere before.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub exactly: bool,
}

/// A message that a client was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its place in the room.
    pub seq: u64,
    /// What its sender sent.
    pub content: Text,
}

/// A message in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredMessage {
    /// Its place in the room.
    pub seq: u64,
    /// What its sender sent.
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

/// What happened, in the order in which it happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    pub(crate) records: Vec<Record>,
}

/// A line that is not a record.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct Unreadable {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub error: io::Error,
}

impl History {
    /// Adds what happened last.
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
