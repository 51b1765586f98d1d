//! What members of rooms see of users: `presence`, `user-joined` and `user-left`, and the answers to `get-presence`.

use std::sync::Arc;

use indexmap::IndexSet;

use super::presence_grace::{ChangeCause, PresenceView, status_rank};
use super::{Hub, Output};
use crate::connection::Connection;
use crate::delivery::ConnectionPhase;
use crate::wire;
use parlance_handler::capability::{PresenceState, Status};
use parlance_types::id::{RoomId, UserId};

impl Hub {
    /// A user's status on all nodes together, and since when. `None` while the user is not visible.
    fn visible_status(&self, user: &UserId) -> Option<(Status, u64)> {
        let here = self.users.visible_status(user);
        let remote = self.remote.records(user).map(|record| (record.status, record.since));
        here.into_iter()
            .chain(remote)
            .filter(|(status, _)| *status != Status::Offline)
            .min_by_key(|(status, since)| (status_rank(*status), *since))
    }

    fn name_of(&self, user: &UserId) -> Option<Arc<str>> {
        self.users
            .name_of(user)
            .or_else(|| self.remote.records(user).next().map(|record| record.name.clone()))
    }

    pub(crate) fn rooms_of(&self, user: &UserId) -> IndexSet<RoomId> {
        let mut rooms: IndexSet<RoomId> = self.users.rooms_of(user).cloned().collect();
        rooms.extend(self.remote.rooms_of(user).cloned());
        rooms
    }

    /// The user as their connections on all nodes say, whatever is shown of them.
    pub(super) fn presence_view(&self, user: &UserId) -> PresenceView {
        PresenceView {
            status: self.visible_status(user),
            name: self.name_of(user),
            rooms: self.rooms_of(user),
        }
    }

    /// Tells the members of this node what has changed of a user. `before` is the user's view before the change. Every
    /// node does so for its own members, so that nothing of it is sent between nodes.
    pub(super) fn user_changed(&mut self, user: &UserId, before: PresenceView, cause: ChangeCause, now_ms: u64) {
        let before = self.grace.shown(user).cloned().unwrap_or(before);
        let mut after = self.presence_view(user);
        self.keep_since(user, &before, &mut after);
        let shown = self.grace.next_view(user, &before, &after, cause);
        self.announce_change(user, &before, &shown, now_ms);
        if shown.looks_like(&after) {
            self.grace.end(user);
        } else {
            self.grace.show(user, shown, cause, now_ms, self.now.instant);
        }
    }

    /// Ends the grace of one user who did not come back. Of several, each is announced before the next.
    pub(super) fn expire_grace(&mut self) {
        if let Some((user, entry)) = self.grace.take_expired(self.now.instant) {
            let mut after = self.presence_view(&user);
            self.keep_since(&user, &entry.shown, &mut after);
            self.announce_change(&user, &entry.shown, &after, entry.left_at_ms);
        }
    }

    /// Keeps the beginning of a status that did not change, whichever of the user's connections are left.
    fn keep_since(&mut self, user: &UserId, before: &PresenceView, after: &mut PresenceView) {
        let (Some((was, since)), Some((is, later))) = (before.status, after.status) else {
            return;
        };
        if was != is || later <= since {
            return;
        }
        after.status = before.status;
        if self.users.adopt_since(user, is, since) {
            self.mark_changed(user);
        }
        self.remote.adopt_since(user, is, since);
    }

