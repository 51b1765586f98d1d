//! The way between nodes: what one node says so that the others' hubs and clients learn of it.
//!
//! A [`Bus`] carries three things. **Events** for clients elsewhere, in the words of one of Node's
//! adapters for Redis ([`Adapter`]), so that Node servers, and with the classic one back ends with an emitter, can be
//! part of the fleet.
//! **Entries**: what each node says of its users, kept beside a lease, so that the others know it after any gap and
//! forget it when the node dies. **Notices**: a few bytes from node to node.
//!
//! Nothing here is the truth. What is said while a connection is down is lost, and [`Inbound::Connected`] says so: the
//! hub then reads from the store what it has missed, and the bus tells it anew what the other nodes have.

mod adapter;
mod adapter_message;
mod channels;
mod classic;
mod connections;
mod incoming_requests;
mod json;
mod local;
mod node_message;
mod outgoing_requests;
mod packet;
mod peers;
mod publish_queue;
mod publisher;
mod reconnect;
mod redis_bus;
mod settings;
mod sharded;
mod sharded_channels;
mod status;
mod subscriber;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use adapter::Adapter;
pub use local::LocalBus;
pub use outgoing_requests::{Acknowledged, Responses};
pub use redis_bus::{BusError, RedisBus};
pub use settings::RedisSettings;
pub use status::BusStatus;

use crate::capability::{Packet, Question};
use crate::id::{RoomId, TenantId, UserId};

/// The way to the other nodes. No method waits: what cannot be sent is dropped and counted.
pub trait Bus: Send + Sync {
    /// This node's id.
    fn node(&self) -> &NodeId;

    /// Whether there is no other node, ever: whatever is committed is committed here, and nothing can be missed.
    fn is_single_node(&self) -> bool {
        false
    }

    /// From now on the tenant's hub hears what other nodes say, through `inbox`. What does not fit in it is lost,
    /// and the hub is told so with another [`Inbound::Connected`] as soon as there is room.
    fn subscribe(&self, tenant: &TenantId, inbox: mpsc::Sender<Inbound>);

    /// The tenant's hub, whose inbox is shut, hears nothing any more, and this node's entries for its users are
    /// withdrawn. One whose inbox is open has been opened since by another hub, and stays: `false` then.
    fn unsubscribe(&self, tenant: &TenantId) -> bool;

    /// Whether this node does what one of all nodes is to do: it has the lowest id of those that it knows to live.
    fn has_lowest_id(&self) -> bool;

    /// This node has a room, or a connection of this id, from now on, or has it no more. Some servers send what is for
    /// one room only to those that have it.
    fn announce_room(&self, tenant: &TenantId, room: &str, present: bool);

    /// Has the other nodes send an event to their clients. A [`BroadcastTarget::Rooms`] without places is sent to nobody.
    fn broadcast(&self, tenant: &TenantId, broadcast: Broadcast);

    /// What this node says of a user from now on; `None` when it has nothing to say any more. The other nodes' hubs
    /// get it as [`Inbound::PresenceChanged`], those that come later or have missed it as a part of [`Inbound::NodePresence`].
    fn set_presence(&self, tenant: &TenantId, user: &UserId, record: Option<Bytes>);

    /// What a tenant carries on this node from now on. The other nodes learn it with the next heartbeat.
    fn set_load(&self, tenant: &TenantId, load: Load);

    /// What a tenant carries on all other nodes together, as of their last heartbeats.
    fn remote_load(&self, tenant: &TenantId) -> RemoteLoad;

    /// Sends a few bytes to all other nodes, whatever tenants they have.
    fn invalidate(&self, topic: Bytes);

    /// The invalidations of other nodes, from now on. [`Invalidation::Missed`] stands for those that were lost.
    fn invalidations(&self) -> broadcast::Receiver<Invalidation>;
}

/// A node's id: six letters and digits, chosen anew at each start. The Node adapter calls it `uid`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The id of this text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// One for tests.
    #[cfg(test)]
    pub(crate) fn for_tests(number: usize) -> Self {
        Self::new(format!("node{number:02}"))
    }

    /// The text.
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

/// Where clients are found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetRoom {
    /// In a room, and nowhere else.
    Room(Arc<str>),
    /// In what Node servers and back ends mean by a room: each socket has one of its own there, named as the socket. So
    /// it is the room of this name and the connection with this id.
    RoomOrSocket(Arc<str>),
    /// All connections of a user. On the wire it is the room [`USER_ROOM`] with the user's id, which no client can
    /// join.
    User(UserId),
}

/// What stands before a user's id in the name of the room that stands for the user on the wire. Room ids have no
/// control characters.
pub const USER_ROOM: &str = "\u{0}user:";

