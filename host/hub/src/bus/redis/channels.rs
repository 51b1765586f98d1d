//! The names of channels and keys in Redis. A name that belongs to a tenant is made only here, from the tenant's id.

use super::{BroadcastTarget, TargetRoom, USER_ROOM};
use parlance_types::id::{TenantId, UserId};

/// Makes and reads names. All of them begin with the configured key.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    key: String,
}

/// What a channel carries, and for which namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel<'c> {
    /// Events for clients. With the sharded adapter, every message of a namespace.
    Broadcast(&'c str),
    /// Requests, with the classic adapter.
    Request(&'c str),
    /// Responses, with the classic adapter.
    Response(&'c str),
    /// Messages of nodes about themselves ([`NodeMessage`](super::node_message::NodeMessage)).
    Nodes,
    /// Invalidations.
    Invalidations,
}

impl Channels {
    /// Names with this key. It is `socket.io` unless configured otherwise.
    pub(super) fn new(key: &str) -> Self {
        Self { key: key.to_owned() }
    }

    /// The pattern that matches the events of all namespaces. There is one for all tenants, since Redis tries every
    /// pattern on every message.
    pub(super) fn broadcasts(&self) -> String {
        format!("{}#/*", self.key)
    }

    /// The channel for an event. An event for a single room gets the room's own channel, so that a Node server without
    /// members of that room can skip it unread.
    pub(super) fn broadcast(&self, tenant: &TenantId, to: &BroadcastTarget) -> String {
        let namespace = tenant.namespace();
        match to {
            BroadcastTarget::Rooms(rooms) => match rooms.as_slice() {
                [one] => self.one(&namespace, &room_name(one)),
                _ => self.all(&namespace),
            },
            BroadcastTarget::AllClients => self.all(&namespace),
        }
    }

    /// The channel of a whole namespace.
    pub(super) fn all(&self, namespace: &str) -> String {
        format!("{}#{namespace}#", self.key)
    }

    /// The channel of one room of a namespace. With the sharded adapter also the channel for responses to one server.
    pub(super) fn one(&self, namespace: &str, name: &str) -> String {
        format!("{}#{namespace}#{name}#", self.key)
    }

    /// The channel for requests.
    pub(super) fn request(&self, namespace: &str) -> String {
        format!("{}-request#{namespace}#", self.key)
    }

    /// The channel for responses.
    pub(super) fn response(&self, namespace: &str) -> String {
        format!("{}-response#{namespace}#", self.key)
    }

    /// The channels that a node subscribes to for a tenant, besides the pattern for events: requests, responses to all,
    /// and responses to this node.
    pub(super) fn of_tenant(&self, namespace: &str, node: &str) -> [String; 3] {
        let response = self.response(namespace);
        let own = format!("{response}{node}#");
        [self.request(namespace), response, own]
    }

    /// The channel for messages of nodes about themselves.
    pub(super) fn nodes(&self) -> String {
        format!("{}-parlance#nodes", self.key)
    }

    /// The channel for invalidations. Its name is older than the term.
    pub(super) fn invalidations(&self) -> String {
        format!("{}-parlance#notice", self.key)
    }

    /// The key of the hash with a node's presence records.
    pub(super) fn node_key(&self, node: &str) -> String {
        format!("{}-parlance#node#{node}", self.key)
    }

    /// What a channel carries. `None` for a channel that this program does not use.
    pub(super) fn read<'c>(&self, channel: &'c str) -> Option<Channel<'c>> {
        let rest = channel.strip_prefix(self.key.as_str())?;
        let namespace = |rest: &'c str| rest.split_once('#').map(|(namespace, _)| namespace);
        if let Some(rest) = rest.strip_prefix('#') {
            return namespace(rest).map(Channel::Broadcast);
        }
        if let Some(rest) = rest.strip_prefix("-request#") {
            return namespace(rest).map(Channel::Request);
        }
        if let Some(rest) = rest.strip_prefix("-response#") {
            return namespace(rest).map(Channel::Response);
        }
        match rest {
            "-parlance#nodes" => Some(Channel::Nodes),
            "-parlance#notice" => Some(Channel::Invalidations),
            _ => None,
        }
    }
}

