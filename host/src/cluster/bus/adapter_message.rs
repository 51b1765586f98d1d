//! What servers say to each other, in the words of either adapter.

use std::time::Duration;

use super::{Broadcast, BroadcastTarget, ClientSelector, RemoteSocket};
use crate::capability::Packet;

/// What a server says.
#[derive(Debug)]
pub(super) enum AdapterMessage {
    /// An event for clients.
    Broadcast(Broadcast),
    /// An event for clients, whose acknowledgements are wanted.
    BroadcastWithAck {
        requester: Requester,
        broadcast: Broadcast,
        /// How long the requester waits.
        timeout: Option<Duration>,
    },
    /// Something to be done or answered.
    Request {
        /// The server that waits for an answer, if one does.
        requester: Option<Requester>,
        request: Request,
    },
    /// An answer, and the id of its request.
    Response { id: String, response: Response },
}

/// The server and the request that an answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requester {
    /// The asking server; an emitter does not say.
    pub(super) uid: Option<String>,
    /// The request's id.
    pub(super) id: String,
}

/// An order to the other servers, or a question to them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Clients are to join rooms.
    SocketsJoin {
        clients: ClientSelector,
        rooms: Vec<String>,
    },
    /// Clients are to leave rooms.
    SocketsLeave {
        clients: ClientSelector,
        rooms: Vec<String>,
    },
    /// Clients are to be disconnected; with `close` their transports are closed too.
    DisconnectSockets { clients: ClientSelector, close: bool },
    /// A server-side event: a JSON array of its name and arguments. It may be answered.
    ServerSideEmit(String),
    /// The ids of the sockets there.
    SocketIds(BroadcastTarget),
    /// The sockets that match.
    FetchSockets(ClientSelector),
    /// All rooms with members.
    AllRooms,
}

/// The answer to a [`Request`], or to [`AdapterMessage::BroadcastWithAck`].
#[derive(Debug)]
pub(super) enum Response {
    /// To [`Request::SocketIds`].
    Ids(Vec<String>),
    /// To [`Request::FetchSockets`].
    Sockets(Vec<RemoteSocket>),
    /// To [`Request::AllRooms`].
    Rooms(Vec<String>),
    /// To [`AdapterMessage::BroadcastWithAck`], first: how many clients have got the event.
    Clients(u64),
    /// To [`AdapterMessage::BroadcastWithAck`]: the first argument of a client's acknowledgement.
    Acknowledged(Packet),
    /// To [`Request::ServerSideEmit`]: a JSON value.
    Data(String),
}
