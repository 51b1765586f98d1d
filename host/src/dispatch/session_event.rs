//! What waits in a connection's queue.

use tokio::sync::oneshot;

use super::packet::ClientPacket;
use crate::capability;
use crate::cluster::EndedQuestion;
use crate::id::RoomId;

/// One entry of the queue; they are handled in the order in which they came.
pub(super) enum SessionEvent {
    Connected,
    Packet(ClientPacket),
    /// The client has not renewed its typing in this room in time.
    TypingExpired(String),
    /// Another server wants the connection out of these rooms.
    LeaveRooms(Vec<RoomId>),
    /// Another server has sent an event: a JSON array that begins with its name. It may wait for an answer.
    ServerEvent(String, Option<oneshot::Sender<String>>),
    /// What the client has answered to a handler's question; `None` when the answer is missing.
    QuestionEnded(EndedQuestion, Option<capability::Packet>),
    Disconnected,
}

impl SessionEvent {
    /// Bytes that count against the queue's bound.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Packet(packet) => packet.len(),
            Self::QuestionEnded(_, answer) => answer.as_ref().map_or(0, capability::Packet::bytes),
            Self::ServerEvent(text, _) => text.len(),
            Self::Connected | Self::TypingExpired(_) | Self::LeaveRooms(_) | Self::Disconnected => 0,
        }
    }
}
