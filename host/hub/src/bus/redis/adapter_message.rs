//! The messages that servers of a fleet exchange, independent of the adapter that carries them.

use std::time::Duration;

use super::{Broadcast, BroadcastTarget, ClientSelector, RemoteSocket};
use parlance_handler::capability::Packet;

/// A message of another server.
#[derive(Debug)]
pub(super) enum AdapterMessage {
    /// An event for clients.
    Broadcast(Broadcast),
    /// An event for clients, whose acknowledgements the sender wants.
    BroadcastWithAck {
        requester: Requester,
        broadcast: Broadcast,
        /// How long the requester waits; `None` when it does not say.
        timeout: Option<Duration>,
    },
    /// A request to every server of the namespace.
    Request {
        /// `None` when nobody waits for a response.
        requester: Option<Requester>,
        request: Request,
    },
    /// A response to the request with this id.
    Response { id: String, response: Response },
}

/// Where to send a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requester {
    /// The id of the server that asks. An emitter does not have one.
    pub(super) uid: Option<String>,
    /// The id of its request.
    pub(super) id: String,
}

/// A request of another server, as it was read. [`Inbound`](super::Inbound) has the hub's view of it, where a request
/// that is answered carries the channel for the answer instead of an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    SocketsJoin {
        clients: ClientSelector,
        rooms: Vec<String>,
    },
    SocketsLeave {
        clients: ClientSelector,
        rooms: Vec<String>,
    },
    /// With `close` the transports are closed too, not only the namespace.
    DisconnectSockets {
        clients: ClientSelector,
        close: bool,
    },
    /// A JSON array: the event's name, then its arguments.
    ServerSideEmit(String),
    /// Asks for the ids of sockets. Only old versions of the classic adapter send it.
    SocketIds(BroadcastTarget),
    FetchSockets(ClientSelector),
    AllRooms,
}

/// A request of this node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OutgoingRequest {
    /// With `close` the transports are closed too, not only the namespace.
    DisconnectSockets {
        clients: ClientSelector,
        close: bool,
    },
    /// A JSON array: the event's name, then its arguments.
    ServerSideEmit(String),
    FetchSockets(ClientSelector),
}

/// A response to a request. Of other servers this node reads only what it asks for: sockets and data.
#[derive(Debug)]
pub(super) enum Response {
    /// To [`Request::SocketIds`].
    Ids(Vec<String>),
    /// To [`Request::FetchSockets`].
    Sockets(Vec<RemoteSocket>),
    /// To [`Request::AllRooms`].
    Rooms(Vec<String>),
    /// The first response to [`AdapterMessage::BroadcastWithAck`]: how many clients of this node got the event.
    Clients(u64),
    /// A later response to [`AdapterMessage::BroadcastWithAck`]: the first argument of one client's acknowledgement.
    Acknowledged(Packet),
    /// To [`Request::ServerSideEmit`]: a JSON value.
    Data(String),
}
