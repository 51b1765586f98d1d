//! The names of channels and keys. Every name that belongs to a tenant is made here, from its id.

use super::{BroadcastTarget, TargetRoom, USER_ROOM};
use crate::id::{TenantId, UserId};

/// Makes and reads names, all of which begin with the configured key.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    key: String,
}

/// What a channel carries, and for which namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel<'c> {
    /// Events for clients; with the sharded adapter whatever servers say.
    Broadcast(&'c str),
    /// Questions and orders, with the classic adapter.
    Request(&'c str),
    /// Answers, with the classic adapter.
    Response(&'c str),
    /// What nodes say of themselves.
    Nodes,
    /// Notices.
    Invalidations,
}

impl Channels {
    /// With this key, `socket.io` unless configured otherwise.
    pub(super) fn new(key: &str) -> Self {
        Self { key: key.to_owned() }
    }

    /// The pattern of all namespaces' events: one for all tenants, since Redis tries every pattern on every message.
    pub(super) fn broadcasts(&self) -> String {
        format!("{}#/*", self.key)
    }

    /// Where an event is published. Node servers pass over one for a single room in which they have nobody without
    /// reading it.
    pub(super) fn broadcast(&self, tenant: &TenantId, to: &BroadcastTarget) -> String {
        let namespace = tenant.namespace();
        match to {
            BroadcastTarget::Rooms(places) => match places.as_slice() {
                [one] => self.one(&namespace, &room_name(one)),
                _ => self.all(&namespace),
            },
            BroadcastTarget::AllClients => self.all(&namespace),
        }
    }

    /// A namespace's channel.
    pub(super) fn all(&self, namespace: &str) -> String {
        format!("{}#{namespace}#", self.key)
    }

    /// The channel of one room of a namespace; with the sharded adapter also that of one server's answers.
    pub(super) fn one(&self, namespace: &str, name: &str) -> String {
        format!("{}#{namespace}#{name}#", self.key)
    }

    /// Where a tenant's requests are published.
    pub(super) fn request(&self, namespace: &str) -> String {
        format!("{}-request#{namespace}#", self.key)
    }

    /// Where answers are published.
    pub(super) fn response(&self, namespace: &str) -> String {
        format!("{}-response#{namespace}#", self.key)
    }

    /// What a node subscribes to for a tenant, besides its events: requests, everybody's answers, its own answers.
    pub(super) fn of_tenant(&self, namespace: &str, node: &str) -> [String; 3] {
        let response = self.response(namespace);
        let own = format!("{response}{node}#");
        [self.request(namespace), response, own]
    }

    /// Where nodes speak of themselves.
    pub(super) fn nodes(&self) -> String {
        format!("{}-parlance#nodes", self.key)
    }

    /// Where invalidations go.
    pub(super) fn invalidations(&self) -> String {
        format!("{}-parlance#notice", self.key)
    }

    /// The hash with a node's entries.
    pub(super) fn node_key(&self, node: &str) -> String {
        format!("{}-parlance#node#{node}", self.key)
    }

    /// What a message came through; `None` for a channel of nobody here.
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

/// A place as a room of the wire.
pub(super) fn room_name(place: &TargetRoom) -> String {
    match place {
        TargetRoom::Room(room) | TargetRoom::RoomOrSocket(room) => room.to_string(),
        TargetRoom::User(user) => format!("{USER_ROOM}{user}"),
    }
}

/// A room of the wire as a place, as Node servers mean it.
pub(super) fn place(room: &str) -> TargetRoom {
    match room.strip_prefix(USER_ROOM).map(UserId::new) {
        Some(Ok(user)) => TargetRoom::User(user),
        _ => TargetRoom::RoomOrSocket(room.into()),
    }
}

/// Rooms of the wire as a target: none is everybody.
pub(super) fn target(rooms: &[String]) -> BroadcastTarget {
    if rooms.is_empty() {
        BroadcastTarget::AllClients
    } else {
        BroadcastTarget::Rooms(rooms.iter().map(|room| place(room)).collect())
    }
}

/// A target as rooms of the wire; `None` when it is nobody, for which the wire has no word.
pub(super) fn rooms(to: &BroadcastTarget) -> Option<Vec<String>> {
    match to {
        BroadcastTarget::AllClients => Some(Vec::new()),
        BroadcastTarget::Rooms(places) if places.is_empty() => None,
        BroadcastTarget::Rooms(places) => Some(places.iter().map(room_name).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_node_adapter() {
        let channels = Channels::new("socket.io");
        let acme = TenantId::assume_verified("acme").unwrap();
        let default = TenantId::assume_verified("default").unwrap();
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
    fn nobody_and_everybody_are_never_confused() {
        assert_eq!(rooms(&BroadcastTarget::Rooms(Vec::new())), None);
        assert_eq!(rooms(&BroadcastTarget::AllClients), Some(Vec::new()));
        assert_eq!(target(&[]), BroadcastTarget::AllClients);
        let user = TargetRoom::User(UserId::new("ann").unwrap());
        assert_eq!(room_name(&user), "\u{0}user:ann");
        assert_eq!(place("\u{0}user:ann"), user);
        assert_eq!(place("user:ann"), TargetRoom::RoomOrSocket("user:ann".into()));
    }
}
