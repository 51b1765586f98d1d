//! Which users are here, with how many connections, and how attending.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::connection::Connection;
use crate::capability::{PresenceState, Status};
use crate::id::{ConnectionId, RoomId, UserId};

struct User {
    connections: Vec<(Arc<Connection>, Status)>,
    status: Status,
    since: u64,
}

impl User {
    /// Online while any connection is, else away while any is, else offline.
    fn overall(&self) -> Status {
        let has = |status| self.connections.iter().any(|(_, own)| *own == status);
        match () {
            () if has(Status::Online) => Status::Online,
            () if has(Status::Away) => Status::Away,
            () => Status::Offline,
        }
    }
}

/// A user's status has changed, and the rooms that are to know.
pub(super) struct Changed {
    pub(super) status: Status,
    pub(super) since: u64,
    pub(super) rooms: HashSet<RoomId>,
}

#[derive(Default)]
pub(super) struct Users {
    users: HashMap<UserId, User>,
    by_id: HashMap<ConnectionId, Arc<Connection>>,
}

impl Users {
    /// A connection has come. It counts, but shows only once a handler has set its status.
    pub(super) fn arrive(&mut self, connection: &Arc<Connection>, now: u64) {
        let identity = connection.identity.load();
        let user = self.users.entry(identity.user().clone()).or_insert_with(|| User {
            connections: Vec::new(),
            status: Status::Offline,
            since: now,
        });
        user.connections.push((connection.clone(), Status::Offline));
        self.by_id.insert(connection.id.clone(), connection.clone());
    }

    /// A connection's status is set.
    pub(super) fn set(&mut self, connection: &Arc<Connection>, status: Status, now: u64) -> Option<Changed> {
        let identity = connection.identity.load();
        let user = self.users.get_mut(identity.user())?;
        let own = user
            .connections
            .iter_mut()
            .find(|(other, _)| Arc::ptr_eq(other, connection))?;
        own.1 = status;
        Self::update(user, now)
    }

    /// A connection has gone; call it while the connection still knows its rooms.
    pub(super) fn depart(&mut self, connection: &Arc<Connection>, now: u64) -> Option<Changed> {
        self.by_id.remove(&connection.id);
        let identity = connection.identity.load();
        let user = self.users.get_mut(identity.user())?;
        let at = user
            .connections
            .iter()
            .position(|(other, _)| Arc::ptr_eq(other, connection))?;
        let (gone, _) = user.connections.swap_remove(at);
        let mut changed = Self::update(user, now);
        if let Some(changed) = &mut changed {
            changed.rooms.extend(gone.rooms());
        }
        if user.connections.is_empty() {
            self.users.remove(identity.user());
        }
        changed
    }

    fn update(user: &mut User, now: u64) -> Option<Changed> {
        let status = user.overall();
        if status == user.status {
            return None;
        }
        user.status = status;
        user.since = now;
        let rooms = user
            .connections
            .iter()
            .flat_map(|(connection, _)| connection.rooms())
            .collect();
        Some(Changed {
            status,
            since: now,
            rooms,
        })
    }

    /// A user's status and since when, when it is to be seen.
    pub(super) fn visible(&self, user: &UserId) -> Option<(Status, u64)> {
        self.users
            .get(user)
            .filter(|user| user.status != Status::Offline)
            .map(|user| (user.status, user.since))
    }

    /// The state of a user as somebody who is in `rooms` may see it.
    pub(super) fn state(&self, user: &UserId, rooms: &HashSet<RoomId>) -> PresenceState {
        let shares = |found: &&User| {
            found
                .connections
                .iter()
                .any(|(connection, _)| connection.rooms().iter().any(|room| rooms.contains(room)))
        };
        match self.users.get(user).filter(shares) {
            Some(found) => PresenceState {
                user: user.clone(),
                username: found
                    .connections
                    .first()
                    .map(|(connection, _)| connection.identity.load().name().clone()),
                status: found.status,
                connections: u32::try_from(found.connections.len()).unwrap_or(u32::MAX),
                since: found.since,
            },
            None => PresenceState::unseen(user.clone()),
        }
    }

    /// The rooms of all of a user's connections.
    pub(super) fn rooms_of(&self, user: &UserId) -> HashSet<RoomId> {
        let connections = self
            .users
            .get(user)
            .map(|user| user.connections.as_slice())
            .unwrap_or_default();
        connections
            .iter()
            .flat_map(|(connection, _)| connection.rooms())
            .collect()
    }

    /// How many connections a user has here, the most attending status, since when, and what to call them.
    pub(super) fn summary(&self, user: &UserId) -> Option<(u32, Status, u64, Arc<str>)> {
        let found = self.users.get(user)?;
        let connections = u32::try_from(found.connections.len()).unwrap_or(u32::MAX);
        Some((connections, found.status, found.since, self.name(user)?))
    }

    /// What to call a user who is here.
    pub(super) fn name(&self, user: &UserId) -> Option<Arc<str>> {
        let (connection, _) = self.users.get(user)?.connections.first()?;
        Some(connection.identity.load().name().clone())
    }

    /// Every connection.
    pub(super) fn everybody(&self) -> impl Iterator<Item = &Arc<Connection>> {
        let connections = self.users.values().flat_map(|user| &user.connections);
        connections.map(|(connection, _)| connection)
    }

    /// The connection with this public id.
    pub(super) fn with_id(&self, id: &str) -> Option<&Arc<Connection>> {
        self.by_id.get(id)
    }

    /// All of a user's connections.
    pub(super) fn connections(&self, user: &UserId) -> impl Iterator<Item = &Arc<Connection>> {
        let connections = self
            .users
            .get(user)
            .map(|user| user.connections.as_slice())
            .unwrap_or_default();
        connections.iter().map(|(connection, _)| connection)
    }
}
