//! The users with connections to this node: their rooms and their status.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use crate::connection::Connection;
use parlance_handler::capability::Status;
use parlance_types::id::{ConnectionId, RoomId, UserId};

struct LocalUser {
    connections: Vec<(Arc<Connection>, Status)>,
    /// The rooms that the user is in, with the number of the user's connections in each.
    rooms: IndexMap<RoomId, u32>,
    status: Status,
    since: u64,
    /// When the newest connection was opened.
    newest: u64,
}

impl LocalUser {
    /// Online if any connection is, else away if any is, else offline.
    fn overall(&self) -> Status {
        let has = |status| self.connections.iter().any(|(_, own)| *own == status);
        match () {
            () if has(Status::Online) => Status::Online,
            () if has(Status::Away) => Status::Away,
            () => Status::Offline,
        }
    }

    fn update(&mut self, now: u64) {
        let status = self.overall();
        if status != self.status {
            self.status = status;
            self.since = now;
        }
    }
}

/// A user of this node, for the presence record.
pub(super) struct UserSummary {
    /// Open connections, whatever their status.
    pub(super) connections: u32,
    /// When the newest of them was opened, in milliseconds since the Unix epoch.
    pub(super) newest: u64,
    /// The most attentive status of them.
    pub(super) status: Status,
    /// Since when, in milliseconds since the Unix epoch.
    pub(super) since: u64,
    /// The user's name.
    pub(super) name: Arc<str>,
}

#[derive(Default)]
pub(super) struct LocalUsers {
    users: IndexMap<UserId, LocalUser>,
    by_id: HashMap<ConnectionId, Arc<Connection>>,
}

impl LocalUsers {
    /// Adds a connection. It counts at once, but is visible only when a handler has set its status.
    pub(super) fn add_connection(&mut self, connection: &Arc<Connection>, now: u64) {
        let identity = connection.identity.load();
        let user = self.users.entry(identity.user().clone()).or_insert_with(|| LocalUser {
            connections: Vec::new(),
            rooms: IndexMap::new(),
            status: Status::Offline,
            since: now,
            newest: now,
        });
        // Never the same value twice, so that other nodes see that a connection has replaced another one.
        user.newest = now.max(user.newest + u64::from(!user.connections.is_empty()));
        user.connections.push((connection.clone(), Status::Offline));
        self.by_id.insert(connection.id.clone(), connection.clone());
    }

    /// Sets a connection's status. If that changes the user's status, the new one has begun at `since`.
    pub(super) fn set_status(&mut self, connection: &Arc<Connection>, status: Status, since: u64) {
        let identity = connection.identity.load();
        let Some(user) = self.users.get_mut(identity.user()) else {
            return;
        };
        let mut connections = user.connections.iter_mut();
        if let Some((_, own)) = connections.find(|(other, _)| Arc::ptr_eq(other, connection)) {
            *own = status;
            user.update(since);
        }
    }

    /// Removes a connection that has left its rooms.
    pub(super) fn remove_connection(&mut self, connection: &Arc<Connection>, now: u64) {
        // A client that reconnects to the namespace over the same transport has the same id.
        if self
            .by_id
            .get(&connection.id)
            .is_some_and(|known| Arc::ptr_eq(known, connection))
        {
            self.by_id.remove(&connection.id);
        }
        let identity = connection.identity.load();
        let Some(user) = self.users.get_mut(identity.user()) else {
            return;
        };
        user.connections.retain(|(other, _)| !Arc::ptr_eq(other, connection));
        if user.connections.is_empty() {
            self.users.swap_remove(identity.user());
        } else {
            user.update(now);
        }
    }

    /// Counts a connection of the user in the room. Returns whether it is the user's first one on this node.
    pub(super) fn enter_room(&mut self, user: &UserId, room: &RoomId) -> bool {
        let Some(user) = self.users.get_mut(user) else {
            return false;
        };
        let connections = user.rooms.entry(room.clone()).or_default();
        *connections += 1;
        *connections == 1
    }

    /// Counts a connection of the user as having left the room. Returns whether it was the user's last one on this
    /// node.
    pub(super) fn exit_room(&mut self, user: &UserId, room: &RoomId) -> bool {
        let Some(user) = self.users.get_mut(user) else {
            return false;
        };
        let Some(connections) = user.rooms.get_mut(room) else {
            return false;
        };
        *connections -= 1;
        *connections == 0 && user.rooms.swap_remove(room).is_some()
    }

    /// Sets an earlier beginning of a user's status than this node knew. Returns whether that changed anything.
    pub(super) fn adopt_since(&mut self, user: &UserId, status: Status, since: u64) -> bool {
        match self.users.get_mut(user) {
            Some(user) if user.status == status && user.since > since => {
                user.since = since;
                true
            }
            _ => false,
        }
    }

    /// A user's status, and since when. `None` while the user is not visible.
    pub(super) fn visible_status(&self, user: &UserId) -> Option<(Status, u64)> {
        self.users
            .get(user)
            .filter(|user| user.status != Status::Offline)
            .map(|user| (user.status, user.since))
    }

    /// The rooms of all of a user's connections, each once.
    pub(super) fn rooms_of(&self, user: &UserId) -> impl Iterator<Item = &RoomId> {
        self.users.get(user).into_iter().flat_map(|user| user.rooms.keys())
    }

    /// Whether a user is in any of the rooms on this node.
    pub(super) fn is_in_any(&self, user: &UserId, rooms: &IndexSet<RoomId>) -> bool {
        let Some(user) = self.users.get(user) else { return false };
        if user.rooms.len() < rooms.len() {
            user.rooms.keys().any(|room| rooms.contains(room))
        } else {
            rooms.iter().any(|room| user.rooms.contains_key(room))
        }
    }

    /// A user of this node; `None` for one without connections.
    pub(super) fn summary(&self, user: &UserId) -> Option<UserSummary> {
        let found = self.users.get(user)?;
        Some(UserSummary {
            connections: u32::try_from(found.connections.len()).unwrap_or(u32::MAX),
            newest: found.newest,
            status: found.status,
            since: found.since,
            name: self.name_of(user)?,
        })
    }

    /// The name of a user of this node.
    pub(super) fn name_of(&self, user: &UserId) -> Option<Arc<str>> {
        let (connection, _) = self.users.get(user)?.connections.first()?;
        Some(connection.identity.load().name().clone())
    }

    /// All connections.
    pub(super) fn all_connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        let connections = self.users.values().flat_map(|user| &user.connections);
        connections.map(|(connection, _)| connection)
    }

    /// Whether the connection was added and not removed.
    pub(super) fn has_connection(&self, connection: &Arc<Connection>) -> bool {
        let known = self.by_id.get(&connection.id);
        known.is_some_and(|known| Arc::ptr_eq(known, connection))
    }

    /// The connection with this public id.
    pub(super) fn by_connection_id(&self, id: &str) -> Option<&Arc<Connection>> {
        self.by_id.get(id)
    }

    /// All connections of a user.
    pub(super) fn connections_of(&self, user: &UserId) -> impl Iterator<Item = &Arc<Connection>> {
        let connections = self
            .users
            .get(user)
            .map(|user| user.connections.as_slice())
            .unwrap_or_default();
        connections.iter().map(|(connection, _)| connection)
    }
}
