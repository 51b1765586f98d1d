//! The effects that a handler asks for. They happen only if the handler returns ok (promise 1).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use parlance_store::{Change, Write};
use parlance_types::id::{MessageId, RoomId, UserId};

/// The presence status of a connection or a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PresenceStatus")]
pub enum Status {
    /// Connected and active.
    Online,
    /// Connected, but inactive.
    Away,
    /// Not connected, or not visible to the asker.
    Offline,
}

/// The recipients of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every connection in the room.
    Room(RoomId),
    /// Every connection in the room except the one that caused the event.
    OthersInRoom(RoomId),
    /// Every connection of one user.
    User(UserId),
    /// The connection that caused the event.
    Sender,
}

/// A Socket.IO event ready to be sent. All its recipients share one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The JSON array `["event", argument, …]`.
    pub text: Bytes,
    /// The attachments that placeholders in the text refer to.
    pub attachments: Vec<Bytes>,
}

impl Packet {
    /// Bytes of its text and of all attachments.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

/// A handler's request that each recipient acknowledge an event (`broadcast.ask`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name of the handler that asks.
    pub handler: Arc<str>,
    /// The handler's own name of the question: at most [`TAG_MAX`](super::TAG_MAX) bytes.
    pub tag: Arc<str>,
    /// How long a client may take for its acknowledgement.
    pub time: Duration,
}

/// Estimated bytes of a write besides its content: a row and its index entries.
const WRITE: usize = 512;
/// Estimated bytes of any other effect besides its content.
const OTHER: usize = 64;

/// One thing that the handler asks to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write to the store. It becomes visible only once it is durable.
    Write(Arc<Write>),
    /// Emit an event.
    Emit {
        /// The recipients.
        to: Audience,
        /// The event.
        packet: Packet,
        /// Present when each recipient is to acknowledge the event.
        question: Option<Arc<Question>>,
    },
    /// Put the connection into the room.
    Join(RoomId),
    /// Take the connection out of the room.
    Leave(RoomId),
    /// Take a user's connections out of the room.
    Kick {
        /// The room.
        room: RoomId,
        /// The user.
        user: UserId,
        /// What each of the user's connections gets first.
        packet: Packet,
    },
    /// Close a user's connections.
    Disconnect {
        /// The user.
        user: UserId,
        /// What each of them gets first.
        packet: Packet,
    },
    /// Set the connection's status.
    SetPresence(Status),
    /// Keep a JSON object with the connection.
    SetData(Arc<str>),
}

impl Effect {
    /// Estimated bytes of the effect while it waits for the committer and the hub: its content, and for a write the
    /// cost of a row.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Write(write) => WRITE.saturating_add(match &**write {
                Write::Append(draft) => draft.content.len() + draft.metadata.as_ref().map_or(0, String::len),
                Write::Revise(revise) => match &revise.change {
                    Change::Edit { content, metadata } => content.len() + metadata.as_ref().map_or(0, String::len),
                    Change::Append { fragment, .. } => fragment.len(),
                    Change::Delete | Change::Mark { .. } => 0,
                },
                Write::KvSet { value, .. } | Write::DueSet { value, .. } => value.len(),
                Write::MarkRead { .. } | Write::KvDelete { .. } | Write::KvIncrement { .. } | Write::KvRaise { .. } => {
                    0
                }
            }),
            Self::Emit { packet, .. } | Self::Kick { packet, .. } | Self::Disconnect { packet, .. } => {
                OTHER.saturating_add(packet.bytes())
            }
            Self::SetData(data) => OTHER.saturating_add(data.len()),
            Self::Join(_) | Self::Leave(_) | Self::SetPresence(_) => OTHER,
        }
    }

    /// The write to the store, if the effect is one.
    #[must_use]
    pub fn write(&self) -> Option<&Arc<Write>> {
        match self {
            Self::Write(write) => Some(write),
            _ => None,
        }
    }
}

/// The effects of one event, in the order asked for, within its allowance.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    list: Vec<Effect>,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
}

/// The event's allowance of effects or of their bytes is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowanceUsedUp;

impl Effects {
    /// An empty list that takes at most `max_count` effects with at most `max_bytes` bytes of content together.
    #[must_use]
    pub fn with_allowance(max_count: usize, max_bytes: usize) -> Self {
        Self {
            list: Vec::new(),
            bytes: 0,
            max_count,
            max_bytes,
        }
    }

    /// Adds an effect with `bytes` bytes of content.
    ///
    /// # Errors
    /// When the allowance is used up; nothing is added.
    pub fn push(&mut self, effect: Effect, bytes: usize) -> Result<(), AllowanceUsedUp> {
        let total = self.bytes.saturating_add(bytes);
        if self.list.len() >= self.max_count || total > self.max_bytes {
            return Err(AllowanceUsedUp);
        }
        self.bytes = total;
        self.list.push(effect);
        Ok(())
    }

    /// Whether one of the effects changes this message.
    pub(super) fn revises(&self, message: MessageId) -> bool {
        let of_this = |write: &Arc<Write>| matches!(&**write, Write::Revise(revise) if revise.id == message);
        self.list.iter().filter_map(Effect::write).any(of_this)
    }

    /// Moves the effects from the one with this index on before the others.
    pub(crate) fn put_first(&mut self, from: usize) {
        let from = from.min(self.list.len());
        self.list.rotate_left(from);
    }

    /// The effects, in the order in which the handler asked for them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Effect> {
        self.list.iter()
    }

    /// How many effects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes of their content together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the event asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The effects as a plain list.
    #[must_use]
    pub fn into_vec(self) -> Vec<Effect> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_past_the_allowance_is_not_added() {
        let mut effects = Effects::with_allowance(2, 10);
        let status = Effect::SetPresence(Status::Online);
        assert_eq!(effects.push(status.clone(), 11), Err(AllowanceUsedUp), "bytes");
        assert_eq!(effects.push(status.clone(), 10), Ok(()));
        assert_eq!(effects.push(status.clone(), 1), Err(AllowanceUsedUp), "bytes in all");
        assert_eq!(effects.push(status.clone(), 0), Ok(()));
        assert_eq!(effects.push(status, 0), Err(AllowanceUsedUp), "count");
        assert_eq!(effects.len(), 2);
    }
}
