//! What servers say to each other, in the words of either adapter.

use std::time::Duration;

use super::{Broadcast, RemoteSocket, Selection, Target};
use crate::capability::Packet;

/// What a server says.
#[derive(Debug)]
pub(super) enum Message {
    /// An event for clients.
    Broadcast(Broadcast),
    /// An event for clients, whose acknowledgements are wanted.
    Ask {
        asker: Asker,
        broadcast: Broadcast,
        /// How long the asker waits.
        timeout: Option<Duration>,
    },
    /// Something to be done or answered.
    Request {
        /// The server that waits for an answer, if one does.
        asker: Option<Asker>,
        request: Request,
    },
    /// An answer, and the id of its request.
    Answer { id: String, answer: Answer },
}

/// The server and the request that an answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asker {
    /// The asking server; an emitter does not say.
    pub(super) uid: Option<String>,
    /// The request's id.
    pub(super) id: String,
}

/// An order to the other servers, or a question to them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Clients are to join rooms.
    Join { clients: Selection, rooms: Vec<String> },
    /// Clients are to leave rooms.
    Leave { clients: Selection, rooms: Vec<String> },
    /// Clients are to be disconnected; with `close` their transports are closed too.
    Disconnect { clients: Selection, close: bool },
    /// A server-side event: a JSON array of its name and arguments. It may be answered.
    Emit(String),
    /// The ids of the sockets there.
    Ids(Target),
    /// The sockets that match.
    Fetch(Selection),
    /// All rooms with members.
    Rooms,
}

/// The answer to a [`Request`], or to [`Message::Ask`].
#[derive(Debug)]
pub(super) enum Answer {
    /// To [`Request::Ids`].
    Ids(Vec<String>),
    /// To [`Request::Fetch`].
    Sockets(Vec<RemoteSocket>),
    /// To [`Request::Rooms`].
    Rooms(Vec<String>),
    /// To [`Message::Ask`], first: how many clients have got the event.
    Clients(u64),
    /// To [`Message::Ask`]: the first argument of a client's acknowledgement.
    Acknowledged(Packet),
    /// To [`Request::Emit`]: a JSON value.
    Data(String),
}
