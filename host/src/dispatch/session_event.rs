//! The events that wait in a session's queue.

use tokio::sync::oneshot;

use super::back_end::{BackEndWrite, BackEndWritten};
use super::packet::ClientPacket;
use super::response::{PendingRequest, RequestEvent, Responded};
use super::timer::Fired;
use parlance_handler::capability;
use parlance_hub::EndedQuestion;
use parlance_store::DueKey;
use parlance_types::error::EventError;
use parlance_types::id::RoomId;

/// An event in a session's queue. Sessions handle their events in the order in which they were queued.
///
/// Three kinds come from a [`SessionNotice`](parlance_hub::SessionNotice) of the hub. They are not that type, because
/// a question is taken out of the connection's open ones when its end is queued, by whichever end comes first.
pub(super) enum SessionEvent {
    Connected,
    Packet(ClientPacket),
    /// The client has not renewed its typing in this room in time.
    TypingExpired(String),
    /// Another server asks for the connection to leave these rooms (`socketsLeave`).
    LeaveRooms(Vec<RoomId>),
    /// Another server has sent an event (`serverSideEmit`): a JSON array of its name and arguments, and where the
    /// answer goes if that server waits for one.
    ServerEvent(String, Option<oneshot::Sender<String>>),
    /// A handler's question to the client has ended, with the client's answer or with `None` if it gave none.
    QuestionEnded(EndedQuestion, Option<capability::Packet>),
    /// A timer is due, and whoever found it waits for what becomes of it.
    Timer(Box<DueKey>, oneshot::Sender<Fired>),
    /// Something of a request, and whoever sends it waits for what becomes of it.
    Request(Box<(PendingRequest, RequestEvent)>, oneshot::Sender<Responded>),
    /// A back end writes a message or changes one, and waits for what becomes of it.
    BackEnd(Box<BackEndWrite>, oneshot::Sender<Result<BackEndWritten, EventError>>),
    Disconnected,
}

impl SessionEvent {
    /// The bytes that count against the tenant's `quota.queued_bytes`.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Packet(packet) => packet.held_bytes(),
            other => other.bytes(),
        }
    }

    /// The bytes that count against the connection's `limits.queue_bytes`.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Packet(packet) => packet.len(),
            Self::QuestionEnded(_, answer) => answer.as_ref().map_or(0, capability::Packet::bytes),
            Self::ServerEvent(text, _) => text.len(),
            Self::BackEnd(write, _) => write.bytes(),
            // Of timers and requests there is one at a time.
            Self::Timer(..)
            | Self::Request(..)
            | Self::Connected
            | Self::TypingExpired(_)
            | Self::LeaveRooms(_)
            | Self::Disconnected => 0,
        }
    }
}
