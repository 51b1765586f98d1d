//! What waits in a connection's queue.

use tokio::sync::oneshot;

use super::packet::Packet;
use crate::capability;
use crate::cluster::EndedQuestion;
use crate::id::RoomId;

/// One entry of the queue; they are handled in the order in which they came.
pub(super) enum Work {
    Connected,
    Event(Packet),
    /// The client has not renewed its typing in this room in time.
    TypingEnded(String),
    /// Another server wants the connection out of these rooms.
    Leave(Vec<RoomId>),
    /// Another server has sent an event: a JSON array that begins with its name. It may wait for an answer.
    ServerEvent(String, Option<oneshot::Sender<String>>),
    /// What the client has answered to a handler's question; `None` when the answer is missing.
    Answer(EndedQuestion, Option<capability::Packet>),
    Disconnected,
}

impl Work {
    /// Bytes that count against the queue's bound.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Event(packet) => packet.len(),
            Self::Answer(_, answer) => answer.as_ref().map_or(0, capability::Packet::bytes),
            Self::ServerEvent(text, _) => text.len(),
            Self::Connected | Self::TypingEnded(_) | Self::Leave(_) | Self::Disconnected => 0,
        }
    }
}
