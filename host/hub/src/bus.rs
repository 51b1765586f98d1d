//! The bus: messages between the nodes of a fleet.
//!
//! A [`Bus`] carries three kinds of messages:
//! - **Events for clients on other nodes** ([`Broadcast`]), in the wire format of one of Node's Redis adapters
//!   ([`Adapter`]). So Node servers can be part of the fleet, and with the classic adapter back ends that use
//!   `@socket.io/redis-emitter`.
//! - **Presence records**: what each node knows of its users. They are stored in Redis under a lease, so that other
//!   nodes can read them after any gap and drop them when the node dies.
//! - **Invalidations**: a few bytes that tell all nodes to read something again.
//!
//! The bus may lose messages: what is sent while there is no connection is gone. [`Inbound::Connected`] tells a hub so.
//! The hub then reads missing messages from the store, and the bus sends it the presence records of all nodes again.

mod fleet_bus;
mod inbox;
mod local;
#[cfg(feature = "redis")]
mod redis;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

#[cfg(all(feature = "redis", any(test, fuzzing)))]
pub use self::redis::fuzz;
#[cfg(feature = "redis")]
pub use self::redis::{Adapter, BusError, Metrics, RedisBus, RedisSettings, RedisUrls};
pub use fleet_bus::{BusStatus, FleetBus, Responses};
pub use inbox::{INBOX_MAX, Inbox, InboxSender, inbox};
pub use local::LocalBus;

use parlance_handler::capability::{Packet, Question};
use parlance_types::id::{RoomId, TenantId, UserId};

/// A connection to the other nodes of the fleet. No method waits: what cannot be sent now is dropped and counted.
pub trait Bus: Send + Sync {
    /// The id of this node.
    fn node(&self) -> &NodeId;

    /// Whether the fleet has only this node, for as long as it runs. Then every commit happens here, and no message can
    /// be missed.
    fn is_single_node(&self) -> bool {
        false
    }

    /// Delivers messages of other nodes for this tenant to `inbox` from now on. What does not fit is lost; the hub is
    /// told so by another [`Inbound::Connected`] as soon as half of the inbox is free.
    fn subscribe(&self, tenant: &TenantId, inbox: InboxSender);

    /// Ends the subscription of a hub that has closed its inbox, and withdraws this node's presence records of the
    /// tenant. Returns `false`, and does nothing, when the inbox is open: another hub of the tenant has subscribed since.
    fn unsubscribe(&self, tenant: &TenantId) -> bool;

    /// Whether this node has the lowest id of all live nodes. Decides which node does what only one of them may do.
    fn has_lowest_id(&self) -> bool;

    /// Says whether this node has a room, or a connection with this id. Some servers publish an event for one room only
    /// to the nodes that have it.
    fn announce_room(&self, tenant: &TenantId, room: &str, present: bool);

    /// Asks the other nodes to send an event to their clients. A [`BroadcastTarget::Rooms`] without rooms reaches no
    /// client.
    fn broadcast(&self, tenant: &TenantId, broadcast: Broadcast);

    /// Publishes this node's presence record of a user; `None` withdraws it. The hubs of other nodes get it as
    /// [`Inbound::PresenceChanged`], or as a part of [`Inbound::NodePresence`] if they connect later or missed it.
    fn set_presence(&self, tenant: &TenantId, user: &UserId, record: Option<Bytes>);

    /// Sets the tenant's load on this node. Other nodes learn it with the next heartbeat.
    fn set_load(&self, tenant: &TenantId, load: Load);

    /// The tenant's load on all other nodes together, as of their last heartbeats.
    fn remote_load(&self, tenant: &TenantId) -> RemoteLoad;

    /// Tells all other nodes that what `topic` names may have changed. It belongs to no tenant.
    fn invalidate(&self, topic: Bytes);

    /// Receives the invalidations of other nodes from now on.
    fn invalidations(&self) -> broadcast::Receiver<Invalidation>;
}

/// The id of a node: six letters and digits, chosen anew at each start. The Node adapter calls it `uid`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The node with this id.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    #[cfg(test)]
    pub(crate) fn for_tests(number: usize) -> Self {
        Self::new(format!("node{number:02}"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of connections that an event can be addressed to. In the Node adapters each of them is a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetRoom {
    /// The members of a room.
    Room(Arc<str>),
    /// The members of the room with this name, and the connection with this id. Node servers and back ends do not
    /// tell the two apart, since each socket is in a room named like the socket.
    RoomOrSocket(Arc<str>),
    /// All connections of a user. On the wire it is a room that no client can join: [`USER_ROOM`] and the user's id.
    User(UserId),
}

/// The prefix of a user's id in the name of the room that stands for the user on the wire. No other room can have such
/// a name, since room ids have no control characters.
pub const USER_ROOM: &str = "\u{0}user:";

/// The clients that an event is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BroadcastTarget {
    /// The connections in any of these rooms. Each gets the event once.
    Rooms(Vec<TargetRoom>),
    /// All clients of the tenant. Only Node servers and emitters use it.
    AllClients,
}

/// What connections do after an event that was sent to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterEvent {
    /// They leave the room with this name, which is not checked.
    LeaveRoom(Arc<str>),
    /// They close.
    Disconnect,
}

/// An event for clients on other nodes.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// The event.
    pub packet: Packet,
    /// The clients that get it.
    pub to: BroadcastTarget,
    /// Connections that do not get it.
    pub except: Vec<TargetRoom>,
    /// For a room's message: the room, and the message's `seq`. Node servers ignore it.
    pub message: Option<(RoomId, u64)>,
    /// For an event about a room's message, which must not arrive before the message: the room, and the message's
    /// `seq`. Node servers ignore it.
    pub after: Option<(RoomId, u64)>,
    /// For a change of that message: the change's `rev`. Node servers ignore it.
    pub rev: Option<u64>,
    /// What the clients' connections are to do after the event. Node servers ignore it.
    pub then: Option<AfterEvent>,
    /// For an event that a handler wants acknowledged. Node servers ignore it, so their clients are not asked.
    pub question: Option<Arc<Question>>,
}