    /// Tells the members of this node the difference between two views. `now_ms` is when a user left who is not visible
    /// any more.
    fn announce_change(&mut self, user: &UserId, before: &PresenceView, after: &PresenceView, now_ms: u64) {
        let Some(name) = after.name.as_ref().or(before.name.as_ref()) else {
            return;
        };
        let joined: IndexSet<RoomId> = after.rooms.difference(&before.rooms).cloned().collect();
        let renamed = matches!((&before.name, &after.name), (Some(was), Some(is)) if was != is);
        if before.status() != after.status() || renamed && after.status.is_some() {
            let since = after.status.map_or(now_ms, |(_, since)| since);
            let outgoing = wire::presence(user, name, after.status(), since);
            let rooms = before.rooms.union(&after.rooms).cloned().collect();
            self.rooms.send_to_members(rooms, IndexSet::new(), &outgoing);
        } else if let Some((status, since)) = after.status {
            // Members who share another room with the user know the status already.
            let outgoing = wire::presence(user, name, status, since);
            self.rooms.send_to_members(joined, before.rooms.clone(), &outgoing);
        }
        // A user who is not visible counts as being in no room.
        for room in after.visible_rooms().filter(|room| !before.is_visible_in(room)) {
            self.rooms
                .send_to_room(room, None, &wire::user_joined(room, user, name));
        }
        for room in before.visible_rooms().filter(|room| !after.is_visible_in(room)) {
            self.rooms.send_to_room(room, None, &wire::user_left(room, user, name));
        }
        match (before.status, after.status) {
            (Some(_), None) => {
                self.last_seen.remember(user, now_ms, name.clone(), before.rooms.iter());
            }
            (None, Some(_)) => self.last_seen.forget(user),
            _ => {}
        }
    }

    pub(super) fn connect(&mut self, connection: &Arc<Connection>, now_ms: u64) {
        let identity = connection.identity.load();
        self.users.add_connection(connection, now_ms);
        self.announce_room(connection.id.as_str(), true);
        self.last_seen.forget(identity.user());
        self.mark_changed(identity.user());
    }

    pub(super) fn disconnect(&mut self, connection: &Arc<Connection>, now_ms: u64) {
        let user = connection.identity.load().user().clone();
        let before = self.presence_view(&user);
        for room in connection.leave_all_rooms().iter() {
            if self.leave_room(room, connection) && self.users.exit_room(&user, room) {
                self.membership.remove(room, &user);
            }
        }
        self.users.remove_connection(connection, now_ms);
        self.announce_room(connection.id.as_str(), false);
        self.user_changed(&user, before, ChangeCause::Disconnected, now_ms);
        self.mark_changed(&user);
    }

    /// Sets a connection's status. `phase` is that of the event which sets it.
    pub(super) fn set_status(
        &mut self,
        connection: &Arc<Connection>,
        status: Status,
        phase: ConnectionPhase,
        now_ms: u64,
    ) {
        let user = connection.identity.load().user().clone();
        let before = self.presence_view(&user);
        let shown = self.grace.shown(&user);
        // A user who was away and comes back by a new connection is still away.
        let status = match (phase, shown.map(PresenceView::status)) {
            (ConnectionPhase::Connecting, Some(Status::Away))
                if status == Status::Online && before.status.is_none() =>
            {
                Status::Away
            }
            _ => status,
        };
        let goes_on = shown.and_then(|shown| shown.status).filter(|(was, _)| *was == status);
        let since = goes_on.map_or(now_ms, |(_, since)| since);
        self.users.set_status(connection, status, since);
        let cause = match phase {
            ConnectionPhase::Connecting => ChangeCause::Added,
            ConnectionPhase::Connected => ChangeCause::StatusSet,
            ConnectionPhase::Disconnecting => ChangeCause::Disconnected,
        };
        self.user_changed(&user, before, cause, now_ms);
        // When a connection closes, its status is published with its removal.
        if phase != ConnectionPhase::Disconnecting {
            self.mark_changed(&user);
        }
    }

