//! What an event asks to happen. Nothing of it happens unless the handler returns ok (promise 1).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::id::{RoomId, UserId};
use crate::store::Write;

/// A connection's or a user's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// There and attending.
    Online,
    /// There, not attending.
    Away,
    /// Not there, or not to be seen.
    Offline,
}

/// Who gets an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every connection in the room.
    Room(RoomId),
    /// Every connection in the room but the one that caused the event.
    OthersInRoom(RoomId),
    /// Every connection of one user.
    User(UserId),
    /// The connection that caused the event.
    Sender,
}

/// A Socket.IO event ready to be sent: its text is written once, however many get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The JSON array `["event", argument, …]`.
    pub text: Bytes,
    /// What the placeholders in the text stand for.
    pub attachments: Vec<Bytes>,
}

impl Packet {
    /// Bytes of its text and of all attachments.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

/// A handler waits for what the clients acknowledge that get its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The handler.
    pub handler: Arc<str>,
    /// The handler's own name for the question: [`TAG_MAX`](super::TAG_MAX) bytes at most.
    pub tag: Arc<str>,
    /// How long a client may take.
    pub time: Duration,
}

/// What a write weighs besides its bytes: a row and its places in indices.
const WRITE: usize = 512;
/// What any other effect weighs besides its bytes.
const OTHER: usize = 64;

/// One thing that is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write to the store; nobody sees anything of it before it is durable.
    Write(Arc<Write>),
    /// Send an event.
    Emit {
        /// To whom.
        to: Audience,
        /// What.
        packet: Packet,
        /// Whether its clients are to acknowledge it.
        question: Option<Arc<Question>>,
    },
    /// Put the connection into the room.
    Join(RoomId),
    /// Take the connection out of the room.
    Leave(RoomId),
    /// Set the connection's status.
    SetPresence(Status),
    /// Keep a JSON object with the connection.
    SetData(Arc<str>),
}

impl Effect {
    /// What it weighs on its way, in bytes, about: what it keeps or sends, and for each write what a row costs.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Write(write) => WRITE.saturating_add(match &**write {
                Write::Append(draft) => draft.content.len() + draft.metadata.as_ref().map_or(0, String::len),
                Write::KvSet { value, .. } => value.len(),
                Write::MarkRead { .. } | Write::KvDelete { .. } | Write::KvIncrement { .. } => 0,
            }),
            Self::Emit { packet, .. } => OTHER.saturating_add(packet.bytes()),
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
    /// None yet; at most `max_count`, with at most `max_bytes` in their texts and values together.
    #[must_use]
    pub fn with_allowance(max_count: usize, max_bytes: usize) -> Self {
        Self {
            list: Vec::new(),
            bytes: 0,
            max_count,
            max_bytes,
        }
    }

    /// Adds one that carries `bytes` bytes.
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

    /// In the order asked for.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Effect> {
        self.list.iter()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes they carry together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the event asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The list itself.
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