/// Who gets an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BroadcastTarget {
    /// Whoever is in any of these places, once.
    Rooms(Vec<TargetRoom>),
    /// Every client of the tenant. A Node server or an emitter may ask for it; nothing of Parlance does.
    AllClients,
}

/// An event for clients on other nodes.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// The event.
    pub packet: Packet,
    /// Who gets it.
    pub to: BroadcastTarget,
    /// Who does not get it all the same.
    pub except: Vec<TargetRoom>,
    /// When it is a room's message: the room and its `seq` there. Node servers overlook it.
    pub message: Option<(RoomId, u64)>,
    /// When it is about a room's message, and is to come after it: the room and the message's `seq`. Node servers
    /// overlook it.
    pub after: Option<(RoomId, u64)>,
    /// When a handler waits for what clients acknowledge. Clients of Node servers are not asked.
    pub question: Option<Arc<Question>>,
}

impl Broadcast {
    /// An event that has no place among a room's messages and asks nothing.
    #[must_use]
    pub fn event(packet: Packet, to: BroadcastTarget, except: Vec<TargetRoom>) -> Self {
        Self {
            packet,
            to,
            except,
            message: None,
            after: None,
            question: None,
        }
    }
}

/// The clients that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSelector {
    /// Who.
    pub to: BroadcastTarget,
    /// Who not.
    pub except: Vec<TargetRoom>,
}

/// A connection as `fetchSockets` of a Node server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSocket {
    /// Its id: a connection's, or that of a Node server's socket.
    pub id: String,
    /// The rooms it is in.
    pub rooms: Vec<String>,
    /// Its handshake, a JSON object.
    pub handshake: String,
    /// What its server keeps with it, a JSON value.
    pub data: String,
}

/// What other nodes say to a tenant's hub. Whoever does not answer a request lets the sender fall.
#[derive(Debug)]
pub enum Inbound {
    /// The connection has come, or has come back, or this hub's inbox was full: whatever was said before is lost.
    /// Each other node's entries follow as [`Inbound::NodePresence`]; who does not come is announced by
    /// [`Inbound::NodeLeft`] once its lease has run out.
    Connected,
    /// The connection is lost. Nobody is declared gone until it is back.
    Disconnected,
    /// An event for clients here.
    Broadcast(Broadcast),
    /// These clients are to join rooms.
    SocketsJoin {
        /// Which.
        clients: ClientSelector,
        /// The rooms' names, unchecked.
        rooms: Vec<String>,
    },
    /// These clients are to leave rooms.
    SocketsLeave {
        /// Which.
        clients: ClientSelector,
        /// The rooms' names, unchecked.
        rooms: Vec<String>,
    },
    /// These clients are to be disconnected.
    DisconnectSockets {
        /// Which.
        clients: ClientSelector,
        /// Whether to close the transport too, not only the namespace.
        close: bool,
    },
    /// Somebody asks which of these clients are here.
    FetchSockets {
        /// Which.
        clients: ClientSelector,
        /// Those that are here.
        reply: oneshot::Sender<Vec<RemoteSocket>>,
    },
    /// Somebody asks for all rooms that have members here.
    AllRooms {
        /// Their names.
        reply: oneshot::Sender<Vec<String>>,
    },
    /// A server-side event.
    ServerSideEmit {
        /// A JSON array: the event's name, then its arguments.
        arguments: String,
        /// When an answer is wanted: a JSON value.
        reply: Option<oneshot::Sender<String>>,
    },
    /// An event whose acknowledgements somebody wants.
    BroadcastWithAck {
        /// The event.
        broadcast: Broadcast,
        /// How many clients here have got it. First of all.
        clients: oneshot::Sender<u64>,
        /// What each has answered: the first argument of its acknowledgement, a JSON value with attachments. Node
        /// servers pass on no more than that either.
        answers: mpsc::Sender<Packet>,
    },
    /// What another node says of a user has changed.
    PresenceChanged {
        /// The node.
        node: NodeId,
        /// The user.
        user: UserId,
        /// `None`: it has nothing to say of the user any more.
        record: Option<Bytes>,
    },
    /// All that another node says of the tenant's users, in place of whatever it has said before.
    NodePresence {
        /// The node.
        node: NodeId,
        /// Its entries.
        records: Vec<(UserId, Bytes)>,
    },
    /// A node has left or died: what it has said holds no more.
    NodeLeft {
        /// The node.
        node: NodeId,
    },
}

/// What a tenant carries on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Open connections.
    pub connections: u64,
    /// Events in the last second.
    pub events_per_second: u64,
}

/// What a tenant carries on other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoteLoad {
    /// On how many it carries anything.
    pub nodes: u32,
    /// All of it.
    pub load: Load,
}

/// A notice from another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// These bytes.
    Topic(Bytes),
    /// The connection has come, or has come back: there may have been any.
    Missed,
}