    /// Adds a connection to a room. Members are told when it is the user's first one there.
    pub(super) fn join(&mut self, room: &RoomId, connection: &Arc<Connection>, held: bool) {
        let identity = connection.identity.load();
        let user = identity.user();
        // A connection from before the hub's failure is being closed.
        if !self.users.has_connection(connection) {
            return;
        }
        let known = self.rooms_of(user);
        if !self.rooms.join(room, connection, held) {
            return;
        }
        if self.rooms.member_count(room) == 1 {
            self.announce_room(room.as_str(), true);
        }
        if !self.users.enter_room(user, room) {
            return;
        }
        self.mark_changed(user);
        if !self.membership.add(room, user) {
            return;
        }
        let shown = self.grace.shown(user);
        if let Some(shown) = shown
            && shown.rooms.contains(room)
        {
            // The user was shown as a member all the time.
            if shown.looks_like(&self.presence_view(user)) {
                self.grace.end(user);
            }
            return;
        }
        let status = shown.map_or_else(|| self.visible_status(user), |shown| shown.status);
        let known = shown.map_or(known, |shown| shown.rooms.clone());
        if let Some(shown) = shown {
            let mut shown = shown.clone();
            shown.rooms.insert(room.clone());
            self.grace.show(user, shown, ChangeCause::Added, 0, self.now.instant);
        }
        if let Some((status, since)) = status {
            let outgoing = wire::presence(user, identity.name(), status, since);
            self.rooms
                .send_to_members(IndexSet::from([room.clone()]), known, &outgoing);
            let outgoing = wire::user_joined(room, user, identity.name());
            self.rooms.send_to_room(room, Some(connection), &outgoing);
        }
    }

    /// Removes a connection from a room. Members are told when it was the user's last one there.
    pub(super) fn leave(&mut self, room: &RoomId, connection: &Arc<Connection>) {
        let identity = connection.identity.load();
        let user = identity.user();
        if !self.leave_room(room, connection) || !self.users.exit_room(user, room) {
            return;
        }
        self.mark_changed(user);
        if self.membership.remove(room, user) {
            let shown = self.grace.shown(user).and_then(|shown| shown.status);
            self.grace.leave_room(user, room);
            if shown.or_else(|| self.visible_status(user)).is_some() {
                let outgoing = wire::user_left(room, user, identity.name());
                self.rooms.send_to_room(room, None, &outgoing);
            }
        }
    }

    /// Removes a connection from a room's members. Returns `false` when it was not one.
    fn leave_room(&mut self, room: &RoomId, connection: &Arc<Connection>) -> bool {
        let left = self.rooms.leave(room, connection, &mut self.out);
        if left && self.rooms.member_count(room) == 0 {
            self.announce_room(room.as_str(), false);
        }
        left
    }

    /// Tells other servers whether this node has a room.
    fn announce_room(&mut self, name: &str, present: bool) {
        if !self.single_node {
            let name = name.into();
            self.out.push(Output::AnnounceRoom { name, present });
        }
    }

    /// The state of a user, as far as `asker`, who is in `rooms`, may see it.
    pub(crate) fn presence_of(&self, user: &UserId, asker: &UserId, rooms: &IndexSet<RoomId>) -> PresenceState {
        let own = user == asker;
        let here = self.users.summary(user);
        let remote = || self.remote.records(user);
        let connections = remote()
            .map(|record| record.connections)
            .chain(here.as_ref().map(|here| here.connections))
            .fold(0, u32::saturating_add);
        let state = |username, status, since| PresenceState {
            user: user.clone(),
            username,
            status,
            connections,
            since,
        };
        if let Some(shown) = self.grace.shown(user)
            && let Some((status, since)) = shown.status
            && (own || !shown.rooms.is_disjoint(rooms))
        {
            return state(shown.name.clone(), status, since);
        }
        let shares = || {
            self.users.is_in_any(user, rooms)
                || remote().any(|record| record.rooms.iter().any(|room| rooms.contains(room)))
        };
        if connections > 0 && (own || shares()) {
            let unseen = || here.as_ref().map(|here| (here.status, here.since));
            let unseen = || unseen().or_else(|| remote().next().map(|record| (record.status, record.since)));
            let (status, since) = self
                .visible_status(user)
                .or_else(unseen)
                .unwrap_or((Status::Offline, 0));
            return state(self.name_of(user), status, since);
        }
        match self.last_seen.get(user).filter(|_| connections == 0) {
            Some(gone) if gone.rooms.iter().any(|room| rooms.contains(room)) => {
                state(Some(gone.name.clone()), Status::Offline, gone.since)
            }
            _ => PresenceState::offline(user.clone()),
        }
    }
}