impl Broadcast {
    /// An event that is not a message, needs no order, and wants no acknowledgements.
    #[must_use]
    pub fn event(packet: Packet, to: BroadcastTarget, except: Vec<TargetRoom>) -> Self {
        Self {
            packet,
            to,
            except,
            message: None,
            after: None,
            rev: None,
            then: None,
            question: None,
        }
    }
}

/// The clients that a request is about: `rooms` and `except` of the Node adapters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSelector {
    /// The clients.
    pub to: BroadcastTarget,
    /// Connections that are left out.
    pub except: Vec<TargetRoom>,
}

/// A socket as `fetchSockets` of a Node server returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSocket {
    /// The id of the connection, or of the Node server's socket.
    pub id: String,
    /// The rooms it is in, its own among them.
    pub rooms: Vec<String>,
    /// Its handshake, a JSON object.
    pub handshake: String,
    /// `socket.data` of its server, a JSON value.
    pub data: String,
}

/// What the bus delivers to a hub. A hub that does not want to answer a request drops its `reply`.
#[derive(Debug)]
pub enum Inbound {
    /// There is a connection to the other nodes, for the first time or again, or the hub's inbox was full. Messages may
    /// have been lost before. An [`Inbound::NodePresence`] of each other node follows; a node that is not there any more
    /// follows as [`Inbound::NodeLeft`] once its lease has expired.
    Connected,
    /// The connection is lost. No node counts as gone until there is a connection again.
    Disconnected,
    /// An event for clients of this node.
    Broadcast(Broadcast),
    /// A request to have clients join rooms.
    SocketsJoin {
        /// The clients.
        clients: ClientSelector,
        /// The names of the rooms, unchecked.
        rooms: Vec<String>,
    },
    /// A request to have clients leave rooms.
    SocketsLeave {
        /// The clients.
        clients: ClientSelector,
        /// The names of the rooms, unchecked.
        rooms: Vec<String>,
    },
    /// A request to disconnect clients.
    DisconnectSockets {
        /// The clients.
        clients: ClientSelector,
        /// Whether to close the transport too, not only the namespace.
        close: bool,
    },
    /// A request for the sockets of this node that match.
    FetchSockets {
        /// The clients.
        clients: ClientSelector,
        /// Takes the sockets.
        reply: oneshot::Sender<Vec<RemoteSocket>>,
    },
    /// A request for the names of all rooms with members on this node.
    AllRooms {
        /// Takes the names.
        reply: oneshot::Sender<Vec<String>>,
    },
    /// An event for the servers themselves, not for clients.
    ServerSideEmit {
        /// A JSON array: the event's name, then its arguments.
        arguments: String,
        /// Takes the response, a JSON value, if one is wanted.
        reply: Option<oneshot::Sender<String>>,
    },
    /// An event for clients of this node whose acknowledgements the sender wants.
    BroadcastWithAck {
        /// The event.
        broadcast: Broadcast,
        /// Takes the number of clients that got the event, before the first acknowledgement.
        clients: oneshot::Sender<u64>,
        /// Takes the first argument of each acknowledgement, a JSON value with attachments. Node servers pass on no
        /// more than that either.
        answers: mpsc::Sender<Packet>,
    },
    /// Another node's presence record of a user has changed.
    PresenceChanged {
        /// The node.
        node: NodeId,
        /// The user.
        user: UserId,
        /// `None` when the node withdrew its record.
        record: Option<Bytes>,
    },
    /// All presence records of another node for this tenant. They replace its earlier ones.
    NodePresence {
        /// The node.
        node: NodeId,
        /// The records, by user.
        records: Vec<(UserId, Bytes)>,
    },
    /// A node has left or died. Its presence records are void.
    NodeLeft {
        /// The node.
        node: NodeId,
    },
}

/// A tenant's load on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Open connections.
    pub connections: u64,
    /// Events in the last second.
    pub events_per_second: u64,
}

/// A tenant's load on all other nodes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoteLoad {
    /// The number of other nodes with any load of the tenant.
    pub nodes: u32,
    /// The sum of their loads.
    pub load: Load,
}

/// A hint of another node that something must be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// What these bytes name may have changed.
    Topic(Bytes),
    /// Invalidations may have been lost, since there was no connection before: anything may have changed.
    Missed,
}