/// The name of the room that stands for the target on the wire.
pub(super) fn room_name(target_room: &TargetRoom) -> String {
    match target_room {
        TargetRoom::Room(room) | TargetRoom::RoomOrSocket(room) => room.to_string(),
        TargetRoom::User(user) => format!("{USER_ROOM}{user}"),
    }
}

/// The target that a room's name stands for when a Node server sends it.
pub(super) fn target_room(room: &str) -> TargetRoom {
    match room.strip_prefix(USER_ROOM).map(UserId::new) {
        Some(Ok(user)) => TargetRoom::User(user),
        _ => TargetRoom::RoomOrSocket(room.into()),
    }
}

/// The clients that a list of rooms stands for. An empty list means all clients.
pub(super) fn target(rooms: &[String]) -> BroadcastTarget {
    if rooms.is_empty() {
        BroadcastTarget::AllClients
    } else {
        BroadcastTarget::Rooms(rooms.iter().map(|room| target_room(room)).collect())
    }
}

/// The list of rooms that stands for the clients. `None` when there are no rooms, which the wire cannot express.
pub(super) fn rooms(to: &BroadcastTarget) -> Option<Vec<String>> {
    match to {
        BroadcastTarget::AllClients => Some(Vec::new()),
        BroadcastTarget::Rooms(rooms) if rooms.is_empty() => None,
        BroadcastTarget::Rooms(rooms) => Some(rooms.iter().map(room_name).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_node_adapter() {
        let channels = Channels::new("socket.io");
        let acme = TenantId::for_tests("acme").unwrap();
        let default = TenantId::for_tests("default").unwrap();
        let room = |name: &str| TargetRoom::Room(name.into());
        assert_eq!(
            channels.broadcast(&default, &BroadcastTarget::AllClients),
            "socket.io#/#"
        );
        let one = BroadcastTarget::Rooms(vec![room("a#b")]);
        assert_eq!(channels.broadcast(&acme, &one), "socket.io#/acme#a#b#");
        let two = BroadcastTarget::Rooms(vec![room("a"), room("b")]);
        assert_eq!(channels.broadcast(&acme, &two), "socket.io#/acme#");
        assert_eq!(
            channels.of_tenant("/acme", "abcdef"),
            [
                "socket.io-request#/acme#",
                "socket.io-response#/acme#",
                "socket.io-response#/acme#abcdef#"
            ]
        );
        assert_eq!(channels.read("socket.io#/acme#a#b#"), Some(Channel::Broadcast("/acme")));
        assert_eq!(channels.read("socket.io#/#"), Some(Channel::Broadcast("/")));
        assert_eq!(channels.read("socket.io-request#/#"), Some(Channel::Request("/")));
        assert_eq!(channels.read("socket.io-response#/#uid#"), Some(Channel::Response("/")));
        assert_eq!(channels.read(&channels.nodes()), Some(Channel::Nodes));
        assert_eq!(channels.read("socket.ion#/#"), None);
    }

    #[test]
    fn no_client_and_all_clients_are_never_confused() {
        assert_eq!(rooms(&BroadcastTarget::Rooms(Vec::new())), None);
        assert_eq!(rooms(&BroadcastTarget::AllClients), Some(Vec::new()));
        assert_eq!(target(&[]), BroadcastTarget::AllClients);
        let user = TargetRoom::User(UserId::new("ann").unwrap());
        assert_eq!(room_name(&user), "\u{0}user:ann");
        assert_eq!(target_room("\u{0}user:ann"), user);
        assert_eq!(target_room("user:ann"), TargetRoom::RoomOrSocket("user:ann".into()));
    }
}
